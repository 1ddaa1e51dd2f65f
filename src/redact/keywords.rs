//! Where the keywords of all rules stand, in one pass over a text.
//!
//! Two bytes at a place tell which keywords may begin there, and two bit sets which bytes these have
//! in third and fourth place. Only where all four fit are keywords compared, so that most bytes
//! cost a few instructions, however many keywords there are.

/// How many bytes are looked at before keywords are compared.
const AHEAD: usize = 4;
/// The most lists of keywords there can be; a power of two, so that no index is out of bounds.
const LISTS: usize = 1 << 12;

/// How many bytes are compared at once.
const HEAD: usize = 8;

/// A keyword and its number.
struct Keyword {
    word: Vec<u8>,
    /// Whether the case of letters matters.
    exact: bool,
    index: usize,
    /// The first bytes, letters in lower case if their case does not matter.
    head: u64,
    /// Which bits of a text's bytes count.
    mask: u64,
    /// Which bits tell lower from upper case.
    fold: u64,
}

impl Keyword {
    fn new(word: &str, exact: bool, index: usize) -> Self {
        let word = word.as_bytes().to_vec();
        let (mut mask, mut fold) = ([0; HEAD], [0; HEAD]);
        for (place, byte) in word.iter().enumerate().take(HEAD) {
            mask[place] = 0xff;
            fold[place] = if !exact && byte.is_ascii_alphabetic() { 0x20 } else { 0 };
        }
        let (mask, fold) = (u64::from_le_bytes(mask), u64::from_le_bytes(fold));
        Keyword { head: head(&word) | fold, word, exact, index, mask, fold }
    }

    /// Whether it stands at `at`, where the text's bytes are `head`.
    fn stands_at(&self, bytes: &[u8], at: usize, head: u64) -> bool {
        if head & self.mask | self.fold != self.head {
            return false;
        }
        let Some(there) = bytes.get(at..at + self.word.len()) else { return false };
        let (Some(rest), Some(tail)) = (self.word.get(HEAD..), there.get(HEAD..)) else {
            return true;
        };
        if self.exact { rest == tail } else { rest.eq_ignore_ascii_case(tail) }
    }
}

/// The first bytes of a text as one number; those it lacks are zero.
fn head(bytes: &[u8]) -> u64 {
    let mut head = [0; HEAD];
    match bytes.first_chunk::<HEAD>() {
        Some(all) => head = *all,
        None => head[..bytes.len()].copy_from_slice(bytes),
    }
    u64::from_le_bytes(head)
}

/// Keywords that are looked for together.
pub(super) struct Keywords {
    /// What a byte is, letter case aside; zero for what no keyword has in its first places.
    classes: Box<[u8; 256]>,
    /// Which of the lists is for two bytes, by the class of each.
    pairs: Box<[u16; 1 << 16]>,
    /// Keywords that begin with the same two bytes, letter case aside; the first list is empty. A
    /// keyword of one byte is in the lists of all pairs that begin with it.
    lists: Vec<Vec<Keyword>>,
    /// For each list and each class of bytes, modulo 64, whether some keyword may have it in third
    /// and in fourth place.
    further: Box<[[u64; 2]; LISTS]>,
}

impl Keywords {
    /// Of words, each with whether the case of its letters matters; they are numbered in order.
    pub fn new(words: &[(&str, bool)]) -> Self {
        let mut classes = Box::new([0; 256]);
        let mut count = 0;
        for byte in words.iter().flat_map(|(word, _)| word.bytes().take(AHEAD)) {
            let (lower, upper) = (byte.to_ascii_lowercase(), byte.to_ascii_uppercase());
            if classes[lower as usize] == 0 {
                // With upper case folded, fewer than 256 can be told apart.
                count += 1;
                classes[lower as usize] = count;
                classes[upper as usize] = count;
            }
        }
        let mut pairs = Box::new([0; 1 << 16]);
        let (mut lists, mut further) = (vec![Vec::new()], Box::new([[0; 2]; LISTS]));
        for (index, (word, exact)) in words.iter().enumerate() {
            let class = |place: usize| word.as_bytes().get(place).map(|b| classes[*b as usize]);
            let Some(first) = class(0) else { continue };
            for second in class(1).map_or(0..=count, |second| second..=second) {
                let list = &mut pairs[pair(first, second)];
                if *list == 0 {
                    *list = lists.len() as u16;
                    lists.push(Vec::new());
                    assert!(lists.len() <= LISTS, "keywords begin in too many ways");
                }
                let list = *list as usize;
                lists[list].push(Keyword::new(word, *exact, index));
                for place in 2..AHEAD {
                    further[list][place - 2] |= class(place).map_or(u64::MAX, |c| 1 << (c % 64));
                }
            }
        }
        Keywords { classes, pairs, lists, further }
    }

