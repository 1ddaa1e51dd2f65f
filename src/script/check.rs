//! Looking at a script and everything it imports without running anything.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use rhai::{AST, ASTNode, Expr, FnAccess, FnCallExpr, Position, Stmt};

use super::failure::{ScriptFailure, did_you_mean};
use super::library::Library;
use super::source::{Script, parse};
use super::surface::Surface;
use super::verbs::unknown_key;
use super::{captures, params, policy, testing};
use crate::config::{Config, KEYS, Layers, Param};
use crate::progress::Silent;

/// Everything that is wrong with a script and its imports, in the order of files and lines:
/// unknown functions, wrong numbers of arguments, unknown imports, undeclared parameters,
/// properties that no type has, unknown configuration keys.
pub fn check(script: &Script) -> Vec<ScriptFailure> {
    let mut checker = Checker {
        library: &script.library,
        files: BTreeMap::new(),
        problems: Vec::new(),
        params: Vec::new(),
    };
    match params::declared(&script.ast, &script.name, &script.library) {
        Ok(params) => checker.params = params,
        Err(failure) => checker.problems.push(*failure),
    }
    checker.gather(&script.name, script.ast.clone());
    checker.look();
    let mut problems = checker.problems;
    problems.sort_by(|a, b| {
        let key = |p: &ScriptFailure| (p.file != script.name, p.file.clone(), p.line, p.column);
        key(a).cmp(&key(b))
    });
    problems.dedup();
    problems
}

/// The engine a check reads its surface from: everything a script or a test may call.
pub(super) fn everything(library: &Library) -> rhai::Engine {
    let config = defaults();
    let host = Arc::new(super::Host::new(config, ".", Arc::new(Silent)));
    testing::engine(&host, library)
}

/// The configuration with nothing set.
pub(super) fn defaults() -> Config {
    // Constants, which every test of the configuration resolves.
    Layers::new().resolve(&[]).expect("built-in defaults resolve")
}

/// One source and what it imports under which name.
struct File {
    ast: AST,
    imports: BTreeMap<String, String>,
}

struct Checker<'a> {
    library: &'a Library,
    files: BTreeMap<String, File>,
    problems: Vec<ScriptFailure>,
    params: Vec<Param>,
}

