//! Redaction of rows, a session at a time, and what it found.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::example::{identity, number_repeats};
use super::{Example, Held, Pager, Rows, Stage};
use crate::chance::Chance;
use crate::files;
use crate::progress::{Counter, Observer};
use crate::redact::{
    Canaries, Class, Dropping, Known, Policy, Proof, Redacted, Redactor, canaries,
};
use crate::trace::Trace;

/// Rows in whose shadow copies canaries are planted, at most.
const CANARY_ROWS: usize = 64;

/// What redaction found in the rows, and the proof of it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Redaction {
    /// What was asked for.
    pub policy: PolicyNote,
    /// Rows that went through it.
    pub rows: u64,
    /// Sessions those belong to.
    pub sessions: u64,
    /// Rows in which something was replaced.
    pub changed: u64,
    /// Messages left out for what was found in them.
    pub dropped_messages: u64,
    /// Rows that joined these without going through it: above zero nothing is proven.
    pub unredacted: u64,
    /// Canaries, replaced values by rule, and what the second scan found.
    pub proof: Proof,
}

/// A policy as the manifest shows it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct PolicyNote {
    /// What is redacted.
    pub classes: Vec<String>,
    /// Classes switched off nevertheless.
    pub without: Vec<String>,
    /// What costs the message it is found in.
    pub drop_message: Vec<String>,
    /// What costs the session.
    pub drop_session: Vec<String>,
    /// How many literal values are allowed to stay.
    pub allowed_values: u64,
    /// The names of the team's own rules.
    pub team_rules: Vec<String>,
    /// SHA-256 of the files they came from.
    pub rule_files: Vec<String>,
}

impl PolicyNote {
    fn of(policy: &Policy) -> Self {
        let names =
            |classes: &BTreeSet<Class>| classes.iter().map(|c| c.as_str().to_string()).collect();
        PolicyNote {
            classes: names(&policy.classes),
            without: names(&policy.without),
            drop_message: names(&policy.drop_message),
            drop_session: names(&policy.drop_session),
            allowed_values: policy.allow.len() as u64,
            team_rules: policy.extra.iter().map(|r| r.name.clone()).collect(),
            rule_files: policy.rule_files.clone(),
        }
    }
}

impl Redaction {
    /// Both together.
    pub fn and(mut self, other: &Redaction) -> Redaction {
        self.rows += other.rows;
        self.sessions += other.sessions;
        self.changed += other.changed;
        self.unredacted += other.unredacted;
        self.dropped_messages += other.dropped_messages;
        self.proof.and(&other.proof);
        self
    }
}

/// Redacts every row, all rows of one session together: a value has the same placeholder in a
/// session and in what was generated from it. Rows that lost too much of their text are dropped.
///
/// A row that changed gets a new id, and a session named after its content a new name: a digest
/// of the text as it was could be searched for what was taken out.
pub fn redact(
    rows: &Rows,
    redactor: &Redactor,
    seed: u64,
    observer: &dyn Observer,
) -> Result<Rows> {
    redact_knowing(rows, redactor, &[], seed, observer)
}

