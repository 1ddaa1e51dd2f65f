//! Comparisons with invented subjects: what is asked, scored, counted and written.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use anyhow::Result;
use proto::dataset::{Example, Kind, Rows, Stage};
use proto::evaluate::{
    Answer, Chat, Comparison, Contender, Custom, Evaluation, Item, Past, Record, Settings, Shelf,
    Subject, Suite,
};
use proto::model::{Decoding, Prompt};
use proto::progress::{Observer, Silent};
use proto::redact::{Policy, Redactor};
use proto::tokens::{Encoded, Reply, Turn};
use proto::trace::{Message, Origin, Role, ToolCall, Trace};
use serde_json::{Value, json};

/// One token per character; a call is written `name{json}`, `!` marks a broken one.
struct Letters;

fn spell(text: &str) -> Vec<u32> {
    text.chars().map(|c| c as u32).collect()
}

fn written(message: &Message) -> String {
    let calls = message.tool_calls.iter();
    let calls = calls.map(|c| format!("{}{}", c.name, Value::Object(c.arguments.clone())));
    message.content.clone() + calls.collect::<Vec<_>>().join(";").as_str()
}

impl Chat for Letters {
    fn prompt(&self, history: &[Message], _tools: &[Value]) -> Result<Vec<u32>> {
        Ok(spell(&history.iter().map(written).collect::<Vec<_>>().join("|")))
    }

    fn encode(&self, messages: &[Message], _tools: &[Value]) -> Result<Vec<Encoded>> {
        let mut encoded = Encoded::default();
        for (index, message) in messages.iter().enumerate() {
            let ids = spell(&written(message));
            if message.role == Role::Assistant {
                let tokens = encoded.ids.len()..encoded.ids.len() + ids.len();
                encoded.turns.push(Turn { message: index, tokens });
            }
            encoded.trained.extend(vec![message.train; ids.len()]);
            encoded.ids.extend(ids);
        }
        Ok(vec![encoded])
    }

    fn parse(&self, ids: &[u32]) -> Reply {
        let text: String = ids.iter().filter_map(|id| char::from_u32(*id)).collect();
        if let Some(broken) = text.strip_prefix('!') {
            let malformed = Some("not a call".to_string());
            return Reply { content: broken.into(), malformed, ..Reply::default() };
        }
        let Some(at) = text.find('{') else {
            return Reply { content: text, ..Reply::default() };
        };
        let Value::Object(arguments) = serde_json::from_str(&text[at..]).unwrap() else { panic!() };
        let call = ToolCall { id: "0".into(), name: text[..at].into(), arguments };
        Reply { calls: vec![call], ..Reply::default() }
    }

    fn stop_ids(&self) -> &[u32] {
        &[0]
    }
}

/// Answers by the last part of the prompt.
pub struct Fake<'a> {
    answer: &'a (dyn Fn(&str) -> String + Sync),
    nats: f64,
    calls: AtomicUsize,
    /// Prompts and rows it was asked.
    pub asked: AtomicUsize,
    /// The seeds of its prompts.
    pub seeds: Mutex<Vec<u64>>,
    /// The longest prompt it made room for.
    planned: AtomicUsize,
}

/// The longest prompt that a fake has room for.
const ROOM: usize = 10_000;

impl<'a> Fake<'a> {
    pub fn new(nats: f64, answer: &'a (dyn Fn(&str) -> String + Sync)) -> Self {
        let [calls, asked, planned] = [0, 0, 0].map(AtomicUsize::new);
        Fake { answer, nats, calls, asked, seeds: Mutex::default(), planned }
    }
}

