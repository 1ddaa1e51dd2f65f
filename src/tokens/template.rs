//! Chat templates, rendered as Hugging Face renders them: Jinja with block trimming, Python's
//! methods on values, and its `tojson`.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use minijinja::value::{Kwargs, ValueKind};
use minijinja::{Environment, Error, ErrorKind, Value};

/// The shipped template for models whose own cannot carry tools.
pub const HERMES: &str = include_str!("templates/hermes.jinja");

const NAME: &str = "chat template";

/// A compiled chat template.
pub struct Template {
    environment: Environment<'static>,
    source: String,
    variables: BTreeMap<String, String>,
}

impl Template {
    /// Compiles a template; `variables` are texts it may use, such as `bos_token`.
    pub fn new(source: &str, variables: BTreeMap<String, String>) -> Result<Self> {
        let mut environment = Environment::new();
        environment.set_trim_blocks(true);
        environment.set_lstrip_blocks(true);
        environment
            .set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.set_formatter(|out, state, value| match value.kind() {
            ValueKind::Bool if value.is_true() => out.write_str("True").map_err(Error::from),
            ValueKind::Bool => out.write_str("False").map_err(Error::from),
            ValueKind::None => out.write_str("None").map_err(Error::from),
            ValueKind::Number => out.write_str(&number(value)).map_err(Error::from),
            _ => minijinja::escape_formatter(out, state, value),
        });
        environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
        environment.add_filter("tojson", tojson);
        environment.add_function("raise_exception", |message: String| -> Result<(), Error> {
            Err(Error::new(ErrorKind::InvalidOperation, message))
        });
        environment.add_function("strftime_now", strftime_fixed);
        // Marks the assistant's text for Hugging Face's own masks; renders as its content.
        let plain = source_without_generation_marks(source);
        environment
            .add_template_owned(NAME, plain)
            .map_err(|e| anyhow::anyhow!("{}", describe(&e)))
            .context("the chat template does not parse; set CHAT_TEMPLATE to another")?;
        Ok(Template { environment, source: source.to_string(), variables })
    }

    /// The template as it was given.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Renders messages and tools, with the start of the model's turn at the end where wanted.
    pub fn render(
        &self,
        messages: &[Value],
        tools: Option<&Value>,
        add_generation_prompt: bool,
    ) -> Result<String> {
        let mut context: BTreeMap<&str, Value> =
            self.variables.iter().map(|(k, v)| (k.as_str(), Value::from(v.as_str()))).collect();
        context.insert("messages", Value::from(messages.to_vec()));
        context.insert("tools", tools.cloned().unwrap_or_else(|| Value::from(())));
        context.insert("documents", Value::from(()));
        context.insert("add_generation_prompt", Value::from(add_generation_prompt));
        self.environment
            .get_template(NAME)
            .and_then(|template| template.render(context))
            .map_err(|e| anyhow::anyhow!("{}", describe(&e)))
            .context("the chat template refused the conversation")
    }
}

/// The message and line of a template error, without the dump of variables.
fn describe(error: &Error) -> String {
    let what = error.detail().map_or_else(|| error.kind().to_string(), str::to_string);
    match error.line() {
        Some(line) => format!("{what} (template line {line})"),
        None => what,
    }
}

fn source_without_generation_marks(source: &str) -> String {
    let mut out = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(at) = rest.find("{%") {
        let (before, tag) = rest.split_at(at);
        out.push_str(before);
        let end = tag.find("%}").map_or(tag.len(), |end| end + 2);
        let (tag, after) = tag.split_at(end);
        let word =
            tag.trim_start_matches(['{', '%', '-', '+']).trim_end_matches(['}', '%', '-', '+']);
        match word.trim() {
            "generation" => out.push_str(&tag.replace("generation", "if true")),
            "endgeneration" => out.push_str(&tag.replace("endgeneration", "endif")),
            _ => out.push_str(tag),
        }
        rest = after;
    }
    out + rest
}

/// A template that asks for today's date gets a fixed one: the same conversation must always
/// give the same tokens. It is the date Llama 3's own template falls back to.
fn strftime_fixed(format: &str) -> Result<String, Error> {
    let day = jiff::civil::date(2024, 7, 26).at(0, 0, 0, 0);
    jiff::fmt::strtime::format(format, day)
        .map_err(|e| Error::new(ErrorKind::InvalidOperation, format!("strftime_now: {e}")))
}

