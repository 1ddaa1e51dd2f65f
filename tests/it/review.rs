//! What a person says of answers: the file, how it joins sessions, and the loop over keys.

use std::collections::VecDeque;
use std::fs;
use std::path::PathBuf;

use anyhow::{Result, bail};
use proto::label::{Review, Reviews, Verdict, label};
use proto::progress::Silent;
use proto::redact::{Policy, Redactor};
use proto::review::{Desk, Key, Turn, ask, page, turns};
use proto::trace::{Message, Outcome, Role, Signal, ToolCall, Trace, load};
use rusqlite::Connection;
use serde_json::{Map, Value, json};

const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/agents");

/// The sessions of a database of OpenCode, as they were read.
fn sessions() -> Vec<Trace> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("opencode.db");
    let script = fs::read_to_string(format!("{FIXTURES}/opencode/opencode-1.17.sql")).unwrap();
    Connection::open(&path).unwrap().execute_batch(&script).unwrap();
    load(&[path], folder.path(), &Silent).unwrap().traces
}

fn session(name: &str, turns: &[(&str, &str)]) -> Trace {
    let turn = |(asked, said): &(&str, &str)| {
        [Message::text(Role::User, *asked), Message::text(Role::Assistant, *said)]
    };
    let mut messages: Vec<Message> = turns.iter().flat_map(turn).collect();
    messages.iter_mut().zip(1..).for_each(|(message, row)| message.row = row);
    Trace { source: "raw".into(), session: name.into(), messages, ..Trace::default() }
}

fn labelled(mut trace: Trace) -> Trace {
    label(&mut trace);
    trace
}

fn file() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("data/reviews.jsonl");
    (folder, path)
}

#[test]
fn what_is_saved_joins_the_same_sessions_read_again() {
    let (_folder, path) = file();
    let mut sessions = sessions();
    let mut saved = 0;
    for trace in &sessions {
        for (at, _) in trace.messages.iter().enumerate().filter(|(_, m)| m.role == Role::Assistant)
        {
            let review = Review::of(trace, at, Verdict::Good, 1).unwrap();
            Reviews::append(&path, &review).unwrap();
            saved += 1;
        }
    }
    let reviews = Reviews::read(&path).unwrap();
    let found: usize = sessions.iter_mut().map(|trace| reviews.apply(trace).found.len()).sum();
    assert!(saved > 20);
    assert_eq!(found, saved);
    for trace in sessions.into_iter().map(labelled) {
        for message in trace.messages.iter().filter(|m| m.role == Role::Assistant) {
            let label = message.label.as_ref().unwrap();
            assert_eq!(label.outcome, Outcome::Good);
            assert_eq!(label.evidence[0].fact, "reviewed");
            assert_eq!(label.evidence[0].row, message.row);
        }
    }
}

#[test]
fn a_line_that_was_not_finished_costs_only_itself() {
    let (_folder, path) = file();
    let trace = session("s", &[("a", "b"), ("c", "d"), ("e", "f")]);
    let good = |at| Review::of(&trace, at, Verdict::Good, 1).unwrap();
    Reviews::append(&path, &good(1)).unwrap();
    Reviews::append(&path, &good(3)).unwrap();
    let both = fs::read(&path).unwrap();
    let first = both.iter().position(|b| *b == b'\n').unwrap() + 1;
    for end in first..both.len() {
        fs::write(&path, &both[..end]).unwrap();
        // All of it but the line break is all of it.
        let whole = if end == both.len() - 1 { 2 } else { 1 };
        assert_eq!(Reviews::read(&path).unwrap().iter().count(), whole, "{end}");
        Reviews::append(&path, &good(5)).unwrap();
        assert_eq!(Reviews::read(&path).unwrap().iter().count(), whole + 1, "{end}");
    }
    assert_eq!(Reviews::read(&path.with_extension("none")).unwrap(), Reviews::default());
}

