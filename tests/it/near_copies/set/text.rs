//! What stands in sessions: prose, code, listings, logs, all invented from a seed.
//!
//! A [`Hand`] draws from two streams. What is said comes from one; what differs between two runs
//! of the same session (user, folder, clock, ids) comes from the other.

use std::fmt::Write as _;

use proto::chance::Chance;

#[rustfmt::skip]
const NOUNS: &[&str] = &[
    "account", "adapter", "alarm", "anchor", "archive", "asset", "auction", "badge", "balance", "banner", "basket",
    "batch", "beacon", "binder", "bookmark", "border", "branch", "bridge", "broker", "bucket", "budget", "buffer",
    "bundle", "cable", "calendar", "camera", "canvas", "carrier", "catalog", "cell", "channel", "chapter", "charge",
    "circle", "claim", "clause", "cluster", "column", "comment", "contract", "copy", "corner", "counter", "courier",
    "credit", "crew", "cursor", "curve", "customer", "deck", "depot", "digest", "dock", "draft", "drawer", "edge",
    "engine", "envelope", "episode", "exchange", "export", "fence", "filter", "fixture", "flag", "fleet", "fold",
    "forecast", "frame", "gauge", "glyph", "grant", "grid", "guest", "harbour", "header", "hinge", "host", "import",
    "invoice", "island", "joint", "journal", "kernel", "label", "ladder", "lane", "lease", "ledger", "lens", "limit",
    "list", "locker", "margin", "market", "marker", "measure", "member", "meter", "mirror", "module", "monitor",
    "motor", "notice", "order", "outlet", "packet", "panel", "parcel", "partner", "patch", "payment", "permit", "phase",
    "pilot", "pipeline", "pixel", "plan", "planet", "pocket", "policy", "portal", "price", "profile", "quota", "radar",
    "receipt", "record", "region", "reminder", "report", "ribbon", "river", "roster", "route", "sample", "scale",
    "schedule", "seat", "segment", "sensor", "shelf", "shift", "signal", "sketch", "slot", "socket", "spool", "stage",
    "stamp", "station", "stock", "storm", "supplier", "switch", "tariff", "tenant", "ticket", "tide", "token", "tower",
    "track", "trail", "transfer", "treaty", "tunnel", "valve", "vault", "vendor", "vessel", "voucher", "warehouse",
    "wave", "wheel", "window", "worker", "zone",
];
#[rustfmt::skip]
const VERBS: &[&str] = &[
    "absorb", "accept", "align", "append", "arrange", "attach", "audit", "balance", "bind", "book", "cancel", "charge",
    "check", "claim", "clip", "collect", "compare", "compose", "convert", "count", "crop", "deliver", "derive",
    "dispatch", "drain", "drop", "emit", "enrich", "expand", "expire", "extract", "fetch", "fill", "fold", "freeze",
    "gather", "group", "guard", "hold", "infer", "inspect", "issue", "join", "launch", "lift", "link", "list", "locate",
    "mark", "match", "measure", "merge", "move", "notify", "open", "order", "pack", "parse", "patch", "pause", "pick",
    "plan", "poll", "print", "prune", "publish", "pull", "quote", "rank", "read", "rebuild", "reconcile", "release",
    "render", "renew", "replay", "reserve", "reset", "resolve", "retry", "revoke", "rotate", "round", "route", "scan",
    "schedule", "seal", "search", "select", "send", "settle", "shift", "sign", "skip", "sort", "split", "stage", "store",
    "stream", "strip", "submit", "swap", "sync", "tag", "track", "trim", "unpack", "update", "validate", "verify",
    "void", "wait", "warm", "weigh", "wrap", "write",
];
#[rustfmt::skip]
const QUALITIES: &[&str] = &[
    "active", "broken", "cached", "central", "cold", "common", "daily", "dirty", "early", "empty", "expired", "final",
    "foreign", "fresh", "global", "hidden", "idle", "inner", "large", "late", "lazy", "linked", "local", "locked",
    "lost", "manual", "missing", "nested", "newest", "open", "outer", "partial", "pending", "plain", "private", "quick",
    "random", "raw", "remote", "second", "shared", "silent", "single", "slow", "stable", "stale", "strict", "target",
    "total", "unused", "upper", "valid", "vast", "visible", "weekly", "wrong",
];
#[rustfmt::skip]
const SMALL: &[&str] = &[
    "the", "a", "of", "and", "to", "in", "that", "is", "it", "for", "on", "with", "as", "this", "we", "are", "be", "by",
    "not", "which", "from", "at", "when", "then", "but", "if", "so", "there", "only", "still", "now", "should", "before",
    "after", "because", "every", "first", "again", "already", "instead", "without", "each", "into", "between", "until",
];

