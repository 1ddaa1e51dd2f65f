//! What a person reads at the end of a run.

use proto::config::Layers;
use proto::evaluate::{Evaluation, Record};
use proto::gate::policy::{better, enough, no_worse};
use proto::gate::{DatasetEvidence, Decision, Evidence, Policy, TrainingEvidence, judge};
use proto::report::{Account, Training, html, summary};
use proto::train::TrainingRecord;
use serde_json::{Value, json};

use crate::evaluation::{asked_again, compared};

fn manifest() -> Value {
    json!({
        "stages": [
            {"name": "load", "input": 0, "added": 812, "output": 800,
             "dropped": {"malformed line": 9, "no assistant turn": 3}},
            {"name": "redact", "input": 800, "added": 0, "output": 796,
             "dropped": {"mostly redacted": 4}},
            {"name": "dedup", "input": 796, "added": 0, "output": 601,
             "dropped": {"near duplicate": 150, "exact duplicate": 45, "contained": 0}},
        ],
        "gates": {"min_example_ok": true, "redaction_ok": true, "leak_ok": true,
                  "canary_recall": 1.0},
        "mended": {"loose_end": 12},
        "duplicates": {"total": 195, "clusters": 61, "largest_cluster": 40, "listed": []},
        "splits": {
            "train": {"rows": 701, "distinct_rows": 640, "sessions": 212, "components": 190,
                      "trained_turns": 1904, "kinds": {"real": 500, "synthetic": 201},
                      "tokens": {"total": 412904}},
            "val": {"rows": 60, "distinct_rows": 60, "sessions": 60, "components": 58,
                    "trained_turns": 60, "kinds": {"real": 60}, "tokens": {"total": 31200}},
        },
        "mix": [
            {"kind": "real", "wanted": null, "got": 0.85, "rows": 500, "tokens": 350000,
             "repeats": 0, "available_rows": 500},
            {"kind": "synthetic", "wanted": 0.15, "got": 0.15, "rows": 201, "tokens": 62904,
             "repeats": 30, "available_rows": 171},
        ],
        "leakage": {"rows": 60, "leaking_rows": 0, "share": 0.0, "allowed": 0.0, "sessions": 0,
                    "components": 0, "by_likeness": {}},
        "redaction": {
            "rows": 812, "changed": 44, "unredacted": 0,
            "proof": {"planted": 64, "found": 64, "rows": 761, "residue_rows": 0,
                      "by_class": {"aws_key": {"planted": 32, "found": 32},
                                   "email": {"planted": 32, "found": 32}},
                      "by_rule": {"email": 41, "aws_key": 3}, "residue": {}},
        },
    })
}

fn training() -> Training {
    let noise = |i: u64| ((i * 7919) % 97) as f64 / 97.0 - 0.5;
    let fact = |label: &str, value: &str| (label.to_string(), value.to_string());
    Training {
        facts: vec![
            fact("base", "models/embedded"),
            fact("steps", "240"),
            fact("trained tokens", "96,412"),
            fact("trainable parameters", "159,744"),
        ],
        losses: (1..=240)
            .map(|i| (i, 0.35 + 2.1 / (1.0 + i as f64 / 18.0) + 0.12 * noise(i)))
            .collect(),
        tune_losses: (1..=6)
            .map(|i| (i * 40, 0.45 + 2.0 / (1.0 + i as f64 * 40.0 / 18.0)))
            .collect(),
    }
}

fn decision(evaluation: Option<&Evaluation>, leakage: f64) -> Decision {
    let dataset = DatasetEvidence {
        min_example_ok: Some(true),
        redaction_ok: Some(true),
        leak_ok: Some(true),
        train: Some(400.0),
        val: Some(60.0),
        leakage: Some(leakage),
        canary_recall: Some(1.0),
        residue: Some(0.0),
        ..DatasetEvidence::default()
    };
    let mut layers = Layers::new();
    layers.command_line("GATE_MIN_DELTA_EXACT_MATCH=0.1").unwrap();
    let evidence = Evidence::new(dataset, evaluation, None, &layers.resolve(&[]).unwrap());
    if evaluation.is_none() {
        return Decision::withheld("leakage 0.2 is above MAX_LEAK=0", &evidence);
    }
    let checks = [
        better(&evidence, "exact_match"),
        enough(&evidence, "pairs", 50.0),
        no_worse(&evidence, "suite.general.exact_match", 0.05),
    ];
    let checks = checks.into_iter().map(|c| c.map(|c| c.by("proto/gates:12"))).collect();
    let policy = Policy { name: "proto/gates".into(), digest: "90d1c7".into(), checks };
    judge(&evidence, vec![policy], Vec::new())
}