/// The same, where it is known of some rows which values in them have to go: a list for each row,
/// or none at all.
pub fn redact_knowing(
    rows: &Rows,
    redactor: &Redactor,
    known: &[Vec<Known>],
    seed: u64,
    observer: &dyn Observer,
) -> Result<Rows> {
    observer.begin("redact", Some(rows.len() as u64), "rows");
    let redacted = by_session(&rows.examples, redactor, known, observer, |held, session, found| {
        Session::of(held, session, found, redactor, &rows.pager)
    });
    let recall = plant(&rows.examples, redactor, seed);
    observer.end();
    let redacted = redacted?;
    let mut account = Redaction {
        policy: PolicyNote::of(redactor.policy()),
        rows: rows.len() as u64,
        sessions: redacted.len() as u64,
        ..Redaction::default()
    };
    account.proof.canaries(recall?);

    let mut places: Vec<Option<Held>> = vec![None; rows.len()];
    let mut dropped = BTreeMap::new();
    for (members, session) in redacted {
        account.proof.and(&session.proof);
        account.changed += session.changed;
        account.dropped_messages += session.dropped_messages;
        for (at, row) in members.into_iter().zip(session.rows) {
            match row {
                Ok(row) => places[at] = Some(row),
                Err(reason) => *dropped.entry(reason.to_string()).or_default() += 1,
            }
        }
    }
    let mut kept = Vec::with_capacity(rows.len());
    let mut former = Vec::with_capacity(rows.len());
    for (before, row) in rows.examples.iter().zip(places) {
        if let Some(row) = row {
            former.push((row.id != before.id).then(|| before.id.clone()));
            kept.push(row);
        }
    }
    number_repeats(&mut kept);
    let renamed: BTreeMap<String, String> = former
        .into_iter()
        .zip(&kept)
        .filter_map(|(former, row)| Some((former?, row.id.clone())))
        .collect();
    for row in &mut kept {
        if let Some(name) = row.derived_from.as_ref().and_then(|parent| renamed.get(parent)) {
            *row = row.known_as(None, Some(name.clone()), None);
        }
    }
    let rows = rows.after(kept, Stage::passed("redact", rows.len(), dropped));
    Ok(rows.noting(|noted| noted.redaction = Some(account)))
}

/// What became of the rows of one session.
#[derive(Default)]
struct Session {
    /// Each row, or the reason it was dropped for.
    rows: Vec<Result<Held, &'static str>>,
    proof: Proof,
    changed: u64,
    dropped_messages: u64,
}

impl Session {
    fn of(
        held: &[&Held],
        examples: &[Arc<Example>],
        found: Vec<Redacted>,
        redactor: &Redactor,
        pager: &Pager,
    ) -> Result<Session> {
        let dropping: Vec<Dropping> =
            found.iter().map(|found| Dropping::of(redactor.policy(), found)).collect();
        let lost = dropping.iter().any(|dropping| dropping.session);
        let name = session_name(examples, &found, redactor)?;
        let mut session = Session::default();
        let rows = held.iter().zip(examples);
        for (((held, example), mut found), dropping) in rows.zip(found).zip(dropping) {
            session.proof.redacted(&found);
            let reason = if lost {
                Some("drop_session")
            } else if redactor.too_much(&found) {
                Some("redacted_share")
            } else if dropping.messages.len() == found.trace.messages.len()
                && !found.trace.messages.is_empty()
            {
                Some("drop_message")
            } else {
                None
            };
            if !dropping.messages.is_empty() {
                session.dropped_messages += dropping.messages.len() as u64;
                found.trace.messages = dropping.left(&found.trace.messages);
            }
            let changed = found.trace != example.trace;
            session.changed += u64::from(changed);
            if let Some(reason) = reason {
                session.rows.push(Err(reason));
                continue;
            }
            if !changed && name.is_none() {
                session.rows.push(Ok((*held).clone()));
                continue;
            }
            let mut example = Example {
                id: String::new(),
                kind: example.kind,
                derived_from: example.derived_from.clone(),
                component: example.component.clone(),
                trace: found.trace,
            };
            if let Some(name) = &name {
                example.trace.session.clone_from(name);
            }
            example.id = identity(example.kind, &example.trace, 0);
            session.rows.push(Ok(pager.hold(example)?));
        }
        Ok(session)
    }
}

