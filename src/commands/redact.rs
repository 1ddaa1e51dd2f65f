//! `proto redact`: redaction as a plain filter.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};
use clap::Args;
use rayon::prelude::*;
use serde_json::{Value, json};

use super::Outcome;
use super::layers::Settings;
use crate::redact::{Account, Explained, Policy, Redactor, explain, explain_json};
use crate::review::page::visible;

/// How many bytes of rows are redacted side by side.
const BATCH: usize = 8 << 20;
/// How many places of a rule a report names.
const PLACES: usize = 5;

/// Take secrets and personal data out of text or JSON lines
///
/// Reads FILE or standard input and writes the same to standard output with every secret and every
/// piece of personal data replaced by a numbered placeholder. JSON lines stay JSON lines: each row
/// keeps its id, its messages, their roles and the ids of calls, and has a numbering of its own.
#[derive(Debug, Args)]
pub struct Redact {
    /// What to read; - is standard input
    #[arg(default_value = "-")]
    file: PathBuf,
    /// Read it as one text, even where the first line is JSON
    #[arg(long)]
    text: bool,
    /// All rows belong to one session: what is found in one is taken out of all, and one value has
    /// one placeholder
    #[arg(long, conflicts_with = "text")]
    together: bool,
    /// Say on standard error how often each rule fired, and where first
    #[arg(long)]
    report: bool,
    /// Say on standard error of every place which rule fired there; values are never shown
    #[arg(long)]
    explain: bool,
    /// The report and the explanations as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    settings: Settings,
}

impl Redact {
    pub(super) fn execute(self) -> Result<Outcome> {
        let config = self.settings.layers(&[])?.resolve(&[])?;
        let redactor = Redactor::new(Policy::from_config(&config)?)?;
        let name = match self.file.as_path() {
            file if file == Path::new("-") => "standard input".to_string(),
            file => file.display().to_string(),
        };
        let input: Box<dyn Read> = match self.file.as_path() {
            file if file == Path::new("-") => Box::new(std::io::stdin().lock()),
            file => Box::new(File::open(file).with_context(|| name.clone())?),
        };
        let mut input = BufReader::with_capacity(1 << 20, input);
        let mut told = Told::new(&self);
        let done = self.filter(&redactor, &mut input, &mut told);
        told.finish();
        done.with_context(|| name)?;
        Ok(Outcome::Done)
    }

    fn filter(&self, redactor: &Redactor, input: &mut dyn BufRead, told: &mut Told) -> Result<()> {
        let mut first = Vec::new();
        while first.trim_ascii().is_empty() && input.read_until(b'\n', &mut first)? > 0 {}
        let rows =
            !self.text && serde_json::from_slice::<Value>(&first).is_ok_and(|v| v.is_object());
        let mut out = std::io::stdout().lock();
        if !rows {
            input.read_to_end(&mut first)?;
            let text = String::from_utf8(first).map_err(|e| not_utf8(0, e.utf8_error()))?;
            let (redacted, account) = redactor.account_of(&text)?;
            out.write_all(redacted.as_bytes())?;
            told.of(None, &account, &|| explain(&redacted, &account));
            return Ok(out.flush()?);
        }
        let mut at = 0;
        let mut pending = first;
        loop {
            let most = if self.together { u64::MAX } else { BATCH as u64 };
            input.take(most).read_to_end(&mut pending)?;
            input.read_until(b'\n', &mut pending)?;
            if pending.is_empty() {
                return Ok(out.flush()?);
            }
            let lines: Vec<&[u8]> = pending.split_inclusive(|b| *b == b'\n').collect();
            let rows: Vec<Row> = lines
                .par_iter()
                .enumerate()
                .map(|(n, line)| Row::read(line, at + n + 1))
                .collect::<Result<_>>()?;
            for row in redacted(redactor, rows, self.together)? {
                out.write_all(row.line.as_bytes())?;
                out.write_all(row.end.as_bytes())?;
                told.of(Some(row.number), &row.account, &|| match &row.value {
                    Some(value) => explain_json(value, &row.account),
                    None => explain(&row.line, &row.account),
                });
            }
            at += lines.len();
            pending = Vec::new();
        }
    }
}

fn not_utf8(line: usize, error: std::str::Utf8Error) -> anyhow::Error {
    let place = if line > 0 { format!("line {line}, ") } else { String::new() };
    anyhow!("{place}byte {}: this is not UTF-8; convert it first", error.valid_up_to() + 1)
}

