//! How fast agents' sessions become traces, and in how much memory: each way of reading in a
//! process of its own, in turns.
//!
//!     cargo bench --bench traces                     64 MB of each form
//!     cargo bench --bench traces -- 1000 [FORM…]     so many MB of these forms
//!
//! `scan` only fetches the bytes that sessions consist of, `parse` also makes plain typed values
//! of them, one after another; `read` is what the program does, up to the canonical traces, which
//! are dropped as they come. Speeds are the best of the rounds, ratios the medians of those within
//! each round; everything is in the page cache.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use proto::chance::Chance;
use proto::progress::Silent;
use proto::trace;
use proto::train::resident;
use rusqlite::Connection;
use serde::Deserialize;
use serde_json::{Value, json};

const CASE: &str = "PROTO_BENCH_CASE";
const ROUNDS: usize = 5;

/// A form of storage: what it is called, how it is written and how it is plainly read.
struct Form {
    name: &'static str,
    write: fn(&Path, u64),
    scan: fn(&Path, Each),
    /// Makes a plain typed value of one record.
    parse: fn(&[u8]) -> bool,
}

/// Takes the bytes of one record.
type Each<'a> = &'a mut dyn FnMut(&[u8]);

const FORMS: &[Form] = &[
    Form {
        name: "opencode-1",
        write: write_opencode_1,
        scan: |path, each| {
            scan_table(path, "message", each);
            scan_table(path, "part", each);
        },
        parse: |bytes| serde_json::from_slice::<Part>(bytes).is_ok(),
    },
    Form {
        name: "opencode-2",
        write: write_opencode_2,
        scan: |path, each| scan_table(path, "session_message", each),
        parse: |bytes| serde_json::from_slice::<Row>(bytes).is_ok(),
    },
];

fn scan_table(path: &Path, table: &str, each: Each) {
    let connection = Connection::open(path).expect("a database");
    let select = format!("SELECT id, session_id, data FROM {table}");
    let mut statement = connection.prepare(&select).expect("a table");
    let mut rows = statement.query([]).expect("rows");
    while let Some(row) = rows.next().expect("a row") {
        each(row.get_ref(2).expect("a column").as_bytes().expect("text"));
    }
}

/// A part as a plain program would declare it.
#[derive(Deserialize)]
#[allow(dead_code)]
struct Part {
    r#type: Option<String>,
    role: Option<String>,
    text: Option<String>,
    tool: Option<String>,
    #[serde(rename = "callID")]
    call: Option<String>,
    state: Option<State>,
}

#[derive(Deserialize)]
#[allow(dead_code)]
struct State {
    status: Option<String>,
    input: Option<Value>,
    output: Option<String>,
    error: Option<Value>,
    content: Option<Vec<Piece>>,
}

#[derive(Deserialize)]
#[allow(dead_code)]
struct Piece {
    r#type: Option<String>,
    text: Option<String>,
    id: Option<String>,
    name: Option<String>,
    state: Option<State>,
}

/// A row as a plain program would declare it.
#[derive(Deserialize)]
#[allow(dead_code)]
struct Row {
    text: Option<String>,
    content: Option<Vec<Piece>>,
    finish: Option<String>,
}

/// Words, code and sizes as sessions have them.
struct Author {
    chance: Chance,
    lines: Vec<String>,
    written: u64,
}

impl Author {
    fn new() -> Author {
        let chance = Chance::new(1, "traces");
        let line = |n: usize| {
            format!(
                "{n}:     let total_{n} = rows.iter().map(|r| r.cents / {n}).sum(); // \"{n}\"\n"
            )
        };
        Author { chance, lines: (1..400).map(line).collect(), written: 0 }
    }

    /// Up to so many lines, few of them mostly.
    fn text(&mut self, most: usize) -> String {
        let share = self.chance.unit();
        let lines = 1 + (share * share * most as f64) as usize;
        (0..lines).map(|_| self.lines[self.chance.below(self.lines.len())].as_str()).collect()
    }

