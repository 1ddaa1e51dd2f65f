//! Text as deduplication sees it: words in lower case, with what differs between two copies of
//! one session (times, ids, leading folders, placeholder numbers) folded into one word each.

const TIME: &str = "\u{1}time";
const ID: &str = "\u{1}id";
const FOLDERS: &str = "\u{1}folders";

/// Calls `each` with every word of `text`, in order; case is left as it is.
pub fn words<'t>(text: &'t str, mut each: impl FnMut(&'t str)) {
    scan(text, |word, _| each(word));
}

/// Calls `each` with the [`word_hash`] of every word of `text`, in order.
pub fn hashes(text: &str, mut each: impl FnMut(u64)) {
    scan(text, |_, hash| each(hash));
}

/// The hash of a word, whatever its case; the same on every machine.
pub fn word_hash(word: &str) -> u64 {
    if word.is_ascii() {
        return ascii_hash(word.as_bytes());
    }
    let mut hash = START;
    for c in word.chars().flat_map(char::to_lowercase) {
        let mut utf8 = [0; 4];
        hash = c.encode_utf8(&mut utf8).bytes().fold(hash, next);
    }
    finish(hash)
}

/// Spreads what differs between two numbers over all bits (Stafford's thirteenth mixer).
pub(super) const fn mix(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

const START: u64 = 0xcbf2_9ce4_8422_2325;

/// A word is hashed while it is scanned, a byte at a time. The bit that is set makes letters
/// small; it tells no two other signs of a word apart that differ.
#[inline(always)]
const fn next(hash: u64, byte: u8) -> u64 {
    let byte = if byte < 0x80 { byte | 0x20 } else { byte };
    (hash ^ byte as u64).wrapping_mul(0x9fb2_1c65_1e98_df25)
}

const fn finish(hash: u64) -> u64 {
    hash ^ (hash >> 32)
}

const fn ascii_hash(word: &[u8]) -> u64 {
    let mut hash = START;
    let mut at = 0;
    while at < word.len() {
        hash = next(hash, word[at]);
        at += 1;
    }
    finish(hash)
}

/// What a byte can be; those of words have a bit each, so that a word knows what it consists of.
const OTHER: u8 = 0;
const LETTER: u8 = 1;
const HEX: u8 = 2;
const DIGIT: u8 = 4;
const WORD: u8 = LETTER | HEX | DIGIT;
const MARK: u8 = 8;
const WIDE: u8 = 16;

const KINDS: [u8; 256] = {
    let mut kinds = [OTHER; 256];
    let mut byte = 0;
    while byte < 256 {
        kinds[byte] = match byte as u8 {
            b'0'..=b'9' => DIGIT,
            b'a'..=b'f' | b'A'..=b'F' => HEX,
            b'g'..=b'z' | b'G'..=b'Z' | b'_' => LETTER,
            b'/' | b'\\' | b'~' | b'<' => MARK,
            0x80.. => WIDE,
            _ => OTHER,
        };
        byte += 1;
    }
    kinds
};

#[inline(always)]
fn kind(byte: u8) -> u8 {
    KINDS[usize::from(byte)]
}

fn is_word(byte: u8) -> bool {
    kind(byte) & WORD != 0
}

/// Calls `each` with every word and its hash.
#[inline(always)]
fn scan<'t>(text: &'t str, mut each: impl FnMut(&'t str, u64)) {
    let bytes = text.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        let byte = bytes[at];
        let of = kind(byte);
        if of == OTHER {
            at += 1;
            continue;
        }
        if of & (DIGIT | HEX) != 0
            && (at == 0 || !is_word(bytes[at - 1]))
            && let Some((word, end)) = stamp(bytes, at)
        {
            each(word, ascii_hash(word.as_bytes()));
            at = end;
        } else if of & WORD != 0 {
            let from = at;
            let (mut hash, mut seen) = (START, 0);
            let mut of = of;
            while of & WORD != 0 {
                hash = next(hash, bytes[at]);
                seen |= of;
                at += 1;
                of = bytes.get(at).map_or(OTHER, |b| kind(*b));
            }
            let whole = &text[from..at];
            if of == WIDE {
                // A run that goes on in another alphabet is one word all the same.
                at = unicode_end(text, at);
                let word = fold(&text[from..at]);
                each(word, word_hash(word));
            } else if seen & DIGIT != 0 && whole.len() >= SHORTEST_ID {
                let word = fold(whole);
                each(word, if word.len() < whole.len() { word_hash(word) } else { finish(hash) });
            } else {
                each(whole, finish(hash));
            }
        } else if of == MARK {
            if let Some(end) = folders(bytes, at) {
                each(FOLDERS, ascii_hash(FOLDERS.as_bytes()));
                at = end;
            } else if let Some((name, end)) = placeholder(bytes, at) {
                let word = &text[at + 1..name];
                each(word, word_hash(word));
                at = end;
            } else {
                at += 1;
            }
        } else {
            let Some(first) = text[at..].chars().next() else { break };
            let end = at + first.len_utf8();
            if !first.is_alphanumeric() {
                at = end;
                continue;
            }
            let end = if stands_alone(first) { end } else { unicode_end(text, end) };
            let word = &text[at..end];
            each(word, word_hash(word));
            at = end;
        }
    }
}

