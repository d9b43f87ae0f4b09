//! The request machine: PURE. Events in ("submitted", "this I/O is done with result r"), actions
//! out ("do this I/O", "complete that request with r"). The machine has no file descriptor, thread,
//! clock or unsafe code; addresses are numbers to it.
//!
//! It is a crate of its own, so that the compiler keeps it pure. All that it takes from the system
//! is the numbers of errors.

#![forbid(unsafe_code)]

mod announce;
mod batch;
mod cancel;
mod changing;
mod clusters;
mod entering;
mod extent;
mod io;
mod isolation;
mod join;
mod late;
mod leaving;
mod machine;
mod merge;
mod moving;
mod overlay;
mod pause;
mod repair;
mod resize;
mod short_way;
mod splice;
mod table;
pub mod throttle;
mod tracker;
mod twice;
mod writing;
mod zeroes;

pub use clusters::OverlayState;
pub use io::{
    Io, IoId, Lane, MapPage, MemoryCopies, MemoryCopy, Op, Segment, Segments, Slot, ENDS_EARLY,
    NOT_NOW,
};
pub use late::{Asked, Late, Stay};
pub use machine::Machine;

#[cfg(test)]
#[path = "../../proof/machine/mod.rs"]
mod proof;

/// Names a queue (an open handle) of the machine.
pub type QueueId = u32;
/// Names a plug: it holds back what is submitted with the same key.
pub type PlugKey = u64;
/// Names a notifier of the machine; greater than 0. Later notifiers have greater names.
pub type NotifierId = u64;
/// Greater than 0 and below 2^63. Later submissions have greater ids, and no id is used twice until
/// 137 billion (2^37) requests have come: then ids start over.
pub type RequestId = u64;

/// What the machine has to know of one queue: what its storage takes, how much of it at once, and
/// what the handle was opened for.
#[derive(Debug, Clone)]
pub struct QueueConfig {
    /// What every I/O on `Lane::Main` keeps to. Powers of two; `segment` is at most `request`.
    pub alignments: Alignments,
    /// Most bytes in one I/O; a multiple of `alignments.request`.
    pub max_transfer: u64,
    /// Most segments in one I/O; at least 1.
    pub max_segments: usize,
    /// Most requests at the storage at once; at least 1. The others wait, in order.
    pub depth: usize,
    /// What a last, partial block is rounded down to: a multiple of `alignments.request`, power of
    /// two. 0: the storage's own length is always a multiple of `alignments.request`.
    pub last_unit: u64,
    /// From this offset on I/O takes `Lane::LastBlock`, exact to the byte and of any alignment.
    /// u64::MAX: never. The machine sets it, and keeps it in step with the length.
    pub last_block: u64,
    /// A write that is not whole units of this size keeps other writes out of the units that it
    /// touches: `alignments.request`, or the page where I/O goes through the page cache. Power of
    /// two.
    pub granule: u64,
    /// Blocks that are covered only in part are bounced whole: see `splice::LaneLimits`.
    pub copy_edges: bool,
    /// Errors of reads and writes that may mean that these alignments are not enough any more.
    pub suspected: Suspected,
    /// Flushes succeed and do nothing.
    pub no_flush: bool,
    /// Sub-block writes are never merged.
    pub no_merge: bool,
    /// Writes past the end extend the object, reads past the end give zeros.
    pub resize: bool,
    /// Discards reach the storage; else they do nothing.
    pub unmap: bool,
    /// A multiple of `alignments.request`: what the storage discards in one piece.
    pub discard_alignment: u64,
    /// Most bytes in one I/O that names no memory; a multiple of `alignments.request`.
    pub dataless_max: u64,
    /// A zero write or a discard that has more bytes than this left to ask for can be cancelled.
    pub endless: u64,
    /// Most bytes that one write can be all-or-nothing in through a loss of power; 0: none.
    pub atomic_write_max: u64,
}

/// After which errors of aligned I/O the machine suspects the alignments, and asks for larger ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Suspected {
    Nothing,
    /// EINVAL.
    Invalid,
    /// EINVAL, and as well EIO (dm-crypt) and EILSEQ (disks with protection information).
    InvalidOrError,
}

/// The three alignments that storage asks for, in bytes, each a fact of its own.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Alignments {
    /// Of offset and total length of an I/O.
    pub request: u64,
    /// Of the address of each segment.
    pub memory: usize,
    /// Of the length of each segment.
    pub segment: usize,
}

