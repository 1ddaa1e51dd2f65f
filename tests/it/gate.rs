//! The gate: what promotes, what never does, and that the same evidence gives the same bytes.

use std::collections::BTreeMap;

use proto::config::Layers;
use proto::evaluate::Delta;
use proto::gate::policy::{at_least, at_most, better, enough, no_regression, no_worse, require};
use proto::gate::{
    Check, DatasetEvidence, Decision, EvaluationEvidence, Evidence, Nights, Policy, Threshold,
    TrainingEvidence, Verdict, judge,
};

fn delta(delta: f64, low: f64, high: f64) -> Delta {
    Delta {
        delta,
        low: Some(low),
        high: Some(high),
        interval: "percentile".into(),
        p: 0.001,
        p_greater: 0.0005,
        p_less: 1.0,
        sign_p: 0.002,
        rose: 40,
        fell: 4,
        pairs: 120,
        sessions: 60,
        detectable: Some(0.08),
    }
}

/// A run that deserves promotion.
fn good() -> Evidence {
    let deltas = |exact, recall| {
        BTreeMap::from([("exact_match".to_string(), exact), ("keyword_recall".to_string(), recall)])
    };
    let dataset = DatasetEvidence {
        digest: "d".into(),
        min_example_ok: Some(true),
        redaction_ok: Some(true),
        leak_ok: Some(true),
        train: Some(400.0),
        val: Some(80.0),
        leakage: Some(0.0),
        canary_recall: Some(1.0),
        residue: Some(0.0),
    };
    let evaluation = EvaluationEvidence {
        digest: "e".into(),
        pairs: 120,
        sessions: 60,
        adapter_active: Some(true),
        regressions: 4,
        fixes: 40,
        delta: deltas(delta(0.3, 0.2, 0.4), delta(0.2, 0.1, 0.3)),
        suite: BTreeMap::from([(
            "general".to_string(),
            deltas(delta(-0.01, -0.04, 0.02), delta(0.0, -0.02, 0.02)),
        )]),
        tool: BTreeMap::from([(
            "bash".to_string(),
            deltas(delta(-0.1, -0.2, 0.0), delta(0.0, -0.1, 0.1)),
        )]),
        loss: BTreeMap::from([(
            "val".to_string(),
            BTreeMap::from([("base".to_string(), 2.0), ("candidate".to_string(), 0.75)]),
        )]),
        ..EvaluationEvidence::default()
    };
    let training =
        TrainingEvidence { steps: 50, tokens: 9000, loss: Some(0.5), tune_loss: Some(0.6) };
    // Written out, so that a threshold added later changes no golden bytes.
    let shipped = [
        ("GATE_ALPHA", 0.1),
        ("GATE_MAX_SUITE_DROP", 0.05),
        ("GATE_MIN_DELTA_EXACT_MATCH", 0.02),
        ("GATE_MIN_DELTA_KEYWORD_RECALL", 0.0),
        ("GATE_MIN_PAIRS", 50.0),
        ("GATE_MIN_SESSIONS", 20.0),
        ("MAX_LEAK", 0.0),
        ("MIN_TRAIN_EXAMPLES", 50.0),
        ("MIN_VAL_EXAMPLES", 10.0),
    ];
    let threshold =
        |(name, default): (&str, f64)| (name.to_string(), Threshold { value: default, default });
    Evidence {
        schema_version: 1,
        dataset,
        evaluation: Some(evaluation),
        training: Some(training),
        judged: None,
        nights: None,
        thresholds: shipped.into_iter().map(threshold).collect(),
    }
}

fn evaluation(evidence: &mut Evidence) -> &mut EvaluationEvidence {
    evidence.evaluation.as_mut().unwrap()
}

fn policy(checks: Result<Vec<Check>, String>) -> Policy {
    Policy { name: "team.rhai".into(), digest: "p".into(), checks }
}

