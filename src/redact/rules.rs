//! What is looked for. Each file holds one family of rules and knows where they start: the
//! keywords after which [`super::scan`] calls it.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use super::policy::Class;

pub(super) mod assignments;
pub(super) mod calls;
pub(super) mod columns;
pub(super) mod commands;
pub(super) mod files;
pub(super) mod headers;
pub(super) mod names;
pub(super) mod numbers;
pub(super) mod people;
pub(super) mod private_keys;
pub(super) mod prose;
pub(super) mod services;
pub(super) mod urls;
pub(super) mod values;
pub(super) mod vendor;
pub(super) mod words;

/// What found something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Rule {
    /// The name in counts.
    pub name: Cow<'static, str>,
    /// The label in placeholders.
    pub label: Cow<'static, str>,
    pub class: Class,
}

/// A built-in rule.
pub(super) const fn rule(name: &'static str, label: &'static str, class: Class) -> Rule {
    Rule { name: Cow::Borrowed(name), label: Cow::Borrowed(label), class }
}

/// Something found in one view of a text. Holds no text itself.
#[derive(Clone)]
pub(super) struct Hit {
    pub start: usize,
    pub end: usize,
    pub rule: Rule,
}

impl Hit {
    pub fn new(start: usize, end: usize, rule: &Rule) -> Self {
        Hit { start, end, rule: rule.clone() }
    }
}

/// Every label a built-in secret rule gives, without `SECRET_`, and the classes it stands for.
pub(super) static LABELS: LazyLock<BTreeMap<&'static str, BTreeSet<Class>>> = LazyLock::new(|| {
    let families = [
        &assignments::RULES[..],
        &calls::RULES[..],
        &prose::RULES[..],
        &commands::RULES[..],
        &files::RULES[..],
        &headers::RULES[..],
        &private_keys::RULES[..],
        &services::RULES[..],
        &urls::RULES[..],
    ];
    let fixed = families.into_iter().flatten().map(|rule| match &rule.label {
        Cow::Borrowed(label) => (*label, rule.class),
        Cow::Owned(_) => ("", rule.class),
    });
    let mut labels: BTreeMap<_, BTreeSet<Class>> = BTreeMap::new();
    for (label, class) in fixed.chain(vendor::TOKENS.iter().map(|t| (t.label, t.class))) {
        labels.entry(label).or_default().insert(class);
    }
    labels
});

/// Whether a byte may stand right before or after a token without belonging to it.
pub(super) fn is_edge(byte: Option<&u8>) -> bool {
    byte.is_none_or(|b| !b.is_ascii_alphanumeric())
}

/// Bits per byte (Shannon).
pub(super) fn entropy(bytes: &[u8]) -> f64 {
    let mut counts = [0u32; 256];
    for byte in bytes {
        counts[*byte as usize] += 1;
    }
    let total = bytes.len() as f64;
    let share = |n: &u32| f64::from(*n) / total;
    -counts.iter().filter(|n| **n > 0).map(|n| share(n) * libm::log2(share(n))).sum::<f64>()
}

/// At most `reach` bytes of the text before `at`.
pub(super) fn before(text: &str, at: usize, reach: usize) -> &str {
    let mut from = at.saturating_sub(reach);
    while !text.is_char_boundary(from) {
        from += 1;
    }
    &text[from..at]
}

/// At most `reach` bytes of the text from `at` on.
pub(super) fn after(text: &str, at: usize, reach: usize) -> &str {
    let mut to = text.len().min(at.saturating_add(reach));
    while !text.is_char_boundary(to) {
        to -= 1;
    }
    &text[at..to.max(at)]
}

/// The length of a value up to an escaped line end or quote, which belongs to what is around it:
/// the value is a line of a text that was written as a JSON string.
pub(super) fn before_escape(value: &[u8]) -> usize {
    let escape = value.windows(2).position(|w| w[0] == b'\\' && b"nrt\"'\\u".contains(&w[1]));
    escape.unwrap_or(value.len())
}
