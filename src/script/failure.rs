//! What went wrong in a script: message, place, the line itself with a caret, and a hint.

use std::fmt;

use rhai::{Dynamic, EvalAltResult, ParseError, ParseErrorType, Position};

use super::library::Library;
use super::surface::Surface;
use super::{captures, source};
use crate::progress::Cancelled;

/// An error in a script, ready to be shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScriptFailure {
    /// What is wrong.
    pub message: String,
    /// The script or module.
    pub file: String,
    /// The line, from 1; zero where the place is unknown.
    pub line: usize,
    /// The column, from 1; zero where only the line is known.
    pub column: usize,
    /// The text of that line.
    pub text: Option<String>,
    /// What to do about it.
    pub hint: Option<String>,
    /// How execution got there, innermost first.
    pub trail: Vec<String>,
}

impl fmt::Display for ScriptFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", place(&self.file, self.line, self.column), self.message)?;
        if let Some(text) = &self.text {
            let number = self.line.to_string();
            let (text, column) = window(text, self.column);
            write!(f, "\n {number} | {text}")?;
            if column > 0 {
                // Tabs are kept so that the caret stands under its character on any terminal.
                let before = text.chars().take(column - 1);
                let pad: String = before.map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
                write!(f, "\n {:width$} | {pad}^", "", width = number.len())?;
            }
        }
        if let Some(hint) = &self.hint {
            write!(f, "\n  hint: {hint}")?;
        }
        for step in &self.trail {
            write!(f, "\n  {step}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ScriptFailure {}

/// The part of a long line around a column, without control characters, and the column in it.
fn window(text: &str, column: usize) -> (String, usize) {
    const WIDTH: usize = 120;
    let chars: Vec<char> =
        text.chars().map(|c| if c.is_control() && c != '\t' { ' ' } else { c }).collect();
    if chars.len() <= WIDTH {
        return (chars.into_iter().collect(), column);
    }
    let start = column.saturating_sub(WIDTH / 2).min(chars.len() - WIDTH);
    let end = start + WIDTH;
    let (before, after) =
        (if start > 0 { "…" } else { "" }, if end < chars.len() { "…" } else { "" });
    let part: String = chars[start..end].iter().collect();
    let shift = start - before.chars().count();
    (format!("{before}{part}{after}"), column.saturating_sub(shift))
}

/// `file:line:column`, as far as it is known.
pub fn place(file: &str, line: usize, column: usize) -> String {
    match (line, column) {
        (0, _) => file.to_string(),
        (line, 0) => format!("{file}:{line}"),
        (line, column) => format!("{file}:{line}:{column}"),
    }
}

/// The name among `names` that someone who wrote `wanted` most likely meant.
pub fn nearest<'a>(wanted: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let lower = wanted.to_lowercase();
    names
        .into_iter()
        .filter(|name| *name != wanted)
        .map(|name| (strsim::jaro_winkler(&lower, &name.to_lowercase()), name))
        .filter(|(score, _)| *score > 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0).then_with(|| b.1.cmp(a.1)))
        .map(|(_, name)| name)
}

/// "did you mean …?" or nothing.
pub fn did_you_mean<'a>(wanted: &str, names: impl IntoIterator<Item = &'a str>) -> Option<String> {
    nearest(wanted, names).map(|name| format!("did you mean `{name}`?"))
}

/// What to do when a protocol script runs out of operations.
pub const OPERATIONS_HINT: &str = "does a loop end? work on rows belongs into `rows.filter` or \
     `rows.map`, which count each row by itself; SCRIPT_MAX_OPERATIONS raises the limit";

/// The name of the frame that [`super::closures`] puts around an error in a row's closure; no
/// function can be called so.
pub const ROW_FRAME: &str = "row ";
/// The same around an error in a metric's closure.
pub const ITEM_FRAME: &str = "item ";

impl ScriptFailure {
    /// A failure at a known place.
    pub fn at(file: &str, position: Position, message: String, library: &Library) -> Self {
        let line = position.line().unwrap_or(0);
        let text = library
            .source(file)
            .and_then(|source| Some(source.lines().nth(line.checked_sub(1)?)?.to_string()));
        ScriptFailure {
            message,
            file: file.into(),
            line,
            column: position.position().unwrap_or(0),
            text,
            hint: None,
            trail: Vec::new(),
        }
    }

    /// The same with a hint.
    pub fn with_hint(mut self, hint: Option<String>) -> Self {
        self.hint = hint;
        self
    }

