//! Which values each byte of an overlay may have. Every request that changes bytes is a deed over a
//! time; a read, too, once it has returned: what it saw was there at some moment of its own time.
//! A deed *hides* another of the same byte if it began after the other's end. Then a read that
//! begins after its end must not see the other any more; nor may a loss of power bring the other
//! back, if the deed was durable by then.

use std::ops::Range;

use crate::proof::memory::{Label, ZERO};

/// What became of a deed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    UnderWay,
    /// It failed half way, or is advice: each byte may have its value from some moment on, or not.
    Perhaps,
    Done,
    /// It was taken back, or was busy: nothing of it may ever be seen.
    Nothing,
}

#[derive(Debug)]
pub struct Deed {
    pub range: Range<u64>,
    /// The value of each byte; of none for zeros.
    pub labels: Option<Vec<Label>>,
    pub begin: u64,
    pub end: u64,
    pub fate: Fate,
    /// From this moment on a loss of power leaves it.
    pub durable: u64,
}

impl Deed {
    fn value(&self, offset: u64) -> Label {
        self.labels.as_ref().map_or(ZERO, |labels| labels[(offset - self.range.start) as usize])
    }
}

#[derive(Debug)]
pub struct Values {
    initial: Vec<Label>,
    pub deeds: Vec<Deed>,
    /// By byte: what reads have seen, and their times.
    seen: Vec<Vec<(Label, u64, u64)>>,
}

impl Values {
    pub fn new(initial: Vec<Label>) -> Values {
        let seen = vec![Vec::new(); initial.len()];
        Values { initial, deeds: Vec::new(), seen }
    }

    /// Whether a read from `begin` to `end` may see this value; then it counts as seen.
    pub fn see(&mut self, offset: u64, label: Label, begin: u64, end: u64) -> Result<(), String> {
        let hides = |from: u64, to: u64, other_end: u64| other_end < from && to < begin;
        let seen = &self.seen[offset as usize];
        let hidden = |other_end: u64| {
            seen.iter().any(|&(_, from, to)| hides(from, to, other_end))
                || self
                    .of(offset)
                    .any(|deed| deed.fate == Fate::Done && hides(deed.begin, deed.end, other_end))
        };
        let fits = (self.initial[offset as usize] == label && !hidden(0))
            || seen.iter().any(|&(value, _, to)| value == label && !hidden(to))
            || self.of(offset).any(|deed| {
                deed.fate != Fate::Nothing
                    && deed.begin < end
                    && deed.value(offset) == label
                    && !hidden(deed.end)
            });
        if !fits {
            return Err(format!("byte {offset} is {label:x} in a read from {begin} to {end}"));
        }
        self.seen[offset as usize].push((label, begin, end));
        Ok(())
    }

    /// Whether a loss of power at `now` may leave this value.
    pub fn survives(&self, offset: u64, label: Label, now: u64) -> Result<(), String> {
        let hidden = |other_end: u64| {
            self.of(offset).any(|deed| {
                deed.fate == Fate::Done && other_end < deed.begin && deed.durable <= now
            })
        };
        let fits = (self.initial[offset as usize] == label && !hidden(0))
            || self.of(offset).any(|deed| {
                deed.fate != Fate::Nothing && deed.value(offset) == label && !hidden(deed.end)
            });
        match fits {
            true => Ok(()),
            false => Err(format!("byte {offset} is {label:x} after a loss of power at {now}")),
        }
    }

    fn of(&self, offset: u64) -> impl Iterator<Item = &Deed> {
        self.deeds.iter().filter(move |deed| deed.range.contains(&offset))
    }

    /// A flush that began at `begin` is done.
    pub fn flushed(&mut self, begin: u64, now: u64) {
        for deed in &mut self.deeds {
            if deed.fate == Fate::Done && deed.end < begin {
                deed.durable = deed.durable.min(now);
            }
        }
    }
}
