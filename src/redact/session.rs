//! All traces of one session, redacted together.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;

use anyhow::{Result, ensure};
use serde_json::Value;
use xxhash_rust::xxh3::Xxh3Builder;

use super::chase::Chase;
use super::decode::Views;
use super::placeholders::{Numbering, placeholders};
use super::policy::Policy;
use super::rules::Rule;
use super::scan::Scanner;
use super::team::TeamRule;
use super::walk::{self, Leaf};
use super::{Account, Find, Redacted};
use crate::trace::Trace;

/// How often a session is read again until nothing more is found. Redaction only ever shrinks
/// what is left, so a second round is rare and a fourth unheard of.
const ROUNDS: usize = 8;

/// The shortest rest of a find beside a placeholder that is worth redacting.
const REST: usize = 4;

/// Redacts sessions under one policy. Holds no state between sessions.
pub struct Redactor {
    scanner: Scanner,
}

/// A place to redact, in the text as it stands.
#[derive(Clone)]
struct Place {
    start: usize,
    end: usize,
    rule: Rule,
    /// What it says, decoded.
    value: String,
}

/// A value of which the caller knows that it has to go.
#[derive(Clone, PartialEq, Eq)]
pub struct Known {
    /// The name of the rule that says so.
    pub rule: String,
    /// The value, as it stands in the session.
    pub value: String,
}

/// One string of the session on its way.
struct Text {
    text: String,
    name: Option<String>,
    /// How many bare numbers it holds.
    numbers: usize,
    /// Which trace it belongs to.
    trace: usize,
    /// What is decoded from it as it stands, once that was asked for.
    views: Option<Views>,
}

impl Text {
    fn new(leaf: Leaf, trace: usize) -> Self {
        Text { text: leaf.text, name: leaf.name, numbers: leaf.numbers, trace, views: None }
    }
}

impl Redactor {
    /// Compiles a policy. A team rule that is no valid pattern is an error that names it.
    pub fn new(policy: Policy) -> Result<Self> {
        Ok(Redactor { scanner: Scanner::new(policy)? })
    }

    /// The policy it was made from.
    pub fn policy(&self) -> &Policy {
        self.scanner.policy()
    }

    /// Whether a row lost more of its text than the policy allows.
    pub fn too_much(&self, redacted: &Redacted) -> bool {
        redacted.account.share() > self.policy().max_share
    }

    /// Redacts one text by itself.
    pub fn text(&self, text: &str) -> Result<String> {
        Ok(self.account_of(text)?.0)
    }

    /// Redacts one text by itself and says what was found.
    pub fn account_of(&self, text: &str) -> Result<(String, Account)> {
        let mut texts = vec![Text::new(Leaf::new(text.to_string(), None), 0)];
        let account = self.texts(&mut texts, 1, &[])?.swap_remove(0);
        Ok((texts.swap_remove(0).text, account))
    }

    /// Redacts JSON values together, with one numbering of placeholders: every string and number
    /// but those at the top that are an `id`, and the structure of `messages`.
    pub fn json(&self, values: &mut [Value]) -> Result<Vec<Account>> {
        let mut texts = Vec::new();
        let together = self.policy().extra.is_empty();
        for (index, value) in values.iter_mut().enumerate() {
            let leaves = walk::take_json(value, together);
            texts.extend(leaves.into_iter().map(|leaf| Text::new(leaf, index)));
        }
        let accounts = self.texts(&mut texts, values.len(), &[])?;
        let mut texts = texts.into_iter().map(|t| (t.text, t.numbers));
        values.iter_mut().for_each(|value| walk::put_back_json(value, &mut texts));
        Ok(accounts)
    }

    /// Redacts all traces of one session together, with one numbering of placeholders.
    pub fn session(&self, traces: &[&Trace]) -> Result<Vec<Redacted>> {
        self.session_knowing(traces, &[])
    }

    /// The same, where it is known of some values that they have to go.
    pub fn session_knowing(&self, traces: &[&Trace], known: &[Known]) -> Result<Vec<Redacted>> {
        let mut texts = Vec::new();
        let mut copies: Vec<Trace> = traces.iter().map(|trace| (*trace).clone()).collect();
        let together = self.policy().extra.is_empty();
        for (trace, copy) in copies.iter_mut().enumerate() {
            let leaves = walk::take(copy, together);
            texts.extend(leaves.into_iter().map(|leaf| Text::new(leaf, trace)));
        }
        let accounts = self.texts(&mut texts, traces.len(), known)?;
        let mut texts = texts.into_iter().map(|t| (t.text, t.numbers));
        let mut redacted = Vec::with_capacity(traces.len());
        for (mut trace, account) in copies.into_iter().zip(accounts) {
            walk::put_back(&mut trace, &mut texts);
            redacted.push(Redacted { trace, account });
        }
        Ok(redacted)
    }

