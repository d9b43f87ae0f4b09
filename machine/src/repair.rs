//! Storage that begins to refuse the alignment it took so far. What was probed when the handle was
//! opened holds no longer, say since a disk failed over to one with larger blocks.
//!
//! A request whose I/O is refused (`note_refusal`) stays where it is, with its error, once nothing
//! of it is at the storage any more: it is *parked*. From the first refusal on no request of any
//! queue starts (`Queue::places` is 0); those that have started go on to their end, or are parked
//! as well. So the storage comes to rest soon, for whoever has a place waits for nobody. Then
//! `Action::Probe` asks for larger values. If there are any (`repaired`) everybody who is left
//! starts again from the beginning: nothing is half done then but writes of the parked requests,
//! and what these moved they move again. The trackers are built anew under the new granule, in the
//! order of arrival. A request that changes the length has given the storage its old length back
//! by then (`wind_up`). If there are no larger values the parked requests fail with their errors
//! and the others go on.
//!
//! It never loops: each repair raises a value, a queue has `REPAIRS_MAX` of them, and the first
//! that comes to nothing is its last. Values that were only guessed (a write refused where reads of
//! the same shape are taken) are taken back when that happens before any write has succeeded.

use std::cmp::Reverse;

use super::entry::Phase;
use super::isolation::Isolation;
use super::machine::Machine;
use super::splice::round_down;
use super::tracker::Tracker;
use super::{
    Action, Alignments, ProbeOutcome, QueueConfig, QueueId, RefusedIo, ScratchPool, Suspected,
};
use crate::io::{Io, Lane, Op};

/// Most repairs of one queue.
pub(super) const REPAIRS_MAX: u32 = 8;

/// What a queue has behind it.
#[derive(Debug, Default)]
pub(super) struct Repairs {
    made: u32,
    /// One came to nothing: EINVAL, and EIO, are what they say from now on.
    no_more: bool,
    no_more_for_eio: bool,
    guess: Option<Guess>,
}

/// The limits before values were guessed, how much had been written then, and how many guesses.
#[derive(Debug)]
struct Guess {
    before: QueueConfig,
    written: u64,
    repairs: u32,
}

/// The repair that is under way; `refused` is empty when there is none.
#[derive(Debug, Default)]
pub(super) struct Repair {
    refused: Vec<Refused>,
    under_way: bool,
    /// Whose larger values are being looked for, and after which error.
    asked: Option<(QueueId, i32)>,
}

#[derive(Debug)]
struct Refused {
    slot: u32,
    queue: QueueId,
    errno: i32,
    op: Op,
    offset: u64,
    /// Nothing of the request is at the storage any more.
    parked: bool,
}

impl QueueConfig {
    /// With these alignments, as far as they are larger. None: none is, or the storage cannot have
    /// them. `storage`: its length.
    fn raised(&self, to: &Alignments, storage: u64) -> Option<QueueConfig> {
        let request = self.alignments.request.max(to.request);
        let memory = self.alignments.memory.max(to.memory);
        let segment = self.alignments.segment.max(to.segment).min(request as usize);
        let more = request > self.alignments.request
            || memory > self.alignments.memory
            || segment > self.alignments.segment;
        let fits = self.last_unit > 0 || storage.is_multiple_of(request);
        if !more || !fits || request > self.max_transfer {
            return None;
        }
        // Blocks are powers of two, pieces of a discard any number of them.
        let common = 1 << self.discard_alignment.trailing_zeros().min(request.trailing_zeros());
        Some(QueueConfig {
            alignments: Alignments { request, memory, segment },
            max_transfer: round_down(self.max_transfer, request),
            last_unit: if self.last_unit == 0 { 0 } else { self.last_unit.max(request) },
            granule: self.granule.max(request),
            discard_alignment: self.discard_alignment / common * request,
            dataless_max: round_down(self.dataless_max, request).max(request),
            ..self.clone()
        })
    }
}

