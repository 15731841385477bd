//! The model of each key of [`KeyValue`](quorate::machine::KeyValue).
//!
//! Versions are log indexes, which no model can know. A write that was answered returns its
//! version; a write of unknown outcome has a version above all earlier ones, which a later answer
//! reveals. So a state has the exact version, or a bound.
//!
//! *What it does not do:* it does not compare the versions of different keys, though no two may be
//! equal.

use std::fmt::{Debug, Formatter};
use std::sync::Arc;

use bytes::Bytes;

use crate::linearizability::Model;
use quorate::machine::{KeyValueCommand, KeyValueReply};

/// Each key begins absent.
#[derive(Clone, Copy, Debug, Default)]
pub struct KeyValueModel;

/// The operations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyValueOperation {
    /// Answered with [`KeyValueOutcome::Reply`].
    Command(KeyValueCommand),
    /// Answered with [`KeyValueOutcome::Value`].
    Read {
        /// The key.
        key: Vec<u8>,
    },
}

/// The outcomes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyValueOutcome {
    /// A command's reply.
    Reply(KeyValueReply),
    /// The value and its version; `None` if the key is absent.
    Value(Option<(Vec<u8>, u64)>),
}

/// A key's value, and what is known of versions.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct KeyValueState {
    value: Option<Arc<[u8]>>,
    /// Of a value: its version, or a lower bound. Of an absent key: the highest version it is known
    /// to have had.
    version: u64,
    is_exact: bool,
}

impl KeyValueState {
    /// The state with its version now known, if it can have this version (0: absent).
    fn at_version(&self, version: u64) -> Option<KeyValueState> {
        let fits = match self.value {
            None => version == 0,
            Some(_) if self.is_exact => version == self.version,
            Some(_) => version > self.version,
        };
        let learned = || match self.value {
            None => self.clone(),
            Some(_) => KeyValueState { version, is_exact: true, ..self.clone() },
        };
        fits.then(learned)
    }

    /// The state after a write, at `version` if that is known.
    fn written(&self, value: Arc<[u8]>, version: Option<u64>) -> Option<KeyValueState> {
        let is_exact = version.is_some();
        let fits = version.is_none_or(|version| version > self.version);
        let version = version.unwrap_or(self.version);
        fits.then_some(KeyValueState { value: Some(value), version, is_exact })
    }

    fn appended(&self, more: &[u8]) -> Arc<[u8]> {
        let value = self.value.as_deref().unwrap_or_default();
        value.iter().chain(more).copied().collect()
    }

    fn deleted(&self) -> KeyValueState {
        KeyValueState { value: None, version: self.version, is_exact: true }
    }

    fn read(&self, told: &Option<(Vec<u8>, u64)>) -> Option<KeyValueState> {
        let version = told.as_ref().map_or(0, |(_, version)| *version);
        let value = told.as_ref().map(|(value, _)| &value[..]);
        (self.value.as_deref() == value).then(|| self.at_version(version)).flatten()
    }

    fn apply(
        &self,
        command: &KeyValueCommand,
        reply: Option<&KeyValueReply>,
    ) -> Option<KeyValueState> {
        use KeyValueCommand::{Append, Delete, DeleteIfVersion, Put, PutIfVersion};
        if let Some(KeyValueReply::VersionMismatch { current }) = reply {
            let is_other = asked_version(command).is_some_and(|version| version != *current);
            return is_other.then(|| self.at_version(*current)).flatten();
        }
        let state = match asked_version(command) {
            Some(version) => &self.at_version(version)?,
            None => self,
        };
        match command {
            Put { value, .. } | PutIfVersion { value, .. } => {
                state.written(value.as_slice().into(), written_version(reply)?)
            }
            Append { value, .. } => state.written(state.appended(value), written_version(reply)?),
            Delete { .. } | DeleteIfVersion { .. } => match reply {
                None => Some(state.deleted()),
                Some(KeyValueReply::Deleted { version }) => {
                    state.at_version(*version).map(|state| state.deleted())
                }
                Some(_) => None,
            },
            other => panic!("no rule for {other:?}"),
        }
    }
}

/// The version that a command expects, if any.
fn asked_version(command: &KeyValueCommand) -> Option<u64> {
    match command {
        KeyValueCommand::PutIfVersion { version, .. }
        | KeyValueCommand::DeleteIfVersion { version, .. } => Some(*version),
        _ => None,
    }
}

