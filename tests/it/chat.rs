//! Conversations to tokens and back: templates, masks, round trips, refusals.

use std::fs;

use proto::chance::Chance;
use proto::tokens::{Codec, Encoded, Reply};
use proto::trace::{Message, Role, ToolCall};
use serde_json::{Map, Value, json};
use tempfile::TempDir;

use crate::tiny_base::{self, refusal};

/// ChatML with a default system prompt, as SmolLM2 has it.
const CHATML: &str = "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}\
    {{ '<|im_start|>system\nBe good<|im_end|>\n' }}{% endif %}{{'<|im_start|>' + message['role'] + '\n' \
    + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}\
    {{ '<|im_start|>assistant\n' }}{% endif %}";

fn folder() -> TempDir {
    let temp = tempfile::tempdir().unwrap();
    tiny_base::tokenizer(temp.path());
    temp
}

/// The tiny tokenizer with a template of its own.
fn codec(template: &str) -> Codec {
    let temp = folder();
    fs::write(temp.path().join("chat_template.jinja"), template).unwrap();
    Codec::open(temp.path(), None).unwrap()
}

fn hermes() -> Codec {
    Codec::open(folder().path(), None).unwrap()
}

fn user(text: &str) -> Message {
    Message::text(Role::User, text)
}

fn assistant(text: &str) -> Message {
    Message::text(Role::Assistant, text)
}

fn object(value: Value) -> Map<String, Value> {
    let Value::Object(object) = value else { panic!("not an object") };
    object
}

fn calling(text: &str, calls: &[(&str, Value)]) -> Message {
    let mut message = assistant(text);
    message.tool_calls = calls
        .iter()
        .enumerate()
        .map(|(i, (name, arguments))| ToolCall {
            id: format!("c{i}"),
            name: name.to_string(),
            arguments: object(arguments.clone()),
        })
        .collect();
    message
}

fn result(id: &str, text: &str) -> Message {
    let mut message = Message::text(Role::Tool, text);
    message.tool_call_id = Some(id.into());
    message.name = Some("read".into());
    message
}

/// What the loss covers, each run of trained tokens as text.
fn trained(codec: &Codec, encoded: &Encoded) -> Vec<String> {
    let mut runs: Vec<Vec<u32>> = vec![vec![]];
    for (id, trained) in encoded.ids.iter().zip(&encoded.trained) {
        match trained {
            true => runs.last_mut().unwrap().push(*id),
            false => runs.push(vec![]),
        }
    }
    runs.iter().filter(|run| !run.is_empty()).map(|run| codec.decode(run).unwrap()).collect()
}

/// Every turn's prompt as served must be exactly what precedes it in training.
fn assert_prompts_are_prefixes(codec: &Codec, messages: &[Message], tools: &[Value]) {
    let encoded = codec.encode(messages, tools).unwrap();
    let assistants = messages.iter().filter(|m| m.role == Role::Assistant).count();
    assert_eq!(encoded.turns.len(), assistants);
    for turn in &encoded.turns {
        let prompt = codec.prompt(&messages[..turn.message], tools).unwrap();
        assert_eq!(prompt, encoded.ids[..turn.tokens.start], "message {}", turn.message);
        assert_eq!(encoded.ids[turn.tokens.end - 1], codec.end_of_turn());
    }
}

fn read_tool() -> Value {
    json!({"type": "function", "function": {
        "name": "read", "description": "Reads a <file> & more",
        "parameters": {"type": "object", "properties": {"path": {"type": "string"}},
                       "required": ["path"]}
    }})
}

#[test]
fn chatml_with_a_default_system_prompt() {
    let codec = codec(CHATML);
    let messages = [user("Hi ü"), assistant("Yo"), user("Bye"), assistant("So long")];
    let encoded = codec.encode(&messages, &[]).unwrap();
    assert_eq!(
        codec.decode(&encoded.ids).unwrap(),
        "<|im_start|>system\nBe good<|im_end|>\n<|im_start|>user\nHi ü<|im_end|>\n\
         <|im_start|>assistant\nYo<|im_end|>\n<|im_start|>user\nBye<|im_end|>\n\
         <|im_start|>assistant\nSo long<|im_end|>\n"
    );
    assert_eq!(trained(&codec, &encoded), ["Yo<|im_end|>", "So long<|im_end|>"]);
    assert_prompts_are_prefixes(&codec, &messages, &[]);
    assert_eq!(codec.stop_ids(), [2]);
    assert_eq!((codec.end_of_turn(), codec.pad_id()), (2, 0));
    assert_eq!(codec.vocab_size(), tiny_base::VOCAB);
}

