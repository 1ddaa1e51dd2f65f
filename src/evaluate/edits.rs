//! Whether an edit applies: its old text stands in its file as the conversation last showed it.
//!
//! What the conversation showed of a file comes from the calls before the answer, in order, those
//! that failed left out: a read with nothing but a path shows all of it, any other call that names
//! the file (part of a file, a command) shows a part more; a write replaces what was shown, an edit
//! changes it. Line numbers before the lines of a result are taken off. Paths are the same where
//! one ends with the other (`src/a.rs`, `/home/me/x/src/a.rs`).
//!
//! An edit is a call with a path, an old and a new text, by the names that agents use; several in
//! `edits`; or a patch, whose hunks are edits of their own.

use serde_json::{Map, Value};

use crate::trace::{Message, Role, Signal, ToolCall};

const PATH: &[&str] = &["path", "filePath", "file_path", "file", "filename", "target_file"];
const OLD: &[&str] = &["old_string", "oldString", "old_text", "oldText", "old_str", "old"];
const NEW: &[&str] = &["new_string", "newString", "new_text", "newText", "new_str", "new"];
const ALL: &[&str] = &["replace_all", "replaceAll"];
const CONTENT: &[&str] = &["content", "contents", "file_text", "text"];
const PATCH: &[&str] = &["patchText", "patch", "input", "diff"];
const COMMAND: &[&str] = &["command", "cmd", "script"];

/// A change of one file.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Edit {
    path: String,
    change: Change,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Change {
    Replace { old: String, new: String, all: bool },
    Write(String),
}

/// What a conversation has shown of files.
#[derive(Debug, Clone, Default)]
struct Files(Vec<(String, Vec<String>)>);

/// The share of the answer's edits that apply, missing ones counted as not; where the reference
/// edits files that the history showed and all its own edits apply.
pub fn applies(history: &[Message], wanted: &[ToolCall], got: &[ToolCall]) -> Option<f64> {
    if !wanted.iter().any(|call| edits(call).iter().any(Edit::replaces)) {
        return None;
    }
    let files = Files::shown_by(history);
    let (right, all) = files.clone().count(wanted);
    if right < all {
        // What was shown is not all there is to know, so nobody can say.
        return None;
    }
    let (right, tried) = files.count(got);
    Some(right as f64 / tried.max(all) as f64)
}

impl Edit {
    fn replaces(&self) -> bool {
        matches!(self.change, Change::Replace { .. })
    }
}

impl Files {
    fn shown_by(history: &[Message]) -> Files {
        let mut files = Files::default();
        for call in history.iter().flat_map(|m| &m.tool_calls) {
            let answers = |m: &&Message| {
                m.role == Role::Tool && m.tool_call_id.as_deref() == Some(call.id.as_str())
            };
            let Some(result) = history.iter().find(answers).filter(|m| !failed(m)) else {
                continue;
            };
            let edits = edits(call);
            if edits.is_empty() {
                files.look(call, &result.content);
            }
            edits.into_iter().for_each(|edit| files.change(edit));
        }
        files
    }

    /// What a call that changes nothing shows.
    fn look(&mut self, call: &ToolCall, result: &str) {
        if let Some(path) = text(&call.arguments, PATH) {
            let shown = self.of(path);
            if call.arguments.len() == 1 {
                shown.clear();
            }
            shown.push(unnumbered(result));
        }
        let words = text(&call.arguments, COMMAND).into_iter().flat_map(str::split_whitespace);
        for word in words.map(|w| w.trim_matches(['"', '\'', ';'])) {
            if word.contains(['.', '/']) && !word.starts_with('-') {
                self.of(word).push(unnumbered(result));
            }
        }
    }

    fn change(&mut self, edit: Edit) {
        let shown = self.of(&edit.path);
        match edit.change {
            Change::Write(content) => *shown = vec![content],
            Change::Replace { old, new, all } => {
                let most = if all { usize::MAX } else { 1 };
                let mut found = false;
                for part in shown.iter_mut().filter(|part| part.contains(&old)) {
                    *part = part.replacen(&old, &new, most);
                    found = true;
                }
                if !found {
                    shown.push(new);
                }
            }
        }
    }

    /// How many replacements of some calls apply, each after the ones before it, and how many
    /// there are.
    fn count(mut self, calls: &[ToolCall]) -> (usize, usize) {
        let (mut right, mut all) = (0, 0);
        for edit in calls.iter().flat_map(edits) {
            if let Change::Replace { old, .. } = &edit.change {
                let applies = self.of(&edit.path).iter().any(|part| part.contains(old));
                right += usize::from(applies);
                all += 1;
                if !applies {
                    continue;
                }
            }
            self.change(edit);
        }
        (right, all)
    }

    fn of(&mut self, path: &str) -> &mut Vec<String> {
        let path = path.replace('\\', "/");
        let path = path.trim_start_matches("./");
        let ends = |long: &str, short: &str| {
            long.strip_suffix(short).is_some_and(|rest| rest.is_empty() || rest.ends_with('/'))
        };
        let same = |(known, _): &(String, _)| ends(known, path) || ends(path, known);
        let at = self.0.iter().rposition(same).unwrap_or_else(|| {
            self.0.push((path.into(), Vec::new()));
            self.0.len() - 1
        });
        &mut self.0[at].1
    }
}

