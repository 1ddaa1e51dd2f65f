//! Rules in the format of gitleaks (`gitleaks.toml`, version 8; its `config/config.go` and
//! `config/allowlist.go`), so that a team brings the rules it has.
//!
//! What a trace does not have is left aside: there is no path and no commit, so a rule that is
//! bound to a path applies everywhere, one that is nothing but a path applies nowhere, and
//! allow-lists by path or commit exempt nothing. `extend.useDefault` needs no action: the built-in
//! rules are always on.

use std::path::Path;

use anyhow::{Context, Result, anyhow, bail, ensure};
use regex::bytes::{Regex, RegexBuilder, RegexSet, RegexSetBuilder};
use serde::Deserialize;

use super::rules::entropy;
use super::team::{Search, TeamRule};

/// How much memory a compiled pattern may take; the largest of the stock file needs a tenth.
const COMPILED: usize = 256 << 20;
/// How deep files may extend each other, as in gitleaks.
const EXTENDS: usize = 2;

/// A rule that reads text.
#[derive(Debug, Clone)]
pub struct GitleaksRule {
    regex: Regex,
    /// The group that holds the secret; none: the first group that matched, else everything.
    group: Option<usize>,
    min_entropy: f64,
    /// Lower-case words one of which a text must contain; empty: every text is read.
    pub(super) keywords: Vec<String>,
    allow: Vec<Allow>,
}

