//! Whether a value that stands where a secret would stand is one.

use super::entropy;
use super::names::Strength;
use super::words::{is_words, split_words};

/// Words of which placeholders are made: a value of nothing else is none's secret.
#[rustfmt::skip]
const FILLER: &[&str] = &[
    "a", "abc", "access", "account", "add", "admin", "an", "and", "any", "api", "apikey", "app",
    "auth", "bar", "basic", "baz", "bearer", "change", "changeme", "changeit", "client", "code",
    "config", "credential", "credentials", "default", "demo", "dev", "dummy", "empty", "enter",
    "env", "example", "fake", "field", "fill", "foo", "foobar", "from", "generate", "generated",
    "github", "goes", "here", "hidden", "hook", "id", "in", "insert", "invalid", "is", "it", "json",
    "jwt", "key", "keys", "live", "local", "login", "me", "missing", "mock", "my", "n", "name",
    "new", "no", "none", "not", "null", "of", "old", "openai", "optional", "or", "pass", "passwd",
    "password", "paste", "personal", "placeholder", "please", "private", "prod", "project", "pwd",
    "real", "redacted", "removed", "replace", "replaceme", "required", "sample", "secret",
    "secrets", "secure", "service", "session", "set", "shared", "some", "something", "string",
    "super", "supersecret", "tbd", "temp", "test", "testing", "text", "the", "this", "todo",
    "token", "tokens", "type", "undefined", "unknown", "unset", "use", "user", "username", "value",
    "var", "variable", "webhook", "with", "x", "xx", "xxx", "xxxx", "xxxxx", "xxxxxx", "y", "you",
    "your", "yours",
];

/// Words that follow `password:` in code, schemas and prose.
#[rustfmt::skip]
const DESCRIPTIONS: &[&str] = &[
    "array", "argument", "attempt", "authentication", "been", "blank", "boolean", "bool", "box",
    "bytes", "can", "cannot", "changed", "char", "column", "confirmation", "correct", "does",
    "encrypted", "error", "expired", "expires", "failed", "failure", "false", "file", "for", "form",
    "function", "has", "hash", "hashed", "hint", "incorrect", "input", "int", "integer", "label",
    "length", "long", "manager", "match", "matches", "minimum", "must", "nil", "number", "object",
    "only", "option", "options", "flag", "flags", "arguments", "may", "are", "is", "and", "or", "with", "parameter", "policy", "prompt", "property", "protected", "reset", "return",
    "rotated", "rotation", "schema", "short", "should", "str", "strength", "successfully", "that",
    "to", "too", "true", "updated", "url", "valid", "validation", "varchar", "was", "weak", "when",
    "will", "wrong",
];

/// How a value is written.
#[derive(Clone, Copy, Default)]
pub struct Written {
    /// Between quotes.
    pub quoted: bool,
    /// `NAME=value` on a line of its own, an exported variable or a command-line flag.
    pub shell: bool,
    /// A command-line flag.
    pub flag: bool,
    /// The last thing on its line.
    pub ends_line: bool,
    /// After `is`, `was` or `to` in a sentence.
    pub prose: bool,
    /// The next element of a list or call.
    pub list: bool,
    /// After the name with nothing but a blank or a table's line between.
    pub bare: bool,
}

