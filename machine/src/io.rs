//! One aligned I/O: what the request machine asks for, an engine carries out and a driver sees.
//! Plain data: addresses are numbers here, and become pointers only where memory is touched.

use smallvec::SmallVec;

/// A piece of memory. Same layout as `struct iovec`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct Segment {
    pub address: usize,
    pub bytes: usize,
}

pub type Segments = SmallVec<[Segment; 4]>;

/// A bounce: before a write from the guest's memory to scratch, after a read the other way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryCopy {
    pub from: usize,
    pub to: usize,
    pub bytes: usize,
}

pub type MemoryCopies = SmallVec<[MemoryCopy; 2]>;

/// The answer of a file or device that can't zero or discard at this moment. It is no errno, since
/// a caller's driver may answer with any errno, and mean something else by it.
pub const NOT_NOW: i32 = 1 << 16;
/// The answer, in place of an errno, where the storage ends before it should: the request fails
/// with EIO, and its alignments are not suspected.
pub const ENDS_EARLY: i32 = NOT_NOW + 1;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Op {
    Read,
    Write,
    /// The bytes become zeros; no segments.
    WriteZeroes,
    /// Advice: the bytes are not needed any more; no segments.
    Discard,
    /// The length of the object becomes `offset`; no bytes.
    Truncate,
    /// Asks how long the object is at the storage. The result is that length; no bytes.
    Length,
    Flush,
    /// The segments become zeros; the storage is not touched.
    Fill,
    /// An overlay: what is absent in the range is copied from the backing object. As a request
    /// only; see `overlay/`.
    Populate,
    /// An overlay: the pages in `Io::map` become durable in the map; no bytes.
    SaveMap,
}

/// Which way to the storage an I/O takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lane {
    /// The handle's own way, with its alignments.
    Main,
    /// A buffered descriptor, for the last, partial block of a file; takes any alignment.
    LastBlock,
    /// An overlay: its backing object, for reads of any alignment. What lies beyond the end of the
    /// backing object reads as zeros.
    Backing,
}

/// A page of an overlay's map: bit i of word i / 64 says that its cluster i is there, and durable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MapPage {
    pub number: u64,
    pub bits: Vec<u64>,
}

/// Where a request stands in the machine: a small number, which a later request may get again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot(pub u32);

impl Slot {
    /// No request: for I/O that belongs to none, and where the slot is not known yet.
    pub const NONE: Slot = Slot(u32::MAX);

    #[inline]
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// Names an I/O to the request machine: the slot of its request, and which of its I/Os it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct IoId {
    pub slot: Slot,
    pub part: u32,
}

/// One I/O. Its engine copies `copies` before a write, and after a read that moved all of `bytes`;
/// and hands the whole I/O back with the number of bytes moved or an errno.
#[derive(Debug, Clone)]
pub struct Io {
    pub id: IoId,
    pub op: Op,
    pub lane: Lane,
    /// Write, WriteZeroes: durable when done.
    pub fua: bool,
    /// WriteZeroes: may deallocate.
    pub may_unmap: bool,
    /// WriteZeroes: ENOTSUP rather than writing zeros slowly.
    pub no_fallback: bool,
    /// Write: all or nothing of it survives a loss of power, where the storage can do that for a
    /// write of this shape; one segment is all that Linux takes.
    pub atomic: bool,
    /// Read, Write: the only segment lies in memory that is registered with the handle.
    pub registered: bool,
    /// Read: of edges, or a trial of a repair: all of its memory is scratch.
    pub into_scratch: bool,
    /// The engine's number for the registered memory, if the engine knows that memory.
    pub buffer: Option<u16>,
    pub offset: u64,
    /// Read, Write, Fill: the sum of `segments`. WriteZeroes, Discard: how many. Else 0.
    pub bytes: u64,
    pub segments: Segments,
    pub copies: MemoryCopies,
    /// The I/Os that this one stands for, if they are several; only the request machine cares.
    pub joined: Vec<Io>,
    /// It was part of a joined I/O that failed or came back short: it is not to be joined again.
    pub alone: bool,
    /// SaveMap: the pages, each with all its bits.
    pub map: Option<Box<Vec<MapPage>>>,
}

impl Io {
    /// An I/O without memory, flags or bytes.
    pub fn new(id: IoId, op: Op, offset: u64) -> Io {
        Io {
            id,
            op,
            lane: Lane::Main,
            fua: false,
            may_unmap: false,
            no_fallback: false,
            atomic: false,
            registered: false,
            into_scratch: false,
            buffer: None,
            offset,
            bytes: 0,
            segments: Segments::new(),
            copies: MemoryCopies::new(),
            joined: Vec::new(),
            alone: false,
            map: None,
        }
    }
}
