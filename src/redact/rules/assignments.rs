//! Values assigned to names: env files, shells, YAML, JSON, INI, code, flags, XML and prose.

use super::columns;
use super::names::{self, Strength};
use super::prose;
use super::values::{self, Written};
use super::{Hit, Rule, after, before, before_escape, rule};
use crate::redact::policy::Class;

/// The rules by what the name is called.
pub static RULES: [Rule; 4] = [
    rule("assignment.password", "PASSWORD", Class::Assignment),
    rule("assignment.token", "TOKEN", Class::Assignment),
    rule("assignment.key", "KEY", Class::Assignment),
    rule("assignment.secret", "SECRET", Class::Assignment),
];

/// How far a name reaches around its keyword.
const NAME: usize = 64;
/// How long a value is read.
const VALUE: usize = 4096;
/// How long a value without quotes is read.
const SHORT: usize = 1024;

fn rule_for(name: &str, strength: Strength) -> &'static Rule {
    let name = name.to_ascii_lowercase();
    match strength {
        Strength::Password => &RULES[0],
        _ if name.contains("token") => &RULES[1],
        _ if name.contains("key") => &RULES[2],
        _ => &RULES[3],
    }
}

/// Judges a value whose name is known from structure: an entry of a JSON object.
pub fn named(name: &str, value: &str, hits: &mut Vec<Hit>) {
    let Some(strength) = names::strength(name) else { return };
    let written = Written { quoted: true, ..Written::default() };
    let trimmed = value.trim();
    if values::repeats(name, trimmed) {
        return;
    }
    if values::is_secret(trimmed, strength, written) || is_docker_auth(name, trimmed) {
        let start = value.len() - value.trim_start().len();
        hits.push(Hit::new(start, start + trimmed.len(), rule_for(name, strength)));
    }
}

/// `"auth": "dXNlcjpwYXNz"`, as Docker and npm keep it: base64 of `user:password`.
fn is_docker_auth(name: &str, value: &str) -> bool {
    use base64::Engine as _;
    let name = name.trim_start_matches('_').to_ascii_lowercase();
    let decoded = base64::engine::general_purpose::STANDARD.decode(value);
    name == "auth"
        && value.len() >= 8
        && decoded.is_ok_and(|d| d.contains(&b':') && d.iter().all(|b| (b' '..0x7f).contains(b)))
}

/// The name around a keyword.
struct Name {
    start: usize,
    end: usize,
}

fn name_around(bytes: &[u8], keyword: usize, keyword_end: usize) -> Name {
    let is_name = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.');
    let left = bytes[keyword.saturating_sub(NAME)..keyword].iter().rev();
    let mut start = keyword - left.take_while(|b| is_name(b)).count();
    let right = bytes[keyword_end..].iter().take(NAME);
    let mut end = keyword_end + right.take_while(|b| is_name(b)).count();
    while start < end && b"-.".contains(&bytes[start]) {
        start += 1;
    }
    while end > start && b"-.".contains(&bytes[end - 1]) {
        end -= 1;
    }
    // `-Ddb.pass=…` and `-PrepoPassword=…` are flags with their name glued on.
    if start > 0 && bytes[start - 1] == b'-' && b"DP".contains(&bytes[start]) && start < keyword {
        start += 1;
    }
    Name { start, end }
}

/// What begins a value in XML that is taken as it is, up to `]]>`.
const CDATA: &str = "<![CDATA[";

/// Where a value begins and how it is written.
struct Slot {
    at: usize,
    quote: Option<u8>,
    written: Written,
    /// XML: the value ends at the next `<`.
    element: bool,
}

