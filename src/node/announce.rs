//! How before-write notifiers are told of changes.
//!
//! The thread that dispatches what the machine asks for calls the notifier, with no lock held. A
//! notifier may answer before it returns, and may submit requests, which may lead to more
//! questions: a list of the thread turns that recursion into a loop. Answers that are given on this
//! thread meanwhile are handed in together, so that what was submitted as one batch goes out as
//! one; but not later than some tens of microseconds, or the length of one call, after the first.
//!
//! The lock `QUESTIONS` guards the table of open questions; nothing else is taken while it is held.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::notifier::{Change, Notifier};
use super::{with_actions, Action, Actions, Endpoint};
use crate::completion::as_callback;
use crate::driver::{Token, Unanswered};
use crate::log;
use crate::sync::{Instant, Mutex};
use crate::sys::caught;
use blkalign_machine::Announcement;

/// What goes on with the actions that an answer leads to: `dispatch`, which is above this file.
pub type GoOn = fn(&mut Actions);

/// Answers are handed in once so much time has passed since the first.
const HAND_IN_AFTER: Duration = Duration::from_micros(50);

struct Question {
    endpoint: Arc<Endpoint>,
    what: Announcement,
    /// Kept until the answer: see `end_notifier`.
    notifier: Arc<Notifier>,
}

static QUESTIONS: Mutex<Unanswered<Question>> = Mutex::new(Unanswered::new());

type Answer = (Arc<Endpoint>, Announcement, Result<(), i32>);

thread_local! {
    /// Changes that this thread still has to announce.
    static TO_ASK: RefCell<VecDeque<(Arc<Endpoint>, Announcement)>> =
        const { RefCell::new(VecDeque::new()) };
    /// Answers that were given on this thread, and are not handed in.
    static ANSWERED: RefCell<Vec<Answer>> = const { RefCell::new(Vec::new()) };
    /// This thread is at the list.
    static ASKING: Cell<bool> = const { Cell::new(false) };
}

/// The answer to a question. Returns false if no such question is open: then nothing happens.
pub fn answer(token: Token, result: Result<(), i32>, go_on: GoOn) -> bool {
    let question = QUESTIONS.lock().take(token);
    let Some(Question { endpoint, what, notifier }) = question else { return false };
    drop(notifier);
    take_answer((endpoint, what, result), go_on);
    true
}

fn take_answer(answer: Answer, go_on: GoOn) {
    let mut answer = Some(answer);
    if ASKING.get() {
        // While the thread ends there may be no list any more.
        let _ = ANSWERED.try_with(|list| list.borrow_mut().extend(answer.take()));
    }
    if let Some((endpoint, what, result)) = answer {
        with_actions(|actions| {
            endpoint.node.announced([(what, result)], actions);
            go_on(actions);
        });
    }
}

/// Remembers that this thread has to announce a change: `announce` does.
pub fn to_announce(endpoint: Arc<Endpoint>, what: Announcement, go_on: GoOn) {
    let mut it = Some((endpoint, what));
    let _ = TO_ASK.try_with(|list| list.borrow_mut().extend(it.take()));
    if let Some((endpoint, what)) = it {
        ask(endpoint, what, go_on);
    }
}

/// Announces what this thread has to, and goes on with what follows.
pub fn announce(go_on: GoOn) {
    work_list(&mut Actions::new(), go_on, go_on);
}

/// Announces what is among `actions`; what follows is appended to them. `go_on` is for what cannot.
pub fn announce_within(actions: &mut Actions, go_on: GoOn) {
    fn announces(action: &mut Action) -> bool {
        matches!(action, Action::Announce(..))
    }
    while !ASKING.get() && actions.iter_mut().any(announces) {
        for action in actions.extract_if(.., announces) {
            let Action::Announce(endpoint, what) = action else { unreachable!("announces") };
            to_announce(endpoint, what, go_on);
        }
        work_list(actions, |_| {}, go_on);
    }
}

/// Sets `ASKING` until dropped, also after a panic.
struct Asking;

impl Drop for Asking {
    fn drop(&mut self) {
        ASKING.set(false);
    }
}

/// `then`: what to do with the actions that answers have led to.
fn work_list(actions: &mut Actions, then: GoOn, go_on: GoOn) {
    let is_empty = TO_ASK.try_with(|list| list.borrow().is_empty());
    if is_empty.unwrap_or(true) || ASKING.get() {
        return;
    }
    ASKING.set(true);
    let _asking = Asking;
    let mut first_answer = None;
    while let Some((endpoint, what)) = TO_ASK.with(|list| list.borrow_mut().pop_front()) {
        ask(endpoint, what, go_on);
        if ANSWERED.with(|list| list.borrow().is_empty()) {
            first_answer = None;
            continue;
        }
        let now = Instant::now();
        let first = *first_answer.get_or_insert(now);
        if now.saturating_duration_since(first) > HAND_IN_AFTER {
            first_answer = None;
            hand_in(actions);
            then(actions);
        } else if TO_ASK.with(|list| list.borrow().is_empty()) {
            hand_in(actions);
            then(actions);
        }
    }
}

/// Hands the answers of this thread in, those of one object together.
fn hand_in(actions: &mut Actions) {
    let mut answers = ANSWERED.with(|list| std::mem::take(&mut *list.borrow_mut()));
    while let Some((endpoint, ..)) = answers.first() {
        let node = endpoint.node.clone();
        let its = |(endpoint, ..): &mut Answer| Arc::ptr_eq(&endpoint.node, &node);
        let its = answers.extract_if(.., its).map(|(_, what, result)| (what, result));
        // All are taken out, also if the node takes nothing any more.
        node.announced(its.collect::<Vec<_>>(), actions);
    }
    ANSWERED.with(|list| {
        let mut list = list.borrow_mut();
        if list.capacity() == 0 {
            *list = answers;
        }
    });
}

/// Tells a notifier of a change. One that has gone lets it pass.
fn ask(endpoint: Arc<Endpoint>, what: Announcement, go_on: GoOn) {
    let Some(notifier) = endpoint.node.notifier(what.notifier) else {
        return take_answer((endpoint, what, Ok(())), go_on);
    };
    let question = Question { endpoint, what, notifier: notifier.clone() };
    let token = QUESTIONS.lock().add(question);
    let Announcement { op, offset, bytes, .. } = what;
    let change = Change { op, offset, bytes };
    let told = caught(|| as_callback(|| notifier.notify.before(change, token)));
    drop(notifier);
    match told {
        Ok(Ok(())) => {}
        Ok(Err(errno)) => {
            if !answer(token, Err(errno), go_on) {
                log::error!("a before-write notifier has answered, and then returned an error");
            }
        }
        Err(panic) => {
            log::error!("a before-write notifier: {panic}");
            // It may have answered before.
            answer(token, Err(libc::EIO), go_on);
        }
    }
}
