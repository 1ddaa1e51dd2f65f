//! Where the keywords of all rules stand, in one pass over a text.
//!
//! Keywords are spread over 64 groups, and for each byte a table says which groups have a keyword
//! with that byte in first, second, third or fourth place. Only where some group fits in all four
//! are keywords compared: those that begin with the two bytes that stand there. So most bytes cost
//! a few instructions, however many keywords there are.

/// How many bytes are looked at before keywords are compared.
const AHEAD: usize = 4;
const GROUPS: usize = 64;

/// How many bytes are compared at once.
const HEAD: usize = 8;

/// A keyword and its number.
#[derive(Clone)]
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

/// Keywords that begin alike.
#[derive(Clone, Default)]
struct List {
    keywords: Vec<Keyword>,
    /// For each class of bytes, modulo 64, whether some keyword may have it in third place.
    third: u64,
    /// The same for the fourth place.
    fourth: u64,
}

/// Keywords that are looked for together.
pub(super) struct Keywords {
    /// The keywords that begin with the same two bytes, letter case aside; the first list is empty.
    lists: Vec<List>,
    /// Which list is for two bytes, by the class of each.
    pairs: Vec<u16>,
    /// What a byte is, letter case aside; zero for what no keyword has in its first places.
    classes: Box<[u8; 256]>,
    /// For each byte, the groups in which it may stand in each place.
    places: Box<[[u64; AHEAD]; 256]>,
    /// The groups whose keywords are over before each place.
    over: [u64; AHEAD],
}

impl Keywords {
    /// Of words, each with whether the case of its letters matters; they are numbered in order.
    pub fn new(words: &[(&str, bool)]) -> Self {
        let mut by_length: [Vec<Keyword>; AHEAD] = Default::default();
        for (index, (word, exact)) in words.iter().enumerate().filter(|(_, (w, _))| !w.is_empty()) {
            by_length[word.len().min(AHEAD) - 1].push(Keyword::new(word, *exact, index));
        }
        // Short keywords fit in more places and keep to groups of their own; each group holds
        // those that begin alike.
        let mut groups = Vec::with_capacity(GROUPS);
        for (mut keywords, share) in by_length.into_iter().zip([2, 10, 16, GROUPS - 28]) {
            keywords.sort_by_cached_key(|k| k.word.to_ascii_lowercase());
            let size = keywords.len().div_ceil(share).max(1);
            let mut keywords = keywords.into_iter().peekable();
            while keywords.peek().is_some() {
                groups.push(keywords.by_ref().take(size).collect::<Vec<_>>());
            }
        }
        let mut places = Box::new([[0; AHEAD]; 256]);
        let mut over = [0; AHEAD];
        for (number, group) in groups.iter().enumerate() {
            let bit = 1u64 << number;
            for keyword in group {
                for place in 0..AHEAD {
                    let Some(byte) = keyword.word.get(place) else {
                        places.iter_mut().for_each(|row| row[place] |= bit);
                        over[place] |= bit;
                        continue;
                    };
                    places[*byte as usize][place] |= bit;
                    if !keyword.exact {
                        places[byte.to_ascii_lowercase() as usize][place] |= bit;
                        places[byte.to_ascii_uppercase() as usize][place] |= bit;
                    }
                }
            }
        }
        let (lists, pairs, classes) = by_pair(groups.concat());
        Keywords { lists, pairs, classes, places, over }
    }

    /// Calls `f` with start, end and number of every keyword in a text, also of those that
    /// overlap, in the order in which they begin.
    pub fn each(&self, text: &str, mut f: impl FnMut(usize, usize, usize)) {
        let bytes = text.as_bytes();
        // The groups that fit what stands before the byte looked at, by how many bytes of it.
        let (mut one, mut two, mut three) = (0, 0, 0);
        for (last, byte) in bytes.iter().enumerate() {
            let row = &self.places[*byte as usize];
            let four = three & row[3];
            (one, two, three) = (row[0], one & row[1], two & row[2]);
            if four != 0
                && let Some(list) = self.list(bytes, last + 1 - AHEAD)
            {
                compare(list, bytes, last + 1 - AHEAD, &mut f);
            }
        }
        for ended in 0..AHEAD - 1 {
            let four = three & self.over[3];
            (one, two, three) = (0, one & self.over[1], two & self.over[2]);
            if four != 0
                && let Some(list) = self.list(bytes, bytes.len() + ended + 1 - AHEAD)
            {
                compare(list, bytes, bytes.len() + ended + 1 - AHEAD, &mut f);
            }
        }
    }

    /// The keywords of which one may stand at `at`.
    fn list(&self, bytes: &[u8], at: usize) -> Option<&List> {
        let class = |at: usize| self.classes[bytes.get(at).copied().unwrap_or(0) as usize] as usize;
        let list = &self.lists[self.pairs[class(at) << 8 | class(at + 1)] as usize];
        let fits = list.third >> (class(at + 2) % 64) & list.fourth >> (class(at + 3) % 64) & 1;
        (fits != 0).then_some(list)
    }
}

#[inline(never)]
fn compare(list: &List, bytes: &[u8], at: usize, f: &mut impl FnMut(usize, usize, usize)) {
    let head = head(&bytes[at..]);
    for keyword in &list.keywords {
        if keyword.stands_at(bytes, at, head) {
            f(at, at + keyword.word.len(), keyword.index);
        }
    }
}

/// Lists of keywords by their first two bytes, which list is for which classes of bytes, and the
/// classes. A keyword of one byte is in the lists of all pairs that begin with it.
fn by_pair(keywords: Vec<Keyword>) -> (Vec<List>, Vec<u16>, Box<[u8; 256]>) {
    let mut classes = Box::new([0; 256]);
    let mut count = 0;
    for byte in keywords.iter().flat_map(|k| k.word.iter().take(AHEAD)) {
        let (lower, upper) = (byte.to_ascii_lowercase(), byte.to_ascii_uppercase());
        if classes[lower as usize] == 0 {
            // With upper case folded, fewer than 256 can be told apart.
            count += 1;
            classes[lower as usize] = count;
            classes[upper as usize] = count;
        }
    }
    let mut lists = vec![List::default()];
    let mut pairs = vec![0; 1 << 16];
    for keyword in keywords {
        let class = |place: usize| keyword.word.get(place).map(|b| classes[*b as usize] as usize);
        let first = class(0).unwrap_or(0);
        let seconds = class(1).map_or(0..=count as usize, |second| second..=second);
        for second in seconds {
            let number = &mut pairs[first << 8 | second];
            if *number == 0 {
                lists.push(List::default());
                *number = (lists.len() - 1) as u16;
            }
            let list = &mut lists[*number as usize];
            list.third |= class(2).map_or(u64::MAX, |class| 1 << (class % 64));
            list.fourth |= class(3).map_or(u64::MAX, |class| 1 << (class % 64));
            list.keywords.push(keyword.clone());
        }
    }
    (lists, pairs, classes)
}

/// The first byte from `from` on that is wanted. Looks at many bytes at once: in most texts what
/// is wanted is rare.
pub(super) fn seek(bytes: &[u8], from: usize, wanted: impl Fn(u8) -> bool) -> Option<usize> {
    const STEP: usize = 32;
    let mut at = from;
    while let Some(step) = bytes.get(at..).and_then(<[u8]>::first_chunk::<STEP>) {
        if step.iter().fold(false, |any, byte| any | wanted(*byte)) {
            break;
        }
        at += STEP;
    }
    bytes.get(at..)?.iter().position(|byte| wanted(*byte)).map(|n| at + n)
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