impl<Q: Clone, T, S: ScratchPool> Machine<Q, T, S> {
    /// The error of the request whose I/O failed; None: the storage may refuse this, and there is
    /// another way.
    #[cold]
    pub(super) fn error_of(&mut self, io: &Io, errno: i32) -> Option<i32> {
        if !self.is_failure(io, errno) {
            return None;
        }
        self.note_refusal(io, errno);
        Some(errno)
    }

    /// An I/O failed, perhaps because the storage takes only larger pieces now.
    fn note_refusal(&mut self, io: &Io, errno: i32) {
        let slot = io.id.slot;
        let entry = self.entry(slot);
        let (id, failed) = (entry.queue, entry.error.is_some());
        let queue = self.queue(id);
        let suspected = match errno {
            libc::EINVAL => queue.config.suspected != Suspected::Nothing,
            libc::EIO => {
                queue.config.suspected == Suspected::InvalidOrError
                    && !queue.repairs.no_more_for_eio
            }
            _ => false,
        };
        let moves = io.lane == Lane::Main && matches!(io.op, Op::Read | Op::Write);
        if !suspected || !moves || queue.repairs.no_more || failed {
            return;
        }
        self.put_back(io);
        let Io { op, offset, .. } = *io;
        self.repair.refused.push(Refused { slot, queue: id, errno, op, offset, parked: false });
        if !self.repair.under_way {
            self.repair.under_way = true;
            // Everybody waits, for I/O of whatever queue: so results are taken in.
            self.waiting += 1;
            self.queues.iter_mut().flatten().for_each(|queue| queue.places = 0);
        }
    }

    /// The guest's memory went into the I/O as it was (`whole_request_fits`): the request may need
    /// it again.
    pub(super) fn put_back(&mut self, io: &Io) {
        let entry = self.entry(io.id.slot);
        if io.op == entry.request.op && entry.request.segments.is_empty() {
            entry.request.segments = io.segments.clone();
        }
    }

    pub(super) fn is_under_repair(&self) -> bool {
        self.repair.under_way
    }

    /// A request with an error has nothing at the storage any more: whether it is parked.
    pub(super) fn parks(&mut self, slot: u32) -> bool {
        let failed = self.entry(slot).error.is_some();
        let Some(at) = self.repair.refused.iter().position(|it| it.slot == slot) else {
            return false;
        };
        if !failed {
            // The error was forgiven.
            self.repair.refused.swap_remove(at);
            return false;
        }
        self.repair.refused[at].parked = true;
        self.runnable.push(self.repair.refused[at].queue);
        true
    }

    /// No request starts at present. Once all that have started are over or parked, asks.
    #[cold]
    pub(super) fn look_at_rest(&mut self, actions: &mut Vec<Action<Q, T>>) {
        let active: usize = self.queues.iter().flatten().map(|queue| queue.active).sum();
        let parked = self.repair.refused.iter().filter(|it| it.parked).count();
        if self.repair.asked.is_none() && active == parked {
            self.ask(actions);
        }
    }

    /// Asks for larger values for the first of those that are parked; goes on if there is nobody.
    fn ask(&mut self, actions: &mut Vec<Action<Q, T>>) {
        while let Some(&Refused { queue: id, errno, op, offset, .. }) = self.repair.refused.first()
        {
            let storage = self.storage_bytes();
            let queue = self.queue(id);
            if queue.repairs.made < REPAIRS_MAX {
                let config = queue.config.clone();
                let refused = RefusedIo { op, offset, errno, config, storage };
                actions.push(Action::Probe(queue.owner.clone(), Box::new(refused)));
                self.repair.asked = Some((id, errno));
                return;
            }
            if self.give_up(id, errno, actions) {
                return self.restart(actions);
            }
        }
        self.go_on_after_repair();
    }

