//! The text to count, read from a file or generated from a seed, and its words.

use std::path::Path;

use super::Failure;

/// Longer words are counted as their first 64 KiB.
pub const WORD_BYTES_MAX: usize = 64 * 1024;
/// Size of the text that is generated when no file is given.
const MADE_BYTES: usize = 1_200_000;

/// A text and the positions of its words.
pub struct Text {
    bytes: Vec<u8>,
    words: Vec<(usize, usize)>,
}

impl Text {
    /// Reads the file, or generates a text from `seed` if there is none.
    pub fn load(input: Option<&Path>, seed: u64) -> Result<Text, Failure> {
        let bytes = match input {
            Some(path) => std::fs::read(path)
                .map_err(|error| Failure(format!("can't read {}: {error}", path.display())))?,
            None => make(seed),
        };
        let text = Text::new(bytes);
        if text.len() == 0 {
            return Err(Failure(
                "there is no word in the text, so there is nothing to count".into(),
            ));
        }
        Ok(text)
    }

    fn new(bytes: Vec<u8>) -> Text {
        let mut words = Vec::new();
        let mut start = None;
        for at in 0..=bytes.len() {
            let in_word = bytes.get(at).is_some_and(|byte| !byte.is_ascii_whitespace());
            match (start, in_word) {
                (None, true) => start = Some(at),
                (Some(from), false) => {
                    words.push((from, at.min(from + WORD_BYTES_MAX)));
                    start = None;
                }
                _ => {}
            }
        }
        Text { bytes, words }
    }

    /// The number of words.
    pub fn len(&self) -> usize {
        self.words.len()
    }

    /// The word with this number, from 0.
    pub fn word(&self, number: usize) -> Option<&[u8]> {
        let &(from, to) = self.words.get(number)?;
        Some(&self.bytes[from..to])
    }
}

/// Generates a text with many common and a long tail of rare words, the same for the same seed.
fn make(seed: u64) -> Vec<u8> {
    let mut random = quorate::raft::Random::new(seed);
    let mut bytes = Vec::with_capacity(MADE_BYTES + 64);
    while bytes.len() < MADE_BYTES {
        // The frequency of a word falls off like one over its rank, as in real texts.
        let exponent = random.below(14) as u32;
        let rank = random.below(1 << exponent.max(1));
        spell(rank, &mut bytes);
        bytes.push(if random.below(12) == 0 { b'\n' } else { b' ' });
    }
    bytes
}

/// Appends a pronounceable word for a rank; it is shorter for smaller ranks.
fn spell(mut rank: u64, out: &mut Vec<u8>) {
    const CONSONANTS: &[u8] = b"bdfgklmnprstvz";
    const VOWELS: &[u8] = b"aeiou";
    loop {
        out.push(CONSONANTS[(rank % 14) as usize]);
        rank /= 14;
        out.push(VOWELS[(rank % 5) as usize]);
        rank /= 5;
        if rank == 0 {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_what_stands_between_white_space() {
        let text = Text::new(b"\n one  two\tone\x0c\xff\xfe ".to_vec());
        let words: Vec<&[u8]> = (0..text.len()).filter_map(|number| text.word(number)).collect();
        assert_eq!(words, [&b"one"[..], b"two", b"one", b"\xff\xfe"]);
        assert_eq!(Text::new(Vec::new()).len(), 0);
    }

    #[test]
    fn long_words_are_cut() {
        let text = Text::new(vec![b'x'; WORD_BYTES_MAX + 10]);
        assert_eq!((text.len(), text.word(0).map(<[u8]>::len)), (1, Some(WORD_BYTES_MAX)));
    }

    #[test]
    fn the_made_text_is_large_and_depends_on_the_seed_alone() {
        assert!(make(1).len() >= 1_000_000);
        assert_eq!(make(1), make(1));
        assert_ne!(make(1), make(2));
    }
}