/// What `take` makes of every session's rows and what redaction made of them, with the places of
/// those rows.
pub(super) fn by_session<T: Send>(
    rows: &[Held],
    redactor: &Redactor,
    known: &[Vec<Known>],
    observer: &dyn Observer,
    take: impl Fn(&[&Held], &[Arc<Example>], Vec<Redacted>) -> Result<T> + Sync,
) -> Result<Vec<(Vec<usize>, T)>> {
    let mut numbers: HashMap<(&str, &str), usize> = HashMap::new();
    let mut sessions: Vec<Vec<usize>> = Vec::new();
    for (at, row) in rows.iter().enumerate() {
        let number = *numbers.entry((&row.source, &row.session)).or_insert_with(|| {
            sessions.push(Vec::new());
            sessions.len() - 1
        });
        sessions[number].push(at);
    }
    let counter = Counter::new(observer);
    let one = |members: Vec<usize>| -> Result<(Vec<usize>, T)> {
        members.iter().try_for_each(|_| counter.tick())?;
        let held: Vec<&Held> = members.iter().map(|at| &rows[*at]).collect();
        let examples = held.iter().map(|row| row.read()).collect::<Result<Vec<_>>>()?;
        let traces: Vec<&Trace> = examples.iter().map(|example| &example.trace).collect();
        let known: Vec<Known> =
            members.iter().filter_map(|at| known.get(*at)).flatten().cloned().collect();
        let redacted = redactor
            .session_knowing(&traces, &known)
            .with_context(|| format!("{}: cannot redact it", examples[0].place()))?;
        ensure!(
            redacted.len() == members.len(),
            "redaction gave back fewer rows than it was given"
        );
        Ok((members, take(&held, &examples, redacted)?))
    };
    let redacted: Vec<Result<_>> = sessions.into_par_iter().map(one).collect();
    redacted.into_iter().collect()
}

/// Plants canaries in copies of some rows, the same for any order of rows.
fn plant(rows: &[Held], redactor: &Redactor, seed: u64) -> Result<Canaries> {
    let mut rows: Vec<&Held> = rows.iter().collect();
    rows.sort_by(|a, b| a.id.cmp(&b.id));
    Chance::new(seed, "rows for canaries").shuffle(&mut rows);
    rows.truncate(CANARY_ROWS);
    let examples = rows.into_iter().map(Held::read).collect::<Result<Vec<_>>>()?;
    let traces: Vec<&Trace> = examples.iter().map(|e| &e.trace).collect();
    canaries(redactor, &traces, seed).context("cannot plant canaries")
}

/// A new name for a session whose name says too much: something personal, or a digest of text
/// that has changed.
fn session_name(
    examples: &[Arc<Example>],
    redacted: &[Redacted],
    redactor: &Redactor,
) -> Result<Option<String>> {
    let Some(session) = examples.first().map(|e| &e.trace.session) else { return Ok(None) };
    let digest = session
        .strip_prefix("raw-")
        .is_some_and(|rest| rest.len() == 16 && rest.bytes().all(|b| b.is_ascii_hexdigit()));
    if !digest {
        let name = redactor.text(session)?;
        return Ok((name != *session).then_some(name));
    }
    let changed = examples.iter().zip(redacted).find(|(example, redacted)| {
        !example.kind.is_generated() && redacted.trace != example.trace
    });
    Ok(changed.map(|(_, redacted)| {
        let mut messages = redacted.trace.messages.clone();
        messages.iter_mut().for_each(|m| m.row = 0);
        let bytes = serde_json::to_vec(&messages).unwrap_or_default();
        format!("raw-{}", &files::digest(&bytes)[..16])
    }))
}

#[cfg(test)]
mod tests {
    use super::super::Kind;
    use super::super::testing::{chat, prose, read, rows};
    use super::*;
    use crate::progress::Silent;

    fn redactor() -> Redactor {
        Redactor::new(Policy::default()).unwrap()
    }

    fn mail(name: &str) -> String {
        format!("write to {name}@quarry-mail.com about it, {}", prose(1, 20))
    }

