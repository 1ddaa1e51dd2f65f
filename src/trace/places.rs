//! Where each agent keeps its sessions when nobody moved them, and when somebody did.
//!
//! The environment comes in as a value, so that every system can be looked at from any other.

use std::collections::BTreeMap;
use std::env;
use std::path::{Path, PathBuf};

use anyhow::{Result, anyhow};

/// The agents whose sessions are found without being told where.
pub const AGENTS: &[&str] = &["opencode", "openclaw", "pi", "claude-code", "codex"];

/// The variables that move an agent's folder.
const VARIABLES: &[&str] = &[
    "XDG_DATA_HOME",
    "OPENCODE_DB",
    "OPENCLAW_STATE_DIR",
    "PI_CODING_AGENT_DIR",
    "PI_CODING_AGENT_SESSION_DIR",
    "CLAUDE_CONFIG_DIR",
    "CODEX_HOME",
];

/// Whose places are looked for: the person's folder and what their environment says.
#[derive(Debug, Clone, Default)]
pub struct Home {
    /// The person's own folder; none where the system does not say.
    pub folder: Option<PathBuf>,
    /// Variables of the environment, those that are empty left out.
    pub variables: BTreeMap<String, String>,
}

impl Home {
    /// The person who runs this program.
    pub fn here() -> Home {
        let value = |name: &&str| Some((name.to_string(), env::var(name).ok()?));
        Home {
            folder: env::home_dir().filter(|folder| !folder.as_os_str().is_empty()),
            variables: VARIABLES.iter().filter_map(value).collect(),
        }
    }

    /// What a variable says; empty says nothing, and `~` is the person's folder.
    fn variable(&self, name: &str) -> Option<PathBuf> {
        let value = self.variables.get(name).map(|value| value.trim())?;
        let inside = value.strip_prefix("~/").or_else(|| value.strip_prefix("~\\"));
        match (inside, &self.folder) {
            _ if value.is_empty() => None,
            (Some(inside), Some(folder)) => Some(folder.join(inside)),
            (None, Some(folder)) if value == "~" => Some(folder.clone()),
            _ => Some(value.into()),
        }
    }

    /// A folder that a variable moves.
    fn moved(&self, variable: &str, default: &str) -> Vec<PathBuf> {
        let default = || self.folder.as_ref().map(|folder| folder.join(default));
        self.variable(variable).or_else(default).into_iter().collect()
    }
}

/// The places where an agent's sessions are, those that exist, each once and in order. None for
/// an agent that is not known.
pub fn of(agent: &str, home: &Home) -> Option<Vec<PathBuf>> {
    let mut places = match agent {
        "opencode" => opencode(home),
        "openclaw" => openclaw(home),
        "pi" => pi(home),
        "claude-code" => below(home.moved("CLAUDE_CONFIG_DIR", ".claude"), &["projects"]),
        "codex" => below(home.moved("CODEX_HOME", ".codex"), &["sessions", "archived_sessions"]),
        _ => return None,
    };
    places.retain(|place| place.exists());
    places.sort();
    places.dedup();
    Some(places)
}

/// The places of the agent of this name; none where it is no agent's name, an error where that
/// agent keeps nothing here.
pub fn sessions(name: &str) -> Option<Result<Vec<PathBuf>>> {
    let places = of(name, &Home::here())?;
    let none = || {
        anyhow!(
            "there are no sessions of {name} where it keeps them by default; name the file or \
             folder instead"
        )
    };
    Some(if places.is_empty() { Err(none()) } else { Ok(places) })
}

/// Paths as a person gives them, agents' names among them.
pub fn named(given: &[String]) -> Result<Vec<PathBuf>> {
    let each = given.iter().map(|name| match sessions(name) {
        Some(places) => places,
        None => Ok(vec![PathBuf::from(name)]),
    });
    Ok(each.collect::<Result<Vec<_>>>()?.concat())
}

