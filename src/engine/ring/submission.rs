//! What a ring's submission lock guards: the free slots, what waits for one, and our end of the
//! kernel's submission queue. Makes no system call.

use std::collections::VecDeque;

use io_uring::opcode;
use io_uring::squeue::Entry;

use super::slots::{File, Slots};
use crate::driver::Io;
use crate::kernel::{IoUring, SubmissionQueue};

/// The name of a wake-up among completions; the others carry the number of their slot.
pub const WAKE_UP: u64 = u64::MAX;

/// What does not change: the kernel's queues, and what the entries in them point to.
pub struct Kernel {
    pub ring: IoUring,
    pub file: File,
    pub slots: Slots,
}

/// How many entries lie in the submission queue at most: twice as many as there are slots, and two
/// wake-ups. The kernel says that it has taken a batch only when it has begun the last entry. By
/// then the others may be done and reaped, and their slots may be in use again.
pub fn submission_length(slots: usize) -> usize {
    2 * (slots + 1)
}

pub struct Submission {
    free: Vec<u32>,
    /// I/Os that no slot was free for. Not empty only while all slots are in use.
    waiting: VecDeque<Io>,
    /// A wake-up is in the ring and not reaped yet.
    waking: bool,
    /// The names of what was put into the submission queue, each at its turn modulo the queue's
    /// length: what `break_down` takes back.
    names: Box<[u64]>,
    turn: usize,
    /// The kernel takes nothing from us any more.
    broken: bool,
    /// I/Os that the kernel did not take.
    refused: VecDeque<Io>,
}

/// What a thread took off the completion queue and has not brought to the `Submission` yet.
pub struct Reaped {
    /// Slots that are empty now.
    pub freed: Vec<u32>,
    /// Slots whose I/O must go to the kernel again.
    pub repeat: Vec<u32>,
}

impl Reaped {
    pub fn is_empty(&self) -> bool {
        self.freed.is_empty() && self.repeat.is_empty()
    }
}

impl Submission {
    pub fn new(kernel: &Kernel) -> Submission {
        let slots = kernel.slots.count();
        let entries = kernel.ring.params().sq_entries() as usize;
        assert!(submission_length(slots) <= entries);
        // So the completion queue has room for an I/O of each slot and a wake-up at any moment.
        assert!(slots < kernel.ring.params().cq_entries() as usize);
        Submission {
            free: (0..slots as u32).rev().collect(),
            waiting: VecDeque::new(),
            waking: false,
            names: vec![0; entries].into(),
            turn: 0,
            broken: false,
            refused: VecDeque::new(),
        }
    }

    /// Takes all of `ios` in, in order, behind what waits. Returns how many entries are in the
    /// submission queue, or 0 if none of them is new.
    pub fn take_in(&mut self, ios: &mut Vec<Io>, kernel: &Kernel) -> usize {
        if self.broken {
            self.refused.extend(ios.drain(..));
            return 0;
        }
        let places = if self.waiting.is_empty() { self.free.len() } else { 0 };
        let starting = places.min(ios.len());
        let mut queue = self.queue(kernel);
        for io in ios.drain(..starting) {
            self.put_in(io, &mut queue, kernel);
        }
        self.waiting.extend(ios.drain(..));
        if starting > 0 {
            queue.len()
        } else {
            0
        }
    }

    /// What was reaped goes to the kernel again or leaves its slot free, and I/Os that waited go
    /// into the free slots. Answers like `take_in`.
    pub fn free(&mut self, reaped: &mut Reaped, kernel: &Kernel) -> usize {
        self.free.append(&mut reaped.freed);
        if self.broken {
            reaped.repeat.drain(..).for_each(|slot| self.refuse(slot, kernel));
        }
        let starting = self.free.len().min(self.waiting.len());
        if starting + reaped.repeat.len() == 0 {
            return 0;
        }
        let mut queue = self.queue(kernel);
        for slot in reaped.repeat.drain(..) {
            // SAFETY: it was just reaped, and not taken out.
            let entry = unsafe { kernel.slots.repeat(slot, kernel.file) };
            self.push(u64::from(slot), entry, &mut queue);
        }
        for _ in 0..starting {
            let io = self.waiting.pop_front().expect("counted above");
            self.put_in(io, &mut queue, kernel);
        }
        queue.len()
    }

