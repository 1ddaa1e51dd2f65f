//! Phone numbers, IP addresses, card numbers and IBANs: what begins with digits.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::{Hit, Rule, before, rule};
use crate::redact::keywords::seek;
use crate::redact::policy::Class;

pub static PHONE: Rule = rule("phone", "PHONE", Class::Phone);
pub static IP: Rule = rule("ip", "IP", Class::Ip);
pub static CARD: Rule = rule("card", "CARD", Class::Card);
pub static IBAN: Rule = rule("iban", "IBAN", Class::Iban);

/// Looks at every number of a text. Most are too short to be anything, which is seen first.
pub fn scan(text: &str, hits: &mut Vec<Hit>) {
    let bytes = text.as_bytes();
    let mut at = 0;
    while let Some(next) = seek(bytes, at, |b| b.is_ascii_digit()) {
        at = next;
        let before = at.checked_sub(1).map(|n| bytes[n]);
        let run = bytes[at..].iter().take_while(|b| b.is_ascii_digit()).count();
        let found = if before.is_some_and(|b| b.is_ascii_alphanumeric() || b == b'_') {
            iban(bytes, at)
        } else {
            let phone = || phone(text, at);
            let dotted = run <= 3 && bytes.get(at + run) == Some(&b'.');
            let ipv4 = if dotted { ipv4(text, at) } else { None };
            ipv4.or_else(|| card(bytes, at)).or_else(phone).or_else(|| ipv6(bytes, at))
        };
        match found {
            Some(hit) => {
                at = hit.end.max(at + run);
                hits.push(hit);
            }
            None => at += run,
        }
    }
}

/// A public IPv4 address at `at`.
fn ipv4(text: &str, at: usize) -> Option<Hit> {
    let bytes = text.as_bytes();
    if bytes[..at].ends_with(b"%") {
        // An escape: `%200.0.0.0`
        return None;
    }
    let length =
        bytes[at..].iter().take(16).take_while(|b| b.is_ascii_digit() || **b == b'.').count();
    let mut end = at + length;
    if bytes[end - 1] == b'.' {
        end -= 1;
    }
    let address: Ipv4Addr = text[at..end].parse().ok()?;
    let after = &bytes[end..];
    let glued = after.first().is_some_and(|b| b.is_ascii_alphanumeric() || *b == b'_')
        || matches!(after, [b'-' | b'+', next, ..] if next.is_ascii_alphanumeric());
    // Sections of standards are numbered like this: `// 23.3.4.6 modifiers`.
    let located = after.first() == Some(&b':') || matches!(bytes[..at].last(), Some(b'/' | b'@'));
    // Identifiers of objects begin with few numbers: `2.5.29.33`.
    let o = address.octets();
    let object = matches!(o[..2], [0, _] | [1, 2 | 3] | [2, 5 | 16 | 23]);
    let small = o.iter().all(|o| *o < 32);
    let section = !located && (object || small || is_drawn(&text[..at]));
    if glued || section || is_version(&text[..at]) || !is_public_v4(address) {
        return None;
    }
    Some(Hit::new(at, end, &IP))
}

/// Whether numbers with points come before, as in the paths of drawings: `2.83-2.12 3.51.98.32`.
fn is_drawn(lead: &str) -> bool {
    let word = before(lead, lead.len(), 24).trim_end_matches(' ');
    let word = word.rsplit(' ').next().unwrap_or("");
    word.bytes().filter(|b| *b == b'.').count() >= 2
        && word.bytes().all(|b| b.is_ascii_alphanumeric() || b".-".contains(&b))
        && word.bytes().filter(u8::is_ascii_alphabetic).count() <= 1
        && word.parse::<Ipv4Addr>().is_err()
}

