//! What a name says about its value.

use super::words::split_words;

/// How much a name promises that its value is a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strength {
    /// A person chose it: short or simple values count.
    Password,
    /// `pass`, which is also what a test does.
    Pass,
    /// A machine made it.
    Secret,
    /// Only a value that is plainly random counts.
    Weak,
}

/// Keywords that a name of interest contains one of.
#[rustfmt::skip]
pub const KEYWORDS: &[&str] = &[
    "pass", "pwd", "secret", "token", "key", "auth", "cred", "sig", "sid", "session", "jwt", "otp", "appid",
    "csrf", "xsrf", "psk", "mnemonic", "seed", "kennwort", "senha", "contrasena", "pw", "webhook",
    "hmac", "salt", "_pat", "sonar.login", "bundle_",
];

/// Qualifiers that make a `key` secret.
#[rustfmt::skip]
const SECRET_KEYS: &[&str] = &[
    "access", "account", "activation", "admin", "aes", "algolia", "anthropic", "api", "app", "application",
    "auth", "aws", "azure", "base", "bot", "cipher", "client", "cohere", "consumer", "crypt",
    "crypto", "datadog", "dd", "decryption", "deploy", "encrypt", "encryption", "function", "gcp",
    "gemini", "google", "groq", "hmac", "host", "ingest", "integration", "jwt", "license",
    "management", "master", "mistral", "openai", "private", "recovery", "root", "sas", "secret", "security",
    "sendgrid", "server", "service", "session", "shared", "signature", "signing", "sign", "ssh",
    "storage", "stripe", "subscription", "super", "twilio", "unseal", "vault", "webhook", "write",
];

/// Words before a noun that make it something else.
#[rustfmt::skip]
const HARMLESS_BEFORE: &[&str] = &[
    "max", "min", "num", "total", "next", "page", "eos", "bos", "pad", "unk", "mask", "sep", "cls",
    "special", "stop", "prev", "previous", "continuation", "cancellation", "completion", "prompt",
    "count", "no", "without", "forgot", "public", "primary", "foreign", "cache", "partition",
    "sort", "input", "output", "object", "row", "hash", "lookup", "dict", "map", "idempotency", "i18n",
    "translation", "locale", "message", "item", "group", "index", "range", "routing", "dedup",
    "dedupe", "config", "setting", "react", "json", "column", "field", "shortcut", "hot", "unique",
    "natural", "composite", "surrogate", "join", "host",
];

/// Words after a noun that make it something about the secret.
#[rustfmt::skip]
const HARMLESS_AFTER: &[&str] = &[
    "age", "alg", "algorithm", "arn", "attempts", "backend", "budget", "builder", "button",
    "callback", "change", "changed", "check", "class", "client", "column", "count", "created",
    "detail", "details", "dialog", "dir", "enabled", "encoder", "encoding", "encryption", "endpoint", "env", "error", "event",
    "exchange", "exists", "expiration", "expired", "expires", "expiry", "extractor", "factory",
    "fail", "failed", "feature", "field", "file", "filename", "filter", "flow", "folder", "form",
    "format", "function", "generator", "getter", "gid", "handler", "hasher", "hashing", "helper", "hint", "id",
    "identifier", "ids", "impl", "index", "info", "input", "interceptor", "invalid", "issuer",
    "key_name", "kind", "kwargs", "label", "len", "length", "limit", "link", "location", "manager",
    "management", "max", "message", "mgr", "middleware", "min", "method", "mode", "model", "module", "mount", "name",
    "names", "needed", "op", "ops", "option", "options", "page", "parameter", "params", "parser",
    "passes", "path", "pattern", "pipeline", "plugin", "policy", "precedence", "prefix", "processor", "prompt",
    "protocol", "provider", "quota", "reader", "ref", "regex", "repository", "req", "request",
    "required", "reset", "resolver", "response", "result", "returns", "rotation", "rule", "rules",
    "schema", "scope", "scopes", "screen", "serializer", "service", "size", "source", "spec",
    "state", "status", "step", "storage", "store", "strength", "structure", "suffix", "t", "test",
    "tests", "through", "title", "tool", "trait", "transform", "ttl", "type", "uid", "updater",
    "uri", "url", "usage", "user", "userdata", "username", "util", "utils", "valid", "validator", "verify",
    "version", "view", "writer",
];

