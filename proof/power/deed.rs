//! For tests that lose power: what was done to a storage, taken down.

/// What a call does to the storage. The order is that in which the gate shows those that came
/// together.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
#[cfg_attr(not(test), allow(dead_code))] // The simulator of the library takes down less.
pub enum Deed {
    Read {
        offset: usize,
        bytes: usize,
    },
    Write {
        offset: usize,
        data: Vec<u8>,
        durable: bool,
        atomic: bool,
    },
    /// Zeros, or a discard, of blocks.
    Zero {
        offset: usize,
        bytes: usize,
    },
    Sync,
    Truncate {
        bytes: usize,
    },
}

/// Times are ticks of one clock.
#[derive(Debug, Clone)]
pub struct Event {
    pub deed: Deed,
    pub begin: u64,
    /// None: it has not ended, and may have been done in part.
    pub end: Option<u64>,
    /// Truncate: the length before.
    pub length: usize,
}
