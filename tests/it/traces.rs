//! Raw traces: what is accepted, what is refused, and that every line is accounted for.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use proto::progress::{Observer, Silent};
use proto::trace::raw::{self, parse_row};
use proto::trace::{Loaded, Origin, Role, Trace, stream};
use rayon::prelude::*;
use serde_json::{Value, json};

fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    folder
}

fn load(folder: &Path, paths: &[&str]) -> anyhow::Result<Loaded> {
    let paths: Vec<PathBuf> = paths.iter().map(PathBuf::from).collect();
    proto::trace::load(&paths, folder, &Silent)
}

fn row(value: Value) -> Trace {
    parse_row(value, &Origin { file: "a.jsonl".into(), line: 3 }).unwrap().trace
}

fn reason(value: Value) -> (&'static str, String) {
    let problem = parse_row(value, &Origin::default()).unwrap_err();
    (problem.reason, problem.message)
}

fn assert_adds_up(loaded: &Loaded) {
    assert_eq!(loaded.lines, loaded.traces.len() as u64 + loaded.reasons.values().sum::<u64>());
    assert_eq!(loaded.lines, loaded.files.iter().map(|f| f.lines).sum::<u64>());
    assert_eq!(loaded.bad.len() as u64, loaded.reasons.values().sum::<u64>());
    assert_eq!(loaded.pedigrees.len(), loaded.traces.len());
}

const GOOD: &str = r#"{"user":"hi","assistant":"hello"}"#;

#[test]
fn user_and_assistant_become_two_messages() {
    let trace = row(json!({
        "system": "be brief", "user": "hi", "assistant": "hello", "source": "team",
        "task_category": "chat", "outcome": "success", "keywords": ["hello"], "id": 7,
        "model": "big-model", "timestamp": "2026-11-22T10:15:00Z",
    }));
    let roles: Vec<_> = trace.messages.iter().map(|m| m.role).collect();
    assert_eq!(roles, [Role::System, Role::User, Role::Assistant]);
    assert_eq!((trace.session.as_str(), trace.source.as_str()), ("7", "team"));
    assert_eq!(trace.messages.iter().map(|m| m.train).collect::<Vec<_>>(), [false, false, true]);
    assert_eq!(trace.messages[2].author.as_deref(), Some("big-model"));
    assert_eq!(trace.messages[1].author, None);
    assert!(trace.messages.iter().all(|m| m.row == 3));
    assert_eq!(trace.started_ms, Some(1_795_342_500_000));
    assert_eq!(trace.keywords, ["hello"]);
}