/// Looks at the name around a keyword and at what is assigned to it. `last` is the end of the
/// name looked at before, so that two keywords in one name count once.
pub fn around(
    text: &str,
    keyword: usize,
    keyword_end: usize,
    last: &mut usize,
    hits: &mut Vec<Hit>,
) {
    if keyword < *last {
        return;
    }
    let bytes = text.as_bytes();
    let name = name_around(bytes, keyword, keyword_end);
    *last = name.end.max(keyword_end);
    let Some(strength) = names::strength(said(text, &name)) else { return };
    if strength == Strength::Weak
        && let Some((start, end)) = auth_pair(text, &name)
    {
        hits.push(Hit::new(start, end, &RULES[0]));
        return;
    }
    if matches!(strength, Strength::Password | Strength::Secret) {
        for (start, end) in columns::below(text, name.start, name.end, strength) {
            hits.push(Hit::new(start, end, rule_for(&text[name.start..name.end], strength)));
        }
    }
    if let Some((start, end)) = prose::said_before(text, name.start, strength)
        .or_else(|| prose::pair(text, name.start, name.end))
    {
        hits.push(Hit::new(start, end, rule_for(&text[name.start..name.end], strength)));
        return;
    }
    // In an address, what is called a key is one.
    let asked = name.start > 0 && b"?&".contains(&bytes[name.start - 1]);
    let strength = match strength {
        Strength::Pass if before(text, name.start, 32).contains("login") => Strength::Password,
        Strength::Weak if asked && bytes.get(name.end) == Some(&b'=') => Strength::Secret,
        strength => strength,
    };
    if text[..name.start].ends_with("://") {
        // The account of an address
        return;
    }
    let Some(slot) = slot(text, &name) else { return };
    let again = &bytes[slot.at..];
    if again.starts_with(&bytes[name.start..name.end])
        && again.get(name.end - name.start) == bytes.get(name.end)
    {
        // `password=password=`
        return;
    }
    let Some((mut start, mut end, mut written)) = value(bytes, &slot) else { return };
    if written.shell && !written.quoted && strength != Strength::Password {
        // A password may hold what ends a command; a token does not.
        let stop = bytes[start..end].iter().position(|b| b"<>|;&(),[]{}".contains(b));
        end = stop.map_or(end, |n| start + n);
    }
    let Some(value) = text.get(start..end) else { return };
    let shown = &text[name.start..name.end];
    let next = bytes.get(end);
    if names::is_account(shown) {
        start += value.find(':').map_or(0, |n| n + 1);
        written.quoted = true;
    }
    if written.list && !names::ends_in_noun(shown) {
        return;
    }
    // `Token token=…`: the name is the second word.
    let said_again = value.split_once('=').is_some_and(|(name, rest)| {
        !rest.trim_matches('=').is_empty() && names::strength(name).is_some()
    });
    if (written.bare || written.prose) && said_again {
        return;
    }
    // In a connection string nothing is code, nor is it in `${PASSWORD:-…}`.
    written.quoted |=
        name.start > 0 && bytes[name.start - 1] == b';' && bytes.get(name.end) == Some(&b'=')
            || text[..name.start].ends_with("${");
    if written.shell && shown.bytes().any(|b| b.is_ascii_lowercase()) {
        // `password=other,` and `password=self.password` are arguments of a call.
        written.shell = written.flag
            || next != Some(&b',') && !values::is_member(value) && !values::is_chain(value);
    }
    if asked {
        end = bytes[start..end].iter().position(|b| b"#&".contains(b)).map_or(end, |n| start + n);
    }
    let Some(value) = text.get(start..end) else { return };
    let called = !written.quoted
        && (value.ends_with(['[', '(']) || !written.shell && matches!(next, Some(b'(' | b'[')));
    let repeated = !written.shell && values::repeats(shown, value);
    if !called
        && !repeated
        && (values::is_secret(value, strength, written) || is_docker_auth(shown, value))
    {
        hits.push(Hit::new(start, end, rule_for(shown, strength)));
    }
}

/// The password of `auth=("user", "password")` or `HTTPBasicAuth("user", "password")`.
fn auth_pair(text: &str, name: &Name) -> Option<(usize, usize)> {
    let own = &text[name.start..name.end];
    let last = own.as_bytes().last_chunk::<4>()?;
    last.eq_ignore_ascii_case(b"auth").then_some(())?;
    let list = after(text, name.end, 256);
    let inside = list.trim_start_matches([' ', '=', ':']).strip_prefix(['(', '['])?.trim_start();
    let quote = inside.chars().next().filter(|c| matches!(c, '"' | '\''))?;
    let (_, rest) = inside[1..].split_once(quote)?;
    let rest = rest.trim_start().strip_prefix(',')?.trim_start().strip_prefix(quote)?;
    let (password, _) = rest.split_once(quote)?;
    let start = rest.as_ptr() as usize - text.as_ptr() as usize;
    let written = Written { quoted: true, ..Written::default() };
    values::is_secret(password, Strength::Password, written)
        .then_some((start, start + password.len()))
}

