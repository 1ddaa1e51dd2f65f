//! E-mail addresses, user names in home folders and prompts, private host names.

use super::{Hit, Rule, after, before, rule};
use crate::redact::policy::Class;

pub static EMAIL: Rule = rule("email", "EMAIL", Class::Email);
pub static USER: Rule = rule("user", "USER", Class::User);
pub static HOST: Rule = rule("host", "HOST", Class::Host);

/// Accounts that are nobody in particular.
#[rustfmt::skip]
const GENERIC: &[&str] = &[
    "root", "ubuntu", "user", "users", "dev", "build", "builder", "runner", "runneradmin", "admin",
    "administrator", "app", "node", "vscode", "codespace", "circleci", "travis", "jenkins",
    "gitpod", "gitlab", "gitlab-runner", "ec2-user", "centos", "debian", "fedora", "rocky", "alpine",
    "arch", "pi", "vagrant", "docker", "nobody", "www-data", "git", "postgres", "mysql", "redis",
    "me", "you", "myuser", "username", "user_name", "yourname", "your_name", "your-name", "youruser",
    "your-user", "your_username", "yourusername", "name", "shared", "public", "default", "default user", "all users",
    "test", "tester", "guest", "linuxbrew", "worker", "agent", "sandbox", "workspace", "coder",
    "jovyan", "nonroot", "developer", "home", "someone", "somebody", "foo", "bar", "example", "demo",
    "deploy", "ci", "bot", "server", "service", "www", "nginx", "apache", "airflow", "spark",
    "hadoop", "python", "ruby", "java", "golang", "rust", "nix", "nixbld", "opam", "steam", "minio",
    "elasticsearch", "grafana", "prometheus", "kibana", "data", "appuser", "kali", "core", "opc",
    "azureuser", "cloud-user", "containeruser", "containeradministrator", "desktop", "documents",
    "src", "bin", "lib", "tmp", "local", "lost+found", "project", "projects", "work", "code",
    "node_modules", "host", "hostname", "remote", "machine", "localhost", "myhost", "noreply", "no-reply", "donotreply", "support", "info", "help", "contact", "hello", "security",
];

pub fn is_generic(name: &str) -> bool {
    let lower = name.to_ascii_lowercase();
    GENERIC.contains(&lower.as_str())
        || name.len() < 2
        || lower.bytes().all(|b| b.is_ascii_digit() || b == b'x' || b == b'.')
}

/// Ends of names that look like a domain and are none.
#[rustfmt::skip]
const NOT_A_DOMAIN: &[&str] = &[
    "png", "jpg", "jpeg", "gif", "svg", "webp", "ico", "js", "mjs", "cjs", "ts", "tsx", "jsx", "css",
    "scss", "less", "html", "htm", "json", "jsonl", "yaml", "yml", "toml", "lock", "txt", "xml", "hpp",
    "cpp", "java", "class", "exe", "dll", "tar", "gz", "tgz", "whl", "jar", "min", "map", "service",
    "socket", "slice", "scope", "target", "timer", "mount", "vue", "kt", "swift", "dart", "wasm",
    "log", "conf", "cfg", "ini", "bak", "tmp", "patch", "diff", "invalid", "test", "example", "localhost",
];

fn is_local(c: char) -> bool {
    c.is_alphanumeric() || "._%+-'".contains(c)
}

fn is_domain(c: char) -> bool {
    c.is_alphanumeric() || ".-".contains(c)
}

/// At an `@`: an e-mail address, or user and host of a prompt.
pub fn at_sign(text: &str, at: usize, emails: bool, prompts: bool, hits: &mut Vec<Hit>) {
    let lead = before(text, at, 96);
    let local = &lead[lead.trim_end_matches(is_local).len()..];
    let local = local.trim_start_matches(['.', '-', '%', '+', '\'']);
    // The escaped line end of a JSON string, and a diff's sign
    let escaped = text[..at - local.len()].ends_with('\\') && local.starts_with(['n', 't', 'r']);
    let local = if escaped { local[1..].trim_start_matches(['+', '-']) } else { local };
    let start = at - local.len();
    let tail = after(text, at + 1, 200);
    let reach = tail.find(|c| !is_domain(c)).unwrap_or(tail.len());
    let domain = tail[..reach].trim_end_matches(['.', '-']);
    let end = at + 1 + domain.len();
    if local.is_empty() || domain.is_empty() {
        return;
    }
    if emails && is_address(text, start, local, domain, end) {
        hits.push(Hit::new(start, end, &EMAIL));
        return;
    }
    // `alice@laptop:~/src$`, or the last login of a host.
    let shell = text[end..].strip_prefix(':').is_some_and(|rest| rest.starts_with(['~', '/']))
        || text[end..].starts_with(" ~")
        || is_zsh(&text[end..])
        || text[end..].starts_with(' ') && text[..start].ends_with('[');
    let is_name = |s: &str| s.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b));
    if prompts && shell && is_name(local) && is_name(domain) && !domain.contains('.') {
        if !is_generic(local) {
            hits.push(Hit::new(start, at, &USER));
        }
        if !is_generic(domain) && domain != "localhost" && domain.len() > 2 {
            hits.push(Hit::new(at + 1, end, &HOST));
        }
    }
}