#[test]
fn conversation_parts_aliases_and_reasoning_are_understood() {
    let trace = row(json!({"conversation": [
        {"role": "developer", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
        {"from": "human", "value": "question"},
        {"role": "model", "content": "answer", "reasoning": "because", "weight": 0},
        {"role": "gpt", "content": null, "tool_calls": [{"function": {"name": "ls", "arguments": {}}}]},
        {"role": "observation", "content": "files"},
    ]}));
    let roles: Vec<_> = trace.messages.iter().map(|m| m.role.as_str()).collect();
    assert_eq!(roles, ["system", "user", "assistant", "assistant", "tool"]);
    assert_eq!(trace.messages[0].content, "ab");
    assert_eq!(trace.messages[2].reasoning_content.as_deref(), Some("because"));
    assert!(!trace.messages[2].train && trace.messages[3].train);
    assert_eq!(trace.messages[4].tool_call_id.as_deref(), Some("call_1"));
    assert_eq!(trace.messages[4].name.as_deref(), Some("ls"));
    assert!(trace.session.starts_with("raw-"));
}

#[test]
fn calls_are_structure_and_linked_to_their_results() {
    let call = |id: &str, path: &str| json!({"id": id, "type": "function", "function": {"name": "read", "arguments": format!("{{\"path\":\"{path}\"}}")}});
    let trace = row(json!({"messages": [
        {"role": "user", "content": "x"},
        {"role": "assistant", "content": "", "tool_calls": [call("c", "a"), call("c", "b")]},
        {"role": "tool", "tool_call_id": "c", "content": "A"},
        {"role": "tool", "tool_call_id": "c", "content": "B"},
        {"role": "assistant", "content": "", "tool_calls": [call("c", "d")]},
        {"role": "tool", "tool_call_id": "c", "content": "D"},
        {"role": "assistant", "content": null, "function_call": {"name": "run", "arguments": ""}},
        {"role": "function", "name": "run", "content": "R"},
    ]}));
    let made: Vec<_> = trace.messages.iter().flat_map(|m| &m.tool_calls).collect();
    let answers: Vec<_> = trace.messages.iter().filter_map(|m| m.tool_call_id.as_deref()).collect();
    let ids: Vec<_> = made.iter().map(|c| c.id.as_str()).collect();
    assert_eq!(ids, answers);
    assert_eq!(ids.iter().collect::<std::collections::BTreeSet<_>>().len(), 4);
    assert_eq!(made[2].arguments["path"], "d");
    assert!(made[3].arguments.is_empty());
}

#[test]
fn sharegpt_rows_hold_calls_as_json_in_a_text() {
    let call = json!({"name": "read", "arguments": {"path": "a"}});
    let two = json!([call, {"name": "ls", "arguments": "{\"path\":\"b\"}"}]);
    let trace = row(json!({
        "conversations": [
            {"from": "human", "value": "look"},
            {"from": "function_call", "value": call.to_string()},
            {"from": "observation", "value": "A"},
            {"from": "function_call", "value": two.to_string()},
            {"from": "observation", "value": "A"},
            {"from": "observation", "value": "B"},
            {"from": "gpt", "value": "done"},
        ],
        "system": "be brief",
        "tools": json!([{"name": "read", "parameters": {}}]).to_string(),
    }));
    let shown: Vec<_> = trace.messages.iter().map(|m| (m.role.as_str(), &*m.content)).collect();
    let calls = [("assistant", ""), ("tool", "A")];
    let start = [("system", "be brief"), ("user", "look")];
    let end = [("tool", "B"), ("assistant", "done")];
    assert_eq!(shown, [&start[..], &calls, &calls, &end].concat());
    assert_eq!(trace.messages[2].tool_calls[0].arguments["path"], "a");
    assert_eq!(trace.messages[6].name.as_deref(), Some("ls"));
    assert_eq!(trace.messages[4].tool_calls[1].arguments["path"], "b");
    assert_eq!(trace.tools[0]["function"]["name"], "read");
    assert!(trace.messages[2].train && !trace.messages[3].train);
}

#[test]
fn openai_chat_rows_are_read_with_tools_and_weights() {
    let trace = row(json!({
        "messages": [
            {"role": "developer", "content": "be brief"},
            {"role": "user", "name": "mira", "content": [{"type": "text", "text": "look"}]},
            {"role": "assistant", "content": null, "weight": 0, "tool_calls": [
                {"id": "c", "type": "function",
                    "function": {"name": "read", "arguments": "{\"path\": \"a\"}"}},
                {"id": "d", "type": "custom", "custom": {"name": "patch", "input": "*** Begin"}}]},
            {"role": "tool", "tool_call_id": "d", "content": "patched"},
            {"role": "tool", "tool_call_id": "c", "content": "A"},
            {"role": "assistant", "content": "done", "weight": 1},
        ],
        "tools": [{"type": "function", "function": {"name": "read", "parameters": {}}}],
        "parallel_tool_calls": false,
    }));
    let calls = &trace.messages[2].tool_calls;
    assert_eq!(calls[0].arguments["path"], "a");
    assert_eq!(
        (calls[1].name.as_str(), &calls[1].arguments["input"]),
        ("patch", &json!("*** Begin"))
    );
    let names: Vec<_> = trace.messages.iter().filter_map(|m| m.name.as_deref()).collect();
    assert_eq!(names, ["patch", "read"]);
    let trained: Vec<_> = trace.messages.iter().map(|m| m.train).collect();
    assert_eq!(trained, [false, false, false, false, false, true]);
}

#[test]
fn an_unanswered_call_does_not_take_a_later_answer() {
    let call = json!([{"id": "c", "function": {"name": "read", "arguments": {}}}]);
    let trace = row(json!({"messages": [
        {"role": "assistant", "content": "", "tool_calls": call},
        {"role": "user", "content": "stop"},
        {"role": "assistant", "content": "", "tool_calls": call},
        {"role": "tool", "tool_call_id": "c", "content": "late"},
    ]}));
    assert_eq!(trace.messages[3].tool_call_id.as_deref(), Some("c_2"));
}

#[test]
fn tool_schemas_take_one_shape() {
    let bare = json!({"name": "read", "description": "reads", "input_schema": {"type": "object"}});
    let expected = json!({"type": "function", "function":
        {"name": "read", "description": "reads", "parameters": {"type": "object"}}});
    for tools in [json!([bare]), json!([expected]), json!(json!([bare]).to_string())] {
        let trace = row(json!({"user": "a", "assistant": "b", "tools": tools}));
        assert_eq!(trace.tools, std::slice::from_ref(&expected));
    }
}

#[test]
fn a_written_row_reads_back_as_it_was() {
    let mut trace = row(json!({"session": "s", "repository": "r", "started_ms": 5, "messages": [
        {"role": "system", "content": "s"},
        {"role": "user", "content": "u"},
        {"role": "assistant", "content": "", "tool_calls": [
            {"id": "1", "function": {"name": "read", "arguments": {"z": 1, "a": [1.5, "x"]}}}]},
        {"role": "tool", "tool_call_id": "1", "content": "t"},
        {"role": "assistant", "content": "done", "reasoning_content": "think", "author": "human"},
    ]}));
    trace.messages[2].train = false;
    trace.messages[4].row = 9;
    let mut written = serde_json::to_value(&trace).unwrap();
    written["id"] = json!("e-1");
    written["kind"] = json!("synthetic");
    written["derived_from"] = json!("e-0");
    let read = parse_row(written, &Origin { file: "train.jsonl".into(), line: 99 }).unwrap();
    assert_eq!(read.trace, trace);
    assert_eq!(read.pedigree.id.as_deref(), Some("e-1"));
    assert_eq!(read.pedigree.kind.as_deref(), Some("synthetic"));
    assert_eq!(read.pedigree.derived_from.as_deref(), Some("e-0"));
    assert_eq!(read.pedigree.component, None);
}

#[test]
fn bad_rows_name_their_reason_and_none_of_their_content() {
    let secret = "hunter2hunter2";
    let message = |m: Value| json!({"messages": [{"role": "user", "content": "a"}, m]});
    let table = [
        (json!([1]), "not_object"),
        (json!({"text": secret}), "no_messages"),
        (json!({"messages": []}), "no_messages"),
        (json!({"messages": secret}), "no_messages"),
        (json!({"user": secret}), "no_messages"),
        (message(json!(secret)), "message"),
        (message(json!({"content": secret})), "unknown_role"),
        (message(json!({"role": "narrator", "content": secret})), "unknown_role"),
        (message(json!({"role": format!("{secret}:x"), "content": "a"})), "unknown_role"),
        (message(json!({"role": "user", "content": {"a": secret}})), "content"),
        (message(json!({"role": "user"})), "content"),
        (
            message(json!({"role": "user", "content": [{"type": "image", "data": secret}]})),
            "content",
        ),
        (message(json!({"role": "assistant", "tool_calls": secret})), "tool_call"),
        (
            message(
                json!({"role": "assistant", "tool_calls": [{"function": {"arguments": secret}}]}),
            ),
            "tool_call",
        ),
        (
            message(
                json!({"role": "assistant", "tool_calls": [{"function": {"name": "a", "arguments": secret}}]}),
            ),
            "tool_arguments",
        ),
        (
            message(
                json!({"role": "assistant", "tool_calls": [{"function": {"name": "a", "arguments": "[1]"}}]}),
            ),
            "tool_arguments",
        ),
        (message(json!({"from": "function_call", "value": secret})), "tool_call"),
        (message(json!({"from": "function_call", "value": "[1]"})), "tool_call"),
        (message(json!({"role": "user", "content": "a", "train": true})), "train_flag"),
        (json!({"user": "a", "assistant": "b", "timestamp": secret}), "timestamp"),
        (json!({"user": "a", "assistant": "b", "outcome": {"a": secret}}), "field"),
        (json!({"user": "a", "assistant": "b", "tools": secret}), "field"),
        (json!({"user": "a", "assistant": "b", "keywords": [1]}), "field"),
    ];
    for (value, expected) in table {
        let shown = value.to_string();
        let (reason, message) = reason(value);
        assert_eq!(reason, expected, "{shown}");
        assert!(!message.contains(secret), "{message}");
    }
    let (_, text) = reason(message(json!({"role": "narrator", "content": "a"})));
    assert!(text.contains("message 2") && text.contains("narrator"), "{text}");
}

#[test]
fn each_bad_line_costs_only_itself() {
    let deep = format!("{}{}", "[".repeat(200_000), "]".repeat(200_000));
    let deep_call = json!({"messages": [{"role": "assistant", "tool_calls":
        [{"function": {"name": "a", "arguments": deep}}]}]});
    let text = format!("\u{feff}{GOOD}\r\n\n  \n{{\"user\": \n{deep}\n{deep_call}\n\0\0\0\n{GOOD}");
    let folder = folder(&[("a.jsonl", &text)]);
    let mut bytes = fs::read(folder.path().join("a.jsonl")).unwrap();
    bytes.extend(b"\n{\"user\": \"\xff\", \"assistant\": \"b\"}\n");
    fs::write(folder.path().join("a.jsonl"), &bytes).unwrap();
    let loaded = load(folder.path(), &["a.jsonl"]).unwrap();
    assert_adds_up(&loaded);
    assert_eq!(loaded.traces.len(), 2);
    assert_eq!(loaded.reasons["not_json"], 3);
    assert_eq!(loaded.reasons["not_utf8"], 1);
    assert_eq!(loaded.reasons["tool_arguments"], 1);
    let places: Vec<_> = loaded.bad.iter().map(|b| (b.file.as_str(), b.line)).collect();
    assert_eq!(places, [4, 5, 6, 7, 9].map(|line| ("a.jsonl", line)));
    assert_eq!(loaded.files[0].sha256, proto::files::digest(&bytes));
    assert_eq!(loaded.files[0].bytes, bytes.len() as u64);
    assert_eq!(loaded.traces[0].session, loaded.traces[1].session);
    assert_ne!(loaded.traces[0].origin, loaded.traces[1].origin);
}

#[test]
fn an_overlong_line_is_one_bad_line() {
    let folder = folder(&[]);
    let mut text = vec![b'x'; raw::MAX_LINE + 1];
    text.extend(format!("\n{GOOD}\n").bytes());
    fs::write(folder.path().join("a.jsonl"), text).unwrap();
    let loaded = load(folder.path(), &["a.jsonl"]).unwrap();
    assert_adds_up(&loaded);
    assert_eq!((loaded.traces.len(), loaded.reasons["too_long"]), (1, 1));
    assert_eq!(loaded.traces[0].origin.line, 2);
}

#[test]
fn order_of_files_and_threads_does_not_matter() {
    let lines = |from: usize| -> String {
        (from..from + 40)
            .map(|n| {
                let session = format!("s{}", n % 17);
                json!({"id": session, "user": n.to_string(), "assistant": "b"}).to_string() + "\n"
            })
            .collect()
    };
    let folder = folder(&[("x/a.jsonl", &lines(0)), ("y/b.jsonl", &lines(9)), ("y/c.txt", "no")]);
    let first = load(folder.path(), &["x", "y"]).unwrap();
    let one = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    for paths in [&["y", "x"][..], &["y/b.jsonl", "x/a.jsonl"], &["*/*.jsonl"], &["**", "x"]] {
        let again = one.install(|| load(folder.path(), paths)).unwrap();
        assert_eq!(first.traces, again.traces);
        assert_eq!(first.files, again.files);
    }
    assert_eq!(first.traces.len(), 80);
    let name = &first.files[0].file;
    assert_eq!(name, "x/a.jsonl");
}

/// Remembers how many bytes were read.
#[derive(Default)]
struct Read(AtomicU64);

impl Observer for Read {
    fn advance(&self, done: u64, _: &str) {
        self.0.fetch_max(done, Ordering::Relaxed);
    }
}

#[test]
fn rows_are_handed_over_while_their_file_is_read() {
    let line = json!({"user": "x".repeat(1 << 20), "assistant": "b"}).to_string() + "\n";
    let folder = folder(&[("a.jsonl", &line.repeat(64))]);
    let read = Read::default();
    let enough = |_| anyhow::bail!("that is enough");
    let paths = [PathBuf::from("a.jsonl")];
    let error = stream(&paths, folder.path(), &|_| None, &read, &mut { enough }).unwrap_err();
    assert_eq!(error.to_string(), "that is enough");
    let read = read.0.load(Ordering::Relaxed);
    assert!((1 << 20..32 << 20).contains(&read), "{read} bytes were read for one row");
}

#[test]
fn rows_come_in_one_order_whatever_the_threads() {
    let files: Vec<(String, String)> = (0..12)
        .map(|file| {
            let line = |n| json!({"id": format!("{file}-{n}"), "user": "u", "assistant": "a"});
            let lines = (0..file * 31).map(|n| line(n).to_string() + "\n");
            (format!("{file}.jsonl"), lines.collect())
        })
        .collect();
    let files: Vec<_> = files.iter().map(|(name, text)| (&**name, &**text)).collect();
    let folder = folder(&files);
    let order = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let mut order = Vec::new();
            let mut take = |row: raw::Row| {
                // Work of the pool while the pool parses the next rows.
                let length = [1, 2].par_iter().map(|n| n * row.trace.messages.len()).sum::<usize>();
                order.push((row.pedigree.id, length));
                Ok(())
            };
            stream(&[".".into()], folder.path(), &|_| None, &Silent, &mut take).unwrap();
            order
        })
    };
    let one = order(1);
    assert_eq!(one.len(), 66 * 31);
    assert!(one == order(2) && one == order(5));
}