fn below(folders: Vec<PathBuf>, names: &[&str]) -> Vec<PathBuf> {
    folders.iter().flat_map(|folder| names.iter().map(|name| folder.join(name))).collect()
}

/// On every system alike below `.local/share`: the library OpenCode asks knows only XDG.
fn opencode(home: &Home) -> Vec<PathBuf> {
    let data = below(home.moved("XDG_DATA_HOME", ".local/share"), &["opencode"]);
    let mut places = below(data.clone(), &["storage", "project"]);
    match home.variable("OPENCODE_DB") {
        Some(memory) if memory == Path::new(":memory:") => {}
        // Absolute, or inside the data folder.
        Some(path) => places.extend(data.iter().map(|data| data.join(&path))),
        None => places.extend(data.iter().flat_map(|data| databases(data))),
    }
    places
}

/// The databases of every release channel in OpenCode's folder.
fn databases(data: &Path) -> Vec<PathBuf> {
    let Ok(entries) = data.read_dir() else { return Vec::new() };
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let ours = |name: &String| {
        let middle = name.strip_prefix("opencode").and_then(|rest| rest.strip_suffix(".db"));
        middle.is_some_and(|channel| channel.is_empty() || channel.starts_with('-'))
    };
    names.filter(ours).map(|name| data.join(name)).collect()
}

/// The folder of today or, where a variable names none, those of earlier names beside it.
fn openclaw(home: &Home) -> Vec<PathBuf> {
    let roots = match home.variable("OPENCLAW_STATE_DIR") {
        Some(root) => vec![root],
        None => {
            let names = [".openclaw", ".clawdbot", ".moltbot", ".moldbot"];
            below(home.folder.iter().cloned().collect(), &names)
        }
    };
    below(roots, &["agents"])
}

