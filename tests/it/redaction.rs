//! Redaction: what must go, what must stay, in which places and encodings, and the proof.

use proto::chance::Chance;
use proto::redact::{Policy, Redactor};
use proto::trace::{Message, Role, Trace};

mod grammar;
mod proof;
mod recall;
mod rules;
mod sessions;

fn redactor() -> Redactor {
    Redactor::new(Policy::default()).unwrap()
}

fn redact(text: &str) -> String {
    redactor().text(text).unwrap()
}

fn trace(messages: Vec<Message>) -> Trace {
    Trace { session: "s".into(), source: "raw".into(), messages, ..Trace::default() }
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
