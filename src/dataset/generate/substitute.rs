//! The same session about other files and names.

use std::cell::LazyCell;
use std::collections::BTreeMap;

use serde_json::Value;

use super::super::{Example, schema};
use super::pool::{Pool, Shape, slots, texts};
use crate::chance::Chance;
use crate::trace::{Role, Trace};

/// Swaps values that the person named and a call used, in questions, answers, calls and results
/// alike, for values other sessions have in the same place.
pub(super) fn substitute(parent: &Example, pool: &Pool, chance: &mut Chance) -> Option<Trace> {
    let trace = &parent.trace;
    // Of most rows nothing is named, and neither text is needed.
    let fixed = LazyCell::new(|| fixed_text(parent));
    let everything = LazyCell::new(|| all_text(trace));
    let asked = spoken(trace, Role::User);
    let mut swaps: BTreeMap<String, String> = BTreeMap::new();
    for call in trace.messages.iter().flat_map(|m| &m.tool_calls) {
        for (key, value) in texts(call) {
            let named = slots(value)
                .into_iter()
                .find(|s| Shape::of(s).is_some() && occurs(&asked, s) && !occurs(&fixed, s));
            let Some(slot) = named.filter(|s| !swaps.contains_key(*s)) else { continue };
            let Some(shape) = Shape::of(slot) else { continue };
            let fresh = |new: &str| !occurs(&everything, new) && !swaps.values().any(|v| v == new);
            let Some(new) = pool.value(&call.name, key, &shape, chance, fresh) else { continue };
            swaps.insert(slot.to_string(), new.to_string());
            // The file goes by its own name as well.
            let own = |path: &str| path.rsplit_once('/').map(|(_, file)| file.to_string());
            if let (Some(old), Some(new)) = (own(slot), own(new))
                && Shape::of(&old).is_some()
                && !occurs(&fixed, &old)
            {
                swaps.entry(old).or_insert(new);
            }
        }
    }
    if swaps.is_empty() {
        return None;
    }
    let mut made = trace.clone();
    for message in made.messages.iter_mut().filter(|m| m.role != Role::System) {
        message.content = swapped(&message.content, &swaps);
        message.reasoning_content =
            message.reasoning_content.as_deref().map(|r| swapped(r, &swaps));
        for call in &mut message.tool_calls {
            call.arguments.values_mut().for_each(|v| swap_all(v, &swaps));
        }
    }
    for keyword in &mut made.keywords {
        *keyword = swapped(keyword, &swaps);
    }
    Some(made)
}

/// What must not change: the system prompt and the tools.
fn fixed_text(example: &Example) -> String {
    let mut text = spoken(&example.trace, Role::System);
    for tool in &example.trace.tools {
        text += &tool.to_string();
        text.push('\n');
    }
    let calls = example.trace.messages.iter().flat_map(|m| &m.tool_calls);
    for call in calls {
        text += &call.name;
        text.push('\n');
    }
    text += &schema::names(example).join("\n");
    text
}

fn spoken(trace: &Trace, role: Role) -> String {
    let said = trace.messages.iter().filter(|m| m.role == role);
    said.map(|m| m.content.as_str()).collect::<Vec<_>>().join("\n")
}

fn all_text(trace: &Trace) -> String {
    let mut text = trace.text();
    for call in trace.messages.iter().flat_map(|m| &m.tool_calls) {
        text.push('\n');
        text += &Value::Object(call.arguments.clone()).to_string();
    }
    text
}

fn part_of_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Whether `word` stands at `at` by itself.
fn alone(text: &str, at: usize, word: &str) -> bool {
    let before = text[..at].chars().next_back();
    let after = text[at + word.len()..].chars().next();
    !before.is_some_and(part_of_word) && !after.is_some_and(part_of_word)
}

fn occurs(text: &str, word: &str) -> bool {
    text.match_indices(word).any(|(at, _)| alone(text, at, word))
}

/// Swaps in one pass, the longest match first, so that nothing is swapped twice.
fn swapped(text: &str, swaps: &BTreeMap<String, String>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    while at < text.len() {
        let here = swaps
            .iter()
            .filter(|(old, _)| text[at..].starts_with(old.as_str()) && alone(text, at, old))
            .max_by_key(|(old, _)| old.len());
        if let Some((old, new)) = here {
            out += new;
            at += old.len();
        } else if let Some(next) = text[at..].chars().next() {
            out.push(next);
            at += next.len_utf8();
        }
    }
    out
}

fn swap_all(value: &mut Value, swaps: &BTreeMap<String, String>) {
    match value {
        Value::String(text) => *text = swapped(text, swaps),
        Value::Array(items) => items.iter_mut().for_each(|v| swap_all(v, swaps)),
        Value::Object(map) => map.values_mut().for_each(|v| swap_all(v, swaps)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::{call, result, row};
    use super::*;
    use crate::trace::Message;
    use serde_json::json;

    #[test]
    fn a_value_is_swapped_wherever_it_stands() {
        let make = |session: &str, path: &str, word: &str| {
            row(
                session,
                vec![
                    Message::text(Role::System, "main.py is never touched"),
                    Message::text(Role::User, format!("find {word} in {path}")),
                    call("c1", "grep", json!({"file": format!("./{path}"), "what": word})),
                    result("c1", &format!("{path}:3: {word}s and {word}")),
                    Message::text(Role::Assistant, format!("{word} is in line 3.")),
                ],
            )
        };
        let parent = make("a", "src/apple.rs", "falcon");
        let others = [make("b", "lib/tulip.rs", "zebra"), make("c", "docs/main.py", "heron")];
        let pool = Pool::collect(others.iter().map(|e| &e.trace));
        let made = substitute(&parent, &pool, &mut Chance::new(1, "t")).unwrap();
        let word = made.messages[2].tool_calls[0].arguments["what"].as_str().unwrap();
        assert!(["zebra", "heron"].contains(&word));
        assert_eq!(made.messages[1].content, format!("find {word} in lib/tulip.rs"));
        assert_eq!(made.messages[2].tool_calls[0].arguments["file"], "./lib/tulip.rs");
        assert_eq!(made.messages[3].content, format!("lib/tulip.rs:3: falcons and {word}"));
        assert_eq!(made.messages[4].content, format!("{word} is in line 3."));
        assert_eq!(made.messages[0], parent.trace.messages[0]);
        // Nothing to draw from: nothing is made.
        assert!(substitute(&parent, &Pool::default(), &mut Chance::new(1, "t")).is_none());
    }

    #[test]
    fn swaps_do_not_feed_each_other() {
        let swaps: BTreeMap<_, _> = [("a1x", "b2x"), ("b2x", "a1x"), ("src/a1x", "src/c")]
            .map(|(a, b)| (a.to_string(), b.to_string()))
            .into();
        assert_eq!(swapped("a1x b2x src/a1x a1xx é", &swaps), "b2x a1x src/c a1xx é");
    }
}
