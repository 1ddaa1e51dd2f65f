//! Addresses of machines, numbers of cards and accounts.

use proto::chance::Chance;

use super::Sample;
use super::digests::digests;
use super::personal::alike;
use super::values::{fill, hex, iban as account, luhn, pick, shape};

/// An address that somebody's machine could have.
fn public_v4(chance: &mut Chance) -> String {
    let first =
        [5, 18, 31, 34, 46, 52, 62, 77, 80, 84, 85, 91, 93, 104, 138, 144, 159, 176, 188, 195, 212]
            [chance.below(21)];
    format!(
        "{first}.{}.{}.{}",
        1 + chance.below(250),
        20 + chance.below(230),
        10 + chance.below(240)
    )
}

fn public_v6(chance: &mut Chance) -> String {
    let start =
        pick(chance, &["2a02:8108", "2a01:4f8", "2600:1f18", "2003:e5", "2a00:1450", "2400:cb00"]);
    let group = |c: &mut Chance| shape(c, "[1-9a-f][0-9a-f]{3}");
    let (a, b, c, d) = (group(chance), group(chance), group(chance), group(chance));
    match chance.below(3) {
        0 => format!("{start}:{a}:{b}::{}", 1 + chance.below(9)),
        1 => format!("{start}:{a}:{b}:{c}:{d}:{}:{}", group(chance), group(chance)),
        _ => format!("{start}:{a}:{b}::{c}:{d}"),
    }
}

const IP_PLACES: &[&str] = &[
    "from {} port 22",
    "ssh root@{}",
    "ssh deploy@{} -p 2222",
    "ping {}",
    "{} - - [01/Jul/2024:12:00:00 +0000] \"GET / HTTP/1.1\" 200 12",
    "Accepted publickey for root from {} port 50514 ssh2",
    "HOST={}",
    "\"ip\": \"{}\"",
    "X-Forwarded-For: {}",
    "remote_addr={} status=200",
    "inet {}/24 brd x",
    "{}\t~w~",
    "connected to {}.",
    "({})",
    "host {} unreachable",
    "server: {}",
    "scp a.txt root@{}:/srv",
    "A record: {}",
    "ansible_host={}",
    "~w~.~d~ has address {}",
    "allow {}/32;",
    "ufw allow from {} to any port 22",
];

pub fn ip(chance: &mut Chance, index: usize) -> Sample {
    if index % 3 == 2 {
        let places = [
            "addr {}/64",
            "ping6 {}",
            "from {} port 22",
            "\"ip\": \"{}\"",
            "inet6 {} prefixlen 64 scopeid 0x0",
            "http://[{}]:8080/x",
            "AAAA {}",
            "remote_addr={} status=200",
            "connected to {}, ok",
        ];
        let value = public_v6(chance);
        let place = pick(chance, &places);
        let text = fill(chance, place, &value);
        return Sample::new(place, text, &[&value]);
    }
    let value = public_v4(chance);
    let template = match chance.below(5) {
        0 => {
            pick(chance, &["http://{}:8080/x", "{}:443", "tcp {}:51820", "postgres://db@{}:5432/x"])
        }
        _ => IP_PLACES[index % IP_PLACES.len()],
    };
    let text = fill(chance, template, &value);
    Sample::new(template, text, &[&value])
}

