//! Which sessions were held out before: a file that a run reads as one of its inputs, so that a
//! row once judged on is never trained on later.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use super::split::Part;
use crate::files;

/// The version of the file's layout.
pub const SCHEMA_VERSION: u32 = 1;

/// How the verdict that puts an adapter to use is written.
const PROMOTED: &str = "promote";

/// What earlier runs decided.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ledger {
    /// The layout's version.
    pub schema_version: u32,
    /// The part each session went to, by source and session.
    pub sessions: BTreeMap<String, Part>,
    /// Sessions that a counterexample took out of val or tune, for good.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub retired: BTreeSet<String>,
    /// Earlier verdicts, oldest first.
    #[serde(default)]
    pub verdicts: Vec<Judged>,
}

/// A candidate that was judged; each field but the verdict is a digest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Judged {
    /// The validation rows it was judged on.
    pub val: String,
    /// The adapter.
    pub candidate: String,
    /// All that the decision was made of, but for earlier verdicts.
    pub evidence: String,
    /// The verdict.
    pub verdict: String,
    /// The policies that gave it, by digest.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub policies: Vec<String>,
    /// Whether the evidence was such that a promotion was possible at all; only that is a look.
    #[serde(default = "counted")]
    pub look: bool,
}

fn counted() -> bool {
    true
}

impl Default for Ledger {
    fn default() -> Self {
        Ledger {
            schema_version: SCHEMA_VERSION,
            sessions: BTreeMap::new(),
            retired: BTreeSet::new(),
            verdicts: Vec::new(),
        }
    }
}

