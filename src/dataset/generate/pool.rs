//! Values that sessions use, for others to borrow.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;
use serde_json::Value;

use super::super::redaction::by_session;
use super::super::{Held, Rows};
use super::{FEW, chosen};
use crate::chance::Chance;
use crate::progress::Observer;
use crate::redact::Redactor;
use crate::trace::{ToolCall, Trace};

/// What a value looks like; a value is only swapped for one that looks alike.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Shape {
    /// A relative path: how many folders, and the ending.
    Path(usize, String),
    /// A single name in one way of writing.
    Name(Style),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Style {
    Lower,
    Snake,
    Kebab,
    Camel,
    Upper,
}

impl Shape {
    /// The shape of a value, if it is one that can be swapped.
    pub fn of(value: &str) -> Option<Shape> {
        let fits = |c: char| c.is_ascii_alphanumeric() || "_-./".contains(c);
        if value.len() < 3 || value.len() > 80 || !value.chars().all(fits) {
            return None;
        }
        if !value.chars().any(|c| c.is_ascii_alphabetic()) {
            return None;
        }
        if value.contains('/') || value.contains('.') {
            let (folders, file) = value.rsplit_once('/').unwrap_or(("", value));
            let whole = |part: &str| !part.is_empty() && !part.starts_with('.');
            if !whole(file) || (!folders.is_empty() && !folders.split('/').all(whole)) {
                return None;
            }
            let ending = file.rsplit_once('.').map_or("", |(_, ending)| ending);
            let depth = value.matches('/').count();
            return Some(Shape::Path(depth, ending.to_string()));
        }
        let has = |test: fn(char) -> bool| value.chars().any(test);
        let (upper, lower) = (has(|c| c.is_ascii_uppercase()), has(|c| c.is_ascii_lowercase()));
        Some(Shape::Name(match (value.contains('_'), value.contains('-'), upper, lower) {
            (_, _, true, false) => Style::Upper,
            (true, false, false, _) => Style::Snake,
            (false, true, false, _) => Style::Kebab,
            (false, false, true, true) => Style::Camel,
            (false, false, false, _) => Style::Lower,
            _ => return None,
        }))
    }
}

/// Values by tool, argument and shape; tools; argument names. The same for any order of rows.
#[derive(Debug, Clone, Default)]
pub struct Pool {
    values: BTreeMap<(String, String, Shape), BTreeSet<String>>,
    tools: BTreeSet<String>,
    arguments: BTreeSet<String>,
}

impl Pool {
    /// What the real rows use, a thousand of them where there are more, after redaction: a value
    /// that is a secret only by its surroundings would not be recognised elsewhere.
    pub fn new(rows: &Rows, redactor: &Redactor, observer: &dyn Observer) -> Result<Pool> {
        let real: Vec<Held> = chosen(rows, FEW).into_iter().cloned().collect();
        observer.begin("collect values", Some(real.len() as u64), "rows");
        let pools = by_session(&real, redactor, &[], observer, |_, _, redacted| {
            Ok(Pool::collect(redacted.iter().map(|r| &r.trace)))
        });
        observer.end();
        let mut pool = Pool::default();
        pools?.into_iter().for_each(|(_, some)| pool.and(some));
        Ok(pool)
    }

    /// Takes over what another pool has.
    fn and(&mut self, other: Pool) {
        for (place, values) in other.values {
            self.values.entry(place).or_default().extend(values);
        }
        self.tools.extend(other.tools);
        self.arguments.extend(other.arguments);
    }

