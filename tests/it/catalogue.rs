//! Tools and system prompts from captured requests, what ships, and calls of OpenCode 1 said in
//! terms of 2.

use proto::trace::catalogue::{Added, Catalogue, Counts, Generation, apply, normalise};
use proto::trace::{Message, Role, Signal, ToolCall, Trace};
use rusqlite::Connection;
use serde_json::{Map, Value, json};

use super::samples;

use Generation::{One, Two};

/// The sessions of a sample database, with their calls and what came of them.
fn sessions(script: &str, generation: Generation) -> Vec<Trace> {
    let database = Connection::open_in_memory().unwrap();
    let path = samples::folder().join("opencode").join(script);
    database.execute_batch(&std::fs::read_to_string(path).unwrap()).unwrap();
    let query = match generation {
        One => "SELECT session_id, data FROM part ORDER BY session_id, id",
        Two => "SELECT session_id, data FROM session_message ORDER BY session_id, seq",
    };
    let mut statement = database.prepare(query).unwrap();
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    let mut traces: Vec<Trace> = Vec::new();
    for (session, data) in rows.map(Result::<(String, String), _>::unwrap) {
        let Ok(data) = serde_json::from_str::<Value>(&data) else { continue };
        let parts = match &data["content"] {
            Value::Array(parts) => parts.clone(),
            _ => vec![data],
        };
        for part in parts.iter().filter(|part| part["type"] == "tool") {
            if traces.last().is_none_or(|trace| trace.session != session) {
                let version = if generation == One { "1.17.3" } else { "2.0.26" };
                traces.push(trace(&session, version));
            }
            let name = part["tool"].as_str().or(part["name"].as_str()).unwrap();
            let state = part["state"].to_string();
            let misfit = ["nvalid arguments", "nknown tool", "unavailable tool"];
            let signal = misfit.iter().any(|words| state.contains(words)).then_some(Signal::Schema);
            let arguments = part["state"]["input"].as_object().unwrap().clone();
            say(traces.last_mut().unwrap(), name, arguments, signal);
        }
    }
    traces
}

fn trace(session: &str, version: &str) -> Trace {
    let agent_version = Some(version.to_string()).filter(|version| !version.is_empty());
    let source = "opencode".to_string();
    Trace { session: session.into(), source, agent_version, ..Trace::default() }
}

/// Adds a step with one call, and its result.
fn say(trace: &mut Trace, name: &str, arguments: Map<String, Value>, signal: Option<Signal>) {
    let id = format!("c{}", trace.messages.len());
    let mut result = Message::text(Role::Tool, "");
    signal.into_iter().for_each(|signal| result.note(signal));
    (result.tool_call_id, result.name) = (Some(id.clone()), Some(name.into()));
    let call = ToolCall { id, name: name.into(), arguments };
    let step = Message { tool_calls: vec![call], ..Message::text(Role::Assistant, "") };
    trace.messages.extend([step, result]);
}

fn calling(version: &str, calls: &[(&str, Value, Option<Signal>)]) -> Trace {
    let mut trace = trace("s", version);
    for (name, arguments, signal) in calls {
        say(&mut trace, name, arguments.as_object().unwrap().clone(), *signal);
    }
    trace
}

fn calls(trace: &Trace) -> Vec<(&str, Value)> {
    let calls = trace.messages.iter().flat_map(|message| &message.tool_calls);
    calls.map(|call| (call.name.as_str(), json!(call.arguments))).collect()
}

/// Whether a call has the arguments its schema wants, with their types, and no others.
fn validates(catalogue: &Catalogue, call: &ToolCall) -> bool {
    let Some(tool) = catalogue.tool(&call.name) else { return false };
    let parameters = &tool["function"]["parameters"];
    let required = parameters["required"].as_array().unwrap();
    let fits =
        |(name, value): (&String, &Value)| match parameters["properties"][name]["type"].as_str() {
            Some("string") => value.is_string(),
            Some("integer") => value.is_u64(),
            Some("number") => value.is_number(),
            Some("boolean") => value.is_boolean(),
            Some("array") => value.is_array(),
            _ => false,
        };
    required.iter().all(|name| call.arguments.contains_key(name.as_str().unwrap()))
        && call.arguments.iter().all(fits)
}

#[test]
fn every_call_of_the_samples_fits_the_shipped_catalogue_unless_it_failed_for_that() {
    let scripts =
        [("opencode-1.2.sql", One), ("opencode-1.17.sql", One), ("opencode-2.0.sql", Two)];
    for (script, generation) in scripts {
        let catalogue = Catalogue::shipped(generation).unwrap();
        let mut seen = 0;
        for trace in sessions(script, generation) {
            for step in trace.messages.chunks(2) {
                let call = &step[0].tool_calls[0];
                let failed = step[1].signals.contains(&Signal::Schema);
                assert_eq!(validates(&catalogue, call), !failed, "{script} {}", call.name);
                seen += 1;
            }
        }
        assert_eq!(seen, 18, "{script}");
    }
}

