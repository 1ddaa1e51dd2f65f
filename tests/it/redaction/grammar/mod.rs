//! A test set for redaction, generated from grammars: for every class of secret and personal datum
//! the shapes it has, the places it is seen in, the awkward forms it takes there, and what only
//! looks like it and must stay.
//!
//! The shapes are those of the vendors' and formats' documentation; nothing here knows how the
//! scanner works. All values are random, so that no two seeds share one.

use proto::chance::Chance;
use proto::trace::{Message, Role, ToolCall, Trace};
use serde_json::json;

mod assignments;
mod cloud;
mod commands;
mod digests;
mod documents;
mod files;
mod headers;
pub mod judge;
mod keys;
mod numbers;
mod personal;
mod places;
mod services;
mod sessions;
mod urls;
mod values;
mod vendors;
mod wrapped;
mod wrappers;

/// What a case shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// As it is usually seen.
    Plain,
    /// Encoded, escaped, coloured, cut, or in the middle of something else.
    Awkward,
    /// Looks like it, but is nobody's secret.
    Alike,
}

/// A session, what of it must go and what must stay.
#[derive(Debug, Clone)]
pub struct Case {
    pub class: &'static str,
    pub kind: Kind,
    /// Which shape in which form, for the message of a failure.
    pub name: String,
    /// The messages of the session; most have one.
    pub texts: Vec<String>,
    pub secrets: Vec<String>,
    pub kept: Vec<String>,
}

/// A text, what of it must go and what must stay.
pub struct Sample {
    name: String,
    text: String,
    secrets: Vec<String>,
    kept: Vec<String>,
}

impl Sample {
    /// A text with secrets; all that is around them must stay.
    fn new(name: &str, text: impl Into<String>, secrets: &[&str]) -> Self {
        let text = text.into();
        let kept = around(&text, secrets);
        let secrets = secrets.iter().map(|s| s.to_string()).collect();
        Sample { name: name.to_string(), text, secrets, kept }
    }

    /// A text with nothing that must go.
    fn kept(name: &str, text: impl Into<String>) -> Self {
        let text = text.into();
        Sample { name: name.to_string(), kept: vec![text.clone()], text, secrets: Vec::new() }
    }

    /// Nothing around the secrets need stay.
    fn loose(mut self) -> Self {
        self.kept.clear();
        self
    }
}

/// The text before the first and behind the last secret.
fn around(text: &str, secrets: &[&str]) -> Vec<String> {
    let first = secrets.iter().filter_map(|s| text.find(s)).min();
    let last = secrets.iter().filter_map(|s| text.rfind(s).map(|at| at + s.len())).max();
    let (Some(first), Some(last)) = (first, last) else { return Vec::new() };
    [&text[..first], &text[last..]]
        .iter()
        .filter(|s| !s.is_empty())
        .map(|s| s.to_string())
        .collect()
}

impl Case {
    /// The case as a trace: what tools said, and every third time what one was given.
    pub fn trace(&self) -> Trace {
        let message = |text: &String| {
            if !text.len().is_multiple_of(3) {
                return Message::text(Role::Tool, text.as_str());
            }
            let arguments = serde_json::Map::from_iter([("input".to_string(), json!(text))]);
            let call = ToolCall { id: "1".into(), name: "run".into(), arguments };
            Message { tool_calls: vec![call], ..Message::text(Role::Assistant, "") }
        };
        let messages = self.texts.iter().map(message).collect();
        Trace { session: "s".into(), source: "raw".into(), messages, ..Trace::default() }
    }
}

/// The texts of a trace that was made of a case.
pub fn texts(trace: &Trace) -> Vec<String> {
    let text = |message: &Message| match &message.tool_calls[..] {
        [call] => call.arguments["input"].as_str().unwrap_or_default().to_string(),
        _ => message.content.to_string(),
    };
    trace.messages.iter().map(text).collect()
}

type Maker = fn(&mut Chance, usize) -> Sample;

