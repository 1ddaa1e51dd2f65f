//! Passwords on command lines.

mod flags;

use flags::{FLAGS, Form};

use super::values::{is_jumbled, is_mixed, is_path, is_placeholder, is_reference};
use super::words::is_words;
use super::{Hit, Rule, after, before, before_escape, rule};
use crate::redact::policy::Class;

pub static RULES: [Rule; 1] = [rule("command.password", "PASSWORD", Class::Command)];

/// Words of configuration files and SQL that a password follows.
const DIRECTIVES: [&str; 8] = [
    "<pass encoding=\"base64\">",
    "requirepass ",
    "masterauth ",
    "bindpw ",
    "rootpw ",
    "identified by '",
    "password by '",
    "ppp chap password 0 ",
];

/// Commands that read a password from a pipe or a here-string.
const READERS: [&str; 10] = [
    "vercel env add",
    "sudo -S",
    "--password-stdin",
    "--with-token",
    "gh secret set",
    "passwd --stdin",
    "chpasswd",
    "cryptsetup",
    "vault login -",
    "| passwd",
];

/// Every command name once, in the order of the scanner's keywords.
pub fn keywords() -> Vec<&'static str> {
    let mut names: Vec<_> = FLAGS.iter().map(|(command, ..)| *command).collect();
    names.dedup();
    names.extend([
        "pass:",
        "net use",
        "-u ",
        "<(echo ",
        "send \"",
        "send -- \"",
        "auth ",
        "pass ",
        "user ",
    ]);
    names.extend(READERS);
    names.extend(DIRECTIVES);
    names.sort_unstable();
    names.dedup();
    names
}

/// After the command `keyword`, which ends at `end`.
pub fn command(text: &str, keyword: &str, start: usize, end: usize, hits: &mut Vec<Hit>) {
    let bytes = text.as_bytes();
    let previous = start.checked_sub(1).map(|n| &bytes[n]);
    // A diff may have put its sign there.
    let marked = previous == Some(&b'-')
        && matches!(start.checked_sub(2).map(|n| bytes[n]), None | Some(b'\n'));
    if !marked && previous.is_some_and(|b| b.is_ascii_alphanumeric() || b"_-.".contains(b)) {
        return;
    }
    if READERS.contains(&keyword) {
        piped(text, start, end, hits);
    }
    match keyword {
        "pass:" => {
            // openssl's `-passin pass:…`
            let lead = before(text, start, 24).trim_end_matches([' ', '"', '\'']);
            if ["-passin", "-passout", "-pass", "-k"].iter().any(|flag| lead.ends_with(flag)) {
                word(text, end, word_end(bytes, end), hits);
            }
            return;
        }
        "-u " => return user_pair(text, end, hits),
        "<(echo " => {
            let lead = before(text, start, 24).to_ascii_lowercase();
            if ["pass", "key", "token", "secret"].iter().any(|w| lead.contains(w)) {
                let close = after(text, end, 256).find(')').unwrap_or(0);
                word(text, end, end + close, hits);
            }
            return;
        }
        "send \"" | "send -- \"" => return expected(text, start, end, hits),
        "user " => return ftp_login(text, start, end, hits),
        "auth " | "pass " => return protocol(text, start, end, hits),
        _ if DIRECTIVES.contains(&keyword) => {
            let close = match keyword.as_bytes().last() {
                Some(b'\'') => after(text, end, 256).find('\'').map(|n| end + n),
                Some(b'>') => after(text, end, 256).find('<').map(|n| end + n),
                _ => None,
            };
            return word(text, end, close.unwrap_or_else(|| word_end(bytes, end)), hits);
        }
        _ => {}
    }
    if !keyword.ends_with(' ') && bytes.get(end) != Some(&b' ') {
        return;
    }
    let words = words(text, end, keyword.split(' ').next().unwrap_or(""));
    if keyword == "net use" {
        return net_use(text, &words, hits);
    }
    for (_, flag, form) in FLAGS.iter().filter(|(command, ..)| *command == keyword) {
        flagged(text, &words, flag, *form, hits);
    }
}

