//! The thread of one queue: takes chains from the ring, hands them to the library, gives them
//! back. It runs from the start of the ring to its stop, and has all that it uses to itself.

use std::cell::UnsafeCell;
use std::ffi::{c_int, c_void};
use std::fs::File;
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::time::{Duration, Instant};

use blkalign::capi::{BLKALIGN_REQ_NO_WAIT, BLKALIGN_REQ_REGISTERED_BUF};

use crate::alone::Alone;
use crate::chain::Chain;
use crate::disk::Disk;
use crate::events::{Call, Epoll, Event};
use crate::inflight::InflightQueue;
use crate::request::{parse, Operation, Range, Status};
use crate::ring::{Broken, Ring};
use crate::spin::Spin;
use crate::storage::{Handle, Target};

/// Most callbacks between two looks at the ring.
const POLL_MAX: i32 = 256;

/// Asks a worker to stop.
pub struct Stop {
    wanted: AtomicBool,
    event: Event,
}

impl Stop {
    pub fn new() -> std::io::Result<Stop> {
        Ok(Stop { wanted: AtomicBool::new(false), event: Event::new()? })
    }

    pub fn request(&self) {
        self.wanted.store(true, Ordering::Release);
        self.event.signal();
    }
}

/// What a worker needs. The ring is where it shall go on.
pub struct Setup {
    pub handle: Arc<Handle>,
    pub disk: Arc<Disk>,
    pub ring: Ring,
    pub inflight: Option<InflightQueue>,
    pub kick: File,
    pub call: Arc<Call>,
    pub err: Arc<Call>,
    pub stop: Arc<Stop>,
    /// Guest memory is registered with the handle.
    pub registered: bool,
    /// Most time to look for work before a sleep.
    pub spin_max: Duration,
}

/// A chain in the hands of the library.
#[derive(Clone, Copy)]
struct Slot {
    /// Library requests that are not over; 0: the chain is not in flight.
    left: u32,
    status_at: Option<*mut u8>,
    status: Status,
    /// What the guest is told was written.
    written: u32,
}

/// Results that callbacks leave; the callbacks run on the worker's thread.
type Results = UnsafeCell<Vec<(u16, c_int)>>;

/// Tells a callback whose it is: one for each descriptor, as long as the worker.
struct Token {
    results: *const Results,
    head: u16,
}

pub struct Worker {
    setup: Setup,
    epoll: Epoll,
    slots: Vec<Slot>,
    tokens: Vec<Token>,
    results: Box<Results>,
    chain: Chain,
    ranges: Vec<Range>,
    /// Chains that were put back and that the guest does not see yet.
    unpublished: Vec<u16>,
    in_flight: u32,
    alone: Alone,
}

// SAFETY: its pointers lead to what it has itself, or into the memory that the ring keeps.
unsafe impl Send for Worker {}

impl Worker {
    pub fn new(setup: Setup) -> std::io::Result<Worker> {
        let epoll = Epoll::new()?;
        epoll.add(setup.kick.as_raw_fd(), true)?;
        epoll.add(setup.stop.event.as_raw_fd(), false)?;
        let event_fd = setup.handle.event_fd().map_err(|error| {
            std::io::Error::other(format!("no event descriptor of the storage: {error}"))
        })?;
        epoll.add(event_fd, false)?;
        let results = Box::<Results>::default();
        let size = setup.ring.size();
        let idle = Slot { left: 0, status_at: None, status: Status::Ok, written: 0 };
        Ok(Worker {
            epoll,
            slots: vec![idle; size.into()],
            tokens: (0..size).map(|head| Token { results: &*results, head }).collect(),
            results,
            chain: Chain::default(),
            ranges: Vec::new(),
            unpublished: Vec::with_capacity(size.into()),
            in_flight: 0,
            alone: Alone::new(),
            setup,
        })
    }

