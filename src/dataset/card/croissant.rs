//! `croissant.json`: the dataset in MLCommons' Croissant 1.0.

use anyhow::Result;
use serde_json::{Map, Value, json};

use super::{Field, Fields, Type, parts};
use crate::dataset::manifest::Manifest;
use crate::files;

/// A part of an object: name, where it stands, type, meaning.
type Inner = (&'static str, &'static str, &'static str, &'static str);

/// What a message may hold; one that it lacks is null. Croissant has no type for objects without a
/// fixed shape: of calls and tools only what they are called is described.
const MESSAGE: &[Inner] = &[
    ("role", "role", "sc:Text", "system, user, assistant or tool"),
    ("content", "content", "sc:Text", "the text, without reasoning and calls"),
    ("reasoning_content", "reasoning_content", "sc:Text", "the model's reasoning"),
    (
        "tool_call",
        "tool_calls[0].function.name",
        "sc:Text",
        "the tool that the message calls first; tool_calls in the file has every call with its \
         arguments, as objects of the tools' own shapes",
    ),
    ("tool_call_id", "tool_call_id", "sc:Text", "the call that a tool's message answers"),
    ("name", "name", "sc:Text", "the tool that a tool's message comes from"),
    ("train", "train", "sc:Boolean", "whether the loss covers this message"),
    ("author", "author", "sc:Text", "who wrote an assistant's message: a model's name or human"),
    ("row", "row", "sc:Integer", "the line or row of the file that it was read from"),
];

const TOOL: &[Inner] = &[(
    "name",
    "function.name",
    "sc:Text",
    "what the tool is called; tools in the file has its whole schema",
)];

const ORIGIN: &[Inner] = &[
    ("file", "file", "sc:Text", "the file's name"),
    ("line", "line", "sc:Integer", "the line, from 1"),
];

/// The file's text.
pub(super) fn text(manifest: &Manifest, fields: &Fields) -> Result<String> {
    let digests: Vec<&str> = manifest.files.values().map(|file| file.sha256.as_str()).collect();
    let name = format!("agent-sessions-{}", &files::digest(digests.concat().as_bytes())[..12]);
    let distribution = manifest.on_disk().map(|file| {
        json!({
            "@type": "cr:FileObject",
            "@id": file.name,
            "name": file.name,
            "contentUrl": file.name,
            "contentSize": format!("{} B", file.bytes),
            "encodingFormat": encoding(&file.name),
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
    let inner = |(name, path, kind, meaning): &Inner| {
        json!({
            "@type": "cr:Field", "@id": format!("{id}/{name}"), "name": format!("{id}/{name}"),
            "description": meaning, "dataType": kind, "source": from(Some(path)),
        })
    };
    let mut whole = Map::new();
    whole.insert("@type".into(), "cr:Field".into());
    whole.insert("@id".into(), id.as_str().into());
    whole.insert("name".into(), id.as_str().into());
    whole.insert("description".into(), field.meaning.into());
    if matches!(field.kind, Type::Objects | Type::Texts) {
        whole.insert("repeated".into(), true.into());
    }
    let inside = match field.name {
        "messages" => MESSAGE,
        "tools" => TOOL,
        "origin" => ORIGIN,
        _ => &[],
    };
    if inside.is_empty() {
        let kind = if field.kind == Type::Integer { "sc:Integer" } else { "sc:Text" };
        whole.insert("dataType".into(), kind.into());
        whole.insert("source".into(), from(None));
    } else {
        whole.insert("subField".into(), inside.iter().map(inner).collect());
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