/// Whether `value`, assigned to a name of this strength, is a secret.
pub fn is_secret(value: &str, strength: Strength, written: Written) -> bool {
    let least = match strength {
        Strength::Password => 4,
        Strength::Pass => 6,
        Strength::Secret => 8,
        Strength::Weak => 16,
    };
    let spaced = value.contains(|c: char| c.is_whitespace());
    let code =
        value.contains(['(', ')', ',', ';', '[', ']', '{', '}', '"', '\'', '`', '<', '>', '|']);
    if (spaced || code) && strength != Strength::Password
        || value.starts_with([',', ')', ']', '}', ';', ' '])
        // reStructuredText: `:type password: :py:data:`
        || value.starts_with(':') && !written.quoted && !written.shell
        || value.ends_with("/tcp")
        || value.ends_with("/udp")
    {
        return false;
    }
    if !written.quoted && is_number(value) {
        let alone =
            written.ends_line && value.len() >= 6 && value.bytes().all(|b| b.is_ascii_digit());
        return strength == Strength::Password && value.len() >= 4 && (written.shell || alone);
    }
    if value.len() < least || is_placeholder(value) || is_reference(value) {
        return false;
    }
    if is_checksum(value) || is_path(value) || is_file_name(value) || is_date(value) {
        return false;
    }
    if !written.quoted && !written.shell && is_code(value) {
        return false;
    }
    if written.bare {
        let file = value.rsplit_once('.').is_some_and(|(_, end)| {
            (1..=4).contains(&end.len()) && end.bytes().all(|b| b.is_ascii_lowercase())
        });
        if file && !written.quoted {
            return false;
        }
        let digest = is_hex(value) && value.len() >= 16 && is_random(value) || is_uuid(value);
        let random = !is_words(value) && (digest || is_scrambled(value));
        let quoted = written.quoted && is_password(value, Written { prose: true, ..written });
        return match strength {
            Strength::Weak | Strength::Pass => false,
            Strength::Password if quoted => true,
            Strength::Secret if written.quoted && digest => true,
            _ => value.len() >= 12 && random,
        };
    }
    match strength {
        Strength::Password => is_password(value, written),
        Strength::Pass => !is_words(value) && is_mixed(value, 2.0) && is_password(value, written),
        Strength::Secret => {
            !is_words(value) && is_random(value) || is_uuid(value) || is_numbered(value)
        }
        Strength::Weak => {
            // Of types and functions, names may be long and odd, but seldom numbered.
            let named = written.prose && !value.bytes().any(|b| b.is_ascii_digit());
            !named && !is_words(value) && !is_uuid(value) && !is_hex(value) && is_scrambled(value)
        }
    }
}

fn is_password(value: &str, written: Written) -> bool {
    let lower = value.to_ascii_lowercase();
    if DESCRIPTIONS.contains(&lower.as_str()) || FILLER.contains(&lower.as_str()) {
        return false;
    }
    let letters = value.bytes().all(|b| b.is_ascii_alphabetic());
    // `("password", "scram-sha-256")` is a choice.
    if written.list && value.contains('-') && is_words(value) && !is_numbered(value) {
        return false;
    }
    if written.prose || written.list {
        let scrambled = value.len() >= 12 && !is_words(value);
        let odd = value.bytes().any(|b| b.is_ascii_digit() || b"!@#$%^&*+?".contains(&b));
        return value.len() >= 6 && (odd && is_mixed(value, 2.0) || scrambled);
    }
    if written.quoted || written.shell {
        // A sentence between quotes is a message about passwords.
        return !(value.contains(' ') && value.split(' ').all(is_plain_word)) || is_phrase(&lower);
    }
    // `password: hunter` on a line of its own is a setting; in the middle of a line it is talk.
    if letters && is_jumbled(value) {
        return true;
    }
    if letters {
        return written.ends_line && value.len() >= 6 && !is_camel(value);
    }
    // `password: hunter2`, but not `password: user1.password`.
    let bare = !value.contains(['.', '_', ':']) && !is_camel(value);
    !is_identifier(value) || is_numbered(value) || written.ends_line && bare
}

/// Some words and a number, none of which a message would have.
fn is_phrase(lower: &str) -> bool {
    let words: Vec<&str> = lower.split(' ').collect();
    let (Some((number, rest)), true) = (words.split_last(), words.len() <= 6) else { return false };
    let common =
        |w: &&&str| w.len() < 4 || DESCRIPTIONS.contains(w) || FILLER.contains(w) || **w == "least";
    rest.len() >= 2
        && number.bytes().all(|b| b.is_ascii_digit())
        && !rest.iter().any(|w| common(&w))
}

fn is_plain_word(word: &str) -> bool {
    let word = word.trim_matches(|c: char| c.is_ascii_punctuation());
    let number = word.len() <= 3 && word.bytes().all(|b| b.is_ascii_digit());
    word.len() < 20 && (number || word.bytes().all(|b| b.is_ascii_alphabetic() || b == b'\''))
}

