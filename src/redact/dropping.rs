//! What a policy leaves out rather than redacts.

use std::collections::BTreeSet;

use super::placeholders::{classes_of, placeholders};
use super::policy::Class;
use super::{Policy, Redacted, walk};
use crate::trace::{Message, Role};

/// What has to be left out of a redacted trace.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Dropping {
    /// The whole session.
    pub session: bool,
    /// These messages, counted from 0.
    pub messages: BTreeSet<usize>,
}

impl Dropping {
    /// What `policy` leaves out of a trace: what was found now counts, and so do placeholders that
    /// an earlier redaction left, as far as their label tells the class.
    pub fn of(policy: &Policy, redacted: &Redacted) -> Self {
        let mut dropping = Dropping::default();
        if policy.drop_message.is_empty() && policy.drop_session.is_empty() {
            return dropping;
        }
        let holds = |texts: Vec<walk::Leaf>, wanted: &BTreeSet<Class>| {
            texts.iter().any(|leaf| {
                let name = leaf.name.as_deref().unwrap_or_default();
                [leaf.text.as_str(), name].into_iter().any(|text| {
                    placeholders(text).into_iter().any(|place| {
                        let placeholder = &text[place];
                        match redacted.account.found.get(placeholder) {
                            Some(finds) => finds.iter().any(|f| wanted.contains(&f.class)),
                            None => classes_of(placeholder).iter().any(|c| wanted.contains(c)),
                        }
                    })
                })
            })
        };
        dropping.session = holds(walk::leaves(&redacted.trace), &policy.drop_session);
        if !policy.drop_message.is_empty() {
            let messages = &redacted.trace.messages;
            for (index, message) in messages.iter().enumerate() {
                if holds(walk::message_leaves(message), &policy.drop_message) {
                    dropping.messages.extend(with_dependents(messages, index));
                }
            }
        }
        dropping
    }

    /// The messages that stay.
    pub fn left(&self, messages: &[Message]) -> Vec<Message> {
        let kept = messages.iter().enumerate().filter(|(n, _)| !self.messages.contains(n));
        kept.map(|(_, message)| message.clone()).collect()
    }
}

/// A message with what cannot stand without it: a question with its whole turn, a result with its
/// step, a step with its results.
fn with_dependents(messages: &[Message], index: usize) -> std::ops::Range<usize> {
    let until = |from: usize, goes_on: fn(Role) -> bool| {
        let rest = messages[from..].iter().take_while(|m| goes_on(m.role)).count();
        from + rest
    };
    match messages[index].role {
        Role::System => index..index + 1,
        Role::User => index..until(index + 1, |role| role != Role::User),
        Role::Assistant => index..until(index + 1, |role| role == Role::Tool),
        Role::Tool => {
            let step = messages[..index].iter().rposition(|m| m.role == Role::Assistant);
            step.unwrap_or(index)..until(index + 1, |role| role == Role::Tool)
        }
    }
}
