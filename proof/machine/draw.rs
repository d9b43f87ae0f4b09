//! Draws a scenario from a seed: small blocks, so that requests meet; alignments in every order
//! of size; vectors from one element to one per byte.

use super::faults::Faults;
use super::isolated::Asks;
use super::scenario::{Order, Scenario, REQUESTS_MAX};
use crate::io::{Op, Segment, Segments};
use crate::proof::rng::Rng;
use crate::{Alignments, QueueConfig, RequestFlags, Suspected};

/// What all requests of a scenario have in common.
struct Mood {
    write_percent: u64,
    flush_percent: u64,
    zeroes_percent: u64,
    discard_percent: u64,
    truncate_percent: u64,
    /// Chance that it looks whether others have changed the length.
    length_percent: u64,
    /// Chance that a request starts and ends on block boundaries.
    aligned_percent: u64,
    /// Chance that it lies near the hot spot.
    hot_percent: u64,
    hot: u64,
    blocks_max: u64,
    /// Chance that it starts where the one before it ends.
    follow_percent: u64,
    /// Chance that a buffer suits the storage.
    neat_percent: u64,
    elements_max: usize,
    /// Chances that it is SERIALISING, or NO_WAIT, or has a guest block; and the largest of these.
    serialising_percent: u64,
    no_wait_percent: u64,
    guest_percent: u64,
    guest_block_max: u64,
    /// Chance that an element repeats memory of an earlier one.
    repeat_percent: u64,
}

impl Scenario {
    pub fn draw(rng: &mut Rng, seed: u64, may_resize: bool) -> Self {
        let queues = rng.pick(&[1, 1, 1, 2, 2, 3]);
        let alignments: Vec<u64> = (0..queues).map(|_| 1 << rng.pick(&LOG_ALIGNMENTS)).collect();
        let largest = alignments.iter().copied().max().unwrap_or(1);
        let mut length = largest * rng.between(1, if largest > 16 { 4 } else { 8 });
        if rng.percent(40) {
            length += rng.below(largest);
        }
        let resizes = may_resize && rng.percent(30);
        if resizes && rng.percent(10) {
            length = 0;
        }
        let watches = may_resize && rng.percent(20);
        let exact = !length.is_multiple_of(largest) || rng.percent(50);
        let mut config: Vec<_> = alignments.iter().map(|&one| config(rng, one, exact)).collect();
        // The reference machine, which does not resize, shares no I/O.
        if may_resize && queues > 1 && rng.percent(60) {
            alike(&mut config);
        }
        if resizes {
            config.iter_mut().for_each(|config| config.resize = rng.percent(75));
        }
        let mut scenario = Scenario::empty(config, length, seed);
        if resizes || watches {
            scenario.capacity = (length + largest * rng.between(1, 4)).next_multiple_of(largest);
        }
        if rng.percent(30) {
            scenario.unit = 1;
        }
        scenario.submit_percent = rng.pick(&[10, 30, 50, 70, 90, 100]);
        scenario.advance_percent = rng.pick(&[0, 0, 20, 40, 60]);
        if rng.percent(50) {
            scenario.plug_percent = rng.pick(&[10, 30, 60]);
            scenario.unplug_percent = rng.pick(&[2, 5, 10, 30]);
            scenario.now_percent = rng.pick(&[0, 0, 5, 30]);
        }
        if rng.percent(40) {
            scenario.cancel_percent = rng.pick(&[2, 10, 30]);
        }
        // From dice of its own: a seed without throttles is the schedule that it was before these.
        let mut dice = Rng::new(seed ^ 0x0068_6f6c_6400);
        if dice.percent(30) {
            scenario.hold_percent = dice.pick(&[5, 20, 60]);
        }
        scenario.order = rng.pick(&[Order::Any, Order::MostlyNewest, Order::MostlyOldest]);
        let requests = match rng.percent(30) {
            true => rng.between(1, 6),
            false => rng.between(4, REQUESTS_MAX as u64),
        };
        let mut mood = mood(rng, scenario.capacity, resizes);
        if watches {
            mood.length_percent = rng.pick(&[5, 20]);
        }
        for _ in 0..requests {
            add_request(&mut scenario, rng, &mood);
        }
        scenario.faults = Faults::draw(rng, requests as usize);
        scenario
    }
}

const LOG_ALIGNMENTS: [u64; 10] = [0, 1, 1, 2, 2, 2, 3, 3, 4, 6];

