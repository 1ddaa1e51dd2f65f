//! What is redacted.

use std::collections::BTreeSet;

use anyhow::{Result, bail};
use serde::{Deserialize, Serialize};

use crate::config::Config;

/// A kind of secret or personal datum; rules of one class are switched together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// Tokens with a shape of their vendor's own.
    Vendor,
    /// JSON web tokens.
    Jwt,
    /// Private keys, whole or cut.
    PrivateKey,
    /// What a team's own rule found.
    Team,
    /// Authorization and cookie headers.
    Header,
    /// Passwords in URLs.
    Url,
    /// Passwords on command lines.
    Command,
    /// netrc and pgpass lines.
    CredentialFile,
    /// Stored password hashes.
    PasswordHash,
    /// A value assigned to a name such as `*_KEY` or `password`.
    Assignment,
    /// E-mail addresses.
    Email,
    /// Phone numbers.
    Phone,
    /// Public IP addresses.
    Ip,
    /// Payment card numbers.
    Card,
    /// International bank account numbers.
    Iban,
    /// User names, as home folders and prompts show them.
    User,
    /// Host names that are plainly private.
    Host,
}

impl Class {
    /// Every class with built-in rules.
    pub const BUILT_IN: [Class; 16] = [
        Class::Vendor,
        Class::Jwt,
        Class::PrivateKey,
        Class::Header,
        Class::Url,
        Class::Command,
        Class::CredentialFile,
        Class::PasswordHash,
        Class::Assignment,
        Class::Email,
        Class::Phone,
        Class::Ip,
        Class::Card,
        Class::Iban,
        Class::User,
        Class::Host,
    ];

    /// The name used in files and messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Class::Vendor => "vendor",
            Class::Jwt => "jwt",
            Class::PrivateKey => "private_key",
            Class::Team => "team",
            Class::Header => "header",
            Class::Url => "url",
            Class::Command => "command",
            Class::CredentialFile => "credential_file",
            Class::PasswordHash => "password_hash",
            Class::Assignment => "assignment",
            Class::Email => "email",
            Class::Phone => "phone",
            Class::Ip => "ip",
            Class::Card => "card",
            Class::Iban => "iban",
            Class::User => "user",
            Class::Host => "host",
        }
    }

    /// Whether it is personal data; everything else is a secret.
    pub fn is_personal(self) -> bool {
        self >= Class::Email
    }
}

/// A rule of the team's own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TeamRule {
    /// Its name in counts and errors.
    pub name: String,
    /// Upper-case letters, digits and `_`: a hit becomes `<SECRET_{label}_n>`.
    pub label: String,
    /// A `fancy-regex` pattern. Its first group is redacted where it has one, else the match.
    pub pattern: String,
}

/// What is redacted and how much of it a row may lose.
#[derive(Clone)]
pub struct Policy {
    /// Redact secrets.
    pub secrets: bool,
    /// Redact personal data.
    pub pii: bool,
    /// Classes switched off nevertheless; canaries of them are still planted, so that the proof
    /// shows what is missing.
    pub without: BTreeSet<Class>,
    /// Literal values that are never redacted.
    pub allow: Vec<String>,
    /// A row that lost more than this share of its text teaches nothing.
    pub max_share: f64,
    /// Rules besides the built-in ones.
    pub extra: Vec<TeamRule>,
}

impl Default for Policy {
    fn default() -> Self {
        Policy {
            secrets: true,
            pii: true,
            without: BTreeSet::new(),
            allow: Vec::new(),
            max_share: 0.5,
            extra: Vec::new(),
        }
    }
}

impl Policy {
    /// The policy of `REDACT_CLASSES`, `REDACT_ALLOW` and `REDACT_MAX_SHARE`.
    pub fn from_config(config: &Config) -> Result<Self> {
        let mut policy = Policy {
            secrets: false,
            pii: false,
            allow: config.list("REDACT_ALLOW"),
            max_share: config.float("REDACT_MAX_SHARE"),
            ..Policy::default()
        };
        for word in config.list("REDACT_CLASSES") {
            match word.as_str() {
                "secrets" => policy.secrets = true,
                "pii" => policy.pii = true,
                _ => bail!(
                    "{}: REDACT_CLASSES={word}: expected secrets, pii, or both",
                    config.provenance("REDACT_CLASSES")
                ),
            }
        }
        Ok(policy)
    }

    /// Whether the policy asks for a class at all.
    pub fn covers(&self, class: Class) -> bool {
        match class {
            Class::Team => true,
            _ if class.is_personal() => self.pii,
            _ => self.secrets,
        }
    }

    /// Whether a class is searched for.
    pub fn searches(&self, class: Class) -> bool {
        self.covers(class) && !self.without.contains(&class)
    }
}

impl std::fmt::Debug for Policy {
    /// Leaves the allowed values out: what is not redacted may still be nobody else's business.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Policy")
            .field("secrets", &self.secrets)
            .field("pii", &self.pii)
            .field("without", &self.without)
            .field("allow", &self.allow.len())
            .field("max_share", &self.max_share)
            .field("extra", &self.extra)
            .finish()
    }
}