/// The words of a command, up to the end of its line or the next command, also the same one.
fn words(text: &str, at: usize, name: &str) -> Vec<(usize, usize)> {
    let bytes = text.as_bytes();
    let mut words = Vec::new();
    let stop = at + after(text, at, 600).len();
    let mut at = at;
    while at < stop {
        at += bytes[at..stop].iter().take_while(|b| matches!(b, b' ' | b'\t')).count();
        // A line that ends in a backslash goes on.
        if bytes[at..stop].starts_with(b"\\\n") {
            at += 2;
            continue;
        }
        if at == stop || matches!(bytes[at], b'\n' | b'\r' | b'|' | b';') {
            break;
        }
        let length = word_end(&bytes[..stop], at) - at;
        if text.get(at..at + length) == Some(name) {
            break;
        }
        if length > 0 {
            words.push((at, at + length));
        }
        at += length.max(1);
    }
    words
}

/// Looks for one flag among the words of a command.
fn flagged(text: &str, words: &[(usize, usize)], flag: &str, form: Form, hits: &mut Vec<Hit>) {
    let said = |(from, to): (usize, usize)| text.get(from..to).unwrap_or("");
    let is_flag = |word: &(usize, usize)| said(*word).starts_with('-');
    let mut places = words.iter().copied().filter(|word| !is_flag(word));
    match form {
        Form::Place(place) => {
            let found = places.nth(place);
            if let Some((from, to)) = found.filter(|found| is_generated(said(*found))) {
                word(text, from, to, hits);
            }
            return;
        }
        Form::Last => {
            let is_on =
                |w: &(usize, usize)| is_flag(w) && said(*w).contains(flag.trim_start_matches('-'));
            let given: Vec<_> = places.collect();
            if let Some((from, to)) =
                given.last().filter(|_| words.iter().any(is_on) && given.len() > 1)
            {
                word(text, *from, *to, hits);
            }
            return;
        }
        Form::Slash => {
            if let Some((from, to)) = places.next()
                && let Some(slash) = said((from, to)).find('/')
            {
                let from = from + slash + 1;
                let sign = said((from, to)).find('@').unwrap_or(to - from);
                word(text, from, from + sign, hits);
            }
            return;
        }
        Form::Target => {
            let target = places.find(|w| said(*w).contains('@'));
            if let Some((from, _)) = target
                && let Some((head, _)) = said(target.unwrap_or_default()).rsplit_once('@')
            {
                pair(text, from, from + head.len(), b':', hits);
            }
            return;
        }
        _ => {}
    }
    for (index, (from, to)) in words.iter().enumerate() {
        let this = said((*from, *to));
        let next = words.get(index + 1).copied();
        match form {
            Form::Attached
                if this.len() > flag.len() && this.starts_with(flag) && !this.starts_with("--") =>
            {
                word(text, from + flag.len(), *to, hits);
            }
            Form::Pair(separator)
                if this.starts_with(flag) && !flag.starts_with("--") && this.len() > flag.len() =>
            {
                pair(text, from + flag.len(), *to, separator, hits);
            }
            // `curl -su user:password`
            Form::Pair(separator)
                if this.len() < 6
                    && this.len() > 2
                    && this.starts_with('-')
                    && flag.len() == 2
                    && this.ends_with(&flag[1..])
                    && this[1..].bytes().all(|b| b.is_ascii_alphabetic()) =>
            {
                next.into_iter().for_each(|(from, to)| pair(text, from, to, separator, hits));
            }
            Form::Cluster
                if !this.starts_with("--")
                    && this.starts_with('-')
                    && this.ends_with(&flag[1..]) =>
            {
                next.into_iter().for_each(|(from, to)| word(text, from, to, hits));
            }
            _ if this != flag => {}
            Form::Next => next.into_iter().for_each(|(from, to)| word(text, from, to, hits)),
            Form::Pair(separator) => {
                next.into_iter().for_each(|(from, to)| pair(text, from, to, separator, hits));
            }
            Form::Cookies => {
                if let Some((from, to)) = next {
                    let quote = usize::from(matches!(text.as_bytes()[from], b'"' | b'\''));
                    if from + quote <= to {
                        super::headers::pairs(text, from + quote, hits);
                    }
                }
            }
            _ => {}
        }
    }
}

