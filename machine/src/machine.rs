//! The machine itself: requests come in, wait for what they conflict with, read their edges,
//! move their bytes, leave. See `mod.rs` for what goes in and out, `tracker.rs` for who waits
//! for whom, `splice.rs` for the memory of one I/O.
//!
//! The way of a request, `Phase` by `Phase`:
//!
//! ```text
//!  submit --> Waiting ---> Queued ---> Edges ---> Moving ---> Complete
//!         \__ no conflict __/^   \__ no edges __/^
//!                 a place among `depth` |
//! ```
//!
//! A request that has a place among its queue's `depth` never waits for another request, so
//! places always come free again. Scratch is taken only by requests that have a place.

use std::collections::{HashMap, VecDeque};

use super::batch::Plug;
use super::entry::{Entry, Phase};
use super::isolation::{Isolation, WRITES};
use super::repair::{Repair, Repairs};
use super::resize::Extent;
use super::tracker::Tracker;
use super::zeroes::UnsupportedOps;
use super::{Action, Completion, PlugKey, QueueConfig, QueueId, Request, RequestId};
use super::{ScratchPool, Stats};
use crate::io::{Io, Op, ENDS_EARLY};

pub(super) struct Queue<Q> {
    pub(super) owner: Q,
    pub(super) config: QueueConfig,
    pub(super) stats: Stats,
    /// Requests that have a place at the storage.
    pub(super) active: usize,
    /// How many may have one: `depth`, but 0 while a repair is under way.
    pub(super) places: usize,
    /// Requests that conflict with nothing and want a place, in order.
    pub(super) queued: VecDeque<u32>,
    /// Who is plugged, each with what is held back; see `batch.rs`.
    pub(super) plugs: Vec<Plug>,
    /// Kept to spare an allocation: the list of the next plug.
    pub(super) spare_held: Vec<u32>,
    pub(super) repairs: Repairs,
}

pub struct Machine<Q, T, S> {
    pub(super) queues: Vec<Option<Queue<Q>>>,
    pub(super) entries: Vec<Option<Entry<T>>>,
    pub(super) free: Vec<u32>,
    /// Which writes wait for which.
    pub(super) tracker: Tracker,
    pub(super) isolation: Isolation,
    pub(super) scratch: S,
    /// Of the youngest request's id: see `entering.rs`.
    pub(super) last_sequence: u64,
    pub(super) extent: Extent,
    /// Requests in `Phase::Waiting`.
    pub(super) waiting: usize,
    /// The errno of the first flush that failed.
    pub(super) flush_failed: Option<i32>,
    pub(super) unsupported: UnsupportedOps,
    pub(super) repair: Repair,
    /// Queues in which a request may have become able to start.
    pub(super) runnable: Vec<QueueId>,
    /// Kept to spare allocations: the waiters that a leaving request sets free.
    freed: Vec<u32>,
    /// While a batch of reads is looked through: the first read of each block.
    pub(super) read_leaders: HashMap<u64, u32>,
}

impl<Q: Clone, T, S: ScratchPool> Machine<Q, T, S> {
    /// `length`: of the object, in bytes.
    pub fn new(scratch: S, length: u64) -> Self {
        Machine {
            extent: Extent::new(length),
            queues: Vec::new(),
            entries: Vec::new(),
            free: Vec::new(),
            tracker: Tracker::default(),
            isolation: Isolation::default(),
            scratch,
            last_sequence: 0,
            waiting: 0,
            flush_failed: None,
            unsupported: UnsupportedOps::default(),
            repair: Repair::default(),
            runnable: Vec::new(),
            freed: Vec::new(),
            read_leaders: HashMap::new(),
        }
    }

