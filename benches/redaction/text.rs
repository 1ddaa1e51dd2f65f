//! What stands in sessions: code, logs, listings, JSON, prose.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proto::chance::Chance;
use serde_json::{Value, json};

use super::corpus::Desk;

#[rustfmt::skip]
pub const FIRST: &[&str] = &["maren", "tobias", "ingrid", "pavel", "chiara", "yusuf", "hanna", "diego", "aiko", "ronan"];
#[rustfmt::skip]
pub const LAST: &[&str] = &["olsen", "keller", "novak", "ferrari", "demir", "lindqvist", "moreau", "tanaka", "byrne", "castillo"];
#[rustfmt::skip]
pub const NOUNS: &[&str] = &[
    "account", "address", "agent", "archive", "array", "author", "batch", "block", "branch", "buffer", "builder", "cache",
    "channel", "client", "column", "command", "commit", "config", "context", "counter", "cursor", "design", "device",
    "digest", "document", "driver", "element", "engine", "entry", "error", "event", "export", "field", "file", "filter",
    "folder", "format", "frame", "handler", "header", "index", "inside", "invoice", "item", "journal", "key", "keyboard",
    "label", "layer", "layout", "ledger", "length", "level", "line", "list", "loader", "lock", "logger", "manifest",
    "map", "matrix", "message", "method", "metric", "model", "module", "node", "number", "object", "offset", "option",
    "order", "output", "packet", "page", "parser", "pass", "path", "pattern", "payload", "pixel", "policy", "pool",
    "port", "process", "profile", "project", "prompt", "query", "queue", "range", "reader", "record", "region",
    "registry", "release", "report", "request", "resource", "response", "result", "route", "row", "rule", "runner",
    "sample", "schema", "scope", "segment", "server", "service", "session", "shard", "signal", "size", "slot", "source",
    "span", "stack", "state", "status", "step", "storage", "stream", "string", "table", "target", "task", "template",
    "thread", "ticket", "timer", "token", "trace", "tree", "type", "update", "user", "value", "vector", "version",
    "view", "widget", "window", "worker", "writer",
];
#[rustfmt::skip]
const VERBS: &[&str] = &[
    "add", "apply", "assign", "build", "check", "clear", "close", "collect", "compute", "copy", "count", "create",
    "decode", "delete", "encode", "ensure", "fetch", "find", "flush", "get", "handle", "insert", "keep", "load", "make",
    "merge", "move", "open", "parse", "pass", "prepare", "push", "read", "remove", "render", "reset", "resolve",
    "return", "run", "save", "select", "send", "set", "skip", "sort", "split", "start", "stop", "take", "test", "trim",
    "update", "use", "verify", "wait", "wrap", "write",
];
#[rustfmt::skip]
const SMALL: &[&str] = &[
    "the", "a", "of", "and", "to", "in", "that", "is", "it", "for", "on", "with", "as", "this", "we", "are", "be", "by",
    "not", "which", "from", "at", "when", "then", "but", "if", "so", "there", "only", "still", "now", "should", "before",
    "after", "because", "every", "first", "again", "already", "instead", "without",
];

pub fn pick<'a>(chance: &mut Chance, from: &[&'a str]) -> &'a str {
    from[chance.below(from.len())]
}

fn random(chance: &mut Chance, from: &str, length: usize) -> String {
    let from = from.as_bytes();
    (0..length).map(|_| char::from(from[chance.below(from.len())])).collect()
}

const HEX: &str = "0123456789abcdef";
const ALNUM: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

/// An identifier of two or three words.
pub fn name(chance: &mut Chance) -> String {
    match chance.below(4) {
        0 => pick(chance, NOUNS).into(),
        1 => format!("{}_{}_{}", pick(chance, VERBS), pick(chance, NOUNS), pick(chance, NOUNS)),
        _ => format!("{}_{}", pick(chance, VERBS), pick(chance, NOUNS)),
    }
}