    /// Serves the ring until it is asked to stop and nothing is in flight. Gives the index of the
    /// next chain to take. `again`: chains to begin with, that were taken before.
    pub fn run(mut self, again: &[u16]) -> u16 {
        // Makes this thread the one whose submissions need no wake-up.
        self.setup.handle.poll(1);
        self.setup.ring.refuse_kicks();
        self.setup.handle.plug();
        again.iter().for_each(|&head| self.begin(head, false));
        self.setup.handle.unplug();
        // A daemon before us may have given chains back and not said so.
        self.setup.call.signal();
        let mut broken = false;
        let mut spin = Spin::new(self.setup.spin_max);
        // Only `poll` makes the library's descriptor unreadable, which may be readable without a
        // result: we would not sleep again.
        let mut look = false;
        while !self.setup.stop.wanted.load(Ordering::Acquire) {
            let taken = if broken { Ok(0) } else { self.take_available() };
            let taken = taken.unwrap_or_else(|Broken(words)| {
                crate::report::say(&format!("a queue is given up: {words}"));
                self.setup.err.signal();
                broken = true;
                1
            });
            let looks = std::mem::take(&mut look) || self.in_flight > 0;
            let done = if looks { self.setup.handle.poll(POLL_MAX) } else { 0 };
            self.take_results();
            self.publish();
            if taken > 0 || done > 0 {
                spin.worked();
            } else if self.in_flight == 0 && spin.looks_again(Instant::now()) {
                // Of the guest's memory this costs no system call; results are slept for, which
                // brings several at a time.
                std::hint::spin_loop();
            } else {
                self.sleep(broken);
                look = true;
                spin.slept(Instant::now());
            }
        }
        self.setup.handle.drain();
        self.take_results();
        self.publish();
        self.setup.ring.next_available()
    }

    /// Waits for a kick, a result, or the wish to stop.
    fn sleep(&mut self, broken: bool) {
        if !broken {
            self.setup.ring.ask_for_kick();
            if self.setup.ring.available() != Ok(0) {
                return self.setup.ring.refuse_kicks();
            }
        }
        self.epoll.wait();
        if !broken {
            self.setup.ring.refuse_kicks();
        }
    }

    /// Begins all that the guest has made available, as one batch. Gives how many.
    fn take_available(&mut self) -> Result<u16, Broken> {
        let count = self.setup.ring.available()?;
        if count == 0 {
            return Ok(0);
        }
        if count == 1 && self.in_flight == 0 {
            return self.take(true).map(|()| 1);
        }
        self.setup.handle.plug();
        let result = (0..count).try_for_each(|_| self.take(false));
        self.setup.handle.unplug();
        result.map(|()| count)
    }

    /// `alone`: nothing else is in flight, nor available.
    fn take(&mut self, alone: bool) -> Result<(), Broken> {
        let head = self.setup.ring.take()?;
        if self.slots[usize::from(head)].left > 0 {
            return Err(Broken("a chain was made available that is in flight"));
        }
        if let Some(inflight) = &mut self.setup.inflight {
            inflight.taken(head);
        }
        self.begin(head, alone);
        Ok(())
    }

    fn begin(&mut self, head: u16, alone: bool) {
        self.chain.follow(&self.setup.ring, head);
        let written = self.chain.writable_bytes();
        let slot = Slot { left: 1, status_at: self.chain.status, status: Status::Ok, written };
        self.slots[usize::from(head)] = slot;
        self.in_flight += 1;
        match parse(&self.setup.disk, &mut self.chain, &mut self.ranges) {
            Ok(operation) => match alone.then(|| self.perform(operation)).flatten() {
                Some(result) => self.end(head, status_of(result)),
                None => self.submit(head, operation),
            },
            Err(status) => self.end(head, status),
        }
    }

    /// Carries out a request that is alone, if that suits it. 0 or -errno. What would wait for a
    /// request of another queue is begun as always.
    fn perform(&mut self, operation: Operation) -> Option<c_int> {
        let (offset, iov, reads) = match operation {
            Operation::Read(offset) => (offset, self.chain.writable.as_slice(), true),
            Operation::Write(offset) => (offset, self.chain.readable.as_slice(), false),
            _ => return None,
        };
        if !self.alone.suits(iov.iter().map(|part| part.iov_len).sum()) {
            return None;
        }
        let handle = &self.setup.handle;
        let flags = self.flags() | BLKALIGN_REQ_NO_WAIT;
        let begin = Instant::now();
        // SAFETY: guest memory stays mapped while the ring has it; what a read gets, the chain
        // says may be written.
        let result = unsafe {
            match reads {
                true => handle.read_now(offset, iov, flags),
                false => handle.write_now(offset, iov, flags),
            }
        };
        if result == -libc::EBUSY {
            return None;
        }
        self.alone.took(begin.elapsed());
        Some(result)
    }

