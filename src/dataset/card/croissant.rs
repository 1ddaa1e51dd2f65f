//! `croissant.json`: the dataset in MLCommons' Croissant 1.0.

use anyhow::Result;
use serde_json::{Map, Value, json};

use super::{Field, Fields, Type, parts};
use crate::dataset::manifest::Manifest;
use crate::files;

/// What a message may hold: name, type, meaning. One that a message lacks is null.
const MESSAGE: &[(&str, &str, &str)] = &[
    ("role", "sc:Text", "system, user, assistant or tool"),
    ("content", "sc:Text", "the text, without reasoning and calls"),
    ("reasoning_content", "sc:Text", "the model's reasoning"),
    (
        "tool_calls",
        "sc:Text",
        "calls the model made: id, type and function with name and arguments",
    ),
    ("tool_call_id", "sc:Text", "the call that a tool's message answers"),
    ("name", "sc:Text", "the tool that a tool's message comes from"),
    ("train", "sc:Boolean", "whether the loss covers this message"),
    ("author", "sc:Text", "who wrote an assistant's message: a model's name or human"),
    ("row", "sc:Integer", "the line or row of the file that it was read from"),
];

/// The file's text.
pub(super) fn text(manifest: &Manifest, fields: &Fields) -> Result<String> {
    let digests: Vec<&str> = manifest.files.values().map(|file| file.sha256.as_str()).collect();
    let name = format!("agent-sessions-{}", &files::digest(digests.concat().as_bytes())[..12]);
    let distribution = manifest.files.iter().map(|(name, file)| {
        json!({
            "@type": "cr:FileObject",
            "@id": name,
            "name": name,
            "contentUrl": name,
            "contentSize": format!("{} B", file.bytes),
            "encodingFormat": encoding(name),
            "sha256": file.sha256,
        })
    });
    let mut records = Vec::new();
    for (part, names) in parts(manifest) {
        for (nth, file) in names.iter().enumerate() {
            let set = match names.len() {
                1 => part.as_str().to_string(),
                _ => format!("{}-{nth}", part.as_str()),
            };
            let described = fields.of(part).map(|field| described(&set, file, field));
            records.push(json!({
                "@type": "cr:RecordSet",
                "@id": set,
                "name": set,
                "description": format!("The rows of {}, one a line.", part.as_str()),
                "field": described.collect::<Vec<_>>(),
            }));
        }
    }
    let whole = json!({
        "@context": context(),
        "@type": "sc:Dataset",
        "name": name,
        "description": "Redacted sessions of coding agents, and rows made from them, split by \
                        whole components; dataset_manifest.json says where every row came from.",
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "distribution": distribution.collect::<Vec<_>>(),
        "recordSet": records,
    });
    Ok(serde_json::to_string_pretty(&whole)? + "\n")
}

fn encoding(name: &str) -> &'static str {
    match name.rsplit('.').next() {
        Some("parquet") => "application/x-parquet",
        Some("zst") => "application/zstd",
        _ => "application/jsonlines",
    }
}

fn described(set: &str, file: &str, field: &Field) -> Value {
    let id = format!("{set}/{}", field.name);
    let from = |path: Option<&str>| {
        let mut source = json!({"fileObject": {"@id": file}, "extract": {"column": field.name}});
        if let Some(path) = path {
            source["transform"] = json!({"jsonPath": path});
        }
        source
    };
    let inner = |name: &str, kind: &str, meaning: &str| {
        json!({
            "@type": "cr:Field", "@id": format!("{id}/{name}"), "name": format!("{id}/{name}"),
            "description": meaning, "dataType": kind, "source": from(Some(name)),
        })
    };
    let mut whole = Map::new();
    whole.insert("@type".into(), "cr:Field".into());
    whole.insert("@id".into(), id.as_str().into());
    whole.insert("name".into(), id.as_str().into());
    whole.insert("description".into(), field.meaning.into());
    let (kind, inside) = match (field.kind, field.name) {
        (Type::Objects, "messages") => {
            whole.insert("repeated".into(), true.into());
            (None, MESSAGE.iter().map(|(name, kind, meaning)| inner(name, kind, meaning)).collect())
        }
        (Type::Objects | Type::Texts, _) => {
            whole.insert("repeated".into(), true.into());
            (Some("sc:Text"), Vec::new())
        }
        (Type::Origin, _) => {
            let file = inner("file", "sc:Text", "the file's name");
            (None, vec![file, inner("line", "sc:Integer", "the line, from 1")])
        }
        (Type::Integer, _) => (Some("sc:Integer"), Vec::new()),
        (Type::Text, _) => (Some("sc:Text"), Vec::new()),
    };
    match kind {
        Some(kind) => {
            whole.insert("dataType".into(), kind.into());
            whole.insert("source".into(), from(None));
        }
        None => {
            whole.insert("subField".into(), inside.into());
        }
    }
    Value::Object(whole)
}

/// The JSON-LD context that Croissant 1.0 prescribes.
fn context() -> Value {
    json!({
        "@language": "en",
        "@vocab": "https://schema.org/",
        "citeAs": "cr:citeAs",
        "column": "cr:column",
        "conformsTo": "dct:conformsTo",
        "cr": "http://mlcommons.org/croissant/",
        "rai": "http://mlcommons.org/croissant/RAI/",
        "data": {"@id": "cr:data", "@type": "@json"},
        "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
        "dct": "http://purl.org/dc/terms/",
        "examples": {"@id": "cr:examples", "@type": "@json"},
        "extract": "cr:extract",
        "field": "cr:field",
        "fileProperty": "cr:fileProperty",
        "fileObject": "cr:fileObject",
        "fileSet": "cr:fileSet",
        "format": "cr:format",
        "includes": "cr:includes",
        "isLiveDataset": "cr:isLiveDataset",
        "jsonPath": "cr:jsonPath",
        "key": "cr:key",
        "md5": "cr:md5",
        "parentField": "cr:parentField",
        "path": "cr:path",
        "recordSet": "cr:recordSet",
        "references": "cr:references",
        "regex": "cr:regex",
        "repeated": "cr:repeated",
        "replace": "cr:replace",
        "sc": "https://schema.org/",
        "separator": "cr:separator",
        "source": "cr:source",
        "subField": "cr:subField",
        "transform": "cr:transform",
    })
}