impl Checker<'_> {
    fn problem(&mut self, file: &str, at: Position, message: String, hint: Option<String>) {
        let failure = ScriptFailure::at(file, at, message, self.library).with_hint(hint);
        self.problems.push(failure);
    }

    /// Parses a source's imports, and theirs.
    fn gather(&mut self, name: &str, ast: AST) {
        let mut wanted = Vec::new();
        ast.walk(&mut |path| {
            if let Some(ASTNode::Stmt(Stmt::Import(import, _))) = path.last() {
                let (path, alias) = import.as_ref();
                wanted.push((path.clone(), alias.name.to_string()));
            }
            true
        });
        self.files.insert(name.into(), File { ast, imports: BTreeMap::new() });
        for (path, alias) in wanted {
            let Expr::StringConstant(text, at) = path else {
                let hint = Some("name the module with a literal string".into());
                let at = path.start_position();
                self.problem(name, at, "what is imported cannot be known".into(), hint);
                continue;
            };
            match self.library.find(&text, Some(name)) {
                Err(message) => self.problem(name, at, message, None),
                Ok(found) => {
                    if !alias.is_empty()
                        && let Some(file) = self.files.get_mut(name)
                    {
                        file.imports.insert(alias, found.name.clone());
                    }
                    if self.files.contains_key(&found.name) {
                        continue;
                    }
                    match parse(&found.name, &found.text, self.library) {
                        Ok(ast) => self.gather(&found.name, ast),
                        Err(failure) => self.problems.push(*failure),
                    }
                }
            }
        }
    }

    fn look(&mut self) {
        let all = Surface::of(&everything(self.library));
        let pure = policy::surface();
        let tests = Surface::of(&testing::assertions());
        let known_members = self.members(&all);
        let names: Vec<String> = self.files.keys().cloned().collect();
        for name in names {
            let ast = self.files[&name].ast.clone();
            let is_policy =
                ast.iter_functions().any(|f| f.name == policy::FUNCTION && f.params.len() == 1);
            // A gate policy can call less than a protocol script, apart from its tests.
            let surfaces = if is_policy { vec![&pure, &tests] } else { vec![&all] };
            for capture in captures::find(&ast).iter().filter(|c| c.direct) {
                let variable = &capture.variable;
                let message = format!("a closure uses `{variable}`, which it is called on");
                self.problem(&name, capture.position, message, Some(captures::remedy(variable)));
            }
            let open = open_variables(&ast);
            ast.walk(&mut |path| {
                match path.last() {
                    Some(ASTNode::Expr(Expr::FnCall(call, at)))
                    | Some(ASTNode::Stmt(Stmt::FnCall(call, at))) => {
                        self.call(&name, &ast, call, *at, &surfaces);
                    }
                    Some(ASTNode::Expr(Expr::MethodCall(call, at))) => {
                        self.method(&name, &ast, call, *at, &surfaces, &known_members);
                    }
                    Some(ASTNode::Expr(Expr::Property(property, at)))
                        if !on_open_map(path, &open) =>
                    {
                        self.property(&name, &property.2, *at, &all, &known_members);
                    }
                    _ => {}
                }
                true
            });
        }
    }

    /// Every name that can follow a dot: properties of types, keys of maps written in any of the
    /// files, and members assigned to.
    fn members(&self, surface: &Surface) -> BTreeSet<String> {
        let mut members: BTreeSet<String> = surface.property_names().map(String::from).collect();
        for file in self.files.values() {
            file.ast.walk(&mut |path| {
                match path.last() {
                    Some(ASTNode::Expr(Expr::Map(map, _))) => {
                        members.extend(map.0.iter().map(|(key, _)| key.name.to_string()));
                    }
                    // A map of constants is folded while parsing.
                    Some(ASTNode::Expr(Expr::DynamicConstant(value, _))) => {
                        if let Ok(map) = value.as_map_ref() {
                            members.extend(map.keys().map(|key| key.to_string()));
                        }
                    }
                    Some(ASTNode::Stmt(Stmt::Assignment(assignment))) => {
                        members.extend(last_property(&assignment.1.lhs));
                    }
                    _ => {}
                }
                true
            });
        }
        members
    }

    fn call(
        &mut self,
        file: &str,
        ast: &AST,
        call: &FnCallExpr,
        at: Position,
        surfaces: &[&Surface],
    ) {
        if call.is_operator_call() {
            return;
        }
        if call.is_qualified() {
            return self.qualified(file, call, at);
        }
        let name = call.name.as_str();
        let count = call.args.len();
        self.configuration(file, call, at);
        // `f.call(x)` and `call(f, x)` run whatever `f` is; `curry` binds any number.
        if ["call", "curry"].contains(&name) || defines(ast, name, &[count]) {
            return;
        }
        self.unless_taken(file, ast, name, count, at, surfaces);
    }

    fn method(
        &mut self,
        file: &str,
        ast: &AST,
        call: &FnCallExpr,
        at: Position,
        surfaces: &[&Surface],
        members: &BTreeSet<String>,
    ) {
        let name = call.name.as_str();
        let count = call.args.len();
        // A script function takes the object as `this`; a closure kept in a map is called like a
        // method of the map.
        if ["call", "curry"].contains(&name)
            || defines(ast, name, &[count])
            || members.contains(name)
        {
            return;
        }
        self.unless_taken(file, ast, name, count + 1, at, surfaces);
    }

    /// Reports a call that nothing takes. `count` includes a method's object.
    fn unless_taken(
        &mut self,
        file: &str,
        ast: &AST,
        name: &str,
        count: usize,
        at: Position,
        surfaces: &[&Surface],
    ) {
        let answers: Vec<bool> = surfaces.iter().filter_map(|s| s.takes(name, count)).collect();
        if answers.contains(&true) {
            return;
        }
        let own: Vec<String> =
            ast.iter_functions().filter(|f| f.name == name).map(|f| f.to_string()).collect();
        if answers.is_empty() && own.is_empty() {
            let scripted = ast.iter_functions().map(|f| f.name.to_string()).collect::<Vec<_>>();
            let names = surfaces.iter().flat_map(|s| s.function_names());
            let hint = did_you_mean(name, names.chain(scripted.iter().map(String::as_str)));
            return self.problem(file, at, format!("unknown function `{name}`"), hint);
        }
        let native = surfaces.iter().flat_map(|s| s.named(name)).map(|f| f.signature());
        let forms: Vec<String> = native.chain(own).collect();
        let message = format!("`{name}` is called with the wrong number of arguments");
        self.problem(file, at, message, Some(format!("it is {}", forms.join(" or "))));
    }

    /// `module::function(…)`
    fn qualified(&mut self, file: &str, call: &FnCallExpr, at: Position) {
        let mut module = file.to_string();
        for part in &call.namespace.path {
            match self.files.get(&module).and_then(|f| f.imports.get(part.name.as_str())) {
                Some(found) => module = found.clone(),
                // An unknown alias, or an import that was reported already.
                None => return,
            }
        }
        let Some(target) = self.files.get(&module) else { return };
        let public = target
            .ast
            .iter_functions()
            .filter(|f| f.access == FnAccess::Public)
            .collect::<Vec<_>>();
        let name = call.name.as_str();
        let same: Vec<_> = public.iter().filter(|f| f.name == name).collect();
        if same.iter().any(|f| f.params.len() == call.args.len()) {
            return;
        }
        let (message, hint) = if same.is_empty() {
            let names = public.iter().map(|f| f.name);
            let all = names.clone().collect::<Vec<_>>().join(", ");
            let hint = did_you_mean(name, names).or_else(|| Some(format!("it has {all}")));
            (format!("`{module}` has no function `{name}`"), hint)
        } else {
            let forms = same.iter().map(|f| f.to_string()).collect::<Vec<_>>().join(" or ");
            let message = format!("`{name}` is called with the wrong number of arguments");
            (message, Some(format!("it is {forms}")))
        };
        self.problem(file, at, message, hint);
    }

    /// `param("…")` and `setting("…")` with a literal name.
    fn configuration(&mut self, file: &str, call: &FnCallExpr, at: Position) {
        let name = call.args.first().and_then(|arg| arg.get_literal_value(None));
        let name = name.and_then(|name| name.into_string().ok());
        let declared = |params: &[Param], name: &str| params.iter().any(|p| p.name == name);
        match (call.name.as_str(), call.args.len(), name) {
            ("param", 1, Some(name)) if !declared(&self.params, &name) => {
                let (message, hint) = params::undeclared(&name, &self.params);
                self.problem(file, at, message, hint);
            }
            // In a module it declares nothing; in the main script it was found already.
            ("param", 3, Some(name)) if !declared(&self.params, &name) => {
                let message = format!("parameter `{name}` is declared outside the main script");
                let hint = format!("declare it there and read it here with param(\"{name}\")");
                self.problem(file, at, message, Some(hint));
            }
            ("setting", 1, Some(name)) => {
                let known = KEYS.iter().any(|key| key.name == name);
                if !known && !declared(&self.params, &name) {
                    self.problem(file, at, unknown_key(&name), None);
                }
            }
            _ => {}
        }
    }

    fn property(
        &mut self,
        file: &str,
        name: &str,
        at: Position,
        surface: &Surface,
        members: &BTreeSet<String>,
    ) {
        if members.contains(name) {
            return;
        }
        let method = surface.named(name).iter().find(|f| f.method);
        let hint = match method {
            Some(method) => Some(format!("it is a method: `{}`", method.signature())),
            None => did_you_mean(name, members.iter().map(String::as_str)),
        };
        self.problem(file, at, format!("nothing has a property `{name}`"), hint);
    }
}

