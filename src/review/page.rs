//! Sessions and turns as a person reads them.

use jiff::Timestamp;
use serde_json::Value;

use super::{Turn, words};
use crate::label::Policy;
use crate::trace::{Label, Message, Outcome, Role, Signal, ToolCall, Trace};

/// How much of a turn is shown at first: lines of a text, characters of a value, earlier steps.
const LINES: usize = 24;
const VALUE: usize = 160;
const STEPS: usize = 12;
/// How much one line of a step shows.
const LINE: usize = 72;
/// Lines of a result, at its begin and at its end.
const ENDS: usize = 4;

/// The text without control characters, which would act on the terminal, and without marks that
/// turn the order of what is read around.
pub fn visible(text: &str) -> String {
    let shown = |c: char| match c {
        '\n' => '\n',
        '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => '·',
        c if c.is_control() => char::from_u32(0x2400 + c as u32).filter(|_| c < ' ').unwrap_or('·'),
        c => c,
    };
    text.chars().map(shown).collect()
}

/// A text whose tabs are blanks.
fn plain(text: &str) -> String {
    visible(&text.replace("\r\n", "\n").replace('\t', "    "))
}

/// A time in UTC.
fn moment(ms: i64) -> Option<String> {
    let time = Timestamp::from_millisecond(ms).ok()?;
    Some(time.strftime("%Y-%m-%d %H:%M:%S UTC").to_string())
}

/// What a session is: agent and version, models, repository, dates, where it was read from.
pub fn heading(trace: &Trace) -> String {
    let mut models: Vec<&str> = Vec::new();
    for author in trace.messages.iter().filter_map(|m| m.author.as_deref()) {
        if !models.contains(&author) {
            models.push(author);
        }
    }
    let agent = match &trace.agent_version {
        Some(version) => format!("{} {version}", trace.source),
        None => trace.source.clone(),
    };
    let dates = match (trace.started_ms.and_then(moment), trace.ended_ms.and_then(moment)) {
        (Some(from), Some(to)) if from != to => format!("{from} to {to}"),
        (from, to) => from.or(to).unwrap_or_default(),
    };
    let repository = trace.repository.as_ref().map(|name| format!("repository {name}"));
    let first = [agent, models.join(", "), repository.unwrap_or_default(), dates];
    let first: Vec<String> = first.into_iter().filter(|part| !part.is_empty()).collect();
    let mut lines = vec![first.join(" · ")];
    lines.push(format!("session {} from {}", trace.session, trace.origin));
    lines.extend(trace.parent.as_ref().map(|parent| format!("started by session {parent}")));
    lines.extend(trace.task_category.as_ref().map(|category| format!("task: {category}")));
    lines.extend(trace.outcome.as_ref().map(|word| format!("outcome, by its source: {word}")));
    if !trace.tools.is_empty() {
        lines.push(format!("{} tools", trace.tools.len()));
    }
    plain(&lines.join("\n")) + "\n"
}

/// A whole session. With a policy, answers say why they are not trained.
pub fn session(trace: &Trace, policy: &Policy) -> String {
    let mut text = heading(trace);
    for message in &trace.messages {
        text += &format!("── {}\n", plain(&head(message)));
        for signal in signals(message) {
            text += &format!("   {signal}\n");
        }
        if message.role == Role::Assistant {
            text += &format!("   label {}\n", label(message.label.as_ref()));
            if !message.train {
                let reason = policy.objection(message).map_or("it was read like that", words::of);
                text += &format!("   not trained: {reason}\n");
            }
        }
        if let Some(reasoning) = &message.reasoning_content {
            text += &format!("(thinks) {}\n", plain(reasoning));
        }
        if !message.content.is_empty() {
            text += &format!("{}\n", plain(&message.content));
        }
        for call in &message.tool_calls {
            text += &called(call, usize::MAX);
        }
    }
    text
}

/// Who speaks, when, and how it went.
fn head(message: &Message) -> String {
    let mut parts = vec![message.role.as_str().to_string()];
    if message.role == Role::Tool {
        parts.extend(message.name.as_ref().map(|name| format!("result of {name}")));
        parts.extend(message.exit.map(exit));
    }
    parts.extend(message.author.clone());
    parts.extend(message.time_ms.and_then(moment));
    if message.role == Role::Assistant {
        parts.push(if message.train { "trained" } else { "not trained" }.into());
    }
    parts.join(", ")
}

