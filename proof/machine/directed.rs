//! Batches one by one: what each should cost, and what it should leave. Whatever else must hold of
//! them, the world checks.

use std::cell::RefCell;
use std::rc::Rc;

use super::memory::{initial, written, Memory, Pool, BASE};
use super::scenario::{one_segment, Scenario};
use super::storage::Outcome;
use super::subject::RealMachine;
use super::world::World;
use crate::io::{Op, Segments};
use crate::{Action, Alignments, Machine, QueueConfig, RequestFlags, Stats, Suspected};

const BLOCK: u64 = 4096;
const SECTOR: u64 = 512;

/// Blocks of 4096 bytes.
pub fn config() -> QueueConfig {
    QueueConfig {
        alignments: Alignments { request: BLOCK, memory: 512, segment: 512 },
        max_transfer: 1 << 20,
        max_segments: 1024,
        depth: 64,
        last_unit: 0,
        last_block: u64::MAX,
        granule: BLOCK,
        no_flush: false,
        no_merge: false,
        resize: false,
        unmap: false,
        discard_alignment: BLOCK,
        dataless_max: 1 << 30,
        atomic_write_max: 0,
        endless: 0,
        copy_edges: false,
        suspected: Suspected::Nothing,
    }
}

/// Requests of these ranges over two blocks.
pub fn scenario(config: QueueConfig, requests: &[(Op, u64, u64)]) -> Scenario {
    let mut scenario = Scenario::empty(vec![config], 2 * BLOCK, 0);
    requests.iter().for_each(|&(op, offset, bytes)| add(&mut scenario, op, offset, bytes, false));
    scenario
}

pub fn add(scenario: &mut Scenario, op: Op, offset: u64, bytes: u64, fua: bool) {
    let segments = match bytes as usize {
        0 => Segments::new(),
        bytes => one_segment(scenario.reserve(bytes, 512, 0), bytes),
    };
    scenario.add(0, op, fua, offset, segments);
}

pub fn sectors(op: Op, which: impl Iterator<Item = u64>) -> Vec<(Op, u64, u64)> {
    which.map(|sector| (op, sector * SECTOR, SECTOR)).collect()
}

pub type TestWorld<'a> = World<'a, RealMachine>;

pub fn world(scenario: &Scenario) -> TestWorld<'_> {
    World::new(scenario, false, |pool| RealMachine::new(pool, scenario))
}

pub fn submit_batch(world: &mut TestWorld<'_>, count: usize) {
    world.plug(0);
    let before = world.flights.len();
    (0..count).for_each(|_| world.submit().expect("plugged"));
    assert_eq!(world.flights.len(), before);
    world.unplug(0).expect("a batch");
}

/// Ends the oldest I/O; what kind it was.
pub fn finish(world: &mut TestWorld<'_>, outcome: Outcome) -> Op {
    let op = world.flights[0].io.op;
    world.finish(0, outcome).expect("a rule was broken");
    op
}

/// Ends whatever is asked for, in order; what was asked for, and what the machine counted.
pub fn finish_all(world: &mut TestWorld<'_>) -> (Vec<Op>, Stats) {
    let ios = run_to_rest(world);
    let stats = world.stats(0).expect("statistics");
    world.conclude().expect("a rule was broken");
    (ios, stats)
}

/// Finishes what is under way; requests that are held back stay so.
fn run_to_rest(world: &mut TestWorld<'_>) -> Vec<Op> {
    let mut ios = Vec::new();
    while !world.flights.is_empty() {
        ios.push(finish(world, Outcome::Full));
    }
    ios
}

/// All of it as one batch.
fn run_batch(scenario: &Scenario) -> (Vec<Op>, Stats) {
    let mut world = world(scenario);
    submit_batch(&mut world, scenario.plans.len());
    finish_all(&mut world)
}