/// What trials have shown about storage that refuses aligned I/O: the answer to `Action::Probe`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProbeOutcome {
    /// No larger alignments help.
    NothingHelps,
    /// The storage takes these alignments.
    Found(Alignments),
    /// A write was refused, only reads can be tried, and the storage takes reads with the present
    /// alignments: these larger ones may be what writes need.
    Guessed(Alignments),
}

/// I/O that the storage has refused, though it suits the limits.
#[derive(Debug, Clone)]
pub struct RefusedIo {
    pub op: Op,
    pub offset: u64,
    pub errno: i32,
    /// Of the I/O's queue, as it is at present.
    pub config: QueueConfig,
    /// The storage is at least so many bytes long.
    pub storage: u64,
}

/// What a notifier is told: this range is about to change. Nothing of that reaches the storage
/// before the answer (`Machine::announced`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Announcement {
    pub notifier: NotifierId,
    pub request: RequestId,
    /// Write, WriteZeroes, Discard or Truncate.
    pub op: Op,
    /// The range that changes, rounded out to the notifier's unit.
    pub offset: u64,
    pub bytes: u64,
}

/// What a request asks for besides its kind; the fields mean what `BLKALIGN_REQ_*` say.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RequestFlags {
    pub fua: bool,
    pub serialising: bool,
    pub no_wait: bool,
    pub may_unmap: bool,
    pub no_fallback: bool,
    pub registered: bool,
    /// The data were copied before the request came here; the statistics count that.
    pub copied: bool,
}

/// A request as it enters. Segments hold no empty element and add up to `bytes`. In this order,
/// since a request on the short way leaves its slot's segments alone: one cache line less.
#[derive(Debug, Clone)]
#[repr(C)]
pub struct Request<T> {
    pub op: Op,
    pub flags: RequestFlags,
    /// Torn-read promise: atomic in units of so many bytes, a power of two, against every other
    /// request with a promise. 0: none.
    pub guest_block: u64,
    /// Truncate: the new length.
    pub offset: u64,
    pub bytes: u64,
    /// Comes back in the completion.
    pub token: T,
    pub segments: Segments,
}

/// What the caller of the machine has to do next, in this order.
#[derive(Debug)]
pub enum Action<Q, T> {
    /// Carry out this I/O for the queue whose owner is the first field, then call `io_done`.
    Io(Q, Io),
    /// Tell a notifier of a change, then call `announced`. The owner is the request's queue's.
    Announce(Q, Announcement),
    /// Try which alignments the storage takes now, then call `repaired`. Nothing is at the storage.
    Probe(Q, Box<RefusedIo>),
    /// The machine gives this I/O up: the storage moves nothing of it, and reports no error.
    Stalled(Q, Box<Io>),
    /// This request has left the tracker: hand its result (0 or a positive errno) to its owner.
    Complete(Completion<T>),
}

#[derive(Debug)]
pub struct Completion<T> {
    pub id: RequestId,
    pub token: T,
    pub op: Op,
    pub offset: u64,
    pub bytes: u64,
    pub result: Result<(), i32>,
}

/// Memory for edges and bounces. `take` gives `bytes` or more at a multiple of `alignment`.
pub trait ScratchPool {
    fn take(&mut self, bytes: usize, alignment: usize) -> Option<Scratch>;
    fn give(&mut self, scratch: Scratch);
    /// Memory full of zeros, which stay zeros as long as the pool lives: `bytes` or more at a
    /// multiple of `alignment`.
    fn zeros(&mut self, bytes: usize, alignment: usize) -> Option<Segment>;
    /// Copies from a guest's memory, of a request that is not complete yet, to scratch.
    fn copy(&mut self, copy: MemoryCopy);
}

/// Scratch memory. Only the owner of this value uses the memory, until the value is given back.
#[derive(Debug, PartialEq, Eq)]
pub struct Scratch {
    pub address: usize,
    pub bytes: usize,
    pub alignment: usize,
}

/// Counters of one queue; the fields mean what `blkalign_stats` says.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    pub reads: u64,
    pub writes: u64,
    pub write_zeroes: u64,
    pub discards: u64,
    pub flushes: u64,
    pub bytes_read: u64,
    pub bytes_written: u64,
    pub zero_copy: u64,
    pub bounced: u64,
    pub rmw: u64,
    pub rmw_reads: u64,
    pub rmw_reads_skipped: u64,
    pub merged: u64,
    pub waits: u64,
    pub storage_reads: u64,
    pub storage_writes: u64,
    pub errors: u64,
    pub in_flight: u64,
    pub probe_repairs: u64,
}
