//! Passwords on command lines and in the files those commands read.

use super::values::{is_mixed, is_placeholder, is_reference};
use super::words::is_words;
use super::{Hit, Rule, after, before, before_escape, rule};
use crate::redact::policy::Class;

pub static RULES: [Rule; 3] = [
    rule("command.password", "PASSWORD", Class::Command),
    rule("file.netrc", "PASSWORD", Class::CredentialFile),
    rule("file.pgpass", "PASSWORD", Class::CredentialFile),
];

/// How the password follows its flag.
#[derive(Clone, Copy, PartialEq)]
enum Form {
    /// In the next word.
    Next,
    /// In the same word.
    Attached,
    /// `user:password` in the next word.
    Pair(u8),
    /// Cookies in the next word.
    Cookies,
}
use Form::{Attached, Cookies, Next, Pair};

/// A command, the flag that takes a password, and how.
const FLAGS: &[(&str, &str, Form)] = &[
    ("mysql", "-p", Attached),
    ("mysqldump", "-p", Attached),
    ("mysqladmin", "-p", Attached),
    ("mysqlimport", "-p", Attached),
    ("mariadb", "-p", Attached),
    ("mongo", "-p", Next),
    ("mongosh", "-p", Next),
    ("mongodump", "-p", Next),
    ("sshpass", "-p", Next),
    ("sshpass", "-p", Attached),
    ("redis-cli", "-a", Next),
    ("curl", "-u", Pair(b':')),
    ("curl", "--user", Pair(b':')),
    ("curl", "-U", Pair(b':')),
    ("curl", "--proxy-user", Pair(b':')),
    ("curl", "-b", Cookies),
    ("curl", "--cookie", Cookies),
    ("wget", "--http-password", Next),
    ("http", "-a", Pair(b':')),
    ("https", "-a", Pair(b':')),
    ("docker login", "-p", Next),
    ("podman login", "-p", Next),
    ("helm registry login", "-p", Next),
    ("az login", "-p", Next),
    ("oc login", "-p", Next),
    ("cf login", "-p", Next),
    ("sqlcmd", "-P", Next),
    ("sqlcmd", "-P", Attached),
    ("bcp", "-P", Next),
    ("ldapsearch", "-w", Next),
    ("ldapadd", "-w", Next),
    ("ldapmodify", "-w", Next),
    ("ldapwhoami", "-w", Next),
    ("smbclient", "-U", Pair(b'%')),
    ("rpcclient", "-U", Pair(b'%')),
    ("lftp", "-u", Pair(b',')),
    ("keytool", "-storepass", Next),
    ("keytool", "-keypass", Next),
    ("jarsigner", "-storepass", Next),
    ("plink", "-pw", Next),
    ("pscp", "-pw", Next),
    ("putty", "-pw", Next),
    ("xfreerdp", "/p:", Attached),
    ("influx", "-password", Next),
    ("clickhouse-client", "--password", Next),
    ("cqlsh", "-p", Next),
    ("zip", "-P", Next),
    ("unzip", "-P", Next),
    ("7z", "-p", Attached),
    ("ansible-vault", "--vault-password", Next),
    ("snmpwalk", "-A", Next),
    ("ipmitool", "-P", Next),
    ("impacket-psexec", "-p", Next),
    ("vault login", "", Next),
    ("htpasswd", "-b", Next),
    ("gh secret set", "--body", Next),
    ("gh secret set", "-b", Next),
];

/// Words of configuration files and SQL that a password follows.
const DIRECTIVES: [&str; 5] =
    ["requirepass ", "masterauth ", "bindpw ", "rootpw ", "identified by '"];

/// Every command name once, in the order of the scanner's keywords.
pub fn keywords() -> Vec<&'static str> {
    let mut names: Vec<_> = FLAGS.iter().map(|(command, ..)| *command).collect();
    names.dedup();
    names.extend(["pass:", "sudo -S", "net use", "-u "]);
    names.extend(DIRECTIVES);
    names
}

