//! `Row`, its messages and their tool calls: read lazily, never copied whole.

use std::any::TypeId;
use std::sync::Arc;

use rhai::plugin::*;
use rhai::{Array, ImmutableString, Map};

use crate::dataset::{Example, Held};
use crate::evaluate::Answer;
use crate::script::{RhaiResultOf, fail};
use crate::trace;

/// One example.
#[derive(Debug, Clone)]
pub struct Row {
    example: Arc<Example>,
}

impl Row {
    /// A handle to an example, read from where it is held.
    pub fn read(held: &Held) -> anyhow::Result<Self> {
        Ok(Row { example: held.read()? })
    }

    /// A handle to an example in memory.
    pub fn of(example: Arc<Example>) -> Self {
        Row { example }
    }

    /// The example behind the handle.
    pub fn into_example(self) -> Arc<Example> {
        self.example
    }

    /// A copy with one change.
    fn changed(&self, change: impl FnOnce(&mut Example)) -> Row {
        let mut example = self.example.as_ref().clone();
        change(&mut example);
        Row { example: Arc::new(example) }
    }
}

/// The messages of a row.
#[derive(Debug, Clone)]
pub struct Messages {
    example: Arc<Example>,
}

/// One message of a row.
#[derive(Debug, Clone)]
pub struct Message {
    example: Arc<Example>,
    index: usize,
}

impl Message {
    /// A handle to the message at `index`.
    pub fn of(example: Arc<Example>, index: usize) -> Self {
        Message { example, index }
    }

    fn get(&self) -> &trace::Message {
        &self.example.trace.messages[self.index]
    }
}

/// One tool call of a message, or of an answer under evaluation.
#[derive(Debug, Clone)]
pub struct Call {
    within: Within,
    index: usize,
}

#[derive(Debug, Clone)]
enum Within {
    Message(Message),
    Answer(Arc<Answer>),
}

impl Call {
    /// A handle to the answer's call at `index`.
    pub fn of(answer: Arc<Answer>, index: usize) -> Self {
        Call { within: Within::Answer(answer), index }
    }

    fn get(&self) -> &trace::ToolCall {
        match &self.within {
            Within::Message(message) => &message.get().tool_calls[self.index],
            Within::Answer(answer) => &answer.calls[self.index],
        }
    }
}

/// Registers rows' parts.
pub fn register(engine: &mut Engine) {
    engine
        .register_type_with_name::<Row>("Row")
        .register_type_with_name::<Messages>("Messages")
        .register_type_with_name::<Message>("Message")
        .register_type_with_name::<Call>("Call");
    engine.register_global_module(exported_module!(row).into());
    engine.register_global_module(exported_module!(messages).into());
    engine.register_global_module(exported_module!(message).into());
    engine.register_global_module(exported_module!(call).into());
    let mut iteration = Module::new();
    iteration.set_iter(TypeId::of::<Messages>(), |messages| {
        let example = messages.cast::<Messages>().example;
        Box::new(
            (0..example.trace.messages.len())
                .map(move |index| Dynamic::from(Message { example: example.clone(), index })),
        )
    });
    engine.register_global_module(iteration.into());
}

/// A moment in UTC to the second, or `()` where there is none.
fn moment(ms: Option<i64>) -> Dynamic {
    let moment = ms.and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    moment.map_or(Dynamic::UNIT, |at| at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string().into())
}

/// A text, or `()` where there is none.
pub fn maybe(text: Option<&str>) -> Dynamic {
    text.map_or(Dynamic::UNIT, |text| text.into())
}

#[export_module]
mod row {
    /// Unique within a run and the same in the next one.
    #[rhai_fn(get = "id", pure)]
    pub fn id(row: &mut Row) -> ImmutableString {
        row.example.id.as_str().into()
    }

    /// The session it belongs to.
    #[rhai_fn(get = "session", pure)]
    pub fn session(row: &mut Row) -> ImmutableString {
        row.example.trace.session.as_str().into()
    }

