//! Credentials in URLs and connection strings, git remotes, and webhooks.

use proto::chance::Chance;

use super::Sample;
use super::digests::digests;
use super::values::{fill, hex, pick, random, shape, uuid, words};
use super::vendors::token;

const PASSWORDS: &[&str] = &[
    "postgres://app:{}@10.0.0.5:5432/shop",
    "postgresql://app:{}@localhost/shop?sslmode=disable",
    "postgresql+asyncpg://app:{}@db:5432/shop",
    "DATABASE_URL=postgres://app:{}@db:5432/shop",
    "mysql://root:{}@127.0.0.1:3306/shop",
    "mysql2://root:{}@db/shop",
    "mariadb+pymysql://root:{}@db/shop?charset=utf8",
    "mongodb://app:{}@mongo:27017/shop?authSource=admin",
    "mongodb+srv://app:{}@cluster0.mongodb.net/x?retryWrites=true",
    "redis://:{}@cache:6379/0",
    "redis://default:{}@cache:6379",
    "rediss://default:{}@cache:6380/1",
    "amqp://guest:{}@mq:5672//",
    "amqps://app:{}@mq/vhost",
    "kafka://app:{}@broker:9092",
    "nats://app:{}@nats:4222",
    "mqtt://device:{}@mqtt:1883",
    "ldap://cn=admin:{}@ldap:389",
    "smtp://app:{}@smtp.~d~:587",
    "smtps://app:{}@smtp.~d~:465",
    "imaps://~w~:{}@imap.~d~",
    "ftp://~w~:{}@ftp.~d~/pub/a.zip",
    "sftp://~w~:{}@sftp.~d~:22/in",
    "https://admin:{}@grafana.~d~/api/health",
    "http://elastic:{}@localhost:9200/_cat/indices",
    "http://admin:{}@localhost:5984/_all_dbs",
    "https://~w~:{}@nexus.~d~/repository/npm/",
    "curl -fsSL https://~w~:{}@files.~d~/a.tgz",
    "pip install --index-url https://~w~:{}@pypi.~d~/simple/ ~w~",
    "--extra-index-url https://__token__:{}@pypi.~d~/simple",
    "http_proxy=http://~w~:{}@proxy.~d~:3128",
    "HTTPS_PROXY=http://~w~:{}@10.0.0.1:8080/",
    "socks5://~w~:{}@127.0.0.1:1080",
    "rtsp://admin:{}@192.168.1.64:554/stream1",
    "vnc://:{}@10.0.0.7:5900",
    "neo4j+s://neo4j:{}@x.databases.neo4j.io",
    "bolt://neo4j:{}@localhost:7687",
    "clickhouse://default:{}@ch:9000/default",
    "snowflake://~w~:{}@account/db/schema",
    "influxdb://~w~:{}@influx:8086/db",
    "couchbase://~w~:{}@cb",
    "cockroachdb://root:{}@crdb:26257/defaultdb?sslmode=require",
    "sqlserver://sa:{}@localhost:1433?database=shop",
    "oracle://system:{}@ora:1521/XE",
    "jdbc:postgresql://db/shop?user=app&password={}&ssl=true",
    "jdbc:mysql://db/shop?user=root&password={}",
    "jdbc:sqlserver://db:1433;user=sa;password={};encrypt=true",
    "jdbc:oracle:thin:system/{}@ora:1521:XE",
    "could not connect to postgres://app:{}@db:5432/shop: timeout",
    "engine = create_engine(\"postgresql://app:{}@db/shop\")",
    "url = \"redis://:{}@cache:6379/0\"",
    "(\"amqp://app:{}@mq:5672\")",
    "mongoose.connect('mongodb://app:{}@mongo/shop')",
    "psql postgres://app:{}@localhost:5432/shop -c 'select 1'",
    "https://api.~d~/v1?api_key={}&page=2",
    "https://api.~d~/v1/items?page=2&access_token={}",
    "https://maps.~d~/js?key={}&callback=init",
    "GET /v1/items?token={} HTTP/1.1",
    "GET /data/2.5/weather?q=Berlin&appid={} 200",
    "https://api.~d~/hook?secret={}#x",
    "https://app.~d~/reset-password?token={}",
    "https://app.~d~/invite/accept?invite_token={}&lang=en",
    "http://localhost:8888/?token={}",
    "http://127.0.0.1:8888/lab?token={}",
    "https://app.~d~/callback?code=x&client_secret={}",
    "https://~w~.blob.core.windows.net/c/b?sv=2022-11-02&sr=b&sp=r&sig={}",
    "https://~w~.s3.amazonaws.com/a.zip?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Signature={}",
    "https://storage.googleapis.com/~w~/a.zip?X-Goog-Signature={}",
    "https://d1.cloudfront.net/a.zip?Expires=1720000000&Signature={}&Key-Pair-Id=APK",
];

