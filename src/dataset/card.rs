//! `README.md` and `croissant.json` beside a dataset: what `datasets.load_dataset` and
//! `mlcroissant` need to read the folder, and a person to know what is in it.
//!
//! Both follow from the manifest and from which optional fields the rows have; they are the same
//! bytes wherever they are made.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::Path;

use anyhow::Result;

use super::manifest::Manifest;
use super::{Example, Part};
use crate::files;

mod croissant;

/// The dataset card's file name.
pub const CARD: &str = "README.md";

/// The Croissant description's file name.
pub const CROISSANT: &str = "croissant.json";

/// What a field holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Type {
    Text,
    Texts,
    Integer,
    /// Objects of different shapes.
    Objects,
    /// `file` and `line`.
    Origin,
}

/// A field of a row.
struct Field {
    name: &'static str,
    kind: Type,
    /// Whether a row has it.
    has: fn(&Example) -> bool,
    meaning: &'static str,
}

const fn field(
    name: &'static str,
    kind: Type,
    has: fn(&Example) -> bool,
    meaning: &'static str,
) -> Field {
    Field { name, kind, has, meaning }
}

/// Every field that a row may have, in the order it is written in.
#[rustfmt::skip]
const FIELDS: &[Field] = &[
    field("id", Type::Text, |_| true, "unique within the dataset and stable across runs, repeats aside"),
    field("kind", Type::Text, |_| true, "real, synthetic, adversarial, counterexample or replay; only real rows are evidence"),
    field("derived_from", Type::Text, |e| e.derived_from.is_some(), "the id of the row that this one was made from"),
    field("component", Type::Text, |e| e.component.is_some(), "what it was split with: sessions, copies and derivations that belong together"),
    field("session", Type::Text, |_| true, "the session's id, or a digest of what it says"),
    field("source", Type::Text, |_| true, "the agent or pool that the session came from"),
    field("task_category", Type::Text, |e| e.trace.task_category.is_some(), "the kind of task"),
    field("outcome", Type::Text, |e| e.trace.outcome.is_some(), "how the session ended, in its source's own word"),
    field("agent_version", Type::Text, |e| e.trace.agent_version.is_some(), "the agent's version"),
    field("parent", Type::Text, |e| e.trace.parent.is_some(), "the session that started this one as a subagent"),
    field("repository", Type::Text, |e| e.trace.repository.is_some(), "the last part of the working directory's path"),
    field("started_ms", Type::Integer, |e| e.trace.started_ms.is_some(), "when the session began, in Unix milliseconds"),
    field("ended_ms", Type::Integer, |e| e.trace.ended_ms.is_some(), "when its last message was written, in Unix milliseconds"),
    field("keywords", Type::Texts, |e| !e.trace.keywords.is_empty(), "words the answer should contain"),
    field("tools", Type::Objects, |e| !e.trace.tools.is_empty(), "the tools the model could call, as OpenAI function schemas"),
    field("messages", Type::Objects, |_| true, "the conversation in OpenAI's form, with a train flag for each message and tool arguments as objects"),
    field("origin", Type::Origin, |_| true, "the file and line that the session was read from"),
];

/// Which optional fields the rows of each part have.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fields(BTreeMap<Part, BTreeSet<&'static str>>);

impl Fields {
    /// Takes a row of a part into account.
    pub fn note(&mut self, part: Part, example: &Example) {
        let known = self.0.entry(part).or_default();
        known.extend(FIELDS.iter().filter(|field| (field.has)(example)).map(|field| field.name));
    }

    fn of(&self, part: Part) -> impl Iterator<Item = &'static Field> {
        let known = self.0.get(&part).cloned().unwrap_or_default();
        FIELDS.iter().filter(move |field| known.contains(field.name))
    }
}

/// Writes both beside the files that the manifest names.
pub fn write(folder: &Path, manifest: &Manifest, fields: &Fields) -> Result<()> {
    for (name, text) in texts(manifest, fields)? {
        files::write_bytes(&folder.join(name), text.as_bytes())?;
    }
    Ok(())
}

