//! Private keys in all their shapes, and what is public.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proto::chance::Chance;
use serde_json::json;

use super::Sample;
use super::digests::digests;
use super::values::{bytes, hex, pick, shape, word};
use super::wrappers::lines;

/// A key as its lines.
pub struct Key {
    head: String,
    pub body: Vec<String>,
    tail: String,
}

impl Key {
    pub fn text(&self) -> String {
        format!("{}\n{}\n{}\n", self.head, self.body.join("\n"), self.tail)
    }

    fn lines(&self) -> Vec<String> {
        self.text().lines().map(str::to_string).collect()
    }
}

/// A key of a kind with so many bytes.
pub fn pem(chance: &mut Chance, kind: &str, length: usize) -> Key {
    let body = lines(&STANDARD.encode(bytes(chance, length)), 64);
    Key {
        head: format!("-----BEGIN {kind}-----"),
        body: body.lines().map(str::to_string).collect(),
        tail: format!("-----END {kind}-----"),
    }
}

/// A key of any kind that is written between two lines.
fn any(chance: &mut Chance) -> Key {
    let (kind, length) = [
        ("RSA PRIVATE KEY", 1190),
        ("PRIVATE KEY", 1218),
        ("ENCRYPTED PRIVATE KEY", 1300),
        ("EC PRIVATE KEY", 121),
        ("DSA PRIVATE KEY", 450),
        ("OPENSSH PRIVATE KEY", 411),
        ("OPENSSH PRIVATE KEY", 1800),
        ("PRIVATE KEY", 48),
        ("PGP PRIVATE KEY BLOCK", 900),
        ("SSH2 ENCRYPTED PRIVATE KEY", 600),
    ][chance.below(10)];
    let mut key = pem(chance, kind, length);
    if kind.contains("SSH2") {
        key.head = "---- BEGIN SSH2 ENCRYPTED PRIVATE KEY ----".into();
        key.tail = "---- END SSH2 ENCRYPTED PRIVATE KEY ----".into();
    }
    if kind.contains("PGP") {
        key.head.push('\n');
        let sum = shape(chance, "=[A-Za-z0-9+/]{4}");
        key.tail = format!("{sum}\n{}", key.tail);
    }
    if kind == "RSA PRIVATE KEY" && chance.below(4) == 0 {
        key.head.push_str(&format!(
            "\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,{}\n",
            hex(chance, 32).to_uppercase()
        ));
    }
    key
}

fn sample(name: &str, text: String, key: Key) -> Sample {
    Sample { name: name.to_string(), text, secrets: key.body, kept: Vec::new() }
}

pub fn plain(chance: &mut Chance, index: usize) -> Sample {
    let key = any(chance);
    let text = key.text();
    match index % 9 {
        0 => sample("alone", text, key),
        1 => sample("after a command", format!("$ cat ~/.ssh/id_rsa\n{text}$ "), key),
        2 => sample("between settings", format!("host: db\n{text}port: 22\n"), key),
        3 => {
            let text = format!("cat > key.pem <<EOF\n{text}EOF\n");
            sample("heredoc", text, key)
        }
        4 => {
            let text =
                format!("-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n{text}");
            sample("behind a certificate", text, key)
        }
        5 => putty(chance),
        6 => {
            let pad = "  ".repeat(1 + chance.below(4));
            let lines: String = key.lines().iter().map(|l| format!("{pad}{l}\n")).collect();
            sample("yaml block", format!("tls:\n  key: |\n{lines}  port: 1\n"), key)
        }
        7 => {
            let text = format!("KEY = \"\"\"{}\"\"\"\n", text.trim_end());
            sample("in code", text, key)
        }
        _ => single(chance, index / 9),
    }
}

/// Private keys that are one line.
fn single(chance: &mut Chance, index: usize) -> Sample {
    let key = STANDARD.encode(bytes(chance, 32));
    let number = hex(chance, 64);
    let (name, text, secret) = match index % 8 {
        0 => ("wireguard", format!("[Interface]\nPrivateKey = {key}\nAddress = 10.8.0.2/24"), key),
        1 => ("ethereum", format!("PRIVATE_KEY=0x{number}"), number),
        2 => (
            "age",
            String::new(),
            shape(chance, "AGE-SECRET-KEY-1[QPZRY9X8GF2TVDW0S3JN54KHCE6MUA7L]{58}"),
        ),
        3 => {
            let value = shape(chance, "[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]");
            let text = json!({"kty": "EC", "crv": "P-256", "x": shape(chance, "[A-Za-z0-9_-]{43}"), "y": shape(chance, "[A-Za-z0-9_-]{43}"), "d": value});
            ("jwk", text.to_string(), value)
        }
        4 => ("vapid", format!("VAPID_PRIVATE_KEY={key}"), key),
        5 => (
            "tor",
            format!("PrivateKey=ED25519-V3:{}", STANDARD.encode(bytes(chance, 64))),
            String::new(),
        ),
        6 => ("hex in code", format!("const privateKey = \"0x{number}\";"), number),
        _ => {
            ("xml", format!("<RSAKeyValue><Modulus>AQAB</Modulus><D>{key}</D></RSAKeyValue>"), key)
        }
    };
    match (text.is_empty(), secret.is_empty()) {
        (true, _) => Sample::new(name, format!("# public key: age1xyz\n{secret}\n"), &[&secret]),
        (_, true) => {
            let secret = text.rsplit(':').next().unwrap_or_default().to_string();
            Sample::new(name, text, &[&secret]).loose()
        }
        _ => Sample::new(name, text, &[&secret]).loose(),
    }
}