pub fn password(chance: &mut Chance, index: usize) -> Sample {
    let template = PASSWORDS[index % PASSWORDS.len()];
    let value = if template.contains("Signature") || template.contains("sig=") {
        hex(chance, 64)
    } else {
        match chance.below(5) {
            0 => hex(chance, 32),
            1 => shape(chance, "[A-Za-z0-9_-]{19}[A-Za-z0-9]"),
            2 => shape(chance, "[A-Za-z]{4}[0-9]{2}%40[A-Za-z0-9]{6}"),
            3 if template.contains("@") => people(chance),
            _ => random(chance, 24),
        }
    };
    let text = fill(chance, template, &value);
    Sample::new(template, text, &[&value])
}

fn people(chance: &mut Chance) -> String {
    super::values::password(chance).replace('#', "x")
}

const PASSWORDS_ALIKE: &[&str] = &[
    "postgres://localhost:5432/shop",
    "postgres://app@localhost/shop",
    "postgres://$DB_USER:$DB_PASS@$DB_HOST:5432/shop",
    "postgres://${DB_USER}:${DB_PASSWORD}@db:5432/shop",
    "postgres://user:password@localhost:5432/shop",
    "postgres://<user>:<password>@host/db",
    "postgresql://{user}:{password}@{host}/{db}",
    "f\"postgresql://{user}:{quote(password)}@{host}:{port}/{name}\"",
    "mysql://USER:PASSWORD@HOST:3306/DATABASE",
    "mongodb://localhost:27017/shop",
    "redis://localhost:6379/0",
    "redis://cache:6379",
    "amqp://localhost:5672",
    "https://example.com:8443/path",
    "http://localhost:3000/login?next=/home",
    "https://user:***@example.com/",
    "https://user:pass@example.com/path",
    "https://example.com/@scope/package",
    "https://medium.com/@someone/a-post-HEX12",
    "https://unpkg.com/react@18.2.0/umd/react.production.min.js",
    "https://cdn.jsdelivr.net/npm/bootstrap@5.3.3/dist/css/bootstrap.min.css",
    "https://esm.sh/preact@10.22.0?target=es2022",
    "https://registry.npmjs.org/@babel/core/-/core-7.24.7.tgz#HEX40",
    "https://files.pythonhosted.org/packages/HEX4/HEX4/DIGEST/numpy-1.26.4.tar.gz",
    "https://static.crates.io/crates/serde/serde-1.0.203.crate",
    "https://example.com/search?q=password+reset&page=2",
    "https://example.com/?utm_source=mail&utm_campaign=MD5SUM",
    "https://example.com/items?cursor=B64N43&limit=50",
    "https://example.com/watch?v=RAND11",
    "https://example.com/app.js?v=HEX8",
    "https://example.com/style.css?hash=MD5SUM",
    "https://~w~.s3.amazonaws.com/uploads/UUID/photo.jpg",
    "https://storage.googleapis.com/~w~-public/MD5SUM/a.zip",
    "s3://~w~/data/part-00000-UUID.snappy.parquet",
    "gs://~w~/models/checkpoint-~n~/model.safetensors",
    "https://api.example.com/v1?api_key=YOUR_KEY",
    "https://api.example.com/v1?token=<token>",
    "https://api.example.com/v1?key=${KEY}",
    "https://api.example.com/v1?key={key}&page={page}",
    "GET /v1/users?page=2&per_page=50 HTTP/1.1",
    "GET /api/v1/keys/UUID 200",
    "GET /static/js/main.HEX8.js 304",
    "POST /oauth/token 401 12ms",
    "http://localhost:8888/tree",
    "http://127.0.0.1:8000/docs#/items/read_item",
    "jdbc:postgresql://localhost:5432/shop",
    "jdbc:h2:mem:testdb;DB_CLOSE_DELAY=-1",
    "sqlite:///./app.db",
    "file:///tmp/report.html",
    "docker://alpine:3.20@sha256:DIGEST",
    "oci://ghcr.io/northquay/charts/~w~:1.2.3",
    "git+https://github.com/psf/requests@v2.32.3",
    "npm:string-width@^4.2.0",
    "ws://localhost:9229/UUID",
    "http://10.0.0.5:9090/graph?g0.expr=up&g0.tab=1",
    "<a href=\"https://example.com/reset?token={{ token }}\">",
    "redirect_uri=http://localhost:3000/callback&state=xyz",
    "urn:uuid:UUID",
    "magnet:?xt=urn:btih:HEX40",
    "android-app://com.example/https/example.com",
];

