//! What is in flight, kept in memory that the frontend holds, so that a daemon that is killed can
//! be replaced by another that does again what was not done
//! (VHOST_USER_PROTOCOL_F_INFLIGHT_SHMFD, split virtqueues).
//!
//! The layout of a queue's region is that of the vhost-user specification: 16 bytes of header,
//! then 16 bytes for each descriptor. What may be torn is only the time between two stores: the
//! reader is another process, after the writer has gone.

use std::fs::File;
use std::io::Error;
use std::os::fd::{AsRawFd, FromRawFd};
use std::sync::atomic::{compiler_fence, Ordering};
use std::sync::Arc;

use crate::memory::{map, Mapping};

const HEADER: usize = 16;
const ENTRY: usize = 16;
/// In the flags of the first region: the write cache is off. Ours alone.
const WRITE_THROUGH: u64 = 1 << 63;
/// So much of the address of each queue's region is zero.
const REGION_ALIGNMENT: usize = 64;

/// Bytes in the region of one queue of `size` descriptors.
fn region_bytes(size: u16) -> usize {
    (HEADER + ENTRY * usize::from(size)).next_multiple_of(REGION_ALIGNMENT)
}

/// The regions of all queues.
#[derive(Clone)]
pub struct Inflight {
    mapping: Arc<Mapping>,
    queues: u16,
    size: u16,
}

impl Inflight {
    /// Bytes of all regions.
    pub fn bytes(queues: u16, size: u16) -> u64 {
        region_bytes(size) as u64 * u64::from(queues)
    }

    /// New memory for them, which nobody can make shorter.
    pub fn create(queues: u16, size: u16) -> Result<File, Error> {
        let flags = libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING;
        // SAFETY: makes a descriptor, which nobody else has.
        let fd = unsafe { libc::memfd_create(c"inflight".as_ptr(), flags) };
        if fd < 0 {
            return Err(Error::last_os_error());
        }
        // SAFETY: as above.
        let file = unsafe { File::from_raw_fd(fd) };
        file.set_len(Inflight::bytes(queues, size))?;
        let seals = libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_SEAL;
        // SAFETY: an integer, for a descriptor that is open.
        match unsafe { libc::fcntl(file.as_raw_fd(), libc::F_ADD_SEALS, seals) } {
            0 => Ok(file),
            _ => Err(Error::last_os_error()),
        }
    }

    /// None: the file is too short, or cannot be mapped.
    pub fn map(file: File, offset: u64, bytes: u64, queues: u16, size: u16) -> Option<Inflight> {
        if queues == 0 || bytes < Inflight::bytes(queues, size) {
            return None;
        }
        let mapping = map(file, offset, bytes)?;
        Some(Inflight { mapping: Arc::new(mapping), queues, size })
    }

    /// Whether the driver has switched the write cache off. A frontend does not say that again to
    /// another daemon, so it is kept here, in the flags of the first region, which nobody uses.
    pub fn is_write_through(&self) -> bool {
        // SAFETY: `map` checked that the mapping has a region, which is aligned.
        unsafe { self.mapping.start().cast::<u64>().read_volatile() & WRITE_THROUGH != 0 }
    }

    pub fn set_write_through(&self, on: bool) {
        let flags = if on { WRITE_THROUGH } else { 0 };
        // SAFETY: as above.
        unsafe { self.mapping.start().cast::<u64>().write_volatile(flags) };
    }

    /// That of queue `index`, which has `size` descriptors. None: there is none as large as that.
    pub fn queue(&self, index: u16, size: u16) -> Option<InflightQueue> {
        if index >= self.queues || size > self.size {
            return None;
        }
        let mapping = self.mapping.clone();
        // SAFETY: `map` checked that the mapping has so many regions.
        let start = unsafe { mapping.start().add(region_bytes(self.size) * usize::from(index)) };
        let queue = InflightQueue { _mapping: mapping, start, size: self.size, counter: 0 };
        // Version and number of descriptors, for whoever looks at it.
        queue.store::<u16>(8, 1);
        queue.store::<u16>(10, self.size);
        Some(queue)
    }
}

/// The region of one queue. Its users have checked that descriptors are less than its size.
pub struct InflightQueue {
    _mapping: Arc<Mapping>,
    start: *mut u8,
    size: u16,
    /// Of requests, in the order in which they were taken.
    counter: u64,
}

// SAFETY: the pointer leads into the mapping, which it shares; one thread at a time uses it.
unsafe impl Send for InflightQueue {}

const LAST_BATCH_HEAD: usize = 12;
const USED_INDEX: usize = 14;

impl InflightQueue {
    /// `head` was taken from the ring.
    pub fn taken(&mut self, head: u16) {
        self.counter = self.counter.wrapping_add(1);
        let entry = self.entry(head);
        self.store(entry + 8, self.counter);
        barrier();
        self.store(entry, 1u8);
    }

    /// `head` went back into the ring as if it had never been taken.
    pub fn untaken(&mut self, head: u16) {
        self.store(self.entry(head), 0u8);
    }

    /// Before the guest sees that `heads` are done.
    pub fn will_publish(&mut self, heads: &[u16]) {
        let mut last: u16 = self.load(LAST_BATCH_HEAD);
        for &head in heads {
            self.store(self.entry(head) + 6, last);
            last = head;
        }
        self.store(LAST_BATCH_HEAD, last);
        barrier();
    }

    /// After it; `used_index` is what the guest now reads.
    pub fn published(&mut self, heads: &[u16], used_index: u16) {
        barrier();
        for &head in heads {
            self.store(self.entry(head), 0u8);
        }
        barrier();
        self.store(USED_INDEX, used_index);
    }