/// The format of PuTTY, whose public half is public.
fn putty(chance: &mut Chance) -> Sample {
    let (public, private) = (pem(chance, "", 277), pem(chance, "", 600));
    let version = pick(chance, &["2", "3"]);
    let text = format!(
        "PuTTY-User-Key-File-{version}: ssh-rsa\nEncryption: none\nComment: x\nPublic-Lines: {}\n{}\n\
         Private-Lines: {}\n{}\nPrivate-MAC: {}\n",
        public.body.len(),
        public.body.join("\n"),
        private.body.len(),
        private.body.join("\n"),
        hex(chance, 64)
    );
    Sample { name: "putty".into(), text, secrets: private.body, kept: Vec::new() }
}

/// The forms that a key takes in an agent's session.
pub fn awkward(chance: &mut Chance, index: usize) -> Sample {
    let key = any(chance);
    let all = key.lines();
    let numbered = |from: usize, sign: &str| -> String {
        all.iter().enumerate().map(|(i, l)| format!("{:>6}{sign}{l}\n", from + i)).collect()
    };
    let prefixed = |sign: &str| -> String { all.iter().map(|l| format!("{sign}{l}\n")).collect() };
    let from = 1 + chance.below(30);
    let cut = all.len() - all.len() / 3 - 1;
    match index / 2 % 26 {
        0 => sample("numbered", numbered(from, "\t"), key),
        1 => sample("numbered with arrows", numbered(from, "→"), key),
        2 => sample("numbered with colons", numbered(from, ": "), key),
        3 => sample("grep", prefixed("conf/key.pem:"), key),
        4 => sample("added", format!("@@ -0,0 +1 @@\n{}", prefixed("+")), key),
        5 => sample("removed", format!("--- a/k\n+++ /dev/null\n{}", prefixed("-")), key),
        6 => sample("context of a diff", prefixed(" "), key),
        7 => sample("quoted", prefixed("> "), key),
        8 => sample("comment", prefixed("# "), key),
        9 => sample("one line", json!(key.text()).to_string(), key),
        10 => sample("in an env file", format!("KEY=\"{}\"", key.text().replace('\n', "\\n")), key),
        11 => sample("in json", json!({"a": {"private_key": key.text()}}).to_string(), key),
        12 => {
            let text = json!({"out": json!({"key": key.text()}).to_string()}).to_string();
            sample("in json in json", text, key)
        }
        13 => sample("no end", all[..cut.max(2)].join("\n"), kept_lines(key, cut.max(2), true)),
        14 => {
            let text = format!("{}\n... [truncated]", all[..cut.max(2)].join("\n"));
            sample("cut with a note", text, kept_lines(key, cut.max(2), true))
        }
        15 => sample("windows lines", key.text().replace('\n', "\r\n"), key),
        16 => sample("spaces for lines", key.text().trim_end().replace('\n', " "), key),
        17 => sample("base64", STANDARD.encode(key.text()), key),
        18 => sample("base64 lines", lines(&STANDARD.encode(key.text()), 76), key),
        19 => {
            let text: String = all.iter().map(|l| format!("    \"{l}\\n\"\n")).collect();
            sample("joined strings", text, key)
        }
        20 => {
            let text: Vec<String> = all.iter().map(|l| format!("  \"{l}\\n\"")).collect();
            sample("added strings", format!("const KEY =\n{};", text.join(" +\n")), key)
        }
        21 => {
            let text = format!("data:\n  tls.key: {}\n", STANDARD.encode(key.text()));
            sample("kubernetes", text, key)
        }
        22 => sample("table", numbered(from, " | "), key),
        23 => {
            let text = format!("{}{}{}", key.head, key.body.concat(), key.tail);
            sample("without line ends", text, key)
        }
        24 => {
            let text = json!({"diff": format!("@@ -1 +1,9 @@\n{}", prefixed("+"))}).to_string();
            sample("diff in json", text, key)
        }
        _ => sample("percent", super::wrappers::percent(&key.text()), key),
    }
}