/// Both files, by name.
pub fn texts(manifest: &Manifest, fields: &Fields) -> Result<[(&'static str, String); 2]> {
    Ok([(CARD, card(manifest)), (CROISSANT, croissant::text(manifest, fields)?)])
}

/// The files of each part that has rows, by name.
fn parts(manifest: &Manifest) -> Vec<(Part, Vec<String>)> {
    let belongs = |name: &str, part: Part| {
        name.split(['.', '-', '/']).next().is_some_and(|begin| begin == part.as_str())
    };
    let files = |part| {
        let written = manifest.on_disk().filter(|file| file.rows > 0);
        let names = written.map(|file| file.name);
        (part, names.filter(|name| belongs(name, part)).collect::<Vec<_>>())
    };
    let parts = [Part::Train, Part::Tune, Part::Val].map(files);
    parts.into_iter().filter(|(_, names)| !names.is_empty()).collect()
}

/// The dataset card, with the front matter that Hugging Face's `datasets` goes by.
fn card(manifest: &Manifest) -> String {
    let mut text = String::from("---\npretty_name: Coding-agent sessions\nconfigs:\n");
    text += "- config_name: default\n  data_files:\n";
    for (part, names) in parts(manifest) {
        text += &format!("  - split: {}\n    path:\n", part.as_str());
        names.iter().for_each(|name| text += &format!("    - {name}\n"));
    }
    text += "dataset_info:\n  features:\n";
    for Field { name, kind, .. } in FIELDS {
        text += &format!("  - name: {name}\n");
        text += match kind {
            Type::Text => "    dtype: string\n",
            Type::Integer => "    dtype: int64\n",
            Type::Texts => "    list: string\n",
            Type::Objects => "    list: json\n",
            Type::Origin => {
                "    struct:\n    - name: file\n      dtype: string\n    - name: line\n      \
                 dtype: int64\n"
            }
        };
    }
    text += "---\n\n# Coding-agent sessions\n\nRedacted sessions of coding agents, and rows made from \
             them, split by whole\ncomponents. `dataset_manifest.json` says where every row came \
             from, what was dropped\nand why; `proto verify` computes it again from the files.\n\n";
    text +=
        "| part | rows | distinct | sessions | components | kinds |\n|---|---|---|---|---|---|\n";
    for (part, tally) in &manifest.splits {
        let kinds = tally.kinds.iter().map(|(kind, n)| format!("{kind} {n}"));
        // Writing to a string never fails.
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} | {} |",
            part.as_str(),
            tally.rows,
            tally.distinct_rows,
            tally.sessions,
            tally.components,
            kinds.collect::<Vec<_>>().join(", ")
        );
    }
    let failed = manifest.gates.failed();
    text += &match failed.is_empty() {
        true => "\nThe dataset passed its gates".to_string(),
        false => format!("\nThe dataset did not pass {}", failed.join(", ")),
    };
    let gates = &manifest.gates;
    text += &format!(
        ": canary recall {}, {} rows with residue, leakage {}.\n\n## Fields\n\n",
        gates.canary_recall, gates.residue_rows, gates.leakage
    );
    for Field { name, meaning, .. } in FIELDS {
        text += &format!("- `{name}`: {meaning}\n");
    }
    text += "\nTool arguments and schemas have a shape of their own in every row: the features above \
             declare\nthem as JSON, which needs `datasets` 4.7 or later. `load_dataset(\"PATH\")` on \
             this folder\ngoes by them; `load_dataset(\"json\", data_files=…)` does not read this card \
             and guesses.\n";
    text
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::super::testing::chat;
    use super::*;
    use crate::trace::Trace;

    #[test]
    fn every_field_that_is_written_is_described() {
        let mut row = chat("a", "hi", "hello");
        let text = || Some("text".to_string());
        row.derived_from = text();
        row.component = text();
        row.trace = Trace {
            task_category: text(),
            outcome: text(),
            agent_version: text(),
            parent: text(),
            repository: text(),
            started_ms: Some(1),
            ended_ms: Some(2),
            keywords: vec!["word".into()],
            tools: vec![Value::Null],
            ..row.trace
        };
        let Value::Object(written) = serde_json::to_value(&row).unwrap() else { panic!() };
        let described: Vec<&str> = FIELDS.iter().map(|field| field.name).collect();
        assert_eq!(written.keys().map(String::as_str).collect::<Vec<_>>(), described);
        let mut all = Fields::default();
        all.note(Part::Val, &row);
        assert_eq!(all.of(Part::Val).count(), FIELDS.len());
        let mut few = Fields::default();
        let plain = chat("a", "hi", "hello");
        few.note(Part::Val, &plain);
        let names: Vec<&str> = few.of(Part::Val).map(|field| field.name).collect();
        let Value::Object(written) = serde_json::to_value(&plain).unwrap() else { panic!() };
        assert_eq!(names, written.keys().map(String::as_str).collect::<Vec<_>>());
    }
}
