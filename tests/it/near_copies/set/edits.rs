//! What makes a copy differ from its original.

use proto::chance::Chance;
use proto::trace::{Message, Role};

use super::text::{Hand, Scene};

/// Where the words of a text are, in bytes.
fn words(text: &str) -> Vec<(usize, usize)> {
    let start = text.as_ptr() as usize;
    let place = |word: &str| word.as_ptr() as usize - start;
    text.split_whitespace().map(|w| (place(w), place(w) + w.len())).collect()
}

/// Changes about a share of all words, as people and tools do: some spans, each replaced, removed
/// or put in.
pub fn spans(messages: &mut [Message], share: f64, seed: u64) {
    let mut chance = Chance::new(seed, "spans");
    let mut hand = Hand::new(Chance::new(seed, "new words"), Scene::new(seed));
    let count = |m: &Message| match m.role {
        Role::System => 0,
        _ => m.content.split_whitespace().count(),
    };
    let all: usize = messages.iter().map(count).sum();
    let mut left = (all as f64 * share).round().max(1.0) as usize;
    while left > 0 {
        // A message is as likely to be changed as it is long.
        let mut at = chance.below(all);
        let chosen = messages.iter().position(|m| match at.checked_sub(count(m)) {
            Some(rest) => {
                at = rest;
                false
            }
            None => true,
        });
        let Some(message) = chosen.map(|n| &mut messages[n]) else { continue };
        let found = words(&message.content);
        let length = left.min(4 + chance.below(40)).min(found.len());
        let first = chance.below(found.len() + 1 - length);
        let (from, to) = (found[first].0, found[first + length - 1].1);
        let code = message.role == Role::Tool;
        let mut new = || {
            let text = if code { hand.code(length) } else { hand.prose(length) };
            text.split_whitespace().take(length).collect::<Vec<_>>().join(" ")
        };
        match chance.below(5) {
            0 if found.len() > 2 * length => message.content.replace_range(from..to, ""),
            1 => {
                let new = format!("{} ", new());
                message.content.insert_str(from, &new);
            }
            _ => {
                let new = new();
                message.content.replace_range(from..to, &new);
            }
        }
        left -= length.min(left);
    }
}

/// Other white space, and other case here and there.
pub fn space(messages: &mut [Message], seed: u64) {
    let mut chance = Chance::new(seed, "space");
    for message in messages.iter_mut().filter(|m| m.role != Role::System) {
        let mut out = String::new();
        for line in message.content.lines() {
            match chance.below(10) {
                0 => out += &line.to_uppercase(),
                1 => out += &line.to_lowercase(),
                2 => out += &line.replace("    ", "\t"),
                3 => out += &line.replace(' ', "  "),
                _ => out += line,
            }
            out += ["\n", "\n", "\r\n", " \n", "\n\n"][chance.below(5)];
        }
        message.content = out;
    }
}

/// What was said before the message at which `share` of the words had been said; the model has
/// spoken by then.
pub fn beginning(messages: &[Message], share: f64) -> Vec<Message> {
    let length = |m: &Message| m.content.split_whitespace().count();
    let wanted = messages[1..].iter().map(length).sum::<usize>() as f64 * share;
    let (mut said, mut answered, mut end) = (0, false, 1);
    for message in &messages[1..] {
        if said as f64 >= wanted && answered {
            break;
        }
        said += length(message);
        answered |= message.role == Role::Assistant;
        end += 1;
    }
    messages[..end].to_vec()
}

/// What was said until somebody pressed Ctrl-C in the middle of a message.
pub fn cut(messages: &[Message], share: f64) -> Vec<Message> {
    let mut kept = beginning(messages, share);
    if let Some(last) = kept.last_mut() {
        let found = words(&last.content);
        last.content.truncate(found.get(found.len() / 2).map_or(0, |(from, _)| *from));
    }
    kept
}
