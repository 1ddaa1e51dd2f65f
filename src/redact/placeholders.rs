//! Typed, numbered placeholders, one numbering a session.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use super::policy::Class;
use super::rules::Rule;

/// Labels of personal data; a secret's placeholder begins with `SECRET_`.
const PERSONAL: [&str; 7] = ["EMAIL", "PHONE", "IP", "CARD", "IBAN", "USER", "HOST"];

/// Where `text` holds placeholders: the loss leaves them out.
pub fn placeholders(text: &str) -> Vec<Range<usize>> {
    let bytes = text.as_bytes();
    let mut found = Vec::new();
    let mut from = 0;
    while let Some(at) = text[from..].find('<').map(|n| from + n) {
        from = at + 1;
        let name = bytes[from..]
            .iter()
            .take(64)
            .take_while(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || **b == b'_')
            .count();
        let end = from + name;
        if bytes.get(end) == Some(&b'>') && is_name(&text[from..end]) {
            found.push(at..end + 1);
            from = end + 1;
        }
    }
    found
}

/// The classes that a placeholder may stand for, as far as its label tells.
pub(super) fn classes_of(placeholder: &str) -> BTreeSet<Class> {
    let name = placeholder.trim_matches(['<', '>']);
    let label = name.rsplit_once('_').map_or(name, |(label, _)| label);
    match label.strip_prefix("SECRET_") {
        Some(label) if label.starts_with("TEAM_") => BTreeSet::from([Class::Team]),
        Some(label) => super::rules::LABELS.get(label).cloned().unwrap_or_default(),
        None => Class::BUILT_IN
            .into_iter()
            .filter(|class| class.is_personal() && class.as_str().eq_ignore_ascii_case(label))
            .collect(),
    }
}

fn is_name(name: &str) -> bool {
    let Some((label, number)) = name.rsplit_once('_') else { return false };
    let numbered = (1..=9).contains(&number.len()) && number.bytes().all(|b| b.is_ascii_digit());
    numbered
        && (PERSONAL.contains(&label) || label.strip_prefix("SECRET_").is_some_and(is_secret_label))
}

/// Labels are words: a live token in capitals between angle brackets must not pass for one.
fn is_secret_label(label: &str) -> bool {
    super::rules::LABELS.contains_key(label) || label.starts_with("TEAM_")
}

/// The placeholders of one session.
pub(super) struct Numbering {
    /// By value, so that one value has one placeholder whatever rule found it.
    given: BTreeMap<String, String>,
    /// Placeholders that stand in the text already.
    taken: BTreeSet<String>,
    last: BTreeMap<String, u64>,
}

impl Numbering {
    /// A numbering that avoids what stands in `texts` already.
    pub fn new<'a>(texts: impl Iterator<Item = &'a str>) -> Self {
        let mut taken = BTreeSet::new();
        for text in texts {
            taken.extend(placeholders(text).into_iter().map(|r| text[r].to_string()));
        }
        Numbering { given: BTreeMap::new(), taken, last: BTreeMap::new() }
    }

    /// The placeholder of a value.
    pub fn of(&mut self, value: &str, rule: &Rule) -> String {
        let key = identity(value, rule.class);
        if let Some(placeholder) = self.given.get(&key) {
            return placeholder.clone();
        }
        let label = match rule.class.is_personal() {
            true => rule.label.to_string(),
            false => format!("SECRET_{}", rule.label),
        };
        let last = self.last.entry(label.clone()).or_default();
        let placeholder = loop {
            *last += 1;
            let placeholder = format!("<{label}_{last}>");
            if !self.taken.contains(&placeholder) {
                break placeholder;
            }
        };
        self.given.insert(key, placeholder.clone());
        placeholder
    }
}

/// What makes two values the same: not their case in a name, not the spacing of a number.
fn identity(value: &str, class: Class) -> String {
    match class {
        Class::Email | Class::User | Class::Host => value.to_lowercase(),
        Class::Phone | Class::Card | Class::Iban => {
            value.chars().filter(|c| c.is_alphanumeric()).collect()
        }
        _ => value.to_string(),
    }
}
