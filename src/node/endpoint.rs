//! What the node needs of one open handle: where its I/O goes, and where its results go. Besides,
//! the two things that name an endpoint on their way: the owner of a request, and the work of a
//! library thread. Both are plain data here; `jobs.rs` says how work is done.

use std::collections::VecDeque;
use std::ffi::{CStr, CString};
use std::sync::{Arc, Weak};

use once_cell::sync::OnceCell;

use super::alignments::CurrentAlignments;
use super::late::LateWatch;
use super::latency::{Began, Latency};
use super::limit::Timeout;
use super::ring::{Beat, LOOK_AFTER};
use super::{Node, RingEngine, Waiter};
use crate::completion::{Callback, CompletionMode, Completions, Delivery, Generation, Left};
use crate::driver::{Driver, Io, Lane, Op};
use crate::engine::{Pool, StableCopy};
use crate::log::{self, RateLimit};
use crate::sync::atomic::{AtomicU32, Ordering};
use crate::sync::Mutex;
use crate::sys::Error;
use blkalign_machine::{Announcement, RefusedIo};

pub struct Endpoint {
    /// The io_uring engine; None: threads. The first field, so that the ring is dropped before the
    /// driver, whose descriptors it uses.
    pub ring: Option<RingEngine>,
    pub node: Arc<Node>,
    pub driver: Arc<dyn Driver>,
    pub pool: Pool<Work>,
    pub completions: Completions,
    /// What the job that takes results in does for other handles.
    pub favours: Mutex<Favours>,
    pub mode: CompletionMode,
    /// The name of the object in messages.
    pub name: String,
    /// Where the part of the object that the handle shows starts.
    pub window_offset: u64,
    id: AtomicU32,
    /// The alignments that hold now.
    pub alignments: CurrentAlignments,
    /// Bounds the messages about I/O that failed.
    pub failures: RateLimit,
    /// Which requests are late, as far as the log is told.
    pub late: LateWatch,
    /// Which requests are late, as far as the program is told.
    pub timeout: Timeout,
    pub latency: Latency,
    /// Why threads do the I/O though io_uring was wanted. Empty: the ring does it, or threads were
    /// asked for.
    why_threads: OnceCell<CString>,
    /// The last field, so that all others have been dropped when this one tells.
    gone: TellsGone,
}

/// What the job of one endpoint has taken on for others, and not done yet: see `favours.rs`.
#[derive(Default)]
pub struct Favours {
    /// Handles whose callbacks the job runs, see `Completions::claim_from_job`.
    pub due: Vec<Arc<Endpoint>>,
    /// The handle whose callbacks it runs at this moment.
    pub running: Option<Arc<Endpoint>>,
    /// I/Os that the job carries out.
    pub ios: VecDeque<(Arc<Endpoint>, Io)>,
}

/// Who gets the result of a request.
pub enum Owner {
    /// A callback; with it the generation that counts the request for `drain`, the copy that a
    /// write is made from, if there is one, and when the request began.
    Callback(Arc<Endpoint>, Callback, Generation, Option<StableCopy>, Began),
    /// A thread that waits for it.
    Waiter(Arc<Waiter>),
    /// The thread that submitted it, which does its only I/O and asks for the result itself
    /// (`Node::submit_for_caller`).
    Caller,
}

/// What a library thread is to do.
pub enum Work {
    /// I/O that blocks, or that a driver is to start.
    Io(Arc<Endpoint>, Io),
    /// Telling a notifier of a change.
    Announce(Arc<Endpoint>, Announcement),
    /// Trying what alignments the storage takes.
    Probe(Arc<Endpoint>, Box<RefusedIo>),
    /// SERIAL: the callbacks of a handle that are due.
    Callbacks(Arc<Endpoint>),
    /// CONCURRENT: one callback.
    Callback(Arc<Endpoint>, Delivery),
    /// SERIAL, CONCURRENT: taking a ring's results in, and running their callbacks. With the number
    /// of the job, see `RingEngine::turn`.
    Reap(Arc<Endpoint>, u32),
    /// Whether that job is held up. `beat` as it was when the last look was taken. EVENTFD: whether
    /// the thread that polls is.
    Look { endpoint: Weak<Endpoint>, beat: Beat },
    /// Whether requests of a handle are late.
    Watch(Weak<Endpoint>),
    /// Whether requests of a handle are at the storage for too long; and telling the program.
    Timeout(Weak<Endpoint>),
    /// Something short that a thread of the program must not do, such as to start a thread.
    Call(Box<dyn FnOnce() + Send>),
    /// EVENTFD: taking a ring's results in while synchronous calls or requests of other handles
    /// wait.
    ReapUnpolled(Arc<Endpoint>),
}

