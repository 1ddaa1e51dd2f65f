//! Tool calls through the chat templates of several families and back, with their masks.

use std::fs;
use std::path::{Path, PathBuf};

use proto::chance::Chance;
use proto::tokens::{Codec, Encoded, Form, training};
use proto::trace::{Message, Role, ToolCall};
use serde_json::{Map, Value, json};

use crate::tiny_base::{self, refusal};

const HERMES: &str = "hermes";
const QWEN2_5: &str = "qwen2_5";
const QWEN3: &str = "qwen3";
const LLAMA3_1: &str = "llama3_1";
const ALL: [&str; 4] = [HERMES, QWEN2_5, QWEN3, LLAMA3_1];

fn fixture(name: &str) -> PathBuf {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/templates"))
        .join(format!("{name}.jinja"))
}

/// A tokenizer that knows the marks of every family, with the template at a path or `hermes`.
fn opened(template: &str) -> anyhow::Result<Codec> {
    let temp = tempfile::tempdir().unwrap();
    let marks = ["<|eot_id|>", "<|start_header_id|>", "<|end_header_id|>"];
    let texts = tiny_base::texts();
    training::train(texts.iter().map(String::as_str), 330, &marks, temp.path()).unwrap();
    Codec::open(temp.path(), Some(template))
}

fn codec(name: &str) -> Codec {
    match name {
        HERMES => opened(HERMES).unwrap(),
        name => opened(fixture(name).to_str().unwrap()).unwrap(),
    }
}

/// The codec of a fixture that was changed.
fn changed(name: &str, from: &str, to: &str) -> Codec {
    let source = fs::read_to_string(fixture(name)).unwrap();
    assert!(source.contains(from), "{from}");
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("changed.jinja");
    fs::write(&path, source.replace(from, to)).unwrap();
    opened(path.to_str().unwrap()).unwrap()
}

fn user(text: &str) -> Message {
    Message::text(Role::User, text)
}

fn answer(text: &str) -> Message {
    Message::text(Role::Assistant, text)
}

fn call(name: &str, arguments: Value) -> ToolCall {
    let arguments = arguments.as_object().unwrap().clone();
    ToolCall { id: String::new(), name: name.into(), arguments }
}

fn calling(text: &str, calls: Vec<ToolCall>) -> Message {
    let mut message = answer(text);
    message.tool_calls = calls;
    for (i, call) in message.tool_calls.iter_mut().enumerate() {
        call.id = format!("call0000{i}");
    }
    message
}

fn thinking(thought: &str, mut message: Message) -> Message {
    message.reasoning_content = Some(thought.into());
    message
}

fn result(text: &str) -> Message {
    let mut message = Message::text(Role::Tool, text);
    message.tool_call_id = Some("call00000".into());
    message.name = Some("read".into());
    message
}

fn tools() -> Vec<Value> {
    vec![json!({"type": "function", "function": {
        "name": "read", "description": "Reads a <file> & \"more\"",
        "parameters": {"type": "object", "properties": {"path": {"type": "string"}}}
    }})]
}

fn python_json(value: &Value) -> String {
    match value {
        Value::Object(object) => {
            let items = object.iter().map(|(k, v)| format!("{}: {}", json!(k), python_json(v)));
            format!("{{{}}}", items.collect::<Vec<_>>().join(", "))
        }
        Value::Array(items) => {
            format!("[{}]", items.iter().map(python_json).collect::<Vec<_>>().join(", "))
        }
        plain => plain.to_string(),
    }
}

/// The answer a model of this family would write, its end-of-turn token included: the rules as its
/// makers state them, told a second time.
fn written(name: &str, message: &Message) -> String {
    let call = |key: &str, call: &ToolCall| {
        let arguments = python_json(&Value::Object(call.arguments.clone()));
        format!("{{\"name\": \"{}\", \"{key}\": {arguments}}}", call.name)
    };
    if name == LLAMA3_1 {
        return match message.tool_calls.first() {
            Some(only) => call("parameters", only) + "<|eot_id|>",
            None => message.content.clone() + "<|eot_id|>",
        };
    }
    let thought = match (name, &message.reasoning_content) {
        (QWEN3, thought) => {
            format!("<think>\n{}\n</think>\n\n", thought.as_deref().unwrap_or_default())
        }
        (HERMES, Some(thought)) => format!("<think>\n{thought}\n</think>\n\n"),
        _ => String::new(),
    };
    let calls = message
        .tool_calls
        .iter()
        .map(|one| format!("<tool_call>\n{}\n</tool_call>", call("arguments", one)));
    let content = Some(message.content.clone()).filter(|text| !text.is_empty());
    let parts: Vec<String> = content.into_iter().chain(calls).collect();
    format!("{thought}{}<|im_end|>", parts.join("\n"))
}

