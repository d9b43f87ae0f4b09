//! Storage that begins to refuse the alignment it took so far. What was probed when the handle was
//! opened holds no longer, say since a disk failed over to one with larger blocks.
//!
//! A request whose I/O is refused (`Repairing::note_refusal`) stays where it is, with its error,
//! once nothing of it is at the storage any more: it is *parked*. From the first refusal on no
//! request of any queue starts (`Queue::places` is 0); those that have started go on to their end,
//! or are parked as well. So the storage comes to rest soon, for a request that has a place waits
//! for no other. Then `Action::Probe` asks for larger values. If there are any (`repaired`) all
//! requests that are left start again from the beginning. Nothing is half done then but writes of
//! parked requests, and these move all their bytes again. The trackers are built anew under the
//! new granule, in the order of arrival. A request that changes the length has given the storage
//! its old length back by then (`Resize::wind_up`). If there are no larger values the parked
//! requests fail with their errors and the others go on.
//!
//! It never loops: each repair raises a value, a queue has `REPAIRS_MAX` of them, and the first
//! that comes to nothing is its last. Values that were only guessed (a write refused where reads of
//! the same shape are taken) are taken back when that happens before any write has succeeded.
//!
//! Example, with blocks of 512. A write A of [0, 1024) and one B of [4096, 4608) are at the
//! storage, a write C of [512, 1024) waits for A. A fails with EINVAL and is parked; `places` is 0.
//! B succeeds and completes. Nothing runs any more, so the machine asks, and hears: 4096. A and C
//! start again: A claims [0, 4096) now, exclusive, and reads that block first; C waits for it.

use std::cmp::Reverse;

use crate::extent::Extent;
use crate::io::{Io, Lane, Op, Slot};
use crate::isolation::Isolation;
use crate::leaving::Leaving;
use crate::moving::Mover;
use crate::overlay::Gaps;
use crate::splice::round_down;
use crate::table::{Guess, Phase, Queue, Standing, Table};
use crate::Suspected;
use crate::{Action, Alignments, ProbeOutcome, QueueConfig, QueueId, RefusedIo, ScratchPool};

/// Most repairs of one queue.
pub const REPAIRS_MAX: u32 = 8;

/// The repair that is under way; `refused` is empty when there is none.
#[derive(Debug, Default)]
pub struct Repair {
    refused: Vec<Refused>,
    /// While it is, no request starts, so each may be waiting for I/O of any queue.
    pub under_way: bool,
    /// The queue for which larger values are being looked for, and after which error.
    asked: Option<(QueueId, i32)>,
}

#[derive(Debug)]
struct Refused {
    slot: Slot,
    queue: QueueId,
    errno: i32,
    op: Op,
    offset: u64,
    /// Nothing of the request is at the storage any more.
    parked: bool,
}

impl QueueConfig {
    /// This config with those alignments of `to` that are larger. None: none of them is, or the
    /// storage cannot have them. `storage`: the length of the storage.
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
        // A block is a power of two bytes; the piece of a discard is any number of blocks.
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

/// Repairs, and so sees everything that requests may be in.
pub struct Repairing<'a, Q, T, S> {
    pub repair: &'a mut Repair,
    pub table: &'a mut Table<Q, T, S>,
    pub isolation: &'a mut Isolation,
    pub extent: &'a mut Extent,
}

/// Errors that broken disks give, too, so that larger values are looked for less often: EIO, and
/// EILSEQ, by which disks with protection information refuse pieces of memory that are not whole
/// sectors.
fn may_be_the_disk(errno: i32) -> bool {
    matches!(errno, libc::EIO | libc::EILSEQ)
}

/// What a request with an error does once nothing of it is at the storage any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rest {
    /// The request stays, until larger values are found or not.
    Parked,
    /// The error has nothing to do with alignments: the request ends.
    Ends,
}

/// What became of a queue's limits after larger values have not helped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Limits {
    Unchanged,
    /// The limits are what they were before larger values were guessed.
    TakenBack,
}

