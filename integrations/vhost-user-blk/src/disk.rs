//! What the guest is told about the disk: features and configuration space (virtio 1.2, 5.2).

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use blkalign::Limits;
use virtio_bindings::virtio_blk::*;
use virtio_bindings::virtio_config::VIRTIO_F_VERSION_1;
use virtio_bindings::virtio_ring::{VIRTIO_RING_F_EVENT_IDX, VIRTIO_RING_F_INDIRECT_DESC};

/// virtio-blk counts in these, whatever the guest's block size is.
pub const SECTOR: u64 = 512;
/// Most sectors of one segment that is discarded or zeroed: 1 GiB.
pub const CLEAR_SECTORS_MAX: u32 = 1 << 21;
/// Most segments of one such request.
pub const CLEAR_SEGMENTS_MAX: u32 = 64;
/// Of the configuration space: the driver writes here whether it wants a write cache.
const WRITEBACK_AT: usize = 32;
/// As long as a frontend may ask for: VHOST_USER_MAX_CONFIG_SIZE.
const CONFIG_BYTES: usize = 256;

/// The disk as the guest sees it; all but its length does not change.
#[derive(Debug)]
pub struct Disk {
    /// Looked at once for each request.
    pub sectors: AtomicU64,
    /// In bytes: 512 or 4096.
    pub block_size: u32,
    pub read_only: bool,
    /// Each write is durable when it is done, whatever the guest wants: see `overlay`.
    pub through: AtomicBool,
    pub discard: bool,
    pub serial: [u8; VIRTIO_BLK_ID_BYTES as usize],
    pub queues: u16,
    /// Pieces of data in one request.
    pub segments_max: u32,
    pub limits: Limits,
}

impl Disk {
    /// How many of `SECTOR` bytes there are.
    pub fn sectors(&self) -> u64 {
        self.sectors.load(Ordering::Relaxed)
    }

    /// Of a storage that is so many bytes long the guest gets what is whole blocks of its own.
    /// True: that is another length than before.
    pub fn set_length(&self, bytes: u64) -> bool {
        let blocks = bytes / u64::from(self.block_size);
        let sectors = blocks * (u64::from(self.block_size) / SECTOR);
        self.sectors.swap(sectors, Ordering::Relaxed) != sectors
    }

    pub fn features(&self) -> u64 {
        let mut features = [
            VIRTIO_BLK_F_SEG_MAX,
            VIRTIO_BLK_F_BLK_SIZE,
            VIRTIO_BLK_F_TOPOLOGY,
            VIRTIO_BLK_F_FLUSH,
            VIRTIO_BLK_F_CONFIG_WCE,
            VIRTIO_BLK_F_MQ,
            VIRTIO_RING_F_INDIRECT_DESC,
            VIRTIO_RING_F_EVENT_IDX,
            VIRTIO_F_VERSION_1,
        ]
        .iter()
        .fold(0, |all, bit| all | 1u64 << bit);
        if self.read_only {
            features |= 1 << VIRTIO_BLK_F_RO;
        } else {
            features |= 1 << VIRTIO_BLK_F_WRITE_ZEROES;
        }
        if self.may_discard() {
            features |= 1 << VIRTIO_BLK_F_DISCARD;
        }
        features
    }

    pub fn may_discard(&self) -> bool {
        self.discard && !self.read_only
    }

    /// `bytes` bytes from `offset` on; zeros behind what the driver knows. None: no such place.
    pub fn config(&self, offset: u32, bytes: u32, write_cache: bool) -> Option<Vec<u8>> {
        let from = offset as usize;
        let until = from.checked_add(bytes as usize)?;
        Some(self.config_space(write_cache).get(from..until)?.to_vec())
    }

    /// What the driver wants of the write cache when it writes there. None: it may not write that.
    pub fn write_cache_of(&self, offset: u32, bytes: &[u8]) -> Option<bool> {
        match (offset as usize, bytes) {
            (WRITEBACK_AT, [wanted]) => Some(*wanted != 0),
            _ => None,
        }
    }

    fn config_space(&self, write_cache: bool) -> [u8; CONFIG_BYTES] {
        let mut space = [0; CONFIG_BYTES];
        let mut put = |at: usize, bytes: &[u8]| space[at..at + bytes.len()].copy_from_slice(bytes);
        let physical = self.limits.request_alignment.max(self.limits.physical_block_size);
        let blocks = (physical / self.block_size).max(1);
        let optimal = self.limits.opt_transfer / self.block_size;
        put(0, &self.sectors().to_le_bytes());
        put(12, &self.segments_max.to_le_bytes());
        put(20, &self.block_size.to_le_bytes());
        // Topology: block sizes to a physical one as an exponent, offset, least and best I/O.
        put(24, &[blocks.ilog2() as u8, 0]);
        put(26, &u16::try_from(blocks).unwrap_or(0).to_le_bytes());
        put(28, &optimal.to_le_bytes());
        put(WRITEBACK_AT, &[write_cache.into()]);
        put(34, &self.queues.to_le_bytes());
        if self.may_discard() {
            let alignment = self.limits.discard_alignment.max(self.block_size) / SECTOR as u32;
            put(36, &CLEAR_SECTORS_MAX.to_le_bytes());
            put(40, &CLEAR_SEGMENTS_MAX.to_le_bytes());
            put(44, &alignment.to_le_bytes());
        }
        if !self.read_only {
            put(48, &CLEAR_SECTORS_MAX.to_le_bytes());
            put(52, &CLEAR_SEGMENTS_MAX.to_le_bytes());
            put(56, &[self.discard.into()]);
        }
        space
    }
}