    /// The agent or pool it came from.
    #[rhai_fn(get = "source", pure)]
    pub fn source(row: &mut Row) -> ImmutableString {
        row.example.trace.source.as_str().into()
    }

    /// real, synthetic, adversarial, counterexample or replay.
    #[rhai_fn(get = "kind", pure)]
    pub fn kind(row: &mut Row) -> ImmutableString {
        row.example.kind.as_str().into()
    }

    /// What kind of task it was; `()` where unknown.
    #[rhai_fn(get = "task_category", pure)]
    pub fn task_category(row: &mut Row) -> Dynamic {
        maybe(row.example.trace.task_category.as_deref())
    }

    /// How it ended, in the source's word; `()` where unknown.
    #[rhai_fn(get = "outcome", pure)]
    pub fn outcome(row: &mut Row) -> Dynamic {
        maybe(row.example.trace.outcome.as_deref())
    }

    /// The repository or working directory; `()` where unknown.
    #[rhai_fn(get = "repository", pure)]
    pub fn repository(row: &mut Row) -> Dynamic {
        maybe(row.example.trace.repository.as_deref())
    }

    /// The agent's version; `()` where unknown.
    #[rhai_fn(get = "agent_version", pure)]
    pub fn agent_version(row: &mut Row) -> Dynamic {
        maybe(row.example.trace.agent_version.as_deref())
    }

    /// Who wrote its answers: models' names, each once.
    #[rhai_fn(get = "models", pure)]
    pub fn models(row: &mut Row) -> Array {
        let authors = row.example.trace.messages.iter().filter_map(|m| m.author.as_deref());
        let authors: std::collections::BTreeSet<&str> = authors.collect();
        authors.into_iter().map(|author| author.into()).collect()
    }

    /// The session that started it as a subagent; `()` where none did.
    #[rhai_fn(get = "parent", pure)]
    pub fn parent(row: &mut Row) -> Dynamic {
        maybe(row.example.trace.parent.as_deref())
    }

    /// When it began, as `2026-11-22T08:00:00Z`; `()` where unknown. Later moments compare greater.
    #[rhai_fn(get = "started", pure)]
    pub fn started(row: &mut Row) -> Dynamic {
        moment(row.example.trace.started_ms)
    }

    /// When its last message was written; `()` where unknown.
    #[rhai_fn(get = "ended", pure)]
    pub fn ended(row: &mut Row) -> Dynamic {
        moment(row.example.trace.ended_ms)
    }

    /// The file it was read from.
    #[rhai_fn(get = "file", pure)]
    pub fn file(row: &mut Row) -> ImmutableString {
        row.example.trace.origin.file.as_str().into()
    }

    /// The line it began at in that file.
    #[rhai_fn(get = "line", pure)]
    pub fn line(row: &mut Row) -> i64 {
        row.example.trace.origin.line as i64
    }

    /// Its messages: `len()`, `[i]`, `for message in row.messages`.
    #[rhai_fn(get = "messages", pure)]
    pub fn messages(row: &mut Row) -> Messages {
        Messages { example: row.example.clone() }
    }

    /// All text: every message's reasoning and content, tool calls left out.
    #[rhai_fn(get = "text", pure)]
    pub fn text(row: &mut Row) -> ImmutableString {
        row.example.trace.text().into()
    }

    /// The model's own text: reasoning and content of its messages.
    #[rhai_fn(get = "answers", pure)]
    pub fn answers(row: &mut Row) -> ImmutableString {
        row.example.trace.answers().into()
    }

    /// How many messages the model wrote.
    #[rhai_fn(get = "turns", pure)]
    pub fn turns(row: &mut Row) -> i64 {
        row.example.trace.turns() as i64
    }

    /// A copy whose message `index` (from 0) is trained or not. Only the model's messages can be.
    #[rhai_fn(pure, return_raw)]
    pub fn with_train(row: &mut Row, index: i64, train: bool) -> RhaiResultOf<Row> {
        let index = checked(row, index)?;
        if train && row.example.trace.messages[index].role != trace::Role::Assistant {
            return Err(fail(anyhow::anyhow!(
                "message {index} is not the model's, so it cannot be trained"
            )));
        }
        Ok(row.changed(|example| example.trace.messages[index].train = train))
    }

