//! Secrets broken over lines: a view in which the parts stand together again.
//!
//! A terminal, a mailer or an editor broke them at a width, or code joins literals. Only where both
//! sides of a break could be parts of one token is it taken out, so that a text without such
//! breaks costs one look at the end of each of its lines.

use super::decode::{Decoding, View};
use super::keywords::seek;
use super::rules::names;
use super::rules::values::is_checksum;
use super::rules::words::is_words;

/// How far a part is followed from a break.
const PART: usize = 512;
/// The shortest part that a break is believed to have cut.
const LEAST: usize = 8;

/// The text with its seams taken out; none where there are none.
pub(super) fn wrapped(text: &str) -> Option<View> {
    let bytes = text.as_bytes();
    let mut view = Decoding::of(text);
    let mut seams = Vec::new();
    joined_lists(text, &mut seams);
    let mut listed = seams.into_iter().peekable();
    let mut shown = 0;
    let mut lines = Lines::default();
    let mut from = 0;
    while let Some(at) = seek(bytes, from, |b| b == b'\n') {
        if let Some((start, end)) = seam(bytes, from, at, &mut lines)
            && start >= shown
        {
            while let Some((a, b)) = listed.next_if(|(a, _)| *a < start) {
                if a >= shown && b <= start {
                    view.decoded(a, b, b"");
                    shown = b;
                }
            }
            if start >= shown {
                view.decoded(start, end, b"");
                shown = end;
            }
        }
        from = at + 1;
    }
    for (a, b) in listed {
        if a >= shown {
            view.decoded(a, b, b"");
            shown = b;
        }
    }
    view.view()
}

/// What is known of the line before.
#[derive(Default)]
struct Lines {
    /// Where the line after the last seam begins.
    after_seam: usize,
    /// How wide the line before the last seam was.
    width: usize,
    /// Inside a YAML block: how far its lines are indented.
    block: Option<usize>,
}

/// Bytes that a token is made of.
fn is_part(byte: &u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(byte, b'_' | b'-' | b'+' | b'/' | b'=' | b'.' | b'%' | b'~')
}

/// Bytes that a part is made of where something else marks its end.
fn is_marked(byte: &u8) -> bool {
    is_part(byte)
        || matches!(byte, b':' | b'|' | b'!' | b'@' | b'#' | b'$' | b'^' | b'&' | b'*' | b'?')
}

/// The bytes to take out around the line end at `end` of the line that begins at `line`.
fn seam(bytes: &[u8], line: usize, end: usize, lines: &mut Lines) -> Option<(usize, usize)> {
    let stop = end - usize::from(bytes[line..end].ends_with(b"\r"));
    let tail = bytes[line..stop].trim_ascii_end();
    let last = *tail.last()?;
    let is_sign = matches!(last, b'"' | b'\'' | b'`' | b'\\' | b'=' | b'|' | b'>' | b'(');
    if !is_marked(&last) && !is_sign {
        return None;
    }
    let text_end = line + tail.len();
    let chained = lines.after_seam == line && lines.width > 0;
    if !chained && !is_sign && !may_go_on(bytes, line, text_end) {
        return None;
    }
    let next = end + 1;
    let open = next + margin(bytes, line, next)?;
    let block = lines.block.filter(|_| chained);
    lines.block = block_line(bytes, line, stop, open, block);
    let found = lines
        .block
        .map(|_| (if block.is_some() { text_end } else { block_head(bytes, line, stop) }, open))
        .or_else(|| literals(bytes, line, text_end, open))
        .or_else(|| opened(bytes, text_end, next, open))
        .or_else(|| continued(bytes, line, stop, open, chained))
        .or_else(|| broken(bytes, line, stop, open, lines));
    if found.is_some() {
        lines.after_seam = next;
        lines.width = stop - line;
    }
    found
}

/// Whether the line ends in a literal with an operator behind it, in the sign of a YAML block, or in
/// what could be the begin of a token, which most words could not.
fn may_go_on(bytes: &[u8], line: usize, end: usize) -> bool {
    let operand = bytes[line..end]
        .iter()
        .rposition(|b| !matches!(b, b'+' | b'-' | b'.' | b'&' | b'^' | b' ' | b'\t'));
    if operand.is_some_and(|n| b"\"'`|>".contains(&bytes[line + n])) {
        return true;
    }
    let run = &bytes[part_before(bytes, line, end)..end];
    let is_word = || run.iter().all(u8::is_ascii_alphabetic) && changes(run) < 2;
    match run.len() {
        24.. => true,
        LEAST.. => !is_word(),
        4.. => run.contains(&b'=') || bytes[line..end - run.len()].last().is_some_and(is_joint),
        _ => false,
    }
}