fn failed(result: &Message) -> bool {
    result.signals.iter().any(|s| !matches!(s, Signal::Cleared | Signal::Reverted))
}

fn text<'a>(arguments: &'a Map<String, Value>, keys: &[&str]) -> Option<&'a str> {
    keys.iter().find_map(|key| arguments.get(*key)?.as_str())
}

/// Lines end in a line feed alone.
fn lines_of(text: &str) -> String {
    text.replace("\r\n", "\n")
}

/// The changes that a call makes.
fn edits(call: &ToolCall) -> Vec<Edit> {
    let arguments = &call.arguments;
    if let Some(patch) = text(arguments, PATCH).filter(|patch| is_patch(patch)) {
        return hunks(patch);
    }
    let Some(path) = text(arguments, PATH) else { return Vec::new() };
    let one = |change| Edit { path: path.into(), change };
    let several = arguments.get("edits").and_then(Value::as_array).into_iter().flatten();
    let replaced: Vec<Edit> = [arguments]
        .into_iter()
        .chain(several.filter_map(Value::as_object))
        .filter_map(replacement)
        .map(one)
        .collect();
    let name = call.name.to_lowercase();
    let writes = ["write", "create"].iter().any(|word| name.contains(word));
    match text(arguments, CONTENT) {
        Some(content) if replaced.is_empty() && writes => {
            vec![one(Change::Write(lines_of(content)))]
        }
        _ => replaced,
    }
}

fn replacement(arguments: &Map<String, Value>) -> Option<Change> {
    let old = text(arguments, OLD).filter(|old| !old.is_empty())?;
    let new = text(arguments, NEW)?;
    let all = ALL.iter().any(|key| arguments.get(*key) == Some(&Value::Bool(true)));
    Some(Change::Replace { old: lines_of(old), new: lines_of(new), all })
}

fn is_patch(text: &str) -> bool {
    text.lines().any(|line| file_of(line).is_some())
}

/// The file that a line of a patch begins with.
fn file_of(line: &str) -> Option<&str> {
    let heads = ["*** Update File: ", "*** Add File: ", "+++ b/"];
    heads.iter().find_map(|head| line.strip_prefix(head)).map(str::trim)
}

/// The hunks of a patch, in Codex's form or as a unified diff.
fn hunks(patch: &str) -> Vec<Edit> {
    let mut found = Vec::new();
    let mut path = None;
    let (mut old, mut new) = (Vec::new(), Vec::new());
    let mut end = |path: Option<&str>, old: &mut Vec<&str>, new: &mut Vec<&str>| {
        let (before, after) = (old.join("\n"), new.join("\n"));
        if let Some(path) = path.filter(|_| !(old.is_empty() && new.is_empty())) {
            let change = match old.is_empty() {
                true => Change::Write(after),
                false => Change::Replace { old: before, new: after, all: false },
            };
            found.push(Edit { path: path.into(), change });
        }
        old.clear();
        new.clear();
    };
    for line in patch.lines() {
        let head = ["***", "@@", "--- ", "+++ ", "diff ", "index "];
        if head.iter().any(|head| line.starts_with(head)) {
            end(path, &mut old, &mut new);
            path = file_of(line).or(path);
        } else if let Some(gone) = line.strip_prefix('-') {
            old.push(gone);
        } else if let Some(come) = line.strip_prefix('+') {
            new.push(come);
        } else {
            let kept = line.strip_prefix(' ').unwrap_or(line);
            old.push(kept);
            new.push(kept);
        }
    }
    end(path, &mut old, &mut new);
    found
}

/// A result without the line numbers that a tool put before most of its lines.
fn unnumbered(result: &str) -> String {
    let result = lines_of(result);
    let filled = result.lines().filter(|line| !line.trim().is_empty()).count();
    let numbered = result.lines().filter(|line| without_number(line).is_some()).count();
    if numbered == 0 || numbered * 2 < filled {
        return result;
    }
    let line = |line| without_number(line).unwrap_or(line);
    result.lines().map(line).collect::<Vec<_>>().join("\n")
}

