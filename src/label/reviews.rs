//! What a person said of single answers: `reviews.jsonl`, one verdict a line.
//!
//! Lines are only ever added; of several about one answer the last counts, and taking a verdict
//! back is a line as well. Each names the answer by session and place and holds a digest of what
//! it said: a session that changed since is noticed, and the verdict is not applied to an answer
//! that nobody has seen.
//!
//! A correction is kept redacted, and redacted once more with its session when it joins a run; the
//! file's mode is 0600.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{ErrorKind, Write};
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::files;
use crate::trace::catalogue::{Generation, normalise};
use crate::trace::{Evidence, Label, Message, Outcome, Role, Trace};

/// The fact that a label rests on where a person gave it.
pub const REVIEWED: &str = "reviewed";

/// Who wrote a corrected answer.
pub const HUMAN: &str = "human";

/// What a person says of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// As it should be.
    Good,
    /// Not to be learnt.
    Bad,
    /// Wrong, and this is what it should have said.
    Fix,
    /// The earlier verdict is taken back.
    Undone,
}

impl Verdict {
    /// The word the file uses.
    pub fn as_str(self) -> &'static str {
        match self {
            Verdict::Good => "good",
            Verdict::Bad => "bad",
            Verdict::Fix => "fix",
            Verdict::Undone => "undone",
        }
    }
}

/// One line of the file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Review {
    /// Which agent or pool the session came from.
    pub source: String,
    /// The session's id.
    pub session: String,
    /// Which of the session's answers, from 1.
    pub answer: u64,
    /// A digest of what it said (see [`digest`]).
    pub digest: String,
    /// The verdict.
    pub verdict: Verdict,
    /// For a fix: the answer as it should have been.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<Message>,
    /// When it was given, in Unix milliseconds.
    pub time_ms: i64,
}

impl Review {
    /// A verdict on the message at a place; none where that is no answer.
    pub fn of(trace: &Trace, at: usize, verdict: Verdict, time_ms: i64) -> Option<Review> {
        let (answer, (_, message)) = (1..).zip(answers(trace)).find(|(_, (i, _))| *i == at)?;
        let (source, session) = (trace.source.clone(), trace.session.clone());
        let digest = digest(message);
        Some(Review { source, session, answer, digest, verdict, message: None, time_ms })
    }

    /// Which answer it is about.
    pub fn about(&self) -> About {
        (self.source.clone(), self.session.clone(), self.answer)
    }
}

/// Source, session and number of an answer.
pub type About = (String, String, u64);

fn answers(trace: &Trace) -> impl Iterator<Item = (usize, &Message)> {
    trace.messages.iter().enumerate().filter(|(_, m)| m.role == Role::Assistant)
}

/// A digest of what an answer says: its text, and its calls by id and values. The names of tools
/// and arguments stay out, since calls may be said in another version's terms.
pub fn digest(message: &Message) -> String {
    let mut hasher = Sha256::new();
    let mut add = |text: &str| {
        hasher.update((text.len() as u64).to_le_bytes());
        hasher.update(text);
    };
    add(&message.content);
    for call in &message.tool_calls {
        add(&call.id);
        call.arguments.values().for_each(|value| add(&value.to_string()));
    }
    files::hex(&hasher.finalize()[..8])
}

/// The verdicts that count, one an answer.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Reviews {
    by_answer: BTreeMap<About, Review>,
    /// The SHA-256 of the file, in hex; empty where there is none.
    pub sha256: String,
}

/// What came of applying verdicts to one session.
#[derive(Debug, Clone, Default)]
pub struct Applied {
    /// Those that found their answer.
    pub found: BTreeSet<About>,
    /// Those whose answer says something else by now.
    pub changed: BTreeSet<About>,
    /// Corrections, with the place of the answer that each replaces.
    pub fixes: Vec<(usize, Message)>,
}

impl Reviews {
    /// Reads the file; one that does not exist holds nothing. A bad line is an error, but for a
    /// last line that a killed process left unfinished.
    pub fn read(path: &Path) -> Result<Reviews> {
        let Some(bytes) = bytes(path)? else { return Ok(Reviews::default()) };
        let mut reviews = Reviews { sha256: files::digest(&bytes), ..Reviews::default() };
        let whole = whole(&bytes);
        for (line, text) in (1..).zip(whole.split(|b| *b == b'\n')) {
            if text.iter().all(u8::is_ascii_whitespace) {
                continue;
            }
            let review = parse(text).with_context(|| format!("{}:{line}", path.display()))?;
            reviews.note(review);
        }
        Ok(reviews)
    }