    /// A copy with this outcome; the configuration says which outcomes are trained.
    #[rhai_fn(pure)]
    pub fn with_outcome(row: &mut Row, outcome: &str) -> Row {
        row.changed(|example| example.trace.outcome = Some(outcome.into()))
    }

    /// A copy with this task category.
    #[rhai_fn(pure)]
    pub fn with_task_category(row: &mut Row, category: &str) -> Row {
        row.changed(|example| example.trace.task_category = Some(category.into()))
    }

    /// One line: kind, id, where from, how long.
    #[rhai_fn(name = "to_string", name = "to_debug", name = "print", name = "debug", pure)]
    pub fn show(row: &mut Row) -> String {
        let trace = &row.example.trace;
        let kind = row.example.kind.as_str();
        format!(
            "Row({kind} {}, {}, {} messages)",
            row.example.id,
            trace.origin,
            trace.messages.len()
        )
    }
}

/// A message's index within a row's bounds.
fn checked(row: &Row, index: i64) -> RhaiResultOf<usize> {
    let n = row.example.trace.messages.len();
    let found = usize::try_from(index).ok().filter(|i| *i < n);
    found.ok_or_else(|| format!("there is no message {index}: the {n} count from 0").into())
}

#[export_module]
mod messages {
    /// How many messages there are.
    #[rhai_fn(name = "len", get = "len", pure)]
    pub fn len(messages: &mut Messages) -> i64 {
        messages.example.trace.messages.len() as i64
    }

    /// One message, counted from 0, or from the end with a negative number.
    #[rhai_fn(index_get, pure, return_raw)]
    pub fn at(messages: &mut Messages, index: i64) -> RhaiResultOf<Message> {
        let n = messages.example.trace.messages.len();
        let from_start = if index < 0 { index + n as i64 } else { index };
        let found = usize::try_from(from_start).ok().filter(|i| *i < n);
        let index = found.ok_or_else(|| format!("there is no message {index} among {n}"))?;
        Ok(Message { example: messages.example.clone(), index })
    }

    /// One line: how many.
    #[rhai_fn(name = "to_string", name = "to_debug", name = "print", name = "debug", pure)]
    pub fn show(messages: &mut Messages) -> String {
        format!("Messages({})", messages.example.trace.messages.len())
    }
}

#[export_module]
mod message {
    /// system, user, assistant or tool.
    #[rhai_fn(get = "role", pure)]
    pub fn role(message: &mut Message) -> ImmutableString {
        message.get().role.as_str().into()
    }

    /// The text, without reasoning and tool calls.
    #[rhai_fn(get = "content", pure)]
    pub fn content(message: &mut Message) -> ImmutableString {
        message.get().content.as_str().into()
    }

    /// The model's reasoning; `()` where there is none.
    #[rhai_fn(get = "reasoning", pure)]
    pub fn reasoning(message: &mut Message) -> Dynamic {
        maybe(message.get().reasoning_content.as_deref())
    }

    /// The calls the model made, an array.
    #[rhai_fn(get = "tool_calls", pure)]
    pub fn tool_calls(message: &mut Message) -> Array {
        let calls = 0..message.get().tool_calls.len();
        let within = || Within::Message(message.clone());
        calls.map(|index| Dynamic::from(Call { within: within(), index })).collect()
    }

    /// For a tool's result: the id of the call it answers; `()` otherwise.
    #[rhai_fn(get = "tool_call_id", pure)]
    pub fn tool_call_id(message: &mut Message) -> Dynamic {
        maybe(message.get().tool_call_id.as_deref())
    }

    /// For a tool's result: the tool; `()` otherwise.
    #[rhai_fn(get = "name", pure)]
    pub fn name(message: &mut Message) -> Dynamic {
        maybe(message.get().name.as_deref())
    }

