//! A script's parameters, read off its syntax tree.

use rhai::{AST, ASTNode, Expr, FnCallExpr, Position, Stmt};
use serde_json::Value;

use super::failure::{ScriptFailure, did_you_mean};
use super::library::Library;
use crate::config::{KEYS, Param};

/// Every `param("name", default, "meaning")` of a script. Its arguments must be literals, since
/// the configuration is resolved before anything runs.
pub fn declared(
    ast: &AST,
    file: &str,
    library: &Library,
) -> Result<Vec<Param>, Box<ScriptFailure>> {
    let mut found: Vec<Param> = Vec::new();
    let mut wrong = None;
    each_call(ast, &mut |call, position| {
        if call.name != "param" || call.args.len() != 3 || wrong.is_some() {
            return;
        }
        let fail = |message: String, hint: Option<String>| {
            Some(ScriptFailure::at(file, position, message, library).with_hint(hint))
        };
        let param = match literal(call) {
            Ok(param) => param,
            Err(message) => {
                let hint = "write param(\"name\", default, \"meaning\") with three literals";
                wrong = fail(message, Some(hint.into()));
                return;
            }
        };
        if KEYS.iter().any(|key| key.name.eq_ignore_ascii_case(&param.name)) {
            let message = format!("`{}` is the name of a configuration key", param.name);
            let hint = format!("read it with setting(\"{}\")", param.name.to_uppercase());
            wrong = fail(message, Some(hint));
            return;
        }
        match found.iter().find(|known| known.name == param.name) {
            Some(known) if *known == param => {}
            Some(_) => {
                let message = format!("parameter `{}` is declared twice, differently", param.name);
                wrong =
                    fail(message, Some(format!("read it again with param(\"{}\")", param.name)));
            }
            None => found.push(param),
        }
    });
    match wrong {
        Some(failure) => Err(Box::new(failure)),
        None => Ok(found),
    }
}

/// Calls `visit` with every unqualified function call, methods left out.
pub fn each_call(ast: &AST, visit: &mut impl FnMut(&FnCallExpr, Position)) {
    ast.walk(&mut |path| {
        match path.last() {
            Some(ASTNode::Expr(Expr::FnCall(call, position)))
            | Some(ASTNode::Stmt(Stmt::FnCall(call, position)))
                if !call.is_qualified() =>
            {
                visit(call, *position);
            }
            _ => {}
        }
        true
    });
}

fn literal(call: &FnCallExpr) -> Result<Param, String> {
    let value = |i: usize| call.args[i].get_literal_value(None);
    let Some(name) = value(0).and_then(|name| name.into_string().ok()) else {
        return Err("a parameter's name must be a literal string".into());
    };
    let valid = name.chars().all(|c| c.is_alphanumeric() || c == '_');
    if !valid || name.is_empty() || name.starts_with(|c: char| c.is_numeric()) {
        return Err(format!("`{name}` cannot be a parameter: use letters, digits and _"));
    }
    let default = match value(1) {
        Some(v) if v.is_int() => v.as_int().ok().map(Value::from),
        Some(v) if v.is_float() => v.as_float().ok().filter(|f| f.is_finite()).map(Value::from),
        Some(v) if v.is_bool() => v.as_bool().ok().map(Value::from),
        Some(v) if v.is_string() => v.into_string().ok().map(Value::from),
        _ => None,
    };
    let Some(default) = default else {
        return Err(format!(
            "the default of parameter `{name}` must be a literal number, string or flag"
        ));
    };
    let Some(doc) = value(2).and_then(|doc| doc.into_string().ok()) else {
        return Err(format!("the meaning of parameter `{name}` must be a literal string"));
    };
    Ok(Param { name, default, doc })
}

/// What is said about a parameter that nothing declares.
pub fn undeclared(name: &str, params: &[Param]) -> (String, Option<String>) {
    let hint = did_you_mean(name, params.iter().map(|p| p.name.as_str()))
        .or_else(|| Some(format!("declare it: param(\"{name}\", default, \"meaning\")")));
    (format!("the script declares no parameter `{name}`"), hint)
}

#[cfg(test)]
mod tests {
    use crate::script::Script;
    use serde_json::json;

    fn params(text: &str) -> Result<Vec<crate::config::Param>, String> {
        let script = Script::from_text("s.rhai", text).map_err(|e| e.to_string())?;
        script.params().map_err(|e| e.to_string())
    }

    #[test]
    fn parameters_are_found_wherever_they_are_declared() {
        let found = params(
            "fn deep() { if false { param(\"deep\", \"x\", \"inside\") } }
             let limit = param(\"limit\", 512, \"longest example\") + 1;
             let all = [1].map(|x| param(\"rate\", -0.5, \"rate\") * x);
             if true { print(param(\"flag\", true, \"a flag\")); }
             let again = param(\"limit\");",
        )
        .unwrap();
        let mut names: Vec<_> = found.iter().map(|p| (p.name.as_str(), &p.default)).collect();
        names.sort_by_key(|(name, _)| *name);
        assert_eq!(
            names,
            [
                ("deep", &json!("x")),
                ("flag", &json!(true)),
                ("limit", &json!(512)),
                ("rate", &json!(-0.5))
            ]
        );
        assert_eq!(found.iter().find(|p| p.name == "limit").unwrap().doc, "longest example");
    }

    #[test]
    fn a_declaration_without_literals_is_an_error_with_its_place() {
        for (text, wanted) in [
            ("let n = 1;\nlet x = param(\"a\", n, \"b\");", "s.rhai:2:9: the default"),
            ("let n = \"a\"; param(n, 1, \"b\");", "name must be a literal"),
            ("param(\"a\", 1, 2);", "meaning of parameter `a`"),
            ("param(\"a b\", 1, \"c\");", "cannot be a parameter"),
            ("param(\"a\", 1, \"c\"); param(\"a\", 2, \"c\");", "declared twice"),
            ("param(\"seed\", 1, \"c\");", "setting(\"SEED\")"),
        ] {
            let error = params(text).unwrap_err();
            assert!(error.contains(wanted), "{text}: {error}");
        }
    }
}
