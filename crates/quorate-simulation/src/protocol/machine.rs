//! A small state machine with sessions: registers that can be swapped, each command exactly once.
//!
//! A client's request is a [`Command`]; anything else in the log is only added to the digest. If
//! there are too many sessions, the one idle for longest is removed; later commands of it are
//! answered [`Reply::Expired`], and never executed (CL08).

use bytes::Bytes;

use quorate::raft::{Entry, EntryKind, LogId};

/// How many registers there are.
pub(super) const REGISTERS: u64 = 8;
/// The smallest size of an encoded state: padding makes transfers of several chunks.
const LEAST_STATE_BYTES: usize = 100;

/// A client's request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Command {
    /// Opens a session; its id is the index of the entry.
    Open,
    /// Writes a register.
    Swap {
        /// The session.
        session: u64,
        /// Counts the session's commands.
        sequence: u64,
        /// The register.
        register: u64,
        /// The new value.
        value: u64,
    },
}

/// The reply to a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reply {
    /// The session's id.
    Opened(u64),
    /// The earlier value of the register.
    Previous(u64),
    /// There is no such session; nothing was executed now.
    Expired,
}

impl Command {
    pub(super) fn encode(self) -> Bytes {
        let numbers: &[u64] = match &self {
            Command::Open => &[1],
            Command::Swap { session, sequence, register, value } => {
                &[2, *session, *sequence, *register, *value]
            }
        };
        numbers.iter().flat_map(|number| number.to_be_bytes()).collect::<Vec<u8>>().into()
    }

    fn decode(data: &[u8]) -> Option<Command> {
        match data.len() {
            8 if number(data, 0) == 1 => Some(Command::Open),
            40 if number(data, 0) == 2 => Some(Command::Swap {
                session: number(data, 1),
                sequence: number(data, 2),
                register: number(data, 3) % REGISTERS,
                value: number(data, 4),
            }),
            _ => None,
        }
    }
}

/// The number at a position, eight bytes long.
fn number(bytes: &[u8], place: usize) -> u64 {
    let eight = bytes.iter().skip(8 * place).take(8);
    eight.fold(0, |number, byte| number << 8 | u64::from(*byte))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Session {
    id: u64,
    sequence: u64,
    previous: u64,
    /// The index of its last command.
    used_at: u64,
}

/// The state: a running digest of what it has applied, in order, and the results.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Machine {
    pub(crate) applied: LogId,
    pub(crate) digest: u64,
    registers: [u64; REGISTERS as usize],
    sessions: Vec<Session>,
    /// The most sessions that there may be; the same on all members.
    sessions_max: usize,
    /// Commands that were not executed again, in this incarnation.
    pub(super) duplicates: u64,
    /// Commands of expired sessions, in this incarnation.
    pub(super) expired: u64,
}

impl Machine {
    pub(super) fn new(sessions_max: usize) -> Machine {
        Machine { sessions_max, ..Machine::default() }
    }

    pub(super) fn register(&self, register: u64) -> u64 {
        self.registers[register as usize]
    }

    pub(super) fn apply(&mut self, entry: &Entry) -> Option<Reply> {
        self.applied = entry.log_id;
        let mixed = entry.data.chunks(8).fold(entry.log_id.index, |sum, eight| {
            (sum ^ number(eight, 0)).wrapping_mul(0xff51_afd7_ed55_8ccd).rotate_left(29)
        });
        self.digest = (self.digest ^ mixed).wrapping_mul(0xc4ce_b9fe_1a85_ec53).rotate_left(31);
        if entry.kind != EntryKind::Command {
            return None;
        }
        let reply = self.execute(Command::decode(&entry.data)?, entry.log_id.index);
        if let Reply::Previous(previous) = reply {
            self.digest ^= previous;
        }
        Some(reply)
    }