#[test]
fn the_same_sessions_of_both_versions_become_the_same_calls() {
    for (target, from, to) in [
        (Two, "opencode-1.17.sql", "opencode-2.0.sql"),
        (One, "opencode-2.0.sql", "opencode-1.17.sql"),
    ] {
        let (source, expected) = match target {
            Two => (sessions(from, One), sessions(to, Two)),
            One => (sessions(from, Two), sessions(to, One)),
        };
        assert_eq!((source.len(), expected.len()), (6, 6));
        for mut trace in source {
            let expected = expected.iter().find(|other| other.session == trace.session).unwrap();
            let before = trace.clone();
            let counts = normalise(&mut trace, target);
            for (n, step) in trace.messages.chunks(2).enumerate() {
                let other = &expected.messages[2 * n].tool_calls[0];
                let call = &step[0].tool_calls[0];
                let failed = step[1].signals.contains(&Signal::Schema);
                if !failed {
                    let pair = |call: &ToolCall| (call.name.clone(), json!(call.arguments));
                    assert_eq!(pair(call), pair(other));
                    assert!(step[0].train);
                }
                assert_eq!(step[1].name.as_ref(), Some(&call.name));
            }
            let all = counts.renamed + counts.refused + counts.left;
            assert_eq!(all, calls(&before).len() as u64);
        }
    }
}

#[test]
fn what_cannot_be_said_in_the_targets_terms_is_not_trained() {
    let edit = json!({"filePath": "a", "oldString": "b", "newString": "c"});
    let mut trace = calling(
        "1.17.3",
        &[
            ("edit", edit, None),
            ("invalid", json!({"tool": "x", "error": "y"}), None),
            ("todowrite", json!({"todos": []}), None),
            ("task", json!({"prompt": "p", "command": "review"}), None),
            ("read", json!({"path": "a"}), Some(Signal::Schema)),
            ("bash", json!({}), Some(Signal::Schema)),
        ],
    );
    let before = trace.clone();
    assert_eq!(normalise(&mut trace, Two), Counts { renamed: 1, refused: 5, left: 0 });
    assert_eq!(calls(&trace)[1..], calls(&before)[1..]);
    let trained: Vec<_> = trace.messages.iter().map(|message| message.train).collect();
    assert_eq!(trained.iter().filter(|train| **train).count(), 1);
    assert!(trained[0]);
}

#[test]
fn tools_that_neither_has_are_left() {
    let own = [
        ("playwright_click", json!({"filePath": "a"}), None),
        ("search_files", json!({"query": "a"}), Some(Signal::UnknownTool)),
        ("glob", json!({"pattern": "*.rs"}), None),
    ];
    let mut trace = calling("1.17.3", &own);
    let before = trace.clone();
    assert_eq!(normalise(&mut trace, Two), Counts { renamed: 0, refused: 0, left: 3 });
    assert_eq!(trace, before);
}

#[test]
fn a_session_is_left_by_the_version_that_wrote_it() {
    let mut trace = calling(
        "2.0.26",
        &[
            ("shell", json!({"command": "ls", "description": "List", "novel": 1}), None),
            ("read", json!({"filePath": "a"}), Some(Signal::Schema)),
            ("bash", json!({"command": "ls"}), Some(Signal::UnknownTool)),
        ],
    );
    let before = trace.clone();
    assert_eq!(normalise(&mut trace, Two), Counts { renamed: 0, refused: 0, left: 3 });
    assert_eq!(trace, before);
}

#[test]
fn the_older_part_of_a_session_taken_over_is_renamed() {
    let mut trace = calling(
        "2.0.26",
        &[
            ("bash", json!({"command": "ls"}), None),
            ("read", json!({"filePath": "a", "limit": 5}), None),
            ("read", json!({"path": "a"}), None),
        ],
    );
    assert_eq!(normalise(&mut trace, Two), Counts { renamed: 2, refused: 0, left: 1 });
    let expected = [
        ("shell", json!({"command": "ls"})),
        ("read", json!({"path": "a", "limit": 5})),
        ("read", json!({"path": "a"})),
    ];
    assert_eq!(calls(&trace), expected);
    assert_eq!(normalise(&mut trace, Two), Counts { renamed: 0, refused: 0, left: 3 });
}