/// Whether what stands before four numbers says that they are a version.
fn is_version(lead: &str) -> bool {
    let tail = before(lead, lead.len(), 16);
    let lower = tail.to_ascii_lowercase();
    let trimmed = lower.trim_end_matches([' ', ':', '=', '"', '\'', '~', '^', '>', '<', '(']);
    if ["version", "release", "ver", "v", "section", "sec", "chapter", "oid"].iter().any(|w| {
        trimmed
            .strip_suffix(w)
            .is_some_and(|rest| !rest.ends_with(|c: char| c.is_ascii_alphabetic()))
    }) {
        return true;
    }
    // `update V8 to 11.8.172.15`
    let line = before(lead, lead.len(), 32).rsplit('\n').next().unwrap_or("");
    let lower = line.to_ascii_lowercase();
    let moved = [" to ", " at ", " from ", ": update to "].iter().any(|w| lower.ends_with(w));
    if moved && ["v8 ", "upgrade", "downgrade", "bump"].iter().any(|w| lower.contains(w)) {
        return true;
    }
    let bytes = tail.as_bytes();
    match bytes {
        // `Chrome/120.0.0.1`, but `http://1.2.3.5` is an address.
        [.., a, b'/'] => *a != b'/' && a.is_ascii_alphanumeric() && !a.is_ascii_digit(),
        [.., b'=', b'=' | b'>' | b'~'] | [.., b'~' | b'>' | b'<' | b'!', b'='] => true,
        [.., b'^' | b'~'] => true,
        // An object identifier goes on and on.
        [.., a, b'.'] => a.is_ascii_alphanumeric(),
        [.., a, b'-'] => a.is_ascii_alphabetic(),
        _ => false,
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let o = address.octets();
    let special = match o {
        [0 | 10 | 127, ..] | [192, 168, ..] | [169, 254, ..] | [224..=255, ..] => true,
        [172, b, ..] => (16..32).contains(&b),
        [100, b, ..] => (64..128).contains(&b),
        [192, 0, 0 | 2, _] | [198, 51, 100, _] | [203, 0, 113, _] | [198, 18 | 19, ..] => true,
        // Public resolvers, and the address everybody makes up.
        [a, b, c, d] if a == b && b == c && c == d => true,
        [a, b, c, d] if [b, c, d] == [a.wrapping_add(1), a.wrapping_add(2), a.wrapping_add(3)] => {
            true
        }
        [123, 45, 67, 89] => true,
        [8, 8, 8, 8] | [8, 8, 4, 4] | [1, 1, 1, 1] | [1, 0, 0, 1] | [9, 9, 9, 9] => true,
        _ => false,
    };
    !special
}

/// A global IPv6 address at `at`; global ones begin with a digit.
fn ipv6(bytes: &[u8], at: usize) -> Option<Hit> {
    if !matches!(bytes[at], b'2' | b'3')
        || bytes.get(at + 4) != Some(&b':')
        || at > 0 && matches!(bytes[at - 1], b':' | b'.' | b'-')
    {
        return None;
    }
    let is_part = |b: &u8| b.is_ascii_hexdigit() || *b == b':';
    let length = bytes[at..].iter().take(40).take_while(|b| is_part(b)).count();
    let mut end = at + length;
    while end > at && bytes[end - 1] == b':' && !bytes[..end].ends_with(b"::") {
        end -= 1;
    }
    let text = std::str::from_utf8(&bytes[at..end]).ok()?;
    if text.bytes().filter(|b| *b == b':').count() < 2 || text.find(':') != Some(4) {
        return None;
    }
    let address: Ipv6Addr = text.parse().ok()?;
    let s = address.segments();
    // Protocols' own, and whole networks rather than somebody's address
    let prefix = text.ends_with("::") && bytes.get(end) == Some(&b'/');
    let protocol = s[0] == 0x2001 && (1..0x200).contains(&s[1]);
    let network = prefix && s[2..].iter().all(|s| *s == 0);
    let documentation =
        protocol || network || s[0] == 0x2001 && s[1] == 0x0db8 || s[0] & 0xfff0 == 0x3ff0;
    let resolver = s[0] == 0x2001 && s[1] == 0x4860 && s[2] == 0x4860
        || s[0] == 0x2606 && s[1] == 0x4700 && s[2] == 0x4700;
    let glued = bytes.get(end).is_some_and(|b| b.is_ascii_alphanumeric() || *b == b'_');
    (s[0] & 0xe000 == 0x2000 && !documentation && !resolver && !glued)
        .then(|| Hit::new(at, end, &IP))
}

/// The most digits that are read of one number.
const DIGITS: usize = 20;

/// The digits of a number with single separators, how many there are, and where it ends.
fn digits(bytes: &[u8], at: usize, most: usize, separators: &[u8]) -> ([u8; DIGITS], usize, usize) {
    let mut digits = [0; DIGITS];
    let mut count = 0;
    let mut i = at;
    let mut end = at;
    while i < bytes.len() && count <= most.min(DIGITS - 1) {
        if bytes[i].is_ascii_digit() {
            digits[count] = bytes[i] - b'0';
            count += 1;
            end = i + 1;
        } else if !separators.contains(&bytes[i]) || end != i {
            break;
        }
        i += 1;
    }
    (digits, count, end)
}

fn ends_number(bytes: &[u8], end: usize) -> bool {
    let next = bytes.get(end);
    let glued = next.is_some_and(|b| b.is_ascii_alphanumeric() || *b == b'_');
    let goes_on = matches!(next, Some(b'.' | b'-' | b'/' | b','))
        && bytes.get(end + 1).is_some_and(u8::is_ascii_digit);
    !glued && !goes_on
}

/// A payment card number at `at`: a known issuer, its length, and Luhn's check digit.
fn card(bytes: &[u8], at: usize) -> Option<Hit> {
    if !(b'2'..=b'6').contains(&bytes[at]) {
        return None;
    }
    let starts_line = at < 2 || bytes[at - 2] == b'\n';
    if at > 0 && matches!(bytes[at - 1], b'.' | b'-' | b'+') && !starts_line {
        return None;
    }
    let (number, count, end) = digits(bytes, at, 19, b" -");
    let number = &number[..count];
    if count < 13 {
        return None;
    }
    // A longer run of groups may begin with a card: cut at the card's own length.
    let prefix = |n: usize| number.iter().take(n).fold(0u32, |sum, d| sum * 10 + u32::from(*d));
    let lengths: &[usize] = match (prefix(1), prefix(2), prefix(3), prefix(4)) {
        (4, ..) => &[16, 19, 13],
        (_, 51..=55, ..) => &[16],
        (_, _, _, 2221..=2720) => &[16],
        (_, 34 | 37, ..) => &[15],
        (_, _, _, 6011) | (_, 65, ..) | (_, _, 644..=649, _) => &[16, 19],
        (_, 35, ..) => &[16],
        (_, 36 | 38, ..) | (_, _, 300..=305, _) => &[14],
        (_, 62, ..) => &[16, 19],
        _ => return None,
    };
    lengths.iter().find_map(|length| {
        let cut = match count == *length {
            true => end,
            false => digits(bytes, at, *length - 1, b" -").2,
        };
        let number = number.get(..*length)?;
        let varied = number.iter().any(|d| *d != number[0]);
        let fits = varied && luhn(number) && ends_number(bytes, cut);
        let shape = &bytes[at..cut];
        let grouped = !shape.iter().any(|b| b" -".contains(b)) || is_grouped(shape);
        // Long numbers without groups are more often constants and ids than cards, and
        // thirteen digits are more often milliseconds than an old card.
        let plausible = !matches!(length, 13 | 19) || shape.len() > *length;
        // `[4242424242424242 4242]` are bytes.
        let distinct = (0..10).filter(|digit| number.contains(digit)).count();
        let listed = distinct <= 4 && at > 0 && b"[,(".contains(&bytes[at - 1]);
        (fits && grouped && plausible && !listed).then(|| Hit::new(at, cut, &CARD))
    })
}

/// Groups as cards have them, all with the same separator.
fn is_grouped(shape: &[u8]) -> bool {
    let groups: Vec<usize> = shape.split(|b| b" -".contains(b)).map(<[u8]>::len).collect();
    let one = !(shape.contains(&b' ') && shape.contains(&b'-'));
    one && matches!(
        groups[..],
        [4, 4, 4, 4] | [4, 6, 5] | [4, 6, 4] | [4, 4, 4, 4, 3] | [4, 4, 4, 1] | [8, 8]
    )
}

fn luhn(digits: &[u8]) -> bool {
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(i, d)| match i % 2 {
            0 => u32::from(*d),
            _ => [0, 2, 4, 6, 8, 1, 3, 5, 7, 9][*d as usize],
        })
        .sum();
    sum.is_multiple_of(10)
}