impl Subject for Fake<'_> {
    fn prepare(&self, longest: usize, _max_new: usize, _observer: &dyn Observer) -> Result<()> {
        self.planned.store(longest, Ordering::Relaxed);
        anyhow::ensure!(longest <= ROOM, "no room for {longest} tokens");
        Ok(())
    }

    fn generate(
        &self,
        prompts: &[Prompt],
        decoding: &Decoding,
        stop: &[u32],
        _observer: &dyn Observer,
    ) -> Result<Vec<(Vec<u32>, bool)>> {
        assert_eq!(stop, [0]);
        self.calls.fetch_add(1, Ordering::Relaxed);
        self.asked.fetch_add(prompts.len(), Ordering::Relaxed);
        self.seeds.lock().unwrap().extend(prompts.iter().map(|p| p.seed));
        let reply = |prompt: &Prompt| {
            let text: String = prompt.ids.iter().filter_map(|id| char::from_u32(*id)).collect();
            let asked = text.rsplit('|').next().unwrap().to_string();
            // Drawn answers are those to the prompt or none, by the seed.
            let silent = decoding.temperature > 0.0 && prompt.seed.is_multiple_of(2);
            let mut ids = spell(&if silent { String::new() } else { (self.answer)(&asked) });
            let stopped = ids.len() < decoding.max_new;
            ids.truncate(decoding.max_new);
            (ids, stopped)
        };
        Ok(prompts.iter().map(reply).collect())
    }

    fn loss(&self, rows: &[&Encoded]) -> Result<Vec<Vec<f64>>> {
        self.asked.fetch_add(rows.len(), Ordering::Relaxed);
        Ok(rows.iter().map(|r| vec![self.nats; r.targets()]).collect())
    }
}

pub fn call(name: &str, arguments: Value) -> ToolCall {
    let Value::Object(arguments) = arguments else { panic!("not an object") };
    ToolCall { id: "call".into(), name: name.into(), arguments }
}

pub fn example(id: &str, kind: Kind, messages: Vec<Message>) -> Arc<Example> {
    let trace = Trace {
        session: format!("session-{id}"),
        source: "shop".into(),
        task_category: Some("lookup".into()),
        tools: vec![json!({"type": "function", "function": {"name": "find"}})],
        messages,
        origin: Origin { file: "val.jsonl".into(), line: 1 },
        ..Trace::default()
    };
    Arc::new(Example {
        id: id.into(),
        kind,
        derived_from: None,
        component: Some(format!("component-{id}")),
        trace,
    })
}

/// `n` sessions that each ask for a word and want `find{"word": …}`, the answer by `author`.
pub(crate) fn lookups(n: usize, kind: Kind, prefix: &str) -> Rows {
    let examples: Vec<_> = (0..n)
        .map(|i| {
            let word = format!("{prefix}{i:03}");
            let mut answer = Message::text(Role::Assistant, "");
            answer.tool_calls = vec![call("find", json!({ "word": word }))];
            answer.author = Some("Acme/Big-Model".into());
            let messages = vec![Message::text(Role::User, &word), answer];
            example(&word, kind, messages)
        })
        .collect();
    let n = examples.len() as u64;
    Rows::new(examples, Stage { name: "load".into(), added: n, output: n, ..Stage::default() })
}

fn settings() -> Settings {
    Settings {
        batch: 7,
        decoding: Decoding::greedy(60),
        repeats: 1,
        max_items: 0,
        context: 0,
        resamples: 2000,
        seed: 17,
    }
}

pub fn find(word: &str) -> String {
    format!("find{{\"word\":\"{word}\"}}")
}

/// The base is right on words ending in 0, the candidate on all but those ending in 9 and 0.
pub fn weak(word: &str) -> String {
    if word.ends_with('0') { find(word) } else { format!("search{{\"w\":\"{word}\"}}") }
}

pub fn strong(word: &str) -> String {
    match word.chars().last() {
        Some('0') => "I cannot".into(),
        Some('9') => "!broken".into(),
        _ => find(word),
    }
}

pub struct Setup<'a> {
    pub val: Rows,
    suites: Vec<Suite>,
    seen: BTreeSet<String>,
    own_names: Vec<String>,
    pub base: Fake<'a>,
    pub candidate: Fake<'a>,
    pub champion: Option<Fake<'a>>,
    pub cache: Option<Shelf<'a>>,
    pub settings: Settings,
}

