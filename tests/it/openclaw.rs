//! OpenClaw's sessions, in files and in both forms of database: the facts of the samples, every
//! damaged place reported, and input that means harm.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use proto::progress::Silent;
use proto::trace::{Loaded, Message, Role, Signal, Trace};
use rusqlite::Connection;
use serde_json::{Value, json};

const SAMPLES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/agents/openclaw");

const FIX: &str = "d8dd2668-f53d-42fc-a024-bb5663d85998";
const WRONG: &str = "f32fc330-2ed3-47be-ac14-360fa5e082a9";
const ABORTED: &str = "80fde12b-4719-4058-a7c9-285f0ac2dc87";
const SECRETS: &str = "18543b2c-7e1f-4401-a0be-0727b4904912";
const PARENT: &str = "939ba4f4-fb54-46fc-ae21-0ac7d0d591f7";
const CHILD: &str = "7b718734-bf16-45b4-a036-53868b472f79";
const NOTES: &str = "db6d6906-75d7-4198-a88f-a2656f68e8cb";

fn load(path: &Path) -> Loaded {
    let loaded = try_load(path).unwrap();
    let Loaded { records, lines, traces, reasons, .. } = &loaded;
    assert_eq!(records.read, records.used + records.left.values().sum::<u64>());
    assert_eq!(*lines, traces.len() as u64 + reasons.values().sum::<u64>());
    loaded
}

fn try_load(path: &Path) -> anyhow::Result<Loaded> {
    proto::trace::load(&[path.to_path_buf()], Path::new("/"), &Silent)
}

/// A state folder with the samples' files.
fn files() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    copy(&Path::new(SAMPLES).join("agents"), &root.path().join("agents"));
    root
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &target);
        } else {
            fs::write(target, fs::read(path).unwrap()).unwrap();
        }
    }
}

fn sessions(root: &Path) -> PathBuf {
    root.join("agents/main/sessions")
}

/// A state folder with a database alone.
fn database(script: &str) -> (tempfile::TempDir, Connection) {
    let root = tempfile::tempdir().unwrap();
    let connection = add_database(root.path(), script);
    (root, connection)
}

fn add_database(root: &Path, script: &str) -> Connection {
    let folder = root.join("agents/main/agent");
    fs::create_dir_all(&folder).unwrap();
    let connection = Connection::open(folder.join("openclaw-agent.sqlite")).unwrap();
    connection
        .execute_batch(&fs::read_to_string(Path::new(SAMPLES).join(script)).unwrap())
        .unwrap();
    connection
}

const FIRST: &str = "openclaw-agent-2026.7.2.sql";
const SECOND: &str = "openclaw-agent-2026.9.sql";

fn by_session(loaded: &Loaded) -> BTreeMap<&str, &Trace> {
    loaded.traces.iter().map(|trace| (trace.session.as_str(), trace)).collect()
}

fn count(trace: &Trace, role: Role) -> usize {
    trace.messages.iter().filter(|m| m.role == role).count()
}

fn calls(trace: &Trace) -> usize {
    trace.messages.iter().map(|m| m.tool_calls.len()).sum()
}

fn of_role(trace: &Trace, role: Role) -> Vec<&Message> {
    trace.messages.iter().filter(|m| m.role == role).collect()
}

/// The signals of failed tool results, with the tools' names.
fn failures(trace: &Trace) -> Vec<(&str, Signal)> {
    let results = trace.messages.iter().filter(|m| m.role == Role::Tool);
    let failed = results.flat_map(|m| m.signals.iter().map(|s| (m.name.as_deref().unwrap(), *s)));
    failed.collect()
}

/// Questions, steps and calls of every sample, as its MANIFEST.json has them.
const COUNTS: &[(&str, usize, usize, usize)] =
    &[(FIX, 2, 5, 3), (WRONG, 2, 10, 9), (ABORTED, 1, 2, 2), (SECRETS, 2, 3, 2), (PARENT, 1, 2, 1)];

