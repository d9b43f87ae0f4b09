//! One split virtqueue, as the device sees it (virtio 1.2, 2.7). Knows nothing of requests.
//!
//! Everything that the guest writes is read once, by an atomic or volatile access, and believed
//! only as far as it is checked.

use std::sync::atomic::{fence, AtomicU16, Ordering};
use std::sync::Arc;

use virtio_bindings::virtio_ring::{
    VRING_AVAIL_F_NO_INTERRUPT, VRING_DESC_F_INDIRECT, VRING_DESC_F_NEXT, VRING_DESC_F_WRITE,
    VRING_USED_F_NO_NOTIFY,
};

use crate::memory::Memory;

/// A descriptor, as the guest wrote it.
#[derive(Clone, Copy, Debug)]
pub struct Descriptor {
    pub address: u64,
    pub bytes: u32,
    flags: u16,
    pub next: u16,
}

impl Descriptor {
    pub const BYTES: u64 = 16;

    /// # Safety
    ///
    /// `at` points to 16 bytes that can be read.
    pub unsafe fn read(at: *const u8) -> Descriptor {
        // SAFETY: the caller answers for it; any bytes will do.
        let raw = unsafe { at.cast::<[u8; 16]>().read_volatile() };
        let part = |from: usize| u16::from_le_bytes([raw[from], raw[from + 1]]);
        Descriptor {
            address: u64::from_le_bytes(raw[..8].try_into().expect("8 bytes")),
            bytes: u32::from_le_bytes(raw[8..12].try_into().expect("4 bytes")),
            flags: part(12),
            next: part(14),
        }
    }

    pub fn has_next(&self) -> bool {
        self.flags & VRING_DESC_F_NEXT as u16 != 0
    }

    pub fn is_writable(&self) -> bool {
        self.flags & VRING_DESC_F_WRITE as u16 != 0
    }

    pub fn is_indirect(&self) -> bool {
        self.flags & VRING_DESC_F_INDIRECT as u16 != 0
    }
}

/// Where the three parts are, as the guest sees them.
#[derive(Clone, Copy, Debug, Default)]
pub struct Addresses {
    pub descriptors: u64,
    pub available: u64,
    pub used: u64,
}

