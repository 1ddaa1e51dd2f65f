//! Whether a text was made of words by a person, or of characters by a machine.

/// Splits at punctuation, between letters and digits, and before the capitals of camelCase.
pub fn split_words(text: &str) -> impl Iterator<Item = &str> {
    let bytes = text.as_bytes();
    let mut at = 0;
    std::iter::from_fn(move || {
        while at < bytes.len() && !bytes[at].is_ascii_alphanumeric() {
            at += 1;
        }
        let start = at;
        while at < bytes.len() && bytes[at].is_ascii_alphanumeric() {
            at += 1;
            let (last, Some(next)) = (bytes[at - 1], bytes.get(at)) else { break };
            let after = bytes.get(at + 1);
            let digit = last.is_ascii_digit() != next.is_ascii_digit();
            let hump = next.is_ascii_uppercase()
                && (last.is_ascii_lowercase() || after.is_some_and(u8::is_ascii_lowercase));
            if digit || hump {
                break;
            }
        }
        (at > start).then(|| &text[start..at])
    })
}

/// Whether a value reads like words with perhaps a short number after them: `us-east-1`,
/// `refresh_token`, `myApiKeyV2`.
pub fn is_words(value: &str) -> bool {
    let joined =
        |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'/' | b':' | b' ');
    if value.is_empty() || !value.bytes().all(joined) {
        return false;
    }
    let (mut letters, mut odd, mut digits, mut humps) = (0, 0, 0, 0);
    for part in value.split(|c: char| !c.is_ascii_alphanumeric()).filter(|p| !p.is_empty()) {
        let Some(compound) = Compound::of(part) else { return false };
        letters += compound.letters;
        odd += compound.odd;
        humps += compound.humps;
        digits += part.len() - compound.letters;
    }
    let symbols = value.len() - letters - digits;
    // Short names may abbreviate (`isOkV2`); longer ones are made of longer words.
    let long = if letters <= 12 { letters >= 2 * humps } else { letters >= 3 * humps };
    long && odd * 6 <= letters.max(6) && letters >= 2 * digits && letters + digits >= 2 * symbols
}

/// From this length on, a run of letters and digits is more often random than a name.
const LONG: usize = 20;

/// One word, words in camelCase, or a short number.
struct Compound {
    letters: usize,
    odd: usize,
    humps: usize,
}

impl Compound {
    /// Reads a run of letters and digits; none where nobody would write it: several numbers,
    /// shouts, lone letters or vowelless humps in one name.
    fn of(part: &str) -> Option<Compound> {
        let (mut numbers, mut shouts, mut mute, mut single) = (0, 0, 0, 0);
        let mut compound = Compound { letters: 0, odd: 0, humps: 0 };
        for piece in split_words(part) {
            let bytes = piece.as_bytes();
            if bytes[0].is_ascii_digit() {
                numbers += 1;
                (bytes.len() <= 4).then_some(())?;
                continue;
            }
            compound.humps += 1;
            compound.letters += bytes.len();
            compound.odd += odd_pairs(bytes);
            single += usize::from(bytes.len() == 1);
            shouts += usize::from(bytes.len() > 1 && bytes.iter().all(u8::is_ascii_uppercase));
            mute += usize::from(bytes.len() > 1 && !bytes.iter().any(is_vowel));
            is_wordish(bytes).then_some(())?;
        }
        // Long names have one or two of these and long words, random letters have them all.
        let strange = numbers + shouts + mute + single;
        let long = part.len() < LONG
            || strange == 0
            || strange <= 2 && compound.letters >= 4 * compound.humps;
        (numbers <= 1 && shouts <= 1 && mute <= 1 && single <= 1 && long).then_some(compound)
    }
}

/// Which letters usually follow each letter of the alphabet in English and in code.
#[rustfmt::skip]
const FOLLOWERS: [&str; 26] = [
    "abcdfgiklmnprstuvwxy", "aceijlorsuy", "abcdefghiklmoprstuvy", "abcdefilmnoprstuw",
    "abcdefghilmnopqrstuvwxy", "acdefilmorstu", "aeghilmnorsu", "adeilmortu",
    "abcdefglmnoprstvxz", "e", "aeis", "abcdefiklopstuvy", "abeilmopstu", "acdefgiklmnoprstuv",
    "abcdfgiklmnoprstuvwx", "acdefhiloprstuy", "u", "abcdefgiklmnoprstuvy",
    "acdefghiklmnopqrstuvwyz", "abcdefhilmnoprstuwxy", "abcdefgilmnprst", "aceimost",
    "aehinors", "aceipt", "mnpst", "aei",
];

/// The same as bits.
const FOLLOWS: [u32; 26] = {
    let mut follows = [0; 26];
    let mut row = 0;
    while row < 26 {
        let letters = FOLLOWERS[row].as_bytes();
        let mut i = 0;
        while i < letters.len() {
            follows[row] |= 1 << (letters[i] - b'a');
            i += 1;
        }
        row += 1;
    }
    follows
};

/// How many pairs of letters are unusual.
fn odd_pairs(bytes: &[u8]) -> usize {
    let letter = |byte: u8| byte.to_ascii_lowercase() - b'a';
    let usual = |pair: &[u8]| FOLLOWS[letter(pair[0]) as usize] >> letter(pair[1]) & 1 == 1;
    bytes.windows(2).filter(|pair| !usual(pair)).count()
}

fn is_vowel(byte: &u8) -> bool {
    matches!(byte.to_ascii_lowercase(), b'a' | b'e' | b'i' | b'o' | b'u' | b'y')
}

/// Whether letters could be an English word or an abbreviation: some vowels, no long run of
/// consonants, one case.
fn is_wordish(bytes: &[u8]) -> bool {
    let inner_capitals = bytes[1..].iter().filter(|b| b.is_ascii_uppercase()).count();
    if inner_capitals > 0 && inner_capitals + 1 < bytes.len() {
        return false;
    }
    if bytes.len() <= 4 {
        return true;
    }
    let vowels = bytes.iter().filter(|b| is_vowel(b)).count();
    let run = bytes.split(is_vowel).map(<[u8]>::len).max().unwrap_or(0);
    bytes.len() <= 20 && vowels * 7 >= bytes.len() && run <= 5
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chance::Chance;

    #[test]
    fn words_are_told_from_tokens() {
        for words in [
            "us-east-1",
            "refresh_token",
            "myApiKeyV2",
            "getIdToken",
            "XMLParser",
            "base64Encode",
            "my-secret-name",
            "user@v2".split('@').next().unwrap(),
            "production",
            "S3Bucket",
            "application/json",
            "gpt-4o-mini",
            "some.module.name",
            "utf8",
        ] {
            assert!(is_words(words), "{words}");
        }
        const ALL: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
        let mut chance = Chance::new(41, "words");
        let mut mistaken = 0;
        for _ in 0..200_000 {
            let token: String = (0..20).map(|_| char::from(ALL[chance.below(62)])).collect();
            mistaken += usize::from(is_words(&token));
        }
        assert!(mistaken <= 10, "{mistaken} of 200000 random tokens pass for words");
    }
}
