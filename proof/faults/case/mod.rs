//! One run of a scenario with one fault: opens, submits, compares with the model, and takes down
//! what is wrong. The scenarios use nothing else.

mod batch;

use std::ffi::CString;
use std::os::fd::RawFd;
use std::sync::atomic::Ordering;

use self::batch::{forget_results, Pending};
use super::errnos::may_fail_with;
use super::memory::{Lie, Memory};
use crate::driver::Op;
use crate::handle::{Handle, Options, RequestFlags, Submission};
use crate::proof::disk::hooked::Hooked;
use crate::proof::disk::injector::{Answer, Call, Injector, Plan};
use crate::proof::disk::{short_memory, Disk};
use crate::proof::model::Model;
use crate::proof::table::{with_calls, with_ring_faults, Answered};
use crate::sys::Error;

/// Where the object is.
#[derive(Clone)]
pub enum Place {
    Memory(&'static Disk),
    File(std::path::PathBuf),
}

pub struct Case {
    pub injector: &'static Hooked<Injector>,
    pub place: Place,
    pub plan: Option<Plan>,
    pub model: Model,
    pub wrongs: Vec<String>,
    /// Changes the data of each write.
    writes: u8,
    /// The result of the first flush that failed.
    flush_failed: Option<i32>,
    pending: Vec<Pending>,
    /// Pieces of memory that were not given.
    refused: u32,
    /// The most pieces of memory that were asked for between `arm` and `disarm`.
    pub memory_asked: u32,
}

pub type Open = Box<Handle>;

/// A request: what, where, and how its memory lies.
#[derive(Debug, Clone, Copy)]
pub struct Ask {
    pub op: Op,
    pub offset: usize,
    pub bytes: usize,
    pub lie: Lie,
    pub flags: RequestFlags,
    pub guest_block: u32,
}

impl Ask {
    pub fn new(op: Op, offset: usize, bytes: usize) -> Ask {
        let (lie, flags) = (Lie::Aligned, RequestFlags::default());
        Ask { op, offset, bytes, lie, flags, guest_block: 0 }
    }

    pub fn lying(self, lie: Lie) -> Ask {
        Ask { lie, ..self }
    }

    pub fn fua(mut self) -> Ask {
        self.flags.fua = true;
        self
    }
}

/// Whether a fault may show later than it happened.
fn is_told_late(plan: Plan, errno: i32) -> bool {
    match plan.call {
        // Linux tells each open file once that a flush has lost data.
        Call::Fdatasync => errno == libc::EIO,
        _ => false,
    }
}

impl Case {
    pub fn new(injector: &'static Hooked<Injector>, place: Place, plan: Option<Plan>) -> Case {
        let mut case = Case {
            injector,
            place,
            plan,
            model: Model::new(Vec::new()),
            wrongs: Vec::new(),
            writes: 0,
            flush_failed: None,
            pending: Vec::new(),
            refused: 0,
            memory_asked: 0,
        };
        forget_results();
        case.model = Model::new(case.raw());
        case
    }

    pub fn say(&mut self, wrong: impl Into<String>) {
        self.wrongs.push(wrong.into());
    }

    /// What the object really holds.
    pub fn raw(&self) -> Vec<u8> {
        match &self.place {
            Place::Memory(disk) => disk.state().data.clone(),
            Place::File(path) => std::fs::read(path).unwrap_or_default(),
        }
    }

    pub fn path(&self) -> CString {
        match &self.place {
            Place::Memory(_) => c"/ram/object".to_owned(),
            Place::File(path) => {
                CString::new(path.to_str().expect("a plain path")).expect("no NUL")
            }
        }
    }

    /// From here on faults happen.
    pub fn arm(&self) {
        if let Some(Plan { call: Call::Memory, nth, times, .. }) = self.plan {
            short_memory::refuse(nth, times);
        } else {
            short_memory::refuse(0, 0);
        }
        self.injector.armed.store(true, Ordering::SeqCst);
    }

    pub fn disarm(&mut self) {
        self.refused += short_memory::refused();
        self.memory_asked = self.memory_asked.max(short_memory::asked());
        self.injector.armed.store(false, Ordering::SeqCst);
        short_memory::refuse(0, 0);
    }

    pub fn delivered(&self) -> u32 {
        self.injector.delivered() + self.refused + short_memory::refused()
    }

    pub fn memory_refused(&self) -> bool {
        self.refused > 0
    }

    /// The object was never there, or is no more.
    pub fn check_gone(&mut self) {
        let Place::Memory(disk) = &self.place else { return };
        // What cannot be looked at or removed stays.
        if disk.state().exists && self.delivered() == 0 {
            self.say("an empty file was left behind");
        }
    }