fn exit(status: i64) -> String {
    match status {
        0 => "worked (exit status 0)".into(),
        n => format!("failed (exit status {n})"),
    }
}

fn signals(message: &Message) -> impl Iterator<Item = &str> {
    message.signals.iter().map(|signal| words::of(signal.as_str()))
}

/// A label with what it rests on, in words.
pub fn label(label: Option<&Label>) -> String {
    let Some(label) = label else { return "none".into() };
    let facts: Vec<String> = label
        .evidence
        .iter()
        .map(|evidence| match evidence.row {
            0 => words::of(&evidence.fact).to_string(),
            row => format!("{} (row {row})", words::of(&evidence.fact)),
        })
        .collect();
    let why = match (facts.is_empty(), label.outcome) {
        (true, Outcome::Unknown) => "nothing says how good it is".into(),
        (true, _) => "given by its source".into(),
        (false, _) => facts.join("; "),
    };
    plain(&format!("{}: {why}", label.outcome.as_str()))
}

/// A call with an argument a line, values of at most so many characters.
fn called(call: &ToolCall, most: usize) -> String {
    let mut text = format!("→ {}\n", plain(&call.name));
    for (name, value) in &call.arguments {
        let value = shortened(&said(value), most).replace('\n', "\n      ");
        text += &format!("    {}: {value}\n", plain(name));
    }
    text
}

/// A value as a person writes it.
fn said(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// At most so many characters of a text, and how many it has.
fn shortened(text: &str, most: usize) -> String {
    let length = text.chars().count();
    let begin: String = text.chars().take(most).collect();
    match length > most {
        true => format!("{}… ({length} characters)", plain(&begin)),
        false => plain(&begin),
    }
}

/// A text in a line.
fn in_a_line(text: &str) -> String {
    shortened(&text.split_whitespace().collect::<Vec<_>>().join(" "), LINE)
}

/// At most so many lines, set in, and how many are left out.
fn lines(text: &str, most: usize) -> String {
    let text = plain(text);
    let all: Vec<&str> = text.lines().collect();
    let shown = all.iter().take(most).map(|line| format!("  {line}\n"));
    let mut shown: String = shown.collect();
    if all.len() > most {
        shown += &format!("  … {} more lines\n", all.len() - most);
    }
    shown
}

/// The first and last lines of a result.
fn ends(text: &str, most: usize) -> String {
    let text = plain(text);
    let all: Vec<&str> = text.lines().collect();
    let line = |line: &&str| format!("    {line}\n");
    if all.len() <= most.saturating_mul(2).saturating_add(1) {
        return all.iter().map(line).collect();
    }
    let left = all.len() - 2 * most;
    let (first, last) = (&all[..most], &all[all.len() - most..]);
    let gap = format!("    … {left} lines …\n");
    first.iter().map(line).chain([gap]).chain(last.iter().map(line)).collect()
}

fn results<'a>(
    messages: &'a [Message],
    answer: &'a Message,
) -> impl Iterator<Item = (&'a ToolCall, Option<&'a Message>)> {
    answer.tool_calls.iter().map(|call| {
        let is_its = |m: &&Message| m.tool_call_id.as_deref() == Some(&call.id);
        (call, messages.iter().filter(|m| m.role == Role::Tool).find(is_its))
    })
}

/// How a call went, in words, where anything is known.
fn went(result: Option<&Message>) -> String {
    let Some(result) = result else { return "no result".into() };
    let told = signals(result).map(String::from).chain(result.exit.map(exit));
    told.collect::<Vec<_>>().join("; ")
}

/// A step of the model in a line.
fn step(messages: &[Message], message: &Message) -> String {
    let mut parts = Vec::new();
    if !message.content.trim().is_empty() {
        parts.push(in_a_line(&message.content));
    }
    for (call, result) in results(messages, message) {
        let first = call.arguments.values().next().map(said).unwrap_or_default();
        let bad = result.is_none_or(|r| r.exit.is_some_and(|n| n != 0) || !r.signals.is_empty());
        let went = if bad { format!(": {}", plain(&went(result))) } else { String::new() };
        parts.push(format!("→ {}({}){went}", plain(&call.name), in_a_line(&first)));
    }
    format!("  {}\n", parts.join("  "))
}

