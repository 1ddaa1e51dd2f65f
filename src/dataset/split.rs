//! Splits whole components into train, tune and val.
//!
//! A component is everything that could carry an answer from one side to the other: one session
//! and its continuations, exact and near copies, derivations, optionally one repository. Its
//! part follows from a hash of its oldest session, whatever else is in the data and whatever the
//! seed, so that tomorrow's run splits today's rows the same way. Copies are searched for here
//! once more, exactly: deduplication may have been skipped, and its sketches miss one in a
//! hundred.
//!
//! Only real rows are held out. Components with a counterexample are trained on; generated and
//! replay rows follow their parents into training or are dropped.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use anyhow::Result;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use super::components::{Component, Session, connect};
use super::ledger::Ledger;
use super::similarity::{Limits, Pair, pairs};
use super::{Account, Held, Kind, Rows, Stage, corrected};
use crate::config::Config;
use crate::progress::Observer;

mod retired;

/// A side of the split.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Part {
    /// Trained on.
    Train,
    /// Held out for early stopping and sweeps.
    Tune,
    /// Held out for the verdict.
    Val,
}

impl Part {
    /// The name used in files and messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Part::Train => "train",
            Part::Tune => "tune",
            Part::Val => "val",
        }
    }
}

/// How to split.
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    /// Keep the sessions of one repository together.
    pub by_repository: bool,
    /// Share of components for val.
    pub val: f64,
    /// Share of components for tune.
    pub tune: f64,
    /// From when on rows count as copies.
    pub limits: Limits,
    /// The fewest real rows of val; counterexamples may not bring it below that.
    pub min_val: u64,
}

impl Options {
    /// From `SPLIT_BY`, `VAL_FRACTION`, `TUNE_FRACTION`, `MIN_VAL_EXAMPLES` and the limits of
    /// deduplication.
    pub fn from_config(config: &Config) -> Result<Options> {
        Ok(Options {
            by_repository: config.text("SPLIT_BY") == "repository",
            val: config.float("VAL_FRACTION"),
            tune: config.float("TUNE_FRACTION"),
            limits: Limits::from_config(config)?,
            min_val: config.int("MIN_VAL_EXAMPLES").unsigned_abs(),
        })
    }
}

/// What the split did, for the manifest.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct SplitReport {
    /// `session` or `repository`.
    pub by: String,
    /// Components in each part.
    pub components: BTreeMap<Part, u64>,
    /// Sessions in each part; those whose rows all went as copies included.
    pub sessions: BTreeMap<Part, u64>,
    /// Rows of the largest component.
    pub largest_component: u64,
    /// Components trained on because they hold a counterexample, though they were or would have
    /// been held out.
    pub retired: u64,
    /// Rows of val that went with them: real ones, and one for each component whose real rows all
    /// gave way to a counterexample as its copies.
    #[serde(default)]
    pub retired_val_rows: u64,
    /// The digest of the ledger that was read, if any.
    pub ledger: Option<String>,
}

/// The three parts, each ordered by id.
#[derive(Debug, Clone, Default)]
pub struct Parts {
    /// Rows to train on.
    pub train: Arc<Vec<Held>>,
    /// Real rows for early stopping and sweeps.
    pub tune: Arc<Vec<Held>>,
    /// Real rows for the verdict.
    pub val: Arc<Vec<Held>>,
    /// What happened so far, in order.
    pub stages: Arc<Vec<Stage>>,
    /// What is known beside the rows.
    pub account: Arc<Account>,
    /// What the split did.
    pub report: Arc<SplitReport>,
    /// The ledger with this split added: for whoever keeps one.
    pub ledger: Arc<Ledger>,
}

impl std::fmt::Display for Parts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (train, tune, val) = (self.train.len(), self.tune.len(), self.val.len());
        write!(f, "Parts({train} train, {tune} tune, {val} val)")
    }
}

