//! Quality rules: each a named pure function of one example, the first one that objects wins.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Result, bail};

use super::gauge::Gauge;
use super::{Example, Held, Rows, Stage, TokenCount};
use crate::config::Config;
use crate::label::outcomes;
use crate::progress::{Counter, Observer};
use crate::trace::Outcome;

mod mend;
mod rules;

pub use mend::mend;

/// Why a rule objects: what is wrong and in which message, never what the message says.
pub type Reason = String;

/// One rule.
pub struct Rule {
    /// Its name: the reason rows it drops are counted under.
    pub name: &'static str,
    /// What it drops, in one line.
    pub doc: &'static str,
    /// Gives a reason to drop the example, or none.
    pub check: fn(&Example, &Bounds) -> Option<Reason>,
}

impl std::fmt::Debug for Rule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Rule({})", self.name)
    }
}

/// Every rule, in the order they are asked.
#[rustfmt::skip]
pub const RULES: &[Rule] = &[
    Rule { name: "outcome", doc: "the session ended in a way that TRAIN_OUTCOMES does not train", check: rules::outcome },
    Rule { name: "role_order", doc: "no user message, a system message in the middle, or answers without a question between them", check: rules::role_order },
    Rule { name: "call_pairing", doc: "a tool call without its result, or a result without its call", check: rules::call_pairing },
    Rule { name: "truncated_end", doc: "does not end on an assistant turn, or ends in the middle of one", check: rules::truncated_end },
    Rule { name: "no_trained_answer", doc: "no assistant message is trained", check: rules::no_trained_answer },
    Rule { name: "empty_answer", doc: "a trained answer with less text than MIN_ANSWER_CHARS and no tool call", check: rules::empty_answer },
    Rule { name: "undeclared_tools", doc: "a trained call of a tool that the row does not declare, where it declares any", check: rules::undeclared_tools },
    Rule { name: "tool_arguments", doc: "a trained call whose arguments break the declared schema", check: rules::tool_arguments },
    Rule { name: "identical_calls", doc: "the same call three or more times in a row, trained", check: rules::identical_calls },
    Rule { name: "repetition", doc: "a trained answer of which more than MAX_REPETITION repeats itself", check: rules::repetition },
    Rule { name: "refusal", doc: "a trained answer that only declines; not in rows made to teach that", check: rules::refusal },
    Rule { name: "control_characters", doc: "control characters in a question or answer, or NUL anywhere", check: rules::control_characters },
    Rule { name: "special_token_text", doc: "text such as <|im_start|> that a tokenizer could take for its own", check: rules::special_token_text },
];

/// The rule of a name.
pub fn rule(name: &str) -> Result<&'static Rule> {
    match RULES.iter().find(|r| r.name == name) {
        Some(rule) => Ok(rule),
        None => {
            let known: Vec<_> = RULES.iter().map(|r| r.name).collect();
            bail!("there is no quality rule `{name}`; known are {}", known.join(", "))
        }
    }
}

/// What the rules compare with.
#[derive(Debug, Clone, PartialEq)]
pub struct Bounds {
    /// The outcomes whose answers are trained.
    pub outcomes: Vec<Outcome>,
    /// The least text of an answer without calls, in characters.
    pub min_answer_chars: usize,
    /// The largest share of an answer that may repeat itself.
    pub max_repetition: f64,
    /// The most tokens of an example.
    pub max_tokens: usize,
}

impl Bounds {
    /// From `TRAIN_OUTCOMES`, `MIN_ANSWER_CHARS`, `MAX_REPETITION` and `MAX_SEQ_LENGTH`.
    pub fn from_config(config: &Config) -> Result<Bounds> {
        Ok(Bounds {
            outcomes: outcomes(config)?,
            min_answer_chars: config.size("MIN_ANSWER_CHARS"),
            max_repetition: config.float("MAX_REPETITION"),
            max_tokens: config.size("MAX_SEQ_LENGTH"),
        })
    }
}

impl Default for Bounds {
    fn default() -> Self {
        Bounds {
            outcomes: vec![Outcome::Good, Outcome::Unknown],
            min_answer_chars: 1,
            max_repetition: 0.5,
            max_tokens: usize::MAX,
        }
    }
}

/// The reason to drop rows that are too long, in tokens.
pub const TOO_LONG: &str = "too_long";

/// Mends what can be mended, then drops every row to which a rule objects: one stage `filter`
/// with a count for each rule. With `count`, rows above [`Bounds::max_tokens`] are dropped too,
/// after all rules.
pub fn standard(
    rows: &Rows,
    bounds: &Bounds,
    count: Option<&dyn TokenCount>,
    observer: &dyn Observer,
) -> Result<Rows> {
    let rules: Vec<&Rule> = RULES.iter().collect();
    filter(rows, "filter", &rules, bounds, count, observer)
}

