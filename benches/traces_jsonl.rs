//! How fast OpenClaw's sessions in files become traces, and in how much memory: each way of
//! reading in a process of its own, in turns.
//!
//!     cargo bench --bench traces_jsonl              64 MB
//!     cargo bench --bench traces_jsonl -- 1000      so many MB
//!
//! `parse` makes plain typed values of the lines, one after another; `read` is what the program
//! does, up to the canonical traces, which are dropped as they come. The bars: `read` at no less
//! than half the speed of `parse`, and under 500 MB of memory at 1000 MB of sessions. Figures are
//! the best of the rounds; everything is in the page cache.

use std::env;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use proto::progress::Silent;
use proto::trace;
use serde::Deserialize;
use serde_json::Value;

#[path = "traces/openclaw.rs"]
mod openclaw;

const CASE: &str = "PROTO_BENCH_CASE";
const FOLDER: &str = "PROTO_BENCH_FOLDER";
const ROUNDS: usize = 5;

/// A line as a plain program would declare it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
#[allow(dead_code)]
struct Line {
    r#type: String,
    id: String,
    parent_id: Option<String>,
    timestamp: String,
    message: Option<Message>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
#[allow(dead_code)]
struct Message {
    role: String,
    content: Vec<Block>,
    provider: Option<String>,
    model: Option<String>,
    stop_reason: Option<String>,
    tool_call_id: Option<String>,
    tool_name: Option<String>,
    is_error: Option<bool>,
    timestamp: i64,
}

#[derive(Deserialize)]
#[allow(dead_code)]
struct Block {
    r#type: String,
    text: Option<String>,
    thinking: Option<String>,
    id: Option<String>,
    name: Option<String>,
    arguments: Option<Value>,
}

/// Every line of every session; gives the bytes.
fn parse(root: &Path) -> u64 {
    let folder = root.join("agents/main/sessions");
    let mut bytes = 0;
    for entry in fs::read_dir(folder).expect("sessions") {
        let path = entry.expect("a file").path();
        if path.extension().is_none_or(|end| end != "jsonl") {
            continue;
        }
        let mut input = BufReader::new(fs::File::open(path).expect("a file"));
        let mut line = Vec::new();
        while input.read_until(b'\n', &mut line).expect("a line") > 0 {
            let parsed: Line = serde_json::from_slice(&line).expect("an entry");
            std::hint::black_box(parsed);
            bytes += line.len() as u64;
            line.clear();
        }
    }
    bytes
}

/// The sessions as traces; gives their messages' number.
fn read(root: &Path) -> u64 {
    let mut messages = 0;
    let mut take = |trace: trace::Trace| {
        messages += trace.messages.len() as u64;
        Ok(())
    };
    let loaded = trace::each(&[root.to_path_buf()], root, &Silent, &mut take).expect("sessions");
    assert!(loaded.bad.is_empty() && loaded.reasons.is_empty());
    messages
}

/// The most memory this process has had resident, in MB (10^6 bytes).
fn peak_mb() -> f64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<f64>().ok());
    kib.map_or(f64::NAN, |kib| kib * 1024.0 / 1e6)
}

fn main() {
    if let (Ok(case), Ok(folder)) = (env::var(CASE), env::var(FOLDER)) {
        let start = Instant::now();
        let count = if case == "parse" { parse(folder.as_ref()) } else { read(folder.as_ref()) };
        println!("{count} {} {}", start.elapsed().as_secs_f64(), peak_mb());
        return;
    }
    let mb = env::args().skip(1).find_map(|size| size.parse::<u64>().ok()).unwrap_or(64);
    let folder = tempfile::tempdir().expect("a temporary folder");
    openclaw::write(folder.path(), mb * 1_000_000);
    let run = |case: &str| {
        let mut child = Command::new(env::current_exe().expect("this program"));
        let output = child.env(CASE, case).env(FOLDER, folder.path()).output().expect("a run");
        let told = String::from_utf8(output.stdout).expect("a line");
        let figures: Vec<f64> = told.split_whitespace().filter_map(|f| f.parse().ok()).collect();
        let [count, seconds, peak] = figures[..] else { panic!("{case}: {told:?}") };
        (count, seconds, peak)
    };
    let mut best = [(f64::MAX, 0f64); 2];
    let mut counts = [0f64; 2];
    for _ in 0..ROUNDS {
        for (n, case) in ["parse", "read"].iter().enumerate() {
            let (count, seconds, peak) = run(case);
            best[n] = (best[n].0.min(seconds), best[n].1.max(peak));
            counts[n] = count;
        }
    }
    let bytes = counts[0] / 1e6;
    println!("{bytes:.0} MB of OpenClaw's sessions, {} messages", counts[1]);
    for (case, (seconds, peak)) in ["parse", "read"].iter().zip(best) {
        println!("{case:6} {:7.1} MB/s {peak:7.1} MB of memory", bytes / seconds);
    }
    let ratio = best[0].0 / best[1].0;
    let over = if ratio < 0.5 || best[1].1 > 500.0 { "  OVER" } else { "" };
    println!("read/parse {ratio:.2}{over}");
}
