//! `Authorization` and cookie headers, in requests, logs, curl calls and code.

use super::values::{is_jumbled, is_member, is_mixed, is_placeholder, is_reference};
use super::words::{is_words, split_words};
use super::{Hit, Rule, after, rule};
use crate::redact::policy::Class;

pub static RULES: [Rule; 2] = [
    rule("header.authorization", "AUTHORIZATION", Class::Header),
    rule("header.cookie", "COOKIE", Class::Header),
];

/// Keywords and what each starts.
pub const AUTHORIZATION: &[&str] = &["authorization", "bearer ", "basic "];
pub const COOKIE: &[&str] = &["cookie"];

#[rustfmt::skip]
const SCHEMES: &[&str] = &[
    "basic ", "bearer ", "token ", "apikey ", "api-key ", "key ", "negotiate ", "ntlm ", "digest ",
    "splunk ", "bot ", "snowflake ", "genie-key ", "geniekey ", "sso-key ", "jwt ", "pat ", "ssws ",
    "oauth ", "apitoken ", "api-token ", "client-id ", "deepl-auth-key ", "zoho-oauthtoken ", "dpop ",
    "discogs ", "sentry ", "hawk ", "mac ", "aws4-hmac-sha256 ", "ghost ", "private-token ",
];
/// Attributes of a `Set-Cookie` line.
const ATTRIBUTES: &[&str] =
    &["path", "domain", "expires", "max-age", "samesite", "priority", "version", "comment"];

fn is_credential(byte: &u8) -> bool {
    byte.is_ascii_graphic() && !b"\"'`,;()<>{}[]\\".contains(byte)
}

/// After `authorization` or `bearer`, at `end`.
pub fn authorization(text: &str, start: usize, end: usize, hits: &mut Vec<Hit>) {
    let bytes = text.as_bytes();
    if bytes[start..end].eq_ignore_ascii_case(b"basic ") {
        return basic(text, end, hits);
    }
    let bearer = bytes[start].eq_ignore_ascii_case(&b'b');
    let mut at = end;
    if !bearer {
        at = past_separator(bytes, end).unwrap_or(bytes.len());
        for scheme in SCHEMES {
            if bytes
                .get(at..at + scheme.len())
                .is_some_and(|b| b.eq_ignore_ascii_case(scheme.as_bytes()))
            {
                at += scheme.len();
                break;
            }
        }
        parameters(text, at, hits);
    }
    at += bytes[at..].iter().take_while(|b| **b == b' ').take(8).count();
    // `Token token=…`
    let name = ["token=\"", "token="].iter().find(|w| text[at..].starts_with(**w));
    credential(text, at + name.map_or(0, |w| w.len()), hits);
}

/// `Basic dXNlcjpwYXNz` anywhere: base64 of `user:password`.
fn basic(text: &str, at: usize, hits: &mut Vec<Hit>) {
    use base64::Engine as _;
    let is_part = |b: &u8| b.is_ascii_alphanumeric() || b"+/=_-".contains(b);
    let length = text.as_bytes()[at..].iter().take(2048).take_while(|b| is_part(b)).count();
    let value = &text[at..at + length];
    let digits = value.trim_end_matches('=');
    let decoded = base64::engine::general_purpose::STANDARD_NO_PAD.decode(digits);
    let pair = |d: Vec<u8>| d.contains(&b':') && d.iter().all(|b| !b.is_ascii_control());
    if length >= 8 && decoded.is_ok_and(pair) {
        hits.push(Hit::new(at, at + length, &RULES[0]));
    }
}

/// `response="…"`, `Signature=…` and their like in a header that has several parts.
fn parameters(text: &str, at: usize, hits: &mut Vec<Hit>) {
    let line = after(text, at, 1024);
    // The next header is looked at by itself.
    let line = &line[..line.find("uthorization:").unwrap_or(line.len())];
    let line = &line[..line.find(['\n', '\r']).unwrap_or(line.len())];
    for name in ["response=", "ignature=", "oauth_token=", "mac=", "oauth_signature="] {
        let Some(found) = line.find(name).map(|n| n + name.len()) else { continue };
        let start =
            found + line[found..].bytes().take(2).take_while(|b| b"\"\\".contains(b)).count();
        let length = line[start..].bytes().take_while(is_credential).count();
        if length >= 16 {
            hits.push(Hit::new(at + start, at + start + length, &RULES[0]));
        }
    }
}

