//! A thread that adds and removes before-write notifiers, and answers them: at once, or later.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Arc;
use std::time::Duration;

use super::actors::{be_program, handle_of};
use super::scene::Scene;
use crate::completion::inside_callback;
use crate::handle::{answer_question, Change, Notify, Token};
use crate::proof::world::thread::sleep_as;
use crate::proof::world::{choose, fail, percent, trace, Class};

/// What a notifier has been asked and has not answered.
#[derive(Default)]
struct Open {
    tokens: Vec<Token>,
    /// It answers at once from now on.
    leaving: bool,
}

struct Notifier {
    scene: Arc<Scene>,
    open: Arc<parking_lot::Mutex<Open>>,
    /// Calls that have not returned.
    running: Arc<AtomicUsize>,
}

impl Notify for Notifier {
    fn before(&self, change: Change, token: Token) -> Result<(), i32> {
        self.running.fetch_add(1, Ordering::Relaxed);
        if !inside_callback() {
            fail("a notifier is called as if it might wait");
        }
        let length = self.scene.scenario.shape.bytes as u64;
        if change.bytes == 0 || change.offset + change.bytes > length {
            fail(&format!("a notifier is told of {change:?}"));
        }
        let at_once = percent(50);
        let mut open = self.open.lock();
        let at_once = at_once || open.leaving;
        if !at_once {
            self.scene.questions.fetch_add(1, Ordering::Relaxed);
            open.tokens.push(token);
        }
        drop(open);
        trace(|| format!("told of {change:?}, answers {}", if at_once { "now" } else { "later" }));
        if at_once && !answer_question(token, Ok(())) {
            fail("an answer finds no question");
        }
        if at_once && percent(5) && answer_question(token, Ok(())) {
            fail("an answer is taken twice");
        }
        self.running.fetch_sub(1, Ordering::Relaxed);
        Ok(())
    }
}

/// Answers some of what is open, or all.
fn answer_some(scene: &Scene, open: &parking_lot::Mutex<Open>, all: bool) {
    loop {
        let mut list = open.lock();
        if list.tokens.is_empty() {
            return;
        }
        let at = choose(list.tokens.len() as u64) as usize;
        let token = list.tokens.swap_remove(at);
        drop(list);
        if !answer_question(token, Ok(())) {
            fail("an answer finds no question");
        }
        scene.questions.fetch_sub(1, Ordering::Relaxed);
        if !all && percent(40) {
            return;
        }
    }
}

/// The thread.
pub fn notifying(scene: &Arc<Scene>, times: usize) {
    be_program();
    for _ in 0..times {
        let at = choose(scene.places.len() as u64) as usize;
        let handle = handle_of(&scene.places[at]);
        let open = Arc::<parking_lot::Mutex<Open>>::default();
        let running = Arc::<AtomicUsize>::default();
        let (its, calls) = (open.clone(), running.clone());
        let notify = Notifier { scene: scene.clone(), open: its, running: calls };
        let unit = [1, 512, 4096, 65536, 1 << 30][choose(5) as usize];
        let added = match handle.add_notifier(unit, Box::new(notify)) {
            Ok(added) => added,
            // The handle has paused its object, or had when it was asked.
            Err(error) if error.errno == libc::EBUSY => continue,
            Err(error) => fail(&format!("a notifier is refused: {error}")),
        };
        drop(handle);
        for _ in 0..choose(12) {
            sleep_as(Duration::from_nanos(choose(100_000)), Class::Outside);
            answer_some(scene, &open, false);
        }
        open.lock().leaving = true;
        answer_some(scene, &open, true);
        if let Err(error) = added.remove() {
            fail(&format!("a notifier stays: {error}"));
        }
        if running.load(Ordering::Relaxed) > 0 || Arc::strong_count(&open) > 1 {
            fail("a notifier is removed, and in use");
        }
        scene.notified.fetch_add(1, Ordering::Relaxed);
    }
}
