//! What each family of rules finds and what it leaves alone.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proto::chance::Chance;
use proto::redact::placeholders;
use serde_json::json;

use super::{KEPT, LINES, PERSONAL, random, redact};

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

#[test]
fn personal_data_goes() {
    for (text, value, placeholder) in PERSONAL {
        let out = redact(text);
        assert!(!out.contains(value), "{text} -> {out}");
        assert!(out.contains(placeholder), "{text} -> {out}");
    }
}

#[test]
fn look_alikes_stay() {
    let changed: Vec<_> = KEPT
        .iter()
        .filter_map(|text| Some((text, redact(text))).filter(|(text, out)| **text != out))
        .map(|(text, out)| format!("{text}\n   -> {out}"))
        .collect();
    assert!(changed.is_empty(), "{} changed:\n{}", changed.len(), changed.join("\n"));
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
            whole.lines().enumerate().map(|(i, l)| format!("a/id_rsa:{}:{l}\n", i + 1)).collect(),
            whole.lines().enumerate().map(|(i, l)| format!("{:05}| {l}\n", i + 1)).collect(),
            whole.lines().map(|l| format!(" * {l}\n")).collect(),
            format!("<pre>{}</pre>", whole.replace('\n', "<br>")),
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
fn keys_go_in_the_formats_that_have_no_markers() {
    let mut chance = Chance::new(14, "key formats");
    for _ in 0..20 {
        let (value, other) = (random(&mut chance, 43), random(&mut chance, 43));
        for text in [
            json!({"kty": "OKP", "crv": "Ed25519", "d": value, "x": other}).to_string(),
            json!({"crv": "P-256", "x": other, "d": value, "kty": "EC"}).to_string(),
            format!("<RSAKeyValue><Modulus>{other}</Modulus><D>{value}</D></RSAKeyValue>"),
            format!("Private-Lines: 1\n{value}\nPrivate-MAC: 0"),
            format!("[Interface]\nPrivateKey = {value}=\nAddress = 10.8.0.2/24"),
        ] {
            let out = redact(&text);
            assert!(!out.contains(&value), "{text} -> {out}");
            assert!(!text.contains(&other) || out.contains(&other), "{text} -> {out}");
            assert!(!text.contains("Address") || out.contains("Address"), "{out}");
        }
    }
}

#[test]
fn secrets_broken_over_lines_go_and_the_lines_stay() {
    let mut chance = Chance::new(15, "wrapped");
    let mut wrong = Vec::new();
    for _ in 0..20 {
        let token = format!("gh{}_{}", "p", random(&mut chance, 36));
        for value in [random(&mut chance, 48), token] {
            let (a, b) = value.split_at(22);
            for text in [
                format!("API_KEY={a}\n{b}\nnext line"),
                format!("API_KEY={a}\r\n{b}\r\nnext line"),
                format!("> API_KEY={a}\n> {b}\n> next line"),
                format!("  12\tapi_key: {a}\n  13\t{b}\n  14\tnext: 1"),
                format!("api_key = \"{a}\" +\n    \"{b}\""),
                format!("$api_key = '{a}' .\n    '{b}';"),
                format!("api_key = (\n    \"{a}\"\n    \"{b}\"\n)"),
                format!("deploy --api-key {a}\\\n{b} --dry"),
                format!("api_key: |\n  {a}\n  {b}\nport: 1"),
                format!("api_key={a}=\n{b}\n"),
                format!("api_key = ['{a}', '{b}'].join('')"),
                json!({"out": format!("API_KEY={a}\n{b}\nnext line")}).to_string(),
            ] {
                let out = redact(&text);
                let gone = !out.contains(&a[12..]) && !out.contains(&b[..10]);
                if !gone || out.lines().count() != text.lines().count() {
                    wrong.push(format!("{text}\n   -> {out}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn what_follows_a_secret_on_the_next_line_stays() {
    let mut chance = Chance::new(16, "next lines");
    let value = random(&mut chance, 24);
    for next in [
        "9fceb02d0ae598e95dc970b74767f19372d61af8 Fix the build",
        "REGION=eu-central-1",
        "862ca6e038f5   postgres:16-alpine",
        "afterwards it was fine",
        "user1: jane",
        "~~~~~~",
    ] {
        let out = redact(&format!("API_KEY={value}\n{next}\n"));
        assert!(!out.contains(&value) && out.ends_with(&format!("\n{next}\n")), "{out}");
    }
}

#[test]
fn a_secret_beside_the_id_of_its_pair_needs_no_name() {
    let mut chance = Chance::new(17, "pairs");
    for _ in 0..20 {
        let id = format!("AKIA{}", random(&mut chance, 16).to_uppercase());
        let secret = format!("{}/{}", random(&mut chance, 19), random(&mut chance, 20));
        for text in [
            format!("{id}:{secret}"),
            format!("| {id} | {secret} |"),
            format!("{id}\n{secret}\n"),
            format!("new BasicAWSCredentials(\"{id}\", \"{secret}\")"),
        ] {
            let out = redact(&text);
            assert!(!out.contains(&id) && !out.contains(&secret), "{text} -> {out}");
        }
    }
}

#[test]
fn webhooks_lose_what_makes_them_secret() {
    let mut chance = Chance::new(18, "webhooks");
    let value = random(&mut chance, 32);
    for (text, kept) in [
        ("https://chat.acme.dev/hooks/{}", "https://chat.acme.dev/hooks/"),
        ("https://hook.eu1.make.com/{} ok", "hook.eu1.make.com/"),
        ("https://maker.ifttt.com/trigger/door/with/key/{}", "https://"),
        ("https://webhook.site/{}", "https://webhook.site/"),
        ("https://open.feishu.cn/open-apis/bot/v2/hook/{}", "/bot/v2/hook/"),
        ("https://x.dev/webhook/send?key={}&a=1", "&a=1"),
    ] {
        let text = text.replace("{}", &value);
        let out = redact(&text);
        assert!(!out.contains(&value) && out.contains(kept), "{text} -> {out}");
    }
}

#[test]
fn hashes_of_accounts_go() {
    let hex = |chance: &mut Chance| -> String {
        (0..32).map(|_| char::from(b"0123456789abcdef"[chance.below(16)])).collect()
    };
    let mut chance = Chance::new(19, "accounts");
    let (hash, nt) = (random(&mut chance, 13), hex(&mut chance));
    let out = redact(&format!("jroe:{hash}:19000:0:99999:7:::"));
    assert!(!out.contains(&hash) && out.contains(":19000:"), "{out}");
    let out = redact(&format!("$ cat .htpasswd\njroe:{hash}\n"));
    assert!(!out.contains(&hash) && out.contains("jroe:<"), "{out}");
    let out = redact(&format!("Administrator:500:{}:{nt}:::", hex(&mut chance)));
    assert!(!out.contains(&nt) && out.starts_with("Administrator:500:"), "{out}");
}

#[test]
fn keys_without_a_shape_are_known_by_their_service() {
    let mut chance = Chance::new(20, "services");
    for (name, length) in [("datadog", 40), ("twitch", 30), ("algolia", 32), ("zendesk", 40)] {
        let value = random(&mut chance, length).to_lowercase();
        for text in [format!("{name} = {value}"), format!("\"{name}\": \"{value}\"")] {
            assert!(!redact(&text).contains(&value), "{text}");
        }
        for text in [
            format!("{name} commit: {value}"),
            format!("{name} = {}", &value[..length - 3]),
            format!("{name} {value}"),
        ] {
            assert_eq!(redact(&text), text);
        }
    }
}

#[test]
fn what_stands_on_the_line_before_excuses_nothing() {
    let out = redact("Compiling ferry v8.24.9\n\nFailed login from 85.2.12.84 port 22");
    assert!(out.ends_with("Failed login from <IP_1> port 22"), "{out}");
    let out = redact(&format!("the build used AKIA{}, then stopped", "G5BYTXAZIXIPROVI"));
    assert_eq!(out, "the build used <SECRET_AWS_1>, then stopped");
}
