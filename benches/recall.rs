//! How much of a generated test set redaction finds, and how much of what only looks like a secret
//! it keeps, per class, beside other scanners over the same cases.
//!
//!     cargo bench --bench recall                          200 cases of each class and kind
//!     cargo bench --bench recall -- 400 SEED…             so many, of these seeds
//!     cargo bench --bench recall -- 100 SEED failures=3   with up to three failures of each
//!
//! `scripts/redaction/peers.sh` installs the others and runs this; PEERS_PYTHON names the Python of
//! a virtual environment that has them, and without it the table shows ours alone. Each case is a
//! file of its own to them, and is found where they report anything in it at all, which counts in
//! their favour: from us every half of every value must be gone. They do not look for personal data.

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use proto::redact::{Policy, Redactor};
use rayon::prelude::*;
use serde_json::Value;

#[path = "../tests/it/redaction/grammar/mod.rs"]
mod grammar;

use grammar::judge::{Verdict, judge};
use grammar::{Case, Kind, cases, names, texts};

const KINDS: [Kind; 3] = [Kind::Plain, Kind::Awkward, Kind::Alike];

/// Which cases a tool reports something in.
type Flagged = BTreeSet<usize>;

/// A scanner: its name, how it is started on a folder, and how its report is read.
struct Peer {
    name: &'static str,
    command: fn(&Path, &Path) -> Command,
    files: fn(&str) -> BTreeSet<String>,
}

const PEERS: &[Peer] = &[
    Peer {
        name: "gitleaks",
        command: |bin, folder| {
            let mut command = Command::new(bin.join("gitleaks"));
            command.args(["dir", "--no-banner", "--exit-code=0", "--max-decode-depth=5"]);
            command.args(["--log-level=error", "--report-format=json", "--report-path=-"]);
            command.arg(folder);
            command
        },
        files: |report| {
            let findings: Vec<Value> = serde_json::from_str(report).unwrap_or_default();
            findings.iter().filter_map(|f| f["File"].as_str()).map(String::from).collect()
        },
    },
    Peer {
        name: "detect-secrets",
        command: |bin, folder| {
            let mut command = Command::new(bin.join("detect-secrets"));
            command.current_dir(folder).args(["scan", "--all-files", "--no-verify", "."]);
            command
        },
        files: |report| {
            let report: Value = serde_json::from_str(report).unwrap_or_default();
            report["results"].as_object().into_iter().flatten().map(|(f, _)| f.clone()).collect()
        },
    },
    Peer {
        name: "kingfisher",
        command: |bin, folder| {
            let mut command = Command::new(bin.join("kingfisher"));
            command.args(["scan", "--no-validate", "--no-update-check", "--git-history=none"]);
            command.args(["--format=jsonl", "--confidence=low", "--no-dedup"]).arg(folder);
            command
        },
        files: |report| {
            let mut files = BTreeSet::new();
            for line in report.lines() {
                let value: Value = serde_json::from_str(line).unwrap_or_default();
                paths(&value, &mut files);
            }
            files
        },
    },
];

/// Every string of a report that names a case.
fn paths(value: &Value, files: &mut BTreeSet<String>) {
    match value {
        Value::String(text) if text.ends_with(EXTENSION) => {
            files.insert(text.clone());
        }
        Value::Array(items) => items.iter().for_each(|v| paths(v, files)),
        Value::Object(items) => items.values().for_each(|v| paths(v, files)),
        _ => {}
    }
}

/// What the files of cases end in: with this the others find most.
const EXTENSION: &str = ".yaml";

/// Lets a scanner read every case.
fn ask(peer: &Peer, bin: &Path, folder: &Path) -> Option<Flagged> {
    let output = (peer.command)(bin, folder).stderr(Stdio::null()).output().ok()?;
    let report = String::from_utf8_lossy(&output.stdout);
    let number = |file: &String| Path::new(file).file_stem()?.to_str()?.parse().ok();
    Some((peer.files)(&report).iter().filter_map(number).collect())
}

/// What we make of a case.
fn redact(redactor: &Redactor, case: &Case) -> Vec<String> {
    texts(&redactor.session(&[&case.trace()]).expect("a redacted session")[0].trace)
}

/// Whether a case ended as it should.
fn passed(kind: Kind, verdict: &Verdict) -> bool {
    if kind == Kind::Alike { verdict.changed.is_empty() } else { verdict.left.is_empty() }
}

/// Cases and those that passed.
#[derive(Default, Clone, Copy)]
struct Share(usize, usize);

impl Share {
    fn add(&mut self, passed: bool) {
        self.0 += 1;
        self.1 += usize::from(passed);
    }
}

impl std::fmt::Display for Share {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Cut, not rounded: 1.000 is all of them.
        let share = self.1 as f64 / self.0.max(1) as f64;
        write!(f, "{:.3}", (share * 1000.0).floor() / 1000.0)
    }
}

