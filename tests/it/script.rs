//! The script host through its public door: texts in, errors and said lines out.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use proto::config::Layers;
use proto::progress::{Cancelled, Observer};
use proto::script::{Host, Script, ScriptFailure};

use crate::checks::problems;

/// Remembers what was said, and can be told to stop.
#[derive(Default)]
pub struct Ear {
    lines: Mutex<Vec<String>>,
    stop: AtomicBool,
}

impl Ear {
    fn heard(&self) -> Vec<String> {
        self.lines.lock().unwrap().clone()
    }
}

impl Observer for Ear {
    fn say(&self, line: &str) {
        self.lines.lock().unwrap().push(line.into());
    }

    fn cancelled(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

fn run_with(text: &str, settings: &[&str], ear: &Arc<Ear>) -> anyhow::Result<Arc<Host>> {
    let script = Script::from_text("s.rhai", text)?;
    let mut layers = Layers::new();
    for setting in settings {
        layers.command_line(setting)?;
    }
    let config = layers.resolve(&script.params()?)?;
    let host = Arc::new(Host::new(config, ".", ear.clone()));
    script.run(&host)?;
    Ok(host)
}

/// Runs a script and returns what it said.
fn said(text: &str) -> Vec<String> {
    let ear = Arc::new(Ear::default());
    if let Err(error) = run_with(text, &[], &ear) {
        panic!("{error:#}");
    }
    ear.heard()
}

/// Runs a script that must fail.
fn failure(text: &str) -> ScriptFailure {
    let ear = Arc::new(Ear::default());
    let error = match run_with(text, &["SCRIPT_MAX_OPERATIONS=2000000"], &ear) {
        Ok(_) => panic!("nothing failed in {text}"),
        Err(error) => error,
    };
    error.downcast::<ScriptFailure>().unwrap()
}

/// Rows s0, s1, … whose answers grow by a character each.
const ROWS: &str = r#"
fn some(n) {
    rows_from(n, |i| {
        let answer = "";
        answer.pad(i, 'a');
        #{session: `s${i}`, messages: [
            #{role: "user", content: `question ${i}`},
            #{role: "assistant", content: answer},
        ]}
    })
}
"#;

fn with_rows(text: &str) -> String {
    format!("{ROWS}{text}")
}

#[test]
fn a_filter_drops_under_its_own_name() {
    let lines = said(&with_rows(
        r#"
        let least = 3;
        let all = some(10);
        let rows = all.filter("too_short", |row| row.answers.len() >= least);
        print(rows);
        print(all);
        print(rows.count("synthetic"));
        print((rows + all.take(2)).len());
        for row in rows.take(1) { print(row); print(row.messages[-1]); print(row.messages); }
        "#,
    ));
    assert_eq!(
        lines,
        [
            "too_short: 10 in, 7 out; dropped: too_short 3",
            "Rows(7: 0 real, 7 synthetic)",
            "Rows(10: 0 real, 10 synthetic)",
            "7",
            "take: 10 in, 2 out; dropped: take 8",
            "9",
            "take: 7 in, 1 out; dropped: take 6",
            "Row(synthetic s3, rows_from:4, 2 messages)",
            "Message(assistant, 3 characters)",
            "Messages(2)",
        ]
    );
}

#[test]
fn map_changes_copies() {
    let lines = said(&with_rows(
        r#"
        let before = some(3);
        let after = before.map("mark", |row| {
            if row.session == "s1" { row } else { row.with_outcome("good").with_train(1, false) }
        });
        for row in after { print(`${row.outcome == ()} ${row.messages[1].train}`); }
        print(before[0].outcome == ());
        "#,
    ));
    assert_eq!(lines, ["mark: 3 in, 3 out", "false false", "true true", "false false", "true"]);
}

