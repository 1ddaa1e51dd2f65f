//! Everything an engine offers to scripts: functions, methods, properties, types.

use std::collections::BTreeMap;

use rhai::Engine;

use super::failure::{did_you_mean, nearest};

/// One overload of a function, method or property.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Function {
    /// Its name; a property's own name.
    pub name: String,
    /// Parameter names and types as scripts see them; a method's object comes first.
    pub params: Vec<(String, String)>,
    /// What it returns; empty for nothing.
    pub returns: String,
    /// Its doc comment.
    pub doc: String,
    /// Whether the first parameter is the object it is called on.
    pub method: bool,
}

impl Function {
    /// `rows.filter(reason: string, keep: closure) -> Rows`
    pub fn signature(&self) -> String {
        let mut params = self.params.iter();
        let object = if self.method { params.next() } else { None };
        let list: Vec<_> = params
            .map(|(name, kind)| match kind.as_str() {
                "" => name.clone(),
                kind => format!("{name}: {kind}"),
            })
            .collect();
        let object = object.map(|(name, _)| format!("{name}.")).unwrap_or_default();
        let returns = match self.returns.as_str() {
            "" | "()" => String::new(),
            kind => format!(" -> {kind}"),
        };
        format!("{object}{}({}){returns}", self.name, list.join(", "))
    }
}

/// What scripts can use.
#[derive(Debug, Default)]
pub struct Surface {
    functions: BTreeMap<String, Vec<Function>>,
    properties: BTreeMap<String, Vec<Function>>,
}

/// Functions of the language itself, which no registry lists, with their numbers of arguments.
const SYNTACTIC: &[(&str, &[usize])] = &[
    ("type_of", &[1]),
    ("is_def_fn", &[2, 3]),
    ("is_def_var", &[1]),
    ("is_shared", &[1]),
    ("Fn", &[1]),
    ("print", &[0, 1]),
    ("debug", &[0, 1]),
];

impl Surface {
    /// Reads it off an engine, including the packages that come with the language.
    pub fn of(engine: &Engine) -> Self {
        Surface::read(engine, true)
    }

    /// Reads off an engine only what this program adds to the language.
    pub fn own(engine: &Engine) -> Self {
        Surface::read(engine, false)
    }

    fn read(engine: &Engine, with_packages: bool) -> Self {
        let all = engine.collect_fn_metadata(
            None,
            |info| {
                let meta = info.metadata;
                let params = (0..meta.num_params).map(|i| {
                    let text = meta.params_info.get(i).map_or("_", |p| p.as_str());
                    let (name, kind) = text.split_once(':').unwrap_or((text, ""));
                    (name.trim().to_string(), kind.trim().to_string())
                });
                let params: Vec<_> = params.collect();
                Some(Function {
                    name: meta.name.to_string(),
                    method: params.first().is_some_and(|(_, kind)| kind.starts_with("&mut")),
                    params: params.into_iter().map(|(name, kind)| (name, plain(&kind))).collect(),
                    returns: plain(&meta.return_type),
                    doc: undress(meta.comments.iter().map(|c| c.as_str())),
                })
            },
            with_packages,
        );
        let mut surface = Surface::default();
        for mut function in all {
            if let Some(property) = function.name.strip_prefix("get$") {
                function.name = property.to_string();
                surface.properties.entry(function.name.clone()).or_default().push(function);
            } else if function.name.chars().all(|c| c.is_alphanumeric() || c == '_') {
                surface.functions.entry(function.name.clone()).or_default().push(function);
            }
        }
        for list in surface.functions.values_mut().chain(surface.properties.values_mut()) {
            list.sort();
            list.dedup();
        }
        surface
    }

    /// Every overload of a name.
    pub fn named(&self, name: &str) -> &[Function] {
        self.functions.get(name).map_or(&[], Vec::as_slice)
    }

    /// Every function and method, by name.
    pub fn functions(&self) -> impl Iterator<Item = &Function> {
        self.functions.values().flatten()
    }

    /// Every property, by name.
    pub fn properties(&self) -> impl Iterator<Item = &Function> {
        self.properties.values().flatten()
    }

    /// The names of functions and methods.
    pub fn function_names(&self) -> impl Iterator<Item = &str> {
        let syntactic = SYNTACTIC.iter().map(|(name, _)| *name);
        self.functions.keys().map(String::as_str).chain(syntactic)
    }

    /// The names of properties.
    pub fn property_names(&self) -> impl Iterator<Item = &str> {
        self.properties.keys().map(String::as_str)
    }

    /// Whether something of this name is there, and whether it takes so many arguments; a
    /// method's object counts as one.
    pub fn takes(&self, name: &str, arguments: usize) -> Option<bool> {
        let syntactic = SYNTACTIC.iter().find(|(known, _)| *known == name);
        let known = self.functions.get(name);
        if syntactic.is_none() && known.is_none() {
            return None;
        }
        let by_syntax = syntactic.is_some_and(|(_, counts)| counts.contains(&arguments));
        let by_name = known.is_some_and(|l| l.iter().any(|f| f.params.len() == arguments));
        Some(by_syntax || by_name)
    }

    /// What someone who asked `of` for an unknown property may have meant.
    pub fn property_hint(&self, property: &str, of: &str) -> Option<String> {
        let on_type = |f: &&Function| f.params.first().is_some_and(|(_, kind)| kind == of);
        let own: Vec<&str> = self.properties().filter(on_type).map(|f| f.name.as_str()).collect();
        if let Some(name) = nearest(property, own.iter().copied()) {
            return Some(format!("did you mean `{name}`?"));
        }
        let methods: Vec<_> = self.functions().filter(|f| f.method).filter(on_type).collect();
        if let Some(method) = methods.iter().find(|f| f.name == property) {
            return Some(format!("it is a method: `{}`", method.signature()));
        }
        did_you_mean(property, methods.iter().map(|f| f.name.as_str())).or_else(|| {
            match own.as_slice() {
                [] => None,
                own => Some(format!("it has {}", own.join(", "))),
            }
        })
    }
}

/// A Rust type as scripts know it.
pub fn plain(kind: &str) -> String {
    let kind: String = kind.chars().filter(|c| !c.is_whitespace()).collect();
    let kind = kind.trim_start_matches("&mut").trim_start_matches('&');
    let kind = kind
        .strip_prefix("RhaiResultOf<")
        .and_then(|inner| inner.strip_suffix('>'))
        .or_else(|| Some(kind.strip_prefix("Result<")?.split_once(",Box<")?.0))
        .unwrap_or(kind);
    match kind.rsplit("::").next().unwrap_or(kind) {
        "i64" | "INT" => "int",
        "f64" | "FLOAT" => "float",
        "str" | "ImmutableString" | "String" => "string",
        "FnPtr" => "closure",
        "Dynamic" | "?" | "RhaiResult" => "any",
        "Array" => "array",
        "Map" => "map",
        "Blob" => "blob",
        other => other,
    }
    .to_string()
}

/// Takes `///` and `/** */` off doc comments.
pub fn undress<'a>(comments: impl Iterator<Item = &'a str>) -> String {
    let lines = comments.flat_map(str::lines).map(|line| {
        let line = line.trim();
        let line = line.trim_start_matches("/**").trim_end_matches("*/");
        let line = line.trim_start_matches("///").trim_start_matches("//!");
        line.strip_prefix(' ').unwrap_or(line).trim_end()
    });
    lines.collect::<Vec<_>>().join("\n").trim().to_string()
}