/// Lengths of IBANs by country.
#[rustfmt::skip]
const COUNTRIES: &[(&str, usize)] = &[
    ("AD", 24), ("AE", 23), ("AL", 28), ("AT", 20), ("AZ", 28), ("BA", 20), ("BE", 16), ("BG", 22),
    ("BH", 22), ("BR", 29), ("BY", 28), ("CH", 21), ("CR", 22), ("CY", 28), ("CZ", 24), ("DE", 22),
    ("DK", 18), ("DO", 28), ("EE", 20), ("EG", 29), ("ES", 24), ("FI", 18), ("FO", 18), ("FR", 27),
    ("GB", 22), ("GE", 22), ("GI", 23), ("GL", 18), ("GR", 27), ("GT", 28), ("HR", 21), ("HU", 28),
    ("IE", 22), ("IL", 23), ("IQ", 23), ("IS", 26), ("IT", 27), ("JO", 30), ("KW", 30), ("KZ", 20),
    ("LB", 28), ("LC", 32), ("LI", 21), ("LT", 20), ("LU", 20), ("LV", 21), ("LY", 25), ("MC", 27),
    ("MD", 24), ("ME", 22), ("MK", 19), ("MR", 27), ("MT", 31), ("MU", 30), ("NL", 18), ("NO", 15),
    ("PK", 24), ("PL", 28), ("PS", 29), ("PT", 25), ("QA", 29), ("RO", 24), ("RS", 22), ("SA", 24),
    ("SC", 31), ("SE", 24), ("SI", 19), ("SK", 24), ("SM", 27), ("ST", 25), ("SV", 28), ("TL", 23),
    ("TN", 24), ("TR", 26), ("UA", 29), ("VA", 22), ("VG", 24), ("XK", 20),
];

