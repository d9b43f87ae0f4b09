//! How before-write notifiers come and go, and how each is told of a change.
//!
//! The thread that dispatches what the machine asks for calls the notifier, with no lock held. A
//! notifier may answer before it returns, and may submit requests, which may lead to more
//! questions: a list of the thread turns that recursion into a loop. Answers that are given on this
//! thread meanwhile are handed in together, so that what was submitted as one batch goes out as
//! one; but not later than some tens of microseconds, or the length of one call, after the first.
//!
//! A question has a token, which is never used twice: an answer that comes twice finds nothing the
//! second time.
//!
//! The lock `QUESTIONS` guards the table of open questions; nothing else is taken while it is held.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::Duration;

use super::dispatch::dispatch;
use super::notifier::{Change, Notifier, Notify, Token};
use super::{with_actions, Action, Actions, Endpoint, Node};
use crate::completion::as_callback;
use crate::log;
use crate::sync::{Instant, Mutex};
use crate::sys::caught;
use blkalign_machine::Announcement;

/// Answers are handed in once so much time has passed since the first.
const HAND_IN_AFTER: Duration = Duration::from_micros(50);

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

// ----- questions -----

struct Question {
    endpoint: Arc<Endpoint>,
    what: Announcement,
    /// Kept until the answer: see `end_notifier`.
    notifier: Arc<Notifier>,
}

static QUESTIONS: Mutex<Questions> = Mutex::new(Questions { slots: Vec::new(), free: Vec::new() });

struct Questions {
    /// By slot: its generation, and the question that is open there.
    slots: Vec<(u32, Option<Question>)>,
    free: Vec<u32>,
}

impl Questions {
    fn add(&mut self, question: Question) -> Token {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push((0, None));
            (self.slots.len() - 1) as u32
        });
        let (generation, place) = &mut self.slots[slot as usize];
        *generation = generation.wrapping_add(1);
        *place = Some(question);
        let number = (u64::from(slot) + 1) << 32 | u64::from(*generation);
        NonZeroU64::new(number).expect("the slot is not 0")
    }

    fn take(&mut self, token: Token) -> Option<Question> {
        let slot = (token.get() >> 32).checked_sub(1)?;
        let (generation, place) = self.slots.get_mut(usize::try_from(slot).ok()?)?;
        if u64::from(*generation) != token.get() & u64::from(u32::MAX) {
            return None;
        }
        let question = place.take()?;
        self.free.push(slot as u32);
        Some(question)
    }
}

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
pub fn answer_question(token: Token, result: Result<(), i32>) -> bool {
    let question = QUESTIONS.lock().take(token);
    let Some(Question { endpoint, what, notifier }) = question else { return false };
    drop(notifier);
    take_answer((endpoint, what, result));
    true
}

fn take_answer(answer: Answer) {
    let mut answer = Some(answer);
    if ASKING.get() {
        // While the thread ends there may be no list any more.
        let _ = ANSWERED.try_with(|list| list.borrow_mut().extend(answer.take()));
    }
    if let Some((endpoint, what, result)) = answer {
        with_actions(|actions| {
            endpoint.node.announced([(what, result)], actions);
            dispatch(actions);
        });
    }
}

/// Remembers that this thread has to announce a change: `announce` does.
pub fn to_announce(endpoint: Arc<Endpoint>, what: Announcement) {
    let mut it = Some((endpoint, what));
    let _ = TO_ASK.try_with(|list| list.borrow_mut().extend(it.take()));
    if let Some((endpoint, what)) = it {
        ask(endpoint, what);
    }
}

/// Announces what this thread has to, and dispatches what follows.
pub fn announce() {
    work_list(&mut Actions::new(), dispatch);
}

/// Announces what is among `actions`; what follows is appended to them.
pub fn announce_within(actions: &mut Actions) {
    fn announces(action: &mut Action) -> bool {
        matches!(action, Action::Announce(..))
    }
    while !ASKING.get() && actions.iter_mut().any(announces) {
        for action in actions.extract_if(.., announces) {
            let Action::Announce(endpoint, what) = action else { unreachable!("announces") };
            to_announce(endpoint, what);
        }
        work_list(actions, |_| {});
    }
}

/// Sets `ASKING` until dropped, also after a panic.
struct Asking;

impl Drop for Asking {
    fn drop(&mut self) {
        ASKING.set(false);
    }
}

fn work_list(actions: &mut Actions, go_on: impl Fn(&mut Actions)) {
    let is_empty = TO_ASK.try_with(|list| list.borrow().is_empty());
    if is_empty.unwrap_or(true) || ASKING.get() {
        return;
    }
    ASKING.set(true);
    let _asking = Asking;
    let mut first_answer = None;
    while let Some((endpoint, what)) = TO_ASK.with(|list| list.borrow_mut().pop_front()) {
        ask(endpoint, what);
        if ANSWERED.with(|list| list.borrow().is_empty()) {
            first_answer = None;
            continue;
        }
        let now = Instant::now();
        let first = *first_answer.get_or_insert(now);
        if now.saturating_duration_since(first) > HAND_IN_AFTER {
            first_answer = None;
            hand_in(actions);
            go_on(actions);
        } else if TO_ASK.with(|list| list.borrow().is_empty()) {
            hand_in(actions);
            go_on(actions);
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
fn ask(endpoint: Arc<Endpoint>, what: Announcement) {
    let Some(notifier) = endpoint.node.notifier(what.notifier) else {
        return take_answer((endpoint, what, Ok(())));
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
            if !answer_question(token, Err(errno)) {
                log::error!("a before-write notifier has answered, and then returned an error");
            }
        }
        Err(panic) => {
            log::error!("a before-write notifier: {panic}");
            // It may have answered before.
            answer_question(token, Err(libc::EIO));
        }
    }
}
