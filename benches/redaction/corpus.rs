//! Sessions of agents as they are stored: mostly what tools returned, some prose, few secrets.

use proto::chance::Chance;
use proto::trace::{Message, Role, ToolCall, Trace};
use serde_json::{Map, Value, json};

use super::text;

/// All sessions of a corpus of about `bytes` bytes; each is redacted as one.
pub fn sessions(bytes: usize) -> Vec<Vec<Trace>> {
    let mut sessions = Vec::new();
    let mut total = 0;
    while total < bytes {
        let mut chance = Chance::new(sessions.len() as u64, "sessions to redact");
        // From 20 KB to 2 MB, as many between 20 and 200 as above.
        let size = (20_000.0 * 100f64.powf(chance.unit())) as usize;
        let session = session(&mut chance, size.min(bytes - total + 20_000), sessions.len());
        total +=
            session.iter().map(|trace| strings(trace).map(str::len).sum::<usize>()).sum::<usize>();
        sessions.push(session);
    }
    sessions
}

/// Every string of a trace, without roles and ids.
pub fn strings(trace: &Trace) -> impl Iterator<Item = &str> {
    let mut all = vec![trace.source.as_str(), &trace.origin.file];
    trace.tools.iter().for_each(|tool| inside(tool, &mut all));
    for message in &trace.messages {
        all.extend(message.reasoning_content.as_deref());
        all.push(&message.content);
        for call in &message.tool_calls {
            all.push(&call.name);
            call.arguments.iter().for_each(|(key, value)| {
                all.push(key);
                inside(value, &mut all);
            });
        }
        all.extend(message.name.as_deref());
    }
    all.into_iter()
}

fn inside<'a>(value: &'a Value, all: &mut Vec<&'a str>) {
    match value {
        Value::String(text) => all.push(text),
        Value::Array(items) => items.iter().for_each(|item| inside(item, all)),
        Value::Object(map) => map.iter().for_each(|(key, value)| {
            all.push(key);
            inside(value, all);
        }),
        _ => {}
    }
}

/// Who sits at the machine of a session, and what is worked on.
pub struct Desk {
    pub user: String,
    pub email: String,
    pub project: String,
    pub host: String,
}

fn session(chance: &mut Chance, bytes: usize, number: usize) -> Vec<Trace> {
    let first = text::pick(chance, text::FIRST);
    let last = text::pick(chance, text::LAST);
    let desk = Desk {
        user: format!("{}{}", &first[..1], last),
        email: format!("{first}.{last}@northquay.io"),
        project: format!("{}-{}", text::pick(chance, text::NOUNS), text::pick(chance, text::NOUNS)),
        host: format!("ip-10-0-{}-{}", chance.below(256), chance.below(256)),
    };
    let parts = 1 + [0, 0, 0, 1, 3][chance.below(5)];
    (0..parts)
        .map(|part| Trace {
            session: format!("session-{number}"),
            source: text::pick(chance, &["claude_code", "codex", "opencode", "pi"]).into(),
            repository: Some(desk.project.clone()),
            tools: tools(),
            messages: messages(chance, &desk, bytes / parts),
            origin: proto::trace::Origin {
                file: format!(
                    "projects/-home-{}-{}/{number}-{part}.jsonl",
                    desk.user, desk.project
                ),
                line: 1,
            },
            ..Trace::default()
        })
        .collect()
}

fn tools() -> Vec<Value> {
    let tool = |name: &str, about: &str, argument: &str| {
        json!({"type": "function", "function": {"name": name, "description": about, "parameters": {
            "type": "object", "required": [argument],
            "properties": {argument: {"type": "string", "description": "What to work on."}}}}})
    };
    vec![
        tool("bash", "Runs a command in a shell and returns what it printed.", "command"),
        tool("read", "Reads a file and returns its lines with their numbers.", "path"),
        tool("edit", "Replaces a text in a file by another one.", "path"),
        tool("fetch", "Fetches a page and returns it as Markdown.", "url"),
    ]
}

