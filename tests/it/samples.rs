//! The sample sessions of the agents, and what a correct reader finds in them.

use std::fs;
use std::path::{Path, PathBuf};

use proto::progress::Silent;
use proto::trace::{Loaded, Message, Role, Signal, Trace};
use serde_json::Value;

/// Where the samples lie.
pub fn folder() -> PathBuf {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/agents")).into()
}

/// What is expected of a logical session.
pub fn facts(session: &str) -> Value {
    let text = fs::read_to_string(folder().join("MANIFEST.json")).unwrap();
    let manifest: Value = serde_json::from_str(&text).unwrap();
    manifest["sessions"][session].clone()
}

/// Loads one place by its full path.
pub fn load(path: &Path) -> Loaded {
    proto::trace::load(&[path.to_path_buf()], path.parent().unwrap(), &Silent).unwrap()
}

/// Loads a session that is given as rows.
pub fn load_rows(name: &str, rows: &[impl AsRef<[u8]>]) -> Loaded {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let rows: Vec<&[u8]> = rows.iter().map(AsRef::as_ref).collect();
    fs::write(&path, rows.join(&b'\n')).unwrap();
    let loaded = load(&path);
    assert_adds_up(&loaded);
    loaded
}

/// No record and no session is lost without a reason.
pub fn assert_adds_up(loaded: &Loaded) {
    let records = &loaded.records;
    assert_eq!(records.read, records.used + records.left.values().sum::<u64>());
    assert_eq!(loaded.lines, loaded.traces.len() as u64 + loaded.reasons.values().sum::<u64>());
}

/// How many messages a role has in a trace.
pub fn count(trace: &Trace, role: Role) -> u64 {
    trace.messages.iter().filter(|m| m.role == role).count() as u64
}

/// The messages that carry a signal.
pub fn with(trace: &Trace, signal: Signal) -> Vec<&Message> {
    trace.messages.iter().filter(|m| m.signals.contains(&signal)).collect()
}

/// The failures of tools in order, in the words of the manifest.
pub fn tool_errors(trace: &Trace) -> Vec<&'static str> {
    let kind = |signal: &Signal| match signal {
        Signal::Schema => Some("schema"),
        Signal::UnknownTool => Some("unknown_tool"),
        Signal::EditMismatch => Some("edit_mismatch"),
        Signal::Denied => Some("denied"),
        Signal::Aborted => Some("aborted"),
        Signal::ToolError => Some("tool_error"),
        _ => None,
    };
    let results = trace.messages.iter().filter(|m| m.role == Role::Tool);
    results.flat_map(|m| m.signals.iter().filter_map(kind)).collect()
}

/// The exit statuses that are not 0.
pub fn failed_exits(trace: &Trace) -> Vec<i64> {
    trace.messages.iter().filter_map(|m| m.exit).filter(|exit| *exit != 0).collect()
}

/// Every call has one result, which stands right after its step and names its tool.
pub fn assert_linked(trace: &Trace) {
    let mut messages = trace.messages.iter().peekable();
    while let Some(message) = messages.next() {
        assert_ne!(message.role, Role::Tool, "a result without its step");
        for _ in &message.tool_calls {
            let Some(result) = messages.next_if(|m| m.role == Role::Tool) else { break };
            let call =
                message.tool_calls.iter().find(|c| Some(&c.id) == result.tool_call_id.as_ref());
            assert_eq!(call.map(|c| &c.name), result.name.as_ref());
            assert!(call.is_some());
        }
    }
}
