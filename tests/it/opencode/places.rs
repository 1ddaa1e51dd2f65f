//! Places that are written to, incomplete or hostile.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use proto::progress::{Observer, Silent};
use proto::trace::{Loaded, each, load};
use rusqlite::Connection;
use serde_json::json;

use super::{Hand, assert_adds_up, assistant, call, database, read, text, tree, user};

fn contents(loaded: &Loaded) -> Vec<&str> {
    loaded.traces.iter().flat_map(|trace| &trace.messages).map(|m| &*m.content).collect()
}

/// What of a folder could not be read.
fn unread(folder: &Path) -> String {
    let loaded = load(&[folder.to_path_buf()], folder, &Silent).unwrap();
    assert_eq!(loaded.traces.len(), 0);
    let [unread] = &loaded.unread[..] else { panic!("{:?}", loaded.unread) };
    format!("{}: {}", unread.file, unread.problem)
}

#[test]
fn a_writer_in_the_middle_of_its_work_is_read_beside() {
    let hand = Hand::v1();
    hand.connection.pragma_update(None, "journal_mode", "WAL").unwrap();
    hand.message(1, user(), &[text("Committed.")]);
    hand.connection.execute_batch("BEGIN IMMEDIATE").unwrap();
    hand.message(2, user(), &[text("Not yet.")]);
    assert_eq!(contents(&hand.read()), ["Committed."]);
    hand.connection.execute_batch("COMMIT").unwrap();
    assert_eq!(contents(&hand.read()), ["Committed.", "Not yet."]);
}

/// Writes when the sessions have been listed and are about to be read.
struct Writer(PathBuf);

impl Observer for Writer {
    fn begin(&self, stage: &str, _: Option<u64>, _: &str) {
        if stage == "sessions" {
            let connection = Connection::open(&self.0).unwrap();
            let gone = "DELETE FROM part; DELETE FROM message; DELETE FROM session";
            connection.execute_batch(gone).unwrap();
        }
    }
}

#[test]
fn what_is_read_is_the_state_at_one_moment() {
    let hand = Hand::v1();
    hand.connection.pragma_update(None, "journal_mode", "WAL").unwrap();
    hand.message(1, user(), &[text("Still here.")]);
    let path = hand.folder.path().join("opencode.db");
    let loaded =
        load(std::slice::from_ref(&path), hand.folder.path(), &Writer(path.clone())).unwrap();
    assert_eq!(contents(&loaded), ["Still here."]);
    assert_eq!(read(&path).lines, 0);
}