/// An IBAN whose check digits are at `at`.
fn iban(bytes: &[u8], at: usize) -> Option<Hit> {
    let start = at.checked_sub(2)?;
    if start > 0 && (bytes[start - 1].is_ascii_alphanumeric() || bytes[start - 1] == b'_') {
        return None;
    }
    let country = &bytes[start..at];
    let checked = bytes.get(at + 1).is_some_and(u8::is_ascii_digit);
    if !country.iter().all(u8::is_ascii_alphabetic) || !checked {
        return None;
    }
    let (_, length) = COUNTRIES.iter().find(|(c, _)| c.as_bytes().eq_ignore_ascii_case(country))?;
    // Groups of four with the same sign between all of them, or none: a UUID is grouped otherwise.
    let sign = bytes.get(start + 4).filter(|b| matches!(b, b' ' | b'-'));
    let mut symbols = Vec::with_capacity(34);
    let mut i = start;
    while symbols.len() < *length {
        if let Some(sign) = sign
            && !symbols.is_empty()
            && symbols.len().is_multiple_of(4)
        {
            (bytes.get(i)? == sign).then_some(())?;
            i += 1;
        }
        let byte = *bytes.get(i)?;
        byte.is_ascii_alphanumeric().then_some(())?;
        symbols.push(byte.to_ascii_uppercase());
        i += 1;
    }
    // In one case: of both, base64 is made.
    let has = |f: fn(&u8) -> bool| bytes[start..i].iter().any(f);
    if has(u8::is_ascii_lowercase) && has(u8::is_ascii_uppercase) {
        return None;
    }
    let value = |b: &u8| u32::from(if b.is_ascii_digit() { b - b'0' } else { b - b'A' + 10 });
    let rest = symbols[4..].iter().chain(&symbols[..4]).map(value).fold(0u32, |rest, v| {
        let shifted = if v < 10 { rest * 10 } else { rest * 100 };
        (shifted + v) % 97
    });
    let ends = !bytes.get(i).is_some_and(u8::is_ascii_alphanumeric);
    (rest == 1 && ends).then(|| Hit::new(start, i, &IBAN))
}

/// Words before a number that make any plausible number a phone number.
const LABELS: &[&str] = &[
    "phone", "tel", "mobile", "cell", "fax", "whatsapp", "handy", "telefon", "call", "sms", "dial",
    "mob",
];

