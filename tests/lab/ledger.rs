//! What each peer has handed to its service, and the checks on every apply.
//!
//! | | |
//! |---|---|
//! | A1 | no other peer has a different command at that index, nor had this one before a restart |
//! | A2 | the entry before it is there |
//! | A3 | it follows the last one of this life |
//! | A4 | a snapshot's own index is the one it is announced with |
//!
//! A breach goes to the [`Invariants`](crate::invariants::Invariants); whoever runs the scenario looks there.

use std::sync::Arc;

use parking_lot::Mutex;

use crate::command::Command;
use crate::invariants::Watch;

/// The books of all peers. Clones are the same.
#[derive(Clone)]
pub struct Ledger {
    books: Arc<Mutex<Vec<Book>>>,
    watch: Watch,
}

#[derive(Default)]
struct Book {
    /// Which life of the peer may write here.
    life: u64,
    /// Entry `i + 1` at place `i`; over all lives.
    applied: Vec<Command>,
    /// The last index in this life.
    last: u64,
}

impl Ledger {
    /// Empty books.
    pub fn new(peers: usize, watch: Watch) -> Ledger {
        let books = (0..peers).map(|_| Book::default()).collect();
        Ledger { books: Arc::new(Mutex::new(books)), watch }
    }

    /// A new life of `peer` begins; an earlier one writes nothing any more. Returns the life's number.
    pub fn begin(&self, peer: usize) -> u64 {
        let book = &mut self.books.lock()[peer];
        book.life += 1;
        book.last = 0;
        book.life
    }

    /// `peer` hands an entry to its service.
    pub fn apply(&self, peer: usize, life: u64, index: u64, command: Command) {
        let mut books = self.books.lock();
        if books[peer].life != life {
            return;
        }
        let place = index as usize - 1;
        let others =
            books.iter().enumerate().filter_map(|(i, book)| Some((i, book.applied.get(place)?)));
        for (other, theirs) in others {
            if *theirs != command {
                self.watch.breach(format!(
                    "A1: peer {peer} applies {command:?} at {index}, peer {other} {theirs:?}"
                ));
            }
        }
        let book = &mut books[peer];
        if index != book.last + 1 {
            self.watch.breach(format!("A3: peer {peer} applies {index} after {}", book.last));
        }
        book.last = index;
        match place.cmp(&book.applied.len()) {
            std::cmp::Ordering::Less => {}
            std::cmp::Ordering::Equal => book.applied.push(command),
            std::cmp::Ordering::Greater => {
                self.watch.breach(format!(
                    "A2: peer {peer} applies {index}, {} are there",
                    book.applied.len()
                ));
            }
        }
    }

    /// `peer` takes a snapshot of everything through `index`, which says of itself that it is of `own_index`.
    pub fn take(&self, peer: usize, life: u64, index: u64, own_index: u64, commands: &[Command]) {
        let mut books = self.books.lock();
        if books[peer].life != life {
            return;
        }
        if index != own_index || commands.len() as u64 != index {
            let held = commands.len();
            self.watch.breach(format!(
                "A4: peer {peer} takes snapshot {index}, which is of {own_index} and holds {held}"
            ));
        }
        for (other, book) in books.iter().enumerate() {
            if book.applied.iter().zip(commands).any(|(theirs, ours)| theirs != ours) {
                self.watch.breach(format!(
                    "A1: snapshot {index} of peer {peer} differs from what peer {other} applied"
                ));
            }
        }
        let book = &mut books[peer];
        book.last = index;
        book.applied = commands.to_vec();
    }

    /// How many peers have `index`, and the command. Differing ones are a breach.
    pub fn committed(&self, index: u64) -> (usize, Option<Command>) {
        let books = self.books.lock();
        let mut there = books.iter().filter_map(|book| book.applied.get(index as usize - 1));
        let Some(first) = there.next() else { return (0, None) };
        let mut count = 1;
        for command in there {
            count += 1;
            if command != first {
                self.watch
                    .breach(format!("at {index} one peer has {first:?}, another {command:?}"));
            }
        }
        (count, Some(first.clone()))
    }

    /// The highest index that anybody has applied.
    pub fn highest(&self) -> u64 {
        self.books.lock().iter().map(|book| book.applied.len() as u64).max().unwrap_or_default()
    }
}