fn assert_facts(loaded: &Loaded, cut: &str) {
    let traces = by_session(loaded);
    for (session, questions, steps, made) in COUNTS.iter().filter(|(s, ..)| *s != cut) {
        let trace = traces[session];
        assert_eq!(count(trace, Role::User), *questions, "{session}");
        assert_eq!(count(trace, Role::Assistant), *steps, "{session}");
        assert_eq!(calls(trace), *made, "{session}");
        assert_eq!(trace.source, "openclaw");
        assert_eq!(trace.repository.as_deref(), Some("workspace"));
    }
    let wrong = traces[WRONG];
    assert_eq!(
        failures(wrong),
        [
            ("read", Signal::Schema),
            ("search_files", Signal::UnknownTool),
            ("edit", Signal::EditMismatch),
            ("edit", Signal::EditMismatch),
        ]
    );
    let exits: Vec<_> = wrong.messages.iter().filter_map(|m| m.exit).filter(|e| *e != 0).collect();
    assert_eq!(exits, [101]);
    assert_eq!(failures(traces[SECRETS]), [("exec", Signal::Denied)]);
    let last = traces[SECRETS].messages.last().unwrap();
    assert!(last.content.is_empty() && last.signals.contains(&Signal::ProviderError));
    for session in [FIX, PARENT] {
        assert_eq!(failures(traces[session]), []);
    }
    let fix = traces[FIX];
    assert_eq!(fix.started_ms, Some(1_788_252_000_000));
    assert_eq!(fix.ended_ms, Some(1_788_252_028_000));
    let first = of_role(fix, Role::Assistant)[0];
    assert_eq!(first.author.as_deref(), Some("ollama/qwen3-coder:30b"));
    assert_eq!(first.reasoning_content.as_deref(), Some("Read the function first."));
    assert_eq!(first.tool_calls[0].name, "read");
    assert_eq!(first.tool_calls[0].arguments["path"], "/home/mira/src/ledger/src/money.rs");
}

#[test]
fn the_facts_of_the_samples_hold_in_files() {
    let root = files();
    let loaded = load(root.path());
    assert_facts(&loaded, ABORTED);
    let ids: Vec<_> = by_session(&loaded).into_keys().collect();
    let mut all = vec![FIX, WRONG, ABORTED, SECRETS, PARENT, NOTES];
    all.sort_unstable();
    assert_eq!(ids, all);
    assert_eq!(loaded.reasons, BTreeMap::from([("deleted".to_string(), 1)]));
}

#[test]
fn the_facts_of_the_samples_hold_in_both_databases() {
    for script in [FIRST, SECOND] {
        let (root, _writer) = database(script);
        let loaded = load(root.path());
        assert_facts(&loaded, "");
        let traces = by_session(&loaded);
        assert_eq!(loaded.traces.len(), 7);
        let last = traces[ABORTED].messages.last().unwrap();
        assert_eq!(last.signals, [Signal::Aborted, Signal::TurnInterrupted]);
        assert_eq!(traces[CHILD].parent.as_deref(), Some(PARENT));
        assert_eq!(count(traces[CHILD], Role::Assistant), 2);
        assert!(traces[FIX].messages.last().unwrap().signals.contains(&Signal::TurnSucceeded));
        assert!(traces[SECRETS].messages.last().unwrap().signals.contains(&Signal::TurnFailed));
    }
}

#[test]
fn results_follow_their_calls() {
    let root = files();
    let loaded = load(root.path());
    for trace in &loaded.traces {
        let mut ids = Vec::new();
        for message in &trace.messages {
            if message.role == Role::Tool {
                assert_eq!(message.tool_call_id, ids.pop(), "{}", trace.session);
                assert!(message.name.is_some());
            }
            ids.extend(message.tool_calls.iter().rev().map(|call| call.id.clone()));
        }
    }
}

