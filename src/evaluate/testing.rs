//! What tests of answers share.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::item::Item;
use super::keywords;
use crate::dataset::{Example, Kind};
use crate::trace::{Message, Trace};

/// An item whose session is its reference alone.
pub fn item(id: &str, reference: Message) -> Item {
    let trace = Trace {
        session: "s".into(),
        source: "x".into(),
        messages: vec![reference.clone()],
        ..Trace::default()
    };
    let (component, derived_from) = (None, None);
    let example = Example { id: id.into(), kind: Kind::Real, derived_from, component, trace };
    Item {
        id: id.into(),
        example: Arc::new(example),
        message: 0,
        session: "s".into(),
        component: None,
        kind: Kind::Real,
        source: "x".into(),
        task_category: None,
        suite: None,
        tools_offered: false,
        tools: BTreeSet::new(),
        language: None,
        author: None,
        keywords: keywords::extract(&reference),
        reference,
        prompt: Vec::new(),
    }
}
