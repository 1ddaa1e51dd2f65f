//! Turns shown to a person one after another, and the verdicts they give.
//!
//! What is asked about is [`crate::label::questions`]' business, what becomes of a verdict that of
//! [`crate::label::reviews`]. Here is what lies between: pages of text, the answer as text that
//! can be corrected, and the loop over keys. Nothing here touches a terminal: the loop talks to a
//! [`Desk`].

use std::collections::BTreeMap;

use anyhow::Result;

use crate::label::{Question, Review, Verdict, questions};
use crate::trace::Trace;

pub mod edit;
pub mod page;
pub mod words;

/// An answer to ask about, with its session.
#[derive(Debug, Clone, Copy)]
pub struct Turn<'a> {
    /// The session, labelled.
    pub trace: &'a Trace,
    /// The answer.
    pub question: Question,
}

/// What to ask about these labelled sessions: what teaches most first, else the newest.
pub fn turns(traces: &[Trace]) -> Vec<Turn<'_>> {
    let all = |trace| questions(trace).into_iter().map(move |question| Turn { trace, question });
    let mut turns: Vec<Turn> = traces.iter().flat_map(all).collect();
    let time = |turn: &Turn| {
        turn.trace.messages[turn.question.at].time_ms.or(turn.trace.ended_ms).unwrap_or(i64::MIN)
    };
    turns.sort_by_key(|turn| std::cmp::Reverse((turn.question.score, time(turn))));
    turns
}

/// What a key means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Key {
    /// The answer is as it should be.
    Good,
    /// It is not to be learnt.
    Bad,
    /// Open it in an editor and correct it.
    Fix,
    /// No verdict; the next one.
    Skip,
    /// Take the last verdict back and return to its answer.
    Undo,
    /// Show everything, nothing shortened; or shortened again.
    All,
    /// No more.
    Quit,
}

impl Key {
    /// The key's meaning, if it has one.
    pub fn of(letter: char) -> Option<Key> {
        Some(match letter.to_ascii_lowercase() {
            'g' => Key::Good,
            'b' => Key::Bad,
            'f' => Key::Fix,
            's' => Key::Skip,
            'u' => Key::Undo,
            'a' => Key::All,
            'q' => Key::Quit,
            _ => return None,
        })
    }
}

/// The keys, for the last line of a page.
const KEYS: &str = "g good  b bad  f fix  s skip  u undo  a all of it  q quit";

/// The keys once there is nothing more to ask about.
const LAST_KEYS: &str = "u undo  q quit";

/// Where the person sits.
pub trait Desk {
    /// A session as it may be shown and kept: redacted, with the same messages.
    fn redacted(&mut self, trace: &Trace) -> Result<Trace>;
    /// Shows a page in place of the one before.
    fn show(&mut self, page: &str) -> Result<()>;
    /// Waits for a key; none for one without a meaning.
    fn key(&mut self) -> Result<Option<Key>>;
    /// Lets the person change a text.
    fn edit(&mut self, text: &str) -> Result<String>;
    /// Keeps a verdict, on disk when this returns.
    fn save(&mut self, review: &Review) -> Result<()>;
    /// What time it is, in Unix milliseconds.
    fn now_ms(&self) -> i64;
}

/// Asks about every turn, and gives the number of verdicts of each kind that stand.
pub fn ask(turns: &[Turn], desk: &mut dyn Desk) -> Result<BTreeMap<Verdict, u64>> {
    let mut given: Vec<(usize, Review)> = Vec::new();
    let mut drafts: BTreeMap<usize, String> = BTreeMap::new();
    let (mut at, mut all, mut note) = (0, false, String::new());
    // The session at hand as it may be shown, and whose it is.
    let mut shown: Option<(usize, Trace)> = None;
    loop {
        if let Some(turn) = turns.get(at)
            && shown.as_ref().is_none_or(|(of, _)| *of != at)
        {
            shown = Some((at, desk.redacted(turn.trace)?));
        }
        let page = match (turns.get(at), &shown) {
            (Some(turn), Some((_, trace))) => {
                let turn = Turn { trace, ..*turn };
                page::turn(&format!("{} of {}", at + 1, turns.len()), &turn, all)
            }
            _ => "That was the last one.\n".into(),
        };
        let keys = if at < turns.len() { KEYS } else { LAST_KEYS };
        desk.show(&format!("{page}\n{}{keys}\n", std::mem::take(&mut note)))?;
        let Some(key) = desk.key()? else { continue };
        let verdict = match key {
            Key::Quit => break,
            Key::Undo => {
                note = match given.pop() {
                    None => "There is no verdict to take back.\n".into(),
                    Some((earlier, review)) => {
                        let (verdict, time_ms) = (Verdict::Undone, desk.now_ms());
                        desk.save(&Review { verdict, time_ms, message: None, ..review })?;
                        at = earlier;
                        "Taken back.\n".into()
                    }
                };
                continue;
            }
            Key::All => {
                all = !all;
                continue;
            }
            Key::Skip => None,
            Key::Good => Some(Verdict::Good),
            Key::Bad => Some(Verdict::Bad),
            Key::Fix => Some(Verdict::Fix),
        };
        let (Some(Turn { trace, question }), Some((_, seen))) = (turns.get(at), &shown) else {
            continue;
        };
        if let Some(verdict) = verdict {
            let mut message = None;
            if verdict == Verdict::Fix {
                let answer = &seen.messages[question.at];
                let text = drafts.get(&at).cloned().unwrap_or_else(|| edit::text(answer));
                let fixed = desk.edit(&text).and_then(|text| {
                    let fixed = edit::parse(&text, answer);
                    drafts.insert(at, text);
                    fixed
                });
                match fixed {
                    Ok(fixed) => {
                        // What was typed may repeat what redaction took out of the session.
                        let mut whole = Trace::clone(trace);
                        whole.messages.push(fixed);
                        message = desk.redacted(&whole)?.messages.pop();
                    }
                    Err(problem) => {
                        let problem = page::visible(&format!("{problem:#}"));
                        note = format!("Not saved: {problem}. f goes on with your text.\n");
                        continue;
                    }
                }
            }
            let Some(review) = Review::of(trace, question.at, verdict, desk.now_ms()) else {
                continue;
            };
            let review = Review { message, ..review };
            desk.save(&review)?;
            given.push((at, review));
        }
        (at, all) = (at + 1, false);
    }
    let mut counts = BTreeMap::new();
    for (_, review) in given {
        *counts.entry(review.verdict).or_default() += 1;
    }
    Ok(counts)
}
