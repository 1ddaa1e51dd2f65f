//! A model's answer taken apart: reasoning, tool calls in the form its template has them, the text
//! around them.

use serde_json::{Map, Value};

use super::Reply;
use crate::trace::ToolCall;

const OPEN: &str = "<tool_call>";
const CLOSE: &str = "</tool_call>";
const PYTHON: &str = "<|python_tag|>";
const LIST: &str = "[TOOL_CALLS]";

/// How a template writes tool calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// JSON between `<tool_call>` tags, as Hermes and Qwen have it.
    Tagged,
    /// A JSON array after `[TOOL_CALLS]`, as Mistral has it.
    Listed,
    /// JSON at the start of a line and nothing around it, or `<|python_tag|>` before it, as
    /// Llama 3 has it.
    Bare,
}

/// A call's name and arguments.
type Call = (String, Map<String, Value>);

/// What is wrong with a call, and where in the text that follows its mark the next may begin.
struct Broken {
    problem: String,
    end: usize,
}

impl Reply {
    /// Parses an answer's text, end-of-turn token left out. A call that cannot be parsed stays in
    /// the content, and `malformed` says what was wrong with it.
    pub fn parse(text: &str, form: Form) -> Reply {
        let (reasoning, mut rest) = split_reasoning(text, form);
        let mut reply = Reply { reasoning, ..Reply::default() };
        let mut problems = Vec::new();
        while let Some((at, body)) = form.find(rest) {
            reply.content.push_str(&rest[..at]);
            let after = match form.take(&rest[body..]) {
                Ok((calls, end)) => {
                    for (name, arguments) in calls {
                        let id = format!("call_{}", reply.calls.len() + 1);
                        reply.calls.push(ToolCall { id, name, arguments });
                    }
                    body + end
                }
                Err(broken) => {
                    problems.push(broken.problem);
                    reply.content.push_str(&rest[at..body + broken.end]);
                    body + broken.end
                }
            };
            rest = &rest[after..];
        }
        reply.content.push_str(rest);
        reply.content = reply.content.trim().to_string();
        reply.malformed = (!problems.is_empty()).then(|| problems.join("; "));
        reply
    }
}

impl Form {
    pub(super) const ALL: [Form; 3] = [Form::Tagged, Form::Listed, Form::Bare];

    /// Where the next call begins with its mark, and where its JSON does.
    fn find(self, text: &str) -> Option<(usize, usize)> {
        let marked = |mark: &str| text.find(mark).map(|at| (at, at + mark.len()));
        match self {
            Form::Tagged => marked(OPEN),
            Form::Listed => marked(LIST),
            Form::Bare => {
                let mut at = 0;
                text.split_inclusive('\n').find_map(|line| {
                    let start = at;
                    at += line.len();
                    let body = line.trim_start_matches([' ', '\t', ';']);
                    let begins = start + line.len() - body.len();
                    match body.strip_prefix(PYTHON) {
                        Some(_) => Some((start, begins + PYTHON.len())),
                        None => looks_like_a_call(&text[begins..]).then_some((start, begins)),
                    }
                })
            }
        }
    }

    /// The calls at the start of `body`, and where the text goes on after them.
    fn take(self, body: &str) -> Result<(Vec<Call>, usize), Broken> {
        let broken = |problem: String| {
            let end = match self {
                Form::Tagged => body.find(CLOSE).map_or(body.len(), |end| end + CLOSE.len()),
                Form::Listed => body.find(LIST).unwrap_or(body.len()),
                Form::Bare => body.find('\n').map_or(body.len(), |end| end + 1),
            };
            Broken { problem, end }
        };
        let (value, mut end) = json(body).map_err(broken)?;
        if self == Form::Tagged {
            let rest = body[end..].trim_start();
            if !rest.starts_with(CLOSE) {
                return Err(broken(match rest {
                    "" => "a tool call is not closed".into(),
                    _ => "a tool call goes on after its JSON".into(),
                }));
            }
            end = body.len() - rest.len() + CLOSE.len();
        }
        let values = match (self, value) {
            (Form::Listed, Value::Array(values)) if !values.is_empty() => values,
            (Form::Listed, _) => return Err(broken("the tool calls are not a JSON array".into())),
            (_, value) => vec![value],
        };
        let calls = values.into_iter().map(call).collect::<Result<_, _>>().map_err(broken)?;
        Ok((calls, end))
    }
}