/// `YOUR_API_KEY`, `xxxx-xxxx`, `changeme123`, `<token>`, `********`, `...`.
pub fn is_placeholder(value: &str) -> bool {
    let bytes = value.as_bytes();
    let mut distinct = [false; 256];
    bytes.iter().for_each(|b| distinct[*b as usize] = true);
    let distinct = distinct.iter().filter(|d| **d).count();
    if distinct <= 2 || (bytes.len() >= 12 && distinct <= 3) {
        return true;
    }
    // The choices of a schema: `low|medium|high`
    if value.contains('|') && value.split('|').all(is_words) {
        return true;
    }
    if ["your-", "your_"].iter().any(|w| value.starts_with(w)) && is_words(value) {
        return true;
    }
    // What `printf` fills in, and a placeholder in HTML
    let filled = value.starts_with('%') && value.bytes().all(|b| b"%sdvr:@/ -".contains(&b));
    if filled || value.starts_with("&lt;") && value.contains("&gt") {
        return true;
    }
    let enclosed = [
        ("<", ">"),
        ("[", "]"),
        ("{", "}"),
        ("(", ")"),
        ("%", "%"),
        ("__", "__"),
        ("&lt;", "&gt;"),
    ];
    if enclosed.iter().any(|(a, b)| value.starts_with(a) && value.ends_with(b)) {
        let inside = value.trim_matches(|c: char| "<>[]{}()%_".contains(c));
        if is_words(inside) || inside.is_empty() {
            return true;
        }
    }
    if ["***", "...", "…", "•••", "xxxxx", "XXXXX"].iter().any(|mask| value.contains(mask))
    {
        // A masked token shows little of itself.
        let shown = bytes.iter().filter(|b| b.is_ascii_alphanumeric() && !b"xX".contains(b));
        if shown.count() <= 12 {
            return true;
        }
    }
    let mut words = 0;
    let mut digits = 0;
    for part in split_words(value) {
        if part.bytes().all(|b| b.is_ascii_digit()) {
            digits += part.len();
            if !"12345678901234567890".contains(part) && !"0000000000".contains(part) {
                return false;
            }
        } else if FILLER.contains(&part.to_ascii_lowercase().as_str()) {
            words += 1;
        } else {
            return false;
        }
    }
    words > 0 && digits <= 10
}

/// `$TOKEN`, `${{ secrets.X }}`, `%TOKEN%`, `os.environ[…]`, `process.env.X`, `op://…`.
pub fn is_reference(value: &str) -> bool {
    #[rustfmt::skip]
    const STARTS: &[&str] = &[
        "${", "$(", "$env:", "{{", "{%", "<%", "#{", "@{", "%(", "%{", "((", "arn:aws", "op://",
        "vault:", "env:", "env(", "ENV[", "ENC[", "getenv", "secret://", "secretref:", "file:",
        "http://", "https://", "projects/", "ssm:", "!Ref", "!Sub", "!vault", "@Microsoft.KeyVault",
        "azurekeyvault", "keyring:", "ref+", "$ANSIBLE_VAULT", "data:", "urn:", "ssh-rsa",
        "ssh-ed25519", "encrypted:",
    ];
    #[rustfmt::skip]
    const INSIDE: &[&str] = &[
        "process.env", "os.environ", "os.getenv", "getenv(", "ENV[", "secrets.", "import.meta",
        "System.getenv", "std::env", "env!(", "env.get", "Deno.env", "getpass", "input(",
    ];
    let variable = value.strip_prefix('$').is_some_and(|rest| {
        let name = rest.bytes().take_while(|b| b.is_ascii_alphanumeric() || *b == b'_').count();
        // `$TOKEN`, `$TOKEN/x`; but `$2y$…` is a hash and `$ecret9!` a password.
        name > 0
            && (name == rest.len() || !rest.as_bytes()[name].is_ascii_punctuation())
            && rest[..name]
                .bytes()
                .all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_')
            || name > 0
                && is_words(&rest[..name])
                && (name == rest.len()
                    || rest[name..].starts_with('/') && is_path(rest[name..].trim_end_matches('#')))
    });
    let batch = value.len() > 2 && value.starts_with('%') && value.ends_with('%');
    variable
        || batch
        || STARTS.iter().any(|s| value.starts_with(s))
        || INSIDE.iter().any(|s| value.contains(s))
        || value.starts_with("<SECRET_")
}

