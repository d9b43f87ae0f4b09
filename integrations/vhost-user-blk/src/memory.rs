//! Guest memory: where an address of the guest is in ours. Knows nothing of rings.
//!
//! Nothing outside of a mapping is ever handed out. What is inside may be changed by the guest
//! at any moment: it is only copied, by volatile accesses, or given to the storage.

use std::fs::File;
use std::sync::Arc;

use libc::iovec;
use vhost::vhost_user::Error;
use vm_memory::mmap::MmapRegion;
use vm_memory::FileOffset;

use crate::fault::Watched;

/// Most pieces of one request: what a frontend cuts its memory into must not be ours to pay.
pub const PIECES_MAX: usize = 2048;

/// Memory of a frontend's, in our address space. It may go away at any moment: see `fault`.
pub struct Mapping {
    /// Goes first.
    _watched: Watched,
    region: MmapRegion<()>,
}

impl Mapping {
    pub fn start(&self) -> *mut u8 {
        self.region.as_ptr()
    }
}

/// Maps a frontend's memory. None: it cannot be mapped, or is no file that is as long as that.
pub fn map(file: File, offset: u64, bytes: u64) -> Option<Mapping> {
    let end = offset.checked_add(bytes)?;
    let length = usize::try_from(bytes).ok()?;
    if bytes == 0 {
        return None;
    }
    let looked_at = file.try_clone().ok()?;
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    let flags = libc::MAP_SHARED | libc::MAP_NORESERVE;
    let backing = Some(FileOffset::new(file, offset));
    let region = MmapRegion::build(backing, length, protection, flags).ok()?;
    let watched = Watched::new(region.as_ptr(), length)?;
    // What is mapped is looked at, not what was to be. A device may give each process memory of its
    // own (/dev/zero), and tells no length.
    let data = looked_at.metadata().ok()?;
    (data.is_file() && data.len() >= end).then_some(Mapping { _watched: watched, region })
}

/// A range of guest memory and its mapping, which goes when this is dropped.
pub struct Region {
    /// Where the guest sees it.
    guest: u64,
    /// Where the frontend sees it.
    user: u64,
    bytes: u64,
    mapping: Mapping,
}

impl Region {
    /// `guest`, `user`: where they see it. `offset`: in the file.
    pub fn new(
        guest: u64,
        user: u64,
        bytes: u64,
        offset: u64,
        file: File,
    ) -> Result<Arc<Region>, Error> {
        let wraps = guest.checked_add(bytes).is_none() || user.checked_add(bytes).is_none();
        let mapping = map(file, offset, bytes).filter(|_| !wraps).ok_or(Error::InvalidParam)?;
        Ok(Arc::new(Region { guest, user, bytes, mapping }))
    }

    pub fn is(&self, guest: u64, user: u64, bytes: u64) -> bool {
        (self.guest, self.user, self.bytes) == (guest, user, bytes)
    }