/// The name with the word before it where the two are written apart: `API key`.
fn said<'a>(text: &'a str, name: &Name) -> &'a str {
    let own = &text[name.start..name.end];
    let lead = before(text, name.start, 16);
    let noun = own.eq_ignore_ascii_case("key") || own.eq_ignore_ascii_case("token");
    if !noun || !lead.ends_with(' ') {
        return own;
    }
    let word = lead[..lead.len() - 1].rsplit(|c: char| !c.is_ascii_alphabetic()).next();
    &text[name.start - 1 - word.map_or(0, str::len)..name.end]
}

fn skip(bytes: &[u8], at: usize, most: usize, what: &[u8]) -> usize {
    at + bytes[at.min(bytes.len())..].iter().take(most).take_while(|b| what.contains(b)).count()
}

/// Finds the separator after a name and the place where the value begins.
fn slot(text: &str, name: &Name) -> Option<Slot> {
    const QUOTES: &[u8] = b"\"'`";
    const BLANK: &[u8] = b" \t";
    let bytes = text.as_bytes();
    let before = name.start.checked_sub(1).map(|n| bytes[n]);
    let mut at = name.end;
    let quoted_name =
        matches!((before, bytes.get(at)), (Some(a), Some(b)) if a == *b && QUOTES.contains(b));
    // `<password>x</password>` and `<entry key="password">x</entry>`
    let tag = before == Some(b'<') && bytes.get(at) == Some(&b'>');
    let attribute = quoted_name && bytes.get(at + 1) == Some(&b'>');
    if tag || attribute {
        let at = at + 1 + usize::from(attribute);
        let verbatim = text[at..].starts_with(CDATA);
        let closes = verbatim
            || after(text, at, VALUE).find('<').is_some_and(|n| text[at + n..].starts_with("</"));
        let at = if verbatim { at + CDATA.len() } else { at };
        let slot = Slot { at, quote: None, written: Written::default(), element: true };
        return closes.then_some(slot);
    }
    // `--user and --password options` speaks of flags.
    let spoken = [" or --", " and --", "/--"].iter().any(|w| text[..name.start].ends_with(w));
    let flag = !spoken && text[..name.start].ends_with("--")
        || before == Some(b'-')
            && name.start.checked_sub(2).is_none_or(|n| bytes[n].is_ascii_whitespace());
    let closed = skip(bytes, at, 2, b"\"'`])*");
    let indexed = closed > at && bytes[at..closed].contains(&b']');
    at = closed + if bytes[closed..].starts_with(b"[]") { 2 } else { 0 };
    if let Some(at) = value_key(text, at, quoted_name) {
        return Some(open(bytes, at, Written::default()));
    }
    if let Some(length) = quoted_name.then(|| fallback(&text[closed..])).flatten() {
        let slot = open(bytes, closed + length, Written { list: true, ..Written::default() });
        return slot.quote.is_some().then_some(slot);
    }
    let spaced = skip(bytes, at, 40, BLANK);
    let shell = is_shell(text, name);
    let rest = &bytes[spaced..];
    // `${NAME:-x}` gives a value, `${NAME:+x}` and `${NAME:?x}` none.
    let expands = before == Some(b'{') && text[..name.start].ends_with("${");
    if expands && matches!(rest, [b':', b'+' | b'?', ..] | [b'+' | b'?' | b'}', ..]) {
        return None;
    }
    let (separator, mut written) = match rest {
        [b':', b'-' | b'=', ..] if expands => (2, Written::default()),
        [b'-', ..] if expands => (1, Written::default()),
        [b'=' | b'!', b'=', b'=', ..] => (3, Written::default()),
        [b'=', b'=' | b'>', ..] | [b':' | b'!' | b'?' | b'~', b'=', ..] => (2, Written::default()),
        // Arrows need a blank: `self.password->value` is code.
        [b'<', b'-', ..] | [b'-', b'>', ..] if spaced > at => (2, Written::default()),
        [0xe2, 0x86, 0x92, ..] => (3, Written { ends_line: true, ..Written::default() }),
        [0xef, 0xbc, 0x9a, ..] => (3, Written { prose: true, ..Written::default() }),
        // What to take where the environment has none
        [b'|', b'|', ..] | [b'?', b'?', ..] => (2, Written { list: true, ..Written::default() }),
        [b'=', ..] => (1, Written { shell: shell && spaced == at, ..Written::default() }),
        [b'?', b':', ..] | [b'!', b':', ..] => (2, Written::default()),
        [b':', b':', ..] => return None,
        [b':', ..] => (1, Written::default()),
        // `set("password", "…")` and `password("…")`, quoted or not at all.
        [b',', ..] if quoted_name || before == Some(b':') => {
            (1, Written { list: true, ..Written::default() })
        }
        [b'(' | b'{', ..]
            if !indexed && spaced == at && rest.get(1).is_some_and(|b| QUOTES.contains(b)) =>
        {
            (1, Written { list: true, ..Written::default() })
        }
        // The next cell of a table
        [b'|', b' ', ..] => (1, Written { bare: true, ..Written::default() }),
        [b'.', b'.', b'.', ..] => {
            (skip(rest, 0, 60, b". "), Written { bare: true, ..Written::default() })
        }
        _ if flag && spaced > at => (0, Written { shell: true, ..Written::default() }),
        // Dockerfiles and Windows
        _ if spaced > at && is_declared(text, name) => {
            (0, Written { shell: true, flag: true, ..Written::default() })
        }
        _ if spaced > at && !flag => match prose::bridge(&text[spaced..]) {
            Some(length) => (length, Written { prose: true, ..Written::default() }),
            None if is_setting(text, name) => (0, Written { prose: true, ..Written::default() }),
            None => (0, Written { bare: true, ..Written::default() }),
        },
        _ => return None,
    };
    written.shell |= flag;
    written.flag |= flag;
    let mut value = skip(bytes, spaced + separator, 40, BLANK);
    if matches!(rest.first(), Some(b':')) {
        // `password: str = "…"` declares a type first.
        let line = bytes[value..].iter().take(48).position(|b| matches!(b, b'\n' | b'"' | b'='));
        let equals = line
            .map(|n| value + n)
            .filter(|n| bytes[*n] == b'=' && bytes.get(n + 1) != Some(&b'='));
        let is_type = |b: &u8| b.is_ascii_alphanumeric() || b" _.:<>[]|&?,'".contains(b);
        if let Some(equals) =
            equals.filter(|n| bytes[*n - 1] == b' ' && bytes[value..*n].iter().all(is_type))
        {
            value = skip(bytes, equals + 1, 40, BLANK);
        } else if quoted_name {
            value = skip(bytes, value, 80, b" \t\r\n");
        }
    }
    if let Some(line) = next_line(bytes, value, rest.first() == Some(&b':')) {
        written.bare = !b"|>".contains(&bytes[value]);
        written.ends_line = true;
        value = line;
    }
    let slot = open(bytes, value, written);
    let doubled = bytes[value..].starts_with(b"\"\"");
    let same = slot.quote.is_some() && slot.quote == before && !doubled;
    if same && !quoted_name && value == spaced + separator {
        // `'Password:', next` ends a string; it does not begin one.
        return None;
    }
    // A list or a call needs quotes: `("password", user)` names a variable.
    let called = written.list || matches!(rest.first(), Some(b','));
    let bracket = matches!(rest.first(), Some(b'(')) && !written.prose;
    (slot.quote.is_some() || !called && !bracket).then_some(slot)
}