/// The value of an `Authorization` entry of a structured header list.
pub fn authorization_value(text: &str, hits: &mut Vec<Hit>) {
    let at = SCHEMES.iter().find_map(|scheme| {
        let head = text.get(..scheme.len())?;
        head.eq_ignore_ascii_case(scheme).then_some(scheme.len())
    });
    credential(text, at.unwrap_or(0), hits);
}

fn credential(text: &str, start: usize, hits: &mut Vec<Hit>) {
    let bytes = text.as_bytes();
    let length =
        bytes[start.min(bytes.len())..].iter().take(8192).take_while(|b| is_credential(b)).count();
    let mut end = start + length;
    while end > start && b".:!*".contains(&bytes[end - 1]) {
        end -= 1;
    }
    let value = &text[start..end];
    if end - start >= 8
        && !value.starts_with('!')
        && !is_placeholder(value)
        && !is_reference(value)
        && !is_words(value)
        && is_mixed(value, 2.2)
        || end - start >= 16 && is_scrambled(value)
    {
        hits.push(Hit::new(start, end, &RULES[0]));
    }
}

/// Letters only, yet no words: base64 that happens to have no digit.
fn is_scrambled(value: &str) -> bool {
    // `ASAuthorizationAppleIDButton`; among random letters a word or two stand by chance.
    let named = split_words(value).filter(|word| word.len() >= 5 && is_words(word));
    let named = 2 * named.map(str::len).sum::<usize>() >= value.len();
    let code = value.starts_with('!') || is_member(value) || named && !is_jumbled(value);
    !is_placeholder(value)
        && !is_reference(value)
        && !code
        && !is_words(value)
        && super::entropy(value.as_bytes()) >= 3.0
}

/// Past `: `, `=`, `": "`, `', '` and their like.
fn past_separator(bytes: &[u8], end: usize) -> Option<usize> {
    let skip = |at: usize, what: &[u8], most: usize| {
        at + bytes[at..].iter().take(most).take_while(|b| what.contains(b)).count()
    };
    let at = skip(end, b"\"'`] ", 4);
    if !matches!(bytes.get(at)?, b':' | b'=' | b',') {
        return None;
    }
    let at = skip(at, b":=>,", 2);
    let at = skip(at, b" \t", 8);
    let prefix = usize::from(matches!(bytes.get(at..at + 2), Some([b'f' | b'b', b'"' | b'\''])));
    Some(skip(at + prefix, b"\"'`[", 2))
}

/// Cookies that everybody's sessions hang on.
#[rustfmt::skip]
pub const KNOWN: &[&str] = &[
    "asp.net_sessionid", "aspsessionid", "jsessionid", "phpsessid", "connect.sid", "_gitlab_session",
    "laravel_session", "grafana_session", "user_session", "_gh_sess", "csrftoken", "remember_token",
    "li_at", "__host-", "__secure-", ".aspnetcore.", "wordpress_logged_in", "remember_user_token",
    "cf_clearance", "_session_id", "datr", "sapisid", "auth_token",
];

/// After a known cookie's name: the value, however it is written.
pub fn known(text: &str, end: usize, hits: &mut Vec<Hit>) {
    let tail = after(text, end, 4096).as_bytes();
    let name = tail
        .iter()
        .take(40)
        .take_while(|b| b.is_ascii_alphanumeric() || b"_-.".contains(b))
        .count();
    let gap =
        |at: usize| tail[at..].iter().take(24).take_while(|b| b" \"'\\,:=\n".contains(b)).count();
    let mut at = name + gap(name);
    if tail[at..].starts_with(b"value") {
        at += 5 + gap(at + 5);
    }
    let gap = &tail[name..at];
    let assigned = gap.iter().any(|b| b",:=".contains(b));
    let length = tail[at..].iter().take_while(|b| is_credential(b) && !b"=".contains(b)).count();
    let length = length + tail[at + length..].iter().take(2).take_while(|b| **b == b'=').count();
    let value = &text[end + at..end + at + length];
    if assigned
        && length >= 16
        && !is_words(value)
        && !is_placeholder(value)
        && !is_reference(value)
        && is_mixed(value, 2.8)
    {
        hits.push(Hit::new(end + at, end + at + length, &RULES[1]));
    }
}