/// The length of the part that begins at `at`.
fn part_after(bytes: &[u8], at: usize) -> usize {
    run_after(bytes, at, is_part)
}

fn run_after(bytes: &[u8], at: usize, is_part: fn(&u8) -> bool) -> usize {
    bytes[at..].iter().take(PART).take_while(|b| is_part(b)).count()
}

/// Where the part that ends at `end` begins.
fn part_before(bytes: &[u8], line: usize, end: usize) -> usize {
    run_before(bytes, line, end, is_part)
}

fn run_before(bytes: &[u8], line: usize, end: usize, is_part: fn(&u8) -> bool) -> usize {
    let floor = line.max(end.saturating_sub(PART));
    end - bytes[floor..end].iter().rev().take_while(|b| is_part(b)).count()
}

/// The length of what stands before the text of a line: blanks, a diff's or a quotation's sign, a
/// line number. None where the line before is marked otherwise.
fn margin(bytes: &[u8], line: usize, next: usize) -> Option<usize> {
    let mut at = next;
    let numbered = |at: usize| {
        let blank = bytes[at..].iter().take(8).take_while(|b| **b == b' ').count();
        let digits = bytes[at + blank..].iter().take(7).take_while(|b| b.is_ascii_digit()).count();
        let rest = &bytes[at + blank + digits..];
        let mark = ["\t", "→", "| ", " | ", ": "].iter().find(|m| rest.starts_with(m.as_bytes()));
        mark.filter(|_| digits > 0).map(|m| blank + digits + m.len())
    };
    if let (Some(_), Some(width)) = (numbered(line), numbered(next)) {
        return Some(width + blanks(bytes, next + width));
    }
    // The same signs before both lines
    let same = |n: &usize| bytes.get(line + n) == bytes.get(next + n);
    let is_sign = |n: &usize| bytes.get(next + n).is_some_and(|b| b" +->|#*/;".contains(b));
    if bytes.get(next).is_some() {
        at += (0..12).take_while(|n| same(n) && is_sign(n)).count();
    }
    Some(at - next + blanks(bytes, at))
}

fn blanks(bytes: &[u8], at: usize) -> usize {
    bytes[at..].iter().take(80).take_while(|b| matches!(b, b' ' | b'\t')).count()
}

/// `"abc" +` and `"def"` on the next line, in any language's way of writing it.
fn literals(bytes: &[u8], line: usize, end: usize, open: usize) -> Option<(usize, usize)> {
    const OPERATORS: [&[u8]; 7] = [b"+", b"..", b".", b"&", b"\\", b"<>", b"^"];
    let quotes = |b: &u8| b"\"'`".contains(b);
    let line_text = &bytes[line..end];
    let operator = OPERATORS.iter().find(|o| line_text.ends_with(o));
    let left = line_text[..line_text.len() - operator.map_or(0, |o| o.len())].trim_ascii_end();
    let quote = left.last().filter(|b| quotes(b))?;
    // As CSV writes them
    let double = *quote == b'"' && left.ends_with(b"\"\"");
    let width = 1 + usize::from(double);
    let close = line + left.len() - width;
    let mut at = open;
    let mut joined = operator.is_some();
    if let Some(leading) = OPERATORS.iter().find(|o| bytes[at..].starts_with(o)) {
        at += leading.len() + blanks(bytes, at + leading.len());
        joined = true;
    }
    at += usize::from(matches!(bytes.get(at), Some(b'f' | b'b' | b'r' | b'u' | b'@' | b'L')));
    if bytes.get(at) != Some(quote) || double && bytes.get(at + 1) != Some(quote) {
        return None;
    }
    let at = at + width;
    let left = &bytes[run_before(bytes, line, close, is_marked)..close];
    let right = &bytes[at..at + run_after(bytes, at, is_marked)];
    // Without a sign between them, they are more often elements than parts.
    let sound = match joined {
        true => !left.is_empty() && !right.is_empty() && (is_odd(left) || is_odd(right)),
        false => {
            // Each alone on its line, with no comma
            let first = line + margin(bytes, line, line).unwrap_or(0) + width;
            let whole = close - left.len() == first;
            let least = if whole { 4 } else { LEAST };
            left.len() >= least && !right.is_empty() && (is_odd(left) || whole && is_odd(right))
        }
    };
    let escaped = close.checked_sub(left.len() + 1).is_some_and(|n| bytes[n] == b'\\');
    (sound && !escaped).then_some((close, at))
}

