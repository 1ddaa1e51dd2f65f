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
