//! E-mail addresses and phone numbers.

use proto::chance::Chance;

use super::Sample;
use super::digests::digests;
use super::values::{domain, fill, pick, shape, words};

const FIRST: &[&str] = &[
    "jane", "tomasz", "aylin", "henrik", "priya", "lucia", "moritz", "chen", "fatima", "oskar",
    "ingrid", "mateo", "sofie", "ravi", "noemi", "piotr",
];
const LAST: &[&str] = &[
    "kowalski",
    "brandt",
    "oconnor",
    "lindqvist",
    "raman",
    "moreau",
    "castelli",
    "nakamura",
    "vandenberg",
    "hoffmann",
    "okafor",
    "petersen",
    "dubois",
    "szabo",
    "almeida",
    "krueger",
];

/// A template with nothing personal in it.
pub fn alike(chance: &mut Chance, templates: &[&str], index: usize) -> Sample {
    let template = templates[index % templates.len()];
    let text = words(chance, template);
    Sample::kept(template, digests(chance, &text))
}

/// An address of somebody.
pub fn address(chance: &mut Chance) -> String {
    let (first, last) = (pick(chance, FIRST), pick(chance, LAST));
    let local = match chance.below(7) {
        0 => format!("{first}.{last}"),
        1 => format!("{}{last}", &first[..1]),
        2 => format!("{first}_{last}{}", chance.below(100)),
        3 => format!("{first}.{last}+{}", pick(chance, &["work", "git", "ci", "spam"])),
        4 => format!("{last}{}", 1970 + chance.below(40)),
        5 => format!("{first}-{last}"),
        _ => format!("{first}{last}"),
    };
    let host = match chance.below(4) {
        0 => {
            pick(chance, &["gmail.com", "outlook.com", "gmx.de", "proton.me", "icloud.com"]).into()
        }
        1 => format!("mail.{}", domain(chance)),
        _ => domain(chance),
    };
    format!("{local}@{host}")
}

const EMAIL_PLACES: &[&str] = &[
    "{}",
    "mail {} now",
    "<{}>,",
    "Author: Some Body <{}>",
    "Co-authored-by: Some Body <{}>",
    "Signed-off-by: Some Body <{}>",
    "mailto:{}?subject=x",
    "From: {}\nSubject: x",
    "\"email\": \"{}\",",
    "email={}",
    "user_email: {}",
    "git config user.email {}",
    "git config --global user.email \"{}\"",
    "\temail = {}",
    "ask {}.",
    "({})",
    "contact: {}, or call",
    "INSERT INTO users (email) VALUES ('{}');",
    "Logged in as {}",
    "- [{}](mailto:{})",
    "authors = [\"Some Body <{}>\"]",
    "\"author\": \"Some Body <{}> (https://example.com)\"",
    "maintainer=\"{}\"",
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIx {}",
    "id,email\n1,{}\n2,",
    "to={}&cc=",
    "https://app.~d~/u?email={}",
    "user:{} not found",
    "1234567 (Some Body <{}> 2024-07-01 12:00:00 +0200 12) code",
    "uid           [ultimate] Some Body <{}>",
    "assert user.email == \"{}\"",
    "'{}'",
    "From 1a2b {} Mon",
    "{};",
];

pub fn email(chance: &mut Chance, index: usize) -> Sample {
    let template = EMAIL_PLACES[index % EMAIL_PLACES.len()];
    let value = address(chance);
    let text = fill(chance, template, &value);
    Sample::new(template, text, &[&value])
}

const EMAIL_ALIKE: &[&str] = &[
    "git@github.com:northquay/~w~.git",
    "git clone git@gitlab.com:northquay/~w~.git",
    "user@example.com",
    "jane.doe@example.org",
    "admin@example.net, root@example.com",
    "test@test.example",
    "someone@localhost",
    "root@localhost:~#",
    "user@host:/path",
    "noreply@example.com",
    "~w~@1.2.3",
    "react@18.2.0 and lodash@^4.17.21",
    "npm install typescript@5.5.2 @types/node@20.14.9",
    "@types/node",
    "@babel/core@7.24.7",
    "import x from '@northquay/ui';",
    "@media (max-width: 600px) {",
    "@app.route(\"/users\")",
    "@pytest.mark.parametrize(\"x\", [1, 2])",
    "@Override\npublic String toString() {",
    "@dataclass\nclass A:",
    "fn f(self: @T) {}",
    "actions/checkout@v4",
    "uses: docker/build-push-action@v5",
    "image@sha256:DIGEST",
    "golang.org/x/tools/cmd/goimports@latest",
    "pkg@npm:1.0.0",
    "a @ b == c",
    "x = A @ B.T",
    "origin/main@{u}",
    "main@{1}",
    "20% @ 3.5GHz",
    "@user mentioned this in #~n~",
    "ssh app@10.0.0.3",
    "scp a.txt root@127.0.0.1:/tmp",
    "postgres@db:5432",
    "user@domain.tld",
    "name@domain.com is the expected format",
    "[^@]+@[^@]+\\.[a-z]+",
    "r\"[\\w.+-]+@[\\w-]+\\.[\\w.]+\"",
    "foo@bar.baz",
    "@@ -1,4 +1,5 @@",
    "systemd: user@1000.service",
    "getty@tty1.service loaded active",
    "<id>@users.noreply.github.com",
    "logo@2x.png",
    "icon@3x.webp",
    "assets/hero@2x.jpg",
    "{email}@{domain}",
    "f\"{user}@{host}\"",
    "${USER}@${HOST}",
    "%u@%h",
    "you@yourcompany.com",
    "Noreply GitHub <noreply@github.com>",
    "Co-Authored-By: Claude <noreply@anthropic.com>",
];