/// [`standard`] with a choice of rules, as a stage of its own name.
pub fn filter(
    rows: &Rows,
    name: &str,
    rules: &[&Rule],
    bounds: &Bounds,
    count: Option<&dyn TokenCount>,
    observer: &dyn Observer,
) -> Result<Rows> {
    observer.begin(name, Some(rows.len() as u64), "rows");
    let counter = Counter::new(observer);
    let gauge = count.map(|count| Gauge::new(&rows.examples, count)).transpose()?;
    let judge = |row: &Held, example: &Arc<Example>| -> Result<_> {
        counter.tick()?;
        let (mended, changed) = match mend(example) {
            Some((example, what)) => (what, Some(example)),
            None => (Vec::new(), None),
        };
        let example = changed.as_ref().unwrap_or(example);
        for rule in rules {
            if (rule.check)(example, bounds).is_some() {
                return Ok((Err(rule.name), mended));
            }
        }
        let row = match changed {
            Some(example) => rows.pager.hold(example)?,
            None => row.clone(),
        };
        match &gauge {
            Some(gauge) if !gauge.fits(&row, bounds.max_tokens)? => Ok((Err(TOO_LONG), mended)),
            _ => Ok((Ok(row), mended)),
        }
    };
    let verdicts = rows.each(judge);
    observer.end();
    let mut kept = Vec::with_capacity(rows.len());
    let mut dropped = BTreeMap::new();
    let mut mended: BTreeMap<String, u64> = BTreeMap::new();
    for verdict in verdicts? {
        match verdict {
            (Ok(example), what) => {
                kept.push(example);
                for what in what {
                    *mended.entry(what.to_string()).or_default() += 1;
                }
            }
            (Err(reason), _) => *dropped.entry(reason.to_string()).or_default() += 1,
        }
    }
    let rows = rows.after(kept, Stage::passed(name, rows.len(), dropped));
    Ok(rows.noting(|account| {
        for (what, n) in mended {
            *account.mended.entry(what).or_default() += n;
        }
    }))
}

#[cfg(test)]
mod tests {
    use super::super::testing::{call, chat, result, row};
    use super::*;
    use crate::progress::Silent;
    use crate::trace::{Message, Role};
    use serde_json::json;

    #[test]
    fn the_first_objection_counts_and_the_counts_add_up() {
        let mut failed = chat("b", "do it", "I'm sorry, but I can't help with that.");
        failed.trace.outcome = Some("failed".into());
        let refused = chat("c", "do it", "I'm sorry, but I can't help with that.");
        let mut left = chat("d", "do it", "done");
        left.trace.messages.push(Message::text(Role::User, "thanks"));
        let long = chat("e", "do it", &"word ".repeat(40));
        let all = vec![chat("a", "do it", "done"), failed, refused, left, long];
        let rows = Rows::new(all.into_iter().map(Arc::new).collect(), Stage::made("made", 5));
        let words =
            |e: &Example| Ok(e.trace.messages.iter().map(|m| m.content.split(' ').count()).sum());
        let bounds = Bounds { max_tokens: 30, max_repetition: 1.0, ..Bounds::default() };
        let out = standard(&rows, &bounds, Some(&words), &Silent).unwrap();
        let counts: Vec<_> = out.stages[1].dropped.iter().map(|(r, n)| (r.as_str(), *n)).collect();
        assert_eq!(counts, [("outcome", 1), ("refusal", 1), ("too_long", 1)]);
        assert_eq!(out.len(), 2);
        assert_eq!(out.account.mended["trimmed_end"], 1);
        assert!(out.stages[1].adds_up());
    }

    #[test]
    fn a_failing_token_count_names_the_row() {
        let rows = Rows::new(vec![Arc::new(chat("a", "do", "done"))], Stage::made("made", 1));
        let broken = |_: &Example| bail!("the template failed");
        let error = standard(&rows, &Bounds::default(), Some(&broken), &Silent).unwrap_err();
        assert!(format!("{error:#}").contains("traces.jsonl:1 (session a)"), "{error:#}");
    }

    #[test]
    fn every_rule_is_found_by_name() {
        for known in RULES {
            assert_eq!(rule(known.name).unwrap().name, known.name);
        }
        assert!(rule("repetitions").unwrap_err().to_string().contains("repetition"));
    }

    #[test]
    fn an_ordinary_agent_session_passes_every_rule() {
        let mut session = row(
            "s",
            vec![
                Message::text(Role::System, "You are an agent."),
                Message::text(Role::User, "Fix the failing test."),
                call("c1", "bash", json!({"command": "cargo test"})),
                result("c1", "\u{1b}[31merror\u{1b}[0m: assertion failed\n\tat line 3"),
                call("c2", "edit", json!({"path": "a.rs", "old": "1", "new": "2"})),
                result("c2", "ok"),
                Message::text(Role::Assistant, "Fixed.\n\n```rust\nfn two() {}\n```"),
            ],
        );
        session.trace.tools =
            ["bash", "edit"].map(|n| json!({"type": "function", "function": {"name": n}})).to_vec();
        for rule in RULES {
            assert_eq!((rule.check)(&session, &Bounds::default()), None, "{}", rule.name);
        }
        assert!(mend(&session).is_none());
    }

    #[test]
    fn outcomes_come_from_the_configuration() {
        let mut layers = crate::config::Layers::new();
        layers.command_line("TRAIN_OUTCOMES=good, bad").unwrap();
        let bounds = Bounds::from_config(&layers.resolve(&[]).unwrap()).unwrap();
        assert_eq!(bounds.outcomes, [Outcome::Good, Outcome::Bad]);
        for wrong in ["TRAIN_OUTCOMES=nice", "TRAIN_OUTCOMES="] {
            let mut layers = crate::config::Layers::new();
            layers.command_line(wrong).unwrap();
            assert!(Bounds::from_config(&layers.resolve(&[]).unwrap()).is_err());
        }
    }
}
