//! What was found where: one line for each place and form of storage.

use std::collections::BTreeMap;

use serde::Serialize;

use super::Trace;
use super::store::Heading;

/// The sessions of one agent in one place and one form of storage.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Shelf {
    /// The agent.
    pub agent: String,
    /// The form of storage.
    pub form: String,
    /// The place, named as in [`super::Origin::file`].
    pub place: String,
    /// Sessions that were read.
    pub sessions: u64,
    /// Their messages.
    pub messages: u64,
    /// When the first of them began, in Unix milliseconds, where known.
    pub first_ms: Option<i64>,
    /// When the last of them ended.
    pub last_ms: Option<i64>,
    /// Sessions that were not read, by reason: `found_again`, `deleted`, `cron`, ….
    pub skipped: BTreeMap<String, u64>,
}

/// The shelves of one place, by agent and form.
pub(super) struct Shelves {
    place: String,
    all: BTreeMap<(&'static str, &'static str), Shelf>,
}

impl Shelves {
    pub fn of(place: &str) -> Self {
        Shelves { place: place.into(), all: BTreeMap::new() }
    }

    fn shelf(&mut self, heading: &Heading) -> &mut Shelf {
        let (agent, form) = (heading.agent, heading.form());
        self.all.entry((agent, form)).or_insert_with(|| Shelf {
            agent: agent.into(),
            form: form.into(),
            place: self.place.clone(),
            ..Shelf::default()
        })
    }

    pub fn skipped(&mut self, heading: &Heading, reason: &str) {
        *self.shelf(heading).skipped.entry(reason.into()).or_default() += 1;
    }

    pub fn read(&mut self, heading: &Heading, trace: &Trace) {
        let shelf = self.shelf(heading);
        shelf.sessions += 1;
        shelf.messages += trace.messages.len() as u64;
        let begun = trace.started_ms.or(trace.ended_ms);
        shelf.first_ms = [shelf.first_ms, begun].into_iter().flatten().min();
        shelf.last_ms = shelf.last_ms.max(trace.ended_ms.or(trace.started_ms));
    }

    pub fn take(self) -> impl Iterator<Item = Shelf> {
        self.all.into_values()
    }
}