    /// Of the mapping, in our memory.
    pub fn start(&self) -> *mut u8 {
        self.mapping.start()
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
    pub fn new(mut regions: Vec<Arc<Region>>) -> Result<Memory, Error> {
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

    /// Appends where `bytes` bytes at `guest` are: one piece for each region that they touch; what
    /// lies behind the last piece makes that longer. An error is words: not all of them exist, or
    /// there would be more than `PIECES_MAX`, or no memory for more; then the request is over, and
    /// `pieces` may have some of them.
    pub fn append(
        &self,
        mut guest: u64,
        mut bytes: u64,
        pieces: &mut Vec<iovec>,
    ) -> Result<(), &'static str> {
        while bytes > 0 {
            let (start, left) = self.locate(guest).ok_or("a descriptor outside of memory")?;
            let take = bytes.min(left);
            let count = pieces.len();
            match pieces.last_mut() {
                Some(last) if last.iov_base as usize + last.iov_len == start as usize => {
                    last.iov_len += take as usize;
                }
                _ if count == PIECES_MAX => return Err("too many pieces of memory"),
                _ => {
                    pieces.try_reserve(1).map_err(|_| "no memory for a chain")?;
                    pieces.push(iovec { iov_base: start.cast(), iov_len: take as usize });
                }
            }
            bytes -= take;
            // A region's end, at most: it does not wrap.
            guest += take;
        }
        Ok(())
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::FromRawFd;

    const PAGE: u64 = 4096;

    fn region(guest: u64, user: u64, pages: u64) -> Result<Arc<Region>, Error> {
        // SAFETY: makes a descriptor, which nobody else has.
        let file = unsafe { File::from_raw_fd(libc::memfd_create(c"test".as_ptr(), 0)) };
        file.set_len(2 * PAGE).unwrap();
        Region::new(guest, user, pages * PAGE, 0, file)
    }

    #[test]
    fn a_range_is_in_as_many_pieces_as_it_touches_regions() {
        let regions = vec![region(3 * PAGE, 0, 2).unwrap(), region(PAGE, 8 * PAGE, 2).unwrap()];
        let memory = Memory::new(regions).unwrap();
        let mut pieces = Vec::new();
        memory.append(2 * PAGE, 2 * PAGE + 1, &mut pieces).unwrap();
        let lengths: Vec<usize> = pieces.iter().map(|piece| piece.iov_len).collect();
        // By chance the kernel has put the two side by side; then they are one piece.
        let host = |guest| memory.contiguous(guest, PAGE).unwrap() as usize;
        if host(2 * PAGE) + PAGE as usize == host(3 * PAGE) {
            assert_eq!(lengths, [2 * PAGE as usize + 1]);
        } else {
            assert_eq!(lengths, [PAGE as usize, PAGE as usize + 1]);
        }
        // Not a byte more than there is, nor before it.
        for (guest, bytes) in [(4 * PAGE, PAGE + 1), (PAGE - 1, 2), (u64::MAX - 1, 4)] {
            assert!(memory.append(guest, bytes, &mut Vec::new()).is_err());
        }
        assert!(memory.contiguous(2 * PAGE, PAGE).is_some());
        assert!(memory.contiguous(2 * PAGE, PAGE + 1).is_none());
        assert!(memory.contiguous(5 * PAGE, 1).is_none());
        assert_eq!(memory.guest_address(8 * PAGE + 7), Some(PAGE + 7));
        assert_eq!(memory.guest_address(10 * PAGE), None);
    }

    #[test]
    fn what_lies_side_by_side_is_one_piece_and_there_are_so_many_at_most() {
        let memory = Memory::new(vec![region(PAGE, 0, 2).unwrap()]).unwrap();
        let mut pieces = Vec::new();
        memory.append(PAGE, 16, &mut pieces).unwrap();
        memory.append(PAGE + 16, PAGE, &mut pieces).unwrap();
        assert_eq!((pieces.len(), pieces[0].iov_len as u64), (1, PAGE + 16));
        for _ in 1..PIECES_MAX {
            memory.append(PAGE, 1, &mut pieces).unwrap();
        }
        assert!(memory.append(PAGE, 1, &mut pieces).is_err());
        assert_eq!(pieces.len(), PIECES_MAX);
    }

    #[test]
    fn what_tells_no_length_is_no_memory() {
        let zero = File::options().read(true).write(true).open("/dev/zero").unwrap();
        assert!(map(zero.try_clone().unwrap(), 0, PAGE).is_none());
        assert!(map(zero, 1 << 30, PAGE).is_none());
    }

    #[test]
    fn memory_that_overlaps_wraps_or_is_not_there_is_refused() {
        let pair = vec![region(PAGE, 0, 2).unwrap(), region(2 * PAGE, PAGE, 2).unwrap()];
        assert!(Memory::new(pair).is_err());
        assert!(region(0, 0, 3).is_err(), "longer than its file");
        assert!(region(0, 0, 0).is_err());
        assert!(region(u64::MAX - PAGE, 0, 2).is_err());
        assert!(region(0, u64::MAX - PAGE, 2).is_err());
    }
}
