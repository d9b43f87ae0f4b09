//! What is left to be done for a request that is more than one movement of bytes: zero writes,
//! discards, changes of the length. Data alone; `changing.rs` carries it out.

use smallvec::SmallVec;

use crate::splice::round_down;
use crate::{QueueConfig, Request};

#[derive(Debug, Clone, Copy)]
pub enum Step {
    Zeroes(Zeroes),
    /// The storage gets the length that an object of this length needs.
    Truncate {
        length: u64,
        issued: bool,
    },
    /// There is nothing but zeros beyond the end now.
    Clean,
    /// From here on it is a write like any other.
    Move,
    /// An overlay: absent clusters that the request covers only a part of are copied up.
    CopyUp {
        asked: bool,
    },
    /// Discards what is left of the range; its bounds are multiples of what the storage takes.
    Discard {
        position: u64,
        end: u64,
    },
}

/// What is left to be done for a request, last step first.
#[derive(Debug, Default)]
pub struct Change {
    pub steps: SmallVec<[Step; 4]>,
    /// The length that the object is to have afterwards, if it changes.
    pub length: Option<u64>,
    /// The storage is as long as `length` needs.
    pub reached: bool,
    /// The request has failed, and the storage gets its old length back.
    pub undoing: bool,
    /// The storage has left out a part of a discard.
    pub left_out: bool,
}

impl Change {
    /// `steps`: the first step first.
    pub fn of(steps: &[Step]) -> Change {
        Change { steps: steps.iter().rev().copied().collect(), ..Change::default() }
    }
}

/// How the whole blocks of a zero write become zeros.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    Unmap,
    Zero,
    /// Zeros are written, like any bytes.
    Write,
}

/// How far a zero write is: see `zeroes.rs`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    New,
    ReadingEdges,
    Middle,
    /// From the last block on.
    Last,
}

/// The zeros of [start, end).
#[derive(Debug, Clone, Copy)]
pub struct Zeroes {
    pub start: u64,
    pub end: u64,
    pub stage: Stage,
    pub way: Way,
    /// Zeros are written, whatever the storage may know.
    pub written: bool,
    /// The storage can't do what it was asked for, at this moment.
    pub not_now: bool,
    /// The storage has done what it was asked for first.
    pub taken: bool,
    /// The next byte of the part that is being done.
    pub position: u64,
}

impl Zeroes {
    pub fn new(start: u64, end: u64) -> Zeroes {
        let (stage, way) = (Stage::New, Way::Unmap);
        let (written, not_now, taken) = (false, false, false);
        Zeroes { start, end, stage, way, written, not_now, taken, position: 0 }
    }

    /// As `new`, but the storage is not asked: zeros are written.
    pub fn written(start: u64, end: u64) -> Zeroes {
        Zeroes { written: true, ..Zeroes::new(start, end) }
    }

    /// How many bytes of whole blocks the storage was not asked to zero yet.
    pub fn left_to_ask(&self, config: &QueueConfig) -> u64 {
        let (start, end) = self.middle(config);
        match self.stage {
            _ if self.written => 0,
            Stage::New | Stage::ReadingEdges => end - start,
            Stage::Middle => end.saturating_sub(self.position),
            Stage::Last => 0,
        }
    }

    /// The whole blocks, on the main lane.
    pub fn middle(&self, config: &QueueConfig) -> (u64, u64) {
        let block = config.alignments.request;
        let end = round_down(self.end.min(config.last_block), block);
        let start = self.start.next_multiple_of(block);
        (start.min(end), end)
    }
}

/// The part of a discard that reaches the storage: [start, end), the whole pieces below `bound`,
/// perhaps none.
pub fn discarded<T>(request: &Request<T>, config: &QueueConfig, bound: u64) -> (u64, u64) {
    let unit = config.discard_alignment;
    let end = (request.offset + request.bytes).min(bound) / unit * unit;
    let start = request.offset.div_ceil(unit) * unit;
    if config.unmap && start < end {
        (start, end)
    } else {
        (start, start)
    }
}