/// Past the number of a listed line that begins at `at`.
fn past_number(bytes: &[u8], at: usize) -> Option<usize> {
    let digits = bytes[at..].iter().take(6).take_while(|b| b.is_ascii_digit()).count();
    let rest = &bytes[at + digits..];
    let mark = ["→", "|", "\t", ":"].iter().find(|mark| rest.starts_with(mark.as_bytes()));
    mark.filter(|_| digits > 0).map(|mark| at + digits + mark.len())
}

/// `password x` on a line of its own, or after `login user`.
fn is_setting(text: &str, name: &Name) -> bool {
    let lead = before(text, name.start, 64);
    let line = lead.rsplit('\n').next().unwrap_or("");
    let own = text[name.start..name.end].to_ascii_lowercase();
    let alone = || {
        let rest = after(text, name.end, 96).lines().next().unwrap_or("");
        line.trim().is_empty() && rest.split_whitespace().count() == 1
    };
    let account = || ["login ", "user ", "username "].iter().any(|w| line.contains(w));
    let named = ["password", "passwd", "_pass"].iter().any(|w| own.ends_with(w));
    named && (account() || alone())
}

/// `"DB_PASSWORD", "value": …`, `variable "db_password" { default = … }` and their like: gives the
/// place after the colon.
fn value_key(text: &str, at: usize, quoted: bool) -> Option<usize> {
    const KEYS: &[&str] = &["value", "Value", "content", "default"];
    let bytes = text.as_bytes();
    if bytes[at..].starts_with(b"</key>") {
        let string = skip(bytes, at + 6, 80, b" \t\r\n");
        return bytes[string..].starts_with(b"<string>").then_some(string + 8);
    }
    let mut key = skip(bytes, at, 80, b" \t\r\n,;:{\"'+-");
    if let Some(past) = past_number(bytes, key) {
        key = skip(bytes, past, 80, b" \t\"'");
    }
    if quoted && bytes[at..key].contains(&b'{') && !KEYS.iter().any(|k| text[key..].starts_with(k))
    {
        // `type = string`, then `default = …`
        key += after(text, key, 160).find("default")?;
    }
    let rest = &text[key..];
    let start = key + KEYS.iter().find(|k| rest.starts_with(**k))?.len();
    let separator = skip(bytes, start, 6, b" \"'");
    matches!(bytes.get(separator)?, b':' | b'=').then(|| skip(bytes, separator + 1, 20, b" \t"))
}