/// One turn with the answer that is asked about; `all` shortens nothing.
pub fn turn(place: &str, turn: &Turn, all: bool) -> String {
    let (trace, question) = (turn.trace, turn.question);
    let messages = &trace.messages;
    let answer = &messages[question.at];
    let most = |n| if all { usize::MAX } else { n };
    let mut text = format!("── {place}\n{}", heading(trace));
    if let Some(time) = answer.time_ms.and_then(moment) {
        text += &format!("this answer: {time}\n");
    }
    text += &format!("\nAsked:\n{}", lines(&messages[question.asked].content, most(LINES)));

    let of_model = |m: &&Message| m.role == Role::Assistant;
    let before: Vec<&Message> =
        messages[question.asked..question.at].iter().filter(of_model).collect();
    if !before.is_empty() {
        text += "\nSteps before:\n";
        let left = before.len().saturating_sub(most(STEPS));
        if left > 0 {
            text += &format!("  … {left} steps\n");
        }
        before[left..].iter().for_each(|message| text += &step(messages, message));
    }

    text += "\nThe answer:\n";
    if let Some(reasoning) = answer.reasoning_content.as_ref().filter(|_| all) {
        text += &format!("  (thinks)\n{}", lines(reasoning, usize::MAX));
    }
    text += &lines(&answer.content, most(LINES));
    for (call, result) in results(messages, answer) {
        text += &called(call, most(VALUE));
        let went = Some(went(result)).filter(|went| !went.is_empty());
        text += &format!("  ← {}\n", plain(went.as_deref().unwrap_or("result")));
        text += &result.map(|m| ends(&m.content, most(ENDS))).unwrap_or_default();
    }
    for signal in signals(answer) {
        text += &format!("  ({signal})\n");
    }

    let after: Vec<&Message> =
        messages[question.at + 1..question.end].iter().filter(of_model).collect();
    if !after.is_empty() {
        text += "\nSteps after:\n";
        after.iter().take(most(3)).for_each(|message| text += &step(messages, message));
        let left = after.len().saturating_sub(most(3));
        if left > 0 {
            text += &format!("  … {left} steps\n");
        }
    }
    let shell = messages[question.at..question.end].iter();
    for message in shell.filter(|m| m.signals.contains(&Signal::Shell)) {
        text += &format!("\nRun by hand:\n{}", lines(&message.content, most(ENDS)));
    }
    if let Some(next) = messages.get(question.end) {
        text += &format!("\nSaid next:\n{}", lines(&next.content, most(LINES / 2)));
    }
    text += &format!("\nLabel {}\n", label(answer.label.as_ref()));
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn nothing_acts_on_the_terminal() {
        let shown = visible("a\x1b[2J\r\u{9b}2J\u{202e}b\n");
        assert_eq!(shown, "a␛[2J␍·2J·b\n");
    }

    #[test]
    fn long_values_say_how_long_they_are() {
        let arguments = json!({"path": "a.rs", "text": "x".repeat(300), "n": [1, 2]});
        let arguments = arguments.as_object().cloned().unwrap();
        let call = ToolCall { id: "c".into(), name: "write".into(), arguments };
        let wanted = "→ write\n    path: a.rs\n    text: xxx… (300 characters)\n    n: [1,… (5 characters)\n";
        assert_eq!(called(&call, 3).replace("a.r… (4 characters)", "a.rs"), wanted);
        assert!(called(&call, usize::MAX).contains(&"x".repeat(300)));
    }

    #[test]
    fn a_result_shows_how_it_begins_and_ends() {
        let text: String = (1..=20).map(|n| format!("{n}\n")).collect();
        assert_eq!(ends(&text, 2), "    1\n    2\n    … 16 lines …\n    19\n    20\n");
        assert_eq!(ends("a\nb\n", 2), "    a\n    b\n");
        assert_eq!(lines(&text, 2), "  1\n  2\n  … 18 more lines\n");
    }
}