pub fn password_alike(chance: &mut Chance, index: usize) -> Sample {
    alike(chance, PASSWORDS_ALIKE, index)
}

fn alike(chance: &mut Chance, templates: &[&str], index: usize) -> Sample {
    let template = templates[index % templates.len()];
    let text = words(chance, template);
    Sample::kept(template, digests(chance, &text))
}

const REMOTES: &[&str] = &[
    "origin\thttps://~w~:{}@github.com/~w~/~w~.git (fetch)",
    "origin\thttps://{}@github.com/~w~/~w~.git (push)",
    "git clone https://{}@github.com/~w~/~w~.git",
    "git clone https://x-access-token:{}@github.com/~w~/~w~",
    "git clone https://oauth2:{}@gitlab.com/~w~/~w~.git",
    "git clone https://gitlab-ci-token:{}@git.~d~/~w~/~w~.git",
    "git remote set-url origin https://~w~:{}@git.~d~/~w~.git",
    "git remote add ci https://~w~:{}@bitbucket.org/~w~/~w~.git",
    "git push https://{}:x-oauth-basic@github.com/~w~/~w~.git main",
    "[remote \"origin\"]\n\turl = https://~w~:{}@git.~d~/~w~.git\n\tfetch = +refs/heads/*",
    "\turl = https://{}@github.com/~w~/~w~.git",
    "[url \"https://~w~:{}@github.com/\"]\n\tinsteadOf = https://github.com/",
    "git config --global url.\"https://{}@github.com/\".insteadOf \"https://github.com/\"",
    "fatal: unable to access 'https://~w~:{}@git.~d~/~w~.git/': Could not resolve host",
    "remote: Invalid credentials for https://~w~:{}@git.~d~/",
    "To https://~w~:{}@git.~d~/~w~.git\n   a1b2c3d..e4f5a6b  main -> main",
    "https://~w~:{}@git.~d~",
    "Cloning https://{}@github.com/~w~/~w~.git to /tmp/pip-req",
    "~w~ @ git+https://{}@github.com/~w~/~w~.git@main",
    "\"~w~\": \"git+https://{}:x-oauth-basic@github.com/~w~/~w~.git#v1.0\"",
    "~w~ = { git = \"https://{}@github.com/~w~/~w~.git\" }",
    "https://dev:{}@dev.azure.com/~w~/_git/~w~",
    "go env -w GOPRIVATE=x && git config url.https://~w~:{}@git.~d~.insteadOf https://git.~d~",
    "svn co https://svn.~d~/repo --username ~w~ --password {}",
    "hg pull https://~w~:{}@hg.~d~/repo",
];

pub fn remote(chance: &mut Chance, index: usize) -> Sample {
    let template = REMOTES[index % REMOTES.len()];
    let value = match chance.below(3) {
        0 if !template.contains("/{}@") && !template.contains("/{}:") => people(chance),
        1 => hex(chance, 40),
        _ => {
            let index = chance.below(1000);
            let (_, value) = token(chance, index);
            // What would have to be written otherwise in a URL.
            if value.contains(['/', '%', '=', '|', '+', ':', '@', '~', '!']) {
                random(chance, 32)
            } else {
                value
            }
        }
    };
    let text = fill(chance, template, &value);
    Sample::new(template, text, &[&value])
}

