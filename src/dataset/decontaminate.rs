//! Drops training rows that hold what a fixed suite asks or what it wants to hear: an adapter that
//! has learnt a suite by heart says nothing about what it can do.
//!
//! A suite's item is a question with the answer that follows it. Its n-grams of words are looked
//! for in every training row, system prompts aside; a row that holds more than the allowed share
//! of an item's n-grams goes. A shorter item is one n-gram as a whole, and one of fewer than
//! [`LEAST`] words is not looked for: it is said in many sessions.
//!
//! What many say identifies nothing. An n-gram is boilerplate, and no longer counts, when it
//! stands in more than [`COMMON`] items of the suites (their own template), or in more than
//! [`WIDESPREAD`] components of training and in more than one in a hundred: copies are gone by
//! then, so that an item which leaked stands in few.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use anyhow::Result;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::{Xxh3Builder, xxh3_64};

use super::normal::hashes;
use super::split::Parts;
use super::{Held, Stage};
use crate::config::Config;
use crate::progress::Observer;
use crate::trace::{Message, Role};

/// The name of the stage.
pub const STAGE: &str = "decontaminate";

/// Why it drops a row.
pub const REASON: &str = "contaminated";

/// Words that an item must have.
pub const LEAST: usize = 6;

/// Items of the suites that may share an n-gram before it is boilerplate.
pub const COMMON: usize = 3;

/// Components of training that may share an n-gram before it is boilerplate.
pub const WIDESPREAD: usize = 20;

/// How many dropped rows the manifest names.
const LISTED: usize = 1000;

/// What counts as contamination.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Options {
    /// Words in an n-gram; 0 looks for nothing.
    pub n: usize,
    /// The largest share of an item's n-grams that a row may hold.
    pub share: f64,
}

impl Options {
    /// From `CONTAMINATION_NGRAM` and `CONTAMINATION_SHARE`.
    pub fn from_config(config: &Config) -> Options {
        let (n, share) = (config.size("CONTAMINATION_NGRAM"), config.float("CONTAMINATION_SHARE"));
        Options { n, share }
    }
}

/// A fixed suite.
#[derive(Debug, Clone, Copy)]
pub struct Suite<'a> {
    /// Its name.
    pub name: &'a str,
    /// The digest of its file.
    pub digest: &'a str,
    /// Its rows.
    pub rows: &'a [Held],
}

/// What was looked for and found, for the manifest.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Contamination {
    /// Words in an n-gram; 0 where nothing was looked for.
    pub n: u64,
    /// The largest share of an item's n-grams that was allowed.
    pub share: f64,
    /// The suites, by name.
    pub suites: BTreeMap<String, Searched>,
    /// Rows dropped.
    pub dropped: u64,
    /// The first thousand of them, by id.
    pub listed: Vec<Contaminated>,
}

/// One suite.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Searched {
    /// The digest of its file.
    pub digest: String,
    /// Questions with their answers.
    pub items: u64,
    /// Items too short to be looked for.
    pub too_short: u64,
    /// Items of which every n-gram is boilerplate.
    pub boilerplate: u64,
    /// Training rows that held too much of one of its items.
    pub rows: u64,
}

/// A training row that held too much of an item.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Contaminated {
    /// The row's id.
    pub row: String,
    /// The suite.
    pub suite: String,
    /// The suite's row, from 1.
    pub item: u64,
    /// The share of the item's n-grams that the row holds, to four digits.
    pub share: f64,
}

/// A question with its answer, as the places of its n-grams in [`Wanted::known`].
struct Item {
    suite: usize,
    row: u64,
    grams: Vec<u32>,
}

/// Everything the suites ask for.
#[derive(Default)]
struct Wanted {
    items: Vec<Item>,
    /// N-grams by their hash, which covers their length. Only looked up, never walked.
    known: HashMap<u64, u32, Xxh3Builder>,
    /// The lengths of n-grams there are: n, and those of shorter items.
    lengths: BTreeSet<usize>,
    /// What n-grams begin with: as many words as the shortest of them has.
    begun: Begun,
    /// The items that hold each n-gram.
    holders: Vec<Vec<u32>>,
    report: BTreeMap<String, Searched>,
}

