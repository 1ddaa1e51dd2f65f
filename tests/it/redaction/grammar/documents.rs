//! Whole outputs of tools as agents see them, in which a secret stands in one line, or none.

use proto::chance::Chance;

use super::Sample;
use super::assignments;
use super::digests::digests;
use super::headers;
use super::personal::address;
use super::urls;
use super::values::words;
use super::vendors;

/// Outputs with nothing in them that must go. `~w~` and the digests are filled.
const DOCUMENTS: &[&str] = &[
    // Lock files
    "[[package]]\nname = \"serde\"\nversion = \"1.0.203\"\nsource = \"registry+https://github.com/rust-lang/crates.io-index\"\nchecksum = \"DIGEST\"\ndependencies = [\n \"serde_derive\",\n]\n\n[[package]]\nname = \"tokenizers\"\nversion = \"0.19.1\"\nchecksum = \"DIGEST\"\n",
    "    \"node_modules/@babel/core\": {\n      \"version\": \"7.24.7\",\n      \"resolved\": \"https://registry.npmjs.org/@babel/core/-/core-7.24.7.tgz\",\n      \"integrity\": \"sha512-B64X64\",\n      \"license\": \"MIT\",\n      \"engines\": {\n        \"node\": \">=6.9.0\"\n      }\n    },\n",
    "\"@types/node@^20.14.9\":\n  version \"20.14.9\"\n  resolved \"https://registry.yarnpkg.com/@types/node/-/node-20.14.9.tgz#HEX40\"\n  integrity sha512-B64X64\n  dependencies:\n    undici-types \"~5.26.4\"\n",
    "github.com/davecgh/go-spew v1.1.1 h1:B64X32\ngithub.com/davecgh/go-spew v1.1.1/go.mod h1:B64X32\ngolang.org/x/crypto v0.24.0 h1:B64X32\ngolang.org/x/sys v0.0.0-20240701120000-HEX12 h1:B64X32\n",
    "[[package]]\nname = \"passlib\"\nversion = \"1.7.4\"\ndescription = \"comprehensive password hashing framework\"\noptional = false\npython-versions = \"*\"\nfiles = [\n    {file = \"passlib-1.7.4-py2.py3-none-any.whl\", hash = \"sha256:DIGEST\"},\n    {file = \"passlib-1.7.4.tar.gz\", hash = \"sha256:DIGEST\"},\n]\n",
    "packages:\n\n  '@esbuild/linux-x64@0.21.5':\n    resolution: {integrity: sha512-B64X64}\n    engines: {node: '>=12'}\n    cpu: [x64]\n    os: [linux]\n\n  jsonwebtoken@9.0.2:\n    resolution: {integrity: sha512-B64X64}\n",
    "requests==2.32.3 \\\n    --hash=sha256:DIGEST \\\n    --hash=sha256:DIGEST\n    # via -r requirements.in\n",
    "GEM\n  remote: https://rubygems.org/\n  specs:\n    bcrypt (3.1.20)\n    devise (4.9.4)\n      bcrypt (~> 3.0)\n    jwt (2.8.2)\n\nCHECKSUMS\n  bcrypt (3.1.20) sha256=DIGEST\n",
    // Version control
    "commit SHA (HEAD -> main, origin/main)\nAuthor: CI <noreply@github.com>\nDate:   Mon Jul 1 12:00:00 2024 +0200\n\n    Rotate the token every hour\n\n    The password reset used the old key.\n\ncommit SHA\n",
    "diff --git a/src/token.rs b/src/token.rs\nindex SHA7..SHA7 100644\n--- a/src/token.rs\n+++ b/src/token.rs\n@@ -12,7 +12,9 @@ impl Token {\n     pub fn new(kind: Kind, key: &str) -> Self {\n-        let token = Token { kind, key: key.into() };\n+        let token = Token { kind, key: key.to_owned() };\n+        tracing::debug!(?token, \"created\");\n         token\n     }\n",
    "SHA7 Fix the password form\nSHA7 Add tests for tokens\nSHA7 Bump jsonwebtoken from 8.5.1 to 9.0.2\nSHA7 Merge pull request #412 from ~w~/keys\n",
    "On branch main\nYour branch is up to date with 'origin/main'.\n\nChanges not staged for commit:\n\tmodified:   src/auth/password.rs\n\tmodified:   tests/token_test.rs\n\nUntracked files:\n\t.env.example\n",
    "^SHA7 src/main.rs (ci 2024-07-01 12:00:00 +0200  1) use std::env;\nSHA7 src/main.rs (ci 2024-07-01 12:00:00 +0200  2) fn key() -> String {\n",
    // Listings and processes
    "total 48\ndrwxr-xr-x  8 root root 4096 Jul  1 12:00 .\ndrwx------ 14 root root 4096 Jul  1 11:58 ..\n-rw-r--r--  1 root root  571 Jul  1 12:00 id_ed25519.pub\n-rw-------  1 root root 1204 Jul  1 12:00 credentials.json\n",
    "USER         PID %CPU %MEM    VSZ   RSS TTY      STAT START   TIME COMMAND\nroot           1  0.0  0.1 168392 11904 ?        Ss   Jul01   0:12 /sbin/init\npostgres    1234  0.3  1.2 215320 98304 ?        Ss   12:00   1:23 postgres: checkpointer\n",
    "CONTAINER ID   IMAGE                COMMAND                  CREATED       STATUS       PORTS                    NAMES\nDIGEST12   postgres:16-alpine   \"docker-entrypoint.s…\"   2 hours ago   Up 2 hours   0.0.0.0:5432->5432/tcp   ~w~-db-1\nDIGEST12   redis:7              \"docker-entrypoint.s…\"   2 hours ago   Up 2 hours   6379/tcp                 ~w~-cache-1\n",
    "NAME                       TYPE                                  DATA   AGE\ndefault-token              kubernetes.io/service-account-token   3      12d\n~w~-credentials            Opaque                                2      12d\n~w~-tls                    kubernetes.io/tls                     2      12d\n",
    "NAME                     READY   STATUS    RESTARTS   AGE\n~w~-6d4cf56db6-x7k2p     1/1     Running   0          12d\n~w~-7f9c8d6b5c-q8zt4     0/1     Error     3          4m\n",
    "2: eth0: <BROADCAST,MULTICAST,UP,LOWER_UP> mtu 1500 qdisc noqueue state UP\n    link/ether 02:42:ac:11:00:02 brd ff:ff:ff:ff:ff:ff link-netnsid 0\n    inet 172.17.0.2/16 brd 172.17.255.255 scope global eth0\n    inet6 fe80::42:acff:fe11:2/64 scope link\n",
    "Filesystem      Size  Used Avail Use% Mounted on\noverlay          98G   41G   53G  44% /\ntmpfs            64M     0   64M   0% /dev\n/dev/nvme0n1p1   98G   41G   53G  44% /etc/hosts\n",
    // Builds and tests
    "running 4 tests\ntest auth::tests::password_is_hashed ... ok\ntest auth::tests::token_expires ... ok\ntest keys::tests::api_key_is_required ... FAILED\ntest keys::tests::secret_is_not_logged ... ok\n\nfailures:\n\n---- keys::tests::api_key_is_required stdout ----\nthread 'main' panicked at src/keys.rs:41:9:\nassertion `left == right` failed\n  left: None\n right: Some(Key)\n",
    "============================= test session starts ==============================\nplatform linux -- Python 3.11.7, pytest-8.2.2, pluggy-1.5.0\nrootdir: /workspace\ncollected 12 items\n\ntests/test_token.py ..F.                                                 [ 33%]\ntests/test_password.py ........                                          [100%]\n",
    "error[E0308]: mismatched types\n  --> src/auth.rs:41:22\n   |\n41 |     let token: Token = password;\n   |                -----   ^^^^^^^^ expected `Token`, found `String`\n   |                |\n   |                expected due to this\n",
    "src/api.ts(12,7): error TS2322: Type 'string | undefined' is not assignable to type 'string'.\n12   const apiKey: string = process.env.API_KEY;\n           ~~~~~~\n",
    "Traceback (most recent call last):\n  File \"/usr/lib/python3.11/site-packages/jose/jwt.py\", line 157, in decode\n    payload = jws.verify(token, key, algorithms, verify=verify_signature)\n  File \"/usr/lib/python3.11/site-packages/jose/jws.py\", line 70, in verify\n    raise JWSError(e)\njose.exceptions.JWSError: Signature verification failed.\n",
    "dist/assets/index-RAND8.js   143.21 kB │ gzip: 46.12 kB\ndist/assets/index-RAND8.css    1.42 kB │ gzip:  0.74 kB\n✓ built in 1.24s\n",
    "#8 [4/6] RUN npm ci --omit=dev\n#8 CACHED\n#9 exporting layers done\n#9 writing image sha256:DIGEST done\n#9 naming to docker.io/library/~w~:latest done\n",
    "latest: Pulling from library/postgres\nDIGEST12: Pull complete\nDIGEST12: Pull complete\nDigest: sha256:DIGEST\nStatus: Downloaded newer image for postgres:16\n",
    "   Compiling proto v0.1.0 (/workspace)\nwarning: unused variable: `secret`\n --> src/keys.rs:12:9\n   |\n12 |     let secret = derive(password);\n   |         ^^^^^^ help: if this is intentional, prefix it with an underscore: `_secret`\n",
    // Source files
    "import os\n\nfrom fastapi import Depends, FastAPI, Header, HTTPException\n\napp = FastAPI()\nAPI_KEY = os.environ[\"API_KEY\"]\n\n\ndef check(x_api_key: str = Header(...)):\n    if x_api_key != API_KEY:\n        raise HTTPException(status_code=401, detail=\"invalid key\")\n",
    "export async function login(email: string, password: string): Promise<Session> {\n  const res = await fetch('/api/login', {\n    method: 'POST',\n    headers: { 'Content-Type': 'application/json', Authorization: `Bearer ${token}` },\n    body: JSON.stringify({ email, password }),\n  });\n  return res.json();\n}\n",
    "class User(AbstractBaseUser):\n    email = models.EmailField(unique=True)\n    password = models.CharField(max_length=128)\n    token = models.CharField(max_length=64, default=generate_token)\n\n    USERNAME_FIELD = \"email\"\n    REQUIRED_FIELDS = [\"name\"]\n",
    "CREATE TABLE users (\n    id bigserial PRIMARY KEY,\n    email text NOT NULL UNIQUE,\n    password_hash text NOT NULL,\n    api_key uuid DEFAULT gen_random_uuid(),\n    created_at timestamptz DEFAULT now()\n);\nCREATE INDEX users_api_key_idx ON users (api_key);\n",
    "name: ci\non: [push]\njobs:\n  test:\n    runs-on: ubuntu-latest\n    steps:\n      - uses: actions/checkout@SHA # v4.1.7\n      - run: cargo publish --token ${{ secrets.CARGO_TOKEN }}\n        env:\n          GITHUB_TOKEN: ${{ secrets.GITHUB_TOKEN }}\n",
    "services:\n  db:\n    image: postgres:16@sha256:DIGEST\n    environment:\n      POSTGRES_USER: app\n      POSTGRES_PASSWORD: ${POSTGRES_PASSWORD:?required}\n    ports:\n      - \"127.0.0.1:5432:5432\"\n",
    "apiVersion: apps/v1\nkind: Deployment\nspec:\n  template:\n    spec:\n      containers:\n        - name: ~w~\n          image: ghcr.io/northquay/~w~@sha256:DIGEST\n          env:\n            - name: DB_PASSWORD\n              valueFrom:\n                secretKeyRef:\n                  name: ~w~-credentials\n                  key: password\n",
    "# aws_secretsmanager_secret.db will be created\n  + resource \"aws_secretsmanager_secret\" \"db\" {\n      + arn                     = (known after apply)\n      + name                    = \"~w~/db-password\"\n      + recovery_window_in_days = 30\n    }\n\nPlan: 1 to add, 0 to change, 0 to destroy.\n",
    "server {\n    listen 443 ssl;\n    server_name example.com;\n    ssl_certificate     /etc/ssl/certs/~w~.pem;\n    ssl_certificate_key /etc/ssl/private/~w~.key;\n    location /api {\n        proxy_set_header Authorization $http_authorization;\n        proxy_pass http://127.0.0.1:3000;\n    }\n}\n",
    "# ~w~\n\n## Usage\n\nSet your API key:\n\n```sh\nexport API_KEY=<your-api-key>\ncurl -H \"Authorization: Bearer $API_KEY\" https://api.example.com/v1/items\n```\n\n| option | default | description |\n|---|---|---|\n| `--token` | none | The token to use |\n| `--password-file` | none | Reads the password from a file |\n",
    "!function(){\"use strict\";var e={418:function(e,t,n){Object.defineProperty(t,\"__esModule\",{value:!0}),t.token=t.key=void 0;const r=n(7294),o=\"password\";t.key=function(e){return e.key||r.k(e)},t.token=e=>e.split(\".\")[1]}},t={};}();\n//# sourceMappingURL=main.HEX8.js.map\n",
    ".login__password{color:#1a2b3c;background:url(data:image/svg+xml;base64,PHN2ZyB4bWxucz0iaHR0cDovL3d3dy53My5vcmcvMjAwMC9zdmciLz4=)}.token--active:after{content:\"\\201C\"}\n",
    // Logs
    "2024-07-01T12:00:00.123Z INFO  http request_id=UUID method=POST path=/login status=401 duration_ms=12\n2024-07-01T12:00:00.456Z WARN  auth user_id=4811920 reason=\"password mismatch\" attempts=3\n2024-07-01T12:00:01.000Z DEBUG cache key=session:UUID hit=false\n",
    "127.0.0.1 - - [01/Jul/2024:12:00:00 +0000] \"GET /static/js/main.HEX8.js HTTP/1.1\" 304 0 \"http://localhost:3000/\" \"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.6478.127 Safari/537.36\"\n",
    "{\"level\":30,\"time\":1720000000123,\"pid\":1234,\"hostname\":\"DIGEST12\",\"reqId\":\"req-1a\",\"msg\":\"token refreshed\",\"expiresIn\":3600}\n",
    "epoch 3 step 1200 loss 0.4312 lr 1.2345e-05 tokens/s 41231.7 tokens 4915200\neval: perplexity 4.12 accuracy 0.8431 max_tokens 2048\n",
    "00000000: 7f45 4c46 0201 0100 0000 0000 0000 0000  .ELF............\n00000010: 0300 3e00 0100 0000 HEX4 HEX4 0000 0000  ..>.............\n00000020: 4000 0000 0000 0000 HEX4 HEX4 HEX4 0000  @...............\n",
    "{\n  \"id\": \"chatcmpl-RAND29\",\n  \"object\": \"chat.completion\",\n  \"created\": 1720000000,\n  \"model\": \"gpt-4o-2024-05-13\",\n  \"usage\": {\"prompt_tokens\": 1204, \"completion_tokens\": 88, \"total_tokens\": 1292},\n  \"system_fingerprint\": \"fp_HEX10\"\n}\n",
    "HTTP/2 200\ncontent-type: application/json\netag: W/\"HEX40\"\nx-request-id: UUID\ncf-ray: HEX16-FRA\nx-ratelimit-remaining: 4999\nstrict-transport-security: max-age=63072000\n\n{\"ok\":true}\n",
    "  1\tuse std::env;\n  2\t\n  3\tpub fn api_key() -> Option<String> {\n  4\t    env::var(\"API_KEY\").ok().filter(|key| !key.is_empty())\n  5\t}\n",
    "src/auth.rs:12:    let password = prompt_password(\"Password: \")?;\nsrc/auth.rs:41:    token: Option<Token>,\nsrc/config.rs:7:    pub api_key: Secret<String>,\ntests/auth.rs:88:fn wrong_password_is_rejected() {\n",
];