/// The comparisons of the shipped policy.
fn shipped(evidence: &Evidence) -> Policy {
    let drop = evidence.threshold("GATE_MAX_SUITE_DROP").unwrap();
    let checks = || -> Result<Vec<Check>, String> {
        let mut checks = vec![
            better(evidence, "exact_match")?,
            enough(evidence, "pairs", evidence.threshold("GATE_MIN_PAIRS")?)?,
            enough(evidence, "sessions", evidence.threshold("GATE_MIN_SESSIONS")?)?,
            at_most("loss.val.delta", evidence.find("loss.val.delta")?, 0.0),
        ];
        for suite in evidence.suites() {
            checks.push(no_worse(evidence, &format!("suite.{suite}.exact_match"), drop)?);
        }
        Ok(checks.into_iter().map(|c| c.by("gates.rhai:9")).collect())
    };
    policy(checks())
}

fn judged(evidence: &Evidence, policy: Policy) -> Decision {
    judge(evidence, vec![policy], Vec::new())
}

fn verdict(evidence: &Evidence) -> Verdict {
    judged(evidence, shipped(evidence)).verdict
}

fn found<'a>(decision: &'a Decision, name: &str) -> &'a Check {
    decision.checks.iter().find(|c| c.name == name).unwrap_or_else(|| panic!("no check {name}"))
}

#[test]
fn a_good_run_is_promoted_and_every_check_is_listed_once() {
    let decision = judged(&good(), shipped(&good()));
    assert_eq!(decision.verdict, Verdict::Promote, "{:?}", decision.reasons);
    assert!(decision.reasons.is_empty());
    let names: Vec<&str> = decision.checks.iter().map(|c| c.name.as_str()).collect();
    assert_eq!(
        names,
        [
            "better exact_match",
            "pairs",
            "sessions",
            "loss.val.delta",
            "suite.general.exact_match",
            "delta.exact_match",
            "delta.keyword_recall",
            "min_example_ok",
            "redaction_ok",
            "leak_ok",
            "dataset.leakage",
            "adapter.active",
            "false promotion",
        ]
    );
    assert_eq!(decision.checks[0].author, "gates.rhai:9");
    assert_eq!(decision.checks[5].author, "host");
    assert_eq!(decision.checks[5].wanted, ">= 0.02");
    assert!(decision.changed_thresholds.is_empty());
    assert_eq!(decision.evidence, good().digest());
}

#[test]
fn each_of_the_host_s_conditions_blocks_alone_and_hides_no_other_check() {
    type Spoil = fn(&mut Evidence);
    let spoil: [(&str, Spoil); 11] = [
        ("adapter.active", |e| evaluation(e).adapter_active = Some(false)),
        ("adapter.active", |e| evaluation(e).adapter_active = None),
        ("leak_ok", |e| e.dataset.leak_ok = Some(false)),
        ("delta.exact_match", |e| {
            evaluation(e).delta.insert("exact_match".into(), delta(0.0199, 0.01, 0.03));
        }),
        ("delta.keyword_recall", |e| {
            evaluation(e).delta.insert("keyword_recall".into(), delta(-0.001, -0.1, 0.1));
        }),
        ("delta.keyword_recall", |e| {
            evaluation(e).delta.remove("keyword_recall");
        }),
        ("min_example_ok", |e| e.dataset.min_example_ok = Some(false)),
        ("redaction_ok", |e| e.dataset.redaction_ok = Some(false)),
        ("redaction_ok", |e| e.dataset.redaction_ok = None),
        ("dataset.leakage", |e| e.dataset.leakage = Some(0.01)),
        ("dataset.leakage", |e| e.dataset.leakage = None),
    ];
    for (name, spoil) in spoil {
        let mut evidence = good();
        spoil(&mut evidence);
        let lenient = policy(Ok(vec![require("fine by us", true, "always")]));
        let decision = judged(&evidence, lenient);
        assert_eq!(decision.verdict, Verdict::Block, "{name}");
        assert!(!found(&decision, name).passed, "{name}");
        assert_eq!(decision.reasons.len(), 1, "{:?}", decision.reasons);
        assert!(decision.reasons[0].starts_with(name), "{:?}", decision.reasons);
        assert_eq!(decision.checks.len(), 12, "all checks are listed");
    }
}