/// After `cookie`, at `end`: each pair's value.
pub fn cookie(text: &str, end: usize, hits: &mut Vec<Hit>) {
    if let Some(at) = past_separator(text.as_bytes(), end) {
        pairs(text, at, hits);
    }
    entries(text, end, hits);
}

/// `cookies={'NAME': 'VALUE'}`, `cookies.set('NAME', 'VALUE')`, `dict(NAME='VALUE')`: names and
/// values as code writes them, up to the bracket that closes.
fn entries(text: &str, end: usize, hits: &mut Vec<Hit>) {
    let tail = after(text, end, 1024);
    let Some(open) = tail.find(['{', '(']).filter(|n| *n <= 24) else { return };
    // `cookies({name: dict(…` goes no deeper.
    let deeper =
        tail[open..].match_indices(['(', '{']).nth(4).map_or(tail.len(), |(n, _)| open + n);
    let stop = tail[open..deeper].find(['\n', '}', ')']).map_or(deeper, |n| open + n);
    let body = &tail[open + 1..stop];
    let mut words = body.split(['"', '\'']);
    let mut before = words.next().unwrap_or("");
    let mut name = "";
    while let (Some(word), between) = (words.next(), words.next().unwrap_or("")) {
        // `sessionid='…'` and `value: '…'` have names without quotes.
        let own = before.trim_end_matches(['=', ':', ' ']);
        let own = own.rsplit(|c: char| !(c.is_ascii_alphanumeric() || "._-".contains(c))).next();
        let said =
            own.filter(|o| !o.is_empty() && before.ends_with(['=', ':', ' ']) && *o != "value");
        let named = said.filter(|o| *o != "name").unwrap_or(name);
        // A list of whole headers has none.
        let is_header = named.contains([';', '=']);
        if !named.is_empty() && !is_header && is_session(&named.to_ascii_lowercase(), word) {
            let start = word.as_ptr() as usize - text.as_ptr() as usize;
            hits.push(Hit::new(start, start + word.len(), &RULES[1]));
        }
        name = word;
        before = between;
    }
}

/// The pairs of a cookie header.
pub fn pairs(text: &str, from: usize, hits: &mut Vec<Hit>) {
    let bytes = text.as_bytes();
    let mut at = from;
    let limit = from + after(text, from, 8192).len();
    while at < limit {
        let is_name = |b: &u8| b.is_ascii_alphanumeric() || b"_-.$%[]".contains(b);
        let name_end = at + bytes[at..limit].iter().take_while(|b| is_name(b)).count();
        if name_end == at || bytes.get(name_end) != Some(&b'=') {
            return;
        }
        let name = text[at..name_end].to_ascii_lowercase();
        let is_end = |b: &u8| b.is_ascii_whitespace() || b";\"'`,\\<>]".contains(b);
        let start = name_end + 1;
        let end = start + bytes[start..limit].iter().take_while(|b| !is_end(b)).count();
        let value = &text[start..end];
        if !ATTRIBUTES.contains(&name.as_str()) && is_session(&name, value) {
            hits.push(Hit::new(start, end, &RULES[1]));
        }
        at = end + bytes[end..limit].iter().take(4).take_while(|b| b"; ".contains(b)).count();
        if at == end {
            return;
        }
    }
}

fn is_session(name: &str, value: &str) -> bool {
    const TELLING: &[&str] = &[
        "sess", "sid", "auth", "token", "jwt", "csrf", "xsrf", "login", "secret", "key", "remember",
    ];
    if is_placeholder(value) || is_reference(value) {
        return false;
    }
    let telling = TELLING.iter().any(|t| name.contains(t));
    match telling {
        true => value.len() >= 6 && !is_words(value),
        false => value.len() >= 16 && !is_words(value) && is_mixed(value, 3.0),
    }
}
