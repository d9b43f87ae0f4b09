//! The exhaustive walk: every pair and every triple of requests over two blocks of two bytes, in
//! every order of submissions and ends of I/O, one by one and as batches, with one I/O failing at
//! every place, by depth-first search. The machine cannot be copied, so each path is run from its
//! start.

use std::io::Write;

use super::ledger::Checked;
use super::path::Path;
use super::scenario::{one_segment, Scenario};
use super::storage::Outcome;
use super::subject::RealMachine;
use super::world::World;
use crate::io::{Op, Segments};
use crate::{Alignments, QueueConfig, RequestFlags, Suspected};

pub const BLOCK: u64 = 2;
pub const LENGTH: u64 = 2 * BLOCK;

/// When the bytes of an I/O move between its issue and its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moves {
    /// Reads at once, writes at the end: what a read knows is as old as can be.
    ReadsEarly,
    /// Writes at once, reads at the end.
    WritesEarly,
    /// Block by block, each an event of its own.
    Apart,
}

/// What may happen next.
#[derive(Debug, Clone, Copy)]
enum Event {
    /// So many, as one batch if more than one.
    Submit(usize),
    Move(usize, usize),
    End(usize),
    Fail(usize),
    /// The storage does not do such a thing.
    Refuse(usize),
    Cancel(usize),
}

pub type Shape = (usize, Op, u64, u64);

/// Every read and every write of one byte or more over the two blocks, on this queue.
pub fn shapes(queue: usize, ops: &[Op]) -> Vec<Shape> {
    let mut shapes = Vec::new();
    for &op in ops {
        for start in 0..LENGTH {
            for end in start + 1..=LENGTH {
                shapes.push((queue, op, start, end));
            }
        }
    }
    shapes
}

pub fn config(block: u64, depth: usize) -> QueueConfig {
    QueueConfig {
        alignments: Alignments { request: block, memory: 1, segment: 1 },
        max_transfer: 1 << 30,
        max_segments: 1024,
        depth,
        last_unit: 0,
        last_block: u64::MAX,
        granule: block,
        no_flush: false,
        no_merge: false,
        resize: false,
        unmap: false,
        discard_alignment: block,
        dataless_max: 1 << 30,
        atomic_write_max: 0,
        endless: 0,
        suspected: Suspected::Nothing,
        copy_edges: false,
    }
}

fn without_merging(config: QueueConfig) -> QueueConfig {
    QueueConfig { no_merge: true, ..config }
}

pub fn scenario(config: &[QueueConfig], requests: &[Shape]) -> Scenario {
    let mut scenario = Scenario::empty(config.to_vec(), LENGTH, 0);
    scenario.unit = BLOCK;
    requests.iter().for_each(|&shape| add(&mut scenario, shape));
    scenario
}

pub fn add(scenario: &mut Scenario, (queue, op, start, end): Shape) {
    if op == Op::Length {
        return scenario.add_length(queue, start, end);
    }
    let bytes = (end - start) as usize;
    if matches!(op, Op::WriteZeroes | Op::Discard | Op::Truncate) {
        let flags = RequestFlags { no_fallback: start == 0, ..RequestFlags::default() };
        return scenario.add_dataless(queue, op, flags, start..end);
    }
    let segments = match op {
        Op::Flush => Segments::new(),
        _ => one_segment(scenario.reserve(bytes, 1, 0), bytes),
    };
    scenario.add(queue, op, false, start, segments);
}

/// How a scenario is walked.
#[derive(Debug, Clone, Copy)]
pub struct Walk {
    pub moves: Moves,
    /// Also the paths on which one I/O fails.
    pub failing: bool,
    /// How many requests arrive together.
    pub batches: &'static [usize],
    /// Also the paths on which one request is taken back.
    pub cancelling: bool,
}

pub const ONE_BY_ONE: &[usize] = &[1, 1, 1];

/// Walks all paths of one scenario, requests arriving one by one; how many there were.
fn walk(scenario: &Scenario, moves: Moves, failing: bool) -> u64 {
    walk_all(scenario, Walk { moves, failing, batches: ONE_BY_ONE, cancelling: false })
}

pub fn walk_all(scenario: &Scenario, walk: Walk) -> u64 {
    let mut path = Path::default();
    let mut paths = 0;
    loop {
        if let Err(why) = run(scenario, walk, &mut path, false) {
            path.again();
            let _ = run(scenario, walk, &mut path, true);
            let choices = &path.choices;
            panic!("{why}\n{walk:?}, {choices:?} of {:#?}", scenario.plans);
        }
        paths += 1;
        if !path.advance() {
            return paths;
        }
    }
}

fn run(scenario: &Scenario, walk: Walk, path: &mut Path, trace: bool) -> Checked {
    let Walk { moves, failing, batches, cancelling } = walk;
    let mut batches = batches.iter().copied();
    let mut next = batches.next();
    let mut world = World::new(scenario, trace, |pool| RealMachine::new(pool, scenario));
    let (mut may_fail, mut may_cancel) = (failing, cancelling);
    let mut events = Vec::new();
    loop {
        move_early(&mut world, moves)?;
        events.clear();
        if world.can_submit() {
            events.extend(next.map(Event::Submit));
        }
        list_ios(&world, moves, may_fail, &mut events);
        if may_cancel {
            let submitted = world.ledger.entries.len();
            let over = |&number: &usize| world.ledger.completed & (1 << number) != 0;
            events.extend((0..submitted).filter(|n| !over(n)).map(Event::Cancel));
        }
        if events.is_empty() {
            return world.conclude();
        }
        match events[path.choose(events.len())] {
            Event::Submit(count) => {
                submit_batch(&mut world, count)?;
                next = batches.next();
            }
            Event::Move(index, unit) => world.advance_one(index, unit)?,
            Event::End(index) => world.finish(index, Outcome::Full)?,
            Event::Fail(index) => {
                may_fail = false;
                world.finish(index, Outcome::Failed(libc::EIO))?;
            }
            Event::Refuse(index) => {
                may_fail = false;
                world.finish(index, Outcome::Failed(libc::EOPNOTSUPP))?;
            }
            Event::Cancel(number) => {
                may_cancel = false;
                world.cancel(number, false)?;
            }
        }
    }
}

