//! Fixed little-endian fields, and a decoder that trusts no length.
//!
//! A length is accepted only as far as there are bytes (PS15): nothing is allocated for the count
//! that a damaged or hostile input announces.

use crate::raft::{COUNT_MAX, LogId, Membership, NodeId, SnapshotMeta};

/// Maximum number of members in a stored list: a bound for the decoder, far above any cluster.
pub(crate) const MAX_MEMBERS: usize = 4096;

/// The bytes are not a valid encoding; the string says why.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Malformed(pub &'static str);

/// Decodes fields from the front of a slice.
pub(crate) struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Fields<'a> {
        Fields { rest: bytes }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub(crate) fn remaining(&self) -> usize {
        self.rest.len()
    }

    pub(crate) fn bytes(&mut self, length: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) =
            self.rest.split_at_checked(length).ok_or(Malformed("ends too early"))?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or(Malformed("ends too early"))?;
        self.rest = rest;
        Ok(*taken)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, Malformed> {
        Ok(self.array::<1>()?[0])
    }

    pub(crate) fn u32(&mut self) -> Result<u32, Malformed> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    pub(crate) fn u64(&mut self) -> Result<u64, Malformed> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    pub(crate) fn flag(&mut self) -> Result<bool, Malformed> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Malformed("a flag is neither 0 nor 1")),
        }
    }

    /// A term or an index: at most [`COUNT_MAX`], so that incrementing it cannot overflow.
    pub(crate) fn count(&mut self) -> Result<u64, Malformed> {
        let value = self.u64()?;
        if value > COUNT_MAX {
            return Err(Malformed("holds a term or an index that no log can reach"));
        }
        Ok(value)
    }

    pub(crate) fn log_id(&mut self) -> Result<LogId, Malformed> {
        Ok(LogId { term: self.count()?, index: self.count()? })
    }

    pub(crate) fn membership(&mut self) -> Result<Membership, Malformed> {
        let counts = [self.u32()? as usize, self.u32()? as usize, self.u32()? as usize];
        if counts.iter().any(|&count| count > MAX_MEMBERS) {
            return Err(Malformed("more members than allowed"));
        }
        Ok(Membership {
            voters: self.members(counts[0])?,
            voters_outgoing: self.members(counts[1])?,
            learners: self.members(counts[2])?,
        })
    }

    fn members<C: FromIterator<NodeId>>(&mut self, count: usize) -> Result<C, Malformed> {
        let mut previous = None;
        let ids = (0..count).map(|_| {
            let id = self.u64()?;
            if previous.replace(id).is_some_and(|before| before >= id) {
                return Err(Malformed("members out of order"));
            }
            Ok(id)
        });
        ids.collect()
    }

    pub(crate) fn snapshot_meta(&mut self) -> Result<SnapshotMeta, Malformed> {
        Ok(SnapshotMeta {
            log_id: self.log_id()?,
            size_bytes: self.u64()?,
            membership: self.membership()?,
        })
    }

    /// Checks that no bytes remain.
    pub(crate) fn end(&self) -> Result<(), Malformed> {
        if self.is_empty() { Ok(()) } else { Err(Malformed("goes on behind its end")) }
    }
}

pub(crate) fn put_u32(out: &mut Vec<u8>, value: u32) {
    out.extend_from_slice(&value.to_le_bytes());
}

pub(crate) fn put_u64(out: &mut Vec<u8>, value: u64) {
    out.extend_from_slice(&value.to_le_bytes());
}

pub(crate) fn put_log_id(out: &mut Vec<u8>, id: LogId) {
    put_u64(out, id.term);
    put_u64(out, id.index);
}

pub(crate) fn put_membership(out: &mut Vec<u8>, membership: &Membership) {
    let lists = [&membership.voters, &membership.voters_outgoing, &membership.learners];
    for list in lists {
        assert!(
            list.len() <= MAX_MEMBERS,
            "{} members in one list, {MAX_MEMBERS} allowed",
            list.len()
        );
        put_u32(out, list.len() as u32);
    }
    for &id in lists.into_iter().flatten() {
        put_u64(out, id);
    }
}

pub(crate) fn put_snapshot_meta(out: &mut Vec<u8>, meta: &SnapshotMeta) {
    put_log_id(out, meta.log_id);
    put_u64(out, meta.size_bytes);
    put_membership(out, &meta.membership);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ps15_a_count_is_not_believed_beyond_the_bytes() {
        let mut bytes = Vec::new();
        put_u32(&mut bytes, u32::MAX);
        put_u64(&mut bytes, 0);
        assert_eq!(Fields::new(&bytes).membership(), Err(Malformed("more members than allowed")));
        bytes[..4].copy_from_slice(&4096u32.to_le_bytes());
        assert_eq!(Fields::new(&bytes).membership(), Err(Malformed("ends too early")));
    }

    #[test]
    fn a_snapshot_meta_reads_back() {
        let membership = Membership {
            voters: [1, 2, 9].into(),
            voters_outgoing: [2].into(),
            learners: [u64::MAX, 0].into_iter().collect(),
        };
        let meta = SnapshotMeta { log_id: LogId::new(3, 70), membership, size_bytes: 1 << 40 };
        let mut bytes = Vec::new();
        put_snapshot_meta(&mut bytes, &meta);
        let mut fields = Fields::new(&bytes);
        assert_eq!(fields.snapshot_meta(), Ok(meta));
        assert_eq!(fields.end(), Ok(()));
    }
}