/// Splits rows into train, tune and val.
pub fn split(
    rows: &Rows,
    options: &Options,
    ledger: Option<&Ledger>,
    observer: &dyn Observer,
) -> Result<Parts> {
    let rows = &corrected::mask(rows)?;
    observer.begin("split", None, "rows");
    let keys: Vec<String> = rows.examples.iter().map(|e| e.session_key()).collect();
    let anchors: Vec<bool> = rows.examples.iter().map(|e| anchors(e.kind)).collect();
    let copies = pairs(&rows.examples, &options.limits, |a, b| {
        (anchors[a] || anchors[b]) && keys[a] != keys[b]
    })?;
    observer.check()?;
    let old = ledger.cloned().unwrap_or_default();
    let board = Board::new(rows, &keys, &anchors, &copies, options, &old);
    let components = connect(&board.sessions);
    let (parts, report) = board.assign(rows, &components, &copies, options);
    observer.end();
    retired::refuse(rows, &parts, &report, options)?;

    let mut updated = old;
    for (number, (component, part)) in components.iter().zip(&parts.of_component).enumerate() {
        for session in &component.sessions {
            let key = board.sessions[*session].key.clone();
            if parts.retired.contains(&number) {
                updated.retired.insert(key.clone());
            }
            updated.sessions.insert(key, *part);
        }
    }
    let mut sorted: BTreeMap<Part, Vec<Held>> = BTreeMap::new();
    for (part, row) in parts.rows {
        sorted.entry(part).or_default().push(row);
    }
    let mut take = |part| {
        let mut rows = sorted.remove(&part).unwrap_or_default();
        rows.sort_by(|a, b| a.id.cmp(&b.id));
        Arc::new(rows)
    };
    let mut stages = rows.stages.as_ref().clone();
    stages.push(Stage::passed("split", rows.len(), parts.dropped));
    let ledger_digest = ledger.map(Ledger::digest).transpose()?;
    Ok(Parts {
        train: take(Part::Train),
        tune: take(Part::Tune),
        val: take(Part::Val),
        stages: Arc::new(stages),
        account: rows.account.clone(),
        report: Arc::new(SplitReport { ledger: ledger_digest, ..report }),
        ledger: Arc::new(updated),
    })
}

/// Kinds that make components; the others follow.
fn anchors(kind: Kind) -> bool {
    matches!(kind, Kind::Real | Kind::Counterexample)
}

/// The part a component's name stands for. The salt is fixed: a seed must not move rows.
fn part_of(name: &str, options: &Options) -> Part {
    let hash = xxh3_64(format!("split\n{name}").as_bytes());
    let place = (hash >> 11) as f64 / (1u64 << 53) as f64;
    if place < options.val {
        Part::Val
    } else if place >= 1.0 - options.tune {
        Part::Tune
    } else {
        Part::Train
    }
}

fn component_id(name: &str) -> String {
    format!("{:016x}", xxh3_64(name.as_bytes()))
}

/// The sessions and where to find them.
struct Board {
    sessions: Vec<Session>,
    by_key: BTreeMap<String, usize>,
    /// The session of every row and every dropped copy, by row id.
    by_id: BTreeMap<String, usize>,
}

/// Where everything went.
struct Assigned {
    of_component: Vec<Part>,
    /// Components that a counterexample took out of val or tune.
    retired: BTreeSet<usize>,
    /// The rows whose counterexamples did that.
    retiring: BTreeSet<usize>,
    rows: Vec<(Part, Held)>,
    dropped: BTreeMap<String, u64>,
}

impl Board {
    fn new(
        rows: &Rows,
        keys: &[String],
        anchors: &[bool],
        copies: &[Pair],
        options: &Options,
        ledger: &Ledger,
    ) -> Board {
        let mut board =
            Board { sessions: Vec::new(), by_key: BTreeMap::new(), by_id: BTreeMap::new() };
        for (at, example) in rows.examples.iter().enumerate().filter(|(at, _)| anchors[*at]) {
            let session = board.session(&keys[at], ledger);
            board.by_id.insert(example.id.clone(), session);
            let entry = &mut board.sessions[session];
            let started = [entry.started_ms, example.started_ms];
            entry.started_ms = started.into_iter().flatten().min();
            if let (true, Some(repository)) = (options.by_repository, &example.repository) {
                entry.repositories.insert(repository.to_string());
            }
        }
        let gone = rows.account.duplicates.iter();
        for copy in gone.clone().filter(|d| self::anchors(d.kind)) {
            let session = board.session(&copy.session, ledger);
            board.by_id.insert(copy.dropped.clone(), session);
        }
        for copy in gone {
            if let (Some(a), Some(b)) =
                (board.by_id.get(&copy.dropped), board.by_id.get(&copy.kept))
            {
                board.link(*a, *b);
            }
        }
        for (a, b) in &rows.account.related {
            if let (Some(a), Some(b)) = (board.by_key.get(a), board.by_key.get(b)) {
                board.link(*a, *b);
            }
        }
        for pair in copies {
            let (a, b) = (pair.small as usize, pair.large as usize);
            if anchors[a] && anchors[b] {
                board.link(board.by_key[&keys[a]], board.by_key[&keys[b]]);
            }
        }
        for (at, example) in rows.examples.iter().enumerate().filter(|(at, _)| anchors[*at]) {
            let parent = example.derived_from.as_ref().and_then(|p| board.by_id.get(p));
            if let Some(parent) = parent.copied() {
                board.link(board.by_key[&keys[at]], parent);
            }
        }
        board
    }