    #[test]
    fn a_session_and_what_was_made_from_it_share_their_placeholders() {
        let parent = chat("a", &mail("mira.holt"), "done");
        let mut trace = parent.trace.clone();
        trace.messages[0].content = format!("first {}", mail("tom.berg"));
        trace.messages[1].content = format!("then {}", mail("mira.holt"));
        let child = Example::generated(Kind::Synthetic, &parent, trace, 0);
        let out = redact(&rows(vec![parent.clone(), child]), &redactor(), 1, &Silent).unwrap();
        let text =
            |n: usize, m: usize| out.examples[n].read().unwrap().trace.messages[m].content.clone();
        let placeholder = |s: &str| s[s.find('<').unwrap()..=s.find('>').unwrap()].to_string();
        assert_eq!(placeholder(&text(0, 0)), placeholder(&text(1, 1)));
        assert_ne!(placeholder(&text(0, 0)), placeholder(&text(1, 0)));
        assert_ne!(out.examples[0].id, parent.id);
        assert_eq!(out.examples[1].derived_from.as_ref(), Some(&out.examples[0].id));
        let account = out.account.redaction.as_ref().unwrap();
        assert_eq!((account.rows, account.sessions, account.changed), (2, 1, 2));
        assert!(account.proof.planted > 0);
    }

    #[test]
    fn untouched_rows_keep_their_id_and_redacting_again_changes_nothing() {
        let all = vec![chat("a", "hello there", "hi"), chat("b", &mail("mira.holt"), "done")];
        let once = redact(&rows(all.clone()), &redactor(), 1, &Silent).unwrap();
        assert_eq!(once.examples[0].id, all[0].id);
        let twice = redact(&once, &redactor(), 1, &Silent).unwrap();
        assert_eq!(read(&once.examples), read(&twice.examples));
    }

    #[test]
    fn rows_that_nothing_is_taken_from_are_not_packed_again() {
        let folder = tempfile::tempdir().unwrap();
        let pager = Pager::new(0, folder.path());
        let all = [chat("a", &prose(1, 50), "hi"), chat("b", &mail("mira.holt"), "done")];
        let held: Vec<Held> = all.into_iter().map(|row| pager.hold(row).unwrap()).collect();
        let redacted = |of: &[Held]| {
            let (before, rows) = (pager.paged_out(), Rows::of(&Arc::new(of.to_vec())));
            redact(&rows.paged(&pager), &redactor(), 1, &Silent).unwrap();
            pager.paged_out() - before
        };
        assert_eq!(redacted(&held[..1]), 0);
        assert!(redacted(&held) > 0);
    }

    #[test]
    fn what_stands_in_several_rows_counts_in_each() {
        let parent = chat("a", &mail("mira.holt"), "done");
        let child = Example::generated(Kind::Synthetic, &parent, parent.trace.clone(), 0);
        let share = |all: Vec<Example>| {
            let out = redact(&rows(all), &redactor(), 1, &Silent).unwrap();
            let account = out.account.redaction.clone().unwrap();
            (out.len(), account.changed, account.proof.by_rule.values().sum::<u64>())
        };
        assert_eq!(share(vec![parent.clone()]), (1, 1, 1));
        assert_eq!(share(vec![parent, child]), (2, 2, 2));
    }

    #[test]
    fn a_row_that_was_little_but_secrets_is_dropped() {
        let all = vec![chat("a", "mira.holt@quarry-mail.com", "ok"), chat("b", "hello", "hi")];
        let out = redact(&rows(all), &redactor(), 1, &Silent).unwrap();
        assert_eq!(out.len(), 1);
        let stage = out.stages.last().unwrap();
        assert_eq!(stage.dropped["redacted_share"], 1);
        assert!(stage.adds_up());
    }

