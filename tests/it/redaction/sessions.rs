//! Encodings, placeholders, structure: what happens to whole texts and sessions.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use proto::chance::Chance;
use proto::redact::{Policy, Redactor, TeamRule, placeholders, second};
use proto::trace::{Message, Origin, Role, ToolCall, Trace};
use serde_json::{Value, json};

use super::{corpus, random, redact, redactor, trace};

#[test]
fn encodings_are_looked_through_and_redacted_in_place() {
    let token = format!("ghp_{}", random(&mut Chance::new(5, "encodings"), 36));
    let json = json!({"out": format!("line\n{token}\n")}).to_string();
    let twice = json!({"log": json}).to_string();
    let percent: String = token.bytes().map(|b| format!("%{b:02X}")).collect();
    let unicode: String = token.chars().map(|c| format!("\\u{:04x}", c as u32)).collect();
    let entities: String = token.chars().map(|c| format!("&#{};", c as u32)).collect();
    let base64 = STANDARD.encode(format!("login with {token} then go on"));
    let url_safe = URL_SAFE_NO_PAD.encode(format!("login with {token}?"));
    let nested = STANDARD.encode(format!("{{\"a\": \"{}\"}}", STANDARD.encode(&json)));
    for text in [&json, &twice, &percent, &unicode, &entities, &base64, &url_safe, &nested] {
        let out = redact(&format!("before {text} after"));
        assert!(out.contains("<SECRET_GITHUB_1>"), "{text} -> {out}");
        assert!(out.starts_with("before ") && out.ends_with(" after"), "{out}");
    }
    assert_eq!(redact(&json), json!({"out": "line\n<SECRET_GITHUB_1>\n"}).to_string());
    assert!(serde_json::from_str::<Value>(&redact(&twice)).is_ok());
    assert!(redact(&base64).starts_with(&STANDARD.encode("login with ")[..12]));
}