/// Whether a word of a command can only be a password.
fn is_generated(word: &str) -> bool {
    let bare = word.trim_matches(['"', '\'']);
    bare.len() >= 8
        && !is_words(bare)
        && (is_mixed(bare, 2.2) || is_jumbled(bare))
        && !bare.contains("://")
}

/// `expect "password:"`, then `send "…\r"`.
fn expected(text: &str, start: usize, end: usize, hits: &mut Vec<Hit>) {
    let lead = before(text, start, 160).to_ascii_lowercase();
    let Some(close) = after(text, end, 256).find('"') else { return };
    if lead.contains("assword") || lead.contains("assphrase") || lead.contains("asscode") {
        let escape = before_escape(&text.as_bytes()[end..end + close]);
        word(text, end, end + escape.min(close), hits);
    }
}

/// `user NAME PASSWORD` on a line of what is fed to `ftp`.
fn ftp_login(text: &str, start: usize, end: usize, hits: &mut Vec<Hit>) {
    let line = before(text, start, 16).rsplit('\n').next().unwrap_or("");
    if !line.trim().is_empty() {
        return;
    }
    let Some(said) = after(text, end, 160).lines().next() else { return };
    let mut words = said.split_ascii_whitespace();
    let (Some(_), Some(password), None) = (words.next(), words.next(), words.next()) else {
        return;
    };
    let fed = || before(text, start, 240).to_ascii_lowercase();
    if password.len() >= 4 && fed().contains("ftp") {
        let from = password.as_ptr() as usize - text.as_ptr() as usize;
        word(text, from, from + password.len(), hits);
    }
}

/// `AUTH …` and `PASS …`, as Redis, SMTP, FTP and POP say it on a line of its own.
fn protocol(text: &str, start: usize, end: usize, hits: &mut Vec<Hit>) {
    let lead = before(text, start, 6);
    let begins = lead.is_empty() || lead.ends_with('\n') || lead.ends_with("> ");
    let begins = begins || lead.eq_ignore_ascii_case("quote ");
    if !begins || !text[start..end].bytes().all(|b| b.is_ascii_uppercase() || b == b' ') {
        return;
    }
    let Some(line) = after(text, end, 128).lines().next() else { return };
    let said = line.trim_end();
    if is_generated(said) && !said.contains([' ', '/', ':', '(']) {
        word(text, end, end + said.len(), hits);
    }
}

/// The end of a shell word that begins at `at`.
fn word_end(bytes: &[u8], at: usize) -> usize {
    let Some(first) = bytes.get(at) else { return at };
    // Doubled quotes: the command stands in a CSV field.
    if bytes[at..].starts_with(b"\"\"") && bytes.get(at + 2).is_some_and(u8::is_ascii_alphanumeric)
    {
        let close = bytes[at + 2..].iter().take(512).position(|b| *b == b'"' || *b == b'\n');
        return close.map_or(at + 2, |n| at + n + 4).min(bytes.len());
    }
    if matches!(first, b'"' | b'\'') {
        let close = bytes[at + 1..].iter().take(512).position(|b| b == first || *b == b'\n');
        return close.map_or(at + 1, |n| at + n + 2);
    }
    let mut quote = None;
    let end = bytes[at..].iter().take(512).position(|b| {
        match quote {
            Some(q) if q == *b => quote = None,
            None if matches!(b, b'"' | b'\'') => quote = Some(*b),
            _ => {}
        }
        b.is_ascii_whitespace() && quote.is_none() || b.is_ascii_control()
    });
    end.map_or(bytes.len().min(at + 512), |n| at + n)
}

