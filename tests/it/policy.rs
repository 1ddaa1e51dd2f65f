//! Gate policies: whatever is wrong with one, it never passes.

use proto::script::policy::{PolicyCheck, PolicySource, judge};
use serde_json::{Value, json};

fn evidence() -> Value {
    json!({
        "metrics": {
            "exact_match": {
                "adapter": 0.85, "baseline": 0.25, "delta": 0.6, "lower": 0.41, "upper": 0.7
            },
            "keyword_recall": {"adapter": 0.9, "baseline": 0.92, "delta": -0.02, "lower": null},
        },
        "suites": {
            "general": {"metrics": {"exact_match": {"adapter": 0.9, "baseline": 0.92, "delta": -0.02}}},
        },
        "settings": {"GATE_MAX_SUITE_DROP": 0.05, "GATE_MIN_PAIRS": 50, "BASE_MODEL": "m"},
        "dataset": {"min_example_ok": true, "rows": 120},
    })
}

fn ask(text: &str) -> Result<Vec<PolicyCheck>, String> {
    let policy = PolicySource { name: "team.rhai".into(), text: text.into() };
    judge(&policy, &evidence()).map_err(|failure| failure.to_string())
}

#[test]
fn the_shipped_policy_answers() {
    let checks = judge(&PolicySource::shipped(), &evidence()).unwrap();
    let shown: Vec<_> =
        checks.iter().map(|c| (c.name.as_str(), c.wanted.as_str(), c.measured, c.passed)).collect();
    assert_eq!(
        shown,
        [
            ("lower.exact_match", ">= 0", 0.41, true),
            ("general.delta.exact_match", ">= -0.05", -0.02, true)
        ]
    );
    assert!(checks.iter().all(|c| c.author.starts_with("proto/gates:")), "{checks:?}");
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
        better(evidence, "exact_match", global::WANTED),
        no_worse(evidence, "keyword_recall", 0),
        at_most("rows", evidence.value("dataset.rows"), 100),
        at_least("pairs", 60, evidence.setting("GATE_MIN_PAIRS")),
        holds("examples", evidence.value("dataset.min_example_ok")),
        at_least("upper", evidence.upper("exact_match") - evidence.baseline("exact_match"), 0.9),
        holds("base", evidence.setting("BASE_MODEL") == "m" && evidence.metric("exact_match") > 0.8),
    ]
}
"#)
    .unwrap();
    let shown: Vec<_> = checks[2..]
        .iter()
        .map(|c| format!("{} {} {} {} {}", c.name, c.wanted, c.measured, c.passed, c.author))
        .collect();
    assert_eq!(
        shown,
        [
            "delta.exact_match >= 0.5 0.6 true team.rhai:9",
            "delta.keyword_recall >= 0 -0.02 false team.rhai:10",
            "rows <= 100 120 false team.rhai:11",
            "pairs >= 50 60 true team.rhai:12",
            "examples true 1 true team.rhai:13",
            "upper >= 0.9 0.44999999999999996 false team.rhai:14",
            "base true 1 true team.rhai:15",
        ]
    );
    assert!(checks[0].author.starts_with("proto/gates:"), "{checks:?}");
}

