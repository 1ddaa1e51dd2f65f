//! What one answer scores against its reference. Pure functions of an item and an answer; a
//! metric that does not apply to an item is absent, never zero.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::item::Item;
use super::keywords;
use super::outputs::Answer;
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
    /// F1 of the argument names, call by call in order.
    ArgsKeyF1,
    /// 1 when the answer ended by itself rather than at the length limit.
    StopOk,
    /// The share of the answer's four-token runs that occurred before in it; from four tokens on.
    RepeatRate,
    /// The answer's length in tokens.
    OutputTokens,
}

impl Metric {
    /// All of them, in the order reports show them.
    pub const ALL: [Metric; 9] = [
        Metric::ExactMatch,
        Metric::KeywordRecall,
        Metric::ParseOk,
        Metric::ToolNameAcc,
        Metric::ArgsExactMatch,
        Metric::ArgsKeyF1,
        Metric::StopOk,
        Metric::RepeatRate,
        Metric::OutputTokens,
    ];

    /// The name used in files, scripts and messages.
    pub fn name(self) -> &'static str {
        match self {
            Metric::ExactMatch => "exact_match",
            Metric::KeywordRecall => "keyword_recall",
            Metric::ParseOk => "parse_ok",
            Metric::ToolNameAcc => "tool_name_acc",
            Metric::ArgsExactMatch => "args_exact_match",
            Metric::ArgsKeyF1 => "args_key_f1",
            Metric::StopOk => "stop_ok",
            Metric::RepeatRate => "repeat_rate",
            Metric::OutputTokens => "output_tokens",
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
            Metric::RepeatRate => Some(false),
            _ => Some(true),
        }
    }

    /// The score of an answer, where the metric applies.
    pub fn score(self, item: &Item, answer: &Answer) -> Option<f64> {
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
            Metric::ArgsKeyF1 => (!wanted.is_empty()).then(|| key_f1(wanted, got)),
            Metric::StopOk => Some(truth(answer.stopped)),
            Metric::RepeatRate => repeat_rate(&answer.ids),
            Metric::OutputTokens => Some(answer.ids.len() as f64),
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
    a.name == b.name && same_map(&a.arguments, &b.arguments)
}

fn same_map(a: &Map<String, Value>, b: &Map<String, Value>) -> bool {
    a.len() == b.len() && a.iter().all(|(key, v)| b.get(key).is_some_and(|w| same_value(v, w)))
}