    /// From a script that does not parse.
    pub fn from_parse(error: &ParseError, file: &str, library: &Library) -> Self {
        let (message, hint) = explain_parse(&error.0, file, library);
        ScriptFailure::at(file, error.1, message, library).with_hint(hint)
    }
}

/// From an error while `file` ran. A wish to stop stays [`Cancelled`].
pub fn from_run(
    error: Box<EvalAltResult>,
    file: &str,
    library: &Library,
    surface: &Surface,
) -> anyhow::Error {
    let mut file = file.to_string();
    let mut trail = Vec::new();
    let mut error = error;
    let mut error = loop {
        error = match *error {
            EvalAltResult::ErrorInFunctionCall(name, source, inner, position) => {
                let at = position_of(&file, position);
                if [ROW_FRAME, ITEM_FRAME].iter().any(|frame| name.starts_with(frame)) {
                    trail.push(format!("in {name}"));
                } else if !name.starts_with("anon$") {
                    trail.push(format!("in `{name}` called at {at}"));
                }
                if !source.is_empty() {
                    file = source;
                }
                inner
            }
            EvalAltResult::ErrorInModule(name, inner, position) => {
                trail.push(format!("in a module imported at {}", position_of(&file, position)));
                if !name.is_empty() {
                    file = name;
                }
                inner
            }
            other => break other,
        };
    };
    if matches!(error, EvalAltResult::ErrorTerminated(..)) {
        return Cancelled.into();
    }
    trail.reverse();
    let mut position = error.take_position();
    let (mut message, mut hint) = explain(&error, &file, library, surface);
    if let EvalAltResult::ErrorDataRace(text, _) = &error
        && let Some(capture) = captured(text, &file, library)
    {
        let variable = &capture.variable;
        message = format!("a closure uses `{variable}`, which it is called on");
        hint = Some(captures::remedy(variable));
        position = capture.position;
    }
    let mut failure = ScriptFailure::at(&file, position, message, library).with_hint(hint);
    failure.trail = trail;
    failure.into()
}

/// Where a closure used the variable it was called on, which the engine does not tell.
fn captured(text: &str, file: &str, library: &Library) -> Option<captures::Capture> {
    let method = text.split("function '").nth(1)?.split('\'').next()?;
    let ast = source::parse(file, &library.source(file)?, library).ok()?;
    captures::find(&ast).into_iter().find(|capture| capture.method == method)
}

fn position_of(file: &str, position: Position) -> String {
    place(file, position.line().unwrap_or(0), position.position().unwrap_or(0))
}

/// Says an error in plain words, with a hint where one can be given.
fn explain(
    error: &EvalAltResult,
    file: &str,
    library: &Library,
    surface: &Surface,
) -> (String, Option<String>) {
    use EvalAltResult::*;
    match error {
        ErrorParsing(kind, _) => explain_parse(kind, file, library),
        ErrorRuntime(value, _) => (thrown(value), None),
        ErrorFunctionNotFound(signature, _) => {
            let (name, arguments) = signature.split_once(" (").unwrap_or((signature, ")"));
            let arguments = arguments.replace("&str | ImmutableString | String", "string");
            match surface.named(name) {
                [] => (
                    format!("unknown function `{name}({arguments}`"),
                    did_you_mean(name, surface.function_names()),
                ),
                known => {
                    // Overloads of the object at hand say more than those of other types.
                    let of = arguments.split([',', ')']).next().unwrap_or_default();
                    let own = known.iter().filter(|f| f.method && f.params[0].1 == of);
                    let mut forms: Vec<_> = own.map(|f| f.signature()).collect();
                    if forms.is_empty() {
                        forms = known.iter().map(|f| f.signature()).collect();
                    }
                    (
                        format!("`{name}` cannot be called as `{name}({arguments}`"),
                        Some(format!("it is {}", forms.join(" or "))),
                    )
                }
            }
        }
        ErrorDotExpr(text, _) => match unknown_property(text) {
            Some((property, of)) => {
                (format!("{of} has no property `{property}`"), surface.property_hint(property, of))
            }
            None => (text.clone(), None),
        },
        ErrorPropertyNotFound(name, _) => (
            format!("the map has no `{name}`"),
            Some(format!("ask with `\"{name}\" in map` or read it with `map.get(\"{name}\")`")),
        ),
        ErrorVariableNotFound(name, _) => (
            format!("unknown variable `{name}`"),
            did_you_mean(name, words(file, library).iter().map(String::as_str)),
        ),
        ErrorModuleNotFound(name, _) => (
            format!("no module is imported as `{name}`"),
            Some(format!("import it first: `import \"…\" as {name};`")),
        ),
        ErrorTooManyOperations(_) => {
            ("the script ran past its limit of operations".into(), Some(OPERATIONS_HINT.into()))
        }
        ErrorStackOverflow(_) => {
            ("functions call each other too deeply".into(), Some("does a recursion end?".into()))
        }
        ErrorNonPureMethodCallOnConstant(..) | ErrorAssignmentToConstant(..) => (
            plain(error),
            Some(
                "constants, and variables that a row's closure takes from outside, cannot be \
                 changed"
                    .into(),
            ),
        ),
        _ => (plain(error), None),
    }
}

