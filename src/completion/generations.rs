//! What a drain waits for: the requests that were taken in before the drain, however many more
//! come.
//!
//! Requests are counted by *generation*. One generation, the current one, takes requests in. A
//! drain closes the current generation, if that has any requests, opens another, and waits for
//! those that are closed. So requests that come later are counted elsewhere, and a closed
//! generation only gets smaller:
//!
//! ```text
//!   counts   [ 3 ][ 0 ][ 7 ][ 1 ] ...           a drain: closes 2 ---> current = 3
//!              |    |    |    |                            waits for 0 and 2
//!            closed free closed current
//! ```
//!
//! Taking a request in is: look which generation is current, count there, look again. If that
//! generation was closed in between, the drain may have seen it empty. Then the request is counted
//! anew, in the generation that is current now. A request counts itself and then looks what is
//! closed; a drain closes and then looks at the counts. All of that is SeqCst, so one of the two
//! sees the other. A request that ends takes the lock only if it was the last of a closed
//! generation.
//!
//! The lock guards which generations are closed; nothing else is taken while the lock is held.

use crate::sync::atomic::{AtomicUsize, Ordering};
use crate::sync::{Condvar, Instant, Mutex};

/// How many generations there are. If all of them are in use a drain cannot close the current one
/// until another has ended, and so waits also for some of the requests that come until then.
const PLACES: usize = 64;

/// The generation that a request is counted in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Generation(u8);

/// A moment. Requests that were taken in before it are in the generations that were closed by then,
/// or, where no place was free, also in the next one to be closed. The number is that of the last
/// of these, counted from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark(u64);

/// What ended with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    Request,
    /// Also the closed generation that the request was counted in.
    Generation,
}

pub struct Generations {
    /// The generation that takes requests in. Written under the lock.
    current: AtomicUsize,
    counts: [AtomicUsize; PLACES],
    /// How many requests closed generations had when a drain last looked. A hint: it is not too
    /// small for long.
    behind: AtomicUsize,
    closed: Mutex<Closed>,
    /// A closed generation has ended, or the one that a drain wanted to close is closed.
    ended: Condvar,
}

#[derive(Default)]
struct Closed {
    /// How many generations have ever been closed.
    number: u64,
    /// The closed generations that have requests left, oldest first: number and place of each.
    left: Vec<(u64, usize)>,
}

impl Default for Generations {
    fn default() -> Generations {
        Generations {
            current: AtomicUsize::new(0),
            counts: [const { AtomicUsize::new(0) }; PLACES],
            behind: AtomicUsize::new(0),
            closed: Mutex::default(),
            ended: Condvar::new(),
        }
    }
}

impl Generations {
    /// A request comes.
    pub fn enter(&self) -> Generation {
        loop {
            let at = self.current.load(Ordering::SeqCst);
            self.counts[at].fetch_add(1, Ordering::SeqCst);
            if self.current.load(Ordering::SeqCst) == at {
                return Generation(at as u8);
            }
            self.leave(Generation(at as u8));
        }
    }

    /// A request is over. If a closed generation ends with it, drains that wait are told.
    pub fn leave(&self, Generation(at): Generation) -> Ended {
        let at = usize::from(at);
        // A thread that sees the count also sees what this thread did before, in a callback say.
        let last = self.counts[at].fetch_sub(1, Ordering::SeqCst) == 1;
        if !last || self.current.load(Ordering::SeqCst) == at {
            return Ended::Request;
        }
        // The lock orders this with a drain that has looked and is about to wait.
        drop(self.closed.lock());
        self.ended.notify_all();
        Ended::Generation
    }

    /// About how many requests there are, at least those of this generation. Relaxed: a hint.
    pub fn with(&self, Generation(at): Generation) -> usize {
        let own = self.counts[usize::from(at)].load(Ordering::Relaxed);
        own + self.behind.load(Ordering::Relaxed)
    }

    /// Whether a drain waits for this generation, which has a request that is not over.
    pub fn is_closed(&self, Generation(at): Generation) -> bool {
        self.current.load(Ordering::SeqCst) != usize::from(at)
    }

    pub fn are_empty(&self) -> bool {
        let mut closed = self.closed.lock();
        self.sweep(&mut closed);
        closed.left.is_empty() && self.is_empty(self.current.load(Ordering::SeqCst))
    }

    /// The present moment: separates requests that come later from those taken in so far.
    pub fn mark(&self) -> Mark {
        let mut closed = self.closed.lock();
        if self.is_empty(self.current.load(Ordering::SeqCst)) || self.try_close(&mut closed) {
            return Mark(closed.number);
        }
        // No place is free. The next drain that closes the current generation closes it with all
        // that was taken in before this moment.
        Mark(closed.number + 1)
    }

    pub fn are_over(&self, mark: Mark) -> bool {
        self.look(mark, &mut self.closed.lock())
    }

    /// Waits until what was before the mark is over, but not beyond `until`. Returns whether it is
    /// over.
    pub fn wait(&self, mark: Mark, until: Option<Instant>) -> bool {
        let mut closed = self.closed.lock();
        while !self.look(mark, &mut closed) {
            match until {
                None => self.ended.wait(&mut closed),
                Some(until) => {
                    if self.ended.wait_until(&mut closed, until).timed_out() {
                        return self.look(mark, &mut closed);
                    }
                }
            }
        }
        true
    }

    fn look(&self, Mark(mark): Mark, closed: &mut Closed) -> bool {
        self.sweep(closed);
        if mark > closed.number && self.try_close(closed) {
            self.ended.notify_all();
            self.sweep(closed);
        }
        mark <= closed.number && closed.left.first().is_none_or(|&(number, _)| number > mark)
    }

    /// Closes the current generation, if there is a place for the next one. Returns whether there
    /// was.
    fn try_close(&self, closed: &mut Closed) -> bool {
        let current = self.current.load(Ordering::SeqCst);
        let taken = |at: &usize| *at == current || closed.left.iter().any(|(_, its)| its == at);
        let Some(free) = (0..PLACES).find(|at| !taken(at)) else { return false };
        self.current.store(free, Ordering::SeqCst);
        closed.number += 1;
        closed.left.push((closed.number, current));
        self.note_behind(closed);
        true
    }

    /// Forgets the closed generations that have ended, and tells drains that wait for them. The
    /// last request of a generation tells these drains as well, but not always: it looks after it
    /// has counted itself out, and by then its place may be that of the current generation again.
    fn sweep(&self, closed: &mut Closed) {
        let before = closed.left.len();
        closed.left.retain(|&(_, at)| !self.is_empty(at));
        if closed.left.len() < before {
            self.ended.notify_all();
        }
        self.note_behind(closed);
    }

    fn note_behind(&self, closed: &Closed) {
        let counts = closed.left.iter().map(|&(_, at)| self.counts[at].load(Ordering::Relaxed));
        self.behind.store(counts.sum(), Ordering::Relaxed);
    }

    fn is_empty(&self, at: usize) -> bool {
        self.counts[at].load(Ordering::SeqCst) == 0
    }
}

#[cfg(test)]
#[path = "generations_tests.rs"]
mod tests;
