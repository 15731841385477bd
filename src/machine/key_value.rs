//! A small key-value database as a machine: put, append, delete, and conditional put and delete by
//! version.
//!
//! Every key has a version: the log index of the entry that last wrote it. So versions only grow,
//! no two writes have the same one, and a key that was deleted and written again never gets an old
//! version back: a version identifies exactly one write.
//!
//! The state is a persistent map, so its view is O(1); an append changes a value in place unless a
//! view still shares it. Encoded, sorted by key:
//! ```text
//! number of keys: u64 │ each: length: u64 │ key │ version: u64 │ length: u64 │ value
//! ```
//! Reads are not commands: they access the state directly, through the node's `read`.
//!
//! *What it does not do:* ranges, expiry, transactions over several keys.

use std::io::{Read, Write};

use serde::{Deserialize, Serialize};

use super::codec::{read_bytes, read_u64, write_bytes, write_u64};
use super::map::{Map, new_map, sorted};
use super::{ApplyContext, CodecError, Machine};

/// The commands of the database.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum KeyValueCommand {
    /// Writes the value unconditionally. Answers [`KeyValueReply::Written`].
    Put {
        /// The key.
        #[serde(with = "serde_bytes")]
        key: Vec<u8>,
        /// The value.
        #[serde(with = "serde_bytes")]
        value: Vec<u8>,
    },
    /// Writes the value if the key has this version; otherwise answers
    /// [`KeyValueReply::VersionMismatch`].
    PutIfVersion {
        /// The key.
        #[serde(with = "serde_bytes")]
        key: Vec<u8>,
        /// The value.
        #[serde(with = "serde_bytes")]
        value: Vec<u8>,
        /// The required version of the key; 0: the key must be absent.
        version: u64,
    },
    /// Appends to the value; an absent one counts as empty. Answers [`KeyValueReply::Written`].
    Append {
        /// The key.
        #[serde(with = "serde_bytes")]
        key: Vec<u8>,
        /// The bytes to append.
        #[serde(with = "serde_bytes")]
        value: Vec<u8>,
    },
    /// Removes the key. Answers [`KeyValueReply::Deleted`].
    Delete {
        /// The key.
        #[serde(with = "serde_bytes")]
        key: Vec<u8>,
    },
    /// Removes the key if it has this version; otherwise answers
    /// [`KeyValueReply::VersionMismatch`].
    DeleteIfVersion {
        /// The key.
        #[serde(with = "serde_bytes")]
        key: Vec<u8>,
        /// The required version of the key.
        version: u64,
    },
}

/// The reply to a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum KeyValueReply {
    /// The value was written.
    Written {
        /// The key's new version.
        version: u64,
    },
    /// Nothing was written.
    VersionMismatch {
        /// The key's current version; 0: it is absent.
        current: u64,
    },
    /// The key is absent now.
    Deleted {
        /// The version that the key had; 0: it was absent before.
        version: u64,
    },
}

/// A value with the log index of its last write.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Versioned {
    version: u64,
    value: Vec<u8>,
}

/// The database.
#[derive(Clone)]
pub struct KeyValue {
    entries: Map<Box<[u8]>, Versioned>,
}

impl KeyValue {
    /// The value of `key`, and its version.
    pub fn get(&self, key: &[u8]) -> Option<(&[u8], u64)> {
        self.entries.get(key).map(|entry| (&entry.value[..], entry.version))
    }

    /// The version of `key`; 0 if it is absent.
    pub fn version(&self, key: &[u8]) -> u64 {
        self.entries.get(key).map_or(0, |entry| entry.version)
    }

    /// The number of keys.
    pub fn len(&self) -> usize {
        self.entries.size()
    }

    /// Whether there are no keys.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// All keys with values and versions, in ascending order. Sorts them first.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8], u64)> {
        sorted(&self.entries).map(|(key, entry)| (&key[..], &entry.value[..], entry.version))
    }

    fn put(&mut self, key: Vec<u8>, value: Vec<u8>, version: u64) -> KeyValueReply {
        // Does not modify the old entry: while a view shares it, that would copy key and value.
        self.entries.insert_mut(key.into_boxed_slice(), Versioned { version, value });
        KeyValueReply::Written { version }
    }

    fn delete(&mut self, key: &[u8]) -> KeyValueReply {
        let version = self.version(key);
        if version > 0 {
            self.entries.remove_mut(key);
        }
        KeyValueReply::Deleted { version }
    }

    fn append(&mut self, key: Vec<u8>, value: Vec<u8>, version: u64) -> KeyValueReply {
        let Some(entry) = self.entries.get_mut(&key[..]) else {
            return self.put(key, value, version);
        };
        entry.value.extend_from_slice(&value);
        entry.version = version;
        KeyValueReply::Written { version }
    }
}

impl Default for KeyValue {
    fn default() -> KeyValue {
        KeyValue { entries: new_map() }
    }
}

impl Machine for KeyValue {
    type Command = KeyValueCommand;
    type Reply = KeyValueReply;
    type View = KeyValue;

    fn apply(&mut self, command: KeyValueCommand, context: &ApplyContext) -> KeyValueReply {
        match command {
            KeyValueCommand::Put { key, value } => self.put(key, value, context.index),
            KeyValueCommand::Append { key, value } => self.append(key, value, context.index),
            KeyValueCommand::PutIfVersion { key, value, version } => match self.version(&key) {
                current if current == version => self.put(key, value, context.index),
                current => KeyValueReply::VersionMismatch { current },
            },
            KeyValueCommand::Delete { key } => self.delete(&key),
            KeyValueCommand::DeleteIfVersion { key, version } => match self.version(&key) {
                current if current == version => self.delete(&key),
                current => KeyValueReply::VersionMismatch { current },
            },
        }
    }