const REMOTES_ALIKE: &[&str] = &[
    "origin\tgit@github.com:northquay/~w~.git (fetch)",
    "origin\thttps://github.com/northquay/~w~.git (push)",
    "git clone git@github.com:northquay/~w~.git",
    "git clone ssh://git@gitlab.com:2222/northquay/~w~.git",
    "git clone https://github.com/northquay/~w~",
    "git remote add upstream https://github.com/northquay/~w~.git",
    "git clone https://x-access-token:${GITHUB_TOKEN}@github.com/northquay/~w~",
    "git clone https://$TOKEN@github.com/northquay/~w~.git",
    "git clone https://<token>@github.com/northquay/~w~.git",
    "url = git@github.com:northquay/~w~.git",
    "[remote \"origin\"]\n\turl = https://github.com/northquay/~w~.git\n\tfetch = +refs/heads/*:refs/remotes/origin/*",
    "From https://github.com/northquay/~w~\n * branch            main       -> FETCH_HEAD",
    "To github.com:northquay/~w~.git\n   SHA7..SHA7  main -> main",
    "git checkout SHA",
    "git cherry-pick SHA7",
    "git log --format='%H %an'",
    "SHA\trefs/heads/main",
    "SHA refs/pull/~n~/head",
    "git submodule update --init --recursive",
    "Submodule path 'vendor/~w~': checked out 'SHA'",
    "requests @ git+https://github.com/psf/requests@SHA",
    "serde = { git = \"https://github.com/serde-rs/serde\", rev = \"SHA7\" }",
    "source = \"git+https://github.com/serde-rs/serde?rev=SHA7#SHA\"",
    "git@ssh.dev.azure.com:v3/northquay/~w~/~w~",
    "module github.com/northquay/~w~/v2",
    "git push origin HEAD:refs/for/main",
    "git describe --tags\nv1.4.2-~n~-gSHA7",
    "stash@{0}: WIP on main: SHA7 Add tests",
    "HEAD@{2}: commit: fix",
    "git diff HEAD~2 -- src/a.rs",
];

pub fn remote_alike(chance: &mut Chance, index: usize) -> Sample {
    alike(chance, REMOTES_ALIKE, index)
}

