//! How fast sessions are redacted, with every rule, decoding and the consistency pass on, and
//! whether the cost of hostile texts is linear in their length:
//!
//!     cargo bench --bench redaction                          100 MB of sessions, hostile texts
//!     cargo bench --bench redaction -- MB=20 ROUNDS=3 speed  part of it
//!     ONLY=base64 cargo bench --bench redaction -- hostile   texts whose name has this in it
//!     GITLEAKS=path/to/gitleaks cargo bench --bench redaction -- speed
//!
//! Everything runs on one thread, and times are those of the processor, not of the clock, so that
//! what else runs on the machine matters little. Speeds are medians of the rounds. With `GITLEAKS`
//! the same strings lie in a folder, and each round runs it over them as well, on one core; the
//! ratio is the median of those within each round.
//!
//! Wanted: 50 MB/s, and no text twice as long that takes more than 2.5 times as long.

use std::env;
use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

use proto::redact::{Class, Policy, Redactor};
use proto::trace::Trace;

#[path = "redaction/corpus.rs"]
mod corpus;
#[path = "redaction/hostile.rs"]
mod hostile;
#[path = "redaction/text.rs"]
mod text;

/// As in the program.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let number = |name: &str, default: usize| {
        let given = arguments.iter().find_map(|a| a.strip_prefix(name)?.strip_prefix('='));
        given.map_or(default, |n| n.parse().expect("a number"))
    };
    let is_asked = |part: &str| {
        let parts = ["speed", "hostile"];
        arguments.iter().any(|a| a == part)
            || !arguments.iter().any(|a| parts.contains(&a.as_str()))
    };
    if is_asked("speed") {
        speed(number("MB", 100) * 1_000_000, number("ROUNDS", 5));
    }
    let linear = !is_asked("hostile") || hostile(number("ROUNDS", 5));
    if linear { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn redactor(secrets: bool, pii: bool) -> Redactor {
    let wanted = |class: &Class| if class.is_personal() { pii } else { secrets };
    let classes = Class::BUILT_IN.into_iter().filter(wanted).collect();
    let policy = Policy { classes, ..Policy::default() };
    Redactor::new(policy).expect("a policy without rules of its own")
}

fn speed(bytes: usize, rounds: usize) {
    let sessions = corpus::sessions(bytes);
    let strings = || sessions.iter().flatten().flat_map(corpus::strings);
    let bytes = strings().map(str::len).sum::<usize>() as f64;
    println!(
        "{:.1} MB of text, {} strings, {} sessions",
        bytes / 1e6,
        strings().count(),
        sessions.len()
    );
    let run = |redactor: &Redactor| {
        let mut places = 0;
        let before = processor_time();
        for session in &sessions {
            let traces: Vec<&Trace> = session.iter().collect();
            let redacted = redactor.session(&traces).expect("redaction");
            places += redacted.iter().flat_map(|r| r.account.counts.values()).sum::<u64>();
        }
        (processor_time() - before, places)
    };
    let parts = [
        ("everything", redactor(true, true)),
        ("secrets", redactor(true, false)),
        ("personal data", redactor(false, true)),
        ("neither", redactor(false, false)),
    ];
    let mut ours = Vec::new();
    for (name, redactor) in &parts {
        run(redactor);
        let runs: Vec<(f64, u64)> = (0..rounds).map(|_| run(redactor)).collect();
        let seconds = median(runs.iter().map(|r| r.0));
        println!("{name:16} {:8.1} MB/s a core {:8} places", bytes / 1e6 / seconds, runs[0].1);
        ours.push(seconds);
    }
    let Some(program) = env::var_os("GITLEAKS") else { return };
    let folder = tempfile::tempdir().expect("a temporary folder");
    for (number, session) in sessions.iter().enumerate() {
        let all: Vec<&str> = session.iter().flat_map(corpus::strings).collect();
        fs::write(folder.path().join(format!("{number}.txt")), all.join("\n")).expect("a file");
    }
    for depth in ["0", "3"] {
        let (mut ratios, mut theirs) = (Vec::new(), Vec::new());
        for _ in 0..rounds.min(3) {
            let (own, _) = run(&parts[0].1);
            let other = gitleaks(Path::new(&program), folder.path(), depth);
            ratios.push(other / own);
            theirs.push(other);
        }
        println!(
            "gitleaks, depth {depth} {:8.1} MB/s a core; it takes {:.2} times as long",
            bytes / 1e6 / median(theirs.into_iter()),
            median(ratios.into_iter())
        );
    }
}

/// The processor time of one run of gitleaks over a folder.
fn gitleaks(program: &Path, folder: &Path, depth: &str) -> f64 {
    let before = children_time();
    let status = Command::new(program)
        .args(["dir", "--no-banner", "--exit-code", "0", "--log-level", "fatal"])
        .args(["--max-decode-depth", depth])
        .arg(folder)
        .env("GOMAXPROCS", "1")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    assert!(status.is_ok_and(|s| s.success()), "gitleaks ran");
    children_time() - before
}

/// How long the shorter of two hostile texts is, unless half of that takes long already.
const LONGEST: usize = 1 << 20;
/// How many seconds one measurement shall take, with repetitions if need be.
const WORTHWHILE: f64 = 0.06;

/// Prints how the time of each hostile text grows; true when all of it is linear.
fn hostile(rounds: usize) -> bool {
    let redactor = redactor(true, true);
    let time = |session: &[Trace], times: usize| {
        let traces: Vec<&Trace> = session.iter().collect();
        let before = processor_time();
        (0..times).for_each(|_| drop(redactor.session(&traces).expect("redaction")));
        (processor_time() - before) / times as f64
    };
    let megabytes = |session: &[Trace]| {
        session.iter().flat_map(corpus::strings).map(str::len).sum::<usize>() as f64 / 1e6
    };
    let mut over = 0;
    println!("{:56} {:>8} {:>8} {:>8} {:>6}", "hostile text", "KB", "MB/s", "twice", "ratio");
    let only = env::var("ONLY").unwrap_or_default();
    for case in hostile::cases().into_iter().filter(|case| case.name.contains(&only)) {
        let mut size = LONGEST >> 5;
        while size < LONGEST && time(&(case.make)(size), 1) < WORTHWHILE {
            size *= 2;
        }
        let (one, two) = ((case.make)(size), (case.make)(2 * size));
        let times = (WORTHWHILE / time(&one, 1).max(1e-3)).ceil() as usize;
        let (mut short, mut long) = (f64::MAX, f64::MAX);
        for _ in 0..rounds {
            short = short.min(time(&one, times));
            long = long.min(time(&two, times));
        }
        let ratio = long / short;
        let is_over = ratio > 2.5;
        over += usize::from(is_over);
        println!(
            "{:56} {:8.0} {:8.1} {:8.1} {ratio:6.2}{}",
            case.name,
            1e3 * megabytes(&one),
            megabytes(&one) / short,
            megabytes(&two) / long,
            if is_over { "  OVER" } else { "" }
        );
    }
    println!("{over} over 2.5");
    over == 0
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Seconds this thread has run; those of the clock where the system does not tell.
fn processor_time() -> f64 {
    static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    // What has run is added up when a thread gives way.
    std::thread::yield_now();
    let told = fs::read_to_string("/proc/thread-self/schedstat").ok();
    let told = told.and_then(|t| t.split(' ').next()?.parse::<f64>().ok());
    told.map_or_else(|| START.get_or_init(Instant::now).elapsed().as_secs_f64(), |ns| ns / 1e9)
}

/// Seconds that finished child processes have run.
fn children_time() -> f64 {
    let told = fs::read_to_string("/proc/self/stat").ok();
    let after = told.as_deref().and_then(|t| t.rsplit_once(')')).map(|(_, rest)| rest.to_string());
    let ticks = after.map(|rest| {
        let fields = rest.split_whitespace().skip(13).take(2);
        fields.filter_map(|n| n.parse::<f64>().ok()).sum::<f64>()
    });
    ticks.map_or_else(processor_time, |ticks| ticks / 100.0)
}
