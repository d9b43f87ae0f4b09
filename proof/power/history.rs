//! What the library was asked for, and what it has promised thereby for a loss of power now.

use crate::driver::Op;
use crate::proof::model::{Change, Stretch};

/// A request. Its change's times are ticks of the clock that the storage's events take theirs from.
#[derive(Debug, Clone)]
pub struct Asked {
    pub op: Op,
    /// What it changes; a truncate all that it may make zero, a flush or a read nothing.
    pub change: Change,
    pub fua: bool,
    /// Its torn-read promise; 0: none.
    pub unit: usize,
    /// Truncate, and writes past the end: the length that it gives the object.
    pub length: Option<usize>,
}

pub struct History {
    /// Before the first request; behind it there are zeros.
    pub initial: Vec<u8>,
    pub asked: Vec<Asked>,
}

impl History {
    /// Whether it survives a loss of power now.
    fn is_durable(&self, asked: &Asked) -> bool {
        let Some(completed) = asked.change.ended else { return false };
        let flush = |flush: &Asked| {
            flush.op == Op::Flush && flush.change.ended.is_some() && flush.change.begun > completed
        };
        // Advice stays advice.
        asked.op != Op::Discard && (asked.fua || self.asked.iter().any(flush))
    }

    /// What is allowed there: what is durable is certain.
    fn stretch(&self, from: usize, to: usize) -> Stretch<'_> {
        let touches = |asked: &Asked| asked.change.touches(from, to);
        let certain = |asked: &Asked| touches(asked) && self.is_durable(asked);
        let all = self.asked.iter().map(|asked| (&asked.change, certain(asked)));
        Stretch::new(from, to, &self.initial, all)
    }

    fn initial_at(&self, at: usize) -> u8 {
        self.initial.get(at).copied().unwrap_or(0)
    }

    /// What is wrong with finding `content` at `from` after a loss of power now.
    pub fn objection(&self, from: usize, content: &[u8]) -> Option<String> {
        let to = from + content.len();
        let stretch = self.stretch(from, to);
        if let Some(at) = stretch.first_wrong(content) {
            return Some(format!("byte {at} is {}: {}", content[at - from], self.describe(at)));
        }
        if !self.is_whole(&stretch, from, content) {
            return Some(format!("[{from}, {to}) is neither old nor new, but mixed"));
        }
        None
    }

    /// Whether it is as a whole what one request made of it, or what it was at first; asked where
    /// every request that touches it covers all of it.
    fn is_whole(&self, stretch: &Stretch<'_>, from: usize, content: &[u8]) -> bool {
        let to = from + content.len();
        let touching = &stretch.touching;
        if !touching.iter().all(|touch| touch.change.covers(from, to)) {
            return true;
        }
        let initial = (from..to).zip(content).all(|(at, byte)| self.initial_at(at) == *byte);
        initial || touching.iter().any(|touch| touch.change.gives(from, content))
    }

    /// Whether the unit `[from, to)` of a torn-read promise has only been written whole, and by
    /// requests with that promise.
    pub fn promises_whole(&self, from: usize, to: usize) -> bool {
        let whole = |asked: &Asked| {
            asked.op == Op::Write && asked.change.covers(from, to) && asked.unit >= to - from
        };
        let mut touching = self.asked.iter().filter(|asked| asked.change.touches(from, to));
        touching.all(whole)
    }

    fn describe(&self, at: usize) -> String {
        let mut words = format!("{} at first", self.initial_at(at));
        for (number, asked) in self.asked.iter().enumerate() {
            let Asked { op, change, fua, .. } = asked;
            if change.covers(at, at + 1) {
                let durable = self.is_durable(asked);
                words += &format!(
                    "; #{number} {op:?} of [{}, {}) (ticks {}..{:?}, fua {fua}, durable {durable}) \
                     makes it {}",
                    change.offset,
                    change.end(),
                    change.begun,
                    change.ended,
                    change.byte(at)
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
