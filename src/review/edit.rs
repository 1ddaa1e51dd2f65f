//! An answer as text that a person can change, and back: what it says, then its calls as a block
//! of JSON.

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::trace::{Message, Role, ToolCall};

/// The line that begins the calls.
const OPEN: &str = "```json tool_calls";
const CLOSE: &str = "```";

/// A call as the person sees it: ids are not theirs to choose.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Call {
    name: String,
    arguments: Map<String, Value>,
}

/// The text of an answer.
pub fn text(answer: &Message) -> String {
    let mut text = answer.content.clone();
    // An answer that holds such a line itself gets a block too, be it empty: the last one counts.
    if !answer.tool_calls.is_empty() || text.lines().any(|line| line == OPEN) {
        let calls = answer.tool_calls.iter();
        let calls: Vec<Call> = calls
            .map(|call| Call { name: call.name.clone(), arguments: call.arguments.clone() })
            .collect();
        let json = serde_json::to_string_pretty(&calls).unwrap_or_default();
        let gap = if text.is_empty() { "" } else { "\n\n" };
        text += &format!("{gap}{OPEN}\n{json}\n{CLOSE}");
    }
    text + "\n"
}

/// The corrected answer that a text stands for. The calls take the ids of those they replace.
pub fn parse(text: &str, answer: &Message) -> Result<Message> {
    let lines: Vec<&str> = text.lines().collect();
    let (content, calls) = match lines.iter().rposition(|line| line.trim_end() == OPEN) {
        None => (text, Vec::new()),
        Some(open) => {
            let rest = &lines[open + 1..];
            let close = rest.iter().position(|line| line.trim_end() == CLOSE);
            let close =
                close.with_context(|| format!("no line {CLOSE} ends the block of calls"))?;
            if let Some(more) = rest[close + 1..].iter().position(|line| !line.trim().is_empty()) {
                bail!("line {} comes after the block of calls", open + close + more + 3);
            }
            let calls: Vec<Call> =
                serde_json::from_str(&rest[..close].join("\n")).with_context(|| {
                    format!(
                        "the block of calls that begins on line {} is not a list of {{\"name\": \
                         …, \"arguments\": {{…}}}}",
                        open + 1
                    )
                })?;
            let start: usize = text.split_inclusive('\n').take(open).map(str::len).sum();
            (&text[..start], calls)
        }
    };
    // Editors end a file with a line break, and a blank line sets the block apart.
    let content = match content.trim_end() {
        said if said == answer.content.trim_end() => answer.content.clone(),
        said => said.to_string(),
    };
    ensure!(calls.iter().all(|call| !call.name.trim().is_empty()), "a call has no name");
    ensure!(!(content.is_empty() && calls.is_empty()), "the text is empty");
    let mut given = answer.tool_calls.iter().map(|call| call.id.clone());
    let tool_calls = (1..)
        .zip(calls)
        .map(|(n, Call { name, arguments })| {
            let id = given.next().unwrap_or_else(|| format!("fixed_{n}"));
            ToolCall { id, name, arguments }
        })
        .collect();
    let fixed = Message { tool_calls, ..Message::text(Role::Assistant, content) };
    let same = fixed.content == answer.content && fixed.tool_calls == answer.tool_calls;
    ensure!(!same, "nothing was changed");
    Ok(Message { author: Some(crate::label::reviews::HUMAN.into()), ..fixed })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn answer(content: &str, calls: &[(&str, Value)]) -> Message {
        let call = |(n, (name, arguments)): (usize, &(&str, Value))| ToolCall {
            id: format!("id{n}"),
            name: name.to_string(),
            arguments: arguments.as_object().cloned().unwrap_or_default(),
        };
        let tool_calls = calls.iter().enumerate().map(call).collect();
        Message { tool_calls, ..Message::text(Role::Assistant, content) }
    }

    fn problem(text: &str) -> String {
        format!("{:#}", parse(text, &answer("a", &[("read", json!({}))])).unwrap_err())
    }

    #[test]
    fn what_is_not_touched_stays_as_it_was() {
        for (content, calls) in [
            ("One.\n\nTwo ```json tool_calls``` three.  ", vec![]),
            ("", vec![("edit", json!({"text": "```\n```json tool_calls\n[]\n```", "n": 1}))]),
            ("before\n```json tool_calls\n[]\n```\nafter", vec![]),
            ("```json tool_calls", vec![("read", json!({"path": "a"}))]),
            ("\r\nwindows\r\n", vec![("read", json!({}))]),
        ] {
            let answer = answer(content, &calls);
            let error = parse(&text(&answer), &answer).unwrap_err().to_string();
            assert_eq!(error, "nothing was changed", "{content:?}");
            let other = answer_with(&answer, "x");
            let back = parse(&text(&answer), &other).unwrap();
            assert_eq!(back.content, content.trim_end());
            assert_eq!(back.tool_calls, answer.tool_calls);
        }
    }

    fn answer_with(answer: &Message, content: &str) -> Message {
        Message { content: content.into(), ..answer.clone() }
    }

    #[test]
    fn calls_keep_their_ids_and_new_ones_get_their_own() {
        let wrong = answer("Look.", &[("raed", json!({"p": 1}))]);
        let fixed = text(&wrong)
            .replace("raed", "read")
            .replace("\n]", ",\n {\"name\": \"list\", \"arguments\": {}}]");
        let fixed = parse(&fixed, &wrong).unwrap();
        let calls: Vec<_> = fixed.tool_calls.iter().map(|c| (&*c.id, &*c.name)).collect();
        assert_eq!(calls, [("id0", "read"), ("fixed_2", "list")]);
        assert_eq!((fixed.content.as_str(), fixed.author.as_deref()), ("Look.", Some("human")));
        assert!(parse("Look.\n", &wrong).unwrap().tool_calls.is_empty());
    }

    #[test]
    fn what_is_no_answer_is_refused_with_a_reason() {
        assert!(problem("a\n```json tool_calls\n[{]\n```\n").contains("begins on line 2"));
        assert!(problem("```json tool_calls\n[]\n").contains("no line ``` ends"));
        assert!(problem("```json tool_calls\n[]\n```\nand\n").contains("line 4 comes after"));
        assert!(problem("```json tool_calls\n[{\"name\": \"a\"}]\n```").contains("arguments"));
        let unknown = "```json tool_calls\n[{\"name\":\"a\",\"arguments\":{},\"id\":\"x\"}]\n```";
        assert!(problem(unknown).contains("unknown field `id`"), "{}", problem(unknown));
        assert_eq!(problem(" \n\n"), "the text is empty");
    }
}
