//! Where imports come from: embedded modules first and unshadowed, then files of the project.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rhai::{Engine, EvalAltResult, Module, ModuleResolver, ParseErrorType, Position, Scope};

use super::failure::nearest;
use super::{RhaiResultOf, stdlib};
use crate::files;

/// A module's name as errors show it, and its source.
#[derive(Debug, Clone)]
pub struct Found {
    /// `proto/…` or the path of a file.
    pub name: String,
    /// The text.
    pub text: String,
}

/// Finds modules, remembers every source it gave out and every module it built.
#[derive(Clone)]
pub struct Library {
    disk: Option<PathBuf>,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    sources: BTreeMap<String, String>,
    built: BTreeMap<String, rhai::Shared<Module>>,
    building: Vec<String>,
}

impl Library {
    /// Embedded modules only.
    pub fn embedded() -> Self {
        Library { disk: None, state: Arc::default() }
    }

    /// Embedded modules, then files under the folder `root`.
    pub fn with_files_under(root: PathBuf) -> Self {
        Library { disk: Some(root), state: Arc::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers a source under the name that errors will show.
    pub fn remember(&self, name: &str, text: &str) {
        self.state().sources.insert(name.into(), text.into());
    }

    /// A remembered source.
    pub fn source(&self, name: &str) -> Option<String> {
        self.state().sources.get(name).cloned()
    }

    /// The digest of every source given out so far, by name; of a script outside the project only
    /// the file's name, since its path belongs to this machine.
    pub fn digests(&self) -> BTreeMap<String, String> {
        let named = |name: &String| {
            let path = Path::new(name);
            let alone = path.file_name().filter(|_| path.is_absolute());
            alone.map_or_else(|| name.clone(), |n| n.to_string_lossy().into_owned())
        };
        let state = self.state();
        let each = state.sources.iter();
        each.map(|(name, text)| (named(name), files::digest(text.as_bytes()))).collect()
    }

    /// Forgets the modules built so far, but not their sources: a fresh engine builds its own.
    pub fn fresh(&self) -> Self {
        let sources = self.state().sources.clone();
        Library {
            disk: self.disk.clone(),
            state: Arc::new(Mutex::new(State { sources, ..State::default() })),
        }
    }

    /// Finds what `import "path"` means in the script called `importer`.
    pub fn find(&self, path: &str, importer: Option<&str>) -> Result<Found, String> {
        let found = if let Some(short) = path.strip_prefix(stdlib::PREFIX) {
            let Some(text) = stdlib::source(path) else {
                let names: Vec<_> = stdlib::MODULES.iter().map(|(name, _)| *name).collect();
                // Without the prefix, which makes all names look alike.
                let short_names = names.iter().filter_map(|n| n.strip_prefix(stdlib::PREFIX));
                let hint = match nearest(short, short_names) {
                    Some(name) => format!("did you mean `{}{name}`?", stdlib::PREFIX),
                    None => format!("there are {}", names.join(", ")),
                };
                return Err(format!("no module `{path}` comes with proto; {hint}"));
            };
            Found { name: path.into(), text: text.into() }
        } else {
            self.find_file(path, importer)?
        };
        self.remember(&found.name, &found.text);
        Ok(found)
    }

    fn find_file(&self, path: &str, importer: Option<&str>) -> Result<Found, String> {
        let Some(root) = &self.disk else {
            return Err(format!(
                "`{path}`: a gate policy imports only `{}…` modules",
                stdlib::PREFIX
            ));
        };
        if importer.is_some_and(|name| stdlib::source(name).is_some()) {
            return Err(format!("`{path}`: an embedded module imports only embedded modules"));
        }
        if Path::new(path).is_absolute() {
            return Err(format!("`{path}`: name a module relative to the script that imports it"));
        }
        let folder = importer.and_then(|name| Path::new(name).parent()).unwrap_or(Path::new(""));
        let mut file = tidy(&folder.join(path));
        if file.extension().is_none_or(|e| e != "rhai") {
            file.as_mut_os_string().push(".rhai");
        }
        let shown = file.display();
        let real = file.canonicalize().map_err(|error| {
            format!("cannot read the module {shown}: {error}{}", beside(&file, root))
        })?;
        if !real.starts_with(root) {
            return Err(format!("the module {shown} lies outside the project {}", root.display()));
        }
        let text = std::fs::read_to_string(&real)
            .map_err(|error| format!("cannot read the module {shown}: {error}"))?;
        Ok(Found { name: shown.to_string(), text })
    }
}

/// Takes `.` and `x/..` out of a path without asking the disk.
fn tidy(path: &Path) -> PathBuf {
    let mut tidy = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir if tidy.file_name().is_some() => {
                tidy.pop();
            }
            other => tidy.push(other),
        }
    }
    tidy
}

