//! One row of the dataset: a trace with its pedigree.

use std::cell::RefCell;
use std::collections::HashMap;

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::{Xxh3Builder, xxh3_128};

use super::Held;
use crate::trace::{Message, ToolCall, Trace};

/// Where an example comes from; only [`Kind::Real`] counts as evidence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A session someone really had.
    Real,
    /// Generated from tool schemas or by slot substitution.
    Synthetic,
    /// Generated to exercise a failure: injection, unknown tool, malformed result, …
    Adversarial,
    /// Written by hand against a past mistake.
    Counterexample,
    /// General data mixed in against forgetting.
    Replay,
}

impl Kind {
    /// Every kind, in the order reports list them.
    pub const ALL: [Kind; 5] =
        [Kind::Real, Kind::Synthetic, Kind::Adversarial, Kind::Counterexample, Kind::Replay];

    /// The name used in files and messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Real => "real",
            Kind::Synthetic => "synthetic",
            Kind::Adversarial => "adversarial",
            Kind::Counterexample => "counterexample",
            Kind::Replay => "replay",
        }
    }

    /// Whether a program made the example from another one.
    pub fn is_generated(self) -> bool {
        matches!(self, Kind::Synthetic | Kind::Adversarial)
    }

    /// The kind of this name.
    pub fn named(name: &str) -> anyhow::Result<Kind> {
        let found = Kind::ALL.into_iter().find(|kind| kind.as_str() == name);
        found.ok_or_else(|| {
            let names = Kind::ALL.map(Kind::as_str).join(", ");
            anyhow::anyhow!("there is no kind `{name}` of example; there are {names}")
        })
    }
}

/// One row of the dataset.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Example {
    /// Unique within a run and stable across runs: derived from session and content.
    pub id: String,
    /// Real or generated.
    pub kind: Kind,
    /// The id of the example this one was generated from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub derived_from: Option<String>,
    /// The connected component (session, copies, derivations) it is split with; set by the split.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub component: Option<String>,
    /// The session itself.
    #[serde(flatten)]
    pub trace: Trace,
}

impl Example {
    /// An example of some kind that was generated from no other.
    pub fn new(kind: Kind, trace: Trace) -> Self {
        let id = identity(kind, &trace, 0);
        Example { id, kind, derived_from: None, component: None, trace }
    }

    /// A session someone really had.
    pub fn real(trace: Trace) -> Self {
        Example::new(Kind::Real, trace)
    }

    /// The `nth` example a generator made from `parent`. It takes over the parent's session,
    /// source, repository, time and origin, so that redaction and split treat both together.
    pub fn generated(kind: Kind, parent: &Example, mut trace: Trace, nth: u64) -> Self {
        let from = &parent.trace;
        trace.session.clone_from(&from.session);
        trace.source.clone_from(&from.source);
        trace.repository.clone_from(&from.repository);
        trace.started_ms = from.started_ms;
        trace.origin.clone_from(&from.origin);
        let id = identity(kind, &trace, nth);
        Example { id, kind, derived_from: Some(parent.id.clone()), component: None, trace }
    }

    /// What identifies the session among all sources.
    pub fn session_key(&self) -> String {
        format!("{}/{}", self.trace.source, self.trace.session)
    }

    /// File, line and session, for messages about this row.
    pub fn place(&self) -> String {
        format!("{} (session {})", self.trace.origin, self.trace.session)
    }
}

impl AsRef<[Message]> for Example {
    fn as_ref(&self) -> &[Message] {
        &self.trace.messages
    }
}

/// A digest of what an example says: session, kind and messages, but neither the file it came
/// from nor its row there.
pub(super) fn identity(kind: Kind, trace: &Trace, nth: u64) -> String {
    #[derive(Serialize)]
    struct Content<'a> {
        role: &'a str,
        content: &'a str,
        reasoning: Option<&'a str>,
        calls: &'a [ToolCall],
        answers: Option<&'a str>,
        name: Option<&'a str>,
        train: bool,
    }
    let head = (kind, &trace.source, &trace.session, nth, &trace.tools, &trace.keywords);
    let body: Vec<Content> = trace
        .messages
        .iter()
        .map(|m| Content {
            role: m.role.as_str(),
            content: &m.content,
            reasoning: m.reasoning_content.as_deref(),
            calls: &m.tool_calls,
            answers: m.tool_call_id.as_deref(),
            name: m.name.as_deref(),
            train: m.train,
        })
        .collect();
    TEXT.with_borrow_mut(|text| {
        text.clear();
        // These types always serialise.
        let _ = serde_json::to_writer(&mut *text, &(head, body));
        let id = format!("{:032x}", xxh3_128(text));
        text.truncate(KEPT);
        text.shrink_to(KEPT);
        id
    })
}

/// What stays allocated of it, at most: a row beyond that is rare.
const KEPT: usize = 4 << 20;

thread_local! {
    // Kept, since it is as long as a row and needed for every one.
    static TEXT: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Gives the second and later rows of one id a number, in the order they stand.
pub(super) fn number_repeats(rows: &mut [Held]) {
    // Only looked up, never walked: the hasher's order does not matter.
    let mut seen: HashMap<u128, u64, Xxh3Builder> = HashMap::default();
    for row in rows {
        let n = seen.entry(xxh3_128(row.id.as_bytes())).or_default();
        *n += 1;
        if *n > 1 {
            *row = row.known_as(Some(format!("{}-{n}", row.id)), None, None);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::{Origin, Role};

    fn trace(session: &str, answer: &str) -> Trace {
        Trace {
            session: session.into(),
            source: "raw".into(),
            messages: vec![Message::text(Role::User, "hi"), Message::text(Role::Assistant, answer)],
            origin: Origin { file: "a.jsonl".into(), line: 1 },
            ..Trace::default()
        }
    }

    #[test]
    fn the_id_follows_content_not_place() {
        let one = Example::real(trace("s", "hello"));
        let mut moved = trace("s", "hello");
        moved.origin = Origin { file: "b.jsonl".into(), line: 9 };
        moved.messages[1].row = 9;
        assert_eq!(one.id, Example::real(moved).id);
        assert_ne!(one.id, Example::real(trace("s", "hullo")).id);
        assert_ne!(one.id, Example::real(trace("t", "hello")).id);
        assert_ne!(one.id, Example::new(Kind::Replay, trace("s", "hello")).id);
    }

    #[test]
    fn a_generated_example_stays_with_its_parent() {
        let parent = Example::real(trace("s", "hello"));
        let child = Example::generated(Kind::Adversarial, &parent, trace("x", "hello"), 0);
        assert_eq!(child.session_key(), parent.session_key());
        assert_eq!(child.derived_from.as_deref(), Some(parent.id.as_str()));
        let twin = Example::generated(Kind::Adversarial, &parent, trace("x", "hello"), 1);
        assert_ne!(child.id, twin.id);
    }

    #[test]
    fn repeated_ids_are_numbered() {
        let row = Example::real(trace("s", "a"));
        let mut rows = vec![Held::from(row.clone()), Held::from(row)];
        number_repeats(&mut rows);
        assert_eq!(rows[1].id, format!("{}-2", rows[0].id));
    }

    #[test]
    fn a_row_reads_back_as_it_was_written() {
        let row = Example::real(trace("s", "hello"));
        let text = serde_json::to_string(&row).unwrap();
        assert_eq!(serde_json::from_str::<Example>(&text).unwrap(), row);
    }
}