#[test]
fn a_batch_of_eight_sector_writes_is_one_write_without_a_read() {
    let (ios, stats) = run_batch(&scenario(config(), &sectors(Op::Write, 0..8)));
    assert_eq!(ios, [Op::Write]);
    assert_eq!((stats.merged, stats.waits, stats.rmw), (7, 0, 0));
    assert_eq!((stats.rmw_reads, stats.rmw_reads_skipped), (0, 8));
    assert_eq!((stats.storage_reads, stats.storage_writes), (0, 1));
    assert_eq!((stats.writes, stats.bytes_written, stats.bounced), (8, BLOCK, 8));
}

#[test]
fn a_batch_covers_its_block_in_any_order() {
    let (ios, _) = run_batch(&scenario(config(), &sectors(Op::Write, (0..8).rev())));
    assert_eq!(ios, [Op::Write]);
}

#[test]
fn a_batch_of_eight_sector_reads_is_one_read() {
    let (ios, stats) = run_batch(&scenario(config(), &sectors(Op::Read, 0..8)));
    assert_eq!(ios, [Op::Read]);
    assert_eq!((stats.storage_reads, stats.reads, stats.bytes_read), (1, 8, BLOCK));
    assert_eq!((stats.merged, stats.rmw_reads, stats.waits), (0, 0, 0));
}

#[test]
fn a_partial_batch_reads_its_block_once() {
    let (ios, stats) =
        run_batch(&scenario(config(), &sectors(Op::Write, [0, 1, 2, 4, 5, 6, 7].into_iter())));
    assert_eq!(ios, [Op::Read, Op::Write]);
    assert_eq!((stats.merged, stats.waits, stats.rmw), (6, 0, 7));
    assert_eq!((stats.rmw_reads, stats.rmw_reads_skipped), (1, 6));
}

#[test]
fn overlapping_writes_that_leave_a_gap_read_their_block() {
    let ranges = [(0, 2048), (0, 2048), (2049, 2047)];
    let requests = ranges.map(|(offset, bytes)| (Op::Write, offset, bytes));
    let (ios, stats) = run_batch(&scenario(config(), &requests));
    assert_eq!(ios, [Op::Read, Op::Write]);
    assert_eq!((stats.rmw, stats.rmw_reads, stats.rmw_reads_skipped), (3, 1, 2));
}

#[test]
fn a_batch_over_two_blocks_is_a_write_for_each() {
    let (ios, stats) = run_batch(&scenario(config(), &sectors(Op::Write, 0..16)));
    assert_eq!(ios, [Op::Write, Op::Write]);
    assert_eq!(stats.merged, 14);
}

#[test]
fn order_within_a_batch_of_overlapping_writes_is_kept() {
    let ranges = [(0, 4096 - 1), (1, 3000), (100, 3000), (50, 100), (0, 60), (2048, 2048)];
    let requests = ranges.map(|(offset, bytes)| (Op::Write, offset, bytes));
    let scenario = scenario(config(), &requests);
    let mut world = world(&scenario);
    submit_batch(&mut world, requests.len());
    assert_eq!(world.flights.len(), 1);
    assert_eq!(finish(&mut world, Outcome::Full), Op::Write);
    for offset in 0..2 * BLOCK {
        let last = scenario.plans.iter().rposition(|plan| plan.covers(offset));
        let address = |number: usize| scenario.plans[number].address_at(offset);
        let expected = last
            .map_or(initial(offset), |number| written(number, (address(number) - BASE) & 0xffff));
        assert_eq!(world.byte(offset), expected, "byte {offset}");
    }
    world.conclude().expect("a rule was broken");
}

