//! Gate policies: whatever is wrong with one, it never passes.

use std::collections::BTreeMap;

use proto::config::Layers;
use proto::evaluate::Delta;
use proto::gate::{Check, DatasetEvidence, EvaluationEvidence, Evidence, Verdict};
use proto::script::policy::{self, PolicySource};

fn delta(delta: f64, low: Option<f64>, high: Option<f64>) -> Delta {
    Delta {
        delta,
        low,
        high,
        interval: "bca".into(),
        p: 0.01,
        p_greater: 0.005,
        p_less: 1.0,
        sign_p: 0.01,
        rose: 30,
        fell: 2,
        pairs: 120,
        sessions: 60,
        detectable: Some(0.1),
    }
}

fn named<T>(pairs: Vec<(&str, T)>) -> BTreeMap<String, T> {
    pairs.into_iter().map(|(name, value)| (name.to_string(), value)).collect()
}

fn evidence() -> Evidence {
    let dataset = DatasetEvidence {
        min_example_ok: Some(true),
        redaction_ok: Some(true),
        leak_ok: Some(true),
        train: Some(400.0),
        val: Some(120.0),
        leakage: Some(0.0),
        canary_recall: Some(1.0),
        residue: Some(0.0),
        ..DatasetEvidence::default()
    };
    let config = Layers::new().resolve(&[]).unwrap();
    let mut evidence = Evidence::new(dataset, None, None, &config);
    evidence.evaluation = Some(EvaluationEvidence {
        pairs: 120,
        sessions: 60,
        adapter_active: Some(true),
        secrets: Some(0),
        canary_recall: Some(1.0),
        loss: named(vec![("val", named(vec![("base", 2.0), ("candidate", 1.5)]))]),
        delta: named(vec![
            ("exact_match", delta(0.6, Some(0.41), Some(0.7))),
            ("keyword_recall", delta(0.01, None, None)),
        ]),
        suite: named(vec![(
            "general",
            named(vec![("exact_match", delta(-0.02, Some(-0.06), Some(0.02)))]),
        )]),
        means: named(vec![
            ("base", named(vec![("exact_match", 0.25), ("keyword_recall", 0.9)])),
            ("candidate", named(vec![("exact_match", 0.85), ("keyword_recall", 0.91)])),
        ]),
        ..EvaluationEvidence::default()
    });
    evidence
}

fn team(text: &str) -> PolicySource {
    PolicySource { name: "team.rhai".into(), text: text.into() }
}

fn ask(text: &str) -> Result<Vec<Check>, String> {
    policy::judge(&team(text), &evidence()).map_err(|failure| failure.to_string())
}

#[test]
fn the_shipped_policy_answers_and_the_gate_promotes() {
    let checks = policy::judge(&PolicySource::shipped(), &evidence()).unwrap();
    let shown: Vec<_> =
        checks.iter().map(|c| (c.name.as_str(), c.wanted.as_str(), c.measured, c.passed)).collect();
    assert_eq!(
        shown,
        [
            ("better exact_match", "interval above 0", Some(0.6), true),
            ("suite.general.exact_match", ">= -0.05", Some(-0.02), true),
            ("loss.val.delta", "<= 0", Some(-0.5), true),
            ("references.self_written", "<= 0.9", Some(0.0), true),
            ("secrets.candidate", "<= 0", Some(0.0), true),
            ("secrets.canary_recall", ">= 1", Some(1.0), true),
        ]
    );
    assert!(checks.iter().all(|c| c.author.starts_with("proto/gates:")), "{checks:?}");
    let asked = policy::ask(&PolicySource::shipped(), &evidence());
    let decision = proto::gate::judge(&evidence(), vec![asked], Vec::new());
    assert_eq!(decision.verdict, Verdict::Promote, "{:#?}", decision.checks);
}

#[test]
fn a_policy_that_fails_blocks() {
    let asked = policy::ask(&team("fn policy(evidence) { throw \"no luck\" }"), &evidence());
    let decision = proto::gate::judge(&evidence(), vec![asked], Vec::new());
    assert_eq!(decision.verdict, Verdict::Block);
    assert!(decision.reasons.iter().any(|r| r.contains("team.rhai:1:23: no luck")), "{decision:?}");
}

