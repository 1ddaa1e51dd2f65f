//! Authorization and cookie headers, and JSON web tokens.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use proto::chance::Chance;
use serde_json::json;

use super::Sample;
use super::digests::digests;
use super::values::{bytes, fill, hex, password, pick, random, shape, uuid, word, words};

/// Where a credential stands in a header that carries nothing else.
const AUTHORIZATION: &[&str] = &[
    "Authorization: Bearer {}",
    "authorization: Bearer {}",
    "Authorization: bearer {}\nAccept: */*",
    "AUTHORIZATION: BEARER {}",
    "> Authorization: Bearer {}\n> Accept: */*",
    "> authorization: Bearer {}",
    "* [HTTP/2] [1] [authorization: Bearer {}]",
    "Authorization: token {}",
    "Authorization: Token {}",
    "Authorization: ApiKey {}",
    "Authorization: Api-Key {}",
    "Authorization: {}",
    "Authorization: Token token=\"{}\"",
    "Authorization: Token token={}, email=x",
    "Authorization: GenieKey {}",
    "Authorization: SSWS {}",
    "Authorization: Bot {}",
    "Authorization: OAuth {}",
    "Authorization: key={}",
    "Authorization: Klaviyo-API-Key {}",
    "Authorization: PVEAPIToken=root@pam!ci={}",
    "Authorization: Splunk {}",
    "Authorization: Digest username=\"~w~\", realm=\"x\", nonce=\"0\", uri=\"/\", response=\"{}\"",
    "Authorization: AWS4-HMAC-SHA256 Credential=x/20240701/eu-central-1/s3/aws4_request, \
     SignedHeaders=host, Signature={}",
    "Authorization: Signature keyId=\"ci\",algorithm=\"hmac-sha256\",signature=\"{}\"",
    "Proxy-Authorization: Bearer {}",
    "X-Api-Key: {}",
    "x-api-key: {}",
    "X-API-KEY: {}\n",
    "X-Auth-Token: {}",
    "X-Access-Token: {}",
    "X-Vault-Token: {}",
    "X-Gitlab-Token: {}",
    "PRIVATE-TOKEN: {}",
    "JOB-TOKEN: {}",
    "X-Amz-Security-Token: {}",
    "X-Goog-Api-Key: {}",
    "X-Figma-Token: {}",
    "X-Shopify-Access-Token: {}",
    "X-Auth-Key: {}",
    "DD-API-KEY: {}",
    "api-key: {}",
    "apikey: {}",
    "Ocp-Apim-Subscription-Key: {}",
    "X-RapidAPI-Key: {}",
    "X-Plex-Token: {}",
    "X-CSRF-Token: {}",
    "curl -H 'Authorization: Bearer {}' localhost:8080/me",
    "curl -H \"Authorization: Bearer {}\" https://api.~d~/v1",
    "curl -sS --header \"PRIVATE-TOKEN: {}\" https://git.~d~/api/v4/projects",
    "curl -H \"X-Api-Key:{}\" https://api.~d~/",
    "curl https://api.~d~ -H 'x-api-key: {}' -d '{\"a\":1}'",
    "curl --oauth2-bearer {} https://api.~d~/",
    "wget --header='Authorization: Bearer {}' http://localhost/f",
    "http GET localhost/x Authorization:'Bearer {}'",
    "http :8000/me 'X-Api-Key:{}'",
    "headers = {\"Authorization\": \"Bearer {}\"}",
    "headers={'Authorization': f'token {}'}",
    "headers: { Authorization: 'Bearer {}' },",
    "headers: { \"x-api-key\": \"{}\" }",
    "{\"headers\":{\"authorization\":\"Bearer {}\",\"accept\":\"*/*\"}}",
    "req.Header.Set(\"Authorization\", \"Bearer {}\")",
    "req.Header.Add(\"X-Api-Key\", \"{}\")",
    ".header(\"Authorization\", \"Bearer {}\")",
    ".header(AUTHORIZATION, \"Bearer {}\")",
    ".bearer_auth(\"{}\")",
    ".set('Authorization', 'Bearer {}')",
    "xhr.setRequestHeader('X-Api-Key', '{}');",
    "conn.setRequestProperty(\"Authorization\", \"Bearer {}\");",
    "request.headers['Authorization'] = \"Bearer {}\"",
    "session.headers.update({\"Authorization\": \"Bearer {}\"})",
    "axios.defaults.headers.common['Authorization'] = 'Bearer {}';",
    "('Authorization', 'Bearer {}'),",
    "[\"Authorization\", \"Bearer {}\"]",
    "-H \"Authorization: Bearer {}\" \\",
    "proxy_set_header Authorization \"Bearer {}\";",
    "Header set Authorization \"Bearer {}\"",
    "{\"name\": \"Authorization\", \"value\": \"Bearer {}\"}",
    "- key: Authorization\n  value: Bearer {}",
    "bearer_token: {}",
    "Got 401 with header 'Authorization: Bearer {}'",
    "DEBUG:urllib3: send: b'GET / HTTP/1.1\\r\\nHost: x\\r\\nAuthorization: Bearer {}\\r\\n'",
    "the header was Bearer {}, which is old",
    "\"token_type\": \"bearer\", \"access_token\": \"{}\"",
    "HTTP_AUTHORIZATION=Bearer {}",
];

