//! What a chat template makes of tools, found out by sending some through it.

use anyhow::{Context, Result, bail, ensure};
use minijinja::Value;
use serde_json::{Map, json};

use super::Reply;
use super::codec::template_message;
use super::reply::Form;
use super::template::Template;
use crate::trace::{Message, Role, ToolCall};

/// The form in which the template writes calls. `end` is the token that ends an answer. The error
/// says what the template drops or mangles.
pub(super) fn form(template: &Template, end: &str) -> Result<Form> {
    const NAME: &str = "probe_tool";
    const ARGUMENT: &str = "probe_argument";
    const RESULT: &str = "the probe found 7";
    let tool = json!({"type": "function", "function": {
        "name": NAME, "description": "Looks.",
        "parameters": {"type": "object", "properties": {ARGUMENT: {"type": "string"}}}
    }});
    let arguments = json!({
        ARGUMENT: "a b/ü \"q\" \\ \n</tool>", "deep": {"list": [1, 2.5, true, null, {}], "t": ""}
    });
    let arguments: Map<_, _> = arguments.as_object().cloned().unwrap_or_default();
    let call = ToolCall { id: "call00001".into(), name: NAME.into(), arguments };
    let mut asking = Message::text(Role::Assistant, "");
    asking.tool_calls = vec![call.clone()];
    let mut result = Message::text(Role::Tool, RESULT);
    result.tool_call_id = Some(call.id.clone());
    result.name = Some(NAME.into());
    let messages = [Message::text(Role::User, "look"), asking, result];
    let values: Vec<Value> = messages.iter().map(template_message).collect();
    let tools = Value::from_serialize([tool]);
    let render = |n: usize, prompt| template.render(&values[..n], Some(&tools), prompt);

    let prompt = render(1, true)?;
    ensure!(prompt.contains(NAME) && prompt.contains(ARGUMENT), "it drops the tools on offer");
    let called = render(2, false)?;
    let answer = called.strip_prefix(&prompt).with_context(|| {
        format!("after a prompt that ends in {:?} it writes a call elsewhere", ending(&prompt))
    })?;
    let answer = answer.split_once(end).map_or(answer, |(answer, _)| answer);
    ensure!(answer.contains(NAME), "it drops tool calls");
    let reads_back = |form: &Form| {
        let reply = Reply::parse(answer, *form);
        reply.content.is_empty() && same(&reply.calls, &messages[1].tool_calls)
    };
    let Some(form) = Form::ALL.into_iter().find(reads_back) else {
        bail!("a call is rendered as {answer:?}, which does not read back as the same call");
    };
    ensure!(render(3, true)?.contains(RESULT), "it drops the results of tools");
    Ok(form)
}

/// Whether calls are the same but for their ids.
pub(super) fn same(left: &[ToolCall], right: &[ToolCall]) -> bool {
    left.len() == right.len()
        && left.iter().zip(right).all(|(l, r)| l.name == r.name && l.arguments == r.arguments)
}

fn ending(text: &str) -> &str {
    let from = text.len().saturating_sub(40);
    let from = (from..text.len()).find(|at| text.is_char_boundary(*at)).unwrap_or(text.len());
    &text[from..]
}