/// Takes the contaminated rows out of the training part.
pub fn decontaminate(
    parts: &Parts,
    suites: &[Suite],
    options: &Options,
    observer: &dyn Observer,
) -> Result<Parts> {
    if options.n == 0 || suites.is_empty() {
        return Ok(parts.clone());
    }
    observer.begin(STAGE, Some(parts.train.len() as u64), "rows");
    let found = find(&parts.train, suites, options);
    observer.end();
    observer.check()?;
    let (gone, report) = found?;
    let before = parts.train.len() + parts.tune.len() + parts.val.len();
    let kept = parts.train.iter().enumerate().filter(|(at, _)| !gone.contains(at));
    let train: Vec<_> = kept.map(|(_, example)| example.clone()).collect();
    let dropped = (!gone.is_empty()).then(|| (REASON.to_string(), gone.len() as u64));
    let mut stages = parts.stages.as_ref().clone();
    stages.push(Stage::passed(STAGE, before, dropped.into_iter().collect()));
    let mut account = parts.account.as_ref().clone();
    account.contamination = Some(report);
    Ok(Parts {
        train: Arc::new(train),
        stages: Arc::new(stages),
        account: Arc::new(account),
        ..parts.clone()
    })
}

/// The places of contaminated rows, and the account.
pub fn find(
    train: &[Held],
    suites: &[Suite],
    options: &Options,
) -> Result<(BTreeSet<usize>, Contamination)> {
    let mut wanted = Wanted::of(suites, options.n)?;
    let held: Vec<Result<Vec<u32>>> =
        train.par_iter().map(|row| Ok(wanted.held(row.messages()?.as_ref()))).collect();
    let held = held.into_iter().collect::<Result<Vec<_>>>()?;
    let counts = wanted.countable(train, &held);
    let mut all = vec![0usize; wanted.items.len()];
    for (item, all) in wanted.items.iter().zip(&mut all) {
        *all = item.grams.iter().filter(|gram| counts[**gram as usize]).count();
        if *all == 0
            && let Some(searched) = wanted.report.get_mut(suites[item.suite].name)
        {
            searched.boilerplate += 1;
        }
    }
    let worst = |grams: &Vec<u32>| -> Option<(usize, f64)> {
        let mut shared: BTreeMap<u32, usize> = BTreeMap::new();
        for gram in grams.iter().filter(|gram| counts[**gram as usize]) {
            for item in &wanted.holders[*gram as usize] {
                *shared.entry(*item).or_default() += 1;
            }
        }
        let shares = shared
            .into_iter()
            .map(|(item, n)| (item as usize, n as f64 / all[item as usize] as f64));
        let over = shares.filter(|(_, share)| *share > options.share);
        // The largest share; of equals the first item.
        over.min_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)))
    };
    let found: Vec<Option<(usize, f64)>> = held.par_iter().map(worst).collect();
    let mut report =
        Contamination { n: options.n as u64, share: options.share, ..Contamination::default() };
    let mut gone = BTreeSet::new();
    for (at, (item, share)) in found.iter().enumerate().filter_map(|(at, f)| Some((at, (*f)?))) {
        let item = &wanted.items[item];
        let suite = suites[item.suite].name;
        gone.insert(at);
        if let Some(searched) = wanted.report.get_mut(suite) {
            searched.rows += 1;
        }
        report.listed.push(Contaminated {
            row: train[at].id.clone(),
            suite: suite.into(),
            item: item.row,
            share: (share * 1e4).round() / 1e4,
        });
    }
    report.dropped = gone.len() as u64;
    report.listed.sort_by(|a, b| a.row.cmp(&b.row));
    report.listed.truncate(LISTED);
    report.suites = wanted.report;
    Ok((gone, report))
}