pub fn authorization(chance: &mut Chance, index: usize) -> Sample {
    // Every few, the old scheme: a name and a password in base64.
    if index % 8 == 7 {
        let template = pick(
            chance,
            &[
                "Authorization: Basic {}",
                "authorization: Basic {}\naccept: */*",
                "curl -H 'Authorization: Basic {}' http://localhost/",
                "headers = {\"Authorization\": \"Basic {}\"}",
                "Proxy-Authorization: Basic {}",
                "\"auth\": \"Basic {}\"",
            ],
        );
        let user = word(chance);
        let secret = password(chance);
        let value = STANDARD.encode(format!("{user}:{secret}"));
        let text = fill(chance, template, &value);
        let mut sample = Sample::new(template, text, &[&value]);
        sample.secrets.push(secret);
        return sample;
    }
    let template = AUTHORIZATION[index % AUTHORIZATION.len()];
    let value = match chance.below(5) {
        0 => hex(chance, 40),
        1 => uuid(chance),
        2 => shape(chance, "[A-Za-z0-9_-]{42}[A-Za-z0-9]"),
        3 => shape(chance, "[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]="),
        _ => random(chance, 32),
    };
    let text = fill(chance, template, &value);
    let sample = Sample::new(template, text, &[&value]);
    // Of schemes that few know, the whole header may go.
    let known = ["Bearer", "bearer", "oken"].iter().any(|scheme| template.contains(scheme));
    if template.starts_with("Authorization: ") && !known { sample.loose() } else { sample }
}

const AUTHORIZATION_ALIKE: &[&str] = &[
    "Authorization: Bearer <token>",
    "Authorization: Bearer $TOKEN",
    "Authorization: Bearer ${TOKEN}",
    "Authorization: Bearer {token}",
    "Authorization: Bearer {{ token }}",
    "Authorization: Bearer YOUR_ACCESS_TOKEN",
    "Authorization: Bearer ...",
    "Authorization: Bearer ***",
    "Authorization: Bearer [REDACTED]",
    "Authorization: Basic <credentials>",
    "Authorization: Basic $(echo -n $USER:$PASS | base64)",
    "Authorization: token $GITHUB_TOKEN",
    "Authorization: %s",
    "curl -H \"Authorization: Bearer $TOKEN\" https://api.example.com/v1",
    "curl -H 'X-Api-Key: YOUR_API_KEY' https://api.example.com/",
    "curl -H \"PRIVATE-TOKEN: <your_access_token>\" https://git.example.com",
    "headers = {\"Authorization\": f\"Bearer {token}\"}",
    "headers: { Authorization: `Bearer ${token}` },",
    "headers: { 'x-api-key': process.env.API_KEY },",
    "headers[\"Authorization\"] = \"Bearer \" + token",
    "req.Header.Set(\"Authorization\", \"Bearer \"+token)",
    ".header(\"Authorization\", format!(\"Bearer {token}\"))",
    "if (!header.startsWith('Bearer ')) return null;",
    "WWW-Authenticate: Bearer realm=\"api\", error=\"invalid_token\"",
    "WWW-Authenticate: Basic realm=\"Restricted\"",
    "< HTTP/1.1 401 Unauthorized",
    "Access-Control-Allow-Headers: Authorization, Content-Type, X-Api-Key",
    "Vary: Authorization, Accept-Encoding",
    "The Authorization header is missing",
    "Authorization: required",
    "Authorization header must be of the form Bearer <token>",
    "X-Request-Id: UUID",
    "x-request-id: MD5SUM",
    "x-amz-request-id: ULID",
    "x-amz-id-2: B64N43",
    "X-Trace-Id: MD5SUM",
    "traceparent: 00-MD5SUM-HEX16-01",
    "x-github-request-id: C2A4:3F1B:HEX8:HEX8:HEX8",
    "cf-ray: HEX16-FRA",
    "ETag: \"MD5SUM\"",
    "If-None-Match: W/\"HEX40\"",
    "Content-MD5: B64M24",
    "Digest: SHA-256=B64X32",
    "x-amz-version-id: RAND32",
    "Content-Security-Policy: script-src 'self' 'sha256-B64X32'",
    "Strict-Transport-Security: max-age=63072000; includeSubDomains",
    "sec-websocket-accept: B64W28",
    "User-Agent: curl/8.7.1",
    "content-type: application/json; charset=utf-8",
    "x-ratelimit-remaining: 4999",
    "x-ratelimit-reset: 1720000000",
    "last-modified: Mon, 01 Jul 2024 12:00:00 GMT",
    "bearer of good news",
    "BearerTokenAuth class not found",
    "security:\n  - bearerAuth: []",
    "securitySchemes:\n  bearerAuth:\n    type: http\n    scheme: bearer",
    "Basic usage: run the program without arguments",
    "basic auth is disabled",
    "x-api-key: string",
    "X-Api-Key (header, required)",
    "anthropic-version: 2023-06-01",
    "anthropic-beta: prompt-caching-2024-07-31",
    "openai-organization: org-northquay",
    "this._noAuthorization = !req.headers.authorization;",
    "if (req.headers.authorization) return next();",
];