#[test]
fn rows_and_messages_and_calls_are_read_by_property() {
    let lines = said(
        r#"
        let rows = rows_from([#{
            session: "s", source: "raw", task_category: "find", repository: "repo",
            messages: [
                #{role: "user", content: "list it", row: 7},
                #{role: "assistant", reasoning_content: "think", author: "m", tool_calls: [
                    #{id: "c1", type: "function", "function": #{
                        name: "list", arguments: #{path: "/tmp", depth: 2}
                    }}
                ]},
                #{role: "tool", content: "a b", name: "list", tool_call_id: "c1"},
            ],
        }]);
        let row = rows[0];
        print(`${row.id} ${row.session} ${row.source} ${row.kind} ${row.task_category} ${row.repository}`);
        print(`${row.file}:${row.line} ${row.turns} ${row.outcome == ()}`);
        print(row.text.split("\n"));
        print(row.answers);
        for message in row.messages {
            print(`${message.index} ${message.role} ${message.train} ${message.row} ${message.content}`);
        }
        let message = row.messages[1];
        print(`${message.reasoning} ${message.author} ${message.name == ()}`);
        let made = message.tool_calls[0];
        print(`${made.id} ${made.name} ${made.arguments.path} ${made.argument("depth")} ${made.argument("x") == ()}`);
        print(row.messages[2].name + row.messages[2].tool_call_id);
        "#,
    );
    assert_eq!(
        lines,
        [
            "s s raw synthetic find repo",
            "rows_from:1 1 true",
            "[\"list it\", \"think\", \"a b\"]",
            "think",
            "0 user false 7 list it",
            "1 assistant true 0 ",
            "2 tool false 0 a b",
            "think m true",
            "c1 list /tmp 2 true",
            "listc1",
        ]
    );
}

#[test]
fn a_closure_reads_outer_variables_but_never_writes_them() {
    let shown =
        failure(&with_rows("let count = 0;\nsome(50).filter(\"x\", |row| { count += 1; true });"));
    let first = ROWS.lines().count();
    assert_eq!((shown.line, shown.column), (first + 2, 30), "{shown}");
    assert!(shown.message.contains("count"), "{shown}");
    assert!(shown.trail.iter().any(|t| t == "in row rows_from:1 (session s0)"), "{shown}");
    let shown =
        failure(&with_rows("let seen = []; some(50).map(|row| { seen.push(row.id); row });"));
    assert!(shown.message.contains("push"), "{shown}");
}

#[test]
fn a_closure_that_uses_what_it_is_called_on_is_told_where() {
    let text = with_rows("let all = some(3);\nall.filter(\"x\", |row| all.len() > 2);");
    let shown = failure(&text);
    let line = ROWS.lines().count() + 2;
    assert_eq!(shown.message, "a closure uses `all`, which it is called on");
    assert_eq!((shown.line, shown.column), (line, 5), "{shown}");
    assert!(shown.hint.as_deref().unwrap().contains("let copy = all;"), "{shown}");
    assert_eq!(problems(&text), [format!("{line}:5 {}", shown.message)]);
    let indirect =
        with_rows("let all = some(3);\nlet f = |row| all.len() > 2;\nall.filter(\"x\", f);");
    assert_eq!(failure(&indirect).line, line + 1);
    let right = with_rows("let all = some(3); let n = all; all.filter(\"x\", |row| n.len() > 2);");
    assert_eq!(said(&right), ["x: 3 in, 3 out"]);
    assert!(problems(&right).is_empty());
}

#[test]
fn the_lowest_failing_row_is_reported_every_time() {
    let text = with_rows(
        "let r = some(400);\nr.filter(\"odd\", |row| { if row.answers.len() % 100 >= 57 { throw \"bad row\" } true });",
    );
    let expected = failure(&text);
    assert_eq!(expected.message, "bad row");
    assert_eq!(expected.trail[0], "in row rows_from:58 (session s57)", "{expected}");
    for _ in 0..10 {
        assert_eq!(failure(&text), expected);
    }
}

#[test]
fn closures_must_answer_in_kind() {
    let shown = failure(&with_rows("some(2).filter(\"x\", |row| 1);"));
    assert!(shown.message.contains("true (keep) or false (drop), not the number 1"), "{shown}");
    let shown = failure(&with_rows("some(2).map(|row| row.id);"));
    assert!(shown.message.contains("must return a row, not the string"), "{shown}");
    let shown = failure(&with_rows("some(2).map(|row| row.with_train(0, true));"));
    assert!(shown.message.contains("message 0 is not the model's"), "{shown}");
    let shown = failure(&with_rows("some(2).map(|row| row.with_train(2, true));"));
    assert!(shown.message.contains("there is no message 2"), "{shown}");
    let shown = failure(&with_rows("some(2)[2];"));
    assert!(shown.message.contains("there is no row 2"), "{shown}");
}

