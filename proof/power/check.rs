//! Looks at all that a loss of power now may leave, cell by cell.

use std::collections::HashSet;

use super::crash::Crash;
use super::history::History;
use crate::proof::power::deed::Event;
use crate::proof::rng::Rng;

const SECTOR: usize = 512;

/// How much was looked at.
#[derive(Debug, Default, Clone, Copy)]
pub struct Seen {
    pub crashes: u64,
    pub contents: u64,
}

/// What is wrong. `block`: what the disk keeps whole; `unit`: of a torn-read promise, 0: none.
pub fn objection(
    history: &History,
    events: &[Event],
    block: usize,
    unit: usize,
    rng: &mut Rng,
    seen: &mut Seen,
) -> Option<String> {
    seen.crashes += 1;
    let crash = Crash::new(events, &history.initial, block);
    let most = history.asked.iter().filter_map(|asked| asked.length).max().unwrap_or(0);
    let end = most.max(history.initial.len());
    let cell = block.max(unit);
    let mut wrong = None;
    let mut lengths = HashSet::new();
    for begin in (0..end).step_by(cell) {
        let whole = unit > 0 && history.promises_whole(begin, begin + cell);
        let piece = if whole { cell } else { SECTOR };
        // Sectors that were found right.
        let mut right: HashSet<(usize, Vec<u8>)> = HashSet::new();
        crash.contents(begin, cell, rng, &mut |content, length| {
            seen.contents += 1;
            if wrong.is_some() {
                return;
            }
            if lengths.insert(length) {
                wrong = history.objection_to_length(length);
            }
            for (at, sector) in content.chunks(piece).enumerate() {
                let from = begin + at * piece;
                if right.contains(&(from, sector.to_vec())) {
                    continue;
                }
                wrong = wrong.take().or_else(|| history.objection(from, sector));
                right.insert((from, sector.to_vec()));
            }
        });
        if wrong.is_some() {
            return wrong;
        }
    }
    None
}
