//! Which words an answer should contain, and whether it does.
//!
//! The rule, where the row names none: from calls, each tool's name and each scalar argument of at
//! most [`LONGEST_VALUE`] characters; from the text (and longer arguments), its words: runs of
//! letters and digits, joined by `_ - . / :` inside, at least [`SHORTEST_WORD`] characters, no
//! stop words. Of these the [`MOST`] longest count, ties in order of appearance: long words are
//! the specific ones. Everything is compared in lower case with white space folded.

use serde_json::Value;

use crate::trace::{Message, ToolCall};

/// An argument longer than this is text, not one keyword.
pub const LONGEST_VALUE: usize = 64;
/// A shorter word of the text says too little.
pub const SHORTEST_WORD: usize = 4;
/// How many words of the text count.
pub const MOST: usize = 12;

/// Words that every answer may contain.
const STOP_WORDS: &[&str] = &[
    "about", "above", "after", "again", "also", "another", "because", "been", "before", "being",
    "below", "both", "cannot", "could", "does", "doing", "done", "down", "during", "each", "every",
    "from", "have", "having", "here", "into", "it's", "itself", "just", "know", "like", "made",
    "make", "many", "more", "most", "much", "must", "need", "next", "only", "other", "over",
    "please", "same", "should", "since", "some", "such", "sure", "than", "that", "their", "them",
    "then", "there", "these", "they", "this", "those", "through", "under", "until", "very", "want",
    "well", "were", "what", "when", "where", "which", "while", "will", "with", "would", "your",
];

/// The keywords of a reference by the rule above.
pub fn extract(reference: &Message) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    let mut prose = vec![reference.content.clone()];
    for call in &reference.tool_calls {
        keep(&mut found, folded(&call.name));
        for value in call.arguments.values() {
            scalars(value, &mut |text| {
                let text = folded(text);
                match text.chars().count() {
                    0 => {}
                    n if n <= LONGEST_VALUE => keep(&mut found, text),
                    _ => prose.push(text),
                }
            });
        }
    }
    let mut words: Vec<String> = Vec::new();
    for text in &prose {
        for word in words_of(&folded(text)) {
            let said = STOP_WORDS.contains(&word) || found.iter().any(|f| f == word);
            if word.chars().count() >= SHORTEST_WORD && !said {
                keep(&mut words, word.to_string());
            }
        }
    }
    words.sort_by_key(|word| std::cmp::Reverse(word.chars().count()));
    words.truncate(MOST);
    found.extend(words);
    found
}

/// The share of keywords an answer contains as whole words, in its text or its calls; `None`
/// without keywords.
pub fn recall(keywords: &[String], content: &str, calls: &[ToolCall]) -> Option<f64> {
    let keywords: Vec<String> =
        keywords.iter().map(|k| folded(k)).filter(|k| !k.is_empty()).collect();
    if keywords.is_empty() {
        return None;
    }
    let places = places(content, calls);
    let hits = keywords.iter().filter(|k| places.iter().any(|place| contains(place, k))).count();
    Some(hits as f64 / keywords.len() as f64)
}

/// Every text of an answer, folded: what it says, the tools it calls, their scalar arguments.
pub(super) fn places(content: &str, calls: &[ToolCall]) -> Vec<String> {
    let mut places = vec![folded(content)];
    for call in calls {
        places.push(folded(&call.name));
        for value in call.arguments.values() {
            scalars(value, &mut |text| places.push(folded(text)));
        }
    }
    places
}

fn keep(list: &mut Vec<String>, word: String) {
    if !list.contains(&word) {
        list.push(word);
    }
}

/// Calls `visit` for every text, number and truth value inside `value`, in order.
pub(super) fn scalars(value: &Value, visit: &mut dyn FnMut(&str)) {
    match value {
        Value::String(text) => visit(text),
        Value::Number(number) => visit(&number.to_string()),
        Value::Bool(truth) => visit(if *truth { "true" } else { "false" }),
        Value::Array(list) => list.iter().for_each(|v| scalars(v, visit)),
        Value::Object(map) => map.values().for_each(|v| scalars(v, visit)),
        Value::Null => {}
    }
}

/// Lower case, runs of white space as one space, none at the ends.
pub(super) fn folded(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").to_lowercase()
}

fn words_of(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_alphanumeric() && !"_-./:'".contains(c))
        .map(|word| word.trim_matches(|c: char| !c.is_alphanumeric() && c != '_' && c != '/'))
}

/// Whether `place` holds `word` with no letter or digit touching an end of it that is one.
pub(super) fn contains(place: &str, word: &str) -> bool {
    let joins = |a: Option<char>, b: Option<char>| {
        a.is_some_and(char::is_alphanumeric) && b.is_some_and(char::is_alphanumeric)
    };
    place.match_indices(word).any(|(at, hit)| {
        let before = place[..at].chars().next_back();
        let after = place[at + hit.len()..].chars().next();
        !joins(before, hit.chars().next()) && !joins(hit.chars().next_back(), after)
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::trace::Role;

    fn call(name: &str, arguments: Value) -> ToolCall {
        let Value::Object(arguments) = arguments else { panic!("not an object") };
        ToolCall { id: "c".into(), name: name.into(), arguments }
    }

    #[test]
    fn calls_give_names_and_scalars_and_text_its_longest_words() {
        let mut reference = Message::text(
            Role::Assistant,
            "I will look into `src/main.rs` and the  Configuration there.",
        );
        reference.tool_calls = vec![call(
            "open_file",
            json!({"path": "src/main.rs", "range": {"from": 3, "all": true}}),
        )];
        assert_eq!(
            extract(&reference),
            ["open_file", "src/main.rs", "3", "true", "configuration", "look"]
        );
    }

    #[test]
    fn long_arguments_are_text() {
        let mut reference = Message::text(Role::Assistant, "");
        let body = "alpha ".repeat(20) + "omega_value";
        reference.tool_calls = vec![call("write", json!({ "body": body }))];
        assert_eq!(extract(&reference), ["write", "omega_value", "alpha"]);
    }

    #[test]
    fn only_so_many_words_count_and_ties_keep_their_order() {
        let text: Vec<String> = (0..30).map(|i| format!("word{i:02}")).collect();
        let found = extract(&Message::text(Role::Assistant, text.join(" ")));
        assert_eq!(found, text[..MOST]);
    }

    #[test]
    fn recall_wants_whole_words_in_text_or_calls() {
        let keywords = ["cat".to_string(), "Src/Lib.rs".into(), "7".into()];
        assert_eq!(recall(&keywords, "a concatenation, 17", &[]), Some(0.0));
        let calls = [call("read", json!({"path": "src/lib.rs", "line": 7}))];
        assert_eq!(recall(&keywords, "The CAT.", &calls), Some(1.0));
        assert_eq!(recall(&[], "anything", &calls), None);
    }
}
