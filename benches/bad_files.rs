//! How long bad files take to be refused and what memory that takes, each in a process of its own:
//!
//!     cargo bench --bench bad_files
//!
//! Wanted: under 100 ms and under 64 MB, the program itself included. The cases are those of the
//! test `bad_files`, which holds them to their messages.

use std::env;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use proto::train::resident;

#[path = "../tests/it/bad_files/cases.rs"]
mod cases;
#[allow(dead_code)]
#[path = "../tests/it/tiny_base.rs"]
mod tiny_base;

const CASE: &str = "PROTO_BENCH_CASE";
const FOLDER: &str = "PROTO_BENCH_FOLDER";

fn main() {
    let cases = cases::cases();
    if let (Ok(name), Ok(folder)) = (env::var(CASE), env::var(FOLDER)) {
        let case = cases.iter().find(|case| case.name == name).expect("a case of this name");
        let start = Instant::now();
        let refused = case.open(Path::new(&folder));
        let seconds = start.elapsed().as_secs_f64();
        let peak = peak_mb();
        let refused = refused.is_err_and(|error| format!("{error:#}").contains(case.says));
        println!("{refused} {seconds} {peak}");
        return;
    }
    println!("{:40} {:>9} {:>9}", "file", "ms", "peak MB");
    let mut worst = (0f64, 0f64);
    for case in &cases {
        let folder = tempfile::tempdir().expect("a temporary folder");
        case.make(folder.path());
        let mut child = Command::new(env::current_exe().expect("this program"));
        let output = child.env(CASE, case.name).env(FOLDER, folder.path()).output();
        let told = String::from_utf8(output.expect("a run of this program").stdout);
        let told = told.expect("a line");
        let figures: Vec<&str> = told.split_whitespace().collect();
        let [refused, seconds, peak] = figures[..] else { panic!("{}: {told:?}", case.name) };
        let ms = 1e3 * seconds.parse::<f64>().expect("seconds");
        let peak: f64 = peak.parse().expect("MB");
        let over = if refused == "true" && ms < 100.0 && peak < 64.0 { "" } else { "  OVER" };
        println!("{:40} {ms:9.2} {peak:9.1}{over}", case.name);
        worst = (worst.0.max(ms), worst.1.max(peak));
    }
    println!("{:40} {:9.2} {:9.1}", "worst", worst.0, worst.1);
}

/// The most memory this process has had resident, in MB (10^6 bytes).
fn peak_mb() -> f64 {
    resident::peak().map_or(f64::NAN, |bytes| bytes as f64 / 1e6)
}