const IP_ALIKE: &[&str] = &[
    "127.0.0.1",
    "127.0.0.53",
    "0.0.0.0:8080",
    "255.255.255.0",
    "255.255.255.255",
    "10.0.0.~n~",
    "10.~n~.2.3:5432",
    "172.16.0.1",
    "172.17.0.2",
    "172.31.255.254",
    "192.168.1.~n~",
    "192.168.178.1",
    "169.254.169.254",
    "100.64.0.~n~",
    "192.0.2.~n~",
    "198.51.100.~n~",
    "203.0.113.~n~",
    "224.0.0.1",
    "239.255.255.250:1900",
    "10.0.0.0/8",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "0.0.0.0/0",
    "::1",
    "[::1]:8080",
    "::",
    "::/0",
    "fe80::1%eth0",
    "fe80::~n~",
    "fd00::~n~",
    "fc00::/7",
    "ff02::1",
    "2001:db8::~n~",
    "2001:db8:85a3::8a2e:370:7334",
    "::ffff:127.0.0.1",
    "00:1a:2b:3c:4d:5e",
    "link/ether 02:42:ac:11:00:02 brd ff:ff:ff:ff:ff:ff",
    "version 1.2.3.4",
    "v1.22.333.4",
    "Chrome/126.0.6478.127 Safari/537.36",
    "AssemblyVersion(\"1.0.0.0\")",
    "4.18.2.1 -> 4.18.3.0",
    "package 1.2.3.4-5ubuntu6",
    "libssl 3.0.2.1",
    "section 1.2.3.4 of the manual",
    "Schema 12.0.2000.8",
    "oid 1.3.6.1.4.1.311",
    "std::vec::Vec",
    "a::b::c::d",
    "crate::redact::scan",
    "Foo::Bar.baz",
    "12:34:56",
    "12:34:56:78",
    "ab:cd:ef:01:23:45:67:89:ab:cd:ef:01:23:45:67:89",
    "MD5:16:27:ac:a5:76:28:2d:36:63:1b:56:4d:eb:df:a6:48",
    "nameserver 127.0.0.53",
    "bind 0.0.0.0",
    "proxy_pass http://127.0.0.1:3000;",
    "docker0: 172.17.0.1/16",
    "kube-dns 10.96.0.10",
    "listen_addresses = '*'",
    "1.5.10.20.30",
    "300.1.2.3",
    "1.2.3",
    "a[::2]",
    "x[::-1]",
    "NTP 8.8.8.8",
    "dig @1.1.1.1 example.com",
    "dns: 8.8.4.4",
    "ObjectIdentifier(\"2.5.29.33\")",
    "ED448 = 1.3.101.113",
    "section 8.2.4.44 of the specification",
    "1.3.6.1.5.5.7.3.1 serverAuth",
    "2001:db8::/32, fe80::/10, ff00::/8",
];

pub fn ip_alike(chance: &mut Chance, index: usize) -> Sample {
    alike(chance, IP_ALIKE, index)
}

/// Networks of cards: how a number starts, how many digits it has, and how it is grouped.
const CARDS: &[(&str, usize, &[usize])] = &[
    ("4", 16, &[4, 4, 4, 4]),
    ("51", 16, &[4, 4, 4, 4]),
    ("55", 16, &[4, 4, 4, 4]),
    ("2223", 16, &[4, 4, 4, 4]),
    ("2720", 16, &[4, 4, 4, 4]),
    ("34", 15, &[4, 6, 5]),
    ("37", 15, &[4, 6, 5]),
    ("6011", 16, &[4, 4, 4, 4]),
    ("65", 16, &[4, 4, 4, 4]),
    ("3530", 16, &[4, 4, 4, 4]),
    ("36", 14, &[4, 6, 4]),
    ("38", 14, &[4, 6, 4]),
    ("62", 16, &[4, 4, 4, 4]),
];

const CARD_PLACES: &[&str] = &[
    "paid with {} ok",
    "card={}",
    "card: {}",
    "\"number\": \"{}\"",
    "\"card_number\": \"{}\", \"cvc\": \"123\"",
    "card number {}.",
    "Visa {}, valid",
    "cc_number='{}'",
    "pan={} exp=12/27",
    "credit card: {}",
    "INSERT INTO payments VALUES (7, '{}', 12);",
    "({})",
    "charged {}",
    "| card | {} |",
    "stripe.tokens.create({ card: { number: '{}' } })",
    "{}",
];

