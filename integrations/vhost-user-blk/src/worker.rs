//! The thread of one queue: takes chains from the ring, hands them to the library, gives them
//! back. It runs from the start of the ring to its stop, and has all that it uses to itself.

use std::collections::VecDeque;
use std::ffi::c_int;
use std::fs::File;
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::time::{Duration, Instant};

use blkalign::{Error, Flags, Queue};

use crate::alone::Alone;
use crate::chain::Chain;
use crate::disk::Disk;
use crate::events::{Call, Epoll, Event};
use crate::fault;
use crate::inflight::InflightQueue;
use crate::request::{parse, Operation, Range, Status};
use crate::ring::{Broken, Ring};
use crate::spin::Spin;
use crate::work::{Cost, Piece, Share, Work};

/// What the library says of a request that was cancelled.
const CANCELLED: c_int = libc::ECANCELED;

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
    pub storage: Arc<Queue>,
    pub disk: Arc<Disk>,
    pub ring: Ring,
    pub inflight: Option<InflightQueue>,
    pub kick: File,
    pub call: Arc<Call>,
    pub err: Arc<Call>,
    pub stop: Arc<Stop>,
    /// Guest memory is registered with the storage.
    pub registered: bool,
    /// Most time to look for work before a sleep.
    pub spin_max: Duration,
    /// A throttle may hold requests, so none is waited for on the queue's thread.
    pub throttled: bool,
}

/// A chain that was taken.
#[derive(Default)]
struct Slot {
    /// It was not given back yet.
    busy: bool,
    /// Of the library's request for it: there is one at a time. 0: there was none yet.
    request: u64,
    /// In the ring's order of all chains; None: another daemon took it.
    place: Option<u16>,
    /// What has not been begun.
    work: Work,
    cost: Cost,
    status_at: Option<*mut u8>,
    /// What the guest is told was written.
    written: u32,
    recall: Recall,
}

/// What becomes of a chain that is not done when the ring stops.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
enum Recall {
    /// It is waited for, as long as the ring runs, and after that where younger ones are done
    /// already: it cannot go back into the ring.
    #[default]
    Never,
    /// It goes back into the ring as if it had never been taken, if it is not done, or an older one
    /// is not; what is known of its end until then.
    ToRing(Option<Status>),
    /// It is not given back, and stays among those in flight, for whoever comes after us.
    Stays,
}

pub struct Worker {
    setup: Setup,
    epoll: Epoll,
    slots: Vec<Slot>,
    /// What the library has told and that was not dealt with yet: heads, and 0 or an errno.
    results: Vec<(u16, c_int)>,
    chain: Chain,
    ranges: Vec<Range>,
    /// Chains that were put back and that the guest does not see yet.
    unpublished: Vec<u16>,
    /// That a daemon before us has taken and that are not begun again yet.
    again: VecDeque<u16>,
    /// What is in flight.
    share: Share,
    /// The next chain has to wait until something in flight is done.
    full: bool,
    /// Of the chains that were given back the last in the ring's order.
    newest_done: Option<u16>,
    /// Nothing more is begun that need not be.
    stopping: bool,
    alone: Alone,
}

// SAFETY: its pointers lead to what it has itself, or into the memory that the ring keeps.
unsafe impl Send for Worker {}

impl Worker {
    pub fn new(setup: Setup) -> std::io::Result<Worker> {
        let epoll = Epoll::new()?;
        epoll.add(setup.kick.as_raw_fd(), true)?;
        epoll.add(setup.stop.event.as_raw_fd(), false)?;
        let event_fd = setup.storage.event_fd().map_err(|error| {
            std::io::Error::other(format!("no event descriptor of the storage: {error}"))
        })?;
        epoll.add(event_fd.as_raw_fd(), false)?;
        let size = setup.ring.size();
        Ok(Worker {
            epoll,
            slots: (0..size).map(|_| Slot::default()).collect(),
            results: Vec::with_capacity(size.into()),
            chain: Chain::default(),
            ranges: Vec::new(),
            unpublished: Vec::with_capacity(size.into()),
            again: VecDeque::new(),
            share: Share::default(),
            full: false,
            newest_done: None,
            stopping: false,
            alone: Alone::new(),
            setup,
        })
    }

