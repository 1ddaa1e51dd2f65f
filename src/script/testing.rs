//! Running a script's `test_*` functions.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Result;
use rhai::{AST, CallFnOptions, Dynamic, Engine, Expr, Scope, Stmt};

use super::failure::{ScriptFailure, from_run};
use super::library::Library;
use super::surface::Surface;
use super::{Host, Script, engine, policy, verbs};
use crate::config::Layers;
use crate::progress::Observer;

/// How one test function ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// The script.
    pub file: String,
    /// The function.
    pub name: String,
    /// What failed; `None` when it passed.
    pub failure: Option<ScriptFailure>,
}

/// The engine of tests: what scripts have, and assertions.
pub(super) fn engine(host: &Arc<Host>, library: &Library) -> Engine {
    let mut engine = engine::protocol(host, library);
    verbs::register_for_tests(&mut engine);
    policy::register_for_tests(&mut engine);
    engine
}

/// An engine with nothing but what tests add.
pub(super) fn assertions() -> Engine {
    let mut engine = Engine::new_raw();
    verbs::register_for_tests(&mut engine);
    policy::register_for_tests(&mut engine);
    engine
}

/// Runs every `fn test_…()` of a script, in the order they are written, each in a fresh engine.
/// Of the script's own statements only imports and constants run.
pub fn run_tests(script: &Script, observer: Arc<dyn Observer>) -> Result<Vec<Verdict>> {
    let config = Layers::new().resolve(&script.params()?)?;
    let ast = without_statements(&script.ast, &script.name);
    let mut tests: Vec<_> = ast
        .iter_fn_def()
        .filter(|f| f.name.starts_with("test_") && f.params.is_empty())
        .map(|f| (f.body.start_position(), f.name.to_string()))
        .collect();
    tests.sort();
    let mut verdicts = Vec::with_capacity(tests.len());
    for (_, name) in tests {
        observer.check()?;
        let host = Arc::new(Host::new(config.clone(), PathBuf::from("."), observer.clone()));
        let library = script.library.fresh();
        let engine = engine(&host, &library);
        let options = CallFnOptions::new().eval_ast(true).rewind_scope(true);
        let scope = &mut Scope::new();
        let ended = engine.call_fn_with_options::<Dynamic>(options, scope, &ast, &name, ());
        let failure = match ended {
            Ok(_) => None,
            Err(error) => {
                let error = from_run(error, &script.name, &library, &Surface::of(&engine));
                Some(error.downcast::<ScriptFailure>()?)
            }
        };
        verdicts.push(Verdict { file: script.name.clone(), name, failure });
    }
    Ok(verdicts)
}

/// The script with its imports, its constants and its functions, and nothing that acts.
fn without_statements(ast: &AST, name: &str) -> AST {
    let quiet = |stmt: &&Stmt| match stmt {
        Stmt::Import(..) => true,
        Stmt::Var(var, flags, _) => {
            flags.contains(rhai::ASTFlags::CONSTANT)
                && match &var.1 {
                    Expr::FnCall(call, _) => ["param", "setting"].contains(&call.name.as_str()),
                    expr => expr.is_constant(),
                }
        }
        _ => false,
    };
    let statements: Vec<Stmt> = ast.statements().iter().filter(quiet).cloned().collect();
    let mut kept = AST::new(statements, ast.shared_lib().clone());
    kept.set_source(name);
    kept
}
