//! Passwords and tokens in the authority of a URL: `scheme://user:password@host`.

use super::values::{is_placeholder, is_reference};
use super::words::is_words;
use super::{Hit, Rule, after, before, entropy, rule};
use crate::redact::policy::Class;

pub static RULES: [Rule; 2] =
    [rule("url.password", "PASSWORD", Class::Url), rule("url.webhook", "WEBHOOK", Class::Url)];

/// Default accounts of databases on a developer's machine: user and password are one word.
const DEFAULTS: &[&str] =
    &["postgres", "root", "admin", "guest", "user", "test", "mysql", "rabbitmq"];

/// The end of the authority after `://`, which ends at `at`.
pub fn authority_end(bytes: &[u8], at: usize) -> usize {
    let is_end =
        |b: &u8| b.is_ascii_whitespace() || b.is_ascii_control() || b"\"'`<>\\".contains(b);
    let window = &bytes[at..bytes.len().min(at + 512)];
    let hard = window.iter().position(is_end).unwrap_or(window.len());
    // A password may hold `/`, `?` or `#`, although it should not: the last `@` before the first
    // of them decides, or else the first `@` after it if a port or path follows.
    let soft = window[..hard].iter().position(|b| b"/?#".contains(b)).unwrap_or(hard);
    if window[..soft].contains(&b'@') || !window[..soft].contains(&b':') {
        return at + soft;
    }
    let after_colon = window[..soft].iter().position(|b| *b == b':').unwrap_or(soft);
    let port =
        window[after_colon + 1..soft].iter().all(u8::is_ascii_digit) && after_colon + 1 < soft;
    let later = window[..hard].iter().position(|b| *b == b'@');
    match later {
        Some(at_sign) if !port => {
            let host = &window[at_sign..hard];
            at + at_sign + host.iter().position(|b| b"/?#".contains(b)).unwrap_or(host.len())
        }
        _ => at + soft,
    }
}

/// After `://`, which ends at `at`.
pub fn authority(text: &str, at: usize, hits: &mut Vec<Hit>) {
    let bytes = text.as_bytes();
    let end = authority_end(bytes, at);
    webhook(text, at, end, hits);
    let Some(sign) = bytes[at..end].iter().rposition(|b| *b == b'@').map(|n| at + n) else {
        return;
    };
    let colon = bytes[at..sign].iter().position(|b| *b == b':').map(|n| at + n);
    let (user, password) = match colon {
        Some(colon) => (&text[at..colon], Some((colon + 1, sign))),
        None => (&text[at..sign], None),
    };
    if is_token(user) {
        hits.push(Hit::new(at, at + user.len(), &RULES[0]));
    }
    let Some((start, end)) = password else { return };
    let password = &text[start..end];
    // A digest, a template's hole, a word that stands for none
    if ["x-oauth-basic", "x-access-token"].contains(&password) {
        return;
    }
    if bytes[sign + 1..].starts_with(b"sha256:") || password.starts_with('{') {
        return;
    }
    let default = DEFAULTS.contains(&password) && user == password;
    if password.len() >= 3 && !default && !is_reference(password) && !is_placeholder(password) {
        hits.push(Hit::new(start, end, &RULES[0]));
    }
}

/// A token where a user name belongs: `https://<token>@host`.
fn is_token(user: &str) -> bool {
    user.len() >= 20 && !is_words(user) && !is_placeholder(user) && entropy(user.as_bytes()) >= 3.0
}

/// Hosts whose every path is a capability.
const HOOK_HOSTS: &[&str] = &[
    "webhook.site",
    "hc-ping.com",
    "hook.",
    "hooks.",
    "webhooks.",
    "ntfy.sh",
    "smee.io",
    "requestbin.",
    "hookdeck.",
    "webhook.",
    "maker.ifttt.com",
];
/// Path segments after which one follows.
const HOOK_PATHS: &[&str] = &[
    "hook",
    "hooks",
    "webhook",
    "webhooks",
    "webhookb2",
    "incoming",
    "incomingwebhook",
    "integration",
    "integrations",
    "services",
    "workflows",
    "key",
    "webhook-test",
    "inbound",
    "heartbeat",
    "ping",
];