impl<Q: Clone, T, S: ScratchPool> Repairing<'_, Q, T, S> {
    /// An I/O failed, perhaps because the storage takes only larger pieces now.
    #[cold]
    pub fn note_refusal(&mut self, io: &Io, errno: i32) {
        let slot = io.id.slot;
        let entry = self.table.entry(slot);
        let (id, failed) = (entry.queue, entry.error.is_some());
        let queue = self.table.queue(id);
        let suspected = match errno {
            libc::EINVAL => queue.config.suspected != Suspected::Nothing,
            _ if may_be_the_disk(errno) => {
                queue.config.suspected == Suspected::InvalidOrError
                    && !queue.repairs.no_more_for_eio
            }
            _ => false,
        };
        let moves = io.lane == Lane::Main && matches!(io.op, Op::Read | Op::Write);
        if !suspected || !moves || queue.repairs.no_more || failed {
            return;
        }
        Mover { table: self.table }.put_back(io);
        let Io { op, offset, .. } = *io;
        self.repair.refused.push(Refused { slot, queue: id, errno, op, offset, parked: false });
        if !self.repair.under_way {
            self.repair.under_way = true;
            self.table.set_places(false);
        }
    }

    /// Nothing of a request is at the storage any more.
    pub fn come_to_rest(&mut self, slot: Slot) -> Rest {
        let failed = self.table.known(slot).error.is_some();
        let Some(at) = self.repair.refused.iter().position(|it| it.slot == slot) else {
            return Rest::Ends;
        };
        if !failed {
            // `Resize::wind_up` has forgiven the error.
            self.repair.refused.swap_remove(at);
            return Rest::Ends;
        }
        self.repair.refused[at].parked = true;
        self.table.runnable.push(self.repair.refused[at].queue);
        Rest::Parked
    }

    /// No request starts at present. Once all that have started are over or parked, asks.
    #[cold]
    pub fn look_at_rest(&mut self) {
        let active: usize = self.table.open_queues().map(|queue| queue.active).sum();
        let parked = self.repair.refused.iter().filter(|it| it.parked).count();
        if self.repair.asked.is_none() && active == parked {
            self.ask();
        }
    }

    /// Asks for larger values for the first request that is parked; goes on if there is none.
    fn ask(&mut self) {
        while let Some(&Refused { queue: id, errno, op, offset, .. }) = self.repair.refused.first()
        {
            let storage = self.extent.storage_bytes();
            let queue = self.table.queue(id);
            if queue.repairs.made < REPAIRS_MAX {
                let config = queue.config.clone();
                let refused = RefusedIo { op, offset, errno, config, storage };
                let owner = queue.owner.clone();
                self.table.actions.push(Action::Probe(owner, Box::new(refused)));
                self.repair.asked = Some((id, errno));
                return;
            }
            if self.give_up(id, errno) == Limits::TakenBack {
                return self.restart();
            }
        }
        self.go_on_after_repair();
    }

    /// The answer to `Action::Probe`. Returns the alignments that hold now; None: the
    /// machine has not asked.
    pub fn repaired(&mut self, outcome: ProbeOutcome) -> Option<Alignments> {
        let (id, errno) = self.repair.asked.take()?;
        let storage = self.extent.storage_bytes();
        let (larger, guessed) = match outcome {
            ProbeOutcome::NothingHelps => (None, false),
            ProbeOutcome::Found(larger) => (Some(larger), false),
            ProbeOutcome::Guessed(larger) => (Some(larger), true),
        };
        // A cluster is whole blocks.
        let most = self.table.overlay.as_ref().map_or(u64::MAX, |clusters| clusters.cluster());
        let larger = larger.filter(|larger| larger.request <= most);
        let queue = self.table.queue(id);
        match larger.and_then(|larger| queue.config.raised(&larger, storage)) {
            Some(config) => {
                queue.note_guess(guessed.then_some(errno));
                queue.repairs.made += 1;
                queue.stats.probe_repairs += 1;
                queue.config = config;
                self.extent.follow_again(self.table);
                self.restart();
            }
            None => match self.give_up(id, errno) {
                Limits::TakenBack => self.restart(),
                Limits::Unchanged => self.ask(),
            },
        }
        Some(self.table.queue(id).config.alignments)
    }

    /// Larger values are no help against this error: the requests of the queue that met it end.
    fn give_up(&mut self, id: QueueId, errno: i32) -> Limits {
        let queue = self.table.queue(id);
        let of_the_disk = may_be_the_disk(errno);
        if of_the_disk {
            queue.repairs.no_more_for_eio = true;
        } else {
            queue.repairs.no_more = true;
        }
        let written = queue.stats.bytes_written;
        let its = |guess: &Guess| may_be_the_disk(guess.errno) == of_the_disk;
        let guess = queue.repairs.guess.take_if(|guess| its(guess));
        let taken_back = guess.filter(|guess| guess.written == written);
        let (failed, rest): (Vec<_>, Vec<_>) = std::mem::take(&mut self.repair.refused)
            .into_iter()
            .partition(|it| it.queue == id && it.errno == errno);
        self.repair.refused = rest;
        failed.iter().for_each(|it| self.leaving().finish(it.slot));
        let Some(Guess { before, repairs, .. }) = taken_back else {
            return Limits::Unchanged;
        };
        let queue = self.table.queue(id);
        queue.config = before;
        queue.stats.probe_repairs -= u64::from(repairs);
        self.extent.follow_again(self.table);
        Limits::TakenBack
    }

    /// All requests that are left start again from the beginning.
    fn restart(&mut self) {
        // Requests that waited come last: one from a batch may have entered later than its id says.
        // Those that are not past the notifiers come after all that are: see `announce/mod.rs`.
        let mut order: Vec<(bool, bool, Reverse<u64>, Slot)> = Vec::new();
        for (slot, entry) in self.table.in_flight() {
            if entry.phase != Phase::Plugged {
                let waits = entry.phase == Phase::Waiting;
                let staged = entry.announced.standing == Standing::Before;
                order.push((staged, waits, Reverse(self.table.age(entry.id)), slot));
            }
        }
        order.sort_unstable();
        order.iter().for_each(|&(.., slot)| self.reset(slot));
        *self.isolation = Isolation::with_notifiers(self.isolation.notifiers);
        self.table.unannounced.clear();
        self.extent.forget_truncates();
        self.repair.refused.clear();
        for queue in self.table.open_queues_mut() {
            queue.active = 0;
            queue.queued.clear();
        }
        (self.table.waiting, self.table.riding) = (0, 0);
        order.iter().for_each(|&(.., slot)| {
            self.leaving().admit_or_refuse(slot);
        });
        self.go_on_after_repair();
    }

    /// Makes a request what it was when it was submitted; the caller empties the trackers.
    fn reset(&mut self, slot: Slot) {
        self.table.note_image_not_kept(slot);
        if self.table.known(slot).overlaid.is_some() {
            Gaps { table: self.table }.narrow(slot);
        }
        let entry = self.table.entry(slot);
        debug_assert!(entry.outstanding == 0 && entry.parts.is_empty());
        let images = entry.images.take();
        entry.restart();
        if let Some(images) = images {
            self.table.scratch.give(images);
        }
    }

    fn go_on_after_repair(&mut self) {
        self.repair.under_way = false;
        if self.table.gives_places(false) {
            self.table.set_places(true);
        }
    }

    fn leaving(&mut self) -> Leaving<'_, Q, T, S> {
        Leaving { table: self.table, isolation: self.isolation, extent: self.extent }
    }
}

impl<Q> Queue<Q> {
    /// To be called before the limits are raised. `guessed`: after which error, if they are a
    /// guess.
    fn note_guess(&mut self, guessed: Option<i32>) {
        let written = self.stats.bytes_written;
        let confirmed = |guess: &Guess| guess.written != written;
        if guessed.is_none() || self.repairs.guess.as_ref().is_some_and(confirmed) {
            self.repairs.guess = None;
        }
        if let Some(errno) = guessed {
            let before = || Guess { before: self.config.clone(), written, repairs: 0, errno };
            self.repairs.guess.get_or_insert_with(before).repairs += 1;
        }
    }
}
