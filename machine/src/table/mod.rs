//! The table of requests: the queues, the requests in flight, each in its slot, the scratch that
//! they hold, and the list of what the machine's caller has to do next. All other parts of the
//! machine work on the table; the table knows none of them, and decides nothing.

mod among;
mod announced;
mod change;
mod entry;
mod overlaid;
mod queue;

pub use among::{Among, AmongSet};
pub use announced::{Announced, Standing};
pub use change::{discarded, Change, Stage, Step, Way, Zeroes};
pub use entry::{Entry, Phase};
pub use overlaid::{Asked, Overlaid, Piece, Saving, Widening};
pub use queue::{Guess, Held, Queue};

use crate::clusters::Clusters;
use crate::io::{Io, IoId, Op, Slot};
use crate::{Action, Completion, QueueConfig, QueueId, Request, RequestId, ScratchPool, Stats};

/// An id is (sequence << SLOT_BITS) | slot: it leads to its request without a map. Sequences run
/// from 1 to SEQUENCE_MAX and start over then, so an id has 63 bits and is never 0. Example: the
/// second request, in slot 5, has the id 2 << 26 | 5, which is 134217733.
const SLOT_BITS: u32 = 26;
const SEQUENCE_MAX: u64 = (1 << (63 - SLOT_BITS)) - 1;

/// Most slots kept when nothing is in flight. Some steps look through all slots; they are not to
/// pay for ever for the most requests that were ever in flight.
const SLOTS_KEPT_MAX: usize = 1024;

/// Where the request with this id is, or was.
pub fn slot_of(id: RequestId) -> Slot {
    Slot((id & ((1 << SLOT_BITS) - 1)) as u32)
}

#[derive(Debug)]
pub struct Table<Q, T, S> {
    pub queues: Vec<Option<Queue<Q>>>,
    /// By slot; those of free slots are kept for their next requests.
    pub entries: Vec<Entry<T>>,
    free: Vec<Slot>,
    pub scratch: S,
    /// What the caller has to do next, in order; the caller takes it out after each step.
    pub actions: Vec<Action<Q, T>>,
    /// The sequence in the youngest request's id.
    last_sequence: u64,
    /// Requests in `Phase::Waiting`.
    pub waiting: usize,
    /// Members whose leader is of another queue.
    pub riding: usize,
    /// Queues in which a request may have become able to start.
    pub runnable: Vec<QueueId>,
    /// How many pauses hold all requests back: see `pause.rs`.
    pub pauses: u32,
    /// Requests that conflict with nothing, and are not past the notifiers; in order.
    pub unannounced: Vec<Slot>,
    /// Requests that hold the image of a block, and have no place yet: see `Announced`.
    pub images_kept: usize,
    /// Which clusters of an overlay are there; None: the object is no overlay.
    pub overlay: Option<Box<Clusters>>,
}

impl<Q, T, S> Table<Q, T, S> {
    pub fn new(scratch: S) -> Self {
        Table {
            queues: Vec::new(),
            entries: Vec::new(),
            free: Vec::new(),
            scratch,
            actions: Vec::new(),
            last_sequence: 0,
            waiting: 0,
            riding: 0,
            runnable: Vec::new(),
            pauses: 0,
            unannounced: Vec::new(),
            images_kept: 0,
            overlay: None,
        }
    }

    // ----- queues -----

    pub fn add_queue(&mut self, queue: Queue<Q>) -> QueueId {
        let unused = self.queues.iter().position(Option::is_none);
        let place = unused.unwrap_or(self.queues.len());
        if unused.is_none() {
            self.queues.push(None);
        }
        self.queues[place] = Some(queue);
        place as QueueId
    }

    pub fn queue(&mut self, id: QueueId) -> &mut Queue<Q> {
        self.queues[id as usize].as_mut().expect("an open queue")
    }

    /// For plugs: the thread that has run the last callbacks of a queue looks after its plug when
    /// the queue may be gone.
    pub fn queue_if_open(&mut self, id: QueueId) -> Option<&mut Queue<Q>> {
        self.queues.get_mut(id as usize)?.as_mut()
    }

    pub fn known_queue(&self, id: QueueId) -> &Queue<Q> {
        self.queues[id as usize].as_ref().expect("an open queue")
    }