pub fn authorization_alike(chance: &mut Chance, index: usize) -> Sample {
    alike(chance, AUTHORIZATION_ALIKE, index)
}

fn alike(chance: &mut Chance, templates: &[&str], index: usize) -> Sample {
    let template = templates[index % templates.len()];
    let text = words(chance, template);
    let text = text
        .replace("B64M24", &shape(chance, "[A-Za-z0-9+/]{21}[AQgw]=="))
        .replace("B64W28", &shape(chance, "[A-Za-z0-9+/]{26}[AEIMQUYcgkosw048]="));
    Sample::kept(template, digests(chance, &text))
}

/// Names of session cookies and the shapes of their values.
const COOKIES: &[(&str, &str)] = &[
    ("sessionid", "[a-z0-9]{32}"),
    ("session", "[A-Za-z0-9_-]{43}"),
    ("connect.sid", "s%3A[A-Za-z0-9_-]{32}.[A-Za-z0-9]{40}"),
    ("PHPSESSID", "[a-z0-9]{26}"),
    ("JSESSIONID", "[A-F0-9]{32}"),
    ("ASP.NET_SessionId", "[a-z0-9]{24}"),
    (".AspNetCore.Session", "CfDJ8[A-Za-z0-9_-]{80}"),
    ("laravel_session", "[A-Za-z0-9]{80}"),
    ("_gitlab_session", "[a-f0-9]{32}"),
    ("user_session", "[A-Za-z0-9_-]{48}"),
    ("_~w~_session", "[A-Za-z0-9]{60}--[a-f0-9]{40}"),
    ("auth_token", "[a-f0-9]{40}"),
    ("access_token", "[A-Za-z0-9]{40}"),
    ("remember_token", "[A-Za-z0-9]{40}"),
    ("next-auth.session-token", "[a-f0-9]{8}-[a-f0-9]{4}-4[a-f0-9]{3}-a[a-f0-9]{3}-[a-f0-9]{12}"),
    ("__Secure-next-auth.session-token", "[A-Za-z0-9]{60}"),
    ("__Host-session", "[A-Za-z0-9]{32}"),
    ("csrftoken", "[A-Za-z0-9]{32}"),
    ("XSRF-TOKEN", "[A-Za-z0-9]{40}"),
    ("sid", "[A-Za-z0-9]{24}"),
    ("SSID", "A[A-Za-z0-9_-]{16}"),
    ("li_at", "AQED[A-Za-z0-9_-]{120}"),
    ("JWT", "[A-Za-z0-9]{60}"),
    ("token", "[A-Za-z0-9]{32}"),
    ("cf_clearance", "[A-Za-z0-9_-]{43}-1720000000-1.2.1.1-[A-Za-z0-9]{40}"),
    ("wordpress_logged_in_0a1b", "~w~%7C1720000000%7C[A-Za-z0-9]{43}"),
    ("grafana_session", "[a-f0-9]{32}"),
    ("jenkins-session", "node0[a-z0-9]{24}"),
    ("ajs_session", "[A-Za-z0-9]{30}"),
];

