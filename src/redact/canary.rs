//! Canaries: invented secrets planted in shadow copies of real rows, to measure what redaction
//! finds. The copies are thrown away.

use anyhow::Result;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rayon::prelude::*;

use super::decode::Views;
use super::policy::Class;
use super::{Canaries, Redactor, walk};
use crate::chance::Chance;
use crate::trace::Trace;

const UPPER: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZ";
const LOWER: &str = "abcdefghijklmnopqrstuvwxyz";
const DIGITS: &str = "0123456789";
const HEX: &str = "0123456789abcdef";

/// Plants one canary of every class the policy covers in a copy of every trace, redacts the
/// copies and counts by class what is gone. Classes the policy switches off with `without` are
/// planted all the same.
pub fn canaries(redactor: &Redactor, traces: &[&Trace], seed: u64) -> Result<Canaries> {
    let mut chance = Chance::new(seed, "canaries");
    let mut shadows = Vec::with_capacity(traces.len());
    for trace in traces.iter().copied().filter(|t| !t.messages.is_empty()) {
        let mut shadow = trace.clone();
        let planted = plant_all(&mut shadow, redactor, &mut chance);
        shadows.push((trace, shadow, planted));
    }
    let found: Vec<_> = shadows
        .into_par_iter()
        .map(|(trace, shadow, planted)| {
            // A half of one canary may stand in a decoy by chance.
            let decoys = planted.iter().filter(|p| p.class.is_none());
            let decoys: Vec<&str> = decoys.map(|p| p.value.as_str()).collect();
            let before = shown(trace) + decoys.join("\n").as_str();
            let after: String =
                redactor.session(&[&shadow])?.iter().map(|r| shown(&r.trace)).collect();
            let gone = |planted: Planted| {
                let gone = match planted.class {
                    Some(_) => is_gone(&planted.value, &before, &after),
                    None => !after.contains(&planted.value),
                };
                (planted, gone)
            };
            Ok(planted.into_iter().map(gone).collect::<Vec<_>>())
        })
        .collect::<Result<_>>()?;
    let mut measured = Canaries::default();
    for (planted, gone) in found.into_iter().flatten() {
        let recall = match planted.class {
            Some(class) => measured.by_class.entry(class.as_str().into()).or_default(),
            None => measured.decoys.entry(planted.decoy.into()).or_default(),
        };
        recall.planted += 1;
        recall.found += u64::from(gone);
    }
    Ok(measured)
}

/// What was planted: a canary of a class, or a decoy.
struct Planted {
    class: Option<Class>,
    decoy: &'static str,
    value: String,
}

/// Everything a trace says, encoded or not.
fn shown(trace: &Trace) -> String {
    let mut all = String::new();
    for leaf in walk::leaves(trace) {
        let views = Views::of(&leaf.text);
        for text in [leaf.text.as_str()].into_iter().chain(views.texts()) {
            all += text;
            all.push('\n');
        }
    }
    all
}

/// Neither half of a value is left, unless the row had it anyway. A short half may stand
/// anywhere by chance, so a short value counts as a whole.
fn is_gone(value: &str, before: &str, after: &str) -> bool {
    let middle = value.len() / 2;
    let halves = [&value[..middle], &value[middle..]];
    let parts = if middle < 6 { &[value][..] } else { &halves[..] };
    parts.iter().all(|part| !after.contains(part) || before.contains(part))
}

fn plant_all(shadow: &mut Trace, redactor: &Redactor, chance: &mut Chance) -> Vec<Planted> {
    let classes = Class::BUILT_IN.into_iter().filter(|c| redactor.policy().covers(*c));
    let mut planted = Vec::new();
    let mut lines = Vec::new();
    for class in classes {
        let (line, value) = canary(class, chance);
        lines.push(wrap(&line, chance));
        planted.push(Planted { class: Some(class), decoy: "", value });
    }
    for decoy in DECOYS {
        let (line, value) = decoy_line(decoy, chance);
        lines.push(line);
        planted.push(Planted { class: None, decoy, value });
    }
    let mut places = Vec::new();
    for line in lines {
        let message = chance.below(shadow.messages.len());
        let content = &shadow.messages[message].content;
        let mut starts: Vec<usize> = content.match_indices('\n').map(|(n, _)| n + 1).collect();
        starts.push(0);
        starts.push(content.len());
        places.push((message, starts[chance.below(starts.len())], line));
    }
    // From the back, so that no place moves and no canary lands in another.
    places.sort();
    for (message, at, text) in places.into_iter().rev() {
        shadow.messages[message].content.insert_str(at, &format!("\n{text}\n"));
    }
    planted
}

/// Look-alikes: what a model needs to see and redaction should leave.
const DECOYS: [&str; 9] = [
    "commit",
    "uuid",
    "digest",
    "integrity",
    "version",
    "placeholder",
    "reference",
    "address",
    "code",
];

/// Names that people give to services.
const NAMES: [&str; 6] = ["payment", "search", "billing", "upload", "report", "mirror"];

