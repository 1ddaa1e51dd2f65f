//! Rules from files in gitleaks' format.

use std::fs;
use std::path::PathBuf;

use proto::redact::gitleaks::{RuleFile, read};
use proto::redact::{Policy, Redactor};

/// A file with rules in it.
fn file(name: &str, text: &str) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    fs::write(&path, text).unwrap();
    (folder, path)
}

fn rules(text: &str) -> RuleFile {
    let (_folder, path) = file("rules.toml", text);
    read(&path).unwrap_or_else(|e| panic!("{e:#}"))
}

fn refused(text: &str) -> String {
    let (_folder, path) = file("rules.toml", text);
    format!("{:#}", read(&path).expect_err("it must be refused"))
}

fn redacted(rules: RuleFile, text: &str) -> String {
    let policy = Policy { extra: rules.rules, ..Policy::default() };
    Redactor::new(policy).unwrap().text(text).unwrap()
}

/// One rule with what follows its regex.
fn one(regex: &str, more: &str) -> String {
    format!("[[rules]]\nid = \"acme-badge\"\nregex = '''{regex}'''\n{more}")
}

#[test]
fn a_rule_redacts_its_group_or_its_first_group_or_everything() {
    let text = "badge: zulu-4711-kilo";
    for (regex, more, expected) in [
        ("zulu-[0-9]+-[a-z]+", "", "badge: <SECRET_TEAM_ACME_BADGE_1>"),
        ("zulu-([0-9]+)-([a-z]+)", "", "badge: zulu-<SECRET_TEAM_ACME_BADGE_1>-kilo"),
        (
            "zulu-([0-9]+)-([a-z]+)",
            "secretGroup = 2",
            "badge: zulu-4711-<SECRET_TEAM_ACME_BADGE_1>",
        ),
    ] {
        assert_eq!(redacted(rules(&one(regex, more)), text), expected);
    }
}

#[test]
fn keywords_and_entropy_decide_whether_a_rule_speaks() {
    let with = |more: &str| redacted(rules(&one("zulu-([a-z0-9]+)", more)), "Badge zulu-aaaaaa1");
    assert_eq!(with("keywords = [\"BADGE\"]"), "Badge zulu-<SECRET_TEAM_ACME_BADGE_1>");
    assert_eq!(with("keywords = [\"ticket\"]"), "Badge zulu-aaaaaa1");
    assert_eq!(with("entropy = 0.5"), "Badge zulu-<SECRET_TEAM_ACME_BADGE_1>");
    assert_eq!(with("entropy = 3.0"), "Badge zulu-aaaaaa1");
}

#[test]
fn allow_lists_exempt_by_secret_match_line_and_stopword() {
    let text = "the old badge zulu-kilo9";
    let kept = |more: &str| redacted(rules(&one("zulu-([a-z0-9]+)", more)), text) == text;
    let list = |body: &str| format!("[[rules.allowlists]]\n{body}");
    assert!(!kept(""));
    assert!(kept(&list("regexes = ['^kilo9$']")));
    assert!(!kept(&list("regexes = ['zulu']")));
    assert!(kept(&list("regexTarget = \"match\"\nregexes = ['^zulu-']")));
    assert!(!kept(&list("regexTarget = \"match\"\nregexes = ['old']")));
    assert!(kept(&list("regexTarget = \"line\"\nregexes = ['^the old']")));
    assert!(kept(&list("stopwords = [\"KILO\"]")));
    assert!(!kept(&list("condition = \"AND\"\nregexes = ['^kilo9$']\nstopwords = [\"lima\"]")));
    assert!(kept(&list("condition = \"AND\"\nregexes = ['^kilo9$']\nstopwords = [\"kilo\"]")));
    // No trace has a path or a commit.
    assert!(!kept(&list("condition = \"AND\"\nregexes = ['^kilo9$']\npaths = ['x']")));
    assert!(!kept(&list("commits = [\"abc\"]")));
    // The older form, the file's own list, and a list for other rules.
    assert!(kept("[rules.allowlist]\nstopwords = [\"kilo\"]"));
    assert!(kept("[[allowlists]]\nstopwords = [\"kilo\"]"));
    assert!(!kept("[[allowlists]]\ntargetRules = [\"other\"]\nstopwords = [\"kilo\"]"));
}