fn defines(ast: &AST, name: &str, counts: &[usize]) -> bool {
    ast.iter_functions().any(|f| f.name == name && counts.contains(&f.params.len()))
}

/// The last property of `a.b.c`.
fn last_property(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Dot(pair, ..) | Expr::Index(pair, ..) => last_property(&pair.rhs),
        Expr::Property(property, _) => Some(property.2.to_string()),
        _ => None,
    }
}

/// What gives a map whose keys no script wrote down.
const OPEN: &[&str] = &["arguments"];

/// Whether a chain passes through a map with unknown keys.
fn is_open(expr: &Expr, variables: &BTreeSet<String>) -> bool {
    match expr {
        Expr::Dot(pair, ..) | Expr::Index(pair, ..) => {
            is_open(&pair.lhs, variables) || is_open(&pair.rhs, variables)
        }
        Expr::Property(property, _) => OPEN.contains(&property.2.as_str()),
        Expr::Variable(variable, ..) => variables.contains(variable.1.as_str()),
        _ => false,
    }
}

/// Variables that hold, or loop over, parts of such maps.
fn open_variables(ast: &AST) -> BTreeSet<String> {
    let mut open = BTreeSet::new();
    loop {
        let before = open.len();
        ast.walk(&mut |path| {
            match path.last() {
                Some(ASTNode::Stmt(Stmt::Var(var, ..))) if is_open(&var.1, &open) => {
                    open.insert(var.0.name.to_string());
                }
                Some(ASTNode::Stmt(Stmt::For(each, _))) if is_open(&each.2.expr, &open) => {
                    open.insert(each.0.name.to_string());
                }
                _ => {}
            }
            true
        });
        if open.len() == before {
            return open;
        }
    }
}

/// Whether the property at the end of the path is read from a map with unknown keys.
fn on_open_map(path: &[ASTNode], variables: &BTreeSet<String>) -> bool {
    path.iter().rev().skip(1).map_while(chain).any(|expr| {
        // The property itself may be called `arguments`: then it is what opens the map.
        match (expr, path.last()) {
            (Expr::Dot(pair, ..), Some(ASTNode::Expr(last))) => {
                !std::ptr::eq(&pair.lhs, *last) && is_open(&pair.lhs, variables)
            }
            (Expr::Index(pair, ..), _) => is_open(&pair.lhs, variables),
            _ => false,
        }
    })
}

fn chain<'a>(node: &ASTNode<'a>) -> Option<&'a Expr> {
    match node {
        ASTNode::Expr(expr @ (Expr::Dot(..) | Expr::Index(..))) => Some(expr),
        _ => None,
    }
}
