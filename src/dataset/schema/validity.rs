//! Values held against a JSON schema, as harnesses and MCP servers write them (drafts 4 to 2020-12).
//!
//! A schema is somebody else's text, so what it says wrongly says nothing: keywords that are unknown
//! or malformed, patterns that do not compile and references that lead nowhere are passed over, and
//! a schema that refers to itself without end decides nothing. `format` only annotates; references
//! to other documents and `unevaluated…` are not followed.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::{HashMap, HashSet};

use regex::{Regex, RegexBuilder};
use serde_json::{Map, Value};

/// How deep schemas are followed into one another.
const DEPTH: usize = 128;
/// How many schemas are applied to one call: a few references that branch could take forever.
const STEPS: usize = 1 << 14;
/// How many compiled patterns a thread keeps, and how large one may get.
const PATTERNS: usize = 256;
const PATTERN_BYTES: usize = 1 << 20;

/// Where arguments break their schema and how, without their values.
pub(super) struct Fault {
    /// From the inside out.
    path: Vec<String>,
    pub(super) kind: Kind,
}

pub(super) enum Kind {
    /// What stands at the path is required and not there.
    Missing,
    /// What stands at the path may not be there.
    Undeclared,
    /// What stands at the path is not what it should be: "is …".
    Wrong(Cow<'static, str>),
}

impl Fault {
    fn new(kind: Kind) -> Self {
        Fault { path: Vec::new(), kind }
    }

    /// The place in the arguments, as in `edits[2].oldText`; empty for the arguments themselves.
    pub(super) fn path(&self) -> String {
        let path: String = self.path.iter().rev().map(String::as_str).collect();
        path.strip_prefix('.').map(str::to_string).unwrap_or(path)
    }
}

type Verdict = Result<(), Fault>;

/// The first thing that is wrong with a call's arguments.
pub(super) fn fault(schema: &Value, arguments: &Map<String, Value>) -> Option<Fault> {
    let mut check = Check { root: schema, steps: STEPS, doubt: false };
    let verdict = check.apply(schema, Instance::Object(arguments), DEPTH);
    verdict.err().filter(|_| check.steps > 0)
}

/// Equality of canonical JSON: the order of keys and the spelling of numbers do not matter.
pub fn same_value(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => {
            a == b || !(a.is_i64() && b.is_i64()) && a.as_f64() == b.as_f64()
        }
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same_value(a, b))
        }
        (Value::Object(a), Value::Object(b)) => same_map(a, b),
        _ => a == b,
    }
}

/// [`same_value`] of two objects.
pub fn same_map(a: &Map<String, Value>, b: &Map<String, Value>) -> bool {
    a.len() == b.len() && a.iter().all(|(key, v)| b.get(key).is_some_and(|w| same_value(v, w)))
}

/// A value, or the arguments of a call, which are a map.
#[derive(Clone, Copy)]
enum Instance<'a> {
    Object(&'a Map<String, Value>),
    Other(&'a Value),
}

impl<'a> From<&'a Value> for Instance<'a> {
    fn from(value: &'a Value) -> Self {
        value.as_object().map_or(Instance::Other(value), Instance::Object)
    }
}

impl Instance<'_> {
    fn is(self, value: &Value) -> bool {
        match (self, value) {
            (Instance::Object(mine), Value::Object(map)) => same_map(mine, map),
            (Instance::Object(_), _) => false,
            (Instance::Other(mine), value) => same_value(mine, value),
        }
    }

    /// Nothing where there is no such type.
    fn has_type(self, name: &str) -> Option<bool> {
        let of = |test: fn(&Value) -> bool| matches!(self, Instance::Other(value) if test(value));
        Some(match name {
            "object" => matches!(self, Instance::Object(_)),
            "string" => of(Value::is_string),
            "integer" => of(|v| v.as_f64().is_some_and(|n| n.fract() == 0.0)),
            "number" => of(Value::is_number),
            "boolean" => of(Value::is_boolean),
            "array" => of(Value::is_array),
            "null" => of(Value::is_null),
            _ => return None,
        })
    }

    fn has_one_type(self, types: &Value) -> Option<bool> {
        let Value::Array(several) = types else { return self.has_type(types.as_str()?) };
        let each: Vec<_> = several.iter().map(|name| self.has_type(name.as_str()?)).collect();
        if each.contains(&Some(true)) { Some(true) } else { each.into_iter().min().flatten() }
    }
}

fn wrong(what: impl Into<Cow<'static, str>>) -> Verdict {
    Err(Fault::new(Kind::Wrong(what.into())))
}

fn ensure(holds: bool, what: impl FnOnce() -> String) -> Verdict {
    if holds { Ok(()) } else { wrong(what()) }
}

/// A verdict on something inside an object or a list.
fn inside(verdict: Verdict, step: impl FnOnce() -> String) -> Verdict {
    verdict.map_err(|mut fault| {
        fault.path.push(step());
        fault
    })
}