/// What programs take where the environment lacks a name: `env::var("PASSWORD").unwrap_or(…)`.
#[rustfmt::skip]
const FALLBACKS: &[&str] = &[
    ".unwrap_or(", ".unwrap_or_else(|_| ", ".unwrap_or_else(|| ", ".unwrap_or_else(|_|", ".orElse(", ".getOrElse(",
    ".or_else(", ".unwrapOr(", ".valueOr(", ".value_or(", ".orDefault(", " or ", " or_else ", " { ", " {", ".GetOrDefault(",
];

/// The length of what leads from a name's quote and brackets to what is taken instead.
fn fallback(rest: &str) -> Option<usize> {
    let call = rest.trim_start_matches(')');
    let call = call.strip_prefix(".ok()").unwrap_or(call);
    let call = call.strip_prefix("\n").map_or(call, str::trim_start);
    let word = FALLBACKS.iter().find(|word| call.starts_with(**word))?;
    Some(rest.len() - call.len() + word.len())
}

const DECLARING: &[&str] =
    &["config set ", "configure set ", "git config ", "user-secrets set ", "rclone config "];

/// `ENV NAME value`, `setx NAME value`, `npm config set NAME value`.
fn is_declared(text: &str, name: &Name) -> bool {
    let lead = before(text, name.start, 64);
    ["ENV ", "setx ", "set -x ", "set -gx ", "set -Ux "].iter().any(|w| lead.ends_with(w))
        || lead
            .lines()
            .next_back()
            .is_some_and(|line| DECLARING.iter().any(|words| line.contains(words)))
}

/// Whether the name begins a shell-like assignment: at the start of a line, or exported.
fn is_shell(text: &str, name: &Name) -> bool {
    let line = before(text, name.start, 64);
    let begins = line.len() == name.start || line.contains('\n');
    let line = line.rsplit('\n').next().unwrap_or("");
    let lead = line.trim_matches(|c: char| c.is_whitespace() || "+-|>#$%".contains(c));
    let leads =
        ["", "export", "set", "setx", "ENV", "ARG", "-e", "env", "declare -x", "local", "e"];
    begins && leads.contains(&lead)
        || line.ends_with("$env:")
        || line.ends_with(" -e ")
        || line.ends_with("export ")
        || line.ends_with("--env ")
        // `A=1 PASSWORD=x command`
        || begins && line.ends_with(' ') && line.split_whitespace().all(|w| w.contains('='))
}

/// What may stand around a literal: types, conversions, tags, Markdown.
#[rustfmt::skip]
const WRAPPERS: &[&[u8]] = &[
    b"String::from(", b"Some(", b"[]byte(", b"SecretStr(", b"Secret::new(", b"new String(",
    b"(ConvertTo-SecureString ", b"ConvertTo-SecureString ", b"NSString(", b"!!str ", b"!unsafe ",
    b"!!binary ", b"** ", b"**", b"\"\"", b"''", b"Buffer.from(", b"std::string(", b"String(", b"str(",
    b"bytes(", b"Bearer ",
];