#[test]
fn a_chain_that_arrives_during_a_write_inherits_its_image() {
    let scenario = scenario(config(), &sectors(Op::Write, 0..6));
    let mut world = world(&scenario);
    world.submit().expect("the first");
    assert_eq!(finish(&mut world, Outcome::Full), Op::Read);
    (0..3).for_each(|_| world.submit().expect("one that waits"));
    assert_eq!(finish(&mut world, Outcome::Full), Op::Write);
    // The three are one write now; these two wait for it and are the next one.
    (0..2).for_each(|_| world.submit().expect("one that waits"));
    let (ios, stats) = finish_all(&mut world);
    assert_eq!(ios, [Op::Write, Op::Write]);
    assert_eq!((stats.rmw_reads, stats.rmw_reads_skipped, stats.merged), (1, 5, 3));
    assert_eq!((stats.rmw, stats.waits), (6, 5));
}

#[test]
fn no_write_inherits_from_a_write_that_failed() {
    let scenario = scenario(config(), &sectors(Op::Write, 0..2));
    let mut world = world(&scenario);
    world.submit().expect("the first");
    finish(&mut world, Outcome::Full);
    world.submit().expect("one that waits");
    assert_eq!(finish(&mut world, Outcome::Failed(libc::EIO)), Op::Write);
    assert_eq!(finish_all(&mut world).0, [Op::Read, Op::Write]);
}

#[test]
fn an_error_of_a_shared_io_is_the_error_of_every_member() {
    for op in [Op::Read, Op::Write] {
        let scenario = scenario(config(), &sectors(op, 0..8));
        let mut world = world(&scenario);
        submit_batch(&mut world, 8);
        finish(&mut world, Outcome::Failed(libc::ENOSPC));
        let results = world.ledger.entries.iter().map(|entry| entry.result);
        assert!(results.eq([Some(Err(libc::ENOSPC)); 8]));
        assert_eq!(finish_all(&mut world).1.errors, 8);
    }
}

#[test]
fn a_failed_edge_read_of_a_batch_writes_nothing() {
    let scenario = scenario(config(), &sectors(Op::Write, 0..4));
    let mut world = world(&scenario);
    submit_batch(&mut world, 4);
    assert_eq!(finish(&mut world, Outcome::Failed(libc::EIO)), Op::Read);
    let (ios, stats) = finish_all(&mut world);
    assert_eq!((ios, stats.errors, stats.storage_writes), (vec![], 4, 0));
}

#[test]
fn fua_of_one_member_is_fua_of_the_write() {
    for fua in [None, Some(0), Some(7)] {
        let mut scenario = scenario(config(), &[]);
        for sector in 0..8 {
            add(&mut scenario, Op::Write, sector * SECTOR, SECTOR, fua == Some(sector));
        }
        let mut world = world(&scenario);
        submit_batch(&mut world, 8);
        assert_eq!(world.flights[0].io.fua, fua.is_some());
        finish_all(&mut world);
    }
}

#[test]
fn without_merging_each_write_of_a_batch_is_its_own() {
    let config = QueueConfig { no_merge: true, ..config() };
    let (ios, stats) = run_batch(&scenario(config, &sectors(Op::Write, 0..3)));
    assert_eq!(ios, [Op::Read, Op::Write].repeat(3));
    assert_eq!((stats.merged, stats.rmw_reads_skipped, stats.waits), (0, 0, 2));
}

#[test]
fn a_read_does_not_share_with_an_earlier_batch() {
    let scenario = scenario(config(), &sectors(Op::Read, 0..4));
    let mut world = world(&scenario);
    submit_batch(&mut world, 2);
    world.plug(0);
    (0..2).for_each(|_| world.submit().expect("plugged"));
    world.unplug(0).expect("a batch");
    assert_eq!(finish_all(&mut world).0, [Op::Read, Op::Read]);
}

#[test]
fn a_request_that_does_not_wait_for_the_unplug_sends_the_plugged_ones_first() {
    let scenario = scenario(config(), &sectors(Op::Write, [0, 1, 0].into_iter()));
    let mut world = world(&scenario);
    world.plug(0);
    (0..2).for_each(|_| world.submit().expect("plugged"));
    world.submit_now().expect("the third");
    assert_eq!(finish(&mut world, Outcome::Full), Op::Read);
    assert_eq!(finish(&mut world, Outcome::Full), Op::Write);
    assert_eq!(world.ledger.completed, 0b011);
    world.unplug(0).expect("nothing left");
    assert_eq!(finish_all(&mut world).0, [Op::Write]);
}