/// The word for a time or a UUID that starts at `at`, and where that ends.
fn stamp(bytes: &[u8], at: usize) -> Option<(&'static str, usize)> {
    let sign = |n: usize| bytes.get(at + n).copied();
    let dated =
        sign(2) == Some(b':') || matches!(sign(4), Some(b'-' | b'/')) || sign(8) == Some(b'T');
    if dated
        && bytes[at].is_ascii_digit()
        && let Some(end) = time(bytes, at)
    {
        return Some((TIME, end));
    }
    (sign(8) == Some(b'-') && is_uuid(bytes, at)).then_some((ID, at + 36))
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

/// No word shorter than this is taken for an id or a time.
const SHORTEST_ID: usize = 7;

fn fold(word: &str) -> &str {
    let bytes = word.as_bytes();
    if bytes.len() < SHORTEST_ID {
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

/// Where the folders of an absolute path end in which two checkouts of one repository differ: all
/// before its last two parts. `/home/NAME` and the like always go.
fn folders(bytes: &[u8], at: usize) -> Option<usize> {
    let home = home(bytes, at);
    let separator = bytes.get(at + usize::from(bytes[at] == b'~')).copied()?;
    let begins = home.is_some()
        || separator == b'/' && (at == 0 || b" \t\n\r\"'`([{=,;|>".contains(&bytes[at - 1]));
    if !begins {
        return None;
    }
    let (mut parts, mut last, mut before) = (0, 0, 0);
    let mut end = home.unwrap_or(at);
    loop {
        let from = end;
        while bytes.get(end) == Some(&separator) {
            end += 1;
        }
        let name = bytes[end..].iter().take_while(|b| is_word(**b) || b"-.+@".contains(b)).count();
        if end == from || name == 0 {
            break;
        }
        (before, last, parts) = (last, from, parts + 1);
        end += name;
    }
    if parts > 2 { Some(before) } else { home }
}

/// Where `/home/NAME`, `/Users/NAME`, `\Users\NAME` or `~` ends.
fn home(bytes: &[u8], at: usize) -> Option<usize> {
    match (bytes[at], bytes.get(at + 1)?) {
        (b'~', b'/' | b'\\') => return Some(at + 1),
        (b'/', b'h' | b'U') | (b'\\', b'U' | b'\\') => {}
        _ => return None,
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
    if bytes[at] != b'<' {
        return None;
    }
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
        assert_eq!(split("C:\\Users\\Tom\\src"), ["C", "#folders", "src"]);
        assert_eq!(split("~/src"), split("/home/mira/src"));
        let wanted = ["#folders", "src", "money", "rs", "12"];
        for text in [
            "/home/mira/work/ledger/src/money.rs:12",
            "/workspace/ledger/src/money.rs:12",
            "~/src/money.rs:12",
            "C:\\Users\\Tom\\ledger-2\\src\\money.rs:12",
            "C:\\\\Users\\\\Tom\\\\ledger\\\\src\\\\money.rs:12",
        ] {
            let words = split(text);
            assert_eq!(words[words.len() - 5..], wanted, "{text}");
        }
        assert_eq!(split("write to <EMAIL_1> now"), split("write to <EMAIL_22> now"));
        assert_ne!(split("<EMAIL_1>"), split("<PHONE_1>"));
    }

    #[test]
    fn ordinary_words_and_numbers_stay() {
        for text in ["1234567", "10:15", "v1.2.3", "defaced", "test_that_it_works_well", "<T>"] {
            assert!(!split(text).iter().any(|w| w.starts_with('#')), "{text}: {:?}", split(text));
        }
        assert_eq!(split("</div>"), ["div"]);
        assert_eq!(split("src/a/b/c.rs"), ["src", "a", "b", "c", "rs"]);
        assert_eq!(split("https://x.io/a/b/c"), ["https", "x", "io", "a", "b", "c"]);
        assert_eq!(split("/etc/passwd"), ["etc", "passwd"]);
        assert_eq!(split("<A_1"), ["A_1"]);
    }

    #[test]
    fn a_word_is_hashed_as_it_is_scanned() {
        let text = "Fix /home/mira/a_B9 at 2026-11-22, Größe naïve x² 修正 <EMAIL_1> 3fa9c1d2 \
                    1234567 12345678901234567 550e8400-e29b-41d4-a716-446655440000";
        let (mut wanted, mut found) = (Vec::new(), Vec::new());
        words(text, |word| wanted.push(word_hash(word)));
        hashes(text, |hash| found.push(hash));
        assert_eq!(found, wanted);
        assert_eq!(found.len(), 15);
        assert_eq!(word_hash("Foo_Bar9"), word_hash("fOO_bAR9"));
        assert_ne!(word_hash("foo_bar"), word_hash("foo_baz"));
    }

    #[test]
    fn any_text_is_taken() {
        for text in ["<", "<_1>", "<1>", "~", "/home/", "/home/x", "é", "a\u{0}b", "2026-11-2"] {
            split(text);
        }
    }
}
