//! OpenCode 1 and 2 call the same tools by other names and arguments: calls of one said in terms
//! of the other. (Names: `packages/opencode/src/tool` of 1.x, `packages/core/src/tool` of 2.x.)

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Map;

use super::super::{Role, Signal, ToolCall, Trace};

/// A major version of OpenCode, by whose tools are called how.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Generation {
    /// 0.x and 1.x.
    One,
    /// 2.x.
    Two,
}

/// A tool that both have: its names, and the names of its arguments; an argument that only one
/// has is empty in the other.
struct Tool {
    names: [&'static str; 2],
    arguments: &'static [[&'static str; 2]],
}

#[rustfmt::skip]
const TOOLS: &[Tool] = &[
    Tool { names: ["bash", "shell"], arguments: &[
        ["command", "command"], ["timeout", "timeout"], ["workdir", "workdir"],
        ["description", "description"], ["", "background"]] },
    Tool { names: ["task", "subagent"], arguments: &[
        ["subagent_type", "agent"], ["description", "description"], ["prompt", "prompt"],
        ["task_id", "sessionID"], ["command", ""], ["", "model"], ["", "background"]] },
    Tool { names: ["read", "read"], arguments: &[
        ["filePath", "path"], ["offset", "offset"], ["limit", "limit"]] },
    Tool { names: ["edit", "edit"], arguments: &[
        ["filePath", "path"], ["oldString", "oldString"], ["newString", "newString"],
        ["replaceAll", "replaceAll"]] },
    Tool { names: ["write", "write"], arguments: &[
        ["filePath", "path"], ["content", "content"]] },
    Tool { names: ["glob", "glob"], arguments: &[
        ["pattern", "pattern"], ["path", "path"], ["", "hidden"], ["", "limit"]] },
    Tool { names: ["grep", "grep"], arguments: &[
        ["pattern", "pattern"], ["path", "path"], ["include", "include"], ["", "literal"],
        ["", "caseSensitive"], ["", "limit"]] },
    Tool { names: ["skill", "skill"], arguments: &[["name", "id"]] },
    Tool { names: ["webfetch", "webfetch"], arguments: &[
        ["url", "url"], ["format", "format"], ["timeout", "timeout"]] },
    Tool { names: ["apply_patch", "patch"], arguments: &[["patchText", "patchText"]] },
];

/// Tools that only one of them has.
const ALONE: [&[&str]; 2] =
    [&["invalid", "list", "todowrite", "todoread", "multiedit", "batch", "lsp", "codesearch"], &[]];

impl Generation {
    fn other(self) -> Generation {
        match self {
            Generation::One => Generation::Two,
            Generation::Two => Generation::One,
        }
    }

    /// The one that wrote a trace of OpenCode: by its version, else by the calls in it.
    pub fn of(trace: &Trace) -> Option<Generation> {
        if trace.source != "opencode" {
            return None;
        }
        let version = trace.agent_version.as_deref().unwrap_or_default();
        match version.trim_start_matches('v').split('.').next().map(str::parse::<u32>) {
            Some(Ok(0 | 1)) => return Some(Generation::One),
            Some(Ok(_)) => return Some(Generation::Two),
            _ => {}
        }
        let fits = |call: &&ToolCall, one: Generation| one.fits(call) && !one.other().fits(call);
        let calls = || trace.messages.iter().flat_map(|m| &m.tool_calls);
        // Where a session was taken over from the older one, the newer wrote its end.
        [Generation::Two, Generation::One]
            .into_iter()
            .find(|one| calls().any(|call| fits(&call, *one)))
    }

    fn tool(self, name: &str) -> Option<&'static Tool> {
        TOOLS.iter().find(|tool| tool.names[self as usize] == name)
    }

    /// Whether a call is in terms of this one.
    fn fits(self, call: &ToolCall) -> bool {
        let known = |tool: &Tool, name: &str| {
            !name.is_empty() && tool.arguments.iter().any(|pair| pair[self as usize] == name)
        };
        let tool = self.tool(&call.name);
        tool.is_some_and(|tool| call.arguments.keys().all(|name| known(tool, name)))
    }

    /// A call of the other in terms of this one.
    fn say(self, call: &ToolCall) -> Option<ToolCall> {
        let (here, there) = (self as usize, self.other() as usize);
        let tool = self.other().tool(&call.name).filter(|_| self.other().fits(call))?;
        let mut arguments = Map::new();
        for (name, value) in &call.arguments {
            let pair = tool.arguments.iter().find(|pair| pair[there] == name)?;
            if pair[here].is_empty() {
                return None;
            }
            arguments.insert(pair[here].into(), value.clone());
        }
        Some(ToolCall { id: call.id.clone(), name: tool.names[here].into(), arguments })
    }
}

