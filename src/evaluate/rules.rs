//! House rules: what system messages and the person said before the answer about things written
//! in `code`, and whether the answer keeps to it.
//!
//! A rule is a code span (of 2 to [`LONGEST`] characters) after a word of demand (`always`, `must`,
//! `use`, …) or of prohibition (`never`, `not`, `avoid`, …) on the same line. What was said last
//! holds on through a list (`never use a, b or c`) until another such word after a comma, a stop
//! or `but`, and ends with the line. A span that is both demanded and forbidden is no rule.
//!
//! A demand applies where the reference contains the span, a prohibition where it does not: a rule
//! that the reference does not keep has no place here.

use std::collections::BTreeMap;

use super::keywords::{contains, folded, places};
use crate::trace::{Message, Role, ToolCall};

/// A longer span is an example, not a name.
pub const LONGEST: usize = 64;

const DEMANDS: &[&str] = &["always", "must", "use", "run", "prefer", "only", "should", "call"];
const PROHIBITIONS: &[&str] =
    &["never", "not", "don't", "dont", "don’t", "avoid", "no", "without", "instead", "rather"];

/// The rules said in some messages: each span, folded, with whether it is wanted.
fn said(history: &[Message]) -> BTreeMap<String, bool> {
    let mut rules: BTreeMap<String, Option<bool>> = BTreeMap::new();
    for message in history.iter().filter(|m| matches!(m.role, Role::System | Role::User)) {
        for line in message.content.lines().filter(|line| line.contains('`')) {
            for (span, wanted) in of_line(line) {
                let rule = rules.entry(span).or_insert(Some(wanted));
                if *rule != Some(wanted) {
                    *rule = None;
                }
            }
        }
    }
    rules.into_iter().filter_map(|(span, wanted)| Some((span, wanted?))).collect()
}

fn of_line(line: &str) -> Vec<(String, bool)> {
    let mut found = Vec::new();
    let (mut wanted, mut fresh) = (None, true);
    for (n, part) in line.split('`').enumerate() {
        if n % 2 == 1 {
            let span = folded(part);
            if let Some(wanted) = wanted.filter(|_| (2..=LONGEST).contains(&span.chars().count())) {
                found.push((span, wanted));
            }
            continue;
        }
        for word in part.split_whitespace() {
            let plain = word.trim_matches(|c: char| !c.is_alphanumeric()).to_lowercase();
            fresh |= plain == "but" || word.starts_with([',', ';', '.']);
            if PROHIBITIONS.contains(&plain.as_str()) {
                (wanted, fresh) = (Some(false), false);
            } else if DEMANDS.contains(&plain.as_str()) && (fresh || wanted.is_none()) {
                (wanted, fresh) = (Some(true), false);
            }
            fresh |= word.ends_with([',', ';', '.', ':', '!', ')', '—']);
        }
    }
    found
}

/// The share of the rules that an answer keeps, of those that the reference keeps; `None` without
/// any.
pub fn recall(
    history: &[Message],
    (content, calls): (&str, &[ToolCall]),
    answer: (&str, &[ToolCall]),
) -> Option<f64> {
    let rules = said(history);
    if rules.is_empty() {
        return None;
    }
    let (reference, answer) = (places(content, calls), places(answer.0, answer.1));
    let kept = |places: &[String], (span, wanted): &(&String, &bool)| {
        places.iter().any(|place| contains(place, span)) == **wanted
    };
    let rules: Vec<_> = rules.iter().filter(|rule| kept(&reference, rule)).collect();
    let right = rules.iter().filter(|rule| kept(&answer, rule)).count();
    (!rules.is_empty()).then(|| right as f64 / rules.len() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn system(text: &str) -> Vec<Message> {
        vec![Message::text(Role::System, text)]
    }

    #[test]
    fn demands_and_prohibitions_are_read_off_a_line() {
        let rules = |line| {
            let rules = of_line(line);
            let word = |(span, wanted): &(String, bool)| {
                format!("{}{span}", if *wanted { "+" } else { "-" })
            };
            rules.iter().map(word).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(rules("- Always run `cargo fmt`."), "+cargo fmt");
        assert_eq!(rules("Do not use `unwrap` or `expect`, use `?!`."), "-unwrap -expect +?!");
        assert_eq!(rules("Use `anyhow` instead of `Box<dyn Error>`"), "+anyhow -box<dyn error>");
        assert_eq!(rules("Never `rm -rf`; prefer `trash`"), "-rm -rf +trash");
        assert_eq!(rules("The file `src/lib.rs` is long"), "");
        assert_eq!(rules(&format!("Never print `{}`", "x".repeat(LONGEST + 1))), "");
    }

    #[test]
    fn only_rules_that_the_reference_keeps_count() {
        let history = system("Always use `anyhow`.\nNever use `unwrap`.\nAlways use `rayon`.");
        let recall =
            |answer| super::recall(&history, ("let x = anyhow::Ok(1)?;", &[]), (answer, &[]));
        assert_eq!(recall("anyhow::bail!(1)"), Some(1.0));
        assert_eq!(recall("x.unwrap()"), Some(0.0));
        assert_eq!(recall("nothing"), Some(0.5));
        assert_eq!(super::recall(&system("Be brief."), ("a", &[]), ("a", &[])), None);
    }

    #[test]
    fn a_span_that_is_demanded_and_forbidden_is_no_rule() {
        let history = system("Use `make`.\nNever use `make`.");
        assert_eq!(super::recall(&history, ("make", &[]), ("make", &[])), None);
    }
}