fn random_text(chance: &mut Chance) -> String {
    const PIECES: &[&str] = &[
        "a",
        " ",
        "\n",
        "\t",
        "\"",
        "'",
        "\\",
        "<b>",
        "&",
        "{",
        "}",
        "[",
        "]",
        "é",
        "東",
        "🙂",
        "\u{2028}",
        "</tool_call>",
        "<tool_call>",
        "</think>",
        "<|python_tag|>",
        "[TOOL_CALLS]",
        "{\"name\": \"x\", \"parameters\": {}}",
        "{{",
        "{%",
    ];
    (0..chance.below(7)).map(|_| PIECES[chance.below(PIECES.len())]).collect()
}

fn random_value(chance: &mut Chance, depth: usize) -> Value {
    match chance.below(if depth == 0 { 7 } else { 9 }) {
        0 => Value::Null,
        1 => json!(chance.below(2) == 1),
        2 => json!(chance.bits() as i64),
        3 => json!(chance.below(10)),
        4 => json!(chance.below(1000) as f64 / 8.0),
        5 | 6 => json!(random_text(chance)),
        7 => (0..chance.below(4)).map(|_| random_value(chance, depth - 1)).collect(),
        _ => Value::Object(random_object(chance, depth - 1)),
    }
}

fn random_object(chance: &mut Chance, depth: usize) -> Map<String, Value> {
    (0..chance.below(5)).map(|_| (random_text(chance), random_value(chance, depth))).collect()
}

/// An answer without calls for `most` of 0.
fn random_answer(chance: &mut Chance, most: usize) -> Message {
    let text = ["", "Looking.", "Line one\nline \"two\" <b>"][chance.below(3)];
    let names = ["read", "größe", "a.b-c"];
    let calls = (0..if most == 0 { 0 } else { 1 + chance.below(most) })
        .map(|_| call(names[chance.below(3)], Value::Object(random_object(chance, 3))))
        .collect();
    let message = calling(if most == 0 { "Done, 東." } else { text }, calls);
    match chance.below(2) {
        0 => message,
        _ => thinking(["because", "one\n\ntwo {\"x\"}"][chance.below(2)], message),
    }
}

/// Questions, each with some steps of calls and results, and an answer.
fn random_talk(chance: &mut Chance, most: usize) -> Vec<Message> {
    let mut messages = Vec::new();
    if chance.below(2) == 1 {
        messages.push(Message::text(Role::System, "Be brief."));
    }
    for _ in 0..1 + chance.below(3) {
        messages.push(user(&format!("Go on. {}", random_text(chance))));
        for _ in 0..chance.below(3) {
            let step = random_answer(chance, most);
            let results = step.tool_calls.len();
            messages.push(step);
            messages.extend((0..results).map(|_| result(&random_text(chance))));
        }
        messages.push(random_answer(chance, 0));
    }
    for message in messages.iter_mut().filter(|m| m.role == Role::Assistant) {
        message.train = chance.below(4) > 0;
    }
    messages
}

fn most_calls(name: &str) -> usize {
    if name == LLAMA3_1 { 1 } else { 3 }
}