    pub fn open_queues(&self) -> impl Iterator<Item = &Queue<Q>> {
        self.queues.iter().flatten()
    }

    pub fn open_queues_mut(&mut self) -> impl Iterator<Item = &mut Queue<Q>> {
        self.queues.iter_mut().flatten()
    }

    /// The largest block of all queues.
    pub fn largest_block(&self) -> u64 {
        self.open_queues().map(|queue| queue.config.alignments.request).max().unwrap_or(1)
    }

    // ----- requests -----

    pub fn entry(&mut self, slot: Slot) -> &mut Entry<T> {
        let entry = &mut self.entries[slot.index()];
        assert!(!entry.is_free(), "a request in flight");
        entry
    }

    /// As `entry`, for reading.
    pub fn known(&self, slot: Slot) -> &Entry<T> {
        let entry = &self.entries[slot.index()];
        assert!(!entry.is_free(), "a request in flight");
        entry
    }

    /// The request in a slot, if there is one.
    pub fn get(&self, slot: Slot) -> Option<&Entry<T>> {
        self.entries.get(slot.index()).filter(|entry| !entry.is_free())
    }

    /// The queue of a request.
    pub fn home(&mut self, slot: Slot) -> &mut Queue<Q> {
        let queue = self.known(slot).queue;
        self.queue(queue)
    }

    pub fn config_of(&self, slot: Slot) -> &QueueConfig {
        &self.known_queue(self.known(slot).queue).config
    }

    /// All requests in flight.
    pub fn in_flight(&self) -> impl Iterator<Item = (Slot, &Entry<T>)> {
        let entries = (0..).map(Slot).zip(&self.entries);
        entries.filter(|(_, entry)| !entry.is_free())
    }

    /// How many came after the request with this id.
    pub fn age(&self, id: RequestId) -> u64 {
        (self.last_sequence + SEQUENCE_MAX - (id >> SLOT_BITS)) % SEQUENCE_MAX
    }

    /// The slot that the next request gets.
    #[inline]
    pub fn vacancy(&mut self) -> Slot {
        if self.free.len() == self.entries.len() && self.entries.len() > SLOTS_KEPT_MAX {
            (self.entries, self.free) = (Vec::new(), Vec::new());
        }
        if let Some(&slot) = self.free.last() {
            return slot;
        }
        let slot = Slot(self.entries.len() as u32);
        self.entries.push(Entry::free());
        self.free.push(slot);
        slot
    }

    /// Gives a request a slot and an id.
    #[inline]
    pub fn place(&mut self, queue: QueueId, request: Request<T>) -> Slot {
        let stats = &mut self.queue(queue).stats;
        stats.in_flight += 1;
        match request.op {
            Op::Read => stats.reads += 1,
            Op::Write => stats.writes += 1,
            Op::WriteZeroes => stats.write_zeroes += 1,
            Op::Discard => stats.discards += 1,
            Op::Truncate | Op::Length | Op::Fill | Op::Populate | Op::SaveMap => {}
            Op::Flush => stats.flushes += 1,
        }
        let slot = self.vacancy();
        self.free.pop();
        assert!(slot.0 < 1 << SLOT_BITS, "no machine has so many requests in flight");
        self.last_sequence = self.last_sequence % SEQUENCE_MAX + 1;
        let id = self.last_sequence << SLOT_BITS | u64::from(slot.0);
        self.entries[slot.index()].take(id, queue, request);
        slot
    }

    /// The request waits for no other: it joins the line for its queue's places, or that of the
    /// requests to be announced.
    pub fn enqueue(&mut self, slot: Slot) {
        let entry = self.entry(slot);
        if entry.announced.standing == Standing::Before {
            return self.enqueue_unannounced(slot);
        }
        let waited = std::mem::replace(&mut entry.phase, Phase::Queued) == Phase::Waiting;
        let queue = entry.queue;
        self.waiting -= usize::from(waited);
        self.queue(queue).queued.push_back(slot);
        self.runnable.push(queue);
    }

