//! Items: one trained assistant turn each, asked after its reference history.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use anyhow::{Context, Result};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::{Chat, Settings, Suite, keywords};
use crate::dataset::{Example, Kind, Rows};
use crate::trace::{Message, Role, ToolCall};

/// One question with its reference answer.
#[derive(Debug, Clone)]
pub struct Item {
    /// The example's id and the index of the message, `<example>#<message>`, after `<suite>/` for
    /// an item of a suite.
    pub id: String,
    /// The example it comes from.
    pub example: Arc<Example>,
    /// The index of the reference among the example's messages.
    pub message: usize,
    /// The cluster for the statistics.
    pub session: String,
    /// The component the example was split with.
    pub component: Option<String>,
    /// Real or generated; only real items are evidence.
    pub kind: Kind,
    /// Which agent or pool the session came from.
    pub source: String,
    /// What kind of task it was, where known.
    pub task_category: Option<String>,
    /// The fixed suite it belongs to; `None` for validation.
    pub suite: Option<String>,
    /// Whether the model could call tools.
    pub tools_offered: bool,
    /// The tools the reference calls, without repeats.
    pub tools: BTreeSet<String>,
    /// The programming language or kind of file it is about, where its calls show it.
    pub language: Option<String>,
    /// Who wrote the reference, where known.
    pub author: Option<String>,
    /// The reference answer.
    pub reference: Message,
    /// The prompt as the model sees it.
    pub prompt: Vec<u32>,
    /// Words the answer should contain: the row's own for the answer that ends it, else by the
    /// rule of [`keywords`].
    pub keywords: Vec<String>,
}

impl Item {
    /// The text before the answer: every message's reasoning and content, one part a line.
    pub fn prompt_text(&self) -> String {
        let messages = self.example.trace.messages[..self.message].iter();
        let parts =
            messages.flat_map(|m| m.reasoning_content.as_deref().into_iter().chain([&*m.content]));
        parts.filter(|part| !part.is_empty()).collect::<Vec<_>>().join("\n")
    }
}

/// The items of a run and what was left out of them.
#[derive(Debug, Default)]
pub struct Items {
    /// Validation items first, then each suite's, each by id.
    pub items: Vec<Item>,
    /// Items left out, by reason.
    pub left_out: BTreeMap<String, u64>,
}

/// A trained turn before its prompt is made.
#[derive(Clone)]
struct Turn<'a> {
    id: String,
    example: Arc<Example>,
    message: usize,
    suite: Option<&'a str>,
}

fn turns<'a>(rows: &Rows, suite: Option<&'a str>) -> Result<Vec<Turn<'a>>> {
    let mut turns = Vec::new();
    for row in rows.examples.iter() {
        let example = row.read()?;
        for (message, turn) in example.trace.messages.iter().enumerate() {
            if turn.role == Role::Assistant && turn.train {
                let id = match suite {
                    Some(suite) => format!("{suite}/{}#{message}", example.id),
                    None => format!("{}#{message}", example.id),
                };
                turns.push(Turn { id, example: example.clone(), message, suite });
            }
        }
    }
    turns.sort_by(|a, b| a.id.cmp(&b.id));
    Ok(turns)
}

/// The items of a validation set and its suites: one for each trained assistant turn whose session
/// no compared adapter was trained on (`seen` holds their sessions and components).
pub fn items(
    val: &Rows,
    suites: &[Suite],
    seen: &BTreeSet<String>,
    chat: &dyn Chat,
    settings: &Settings,
) -> Result<Items> {
    let mut left_out = BTreeMap::new();
    let mut leave = |reason: String, n: usize| {
        if n > 0 {
            *left_out.entry(reason).or_default() += n as u64;
        }
    };
    let was_seen = |turn: &Turn| {
        let component = turn.example.component.as_ref();
        seen.contains(&turn.example.trace.session) || component.is_some_and(|c| seen.contains(c))
    };
    let mut groups = vec![turns(val, None)?];
    let mut suites: Vec<&Suite> = suites.iter().collect();
    suites.sort_by(|a, b| a.name.cmp(&b.name));
    for suite in suites {
        groups.push(turns(&suite.rows, Some(&suite.name))?);
    }
    for group in &mut groups {
        let all = group.len();
        group.dedup_by(|a, b| a.id == b.id);
        leave("listed twice".into(), all - group.len());
        let distinct = group.len();
        group.retain(|turn| !was_seen(turn));
        leave("an adapter was trained on it".into(), distinct - group.len());
    }
    let most = settings.max_items;
    if most > 0 && groups[0].len() > most {
        leave(format!("over EVAL_MAX_ITEMS={most}"), groups[0].len() - most);
        // Real items first, among equals by hash: the choice stays the same when rows come or go.
        groups[0].sort_by_cached_key(|turn| {
            let generated = turn.example.kind != Kind::Real;
            (generated, xxh3_64_with_seed(turn.id.as_bytes(), settings.seed), turn.id.clone())
        });
        groups[0].truncate(most);
        groups[0].sort_by(|a, b| a.id.cmp(&b.id));
    }
    let chosen = groups.concat();
    let mut items = Vec::with_capacity(chosen.len());
    for turn in chosen {
        let item = turn.item(chat).with_context(|| {
            let trace = &turn.example.trace;
            format!("{}: session {}, message {}", trace.origin, trace.session, turn.message)
        })?;
        if settings.context > 0 && item.prompt.len() >= settings.context {
            leave(format!("prompt of {} tokens or more", settings.context), 1);
        } else {
            items.push(item);
        }
    }
    Ok(Items { items, left_out })
}

