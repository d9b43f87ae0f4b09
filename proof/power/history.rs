//! What the library was asked for, and what it has promised thereby for a loss of power now.

use crate::driver::Op;

/// A request. Times are ticks of the gate's clock.
#[derive(Debug, Clone)]
pub struct Asked {
    pub op: Op,
    pub offset: usize,
    /// Truncate: none. What it covers else.
    pub bytes: usize,
    /// Write: what it writes.
    pub data: Vec<u8>,
    pub fua: bool,
    /// Not whole blocks: it has its place among those that overlap it.
    pub ordered: bool,
    /// Its torn-read promise; 0: none.
    pub unit: usize,
    pub submitted: u64,
    pub completed: Option<u64>,
    /// Truncate, and writes past the end: the length that it gives the object.
    pub length: Option<usize>,
}

impl Asked {
    /// What it covers; a truncate all that it may make zero.
    fn range(&self) -> (usize, usize) {
        match self.op {
            Op::Truncate => (self.offset, usize::MAX),
            Op::Flush | Op::Read => (0, 0),
            _ => (self.offset, self.offset + self.bytes),
        }
    }

    fn covers(&self, from: usize, to: usize) -> bool {
        let (begin, end) = self.range();
        begin <= from && to <= end
    }

    fn touches(&self, from: usize, to: usize) -> bool {
        let (begin, end) = self.range();
        begin < to && from < end
    }

    fn byte(&self, at: usize) -> u8 {
        if self.op == Op::Write {
            self.data[at - self.offset]
        } else {
            0
        }
    }
}

pub struct History {
    /// Before the first request; behind it there are zeros.
    pub initial: Vec<u8>,
    pub asked: Vec<Asked>,
}

/// What is allowed in a stretch of the object.
struct Stretch<'a> {
    from: usize,
    to: usize,
    /// Those that touch it, with whether they are durable.
    touching: Vec<(&'a Asked, usize, bool)>,
}

impl Stretch<'_> {
    /// Whether `later` has put `earlier` aside for good, at `at`.
    fn replaced(&self, earlier: Option<(&Asked, usize)>, at: usize) -> bool {
        self.touching.iter().any(|&(later, number, durable)| {
            durable
                && later.covers(at, at + 1)
                && earlier.is_none_or(|(earlier, before)| {
                    let after = earlier.completed.is_some_and(|end| end <= later.submitted);
                    let in_order = (earlier.ordered || later.ordered) && number > before;
                    number != before && (after || in_order)
                })
        })
    }

    fn allows(&self, at: usize, byte: u8, initial: u8) -> bool {
        let one = |&(asked, number, _): &(&Asked, usize, bool)| {
            asked.covers(at, at + 1)
                && asked.byte(at) == byte
                && !self.replaced(Some((asked, number)), at)
        };
        self.touching.iter().any(one) || (byte == initial && !self.replaced(None, at))
    }
}

impl History {
    /// Whether it survives a loss of power now.
    fn is_durable(&self, asked: &Asked) -> bool {
        let Some(completed) = asked.completed else { return false };
        let flush = |flush: &Asked| {
            flush.op == Op::Flush && flush.completed.is_some() && flush.submitted > completed
        };
        // Advice stays advice.
        asked.op != Op::Discard && (asked.fua || self.asked.iter().any(flush))
    }

    fn stretch(&self, from: usize, to: usize) -> Stretch<'_> {
        let with = |(number, asked)| (asked, number, self.is_durable(asked));
        let touching = self.asked.iter().enumerate().filter(|(_, asked)| asked.touches(from, to));
        Stretch { from, to, touching: touching.map(with).collect() }
    }

    fn initial_at(&self, at: usize) -> u8 {
        self.initial.get(at).copied().unwrap_or(0)
    }

    /// What is wrong with finding `content` at `from` after a loss of power now.
    pub fn objection(&self, from: usize, content: &[u8]) -> Option<String> {
        let stretch = self.stretch(from, from + content.len());
        for (at, &byte) in (from..).zip(content) {
            if !stretch.allows(at, byte, self.initial_at(at)) {
                let what = self.describe(&stretch, at);
                return Some(format!("byte {at} is {byte}: {what}"));
            }
        }
        if !self.is_whole(&stretch, content) {
            return Some(format!("[{from}, {}) is neither old nor new, but mixed", stretch.to));
        }
        None
    }

    /// Whether it is all of one of its values, where all who may have given it one wrote all of it.
    fn is_whole(&self, stretch: &Stretch, content: &[u8]) -> bool {
        let (from, to) = (stretch.from, stretch.to);
        if !stretch.touching.iter().all(|(asked, ..)| asked.covers(from, to)) {
            return true;
        }
        let initial = (from..to).zip(content).all(|(at, byte)| self.initial_at(at) == *byte);
        initial
            || stretch.touching.iter().any(|(asked, ..)| {
                (from..to).zip(content).all(|(at, byte)| asked.byte(at) == *byte)
            })
    }

    /// Whether the unit `[from, to)` of a torn-read promise has only been written whole, and by
    /// requests with that promise.
    pub fn promises_whole(&self, from: usize, to: usize) -> bool {
        let stretch = self.stretch(from, to);
        let whole = |asked: &Asked| {
            asked.op == Op::Write && asked.covers(from, to) && asked.unit >= to - from
        };
        stretch.touching.iter().all(|(asked, ..)| whole(asked))
    }

    fn describe(&self, stretch: &Stretch, at: usize) -> String {
        let mut words = format!("{} at first", self.initial_at(at));
        for (asked, number, durable) in &stretch.touching {
            if asked.covers(at, at + 1) {
                let Asked { op, offset, bytes, submitted, completed, fua, .. } = asked;
                words += &format!(
                    "; #{number} {op:?} of {bytes} at {offset} (ticks {submitted}..{completed:?}, \
                     fua {fua}, durable {durable}) makes it {}",
                    asked.byte(at)
                );
            }
        }
        words
    }

    /// What is wrong with this length. Requests that change it come one after the other.
    pub fn objection_to_length(&self, length: usize) -> Option<String> {
        let mut allowed = vec![self.initial.len()];
        for asked in &self.asked {
            let Some(length) = asked.length else { continue };
            if self.is_durable(asked) {
                allowed.clear();
            }
            allowed.push(length);
        }
        let known = allowed.contains(&length);
        (!known).then(|| format!("its length is {length}, and may be {allowed:?}"))
    }
}
