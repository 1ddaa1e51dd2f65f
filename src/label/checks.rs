//! Commands that show whether the work is right, and commands that undo it.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use regex::Regex;
use serde_json::{Map, Value};

use crate::trace::{Message, Role, Signal, ToolCall};

/// How the last check after an edit ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Check {
    Passed,
    Failed,
    /// It passed, but the same turn edited tests: that may be why.
    TestsEdited,
}

/// A pattern of this program.
fn pattern(text: &str) -> Regex {
    Regex::new(text).unwrap_or_else(|e| unreachable!("{e}"))
}

/// Test runs, builds and type checks.
static CHECKS: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"(?x)(?:^|[;&|(]\s*|\s)(?:
        cargo\s+(?:\+\S+\s+)?(?:test|nextest|t|check|build|clippy)\b
        | (?:python3?\s+-m\s+)?(?:pytest|unittest|mypy|tox|nox)\b
        | python3?\s+manage\.py\s+test\b
        | (?:npm|pnpm|yarn|bun|deno)\s+(?:run\s+)?(?:test|build|check|lint|typecheck|tsc)\b
        | (?:npx|bunx|pnpm\s+exec)\s+(?:jest|vitest|tsc|mocha|playwright)\b
        | (?:jest|vitest|mocha|tsc|rspec|phpunit|ctest|ginkgo)\b
        | go\s+(?:test|build|vet)\b
        | make(?:\s|$) | just\s+(?:test|check|build|ci)\b
        | (?:\./)?(?:mvnw?|gradlew?)\b.*\b(?:test|verify|build|check|package)\b
        | (?:dotnet|mix|swift|zig\s+build|bazel|rake|cabal|stack|sbt|lein)\s+(?:test|build)\b
        )",
    )
});
static PASSED: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"(?mx)test\ result:\ ok | \b[1-9]\d*\ (?:tests?\ )?pass(?:ed|ing)\b | ^ok\s+\S+ | ^PASS\b
        | ^OK\b | BUILD\ SUCCESS | Build\ succeeded | Finished\ `",
    )
});
static FAILED: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"(?mx)test\ result:\ FAILED | \b[1-9]\d*\ (?:tests?\ )?fail(?:ed|ing|ures?)\b | ^FAIL\b
        | ^---\ FAIL | \bFAILED\b | BUILD\ FAILED | Build\ FAILED | ^error(?:\[|:) | could\ not\ compile
        | exited\ with\ code\ [1-9] | ^Traceback\ \(most | \berror\ TS\d+ | npm\ ERR!",
    )
});
/// What comes after a check and hides its exit status.
static HIDES: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"[^|]\|[^|]|\|\|\s*(?:true|:|echo)|;\s*\S|&\s*$"));
static UNDO: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"\bgit\s+(?:-C\s+\S+\s+)?(checkout\s+(?:HEAD\S*\s+)?(?:--\s+\S|\.)|restore\s|reset\s+--hard|revert\s|stash(?:\s+(?:push|-u|--all)|\s*$))",
    )
});
static TEST_FILE: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"(?i)(?:^|[/\\])(?:tests?|__tests__|specs?)[/\\]|(?:^|[/\\])test_|[._-](?:test|spec)s?\.",
    )
});

/// The command line of a call that runs one.
fn command(call: &ToolCall) -> Option<String> {
    ["command", "cmd", "script"].into_iter().find_map(|key| match call.arguments.get(key)? {
        Value::String(text) => Some(text.clone()),
        Value::Array(words) => {
            let words: Option<Vec<&str>> = words.iter().map(Value::as_str).collect();
            Some(words?.join(" "))
        }
        _ => None,
    })
}

/// The file that a call edits.
fn edits(call: &ToolCall) -> Vec<String> {
    let name = call.name.to_ascii_lowercase();
    if !["edit", "write", "patch", "replace"].iter().any(|part| name.contains(part)) {
        return Vec::new();
    }
    let named = |arguments: &Map<String, Value>| {
        let keys = ["path", "filePath", "file_path", "file", "filename"];
        keys.into_iter().find_map(|key| arguments.get(key)?.as_str().map(String::from))
    };
    let patch = ["patch", "patchText", "input", "diff"]
        .into_iter()
        .find_map(|key| call.arguments.get(key)?.as_str())
        .unwrap_or_default();
    let of_patch = patch.lines().filter_map(|line| {
        ["*** Update File: ", "*** Add File: ", "+++ b/"].iter().find_map(|p| line.strip_prefix(p))
    });
    named(&call.arguments).into_iter().chain(of_patch.map(String::from)).collect()
}

fn failed(result: &Message) -> bool {
    let fails = |s: &Signal| !matches!(s, Signal::Cleared | Signal::Reverted);
    result.signals.iter().any(fails)
}

/// The result of a call, and where it stands.
fn result_of<'a>(messages: &'a [Message], call: &ToolCall) -> Option<(usize, &'a Message)> {
    let answers = |m: &Message| m.tool_call_id.as_deref() == Some(&call.id);
    messages.iter().enumerate().find(|(_, m)| m.role == Role::Tool && answers(m))
}

/// The files that the messages' calls edited.
pub(super) fn edited(messages: &[Message]) -> BTreeSet<String> {
    let calls = messages.iter().flat_map(|m| &m.tool_calls);
    let worked = |call: &&ToolCall| result_of(messages, call).is_some_and(|(_, r)| !failed(r));
    calls.filter(worked).flat_map(edits).collect()
}

/// How the last check after the last edit of a turn ended, and the place of its result.
pub(super) fn last(turn: &[Message]) -> Option<(Check, usize)> {
    let mut found = None;
    let (mut any_edit, mut tests_edited) = (false, false);
    for call in turn.iter().flat_map(|m| &m.tool_calls) {
        let Some((at, result)) = result_of(turn, call) else { continue };
        let files = if failed(result) { Vec::new() } else { edits(call) };
        if !files.is_empty() {
            any_edit = true;
            tests_edited |= files.iter().any(|file| TEST_FILE.is_match(file));
            // What passed before an edit says nothing about what is there after it.
            found = None;
        }
        let Some(command) = command(call).filter(|c| any_edit && CHECKS.is_match(c)) else {
            continue;
        };
        found = match ended(&command, result) {
            Some(true) if tests_edited => Some((Check::TestsEdited, at)),
            Some(true) => Some((Check::Passed, at)),
            Some(false) => Some((Check::Failed, at)),
            None => found,
        };
    }
    found
}

/// Whether a check passed; nothing where its output does not say and its status is hidden.
fn ended(command: &str, result: &Message) -> Option<bool> {
    if result
        .signals
        .iter()
        .any(|s| matches!(s, Signal::Denied | Signal::Aborted | Signal::Cleared))
    {
        return None;
    }
    let text = &result.content;
    let told = match (FAILED.is_match(text), PASSED.is_match(text)) {
        (true, _) => Some(false),
        (false, true) => Some(true),
        (false, false) => None,
    };
    let rest = CHECKS.find(command).map_or("", |found| &command[found.end()..]);
    let hidden = HIDES.is_match(rest) && !command.contains("pipefail");
    match result.exit {
        Some(0) if !hidden => Some(true),
        Some(0) | None => told,
        Some(_) => Some(false),
    }
}

/// Where an edit of these files is undone through git: by the person, or by the model in the
/// messages from `later` on, since what it does in the same turn is its own second thought.
pub(super) fn undoes(
    messages: &[Message],
    later: usize,
    edited: &BTreeSet<String>,
) -> Option<usize> {
    if edited.is_empty() {
        return None;
    }
    let names: Vec<&str> =
        edited.iter().map(|file| file.rsplit(['/', '\\']).next().unwrap_or(file)).collect();
    let undoes = |line: &str| {
        UNDO.find(line).is_some_and(|found| {
            let rest = &line[found.start()..];
            let all = ["--hard", "revert", "stash"].iter().any(|w| found.as_str().contains(w));
            let dot = rest.split_whitespace().any(|word| word == ".");
            all || dot || names.iter().any(|name| rest.contains(name))
        })
    };
    (0..messages.len()).find(|at| {
        let message = &messages[*at];
        let shell = message.signals.contains(&Signal::Shell) && undoes(&message.content);
        let mut lines = message.tool_calls.iter().filter_map(command);
        shell || (*at >= later && lines.any(|line| undoes(&line)))
    })
}