/// Addresses that whoever knows them can write to. The part before `|` may be said aloud.
const WEBHOOKS: &[&str] = &[
    "https://hooks.slack.com/services/|T[A-Z0-9]{8}/B[A-Z0-9]{10}/[A-Za-z0-9]{24}",
    "https://hooks.slack.com/workflows/|T[A-Z0-9]{8}/A[A-Z0-9]{9}/[0-9]{18}/[A-Za-z0-9]{24}",
    "https://hooks.slack.com/triggers/|T[A-Z0-9]{8}/[0-9]{13}/[a-f0-9]{32}",
    "https://discord.com/api/webhooks/|[0-9]{18}/[A-Za-z0-9_-]{67}[A-Za-z0-9]",
    "https://discordapp.com/api/webhooks/|[0-9]{19}/[A-Za-z0-9_-]{67}[A-Za-z0-9]",
    "https://canary.discord.com/api/webhooks/|[0-9]{19}/[A-Za-z0-9_-]{67}[A-Za-z0-9]",
    "https://kernwerk.webhook.office.com/webhookb2/|[a-f0-9]{8}-[a-f0-9]{4}-[a-f0-9]{4}-[a-f0-9]{4}-[a-f0-9]{12}@[a-f0-9]{8}-[a-f0-9]{4}-[a-f0-9]{4}-[a-f0-9]{4}-[a-f0-9]{12}/IncomingWebhook/[a-f0-9]{32}/[a-f0-9]{8}-[a-f0-9]{4}-[a-f0-9]{4}-[a-f0-9]{4}-[a-f0-9]{12}",
    "https://outlook.office.com/webhook/|[a-f0-9]{8}-[a-f0-9]{4}-[a-f0-9]{4}-[a-f0-9]{4}-[a-f0-9]{12}@[a-f0-9]{8}-[a-f0-9]{4}-[a-f0-9]{4}-[a-f0-9]{4}-[a-f0-9]{12}/IncomingWebhook/[a-f0-9]{32}/[a-f0-9]{8}-[a-f0-9]{4}-[a-f0-9]{4}-[a-f0-9]{4}-[a-f0-9]{12}",
    "https://prod-42.westeurope.logic.azure.com:443/workflows/[a-f0-9]{32}/triggers/manual/paths/invoke?api-version=2016-06-01&sp=%2Ftriggers%2Fmanual%2Frun&sv=1.0&sig=|[A-Za-z0-9_-]{42}[A-Za-z0-9]",
    "https://chat.googleapis.com/v1/spaces/AAAA[A-Za-z0-9]{7}/messages?key=|AIza[A-Za-z0-9_-]{34}[A-Za-z0-9]&token=[A-Za-z0-9_-]{42}[A-Za-z0-9]",
    "https://hooks.zapier.com/hooks/catch/|[0-9]{7}/[a-z0-9]{7}",
    "https://maker.ifttt.com/trigger/door/with/key/|[A-Za-z0-9_-]{42}[A-Za-z0-9]",
    "https://api.telegram.org/bot|[1-9][0-9]{9}:AA[A-Za-z0-9_-]{32}[A-Za-z0-9]/sendMessage",
    "https://oapi.dingtalk.com/robot/send?access_token=|[a-f0-9]{64}",
    "https://open.feishu.cn/open-apis/bot/v2/hook/|[a-f0-9]{8}-[a-f0-9]{4}-[a-f0-9]{4}-[a-f0-9]{4}-[a-f0-9]{12}",
    "https://qyapi.weixin.qq.com/cgi-bin/webhook/send?key=|[a-f0-9]{8}-[a-f0-9]{4}-[a-f0-9]{4}-[a-f0-9]{4}-[a-f0-9]{12}",
    "https://events.pagerduty.com/integration/|[a-f0-9]{32}/enqueue",
    "https://hooks.airtable.com/workflows/v1/genericWebhook/|app[A-Za-z0-9]{14}/wfl[A-Za-z0-9]{14}/wtr[A-Za-z0-9]{14}",
    "https://[a-f0-9]{32}@o[0-9]{6}.ingest.sentry.io/[0-9]{7}|",
    "https://hook.eu1.make.com/|[a-z0-9]{32}",
    "https://api.opsgenie.com/v1/json/zabbix?apiKey=|[a-f0-9]{8}-[a-f0-9]{4}-[a-f0-9]{4}-[a-f0-9]{4}-[a-f0-9]{12}",
    "https://mattermost.kernwerk.de/hooks/|[a-z0-9]{26}",
    "https://rocket.kernwerk.de/hooks/|[A-Za-z0-9]{17}/[A-Za-z0-9]{43}",
    "https://hc-ping.com/|[a-f0-9]{8}-[a-f0-9]{4}-4[a-f0-9]{3}-[89ab][a-f0-9]{3}-[a-f0-9]{12}",
    "https://smee.io/|[A-Za-z0-9]{16}",
    "https://webhook.site/|[a-f0-9]{8}-[a-f0-9]{4}-4[a-f0-9]{3}-[89ab][a-f0-9]{3}-[a-f0-9]{12}",
];

const WEBHOOK_PLACES: &[&str] = &[
    "{}",
    "WEBHOOK_URL={}",
    "curl -X POST -H 'Content-type: application/json' --data '{\"text\":\"hi\"}' {}",
    "\"url\": \"{}\"",
    "webhook: '{}'",
    "requests.post(\"{}\", json=data)",
    "posted to {}.",
    "POST {} 200",
    "slack_api_url: {}",
    "(see {})",
    "const url = `{}`;",
];

pub fn webhook(chance: &mut Chance, index: usize) -> Sample {
    let pattern = WEBHOOKS[index % WEBHOOKS.len()];
    let (start, secret) = pattern.split_once('|').expect("a border");
    let place = pick(chance, WEBHOOK_PLACES);
    let (start, mut secret) = (shape(chance, start), shape(chance, secret));
    let text = place.replacen("{}", &format!("{start}{secret}"), 1).replace("{}", "");
    if secret.is_empty() {
        // The key is the user of the URL.
        secret = start[8..40].to_string();
    }
    let secret = secret.trim_end_matches("/sendMessage").trim_end_matches("/enqueue");
    Sample::new(pattern, text, &[secret]).loose()
}