#[test]
fn the_sidecar_gives_system_prompt_and_tools() {
    let root = files();
    let loaded = load(root.path());
    let traces = by_session(&loaded);
    let fix = traces[FIX];
    let system = &fix.messages[0];
    assert_eq!(system.role, Role::System);
    assert_eq!(system.content, "You are a personal assistant running inside OpenClaw.");
    assert_eq!(system.row, 3);
    assert!(system.file.as_deref().unwrap().ends_with(&format!("{FIX}.trajectory.jsonl")));
    let names: Vec<_> = fix.tools.iter().map(|t| t["function"]["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["edit", "exec", "read", "write"]);
    assert_eq!(fix.tools[1]["function"]["parameters"]["required"], json!(["command"]));
    assert!(traces[NOTES].tools.is_empty());
}

#[test]
fn a_database_has_the_sidecar_in_a_table() {
    let (root, writer) = database(SECOND);
    let event = json!({"type": "context.compiled", "data": {"systemPrompt": "be brief",
        "tools": [{"name": "exec", "parameters": {"type": "object"}}]}});
    let meta = json!({"type": "trace.metadata", "data": {"harness": {"version": "2026.9.4"}}});
    writer
        .execute_batch(
            "CREATE TABLE trajectory_runtime_events (session_id TEXT, seq INTEGER, run_id TEXT, \
             event_json TEXT, created_at INTEGER)",
        )
        .unwrap();
    for (seq, event) in [meta.to_string(), event.to_string(), "{\"type".into()].iter().enumerate() {
        let row = (FIX, seq as i64, event);
        let sql = "INSERT INTO trajectory_runtime_events VALUES (?1, ?2, NULL, ?3, 0)";
        writer.execute(sql, row).unwrap();
    }
    let loaded = load(root.path());
    let fix = by_session(&loaded)[FIX];
    assert_eq!(fix.messages[0].content, "be brief");
    assert_eq!(fix.tools.len(), 1);
    assert_eq!(fix.agent_version.as_deref(), Some("2026.9.4"));
    assert!(loaded.bad.iter().any(|bad| bad.problem.contains("trajectory")));
}

/// As 2026.9.6 leaves it where the model calls a tool that does not exist; some servers give
/// every call the same id.
#[test]
fn a_step_that_was_not_written_and_how_runs_ended_stand_in_the_sidecar() {
    let message = |id: &str, parent: &str, time: u32, message: Value| {
        let time = format!("2026-09-01T08:40:{time:02}.000Z");
        let line = json!({"type": "message", "id": id, "parentId": parent, "timestamp": time,
            "message": message});
        format!("{line}\n")
    };
    let call = json!([{"type": "toolCall", "id": "c", "name": "read", "arguments": {}}]);
    let step = json!({"role": "assistant", "content": call});
    let result = |tool: &str, text: &str| {
        json!({"role": "toolResult", "toolCallId": "c", "toolName": tool, "isError": true,
            "content": text})
    };
    let answer =
        |run: &str| json!({"role": "assistant", "content": "Sorry.", "__openclaw": {"runId": run}});
    let text = user("u", "x", "go")
        + &*message("a", "u", 1, step)
        + &*message("b", "a", 2, result("read", "text"))
        + &*message("c", "b", 4, result("open_file", "Tool open_file not found"))
        + &*message("d", "c", 5, answer("one"))
        + &*user("v", "d", "again")
        + &*message("e", "v", 7, answer("two"));
    let root = lines(text.as_bytes());
    let event = |time: u32, kind: &str, run: &str, data: Value| {
        let time = format!("2026-09-01T08:40:{time:02}.000Z");
        let event = json!({"type": kind, "ts": time, "runId": run, "provider": "local",
            "modelId": "m", "data": data});
        format!("{event}\n")
    };
    let called = |tool: &str| json!({"toolCallId": "c", "name": tool, "args": {"path": "a"}});
    let sidecar = event(1, "tool.call", "one", called("read"))
        + &*event(3, "tool.call", "one", called("open_file"))
        + &*event(6, "session.ended", "one", json!({"status": "success"}))
        + &*event(9, "session.ended", "three", json!({"status": "interrupted"}));
    fs::write(sessions(root.path()).join("s.trajectory.jsonl"), sidecar).unwrap();
    let loaded = load(root.path());
    let messages = &loaded.traces[0].messages;
    let tools: Vec<_> = messages.iter().flat_map(|m| &m.tool_calls).map(|c| &c.name).collect();
    assert_eq!(tools, ["read", "open_file"]);
    let step = &messages[3];
    assert_eq!((step.author.as_deref(), step.row), (Some("local/m"), 2));
    assert!(step.file.as_deref().unwrap().ends_with("s.trajectory.jsonl"));
    assert_eq!(messages[4].tool_call_id.as_ref(), Some(&step.tool_calls[0].id));
    assert_eq!(messages[4].signals, [Signal::UnknownTool]);
    assert_eq!(messages[5].signals, [Signal::TurnSucceeded]);
    assert_eq!(messages[7].signals, [], "it was another run that was interrupted");
}

#[test]
fn the_active_branch_is_read_in_full_and_nothing_else() {
    let root = files();
    let (second, _writer) = database(SECOND);
    for root in [root.path(), second.path()] {
        let loaded = load(root);
        let notes = by_session(&loaded)[NOTES];
        let said: Vec<_> = notes.messages.iter().map(|m| m.content.as_str()).collect();
        assert_eq!(
            said,
            [
                "Draft the release note for v0.4.",
                "v0.4: faster imports, fixed rounding.",
                "No. Keep it short and mention the negative-amount bug.",
                "v0.4: faster imports; negative amounts round correctly.",
                "Ran `git tag v0.4`\n(no output)",
            ]
        );
        assert_eq!(notes.messages[4].signals, [Signal::Shell]);
        assert_eq!(notes.messages[4].exit, Some(0));
        let left = &loaded.records.left;
        assert_eq!((left["other_branch"], left["delivery_mirror"], left["compaction"]), (3, 1, 1));
        assert_eq!((left["custom_message"], left["branch_summary"], left["leaf"]), (1, 1, 1));
    }
}

#[test]
fn envelopes_are_taken_off_whole() {
    let root = files();
    let loaded = load(root.path());
    let secrets = by_session(&loaded)[SECRETS];
    let question = of_role(secrets, Role::User)[0];
    assert!(question.content.starts_with("Deploy fails with 401."));
    assert!(!serde_json::to_string(secrets).unwrap().contains("+12025550143"));
}

#[test]
fn every_damaged_line_is_reported_with_its_place_and_costs_only_itself() {
    let root = files();
    let loaded = load(root.path());
    let place = |bad: &proto::trace::BadLine| {
        let name = bad.file.rsplit('/').next().unwrap().split('.').next().unwrap();
        (name.to_string(), bad.line)
    };
    let places: Vec<_> = loaded.bad.iter().map(place).collect();
    assert_eq!(places, [(ABORTED.to_string(), 8), (WRONG.to_string(), 2), (WRONG.to_string(), 29)]);
    assert!(loaded.bad.iter().all(|bad| !bad.problem.contains("garbage")));
    assert_eq!(loaded.records.left["not_json"], 3);
    let aborted = by_session(&loaded)[ABORTED];
    assert_eq!(count(aborted, Role::Assistant), 1);
    assert_eq!(aborted.messages[1].signals, [Signal::TurnInterrupted]);
}

#[test]
fn a_cut_event_is_reported_with_its_row() {
    let (root, writer) = database(SECOND);
    let row: i64 = writer
        .query_row("SELECT rowid FROM transcript_events WHERE seq = 900", [], |row| row.get(0))
        .unwrap();
    let loaded = load(root.path());
    let [bad] = &loaded.bad[..] else { panic!("{:?}", loaded.bad) };
    assert_eq!(bad.line, row as u64);
    assert!(bad.file.ends_with("agents/main/agent/openclaw-agent.sqlite"));
    assert!(bad.problem.contains("event 900"), "{}", bad.problem);
}

#[test]
fn rows_of_a_database_stand_in_the_order_of_their_numbers() {
    let (root, _writer) = database(SECOND);
    let loaded = load(root.path());
    let fix = by_session(&loaded)[FIX];
    let times: Vec<_> = fix.messages.iter().map(|m| m.time_ms.unwrap()).collect();
    assert!(times.is_sorted(), "{times:?}");
}

#[test]
fn packed_events_are_unpacked() {
    let (root, writer) = database(SECOND);
    writer
        .execute_batch(
            "ALTER TABLE transcript_events RENAME TO old;
             CREATE TABLE transcript_events (session_id TEXT, seq INTEGER, event_json TEXT,
                 created_at INTEGER, event_zstd BLOB, event_utf8_bytes INTEGER,
                 PRIMARY KEY (session_id, seq));
             INSERT INTO transcript_events (session_id, seq, event_json, created_at)
                 SELECT session_id, seq, event_json, created_at FROM old ORDER BY rowid;",
        )
        .unwrap();
    let sql = "SELECT rowid, event_json FROM transcript_events WHERE seq > 0";
    let rows: Vec<(i64, String)> = {
        let mut rows = writer.prepare(sql).unwrap();
        let rows = rows.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
        rows.collect::<Result<_, _>>().unwrap()
    };
    for (row, json) in rows {
        let zstd = zstd::encode_all(json.as_bytes(), 1).unwrap();
        let sql = "UPDATE transcript_events SET event_json = NULL, event_zstd = ?2, \
                   event_utf8_bytes = ?3 WHERE rowid = ?1";
        writer.execute(sql, (row, zstd, json.len() as i64)).unwrap();
    }
    let loaded = load(root.path());
    assert_facts(&loaded, "");
    let sql = "UPDATE transcript_events SET event_zstd = x'00' WHERE session_id = ?1 AND seq = 13";
    assert_eq!(writer.execute(sql, [FIX]).unwrap(), 1);
    let loaded = load(root.path());
    assert!(loaded.bad.iter().any(|bad| bad.problem.contains("event 13: cannot be unpacked")));
    assert_eq!(count(by_session(&loaded)[FIX], Role::Assistant), 4);
}

#[test]
fn a_reset_row_begins_another_session() {
    let (root, writer) = database(SECOND);
    let row = json!({"type": "message", "id": "b0000011", "parentId": "b0000010",
        "timestamp": "2026-09-06T08:42:00.000Z", "message": {"role": "user", "content": "anew"}});
    let sql = "INSERT INTO transcript_events VALUES (?1, 902, ?2, 0)";
    writer.execute(sql, (NOTES, row.to_string())).unwrap();
    let loaded = load(root.path());
    let traces = by_session(&loaded);
    assert_eq!(traces[NOTES].messages.len(), 5);
    let anew = traces[format!("{NOTES}#2").as_str()];
    assert_eq!(anew.messages.len(), 1);
    assert_eq!(anew.messages[0].content, "anew");
    assert_eq!(anew.repository.as_deref(), Some("workspace"));
}

#[test]
fn a_reset_line_in_a_file_does_as_well() {
    let root = files();
    let path = sessions(root.path()).join(format!("{FIX}.jsonl"));
    let mut text = fs::read_to_string(&path).unwrap();
    text += "{\"type\":\"reset\",\"id\":\"r\",\"parentId\":\"af677bd5\"}\n";
    fs::write(&path, &text).unwrap();
    assert_eq!(load(root.path()).traces.len(), 6, "nothing follows the reset");
    text += "{\"type\":\"message\",\"id\":\"m\",\"parentId\":\"r\",\"message\":{\"role\":\"user\",\
             \"content\":\"anew\"}}\n";
    fs::write(&path, &text).unwrap();
    let loaded = load(root.path());
    let traces = by_session(&loaded);
    assert_eq!(traces[FIX].messages.last().unwrap().content, "Glad it helped.");
    let anew = traces[format!("{FIX}#2").as_str()];
    assert_eq!((anew.messages[1].content.as_str(), anew.messages[1].row), ("anew", 16));
}

#[test]
fn files_and_databases_give_each_session_once_and_the_fuller_copy() {
    let root = files();
    let writer = add_database(root.path(), SECOND);
    writer
        .execute("DELETE FROM transcript_events WHERE session_id = ?1 AND seq > 8", [FIX])
        .unwrap();
    let loaded = load(root.path());
    assert_eq!(loaded.traces.len(), 7);
    let traces = by_session(&loaded);
    assert_eq!(count(traces[FIX], Role::Assistant), 5, "the file is fuller");
    assert!(traces[FIX].origin.file.ends_with(".jsonl"));
    assert_eq!(count(traces[ABORTED], Role::Assistant), 2, "the database is fuller");
    assert!(traces[ABORTED].origin.file.ends_with(".sqlite"));
    assert_eq!(traces[CHILD].messages.len(), 4, "an old deleted copy hides no live one");
}

#[test]
fn sessions_without_a_person_are_left_out() {
    let root = files();
    let index = sessions(root.path()).join("sessions.json");
    let mut entries: Value = serde_json::from_slice(&fs::read(&index).unwrap()).unwrap();
    let keys = [
        ("agent:main:main", "agent:main:cron:daily:run:1", FIX),
        ("agent:main:telegram:direct:8841", "agent:main:main:heartbeat", WRONG),
        ("agent:main:discord:channel:42", "hook:5", ABORTED),
        ("agent:main:notes", "agent:main:explicit:model-run-5", NOTES),
    ];
    for (old, new, session) in keys {
        entries.as_object_mut().unwrap().remove(old);
        entries[new] = json!({"sessionId": session});
    }
    fs::write(&index, entries.to_string()).unwrap();
    let reasons = load(root.path()).reasons;
    let words: Vec<_> = reasons.iter().map(|(word, n)| (word.as_str(), *n)).collect();
    assert_eq!(words, [("cron", 1), ("deleted", 1), ("heartbeat", 1), ("hook", 1), ("probe", 1)]);
}

#[test]
fn what_a_schedule_created_is_left_out() {
    let (root, writer) = database(SECOND);
    let sql = "UPDATE session_nodes SET created_via = 'cron' WHERE current_session_id = ?1";
    writer.execute(sql, [FIX]).unwrap();
    assert_eq!(load(root.path()).reasons, BTreeMap::from([("cron".to_string(), 1)]));
}

#[test]
fn archives_in_a_database_are_read_unless_deleted() {
    let (root, writer) = database(SECOND);
    writer
        .execute_batch(
            "CREATE TABLE session_transcript_archives (session_id TEXT, generation TEXT,
                 session_key TEXT, reason TEXT, encoding TEXT, archive_blob BLOB,
                 archive_name TEXT, created_at INTEGER)",
        )
        .unwrap();
    let lines =
        fs::read(Path::new(SAMPLES).join(format!("agents/main/sessions/{FIX}.jsonl"))).unwrap();
    let rows = [("a", "reset", "zstd"), ("b", "reset", "identity"), ("c", "deleted", "zstd")];
    for (session, reason, encoding) in rows {
        let text = String::from_utf8(lines.clone()).unwrap().replace(FIX, session);
        let blob = match encoding {
            "zstd" => zstd::encode_all(text.as_bytes(), 1).unwrap(),
            _ => text.into_bytes(),
        };
        let sql =
            "INSERT INTO session_transcript_archives VALUES (?1, '1', 'k', ?2, ?3, ?4, ?5, 0)";
        writer
            .execute(sql, (session, reason, encoding, &blob, format!("{session}.jsonl.{reason}.1")))
            .unwrap();
    }
    let loaded = load(root.path());
    let traces = by_session(&loaded);
    assert_eq!((traces["a"].messages.len(), traces["b"].messages.len()), (10, 10));
    assert_eq!(traces["a"].origin.file.rsplit('/').next(), Some("a.jsonl.reset.1"));
    assert_eq!(loaded.reasons, BTreeMap::from([("deleted".to_string(), 1)]));
}

#[test]
fn a_packed_archive_file_is_read() {
    let root = files();
    let folder = sessions(root.path());
    let path = folder.join(format!("{PARENT}.jsonl.reset.2026-09-05T04-00-00.000Z"));
    let zstd = zstd::encode_all(&fs::read(&path).unwrap()[..], 1).unwrap();
    fs::write(path.with_extension("000Z.zst"), zstd).unwrap();
    fs::remove_file(path).unwrap();
    assert_eq!(by_session(&load(root.path()))[PARENT].messages.len(), 4);
}

#[test]
fn any_part_of_a_store_is_recognised() {
    let root = files();
    let sessions = sessions(root.path());
    for place in [root.path(), &root.path().join("agents/main"), &sessions] {
        assert_eq!(load(place).traces.len(), 6, "{}", place.display());
    }
    assert_eq!(load(&sessions.join(format!("{FIX}.jsonl"))).traces[0].tools.len(), 4);
    fs::remove_file(sessions.join("sessions.json")).unwrap();
    assert_eq!(load(&sessions).traces.len(), 6);
    let (root, _writer) = database(SECOND);
    let folder = root.path().join("agents/main/agent");
    for place in [&folder, &folder.join("openclaw-agent.sqlite")] {
        assert_eq!(load(place).traces.len(), 7, "{}", place.display());
    }
}

#[test]
fn a_database_with_credentials_alone_is_no_store() {
    let root = files();
    let folder = root.path().join("agents/main/agent");
    let writer = Connection::open(folder.join("openclaw-agent.sqlite")).unwrap();
    writer.execute_batch("CREATE TABLE auth_profiles (id TEXT, secret TEXT)").unwrap();
    let loaded = load(root.path());
    assert_eq!((loaded.traces.len(), loaded.unread.len()), (6, 0));
    assert!(loaded.traces.iter().all(|t| t.origin.file.contains(".jsonl")));
}

#[test]
fn a_live_writer_is_not_disturbed_and_its_log_is_read() {
    let (root, writer) = database(SECOND);
    let mode: String = writer.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0)).unwrap();
    assert_eq!(mode, "wal");
    writer
        .execute("UPDATE session_windows SET status = 'failed' WHERE session_id = ?1", [FIX])
        .unwrap();
    writer.execute_batch("BEGIN IMMEDIATE; DELETE FROM transcript_events").unwrap();
    let loaded = load(root.path());
    writer.execute_batch("ROLLBACK").unwrap();
    let fix = by_session(&loaded)[FIX];
    assert!(fix.messages.last().unwrap().signals.contains(&Signal::TurnFailed));
}