/// The lines that have a secret take turns.
const LINES: &[super::Maker] = &[
    vendors::plain,
    assignments::file,
    assignments::code,
    headers::authorization,
    urls::password,
    headers::jwt,
    |chance, _| {
        let address = address(chance);
        Sample::new("e-mail", format!("reported by {address}"), &[&address])
    },
];

fn document(chance: &mut Chance, index: usize) -> String {
    let text = words(chance, DOCUMENTS[index % DOCUMENTS.len()]);
    digests(chance, &text)
}

/// A document with a secret between two of its lines, one after another.
pub fn plain(chance: &mut Chance, index: usize) -> Sample {
    let text = document(chance, index);
    let line = LINES[index % LINES.len()](chance, index / LINES.len());
    let lines: Vec<&str> = text.lines().collect();
    let at = chance.below(lines.len() + 1);
    let before: String = lines[..at].iter().map(|l| format!("{l}\n")).collect();
    let after: String = lines[at..].iter().map(|l| format!("{l}\n")).collect();
    let text = format!("{before}{}\n{after}", line.text.trim_end());
    let kept = [before, after].into_iter().filter(|part| !part.is_empty()).collect();
    Sample { text, kept, ..line }
}

pub fn alike(chance: &mut Chance, index: usize) -> Sample {
    let name = format!("document {}", index % DOCUMENTS.len());
    Sample::kept(&name, document(chance, index))
}
