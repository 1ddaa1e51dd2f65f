//! Secrets among the arguments of a call and the columns of an `INSERT`.

use super::names::{self, Strength};
use super::values::{self, Written};
use super::{Hit, Rule, after, rule};
use crate::redact::policy::Class;

pub static RULES: [Rule; 1] = [rule("call.argument", "SECRET", Class::Assignment)];

/// Calls and which of their arguments is the secret.
#[rustfmt::skip]
const CALLS: &[(&str, usize)] = &[
    ("jwt.sign(", 1), ("jwt.encode(", 1), ("jwt.decode(", 1), ("jwt.verify(", 1), ("hmac.new(", 0),
    ("createhmac(", 1), ("mysqli_connect(", 2), ("new mysqli(", 2), ("new pdo(", 2),
    ("pg_connect(", 2), ("drivermanager.getconnection(", 2), ("basic_auth(", 1), ("basicauth(", 1),
    ("networkcredential(", 1), (".login(", 1), (".auth(", 1), (".authenticate(", 1), ("hash_hmac(", 2),
    ("usernamepasswordtoken(", 1), ("awscredentials(", 1), ("staticcredentials(", 1),
    ("newstaticcredentials(", 1), ("newstaticcredentialsprovider(", 1), ("passwordauthentication(", 1),
    ("plainauth(", 2), ("simple_bind_s(", 1), (".bind(", 1), ("sp_addlogin ", 1), ("fernet(", 0),
    ("password.equals(", 0), ("token.equals(", 0), ("secret.equals(", 0), ("setbasicauth(", 1),
    ("createuser(", 1), ("create_user(", 2), ("create_superuser(", 2), ("usernamepasswordcredentials(", 1),
    ("convertto-securestring ", 0), ("convertto-securestring -string ", 0), ("bearer_auth(", 0), ("bearerauth(", 0),
];

/// What the scanner looks for.
pub fn keywords() -> impl Iterator<Item = &'static str> {
    CALLS.iter().map(|(name, _)| *name)
}

/// After the name of call `index`, at `at`.
pub fn call(index: usize, text: &str, at: usize, hits: &mut Vec<Hit>) {
    let Some((start, end)) = list(text, at).nth(CALLS[index].1) else { return };
    let written = Written { quoted: true, ..Written::default() };
    let value = &text[start..end];
    let sure = value.contains(' ') || (values::is_mixed(value, 2.0) || values::is_jumbled(value));
    if sure && values::is_secret(value, Strength::Password, written) {
        hits.push(Hit::new(start, end, &RULES[0]));
    }
}

/// How many brackets deep a list is read.
const DEPTH: usize = 6;

/// The literals of a comma-separated list, one for each element: what else stands in an element
/// is passed over, and an element without a literal is empty.
fn list(text: &str, at: usize) -> impl Iterator<Item = (usize, usize)> {
    let bytes = text.as_bytes();
    let stop = at + after(text, at, 2048).len();
    let mut i = at;
    let mut done = false;
    std::iter::from_fn(move || {
        let mut literal = (i, i);
        let mut depth = 0;
        while !done && i < stop {
            match bytes[i] {
                b'(' | b'[' | b'{' if depth == DEPTH => done = true,
                b'(' | b'[' | b'{' => depth += 1,
                b')' | b']' | b'}' | b';' | b'\n' if depth == 0 => done = true,
                b')' | b']' | b'}' => depth -= 1,
                b',' if depth == 0 => {
                    i += 1;
                    return Some(literal);
                }
                quote @ (b'"' | b'\'' | b'`') => {
                    let close = bytes[i + 1..stop].iter().position(|b| *b == quote)?;
                    literal = (i + 1, i + 1 + close);
                    i += close + 1;
                }
                _ => {}
            }
            i += 1;
            if done || i == stop {
                done = true;
                return Some(literal);
            }
        }
        None
    })
}

/// How many rows of an `INSERT` are read.
const ROWS: usize = 64;

/// After `insert into`: the values of the columns that name a secret.
pub fn insert(text: &str, at: usize, hits: &mut Vec<Hit>) {
    let head = after(text, at, 512);
    let Some(open) = head.find('(') else { return };
    let Some(close) = head[open..].find(')').map(|n| open + n) else { return };
    let strength = |column: &str| {
        names::strength(column).filter(|s| matches!(s, Strength::Password | Strength::Secret))
    };
    let secret: Vec<(usize, Strength)> = head[open + 1..close]
        .split(',')
        .enumerate()
        .filter_map(|(index, column)| Some((index, strength(column.trim())?)))
        .collect();
    let rest = &head[close + 1..];
    let values = rest.trim_start();
    if secret.is_empty() || !values.get(..6).is_some_and(|w| w.eq_ignore_ascii_case("values")) {
        return;
    }
    let mut i = at + close + 1 + (rest.len() - values.len()) + 6;
    for _ in 0..ROWS {
        let Some(open) = after(text, i, 64).find('(') else { return };
        let row: Vec<(usize, usize)> = list(text, i + open + 1).collect();
        for (index, strength) in &secret {
            let Some((start, end)) = row.get(*index).filter(|(a, b)| a < b) else { continue };
            let written = Written { quoted: true, ..Written::default() };
            if values::is_secret(&text[*start..*end], *strength, written) {
                hits.push(Hit::new(*start, *end, &RULES[0]));
            }
        }
        let Some((_, last)) = row.last() else { return };
        let Some(end) = after(text, *last, 256).find(')') else { return };
        i = last + end + 1;
        if !text[i..].starts_with(',') {
            return;
        }
    }
}