    /// Serves the ring until it is asked to stop. Gives the index of the next chain to take; what
    /// was not begun until then, or can be taken back, is not taken. `again`: chains to begin with,
    /// that were taken before.
    pub fn run(mut self, again: &[u16]) -> u16 {
        // Makes this thread the one whose submissions need no wake-up.
        self.poll(Some(Duration::ZERO));
        self.setup.ring.refuse_kicks();
        again.iter().for_each(|&head| self.slots[usize::from(head)].busy = true);
        self.again.extend(again);
        // A daemon before us may have given chains back and not said so.
        self.setup.call.signal();
        let mut given_up = false;
        let mut spin = Spin::new(self.setup.spin_max);
        // Only `poll` makes the library's descriptor unreadable, which may be readable without a
        // result: we would not sleep again.
        let mut look = false;
        while !self.setup.stop.wanted.load(Ordering::Acquire) {
            let taken = if given_up { Ok(0) } else { self.take_available() };
            let taken = taken.unwrap_or_else(|Broken(words)| {
                crate::report::say(&format!("a queue is stopped: {words}"));
                self.setup.err.signal();
                given_up = true;
                1
            });
            let looks = std::mem::take(&mut look) || self.share.requests() > 0;
            let done = if looks { self.poll(Some(Duration::ZERO)) } else { 0 };
            self.publish();
            if fault::broken() && !given_up {
                // The frontend is about to be let go.
                given_up = true;
                self.recall();
            }
            if taken > 0 || done > 0 {
                spin.worked();
            } else if self.share.requests() == 0 && spin.looks_again(Instant::now()) {
                // Of the guest's memory this costs no system call; results are slept for, which
                // brings several at a time.
                std::hint::spin_loop();
            } else {
                self.sleep(given_up || self.full);
                look = true;
                spin.slept(Instant::now());
            }
        }
        self.stop()
    }

    /// Ends what is in flight, soon: what can be taken back is cancelled, what the guest can be
    /// told of is told.
    fn stop(mut self) -> u16 {
        self.recall();
        // What has to be waited for is not held up any longer: the frontend waits for us.
        if self.setup.throttled {
            let _ = self.setup.storage.set_throttle(None);
        }
        while self.share.requests() > 0 {
            self.poll(None);
        }
        self.settle();
        self.publish();
        self.setup.ring.next_available()
    }

    /// Decides what becomes of each chain in flight, and cancels what nobody waits for. The guest
    /// may make a chain's descriptors part of another as soon as it is told that it is done. So
    /// what goes back into the ring is younger than all that it was told of:
    ///
    ///     taken      10  11  12  13  14
    ///     told           x
    ///     may go             x   x   x        10 is waited for; if 12 is done in time and 13 is
    ///                                         not, the ring goes on with 13
    fn recall(&mut self) {
        self.stopping = true;
        let broken = fault::broken();
        for head in 0..self.setup.ring.size() {
            let age = |place: u16| self.setup.ring.next_available().wrapping_sub(place);
            let newest_done = self.newest_done.map_or(u16::MAX, age);
            let slot = &mut self.slots[usize::from(head)];
            if !slot.busy || slot.request == 0 {
                continue;
            }
            slot.recall = match slot.place {
                _ if broken => Recall::Stays,
                None => Recall::Stays,
                Some(place) if age(place) < newest_done => Recall::ToRing(None),
                Some(_) => Recall::Never,
            };
        }
        // The youngest first: what it waits for cannot begin it meanwhile.
        for head in self.by_age() {
            let slot = &self.slots[usize::from(head)];
            if slot.recall != Recall::Never || slot.work.is_a_hint() {
                // It may be over, or at the storage: then it is waited for.
                let _ = self.setup.storage.cancel(slot.request);
            }
        }
    }

