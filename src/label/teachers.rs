//! Whose messages teach.

use anyhow::{Context, Result, ensure};
use glob::Pattern;

use crate::config::Config;
use crate::trace::{Message, Outcome};

/// Which authors are trained on: patterns over the names of models.
#[derive(Debug, Clone, PartialEq)]
pub struct Teachers {
    allowed: Vec<Pattern>,
    denied: Vec<Pattern>,
    /// The base under training, by its name in lower case.
    own: Option<String>,
    /// Adapters that were taken back, by the names they served under.
    rolled_back: Vec<Pattern>,
}

/// A pattern of a key, in lower case.
fn pattern(config: &Config, key: &str, given: &str, text: &str) -> Result<Pattern> {
    let place = || format!("{}: {key}: `{given}`", config.provenance(key));
    ensure!(!text.is_empty(), "{} names nobody", place());
    Pattern::new(&text.to_lowercase()).with_context(|| format!("{} is no pattern", place()))
}

impl Teachers {
    /// From `TEACHERS`, a list of patterns such as `openai/*` or `!*-tiny`, `ROLLED_BACK`, and
    /// `BASE_MODEL`.
    pub fn from_config(config: &Config) -> Result<Teachers> {
        let (mut allowed, mut denied) = (Vec::new(), Vec::new());
        for given in config.list("TEACHERS") {
            let (list, text) = match given.strip_prefix('!') {
                Some(rest) => (&mut denied, rest),
                None => (&mut allowed, given.as_str()),
            };
            list.push(pattern(config, "TEACHERS", &given, text)?);
        }
        let rolled_back = config.list("ROLLED_BACK");
        let rolled_back =
            rolled_back.iter().map(|given| pattern(config, "ROLLED_BACK", given, given));
        let rolled_back = rolled_back.collect::<Result<_>>()?;
        let own = config.path("BASE_MODEL").and_then(|path| {
            let name = path.file_stem()?.to_str()?.to_lowercase();
            (!name.is_empty()).then_some(name)
        });
        Ok(Teachers { allowed, denied, own, rolled_back })
    }

    /// Why a message is not trained because of who wrote it, if so.
    ///
    /// What the base under training wrote itself teaches it nothing new, and what an adapter wrote
    /// that was taken back teaches the wrong thing, unless it is known to be good. A message without an author and one by a person are judged by `TEACHERS` only where
    /// it names those it allows.
    pub fn objection(&self, message: &Message, outcome: Outcome) -> Option<&'static str> {
        let author = message.author.as_deref().unwrap_or_default().to_lowercase();
        let model = author.rsplit('/').next().unwrap_or_default();
        let named =
            |patterns: &[Pattern]| patterns.iter().any(|p| p.matches(&author) || p.matches(model));
        if named(&self.denied) {
            return Some("teacher_denied");
        }
        if !self.allowed.is_empty() && !named(&self.allowed) {
            return Some("teacher_not_allowed");
        }
        if named(&self.rolled_back) && outcome != Outcome::Good {
            return Some("rolled_back");
        }
        let own = self.own.as_ref().is_some_and(|own| model == own);
        (own && outcome != Outcome::Good).then_some("self_written")
    }
}