    /// Calls `f` with start, end and number of every keyword in a text, also of those that
    /// overlap, in the order in which they begin.
    pub fn each(&self, text: &str, mut f: impl FnMut(usize, usize, usize)) {
        let bytes = text.as_bytes();
        let class = |at: usize| bytes.get(at).map_or(0, |byte| self.classes[*byte as usize]);
        let (mut one, mut two, mut three) = (class(0), class(1), class(2));
        let mut step = |at: usize, four: u8| {
            let list = self.pairs[pair(one, two)] as usize;
            let [third, fourth] = self.further[list % LISTS];
            if third >> (three % 64) & fourth >> (four % 64) & 1 != 0 {
                compare(&self.lists[list], bytes, at, &mut f);
            }
            (one, two, three) = (two, three, four);
        };
        let last = bytes.len().saturating_sub(AHEAD - 1);
        (0..last).for_each(|at| step(at, self.classes[bytes[at + AHEAD - 1] as usize]));
        (last..bytes.len()).for_each(|at| step(at, 0));
    }
}

fn pair(first: u8, second: u8) -> usize {
    (first as usize) << 8 | second as usize
}

#[inline(never)]
fn compare(list: &[Keyword], bytes: &[u8], at: usize, f: &mut impl FnMut(usize, usize, usize)) {
    let head = head(&bytes[at..]);
    for keyword in list {
        if keyword.stands_at(bytes, at, head) {
            f(at, at + keyword.word.len(), keyword.index);
        }
    }
}

/// The first byte from `from` on that is wanted. Looks at many bytes at once: in most texts what
/// is wanted is rare.
pub(super) fn seek(bytes: &[u8], from: usize, wanted: impl Fn(u8) -> bool) -> Option<usize> {
    let at = skip::<32>(bytes, from, &wanted);
    let at = skip::<8>(bytes, at, &wanted);
    bytes.get(at..)?.iter().position(|byte| wanted(*byte)).map(|n| at + n)
}

/// Goes on in steps as long as nothing in them is wanted.
#[inline]
fn skip<const STEP: usize>(bytes: &[u8], mut at: usize, wanted: &impl Fn(u8) -> bool) -> usize {
    while let Some(step) = bytes.get(at..).and_then(<[u8]>::first_chunk::<STEP>) {
        if step.iter().fold(false, |any, byte| any | wanted(*byte)) {
            break;
        }
        at += STEP;
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chance::Chance;

    #[test]
    fn every_keyword_is_found_wherever_it_stands() {
        let mut chance = Chance::new(5, "keywords");
        let letters = ["a", "B", "c", "@", ":"];
        let mut random = |most: usize| -> String {
            (0..chance.below(most) + 1).map(|_| letters[chance.below(letters.len())]).collect()
        };
        let words: Vec<String> = (0..200).map(|_| random(7)).collect();
        let words: Vec<(&str, bool)> =
            words.iter().enumerate().map(|(n, word)| (word.as_str(), n % 3 == 0)).collect();
        let keywords = Keywords::new(&words);
        for _ in 0..300 {
            let text = random(20);
            let mut found = Vec::new();
            keywords.each(&text, |start, end, index| found.push((start, end, index)));
            assert!(found.is_sorted_by_key(|f| f.0), "{text}");
            let mut expected = Vec::new();
            for (index, (word, exact)) in words.iter().enumerate() {
                for start in 0..=text.len().saturating_sub(word.len()) {
                    let there = text.get(start..start + word.len()).unwrap_or("");
                    if there == *word || !exact && there.eq_ignore_ascii_case(word) {
                        expected.push((start, start + word.len(), index));
                    }
                }
            }
            found.sort();
            expected.sort();
            assert_eq!(found, expected, "{text}");
        }
    }

    #[test]
    fn a_byte_is_sought_in_whole_steps_and_in_the_rest() {
        let mut bytes = vec![b'x'; 100];
        assert_eq!(seek(&bytes, 0, |b| b == b'y'), None);
        assert_eq!(seek(&bytes, 200, |b| b == b'x'), None);
        for at in [99, 64, 33, 5] {
            bytes[at] = b'y';
            assert_eq!(seek(&bytes, 1, |b| b == b'y'), Some(at));
        }
        assert_eq!(seek(&bytes, 34, |b| b == b'y'), Some(64));
    }
}
