//! A team's own rules: patterns from a script, and rules from files in gitleaks' format.

use aho_corasick::AhoCorasick;
use anyhow::{Context, Result, anyhow, ensure};

use super::gitleaks::GitleaksRule;
use super::policy::Class;
use super::rules::{Hit, Rule};

/// How often a pattern may step back before it is refused.
const BACKTRACKS: usize = 200_000;
/// How long a label may be.
const LABEL: usize = 24;

/// A rule of the team's own.
#[derive(Debug, Clone)]
pub struct TeamRule {
    /// Its name in counts and errors; in capitals, it is the label of its placeholders.
    pub name: String,
    /// How it finds what has to go.
    pub search: Search,
}

/// How a team's rule finds what has to go.
#[derive(Debug, Clone)]
pub enum Search {
    /// A `fancy-regex` pattern. Its first group is redacted where it has one, else the match.
    Pattern(String),
    /// A rule of a gitleaks file.
    Gitleaks(GitleaksRule),
}

/// The label of a rule: its name in capitals.
fn label(name: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' };
    let mut label: String = name.chars().map(plain).take(LABEL).collect();
    while label.ends_with('_') {
        label.pop();
    }
    label
}

impl TeamRule {
    /// A rule of a script: a `fancy-regex` pattern under a name.
    pub fn pattern(name: &str, pattern: &str) -> Self {
        let search = Search::Pattern(pattern.into());
        TeamRule { name: name.into(), search }
    }

    /// What hits of a rule of that name are counted as. An error names the rule and says what its
    /// name must be.
    pub(super) fn named(name: &str) -> Result<Rule> {
        let label = label(name);
        ensure!(
            label.starts_with(|c: char| c.is_ascii_alphanumeric()),
            "redaction rule `{name}`: its name must begin with a letter or a digit"
        );
        Ok(Rule {
            name: name.to_string().into(),
            label: format!("TEAM_{label}").into(),
            class: Class::Team,
        })
    }
}

enum Compiled {
    Pattern(Box<fancy_regex::Regex>),
    Gitleaks(GitleaksRule),
}

/// All of a team's rules, compiled.
pub(super) struct TeamRules {
    rules: Vec<(Rule, Compiled)>,
    /// The words that call for a rule, and for which.
    keywords: Option<(AhoCorasick, Vec<usize>)>,
}

impl TeamRules {
    /// Compiles rules. One that is no valid pattern is an error that names it.
    pub fn new(written: &[TeamRule]) -> Result<Self> {
        let mut rules = Vec::with_capacity(written.len());
        let (mut words, mut wanted) = (Vec::new(), Vec::new());
        for (index, team) in written.iter().enumerate() {
            let compiled = match &team.search {
                Search::Pattern(pattern) => Compiled::Pattern(Box::new(compile(team, pattern)?)),
                Search::Gitleaks(rule) => {
                    words.extend(rule.keywords.iter().cloned());
                    wanted.extend(rule.keywords.iter().map(|_| index));
                    Compiled::Gitleaks(rule.clone())
                }
            };
            rules.push((TeamRule::named(&team.name)?, compiled));
        }
        let keywords = match words.is_empty() {
            true => None,
            false => {
                let automaton = AhoCorasick::builder().ascii_case_insensitive(true).build(&words);
                Some((automaton.context("the keywords of the team's rules are too many")?, wanted))
            }
        };
        Ok(TeamRules { rules, keywords })
    }

    /// What the rules find in a text. A pattern that backtracks too long is an error that names
    /// the rule.
    pub fn scan(&self, text: &str, hits: &mut Vec<Hit>) -> Result<()> {
        if self.rules.is_empty() {
            return Ok(());
        }
        let called = self.called(text);
        for (index, (rule, compiled)) in self.rules.iter().enumerate() {
            match compiled {
                Compiled::Pattern(pattern) => {
                    for found in pattern.captures_iter(text) {
                        // The error may quote the pattern, never the text.
                        let found = found.map_err(|e| {
                            anyhow!(
                                "redaction rule `{}`: {e}; write it with less repetition",
                                rule.name
                            )
                        })?;
                        if let Some(span) = found.get(1).or_else(|| found.get(0)) {
                            hits.push(Hit::new(span.start(), span.end(), rule));
                        }
                    }
                }
                Compiled::Gitleaks(gitleaks) => {
                    if called[index] || gitleaks.keywords.is_empty() {
                        gitleaks
                            .find(text, &mut |start, end| hits.push(Hit::new(start, end, rule)));
                    }
                }
            }
        }
        Ok(())
    }

    /// Which rules a keyword in the text calls for.
    fn called(&self, text: &str) -> Vec<bool> {
        let mut called = vec![false; self.rules.len()];
        if let Some((automaton, wanted)) = &self.keywords {
            for found in automaton.find_overlapping_iter(text) {
                called[wanted[found.pattern().as_usize()]] = true;
            }
        }
        called
    }
}

fn compile(team: &TeamRule, pattern: &str) -> Result<fancy_regex::Regex> {
    fancy_regex::RegexBuilder::new(pattern)
        .backtrack_limit(BACKTRACKS)
        .build()
        .map_err(|e| anyhow!("redaction rule `{}`: {e}", team.name))
}