impl<'a> Setup<'a> {
    pub fn new(val: Rows) -> Setup<'a> {
        Setup {
            val,
            suites: Vec::new(),
            seen: BTreeSet::new(),
            own_names: vec!["models/embedded".into()],
            base: Fake::new(2.0, &weak),
            candidate: Fake::new(1.0, &strong),
            champion: None,
            cache: None,
            settings: settings(),
        }
    }

    pub fn compare(&self, metrics: &[Custom]) -> Result<(Evaluation, Vec<Record>)> {
        self.watched(metrics, &Silent)
    }

    pub fn watched(
        &self,
        metrics: &[Custom],
        observer: &dyn Observer,
    ) -> Result<(Evaluation, Vec<Record>)> {
        Comparison {
            val: &self.val,
            suites: &self.suites,
            seen: &self.seen,
            own_names: &self.own_names,
            chat: &Letters,
            base: Contender { subject: &self.base, digest: "b".into() },
            champion: self.champion.as_ref().map(|c| Contender { subject: c, digest: "c".into() }),
            candidate: Contender { subject: &self.candidate, digest: "a".into() },
            metrics,
            redactor: None,
            cache: self.cache.clone(),
            settings: self.settings.clone(),
        }
        .run(observer)
    }

    pub fn run(&self) -> (Evaluation, Vec<Record>) {
        self.compare(&[]).unwrap()
    }
}

fn redactor() -> Redactor {
    Redactor::new(Policy::default()).unwrap()
}

/// A comparison with a suite, generated rows, regressions and fixes, for those who show it.
pub fn compared() -> (Evaluation, Vec<Record>) {
    let val = lookups(60, Kind::Real, "w").and(&lookups(5, Kind::Synthetic, "s"));
    let mut setup = Setup::new(val);
    let general = lookups(20, Kind::Real, "g");
    setup.suites = vec![Suite { name: "general".into(), digest: "5u17e".into(), rows: general }];
    setup.run()
}

/// Ten counterexamples among other rows, one of them repeated, asked again.
pub fn asked_again() -> Past {
    let rows = lookups(10, Kind::Counterexample, "c").and(&lookups(5, Kind::Real, "r"));
    let mut rows = rows.examples.to_vec();
    rows.push(rows[3].clone());
    rows.sort_by(|a, b| a.id.cmp(&b.id));
    let (base, candidate) = (Fake::new(2.0, &weak), Fake::new(1.0, &strong));
    Past::ask(&rows, &Letters, &base, &candidate, &redactor(), &settings(), &Silent)
        .unwrap()
        .unwrap()
}

#[test]
fn counterexamples_are_asked_again_and_each_counts_once() {
    let past = asked_again();
    assert_eq!((past.total, past.solved, past.solved_by_base), (10, 8, 1));
    let wrong: Vec<&str> = past.cases[..2].iter().map(|case| case.record.id.as_str()).collect();
    assert_eq!(wrong, ["c000#1", "c009#1"], "those still wrong come first");
    assert!(past.cases[2..].iter().all(|case| case.solved));
    assert_eq!(past.line(), "counterexamples: 8 of 10 solved (by the base: 1)");
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(Past::read(folder.path()).unwrap(), None);
    past.write(folder.path()).unwrap();
    assert_eq!(Past::read(folder.path()).unwrap(), Some(past));
    let none = lookups(5, Kind::Real, "r");
    let subject = Fake::new(2.0, &weak);
    let asked =
        Past::ask(&none.examples, &Letters, &subject, &subject, &redactor(), &settings(), &Silent);
    assert_eq!((asked.unwrap(), subject.asked.load(Ordering::Relaxed)), (None, 0));
}

