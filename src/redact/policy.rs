//! What is redacted.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use super::gitleaks;
use super::team::TeamRule;
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

/// What is redacted and how much of it a row may lose.
#[derive(Clone)]
pub struct Policy {
    /// What is redacted.
    pub classes: BTreeSet<Class>,
    /// Classes switched off nevertheless; canaries of them are still planted, so that the proof
    /// shows what is missing.
    pub without: BTreeSet<Class>,
    /// Literal values that are never redacted.
    pub allow: Vec<String>,
    /// A row that lost more than this share of its text teaches nothing.
    pub max_share: f64,
    /// A message in which one of these is found is left out, with what cannot stand without it.
    pub drop_message: BTreeSet<Class>,
    /// A session in which one of these is found is left out.
    pub drop_session: BTreeSet<Class>,
    /// Rules besides the built-in ones.
    pub extra: Vec<TeamRule>,
    /// SHA-256 of the files that rules came from.
    pub rule_files: Vec<String>,
}

impl Default for Policy {
    fn default() -> Self {
        Policy {
            classes: Class::BUILT_IN.into(),
            without: BTreeSet::new(),
            allow: Vec::new(),
            max_share: 0.5,
            drop_message: BTreeSet::new(),
            drop_session: BTreeSet::new(),
            extra: Vec::new(),
            rule_files: Vec::new(),
        }
    }
}

impl Policy {
    /// The policy that the `REDACT_…` keys describe.
    pub fn from_config(config: &Config) -> Result<Self> {
        let mut policy = Policy {
            classes: classes(config, "REDACT_CLASSES")?,
            allow: config.list("REDACT_ALLOW"),
            max_share: config.float("REDACT_MAX_SHARE"),
            drop_message: classes(config, "REDACT_DROP_MESSAGE")?,
            drop_session: classes(config, "REDACT_DROP_SESSION")?,
            ..Policy::default()
        };
        for path in config.list("REDACT_RULES") {
            let place = || format!("{}: REDACT_RULES", config.provenance("REDACT_RULES"));
            let file = gitleaks::read(Path::new(&path)).with_context(place)?;
            policy.extra.extend(file.rules);
            policy.rule_files.extend(file.digests);
        }
        Ok(policy)
    }

    /// Whether the policy asks for a class at all.
    pub fn covers(&self, class: Class) -> bool {
        class == Class::Team || self.classes.contains(&class)
    }

    /// Whether a class is searched for.
    pub fn searches(&self, class: Class) -> bool {
        self.covers(class) && !self.without.contains(&class)
    }
}

/// A list of `secrets`, `pii` and names of classes; a `-` before one takes it away again.
fn classes(config: &Config, key: &str) -> Result<BTreeSet<Class>> {
    let all: Vec<Class> = Class::BUILT_IN.into_iter().chain([Class::Team]).collect();
    let mut chosen = BTreeSet::new();
    for word in config.list(key) {
        let (name, wanted) = match word.strip_prefix('-') {
            Some(name) => (name, false),
            None => (word.as_str(), true),
        };
        let named: Vec<Class> = match name {
            "secrets" => all.iter().copied().filter(|c| !c.is_personal()).collect(),
            "pii" => all.iter().copied().filter(|c| c.is_personal()).collect(),
            _ => all.iter().copied().filter(|c| c.as_str() == name).collect(),
        };
        if named.is_empty() {
            let known: Vec<_> = all.iter().map(|c| c.as_str()).collect();
            bail!(
                "{}: {key}={word}: expected secrets, pii, or one of {}; with - before it, it is \
                 taken away again",
                config.provenance(key),
                known.join(", ")
            );
        }
        for class in named {
            if wanted {
                chosen.insert(class)
            } else {
                chosen.remove(&class)
            };
        }
    }
    Ok(chosen)
}

impl std::fmt::Debug for Policy {
    /// Leaves the allowed values out: what is not redacted may still be nobody else's business.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Policy")
            .field("classes", &self.classes)
            .field("without", &self.without)
            .field("allow", &self.allow.len())
            .field("max_share", &self.max_share)
            .field("drop_message", &self.drop_message)
            .field("drop_session", &self.drop_session)
            .field("extra", &self.extra)
            .finish()
    }
}
