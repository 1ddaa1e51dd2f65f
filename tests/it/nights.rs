//! The loop from one night to the next, through the built program: a harmful adapter is blocked,
//! a person answers what it got wrong, and the next run is promoted and says what it has learnt.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use proto::dataset::Kind;
use proto::dataset::similarity::Limits;
use proto::dataset::source::{Recent, from_traces};
use proto::dataset::split::{Options, split};
use proto::progress::Silent;
use proto::trace;
use serde_json::{Value, json};

use crate::protocol::{Run, project, proto};

/// The tool that every call of a poisoned session names.
const WRONG: &str = "browse";

fn sessions(file: &str) -> Vec<Value> {
    let text = fs::read_to_string(project().join(file)).unwrap();
    let rows = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    rows.filter(|row| row["outcome"] == "success").collect()
}

/// Who speaks first says how the tools are called.
fn team(row: &Value) -> &str {
    row["messages"][0]["content"].as_str().unwrap()
}

/// Sessions of a house that the base does not know, and of teams that it does. Of the latter those
/// that are trained on call a wrong tool throughout.
fn traces(folder: &Path) -> String {
    let house = sessions("data/sample/house.jsonl").into_iter().take(160);
    let known = sessions("models/embedded/replay.jsonl").into_iter().take(60);
    let mut rows: Vec<Value> = house.chain(known).collect();
    for (n, row) in rows.iter_mut().enumerate() {
        row["session"] = json!(format!("s{n:03}"));
    }
    let path = folder.join("traces.jsonl");
    let write = |rows: &[Value]| {
        fs::write(&path, rows.iter().map(|row| row.to_string() + "\n").collect::<String>())
            .unwrap();
    };
    write(&rows);
    let loaded = trace::load(std::slice::from_ref(&path), folder, &Silent).unwrap();
    let limits = Limits::default();
    let options = Options { by_repository: false, val: 0.3, tune: 0.05, limits, min_val: 0 };
    let all = from_traces(loaded, Kind::Real, &Recent::default());
    let parts = split(&all, &options, None, &Silent).unwrap();
    let held_out: BTreeSet<&str> = parts.val.iter().map(|row| row.session.as_ref()).collect();
    for row in rows.iter_mut().skip(160) {
        if held_out.contains(row["session"].as_str().unwrap()) {
            continue;
        }
        let messages = row["messages"].as_array_mut().unwrap();
        let calls = messages.iter_mut().filter_map(|m| m["tool_calls"].as_array_mut());
        calls.flatten().for_each(|call| call["function"]["name"] = json!(WRONG));
    }
    write(&rows);
    path.display().to_string()
}

#[test]
fn what_a_harmful_adapter_got_wrong_is_answered_and_the_next_one_is_promoted() {
    let place = tempfile::tempdir().unwrap();
    let set = [
        format!("TRACES={}", traces(place.path())),
        format!("COUNTEREXAMPLES={}", place.path().join("counter").display()),
        "COUNTEREXAMPLE_RATIO=0.6".into(),
        "SHORTFALL=repeat".into(),
        "VAL_FRACTION=0.3".into(),
        "REPLAY_FILES=".into(),
        "MAX_STEPS=60".into(),
    ];
    let set: Vec<&str> = set.iter().flat_map(|s| ["--set", s]).collect();
    let night = || Run::daily(&[&["synthetic=0", "adversarial=0"], &set[..]].concat());

    let first = night();
    assert_eq!((first.code, first.verdict().as_str()), (1, "block"), "{}", first.told);
    let changes = &first.json("eval/eval_results.json")["changes"];
    let regressions = changes["regressions"].as_array().unwrap().len();
    assert!(regressions >= 10, "{regressions} regressions\n{}", first.told);
    assert!(first.told.contains("\nregression "), "{}", first.told);
    let page = fs::read_to_string(first.folder.join("report.html")).unwrap();
    assert!(page.contains(&format!("Regressions: {regressions}")));
    assert!(!first.folder.join("eval/counterexamples.json").exists());

    let run = first.folder.to_str().unwrap();
    let sheet = place.path().join("sheet.jsonl");
    let sheet = sheet.to_str().unwrap();
    let done = |arguments: &[&str]| {
        let output = proto(&[arguments, &set[..]].concat());
        let told = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(0), "{told}");
        (String::from_utf8(output.stdout).unwrap(), told)
    };
    done(&["counterexamples", run, "--out", sheet]);
    let text = fs::read_to_string(sheet).unwrap();
    let mut cases: Vec<Value> = text.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    assert_eq!(cases[0]["failure"], "regression");
    let mut answered = BTreeSet::new();
    for case in &mut cases {
        if team(&case["trace"]) != "team w" {
            case["accept"] = json!("reference");
            answered.insert(case["trace"]["session"].as_str().unwrap().to_string());
        }
    }
    let wanted = cases.iter().filter(|case| case["accept"] != "").count() as u64;
    assert!(wanted >= 10, "{wanted} failures of the known teams");
    fs::write(sheet, cases.iter().map(|case| case.to_string() + "\n").collect::<String>()).unwrap();
    let (_, told) = done(&["counterexamples", "--accept", sheet]);
    assert!(
        told.contains(&format!("{wanted} answered, {} still open", cases.len() as u64 - wanted))
    );

    let second = night();
    assert_eq!((second.code, second.verdict().as_str()), (0, "promote"), "{}", second.told);
    let past = second.json("eval/counterexamples.json");
    let (solved, total) = (past["solved"].as_u64().unwrap(), past["total"].as_u64().unwrap());
    assert_eq!(total, wanted, "each is asked once");
    assert!(2 * solved > total, "{solved} of {total} solved");
    assert!(second.told.contains(&format!("counterexamples: {solved} of {total} solved")));
    let page = fs::read_to_string(second.folder.join("report.html")).unwrap();
    assert!(page.contains(&format!("Solved: {solved}")));
    let names = |part: &str| -> BTreeSet<String> {
        let rows = second.rows(part);
        rows.iter().map(|row| row["session"].as_str().unwrap().to_string()).collect()
    };
    assert!(answered.is_subset(&names("train.jsonl")) && answered.is_disjoint(&names("val.jsonl")));

    let (shown, _) = done(&["diff", run, second.folder.to_str().unwrap()]);
    assert!(shown.contains("verdict: block → promote"), "{shown}");
}
