//! `proto check` and `proto test` through the library: what is found without running anything, and
//! what test functions say.

use std::path::Path;
use std::sync::Arc;

use proto::script::{Script, check, run_tests};

use crate::script::{Ear, write};

/// The problems a check finds, as `line:column message`.
pub fn problems(text: &str) -> Vec<String> {
    let script = Script::from_text("s.rhai", text).unwrap();
    check(&script).iter().map(|p| format!("{}:{} {}", p.line, p.column, p.message)).collect()
}

#[test]
fn check_finds_what_would_fail_without_running_it() {
    let found = problems(
        r#"import "proto/quality" as quality;
import "proto/nothing" as nothing;
param("limit", 512, "longest");
let rows = rows_from([]);
if false {
    rows.filtr("a", |row| row.sesion == "x");
    rows.take(1, 2);
    frobnicate(rows);
    quality::answerd(rows, 3);
    quality::answered(rows);
    param("limt");
    setting("SED");
    helper(1, 2);
}
fn helper(a) { a.nothing_like_this }
nothing::x();
throw "never run";
"#,
    );
    let unknown = "2:8 no module `proto/nothing` comes with proto; there are proto/gates, ";
    assert!(found[0].starts_with(unknown), "{found:?}");
    assert_eq!(
        found[1..],
        [
            "6:10 unknown function `filtr`",
            "6:31 nothing has a property `sesion`",
            "7:10 `take` is called with the wrong number of arguments",
            "8:5 unknown function `frobnicate`",
            "9:14 `proto/quality` has no function `answerd`",
            "10:14 `answered` is called with the wrong number of arguments",
            "11:5 the script declares no parameter `limt`",
            "12:5 unknown configuration key `SED`; did you mean `SEED`?",
            "13:5 `helper` is called with the wrong number of arguments",
            "15:18 nothing has a property `nothing_like_this`",
        ]
    );
}

#[test]
fn check_is_quiet_about_what_is_right() {
    let found = problems(
        r#"
        import "proto/quality" as quality;
        const LEAST = 3;
        let limit = param("limit", 512, "longest");
        let options = #{by: "session", deep: #{er: 1}};
        options.extra = 1;
        let twice = |x| x * 2;
        let table = #{run: |x| x + 1};
        fn long(row) { row.answers.len() > global::LEAST && row.text.contains("a") }
        fn this_too() { this.with_outcome("good") }
        let rows = quality::answered(rows_from([]), limit);
        rows = rows.filter("x", |row| long(row)).map("y", |row| row.this_too());
        for row in rows {
            for message in row.messages {
                for made in message.tool_calls {
                    let given = made.arguments;
                    print(`${made.arguments.path} ${given.depth} ${given.a.b} ${type_of(made)}`);
                }
            }
        }
        print(twice.call(options.by.len()) + table.run(options.deep.er) + options.extra);
        print([3, 1].map(|x| x + setting("SEED")).reduce(|a, b| a + b));
        switch limit { 1 => print("one"), _ => print(Fn("long").name) }
        "#,
    );
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn check_follows_imports_on_disk() {
    let folder = tempfile::tempdir().unwrap();
    write(
        folder.path(),
        "lib.rhai",
        "fn f(x) { x.frobnicate(1) }\nfn g() { param(\"n\", 1, \"d\") }",
    );
    let main = write(folder.path(), "main.rhai", "import \"lib\" as lib;\nlib::f(1);\nlib::h();");
    let found = check(&Script::read(&main).unwrap());
    let messages: Vec<_> = found.iter().map(|p| p.message.as_str()).collect();
    assert_eq!(messages.len(), 3, "{messages:?}");
    assert!(messages[0].ends_with("lib.rhai` has no function `h`"), "{messages:?}");
    assert_eq!(messages[1], "unknown function `frobnicate`");
    assert_eq!(messages[2], "parameter `n` is declared outside the main script");
}

#[test]
fn a_policy_is_checked_against_what_policies_can_call() {
    let found = problems(
        "fn policy(evidence) { print(rows_from([])); [require(\"a\", true, \"b\")] }\nfn test_it() { assert(policy(evidence(#{})).len() == 1); }",
    );
    assert_eq!(found, ["1:29 unknown function `rows_from`"]);
}

#[test]
fn test_functions_run_each_by_itself() {
    let script = Script::from_text(
        "t.rhai",
        r#"
        import "proto/quality" as quality;
        const BASE = 2;
        throw "the script's own statements do not run";
        fn rows() { rows_from([#{messages: [#{role: "assistant", content: "abc"}]}]) }
        fn test_filters() {
            assert_eq(quality::answered(rows(), 3).len(), 1);
            assert_eq(quality::answered(rows(), 4).len(), 0);
            assert(global::BASE == 2);
        }
        fn test_throws() {
            assert_throws(|| rows()[5], "no row 5");
            assert_throws(|| () < 1);
        }
        fn test_fails() {
            assert_eq(1 + 1, 3);
        }
        fn test_not_thrown() { assert_throws(|| 1); }
        fn test_types_differ() { assert_eq(1, "1"); }
        fn test_with_argument(x) { x }
        "#,
    )
    .unwrap();
    let verdicts = run_tests(&script, Arc::new(Ear::default())).unwrap();
    let shown: Vec<_> = verdicts
        .iter()
        .map(|v| (v.name.as_str(), v.failure.as_ref().map(|f| (f.line, f.message.as_str()))))
        .collect();
    assert_eq!(shown[0], ("test_filters", None));
    assert_eq!(shown[1], ("test_throws", None));
    let (name, failed) = shown[2];
    assert_eq!((name, failed.unwrap().0), ("test_fails", 16));
    assert!(failed.unwrap().1.contains("left:  the number 2"), "{failed:?}");
    assert!(shown[3].1.unwrap().1.contains("nothing was thrown"), "{shown:?}");
    assert!(shown[4].1.unwrap().1.contains("cannot compare"), "{shown:?}");
    assert_eq!(shown.len(), 5);
}

#[test]
fn embedded_modules_pass_their_own_check() {
    let mut found = Vec::new();
    scripts_under(&Path::new(env!("CARGO_MANIFEST_DIR")).join("stdlib"), &mut found);
    assert!(found.len() > 1);
    for path in found {
        let name = format!("proto/{}", path.file_stem().unwrap().to_str().unwrap());
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(check(&Script::from_text(&name, &text).unwrap()), []);
        assert!(proto::script::describe(Some(&name)).unwrap().contains("Functions"));
    }
}

fn scripts_under(folder: &Path, found: &mut Vec<std::path::PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            scripts_under(&path, found);
        } else if path.extension().is_some_and(|e| e == "rhai") {
            found.push(path);
        }
    }
}

#[test]
fn shipped_scripts_pass_their_check_and_their_tests() {
    let mut found = Vec::new();
    scripts_under(&Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts"), &mut found);
    assert!(!found.is_empty());
    for path in found {
        let script = Script::read(&path).unwrap();
        let problems: Vec<_> = check(&script).iter().map(ToString::to_string).collect();
        assert!(problems.is_empty(), "{}", problems.join("\n"));
        for verdict in run_tests(&script, Arc::new(Ear::default())).unwrap() {
            assert_eq!(verdict.failure, None, "{}", verdict.name);
        }
    }
}
