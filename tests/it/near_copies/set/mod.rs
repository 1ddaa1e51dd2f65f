//! A test set for near copies: rows as agents make them, and of each which cluster of copies it
//! belongs to and how it was made. Nothing here knows how copies are found.
//!
//! Most clusters are an original and one copy, so that each way of copying is judged on its own;
//! some are families of several copies. As many rows are nobody's copy, though they share a system
//! prompt, a question, a repository or a session with others.

use std::sync::Arc;

use proto::chance::Chance;
use proto::dataset::Example;
use proto::trace::{Message, Origin, Trace};

mod edits;
pub mod judge;
mod sessions;
mod text;

use sessions::{Repository, Session};
use text::{Hand, Scene};

/// How a row was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Made {
    /// What others are copies of.
    Original,
    /// The same but for the session's id.
    Exact,
    /// Other case here and there, other white space.
    Space,
    /// The same session at another time in another folder: other times, ids, users and paths.
    Stamps,
    /// So many of a hundred words changed, in spans.
    Edited(u8),
    /// The first part of it, to a message: more than half.
    Prefix,
    /// The first part of it, to a message: less than half.
    ShortPrefix,
    /// The first part of it, to the middle of a message.
    Cut,
    /// It went on for long, at another time in another folder.
    Resumed,
    /// Nobody's copy: a session of its own.
    Alone,
    /// Nobody's copy: little was said after a long system prompt that others have.
    SharedPrompt,
    /// Nobody's copy: others asked the same and something else was done.
    SameQuestion,
    /// Nobody's copy: others in the same repository looked at the same files first.
    SameRepository,
    /// Nobody's copy: another row of the same session.
    SameSession,
    /// New: first one old session, then another one.
    Bridge,
}

impl Made {
    /// The ways of copying, each judged on its own.
    pub const COPIES: [Made; 11] = [
        Made::Exact,
        Made::Space,
        Made::Stamps,
        Made::Edited(1),
        Made::Edited(5),
        Made::Edited(10),
        Made::Edited(20),
        Made::Prefix,
        Made::ShortPrefix,
        Made::Cut,
        Made::Resumed,
    ];
    const ALONE: [Made; 5] = [
        Made::Alone,
        Made::SharedPrompt,
        Made::SameQuestion,
        Made::SameRepository,
        Made::SameSession,
    ];

    /// Whether it says the same as the original but for at most one word in twenty.
    pub fn is_strict(self) -> bool {
        matches!(self, Made::Exact | Made::Space | Made::Stamps | Made::Edited(..=5))
    }

    /// Whether it is nobody's copy.
    pub fn is_alone(self) -> bool {
        Made::ALONE.contains(&self)
    }

    /// Whether one of the two began as the other.
    pub fn is_prefix(self) -> bool {
        matches!(self, Made::Prefix | Made::ShortPrefix | Made::Cut | Made::Resumed)
    }
}

/// A row, and what is known of it.
#[derive(Debug, Clone)]
pub struct Row {
    pub example: Arc<Example>,
    /// The same for rows that are copies of each other.
    pub cluster: usize,
    pub made: Made,
    /// Whether its cluster has more than two rows.
    pub family: bool,
}

/// What set to make.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    pub seed: u64,
    /// How many clusters of copies; there are as many rows that are nobody's copy.
    pub clusters: usize,
    /// The least and the most words of a session.
    pub words: (usize, usize),
}

/// Rows of one group that are nobody's copy share something.
const GROUP: usize = 4;

impl Plan {
    /// The whole set.
    pub fn rows(&self) -> Vec<Row> {
        let copies = (0..self.clusters).flat_map(|cluster| self.cluster(cluster));
        let alone = (0..self.clusters).map(|n| self.alone(n));
        copies.chain(alone).collect()
    }

    /// A tenth more rows, some days later: sessions of their own, copies of old ones, and some
    /// that hold two old sessions.
    pub fn more(&self) -> Vec<Row> {
        let mut chance = self.chance("more", 0);
        let count = self.rows().len() / 10;
        let row = |n: usize| {
            let old = chance.below(self.clusters);
            let (made, cluster) = match n % 4 {
                0 => (Made::Alone, 3 * self.clusters + n),
                1 => (Made::Bridge, old),
                _ => (Made::COPIES[chance.below(Made::COPIES.len())], old),
            };
            let mut messages = match made {
                Made::Alone => self.session(cluster, None, 0),
                Made::Bridge => self.session(old, None, 0),
                _ => self.copy(old, made, 7),
            };
            if made == Made::Bridge {
                let other = (old + 1 + chance.below(self.clusters - 1)) % self.clusters;
                messages.extend(self.session(other, None, 0).split_off(1));
            }
            self.row(cluster, made, format!("new-{n}"), messages)
        };
        (0..count).map(row).collect()
    }

    fn chance(&self, what: &str, n: usize) -> Chance {
        Chance::new(self.seed, &format!("{what} {n}"))
    }

    fn repository(&self, n: usize) -> Repository {
        Repository::new(self.seed * 1000 + (n % (self.clusters / 20 + 1)) as u64)
    }