#[test]
fn comparing_what_is_not_there_is_an_error_in_a_filter() {
    let shown = failure(&with_rows("some(2).filter(\"x\", |row| row.outcome > \"a\");"));
    assert!(shown.message.contains("cannot compare () (nothing)"), "{shown}");
}

#[test]
fn errors_show_the_line_a_caret_and_a_hint() {
    let shown = failure(&with_rows("\nlet x = some(3);\nlet y = x.filtr(\"a\", |row| true);"));
    let line = ROWS.lines().count() + 3;
    assert_eq!(
        shown.to_string(),
        format!(
            "s.rhai:{line}:11: unknown function `filtr(Rows, string, Fn)`\n \
             {line} | let y = x.filtr(\"a\", |row| true);\n    |           ^\n  \
             hint: did you mean `filter`?"
        )
    );
    let shown = failure(&with_rows("some(3)[0].sesion;"));
    assert_eq!(shown.message, "Row has no property `sesion`");
    assert_eq!(shown.hint.as_deref(), Some("did you mean `session`?"));
    let shown = failure(&with_rows("some(3).filter(|row| true);"));
    assert!(shown.message.starts_with("`filter` cannot be called as"), "{shown}");
    let form = "rows.filter(reason: string, keep: closure) -> Rows";
    assert!(shown.hint.as_deref().unwrap().contains(form), "{shown}");
    let shown = failure("let rows = 1;\nprint(rowz);");
    assert_eq!((shown.line, shown.column), (2, 7));
    assert_eq!(shown.hint.as_deref(), Some("did you mean `rows`?"));
    let shown = failure("let limit = 1;\nfn f() { limit }\nf();");
    assert_eq!(shown.message, "unknown variable `limit`");
    let shown = failure("let m = #{a: 1};\nm.b");
    assert_eq!(shown.message, "the map has no `b`");
    assert_eq!(shown.line, 2);
}

#[test]
fn an_error_deep_down_tells_how_it_got_there() {
    let shown = failure("fn inner() { throw \"deep\" }\nfn outer() {\n  inner()\n}\n\nouter();");
    assert_eq!(shown.message, "deep");
    assert_eq!(shown.line, 1);
    assert_eq!(shown.trail, ["in `inner` called at s.rhai:3:3", "in `outer` called at s.rhai:6:1"]);
}

#[test]
fn what_never_ends_is_stopped() {
    for text in [
        "loop {}".to_string(),
        "let x = 0; while true { x += 1; }".to_string(),
        "fn f() { loop { } }\nf();".to_string(),
        with_rows("some(3).filter(\"x\", |row| { loop {} true });"),
    ] {
        let shown = failure(&text);
        assert!(shown.message.contains("limit of operations"), "{shown}");
        assert!(shown.hint.as_deref().unwrap().contains("SCRIPT_MAX_OPERATIONS"));
    }
    for text in ["fn f(n) { f(n + 1) }\nf(0);", "fn f() { [1].map(|x| f()) }\nf();"] {
        let shown = failure(text);
        assert!(shown.message.contains("too deeply"), "{shown}");
    }
    let shown = failure(&with_rows("fn f(n) { f(n + 1) }\nsome(300).filter(\"x\", |row| f(0));"));
    assert!(shown.message.contains("too deeply"), "{shown}");
}

#[test]
fn what_grows_without_end_is_stopped() {
    for text in [
        "let s = \"x\"; loop { s += s; }",
        "let a = [1]; loop { a += a; }",
        "let a = []; a.pad(1000000000, 0);",
    ] {
        let shown = failure(text);
        assert!(shown.message.contains("too large") || shown.message.contains("exceed"), "{shown}");
    }
}

#[test]
fn a_wish_to_stop_ends_a_script_and_cannot_be_caught() {
    for text in [
        "loop {}".to_string(),
        "try { loop {} } catch { print(\"caught\"); }".to_string(),
        with_rows(
            "let r = some(5); try { r.filter(\"x\", |row| true); } catch { print(\"caught\"); }",
        ),
    ] {
        let ear = Arc::new(Ear::default());
        ear.stop.store(true, Ordering::Relaxed);
        let error = run_with(&text, &[], &ear).err().expect("it was stopped");
        assert!(error.is::<Cancelled>(), "{error:#}");
        assert!(ear.heard().is_empty());
    }
}

