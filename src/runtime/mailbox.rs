//! Mailboxes of actors, by the messages that they take.
//!
//! An actor is named by the messages that can be sent to it, not by its type: the sender of
//! `CondInstallSnapshot` knows neither the peer's type nor its folder. All messages of one sender
//! to one mailbox arrive in the order of sending, whatever their types.

use actix::dev::ToEnvelope;
use actix::{Actor, Addr, Handler, Message};

/// Takes messages of one type.
pub(crate) trait Mailbox<M>: Send + Sync {
    /// Adds a message, without waiting. If the actor has ended the message is dropped, which
    /// answers its sender if it waits.
    fn send(&self, message: M);
}

impl<A, M> Mailbox<M> for Addr<A>
where
    A: Actor + Handler<M>,
    A::Context: ToEnvelope<A, M>,
    M: Message<Result = ()> + Send + 'static,
{
    fn send(&self, message: M) {
        self.do_send(message);
    }
}

/// Names the mailbox of an actor by the list of its messages.
macro_rules! mailbox {
    ($(#[$doc:meta])* $seen:vis $address:ident = dyn $name:ident: $($message:ty),+) => {
        $(#[$doc])*
        $seen type $address = std::sync::Arc<dyn $name>;

        $(#[$doc])*
        $seen trait $name: $($crate::runtime::Mailbox<$message> +)+ {}

        impl<T: $($crate::runtime::Mailbox<$message> +)+> $name for T {}
    };
}

pub(crate) use mailbox;
