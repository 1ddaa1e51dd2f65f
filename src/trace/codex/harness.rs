//! What in the user's rows the person did not write.

/// What a text in a row of the user is.
pub(super) enum Said<'a> {
    Text(&'a str),
    /// A command the person ran by hand, with its output.
    Command(&'a str),
    Harness,
}

/// How texts begin that the agent puts in the user's place.
const HARNESS: &[&str] = &[
    "<environment_context>",
    "<user_instructions>",
    "# AGENTS.md instructions",
    "<INSTRUCTIONS>",
    "<permissions instructions>",
    "<collaboration_mode>",
    "<turn_aborted>",
    "<model_switch>",
    "<skill>",
    "<skills_instructions>",
    "<apps_instructions>",
    "<plugins_instructions>",
    "<personality_spec>",
    "<subagent_notification>",
    "<user_action>",
    "Another language model started to solve this problem and produced a summary",
];

/// Editors put what is open before the question.
const QUESTION: &str = "## My request for Codex:";

pub(super) fn said(text: &str) -> Said<'_> {
    let trimmed = text.trim();
    if trimmed.is_empty() || HARNESS.iter().any(|start| trimmed.starts_with(start)) {
        return Said::Harness;
    }
    if let Some(inner) = trimmed.strip_prefix("<user_shell_command>") {
        return Said::Command(inner.strip_suffix("</user_shell_command>").unwrap_or(inner).trim());
    }
    match trimmed.split_once(QUESTION) {
        Some((before, question)) if before.starts_with("# Context from my IDE setup") => {
            Said::Text(question.trim())
        }
        _ => Said::Text(text),
    }
}