/// Whether JSON without a mark is meant as a call: nothing but a call's keys in it, or a call that
/// breaks off. A tool's schema, say, has more keys.
fn looks_like_a_call(text: &str) -> bool {
    let Some(inside) = text.strip_prefix('{') else { return false };
    match json(text) {
        Ok((Value::Object(object), _)) => {
            let of_a_call = |key: &String| {
                ["name", "parameters", "arguments", "type", "id"].contains(&key.as_str())
            };
            let arguments = object.contains_key("parameters") || object.contains_key("arguments");
            object.contains_key("name") && arguments && object.keys().all(of_a_call)
        }
        Ok(_) => false,
        Err(_) => {
            let next = inside.trim_start().strip_prefix("\"name\"").map(str::trim_start);
            next.is_some_and(|next| next.starts_with(':'))
                && (inside.contains("\"parameters\"") || inside.contains("\"arguments\""))
        }
    }
}

/// The reasoning and what follows it. A prompt may itself end in `<think>`, so the opening tag is
/// optional.
fn split_reasoning(text: &str, form: Form) -> (Option<String>, &str) {
    let start = text.trim_start();
    let (inside, rest) = match (start.strip_prefix("<think>"), text.split_once("</think>")) {
        (Some(opened), _) => match opened.split_once("</think>") {
            Some((inside, rest)) => (inside, rest),
            None => (opened, ""),
        },
        (None, Some((inside, rest))) if form.find(inside).is_none() => (inside, rest),
        _ => return (None, text),
    };
    let inside = inside.trim();
    ((!inside.is_empty()).then(|| inside.to_string()), rest)
}

/// The JSON value at the start of a text, and where it ends.
fn json(body: &str) -> Result<(Value, usize), String> {
    let mut values = serde_json::Deserializer::from_str(body).into_iter::<Value>();
    match values.next() {
        Some(Ok(value)) => Ok((value, values.byte_offset())),
        Some(Err(e)) if e.is_eof() => Err("a tool call breaks off".into()),
        Some(Err(e)) => Err(format!("a tool call is not JSON: {e}")),
        None => Err("a tool call is empty".into()),
    }
}

