//! A guest's memory: one memfd, regions of which lie side by side for the guest, the other way
//! round for us.

use std::fs::File;
use std::os::fd::{AsRawFd, FromRawFd};

use vhost::VhostUserMemoryRegionInfo;

#[derive(Clone, Copy)]
struct Region {
    guest: u64,
    offset: u64,
    bytes: u64,
}

pub struct Memory {
    file: File,
    base: *mut u8,
    bytes: u64,
    regions: Vec<Region>,
}

pub fn memfd() -> File {
    // SAFETY: makes a descriptor, which nobody else has.
    let fd = unsafe { libc::memfd_create(c"guest".as_ptr(), libc::MFD_CLOEXEC) };
    assert!(fd >= 0);
    // SAFETY: as above.
    unsafe { File::from_raw_fd(fd) }
}

/// Where the first region begins for the guest.
pub const GUEST_BASE: u64 = 0x1_0000_0000;

// SAFETY: only raw accesses to memory that stays mapped.
unsafe impl Send for Memory {}
// SAFETY: as above.
unsafe impl Sync for Memory {}

impl Memory {
    /// `count` regions of `bytes` each, one behind the other from GUEST_BASE on.
    pub fn new(count: u64, bytes: u64) -> Memory {
        Memory::in_file(memfd(), count, bytes)
    }

    /// The same in a file that is given.
    pub fn in_file(file: File, count: u64, bytes: u64) -> Memory {
        let all = count * bytes;
        let fd = file.as_raw_fd();
        file.set_len(all).unwrap();
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let null = std::ptr::null_mut();
        // SAFETY: a new mapping, at an address of the kernel's choice.
        let base = unsafe { libc::mmap(null, all as usize, protection, libc::MAP_SHARED, fd, 0) };
        assert_ne!(base, libc::MAP_FAILED);
        let region = |index| Region {
            guest: GUEST_BASE + index * bytes,
            offset: (count - 1 - index) * bytes,
            bytes,
        };
        let regions = (0..count).map(region).collect();
        Memory { file, base: base.cast(), bytes: all, regions }
    }

    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Makes the file shorter, or longer. Who touches what is gone dies, we too.
    pub fn set_file_length(&self, bytes: u64) {
        self.file.set_len(bytes).unwrap();
    }

    /// Part of it, `offset` bytes from its start on, as a region of its own at `guest`.
    pub fn region(&self, guest: u64, offset: u64, bytes: u64) -> VhostUserMemoryRegionInfo {
        VhostUserMemoryRegionInfo {
            guest_phys_addr: guest,
            memory_size: bytes,
            userspace_addr: self.base as u64 + offset,
            mmap_offset: offset,
            mmap_handle: self.file.as_raw_fd(),
        }
    }

    /// The address behind the last byte, as the guest sees it.
    pub fn end(&self) -> u64 {
        GUEST_BASE + self.bytes
    }

    /// For SET_MEM_TABLE.
    pub fn table(&self) -> Vec<VhostUserMemoryRegionInfo> {
        let info = |region: &Region| VhostUserMemoryRegionInfo {
            guest_phys_addr: region.guest,
            memory_size: region.bytes,
            userspace_addr: self.base as u64 + region.offset,
            mmap_offset: region.offset,
            mmap_handle: self.file.as_raw_fd(),
        };
        self.regions.iter().map(info).collect()
    }

    /// Our address of `guest`.
    pub fn at(&self, guest: u64) -> *mut u8 {
        let inside =
            |region: &&Region| (region.guest..region.guest + region.bytes).contains(&guest);
        let region = self.regions.iter().find(inside).expect("no such memory");
        // SAFETY: inside the mapping.
        unsafe { self.base.add((region.offset + guest - region.guest) as usize) }
    }

    pub fn write(&self, guest: u64, bytes: &[u8]) {
        for (at, byte) in (guest..).zip(bytes) {
            // SAFETY: `at` gives an address in the mapping.
            unsafe { self.at(at).write_volatile(*byte) };
        }
    }

    pub fn read(&self, guest: u64, bytes: usize) -> Vec<u8> {
        // SAFETY: as in `write`.
        (guest..).take(bytes).map(|at| unsafe { self.at(at).read_volatile() }).collect()
    }

    pub fn fill(&self, byte: u8) {
        // SAFETY: the whole mapping.
        unsafe { std::ptr::write_bytes(self.base, byte, self.bytes as usize) };
    }

    /// All of it, as the guest sees it.
    pub fn snapshot(&self) -> Vec<u8> {
        let mut all = Vec::with_capacity(self.bytes as usize);
        for region in &self.regions {
            let start = self.at(region.guest);
            // SAFETY: the region's part of the mapping; the daemon is idle when this is called.
            all.extend_from_slice(unsafe {
                std::slice::from_raw_parts(start, region.bytes as usize)
            });
        }
        all
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: the mapping of `new`, which nobody uses any more.
        unsafe { libc::munmap(self.base.cast(), self.bytes as usize) };
    }
}