#[cfg(unix)]
#[test]
fn only_the_person_may_read_the_file() {
    use std::os::unix::fs::PermissionsExt;
    let (_folder, path) = file();
    let review = Review::of(&session("s", &[("a", "b")]), 1, Verdict::Bad, 1).unwrap();
    Reviews::append(&path, &review).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn a_bad_line_is_named_and_not_quoted() {
    let (_folder, path) = file();
    let review = Review::of(&session("s", &[("a", "b")]), 1, Verdict::Bad, 1).unwrap();
    Reviews::append(&path, &review).unwrap();
    let line = fs::read_to_string(&path).unwrap();
    let with = |key: &str, value: Value| {
        let mut object: Map<String, Value> = serde_json::from_str(&line).unwrap();
        object.insert(key.into(), value);
        Value::Object(object).to_string()
    };
    for (bad, wanted) in [
        ("{\"hunter2\"".to_string(), "not JSON"),
        (with("verdict", "hunter2".into()), "not a verdict"),
        (with("hunter2", 1.into()), "not a verdict"),
        (with("answer", 0.into()), "numbered from 1"),
        (with("verdict", "fix".into()), "without its message"),
        (with("message", json!({"role": "assistant", "content": "hunter2"})), "only a fix"),
        (with("message", json!({"role": "user", "content": "hunter2"})), "assistant's"),
    ] {
        fs::write(&path, format!("{line}\n{bad}\n{line}")).unwrap();
        let error = format!("{:#}", Reviews::read(&path).unwrap_err());
        assert!(error.contains("reviews.jsonl:3: ") && error.contains(wanted), "{error}");
        assert!(!error.contains("hunter2"), "{error}");
    }
}

/// A person who presses these keys and writes these texts.
#[derive(Default)]
struct Scripted {
    keys: VecDeque<char>,
    texts: VecDeque<&'static str>,
    pages: Vec<String>,
    edited: Vec<String>,
    saved: Vec<Review>,
}

impl Desk for Scripted {
    fn redacted(&mut self, trace: &Trace) -> Result<Trace> {
        let redactor = Redactor::new(Policy::default())?;
        Ok(redactor.session(&[trace])?.remove(0).trace)
    }

    fn show(&mut self, page: &str) -> Result<()> {
        self.pages.push(page.to_string());
        Ok(())
    }

    fn key(&mut self) -> Result<Option<Key>> {
        match self.keys.pop_front() {
            Some(letter) => Ok(Key::of(letter)),
            None => bail!("the loop asks for more keys"),
        }
    }

    fn edit(&mut self, text: &str) -> Result<String> {
        self.edited.push(text.to_string());
        match self.texts.pop_front() {
            Some(text) => Ok(text.to_string()),
            None => bail!("there is no editor"),
        }
    }

    fn save(&mut self, review: &Review) -> Result<()> {
        self.saved.push(review.clone());
        Ok(())
    }

    fn now_ms(&self) -> i64 {
        self.saved.len() as i64
    }
}

fn pressed(turns: &[Turn], keys: &str, texts: &[&'static str]) -> Scripted {
    let mut desk = Scripted {
        keys: keys.chars().collect(),
        texts: texts.iter().copied().collect(),
        ..Scripted::default()
    };
    ask(turns, &mut desk).unwrap();
    assert!(desk.keys.is_empty(), "keys are left: {:?}", desk.keys);
    desk
}

/// Verdicts with the answer they are about.
fn verdicts(desk: &Scripted) -> Vec<(u64, Verdict)> {
    desk.saved.iter().map(|review| (review.answer, review.verdict)).collect()
}

fn three() -> [Trace; 1] {
    let turns = [("what is a", "One."), ("what is b", "Two."), ("what is c", "Three.")];
    [labelled(session("s", &turns))]
}

#[test]
fn keys_give_verdicts_on_one_answer_after_another() {
    use Verdict::{Bad, Good, Undone};
    let three = three();
    let turns = turns(&three);
    let run = |keys: &str| verdicts(&pressed(&turns, keys, &[]));
    // The latest first.
    assert_eq!(run("gBsq"), [(3, Good), (2, Bad)]);
    assert_eq!(run("xyzq"), []);
    assert_eq!(run("guubq"), [(3, Good), (3, Undone), (3, Bad)]);
    assert_eq!(run("gsuq"), [(3, Good), (3, Undone)], "back over what was skipped");
    assert_eq!(run("gggugq"), [(3, Good), (2, Good), (1, Good), (1, Undone), (1, Good)]);
    let mut desk = Scripted { keys: "gbuq".chars().collect(), ..Scripted::default() };
    assert_eq!(ask(&turns, &mut desk).unwrap(), [(Good, 1)].into(), "what stands");
}

#[test]
fn a_correction_is_what_the_editor_gives_back() {
    let three = three();
    let turns = turns(&three);
    let desk = pressed(&turns, "fq", &["Three, and that is all.\n"]);
    assert_eq!(desk.edited, ["Three.\n"]);
    let [review] = &desk.saved[..] else { panic!("{:?}", desk.saved) };
    assert_eq!((review.answer, review.verdict), (3, Verdict::Fix));
    assert_eq!(review.message.as_ref().unwrap().content, "Three, and that is all.");
}

#[test]
fn nothing_unredacted_is_shown_edited_or_kept() {
    let secret = "Xk92ksd8Qm1";
    let traces = [labelled(session(
        "s",
        &[("export DB_PASSWORD=Xk92ksd8Qm1", "the password is Xk92ksd8Qm1, and that is fine")],
    ))];
    let turns = turns(&traces);
    let typed = ["no: write to jane.roe@acme.com, not Xk92ksd8Qm1"];
    let desk = pressed(&turns, "fq", &typed);
    for text in desk.pages.iter().chain(&desk.edited) {
        assert!(text.contains("<SECRET_PASSWORD_1>") || text.contains("last one"), "{text}");
        assert!(!text.contains(secret), "{text}");
    }
    let message = desk.saved[0].message.as_ref().unwrap();
    assert_eq!(message.content, "no: write to <EMAIL_1>, not <SECRET_PASSWORD_1>");
    // The verdict is still about the answer as the agent keeps it.
    assert_eq!(desk.saved[0].digest, Review::of(&traces[0], 1, Verdict::Fix, 0).unwrap().digest);
}

#[test]
fn a_correction_that_is_none_is_refused_and_not_lost() {
    let three = three();
    let turns = turns(&three);
    let broken = "Better.\n```json tool_calls\n[{]\n```\n";
    let desk = pressed(&turns, "fffq", &["Three.\n", broken, "Better.\n"]);
    assert!(desk.pages[1].contains("Not saved: nothing was changed"), "{}", desk.pages[1]);
    assert!(desk.pages[2].contains("block of calls that begins on line 2"), "{}", desk.pages[2]);
    assert_eq!(desk.edited, ["Three.\n", "Three.\n", broken]);
    assert_eq!(verdicts(&desk), [(3, Verdict::Fix)]);
    let desk = pressed(&turns, "fq", &[]);
    assert!(desk.pages[1].contains("there is no editor") && desk.saved.is_empty());
}

#[test]
fn a_page_shows_the_turn_as_a_person_reads_it() {
    let call = |id: &str, name: &str, arguments: Value| Message {
        tool_calls: vec![ToolCall {
            id: id.into(),
            name: name.into(),
            arguments: arguments.as_object().cloned().unwrap(),
        }],
        author: Some("openai/gpt-9".into()),
        ..Message::text(Role::Assistant, "")
    };
    let result = |id: &str, text: String| Message {
        tool_call_id: Some(id.into()),
        ..Message::text(Role::Tool, text)
    };
    let output: String = (1..=50).map(|n| format!("line {n}\n")).collect();
    let mut denied = result("b", output);
    denied.note(Signal::Denied);
    let mut trace = session("s1", &[]);
    trace.messages = vec![
        Message::text(Role::User, "clean up\x1b[2J"),
        call("a", "read", json!({"path": "src/a.rs"})),
        result("a", "text".into()),
        call("b", "bash", json!({"command": "rm -r build", "why": "x".repeat(500)})),
        denied,
        Message::text(Role::User, "No, only the cache"),
    ];
    trace.messages.iter_mut().zip(1..).for_each(|(message, row)| message.row = row);
    trace.repository = Some("shop".into());
    trace.agent_version = Some("1.2.3".into());
    trace.started_ms = Some(1_790_000_000_000);
    let trace = [labelled(trace)];
    let desk = pressed(&turns(&trace), "aq", &[]);
    for wanted in [
        "── 1 of 1\nraw 1.2.3 · openai/gpt-9 · repository shop · 2026-09-21 ",
        "Asked:\n  clean up␛[2J\n",
        "Steps before:\n  → read(src/a.rs)\n",
        "→ bash\n    command: rm -r build\n    why: xxx",
        "xxx… (500 characters)\n  ← the call was not allowed\n    line 1\n",
        "    … 42 lines …\n    line 47\n",
        "Said next:\n  No, only the cache\n",
        "Label bad: the call was not allowed (row 5); the next message corrects it (row 6)\n",
    ] {
        assert!(desk.pages[0].contains(wanted), "{wanted:?} is missing:\n{}", desk.pages[0]);
    }
    assert!(desk.pages[1].contains("line 25") && desk.pages[1].contains(&"x".repeat(500)));
}

#[test]
fn every_turn_of_every_kind_has_a_page_without_control_characters() {
    for script in ["opencode-1.2.sql", "opencode-1.17.sql", "opencode-2.0.sql"] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("opencode.db");
        let text = fs::read_to_string(format!("{FIXTURES}/opencode/{script}")).unwrap();
        Connection::open(&path).unwrap().execute_batch(&text).unwrap();
        let read = load(&[path], folder.path(), &Silent).unwrap().traces;
        let traces: Vec<Trace> = read.into_iter().map(labelled).collect();
        let turns = turns(&traces);
        assert!(turns.len() > 3, "{script}");
        assert!(turns.windows(2).all(|pair| pair[0].question.score >= pair[1].question.score));
        for turn in &turns {
            for all in [false, true] {
                let page = page::turn("1", turn, all);
                assert!(page.chars().all(|c| c == '\n' || !c.is_control()), "{page}");
            }
        }
    }
}
