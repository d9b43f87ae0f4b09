//! The simulated memory: the guest's buffers, and behind them the scratch pool.
//!
//! A cell stands for one byte but holds a label that says where the byte came from, so that two
//! bytes never look alike by chance. Scratch addresses are never used twice in a schedule: keeping
//! one after giving it back is found out.

use std::cell::RefCell;
use std::rc::Rc;

use crate::io::{MemoryCopy, Segment};
use crate::proof::rng::Rng;
use crate::{Scratch, ScratchPool};

pub type Label = u32;

/// Where addresses begin. A multiple of every alignment.
pub const BASE: usize = 1 << 20;

/// What no request has written: gaps, fresh and returned scratch, buffers of reads and broken I/O.
pub const POISON: Label = 0xffff_0000;

/// A byte that was made zero.
pub const ZERO: Label = 0xfffe_0000;

/// A byte that was discarded: whatever the storage likes.
pub const GONE: Label = 0xfffd_0000;

/// What the disk holds at `offset` before the first write.
pub fn initial(offset: u64) -> Label {
    offset as Label
}

/// The byte at `position` of the memory of request `request`.
pub fn written(request: usize, position: usize) -> Label {
    ((request as Label + 1) << 16) | position as Label
}

/// The request that wrote this label; None for whatever has no name of its own.
pub fn source(label: Label) -> Option<usize> {
    match label >> 16 {
        0 | 0xfffd.. => None,
        number => Some(number as usize - 1),
    }
}

struct Block {
    address: usize,
    bytes: usize,
    alignment: usize,
    taken: bool,
}

pub struct Memory {
    cells: Vec<Label>,
    /// Scratch handed out so far, by rising address.
    blocks: Vec<Block>,
    /// Where the zeros are, and how many.
    zeros: Vec<(usize, usize)>,
    scratch_base: usize,
    /// Chance in percent that `take` has nothing to give.
    deny_percent: u64,
    rng: Rng,
    pub denied: u32,
    /// The first misuse of the pool.
    pub misuse: Option<String>,
}

impl Memory {
    pub fn new(guest: Vec<Label>, deny_percent: u64, seed: u64) -> Self {
        let scratch_base = BASE + guest.len();
        Memory {
            cells: guest,
            blocks: Vec::new(),
            zeros: Vec::new(),
            scratch_base,
            deny_percent,
            rng: Rng::new(seed),
            denied: 0,
            misuse: None,
        }
    }

    pub fn get(&self, address: usize) -> Label {
        self.cells[address - BASE]
    }

    pub fn set(&mut self, address: usize, label: Label) {
        self.cells[address - BASE] = label;
    }

    pub fn is_guest(&self, address: usize) -> bool {
        address < self.scratch_base
    }

    /// Whether `[address, address + bytes)` lies inside one piece of scratch that is taken.
    pub fn is_taken(&self, address: usize, bytes: usize) -> bool {
        let after = self.blocks.partition_point(|block| block.address <= address);
        let Some(block) = after.checked_sub(1).map(|at| &self.blocks[at]) else { return false };
        block.taken && address + bytes <= block.address + block.bytes
    }

    pub fn taken_count(&self) -> usize {
        self.blocks.iter().filter(|block| block.taken).count()
    }

    /// Whether `[address, address + bytes)` lies in memory that is zero for ever.
    pub fn is_zeros(&self, address: usize, bytes: usize) -> bool {
        let within = |&(at, zeros): &(usize, usize)| at <= address && address + bytes <= at + zeros;
        self.zeros.iter().any(within)
    }

    /// Nobody has written to the zeros.
    pub fn zeros_are_intact(&self) -> bool {
        let intact = |&(at, zeros): &(usize, usize)| {
            self.cells[at - BASE..at - BASE + zeros].iter().all(|&cell| cell == ZERO)
        };
        self.zeros.iter().all(intact)
    }

    fn zeros(&mut self, bytes: usize, alignment: usize) -> Option<Segment> {
        let fits = |&&(at, zeros): &&(usize, usize)| zeros >= bytes && at.is_multiple_of(alignment);
        if let Some(&(address, bytes)) = self.zeros.iter().find(fits) {
            return Some(Segment { address, bytes });
        }
        if self.rng.percent(self.deny_percent) {
            self.denied += 1;
            return None;
        }
        let address = (BASE + self.cells.len() + 1).next_multiple_of(alignment);
        let given = bytes + self.rng.index(2 * bytes);
        self.cells.resize(address - BASE, POISON);
        self.cells.resize(address - BASE + given, ZERO);
        self.zeros.push((address, given));
        Some(Segment { address, bytes: given })
    }

    fn take(&mut self, bytes: usize, alignment: usize) -> Option<Scratch> {
        if bytes == 0 || !alignment.is_power_of_two() {
            self.misuse.get_or_insert(format!("take({bytes}, {alignment})"));
            return None;
        }
        if self.rng.percent(self.deny_percent) {
            self.denied += 1;
            return None;
        }
        // Aligned as asked and, every other time, no better than that.
        let end = BASE + self.cells.len() + 1;
        let mut address = end.next_multiple_of(alignment);
        if address.is_multiple_of(2 * alignment) && self.rng.percent(50) {
            address += alignment;
        }
        let given = bytes + self.rng.index(4);
        self.cells.resize(address + given - BASE, POISON);
        self.blocks.push(Block { address, bytes: given, alignment, taken: true });
        Some(Scratch { address, bytes: given, alignment })
    }

    fn copy_in(&mut self, copy: MemoryCopy) {
        let MemoryCopy { from, to, bytes } = copy;
        if !self.is_guest(from + bytes - 1) || !self.is_taken(to, bytes) {
            self.misuse.get_or_insert(format!("copies what it may not: {copy:x?}"));
            return;
        }
        self.cells.copy_within(from - BASE..from - BASE + bytes, to - BASE);
    }

    fn give(&mut self, scratch: &Scratch) {
        let known = self.blocks.iter_mut().find(|block| block.address == scratch.address);
        match known {
            Some(block)
                if block.taken
                    && block.bytes == scratch.bytes
                    && block.alignment == scratch.alignment =>
            {
                block.taken = false;
                let start = scratch.address - BASE;
                self.cells[start..start + scratch.bytes].fill(POISON | 1);
            }
            _ => {
                self.misuse.get_or_insert(format!("gave back what it has not: {scratch:x?}"));
            }
        }
    }
}

/// The pool that the machine gets: the same memory, seen through the machine's own interface.
#[derive(Clone)]
pub struct Pool(pub Rc<RefCell<Memory>>);

impl ScratchPool for Pool {
    fn take(&mut self, bytes: usize, alignment: usize) -> Option<Scratch> {
        self.0.borrow_mut().take(bytes, alignment)
    }

    fn give(&mut self, scratch: Scratch) {
        self.0.borrow_mut().give(&scratch);
    }

    fn zeros(&mut self, bytes: usize, alignment: usize) -> Option<Segment> {
        self.0.borrow_mut().zeros(bytes, alignment)
    }

    fn copy(&mut self, copy: MemoryCopy) {
        self.0.borrow_mut().copy_in(copy);
    }
}
