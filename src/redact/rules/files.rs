//! Lines of files that hold passwords and their hashes: netrc, pgpass, shadow, dumps of accounts,
//! browsers' cookie files.

use super::values::{is_hex, is_mixed, is_placeholder, is_reference};
use super::words::is_words;
use super::{Hit, Rule, after, before, before_escape, rule};
use crate::redact::policy::Class;

pub static RULES: [Rule; 5] = [
    rule("file.netrc", "PASSWORD", Class::CredentialFile),
    rule("file.pgpass", "PASSWORD", Class::CredentialFile),
    rule("file.shadow", "PASSWORD_HASH", Class::PasswordHash),
    rule("file.cookies", "COOKIE", Class::Header),
    rule("file.master-key", "KEY", Class::CredentialFile),
];

/// `machine HOST login USER password VALUE`, on one line or several; `at` is after `machine `.
pub fn netrc(text: &str, at: usize, hits: &mut Vec<Hit>) {
    let window = after(text, at, 300);
    let mut words = window.split_ascii_whitespace();
    // `machine learning` is prose.
    let host =
        window.split_whitespace().next().is_some_and(|h| h.contains('.') || h == "localhost");
    let mut seen_login = false;
    while let Some(word) = words.next() {
        match word {
            "machine" | "default" => return,
            "login" => seen_login = true,
            "password" if seen_login || host => {
                let Some(value) = words.next() else { return };
                let from = at + (value.as_ptr() as usize - window.as_ptr() as usize);
                let value = &value[..before_escape(value.as_bytes())];
                let value = value.split(['"', '\'', '`', '<', '>']).next().unwrap_or("");
                if value.len() >= 3 && !is_placeholder(value) && !is_reference(value) {
                    hits.push(Hit::new(from, from + value.len(), &RULES[0]));
                }
                return;
            }
            _ => {}
        }
    }
}

/// Ports and wildcards that a pgpass line has between its first colons.
#[rustfmt::skip]
pub const PGPASS: &[&str] = &[
    ":5432:", ":5431:", ":5433:", ":5434:", ":5435:", ":5436:", ":5437:", ":5438:", ":5439:", ":6432:",
    ":6543:", ":15432:", ":25060:", ":26257:", ":54321:", ":*:",
];

/// `host:port:database:user:password`; `at` is where the port's colon stands.
pub fn pgpass(text: &str, at: usize, hits: &mut Vec<Hit>) {
    let bytes = text.as_bytes();
    let is_field = |b: &u8| b.is_ascii_alphanumeric() || b"._-*".contains(b);
    let host = bytes[..at].iter().rev().take(100).take_while(|b| is_field(b)).count();
    let start = at - host;
    let line_begins = start == 0 || b"\n \t\"'+`<>([=".contains(&bytes[start - 1]);
    // `daemon:*:19000:…` is an account without a password.
    let days = bytes[at..].starts_with(b":*:") && bytes.get(at + 3).is_some_and(u8::is_ascii_digit);
    if host == 0 || !line_begins || days {
        return;
    }
    let mut at = at;
    // Port, database, user; then the rest is the password.
    for _ in 0..3 {
        at += 1;
        at += bytes[at..].iter().take(100).take_while(|b| is_field(b)).count();
        if bytes.get(at) != Some(&b':') {
            return;
        }
    }
    let from = at + 1;
    let is_end = |b: &u8| b.is_ascii_whitespace() || b"\"'`<>".contains(b);
    let length = bytes[from..].iter().take(256).take_while(|b| !is_end(b)).count();
    let length = before_escape(&bytes[from..from + length]);
    let Some(value) = text.get(from..from + length) else { return };
    if length >= 3 && !is_placeholder(value) && !is_reference(value) {
        hits.push(Hit::new(from, from + length, &RULES[1]));
    }
}

/// What stands behind the hash in a line of `/etc/shadow`.
pub const SHADOW: &str = ":99999:";

/// `user:HASH:19000:0:99999:7:::`; `at` is where [`SHADOW`] stands.
pub fn shadow(text: &str, at: usize, hits: &mut Vec<Hit>) {
    let lead = before(text, at, 256);
    let line = lead.rsplit(['\n', '"', ' ', '\t']).next().unwrap_or("");
    let mut fields = line.split(':').skip(1);
    let Some(hash) = fields.next() else { return };
    let days = fields.next().is_some_and(|d| d.bytes().all(|b| b.is_ascii_digit()));
    if days && hash.len() >= 13 && !hash.starts_with(['!', '*']) {
        let start = hash.as_ptr() as usize - text.as_ptr() as usize;
        hits.push(Hit::new(start, start + hash.len(), &RULES[2]));
    }
}

/// What ends a line of a dump of Windows' accounts.
pub const ACCOUNTS: &str = ":::";

/// `user:500:LM:NT:::`; `at` is where [`ACCOUNTS`] stands.
pub fn accounts(text: &str, at: usize, hits: &mut Vec<Hit>) {
    let lead = before(text, at, 70);
    let mut hashes = lead.rsplit(':').take_while(|hash| hash.len() == 32 && is_hex(hash));
    if let (Some(_), Some(_)) = (hashes.next(), hashes.next()) {
        hits.push(Hit::new(at - 65, at, &RULES[2]));
    }
}

/// The columns of a line of `cookies.txt` before the name.
pub const COOKIE_LINE: [&str; 2] = ["\tTRUE\t", "\tFALSE\t"];