impl Ledger {
    /// Reads a ledger; a file that does not exist yet is an empty one.
    pub fn read(path: &Path) -> Result<Ledger> {
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Ledger::default()),
            Err(e) => {
                return Err(e)
                    .with_context(|| format!("cannot read the ledger {}", path.display()));
            }
        };
        let ledger: Ledger = serde_json::from_str(&text).with_context(|| {
            format!(
                "{} is not a ledger; restore it from a copy, or start a new one by setting \
                 LEDGER to another file",
                path.display()
            )
        })?;
        if ledger.schema_version != SCHEMA_VERSION {
            bail!(
                "{}: the ledger has layout {}, this program writes {SCHEMA_VERSION}",
                path.display(),
                ledger.schema_version
            );
        }
        Ok(ledger)
    }

    /// Writes the ledger; never half of it.
    pub fn write(&self, path: &Path) -> Result<()> {
        files::write_json(path, self)
    }

    /// Adds what this ledger says of sessions to the file, and leaves everything else there as it
    /// is: a session that another run placed meanwhile stays where it is, but what is retired is
    /// trained on, whoever said so. A file that already says the same is not touched.
    pub fn add_to(&self, path: &Path) -> Result<()> {
        let known = Ledger::read(path)?;
        let mut all = known.clone();
        for (key, part) in &self.sessions {
            all.sessions.entry(key.clone()).or_insert(*part);
        }
        all.retired.extend(self.retired.iter().cloned());
        for key in &all.retired {
            all.sessions.insert(key.clone(), Part::Train);
        }
        if all != known || !path.exists() {
            all.write(path)?;
        }
        Ok(())
    }

    /// Whether a session was held out, by source and session.
    pub fn holds_out(&self, key: &str) -> bool {
        self.sessions.get(key).is_some_and(|part| *part != Part::Train)
    }

    /// How many candidates were judged on these validation rows once `candidate` is among them.
    pub fn judged(&self, val: &str, candidate: &str) -> u64 {
        let same = self.verdicts.iter().filter(|v| v.val == val).map(|v| v.candidate.as_str());
        same.chain([candidate]).collect::<BTreeSet<_>>().len() as u64
    }

    /// The looks before the one at this adapter on these validation rows, which is none of its own
    /// where it was looked at before: how many there were, and which of them, counted from 1,
    /// ended in a promotion.
    pub fn looks_before(&self, val: &str, candidate: &str) -> (u64, Vec<u64>) {
        let mut looks: Vec<(&str, &str, bool)> = Vec::new();
        for v in self.verdicts.iter().filter(|v| v.look) {
            let promoted = v.verdict == PROMOTED;
            match looks.iter_mut().find(|l| l.0 == v.val && l.1 == v.candidate) {
                Some(look) => look.2 |= promoted,
                None => looks.push((&v.val, &v.candidate, promoted)),
            }
        }
        let own = looks.iter().position(|l| l.0 == val && l.1 == candidate);
        looks.truncate(own.unwrap_or(looks.len()));
        let promoted = (1..).zip(&looks).filter(|(_, l)| l.2).map(|(n, _)| n).collect();
        (looks.len() as u64, promoted)
    }

    /// What was said before of this adapter on these validation rows.
    pub fn earlier<'a>(
        &'a self,
        val: &'a str,
        candidate: &'a str,
    ) -> impl Iterator<Item = &'a Judged> {
        self.verdicts.iter().filter(move |v| v.val == val && v.candidate == candidate)
    }

    /// Adds a verdict to the file; one that stands there already is not repeated.
    pub fn note(path: &Path, verdict: Judged) -> Result<()> {
        let mut ledger = Ledger::read(path)?;
        if !ledger.verdicts.contains(&verdict) {
            ledger.verdicts.push(verdict);
            ledger.write(path)?;
        }
        Ok(())
    }

    /// The digest of what it says of sessions: all that a split depends on.
    pub fn digest(&self) -> Result<String> {
        Ok(files::digest(&serde_json::to_vec(&self.sessions)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ledger_reads_back_and_a_missing_one_is_empty() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ledger.json");
        assert_eq!(Ledger::read(&path).unwrap(), Ledger::default());
        let mut ledger = Ledger::default();
        ledger.sessions.insert("raw/s1".into(), Part::Val);
        ledger.write(&path).unwrap();
        assert_eq!(Ledger::read(&path).unwrap(), ledger);
    }

    fn judged(val: &str, candidate: &str) -> Judged {
        let [val, candidate] = [val, candidate].map(String::from);
        let (evidence, verdict) = ("evidence".into(), "block".into());
        Judged { val, candidate, evidence, verdict, policies: Vec::new(), look: true }
    }

    #[test]
    fn looks_are_counted_once_each_and_only_where_a_promotion_was_possible() {
        let verdict = |candidate: &str, verdict: &str, look| Judged {
            verdict: verdict.into(),
            look,
            ..judged("rows", candidate)
        };
        let verdicts = vec![
            verdict("few", "inconclusive", false),
            verdict("a", "block", true),
            verdict("b", "inconclusive", true),
            verdict("b", "promote", true),
            verdict("a", "block", true),
        ];
        let ledger = Ledger { verdicts, ..Ledger::default() };
        assert_eq!(ledger.looks_before("rows", "a"), (0, vec![]));
        assert_eq!(ledger.looks_before("rows", "b"), (1, vec![]));
        assert_eq!(ledger.looks_before("rows", "c"), (2, vec![2]));
        assert_eq!(ledger.looks_before("other rows", "a"), (2, vec![2]));
        assert_eq!(ledger.earlier("rows", "b").count(), 2);
    }

    #[test]
    fn candidates_judged_on_the_same_rows_are_counted_once_each() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ledger.json");
        for (val, candidate) in [("a", "x"), ("a", "y"), ("a", "x"), ("b", "z")] {
            Ledger::note(&path, judged(val, candidate)).unwrap();
        }
        let ledger = Ledger::read(&path).unwrap();
        assert_eq!(ledger.verdicts.len(), 3);
        assert_eq!(ledger.judged("a", "x"), 2);
        assert_eq!(ledger.judged("a", "new"), 3);
        assert_eq!(ledger.judged("c", "x"), 1);
    }

    #[test]
    fn adding_keeps_what_others_wrote() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ledger.json");
        let of = |key: &str, part| {
            let sessions = BTreeMap::from([(key.to_string(), part)]);
            Ledger { sessions, ..Ledger::default() }
        };
        let verdicts = vec![judged("rows", "first")];
        Ledger { verdicts: verdicts.clone(), ..of("raw/a", Part::Val) }.write(&path).unwrap();
        of("raw/b", Part::Train).add_to(&path).unwrap();
        let all = Ledger::read(&path).unwrap();
        assert_eq!(all.verdicts, verdicts);
        assert_eq!(all.sessions.len(), 2);
    }

    #[test]
    fn a_broken_ledger_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ledger.json");
        for text in ["", "{", "{\"schema_version\": 9, \"sessions\": {}}", "{\"sessions\": {}}"] {
            std::fs::write(&path, text).unwrap();
            let error = format!("{:#}", Ledger::read(&path).unwrap_err());
            assert!(error.contains("ledger.json"), "{error}");
        }
    }
}