pub fn card(chance: &mut Chance, index: usize) -> Sample {
    let (start, length, groups) = CARDS[index % CARDS.len()];
    let place = pick(chance, CARD_PLACES);
    let digits = loop {
        let rest = shape(chance, &format!("[0-9]{{{}}}", length - start.len() - 1));
        let digits = luhn(&format!("{start}{rest}"));
        // Numbers with hardly a digit are nobody's.
        if digits.bytes().collect::<std::collections::BTreeSet<_>>().len() > 4 {
            break digits;
        }
    };
    let value = match chance.below(3) {
        0 => grouped(&digits, groups, " "),
        1 => grouped(&digits, groups, "-"),
        _ => digits,
    };
    let text = fill(chance, place, &value);
    Sample::new(&format!("{start} in {place}"), text, &[&value])
}

fn grouped(digits: &str, groups: &[usize], sign: &str) -> String {
    let mut at = 0;
    let parts: Vec<&str> = groups
        .iter()
        .map(|n| {
            at += n;
            &digits[at - n..at]
        })
        .collect();
    parts.join(sign)
}

const CARD_ALIKE: &[&str] = &[
    "order BADCARD shipped",
    "id BADCARD",
    "BADCARD",
    "\"id\": BADCARD,",
    "card ending in 4242",
    "**** **** **** 4242",
    "XXXX-XXXX-XXXX-1234",
    "card: <number>",
    "card_number VARCHAR(19)",
    "cardNumber: string",
    "0000 0000 0000 0000",
    "1111111111111111",
    "1234567890123456",
    "1720000000123456",
    "ts 1720000000123456789",
    "20240701120000123",
    "0.4111222233334444",
    "4111.2222.3333.4444",
    "411122223333444455556666",
    "a4111222233334444b",
    "0x4111222233334444",
    "MD5SUM",
    "UUID",
    "9007199254740993",
    "18446744073709551615",
    "inode 4722366482869646",
    "4096 8192 1024 2048",
    "1920 1080 1280 7200",
    "2023-2024-2025-2026",
    "span HEX16",
    "account 123456789012",
    "snowflake 112233445566778899",
    "sha1: HEX40",
    "offset 4398046511104",
    "tests/cards_test.rs:41:16",
    "[4, 1, 1, 1, 2, 2, 2, 2]",
    "1.0000000000000002",
    "6.02214076e23",
    "978-3-16-148410-0",
    "EAN 4006381333931",
    "IMEI pattern [0-9]{15}",
    "4k 16:9 3840 2160",
];

pub fn card_alike(chance: &mut Chance, index: usize) -> Sample {
    let template = CARD_ALIKE[index % CARD_ALIKE.len()];
    let good = luhn(&shape(chance, "4[0-9]{14}"));
    // The check digit of another number.
    let last = (good.as_bytes()[15] - b'0' + 1 + chance.below(8) as u8) % 10;
    let bad = format!("{}{last}", &good[..15]);
    let text = digits_only(chance, template);
    Sample::kept(template, text.replace("BADCARD", &bad))
}

/// Fills random values in that hold no number which could be a card by chance.
fn digits_only(chance: &mut Chance, template: &str) -> String {
    loop {
        let text = digests(chance, template);
        let longest = text.split(|c: char| !c.is_ascii_digit()).map(str::len).max().unwrap_or(0);
        if text == template || longest < 12 {
            return text;
        }
    }
}