fn camel(chance: &mut Chance) -> String {
    let noun = pick(chance, NOUNS);
    format!("{}{}{}", pick(chance, VERBS), noun[..1].to_uppercase(), &noun[1..])
}

/// Sentences, now and then a list, a path in backticks or a heading.
pub fn prose(chance: &mut Chance, bytes: usize) -> String {
    let mut out = String::new();
    while out.len() < bytes {
        match chance.below(14) {
            0 => out += "\n\n",
            1 => out += "\n- ",
            2 => {
                let _ = write!(out, "\n## {} {}\n\n", pick(chance, VERBS), pick(chance, NOUNS));
            }
            3 => {
                let _ = write!(out, "See `src/{}.rs:{}`. ", name(chance), chance.below(900));
            }
            _ => {}
        }
        for word in 0..6 + chance.below(14) {
            let next = match chance.below(5) {
                0 => pick(chance, NOUNS),
                1 => pick(chance, VERBS),
                _ => pick(chance, SMALL),
            };
            if word > 0 {
                out += if chance.below(12) == 0 { ", " } else { " " };
            }
            out += next;
        }
        out += ". ";
    }
    out
}

/// Source code of one language.
pub fn code(chance: &mut Chance, bytes: usize) -> String {
    let language = chance.below(4);
    let mut out = String::new();
    while out.len() < bytes {
        let (f, a, b, c) = (name(chance), name(chance), name(chance), camel(chance));
        let (n, m, noun) = (chance.below(200), chance.below(4096), pick(chance, NOUNS));
        let about = prose(chance, 40);
        let _ = match language {
            0 => writeln!(
                out,
                "    /// {about}\n    pub fn {f}(&mut self, {a}: &str, {b}: usize) -> Result<Vec<{noun}>> {{\n        let Some({a}) = self.{b}.get({n}) else {{\n            return Err(anyhow!(\"no {noun} at {{{b}}}\"));\n        }};\n        self.{f}.extend({a}.iter().map(|{noun}| {noun}.{b}({m})));\n        let token = self.tokens.next_token(&{a}[..{n}])?;\n        if {a}.is_empty() && {b} >= {m} {{\n            self.{noun}_count += 1;\n        }}\n        Ok({a}.into_iter().filter(|k| k.key != {b}).collect())\n    }}\n"
            ),
            1 => writeln!(
                out,
                "    def {f}(self, {a}: str, *, {b}: int = {n}, key=None) -> dict[str, Any]:\n        \"\"\"{about}\"\"\"\n        if not {a}:\n            raise ValueError(f\"{noun} {{{a}!r}} is not a {noun}\")\n        self._{noun} = {{\"{a}\": {n}, \"{b}\": None, \"type\": \"{noun}\"}}\n        for index, {noun} in enumerate(sorted(self.{b}.items(), key=lambda kv: kv[1])):\n            logger.debug(\"%s: %d of %d\", {noun}, index, {m})\n        return self.session.get(f\"/api/v1/{noun}s/{{{a}}}\", params={{\"limit\": {m}}})\n"
            ),
            2 => writeln!(
                out,
                "export async function {c}({a}: string, options: {{ {b}?: number; token?: string }} = {{}}) {{\n  // {about}\n  const {{ data, error }} = await client.from('{noun}s').select('id, {a}, {b}').eq('{noun}', {n});\n  if (error) throw new Error(`{noun} ${{{a}}} failed: ${{error.message}}`);\n  const key = `${{{a}}}:${{options.{b} ?? {m}}}`;\n  return data.map((row) => ({{ ...row, {b}: row.{a} * {n}, key }}));\n}}\n"
            ),
            _ => writeln!(
                out,
                "// {c} {about}\nfunc (s *Service) {c}(ctx context.Context, {noun} string) (*{noun}, error) {{\n\trows, err := s.db.QueryContext(ctx, `SELECT {a}, {b} FROM {noun}s WHERE id = $1 LIMIT {n}`, {noun})\n\tif err != nil {{\n\t\treturn nil, fmt.Errorf(\"{f}: %w\", err)\n\t}}\n\tdefer rows.Close()\n\tfor key, value := range s.{a} {{\n\t\tif len(value) > {m} && key != \"{b}\" {{\n\t\t\tcontinue\n\t\t}}\n\t}}\n\treturn &{noun}{{ID: {n}}}, nil\n}}\n"
            ),
        };
    }
    out
}