    /// Redacts texts in place until nothing more is found.
    fn texts(&self, texts: &mut [Text], traces: usize, known: &[Known]) -> Result<Vec<Account>> {
        let mut accounts: Vec<Account> = (0..traces).map(|_| Account::default()).collect();
        for text in texts.iter() {
            accounts[text.trace].total += text.text.len();
        }
        // What was made from a session repeats most of it: what stands several times is read once.
        let first = firsts(texts);
        let read = |index: &&usize| first[**index] == **index;
        let all: Vec<usize> = (0..texts.len()).collect();
        let once = all.iter().filter(read).map(|index| texts[*index].text.as_str());
        let mut numbering = Numbering::new(once);
        let mut chase = Chase::default();
        for Known { rule, value } in known {
            ensure!(!value.trim().is_empty(), "redaction rule `{rule}`: it gave an empty value");
            chase.insert(value, &TeamRule::named(rule)?);
        }
        chase.prepare();
        let mut pending = all.clone();
        for _ in 0..ROUNDS {
            let mut places: BTreeMap<usize, Vec<Place>> = BTreeMap::new();
            let mut news = false;
            for index in pending.iter().filter(read) {
                let found = self.find(&mut texts[*index])?;
                for place in &found {
                    news |= chase.add(&place.value, &place.rule);
                }
                if !found.is_empty() {
                    places.insert(*index, found);
                }
            }
            if news {
                chase.prepare();
                pending.clone_from(&all);
            }
            if !chase.is_empty() {
                for index in pending.iter().filter(read) {
                    let found = self.chased(&mut texts[*index], &chase);
                    if !found.is_empty() {
                        places.entry(*index).or_default().extend(found);
                    }
                }
            }
            for index in pending.drain(..) {
                let found = places.get(&first[index]).filter(|_| first[index] != index);
                if let Some(found) = found.cloned() {
                    places.insert(index, found);
                }
            }
            for (index, found) in places {
                let text = &mut texts[index];
                let redacted =
                    replace(&text.text, found, &mut numbering, &mut accounts[text.trace]);
                if let Some(redacted) = redacted {
                    text.text = redacted;
                    text.views = None;
                    pending.push(index);
                }
            }
            if pending.is_empty() {
                break;
            }
        }
        Ok(accounts)
    }

    /// What the rules find in a text and in everything decoded from it.
    fn find(&self, text: &mut Text) -> Result<Vec<Place>> {
        let mut places = Vec::new();
        for hit in self.scanner.scan(&text.text, text.name.as_deref())? {
            let value = text.text[hit.start..hit.end].to_string();
            places.push(Place { start: hit.start, end: hit.end, rule: hit.rule, value });
        }
        let views = text.views.get_or_insert_with(|| Views::of(&text.text));
        for (index, view) in views.texts().enumerate() {
            for hit in self.scanner.scan(view, None)? {
                let value = &view[hit.start..hit.end];
                views.places(index, &text.text, hit.start, hit.end, &mut |start, end| {
                    let (rule, value) = (hit.rule.clone(), value.to_string());
                    places.push(Place { start, end, rule, value });
                });
            }
        }
        Ok(self.keep(&text.text, places))
    }

    /// Where values found elsewhere stand in a text.
    fn chased(&self, text: &mut Text, chase: &Chase) -> Vec<Place> {
        let mut places = Vec::new();
        chase.find(&text.text, &mut |hit, value| {
            let value = value.to_string();
            places.push(Place { start: hit.start, end: hit.end, rule: hit.rule, value });
        });
        let views = text.views.get_or_insert_with(|| Views::of(&text.text));
        for (index, view) in views.texts().enumerate() {
            chase.find(view, &mut |hit, value| {
                views.places(index, &text.text, hit.start, hit.end, &mut |start, end| {
                    let (rule, value) = (hit.rule.clone(), value.to_string());
                    places.push(Place { start, end, rule, value });
                });
            });
        }
        self.keep(&text.text, places)
    }

    /// Leaves out what is allowed and what is a placeholder already.
    fn keep(&self, text: &str, places: Vec<Place>) -> Vec<Place> {
        if places.is_empty() {
            return places;
        }
        let taken = placeholders(text);
        let mut kept = Vec::with_capacity(places.len());
        for mut place in places {
            if !spare_escapes(text, &mut place) {
                continue;
            }
            let allowed = self.policy().allow.contains(&place.value);
            let is_placeholder =
                |value: &str| matches!(&placeholders(value)[..], [r] if r.len() == value.len());
            if allowed || is_placeholder(&place.value) {
                continue;
            }
            let first = taken.partition_point(|r| r.end <= place.start);
            if taken.get(first).is_none_or(|r| r.start >= place.end) {
                kept.push(place);
            } else {
                kept.extend(around(text, &place, &taken[first..]));
            }
        }
        kept
    }
}