#[test]
fn only_messages_marked_for_training_are_targets() {
    let codec = hermes();
    let mut messages =
        vec![user("a"), assistant("wrong step"), user("b"), assistant("right step"), user("c")];
    messages[1].train = false;
    let encoded = codec.encode(&messages, &[]).unwrap();
    assert_eq!(trained(&codec, &encoded), ["right step<|im_end|>"]);
    assert_eq!(encoded.turns.len(), 2, "untrained turns are listed too");
    assert_eq!(encoded.turns[0].message, 1);
    messages[3].train = false;
    assert_eq!(codec.encode(&messages, &[]).unwrap().targets(), 0);
}

#[test]
fn placeholders_are_context_but_never_targets() {
    let codec = hermes();
    let answer = "mail <EMAIL_1> and <SECRET_AWS_12>, <b> x<1> <Not_1>";
    let messages = [user("whom? <EMAIL_1>"), assistant(answer)];
    let encoded = codec.encode(&messages, &[]).unwrap();
    assert!(codec.decode(&encoded.ids).unwrap().contains(answer));
    let runs = trained(&codec, &encoded);
    assert_eq!(runs, ["mail ", " and ", ", <b> x<1> <Not_1><|im_end|>"]);
}

#[test]
fn hermes_renders_system_tools_reasoning_calls_and_results() {
    let codec = hermes();
    let mut two = calling(
        "Sure.",
        &[("read", json!({"path": "ü \"q\"", "n": 1.0})), ("read", json!({"path": "b\n"}))],
    );
    two.reasoning_content = Some("Two files.".into());
    let messages = [
        Message::text(Role::System, "Be brief."),
        user("Read ü."),
        two,
        result("c0", "one"),
        result("c1", "two"),
        assistant("Done."),
        Message::text(Role::System, "Now stop."),
        user("Why?"),
    ];
    let prompt = codec.prompt(&messages, &[read_tool()]).unwrap();
    // The text that Hugging Face's Jinja makes of the same template and messages.
    assert_eq!(
        codec.decode(&prompt).unwrap(),
        r#"<|im_start|>system
Be brief.

You can call these tools:
<tools>
{"type": "function", "function": {"name": "read", "description": "Reads a <file> & more", "parameters": {"type": "object", "properties": {"path": {"type": "string"}}, "required": ["path"]}}}
</tools>
To call one, write:
<tool_call>
{"name": NAME, "arguments": OBJECT}
</tool_call><|im_end|>
<|im_start|>user
Read ü.<|im_end|>
<|im_start|>assistant
<think>
Two files.
</think>

Sure.
<tool_call>
{"name": "read", "arguments": {"path": "ü \"q\"", "n": 1.0}}
</tool_call>
<tool_call>
{"name": "read", "arguments": {"path": "b\n"}}
</tool_call><|im_end|>
<|im_start|>user
<tool_response>
one
</tool_response>
<tool_response>
two
</tool_response><|im_end|>
<|im_start|>assistant
Done.<|im_end|>
<|im_start|>system
Now stop.<|im_end|>
<|im_start|>user
Why?<|im_end|>
<|im_start|>assistant
"#
    );
    let bare = codec.prompt(&[user("x")], &[]).unwrap();
    assert_eq!(
        codec.decode(&bare).unwrap(),
        "<|im_start|>user\nx<|im_end|>\n<|im_start|>assistant\n",
        "no system prompt that nobody wrote"
    );
    assert_prompts_are_prefixes(&codec, &messages, &[read_tool()]);
}

fn random_text(chance: &mut Chance) -> String {
    const PIECES: &[&str] = &[
        "a",
        "Z",
        "7",
        " ",
        "\n",
        "\t",
        "\r",
        "\"",
        "'",
        "\\",
        "/",
        "<",
        ">",
        "&",
        "{",
        "}",
        "[",
        "]",
        ":",
        ",",
        "é",
        "東",
        "🙂",
        "\u{0}",
        "\u{7f}",
        "\u{2028}",
        "\u{feff}",
        "</tool_call>",
        "<tool_call>",
        "</think>",
        "<think>",
        "```",
        "\\n",
        "%",
        "{{",
        "{%",
        "user",
        "<EMAIL_1>",
    ];
    (0..chance.below(8)).map(|_| PIECES[chance.below(PIECES.len())]).collect()
}

