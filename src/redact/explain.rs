//! What was redacted where, in words that hold no value.

use serde_json::Value;

use super::Account;
use super::placeholders::placeholders;

/// How much of the text around a placeholder is shown with it.
const AROUND: usize = 40;

/// One placeholder that redaction put in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explained {
    /// Where in the row or the text: `messages[2].content`, or empty for a text.
    pub path: String,
    /// The line of that text, counted from 1.
    pub line: usize,
    /// The rules that found the value, with their class.
    pub rules: Vec<(String, &'static str)>,
    /// The redacted text around it.
    pub excerpt: String,
}

/// Explains every placeholder in a redacted text that `account` tells of.
pub fn explain(text: &str, account: &Account) -> Vec<Explained> {
    let mut explained = Vec::new();
    in_text(text, "", account, &mut explained);
    explained
}

/// The same for a JSON value.
pub fn explain_json(value: &Value, account: &Account) -> Vec<Explained> {
    let mut explained = Vec::new();
    in_json(value, "", account, &mut explained);
    explained
}

fn in_json(value: &Value, path: &str, account: &Account, out: &mut Vec<Explained>) {
    match value {
        Value::String(text) => in_text(text, path, account, out),
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                in_json(item, &format!("{path}[{index}]"), account, out);
            }
        }
        Value::Object(map) => {
            for (key, item) in map {
                let dot = if path.is_empty() { "" } else { "." };
                in_text(key, &format!("{path} (a name)"), account, out);
                in_json(item, &format!("{path}{dot}{key}"), account, out);
            }
        }
        _ => {}
    }
}

fn in_text(text: &str, path: &str, account: &Account, out: &mut Vec<Explained>) {
    let (mut line, mut counted) = (1, 0);
    for place in placeholders(text) {
        let Some(finds) = account.found.get(&text[place.clone()]) else { continue };
        line += text[counted..place.start].matches('\n').count();
        counted = place.start;
        let rules = finds.iter().map(|f| (f.rule.clone(), f.class.as_str())).collect();
        let excerpt = excerpt(text, place.start, place.end);
        out.push(Explained { path: path.to_string(), line, rules, excerpt });
    }
}

/// The part of the line around a placeholder.
fn excerpt(text: &str, start: usize, end: usize) -> String {
    let line_start = text[..start].rfind('\n').map_or(0, |n| n + 1);
    let line_end = text[end..].find('\n').map_or(text.len(), |n| end + n);
    let mut from = start.saturating_sub(AROUND).max(line_start);
    let mut to = (end + AROUND).min(line_end);
    while !text.is_char_boundary(from) {
        from -= 1;
    }
    while !text.is_char_boundary(to) {
        to += 1;
    }
    let (before, after) =
        (["", "…"][usize::from(from > line_start)], ["", "…"][usize::from(to < line_end)]);
    format!("{before}{}{after}", &text[from..to])
}
