//! The second scan: reads what was written, with code and patterns of its own.
//!
//! It shares nothing with the first scanner, so that a mistake there is not repeated here, and it
//! reports only what can hardly be anything else: each finding costs the row it stands in.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::sync::LazyLock;

use base64::Engine as _;
use regex::Regex;

/// What kind of thing was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A token with a vendor's shape.
    Token,
    /// A JSON web token.
    WebToken,
    /// A stored hash of a password.
    PasswordHash,
    /// The body of a private key.
    PrivateKey,
    /// A password in a URL.
    UrlPassword,
    /// An authorization header.
    Header,
    /// A random value assigned to a telling name.
    Assignment,
    /// An e-mail address.
    Email,
    /// A phone number.
    Phone,
    /// A public IP address.
    Ip,
    /// A payment card number.
    Card,
    /// A bank account number.
    Iban,
    /// A user name in a home folder.
    User,
}

impl Kind {
    /// The name used in files and messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Token => "token",
            Kind::WebToken => "jwt",
            Kind::PasswordHash => "password_hash",
            Kind::PrivateKey => "private_key",
            Kind::UrlPassword => "url_password",
            Kind::Header => "header",
            Kind::Assignment => "assignment",
            Kind::Email => "email",
            Kind::Phone => "phone",
            Kind::Ip => "ip",
            Kind::Card => "card",
            Kind::Iban => "iban",
            Kind::User => "user",
        }
    }
}

/// Something that should not be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// Where it begins, in bytes.
    pub start: usize,
    /// Where it ends.
    pub end: usize,
    /// What it is.
    pub class: Kind,
}

/// Everything found in a text, in order. JSON escapes and base64 are looked through.
pub fn scan(text: &str) -> Vec<Finding> {
    let mut found = BTreeSet::new();
    let mut reading = Some(Reading::of(text));
    for depth in 0..4 {
        let Some(this) = reading else { break };
        reading = this.unescaped();
        // JSON under its escapes shows nothing that it does not show without them.
        if depth > 0 || reading.is_none() || !text.starts_with('{') {
            this.report(&mut found);
            this.report_encoded(&mut found);
        }
    }
    found.into_iter().collect()
}

/// A text at some depth of escaping.
struct Reading {
    text: String,
    /// For each layer of escapes taken off, the outermost first: after each escape, where the text
    /// goes on without the layer and with it.
    layers: Vec<Vec<(usize, usize)>>,
}

/// Stands for a placeholder: part of no word, number or blank.
const MASK: char = '\u{1}';

static PLACEHOLDER: LazyLock<Regex> = LazyLock::new(|| {
    pattern(r"<(?:EMAIL|PHONE|IP|CARD|IBAN|USER|HOST|SECRET_[A-Z][A-Z0-9_]{1,30})_[0-9]{1,9}>")
});

/// Words and edges are ASCII here: Unicode's would cost much and find no more.
fn pattern(text: &str) -> Regex {
    // Every pattern is a constant, compiled by the first scan of any test.
    Regex::new(&format!("(?-u){text}")).expect("built-in patterns are valid")
}

impl Reading {
    fn of(text: &str) -> Self {
        let mut masked = String::with_capacity(text.len());
        let mut from = 0;
        for hit in PLACEHOLDER.find_iter(text) {
            masked += &text[from..hit.start()];
            masked.extend(std::iter::repeat_n(MASK, hit.len()));
            from = hit.end();
        }
        masked += &text[from..];
        Reading { text: masked, layers: Vec::new() }
    }

    /// The same with one layer of JSON escapes taken off, if there is one.
    fn unescaped(&self) -> Option<Reading> {
        let (mut text, mut layer) = (String::new(), Vec::new());
        let (mut shown, mut from) = (0, 0);
        while let Some(at) = self.text[from..].find('\\').map(|n| from + n) {
            let Some((plain, length)) = escape(&self.text[at..]) else {
                from = at + 1;
                continue;
            };
            text += &self.text[shown..at];
            text.push(plain);
            shown = at + length;
            from = shown;
            layer.push((text.len(), shown));
        }
        if layer.is_empty() {
            return None;
        }
        text += &self.text[shown..];
        Some(Reading { text, layers: self.layers.iter().cloned().chain([layer]).collect() })
    }