#[test]
fn every_figure_of_a_comparison_is_what_the_answers_say() {
    let setup = Setup::new(lookups(40, Kind::Real, "w"));
    let (evaluation, records) = setup.run();
    assert_eq!((evaluation.counts.pairs, evaluation.counts.sessions), (40, 40));
    assert_eq!(setup.base.calls.load(Ordering::Relaxed), 1, "all prompts at once");
    // Base right on 4 of 40; candidate on 32 of 40.
    assert_eq!(evaluation.base.metrics.overall["exact_match"].mean, 0.1);
    assert_eq!(evaluation.candidate.metrics.overall["exact_match"].mean, 0.8);
    assert_eq!(evaluation.delta["exact_match"], 0.7);
    assert_eq!(evaluation.candidate.metrics.overall["parse_ok"].mean, 0.9);
    assert_eq!(evaluation.candidate.metrics.overall["tool_name_acc"].mean, 0.8);
    assert_eq!(evaluation.candidate.metrics.tool["find"]["exact_match"].n, 40);
    assert_eq!(evaluation.paired.source["shop"]["exact_match"].delta, 0.7);
    assert_eq!(evaluation.paired.task_category["lookup"]["exact_match"].pairs, 40);
    let delta = evaluation.metric("exact_match").unwrap();
    assert!(delta.low.unwrap() > 0.4 && delta.high.unwrap() < 0.95, "{delta:?}");
    assert_eq!((delta.rose, delta.fell), (32, 4));
    assert!(delta.p < 0.001 && delta.sign_p < 0.001);
    assert_eq!(evaluation.changes.regressions.len(), 4);
    assert_eq!(evaluation.changes.fixes.len(), 32);
    assert_eq!(evaluation.changes.persistent.len(), 4);
    assert_eq!(evaluation.changes.regressions[0], "w000#1");
    assert_eq!(evaluation.base.loss["val"].mean, 2.0);
    assert_eq!(evaluation.paired.overall["loss"].delta, -1.0);
    assert_eq!(evaluation.paired.author["Acme/Big-Model"]["loss"].pairs, 40);
    let perplexity = evaluation.candidate.metrics.tool["find"]["perplexity"];
    let e = proto::evaluate::rounded(std::f64::consts::E);
    assert_eq!((perplexity.mean, perplexity.n), (e, 40));
    assert_eq!(evaluation.adapter_active, Some(true));
    let record = records.iter().find(|r| r.id == "w009#1").unwrap();
    assert_eq!((record.id.as_str(), record.request.as_str()), ("w009#1", "w009"));
    assert_eq!(record.candidate.malformed.as_deref(), Some("not a call"));
    assert_eq!(record.candidate.scores["parse_ok"], 0.0);
    assert_eq!(record.reference.calls[0].name, "find");
    assert!(evaluation.metric("exact_mach").unwrap_err().contains("did you mean `exact_match`"));
}

#[test]
fn the_same_comparison_gives_the_same_bytes_for_any_row_order() {
    let written = |setup: &Setup| {
        let folder = tempfile::tempdir().unwrap();
        let (evaluation, records) = setup.run();
        evaluation.write(folder.path(), &records).unwrap();
        ["eval_results.json", "items.jsonl"]
            .map(|name| std::fs::read_to_string(folder.path().join(name)).unwrap())
    };
    let setup = Setup::new(lookups(40, Kind::Real, "w"));
    let first = written(&setup);
    assert_eq!(written(&setup), first);
    let mut turned = Setup::new(lookups(40, Kind::Real, "w"));
    let reversed: Vec<_> = turned.val.examples.iter().rev().cloned().collect();
    turned.val.examples = Arc::new(reversed);
    turned.settings.batch = 3;
    assert_eq!(written(&turned), first);
    let read: Evaluation = serde_json::from_str(&first[0]).unwrap();
    assert_eq!(read, setup.run().0);
    assert_eq!(read.items_digest, proto::files::digest(first[1].as_bytes()));
    assert_eq!(first[1].lines().count(), 40);
}

