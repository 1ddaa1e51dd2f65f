//! What traces are given that their agents did not store, and the one set of names their calls
//! are said in.
//!
//! OpenCode 1 and 2 call the same tools differently: trained on both, a model learns neither.
//! OpenCode stores neither its system prompt nor its tools: without them a model is trained on
//! prompts that it never sees. Both come from a captured request where there is one
//! (`TOOL_CATALOGUE`); else the tools that ship with this program for its version.

use std::collections::BTreeMap;

use anyhow::{Context, Result};

use super::catalogue::{Catalogue, Counts, Generation, apply, normalise};
use super::{Role, Trace};
use crate::config::Config;

/// What to do with traces as they come in.
#[derive(Debug, Clone, PartialEq)]
pub struct Intake {
    captured: Option<Catalogue>,
    target: Target,
}

/// Whose names calls are said in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Target {
    /// Each trace its own.
    AsIs,
    /// The newest that occurs.
    Newest,
    Of(Generation),
}

impl Intake {
    /// From `TOOL_CATALOGUE` and `TOOL_NAMES`.
    pub fn from_config(config: &Config) -> Result<Intake> {
        let captured = match config.path("TOOL_CATALOGUE") {
            Some(path) => Some(Catalogue::read(&path).with_context(|| {
                format!("{}: TOOL_CATALOGUE", config.provenance("TOOL_CATALOGUE"))
            })?),
            None => None,
        };
        let target = match config.text("TOOL_NAMES") {
            "opencode-1" => Target::Of(Generation::One),
            "opencode-2" => Target::Of(Generation::Two),
            "as-is" => Target::AsIs,
            _ => Target::Newest,
        };
        Ok(Intake { captured, target })
    }

    /// The version of OpenCode in whose terms the calls of traces will be, of which the newest
    /// comes from `newest`; none where each keeps its own.
    pub fn target(&self, newest: Option<Generation>) -> Option<Generation> {
        match self.target {
            Target::AsIs => None,
            Target::Of(generation) => Some(generation),
            Target::Newest => newest,
        }
    }

    /// Changes a trace so that its calls are said in the terms of `target`, and says what it got.
    pub fn apply(&self, trace: &mut Trace, target: Option<Generation>) -> Got {
        let calls = target.map(|target| normalise(trace, target)).unwrap_or_default();
        let stored = (has_system(trace), !trace.tools.is_empty());
        let mut tools = if stored.1 { "tools_stored" } else { "tools_none" };
        let mut system = if stored.0 { "system_stored" } else { "system_none" };
        if trace.source != "raw"
            && let Some(captured) = &self.captured
        {
            let added = apply(trace, captured);
            tools = if added.tools { "tools_captured" } else { tools };
            system = if added.system { "system_captured" } else { system };
        }
        let shipped = target.or_else(|| Generation::of(trace)).map(Catalogue::shipped);
        if trace.source == "opencode"
            && let Some(Ok(shipped)) = shipped
            && apply(trace, &shipped).tools
        {
            tools = "tools_shipped";
        }
        let changed = target.is_some() || trace.source != "raw";
        Got { tools, system, calls, changed }
    }
}

/// What a trace got as it came in.
#[derive(Debug, Clone)]
pub struct Got {
    tools: &'static str,
    system: &'static str,
    calls: Counts,
    /// Whether the trace may say something else than before.
    pub changed: bool,
}

impl Got {
    /// Adds it to what others got: `calls_*` count calls, everything else traces.
    pub fn count(&self, counts: &mut BTreeMap<String, u64>) {
        let Counts { renamed, refused, left } = self.calls;
        for (what, n) in [
            (self.tools, 1),
            (self.system, 1),
            ("calls_renamed", renamed),
            ("calls_refused", refused),
            ("calls_left", left),
        ] {
            if n > 0 {
                *counts.entry(what.into()).or_default() += n;
            }
        }
    }
}