const WEBHOOKS_ALIKE: &[&str] = &[
    "https://hooks.slack.com/services/T00000000/B00000000/XXXXXXXXXXXXXXXXXXXXXXXX",
    "https://hooks.slack.com/services/YOUR/WEBHOOK/URL",
    "https://hooks.slack.com/services/...",
    "https://hooks.slack.com/services/$SLACK_HOOK",
    "https://api.slack.com/messaging/webhooks",
    "https://slack.com/api/chat.postMessage",
    "https://northquay.slack.com/archives/C024BE91L/p1720000000000000",
    "https://discord.com/api/webhooks/{id}/{token}",
    "https://discord.com/channels/112233445566778899/998877665544332211",
    "https://discord.com/developers/docs/resources/webhook",
    "https://discord.gg/rust-lang",
    "https://api.telegram.org/bot<token>/sendMessage",
    "https://api.telegram.org/bot$TOKEN/getUpdates",
    "https://hooks.zapier.com/hooks/catch/<id>/<hook>/",
    "WEBHOOK_URL=https://example.com/webhook",
    "POST /webhooks/stripe 200",
    "POST /api/webhooks/UUID/deliveries 201",
    "webhook_id: 4811920",
    "webhooks:\n  - name: ~w~\n    url: ${WEBHOOK_URL}",
    "kind: ValidatingWebhookConfiguration",
    "webhook.~w~.svc.cluster.local:443",
    "app.post('/webhook', express.raw({ type: '*/*' }), handler);",
    "https://outlook.office.com/webhook/",
    "https://teams.microsoft.com/l/channel/",
    "https://github.com/northquay/~w~/settings/hooks/4811920",
    "stripe listen --forward-to localhost:3000/webhook",
    "X-GitHub-Delivery: UUID",
];

pub fn webhook_alike(chance: &mut Chance, index: usize) -> Sample {
    alike(chance, WEBHOOKS_ALIKE, index)
}

const CONNECTIONS: &[&str] = &[
    "Server=db;Database=shop;User Id=app;Password={};",
    "Server=tcp:~w~.database.windows.net,1433;Initial Catalog=shop;User ID=app;Password={};Encrypt=True;",
    "Data Source=.;Initial Catalog=shop;User ID=sa;Password={};MultipleActiveResultSets=True",
    "Server=localhost;Port=3306;Database=shop;Uid=root;Pwd={};",
    "Host=localhost;Port=5432;Username=app;Password={};Database=shop",
    "\"DefaultConnection\": \"Host=db;Username=app;Password={}\"",
    "<add name=\"Main\" connectionString=\"Server=db;User Id=sa;Password={};\" providerName=\"x\" />",
    "Driver={ODBC Driver 18 for SQL Server};Server=db;UID=sa;PWD={}",
    "Driver={PostgreSQL};Server=db;Uid=app;Pwd={};",
    "host=localhost port=5432 dbname=shop user=app password={} sslmode=require",
    "dsn = \"host=db user=app password={} dbname=shop\"",
    "primary_conninfo = 'host=10.0.0.4 user=rep password={}'",
    "app:{}@tcp(127.0.0.1:3306)/shop?parseTime=true",
    "dsn := \"root:{}@tcp(db:3306)/shop\"",
    "mysql:host=localhost;dbname=shop;user=root;password={}",
    "DefaultEndpointsProtocol=https;AccountName=~w~;AccountKey={};EndpointSuffix=core.windows.net",
    "BlobEndpoint=https://~w~.blob.core.windows.net/;SharedAccessSignature=sv=2022-11-02&ss=b&sig={}",
    "Endpoint=sb://~w~.servicebus.windows.net/;SharedAccessKeyName=Root;SharedAccessKey={}",
    "Endpoint=sb://~w~.servicebus.windows.net/;SharedAccessKeyName=Root;SharedAccessKey={};EntityPath=q",
    "HostName=~w~.azure-devices.net;SharedAccessKeyName=iothubowner;SharedAccessKey={}",
    "AccountEndpoint=https://~w~.documents.azure.com:443/;AccountKey={};",
    "Endpoint=https://~w~.azconfig.io;Id=a-b;Secret={}",
    "endpoint=https://~w~.communication.azure.com/;accesskey={}",
    "~w~.redis.cache.windows.net:6380,password={},ssl=True,abortConnect=False",
    "cache:6379,password={},defaultDatabase=0",
    "sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required username=\"~w~\" password=\"{}\";",
    "sasl_plain_password='{}', sasl_mechanism='PLAIN'",
    "user=app/{}@//ora:1521/XE",
    "sqlplus system/{}@localhost:1521/XE",
    "Provider=SQLOLEDB;Data Source=db;User ID=sa;Password={}",
    "Data Source=app.db;Version=3;Password={};",
    "AMQP_CONNECTION=host=mq;username=app;password={}",
    "account=~w~;user=app;password={};warehouse=wh;db=shop",
    "mongodb: {host: db, username: app, password: {}}",
    "new Pool({ user: 'app', host: 'db', password: '{}', port: 5432 })",
    "psycopg2.connect(dbname='shop', user='app', password='{}')",
    "pymysql.connect(host=\"db\", user=\"root\", passwd=\"{}\")",
    "mysqli_connect(\"db\", \"root\", \"{}\", \"shop\")",
    "new PDO('mysql:host=db;dbname=shop', 'root', '{}')",
    "DriverManager.getConnection(\"jdbc:mysql://db/shop\", \"root\", \"{}\")",
    "ActiveRecord::Base.establish_connection(adapter: 'mysql2', username: 'root', password: '{}')",
];

