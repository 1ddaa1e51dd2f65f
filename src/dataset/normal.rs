//! Text as deduplication sees it: words in lower case, with what differs between two copies of
//! one session (times, ids, home folders, placeholder numbers) folded into one word each.

use xxhash_rust::xxh3::xxh3_64;

const TIME: &str = "\u{1}time";
const ID: &str = "\u{1}id";
const HOME: &str = "\u{1}home";

/// Calls `each` with every word of `text`, in order; case is left as it is.
pub fn words<'t>(text: &'t str, mut each: impl FnMut(&'t str)) {
    let bytes = text.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        let byte = bytes[at];
        let fresh = at == 0 || !is_word(bytes[at - 1]);
        if fresh
            && byte.is_ascii_digit()
            && let Some(end) = time(bytes, at)
        {
            each(TIME);
            at = end;
            continue;
        }
        if fresh && byte.is_ascii_hexdigit() && is_uuid(bytes, at) {
            each(ID);
            at += 36;
            continue;
        }
        if matches!(byte, b'/' | b'\\' | b'~')
            && let Some(end) = home(bytes, at)
        {
            each(HOME);
            at = end;
            continue;
        }
        if byte == b'<'
            && let Some((name, end)) = placeholder(bytes, at)
        {
            each(&text[at + 1..name]);
            at = end;
            continue;
        }
        if is_word(byte) {
            let end = at + bytes[at..].iter().take_while(|b| is_word(**b)).count();
            // A run that goes on in another alphabet is one word all the same.
            let end = unicode_end(text, end);
            each(fold(&text[at..end]));
            at = end;
        } else if byte < 0x80 {
            at += 1;
        } else {
            let Some(first) = text[at..].chars().next() else { break };
            let next = at + first.len_utf8();
            if !first.is_alphanumeric() {
                at = next;
            } else if stands_alone(first) {
                each(&text[at..next]);
                at = next;
            } else {
                let end = unicode_end(text, next);
                each(&text[at..end]);
                at = end;
            }
        }
    }
}

