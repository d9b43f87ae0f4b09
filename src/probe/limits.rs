//! The facts about one storage object as one handle uses it. Plain data.

use blkalign_machine::Alignments;

/// Who said what an alignment is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Source {
    #[default]
    Default,
    Override,
    Statx,
    Dioinfo,
    Blksszget,
    Trial,
    Driver,
    Integrity,
}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Source::Default => "default",
            Source::Override => "override",
            Source::Statx => "statx",
            Source::Dioinfo => "XFS_IOC_DIOINFO",
            Source::Blksszget => "BLKSSZGET",
            Source::Trial => "trial",
            Source::Driver => "driver",
            Source::Integrity => "protection information",
        })
    }
}

/// Who said what each of the three alignments is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AlignmentSources {
    pub request: Source,
    pub memory: Source,
    pub segment: Source,
}

impl AlignmentSources {
    /// One source for all three.
    pub fn all(source: Source) -> AlignmentSources {
        AlignmentSources { request: source, memory: source, segment: source }
    }
}

/// All sizes in bytes. Alignments are powers of two, at least 1; elsewhere 0 means unknown or
/// unlimited.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Limits {
    /// What the storage takes; `segment` is never above `request`.
    pub alignments: Alignments,
    pub sources: AlignmentSources,
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