    /// Those in flight, the youngest first, and last those that another daemon took.
    fn by_age(&self) -> Vec<u16> {
        let next = self.setup.ring.next_available();
        let mut heads: Vec<u16> = (0..self.setup.ring.size())
            .filter(|&head| self.slots[usize::from(head)].busy)
            .filter(|&head| self.slots[usize::from(head)].request != 0)
            .collect();
        let age = |place: u16| u32::from(next.wrapping_sub(place));
        heads.sort_by_key(|&head| self.slots[usize::from(head)].place.map_or(u32::MAX, age));
        heads
    }

    /// Nothing is at the storage any more: tells of what is done, as far as nothing older is not,
    /// and puts the rest back into the ring.
    fn settle(&mut self) {
        let mut lost = false;
        for head in self.by_age().into_iter().rev() {
            let slot = &self.slots[usize::from(head)];
            let (Recall::ToRing(end), Some(place)) = (slot.recall, slot.place) else { continue };
            match end.filter(|_| !lost) {
                Some(status) => self.give_back(head, status),
                None => {
                    if !std::mem::replace(&mut lost, true) {
                        self.setup.ring.set_next_available(place);
                    }
                    if let Some(inflight) = &mut self.setup.inflight {
                        inflight.untaken(head);
                    }
                }
            }
        }
    }

    /// Waits for a kick, a result, or the wish to stop. `deaf`: a kick would be in vain.
    fn sleep(&mut self, deaf: bool) {
        if !deaf {
            self.setup.ring.ask_for_kick();
            if self.setup.ring.available() != Ok(0) {
                return self.setup.ring.refuse_kicks();
            }
        }
        self.epoll.wait();
        if !deaf {
            self.setup.ring.refuse_kicks();
        }
    }

    /// Begins all that the guest has made available and that there is room for, as one batch. Gives
    /// how many.
    fn take_available(&mut self) -> Result<u16, Broken> {
        if self.full {
            return Ok(0);
        }
        if !self.again.is_empty() {
            return Ok(self.begin_again());
        }
        let count = self.setup.ring.available()?;
        if count == 0 {
            return Ok(0);
        }
        if count == 1 && self.share.requests() == 0 {
            let result = self.take(true).map(u16::from);
            self.setup.storage.submit();
            return result;
        }
        let mut taken = 0;
        let mut result = Ok(true);
        while taken < count && result == Ok(true) {
            result = self.take(false);
            taken += u16::from(result == Ok(true));
        }
        self.setup.storage.submit();
        result.map(|_| taken)
    }

    /// Of the chains that another daemon has taken those that there is room for.
    fn begin_again(&mut self) -> u16 {
        let mut begun = 0;
        while let Some(&head) = self.again.front() {
            if !self.begin(head, None, false) {
                break;
            }
            self.again.pop_front();
            begun += 1;
        }
        self.setup.storage.submit();
        begun
    }

    /// Takes the next chain. False: it has to wait. `alone`: nothing else is in flight, nor
    /// available.
    fn take(&mut self, alone: bool) -> Result<bool, Broken> {
        let head = self.setup.ring.next_head()?;
        if self.slots[usize::from(head)].busy {
            return Err(Broken("the guest made a chain available that is in flight"));
        }
        let place = self.setup.ring.next_available();
        Ok(self.begin(head, Some(place), alone))
    }