/// `name = (`, and on the next line a literal behind the sign of a comment or a diff, or in CSV.
fn opened(bytes: &[u8], end: usize, next: usize, open: usize) -> Option<(usize, usize)> {
    let quotes = bytes[open..].iter().take(2).take_while(|b| b"\"'".contains(b)).count();
    let marked = bytes[next..open].iter().any(|b| !b.is_ascii_whitespace());
    if bytes[end - 1] != b'(' || quotes == 0 || !(marked || quotes == 2) {
        return None;
    }
    let value = &bytes[open + quotes..open + quotes + part_after(bytes, open + quotes)];
    (value.len() >= LEAST && is_odd(value)).then_some((end - 1, open))
}

/// A line that ends in a backslash, or in the `=` of quoted-printable.
fn continued(
    bytes: &[u8],
    line: usize,
    end: usize,
    open: usize,
    chained: bool,
) -> Option<(usize, usize)> {
    let sign = *bytes[line..end].last().filter(|b| b"\\=".contains(b))?;
    let at = end - 1;
    let after_name = |left: &[u8]| left.rsplit(|b| *b == b'=').next().map_or(0, <[u8]>::len);
    if sign == b'\\' {
        let left = &bytes[run_before(bytes, line, at, is_marked)..at];
        let value = &left[left.len() - after_name(left)..];
        let right = &bytes[open..open + run_after(bytes, open, is_marked)];
        let sound = value.len() >= 4 && !right.is_empty() && (is_odd(value) || is_odd(right));
        return sound.then_some((at, open));
    }
    let left = &bytes[parts_before(bytes, line, at)..at];
    let value = &left[left.len() - after_name(left)..];
    let right = &bytes[open..open + parts_after(bytes, open)];
    // The `=` of base64 ends a value; what follows must be the rest of one.
    let next = bytes.get(open + right.len());
    let alone = matches!(next, None | Some(b'\r' | b'\n'));
    let rest = right.strip_suffix(b"=").unwrap_or(right);
    let ends = alone || next.is_some_and(|b| b" \t\"'`);<\\,=".contains(b));
    if !ends || rest.is_empty() || rest.contains(&b'=') || is_digest(value, right) {
        return None;
    }
    let long = right.len() >= LEAST && is_odd(right);
    let sound = value.len() >= LEAST && is_odd(value) && (long || alone && !is_words(text(right)))
        || value.len() >= 4 && alone && (long && value.len() < left.len() || chained);
    sound.then_some((at, open))
}

/// Where the sign of a YAML block begins in the line before it.
fn block_head(bytes: &[u8], line: usize, end: usize) -> usize {
    let head = &bytes[line..end];
    line + head.strip_suffix(b"-").unwrap_or(head).len().saturating_sub(1)
}

/// The indentation of a YAML block: `key: |`, then a value over several lines, taken as they are.
/// `block` is that of the block which the line itself stands in.
fn block_line(
    bytes: &[u8],
    line: usize,
    end: usize,
    open: usize,
    block: Option<usize>,
) -> Option<usize> {
    let head = &bytes[line..block_head(bytes, line, end)];
    if block.is_none() && !matches!(bytes[line + head.len()], b'|' | b'>') {
        return None;
    }
    let newline = bytes[..open].iter().rposition(|b| *b == b'\n')?;
    let indent = open - newline;
    let right = &bytes[open..open + run_after(bytes, open, u8::is_ascii_graphic)];
    let alone = matches!(bytes.get(open + right.len()), None | Some(b'\r' | b'\n'));
    if right.is_empty() || !alone {
        return None;
    }
    if let Some(width) = block {
        return (width == indent).then_some(width);
    }
    let key = head.trim_ascii_end().strip_suffix(b":").filter(|k| k.len() + 1 < head.len())?;
    let mixed = right.iter().any(|b| b.is_ascii_digit() || b.is_ascii_uppercase());
    let name = || key.rsplit(|b| b.is_ascii_whitespace()).next().map_or("", text);
    let sound =
        right.len() >= LEAST && mixed || right.len() >= 4 && names::strength(name()).is_some();
    sound.then_some(indent)
}