/// See `Endpoint::attend`.
pub struct Attendance<'a>(&'a Arc<Endpoint>);

impl Drop for Attendance<'_> {
    fn drop(&mut self) {
        self.0.ring.iter().for_each(|engine| engine.ring.retire());
        self.0.hand_on_refused();
    }
}

/// See `Endpoint::begin_callbacks`.
pub struct InCallbacks<'a>(&'a Endpoint);

impl Drop for InCallbacks<'_> {
    fn drop(&mut self) {
        self.0.ring.iter().for_each(RingEngine::end_callbacks);
    }
}

/// Tells a waiter when the last reference to an endpoint is gone.
#[derive(Default)]
struct TellsGone(Arc<Waiter>);

impl Drop for TellsGone {
    fn drop(&mut self) {
        self.0.set(Ok(()));
    }
}

impl Endpoint {
    pub fn new(
        node: Arc<Node>,
        driver: Arc<dyn Driver>,
        pool: Pool<Work>,
        ring: Option<RingEngine>,
        mode: CompletionMode,
        name: String,
        window_offset: u64,
    ) -> Endpoint {
        let completions = Completions::default();
        Endpoint {
            node,
            driver,
            pool,
            ring,
            completions,
            favours: Mutex::default(),
            mode,
            name,
            window_offset,
            id: AtomicU32::new(0),
            alignments: CurrentAlignments::default(),
            failures: RateLimit::default(),
            late: LateWatch::default(),
            timeout: Timeout::default(),
            latency: Latency::default(),
            why_threads: OnceCell::new(),
            gone: TellsGone::default(),
        }
    }

    /// Gives up this reference, and returns when all other references are gone, too.
    pub fn release_and_wait(self: Arc<Self>) {
        let gone = self.gone.0.clone();
        drop(self);
        let _ = gone.wait();
    }

    /// The machine's name for this endpoint; set once, before the first request.
    pub fn id(&self) -> u32 {
        self.id.load(Ordering::Relaxed)
    }

    pub fn set_id(&self, id: u32) {
        self.id.store(id, Ordering::Relaxed);
    }

    /// Remembers, and tells the log, once, why threads do the I/O from now on.
    pub fn say_threads_from_now_on(&self, why: &Error) {
        let words = || format!("{}: threads instead of io_uring: {why}", self.name);
        let mut first = false;
        let words = self.why_threads.get_or_init(|| {
            first = true;
            CString::new(words().replace('\0', "?")).unwrap_or_default()
        });
        if first {
            log::warning!("{}", words.to_string_lossy());
        }
    }

    /// The system gives the handle no thread: what takes one is done by the threads of the program
    /// that poll, drain, or wait for a synchronous call. To be called before the first request.
    pub fn do_without_threads(self: &Arc<Self>, why: &Error) {
        log::warning!("{}: {why}; calls of the program do what takes one", self.name);
        let its = Arc::downgrade(self);
        self.pool.leave_unmanned(move || {
            its.upgrade().iter().for_each(|endpoint| endpoint.call_for_help());
        });
    }

    /// Threads of the program that poll, or are about to, look what there is to do.
    pub fn call_for_help(&self) {
        self.wake_sleeper();
        self.completions.events.notify();
        self.completions.events.end_look(Left::Something);
    }

    /// Why threads do the I/O, in words that stay as long as the endpoint; "" if io_uring does it,
    /// or was not wanted.
    pub fn why_threads(&self) -> &CStr {
        self.why_threads.get().map_or(c"", |words| words)
    }
}

/// The endpoint and its ring.
impl Endpoint {
    /// None: threads do all I/O.
    pub fn ring_in_use(&self) -> Option<&RingEngine> {
        self.ring.as_ref().filter(|engine| !engine.ring.is_broken())
    }