#[test]
fn too_little_evidence_is_inconclusive_and_a_failure_still_blocks() {
    let mut few = good();
    evaluation(&mut few).pairs = 49;
    assert_eq!(verdict(&few), Verdict::Inconclusive);
    let mut same_session = good();
    evaluation(&mut same_session).sessions = 19;
    let decision = judged(&same_session, shipped(&same_session));
    assert_eq!(decision.verdict, Verdict::Inconclusive);
    assert_eq!(decision.reasons, ["sessions: wanted >= 20, got 19"]);
    let mut unsure = good();
    evaluation(&mut unsure).delta.insert("exact_match".into(), delta(0.05, -0.01, 0.11));
    let decision = judged(&unsure, policy(Ok(vec![require("fine", true, "")])));
    assert_eq!(decision.verdict, Verdict::Inconclusive, "the host asks, whatever the policy says");
    assert!(decision.reasons[0].contains("smallest detectable change is 0.08"));
    let mut one_session = good();
    let alone = Delta { low: None, high: None, ..delta(0.3, 0.0, 0.0) };
    evaluation(&mut one_session).delta.insert("exact_match".into(), alone);
    assert_eq!(verdict(&one_session), Verdict::Inconclusive);
    evaluation(&mut unsure).delta.insert("keyword_recall".into(), delta(-0.5, -0.6, -0.4));
    assert_eq!(verdict(&unsure), Verdict::Block);
}

#[test]
fn a_clear_loss_fails_rather_than_being_undecided() {
    let mut worse = good();
    evaluation(&mut worse).delta.insert("exact_match".into(), delta(-0.3, -0.4, -0.2));
    let check = better(&worse, "exact_match").unwrap();
    assert!(check.failed(), "{check:?}");
    let mut suite = good();
    let general = evaluation(&mut suite).suite.get_mut("general").unwrap();
    general.insert("exact_match".into(), delta(-0.06, -0.1, -0.02));
    let decision = judged(&suite, shipped(&suite));
    assert_eq!(decision.verdict, Verdict::Block);
    assert!(!found(&decision, "suite.general.exact_match").passed);
    let mut loss = good();
    evaluation(&mut loss).loss.get_mut("val").unwrap().insert("candidate".into(), 2.5);
    assert_eq!(verdict(&loss), Verdict::Block);
}

#[test]
fn no_policy_gets_round_the_host() {
    let mut bad = good();
    evaluation(&mut bad).delta.insert("exact_match".into(), delta(-0.2, -0.3, -0.1));
    let passed = |name: &str, measured: Option<f64>| Check {
        name: name.into(),
        wanted: ">= 0.02".into(),
        measured,
        passed: true,
        author: "team".into(),
        ..Check::default()
    };
    // Forged checks under the host's names, a figure that is no number, nothing measured.
    let forged = vec![
        passed("delta.exact_match", Some(0.5)),
        passed("better exact_match", Some(0.5)),
        passed("odd", Some(f64::NAN)),
        passed("empty", None),
        Check { interval: Some((f64::NAN, 1.0)), ..passed("interval", Some(1.0)) },
        Check { undecided: true, ..passed("both", Some(1.0)) },
    ];
    let decision = judged(&bad, policy(Ok(forged)));
    assert_eq!(decision.verdict, Verdict::Block);
    for name in ["odd", "empty", "interval", "both"] {
        assert!(!found(&decision, name).passed, "{name}");
    }
    let host: Vec<&Check> = decision.checks.iter().filter(|c| c.author == "host").collect();
    assert_eq!(host.len(), 11);
    assert!(!host.iter().find(|c| c.name == "delta.exact_match").unwrap().passed);
}