/// Stands between the parts that some tokens have: `1234:abcd`, `12|abcd`.
fn is_joint(byte: &u8) -> bool {
    matches!(byte, b':' | b'|')
}

/// The length of the part that begins at `at`, or of several with joints between them.
fn parts_after(bytes: &[u8], at: usize) -> usize {
    let first = part_after(bytes, at);
    if first == 0 || !bytes.get(at + first).is_some_and(is_joint) {
        return first;
    }
    let all = run_after(bytes, at, |b| is_part(b) || is_joint(b));
    let last = bytes[at..at + all].rsplit(is_joint).next().unwrap_or(b"");
    let whole = last.len() >= LEAST && is_odd(last) && !is_words(text(&bytes[at..at + first]));
    if whole { all } else { first }
}

/// Where the part that ends at `end` begins, or the first of several with joints between them.
fn parts_before(bytes: &[u8], line: usize, end: usize) -> usize {
    let last = part_before(bytes, line, end);
    if last == end || last == line || !is_joint(&bytes[last - 1]) {
        return last;
    }
    let all = run_before(bytes, line, end, |b| is_part(b) || is_joint(b));
    let first = bytes[all..end].split(is_joint).next().unwrap_or(b"");
    let odd = first.len() >= 4 && first.iter().any(u8::is_ascii_digit);
    if odd && !is_words(text(first)) { all } else { last }
}

/// A token that was cut at a width.
fn broken(
    bytes: &[u8],
    line: usize,
    end: usize,
    open: usize,
    lines: &Lines,
) -> Option<(usize, usize)> {
    let end = line + bytes[line..end].trim_ascii_end().len();
    let start = parts_before(bytes, line, end);
    let run = &bytes[start..end];
    let length = parts_after(bytes, open);
    let right = &bytes[open..open + length];
    if run.is_empty() || right.is_empty() {
        return None;
    }
    let whole = run.strip_suffix(b"==").or_else(|| run.strip_suffix(b"=")).unwrap_or(run);
    let named = whole.len() < run.len() && is_name(whole);
    let left = whole.rsplit(|b| *b == b'=').next().unwrap_or(whole);
    let rest = right.strip_suffix(b"==").or_else(|| right.strip_suffix(b"=")).unwrap_or(right);
    // `NAME=value` and `name: value` begin a line of their own.
    let before_sign = rest.iter().position(|b| *b == b'=');
    if rest.is_empty()
        || before_sign.is_some_and(|n| n < 24 || !is_made(&rest[..n]) || !is_odd(&rest[..n]))
    {
        return None;
    }
    let next = bytes.get(open + length);
    let alone = matches!(next, None | Some(b'\r' | b'\n'));
    if !alone && !next.is_some_and(|b| b" \t\"'`);<\\".contains(b)) {
        return None;
    }
    let odd = right.len() >= LEAST && is_odd(right);
    if named {
        return (alone && odd).then_some((end, open));
    }
    if whole.len() < run.len() {
        // Padding ends what it stands behind.
        return None;
    }
    if is_digest(left, right) && !left.ends_with(b"-") {
        return None;
    }
    let chained = lines.after_seam == line && lines.width > 0;
    let solid = || left.len() >= LEAST && is_odd(left);
    let same_width = lines.width >= 40 && lines.width == end - line;
    let plain = right.iter().all(u8::is_ascii_alphanumeric);
    let sound = match right.len() {
        LEAST.. => odd || alone && plain && changes(right) >= 2,
        _ if !right.iter().all(|b| b.is_ascii_alphanumeric() || *b == b'=') => false,
        _ => {
            alone && (chained || !is_words(text(right)))
                || chained && same_width && !is_words(text(right))
        }
    };
    // The middle of a token may be a line that looks like a word.
    let inner = chained && left.len() >= LEAST && start + left.len() == end;
    // And so may its begin, before what was clearly made by a machine.
    let assigned = left.len() >= 4 && left.len() < whole.len() && alone && odd;
    let begun = || {
        let no_word = changes(left) >= 2 || !run.iter().all(u8::is_ascii_alphabetic);
        let signed = b"+-/".contains(&right[0]);
        run.len() >= LEAST && no_word && !signed && odd && is_made(right)
    };
    (sound && (inner || solid()) || assigned || begun()).then_some((end, open))
}

fn text(part: &[u8]) -> &str {
    std::str::from_utf8(part).unwrap_or("")
}

/// How often the case changes.
fn changes(part: &[u8]) -> usize {
    part.windows(2).filter(|w| w[0].is_ascii_uppercase() != w[1].is_ascii_uppercase()).count()
}

