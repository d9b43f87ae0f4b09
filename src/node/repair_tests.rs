use super::*;
use blkalign_machine::{QueueConfig, Suspected};

fn refused(op: Op, errno: i32) -> RefusedIo {
    let config = QueueConfig {
        alignments: Alignments { request: 512, memory: 4, segment: 512 },
        max_transfer: 1 << 20,
        max_segments: 16,
        depth: 4,
        last_unit: 0,
        last_block: u64::MAX,
        granule: 512,
        copy_edges: false,
        suspected: Suspected::Invalid,
        no_flush: false,
        no_merge: false,
        resize: false,
        unmap: false,
        discard_alignment: 512,
        dataless_max: 1 << 20,
        atomic_write_max: 0,
        endless: 0,
    };
    RefusedIo { op, offset: 12800, errno, config, storage: 1 << 20 }
}

/// What is found, and by how many trials.
fn found(
    refused: &RefusedIo,
    mut works: impl FnMut(Alignments) -> bool,
) -> (Option<(u64, usize, usize)>, u32) {
    let mut trials = 0;
    let found = find_larger(refused, &mut |shape| {
        trials += 1;
        if works(shape) {
            Trial::Taken
        } else {
            Trial::Refused
        }
    });
    let larger = match found {
        ProbeOutcome::NothingHelps => None,
        ProbeOutcome::Found(larger) | ProbeOutcome::Guessed(larger) => Some(larger),
    };
    (larger.map(|it| (it.request, it.memory, it.segment)), trials)
}

#[test]
fn the_smallest_that_works_is_found_for_each_alignment() {
    let refused = refused(Op::Read, libc::EINVAL);
    let of = |request: u64, memory: usize, segment: usize| {
        let works =
            |it: Alignments| it.request >= request && it.memory >= memory && it.segment >= segment;
        found(&refused, works).0
    };
    assert_eq!(of(4096, 4, 512), Some((4096, 4, 512)));
    assert_eq!(of(512, 512, 512), Some((512, 512, 512)));
    assert_eq!(of(2048, 64, 1024), Some((2048, 64, 1024)));
    assert_eq!(of(65536, 65536, 65536), Some((65536, 65536, 65536)));
    // Pages may be larger than blocks.
    let page = page_bytes() as usize;
    assert_eq!(of(4096, page, 512), Some((4096, page, 512)));
    assert_eq!(of(131072, 4, 512), None);
}

#[test]
fn a_read_that_is_refused_where_such_reads_work_is_no_matter_of_alignment() {
    assert_eq!(found(&refused(Op::Read, libc::EINVAL), |_| true), (None, 1));
    assert_eq!(found(&refused(Op::Write, libc::EIO), |_| true), (None, 1));
}

#[test]
fn a_write_that_is_refused_where_reads_work_doubles_its_block() {
    let mut refused = refused(Op::Write, libc::EINVAL);
    let mut guesses = Vec::new();
    while let (Some((request, ..)), _) = found(&refused, |_| true) {
        refused.config.alignments.request = request;
        guesses.push(request);
    }
    assert_eq!(guesses, [4096, 8192, 16384, 32768, 65536]);
}

#[test]
fn a_write_that_ends_with_eio_where_a_hole_may_be_is_tried_with_a_page() {
    let guess = |op, errno, request, read| {
        let mut refused = refused(op, errno);
        refused.config.alignments.request = request;
        match find_larger(&refused, &mut |_| read) {
            ProbeOutcome::Guessed(larger) => Some(larger.request),
            _ => None,
        }
    };
    assert_eq!(guess(Op::Write, libc::EIO, 512, Trial::Blank), Some(4096));
    assert_eq!(guess(Op::Write, libc::EIO, 2048, Trial::Blank), Some(4096));
    assert_eq!(guess(Op::Write, libc::EIO, 4096, Trial::Blank), None);
    assert_eq!(guess(Op::Write, libc::EIO, 512, Trial::Taken), None);
    assert_eq!(guess(Op::Write, libc::EILSEQ, 512, Trial::Blank), None);
    assert_eq!(guess(Op::Read, libc::EIO, 512, Trial::Blank), None);
}

#[test]
fn storage_that_refuses_everything_is_asked_a_few_times() {
    let (larger, trials) = found(&refused(Op::Read, libc::EINVAL), |_| false);
    assert_eq!(larger, None);
    assert!(trials < 20, "{trials}");
}

#[test]
fn what_fails_only_once_is_left_as_it_is() {
    let mut first = true;
    let works = |_| !std::mem::replace(&mut first, false);
    assert_eq!(found(&refused(Op::Read, libc::EIO), works).0, None);
}

#[test]
fn blocks_that_the_object_is_no_multiple_of_or_that_pass_its_end_are_not_tried() {
    let mut short = refused(Op::Read, libc::EINVAL);
    short.storage = 14336;
    let works = |it: Alignments| {
        assert!(it.request <= 2048);
        it.request >= 4096
    };
    assert_eq!(found(&short, works).0, None);
    short.config.last_unit = 4096;
    short.storage = 16000;
    assert_eq!(found(&short, |it| it.request >= 2048).0, Some((2048, 4, 512)));
    assert_eq!(found(&short, |it| it.request >= 4096).0, None);
}

#[test]
fn a_trial_reads_what_the_storage_has_though_the_object_was_longer() {
    // A write that made the object longer was refused, and has given the length back.
    let mut shrunk = refused(Op::Write, libc::EINVAL);
    shrunk.storage = 8192;
    assert_eq!(found(&shrunk, |it| it.request >= 4096).0, Some((4096, 4, 512)));
    for request in [512, 4096, 8192] {
        assert!(place(&shrunk, request) + request <= shrunk.storage);
    }
    shrunk.storage = 0;
    assert_eq!(found(&shrunk, |_| true), (None, 0));
}

#[test]
fn a_trial_has_short_elements_at_both_ends() {
    let of = |segment, most| elements(Alignments { request: 4096, memory: 512, segment }, most);
    assert_eq!(of(512, 16), [512, 3072, 512]);
    assert_eq!(of(512, 2), [512, 3584]);
    assert_eq!(of(2048, 16), [2048, 2048]);
    assert_eq!(of(4096, 16), [4096]);
    assert_eq!(of(512, 1), [4096]);
}