/// A line that holds a decoy, and what of it must stay.
fn decoy_line(decoy: &str, chance: &mut Chance) -> (String, String) {
    let value = match decoy {
        "commit" => any(chance, &[HEX], 40),
        "uuid" => {
            let parts = [8, 4, 4, 4, 12].map(|n| any(chance, &[HEX], n));
            parts.join("-")
        }
        "digest" => format!("sha256:{}", any(chance, &[HEX], 64)),
        "integrity" => {
            let bytes: Vec<u8> = (0..64).map(|_| chance.below(256) as u8).collect();
            format!("sha512-{}", STANDARD.encode(bytes))
        }
        "version" => {
            format!("{}.{}.{}", 1 + chance.below(20), chance.below(40), chance.below(90))
        }
        "placeholder" => format!("YOUR_{}_KEY", NAMES[chance.below(NAMES.len())].to_uppercase()),
        "reference" => format!("${}_TOKEN", NAMES[chance.below(NAMES.len())].to_uppercase()),
        "address" => format!("192.168.{}.{}:8080", chance.below(255), 1 + chance.below(254)),
        _ => format!("let token = {}_token(&request)?;", NAMES[chance.below(NAMES.len())]),
    };
    let line = match decoy {
        "commit" => format!("HEAD is now at {value}"),
        "uuid" => format!("request {value} done"),
        "integrity" => format!("      \"integrity\": \"{value}\","),
        "version" => format!("Compiling {} v{value}", word(chance, 6)),
        "placeholder" => format!("API_KEY={value}"),
        "reference" => format!("deploy --token {value}"),
        _ => value.clone(),
    };
    (line, value)
}

/// The line as it is, as a JSON string, or in base64.
fn wrap(line: &str, chance: &mut Chance) -> String {
    match chance.below(4) {
        0 => format!("{{\"output\": {}}}", serde_json::Value::from(line)),
        1 => format!("output: {}", STANDARD.encode(line)),
        _ => line.to_string(),
    }
}

fn any(chance: &mut Chance, alphabets: &[&str], length: usize) -> String {
    let alphabet: Vec<u8> = alphabets.concat().into_bytes();
    (0..length).map(|_| char::from(alphabet[chance.below(alphabet.len())])).collect()
}

fn word(chance: &mut Chance, length: usize) -> String {
    any(chance, &[LOWER], length)
}

/// A line that holds a canary, and the canary's value.
fn canary(class: Class, chance: &mut Chance) -> (String, String) {
    const MIXED: &[&str] = &[UPPER, LOWER, DIGITS];
    let around = |line: String, value: String| (line.replace("{}", &value), value);
    match class {
        Class::Vendor | Class::Team if chance.below(4) == 0 => service_key(chance),
        Class::Vendor | Class::Team => {
            let value = vendor_token(chance);
            around("the build used {}, then stopped".into(), value)
        }
        Class::Jwt => {
            let part = |c: &mut Chance| any(c, MIXED, 43);
            let claims = STANDARD.encode(format!("{{\"sub\":\"{}\"}}", word(chance, 12)));
            let head = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9";
            let value = format!("{head}.{}.{}", claims.trim_end_matches('='), part(chance));
            around("got {} back".into(), value)
        }
        Class::PrivateKey => {
            let lines: Vec<_> = (0..6).map(|_| any(chance, MIXED, 64)).collect();
            let kind = ["RSA ", "EC ", "OPENSSH ", "ENCRYPTED ", ""][chance.below(5)];
            let value = lines.join("\n");
            let text = format!("-----BEGIN {kind}PRIVATE KEY-----\n{value}\n");
            let end = format!("-----END {kind}PRIVATE KEY-----");
            (text + if chance.below(3) == 0 { "" } else { &end }, lines[3].clone())
        }
        Class::Header => {
            let value = any(chance, MIXED, 32);
            let lines = ["Authorization: Bearer {}", "< set-cookie: sid={}; Path=/; HttpOnly"];
            around(lines[chance.below(2)].into(), value)
        }
        Class::Url => {
            let value = any(chance, MIXED, 14);
            let lines =
                ["redis://default:{}@cache:6379/0", "git clone https://ci:{}@git.acme.dev/a.git"];
            around(lines[chance.below(2)].into(), value)
        }
        Class::Command => {
            let value = any(chance, MIXED, 14);
            let lines = ["$ mysql -u app -p{} shop", "$ sshpass -p {} ssh build@10.0.0.4"];
            around(lines[chance.below(2)].into(), value)
        }
        Class::CredentialFile => {
            let value = any(chance, MIXED, 16);
            let lines =
                ["machine git.acme.dev login ci password {}", "db.acme.dev:5432:shop:app:{}"];
            around(lines[chance.below(2)].into(), value)
        }
        Class::PasswordHash => {
            let (salt, hash) = (any(chance, MIXED, 16), any(chance, MIXED, 86));
            around("svc:{}:19700:0:99999:7:::".into(), format!("$6${salt}${hash}"))
        }
        Class::Assignment if chance.below(4) == 0 => broken(chance),
        Class::Assignment => {
            let value = any(chance, MIXED, 24);
            let lines = [
                "PAYMENT_API_KEY={}",
                "db_password: \"{}\"",
                "client_secret = '{}'",
                "{\"authToken\": \"{}\"}",
            ];
            let line = lines[chance.below(4)].replacen("{}", &value, 1);
            (line, value)
        }
        Class::Email => {
            let value = format!("{}.{}@{}.com", word(chance, 7), word(chance, 8), word(chance, 9));
            around("reported by {}.".into(), value)
        }
        Class::Phone => {
            let group = |c: &mut Chance, n| any(c, &["23456789"], n);
            let lines = [
                format!("+49 1{} {}", group(chance, 2), group(chance, 7)),
                format!("({}) {}-{}", group(chance, 3), group(chance, 3), group(chance, 4)),
            ];
            around("call {} first".into(), lines[chance.below(2)].clone())
        }
        Class::Ip => {
            let octet = |c: &mut Chance| 1 + c.below(254);
            let (b, c, d) = (octet(chance), octet(chance), octet(chance));
            around("Failed login from {} port 22".into(), format!("85.{b}.{c}.{d}"))
        }
        Class::Card => {
            let mut digits: Vec<u8> = any(chance, &[DIGITS], 15).into_bytes();
            digits[0] = b'4';
            digits[1] = b'7';
            let double = |d: u32| if d > 4 { 2 * d - 9 } else { 2 * d };
            let sum: u32 = digits
                .iter()
                .enumerate()
                .map(|(i, b)| (i, u32::from(b - b'0')))
                .map(|(i, d)| if i % 2 == 0 { double(d) } else { d })
                .sum();
            digits.push(b'0' + (10 - sum % 10) as u8 % 10);
            let groups: Vec<_> = digits.chunks(4).map(String::from_utf8_lossy).collect();
            around("charged {} today".into(), groups.join(" "))
        }
        Class::Iban => {
            let account = any(chance, &[DIGITS], 18);
            // Country letters as numbers and two zeros, modulo 97.
            let rest = format!("{account}131400")
                .bytes()
                .fold(0, |r, b| (r * 10 + u32::from(b - b'0')) % 97);
            around("refund to {} please".into(), format!("DE{:02}{account}", 98 - rest))
        }
        Class::User => around("wrote /home/{}/notes/todo.md".into(), word(chance, 12)),
        Class::Host => {
            let value = format!("{}-{}.corp", word(chance, 8), any(chance, &[DIGITS], 3));
            around("ssh {} -- uptime".into(), value)
        }
    }
}