/// `   12→text`, `12<tab>text`, `00012| text`, `12: text`.
fn without_number(line: &str) -> Option<&str> {
    let digits = line.trim_start_matches(' ');
    let rest = digits.trim_start_matches(|c: char| c.is_ascii_digit());
    if rest.len() == digits.len() {
        return None;
    }
    let plain = ["→", "\t"].iter().find_map(|mark| rest.strip_prefix(mark));
    let spaced = ["|", ":"].iter().find_map(|mark| rest.strip_prefix(mark));
    plain.or(spaced.map(|text| text.strip_prefix(' ').unwrap_or(text)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn call(id: &str, name: &str, arguments: Value) -> ToolCall {
        let Value::Object(arguments) = arguments else { panic!("not an object") };
        ToolCall { id: id.into(), name: name.into(), arguments }
    }

    /// Calls with their results, in order.
    fn history(steps: &[(&str, Value, &str)]) -> Vec<Message> {
        let step = |(n, (name, arguments, result)): (usize, &(&str, Value, &str))| {
            let id = format!("c{n}");
            let mut asked = Message::text(Role::Assistant, "");
            asked.tool_calls = vec![call(&id, name, arguments.clone())];
            let mut answer = Message::text(Role::Tool, *result);
            answer.tool_call_id = Some(id);
            [asked, answer]
        };
        steps.iter().enumerate().flat_map(step).collect()
    }

    fn edit(path: &str, old: &str) -> ToolCall {
        call("e", "edit", json!({"path": path, "oldText": old, "newText": "changed"}))
    }

    #[test]
    fn an_edit_applies_where_its_old_text_was_shown() {
        let read = "     1→fn a() {\n     2→\tone();\n     3→}\n";
        let history = history(&[("Read", json!({"file_path": "/work/x/src/a.rs"}), read)]);
        let wanted = [edit("src/a.rs", "fn a() {\n\tone();")];
        let score = |got: &[ToolCall]| applies(&history, &wanted, got);
        assert_eq!(score(&wanted), Some(1.0));
        assert_eq!(score(&[edit("/work/x/src/a.rs", "one()")]), Some(1.0));
        assert_eq!(score(&[edit("src/a.rs", "two()")]), Some(0.0));
        assert_eq!(score(&[edit("src/b.rs", "one()")]), Some(0.0), "never shown");
        assert_eq!(score(&[]), Some(0.0));
        assert_eq!(score(&[edit("src/a.rs", "one()"), edit("src/a.rs", "one()")]), Some(0.5));
    }

    #[test]
    fn a_file_is_as_the_last_call_left_it() {
        let history = history(&[
            ("write", json!({"path": "a.py", "content": "x = 1\ny = 2\n"}), "ok"),
            ("edit", json!({"path": "./a.py", "old_string": "x = 1", "new_string": "x = 3"}), "ok"),
        ]);
        let wanted = [edit("a.py", "x = 3")];
        assert_eq!(applies(&history, &wanted, &[edit("a.py", "x = 1")]), Some(0.0));
        assert_eq!(applies(&history, &wanted, &[edit("a.py", "x = 3\ny = 2")]), Some(1.0));
    }

    #[test]
    fn failed_calls_show_and_change_nothing() {
        let mut history = history(&[
            ("read", json!({"path": "a.py"}), "x = 1"),
            ("edit", json!({"path": "a.py", "old_str": "x = 1", "new_str": "x = 3"}), "no"),
        ]);
        history[3].note(Signal::EditMismatch);
        let wanted = [edit("a.py", "x = 1")];
        assert_eq!(applies(&history, &wanted, &wanted), Some(1.0));
    }

    #[test]
    fn parts_and_commands_add_to_what_is_known() {
        let history = history(&[
            ("read", json!({"path": "a.py"}), "00001| x = 1"),
            ("read", json!({"path": "a.py", "offset": 9}), "9: y = 2"),
            ("bash", json!({"command": "sed -n 20,21p a.py"}), "z = 3"),
        ]);
        let wanted = [edit("a.py", "x = 1")];
        for known in ["x = 1", "y = 2", "z = 3"] {
            assert_eq!(applies(&history, &wanted, &[edit("a.py", known)]), Some(1.0), "{known}");
        }
    }

    #[test]
    fn it_says_nothing_where_the_reference_edits_what_was_not_shown() {
        let history = history(&[("read", json!({"path": "a.py"}), "x = 1")]);
        for reference in [edit("b.py", "x = 1"), edit("a.py", "y = 2")] {
            let wanted = [reference];
            assert_eq!(applies(&history, &wanted, &[edit("a.py", "x = 1")]), None);
        }
        let read = [call("r", "read", json!({"path": "a.py"}))];
        assert_eq!(applies(&history, &read, &[edit("a.py", "x = 1")]), None);
    }

    #[test]
    fn several_edits_and_patches_are_taken_apart() {
        let history = history(&[("exec", json!({"cmd": "cat a.py"}), "x = 1\ny = 2\nz = 3\n")]);
        let patch = "*** Begin Patch\n*** Update File: a.py\n@@\n x = 1\n-y = 2\n+y = 4\n@@\n-z = 3\n\
                     +z = 5\n*** Add File: b.py\n+new\n*** End Patch\n";
        let wanted = [call("p", "apply_patch", json!({ "patchText": patch }))];
        assert_eq!(applies(&history, &wanted, &wanted), Some(1.0));
        let edits = json!([{"oldText": "y = 2", "newText": "y"}, {"oldText": "q", "newText": ""}]);
        let half = [call("m", "edit", json!({"path": "a.py", "edits": edits}))];
        assert_eq!(applies(&history, &wanted, &half), Some(0.5));
        let diff = "--- a/a.py\n+++ b/a.py\n@@ -1,2 +1,2 @@\n x = 1\n-y = 3\n+y = 4\n";
        let wrong = [call("d", "patch", json!({ "diff": diff }))];
        assert_eq!(applies(&history, &wanted, &wrong), Some(0.0));
    }
}