/// A class with its grammars. Where a class has awkward forms of its own, they take turns with
/// the forms that anything can take.
struct Class {
    name: &'static str,
    plain: Maker,
    awkward: Option<Maker>,
    alike: Maker,
    /// Whether it is a secret, which other scanners look for, and not a personal datum.
    secret: bool,
    /// How many shapes it has that must each be seen.
    shapes: usize,
}

fn classes() -> Vec<Class> {
    let secret =
        |name, plain, alike| Class { name, plain, awkward: None, alike, secret: true, shapes: 1 };
    let personal = |name, plain, alike| Class { secret: false, ..secret(name, plain, alike) };
    vec![
        Class { shapes: vendors::shapes(), ..secret("vendor", vendors::plain, vendors::alike) },
        Class {
            shapes: services::shapes(),
            ..secret("vendor by name", services::plain, services::alike)
        },
        secret("assignment file", assignments::file, assignments::file_alike),
        secret("assignment code", assignments::code, assignments::code_alike),
        secret("command line", commands::command, commands::command_alike),
        secret("prose", commands::prose, commands::prose_alike),
        secret("authorization", headers::authorization, headers::authorization_alike),
        secret("cookie", headers::cookie, headers::cookie_alike),
        secret("url", urls::password, urls::password_alike),
        secret("git remote", urls::remote, urls::remote_alike),
        secret("webhook", urls::webhook, urls::webhook_alike),
        secret("connection", urls::connection, urls::connection_alike),
        secret("cloud", cloud::plain, cloud::alike),
        Class { awkward: Some(keys::awkward), ..secret("private key", keys::plain, keys::alike) },
        secret("credential file", files::plain, files::alike),
        secret("jwt", headers::jwt, headers::jwt_alike),
        secret("password hash", files::hash, files::hash_alike),
        Class {
            awkward: Some(wrapped::awkward),
            ..secret("wrapped", wrapped::plain, wrapped::alike)
        },
        secret("tool output", documents::plain, documents::alike),
        personal("e-mail", personal::email, personal::email_alike),
        personal("phone", personal::phone, personal::phone_alike),
        personal("ip", numbers::ip, numbers::ip_alike),
        personal("card", numbers::card, numbers::card_alike),
        personal("iban", numbers::iban, numbers::iban_alike),
        personal("user", places::user, places::user_alike),
        personal("host", places::host, places::host_alike),
    ]
}

/// The names of all classes in the order of a table, and whether other scanners look for them.
pub fn names() -> Vec<(&'static str, bool)> {
    let mut names: Vec<_> = classes().iter().map(|c| (c.name, c.secret)).collect();
    names.push((sessions::CLASS, true));
    names
}

/// The set: at least so many cases of each class and kind, and each shape of a class plainly.
pub fn cases(seed: u64, each: usize) -> Vec<Case> {
    let mut cases = Vec::new();
    for class in classes() {
        let mut add = |kind, sample: Sample| {
            cases.push(Case {
                class: class.name,
                kind,
                name: sample.name,
                texts: vec![sample.text],
                secrets: sample.secrets,
                kept: sample.kept,
            });
        };
        let mut chance = Chance::new(seed, class.name);
        // Where fewer are wanted than there are shapes, another seed shows others.
        let from = chance.below(1000);
        for i in 0..each.max(class.shapes) {
            add(Kind::Plain, (class.plain)(&mut chance, i));
        }
        for i in from..from + each {
            let sample = match class.awkward {
                Some(awkward) if i % 2 == 0 => awkward(&mut chance, i),
                _ => {
                    let plain = (class.plain)(&mut chance, i);
                    wrappers::wrap(&mut chance, plain)
                }
            };
            add(Kind::Awkward, sample);
        }
        for i in from..from + each {
            let alike = (class.alike)(&mut chance, i);
            let wrapped = i % 3 == 2;
            add(
                Kind::Alike,
                if wrapped { wrappers::wrap_alike(&mut chance, alike) } else { alike },
            );
        }
    }
    cases.extend(sessions::cases(seed, each));
    cases
}
