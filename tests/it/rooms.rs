//! Who may use whom, read off the `crate::` paths of every source file.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The rooms from first to last: each may use only those before it.
const ORDER: &[&str] = &[
    "trace", "label", "review", "redact", "ingest", "dataset", "tokens", "model", "adapter",
    "train", "evaluate", "gate", "simulate", "report", "run", "lineage", "history", "protocol",
    "script", "commands",
];

/// Open to every room.
const COMMON_GROUND: &[&str] = &["config", "progress", "files", "chance"];

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
}

fn rank(room: &str) -> Option<usize> {
    ORDER.iter().position(|r| *r == room)
}

#[test]
fn rooms_use_only_rooms_before_them() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    let mut wrong = BTreeSet::new();
    let edge = regex_lite::Regex::new(r"\bcrate::\{?\s*([a-z_]+)").unwrap();
    for file in files {
        let relative = file.strip_prefix(&root).unwrap();
        let room = relative.iter().next().unwrap().to_str().unwrap().trim_end_matches(".rs");
        let text = fs::read_to_string(&file).unwrap();
        for used in edge.captures_iter(&text).map(|c| c[1].to_string()) {
            if used == room || COMMON_GROUND.contains(&used.as_str()) {
                continue;
            }
            let allowed = match (rank(room), rank(&used)) {
                (Some(from), Some(to)) => to < from,
                // The library's map names every room; common ground uses none.
                _ => false,
            };
            if !allowed && room != "lib" && room != "main" {
                wrong.insert(format!("{}: {room} uses {used}", relative.display()));
            }
        }
        if room != "script" && text.contains("rhai::") {
            wrong.insert(format!("{}: only `script` knows Rhai", relative.display()));
        }
        if room != "commands" && room != "main" && text.contains("clap::") {
            wrong.insert(format!("{}: only `commands` knows clap", relative.display()));
        }
        if !["commands", "main"].contains(&room) && text.contains("println!(") {
            wrong.insert(format!("{}: only `commands` prints", relative.display()));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