/// A text with the numbers of its lines, as tools that read files show it.
pub fn numbered(text: &str) -> String {
    let lines = text.lines().enumerate();
    lines.map(|(number, line)| format!("{:6}\t{line}\n", number + 1)).collect()
}

pub fn diff(chance: &mut Chance, bytes: usize) -> String {
    let mut out = String::new();
    while out.len() < bytes {
        let file = name(chance);
        let _ = writeln!(
            out,
            "diff --git a/src/{file}.rs b/src/{file}.rs\nindex {}..{} 100644\n--- a/src/{file}.rs\n+++ b/src/{file}.rs\n@@ -{},7 +{},9 @@ impl {}",
            random(chance, HEX, 9),
            random(chance, HEX, 9),
            chance.below(500),
            chance.below(500),
            camel(chance)
        );
        for line in code(chance, 900).lines() {
            out += ["+", "-", " ", " ", " "][chance.below(5)];
            out += line;
            out.push('\n');
        }
    }
    out
}

pub fn build_log(chance: &mut Chance, desk: &Desk, bytes: usize) -> String {
    let mut out = String::new();
    while out.len() < bytes {
        let (noun, n) = (pick(chance, NOUNS), chance.below(90));
        let _ = match chance.below(6) {
            0 => writeln!(
                out,
                "warning: unused variable: `{noun}`\n   --> /home/{}/work/{}/src/{}.rs:{n}:{}\n    |\n{n} |     let {noun} = self.{}();\n    |         ^^^^^ help: if this is intentional, prefix it with an underscore: `_{noun}`\n    |",
                desk.user,
                desk.project,
                name(chance),
                1 + n / 3,
                name(chance)
            ),
            1 => writeln!(
                out,
                "  Downloaded {noun}-utils v{}.{n}.{} (registry `crates-io`)",
                n % 4,
                n % 13
            ),
            _ => writeln!(out, "   Compiling {noun}-{} v0.{n}.{}", pick(chance, NOUNS), n % 7),
        };
    }
    out
}

pub fn test_log(chance: &mut Chance, desk: &Desk, bytes: usize) -> String {
    let mut out = String::new();
    while out.len() < bytes {
        let ms = chance.below(3000);
        let _ = match chance.below(8) {
            0 => writeln!(
                out,
                "PASS src/{}/{}.test.ts ({}.{:03} s)",
                name(chance),
                camel(chance),
                ms / 1000,
                ms % 1000
            ),
            1 => writeln!(
                out,
                "  ● {} › {}\n\n    expect(received).toBe(expected)\n\n    Expected: {ms}\n    Received: {}\n\n      at Object.<anonymous> (/home/{}/work/{}/src/{}.test.ts:{}:{})",
                camel(chance),
                prose(chance, 30),
                ms + 1,
                desk.user,
                desk.project,
                camel(chance),
                ms % 400,
                ms % 80
            ),
            _ => writeln!(out, "    ✓ {} ({} ms)", prose(chance, 30).trim(), ms % 90),
        };
    }
    out
}

pub fn listing(chance: &mut Chance, desk: &Desk, bytes: usize) -> String {
    let mut out = format!("total {}\n", chance.below(900));
    while out.len() < bytes {
        let _ = writeln!(
            out,
            "-rw-r--r--  1 {} {} {:8} Mar {:2} {:02}:{:02} {}.{}",
            desk.user,
            desk.user,
            chance.below(200_000),
            1 + chance.below(28),
            chance.below(24),
            chance.below(60),
            name(chance),
            pick(chance, &["rs", "toml", "json", "md"])
        );
    }
    out
}