#[test]
fn json_stays_json_with_the_same_redactions() {
    let mut chance = Chance::new(43, "json");
    let redactor = redactor();
    for (text, _) in corpus(&mut chance) {
        for lines in
            [text.clone(), format!("\n{text}\n"), format!("<{text}>"), format!("a\\ {text}")]
        {
            let mut wrapped = json!({"a": lines}).to_string();
            if lines.starts_with('<') {
                wrapped = wrapped.replace('<', "\\u003c");
            }
            let out = redactor.text(&wrapped).unwrap();
            let value: Value =
                serde_json::from_str(&out).unwrap_or_else(|e| panic!("{wrapped} -> {out}: {e}"));
            assert!(!placeholders(value["a"].as_str().unwrap()).is_empty(), "{wrapped} -> {out}");
        }
    }
    assert_eq!(
        redactor.text(r#"{"m":"\u003ca.b@acme.com\u003e\nc@acme.com"}"#).unwrap(),
        r#"{"m":"\u003c<EMAIL_1>\u003e\n<EMAIL_2>"}"#
    );
}

#[test]
fn what_is_found_once_is_gone_everywhere() {
    let mut chance = Chance::new(7, "chase");
    // Nothing about the value itself says that it is a secret.
    let value = random(&mut chance, 18);
    let hex: String = value.bytes().map(|b| format!("{b:02x}")).collect();
    let texts = [
        format!("DB_PASSWORD={value}"),
        format!("then it printed {value}."),
        format!("glued{value}glued"),
        json!({"x": format!("a\n{value}")}).to_string(),
        format!("bytes {hex}"),
        STANDARD.encode(format!("\u{1}\u{2}x{value}\u{3}\u{4}\u{5}\u{6}")),
        STANDARD.encode(format!("\u{1}\u{2}{value}\u{3}\u{4}")),
        STANDARD.encode(format!("\u{1}{value}\u{3}\u{4}\u{5}")),
    ];
    let messages = texts.iter().map(|t| Message::text(Role::Tool, t.as_str())).collect();
    let other = trace(vec![Message::text(Role::User, format!("remember {value}"))]);
    let first = trace(messages);
    let out = redactor().session(&[&other, &first]).unwrap();
    for (before, after) in first.messages.iter().zip(&out[1].trace.messages) {
        assert!(after.content.contains("<SECRET_PASSWORD_1>"), "{before:?} -> {}", after.content);
        assert!(!after.content.contains(&value[4..12]), "{}", after.content);
    }
    assert_eq!(out[0].trace.messages[0].content, "remember <SECRET_PASSWORD_1>");
    assert_eq!(out[0].account.counts["assignment.password"], 1);
}

#[test]
fn user_names_are_chased_unless_they_are_generic() {
    let content = "cd /home/jroe/src\nowner jroe, mail by Jroe; jroes stays\n\
                   /home/ubuntu/x of ubuntu; /home/mark/x: mark this";
    let expected = "cd /home/<USER_1>/src\nowner <USER_1>, mail by <USER_1>; jroes stays\n\
                    /home/ubuntu/x of ubuntu; /home/<USER_2>/x: mark this";
    assert_eq!(redact(content), expected);
}

#[test]
fn numbering_is_per_value_and_avoids_what_looks_like_a_placeholder() {
    let text = "<EMAIL_1> wrote; a.b@acme.com, c.d@acme.com, A.B@acme.com, <EMAIL_3>";
    let out = redact(text);
    assert_eq!(out, "<EMAIL_1> wrote; <EMAIL_2>, <EMAIL_4>, <EMAIL_2>, <EMAIL_3>");
    assert_eq!(redact(&out), out);
    // Not everything between angle brackets is one.
    let key = format!("AKIA{}", "Q2X7ABMPZ4KD6RTW");
    assert_eq!(redact(&format!("<{key}>")), "<<SECRET_AWS_1>>");
    assert_eq!(redact(&format!("<SECRET_{key}_1>")), "<SECRET_<SECRET_AWS_1>_1>");
}

#[test]
fn redacting_twice_changes_nothing() {
    let mut chance = Chance::new(17, "twice");
    let redactor = redactor();
    for round in 0..50 {
        let mut parts: Vec<String> = Vec::new();
        for _ in 0..6 {
            let all = corpus(&mut chance);
            let (text, _) = &all[chance.below(all.len())];
            parts.push(match chance.below(5) {
                0 => STANDARD.encode(text),
                1 => json!({"a": text}).to_string(),
                2 => json!({"a": json!([text]).to_string()}).to_string(),
                _ => text.clone(),
            });
        }
        let text = parts.join(["\n", " ", ", ", "|"][chance.below(4)]);
        let once = redactor.text(&text).unwrap();
        assert_eq!(redactor.text(&once).unwrap(), once, "round {round}: {text}");
    }
}

#[test]
fn the_structure_of_a_trace_stays() {
    let arguments = json!({
        "password": "hunter22x",
        "env": {"API_KEY": "k3jd82hdk29dj4hs", "DEBUG": "1", "PORT": 8080},
        "args": ["--token", "a8fj3kd9s0dk3jf7", "--verbose"],
        "files": {"/home/jroe/a.py": "x"},
        "headers": {"Authorization": "Bearer a8fj3kd9s0dk3jf8"},
        "vars": [{"name": "DB_PASSWORD", "value": "s3cr3tpw"}],
        "raw": "{\"password\": \"hunter23x\"}",
        "card": 4111111111111111u64,
        "count": 3,
    });
    let mut from = trace(vec![
        Message::text(Role::System, "be kind"),
        Message::text(Role::User, "mail a.b@acme.com"),
        Message {
            reasoning_content: Some("a.b@acme.com again".into()),
            tool_calls: vec![ToolCall {
                id: "call_1".into(),
                name: "run".into(),
                arguments: arguments.as_object().unwrap().clone(),
            }],
            train: false,
            author: Some("model".into()),
            ..Message::text(Role::Assistant, "")
        },
        Message {
            tool_call_id: Some("call_1".into()),
            name: Some("run".into()),
            ..Message::text(Role::Tool, "ok")
        },
    ]);
    from.session = "ses_1".into();
    from.repository = Some("/home/jroe/app".into());
    from.keywords = vec!["a.b@acme.com".into()];
    from.origin = Origin { file: "-home-jroe-app/a.jsonl".into(), line: 4 };
    from.tools =
        vec![json!({"type": "function", "function": {"name": "run", "description": "for jroe"}})];
    let out = redactor().session(&[&from]).unwrap().pop().unwrap();
    let to = &out.trace;
    let text = serde_json::to_string(to).unwrap();
    for gone in ["hunter22x", "hunter23x", "k3jd82", "a8fj3k", "jroe", "s3cr3tpw", "41111", "a.b@"]
    {
        assert!(!text.contains(gone), "{gone} is left in {text}");
    }
    assert_eq!(to.session, from.session);
    assert_eq!(to.messages.len(), from.messages.len());
    for (a, b) in from.messages.iter().zip(&to.messages) {
        assert_eq!(
            (a.role, a.train, a.row, &a.tool_call_id),
            (b.role, b.train, b.row, &b.tool_call_id)
        );
        assert_eq!(a.tool_calls.len(), b.tool_calls.len());
    }
    let call = &to.messages[2].tool_calls[0];
    assert_eq!((call.id.as_str(), call.name.as_str()), ("call_1", "run"));
    assert_eq!(
        call.arguments.keys().collect::<Vec<_>>(),
        arguments.as_object().unwrap().keys().collect::<Vec<_>>()
    );
    assert_eq!(call.arguments["env"]["PORT"], 8080);
    assert_eq!(call.arguments["args"][2], "--verbose");
    assert_eq!(call.arguments["count"], 3);
    assert!(call.arguments["card"].as_str().unwrap().starts_with("<CARD_"));
    assert!(call.arguments["files"].as_object().unwrap().contains_key("/home/<USER_1>/a.py"));
    assert_eq!(to.keywords, ["<EMAIL_1>"]);
    assert_eq!(to.origin.line, 4);
    assert!(out.account.share() > 0.0 && out.account.share() < 1.0);
    assert!(out.account.counts.values().sum::<u64>() > 8);
}

#[test]
fn numbers_in_a_list_go_one_by_one() {
    let mut values = [json!({
        "sizes": [1, -2.5, 4111111111111111u64, 3, "--password", 81723945, 4, [5, 6]],
        "password": [81723945, 81723946],
        "said": "so 81723946 it is",
    })];
    redactor().json(&mut values).unwrap();
    assert_eq!(
        values[0]["sizes"],
        json!([1, -2.5, "<CARD_1>", 3, "--password", "<SECRET_PASSWORD_1>", 4, [5, 6]])
    );
    assert_eq!(values[0]["password"], json!(["<SECRET_PASSWORD_1>", "<SECRET_PASSWORD_2>"]));
}

#[test]
fn a_rule_of_the_team_reads_each_number_by_itself() {
    let extra = vec![TeamRule::pattern("badge", "^7[0-9]{5}$")];
    let redactor = Redactor::new(Policy { extra, ..Policy::default() }).unwrap();
    let mut values = [json!({"rows": [1, 712345, 1712345]})];
    redactor.json(&mut values).unwrap();
    assert_eq!(values[0]["rows"], json!([1, "<SECRET_TEAM_BADGE_1>", 1712345]));
}

#[test]
fn order_and_threads_do_not_matter() {
    use rayon::prelude::*;
    let mut chance = Chance::new(23, "threads");
    let traces: Vec<Trace> = (0..40)
        .map(|_| {
            let lines: Vec<_> = corpus(&mut chance).into_iter().map(|(t, _)| t).collect();
            trace(vec![Message::text(Role::User, lines.join("\n"))])
        })
        .collect();
    let redactor = redactor();
    let alone: Vec<_> = traces.iter().map(|t| redactor.session(&[t]).unwrap()).collect();
    let together: Vec<_> = traces.par_iter().map(|t| redactor.session(&[t]).unwrap()).collect();
    assert_eq!(alone, together);
}

#[test]
fn any_text_is_survived() {
    let mut chance = Chance::new(37, "hostile");
    let redactor = redactor();
    let pieces = [
        "\\",
        "\"",
        "'",
        "%",
        "%41",
        "\\u00",
        "\\u0041",
        "&#",
        "=",
        ":",
        "://",
        "@",
        "é",
        "😀",
        "\u{1b}[",
        "password",
        "token=",
        "Authorization: ",
        "Bearer ",
        "-----BEGIN PRIVATE KEY-----",
        "-----END",
        "ghp_",
        "eyJ",
        ".",
        "\n",
        " ",
        "/home/",
        "C:\\Users\\",
        "1",
        "23",
        "4111",
        "+",
        "<EMAIL_1>",
        "<",
        ">",
        "{",
        "}",
        "[",
        "machine ",
        "login ",
        ":5432:",
        "Cookie: a=",
        ";",
        "mysql -p",
        "$6$",
        "DE89",
        "AAAA",
        "dXNlcjpwYXNz",
        "2a02:",
        "::",
        "--",
        "sk-",
        "name",
        "value",
        ",",
        "\u{1}",
        "\u{0}",
        "\t",
    ];
    for _ in 0..500 {
        let n = chance.below(24);
        let text: String = (0..n).map(|_| pieces[chance.below(pieces.len())]).collect();
        let once = redactor.text(&text).unwrap();
        assert_eq!(redactor.text(&once).unwrap(), once, "{text:?}");
        assert!(once.len() <= text.len() * 8 + 64, "{text:?}");
        second::scan(&text);
        second::scan(&once);
        let row = json!({"k": text});
        let mut call = Message::text(Role::Assistant, "");
        let arguments = row.as_object().unwrap().clone();
        call.tool_calls.push(ToolCall { id: "1".into(), name: "t".into(), arguments });
        let out = redactor.session(&[&trace(vec![call])]).unwrap().pop().unwrap();
        let written = serde_json::to_string(&out.trace).unwrap();
        assert!(serde_json::from_str::<Trace>(&written).is_ok());
    }
}

#[test]
fn escapes_are_not_cut_in_two() {
    // With one of these lengths, the view of what is decoded begins in the middle of an escape.
    let mut changed = 0;
    for length in 60..120 {
        let text = format!("htpasswd -b a{}KE\u{1}\0\0\0R4t", "\0".repeat(length));
        let written = serde_json::Value::from(text).to_string();
        let redacted = redact(&written);
        serde_json::from_str::<serde_json::Value>(&redacted).unwrap();
        changed += usize::from(redacted != written);
    }
    assert!(changed > 0);
}