/// ` folder % command`, as macOS prompts.
fn is_zsh(rest: &str) -> bool {
    let line = after(rest, 0, 48).lines().next().unwrap_or("");
    let mut words = line.split(' ').skip(1);
    matches!((words.next(), words.next()), (Some(folder), Some("%")) if !folder.is_empty())
}

fn is_address(text: &str, start: usize, local: &str, domain: &str, end: usize) -> bool {
    let Some((_, top)) = domain.rsplit_once('.') else { return false };
    let lower = domain.to_lowercase();
    // `@base.DefaultUniverseOnly` is code.
    let one_case = top == top.to_lowercase() || top == top.to_uppercase();
    let top = top.to_lowercase();
    let well_formed = local.len() <= 64
        && one_case
        && top.chars().count() >= 2
        && top.chars().all(char::is_alphabetic)
        && domain.split('.').all(|label| !label.is_empty() && label.len() <= 63);
    if !well_formed || NOT_A_DOMAIN.contains(&top.as_str()) || is_example(&lower) {
        return false;
    }
    // `git@github.com:…` is how everybody reaches it; robots have no private life.
    if matches!(local, "git" | "hg" | "noreply" | "no-reply" | "donotreply" | "do-not-reply") {
        return false;
    }
    // Names of algorithms
    if lower == "openssh.com" || lower == "libssh.org" {
        return false;
    }
    if local == "you" || local == "your.email" || local == "your-email" || local == "youremail" {
        return false;
    }
    // The password of a URL is not the local part of an address.
    let lead = before(text, start, 200);
    if lead.ends_with("://") || lead.ends_with(">:") {
        return false;
    }
    let token =
        lead.rsplit(|c: char| c.is_whitespace() || "\"'<>`".contains(c)).next().unwrap_or("");
    if let Some((_, authority)) = token.rsplit_once("://")
        && let Some((_, password)) = authority.split_once(':')
    {
        let port = password.split('/').next().unwrap_or("");
        if port.is_empty() || !port.bytes().all(|b| b.is_ascii_digit()) || port == password {
            return false;
        }
    }
    if lead.ends_with(['$', '{', '}', '%'])
        || matches!(domain, "domain.tld" | "bar.baz" | "host.tld")
    {
        return false;
    }
    // A decorator is called.
    !text[end..].starts_with('(')
}

fn is_example(domain: &str) -> bool {
    let labels: Vec<_> = domain.split('.').collect();
    let last = labels.len() - 1;
    labels.iter().enumerate().any(|(i, label)| *label == "example" && i + 1 >= last)
        || domain == "domain.com"
        || domain == "yourdomain.com"
        || domain == "your-domain.com"
}

/// What a home folder's path begins with; the user name follows.
pub const HOMES: &[&str] = &[
    "/home/",
    "/users/",
    "\\users\\",
    ":/users/",
    "/var/home/",
    "-home-",
    "-users-",
    "\\documents and settings\\",
    "\\home\\",
];

