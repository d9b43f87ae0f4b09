//! What a disk in memory is, needs and says: the options of `Disk`.

use crate::sys::Errno;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// A block device; else a regular file.
    pub device: bool,
    pub bytes: usize,
    /// It is there from the start.
    pub exists: bool,
    /// It can be opened with O_DIRECT.
    pub direct: bool,
    /// It may be read only: an attempt to change it panics.
    pub read_only: bool,
    /// What is allocated, begin and end of each stretch; the rest is a hole, and zeros. None: all.
    pub allocated: Option<&'static [(u64, u64)]>,
    /// Its data is all zeros, as that of a new disk.
    pub blank: bool,
    /// How many bytes, from the begin, are zeros.
    pub blank_bytes: u64,
    /// How many bytes, from the begin, are other ones at each read.
    pub unsteady_bytes: u64,

    // What direct I/O needs:
    /// A multiple of this as offset and as total length.
    pub needs_request: u64,
    /// A multiple of this as each address.
    pub needs_memory: usize,
    /// A multiple of this as the length of each element.
    pub needs_segment: usize,
    /// What it answers to what it does not take.
    pub refusal: Errno,
    /// It takes each element for whole pages, as zram does: from the begin of its page on it gets
    /// the page of data that its part of the request lies in.
    pub overwrites_pages: bool,
    /// It copies a whole block where memory begins inside one, as null_blk does: what lies behind
    /// the page that the block is in comes from anywhere, if it is not blank.
    pub mixes_pages: bool,
    /// It works on what it has read where that lies, as dm-crypt does: of memory that one vector
    /// has twice it makes garbage.
    pub works_in_place: bool,

    // What it says, true or not:
    /// By STATX_DIOALIGN: memory, then offset.
    pub says_statx: Option<(u32, u32)>,
    /// By XFS_IOC_DIOINFO: memory, then offset.
    pub says_dioinfo: Option<(u32, u32)>,
    /// By BLKSSZGET.
    pub says_block_size: Option<u32>,
    /// By statfs: the number of the file system. None: statfs is refused.
    pub says_file_system: Option<u32>,
    /// By FIGETBSZ and statfs, of a file system.
    pub says_file_system_block: Option<u32>,
    /// It has a directory in sysfs.
    pub says_sysfs: bool,
    /// Where sysfs has that directory: among the devices without hardware, or elsewhere.
    pub says_place: Option<&'static str>,
    /// What else sysfs has: how a path ends, and what is there (of a directory a name a line).
    pub says_files: &'static [(&'static str, &'static str)],
    /// What zones it has, by BLKGETZONESZ: sectors.
    pub says_zone: Option<u32>,

    // What it can do:
    /// The longest atomic write; 0: none.
    pub atomic_max: u32,
    /// It knows RWF_DSYNC.
    pub knows_dsync: bool,
    /// It knows RWF_NOWAIT, and refuses the form of what comes with it.
    pub knows_nowait: bool,
    /// It takes zeros and discards.
    pub knows_zeroes: bool,
}

impl Shape {
    /// A file that ends 100 bytes into its last block of 4096, and says what it needs.
    pub fn file() -> Shape {
        Shape {
            device: false,
            bytes: 15 * 4096 + 100,
            exists: true,
            direct: true,
            read_only: false,
            allocated: None,
            blank: false,
            blank_bytes: 0,
            unsteady_bytes: 0,
            needs_request: 4096,
            needs_memory: 512,
            needs_segment: 512,
            refusal: libc::EINVAL,
            overwrites_pages: false,
            mixes_pages: false,
            works_in_place: false,
            says_statx: Some((512, 4096)),
            says_dioinfo: None,
            says_block_size: None,
            says_file_system: None,
            says_file_system_block: Some(4096),
            says_sysfs: true,
            says_place: None,
            says_files: &[],
            says_zone: None,
            atomic_max: 0,
            knows_dsync: true,
            knows_nowait: false,
            knows_zeroes: true,
        }
    }

    pub fn device() -> Shape {
        Shape {
            device: true,
            bytes: 16 * 4096,
            says_block_size: Some(4096),
            says_file_system_block: None,
            ..Shape::file()
        }
    }

    /// The same with blocks of so many bytes.
    pub fn with_blocks(self, bytes: u32) -> Shape {
        Shape {
            needs_request: u64::from(bytes),
            says_statx: self.says_statx.map(|(memory, _)| (memory, bytes)),
            says_block_size: self.says_block_size.map(|_| bytes),
            ..self
        }
    }

    /// A file of 1 MiB on a disk with blocks of so many bytes, of which no call says anything, and
    /// which is read only.
    pub fn silent(block: u32) -> Shape {
        Shape {
            bytes: 1 << 20,
            read_only: true,
            says_statx: None,
            says_file_system_block: None,
            says_sysfs: false,
            ..Shape::file().with_blocks(block)
        }
    }

    /// A device that says its block size, and no more.
    pub fn silent_device(block: u32) -> Shape {
        Shape { device: true, says_block_size: Some(block), ..Shape::silent(block) }
    }

    /// Takes anything, for example tmpfs.
    pub fn easy() -> Shape {
        Shape { needs_memory: 1, needs_segment: 1, ..Shape::silent(1) }
    }

    /// The allocated stretch that holds `offset`, of an object of so many bytes.
    pub fn stretch(&self, offset: u64, bytes: usize) -> Option<(u64, u64)> {
        let all = [(0, bytes as u64)];
        let stretches = self.allocated.unwrap_or(&all);
        stretches.iter().copied().find(|data| data.0 <= offset && offset < data.1)
    }
}

/// What a disk holds at first; no two blocks are equal.
pub fn initial(offset: usize) -> u8 {
    1 + ((offset % 241) ^ (offset >> 12)) as u8 % 127
}