fn config(rng: &mut Rng, alignment: u64, exact: bool) -> QueueConfig {
    let log = u64::from(alignment.trailing_zeros());
    let unlimited = rng.percent(40);
    QueueConfig {
        alignments: Alignments {
            request: alignment,
            memory: 1 << rng.between(0, log + 2),
            segment: 1 << rng.between(0, log),
        },
        max_transfer: if unlimited { 1 << 30 } else { alignment * rng.between(1, 4) },
        max_segments: if unlimited { 1024 } else { rng.between(1, 5) as usize },
        depth: rng.pick(&[1, 2, 3, 5, 64]),
        last_unit: if exact { alignment << rng.pick(&[0, 0, 1]) } else { 0 },
        last_block: u64::MAX,
        granule: if rng.percent(80) { alignment } else { alignment << rng.between(1, 2) },
        no_flush: rng.percent(5),
        no_merge: rng.percent(30),
        resize: false,
        unmap: rng.percent(80),
        discard_alignment: alignment * rng.pick(&[1, 1, 1, 2, 3]),
        dataless_max: alignment * rng.pick(&[1, 2, 1 << 20]),
        endless: if unlimited { alignment } else { 0 },
        atomic_write_max: if rng.percent(30) { alignment << rng.below(5) } else { 0 },
        copy_edges: rng.percent(30),
        suspected: Suspected::Nothing,
    }
}

/// All queues have the alignments of the first, as handles of one object do as a rule; what may
/// differ between such handles stays as it was drawn.
fn alike(config: &mut [QueueConfig]) {
    let Some((first, others)) = config.split_first_mut() else { return };
    for other in others {
        let QueueConfig { depth, no_merge, no_flush, copy_edges, .. } = *other;
        *other = QueueConfig { depth, no_merge, no_flush, copy_edges, ..first.clone() };
    }
}

fn mood(rng: &mut Rng, length: u64, resizes: bool) -> Mood {
    Mood {
        write_percent: rng.pick(&[30, 50, 70, 90, 100]),
        flush_percent: rng.pick(&[0, 0, 5, 15]),
        zeroes_percent: rng.pick(&[0, 0, 10, 30, 60]),
        truncate_percent: if resizes { rng.pick(&[0, 5, 20]) } else { 0 },
        discard_percent: rng.pick(&[0, 0, 0, 10, 30]),
        length_percent: 0,
        aligned_percent: rng.pick(&[0, 20, 50, 90]),
        hot_percent: rng.pick(&[0, 30, 80, 100]),
        hot: rng.below(length),
        blocks_max: rng.pick(&[1, 1, 2, 3, 8]),
        follow_percent: rng.pick(&[0, 0, 0, 50, 80]),
        neat_percent: rng.pick(&[0, 30, 70, 100]),
        elements_max: rng.pick(&[1, 2, 4, 16, 40]),
        repeat_percent: rng.pick(&[0, 0, 0, 10]),
        serialising_percent: rng.pick(&[0, 0, 0, 0, 5, 30]),
        no_wait_percent: rng.pick(&[0, 0, 0, 10, 50]),
        guest_percent: rng.pick(&[0, 0, 0, 30, 80, 100]),
        guest_block_max: rng.pick(&[1, 4, 16, 64]),
    }
}

