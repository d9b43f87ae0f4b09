//! A handle's ring, with what threads that put I/O in and threads that take results in tell each
//! other. Knows neither the handle nor the node; `reap.rs` takes the results in.

use std::time::Duration;

use super::deferred::{Deferred, Pace};
use crate::driver::Io;
use crate::engine::Ring;
use crate::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use crate::sync::{thread, Mutex};
use blkalign_machine::{PlugKey, QueueId};

/// How long one thread sleeps at most where another may take its results in.
pub const SLEEP_SLICE: Duration = Duration::from_millis(5);
/// After which time a job looks whether the thread gets on that takes results in.
pub const LOOK_AFTER: Duration = Duration::from_millis(4);
/// How often a job looks whether it is still wanted while a thread sleeps in the ring.
const NAP: Duration = Duration::from_micros(200);

/// How many callbacks run on threads of their own after one that took long; and at most, if each
/// that is tried after these takes long, too.
const ELSEWHERE: u32 = 200;
const ELSEWHERE_MAX: u32 = 12_800;

/// How far the job has come that takes results in: its number, and how often it has begun or ended
/// to be busy. It stays the same while the job does not get on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Beat {
    turn: u32,
    count: u32,
}

/// What is known of that job. A job that has been replaced changes nothing here any more.
#[derive(Default)]
struct Progress {
    /// The number of the job whose turn it is.
    turn: u32,
    count: u32,
    /// The job does what may take long.
    busy: bool,
    /// Where, and by which key, the job holds back what its callbacks submit.
    plug: Option<(QueueId, PlugKey)>,
}

pub struct RingEngine {
    pub ring: Ring,
    /// I/Os that the ring has, or that are deferred.
    inside: AtomicUsize,
    /// SERIAL and CONCURRENT: a job on the pool takes results in, or will.
    reaping: AtomicBool,
    /// The job of `reaping`. Nothing else is locked while this is held.
    progress: Mutex<Progress>,
    /// `Progress::turn`, for reading without the lock.
    turn: AtomicU32,
    /// EVENTFD: threads in `poll` that run callbacks, and so may not come back for long.
    in_callbacks: AtomicUsize,
    /// EVENTFD: changes with each `poll`. Relaxed: a hint.
    polls: AtomicU32,
    /// What it was when a job last began to help. Relaxed: a hint.
    polls_at_help: AtomicU32,
    /// A look at `progress` is due on the pool. EVENTFD: at what is handed over, and whether
    /// anybody polls.
    pub look_is_due: AtomicBool,
    /// So many callbacks run on threads of their own, since some took long. Relaxed: a hint.
    elsewhere: AtomicU32,
    /// How many it will be the next time. Relaxed, as above.
    elsewhere_next: AtomicU32,
    /// The handle is closing: the job of `reaping` is to end.
    stopping: AtomicBool,
    /// EVENTFD: a job on the pool takes results in while others wait for them.
    helping: AtomicBool,
    /// Held by the one thread that sleeps in the ring. EVENTFD: further threads sleep elsewhere,
    /// else one of them could take a wake-up that is meant for a thread not yet asleep.
    pub sleeper: Mutex<()>,
    pub deferred: Deferred,
}

impl RingEngine {
    /// `defers`: whether I/O may be deferred at all, see `deferred.rs`.
    pub fn new(ring: Ring, defers: bool) -> RingEngine {
        RingEngine {
            ring,
            inside: AtomicUsize::new(0),
            reaping: AtomicBool::new(false),
            progress: Mutex::default(),
            turn: AtomicU32::new(0),
            in_callbacks: AtomicUsize::new(0),
            polls: AtomicU32::new(0),
            polls_at_help: AtomicU32::new(0),
            look_is_due: AtomicBool::new(false),
            elsewhere: AtomicU32::new(0),
            elsewhere_next: AtomicU32::new(ELSEWHERE),
            stopping: AtomicBool::new(false),
            helping: AtomicBool::new(false),
            sleeper: Mutex::new(()),
            deferred: Deferred::new(defers),
        }
    }

