//! What one answer scores against its reference. Pure functions of an item and an answer; a
//! metric that does not apply to an item is absent, never zero.

use std::collections::{BTreeMap, BTreeSet};

use super::item::Item;
use super::outputs::Answer;
use super::{edits, keywords, rules};
use crate::dataset::schema;
use crate::trace::ToolCall;

/// The scores of one answer by metric.
pub type Scores = BTreeMap<String, f64>;

/// A metric of the program's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Metric {
    /// 1 when tool names and canonical arguments are equal, in order, and the text is equal with
    /// white space normalised; reasoning is left out.
    ExactMatch,
    /// The share of the item's keywords that the answer contains.
    KeywordRecall,
    /// 1 when every tool call in the answer parsed; where tools are on offer.
    ParseOk,
    /// The share of calls whose tool is the reference's at that place; missing and surplus calls
    /// count against it. Where the reference calls a tool.
    ToolNameAcc,
    /// The share of the reference's calls made with the same tool and equal canonical arguments.
    ArgsExactMatch,
    /// The share of calls of an offered tool whose arguments fit its schema; missing calls count
    /// against it. Where the reference calls an offered tool.
    ArgsSchemaValid,
    /// F1 of the argument names, call by call in order.
    ArgsKeyF1,
    /// The share of edits whose old text stands in the file as it was last shown, see [`edits`].
    EditApplies,
    /// The share of the house's rules that the answer keeps, see [`rules`].
    RuleRecall,
    /// 1 when the answer ended by itself rather than at the length limit.
    StopOk,
    /// The share of the answer's four-token runs that occurred before in it; from four tokens on.
    RepeatRate,
    /// The answer's length in tokens.
    OutputTokens,
    /// The mean negative log-likelihood of the reference's tokens, in nats.
    Loss,
    /// `exp` of the loss of all tokens of a slice's references: a figure of slices, not of items.
    Perplexity,
}

impl Metric {
    /// All of them, in the order reports show them.
    pub const ALL: [Metric; 14] = [
        Metric::ExactMatch,
        Metric::KeywordRecall,
        Metric::ParseOk,
        Metric::ToolNameAcc,
        Metric::ArgsSchemaValid,
        Metric::ArgsExactMatch,
        Metric::ArgsKeyF1,
        Metric::EditApplies,
        Metric::RuleRecall,
        Metric::StopOk,
        Metric::RepeatRate,
        Metric::OutputTokens,
        Metric::Loss,
        Metric::Perplexity,
    ];

