//! The simulated storage: a disk of labels, and what one I/O does to it between issue and end.
//!
//! An I/O moves its bytes unit by unit, at whatever moments and in whatever order the schedule
//! says: other I/Os see it half done.

use std::ops::Range;

use super::ledger::{bit, Set};
use super::memory::{source, Label, Memory, GONE, POISON, ZERO};
use crate::io::{Io, Op};
use crate::proof::rng::Rng;

/// How an I/O ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Full,
    /// So many bytes, fewer than asked for.
    Short(u64),
    Failed(i32),
}

/// One I/O at the storage.
#[derive(Debug)]
pub struct Flight {
    pub io: Io,
    pub queue: usize,
    pub request: usize,
    /// It and those that share its I/O.
    pub sharers: Set,
    /// The joined I/O that it is a part of.
    pub joint: Option<usize>,
    /// Of every byte; empty where no memory is moved.
    pub addresses: Vec<usize>,
    /// What it may make zero.
    pub zeroes: Range<u64>,
    /// Where the units begin that have not moved yet.
    pending: Vec<usize>,
    unit: usize,
    copied: bool,
    /// A byte that belongs to none of the sharers got another value.
    pub changed_neighbour: Option<u64>,
}

impl Flight {
    pub fn new(io: Io, queue: usize, request: usize, addresses: Vec<usize>, unit: u64) -> Self {
        let unit = unit as usize;
        let sharers = bit(request);
        let pending = (0..io.bytes as usize).step_by(unit).collect();
        Flight {
            io,
            queue,
            request,
            sharers,
            joint: None,
            addresses,
            zeroes: 0..0,
            pending,
            unit,
            copied: false,
            changed_neighbour: None,
        }
    }

    /// How many units have not moved yet.
    pub fn pending(&self) -> usize {
        self.pending.len()
    }

    /// Moves one of the units that have not moved yet.
    pub fn advance_one(&mut self, index: usize, disk: &mut [Label], memory: &mut Memory) {
        let start = self.pending.remove(index);
        self.apply(start, disk, memory);
    }

    /// Moves each unit that has not moved yet with a chance of `percent`.
    pub fn advance(
        &mut self,
        disk: &mut [Label],
        memory: &mut Memory,
        percent: u64,
        rng: &mut Rng,
    ) {
        let mut at = 0;
        while at < self.pending.len() {
            if percent >= 100 || rng.percent(percent) {
                let start = self.pending.swap_remove(at);
                self.apply(start, disk, memory);
            } else {
                at += 1;
            }
        }
    }

    /// Ends the I/O: what the storage still does, and what it says.
    pub fn end(
        &mut self,
        outcome: Outcome,
        disk: &mut [Label],
        memory: &mut Memory,
        rng: &mut Rng,
    ) -> Result<u64, i32> {
        match outcome {
            Outcome::Full => {
                self.advance(disk, memory, 100, rng);
                if self.io.op == Op::Read {
                    self.copy(memory);
                }
                Ok(self.io.bytes)
            }
            Outcome::Short(moved) => {
                let rest = self.pending.iter().copied().filter(|&start| start >= moved as usize);
                let rest = rest.collect();
                let told = std::mem::replace(&mut self.pending, rest);
                for start in told.into_iter().filter(|&start| start < moved as usize) {
                    self.apply(start, disk, memory);
                }
                self.scribble(moved as usize, memory);
                Ok(moved)
            }
            Outcome::Failed(errno) => {
                let refused = errno == libc::EOPNOTSUPP;
                if !matches!(self.io.op, Op::Read | Op::Flush | Op::Truncate) && !refused {
                    let percent = rng.pick(&[0, 0, 50, 100]);
                    self.advance(disk, memory, percent, rng);
                }
                self.scribble(0, memory);
                Err(errno)
            }
        }
    }

    fn apply(&mut self, start: usize, disk: &mut [Label], memory: &mut Memory) {
        let end = (start + self.unit).min(self.io.bytes as usize);
        match self.io.op {
            Op::Write => {
                self.copy(memory);
                for at in start..end {
                    let offset = self.io.offset + at as u64;
                    let label = memory.get(self.addresses[at]);
                    let old = std::mem::replace(&mut disk[offset as usize], label);
                    let theirs = source(label).is_some_and(|n| self.sharers & bit(n) != 0)
                        || (label == ZERO && self.zeroes.contains(&offset));
                    if label != old && !theirs {
                        self.changed_neighbour = Some(offset);
                    }
                }
            }
            Op::Fill => {
                self.addresses[start..end].iter().for_each(|&at| memory.set(at, ZERO));
            }
            Op::WriteZeroes => disk[self.bytes(start, end)].fill(ZERO),
            Op::Discard => disk[self.bytes(start, end)].fill(GONE),
            Op::Read => {
                for at in start..end {
                    memory.set(self.addresses[at], disk[self.io.offset as usize + at]);
                }
            }
            _ => {}
        }
    }

    fn bytes(&self, start: usize, end: usize) -> Range<usize> {
        self.io.offset as usize + start..self.io.offset as usize + end
    }

    /// Carries out the I/O's copies, once.
    fn copy(&mut self, memory: &mut Memory) {
        if std::mem::replace(&mut self.copied, true) {
            return;
        }
        for copy in &self.io.copies {
            for at in 0..copy.bytes {
                memory.set(copy.to + at, memory.get(copy.from + at));
            }
        }
    }

    /// What a read did not deliver, it may have left in any state.
    fn scribble(&self, from: usize, memory: &mut Memory) {
        if self.io.op == Op::Read {
            for &address in &self.addresses[from..] {
                memory.set(address, POISON | 2);
            }
        }
    }
}
