//! `Item` and `Output`: what a team's own metric looks at. Both are read-only.

use std::sync::Arc;

use rhai::plugin::*;
use rhai::{Array, FnPtr, ImmutableString};

use super::row::{Call, Message, Row, maybe};
use crate::evaluate::{self, Answer};
use crate::script::RhaiResultOf;
use crate::script::closures::{each_answer, no_score};
use crate::trace::Role;

/// One question of an evaluation.
#[derive(Debug, Clone)]
pub struct Item(Arc<evaluate::Item>);

/// One answer to it.
#[derive(Debug, Clone)]
pub struct Output(Arc<Answer>);

/// Registers both.
pub fn register(engine: &mut Engine) {
    engine.register_type_with_name::<Item>("Item").register_type_with_name::<Output>("Output");
    engine.register_global_module(exported_module!(item).into());
    engine.register_global_module(exported_module!(output).into());
}

/// What a metric says of every answer: a number, true or false for 1 or 0, `()` where it does not
/// apply.
pub fn scores(
    ctx: &NativeCallContext,
    name: &str,
    closure: &FnPtr,
    asked: &[(&evaluate::Item, &Answer)],
) -> RhaiResultOf<Vec<Option<f64>>> {
    let arguments = |index: usize| -> [Dynamic; 2] {
        let (item, answer): (&evaluate::Item, &Answer) = asked[index];
        let item = Item(Arc::new(item.clone()));
        [Dynamic::from(item), Dynamic::from(Output(Arc::new(answer.clone())))]
    };
    let place = |index: usize| format!("{} of metric `{name}`", asked[index].0.id);
    each_answer(
        ctx,
        asked.len(),
        &format!("metric {name}"),
        closure.clone(),
        arguments,
        place,
        read,
    )
}

fn read(value: Dynamic) -> Result<Option<f64>, String> {
    if value.is_unit() {
        return Ok(None);
    }
    let number = value.as_float().or_else(|_| value.as_int().map(|n| n as f64));
    let number = number.or_else(|_| value.as_bool().map(|truth| f64::from(u8::from(truth)))).ok();
    number.filter(|n| n.is_finite()).map(Some).ok_or_else(|| no_score(&value))
}

#[export_module]
mod item {
    /// The row's id and the place of the answer in it, `<row>#<message>`.
    #[rhai_fn(get = "id", pure)]
    pub fn id(item: &mut Item) -> ImmutableString {
        item.0.id.as_str().into()
    }

    /// The row it comes from, with what came after the answer as well.
    #[rhai_fn(get = "row", pure)]
    pub fn row(item: &mut Item) -> Row {
        Row::of(item.0.example.clone())
    }

    /// The place of the reference among the row's messages, from 0.
    #[rhai_fn(get = "index", pure)]
    pub fn index(item: &mut Item) -> i64 {
        item.0.message as i64
    }

    /// The text before the answer: every message's reasoning and content, one part a line.
    #[rhai_fn(get = "prompt", pure)]
    pub fn prompt(item: &mut Item) -> ImmutableString {
        item.0.prompt_text().into()
    }

    /// The last message of the user before the answer.
    #[rhai_fn(get = "request", pure)]
    pub fn request(item: &mut Item) -> ImmutableString {
        let before = &item.0.example.trace.messages[..item.0.message];
        let last = before.iter().rfind(|message| message.role == Role::User);
        last.map(|message| message.content.as_str()).unwrap_or_default().into()
    }

    /// The reference answer, a message: `content`, `tool_calls`, `reasoning`.
    #[rhai_fn(get = "reference", pure)]
    pub fn reference(item: &mut Item) -> Message {
        Message::of(item.0.example.clone(), item.0.message)
    }

    /// The words the answer should contain, an array.
    #[rhai_fn(get = "keywords", pure)]
    pub fn keywords(item: &mut Item) -> Array {
        item.0.keywords.iter().map(|word| word.as_str().into()).collect()
    }

    /// The agent or pool the session came from.
    #[rhai_fn(get = "source", pure)]
    pub fn source(item: &mut Item) -> ImmutableString {
        item.0.source.as_str().into()
    }

    /// What kind of task it was; `()` where unknown.
    #[rhai_fn(get = "task_category", pure)]
    pub fn task_category(item: &mut Item) -> Dynamic {
        maybe(item.0.task_category.as_deref())
    }

    /// The programming language or kind of file it is about; `()` where unknown.
    #[rhai_fn(get = "language", pure)]
    pub fn language(item: &mut Item) -> Dynamic {
        maybe(item.0.language.as_deref())
    }

    /// The fixed suite it belongs to; `()` for validation.
    #[rhai_fn(get = "suite", pure)]
    pub fn suite(item: &mut Item) -> Dynamic {
        maybe(item.0.suite.as_deref())
    }

    /// One line: its id.
    #[rhai_fn(name = "to_string", name = "to_debug", name = "print", name = "debug", pure)]
    pub fn show(item: &mut Item) -> String {
        format!("Item({})", item.0.id)
    }
}

#[export_module]
mod output {
    /// The text around reasoning and calls.
    #[rhai_fn(get = "content", pure)]
    pub fn content(output: &mut Output) -> ImmutableString {
        output.0.content.as_str().into()
    }

    /// The reasoning; `()` where there is none.
    #[rhai_fn(get = "reasoning", pure)]
    pub fn reasoning(output: &mut Output) -> Dynamic {
        maybe(output.0.reasoning.as_deref())
    }

    /// The calls that parsed, an array.
    #[rhai_fn(get = "calls", pure)]
    pub fn calls(output: &mut Output) -> Array {
        let calls = 0..output.0.calls.len();
        calls.map(|index| Dynamic::from(Call::of(output.0.clone(), index))).collect()
    }

    /// Whether every call in it parsed.
    #[rhai_fn(get = "parsed", pure)]
    pub fn parsed(output: &mut Output) -> bool {
        output.0.malformed.is_none()
    }

    /// Whether it ended by itself rather than at the length limit.
    #[rhai_fn(get = "stopped", pure)]
    pub fn stopped(output: &mut Output) -> bool {
        output.0.stopped
    }

    /// Its length in tokens.
    #[rhai_fn(get = "tokens", pure)]
    pub fn tokens(output: &mut Output) -> i64 {
        output.0.ids.len() as i64
    }

    /// One line: how long it is.
    #[rhai_fn(name = "to_string", name = "to_debug", name = "print", name = "debug", pure)]
    pub fn show(output: &mut Output) -> String {
        format!("Output({} tokens)", output.0.ids.len())
    }
}