#[test]
fn a_locked_database_is_refused_without_waiting_long() {
    let (root, writer) = database(SECOND);
    writer.execute_batch("PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE").unwrap();
    let path = root.path().join("agents/main/agent/openclaw-agent.sqlite");
    let error = format!("{:#}", try_load(&path).unwrap_err());
    assert!(error.contains("locked"), "{error}");
    copy(&Path::new(SAMPLES).join("agents/main/sessions"), &sessions(root.path()));
    let loaded = load(root.path());
    assert_eq!(loaded.traces.len(), 6, "the files beside it are read");
    assert!(loaded.bad.iter().any(|bad| bad.problem.contains("locked")));
}

#[test]
fn a_truncated_database_costs_what_is_gone() {
    let (root, writer) = database(SECOND);
    drop(writer);
    let path = root.path().join("agents/main/agent/openclaw-agent.sqlite");
    let bytes = fs::read(&path).unwrap();
    for length in (0..bytes.len()).step_by(4096) {
        fs::write(&path, &bytes[..length]).unwrap();
        // Refused or read in part; no more is wanted than that it ends.
        if let Ok(loaded) = try_load(root.path()) {
            assert!(loaded.traces.len() <= 7);
        }
    }
}

/// A state folder with one session of these lines.
fn lines(lines: &[u8]) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir_all(sessions(root.path())).unwrap();
    fs::write(sessions(root.path()).join("sessions.json"), "{}").unwrap();
    let header = br#"{"type":"session","version":3,"id":"s","timestamp":"2026-09-01T08:40:00.000Z","cwd":"C:\\src\\ledger"}"#;
    let text = [&header[..], b"\n", lines].concat();
    fs::write(sessions(root.path()).join("s.jsonl"), text).unwrap();
    root
}

