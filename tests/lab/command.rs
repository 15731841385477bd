//! What the scenarios put into the log: numbers and texts, as MessagePack.

use bytes::Bytes;
use quorate::machine::codec;
use serde::{Deserialize, Serialize};

/// A command: only its being there matters.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Command {
    /// Most are numbers.
    Number(u64),
    /// Large ones are texts.
    Text(String),
}

impl Command {
    /// As it stands in an entry.
    pub fn encode(&self) -> Bytes {
        codec::encode(self).expect("a small value").into()
    }

    /// From an entry's data.
    pub fn decode(data: &[u8]) -> Command {
        codec::decode(data).expect("an entry of this test")
    }
}

impl From<u64> for Command {
    fn from(number: u64) -> Command {
        Command::Number(number)
    }
}