/// What comes back of a message that went through a template: text beside a call has no place in
/// Llama's, reasoning none in Llama's and Qwen2.5's.
fn assert_comes_back(name: &str, codec: &Codec, ids: &[u32], message: &Message) {
    let reply = codec.parse(ids).unwrap();
    let text = codec.decode(ids).unwrap();
    let calls = |calls: &[ToolCall]| -> Vec<(String, String)> {
        calls.iter().map(|c| (c.name.clone(), json!(c.arguments).to_string())).collect()
    };
    assert_eq!(reply.malformed, None, "{name}: {text}");
    assert_eq!(calls(&reply.calls), calls(&message.tool_calls), "{name}: {text}");
    if name != LLAMA3_1 || message.tool_calls.is_empty() {
        assert_eq!(reply.content, message.content, "{name}: {text}");
    }
    if [HERMES, QWEN3].contains(&name) {
        assert_eq!(reply.reasoning, message.reasoning_content, "{name}: {text}");
    }
}

/// Token by token: each trained answer is trained once, in its own tokens up to its end of turn,
/// after the very prompt it would be asked with; nothing else is trained.
fn assert_masks(name: &str, codec: &Codec, messages: &[Message], sequences: &[Encoded]) {
    let mut trained = Vec::new();
    for sequence in sequences {
        let mut wanted = vec![false; sequence.ids.len()];
        for turn in &sequence.turns {
            let prompt = codec.prompt(&messages[..turn.message], &tools()).unwrap();
            assert_eq!(prompt, sequence.ids[..turn.tokens.start], "{name} {}", turn.message);
            let ids = &sequence.ids[turn.tokens.clone()];
            assert_eq!(codec.decode(ids).unwrap(), written(name, &messages[turn.message]));
            assert_eq!(ids.last(), Some(&codec.end_of_turn()));
            assert_comes_back(name, codec, ids, &messages[turn.message]);
            if sequence.trained[turn.tokens.clone()].contains(&true) {
                wanted[turn.tokens.clone()].fill(true);
                trained.push(turn.message);
            }
        }
        assert_eq!(sequence.trained, wanted, "{name}");
    }
    let to_train =
        messages.iter().enumerate().filter(|(_, m)| m.role == Role::Assistant && m.train);
    let to_train: Vec<usize> = to_train.map(|(i, _)| i).collect();
    trained.sort();
    assert_eq!(trained, to_train, "{name}");
}

#[test]
fn the_form_of_calls_is_found_out_from_the_template() {
    for name in [HERMES, QWEN2_5, QWEN3] {
        assert_eq!(codec(name).tools().unwrap(), Form::Tagged, "{name}");
    }
    assert_eq!(codec(LLAMA3_1).tools().unwrap(), Form::Bare);
    assert_eq!(codec("mistral").tools().unwrap(), Form::Listed);
}

#[test]
fn conversations_come_back_from_every_template_with_exact_masks() {
    for name in ALL {
        let codec = codec(name);
        let mut chance = Chance::new(11, name);
        for _ in 0..60 {
            let messages = random_talk(&mut chance, most_calls(name));
            let sequences = codec.sequences(&messages, &tools()).unwrap();
            assert_masks(name, &codec, &messages, &sequences);
            if name != QWEN3 {
                assert_eq!(sequences.len(), 1, "{name}");
                let answers = messages.iter().filter(|m| m.role == Role::Assistant).count();
                assert_eq!(sequences[0].turns.len(), answers, "{name}");
            }
        }
    }
}

#[test]
fn calls_that_are_easily_changed_come_back() {
    let calls = [
        json!({}),
        json!({"a": 1, "b": 1.0, "c": -0.5, "d": 1e300, "e": 9007199254740993i64}),
        json!({"text": "\"quoted\" and 'single' \\ \\n\r\n\ttab\u{1}", "": ""}),
        json!({"ü": "東京🙂\u{2028}", "html": "<a href=\"x\">&amp;</a>"}),
        json!({"deep": {"list": [[], {}, [{"x": [null, true]}]]}, "order": {"z": 1, "a": 2}}),
        json!({"own": "</tool_call>\n<tool_call>{}", "llama": "<|python_tag|>{\"name\": 1}"}),
        json!({"think": "</think>", "json": "{\"name\": \"x\", \"arguments\": {}}"}),
    ];
    for name in ALL {
        let codec = codec(name);
        for arguments in &calls {
            for text in ["", "Let me see."] {
                let messages = [user("go"), calling(text, vec![call("read", arguments.clone())])];
                let encoded = codec.encode(&messages, &tools()).unwrap();
                assert_masks(name, &codec, &messages, &[encoded]);
            }
        }
    }
}