    /// Puts a wake-up in, unless one is on its way. Answers like `take_in`.
    pub fn put_wake_up(&mut self, kernel: &Kernel) -> usize {
        if self.waking || self.broken {
            return 0;
        }
        self.waking = true;
        let mut queue = self.queue(kernel);
        self.push(WAKE_UP, opcode::Nop::new().build().user_data(WAKE_UP), &mut queue);
        queue.len()
    }

    pub fn woke_up(&mut self) {
        assert!(self.waking);
        self.waking = false;
    }

    /// How many entries the kernel has not taken yet.
    pub fn unsubmitted(&self, kernel: &Kernel) -> usize {
        self.queue(kernel).len()
    }

    /// The kernel has completions that it posts when the thread that submitted them enters it.
    pub fn has_taskrun(&self, kernel: &Kernel) -> bool {
        self.queue(kernel).taskrun()
    }

    /// How many I/Os and wake-ups the kernel has, or has done without their being reaped. The
    /// answer may be too small, never too large.
    pub fn in_flight(&self, kernel: &Kernel) -> usize {
        let slots = kernel.slots.count() - self.free.len();
        let left = if self.broken { 0 } else { self.unsubmitted(kernel) };
        // What the kernel has taken is known late: it says so after the last entry of a batch, and
        // this thread may see that later still. The first entries may have been reaped by then.
        (slots + usize::from(self.waking)).saturating_sub(left)
    }

    /// The kernel takes nothing any more: takes back what it has not got.
    pub fn break_down(&mut self, kernel: &Kernel) {
        if self.broken {
            return;
        }
        let entries = self.unsubmitted(kernel);
        self.broken = true;
        for back in (1..=entries).rev() {
            let name = self.names[self.turn.wrapping_sub(back) % self.names.len()];
            if name == WAKE_UP {
                self.waking = false;
                continue;
            }
            self.refuse(name as u32, kernel);
        }
        self.refused.append(&mut self.waiting);
    }

    /// What the kernel did not take.
    pub fn take_refused(&mut self) -> VecDeque<Io> {
        std::mem::take(&mut self.refused)
    }

    pub fn has_refused(&self) -> bool {
        !self.refused.is_empty()
    }

    /// The kernel takes nothing any more, and nothing is left inside: that is for good.
    pub fn is_spent(&self, kernel: &Kernel) -> bool {
        self.broken && self.is_idle(kernel)
    }

    /// Nothing is inside that still has to be given back.
    pub fn is_idle(&self, kernel: &Kernel) -> bool {
        self.free.len() == kernel.slots.count() && !self.has_refused()
    }

    /// Throws away what waits; for the end of the ring.
    pub fn clear(&mut self) {
        self.waiting.clear();
        self.refused.clear();
    }

    /// The I/O in `slot` is not with the kernel, and never will be.
    fn refuse(&mut self, slot: u32, kernel: &Kernel) {
        // SAFETY: both callers make sure of the line above.
        self.refused.push_back(unsafe { kernel.slots.take(slot) });
        self.free.push(slot);
    }

    fn put_in(&mut self, io: Io, queue: &mut SubmissionQueue, kernel: &Kernel) {
        let slot = self.free.pop().expect("no more than there are free slots");
        // SAFETY: the slot was free, and now is no longer.
        let entry = unsafe { kernel.slots.put(slot, io, kernel.file) };
        self.push(u64::from(slot), entry, queue);
    }

    fn push(&mut self, name: u64, entry: Entry, queue: &mut SubmissionQueue) {
        // The queue's length is a power of two, so turns may wrap around.
        let turn = self.turn % self.names.len();
        self.names[turn] = name;
        self.turn = self.turn.wrapping_add(1);
        // SAFETY: what the entry points to stays where it is until its completion: the vector
        // lies in a slot, and the memory is the request's.
        unsafe { queue.push(&entry) }.expect("room, see submission_length");
    }

    /// Our end of the submission queue; what was put in is the kernel's when this is dropped.
    fn queue<'ring>(&self, kernel: &'ring Kernel) -> SubmissionQueue<'ring> {
        // SAFETY: a `Submission` is used under its lock, and none of its methods has two of these
        // at once or keeps one.
        unsafe { kernel.ring.submission_shared() }
    }
}
