//! One queue: an open handle, as the machine knows it.

use std::collections::VecDeque;

use crate::io::{Op, Slot};
use crate::{PlugKey, QueueConfig, Stats};

#[derive(Debug)]
pub struct Queue<Q> {
    pub owner: Q,
    pub config: QueueConfig,
    pub stats: Stats,
    /// Requests that have a place at the storage.
    pub active: usize,
    /// How many may have one: `depth`, but 0 while a repair is under way.
    pub places: usize,
    /// Requests that conflict with nothing and want a place, in order.
    pub queued: VecDeque<Slot>,
    /// What a throttle holds back, in order of submission: see `Machine::hold`.
    pub held: VecDeque<Held>,
    /// The plugs that are open, each with what it holds back; see `batch.rs`.
    pub plugs: Vec<Plug>,
    /// The batch that was begun last.
    last_batch: BatchId,
    /// Kept to spare an allocation: the list of the next plug.
    pub spare_plugged: Vec<Slot>,
    pub repairs: Repairs,
    /// An overlay: reads keep what they take from the backing object (`overlay/copying.rs`).
    pub keeps_reads: bool,
}

/// A request that a throttle holds back.
#[derive(Debug, Clone, Copy)]
pub struct Held {
    pub slot: Slot,
    /// The batch that it goes to when it is let go, if that is held back then. None: to none.
    pub batch: Option<BatchId>,
}

/// Names a batch of a queue, for what a throttle lets go later: by then the batch may have gone,
/// and its plug may hold back the next one.
pub type BatchId = u64;

/// What one key holds back in one queue.
#[derive(Debug)]
pub struct Plug {
    pub key: PlugKey,
    /// How many `plug`s are open; at least 1.
    pub depth: u32,
    pub batch: BatchId,
    /// In order of submission.
    pub plugged: Vec<Slot>,
}

/// The repairs that a queue has behind it: see `repair.rs`.
#[derive(Debug, Default)]
pub struct Repairs {
    pub made: u32,
    /// A repair after EINVAL came to nothing: none is tried any more.
    pub no_more: bool,
    /// A repair after EIO or EILSEQ came to nothing: none is tried after these any more.
    pub no_more_for_eio: bool,
    pub guess: Option<Guess>,
}

/// The limits before values were guessed, how much had been written then, how many guesses, and
/// after which error the first.
#[derive(Debug)]
pub struct Guess {
    pub before: QueueConfig,
    pub written: u64,
    pub repairs: u32,
    pub errno: i32,
}

impl<Q> Queue<Q> {
    pub fn new(owner: Q, config: QueueConfig, places: usize) -> Queue<Q> {
        Queue {
            owner,
            places,
            config,
            stats: Stats::default(),
            active: 0,
            queued: VecDeque::new(),
            held: VecDeque::new(),
            plugs: Vec::new(),
            last_batch: 0,
            spare_plugged: Vec::new(),
            repairs: Repairs::default(),
            keeps_reads: false,
        }
    }

    /// The storage is asked for an I/O.
    #[inline(always)]
    pub fn count_io(&mut self, op: Op) {
        match op {
            Op::Read => self.stats.storage_reads += 1,
            Op::Write | Op::WriteZeroes => self.stats.storage_writes += 1,
            Op::Discard | Op::Truncate | Op::Length | Op::Flush => {}
            Op::Fill | Op::Populate | Op::SaveMap => {}
        }
    }

    /// Looks through the list: as a rule no key is plugged, and hardly ever more than a few are.
    pub fn plug_of(&mut self, key: PlugKey) -> Option<&mut Plug> {
        self.plugs.iter_mut().find(|plug| plug.key == key)
    }

    /// The plug that holds this batch back; None: the batch has gone.
    pub fn plug_with(&mut self, batch: BatchId) -> Option<&mut Plug> {
        self.plugs.iter_mut().find(|plug| plug.batch == batch)
    }

    /// Holds back what is submitted with this key from here on; nests.
    pub fn plug(&mut self, key: PlugKey) {
        match self.plug_of(key) {
            Some(plug) => plug.depth += 1,
            None => {
                let plugged = std::mem::take(&mut self.spare_plugged);
                let batch = self.next_batch();
                self.plugs.push(Plug { key, depth: 1, batch, plugged });
            }
        }
    }

    fn next_batch(&mut self) -> BatchId {
        self.last_batch += 1;
        self.last_batch
    }

    /// The counterpart of `plug`. What was plugged, if this was the outermost one.
    pub fn unplug(&mut self, key: PlugKey) -> Option<Vec<Slot>> {
        let at = self.plugs.iter().position(|plug| plug.key == key)?;
        self.plugs[at].depth -= 1;
        (self.plugs[at].depth == 0).then(|| self.plugs.swap_remove(at).plugged)
    }

    /// What the key holds back, if it holds anything back; its plugs stay.
    pub fn take_plugged(&mut self, key: PlugKey) -> Option<Vec<Slot>> {
        let at = self.plugs.iter().position(|plug| plug.key == key)?;
        self.plugs[at].batch = self.next_batch();
        let plug = &mut self.plugs[at];
        if plug.plugged.is_empty() {
            return None;
        }
        let spare = std::mem::take(&mut self.spare_plugged);
        Some(std::mem::replace(&mut plug.plugged, spare))
    }

    /// What all keys hold back, key by key; the plugs stay.
    pub fn take_all_plugged(&mut self) -> Vec<Slot> {
        for plug in &mut self.plugs {
            self.last_batch += 1;
            plug.batch = self.last_batch;
        }
        self.plugs.iter_mut().flat_map(|plug| plug.plugged.drain(..)).collect()
    }
}
