//! A chain of descriptors, followed from its head: what the guest lets us read and write.
//!
//! A chain with any fault is never taken for a shorter one: its request does nothing.

use libc::iovec;

use crate::memory::Memory;
use crate::ring::{Descriptor, Ring};

/// Most descriptors of a chain, however long the indirect table is.
pub const DESCRIPTORS_MAX: usize = 1026;

/// Pieces of our memory, some bytes of which have been taken off the front.
#[derive(Default)]
pub struct Pieces {
    all: Vec<iovec>,
    first: usize,
    bytes: u64,
}

impl Pieces {
    fn clear(&mut self) {
        self.all.clear();
        self.first = 0;
        self.bytes = 0;
    }

    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Nothing is left of them after an error.
    fn append(&mut self, memory: &Memory, guest: u64, bytes: u64) -> Result<(), &'static str> {
        let result = memory.append(guest, bytes, &mut self.all);
        self.bytes += bytes;
        result.inspect_err(|_| self.clear())
    }

    pub fn as_slice(&self) -> &[iovec] {
        &self.all[self.first..]
    }

    /// Takes the first bytes off and copies them. False, with nothing taken: there are fewer.
    pub fn take_front(&mut self, to: &mut [u8]) -> bool {
        if self.bytes < to.len() as u64 {
            return false;
        }
        let mut at = 0;
        while at < to.len() {
            let piece = &mut self.all[self.first];
            let take = piece.iov_len.min(to.len() - at);
            let from = piece.iov_base.cast::<u8>();
            for (index, byte) in to[at..at + take].iter_mut().enumerate() {
                // SAFETY: inside the piece, which is mapped guest memory.
                *byte = unsafe { from.add(index).read_volatile() };
            }
            at += take;
            // SAFETY: at most the piece's end.
            piece.iov_base = unsafe { from.add(take) }.cast();
            piece.iov_len -= take;
            if piece.iov_len == 0 {
                self.first += 1;
            }
        }
        self.bytes -= to.len() as u64;
        true
    }

    /// Takes the last byte off: where it is.
    fn take_last(&mut self) -> Option<*mut u8> {
        let piece = self.all.last_mut()?;
        piece.iov_len -= 1;
        // SAFETY: pieces are not empty, so this is the piece's last byte.
        let last = unsafe { piece.iov_base.cast::<u8>().add(piece.iov_len) };
        if piece.iov_len == 0 {
            self.all.pop();
        }
        self.bytes -= 1;
        Some(last)
    }

    /// Copies as much of `from` as there is room for.
    pub fn put(&self, mut from: &[u8]) {
        for piece in self.as_slice() {
            let (now, later) = from.split_at(piece.iov_len.min(from.len()));
            let to = piece.iov_base.cast::<u8>();
            for (index, byte) in now.iter().enumerate() {
                // SAFETY: inside the piece, which is mapped guest memory.
                unsafe { to.add(index).write_volatile(*byte) };
            }
            from = later;
        }
    }
}

/// A chain taken apart. One is used for all chains of a queue, one after the other.
#[derive(Default)]
pub struct Chain {
    /// What the driver wrote for us, header first.
    pub readable: Pieces,
    /// What we may write, without the status byte.
    pub writable: Pieces,
    /// The last byte that we may write.
    pub status: Option<*mut u8>,
    /// What is wrong with it, if anything.
    pub fault: Option<&'static str>,
    /// Whether the last descriptor is writable and in memory.
    ends_writable: bool,
    descriptors: usize,
    /// Bytes of all its descriptors that are in memory.
    total: u64,
}

impl Chain {
    /// Follows the chain that begins at `head`, which is less than the ring's size.
    pub fn follow(&mut self, ring: &Ring, head: u16) {
        self.readable.clear();
        self.writable.clear();
        self.status = None;
        self.fault = None;
        self.ends_writable = false;
        self.descriptors = 0;
        self.total = 0;
        if let Err(fault) = self.follow_table(ring, head) {
            // Nobody knows where such a chain ends, so there is no status byte either.
            self.fault = Some(fault);
            return;
        }
        if self.ends_writable {
            self.status = self.writable.take_last();
        }
        if self.status.is_none() {
            self.fault = self.fault.or(Some("no room for the status"));
        }
    }

    /// The bytes that we may write, the status included.
    pub fn writable_bytes(&self) -> u32 {
        // Checked in `add`. Of a faulty chain it is only the status.
        self.writable.bytes() as u32 + u32::from(self.status.is_some())
    }

    fn follow_table(&mut self, ring: &Ring, head: u16) -> Result<(), &'static str> {
        let mut index = head;
        for _ in 0..ring.size() {
            let descriptor = ring.descriptor(index);
            if descriptor.is_indirect() {
                if descriptor.has_next() {
                    return Err("an indirect table in the middle of a chain");
                }
                return self.follow_indirect(ring.memory(), descriptor);
            }
            self.add(ring.memory(), descriptor)?;
            if !descriptor.has_next() {
                return Ok(());
            }
            index = descriptor.next;
            if index >= ring.size() {
                return Err("a descriptor beyond the table");
            }
        }
        Err("a chain longer than its table")
    }

    fn follow_indirect(&mut self, memory: &Memory, table: Descriptor) -> Result<(), &'static str> {
        let entries = u64::from(table.bytes) / Descriptor::BYTES;
        if entries == 0 || !u64::from(table.bytes).is_multiple_of(Descriptor::BYTES) {
            return Err("an indirect table of an odd size");
        }
        let mut index = 0;
        for _ in 0..entries {
            let place = table.address.checked_add(Descriptor::BYTES * index);
            let start = place.and_then(|place| memory.contiguous(place, Descriptor::BYTES));
            // SAFETY: mapped guest memory of 16 bytes.
            let read = start.map(|start| unsafe { Descriptor::read(start) });
            let descriptor = read.ok_or("an indirect table outside of memory")?;
            if descriptor.is_indirect() {
                return Err("an indirect table in another");
            }
            self.add(memory, descriptor)?;
            if !descriptor.has_next() {
                return Ok(());
            }
            index = descriptor.next.into();
            if index >= entries {
                return Err("a descriptor beyond the indirect table");
            }
        }
        Err("a chain longer than its indirect table")
    }

    /// What is wrong with one descriptor alone is kept for the end: the status byte comes last.
    fn add(&mut self, memory: &Memory, descriptor: Descriptor) -> Result<(), &'static str> {
        self.descriptors += 1;
        if self.descriptors > DESCRIPTORS_MAX {
            return Err("a chain of too many descriptors");
        }
        if descriptor.bytes == 0 {
            return Ok(());
        }
        let bytes = u64::from(descriptor.bytes);
        let writable = descriptor.is_writable();
        if !writable && self.writable.bytes > 0 {
            self.fault = Some("what can be read comes after what can be written");
        }
        let pieces = if writable { &mut self.writable } else { &mut self.readable };
        let mut appended = Ok(());
        if self.fault.is_none() {
            appended = pieces.append(memory, descriptor.address, bytes);
            self.fault = appended.err();
        } else if writable {
            // Nothing is done with its memory, but the last byte may be the status.
            pieces.clear();
            let last = descriptor.address.checked_add(bytes - 1);
            appended = last.map_or(Err(""), |last| pieces.append(memory, last, 1));
        }
        self.ends_writable = writable && appended.is_ok();
        self.total += if appended.is_ok() { bytes } else { 0 };
        if self.total > u64::from(u32::MAX) {
            return Err("a chain longer than 4 GiB");
        }
        Ok(())
    }
}