fn random_value(chance: &mut Chance, depth: usize) -> Value {
    match chance.below(if depth == 0 { 7 } else { 9 }) {
        0 => Value::Null,
        1 => json!(chance.below(2) == 1),
        2 => json!(chance.bits() as i64),
        3 => json!(chance.bits()),
        4 => json!(chance.normal() * 10f64.powi(chance.below(60) as i32 - 30)),
        5 | 6 => json!(random_text(chance)),
        7 => (0..chance.below(4)).map(|_| random_value(chance, depth - 1)).collect(),
        _ => Value::Object(random_object(chance, depth - 1)),
    }
}

fn random_object(chance: &mut Chance, depth: usize) -> Map<String, Value> {
    (0..chance.below(5)).map(|_| (random_text(chance), random_value(chance, depth))).collect()
}

#[test]
fn calls_come_back_from_hermes_as_they_went_in() {
    let codec = hermes();
    assert!(codec.tools().is_ok());
    let mut chance = Chance::new(5, "round trip");
    for round in 0..400 {
        let calls: Vec<(&str, Value)> = (0..1 + chance.below(3))
            .map(|_| {
                (
                    ["read", "größe", "a.b-c"][chance.below(3)],
                    Value::Object(random_object(&mut chance, 3)),
                )
            })
            .collect();
        let text = ["", "Looking.", "Line one\nline two"][chance.below(3)];
        let mut message = calling(text, &calls);
        message.reasoning_content = (chance.below(2) == 1).then(|| "because".to_string());
        let messages = [user(&random_text(&mut chance).replace("<|", "")), message.clone()];
        let encoded = codec.encode(&messages, &[read_tool()]).unwrap();
        let answer = &encoded.ids[encoded.turns[0].tokens.clone()];
        let reply = codec.parse(answer).unwrap();
        assert_eq!(reply.malformed, None, "round {round}: {:?}", codec.decode(answer));
        assert_eq!(reply.content, message.content, "round {round}");
        assert_eq!(reply.reasoning, message.reasoning_content, "round {round}");
        let pairs = |calls: &[ToolCall]| -> Vec<(String, String)> {
            calls.iter().map(|c| (c.name.clone(), json!(c.arguments).to_string())).collect()
        };
        assert_eq!(pairs(&reply.calls), pairs(&message.tool_calls), "round {round}");
        assert_prompts_are_prefixes(&codec, &messages, &[read_tool()]);
    }
}

#[test]
fn an_answer_ends_at_the_first_stop_token() {
    let codec = hermes();
    let ids = codec.tokenize("fine<|im_end|>\n<|im_start|>user").unwrap();
    assert_eq!(codec.parse(&ids).unwrap(), Reply { content: "fine".into(), ..Reply::default() });
    assert_eq!(codec.parse(&[]).unwrap(), Reply::default());
}

#[test]
fn a_template_that_drops_or_mangles_calls_is_refused_for_them() {
    let messages = [user("go"), calling("", &[("read", json!({"path": "a"}))])];
    for template in [
        CHATML.to_string(),
        // Arguments encoded twice.
        CHATML.replace(
            "message['content'] +",
            "message['content'] + (('<tool_call>' + \
            ({'name': message.tool_calls[0].function.name, 'arguments': \
            message.tool_calls[0].function.arguments | tojson} | tojson) + '</tool_call>') \
            if message.tool_calls else '') +",
        ),
    ] {
        let codec = codec(&template);
        assert!(codec.tools().is_err());
        let message = refusal(codec.encode(&messages, &[]));
        assert!(message.contains("CHAT_TEMPLATE=hermes"), "{message}");
        assert!(message.contains("message 2"), "{message}");
        assert!(codec.prompt(&messages, &[]).is_err());
        codec.encode(&[user("a"), assistant("b")], &[]).unwrap();
    }
}

#[test]
fn a_template_that_rewrites_earlier_turns_is_refused() {
    // As reasoning models have it: thoughts are shown only in the last turn.
    let codec = codec(
        "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' }}{% if m.reasoning_content and \
         loop.last %}{{ '<think>' + m.reasoning_content + '</think>' }}{% endif %}{{ m.content + \
         '<|im_end|>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}\
         {% endif %}",
    );
    let mut thinking = assistant("b");
    thinking.reasoning_content = Some("hm".into());
    codec.encode(&[user("a"), thinking.clone()], &[]).unwrap();
    let mut messages = vec![user("a"), thinking, user("c"), assistant("d")];
    messages[1].row = 7;
    let message = refusal(codec.encode(&messages, &[]));
    assert!(
        message.contains("message 2 (row 7)") && message.contains("CHAT_TEMPLATE"),
        "{message}"
    );
}