#[test]
fn nothing_reaches_outside() {
    for text in [
        "eval(\"1\")",
        "timestamp()",
        "sleep(1)",
        "open_file(\"x\")",
        "rand()",
        "let t = 1; t.tag",
        "exit()",
    ] {
        let ear = Arc::new(Ear::default());
        let error = run_with(text, &[], &ear).err().expect(text);
        assert!(error.is::<ScriptFailure>(), "{text}: {error:#}");
    }
}

#[test]
fn embedded_modules_work_and_their_errors_name_them() {
    let lines = said(&with_rows(
        r#"
        import "proto/quality" as quality;
        let rows = quality::answered(some(10), 4);
        rows = quality::not_longer_than(rows, 17);
        rows = quality::without_words(rows, ["question 5", "nothing"]);
        rows = quality::with_outcomes(rows, ["unknown"]);
        rows = quality::from_sources(rows, ["script"]);
        print(rows);
        "#,
    ));
    assert_eq!(
        lines,
        [
            "answer_too_short: 10 in, 6 out; dropped: answer_too_short 4",
            "too_long: 6 in, 3 out; dropped: too_long 3",
            "unwanted_word: 3 in, 2 out; dropped: unwanted_word 1",
            "outcome: 2 in, 2 out",
            "other_source: 2 in, 2 out",
            "Rows(2: 0 real, 2 synthetic)",
        ]
    );
    let shown = failure(&with_rows(
        "import \"proto/quality\" as quality;\nquality::answered(some(2), \"4\");",
    ));
    assert_eq!(shown.file, "proto/quality", "{shown}");
    assert!(shown.text.as_deref().unwrap().contains("row.answers.len() >= characters"));
    assert!(shown.trail.last().unwrap().contains("called at s.rhai:"), "{shown}");
    let shown = failure("import \"proto/qualty\" as q;");
    assert!(shown.message.contains("did you mean `proto/quality`?"), "{shown}");
    let shown = failure("import \"other\" as q;");
    assert_eq!((shown.line, shown.column), (1, 8), "{shown}");
}

pub fn write(folder: &Path, name: &str, text: &str) -> std::path::PathBuf {
    let path = folder.join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, text).unwrap();
    path
}

fn run_file(path: &Path) -> (anyhow::Result<()>, Vec<String>) {
    let ear = Arc::new(Ear::default());
    let run = || {
        let script = Script::read(path)?;
        let config = Layers::new().resolve(&script.params()?)?;
        script.run(&Arc::new(Host::new(config, ".", ear.clone())))
    };
    (run(), ear.heard())
}

#[test]
fn files_are_imported_relative_to_the_script() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "lib/words.rhai", "import \"more\" as more;\nfn say() { more::word() }");
    write(folder.path(), "lib/more.rhai", "const W = \"hello\";\nfn word() { global::W }");
    let main = write(
        folder.path(),
        "main.rhai",
        "import \"lib/words\" as words;\nfn f() { words::say() }\nprint(f());",
    );
    let (ended, lines) = run_file(&main);
    ended.unwrap();
    assert_eq!(lines, ["hello"]);

    write(folder.path(), "lib/more.rhai", "fn word() {\n  1 < \"a\"\n}");
    let error = run_file(&main).0.unwrap_err().downcast::<ScriptFailure>().unwrap();
    assert!(error.file.ends_with("lib/more.rhai"), "{error}");
    assert_eq!((error.line, error.text.as_deref()), (2, Some("  1 < \"a\"")));

    write(folder.path(), "lib/more.rhai", "fn word( {\n}");
    let error = run_file(&main).0.unwrap_err().downcast::<ScriptFailure>().unwrap();
    assert!(error.file.ends_with("lib/more.rhai"), "{error}");
    assert_eq!(error.line, 1);

    write(folder.path(), "lib/more.rhai", "import \"words\" as words;");
    let error = run_file(&main).0.unwrap_err();
    assert!(error.to_string().contains("in a ring"), "{error:#}");
}