    pub fn add_queue(&mut self, owner: Q, config: QueueConfig) -> QueueId {
        assert!(config.alignments.request.is_power_of_two());
        assert!(config.alignments.memory.is_power_of_two());
        assert!(config.alignments.segment.is_power_of_two());
        assert!(config.granule.is_power_of_two());
        assert!(config.alignments.segment as u64 <= config.alignments.request);
        assert!(config.max_transfer >= config.alignments.request);
        assert!(config.granule >= config.alignments.request);
        assert!(config.depth > 0 && config.max_segments > 0);
        assert!(config.discard_alignment.is_multiple_of(config.alignments.request));
        assert!(config.dataless_max.is_multiple_of(config.alignments.request));
        assert!(config.discard_alignment > 0 && config.dataless_max > 0);
        let queue = Queue {
            owner,
            places: if self.is_under_repair() { 0 } else { config.depth },
            config: QueueConfig { last_block: u64::MAX, ..config },
            stats: Stats::default(),
            active: 0,
            queued: VecDeque::new(),
            plugs: Vec::new(),
            spare_held: Vec::new(),
            repairs: Repairs::default(),
        };
        let unused = self.queues.iter().position(Option::is_none);
        let place = unused.unwrap_or(self.queues.len());
        if unused.is_none() {
            self.queues.push(None);
        }
        self.queues[place] = Some(queue);
        self.follow_again();
        place as QueueId
    }

    /// The queue must have nothing in flight.
    pub fn remove_queue(&mut self, queue: QueueId) {
        let gone = self.queues[queue as usize].take();
        assert!(gone.is_some_and(|queue| queue.stats.in_flight == 0));
    }

    /// Takes a request in. It may complete at once (then a `Complete` is among the actions).
    pub fn submit(
        &mut self,
        queue: QueueId,
        key: PlugKey,
        request: Request<T>,
        actions: &mut Vec<Action<Q, T>>,
    ) -> RequestId {
        if self.queue(queue).plug_of(key).is_none() {
            return self.enter(queue, request, actions);
        }
        let slot = self.place(queue, request);
        let entry = self.entry(slot);
        entry.phase = Phase::Held;
        let id = entry.id;
        if let Some(plug) = self.queue(queue).plug_of(key) {
            plug.held.push(slot);
        }
        id
    }

    /// As `submit`, plugged or not; what the key holds back goes first.
    pub fn submit_now(
        &mut self,
        queue: QueueId,
        key: PlugKey,
        request: Request<T>,
        actions: &mut Vec<Action<Q, T>>,
    ) -> RequestId {
        self.submit_held(queue, key, actions);
        self.enter(queue, request, actions)
    }

    fn enter(
        &mut self,
        queue: QueueId,
        request: Request<T>,
        actions: &mut Vec<Action<Q, T>>,
    ) -> RequestId {
        let slot = self.place(queue, request);
        let id = self.entry(slot).id;
        let waits = self.admit(slot, actions);
        self.queue(queue).stats.waits += u64::from(waits);
        self.run(actions);
        id
    }

    /// `io` is over: it moved so many bytes (possibly fewer than asked), or failed with an errno.
    pub fn io_done(
        &mut self,
        mut io: Io,
        result: Result<u64, i32>,
        actions: &mut Vec<Action<Q, T>>,
    ) {
        if !io.joined.is_empty() {
            return self.joined_done(io, result, actions);
        }
        if io.op == Op::Length {
            return self.length_told(&io, result, actions);
        }
        let error = match result {
            Ok(moved) if moved > io.bytes => Some(libc::EIO),
            Ok(moved) if moved == io.bytes => None,
            Ok(_) | Err(libc::EINTR) => match self.resume(io, result.ok(), actions) {
                None => return,
                Some(stalled) => {
                    io = stalled;
                    let id = self.entry(io.id.slot).queue;
                    let owner = self.queue(id).owner.clone();
                    actions.push(Action::Stalled(owner, Box::new(io.clone())));
                    Some(libc::EIO)
                }
            },
            Err(ENDS_EARLY) => Some(libc::EIO),
            Err(errno) => self.error_of(&io, errno),
        };
        let slot = io.id.slot;
        self.part_done(&io, error);
        self.go_on(slot, actions);
        self.run(actions);
    }