    #[test]
    fn a_policy_drops_sessions_and_messages_by_class() {
        let key = format!("-----BEGIN PRIVATE KEY-----\n{}\n", "Zk4mQ9xTb2LcV7wR".repeat(4));
        let all = vec![
            chat("a", &format!("{key}{}", prose(5, 60)), "never show that"),
            chat("a", "hello again", "hi"),
            chat("b", &mail("mira.holt"), "done"),
            chat("c", "hello", &mail("tom.berg")),
        ];
        let with = |session: &[Class], message: &[Class]| {
            let policy = Policy {
                drop_session: session.iter().copied().collect(),
                drop_message: message.iter().copied().collect(),
                ..Policy::default()
            };
            redact(&rows(all.clone()), &Redactor::new(policy).unwrap(), 1, &Silent).unwrap()
        };
        let out = with(&[Class::PrivateKey], &[Class::Email]);
        let stage = out.stages.last().unwrap();
        // A question goes with its turn, an answer alone.
        assert_eq!((stage.dropped["drop_session"], stage.dropped["drop_message"]), (2, 1));
        assert_eq!(out.len(), 1);
        assert_eq!(out.examples[0].read().unwrap().trace.messages.len(), 1);
        assert_eq!(out.account.redaction.as_ref().unwrap().dropped_messages, 3);
        assert!(stage.adds_up());
        assert_eq!(with(&[], &[]).len(), 4);
        // What was redacted earlier counts by its placeholder.
        let once = with(&[], &[]);
        let strict = Policy { drop_session: [Class::PrivateKey].into(), ..Policy::default() };
        let again = redact(&once, &Redactor::new(strict).unwrap(), 1, &Silent).unwrap();
        assert_eq!(again.len(), 2);
    }

    #[test]
    fn what_is_known_of_a_row_goes_from_its_whole_session() {
        let all = vec![
            chat("a", "ring Corvane today", "I rang them"),
            chat("a", "and Corvane2?", "no, Corvane. cm9ydCBDb3J2YW5lIGFnYWlu"),
            chat("b", "Corvane is a village", "yes"),
        ];
        let known = |value: &str| Known { rule: "customer".into(), value: value.into() };
        let known = [vec![known("Corvane")], Vec::new(), Vec::new()];
        let out = redact_knowing(&rows(all), &redactor(), &known, 1, &Silent).unwrap();
        let text =
            |n: usize, m: usize| out.examples[n].read().unwrap().trace.messages[m].content.clone();
        assert_eq!(text(0, 0), "ring <SECRET_TEAM_CUSTOMER_1> today");
        assert!(text(1, 1).starts_with("no, <SECRET_TEAM_CUSTOMER_1>. "), "{}", text(1, 1));
        assert_eq!(text(2, 0), "Corvane is a village");
    }

    #[test]
    fn a_session_named_after_its_content_is_named_anew() {
        let secret = chat("raw-0123456789abcdef", &mail("mira.holt"), "done");
        let plain = chat("raw-fedcba9876543210", "hello", "hi");
        let out = redact(&rows(vec![secret, plain]), &redactor(), 1, &Silent).unwrap();
        assert_ne!(out.examples[0].read().unwrap().trace.session, "raw-0123456789abcdef");
        assert_eq!(out.examples[1].session.as_ref(), "raw-fedcba9876543210");
    }

    #[test]
    fn a_session_named_after_a_person_is_named_anew() {
        let named = chat("mira.holt@quarry-mail.com/7", "hello", "hi");
        let plain = chat("550e8400-e29b-41d4-a716-446655440000", "hello", "hi");
        let out = redact(&rows(vec![named, plain.clone()]), &redactor(), 1, &Silent).unwrap();
        assert_eq!(out.examples[0].read().unwrap().trace.session, "<EMAIL_1>/7");
        assert_eq!(out.examples[1].read().unwrap().as_ref(), &plain);
    }

    #[test]
    fn rows_that_join_later_are_not_proven() {
        let clean = redact(&rows(vec![chat("a", "hello", "hi")]), &redactor(), 1, &Silent).unwrap();
        let late = rows(vec![chat("b", "hello", "hi")]);
        for both in [clean.and(&late), late.and(&clean)] {
            assert_eq!(both.account.redaction.as_ref().unwrap().unredacted, 1);
            let again = redact(&both, &redactor(), 1, &Silent).unwrap();
            assert_eq!(again.account.redaction.as_ref().unwrap().unredacted, 0);
        }
    }
}
