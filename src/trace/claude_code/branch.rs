//! Which rows are on the active branch.

use std::collections::{BTreeMap, BTreeSet};

use super::super::jsonl::Parts;
use super::row::{Entry, Spoken, What};

/// Marks the rows that came again as left, and says of each row whether it is on the branch that
/// ends with the last message.
pub(super) fn active(entries: &mut [Entry]) -> Vec<bool> {
    let mut by_uuid: BTreeMap<String, usize> = BTreeMap::new();
    for (index, entry) in entries.iter_mut().enumerate() {
        let Some(uuid) = &entry.uuid else { continue };
        match by_uuid.contains_key(uuid) {
            true => {
                entry.what = What::Left("repeated");
                entry.uuid = None;
            }
            false => {
                by_uuid.insert(uuid.clone(), index);
            }
        }
    }
    let mut on = vec![false; entries.len()];
    let speaks = |entry: &Entry| !matches!(entry.what, What::Left(_));
    let mut at = entries.iter().rposition(speaks);
    while let Some(index) = at {
        if std::mem::replace(&mut on[index], true) {
            break;
        }
        let entry = &entries[index];
        // Where the row before is damaged, or a compaction does not say what it followed, the
        // nearest one is taken: damage costs only itself.
        let before = || entries[..index].iter().rposition(|e| e.uuid.is_some());
        at = match (&entry.parent, &entry.logical, &entry.what) {
            (Some(parent), _, _) | (None, Some(parent), _) => {
                by_uuid.get(parent).copied().or_else(before)
            }
            (None, None, What::Left("system")) => before(),
            // Rows of the first versions have no ids.
            (None, None, _) if entry.uuid.is_none() => entries[..index].iter().rposition(speaks),
            (None, None, _) => None,
        };
    }
    add_siblings(entries, &mut on);
    on
}

/// Blocks of one answer and the results of its calls are rows side by side: only one of them is
/// an ancestor of what follows.
fn add_siblings(entries: &[Entry], on: &mut [bool]) {
    let mut answers = BTreeSet::new();
    for (entry, on) in entries.iter().zip(&*on) {
        if let (true, What::Answer(Spoken { id: Some(id), .. })) = (on, &entry.what) {
            answers.insert(id.as_str());
        }
    }
    let mut calls = BTreeSet::new();
    for (entry, on) in entries.iter().zip(&mut *on) {
        if let What::Answer(said) = &entry.what {
            *on |= said.id.as_deref().is_some_and(|id| answers.contains(id));
            if let (true, Parts::List(blocks)) = (*on, &said.content) {
                calls.extend(blocks.iter().filter_map(|b| b.id.as_deref()));
            }
        }
    }
    for (entry, on) in entries.iter().zip(on) {
        if let What::Question { said: Spoken { content: Parts::List(blocks), .. }, .. } =
            &entry.what
        {
            let answers = |id: &String| calls.contains(id.as_str());
            *on |= !blocks.is_empty()
                && blocks.iter().all(|b| b.tool_use_id.as_ref().is_some_and(answers));
        }
    }
}
