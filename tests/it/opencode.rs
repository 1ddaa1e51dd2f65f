//! OpenCode's sessions, in every form it has kept them in.

use std::fs;
use std::path::{Path, PathBuf};

use proto::progress::Silent;
use proto::trace::{Loaded, Message, Role, Signal, Trace, load};
use rusqlite::Connection;
use serde_json::{Value, json};

#[path = "opencode/messages.rs"]
mod messages;
#[path = "opencode/places.rs"]
mod places;

const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/agents");

fn fixture(name: &str) -> PathBuf {
    Path::new(FIXTURES).join("opencode").join(name)
}

/// A folder with a database made from a script.
fn database(script: &str) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("opencode.db");
    let script = fs::read_to_string(fixture(script)).unwrap();
    Connection::open(&path).unwrap().execute_batch(&script).unwrap();
    (folder, path)
}

fn read(path: &Path) -> Loaded {
    load(&[path.to_path_buf()], path.parent().unwrap(), &Silent).unwrap()
}

fn trace<'a>(loaded: &'a Loaded, session: &str) -> &'a Trace {
    loaded.traces.iter().find(|trace| trace.session == session).unwrap()
}

/// The name of a sample, as its id in OpenCode.
fn id(name: &str) -> String {
    let manifest = fs::read_to_string(Path::new(FIXTURES).join("MANIFEST.json")).unwrap();
    let manifest: Value = serde_json::from_str(&manifest).unwrap();
    manifest["sessions"][name]["opencode_id"].as_str().unwrap().to_owned()
}

fn of(messages: &[Message], role: Role) -> Vec<&Message> {
    messages.iter().filter(|m| m.role == role).collect()
}

/// What went wrong with calls, as the manifest of the samples names it.
fn errors(trace: &Trace) -> Vec<(String, &'static str)> {
    let kinds = [
        (Signal::Schema, "schema"),
        (Signal::UnknownTool, "unknown_tool"),
        (Signal::EditMismatch, "edit_mismatch"),
        (Signal::Aborted, "aborted"),
        (Signal::Denied, "denied"),
        (Signal::ToolError, "other"),
    ];
    let of_result = |result: &&Message| {
        let found = kinds.iter().find(|(signal, _)| result.signals.contains(signal))?;
        Some((result.name.clone().unwrap(), found.1))
    };
    of(&trace.messages, Role::Tool).iter().filter_map(of_result).collect()
}

/// Fails unless the sample's trace has every fact that its manifest names.
fn assert_facts(loaded: &Loaded, name: &str) {
    let manifest = fs::read_to_string(Path::new(FIXTURES).join("MANIFEST.json")).unwrap();
    let manifest: Value = serde_json::from_str(&manifest).unwrap();
    let facts = &manifest["sessions"][name];
    let trace = trace(loaded, facts["opencode_id"].as_str().unwrap());
    let (users, steps) = (of(&trace.messages, Role::User), of(&trace.messages, Role::Assistant));
    let results = of(&trace.messages, Role::Tool);
    let count = |n: usize| json!(n);
    assert_eq!(count(users.len()), facts["user_turns"], "{name}");
    assert_eq!(count(steps.len()), facts["assistant_steps"], "{name}");
    assert_eq!(count(results.len()), facts["tool_calls"], "{name}");
    let calls: Vec<_> = steps.iter().flat_map(|m| &m.tool_calls).collect();
    assert_eq!(calls.len(), results.len());
    for (call, result) in calls.iter().zip(&results) {
        assert_eq!(result.tool_call_id.as_deref(), Some(&*call.id));
        assert_eq!(result.name.as_deref(), Some(&*call.name));
    }
    let expected: Vec<_> = facts["tool_errors"].as_array().unwrap().iter().collect();
    let found = errors(trace);
    let kinds: Vec<_> = found.iter().map(|(_, kind)| *kind).collect();
    assert_eq!(kinds, expected.iter().map(|e| e["kind"].as_str().unwrap()).collect::<Vec<_>>());
    for ((tool, kind), expected) in found.iter().zip(expected) {
        match *kind {
            "unknown_tool" => assert_eq!(tool, "search_files", "what the model wrote"),
            _ if expected["tool"] == "shell" => assert!(["bash", "shell"].contains(&&**tool)),
            _ => assert_eq!(tool, expected["tool"].as_str().unwrap()),
        }
    }
    let failed: Vec<_> = results.iter().filter_map(|m| m.exit).filter(|exit| *exit != 0).collect();
    assert_eq!(json!(failed), facts["nonzero_exit"], "{name}");
    let any = |signal| steps.iter().any(|m| m.signals.contains(&signal));
    assert_eq!(json!(any(Signal::Aborted)), facts["aborted"], "{name}");
    assert_eq!(json!(any(Signal::ProviderError)), facts["api_error"], "{name}");
    let reverted = trace.messages.iter().filter(|m| m.signals.contains(&Signal::Reverted));
    let all = if facts["reverted"] == true { trace.messages.len() } else { 0 };
    assert_eq!(reverted.count(), all, "{name}");
    let parent = facts["parent"].as_str().map(id);
    assert_eq!(trace.parent, parent);
    assert_eq!(trace.source, "opencode");
    assert_eq!(trace.repository.as_deref(), Some("ledger"));
    assert!(trace.started_ms < trace.messages[0].time_ms);
    assert!(trace.ended_ms >= trace.messages.last().unwrap().time_ms);
    assert!(trace.messages.iter().all(|m| m.row > 0 && m.time_ms.is_some()));
    assert!(steps.iter().all(|m| m.author.as_deref().unwrap().contains('/')));
}