#[test]
fn a_broken_policy_is_a_failure_with_a_reason() {
    let body = |body: &str| format!("fn policy(evidence) {{\n{body}\n}}");
    let cases = [
        // It throws, or does not parse, or is not there.
        (body("throw \"no\""), "team.rhai:2:1: no"),
        (body("let x = ;"), "team.rhai:2:9"),
        ("fn other(evidence) { [] }".into(), "defines no `fn policy(evidence)`"),
        ("fn policy() { [holds(\"a\", true)] }".into(), "defines no `fn policy(evidence)`"),
        ("throw \"top\"; fn policy(evidence) { [holds(\"a\", true)] }".into(), "top"),
        (String::new(), "defines no"),
        // It never ends.
        (body("loop {}"), "limit of operations"),
        ("loop {} fn policy(evidence) { [holds(\"a\", true)] }".into(), "limit of operations"),
        (body("policy(evidence)"), "too deeply"),
        (body("[1].map(|x| policy(evidence))"), "too deeply"),
        (
            String::from(
                "fn each(n) { let a = []; a.pad(300, 0); a.reduce(|s, x| { if n > 0 { each(n - 1); } 0 }) }
                 fn policy(evidence) { each(5); [holds(\"a\", true)] }",
            ),
            "it ran past",
        ),
        // It allocates without end.
        (body("let s = \"x\"; loop { s += s; }"), "too large"),
        (body("let a = [0]; loop { a += a; }"), "too large"),
        (body("let m = #{}; let i = 0; loop { m[`k${i}`] = 0; i += 1; }"), "limit of operations"),
        (body("let a = []; loop { a.push(\"xxxxxxxxxxxxxxxx\"); }"), "too large"),
        (body("let a = []; a.pad(100000000, 0); [holds(\"a\", true)]"), "too large"),
        // It answers with something else than checks.
        (body(""), "must return a list of checks, not () (nothing)"),
        (body("true"), "not the flag true"),
        (body("1.0"), "not the number 1"),
        (body("[]"), "the list is empty"),
        (body("[true]"), "item 0 is the flag true"),
        (body("[holds(\"a\", true), \"passed\"]"), "item 1 is the string"),
        (body("[#{name: \"a\", wanted: \"b\", measured: 1.0, passed: true}]"), "item 0 is a map"),
        (body("holds(\"a\", true)"), "not a single check"),
        // It reads what is not there.
        (
            body("[better(evidence, \"exact_mach\", 0.1)]"),
            "did you mean `exact_match`? there is exact_match, keyword_recall",
        ),
        (body("[at_least(\"x\", evidence.metric(\"zzz\"), 0)]"), "there is exact_match, keyword"),
        (body("[at_least(\"x\", evidence.lower(\"keyword_recall\"), 0)]"), "called `lower`"),
        (body("[at_least(\"x\", evidence.value(\"dataset.nothing\"), 0)]"), "min_example_ok"),
        (body("[at_least(\"x\", evidence.value(\"dataset\"), 0)]"), "is not a number"),
        (body("[at_least(\"x\", evidence.value(\"dataset.rows.x\"), 0)]"), "there is no value"),
        (body("[no_worse(evidence.suite(\"special\"), \"exact_match\", 0)]"), "there is general"),
        (
            body("[at_least(\"x\", evidence.suite(\"general\").metric(\"other\"), 0)]"),
            "suite `general`",
        ),
        (body("[at_least(\"x\", evidence.setting(\"GATE\"), 0)]"), "no setting"),
        (body("[at_least(\"x\", evidence.exact_match, 0)]"), "no property"),
        (body("[at_least(\"x\", evidence.delta, 0)]"), "it is a method"),
        (body("[at_least(\"x\", evidence[\"metrics\"], 0)]"), "Indexer"),
        // It compares what cannot be compared.
        (body("[at_least(\"x\", 0.0 / 0.0, 0)]"), "NaN"),
        (body("[at_least(\"x\", 1, 0.0 / 0.0)]"), "NaN"),
        (body("[at_most(\"x\", 0.0 - 1.0 / 0.0, 1)]"), "inf"),
        (body("[holds(\"x\", 0.0 / 0.0 < 1.0)]"), "not a number"),
        (body("[holds(\"x\", !(0.0 / 0.0 >= 1.0))]"), "not a number"),
        (body("[holds(\"x\", evidence.metric(\"exact_match\") < \"0.9\")]"), "cannot compare"),
        (body("[holds(\"x\", evidence.metric(\"exact_match\") != \"0.9\")]"), "cannot compare"),
        (body("[holds(\"x\", () < 0.5)]"), "cannot compare"),
        (body("[at_least(\"x\", \"0.9\", 0.5)]"), "must be a number, not the string"),
        (body("[at_least(\"x\", (), 0.5)]"), "must be a number, not () (nothing)"),
        (body("[at_least(\"x\", true, 0.5)]"), "must be a number, not the flag"),
        (body("[holds(\"x\", 1)]"), "`holds` cannot be called as"),
        (body("[no_worse(evidence, \"exact_match\", -1.0)]"), "negative"),
        // It looks for the outside.
        (body("open_file(\"/etc/passwd\")"), "unknown function"),
        (body("load_traces()"), "unknown function"),
        (body("rows_from([])"), "unknown function"),
        (body("setting(\"SEED\")"), "`setting` cannot be called as"),
        (body("param(\"a\")"), "unknown function"),
        (body("timestamp()"), "unknown function"),
        (body("sleep(1)"), "unknown function"),
        (body("rand()"), "unknown function"),
        (body("eval(\"1\")"), "eval"),
        (body("evidence(#{})"), "unknown function"),
        (body("import \"team\" as team; [holds(\"a\", true)]"), "imports only `proto/"),
        (body("import \"/etc/passwd\" as p; [holds(\"a\", true)]"), "imports only `proto/"),
        (body("import \"proto/../team\" as p; [holds(\"a\", true)]"), "no module"),
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
    std::fs::write(folder.path().join("own.rhai"), "fn all() { [holds(\"a\", true)] }").unwrap();
    let file = folder.path().join("gate.rhai");
    std::fs::write(&file, "import \"own\" as own;\nfn policy(evidence) { own::all() }").unwrap();
    let failure = judge(&PolicySource::read(&file).unwrap(), &evidence()).unwrap_err();
    assert!(failure.reason.contains("imports only `proto/"), "{failure}");
    let missing = PolicySource::read(&folder.path().join("none.rhai")).unwrap_err();
    assert!(format!("{missing:#}").contains("cannot read the gate policy"), "{missing:#}");
}

#[test]
fn the_same_evidence_gives_the_same_answer() {
    let first = judge(&PolicySource::shipped(), &evidence()).unwrap();
    for _ in 0..5 {
        assert_eq!(judge(&PolicySource::shipped(), &evidence()).unwrap(), first);
    }
    // A print is dropped, not an error.
    assert!(ask("fn policy(evidence) { print(1); debug(2); [holds(\"a\", true)] }").is_ok());
}

#[test]
fn evidence_that_is_none_blocks() {
    for nothing in [json!({}), json!(null), json!([]), json!({"metrics": []})] {
        assert!(judge(&PolicySource::shipped(), &nothing).is_err(), "{nothing}");
    }
}
