//! What each byte of the object may be. A request that changes bytes is a `Change` from when it is
//! submitted on; each byte has the set of changes that may have been the last to reach it. A
//! success rules out what was over before it began, and what it was ordered behind.
//!
//! At most 64 changes, of which number 0 is the contents at first: a set is a u64.

/// Most bytes of an object.
pub const CAPACITY: u64 = 96 << 10;
/// Most changes in one run.
pub const CHANGES_MAX: usize = 64;

#[derive(Clone, Copy, PartialEq)]
pub enum Value {
    /// A different byte for each change and place.
    Pattern,
    Zero,
    /// What a discard leaves behind.
    Anything,
}

struct Change {
    value: Value,
    offset: u64,
    end: u64,
    began: u64,
    ended: Option<u64>,
    /// Its place among what entered the library; None: still held back by a plug.
    order: Option<u64>,
    /// Waits for, and holds up, every overlapping one: a part of a block, or SERIALISING.
    exclusive: bool,
}

pub struct Model {
    candidates: Vec<u64>,
    changes: Vec<Change>,
    /// Steps by one with each begin and end.
    clock: u64,
    initial_length: u64,
    /// The length of the object lies between these.
    pub length_least: u64,
    pub length_most: u64,
    /// The sets of reads that are under way: (offset, a set for each byte).
    reads: Vec<Option<(u64, Vec<u64>)>>,
}

/// The byte that change number `index` puts at `at`.
pub fn pattern(index: usize, at: u64) -> u8 {
    let mixed = (at + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ (index as u64) << 32;
    (mixed.wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 56) as u8
}

impl Model {
    pub fn new(length: u64) -> Model {
        let first = Change {
            value: Value::Pattern,
            offset: 0,
            end: CAPACITY,
            began: 0,
            ended: Some(0),
            order: Some(0),
            exclusive: false,
        };
        Model {
            candidates: vec![1; CAPACITY as usize],
            changes: vec![first],
            clock: 1,
            initial_length: length,
            length_least: length,
            length_most: length,
            reads: Vec::new(),
        }
    }

    pub fn is_full(&self) -> bool {
        self.changes.len() == CHANGES_MAX
    }

    /// A change of [offset, offset + bytes) begins. Its number.
    pub fn begin(&mut self, value: Value, offset: u64, bytes: u64, exclusive: bool) -> usize {
        let index = self.changes.len();
        assert!(index < CHANGES_MAX);
        let offset = offset.min(CAPACITY);
        let end = (offset.saturating_add(bytes)).min(CAPACITY);
        self.clock += 1;
        let began = self.clock;
        let change = Change { value, offset, end, began, ended: None, order: None, exclusive };
        self.changes.push(change);
        for set in &mut self.candidates[offset as usize..end as usize] {
            *set |= 1 << index;
        }
        for (start, sets) in self.reads.iter_mut().flatten() {
            let low = offset.max(*start);
            for at in low..end.min(*start + sets.len() as u64) {
                sets[(at - *start) as usize] |= 1 << index;
            }
        }
        index
    }

    /// It enters the library now, behind all that did before.
    pub fn enter(&mut self, index: usize) {
        self.clock += 1;
        self.changes[index].order = Some(self.clock);
    }

    /// It has succeeded.
    pub fn succeed(&mut self, index: usize) {
        let keep = self.beside(index);
        let Change { offset, end, .. } = self.changes[index];
        for set in &mut self.candidates[offset as usize..end as usize] {
            *set &= keep;
        }
        self.end(index);
    }

    /// It has failed, perhaps half way.
    pub fn fail(&mut self, index: usize) {
        self.end(index);
    }

    /// It has never reached the storage.
    pub fn withdraw(&mut self, index: usize) {
        let Change { offset, end, .. } = self.changes[index];
        for set in &mut self.candidates[offset as usize..end as usize] {
            *set &= !(1 << index);
        }
        self.end(index);
    }

    fn end(&mut self, index: usize) {
        self.clock += 1;
        self.changes[index].ended = Some(self.clock);
    }

    /// The set of `index` itself and of what may have been later than it.
    fn beside(&self, index: usize) -> u64 {
        let this = &self.changes[index];
        let mut set = 1 << index;
        for (other, change) in self.changes.iter().enumerate() {
            let over = change.ended.is_some_and(|ended| ended < this.began);
            let before = match (change.order, this.order) {
                (Some(its), Some(ours)) => its < ours && (change.exclusive || this.exclusive),
                _ => false,
            };
            if !over && !before {
                set |= 1 << other;
            }
        }
        set
    }

    /// A read begins. Its number.
    pub fn begin_read(&mut self, offset: u64, bytes: u64) -> usize {
        let start = offset.min(CAPACITY) as usize;
        let end = offset.saturating_add(bytes).min(CAPACITY) as usize;
        self.reads.push(Some((offset, self.candidates[start..end].to_vec())));
        self.reads.len() - 1
    }

    pub fn forget_read(&mut self, index: usize) {
        self.reads[index] = None;
    }

    /// The read is over: it may have seen `byte` at `at`, of `index`.
    pub fn may_have_read(&self, index: usize, at: u64, byte: u8) -> bool {
        let (start, sets) = self.reads[index].as_ref().expect("a read that has begun");
        match sets.get((at - start) as usize) {
            Some(&set) => self.fits(set, at, byte),
            // Beyond all that is ever written.
            None => byte == 0,
        }
    }

    /// The object may have `byte` at `at` now.
    pub fn may_be(&self, at: u64, byte: u8) -> bool {
        self.fits(self.candidates[at as usize], at, byte)
    }

    fn fits(&self, mut set: u64, at: u64, byte: u8) -> bool {
        while set != 0 {
            let index = set.trailing_zeros() as usize;
            set &= set - 1;
            let value = match self.changes[index].value {
                Value::Anything => return true,
                Value::Pattern if index > 0 || at < self.initial_length => pattern(index, at),
                Value::Pattern | Value::Zero => 0,
            };
            if value == byte {
                return true;
            }
        }
        false
    }

    /// For the words of a finding: who may have written the byte last.
    pub fn describe(&self, at: u64) -> String {
        let set = self.candidates[at as usize];
        let one = |index: usize| {
            let change = &self.changes[index];
            format!(
                "{index}: [{}, {}) began {} ended {:?} order {:?} exclusive {} puts {:#x}",
                change.offset,
                change.end,
                change.began,
                change.ended,
                change.order,
                change.exclusive,
                pattern(index, at),
            )
        };
        let names: Vec<String> = (0..64).filter(|bit| set >> bit & 1 == 1).map(one).collect();
        names.join("; ")
    }
}