    /// A record as it is stored; counts its bytes.
    fn stored(&mut self, record: Value) -> String {
        let text = record.to_string();
        self.written += text.len() as u64;
        text
    }
}

const SESSIONS: &str = "id TEXT PRIMARY KEY, project_id TEXT, parent_id TEXT, slug TEXT, directory \
    TEXT, title TEXT, version TEXT, revert TEXT, time_created INTEGER, time_updated INTEGER";

fn write_opencode_1(path: &Path, bytes: u64) {
    let connection = Connection::open(path).expect("a database");
    let schema = format!(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = OFF; CREATE TABLE session({SESSIONS});
         CREATE TABLE message(id TEXT PRIMARY KEY, session_id TEXT, time_created INTEGER,
             time_updated INTEGER, data TEXT);
         CREATE TABLE part(id TEXT PRIMARY KEY, message_id TEXT, session_id TEXT,
             time_created INTEGER, time_updated INTEGER, data TEXT);
         CREATE INDEX a ON message(session_id, time_created, id);
         CREATE INDEX b ON part(message_id, id); CREATE INDEX c ON part(session_id); BEGIN"
    );
    connection.execute_batch(&schema).expect("a schema");
    let mut author = Author::new();
    let mut clock = 0;
    let message = "INSERT INTO message VALUES (?1, ?2, ?3, ?3, ?4)";
    let part = "INSERT INTO part VALUES (?1, ?2, ?3, ?4, ?4, ?5)";
    while author.written < bytes {
        clock += 1;
        let session = format!("ses_{clock:026}");
        let row = (&session, "/home/mira/src/ledger", clock);
        let insert = "INSERT INTO session(id, directory, version, time_created, time_updated) \
                      VALUES (?1, ?2, '1.18.33', ?3, ?3)";
        connection.execute(insert, row).expect("a row");
        for step in 0..40 {
            clock += 1;
            let id = format!("msg_{clock:026}");
            let (info, parts) = match step % 8 {
                0 => {
                    let diff = json!([{"file": "src/money.rs", "patch": author.text(60)}]);
                    let info = json!({"role": "user", "time": {"created": clock},
                                      "summary": {"diffs": diff}, "agent": "build"});
                    (info, vec![json!({"type": "text", "text": author.text(4)})])
                }
                _ => (
                    json!({"role": "assistant", "time": {"created": clock, "completed": clock},
                           "parentID": id, "modelID": "qwen3-coder:30b", "providerID": "ollama",
                           "mode": "build", "path": {"cwd": "/home/mira/src/ledger", "root": "/"},
                           "cost": 0, "tokens": {"input": 2310, "output": 96, "reasoning": 12,
                           "cache": {"read": 512, "write": 0}}, "finish": "tool-calls"}),
                    step_1(&mut author, clock),
                ),
            };
            let info = author.stored(info);
            connection
                .prepare_cached(message)
                .expect("a statement")
                .execute((&id, &session, clock, info))
                .expect("a row");
            for data in parts {
                clock += 1;
                let data = author.stored(data);
                connection
                    .prepare_cached(part)
                    .expect("a statement")
                    .execute((format!("prt_{clock:026}"), &id, &session, clock, data))
                    .expect("a row");
            }
        }
    }
    finish(&connection);
}