const SAMPLES: [&str; 6] =
    ["fix-rounding", "wrong-args", "aborted", "secrets", "parent-task", "child-task"];

#[test]
fn version_1_has_every_fact_of_the_samples() {
    for script in ["opencode-1.2.sql", "opencode-1.17.sql"] {
        let (_folder, path) = database(script);
        let loaded = read(&path);
        assert_eq!(loaded.traces.len(), SAMPLES.len());
        SAMPLES.iter().for_each(|name| assert_facts(&loaded, name));
    }
}

#[test]
fn version_2_has_every_fact_of_the_samples() {
    let (_folder, path) = database("opencode-2.0.sql");
    let loaded = read(&path);
    assert_eq!(loaded.traces.len(), SAMPLES.len());
    SAMPLES.iter().for_each(|name| assert_facts(&loaded, name));
}

#[test]
fn the_json_tree_has_every_fact_of_the_samples() {
    let loaded = read(&fixture("storage"));
    assert_eq!(loaded.traces.len(), SAMPLES.len());
    SAMPLES.iter().for_each(|name| assert_facts(&loaded, name));
}

#[test]
fn exports_have_every_fact_of_the_samples() {
    for (file, name) in [
        ("v1-aborted.json", "aborted"),
        ("v1-fix-rounding.json", "fix-rounding"),
        ("v1-secrets.json", "secrets"),
        ("v1-wrong-args.json", "wrong-args"),
        ("v2-fix-rounding.json", "fix-rounding"),
    ] {
        assert_facts(&read(&fixture("export").join(file)), name);
    }
    // This one does not say that it was reverted.
    let loaded = read(&fixture("export/v2-aborted.json"));
    assert_eq!(errors(&loaded.traces[0]), [("shell".to_owned(), "aborted")]);
    assert!(loaded.traces[0].messages.last().unwrap().signals.contains(&Signal::Aborted));
}

#[test]
fn all_forms_say_the_same() {
    let (_folder, path) = database("opencode-1.17.sql");
    let database = read(&path);
    let tree = read(&fixture("storage"));
    let plain = |trace: &Trace| {
        let what = |m: &Message| {
            let calls = m.tool_calls.iter().map(|call| (call.name.clone(), call.arguments.clone()));
            (m.role, m.content.clone(), m.signals.clone(), m.exit, calls.collect::<Vec<_>>())
        };
        trace.messages.iter().map(what).collect::<Vec<_>>()
    };
    for name in SAMPLES {
        let id = id(name);
        assert_eq!(plain(trace(&database, &id)), plain(trace(&tree, &id)), "{name}");
    }
    for name in ["aborted", "fix-rounding", "secrets", "wrong-args"] {
        let export = read(&fixture("export").join(format!("v1-{name}.json")));
        assert_eq!(plain(trace(&database, &id(name))), plain(&export.traces[0]), "{name}");
    }
}

/// Damage by place.
fn damage(loaded: &Loaded) -> Vec<(String, u64, &str)> {
    loaded.bad.iter().map(|bad| (bad.file.clone(), bad.line, &*bad.problem)).collect()
}