    /// The machine can't be trusted any more: hands every request back to its owner with EIO.
    pub fn abandon(&mut self) -> Vec<Completion<T>> {
        let entries = std::mem::take(&mut self.entries).into_iter().flatten();
        let failed = entries.map(|entry| completion(entry, Err(libc::EIO))).collect();
        self.queues.iter_mut().flatten().for_each(|queue| queue.stats.in_flight = 0);
        failed
    }

    /// The exact length of the object in bytes.
    pub fn length(&self) -> u64 {
        self.extent.length
    }

    pub fn owners(&self) -> impl Iterator<Item = &Q> {
        self.queues.iter().flatten().map(|queue| &queue.owner)
    }

    /// Whether a request waits for another while there is more than one queue: it may be another's.
    pub fn waits_across_queues(&self) -> bool {
        self.waiting > 0 && self.queues.iter().flatten().nth(1).is_some()
    }

    pub fn stats(&self, queue: QueueId) -> Stats {
        self.queues[queue as usize].as_ref().expect("an open queue").stats
    }

    // ----- entering and leaving -----

    /// Starts what can be started.
    pub(super) fn run(&mut self, actions: &mut Vec<Action<Q, T>>) {
        while let Some(id) = self.runnable.pop() {
            loop {
                let queue = self.queue(id);
                if queue.active >= queue.places {
                    if queue.places == 0 {
                        self.look_at_rest(actions);
                    }
                    break;
                }
                let Some(slot) = queue.queued.pop_front() else { break };
                queue.active += 1;
                self.start(slot, actions);
            }
        }
    }

    /// The request and its members leave: first the tracker, then to their owners.
    pub(super) fn finish(&mut self, slot: u32, actions: &mut Vec<Action<Q, T>>) {
        self.bequeath_image(slot);
        let entry = self.entry(slot);
        debug_assert!(entry.outstanding == 0 && entry.parts.is_empty());
        let images = entry.images.take();
        let members = std::mem::take(&mut entry.members);
        let (queue, error, bounced) = (entry.queue, entry.error, entry.bounced);
        if let Some(images) = images {
            self.scratch.give(images);
        }
        self.queue(queue).active -= 1;
        self.runnable.push(queue);
        self.leave(slot, actions);
        for &member in &members {
            let entry = self.entry(member);
            entry.error = error;
            entry.bounced = bounced;
            self.leave(member, actions);
        }
    }

    /// One request leaves, and those that waited for it alone may start. Members of the same
    /// leader among them leave with it.
    pub(super) fn leave(&mut self, slot: u32, actions: &mut Vec<Action<Q, T>>) {
        self.leave_trackers(slot);
        self.free.push(slot);
        let place = &mut self.entries[slot as usize];
        let entry = place.as_ref().expect("a request in flight");
        let result = match entry.error {
            None => Ok(()),
            Some(errno) => Err(errno),
        };
        let queue = self.queues[entry.queue as usize].as_mut().expect("an open queue");
        queue.stats.in_flight -= 1;
        count_result(&mut queue.stats, entry, result);
        let entry = place.take().expect("a request in flight");
        actions.push(Action::Complete(completion(entry, result)));
    }

    /// Those that waited for it alone may start.
    pub(super) fn leave_trackers(&mut self, slot: u32) {
        let tracked = self.entry(slot).tracked;
        if tracked & WRITES != 0 {
            let mut freed = std::mem::take(&mut self.freed);
            self.tracker.remove(slot, &mut freed);
            self.set_free(&mut freed, WRITES);
            self.freed = freed;
        }
        if tracked & !WRITES != 0 {
            self.leave_isolation(slot, tracked);
        }
    }

    // ----- the way through the storage -----