/// After the command `keyword`, which ends at `end`.
pub fn command(text: &str, keyword: &str, start: usize, end: usize, hits: &mut Vec<Hit>) {
    let bytes = text.as_bytes();
    let previous = start.checked_sub(1).map(|n| &bytes[n]);
    if previous.is_some_and(|b| b.is_ascii_alphanumeric() || b"_-.".contains(b)) {
        return;
    }
    match keyword {
        "pass:" => {
            // openssl's `-passin pass:…`
            let lead = before(text, start, 24).trim_end();
            if lead.ends_with("-passin")
                || lead.ends_with("-passout")
                || lead.ends_with("-pass")
                || lead.ends_with("-k")
            {
                word(text, end, word_end(bytes, end), hits);
            }
            return;
        }
        "sudo -S" => return piped(text, start, hits),
        "-u " => return user_pair(text, end, hits),
        _ if DIRECTIVES.contains(&keyword) => return word(text, end, word_end(bytes, end), hits),
        _ => {}
    }
    if bytes.get(end) != Some(&b' ') {
        return;
    }
    let line = bytes[end..].iter().take(600).position(|b| matches!(b, b'\n' | b'|' | b';'));
    let stop = line.map_or(end + after(text, end, 600).len(), |n| end + n);
    let mut words = Vec::new();
    let mut at = end;
    while at < stop {
        at += bytes[at..stop].iter().take_while(|b| b.is_ascii_whitespace()).count();
        let length = word_end(&bytes[..stop], at) - at;
        if length > 0 {
            words.push((at, at + length));
        }
        at += length.max(1);
    }
    if keyword == "net use" {
        return net_use(text, &words, hits);
    }
    for (_, flag, form) in FLAGS.iter().filter(|(c, ..)| *c == keyword) {
        for (index, (from, to)) in words.iter().enumerate() {
            let this = text.get(*from..*to).unwrap_or("");
            let next = words.get(index + 1).copied();
            match form {
                Attached
                    if this.len() > flag.len()
                        && this.starts_with(flag)
                        && !this.starts_with("--") =>
                {
                    word(text, from + flag.len(), *to, hits);
                }
                Next if this == *flag && keyword == "htpasswd" => {
                    // htpasswd -b FILE USER PASSWORD
                    if let Some((from, to)) = words.get(index + 3) {
                        word(text, *from, *to, hits);
                    }
                }
                Next if this == *flag => {
                    if let Some((from, to)) = next {
                        word(text, from, to, hits);
                    }
                }
                Cookies if this == *flag => {
                    if let Some((from, to)) = next {
                        let quote = usize::from(matches!(bytes[from], b'"' | b'\''));
                        if from + quote <= to {
                            super::headers::pairs(text, from + quote, hits);
                        }
                    }
                }
                Pair(separator) if this == *flag => {
                    if let Some((from, to)) = next {
                        pair(text, from, to, *separator, hits);
                    }
                }
                _ => {}
            }
        }
        if flag.is_empty()
            && let Some((from, to)) = words.first().filter(|(from, to)| to - from >= 16)
        {
            word(text, *from, *to, hits);
        }
    }
}

/// The end of a shell word that begins at `at`.
fn word_end(bytes: &[u8], at: usize) -> usize {
    let Some(first) = bytes.get(at) else { return at };
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
    let quote = bytes[from..to].first().copied().filter(|b| b"\"'`".contains(b));
    let from = from + usize::from(quote.is_some());
    // A quoted word ends with its quote; any other before one: `{"run": "mysql -pX"}`.
    let is_end = |b: &u8| quote.map_or(b"\"'`".contains(b), |quote| *b == quote);
    let mut to = bytes[from..to].iter().position(is_end).map_or(to, |n| from + n);
    while quote.is_none() && to > from && b");,".contains(&bytes[to - 1]) {
        to -= 1;
    }
    let to = from + before_escape(&bytes[from..to]);
    let Some(value) = text.get(from..to) else { return };
    if value.len() >= 4 && !value.starts_with('-') && !is_placeholder(value) && !is_reference(value)
    {
        // A variable, a path or a port is none.
        let plain = value.starts_with(['/', '~', '<'])
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

/// `echo PASSWORD | sudo -S`
fn piped(text: &str, start: usize, hits: &mut Vec<Hit>) {
    let window = before(text, start, 200);
    let line = window.rsplit('\n').next().unwrap_or("");
    let Some(echo) = line.rfind("echo ").map(|n| start - line.len() + n + 5) else { return };
    let Some(pipe) = text[echo..start].find('|') else { return };
    let said = text[echo..echo + pipe].trim_end();
    if !said.trim_matches(['"', '\'']).contains(' ') {
        word(text, echo, echo + said.len(), hits);
    }
}

/// `net use \\host\share PASSWORD /user:NAME`
fn net_use(text: &str, words: &[(usize, usize)], hits: &mut Vec<Hit>) {
    let share = words.iter().position(|(from, to)| text[*from..*to].starts_with("\\\\"));
    if let Some((from, to)) = share.and_then(|n| words.get(n + 1))
        && !text[*from..*to].starts_with(['/', '*'])
    {
        word(text, *from, *to, hits);
    }
}

/// `machine HOST login USER password VALUE`, on one line or several; `at` is after `machine `.
pub fn netrc(text: &str, at: usize, hits: &mut Vec<Hit>) {
    let window = after(text, at, 300);
    let mut words = window.split_ascii_whitespace();
    let mut seen_login = false;
    while let Some(word) = words.next() {
        match word {
            "machine" | "default" => return,
            "login" => seen_login = true,
            "password" if seen_login => {
                let Some(value) = words.next() else { return };
                let from = at + (value.as_ptr() as usize - window.as_ptr() as usize);
                let value = &value[..before_escape(value.as_bytes())];
                let value = value.split(['"', '\'', '`', '<', '>']).next().unwrap_or("");
                if value.len() >= 3 && !is_placeholder(value) && !is_reference(value) {
                    hits.push(Hit::new(from, from + value.len(), &RULES[1]));
                }
                return;
            }
            _ => {}
        }
    }
}

/// Ports and wildcards that a pgpass line has between its first colons.
pub const PGPASS: &[&str] = &[":5432:", ":5433:", ":6432:", ":26257:", ":*:"];

/// `host:port:database:user:password`; `at` is where the port's colon stands.
pub fn pgpass(text: &str, at: usize, hits: &mut Vec<Hit>) {
    let bytes = text.as_bytes();
    let is_field = |b: &u8| b.is_ascii_alphanumeric() || b"._-*".contains(b);
    let host = bytes[..at].iter().rev().take(100).take_while(|b| is_field(b)).count();
    let start = at - host;
    let line_begins = start == 0 || b"\n \t\"'+`<>(=".contains(&bytes[start - 1]);
    if host == 0 || !line_begins {
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
        hits.push(Hit::new(from, from + length, &RULES[2]));
    }
}