#[test]
fn calls_in_parallel_come_back_in_order() {
    let calls = (0..4).map(|i| call("read", json!({"path": format!("f{i}")}))).collect();
    let messages = [user("go"), calling("All four.", calls), result("one"), result("two")];
    for name in [HERMES, QWEN2_5, QWEN3] {
        let codec = codec(name);
        let sequences = codec.sequences(&messages, &tools()).unwrap();
        assert_masks(name, &codec, &messages, &sequences);
    }
    let codec = codec("mistral");
    let encoded = codec.encode(&messages, &tools()).unwrap();
    let reply = codec.parse(&encoded.ids[encoded.turns[0].tokens.clone()]).unwrap();
    let paths: Vec<_> = reply.calls.iter().map(|c| c.arguments["path"].clone()).collect();
    assert_eq!(paths, ["f0", "f1", "f2", "f3"]);
    assert_eq!(reply.content, "All four.");
}

#[test]
fn an_answer_with_more_calls_than_the_template_takes_is_refused_by_its_row() {
    let two = vec![call("read", json!({"path": "a"})), call("read", json!({"path": "b"}))];
    let mut messages = vec![
        Message::text(Role::System, "Be brief."),
        user("go"),
        answer("ok"),
        user("on"),
        calling("", two),
        result("one"),
    ];
    messages[4].row = 12;
    for train in [true, false] {
        messages[4].train = train;
        let message = refusal(codec(LLAMA3_1).sequences(&messages, &tools()));
        assert!(message.contains("message 5 (row 12)"), "{message}");
        assert!(message.contains("CHAT_TEMPLATE=hermes"), "{message}");
        assert!(message.contains("one tool call an answer"), "{message}");
    }
}

#[test]
fn a_call_that_the_template_would_mangle_is_refused_by_its_row() {
    let mut messages = [user("go"), calling("", vec![call("re\"ad", json!({}))])];
    messages[1].row = 3;
    for name in [QWEN2_5, QWEN3, LLAMA3_1] {
        let message = refusal(codec(name).encode(&messages, &tools()));
        assert!(message.contains("message 2 (row 3)"), "{message}");
        assert!(message.contains("CHAT_TEMPLATE"), "{message}");
    }
    codec(HERMES).encode(&messages, &tools()).unwrap();
    messages[1].tool_calls = vec![call("read", json!({})), call("read", json!({"path": "a"}))];
    let first_only = changed(QWEN2_5, "in message.tool_calls", "in message.tool_calls[:1]");
    let message = refusal(first_only.encode(&messages, &tools()));
    assert!(
        message.contains("message 2 (row 3)") && message.contains("CHAT_TEMPLATE"),
        "{message}"
    );
}

#[test]
fn a_template_that_drops_something_of_tools_is_refused_for_all_that_need_them() {
    let step = calling("", vec![call("read", json!({"path": "a"}))]);
    let with_call = [user("go"), step, result("text"), answer("done")];
    for (from, to, part) in [
        ("offer if tools", "'' if tools", "drops the tools on offer"),
        ("message.tool_calls", "message.no_such_key", "drops tool calls"),
        ("{\"name\": \"' ~", "{\"tool\": \"' ~", "does not read back"),
        ("'\\n<tool_response>\\n' ~ message.content", "'\\n<tool_response>\\n'", "the results"),
    ] {
        let codec = changed(QWEN2_5, from, to);
        for message in [
            refusal(codec.tools()),
            refusal(codec.sequences(&with_call, &[])),
            refusal(codec.sequences(&[user("a"), answer("b")], &tools())),
            refusal(codec.prompt(&[user("a")], &tools())),
        ] {
            assert!(message.contains(part), "{part}: {message}");
            assert!(message.contains("CHAT_TEMPLATE=hermes"), "{message}");
        }
        codec.sequences(&[user("a"), answer("b")], &[]).unwrap();
    }
}