/// The guest has broken the ring's rules: nothing more can be taken from it.
#[derive(Debug, PartialEq, Eq)]
pub struct Broken(pub &'static str);

pub struct Ring {
    /// Keeps the mappings to which the pointers lead.
    memory: Arc<Memory>,
    descriptors: *const u8,
    available: *const u8,
    used: *mut u8,
    size: u16,
    event_idx: bool,
    next_available: u16,
    next_used: u16,
    /// What the guest was last told in `used.idx`.
    published: u16,
    /// `used.idx` when the guest was last asked whether it wants to be told; None: not yet.
    asked: Option<u16>,
}

// SAFETY: the pointers lead into the mappings of `memory`, which it shares.
unsafe impl Send for Ring {}

impl Ring {
    /// None: a part is not in memory, or not aligned, or the size is no power of two.
    pub fn new(memory: Arc<Memory>, at: Addresses, size: u16, event_idx: bool) -> Option<Ring> {
        let entries = u64::from(size);
        if !size.is_power_of_two() {
            return None;
        }
        let place = |guest: u64, bytes: u64, alignment: usize| {
            let start = memory.contiguous(guest, bytes)?;
            (start as usize).is_multiple_of(alignment).then_some(start)
        };
        let mut ring = Ring {
            descriptors: place(at.descriptors, Descriptor::BYTES * entries, 16)?,
            available: place(at.available, 6 + 2 * entries, 2)?,
            used: place(at.used, 6 + 8 * entries, 4)?,
            memory,
            size,
            event_idx,
            next_available: 0,
            next_used: 0,
            published: 0,
            asked: None,
        };
        ring.next_used = u16::from_le(ring.used_cell(2).load(Ordering::Acquire));
        ring.published = ring.next_used;
        Some(ring)
    }

    pub fn memory(&self) -> &Memory {
        &self.memory
    }

    pub fn size(&self) -> u16 {
        self.size
    }

    pub fn next_available(&self) -> u16 {
        self.next_available
    }

    pub fn set_next_available(&mut self, index: u16) {
        self.next_available = index;
    }

    /// What the guest reads in `used.idx`.
    pub fn used_index(&self) -> u16 {
        self.published
    }

    /// `index`: less than the size.
    pub fn descriptor(&self, index: u16) -> Descriptor {
        assert!(index < self.size);
        // SAFETY: inside the table, which is mapped.
        unsafe { Descriptor::read(self.descriptors.add(16 * usize::from(index))) }
    }

    /// How many chains the guest has made available that were not taken yet.
    pub fn available(&self) -> Result<u16, Broken> {
        let index = u16::from_le(self.available_cell(2).load(Ordering::Acquire));
        let count = index.wrapping_sub(self.next_available);
        if count > self.size {
            return Err(Broken("the available index is out of range"));
        }
        Ok(count)
    }

    /// The head of the next chain; only where `available` said that there is one. It is taken by
    /// `take`, and not looked for again.
    pub fn next_head(&self) -> Result<u16, Broken> {
        let slot = usize::from(self.next_available % self.size);
        let head = u16::from_le(self.available_cell(4 + 2 * slot).load(Ordering::Relaxed));
        if head >= self.size {
            return Err(Broken("the head of a chain is out of range"));
        }
        Ok(head)
    }

    /// The next chain is no longer available. Gives its place in the order of all.
    pub fn take(&mut self) -> u16 {
        let place = self.next_available;
        self.next_available = place.wrapping_add(1);
        place
    }

    /// Gives a chain back, of whose memory `bytes` bytes were written. The guest sees it after
    /// `publish`.
    pub fn put_used(&mut self, head: u16, bytes: u32) {
        let slot = usize::from(self.next_used % self.size);
        let mut element = [0; 8];
        element[..4].copy_from_slice(&u32::from(head).to_le_bytes());
        element[4..].copy_from_slice(&bytes.to_le_bytes());
        // SAFETY: inside the used ring, aligned like it.
        unsafe {
            self.used.add(4 + 8 * slot).cast::<u64>().write_unaligned(u64::from_ne_bytes(element))
        };
        self.next_used = self.next_used.wrapping_add(1);
    }

    /// Shows the guest what was put.
    pub fn publish(&mut self) {
        self.published = self.next_used;
        self.used_cell(2).store(self.published.to_le(), Ordering::Release);
    }

    /// Whether the guest wants to be told of what was published since the last time.
    pub fn wants_signal(&mut self) -> bool {
        // The guest first says that it wants to know, then looks at the index; we the other way
        // round.
        fence(Ordering::SeqCst);
        let before = self.asked.replace(self.published);
        if !self.event_idx {
            let flags = u16::from_le(self.available_cell(0).load(Ordering::Relaxed));
            return flags & VRING_AVAIL_F_NO_INTERRUPT as u16 == 0;
        }
        let event = self.available_cell(4 + 2 * usize::from(self.size)).load(Ordering::Relaxed);
        let event = u16::from_le(event);
        let Some(before) = before else { return true };
        let since_event = self.published.wrapping_sub(event).wrapping_sub(1);
        since_event < self.published.wrapping_sub(before)
    }

    /// Says that we look at the ring by ourselves: kicks cost the guest an exit.
    pub fn refuse_kicks(&mut self) {
        // With EVENT_IDX it is enough that the index for the next kick lies behind.
        if !self.event_idx {
            self.used_cell(0).store((VRING_USED_F_NO_NOTIFY as u16).to_le(), Ordering::Relaxed);
        }
    }

    /// Asks for a kick when there is more. After this `available` must be looked at again.
    pub fn ask_for_kick(&mut self) {
        if self.event_idx {
            let cell = self.used_cell(4 + 8 * usize::from(self.size));
            cell.store(self.next_available.to_le(), Ordering::Relaxed);
        } else {
            self.used_cell(0).store(0, Ordering::Relaxed);
        }
        // Of a guest that makes available and then looks whether we want a kick, and us, one
        // sees the other.
        fence(Ordering::SeqCst);
    }

    fn available_cell(&self, at: usize) -> &AtomicU16 {
        debug_assert!(at.is_multiple_of(2) && at < 6 + 2 * usize::from(self.size));
        // SAFETY: inside the ring, aligned, and mapped as long as `memory`.
        unsafe { AtomicU16::from_ptr(self.available.cast_mut().add(at).cast()) }
    }

    fn used_cell(&self, at: usize) -> &AtomicU16 {
        debug_assert!(at.is_multiple_of(2) && at < 6 + 8 * usize::from(self.size));
        // SAFETY: inside the ring, aligned, and mapped as long as `memory`.
        unsafe { AtomicU16::from_ptr(self.used.add(at).cast()) }
    }
}