/// Countries and the shapes of their account numbers.
const IBANS: &[(&str, &str)] = &[
    ("DE", "[0-9]{18}"),
    ("AT", "[0-9]{16}"),
    ("CH", "[0-9]{5}[0-9A-Z]{12}"),
    ("FR", "[0-9]{10}[0-9A-Z]{11}[0-9]{2}"),
    ("GB", "[A-Z]{4}[0-9]{14}"),
    ("NL", "[A-Z]{4}[0-9]{10}"),
    ("BE", "[0-9]{12}"),
    ("ES", "[0-9]{20}"),
    ("IT", "[A-Z][0-9]{10}[0-9A-Z]{12}"),
    ("PT", "[0-9]{21}"),
    ("PL", "[0-9]{24}"),
    ("SE", "[0-9]{20}"),
    ("NO", "[0-9]{11}"),
    ("DK", "[0-9]{14}"),
    ("FI", "[0-9]{14}"),
    ("IE", "[A-Z]{4}[0-9]{14}"),
    ("LU", "[0-9]{3}[0-9A-Z]{13}"),
    ("CZ", "[0-9]{20}"),
    ("HU", "[0-9]{24}"),
    ("RO", "[A-Z]{4}[0-9A-Z]{16}"),
    ("GR", "[0-9]{7}[0-9A-Z]{16}"),
    ("TR", "[0-9]{6}[0-9A-Z]{16}"),
    ("MT", "[A-Z]{4}[0-9]{5}[0-9A-Z]{18}"),
    ("AE", "[0-9]{19}"),
    ("SA", "[0-9]{2}[0-9A-Z]{18}"),
    ("BR", "[0-9]{23}[A-Z][0-9A-Z]"),
    ("UA", "[0-9]{6}[0-9A-Z]{19}"),
    ("LT", "[0-9]{16}"),
];

const IBAN_PLACES: &[&str] = &[
    "to {}.",
    "IBAN: {}",
    "iban={}",
    "\"iban\": \"{}\",",
    "{}",
    "transfer to {} today",
    "({})",
    "account {}, BIC below",
    "INSERT INTO accounts VALUES (1, '{}');",
    "<IBAN>{}</IBAN>",
    "debtor: {}",
    "| iban | {} |",
];

pub fn iban(chance: &mut Chance, index: usize) -> Sample {
    let (country, pattern) = IBANS[index % IBANS.len()];
    let place = pick(chance, IBAN_PLACES);
    let rest = shape(chance, pattern);
    let whole = account(country, &rest);
    let value = if chance.below(2) == 0 {
        let chars: Vec<char> = whole.chars().collect();
        chars.chunks(4).map(|c| c.iter().collect::<String>()).collect::<Vec<_>>().join(" ")
    } else {
        whole
    };
    let text = fill(chance, place, &value);
    Sample::new(&format!("{country} in {place}"), text, &[&value])
}

pub fn iban_alike(chance: &mut Chance, index: usize) -> Sample {
    let bad = {
        let good = account("DE", &shape(chance, "[0-9]{18}"));
        let number: u32 = good[2..4].parse().expect("two digits");
        format!("DE{:02}{}", (number + 1 + chance.below(40) as u32) % 97, &good[4..])
    };
    let texts = [
        format!("reference {bad}"),
        format!("IBAN: {}", "<iban>"),
        "iban VARCHAR(34)".to_string(),
        "iban: string".to_string(),
        "DE00 0000 0000 0000 0000 00".to_string(),
        format!("SKU GB{}", hex(chance, 6)),
        "AT89 is a chip".to_string(),
        format!("flight LH{} to FRA", 100 + chance.below(900)),
        format!("commit {}", hex(chance, 40)),
        format!("FR2024{:04}", chance.below(10000)),
        format!("IT-{}", chance.below(100_000)),
        format!("CASE ES{} closed", chance.below(1_000_000)),
        "SE12 0000 is short".to_string(),
        format!("ticket PL-{}-{}", chance.below(1000), chance.below(100_000)),
        format!("BUILD NO{}", chance.below(100_000)),
        format!("part DE{}", hex(chance, 8).to_uppercase()),
        "validateIban(value: string): boolean".to_string(),
        "BIC: DEUTDEFF".to_string(),
        "VAT DE136695976".to_string(),
        format!("X{}", shape(chance, "[0-9A-F]{30}")),
    ];
    Sample::kept("iban-like", texts[index % texts.len()].clone())
}
