//! Redaction: what must go, what must stay, in which places and encodings, and the proof.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use proto::chance::Chance;
use proto::redact::{Class, Policy, Proof, Redactor, TeamRule, canaries, placeholders, second};
use proto::trace::{Message, Origin, Role, ToolCall, Trace};
use serde_json::{Value, json};

fn redactor() -> Redactor {
    Redactor::new(Policy::default()).unwrap()
}

fn redact(text: &str) -> String {
    redactor().text(text).unwrap()
}

fn trace(messages: Vec<Message>) -> Trace {
    Trace {
        session: "s".into(),
        source: "raw".into(),
        task_category: None,
        outcome: None,
        repository: None,
        started_ms: None,
        keywords: Vec::new(),
        tools: Vec::new(),
        messages,
        origin: Origin::default(),
    }
}

fn random(chance: &mut Chance, length: usize) -> String {
    const ALL: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    (0..length).map(|_| char::from(ALL[chance.below(ALL.len())])).collect()
}

/// Lines with `{}` for a random value that must go while the rest of the line stays.
const LINES: &[&str] = &[
    // env files and shells
    "DATABASE_PASSWORD={}",
    "export STRIPE_KEY={}",
    "export SECRET_KEY_BASE='{}'",
    "set API_KEY={}",
    "$env:AZURE_CLIENT_SECRET = \"{}\"",
    "ENV ADMIN_TOKEN {}",
    "docker run -e REDIS_PASSWORD={} redis:7",
    "PGPASSWORD={} psql -h db -U app shop",
    "+GITHUB_PAT={}",
    // YAML, JSON, INI, TOML, XML
    "password: {}",
    "  db_password: \"{}\"  # local",
    "{\"apiKey\": \"{}\", \"region\": \"eu\"}",
    "{\"user\":\"app\",\"password\":\"{}\"}",
    "aws_secret_access_key = {}",
    "client_secret={}",
    "<password>{}</password>",
    "<add key=\"ApiKey\" value=\"{}\" />",
    "- name: DB_PASSWORD\n  value: {}",
    "{\"name\": \"SESSION_SECRET\", \"value\": \"{}\"}",
    "spring.datasource.password={}",
    "//npm.northquay.dev/:_authToken={}",
    "Server=db;Database=shop;User Id=app;Password={};",
    "DefaultEndpointsProtocol=https;AccountName=a;AccountKey={};EndpointSuffix=core.windows.net",
    "jdbc:postgresql://db/shop?user=app&password={}&ssl=true",
    "client-key-data: {}",
    // Code
    "password = \"{}\"",
    "const apiKey = '{}';",
    "let token: &str = \"{}\";",
    "SECRET_KEY: str = \"{}\"",
    "os.environ[\"API_KEY\"] = \"{}\"",
    "os.getenv(\"AUTH_TOKEN\", \"{}\")",
    "config.set('password', '{}')",
    "define('DB_PASSWORD', '{}');",
    "if (password === \"{}\") {",
    "auth: { accessToken: `{}` }",
    // Flags and commands
    "deploy --token {} --region eu",
    "deploy --api-key={} up",
    "mysql -u root -p{} shop",
    "sshpass -p '{}' ssh app@10.0.0.3",
    "curl -u app:{} http://10.0.0.3/",
    "redis-cli -a {} ping",
    "echo {} | sudo -S apt update",
    "docker login -u app -p {} reg.acme.dev",
    "openssl rsa -passin pass:{} -in k.pem",
    // Headers
    "Authorization: Bearer {}",
    "authorization: token {}",
    "curl -H 'Authorization: Bearer {}' localhost",
    "headers = {\"Authorization\": \"Bearer {}\"}",
    "X-Api-Key: {}",
    "Cookie: theme=dark; sessionid={}; lang=en",
    "Set-Cookie: connect.sid={}; Path=/; HttpOnly",
    // URLs and files
    "postgres://app:{}@10.0.0.5:5432/shop",
    "mongodb+srv://app:{}@cluster0.acme.mongodb.net/x",
    "redis://:{}@cache:6379/0",
    "https://ci:{}@git.acme.dev/a/b.git",
    "machine git.acme.dev login ci password {}",
    "db.acme.dev:5432:shop:app:{}",
    "https://api.acme.dev/v1?api_key={}&page=2",
    "my password is {}, do not tell",
    "the API key: {}",
    // Without a sign between name and value
    "aws configure set aws_secret_access_key {}",
    "npm config set //npm.northquay.dev/:_authToken {}",
    "set -x SLACK_TOKEN {}",
    "requirepass {}",
    "bindpw {}",
    "CREATE USER app IDENTIFIED BY '{}';",
    "ALTER USER app WITH PASSWORD '{}';",
    "| API_KEY | {} |",
    "<entry key=\"password\">{}</entry>",
    "gh secret set API_TOKEN --body \"{}\"",
    "requests.get(url, auth=(\"app\", \"{}\"))",
    "curl -b \"session={}\" http://10.0.0.3/",
    "  -u app:{}",
    "{\"username\":\"app\",\"pass\":\"{}\"}",
    "level=info token={} user=app",
    "{Password:{} User:app}",
    " 12: SECRET_KEY={}",
    "heroku config:set SECRET_KEY={}",
    "Endpoint=sb://x/;SharedAccessKeyName=R;SharedAccessKey={}",
];