#[test]
fn a_policy_that_errs_or_checks_nothing_never_promotes() {
    for checks in [
        Ok(Vec::new()),
        Err("team.rhai:3:7: division by zero".to_string()),
        Err(at_known_name(&good())),
    ] {
        let decision = judged(&good(), policy(checks));
        assert_eq!(decision.verdict, Verdict::Block);
        let check = found(&decision, "policy");
        assert!(!check.passed && !check.note.is_empty() && check.author == "team.rhai");
        assert_eq!(decision.checks.len(), 12, "the host's checks are still listed");
    }
    let error = judged(&good(), policy(Err("team.rhai:3:7: division by zero".into())));
    assert!(error.reasons[0].contains("team.rhai:3:7: division by zero"));
}

fn at_known_name(evidence: &Evidence) -> String {
    evidence.lookup("delta.exact_mach").unwrap_err()
}

#[test]
fn what_is_not_a_number_passes_no_comparison() {
    for odd in [None, Some(f64::NAN), Some(f64::INFINITY), Some(f64::NEG_INFINITY)] {
        assert!(!at_least("x", odd, 0.0).passed, "{odd:?}");
        assert!(!at_most("x", odd, 0.0).passed, "{odd:?}");
    }
    assert!(!at_least("x", Some(1.0), f64::NAN).passed);
    assert!(!at_most("x", Some(1.0), f64::INFINITY).passed);
    assert!(at_least("x", Some(0.02), 0.02).passed && at_most("x", Some(0.02), 0.02).passed);
    let mut evidence = good();
    evaluation(&mut evidence).delta.insert("exact_match".into(), delta(f64::NAN, 0.1, 0.2));
    assert_ne!(verdict(&evidence), Verdict::Promote);
    evaluation(&mut evidence).delta.insert("exact_match".into(), delta(0.3, f64::NAN, 0.4));
    assert_ne!(verdict(&evidence), Verdict::Promote);
    let mut evidence = good();
    evaluation(&mut evidence).loss.clear();
    assert_eq!(verdict(&evidence), Verdict::Block);
    let mut evidence = good();
    evidence.thresholds.remove("GATE_MIN_DELTA_EXACT_MATCH");
    assert_eq!(judged(&evidence, policy(Ok(vec![require("x", true, "")]))).verdict, Verdict::Block);
}

#[test]
fn figures_have_names_and_an_unknown_one_lists_its_family() {
    let evidence = good();
    assert_eq!(evidence.lookup("delta.exact_match"), Ok(0.3));
    assert_eq!(evidence.lookup("delta.exact_match.low"), Ok(0.2));
    assert_eq!(evidence.lookup("tool.bash.exact_match"), Ok(-0.1));
    assert_eq!(evidence.lookup("loss.val.delta"), Ok(-1.25));
    assert_eq!(evidence.lookup("training.steps"), Ok(50.0));
    assert_eq!(evidence.tools(), ["bash"]);
    let unknown = evidence.lookup("delta.exact_mach").unwrap_err();
    assert!(unknown.contains("did you mean `delta.exact_match`?"), "{unknown}");
    assert!(unknown.contains("delta.keyword_recall") && !unknown.contains("suite."), "{unknown}");
    let missing = evidence.lookup("delta.parse_ok").unwrap_err();
    assert_eq!(missing, "`delta.parse_ok` was not measured in this run");
    assert!(evidence.threshold("GATE_MIN_PAIR").unwrap_err().contains("GATE_MIN_PAIRS"));
    assert!(better(&evidence, "exactness").is_err());
    assert!(better(&evidence, "output_tokens").unwrap_err().contains("neither more nor less"));
    assert!(no_worse(&evidence, "suite.nothing.exact_match", 0.1).is_err());
    assert!(no_worse(&evidence, "tool.bash.exact_match", 0.1).unwrap().passed);
    assert!(!no_worse(&evidence, "tool.bash.exact_match", 0.09).unwrap().passed);
}