/// A number as code writes it: `4096`, `0xC000005A`, `-1i32`, `16u32`.
fn is_number(value: &str) -> bool {
    let value = value.trim_start_matches(['-', '+']);
    // A longer one is no number but a key.
    let hex = value.strip_prefix("0x").or_else(|| value.strip_prefix("0X"));
    let hex = hex.filter(|digits| digits.len() <= 16);
    let digits = hex.unwrap_or(value);
    let length = match hex {
        Some(hex) => hex.bytes().take_while(|b| b.is_ascii_hexdigit() || *b == b'_').count(),
        None => value.bytes().take_while(|b| b.is_ascii_digit() || b"_.".contains(b)).count(),
    };
    let suffixes = [
        "", "u8", "u16", "u32", "u64", "usize", "i8", "i16", "i32", "i64", "isize", "f32", "f64",
        "u", "l", "ul", "U", "L", "UL",
    ];
    length > 0 && suffixes.contains(&&digits[length..])
}

/// `sha512-…` and its like: a checksum that says what it is.
pub fn is_checksum(value: &str) -> bool {
    ["sha1-", "sha256-", "sha384-", "sha512-", "sha256:", "sha512:", "md5:", "h1:", "blake3:"]
        .iter()
        .any(|p| value.starts_with(p))
}

pub fn is_path(value: &str) -> bool {
    let drive = value.as_bytes().get(1..3).is_some_and(|b| b == b":\\" || b == b":/");
    let from = if drive { 2 } else { value.len() - value.trim_start_matches('~').len() };
    let rooted = drive || ["/", "./", "../", "~/", "\\\\"].iter().any(|p| value.starts_with(p));
    let is_name = |part: &str| part.is_empty() || part == "." || part == ".." || is_words(part);
    let keys: Vec<&str> = value.split('\\').collect();
    if keys.len() > 2 && keys.iter().all(|key| is_name(key) || key.len() <= 4) {
        return true;
    }
    (rooted || value.contains('/')) && value[from..].split(['/', '\\']).all(is_name)
}

fn is_file_name(value: &str) -> bool {
    const ENDS: &[&str] = &[
        "json", "pem", "txt", "py", "js", "ts", "tsx", "yaml", "yml", "key", "crt", "cer", "env",
        "toml", "md", "html", "sh", "rs", "go", "java", "rb", "php", "cs", "cfg", "conf", "ini",
        "xml", "csv", "lock", "log", "pub", "db", "sqlite", "gguf", "com", "org", "net", "io",
    ];
    let Some((stem, end)) = value.rsplit_once('.') else { return false };
    ENDS.contains(&end) && stem.split('.').all(is_words)
}

fn is_date(value: &str) -> bool {
    let b = value.as_bytes();
    let digits =
        |r: std::ops::Range<usize>| b.get(r).is_some_and(|d| d.iter().all(u8::is_ascii_digit));
    digits(0..4)
        && b.get(4) == Some(&b'-')
        && digits(5..7)
        && b.get(7) == Some(&b'-')
        && digits(8..10)
}

pub fn is_uuid(value: &str) -> bool {
    value.len() == 36
        && value.bytes().enumerate().all(|(i, b)| match i {
            8 | 13 | 18 | 23 => b == b'-',
            _ => b.is_ascii_hexdigit(),
        })
}

pub fn is_hex(value: &str) -> bool {
    value.bytes().all(|b| b.is_ascii_hexdigit())
}

/// Words with a number behind them that is no width of a type: `tiger_fox646`.
pub fn is_numbered(value: &str) -> bool {
    let digits = value.len() - value.trim_end_matches(|c: char| c.is_ascii_digit()).len();
    let number = &value[value.len() - digits..];
    let width = ["16", "32", "64", "128", "192", "256", "384", "512", "1024", "2048", "4096"];
    let letters = value.bytes().filter(u8::is_ascii_alphabetic).count();
    (2..=4).contains(&digits)
        && letters >= 6
        && !width.contains(&number)
        && !number.starts_with('0')
        && !value.contains(['.', '/', ':', '$'])
        && !["123", "1234", "12"].contains(&number)
}

/// Something a program computes: a call, an index, a chain of names.
fn is_code(value: &str) -> bool {
    if value.contains(['(', ')', '[', ']', '{', '}'])
        || value.contains("::")
        || value.contains("->")
    {
        return true;
    }
    let constant = value.contains('_')
        && value.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_');
    if constant {
        return true;
    }
    let own = ["this.", "self."].iter().any(|own| value.starts_with(own));
    if own || is_chain(value) || is_member(value) || is_optional(value) {
        return true;
    }
    if is_numbered(value) {
        return false;
    }
    let value = value.trim_matches('_');
    let plain = value.trim_start_matches(['&', '*', '!', '@']);
    if plain.len() < value.len() && is_identifier(plain) {
        return true;
    }
    is_identifier(value) && (value.contains('.') || value.contains('_') || is_camel(value))
}