fn submit_batch(world: &mut World<'_, RealMachine>, count: usize) -> Checked {
    if count == 1 {
        return world.submit();
    }
    world.plug(0);
    (0..count).try_for_each(|_| world.submit())?;
    world.unplug(0)
}

fn move_early(world: &mut World<'_, RealMachine>, moves: Moves) -> Checked {
    let early = match moves {
        Moves::ReadsEarly => Op::Read,
        Moves::WritesEarly => Op::Write,
        Moves::Apart => return Ok(()),
    };
    for index in 0..world.flights.len() {
        if world.flights[index].io.op == early && world.flights[index].pending() > 0 {
            world.advance(index, 100)?;
        }
    }
    Ok(())
}

fn list_ios(world: &World<'_, RealMachine>, moves: Moves, may_fail: bool, events: &mut Vec<Event>) {
    for (index, flight) in world.flights.iter().enumerate() {
        if moves == Moves::Apart && flight.pending() > 0 {
            events.extend((0..flight.pending()).map(|unit| Event::Move(index, unit)));
        } else {
            events.push(Event::End(index));
        }
        if may_fail && flight.io.op != Op::Fill {
            events.push(Event::Fail(index));
        }
        if may_fail && matches!(flight.io.op, Op::WriteZeroes | Op::Discard) {
            events.push(Event::Refuse(index));
        }
    }
}

pub fn report(what: &str, requests: u64, paths: u64) {
    // Past the test harness, which would swallow it.
    let _ = writeln!(std::io::stderr(), "simulator: {what}: {requests} sets, {paths} paths");
}

pub const BOTH: [Op; 2] = [Op::Read, Op::Write];

#[test]
fn every_path_of_every_pair_keeps_every_promise() {
    let (mut sets, mut paths) = (0, 0);
    // One queue, with and without merging, one with a single place, and two whose blocks differ.
    let queues = [
        vec![config(2, 64)],
        vec![without_merging(config(2, 64))],
        vec![config(2, 1)],
        vec![config(2, 64), config(2, 64)],
        vec![config(2, 64), config(1, 64)],
        vec![config(2, 64), config(4, 64)],
        vec![config(4, 64), config(2, 64)],
    ];
    for config in &queues {
        let mut firsts = shapes(0, &BOTH);
        let mut seconds = shapes(config.len() - 1, &BOTH);
        firsts.push((0, Op::Flush, 0, 0));
        seconds.push((config.len() - 1, Op::Flush, 0, 0));
        for &first in &firsts {
            for &second in &seconds {
                let scenario = scenario(config, &[first, second]);
                paths += walk(&scenario, Moves::Apart, false);
                paths += walk(&scenario, Moves::ReadsEarly, true);
                paths += walk(&scenario, Moves::WritesEarly, true);
                sets += 1;
            }
        }
    }
    report("pairs over two blocks", sets, paths);
}

#[test]
fn every_path_of_every_triple_keeps_every_promise() {
    let (mut sets, mut paths, mut failing) = (0, 0, 0);
    let all = shapes(0, &BOTH);
    for config in [[config(BLOCK, 64)], [without_merging(config(BLOCK, 64))]] {
        for &first in &all {
            for &second in &all {
                for &third in &all {
                    let scenario = scenario(&config, &[first, second, third]);
                    paths += walk(&scenario, Moves::ReadsEarly, false);
                    paths += walk(&scenario, Moves::WritesEarly, false);
                    failing += walk(&scenario, Moves::ReadsEarly, true);
                    sets += 1;
                }
            }
        }
    }
    // The second comes by another handle of the object.
    let two = [config(BLOCK, 64), config(BLOCK, 64)];
    for &first in &all {
        for &(_, op, start, end) in &all {
            for &third in &all {
                let scenario = scenario(&two, &[first, (1, op, start, end), third]);
                paths += walk(&scenario, Moves::WritesEarly, false);
                sets += 1;
            }
        }
    }
    report("triples over two blocks", sets, paths);
    report("triples with at most one I/O that fails", sets, failing);
}

#[test]
fn every_path_of_every_batch_of_two_or_three_keeps_every_promise() {
    let (mut sets, mut paths) = (0, 0);
    let all = shapes(0, &BOTH);
    let by_batches = |scenario: &Scenario, shapes: &[&'static [usize]]| {
        let mut paths = 0;
        for &batches in shapes {
            for (moves, failing) in [(Moves::ReadsEarly, true), (Moves::WritesEarly, false)] {
                paths += walk_all(scenario, Walk { moves, failing, batches, cancelling: false });
            }
        }
        paths
    };
    let merging = config(BLOCK, 64);
    for config in [[merging.clone()], [without_merging(merging)], [config(4, 1)]] {
        for &first in &all {
            for &second in &all {
                let pair = scenario(&config, &[first, second]);
                paths += by_batches(&pair, &[&[2]]);
                sets += 1;
                if config[0].no_merge {
                    continue;
                }
                for &third in &all {
                    let triple = scenario(&config, &[first, second, third]);
                    paths += by_batches(&triple, &[&[3], &[1, 2]]);
                    sets += 1;
                }
            }
        }
    }
    report("batches of two and three", sets, paths);
}