fn open(bytes: &[u8], at: usize, mut written: Written) -> Slot {
    let wrapper = WRAPPERS.iter().find(|w| bytes[at..].starts_with(w)).map_or(0, |w| w.len());
    // Two quotes are an empty value, unless a third begins a long one.
    let doubled = wrapper == 2 && bytes[at] != b'*';
    if doubled && bytes.get(at + 2).is_some_and(u8::is_ascii_alphanumeric) {
        // A quote inside a CSV field
        written.quoted = true;
        return Slot { at: at + 2, quote: Some(bytes[at]), written, element: false };
    }
    let empty = doubled && bytes.get(at + 2) != bytes.get(at);
    let mut at = if empty { at } else { at + wrapper };
    if matches!(bytes.get(at), Some(b'(' | b'[')) {
        let inside = skip(bytes, at + 1, 40, b" \t\r\n+>");
        let inside = past_number(bytes, inside).map_or(inside, |n| skip(bytes, n, 40, b" \t"));
        at = if matches!(bytes.get(inside), Some(b'"' | b'\'')) { inside } else { at };
    }
    let prefix = match bytes.get(at..at + 2) {
        Some([b'b' | b'r' | b'f' | b'u' | b'@' | b'L', b'"' | b'\'']) => 1,
        _ => 0,
    };
    let quote = bytes.get(at + prefix).copied().filter(|b| b"\"'`".contains(b));
    written.quoted = quote.is_some();
    match quote {
        Some(_) => Slot { at: at + prefix + 1, quote, written, element: false },
        None => Slot { at, quote, written, element: false },
    }
}

/// The start of a value that stands alone on the line after `name:`, or in a YAML block.
fn next_line(bytes: &[u8], at: usize, colon: bool) -> Option<usize> {
    let at = skip(bytes, at, 2, b"|>-*");
    let at = skip(bytes, at, 1, b"\r");
    (colon && bytes.get(at) == Some(&b'\n')).then_some(())?;
    let start = skip(bytes, at, 40, b" \t\r\n`");
    let word = bytes[start..].iter().take(VALUE).take_while(|b| b.is_ascii_graphic()).count();
    matches!(bytes.get(start + word), None | Some(b'\r' | b'\n')).then_some(start)
}

/// How far an unquoted value may go: long where it is nothing but base64.
fn reach(window: &[u8]) -> usize {
    let is_base64 = |b: &u8| b.is_ascii_alphanumeric() || b"+/-_".contains(b);
    let long = window.len() > SHORT && window[..SHORT].iter().all(is_base64);
    if long { 4 * VALUE } else { SHORT }
}

/// The value in a slot: its span and how it turned out to be written.
fn value(bytes: &[u8], slot: &Slot) -> Option<(usize, usize, Written)> {
    let window = bytes.get(slot.at..)?;
    let reach = if slot.quote.is_some() || slot.element { VALUE } else { reach(window) };
    let window = &window[..window.len().min(reach)];
    let mut written = slot.written;
    let length = if slot.element {
        written.quoted = true;
        match bytes[..slot.at].ends_with(CDATA.as_bytes()) {
            true => window.windows(3).position(|end| end == b"]]>")?,
            false => window.iter().position(|b| *b == b'<')?,
        }
    } else if let Some(quote) = slot.quote {
        let mut escaped = false;
        window.iter().position(|b| {
            let end = !escaped && (*b == quote || *b == b'\n');
            escaped = !escaped && *b == b'\\';
            end
        })?
    } else {
        let stops: &[u8] = match written.shell {
            true => b"\"'`\x00",
            false => b"\"'`,;)}]&<>|\x00",
        };
        let is_end = |b: &u8| b.is_ascii_whitespace() || b.is_ascii_control() || stops.contains(b);
        let length = window.iter().position(is_end).unwrap_or(window.len());
        let mut length = before_escape(&window[..length]);
        if written.shell {
            let tail = &window[..length];
            length -= tail.iter().rev().take_while(|b| b";,".contains(b)).count();
        } else {
            let tail = &window[..length];
            length -= tail.iter().rev().take_while(|b| b".:!?\\".contains(b)).count();
            // Markdown's emphasis: `password **must** be`
            if slot.at >= 2 && bytes[slot.at - 2..].starts_with(b"**") {
                length -= usize::from(window[..length].ends_with(b"**")) * 2;
            }
        }
        let mut rest = window[length..].iter().skip_while(|b| b" \t\r".contains(b));
        written.ends_line = matches!(rest.next(), None | Some(b'\n' | b'#'));
        length
    };
    // A quoted value that never closes within reach is no value.
    (length > 0 && length < reach).then_some((slot.at, slot.at + length, written))
}