impl Wanted {
    fn of(suites: &[Suite], n: usize) -> Result<Wanted> {
        let mut wanted = Wanted::default();
        let mut begun = Vec::new();
        for (number, suite) in suites.iter().enumerate() {
            let mut searched = Searched { digest: suite.digest.into(), ..Searched::default() };
            for (row, example) in (1..).zip(suite.rows) {
                let example = example.read()?;
                for said in pairs(&example.trace.messages) {
                    searched.items += 1;
                    if said.len() < LEAST {
                        searched.too_short += 1;
                        continue;
                    }
                    let length = n.min(said.len());
                    wanted.lengths.insert(length);
                    let item = wanted.items.len() as u32;
                    let mut grams: Vec<u32> =
                        said.windows(length).map(|gram| wanted.gram(gram)).collect();
                    grams.sort_unstable();
                    grams.dedup();
                    grams.iter().for_each(|gram| wanted.holders[*gram as usize].push(item));
                    wanted.items.push(Item { suite: number, row, grams });
                    begun.push(said);
                }
            }
            wanted.report.insert(suite.name.into(), searched);
        }
        wanted.begun = Begun::new(wanted.lengths.first().copied().unwrap_or(0), &begun);
        Ok(wanted)
    }

    fn gram(&mut self, words: &[u64]) -> u32 {
        let next = self.holders.len() as u32;
        let place = *self.known.entry(hash(words)).or_insert(next);
        if place == next {
            self.holders.push(Vec::new());
        }
        place
    }

    /// The n-grams of the suites that a row holds.
    fn held(&self, messages: &[Message]) -> Vec<u32> {
        let mut words = Vec::new();
        for message in messages.iter().filter(|m| m.role != Role::System) {
            said(message, &mut words);
        }
        let mut held = Vec::new();
        self.begun.each(&words, |at| {
            let grams = self.lengths.iter().map_while(|length| words.get(at..at + length));
            held.extend(grams.filter_map(|gram| self.known.get(&hash(gram))));
        });
        held.sort_unstable();
        held.dedup();
        held
    }

    /// Which n-grams are no boilerplate.
    fn countable(&self, train: &[Held], held: &[Vec<u32>]) -> Vec<bool> {
        let mut components: Vec<BTreeSet<Arc<str>>> = vec![BTreeSet::new(); self.holders.len()];
        let mut all = BTreeSet::new();
        for (row, grams) in train.iter().zip(held) {
            let component = row.component.clone().unwrap_or_else(|| row.session_key().into());
            for gram in grams {
                components[*gram as usize].insert(component.clone());
            }
            all.insert(component);
        }
        let most = WIDESPREAD.max(all.len() / 100);
        let rows = |items: &Vec<u32>| {
            let item = |at: &u32| (self.items[*at as usize].suite, self.items[*at as usize].row);
            items.iter().map(item).collect::<BTreeSet<_>>().len()
        };
        let both = self.holders.iter().zip(&components);
        both.map(|(items, found)| rows(items) <= COMMON && found.len() <= most).collect()
    }
}

/// What the n-grams that are looked for begin with, as bits: in nearly every place of a row it
/// says at once that none begins there.
#[derive(Default)]
struct Begun {
    /// How many words.
    words: usize,
    /// What the first word of a window counts in its hash.
    weight: u64,
    /// A bit for each hash without its lower bits.
    bits: Vec<u64>,
    /// How many lower bits those are.
    shift: u32,
}

/// The factor of the polynomial that hashes a window of words.
const FACTOR: u64 = 0xd605_1c3e_4a97_b58b;

impl Begun {
    /// Of the windows of all these texts.
    fn new(words: usize, texts: &[Vec<u64>]) -> Begun {
        let windows: usize = texts.iter().map(Vec::len).sum();
        // About one window in sixteen is taken for another one, at most.
        let size = (16 * windows).next_power_of_two().max(64);
        let weight = (1..words).fold(1u64, |weight, _| weight.wrapping_mul(FACTOR));
        let (bits, shift) = (vec![0; size / 64], 64 - size.ilog2());
        let mut begun = Begun { words, weight, bits, shift };
        let mut slots = Vec::new();
        for text in texts {
            begun.slots(text, |_, slot| slots.push(slot));
        }
        slots.into_iter().for_each(|slot| begun.bits[slot / 64] |= 1 << (slot % 64));
        begun
    }

