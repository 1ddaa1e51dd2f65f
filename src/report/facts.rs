//! The manifest as tables and lists of labels and values. It is read by name and leniently: a
//! report must not fail on a manifest of another version, only say less.

use serde::Serialize;
use serde_json::Value;

use super::figures::percent;
use super::grouped;
use crate::dataset::Stage;

#[derive(Debug, Serialize)]
pub(super) struct StageRow {
    pub name: String,
    pub input: u64,
    pub added: u64,
    pub output: u64,
    pub dropped: Vec<(String, u64)>,
}

/// A table with its heading.
#[derive(Debug, Serialize)]
pub(super) struct Table {
    pub title: &'static str,
    pub header: Vec<&'static str>,
    pub rows: Vec<Vec<String>>,
}

/// A titled list of labels and values.
#[derive(Debug, Serialize)]
pub(super) struct Facts {
    pub title: &'static str,
    pub facts: Vec<(String, String)>,
}

pub(super) fn stages(manifest: &Value) -> Vec<StageRow> {
    let read = |value: &Value| serde_json::from_value::<Stage>(value.clone()).ok();
    let found = manifest.get("stages").and_then(Value::as_array);
    let row = |stage: Stage| StageRow {
        name: stage.name,
        input: stage.input,
        added: stage.added,
        output: stage.output,
        dropped: stage.dropped.into_iter().filter(|(_, n)| *n > 0).collect(),
    };
    found.into_iter().flatten().filter_map(read).map(row).collect()
}

/// The parts of the split and the mix, row by row.
pub(super) fn tables(manifest: &Value) -> Vec<Table> {
    let count = |value: &Value, path: &str| {
        value.pointer(path).and_then(Value::as_u64).map_or("–".into(), grouped)
    };
    let share = |value: &Value, path: &str| {
        value.pointer(path).and_then(Value::as_f64).map_or("the rest".into(), percent)
    };
    let split = entries(manifest, "/splits").map(|(part, tally)| {
        let kinds = entries(tally, "/kinds").map(|(kind, n)| format!("{kind} {n}"));
        let mut row = vec![part.clone()];
        let counted = [
            "/rows",
            "/distinct_rows",
            "/sessions",
            "/components",
            "/trained_turns",
            "/tokens/total",
        ];
        row.extend(counted.map(|path| count(tally, path)));
        row.push(kinds.collect::<Vec<_>>().join(", "));
        row
    });
    let listed = manifest.get("mix").and_then(Value::as_array);
    let mix = listed.into_iter().flatten().map(|ratio| {
        vec![
            ratio["kind"].as_str().unwrap_or("–").to_string(),
            share(ratio, "/wanted"),
            share(ratio, "/got"),
            count(ratio, "/rows"),
            count(ratio, "/tokens"),
            count(ratio, "/repeats"),
            count(ratio, "/available_rows"),
        ]
    });
    let tables = [
        Table {
            title: "Parts",
            header: vec![
                "part",
                "rows",
                "distinct",
                "sessions",
                "components",
                "turns",
                "tokens",
                "kinds",
            ],
            rows: split.collect(),
        },
        Table {
            title: "Mix, by training tokens",
            header: vec!["kind", "wanted", "got", "rows", "tokens", "repeats", "available"],
            rows: mix.collect(),
        },
    ];
    tables.into_iter().filter(|table| !table.rows.is_empty()).collect()
}

/// What else a reader asks of the manifest.
pub(super) fn dataset(manifest: &Value) -> Vec<Facts> {
    let read = |fields: &[(&str, &str)]| -> Vec<(String, String)> {
        let field = |(label, path): &(&str, &str)| {
            Some((label.to_string(), shown(manifest.pointer(path)?)?))
        };
        fields.iter().filter_map(field).collect()
    };
    let counts = |path: &str| -> Vec<(String, String)> {
        let entry = |(name, n): (&String, &Value)| Some((name.replace('_', " "), shown(n)?));
        entries(manifest, path).filter_map(entry).collect()
    };
    let found = entries(manifest, "/redaction/proof/by_class").map(|(class, recall)| {
        let number = |name: &str| recall[name].as_u64().unwrap_or(0);
        let text = format!("{} of {} found", number("found"), number("planted"));
        (class.replace('_', " "), text)
    });
    let lists = [
        (
            "Leakage",
            read(&[
                ("held-out rows that resemble another", "/leakage/leaking_rows"),
                ("their share", "/leakage/share"),
                ("share allowed", "/leakage/allowed"),
                ("sessions on both sides", "/leakage/sessions"),
                ("components on both sides", "/leakage/components"),
            ]),
        ),
        (
            "Redaction",
            read(&[
                ("rows redacted", "/redaction/rows"),
                ("rows changed", "/redaction/changed"),
                ("rows never redacted", "/redaction/unredacted"),
                ("secrets planted", "/redaction/proof/planted"),
                ("of these found", "/redaction/proof/found"),
                ("worst class found", "/gates/canary_recall"),
                ("rows scanned again", "/redaction/proof/rows"),
                ("rows with residue", "/redaction/proof/residue_rows"),
            ]),
        ),
        ("Replaced, by rule", counts("/redaction/proof/by_rule")),
        ("Planted secrets, by class", found.collect()),
        ("Residue, by class", counts("/redaction/proof/residue")),
        (
            "Copies",
            read(&[
                ("rows dropped as copies", "/duplicates/total"),
                ("rows they copy", "/duplicates/clusters"),
                ("copies of one row at most", "/duplicates/largest_cluster"),
            ]),
        ),
        ("Tools and prompts", counts("/catalogue")),
        ("Answers by label", counts("/labels")),
        ("Answers not trained", counts("/masked")),
        ("Reviews", counts("/reviews/counts")),
        ("Mended rows", counts("/mended")),
        ("Input", read(&[("lines that gave no row", "/bad_lines/total")])),
    ];
    lists
        .into_iter()
        .filter(|(_, facts)| !facts.is_empty())
        .map(|(title, facts)| Facts { title, facts })
        .collect()
}

/// The members of the object at a path.
fn entries<'a>(value: &'a Value, path: &str) -> impl Iterator<Item = (&'a String, &'a Value)> {
    value.pointer(path).and_then(Value::as_object).into_iter().flatten()
}

fn shown(value: &Value) -> Option<String> {
    match value {
        Value::Number(number) => Some(number.as_u64().map_or(number.to_string(), grouped)),
        Value::Bool(truth) => Some(if *truth { "yes" } else { "no" }.into()),
        _ => None,
    }
}
