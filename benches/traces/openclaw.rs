//! OpenClaw's sessions as its era of files has them, invented: the same bytes for the same size.

use std::fs;
use std::io::{BufWriter, Write};
use std::path::Path;

use proto::chance::Chance;
use serde_json::{Value, json};

/// About how long a session is, in bytes.
const SESSION: u64 = 1 << 20;

/// When the first session began, in Unix milliseconds.
const BEGIN: i64 = 1_788_252_000_000;

/// Writes a state folder with about so many bytes of sessions.
pub fn write(root: &Path, bytes: u64) {
    let folder = root.join("agents/main/sessions");
    fs::create_dir_all(&folder).expect("a folder");
    let mut index = serde_json::Map::new();
    let (mut written, mut n) = (0, 0);
    while written < bytes {
        let id = format!("00000000-0000-4000-8000-{n:012x}");
        let path = folder.join(format!("{id}.jsonl"));
        let file = BufWriter::new(fs::File::create(path).expect("a file"));
        let mut session =
            Session { file, written: 0, entries: 0, chance: Chance::new(n, "openclaw") };
        session.write(&id);
        session.file.flush().expect("space");
        written += session.written;
        index
            .insert(format!("agent:main:direct:{n}"), json!({"sessionId": id, "updatedAt": BEGIN}));
        n += 1;
    }
    fs::write(folder.join("sessions.json"), Value::Object(index).to_string()).expect("space");
}

struct Session {
    file: BufWriter<fs::File>,
    written: u64,
    entries: u64,
    chance: Chance,
}

impl Session {
    fn line(&mut self, line: &Value) {
        let text = format!("{line}\n");
        self.file.write_all(text.as_bytes()).expect("space");
        self.written += text.len() as u64;
    }

    /// An entry that follows the last one.
    fn entry(&mut self, kind: &str, field: &str, value: Value) {
        let parent = self.entries.checked_sub(1).map(|n| format!("{n:08x}"));
        let line = json!({"type": kind, "id": format!("{:08x}", self.entries), "parentId": parent,
            "timestamp": "2026-09-01T08:40:04.000Z", field: value});
        self.entries += 1;
        self.line(&line);
    }

    fn say(&mut self, message: Value) {
        self.entry("message", "message", message);
    }

    /// Lines of code, few of them mostly.
    fn text(&mut self, most: u64) -> String {
        let share = self.chance.unit();
        let lines = 1 + (share * share * most as f64) as u64;
        let line = |n| {
            format!("{n}:     let total_{n} = rows.iter().map(|r| r.cents).sum(); // \"{n}\"\n")
        };
        (0..lines).map(line).collect()
    }

    fn step(&mut self, content: Value, stop: &str) {
        self.say(json!({"role": "assistant", "content": content, "api": "openai-completions",
            "provider": "local", "model": "m", "usage": {"input": 2310, "output": 96, "cacheRead": 512,
            "cacheWrite": 0, "totalTokens": 2918, "cost": {"input": 0, "output": 0, "cacheRead": 0,
            "cacheWrite": 0, "total": 0}}, "stopReason": stop, "timestamp": BEGIN}));
    }

    fn write(&mut self, id: &str) {
        self.line(&json!({"type": "session", "version": 3, "id": id,
            "timestamp": "2026-09-01T08:40:00.000Z", "cwd": "/home/mira/.openclaw/workspace"}));
        self.entry("model_change", "modelId", json!("m"));
        while self.written < SESSION {
            let question = self.text(20);
            self.say(json!({"role": "user", "content": [{"type": "text", "text": question}],
                "timestamp": BEGIN}));
            for _ in 0..1 + self.chance.below(8) {
                self.call();
            }
            let answer = self.text(10);
            self.step(json!([{"type": "text", "text": answer}]), "stop");
        }
    }

    /// A step that calls a tool, and its result.
    fn call(&mut self) {
        let id = format!("call_{:08x}", self.entries);
        let thought = self.text(8);
        let think = json!({"type": "thinking", "thinking": thought});
        let (name, arguments) = match self.chance.below(3) {
            0 => ("read", json!({"path": "/home/mira/src/ledger/src/money.rs"})),
            1 => ("exec", json!({"command": "cargo test -q", "timeout": 60})),
            _ => {
                let (old, new) = (self.text(12), self.text(12));
                ("edit", json!({"path": "src/money.rs", "oldText": old, "newText": new}))
            }
        };
        let call = json!({"type": "toolCall", "id": id, "name": name, "arguments": arguments});
        self.step(json!([think, call]), "toolUse");
        let text = self.text(200);
        let mut result = json!({"role": "toolResult", "toolCallId": id, "toolName": name,
            "content": [{"type": "text", "text": text}], "isError": false, "timestamp": BEGIN});
        if name == "exec" {
            // The output stands there twice.
            result["details"] = json!({"status": "completed", "exitCode": 0, "aggregated": text});
        }
        self.say(result);
    }
}