/// The parts of a step: as OpenCode stores them, what a command printed stands there twice.
fn step_1(author: &mut Author, clock: i64) -> Vec<Value> {
    let output = author.text(240);
    let tool = match author.chance.below(3) {
        0 => json!({"type": "tool", "tool": "bash", "callID": format!("call_{clock}"), "state":
            {"status": "completed", "input": {"command": "cargo test -q", "description": "Test"},
             "output": output, "title": "Test", "time": {"start": clock, "end": clock},
             "metadata": {"output": output, "exit": 0, "truncated": false}}}),
        1 => json!({"type": "tool", "tool": "edit", "callID": format!("call_{clock}"), "state":
            {"status": "completed", "input": {"filePath": "src/money.rs", "oldString":
             author.text(20), "newString": author.text(20)}, "output": "Edit applied.",
             "metadata": {"diff": author.text(60)}, "time": {"start": clock, "end": clock}}}),
        _ => json!({"type": "tool", "tool": "read", "callID": format!("call_{clock}"), "state":
            {"status": "completed", "input": {"filePath": "src/money.rs"}, "output": output,
             "title": "money.rs", "metadata": {"preview": author.text(8), "truncated": false},
             "time": {"start": clock, "end": clock}}}),
    };
    vec![
        json!({"type": "step-start", "snapshot": "2262899f180ed6aeb523a5adf8de5a630b775cf3"}),
        json!({"type": "reasoning", "text": author.text(6), "time": {"start": 1, "end": 2}}),
        json!({"type": "text", "text": author.text(3), "time": {"start": 1, "end": 2}}),
        tool,
        json!({"type": "step-finish", "reason": "tool-calls", "cost": 0, "tokens": {"input": 2310,
               "output": 96, "reasoning": 12, "cache": {"read": 512, "write": 0}}}),
    ]
}

fn write_opencode_2(path: &Path, bytes: u64) {
    let connection = Connection::open(path).expect("a database");
    let schema = format!(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = OFF; CREATE TABLE session_v2({SESSIONS});
         CREATE TABLE session_message(id TEXT PRIMARY KEY, session_id TEXT, type TEXT,
             seq INTEGER, time_created INTEGER, time_updated INTEGER, data TEXT);
         CREATE UNIQUE INDEX a ON session_message(session_id, seq); BEGIN"
    );
    connection.execute_batch(&schema).expect("a schema");
    let mut author = Author::new();
    let mut clock = 0;
    while author.written < bytes {
        clock += 1;
        let session = format!("ses_{clock:026}");
        let row = (&session, "/home/mira/src/ledger", clock);
        let insert = "INSERT INTO session_v2(id, directory, version, time_created, time_updated) \
                      VALUES (?1, ?2, '2.0.26', ?3, ?3)";
        connection.execute(insert, row).expect("a row");
        for step in 0..40 {
            clock += 1;
            let (kind, data) = match step % 8 {
                0 => ("user", json!({"time": {"created": clock}, "text": author.text(4)})),
                7 => ("idle", json!({"time": {"created": clock}, "outcome": "succeeded"})),
                _ => ("assistant", step_2(&mut author, clock)),
            };
            let data = author.stored(data);
            let insert = "INSERT INTO session_message VALUES (?1, ?2, ?3, ?4, ?5, ?5, ?6)";
            connection
                .prepare_cached(insert)
                .expect("a statement")
                .execute((format!("msg_{clock:026}"), &session, kind, step, clock, data))
                .expect("a row");
        }
    }
    finish(&connection);
}

fn step_2(author: &mut Author, clock: i64) -> Value {
    let edit = author.chance.below(3) == 0;
    let (name, input, output) = match edit {
        true => {
            let (old, new) = (author.text(20), author.text(20));
            let input = json!({"path": "src/money.rs", "oldString": old, "newString": new});
            ("edit", input, "Edit applied.".to_owned())
        }
        false => ("shell", json!({"command": "cargo test -q"}), author.text(240)),
    };
    let state = json!({"status": "completed", "input": input, "metadata": {"exit": 0},
                       "content": [{"type": "text", "text": output}]});
    let time = json!({"created": clock, "completed": clock});
    json!({"time": time, "agent": "build", "model": {"id": "qwen3-coder:30b", "providerID":
           "ollama"}, "content": [{"type": "reasoning", "text": author.text(6)},
           {"type": "text", "text": author.text(3)},
           {"type": "tool", "id": format!("call_{clock}"), "name": name, "state": state,
            "time": time}],
           "finish": "tool-calls", "cost": 0, "tokens": {"input": 2310, "output": 96}})
}

fn finish(connection: &Connection) {
    connection.execute_batch("COMMIT; PRAGMA wal_checkpoint(TRUNCATE)").expect("a written file");
}