    fn session(&mut self, key: &str, ledger: &Ledger) -> usize {
        if let Some(known) = self.by_key.get(key) {
            return *known;
        }
        let part = ledger.sessions.get(key).copied();
        self.sessions.push(Session { key: key.into(), part, ..Session::default() });
        let at = self.sessions.len() - 1;
        self.by_key.insert(key.into(), at);
        at
    }

    fn link(&mut self, a: usize, b: usize) {
        if a != b {
            self.sessions[a].linked.insert(b);
            self.sessions[b].linked.insert(a);
        }
    }

    fn assign(
        &self,
        rows: &Rows,
        components: &[Component],
        copies: &[Pair],
        options: &Options,
    ) -> (Assigned, SplitReport) {
        let mut home: Vec<Option<usize>> = vec![None; self.sessions.len()];
        for (number, component) in components.iter().enumerate() {
            for session in &component.sessions {
                home[*session] = Some(number);
            }
        }
        let component_of = |key: &str| self.by_key.get(key).map(|s| home[*s]);
        let mut kinds: Vec<BTreeSet<Kind>> = vec![BTreeSet::new(); components.len()];
        let mut sizes = vec![0u64; components.len()];
        for example in rows.examples.iter().filter(|e| anchors(e.kind)) {
            if let Some(Some(number)) = component_of(&example.session_key()) {
                kinds[number].insert(example.kind);
                sizes[number] += 1;
            }
        }
        let mut report = SplitReport {
            by: if options.by_repository { "repository" } else { "session" }.into(),
            largest_component: sizes.iter().copied().max().unwrap_or(0),
            ..SplitReport::default()
        };
        let mut real = vec![0u64; components.len()];
        for example in rows.examples.iter().filter(|e| e.kind == Kind::Real) {
            if let Some(Some(number)) = component_of(&example.session_key()) {
                real[number] += 1;
            }
        }
        // A real row that went as the copy of a counterexample would have been held out as well.
        let mut gave_way = vec![false; components.len()];
        for copy in rows.account.duplicates.iter().filter(|copy| copy.kind == Kind::Real) {
            if let Some(Some(number)) = component_of(&copy.session) {
                gave_way[number] = true;
            }
        }
        let mut retired = BTreeSet::new();
        let mut of_component = Vec::with_capacity(components.len());
        for (number, (component, kinds)) in components.iter().zip(&kinds).enumerate() {
            let own = component.part.unwrap_or_else(|| part_of(&component.name, options));
            let corrected = kinds.contains(&Kind::Counterexample);
            // What holds no row any more keeps its place in the ledger.
            let part = if corrected { Part::Train } else { own };
            if corrected && own != Part::Train && (real[number] > 0 || gave_way[number]) {
                report.retired += 1;
                if own == Part::Val {
                    report.retired_val_rows += real[number].max(1);
                }
                retired.insert(number);
            }
            *report.components.entry(part).or_default() += 1;
            *report.sessions.entry(part).or_default() += component.sessions.len() as u64;
            of_component.push(part);
        }

        let held_out = |row: u32| {
            let example = &rows.examples[row as usize];
            let number = component_of(&example.session_key()).flatten();
            anchors(example.kind) && number.is_some_and(|n| of_component[n] != Part::Train)
        };
        let mut too_close = BTreeSet::new();
        for pair in copies {
            for (follower, other) in [(pair.small, pair.large), (pair.large, pair.small)] {
                if !anchors(rows.examples[follower as usize].kind) && held_out(other) {
                    too_close.insert(follower as usize);
                }
            }
        }
        let retires = |example: &Held| {
            let number = component_of(&example.session_key()).flatten();
            example.kind == Kind::Counterexample && number.is_some_and(|n| retired.contains(&n))
        };
        let retiring = rows.examples.iter().enumerate().filter(|(_, e)| retires(e));
        let retiring = retiring.map(|(at, _)| at).collect();
        let (rows_of, dropped) = (Vec::new(), BTreeMap::new());
        let mut assigned = Assigned { of_component, retired, retiring, rows: rows_of, dropped };
        for (at, example) in rows.examples.iter().enumerate() {
            let by_parent = example.derived_from.as_ref().and_then(|p| self.by_id.get(p));
            let known = match by_parent {
                Some(session) if !anchors(example.kind) => Some(home[*session]),
                _ => component_of(&example.session_key()),
            };
            let (part, name) = match known {
                Some(Some(number)) => {
                    (assigned.of_component[number], components[number].name.clone())
                }
                Some(None) => {
                    *assigned.dropped.entry("bridge".into()).or_default() += 1;
                    continue;
                }
                None => (Part::Train, example.session_key()),
            };
            let reason = match (anchors(example.kind), part) {
                (true, _) => None,
                (false, Part::Tune | Part::Val) => Some("held_out"),
                (false, Part::Train) => too_close.contains(&at).then_some("bridge"),
            };
            match reason {
                Some(reason) => *assigned.dropped.entry(reason.into()).or_default() += 1,
                None => {
                    let component = component_id(&name).into();
                    assigned.rows.push((part, example.known_as(None, None, Some(component))));
                }
            }
        }
        (assigned, report)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Example;
    use super::super::dedup::dedup;
    use super::super::testing::{chat, prose, rows};
    use super::*;
    use crate::progress::Silent;
    use crate::trace::{Message, Role};

    fn options() -> Options {
        let limits = Limits::default();
        Options { by_repository: false, val: 0.3, tune: 0.2, limits, min_val: 0 }
    }

    fn run(examples: Vec<Example>, ledger: Option<&Ledger>) -> Parts {
        split(&rows(examples), &options(), ledger, &Silent).unwrap()
    }

    fn ids(rows: &[Held]) -> Vec<String> {
        rows.iter().map(|e| e.id.clone()).collect()
    }

    fn place(parts: &Parts, session: &str) -> Option<Part> {
        let has = |rows: &[Held]| rows.iter().any(|e| &*e.session == session);
        let all = [(Part::Train, &parts.train), (Part::Tune, &parts.tune), (Part::Val, &parts.val)];
        all.into_iter().find(|(_, rows)| has(rows)).map(|(part, _)| part)
    }

    fn many(n: u64) -> Vec<Example> {
        (0..n).map(|n| chat(&format!("s{n}"), &prose(n, 40), "fine")).collect()
    }

    /// A session that goes to `part` when it stands alone.
    fn session_in(part: Part) -> String {
        let all = (0..).map(|n| format!("t{n}"));
        all.into_iter().find(|s| part_of(&format!("raw/{s}"), &options()) == part).unwrap()
    }

    #[test]
    fn the_split_follows_the_data_not_their_order() {
        let forward = run(many(200), None);
        let mut all = many(200);
        all.reverse();
        let backward = run(all, None);
        assert_eq!(ids(&forward.val), ids(&backward.val));
        assert_eq!(ids(&forward.tune), ids(&backward.tune));
        assert_eq!(ids(&forward.train), ids(&backward.train));
        let (val, tune) = (forward.val.len(), forward.tune.len());
        assert!((40..80).contains(&val) && (25..55).contains(&tune), "{val} {tune}");
        assert!(forward.train.iter().all(|e| e.component.is_some()));
    }

    #[test]
    fn more_rows_move_none_of_the_old() {
        let before = run(many(200), None);
        let after = run(many(260), None);
        let kept: BTreeSet<_> = ids(&after.val).into_iter().collect();
        assert!(ids(&before.val).iter().all(|id| kept.contains(id)));
        let trained: BTreeSet<_> = ids(&after.train).into_iter().collect();
        assert!(ids(&before.train).iter().all(|id| trained.contains(id)));
    }

    #[test]
    fn what_belongs_together_stays_together() {
        let text = prose(1, 100);
        let near = format!("{} end", text);
        let other = chat("b", &prose(2, 80), "fine");
        let mut resumed = other.trace.clone();
        resumed.session = "c".into();
        resumed.messages.push(Message::text(Role::User, prose(3, 500)));
        resumed.messages.push(Message::text(Role::Assistant, "and so on"));
        let all = vec![
            chat("a", &text, "fine"),
            chat("a", &prose(7, 30), "the same session"),
            chat("x", &near, "fine"),
            other,
            Example::real(resumed),
        ];
        let parts = run(all, None);
        let component = |session: &str| {
            let all = parts.train.iter().chain(parts.tune.iter()).chain(parts.val.iter());
            let found: BTreeSet<_> = all
                .filter(|e| &*e.session == session)
                .map(|e| e.component.clone().unwrap())
                .collect();
            assert_eq!(found.len(), 1);
            found.into_iter().next().unwrap()
        };
        assert_eq!(component("a"), component("x"));
        assert_eq!(component("b"), component("c"));
        assert_ne!(component("a"), component("b"));
    }

    #[test]
    fn a_dropped_copy_still_ties_its_session_to_the_row_that_stayed() {
        let text = prose(1, 100);
        let all = vec![
            chat("a", &text, "fine"),
            chat("b", &text, "fine"),
            chat("a", &prose(2, 50), "first session, second row"),
            chat("b", &prose(3, 50), "second session, second row"),
        ];
        let clean = dedup(&rows(all), &Limits::default(), &Silent).unwrap();
        assert_eq!(clean.len(), 3);
        let parts = split(&clean, &options(), None, &Silent).unwrap();
        assert_eq!(place(&parts, "a"), place(&parts, "b"));
    }

    #[test]
    fn generated_rows_are_trained_only_where_their_parent_is() {
        let mut all = Vec::new();
        for part in [Part::Train, Part::Val, Part::Tune] {
            let parent = chat(&session_in(part), &prose(part as u64, 60), "fine");
            let mut trace = parent.trace.clone();
            trace.messages[1].content = "better".into();
            all.push(Example::generated(Kind::Synthetic, &parent, trace, 0));
            all.push(parent);
        }
        let replay = chat("general", &prose(9, 60), "fine");
        all.push(Example::new(Kind::Replay, replay.trace));
        // Close to a held-out row without descending from it.
        let close = chat("elsewhere", &prose(Part::Val as u64, 60), "fine too");
        all.push(Example::new(Kind::Replay, close.trace));
        let parts = run(all, None);
        assert_eq!((parts.train.len(), parts.tune.len(), parts.val.len()), (3, 1, 1));
        assert!(parts.val.iter().chain(parts.tune.iter()).all(|e| e.kind == Kind::Real));
        let stage = parts.stages.last().unwrap();
        assert_eq!(stage.dropped["held_out"], 2);
        assert_eq!(stage.dropped["bridge"], 1);
        assert!(stage.adds_up());
    }

    #[test]
    fn a_counterexample_retires_the_component_it_corrects() {
        let real = chat(&session_in(Part::Val), &prose(1, 60), "wrong");
        let fixed = chat("mine", &prose(1, 60), "right");
        let counter = Example::new(Kind::Counterexample, fixed.trace);
        let parts = run(vec![real, counter], None);
        assert_eq!(parts.train.len(), 2);
        assert_eq!(parts.report.retired, 1);
    }

    #[test]
    fn what_the_ledger_holds_out_stays_so_and_bridges_are_dropped() {
        let (val, train) = (session_in(Part::Val), session_in(Part::Train));
        let old = vec![chat(&val, &prose(1, 100), "fine"), chat(&train, &prose(2, 100), "fine")];
        let first = run(old.clone(), Some(&Ledger::default()));
        assert_eq!(place(&first, &val), Some(Part::Val));
        assert_eq!(place(&first, &train), Some(Part::Train));

        // A newcomer half like one, half like the other; and one that goes on with the first.
        let mut all = old;
        all.push(chat("bridge", &format!("{} {}", prose(1, 100), prose(2, 100)), "fine"));
        let mut resumed = all[0].trace.clone();
        resumed.session = session_in(Part::Train) + "x";
        resumed.messages.push(Message::text(Role::User, prose(3, 500)));
        resumed.messages.push(Message::text(Role::Assistant, "done"));
        all.push(Example::real(resumed.clone()));
        let second = run(all.clone(), Some(&first.ledger));
        assert_eq!(place(&second, &val), Some(Part::Val));
        assert_eq!(place(&second, &train), Some(Part::Train));
        assert_eq!(place(&second, "bridge"), None);
        assert_eq!(place(&second, &resumed.session), Some(Part::Val));
        assert_eq!(second.stages.last().unwrap().dropped["bridge"], 1);
        assert!(second.report.ledger.is_some());
        // Nothing moves when it runs again on what it wrote.
        let third = run(all, Some(&second.ledger));
        assert_eq!(ids(&third.val), ids(&second.val));
        assert_eq!(ids(&third.train), ids(&second.train));
        assert_eq!(third.ledger, second.ledger);
    }

    #[test]
    fn a_repository_is_not_split_when_asked() {
        let mut all = many(40);
        for example in &mut all {
            example.trace.repository = Some("r".into());
        }
        let whole = Options { by_repository: true, ..options() };
        let parts = split(&rows(all), &whole, None, &Silent).unwrap();
        assert_eq!(parts.report.components.values().sum::<u64>(), 1);
    }

    #[test]
    fn nothing_splits_into_nothing() {
        let parts = run(vec![], None);
        assert_eq!((parts.train.len(), parts.tune.len(), parts.val.len()), (0, 0, 0));
    }
}
