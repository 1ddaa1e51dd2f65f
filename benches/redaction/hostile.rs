//! Texts made to be slow: what rules start at, without end; encodings over encodings; many values.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proto::chance::Chance;
use proto::trace::{Message, Role, ToolCall, Trace};
use serde_json::{Value, json};

/// A way to make a hostile session of about a given length.
pub struct Case {
    pub name: String,
    pub make: Box<dyn Fn(usize) -> Vec<Trace>>,
}

/// Pieces that are repeated.
#[rustfmt::skip]
const PIECES: &[&str] = &[
    // What rules begin at
    "password=", "password: ", "password", "secret token key ", "secret_", "key=\"", "api_key = '", "_auth", "passphrase is ",
    "authorization: ", "bearer ", "Bearer a", "cookie: a=b; ", "Set-Cookie", "://", "://a:b", "://a:b@", "a://b:c@d ", "@", "@@a",
    "a@b.", "a@b.co", "/home/", "/home/a", "\\users\\", ".internal", "a.local", "-----BEGIN ", "-----BEGIN RSA PRIVATE KEY-----\n",
    "-----END RSA PRIVATE KEY-----\n", "private-lines: 1\n", "mysql -p", "curl -u ", "curl -u a:", "sshpass", "machine ", "machine a login ",
    ":5432:", "a:*:b:c:d", "sk-", "ghp_", "eyJ", "eyJhbGciOi.", "AKIA", "$2a$", "sk-proj-", "glpat-", "hvs.a", "ya29.", "nvapi-", "whsec_", "npm_", "sk-ant-api03-", "eyJhbGciOiJI.eyJhbGciOiJI.", "{SHA", "-us", ":AA", "Q~", "xoxb-1-", "_mmk",
    "AAAAAAAAAAAAAAAAAAAAA", "ENV A=", "sudo -S ", "echo a|", "-u a:b ", "value: ", "is: ",
    // Encodings
    "\\", "\\\\", "\\\"", "\\u005c", "\\\\\\\\u0061", "%25252525", "%41", "%", "&amp;amp;", "&#38;", "&", "\u{1b}[0m", "\u{1b}[", "\\033[1m",
    "YWFh", "YWFhYWFhYWFhYWFhYWFhYWFh ", "=", "====", "QUFBQUFBQUFBQUFBQUFBQUFB\n",
    // Numbers
    "1", "12 ", "1.", "1-", "1.2.3.4 ", "1.2.3.4.", "2a01:", "+1 ", "(1", "4111 1111 ", "DE89", "DE89 3704 ", "phone: ", "0 ", "1/",
    // Shapes
    "a", "a ", "ab_", "aB", " ", "\n", "\t\n", "\"", "'", "'\"`", "{\"a\":", "[", "[[1,", "<", "<EMAIL_", "<EMAIL_1", "<EMAIL_1>", "<SECRET_KEY_1>",
    "<a>", "word ", "é", "\u{1f600}", "a\u{0}", "x=x=", ",;", "--a ", "abcdefgh+/\n", "sk-abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyzabcdefghij\n  ",
];

const ALNUM: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

/// A generated value: the `index`-th of a stream.
fn value(index: usize, length: usize) -> String {
    let mut chance = Chance::new(index as u64, "hostile value");
    (0..length).map(|_| char::from(ALNUM[chance.below(ALNUM.len())])).collect()
}

fn session(text: String) -> Vec<Trace> {
    vec![Trace {
        source: "raw".into(),
        messages: vec![Message::text(Role::Tool, text)],
        ..Trace::default()
    }]
}

fn lines(bytes: usize, line: impl Fn(usize) -> String) -> String {
    let mut text = String::with_capacity(bytes + 64);
    for index in 0.. {
        if text.len() >= bytes {
            break;
        }
        text += &line(index);
    }
    text
}

fn case(name: &str, make: impl Fn(usize) -> Vec<Trace> + 'static) -> Case {
    Case { name: name.into(), make: Box::new(make) }
}

fn text(name: &str, make: impl Fn(usize) -> String + 'static) -> Case {
    case(name, move |bytes| session(make(bytes)))
}