    /// What these sessions use.
    pub(super) fn collect<'a>(traces: impl Iterator<Item = &'a Trace>) -> Pool {
        let mut pool = Pool::default();
        for call in traces.flat_map(|t| &t.messages).flat_map(|m| &m.tool_calls) {
            pool.tools.insert(call.name.clone());
            for (key, value) in &call.arguments {
                pool.arguments.insert(key.clone());
                for slot in value.as_str().into_iter().flat_map(slots) {
                    if let Some(shape) = Shape::of(slot) {
                        let place = (call.name.clone(), key.clone(), shape);
                        pool.values.entry(place).or_default().insert(slot.to_string());
                    }
                }
            }
        }
        pool
    }

    /// A value that the same argument of the same tool has elsewhere, of the same shape, and
    /// that `allowed` accepts.
    pub(super) fn value(
        &self,
        tool: &str,
        argument: &str,
        shape: &Shape,
        chance: &mut Chance,
        allowed: impl Fn(&str) -> bool,
    ) -> Option<&str> {
        let known = self.values.get(&(tool.into(), argument.into(), shape.clone()))?;
        let fitting: Vec<&str> = known.iter().map(String::as_str).filter(|v| allowed(v)).collect();
        pick(&fitting, chance)
    }

    /// Any value the argument of a tool has somewhere.
    pub(super) fn any_value(
        &self,
        tool: &str,
        argument: &str,
        chance: &mut Chance,
    ) -> Option<&str> {
        let of = self.values.iter().filter(|((t, a, _), _)| t == tool && a == argument);
        let known: Vec<&str> = of.flat_map(|(_, values)| values).map(String::as_str).collect();
        pick(&known, chance)
    }

    /// A tool that `allowed` accepts.
    pub(super) fn tool(&self, chance: &mut Chance, allowed: impl Fn(&str) -> bool) -> Option<&str> {
        let known: Vec<&str> =
            self.tools.iter().map(String::as_str).filter(|t| allowed(t)).collect();
        pick(&known, chance)
    }

    /// The name of an argument that `allowed` accepts.
    pub(super) fn argument(
        &self,
        chance: &mut Chance,
        allowed: impl Fn(&str) -> bool,
    ) -> Option<&str> {
        let known: Vec<&str> =
            self.arguments.iter().map(String::as_str).filter(|a| allowed(a)).collect();
        pick(&known, chance)
    }
}

fn pick<'a>(from: &[&'a str], chance: &mut Chance) -> Option<&'a str> {
    (!from.is_empty()).then(|| from[chance.below(from.len())])
}

/// The parts of a value that a person might name: all of it, the path without what a tool puts
/// before it, the file's own name.
pub(super) fn slots(value: &str) -> Vec<&str> {
    let bare = value.trim_start_matches(['.', '/', '@']);
    let mut parts = vec![value, bare];
    parts.extend(bare.rsplit_once('/').map(|(_, file)| file));
    parts.dedup();
    parts
}

/// The string arguments of a call.
pub(super) fn texts(call: &ToolCall) -> impl Iterator<Item = (&str, &str)> {
    call.arguments.iter().filter_map(|(key, value)| match value {
        Value::String(text) => Some((key.as_str(), text.as_str())),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_tell_paths_and_ways_of_writing_apart() {
        let path = |depth, ending: &str| Some(Shape::Path(depth, ending.into()));
        for (value, shape) in [
            ("src/main.rs", path(1, "rs")),
            ("main.rs", path(0, "rs")),
            ("a/b/Makefile", path(2, "")),
            ("parse_row", Some(Shape::Name(Style::Snake))),
            ("feature-x", Some(Shape::Name(Style::Kebab))),
            ("zebra", Some(Shape::Name(Style::Lower))),
            ("ParseRow", Some(Shape::Name(Style::Camel))),
            ("MAX_LINE", Some(Shape::Name(Style::Upper))),
            ("cargo test", None),
            ("../up.rs", None),
            ("42", None),
            ("123", None),
            ("https://x.example", None),
            ("", None),
        ] {
            assert_eq!(Shape::of(value), shape, "{value}");
        }
        assert_eq!(slots("./src/a.rs"), ["./src/a.rs", "src/a.rs", "a.rs"]);
        assert_eq!(slots("zebra"), ["zebra"]);
    }
}