/// A key of which only so many lines are there.
fn kept_lines(key: Key, lines: usize, first: bool) -> Key {
    let head = key.head.lines().count();
    let count = lines.saturating_sub(head).min(key.body.len());
    let body = if first { key.body[..count].to_vec() } else { key.body[count..].to_vec() };
    Key { body, ..key }
}

pub fn alike(chance: &mut Chance, index: usize) -> Sample {
    let block = |chance: &mut Chance, kind: &str| pem(chance, kind, 600).text();
    let host = word(chance);
    let (name, text) = match index % 32 {
        0 => ("certificate", block(chance, "CERTIFICATE")),
        1 => ("public key", block(chance, "PUBLIC KEY")),
        2 => ("rsa public key", block(chance, "RSA PUBLIC KEY")),
        3 => ("request", block(chance, "CERTIFICATE REQUEST")),
        4 => ("pgp public key", block(chance, "PGP PUBLIC KEY BLOCK")),
        5 => ("signature", block(chance, "PGP SIGNATURE")),
        6 => ("dh parameters", block(chance, "DH PARAMETERS")),
        7 => ("ssh public key", format!("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI{}", shape(chance, "[A-Za-z0-9+/]{43}"))),
        8 => ("ssh rsa public key", format!("ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAABgQ{}", shape(chance, "[A-Za-z0-9+/]{340}="))),
        9 => ("known hosts", format!("{host} ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABB{}=", shape(chance, "[A-Za-z0-9+/]{87}"))),
        10 => ("marker in code", "if text.startswith(\"-----BEGIN RSA PRIVATE KEY-----\"):".into()),
        11 => ("marker in prose", "A PEM file starts with -----BEGIN PRIVATE KEY----- and ends with -----END PRIVATE KEY-----.".into()),
        12 => ("marker in a pattern", "re.compile(r\"-----BEGIN (RSA |EC )?PRIVATE KEY-----\")".into()),
        13 => ("empty key", "-----BEGIN PRIVATE KEY-----\n...\n-----END PRIVATE KEY-----\n".into()),
        14 => ("placeholder key", "-----BEGIN PRIVATE KEY-----\n<your key here>\n-----END PRIVATE KEY-----\n".into()),
        15 => ("grep for markers", "grep -rl 'BEGIN OPENSSH PRIVATE KEY' ~/.ssh".into()),
        16 => ("file listing", "-rw------- 1 root root 2602 Jul  1 12:00 id_rsa\n-rw-r--r-- 1 root root  571 Jul  1 12:00 id_rsa.pub".into()),
        17 => ("key generation", "Generating public/private ed25519 key pair.\nYour identification has been saved in /root/.ssh/id_ed25519".into()),
        18 => ("fingerprint", "2048 SHA256:B64N43 (RSA)".into()),
        19 => ("libcrypto", "Load key \"/root/.ssh/id_rsa\": error in libcrypto".into()),
        20 => ("wireguard public", format!("PublicKey = {}", STANDARD.encode(bytes(chance, 32)))),
        21 => ("age recipient", format!("age1{}", shape(chance, "[qpzry9x8gf2tvdw0s3jn54khce6mua7l]{58}"))),
        22 => ("ethereum address", format!("address: 0x{}", hex(chance, 40))),
        23 => ("transaction", format!("tx 0x{} confirmed", hex(chance, 64))),
        24 => ("path", "private_key = file(\"~/.ssh/id_rsa\")".into()),
        25 => ("parameter", "privateKey: string".into()),
        26 => ("jwk public", json!({"kty": "EC", "crv": "P-256", "x": shape(chance, "[A-Za-z0-9_-]{43}"), "y": shape(chance, "[A-Za-z0-9_-]{43}")}).to_string()),
        27 => ("base64 of a picture", format!("iVBORw0KGgoAAAANSUhEUgAA{}", shape(chance, "[A-Za-z0-9+/]{400}"))),
        28 => ("base64 of a picture in lines", lines(&format!("iVBORw0KGgoAAAANSUhEUgAA{}", shape(chance, "[A-Za-z0-9+/]{400}")), 76)),
        29 => ("markers of a file", "-----BEGIN AGE ENCRYPTED FILE-----\nYWdlLWVuY3J5cHRpb24ub3JnL3YxCi0+IFgyNTUxOSA\n-----END AGE ENCRYPTED FILE-----".into()),
        30 => ("allowed signers", format!("gpg: Signature made Mon 01 Jul 2024\ngpg: using RSA key {}", hex(chance, 40).to_uppercase())),
        _ => ("certificate numbered", block(chance, "CERTIFICATE").lines().enumerate().map(|(i, l)| format!("{:>6}\t{l}\n", i + 1)).collect()),
    };
    Sample::kept(name, digests_outside(chance, text))
}

/// Fills in the one template above that has a place for a digest.
fn digests_outside(chance: &mut Chance, text: String) -> String {
    if text.contains("B64N43") { digests(chance, &text) } else { text }
}