    fn start(&mut self, slot: u32, actions: &mut Vec<Action<Q, T>>) {
        let (flush_failed, length) = (self.flush_failed, self.extent.length);
        let no_flush = self.config_of(slot).no_flush;
        let entry = self.entry(slot);
        entry.phase = Phase::Moving;
        // Nothing moves yet; for a flush, or zero bytes, nothing ever does.
        entry.cursor.position = entry.end();
        let past_end = entry.end() > length;
        match entry.request.op {
            Op::Flush if no_flush => {}
            Op::Flush if flush_failed.is_some() => entry.error = flush_failed,
            Op::Flush => self.issue_flush(slot, actions),
            Op::Truncate => self.start_truncate(slot, actions),
            Op::Length => self.ask_length(slot, actions),
            _ if entry.request.bytes == 0 => {}
            _ if past_end => self.start_past_end(slot, actions),
            Op::Read if !entry.members.is_empty() => self.read_shared(slot, actions),
            Op::Read => self.begin_moving(slot, actions),
            Op::Write => self.begin_write(slot, actions),
            Op::WriteZeroes | Op::Discard => self.start_change(slot, actions),
            Op::Fill => entry.error = Some(libc::EINVAL),
        }
        self.go_on(slot, actions);
    }

    /// After an I/O is over, or nothing had to be issued: the next phase, or the end.
    pub(super) fn go_on(&mut self, slot: u32, actions: &mut Vec<Action<Q, T>>) {
        let entry = self.entry(slot);
        if entry.error.is_none() {
            match entry.phase {
                Phase::Edges if entry.outstanding == 0 => self.begin_moving(slot, actions),
                Phase::Moving => self.issue(slot, actions),
                Phase::Changing => self.go_on_changing(slot, actions),
                _ => {}
            }
        }
        let entry = self.entry(slot);
        if entry.outstanding == 0 {
            let plain = entry.change.is_none() && entry.error.is_none();
            if plain || !self.ends_otherwise(slot, actions) {
                self.finish(slot, actions);
            }
        }
    }

    /// Nothing of it is at the storage any more, but there may be something left to be done.
    fn ends_otherwise(&mut self, slot: u32, actions: &mut Vec<Action<Q, T>>) -> bool {
        let changes = self.entry(slot).change.is_some();
        (changes && self.wind_up(slot, actions)) || (self.is_under_repair() && self.parks(slot))
    }

    pub(super) fn entry(&mut self, slot: u32) -> &mut Entry<T> {
        self.entries[slot as usize].as_mut().expect("a request in flight")
    }

    pub(super) fn known(&self, slot: u32) -> &Entry<T> {
        self.entries[slot as usize].as_ref().expect("a request in flight")
    }

    pub(super) fn queue(&mut self, id: QueueId) -> &mut Queue<Q> {
        self.queues[id as usize].as_mut().expect("an open queue")
    }

    pub(super) fn config_of(&self, slot: u32) -> &QueueConfig {
        let entry = self.entries[slot as usize].as_ref().expect("a request in flight");
        &self.queues[entry.queue as usize].as_ref().expect("an open queue").config
    }
}

fn completion<T>(entry: Entry<T>, result: Result<(), i32>) -> Completion<T> {
    let Request { op, offset, bytes, token, .. } = entry.request;
    let bytes = bytes + entry.filled;
    Completion { id: entry.id, token, op, offset, bytes, result }
}

fn count_result<T>(stats: &mut Stats, entry: &Entry<T>, result: Result<(), i32>) {
    let Request { op, bytes, .. } = entry.request;
    let bytes = bytes + entry.filled;
    if result.is_err() {
        // Who takes a request back knows of it. (Storage may say ECANCELED, too.)
        stats.errors += u64::from(!entry.cancelled);
        return;
    }
    match op {
        Op::Read => stats.bytes_read += bytes,
        Op::Write => stats.bytes_written += bytes,
        _ => return,
    }
    if entry.bounced {
        stats.bounced += 1;
    } else if bytes > 0 {
        stats.zero_copy += 1;
    }
}
