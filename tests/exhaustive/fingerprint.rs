//! Cached hashes of parts of a state: an action changes one node of several, and only that one is
//! hashed again.

use std::hash::{BuildHasherDefault, Hash, Hasher};
use std::ops::Deref;
use std::sync::Arc;

use parking_lot::Mutex;
use quorate::raft::Random;

/// A small fast hasher: one multiplication for each word, mixed at the end. The same in every run.
#[derive(Default)]
struct Words(u64);

impl Hasher for Words {
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.write_u64(u64::from_le_bytes(word) ^ (chunk.len() as u64) << 56);
        }
    }

    fn write_u8(&mut self, number: u8) {
        self.write_u64(number.into());
    }

    fn write_u32(&mut self, number: u32) {
        self.write_u64(number.into());
    }

    fn write_usize(&mut self, number: usize) {
        self.write_u64(number as u64);
    }

    fn write_u64(&mut self, number: u64) {
        let product = u128::from(self.0 ^ number ^ 0x9e37_79b9_7f4a_7c15)
            * u128::from(0xa076_1d64_78bd_642f_u64);
        self.0 = (product as u64 ^ (product >> 64) as u64).wrapping_add(number.rotate_left(32));
    }

    fn finish(&self) -> u64 {
        mix(self.0)
    }
}

/// Spreads a number over all 64 bits.
pub fn mix(number: u64) -> u64 {
    Random::new(number).next()
}

pub fn of(value: &impl Hash) -> u64 {
    let mut words = Words::default();
    value.hash(&mut words);
    words.finish()
}

/// A shared value with its hash.
#[derive(Debug)]
pub struct Hashed<T> {
    value: Arc<T>,
    pub hash: u64,
}

impl<T: Hash> Hashed<T> {
    pub fn new(value: T) -> Hashed<T> {
        Hashed { hash: of(&value), value: value.into() }
    }
}

impl<T> Clone for Hashed<T> {
    fn clone(&self) -> Hashed<T> {
        Hashed { value: self.value.clone(), hash: self.hash }
    }
}

impl<T> Deref for Hashed<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T: PartialEq> PartialEq for Hashed<T> {
    fn eq(&self, other: &Hashed<T>) -> bool {
        self.hash == other.hash
            && (Arc::ptr_eq(&self.value, &other.value) || self.value == other.value)
    }
}

impl<T> Hash for Hashed<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.hash.hash(state);
    }
}

/// A hasher that returns a fingerprint unchanged.
#[derive(Default)]
pub struct Itself(u64);

impl Hasher for Itself {
    fn write(&mut self, _: &[u8]) {
        unreachable!("only whole numbers are hashed");
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = number;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[expect(
    clippy::disallowed_types,
    reason = "millions of numbers, of which only the count is asked"
)]
type Numbers = std::collections::HashSet<u64, BuildHasherDefault<Itself>>;

/// A set of fingerprints, shared between threads.
#[derive(Default)]
pub struct Seen([Mutex<Numbers>; 16]);

impl Seen {
    pub fn insert(&self, fingerprint: u64) {
        self.0[(fingerprint >> 60) as usize].lock().insert(fingerprint);
    }

    pub fn len(&self) -> usize {
        self.0.iter().map(|numbers| numbers.lock().len()).sum()
    }
}