/// Whether a part is no word, number, path or date.
fn is_odd(part: &[u8]) -> bool {
    let digits = part.iter().filter(|b| b.is_ascii_digit()).count();
    let letters = part.iter().filter(|b| b.is_ascii_alphabetic()).count();
    letters > 0 && (digits > 0 || changes(part) >= 2 || part.len() >= 24) && !is_words(text(part))
}

/// Whether nobody would write an odd part by hand.
fn is_made(part: &[u8]) -> bool {
    let turns = part.windows(2).filter(|w| w[0].is_ascii_digit() != w[1].is_ascii_digit()).count();
    let has = |f: fn(&u8) -> bool| part.iter().any(f);
    let mixed =
        has(u8::is_ascii_digit) && has(u8::is_ascii_uppercase) && has(u8::is_ascii_lowercase);
    let changes = changes(part);
    part.len() >= 12 && (turns >= 4 || mixed && changes >= 3 || changes >= 8)
}

/// Whether a line begins with a digest or an id, which a token of other letters does not go on with.
fn is_digest(left: &[u8], right: &[u8]) -> bool {
    let hex = |part: &[u8]| part.iter().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f' | b'-'));
    let last = left.rsplit(|b| !b.is_ascii_alphanumeric()).next().unwrap_or(left);
    let hex_after_other =
        right.len() >= 7 && hex(right) && !hex(&last[last.len().saturating_sub(16)..]);
    hex_after_other || is_checksum(text(right))
}

/// The name of a variable.
fn is_name(part: &[u8]) -> bool {
    !part.is_empty()
        && part.iter().all(|b| b.is_ascii_alphanumeric() || b"_-.".contains(b))
        && is_words(text(part))
}

/// How far before its `join` a list may begin.
const LIST: usize = 8192;

/// The commas of lists whose elements are joined without anything between.
fn joined_lists(text: &str, seams: &mut Vec<(usize, usize)>) {
    let bytes = text.as_bytes();
    let mut done = 0;
    let mut next = 0;
    // The rarest of its letters.
    while let Some(at) = seek(bytes, next, |b| b == b'j') {
        next = at + 1;
        if !bytes[at..].starts_with(b"join(") {
            continue;
        }
        let tail = &bytes[at + 5..bytes.len().min(at + 5 + 2)];
        let (from, to) = if tail == b"\"\"" || tail == b"''" {
            let floor = done.max(at.saturating_sub(LIST));
            let Some(open) = bytes[floor..at].iter().rposition(|b| *b == b'[') else { continue };
            (floor + open, at)
        } else if at >= 3 && matches!(&bytes[at - 3..at], b"''." | b"\"\".") && at >= done {
            let stop = bytes.len().min(at + LIST);
            let close = bytes[at..stop].iter().position(|b| *b == b']' || *b == b')');
            (at, close.map_or(at, |n| at + n))
        } else {
            continue;
        };
        let mut i = from;
        while let Some(quote) = bytes[i..to].iter().position(|b| matches!(b, b'"' | b'\'')) {
            let close = i + quote;
            let rest = &bytes[close + 1..to];
            let blank = |from: usize| {
                rest[from..].iter().take(80).take_while(|b| b.is_ascii_whitespace()).count()
            };
            let comma = blank(0);
            i = close + 1;
            if rest.get(comma) == Some(&b',') {
                let next = comma + 1 + blank(comma + 1);
                if rest.get(next) == Some(&bytes[close]) {
                    seams.push((close, close + 1 + next + 1));
                    i = close + 1 + next + 1;
                }
            }
        }
        done = to;
    }
}

