//! Requests whose caller does their only I/O: what the model of bytes (`proof/machine`), in which
//! the machine asks for all I/O, does not see.

use super::*;
use crate::{Action, Alignments, Machine, MemoryCopy, RequestFlags, Segment, Suspected};

const BLOCK: u64 = 4096;

/// Gives numbers, and counts what is out.
#[derive(Default)]
struct Counted(usize);

impl ScratchPool for Counted {
    fn take(&mut self, bytes: usize, alignment: usize) -> Option<Scratch> {
        self.0 += 1;
        Some(Scratch { address: self.0 << 20, bytes, alignment })
    }

    fn give(&mut self, _scratch: Scratch) {
        self.0 -= 1;
    }

    fn zeros(&mut self, _bytes: usize, _alignment: usize) -> Option<Segment> {
        None
    }

    fn copy(&mut self, _copy: MemoryCopy) {}
}

type TestMachine = Machine<(), &'static str, Counted>;

fn machine(depth: usize) -> TestMachine {
    let mut machine = Machine::new(Counted::default(), 16 * BLOCK);
    machine.add_queue(
        (),
        QueueConfig {
            alignments: Alignments { request: BLOCK, memory: 512, segment: 512 },
            max_transfer: 1 << 20,
            max_segments: 16,
            depth,
            last_unit: 0,
            last_block: u64::MAX,
            granule: BLOCK,
            copy_edges: true,
            suspected: Suspected::Nothing,
            no_flush: false,
            no_merge: false,
            resize: false,
            unmap: false,
            discard_alignment: BLOCK,
            dataless_max: 1 << 30,
            endless: 0,
            atomic_write_max: 0,
        },
    );
    machine
}

fn request<T>(op: Op, offset: u64, bytes: u64, token: T) -> Request<T> {
    let segments = Segments::from_slice(&[Segment { address: 1 << 40, bytes: bytes as usize }]);
    let flags = RequestFlags::default();
    Request { op, flags, guest_block: 0, offset, bytes, segments, token }
}

fn for_caller(machine: &mut TestMachine, op: Op, offset: u64, bytes: u64) -> Option<Io> {
    machine.submit_for_caller(0, 1, &mut request(op, offset, bytes, ()), "caller").ok()
}

/// What the machine asks for, in short.
fn asked(machine: &mut TestMachine) -> Vec<String> {
    let mut actions = Vec::new();
    machine.take_actions(&mut actions);
    let words = |action: &Action<(), &'static str>| match action {
        Action::Io((), io) => format!("{:?} {}", io.op, io.offset),
        Action::Complete(done) => format!("{} {:?}", done.token, done.result),
        Action::Probe(..) | Action::Stalled(..) => unreachable!("nothing is refused"),
        Action::Announce(..) => unreachable!("there is no notifier"),
    };
    actions.iter().map(words).collect()
}

#[test]
fn a_request_done_by_its_caller_asks_for_nothing_and_counts_like_any_other() {
    let mut machine = machine(4);
    for (op, bytes) in [(Op::Write, 2 * BLOCK), (Op::Read, BLOCK), (Op::Read, 512)] {
        let io = for_caller(&mut machine, op, BLOCK, bytes).expect("common");
        assert_eq!((io.op, io.offset, io.bytes), (op, BLOCK, bytes.next_multiple_of(BLOCK)));
        assert_eq!(machine.stats(0).in_flight, 1);
        assert_eq!(machine.done_by_caller(&io), Some("caller"));
        assert_eq!(asked(&mut machine), Vec::<String>::new());
    }
    let stats = machine.stats(0);
    assert_eq!((stats.writes, stats.reads, stats.in_flight, stats.errors), (1, 2, 0, 0));
    assert_eq!((stats.storage_writes, stats.storage_reads), (1, 2));
    assert_eq!((stats.bytes_written, stats.bytes_read), (2 * BLOCK, BLOCK + 512));
    assert_eq!((stats.zero_copy, stats.bounced), (2, 1));
    assert_eq!(machine.table.scratch.0, 0, "scratch went back");
}

#[test]
fn a_write_waits_for_one_that_its_caller_does() {
    let mut machine = machine(4);
    let io = for_caller(&mut machine, Op::Write, 0, 2 * BLOCK).expect("common");
    machine.submit(0, 2, request(Op::Write, BLOCK, 512, "later"));
    assert_eq!(asked(&mut machine), Vec::<String>::new());
    assert_eq!(machine.done_by_caller(&io), Some("caller"));
    assert_eq!(asked(&mut machine), ["Read 4096"]);
}

#[test]
fn a_request_that_is_not_common_is_not_taken_in() {
    let mut machine = machine(1);
    assert!(for_caller(&mut machine, Op::Write, 0, 512).is_none(), "it has an edge");
    assert!(for_caller(&mut machine, Op::Read, 16 * BLOCK - 512, 1024).is_none(), "past the end");
    assert!(for_caller(&mut machine, Op::Read, 0, 0).is_none(), "no bytes");
    assert!(for_caller(&mut machine, Op::Discard, 0, BLOCK).is_none(), "not a read or write");
    machine.plug(0, 1);
    assert!(for_caller(&mut machine, Op::Read, 0, BLOCK).is_none(), "what is plugged goes first");
    machine.unplug(0, 1);
    let io = for_caller(&mut machine, Op::Write, 0, BLOCK).expect("common");
    assert!(for_caller(&mut machine, Op::Read, 8 * BLOCK, BLOCK).is_none(), "no place is free");
    assert_eq!(machine.done_by_caller(&io), Some("caller"));
    machine.submit(0, 2, request(Op::Write, 0, 512, "first"));
    assert!(for_caller(&mut machine, Op::Write, 0, BLOCK).is_none(), "it has to wait");
    let stats = machine.stats(0);
    assert_eq!((stats.writes, stats.reads, stats.discards, stats.in_flight), (2, 0, 0, 1));
}

#[test]
fn a_caller_may_hand_over_what_its_io_has_not_done() {
    for (result, after) in [(Ok(BLOCK), "Read 4096"), (Err(libc::EIO), "waiter Err(5)")] {
        let mut machine = machine(4);
        let io = for_caller(&mut machine, Op::Read, 0, 2 * BLOCK).expect("common");
        machine.set_token(&io, "waiter");
        machine.io_done(io, result);
        assert_eq!(asked(&mut machine), [after]);
        assert_eq!(machine.stats(0).in_flight, u64::from(result.is_ok()));
    }
}

#[test]
fn a_read_on_the_short_way_keeps_a_request_waiting_that_keeps_readers_out() {
    let mut machine = machine(4);
    let io = for_caller(&mut machine, Op::Read, 0, BLOCK).expect("common");
    let mut alone = request(Op::Write, 0, BLOCK, "alone");
    alone.flags.serialising = true;
    machine.submit(0, 2, alone);
    assert_eq!(asked(&mut machine), Vec::<String>::new());
    assert!(for_caller(&mut machine, Op::Read, 0, BLOCK).is_none(), "it waits for the write");
    assert_eq!(machine.done_by_caller(&io), None, "it is a reader among others now");
    machine.set_token(&io, "waiter");
    machine.io_done(io, Ok(BLOCK));
    assert_eq!(asked(&mut machine), ["waiter Ok(())", "Write 0"]);
}