/// Whoever knows a webhook's address may use it: the random part of its path or query.
fn webhook(text: &str, at: usize, end: usize, hits: &mut Vec<Hit>) {
    let bytes = text.as_bytes();
    if bytes.get(end) != Some(&b'/') {
        return;
    }
    let is_end =
        |b: &u8| b.is_ascii_whitespace() || b.is_ascii_control() || b"\"'`<>\\,)]}|#".contains(b);
    let stop = end
        + bytes[end..]
            .iter()
            .take(512)
            .enumerate()
            .position(|(n, b)| is_end(b) || *b == b':' && bytes[end + n..].starts_with(b"://"))
            .unwrap_or(bytes.len().min(end + 512) - end);
    let (Some(host), Some(rest)) = (text.get(at..end), text.get(end..stop)) else { return };
    let host = host.to_ascii_lowercase();
    let mut open = HOOK_HOSTS.iter().any(|h| host.starts_with(h));
    let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (mut first, mut last) = (None, 0);
    let mut from = end;
    for segment in path.split('/') {
        let lower = segment.to_ascii_lowercase();
        if open && is_capability(segment) {
            first = first.or(Some(from));
            last = from + segment.trim_end_matches(['.', ':', ';', '*']).len();
        }
        open |= HOOK_PATHS.contains(&lower.as_str());
        from += segment.len() + 1;
    }
    if let Some(first) = first {
        hits.push(Hit::new(first, last, &RULES[1]));
    } else if open {
        let at = end + path.len() + 1;
        let values = query.split('&').filter_map(|pair| pair.split_once('=').map(|(_, v)| v));
        for value in values.filter(|value| is_capability(value) && value.len() >= 16) {
            let start = at + (value.as_ptr() as usize - query.as_ptr() as usize);
            hits.push(Hit::new(start, start + value.len(), &RULES[1]));
        }
    }
}

/// Whether a path's segment was made by a machine to be secret: not a word, a number or a version.
fn is_capability(segment: &str) -> bool {
    let letters = segment.bytes().filter(u8::is_ascii_alphabetic).count();
    segment.len() >= 7
        && letters >= 2
        && segment.bytes().any(|b| b.is_ascii_digit() || b.is_ascii_uppercase())
        && !is_words(segment)
        && !is_placeholder(segment)
        && !is_reference(segment)
        && !segment.contains(['{', '$', '<', ':', '*', '%'])
        && segment.bytes().filter(|b| *b == b'.').count() < 2
        && entropy(segment.as_bytes()) >= 2.2
}

/// What stands behind the password in the connection strings of Go's drivers.
pub const AT_ADDRESS: [&str; 3] = ["@tcp(", "@unix(", "@//"];

/// `user:password@tcp(host:3306)/db`; `at` is where the `@` stands.
pub fn at_address(text: &str, at: usize, hits: &mut Vec<Hit>) {
    let lead = before(text, at, 160);
    let token =
        lead.rsplit(|c: char| c.is_whitespace() || "\"'`=<>".contains(c)).next().unwrap_or("");
    // Oracle writes `user/password@//host`.
    let sign = if text[at..].starts_with("@//") { '/' } else { ':' };
    let Some((_, password)) = token.split_once(sign) else { return };
    if password.len() >= 3
        && !is_reference(password)
        && !is_placeholder(password)
        && !password.starts_with(['%', '{'])
    {
        hits.push(Hit::new(at - password.len(), at, &RULES[0]));
    }
}

/// What `user/password@host` follows in Oracle's connection strings.
pub const ORACLE: [&str; 2] = ["oracle:thin:", "oracle:oci:"];

/// `user/password@…`, at `at`.
pub fn oracle(text: &str, at: usize, hits: &mut Vec<Hit>) {
    let tail = after(text, at, 160);
    let tail = tail.split(|c: char| c.is_whitespace() || "\"'`<>".contains(c)).next().unwrap_or("");
    let Some((account, _)) = tail.split_once('@') else { return };
    let Some((_, password)) = account.split_once('/') else { return };
    if password.len() >= 3
        && !is_reference(password)
        && !is_placeholder(password)
        && !password.starts_with('{')
    {
        let start = password.as_ptr() as usize - text.as_ptr() as usize;
        hits.push(Hit::new(start, start + password.len(), &RULES[0]));
    }
}
