//! How long conversations are in tokens, without encoding them.
//!
//! Most chat templates write a conversation piece by piece: what a piece says there, an answer
//! with the results of its calls or a single message, is the same whatever stands before it. Where
//! it also begins with a token that is always cut out, the tokens of a conversation are those of
//! its beginning and of its pieces. Whether template and tokenizer are of this kind is found out
//! by trying, on made conversations and on real ones; where they are not, a conversation is
//! encoded and its tokens are counted.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result};
use minijinja::Value;
use serde_json::json;
use tokenizers::Tokenizer;

use super::Codec;
use super::codec::template_message;
use super::count::Counter;
use crate::trace::{Message, Role, ToolCall, pieces};

/// What a codec knows about lengths.
pub(super) struct Lengths {
    counter: Option<Counter>,
    piecewise: OnceLock<Option<Piecewise>>,
    proven: AtomicBool,
    refuted: AtomicBool,
}

/// Bytes of a real conversation, about, on which its length is proven.
const PROVEN: usize = 32 << 10;

impl Lengths {
    pub fn new(tokenizer: &Tokenizer) -> Lengths {
        let counter = Counter::new(tokenizer);
        let (proven, refuted) = Default::default();
        Lengths { counter, piecewise: OnceLock::new(), proven, refuted }
    }
}

/// What a template that writes piece by piece puts before a piece.
struct Piecewise {
    /// A conversation that an answer can follow, as messages and as text.
    asked: (Vec<Value>, String),
    /// The same with an answer, so that a question can follow.
    answered: (Vec<Value>, String),
    /// What opens an answer.
    opening: String,
}

impl Codec {
    /// The length of a conversation in tokens: of its longest sequence, see [`Codec::sequences`].
    pub fn length(&self, messages: &[Message], tools: &[serde_json::Value]) -> Result<usize> {
        match self.piecewise() {
            Some(piecewise) => match self.summed(piecewise, messages, tools)? {
                Some(tokens) => Ok(tokens),
                None => self.encoded(messages, tools),
            },
            None => self.encoded(messages, tools),
        }
    }

    /// How many tokens a piece of a conversation adds to what stands before it; none where that
    /// depends on it. A piece is an answer with the results of its calls, or a single message.
    pub fn adds(&self, piece: &[Message]) -> Result<Option<usize>> {
        self.piecewise().map_or(Ok(None), |piecewise| self.added(piecewise, piece))
    }