#[test]
fn less_of_a_bad_thing_is_better() {
    let mut evidence = good();
    evaluation(&mut evidence).delta.insert("repeat_rate".into(), delta(-0.2, -0.3, -0.1));
    assert!(better(&evidence, "repeat_rate").unwrap().passed);
    assert!(no_worse(&evidence, "repeat_rate", 0.0).unwrap().passed);
    evaluation(&mut evidence).delta.insert("repeat_rate".into(), delta(0.2, 0.1, 0.3));
    assert!(better(&evidence, "repeat_rate").unwrap().failed());
    assert!(!no_worse(&evidence, "repeat_rate", 0.1).unwrap().passed);
}

#[test]
fn withheld_training_still_gives_a_blocking_decision() {
    let mut evidence = good();
    evidence.evaluation = None;
    evidence.training = None;
    evidence.dataset.redaction_ok = Some(false);
    let decision = Decision::withheld("redaction_ok failed: training was withheld", &evidence);
    assert_eq!(decision.verdict, Verdict::Block);
    assert_eq!(decision.reasons[0], "redaction_ok failed: training was withheld");
    assert!(!found(&decision, "redaction_ok").passed);
    assert!(found(&decision, "min_example_ok").passed);
    assert!(decision.policies.is_empty());
    // Even where every dataset gate holds, nothing was evaluated, so nothing is promoted.
    evidence.dataset.redaction_ok = Some(true);
    assert_eq!(Decision::withheld("stopped", &evidence).verdict, Verdict::Block);
}

#[test]
fn the_manifest_s_gates_are_read_and_what_it_does_not_say_blocks() {
    let manifest = serde_json::json!({"gates": {
        "min_example_ok": true, "redaction_ok": true, "leak_ok": true, "train_rows": 400,
        "val_rows": 80, "leakage": 0.0, "canary_recall": 1.0, "residue_rows": 0,
    }});
    assert_eq!(DatasetEvidence::read(&manifest, "d"), good().dataset);
    for odd in [serde_json::json!(null), serde_json::json!({"gates": {"redaction_ok": "yes"}})] {
        let mut evidence = good();
        evidence.dataset = DatasetEvidence::read(&odd, "d");
        assert_eq!(verdict(&evidence), Verdict::Block);
    }
}

#[test]
fn changed_thresholds_are_listed() {
    let mut layers = Layers::new();
    layers.command_line("GATE_MIN_DELTA_EXACT_MATCH=0.25").unwrap();
    layers.command_line("MAX_LEAK=0.1").unwrap();
    layers.command_line("GATE_SCRIPT=gates/team.rhai").unwrap();
    layers.command_line("LORA_R=8").unwrap();
    let config = layers.resolve(&[]).unwrap();
    let mut evidence = Evidence::new(good().dataset, None, None, &config);
    evidence.evaluation = good().evaluation;
    let decision = judged(&evidence, shipped(&evidence));
    assert_eq!(decision.verdict, Verdict::Promote);
    assert_eq!(
        decision.changed_thresholds,
        BTreeMap::from([
            ("GATE_MIN_DELTA_EXACT_MATCH".to_string(), Threshold { value: 0.25, default: 0.02 }),
            ("MAX_LEAK".to_string(), Threshold { value: 0.1, default: 0.0 }),
        ])
    );
}

#[test]
fn the_same_evidence_gives_the_same_bytes_also_after_a_round_trip() {
    let bytes = |evidence: &Evidence| {
        serde_json::to_string_pretty(&judged(evidence, shipped(evidence))).unwrap()
    };
    let written = serde_json::to_string(&good()).unwrap();
    let read: Evidence = serde_json::from_str(&written).unwrap();
    assert_eq!(read, good());
    assert_eq!(bytes(&read), bytes(&good()));
    let decision: Decision = serde_json::from_str(&bytes(&good())).unwrap();
    assert_eq!(decision, judged(&good(), shipped(&good())));
    // Committed, so that another machine that differs is noticed.
    assert_eq!(
        proto::files::digest(bytes(&good()).as_bytes()),
        "0ae2843ac9dbf80e6e339391e3f2e6c0871ab2b5bfdf83bbe0a13c9acc6bb694"
    );
    let mut other = good();
    other.dataset.val = Some(81.0);
    assert_ne!(judged(&other, shipped(&other)).evidence, decision.evidence);
}