pub fn email_alike(chance: &mut Chance, index: usize) -> Sample {
    alike(chance, EMAIL_ALIKE, index)
}

/// National forms of phone numbers.
const PHONES: &[&str] = &[
    "+49 17[0-9] [2-9][0-9]{6}",
    "+49 30 [2-9][0-9]{3} [0-9]{4}",
    "+49 (0)89 [2-9][0-9]{5}",
    "+4917[0-9]{9}",
    "+1 (415) [2-9]67-[0-9]{4}",
    "+1 206-[2-9]43-[0-9]{4}",
    "+1-312-[2-9]43-[0-9]{4}",
    "+1312[2-9]43[0-9]{4}",
    "(415) [2-9]67-[0-9]{4}",
    "415-[2-9]67-[0-9]{4}",
    "415.[2-9]67.[0-9]{4}",
    "1-800-[2-9]67-[0-9]{4}",
    "+44 20 7[0-9]{3} [0-9]{4}",
    "+44 7[4-9][0-9]{2} [0-9]{6}",
    "+447[4-9][0-9]{8}",
    "+33 [67] [0-9]{2} [0-9]{2} [0-9]{2} [0-9]{2}",
    "+33[67][0-9]{8}",
    "+41 79 [0-9]{3} [0-9]{2} [0-9]{2}",
    "+43 664 [0-9]{7}",
    "+31 6 [1-9][0-9]{7}",
    "+31 6-[1-9][0-9]{7}",
    "+34 6[0-9]{2} [0-9]{3} [0-9]{3}",
    "+39 3[0-9]{2} [0-9]{7}",
    "+46 70-[0-9]{3} [0-9]{2} [0-9]{2}",
    "+47 [49][0-9]{2} [0-9]{2} [0-9]{3}",
    "+45 [2-9][0-9] [0-9]{2} [0-9]{2} [0-9]{2}",
    "+48 5[0-9]{2} [0-9]{3} [0-9]{3}",
    "+420 7[0-9]{2} [0-9]{3} [0-9]{3}",
    "+91 9[0-9]{4} [0-9]{5}",
    "+91-9[0-9]{9}",
    "+86 13[0-9] [0-9]{4} [0-9]{4}",
    "+81 90-[0-9]{4}-[0-9]{4}",
    "+82 10-[0-9]{4}-[0-9]{4}",
    "+55 11 9[0-9]{4}-[0-9]{4}",
    "+61 4[0-9]{2} [0-9]{3} [0-9]{3}",
    "+7 9[0-9]{2} [0-9]{3}-[0-9]{2}-[0-9]{2}",
    "+90 5[0-9]{2} [0-9]{3} [0-9]{2} [0-9]{2}",
    "+972 5[0-9]-[0-9]{3}-[0-9]{4}",
    "+353 8[5-9] [0-9]{3} [0-9]{4}",
    "0049 17[0-9] [2-9][0-9]{6}",
];

/// Forms without a country, which only the words around them give away.
const LOCAL_PHONES: &[&str] = &[
    "017[0-9] [2-9][0-9]{6}",
    "017[0-9]/[2-9][0-9]{6}",
    "030 [2-9][0-9]{6}",
    "020 7[0-9]{3} [0-9]{4}",
    "07[4-9][0-9]{2} [0-9]{6}",
    "06 [0-9]{2} [0-9]{2} [0-9]{2} [0-9]{2}",
    "[2-9]0[2-9][2-9]67[0-9]{4}",
    "089-[2-9][0-9]{6}",
];

