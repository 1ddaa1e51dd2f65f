//! Nothing the program says or writes shows a secret that the traces hold.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use proto::chance::Chance;
use serde_json::json;

/// Secrets as they stand in traces, and the line each stands in.
fn planted() -> Vec<(String, String)> {
    let mut chance = Chance::new(71, "secrecy");
    let mut any = |length: usize| -> String {
        const ALL: &[u8] = b"ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz23456789";
        (0..length).map(|_| char::from(ALL[chance.below(ALL.len())])).collect()
    };
    let lines = [
        format!("export DB_PASSWORD={}", any(18)),
        format!("Authorization: Bearer {}", any(40)),
        format!("token ghp_{}", any(36)),
        format!("postgres://app:{}@10.0.0.5/shop", any(20)),
        format!("-----BEGIN RSA PRIVATE KEY-----\n{}\n{}\n", any(64), any(64)),
        format!("sshpass -p {} ssh build@10.0.0.4", any(16)),
        format!("write to {}@quarry-mail.com", any(12).to_lowercase()),
    ];
    let value = |line: &String| {
        let words = line.split(|c: char| !c.is_ascii_alphanumeric());
        words.max_by_key(|word| (word.len() > 11, word.bytes().filter(u8::is_ascii_digit).count()))
    };
    lines.iter().map(|line| (value(line).unwrap().to_string(), line.clone())).collect()
}

struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        let place = Place(tempfile::tempdir().unwrap());
        for folder in ["tmp", "home", "in"] {
            fs::create_dir(place.path(folder)).unwrap();
        }
        place
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.0.path().join(name)
    }

    fn proto(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_proto"));
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("PROTO_")) {
            command.env_remove(name);
        }
        command.env("TMPDIR", self.path("tmp")).env("HOME", self.path("home"));
        command.env("RUST_BACKTRACE", "full").env("RUST_LOG", "trace");
        command.current_dir(self.0.path()).args(arguments).output().unwrap()
    }
}

/// Every byte below a folder, names included, `in` left out.
fn written(folder: &Path, all: &mut Vec<u8>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        all.extend(path.as_os_str().as_encoded_bytes());
        if path.ends_with("in") {
        } else if path.is_dir() {
            written(&path, all);
        } else {
            all.extend(fs::read(&path).unwrap());
        }
    }
}

fn shows(bytes: &[u8], value: &str) -> bool {
    let middle = &value[..value.len() - value.len() % 3];
    let forms = [value.to_string(), STANDARD_NO_PAD.encode(middle)];
    forms.iter().any(|form| bytes.windows(form.len()).any(|part| part == form.as_bytes()))
}

#[test]
fn no_secret_is_said_or_written() {
    let place = Place::new();
    let planted = planted();
    let mut lines: Vec<String> = planted
        .iter()
        .enumerate()
        .map(|(n, (_, line))| {
            json!({"messages": [
                {"role": "user", "content": format!("what is wrong with this, number {n}?\n{line}")},
                {"role": "assistant", "content": format!("I see {line} there; it looks fine to me.")},
            ]})
            .to_string()
        })
        .collect();
    for (_, line) in &planted {
        // Damaged rows hold secrets like any other.
        lines.push(format!("{{\"messages\": [{{\"role\": \"user\", \"content\": \"{line}"));
        lines.push(json!({"messages": [{"role": line, "content": line}]}).to_string());
        lines.push(json!({"messages": line}).to_string());
        lines.push(line.clone());
    }
    let traces = lines.join("\n");
    fs::write(place.path("in/traces.jsonl"), &traces).unwrap();
    let scripts = [
        (
            "prints.rhai",
            "for row in load_traces() { print(row.text); debug(row.text); print(row); }",
        ),
        ("throws.rhai", "throw load_traces()[2].text;"),
        ("fails.rhai", "load_traces().filter(\"x\", |row| row.text);"),
        ("closure.rhai", "load_traces().filter(\"x\", |row| throw row.text);"),
        ("unknown.rhai", "load_traces()[0].with_outcome(load_traces()[0].text);"),
        ("writes.rhai", "write(mix(split(redact(load_traces()))));"),
    ];
    let mut said: Vec<(String, Vec<u8>)> = Vec::new();
    let mut tell = |what: &str, output: Output| {
        assert!(output.status.code().is_some(), "{what} was killed");
        said.push((what.to_string(), [output.stdout, output.stderr].concat()));
    };
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/embedded");
    let model = format!("BASE_MODEL={}", model.display());
    for (name, text) in scripts {
        fs::write(place.path("in").join(name), text).unwrap();
        let script = format!("in/{name}");
        let run = ["run", &script, "--set", "TRACES=in/traces.jsonl", "--set", &model];
        tell(name, place.proto(&run));
    }
    tell("check", place.proto(&["check", "in/traces.jsonl"]));
    tell("show", place.proto(&["show", "in/traces.jsonl", "--rows", "99"]));
    tell("show json", place.proto(&["show", "in/traces.jsonl", "--rows", "99", "--json"]));
    tell("list", place.proto(&["ingest", "in/traces.jsonl", "--list"]));
    tell("ingest", place.proto(&["ingest", "in/traces.jsonl", "--out", "out.jsonl"]));
    let redact = ["redact", "in/traces.jsonl", "--together", "--report", "--explain"];
    tell("redact", place.proto(&redact));
    tell("script", place.proto(&["run", "in/traces.jsonl"]));
    let mut bytes = Vec::new();
    written(place.0.path(), &mut bytes);
    said.push(("files".into(), bytes));
    assert!(place.path("out.jsonl").exists());
    let dataset = said.iter().find(|(what, _)| what == "writes.rhai").unwrap();
    assert!(String::from_utf8_lossy(&dataset.1).contains("redact:"), "the dataset is not reached");
    let mut shown = Vec::new();
    for (value, line) in &planted {
        assert!(shows(traces.as_bytes(), value) && line.contains(value));
        shown.extend(said.iter().filter(|(_, bytes)| shows(bytes, value)).map(|(w, _)| (w, line)));
    }
    assert!(shown.is_empty(), "{shown:#?}");
}