#[test]
fn the_later_the_night_the_surer_a_gain_must_be_until_a_promotion_earns_it_back() {
    let night = |before: u64, promoted: &[u64]| {
        let nights = Nights { before, promoted: promoted.to_vec(), ..Nights::default() };
        let evidence = Evidence { nights: Some(nights), ..good() };
        judged(&evidence, shipped(&evidence))
    };
    // p is 0.0005 here.
    assert_eq!(night(8, &[]).verdict, Verdict::Promote);
    let late = night(9, &[]);
    assert_eq!(late.verdict, Verdict::Inconclusive);
    let check = found(&late, "false promotion");
    assert!(check.undecided && check.note.contains("look 10"), "{check:?}");
    assert_eq!(night(9, &[9]).verdict, Verdict::Promote);
}

#[test]
fn an_open_verdict_says_how_many_items_and_days_would_decide_it() {
    let mut evidence = good();
    let e = evaluation(&mut evidence);
    e.delta.insert("exact_match".into(), delta(0.04, -0.02, 0.1));
    e.days = Some(10.0);
    let decision = judged(&evidence, shipped(&evidence));
    assert_eq!(decision.verdict, Verdict::Inconclusive);
    let plan = decision.plan.unwrap();
    // 0.08 can be seen with 120 items, so half of that takes four times as many.
    assert_eq!((plan.items, plan.days, plan.items_per_day), (360, Some(30), Some(12.0)));
    assert!(plan.line().contains("30 days at 12 a day"), "{}", plan.line());
    evaluation(&mut evidence).days = None;
    let plan = judged(&evidence, shipped(&evidence)).plan.unwrap();
    assert_eq!((plan.items, plan.days), (360, None));
    assert_eq!(judged(&good(), shipped(&good())).plan, None);
}

#[test]
fn several_policies_must_all_agree_and_none_must_be_missing() {
    let evidence = good();
    let agrees = policy(Ok(vec![require("fine by us", true, "always").by("a.rhai:1")]));
    let objects = policy(Ok(vec![require("fine by them", false, "never").by("b.rhai:1")]));
    let both = |policies| judge(&evidence, policies, Vec::new());
    assert_eq!(both(vec![agrees.clone(), agrees.clone()]).verdict, Verdict::Promote);
    let decision = both(vec![agrees.clone(), objects]);
    assert_eq!(decision.verdict, Verdict::Block);
    assert_eq!(decision.policies.len(), 2);
    assert!(!found(&decision, "fine by them").passed);
    let erring = both(vec![agrees, policy(Err("it threw".into()))]);
    assert_eq!(erring.verdict, Verdict::Block);
    assert_eq!(both(Vec::new()).verdict, Verdict::Block, "somebody has to be asked");
}

#[test]
fn a_small_slice_regresses_only_beyond_chance() {
    let mut evidence = good();
    let mut check = |low, high| {
        let slip = BTreeMap::from([("exact_match".to_string(), delta(-0.3, low, high))]);
        evaluation(&mut evidence).tool.insert("bash".into(), slip);
        no_regression(&evidence, "tool.bash.exact_match", 0.1).unwrap()
    };
    let noise = check(-0.7, 0.1);
    assert!(noise.passed && noise.note.contains("noise"), "{noise:?}");
    assert!(check(-0.5, -0.1).failed());
    assert!(no_regression(&evidence, "tool.bash.exact_match", 0.4).unwrap().passed);
    assert!(no_regression(&evidence, "tool.bsh.exact_match", 0.4).is_err());
}