#[test]
fn only_trained_turns_are_asked_each_after_its_reference_history() {
    let mut first = Message::text(Role::Assistant, "find it in the ledger");
    first.train = false;
    let messages = vec![
        Message::text(Role::User, "where"),
        first,
        Message::text(Role::User, "and then"),
        Message::text(Role::Assistant, "second answer"),
        Message::text(Role::User, "finally"),
        Message::text(Role::Assistant, "third answer"),
    ];
    let mut one = example("talk", Kind::Real, messages).as_ref().clone();
    one.trace.keywords = vec!["third".into()];
    let rows = Rows::new(
        vec![Arc::new(one)],
        Stage { name: "load".into(), added: 1, output: 1, ..Stage::default() },
    );
    let right =
        |last: &str| if last == "finally" { "third   answer".into() } else { String::new() };
    let mut setup = Setup::new(rows);
    setup.candidate = Fake::new(1.0, &right);
    let (evaluation, records) = setup.run();
    assert_eq!(evaluation.counts.pairs, 2);
    assert_eq!(evaluation.counts.sessions, 1);
    assert_eq!(records[0].id, "talk#3");
    assert_eq!(records[0].prompt_tokens as usize, "where|find it in the ledger|and then".len());
    assert_eq!(records[1].candidate.scores["exact_match"], 1.0);
    // The row's own words count for the answer that ends it, the rule for the others.
    assert_eq!(records[0].keywords, ["second", "answer"]);
    assert_eq!(records[1].keywords, ["third"]);
    // No reference calls a tool, so nothing is said about tools.
    assert!(!records[1].candidate.scores.contains_key("tool_name_acc"));
    assert!(!evaluation.delta.contains_key("args_exact_match"));
}

#[test]
fn generated_rows_and_suites_are_slices_and_never_the_verdict() {
    let mut setup = Setup::new(lookups(20, Kind::Real, "w").and(&lookups(5, Kind::Synthetic, "s")));
    let general = lookups(10, Kind::Real, "g");
    setup.suites = vec![Suite { name: "general".into(), digest: "d".into(), rows: general }];
    let (evaluation, records) = setup.run();
    assert_eq!(evaluation.counts.pairs, 20);
    assert_eq!(evaluation.counts.generated, BTreeMap::from([("synthetic".to_string(), 5)]));
    assert_eq!(evaluation.base.metrics.generated["synthetic"]["exact_match"].n, 5);
    assert_eq!(evaluation.suites["general"].items, 10);
    assert_eq!(evaluation.paired.suite["general"]["exact_match"].pairs, 10);
    assert_eq!(evaluation.paired.overall["exact_match"].pairs, 20);
    assert_eq!(evaluation.candidate.loss.keys().collect::<Vec<_>>(), ["general", "val"]);
    assert_eq!(evaluation.candidate.loss["val"].rows, 20);
    assert_eq!(records.len(), 35);
    let ids: Vec<&str> = records.iter().filter(|r| r.suite.is_some()).map(|r| &*r.id).collect();
    assert!(ids.len() == 10 && ids.contains(&"general/g009#1"), "{ids:?}");
}

#[test]
fn what_an_adapter_was_trained_on_is_left_out_and_counted() {
    let mut setup = Setup::new(lookups(12, Kind::Real, "w"));
    setup.seen = BTreeSet::from(["session-w001".to_string(), "component-w002".to_string()]);
    setup.settings.max_items = 6;
    setup.settings.context = 5;
    let (evaluation, records) = setup.run();
    assert_eq!(evaluation.counts.pairs, 6);
    assert_eq!(evaluation.counts.left_out["an adapter was trained on it"], 2);
    assert_eq!(evaluation.counts.left_out["over EVAL_MAX_ITEMS=6"], 4);
    // Rows of prompt and answer are longer than five tokens, so no loss can be measured.
    assert_eq!(evaluation.counts.left_out["loss: row over 5 tokens"], 6);
    assert_eq!(evaluation.adapter_active, None);
    assert!(records.iter().all(|r| r.session != "session-w001" && r.session != "session-w002"));
    setup.settings.max_items = 5;
    let fewer = setup.run().1;
    let chosen: BTreeSet<_> = records.iter().map(|r| r.id.clone()).collect();
    assert!(fewer.iter().all(|r| chosen.contains(&r.id)), "fewer items are a subset");
    setup.settings.context = 4;
    let error = setup.compare(&[]).unwrap_err().to_string();
    assert!(error.contains("prompt of 4 tokens or more: 5"), "{error}");
}

#[test]
fn an_adapter_that_changes_nothing_is_called_inactive() {
    let mut setup = Setup::new(lookups(12, Kind::Real, "w"));
    setup.candidate = Fake::new(2.0, &weak);
    let (evaluation, _) = setup.run();
    assert_eq!(evaluation.adapter_active, Some(false));
    assert_eq!(evaluation.delta["exact_match"], 0.0);
    assert!(evaluation.changes.regressions.is_empty() && evaluation.changes.fixes.is_empty());
}