    /// Whether a failure may be the injected fault's: since there were `before` of them one came.
    pub fn check_error(&mut self, what: &str, error: &Error, before: u32) {
        self.check_errno(what, error.errno, before);
        self.check_words(what, error);
    }

    fn check_words(&mut self, what: &str, error: &Error) {
        if error.words.is_empty() {
            return self.say(format!("{what}: no words"));
        }
        let named = ["object", "fd "].iter().any(|name| error.words.contains(name));
        if !named && !error.words.contains("pool") && !error.words.contains("eventfd") {
            self.say(format!("{what}: the words \"{}\" do not name the object", error.words));
        }
    }

    /// Of a request: as above. That zeros cannot be had without writing them is remembered.
    fn check_errno_of(&mut self, ask: Ask, what: &str, errno: i32, before: u32) {
        let unknown = self.delivered() > 0 || matches!(self.place, Place::File(_));
        let refused = ask.flags.no_fallback && errno == libc::ENOTSUP && unknown;
        if refused {
            return;
        }
        if self.plan.is_some_and(|plan| matches!(plan.call, Call::Entering(_))) {
            return self.say(format!("{what}: errno {errno}, and threads stand in for a ring"));
        }
        self.check_errno(what, errno, before);
    }

    fn check_errno(&mut self, what: &str, errno: i32, before: u32) {
        let Some(plan) = self.plan else {
            return self.say(format!("{what}: errno {errno} without any fault"));
        };
        let told_late = self.delivered() > 0 && is_told_late(plan, errno);
        if self.delivered() == before && !told_late {
            self.say(format!("{what}: errno {errno} without a fault during it"));
        } else if !told_late && !may_fail_with(plan, errno) {
            self.say(format!("{what}: errno {errno} is not what the fault was"));
        }
    }

    /// What `body` opens has the faults of the case.
    pub fn injected<R>(&self, body: impl FnOnce() -> R) -> R {
        with_ring_faults(&**self.injector, || with_calls(self.injector, body))
    }

    pub fn open(&mut self, options: &Options) -> Option<Open> {
        let (path, before) = (self.path(), self.delivered());
        let options = Options { workers: 2, ..options.clone() };
        let result = self.injected(|| Handle::open(&path, &options));
        let denied = self.plan.is_some_and(|plan| {
            let interrupted = plan.answer == Answer::Fails(libc::EINTR);
            plan.call == Call::FcntlLock && !interrupted && self.delivered() > before
        });
        if denied && result.is_ok() {
            self.say("it opened without its locks");
        }
        self.opened(result, before)
    }

    pub fn open_fd(&mut self, fd: RawFd, options: &Options) -> Option<Open> {
        let before = self.delivered();
        let options = Options { workers: 2, ..options.clone() };
        let result = self.injected(|| Handle::open_fd(fd, &options));
        self.opened(result, before)
    }

    fn opened(&mut self, result: Result<Handle, Error>, before: u32) -> Option<Open> {
        match result {
            Ok(handle) => Some(Box::new(handle)),
            Err(error) => {
                self.check_error("open", &error, before);
                None
            }
        }
    }

    pub fn dup(&mut self, handle: &Open, options: &Options) -> Option<Open> {
        let before = self.delivered();
        let options = Options { workers: 2, ..options.clone() };
        let result = self.injected(|| handle.dup(&options));
        self.opened(result, before)
    }

    fn data(&mut self, bytes: usize) -> Vec<u8> {
        self.writes = self.writes.wrapping_add(1);
        let first = 128 + self.writes % 100;
        (0..bytes).map(|at| first ^ (at % 61) as u8).collect()
    }

    fn submission(&mut self, ask: Ask) -> (Submission, Memory, Vec<u8>) {
        let Ask { op, offset, bytes, lie, flags, guest_block } = ask;
        let data = match op {
            Op::Write => self.data(bytes),
            Op::Read => vec![0x55; bytes],
            _ => Vec::new(),
        };
        let memory = Memory::new(&data, lie);
        let (segments, offset) = (memory.segments(), offset as u64);
        let bytes = if op == Op::Truncate { 0 } else { bytes as u64 };
        (Submission { op, flags, guest_block, offset, bytes, segments }, memory, data)
    }

    /// Runs a request to its end. Whether it succeeded.
    pub fn run(&mut self, handle: &Open, ask: Ask) -> bool {
        let before = self.delivered();
        let (submission, memory, data) = self.submission(ask);
        let result = handle.run(submission);
        let what = format!("{:?} of {} at {}", ask.op, ask.bytes, ask.offset);
        let sticky = ask.op == Op::Flush && self.flush_failed.is_some();
        if let Err(error) = &result {
            self.check_words(&what, error);
            if !sticky {
                self.check_errno_of(ask, &what, error.errno, before);
            }
        }
        let result = result.map_err(|error| error.errno);
        self.over(ask, &memory, &data, result, &what);
        result.is_ok()
    }