const COOKIE_PLACES: &[&str] = &[
    "Cookie: NAME={}",
    "Cookie: theme=dark; NAME={}; lang=en",
    "cookie: lang=en; NAME={}",
    "> Cookie: NAME={}\n> Accept: */*",
    "Set-Cookie: NAME={}; Path=/; HttpOnly; Secure",
    "< set-cookie: NAME={}; Path=/; Max-Age=3600; SameSite=Lax",
    "Set-Cookie: NAME={}",
    "curl -b 'NAME={}' http://localhost/",
    "curl --cookie \"theme=dark; NAME={}\" http://localhost/",
    "curl 'http://localhost/' -H 'cookie: a=1; NAME={}'",
    "document.cookie = \"NAME={}; path=/\";",
    "cookies = {\"NAME\": \"{}\"}",
    "requests.get(url, cookies={'NAME': '{}'})",
    "{\"cookie\": \"NAME={}; lang=en\"}",
    "{\"name\": \"NAME\", \"value\": \"{}\", \"domain\": \".example.com\"}",
    "#HttpOnly_localhost\tFALSE\t/\tFALSE\t1720000000\tNAME\t{}",
    "localhost\tFALSE\t/\tTRUE\t0\tNAME\t{}",
    "session.cookies.set('NAME', '{}')",
    "res.cookie('NAME', '{}', { httpOnly: true })",
    "\"Set-Cookie\": \"NAME={}; Path=/; HttpOnly\"",
    "wget --header 'Cookie: NAME={}' http://localhost/",
];

pub fn cookie(chance: &mut Chance, index: usize) -> Sample {
    let (name, pattern) = COOKIES[index % COOKIES.len()];
    let place = pick(chance, COOKIE_PLACES);
    let pattern = words(chance, pattern);
    let value = shape(chance, &pattern);
    let text = fill(chance, &place.replace("NAME", name), &value);
    Sample::new(&format!("{name} in {place}"), text, &[&value])
}

const COOKIE_ALIKE: &[&str] = &[
    "Cookie: theme=dark",
    "Cookie: theme=dark; lang=en-GB; tz=Europe/Berlin",
    "Cookie: cookie_consent=accepted; sidebar=collapsed",
    "Set-Cookie: lang=de; Path=/; Max-Age=31536000",
    "Set-Cookie: theme=light; Path=/; SameSite=Lax",
    "Set-Cookie: session=; Path=/; Expires=Thu, 01 Jan 1970 00:00:00 GMT",
    "Set-Cookie: sessionid=deleted; Max-Age=0",
    "Set-Cookie: session=<value>; HttpOnly",
    "Cookie: session=$SESSION",
    "Cookie: sessionid={session_id}",
    "Cookie: sessionid=${sessionId}",
    "curl -b cookies.txt -c cookies.txt http://localhost/",
    "curl -b \"session=$SESSION\" http://localhost/",
    "document.cookie = `lang=${lang}; path=/`;",
    "SESSION_COOKIE_NAME = \"sessionid\"",
    "SESSION_COOKIE_SECURE = True",
    "SESSION_COOKIE_AGE = 1209600",
    "session.cookie_httponly = 1",
    "res.clearCookie('connect.sid')",
    "cookies = {\"lang\": \"en\"}",
    "const session = await getSession(req);",
    "session = Session()",
    "session_id = uuid4()",
    "\"sameSite\": \"lax\"",
    "cookie: { secure: true, maxAge: 60000 }",
    "cookie-parser@1.4.6",
    "\"tough-cookie\": \"^4.1.3\"",
    "session.query(User).filter_by(id=1)",
    "session=requests.Session()",
    "The session cookie is HttpOnly",
    "sid: string",
    "session expired after 30 minutes",
    "session ~n~ of 100 finished",
    "resume with: claude --resume UUID",
    "\"sessionId\":\"UUID\",\"version\":\"1.0.61\"",
    "tmux new-session -s ~w~",
    "csrf token missing or incorrect",
    "csrf_token = request.cookies.get(\"csrftoken\")",
    "X-CSRF-Token: {{ csrf_token }}",
];