#[test]
fn reading_changes_nothing() {
    let (folder, path) = database("opencode-2.0.sql");
    let before = fs::read(&path).unwrap();
    read(&path);
    assert_eq!(fs::read(&path).unwrap(), before);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn a_locked_database_is_reported() {
    let (folder, path) = database("opencode-1.17.sql");
    let writer = Connection::open(&path).unwrap();
    writer.execute_batch("BEGIN EXCLUSIVE").unwrap();
    let unread = unread(folder.path());
    assert!(unread.ends_with("database is locked"), "{unread}");
    let named = load(&[path], folder.path(), &Silent).unwrap_err();
    assert!(format!("{named:#}").contains("database is locked"), "{named:#}");
}

#[test]
fn a_truncated_database_gives_what_is_left() {
    let (folder, path) = database("opencode-1.17.sql");
    let whole = fs::read(&path).unwrap();
    for pages in [1, 2, whole.len() / 4096 / 2, whole.len() / 4096 - 1] {
        fs::write(&path, &whole[..pages * 4096]).unwrap();
        let loaded = load(&[folder.path().to_path_buf()], folder.path(), &Silent).unwrap();
        assert!(loaded.bad.len() + loaded.unread.len() > 0, "{pages} pages");
        assert_adds_up(&loaded);
    }
    fs::write(&path, &whole[..100]).unwrap();
    load(&[folder.path().to_path_buf()], folder.path(), &Silent).unwrap();
}

#[test]
fn columns_of_other_types_cost_only_themselves() {
    let hand = Hand::v1();
    hand.message(1, user(), &[text("Hello.")]);
    let insert = "INSERT INTO session VALUES (7, 8, 9, 10), (NULL, 'x', x'00', 'y');
        INSERT INTO message VALUES ('a', 'ses_1', 'late', 5), ('b', 'ses_1', 2, NULL),
            ('c', 12, x'00', 'd'), ('d', 'ses_1', 3, CAST('{\"role\":\"user\"}' AS BLOB));
        INSERT INTO part VALUES ('e', 'd', 'ses_1', x'ff'), (NULL, NULL, NULL, NULL),
            ('f', 'd', 'ses_1', '{\"type\":\"text\",\"text\":\"Bytes.\"}');";
    hand.connection.execute_batch(insert).unwrap();
    let loaded = hand.read();
    assert_eq!(contents(&loaded), ["Hello.", "Bytes."]);
    assert_eq!(loaded.records.left["damaged"], 1 + 2 + 1);
    assert_eq!(loaded.records.left["orphan"], 2);
    assert_adds_up(&loaded);
}

#[test]
fn the_last_possible_row_id_is_survived() {
    let hand = Hand::v1();
    hand.message(1, user(), &[text("Hello.")]);
    let insert =
        "INSERT INTO part(rowid, id, session_id) VALUES (9223372036854775807, 'z', 'ses_1')";
    hand.connection.execute(insert, []).unwrap();
    let loaded = hand.read();
    assert_eq!(contents(&loaded), ["Hello."]);
    assert_eq!(loaded.bad[0].problem, "part: the last possible row");
}

#[test]
fn columns_that_are_absent_are_done_without() {
    let hand = Hand::new(
        "CREATE TABLE session(id TEXT);
         CREATE TABLE message(id TEXT, session_id TEXT, data TEXT);
         CREATE TABLE part(id TEXT, message_id TEXT, session_id TEXT, data TEXT);
         INSERT INTO session VALUES ('ses_1');
         INSERT INTO message VALUES ('msg_2', 'ses_1', '{\"role\":\"user\"}'),
             ('msg_1', 'ses_1', '{\"role\":\"user\"}');
         INSERT INTO part VALUES ('prt_1', 'msg_2', 'ses_1', '{\"type\":\"text\",\"text\":\"B\"}'),
             ('prt_2', 'msg_1', 'ses_1', '{\"type\":\"text\",\"text\":\"A\"}');",
    );
    assert_eq!(contents(&hand.read()), ["A", "B"]);
}

#[test]
fn empty_tables_of_a_newer_version_confuse_nothing() {
    let hand = Hand::v1();
    let newer = "CREATE TABLE session_message(id, session_id, type, seq, data);
        CREATE TABLE session_input(id); CREATE TABLE credential(value)";
    hand.connection.execute_batch(newer).unwrap();
    hand.message(1, user(), &[text("Hello.")]);
    assert_eq!(contents(&hand.read()), ["Hello."]);
}

#[test]
fn rows_of_version_2_beside_their_originals_are_copies() {
    let hand = Hand::v1();
    hand.message(1, user(), &[text("Hello.")]);
    let newer = "CREATE TABLE session_message(id, session_id, type, seq, data);
        INSERT INTO session_message VALUES ('a', 'ses_1', 'user', 1, '{\"text\":\"Copy.\"}')";
    hand.connection.execute_batch(newer).unwrap();
    let loaded = hand.read();
    assert_eq!(contents(&loaded), ["Hello."]);
    assert_eq!(loaded.records.left["copy"], 1);
}

#[test]
fn an_empty_copy_of_version_2_does_not_win() {
    let hand = Hand::v1();
    hand.message(1, user(), &[text("Hello.")]);
    let newer = "CREATE TABLE session_v2(id); INSERT INTO session_v2 VALUES ('ses_1');
        CREATE TABLE session_message(id, session_id, type, seq, data)";
    hand.connection.execute_batch(newer).unwrap();
    assert_eq!(contents(&hand.read()), ["Hello."]);
}

#[test]
fn rows_that_are_too_deep_or_too_long_cost_only_themselves() {
    let hand = Hand::v1();
    let deep = "[".repeat(200_000);
    let done = json!({"status": "completed", "input": {}, "output": "fine"});
    hand.message(
        1,
        assistant(),
        &[call("a", done.clone()), call("b", done.clone()), text("Done.")],
    );
    let set = "UPDATE part SET data = ? WHERE id = 'prt_1_0'";
    let part = format!(r#"{{"type":"tool","tool":"x","state":{{"input":{deep}"#);
    hand.connection.execute(set, [part]).unwrap();
    hand.message(2, user(), &[text("")]);
    let set = "UPDATE part SET data = '{\"type\":\"text\",\"text\":\"' || hex(zeroblob(33000000)) \
               || '\"}' WHERE id = 'prt_2_0'";
    hand.connection.execute(set, []).unwrap();
    let loaded = hand.read();
    assert_eq!(contents(&loaded), ["Done.", "fine"]);
    let problems: Vec<_> = loaded.bad.iter().map(|bad| (bad.line, &*bad.problem)).collect();
    assert_eq!(problems[0].0, 1);
    assert!(problems[0].1.contains("recursion limit exceeded"), "{problems:?}");
    assert_eq!(problems[1].0, 4);
    assert!(problems[1].1.contains("too big"), "{problems:?}");
    assert_adds_up(&loaded);
}

#[test]
fn other_programs_databases_are_nobodys() {
    let hand = Hand::new(
        "CREATE TABLE message(id, session_id, data); CREATE VIEW session AS
         SELECT 1 AS id; CREATE TABLE part(id, message_id, session_id, data);",
    );
    let loaded = load(&[hand.folder.path().to_path_buf()], hand.folder.path(), &Silent).unwrap();
    assert_eq!((loaded.lines, loaded.unread.len()), (0, 0));
}

#[cfg(unix)]
#[test]
fn a_pipe_in_a_tree_is_not_opened() {
    let folder = tree(r#"{"type":"step-start"}"#);
    for pipe in ["storage/part/msg_1/prt_3.json", "storage/session/global/ses_2.json"] {
        let made = Command::new("mkfifo").arg(folder.path().join(pipe)).status().unwrap();
        assert!(made.success());
    }
    std::os::unix::fs::symlink("..", folder.path().join("storage/message/loop")).unwrap();
    let loaded = read(&folder.path().join("storage"));
    assert_eq!(contents(&loaded), ["Hello."]);
    let problems: Vec<_> = loaded.bad.iter().map(|bad| &*bad.problem).collect();
    assert_eq!(problems, ["part: not a regular file", "session: not a regular file"]);
}

#[cfg(unix)]
#[test]
fn keys_are_not_opened() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["auth.json", "mcp-auth.json"] {
        // Whoever opened a pipe would wait for ever, whoever looked at it would say so.
        let made = Command::new("mkfifo").arg(folder.path().join(name)).status().unwrap();
        assert!(made.success());
    }
    let loaded = load(&[folder.path().to_path_buf()], folder.path(), &Silent).unwrap();
    assert_eq!(loaded.unread, []);
}

/// OpenCode's data folder with a session in each form, and what else lies there.
fn data() -> tempfile::TempDir {
    let folder = tree(r#"{"type":"step-start"}"#);
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    write("project/shop/storage/session/info/ses_0.json", r#"{"id":"ses_0","version":"0.5.1"}"#);
    write(
        "project/shop/storage/session/message/ses_0/msg_0.json",
        r#"{"id":"msg_0","role":"user","time":{"created":1}}"#,
    );
    write(
        "project/shop/storage/session/part/ses_0/msg_0/prt_0.json",
        r#"{"type":"text","text":"Long ago."}"#,
    );
    write("auth.json", r#"{"messages":[{"role":"user","content":"key"}]}"#);
    write("repos/other/data.jsonl", r#"{"user":"not","assistant":"a session"}"#);
    write("log/today.log", "");
    let hand = Hand::v1();
    hand.message(1, user(), &[text("Newest.")]);
    hand.connection.execute("VACUUM INTO ?", [folder.path().join("opencode.db").to_str()]).unwrap();
    folder
}

#[test]
fn the_data_folder_gives_its_sessions_once_and_nothing_else() {
    let folder = data();
    let loaded = load(&[folder.path().to_path_buf()], folder.path(), &Silent).unwrap();
    assert_eq!(contents(&loaded), ["Long ago.", "Newest."]);
    // The tree's copy of what the database has.
    assert_eq!(
        loaded.reasons.iter().map(|(r, n)| (&**r, *n)).collect::<Vec<_>>(),
        [("found_again", 1)]
    );
    assert_eq!(loaded.lines, 3);
    assert_eq!(loaded.bad, []);
}

#[test]
fn one_after_another_they_are_the_same_traces() {
    let (folder, path) = database("opencode-mixed.sql");
    let whole = read(&path);
    let mut traces = Vec::new();
    let told = each(&[path], folder.path(), &Silent, &mut |trace| {
        traces.push(trace);
        Ok(())
    });
    let told = told.unwrap();
    traces.sort_by(|a, b| a.session.cmp(&b.session));
    assert_eq!(traces, whole.traces);
    assert_eq!((told.traces.len(), told.lines, told.files), (0, whole.lines, whole.files));
}

#[test]
fn a_damaged_database_in_the_data_folder_costs_only_itself() {
    let folder = data();
    let path = folder.path().join("opencode.db");
    let whole = fs::read(&path).unwrap();
    fs::write(&path, &whole[..4096]).unwrap();
    let loaded = load(&[folder.path().to_path_buf()], folder.path(), &Silent).unwrap();
    assert_eq!(contents(&loaded), ["Long ago.", "Hello."]);
    assert!(loaded.bad.iter().any(|bad| bad.file.ends_with("opencode.db")), "{:?}", loaded.bad);
}