/// A phone number whose first digit is at `at`.
fn phone(text: &str, at: usize) -> Option<Hit> {
    let bytes = text.as_bytes();
    let (groups, count, end) = groups(bytes, at);
    let groups = &groups[..count];
    let total: usize = groups.iter().sum();
    if !(7..=15).contains(&total) || !ends_number(bytes, end) {
        return None;
    }
    let is_word = |b: &u8| b.is_ascii_alphanumeric() || b"_.-/:#$=@%\\".contains(b);
    let mut start = at;
    if start > 0 && bytes[start - 1] == b'(' {
        start -= 1;
    }
    let plus = start > 0 && bytes[start - 1] == b'+';
    if plus {
        start -= 1;
    }
    let labelled = is_labelled(&text[..start]);
    let given = start > 1 && bytes[start - 1] == b'=' && bytes[start - 2].is_ascii_alphabetic();
    // A diff's sign
    let marked = start > 0 && bytes[start - 1] == b'-' && (start == 1 || bytes[start - 2] == b'\n');
    if !labelled
        && !given
        && !marked
        && start > 0
        && is_word(&bytes[start - 1])
        && !text[..start].ends_with("tel:")
    {
        let assigned = plus && matches!(bytes[start - 1], b':' | b'=' | b'/' | b'@');
        if !assigned {
            return None;
        }
    }
    // A bot's or an app's token begins with its number.
    let token = bytes[end..].starts_with(b":AA")
        || bytes.get(end) == Some(&b'|')
            && bytes.get(end + 1).is_some_and(u8::is_ascii_alphanumeric);
    if token {
        return None;
    }
    let open = start < at && !plus;
    if open && !bytes[at..end].contains(&b')') {
        start += 1;
    }
    if is_fictional(bytes, at, end) || plus && !has_country(bytes, at, total) {
        return None;
    }
    let separated = groups.len() > 1;
    let line_start = start == 0 || bytes[start - 1] == b'\n';
    let sound = match (plus, labelled) {
        (true, true) => true,
        // A line that a diff added may begin with a plus and a number, or with a time.
        (true, false) if !separated && total == 14 && bytes[at..].starts_with(b"20") => false,
        (true, false) if !separated && is_operand(&text[..start]) => false,
        (true, false) => {
            total >= 8
                && bytes[at] != b'0'
                && (separated || total >= 11 || total >= 10 && !line_start)
        }
        (false, true) => separated || total >= 9,
        (false, false) => is_national(bytes, at, start, groups, end),
    };
    if !sound || !plus && is_date(groups, bytes, at) {
        return None;
    }
    Some(Hit::new(start, end, &PHONE))
}

/// Whether a North American number is one of those that belong to nobody: `555-0100` to `555-0199`.
fn is_fictional(bytes: &[u8], at: usize, end: usize) -> bool {
    let digits: Vec<u8> = bytes[at..end].iter().copied().filter(u8::is_ascii_digit).collect();
    matches!(digits.len(), 7 | 10 | 11) && digits[digits.len() - 7..].starts_with(b"55501")
}

/// Whether what follows a plus begins with a country's code and is as long as numbers there are.
fn has_country(bytes: &[u8], at: usize, total: usize) -> bool {
    let digits: Vec<u8> =
        bytes[at..].iter().take(8).copied().filter(u8::is_ascii_digit).take(3).collect();
    match digits[..] {
        [b'1', ..] => total == 11,
        [b'7', ..] => total == 11,
        [b'2', b'0' | b'7', _] | [b'3', b'0'..=b'4' | b'6' | b'9', _] => total >= 9,
        [b'4', b'2', third] => matches!(third, b'0' | b'1' | b'3'),
        [b'4', _, _] | [b'5', b'1'..=b'8', _] | [b'6', b'0'..=b'6', _] => total >= 8,
        [b'8', b'1' | b'2' | b'4' | b'6', _] | [b'9', b'0'..=b'5' | b'8', _] => total >= 9,
        [b'2', b'1'..=b'6' | b'9', _] | [b'3', b'5' | b'7' | b'8', _] => total >= 9,
        [b'5', b'0' | b'9', _] | [b'6', b'7'..=b'9', _] | [b'8', b'0' | b'5' | b'7' | b'8', _] => {
            total >= 8
        }
        // ISBNs
        [b'9', b'7', b'8' | b'9'] => false,
        [b'9', b'6' | b'7' | b'9', _] => total >= 9,
        _ => false,
    }
}

