//! Which bytes may be there: one rule, for all that prove something about the whole library.
//!
//! A byte is that of a change which covers it, if no other change has replaced that one there. A
//! change replaces another if it is certain to be there and comes later: it began when the other
//! had ended, or the library gives the two an order. An example, with ticks of one clock:
//!
//! ```text
//!   A writes bytes 0 to 7 in ticks 1 to 2, and succeeds.
//!   B writes bytes 4 to 7 in ticks 3 to 5, and succeeds.
//!   C writes bytes 0 to 7 from tick 4 on, and has not ended.
//!   Byte 1 is A's or C's, byte 5 is B's or C's: B has replaced A, and C has not
//!   replaced anything yet.
//! ```
//!
//! What is certain depends on the question. [`Model`] asks what reads may see: a change that
//! succeeded is certain from its end on. `proof/power` asks what survives a loss of power: a change
//! that was flushed is certain.
//!
//! The machine's crate has a model of its own (`proof/machine/model.rs`): it is compiled without
//! this library, knows the order in which the machine lets writes start, and so allows less.

/// A change of bytes: a write, zeros, or what a truncate cuts off.
#[derive(Debug, Clone)]
pub struct Change {
    pub offset: usize,
    pub data: Data,
    pub begun: u64,
    /// None: it has not ended, and may have been done in part.
    pub ended: Option<u64>,
    /// It is not whole blocks: the library gives it its place among those that overlap it.
    pub ordered: bool,
}

#[derive(Debug, Clone)]
pub enum Data {
    Bytes(Vec<u8>),
    /// So many.
    Zeros(usize),
}

impl Change {
    pub fn end(&self) -> usize {
        let bytes = match &self.data {
            Data::Bytes(bytes) => bytes.len(),
            Data::Zeros(bytes) => *bytes,
        };
        self.offset.saturating_add(bytes)
    }

    pub fn covers(&self, from: usize, to: usize) -> bool {
        self.offset <= from && to <= self.end()
    }

    pub fn touches(&self, from: usize, to: usize) -> bool {
        self.offset < to && from < self.end()
    }

    /// What it makes of the byte at `at`, which it covers.
    pub fn byte(&self, at: usize) -> u8 {
        match &self.data {
            Data::Bytes(bytes) => bytes[at - self.offset],
            Data::Zeros(_) => 0,
        }
    }

    /// Whether it makes the bytes from `from` on, which it covers, into `found`.
    pub fn gives(&self, from: usize, found: &[u8]) -> bool {
        match &self.data {
            Data::Bytes(bytes) => bytes[from - self.offset..][..found.len()] == *found,
            Data::Zeros(_) => found.iter().all(|byte| *byte == 0),
        }
    }
}

/// A change that touches a stretch.
pub struct Touch<'a> {
    pub change: &'a Change,
    /// Its place in the order of beginning.
    number: usize,
    pub certain: bool,
}

impl Touch<'_> {
    /// Whether nothing of `earlier` is left where both have been.
    fn replaces(&self, earlier: &Touch<'_>) -> bool {
        let after = earlier.change.ended.is_some_and(|end| end <= self.change.begun);
        let in_order = earlier.change.ordered || self.change.ordered;
        self.certain && (after || (in_order && self.number > earlier.number))
    }
}

/// What is allowed in a stretch of an object.
pub struct Stretch<'a> {
    from: usize,
    to: usize,
    /// What was there before the first change; behind it there are zeros.
    initial: &'a [u8],
    pub touching: Vec<Touch<'a>>,
}

impl<'a> Stretch<'a> {
    /// `all`: the changes in the order of their beginnings, and whether each is certain.
    pub fn new(
        from: usize,
        to: usize,
        initial: &'a [u8],
        all: impl Iterator<Item = (&'a Change, bool)>,
    ) -> Stretch<'a> {
        let touch = |(number, (change, certain))| Touch { change, number, certain };
        let touching = all.enumerate().filter(|(_, (change, _))| change.touches(from, to));
        Stretch { from, to, initial, touching: touching.map(touch).collect() }
    }

    fn initial_at(&self, at: usize) -> u8 {
        self.initial.get(at).copied().unwrap_or(0)
    }

    /// The changes that may have given the byte at `at` its value; and whether it may be as at
    /// first.
    fn may(&self, at: usize) -> (Vec<&'a Change>, bool) {
        let here = || self.touching.iter().filter(|touch| touch.change.covers(at, at + 1));
        let is_left = |earlier: &&Touch<'a>| !here().any(|later| later.replaces(earlier));
        let changes = here().filter(is_left).map(|touch| touch.change).collect();
        (changes, !here().any(|touch| touch.certain))
    }

    /// All that the byte at `at` may be.
    pub fn allowed(&self, at: usize) -> Vec<u8> {
        let (changes, untouched) = self.may(at);
        let mut bytes: Vec<u8> = changes.iter().map(|change| change.byte(at)).collect();
        bytes.extend(untouched.then(|| self.initial_at(at)));
        bytes
    }