/// A line of a file of rows.
struct Row {
    number: usize,
    line: String,
    end: &'static str,
    /// None where it is no JSON: then it is redacted as a text.
    value: Option<Value>,
    account: Account,
}

impl Row {
    fn read(line: &[u8], number: usize) -> Result<Row> {
        let text = std::str::from_utf8(line).map_err(|e| not_utf8(number, e))?;
        let (line, end) = match text {
            t if t.ends_with("\r\n") => (&t[..t.len() - 2], "\r\n"),
            t if t.ends_with('\n') => (&t[..t.len() - 1], "\n"),
            t => (t, ""),
        };
        let value = serde_json::from_str(line).ok();
        Ok(Row { number, line: line.to_string(), end, value, account: Account::default() })
    }

    /// Takes over what became of the row. One in which nothing was found stays to the byte.
    fn becomes(&mut self, value: Value, account: Account) {
        if !account.counts.is_empty() {
            self.line = value.to_string();
        }
        self.value = Some(value);
        self.account = account;
    }
}

fn redacted(redactor: &Redactor, mut rows: Vec<Row>, together: bool) -> Result<Vec<Row>> {
    if together {
        // A line that is no JSON takes part as the text it is.
        let text = |row: &Row| Value::String(row.line.clone());
        let values = rows.iter_mut().map(|row| row.value.take().unwrap_or_else(|| text(row)));
        let mut values: Vec<Value> = values.collect();
        let accounts = redactor.json(&mut values)?;
        for ((row, value), account) in rows.iter_mut().zip(values).zip(accounts) {
            match value {
                Value::String(text) => (row.line, row.account) = (text, account),
                value => row.becomes(value, account),
            }
        }
        return Ok(rows);
    }
    rows.par_iter_mut().try_for_each(|row| -> Result<()> {
        let place = || format!("line {}", row.number);
        match row.value.take() {
            Some(value) => {
                let mut values = [value];
                let account = redactor.json(&mut values).with_context(place)?.remove(0);
                let [value] = values;
                row.becomes(value, account);
            }
            None => {
                (row.line, row.account) = redactor.account_of(&row.line).with_context(place)?;
            }
        }
        Ok(())
    })?;
    Ok(rows)
}

/// What is said on standard error beside the data.
struct Told<'a> {
    wanted: &'a Redact,
    rows: u64,
    changed: u64,
    counts: BTreeMap<String, u64>,
    places: BTreeMap<String, Vec<String>>,
}

impl<'a> Told<'a> {
    fn new(wanted: &'a Redact) -> Self {
        let (counts, places) = (BTreeMap::new(), BTreeMap::new());
        Told { wanted, rows: 0, changed: 0, counts, places }
    }

    fn of(&mut self, row: Option<usize>, account: &Account, explain: &dyn Fn() -> Vec<Explained>) {
        self.rows += 1;
        self.changed += u64::from(!account.counts.is_empty());
        if !self.wanted.report && !self.wanted.explain {
            return;
        }
        for (rule, count) in &account.counts {
            *self.counts.entry(rule.clone()).or_default() += count;
        }
        for one in explain() {
            let place = match (row, one.path.as_str()) {
                (Some(row), "") => format!("line {row}"),
                (Some(row), path) => format!("line {row}, {}", visible(path)),
                (None, _) => format!("line {}", one.line),
            };
            for (rule, class) in &one.rules {
                let places = self.places.entry(rule.clone()).or_default();
                if places.len() < PLACES && !places.contains(&place) {
                    places.push(place.clone());
                }
                if !self.wanted.explain {
                } else if self.wanted.json {
                    let line = json!({
                        "place": place, "rule": rule, "class": class, "excerpt": one.excerpt,
                    });
                    eprintln!("{line}");
                } else {
                    eprintln!("{place}: {rule} ({class}): {}", visible(&one.excerpt));
                }
            }
        }
    }

    fn finish(&self) {
        if !self.wanted.report {
            return;
        }
        if self.wanted.json {
            let report = json!({
                "rows": self.rows, "changed": self.changed,
                "rules": self.counts, "places": self.places,
            });
            eprintln!("{report}");
            return;
        }
        let places: u64 = self.counts.values().sum();
        eprintln!("{places} places in {} of {} texts", self.changed, self.rows);
        let width = self.counts.keys().map(String::len).max().unwrap_or(0);
        for (rule, count) in &self.counts {
            let places = self.places.get(rule).map(|p| p.join("; ")).unwrap_or_default();
            eprintln!("{rule:width$} {count:7}  {places}");
        }
    }
}