fn member(key: &str) -> String {
    format!(".{key}")
}

struct Check<'a> {
    root: &'a Value,
    /// Schemas that may still be applied; at 0 nothing is known about the call.
    steps: usize,
    /// Whether something was passed over that might not have held.
    doubt: bool,
}

impl<'a> Check<'a> {
    fn apply(&mut self, schema: &'a Value, instance: Instance, depth: usize) -> Verdict {
        let schema = match schema {
            Value::Object(schema) => schema,
            Value::Bool(false) => return wrong("is not allowed"),
            _ => return Ok(()),
        };
        self.steps = if depth == 0 { 0 } else { self.steps.saturating_sub(1) };
        if self.steps == 0 {
            return Ok(());
        }
        for (keyword, rule) in schema {
            self.everywhere(keyword, rule, instance, depth - 1)?;
        }
        if let Some(condition) = schema.get("if") {
            let branch = match self.fits(condition, instance, depth - 1) {
                Some(true) => schema.get("then"),
                Some(false) => schema.get("else"),
                None => None,
            };
            if let Some(schema) = branch {
                self.apply(schema, instance, depth - 1)?;
            }
        }
        match instance {
            Instance::Object(map) => self.object(schema, map, depth - 1),
            Instance::Other(Value::Array(list)) => self.list(schema, list, depth - 1),
            Instance::Other(Value::String(text)) => self.string(schema, text),
            Instance::Other(Value::Number(number)) => {
                number.as_f64().map_or(Ok(()), |number| within(schema, number))
            }
            Instance::Other(_) => Ok(()),
        }
    }

    /// Whether a schema holds, where that can be said for sure.
    fn fits(&mut self, schema: &'a Value, instance: Instance, depth: usize) -> Option<bool> {
        let before = std::mem::take(&mut self.doubt);
        let fits = self.apply(schema, instance, depth).is_ok();
        let sure = !(fits && self.doubt);
        self.doubt |= before;
        sure.then_some(fits)
    }

    /// What a schema says where it can be read; else it is passed over.
    fn known(&mut self, said: Option<bool>) -> bool {
        self.doubt |= said.is_none();
        said.unwrap_or(true)
    }

    /// A keyword that is for values of any type.
    fn everywhere(
        &mut self,
        keyword: &str,
        rule: &'a Value,
        instance: Instance,
        depth: usize,
    ) -> Verdict {
        let schemas = rule.as_array().map(Vec::as_slice);
        match (keyword, schemas) {
            ("type", _) => {
                ensure(self.known(instance.has_one_type(rule)), || format!("is not {rule}"))
            }
            ("const", _) => ensure(instance.is(rule), || "is not its const".into()),
            ("enum", Some(allowed)) => {
                ensure(allowed.iter().any(|v| instance.is(v)), || "is none of its enum".into())
            }
            ("$ref", _) => {
                let to = rule.as_str().and_then(|to| self.root.pointer(to.strip_prefix('#')?));
                self.doubt |= to.is_none();
                to.map_or(Ok(()), |schema| self.apply(schema, instance, depth))
            }
            ("allOf", Some(schemas)) => {
                schemas.iter().try_for_each(|schema| self.apply(schema, instance, depth))
            }
            ("anyOf", Some(schemas)) => {
                let fits = schemas.iter().any(|schema| self.apply(schema, instance, depth).is_ok());
                ensure(fits || schemas.is_empty(), || "fits nothing of its anyOf".into())
            }
            ("oneOf", Some(schemas)) => {
                let each: Vec<_> = schemas.iter().map(|s| self.fits(s, instance, depth)).collect();
                let surely = each.iter().filter(|fits| **fits == Some(true)).count();
                let fits = surely == 1 || surely == 0 && each.contains(&None);
                ensure(fits || schemas.is_empty(), || {
                    format!("fits {surely} of its oneOf instead of one")
                })
            }
            ("not", _) => {
                let fits = self.fits(rule, instance, depth);
                ensure(fits != Some(true) || !rule.is_object(), || "is what it must not be".into())
            }
            _ => Ok(()),
        }
    }

