//! What must hold between rows: one part for each session and component, ids in order, repeats
//! only where the mix made them, and parents on the right side.

use std::collections::BTreeMap;

use anyhow::Result;

use super::read::File;
use super::{Finding, MANIFEST, PARTS, Verified};
use crate::dataset::manifest::Manifest;
use crate::dataset::mix::Lengths;
use crate::dataset::{Held, Kind, Part};

/// Checks ids, kinds, sessions, components and parents.
pub(super) fn check(
    manifest: &Manifest,
    found: &BTreeMap<Part, File>,
    out: &mut Verified,
) -> Result<()> {
    let mut sides = Sides::default();
    for part in PARTS {
        let Some(file) = found.get(&part) else { continue };
        let mut before: Option<&Held> = None;
        for row in &file.rows {
            let mut wrong = |field: &str, wanted: String, found: String| {
                out.findings.push(Finding::new(&file.name, field, wanted, found).at(&row.id));
            };
            if part != Part::Train && row.kind != Kind::Real {
                wrong("kind", "real".into(), row.kind.as_str().into());
            }
            if manifest.split.is_some() && row.component.is_none() {
                wrong("component", "one".into(), "none".into());
            }
            match before {
                Some(last) if last.id > row.id => {
                    wrong("id", format!("one after {}", last.id), "one before it".into());
                }
                // Only train repeats rows, and then whole.
                Some(last)
                    if last.id == row.id
                        && (part != Part::Train || last.read()? != row.read()?) =>
                {
                    wrong("id", "one of its own".into(), "that of the row before".into());
                }
                _ => {}
            }
            before = Some(row);
            let keys = [
                ("id", Some(row.id.clone())),
                ("session", Some(row.session_key())),
                ("component", row.component.as_deref().map(String::from)),
            ];
            for (field, key) in keys {
                if let Some(other) = key.and_then(|key| sides.other(field, key, part)) {
                    let wanted = format!("in {} only", other.as_str());
                    wrong(field, wanted, format!("in {} as well", part.as_str()));
                }
            }
        }
    }
    for (own, file) in found {
        for row in &file.rows {
            let parent = row.derived_from.clone().map(|parent| ("id", parent));
            if let Some(part) = parent.and_then(|key| sides.known.get(&key).copied())
                && part != *own
            {
                let found = format!("a row of {}", part.as_str());
                let wanted = format!("a row of {}", own.as_str());
                let wrong = Finding::new(&file.name, "derived_from", wanted, found);
                out.findings.push(wrong.at(&row.id));
            }
        }
    }
    for gone in manifest.contamination.iter().flat_map(|c| &c.listed) {
        if let Some(part) = sides.known.get(&("id", gone.row.clone())) {
            let (wanted, found) = ("dropped as contaminated", format!("in {}", part.as_str()));
            out.findings.push(Finding::new(MANIFEST, "contamination", wanted, found).at(&gone.row));
        }
    }
    out.checked.push("ids, their order and repeats; kinds; parents".into());
    out.checked.push("no session, component or row in two parts".into());
    Ok(())
}

/// Which part an id, a session or a component was seen in first.
#[derive(Default)]
struct Sides {
    known: BTreeMap<(&'static str, String), Part>,
}

impl Sides {
    /// The other part that it is in.
    fn other(&mut self, field: &'static str, key: String, part: Part) -> Option<Part> {
        let first = *self.known.entry((field, key)).or_insert(part);
        (first != part).then_some(first)
    }
}

/// Compares rows, repeats and tokens of each kind in train with what the mix says it took.
pub(super) fn mixed(
    manifest: &Manifest,
    train: &[Held],
    lengths: Option<&Lengths>,
    out: &mut Verified,
) {
    let scan = manifest.stages.iter().rfind(|stage| stage.name == "second_scan");
    if scan.is_some_and(|stage| stage.dropped.values().sum::<u64>() > 0) {
        out.skip("ratios of the mix", "the second scan took out rows after it");
        return;
    }
    for (n, ratio) in manifest.mix.iter().enumerate() {
        let rows = || train.iter().filter(|row| row.kind == ratio.kind);
        let mut ids: Vec<&str> = rows().map(|row| row.id.as_str()).collect();
        let count = ids.len() as u64;
        ids.dedup();
        let mut same = |field: &str, stated: u64, found: u64| {
            if stated != found {
                let field = format!("mix[{n}] ({}).{field}", ratio.kind.as_str());
                out.findings.push(Finding::new(MANIFEST, &field, stated, found));
            }
        };
        same("rows", ratio.rows, count);
        same("repeats", ratio.repeats, count - ids.len() as u64);
        if let Some(lengths) = lengths {
            let tokens = rows().filter_map(|row| lengths.get(&row.id)).sum::<u64>();
            same("tokens", ratio.tokens, tokens);
        }
    }
    let all: u64 = manifest.mix.iter().map(|ratio| ratio.tokens).sum();
    for (n, ratio) in manifest.mix.iter().enumerate().filter(|_| all > 0) {
        let share = (ratio.tokens as f64 / all as f64 * 1e6).round() / 1e6;
        if share != ratio.got {
            let field = format!("mix[{n}] ({}).got", ratio.kind.as_str());
            out.findings.push(Finding::new(MANIFEST, &field, ratio.got, share));
        }
    }
    out.checked.push("rows, repeats and ratios of the mix".into());
}
