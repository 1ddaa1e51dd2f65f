//! Sessions of agents: a question, calls of tools with what they returned, an answer, and again.

use proto::chance::Chance;
use proto::trace::{Message, Role, ToolCall};
use serde_json::{Value, json};

use super::text::{Hand, Scene};

/// What is worked on: its sessions see the same files and the same boilerplate.
pub struct Repository {
    pub name: String,
    pub files: Vec<String>,
    readme: String,
    license: String,
}

impl Repository {
    pub fn new(seed: u64) -> Repository {
        let mut hand = Hand::new(Chance::new(seed, "repository"), Scene::new(seed));
        let name = format!("{}-{}", hand.noun(), hand.noun());
        let file = |hand: &mut Hand| {
            let folder = hand.pick(&["src", "src/store", "tests", "scripts", "docs", "web"]);
            format!("{folder}/{}.{}", hand.name(), hand.pick(&["rs", "py", "ts", "md", "toml"]))
        };
        let files = (0..12 + hand.below(30)).map(|_| file(&mut hand)).collect();
        let (readme, license) = (hand.prose(120), hand.prose(50));
        Repository { name, files, readme, license }
    }
}

/// What every session of an agent begins with.
pub fn system(agent: usize, words: usize) -> Message {
    let mut hand = Hand::new(Chance::new(agent as u64, "agent"), Scene::new(0));
    Message::text(Role::System, hand.prose(words))
}

/// The tools of an agent.
pub fn tools(agent: usize) -> Vec<Value> {
    let mut hand = Hand::new(Chance::new(agent as u64, "tools"), Scene::new(0));
    let mut tool = |name: &str, argument: &str| {
        json!({"type": "function", "function": {"name": name, "description": hand.prose(40), "parameters": {
            "type": "object", "required": [argument],
            "properties": {argument: {"type": "string", "description": hand.prose(12)}}}}})
    };
    vec![tool("bash", "command"), tool("read", "path"), tool("edit", "path"), tool("grep", "query")]
}

/// What agents say again and again.
const HABITS: &[&str] = &[
    "Let me look at the file first.",
    "I'll run the tests to confirm the change.",
    "Now I have enough context to make the edit.",
    "Let me check how this is used elsewhere in the code.",
    "The tests pass. Let me summarise what was changed.",
    "I see the issue. Let me fix it.",
];

/// A session while it is written.
pub struct Session<'a> {
    pub hand: Hand,
    pub messages: Vec<Message>,
    repository: &'a Repository,
}

impl<'a> Session<'a> {
    pub fn new(hand: Hand, repository: &'a Repository, agent: usize) -> Self {
        Session { hand, messages: vec![system(agent, 300)], repository }
    }

    /// How many words were said but for the system prompt.
    pub fn words(&self) -> usize {
        self.messages[1..].iter().map(|m| m.content.split_whitespace().count()).sum()
    }

    /// Turns of user and model until about so many words were said, one at least.
    pub fn turns(&mut self, words: usize) {
        let wanted = self.words() + words;
        loop {
            let left = wanted.saturating_sub(self.words());
            self.ask(left);
            self.work(left * 3 / 4);
            self.answer(left);
            if self.words() + 20 >= wanted {
                return;
            }
        }
    }

    pub fn ask(&mut self, left: usize) {
        let hand = &mut self.hand;
        let length = (8 + hand.below(50)).min(left / 4 + 5);
        let mut text = hand.prose(length);
        if left > 200 && hand.below(5) == 0 {
            text += "\n\n```\n";
            text += &hand.log(40);
            text += "```";
        }
        self.messages.push(Message::text(Role::User, text));
    }

    /// Calls of tools with their results.
    pub fn work(&mut self, words: usize) {
        let wanted = self.words() + words;
        for _ in 0..1 + self.hand.below(7) {
            let left = wanted.saturating_sub(self.words());
            if left < 20 {
                return;
            }
            self.step(left);
        }
    }

    fn step(&mut self, left: usize) {
        let hand = &mut self.hand;
        let file = &self.repository.files[hand.below(self.repository.files.len())];
        let path = hand.at(&self.repository.name, file);
        let size = (20 + hand.below(left)).min(700);
        let bash = |command: &str| ("bash", json!({"command": command}));
        let ((name, arguments), result) = match hand.below(12) {
            0..4 => (("read", json!({"path": path})), hand.numbered(size)),
            4 => {
                let (old, new) = (hand.code(size / 4), hand.code(size / 4));
                let seen = hand.numbered(size / 4);
                let done = format!(
                    "The file {path} has been updated. Here is what it looks like now:\n{seen}"
                );
                (("edit", json!({"path": path, "old_string": old, "new_string": new})), done)
            }
            5 => (bash("git diff HEAD~1"), hand.diff(size)),
            6 => (bash("git log -8"), hand.history(size)),
            7 => {
                let query = hand.name();
                (("grep", json!({"query": query})), hand.matches(&self.repository.name, size))
            }
            8 => {
                let address = format!("curl -s localhost:8080/{}", hand.noun());
                (bash(&address), hand.records(size))
            }
            _ => {
                let command = format!("make {}", hand.name());
                (bash(&command), hand.log(size))
            }
        };
        self.call(name, arguments, result);
    }

    fn call(&mut self, name: &str, arguments: Value, result: String) {
        let hand = &mut self.hand;
        let said = match hand.below(3) {
            0 => hand.pick(HABITS).to_string(),
            1 => hand.prose(14),
            _ => String::new(),
        };
        let id = format!("call_{}", hand.hex(20));
        let arguments = arguments.as_object().cloned().unwrap_or_default();
        let mut call = Message::text(Role::Assistant, said);
        call.tool_calls = vec![ToolCall { id: id.clone(), name: name.into(), arguments }];
        let mut answer = Message::text(Role::Tool, result);
        (answer.tool_call_id, answer.name) = (Some(id), Some(name.into()));
        self.messages.extend([call, answer]);
    }

    /// Looks at what every session of a repository looks at; gives up before too many words.
    pub fn look_around(&mut self, words: usize) {
        let repository = self.repository;
        let listing = self.hand.listing(&repository.files);
        self.call("bash", json!({"command": "ls -la"}), listing);
        if self.words() < words {
            let readme = format!("{}\n\n{}", repository.readme, repository.license);
            self.call("read", json!({"path": "README.md"}), readme);
        }
    }

    pub fn answer(&mut self, left: usize) {
        let length = (10 + self.hand.below(120)).min(left / 4 + 8);
        let text = self.hand.prose(length);
        self.messages.push(Message::text(Role::Assistant, text));
    }
}
