//! Gate policies: a pure function from evidence to a list of checks.
//!
//! A policy is a Rhai file with `fn policy(evidence)`. It runs in an engine that has no verbs, no
//! files, no clock, no network, no randomness and no `print`, imports embedded modules only, and
//! may use little. Whatever is wrong with it (it throws, loops, reads a metric that is not there,
//! returns something else than checks) is a [`PolicyFailure`], never a pass.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Result};
use rhai::{AST, ASTNode, Array, CallFnOptions, Dynamic, Engine, Expr, Scope, Stmt};

use super::compare::named;
use super::engine::{self, POLICY};
use super::failure::{OPERATIONS_HINT, ScriptFailure, from_run};
use super::library::Library;
use super::surface::Surface;
use super::{source, stdlib};
use crate::files::digest;
use crate::gate;

mod checks;
mod evidence;

pub(super) use evidence::Evidence;

/// The name of the shipped policy.
pub const SHIPPED: &str = "proto/gates";

/// The function a policy file defines.
pub const FUNCTION: &str = "policy";

/// The stack a policy runs on. It is fixed so that the limits on calls and expressions hold
/// whatever thread asks.
const STACK: usize = 16 << 20;

/// A policy before it runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicySource {
    /// The file as it was named, or `proto/gates`.
    pub name: String,
    /// Its text.
    pub text: String,
}

impl PolicySource {
    /// Reads a team's policy.
    pub fn read(path: &Path) -> Result<Self> {
        let name = path.display().to_string();
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("cannot read the gate policy {name}"))?;
        Ok(PolicySource { name, text })
    }

    /// The shipped policy by its name, or a team's by its file.
    pub fn named(path: &Path) -> Result<Self> {
        if path == Path::new(SHIPPED) { Ok(Self::shipped()) } else { Self::read(path) }
    }

    fn parse(&self, library: &Library) -> Result<AST> {
        library.remember(&self.name, &self.text);
        Ok(source::parse(&self.name, &self.text, library).map_err(|failure| *failure)?)
    }

    /// The digest of the policy and of every embedded module it may reach.
    pub fn digest(&self) -> String {
        let library = Library::embedded();
        let mut texts = vec![(self.name.clone(), self.text.clone())];
        let mut next = 0;
        while let Some((name, text)) = texts.get(next).cloned() {
            next += 1;
            let Ok(ast) = source::parse(&name, &text, &library) else { continue };
            for path in imports(&ast) {
                if let Ok(found) = library.find(&path, Some(&name))
                    && !texts.iter().any(|(known, _)| *known == found.name)
                {
                    texts.push((found.name, found.text));
                }
            }
        }
        // The file's own name and place do not change what it says.
        let parts: Vec<&str> = texts.iter().map(|(_, text)| text.as_str()).collect();
        digest(serde_json::json!(parts).to_string().as_bytes())
    }

    /// The policy that comes with the program.
    pub fn shipped() -> Self {
        let text = stdlib::source(SHIPPED).unwrap_or_default().to_string();
        PolicySource { name: SHIPPED.into(), text }
    }
}

/// Why a policy gave no checks. It blocks a promotion.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyFailure {
    /// The reason, with its place in the policy where there is one.
    pub reason: String,
}

impl std::fmt::Display for PolicyFailure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the gate policy gave no answer: {}", self.reason)
    }
}

impl std::error::Error for PolicyFailure {}

/// Asks a policy about some evidence, for the gate to judge.
pub fn ask(policy: &PolicySource, evidence: &gate::Evidence) -> gate::Policy {
    let checks = judge(policy, evidence).map_err(|failure| failure.reason);
    gate::Policy { name: policy.name.clone(), digest: policy.digest(), checks }
}

/// Asks the policies in these files, or the shipped one where none is named. One that cannot be
/// read blocks like one that throws.
pub fn ask_all(files: &[PathBuf], evidence: &gate::Evidence) -> Vec<gate::Policy> {
    if files.is_empty() {
        return vec![ask(&PolicySource::shipped(), evidence)];
    }
    let answer = |path: &PathBuf| match PolicySource::named(path) {
        Ok(source) => ask(&source, evidence),
        Err(error) => gate::Policy {
            name: path.display().to_string(),
            digest: digest(b""),
            checks: Err(format!("{error:#}")),
        },
    };
    files.iter().map(answer).collect()
}