#[test]
fn the_version_is_known_by_the_calls_where_it_is_not_stored() {
    let of = |version: &str, name: &str, arguments: Value| {
        Generation::of(&calling(version, &[(name, arguments, None)]))
    };
    assert_eq!(of("", "bash", json!({"command": "ls"})), Some(One));
    assert_eq!(of("", "read", json!({"path": "a"})), Some(Two));
    assert_eq!(of("", "glob", json!({"pattern": "a"})), None);
    assert_eq!(of("0.6.1", "glob", json!({})), Some(One));
    assert_eq!(of("2.0.0-beta.3", "glob", json!({})), Some(Two));
}

#[test]
fn other_agents_calls_are_left() {
    let mut trace = calling("1.0.0", &[("bash", json!({"command": "ls"}), None)]);
    trace.source = "pi".into();
    assert_eq!(normalise(&mut trace, Two), Counts { renamed: 0, refused: 0, left: 1 });
    assert_eq!(calls(&trace)[0].0, "bash");
    assert_eq!(Generation::of(&trace), None);
}

fn openai(tool: &str) -> Value {
    json!({"model": "m", "messages": [
        {"role": "system", "content": "You code."},
        {"role": "developer", "content": [{"type": "text", "text": "Briefly."}]},
        {"role": "user", "content": "hi"}, {"role": "system", "content": "later"}],
        "tools": [{"type": "function", "function": {"name": tool, "parameters": {}}}]})
}

#[test]
fn a_captured_request_is_a_catalogue_in_every_shape() {
    let chat = Catalogue::parse(&format!("{:#}", openai("bash"))).unwrap();
    assert_eq!(chat.system.as_deref(), Some("You code.\nBriefly."));
    assert_eq!(chat.tools[0]["function"]["name"], "bash");
    let schema = json!({"type": "object"});
    let anthropic = json!({"system": [{"type": "text", "text": "You code."}], "tools": [
        {"name": "bash", "input_schema": schema}, {"type": "web_search_20250305"}],
        "messages": [{"role": "user", "content": "hi"}]});
    let read = Catalogue::parse(&anthropic.to_string()).unwrap();
    assert_eq!(read.system.as_deref(), Some("You code."));
    let function = json!({"name": "bash", "parameters": schema});
    assert_eq!(read.tools, [json!({"type": "function", "function": function})]);
    let responses = json!({"instructions": "You code.", "input": [],
        "tools": [{"type": "function", "name": "bash", "parameters": schema}]});
    let other = Catalogue::parse(&responses.to_string()).unwrap();
    assert_eq!((other.system, other.tools), (read.system, read.tools));
}

#[test]
fn the_last_request_with_tools_counts() {
    let title = json!({"messages": [{"role": "system", "content": "A title"}]});
    let rows = [openai("bash"), openai("shell"), title].map(|row| row.to_string());
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("requests.jsonl");
    std::fs::write(&path, format!("\u{feff}{}\n\n", rows.join("\n"))).unwrap();
    let read = Catalogue::read(&path).unwrap();
    assert!(read.tool("shell").is_some() && read.tool("bash").is_none());
    assert_eq!(read.system.as_deref(), Some("You code.\nBriefly."));
}

#[test]
fn what_is_no_request_is_refused_with_its_name_and_none_of_its_content() {
    let folder = tempfile::tempdir().unwrap();
    let deep = "[".repeat(200_000);
    let bad = ["{\"hunter2\"", "[\"hunter2\"]", "{\"tools\": \"hunter2\"}", "{}", "", &deep];
    for (n, text) in bad.iter().enumerate() {
        let path = folder.path().join(format!("request-{n}.json"));
        std::fs::write(&path, text).unwrap();
        let error = format!("{:#}", Catalogue::read(&path).unwrap_err());
        assert!(
            error.contains(&format!("request-{n}.json")) && !error.contains("hunter2"),
            "{error}"
        );
    }
    assert!(Catalogue::read(folder.path()).is_err());
}

#[test]
fn a_catalogue_gives_a_trace_only_what_it_lacks() {
    let catalogue = Catalogue::parse(&openai("bash").to_string()).unwrap();
    let mut bare = trace("s", "1.17.3");
    bare.messages.push(Message::text(Role::User, "hi"));
    assert_eq!(apply(&mut bare, &catalogue), Added { system: true, tools: true });
    assert_eq!((bare.messages.len(), bare.messages[0].role), (2, Role::System));
    assert_eq!(bare.tools, catalogue.tools);
    let before = bare.clone();
    let other = Catalogue::shipped(Two).unwrap();
    assert_eq!(apply(&mut bare, &other), Added::default());
    assert_eq!(bare, before);
    let mut bare = trace("s", "1.17.3");
    assert_eq!(apply(&mut bare, &other), Added { system: false, tools: true });
}
