//! How many copies deduplication finds in a generated set of which every copy is known, what the
//! split leaks of it, and how fast rows are sketched:
//!
//!     cargo bench --bench near_copies                          both tables
//!     cargo bench --bench near_copies -- found CLUSTERS=20000 SEED=3
//!     cargo bench --bench near_copies -- speed MB=100 ROUNDS=5
//!     cargo bench --bench near_copies -- write=traces.jsonl MB=200
//!
//! `write` makes a file of raw traces for `scripts/dataset/peers.sh`: sessions of 2 to 40 KB, a
//! tenth of them copies, some with secrets. Speed is that of one thread, in seconds of the
//! processor and in bytes of what is heard: text, names and arguments of calls.
//!
//! Wanted: 0.99 of the copies with up to 5 % edited, 0.8 of those with 10 % and of beginnings, no
//! more than 0.2 % of the rows that are nobody's copy, no cluster lost, no leak but for those with
//! 20 % edited; 100 MB/s.

use std::collections::BTreeSet;
use std::env;
use std::fs::{self, File};
use std::hint::black_box;
use std::io::{BufWriter, Write};
use std::time::Instant;

use proto::chance::Chance;
use proto::dataset::print::{Print, Sketch};
use proto::dataset::{Example, Part};
use proto::trace::{Message, Role, Trace};
use serde_json::Value;

#[path = "../tests/it/near_copies/set/mod.rs"]
mod set;

use set::judge::{Share, deduplicated, found, leaks, parted, program};
use set::{Made, Plan, Row};

fn main() {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let given = |name: &str| arguments.iter().find_map(|a| a.strip_prefix(name)?.strip_prefix('='));
    let number =
        |name: &str, default| given(name).map_or(default, |n| n.parse().expect("a number"));
    let seed = number("SEED", 20_240_801) as u64;
    if let Some(path) = given("write") {
        return write(path, number("MB", 200) * 1_000_000, seed);
    }
    let asked = |part: &str| {
        arguments.iter().any(|a| a == part)
            || !arguments.iter().any(|a| ["found", "speed"].contains(&a.as_str()))
    };
    if asked("found") {
        quality(Plan { seed, clusters: number("CLUSTERS", 6000), words: (80, 2500) });
    }
    if asked("speed") {
        speed(number("MB", 100) * 1_000_000, number("ROUNDS", 5), seed);
    }
}

fn quality(plan: Plan) {
    let rows = plan.rows();
    let bytes: usize = rows.iter().map(|row| heard(&row.example)).sum();
    println!("{} rows, {:.1} MB of text, seed {}\n", rows.len(), bytes as f64 / 1e6, plan.seed);
    let left = deduplicated(&rows);
    let found = found(&rows, &left);
    println!("{:32} {:>7} {:>7} {:>8}", "made", "rows", "right", "share");
    let line = |name: &str, share: Share| {
        println!("{name:32} {:7} {:7} {:8.4}", share.of, share.right, share.part());
    };
    for (made, share) in &found.pairs {
        line(&format!("{made:?}"), *share);
    }
    line("copies in families", found.families);
    println!();
    line("up to 5 % edited", found.share(Made::is_strict));
    line("10 % edited", found.share(|made| made == Made::Edited(10)));
    line("beginnings", found.share(Made::is_prefix));
    line("nobody's copy, kept", found.share(Made::is_alone));
    println!("{:32} {:7}", "dropped for another's copy", found.wrong.len());
    println!("{:32} {:7}", "clusters lost", found.lost);

    let fewer: Vec<Row> = rows.iter().filter(|row| row.made != Made::Edited(20)).cloned().collect();
    let fewer_left = deduplicated(&fewer);
    for (name, rows, left) in [
        ("as they are", &rows, program(&rows)),
        ("without copies", &rows, left.clone()),
        ("without 20 % edited", &fewer, program(&fewer)),
        ("without 20 % edited and copies", &fewer, fewer_left),
    ] {
        let (places, _) = parted(&left, None);
        let held = places.values().filter(|part| **part == Part::Val).count();
        let (clusters, sessions) = leaks(rows, &places);
        println!(
            "split {name}: {held} of {} rows for validation; {clusters} clusters and {sessions} \
             sessions on two sides",
            places.len()
        );
    }
    let (before, ledger) = parted(&left, None);
    let mut all = rows;
    all.extend(plan.more());
    for (name, ledger) in [("with the ledger", Some(&ledger)), ("without", None)] {
        let (after, _) = parted(&deduplicated(&all), ledger);
        let held: BTreeSet<&String> =
            before.iter().filter(|(_, p)| **p == Part::Val).map(|(id, _)| id).collect();
        let is = |part| held.iter().filter(|id| after.get(**id) == Some(&part)).count();
        println!(
            "a tenth more rows, {name}: of {} rows for validation {} stayed, {} went to training",
            held.len(),
            is(Part::Val),
            is(Part::Train)
        );
    }
}

