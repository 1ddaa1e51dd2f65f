//! A script: read and parsed first, run later.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use rhai::{AST, Scope};

use super::engine;
use super::failure::{ScriptFailure, from_run};
use super::host::Host;
use super::library::Library;
use super::params;
use super::surface::Surface;
use crate::config::Param;

/// A parsed script.
pub struct Script {
    /// Its path as it was given; errors name it so.
    pub name: String,
    /// Its text, for the run's record.
    pub text: String,
    pub(super) ast: AST,
    pub(super) library: Library,
}

impl Script {
    /// Reads and parses a file. Nothing runs yet.
    pub fn read(path: &Path) -> Result<Script> {
        let shown = path.strip_prefix("./").unwrap_or(path).display().to_string();
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("cannot read the script {shown}"))?;
        // Some editors begin a file with a byte-order mark.
        let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
        Script::parse(&shown, text, Library::with_files_under(project_of(path)?))
    }

    /// Parses a text that has no file: it imports embedded modules only.
    pub fn from_text(name: &str, text: &str) -> Result<Script> {
        Script::parse(name, text, Library::embedded())
    }

    pub(super) fn parse(name: &str, text: &str, library: Library) -> Result<Script> {
        library.remember(name, text);
        let ast = parse(name, text, &library).map_err(|failure| *failure)?;
        Ok(Script { name: name.into(), text: text.into(), ast, library })
    }

    /// The parameters it declares with `param()`, found without running it.
    pub fn params(&self) -> Result<Vec<Param>> {
        params::declared(&self.ast, &self.name, &self.library).map_err(|failure| (*failure).into())
    }

    /// Runs it.
    pub fn run(&self, host: &Arc<Host>) -> Result<()> {
        let library = self.library.fresh();
        host.set_library(&library);
        let engine = engine::protocol(host, &library);
        let ended = engine.run_ast_with_scope(&mut Scope::new(), &self.ast);
        ended.map_err(|error| from_run(error, &self.name, &library, &Surface::of(&engine)))
    }
}

/// Parses one source with the limits that scripts run under.
pub(super) fn parse(name: &str, text: &str, library: &Library) -> Result<AST, Box<ScriptFailure>> {
    let mut ast = engine::bare(&engine::SCRIPT)
        .compile(text)
        .map_err(|error| Box::new(ScriptFailure::from_parse(&error, name, library)))?;
    ast.set_source(name);
    Ok(ast)
}

/// The folder a script may import from: the current one where the script lies inside it, else
/// the script's own.
fn project_of(script: &Path) -> Result<PathBuf> {
    let real = script.canonicalize()?;
    let here = std::env::current_dir()?.canonicalize()?;
    if real.starts_with(&here) {
        return Ok(here);
    }
    Ok(real.parent().map(Path::to_path_buf).unwrap_or(here))
}