fn has_system(trace: &Trace) -> bool {
    trace.messages.iter().any(|message| message.role == Role::System)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Layers;
    use crate::trace::{Message, ToolCall};
    use serde_json::json;

    fn intake(pairs: &[(&str, &str)]) -> Result<Intake> {
        let mut layers = Layers::new();
        for (key, value) in pairs {
            layers.command_line(&format!("{key}={value}")).unwrap();
        }
        Intake::from_config(&layers.resolve(&[]).unwrap())
    }

    fn opencode(version: &str, tool: &str, argument: &str) -> Trace {
        let mut call = Message::text(Role::Assistant, "");
        let arguments = json!({argument: "a.rs"}).as_object().cloned().unwrap_or_default();
        call.tool_calls.push(ToolCall { id: "c".into(), name: tool.into(), arguments });
        Trace {
            source: "opencode".into(),
            agent_version: Some(version.into()),
            messages: vec![Message::text(Role::User, "read"), call],
            ..Trace::default()
        }
    }

    fn taken_in(intake: &Intake, traces: &mut [Trace]) -> BTreeMap<String, u64> {
        let target = intake.target(traces.iter().filter_map(Generation::of).max());
        let mut counts = BTreeMap::new();
        traces.iter_mut().for_each(|trace| intake.apply(trace, target).count(&mut counts));
        counts
    }

    fn argument(trace: &Trace) -> String {
        let call = trace.messages.iter().find_map(|m| m.tool_calls.first()).unwrap();
        call.arguments.keys().next().unwrap().clone()
    }

    #[test]
    fn calls_are_said_in_the_newest_terms_seen_unless_asked_otherwise() {
        let both =
            || vec![opencode("1.17.0", "read", "filePath"), opencode("2.0.1", "read", "path")];
        for (names, wanted) in [
            ("newest", ["path"; 2]),
            ("opencode-1", ["filePath"; 2]),
            ("as-is", ["filePath", "path"]),
        ] {
            let mut traces = both();
            taken_in(&intake(&[("TOOL_NAMES", names)]).unwrap(), &mut traces);
            assert_eq!([argument(&traces[0]), argument(&traces[1])], wanted, "{names}");
        }
        let mut old = vec![opencode("1.17.0", "read", "filePath")];
        let counts = taken_in(&intake(&[]).unwrap(), &mut old);
        assert_eq!(argument(&old[0]), "filePath");
        assert_eq!(
            (counts["tools_shipped"], counts["system_none"], counts["calls_left"]),
            (1, 1, 1)
        );
        let declared = old[0].tools.iter().find(|t| t["function"]["name"] == "read").unwrap();
        assert!(declared["function"]["parameters"]["properties"]["filePath"].is_object());
    }

    #[test]
    fn a_captured_request_gives_system_prompt_and_tools() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("request.json");
        let tool = json!({"type": "function", "function": {"name": "read", "parameters": {}}});
        let request = json!({"messages": [{"role": "system", "content": "You are a coder."}],
                             "tools": [tool]});
        std::fs::write(&path, request.to_string()).unwrap();
        let intake = intake(&[("TOOL_CATALOGUE", path.to_str().unwrap())]).unwrap();
        let mut traces = vec![opencode("1.17.0", "read", "filePath")];
        let counts = taken_in(&intake, &mut traces);
        assert_eq!(traces[0].tools, [tool]);
        assert_eq!(traces[0].messages[0].content, "You are a coder.");
        assert_eq!((counts["tools_captured"], counts["system_captured"]), (1, 1));
    }

    #[test]
    fn a_catalogue_that_is_none_is_named() {
        let error = intake(&[("TOOL_CATALOGUE", "/nowhere.json")]).unwrap_err();
        let text = format!("{error:#}");
        assert!(text.contains("TOOL_CATALOGUE") && text.contains("/nowhere.json"), "{text}");
    }
}