    /// Adds a line to the file, which is on disk before this returns; mode 0600. The file is
    /// never half-written: it is replaced by a longer one.
    pub fn append(path: &Path, review: &Review) -> Result<()> {
        let before = bytes(path)?.unwrap_or_default();
        let whole = whole(&before);
        files::write_atomically(path, |out| {
            out.write_all(whole)?;
            if !whole.is_empty() && !whole.ends_with(b"\n") {
                out.write_all(b"\n")?;
            }
            serde_json::to_writer(&mut *out, review)?;
            Ok(out.write_all(b"\n")?)
        })
    }

    /// Takes a verdict into account.
    pub fn note(&mut self, review: Review) {
        match review.verdict {
            Verdict::Undone => self.by_answer.remove(&review.about()),
            _ => self.by_answer.insert(review.about(), review),
        };
    }

    /// All of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = &Review> {
        self.by_answer.values()
    }

    /// Corrections in the terms of a version of OpenCode, as its traces are; gives how many
    /// cannot be said in them and are verdicts without a correction from now on.
    pub fn say_in(&mut self, target: Generation) -> u64 {
        let mut refused = 0;
        for review in self.by_answer.values_mut() {
            let Some(message) = review.message.take() else { continue };
            let source = review.source.clone();
            let mut trace = Trace { source, messages: vec![message], ..Trace::default() };
            match normalise(&mut trace, target).refused {
                0 => review.message = trace.messages.pop(),
                _ => refused += 1,
            }
        }
        refused
    }

    /// Puts a label on every answer of a session that has a verdict. What a correction replaces
    /// is bad.
    pub fn apply(&self, trace: &mut Trace) -> Applied {
        let mut applied = Applied::default();
        let key = |answer| (trace.source.clone(), trace.session.clone(), answer);
        let (first, last) = (key(0), key(u64::MAX));
        let places: Vec<usize> = answers(trace).map(|(at, _)| at).collect();
        for (about, review) in self.by_answer.range(first..=last) {
            let at = usize::try_from(review.answer - 1).ok().and_then(|n| places.get(n));
            let Some(at) = at.filter(|at| digest(&trace.messages[**at]) == review.digest) else {
                applied.changed.insert(about.clone());
                continue;
            };
            applied.found.insert(about.clone());
            let message = &mut trace.messages[*at];
            let outcome = match review.verdict {
                Verdict::Good => Outcome::Good,
                _ => Outcome::Bad,
            };
            let evidence = vec![Evidence { fact: REVIEWED.into(), row: message.row }];
            message.label = Some(Label { outcome, evidence });
            if let Some(fix) = &review.message {
                applied.fixes.push((*at, corrected(fix, message)));
            }
        }
        applied
    }
}

/// A correction as it stands in a session in place of an answer.
fn corrected(fix: &Message, answer: &Message) -> Message {
    let evidence = vec![Evidence { fact: REVIEWED.into(), row: answer.row }];
    Message {
        reasoning_content: fix.reasoning_content.clone(),
        tool_calls: fix.tool_calls.clone(),
        author: Some(HUMAN.into()),
        time_ms: answer.time_ms,
        label: Some(Label { outcome: Outcome::Good, evidence }),
        file: answer.file.clone(),
        row: answer.row,
        ..Message::text(Role::Assistant, fix.content.clone())
    }
}

fn bytes(path: &Path) -> Result<Option<Vec<u8>>> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e).with_context(|| format!("cannot read {}", path.display())),
    }
}

/// The lines without what is left of a last one whose writer was killed.
fn whole(bytes: &[u8]) -> &[u8] {
    let finished = bytes.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
    match parse(&bytes[finished..]) {
        Ok(_) => bytes,
        Err(_) => &bytes[..finished],
    }
}