/// After the beginning of a home path, at `at`.
pub fn home(text: &str, start: usize, at: usize, hits: &mut Vec<Hit>) {
    let bytes = text.as_bytes();
    let dashed = bytes[start] == b'-';
    let preceding = start.checked_sub(1).map(|n| bytes[n]);
    // A route of an API (`/api/users/42`) is no home folder; a drive, a share or nothing is.
    let mounted = [
        "/mnt",
        "/export",
        "/var",
        "/private",
        "/Volumes",
        "/c",
        "/d",
        "\\c$",
        "file://",
        "/data",
        "/System/Volumes/Data",
        "/host",
    ]
    .iter()
    .any(|p| text[..start].ends_with(p));
    let remote = text[..start].ends_with("ssh-remote") || text[..start].ends_with("wsl.localhost");
    let inside = |b: u8| b.is_ascii_alphanumeric() || b"_.}~-".contains(&b) || b == b'/' && !dashed;
    // `\\wsl$\Ubuntu\home\…`
    let remote = remote || text[start..at].eq_ignore_ascii_case("\\home\\");
    // A diff's sign
    let marked = preceding == Some(b'-')
        && matches!(
            start.checked_sub(2).map(|n| bytes[n]),
            None | Some(b'\n' | b'"' | b'<' | b'>' | b' ')
        );
    if !mounted && !remote && !marked && preceding.is_some_and(inside) {
        return;
    }
    let users = bytes[start + 1..at].first().is_some_and(|b| *b == b'u');
    if users && bytes[start] == b'/' {
        // macOS writes a capital; `/users/7` is a route.
        return;
    }
    let is_name = |b: &u8| {
        b.is_ascii_alphanumeric() || b"_.+".contains(b) || *b == b'-' && !dashed || *b >= 0x80
    };
    let mut end = at + bytes[at..].iter().take(40).take_while(|b| is_name(b)).count();
    // Windows allows blanks, if a folder follows.
    if bytes.get(end) == Some(&b' ') && bytes[start..at].contains(&b'\\') {
        let is_wide = |b: &u8| is_name(b) || *b == b' ';
        let wide = at + bytes[at..].iter().take(40).take_while(|b| is_wide(b)).count();
        if bytes.get(wide) == Some(&b'\\') {
            end = wide;
        }
    }
    while end > at && b".".contains(&bytes[end - 1]) {
        end -= 1;
    }
    let Some(name) = text.get(at..end) else { return };
    let folder = !dashed || bytes.get(end) == Some(&b'-');
    if folder && !name.is_empty() && !is_generic(name) && !name.starts_with(['.', '-']) {
        hits.push(Hit::new(at, end, &USER));
    }
}

/// Top domains of private networks.
pub const PRIVATE_TOPS: &[&str] = &[
    ".internal",
    ".corp",
    ".lan",
    ".intranet",
    ".intra",
    ".private",
    ".local",
    ".home.arpa",
    ".ts.net",
];

/// Private-looking names that everybody has.
#[rustfmt::skip]
const COMMON_HOSTS: &[&str] = &[
    "host.docker.internal", "gateway.docker.internal", "kubernetes.docker.internal",
    "metadata.google.internal", "docker.internal", "cluster.local", "home.local",
    "raspberrypi.local", "homeassistant.local",
];

/// At a private top domain that begins at `start` and ends at `end`.
pub fn host(text: &str, start: usize, end: usize, hits: &mut Vec<Hit>) {
    let bytes = text.as_bytes();
    let is_host = |b: &u8| b.is_ascii_alphanumeric() || b"-.".contains(b);
    let next = bytes.get(end);
    let longer = next.is_some_and(|b| b.is_ascii_alphanumeric() || b"_-(".contains(b))
        || next == Some(&b'.') && bytes.get(end + 1).is_some_and(|b| b.is_ascii_alphanumeric());
    if longer {
        return;
    }
    let length = bytes[..start].iter().rev().take(120).take_while(|b| is_host(b)).count();
    let name = text[start - length..start].trim_start_matches(['.', '-']);
    let from = start - name.len();
    let before = from.checked_sub(1).map(|n| bytes[n]);
    if name.is_empty()
        || before.is_some_and(|b| b"_/\\$~".contains(&b) && !text[..from].ends_with("//"))
    {
        return;
    }
    let full = text[from..end].to_ascii_lowercase();
    if COMMON_HOSTS.iter().any(|c| full == *c)
        || full.ends_with(".svc.cluster.local")
        || full.ends_with(".cluster.local")
        || is_example(&full)
        || name.contains("example")
    {
        return;
    }
    // Nobody names a module like this.
    let plain = [
        "host",
        "hostname",
        "server",
        "ssh",
        "ping",
        "connected to",
        "curl",
        "nslookup",
        "dig",
        "to",
        "from",
        "on",
        "at",
    ];
    let said = super::before(text, from, 24)
        .trim_end_matches([' ', ':', '=', '"', '\'', '`'])
        .to_ascii_lowercase();
    let said = plain.iter().any(|w| {
        said.strip_suffix(w).is_some_and(|r| !r.ends_with(|c: char| c.is_ascii_alphanumeric()))
    });
    // `settings.local` and `module.internal` are names in code; hosts stand in URLs, after `@`,
    // before a port, or are numbered.
    let located = said
        || (name.contains('.') && name.split('.').all(|label| label.len() >= 3 && label != "env"))
            && !matches!(&full[name.len()..], ".internal")
            && !matches!(next, Some(b'=' | b'[' | b';'))
        || text[..from].ends_with("//")
        || before == Some(b'@')
        || matches!((next, bytes.get(end + 1)), (Some(b':'), Some(b)) if b.is_ascii_digit())
        || name.bytes().any(|b| b.is_ascii_digit() || b == b'-');
    let plain_code = before.is_none_or(|b| b != b'.') && !text[from..end].contains("..");
    if located && plain_code && !full.starts_with(|c: char| c.is_ascii_digit() && name.len() < 3) {
        hits.push(Hit::new(from, end, &HOST));
    }
}