/// Python's `json.dumps(value, ensure_ascii=False, …)`.
fn tojson(value: &Value, options: Kwargs) -> Result<Value, Error> {
    let indent: Option<usize> = options.get("indent")?;
    let ascii: Option<bool> = options.get("ensure_ascii")?;
    let sorted: Option<bool> = options.get("sort_keys")?;
    let separators: Option<Vec<String>> = options.get("separators")?;
    options.assert_all_used()?;
    let (item, key) = match (separators.as_deref(), indent) {
        (Some([item, key]), _) => (item.clone(), key.clone()),
        (Some(_), _) => {
            let message = "tojson: separators are two texts";
            return Err(Error::new(ErrorKind::InvalidOperation, message));
        }
        (None, None) => (", ".to_string(), ": ".to_string()),
        (None, Some(_)) => (",".to_string(), ": ".to_string()),
    };
    let style =
        Style { indent, item, key, ascii: ascii.unwrap_or(false), sorted: sorted.unwrap_or(false) };
    let mut out = String::new();
    style.write(value, 0, &mut out)?;
    Ok(Value::from(out))
}

struct Style {
    indent: Option<usize>,
    item: String,
    key: String,
    ascii: bool,
    sorted: bool,
}

impl Style {
    fn write(&self, value: &Value, depth: usize, out: &mut String) -> Result<(), Error> {
        match value.kind() {
            ValueKind::None => out.push_str("null"),
            ValueKind::Bool => out.push_str(if value.is_true() { "true" } else { "false" }),
            ValueKind::Number => out.push_str(&number(value)),
            ValueKind::String => self.string(value.as_str().unwrap_or_default(), out),
            ValueKind::Seq | ValueKind::Iterable => {
                let items: Vec<Value> = value.try_iter()?.collect();
                self.items('[', ']', depth, items, out, |item, out| {
                    self.write(item, depth + 1, out)
                })?;
            }
            ValueKind::Map => {
                let mut keys: Vec<Value> = value.try_iter()?.collect();
                if self.sorted {
                    keys.sort();
                }
                self.items('{', '}', depth, keys, out, |key, out| {
                    match key.as_str() {
                        Some(text) => self.string(text, out),
                        None => self.string(&key.to_string(), out),
                    }
                    out.push_str(&self.key);
                    self.write(&value.get_item(key)?, depth + 1, out)
                })?;
            }
            kind => {
                let message = format!("tojson: a value of kind {kind} is not JSON");
                return Err(Error::new(ErrorKind::InvalidOperation, message));
            }
        }
        Ok(())
    }

    fn items(
        &self,
        open: char,
        close: char,
        depth: usize,
        items: Vec<Value>,
        out: &mut String,
        mut one: impl FnMut(&Value, &mut String) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let line = |depth: usize, out: &mut String| {
            if let Some(indent) = self.indent {
                out.push('\n');
                out.extend(std::iter::repeat_n(' ', indent * depth));
            }
        };
        out.push(open);
        for (i, item) in items.iter().enumerate() {
            if i > 0 {
                out.push_str(&self.item);
            }
            line(depth + 1, out);
            one(item, out)?;
        }
        if !items.is_empty() {
            line(depth, out);
        }
        out.push(close);
        Ok(())
    }

    fn string(&self, text: &str, out: &mut String) {
        use std::fmt::Write;
        out.push('"');
        for c in text.chars() {
            match c {
                '"' => out.push_str("\\\""),
                '\\' => out.push_str("\\\\"),
                '\n' => out.push_str("\\n"),
                '\r' => out.push_str("\\r"),
                '\t' => out.push_str("\\t"),
                '\u{8}' => out.push_str("\\b"),
                '\u{c}' => out.push_str("\\f"),
                c if c < ' ' || (self.ascii && !c.is_ascii()) || (self.ascii && c == '\u{7f}') => {
                    for unit in c.encode_utf16(&mut [0; 2]) {
                        let _ = write!(out, "\\u{unit:04x}");
                    }
                }
                c => out.push(c),
            }
        }
        out.push('"');
    }
}