#[test]
fn parameters_and_settings_reach_the_script() {
    let text = r#"
        let limit = param("limit", 512, "longest example");
        let name = param("name", "x", "a name");
        print(`${limit + 1} ${name} ${param("limit")}`);
        print(setting("MIN_TRAIN_EXAMPLES") + setting("VAL_FRACTION"));
        fn deep() { param("limit") * 2 }
        print(deep());
    "#;
    assert_eq!(said(text), ["513 x 512", "50.15", "1024"]);
    let ear = Arc::new(Ear::default());
    run_with(text, &["limit=7", "name=y", "MIN_TRAIN_EXAMPLES=3"], &ear).unwrap();
    assert_eq!(ear.heard(), ["8 y 7", "3.15", "14"]);
    let error = run_with(text, &["limt=7"], &ear).err().unwrap().to_string();
    assert!(error.contains("did you mean `limit`"), "{error}");
    let error = run_with(text, &["limit=many"], &ear).err().unwrap().to_string();
    assert!(error.contains("expected a whole number"), "{error}");
    let shown = failure("setting(\"MIN_TRAIN_EXAMPLE\")");
    assert!(shown.message.contains("did you mean `MIN_TRAIN_EXAMPLES`?"), "{shown}");
    let shown = failure("param(\"other\")");
    assert!(shown.message.contains("declares no parameter `other`"), "{shown}");
}

#[test]
fn rows_written_in_a_script_are_strict_and_never_real() {
    for (text, wanted) in [
        ("rows_from([#{message: []}])", "unknown field `message`"),
        ("rows_from([#{}])", "`messages` must be an array"),
        ("rows_from([1])", "expected a map"),
        ("rows_from(2, |i| i)", "expected a map"),
        ("rows_from(-1, |i| #{})", "rows_from makes 0 to"),
        ("rows_from([#{kind: \"real\", messages: []}])", "not real sessions"),
        ("rows_from([#{messages: [#{role: \"robot\"}]}])", "row 0"),
    ] {
        let shown = failure(text);
        assert!(shown.message.contains(wanted), "{text}: {shown}");
    }
}

#[test]
fn gates_passed_only_when_all_did() {
    let config = Layers::new().resolve(&[]).unwrap();
    let host = Host::new(config, ".", Arc::new(Ear::default()));
    assert_eq!(host.passed(), None);
    host.set_passed(true);
    assert_eq!(host.passed(), Some(true));
    host.set_passed(false);
    host.set_passed(true);
    assert_eq!(host.passed(), Some(false));
    assert!(host.run_folder().is_err());
}

#[test]
fn a_script_brings_redaction_rules_of_its_own() {
    let rows = |rules: &str| {
        format!(
            r#"
            let all = rows_from([
                #{{session: "a", messages: [
                    #{{role: "user", content: "ring Corvane about ACME-1234, not ACME-99"}},
                    #{{role: "assistant", content: "Q29ydmFuZSBhbnN3ZXJlZA"}},
                ]}},
                #{{session: "b", messages: [
                    #{{role: "user", content: "Corvane is a village"}},
                    #{{role: "assistant", content: "I see"}},
                ]}},
            ]);
            let out = all.redact({rules});
            for row in out {{ print(row.text) }}
            "#
        )
    };
    let rules = r#"#{
        ticket: "(?<=about )(ACME-[0-9]+)(?=,)",
        customer: |row| if row.session == "a" { ["Corvane"] } else { [] },
    }"#;
    let said = said(&rows(rules)).join("\n");
    assert!(
        said.contains("ring <SECRET_TEAM_CUSTOMER_1> about <SECRET_TEAM_TICKET_1>, not ACME-99")
    );
    assert!(said.contains("Corvane is a village") && !said.contains("Q29ydmFuZSB"), "{said}");
    for (rules, wanted) in [
        ("#{ticket: \"(\"}", "redaction rule `ticket`"),
        ("#{ticket: 3}", "a pattern or a closure is expected, not"),
        ("#{ticket: |row| row.text}", "must return an array of the values that have to go"),
        ("#{ticket: |row| [3]}", "must return an array of the values that have to go"),
        ("#{ticket: |row| [\" \"]}", "redaction rule `ticket`: it gave an empty value"),
    ] {
        let error = failure(&rows(rules)).to_string();
        assert!(error.contains(wanted), "{rules}: {error}");
    }
}

#[test]
fn a_pattern_that_backtracks_too_long_is_named() {
    let text = format!(
        r#"rows_from([#{{messages: [
            #{{role: "user", content: "{}!"}}, #{{role: "assistant", content: "ok"}},
        ]}}]).redact(#{{slow: `(a+)+\1$`}});"#,
        "a".repeat(60)
    );
    let error = failure(&text).to_string();
    assert!(
        error.contains("redaction rule `slow`") && error.contains("less repetition"),
        "{error}"
    );
    assert!(!error.contains("aaaaaaaa"), "{error}");
}
