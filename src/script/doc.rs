//! What scripts can use, in words: for `proto doc` and for editors.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rhai::{AST, FnAccess};

use super::check::everything;
use super::library::Library;
use super::surface::{Function, Surface, undress};
use super::{Script, source, stdlib};
use crate::files::write_bytes;

/// Names that exist for printing and are called by nobody.
const SILENT: &[&str] = &["print", "debug", "to_string", "to_debug"];

/// Describes one embedded module, one script, or (without a target) everything there is.
pub fn describe(target: Option<&str>) -> Result<String> {
    match target {
        None => overview(),
        Some(name) if name.starts_with(stdlib::PREFIX) => {
            let library = Library::embedded();
            let found = library.find(name, None).map_err(anyhow::Error::msg)?;
            Ok(module(name, &source::parse(name, &found.text, &library).map_err(|e| *e)?))
        }
        Some(path) => {
            let script = Script::read(Path::new(path))?;
            let mut text = module(&script.name, &script.ast);
            let params = script.params()?;
            if !params.is_empty() {
                text += "\nParameters (NAME=VALUE on the command line)\n";
                for param in params {
                    writeln!(text, "  {} = {}", param.name, param.default)?;
                    indent(&mut text, &param.doc);
                }
            }
            Ok(text)
        }
    }
}

/// Writes `.d.rhai` definition files for editors into a folder and returns their paths.
pub fn definitions(folder: &Path) -> Result<Vec<PathBuf>> {
    let library = Library::embedded();
    let engine = everything(&library);
    let mut written = Vec::new();
    let mut write = |name: String, text: &str| -> Result<()> {
        let path = folder.join(name);
        write_bytes(&path, text.as_bytes())?;
        written.push(path);
        Ok(())
    };
    for (name, text) in engine.definitions().iter_files() {
        write(name, &text)?;
    }
    for (name, text) in stdlib::MODULES {
        let ast = source::parse(name, text, &library).map_err(|e| *e)?;
        let short = name.strip_prefix(stdlib::PREFIX).unwrap_or(name);
        let mut text = format!("module {short};\n");
        for function in public(&ast) {
            let params: Vec<_> = function.params.iter().map(|(n, _)| format!("{n}: ?")).collect();
            text.push('\n');
            for line in function.doc.lines() {
                writeln!(text, "/// {line}")?;
            }
            writeln!(text, "fn {}({}) -> ?;", function.name, params.join(", "))?;
        }
        write(format!("{short}.d.rhai"), &text)?;
    }
    Ok(written)
}

fn overview() -> Result<String> {
    let surface = Surface::own(&everything(&Library::embedded()));
    let mut types: BTreeMap<&str, Vec<(bool, &Function)>> = BTreeMap::new();
    let mut free = Vec::new();
    for property in surface.properties() {
        types.entry(property.params[0].1.as_str()).or_default().push((true, property));
    }
    for function in surface.functions().filter(|f| !SILENT.contains(&f.name.as_str())) {
        match function.method {
            true => types.entry(function.params[0].1.as_str()).or_default().push((false, function)),
            false => free.push(function),
        }
    }
    let mut text = String::from("Functions\n");
    for function in free {
        entry(&mut text, &function.signature(), &function.doc);
    }
    for (name, members) in types {
        writeln!(text, "\n{name}")?;
        for (is_property, member) in members {
            let signature = match is_property {
                true => format!("{}.{}: {}", member.params[0].0, member.name, member.returns),
                false => member.signature(),
            };
            entry(&mut text, &signature, &member.doc);
        }
    }
    text += "\nModules (`proto doc MODULE` tells more)\n";
    for (name, source) in stdlib::MODULES {
        let library = Library::embedded();
        let ast = source::parse(name, source, &library)
            .map_err(|e| *e)
            .with_context(|| format!("the embedded module {name}"))?;
        let doc = undress(ast.doc().lines());
        entry(&mut text, name, doc.lines().next().unwrap_or(""));
    }
    Ok(text)
}

fn module(name: &str, ast: &AST) -> String {
    let mut text = format!("{name}\n");
    indent(&mut text, &undress(ast.doc().lines()));
    let functions = public(ast);
    if !functions.is_empty() {
        text += "\nFunctions\n";
    }
    for function in functions {
        entry(&mut text, &function.signature(), &function.doc);
    }
    text
}

/// The public functions of a source, tests left out, by name.
fn public(ast: &AST) -> Vec<Function> {
    let shown = |f: &rhai::ScriptFnMetadata| {
        f.access == FnAccess::Public && !f.name.starts_with("test_") && !f.name.contains('$')
    };
    let mut functions: Vec<Function> = ast
        .iter_functions()
        .filter(shown)
        .map(|f| Function {
            name: f.name.to_string(),
            params: f.params.iter().map(|p| (p.to_string(), String::new())).collect(),
            returns: String::new(),
            doc: undress(f.comments.iter().copied()),
            method: false,
        })
        .collect();
    functions.sort();
    functions
}

fn entry(text: &mut String, title: &str, doc: &str) {
    text.push_str("  ");
    text.push_str(title);
    text.push('\n');
    indent(text, doc);
}

fn indent(text: &mut String, doc: &str) {
    for line in doc.lines() {
        text.push_str(if line.is_empty() { "" } else { "      " });
        text.push_str(line);
        text.push('\n');
    }
}