/// The hash of a word, whatever its case.
pub fn word_hash(word: &str) -> u64 {
    let mut small = [0u8; 64];
    if word.is_ascii() && word.len() <= small.len() {
        let lower = &mut small[..word.len()];
        lower.copy_from_slice(word.as_bytes());
        lower.make_ascii_lowercase();
        return xxh3_64(lower);
    }
    xxh3_64(word.to_lowercase().as_bytes())
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// Where a word that reaches `at` ends, letters beyond ASCII included.
fn unicode_end(text: &str, at: usize) -> usize {
    let rest = &text[at..];
    let run = rest.chars().take_while(|c| {
        if c.is_ascii() { is_word(*c as u8) } else { c.is_alphanumeric() && !stands_alone(*c) }
    });
    at + run.map(char::len_utf8).sum::<usize>()
}

/// Scripts written without spaces: each sign counts as a word.
fn stands_alone(c: char) -> bool {
    matches!(c, '\u{2e80}'..='\u{9fff}' | '\u{ac00}'..='\u{d7af}' | '\u{f900}'..='\u{faff}' | '\u{20000}'..='\u{3ffff}')
}

fn fold(word: &str) -> &str {
    let bytes = word.as_bytes();
    if bytes.len() < 7 {
        return word;
    }
    let digits = bytes.iter().filter(|b| b.is_ascii_digit()).count();
    if digits == bytes.len() {
        return match bytes.len() {
            // Unix time in seconds or milliseconds.
            10 | 13 if bytes[0] == b'1' => TIME,
            16.. => ID,
            _ => word,
        };
    }
    let hex = bytes.strip_prefix(b"0x").unwrap_or(bytes);
    if digits > 0 && hex.len() >= 6 && hex.iter().all(u8::is_ascii_hexdigit) {
        return ID;
    }
    // `call_…`, `ses_…`, `toolu_…` and the like: the part after the first underscore is random.
    let random = match bytes.iter().position(|b| *b == b'_') {
        Some(at) => &bytes[at + 1..],
        None => bytes,
    };
    let digits = random.iter().filter(|b| b.is_ascii_digit()).count();
    let letters = random.iter().filter(|b| b.is_ascii_alphabetic()).count();
    let plain = digits + letters == random.len();
    if plain && random.len() >= 16 && digits >= 3 && letters >= 3 { ID } else { word }
}

/// Matches `shape` at `at`: `d` is a digit, anything else itself.
fn shaped(bytes: &[u8], at: usize, shape: &[u8]) -> Option<usize> {
    let end = at + shape.len();
    let part = bytes.get(at..end)?;
    let fits = |(b, s): (&u8, &u8)| if *s == b'd' { b.is_ascii_digit() } else { b == s };
    part.iter().zip(shape).all(fits).then_some(end)
}

/// Where a date, a clock time or both end, if one starts at `at`.
fn time(bytes: &[u8], at: usize) -> Option<usize> {
    if let Some(end) = shaped(bytes, at, b"ddddddddTdddddd") {
        let end = shaped(bytes, end, b"Z").unwrap_or(end);
        return (!bytes.get(end).is_some_and(|b| is_word(*b))).then_some(end);
    }
    let date = shaped(bytes, at, b"dddd-dd-dd").or_else(|| shaped(bytes, at, b"dddd/dd/dd"));
    let end = match date {
        Some(end) => match bytes.get(end) {
            Some(b'T' | b't' | b' ') => clock(bytes, end + 1, false).unwrap_or(end),
            _ => end,
        },
        None => clock(bytes, at, true)?,
    };
    (!bytes.get(end).is_some_and(u8::is_ascii_digit)).then_some(end)
}

/// `10:15`, `10:15:00`, `10:15:00.123`, each with an optional zone.
fn clock(bytes: &[u8], at: usize, seconds: bool) -> Option<usize> {
    let minutes = shaped(bytes, at, b"dd:dd")?;
    let mut end = match shaped(bytes, minutes, b":dd") {
        Some(end) => end,
        None if seconds => return None,
        None => minutes,
    };
    if matches!(bytes.get(end), Some(b'.' | b','))
        && bytes.get(end + 1).is_some_and(u8::is_ascii_digit)
    {
        end += 1 + bytes[end + 1..].iter().take_while(|b| b.is_ascii_digit()).count();
    }
    for zone in [b"Z".as_slice(), b"+dd:dd", b"-dd:dd", b"+dddd", b"-dddd"] {
        if let Some(end) = shaped(bytes, end, zone) {
            return Some(end);
        }
    }
    Some(end)
}

fn is_uuid(bytes: &[u8], at: usize) -> bool {
    let Some(part) = bytes.get(at..at + 36) else { return false };
    let fits = |(i, b): (usize, &u8)| match i {
        8 | 13 | 18 | 23 => *b == b'-',
        _ => b.is_ascii_hexdigit(),
    };
    part.iter().enumerate().all(fits) && !bytes.get(at + 36).is_some_and(|b| is_word(*b))
}

/// Where `/home/NAME`, `/Users/NAME`, `\Users\NAME` or `~` ends.
fn home(bytes: &[u8], at: usize) -> Option<usize> {
    if bytes[at] == b'~' {
        return matches!(bytes.get(at + 1), Some(b'/' | b'\\')).then_some(at + 1);
    }
    let rest = &bytes[at..];
    let name = [b"/home/".as_slice(), b"/Users/", b"\\Users\\", b"\\\\Users\\\\"]
        .into_iter()
        .find_map(|prefix| rest.strip_prefix(prefix))?;
    let ends = |b: &u8| b.is_ascii_whitespace() || b"/\\\"'`:;,()[]{}".contains(b);
    let length = name.iter().position(ends).unwrap_or(name.len());
    (length > 0).then(|| at + rest.len() - name.len() + length)
}

/// A redaction's `<NAME_12>`: where the name ends and where all of it does.
fn placeholder(bytes: &[u8], at: usize) -> Option<(usize, usize)> {
    let rest = &bytes[at + 1..];
    let length = rest
        .iter()
        .take_while(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || **b == b'_')
        .count();
    if rest.get(length) != Some(&b'>') {
        return None;
    }
    let digits = rest[..length].iter().rev().take_while(|b| b.is_ascii_digit()).count();
    let name = (length - digits).checked_sub(1)?;
    (digits > 0 && name > 0 && rest[name] == b'_').then_some((at + 1 + name, at + length + 2))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(text: &str) -> Vec<String> {
        let mut found = Vec::new();
        words(text, |w| found.push(w.replace('\u{1}', "#")));
        found
    }

    #[test]
    fn words_are_runs_of_letters_digits_and_underscores() {
        assert_eq!(
            split("Fix `old_string`, then run: cargo-test!"),
            ["Fix", "old_string", "then", "run", "cargo", "test"]
        );
        assert_eq!(split("naïve Größe x²"), ["naïve", "Größe", "x²"]);
        assert_eq!(split("修正 test"), ["修", "正", "test"]);
        assert_eq!(word_hash("Größe"), word_hash("gRÖSSE".replace("SS", "ß").as_str()));
    }

    #[test]
    fn what_differs_between_copies_is_folded() {
        for text in [
            "2026-11-22",
            "2026-11-22T10:15:00Z",
            "2026-11-22 10:15:00.123+02:00",
            "10:15:59",
            "20261122T101500Z",
            "1763806500",
            "1763806500123",
        ] {
            assert_eq!(split(text), ["#time"], "{text}");
        }
        for text in [
            "3fa9c1d2",
            "550e8400-e29b-41d4-a716-446655440000",
            "0xdeadbeef",
            "call_9aZ8b7C6d5E4f3G2",
            "toolu_01XyZ23AbC45dEf67",
        ] {
            assert_eq!(split(text), ["#id"], "{text}");
        }
        assert_eq!(split("/home/mira/src"), split("/Users/tom.k/src"));
        assert_eq!(split("C:\\Users\\Tom\\src"), ["C", "#home", "src"]);
        assert_eq!(split("~/src"), split("/home/mira/src"));
        assert_eq!(split("write to <EMAIL_1> now"), split("write to <EMAIL_22> now"));
        assert_ne!(split("<EMAIL_1>"), split("<PHONE_1>"));
    }

    #[test]
    fn ordinary_words_and_numbers_stay() {
        for text in ["1234567", "10:15", "v1.2.3", "defaced", "test_that_it_works_well", "<T>"] {
            assert!(!split(text).iter().any(|w| w.starts_with('#')), "{text}: {:?}", split(text));
        }
        assert_eq!(split("</div>"), ["div"]);
        assert_eq!(split("<A_1"), ["A_1"]);
    }

    #[test]
    fn any_text_is_taken() {
        for text in ["<", "<_1>", "<1>", "~", "/home/", "/home/x", "é", "a\u{0}b", "2026-11-2"] {
            split(text);
        }
    }
}