#[test]
fn what_a_throttle_holds_goes_before_a_request_that_does_not_wait_for_the_unplug() {
    let scenario = scenario(config(), &sectors(Op::Write, [0, 8].into_iter()));
    let mut world = world(&scenario);
    world.plug(0);
    world.hold().expect("the first");
    world.submit_now().expect("the second");
    world.let_go(0, 1).expect("the first goes");
    run_to_rest(&mut world);
    assert_eq!(world.ledger.completed, 0b11, "no plug holds the first back any more");
    world.unplug(0).expect("nothing left");
    finish_all(&mut world);
}

#[test]
fn what_a_throttle_holds_of_one_batch_is_not_held_back_with_the_next() {
    let scenario = scenario(config(), &sectors(Op::Write, [0, 8].into_iter()));
    let mut world = world(&scenario);
    world.plug(0);
    world.hold().expect("the first");
    world.unplug(0).expect("nothing that could go");
    world.plug(0);
    world.submit().expect("the second");
    world.let_go(0, 1).expect("the first goes");
    run_to_rest(&mut world);
    assert_eq!(world.ledger.completed, 0b01, "the plug holds back the second alone");
    world.unplug(0).expect("the second");
    finish_all(&mut world);
}

#[test]
fn a_drain_submits_what_is_plugged_and_the_plug_stays() {
    let scenario = scenario(config(), &sectors(Op::Write, 0..8));
    let mut world = world(&scenario);
    world.plug(0);
    (0..8).for_each(|number| {
        world.submit().expect("plugged");
        if number == 6 {
            world.submit_all_plugged(0).expect("a batch");
        }
    });
    // The seven are one read-modify-write; the eighth is plugged still.
    assert_eq!(finish(&mut world, Outcome::Full), Op::Read);
    assert_eq!(finish(&mut world, Outcome::Full), Op::Write);
    assert!(world.flights.is_empty());
    world.unplug(0).expect("the eighth");
    assert_eq!(finish_all(&mut world).0, [Op::Read, Op::Write]);
}

#[test]
fn only_the_outermost_unplug_submits() {
    let scenario = scenario(config(), &sectors(Op::Write, 0..8));
    let mut world = world(&scenario);
    world.plug(0);
    (0..4).for_each(|_| world.submit().expect("plugged"));
    world.plug(0);
    (0..4).for_each(|_| world.submit().expect("plugged"));
    world.unplug(0).expect("the inner one");
    assert!(world.flights.is_empty());
    world.unplug(0).expect("the outer one");
    assert_eq!(finish_all(&mut world).0, [Op::Write]);
}

#[test]
fn an_unbalanced_unplug_is_harmless() {
    let scenario = scenario(config(), &sectors(Op::Write, 0..8));
    let mut world = world(&scenario);
    (0..3).for_each(|_| world.unplug(0).expect("nothing"));
    submit_batch(&mut world, 8);
    world.unplug(0).expect("nothing");
    assert_eq!(finish_all(&mut world).0, [Op::Write]);
}

#[test]
fn a_write_of_zero_bytes_changes_nothing_at_any_offset() {
    for plugged in [false, true] {
        for offset in 0..=2 * BLOCK {
            let scenario = scenario(config(), &[(Op::Write, offset, 0)]);
            let mut world = world(&scenario);
            match plugged {
                true => submit_batch(&mut world, 1),
                false => world.submit().expect("done at once"),
            }
            assert_eq!(world.ledger.entries[0].result, Some(Ok(())));
            let (ios, stats) = finish_all(&mut world);
            assert_eq!((ios, stats.rmw, stats.waits), (vec![], 0, 0));
        }
    }
}