/// Redacts one word, without its quotes.
fn word(text: &str, from: usize, to: usize, hits: &mut Vec<Hit>) {
    let bytes = text.as_bytes();
    let from = from + bytes[from..to].iter().take_while(|b| **b == b'=').count();
    let doubled = bytes[from..to].starts_with(b"\"\"") && to - from > 4;
    let from = from + usize::from(doubled);
    let quote = bytes[from..to].first().copied().filter(|b| b"\"'`".contains(b));
    let from = from + usize::from(quote.is_some());
    // A quoted word ends with its quote; any other before one: `{"run": "mysql -pX"}`.
    let is_end = |b: &u8| quote.map_or(b"\"'`".contains(b), |quote| *b == quote);
    let mut to = bytes[from..to].iter().position(is_end).map_or(to, |n| from + n);
    while quote.is_none() && to > from && b");,".contains(&bytes[to - 1]) {
        to -= 1;
    }
    let to = from + before_escape(bytes[from..to].trim_ascii_end());
    let Some(value) = text.get(from..to) else { return };
    if value.len() >= 4 && !value.starts_with('-') && !is_placeholder(value) && !is_reference(value)
    {
        // A variable, a path or a port is none.
        let plain = value.starts_with(['~', '<'])
            || value.starts_with('/') && (is_path(value) || value.matches('/').count() > 2)
            || value.bytes().all(|b| b.is_ascii_digit()) && value.len() < 6;
        if !plain {
            hits.push(Hit::new(from, to, &RULES[0]));
        }
    }
}

/// `-u user:password` whose command stands on another line.
fn user_pair(text: &str, at: usize, hits: &mut Vec<Hit>) {
    let end = word_end(text.as_bytes(), at);
    let Some((_, password)) = text.get(at..end).and_then(|w| w.split_once(':')) else { return };
    if password.len() >= 12 && is_mixed(password, 3.0) && !is_words(password) {
        pair(text, at, end, b':', hits);
    }
}

fn pair(text: &str, from: usize, to: usize, separator: u8, hits: &mut Vec<Hit>) {
    let found = text.as_bytes()[from..to].iter().position(|b| *b == separator);
    if let Some(at) = found {
        word(text, from + at + 1, to, hits);
    }
}

/// `echo PASSWORD | sudo -S`, `sudo -S <<< PASSWORD`, `echo user:PASSWORD | chpasswd`.
fn piped(text: &str, start: usize, end: usize, hits: &mut Vec<Hit>) {
    let tail = after(text, end, 160);
    let tail = &tail[..tail.find('\n').unwrap_or(tail.len())];
    if let Some(here) = tail.find("<<<") {
        let from = end + here + 3;
        let from = from + usize::from(text[from..].starts_with(' '));
        return word(text, from, word_end(text.as_bytes(), from), hits);
    }
    let window = before(text, start + usize::from(text[start..].starts_with('|')), 200);
    let line = window.rsplit('\n').next().unwrap_or("");
    let line_at = start + usize::from(text[start..].starts_with('|')) - line.len();
    let Some(echo) = line.rfind("echo ").map(|n| n + 5) else { return };
    let Some(pipe) = line[echo..].find('|').map(|n| echo + n) else { return };
    let mut said = line[echo..pipe].trim();
    while let Some(rest) = ["-n ", "-e ", "-ne ", "-en "].iter().find_map(|f| said.strip_prefix(f))
    {
        said = rest.trim_start();
    }
    if said.trim_matches(['"', '\'']).contains(' ') {
        return;
    }
    let from = line_at + (said.as_ptr() as usize - line.as_ptr() as usize);
    match text[start..end].ends_with("chpasswd") {
        true => pair(text, from, from + said.len(), b':', hits),
        false => word(text, from, from + said.len(), hits),
    }
}

/// `net use \\host\share PASSWORD /user:NAME`
fn net_use(text: &str, words: &[(usize, usize)], hits: &mut Vec<Hit>) {
    let share = words.iter().position(|(from, to)| text[*from..*to].starts_with("\\\\"));
    let password = share.and_then(|n| {
        words[n + 1..].iter().find(|(from, to)| !text[*from..*to].starts_with(['/', '*']))
    });
    if let Some((from, to)) = password {
        word(text, *from, *to, hits);
    }
}