    /// Calls `f` with each place of a text where an n-gram may begin.
    fn each(&self, text: &[u64], mut f: impl FnMut(usize)) {
        self.slots(text, |at, slot| {
            if self.bits[slot / 64] >> (slot % 64) & 1 != 0 {
                f(at);
            }
        });
    }

    /// Calls `f` with the place and the bit of every window of a text.
    fn slots(&self, text: &[u64], mut f: impl FnMut(usize, usize)) {
        let Some(full) = self.words.checked_sub(1).filter(|_| text.len() >= self.words) else {
            return;
        };
        let next = |hash: u64, word: &u64| hash.wrapping_mul(FACTOR).wrapping_add(*word);
        let mut hash = text[..full].iter().fold(0, next);
        for (at, word) in text[full..].iter().enumerate() {
            hash = next(hash, word);
            f(at, (hash >> self.shift) as usize);
            hash = hash.wrapping_sub(text[at].wrapping_mul(self.weight));
        }
    }
}

/// Each question with the answer that follows it, as hashes of words.
fn pairs(messages: &[Message]) -> Vec<Vec<u64>> {
    let mut question: Option<&Message> = None;
    let mut pairs = Vec::new();
    for message in messages {
        match message.role {
            Role::User => question = Some(message),
            Role::Assistant => {
                let mut words = Vec::new();
                question.take().into_iter().for_each(|asked| said(asked, &mut words));
                said(message, &mut words);
                pairs.push(words);
            }
            Role::System | Role::Tool => {}
        }
    }
    pairs
}

/// Adds what a message says, calls with their arguments included, as hashes of its words.
fn said(message: &Message, words: &mut Vec<u64>) {
    let mut hear = |text: &str| hashes(text, |word| words.push(word));
    hear(&message.content);
    for call in &message.tool_calls {
        hear(&call.name);
        // A map of values always serialises.
        hear(&serde_json::to_string(&call.arguments).unwrap_or_default());
    }
}

fn hash(words: &[u64]) -> u64 {
    let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    xxh3_64(&bytes)
}

#[cfg(test)]
mod tests {
    use super::super::Example;
    use super::super::testing::{call, chat, prose, result, row};
    use super::*;

    const OPTIONS: Options = Options { n: 13, share: 0.2 };

    fn search(
        train: &[Example],
        suite: &[Example],
        options: &Options,
    ) -> (Vec<usize>, Contamination) {
        let arcs = |rows: &[Example]| rows.iter().cloned().map(Held::from).collect::<Vec<_>>();
        let rows = arcs(suite);
        let suites = [Suite { name: "suite", digest: "d", rows: &rows }];
        let (gone, report) = find(&arcs(train), &suites, options).unwrap();
        (gone.into_iter().collect(), report)
    }

    #[test]
    fn no_ngram_of_an_item_is_overlooked_wherever_it_stands() {
        let items = [chat("q1", &prose(1, 30), "so"), chat("q2", &prose(2, 4), "as it is")];
        let held: Vec<Held> = items.iter().cloned().map(Held::from).collect();
        let suites = [Suite { name: "suite", digest: "d", rows: &held }];
        let wanted = Wanted::of(&suites, 13).unwrap();
        assert_eq!(wanted.lengths.iter().copied().collect::<Vec<_>>(), [7, 13]);
        let text = format!("{} {} {}", prose(1, 20), prose(1, 30), prose(2, 4));
        let row = chat("a", &text, &format!("as it is {}", prose(9, 40)));
        let mut words = Vec::new();
        row.trace.messages.iter().for_each(|message| said(message, &mut words));
        let windows = wanted.lengths.iter().flat_map(|length| words.windows(*length));
        let all: BTreeSet<u32> =
            windows.filter_map(|gram| wanted.known.get(&hash(gram)).copied()).collect();
        assert!(all.len() > 18);
        assert_eq!(wanted.held(&row.trace.messages), all.into_iter().collect::<Vec<_>>());
    }

