//! Frames, from the harness's side: written by `docs/driven_peer.md` alone, with nothing of the library.

use std::io::Read;

use serde_json::Value;

/// A header and what comes behind it.
#[derive(Debug)]
pub struct Frame {
    pub header: Value,
    pub body: Vec<u8>,
}

impl Frame {
    /// The kind of frame.
    pub fn kind(&self) -> &str {
        self.header["t"].as_str().expect("a frame says what it is")
    }

    /// A number of the header; an absent one is 0.
    pub fn number(&self, key: &str) -> u64 {
        number(&self.header, key)
    }

    /// A list of lengths in the header; an absent one is empty.
    pub fn lengths(&self, key: &str) -> Vec<usize> {
        let list = self.header[key].as_array().cloned().unwrap_or_default();
        list.iter().map(|length| length.as_u64().expect("a length") as usize).collect()
    }

    /// A bool of the header; an absent one is `false`.
    pub fn flag(&self, key: &str) -> bool {
        flag(&self.header, key)
    }
}

pub fn number(header: &Value, key: &str) -> u64 {
    match &header[key] {
        Value::Null => 0,
        value => value.as_u64().unwrap_or_else(|| panic!("{key} in {header}")),
    }
}

pub fn flag(header: &Value, key: &str) -> bool {
    header[key].as_bool().unwrap_or(false)
}

pub fn encode(header: &Value, body: &[u8]) -> Vec<u8> {
    let header = header.to_string();
    let mut frame = (header.len() as u32).to_be_bytes().to_vec();
    frame.extend((body.len() as u32).to_be_bytes());
    frame.extend(header.as_bytes());
    frame.extend(body);
    frame
}

/// The next frame; `None` at the end, also inside a frame: then the peer was killed.
pub fn read(from: &mut impl Read) -> Option<Frame> {
    let mut lengths = [0; 8];
    from.read_exact(&mut lengths).ok()?;
    let length = |at: usize| u32::from_be_bytes(lengths[at..at + 4].try_into().unwrap()) as usize;
    let (mut header, mut body) = (vec![0; length(0)], vec![0; length(4)]);
    from.read_exact(&mut header).ok()?;
    from.read_exact(&mut body).ok()?;
    let header = serde_json::from_slice(&header).expect("a header is JSON");
    Some(Frame { header, body })
}