fn main() {
    let arguments: Vec<String> = env::args().skip(1).filter(|a| a != "--bench").collect();
    let shown = arguments.iter().find_map(|a| a.strip_prefix("failures="));
    let shown: usize = shown.map_or(0, |n| n.parse().expect("failures=NUMBER"));
    let numbers: Vec<u64> = arguments
        .iter()
        .filter(|a| !a.starts_with("failures="))
        .map(|a| a.parse().expect("numbers: how many cases, then seeds"))
        .collect();
    let each = numbers.first().copied().unwrap_or(200) as usize;
    let seeds = if numbers.len() > 1 { &numbers[1..] } else { &[20_240_801] };

    let all: Vec<Case> = seeds.iter().flat_map(|seed| cases(*seed, each)).collect();
    let redactor = Redactor::new(Policy::default()).expect("the built-in rules");
    let outputs: Vec<Vec<String>> = all.par_iter().map(|case| redact(&redactor, case)).collect();
    let verdicts: Vec<Verdict> = all.iter().zip(&outputs).map(|(c, o)| judge(c, o)).collect();

    let folder = tempfile::tempdir().expect("a temporary folder");
    let peers = others(&all, folder.path());
    if peers.is_empty() {
        println!("No other scanner: see scripts/redaction/peers.sh\n");
    }
    table(&all, &verdicts, &peers);
    if shown > 0 {
        failures(&all, &outputs, &verdicts, shown);
    }
}

/// The scanners that are there, and what each flags.
fn others(all: &[Case], folder: &Path) -> Vec<(&'static str, Flagged)> {
    let Some(python) = env::var_os("PEERS_PYTHON") else { return Vec::new() };
    let bin = PathBuf::from(python);
    let bin = bin.parent().expect("the path of a Python");
    let bin = fs::canonicalize(bin).expect("the folder of that Python");
    for (i, case) in all.iter().enumerate() {
        let file = folder.join(format!("{i:06}{EXTENSION}"));
        fs::write(file, case.texts.join("\n") + "\n").expect("a file of a case");
    }
    PEERS.iter().filter_map(|peer| Some((peer.name, ask(peer, &bin, folder)?))).collect()
}

fn table(all: &[Case], verdicts: &[Verdict], peers: &[(&str, Flagged)]) {
    // By class, column and kind; the last column is what stood around plain secrets.
    let mut shares: BTreeMap<(&str, usize, Kind), Share> = BTreeMap::new();
    let mut around: BTreeMap<&str, Share> = BTreeMap::new();
    for (i, case) in all.iter().enumerate() {
        let key = |column| (case.class, column, case.kind);
        shares.entry(key(0)).or_default().add(passed(case.kind, &verdicts[i]));
        if case.kind == Kind::Plain && !case.kept.is_empty() {
            around.entry(case.class).or_default().add(verdicts[i].changed.is_empty());
        }
        for (column, (_, flagged)) in peers.iter().enumerate() {
            let right = flagged.contains(&i) == (case.kind != Kind::Alike);
            shares.entry(key(column + 1)).or_default().add(right);
        }
    }
    print!("{:16} {:^31}", "", "ours");
    for (name, _) in peers {
        print!(" | {name:^23}");
    }
    print!("\n{:16} {:>7} {:>7} {:>7} {:>7}", "class", "plain", "awkward", "alike", "around");
    for _ in peers {
        print!(" | {:>7} {:>7} {:>7}", "plain", "awkward", "alike");
    }
    println!();
    for (class, secret) in names() {
        print!("{class:16}");
        for kind in KINDS {
            print!(" {:>7}", shares[&(class, 0, kind)].to_string());
        }
        print!(" {:>7}", around.get(class).map_or("-".into(), Share::to_string));
        for column in 1..=peers.len() {
            print!(" |");
            for kind in KINDS {
                let share = shares[&(class, column, kind)].to_string();
                // A session with something to keep has a secret too, which they rightly flag.
                let asked = secret && !(class == "session" && kind == Kind::Alike);
                print!(" {:>7}", if asked { &share } else { "-" });
            }
        }
        println!();
    }
}

fn failures(all: &[Case], outputs: &[Vec<String>], verdicts: &[Verdict], shown: usize) {
    let mut seen: BTreeMap<(&str, Kind, &str), usize> = BTreeMap::new();
    for (i, case) in all.iter().enumerate() {
        let wrong = match case.kind {
            _ if !passed(case.kind, &verdicts[i]) => "failed",
            Kind::Plain if !verdicts[i].changed.is_empty() => "around",
            _ => continue,
        };
        let count = seen.entry((case.class, case.kind, wrong)).or_default();
        *count += 1;
        if *count > shown {
            continue;
        }
        println!("\n{} {:?} {wrong}: {}", case.class, case.kind, case.name.escape_debug());
        for (before, after) in case.texts.iter().zip(&outputs[i]) {
            println!("  < {before:?}\n  > {after:?}");
        }
        if wrong == "failed" && case.kind != Kind::Alike {
            println!("  left: {:?}", verdicts[i].left);
        }
    }
}