/// Fails unless every session and every record has a place.
fn assert_adds_up(loaded: &Loaded) {
    assert_eq!(loaded.lines, loaded.traces.len() as u64 + loaded.reasons.values().sum::<u64>());
    let records = &loaded.records;
    assert_eq!(records.read, records.used + records.left.values().sum::<u64>());
}

#[test]
fn damaged_rows_of_version_1_are_reported_with_their_row() {
    let (_folder, path) = database("opencode-1.2.sql");
    let loaded = read(&path);
    let message = "message: not valid JSON: EOF while parsing a value at column 27";
    let part = "part: its message is missing";
    let file = || "opencode.db".to_owned();
    assert_eq!(damage(&loaded), [(file(), 34, message), (file(), 87, part)]);
    assert_eq!((loaded.records.left["damaged"], loaded.records.left["orphan"]), (1, 1));
    // Six sessions, 34 messages, 87 parts.
    assert_eq!(loaded.records.read, 6 + 34 + 87);
    assert_adds_up(&loaded);
}

#[test]
fn damaged_and_unknown_rows_of_version_2_are_counted() {
    let (_folder, path) = database("opencode-2.0.sql");
    let loaded = read(&path);
    let [(file, row, problem)] = &damage(&loaded)[..] else { panic!("{:?}", loaded.bad) };
    assert_eq!((file.as_str(), *row), ("opencode.db", 43));
    assert!(problem.starts_with("session_message: not valid JSON: EOF"), "{problem}");
    assert_eq!(loaded.records.left["unknown_type"], 1);
    assert_eq!(loaded.records.read, 6 + 44);
    assert_adds_up(&loaded);
}

#[test]
fn damaged_files_of_the_tree_are_reported_by_name() {
    let loaded = read(&fixture("storage"));
    let found = damage(&loaded);
    let expected = [
        ("storage/message/ses_fa3dff0ffffevUgsNQvTMRF3bF/msg_zzzz_empty0000000000001.json", "EOF"),
        (
            "storage/part/msg_05c202e40002ZYUJ7YY2BNPkqk/prt_zzzz_truncated00000000001.json",
            "its message is missing",
        ),
        (
            "storage/part/msg_zzzz_orphan00000000001/prt_zzzz_orphan00000000001.json",
            "its message is missing",
        ),
        (
            "storage/session/36c238a1045efd85720f454b452a586af1a0007d/ses_zzzz_notjson000000000001.json",
            "expected ident",
        ),
    ];
    assert_eq!(found.len(), expected.len(), "{found:?}");
    for ((file, _, problem), (name, word)) in found.iter().zip(expected) {
        assert_eq!(file, name);
        assert!(problem.contains(word), "{problem}");
    }
    assert_eq!(loaded.records.left["temporary"], 1);
    assert_adds_up(&loaded);
}

