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
    let mut reading = Reading::of(text);
    for _ in 0..4 {
        reading.report(&mut found);
        reading.report_encoded(&mut found);
        match reading.unescaped() {
            Some(deeper) => reading = deeper,
            None => break,
        }
    }
    found.into_iter().collect()
}

/// A text at some depth of escaping, with the place of each byte in the written row.
struct Reading {
    text: String,
    origin: Vec<usize>,
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
        Reading { text: masked, origin: (0..=text.len()).collect() }
    }

    /// The same with one layer of JSON escapes taken off, if there is one.
    fn unescaped(&self) -> Option<Reading> {
        self.text.contains('\\').then_some(())?;
        let mut out = Reading { text: String::new(), origin: Vec::new() };
        let mut rest = self.text.char_indices().peekable();
        let mut changed = false;
        while let Some((at, c)) = rest.next() {
            let next = rest.peek().map(|(_, n)| *n);
            let plain = match (c, next) {
                ('\\', Some('n' | 'r')) => Some('\n'),
                ('\\', Some('t')) => Some('\t'),
                ('\\', Some(n @ ('"' | '\\' | '/'))) => Some(n),
                _ => None,
            };
            let code = || u32::from_str_radix(self.text.get(at + 2..at + 6)?, 16).ok();
            let shown = if let Some(plain) = plain {
                rest.next();
                changed = true;
                plain
            } else if let (('\\', Some('u')), Some(wide)) =
                ((c, next), code().and_then(char::from_u32))
            {
                rest.by_ref().take(5).for_each(|_| {});
                changed = true;
                wide
            } else {
                c
            };
            out.text.push(shown);
            out.origin.extend(std::iter::repeat_n(self.origin[at], shown.len_utf8()));
        }
        out.origin.push(*self.origin.last()?);
        changed.then_some(out)
    }

    fn add(&self, found: &mut BTreeSet<Finding>, class: Kind, start: usize, end: usize) {
        found.insert(Finding { start: self.origin[start], end: self.origin[end], class });
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
        static RUN: LazyLock<Regex> = LazyLock::new(|| pattern(r"[A-Za-z0-9+/]{24,}={0,2}"));
        let engine = base64::engine::general_purpose::STANDARD_NO_PAD;
        for run in RUN.find_iter(&self.text) {
            let digits = run.as_str().trim_end_matches('=');
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
                self.add(found, finding.class, run.start(), run.end());
            }
        }
    }
}

/// Judges a match by itself, what stands before it and what stands after it.
type Check = fn(&str, &str, &str) -> bool;

static RULES: LazyLock<Vec<(Kind, Regex, Check)>> = LazyLock::new(|| {
    let list: &[(Kind, &str, Check)] = &[
        (Kind::Token, r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b", varied),
        (Kind::Token, r"\bgh[a-z]_[0-9A-Za-z]{36}|\bgithub_pat_\w{40,}", varied),
        (Kind::Token, r"\bglpat-[\w-]{20,}|\bglsa_\w{40,}|\bhvs\.[\w-]{24,}", varied),
        (
            Kind::Token,
            r"\bxox[a-z]-[0-9A-Za-z-]{24,}|hooks\.slack\.com/services/\w+/\w+/\w{20,}",
            varied,
        ),
        (Kind::Token, r"\bsk-(?:proj|ant|svcacct|or)-[\w-]{30,}|\bsk-[0-9A-Za-z]{40,}", varied),
        (Kind::Token, r"\b[rs]k_live_[0-9A-Za-z]{20,}|\bwhsec_[0-9A-Za-z]{30,}", varied),
        (Kind::Token, r"\bAIza[\w-]{35}\b|\bya29\.[\w-]{40,}|\bGOCSPX-[\w-]{28}", varied),
        (
            Kind::Token,
            r"\bhf_[A-Za-z0-9]{34}\b|\bgsk_\w{50,}|\bnvapi-[\w-]{60,}|\bpplx-\w{48}",
            varied,
        ),
        (
            Kind::Token,
            r"\bnpm_[A-Za-z0-9]{36}\b|\bpypi-AgEI[\w-]{80,}|\bdckr_pat_[\w-]{27}",
            varied,
        ),
        (Kind::Token, r"\bdop_v1_[0-9a-f]{64}|\bshpat_[0-9a-f]{32}|\bdapi[0-9a-f]{32}\b", varied),
        (Kind::Token, r"\bSG\.[\w-]{22}\.[\w-]{43}|\bPMAK-[0-9a-f]{24}-[0-9a-f]{34}", varied),
        (Kind::Token, r"\bAGE-SECRET-KEY-1[0-9A-Z]{58}|\blin_api_\w{40}", varied),
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
            r#"(?i)\b[\w.-]{0,40}(?:passwo?r?d|secret|api_?key|access_?key|auth_?token|access_?token)\b["']?\s{0,3}[:=]\s{0,3}["']([0-9A-Za-z_+/=!@#%^&*.-]{16,80})["']"#,
            generated,
        ),
        (
            Kind::Assignment,
            r"(?m)^(?:export )?[A-Z0-9_]{0,40}(?:PASSWORD|SECRET|API_KEY|ACCESS_KEY|TOKEN)=([0-9A-Za-z_+/=!@#%^&*.-]{16,80})\s*$",
            generated,
        ),
        (
            Kind::Email,
            r"\b[0-9A-Za-z][\w.+-]{0,62}@(?:[0-9A-Za-z][0-9A-Za-z-]{0,60}\.){1,4}(?:com|net|org|edu|gov|info|biz|dev|app|cloud|io|ai|co|me|tv|eu|us|uk|ie|de|at|ch|li|fr|be|nl|lu|es|pt|it|gr|se|no|fi|dk|is|ee|lv|lt|pl|cz|sk|hu|ro|bg|hr|si|rs|ua|ru|tr|il|jp|cn|hk|tw|kr|sg|my|th|vn|id|ph|in|za|ng|ke|eg|br|mx|ar|cl|pe|ca|au|nz)\b",
            person,
        ),
        (Kind::Phone, r"\+[1-9][0-9]{0,2}(?:[ -]\(?[0-9]{2,4}\)?){3,5}\b", phone),
        (
            Kind::Ip,
            r"(?:[a-z]://|@|\bssh |\bping |\bfrom )((?:[0-9]{1,3}\.){3}[0-9]{1,3})\b",
            public,
        ),
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

fn person(value: &str, before: &str, after: &str) -> bool {
    let (local, domain) = value.split_once('@').unwrap_or((value, ""));
    let robots =
        ["git", "hg", "noreply", "no-reply", "you", "your.email", "your-email", "youremail"];
    let invented =
        ["example.", "domain.com", "yourdomain", "your-domain", "openssh.com", "libssh.org"];
    !robots.contains(&local)
        && !local.ends_with("do-not-reply")
        && !local.ends_with("donotreply")
        && !invented.iter().any(|i| domain.contains(i))
        && !before.ends_with([':', '/', '@', '%', '\'', '+', '.', '-'])
        && !after.starts_with(['(', '@', '-', '_'])
        && !after.strip_prefix('.').is_some_and(|a| a.starts_with(char::is_alphanumeric))
}

fn phone(value: &str, before: &str, after: &str) -> bool {
    let digits = value.bytes().filter(u8::is_ascii_digit).count();
    (10..=15).contains(&digits)
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