/// A hint at a similarly named script in the folder where one was looked for.
fn beside(file: &Path, root: &Path) -> String {
    let (Some(folder), Some(wanted)) = (file.parent(), file.file_stem()) else {
        return String::new();
    };
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let inside = folder.canonicalize().is_ok_and(|real| real.starts_with(root));
    let Some(entries) = inside.then(|| std::fs::read_dir(folder).ok()).flatten() else {
        return String::new();
    };
    let mut stems: Vec<String> = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|e| e == "rhai"))
        .filter_map(|path| Some(path.file_stem()?.to_str()?.to_string()))
        .collect();
    stems.sort();
    match nearest(&wanted.to_string_lossy(), stems.iter().map(String::as_str)) {
        Some(name) => format!("; did you mean `{name}`?"),
        None => String::new(),
    }
}

impl ModuleResolver for Library {
    fn resolve(
        &self,
        engine: &Engine,
        source: Option<&str>,
        path: &str,
        pos: Position,
    ) -> RhaiResultOf<rhai::Shared<Module>> {
        // Not `ErrorModuleNotFound`, whose text the engine replaces with the bare path.
        let missing = |message: String| EvalAltResult::ErrorRuntime(message.into(), pos);
        let found = self.find(path, source).map_err(missing)?;
        if let Some(module) = self.state().built.get(&found.name) {
            return Ok(module.clone());
        }
        {
            let mut state = self.state();
            if state.building.contains(&found.name) {
                let ring = [&state.building[..], &[found.name]].concat().join(" → ");
                return Err(missing(format!("modules import each other in a ring: {ring}")).into());
            }
            state.building.push(found.name.clone());
        }
        let module = build(engine, &found);
        let mut state = self.state();
        state.building.pop();
        let module =
            module.map_err(|error| EvalAltResult::ErrorInModule(found.name.clone(), error, pos))?;
        state.built.insert(found.name, module.clone());
        Ok(module)
    }
}

fn build(engine: &Engine, found: &Found) -> RhaiResultOf<rhai::Shared<Module>> {
    let mut ast = engine.compile(&found.text).map_err(|error| {
        let (kind, position): (ParseErrorType, Position) = (*error.0, error.1);
        EvalAltResult::ErrorParsing(kind, position)
    })?;
    ast.set_source(found.name.as_str());
    Ok(Module::eval_ast_as_new(Scope::new(), &ast, engine)?.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_on_disk_shadows_an_embedded_module() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("proto")).unwrap();
        for name in ["gates", "mine"] {
            std::fs::write(folder.path().join(format!("proto/{name}.rhai")), "fn own() {}")
                .unwrap();
        }
        let root = folder.path().canonicalize().unwrap();
        let importer = root.join("main.rhai");
        let library = Library::with_files_under(root);
        let importer = importer.to_str();
        let embedded = library.find("proto/gates", importer).unwrap();
        assert_eq!(embedded.text, stdlib::source("proto/gates").unwrap());
        assert!(library.find("proto/mine", importer).unwrap_err().contains("no module"));
        // A path that only leads there is a file like any other, under its own name.
        let file = library.find("./proto/gates", importer).unwrap();
        assert_eq!(file.text, "fn own() {}");
        assert_ne!(file.name, "proto/gates");
    }

    #[test]
    fn files_outside_the_project_are_refused() {
        let outside = tempfile::tempdir().unwrap();
        let project = tempfile::tempdir_in(outside.path()).unwrap();
        std::fs::write(outside.path().join("secret.rhai"), "").unwrap();
        let root = project.path().canonicalize().unwrap();
        let importer = root.join("main.rhai");
        let library = Library::with_files_under(root.clone());
        let up = library.find("../secret", importer.to_str()).unwrap_err();
        assert!(up.contains("outside the project"), "{up}");
        let absolute = root.join("x");
        let error = library.find(absolute.to_str().unwrap(), importer.to_str()).unwrap_err();
        assert!(error.contains("relative"), "{error}");
        #[cfg(unix)]
        {
            std::os::unix::fs::symlink(outside.path().join("secret.rhai"), root.join("link.rhai"))
                .unwrap();
            assert!(library.find("link", importer.to_str()).unwrap_err().contains("outside"));
        }
    }
}