pub fn matches(chance: &mut Chance, desk: &Desk, bytes: usize) -> String {
    let mut out = String::new();
    while out.len() < bytes {
        let _ = writeln!(
            out,
            "/home/{}/work/{}/src/{}.rs:{}:    // TODO: {}",
            desk.user,
            desk.project,
            name(chance),
            chance.below(900),
            prose(chance, 50).trim()
        );
    }
    out
}

/// What an API returns.
pub fn records(chance: &mut Chance, bytes: usize) -> Value {
    let mut items = Vec::new();
    for number in 0..1 + bytes / 400 {
        let id = format!(
            "{}-{}-4{}-9{}-{}",
            random(chance, HEX, 8),
            random(chance, HEX, 4),
            random(chance, HEX, 3),
            random(chance, HEX, 3),
            random(chance, HEX, 12)
        );
        items.push(json!({"id": id, "number": number, "title": prose(chance, 50), "state": pick(chance, &["open", "closed"]), "sha": random(chance, HEX, 40), "created_at": format!("2026-0{}-{:02}T{:02}:{:02}:11Z", 1 + chance.below(9), 1 + chance.below(28), chance.below(24), chance.below(60)), "url": format!("https://api.github.com/repos/northquay/{}/issues/{number}", pick(chance, NOUNS)), "labels": [pick(chance, NOUNS), pick(chance, NOUNS)], "score": chance.unit(), "token_count": chance.below(9000), "next_page_token": null}));
    }
    json!({"total_count": items.len(), "items": items})
}

pub fn lockfile(chance: &mut Chance, bytes: usize) -> String {
    let mut out = String::from("{\n  \"lockfileVersion\": 3,\n  \"packages\": {\n");
    while out.len() < bytes {
        let (package, sum) = (
            format!("{}-{}", pick(chance, NOUNS), pick(chance, NOUNS)),
            STANDARD.encode(random(chance, "\u{1}\u{7}ABCxyz019~", 64)),
        );
        let version = format!("{}.{}.{}", chance.below(9), chance.below(30), chance.below(20));
        let _ = writeln!(
            out,
            "    \"node_modules/@types/{package}\": {{\n      \"version\": \"{version}\",\n      \"resolved\": \"https://registry.npmjs.org/{package}/-/{package}-{version}.tgz\",\n      \"integrity\": \"sha512-{sum}\",\n      \"dev\": true,\n      \"engines\": {{\n        \"node\": \">=18.0.0\"\n      }}\n    }},"
        );
    }
    out
}

pub fn history(chance: &mut Chance, desk: &Desk, bytes: usize) -> String {
    let mut out = String::new();
    while out.len() < bytes {
        let author = match chance.below(4) {
            0 => format!("{} <{}@northquay.io>", pick(chance, FIRST), pick(chance, LAST)),
            _ => format!("{} <{}>", desk.user, desk.email),
        };
        let _ = writeln!(
            out,
            "commit {}\nAuthor: {author}\nDate:   Tue Mar {} {:02}:11:{:02} 2026 +0100\n\n    {}\n",
            random(chance, HEX, 40),
            1 + chance.below(28),
            chance.below(24),
            chance.below(60),
            prose(chance, 60).trim()
        );
    }
    out
}

/// A stack trace.
pub fn trouble(chance: &mut Chance, desk: &Desk) -> String {
    let mut out = String::from("Traceback (most recent call last):\n");
    for _ in 0..4 + chance.below(20) {
        let _ = writeln!(
            out,
            "  File \"/home/{}/.venv/lib/python3.12/site-packages/{}/{}.py\", line {}, in {}\n    return self.{}({}, key={})",
            desk.user,
            pick(chance, NOUNS),
            name(chance),
            chance.below(2000),
            name(chance),
            name(chance),
            name(chance),
            pick(chance, NOUNS)
        );
    }
    let _ = writeln!(out, "KeyError: '{}'", name(chance));
    out
}