#[test]
fn reasoning_that_is_stripped_later_is_trained_where_it_was_written() {
    let codec = codec(QWEN3);
    let step = |text: &str| calling(text, vec![call("read", json!({"path": "a"}))]);
    let messages = [
        user("one"),
        thinking("t1", step("")),
        result("r1"),
        thinking("t2", answer("a2")),
        user("two"),
        thinking("t3", step("")),
        result("r3"),
        thinking("t4", answer("a4")),
    ];
    let sequences = codec.sequences(&messages, &tools()).unwrap();
    assert_masks(QWEN3, &codec, &messages, &sequences);
    let turns = |encoded: &Encoded| -> Vec<usize> {
        let trained = encoded.turns.iter().filter(|t| encoded.trained[t.tokens.start]);
        trained.map(|turn| turn.message).collect()
    };
    // Both answers to a question stand as they were written until the next question.
    assert_eq!(sequences.iter().map(turns).collect::<Vec<_>>(), [vec![1, 3], vec![5, 7]]);
    let texts: Vec<_> = sequences.iter().map(|s| codec.decode(&s.ids).unwrap()).collect();
    assert!(texts[0].ends_with("</think>\n\na2<|im_end|>\n"), "{}", texts[0]);
    assert!(!texts[1].contains("t1") && !texts[1].contains("t2"), "{}", texts[1]);
    assert!(texts[1].contains("t3") && texts[1].ends_with("a4<|im_end|>\n"), "{}", texts[1]);
}

#[test]
fn where_one_sequence_is_asked_for_several_are_refused() {
    let codec = codec(QWEN3);
    let mut messages = vec![user("a"), answer("b"), user("c"), answer("d")];
    messages[1].row = 7;
    let message = refusal(codec.encode(&messages, &[]));
    assert!(message.contains("message 2 (row 7)"), "{message}");
    assert!(message.contains("2 sequences") && message.contains("CHAT_TEMPLATE"), "{message}");
    messages[1].train = false;
    let encoded = codec.encode(&messages, &[]).unwrap();
    let turns: Vec<_> = encoded.turns.iter().map(|turn| turn.message).collect();
    assert_eq!(turns, [3], "a turn that no longer stands as it was answered is context");
    messages[3].train = false;
    assert_eq!(codec.sequences(&messages, &[]).unwrap().len(), 1, "context is kept as it is");
}

#[test]
fn what_each_template_shows() {
    let messages = [
        user("Read ü. "),
        calling("", vec![call("read", json!({"path": "ü", "n": 1.0}))]),
        result("a \"b\"\n<c>"),
    ];
    let shown = |name: &str| {
        let codec = codec(name);
        codec.decode(&codec.prompt(&messages, &tools()).unwrap()).unwrap()
    };
    let qwen2_5 = shown(QWEN2_5);
    assert!(
        qwen2_5.starts_with("<|im_start|>system\nYou are Qwen, created by Alibaba Cloud. You are")
    );
    let both = r#"<|im_start|>user
Read ü. <|im_end|>
<|im_start|>assistant
<tool_call>
{"name": "read", "arguments": {"path": "ü", "n": 1.0}}
</tool_call><|im_end|>
<|im_start|>user
<tool_response>
a "b"
<c>
</tool_response><|im_end|>
<|im_start|>assistant
"#;
    assert!(qwen2_5.ends_with(both), "{qwen2_5}");
    let qwen3 = shown(QWEN3);
    assert!(qwen3.starts_with("<|im_start|>system\n# Tools\n\nYou may call"), "{qwen3}");
    assert!(qwen3.ends_with(both), "{qwen3}");
    let llama = shown(LLAMA3_1);
    assert!(
        llama.contains("<|end_header_id|>\n\nEnvironment: ipython\nCutting Knowledge Date: ")
            && llama.contains("\nToday Date: 26 Jul 2024\n\n<|eot_id|>"),
        "{llama}"
    );
    let end = r#"

Read ü.<|eot_id|><|start_header_id|>assistant<|end_header_id|>

{"name": "read", "parameters": {"path": "ü", "n": 1.0}}<|eot_id|><|start_header_id|>ipython<|end_header_id|>

"a \"b\"\n<c>"<|eot_id|><|start_header_id|>assistant<|end_header_id|>

"#;
    assert!(llama.ends_with(end), "{llama}");
}