/// `x = +4294967296` is arithmetic.
fn is_operand(lead: &str) -> bool {
    ["= ", "[", ", "].iter().any(|end| lead.ends_with(end))
}

fn is_labelled(lead: &str) -> bool {
    let tail = before(lead, lead.len(), 24);
    if tail == "ring " || tail.ends_with(" ring ") {
        return true;
    }
    let tail = tail.trim_end_matches(|c: char| " :=\"'.()#\t".contains(c)).to_ascii_lowercase();
    let tail = tail.strip_suffix(" is").unwrap_or(&tail);
    if ["my number", "your number", "me at", "us at"].iter().any(|w| tail.ends_with(w)) {
        return true;
    }
    let tail = tail.strip_suffix("number").or_else(|| tail.strip_suffix("_no")).unwrap_or(tail);
    let tail = tail.trim_end_matches(['_', ' ', '-']);
    LABELS.iter().any(|label| {
        tail.strip_suffix(label)
            .is_some_and(|rest| !rest.ends_with(|c: char| c.is_ascii_lowercase()))
    })
}

/// The most groups of digits that are read of one number.
const GROUPS: usize = 7;

/// The lengths of the digit groups of a number, how many there are, and where it ends.
fn groups(bytes: &[u8], at: usize) -> ([usize; GROUPS], usize, usize) {
    let mut groups = [0; GROUPS];
    let mut count = 0;
    let (mut i, mut end) = (at, at);
    while count < GROUPS {
        let run = bytes[i..].iter().take(16).take_while(|b| b.is_ascii_digit()).count();
        if run == 0 {
            break;
        }
        groups[count] = run;
        count += 1;
        i += run;
        end = i;
        // One separator, or a bracket with a blank beside it.
        let between = bytes[i..].iter().take(3).take_while(|b| b" -.()/".contains(b)).count();
        let gap = &bytes[i..i + between];
        let brackets = gap.iter().any(|b| b"()".contains(b));
        if gap.is_empty() || gap.len() > 1 && !brackets {
            break;
        }
        i += between;
    }
    (groups, count, end)
}

/// National numbers without a country code that are written like nothing else.
fn is_national(bytes: &[u8], at: usize, start: usize, groups: &[usize], end: usize) -> bool {
    let gaps: Vec<u8> = bytes[at..end].iter().copied().filter(|b| !b.is_ascii_digit()).collect();
    let area = |n: usize| bytes.get(at + n).is_some_and(|b| (b'2'..=b'9').contains(b));
    match groups {
        // North America
        [3, 3, 4] if start < at || gaps.contains(&b')') => area(0) && gaps.contains(&b')'),
        [3, 3, 4] => area(0) && area(4) && gaps[0] == gaps[1] && b"-. ".contains(&gaps[0]),
        [1, 3, 3, 4] => bytes[at] == b'1' && area(2) && gaps[1..].windows(2).all(|w| w[0] == w[1]),
        // A trunk zero, then groups
        [2..=5, 3..=8] => {
            bytes[at] == b'0'
                && bytes[at + 1] != b'0'
                && matches!(gaps[0], b' ' | b'/' | b'-')
                && groups.iter().sum::<usize>() >= 10
        }
        [2..=5, 2..=4, 2..=5] | [2..=5, 2..=4, 2..=4, 2..=4] | [2, 2, 2, 2, 2] => {
            // `01 02 03 04 05`
            let counted = bytes[at..end].starts_with(b"01 02 03 04");
            let listed = counted
                || matches!(bytes[..at], [.., b'0'..=b'9', b' '])
                || matches!(bytes[end..], [b' ', b'0'..=b'9', ..]);
            !listed
                && bytes[at] == b'0'
                && bytes[at + 1] != b'0'
                && groups.iter().sum::<usize>() >= 9
                && gaps.iter().all(|g| b" -/()".contains(g))
        }
        _ => false,
    }
}

/// `2026-11-22`, `22.11.2026` and longer times.
fn is_date(groups: &[usize], bytes: &[u8], at: usize) -> bool {
    let year = |n: usize| matches!(bytes.get(n..n + 2), Some(b"19" | b"20"));
    matches!(groups, [4, 2, 2, ..]) && year(at) || matches!(groups, [2, 2, 4, ..]) && year(at + 6)
}
