//! Single cases, each of which says one thing that notifiers change or must not change.

use super::super::directed;
use super::desk::{Desk, End};
use crate::io::Op;
use crate::{Alignments, QueueConfig, Stay};

const BLOCK: u64 = 16;

fn config() -> QueueConfig {
    QueueConfig {
        alignments: Alignments { request: BLOCK, memory: 4, segment: 4 },
        max_transfer: 128,
        granule: BLOCK,
        discard_alignment: BLOCK,
        dataless_max: 128,
        ..directed::config()
    }
}

fn desk() -> Desk {
    Desk::new(&[config()], 1)
}

fn finish_all(desk: &mut Desk) {
    while !desk.flights.is_empty() {
        desk.finish(0, End::Full);
    }
}

fn result(desk: &Desk, number: usize) -> Option<Result<(), i32>> {
    desk.sent[number].completed.map(|(_, result)| result)
}

#[test]
fn a_leader_tells_of_what_waits_behind_it() {
    let mut desk = desk();
    desk.add(4);
    let first = desk.send(Op::Write, 0, 4);
    assert_eq!(desk.questions[0].what.bytes, 4);
    desk.answer(0, Ok(()));
    // These two wait for the first, which has its block read.
    let second = desk.send(Op::Write, 4, 4);
    let third = desk.send(Op::Write, 8, 2);
    finish_all(&mut desk);
    // The second tells of both.
    assert_eq!(desk.questions.len(), 2);
    assert_eq!((desk.questions[1].what.offset, desk.questions[1].what.bytes), (4, 8));
    desk.answer(1, Ok(()));
    finish_all(&mut desk);
    assert_eq!(desk.questions.len(), 2);
    assert!([first, second, third].iter().all(|&n| result(&desk, n) == Some(Ok(()))));
    assert_eq!(desk.machine.stats(0).merged, 1);
    // The second had its block from the first.
    assert_eq!(desk.machine.stats(0).rmw_reads, 1);
    desk.conclude();
}

#[test]
fn who_joins_late_joins_only_in_what_the_notifier_knows() {
    for (unit, merged) in [(4, 0), (64, 1)] {
        let mut desk = desk();
        desk.add(unit);
        let first = desk.send(Op::Write, 0, 4);
        // It comes when the question is asked already.
        let second = desk.send(Op::Write, 8, 4);
        desk.answer(0, Ok(()));
        finish_all(&mut desk);
        if merged == 0 {
            assert_eq!(desk.questions.len(), 2);
            desk.answer(1, Ok(()));
            finish_all(&mut desk);
        }
        assert_eq!(desk.machine.stats(0).merged, merged);
        assert_eq!(result(&desk, first), result(&desk, second));
        desk.conclude();
    }
}

#[test]
fn a_refused_leader_takes_nobody_along() {
    let mut desk = desk();
    desk.add(64);
    let first = desk.send(Op::Write, 0, 4);
    let second = desk.send(Op::Write, 4, 4);
    desk.answer(0, Err(libc::ENOSPC));
    assert_eq!(result(&desk, first), Some(Err(libc::ENOSPC)));
    assert_eq!(desk.questions.len(), 2, "the second is announced by itself");
    desk.answer(1, Ok(()));
    finish_all(&mut desk);
    assert_eq!(result(&desk, second), Some(Ok(())));
    desk.conclude();
}

#[test]
fn announced_requests_leave_the_places_to_reads() {
    let mut desk = Desk::new(&[QueueConfig { depth: 1, ..config() }], 1);
    desk.add(16);
    for number in 0..5 {
        desk.send(Op::Write, 16 * number, 16);
    }
    assert_eq!(desk.questions.len(), 5);
    let read = desk.send(Op::Read, 0, 64);
    assert_eq!(desk.flights.len(), 1);
    finish_all(&mut desk);
    assert_eq!(result(&desk, read), Some(Ok(())));
    (0..5).for_each(|question| desk.answer(question, Ok(())));
    finish_all(&mut desk);
    desk.conclude();
}

#[test]
fn reads_pass_a_truncate_that_is_announced_and_it_waits_for_them_then() {
    let mut desk = Desk::new(&[QueueConfig { last_unit: 16, resize: true, ..config() }], 1);
    desk.add(16);
    let truncate = desk.send(Op::Truncate, 100, 0);
    assert_eq!((desk.questions[0].what.offset, desk.questions[0].what.bytes), (96, 160));
    let read = desk.send(Op::Read, 128, 32);
    assert_eq!(desk.flights.len(), 1, "the read goes");
    desk.answer(0, Ok(()));
    assert_eq!(desk.flights.len(), 1, "the truncate waits for it");
    let later = desk.send(Op::Read, 128, 32);
    finish_all(&mut desk);
    for number in [truncate, read, later] {
        assert_eq!(result(&desk, number), Some(Ok(())));
    }
    assert_eq!(desk.machine.length(), 100);
    desk.conclude();
}

#[test]
fn what_is_late_is_said_to_wait_for_a_notifier() {
    let mut desk = desk();
    desk.add(64);
    desk.send(Op::Write, 0, 16);
    desk.send(Op::Write, 32, 16);
    let late = desk.machine.late(0, desk.sent[1].id);
    assert_eq!(late.len(), 2);
    assert!(late.iter().all(|late| late.stay == Stay::Announced));
    assert_eq!((late[0].behind, late[1].behind), (None, Some(late[0].asked)));
    desk.answer(0, Ok(()));
    desk.answer(1, Ok(()));
    finish_all(&mut desk);
    desk.conclude();
}

#[test]
fn a_notifier_that_is_removed_is_not_waited_for() {
    let mut desk = desk();
    let id = desk.add(64);
    desk.send(Op::Write, 0, 16);
    desk.send(Op::Write, 32, 16);
    desk.remove(id);
    assert_eq!(desk.questions.len(), 1);
    assert!(desk.flights.is_empty());
    desk.answer(0, Ok(()));
    assert_eq!(desk.questions.len(), 1, "the second was not announced before, and is not now");
    assert_eq!(desk.flights.len(), 2);
    finish_all(&mut desk);
    desk.conclude();
}
