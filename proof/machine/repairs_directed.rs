//! Storage that begins to refuse what it took, case by case.

use super::repairs::{config, Bed};
use crate::io::Op;
use crate::{Alignments, ProbeOutcome, QueueConfig, RequestFlags, Suspected};

/// A queue of which EIO and EILSEQ are suspected, too.
fn any_error() -> QueueConfig {
    QueueConfig { suspected: Suspected::InvalidOrError, ..config() }
}

#[test]
fn storage_that_refuses_everything_fails_requests_after_a_bounded_number_of_calls() {
    for refusal in [libc::EINVAL, libc::EIO, libc::EILSEQ] {
        for op in [Op::Read, Op::Write] {
            refuses_everything(op, refusal);
        }
    }
}

fn refuses_everything(op: Op, refusal: i32) {
    let mut bed = Bed::new(1, &any_error(), 0);
    bed.refusal = refusal;
    match op {
        Op::Read => bed.wants = 1 << 20,
        _ => bed.wants_of_writes = 1 << 20,
    }
    for number in 0..20 {
        bed.submit(0, op, 4 * number + 4, 4, RequestFlags::default());
    }
    bed.end_all();
    assert!((0..20).all(|number| bed.result(number) == Some(Err(refusal))));
    assert!(bed.calls <= 20 * 6, "{}", bed.calls);
    // What was guessed in vain is taken back.
    assert_eq!((bed.stats().probe_repairs, bed.queues[0].alignments.request), (0, 4));
    let calls = bed.calls;
    bed.submit(0, op, 4, 4, RequestFlags::default());
    bed.end_all();
    assert_eq!((bed.calls - calls, bed.result(20)), (1, Some(Err(refusal))));
    bed.wants = 1;
    bed.wants_of_writes = 1;
    bed.submit(0, op, 4, 4, RequestFlags::default());
    bed.end_all();
    assert_eq!(bed.result(21), Some(Ok(())));
    bed.conclude();
}

#[test]
fn a_guess_is_taken_back_by_errors_of_its_own_kind_only() {
    let mut bed = Bed::new(1, &any_error(), 0);
    bed.wants_of_writes = 16;
    bed.submit(0, Op::Write, 4, 4, RequestFlags::default());
    bed.finish(0, 4);
    // Guessed after EINVAL, and not confirmed yet: a read of its block is under way.
    bed.answer();
    bed.submit(0, Op::Read, 64, 8, RequestFlags::default());
    let at = bed.flights.iter().position(|io| io.offset == 64).expect("a read");
    let io = bed.flights.swap_remove(at);
    bed.machine.io_done(io, Err(libc::EIO));
    bed.take_in();
    bed.end_all();
    assert_eq!(bed.result(1), Some(Err(libc::EIO)));
    assert_eq!(bed.result(0), Some(Ok(())));
    assert_eq!(bed.queues[0].alignments.request, 16);
    bed.conclude();
}

#[test]
fn there_are_eight_repairs_and_no_more() {
    let mut bed = Bed::new(1, &config(), 0);
    bed.wants = 1 << 20;
    bed.submit(0, Op::Read, 4, 4, RequestFlags::default());
    let mut asked = 0;
    loop {
        if let Some(bytes) = bed.flights.first().map(|io| io.bytes) {
            bed.finish(0, bytes);
            continue;
        }
        let Some(refusal) = bed.probes.pop() else { break };
        asked += 1;
        // Larger each time, and of no help.
        let now = refusal.config.alignments;
        let larger = Alignments { memory: 2 * now.memory, ..now };
        let holds = bed.repaired(ProbeOutcome::Found(larger)).expect("it was asked");
        assert_eq!(holds.memory, larger.memory);
    }
    assert_eq!((asked, bed.stats().probe_repairs), (8, 8));
    assert_eq!(bed.result(0), Some(Err(libc::EINVAL)));
    bed.conclude();
}

#[test]
fn what_has_begun_before_a_repair_is_not_taken_back() {
    let mut bed = Bed::new(1, &QueueConfig { depth: 1, ..config() }, 0);
    bed.wants = 16;
    bed.submit(0, Op::Write, 4, 4, RequestFlags::default());
    bed.submit(0, Op::Write, 0, 16, RequestFlags::default());
    bed.finish(0, 4);
    assert_eq!(bed.probes.len(), 1);
    let cancel = |bed: &mut Bed, number: usize| {
        let id = bed.sent[number].id;
        let answer = bed.machine.cancel(0, id);
        bed.take_in();
        answer
    };
    assert_eq!(cancel(&mut bed, 0), Err(libc::EBUSY));
    assert_eq!(cancel(&mut bed, 1), Ok(()));
    assert_eq!(bed.result(1), Some(Err(libc::ECANCELED)));
    bed.answer();
    assert_eq!(cancel(&mut bed, 0), Err(libc::EBUSY));
    bed.end_all();
    assert_eq!((bed.result(0), bed.stats().probe_repairs), (Some(Ok(())), 1));
    bed.conclude();
}