    pub fn submit_or_defer(&self, ios: &mut Vec<Io>) {
        // Nothing of this handle is at the storage, nor on its way there.
        let idle = self.inside.load(Ordering::SeqCst) == self.deferred.count();
        let mine = self.ring.is_polled_here();
        let suits = idle || (mine && self.deferred.is_crowded());
        let defers = suits && (mine || self.ring.has_job()) && self.deferred.suits(ios);
        self.note_in(ios.len());
        if !defers {
            return self.ring.submit(ios);
        }
        self.deferred.put(ios);
        if !mine {
            // The job that takes results in carries the I/O out: see `Ring::nudge`.
            return self.ring.nudge();
        }
        // This thread has deferred the I/O and then looks whether another thread sleeps. A thread
        // that goes to sleep takes `sleeper` and then looks what is deferred. One of the two sees
        // the other.
        if self.sleeper.is_locked() {
            self.submit_deferred();
        }
    }

    /// Gives the ring what is deferred.
    pub fn submit_deferred(&self) {
        let mut ios = Vec::new();
        self.deferred.take(&mut ios);
        self.ring.submit(&mut ios);
    }

    /// EVENTFD: this thread polls, and begins with callbacks.
    pub fn begin_callbacks(&self) {
        // SeqCst: see `Endpoint::ensure_handed_over_goes_on`.
        self.in_callbacks.fetch_add(1, Ordering::SeqCst);
    }

    pub fn end_callbacks(&self) {
        self.in_callbacks.fetch_sub(1, Ordering::SeqCst);
    }

    /// EVENTFD: whether I/O may lie there for a thread that runs callbacks.
    pub fn leaves_handed_over(&self) -> bool {
        self.in_callbacks.load(Ordering::SeqCst) > 0 && self.ring.has_put_off()
    }

    /// `count` I/Os come to the ring, or are deferred.
    pub fn note_in(&self, count: usize) {
        // SeqCst: see `unpolled.rs`.
        self.inside.fetch_add(count, Ordering::SeqCst);
    }

    /// `count` I/Os are done with: none of them is in the ring or deferred any more.
    pub fn note_out(&self, count: usize) {
        // SeqCst: see `unpolled.rs`.
        self.inside.fetch_sub(count, Ordering::SeqCst);
    }

    pub fn has_any_inside(&self) -> bool {
        self.inside.load(Ordering::SeqCst) > 0
    }

    /// Whether the ring has no I/Os but these `count`, whose results this thread has. Relaxed: a
    /// hint.
    pub fn has_only(&self, count: usize) -> bool {
        self.inside.load(Ordering::Relaxed) == count
    }

    /// Takes on the duty of the job that takes results in. Returns whether no job had it.
    pub fn take_on_reaping(&self) -> bool {
        !self.reaping.swap(true, Ordering::SeqCst)
    }

    /// The job gives that duty up. Afterwards it has to look whether it is still needed: see
    /// `reap_until_idle`.
    pub fn give_up_reaping(&self) {
        self.reaping.store(false, Ordering::SeqCst);
    }

    /// The number of the job that takes results in.
    pub fn turn(&self) -> u32 {
        self.turn.load(Ordering::SeqCst)
    }

    /// The job with that number begins with what may take long.
    pub fn begin_to_be_busy(&self, turn: u32) -> Beat {
        self.set_busy(turn, true)
    }

    pub fn end_to_be_busy(&self, turn: u32) {
        self.set_busy(turn, false);
    }

    fn set_busy(&self, turn: u32, busy: bool) -> Beat {
        let mut progress = self.progress.lock();
        if progress.turn == turn {
            progress.count = progress.count.wrapping_add(1);
            progress.busy = busy;
        }
        Beat { turn, count: progress.count }
    }

    /// How far the job has come, and whether it is busy.
    pub fn beat(&self) -> (Beat, bool) {
        let progress = self.progress.lock();
        (Beat { turn: progress.turn, count: progress.count }, progress.busy)
    }