/// What a line says; an error never quotes it.
fn parse(line: &[u8]) -> Result<Review> {
    let value: Value = match serde_json::from_slice(line) {
        Ok(value) => value,
        Err(e) => bail!("not JSON at column {}", e.column()),
    };
    let Ok(review) = serde_json::from_value::<Review>(value) else {
        bail!(
            "not a verdict, which has source, session, answer, digest, verdict (good, bad, fix or \
             undone), time_ms and, for a fix, the message"
        );
    };
    match &review.message {
        _ if review.answer == 0 => bail!("answers are numbered from 1"),
        Some(m) if m.role != Role::Assistant => bail!("a corrected message is the assistant's"),
        Some(_) if review.verdict != Verdict::Fix => bail!("only a fix has a message"),
        None if review.verdict == Verdict::Fix => bail!("a fix without its message"),
        _ => Ok(review),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::trace::ToolCall;

    fn call(id: &str, name: &str, arguments: Value) -> ToolCall {
        let arguments = arguments.as_object().cloned().unwrap_or_default();
        ToolCall { id: id.into(), name: name.into(), arguments }
    }

    fn session(source: &str, answers: &[&str]) -> Trace {
        let turn = |text: &&str| {
            [Message::text(Role::User, "do it"), Message::text(Role::Assistant, *text)]
        };
        Trace {
            source: source.into(),
            session: "s".into(),
            messages: answers.iter().flat_map(turn).collect(),
            ..Trace::default()
        }
    }

    fn reviews(all: Vec<Review>) -> Reviews {
        let mut reviews = Reviews::default();
        all.into_iter().for_each(|review| reviews.note(review));
        reviews
    }

    fn outcomes(trace: &Trace) -> Vec<Option<Outcome>> {
        answers(trace).map(|(_, m)| m.label.as_ref().map(|l| l.outcome)).collect()
    }

    #[test]
    fn the_digest_follows_what_is_said_but_not_the_names_of_tools() {
        let said = |text: &str, call: ToolCall| {
            digest(&Message {
                tool_calls: vec![call],
                ..Message::text(Role::Assistant, text.to_string())
            })
        };
        let one = said("a", call("c", "read", json!({"filePath": "a.rs"})));
        assert_eq!(one, said("a", call("c", "read", json!({"path": "a.rs"}))));
        assert_ne!(one, said("b", call("c", "read", json!({"path": "a.rs"}))));
        assert_ne!(one, said("a", call("c", "read", json!({"path": "b.rs"}))));
        assert_ne!(one, said("a", call("d", "read", json!({"path": "a.rs"}))));
    }

    #[test]
    fn the_last_verdict_counts_and_can_be_taken_back() {
        let trace = session("raw", &["one", "two"]);
        let of = |at, verdict| Review::of(&trace, at, verdict, 0).unwrap();
        let (good, bad, undone) = (Verdict::Good, Verdict::Bad, Verdict::Undone);
        let all = vec![of(1, good), of(3, good), of(1, bad), of(3, undone)];
        let mut judged = trace.clone();
        assert_eq!(reviews(all).apply(&mut judged).found.len(), 1);
        assert_eq!(outcomes(&judged), [Some(Outcome::Bad), None]);
        assert!(Review::of(&trace, 0, good, 0).is_none(), "a question is no answer");
    }

    #[test]
    fn a_verdict_on_what_was_not_said_is_not_applied() {
        let seen = session("raw", &["one", "two"]);
        let known = reviews(vec![
            Review::of(&seen, 1, Verdict::Good, 0).unwrap(),
            Review::of(&seen, 3, Verdict::Good, 0).unwrap(),
        ]);
        let mut now = session("raw", &["one", "other"]);
        let applied = known.apply(&mut now);
        assert_eq!((applied.found.len(), applied.changed.len()), (1, 1));
        assert_eq!(outcomes(&now), [Some(Outcome::Good), None]);
        let mut shorter = session("raw", &["one"]);
        assert_eq!(known.apply(&mut shorter).changed.len(), 1);
        let mut other = session("codex", &["one", "two"]);
        let applied = known.apply(&mut other);
        assert!(applied.found.is_empty() && applied.changed.is_empty(), "another session");
    }

    #[test]
    fn a_correction_is_said_in_the_terms_of_the_run() {
        let trace = session("opencode", &["one"]);
        let with = |call: ToolCall| {
            let fix = Message { tool_calls: vec![call], ..Message::text(Role::Assistant, "") };
            let review = Review::of(&trace, 1, Verdict::Fix, 0).unwrap();
            reviews(vec![Review { message: Some(fix), ..review }])
        };
        let mut known = with(call("c", "bash", json!({"command": "ls"})));
        assert_eq!(known.say_in(Generation::Two), 0);
        let applied = known.apply(&mut trace.clone());
        assert_eq!(applied.fixes[0].1.tool_calls[0].name, "shell");

        let mut known = with(call("c", "todowrite", json!({"todos": []})));
        assert_eq!(known.say_in(Generation::Two), 1);
        let mut judged = trace.clone();
        assert!(known.apply(&mut judged).fixes.is_empty());
        assert_eq!(outcomes(&judged), [Some(Outcome::Bad)], "it is bad all the same");
    }
}
