//! What a loss of power may leave of what was done to the storage.
//!
//! - What was done before a flush began that has ended is there, and so is what was written with
//!   RWF_DSYNC; each in the place among the others that it had when it ended.
//! - Of all else anything may be there or not: each write by itself, and of a write each block by
//!   itself; and what has not ended in any order. An atomic write is there as a whole or not.
//! - A block is there as a whole or not. A harsher disk tears it into sectors of 512 bytes.
//! - Changes of the length are there in their order, up to some point (file systems keep a journal
//!   of them). A durable write that makes the file longer takes them along.

use crate::proof::power::deed::{Deed, Event};
use crate::proof::rng::Rng;

/// So many choices are all made; of more a few hundred, by chance.
const CHOICES_MAX: usize = 7;
const SAMPLES: usize = 100;

pub struct Crash<'a> {
    events: &'a [Event],
    initial: &'a [u8],
    /// What is there as a whole or not.
    block: usize,
    /// By event.
    durable: Vec<bool>,
}

/// What an event may leave in a cell: one choice for each of its blocks there.
struct Part<'a> {
    event: &'a Event,
    from: usize,
    to: usize,
    /// Else it may be there.
    certain: bool,
}

impl Part<'_> {
    fn apply(&self, cell: &mut [u8], begin: usize) {
        let target = &mut cell[self.from - begin..self.to - begin];
        match &self.event.deed {
            Deed::Write { offset, data, .. } => {
                target.copy_from_slice(&data[self.from - offset..self.to - offset]);
            }
            _ => target.fill(0),
        }
    }
}

impl<'a> Crash<'a> {
    pub fn new(events: &'a [Event], initial: &'a [u8], block: usize) -> Crash<'a> {
        let syncs: Vec<&Event> =
            events.iter().filter(|it| it.deed == Deed::Sync && it.end.is_some()).collect();
        let flushed =
            |event: &Event| event.end.is_some_and(|end| syncs.iter().any(|sync| sync.begin > end));
        let mut durable: Vec<bool> = events
            .iter()
            .map(|event| {
                let by_itself = matches!(event.deed, Deed::Write { durable: true, .. });
                flushed(event) || (by_itself && event.end.is_some())
            })
            .collect();
        // A durable write past what was the end keeps the length, and all changes before.
        let mut keeps = false;
        let mut past = 0;
        for at in (0..events.len()).rev() {
            match &events[at].deed {
                Deed::Write { offset, data, .. } if durable[at] => {
                    past = past.max(offset + data.len());
                }
                Deed::Truncate { bytes } => {
                    keeps |=
                        durable[at] || (*bytes > events[at].length && past > events[at].length);
                    durable[at] |= keeps && events[at].end.is_some();
                    past = past.min(events[at].length);
                }
                _ => {}
            }
        }
        Crash { events, initial, block, durable }
    }

    /// The numbers of the changes of the length, how many of them are certain, and the length
    /// after each count of them.
    fn lengths(&self) -> (Vec<usize>, usize, Vec<usize>) {
        let is = |at: &usize| matches!(self.events[*at].deed, Deed::Truncate { .. });
        let changes: Vec<usize> = (0..self.events.len()).filter(is).collect();
        let certain = changes.iter().filter(|at| self.durable[**at]).count();
        let after = |at: &usize| match self.events[*at].deed {
            Deed::Truncate { bytes } => bytes,
            _ => unreachable!("filtered above"),
        };
        let lengths = std::iter::once(self.initial.len()).chain(changes.iter().map(after));
        let lengths = lengths.collect();
        (changes, certain, lengths)
    }

    /// All contents that `[begin, begin + bytes)` may have; `look` gets each with the length that
    /// the object has then, and what lies beyond it cut off.
    pub fn contents(
        &self,
        begin: usize,
        bytes: usize,
        rng: &mut Rng,
        look: &mut dyn FnMut(&[u8], usize),
    ) {
        let (changes, certain, lengths) = self.lengths();
        for kept in certain..=changes.len() {
            let length = lengths[kept];
            if begin >= length && begin > 0 {
                look(&[], length);
                continue;
            }
            let parts = self.parts(begin, begin + bytes, &changes[..kept]);
            let visible = bytes.min(length - begin);
            let mut base: Vec<u8> = vec![0; bytes];
            let there = self.initial.len().saturating_sub(begin).min(bytes);
            base[..there].copy_from_slice(&self.initial[begin.min(self.initial.len())..][..there]);
            choose(&parts, &base, begin, rng, &mut |cell| look(&cell[..visible], length));
        }
    }

    /// What touches the cell, in order, from the last on that certainly covers it all.
    fn parts(&self, begin: usize, end: usize, kept: &[usize]) -> Vec<Part<'_>> {
        let mut parts = Vec::new();
        for (at, event) in self.events.iter().enumerate() {
            let (from, to, whole) = match &event.deed {
                Deed::Write { offset, data, atomic, .. } => (*offset, offset + data.len(), *atomic),
                Deed::Zero { offset, bytes } => (*offset, offset + bytes, false),
                Deed::Truncate { bytes } if kept.contains(&at) => (*bytes, usize::MAX, true),
                _ => continue,
            };
            let (from, to) = (from.max(begin), to.min(end));
            let certain = self.durable[at] || matches!(event.deed, Deed::Truncate { .. });
            let mut at = from;
            while at < to {
                let next = if whole || certain { to } else { (at / self.block + 1) * self.block };
                let next = next.min(to);
                if certain && at == begin && next == end {
                    parts.clear();
                }
                parts.push(Part { event, from: at, to: next, certain });
                at = next;
            }
        }
        parts
    }
}

/// Tries what may be there, and what may not.
fn choose(parts: &[Part], base: &[u8], begin: usize, rng: &mut Rng, look: &mut dyn FnMut(&[u8])) {
    let open = parts.iter().filter(|part| !part.certain).count();
    let pending = parts.iter().filter(|part| part.event.end.is_none()).count();
    let settled = parts.len() - pending;
    let all = open <= CHOICES_MAX;
    let rounds = if all { 1usize << open } else { SAMPLES };
    let mut order: Vec<usize> = (0..parts.len()).collect();
    for round in 0..rounds {
        let mut mask = if all { round as u64 } else { rng.next() };
        if !all && round < 2 {
            mask = if round == 0 { 0 } else { u64::MAX };
        }
        // What waits may be done in any order: each of two comes last in one of these.
        for turn in 0..pending.max(1) {
            order[settled..].rotate_left(usize::from(turn > 0));
            let mut cell = base.to_vec();
            for &at in &order {
                let number = parts[..at].iter().filter(|part| !part.certain).count() as u32;
                if parts[at].certain || mask.rotate_right(number) & 1 == 1 {
                    parts[at].apply(&mut cell, begin);
                }
            }
            look(&cell);
        }
    }
}