#[test]
fn a_request_that_would_not_wait_is_not_refused_by_a_repair() {
    let mut bed = Bed::new(2, &config(), 0);
    bed.wants = 16;
    let no_wait = RequestFlags { no_wait: true, ..RequestFlags::default() };
    (0..4).for_each(|number| bed.submit(number % 2, Op::Write, 4 * u64::from(number), 4, no_wait));
    bed.end_all();
    assert!((0..4).all(|number| bed.result(number) == Some(Ok(()))));
    bed.conclude();
}

#[test]
fn other_errors_are_not_asked_about() {
    for errno in [libc::EIO, libc::ENOSPC] {
        let mut bed = Bed::new(1, &config(), 0);
        bed.submit(0, Op::Write, 4, 4, RequestFlags::default());
        let io = bed.flights.pop().expect("a write");
        bed.machine.io_done(io, Err(errno));
        bed.take_in();
        assert_eq!(bed.result(0), Some(Err(errno)));
        bed.conclude();
    }
}

#[test]
fn eio_is_asked_about_once_where_it_may_be_about_alignment() {
    let mut bed = Bed::new(1, &any_error(), 0);
    for probes in [1, 0, 0] {
        bed.submit(0, Op::Read, 4, 4, RequestFlags::default());
        let io = bed.flights.pop().expect("a read");
        bed.machine.io_done(io, Err(if probes > 0 { libc::EIO } else { libc::EILSEQ }));
        bed.take_in();
        assert_eq!(bed.probes.len(), probes);
        if probes > 0 {
            bed.answer();
        }
        let last = bed.sent.len() - 1;
        let errno = if probes > 0 { libc::EIO } else { libc::EILSEQ };
        assert_eq!(bed.result(last), Some(Err(errno)));
    }
    // That says nothing about EINVAL.
    bed.wants = 8;
    bed.submit(0, Op::Read, 4, 4, RequestFlags::default());
    bed.end_all();
    assert_eq!((bed.result(3), bed.stats().probe_repairs), (Some(Ok(())), 1));
    bed.conclude();
}

#[test]
fn the_parts_of_a_joined_io_that_fails_are_not_joined_again() {
    let mut bed = Bed::new(1, &QueueConfig { suspected: Suspected::Nothing, ..config() }, 0);
    bed.machine.plug(0, 0);
    bed.submit(0, Op::Write, 1, 2, RequestFlags::default());
    bed.submit(0, Op::Write, 5, 2, RequestFlags::default());
    bed.machine.unplug(0, 0);
    bed.take_in();
    assert_eq!(bed.flights.iter().map(|io| io.joined.len()).collect::<Vec<_>>(), [2]);
    bed.wants = 1 << 20;
    bed.end_all();
    assert_eq!((bed.calls, bed.result(0), bed.result(1)), (3, Some(Err(22)), Some(Err(22))));
    bed.conclude();
}

#[test]
fn joined_ios_that_are_joined_once_more_still_end_each_of_their_parts() {
    let mut bed = Bed::new(1, &config(), 0);
    for batch in 0..2 {
        bed.machine.plug(0, 0);
        bed.submit(0, Op::Write, 8 * batch + 1, 2, RequestFlags::default());
        bed.submit(0, Op::Write, 8 * batch + 5, 2, RequestFlags::default());
        bed.machine.unplug(0, 0);
        bed.take_in();
    }
    let joined = |bed: &Bed| bed.flights.iter().map(|io| io.joined.len()).collect::<Vec<_>>();
    assert_eq!(joined(&bed), [2, 2]);
    // Both reads of edges come back in one load of results, so their writes lie side by side.
    bed.give_back(0, 8);
    bed.give_back(0, 8);
    bed.take_in();
    assert_eq!(joined(&bed), [4]);
    assert!(bed.flights[0].joined.iter().all(|part| part.joined.is_empty()));
    bed.end_all();
    assert!((0..4).all(|number| bed.result(number) == Some(Ok(()))));
    bed.conclude();
}

#[test]
fn an_answer_that_was_not_asked_for_changes_nothing() {
    let mut bed = Bed::new(1, &config(), 0);
    assert_eq!(bed.machine.repaired(ProbeOutcome::NothingHelps), None);
    bed.machine.take_actions(&mut bed.actions);
    assert!(bed.actions.is_empty());
    bed.conclude();
}

#[test]
fn storage_that_cannot_discard_is_asked_once() {
    let mut bed = Bed::new(1, &QueueConfig { unmap: true, ..config() }, 0);
    for number in 0..3 {
        bed.submit(0, Op::Discard, 4 * number, 4, RequestFlags::default());
        if let Some(io) = bed.flights.pop() {
            bed.machine.io_done(io, Err(libc::EOPNOTSUPP));
            bed.take_in();
        }
        assert_eq!(bed.result(number as usize), Some(Ok(())));
    }
    assert_eq!(bed.calls, 1);
}