#[test]
fn abandon_completes_everything_once_plugged_ones_and_members_too() {
    let requests = [sectors(Op::Write, 0..4), sectors(Op::Read, 0..4)].concat();
    let scenario = scenario(config(), &requests);
    let memory = Rc::new(RefCell::new(Memory::new(scenario.guest.clone(), 0, 0)));
    let mut machine = Machine::new(Pool(memory), scenario.length);
    let queue = machine.add_queue(0, config());
    let mut actions = Vec::new();
    let mut submit = |machine: &mut Machine<usize, usize, Pool>, range: std::ops::Range<usize>| {
        range.for_each(|number| {
            machine.submit(queue, 0, scenario.request(number));
            machine.take_actions(&mut actions);
        });
    };
    submit(&mut machine, 0..1);
    machine.plug(queue, 0);
    submit(&mut machine, 1..6);
    machine.submit_plugged(queue, 0);
    machine.take_actions(&mut Vec::new());
    submit(&mut machine, 6..8);
    let failed = machine.abandon();
    assert!(actions.iter().all(|action| matches!(action, Action::Io(..))));
    let mut tokens: Vec<usize> = failed.iter().map(|completion| completion.token).collect();
    tokens.sort_unstable();
    assert!(tokens.into_iter().eq(0..8));
    assert!(failed.iter().all(|completion| completion.result == Err(libc::EIO)));
    assert_eq!(machine.stats(queue).in_flight, 0);
    assert!(machine.abandon().is_empty());
}

/// One zero write or discard of 15 blocks, in pieces of one.
fn long(config: QueueConfig, op: Op) -> Scenario {
    let mut scenario = Scenario::empty(vec![config], 2 * BLOCK, 0);
    scenario.capacity = 15 * BLOCK;
    scenario.unit = BLOCK;
    scenario.add_dataless(0, op, RequestFlags::default(), 0..15 * BLOCK);
    scenario
}

#[test]
fn a_long_discard_asks_for_nothing_further_once_it_is_cancelled() {
    let config = QueueConfig { unmap: true, dataless_max: BLOCK, ..config() };
    for (endless, discards) in [(0, 8), (7 * BLOCK - 1, 8), (7 * BLOCK, 15)] {
        let mut scenario = long(QueueConfig { endless, ..config.clone() }, Op::Discard);
        scenario.length = scenario.capacity;
        let mut world = world(&scenario);
        world.submit().expect("a discard");
        assert_eq!(world.flights.len(), 8);
        world.cancel(0, false).expect("it is at the storage");
        let (ios, _) = finish_all(&mut world);
        assert_eq!(ios, vec![Op::Discard; discards]);
        let stopped = world.ledger.entries[0].result == Some(Err(libc::ECANCELED));
        assert_eq!(stopped, discards < 15);
    }
}

#[test]
fn a_long_zero_write_that_is_stopped_gives_the_object_its_old_length_back() {
    let config = QueueConfig { resize: true, last_unit: BLOCK, dataless_max: BLOCK, ..config() };
    let scenario = long(config, Op::WriteZeroes);
    let mut world = world(&scenario);
    world.submit().expect("a zero write");
    world.cancel(0, false).expect("the storage grows at this moment");
    assert_eq!(finish(&mut world, Outcome::Full), Op::Truncate);
    assert_eq!(finish(&mut world, Outcome::Full), Op::WriteZeroes);
    assert_eq!(world.flights.len(), 8, "and nothing was stopped by that");
    world.cancel(0, false).expect("it is at the storage");
    let (ios, _) = finish_all(&mut world);
    assert_eq!((ios.len(), ios.last()), (9, Some(&Op::Truncate)));
    assert_eq!(world.ledger.entries[0].result, Some(Err(libc::ECANCELED)));
    assert_eq!(world.ledger.length, 2 * BLOCK);
}