/// `t.key=void`: one assignment after another.
pub fn is_chain(value: &str) -> bool {
    let goes_on = |rest: &str| rest.starts_with(|c: char| c.is_ascii_alphabetic());
    value.split_once('=').is_some_and(|(name, rest)| name.contains('.') && goes_on(rest))
}

/// `self.password`, `Config.Auth2Token`: names joined by dots, too short to be a token.
pub fn is_member(value: &str) -> bool {
    let is_name = |part: &str| {
        let digits = part.split(|c: char| !c.is_ascii_digit()).filter(|d| !d.is_empty()).count();
        part.bytes().next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'$')
            && digits <= 4
    };
    value.contains('.')
        && value.trim_start_matches(['&', '*']).split('.').all(is_name)
        && (value.split('.').all(is_words) || split_words(value).any(is_long_word))
        && value.find('.').is_some_and(|n| n <= 12 || is_words(&value[..n]))
}

/// `options?.sessionKey`: members of what may be missing.
fn is_optional(value: &str) -> bool {
    let is_name = |part: &str| {
        let name = part.trim_start_matches(['#', '!']).trim_end_matches(['?', '!']);
        name.starts_with(|c: char| c.is_ascii_alphabetic() || "_$".contains(c))
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_$".contains(&b))
    };
    value.contains("?.") && value.trim_start_matches(['=', '!']).split('.').all(is_name)
}

/// Whether a value says the name that it is given to once more: `passphrase_userdata = userdata`.
pub fn repeats(name: &str, value: &str) -> bool {
    let letters = |text: &str| -> String {
        let letters = text.chars().filter(char::is_ascii_alphanumeric);
        letters.map(|c| c.to_ascii_lowercase()).collect()
    };
    is_words(value) && value.len() >= 6 && letters(name).ends_with(&letters(value))
}

fn is_long_word(word: &str) -> bool {
    word.len() >= 5 && word.bytes().all(|b| b.is_ascii_alphabetic()) && is_words(word)
}

/// Names joined by dots, of which every one could be a variable.
fn is_identifier(value: &str) -> bool {
    value.split('.').all(|part| {
        part.bytes().next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
            && is_words(part)
    })
}

fn is_camel(value: &str) -> bool {
    value.bytes().all(|b| b.is_ascii_alphanumeric())
        && value.bytes().skip(1).any(|b| b.is_ascii_uppercase())
        && value.bytes().any(|b| b.is_ascii_lowercase())
        && is_words(value)
}

/// Enough different characters for a generated value.
fn is_random(value: &str) -> bool {
    let digits = value.bytes().filter(u8::is_ascii_digit).count();
    if digits == value.len() {
        return value.len() >= 20;
    }
    let floor = if value.len() > 16 { 2.7 } else { 2.4 };
    entropy(value.as_bytes()) >= floor
}

/// Both cases and digits, or digits in several places: no name of a constant.
fn is_scrambled(value: &str) -> bool {
    let has = |f: fn(&u8) -> bool| value.as_bytes().iter().any(f);
    let three =
        has(u8::is_ascii_lowercase) && has(u8::is_ascii_uppercase) && has(u8::is_ascii_digit);
    let groups = value.split(|c: char| !c.is_ascii_digit()).filter(|g| !g.is_empty()).count();
    (three || groups >= 3 || is_jumbled(value)) && entropy(value.as_bytes()) >= 3.3
}

/// Letters whose case changes as nobody writes it.
pub fn is_jumbled(value: &str) -> bool {
    let capital = |b: &u8| b.is_ascii_uppercase();
    let changes = value.as_bytes().windows(2).filter(|w| capital(&w[0]) != capital(&w[1])).count();
    value.len() >= 14 && changes * 3 >= value.len()
}

/// Random, with both letters and digits or symbols.
pub fn is_mixed(value: &str, floor: f64) -> bool {
    let letter = value.bytes().any(|b| b.is_ascii_alphabetic());
    let other = value.bytes().any(|b| !b.is_ascii_alphabetic());
    letter && other && entropy(value.as_bytes()) >= floor
}
