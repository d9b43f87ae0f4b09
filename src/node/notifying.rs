//! How before-write notifiers come and go, and give their answers. `announce.rs` asks them.

use std::sync::Arc;

use super::announce;
use super::dispatch::dispatch;
use super::notifier::{Notifier, Notify};
use super::{with_actions, Actions, Node};
use crate::driver::Token;

/// Adds a notifier of changes of the whole object, and returns when no change is under way that it
/// was not told of. EIO: the machine takes nothing any more.
pub fn begin_notifier(
    node: &Node,
    unit: u64,
    notify: Box<dyn Notify>,
) -> Result<Arc<Notifier>, i32> {
    let notifier = with_actions(|actions| {
        let notifier = node.take_notifier(unit, notify, actions);
        dispatch(actions);
        notifier
    });
    let notifier = notifier.ok_or(libc::EIO)?;
    let added = notifier.added.clone();
    match added.get().unwrap_or_else(|| node.while_waited_for(|| added.wait())) {
        Ok(()) => Ok(notifier),
        Err(errno) => {
            end_notifier(node, notifier);
            Err(errno)
        }
    }
}

/// Nothing more is announced to the notifier. Returns when none of its calls is outstanding.
pub fn end_notifier(node: &Node, notifier: Arc<Notifier>) {
    with_actions(|actions| {
        node.drop_notifier(notifier.id, actions);
        dispatch(actions);
    });
    let gone = notifier.gone();
    drop(notifier);
    if gone.get().is_none() {
        let _ = node.while_waited_for(|| gone.wait());
    }
}

/// As `end_notifier`, but does not wait: calls that are outstanding may still be answered.
pub fn withdraw_notifier(node: &Node, notifier: &Notifier) {
    with_actions(|actions| {
        node.drop_notifier(notifier.id, actions);
        dispatch(actions);
    });
}

/// The answer to a question. Returns false if no such question is open: then nothing happens.
pub fn answer_question(token: Token, result: Result<(), i32>) -> bool {
    announce::answer(token, result, dispatch)
}

/// As `announce::announce_within`.
pub fn announce_within(actions: &mut Actions) {
    announce::announce_within(actions, dispatch);
}