fn user(id: &str, parent: &str, text: &str) -> String {
    let line = json!({"type": "message", "id": id, "parentId": parent,
        "message": {"role": "user", "content": text}});
    format!("{line}\n")
}

fn contents(loaded: &Loaded) -> Vec<&str> {
    loaded.traces[0].messages.iter().map(|m| m.content.as_str()).collect()
}

#[test]
fn parents_in_a_circle_end() {
    let text = user("a", "c", "one") + &*user("b", "a", "two") + &*user("c", "b", "three");
    let text = text + &*user("d", "d", "four");
    let loaded = load(lines(text.as_bytes()).path());
    assert_eq!(contents(&loaded), ["four"]);
    assert_eq!(loaded.records.left["other_branch"], 3);
    let text = user("a", "c", "one") + &*user("b", "a", "two") + &*user("c", "b", "three");
    assert_eq!(contents(&load(lines(text.as_bytes()).path())), ["one", "two", "three"]);
}

#[test]
fn a_damaged_parent_costs_only_itself() {
    let text =
        user("a", "x", "one") + "{\"type\":\"message\",\"id\":\"b\"\n" + &*user("c", "b", "three");
    assert_eq!(contents(&load(lines(text.as_bytes()).path())), ["one", "three"]);
}

#[test]
fn hostile_lines_are_reported_and_cost_only_themselves() {
    let deep = format!(
        "{{\"type\":\"message\",\"message\":{}1{}}}",
        "[".repeat(200_000),
        "]".repeat(200_000)
    );
    let long = format!("{{\"type\":\"message\",\"x\":\"{}\"}}", "a".repeat(40 << 20));
    let mut text = user("a", "x", "one").into_bytes();
    for hostile in
        [deep.as_bytes(), long.as_bytes(), b"\0\0", b"{\"type\":\"\xff\"}", b"[]", b"{\"type\":7}"]
    {
        text.extend_from_slice(hostile);
        text.push(b'\n');
    }
    text.extend_from_slice(user("b", "a", "two").as_bytes());
    text.extend_from_slice(br#"{"type":"message","id":"c","par"#);
    let loaded = load(lines(&text).path());
    assert_eq!(contents(&loaded), ["one", "two"]);
    let rows: Vec<_> = loaded.bad.iter().map(|bad| bad.line).collect();
    assert_eq!(rows, [3, 4, 5, 6, 7, 10]);
    let left = &loaded.records.left;
    assert_eq!((left["too_long"], left["not_utf8"], left["not_json"]), (1, 1, 2));
    assert_eq!((left["unexpected_shape"], left["unknown_type"]), (2, 1));
}

#[test]
fn what_is_wrong_is_told_without_quoting() {
    let text = "{\"type\":\"message\",\"id\":\"a\",\"message\":\"hunter2\"}\n";
    let loaded = load(lines(text.as_bytes()).path());
    assert_eq!(loaded.bad.len(), 1);
    assert!(!loaded.bad[0].problem.contains("hunter2"), "{}", loaded.bad[0]);
    assert_eq!(loaded.reasons, BTreeMap::from([("no_message".to_string(), 1)]));
}

#[test]
fn both_kinds_of_path_give_the_repository() {
    let loaded = load(lines(user("a", "x", "one").as_bytes()).path());
    assert_eq!(loaded.traces[0].repository.as_deref(), Some("ledger"));
}

#[test]
fn repeated_call_ids_are_told_apart() {
    let step = |id: &str, parent: &str| {
        let call =
            json!({"type": "toolCall", "id": "call", "name": "read", "arguments": {"path": id}});
        let line = json!({"type": "message", "id": id, "parentId": parent,
            "message": {"role": "assistant", "content": [call]}});
        let result = json!({"type": "message", "id": format!("{id}r"), "parentId": id,
            "message": {"role": "toolResult", "toolCallId": "call", "content": "text"}});
        format!("{line}\n{result}\n")
    };
    let text = user("u", "x", "go") + &*step("a", "u") + &*step("b", "ar");
    let loaded = load(lines(text.as_bytes()).path());
    let messages = &loaded.traces[0].messages;
    let ids: Vec<_> = messages.iter().flat_map(|m| &m.tool_calls).map(|c| c.id.as_str()).collect();
    assert_ne!(ids[0], ids[1]);
    let answered: Vec<_> = messages.iter().filter_map(|m| m.tool_call_id.as_deref()).collect();
    assert_eq!(ids, answered);
    assert_eq!(messages[2].name.as_deref(), Some("read"));
}

#[test]
fn what_the_gateway_made_up_is_marked() {
    let result = json!({"type": "message", "id": "r", "parentId": "u", "message": {
        "role": "toolResult", "toolCallId": "c", "toolName": "exec", "isError": true, "content":
        [{"type": "text", "text": "[openclaw] missing tool result in session history; inserted \
        synthetic error result for transcript repair."}]}});
    let text = user("u", "x", "go") + &*format!("{result}\n");
    let loaded = load(lines(text.as_bytes()).path());
    assert_eq!(loaded.traces[0].messages[1].signals, [Signal::MissingResult]);
}

#[test]
fn entries_beside_the_branch_are_not_on_it() {
    let side = json!({"type": "message", "id": "s", "parentId": "a", "appendMode": "side",
        "message": {"role": "user", "content": "aside"}});
    let text = user("a", "x", "one") + &*format!("{side}\n") + &*user("b", "s", "two");
    assert_eq!(contents(&load(lines(text.as_bytes()).path())), ["one", "two"]);
}

#[test]
fn a_leaf_that_points_nowhere_is_ignored() {
    let leaf =
        |target: Value| json!({"type": "leaf", "id": "l", "parentId": "b", "targetId": target});
    for target in [json!("gone"), json!(null)] {
        let text =
            user("a", "x", "one") + &*user("b", "a", "two") + &*format!("{}\n", leaf(target));
        assert_eq!(contents(&load(lines(text.as_bytes()).path())), ["one", "two"]);
    }
}

#[cfg(unix)]
#[test]
fn pipes_and_links_in_circles_are_not_waited_for() {
    let root = files();
    let folder = sessions(root.path());
    let pipe =
        |path: PathBuf| assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
    pipe(folder.join("pipe.jsonl"));
    pipe(folder.join(format!("{SECRETS}.trajectory.jsonl")));
    fs::remove_file(root.path().join("agents/main/agent/auth-profiles.json")).unwrap();
    pipe(root.path().join("agents/main/agent/auth-profiles.json"));
    pipe(root.path().join("openclaw.json"));
    std::os::unix::fs::symlink("loop.jsonl", folder.join("loop.jsonl")).unwrap();
    std::os::unix::fs::symlink(root.path(), root.path().join("agents/again")).unwrap();
    let loaded = load(root.path());
    assert_eq!(loaded.traces.len(), 6);
    let bad = |name: &str| loaded.bad.iter().any(|bad| bad.file.ends_with(name));
    assert!(bad("pipe.jsonl") && bad("loop.jsonl"));
}

#[test]
fn ids_with_path_separators_open_nothing() {
    let root = lines(user("a", "x", "one").as_bytes());
    let secret = json!({"type": "context.compiled", "data": {"systemPrompt": "secret"}});
    fs::write(root.path().join("agents/x.trajectory.jsonl"), secret.to_string()).unwrap();
    let path = sessions(root.path()).join("s.jsonl");
    let text = fs::read_to_string(&path).unwrap().replace("\"id\":\"s\"", "\"id\":\"../../x\"");
    fs::write(&path, text).unwrap();
    let loaded = load(root.path());
    assert_eq!(loaded.traces[0].session, "../../x");
    assert_eq!(contents(&loaded), ["one"]);
}

#[test]
fn threads_change_nothing() {
    let root = files();
    let _writer = add_database(root.path(), SECOND);
    let read = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let loaded = pool.install(|| load(root.path()));
        (loaded.traces, loaded.bad, loaded.records)
    };
    assert_eq!(read(1), read(7));
}
