//! Results of tools: as text, as JSON in a text, as a list of parts, and as events.

use serde::Deserialize;
use serde_json::Value;

use super::super::jsonl::{Parts, append};
use super::super::{Message, Role, Signal};

/// What a call gave, in the shapes it was written in over time.
pub(super) type Output = Parts<Given>;

#[derive(Deserialize)]
pub(super) struct Given {
    text: Option<String>,
    #[serde(default)]
    content: Parts<Content>,
    success: Option<bool>,
}

#[derive(Deserialize)]
pub(super) struct Content {
    text: Option<String>,
}

/// The shape of commands and patches before 0.144: JSON in a text.
#[derive(Deserialize)]
struct Wrapped {
    output: String,
    metadata: Metadata,
}

#[derive(Deserialize)]
struct Metadata {
    exit_code: Option<i64>,
}

/// How the texts begin that the agent gives instead of a result.
const FAILURES: &[&str] = &[
    "unsupported call",
    "unsupported custom tool call",
    "failed to ",
    "exec command rejected",
    "patch rejected",
    "rejected by user",
    "apply_patch verification failed",
    "execution error",
    "exec_command failed",
    "write_stdin failed",
    "tool call error",
    "user rejected",
    "Script failed",
];

impl Output {
    /// The result of a call of this tool.
    pub fn result(self, tool: Option<&str>) -> Message {
        let (text, succeeded) = match self {
            Parts::Text(text) => (text, None),
            Parts::List(parts) => {
                let mut text = String::new();
                let mut succeeded = None;
                for part in parts {
                    succeeded = part.success.or(succeeded);
                    append(&mut text, part.text.as_deref().unwrap_or_default());
                    match part.content {
                        Parts::Text(inner) => append(&mut text, &inner),
                        Parts::List(inner) => inner
                            .iter()
                            .filter_map(|part| part.text.as_deref())
                            .for_each(|part| append(&mut text, part)),
                    }
                }
                (text, succeeded)
            }
        };
        let (text, mut exit) = match serde_json::from_str::<Wrapped>(&text) {
            Ok(wrapped) => (wrapped.output, wrapped.metadata.exit_code),
            Err(_) => {
                let exit = exit(&text);
                (text, exit)
            }
        };
        let mut message = Message::text(Role::Tool, "");
        let start = text.trim_start();
        let failed = FAILURES.iter().any(|failure| start.starts_with(failure));
        if exit.is_none() && start.starts_with("aborted") {
            message.note(Signal::Aborted);
        } else if exit.is_none() && (failed || succeeded == Some(false)) {
            message.note(Signal::of_failure(&text));
        }
        if tool == Some("apply_patch") {
            // A patch is no command: it was applied or it was not.
            if exit.is_some_and(|exit| exit != 0) {
                message.note(Signal::of_failure(&text));
            }
            exit = None;
        }
        Message { content: text, exit, ..message }
    }
}

/// The exit status among the lines before the output.
fn exit(text: &str) -> Option<i64> {
    let head = text.lines().take(6).take_while(|line| !line.starts_with("Output:"));
    head.filter_map(|line| {
        let code = line
            .strip_prefix("Exit code: ")
            .or_else(|| line.strip_prefix("Process exited with code "))?;
        code.trim().parse().ok()
    })
    .next()
}

/// A thing that came to its end, as an event tells it.
#[derive(Deserialize)]
pub(super) struct Item {
    r#type: Option<String>,
    #[serde(alias = "aggregatedOutput")]
    aggregated_output: Option<String>,
    #[serde(alias = "formattedOutput")]
    formatted_output: Option<String>,
    stdout: Option<String>,
    stderr: Option<String>,
    #[serde(alias = "exitCode")]
    exit_code: Option<i64>,
    status: Option<Value>,
}

impl Item {
    pub fn is_command(&self) -> bool {
        self.r#type.as_deref() == Some("CommandExecution")
    }
}

/// What the commands of one script did.
#[derive(Default)]
pub(super) struct Ran {
    row: u64,
    time_ms: Option<i64>,
    text: String,
    exits: Vec<i64>,
    declined: bool,
    any: bool,
}

impl Ran {
    pub fn add(&mut self, line: u64, time_ms: Option<i64>, item: Item) {
        let text = item.formatted_output.or(item.aggregated_output).unwrap_or_else(|| {
            let mut text = item.stdout.unwrap_or_default();
            append(&mut text, &item.stderr.unwrap_or_default());
            text
        });
        append(&mut self.text, &text);
        self.exits.extend(item.exit_code);
        self.declined |= item.status.is_some_and(|status| status == "declined");
        (self.row, self.time_ms, self.any) = (line, time_ms, true);
    }

    /// The first status that is not 0, else 0.
    pub fn exit(&self) -> Option<i64> {
        self.exits.iter().copied().find(|exit| *exit != 0).or(self.exits.first().copied())
    }

    /// The result of the script where none was written.
    pub fn result(self) -> Option<Message> {
        let exit = self.exit();
        let mut message = Message::text(Role::Tool, self.text);
        if self.declined {
            message.note(Signal::Denied);
        }
        self.any.then_some(Message { exit, row: self.row, time_ms: self.time_ms, ..message })
    }
}