fn messages(chance: &mut Chance, desk: &Desk, bytes: usize) -> Vec<Message> {
    let mut messages = vec![Message::text(Role::System, text::prose(chance, 4000))];
    let mut total = 4000;
    while total < bytes {
        let ask = match chance.below(8) {
            0 => format!("{}\n\n{}", text::prose(chance, 200), text::trouble(chance, desk)),
            _ => text::prose(chance, 300),
        };
        total += ask.len();
        messages.push(Message::text(Role::User, ask));
        for _ in 0..2 + chance.below(12) {
            let (name, arguments, result) = turn(chance, desk);
            let mut message = Message::text(Role::Assistant, text::prose(chance, 120));
            message.reasoning_content = (chance.below(3) == 0).then(|| text::prose(chance, 500));
            let id = format!("call_{}", messages.len());
            total += message.content.len() + result.len() + arguments.to_string().len();
            let arguments = match arguments {
                Value::Object(map) => map,
                _ => Map::new(),
            };
            message.tool_calls = vec![ToolCall { id: id.clone(), name: name.into(), arguments }];
            messages.push(message);
            let mut answer = Message::text(Role::Tool, result);
            (answer.tool_call_id, answer.name) = (Some(id), Some(name.into()));
            messages.push(answer);
        }
    }
    messages
}

/// A call of a tool and what it returned.
fn turn(chance: &mut Chance, desk: &Desk) -> (&'static str, Value, String) {
    let home = format!("/home/{}/work/{}", desk.user, desk.project);
    let file = format!(
        "{home}/src/{}.{}",
        text::name(chance),
        text::pick(chance, &["rs", "py", "ts", "go"])
    );
    let bash = |command: &str| json!({"command": command, "timeout": 120_000});
    let size = [600, 1500, 4000, 12_000][chance.below(4)];
    match chance.below(100) {
        0..28 => ("read", json!({"path": file}), text::numbered(&text::code(chance, size))),
        28..40 => {
            let (old, new) = (text::code(chance, 400), text::code(chance, 500));
            let done = format!("The file {file} has been updated.\n{}", text::numbered(&new));
            ("edit", json!({"path": file, "old_string": old, "new_string": new}), done)
        }
        40..47 => ("bash", bash("git diff HEAD~1"), text::diff(chance, size)),
        47..56 => {
            ("bash", bash("cargo build 2>&1 | tail -100"), text::build_log(chance, desk, size))
        }
        56..64 => ("bash", bash("npm test"), text::test_log(chance, desk, size)),
        64..69 => ("bash", bash(&format!("ls -la {home}")), text::listing(chance, desk, size / 4)),
        69..74 => ("bash", bash("rg -n TODO"), text::matches(chance, desk, size)),
        74..80 => (
            "fetch",
            json!({"url": format!("https://api.northquay.io/v2/{}?page=3", text::name(chance)), "headers": {"Accept": "application/json"}}),
            text::records(chance, size).to_string(),
        ),
        80..83 => {
            // What a tool of a tool returned: JSON in a string of JSON.
            let inner = json!({"stdout": text::code(chance, size / 2), "stderr": "", "code": 0})
                .to_string();
            (
                "bash",
                bash("mcp call"),
                json!({"content": [{"type": "text", "text": inner}]}).to_string(),
            )
        }
        83..87 => ("bash", bash("cat package-lock.json"), text::lockfile(chance, size)),
        87..90 => ("bash", bash("git log -20"), text::history(chance, desk, size)),
        90..92 => ("bash", bash("pytest -x"), text::trouble(chance, desk)),
        92..94 => (
            "read",
            json!({"path": format!("{home}/README.md")}),
            text::numbered(&text::prose(chance, size)),
        ),
        94 => ("bash", bash("cat dist/app.min.js"), text::minified(chance, size)),
        95 => ("read", json!({"path": format!("{home}/logo.svg")}), text::data_uri(chance, size)),
        96 => ("bash", bash("cargo test --color always"), text::coloured(chance, size)),
        97 => {
            ("bash", bash("docker compose logs --tail 200"), text::server_log(chance, desk, size))
        }
        98 => ("bash", bash("cat .env"), text::env_file(chance, desk)),
        _ => ("bash", bash(&text::secret_command(chance, desk)), "ok\n".into()),
    }
}
