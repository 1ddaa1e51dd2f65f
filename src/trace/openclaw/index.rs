//! What OpenClaw notes about a session beside its transcript: entries of `sessions.json`, which
//! the databases keep as `entry_json`, and keys that say where a session came from.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use crate::trace::Signal;

/// What is known of a session by its id.
#[derive(Debug, Default, Clone)]
pub(super) struct Facts {
    pub key: String,
    pub updated_ms: Option<i64>,
    pub started_ms: Option<i64>,
    /// How its last run ended.
    pub status: Option<String>,
    pub aborted: bool,
    pub created_via: Option<String>,
    /// The key of the session that started it.
    pub spawned_by: Option<String>,
}

/// An entry of `sessions.json`; what else it holds (tokens, models, channels) says nothing here.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Entry {
    pub session_id: String,
    #[serde(default)]
    pub updated_at: Option<f64>,
    #[serde(default)]
    pub session_started_at: Option<f64>,
    #[serde(default)]
    pub status: Option<String>,
    #[serde(default)]
    pub aborted_last_run: Option<bool>,
    #[serde(default)]
    pub created_via: Option<String>,
    #[serde(default)]
    pub spawned_by: Option<String>,
}

impl Entry {
    pub fn facts(self, key: &str) -> (String, Facts) {
        let facts = Facts {
            key: key.to_string(),
            updated_ms: self.updated_at.map(|ms| ms as i64),
            started_ms: self.session_started_at.map(|ms| ms as i64),
            status: self.status,
            aborted: self.aborted_last_run == Some(true),
            created_via: self.created_via,
            spawned_by: self.spawned_by,
        };
        (self.session_id, facts)
    }
}

/// The sessions an agent knows of, by id.
#[derive(Debug, Default, Clone)]
pub(super) struct Index(pub BTreeMap<String, Facts>);

impl Index {
    /// Reads `sessions.json`; entries that are none cost only themselves. Gives their number.
    pub fn read(text: &[u8]) -> serde_json::Result<(Index, usize)> {
        let entries: BTreeMap<String, Value> = serde_json::from_slice(text)?;
        let mut index = Index::default();
        let mut damaged = 0;
        for (key, entry) in entries {
            match serde_json::from_value::<Entry>(entry) {
                Ok(entry) => index.0.extend([entry.facts(&key)]),
                Err(_) => damaged += 1,
            }
        }
        Ok((index, damaged))
    }

    /// The session a key stood for at some time: of several the last that had begun.
    pub fn holder(&self, key: &str, at_ms: Option<i64>) -> Option<&str> {
        let mut held: Vec<_> = self.0.iter().filter(|(_, facts)| facts.key == key).collect();
        held.sort_by_key(|(_, facts)| facts.started_ms);
        let began = |facts: &Facts| match (facts.started_ms, at_ms) {
            (Some(started), Some(at)) => started <= at,
            _ => true,
        };
        let last = held.iter().rev().find(|(_, facts)| began(facts)).or(held.first());
        last.map(|(id, _)| id.as_str())
    }
}

impl Facts {
    /// Why a session has no person in it.
    pub fn skip(&self, session: &str) -> Option<&'static str> {
        if self.created_via.as_deref() == Some("cron") {
            return Some("cron");
        }
        let by = self.spawned_by.as_deref().and_then(automatic);
        let probe = session.starts_with("model-run-").then_some("probe");
        automatic(&self.key).or(by).or(probe)
    }

    /// How the last turn ended, where the agent says so.
    pub fn ending(&self) -> Option<Signal> {
        match self.status.as_deref() {
            Some("killed") => Some(Signal::TurnInterrupted),
            Some("failed" | "timeout") => Some(Signal::TurnFailed),
            _ if self.aborted => Some(Signal::TurnInterrupted),
            Some("done") => Some(Signal::TurnSucceeded),
            _ => None,
        }
    }
}

/// What a key says of a session that no person began. Keys are `agent:<id>:<rest>`, older ones
/// `<rest>` alone.
fn automatic(key: &str) -> Option<&'static str> {
    let key = key.to_ascii_lowercase();
    let rest = match key.strip_prefix("agent:").and_then(|rest| rest.split_once(':')) {
        Some((_, rest)) => rest,
        None => &key,
    };
    if rest.starts_with("cron:") {
        Some("cron")
    } else if rest.starts_with("hook:") {
        Some("hook")
    } else if rest == "heartbeat" || rest.ends_with(":heartbeat") {
        Some("heartbeat")
    } else if rest.starts_with("explicit:model-run-") {
        Some("probe")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_say_which_sessions_no_person_began() {
        assert_eq!(automatic("agent:main:cron:daily:run:7"), Some("cron"));
        assert_eq!(automatic("cron:daily"), Some("cron"));
        assert_eq!(automatic("hook:5"), Some("hook"));
        assert_eq!(automatic("agent:main:main:heartbeat"), Some("heartbeat"));
        assert_eq!(automatic("agent:main:explicit:model-run-1"), Some("probe"));
        assert_eq!(automatic("agent:main:telegram:direct:cron:1"), None);
        assert_eq!(automatic("agent:cron:main"), None);
    }

    #[test]
    fn what_a_cron_job_started_is_a_cron_job() {
        let by = Some("agent:main:cron:daily:run:7".to_string());
        let facts = Facts { spawned_by: by, ..Facts::default() };
        assert_eq!(facts.skip("s"), Some("cron"));
    }

    #[test]
    fn a_key_is_held_by_the_session_that_had_begun() {
        let facts =
            |started| Facts { key: "k".into(), started_ms: Some(started), ..Facts::default() };
        let index = Index([("a".into(), facts(10)), ("b".into(), facts(20))].into());
        assert_eq!(index.holder("k", Some(15)), Some("a"));
        assert_eq!(index.holder("k", Some(25)), Some("b"));
        assert_eq!(index.holder("other", None), None);
    }
}