    /// The name used in files, scripts and messages.
    pub fn name(self) -> &'static str {
        match self {
            Metric::ExactMatch => "exact_match",
            Metric::KeywordRecall => "keyword_recall",
            Metric::ParseOk => "parse_ok",
            Metric::ToolNameAcc => "tool_name_acc",
            Metric::ArgsSchemaValid => "args_schema_valid",
            Metric::ArgsExactMatch => "args_exact_match",
            Metric::ArgsKeyF1 => "args_key_f1",
            Metric::EditApplies => "edit_applies",
            Metric::RuleRecall => "rule_recall",
            Metric::StopOk => "stop_ok",
            Metric::RepeatRate => "repeat_rate",
            Metric::OutputTokens => "output_tokens",
            Metric::Loss => "loss",
            Metric::Perplexity => "perplexity",
        }
    }

    /// The metric of a name, or an error that lists the known ones.
    pub fn parse(name: &str) -> Result<Metric, String> {
        Metric::ALL
            .into_iter()
            .find(|m| m.name() == name)
            .ok_or_else(|| unknown("metric", name, Metric::ALL.into_iter().map(Metric::name)))
    }

    /// Whether a change of this metric can be called better or worse at all, and which way.
    pub fn more_is_better(self) -> Option<bool> {
        match self {
            Metric::OutputTokens => None,
            Metric::RepeatRate | Metric::Loss | Metric::Perplexity => Some(false),
            _ => Some(true),
        }
    }

    /// Whether it is a share, from 0 to 1.
    pub fn is_share(self) -> bool {
        !matches!(self, Metric::OutputTokens | Metric::Loss | Metric::Perplexity)
    }

    /// The score of an answer, where the metric applies. Loss does not depend on an answer: it is
    /// measured on the reference.
    pub fn score(self, item: &Item, answer: &Answer) -> Option<f64> {
        let history = || &item.example.trace.messages[..item.message];
        let (wanted, got) = (&item.reference.tool_calls, &answer.calls);
        let paired = || wanted.iter().zip(got);
        match self {
            Metric::ExactMatch => {
                let same = answer.malformed.is_none()
                    && wanted.len() == got.len()
                    && paired().all(|(w, g)| same_call(w, g))
                    && same_text(&item.reference.content, &answer.content);
                Some(truth(same))
            }
            Metric::KeywordRecall => {
                keywords::recall(&item.keywords, &answer.content, &answer.calls)
            }
            Metric::ParseOk => (item.tools_offered || !wanted.is_empty())
                .then(|| truth(answer.malformed.is_none())),
            Metric::ToolNameAcc => (!wanted.is_empty()).then(|| {
                let right = paired().filter(|(w, g)| w.name == g.name).count();
                right as f64 / wanted.len().max(got.len()) as f64
            }),
            Metric::ArgsExactMatch => (!wanted.is_empty()).then(|| {
                let right = paired().filter(|(w, g)| same_call(w, g)).count();
                right as f64 / wanted.len() as f64
            }),
            Metric::ArgsSchemaValid => {
                let offered = |call: &ToolCall| schema::declared(&item.example, &call.name);
                let fits = |call: &&ToolCall| {
                    offered(call).is_some_and(|tool| schema::violation(tool, call).is_none())
                };
                wanted.iter().any(|call| offered(call).is_some()).then(|| {
                    got.iter().filter(fits).count() as f64 / wanted.len().max(got.len()) as f64
                })
            }
            Metric::ArgsKeyF1 => (!wanted.is_empty()).then(|| key_f1(wanted, got)),
            Metric::EditApplies => edits::applies(history(), wanted, got),
            Metric::RuleRecall => {
                rules::recall(history(), (&item.reference.content, wanted), (&answer.content, got))
            }
            Metric::StopOk => Some(truth(answer.stopped)),
            Metric::RepeatRate => repeat_rate(&answer.ids),
            Metric::OutputTokens => Some(answer.ids.len() as f64),
            Metric::Loss | Metric::Perplexity => None,
        }
    }
}

/// Every built-in score of an answer.
pub fn scores(item: &Item, answer: &Answer) -> Scores {
    let scored = Metric::ALL.into_iter().map(|m| (m.name().to_string(), m.score(item, answer)));
    scored.filter_map(|(name, score)| Some((name, super::rounded(score?)))).collect()
}

/// "unknown … `x`" with the nearest name where one is near, and the known ones.
pub fn unknown<'a>(
    what: &str,
    name: &str,
    known: impl IntoIterator<Item = &'a str> + Clone,
) -> String {
    let nearest = known
        .clone()
        .into_iter()
        .map(|k| (strsim::jaro_winkler(name, k), k))
        .max_by(|a, b| a.0.total_cmp(&b.0).then(b.1.cmp(a.1)));
    let hint = match nearest {
        Some((score, near)) if score > 0.8 => format!("; did you mean `{near}`?"),
        _ => String::new(),
    };
    let list = known.into_iter().collect::<Vec<_>>().join(", ");
    format!("unknown {what} `{name}`{hint} (known: {list})")
}

fn truth(holds: bool) -> f64 {
    f64::from(u8::from(holds))
}

fn same_text(a: &str, b: &str) -> bool {
    a.split_whitespace().eq(b.split_whitespace())
}

fn same_call(a: &ToolCall, b: &ToolCall) -> bool {
    a.name == b.name && schema::same_map(&a.arguments, &b.arguments)
}

fn key_f1(wanted: &[ToolCall], got: &[ToolCall]) -> f64 {
    let names = |call: &ToolCall| call.arguments.keys().cloned().collect::<BTreeSet<_>>();
    let shared: usize =
        wanted.iter().zip(got).map(|(w, g)| names(w).intersection(&names(g)).count()).sum();
    let total: usize = wanted.iter().chain(got).map(|call| call.arguments.len()).sum();
    match total {
        0 => truth(wanted.len() == got.len()),
        _ => 2.0 * shared as f64 / total as f64,
    }
}

fn repeat_rate(ids: &[u32]) -> Option<f64> {
    let runs = ids.len().checked_sub(3).filter(|n| *n > 0)?;
    let distinct: BTreeSet<&[u32]> = ids.windows(4).collect();
    Some((runs - distinct.len()) as f64 / runs as f64)
}

#[cfg(test)]
mod tests;