/// Asks a policy about some evidence.
pub fn judge(
    policy: &PolicySource,
    evidence: &gate::Evidence,
) -> Result<Vec<gate::Check>, PolicyFailure> {
    let failed = |reason: String| PolicyFailure { reason };
    std::thread::scope(|scope| {
        let run = || answer(policy, evidence).map_err(|error| failed(format!("{error:#}")));
        let thread = std::thread::Builder::new()
            .name("policy".into())
            .stack_size(STACK)
            .spawn_scoped(scope, run)
            .map_err(|error| failed(format!("cannot start its thread: {error}")))?;
        thread.join().unwrap_or_else(|_| Err(failed(format!("{} panicked", policy.name))))
    })
}

fn answer(policy: &PolicySource, evidence: &gate::Evidence) -> Result<Vec<gate::Check>> {
    let library = Library::embedded();
    let ast = policy.parse(&library)?;
    let defined = ast.iter_functions().any(|f| f.name == FUNCTION && f.params.len() == 1);
    anyhow::ensure!(defined, "{}: it defines no `fn {FUNCTION}(evidence)`", policy.name);
    let engine = pure(&library);
    let options = CallFnOptions::new().eval_ast(true).rewind_scope(true);
    let evidence = Evidence::new(evidence.clone());
    let scope = &mut Scope::new();
    let answer =
        engine.call_fn_with_options::<Dynamic>(options, scope, &ast, FUNCTION, (evidence,));
    let answer = answer.map_err(|error| {
        let error = from_run(error, &policy.name, &library, &Surface::of(&engine));
        match error.downcast::<ScriptFailure>() {
            Ok(mut failure) => {
                // The engine's hint speaks of what only protocol scripts can do.
                if failure.hint.as_deref() == Some(OPERATIONS_HINT) {
                    failure.hint = Some("does a loop end?".into());
                }
                failure.into()
            }
            Err(_) => anyhow::anyhow!(
                "{}: it ran past {} operations; does a loop end?",
                policy.name,
                POLICY.operations
            ),
        }
    })?;
    read(&policy.name, answer)
}

/// Reads what the policy returned.
fn read(name: &str, answer: Dynamic) -> Result<Vec<gate::Check>> {
    let wanted = format!("`fn {FUNCTION}` must return a list of checks");
    let kind = named(&answer);
    let Some(list) = answer.try_cast::<Array>() else {
        anyhow::bail!("{name}: {wanted}, not {kind}");
    };
    anyhow::ensure!(!list.is_empty(), "{name}: {wanted}; the list is empty");
    let mut checks: Vec<gate::Check> = Vec::with_capacity(list.len());
    for (index, item) in list.into_iter().enumerate() {
        let kind = named(&item);
        let Some(check) = item.try_cast::<gate::Check>() else {
            anyhow::bail!("{name}: {wanted}; item {index} is {kind}");
        };
        checks.push(check);
    }
    Ok(checks)
}

/// The modules a source imports by a literal path, in the order of the source.
fn imports(ast: &AST) -> Vec<String> {
    let mut found = Vec::new();
    ast.walk(&mut |path| {
        if let Some(ASTNode::Stmt(Stmt::Import(import, _))) = path.last()
            && let Expr::StringConstant(text, _) = &import.0
        {
            found.push(text.to_string());
        }
        true
    });
    found
}

/// The engine of policies.
fn pure(library: &Library) -> Engine {
    let mut engine = engine::bare(&POLICY);
    register(&mut engine);
    engine.set_module_resolver(library.clone());
    // The engine's own count starts anew in every callback of `map`, `filter` and the like; this
    // one does not, so nested callbacks end as well.
    let spent = AtomicU64::new(0);
    engine.on_progress(move |_| {
        let over = spent.fetch_add(1, Ordering::Relaxed) >= POLICY.operations;
        over.then_some(Dynamic::UNIT)
    });
    engine
}

/// Registers what policies are made of; protocol scripts have it too, so that policies can be
/// tested.
pub(super) fn register(engine: &mut Engine) {
    evidence::register(engine);
    checks::register(engine);
}

/// Registers what only tests of policies may call.
pub(super) fn register_for_tests(engine: &mut Engine) {
    evidence::register_for_tests(engine);
}

/// What a policy can call.
pub(super) fn surface() -> Surface {
    Surface::of(&pure(&Library::embedded()))
}
