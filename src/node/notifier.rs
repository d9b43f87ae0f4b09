//! A before-write notifier of an object: plain data. `announce.rs` says how it is told of a change.

use std::sync::Arc;

use super::Waiter;
use crate::driver::{Op, Token};
use blkalign_machine::NotifierId;

/// What a notifier is told: this range is about to change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Change {
    pub op: Op,
    pub offset: u64,
    pub bytes: u64,
}

/// A program's notifier.
pub trait Notify: Send + Sync {
    /// The change waits until `answer` is called with the token, here or later, on any thread. An
    /// error is an answer, too.
    fn before(&self, change: Change, token: Token) -> Result<(), i32>;
}

/// A notifier that an object has.
pub struct Notifier {
    /// Set once, under the core lock, before the machine can name it.
    pub id: NotifierId,
    pub notify: Box<dyn Notify>,
    /// All changes are announced to it that are not over.
    pub added: Arc<Waiter>,
    /// The last field: nothing uses the notifier any more when this tells.
    gone: TellsGone,
}

struct TellsGone(Arc<Waiter>);

impl Drop for TellsGone {
    fn drop(&mut self) {
        self.0.set(Ok(()));
    }
}

impl Notifier {
    pub fn new(id: NotifierId, notify: Box<dyn Notify>) -> Notifier {
        Notifier { id, notify, added: Arc::default(), gone: TellsGone(Arc::default()) }
    }

    /// Is set when nothing uses the notifier any more.
    pub fn gone(&self) -> Arc<Waiter> {
        self.gone.0.clone()
    }
}