#[test]
fn files_outside_the_project_go_by_their_last_part() {
    let (project, disk) = (folder(&[]), folder(&[("a.jsonl", GOOD)]));
    let path = disk.path().join("a.jsonl");
    let loaded = proto::trace::load(&[path], project.path(), &Silent).unwrap();
    assert_eq!(loaded.traces[0].origin, Origin { file: "a.jsonl".into(), line: 1 });
}

#[test]
fn missing_paths_and_empty_folders_say_what_to_do() {
    let folder = folder(&[("empty.jsonl", ""), ("bad.jsonl", "nonsense\n"), ("none/x.txt", "")]);
    for (path, part) in [("nowhere", "nowhere"), ("nowhere/*.jsonl", "no file matches")] {
        let error = load(folder.path(), &[path]).unwrap_err();
        assert!(format!("{error:#}").contains(part), "{error:#}");
    }
    let loaded = load(folder.path(), &["."]).unwrap();
    assert_eq!(loaded.unread[0].file, "empty.jsonl");
    let error = loaded.refuse_empty().unwrap_err().to_string();
    assert!(error.contains("empty.jsonl: the file is empty"), "{error}");
    assert!(error.contains("bad.jsonl:1") && error.contains("TRACES"), "{error}");
    let error = load(folder.path(), &["none"]).unwrap().refuse_empty().unwrap_err().to_string();
    assert!(error.contains("no *.jsonl"), "{error}");
}

#[cfg(unix)]
#[test]
fn loops_end_and_pipes_are_refused() {
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;
    let folder = folder(&[("in/a.jsonl", GOOD)]);
    let at = |name: &str| folder.path().join(name);
    symlink(at("in"), at("in/loop")).unwrap();
    symlink(at("in/a.jsonl"), at("in/again.jsonl")).unwrap();
    symlink(at("in/gone"), at("in/broken.jsonl")).unwrap();
    let _socket = UnixListener::bind(at("in/pipe.jsonl")).unwrap();
    let loaded = load(folder.path(), &["in"]).unwrap();
    assert_eq!(loaded.traces.len(), 1);
    let unread: Vec<_> = loaded.unread.iter().map(|u| u.file.as_str()).collect();
    assert_eq!(unread, ["in/broken.jsonl", "in/pipe.jsonl"]);
    let error = load(folder.path(), &["in/pipe.jsonl"]).unwrap_err();
    assert!(format!("{error:#}").contains("not a regular file"), "{error:#}");
}