fn account<'a>(
    manifest: &'a Value,
    training: &'a Training,
    evaluation: &'a Evaluation,
    records: &'a [Record],
    decision: &'a Decision,
) -> Account<'a> {
    Account {
        title: "20261122T101500Z",
        manifest: Some(manifest),
        training: Some(training),
        evaluation: Some(evaluation),
        records,
        past: None,
        decision: Some(decision),
        decision_path: "artifacts/protocol-runs/20261122T101500Z/eval/gate_decision.json",
    }
}

#[test]
fn the_page_is_one_file_that_says_everything() {
    let (evaluation, records) = compared();
    let (manifest, training) = (manifest(), training());
    let decision = decision(Some(&evaluation), 0.0);
    let page = html(&account(&manifest, &training, &evaluation, &records, &decision)).unwrap();
    for said in [
        "Promote",
        "60 paired items from 60 sessions",
        "exact match",
        "loss on val, nats per token",
        "suite.general.exact_match",
        "GATE_MIN_DELTA_EXACT_MATCH=0.1",
        "Regressions: 9",
        "Fixes: 68",
        "near duplicate <b>150</b>",
        "32 of 32 found",
        "<td class=\"number\">412,904</td>",
        "synthetic 201",
        "15.0 %",
        "<polyline class=\"train\"",
        "gate_decision.json",
        "proto&#x2f;gates:12",
        "5u17e",
    ] {
        assert!(page.contains(said), "the page does not say {said}");
    }
    for fetched in ["<script", "http://", "https://", "url(", "@import", "<img", "<link"] {
        assert!(!page.contains(fetched), "the page must stand alone: {fetched}");
    }
    assert!(!page.contains("contained <b>0</b>"), "reasons that dropped nothing are not shown");
    assert_eq!(
        page,
        html(&account(&manifest, &training, &evaluation, &records, &decision)).unwrap()
    );
}

#[test]
fn hostile_text_stays_text() {
    let attack = "</pre><script>alert('x')</script>\u{1b}[31m\"&";
    let (mut evaluation, mut records) = compared();
    for record in &mut records {
        record.request = attack.into();
        record.candidate.content = attack.into();
        record.candidate.malformed = Some(attack.into());
        record.source = attack.into();
    }
    let slices = &mut evaluation.paired.tool;
    let find = slices["find"].clone();
    slices.insert(attack.into(), find);
    let manifest = json!({
        "stages": [{"name": attack, "input": 1, "added": 0, "output": 0, "dropped": {attack: 1}}],
        "redaction": {"proof": {"by_rule": {attack: 1}, "by_class": {attack: {"found": 1}}}},
        "splits": {attack: {"kinds": {attack: 1}}},
        "mix": [{"kind": attack}],
    });
    let mut decision = decision(Some(&evaluation), 0.0);
    decision.reasons.push(attack.into());
    decision.checks[0].note = attack.into();
    let training = Training { facts: vec![(attack.into(), attack.into())], ..training() };
    let account = Account {
        title: attack,
        decision_path: attack,
        ..account(&manifest, &training, &evaluation, &records, &decision)
    };
    let page = html(&account).unwrap();
    assert!(!page.contains("<script"), "unescaped");
    assert!(page.contains("&lt;script&gt;"));
    let text = summary(&account, 100);
    let answers = text.lines().filter(|l| l.contains("alert"));
    assert!(answers.clone().count() > 3);
    assert!(!text.contains('\u{1b}'), "an answer steers the terminal");
}

