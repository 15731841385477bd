//! The digest by which a session detects that a sequence was reused for another command.
//!
//! SipHash-2-4 with 128 bits and a key of zeros, over the command's bytes as stored in the entry.
//! It is part of the replicated state and of snapshots, so it must be the same permanently in every
//! build and on every architecture: SipHash is specified on bytes. It protects against mistakes,
//! not attacks. A client that constructs two commands with one digest affects only itself: it gets
//! the reply to the other command of its own session.

use std::hash::Hasher;

use siphasher::sip128::{Hasher128, SipHasher24};

/// The digest of one command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::machine) struct CommandDigest(pub(super) [u8; 16]);

impl CommandDigest {
    /// The digest of a command's bytes, without the header of its entry.
    pub(in crate::machine) fn of(command: &[u8]) -> CommandDigest {
        let mut hasher = SipHasher24::new_with_keys(0, 0);
        hasher.write(command);
        CommandDigest(hasher.finish128().as_u128().to_le_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A different value on some architecture, or after an update of a crate, would make replicas
    /// diverge. These two were computed with another implementation, which was checked against the
    /// vectors of the SipHash paper.
    #[test]
    fn a_digest_is_the_same_in_every_build_for_ever() {
        let hex = |command: &[u8]| -> String {
            CommandDigest::of(command).0.iter().map(|byte| format!("{byte:02x}")).collect()
        };
        assert_eq!(hex(b""), "5049d74780a3e07d4202ab47d4cef2f4");
        assert_eq!(hex(b"a command"), "88e0d11905b4a9a182dc3ed19124f35a");
    }
}