    /// The answer to `Action::Probe`. Returns the alignments that hold now; None: nobody has asked.
    pub fn repaired(
        &mut self,
        outcome: ProbeOutcome,
        actions: &mut Vec<Action<Q, T>>,
    ) -> Option<Alignments> {
        let (id, errno) = self.repair.asked.take()?;
        let storage = self.storage_bytes();
        let (larger, guessed) = match outcome {
            ProbeOutcome::NothingHelps => (None, false),
            ProbeOutcome::Found(larger) => (Some(larger), false),
            ProbeOutcome::Guessed(larger) => (Some(larger), true),
        };
        let queue = self.queue(id);
        match larger.and_then(|larger| queue.config.raised(&larger, storage)) {
            Some(config) => {
                queue.note_guess(guessed);
                queue.repairs.made += 1;
                queue.stats.probe_repairs += 1;
                queue.config = config;
                self.follow_again();
                self.restart(actions);
            }
            None if self.give_up(id, errno, actions) => self.restart(actions),
            None => self.ask(actions),
        }
        self.run(actions);
        Some(self.queue(id).config.alignments)
    }

    /// Larger values are no help against this error: those of the queue that met it end with it.
    /// True: the limits are what they were before something was guessed.
    fn give_up(&mut self, id: QueueId, errno: i32, actions: &mut Vec<Action<Q, T>>) -> bool {
        let queue = self.queue(id);
        let mut taken_back = None;
        if errno == libc::EIO {
            queue.repairs.no_more_for_eio = true;
        } else {
            queue.repairs.no_more = true;
            let guess = queue.repairs.guess.take();
            taken_back = guess.filter(|guess| guess.written == queue.stats.bytes_written);
        }
        let (failed, rest): (Vec<_>, Vec<_>) = std::mem::take(&mut self.repair.refused)
            .into_iter()
            .partition(|it| it.queue == id && it.errno == errno);
        self.repair.refused = rest;
        failed.iter().for_each(|it| self.finish(it.slot, actions));
        let Some(Guess { before, repairs, .. }) = taken_back else { return false };
        let queue = self.queue(id);
        queue.config = before;
        queue.stats.probe_repairs -= u64::from(repairs);
        self.follow_again();
        true
    }

    /// Everybody who is left starts again from the beginning.
    fn restart(&mut self, actions: &mut Vec<Action<Q, T>>) {
        // Those that waited come last: some may have come later than what their ids say (batches).
        let mut order: Vec<(bool, Reverse<u64>, u32)> = Vec::new();
        for (slot, entry) in self.entries.iter().enumerate() {
            if let Some(entry) = entry.as_ref().filter(|entry| entry.phase != Phase::Held) {
                let waits = entry.phase == Phase::Waiting;
                order.push((waits, Reverse(self.age(entry.id)), slot as u32));
            }
        }
        order.sort_unstable();
        order.iter().for_each(|&(_, _, slot)| self.reset(slot));
        self.tracker = Tracker::default();
        self.isolation = Isolation::default();
        self.forget_truncates();
        self.repair.refused.clear();
        for queue in self.queues.iter_mut().flatten() {
            queue.active = 0;
            queue.queued.clear();
        }
        self.waiting = 1;
        order.iter().for_each(|&(_, _, slot)| {
            self.admit(slot, actions);
        });
        self.go_on_after_repair();
    }

    /// A request as it was when it was submitted, in no tracker. It is not seen by others, as if it
    /// were held back, until it is admitted.
    fn reset(&mut self, slot: u32) {
        let entry = self.entry(slot);
        debug_assert!(entry.outstanding == 0 && entry.parts.is_empty());
        let images = entry.images.take();
        entry.restart();
        if let Some(images) = images {
            self.scratch.give(images);
        }
    }

    fn go_on_after_repair(&mut self) {
        self.repair.under_way = false;
        self.waiting -= 1;
        for (id, queue) in self.queues.iter_mut().enumerate() {
            let Some(queue) = queue else { continue };
            queue.places = queue.config.depth;
            self.runnable.push(id as QueueId);
        }
    }
}

impl<Q> super::machine::Queue<Q> {
    /// Before the limits are raised.
    fn note_guess(&mut self, guessed: bool) {
        let written = self.stats.bytes_written;
        let confirmed = |guess: &Guess| guess.written != written;
        if !guessed || self.repairs.guess.as_ref().is_some_and(confirmed) {
            self.repairs.guess = None;
        }
        if guessed {
            let before = || Guess { before: self.config.clone(), written, repairs: 0 };
            self.repairs.guess.get_or_insert_with(before).repairs += 1;
        }
    }
}