    fn object(
        &mut self,
        schema: &'a Map<String, Value>,
        map: &Map<String, Value>,
        depth: usize,
    ) -> Verdict {
        let required = schema.get("required").and_then(Value::as_array);
        let mut required = required.into_iter().flatten().filter_map(Value::as_str);
        if let Some(missing) = required.find(|key| !map.contains_key(*key)) {
            return inside(Err(Fault::new(Kind::Missing)), || member(missing));
        }
        size(schema, ["minProperties", "maxProperties"], map.len(), "members")?;
        let object = |keyword: &str| schema.get(keyword).and_then(Value::as_object);
        let (declared, patterns) = (object("properties"), object("patternProperties"));
        let rest = schema.get("additionalProperties");
        let names = schema.get("propertyNames");
        for (key, value) in map {
            if let Some(names) = names {
                let key = Value::from(key.as_str());
                if self.apply(names, (&key).into(), depth).is_err() {
                    return wrong("has a key it must not have");
                }
            }
            let property = declared.and_then(|d| d.get(key));
            if let Some(schema) = property {
                inside(self.apply(schema, value.into(), depth), || member(key))?;
            }
            let mut known = property.is_some();
            for (pattern, schema) in patterns.into_iter().flatten() {
                if self.known(matches(pattern, key)) {
                    known = true;
                    inside(self.apply(schema, value.into(), depth), || member("*"))?;
                }
            }
            match rest {
                _ if known => {}
                Some(Value::Bool(false)) => {
                    return inside(Err(Fault::new(Kind::Undeclared)), || member(key));
                }
                Some(rest) => inside(self.apply(rest, value.into(), depth), || member("*"))?,
                None => {}
            }
        }
        Ok(())
    }

    fn list(&mut self, schema: &'a Map<String, Value>, list: &[Value], depth: usize) -> Verdict {
        size(schema, ["minItems", "maxItems"], list.len(), "items")?;
        if schema.get("uniqueItems") == Some(&Value::Bool(true)) {
            let mut seen = HashSet::new();
            ensure(list.iter().all(|item| seen.insert(item)), || "holds an item twice".into())?;
        }
        // Until 2019 the first items' schemas stood under `items`, the others' beside it.
        let (first, others) = match (schema.get("prefixItems"), schema.get("items")) {
            (Some(Value::Array(first)), others) => (first.as_slice(), others),
            (_, Some(Value::Array(first))) => (first.as_slice(), schema.get("additionalItems")),
            (_, others) => (&[][..], others),
        };
        for (at, item) in list.iter().enumerate() {
            if let Some(schema) = first.get(at).or(others) {
                inside(self.apply(schema, item.into(), depth), || format!("[{at}]"))?;
            }
        }
        if let Some(schema) = schema.get("contains").filter(|_| !schema.contains_key("minContains"))
        {
            let found = list.iter().any(|item| self.apply(schema, item.into(), depth).is_ok());
            ensure(found, || "lacks the item it must contain".into())?;
        }
        Ok(())
    }

    fn string(&mut self, schema: &Map<String, Value>, text: &str) -> Verdict {
        if schema.contains_key("minLength") || schema.contains_key("maxLength") {
            size(schema, ["minLength", "maxLength"], text.chars().count(), "characters")?;
        }
        match schema.get("pattern").and_then(Value::as_str) {
            Some(pattern) => {
                ensure(self.known(matches(pattern, text)), || "does not match its pattern".into())
            }
            None => Ok(()),
        }
    }
}

fn size(schema: &Map<String, Value>, bounds: [&str; 2], size: usize, of: &str) -> Verdict {
    let [least, most] = bounds.map(|bound| schema.get(bound).and_then(Value::as_f64));
    let size = size as f64;
    ensure(least.is_none_or(|least| size >= least), || format!("has too few {of}"))?;
    ensure(most.is_none_or(|most| size <= most), || format!("has too many {of}"))
}

fn within(schema: &Map<String, Value>, number: f64) -> Verdict {
    let bound = |keyword: &str| schema.get(keyword).and_then(Value::as_f64);
    // In draft 4 this is a flag that makes the other bound a strict one.
    let strict = |keyword: &str| schema.get(keyword) == Some(&Value::Bool(true));
    let low = bound("minimum")
        .is_some_and(|least| number < least || number == least && strict("exclusiveMinimum"));
    let high = bound("maximum")
        .is_some_and(|most| number > most || number == most && strict("exclusiveMaximum"));
    let low = low || bound("exclusiveMinimum").is_some_and(|least| number <= least);
    let high = high || bound("exclusiveMaximum").is_some_and(|most| number >= most);
    ensure(!low, || "is too small".into())?;
    ensure(!high, || "is too large".into())?;
    let step = bound("multipleOf").filter(|step| *step > 0.0);
    ensure(
        step.is_none_or(|step| {
            let steps = number / step;
            (steps - steps.round()).abs() <= 1e-9 * steps.abs().max(1.0)
        }),
        || "is not a multiple of its step".into(),
    )
}

/// Whether a pattern is found in a text; nothing where it is none this program can read.
fn matches(pattern: &str, text: &str) -> Option<bool> {
    thread_local! {
        static COMPILED: RefCell<HashMap<String, Option<Regex>>> = RefCell::default();
    }
    COMPILED.with_borrow_mut(|compiled| {
        if !compiled.contains_key(pattern) {
            if compiled.len() == PATTERNS {
                compiled.clear();
            }
            let regex = RegexBuilder::new(pattern).size_limit(PATTERN_BYTES).build();
            compiled.insert(pattern.to_string(), regex.ok());
        }
        compiled[pattern].as_ref().map(|regex| regex.is_match(text))
    })
}
