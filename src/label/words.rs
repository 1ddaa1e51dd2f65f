//! What the person's next message says of the turn before it.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use regex::Regex;
use serde_json::Value;

use crate::trace::Message;

static STARS: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"[=:]\s?\*\*\*|\s\*\*\*(?:\s|$)|Bearer \*\*\*")
        .unwrap_or_else(|e| unreachable!("{e}"))
});

/// Whether an argument of a call has stars where a secret was.
pub(super) fn starred(message: &Message) -> bool {
    fn any(value: &Value) -> bool {
        match value {
            Value::String(text) => STARS.is_match(text),
            Value::Array(items) => items.iter().any(any),
            Value::Object(map) => map.values().any(any),
            _ => false,
        }
    }
    message.tool_calls.iter().any(|call| call.arguments.values().any(any))
}

/// What it says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Said {
    Nothing,
    Praise,
    Correction,
    /// The same request as before.
    SameAgain,
}

static CORRECTION: LazyLock<Regex> = LazyLock::new(|| {
    let text = r"(?ix)^\W*(?:
        no(?:pe)?\b(?:[,.!:;—-]|\ (?:that|this|it|you|not|don.?t|i)\b|$)
        | (?:that|this|it)(?:\ ?i?.?s|\ was)?\ (?:still\ )?(?:wrong|not\ (?:right|correct|what|it|how|working)|incorrect|broken|fails?\b|failing)
        | (?:wrong|incorrect)\b
        | (?:that|this|it)\ (?:does\ ?n.?t|did\ ?n.?t|does\ not|did\ not|broke|fails|failed)\b
        | (?:still|again)\ (?:fail|broken|wrong|not|the\ same|does\ ?n.?t|get)
        | not\ (?:what|like|that|quite)\b
        | you\ (?:did\ ?n.?t|did\ not|forgot|missed|broke|ignored|were\ supposed|should\ ?n.?t|should\ not|should\ have)
        | why\ (?:did|are|would)\ you\b
        | (?:please\ )?(?:do\ not|don.?t|stop|never)\b
        | (?:please\ )?(?:undo|revert|roll\ ?back)\b
        | i\ (?:said|asked|told|meant|wanted)\b
        | actually,?\ (?:no|i|that|it|don.?t|you)\b
        | (?:nein|falsch|non|faux|incorrecto|mal)\b[,.!\ ]
        )";
    Regex::new(text).unwrap_or_else(|e| unreachable!("{e}"))
});
static PRAISE: LazyLock<Regex> = LazyLock::new(|| {
    let text = r"(?ix)^\W*(?:
        (?:thanks?|thank\ you|thx|ty)\b | perfect\b | great\b | awesome\b | excellent\b | lgtm\b
        | (?:very\ )?nice\b | good\ (?:job|work)\b | well\ done\b | (?:that|it|this)\ works?\b
        | works\b | (?:that|this)(?:.?s|\ is)\ (?:right|correct|perfect|great|good|it)\b | danke\b | merci\b
        )";
    Regex::new(text).unwrap_or_else(|e| unreachable!("{e}"))
});
static BUT: LazyLock<Regex> = LazyLock::new(|| {
    let text = r"(?i)\b(?:but|however|except|though|still|aber|mais)\b|\bnot\b|n't\b";
    Regex::new(text).unwrap_or_else(|e| unreachable!("{e}"))
});

/// Words of a request, for comparison with another.
fn bag(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_alphanumeric()).filter(|w| !w.is_empty());
    words.map(str::to_lowercase).collect()
}

/// What `next` says of what was done for `asked`.
pub(super) fn of(next: &str, asked: &str) -> Said {
    let first: String = next.trim().chars().take(200).collect();
    if CORRECTION.is_match(&first) {
        return Said::Correction;
    }
    let (a, b) = (bag(next), bag(asked));
    let shared = a.intersection(&b).count();
    // Short messages ("go on", "yes") may well be said twice.
    if a.len() >= 4 && shared * 10 >= 8 * a.union(&b).count() {
        return Said::SameAgain;
    }
    let opening = first.split(['.', '!', '\n', ';']).next().unwrap_or_default();
    if PRAISE.is_match(&first) && !BUT.is_match(opening) {
        return Said::Praise;
    }
    Said::Nothing
}