    /// Compares the beginnings of real conversations with what they are encoded to, the first time
    /// it is called. Where the lengths differ all are encoded from then on, and the reason is given.
    pub fn prove<'a>(
        &self,
        sample: impl Iterator<Item = (&'a [Message], &'a [serde_json::Value])>,
    ) -> Option<&'static str> {
        let piecewise = self.piecewise()?;
        if self.lengths.proven.swap(true, Ordering::Relaxed) {
            return None;
        }
        for (messages, tools) in sample {
            let mut left = PROVEN;
            let fits = |m: &&Message| {
                left = left.saturating_sub(m.content.len());
                left > 0
            };
            let messages = &messages[..messages.iter().take_while(fits).count()];
            // An error is for whoever needs this one's length.
            let (Ok(Some(summed)), Ok(encoded)) =
                (self.summed(piecewise, messages, tools), self.encoded(messages, tools))
            else {
                continue;
            };
            if summed != encoded {
                self.lengths.refuted.store(true, Ordering::Relaxed);
                return Some(
                    "this chat template or tokenizer makes a conversation's tokens depend on each \
                     other in a way not known here, so all are encoded to be counted, which is slow",
                );
            }
        }
        None
    }

    /// The length of what is really encoded.
    fn encoded(&self, messages: &[Message], tools: &[serde_json::Value]) -> Result<usize> {
        let sequences = self.sequences(messages, tools)?;
        Ok(sequences.iter().map(|sequence| sequence.ids.len()).max().unwrap_or(0))
    }

    fn piecewise(&self) -> Option<&Piecewise> {
        if self.lengths.refuted.load(Ordering::Relaxed) {
            return None;
        }
        self.lengths.piecewise.get_or_init(|| self.tried().ok().flatten()).as_ref()
    }

    /// What made conversations show of the template.
    fn tried(&self) -> Result<Option<Piecewise>> {
        let render = |messages: &[Value], prompt| self.template.render(messages, None, prompt);
        let asked = vec![template_message(&Message::text(Role::User, "a question"))];
        let answer = template_message(&Message::text(Role::Assistant, "an answer"));
        let answered = [asked.clone(), vec![answer]].concat();
        let (question, talk) = (render(&asked, false)?, render(&answered, false)?);
        let prompt = render(&asked, true)?;
        let opening = prompt.strip_prefix(&question).context("a prompt is something else")?.into();
        let piecewise = Piecewise { asked: (asked, question), answered: (answered, talk), opening };
        let opens = |counter: &Counter| counter.opens(&piecewise.opening);
        if !self.lengths.counter.as_ref().is_some_and(opens) {
            return Ok(None);
        }
        let mut agreed = false;
        for (messages, tools) in conversations() {
            for end in 1..=messages.len() {
                let (messages, all) = (&messages[..end], messages.len());
                let summed = self.summed(&piecewise, messages, &tools).ok().flatten();
                // What a template refuses must not pass here either.
                if summed.is_some() && summed != self.encoded(messages, &tools).ok() {
                    return Ok(None);
                }
                agreed |= end == all && summed.is_some();
            }
        }
        Ok(agreed.then_some(piecewise))
    }

    fn summed(
        &self,
        piecewise: &Piecewise,
        messages: &[Message],
        tools: &[serde_json::Value],
    ) -> Result<Option<usize>> {
        let (head, pieces) = pieces(messages);
        let opening = &messages[..head];
        if head == 0 || opening.iter().any(|m| matches!(m.role, Role::Assistant | Role::Tool)) {
            return Ok(None);
        }
        self.check_tools(messages, tools)?;
        let values: Vec<Value> = opening.iter().map(template_message).collect();
        let tools = (!tools.is_empty()).then(|| Value::from_serialize(tools));
        let Ok(text) = self.template.render(&values, tools.as_ref(), false) else {
            return Ok(None);
        };
        let Some(mut sum) = self.counted(&text)? else { return Ok(None) };
        for piece in pieces {
            match self.added(piecewise, &messages[piece])? {
                Some(tokens) => sum += tokens,
                None => return Ok(None),
            }
        }
        Ok(Some(sum))
    }

    fn added(&self, piecewise: &Piecewise, piece: &[Message]) -> Result<Option<usize>> {
        let Some(first) = piece.first() else { return Ok(Some(0)) };
        let (before, text) = match first.role {
            Role::Tool => return Ok(None),
            Role::Assistant => &piecewise.asked,
            _ => &piecewise.answered,
        };
        let values: Vec<Value> =
            before.iter().cloned().chain(piece.iter().map(template_message)).collect();
        let Ok(whole) = self.template.render(&values, None, false) else { return Ok(None) };
        let Some(text) = whole.strip_prefix(text.as_str()) else { return Ok(None) };
        if first.role != Role::Assistant {
            let opens = self.lengths.counter.as_ref().is_some_and(|counter| counter.opens(text));
            return if opens { self.counted(text) } else { Ok(None) };
        }
        // Cut as encoding cuts it: where the answer begins and where it ends.
        let opening = &piecewise.opening;
        let Some(rest) = text.strip_prefix(opening.as_str()) else { return Ok(None) };
        let Some(end) = rest.find(&self.end_text) else { return Ok(None) };
        let (answer, results) = rest.split_at(end + self.end_text.len());
        if says(first, &self.end_text) || (first.train && !self.reads_back(first, answer)?) {
            return Ok(None);
        }
        let mut sum = 0;
        for part in [opening, answer, results] {
            match self.counted(part)? {
                Some(tokens) => sum += tokens,
                None => return Ok(None),
            }
        }
        Ok(Some(sum))
    }

    fn counted(&self, text: &str) -> Result<Option<usize>> {
        let counter = self.lengths.counter.as_ref();
        counter.map_or(Ok(None), |counter| counter.count(&self.tokenizer, text))
    }
}

/// Whether a message itself says something.
fn says(message: &Message, what: &str) -> bool {
    fn within(value: &serde_json::Value, what: &str) -> bool {
        match value {
            serde_json::Value::String(text) => text.contains(what),
            serde_json::Value::Array(items) => items.iter().any(|item| within(item, what)),
            serde_json::Value::Object(map) => {
                map.iter().any(|(key, value)| key.contains(what) || within(value, what))
            }
            _ => false,
        }
    }
    message.content.contains(what)
        || message.reasoning_content.as_ref().is_some_and(|text| text.contains(what))
        || message.tool_calls.iter().any(|call| {
            call.name.contains(what)
                || call.arguments.iter().any(|(k, v)| k.contains(what) || within(v, what))
        })
}