    #[cold]
    fn enqueue_unannounced(&mut self, slot: Slot) {
        let entry = self.entry(slot);
        let before = entry.phase;
        let waits = !entry.waits_among.is_empty();
        entry.phase = if waits { Phase::Waiting } else { Phase::Announcing };
        self.waiting += usize::from(waits);
        self.waiting -= usize::from(before == Phase::Waiting);
        if !waits {
            self.unannounced.push(slot);
        }
    }

    /// The image that the request holds is not one that waits for a place any more.
    pub fn note_image_not_kept(&mut self, slot: Slot) {
        let kept = std::mem::take(&mut self.entry(slot).announced.keeps_image);
        self.images_kept -= usize::from(kept);
    }

    /// The request is over and in no tracker: its result goes to its owner, its slot is free.
    #[inline]
    pub fn complete(&mut self, slot: Slot) {
        let completion = self.end(slot);
        push_in_place(&mut self.actions, || Action::Complete(completion));
    }

    /// As `complete`, but the result is the caller's business.
    #[inline(always)]
    pub fn end(&mut self, slot: Slot) -> Completion<T> {
        let entry = &mut self.entries[slot.index()];
        debug_assert!(entry.on_short_way || entry.holds_nothing());
        let result = match entry.error {
            None => Ok(()),
            Some(errno) => Err(errno),
        };
        let queue = self.queues[entry.queue as usize].as_mut().expect("an open queue");
        queue.stats.in_flight -= 1;
        count_result(&mut queue.stats, entry, result);
        self.free.push(slot);
        completion(entry, result)
    }

    /// Hands every request back with EIO, whatever it is doing and holds.
    pub fn abandon(&mut self) -> Vec<Completion<T>> {
        let taken = std::mem::take(&mut self.entries).into_iter().filter(|entry| !entry.is_free());
        let failed = taken.map(|mut entry| completion(&mut entry, Err(libc::EIO))).collect();
        self.open_queues_mut().for_each(|queue| queue.stats.in_flight = 0);
        failed
    }

    /// A name for the next I/O of a request.
    pub fn next_part(&mut self, slot: Slot) -> IoId {
        let entry = self.entry(slot);
        let part = entry.parts_issued;
        entry.parts_issued += 1;
        IoId { slot, part }
    }
}

impl<Q: Clone, T, S: ScratchPool> Table<Q, T, S> {
    /// Asks for an I/O of a request.
    #[inline(always)]
    pub fn emit(&mut self, slot: Slot, io: Io) {
        let entry = self.entry(slot);
        entry.outstanding += 1;
        let queue = entry.queue;
        self.reissue(queue, io);
    }

    /// Adds an I/O, which is counted already, to what the caller has to do.
    #[inline(always)]
    pub fn put_io(&mut self, slot: Slot, io: Io) {
        let queue = self.entries[slot.index()].queue;
        let owner = self.queue(queue).owner.clone();
        push_in_place(&mut self.actions, || Action::Io(owner, io));
    }

    /// Asks for an I/O that counts as outstanding already.
    #[inline(always)]
    pub fn reissue(&mut self, queue: QueueId, io: Io) {
        let queue = self.queue(queue);
        queue.count_io(io.op);
        let owner = queue.owner.clone();
        push_in_place(&mut self.actions, || Action::Io(owner, io));
    }
}

/// As `push`, but what is pushed is made where it will lie. An action is large: to make it and then
/// move it costs as much as to make it twice.
#[inline(always)]
fn push_in_place<A>(list: &mut Vec<A>, make: impl FnOnce() -> A) {
    // As `reserve`, but after this call the compiler knows that there is room.
    list.try_reserve(1).expect("memory for actions");
    list.push(make());
}

#[inline(always)]
fn completion<T>(entry: &mut Entry<T>, result: Result<(), i32>) -> Completion<T> {
    let Request { op, offset, bytes, .. } = entry.request;
    let bytes = bytes + entry.filled;
    Completion { id: entry.id, token: entry.give_up(), op, offset, bytes, result }
}

fn count_result<T>(stats: &mut Stats, entry: &Entry<T>, result: Result<(), i32>) {
    let Request { op, bytes, .. } = entry.request;
    let bytes = bytes + entry.filled;
    if result.is_err() {
        // A request that its owner has taken back is no error. `error` alone does not tell: storage
        // may answer ECANCELED, too.
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
