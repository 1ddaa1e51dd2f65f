//! `proto redact` as a person runs it.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};

fn proto(arguments: &[&str], input: &[u8]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_proto"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("PROTO_")) {
        command.env_remove(name);
    }
    command.arg("redact").args(arguments).current_dir(std::env::temp_dir());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // A program that refuses its input early closes it, and that is fine.
    let _ = child.stdin.take().unwrap().write_all(input);
    child.wait_with_output().unwrap()
}

fn out(output: &Output) -> String {
    assert!(output.status.success(), "{}", err(output));
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn err(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn rows(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn a_text_is_filtered_as_one() {
    let text =
        "export DB_PASSWORD=Xk92ksd8Qm\r\nmail jane.roe@acme.com\n\nit was Xk92ksd8Qm, no end";
    let output = proto(&[], text.as_bytes());
    assert_eq!(
        out(&output),
        "export DB_PASSWORD=<SECRET_PASSWORD_1>\r\nmail <EMAIL_1>\n\nit was <SECRET_PASSWORD_1>, no end"
    );
    assert_eq!(err(&output), "");
    assert_eq!(out(&proto(&["-"], b"")), "");
}

#[test]
fn rows_keep_their_ids_and_untouched_lines_their_bytes() {
    let plain = r#"{"id" : "jane.roe@acme.com",  "text":"1.50, 12345678901234567890123, \u00e9"}"#;
    let second = json!({"id": 7, "text": "ask jane.roe@acme.com"});
    let third = json!({"id": "c", "messages": [
        {"role": "user", "content": "jane.roe@acme.com and tom.berg@acme.com"},
        {"role": "assistant", "content": "", "tool_calls": [{
            "id": "call_jane.roe@acme.com", "type": "function",
            "function": {"name": "run", "arguments": "{\"to\":\"tom.berg@acme.com\",\"pin\":1}"},
        }]},
        {"role": "tool", "tool_call_id": "call_jane.roe@acme.com", "content": "sent"},
    ]});
    let input = format!("{plain}\r\n{second}\nno json, tom.berg@acme.com\n\n{third}");
    let text = out(&proto(&[], input.as_bytes()));
    let lines: Vec<&str> = text.split('\n').collect();
    assert_eq!(lines[0], format!("{plain}\r"));
    assert_eq!(lines[1], r#"{"id":7,"text":"ask <EMAIL_1>"}"#);
    assert_eq!((lines[2], lines[3], lines.len()), ("no json, <EMAIL_1>", "", 5));
    let row: Value = serde_json::from_str(lines[4]).unwrap();
    assert_eq!(row["messages"][0]["content"], "<EMAIL_1> and <EMAIL_2>");
    assert_eq!(row["messages"][1]["tool_calls"][0]["id"], "call_jane.roe@acme.com");
    assert_eq!(row["messages"][2]["tool_call_id"], "call_jane.roe@acme.com");
    let call = &row["messages"][1]["tool_calls"][0]["function"];
    assert_eq!(call["arguments"], r#"{"to":"<EMAIL_2>","pin":1}"#);
}

#[test]
fn rows_of_one_session_share_what_is_known() {
    let input = "{\"a\":\"DB_PASSWORD=Xk92ksd8Qm\"}\nit was Xk92ksd8Qm\n{\"b\":\"Xk92ksd8Qm\"}\n";
    let alone = rows(&out(&proto(&[], input.as_bytes())).replace("it was Xk92ksd8Qm\n", ""));
    assert_eq!(alone[1]["b"], "Xk92ksd8Qm");
    let together = out(&proto(&["--together"], input.as_bytes()));
    assert!(!together.contains("Xk92ksd8Qm"), "{together}");
    assert_eq!(together.matches("<SECRET_PASSWORD_1>").count(), 3);
    // As a text, the braces are nothing special.
    let text = out(&proto(&["--text"], input.as_bytes()));
    assert_eq!(text.matches("<SECRET_PASSWORD_1>").count(), 3);
}

#[test]
fn what_was_found_is_told_without_the_value() {
    let input = "{\"text\":\"see\\nDB_PASSWORD=Xk92ksd8Qm here\"}\n{\"text\":\"fine\"}\n";
    let output = proto(&["--report", "--explain"], input.as_bytes());
    let told = err(&output);
    assert!(told.contains("line 1, text: assignment.password (assignment): DB_PASSWORD=<SECRET_"));
    assert!(told.contains("1 places in 1 of 2 texts") && !told.contains("Xk92"), "{told}");
    let output = proto(&["--report", "--json"], input.as_bytes());
    let report: Value = serde_json::from_str(&err(&output)).unwrap();
    assert_eq!(report["rules"]["assignment.password"], 1);
    assert_eq!(report["places"]["assignment.password"], json!(["line 1, text"]));
    let told = err(&proto(&["--explain"], b"fine\n\nmail jane.roe@acme.com now\n"));
    assert_eq!(told, "line 3: email (email): mail <EMAIL_1> now\n");
}

#[test]
fn the_policy_is_the_runs_own() {
    let folder = tempfile::tempdir().unwrap();
    let rules = folder.path().join("rules.toml");
    std::fs::write(&rules, "[[rules]]\nid = \"badge\"\nregex = \"zulu-[0-9]+\"\n").unwrap();
    let setting = format!("REDACT_RULES={}", rules.display());
    let text = b"zulu-12 jane.roe@acme.com";
    let output = proto(&["--set", &setting, "--set", "REDACT_CLASSES=secrets"], text);
    assert_eq!(out(&output), "<SECRET_TEAM_BADGE_1> jane.roe@acme.com");
    std::fs::write(&rules, "[[rules]]\nid = \"badge\"\nregex = \"(\"\n").unwrap();
    let output = proto(&["--set", &setting], text);
    assert_eq!(output.status.code(), Some(2));
    assert!(output.stdout.is_empty());
    assert!(err(&output).contains("REDACT_RULES") && err(&output).contains("`badge`"));
}

#[test]
fn what_cannot_be_read_is_named() {
    let output = proto(&["no-such-file.jsonl"], b"");
    assert_eq!(output.status.code(), Some(2));
    assert!(err(&output).contains("no-such-file.jsonl"), "{}", err(&output));
    let output = proto(&[], b"{\"a\":1}\n{\"a\":\"\xff\"}\n");
    assert!(err(&output).contains("standard input: line 2, byte 7"), "{}", err(&output));
    assert!(!Path::new("no-such-file.jsonl").exists());
}
