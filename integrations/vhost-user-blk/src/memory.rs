//! Guest memory: where an address of the guest is in ours. Knows nothing of rings.
//!
//! Nothing outside of a mapping is ever handed out. What is inside may be changed by the guest
//! at any moment: it is only copied, by volatile accesses, or given to the storage.

use std::sync::Arc;

use libc::iovec;
use vhost::vhost_user::{Error, Result};
use vm_memory::mmap::MmapRegion;

/// A range of guest memory and its mapping, which goes when this is dropped.
pub struct Region {
    /// Where the guest sees it.
    guest: u64,
    /// Where the frontend sees it.
    user: u64,
    bytes: u64,
    mapping: MmapRegion<()>,
}

impl Region {
    pub fn new(guest: u64, user: u64, bytes: u64, mapping: MmapRegion<()>) -> Result<Region> {
        let wraps = guest.checked_add(bytes).is_none() || user.checked_add(bytes).is_none();
        if bytes == 0 || wraps || mapping.size() as u64 != bytes {
            return Err(Error::InvalidParam);
        }
        Ok(Region { guest, user, bytes, mapping })
    }

    pub fn is(&self, guest: u64, user: u64, bytes: u64) -> bool {
        (self.guest, self.user, self.bytes) == (guest, user, bytes)
    }

    /// Of the mapping, in our memory.
    pub fn start(&self) -> *mut u8 {
        self.mapping.as_ptr()
    }

    pub fn bytes(&self) -> usize {
        self.bytes as usize
    }

    fn end(&self) -> u64 {
        self.guest + self.bytes
    }
}

/// All of a guest's memory; it never changes, another one takes its place.
#[derive(Clone, Default)]
pub struct Memory {
    /// In order of `guest`, without overlaps.
    regions: Vec<Arc<Region>>,
}

impl Memory {
    pub fn new(mut regions: Vec<Arc<Region>>) -> Result<Memory> {
        regions.sort_by_key(|region| region.guest);
        if regions.windows(2).any(|pair| pair[0].end() > pair[1].guest) {
            return Err(Error::InvalidParam);
        }
        Ok(Memory { regions })
    }

    pub fn regions(&self) -> &[Arc<Region>] {
        &self.regions
    }

    pub fn is_empty(&self) -> bool {
        self.regions.is_empty()
    }

    /// What the frontend calls `user`, as the guest sees it.
    pub fn guest_address(&self, user: u64) -> Option<u64> {
        let region = self.regions.iter().find(|r| (r.user..r.user + r.bytes).contains(&user))?;
        Some(region.guest + (user - region.user))
    }

    /// The address of `bytes` bytes at `guest` that are in one piece, else None.
    pub fn contiguous(&self, guest: u64, bytes: u64) -> Option<*mut u8> {
        let (start, left) = self.locate(guest)?;
        (bytes <= left).then_some(start)
    }

    /// Appends where `bytes` bytes at `guest` are: one piece for each region that they touch.
    /// False: not all of them exist; then `pieces` is as it was.
    pub fn append(&self, mut guest: u64, mut bytes: u64, pieces: &mut Vec<iovec>) -> bool {
        let before = pieces.len();
        while bytes > 0 {
            let Some((start, left)) = self.locate(guest) else {
                pieces.truncate(before);
                return false;
            };
            let take = bytes.min(left);
            pieces.push(iovec { iov_base: start.cast(), iov_len: take as usize });
            bytes -= take;
            // A region's end, at most: it does not wrap.
            guest += take;
        }
        true
    }

    /// The address of `guest`, and how many bytes there are from it on in its region.
    fn locate(&self, guest: u64) -> Option<(*mut u8, u64)> {
        let after = self.regions.partition_point(|region| region.guest <= guest);
        let region = &self.regions[after.checked_sub(1)?];
        let inside = guest - region.guest;
        if inside >= region.bytes {
            return None;
        }
        // SAFETY: inside the mapping.
        Some((unsafe { region.start().add(inside as usize) }, region.bytes - inside))
    }
}

// SAFETY: the pointers are those of a mapping that belongs to the region; who uses them copes
// with a guest that writes there at the same time.
unsafe impl Send for Region {}
// SAFETY: as above.
unsafe impl Sync for Region {}