/// Every hostile text.
pub fn cases() -> Vec<Case> {
    let mut cases: Vec<Case> = PIECES
        .iter()
        .map(|piece| {
            text(&format!("{piece:?} again and again"), |bytes| piece.repeat(bytes / piece.len()))
        })
        .collect();
    cases.extend([
        text("random bytes in base64", |bytes| {
            let mut chance = Chance::new(1, "bytes");
            let bytes: Vec<u8> = (0..bytes / 4 * 3).map(|_| chance.bits() as u8).collect();
            // A find, which such a text may hold by chance, has it read twice.
            format!("PASSWORD={}\n{}", value(1, 20), STANDARD.encode(bytes))
        }),
        text("base64 of base64 of base64 of words", |bytes| {
            let words = "some words and more of them ".repeat(bytes / 28 * 27 / 64);
            STANDARD.encode(STANDARD.encode(STANDARD.encode(words)))
        }),
        text("many short base64 texts", |bytes| {
            lines(bytes, |n| format!("{} ", STANDARD.encode(format!("user number {n} was here"))))
        }),
        text("percent over percent over percent", |bytes| {
            lines(bytes, |n| format!("%252541{n}%25252f"))
        }),
        text("JSON in JSON in JSON", |bytes| {
            let inner = json!({"a": lines(bytes / 4, |n| format!("line {n} of \"text\"\n"))});
            json!({"b": json!({"c": inner.to_string()}).to_string()}).to_string()
        }),
        text("one line without a blank", |bytes| value(7, bytes)),
        text("one line of digits", |bytes| {
            let mut chance = Chance::new(2, "digits");
            (0..bytes).map(|_| char::from(b'0' + chance.below(10) as u8)).collect()
        }),
        text("one very long secret", |bytes| format!("API_SECRET_KEY={}\n", value(8, bytes))),
        text("one very long secret between quotes", |bytes| {
            format!("password=\"{}\"\n", value(9, bytes))
        }),
        text("one very long token", |bytes| format!("token sk-proj-{}\n", value(10, bytes))),
        text("one very long private key", |bytes| {
            let body = lines(bytes, |n| value(n, 64) + "\n");
            format!("-----BEGIN PRIVATE KEY-----\n{body}-----END PRIVATE KEY-----\n")
        }),
        text("thousands of different secrets", |bytes| {
            lines(bytes, |n| format!("PASSWORD={}\n", value(n, 20)))
        }),
        text("thousands of different tokens", |bytes| {
            lines(bytes, |n| format!("ghp_{}\n", value(n, 36)))
        }),
        text("thousands of different e-mails", |bytes| {
            lines(bytes, |n| format!("{}@acme.dev\n", value(n, 8)))
        }),
        text("thousands of different users", |bytes| {
            lines(bytes, |n| format!("/home/{}/x\n", value(n, 8)))
        }),
        text("one secret thousands of times", |bytes| {
            let again = format!("so {} it is ", value(3, 20)).repeat(bytes / 30);
            format!("PASSWORD={}\n{again}", value(3, 20))
        }),
        text("secrets that begin alike", |bytes| {
            lines(bytes, |n| format!("TOKEN={}{n}\n", value(4, 40)))
        }),
        text("secrets inside secrets", |bytes| {
            let all = value(5, 2000);
            lines(bytes, |n| format!("TOKEN={}\n", &all[..12 + n % 1900]))
        }),
        text("wrapped base64 whose lines begin like text", |bytes| {
            let text = STANDARD.encode("lines of text");
            let line = |n| format!("{text}AAAA{}\n", value(n, 40));
            lines(bytes, move |n| line(n).replace('=', "A"))
        }),
        text("tokens broken over lines", |bytes| {
            lines(bytes, |n| format!("export TOKEN=ghp_{}\n  {}\n", value(n, 18), value(n + 1, 18)))
        }),
        text("a secret behind every escape", |bytes| {
            lines(bytes, |n| format!("\\\"password\\\": \\\"{}\\\"\\n", value(n, 16)))
        }),
        case("many traces in one session", |bytes| {
            (0..bytes / 500)
                .flat_map(|n| {
                    session(format!("TOKEN={}\n{}", value(n % 50, 20), "some words ".repeat(40)))
                })
                .collect()
        }),
        case("many messages with a user name", |bytes| {
            let text = |n: usize| {
                format!(
                    "cd /home/olsen{}/work and then ask olsen{} {}",
                    n % 9,
                    n % 7,
                    "words ".repeat(10)
                )
            };
            let messages = (0..bytes / 100).map(|n| Message::text(Role::User, text(n))).collect();
            vec![Trace { source: "raw".into(), messages, ..Trace::default() }]
        }),
        case("one object with many secrets", |bytes| {
            arguments(
                (0..bytes / 50)
                    .map(|n| (format!("token_{n}"), Value::from(value(n, 32))))
                    .collect(),
            )
        }),
        case("one object with keys that are e-mails", |bytes| {
            arguments(
                (0..bytes / 40)
                    .map(|n| (format!("{}@acme.dev", value(n, 12)), Value::from(n)))
                    .collect(),
            )
        }),
        case("one object with one name in all keys", |bytes| {
            arguments(
                (0..bytes / 40)
                    .map(|n| {
                        (format!("maren.olsen@acme.dev{}", " ".repeat(n % 997)), Value::from(n))
                    })
                    .collect(),
            )
        }),
        case("numbers in a list", |bytes| {
            arguments(
                [("n".to_string(), (0..bytes / 8).collect::<Vec<_>>().into())]
                    .into_iter()
                    .collect(),
            )
        }),
        case("lists in lists", |bytes| {
            let deep = (0..100).fold(json!("x"), |inner, _| json!([inner]));
            arguments([("n".to_string(), vec![deep; bytes / 100].into())].into_iter().collect())
        }),
    ]);
    cases
}

fn arguments(arguments: serde_json::Map<String, Value>) -> Vec<Trace> {
    let mut message = Message::text(Role::Assistant, "");
    message.tool_calls = vec![ToolCall { id: "call".into(), name: "tool".into(), arguments }];
    vec![Trace { source: "raw".into(), messages: vec![message], ..Trace::default() }]
}