fn plain(error: &EvalAltResult) -> String {
    let text = error.to_string();
    text.strip_prefix("Runtime error: ").unwrap_or(&text).to_string()
}

fn thrown(value: &Dynamic) -> String {
    match value {
        value if value.is_unit() => "the script threw without a message".into(),
        value => value.to_string(),
    }
}

/// Takes Rhai's sentence about an unknown property apart: the property and the type.
fn unknown_property(text: &str) -> Option<(&str, &str)> {
    let rest = text.strip_prefix("Unknown property '")?;
    let (property, rest) = rest.split_once('\'')?;
    let of = rest.rsplit_once("for type '")?.1.strip_suffix('\'')?;
    Some((property, of))
}

fn explain_parse(kind: &ParseErrorType, file: &str, library: &Library) -> (String, Option<String>) {
    match kind {
        ParseErrorType::VariableUndefined(name) => (
            format!("unknown variable `{name}`"),
            did_you_mean(name, words(file, library).iter().map(String::as_str)).or_else(|| {
                Some("functions see their parameters and `global::CONSTANT`, nothing else".into())
            }),
        ),
        ParseErrorType::ModuleUndefined(name) => (
            format!("no module is imported as `{name}`"),
            Some(format!("import it above this place: `import \"…\" as {name};`")),
        ),
        ParseErrorType::Reserved(name) => {
            (format!("`{name}` is a reserved word"), Some("give it another name".into()))
        }
        ParseErrorType::WrongDocComment => (
            kind.to_string(),
            Some("`//` is an ordinary comment; `///` belongs right above an `fn`".into()),
        ),
        other => (other.to_string(), None),
    }
}

/// The identifiers a source uses more than once or defines: what a mistyped variable may mean.
fn words(file: &str, library: &Library) -> Vec<String> {
    let source = library.source(file).unwrap_or_default();
    let mut words: Vec<String> = source
        .split(|c: char| !(c.is_alphanumeric() || c == '_'))
        .filter(|word| word.chars().next().is_some_and(|c| c.is_alphabetic() || c == '_'))
        .map(String::from)
        .collect();
    words.sort();
    words.dedup();
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_caret_stands_under_its_character() {
        let library = Library::embedded();
        library.remember("a.rhai", "let x = 1;\n\tfoo(x);\n");
        let at = Position::new(2, 2);
        let failure = ScriptFailure::at("a.rhai", at, "no".into(), &library)
            .with_hint(did_you_mean("fo", ["foo"]));
        let shown = failure.to_string();
        assert_eq!(shown, "a.rhai:2:2: no\n 2 | \tfoo(x);\n   | \t^\n  hint: did you mean `foo`?");
    }

    #[test]
    fn a_long_line_is_cut_around_the_caret() {
        let library = Library::embedded();
        let line = format!("{}HERE{}", "a".repeat(500), "b\u{7}".repeat(500));
        library.remember("a.rhai", &line);
        for column in [1, 501, 1504] {
            let at = Position::new(1, column);
            let shown = ScriptFailure::at("a.rhai", at, "no".into(), &library).to_string();
            let lines: Vec<&str> = shown.lines().collect();
            assert!(lines[1].chars().count() < 130 && !lines[1].contains('\u{7}'), "{shown}");
            let caret = lines[2].chars().count() - 1;
            let wanted = line.chars().nth(usize::from(column) - 1).unwrap();
            let wanted = if wanted.is_control() { ' ' } else { wanted };
            assert_eq!(lines[1].chars().nth(caret), Some(wanted), "{shown}");
        }
    }

    #[test]
    fn unrelated_names_are_no_hint() {
        assert_eq!(nearest("filtr", ["filter", "map"]), Some("filter"));
        assert_eq!(nearest("zzz", ["filter", "map"]), None);
        assert_eq!(nearest("map", ["map"]), None);
    }
}