#[test]
fn an_allow_list_of_a_file_exempts_nothing_from_the_built_in_rules() {
    let mine = rules(&one("zulu", "[allowlist]\nregexes = ['.*']"));
    assert_eq!(redacted(mine, "DB_PASSWORD=hunter2x zulu"), "DB_PASSWORD=<SECRET_PASSWORD_1> zulu");
}

#[test]
fn patterns_are_read_as_go_reads_them() {
    for (regex, text) in [
        ("k{x}", "k{x}"),
        ("^\\${(?:[A-Z_]+)}$", "${HOME_X}"),
        ("a{2}b", "aab"),
        ("q[[]z", "q[z"),
        ("q[&&x]{3}z", "q&x&z"),
        ("q[[:digit:]-]+z", "q1-2z"),
        ("q[]]z", "q]z"),
        ("\\<q\\>", "<q>"),
        (r"\pL{3}9", "äöü9"),
    ] {
        let found = redacted(rules(&one(regex, "")), text);
        assert_eq!(found, "<SECRET_TEAM_ACME_BADGE_1>", "{regex} on {text}");
    }
    // `\w` is ASCII there.
    assert_eq!(redacted(rules(&one(r"k\w+", "")), "kä1"), "kä1");
}

#[test]
fn files_extend_each_other() {
    let folder = tempfile::tempdir().unwrap();
    let base = "[[rules]]\nid = \"a\"\nregex = \"alpha\"\n[[rules]]\nid = \"b\"\nregex = \"bravo\"\n\
                [[rules]]\nid = \"c\"\npath = \"x\"\n[[allowlists]]\nstopwords = [\"charlie\"]";
    fs::write(folder.path().join("base.toml"), base).unwrap();
    let own = "[extend]\npath = \"base.toml\"\ndisabledRules = [\"b\"]\n\
               [[rules]]\nid = \"d\"\nregex = \"(?:delta|charlie)\"";
    fs::write(folder.path().join("own.toml"), own).unwrap();
    let file = read(&folder.path().join("own.toml")).unwrap();
    let names: Vec<_> = file.rules.iter().map(|rule| rule.name.as_str()).collect();
    assert_eq!((names, file.by_path, file.digests.len()), (vec!["d", "a"], 1, 2));
    let out = redacted(file, "alpha bravo charlie delta");
    assert_eq!(out, "<SECRET_TEAM_A_1> bravo charlie <SECRET_TEAM_D_1>");
}

#[test]
fn what_cannot_be_read_is_refused_by_name() {
    for (text, wanted) in [
        (one("(unclosed", ""), "rule `acme-badge`"),
        (one("a", "secretGroup = 3"), "secretGroup = 3"),
        (one("a", "entropie = 3"), "`entropie`"),
        (one("a", "[[rules.allowlists]]\nregextarget = \"word\"\nregexes=['a']"), "`word`"),
        (one("a", "[[rules.allowlists]]\ncondition = \"XOR\"\nregexes=['a']"), "`XOR`"),
        (one("a", "[[rules.allowlists]]\nregexes=['(']"), "allow-list"),
        (one("a", "[[rules.allowlists]]"), "without"),
        ("[[rules]]\nregex = \"a\"".into(), "rule 1 has no id"),
        ("[[rules]]\nid = \"a\"".into(), "neither a regex nor a path"),
        ("[extend]\nurl = \"http://x\"".into(), "not fetched"),
        ("[extend]\npath = \"rules.toml\"".into(), "too deeply"),
        ("rules = 3".into(), "[[rules]]"),
        ("not toml".into(), "line 1"),
    ] {
        let error = refused(&text);
        assert!(error.contains(wanted) && error.contains("rules.toml"), "{text}: {error}");
    }
}
