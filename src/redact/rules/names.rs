//! What a name says about its value.

use super::values::split_words;

/// How much a name promises that its value is a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strength {
    /// A person chose it: short or simple values count.
    Password,
    /// A machine made it.
    Secret,
    /// Only a value that is plainly random counts.
    Weak,
}

/// Keywords that a name of interest contains one of.
#[rustfmt::skip]
pub const KEYWORDS: &[&str] = &[
    "pass", "pwd", "secret", "token", "key", "auth", "cred", "sig", "sid", "session", "jwt", "otp",
    "csrf", "xsrf", "psk", "mnemonic", "seed", "kennwort", "senha", "contrasena", "pw", "webhook",
    "hmac", "salt", "_pat",
];

/// Qualifiers that make a `key` secret.
#[rustfmt::skip]
const SECRET_KEYS: &[&str] = &[
    "access", "account", "admin", "aes", "algolia", "anthropic", "api", "app", "application",
    "auth", "aws", "azure", "base", "bot", "cipher", "client", "cohere", "consumer", "crypt",
    "crypto", "datadog", "dd", "decryption", "deploy", "encrypt", "encryption", "function", "gcp",
    "gemini", "google", "groq", "hmac", "host", "ingest", "integration", "jwt", "license",
    "management", "master", "mistral", "openai", "private", "root", "sas", "secret", "security",
    "sendgrid", "server", "service", "session", "shared", "signature", "signing", "sign", "ssh",
    "storage", "stripe", "subscription", "super", "twilio", "unseal", "vault", "webhook", "write",
];

/// Words before a noun that make it something else.
#[rustfmt::skip]
const HARMLESS_BEFORE: &[&str] = &[
    "max", "min", "num", "total", "next", "page", "eos", "bos", "pad", "unk", "mask", "sep", "cls",
    "special", "stop", "prev", "previous", "continuation", "cancellation", "completion", "prompt",
    "count", "no", "without", "forgot", "public", "primary", "foreign", "cache", "partition",
    "sort", "input", "output",
];

/// Words after a noun that make it something about the secret.
#[rustfmt::skip]
const HARMLESS_AFTER: &[&str] = &[
    "age", "alg", "algorithm", "arn", "attempts", "budget", "callback", "change", "changed",
    "check", "class", "column", "count", "created", "dir", "endpoint", "enabled", "env", "error",
    "exists", "expired", "expires", "expiration", "expiry", "field", "file", "filename", "folder",
    "format", "generator", "handler", "hint", "id", "identifier", "ids", "index", "input",
    "invalid", "key_name", "label", "len", "length", "limit", "location", "manager", "max", "min",
    "mode", "name", "names", "needed", "page", "parameter", "params", "path", "pattern", "policy",
    "prefix", "prompt", "provider", "ref", "regex", "required", "reset", "rotation", "rules",
    "scope", "scopes", "size", "source", "status", "store", "strength", "suffix", "title", "ttl",
    "type", "uri", "url", "usage", "valid", "validator", "verify", "version",
];

#[rustfmt::skip]
const PASSWORDS: &[&str] = &[
    "password", "passwd", "passphrase", "passcode", "passwort", "kennwort", "senha", "contrasena",
    "pwd", "pw", "psk", "mnemonic", "pswd", "passw",
];
const SECRETS: &[&str] =
    &["secret", "token", "credential", "credentials", "apikey", "secrets", "pat"];
#[rustfmt::skip]
const WEAK: &[&str] = &[
    "auth", "key", "sig", "signature", "sid", "session", "sessionid", "jwt", "otp", "csrf", "xsrf",
    "hmac", "salt", "seed", "webhook", "tokens",
];
/// Compounds written as one word.
#[rustfmt::skip]
const SECRET_ENDS: &[&str] = &[
    "apikey", "secretkey", "privatekey", "accesskey", "authkey", "masterkey", "accountkey",
    "sharedkey", "signingkey", "encryptionkey", "sharedaccesskey", "secret", "authtoken",
    "accesstoken", "refreshtoken", "bearertoken", "apitoken", "bottoken", "usertoken", "idtoken",
    "sessiontoken", "clientsecret", "appsecret", "accountkey",
];

/// What a name says, or nothing.
pub fn strength(name: &str) -> Option<Strength> {
    let words: Vec<String> = split_words(name).map(str::to_ascii_lowercase).take(16).collect();
    let (at, strength) = (0..words.len()).rev().find_map(|at| Some((at, noun(&words, at)?)))?;
    let mut after = words[at + 1..].iter();
    if after.any(|w| HARMLESS_AFTER.contains(&w.as_str())) {
        return None;
    }
    match words[at + 1..].iter().any(|w| w == "hash" || w == "hashes") {
        true => Some(Strength::Weak),
        false => Some(strength),
    }
}

fn noun(words: &[String], at: usize) -> Option<Strength> {
    let word = words[at].as_str();
    let before = at.checked_sub(1).map_or("", |n| words[n].as_str());
    if HARMLESS_BEFORE.contains(&before) {
        return None;
    }
    if PASSWORDS.contains(&word) || word.ends_with("password") || word.ends_with("passwd") {
        return Some(Strength::Password);
    }
    if word == "pass" {
        // `pass: 10` is a test report; `db_pass` and `SMTP_PASS` are not.
        let qualified = at > 0 && !["test", "tests", "single", "first", "second"].contains(&before);
        return Some(if qualified { Strength::Password } else { Strength::Weak });
    }
    let end_pass = ["dbpass", "userpass", "sshpass", "smtppass", "mypass", "storepass", "keypass"];
    if end_pass.contains(&word) || word.ends_with("pwd") && word.len() <= 10 {
        return Some(Strength::Password);
    }
    if word == "pat" && at == 0 {
        return None;
    }
    if SECRETS.contains(&word) || SECRET_ENDS.iter().any(|end| word.ends_with(end)) {
        return Some(Strength::Secret);
    }
    if word == "key" && SECRET_KEYS.contains(&before) {
        return Some(Strength::Secret);
    }
    // `client-key-data` and `API_KEY_2` name the key, `sort_key` and `keyboard` do not.
    if word == "key" && at > 0 {
        return None;
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
            ("sessionid", Some(Strength::Weak)),
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