    /// Whether `io` is carried out by the ring.
    pub fn is_for_ring(&self, io: &Io) -> bool {
        let ring_does = matches!(io.op, Op::Read | Op::Write | Op::Flush);
        io.lane == Lane::Main && ring_does && self.ring_in_use().is_some()
    }

    /// Whether only a thread of its caller takes the ring's results in, as a rule.
    pub fn is_polled(&self) -> bool {
        self.mode == CompletionMode::Eventfd && self.ring.is_some()
    }

    /// `patient`: this thread polls, and will wait without a time limit.
    pub fn set_patient(&self, patient: bool) {
        if let Some(engine) = &self.ring {
            engine.deferred.set_patient(patient);
        }
    }

    pub fn wake_sleeper(&self) {
        self.ring.as_ref().inspect(|engine| engine.wake_sleeper());
    }

    /// Gives the pool what the kernel does not take from a ring any more. To be called by each
    /// thread that has put I/O into the ring or comes to take results in: `Ring::take_back` says
    /// why that is enough.
    pub fn hand_on_refused(self: &Arc<Self>) {
        let Some(engine) = &self.ring else { return };
        let Some(why) = engine.ring.why_broken() else { return };
        self.say_threads_from_now_on(&why);
        engine.submit_deferred();
        let refused = engine.ring.take_back();
        let count = refused.len();
        for io in refused {
            self.pool.push(Work::Io(self.clone(), io));
        }
        engine.note_out(count);
    }

    /// Puts I/O into the ring by `submit`, and sees to it that a thread takes the result in.
    pub fn submit_to_ring(self: &Arc<Self>, submit: impl FnOnce(&RingEngine)) {
        let Some(engine) = &self.ring else { return };
        if self.mode != CompletionMode::Eventfd {
            self.ensure_reaper();
        }
        submit(engine);
        self.hand_on_refused();
        self.ensure_handed_over_goes_on();
        if self.is_polled() && self.node.is_waited_for() {
            self.ensure_unpolled_progress();
        }
    }

    /// While this thread takes results in it submits for others, too.
    pub fn attend(self: &Arc<Self>) -> Attendance<'_> {
        self.ring.iter().for_each(|engine| engine.ring.attend());
        Attendance(self)
    }

    /// SERIAL and CONCURRENT: sees to it that a job takes the ring's results in.
    pub fn ensure_reaper(self: &Arc<Self>) {
        let Some(engine) = &self.ring else { return };
        // `reap_until_idle` says how this and the end of that job see each other.
        if engine.take_on_reaping() {
            self.pool.push(Work::Reap(self.clone(), engine.turn()));
        }
    }

    /// EVENTFD: the thread that polls submits what others hand over to it, and may be in a callback
    /// that takes long, or waits for just that I/O. So a job looks after a while. A thread that
    /// hands over says so, and then looks whether callbacks run; a thread that begins with them
    /// says so, and then looks what is handed over. A thread then looks whether a look is due; a
    /// look says that it is over, and then looks what is handed over. All of that is SeqCst, so
    /// each time one of the two sees the other.
    pub fn ensure_handed_over_goes_on(self: &Arc<Self>) {
        let Some(engine) = self.ring.as_ref().filter(|engine| engine.leaves_handed_over()) else {
            return;
        };
        self.ensure_look(engine);
    }

    /// EVENTFD: a job looks at the handle after a while (`unpolled.rs`).
    pub fn ensure_look(self: &Arc<Self>, engine: &RingEngine) {
        if !engine.look_is_due.swap(true, Ordering::SeqCst) {
            let look = Work::Look { endpoint: Arc::downgrade(self), beat: engine.polls() };
            self.pool.push_later(LOOK_AFTER, look);
        }
    }

    /// EVENTFD: this thread polls, and runs callbacks until what this gives is dropped.
    pub fn begin_callbacks(self: &Arc<Self>) -> InCallbacks<'_> {
        self.ring.iter().for_each(RingEngine::begin_callbacks);
        self.ensure_handed_over_goes_on();
        InCallbacks(self)
    }
}