/// The version that a write returned, if there was a reply; `None` if it was no reply to a write.
fn written_version(reply: Option<&KeyValueReply>) -> Option<Option<u64>> {
    match reply {
        None => Some(None),
        Some(KeyValueReply::Written { version }) => Some(Some(*version)),
        Some(_) => None,
    }
}

fn command_key(command: &KeyValueCommand) -> &[u8] {
    match command {
        KeyValueCommand::Put { key, .. }
        | KeyValueCommand::PutIfVersion { key, .. }
        | KeyValueCommand::Append { key, .. }
        | KeyValueCommand::Delete { key }
        | KeyValueCommand::DeleteIfVersion { key, .. } => key,
        other => panic!("no rule for {other:?}"),
    }
}

impl Debug for KeyValueState {
    fn fmt(&self, out: &mut Formatter<'_>) -> std::fmt::Result {
        let Some(value) = &self.value else { return write!(out, "nothing") };
        let bound = if self.is_exact { "at" } else { "above" };
        write!(out, "\"{}\" {bound} version {}", value.escape_ascii(), self.version)
    }
}

impl Model for KeyValueModel {
    type Operation = KeyValueOperation;
    type Outcome = KeyValueOutcome;
    type Key = Bytes;
    type State = KeyValueState;

    fn key(&self, operation: &KeyValueOperation) -> Bytes {
        match operation {
            KeyValueOperation::Command(command) => Bytes::copy_from_slice(command_key(command)),
            KeyValueOperation::Read { key } => Bytes::copy_from_slice(key),
        }
    }

    fn initial(&self, _key: &Bytes) -> KeyValueState {
        KeyValueState { value: None, version: 0, is_exact: true }
    }

    fn step(
        &self,
        state: &KeyValueState,
        operation: &KeyValueOperation,
        outcome: Option<&KeyValueOutcome>,
    ) -> Option<KeyValueState> {
        match (operation, outcome) {
            (KeyValueOperation::Command(command), None) => state.apply(command, None),
            (KeyValueOperation::Command(command), Some(KeyValueOutcome::Reply(reply))) => {
                state.apply(command, Some(reply))
            }
            (KeyValueOperation::Read { .. }, None) => Some(state.clone()),
            (KeyValueOperation::Read { .. }, Some(KeyValueOutcome::Value(told))) => {
                state.read(told)
            }
            _ => None,
        }
    }

    fn only_reads(&self, operation: &KeyValueOperation, outcome: Option<&KeyValueOutcome>) -> bool {
        use KeyValueReply::{Deleted, VersionMismatch};
        let refused = matches!(
            outcome,
            Some(KeyValueOutcome::Reply(VersionMismatch { .. } | Deleted { version: 0 }))
        );
        refused || matches!(operation, KeyValueOperation::Read { .. })
    }

    fn overwrites(
        &self,
        operation: &KeyValueOperation,
        _outcome: Option<&KeyValueOutcome>,
    ) -> bool {
        matches!(operation, KeyValueOperation::Command(KeyValueCommand::Put { .. }))
    }

    fn describe(&self, operation: &KeyValueOperation, outcome: Option<&KeyValueOutcome>) -> String {
        let told = match outcome {
            Some(KeyValueOutcome::Reply(reply)) => format!(": {reply:?}"),
            Some(KeyValueOutcome::Value(None)) => ": nothing".into(),
            Some(KeyValueOutcome::Value(Some((value, version)))) => {
                format!(": \"{}\" at version {version}", value.escape_ascii())
            }
            None => String::new(),
        };
        format!("{}{told}", asked(operation))
    }
}

/// The operation in a few words.
fn asked(operation: &KeyValueOperation) -> String {
    let command = match operation {
        KeyValueOperation::Command(command) => command,
        KeyValueOperation::Read { key } => return format!("read {}", key.escape_ascii()),
    };
    let (verb, value) = match command {
        KeyValueCommand::Put { value, .. } => ("put", Some(value)),
        KeyValueCommand::PutIfVersion { value, .. } => ("put", Some(value)),
        KeyValueCommand::Append { value, .. } => ("append", Some(value)),
        KeyValueCommand::Delete { .. } | KeyValueCommand::DeleteIfVersion { .. } => {
            ("delete", None)
        }
        other => panic!("no rule for {other:?}"),
    };
    let key = command_key(command).escape_ascii();
    let value = value.map(|value| format!(" \"{}\"", value.escape_ascii())).unwrap_or_default();
    let guard = asked_version(command).map(|version| format!(" if at version {version}"));
    format!("{verb} {key}{value}{}", guard.unwrap_or_default())
}