    fn view(&self) -> KeyValue {
        self.clone()
    }

    fn encode(view: &KeyValue, out: &mut dyn Write) -> Result<(), CodecError> {
        write_u64(out, view.entries.size() as u64)?;
        for (key, value, version) in view.iter() {
            write_bytes(out, key)?;
            write_u64(out, version)?;
            write_bytes(out, value)?;
        }
        Ok(())
    }

    fn decode(input: &mut dyn Read) -> Result<KeyValue, CodecError> {
        const WHAT: &str = "a key-value database";
        let mut entries = new_map();
        let mut previous: Option<Vec<u8>> = None;
        for _ in 0..read_u64(input, WHAT)? {
            let key = read_bytes(input, WHAT)?.into_boxed_slice();
            let version = read_u64(input, WHAT)?;
            let value = read_bytes(input, WHAT)?;
            if previous.as_deref() >= Some(&key[..]) || version == 0 {
                let why = format!("key {key:?} with version {version} follows {previous:?}");
                return Err(CodecError::invalid(WHAT, why));
            }
            key[..].clone_into(previous.get_or_insert_default());
            entries.insert_mut(key, Versioned { version, value });
        }
        Ok(KeyValue { entries })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A database and the index of the last entry applied to it.
    #[derive(Default)]
    struct World {
        state: KeyValue,
        index: u64,
    }

    impl World {
        fn apply(&mut self, command: KeyValueCommand) -> KeyValueReply {
            self.index += 1;
            self.state.apply(command, &ApplyContext::new(self.index, 1, 0, 0))
        }

        fn put(&mut self, key: &str, value: &str) -> KeyValueReply {
            self.apply(KeyValueCommand::Put { key: key.into(), value: value.into() })
        }

        fn put_if(&mut self, key: &str, value: &str, version: u64) -> KeyValueReply {
            self.apply(KeyValueCommand::PutIfVersion {
                key: key.into(),
                value: value.into(),
                version,
            })
        }

        fn append(&mut self, key: &str, value: &str) -> KeyValueReply {
            self.apply(KeyValueCommand::Append { key: key.into(), value: value.into() })
        }

        fn delete(&mut self, key: &str) -> KeyValueReply {
            self.apply(KeyValueCommand::Delete { key: key.into() })
        }

        fn delete_if(&mut self, key: &str, version: u64) -> KeyValueReply {
            self.apply(KeyValueCommand::DeleteIfVersion { key: key.into(), version })
        }
    }

    #[test]
    fn each_command_does_what_it_says() {
        let mut world = World::default();
        assert_eq!(world.put("k", "one"), KeyValueReply::Written { version: 1 });
        assert_eq!(world.append("k", " two"), KeyValueReply::Written { version: 2 });
        assert_eq!(world.append("new", "x"), KeyValueReply::Written { version: 3 });
        assert_eq!(world.put_if("k", "three", 1), KeyValueReply::VersionMismatch { current: 2 });
        assert_eq!(world.state.get(b"k"), Some((&b"one two"[..], 2)));
        assert_eq!(world.put_if("k", "three", 2), KeyValueReply::Written { version: 5 });
        assert_eq!(world.state.get(b"k"), Some((&b"three"[..], 5)));
        assert_eq!(world.put_if("absent", "x", 0), KeyValueReply::Written { version: 6 });
        assert_eq!(world.delete("k"), KeyValueReply::Deleted { version: 5 });
        assert_eq!(world.delete("k"), KeyValueReply::Deleted { version: 0 });
        assert_eq!((world.state.get(b"k"), world.state.len()), (None, 2));
        assert_eq!(world.delete_if("new", 4), KeyValueReply::VersionMismatch { current: 3 });
        assert_eq!(world.delete_if("new", 3), KeyValueReply::Deleted { version: 3 });
        assert_eq!((world.state.get(b"new"), world.state.len()), (None, 1));
    }

    #[test]
    fn a_key_deleted_and_written_again_has_no_old_version() {
        let mut world = World::default();
        let KeyValueReply::Written { version: old } = world.put("k", "mine") else {
            panic!("not written")
        };
        world.delete("k");
        world.put("k", "somebody else's");
        assert!(matches!(
            world.put_if("k", "mine again", old),
            KeyValueReply::VersionMismatch { .. }
        ));
        assert_eq!(world.state.get(b"k"), Some((&b"somebody else's"[..], 3)));
    }

    #[test]
    fn an_append_leaves_an_earlier_view_alone() {
        let mut world = World::default();
        world.put("k", "a");
        let view = world.state.view();
        world.append("k", "b");
        world.delete("gone");
        assert_eq!(view.get(b"k"), Some((&b"a"[..], 1)));
        assert_eq!(world.state.get(b"k"), Some((&b"ab"[..], 2)));
    }

    #[test]
    fn comes_back_from_its_encoding_and_damaged_bytes_are_an_error() {
        let mut world = World::default();
        world.put("a", "1");
        world.put("b", "");
        world.append("a", "2");
        let mut whole = Vec::new();
        KeyValue::encode(&world.state.view(), &mut whole).unwrap();
        let restored = KeyValue::decode(&mut &whole[..]).unwrap();
        let entries: Vec<_> = restored.iter().collect();
        assert_eq!(entries, [(&b"a"[..], &b"12"[..], 3), (&b"b"[..], &b""[..], 2)]);
        for length in 0..whole.len() {
            assert!(
                KeyValue::decode(&mut &whole[..length]).is_err(),
                "{length} bytes were accepted"
            );
        }
        whole[16] = b'b'; // the first key; the second is "b", too
        assert!(matches!(KeyValue::decode(&mut &whole[..]), Err(CodecError::Invalid { .. })));
    }
}