impl Turn<'_> {
    fn item(&self, chat: &dyn Chat) -> Result<Item> {
        let trace = &self.example.trace;
        let reference = trace.messages[self.message].clone();
        let ends_the_row =
            trace.messages[self.message + 1..].iter().all(|m| m.role != Role::Assistant);
        let keywords = match trace.keywords.is_empty() || !ends_the_row {
            true => keywords::extract(&reference),
            false => trace.keywords.clone(),
        };
        Ok(Item {
            id: self.id.clone(),
            example: self.example.clone(),
            message: self.message,
            session: trace.session.clone(),
            component: self.example.component.clone(),
            kind: self.example.kind,
            source: trace.source.clone(),
            task_category: trace.task_category.clone(),
            suite: self.suite.map(String::from),
            tools_offered: !trace.tools.is_empty(),
            tools: reference.tool_calls.iter().map(|c| c.name.clone()).collect(),
            language: language(&trace.messages[..=self.message]).map(String::from),
            author: reference.author.clone(),
            prompt: chat.prompt(&trace.messages[..self.message], &trace.tools)?,
            reference,
            keywords,
        })
    }
}

/// Files by the end of their names.
#[rustfmt::skip]
const LANGUAGES: &[(&str, &[&str])] = &[
    ("c", &["c", "h"]), ("c#", &["cs"]), ("c++", &["cc", "cpp", "cxx", "hh", "hpp"]),
    ("css", &["css", "less", "scss"]), ("dart", &["dart"]), ("elixir", &["ex", "exs"]),
    ("go", &["go"]), ("haskell", &["hs"]), ("html", &["htm", "html"]), ("java", &["java"]),
    ("javascript", &["cjs", "js", "jsx", "mjs"]), ("json", &["json", "jsonl"]),
    ("kotlin", &["kt", "kts"]), ("lua", &["lua"]), ("markdown", &["md", "mdx"]), ("php", &["php"]),
    ("python", &["ipynb", "py", "pyi"]), ("ruby", &["rb"]), ("rust", &["rs"]),
    ("scala", &["scala"]), ("shell", &["bash", "sh", "zsh"]), ("sql", &["sql"]),
    ("swift", &["swift"]), ("text", &["csv", "log", "txt"]), ("toml", &["toml"]),
    ("typescript", &["ts", "tsx"]), ("vue", &["vue"]), ("yaml", &["yaml", "yml"]),
    ("zig", &["zig"]),
];
/// A longer argument is the content of a file rather than a place or a command.
const LONGEST_ARGUMENT: usize = 256;

/// What language the last of these messages is about: of the files that its calls name, in
/// arguments of at most 256 characters and in the headers of patches, the one named most often,
/// the first by name of equals. Where its calls name none, the calls before it say.
pub fn language(messages: &[Message]) -> Option<&'static str> {
    let (last, before) = messages.split_last()?;
    most_named(&last.tool_calls).or_else(|| most_named(before.iter().flat_map(|m| &m.tool_calls)))
}

fn most_named<'a>(calls: impl IntoIterator<Item = &'a ToolCall>) -> Option<&'static str> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    let mut count = |text: &str| {
        for word in text.split(|c: char| c.is_whitespace() || "\"'`;,()".contains(c)) {
            let end = word.rsplit_once('.').map(|(_, end)| end.to_lowercase());
            let named =
                |(_, ends): &&(_, &[&str])| end.as_deref().is_some_and(|e| ends.contains(&e));
            if let Some((language, _)) = LANGUAGES.iter().find(named) {
                *counts.entry(*language).or_default() += 1;
            }
        }
    };
    for value in calls.into_iter().flat_map(|call| call.arguments.values()) {
        keywords::scalars(value, &mut |text| match text.chars().count() {
            n if n <= LONGEST_ARGUMENT => count(text),
            _ => text.lines().filter(|line| line.starts_with("*** ")).for_each(&mut count),
        });
    }
    let most = counts.values().copied().max()?;
    counts.into_iter().find(|(_, n)| *n == most).map(|(language, _)| language)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn step(arguments: Value) -> Message {
        let Value::Object(arguments) = arguments else { panic!("not an object") };
        let mut message = Message::text(Role::Assistant, "");
        message.tool_calls = vec![ToolCall { id: "c".into(), name: "t".into(), arguments }];
        message
    }

    #[test]
    fn the_language_is_that_of_the_files_a_step_names() {
        let read = || step(json!({"filePath": "web/app.tsx"}));
        let answer = || Message::text(Role::Assistant, "It is main.go.");
        assert_eq!(
            language(&[read(), step(json!({"cmd": "cat 'a.py' b.PY c.rs"}))]),
            Some("python")
        );
        assert_eq!(language(&[read(), answer()]), Some("typescript"));
        assert_eq!(language(&[step(json!({"cmd": "diff b.rs a.go"}))]), Some("go"), "equals");
        assert_eq!(language(&[answer()]), None);
        let long = format!("{}\n*** Update File: x/y.rs\n import a.py", "x ".repeat(200));
        assert_eq!(language(&[step(json!({ "patchText": long }))]), Some("rust"));
    }
}
