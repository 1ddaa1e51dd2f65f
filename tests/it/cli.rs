//! The built program: arguments, layers, streams, exit status.

use std::path::Path;
use std::process::{Command, Output};

/// Runs the program in a folder, with no setting from outside.
fn proto(folder: &Path, arguments: &[&str]) -> Output {
    command(folder, arguments).output().unwrap()
}

fn command(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_proto"));
    command.current_dir(folder).args(arguments);
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("PROTO_")) {
        command.env_remove(name);
    }
    command
}

fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn err(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    folder
}

#[test]
fn run_takes_parameters_and_talks_on_stderr() {
    let text = "let n = param(\"limit\", 512, \"longest\");\nprint(`limit ${n} seed ${setting(\"SEED\")}`);";
    let here = folder(&[("a.rhai", text)]);
    let output = proto(here.path(), &["run", "a.rhai", "limit=3", "--set", "SEED=4"]);
    assert_eq!(output.status.code(), Some(0), "{}", err(&output));
    assert_eq!((out(&output).as_str(), err(&output).as_str()), ("", "limit 3 seed 4\n"));

    let output = proto(here.path(), &["run", "a.rhai", "limt=3"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(err(&output).contains("unknown key `limt`; did you mean `limit`?"), "{}", err(&output));
    let output = proto(here.path(), &["run", "a.rhai", "--set", "SEEED=3"]);
    assert!(err(&output).contains("did you mean `SEED`?"), "{}", err(&output));
    let output = proto(here.path(), &["run", "b.rhai"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(err(&output).contains("cannot read the script b.rhai"), "{}", err(&output));
}

#[test]
fn run_reports_what_a_script_did_wrong() {
    let here = folder(&[
        ("typo.rhai", "let rows = rows_from([]);\nrows.filtr(\"x\", |row| true);"),
        ("loop.rhai", "loop {}"),
        ("throw.rhai", "fn f() { throw \"no luck\"; }\nf();"),
        ("parse.rhai", "let x = ;"),
    ]);
    for (name, wanted) in [
        (
            "typo.rhai",
            "typo.rhai:2:6: unknown function `filtr(Rows, string, Fn)`\n 2 | rows.filtr(",
        ),
        ("loop.rhai", "loop.rhai:1:6: the script ran past its limit of operations"),
        ("throw.rhai", "throw.rhai:1:10: no luck"),
        ("parse.rhai", "parse.rhai:1:9: "),
    ] {
        let output = proto(here.path(), &["run", name, "--set", "SCRIPT_MAX_OPERATIONS=1000000"]);
        assert_eq!(output.status.code(), Some(2));
        assert!(err(&output).contains(wanted), "{}", err(&output));
        assert!(out(&output).is_empty());
    }
}

#[test]
fn settings_come_in_layers() {
    let here = folder(&[
        (
            "a.rhai",
            "print(`${setting(\"SEED\")} ${setting(\"LORA_R\")} ${setting(\"MAX_STEPS\")}`);",
        ),
        ("configs/protocol.env", "SEED=1\nLORA_R=1\nMAX_STEPS=1\nQLORA_ENV=configs/small.env\n"),
        ("configs/small.env", "LORA_R=2\n"),
        ("big.env", "LORA_R=3 # rank\n"),
        ("own.env", "SEED=7\nQLORA_ENV=\n"),
        ("bad.env", "SEED=1\nLORA_RANK=3\n"),
    ]);
    let run = |arguments: &[&str], environment: &[(&str, &str)]| {
        let mut command = command(here.path(), &["run", "a.rhai"]);
        let output = command.args(arguments).envs(environment.iter().copied()).output().unwrap();
        err(&output).trim().to_string()
    };
    // The profile lies above protocol.env, the environment above both, the command line on top.
    assert_eq!(run(&[], &[]), "1 2 1");
    assert_eq!(run(&["--qlora-env", "big.env"], &[]), "1 3 1");
    assert_eq!(run(&["--set", "QLORA_ENV=big.env"], &[]), "1 3 1");
    assert_eq!(run(&[], &[("PROTO_QLORA_ENV", "big.env"), ("PROTO_SEED", "5")]), "5 3 1");
    assert_eq!(run(&["--set", "SEED=6"], &[("PROTO_SEED", "5"), ("PROTO_LORA_R", "9")]), "6 9 1");
    assert_eq!(run(&["--protocol-env", "own.env"], &[]), "7 16 0");
    let shown = run(&["--qlora-env", "bad.env"], &[]);
    assert!(shown.contains("bad.env:2: unknown key `LORA_RANK`; did you mean `LORA_R"), "{shown}");
    assert!(run(&["--qlora-env", "none.env"], &[]).contains("none.env"));
    assert!(run(&[], &[("PROTO_SEEED", "5")]).contains("environment: unknown key `SEEED`"));
}

#[test]
fn config_prints_every_key_with_its_origin() {
    let here = folder(&[
        ("configs/protocol.env", "SEED=1\n"),
        ("a.rhai", "param(\"limit\", 512, \"longest example\");"),
    ]);
    let output = proto(here.path(), &["config", "--set", "LORA_R=4", "--script", "a.rhai"]);
    let table = out(&output);
    assert_eq!(output.status.code(), Some(0), "{}", err(&output));
    for key in proto::config::KEYS {
        let line = table.lines().find(|line| line.split(' ').next() == Some(key.name));
        assert!(line.is_some(), "{} is missing", key.name);
        assert!(table.contains(key.doc), "{} has no meaning", key.name);
    }
    let line = |key: &str| {
        let line = table.lines().find(|line| line.starts_with(key)).unwrap();
        line.split_whitespace().skip(1).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(line("SEED"), "1 configs/protocol.env:1");
    assert_eq!(line("LORA_R "), "4 command line");
    assert_eq!(line("DEVICE"), "auto default");
    assert_eq!(line("limit"), "512 default");

    let output = proto(here.path(), &["config", "--json"]);
    let all: serde_json::Value = serde_json::from_str(&out(&output)).unwrap();
    assert_eq!(all["SEED"]["value"], 1);
    assert_eq!(all["SEED"]["from"], "configs/protocol.env:1");
    assert_eq!(all.as_object().unwrap().len(), proto::config::KEYS.len());
}

#[test]
fn check_lists_problems_and_runs_nothing() {
    let here = folder(&[
        ("good.rhai", "let n = param(\"n\", 1, \"d\");\nprint(n);\nthrow \"never\";"),
        ("bad.rhai", "import \"lib\" as lib;\nlib::nothing();\nrows.x();"),
        ("bad2.rhai", "import \"lib\" as lib;\nlib::nothing();\nprint(param(\"m\"));"),
        ("lib.rhai", "fn some() { undefined_function() }"),
    ]);
    let output = proto(here.path(), &["check", "good.rhai"]);
    assert_eq!((output.status.code(), out(&output).as_str()), (Some(0), ""));
    let output = proto(here.path(), &["check", "bad.rhai"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(out(&output).starts_with("bad.rhai:3:1: unknown variable `rows`"), "{}", out(&output));
    let output = proto(here.path(), &["check", "good.rhai", "bad2.rhai"]);
    let shown = out(&output);
    assert!(shown.contains("bad2.rhai:2:6: `lib.rhai` has no function `nothing`"), "{shown}");
    assert!(shown.contains("bad2.rhai:3:7: the script declares no parameter `m`"), "{shown}");
    assert!(shown.contains("lib.rhai:1:13: unknown function `undefined_function`"), "{shown}");
    assert!(err(&output).contains("3 problems found"));
}

#[test]
fn test_prints_a_line_for_each_function() {
    let here = folder(&[
        ("t/a.rhai", "fn test_one() { assert(true); }\nfn test_two() { assert_eq(1, 2); }"),
        ("t/deep/b.rhai", "fn test_three() { assert_throws(|| 1 < \"a\"); }"),
        ("none.rhai", "fn other() {}"),
    ]);
    let output = proto(here.path(), &["test", "t"]);
    assert_eq!(output.status.code(), Some(1));
    let lines: Vec<_> = out(&output).lines().map(String::from).collect();
    assert_eq!(lines[0], "pass t/a.rhai::test_one");
    assert_eq!(lines[1], "FAIL t/a.rhai::test_two");
    assert!(lines[2].starts_with("t/a.rhai:2:17: not equal"), "{lines:?}");
    assert_eq!(lines.last().unwrap(), "pass t/deep/b.rhai::test_three");
    assert_eq!(err(&output), "2 passed, 1 failed\n");
    assert_eq!(proto(here.path(), &["test", "t/deep"]).status.code(), Some(0));
    assert_eq!(proto(here.path(), &["test", "none.rhai"]).status.code(), Some(2));
    assert_eq!(proto(here.path(), &["test", "nowhere"]).status.code(), Some(2));
}

#[test]
fn doc_describes_verbs_modules_and_scripts() {
    let here = folder(&[(
        "a.rhai",
        "//! What it is for.\n\n/// Doubles.\nfn twice(x) { x * 2 }\nparam(\"limit\", 512, \"longest\");",
    )]);
    let shown = out(&proto(here.path(), &["doc"]));
    for wanted in [
        "rows.filter(reason: string, keep: closure) -> Rows\n      Keeps the rows",
        "row.session: string",
        "setting(key: string) -> any",
        "better(evidence: Evidence, metric: string) -> Check",
        "proto/gates\n      The shipped gate policy",
    ] {
        assert!(shown.contains(wanted), "{wanted}\n{shown}");
    }
    for unwanted in ["&mut", "RhaiResultOf", "ImmutableString", "get$", "i64"] {
        assert!(!shown.contains(unwanted), "{unwanted}");
    }
    let shown = out(&proto(here.path(), &["doc", "proto/quality"]));
    assert!(shown.contains("answered(rows, characters)\n      Keeps rows"), "{shown}");
    assert!(!shown.contains("contains_any"), "private functions stay private");
    let shown = out(&proto(here.path(), &["doc", "a.rhai"]));
    assert!(shown.contains("What it is for."), "{shown}");
    assert!(shown.contains("twice(x)\n      Doubles."), "{shown}");
    assert!(shown.contains("limit = 512\n      longest"), "{shown}");
    assert_eq!(proto(here.path(), &["doc", "proto/none"]).status.code(), Some(2));

    let output = proto(here.path(), &["doc", "--definitions", "defs"]);
    assert_eq!(output.status.code(), Some(0), "{}", err(&output));
    let verbs = std::fs::read_to_string(here.path().join("defs/__static__.d.rhai")).unwrap();
    assert!(verbs.contains("fn filter(rows: Rows, reason: string, keep: Fn) -> Rows;"));
    let gates = std::fs::read_to_string(here.path().join("defs/gates.d.rhai")).unwrap();
    assert!(gates.contains("fn policy(evidence: ?) -> ?;"), "{gates}");
}

#[test]
fn wrong_arguments_are_an_error() {
    let here = folder(&[]);
    assert_eq!(proto(here.path(), &["walk"]).status.code(), Some(2));
    assert_eq!(proto(here.path(), &["run"]).status.code(), Some(2));
    assert_eq!(proto(here.path(), &["--help"]).status.code(), Some(0));
}

#[cfg(unix)]
#[test]
fn ctrl_c_ends_a_script_cleanly() {
    use std::io::{BufRead, BufReader};
    let here = folder(&[("a.rhai", "print(\"started\");\ntry { loop {} } catch {}\nloop {}")]);
    let mut child = command(here.path(), &["run", "a.rhai"])
        .args(["--set", "SCRIPT_MAX_OPERATIONS=1000000000000"])
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "started");
    let status = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(status.success());
    assert_eq!(child.wait().unwrap().code(), Some(2));
    assert!(lines.next().unwrap().unwrap().contains("interrupted"));
}

#[test]
fn show_prints_what_the_trainer_sees_and_no_secret() {
    let row = r#"{"id":"s1","messages":[{"role":"user","content":"mail maria.holm@fjordlager.no über 🦀"},{"role":"assistant","content":"Done: 🦀 told."}]}"#;
    let here = folder(&[("a.jsonl", row)]);
    let base = concat!("BASE_MODEL=", env!("CARGO_MANIFEST_DIR"), "/models/embedded");
    let show = |more: &[&str]| {
        let output = proto(here.path(), &[&["show", "a.jsonl", "--set", base], more].concat());
        assert_eq!(output.status.code(), Some(0), "{}", err(&output));
        out(&output)
    };
    let plain = show(&[]);
    assert!(plain.contains("── user\nmail <EMAIL_1> über 🦀\n── assistant, trained\n"), "{plain}");
    let masked = show(&["--mask"]);
    let trained = masked.split('⟦').nth(1).and_then(|rest| rest.split('⟧').next()).unwrap();
    assert_eq!(trained.replace('│', ""), "Done: 🦀 told.<|im_end|>", "{masked}");
    assert_eq!(masked.matches('⟦').count(), 1);
    assert!(!masked.contains("maria") && masked.contains(" trained\n"), "{masked}");
    let tokens: serde_json::Value = serde_json::from_str(&show(&["--mask", "--json"])).unwrap();
    let tokens = tokens["tokens"].as_array().unwrap();
    let count = tokens.iter().filter(|t| t["trained"] == true).count();
    assert!(count > 3 && count < tokens.len());
    let output = proto(here.path(), &["show", "a.jsonl", "--id", "nothing", "--set", base]);
    assert_eq!(output.status.code(), Some(2));
    assert!(err(&output).contains("ids begin as"), "{}", err(&output));
}

#[test]
fn show_says_of_every_answer_what_it_is_worth_and_why() {
    let here = folder(&[]);
    let fixtures = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/agents/opencode");
    let script = std::fs::read_to_string(format!("{fixtures}/opencode-1.17.sql")).unwrap();
    let database = rusqlite::Connection::open(here.path().join("opencode.db")).unwrap();
    database.execute_batch(&script).unwrap();
    let show = |more: &[&str]| proto(here.path(), &[&["show", "opencode.db"], more].concat());
    let output = show(&["--rows", "100"]);
    assert_eq!(output.status.code(), Some(0), "{}", err(&output));
    let all = out(&output);
    for wanted in [
        "opencode 1.17",
        "\n   label bad: the text to replace was not found as given (row ",
        "\n   not trained: bad answers are not trained\n",
        "\n   label unknown: ",
        ", trained\n",
        "worked (exit status 0)",
    ] {
        assert!(all.contains(wanted), "{wanted:?} is missing:\n{all}");
    }
    let sessions: Vec<&str> = all.lines().filter_map(|l| l.strip_prefix("session ")).collect();
    let id = sessions[1].split(' ').next().unwrap();
    let one = out(&show(&["--session", id, "--rows", "100"]));
    assert_eq!(one.lines().filter(|line| line.starts_with("session ")).count(), 1);
    assert!(err(&show(&["--session", "nobody"])).contains("no session that begins with `nobody`"));
}

#[test]
fn review_needs_a_terminal_but_lists_its_questions_without_one() {
    let row = r#"{"id":"s1","messages":[{"role":"user","content":"hunter2?"},{"role":"assistant","content":"hunter2"}]}"#;
    let here = folder(&[("a.jsonl", row)]);
    let output = proto(here.path(), &["review", "a.jsonl"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(err(&output).contains("--json lists"), "{}", err(&output));
    let listed = out(&proto(here.path(), &["review", "a.jsonl", "--json"]));
    let question: serde_json::Value = serde_json::from_str(&listed).unwrap();
    assert_eq!((&question["session"], &question["score"]), (&"s1".into(), &2.into()));
    assert!(!listed.contains("hunter2"), "{listed}");
}