/// For each text the first one that says the same under the same name. They stay alike: what is
/// found in one goes from all.
fn firsts(texts: &[Text]) -> Vec<usize> {
    // Only looked up, never walked: the hasher's order does not matter.
    let mut known: HashMap<(&str, Option<&str>), usize, Xxh3Builder> = HashMap::default();
    let mut first = Vec::with_capacity(texts.len());
    for (index, text) in texts.iter().enumerate() {
        first.push(*known.entry((&text.text, text.name.as_deref())).or_insert(index));
    }
    first
}

/// Moves the edges of a place out of the escapes they would cut in two, so that JSON stays JSON;
/// false where nothing is left.
fn spare_escapes(text: &str, place: &mut Place) -> bool {
    let bytes = text.as_bytes();
    let is_open =
        |at: usize| bytes[..at].iter().rev().take_while(|b| **b == b'\\').count() % 2 == 1;
    let (start, end) = (place.start, place.end);
    // Inside `\u0041`: where its backslash stands.
    let unicode = |at: usize| {
        let begins = |n: &usize| bytes[*n..].starts_with(b"\\u") && is_open(n + 1);
        let escape = (at.saturating_sub(5)..at.saturating_sub(1)).find(begins)?;
        let digits = bytes.get(escape + 2..escape + 6)?;
        digits.iter().all(u8::is_ascii_hexdigit).then_some(escape)
    };
    place.start = unicode(start).unwrap_or(start);
    place.end = unicode(end).map_or(end, |escape| escape + 6);
    if is_open(start) && !is_raw(bytes, start - 1) {
        place.start += match bytes.get(start) {
            Some(b'u') if bytes.len() >= start + 5 => 5,
            Some(b'n' | b'r' | b't' | b'b' | b'f' | b'"' | b'\\' | b'/') => 1,
            _ => 0,
        };
    }
    if place.end < bytes.len() && is_open(place.end) && place.end > place.start {
        place.end -= 1;
    }
    if place.start >= place.end || text.get(place.start..place.end).is_none() {
        return false;
    }
    if (place.start, place.end) != (start, end) {
        place.value = text[place.start..place.end].to_string();
    }
    true
}

/// Whether the backslash at `at` separates folders: the one before it begins no escape either.
fn is_raw(bytes: &[u8], at: usize) -> bool {
    let lead = &bytes[at.saturating_sub(48)..at];
    let Some(before) = lead.iter().rposition(|b| *b == b'\\') else { return false };
    let single = before.checked_sub(1).is_none_or(|n| lead[n] != b'\\');
    single && lead.get(before + 1).is_some_and(|b| !b"\"\\/bfnrtu".contains(b))
}

/// The parts of a place that no placeholder covers.
fn around(text: &str, place: &Place, taken: &[Range<usize>]) -> Vec<Place> {
    let mut parts = Vec::new();
    let mut from = place.start;
    let ends = taken.iter().take_while(|r| r.start < place.end).map(|r| (r.start, r.end));
    for (to, next) in ends.chain([(place.end, place.end)]) {
        let part = text.get(from..to.max(from)).unwrap_or("");
        if part.bytes().filter(u8::is_ascii_alphanumeric).count() >= REST {
            let (rule, value) = (place.rule.clone(), part.to_string());
            parts.push(Place { start: from, end: to, rule, value });
        }
        from = next.max(from);
    }
    parts
}

/// Replaces places by placeholders; overlapping ones by one.
fn replace(
    text: &str,
    mut places: Vec<Place>,
    numbering: &mut Numbering,
    account: &mut Account,
) -> Option<String> {
    places.retain(|p| text.get(p.start..p.end).is_some_and(|t| !t.is_empty()));
    places.sort_by(|a, b| {
        (a.start, b.end, a.rule.class, &a.rule.name, &a.value).cmp(&(
            b.start,
            a.end,
            b.rule.class,
            &b.rule.name,
            &b.value,
        ))
    });
    let mut merged: Vec<Place> = Vec::with_capacity(places.len());
    for place in places {
        match merged.last_mut() {
            Some(last) if place.start < last.end => {
                if place.end > last.end {
                    last.end = place.end;
                    // What the text says there, read once it is known how far it goes.
                    last.value.clear();
                }
            }
            _ => merged.push(place),
        }
    }
    if merged.is_empty() {
        return None;
    }
    let mut out = String::with_capacity(text.len());
    let mut from = 0;
    for place in merged {
        out += &text[from..place.start];
        let value = match place.value.is_empty() {
            true => &text[place.start..place.end],
            false => place.value.as_str(),
        };
        let placeholder = numbering.of(value, &place.rule);
        out += &placeholder;
        from = place.end;
        account.redacted += place.end - place.start;
        let rule = place.rule.name.to_string();
        *account.counts.entry(rule.clone()).or_default() += 1;
        let find = Find { class: place.rule.class, rule };
        account.found.entry(placeholder).or_default().insert(find);
    }
    out += &text[from..];
    Some(out)
}