pub fn connection(chance: &mut Chance, index: usize) -> Sample {
    let template = CONNECTIONS[index % CONNECTIONS.len()];
    let value = if template.contains("AccountKey") {
        shape(chance, "[A-Za-z0-9+/]{86}==")
    } else if ["SharedAccessKey", "accesskey", "Secret="].iter().any(|n| template.contains(n)) {
        shape(chance, "[A-Za-z0-9+/]{43}=")
    } else if template.contains("sig=") {
        shape(chance, "[A-Za-z0-9]{30}%2F[A-Za-z0-9]{12}%3D")
    } else {
        match chance.below(3) {
            0 => password_without_signs(chance),
            1 => uuid(chance),
            _ => random(chance, 20),
        }
    };
    let text = words(chance, template).replace("{}", &value);
    Sample::new(template, text, &[&value])
}

fn password_without_signs(chance: &mut Chance) -> String {
    self::people(chance).replace(['!', '*', '^', '~'], "")
}

const CONNECTIONS_ALIKE: &[&str] = &[
    "Server=db;Database=shop;Integrated Security=True;",
    "Server=(localdb)\\\\mssqllocaldb;Database=shop;Trusted_Connection=True;",
    "Data Source=app.db",
    "Data Source=:memory:",
    "Server=db;User Id=app;Password=;",
    "Server=db;User Id=app;Password=${DB_PASSWORD};",
    "Server=db;User Id=app;Password={password};",
    "Server=db;User Id=app;Password=<password>;",
    "Server=db;User Id=app;Password=********;",
    "host=localhost port=5432 dbname=shop user=app sslmode=disable",
    "host=localhost user=app password=$PGPASSWORD dbname=shop",
    "UseDevelopmentStorage=true",
    "AccountName=~w~;EndpointSuffix=core.windows.net",
    "AccountKey=<account-key>",
    "Endpoint=sb://~w~.servicebus.windows.net/",
    "DefaultEndpointsProtocol=https;AccountName=~w~",
    "cache:6379,ssl=True,abortConnect=False",
    "dsn := fmt.Sprintf(\"%s:%s@tcp(%s)/%s\", user, pass, host, name)",
    "new Pool({ connectionString: process.env.DATABASE_URL })",
    "psycopg2.connect(os.environ['DATABASE_URL'])",
    "psycopg2.connect(dbname='shop', user='app', password=password)",
    "createConnection({ host, user, password })",
    "connection string is missing a password",
    "ConnectionStrings:Default is not set",
    "could not translate host name \"db\" to address",
    "FATAL: password authentication failed for user \"app\"",
    "connection to server at \"localhost\" (127.0.0.1), port 5432 failed",
    "max_connections = 200",
    "pool_size=10, max_overflow=20",
    "sasl.mechanism=PLAIN",
    "security.protocol=SASL_SSL",
    "encrypt=true;trustServerCertificate=false",
    "application_name=~w~ connect_timeout=10",
];

pub fn connection_alike(chance: &mut Chance, index: usize) -> Sample {
    alike(chance, CONNECTIONS_ALIKE, index)
}