#[test]
fn an_answer_that_contains_the_end_of_turn_is_refused() {
    let message = refusal(hermes().encode(&[user("a"), assistant("x<|im_end|>y")], &[]));
    assert!(message.contains("message 2") && message.contains("<|im_end|>"), "{message}");
}

#[test]
fn unusable_templates_are_refused_with_a_remedy() {
    let refused = |template: &str, part: &str| {
        let temp = folder();
        fs::write(temp.path().join("chat_template.jinja"), template).unwrap();
        let message = refusal(Codec::open(temp.path(), None));
        assert!(message.contains(part), "{part}: {message}");
    };
    refused("{% for %}", "does not parse");
    refused("{{ raise_exception('no chats here') }}", "no chats here");
    refused("{% for m in messages %}{{ m.content }}\n{% endfor %}", "no special token to stop at");
    refused("{% for m in messages %}{{ m.role }}<|im_end|>{% endfor %}", "drops the assistant's");

    let temp = folder();
    fs::write(temp.path().join("tokenizer_config.json"), "{}").unwrap();
    assert!(refusal(Codec::open(temp.path(), Some(""))).contains("CHAT_TEMPLATE=hermes"));
    assert!(Codec::open(temp.path(), Some("hermes")).is_ok());
    let message = refusal(Codec::open(temp.path(), Some("/nowhere/x.jinja")));
    assert!(message.contains("CHAT_TEMPLATE=/nowhere/x.jinja"), "{message}");
    fs::write(temp.path().join("tokenizer_config.json"), "{").unwrap();
    assert!(refusal(Codec::open(temp.path(), None)).contains("tokenizer_config.json"));
    fs::write(temp.path().join("tokenizer.json"), "{}").unwrap();
    assert!(refusal(Codec::open(temp.path(), None)).contains("tokenizer.json"));
    fs::remove_file(temp.path().join("tokenizer.json")).unwrap();
    assert!(refusal(Codec::open(temp.path(), None)).contains("tokenizer.json"));
}

#[test]
fn stop_tokens_come_from_every_file_that_names_some() {
    let temp = folder();
    fs::write(temp.path().join("config.json"), json!({"eos_token_id": 0}).to_string()).unwrap();
    fs::write(
        temp.path().join("generation_config.json"),
        json!({"eos_token_id": [1, 2]}).to_string(),
    )
    .unwrap();
    assert_eq!(Codec::open(temp.path(), None).unwrap().stop_ids(), [0, 1, 2]);
    fs::write(temp.path().join("config.json"), json!({"eos_token_id": 9999}).to_string()).unwrap();
    assert!(refusal(Codec::open(temp.path(), None)).contains("beyond the vocabulary"));
}

#[test]
fn a_saved_tokenizer_is_the_same_tokenizer() {
    let temp = tempfile::tempdir().unwrap();
    let codec = hermes();
    codec.save(temp.path()).unwrap();
    let again = Codec::open(temp.path(), None).unwrap();
    assert_eq!(codec.digest().unwrap(), again.digest().unwrap());
    assert_eq!(codec.template_digest(), again.template_digest());
    assert_eq!(codec.stop_ids(), again.stop_ids());
    assert_eq!(codec.pad_id(), again.pad_id());
}

#[test]
#[ignore = "needs models/smollm2"]
fn smollm2_speaks_its_own_template_and_hermes() {
    let own = Codec::open(&tiny_base::smollm2(), None).unwrap();
    let prompt = own.prompt(&[user("Hello")], &[]).unwrap();
    assert_eq!(
        own.decode(&prompt).unwrap(),
        "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging \
         Face<|im_end|>\n<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n"
    );
    assert!(own.tools().is_err());
    let hermes = Codec::open(&tiny_base::smollm2(), Some("hermes")).unwrap();
    assert!(hermes.tools().is_ok());
    let messages = [
        user("read a"),
        calling("", &[("read", json!({"path": "a", "lines": [1, 2]}))]),
        result("c0", "text"),
        assistant("It says text."),
    ];
    assert_prompts_are_prefixes(&hermes, &messages, &[read_tool()]);
    let encoded = hermes.encode(&messages, &[read_tool()]).unwrap();
    assert_eq!(
        trained(&hermes, &encoded),
        [
            "<tool_call>\n{\"name\": \"read\", \"arguments\": {\"path\": \"a\", \"lines\": [1, 2]}}\n\
             </tool_call><|im_end|>",
            "It says text.<|im_end|>"
        ]
    );
}