    fn scene(&self, cluster: usize, take: usize) -> Scene {
        Scene::new(self.chance("scene", cluster * 64 + take).bits())
    }

    /// As many words between the least and the most as have their logarithm evenly spread.
    fn size(&self, chance: &mut Chance) -> usize {
        let (least, most) = (self.words.0 as f64, self.words.1 as f64);
        (least * (most / least).powf(chance.unit())) as usize
    }

    /// A session of a cluster, played at some time and place; it may go on for some words more.
    fn session(&self, cluster: usize, take: Option<usize>, more: usize) -> Vec<Message> {
        let mut chance = self.chance("session", cluster);
        let size = self.size(&mut chance);
        let repository = self.repository(cluster);
        let hand = Hand::new(chance, self.scene(cluster, take.unwrap_or(0)));
        let mut session = Session::new(hand, &repository, cluster % 3);
        session.turns(size);
        if more > 0 {
            session.turns(more);
        }
        session.messages
    }

    fn row(&self, cluster: usize, made: Made, session: String, messages: Vec<Message>) -> Row {
        let trace = Trace {
            session,
            source: "raw".into(),
            repository: Some(self.repository(cluster).name),
            started_ms: Some(1_790_000_000_000 + cluster as i64 * 60_000),
            tools: sessions::tools(cluster % 3),
            messages,
            origin: Origin { file: "sessions.jsonl".into(), line: 1 },
            ..Trace::default()
        };
        Row { example: Arc::new(Example::real(trace)), cluster, made, family: false }
    }

    /// An original and its copies.
    fn cluster(&self, cluster: usize) -> Vec<Row> {
        let ways = Made::COPIES;
        let original = self.session(cluster, None, 0);
        let mut rows = vec![self.row(cluster, Made::Original, format!("{cluster}-0"), original)];
        let mut chance = self.chance("ways", cluster);
        let family = cluster % (ways.len() + 1) == ways.len();
        let copies: Vec<Made> = match ways.get(cluster % (ways.len() + 1)) {
            Some(way) => vec![*way],
            None => (0..4).map(|_| ways[chance.below(ways.len())]).collect(),
        };
        for (n, made) in copies.into_iter().enumerate() {
            let messages = self.copy(cluster, made, n + 1);
            rows.push(self.row(cluster, made, format!("{cluster}-{}", n + 1), messages));
        }
        rows.iter_mut().for_each(|row| row.family = family);
        rows
    }

    fn copy(&self, cluster: usize, made: Made, take: usize) -> Vec<Message> {
        let mut chance = self.chance("copy", cluster * 64 + take);
        let mut messages = self.session(cluster, None, 0);
        match made {
            Made::Space => edits::space(&mut messages, chance.bits()),
            Made::Stamps => messages = self.session(cluster, Some(take), 0),
            Made::Edited(percent) => {
                edits::spans(&mut messages, f64::from(percent) / 100.0, chance.bits());
            }
            Made::Prefix => messages = edits::beginning(&messages, 0.5 + 0.4 * chance.unit()),
            Made::ShortPrefix => messages = edits::beginning(&messages, 0.05 + 0.3 * chance.unit()),
            Made::Cut => messages = edits::cut(&messages, 0.2 + 0.6 * chance.unit()),
            Made::Resumed => {
                let more = self.words.1.min(messages.len() * 120);
                messages = self.session(cluster, Some(take), more);
            }
            _ => {}
        }
        messages
    }

    /// A row that is nobody's copy.
    fn alone(&self, n: usize) -> Row {
        let (made, group) = (Made::ALONE[n / GROUP % Made::ALONE.len()], n / GROUP);
        let (cluster, session) = (self.clusters + n, format!("alone-{n}"));
        let mut own = self.chance("alone", n);
        let size = self.size(&mut own);
        let repository = self.repository(group);
        let hand = Hand::new(own, self.scene(cluster, 0));
        let mut begun = Session::new(hand, &repository, group % 3);
        match made {
            Made::SharedPrompt => {
                begun.messages = vec![sessions::system(100 + group % 3, 1500)];
                begun.turns(60 + size % 100);
            }
            Made::SameQuestion => {
                // The question comes from the group's chance, all else from the row's own.
                let shared = Hand::new(self.chance("question", group), self.scene(cluster, 1));
                let own = std::mem::replace(&mut begun.hand, shared);
                begun.ask(200);
                begun.hand = own;
                let length = begun.words() * (3 + n % 3);
                begun.work(length);
                begun.answer(length);
            }
            Made::SameRepository => {
                begun.ask(200);
                begun.look_around(size.max(200));
                let length = begun.words() * (8 + 6 * (n % 4)) / 10;
                begun.work(length);
                begun.answer(length);
                let left = (begun.words() + length).saturating_sub(begun.words());
                begun.turns(left / 2);
            }
            _ => begun.turns(size),
        }
        let session = match made {
            Made::SameSession => format!("alone-{}", n / 2 * 2),
            _ => session,
        };
        let messages = begun.messages;
        self.row(cluster, made, session, messages)
    }
}