fn call(value: Value) -> Result<Call, String> {
    let Value::Object(mut object) = value else {
        return Err("a tool call is not a JSON object".into());
    };
    let name = match object.remove("name") {
        Some(Value::String(name)) if !name.is_empty() => name,
        _ => return Err("a tool call has no name".into()),
    };
    match object.remove("arguments").or_else(|| object.remove("parameters")) {
        Some(Value::Object(arguments)) => Ok((name, arguments)),
        Some(Value::String(_)) => Err(format!("the arguments of {name} are a text, not an object")),
        _ => Err(format!("the arguments of {name} are not an object")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn hermes(text: &str) -> Reply {
        Reply::parse(text, Form::Tagged)
    }

    fn calls(reply: &Reply) -> Vec<(&str, String)> {
        let text = |call: &ToolCall| Value::from(call.arguments.clone()).to_string();
        reply.calls.iter().map(|call| (call.name.as_str(), text(call))).collect()
    }

    #[test]
    fn bare_calls_as_llama_writes_them() {
        let bare = |text: &str| Reply::parse(text, Form::Bare);
        let (a, b) = (("a", r#"{"x":{"y":1}}"#.to_string()), ("b", "{}".to_string()));
        let one = "{\"name\": \"a\", \"parameters\": {\"x\": {\"y\": 1}}}";
        let two = "{\"name\": \"b\", \"parameters\": {}}";
        assert_eq!(calls(&bare(one)), std::slice::from_ref(&a));
        assert_eq!(calls(&bare(&format!("<|python_tag|>{one}; {two}"))), [a.clone(), b.clone()]);
        let reply = bare(&format!("<think>so</think>\n\nLooking.\n{one}\n{two}\nDone."));
        assert_eq!(calls(&reply), [a, b]);
        assert_eq!(reply.content, "Looking.\n\n\nDone.");
        assert_eq!(reply.reasoning.as_deref(), Some("so"));
        for text in [
            "{\"name\": \"x\"}",
            "{\"name\": \"x\", \"description\": \"a schema\", \"parameters\": {}}",
            "{",
            "see {\"name\": \"a\", \"parameters\": {}}",
        ] {
            let plain = Reply { content: text.into(), ..Reply::default() };
            assert_eq!(bare(text), plain);
        }
        for (text, part) in [
            ("{\"name\": \"a\", \"parameters\": {\"x", "breaks off"),
            ("{\"name\": \"a\", \"parameters\": \"{}\"}", "are a text"),
            ("<|python_tag|>brave_search.call(query=\"x\")", "not JSON"),
        ] {
            let reply = bare(text);
            assert!(reply.malformed.unwrap_or_default().contains(part), "{text}");
            assert_eq!(reply.content, text);
        }
    }

    #[test]
    fn listed_calls_as_mistral_writes_them() {
        let listed = |text: &str| Reply::parse(text, Form::Listed);
        let reply = listed(
            "Both.[TOOL_CALLS] [{\"name\": \"a\", \"arguments\": {\"x\": \"[\"}, \"id\": \"123456789\"}, \
             {\"name\": \"b\", \"arguments\": {}}]",
        );
        assert_eq!(calls(&reply), [("a", r#"{"x":"["}"#.into()), ("b", "{}".into())]);
        assert_eq!(reply.content, "Both.");
        for (text, part) in [
            ("[TOOL_CALLS] [{\"name\": \"a\"", "breaks off"),
            ("[TOOL_CALLS]{}", "not a JSON array"),
            ("[TOOL_CALLS][]", "not a JSON array"),
            ("[TOOL_CALLS][{\"name\": \"a\"}]", "not an object"),
        ] {
            let reply = listed(text);
            assert!(reply.malformed.unwrap_or_default().contains(part), "{text}");
            assert_eq!((reply.content.as_str(), reply.calls.len()), (text, 0));
        }
    }

    #[test]
    fn text_reasoning_and_calls_come_apart() {
        let reply = hermes(
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
        let reply = hermes("  use <b> & <tool> \n");
        assert_eq!(reply, Reply { content: "use <b> & <tool>".into(), ..Reply::default() });
    }

    #[test]
    fn reasoning_opened_in_the_prompt_or_never_closed() {
        assert_eq!(hermes("hm\n</think>\n\nYes").reasoning.as_deref(), Some("hm"));
        assert_eq!(hermes("hm\n</think>\n\nYes").content, "Yes");
        let reply = hermes("<think>for ever");
        assert_eq!((reply.reasoning.as_deref(), reply.content.as_str()), (Some("for ever"), ""));
        assert_eq!(hermes("<think>\n\n</think>\n\nYes").reasoning, None);
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
            let reply = hermes(text);
            let malformed = reply.malformed.unwrap_or_default();
            assert!(malformed.contains(part), "{text}: {malformed}");
            assert_eq!(reply.content, text, "a broken call stays readable");
            assert!(reply.calls.is_empty());
        }
        let deep = format!("<tool_call>{}", "[".repeat(100_000));
        assert!(hermes(&deep).malformed.is_some());
        let good = "<tool_call>{\"name\": \"a\", \"arguments\": {}}</tool_call>";
        let reply = hermes(&format!("<tool_call>x</tool_call>{good}"));
        assert_eq!(reply.calls.len(), 1, "a good call after a bad one counts");
    }
}
