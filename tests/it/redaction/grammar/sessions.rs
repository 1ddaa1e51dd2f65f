//! What is found in one message of a session must be gone from all of them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proto::chance::Chance;
use serde_json::json;

use super::places::account;
use super::values::{fill, generated, hex, pick, random, uuid, word};
use super::wrappers::percent;
use super::{Case, Kind};

pub const CLASS: &str = "session";

/// Where a secret says that it is one.
const CLEAR: &[&str] = &[
    "DB_PASSWORD={}",
    "export API_TOKEN={}",
    "{\"client_secret\": \"{}\"}",
    "Authorization: Bearer {}",
    "postgres://app:{}@db:5432/shop",
    "password: {}",
];

/// Where nothing says so.
const BARE: &[&str] = &[
    "then it printed {}.",
    "{}",
    "x = [\"{}\"]",
    "glued{}glued",
    "> {}\n> ok",
    "3: {}",
    "see {} above, and {} below",
    "{\"a\":{\"b\":[\"{}\"]}}",
];

type Form = (&'static str, fn(&str) -> String);

const FORMS: &[Form] = &[
    ("base64", |v| STANDARD.encode(v)),
    ("base64 inside, at 1", |v| STANDARD.encode(format!("x{v}y z"))),
    ("base64 inside, at 2", |v| STANDARD.encode(format!("xy{v}; and so on"))),
    ("base64 inside, at 3", |v| STANDARD.encode(format!("\u{1}\u{2}z{v}\u{3}\u{4}"))),
    ("percent", |v| format!("https://x.example.com/?q={}", percent(v))),
    ("all percent", |v| v.bytes().map(|b| format!("%{b:02x}")).collect()),
    ("hex", |v| v.bytes().map(|b| format!("{b:02x}")).collect()),
    ("hex in capitals", |v| v.bytes().map(|b| format!("{b:02X}")).collect()),
    ("json", |v| json!({"out": format!("a\n{v}\n")}).to_string()),
    ("json in json", |v| json!({"r": json!({"out": v}).to_string()}).to_string()),
    ("unicode escapes", |v| v.chars().map(|c| format!("\\u{:04x}", c as u32)).collect()),
    ("entities", |v| v.chars().map(|c| format!("&#{};", c as u32)).collect()),
    ("basic", |v| format!("Basic {}", STANDARD.encode(format!("app:{v}")))),
    ("diff", |v| format!("@@ -1 +1 @@\n-{v}\n+x\n")),
    ("colour", |v| format!("\x1b[32m{v}\x1b[0m")),
    ("two lines", |v| {
        let half: usize = v.char_indices().nth(v.chars().count() / 2).map_or(0, |(at, _)| at);
        format!("{}\\\n{}", &v[..half], &v[half..])
    }),
];

pub fn cases(seed: u64, each: usize) -> Vec<Case> {
    let mut chance = Chance::new(seed, CLASS);
    let mut cases = Vec::new();
    for i in 0..each {
        cases.push(if i % 3 == 2 { person(&mut chance, i) } else { plain(&mut chance, i) });
        cases.push(awkward(&mut chance, i));
        cases.push(alike(&mut chance, i));
    }
    cases
}

/// A value long enough to be known again.
fn value(chance: &mut Chance) -> String {
    loop {
        let value = generated(chance);
        if value.len() >= 12 && !value.contains([':', '=', '/', '+']) {
            return value;
        }
    }
}

fn case(kind: Kind, name: &str, texts: Vec<String>, secret: &str, kept: &[&str]) -> Case {
    let secrets = if secret.is_empty() { Vec::new() } else { vec![secret.to_string()] };
    let kept = kept.iter().map(|k| k.to_string()).collect();
    Case { class: CLASS, kind, name: name.into(), texts, secrets, kept }
}

fn plain(chance: &mut Chance, index: usize) -> Case {
    let value = value(chance);
    let bare = BARE[index % BARE.len()];
    let clear = pick(chance, CLEAR);
    let mut texts = vec![fill(chance, clear, &value), fill(chance, bare, &value)];
    if chance.below(2) == 0 {
        texts.reverse();
    }
    case(Kind::Plain, bare, texts, &value, &[])
}

/// A user name, known from a path.
fn person(chance: &mut Chance, index: usize) -> Case {
    let name = account(chance);
    let places = ["owner {}", "{} wrote this", "ls -l: {} staff 12", "ask {}, please", "by @{}"];
    let place = places[index % places.len()];
    let path = pick(chance, &["/home/{}/src", "/Users/{}/x", "C:\\Users\\{}\\x", "/home/{}"]);
    let texts = vec![fill(chance, path, &name), fill(chance, place, &name)];
    case(Kind::Plain, place, texts, &name, &[])
}

fn awkward(chance: &mut Chance, index: usize) -> Case {
    let value = value(chance);
    let (name, form) = FORMS[index % FORMS.len()];
    let clear = pick(chance, CLEAR);
    let mut texts = vec![fill(chance, clear, &value), form(&value), word(chance).to_string()];
    chance.shuffle(&mut texts);
    case(Kind::Awkward, name, texts, &value, &[])
}

/// A secret and, elsewhere, what is none.
fn alike(chance: &mut Chance, index: usize) -> Case {
    let value = value(chance);
    let clear = pick(chance, CLEAR);
    let name = account(chance);
    let kept = match index % 8 {
        0 => format!("commit {}", hex(chance, 40)),
        1 => format!("request {}", uuid(chance)),
        2 => format!("the file {}.txt", random(chance, 12)),
        3 => "the password was wrong, and the token expired".to_string(),
        4 => format!("digest sha256:{}", hex(chance, 64)),
        5 => "/home/ubuntu/app of ubuntu, run by root".to_string(),
        6 => format!("{}x{} grew", &name[..3], &name[1..3]),
        _ => format!("{} of the {} team", word(chance), word(chance)),
    };
    let path = format!("/home/{name}/src");
    let texts = vec![fill(chance, clear, &value), path, kept.clone()];
    case(Kind::Alike, "unrelated text", texts, "", &[&kept])
}
