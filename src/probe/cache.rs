//! What the page cache works in: a page, or a block of the file system where that is larger. Also
//! the block of a file system, which says how finely the file system gives space back.
//!
//! st_blksize is none of this: it is what a file system would like requests to be. XFS with a
//! stripe and `largeio` says 256 KiB there, whatever its blocks are. statfs tells the block, also
//! for overlayfs, whose own superblock has none; but network file systems say there how much they
//! move at once.

use crate::sys::{page_bytes, Descriptor};

/// Linux has no larger blocks, neither of file systems nor of devices.
const BLOCK_MAX: u64 = 1 << 16;

/// FUSE, and virtiofs.
const FUSE: u32 = 0x6573_5546;

/// Numbers of file systems without blocks of their own (<linux/magic.h>, statfs(2)): 9p, AFS, Ceph,
/// Coda, FUSE (and virtiofs), GPFS, Lustre, NFS, OrangeFS, SMB by its three names, and shared
/// folders of VirtualBox. Their pages are cached one by one.
const WITHOUT_BLOCKS: [u32; 13] = [
    0x0102_1997,
    0x5346_414f,
    0x00c3_6400,
    0x7375_7245,
    FUSE,
    0x4750_4653,
    0x0bd0_0bd0,
    0x6969,
    0x2003_0528,
    0x517b,
    0xff53_4d42,
    0xfe53_4d42,
    0x786f_4256,
];

/// The least that a discard on these gives back, as far as is known.
const DISCARD_WITHOUT_BLOCKS: u64 = 4096;

/// How many bytes the page cache reads and writes back as one, at multiples of that number. A page
/// where neither file system nor device tells.
pub fn cache_unit(descriptor: &Descriptor, is_device: bool) -> u64 {
    let block = if is_device {
        descriptor.device_cache_block().ok().filter(|&block| is_block(block))
    } else {
        file_system_block(descriptor)
    };
    block.unwrap_or(0).max(page_bytes())
}

/// The block of the file system that a file is on.
fn file_system_block(descriptor: &Descriptor) -> Option<u64> {
    match descriptor.file_system() {
        Ok((kind, said)) => Some(block_of(kind, said)),
        // Where a sandbox refuses statfs, this ioctl may be left.
        Err(_) => {
            let said = descriptor.file_system_block().ok()?;
            Some(u64::from(said)).filter(|&block| is_block(block))
        }
    }
}

/// Whether a file is on FUSE. Not known where a sandbox refuses statfs, or of an overlay.
pub fn is_on_fuse(descriptor: &Descriptor) -> bool {
    matches!(descriptor.file_system(), Ok((FUSE, _)))
}

/// How finely the file system that a file is on gives space back: by its blocks, if it has any.
pub fn file_system_discard(descriptor: &Descriptor) -> Option<u64> {
    match descriptor.file_system() {
        Ok((kind, _)) if WITHOUT_BLOCKS.contains(&kind) => Some(DISCARD_WITHOUT_BLOCKS),
        _ => file_system_block(descriptor),
    }
}

/// The block that `said` (f_bsize) means on such a file system. A page where `said` is no block:
/// then the file system has none, or does not tell it.
fn block_of(kind: u32, said: u64) -> u64 {
    if WITHOUT_BLOCKS.contains(&kind) || !is_block(said) {
        return page_bytes();
    }
    said
}

fn is_block(bytes: u64) -> bool {
    bytes.is_power_of_two() && (512..=BLOCK_MAX).contains(&bytes)
}

#[cfg(test)]
#[path = "cache_tests.rs"]
mod tests;