fn add_request(scenario: &mut Scenario, rng: &mut Rng, mood: &Mood) {
    let queue = rng.index(scenario.config.len());
    if rng.percent(mood.flush_percent) {
        return scenario.add(queue, Op::Flush, false, 0, Segments::new());
    }
    let op = if rng.percent(mood.write_percent) { Op::Write } else { Op::Read };
    let block = scenario.config[queue].alignments.request;
    // Past the end only where that is allowed.
    let resize = scenario.config[queue].resize;
    let past_end = resize || mood.length_percent > 0;
    let length = if past_end { scenario.capacity } else { scenario.length };
    if mood.length_percent > 0 && rng.percent(mood.length_percent) {
        return add_length(scenario, rng, queue);
    }
    if rng.percent(mood.truncate_percent) || length == 0 {
        let to = rng.below(scenario.capacity + 1);
        let to = if rng.percent(30) { to & !(block - 1) } else { to };
        scenario.add_dataless(queue, Op::Truncate, RequestFlags::default(), to..to);
        return ask(scenario, rng, mood);
    }
    let mut start = match rng.percent(mood.hot_percent) {
        true => (mood.hot + rng.below(block + 1)).saturating_sub(rng.below(block + 1)),
        false => rng.below(length),
    };
    let follows = rng.percent(mood.follow_percent);
    if let (true, Some(before)) = (follows, scenario.plans.last()) {
        start = (before.offset + before.bytes) % length;
    }
    start = start.min(length - 1);
    let most = if rng.percent(50) { block } else { block * mood.blocks_max };
    let mut end = (start + rng.between(1, most)).min(length);
    if rng.percent(mood.aligned_percent) {
        start &= !(block - 1);
        end = end.next_multiple_of(block).min(length);
    }
    if rng.percent(1) {
        // Nothing to move, anywhere.
        end = start;
    }
    let dataless = match () {
        () if rng.percent(mood.zeroes_percent) => Some(Op::WriteZeroes),
        () if rng.percent(mood.discard_percent) => Some(Op::Discard),
        () => None,
    };
    if let Some(op) = dataless {
        let zeroes = op == Op::WriteZeroes;
        let flags = RequestFlags {
            fua: zeroes && rng.percent(20),
            may_unmap: zeroes && rng.percent(50),
            no_fallback: zeroes && rng.percent(30),
            ..RequestFlags::default()
        };
        scenario.add_dataless(queue, op, flags, start..end);
        return ask(scenario, rng, mood);
    }
    let segments = vector(scenario, rng, mood, queue, (end - start) as usize);
    scenario.add(queue, op, op == Op::Write && rng.percent(10), start, segments);
    ask(scenario, rng, mood);
}

/// Most of them are right in what the length seems to be.
fn add_length(scenario: &mut Scenario, rng: &mut Rng, queue: usize) {
    let blocks = scenario.config.iter().map(|config| config.alignments.request);
    let block = blocks.max().unwrap_or(1);
    let exact = scenario.config[queue].last_unit > 0;
    let mut told = rng.below(scenario.capacity + 1);
    if !exact && rng.percent(90) {
        told &= !(block - 1);
    }
    let seems = if rng.percent(60) { told } else { rng.below(scenario.capacity + 1) };
    scenario.add_length(queue, seems, told);
}

/// What the request just added asks for.
fn ask(scenario: &mut Scenario, rng: &mut Rng, mood: &Mood) {
    let log_max = u64::from(mood.guest_block_max.trailing_zeros());
    scenario.ask(Asks {
        serialising: rng.percent(mood.serialising_percent),
        no_wait: rng.percent(mood.no_wait_percent),
        guest_block: if rng.percent(mood.guest_percent) { 1 << rng.between(0, log_max) } else { 0 },
    });
}

/// A vector of `bytes` in memory that suits the queue's storage, or does not, or only in part.
fn vector(
    scenario: &mut Scenario,
    rng: &mut Rng,
    mood: &Mood,
    queue: usize,
    mut bytes: usize,
) -> Segments {
    let mem = scenario.config[queue].alignments.memory;
    let unit = scenario.config[queue].alignments.segment;
    let mut segments = Segments::new();
    let elements = 1 + rng.index(mood.elements_max);
    while bytes > 0 {
        let neat = rng.percent(mood.neat_percent);
        let last = segments.len() + 1 >= elements;
        let mut length = if last { bytes } else { 1 + rng.index(bytes) };
        if neat && !last {
            length = length.next_multiple_of(unit).min(bytes);
            // A third of them as short as the storage takes them.
            if (length / unit).is_multiple_of(3) {
                length = unit.min(bytes);
            }
        }
        let repeated = (!segments.is_empty() && rng.percent(mood.repeat_percent))
            .then(|| segments[rng.index(segments.len())]);
        let segment = match repeated {
            Some(Segment { address, bytes }) => Segment { address, bytes: bytes.min(length) },
            None if !segments.is_empty() && rng.percent(20) => {
                // Right behind the element before, as pieces of one buffer are.
                let address = super::memory::BASE + scenario.guest.len();
                scenario.guest.resize(scenario.guest.len() + length, super::memory::POISON);
                Segment { address, bytes: length }
            }
            // Aligned to exactly what the storage takes, and to no more.
            None if neat => {
                Segment { address: scenario.reserve(length, 2 * mem, mem), bytes: length }
            }
            None => {
                let skew = rng.index(2 * mem);
                Segment { address: scenario.reserve(length, mem, skew), bytes: length }
            }
        };
        bytes -= segment.bytes;
        segments.push(segment);
    }
    segments
}