    /// Whether the loss covers it.
    #[rhai_fn(get = "train", pure)]
    pub fn train(message: &mut Message) -> bool {
        message.get().train
    }

    /// Who wrote it: a model's name, `human`, or `()` where unknown.
    #[rhai_fn(get = "author", pure)]
    pub fn author(message: &mut Message) -> Dynamic {
        maybe(message.get().author.as_deref())
    }

    /// When it was written, as `2026-11-22T08:00:00Z`; `()` where unknown.
    #[rhai_fn(get = "time", pure)]
    pub fn time(message: &mut Message) -> Dynamic {
        moment(message.get().time_ms)
    }

    /// What its agent recorded about it: `edit_mismatch`, `denied`, `aborted`, …, an array.
    #[rhai_fn(get = "signals", pure)]
    pub fn signals(message: &mut Message) -> Array {
        message.get().signals.iter().map(|signal| signal.as_str().into()).collect()
    }

    /// For the result of a command: its exit status; `()` where unknown.
    #[rhai_fn(get = "exit", pure)]
    pub fn exit(message: &mut Message) -> Dynamic {
        message.get().exit.map_or(Dynamic::UNIT, Dynamic::from)
    }

    /// For an answer: good, bad or unknown; `()` where it was not judged.
    #[rhai_fn(get = "label", pure)]
    pub fn label(message: &mut Message) -> Dynamic {
        maybe(message.get().label.as_ref().map(|label| label.outcome.as_str()))
    }

    /// What the label rests on: `checks_passed`, `corrected`, …, an array.
    #[rhai_fn(get = "evidence", pure)]
    pub fn evidence(message: &mut Message) -> Array {
        let label = message.get().label.as_ref();
        let facts = label.into_iter().flat_map(|label| &label.evidence);
        facts.map(|evidence| evidence.fact.as_str().into()).collect()
    }

    /// The line or row of its file, from 1.
    #[rhai_fn(get = "row", pure)]
    pub fn row(message: &mut Message) -> i64 {
        message.get().row as i64
    }

    /// Its place in the conversation, from 0.
    #[rhai_fn(get = "index", pure)]
    pub fn index(message: &mut Message) -> i64 {
        message.index as i64
    }

    /// One line: role and how long.
    #[rhai_fn(name = "to_string", name = "to_debug", name = "print", name = "debug", pure)]
    pub fn show(message: &mut Message) -> String {
        let m = message.get();
        format!("Message({}, {} characters)", m.role.as_str(), m.content.chars().count())
    }
}

#[export_module]
mod call {
    /// Links the call to its result.
    #[rhai_fn(get = "id", pure)]
    pub fn id(tool_call: &mut Call) -> ImmutableString {
        tool_call.get().id.as_str().into()
    }

    /// The tool.
    #[rhai_fn(get = "name", pure)]
    pub fn name(tool_call: &mut Call) -> ImmutableString {
        tool_call.get().name.as_str().into()
    }

    /// The arguments, a read-only map.
    #[rhai_fn(get = "arguments", pure, return_raw)]
    pub fn arguments(tool_call: &mut Call) -> RhaiResultOf<Dynamic> {
        Ok(Dynamic::from(arguments_of(tool_call)?).into_read_only())
    }

    /// One argument; `()` where the call does not have it.
    #[rhai_fn(pure, return_raw)]
    pub fn argument(tool_call: &mut Call, name: &str) -> RhaiResultOf<Dynamic> {
        tool_call.get().arguments.get(name).map_or(Ok(Dynamic::UNIT), rhai::serde::to_dynamic)
    }

    /// One line: the tool's name.
    #[rhai_fn(name = "to_string", name = "to_debug", name = "print", name = "debug", pure)]
    pub fn show(tool_call: &mut Call) -> String {
        format!("Call({})", tool_call.get().name)
    }
}

fn arguments_of(tool_call: &Call) -> RhaiResultOf<Map> {
    rhai::serde::to_dynamic(&tool_call.get().arguments).map(Dynamic::cast::<Map>)
}