    fn execute(&mut self, command: Command, index: u64) -> Reply {
        let Command::Swap { session, sequence, register, value } = command else {
            self.make_room();
            self.sessions.push(Session { id: index, sequence: 0, previous: 0, used_at: index });
            return Reply::Opened(index);
        };
        let Some(known) = self.sessions.iter_mut().find(|known| known.id == session) else {
            self.expired += 1;
            return Reply::Expired;
        };
        known.used_at = index;
        if sequence <= known.sequence {
            self.duplicates += 1;
            return Reply::Previous(known.previous);
        }
        let previous = std::mem::replace(&mut self.registers[register as usize], value);
        (known.sequence, known.previous) = (sequence, previous);
        Reply::Previous(previous)
    }

    fn make_room(&mut self) {
        while self.sessions.len() >= self.sessions_max.max(1) {
            let oldest = (0..self.sessions.len()).min_by_key(|place| self.sessions[*place].used_at);
            self.sessions.remove(oldest.unwrap_or_default());
        }
    }

    pub(super) fn encode(&self) -> Bytes {
        let mut numbers = vec![self.applied.term, self.applied.index, self.digest];
        numbers.push(self.sessions_max as u64);
        numbers.extend(self.registers);
        numbers.push(self.sessions.len() as u64);
        for Session { id, sequence, previous, used_at } in &self.sessions {
            numbers.extend([id, sequence, previous, used_at]);
        }
        let mut bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_be_bytes()).collect();
        bytes.resize(bytes.len().max(LEAST_STATE_BYTES), 0);
        bytes.into()
    }

    /// Whether `bytes` claim to be the state at that entry: a snapshot that claims another one does
    /// not decode.
    pub(super) fn holds_state_of(bytes: &[u8], log_id: LogId) -> bool {
        LogId::new(number(bytes, 0), number(bytes, 1)) == log_id
    }

    pub(super) fn decode(bytes: &[u8]) -> Machine {
        const BEFORE: usize = 4;
        const SESSIONS: usize = BEFORE + REGISTERS as usize;
        let mut machine = Machine::new(number(bytes, 3) as usize);
        machine.applied = LogId::new(number(bytes, 0), number(bytes, 1));
        machine.digest = number(bytes, 2);
        for (place, register) in machine.registers.iter_mut().enumerate() {
            *register = number(bytes, BEFORE + place);
        }
        let session = |place: usize| {
            let at = SESSIONS + 1 + 4 * place;
            let [id, sequence, previous, used_at] = [0, 1, 2, 3].map(|i| number(bytes, at + i));
            Session { id, sequence, previous, used_at }
        };
        machine.sessions = (0..number(bytes, SESSIONS) as usize).map(session).collect();
        machine
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn apply(machine: &mut Machine, command: Command) -> Option<Reply> {
        let log_id = LogId::new(1, machine.applied.index + 1);
        let data = command.encode();
        machine.apply(&Entry { log_id, kind: EntryKind::Command, stamp_ms: 0, data })
    }

    fn swap(session: u64, sequence: u64, value: u64) -> Command {
        Command::Swap { session, sequence, register: 3, value }
    }

    #[test]
    fn a_command_is_executed_once_and_a_forgotten_session_never() {
        let mut machine = Machine::new(1);
        assert_eq!(apply(&mut machine, Command::Open), Some(Reply::Opened(1)));
        assert_eq!(apply(&mut machine, swap(1, 1, 7)), Some(Reply::Previous(0)));
        assert_eq!(apply(&mut machine, swap(1, 2, 8)), Some(Reply::Previous(7)));
        assert_eq!(apply(&mut machine, swap(1, 2, 8)), Some(Reply::Previous(7)));
        assert_eq!((machine.register(3), machine.duplicates), (8, 1));
        assert_eq!(apply(&mut machine, Command::Open), Some(Reply::Opened(5)));
        assert_eq!(apply(&mut machine, swap(1, 3, 9)), Some(Reply::Expired));
        assert_eq!((machine.register(3), machine.expired), (8, 1));
    }

    #[test]
    fn a_state_reads_back_as_it_was_written() {
        let mut machine = Machine::new(3);
        for command in [Command::Open, swap(1, 1, 5), Command::Open, swap(3, 1, 6)] {
            apply(&mut machine, command);
        }
        assert_eq!(Machine::decode(&machine.encode()), machine);
    }
}