const PHONE_PLACES: &[&str] = &[
    "call {} today",
    "phone: {}",
    "tel: {}",
    "Tel. {}",
    "Phone: {}, e-mail below",
    "\"phone\": \"{}\",",
    "phone_number={}",
    "mobile: '{}'",
    "Fax: {}",
    "my number is {}.",
    "ring {} please",
    "WhatsApp {}",
    "{\"mobile\":\"{}\"}",
    "Handy: {}",
    "text me at {}!",
];

const PHONE_ALONE: &[&str] = &[
    "{}",
    "({})",
    "| x | {} |",
    "to={}",
    "to: \"{}\"",
    "sent SMS to {} ok",
    "INSERT INTO contacts VALUES (1, '{}');",
    "<a href=\"tel:{}\">",
    "client.messages.create(to=\"{}\", body=\"hi\")",
    "Regards,\nJ.\n{}\n",
];

pub fn phone(chance: &mut Chance, index: usize) -> Sample {
    let known = index % 4 != 3;
    let pattern = if known { PHONES[index % PHONES.len()] } else { pick(chance, LOCAL_PHONES) };
    let place = if known && chance.below(2) == 0 {
        pick(chance, PHONE_ALONE)
    } else {
        pick(chance, PHONE_PLACES)
    };
    let value = shape(chance, &pattern.replace('(', "\\(").replace(')', "\\)"));
    let text = fill(chance, place, &value);
    Sample::new(&format!("{pattern} in {place}"), text, &[&value])
}

const PHONE_ALIKE: &[&str] = &[
    "2024-07-01 12:00:00",
    "2024-07-01T12:00:00.123456Z",
    "20240701120000",
    "timestamp: 1720000000",
    "ts=1720000000123",
    "1720000000.123456",
    "12:00:00.123",
    "[123456.789012] usb 1-1: new device",
    "pid 12345, ppid 1234",
    "order 100-2003-4005",
    "id: 4158675309",
    "user_id=9182736450",
    "run 9182736450 finished",
    "issue #41586",
    "ports: 8080, 8443, 9090",
    "ports 3000 3001 3002 3003",
    "10.1.2.3",
    "127.0.0.1:8080",
    "192.168.100.200",
    "version 1.22.333.4444",
    "3.14159265358979",
    "loss 0.123456789",
    "1.23456789e-10",
    "1e-5 2e-5 3e-5",
    "-123.456 789.012",
    "[0.1234, 0.5678, 0.9012]",
    "1234567890",
    "0123456789abcdef",
    "0x0123456789",
    "1 2 3 4 5 6 7 8 9 10",
    "10 20 30 40 50 60",
    "100 200 300 400",
    "2 + 2 = 4, 12 - 345 = -333",
    "1,234,567,890 bytes",
    "1 234 567 890",
    "size 1073741824",
    "0.00 0.01 0.05 1/234 56789",
    "total 48\ndrwxr-xr-x 2 root root 4096 Jul  1 12:00 src",
    "-rw-r--r-- 1 1000 1000 123456 2024-07-01 12:00 a.txt",
    "lines 120-245 of 1200",
    "@@ -120,7 +120,9 @@",
    "rows 1000-2000",
    "2019-2024",
    "ISBN 978-3-16-148410-0",
    "RFC 2119, RFC 8259",
    "CVE-2024-123456",
    "45.5017, -73.5673",
    "52.520008, 13.404954",
    "1024x768 1920x1080",
    "a 12-345-6789 part number",
    "UUID",
    "555-0100",
    "call 555-0123 for information",
    "(202) 555-0143",
    "+1 202-555-0198",
    "elapsed: 00:12:34.567",
    "42.1% 3.2G 1234567 0:12.34",
    "tcp 0 0 0.0.0.0:5432 0.0.0.0:* LISTEN 1234/postgres",
    "USER PID %CPU\nroot 1234567 0.0 0.1 12345 6789",
    "seed=1234567890 step=100000",
    "epoch 12 step 3456 loss 0.7890 lr 1.2345e-05",
    "20.11.0 18.20.3 22.4.1",
    "numbers = [415, 867, 5309]",
    "grep -c 415 867.txt",
    "phone: string",
    "phone VARCHAR(20)",
    "pub const MS_NOUSER: u32 = 2147483648;",
    "IORING_REGISTER_RING = 2147483648,",
    "phone = request.form[\"phone\"]",
    "phone_number = models.CharField(max_length=20)",
    "tel: <number>",
    "+++ b/src/a.rs\n+    12345 67890",
    "git diff HEAD~12 -- 345",
    "01 02 03 04 05 06 07 08 09 10",
    "01 03 05 07 08 10 12",
    "00000010: 0300 3e00 0100 0000 7285 0000",
    "0100 0000 4000 0000 8000 0000",
];

pub fn phone_alike(chance: &mut Chance, index: usize) -> Sample {
    alike(chance, PHONE_ALIKE, index)
}