fn pi(home: &Home) -> Vec<PathBuf> {
    match home.variable("PI_CODING_AGENT_SESSION_DIR") {
        Some(sessions) => vec![sessions],
        None => below(home.moved("PI_CODING_AGENT_DIR", ".pi/agent"), &["sessions"]),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// A person's folder with these files, a folder where a name ends with `/`.
    fn with(files: &[&str], variables: &[(&str, &str)]) -> (tempfile::TempDir, Home) {
        let folder = tempfile::tempdir().unwrap();
        let home = folder.path().join("home");
        for file in files {
            let path = folder.path().join("home").join(file);
            fs::create_dir_all(if file.ends_with('/') { &path } else { path.parent().unwrap() })
                .unwrap();
            if !file.ends_with('/') {
                fs::write(path, "").unwrap();
            }
        }
        let root = folder.path().to_str().unwrap();
        let variables =
            variables.iter().map(|(name, value)| (name.to_string(), value.replace("ROOT", root)));
        let home = Home { folder: Some(home), variables: variables.collect() };
        (folder, home)
    }

    /// What is found for an agent, relative to the person's folder.
    fn found(agent: &str, files: &[&str], variables: &[(&str, &str)]) -> Vec<String> {
        let (folder, home) = with(files, variables);
        let root = folder.path().join("home");
        let places = of(agent, &home).unwrap();
        let relative = |place: PathBuf| {
            let place = place.strip_prefix(&root).map(Path::to_path_buf).unwrap_or(place);
            place.iter().map(|part| part.to_str().unwrap()).collect::<Vec<_>>().join("/")
        };
        places.into_iter().map(relative).collect()
    }

    const OPENCODE: &[&str] = &[
        ".local/share/opencode/opencode.db",
        ".local/share/opencode/opencode-beta.db",
        ".local/share/opencode/opencode.db-wal",
        ".local/share/opencode/opencodex.db",
        ".local/share/opencode/auth.json",
        ".local/share/opencode/storage/session/",
        "moved/opencode/opencode.db",
        "moved/opencode/mine.db",
        "else/other.db",
    ];

    #[test]
    fn opencode_has_its_databases_of_every_channel_and_its_tree() {
        let data = ".local/share/opencode";
        let names = ["opencode-beta.db", "opencode.db", "storage"].map(|n| format!("{data}/{n}"));
        assert_eq!(found("opencode", OPENCODE, &[]), names);
    }

    #[test]
    fn opencode_moves_with_the_data_folder_and_its_own_variable() {
        let data = ("XDG_DATA_HOME", "ROOT/home/moved");
        let moved = |more: &[(&str, &str)]| found("opencode", OPENCODE, &[&[data], more].concat());
        assert_eq!(moved(&[]), ["moved/opencode/opencode.db"]);
        assert_eq!(moved(&[("OPENCODE_DB", "mine.db")]), ["moved/opencode/mine.db"]);
        assert_eq!(moved(&[("OPENCODE_DB", "ROOT/home/else/other.db")]), ["else/other.db"]);
        assert_eq!(moved(&[("OPENCODE_DB", "nowhere.db")]), [""; 0]);
        assert_eq!(moved(&[("OPENCODE_DB", ":memory:")]), [""; 0]);
        assert_eq!(moved(&[("OPENCODE_DB", " ")]), ["moved/opencode/opencode.db"]);
    }

    #[test]
    fn openclaw_has_its_earlier_names_unless_it_is_told_a_folder() {
        let files = [".openclaw/agents/", ".moltbot/agents/", ".clawdbot/other/", "state/agents/"];
        assert_eq!(found("openclaw", &files, &[]), [".moltbot/agents", ".openclaw/agents"]);
        let told = [("OPENCLAW_STATE_DIR", "ROOT/home/state")];
        assert_eq!(found("openclaw", &files, &told), ["state/agents"]);
        assert_eq!(
            found("openclaw", &files, &[("OPENCLAW_STATE_DIR", "~/state")]),
            ["state/agents"]
        );
    }

    #[test]
    fn pi_has_its_folder_or_that_of_its_sessions_moved() {
        let files = [".pi/agent/sessions/", "moved/sessions/", "sessions/"];
        assert_eq!(found("pi", &files, &[]), [".pi/agent/sessions"]);
        let folder = ("PI_CODING_AGENT_DIR", "ROOT/home/moved");
        assert_eq!(found("pi", &files, &[folder]), ["moved/sessions"]);
        let sessions = ("PI_CODING_AGENT_SESSION_DIR", "~/sessions");
        assert_eq!(found("pi", &files, &[folder, sessions]), ["sessions"]);
    }

    #[test]
    fn claude_code_and_codex_move_with_their_variables() {
        let files = [
            ".claude/projects/",
            ".claude/.credentials.json",
            ".codex/sessions/",
            ".codex/archived_sessions/",
            "c/projects/",
            "c/sessions/",
        ];
        assert_eq!(found("claude-code", &files, &[]), [".claude/projects"]);
        let moved = [("CLAUDE_CONFIG_DIR", "ROOT/home/c"), ("CODEX_HOME", "ROOT/home/c")];
        assert_eq!(found("claude-code", &files, &moved), ["c/projects"]);
        let codex = [".codex/archived_sessions", ".codex/sessions"];
        assert_eq!(found("codex", &files, &[]), codex);
        assert_eq!(found("codex", &files, &moved), ["c/sessions"]);
    }

    #[test]
    fn nothing_is_found_where_nothing_is_and_nobody_is_known() {
        for agent in AGENTS {
            assert_eq!(found(agent, &[], &[]), [""; 0], "{agent}");
            assert_eq!(of(agent, &Home::default()), Some(Vec::new()), "{agent}");
        }
        assert_eq!(of("nobody", &Home::default()), None);
    }

    #[test]
    fn no_place_is_one_of_credentials() {
        let files =
            [OPENCODE, &[".openclaw/agents/", ".codex/sessions/", ".codex/auth.json"]].concat();
        for agent in AGENTS {
            for place in found(agent, &files, &[]) {
                assert!(!place.contains("auth") && !place.contains("credentials"), "{place}");
            }
        }
    }
}