pub fn minified(chance: &mut Chance, bytes: usize) -> String {
    let mut out = String::from("!function(e,t){\"use strict\";");
    while out.len() < bytes {
        let _ = write!(
            out,
            "function {}(e,n){{return e.{}?n.{}(e,{}):void 0!==t&&\"{}\"===t.key?{{{}:!0}}:null}}",
            random(chance, "abcdefghij", 2),
            camel(chance),
            camel(chance),
            chance.below(999),
            name(chance),
            camel(chance)
        );
    }
    out
}

pub fn data_uri(chance: &mut Chance, bytes: usize) -> String {
    let pixels: Vec<u8> = (0..bytes / 2).map(|_| chance.bits() as u8).collect();
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\"><image href=\"data:image/png;base64,{}\"/></svg>\n",
        STANDARD.encode(pixels)
    )
}

pub fn coloured(chance: &mut Chance, bytes: usize) -> String {
    let mut out = String::new();
    while out.len() < bytes {
        let _ = writeln!(out, "test {}::{} ... \u{1b}[32mok\u{1b}[0m", name(chance), name(chance));
    }
    out
}

pub fn server_log(chance: &mut Chance, desk: &Desk, bytes: usize) -> String {
    let mut out = String::new();
    while out.len() < bytes {
        let _ = writeln!(
            out,
            "web-1  | 2026-03-{:02}T{:02}:{:02}:09.{:03}Z INFO  [{}] {} 10.0.{}.{} \"GET /api/v1/{}s/{}?limit=20&q=a%20b HTTP/1.1\" 200 {} session={}",
            1 + chance.below(28),
            chance.below(24),
            chance.below(60),
            chance.below(1000),
            desk.host,
            camel(chance),
            chance.below(256),
            chance.below(256),
            pick(chance, NOUNS),
            chance.below(90_000),
            chance.below(90_000),
            chance.below(900)
        );
    }
    out
}

pub fn env_file(chance: &mut Chance, desk: &Desk) -> String {
    format!(
        "NODE_ENV=production\nPORT=8080\nLOG_LEVEL=info\nDATABASE_URL=postgres://app:{}@db.northquay.io:5432/{}\nREDIS_URL=redis://localhost:6379/0\nSESSION_SECRET={}\nOPENAI_API_KEY=sk-proj-{}\nSMTP_USER={}\nSMTP_PASSWORD={}\nPUBLIC_URL=https://{}.northquay.io\n",
        random(chance, ALNUM, 18),
        desk.project,
        random(chance, HEX, 48),
        random(chance, ALNUM, 48),
        desk.email,
        random(chance, ALNUM, 14),
        desk.project
    )
}

pub fn secret_command(chance: &mut Chance, desk: &Desk) -> String {
    match chance.below(4) {
        0 => format!(
            "curl -s -H 'Authorization: Bearer {}' https://api.northquay.io/v2/me",
            random(chance, ALNUM, 40)
        ),
        1 => format!(
            "git push https://{}:ghp_{}@github.com/northquay/{}.git",
            desk.user,
            random(chance, ALNUM, 36),
            desk.project
        ),
        2 => format!(
            "export AWS_ACCESS_KEY_ID=AKIA{} AWS_SECRET_ACCESS_KEY={}",
            random(chance, "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", 16),
            random(chance, ALNUM, 40)
        ),
        _ => format!(
            "kubectl create secret generic app --from-literal=token=$(echo {} | base64 -d)",
            STANDARD.encode(format!("user:{}", random(chance, ALNUM, 24)))
        ),
    }
}
