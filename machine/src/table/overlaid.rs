//! What an overlay makes of a request that touches what is absent. Data alone; `overlay/` carries
//! it out.

use crate::io::Segments;
use crate::Scratch;

/// The parts that a request of an overlay has besides its own.
#[derive(Debug, Default)]
pub struct Overlaid {
    /// A write that covers only a part of an absent cluster.
    pub widening: Option<Widening>,
    /// Absent clusters on their way from the backing object to the file on top.
    pub pieces: Vec<Piece>,
    /// How far the request is with making durable what it has brought.
    pub saving: Saving,
    /// A request that fills the overlay: how many bytes it has copied since it saved the map.
    pub unsaved_bytes: u64,
}

/// The rest of the clusters that a write covers only in part: read from the backing object, then
/// written together with the request's own bytes.
#[derive(Debug)]
pub struct Widening {
    /// The rest before the request's bytes, then the rest behind them.
    pub scratch: Scratch,
    pub before: u64,
    pub behind: u64,
    /// Where the rest behind begins in the scratch.
    pub behind_at: usize,
    /// What was asked, once the request has been made the wider one.
    pub asked: Option<Asked>,
}

/// What a request was before it was made wider.
#[derive(Debug)]
pub struct Asked {
    pub offset: u64,
    pub bytes: u64,
    pub segments: Segments,
}

/// Whole absent clusters: [start, end).
#[derive(Debug)]
pub struct Piece {
    pub start: u64,
    pub end: u64,
    pub scratch: Scratch,
    /// The I/Os of it that are at the storage: one read, then one write or more.
    pub parts: Vec<u32>,
    pub failed: bool,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Saving {
    /// Nothing is to be saved, or not yet.
    #[default]
    Not,
    /// A flush is under way; all clusters up to this mark are durable when it is done.
    Data(u64),
    /// The map has to hold this version.
    Map(u64),
}

impl Overlaid {
    pub fn holds_nothing(&self) -> bool {
        self.widening.is_none() && self.pieces.is_empty()
    }
}
