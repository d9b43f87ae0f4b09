//! Handles of one object that write to one block: whose I/O it is, who rides in it, and what each
//! of them counts.

use super::directed::{config, finish, world, TestWorld};
use super::scenario::{one_segment, Scenario};
use super::storage::Outcome;
use crate::io::Op;
use crate::{Alignments, QueueConfig, Stats};

const BLOCK: u64 = 4096;
const SECTOR: u64 = 512;

/// Queue n writes sector n of the first block.
fn sector_each(configs: Vec<QueueConfig>, fua: impl Fn(usize) -> bool) -> Scenario {
    let queues = configs.len();
    let mut scenario = Scenario::empty(configs, 2 * BLOCK, 0);
    for queue in 0..queues {
        let memory = scenario.reserve(SECTOR as usize, 512, 0);
        let segments = one_segment(memory, SECTOR as usize);
        scenario.add(queue, Op::Write, fua(queue), queue as u64 * SECTOR, segments);
    }
    scenario
}

fn submit_all(world: &mut TestWorld<'_>) {
    (0..world.scenario.plans.len()).for_each(|_| world.submit().expect("a write"));
}

/// Ends whatever is asked for, in order: what that was, and by which queue; and what each queue
/// has counted.
fn run(world: &mut TestWorld<'_>) -> (Vec<(Op, usize)>, Vec<Stats>) {
    let mut ios = Vec::new();
    while let Some(flight) = world.flights.first() {
        let queue = flight.queue;
        ios.push((finish(world, Outcome::Full), queue));
    }
    let stats = (0..world.scenario.config.len()).map(|queue| stats(world, queue)).collect();
    world.conclude().expect("a rule was broken");
    (ios, stats)
}

fn stats(world: &TestWorld<'_>, queue: usize) -> Stats {
    world.stats(queue).expect("statistics")
}

#[test]
fn a_sector_each_of_eight_handles_is_one_read_and_two_writes() {
    let scenario = sector_each(vec![config(); 8], |_| false);
    let mut world = world(&scenario);
    submit_all(&mut world);
    // The first reads the block. The second gets its image, and takes all others along.
    let (ios, all) = run(&mut world);
    assert_eq!(ios, [(Op::Read, 0), (Op::Write, 0), (Op::Write, 1)]);
    for (queue, stats) in all.iter().enumerate() {
        let rides = u64::from(queue > 1);
        assert_eq!((stats.writes, stats.bytes_written), (1, SECTOR));
        assert_eq!((stats.merged, stats.storage_writes), (rides, 1 - rides));
        assert_eq!((stats.rmw, stats.rmw_reads_skipped), (1, u64::from(queue > 0)));
        let reads = u64::from(queue == 0);
        assert_eq!((stats.storage_reads, stats.rmw_reads), (reads, reads));
    }
}

#[test]
fn handles_whose_alignments_differ_or_that_do_not_merge_go_by_themselves() {
    let alignments = Alignments { memory: 1024, ..config().alignments };
    let others =
        [QueueConfig { alignments, ..config() }, QueueConfig { no_merge: true, ..config() }];
    for other in others {
        let scenario = sector_each(vec![config(), other], |_| false);
        let mut world = world(&scenario);
        submit_all(&mut world);
        let alone = |queue| [(Op::Read, queue), (Op::Write, queue)];
        let (ios, stats) = run(&mut world);
        assert_eq!(ios, [alone(0), alone(1)].concat());
        assert_eq!(stats[1].merged, 0);
    }
}

#[test]
fn fua_of_one_handle_makes_the_write_of_another_durable_if_it_rides_in_it() {
    let scenario = sector_each(vec![config(); 4], |queue| queue == 3);
    let mut world = world(&scenario);
    submit_all(&mut world);
    let durable: Vec<bool> = (0..3)
        .map(|_| {
            let fua = world.flights[0].io.fua;
            finish(&mut world, Outcome::Full);
            fua
        })
        .collect();
    assert_eq!(durable, [false, false, true]);
    world.conclude().expect("a rule was broken");
}

#[test]
fn an_error_is_that_of_each_handle_whose_write_rides() {
    let scenario = sector_each(vec![config(); 4], |_| false);
    let mut world = world(&scenario);
    submit_all(&mut world);
    finish(&mut world, Outcome::Full);
    finish(&mut world, Outcome::Full);
    finish(&mut world, Outcome::Failed(libc::ENOSPC));
    let results: Vec<_> = world.ledger.entries.iter().map(|entry| entry.result).collect();
    let failed = Some(Err(libc::ENOSPC));
    assert_eq!(results, [Some(Ok(())), failed, failed, failed]);
    assert_eq!((0..4).map(|queue| stats(&world, queue).errors).collect::<Vec<_>>(), [0, 1, 1, 1]);
    world.conclude().expect("a rule was broken");
}

#[test]
fn a_handle_without_a_free_place_inherits_nothing() {
    let mut scenario = sector_each(vec![config(), QueueConfig { depth: 1, ..config() }], |_| false);
    let memory = scenario.reserve(BLOCK as usize, 512, 0);
    // It has the only place of the second queue when the first write is done.
    scenario.add(1, Op::Read, false, BLOCK, one_segment(memory, BLOCK as usize));
    let mut world = world(&scenario);
    submit_all(&mut world);
    assert_eq!(world.flights.len(), 2);
    finish(&mut world, Outcome::Full);
    let write = world.flights.iter().position(|flight| flight.io.op == Op::Write);
    world.finish(write.expect("the first write"), Outcome::Full).expect("a rule was broken");
    assert_eq!(run(&mut world).0, [(Op::Read, 1), (Op::Read, 1), (Op::Write, 1)]);
}

#[test]
fn a_write_that_rides_is_taken_back_by_its_own_handle() {
    let mut scenario = Scenario::empty(vec![config(); 4], 2 * BLOCK, 0);
    // A whole block has no image to leave: the next write reads the block, and others ride in it.
    for (queue, bytes) in [(0, BLOCK), (1, SECTOR), (2, SECTOR), (3, SECTOR)] {
        let memory = scenario.reserve(bytes as usize, 512, 0);
        let segments = one_segment(memory, bytes as usize);
        scenario.add(queue, Op::Write, false, queue as u64 * SECTOR % BLOCK, segments);
    }
    let mut world = world(&scenario);
    submit_all(&mut world);
    finish(&mut world, Outcome::Full);
    assert_eq!((stats(&world, 2).merged, stats(&world, 3).merged), (1, 1));
    world.cancel(3, true).expect("it is not of another handle");
    world.cancel(3, false).expect("its leader reads the block");
    let (ios, stats) = run(&mut world);
    assert_eq!(ios, [(Op::Read, 1), (Op::Write, 1)]);
    assert_eq!(world.ledger.entries[3].result, Some(Err(libc::ECANCELED)));
    assert_eq!((stats[2].merged, stats[3].merged), (1, 0));
    assert_eq!((stats[3].rmw, stats[3].rmw_reads_skipped), (0, 0));
}