    fn flags(&self) -> u32 {
        if self.setup.registered {
            BLKALIGN_REQ_REGISTERED_BUF
        } else {
            0
        }
    }

    /// The slot counts one request; each of several ranges is one.
    fn submit(&mut self, head: u16, operation: Operation) {
        let opaque = (&raw const self.tokens[usize::from(head)]).cast_mut().cast::<c_void>();
        let handle = &self.setup.handle;
        let flags = self.flags();
        let at = |offset| Target { offset, bytes: 0, opaque };
        let result = match operation {
            // SAFETY: guest memory stays mapped while the ring has it, the tokens as long as
            // this worker; `run` ends after everything in flight has.
            Operation::Read(offset) => unsafe {
                handle.read(at(offset), self.chain.writable.as_slice(), flags, on_done)
            },
            // SAFETY: as above.
            Operation::Write(offset) => unsafe {
                handle.write(at(offset), self.chain.readable.as_slice(), flags, on_done)
            },
            // SAFETY: as above.
            Operation::Flush => unsafe { handle.flush(opaque, on_done) },
            Operation::Id => {
                self.chain.writable.put(&self.setup.disk.serial);
                return self.end(head, Status::Ok);
            }
            Operation::Zero | Operation::Discard => {
                return self.submit_ranges(head, opaque, operation == Operation::Zero);
            }
        };
        if let Err(errno) = result {
            self.end(head, status_of(-errno));
        }
    }

    fn submit_ranges(&mut self, head: u16, opaque: *mut c_void, zero: bool) {
        self.slots[usize::from(head)].left = self.ranges.len() as u32;
        for index in 0..self.ranges.len() {
            let Range { offset, bytes, may_unmap } = self.ranges[index];
            let target = Target { offset, bytes, opaque };
            let result = if zero {
                // SAFETY: as in `submit`.
                unsafe { self.setup.handle.write_zeroes(target, may_unmap, on_done) }
            } else {
                // SAFETY: as in `submit`.
                unsafe { self.setup.handle.discard(target, on_done) }
            };
            if let Err(errno) = result {
                self.end(head, status_of(-errno));
            }
        }
    }

    fn take_results(&mut self) {
        // SAFETY: callbacks run on this thread, in `poll` and `drain`, and none is running.
        let mut results = std::mem::take(unsafe { &mut *self.results.get() });
        for (head, result) in results.drain(..) {
            self.end(head, status_of(result));
        }
        // SAFETY: as above. It keeps its room.
        unsafe { *self.results.get() = results };
    }

    /// One request of a chain is over; with the last one the chain goes back.
    fn end(&mut self, head: u16, status: Status) {
        let slot = &mut self.slots[usize::from(head)];
        if status != Status::Ok && slot.status == Status::Ok {
            slot.status = status;
        }
        slot.left -= 1;
        if slot.left > 0 {
            return;
        }
        if let Some(at) = slot.status_at {
            // SAFETY: the chain's last byte that we may write, in mapped guest memory.
            unsafe { at.write_volatile(slot.status as u8) };
        }
        let written = if slot.status_at.is_some() { slot.written } else { 0 };
        self.setup.ring.put_used(head, written);
        self.unpublished.push(head);
        self.in_flight -= 1;
    }

    /// Shows the guest what was put back, and tells it if it wants to know.
    fn publish(&mut self) {
        if self.unpublished.is_empty() {
            return;
        }
        let ring = &mut self.setup.ring;
        if let Some(inflight) = &mut self.setup.inflight {
            inflight.will_publish(&self.unpublished);
            ring.publish();
            inflight.published(&self.unpublished, ring.used_index());
        } else {
            ring.publish();
        }
        self.unpublished.clear();
        if ring.wants_signal() {
            self.setup.call.signal();
        }
    }
}

extern "C" fn on_done(opaque: *mut c_void, result: c_int) {
    // SAFETY: a token of the worker, which is waiting for this call in `poll` or `drain`; it
    // looks at the results only when no callback runs.
    unsafe {
        let token = &*opaque.cast::<Token>();
        (*(*token.results).get()).push((token.head, result));
    }
}

fn status_of(result: c_int) -> Status {
    match -result {
        0 => Status::Ok,
        libc::ENOTSUP => Status::Unsupported,
        _ => Status::IoError,
    }
}
