//! A session's messages while they are put together from rows.
//!
//! Results go right after the step that made the call, wherever their rows stand, and every call
//! gets an id of its own.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::{Message, Role, Signal, ToolCall};

#[derive(Default)]
pub(super) struct Talk {
    /// Each message with the results of its calls.
    turns: Vec<(Message, Vec<Message>)>,
    /// How often each id was given out.
    taken: BTreeMap<String, usize>,
    /// The newest call of each id as the rows have it.
    calls: BTreeMap<String, Made>,
    made: usize,
}

struct Made {
    turn: usize,
    id: String,
    name: String,
    answered: bool,
}

impl Talk {
    /// Adds a message that is no tool result; its number.
    pub fn say(&mut self, message: Message) -> usize {
        self.turns.push((message, Vec::new()));
        self.turns.len() - 1
    }

    pub fn at(&mut self, turn: usize) -> &mut Message {
        &mut self.turns[turn].0
    }

    pub fn last(&mut self) -> Option<&mut Message> {
        self.turns.last_mut().map(|(message, _)| message)
    }

    /// Adds a call to a message; an empty id is none. Says whether it is new: a row may come
    /// twice, and then the call of this id stands in this message already.
    pub fn call(
        &mut self,
        turn: usize,
        written: &str,
        name: String,
        arguments: Map<String, Value>,
    ) -> bool {
        if self.calls.get(written).is_some_and(|made| made.turn == turn) {
            return false;
        }
        self.made += 1;
        let written = match written {
            "" => format!("call_{}", self.made),
            _ => written.to_string(),
        };
        let id = self.unique(&written);
        self.turns[turn].0.tool_calls.push(ToolCall {
            id: id.clone(),
            name: name.clone(),
            arguments,
        });
        self.calls.insert(written, Made { turn, id, name, answered: false });
        true
    }

    fn unique(&mut self, written: &str) -> String {
        let mut id = written.to_string();
        while let Some(copies) = self.taken.get_mut(&id) {
            *copies += 1;
            id = format!("{written}_{copies}");
        }
        self.taken.insert(id.clone(), 1);
        id
    }

    /// The tool that a call is for.
    pub fn tool(&self, written: &str) -> Option<&str> {
        self.calls.get(written).map(|made| made.name.as_str())
    }

    /// Adds the result of a call; one word where there is no such call or it has one already.
    pub fn answer(&mut self, written: &str, result: Message) -> Result<(), &'static str> {
        let made = self.calls.get_mut(written).ok_or("orphan_result")?;
        if made.answered {
            return Err("repeated");
        }
        made.answered = true;
        let result = Message {
            tool_call_id: Some(made.id.clone()),
            name: Some(made.name.clone()),
            ..result
        };
        self.turns[made.turn].1.push(result);
        Ok(())
    }

    /// The model's last message since the last question: what the agent says of a turn's end is
    /// about this one, and about nothing where the model has said nothing yet.
    pub fn last_answer(&mut self) -> Option<&mut Message> {
        let (last, _) = self.turns.last_mut()?;
        (last.role == Role::Assistant).then_some(last)
    }

    /// Marks the last `questions` that still stand, and all that followed them, as taken back.
    pub fn take_back(&mut self, questions: u64) -> bool {
        let mut left = questions;
        let mut any = false;
        for (message, results) in self.turns.iter_mut().rev() {
            if left == 0 {
                break;
            }
            if message.signals.contains(&Signal::Reverted) {
                continue;
            }
            left -= u64::from(message.role == Role::User);
            if message.role == Role::System {
                continue;
            }
            any = true;
            message.note(Signal::Reverted);
            results.iter_mut().for_each(|result| result.note(Signal::Reverted));
        }
        any
    }

    pub fn finish(self) -> Vec<Message> {
        self.turns
            .into_iter()
            .flat_map(|(message, results)| [message].into_iter().chain(results))
            .collect()
    }
}
