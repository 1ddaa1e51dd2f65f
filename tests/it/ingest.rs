//! `proto ingest` as a person runs it, on a home with every agent's sample sessions.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

use crate::samples;

/// A home in which OpenCode (trees), OpenClaw, Claude Code and Codex keep the samples.
fn home() -> tempfile::TempDir {
    let home = tempfile::tempdir().unwrap();
    for (from, to) in [
        ("opencode/storage", ".local/share/opencode/storage"),
        ("openclaw/agents", ".openclaw/agents"),
        ("claude-code/projects", ".claude/projects"),
        ("codex/sessions", ".codex/sessions"),
    ] {
        copy(&samples::folder().join(from), &home.path().join(to));
    }
    fs::create_dir(home.path().join("work")).unwrap();
    home
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap().path();
        let to = to.join(entry.file_name().unwrap());
        match entry.is_dir() {
            true => copy(&entry, &to),
            false => fs::copy(&entry, &to).map(|_| ()).unwrap(),
        }
    }
}

fn proto(home: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_proto"));
    for name in ["XDG_DATA_HOME", "OPENCODE_DB", "OPENCLAW_STATE_DIR", "CLAUDE_CONFIG_DIR"]
        .into_iter()
        .chain(["CODEX_HOME", "PI_CODING_AGENT_DIR", "PI_CODING_AGENT_SESSION_DIR"])
    {
        command.env_remove(name);
    }
    command.current_dir(home.join("work")).env("HOME", home).env("USERPROFILE", home);
    command.args(arguments).output().unwrap()
}

fn json(output: &Output) -> Value {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn every_agents_sessions_are_listed_with_what_is_skipped() {
    let home = home();
    let listed = json(&proto(home.path(), &["ingest", "--list", "--json"]));
    let sessions = |agent: &str| -> u64 {
        let shelves = listed["shelves"].as_array().unwrap().iter();
        shelves.filter(|s| s["agent"] == agent).map(|s| s["sessions"].as_u64().unwrap()).sum()
    };
    for agent in ["opencode", "openclaw", "claude-code", "codex"] {
        assert_eq!(sessions(agent), 6, "{agent}");
    }
    let skipped = listed["shelves"].as_array().unwrap().iter();
    assert!(skipped.into_iter().any(|s| s["agent"] == "openclaw" && s["skipped"]["deleted"] == 1));
    let records = &listed["records"];
    let left: u64 = records["left"].as_object().unwrap().values().filter_map(Value::as_u64).sum();
    assert_eq!(records["read"].as_u64().unwrap(), records["used"].as_u64().unwrap() + left);
    assert!(!listed["bad"].as_array().unwrap().is_empty());

    let text = proto(home.path(), &["ingest", "--list"]);
    let text = String::from_utf8(text.stdout).unwrap();
    assert!(text.lines().any(|l| l.starts_with("codex") && l.contains("6 files")), "{text}");
}

#[test]
fn a_daily_ingest_takes_each_session_once_and_no_secret_along() {
    let home = home();
    let first = json(&proto(home.path(), &["ingest", "--new", "--json", "--out", "day/1.jsonl"]));
    assert_eq!(first["report"]["written"], 24);
    let again = json(&proto(home.path(), &["ingest", "--new", "--json", "--out", "day/2.jsonl"]));
    assert_eq!((&again["report"]["written"], &again["out"]), (&0.into(), &Value::Null));
    assert_eq!(again["report"]["left"]["known"], 24);

    let refused = proto(home.path(), &["ingest", "--out", "day/1.jsonl"]);
    assert_eq!(refused.status.code(), Some(2));
    let one = json(&proto(home.path(), &["ingest", "codex", "--since", "2026-09-05", "--json"]));
    assert_eq!(one["report"]["written"], 2, "the parent and its subagent");

    let manifest = fs::read_to_string(samples::folder().join("MANIFEST.json")).unwrap();
    let manifest: Value = serde_json::from_str(&manifest).unwrap();
    let secrets = manifest["fake_secrets"].as_object().unwrap();
    let mut written = fs::read_to_string(home.path().join("work/day/1.jsonl")).unwrap();
    written += &*String::from_utf8_lossy(&refused.stderr);
    written += &*format!("{first}{again}{one}");
    for (name, secret) in secrets {
        assert!(!written.contains(secret.as_str().unwrap()), "{name}");
    }
    assert!(!written.contains("/home/mira"));
}

#[test]
fn an_agent_that_is_not_here_is_named() {
    let home = home();
    let output = proto(home.path(), &["ingest", "pi"]);
    assert_eq!(output.status.code(), Some(2));
    let told = String::from_utf8_lossy(&output.stderr).to_string();
    assert!(told.contains("no sessions of pi"), "{told}");
}
