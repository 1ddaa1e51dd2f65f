//! A model's answer taken apart: reasoning, tool calls in Hermes' form, the text around them.

use serde_json::{Map, Value};

use super::Reply;
use crate::trace::ToolCall;

const OPEN: &str = "<tool_call>";
const CLOSE: &str = "</tool_call>";

impl Reply {
    /// Parses an answer's text, end-of-turn token left out. A call that cannot be parsed stays in
    /// the content, and `malformed` says what was wrong with it.
    pub fn parse(text: &str) -> Reply {
        let (reasoning, mut rest) = split_reasoning(text);
        let mut reply = Reply { reasoning, ..Reply::default() };
        let mut problems = Vec::new();
        while let Some(at) = rest.find(OPEN) {
            reply.content.push_str(&rest[..at]);
            let body = &rest[at + OPEN.len()..];
            match call(body) {
                Ok((name, arguments, end)) => {
                    let id = format!("call_{}", reply.calls.len() + 1);
                    reply.calls.push(ToolCall { id, name, arguments });
                    rest = &body[end..];
                }
                Err(problem) => {
                    problems.push(problem);
                    let end = body.find(CLOSE).map_or(body.len(), |end| end + CLOSE.len());
                    reply.content.push_str(&rest[at..at + OPEN.len() + end]);
                    rest = &body[end..];
                }
            }
        }
        reply.content.push_str(rest);
        reply.content = reply.content.trim().to_string();
        reply.malformed = (!problems.is_empty()).then(|| problems.join("; "));
        reply
    }
}

/// The reasoning and what follows it. A prompt may itself end in `<think>`, so the opening tag is
/// optional.
fn split_reasoning(text: &str) -> (Option<String>, &str) {
    let start = text.trim_start();
    let (inside, rest) = match (start.strip_prefix("<think>"), text.split_once("</think>")) {
        (Some(opened), _) => match opened.split_once("</think>") {
            Some((inside, rest)) => (inside, rest),
            None => (opened, ""),
        },
        (None, Some((inside, rest))) if !inside.contains(OPEN) => (inside, rest),
        _ => return (None, text),
    };
    let inside = inside.trim();
    ((!inside.is_empty()).then(|| inside.to_string()), rest)
}

/// A call's name and arguments, and where the text goes on after it.
fn call(body: &str) -> Result<(String, Map<String, Value>, usize), String> {
    let mut values = serde_json::Deserializer::from_str(body).into_iter::<Value>();
    let value = match values.next() {
        Some(Ok(value)) => value,
        Some(Err(e)) if e.is_eof() => return Err("a tool call breaks off".into()),
        Some(Err(e)) => return Err(format!("a tool call is not JSON: {e}")),
        None => return Err("a tool call is empty".into()),
    };
    let after = values.byte_offset();
    let rest = body[after..].trim_start();
    if !rest.starts_with(CLOSE) {
        return Err(match rest {
            "" => "a tool call is not closed".into(),
            _ => "a tool call goes on after its JSON".to_string(),
        });
    }
    let end = body.len() - rest.len() + CLOSE.len();
    let Value::Object(mut object) = value else {
        return Err("a tool call is not a JSON object".into());
    };
    let name = match object.remove("name") {
        Some(Value::String(name)) if !name.is_empty() => name,
        _ => return Err("a tool call has no name".into()),
    };
    match object.remove("arguments") {
        Some(Value::Object(arguments)) => Ok((name, arguments, end)),
        Some(Value::String(_)) => Err(format!("the arguments of {name} are a text, not an object")),
        _ => Err(format!("the arguments of {name} are not an object")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn text_reasoning_and_calls_come_apart() {
        let reply = Reply::parse(
            "<think>\nwhy not\n</think>\n\nLooking.\n<tool_call>\n{\"name\": \"read\", \
             \"arguments\": {\"path\": \"</tool_call>\"}}\n</tool_call>\n<tool_call>{\"name\": \
             \"ls\", \"arguments\": {}}</tool_call>",
        );
        assert_eq!(reply.reasoning.as_deref(), Some("why not"));
        assert_eq!(reply.content, "Looking.");
        assert_eq!(reply.malformed, None);
        assert_eq!(reply.calls.len(), 2);
        assert_eq!(reply.calls[0].name, "read");
        assert_eq!(Value::from(reply.calls[0].arguments.clone()), json!({"path": "</tool_call>"}));
        assert_ne!(reply.calls[0].id, reply.calls[1].id);
    }

    #[test]
    fn plain_text_stays_as_it_is() {
        let reply = Reply::parse("  use <b> & <tool> \n");
        assert_eq!(reply, Reply { content: "use <b> & <tool>".into(), ..Reply::default() });
    }

    #[test]
    fn reasoning_opened_in_the_prompt_or_never_closed() {
        assert_eq!(Reply::parse("hm\n</think>\n\nYes").reasoning.as_deref(), Some("hm"));
        assert_eq!(Reply::parse("hm\n</think>\n\nYes").content, "Yes");
        let reply = Reply::parse("<think>for ever");
        assert_eq!((reply.reasoning.as_deref(), reply.content.as_str()), (Some("for ever"), ""));
        assert_eq!(Reply::parse("<think>\n\n</think>\n\nYes").reasoning, None);
    }

    #[test]
    fn what_is_wrong_with_a_call_is_said() {
        let cases = [
            ("<tool_call>\n{\"name\": \"a\", \"argum", "breaks off"),
            ("<tool_call>\n{\"name\": \"a\", \"arguments\": {}}", "not closed"),
            ("<tool_call>{'name': 'a'}</tool_call>", "not JSON"),
            ("<tool_call></tool_call>", "not JSON"),
            ("<tool_call>[1]</tool_call>", "not a JSON object"),
            ("<tool_call>{\"arguments\": {}}</tool_call>", "no name"),
            ("<tool_call>{\"name\": \"a\"}</tool_call>", "arguments of a are not an object"),
            ("<tool_call>{\"name\": \"a\", \"arguments\": \"{}\"}</tool_call>", "are a text"),
            ("<tool_call>{\"name\": \"a\", \"arguments\": {}} x</tool_call>", "goes on"),
        ];
        for (text, part) in cases {
            let reply = Reply::parse(text);
            let malformed = reply.malformed.unwrap_or_default();
            assert!(malformed.contains(part), "{text}: {malformed}");
            assert_eq!(reply.content, text, "a broken call stays readable");
            assert!(reply.calls.is_empty());
        }
        let deep = format!("<tool_call>{}", "[".repeat(100_000));
        assert!(Reply::parse(&deep).malformed.is_some());
        let good = "<tool_call>{\"name\": \"a\", \"arguments\": {}}</tool_call>";
        let reply = Reply::parse(&format!("<tool_call>x</tool_call>{good}"));
        assert_eq!(reply.calls.len(), 1, "a good call after a bad one counts");
    }
}