#[test]
fn values_go_and_the_line_around_them_stays() {
    let mut chance = Chance::new(1, "lines");
    let mut wrong = Vec::new();
    for line in LINES {
        for _ in 0..5 {
            let value = random(&mut chance, 20);
            let text = line.replace("{}", &value);
            let out = redact(&text);
            let placeholder = placeholders(&out).first().map(|r| out[r.clone()].to_string());
            let expected = line.replace("{}", placeholder.as_deref().unwrap_or("?"));
            if out != expected {
                wrong.push(format!("{text}\n   -> {out}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn short_and_simple_passwords_go_where_they_are_certain() {
    for (text, value) in [
        ("DB_PASSWORD=hunter2", "hunter2"),
        ("password: hunter2", "hunter2"),
        ("password: correcthorse\n", "correcthorse"),
        ("\"password\": \"S3cr3t!\"", "S3cr3t!"),
        ("mysql -phunter2 shop", "hunter2"),
        ("postgres://app:s3cr3t@10.0.0.5/shop", "s3cr3t"),
        ("PASSWORD='p@ss w0rd; x'", "p@ss w0rd; x"),
        ("password=\"a\\\"b-12345\"", "b-12345"),
        ("postgres://app:p/w#7@db.acme.dev:5432/shop", "p/w#7"),
        ("the password is hunter2!", "hunter2"),
        ("{\"password\": \"Tr0ub4dor&3\"}", "Tr0ub4dor"),
    ] {
        let out = redact(text);
        assert!(!out.contains(value), "{text} -> {out}");
        assert!(out.contains("<SECRET_"), "{text} -> {out}");
    }
}

/// Personal data: the text, and what must not be left of it.
const PERSONAL: &[(&str, &str, &str)] = &[
    ("mail jane.roe+x@acme.co.uk now", "jane.roe", "<EMAIL_1>"),
    ("<j_doe@mail.acme.io>,", "j_doe", "<EMAIL_1>"),
    ("Author: J <jörg@müller.de>", "jörg", "<EMAIL_1>"),
    ("mailto:jane@acme.org?subject=x", "jane", "<EMAIL_1>"),
    ("call +49 171 2345678 today", "2345678", "<PHONE_1>"),
    ("tel: +4917123456789", "17123456789", "<PHONE_1>"),
    ("(415) 867-5309", "867", "<PHONE_1>"),
    ("415-867-5309.", "867", "<PHONE_1>"),
    ("1-800-867-5309", "867", "<PHONE_1>"),
    ("+1 (415) 867-5309", "867", "<PHONE_1>"),
    ("phone: 0171 2345678", "2345678", "<PHONE_1>"),
    ("ring 020 7946 0958 please", "7946", "<PHONE_1>"),
    ("+33 1 42 68 53 00", "42 68", "<PHONE_1>"),
    ("\"phone\": \"4158675309\"", "4158675309", "<PHONE_1>"),
    ("from 85.214.132.117 port 22", "85.214", "<IP_1>"),
    ("http://85.214.132.117:8080/x", "85.214", "<IP_1>"),
    ("ssh root@85.214.132.117", "85.214", "<IP_1>"),
    ("addr 2a02:8108:1234:5678::9abc/64", "8108", "<IP_1>"),
    ("paid 4111 1111 1111 1111 ok", "1111", "<CARD_1>"),
    ("paid 4242-4242-4242-4242.", "4242", "<CARD_1>"),
    ("card=5555555555554444", "5555", "<CARD_1>"),
    ("amex 3782 822463 10005", "822463", "<CARD_1>"),
    ("to DE89 3704 0044 0532 0130 00.", "0532", "<IBAN_1>"),
    ("GB29NWBK60161331926819", "NWBK", "<IBAN_1>"),
    ("open /home/jroe/src/a.rs", "jroe", "<USER_1>"),
    ("/Users/jroe/Library", "jroe", "<USER_1>"),
    ("C:\\Users\\Jane Roe\\notes.txt", "Jane Roe", "<USER_1>"),
    ("C:\\\\Users\\\\jroe\\\\notes.txt", "jroe", "<USER_1>"),
    ("/mnt/c/Users/jroe/x", "jroe", "<USER_1>"),
    ("~/.claude/projects/-home-jroe-src-app", "jroe", "<USER_1>"),
    ("jroe@thinkpad:~/src$ ls", "jroe", "<USER_1>"),
    ("ssh build-07.fra.corp", "fra", "<HOST_1>"),
    ("http://wiki.acme.internal/x", "wiki", "<HOST_1>"),
    ("ping janes-macbook.local", "janes", "<HOST_1>"),
];

#[test]
fn personal_data_goes() {
    for (text, value, placeholder) in PERSONAL {
        let out = redact(text);
        assert!(!out.contains(value), "{text} -> {out}");
        assert!(out.contains(placeholder), "{text} -> {out}");
    }
}

/// What a model needs and nobody minds.
const KEPT: &[&str] = &[
    // Digests and ids
    "commit 9fceb02d0ae598e95dc970b74767f19372d61af8",
    "index 83db48f..bf269f4 100644",
    "id: 6ba7b810-9dad-11d1-80b4-00c04fd430c8",
    "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "\"integrity\": \"sha512-v2kDEe57lecTulaDIuNTPy3Ry4gLGJ6Z1O3vE1krgXZNrsQ+LFTGHVxVjcXPs17LhbZVGedAJv8XZ1tvj5FvSg==\"",
    "checksum = \"b5c0d8a3f2e1d4c5b6a7988776655443322110ffeeddccbbaa99887766554433\"",
    "cache_key: e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "etag: \"33a64df551425fcc55e4d42a148795d9f25f89d4\"",
    "github.com/a/b v1.2.3 h1:Xq5cPJ7CmYQ0ACXr4Jb3u4mpqzJxW3mH0nN5pDo2Bbc=",
    "\"_resolved\": \"https://npm.northquay.dev/a/-/a-1.0.0.tgz#7a0fb1b3a8b4f4c1d1ba23a5a4a0d1d63b6eb4c3\"",
    "trace_id=4bf92f3577b34da6a3ce929d0e0e4736 span_id=00f067aa0ba902b7",
    // Versions, numbers, times
    "version 1.2.3.4",
    "Chrome/120.0.0.1 Safari/537.36",
    "numpy==1.26.4.1",
    "v10.2.3.4",
    "2026-11-22 10:15:00",
    "22.11.2026 10:15",
    "1795342500000",
    "took 1234567.89 ms",
    "max_tokens=4096",
    "token_count: 1234567890",
    "port 5432",
    "0123456789",
    "[12345678901234567890]",
    "3.141592653589793",
    "+1700000000",
    "1,234,567,890",
    "10000000-20000000",
    // Addresses of nobody
    "http://localhost:8080",
    "127.0.0.1",
    "10.1.2.3",
    "192.168.1.1",
    "172.20.0.1",
    "0.0.0.0",
    "203.0.113.7",
    "198.51.100.9",
    "192.0.2.1",
    "8.8.8.8",
    "169.254.169.254",
    "255.255.255.0",
    "::1",
    "fe80::1",
    "2001:db8::1",
    "std::vec::Vec",
    "10:15:00",
    "aa:bb:cc:dd:ee:ff",
    "user@example.com",
    "a@example.org",
    "b@test.example",
    "you@example.net",
    "git@github.com:acme/app.git",
    "noreply@github.com",
    "@types/node",
    "@app.route('/x')",
    "icon@2x.png",
    "lodash@4.17.21",
    "user@1000.service",
    "actions/checkout@v4",
    "host.docker.internal:8080",
    "metadata.google.internal",
    "a.default.svc.cluster.local",
    ".env.local",
    "settings.local.json",
    "import.internal",
    "this.internal = x",
    "/home/user/app",
    "/home/ubuntu/x",
    "/Users/runner/work",
    "C:\\Users\\Public\\x",
    "/home/$USER/x",
    "/root/x",
    "/api/users/list",
    "GET /users/alice",
    "https://acme.dev/home/page",
    // Placeholders and references
    "API_KEY=YOUR_API_KEY",
    "password: <password>",
    "token: ${TOKEN}",
    "token = $GITHUB_TOKEN",
    "export TOKEN=\"$1\"",
    "password=changeme",
    "api_key: \"your-api-key-here\"",
    "secret: xxxxxxxx",
    "PASSWORD=********",
    "token: ${{ secrets.GITHUB_TOKEN }}",
    "api_key=os.environ[\"API_KEY\"]",
    "const key = process.env.API_KEY;",
    "password = getpass.getpass()",
    "token = get_token(user)",
    "SECRET_KEY = config('SECRET_KEY')",
    "password: {{ vault_password }}",
    "API_KEY=\"\"",
    "token: null",
    "password: undefined",
    "apiKey: string;",
    "password: str = None",
    "secret: op://vault/item/field",
    "password=%DB_PASSWORD%",
    "sk-xxxxxxxxxxxxxxxxxxxxxxxx",
    "postgres://user:password@localhost/db",
    "postgres://${USER}:${PASS}@db/x",
    "redis://localhost:6379/0",
    "https://user@github.com/a/b",
    "Authorization: Bearer <token>",
    "Authorization: Bearer $TOKEN",
    "Authorization: Bearer ${token}",
    "Authorization: Basic YOUR_CREDENTIALS",
    "sk-ssh-ed25519@openssh.com",
    "// 23.3.4.6 modifiers",
    "OID 2.16.840.1.101.3.4.2.6",
    "a = +4294967296",
    // Code that speaks of secrets
    "using llvm::Pass::doInitialization;",
    "pub pw_uid: __uid_t,",
    "pub const STATUS_PWD_TOO_SHORT: NTSTATUS = 0xC000005A;",
    "pub log_passwd: *mut c_char,",
    "  password=self.password,\n  timeout=3)",
    "  proxy_pass=parts.password or None)",
    "    backward_pass_impl: str = 'triton',",
    "MovedAttribute(\"HTTPPasswordMgr\", \"urllib2\", \"urllib.request\")",
    "self.assertIn('Password:', stderr.getvalue())",
    "[\"cachemgr_passwd\", \"cache_peer\"]",
    "private_key: ed25519.Ed25519PrivateKey, f: File",
    "Token::new(12, \"a special token:\".into(), (0, 5))",
    "keyDetails === specs_1.PublicKeyDetails.PKIX_RSA_PKCS1V15_2048_SHA256",
    "\"KeySpec\": \"SYMMETRIC_DEFAULT\"",
    "// credentials to ~/.docker/config.json. It is",
    "D2D1_YCBCR_CHROMA_SUBSAMPLING_FORCE_DWORD = 4,",
    // Names that are not what they seem
    "primary_key = \"user_id\"",
    "sort_key: created_at",
    "key: value",
    "\"key\": \"name\"",
    "tokenizer: gpt2-medium-v2",
    "token_type: bearer",
    "grant_type=refresh_token",
    "eos_token: \"</s>\"",
    "password_field = \"password\"",
    "secretName: my-tls-secret",
    "passwordResetUrl: /reset",
    "keyboard_layout: us-intl",
    "author: Jane",
    "monkey=banana1",
    "bypass: true",
    "compass=north123",
    "public_key: abcdef",
    "ssh-ed25519 key",
    "Password must be at least 12 characters",
    "password: required",
    "Enter password:",
    "passwords do not match",
    "token expired at 12:00",
    "self.token = token",
    "this.password = password;",
    "def login(user, password):",
    "fn set_token(&mut self, token: &str)",
    "password?: string",
    "if not password:",
    "token = tokens[i]",
    "key = keys.pop()",
    "let secret = load_secret(path)?;",
    "tests passed: 128, password_test ok",
    "PWD=/workspace/app",
    "session: 12 messages",
    "auth: enabled",
    "signature: fn(a: u32) -> u64",
    "seed: 42",
    "salt: sea",
    "assert token == expected_token",
    "cookie: none",
    "Cookie: theme=dark; lang=en",
    // Data
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk",
    "!function(e,t){\"object\"==typeof exports?module.exports=t():e.x=t()}(this,function(){});",
    "-----BEGIN CERTIFICATE-----\nMIIDdzCCAl+gAwIBAgIEAgAAuTANBgkqhkiG9w0BAQUFADBaMQswCQYDVQQGEwJJ\n-----END CERTIFICATE-----",
    "if line.startswith(\"-----BEGIN RSA PRIVATE KEY-----\"):\n    return parse(line)\n",
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHeFZ1l5B3mC3zj4kJvN8m9M1o2p3q4r5s6t7u8v9w0x ci",
    "The quick brown fox jumps over the lazy dog",
    "https://en.wikipedia.org/wiki/Token_(railway_signalling)",
    "npm install --save-dev @acme/auth-token-provider",
    "docker run -p 8080:80 nginx",
    "ssh -p 2222 host",
    "mysql -p shop",
    "tar -pxzf a.tgz",
    "kubectl get secret my-secret -o yaml",
    "git log --author=jane -p",
    "curl -u user: http://x",
];

#[test]
fn look_alikes_stay() {
    let changed: Vec<_> = KEPT
        .iter()
        .filter_map(|text| Some((text, redact(text))).filter(|(text, out)| **text != out))
        .map(|(text, out)| format!("{text}\n   -> {out}"))
        .collect();
    assert!(changed.is_empty(), "{} changed:\n{}", changed.len(), changed.join("\n"));
}

/// A text with one secret of every kind, and the secrets.
fn corpus(chance: &mut Chance) -> Vec<(String, String)> {
    LINES
        .iter()
        .map(|line| {
            let value = random(chance, 24);
            (line.replace("{}", &value), value)
        })
        .chain(PERSONAL.iter().map(|(text, value, _)| (text.to_string(), value.to_string())))
        .collect()
}

#[test]
fn encodings_are_looked_through_and_redacted_in_place() {
    let token = format!("ghp_{}", random(&mut Chance::new(5, "encodings"), 36));
    let json = json!({"out": format!("line\n{token}\n")}).to_string();
    let twice = json!({"log": json}).to_string();
    let percent: String = token.bytes().map(|b| format!("%{b:02X}")).collect();
    let unicode: String = token.chars().map(|c| format!("\\u{:04x}", c as u32)).collect();
    let entities: String = token.chars().map(|c| format!("&#{};", c as u32)).collect();
    let base64 = STANDARD.encode(format!("login with {token} then go on"));
    let url_safe = URL_SAFE_NO_PAD.encode(format!("login with {token}?"));
    let nested = STANDARD.encode(format!("{{\"a\": \"{}\"}}", STANDARD.encode(&json)));
    for text in [&json, &twice, &percent, &unicode, &entities, &base64, &url_safe, &nested] {
        let out = redact(&format!("before {text} after"));
        assert!(out.contains("<SECRET_GITHUB_1>"), "{text} -> {out}");
        assert!(out.starts_with("before ") && out.ends_with(" after"), "{out}");
    }
    assert_eq!(redact(&json), json!({"out": "line\n<SECRET_GITHUB_1>\n"}).to_string());
    assert!(serde_json::from_str::<Value>(&redact(&twice)).is_ok());
    assert!(redact(&base64).starts_with(&STANDARD.encode("login with ")[..12]));
}

#[test]
fn json_stays_json_with_the_same_redactions() {
    let mut chance = Chance::new(43, "json");
    let redactor = redactor();
    for (text, _) in corpus(&mut chance) {
        for lines in
            [text.clone(), format!("\n{text}\n"), format!("<{text}>"), format!("a\\ {text}")]
        {
            let mut wrapped = json!({"a": lines}).to_string();
            if lines.starts_with('<') {
                wrapped = wrapped.replace('<', "\\u003c");
            }
            let out = redactor.text(&wrapped).unwrap();
            let value: Value =
                serde_json::from_str(&out).unwrap_or_else(|e| panic!("{wrapped} -> {out}: {e}"));
            assert!(!placeholders(value["a"].as_str().unwrap()).is_empty(), "{wrapped} -> {out}");
        }
    }
    assert_eq!(
        redactor.text(r#"{"m":"\u003ca.b@acme.com\u003e\nc@acme.com"}"#).unwrap(),
        r#"{"m":"\u003c<EMAIL_1>\u003e\n<EMAIL_2>"}"#
    );
}

#[test]
fn what_is_found_once_is_gone_everywhere() {
    let mut chance = Chance::new(7, "chase");
    // Nothing about the value itself says that it is a secret.
    let value = random(&mut chance, 18);
    let hex: String = value.bytes().map(|b| format!("{b:02x}")).collect();
    let texts = [
        format!("DB_PASSWORD={value}"),
        format!("then it printed {value}."),
        format!("glued{value}glued"),
        json!({"x": format!("a\n{value}")}).to_string(),
        format!("bytes {hex}"),
        STANDARD.encode(format!("\u{1}\u{2}x{value}\u{3}\u{4}\u{5}\u{6}")),
        STANDARD.encode(format!("\u{1}\u{2}{value}\u{3}\u{4}")),
        STANDARD.encode(format!("\u{1}{value}\u{3}\u{4}\u{5}")),
    ];
    let messages = texts.iter().map(|t| Message::text(Role::Tool, t.as_str())).collect();
    let other = trace(vec![Message::text(Role::User, format!("remember {value}"))]);
    let first = trace(messages);
    let out = redactor().session(&[&other, &first]).unwrap();
    for (before, after) in first.messages.iter().zip(&out[1].trace.messages) {
        assert!(after.content.contains("<SECRET_PASSWORD_1>"), "{before:?} -> {}", after.content);
        assert!(!after.content.contains(&value[4..12]), "{}", after.content);
    }
    assert_eq!(out[0].trace.messages[0].content, "remember <SECRET_PASSWORD_1>");
    assert_eq!(out[0].counts["assignment.password"], 1);
}

#[test]
fn user_names_are_chased_unless_they_are_generic() {
    let content = "cd /home/jroe/src\nowner jroe, mail by Jroe; jroes stays\n\
                   /home/ubuntu/x of ubuntu; /home/mark/x: mark this";
    let expected = "cd /home/<USER_1>/src\nowner <USER_1>, mail by <USER_1>; jroes stays\n\
                    /home/ubuntu/x of ubuntu; /home/<USER_2>/x: mark this";
    assert_eq!(redact(content), expected);
}

#[test]
fn numbering_is_per_value_and_avoids_what_looks_like_a_placeholder() {
    let text = "<EMAIL_1> wrote; a.b@acme.com, c.d@acme.com, A.B@acme.com, <EMAIL_3>";
    let out = redact(text);
    assert_eq!(out, "<EMAIL_1> wrote; <EMAIL_2>, <EMAIL_4>, <EMAIL_2>, <EMAIL_3>");
    assert_eq!(redact(&out), out);
    // Not everything between angle brackets is one.
    let key = format!("AKIA{}", "Q2X7ABMPZ4KD6RTW");
    assert_eq!(redact(&format!("<{key}>")), "<<SECRET_AWS_1>>");
    assert_eq!(redact(&format!("<SECRET_{key}_1>")), "<SECRET_<SECRET_AWS_1>_1>");
}

#[test]
fn private_keys_go_in_every_shape() {
    let mut chance = Chance::new(13, "keys");
    let lines: Vec<String> = (0..8).map(|_| random(&mut chance, 64)).collect();
    let last = "dGVzdA==";
    let body = format!("{}\n{last}", lines.join("\n"));
    for kind in [
        "RSA PRIVATE KEY",
        "PRIVATE KEY",
        "ENCRYPTED PRIVATE KEY",
        "OPENSSH PRIVATE KEY",
        "EC PRIVATE KEY",
    ] {
        let whole = format!("-----BEGIN {kind}-----\n{body}\n-----END {kind}-----");
        let numbered: String =
            whole.lines().enumerate().map(|(i, l)| format!("{:>6}\t{l}\n", i + 1)).collect();
        let arrows: String =
            whole.lines().enumerate().map(|(i, l)| format!("{:>5}→{l}\n", i + 1)).collect();
        let diffed: String = whole.lines().map(|l| format!("+{l}\n")).collect();
        let quoted: String = whole.lines().map(|l| format!("    \"{l}\\n\" +\n")).collect();
        let yaml: String = whole.lines().map(|l| format!("    {l}\n")).collect();
        let shapes = [
            whole.clone(),
            format!("key: |\n{yaml}"),
            json!({"private_key": whole}).to_string(),
            json!({"a": json!({"private_key": whole}).to_string()}).to_string(),
            whole.replace('\n', "\\n"),
            whole.replace('\n', " "),
            numbered,
            arrows,
            diffed,
            quoted,
            format!("-----BEGIN {kind}-----\n{}", lines[..5].join("\n")),
            format!("{}\n-----END {kind}-----\nafter", lines[3..].join("\n")),
            format!(
                "-----BEGIN {kind}-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,{}\n\n{body}\n-----END {kind}-----",
                "0F1E2D3C4B5A69788796A5B4C3D2E1F0"
            ),
            STANDARD.encode(&whole),
        ];
        for shape in shapes {
            let text = format!("before it\n{shape}\nafter it");
            let out = redact(&text);
            assert!(lines.iter().all(|l| !out.contains(&l[20..44])), "{text}\n-> {out}");
            assert!(out.contains("<SECRET_PRIVATE_KEY_1>"), "{text}\n-> {out}");
            assert!(out.starts_with("before it") && out.ends_with("after it"), "{text}\n-> {out}");
        }
    }
    // A line of it elsewhere goes as well.
    let out = redact(&format!(
        "-----BEGIN PRIVATE KEY-----\n{body}\n-----END PRIVATE KEY-----\ngrep: {}",
        lines[2]
    ));
    assert!(!out.contains(&lines[2]), "{out}");
}

#[test]
fn redacting_twice_changes_nothing() {
    let mut chance = Chance::new(17, "twice");
    let redactor = redactor();
    for round in 0..50 {
        let mut parts: Vec<String> = Vec::new();
        for _ in 0..6 {
            let all = corpus(&mut chance);
            let (text, _) = &all[chance.below(all.len())];
            parts.push(match chance.below(5) {
                0 => STANDARD.encode(text),
                1 => json!({"a": text}).to_string(),
                2 => json!({"a": json!([text]).to_string()}).to_string(),
                _ => text.clone(),
            });
        }
        let text = parts.join(["\n", " ", ", ", "|"][chance.below(4)]);
        let once = redactor.text(&text).unwrap();
        assert_eq!(redactor.text(&once).unwrap(), once, "round {round}: {text}");
    }
}

#[test]
fn the_structure_of_a_trace_stays() {
    let arguments = json!({
        "password": "hunter22x",
        "env": {"API_KEY": "k3jd82hdk29dj4hs", "DEBUG": "1", "PORT": 8080},
        "args": ["--token", "a8fj3kd9s0dk3jf7", "--verbose"],
        "files": {"/home/jroe/a.py": "x"},
        "headers": {"Authorization": "Bearer a8fj3kd9s0dk3jf8"},
        "vars": [{"name": "DB_PASSWORD", "value": "s3cr3tpw"}],
        "raw": "{\"password\": \"hunter23x\"}",
        "card": 4111111111111111u64,
        "count": 3,
    });
    let mut from = trace(vec![
        Message::text(Role::System, "be kind"),
        Message::text(Role::User, "mail a.b@acme.com"),
        Message {
            reasoning_content: Some("a.b@acme.com again".into()),
            tool_calls: vec![ToolCall {
                id: "call_1".into(),
                name: "run".into(),
                arguments: arguments.as_object().unwrap().clone(),
            }],
            train: false,
            author: Some("model".into()),
            ..Message::text(Role::Assistant, "")
        },
        Message {
            tool_call_id: Some("call_1".into()),
            name: Some("run".into()),
            ..Message::text(Role::Tool, "ok")
        },
    ]);
    from.session = "ses_1".into();
    from.repository = Some("/home/jroe/app".into());
    from.keywords = vec!["a.b@acme.com".into()];
    from.origin = Origin { file: "-home-jroe-app/a.jsonl".into(), line: 4 };
    from.tools =
        vec![json!({"type": "function", "function": {"name": "run", "description": "for jroe"}})];
    let out = redactor().session(&[&from]).unwrap().pop().unwrap();
    let to = &out.trace;
    let text = serde_json::to_string(to).unwrap();
    for gone in ["hunter22x", "hunter23x", "k3jd82", "a8fj3k", "jroe", "s3cr3tpw", "41111", "a.b@"]
    {
        assert!(!text.contains(gone), "{gone} is left in {text}");
    }
    assert_eq!(to.session, from.session);
    assert_eq!(to.messages.len(), from.messages.len());
    for (a, b) in from.messages.iter().zip(&to.messages) {
        assert_eq!(
            (a.role, a.train, a.row, &a.tool_call_id),
            (b.role, b.train, b.row, &b.tool_call_id)
        );
        assert_eq!(a.tool_calls.len(), b.tool_calls.len());
    }
    let call = &to.messages[2].tool_calls[0];
    assert_eq!((call.id.as_str(), call.name.as_str()), ("call_1", "run"));
    assert_eq!(
        call.arguments.keys().collect::<Vec<_>>(),
        arguments.as_object().unwrap().keys().collect::<Vec<_>>()
    );
    assert_eq!(call.arguments["env"]["PORT"], 8080);
    assert_eq!(call.arguments["args"][2], "--verbose");
    assert_eq!(call.arguments["count"], 3);
    assert!(call.arguments["card"].as_str().unwrap().starts_with("<CARD_"));
    assert!(call.arguments["files"].as_object().unwrap().contains_key("/home/<USER_1>/a.py"));
    assert_eq!(to.keywords, ["<EMAIL_1>"]);
    assert_eq!(to.origin.line, 4);
    assert!(out.share > 0.0 && out.share < 1.0);
    assert!(out.counts.values().sum::<u64>() > 8);
}

#[test]
fn order_and_threads_do_not_matter() {
    use rayon::prelude::*;
    let mut chance = Chance::new(23, "threads");
    let traces: Vec<Trace> = (0..40)
        .map(|_| {
            let lines: Vec<_> = corpus(&mut chance).into_iter().map(|(t, _)| t).collect();
            trace(vec![Message::text(Role::User, lines.join("\n"))])
        })
        .collect();
    let redactor = redactor();
    let alone: Vec<_> = traces.iter().map(|t| redactor.session(&[t]).unwrap()).collect();
    let together: Vec<_> = traces.par_iter().map(|t| redactor.session(&[t]).unwrap()).collect();
    assert_eq!(alone, together);
}

#[test]
fn the_configuration_gives_the_policy() {
    use proto::config::Layers;
    let policy = |setting: &str| {
        let mut layers = Layers::new();
        layers.command_line(setting).unwrap();
        Policy::from_config(&layers.resolve(&[]).unwrap())
    };
    let default = policy("SEED=1").unwrap();
    assert!(default.secrets && default.pii && default.max_share == 0.5);
    let pii = policy("REDACT_CLASSES=pii").unwrap();
    assert!(pii.pii && !pii.secrets);
    assert_eq!(policy("REDACT_ALLOW=a@acme.com, b").unwrap().allow, ["a@acme.com", "b"]);
    assert_eq!(policy("REDACT_MAX_SHARE=0.2").unwrap().max_share, 0.2);
    let error = policy("REDACT_CLASSES=secrets,pi").unwrap_err().to_string();
    assert!(error.contains("REDACT_CLASSES") && error.contains("command line"), "{error}");
}

#[test]
fn policies_choose_what_is_redacted() {
    let text = "a.b@acme.com DB_PASSWORD=hunter2x";
    let with = |policy: Policy| Redactor::new(policy).unwrap().text(text).unwrap();
    let secrets = with(Policy { pii: false, ..Policy::default() });
    assert_eq!(secrets, "a.b@acme.com DB_PASSWORD=<SECRET_PASSWORD_1>");
    let pii = with(Policy { secrets: false, ..Policy::default() });
    assert_eq!(pii, "<EMAIL_1> DB_PASSWORD=hunter2x");
    let allowed = with(Policy { allow: vec!["a.b@acme.com".into()], ..Policy::default() });
    assert_eq!(allowed, "a.b@acme.com DB_PASSWORD=<SECRET_PASSWORD_1>");
    let without = BTreeSet::from([Class::Assignment]);
    assert_eq!(with(Policy { without, ..Policy::default() }), "<EMAIL_1> DB_PASSWORD=hunter2x");
    let strict = Redactor::new(Policy { max_share: 0.1, ..Policy::default() }).unwrap();
    let row = trace(vec![Message::text(Role::User, format!("{text} and so on and on"))]);
    let redacted = strict.session(&[&row]).unwrap().pop().unwrap();
    assert!(strict.too_much(&redacted) && !redactor().too_much(&redacted));
}

#[test]
fn a_teams_own_rule_is_used_or_refused_by_name() {
    let rule = |pattern: &str| TeamRule {
        name: "ticket".into(),
        label: "TICKET".into(),
        pattern: pattern.into(),
    };
    let with =
        |pattern: &str| Redactor::new(Policy { extra: vec![rule(pattern)], ..Policy::default() });
    let redactor = with(r"(?<=ticket )(ACME-\d+)(?!\d)").unwrap();
    let out = redactor.text("see ticket ACME-1234, not ACME-99").unwrap();
    assert_eq!(out, "see ticket <SECRET_TEAM_TICKET_1>, not ACME-99");
    assert_eq!(redactor.text(&out).unwrap(), out);
    let error = with("(unclosed").err().unwrap().to_string();
    assert!(error.contains("`ticket`"), "{error}");
    let secret = "a".repeat(60);
    let error = with(r"(a+)+\1$").unwrap().text(&format!("{secret}!")).unwrap_err();
    let error = format!("{error:#}");
    assert!(error.contains("`ticket`") && !error.contains(&secret[..20]), "{error}");
    let mut bad = rule("x");
    bad.label = "no good".into();
    let error = Redactor::new(Policy { extra: vec![bad], ..Policy::default() }).err().unwrap();
    assert!(error.to_string().contains("label"), "{error}");
}

fn plain_rows() -> Vec<Trace> {
    (0..12)
        .map(|n| {
            let text = format!("Please fix the rounding in module {n}.\nRun the tests.\n\nThanks");
            let answer =
                format!("Done.\n```rust\nfn round(x: f64) -> f64 {{ x.round() + {n}.0 }}\n```\n");
            trace(vec![Message::text(Role::User, text), Message::text(Role::Assistant, answer)])
        })
        .collect()
}

#[test]
fn canaries_of_every_class_are_found_and_never_kept() {
    let rows = plain_rows();
    let rows: Vec<&Trace> = rows.iter().collect();
    let redactor = redactor();
    for seed in 0..4 {
        let recall = canaries(&redactor, &rows, seed).unwrap();
        assert_eq!(recall.len(), Class::BUILT_IN.len());
        for (class, recall) in &recall {
            assert_eq!(recall.planted, rows.len() as u64);
            assert_eq!(recall.found, recall.planted, "seed {seed}: {class}");
        }
        assert_eq!(recall, canaries(&redactor, &rows, seed).unwrap());
    }
}

#[test]
fn the_proof_fails_when_any_class_is_switched_off() {
    let rows = plain_rows();
    let rows: Vec<&Trace> = rows.iter().collect();
    let mut whole = Proof::default();
    whole.canaries(canaries(&redactor(), &rows, 3).unwrap());
    assert!(!whole.holds(1.0, 0), "no row was read yet");
    assert!(whole.row(redactor().policy(), "{\"content\":\"fine\"}"));
    assert!(whole.holds(1.0, 0));
    assert!(!Proof::default().holds(0.0, 0));
    for class in Class::BUILT_IN {
        let policy = Policy { without: BTreeSet::from([class]), ..Policy::default() };
        let crippled = Redactor::new(policy).unwrap();
        let mut proof = Proof::default();
        proof.row(crippled.policy(), "{}");
        proof.canaries(canaries(&crippled, &rows, 3).unwrap());
        assert!(!proof.holds(1.0, 0), "{class:?} is not missed");
        assert!(proof.by_class[class.as_str()].share() < 0.5, "{class:?}: {:?}", proof.by_class);
        let others = proof.by_class.iter().filter(|(name, _)| *name != class.as_str());
        for (name, recall) in others {
            assert_eq!(recall.share(), 1.0, "without {class:?}, {name} suffers");
        }
    }
}

#[test]
fn a_policy_without_personal_data_is_proven_for_secrets() {
    let rows = plain_rows();
    let rows: Vec<&Trace> = rows.iter().collect();
    let redactor = Redactor::new(Policy { pii: false, ..Policy::default() }).unwrap();
    let recall = canaries(&redactor, &rows, 1).unwrap();
    assert!(recall.contains_key("vendor") && !recall.contains_key("email"));
    let mut proof = Proof::default();
    assert!(proof.row(redactor.policy(), "mail a.b@acme.com"));
    assert!(!proof.row(redactor.policy(), "postgres://a:Xk92ksd8Qm1@db.acme.com/x"));
    assert_eq!(proof.residue_rows, 1);
    assert_eq!(proof.residue["url_password"], 1);
}

#[test]
fn the_second_scan_finds_what_the_first_was_not_asked_for_and_nothing_else() {
    let mut chance = Chance::new(29, "second");
    let redactor = redactor();
    let mut raw_found = BTreeSet::new();
    for _ in 0..5 {
        for (text, _) in corpus(&mut chance) {
            let row = trace(vec![Message::text(Role::User, text)]);
            let before = serde_json::to_string(&row).unwrap();
            raw_found.extend(second::scan(&before).into_iter().map(|f| f.class.as_str()));
            let after = redactor.session(&[&row]).unwrap().pop().unwrap();
            let after = serde_json::to_string(&after.trace).unwrap();
            let left = second::scan(&after);
            assert!(left.is_empty(), "{before}\n-> {after}\n{left:?}");
        }
    }
    for class in
        ["url_password", "header", "assignment", "email", "phone", "ip", "card", "iban", "user"]
    {
        assert!(raw_found.contains(class), "{class} is never found: {raw_found:?}");
    }
    for text in KEPT {
        let row = trace(vec![Message::text(Role::Assistant, *text)]);
        let written = serde_json::to_string(&row).unwrap();
        assert!(second::scan(&written).is_empty(), "{text}: {:?}", second::scan(&written));
    }
}

#[test]
fn the_second_scan_knows_keys_and_tokens_and_looks_through_encodings() {
    let mut chance = Chance::new(31, "second tokens");
    let token = format!("ghp_{}", random(&mut chance, 36));
    let key = format!("-----BEGIN PRIVATE KEY-----\n{}\n", random(&mut chance, 64));
    for (text, class) in [(&token, "token"), (&key, "private_key")] {
        let nested = json!({"a": json!({"b": text}).to_string()}).to_string();
        for written in [text.clone(), nested, STANDARD.encode(format!("see {text} here"))] {
            let found = second::scan(&written);
            assert!(found.iter().any(|f| f.class.as_str() == class), "{written}: {found:?}");
            assert!(found.iter().all(|f| written.get(f.start..f.end).is_some()));
        }
    }
}

#[test]
fn any_text_is_survived() {
    let mut chance = Chance::new(37, "hostile");
    let redactor = redactor();
    let pieces = [
        "\\",
        "\"",
        "'",
        "%",
        "%41",
        "\\u00",
        "\\u0041",
        "&#",
        "=",
        ":",
        "://",
        "@",
        "é",
        "😀",
        "\u{1b}[",
        "password",
        "token=",
        "Authorization: ",
        "Bearer ",
        "-----BEGIN PRIVATE KEY-----",
        "-----END",
        "ghp_",
        "eyJ",
        ".",
        "\n",
        " ",
        "/home/",
        "C:\\Users\\",
        "1",
        "23",
        "4111",
        "+",
        "<EMAIL_1>",
        "<",
        ">",
        "{",
        "}",
        "[",
        "machine ",
        "login ",
        ":5432:",
        "Cookie: a=",
        ";",
        "mysql -p",
        "$6$",
        "DE89",
        "AAAA",
        "dXNlcjpwYXNz",
        "2a02:",
        "::",
        "--",
        "sk-",
        "name",
        "value",
        ",",
        "\u{1}",
        "\u{0}",
        "\t",
    ];
    for _ in 0..500 {
        let n = chance.below(24);
        let text: String = (0..n).map(|_| pieces[chance.below(pieces.len())]).collect();
        let once = redactor.text(&text).unwrap();
        assert_eq!(redactor.text(&once).unwrap(), once, "{text:?}");
        assert!(once.len() <= text.len() * 8 + 64, "{text:?}");
        second::scan(&text);
        second::scan(&once);
        let row = json!({"k": text});
        let mut call = Message::text(Role::Assistant, "");
        let arguments = row.as_object().unwrap().clone();
        call.tool_calls.push(ToolCall { id: "1".into(), name: "t".into(), arguments });
        let out = redactor.session(&[&trace(vec![call])]).unwrap().pop().unwrap();
        let written = serde_json::to_string(&out.trace).unwrap();
        assert!(serde_json::from_str::<Trace>(&written).is_ok());
    }
}

#[test]
fn nothing_that_can_be_printed_shows_a_value() {
    let policy = Policy { allow: vec!["my-allowed-value".into()], ..Policy::default() };
    assert!(!format!("{policy:?}").contains("my-allowed-value"));
    let found = second::scan("DB=1\npostgres://a:Xk92ksd8Qm1@db.acme.com/x");
    assert!(!found.is_empty() && !format!("{found:?}").contains("Xk92"));
}