#[test]
fn the_summary_is_compact_and_complete() {
    let (evaluation, records) = compared();
    let (manifest, training) = (manifest(), training());
    let decision = decision(Some(&evaluation), 0.0);
    let account = account(&manifest, &training, &evaluation, &records, &decision);
    let text = summary(&account, 100);
    let examples = |text: &str| -> Vec<String> {
        text.lines().filter(|l| l.starts_with("example ")).map(String::from).collect()
    };
    assert_eq!(examples(&text).len(), 3, "{text}");
    assert_eq!(text.lines().filter(|l| l.starts_with("regression ")).count(), 9, "{text}");
    let row = text.lines().find(|l| l.trim_start().starts_with("exact match")).unwrap();
    let words: Vec<&str> = row.split_whitespace().collect();
    assert_eq!(words[2..8], ["10.0", "%", "80.0", "%", "+70.0", "+53.3"], "{row}");
    assert!(row.ends_with("60"), "{row}");
    let check = text.lines().find(|l| l.trim_start().starts_with("delta.exact_match")).unwrap();
    let words: Vec<&str> = check.split_whitespace().collect();
    assert_eq!(words, ["delta.exact_match", ">=", "0.1", "0.7", "ok", "host"]);
    assert!(text.contains("PROMOTE"));
    let last = text.lines().last().unwrap();
    assert!(last.ends_with("eval/gate_decision.json"), "{last}");
    assert!(text.lines().all(|l| l.chars().count() <= 110), "{text}");
    // The same ones, whatever the order of the records.
    let mut turned = records.clone();
    turned.reverse();
    let other = summary(&Account { records: &turned, ..account }, 100);
    assert_eq!(examples(&other), examples(&text));
}

#[test]
fn a_run_that_stopped_early_is_told_as_far_as_it_went() {
    let manifest = manifest();
    let withheld = decision(None, 0.2);
    let bare = Account {
        title: "run",
        manifest: Some(&manifest),
        training: None,
        evaluation: None,
        records: &[],
        past: None,
        decision: Some(&withheld),
        decision_path: "run/eval/gate_decision.json",
    };
    let text = summary(&bare, 80);
    assert!(text.contains("BLOCK: The dataset did not pass"), "{text}");
    assert!(text.contains("leakage 0.2 is above MAX_LEAK=0"), "{text}");
    assert!(text.contains("FAILED"), "{text}");
    let page = html(&bare).unwrap();
    assert!(page.contains("Block") && page.contains("near duplicate"));
    assert!(!page.contains("Base and adapter"));
    let nothing = Account { manifest: None, decision: None, ..bare };
    assert!(html(&nothing).unwrap().contains("No evaluation was asked for."));
    assert_eq!(summary(&nothing, 80), "No evaluation was asked for.\n");
    let odd = json!({"stages": "none", "gates": [1], "leakage": null, "mix": [1, "a"]});
    html(&Account { manifest: Some(&odd), ..bare }).unwrap();
}

#[test]
fn a_training_record_becomes_facts_and_a_curve() {
    let record = TrainingRecord {
        examples: 1200,
        without_targets: 2,
        parameters: 1_597_440,
        planned_steps: 300,
        steps: 3,
        tokens: 90_000,
        trained_tokens: 45_123,
        losses: vec![3.0, 2.0, 1.5],
        tune_losses: vec![(2, 2.5), (3, 2.0)],
        kept_step: 3,
    };
    let base = vec![("base".to_string(), "models/embedded".to_string())];
    let training = Training::of(&record, base);
    assert_eq!(training.losses, [(1, 3.0), (2, 2.0), (3, 1.5)]);
    let page = html(&Account {
        title: "run",
        manifest: None,
        training: Some(&training),
        evaluation: None,
        records: &[],
        past: None,
        decision: None,
        decision_path: "",
    });
    let page = page.unwrap();
    for said in ["models&#x2f;embedded", "1,597,440", "3 of 300 planned", "45,123", "1.500 over 3"]
    {
        assert!(page.contains(said), "{said}");
    }
    let evidence = TrainingEvidence::of(&record);
    assert_eq!((evidence.loss, evidence.tune_loss), (Some(1.5), Some(2.0)));
}

#[test]
fn past_mistakes_are_told_of_apart_from_the_evidence() {
    let (evaluation, records) = compared();
    let (manifest, training, past) = (manifest(), training(), asked_again());
    let decision = decision(Some(&evaluation), 0.0);
    let plain = account(&manifest, &training, &evaluation, &records, &decision);
    assert!(!html(&plain).unwrap().contains("Past mistakes"));
    let with = Account { past: Some(&past), ..plain };
    let page = html(&with).unwrap();
    for said in ["Past mistakes asked again", "8 of 10 solved", "Still wrong: 2", "Solved: 8"] {
        assert!(page.contains(said), "the page does not say {said}");
    }
    let told = summary(&with, 100);
    assert!(told.contains("\ncounterexamples: 8 of 10 solved (by the base: 1)\n"), "{told}");
    assert_eq!(
        told.replace("counterexamples: 8 of 10 solved (by the base: 1)\n\n", ""),
        summary(&plain, 100)
    );
}