/// What people have a `pass` for.
#[rustfmt::skip]
const ACCOUNTS: &[&str] = &[
    "account", "admin", "amqp", "api", "app", "artifactory", "auth", "backup", "become", "basic", "broker", "cert",
    "database", "db", "docker", "elastic", "email", "es", "ftp", "git", "github", "grafana", "http",
    "htpasswd", "imap", "jenkins", "jira", "kafka", "key", "keystore", "ldap", "login", "mail", "master", "mongo",
    "mqtt", "my", "mysql", "nexus", "ora", "oracle", "pg", "pop", "postgres", "proxy", "rabbit",
    "rabbitmq", "rds", "redis", "registry", "remote", "root", "service", "sftp", "smb", "smtp", "snmp",
    "sql", "ssh", "store", "su", "sudo", "superuser", "svc", "user", "vpn", "web", "wifi",
];

const PASSWORDS: &[&str] = &[
    "password",
    "passwd",
    "passphrase",
    "passcode",
    "passwort",
    "kennwort",
    "senha",
    "contrasena",
    "pwd",
    "pw",
    "psk",
    "mnemonic",
    "pswd",
    "passw",
];
const SECRETS: &[&str] =
    &["secret", "token", "credential", "credentials", "apikey", "secrets", "pat"];
#[rustfmt::skip]
const WEAK: &[&str] = &[
    "auth", "key", "sig", "signature", "sid", "session", "sessionid", "jwt", "otp", "csrf", "xsrf",
    "hmac", "salt", "seed", "webhook", "tokens", "appid",
];
/// Compounds written as one word.
#[rustfmt::skip]
const SECRET_ENDS: &[&str] = &[
    "apikey", "secretkey", "privatekey", "accesskey", "authkey", "masterkey", "accountkey",
    "sharedkey", "encryptionkey", "sharedaccesskey", "secret", "authtoken",
    "accesstoken", "refreshtoken", "bearertoken", "apitoken", "bottoken", "usertoken", "idtoken",
    "sessiontoken", "clientsecret", "jsessionid", "phpsessid", "aspsessionid", "sessionid", "appsecret", "accountkey",
];

/// The words of a name, as `lower` writes them: the name in lower case.
fn words<'a>(name: &str, lower: &'a str) -> Vec<&'a str> {
    let place = |word: &str| word.as_ptr() as usize - name.as_ptr() as usize;
    split_words(name).take(16).map(|word| &lower[place(word)..place(word) + word.len()]).collect()
}

/// Whether a name's last word is what makes it secret.
pub fn ends_in_noun(name: &str) -> bool {
    let lower = name.to_ascii_lowercase();
    let words = words(name, &lower);
    // Rails' `secret_key_base`
    let base = usize::from(words.last().is_some_and(|w| *w == "base"));
    words.len().checked_sub(1 + base).is_some_and(|last| noun(&words, last).is_some())
}

/// What a name says, or nothing.
pub fn strength(name: &str) -> Option<Strength> {
    let lower = name.to_ascii_lowercase();
    let words = words(name, &lower);
    // Both hold `user:password`.
    if is_account(name) {
        return Some(Strength::Password);
    }
    // `RABBITMQ_DEFAULT_PASS`: shouted, it is no verb.
    let shouted = name.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_');
    if shouted && words.len() > 1 && words.last().is_some_and(|w| *w == "pass") {
        return Some(Strength::Password);
    }
    if let [.., before, last] = &words[..]
        && shouted
        && *last == "key"
        && !HARMLESS_BEFORE.contains(before)
    {
        return Some(Strength::Secret);
    }
    let (at, strength) = (0..words.len()).rev().find_map(|at| Some((at, noun(&words, at)?)))?;
    let mut after = words[at + 1..].iter();
    let harmless = |w: &str| HARMLESS_AFTER.contains(&w);
    if after.any(|w| harmless(w) || w.strip_suffix('s').is_some_and(harmless)) {
        return None;
    }
    match words[at + 1..].iter().any(|w| *w == "hash" || *w == "hashes") {
        true => Some(Strength::Weak),
        false => Some(strength),
    }
}

/// Whether a name's value is a user and a password with a colon between.
pub fn is_account(name: &str) -> bool {
    name.ends_with("AuthIdent") || name.starts_with("BUNDLE_") && name.contains("__")
}

/// What the word at `at` makes of a name, unless the word before it makes it something else.
fn noun(words: &[&str], at: usize) -> Option<Strength> {
    let before = at.checked_sub(1).map_or("", |n| words[n]);
    bare_noun(words, at, before).filter(|_| !HARMLESS_BEFORE.contains(&before))
}