/// A key without a shape of its own, beside the name of its service.
fn service_key(chance: &mut Chance) -> (String, String) {
    let services: &[(&str, &[&str], usize)] = &[
        ("mailgun", &[HEX], 32),
        ("todoist", &[HEX], 40),
        ("asana", &[LOWER, DIGITS], 32),
        ("contentful", &[UPPER, LOWER, DIGITS], 43),
    ];
    let (service, alphabet, length) = services[chance.below(services.len())];
    let value = any(chance, alphabet, length);
    (format!("| {service} | {value} |"), value)
}

/// A value that is broken over two lines.
fn broken(chance: &mut Chance) -> (String, String) {
    let value = any(chance, &[UPPER, LOWER, DIGITS], 64);
    let (one, two) = value.split_at(32);
    let line = match chance.below(3) {
        0 => format!("export API_TOKEN={one}\\\n{two}"),
        1 => format!("auth_token = \"{one}\" +\n    \"{two}\""),
        _ => format!("client_secret: {one}\n  {two}"),
    };
    (line, value)
}

fn vendor_token(chance: &mut Chance) -> String {
    const MIXED: &[&str] = &[UPPER, LOWER, DIGITS];
    let shapes: &[(&str, &[&str], usize)] = &[
        ("AKIA", &[UPPER, "234567"], 16),
        ("ghp_", MIXED, 36),
        ("github_pat_", MIXED, 70),
        ("glpat-", MIXED, 20),
        ("xoxb-", &[DIGITS, UPPER, LOWER], 48),
        ("sk_live_", MIXED, 24),
        ("sk-proj-", MIXED, 48),
        ("sk-ant-api03-", MIXED, 93),
        ("AIza", MIXED, 35),
        ("hf_", MIXED, 34),
        ("npm_", MIXED, 36),
        ("pypi-AgEIcHlwaS5vcmc", MIXED, 120),
        ("dop_v1_", &[HEX], 64),
        ("shpat_", &[HEX], 32),
        ("SK", &[HEX], 32),
        ("glsa_", MIXED, 0),
        ("gsk_", MIXED, 52),
        ("dckr_pat_", MIXED, 27),
    ];
    let (prefix, alphabet, length) = shapes[chance.below(shapes.len())];
    match length {
        0 => format!("{prefix}{}_{}", any(chance, alphabet, 32), any(chance, &[HEX], 8)),
        _ => format!("{prefix}{}", any(chance, alphabet, length)),
    }
}
