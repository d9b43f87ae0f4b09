//! The facts about one storage object as one handle uses it. Plain data.

/// Who said what an alignment is. The numbers are those of `BLKALIGN_SOURCE_*`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(u32)]
pub enum Source {
    #[default]
    Default = 0,
    Override = 1,
    Statx = 2,
    Dioinfo = 3,
    Blksszget = 4,
    Trial = 5,
    Driver = 6,
}

/// All sizes in bytes. Alignments are powers of two, at least 1; elsewhere 0 means unknown or
/// unlimited.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Limits {
    /// What offset and total length of every I/O are padded to.
    pub request_alignment: u32,
    /// Addresses of memory that the storage takes.
    pub mem_alignment: u32,
    /// Lengths of single vector elements that the storage takes; never above `request_alignment`.
    pub segment_alignment: u32,
    pub request_alignment_source: Source,
    pub mem_alignment_source: Source,
    pub segment_alignment_source: Source,
    pub logical_block_size: u32,
    pub physical_block_size: u32,
    pub opt_transfer: u32,
    pub max_transfer: u32,
    pub max_segments: u32,
    pub discard_alignment: u32,
    pub write_zeroes_alignment: u32,
    /// 0: no write of more than the logical block is promised to be all or nothing. Else the
    /// sizes, powers of two, between which the storage promised it when it was asked; it may turn
    /// out to refuse them all the same, and these stay as they are.
    pub atomic_write_unit_max: u32,
    pub atomic_write_unit_min: u32,
    /// O_DIRECT is in use.
    pub direct: bool,
}