/// Where and when a session ran: what a copy of it may have otherwise.
#[derive(Debug, Clone)]
pub struct Scene {
    chance: Chance,
    user: String,
    /// Where the checkouts lie.
    root: String,
    clock: i64,
}

impl Scene {
    pub fn new(seed: u64) -> Scene {
        let mut chance = Chance::new(seed, "scene");
        let user = format!("{}{}", pick(&mut chance, SMALL), chance.below(90));
        let home = pick(&mut chance, &["/home", "/Users"]);
        let folder = pick(&mut chance, &["src", "work", "code", "projects", "dev"]);
        let root = format!("{home}/{user}/{folder}");
        let clock = 1_790_000_000 + chance.below(20_000_000) as i64;
        Scene { chance, user, root, clock }
    }
}

/// Writes the text of one session.
#[derive(Debug, Clone)]
pub struct Hand {
    pub content: Chance,
    scene: Scene,
}

pub fn pick<'a>(chance: &mut Chance, from: &[&'a str]) -> &'a str {
    from[chance.below(from.len())]
}

impl Hand {
    pub fn new(content: Chance, scene: Scene) -> Hand {
        Hand { content, scene }
    }

    pub fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        pick(&mut self.content, from)
    }

    pub fn below(&mut self, n: usize) -> usize {
        self.content.below(n)
    }

    pub fn noun(&mut self) -> &'static str {
        self.pick(NOUNS)
    }

    /// An identifier, or a file's name without its ending.
    pub fn name(&mut self) -> String {
        let (verb, noun) = (self.pick(VERBS), self.pick(NOUNS));
        match self.below(6) {
            0 => noun.into(),
            1 => format!("{}_{noun}", self.pick(QUALITIES)),
            2 => format!("{verb}_{}_{noun}", self.pick(QUALITIES)),
            3 => format!("{verb}{}{}", noun[..1].to_uppercase(), &noun[1..]),
            _ => format!("{verb}_{noun}"),
        }
    }

    /// Hexadecimal digits that nothing but the run decides.
    pub fn hex(&mut self, length: usize) -> String {
        let chance = &mut self.scene.chance;
        let mut text: String =
            (0..length).map(|_| char::from(b"0123456789abcdef"[chance.below(16)])).collect();
        // Some of it is always a digit and some a letter, as nearly always in the long ones.
        text.replace_range(1..3, "4e");
        text
    }

    pub fn uuid(&mut self) -> String {
        [8, 4, 4, 4, 12].map(|length| self.hex(length)).join("-")
    }

    /// The present second; some pass with each look.
    fn now(&mut self) -> i64 {
        self.scene.clock += self.scene.chance.below(40) as i64;
        self.scene.clock
    }

    fn clock(&mut self) -> String {
        let now = self.now();
        format!("{:02}:{:02}:{:02}", now / 3600 % 24, now / 60 % 60, now % 60)
    }

    /// Date and time as logs have them.
    pub fn stamp(&mut self) -> String {
        let (clock, day) = (self.clock(), self.scene.clock / 86_400);
        let millis = self.scene.chance.below(1000);
        format!("2026-{:02}-{:02}T{clock}.{millis:03}Z", 1 + day / 28 % 12, 1 + day % 28)
    }

    /// An absolute path.
    pub fn at(&self, repository: &str, path: &str) -> String {
        format!("{}/{repository}/{path}", self.scene.root)
    }

    /// A sentence of random words, most of them small.
    pub fn sentence(&mut self) -> String {
        let mut out = String::new();
        for n in 0..6 + self.below(14) {
            let word = match self.below(6) {
                0 | 1 => self.pick(NOUNS),
                2 => self.pick(VERBS),
                3 if self.below(3) == 0 => self.pick(QUALITIES),
                _ => self.pick(SMALL),
            };
            if n > 0 {
                out += if self.below(14) == 0 { ", " } else { " " };
            }
            out += word;
        }
        out + ". "
    }

    /// About so many words of prose, with lists and paths as agents write them.
    pub fn prose(&mut self, words: usize) -> String {
        let mut out = String::new();
        let mut left = words as i64;
        while left > 0 {
            let sentence = match self.below(12) {
                0 => format!("\n\n## {} the {}\n\n", self.pick(VERBS), self.noun()),
                1 => format!("\n- **{}**: {}", self.name(), self.sentence()),
                2 => format!("See `src/{}.rs:{}`. ", self.name(), self.below(900)),
                3 => format!("`{}` {}", self.name(), self.sentence()),
                _ => self.sentence(),
            };
            left -= sentence.split_whitespace().count() as i64;
            out += &sentence;
        }
        out
    }

    fn operand(&mut self) -> String {
        match self.below(7) {
            0 => self.below(5000).to_string(),
            1 => format!("\"{} {}\"", self.noun(), self.pick(VERBS)),
            2 => format!("self.{}", self.name()),
            3 => format!("{}.{}()", self.name(), self.pick(VERBS)),
            4 => format!("{}[{}]", self.name(), self.noun()),
            5 => format!("{}({}, {})", self.name(), self.noun(), self.below(300)),
            _ => self.name(),
        }
    }

    fn statement(&mut self, python: bool) -> String {
        let (a, b) = (self.operand(), self.operand());
        let operator = self.pick(&["==", "!=", "<", ">=", "+", "-", "*", "%"]);
        let end = if python { "" } else { ";" };
        match (self.below(8), python) {
            (0, false) => format!("let {} = {a} {operator} {b}{end}", self.name()),
            (0 | 1, true) => format!("{} = {a} {operator} {b}", self.name()),
            (1, _) => format!("let mut {}: Vec<{}> = {a}.collect();", self.noun(), self.noun()),
            (2, true) => format!("if {a} {operator} {b}: return {}", self.operand()),
            (2, _) => format!("if {a} {operator} {b} {{ return {}; }}", self.operand()),
            (3, true) => format!("for {} in {a}: {}({b})", self.noun(), self.name()),
            (3, _) => format!("for {} in {a} {{ {}({b}); }}", self.noun(), self.name()),
            (4, _) => format!("{}.{}({a}, {b}){end}", self.name(), self.pick(VERBS)),
            (5, _) => {
                format!("{} {}", if python { "#" } else { "//" }, self.sentence().trim_end())
            }
            (6, _) => format!("assert_eq({a}, {b}){end}"),
            _ => format!("{}({a}, {}){end}", self.name(), self.operand()),
        }
    }

    /// Source code.
    pub fn code(&mut self, words: usize) -> String {
        let python = self.below(2) == 0;
        let mut out = String::new();
        let mut left = words as i64;
        while left > 0 {
            let head = match python {
                true => format!("def {}({}, {}):\n", self.name(), self.noun(), self.name()),
                false => format!("pub fn {}({}: &{}) {{\n", self.name(), self.noun(), self.noun()),
            };
            let mut part = head;
            for _ in 0..3 + self.below(9) {
                let indent = if self.below(4) == 0 { "        " } else { "    " };
                let _ = writeln!(part, "{indent}{}", self.statement(python));
            }
            part += if python { "\n" } else { "}\n\n" };
            left -= part.split_whitespace().count() as i64;
            out += &part;
        }
        out
    }

    /// A file as tools show it, with the numbers of its lines.
    pub fn numbered(&mut self, words: usize) -> String {
        let code = self.code(words);
        let first = 1 + self.below(300);
        code.lines().enumerate().map(|(n, line)| format!("{:6}\t{line}\n", first + n)).collect()
    }

    pub fn diff(&mut self, words: usize) -> String {
        let file = self.name();
        let mut out = format!(
            "diff --git a/src/{file}.rs b/src/{file}.rs\nindex {}..{} 100644\n@@ -{},7 +{},9 @@\n",
            self.hex(9),
            self.hex(9),
            self.below(500),
            self.below(500)
        );
        for line in self.code(words).lines() {
            out += self.pick(&["+", "-", " ", " "]);
            out += line;
            out.push('\n');
        }
        out
    }

    /// What a server, a build or a test run prints, a line with a time each.
    pub fn log(&mut self, words: usize) -> String {
        let kind = self.below(4);
        let mut out = String::new();
        for _ in 0..1 + words / 10 {
            let (name, noun, n) = (self.name(), self.noun(), self.below(4000));
            let told = self.sentence();
            let told = told.trim_end();
            let _ = match kind {
                0 => {
                    let (stamp, id) = (self.stamp(), self.hex(16));
                    writeln!(out, "{stamp} INFO {noun}::{name} request={id} {told} took {n} ms")
                }
                1 => writeln!(out, "[{}] {name}: {told} ({n} of {noun})", self.clock()),
                2 => {
                    let (test, result) = (self.name(), self.pick(&["ok", "ok", "ok", "FAILED"]));
                    writeln!(out, "test {noun}::{name}::{test} ... {result}")
                }
                _ => {
                    let path = self.at(noun, &format!("src/{name}.rs:{n}"));
                    writeln!(out, "warning: {told}\n  --> {path}")
                }
            };
        }
        out
    }

    /// The history of a repository.
    pub fn history(&mut self, words: usize) -> String {
        let mut out = String::new();
        for _ in 0..1 + words / 16 {
            let (commit, stamp) = (self.hex(40), self.stamp());
            let (user, told) = (self.scene.user.clone(), self.sentence());
            let _ = writeln!(out, "commit {commit}\nAuthor: {user}\nDate: {stamp}\n\n    {told}\n");
        }
        out
    }

    /// What an interface returns.
    pub fn records(&mut self, words: usize) -> String {
        let fields: Vec<String> = (0..3).map(|_| self.name()).collect();
        let mut out = String::from("[\n");
        for n in 0..1 + words / 14 {
            let (id, stamp) = (self.uuid(), self.stamp());
            let _ = writeln!(
                out,
                "  {{\"id\": \"{id}\", \"{}\": {n}, \"{}\": \"{}\", \"{}\": {}, \"at\": \"{stamp}\"}},",
                fields[0],
                fields[1],
                self.name(),
                fields[2],
                self.below(9000)
            );
        }
        out + "]\n"
    }

    /// Lines of a search, with the path of each.
    pub fn matches(&mut self, repository: &str, words: usize) -> String {
        let mut out = String::new();
        for _ in 0..1 + words / 12 {
            let path = format!("src/{}.rs", self.name());
            let (path, n) = (self.at(repository, &path), self.below(900));
            let _ = writeln!(out, "{path}:{n}: {}", self.statement(false));
        }
        out
    }

    /// A listing of files with their times.
    pub fn listing(&mut self, files: &[String]) -> String {
        let mut out = format!("total {}\n", files.len() * 8);
        for file in files {
            let (clock, size) = (self.clock(), file.len() * 317 % 9973);
            let user = self.scene.user.clone();
            let _ = writeln!(out, "-rw-r--r-- 1 {user} staff {size} Mar 12 {} {file}", &clock[..5]);
        }
        out
    }
}