    /// Where in the written row a byte of the text came from.
    fn origin(&self, at: usize) -> usize {
        self.layers.iter().rev().fold(at, |at, layer| {
            let after = layer.partition_point(|(plain, _)| *plain <= at);
            let last = after.checked_sub(1).map(|n| layer[n]);
            last.map_or(at, |(plain, escaped)| escaped + at - plain)
        })
    }

    fn add(&self, found: &mut BTreeSet<Finding>, class: Kind, start: usize, end: usize) {
        found.insert(Finding { start: self.origin(start), end: self.origin(end), class });
    }

    fn report(&self, found: &mut BTreeSet<Finding>) {
        for (class, rule, check) in RULES.iter() {
            for groups in rule.captures_iter(&self.text) {
                let Some(hit) = groups.get(1).or_else(|| groups.get(0)) else { continue };
                if check(hit.as_str(), &self.text[..hit.start()], &self.text[hit.end()..]) {
                    self.add(found, *class, hit.start(), hit.end());
                }
            }
        }
    }

    /// Base64 that hides something; the whole run is the finding.
    fn report_encoded(&self, found: &mut BTreeSet<Finding>) {
        let engine = base64::engine::general_purpose::STANDARD_NO_PAD;
        for (start, end) in base64_runs(self.text.as_bytes()) {
            let digits = self.text[start..end].trim_end_matches('=');
            let whole = &digits[..digits.len() - usize::from(digits.len() % 4 == 1)];
            let Some(text) = engine.decode(whole).ok().and_then(|d| String::from_utf8(d).ok())
            else {
                continue;
            };
            if text.chars().any(|c| c.is_control() && !c.is_whitespace()) {
                continue;
            }
            let mut inside = BTreeSet::new();
            Reading::of(&text).report(&mut inside);
            for finding in inside {
                self.add(found, finding.class, start, end);
            }
        }
    }
}

/// The character a JSON escape stands for, and the escape's length.
fn escape(text: &str) -> Option<(char, usize)> {
    let plain = match text.as_bytes().get(1)? {
        b'n' | b'r' => '\n',
        b't' => '\t',
        sign @ (b'"' | b'\\' | b'/') => char::from(*sign),
        b'u' => {
            let code = u32::from_str_radix(text.get(2..6)?, 16).ok()?;
            return Some((char::from_u32(code)?, 6));
        }
        _ => return None,
    };
    Some((plain, 2))
}

/// The shortest run of base64 that is read.
const RUN: usize = 24;

/// Where runs of base64 begin and, with what pads them, end.
fn base64_runs(bytes: &[u8]) -> impl Iterator<Item = (usize, usize)> {
    let is_digit = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/');
    let mut at = 0;
    std::iter::from_fn(move || {
        // Most words are shorter, so that most bytes are never looked at.
        while let Some(other) = bytes.get(at..at + RUN)?.iter().rposition(|b| !is_digit(b)) {
            at += other + 1;
        }
        let start = at;
        at += bytes[at..].iter().take_while(|b| is_digit(b)).count();
        at += bytes[at..].iter().take(2).take_while(|b| **b == b'=').count();
        Some((start, at))
    })
}

/// Judges a match by itself, what stands before it and what stands after it.
type Check = fn(&str, &str, &str) -> bool;