/// Reads a place in one way: seconds, bytes met, records or traces, peak memory in MB.
fn measure(form: &Form, way: &str, path: &Path) -> [f64; 4] {
    let start = Instant::now();
    let (mut bytes, mut n) = (0, 0);
    match way {
        "scan" => (form.scan)(path, &mut |record| {
            bytes += record.len();
            n += 1;
        }),
        "parse" => (form.scan)(path, &mut |record| {
            bytes += record.len();
            n += usize::from((form.parse)(record));
        }),
        _ => {
            let paths = [path.to_path_buf()];
            let folder = path.parent().expect("a folder");
            let loaded = trace::each(&paths, folder, &Silent, &mut |trace| {
                n += trace.messages.len();
                Ok(())
            });
            assert_eq!(loaded.expect("traces").bad, []);
        }
    }
    let seconds = start.elapsed().as_secs_f64();
    let peak = resident::peak().map_or(f64::NAN, |bytes| bytes as f64 / 1e6);
    [seconds, bytes as f64, n as f64, peak]
}

fn main() {
    if let Ok(case) = env::var(CASE) {
        let parts: Vec<&str> = case.split('\t').collect();
        let form = FORMS.iter().find(|form| form.name == parts[0]).expect("a form");
        let figures = measure(form, parts[1], Path::new(parts[2]));
        println!("{}", figures.map(|x| x.to_string()).join(" "));
        return;
    }
    let given: Vec<String> = env::args().skip(1).filter(|a| !a.starts_with('-')).collect();
    let size = given.iter().find_map(|a| a.parse::<u64>().ok()).unwrap_or(64);
    let named: Vec<&String> = given.iter().filter(|a| a.parse::<u64>().is_err()).collect();
    let temp = tempfile::tempdir().expect("a temporary folder");
    println!(
        "{:12} {:>6} {:>10} {:>10} {:>10} {:>10} {:>10} {:>8}",
        "form", "MB", "scan MB/s", "parse MB/s", "read MB/s", "read/scan", "read/parse", "peak MB"
    );
    for form in FORMS {
        if !named.is_empty() && !named.iter().any(|name| *name == form.name) {
            continue;
        }
        let path: PathBuf = temp.path().join(form.name).with_extension("db");
        (form.write)(&path, size * 1_000_000);
        let ways = ["scan", "parse", "read"];
        let mut rounds: Vec<[f64; 3]> = Vec::new();
        let (mut bytes, mut peak) = (0.0, 0.0_f64);
        for _ in 0..ROUNDS {
            let mut seconds = [0.0; 3];
            for (way, seconds) in ways.iter().zip(&mut seconds) {
                let case = format!("{}\t{way}\t{}", form.name, path.display());
                let mut child = Command::new(env::current_exe().expect("this program"));
                let output = child.env(CASE, case).output().expect("a run of this program");
                assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
                let told = String::from_utf8(output.stdout).expect("a line");
                let told: Vec<f64> =
                    told.split_whitespace().map(|x| x.parse().expect("a number")).collect();
                *seconds = told[0];
                match *way {
                    "read" => peak = peak.max(told[3]),
                    _ => bytes = told[1],
                }
            }
            rounds.push(seconds);
        }
        let speed = |way: usize| {
            bytes / 1e6 / rounds.iter().map(|round| round[way]).fold(f64::INFINITY, f64::min)
        };
        let ratio = |way: usize| {
            let mut ratios: Vec<f64> = rounds.iter().map(|round| round[way] / round[2]).collect();
            ratios.sort_by(f64::total_cmp);
            ratios[ROUNDS / 2]
        };
        println!(
            "{:12} {:6.0} {:10.0} {:10.0} {:10.0} {:10.2} {:10.2} {peak:8.0}",
            form.name,
            bytes / 1e6,
            speed(0),
            speed(1),
            speed(2),
            ratio(0),
            ratio(1),
        );
        fs::remove_file(path).expect("the file written before");
    }
}