fn bare_noun(words: &[&str], at: usize, before: &str) -> Option<Strength> {
    let word = words[at];
    // `db_pw` is one, `pw_uid` a field of the account.
    if word == "pw" && at + 1 < words.len() {
        return None;
    }
    if PASSWORDS.contains(&word) || word.ends_with("password") || word.ends_with("passwd") {
        return Some(Strength::Password);
    }
    if before == "pass" && ["phrase", "word", "code"].contains(&word) {
        return Some(Strength::Password);
    }
    let site =
        ["gitlab", "grafana", "laravel", "wordpress", "rack", "rails", "django", "flask", "gh"];
    if word == "session" && site.contains(&before) || word == "key" && before.ends_with("api") {
        return Some(Strength::Secret);
    }
    if word == "pass" {
        let before = match at.checked_sub(2) {
            Some(n) if ["default", "initial", "old", "new", "temp"].contains(&before) => words[n],
            _ => before,
        };
        // `pass: 10` is a test report, a render pass draws; `db_pass` and `SMTP_PASS` do not.
        if at == 0 {
            return (words.len() == 1).then_some(Strength::Pass);
        }
        return ACCOUNTS.contains(&before).then_some(Strength::Password);
    }
    if word.strip_suffix("pass").is_some_and(|account| ACCOUNTS.contains(&account))
        || word.ends_with("pwd") && word.len() <= 10
        || ["rootpw", "bindpw", "adminpw", "userpw", "dbpw"].contains(&word)
    {
        return Some(Strength::Password);
    }
    if word == "pat"
        && !["github", "gitlab", "gh", "azure", "devops", "ado", "access", "git"].contains(&before)
    {
        return None;
    }
    if word.len() > 5 && word.len() <= 20 && word.ends_with("token")
        || word == "signature" && ["amz", "goog"].contains(&before)
        || word == "login" && before == "sonar"
    {
        return Some(Strength::Secret);
    }
    let is_compound = || SECRET_ENDS.iter().any(|end| word.ends_with(end));
    let may_be_compound = ["key", "token", "secret", "id"].iter().any(|end| word.ends_with(end));
    if SECRETS.contains(&word) || may_be_compound && is_compound() {
        return Some(Strength::Secret);
    }
    if word == "key" && SECRET_KEYS.contains(&before) {
        return Some(Strength::Secret);
    }
    // `client-key-data` and `API_KEY_2` name the key, `sort_key` and `keyboard` do not.
    if word == "signingkey" {
        // Git's is the id of a key.
        return Some(Strength::Weak);
    }
    WEAK.contains(&word).then_some(Strength::Weak)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_what_they_hold() {
        let table = [
            ("password", Some(Strength::Password)),
            ("DB_PASSWORD", Some(Strength::Password)),
            ("spring.datasource.password", Some(Strength::Password)),
            ("pgpassword", Some(Strength::Password)),
            ("smtpPass", Some(Strength::Password)),
            ("adminPwd2", Some(Strength::Password)),
            ("AWS_SECRET_ACCESS_KEY", Some(Strength::Secret)),
            ("apiKey", Some(Strength::Secret)),
            ("x-api-key", Some(Strength::Secret)),
            ("SECRET_KEY_BASE", Some(Strength::Secret)),
            ("STRIPE_KEY", Some(Strength::Secret)),
            ("clientSecret", Some(Strength::Secret)),
            ("client-key-data", Some(Strength::Secret)),
            ("TOKEN_GITHUB", Some(Strength::Secret)),
            ("AccountKey", Some(Strength::Secret)),
            ("_authToken", Some(Strength::Secret)),
            ("key", Some(Strength::Weak)),
            ("session_id", None),
            ("sessionid", Some(Strength::Secret)),
            ("WIDGET_KEY", Some(Strength::Secret)),
            ("widget_key", Some(Strength::Weak)),
            ("QUEUE_DEFAULT_PASS", Some(Strength::Password)),
            ("max_tokens", None),
            ("eos_token", None),
            ("token_count", None),
            ("tokenizer", None),
            ("primary_key", None),
            ("publicKey", None),
            ("sort_key", None),
            ("keyboard", None),
            ("monkey", None),
            ("bypass", None),
            ("passwordResetUrl", None),
            ("SECRET_NAME", None),
            ("author", None),
            ("api_key_env", None),
            ("compass", None),
        ];
        for (name, expected) in table {
            assert_eq!(strength(name), expected, "{name}");
        }
    }
}
