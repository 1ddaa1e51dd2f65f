//! Passwords in sentences, in several languages.

use super::names::Strength;
use super::values::{self, Written};
use super::words::is_words;
use super::{Hit, Rule, after, before, rule};
use crate::redact::policy::Class;

pub static RULES: [Rule; 1] = [rule("prose.password", "PASSWORD", Class::Assignment)];

/// Words between a name and its value.
#[rustfmt::skip]
const BRIDGES: &[&str] = &[
    "is now: ", "is now ", "is: ", "is ", "was: ", "was ", "to: ", "to ", "will be ", "should be ",
    "has been set to ", "set to ", "changed to ", "lautet: ", "lautet ", "ist: ", "ist ", "es: ", "es ",
    "est: ", "est ", "é ", "=> ", "- ", "– ", "— ", "= ", "being ", "below: ", "again: ", "here: ", "(",
    "is generated for root@localhost: ", "is generated: root@localhost: ",
];

/// The length of what leads from a name to its value in a sentence: ` is `, ` for the admin: `,
/// ` (staging): `.
pub fn bridge(rest: &str) -> Option<usize> {
    if let Some(word) = BRIDGES.iter().filter(|w| rest.starts_with(**w)).max_by_key(|w| w.len()) {
        return Some(word.len());
    }
    let lead = after(rest, 0, 40);
    let end = [": ", " is ", " was ", ":\u{a0}"]
        .iter()
        .filter_map(|w| Some(lead.find(w)? + w.len()))
        .min()?;
    let said = &lead[..end - 2];
    let plain = said.bytes().all(|b| b.is_ascii_alphanumeric() || b" ()._@'/-".contains(&b));
    let begins = [
        "for ",
        "of ",
        "(",
        "on ",
        "provided",
        "used",
        "generated",
        "we ",
        "i ",
        "you ",
        "in ",
        "to ",
        "from ",
        "that ",
        "here",
        "there",
        "at ",
        "which ",
    ];
    (plain && begins.iter().any(|b| said.starts_with(b))).then_some(end)
}

/// `use X as the password`: the word before the name.
pub fn said_before(text: &str, name: usize, strength: Strength) -> Option<(usize, usize)> {
    matches!(strength, Strength::Password | Strength::Secret).then_some(())?;
    // `#[arg(default_value = "…")] password: String`
    if text[..name].ends_with("\")] ") {
        let lead = before(text, name - 4, 160);
        let (head, value) = lead.rsplit_once('"')?;
        let written = Written { quoted: true, ..Written::default() };
        let sound = head.contains("default") && values::is_secret(value, strength, written);
        return sound.then_some((name - 4 - value.len(), name - 4));
    }
    let lead = before(text, name, 64);
    let lead = [" as the ", " as your ", " as its ", " as my ", " as an ", " as a ", " as "]
        .iter()
        .find_map(|w| lead.strip_suffix(w))?;
    let start = lead.rfind(char::is_whitespace).map_or(0, |n| n + 1);
    literal(text, name - before(text, name, 64).len() + start, &lead[start..])
}

/// `credentials: admin / X`, `login/password: admin/X`: the second of two.
pub fn pair(text: &str, start: usize, end: usize) -> Option<(usize, usize)> {
    let (lead, name) = text.as_bytes().split_at(start);
    let both = ["username/", "user/", "login/", "user:", "email/"].iter().any(|word| {
        lead[lead.len().saturating_sub(word.len())..].eq_ignore_ascii_case(word.as_bytes())
    });
    let credentials = name[..end - start].first_chunk::<4>();
    (both || credentials.is_some_and(|n| n.eq_ignore_ascii_case(b"cred"))).then_some(())?;
    let tail = after(text, end, 120);
    let tail = tail.lines().next()?;
    let rest = tail.trim_start_matches(['*', '"', '`']);
    let rest = [" are ", ": ", " = ", "=", " is "].iter().find_map(|w| rest.strip_prefix(w))?;
    let user = rest.find(|c: char| !(c.is_ascii_alphanumeric() || "._@-`".contains(c)))?;
    let value = rest[user..].trim_start().strip_prefix(['/', ':'])?.trim_start();
    let value = value.split_whitespace().next()?;
    (user > 0).then_some(())?;
    literal(text, value.as_ptr() as usize - text.as_ptr() as usize, value)
}

/// A word that can be nothing but a password, without what the sentence puts around it.
fn literal(text: &str, at: usize, word: &str) -> Option<(usize, usize)> {
    let bare = word.trim_matches(|c: char| "\"'`*()[],;:<>".contains(c));
    let bare = bare.split(['"', '<', '`']).next().unwrap_or("").trim_end_matches(['.', '\\', ',']);
    let start = at + (bare.as_ptr() as usize).checked_sub(word.as_ptr() as usize)?;
    let written = Written { prose: true, ..Written::default() };
    let odd = (!is_words(bare) || values::is_numbered(bare))
        && (values::is_mixed(bare, 2.2) || values::is_jumbled(bare));
    (odd && values::is_secret(bare, Strength::Password, written) && text.is_char_boundary(start))
        .then_some((start, start + bare.len()))
}

/// `password` in languages whose word for it no other keyword covers.
#[rustfmt::skip]
pub const FOREIGN: &[&str] = &[
    "mot de passe", "contraseña", "пароль", "Пароль", "密码", "密碼", "口令", "パスワード", "비밀번호",
    "wachtwoord", "hasło", "lösenord", "adgangskode", "passord", "salasana", "heslo", "jelszó", "parolă",
    "parola", "şifre", "κωδικός", "סיסמה", "كلمة المرور", "clave secreta", "palavra-passe", "mật khẩu",
];

/// After a foreign word for a password.
pub fn foreign(text: &str, end: usize, hits: &mut Vec<Hit>) {
    let tail = after(text, end, 160);
    let rest = tail.trim_start_matches(['"', '\'', '`', '*', ')']);
    let rest = rest.strip_prefix(|c: char| c.is_whitespace()).unwrap_or(rest);
    let rest = match rest.strip_prefix([':', '=', '：', '→', 'は']) {
        Some(rest) => rest,
        None => match BRIDGES.iter().find_map(|w| rest.strip_prefix(w)) {
            Some(rest) => rest,
            None => return,
        },
    };
    let Some(word) = rest.split_whitespace().next() else { return };
    let word = word.split([',', ';', '<', '。', '，']).next().unwrap_or("");
    let at = word.as_ptr() as usize - text.as_ptr() as usize;
    if let Some((start, end)) = literal(text, at, word) {
        hits.push(Hit::new(start, end, &RULES[0]));
    }
}