    /// What another process took and did not finish, in the order in which it took it.
    /// `used_index` is what the guest reads now.
    pub fn recover(&mut self, used_index: u16, ring_size: u16) -> Vec<u16> {
        // The last batch: the guest saw it, and it may not have been taken off yet.
        let batch = used_index.wrapping_sub(self.load(USED_INDEX));
        let mut head: u16 = self.load(LAST_BATCH_HEAD);
        for _ in 0..batch.min(ring_size) {
            if head >= self.size {
                break;
            }
            self.store(self.entry(head), 0u8);
            head = self.load(self.entry(head) + 6);
        }
        barrier();
        self.store(USED_INDEX, used_index);
        let mut heads: Vec<(u64, u16)> = (0..ring_size.min(self.size))
            .filter(|&head| self.load::<u8>(self.entry(head)) != 0)
            .map(|head| (self.load(self.entry(head) + 8), head))
            .collect();
        heads.sort_unstable();
        self.counter = heads.last().map_or(0, |(counter, _)| *counter);
        heads.into_iter().map(|(_, head)| head).collect()
    }

    fn entry(&self, head: u16) -> usize {
        assert!(head < self.size);
        HEADER + ENTRY * usize::from(head)
    }

    fn load<T>(&self, at: usize) -> T {
        // SAFETY: inside the region and aligned, by the layout; integers only.
        unsafe { self.start.add(at).cast::<T>().read_volatile() }
    }

    fn store<T>(&self, at: usize, value: T) {
        // SAFETY: as for `load`.
        unsafe { self.start.add(at).cast::<T>().write_volatile(value) }
    }
}

/// Of this process's stores, the ones before this are done when it is killed behind it. The
/// kernel takes care of the rest.
fn barrier() {
    compiler_fence(Ordering::SeqCst);
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: u16 = 8;

    fn memory() -> Inflight {
        let file = Inflight::create(2, SIZE).unwrap();
        Inflight::map(file, 0, Inflight::bytes(2, SIZE), 2, SIZE).unwrap()
    }

    #[test]
    fn its_memory_stays_as_long_as_it_is() {
        let file = Inflight::create(2, SIZE).unwrap();
        let bytes = Inflight::bytes(2, SIZE);
        assert_eq!(file.metadata().unwrap().len(), bytes);
        assert!(file.set_len(0).is_err() && file.set_len(2 * bytes).is_err());
        let (fd, write) = (file.as_raw_fd(), libc::F_SEAL_WRITE);
        // SAFETY: an integer.
        assert!(unsafe { libc::fcntl(fd, libc::F_ADD_SEALS, write) } < 0);
    }

    /// Killed at each of the moments that there are between taking and forgetting.
    #[test]
    fn whatever_the_guest_does_not_see_is_done_again_in_order() {
        let memory = memory();
        let mut used = 65534u16;
        let mut queue = memory.queue(1, SIZE).unwrap();
        assert_eq!(queue.recover(used, SIZE), [0u16; 0]);
        for head in [5, 0, 7, 2] {
            queue.taken(head);
        }
        assert_eq!(memory.queue(1, SIZE).unwrap().recover(used, SIZE), [5, 0, 7, 2]);
        // Two are about to be shown, then are, the index going around.
        queue.will_publish(&[7, 5]);
        assert_eq!(memory.queue(1, SIZE).unwrap().recover(used, SIZE), [5, 0, 7, 2]);
        used = used.wrapping_add(2);
        let mut next = memory.queue(1, SIZE).unwrap();
        assert_eq!(next.recover(used, SIZE), [0, 2]);
        // The next daemon does one of the two, takes another, and ends that in peace.
        next.will_publish(&[0]);
        next.published(&[0], used.wrapping_add(1));
        next.taken(5);
        assert_eq!(memory.queue(1, SIZE).unwrap().recover(used.wrapping_add(1), SIZE), [2, 5]);
        next.will_publish(&[5, 2]);
        next.published(&[5, 2], used.wrapping_add(3));
        assert_eq!(memory.queue(1, SIZE).unwrap().recover(used.wrapping_add(3), SIZE), [0u16; 0]);
        // The other queue has a region of its own.
        assert_eq!(memory.queue(0, SIZE).unwrap().recover(0, SIZE), [0u16; 0]);
    }

    #[test]
    fn queues_that_it_has_no_room_for_are_refused() {
        let memory = memory();
        assert!(memory.queue(2, SIZE).is_none());
        assert!(memory.queue(0, 2 * SIZE).is_none());
        // SAFETY: makes a descriptor, which nobody else has.
        let short = unsafe { File::from_raw_fd(libc::memfd_create(c"test".as_ptr(), 0)) };
        let bytes = Inflight::bytes(2, SIZE);
        assert!(Inflight::map(short.try_clone().unwrap(), 0, bytes, 2, SIZE).is_none());
        assert!(Inflight::map(short, 0, bytes - 1, 2, SIZE).is_none());
    }

    /// A frontend's memory may hold anything.
    #[test]
    fn nonsense_in_the_memory_is_survived() {
        let memory = memory();
        let mut queue = memory.queue(0, SIZE).unwrap();
        let mut random = 1u32;
        for _ in 0..1000 {
            for at in HEADER - 4..HEADER + ENTRY * usize::from(SIZE) {
                random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                queue.store(at, (random >> 24) as u8);
            }
            let heads = queue.recover(random as u16, SIZE);
            assert!(heads.iter().all(|&head| head < SIZE));
            queue.taken(3);
        }
    }
}