#[derive(Debug, Clone)]
struct Allow {
    all: bool,
    /// Whether it also wants a path or a commit, which no trace has.
    elsewhere: bool,
    target: Target,
    regexes: Option<RegexSet>,
    stopwords: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Target {
    Secret,
    Match,
    Line,
}

impl GitleaksRule {
    /// Calls `found` with the span of every secret.
    pub(super) fn find(&self, text: &str, found: &mut dyn FnMut(usize, usize)) {
        for groups in self.regex.captures_iter(text.as_bytes()) {
            let Some(whole) = groups.get(0) else { continue };
            let secret = match self.group {
                Some(group) => groups.get(group),
                None => groups
                    .iter()
                    .skip(1)
                    .flatten()
                    .find(|g| !g.is_empty())
                    .or_else(|| groups.get(0)),
            };
            let Some(secret) = secret else { continue };
            let (start, end) = trimmed(text, secret.start(), secret.end());
            let value = &text[start..end];
            if self.min_entropy > 0.0 && entropy(value.as_bytes()) <= self.min_entropy {
                continue;
            }
            let allowed = |allow: &Allow| allow.exempts(text, whole.start(), whole.end(), value);
            if start < end && !self.allow.iter().any(allowed) {
                found(start, end);
            }
        }
    }
}

/// A span on character boundaries and without line ends around it.
fn trimmed(text: &str, mut start: usize, mut end: usize) -> (usize, usize) {
    while !text.is_char_boundary(start) {
        start -= 1;
    }
    while !text.is_char_boundary(end) {
        end += 1;
    }
    let value = &text[start..end];
    start += value.len() - value.trim_start_matches('\n').len();
    (start, start + value.trim_matches('\n').len())
}

impl Allow {
    fn exempts(&self, text: &str, start: usize, end: usize, secret: &str) -> bool {
        let target = match self.target {
            Target::Secret => secret.as_bytes(),
            Target::Match => &text.as_bytes()[start..end],
            Target::Line => {
                let from = text.as_bytes()[..start].iter().rposition(|b| *b == b'\n');
                let to = text.as_bytes()[end..].iter().position(|b| *b == b'\n');
                let from = from.map_or(0, |n| n + 1);
                &text.as_bytes()[from..to.map_or(text.len(), |n| end + n)]
            }
        };
        let regex = self.regexes.as_ref().map(|set| set.is_match(target));
        let lower = || secret.to_lowercase();
        let stopword = (!self.stopwords.is_empty())
            .then(|| self.stopwords.iter().any(|word| lower().contains(word.as_str())));
        let mut checks = [regex, stopword].into_iter().flatten();
        match self.all {
            true => !self.elsewhere && checks.all(|passed| passed),
            false => checks.any(|passed| passed),
        }
    }
}

/// The rules of a file and what they say of themselves.
#[derive(Debug, Clone)]
pub struct RuleFile {
    /// The rules that read text, in the file's order.
    pub rules: Vec<TeamRule>,
    /// How many rules are left out because they look at nothing but a path.
    pub by_path: usize,
    /// SHA-256 of the file and of the files it extends.
    pub digests: Vec<String>,
}

/// Reads a rule file. An error names the file and the rule.
pub fn read(path: &Path) -> Result<RuleFile> {
    let mut digests = Vec::new();
    let place = || path.display().to_string();
    let file = File::read(path, 0, &mut digests).with_context(place)?;
    let mut rules = Vec::new();
    let mut by_path = 0;
    for rule in &file.rules {
        let compiled = file.compile(rule).with_context(|| format!("rule `{}`", rule.id));
        match compiled.with_context(place)? {
            Some(search) => {
                rules.push(TeamRule { name: rule.id.clone(), search: Search::Gitleaks(search) })
            }
            None => by_path += 1,
        }
    }
    Ok(RuleFile { rules, by_path, digests })
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct File {
    #[serde(rename = "title")]
    _title: String,
    #[serde(rename = "description")]
    _description: String,
    #[serde(rename = "minversion")]
    _min_version: String,
    extend: Extend,
    #[serde(skip)]
    rules: Vec<WrittenRule>,
    allowlist: Option<WrittenAllow>,
    allowlists: Vec<WrittenAllow>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Extend {
    path: String,
    url: String,
    /// Stands for the built-in rules, which are always on.
    #[serde(rename = "usedefault")]
    _use_default: bool,
    disabledrules: Vec<String>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct WrittenRule {
    id: String,
    #[serde(rename = "description")]
    _description: String,
    path: String,
    regex: String,
    secretgroup: usize,
    entropy: f64,
    keywords: Vec<String>,
    #[serde(rename = "tags")]
    _tags: Vec<String>,
    allowlist: Option<WrittenAllow>,
    allowlists: Vec<WrittenAllow>,
    #[serde(rename = "skipreport")]
    _skip_report: bool,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct WrittenAllow {
    #[serde(rename = "description")]
    _description: String,
    /// Of a global list: the rules it is for.
    targetrules: Vec<String>,
    condition: String,
    commits: Vec<String>,
    paths: Vec<String>,
    regextarget: String,
    regexes: Vec<String>,
    stopwords: Vec<String>,
}

impl File {
    fn read(path: &Path, depth: usize, digests: &mut Vec<String>) -> Result<File> {
        let text = std::fs::read_to_string(path).context("cannot be read")?;
        digests.push(crate::files::digest(text.as_bytes()));
        let table: toml::Table = text.parse().map_err(|e: toml::de::Error| anyhow!("{e}"))?;
        let toml::Value::Table(mut table) = lower_keys(toml::Value::Table(table)) else {
            unreachable!("a table stays a table")
        };
        let rules = table.remove("rules");
        let mut file = File::deserialize(table)?;
        file.rules = rules.map_or(Ok(Vec::new()), written_rules)?;
        ensure!(
            file.extend.url.is_empty(),
            "extend.url is not fetched: save that file beside this one and name it as extend.path"
        );
        if !file.extend.path.is_empty() {
            ensure!(depth < EXTENDS, "extend.path: files extend each other too deeply");
            // Relative to the file that names it, so that a configuration can be moved.
            let other = path.parent().unwrap_or(Path::new(".")).join(&file.extend.path);
            let base = File::read(&other, depth + 1, digests)
                .with_context(|| format!("extend.path {}", other.display()))?;
            file.join(base);
        }
        let disabled = std::mem::take(&mut file.extend.disabledrules);
        file.rules.retain(|rule| !disabled.contains(&rule.id));
        Ok(file)
    }

    /// Takes over what the extended file has and this one does not say itself.
    fn join(&mut self, base: File) {
        for rule in base.rules {
            if !self.rules.iter().any(|own| own.id == rule.id) {
                self.rules.push(rule);
            }
        }
        self.allowlists.extend(base.allowlists);
        self.allowlists.extend(base.allowlist);
    }

    /// A rule with its own allow-lists and those of the file; none where it reads no text.
    fn compile(&self, rule: &WrittenRule) -> Result<Option<GitleaksRule>> {
        if rule.regex.is_empty() {
            ensure!(!rule.path.is_empty(), "it has neither a regex nor a path");
            return Ok(None);
        }
        let regex = pattern(&rule.regex)?;
        ensure!(
            rule.secretgroup < regex.captures_len(),
            "secretGroup = {}, but the regex has {} groups",
            rule.secretgroup,
            regex.captures_len() - 1
        );
        let global = self.allowlists.iter().chain(&self.allowlist);
        let global =
            global.filter(|a| a.targetrules.is_empty() || a.targetrules.contains(&rule.id));
        let own = rule.allowlists.iter().chain(&rule.allowlist);
        Ok(Some(GitleaksRule {
            regex,
            group: (rule.secretgroup > 0).then_some(rule.secretgroup),
            min_entropy: rule.entropy,
            keywords: rule.keywords.iter().map(|word| word.to_lowercase()).collect(),
            allow: own.chain(global).map(allow).collect::<Result<_>>()?,
        }))
    }
}

fn allow(written: &WrittenAllow) -> Result<Allow> {
    let all = match written.condition.to_uppercase().as_str() {
        "" | "OR" | "||" => false,
        "AND" | "&&" => true,
        other => bail!("allow-list condition `{other}`: expected AND or OR"),
    };
    let target = match written.regextarget.as_str() {
        "" | "secret" => Target::Secret,
        "match" => Target::Match,
        "line" => Target::Line,
        other => bail!("allow-list regexTarget `{other}`: expected secret, match or line"),
    };
    let elsewhere = !written.commits.is_empty() || !written.paths.is_empty();
    let regexes = match written.regexes.is_empty() {
        true => None,
        false => Some(set(&written.regexes)?),
    };
    ensure!(
        elsewhere || regexes.is_some() || !written.stopwords.is_empty(),
        "an allow-list without commits, paths, regexes and stopwords"
    );
    let stopwords = written.stopwords.iter().map(|word| word.to_lowercase()).collect();
    Ok(Allow { all, elsewhere, target, regexes, stopwords })
}

fn written_rules(rules: toml::Value) -> Result<Vec<WrittenRule>> {
    let toml::Value::Array(rules) = rules else { bail!("rules must be written as [[rules]]") };
    let rule = |(index, rule): (usize, toml::Value)| {
        let id = rule.get("id").and_then(toml::Value::as_str).unwrap_or_default().to_string();
        ensure!(!id.is_empty(), "rule {} has no id", index + 1);
        WrittenRule::deserialize(rule).map_err(|e| anyhow!("rule `{id}`: {}", e.message()))
    };
    rules.into_iter().enumerate().map(rule).collect()
}

/// Keys are the same in any case, as gitleaks reads them.
fn lower_keys(value: toml::Value) -> toml::Value {
    match value {
        toml::Value::Table(table) => {
            let lower = |(key, value): (String, _)| (key.to_lowercase(), lower_keys(value));
            toml::Value::Table(table.into_iter().map(lower).collect())
        }
        toml::Value::Array(items) => {
            toml::Value::Array(items.into_iter().map(lower_keys).collect())
        }
        other => other,
    }
}

/// A pattern as Go's RE2 reads it: classes such as `\w` are ASCII.
fn pattern(written: &str) -> Result<Regex> {
    let translated = translate(written);
    let build =
        |unicode| RegexBuilder::new(&translated).unicode(unicode).size_limit(COMPILED).build();
    // Only Unicode's own classes (`\p{L}`) need the slower way.
    build(false).or_else(|_| build(true)).map_err(|e| anyhow!("its regex: {e}"))
}

fn set(written: &[String]) -> Result<RegexSet> {
    let translated: Vec<String> = written.iter().map(|regex| translate(regex)).collect();
    let build =
        |unicode| RegexSetBuilder::new(&translated).unicode(unicode).size_limit(COMPILED).build();
    build(false).or_else(|_| build(true)).map_err(|e| anyhow!("a regex of an allow-list: {e}"))
}

/// Go takes a brace that begins no repetition and a bracket inside a class as they are; here they
/// are escaped. The operators that only this crate knows are, too.
fn translate(written: &str) -> String {
    let bytes = written.as_bytes();
    let mut out = String::with_capacity(written.len() + 8);
    // Where the class being read began.
    let mut class: Option<usize> = None;
    let mut chars = written.char_indices();
    while let Some((at, c)) = chars.next() {
        match (c, class) {
            ('\\', _) => match chars.next() {
                Some((_, next @ ('<' | '>'))) => out.push(next),
                Some((_, next)) => out.extend(['\\', next]),
                None => out.push('\\'),
            },
            ('[', None) => {
                class = Some(at + 1 + usize::from(bytes.get(at + 1) == Some(&b'^')));
                out.push(c);
            }
            ('[', Some(_)) if bytes.get(at + 1) == Some(&b':') => {
                // `[:alpha:]` ends with a bracket of its own.
                let named = written[at..].find(":]").map_or(written.len(), |n| at + n + 2);
                out += &written[at..named];
                while chars.clone().next().is_some_and(|(next, _)| next < named) {
                    chars.next();
                }
            }
            (']', Some(begin)) if at > begin => {
                class = None;
                out.push(c);
            }
            ('[' | '&' | '~', Some(_)) => out.extend(['\\', c]),
            ('{', None) if !is_repetition(&bytes[at + 1..]) => out += "\\{",
            _ => out.push(c),
        }
    }
    out
}

/// `3}`, `3,}` or `3,5}`.
fn is_repetition(rest: &[u8]) -> bool {
    let digits = |bytes: &[u8]| bytes.iter().take_while(|b| b.is_ascii_digit()).count();
    let low = digits(rest);
    let rest = &rest[low..];
    let rest = match rest.strip_prefix(b",") {
        Some(rest) => &rest[digits(rest)..],
        None => rest,
    };
    low > 0 && rest.first() == Some(&b'}')
}