pub fn cookie_alike(chance: &mut Chance, index: usize) -> Sample {
    alike(chance, COOKIE_ALIKE, index)
}

/// A signed web token.
pub fn web_token(chance: &mut Chance) -> String {
    let algorithm = pick(chance, &["HS256", "RS256", "ES256", "PS384", "HS512", "EdDSA"]);
    let header = match chance.below(4) {
        0 => json!({"alg": algorithm, "typ": "JWT"}),
        1 => json!({"typ": "JWT", "alg": algorithm}),
        2 => json!({"alg": algorithm, "kid": hex(chance, 16), "typ": "at+jwt"}),
        _ => json!({"kid": random(chance, 12), "alg": algorithm}),
    };
    let claims = match chance.below(3) {
        0 => {
            json!({"sub": format!("{}", 1_000_000 + chance.below(8_000_000)), "iat": 1_720_000_000})
        }
        1 => {
            json!({"iss": "https://auth.example.com/", "aud": word(chance), "exp": 1_720_003_600, "scope": "read"})
        }
        _ => json!({"user_id": uuid(chance), "role": "admin", "exp": 1_720_003_600}),
    };
    let length = [32, 48, 64, 256][chance.below(4)];
    let parts =
        [header.to_string().into_bytes(), claims.to_string().into_bytes(), bytes(chance, length)];
    parts.map(|part| URL_SAFE_NO_PAD.encode(part)).join(".")
}

const JWT_PLACES: &[&str] = &[
    "{}",
    "token: {}",
    "Authorization: Bearer {}",
    "{\"id_token\":\"{}\"}",
    "export JWT={}",
    "decoded {} to claims",
    "see {}, it has expired.",
    "https://app.~d~/login?token={}&next=/",
    "https://app.~d~/#access_token={}",
    "localStorage.token = '{}'",
    "jwt.decode(\"{}\", options={})",
    "$ echo {} | cut -d. -f2 | base64 -d",
    "Cookie: jwt={}",
    "WARN invalid signature for ({})",
    "wss://live.~d~/socket?jwt={}",
    "`{}`",
    "| token | {} |",
];

pub fn jwt(chance: &mut Chance, index: usize) -> Sample {
    let template = JWT_PLACES[index % JWT_PLACES.len()];
    let value = web_token(chance);
    let text = words(chance, template).replacen("{}", &value, 1);
    Sample::new(template, text, &[&value])
}

const JWT_ALIKE: &[&str] = &[
    "eyJ is how the base64 of {\" begins",
    "const parts = token.split('.');",
    "jwt.decode(token, key, algorithms=[\"HS256\"])",
    "header.payload.signature",
    "<header>.<payload>.<signature>",
    "jwt = \"<your-jwt>\"",
    "jwt: ${JWT}",
    "jwt malformed",
    "JsonWebTokenError: invalid signature",
    "pyjwt 2.9.0",
    "jsonwebtoken@9.0.2",
    "JSON64",
    "content: JSON64",
    "sourceMappingURL=data:application/json;base64,JSON64",
    "cursor=JSON64",
    "next_page: JSON64",
    "com.northquay.ledger.internal.persistence.RepositoryFactory",
    "org.apache.commons.lang3.exception.ExceptionUtils",
    "window.performance.timing.navigationStart",
    "torch.nn.functional.scaled_dot_product_attention",
    "a1b2c3d4.e5f6a7b8.c9d0e1f2",
    "main.DIGEST12.chunk.js",
    "{\"alg\":\"HS256\",\"typ\":\"JWT\"}",
    "{\"sub\":\"1234567890\",\"iat\":1516239022}",
    "algorithm RS256 is not allowed",
    "JWT_ALGORITHM=HS256",
    "JWT_EXPIRES_IN=15m",
    "jwks_uri: https://auth.example.com/.well-known/jwks.json",
];

pub fn jwt_alike(chance: &mut Chance, index: usize) -> Sample {
    let template = JWT_ALIKE[index % JWT_ALIKE.len()];
    let plain = json!({"page": 2, "after": word(chance), "count": chance.below(1000)}).to_string();
    let text = digests(chance, template).replace("JSON64", &STANDARD.encode(plain));
    Sample::kept(template, text)
}
