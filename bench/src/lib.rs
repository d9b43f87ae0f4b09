//! A request machine under a steady load, for `benches/tracker.rs`. No storage
//! and no memory of a guest: addresses stay numbers, every I/O succeeds at once when it is its
//! turn, so what is measured is the machine, with its tracker, and nothing else.

use std::collections::VecDeque;

use smallvec::smallvec;

use blkalign_machine::{
    Action, Alignments, Io, Machine, MemoryCopy, Op, QueueConfig, QueueId, Request,
};
use blkalign_machine::{RequestFlags, Scratch, ScratchPool, Segment, Suspected};

const BLOCK: u64 = 4096;
/// Of the disk that there is not; a power of two.
const BLOCKS: u64 = 1 << 24;

/// Where the writes go, one after the other.
#[derive(Clone, Copy)]
pub enum Order {
    /// Each to the block after the last one.
    Sequential,
    /// Neighbours in time are none on the disk: the harder one for what is sorted by offset.
    Scattered,
}

impl Order {
    /// Odd, so that it goes through all blocks.
    fn stride(self) -> u64 {
        match self {
            Order::Sequential => 1,
            Order::Scattered => 0x9e_3779,
        }
    }
}

/// Hands out numbers as if they were addresses.
#[derive(Default)]
struct Numbers {
    free: Vec<Scratch>,
    last: usize,
}

impl ScratchPool for Numbers {
    fn take(&mut self, bytes: usize, alignment: usize) -> Option<Scratch> {
        let again = self.free.pop().filter(|scratch| scratch.bytes >= bytes);
        Some(again.unwrap_or_else(|| {
            self.last += bytes.next_multiple_of(BLOCK as usize);
            Scratch { address: self.last, bytes, alignment }
        }))
    }

    fn give(&mut self, scratch: Scratch) {
        self.free.push(scratch);
    }

    fn zeros(&mut self, _: usize, _: usize) -> Option<Segment> {
        None
    }

    fn copy(&mut self, _: MemoryCopy) {}
}

/// A machine with a constant number of writes in flight, each in a block of its own.
pub struct Load {
    machine: Machine<(), (), Numbers>,
    queue: QueueId,
    /// At the storage, oldest first.
    ios: VecDeque<Io>,
    actions: Vec<Action<(), ()>>,
    write_bytes: u64,
    next_block: u64,
    stride: u64,
}

impl Load {
    /// Writes of `write_bytes` at the beginning of a block; those of 4096 have no edges.
    pub fn new(write_bytes: u64, order: Order, in_flight: usize) -> Self {
        assert!(write_bytes > 0 && write_bytes <= BLOCK);
        let mut machine = Machine::new(Numbers::default(), BLOCKS * BLOCK);
        let config = QueueConfig {
            alignments: Alignments { request: BLOCK, memory: 512, segment: 512 },
            max_transfer: 1 << 20,
            max_segments: 1024,
            depth: in_flight,
            last_unit: 0,
            last_block: u64::MAX,
            granule: BLOCK,
            suspected: Suspected::Nothing,
            // As for files and block devices.
            copy_edges: true,
            no_flush: false,
            no_merge: false,
            resize: false,
            unmap: false,
            discard_alignment: BLOCK,
            atomic_write_max: 0,
            endless: 0,
            dataless_max: 1 << 30,
        };
        let queue = machine.add_queue((), config);
        let ios = VecDeque::with_capacity(in_flight + 1);
        let actions = Vec::with_capacity(16);
        let stride = order.stride();
        let mut load = Load { machine, queue, ios, actions, write_bytes, next_block: 0, stride };
        (0..in_flight).for_each(|_| load.submit());
        // A full turn: from here on memory that is kept for reuse is there.
        load.requests(2 * in_flight);
        load
    }

    /// So many times: the storage ends I/Os, in order, until a request is complete; then the
    /// next one is submitted.
    pub fn requests(&mut self, count: usize) {
        for _ in 0..count {
            while !self.end_one_io() {}
            self.submit();
        }
    }

    fn submit(&mut self) {
        let block = self.next_block;
        self.next_block = (block + self.stride) % BLOCKS;
        let bytes = self.write_bytes;
        let memory = Segment { address: 1 << 40, bytes: bytes as usize };
        let request = Request {
            op: Op::Write,
            flags: RequestFlags::default(),
            guest_block: 0,
            offset: block * BLOCK,
            bytes,
            segments: smallvec![memory],
            token: (),
        };
        self.machine.submit(self.queue, 0, request);
        let complete = self.carry_out();
        assert!(!complete, "a write of bytes is not complete before its I/O");
    }

    /// Whether it completed its request.
    fn end_one_io(&mut self) -> bool {
        let io = self.ios.pop_front().expect("requests in flight have I/O at the storage");
        let bytes = io.bytes;
        self.machine.io_done(io, Ok(bytes));
        self.carry_out()
    }

    fn carry_out(&mut self) -> bool {
        let mut complete = false;
        self.machine.take_actions(&mut self.actions);
        for action in self.actions.drain(..) {
            match action {
                Action::Io((), io) => self.ios.push_back(io),
                Action::Probe(..) | Action::Stalled(..) => unreachable!("no I/O fails here"),
                Action::Announce(..) => unreachable!("there is no notifier"),
                Action::Complete(completion) => {
                    assert!(completion.result.is_ok());
                    complete = true;
                }
            }
        }
        complete
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_load_stays_constant_and_never_waits() {
        for (write_bytes, reads_per_write) in [(BLOCK, 0), (512, 1)] {
            let mut load = Load::new(write_bytes, Order::Scattered, 64);
            load.requests(1000);
            let stats = load.machine.stats(load.queue);
            assert_eq!(stats.in_flight, 64);
            assert_eq!(stats.waits, 0);
            assert_eq!(stats.writes, 64 + 128 + 1000);
            assert!(stats.storage_reads >= reads_per_write * 1000);
            assert_eq!(stats.storage_reads > 0, reads_per_write > 0);
        }
    }
}