    /// False: there is no room for it, and nothing has happened. Whatever is read of the chain's
    /// memory is read here, once; if it has to wait it is read anew.
    fn begin(&mut self, head: u16, place: Option<u16>, alone: bool) -> bool {
        self.chain.follow(&self.setup.ring, head);
        let written = self.chain.writable_bytes();
        let request = parse(&self.setup.disk, &mut self.chain, &mut self.ranges);
        let cost = request.map_or(Cost::default(), |it| Cost::of(it, &self.chain, &self.ranges));
        if !self.share.has_room(cost) {
            self.full = true;
            return false;
        }
        if place.is_some() {
            self.setup.ring.take();
            if let Some(inflight) = &mut self.setup.inflight {
                inflight.taken(head);
            }
        }
        self.share.take(cost);
        let status_at = self.chain.status;
        let slot = Slot { busy: true, place, cost, status_at, written, ..Slot::default() };
        self.slots[usize::from(head)] = slot;
        match request {
            Ok(operation) => match alone.then(|| self.perform(operation)).flatten() {
                Some(result) => self.end(head, status_of(result)),
                None => self.submit(head, operation),
            },
            Err(status) => self.end(head, status),
        }
        true
    }

    /// Carries out a request that is alone, if that suits it. 0 or an errno. What would wait for a
    /// request of another queue is begun as always.
    fn perform(&mut self, operation: Operation) -> Option<c_int> {
        let (offset, iov, reads) = match operation {
            Operation::Read(offset) => (offset, self.chain.writable.as_slice(), true),
            Operation::Write(offset) => (offset, self.chain.readable.as_slice(), false),
            _ => return None,
        };
        if self.setup.throttled || !self.alone.suits(iov.iter().map(|part| part.iov_len).sum()) {
            return None;
        }
        let storage = &self.setup.storage;
        let flags = self.flags() | Flags::NO_WAIT;
        let begin = Instant::now();
        // SAFETY: guest memory stays mapped while the ring has it; what a read gets, the chain
        // says may be written.
        let result = errno_of(unsafe {
            match reads {
                true => storage.read_vectored_now(offset, iov, flags),
                false => storage.write_vectored_now(offset, iov, flags),
            }
        });
        if result == libc::EBUSY {
            return None;
        }
        self.alone.took(begin.elapsed());
        Some(result)
    }

    fn flags(&self) -> Flags {
        if self.setup.registered {
            Flags::REGISTERED_BUF
        } else {
            Flags::empty()
        }
    }

    fn submit(&mut self, head: u16, operation: Operation) {
        let slot = &mut self.slots[usize::from(head)];
        let started = match operation {
            Operation::Id => {
                self.chain.writable.put(&self.setup.disk.serial);
                return self.end(head, Status::Ok);
            }
            Operation::Read(offset) if !slot.cost.is_alone() => {
                self.start(head, &Piece::Read(offset, self.chain.writable.as_slice()))
            }
            Operation::Write(offset) if !slot.cost.is_alone() => {
                self.start(head, &Piece::Write(offset, self.chain.readable.as_slice()))
            }
            _ => match Work::of(operation, &self.chain, &self.ranges) {
                Ok(work) => {
                    slot.work = work;
                    return self.go_on(head);
                }
                Err(status) => return self.end(head, status),
            },
        };
        match started {
            Ok(request) => self.slots[usize::from(head)].request = request,
            Err(error) => self.end(head, status_of(error.raw_os_error())),
        }
    }

    /// Begins the next piece of a request, if there is one.
    fn go_on(&mut self, head: u16) {
        let mut work = std::mem::take(&mut self.slots[usize::from(head)].work);
        let started = work.next().map(|piece| self.start(head, &piece));
        self.slots[usize::from(head)].work = work;
        match started {
            Some(Ok(request)) => self.slots[usize::from(head)].request = request,
            Some(Err(error)) => self.end(head, status_of(error.raw_os_error())),
            None => self.end(head, Status::Ok),
        }
    }

    /// Queues a piece. Gives the number of the request at the library.
    fn start(&self, head: u16, piece: &Piece) -> Result<u64, Error> {
        let (storage, flags, head) = (&self.setup.storage, self.flags(), head.into());
        match *piece {
            Piece::Flush => storage.flush(head),
            // SAFETY: guest memory stays mapped while the ring has it; `run` ends after everything
            // in flight has. For the write, too.
            Piece::Read(offset, iov) => unsafe {
                storage.read_vectored_with(offset, iov, flags, head)
            },
            // SAFETY: as above.
            Piece::Write(offset, iov) => unsafe {
                storage.write_vectored(offset, iov, flags, head)
            },
            Piece::Zero(Range { offset, bytes, may_unmap }) => {
                let flags = if may_unmap { Flags::MAY_UNMAP } else { Flags::empty() };
                storage.write_zeroes(offset, bytes, flags, head)
            }
            Piece::Discard(Range { offset, bytes, .. }) => storage.discard(offset, bytes, head),
        }
    }

