//! Passwords and tokens in the authority of a URL: `scheme://user:password@host`.

use super::values::{is_placeholder, is_reference};
use super::words::is_words;
use super::{Hit, Rule, entropy, rule};
use crate::redact::policy::Class;

pub static RULES: [Rule; 1] = [rule("url.password", "PASSWORD", Class::Url)];

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
    let default = DEFAULTS.contains(&password) && user == password;
    if password.len() >= 3 && !default && !is_reference(password) && !is_placeholder(password) {
        hits.push(Hit::new(start, end, &RULES[0]));
    }
}

/// A token where a user name belongs: `https://<token>@host`.
fn is_token(user: &str) -> bool {
    user.len() >= 20 && !is_words(user) && !is_placeholder(user) && entropy(user.as_bytes()) >= 3.0
}
