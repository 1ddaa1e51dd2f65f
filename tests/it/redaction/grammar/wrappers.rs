//! Awkward forms that any text can take.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use proto::chance::Chance;
use serde_json::json;

use super::Sample;
use super::values::{domain, hex, random, word};

type Wrapper = (&'static str, fn(&mut Chance, &Sample) -> String);

/// A text with a secret in one of the forms; what of its surroundings must stay is not asked.
pub fn wrap(chance: &mut Chance, sample: Sample) -> Sample {
    let (name, text) = any(chance, &sample);
    Sample { name, text, kept: Vec::new(), ..sample }
}

/// A text without a secret in one of the forms, which must stay as it is.
pub fn wrap_alike(chance: &mut Chance, sample: Sample) -> Sample {
    let (name, text) = loop {
        let (name, text) = any(chance, &sample);
        // Of a file called a secret, a reader would not expect much.
        if !name.ends_with("kubernetes secret") {
            break (name, text);
        }
    };
    Sample::kept(&name, text)
}

fn any(chance: &mut Chance, sample: &Sample) -> (String, String) {
    let (name, wrapper) = loop {
        let wrapper = WRAPPERS[chance.below(WRAPPERS.len())];
        // Some forms have one line only.
        if !(ONE_LINE.contains(&wrapper.0) && sample.text.trim_end().contains('\n')) {
            break wrapper;
        }
    };
    (format!("{} / {name}", sample.name), wrapper(chance, sample))
}

const ONE_LINE: &[&str] =
    &["prose", "query", "code span", "table", "stack trace", "log line", "grep"];

const WRAPPERS: &[Wrapper] = &[
    ("json", |chance, s| {
        json!({"type": "text", "id": hex(chance, 8), "output": format!("$ cat\n{}\n", s.text)})
            .to_string()
    }),
    ("json in json", |_, s| {
        let inner = json!({"stdout": s.text, "exit_code": 0}).to_string();
        json!({"result": inner}).to_string()
    }),
    ("json in json in json", |_, s| {
        let inner = json!({"stdout": s.text}).to_string();
        json!({"result": json!([inner]).to_string()}).to_string()
    }),
    ("pretty json", |_, s| {
        serde_json::to_string_pretty(&json!({"ok": true, "log": [s.text, ""]})).expect("JSON")
    }),
    ("base64", |_, s| STANDARD.encode(&s.text)),
    ("base64 in json", |_, s| {
        json!({"content": STANDARD.encode(&s.text), "encoding": "base64"}).to_string()
    }),
    ("base64 lines", |_, s| {
        let padded = format!("# settings of the day, do not edit by hand\n{}\n# end\n", s.text);
        lines(&STANDARD.encode(padded), 76)
    }),
    ("url-safe base64", |_, s| format!("?state={}", URL_SAFE_NO_PAD.encode(&s.text))),
    ("data uri", |_, s| format!("data:text/plain;base64,{}", STANDARD.encode(&s.text))),
    ("kubernetes secret", |chance, s| {
        format!(
            "apiVersion: v1\nkind: Secret\nmetadata:\n  name: {}\ndata:\n  config: {}\n",
            word(chance),
            STANDARD.encode(&s.text)
        )
    }),
    ("percent", |chance, s| {
        format!("https://{}/search?q={}&page=2", domain(chance), percent(&s.text))
    }),
    ("form", |_, s| format!("grant=x&body={}", percent(&s.text).replace("%20", "+"))),
    ("unicode escapes", |_, s| {
        let escaped: String = s
            .text
            .chars()
            .map(|c| match c {
                '<' | '>' | '&' | '=' | '\'' | '"' | '\n' | '\\' => format!("\\u{:04x}", c as u32),
                other => other.to_string(),
            })
            .collect();
        format!("{{\"html\":\"{escaped}\"}}")
    }),
    ("all unicode escapes", |_, s| {
        let units: String = s.text.encode_utf16().map(|u| format!("\\u{u:04X}")).collect();
        format!("\"{units}\"")
    }),
    ("entities", |_, s| format!("<pre>{}</pre>", entities(&s.text))),
    ("diff", |chance, s| {
        let sign = ["+", "-"][chance.below(2)];
        let lines: String = s.text.lines().map(|l| format!("{sign}{l}\n")).collect();
        format!("@@ -1,4 +1,5 @@\n # settings\n{lines} \n-# old\n+# new\n")
    }),
    ("diff in json", |_, s| {
        let lines: String = s.text.lines().map(|l| format!("+{l}\n")).collect();
        json!({"patch": format!("@@ -0,0 +1 @@\n{lines}")}).to_string()
    }),
    ("numbered", |chance, s| {
        let from = 1 + chance.below(200);
        let line = |(i, l)| format!("{:>6}\t{l}\n", from + i);
        s.text.lines().enumerate().map(line).collect()
    }),
    ("numbered with arrows", |chance, s| {
        let from = 1 + chance.below(200);
        let line = |(i, l)| format!("{:>6}→{l}\n", from + i);
        s.text.lines().enumerate().map(line).collect()
    }),
    ("quoted mail", |_, s| s.text.lines().map(|l| format!("> > {l}\n")).collect()),
    ("prose", |chance, s| {
        let end = [".", ",", ";", ")", "!", "?", "\u{2026}", ":"][chance.below(8)];
        format!("So I looked, and there it was: {}{end} Then I went on", s.text.trim_end())
    }),
    ("colour", |chance, s| coloured(chance, s, "\x1b[")),
    ("colour in json", |chance, s| json!({"stdout": coloured(chance, s, "\x1b[")}).to_string()),
    ("colour escaped", |chance, s| coloured(chance, s, "\\033[")),
    ("code span", |_, s| format!("Run with `{}` and see.", s.text.trim_end().replace('`', "'"))),
    ("table", |_, s| {
        format!(
            "| step | value |\n|---|---|\n| 1 | `{}` |\n| 2 | - |",
            s.text.trim_end().replace('`', "'")
        )
    }),
    ("fence", |_, s| format!("Here it is:\n\n```\n{}\n```\n", s.text)),
    ("stack trace", |_, s| {
        format!(
            "Traceback (most recent call last):\n  File \"app.py\", line 12, in <module>\n    \
             {}\nValueError: invalid value: {}",
            s.text.trim_end(),
            s.text.trim_end()
        )
    }),
    ("heredoc", |_, s| format!("cat > settings <<'EOF'\n{}\nEOF\nchmod 600 settings", s.text)),
    ("log line", |chance, s| {
        format!(
            "2024-11-0{}T08:{}:12.{}Z [info] ({}) {}",
            1 + chance.below(9),
            10 + chance.below(50),
            100 + chance.below(900),
            word(chance),
            s.text.trim_end()
        )
    }),
    ("python repr", |_, s| {
        let inner = s.text.replace('\\', "\\\\").replace('\n', "\\n");
        let quote = if inner.contains('\'') && !inner.contains('"') { '"' } else { '\'' };
        let inner = if quote == '\'' { inner.replace('\'', "\\'") } else { inner };
        format!("CompletedProcess(args=['env'], returncode=0, stdout={quote}{inner}{quote})")
    }),
    ("bytes repr", |_, s| {
        format!(
            "b'{}\\r\\n'",
            s.text.replace('\\', "\\\\").replace('\'', "\\'").replace('\n', "\\r\\n")
        )
    }),
    ("js inspect", |_, s| {
        let inner = s.text.replace('\\', "\\\\").replace('\n', "\\n").replace('\'', "\\'");
        format!("{{ status: 200, body: '{inner}', ok: true }}")
    }),
    ("echo", |_, s| format!("echo '{}' >> .profile", s.text.replace('\'', "'\\''"))),
    ("double quotes", |_, s| {
        format!("bash -lc \"{}\"", s.text.replace('\\', "\\\\").replace('"', "\\\""))
    }),
    ("windows lines", |_, s| format!("rem\r\n{}\r\nrem\r\n", s.text.replace('\n', "\r\n"))),
    ("glued behind", |_, s| format!("{}\\n\\n", s.text.trim_end())),
    ("csv", |_, s| format!("3,\"{}\",ok\n", s.text.replace('"', "\"\""))),
    ("xml", |_, s| format!("<log level=\"1\"><![CDATA[{}]]></log>", s.text)),
    ("grep", |chance, s| format!("src/{}.txt:{}:{}", word(chance), 1 + chance.below(90), s.text)),
    ("sse", |chance, s| {
        let data = json!({"delta": {"text": s.text}, "i": random(chance, 4)});
        format!("event: delta\ndata: {data}\n\n")
    }),
    ("indented", |_, s| s.text.lines().map(|l| format!("        {l}\n")).collect()),
    ("comment", |chance, s| {
        let sign = ["# ", "// ", "-- ", "; ", " * "][chance.below(5)];
        s.text.lines().map(|l| format!("{sign}{l}\n")).collect()
    }),
];

/// The secrets in colour.
fn coloured(chance: &mut Chance, sample: &Sample, escape: &str) -> String {
    let colour = ["31m", "1;33m", "38;5;208m", "01;31m"][chance.below(4)];
    let mut text = sample.text.clone();
    for secret in &sample.secrets {
        text = text.replace(secret.as_str(), &format!("{escape}{colour}{secret}{escape}0m"));
    }
    text
}

/// A text broken into lines of so many characters.
pub fn lines(text: &str, width: usize) -> String {
    let chars: Vec<char> = text.chars().collect();
    let lines: Vec<String> = chars.chunks(width).map(|c| c.iter().collect()).collect();
    lines.join("\n")
}

/// As `encodeURIComponent` writes it.
pub fn percent(text: &str) -> String {
    text.bytes()
        .map(|b| match b {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                char::from(b).to_string()
            }
            other => format!("%{other:02X}"),
        })
        .collect()
}

fn entities(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
        .replace('\'', "&#39;")
        .replace('=', "&#x3D;")
}