    /// Deals with what is over; the next pieces of these requests go out as one batch. Waits for
    /// something as long as `timeout` says; None: without end. Gives how many there were.
    fn poll(&mut self, timeout: Option<Duration>) -> usize {
        let mut results = std::mem::take(&mut self.results);
        let each = |head, result| results.push((head as u16, errno_of(result)));
        let count = self.setup.storage.poll(timeout, each).unwrap_or(0);
        for (head, result) in results.drain(..) {
            self.piece_done(head, result);
        }
        // It keeps its room.
        self.results = results;
        self.setup.storage.submit();
        count
    }

    fn piece_done(&mut self, head: u16, result: c_int) {
        let slot = &mut self.slots[usize::from(head)];
        let recalled = slot.recall != Recall::Never;
        match result {
            // Nobody is promised that anything came of it.
            0 | CANCELLED if self.stopping && slot.work.is_a_hint() => self.end(head, Status::Ok),
            CANCELLED => self.unhand(head),
            0 if recalled && !slot.work.is_over() => self.unhand(head),
            0 => self.go_on(head),
            _ => self.end(head, status_of(result)),
        }
    }

    /// A request is over. Its chain goes back, at once or when it is known whether it may.
    fn end(&mut self, head: u16, status: Status) {
        self.unhand(head);
        let slot = &mut self.slots[usize::from(head)];
        match &mut slot.recall {
            Recall::ToRing(end) => *end = Some(status),
            Recall::Never | Recall::Stays => self.give_back(head, status),
        }
    }

    /// Nothing of the chain is at the library any more.
    fn unhand(&mut self, head: u16) {
        self.share.give_back(self.slots[usize::from(head)].cost);
        self.full = false;
    }

    fn give_back(&mut self, head: u16, status: Status) {
        let slot = &mut self.slots[usize::from(head)];
        if let Some(at) = slot.status_at {
            // SAFETY: the chain's last byte that we may write, in mapped guest memory.
            unsafe { at.write_volatile(status as u8) };
        }
        let written = if slot.status_at.is_some() { slot.written } else { 0 };
        slot.busy = false;
        if let Some(place) = slot.place {
            let age = |place: u16| self.setup.ring.next_available().wrapping_sub(place);
            let older = self.newest_done.is_none_or(|newest| age(place) < age(newest));
            self.newest_done = if older { Some(place) } else { self.newest_done };
        }
        self.setup.ring.put_used(head, written);
        self.unpublished.push(head);
    }

    /// Shows the guest what was put back, and tells it if it wants to know.
    fn publish(&mut self) {
        if self.unpublished.is_empty() {
            return;
        }
        if fault::broken() {
            // Who knows what of these moved. They stay in flight.
            return self.unpublished.clear();
        }
        let ring = &mut self.setup.ring;
        if let Some(inflight) = &mut self.setup.inflight {
            inflight.will_publish(&self.unpublished);
            ring.publish();
            if !fault::broken() {
                inflight.published(&self.unpublished, ring.used_index());
            }
        } else {
            ring.publish();
        }
        self.unpublished.clear();
        if ring.wants_signal() {
            self.setup.call.signal();
        }
    }
}

/// 0 or an errno.
fn errno_of(result: Result<(), Error>) -> c_int {
    result.err().map_or(0, |error| error.raw_os_error())
}

fn status_of(result: c_int) -> Status {
    match result {
        0 => Status::Ok,
        libc::ENOTSUP => Status::Unsupported,
        _ => Status::IoError,
    }
}