    /// The job with that number holds back what its callbacks submit. Returns whether the job may:
    /// else it has been replaced.
    pub fn note_plug(&self, turn: u32, queue: QueueId, key: PlugKey) -> bool {
        let mut progress = self.progress.lock();
        if progress.turn == turn {
            progress.plug = Some((queue, key));
        }
        progress.turn == turn
    }

    /// Returns whether the job still holds back, and has to unplug.
    pub fn forget_plug(&self, turn: u32) -> bool {
        let mut progress = self.progress.lock();
        progress.turn == turn && progress.plug.take().is_some()
    }

    /// Replaces the job. Returns the number of the next one, and what the old one holds back, which
    /// the caller has to unplug. Only a look does this, and there is at most one look at a time.
    pub fn replace_job(&self) -> (u32, Option<(QueueId, PlugKey)>) {
        let mut progress = self.progress.lock();
        progress.turn = progress.turn.wrapping_add(1);
        progress.count = progress.count.wrapping_add(1);
        progress.busy = false;
        self.turn.store(progress.turn, Ordering::SeqCst);
        (progress.turn, progress.plug.take())
    }

    /// Whether the job that takes results in runs this callback itself. Counts callbacks.
    pub fn runs_callback_here(&self) -> bool {
        let elsewhere = self.elsewhere.load(Ordering::Relaxed);
        if elsewhere > 0 {
            self.elsewhere.store(elsewhere - 1, Ordering::Relaxed);
        }
        elsewhere == 0
    }

    /// The callbacks that ran last were quick; or one took long, and the next ones run on threads
    /// of their own.
    pub fn note_callbacks(&self, pace: Pace) {
        if pace == Pace::Quick {
            return self.elsewhere_next.store(ELSEWHERE, Ordering::Relaxed);
        }
        let count = self.elsewhere_next.load(Ordering::Relaxed);
        self.elsewhere.store(count, Ordering::Relaxed);
        self.elsewhere_next.store(ELSEWHERE_MAX.min(2 * count), Ordering::Relaxed);
    }

    /// EVENTFD: a thread polls.
    pub fn note_poll(&self) {
        // Relaxed: a hint. If several threads poll at once some may go uncounted.
        self.polls.store(self.polls.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
    }

    /// EVENTFD: changes as long as threads poll.
    pub fn polls(&self) -> Beat {
        Beat { turn: 0, count: self.polls.load(Ordering::Relaxed) }
    }

    pub fn was_polled_since_help(&self) -> bool {
        self.polls.load(Ordering::Relaxed) != self.polls_at_help.load(Ordering::Relaxed)
    }

    /// As `take_on_reaping`, for the job that helps while others wait.
    pub fn take_on_helping(&self) -> bool {
        self.polls_at_help.store(self.polls.load(Ordering::Relaxed), Ordering::Relaxed);
        !self.helping.swap(true, Ordering::SeqCst)
    }

    pub fn give_up_helping(&self) {
        self.helping.store(false, Ordering::SeqCst);
    }

    /// Nothing is in flight, and nothing will be: no job is to hold on to the ring.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::SeqCst);
        self.ring.wake();
    }

    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::SeqCst)
    }

    /// EVENTFD: something became due while a thread may be asleep. The thread that pushed it did so
    /// under the lock of what is due and then looks at `sleeper`; a thread that goes to sleep takes
    /// `sleeper` and then looks, under that lock, what is due. One of the two sees the other.
    pub fn wake_sleeper(&self) {
        if self.sleeper.is_locked() {
            self.ring.wake();
        }
    }

    /// A job waits for results, beside a thread that may be asleep in the ring.
    pub fn nap(&self) {
        match self.sleeper.try_lock() {
            Some(_sleeper) => self.ring.wait(Some(SLEEP_SLICE)),
            // The thread that sleeps in the ring takes its results in.
            None => thread::sleep(NAP),
        }
    }
}