    /// The place of the first byte of `found`, which is all of the stretch, that may not be there.
    pub fn first_wrong(&self, found: &[u8]) -> Option<usize> {
        let mut from = self.from;
        while from < self.to {
            // Up to there every byte has the same changes.
            let ends = self.touching.iter().flat_map(|its| [its.change.offset, its.change.end()]);
            let to = ends.filter(|end| *end > from).min().unwrap_or(self.to).min(self.to);
            let found = &found[from - self.from..to - self.from];
            let (changes, untouched) = self.may(from);
            let as_it_was = || (from..to).zip(found).all(|(at, byte)| *byte == self.initial_at(at));
            let all_of_one = changes.iter().any(|change| change.gives(from, found))
                || (untouched && as_it_was());
            if !all_of_one {
                let allows = |at: usize, byte: u8| {
                    changes.iter().any(|change| change.byte(at) == byte)
                        || (untouched && byte == self.initial_at(at))
                };
                let wrong = (from..to).zip(found).find(|(at, byte)| !allows(*at, **byte));
                if let Some((at, _)) = wrong {
                    return Some(at);
                }
            }
            from = to;
        }
        None
    }
}

/// What became of a change that has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It is there.
    Certain,
    /// It failed, or was advice: each of its bytes may be there or not.
    Open,
}

struct Known {
    name: usize,
    change: Change,
    outcome: Option<Outcome>,
}

struct Read {
    name: usize,
    offset: usize,
    begun: u64,
}

/// What reads of an object may see. Requests begin here before they are submitted, and end when
/// their callbacks run; each has a name of its own.
pub struct Model {
    initial: Vec<u8>,
    length: usize,
    changes: Vec<Known>,
    reads: Vec<Read>,
    clock: u64,
}

impl Model {
    pub fn new(initial: Vec<u8>) -> Model {
        let length = initial.len();
        Model { initial, length, changes: Vec::new(), reads: Vec::new(), clock: 0 }
    }

    fn tick(&mut self) -> u64 {
        self.clock += 1;
        self.clock
    }

    pub fn begin(&mut self, name: usize, offset: usize, data: Data) {
        let begun = self.tick();
        let change = Change { offset, data, begun, ended: None, ordered: false };
        self.changes.push(Known { name, change, outcome: None });
    }

    pub fn end(&mut self, name: usize, outcome: Outcome) {
        let now = self.tick();
        let its = self.changes.iter_mut().find(|its| its.name == name).expect("begun");
        its.change.ended = Some(now);
        its.outcome = Some(outcome);
    }

    /// It has changed nothing, and will not.
    pub fn withdraw(&mut self, name: usize) {
        self.changes.retain(|its| its.name != name);
    }

    pub fn begin_read(&mut self, name: usize, offset: usize) {
        let begun = self.tick();
        self.reads.push(Read { name, offset, begun });
    }

    /// `found`: what it has read, if it succeeded.
    pub fn end_read(&mut self, name: usize, found: Option<&[u8]>) -> Result<(), String> {
        let at = self.reads.iter().position(|read| read.name == name).expect("begun");
        let Read { offset, begun, .. } = self.reads.swap_remove(at);
        let Some(found) = found else { return Ok(()) };
        let inside = found.len().min(self.length.saturating_sub(offset));
        let why = self.objection_since(begun, offset, &found[..inside]);
        why.map_or(Ok(()), |why| Err(format!("a read finds: {why}")))
    }

    /// What is wrong with finding `found` at `offset` now.
    pub fn objection(&self, offset: usize, found: &[u8]) -> Option<String> {
        let end = offset + found.len();
        if end > self.length {
            return Some(format!("{end} bytes where there are {}", self.length));
        }
        self.objection_since(u64::MAX, offset, found)
    }

    /// To a read that began at `begun` is certain what had ended by then.
    fn objection_since(&self, begun: u64, offset: usize, found: &[u8]) -> Option<String> {
        let certain = |its: &Known| {
            its.outcome == Some(Outcome::Certain)
                && its.change.ended.is_some_and(|ended| ended <= begun)
        };
        let all = self.changes.iter().map(|its| (&its.change, certain(its)));
        let stretch = Stretch::new(offset, offset + found.len(), &self.initial, all);
        let at = stretch.first_wrong(found)?;
        let may = stretch.allowed(at);
        Some(format!("byte {at} is {}, and may be {may:?}", found[at - offset]))
    }
}

/// Requests that come one after the other.
#[cfg(test)]
impl Model {
    pub fn length(&self) -> usize {
        self.length
    }

    fn change(&mut self, offset: usize, data: Data, outcome: Outcome) {
        let name = self.changes.len();
        self.begin(name, offset, data);
        self.end(name, outcome);
    }

    /// A write of `data` that has succeeded, or not.
    pub fn write(&mut self, offset: usize, data: &[u8], succeeded: bool) {
        if succeeded && offset + data.len() > self.length {
            self.resize(offset + data.len());
        }
        let outcome = if succeeded { Outcome::Certain } else { Outcome::Open };
        self.change(offset, Data::Bytes(data.to_vec()), outcome);
    }

    /// A discard: zeros, or nothing.
    pub fn discard(&mut self, offset: usize, bytes: usize) {
        self.change(offset, Data::Zeros(bytes), Outcome::Open);
    }

    /// What is cut off or added is zeros.
    pub fn resize(&mut self, bytes: usize) {
        self.change(bytes.min(self.length), Data::Zeros(usize::MAX), Outcome::Certain);
        self.length = bytes;
    }
}

#[cfg(test)]
#[path = "model_tests.rs"]
mod tests;