/// Conversations in which every sort of message stands after and before every other that it can.
fn conversations() -> Vec<(Vec<Message>, Vec<serde_json::Value>)> {
    let say = |role, text: &str| {
        let mut message = Message::text(role, text);
        message.train = role == Role::Assistant;
        message
    };
    let call = |text: &str, ids: &[&str]| {
        let mut message = say(Role::Assistant, text);
        let arguments = json!({"path": "a/b.rs", "deep": {"list": [1, 2.5, true, null]}});
        let arguments = arguments.as_object().cloned().unwrap_or_default();
        let call = |id: &&str| ToolCall {
            id: id.to_string(),
            name: "read".into(),
            arguments: arguments.clone(),
        };
        message.tool_calls = ids.iter().map(call).collect();
        message
    };
    let result = |id: &str, text: &str| {
        let mut message = say(Role::Tool, text);
        message.tool_call_id = Some(id.into());
        message.name = Some("read".into());
        message
    };
    let think = |mut message: Message| {
        message.reasoning_content = Some("It may\n\nbe so.".into());
        message
    };
    let plain = vec![
        say(Role::User, "One  question\n"),
        say(Role::Assistant, " One answer.\n\n"),
        say(Role::User, "1 + 1?"),
        say(Role::Assistant, "2"),
        say(Role::User, "And?"),
        say(Role::User, "It's Größe 12,5 µm — 東京 🙂"),
        say(Role::Assistant, "```rust\nfn main() {\n    format!(\"{}\", 42);\n}\n```"),
    ];
    let tool = json!({"type": "function", "function": {"name": "read", "description": "Reads.",
        "parameters": {"type": "object", "properties": {"path": {"type": "string"}}}}});
    let with_calls = vec![
        say(Role::System, "Be short. "),
        say(Role::User, "Look."),
        call("", &["call00001"]),
        result("call00001", "\tfirst\r\n  line "),
        call("I look twice.", &["call00002", "call00003"]),
        result("call00002", ""),
        result("call00003", "<b>3</b>"),
        say(Role::Assistant, "Done."),
        say(Role::User, "Again."),
        call("", &["call00004"]),
        result("call00004", "4"),
        say(Role::Assistant, "4"),
    ];
    let reasoned = |messages: &[Message]| {
        let thinks = |m: &Message| match m.role {
            Role::Assistant => think(m.clone()),
            _ => m.clone(),
        };
        messages.iter().map(thinks).collect::<Vec<_>>()
    };
    let with_system = [vec![say(Role::System, "Be short.")], plain.clone()].concat();
    vec![
        (reasoned(&plain), Vec::new()),
        (plain, Vec::new()),
        (with_system, Vec::new()),
        (reasoned(&with_calls), vec![tool.clone()]),
        (with_calls, vec![tool]),
    ]
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::count::tests::text;
    use super::*;
    use crate::chance::Chance;

    fn embedded(template: Option<&Path>) -> Codec {
        let base = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/embedded");
        Codec::open(&base, template.and_then(Path::to_str)).unwrap()
    }

    /// A conversation of messages in any order that hold any text.
    fn talk(chance: &mut Chance, turns: usize) -> Vec<Message> {
        let made: Vec<_> = conversations().into_iter().flat_map(|(m, _)| m).collect();
        let mut messages = vec![Message::text(Role::User, text(chance))];
        for _ in 0..chance.below(turns) {
            let mut message = made[chance.below(made.len())].clone();
            if message.role != Role::Assistant || message.tool_calls.is_empty() {
                message.content = text(chance);
            }
            message.train &= chance.below(3) > 0;
            messages.push(message);
        }
        messages
    }

    #[test]
    fn a_conversation_is_as_long_as_it_is_encoded() {
        let codec = embedded(None);
        assert!(codec.piecewise().is_some());
        let mut quick = 0;
        for seed in 0..300 {
            let messages = talk(&mut Chance::new(seed, "talk"), 12);
            let summed = codec.summed(codec.piecewise().unwrap(), &messages, &[]).unwrap();
            quick += usize::from(summed.is_some());
            match codec.encoded(&messages, &[]) {
                Ok(encoded) => assert!(summed.is_none_or(|n| n == encoded), "{seed}"),
                Err(error) => assert!(summed.is_none(), "{seed}: {error:#}"),
            }
        }
        assert!(quick > 100, "{quick}");
    }

    #[test]
    fn a_template_that_rewrites_earlier_turns_is_encoded() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("template.jinja");
        let last =
            "{% if loop.last or not m.reasoning_content %}{{ m.reasoning_content }}{% endif %}";
        let source = format!(
            "{{% for m in messages %}}<|im_start|>{{{{ m.role }}}}\n{last}{{{{ m.content }}}}\
             <|im_end|>\n{{% endfor %}}{{% if add_generation_prompt %}}<|im_start|>assistant\n\
             {{% endif %}}"
        );
        std::fs::write(&path, source).unwrap();
        assert!(embedded(Some(&path)).piecewise().is_none());
    }

    #[test]
    fn what_no_made_conversation_shows_a_real_one_does() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("template.jinja");
        let source = "{% for m in messages %}<|im_start|>{{ m.role }}\n\
            {% if loop.index > 20 %}Long ago. {% endif %}{{ m.content }}<|im_end|>\n{% endfor %}\
            {% if add_generation_prompt %}<|im_start|>assistant\n\
            {% if messages | length >= 20 %}Long ago. {% endif %}{% endif %}";
        std::fs::write(&path, source).unwrap();
        let codec = embedded(Some(&path));
        let turn = [Message::text(Role::User, "1 + 1?"), Message::text(Role::Assistant, "2")];
        let messages = vec![turn; 20].concat();
        let encoded = codec.encoded(&messages, &[]).unwrap();
        assert_ne!(codec.length(&messages, &[]).unwrap(), encoded);
        let sample = [messages.as_slice()];
        assert!(codec.prove(sample.iter().map(|m| (*m, &[][..]))).is_some());
        assert_eq!(codec.length(&messages, &[]).unwrap(), encoded);
        assert_eq!(codec.adds(&messages[1..2]).unwrap(), None);
    }
}