    #[test]
    fn a_row_that_holds_an_item_goes_and_names_it() {
        let suite = [chat("q1", &prose(1, 30), &prose(2, 20)), chat("q2", &prose(3, 40), "short")];
        let train = [
            chat("a", &format!("before {} after", prose(1, 30)), &prose(9, 50)),
            chat("b", &prose(5, 60), &prose(3, 40).to_uppercase()),
            chat("c", &prose(6, 60), &prose(7, 60)),
        ];
        let (gone, report) = search(&train, &suite, &OPTIONS);
        assert_eq!(gone, [0, 1]);
        let listed: BTreeMap<&str, u64> =
            report.listed.iter().map(|c| (c.row.as_str(), c.item)).collect();
        assert_eq!(listed, [(train[0].id.as_str(), 1), (train[1].id.as_str(), 2)].into());
        let searched = &report.suites["suite"];
        assert_eq!((searched.items, searched.rows, searched.too_short), (2, 2, 0));
    }

    #[test]
    fn less_than_the_allowed_share_is_no_contamination() {
        let suite = [chat("q", &prose(1, 100), &prose(2, 100))];
        // 25 words in a row hold 13 of the item's 188 n-grams.
        let words: Vec<String> = prose(1, 100).split(' ').map(String::from).collect();
        let train = [chat("a", &words[..25].join(" "), &prose(9, 50))];
        let share = 13.0 / 188.0;
        let at = |share: f64| search(&train, &suite, &Options { share, ..OPTIONS });
        assert!(at(share).0.is_empty());
        let (gone, report) = at(share - 0.001);
        assert_eq!((gone, report.listed[0].share), (vec![0], 0.0691));
    }

    #[test]
    fn a_short_item_is_looked_for_as_a_whole_and_a_tiny_one_not_at_all() {
        let suite =
            [chat("q1", "capital of the old province?", "Veldmark"), chat("q2", "hi", "hello")];
        let train = [
            chat("a", "Capital of the old province", "veldmark, I think"),
            chat("b", "capital of the old province", "no idea"),
            chat("c", "hi", "hello"),
        ];
        let (gone, report) = search(&train, &suite, &OPTIONS);
        assert_eq!((gone, report.suites["suite"].too_short), (vec![0], 1));
    }

    #[test]
    fn calls_count_and_system_prompts_do_not() {
        let mut asked = row("q", vec![]);
        let arguments = serde_json::json!({"path": format!("src/{}", prose(4, 20))});
        asked.trace.messages = vec![
            Message::text(Role::System, prose(8, 60)),
            Message::text(Role::User, "open it"),
            call("c", "read", arguments),
        ];
        let mut same = asked.clone();
        same.trace.messages[1].content = "please".into();
        same.trace.messages.push(result("c", &prose(9, 30)));
        let mut prompt = chat("p", &prose(5, 30), &prose(6, 30));
        prompt.trace.messages.insert(0, Message::text(Role::System, prose(8, 60)));
        let (gone, _) = search(&[same, prompt], &[asked], &OPTIONS);
        assert_eq!(gone, [0]);
    }

    #[test]
    fn what_many_say_drops_nothing() {
        // The suite's own template.
        let template = prose(1, 40);
        let ask =
            |n: u64| chat(&format!("q{n}"), &format!("{template} {}", prose(n + 50, 4)), "ok");
        let suite: Vec<Example> = (0..=COMMON as u64).map(ask).collect();
        let (gone, _) = search(&[chat("a", &template, &prose(2, 9))], &suite, &OPTIONS);
        assert!(gone.is_empty());
        let (gone, _) = search(&[chat("a", &template, &prose(2, 9))], &suite[..COMMON], &OPTIONS);
        assert_eq!(gone, [0]);

        // A phrase of everybody's that one item quotes.
        let suite = [chat("q", &template, "what is that?")];
        let say = |n: usize| chat(&format!("s{n}"), &template, &prose(n as u64 + 100, 9));
        let train: Vec<Example> = (0..=WIDESPREAD).map(say).collect();
        let (gone, report) = search(&train, &suite, &OPTIONS);
        assert_eq!((gone.len(), report.dropped), (0, 0));
        let (gone, _) = search(&train[1..], &suite, &OPTIONS);
        assert_eq!(gone.len(), WIDESPREAD);
    }
}
