//! A client's request: a command or a read, together with the operation that the model checks.

use quorate::machine::Machine;

use super::linearizability::Model;

/// The position of a request in a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Turn {
    /// The client that sends it.
    pub client: u64,
    /// Counts the requests of all clients; no two requests have the same number.
    pub number: u64,
}

/// One request of a client to the state machine `M`, checked with the model `L`.
pub struct Request<M: Machine, L: Model> {
    pub(super) operation: L::Operation,
    pub(super) asks: Asks<M, L>,
}

type Told<M, L> = Box<dyn FnOnce(<M as Machine>::Reply) -> <L as Model>::Outcome>;
type Seen<M, L> = Box<dyn Fn(&M) -> <L as Model>::Outcome + Send + Sync>;

pub(super) enum Asks<M: Machine, L: Model> {
    Command(M::Command, Told<M, L>),
    Read(Seen<M, L>),
}

impl<M: Machine, L: Model> Request<M, L> {
    /// A command: the model's operation, the command, and how its reply becomes the model's
    /// outcome.
    pub fn command(
        operation: L::Operation,
        command: M::Command,
        told: impl FnOnce(M::Reply) -> L::Outcome + 'static,
    ) -> Request<M, L> {
        Request { operation, asks: Asks::Command(command, Box::new(told)) }
    }

    /// A linearizable read: the model's operation, the query, and how its reply becomes the
    /// outcome.
    pub fn read(
        operation: L::Operation,
        read: impl Fn(&M) -> L::Outcome + Send + Sync + 'static,
    ) -> Request<M, L> {
        Request { operation, asks: Asks::Read(Box::new(read)) }
    }
}