static RULES: LazyLock<Vec<(Kind, Regex, Check)>> = LazyLock::new(|| {
    let list: &[(Kind, &str, Check)] = &[
        (
            Kind::Token,
            concat!(
                r"\b(?:(?:AKIA|ASIA)[0-9A-Z]{16}\b|github_pat_\w{40,}|glpat-[\w-]{20,}|glsa_\w{40,}",
                r"|hvs\.[\w-]{24,}|[rs]k_live_[0-9A-Za-z]{20,}|whsec_[0-9A-Za-z]{30,}",
                r"|AIza[\w-]{35}\b|ya29\.[\w-]{40,}|GOCSPX-[\w-]{28}|gsk_\w{50,}|nvapi-[\w-]{60,}",
                r"|pplx-\w{48}|npm_[A-Za-z0-9]{36}\b|pypi-AgEI[\w-]{80,}|dckr_pat_[\w-]{27}",
                r"|dop_v1_[0-9a-f]{64}|shpat_[0-9a-f]{32}|dapi[0-9a-f]{32}\b",
                r"|PMAK-[0-9a-f]{24}-[0-9a-f]{34}|AGE-SECRET-KEY-1[0-9A-Z]{58}|lin_api_\w{40})",
            ),
            varied,
        ),
        (Kind::Token, r"\bgh[a-z]_[0-9A-Za-z]{36}|\bhf_[A-Za-z0-9]{34}\b", varied),
        (
            Kind::Token,
            r"\bxox[a-z]-[0-9A-Za-z-]{24,}|hooks\.slack\.com/services/\w+/\w+/(\w{20,})",
            varied,
        ),
        (Kind::Token, r"\bsk-(?:proj|ant|svcacct|or)-[\w-]{30,}|\bsk-[0-9A-Za-z]{40,}", varied),
        (Kind::Token, r"\bSG\.[\w-]{22}\.[\w-]{43}", varied),
        (Kind::WebToken, r"\beyJ[\w-]{15,}\.eyJ[\w-]{10,}\.[\w-]{20,}", varied),
        (Kind::PasswordHash, r"\$(?:2[aby]\$[0-9]{2}|[156]|y|apr1)\$[./0-9A-Za-z$]{30,}", varied),
        (Kind::PrivateKey, r"BEGIN [A-Z ]{0,20}PRIVATE KEY-----\s+([0-9A-Za-z+/=]{40,})", varied),
        (Kind::PrivateKey, r"([0-9A-Za-z+/=]{40,})\s+-----END [A-Z ]{0,20}PRIVATE KEY", varied),
        (
            Kind::UrlPassword,
            r#"\b[a-z][a-z0-9+]{1,14}://(?u:[^\s:/@"'<>\x01]{0,60}):((?u:[^\s/:@"'<>${}\x01]{8,100}))@[0-9A-Za-z]"#,
            generated,
        ),
        (
            Kind::Header,
            r"(?i)\bauthorization: (?:basic|bearer|token) ([0-9A-Za-z._~+/=-]{20,})",
            generated,
        ),
        (
            Kind::Assignment,
            r#"(?i)(?:passwo?r?d|secret|api_?key|access_?key|auth_?token|access_?token)\b["']?\s{0,3}[:=]\s{0,3}["']([0-9A-Za-z_+/=!@#%^&*.-]{16,80})["']"#,
            generated,
        ),
        (
            Kind::Assignment,
            r"(?m)(?:PASSWORD|SECRET|API_KEY|ACCESS_KEY|TOKEN)=([0-9A-Za-z_+/=!@#%^&*.-]{16,80})\s*$",
            exported,
        ),
        (
            Kind::Email,
            r"\b[0-9A-Za-z][\w.+-]{0,62}@(?:[0-9A-Za-z][0-9A-Za-z-]{0,60}\.){1,4}(?:com|net|org|edu|gov|info|biz|dev|app|cloud|io|ai|co|me|tv|eu|us|uk|ie|de|at|ch|li|fr|be|nl|lu|es|pt|it|gr|se|no|fi|dk|is|ee|lv|lt|pl|cz|sk|hu|ro|bg|hr|si|rs|ua|ru|tr|il|jp|cn|hk|tw|kr|sg|my|th|vn|id|ph|in|za|ng|ke|eg|br|mx|ar|cl|pe|ca|au|nz)\b",
            person,
        ),
        (Kind::Phone, r"\+[1-9][0-9]{0,2}(?:[ -]\(?[0-9]{2,4}\)?){3,5}\b", phone),
        (Kind::Ip, r"@((?:[0-9]{1,3}\.){3}[0-9]{1,3})\b", public),
        (Kind::Ip, r"://((?:[0-9]{1,3}\.){3}[0-9]{1,3})\b", public),
        (Kind::Ip, r"\b(?:ssh|ping|from) ((?:[0-9]{1,3}\.){3}[0-9]{1,3})\b", public),
        (Kind::Card, r"\b[3-6][0-9]{3}(?: [0-9]{4}){3}\b|\b[3-6][0-9]{3}(?:-[0-9]{4}){3}\b", card),
        (
            Kind::Iban,
            r"\b(?:AT|BE|CH|DE|DK|ES|FI|FR|GB|IE|IT|LU|NL|NO|PL|PT|SE)[0-9]{2}(?: ?[0-9A-Z]{4}){2,7}(?: ?[0-9A-Z]{1,3})?\b",
            iban,
        ),
        (Kind::User, r#"(?:^|[\s"'=(])(?:/home|/Users)/([A-Za-z][0-9A-Za-z_.-]{2,31})/"#, somebody),
        (Kind::User, r"\b[A-Z]:\\Users\\([A-Za-z][0-9A-Za-z_.-]{2,31})\\", somebody),
    ];
    list.iter().map(|(class, text, check)| (*class, pattern(text), *check)).collect()
});

/// Not one letter over and over, and no example in words.
fn varied(value: &str, _: &str, _: &str) -> bool {
    let kinds: BTreeSet<char> = value.chars().collect();
    kinds.len() >= 12
}

/// Letters and digits so mixed that nobody typed them.
fn generated(value: &str, _: &str, _: &str) -> bool {
    let class = |c: char| match c {
        'a'..='z' => 0,
        'A'..='Z' => 1,
        '0'..='9' => 2,
        _ => 3,
    };
    let letters: Vec<u8> = value.chars().map(class).filter(|c| *c < 3).collect();
    let changes = letters.windows(2).filter(|w| w[0] != w[1]).count();
    let all = [0, 1, 2].iter().all(|c| letters.contains(c));
    let kinds: BTreeSet<char> = value.chars().collect();
    // An identifier has humps, but few of them.
    all && kinds.len() >= 8 && changes * 3 >= value.len()
}

/// The same in a line that gives it to a variable.
fn exported(value: &str, before: &str, after: &str) -> bool {
    // Longer than any name
    let tail = &before.as_bytes()[before.len().saturating_sub(64)..];
    let line = tail.rsplit(|b| *b == b'\n').next().unwrap_or(tail);
    let name = line.strip_prefix(b"export ").unwrap_or(line);
    let is_name = |b: &u8| b.is_ascii_uppercase() || b.is_ascii_digit() || *b == b'_';
    let named = name.strip_suffix(b"=").is_some_and(|name| name.iter().all(is_name));
    named && name.len() <= 50 && generated(value, before, after)
}

fn person(value: &str, before: &str, after: &str) -> bool {
    let (local, domain) = value.split_once('@').unwrap_or((value, ""));
    // At this depth of escaping, a tab before the address looks like its first letter.
    let escaped = before.ends_with('\\') && local.starts_with(['n', 'r', 't']);
    let local = if escaped { &local[1..] } else { local };
    let local = local.trim_start_matches(['+', '-']);
    let robots =
        ["git", "hg", "noreply", "no-reply", "you", "your.email", "your-email", "youremail"];
    let invented =
        ["example.", "domain.com", "yourdomain", "your-domain", "openssh.com", "libssh.org"];
    !robots.contains(&local)
        && !local.ends_with("do-not-reply")
        && !local.ends_with("donotreply")
        && !invented.iter().any(|i| domain.contains(i))
        && !before.ends_with([':', '/', '@', '%', '\'', '+', '.', '-', '$'])
        && !after.starts_with(['(', '@', '-', '_'])
        && !after.strip_prefix('.').is_some_and(|a| a.starts_with(char::is_alphanumeric))
}

fn phone(value: &str, before: &str, after: &str) -> bool {
    let digits: String = value.chars().filter(char::is_ascii_digit).collect();
    // North America keeps 555-01xx for fiction.
    let fiction = digits.starts_with('1') && digits.get(4..9) == Some("55501");
    (10..=15).contains(&digits.len())
        && !fiction
        && before.chars().next_back().is_none_or(|c| c == ' ' || c == '"')
        && after.chars().next().is_none_or(|c| " \"\n".contains(c))
}

fn public(value: &str, _: &str, after: &str) -> bool {
    let Ok(ip) = value.parse::<Ipv4Addr>() else { return false };
    let reserved = ip.is_private()
        || ip.is_loopback()
        || ip.is_link_local()
        || ip.is_broadcast()
        || ip.is_documentation()
        || ip.is_multicast()
        || ip.is_unspecified();
    let [a, b, ..] = ip.octets();
    let known = ["8.8.8.8", "8.8.4.4", "1.1.1.1", "1.0.0.1", "9.9.9.9", "1.2.3.4"].contains(&value);
    let special = a == 0
        || a >= 240
        || a == 100 && (64..128).contains(&b)
        || a == 198 && (b == 18 || b == 19)
        || a == 192 && b == 0;
    !reserved && !known && !special && !after.starts_with(['.', '-', '+', '_'])
}

fn card(value: &str, before: &str, after: &str) -> bool {
    let digits: Vec<u32> = value.chars().filter_map(|c| c.to_digit(10)).collect();
    let mut sum = 0;
    for (place, digit) in digits.iter().rev().enumerate() {
        let twice = digit * 2;
        sum += if place % 2 == 0 { *digit } else { twice / 10 + twice % 10 };
    }
    let issuer = matches!(digits[..2], [4, _] | [5, 1..=5]);
    issuer
        && sum % 10 == 0
        && digits.iter().any(|d| *d != digits[0])
        && before.chars().next_back().is_none_or(|c| " \":\n".contains(c))
        && after.chars().next().is_none_or(|c| " \",\n".contains(c))
        && !after.starts_with(" 0")
        && !after.trim_start().starts_with(|c: char| c.is_ascii_digit())
}

fn iban(value: &str, before: &str, _: &str) -> bool {
    let plain: String = value.chars().filter(|c| *c != ' ').collect();
    let lengths = [
        ("AT", 20),
        ("BE", 16),
        ("CH", 21),
        ("DE", 22),
        ("DK", 18),
        ("ES", 24),
        ("FI", 18),
        ("FR", 27),
        ("GB", 22),
        ("IE", 22),
        ("IT", 27),
        ("LU", 20),
        ("NL", 18),
        ("NO", 15),
        ("PL", 28),
        ("PT", 25),
        ("SE", 24),
    ];
    let fits = lengths.iter().any(|(country, n)| plain.starts_with(country) && plain.len() == *n);
    let moved = plain.chars().skip(4).chain(plain.chars().take(4));
    let spelled: String = moved.filter_map(|c| Some(c.to_digit(36)?.to_string())).collect();
    let rest = spelled.bytes().fold(0u64, |rest, b| (rest * 10 + u64::from(b - b'0')) % 97);
    fits && rest == 1 && !before.ends_with(|c: char| c.is_alphanumeric() || c == '_')
}

fn somebody(value: &str, _: &str, _: &str) -> bool {
    #[rustfmt::skip]
    const NOBODY: &[&str] = &[
        "admin", "administrator", "agent", "airflow", "alpine", "apache", "app", "appuser", "arch",
        "azureuser", "bin", "bot", "build", "builder", "centos", "circleci", "cloud-user", "code",
        "coder", "codespace", "contact", "containeradministrator", "containeruser", "core", "data",
        "debian", "default", "demo", "deploy", "desktop", "dev", "developer", "docker", "documents",
        "donotreply", "ec2-user", "elasticsearch", "example", "fedora", "foo", "bar", "git",
        "gitlab", "gitlab-runner", "gitpod", "golang", "grafana", "guest", "hadoop", "hello", "help",
        "home", "info", "java", "jenkins", "jovyan", "kali", "kibana", "lib", "linuxbrew", "local",
        "minio", "mysql", "myuser", "name", "nginx", "nix", "nixbld", "nobody", "node", "nonroot",
        "noreply", "no-reply", "opam", "opc", "postgres", "project", "projects", "prometheus",
        "public", "python", "redis", "rocky", "root", "ruby", "runner", "runneradmin", "rust",
        "sandbox", "security", "server", "service", "shared", "somebody", "someone", "spark", "src",
        "steam", "support", "test", "tester", "tmp", "travis", "ubuntu", "user", "user_name",
        "username", "users", "vagrant", "vscode", "work", "worker", "workspace", "www", "www-data",
        "you", "your-name", "your-user", "your_name", "your_username", "yourname", "youruser",
        "yourusername",
    ];
    let name = value.trim_end_matches('.').to_lowercase();
    !NOBODY.contains(&name.as_str()) && !name.bytes().all(|b| b == b'x' || b == b'.')
}
