//! The exhaustive walk over what requests ask for besides their bytes, and over cancels: every
//! pair and every triple, in every order, each request taken back at every moment.

use super::exhaustive::{self, config, report, walk_all, Moves, Shape, Walk, BLOCK, BOTH};
use super::exhaustive::{LENGTH, ONE_BY_ONE};
use super::isolated::Asks;
use super::scenario::Scenario;
use crate::QueueConfig;

const PLAIN: Asks = Asks { serialising: false, no_wait: false, guest_block: 0 };
const SERIALISING: Asks = Asks { serialising: true, ..PLAIN };
const NO_WAIT: Asks = Asks { no_wait: true, ..PLAIN };
const BLOCK_WISE: Asks = Asks { guest_block: BLOCK, ..PLAIN };
const WHOLE: Asks = Asks { guest_block: 2 * BLOCK, ..PLAIN };
const IMPATIENT: Asks = Asks { serialising: true, no_wait: true, guest_block: 0 };

type Asking = (Shape, Asks);

fn asking(shapes: &[Shape], all: &[Asks]) -> Vec<Asking> {
    shapes.iter().flat_map(|&shape| all.iter().map(move |&asks| (shape, asks))).collect()
}

/// Few enough for triples: parts of each block, one across, and all of it.
fn few_shapes() -> Vec<Shape> {
    let ranges = [(0, 1), (1, 3), (2, 4), (0, LENGTH)];
    let shapes = BOTH.iter().flat_map(|&op| ranges.map(|(start, end)| (0, op, start, end)));
    shapes.collect()
}

fn scenario(config: &[QueueConfig], requests: &[Asking]) -> Scenario {
    let mut scenario = exhaustive::scenario(config, &[]);
    for &(shape, asks) in requests {
        exhaustive::add(&mut scenario, shape);
        scenario.ask(asks);
    }
    scenario
}

fn walk(scenario: &Scenario, batches: &'static [usize], cancelling: bool) -> u64 {
    let walk = Walk { moves: Moves::WritesEarly, failing: false, batches, cancelling };
    let early = if scenario.plans.len() > 2 { 0 } else { walk_all(scenario, walk) };
    early + walk_all(scenario, Walk { moves: Moves::ReadsEarly, ..walk })
}

#[test]
fn every_path_of_every_pair_with_promises_keeps_them() {
    let (mut sets, mut paths) = (0, 0);
    let all = [PLAIN, SERIALISING, NO_WAIT, BLOCK_WISE, WHOLE, IMPATIENT];
    let queues = [vec![config(BLOCK, 64)], vec![config(BLOCK, 64), config(1, 64)]];
    for config in &queues {
        let last = config.len() - 1;
        let firsts = asking(&exhaustive::shapes(0, &BOTH), &all);
        let seconds = asking(&exhaustive::shapes(last, &BOTH), &all);
        for &first in &firsts {
            for &second in &seconds {
                let scenario = scenario(config, &[first, second]);
                paths += walk(&scenario, ONE_BY_ONE, false);
                if last == 0 {
                    paths += walk(&scenario, &[2], false);
                }
                sets += 1;
            }
        }
    }
    report("pairs with promises", sets, paths);
}

#[test]
fn every_path_of_every_triple_with_promises_keeps_them() {
    let (mut sets, mut paths) = (0, 0);
    let all = asking(&few_shapes(), &[PLAIN, SERIALISING, NO_WAIT, WHOLE]);
    let config = [config(BLOCK, 64)];
    for &first in &all {
        for &second in &all {
            for &third in &all {
                let scenario = scenario(&config, &[first, second, third]);
                paths += walk(&scenario, ONE_BY_ONE, false);
                sets += 1;
            }
        }
    }
    report("triples with promises", sets, paths);
}

#[test]
fn every_request_of_every_triple_can_be_taken_back_at_any_moment() {
    let (mut sets, mut paths) = (0, 0);
    let mut few = few_shapes();
    few.retain(|&(_, _, start, _)| start < BLOCK);
    let all = asking(&few, &[PLAIN, WHOLE]);
    let all_and_x = asking(&few, &[PLAIN, WHOLE, SERIALISING]);
    for (config, shapes) in [([config(BLOCK, 64)], &all_and_x), ([config(2 * BLOCK, 1)], &all)] {
        for &first in shapes {
            for &second in shapes {
                for &third in shapes {
                    let scenario = scenario(&config, &[first, second, third]);
                    paths += walk(&scenario, ONE_BY_ONE, true);
                    if config[0].depth == 1 {
                        paths += walk(&scenario, &[1, 2], true);
                    }
                    sets += 1;
                }
            }
        }
    }
    report("triples of which one is taken back", sets, paths);
}
