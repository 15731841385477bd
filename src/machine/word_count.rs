//! A machine that counts words: the smallest machine with a large state.
//!
//! The state is a persistent map, so its view is O(1) and a count changes in place. Encoded, sorted
//! by word:
//! ```text
//! number of words: u64 │ each: length: u64 │ word │ count: u64
//! ```
//! *What it does not do:* it never removes words.

use std::io::{Read, Write};

use serde::{Deserialize, Serialize};

use super::codec::{read_bytes, read_u64, write_bytes, write_u64};
use super::map::{Map, new_map, sorted};
use super::{ApplyContext, CodecError, Machine};

/// The command: increments the count of `word`. Answers the new count.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Increment {
    /// The word; any bytes.
    #[serde(with = "serde_bytes")]
    pub word: Vec<u8>,
}

/// The count of each word.
#[derive(Clone)]
pub struct WordCount {
    counts: Map<Box<[u8]>, u64>,
}

impl WordCount {
    /// The count of `word`; 0 if it is absent.
    pub fn get(&self, word: &[u8]) -> u64 {
        self.counts.get(word).copied().unwrap_or(0)
    }

    /// The number of distinct words.
    pub fn len(&self) -> usize {
        self.counts.size()
    }

    /// Whether no word was counted yet.
    pub fn is_empty(&self) -> bool {
        self.counts.is_empty()
    }

    /// All words with their counts, in ascending order. Sorts them first.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], u64)> {
        sorted(&self.counts).map(|(word, count)| (&word[..], *count))
    }
}

impl Default for WordCount {
    fn default() -> WordCount {
        WordCount { counts: new_map() }
    }
}

impl Machine for WordCount {
    type Command = Increment;
    type Reply = u64;
    type View = WordCount;

    fn apply(&mut self, command: Increment, _context: &ApplyContext) -> u64 {
        if let Some(count) = self.counts.get_mut(&command.word[..]) {
            *count += 1;
            return *count;
        }
        self.counts.insert_mut(command.word.into_boxed_slice(), 1);
        1
    }

    fn view(&self) -> WordCount {
        self.clone()
    }

    fn encode(view: &WordCount, out: &mut dyn Write) -> Result<(), CodecError> {
        write_u64(out, view.counts.size() as u64)?;
        for (word, count) in view.iter() {
            write_bytes(out, word)?;
            write_u64(out, count)?;
        }
        Ok(())
    }

    fn decode(input: &mut dyn Read) -> Result<WordCount, CodecError> {
        const WHAT: &str = "a word count";
        let mut counts = new_map();
        let mut previous: Option<Vec<u8>> = None;
        for _ in 0..read_u64(input, WHAT)? {
            let word = read_bytes(input, WHAT)?.into_boxed_slice();
            let count = read_u64(input, WHAT)?;
            if previous.as_deref() >= Some(&word[..]) || count == 0 {
                let why = format!("word {word:?} with count {count} follows {previous:?}");
                return Err(CodecError::invalid(WHAT, why));
            }
            word[..].clone_into(previous.get_or_insert_default());
            counts.insert_mut(word, count);
        }
        Ok(WordCount { counts })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(state: &mut WordCount, word: &str) -> u64 {
        state.apply(Increment { word: word.into() }, &ApplyContext::new(1, 1, 0, 0))
    }

    fn encoded(state: &WordCount) -> Vec<u8> {
        let mut bytes = Vec::new();
        WordCount::encode(&state.view(), &mut bytes).unwrap();
        bytes
    }

    #[test]
    fn counts_and_comes_back_from_its_encoding() {
        let mut state = WordCount::default();
        assert!(state.is_empty());
        assert_eq!(
            [count(&mut state, "b"), count(&mut state, "a"), count(&mut state, "b")],
            [1, 1, 2]
        );
        assert_eq!((state.get(b"b"), state.get(b"c"), state.len()), (2, 0, 2));
        let restored = WordCount::decode(&mut &encoded(&state)[..]).unwrap();
        assert_eq!(restored.iter().collect::<Vec<_>>(), [(&b"a"[..], 1), (&b"b"[..], 2)]);
    }

    #[test]
    fn equal_states_have_equal_bytes_whatever_the_order_they_were_built_in() {
        let words: Vec<String> = (0..1000).map(|number| format!("word {number}")).collect();
        let (mut forwards, mut backwards) = (WordCount::default(), WordCount::default());
        words.iter().for_each(|word| assert_eq!(count(&mut forwards, word), 1));
        words.iter().rev().for_each(|word| assert_eq!(count(&mut backwards, word), 1));
        assert_eq!(encoded(&forwards), encoded(&backwards));
    }

    #[test]
    fn a_view_shares_all_of_the_state_and_keeps_it() {
        let mut state = WordCount::default();
        (0..1000).for_each(|number| assert_eq!(count(&mut state, &number.to_string()), 1));
        let view = state.view();
        assert!(view.counts.ptr_eq(&state.counts), "taking a view copied the state");
        count(&mut state, "7");
        count(&mut state, "new");
        assert_eq!((view.get(b"7"), view.get(b"new"), view.len()), (1, 0, 1000));
        assert_eq!((state.get(b"7"), state.get(b"new"), state.len()), (2, 1, 1001));
    }

    #[test]
    fn without_a_view_a_count_changes_in_place() {
        let mut state = WordCount::default();
        count(&mut state, "a");
        let place = |state: &WordCount| std::ptr::from_ref(state.counts.get(&b"a"[..]).unwrap());
        let before = place(&state);
        count(&mut state, "a");
        assert_eq!(place(&state), before);
        let view = state.view();
        count(&mut state, "a");
        assert_eq!((place(&view), place(&state) == before), (before, false));
    }

    #[test]
    fn damaged_bytes_are_an_error() {
        let mut state = WordCount::default();
        count(&mut state, "a");
        count(&mut state, "b");
        let whole = encoded(&state);
        for length in 0..whole.len() {
            assert!(
                WordCount::decode(&mut &whole[..length]).is_err(),
                "{length} bytes were accepted"
            );
        }
        let mut unsorted = whole;
        unsorted[16] = b'b'; // the first word; the second is "b", too
        assert!(matches!(WordCount::decode(&mut &unsorted[..]), Err(CodecError::Invalid { .. })));
    }
}