    /// Takes the result of a request in.
    fn over(
        &mut self,
        ask: Ask,
        memory: &Memory,
        data: &[u8],
        result: Result<(), i32>,
        what: &str,
    ) {
        let Ask { op, offset, bytes, .. } = ask;
        if !memory.is_unharmed() {
            self.say(format!("{what}: bytes beside its memory have changed"));
        }
        match op {
            Op::Read if result.is_ok() => self.check_read(offset, memory.content(), what),
            Op::Write => self.model.write(offset, data, result.is_ok()),
            Op::WriteZeroes => self.model.write(offset, &vec![0; bytes], result.is_ok()),
            Op::Discard => self.model.discard(offset, bytes),
            Op::Truncate if result.is_ok() => self.model.resize(offset),
            // What was cut off cannot be brought back.
            Op::Truncate => {
                let lost = self.model.length().saturating_sub(offset);
                self.model.write(offset, &vec![0; lost], false);
            }
            Op::Flush => self.flushed(result, what),
            _ => {}
        }
        if result.is_ok() && ask.flags.fua && matches!(op, Op::Write | Op::WriteZeroes) {
            self.check_durable(offset, bytes, what);
        }
    }

    /// Beyond the end there are zeros.
    fn check_read(&mut self, offset: usize, found: &[u8], what: &str) {
        let inside = self.model.length().saturating_sub(offset).min(found.len());
        let objection = self.model.objection(offset.min(self.model.length()), &found[..inside]);
        if let Some(objection) = objection {
            self.say(format!("{what}: {objection}"));
        }
        if found[inside..].iter().any(|byte| *byte != 0) {
            self.say(format!("{what}: no zeros beyond the end"));
        }
    }

    fn flushed(&mut self, result: Result<(), i32>, what: &str) {
        match (self.flush_failed, result) {
            (Some(errno), result) if result != Err(errno) => {
                self.say(format!("{what}: {result:?} after one that failed with {errno}"));
            }
            (None, Err(errno)) => self.flush_failed = Some(errno),
            (None, Ok(())) => self.check_durable(0, usize::MAX, what),
            _ => {}
        }
    }

    /// A flush that succeeded: no ring has answered meanwhile that it failed.
    fn check_flush_was_done(&mut self, what: &str, before: u32) {
        let Some(Plan { call: Call::Ring(Answered::Flush), answer, .. }) = self.plan else {
            return;
        };
        let again = [libc::EINTR, libc::EAGAIN, libc::ECANCELED].map(Answer::Fails);
        if self.delivered() > before && !again.contains(&answer) {
            self.say(format!("{what}: it succeeded, and the ring has answered {answer:?}"));
        }
    }

    /// What is certain to be there would be there after a loss of power.
    fn check_durable(&mut self, offset: usize, bytes: usize, what: &str) {
        let Place::Memory(disk) = &self.place else { return };
        let state = disk.state();
        let end = offset.saturating_add(bytes).min(self.model.length());
        let there = state.durable.len() >= end;
        let objection = if there {
            self.model.objection(offset, &state.durable[offset..end])
        } else {
            Some(format!("it is {} bytes long", state.durable.len()))
        };
        drop(state);
        if let Some(objection) = objection {
            self.say(format!("{what}: not durable: {objection}"));
        }
    }

    /// After the faults: the handle does what it did before, but for flushes that failed.
    pub fn check_usable(&mut self, handle: &Open, writable: bool) {
        self.disarm();
        let length = self.model.length();
        if handle.length() != length as u64 {
            self.say(format!("the length is {}, not {length}", handle.length()));
        }
        if writable && length >= 9000 {
            self.run(handle, Ask::new(Op::Write, 5000, 700));
            self.run(handle, Ask::new(Op::Write, 8192, 512).lying(Lie::Odd));
        }
        self.run(handle, Ask::new(Op::Read, 0, length));
        if writable {
            self.run(handle, Ask::new(Op::Flush, 0, 0));
        }
        let in_flight = handle.stats().in_flight;
        if in_flight != 0 {
            self.say(format!("{in_flight} requests are still in flight"));
        }
    }

    pub fn close(&mut self, handle: Open) {
        if let Err((_, error)) = handle.close() {
            self.say(format!("close: {error}"));
        }
    }

    /// After the last close: the object's bytes and length are those of the model.
    pub fn check_object(&mut self) {
        let raw = self.raw();
        let length = self.model.length();
        if raw.len() != length {
            return self.say(format!("the object has {} bytes, not {length}", raw.len()));
        }
        if let Some(objection) = self.model.objection(0, &raw) {
            self.say(format!("after the close: {objection}"));
        }
    }
}
