//! What the machine says of requests that do not come back.

use super::repairs::{config, Bed};
use crate::io::{Op, Segments};
use crate::{Asked, Late, QueueConfig, Request, RequestFlags, Stay};

/// Each late request: its offset, where the request that it waits for begins, and where that stays.
fn told(late: &[Late]) -> Vec<(u64, Option<u64>, Stay)> {
    let offset = |asked: &Asked| asked.offset;
    late.iter()
        .map(|late| (late.asked.offset, late.behind.as_ref().map(offset), late.stay))
        .collect()
}

#[test]
fn each_late_request_names_what_holds_it_up_in_the_end() {
    let config = QueueConfig { depth: 1, no_merge: true, ..config() };
    let mut bed = Bed::new(2, &config, 0);
    let flags = RequestFlags::default();
    bed.submit(0, Op::Write, 1, 1, flags);
    bed.submit(1, Op::Write, 3, 1, flags);
    bed.submit(0, Op::Write, 0, 8, flags);
    bed.submit(0, Op::Read, 64, 4, flags);
    bed.machine.plug(0, 9);
    let last = bed.sent[3].id;
    let all =
        [(1, None, Stay::AtStorage(1)), (0, Some(1), Stay::AtStorage(1)), (64, None, Stay::Queued)];
    assert_eq!(told(&bed.machine.late(0, last)), all);
    // The other queue's own, which waits for a request of the first; and nothing younger.
    assert_eq!(told(&bed.machine.late(1, last)), [(3, Some(1), Stay::AtStorage(1))]);
    assert_eq!(told(&bed.machine.late(0, bed.sent[0].id)), all[..1]);
    bed.machine.unplug(0, 9);
    bed.take_in();
    bed.end_all();
    assert!(bed.machine.late(0, last).is_empty());
    bed.conclude();
}

#[test]
fn members_wait_with_their_leader_and_all_wait_for_a_repair() {
    let mut bed = Bed::new(1, &config(), 0);
    let flags = RequestFlags::default();
    bed.submit(0, Op::Write, 1, 1, flags);
    bed.submit(0, Op::Write, 2, 1, flags);
    bed.submit(0, Op::Write, 3, 1, flags);
    // The edge is there, and the leader takes the others along.
    bed.finish(0, 4);
    let last = bed.sent[2].id;
    let late = told(&bed.machine.late(0, last));
    assert!(late.iter().all(|(_, _, stay)| *stay == Stay::AtStorage(1)), "{late:?}");
    bed.wants = 16;
    bed.end_flights();
    assert_eq!(bed.probes.len(), 1);
    let late = bed.machine.late(0, last);
    assert!(!late.is_empty() && late.iter().all(|late| late.stay == Stay::Repaired), "{late:?}");
    bed.end_all();
    bed.conclude();
}

#[test]
fn what_a_plug_holds_back_says_so() {
    let mut bed = Bed::new(1, &config(), 0);
    bed.machine.plug(0, 0);
    bed.submit(0, Op::Read, 4, 4, RequestFlags::default());
    assert_eq!(told(&bed.machine.late(0, bed.sent[0].id)), [(4, None, Stay::Plugged)]);
    bed.machine.unplug(0, 0);
    bed.take_in();
    bed.end_all();
    bed.conclude();
}

#[test]
fn what_a_throttle_holds_back_says_so() {
    let mut bed = Bed::new(1, &config(), 0);
    let flags = RequestFlags::default();
    let segments = Segments::new();
    let flush =
        Request { op: Op::Flush, flags, guest_block: 0, offset: 4, bytes: 0, segments, token: 0 };
    let id = bed.machine.hold(0, None, flush);
    assert_eq!(told(&bed.machine.late(0, id)), [(4, None, Stay::Throttled)]);
}

#[test]
fn a_pause_lets_end_what_has_begun_and_begins_nothing() {
    let mut bed = Bed::new(2, &config(), 0);
    let flags = RequestFlags::default();
    bed.submit(0, Op::Write, 1, 1, flags);
    assert!(!bed.machine.is_at_rest());
    bed.pause();
    bed.submit(1, Op::Write, 64, 8, flags);
    bed.submit(0, Op::Write, 2, 1, flags);
    let last = bed.sent[2].id;
    assert_eq!(bed.flights.len(), 1, "the edge of the first");
    assert_eq!(told(&bed.machine.late(1, last)), [(64, None, Stay::Paused)]);
    assert!(bed.machine.at_storage(0).iter().any(|(id, _)| *id == bed.sent[0].id));
    assert!(bed.machine.at_storage(1).is_empty());
    let bytes = bed.flights[0].bytes;
    bed.finish(0, bytes);
    assert!(!bed.machine.is_at_rest(), "the first has still to write");
    bed.end_flights();
    assert!(bed.machine.is_at_rest());
    // Pauses nest.
    bed.pause();
    bed.resume();
    assert!(bed.machine.is_at_rest() && bed.flights.is_empty());
    bed.resume();
    assert!(!bed.machine.is_at_rest() && !bed.machine.is_paused());
    bed.take_in();
    assert_eq!(bed.machine.at_storage(1).len(), 1);
    bed.end_all();
    bed.conclude();
}

#[test]
fn a_repair_within_a_pause_begins_nothing_and_is_over_before_the_rest() {
    let mut bed = Bed::new(1, &config(), 0);
    let flags = RequestFlags::default();
    bed.submit(0, Op::Write, 0, 8, flags);
    bed.pause();
    bed.wants = 16;
    bed.end_flights();
    assert_eq!(bed.probes.len(), 1);
    assert!(!bed.machine.is_at_rest(), "trial reads come");
    bed.answer();
    assert!(bed.machine.is_at_rest() && bed.flights.is_empty(), "it begins anew only later");
    bed.resume();
    bed.take_in();
    bed.end_all();
    bed.conclude();
}
