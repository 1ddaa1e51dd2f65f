//! Secrets broken over lines, and what is broken over lines without being one.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proto::chance::Chance;

use super::Sample;
use super::headers::web_token;
use super::values::{bytes, hex, pick, random, secret, word};
use super::vendors::token;
use super::wrappers::lines;

/// What is broken: what stands before it and the value.
fn long(chance: &mut Chance) -> (String, String) {
    let name =
        pick(chance, &["API_KEY", "DB_PASSWORD", "auth_token", "CLIENT_SECRET", "SECRET_KEY"]);
    match chance.below(4) {
        0 => {
            let before = pick(chance, &["Authorization: Bearer ", "token: ", ""]);
            (before.to_string(), web_token(chance))
        }
        1 => loop {
            let index = chance.below(1000);
            let (_, value) = token(chance, index);
            if value.len() > 36 {
                break ("the token is ".into(), value);
            }
        },
        2 => (format!("{name}="), random(chance, 64)),
        _ => loop {
            let value = secret(chance);
            if value.len() > 24 {
                break (format!("{name}="), value);
            }
        },
    }
}

/// A value in two parts, neither of which is short.
fn parts(chance: &mut Chance, value: &str, count: usize) -> Vec<String> {
    let chars: Vec<char> = value.chars().collect();
    let size = chars.len().div_ceil(count);
    let first = size - chance.below(size / 4 + 1);
    let mut parts = vec![chars[..first].iter().collect::<String>()];
    parts.extend(chars[first..].chunks(size).map(|c| c.iter().collect::<String>()));
    parts
}

fn sample(name: &str, text: String, value: &str) -> Sample {
    Sample { name: name.into(), text, secrets: vec![value.to_string()], kept: Vec::new() }
}

/// As terminals, editors and shells break lines.
pub fn plain(chance: &mut Chance, index: usize) -> Sample {
    let (before, value) = long(chance);
    let count = 2 + chance.below(2);
    let parts = parts(chance, &value, count);
    match index % 8 {
        0 => {
            // Where the screen ends.
            let width = [60usize, 72, 80, 100][chance.below(4)];
            let pad = width.saturating_sub(before.len() + parts[0].len());
            let pad: String = "x ".repeat(width).chars().take(pad / 2 * 2).collect();
            let line = format!("{pad}{before}{value} is what it printed");
            sample("terminal", lines(&line, width), &value)
        }
        1 => sample("backslash", format!("{before}{}", parts.join("\\\n")), &value),
        2 => {
            let text = parts.iter().map(|p| format!("\"{p}\"")).collect::<Vec<_>>();
            let sign = pick(chance, &[" +\n    ", " .\n    ", " ..\n  ", " &\n  ", " <>\n  "]);
            let name = pick(chance, &["apiKey", "password", "const token", "secret_key"]);
            sample("concatenation", format!("{name} = {};", text.join(sign)), &value)
        }
        3 => {
            let text: String = parts.iter().map(|p| format!("    \"{p}\"\n")).collect();
            let name = pick(chance, &["API_KEY", "password", "token"]);
            sample("adjacent strings", format!("{name} = (\n{text})"), &value)
        }
        4 => {
            let text: String = parts.iter().map(|p| format!("  {p}\n")).collect();
            let name = pick(chance, &["api_key", "password", "token"]);
            let sign = pick(chance, &[">-", "|", ">"]);
            sample("yaml block", format!("{name}: {sign}\n{text}port: 1\n"), &value)
        }
        5 => sample("plain break", format!("{before}{}\n", parts.join("\n")), &value),
        6 => {
            let text = format!("{before}{}\nsee you", parts.join("=\n"));
            sample("quoted-printable", text, &value)
        }
        _ => {
            let text = format!("\"{}\" \\\n  \"{}\"", parts[0], parts[1..].concat());
            sample("strings with a backslash", format!("api_key = {text}"), &value)
        }
    }
}

pub fn awkward(chance: &mut Chance, index: usize) -> Sample {
    let (before, value) = long(chance);
    let count = 2 + chance.below(2);
    let parts = parts(chance, &value, count);
    match index / 2 % 10 {
        0 => sample("indented break", format!("  {before}{}\n", parts.join("\n    ")), &value),
        1 => {
            let text: String = parts.iter().map(|p| format!("> {p}\n")).collect();
            sample("quoted break", format!("> {before}\n{text}"), &value)
        }
        2 => {
            let text: Vec<String> = parts.iter().map(|p| format!("+    \"{p}\"")).collect();
            sample(
                "diffed concatenation",
                format!("+password = {}", text.join(" +\n").trim_start_matches('+')),
                &value,
            )
        }
        3 => {
            let rest = parts[1..].concat();
            sample(
                "numbered break",
                format!("   12\t{before}{}\n   13\t{rest}\n", parts[0]),
                &value,
            )
        }
        4 => {
            let text =
                lines(&STANDARD.encode(format!("user={}\n{before}{value}\n", word(chance))), 64);
            sample("base64 in lines", text, &value)
        }
        5 => {
            let text =
                lines(&STANDARD.encode(format!("user={}\n{before}{value}\n", word(chance))), 40);
            let text: String = text.lines().map(|l| format!("    {l}\n")).collect();
            sample("base64 in a yaml block", format!("data:\n  env: |\n{text}"), &value)
        }
        6 => {
            let text = format!("{before}{}", parts.join("\n"));
            sample("break in json", serde_json::json!({"out": text}).to_string(), &value)
        }
        7 => {
            let text = format!("{before}{}", parts.join("\\\n"));
            sample("backslash in json", serde_json::json!({"command": text}).to_string(), &value)
        }
        8 => sample("windows break", format!("{before}{}\r\n", parts.join("\r\n")), &value),
        _ => {
            let text: Vec<String> = parts.iter().map(|p| format!("'{p}'")).collect();
            let text = format!("token = [{}].join('')", text.join(", "));
            sample("joined list", text, &value)
        }
    }
}

pub fn alike(chance: &mut Chance, index: usize) -> Sample {
    let text = match index % 12 {
        0 => format!("The digest is\n{}\nas expected.", hex(chance, 64)),
        1 => format!("commit {}\nAuthor: CI\n\n    Wrap long lines in the\n    message of a commit", hex(chance, 40)),
        2 => lines("The quick brown fox jumps over the lazy dog and then explains at length to everyone who listens why the line had to be broken here", 40),
        3 => lines(&STANDARD.encode(bytes(chance, 300)), 76),
        4 => lines(&STANDARD.encode("a plain text about nothing in particular, long enough to be wrapped over lines by base64"), 40),
        5 => format!("curl https://{} \\\n  --retry 3 \\\n  -o {}.tgz", "example.com/a.tgz", word(chance)),
        6 => "const message = \"the first half of a sentence, \" +\n    \"and its second half\";".to_string(),
        7 => "description: >-\n  A longer text about\n  what this does.\nport: 1\n".to_string(),
        8 => format!("sha256-{}\nsha256-{}", STANDARD.encode(bytes(chance, 32)), STANDARD.encode(bytes(chance, 32))),
        9 => format!("{}\n{}\n{}", hex(chance, 40), hex(chance, 40), hex(chance, 40)),
        10 => format!("00000000: {} {}\n00000010: {} {}", hex(chance, 16), hex(chance, 16), hex(chance, 16), hex(chance, 16)),
        _ => {
            format!("integrity sha512-{}\n  dependencies:\n    a \"^1.0.0\"", STANDARD.encode(bytes(chance, 64)))
        }
    };
    Sample::kept("broken lines", text)
}