#[test]
fn a_team_builds_on_it() {
    let checks = ask(r#"
import "proto/gates" as gates;
const WANTED = 0.5;
fn policy(evidence) {
    gates::policy(evidence) + mine(evidence)
}
fn mine(evidence) {
    [
        at_least("gain", evidence.delta("exact_match"), global::WANTED),
        no_worse(evidence, "keyword_recall", 0),
        at_most("rows", evidence.value("dataset.val"), 100),
        enough(evidence, "pairs", evidence.threshold("GATE_MIN_PAIRS")),
        require("base", evidence.baseline("exact_match") > 0.2, "the base can do something"),
        at_least("upper", evidence.upper("exact_match") - evidence.metric("exact_match"), 0),
        no_worse(evidence.suite("general"), "exact_match", 0.01),
        enough(evidence, "sessions", 100),
    ]
}
"#)
    .unwrap();
    let shown: Vec<_> = checks[6..]
        .iter()
        .map(|c| {
            let measured = c.measured.unwrap();
            format!("{} {} {measured} {} {}", c.name, c.wanted, c.passed, c.author)
        })
        .collect();
    assert_eq!(
        shown,
        [
            "gain >= 0.5 0.6 true team.rhai:9",
            "delta.keyword_recall >= 0 0.01 true team.rhai:10",
            "rows <= 100 120 false team.rhai:11",
            "pairs >= 50 120 true team.rhai:12",
            "base true 1 true team.rhai:13",
            "upper >= 0 -0.15000000000000002 false team.rhai:14",
            "suite.general.exact_match >= -0.01 -0.02 false team.rhai:15",
            "sessions >= 100 60 false team.rhai:16",
        ]
    );
    assert!(checks[0].author.starts_with("proto/gates:"), "{checks:?}");
    assert!(checks[13].undecided);
}

#[test]
fn the_digest_is_of_what_the_policy_says() {
    let text = "import \"proto/gates\" as gates;\nfn policy(evidence) { gates::policy(evidence) }";
    let digest = team(text).digest();
    let renamed = PolicySource { name: "other.rhai".into(), text: text.into() };
    assert_eq!(renamed.digest(), digest);
    assert_ne!(team(&text.replace("gates::", "  gates::")).digest(), digest);
    // What is imported counts.
    assert_ne!(team(&text.replace("proto/gates", "proto/quality")).digest(), digest);
    assert_eq!(team("not a script").digest().len(), 64);
}

#[test]
fn a_broken_policy_is_a_failure_with_a_reason() {
    let body = |body: &str| format!("fn policy(evidence) {{\n{body}\n}}");
    let cases = [
        // It throws, or does not parse, or is not there.
        (body("throw \"no\""), "team.rhai:2:1: no"),
        (body("let x = ;"), "team.rhai:2:9"),
        ("fn other(evidence) { [] }".into(), "defines no `fn policy(evidence)`"),
        ("fn policy() { [require(\"a\", true, \"b\")] }".into(), "defines no `fn policy(evidence)`"),
        ("throw \"top\"; fn policy(evidence) { [require(\"a\", true, \"b\")] }".into(), "top"),
        (String::new(), "defines no"),
        // It never ends.
        (body("loop {}"), "limit of operations"),
        ("loop {} fn policy(evidence) { [require(\"a\", true, \"b\")] }".into(), "limit of operations"),
        (body("policy(evidence)"), "too deeply"),
        (body("[1].map(|x| policy(evidence))"), "too deeply"),
        (
            String::from(
                "fn each(n) { let a = []; a.pad(300, 0); a.reduce(|s, x| { if n > 0 { each(n - 1); } 0 }) }
                 fn policy(evidence) { each(5); [require(\"a\", true, \"b\")] }",
            ),
            "it ran past",
        ),
        // It allocates without end.
        (body("let s = \"x\"; loop { s += s; }"), "too large"),
        (body("let a = [0]; loop { a += a; }"), "too large"),
        (body("let m = #{}; let i = 0; loop { m[`k${i}`] = 0; i += 1; }"), "limit of operations"),
        (body("let a = []; loop { a.push(\"xxxxxxxxxxxxxxxx\"); }"), "too large"),
        (body("let a = []; a.pad(100000000, 0); [require(\"a\", true, \"b\")]"), "too large"),
        // It answers with something else than checks.
        (body(""), "must return a list of checks, not () (nothing)"),
        (body("true"), "not the flag true"),
        (body("1.0"), "not the number 1"),
        (body("[]"), "the list is empty"),
        (body("[true]"), "item 0 is the flag true"),
        (body("[require(\"a\", true, \"b\"), \"passed\"]"), "item 1 is the string"),
        (body("[#{name: \"a\", wanted: \"b\", measured: 1.0, passed: true}]"), "item 0 is a map"),
        (body("require(\"a\", true, \"b\")"), "not a single check"),
        // It reads what is not there.
        (body("[better(evidence, \"exact_mach\")]"), "did you mean `delta.exact_match`?"),
        (body("[no_worse(evidence, \"exact_mach\", 0)]"), "did you mean `delta.exact_match`?"),
        (body("[at_least(\"x\", evidence.metric(\"zzz\"), 0)]"), "candidate.exact_match, candidate"),
        (
            body("[at_least(\"x\", evidence.lower(\"keyword_recall\"), 0)]"),
            "`delta.keyword_recall.low` was not measured",
        ),
        (body("[at_least(\"x\", evidence.metric(\"parse_ok\"), 0)]"), "was not measured"),
        (body("[at_least(\"x\", evidence.value(\"dataset.nothing\"), 0)]"), "dataset.leakage"),
        (body("[at_least(\"x\", evidence.value(\"dataset\"), 0)]"), "unknown figure"),
        (body("[no_worse(evidence.suite(\"special\"), \"exact_match\", 0)]"), "there is general"),
        (
            body("[at_least(\"x\", evidence.suite(\"general\").metric(\"exact_match\"), 0)]"),
            "only differences are known",
        ),
        (body("[better(evidence.suite(\"general\"), \"exact_match\")]"), "ask `no_worse`"),
        (body("[enough(evidence, \"pears\", 1)]"), "did you mean `pairs`?"),
        (body("[at_least(\"x\", 1, evidence.threshold(\"GATE_MIN_PAIR\"))]"), "`GATE_MIN_PAIRS`"),
        (body("[at_least(\"x\", evidence.exact_match, 0)]"), "no property"),
        (body("[at_least(\"x\", evidence.delta, 0)]"), "it is a method"),
        (body("[at_least(\"x\", evidence[\"metrics\"], 0)]"), "Indexer"),
        // It compares what cannot be compared.
        (body("[at_least(\"x\", 0.0 / 0.0, 0)]"), "NaN"),
        (body("[at_least(\"x\", 1, 0.0 / 0.0)]"), "NaN"),
        (body("[at_most(\"x\", 0.0 - 1.0 / 0.0, 1)]"), "inf"),
        (body("[require(\"x\", 0.0 / 0.0 < 1.0, \"y\")]"), "not a number"),
        (body("[require(\"x\", !(0.0 / 0.0 >= 1.0), \"y\")]"), "not a number"),
        (body("[require(\"x\", evidence.metric(\"exact_match\") < \"0.9\", \"y\")]"), "cannot compare"),
        (body("[require(\"x\", evidence.metric(\"exact_match\") != \"0.9\", \"y\")]"), "cannot compare"),
        (body("[require(\"x\", () < 0.5, \"y\")]"), "cannot compare"),
        (body("[at_least(\"x\", \"0.9\", 0.5)]"), "must be a number, not the string"),
        (body("[at_least(\"x\", (), 0.5)]"), "must be a number, not () (nothing)"),
        (body("[at_least(\"x\", true, 0.5)]"), "must be a number, not the flag"),
        (body("[require(\"x\", 1, \"y\")]"), "`require` cannot be called as"),
        (body("[no_worse(evidence, \"exact_match\", -1.0)]"), "negative"),
        // It looks for the outside.
        (body("open_file(\"/etc/passwd\")"), "unknown function"),
        (body("load_traces()"), "unknown function"),
        (body("rows_from([])"), "unknown function"),
        (body("setting(\"SEED\")"), "unknown function"),
        (body("param(\"a\")"), "unknown function"),
        (body("timestamp()"), "unknown function"),
        (body("sleep(1)"), "unknown function"),
        (body("rand()"), "unknown function"),
        (body("eval(\"1\")"), "eval"),
        (body("evidence(#{})"), "unknown function"),
        (body("import \"team\" as team; [require(\"a\", true, \"b\")]"), "imports only `proto/"),
        (body("import \"/etc/passwd\" as p; [require(\"a\", true, \"b\")]"), "imports only `proto/"),
        (body("import \"proto/../team\" as p; [require(\"a\", true, \"b\")]"), "no module"),
    ];
    let mut wrong = Vec::new();
    for (text, wanted) in cases {
        match ask(&text) {
            Err(reason) if reason.contains(wanted) => {
                assert!(reason.starts_with("the gate policy gave no answer: "), "{reason}");
            }
            other => wrong.push(format!("{text}\nwanted: {wanted}\ngot: {other:?}")),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[test]
fn a_disk_module_beside_the_policy_stays_unread() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("own.rhai"), "fn all() { [require(\"a\", true, \"b\")] }")
        .unwrap();
    let file = folder.path().join("gate.rhai");
    std::fs::write(&file, "import \"own\" as own;\nfn policy(evidence) { own::all() }").unwrap();
    let failure = policy::judge(&PolicySource::read(&file).unwrap(), &evidence()).unwrap_err();
    assert!(failure.reason.contains("imports only `proto/"), "{failure}");
    let missing = PolicySource::read(&folder.path().join("none.rhai")).unwrap_err();
    assert!(format!("{missing:#}").contains("cannot read the gate policy"), "{missing:#}");
}

#[test]
fn the_same_evidence_gives_the_same_answer() {
    let first = policy::judge(&PolicySource::shipped(), &evidence()).unwrap();
    for _ in 0..5 {
        assert_eq!(policy::judge(&PolicySource::shipped(), &evidence()).unwrap(), first);
    }
    // A print is dropped, not an error.
    assert!(
        ask("fn policy(evidence) { print(1); debug(2); [require(\"a\", true, \"b\")] }").is_ok()
    );
}

#[test]
fn without_an_evaluation_the_shipped_policy_does_not_pass() {
    let evidence = Evidence { evaluation: None, ..evidence() };
    let checks = policy::judge(&PolicySource::shipped(), &evidence).unwrap();
    assert!(checks.iter().all(|check| !check.passed), "{checks:?}");
}