/// `.host TRUE / TRUE 1700000000 name VALUE`; `at` is after the second flag or the first.
pub fn cookie_line(text: &str, at: usize, hits: &mut Vec<Hit>) {
    let tail = after(text, at, 8192);
    let line = tail.split(['\n', '\r', '"', '\\', '<']).next().unwrap_or("");
    let mut fields = line.split('\t');
    let time =
        fields.next().is_some_and(|t| !t.is_empty() && t.bytes().all(|b| b.is_ascii_digit()));
    let (Some(_), Some(value), true) = (fields.next(), fields.next(), time) else { return };
    if value.len() >= 8 && !is_placeholder(value) {
        let start = value.as_ptr() as usize - text.as_ptr() as usize;
        hits.push(Hit::new(start, start + value.len(), &RULES[3]));
    }
}

/// Files that hold nothing but a key.
pub const KEY_FILES: [&str; 5] = [
    "master.key",
    "credentials/production.key",
    "credentials/staging.key",
    "htpasswd",
    // RubyGems' credentials, with a symbol for each host
    "---\n:",
];

/// A key that is shown after the file's name: `cat config/master.key`, then the key.
pub fn key_file(text: &str, at: usize, hits: &mut Vec<Hit>) {
    let word = before(text, at, 8);
    if word.ends_with("htpasswd") {
        return crypted(text, at, hits);
    }
    if word.ends_with("---\n:") {
        return symbols(text, at, hits);
    }
    for line in after(text, at, 96).lines().skip(1).take(3) {
        let key = line.trim_start_matches(|c: char| !c.is_ascii_hexdigit());
        let key = key.trim_end();
        if key.len() == 32 && is_hex(key) {
            let start = key.as_ptr() as usize - text.as_ptr() as usize;
            return hits.push(Hit::new(start, start + key.len(), &RULES[4]));
        }
    }
}

/// `user:HASH` as the oldest `htpasswd` and `crypt` make it, on the lines after the file's name.
fn crypted(text: &str, at: usize, hits: &mut Vec<Hit>) {
    for line in after(text, at, 1024).lines().skip(1).take(20) {
        let Some((user, hash)) = line.trim().rsplit_once(':') else { return };
        let is_hash = |b: u8| b.is_ascii_alphanumeric() || b"./".contains(&b);
        let is_cased = |hash: &str| {
            let has = |f: fn(&u8) -> bool| hash.as_bytes().iter().any(f);
            has(u8::is_ascii_lowercase) && has(u8::is_ascii_uppercase)
        };
        let user = user.rsplit(['\t', '→', '|', ' ']).next().unwrap_or("");
        if hash.len() == 13 && hash.bytes().all(is_hash) && !user.is_empty() && is_cased(hash) {
            let start = hash.as_ptr() as usize - text.as_ptr() as usize;
            hits.push(Hit::new(start, start + hash.len(), &RULES[2]));
        }
    }
}

/// `:host: KEY`, line by line; `at` is after the first colon.
fn symbols(text: &str, at: usize, hits: &mut Vec<Hit>) {
    for line in after(text, at, 1024).lines().take(12) {
        let Some((name, value)) = line.trim_start_matches(':').split_once(": ") else { return };
        let value = value.trim().trim_matches(['"', '\'']);
        let sum = ["sha", "sum", "commit", "digest", "id", "ref", "rev", "version"];
        let generated = value.len() >= 20
            && value.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b))
            && is_mixed(value, 3.0)
            && !is_words(value);
        if generated && !sum.iter().any(|w| name.ends_with(w)) {
            let start = value.as_ptr() as usize - text.as_ptr() as usize;
            hits.push(Hit::new(start, start + value.len(), &RULES[4]));
        }
    }
}

/// Where cloud tools print a secret under a name that says nothing: what stands before, and the
/// name.
pub const PRINTED: [(&str, &str); 5] = [
    ("kaggle", "\"key\""),
    ("\"github-oauth\"", "\"github.com\""),
    ("\"keyname\"", "\"value\""),
    ("random_password", "\"result\""),
    ("\"secretstring\"", "\"secretstring\""),
];

/// The value that entry `index` of [`PRINTED`] promises.
pub fn printed(index: usize, text: &str, start: usize, hits: &mut Vec<Hit>) {
    let tail = after(text, start, 320);
    let name = PRINTED[index].1;
    let lower = tail.to_ascii_lowercase();
    let Some(at) = lower.find(name).map(|n| n + name.len()) else { return };
    let rest = tail[at..].trim_start_matches(['"', ' ', ':']);
    let Some((value, _)) = rest.split_once('"') else { return };
    if value.len() >= 8 && !is_placeholder(value) && !value.contains(['{', ' ', '\\']) {
        let from = value.as_ptr() as usize - text.as_ptr() as usize;
        hits.push(Hit::new(from, from + value.len(), &RULES[4]));
    }
}

/// What stands behind the host in Postfix's password maps.
pub const RELAY: [&str; 3] = ["]:587 ", "]:465 ", "]:25 "];

/// `[smtp.host]:587 user:password`; `at` is where the user begins.
pub fn relay(text: &str, at: usize, hits: &mut Vec<Hit>) {
    let word = after(text, at, 160).split_ascii_whitespace().next().unwrap_or("");
    let word = &word[..before_escape(word.as_bytes())];
    let Some((_, password)) = word.split_once(':') else { return };
    let password = password.split(['"', '\'', '`', '<']).next().unwrap_or("");
    if password.len() >= 4 && !is_placeholder(password) && !is_reference(password) {
        let from = password.as_ptr() as usize - text.as_ptr() as usize;
        hits.push(Hit::new(from, from + password.len(), &RULES[1]));
    }
}
