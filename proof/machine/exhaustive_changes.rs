//! The exhaustive walk over what is more than a movement of bytes: zero writes, discards,
//! truncates, and requests past the end; every pair, in every order, with one I/O that fails or is
//! refused at every place.

use super::exhaustive::{add, config, report, walk_all, Moves, Shape, Walk, BLOCK, ONE_BY_ONE};
use super::scenario::Scenario;
use crate::io::Op;
use crate::QueueConfig;

const CAPACITY: u64 = 3 * BLOCK;

fn shapes(within: u64) -> Vec<Shape> {
    let ranges = [(0, 1), (0, 2), (1, 3), (2, 4), (3, 5), (4, 6), (5, 6), (0, 6)];
    let ranges = ranges.into_iter().filter(|&(_, end)| end <= within);
    let ops = [Op::Read, Op::Write, Op::WriteZeroes, Op::Discard];
    let moving = ranges.flat_map(|(start, end)| ops.map(|op| (0, op, start, end)));
    let truncates = (0..=CAPACITY).map(|to| (0, Op::Truncate, to, to));
    moving.chain(truncates).collect()
}

fn scenario(config: &QueueConfig, length: u64, requests: &[Shape]) -> Scenario {
    let mut scenario = Scenario::empty(vec![config.clone()], length, 0);
    scenario.unit = BLOCK;
    scenario.capacity = CAPACITY;
    requests.iter().for_each(|&shape| add(&mut scenario, shape));
    scenario
}

fn walk(scenario: &Scenario, failing: bool) -> u64 {
    let walk = Walk { moves: Moves::ReadsEarly, failing, batches: ONE_BY_ONE, cancelling: false };
    let early = walk_all(scenario, walk);
    early + walk_all(scenario, Walk { moves: Moves::WritesEarly, ..walk })
}

#[test]
fn every_path_of_every_pair_of_changes_keeps_every_promise() {
    let (mut sets, mut paths) = (0, 0);
    let padded = QueueConfig { resize: true, unmap: true, ..config(BLOCK, 64) };
    let exact = QueueConfig { last_unit: BLOCK, ..padded.clone() };
    let fixed = QueueConfig { resize: false, ..exact.clone() };
    let kinds = [(&padded, 4, CAPACITY), (&exact, 3, CAPACITY), (&exact, 0, CAPACITY)];
    for (config, length, within) in kinds.into_iter().chain([(&fixed, 6, 6)]) {
        for &first in &shapes(within) {
            for &second in &shapes(within) {
                paths += walk(&scenario(config, length, &[first, second]), true);
                sets += 1;
            }
        }
    }
    report("pairs of changes", sets, paths);
}

#[test]
fn every_path_of_a_truncate_between_two_others_keeps_every_promise() {
    let (mut sets, mut paths) = (0, 0);
    let padded = QueueConfig { resize: true, ..config(BLOCK, 64) };
    let exact = QueueConfig { last_unit: BLOCK, ..padded.clone() };
    let few = [(Op::Read, 2, 6), (Op::Write, 1, 3), (Op::Write, 4, 5), (Op::WriteZeroes, 3, 6)];
    for (config, length) in [(&padded, 4), (&exact, 5)] {
        for &(op, start, end) in &few {
            for to in 0..=CAPACITY {
                for &(last, from, until) in &few {
                    let truncate = (0, Op::Truncate, to, to);
                    let all = [(0, op, start, end), truncate, (0, last, from, until)];
                    paths += walk(&scenario(config, length, &all), true);
                    sets += 1;
                }
            }
        }
    }
    report("truncates between two others", sets, paths);
}

#[test]
fn every_path_of_a_look_at_the_length_between_two_others_keeps_every_promise() {
    let (mut sets, mut paths) = (0, 0);
    let padded = QueueConfig { resize: true, ..config(BLOCK, 64) };
    let exact = QueueConfig { last_unit: BLOCK, ..padded.clone() };
    let fixed = QueueConfig { resize: false, ..exact.clone() };
    let few = [
        (0, Op::Read, 2, 6),
        (0, Op::Write, 1, 3),
        (0, Op::Write, 4, 5),
        (0, Op::WriteZeroes, 3, 6),
        (0, Op::Truncate, 3, 3),
        (0, Op::Length, 1, 5),
    ];
    for (config, length) in [(&padded, 4), (&exact, 5), (&fixed, 3)] {
        for &first in &few {
            for (seems, told) in [(5, 5), (3, 3), (4, 6), (5, 2), (0, 0), (6, 4)] {
                for &last in &few {
                    let all = [first, (0, Op::Length, seems, told), last];
                    paths += walk(&scenario(config, length, &all), true);
                    sets += 1;
                }
            }
        }
    }
    report("looks at the length between two others", sets, paths);
}
