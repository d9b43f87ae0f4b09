//! Promises and cancels one by one, where the rare thing is that several requests share an I/O.

use super::directed::{add, config, finish, finish_all, scenario, sectors, submit_batch, world};
use super::isolated::Asks;
use super::scenario::{one_segment, Scenario};
use super::storage::Outcome;
use crate::io::Op;
use crate::{Alignments, QueueConfig};

const SERIALISING: Asks = Asks { serialising: true, no_wait: false, guest_block: 0 };
const NO_WAIT: Asks = Asks { serialising: false, no_wait: true, guest_block: 0 };

#[test]
fn a_serialising_write_waits_for_every_read_that_shares_an_io() {
    let mut scenario = scenario(config(), &sectors(Op::Read, 0..3));
    add(&mut scenario, Op::Write, 2 * 512, 512, false);
    scenario.ask(SERIALISING);
    let mut world = world(&scenario);
    submit_batch(&mut world, 3);
    world.submit().expect("waits");
    assert_eq!(world.flights.len(), 1);
    assert_eq!(finish(&mut world, Outcome::Full), Op::Read);
    assert_eq!(finish_all(&mut world).0, [Op::Read, Op::Write]);
}

#[test]
fn reads_that_share_do_so_without_the_one_that_is_taken_back() {
    for cancelled in 1..4 {
        let mut requests = vec![(Op::Write, 4096, 4096)];
        requests.extend(sectors(Op::Read, 0..3));
        let scenario = scenario(QueueConfig { depth: 1, ..config() }, &requests);
        let mut world = world(&scenario);
        world.submit().expect("takes the only place");
        submit_batch(&mut world, 3);
        world.cancel(cancelled, false).expect("not at the storage");
        assert_eq!(finish(&mut world, Outcome::Full), Op::Write);
        let (ios, stats) = finish_all(&mut world);
        assert_eq!((ios, stats.errors, stats.bytes_read), (vec![Op::Read], 0, 1024));
    }
}

#[test]
fn a_write_leaves_its_leader_while_that_reads_the_block_and_not_later() {
    let scenario = scenario(config(), &sectors(Op::Write, 0..4));
    let mut world = world(&scenario);
    submit_batch(&mut world, 4);
    world.cancel(0, false).expect("refused: it reads its edge");
    world.cancel(2, false).expect("only a member so far");
    assert_eq!(finish(&mut world, Outcome::Full), Op::Read);
    world.cancel(1, false).expect("refused: it is being written");
    let results: Vec<_> = world.ledger.entries.iter().map(|entry| entry.result).collect();
    assert_eq!(results, [None, None, Some(Err(libc::ECANCELED)), None]);
    let (ios, stats) = finish_all(&mut world);
    assert_eq!((ios, stats.merged, stats.rmw, stats.bytes_written), (vec![Op::Write], 2, 3, 1536));
}

#[test]
fn a_plugged_request_can_be_taken_back_and_is_no_part_of_its_batch() {
    let scenario = scenario(config(), &sectors(Op::Write, 0..8));
    let mut world = world(&scenario);
    world.plug(0);
    (0..8).for_each(|_| world.submit().expect("plugged"));
    world.cancel(3, false).expect("plugged");
    assert_eq!(world.ledger.completed, 0b1000);
    world.unplug(0).expect("seven");
    let (ios, stats) = finish_all(&mut world);
    assert_eq!((ios, stats.merged, stats.errors), (vec![Op::Read, Op::Write], 6, 0));
}

#[test]
fn a_request_that_does_not_wait_is_refused_by_its_own_batch_too() {
    let mut scenario = scenario(config(), &sectors(Op::Write, 0..2));
    scenario.ask(NO_WAIT);
    let mut world = world(&scenario);
    submit_batch(&mut world, 2);
    assert_eq!(world.ledger.entries[1].result, Some(Err(libc::EBUSY)));
    assert_eq!(finish_all(&mut world).0, [Op::Read, Op::Write]);
}

#[test]
fn an_heir_that_is_taken_back_gives_its_image_back() {
    let whole_sectors = Asks { guest_block: 512, ..Asks::default() };
    let mut scenario = scenario(QueueConfig { depth: 1, ..config() }, &[]);
    add(&mut scenario, Op::Write, 0, 512, false);
    scenario.ask(whole_sectors);
    add(&mut scenario, Op::Write, 512, 512, false);
    add(&mut scenario, Op::Read, 0, 512, false);
    scenario.ask(whole_sectors);
    add(&mut scenario, Op::Write, 1024, 512, false);
    let mut world = world(&scenario);
    submit_batch(&mut world, 3);
    assert_eq!(finish(&mut world, Outcome::Full), Op::Read);
    world.submit().expect("waits for the second, and inherits");
    assert_eq!(finish(&mut world, Outcome::Full), Op::Write);
    // The read, which waited for the first, has taken the only place.
    assert_eq!(world.memory.borrow().taken_count(), 2);
    world.cancel(3, false).expect("not at the storage");
    assert_eq!(world.memory.borrow().taken_count(), 1);
    assert_eq!(finish_all(&mut world).0, [Op::Read]);
}

#[test]
fn a_serialising_request_of_a_queue_with_smaller_blocks_waits_for_members_too() {
    let alignments = Alignments { request: 512, ..config().alignments };
    let fine = QueueConfig { alignments, granule: 512, ..config() };
    let mut scenario = Scenario::empty(vec![config(), fine], 8192, 0);
    for sector in 0..2 {
        add(&mut scenario, Op::Read, sector * 512, 512, false);
    }
    let segments = one_segment(scenario.reserve(512, 512, 0), 512);
    scenario.add(1, Op::Write, false, 512, segments);
    scenario.ask(SERIALISING);
    let mut world = world(&scenario);
    submit_batch(&mut world, 2);
    world.submit().expect("waits for the second read alone");
    assert_eq!(world.flights.len(), 1);
    assert_eq!(finish_all(&mut world).0, [Op::Read, Op::Write]);
}