/// Equality of canonical JSON: the order of keys and the spelling of numbers do not matter.
fn same_value(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => {
            a == b || !(a.is_i64() && b.is_i64()) && a.as_f64() == b.as_f64()
        }
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same_value(a, b))
        }
        (Value::Object(a), Value::Object(b)) => same_map(a, b),
        _ => a == b,
    }
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
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::*;
    use crate::dataset::{Example, Kind};
    use crate::trace::{Message, Role, Trace};

    fn call(name: &str, arguments: Value) -> ToolCall {
        let Value::Object(arguments) = arguments else { panic!("not an object") };
        ToolCall { id: format!("id-{name}"), name: name.into(), arguments }
    }

    fn item(content: &str, calls: Vec<ToolCall>) -> Item {
        let mut reference = Message::text(Role::Assistant, content);
        reference.tool_calls = calls;
        let trace = Trace {
            session: "s".into(),
            source: "x".into(),
            messages: vec![reference.clone()],
            ..Trace::default()
        };
        let example = Example {
            id: "e".into(),
            kind: Kind::Real,
            derived_from: None,
            component: None,
            trace,
        };
        Item {
            id: "e#0".into(),
            example: Arc::new(example),
            message: 0,
            session: "s".into(),
            component: None,
            kind: Kind::Real,
            source: "x".into(),
            task_category: None,
            suite: None,
            tools_offered: false,
            tools: BTreeSet::new(),
            author: None,
            keywords: keywords::extract(&reference),
            reference,
            prompt: Vec::new(),
        }
    }

    fn answer(content: &str, calls: Vec<ToolCall>) -> Answer {
        Answer { content: content.into(), calls, stopped: true, ..Answer::default() }
    }

    fn score(metric: Metric, item: &Item, answer: &Answer) -> Option<f64> {
        metric.score(item, answer)
    }

    #[test]
    fn exact_match_folds_white_space_key_order_and_number_spelling_and_nothing_else() {
        let wanted = || call("edit", json!({"path": "a", "range": {"from": 1, "to": 2}}));
        let item = item("Done.  See below", vec![wanted()]);
        let equal = call("edit", json!({"range": {"to": 2.0, "from": 1}, "path": "a"}));
        let same = |content, calls| score(Metric::ExactMatch, &item, &answer(content, calls));
        assert_eq!(same("Done. See\nbelow ", vec![equal]), Some(1.0));
        assert_eq!(same("done. see below", vec![wanted()]), Some(0.0));
        assert_eq!(same("Done. See below", vec![]), Some(0.0));
        assert_eq!(same("Done. See below", vec![wanted(), wanted()]), Some(0.0));
        let text_for_number = call("edit", json!({"path": "a", "range": {"from": "1", "to": 2}}));
        assert_eq!(same("Done. See below", vec![text_for_number]), Some(0.0));
        let surplus =
            call("edit", json!({"path": "a", "range": {"from": 1, "to": 2}, "all": null}));
        assert_eq!(same("Done. See below", vec![surplus]), Some(0.0));
        let mut broken = answer("Done. See below", vec![wanted()]);
        broken.malformed = Some("half a call".into());
        assert_eq!(score(Metric::ExactMatch, &item, &broken), Some(0.0));
    }

    #[test]
    fn large_whole_numbers_do_not_become_equal_by_rounding() {
        let item = item("", vec![call("get", json!({"id": 9007199254740993i64}))]);
        let near = answer("", vec![call("get", json!({"id": 9007199254740992i64}))]);
        assert_eq!(score(Metric::ExactMatch, &item, &near), Some(0.0));
    }

    #[test]
    fn calls_are_scored_in_order() {
        let item = item("", vec![call("a", json!({"x": 1, "y": 2})), call("b", json!({"z": 3}))]);
        let got = answer("", vec![call("a", json!({"x": 1, "y": 5})), call("c", json!({"z": 3}))]);
        assert_eq!(score(Metric::ToolNameAcc, &item, &got), Some(0.5));
        assert_eq!(score(Metric::ArgsExactMatch, &item, &got), Some(0.0));
        assert_eq!(score(Metric::ArgsKeyF1, &item, &got), Some(1.0));
        let fewer = answer("", vec![call("a", json!({"x": 1}))]);
        assert_eq!(score(Metric::ToolNameAcc, &item, &fewer), Some(0.5));
        // One shared name of three wanted and one given.
        assert_eq!(score(Metric::ArgsKeyF1, &item, &fewer), Some(0.5));
        let none = answer("no", vec![]);
        assert_eq!(score(Metric::ArgsKeyF1, &item, &none), Some(0.0));
    }

    #[test]
    fn metrics_that_do_not_apply_are_absent() {
        let item = item("ok", vec![]);
        let scored = scores(&item, &answer("ok", vec![]));
        let names: Vec<&str> = scored.keys().map(String::as_str).collect();
        assert_eq!(names, ["exact_match", "output_tokens", "stop_ok"]);
    }

    #[test]
    fn repetition_counts_four_token_runs() {
        assert_eq!(repeat_rate(&[1, 2, 3]), None);
        assert_eq!(repeat_rate(&[1, 2, 3, 4]), Some(0.0));
        assert_eq!(repeat_rate(&[7; 7]), Some(0.75));
        assert_eq!(repeat_rate(&[1, 2, 3, 4, 5, 6, 7, 8]), Some(0.0));
    }

    #[test]
    fn an_unknown_metric_lists_the_known_ones() {
        for metric in Metric::ALL {
            assert_eq!(Metric::parse(metric.name()), Ok(metric));
        }
        let error = Metric::parse("keyword_recal").unwrap_err();
        assert!(error.contains("did you mean `keyword_recall`?"), "{error}");
        assert!(error.contains("exact_match, keyword_recall, parse_ok"), "{error}");
        assert!(!Metric::parse("zzz").unwrap_err().contains("did you mean"));
    }
}