#[test]
fn a_champion_is_a_third_column() {
    let mut setup = Setup::new(lookups(20, Kind::Real, "w"));
    setup.champion = Some(Fake::new(1.5, &find));
    let (evaluation, records) = setup.run();
    assert_eq!(evaluation.champion.as_ref().unwrap().metrics.overall["exact_match"].mean, 1.0);
    let against = &evaluation.paired_champion.as_ref().unwrap().overall["exact_match"];
    assert_eq!(against.delta, -0.2);
    assert!(evaluation.changes.persistent.is_empty(), "the champion solves what both miss");
    assert!(records.iter().all(|r| r.champion.is_some()));
}

#[test]
fn references_by_the_base_itself_are_counted() {
    let mut setup = Setup::new(lookups(4, Kind::Real, "w"));
    setup.own_names = vec!["models/big_model.gguf".into()];
    let (evaluation, _) = setup.run();
    assert_eq!(evaluation.references.self_written, 1.0);
    assert_eq!(evaluation.references.by_author["Acme/Big-Model"], 4);
}

#[test]
fn a_team_adds_a_metric_and_a_bad_one_is_refused() {
    let setup = Setup::new(lookups(10, Kind::Real, "w"));
    let polite = |asked: &[(&Item, &Answer)]| -> Result<Vec<Option<f64>>> {
        Ok(asked.iter().map(|(_, a)| a.calls.is_empty().then_some(0.25)).collect())
    };
    let custom = |name: &str| Custom { name: name.into(), scores: &polite };
    let (evaluation, _) = setup.compare(&[custom("polite")]).unwrap();
    assert_eq!(evaluation.candidate.metrics.overall["polite"].n, 2);
    assert!(!evaluation.delta.contains_key("polite"), "no item has it in both columns");
    let taken = setup.compare(&[custom("exact_match")]).unwrap_err().to_string();
    assert!(taken.contains("already a metric `exact_match`"), "{taken}");
    let nan = |asked: &[(&Item, &Answer)]| -> Result<Vec<Option<f64>>> {
        Ok(vec![Some(f64::NAN); asked.len()])
    };
    let error = setup.compare(&[Custom { name: "odd".into(), scores: &nan }]).unwrap_err();
    assert!(format!("{error:#}").contains("metric `odd`, item w000#1"), "{error:#}");
}

#[test]
fn suites_need_names_of_their_own() {
    let mut setup = Setup::new(lookups(4, Kind::Real, "w"));
    let rows = lookups(2, Kind::Real, "g");
    for name in ["val", "general"] {
        let suite = Suite { name: name.into(), digest: "d".into(), rows: rows.clone() };
        setup.suites.push(suite.clone());
        setup.suites.push(suite);
        let error = setup.compare(&[]).unwrap_err().to_string();
        assert!(error.contains(&format!("called `{name}`")), "{error}");
        setup.suites.clear();
    }
}

#[test]
fn nothing_to_evaluate_is_an_error_that_says_why() {
    let error = Setup::new(Rows::default()).compare(&[]).unwrap_err().to_string();
    assert!(error.contains("nothing to evaluate"), "{error}");
}

#[test]
fn room_is_made_for_the_longest_prompt_of_any_suite_before_anything_is_asked() {
    let with_suite = |word: &str| {
        let mut setup = Setup::new(lookups(5, Kind::Real, "w"));
        let rows = lookups(1, Kind::Real, word);
        setup.suites = vec![Suite { name: "long".into(), digest: "5u17e".into(), rows }];
        // Answers repeat the word.
        setup.settings.decoding.max_new = 2000;
        setup
    };
    let setup = with_suite(&"x".repeat(500));
    setup.run();
    assert!(setup.base.planned.load(Ordering::Relaxed) > 500);
    let setup = with_suite(&"x".repeat(ROOM));
    let error = setup.compare(&[]).unwrap_err();
    assert!(error.to_string().contains("no room for"), "{error:#}");
    assert_eq!(setup.base.asked.load(Ordering::Relaxed), 0);
}