/// Calls `f` with the places of the original that a span of a view came from: several where a
/// seam runs through it.
pub(super) fn places(
    original: &str,
    span: (usize, usize),
    map: &dyn Fn(usize, usize) -> (usize, usize),
    f: &mut dyn FnMut(usize, usize),
) {
    let (start, end) = map(span.0, span.1);
    if !original.get(start..end).is_some_and(|text| text.contains(['\n', '"', '\''])) {
        return f(start, end);
    }
    let (mut from, mut to) = map(span.0, span.0 + 1);
    for at in span.0 + 1..span.1 {
        let (a, b) = map(at, at + 1);
        let gap = original.get(to..a).unwrap_or("");
        if a > to && (gap.contains(['\n', '"', '\'', ']']) || gap.contains("\\n")) {
            f(from, to);
            from = a;
        }
        to = to.max(b);
    }
    f(from, to);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn joined(text: &str) -> String {
        wrapped(text).map_or(String::new(), |view| view.text)
    }

    #[test]
    fn parts_of_one_token_come_together() {
        for (text, whole) in [
            ("KEY=a8Hk2mQ9x\nZ7pL0wR3t\n", "a8Hk2mQ9xZ7pL0wR3t"),
            ("key = \"a8Hk2mQ9x\" +\n    \"Z7pL0wR3t\"", "a8Hk2mQ9xZ7pL0wR3t"),
            ("key = ('a8Hk2mQ9x'\n       'Z7pL0wR3t')", "a8Hk2mQ9xZ7pL0wR3t"),
            ("k 'a8Hk2mQ9x' \\\n  . 'Z7pL0wR3t'", "a8Hk2mQ9x"),
            ("curl a8Hk2mQ9x\\\nZ7pL0wR3t", "a8Hk2mQ9xZ7pL0wR3t"),
            ("k=a8Hk2mQ9x=\nZ7pL0wR3t\n", "a8Hk2mQ9xZ7pL0wR3t"),
            ("k: |\n  a8Hk2mQ9x\n  Z7pL0wR3t\n", "k: a8Hk2mQ9xZ7pL0wR3t"),
            ("> a8Hk2mQ9x\n> Z7pL0wR3t\n", "a8Hk2mQ9xZ7pL0wR3t"),
            ("   7\ta8Hk2mQ9x\n   8\tZ7pL0wR3t\n", "a8Hk2mQ9xZ7pL0wR3t"),
            ("a8Hk2mQ9x\r\nZ7pL0wR3t\r\nq\r\n", "a8Hk2mQ9xZ7pL0wR3tq"),
            ("k = ['a8Hk2mQ9x', 'Z7pL0wR3t'].join('')", "a8Hk2mQ9xZ7pL0wR3t"),
            // In CSV, in a comment, with other signs inside
            ("k = \"\"a8Hk2mQ9x\"\" \\\n  \"\"Z7pL0wR3t\"\"", "a8Hk2mQ9xZ7pL0wR3t"),
            ("// k = (\n//   \"a8Hk2mQ9x\"\n//   \"Z7pL0wR3t\"", "k = \"a8Hk2mQ9xZ7pL0wR3t"),
            ("k = \"123456789\" +\n  \"12|Z7pL0wR3t\"", "12345678912|Z7pL0wR3t"),
            ("4711:a8Hk2mQ9x\n0123:Z7pL0wR3t\n", "a8Hk2mQ9x0123:Z7pL0wR3t"),
            (
                "a8Hk2mQ9x\nZ7pL0wR3ta8Hk2mQ9xZ7pL0w=2D1E\n",
                "a8Hk2mQ9xZ7pL0wR3ta8Hk2mQ9xZ7pL0w=2D1E",
            ),
            // A begin that looks like a word, and a middle without letters
            ("token=piKiBusgwY\nqsNI8cPoNUu2i\n", "piKiBusgwYqsNI8cPoNUu2i"),
            ("the_token_is\na8Hk2mQ9xZ7pL0wR3t\n", "the_token_isa8Hk2mQ9xZ7pL0wR3t"),
            ("k=abcd=\nZ7pL0wR3t=\nxy\n", "abcdZ7pL0wR3txy"),
            ("api_key: >-\n  access-it\n  -0123-45\n  b\n", "api_key: access-it-0123-45b"),
        ] {
            assert!(joined(text).contains(whole), "{text:?} -> {:?}", joined(text));
        }
    }

    #[test]
    fn lines_of_their_own_stay_apart() {
        for text in [
            "KEY=a8Hk2mQ9x\nOTHER=Z7pL0wR3t\n",
            "key: a8Hk2mQ9x\nuser1: jane\n",
            "said so a8Hk2mQ9x\nand went on",
            "a sentence that ends\nwith the next line",
            "[\n  \"a8Hk2mQ9x\",\n  \"Z7pL0wR3t\"\n]",
            "print(\"hello\" +\n  \"world\")",
            "run: |\n  make\n  test\n",
            " # settings\n-a8Hk2mQ9xZ7pL0wR3t",
            "at 10:30\nsrc/main.rs:12:34: warning",
            "k=\n> a8Hk2mQ9x",
        ] {
            assert_eq!(joined(text), "", "{text:?}");
        }
    }
}