/// A tree with one session of one question.
fn tree(part: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join("storage").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    write("session/global/ses_1.json", r#"{"id":"moved","directory":"C:\\src\\shop"}"#);
    write("message/ses_1/msg_1.json", r#"{"id":"moved","role":"user","time":{"created":5}}"#);
    write("part/msg_1/prt_1.json", r#"{"type":"text","text":"Hello."}"#);
    write("part/msg_1/prt_2.json", part);
    folder
}

#[test]
fn a_cut_part_costs_only_itself() {
    let folder = tree(r#"{"type":"text","text":"my secr"#);
    let loaded = read(&folder.path().join("storage"));
    assert_eq!(loaded.traces[0].messages[0].content, "Hello.");
    let problem = "part: not valid JSON: EOF while parsing a string at column 30";
    assert_eq!(damage(&loaded), [("storage/part/msg_1/prt_2.json".to_owned(), 1, problem)]);
}

#[test]
fn ids_of_the_tree_are_those_of_its_paths() {
    let folder = tree(r#"{"type":"step-start"}"#);
    let loaded = read(&folder.path().join("storage"));
    assert_eq!(loaded.traces[0].session, "ses_1");
    assert_eq!(loaded.traces[0].repository.as_deref(), Some("shop"));
    let message = &loaded.traces[0].messages[0];
    assert_eq!(message.file.as_deref(), Some("storage/message/ses_1/msg_1.json"));
}

#[test]
fn damage_is_told_without_what_it_contains() {
    let folder = tree(r#"{"type":"tool","tool":"x","state":"my secret"}"#);
    let loaded = read(&folder.path().join("storage"));
    let problem = "part: not in the form expected at column 45";
    assert_eq!(damage(&loaded), [("storage/part/msg_1/prt_2.json".to_owned(), 1, problem)]);
}

#[test]
fn a_session_of_version_2_wins_over_its_stale_copy() {
    let (_folder, path) = database("opencode-mixed.sql");
    let loaded = read(&path);
    let mut found: Vec<_> = loaded.traces.iter().map(|trace| trace.session.clone()).collect();
    let mut expected = ["fix-rounding", "wrong-args", "secrets"].map(id);
    found.sort();
    expected.sort();
    assert_eq!(found, expected);
    assert_eq!(loaded.reasons["found_again"], 1);
    let fixed = trace(&loaded, &id("fix-rounding"));
    assert_eq!(fixed.agent_version.as_deref(), Some("2.0.26"));
    assert_facts(&loaded, "fix-rounding");
    assert_facts(&loaded, "secrets");
}

#[test]
fn an_export_that_is_cut_gives_what_stands_before_the_cut() {
    let whole = fs::read_to_string(fixture("export/v1-wrong-args.json")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cut.json");
    fs::write(&path, &whole[..whole.len() * 2 / 3]).unwrap();
    let loaded = read(&path);
    let whole = read(&fixture("export/v1-wrong-args.json"));
    let (cut, whole) = (&loaded.traces[0].messages, &whole.traces[0].messages);
    assert!(cut.len() > 10 && cut.len() < whole.len());
    assert!(cut.iter().zip(whole).all(|(cut, whole)| cut.content == whole.content));
    assert!(loaded.bad[0].problem.starts_with("export: not valid JSON: EOF"));
    assert_adds_up(&loaded);
}

/// Rows for a table of version 1 or 2 in a database made by hand.
struct Hand {
    folder: tempfile::TempDir,
    connection: Connection,
}

impl Hand {
    fn v1() -> Hand {
        Hand::new(
            "CREATE TABLE session(id TEXT PRIMARY KEY, directory TEXT, version TEXT, revert TEXT);
             CREATE TABLE message(id TEXT PRIMARY KEY, session_id, time_created INT, data);
             CREATE TABLE part(id TEXT PRIMARY KEY, message_id, session_id, data);
             INSERT INTO session VALUES ('ses_1', '/src/shop', '1.18.33', NULL);",
        )
    }

    fn v2() -> Hand {
        Hand::new(
            "CREATE TABLE session_v2(id TEXT PRIMARY KEY, directory TEXT, revert TEXT);
             CREATE TABLE session_message(id TEXT PRIMARY KEY, session_id, type, seq INT, data);
             INSERT INTO session_v2 VALUES ('ses_1', '/src/shop', NULL);",
        )
    }

    fn new(schema: &str) -> Hand {
        let folder = tempfile::tempdir().unwrap();
        let connection = Connection::open(folder.path().join("opencode.db")).unwrap();
        connection.execute_batch(schema).unwrap();
        Hand { folder, connection }
    }

    /// A message of version 1 with its parts.
    fn message(&self, nth: i64, info: Value, parts: &[Value]) {
        let id = format!("msg_{nth}");
        let row = (&id, "ses_1", nth, info.to_string());
        self.connection.execute("INSERT INTO message VALUES (?, ?, ?, ?)", row).unwrap();
        for (n, part) in parts.iter().enumerate() {
            let row = (format!("prt_{nth}_{n}"), &id, "ses_1", part.to_string());
            self.connection.execute("INSERT INTO part VALUES (?, ?, ?, ?)", row).unwrap();
        }
    }

    /// A row of version 2.
    fn row(&self, nth: i64, kind: &str, data: Value) {
        let row = (format!("msg_{nth}"), "ses_1", kind, nth, data.to_string());
        let insert = "INSERT INTO session_message VALUES (?, ?, ?, ?, ?)";
        self.connection.execute(insert, row).unwrap();
    }

    fn read(&self) -> Loaded {
        read(&self.folder.path().join("opencode.db"))
    }

    fn messages(&self) -> Vec<Message> {
        self.read().traces.remove(0).messages
    }
}

fn user() -> Value {
    json!({"role": "user", "time": {"created": 1}})
}

fn assistant() -> Value {
    json!({"role": "assistant", "time": {"created": 2, "completed": 3}, "finish": "stop",
           "providerID": "local", "modelID": "small"})
}

fn text(text: &str) -> Value {
    json!({"type": "text", "text": text})
}

fn call(id: &str, state: Value) -> Value {
    json!({"type": "tool", "callID": id, "tool": "bash", "state": state})
}