/// What became of calls; together they are all calls.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Now in the target's terms.
    pub renamed: u64,
    /// Cannot be said in the target's terms: the messages that make them are not trained.
    pub refused: u64,
    /// As they were: in the target's terms already, or of tools that neither has.
    pub left: u64,
}

/// What is to be done with a call.
enum Fate {
    Left,
    Renamed(ToolCall),
    Refused,
}

/// Says the calls of a trace in terms of `target`, with the names of their results; values stay
/// as they are. Traces of other agents are left.
pub fn normalise(trace: &mut Trace, target: Generation) -> Counts {
    let written = Generation::of(trace);
    let ours = trace.source == "opencode";
    let misfit = |signal: &Signal| matches!(signal, Signal::Schema | Signal::UnknownTool);
    let failed: BTreeMap<&str, bool> = trace
        .messages
        .iter()
        .filter(|message| message.role == Role::Tool)
        .filter_map(|m| Some((m.tool_call_id.as_deref()?, m.signals.iter().any(misfit))))
        .collect();
    let mut counts = Counts::default();
    let mut fates = Vec::new();
    for call in trace.messages.iter().flat_map(|message| &message.tool_calls) {
        let failed = failed.get(call.id.as_str()) == Some(&true);
        let fate = if ours { fate(call, failed, written, target) } else { Fate::Left };
        match fate {
            Fate::Left => counts.left += 1,
            Fate::Renamed(_) => counts.renamed += 1,
            Fate::Refused => counts.refused += 1,
        }
        fates.push(fate);
    }
    let mut fates = fates.into_iter();
    let mut names = BTreeMap::new();
    for message in &mut trace.messages {
        for call in &mut message.tool_calls {
            match fates.next() {
                Some(Fate::Renamed(said)) => {
                    names.insert(said.id.clone(), said.name.clone());
                    *call = said;
                }
                Some(Fate::Refused) => message.train = false,
                _ => {}
            }
        }
        if let Some(name) = message.tool_call_id.as_ref().and_then(|id| names.get(id)) {
            message.name = Some(name.clone());
        }
    }
    counts
}

fn fate(call: &ToolCall, failed: bool, written: Option<Generation>, target: Generation) -> Fate {
    let other = target.other();
    let alone = ALONE[other as usize].contains(&call.name.as_str());
    let known = target.tool(&call.name).is_some() || other.tool(&call.name).is_some();
    // What failed because of its name or arguments would contradict its result in other terms.
    if failed && known {
        return if written == Some(target) { Fate::Left } else { Fate::Refused };
    }
    match () {
        _ if alone => Fate::Refused,
        _ if !known || target.fits(call) => Fate::Left,
        _ => match target.say(call) {
            Some(said) => Fate::Renamed(said),
            None if written == Some(target) && target.tool(&call.name).is_some() => Fate::Left,
            None => Fate::Refused,
        },
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::Catalogue;
    use super::*;

    #[test]
    fn the_table_and_the_shipped_catalogues_name_the_same_arguments() {
        for generation in [Generation::One, Generation::Two] {
            let shipped = Catalogue::shipped(generation).unwrap();
            for tool in TOOLS {
                let Some(schema) = shipped.tool(tool.names[generation as usize]) else { continue };
                let properties =
                    schema["function"]["parameters"]["properties"].as_object().unwrap();
                let shipped: BTreeSet<&str> = properties.keys().map(String::as_str).collect();
                let named = tool.arguments.iter().map(|pair| pair[generation as usize]);
                let named: BTreeSet<&str> = named.filter(|name| !name.is_empty()).collect();
                assert_eq!(named, shipped, "{}", tool.names[generation as usize]);
            }
            for name in shipped.tools.iter().map(|t| t["function"]["name"].as_str().unwrap()) {
                let alone = ALONE[generation as usize].contains(&name);
                assert!(alone || generation.tool(name).is_some(), "{name}");
            }
        }
    }
}
