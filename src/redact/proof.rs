//! The evidence behind `redaction_ok`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Class, Policy, Redacted, second};

/// How many planted canaries of one class were found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recall {
    /// Canaries planted.
    pub planted: u64,
    /// Canaries that redaction removed.
    pub found: u64,
}

impl Recall {
    fn add(&mut self, more: Recall) {
        self.planted += more.planted;
        self.found += more.found;
    }

    /// The share found; zero when nothing was planted, since that proves nothing.
    pub fn share(self) -> f64 {
        if self.planted == 0 { 0.0 } else { self.found as f64 / self.planted as f64 }
    }
}

/// What planting in shadow copies measured.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Canaries {
    /// Secrets and personal data, by class.
    pub by_class: BTreeMap<String, Recall>,
    /// Look-alikes that should stay, by what they are.
    pub decoys: BTreeMap<String, Recall>,
}

/// What is known about the redaction of one dataset.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proof {
    /// Canaries planted, over all classes.
    pub planted: u64,
    /// Canaries found, over all classes.
    pub found: u64,
    /// The same by class.
    pub by_class: BTreeMap<String, Recall>,
    /// Harmless look-alikes planted beside them, and how many were redacted all the same: an
    /// estimate of what redaction takes too much.
    pub decoys: BTreeMap<String, Recall>,
    /// Places redacted, by rule.
    pub by_rule: BTreeMap<String, u64>,
    /// Rows the second scan read.
    pub rows: u64,
    /// Rows in which it found something.
    pub residue_rows: u64,
    /// What it found, by class.
    pub residue: BTreeMap<String, u64>,
}

impl Proof {
    /// Takes up what [`super::canaries`] measured.
    pub fn canaries(&mut self, measured: Canaries) {
        for (class, recall) in measured.by_class {
            self.planted += recall.planted;
            self.found += recall.found;
            self.by_class.entry(class).or_default().add(recall);
        }
        for (decoy, recall) in measured.decoys {
            self.decoys.entry(decoy).or_default().add(recall);
        }
    }

    /// Both together.
    pub fn and(&mut self, other: &Proof) {
        let Proof { by_class, decoys, .. } = other.clone();
        self.canaries(Canaries { by_class, decoys });
        self.rows += other.rows;
        self.residue_rows += other.residue_rows;
        for (rule, n) in &other.by_rule {
            *self.by_rule.entry(rule.clone()).or_default() += n;
        }
        for (class, n) in &other.residue {
            *self.residue.entry(class.clone()).or_default() += n;
        }
    }

    /// The share of decoys that were redacted.
    pub fn over_redaction(&self) -> f64 {
        let mut all = Recall::default();
        self.decoys.values().for_each(|recall| all.add(*recall));
        all.share()
    }

    /// Adds the counts of a redacted trace.
    pub fn redacted(&mut self, redacted: &Redacted) {
        for (rule, count) in &redacted.account.counts {
            *self.by_rule.entry(rule.clone()).or_default() += count;
        }
    }

    /// Reads a written row with the second scanner; true when it found nothing.
    pub fn row(&mut self, policy: &Policy, text: &str) -> bool {
        self.rows += 1;
        let mut clean = true;
        for finding in second::scan(text) {
            let value = &text[finding.start..finding.end];
            if policy.covers(class_of(finding.class)) && !policy.allow.iter().any(|a| a == value) {
                clean = false;
                *self.residue.entry(finding.class.as_str().into()).or_default() += 1;
            }
        }
        self.residue_rows += u64::from(!clean);
        clean
    }

    /// The recall of the worst class: an average would hide a class that is never found.
    pub fn recall(&self) -> f64 {
        let worst = self.by_class.values().map(|r| r.share()).min_by(f64::total_cmp);
        worst.unwrap_or(0.0)
    }

    /// Whether canary recall and residue keep their bounds. Fails closed: without canaries or
    /// without a second scan nothing is proven.
    pub fn holds(&self, min_recall: f64, max_residue: u64) -> bool {
        self.planted > 0
            && self.rows > 0
            && self.recall() >= min_recall
            && self.residue_rows <= max_residue
    }
}

/// The class that the first scanner knows a finding of the second by.
fn class_of(kind: second::Kind) -> Class {
    match kind {
        second::Kind::Token => Class::Vendor,
        second::Kind::WebToken => Class::Jwt,
        second::Kind::PasswordHash => Class::PasswordHash,
        second::Kind::PrivateKey => Class::PrivateKey,
        second::Kind::UrlPassword => Class::Url,
        second::Kind::Header => Class::Header,
        second::Kind::Assignment => Class::Assignment,
        second::Kind::Email => Class::Email,
        second::Kind::Phone => Class::Phone,
        second::Kind::Ip => Class::Ip,
        second::Kind::Card => Class::Card,
        second::Kind::Iban => Class::Iban,
        second::Kind::User => Class::User,
    }
}