/// One way of making hashes of a row.
type Way = fn(&Example);

fn speed(bytes: usize, rounds: usize, seed: u64) {
    let mut rows: Vec<Row> = Vec::new();
    let mut total = 0;
    for seed in seed.. {
        let batch = Plan { seed, clusters: 500, words: (200, 4000) }.rows();
        total += batch.iter().map(|row| heard(&row.example)).sum::<usize>();
        rows.extend(batch);
        if total >= bytes {
            break;
        }
    }
    let rows: Vec<_> = rows.into_iter().map(|row| row.example).collect();
    let words: u64 = rows.iter().map(|row| Print::of(&**row).words).sum();
    println!(
        "\n{:.1} MB of text, {} rows, {:.1} bytes a word",
        total as f64 / 1e6,
        rows.len(),
        total as f64 / words as f64
    );
    let ways: [(&str, Way); 2] = [
        ("sketch", |row| drop(black_box(Sketch::of(row, u64::MAX / 16)))),
        ("print", |row| drop(black_box(Print::of(row)))),
    ];
    for (name, way) in ways {
        let mut times: Vec<f64> =
            (0..rounds).map(|_| timed(|| rows.iter().for_each(|row| way(row))).1).collect();
        times.sort_by(f64::total_cmp);
        println!("{name:20} {:8.1} MB/s a core", total as f64 / 1e6 / times[rounds / 2]);
    }
}

/// How many bytes of a row are heard.
fn heard(example: &Example) -> usize {
    fn inside(value: &Value) -> usize {
        match value {
            Value::String(text) => text.len(),
            Value::Array(items) => items.iter().map(inside).sum(),
            Value::Object(map) => map.iter().map(|(key, value)| key.len() + inside(value)).sum(),
            other => other.to_string().len(),
        }
    }
    let spoken = example.trace.messages.iter().filter(|m| m.role != Role::System);
    let calls = |m: &Message| -> usize {
        let all = m.tool_calls.iter();
        all.map(|c| {
            let arguments: usize = c.arguments.iter().map(|(k, v)| k.len() + inside(v)).sum();
            c.name.len() + arguments
        })
        .sum()
    };
    spoken.map(|m| m.content.len() + calls(m)).sum()
}

/// Writes raw traces of about so many bytes. Of ten sessions nine are nobody's copy.
fn write(path: &str, bytes: usize, seed: u64) {
    let mut file = BufWriter::new(File::create(path).expect("a file"));
    let (mut written, mut sessions, mut copies, mut secrets) = (0, 0u64, 0, 0);
    let mut chance = Chance::new(seed, "raw traces");
    let mut batch = seed;
    while written < bytes {
        let plan = Plan { seed: batch, clusters: 400, words: (200, 4000) };
        let (mut pairs, alone): (Vec<Row>, Vec<Row>) =
            plan.rows().into_iter().partition(|row| !row.made.is_alone());
        // As many copies as leave nine sessions of their own to each.
        pairs.truncate(alone.len() / 4);
        for row in alone.into_iter().chain(pairs) {
            if written >= bytes {
                break;
            }
            let mut trace = row.example.trace.clone();
            trace.session = format!("{batch}-{}", trace.session);
            copies += usize::from(!row.made.is_alone() && row.made != Made::Original);
            if chance.below(20) == 0 {
                secrets += 1;
                plant(&mut trace, &mut chance);
            }
            let mut line = serde_json::to_value(&trace).expect("a session");
            if let Some(fields) = line.as_object_mut() {
                fields.remove("origin");
            }
            let line = format!("{line}\n");
            file.write_all(line.as_bytes()).expect("space");
            written += line.len();
            sessions += 1;
        }
        batch += 1;
    }
    file.flush().expect("space");
    println!(
        "{path}: {written} bytes, {sessions} sessions, {copies} copies, {secrets} with secrets"
    );
}

/// What should never have been printed into a session.
fn plant(trace: &mut Trace, chance: &mut Chance) {
    const ALL: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    let mut random =
        |n: usize| -> String { (0..n).map(|_| char::from(ALL[chance.below(ALL.len())])).collect() };
    let text = format!(
        "PORT=8080\nOPENAI_API_KEY=sk-proj-{}\nDATABASE_URL=postgres://app:{}@db.northquay.io/app\n\
         GITHUB_TOKEN=ghp_{}\nMAIL=ingrid.{}@northquay.io\n",
        random(48),
        random(18),
        random(36),
        random(8).to_lowercase()
    );
    let results = trace.messages.iter_mut().filter(|m| m.role == Role::Tool);
    match results.last() {
        Some(result) => result.content += &text,
        None => trace.messages.push(Message::text(Role::User, text)),
    }
}

/// What something gives, and how many seconds the processor took for it on this thread.
fn timed<T>(what: impl FnOnce() -> T) -> (T, f64) {
    let before = processor_time();
    let made = what();
    (made, processor_time() - before)
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
