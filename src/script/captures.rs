//! Closures that use the variable they are called on: `rows.filter("x", |row| rows.len() > 2)`.
//!
//! The call holds the variable while its arguments hold it too, which the language refuses when
//! it happens, without saying where. Reading the syntax tree tells where, and before it happens.

use std::collections::BTreeSet;

use rhai::{AST, ASTNode, Expr, Position, Stmt};

/// One method call whose closure uses the variable that the call starts from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Capture {
    /// The variable.
    pub variable: String,
    /// The method.
    pub method: String,
    /// The place of the call.
    pub position: Position,
    /// Whether the closure is written in the call; else it may come from a variable.
    pub direct: bool,
}

/// What to do about it.
pub fn remedy(variable: &str) -> String {
    format!("copy it first: `let copy = {variable};`, and use `copy` in the closure")
}

/// Every such call, the certain ones first.
pub fn find(ast: &AST) -> Vec<Capture> {
    let mut shared = BTreeSet::new();
    let mut found: Vec<Capture> = Vec::new();
    ast.walk(&mut |path| {
        match path.last() {
            Some(ASTNode::Stmt(Stmt::Share(captured))) => {
                shared.extend(captured.iter().map(|(ident, _)| ident.name.to_string()));
                // The closure's block, and the call it is an argument of, stand right above.
                if let Some((method, position)) =
                    path.len().checked_sub(3).and_then(|i| call(&path[i]))
                    && let Some(variable) = root(&path[..path.len() - 3])
                    && captured.iter().any(|(ident, _)| ident.name == variable)
                {
                    let (method, variable) = (method.to_string(), variable.to_string());
                    found.push(Capture { variable, method, position, direct: true });
                }
            }
            Some(node) => {
                if let Some((method, position)) = call(node)
                    && let Some(variable) = root(&path[..path.len() - 1])
                {
                    let (method, variable) = (method.to_string(), variable.to_string());
                    found.push(Capture { variable, method, position, direct: false });
                }
            }
            None => {}
        }
        true
    });
    found.retain(|capture| capture.direct || shared.contains(&capture.variable));
    found.sort_by_key(|capture| !capture.direct);
    found
}

fn call<'a>(node: &ASTNode<'a>) -> Option<(&'a str, Position)> {
    match node {
        ASTNode::Expr(Expr::MethodCall(call, position)) => Some((call.name.as_str(), *position)),
        _ => None,
    }
}

/// The variable that a chain of dots and indexes starts from, given the nodes above its last part.
fn root<'a>(above: &[ASTNode<'a>]) -> Option<&'a str> {
    let chain = above.iter().rev().map_while(|node| match node {
        ASTNode::Expr(Expr::Dot(pair, ..) | Expr::Index(pair, ..)) => Some(pair),
        _ => None,
    });
    match &chain.last()?.lhs {
        Expr::Variable(variable, ..) => Some(variable.1.as_str()),
        _ => None,
    }
}