/// A number as Python prints it: whole numbers as such, floats by `repr`.
fn number(value: &Value) -> String {
    if value.is_integer() {
        return value.to_string();
    }
    let Ok(x) = f64::try_from(value.clone()) else {
        return value.to_string();
    };
    if !x.is_finite() {
        let word = if x.is_nan() { "NaN" } else { "Infinity" };
        return if x < 0.0 { format!("-{word}") } else { word.to_string() };
    }
    // Rust and Python agree on the shortest digits, not on when to use an exponent.
    let scientific = format!("{x:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let power: i32 = exponent.parse().unwrap_or(0);
    if (-4..16).contains(&power) {
        let plain = x.to_string();
        if plain.contains('.') { plain } else { plain + ".0" }
    } else {
        let sign = if power < 0 { '-' } else { '+' };
        format!("{digits}e{sign}{:02}", power.abs())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn render(source: &str, messages: serde_json::Value) -> Result<String> {
        let variables = BTreeMap::from([("bos_token".to_string(), "<s>".to_string())]);
        let messages: Vec<Value> =
            messages.as_array().unwrap().iter().map(Value::from_serialize).collect();
        Template::new(source, variables)?.render(&messages, None, true)
    }

    #[test]
    fn tojson_is_pythons() {
        let cases = [
            (
                json!({"b": [1, 2.5, true, null], "a": {}}),
                r#"{"b": [1, 2.5, true, null], "a": {}}"#,
            ),
            (json!("<é & '\"\\\n\u{1}>"), r#""<é & '\"\\\n\u0001>""#),
            (
                json!([1.0, 1e16, 1e15, 1e-4, 1e-5, 1.5e300, -0.0]),
                "[1.0, 1e+16, 1000000000000000.0, 0.0001, 1e-05, 1.5e+300, -0.0]",
            ),
            (json!([u64::MAX, i64::MIN]), "[18446744073709551615, -9223372036854775808]"),
            (json!([]), "[]"),
        ];
        for (value, wanted) in cases {
            let text = render("{{ messages[0] | tojson }}", json!([value])).unwrap();
            assert_eq!(text, wanted);
        }
        let text = render("{{ messages[0] | tojson(indent=2) }}", json!([{"a": [1, {}], "b": []}]));
        assert_eq!(text.unwrap(), "{\n  \"a\": [\n    1,\n    {}\n  ],\n  \"b\": []\n}");
        let text = render(
            "{{ messages[0] | tojson(ensure_ascii=True, sort_keys=True) }}",
            json!([{"b": "é😀", "a": 1}]),
        );
        assert_eq!(text.unwrap(), r#"{"a": 1, "b": "\u00e9\ud83d\ude00"}"#);
        assert!(render("{{ messages[0] | tojson(wide=1) }}", json!([1])).is_err());
    }

    #[test]
    fn jinja_as_hugging_face_has_it() {
        let source = "{{ bos_token }}{% for m in messages %}\n  {% if m.skip %}{% continue %}\
            {% endif %}\n{{ m['text'].strip().upper() }}{% if m.text.startswith('b') %}!{% endif %}\
            {% if 'k' in m %}{{ m.items() | list | length }}{% endif %}\n{% endfor %}\
            {{ true }} {{ none }} {{ messages | length }}";
        let text = render(source, json!([{"text": " a "}, {"skip": true}, {"text": "b", "k": 1}]));
        assert_eq!(text.unwrap(), "<s>AB!2True None 3");
    }

    #[test]
    fn generation_marks_render_as_their_content() {
        let source =
            "{% for m in messages %}a{%- generation -%} {{ m }} {%- endgeneration %}z{% endfor %}";
        assert_eq!(render(source, json!(["x"])).unwrap(), "axz");
    }

    #[test]
    fn the_date_stands_still() {
        let text = render("{{ strftime_now('%d %b %Y') }}", json!([])).unwrap();
        assert_eq!(text, "26 Jul 2024");
    }

    #[test]
    fn a_refusal_carries_the_templates_own_words() {
        let error = render("{{ raise_exception('roles must alternate') }}", json!([])).unwrap_err();
        assert!(format!("{error:#}").contains("roles must alternate"), "{error:#}");
        let error = render("{% if %}", json!([])).unwrap_err();
        assert!(format!("{error:#}").contains("CHAT_TEMPLATE"), "{error:#}");
        assert!(render("{{ messages[0].a.b }}", json!([{}])).is_err());
    }
}
