//! Memory that a caller has registered, as io_uring's fixed buffers: pinned and mapped once, not
//! by each I/O. Where the kernel has no such table, or RLIMIT_MEMLOCK no room, I/O is plain.
//!
//! Two locks: `pieces` is what I/Os are looked up in, held for moments; `table` is held while the
//! kernel is told, which may take as long as pinning memory does, and `pieces` may be taken
//! meanwhile.

use super::Ring;
use crate::driver::{Io, Segment};
use crate::sync::{Mutex, RwLock};
use crate::sys::Outside;

/// Most pieces, over all regions.
const PIECES_MAX: u16 = 1024;
/// The kernel takes no larger one.
const PIECE_BYTES_MAX: usize = 1 << 30;

#[derive(Default)]
pub struct FixedBuffers {
    /// By address, with their places in the kernel's table.
    pieces: RwLock<Vec<(Segment, u16)>>,
    table: Mutex<Table>,
}

#[derive(Default)]
enum Table {
    #[default]
    Untried,
    Refused,
    /// The places that are free.
    There(Vec<u16>),
}

impl Ring {
    /// Has the kernel map `region`, as far as it will. The memory must stay, and stay where it is,
    /// until `unregister_memory` or the end of the ring.
    pub fn register_memory(&self, region: Segment) {
        let submitter = self.kernel.ring.submitter();
        let mut table = self.fixed.table.lock();
        if matches!(*table, Table::Untried) {
            let admitted = self.admit(Outside::RingRegister);
            let places = u32::from(PIECES_MAX);
            *table = match admitted.and_then(|()| submitter.register_buffers_sparse(places)) {
                Ok(()) => Table::There((0..PIECES_MAX).rev().collect()),
                Err(_) => Table::Refused,
            };
        }
        let Table::There(free) = &mut *table else { return };
        let end = region.address + region.bytes;
        for address in (region.address..end).step_by(PIECE_BYTES_MAX) {
            let Some(place) = free.pop() else { return };
            let piece = Segment { address, bytes: (end - address).min(PIECE_BYTES_MAX) };
            let iovec = libc::iovec { iov_base: piece.address as *mut _, iov_len: piece.bytes };
            // SAFETY: the caller of the library promises that the memory stays while it is
            // registered; the kernel pins its pages.
            let told = self.admit(Outside::RingRegister).and_then(|()| unsafe {
                submitter.register_buffers_update(u32::from(place), &[iovec], None)
            });
            if told.is_err() {
                free.push(place);
                return;
            }
            let mut pieces = self.fixed.pieces.write();
            let at = pieces.partition_point(|(other, _)| other.address < address);
            pieces.insert(at, (piece, place));
        }
    }

    /// The counterpart. The kernel lets the pages go when no I/O uses them any more.
    pub fn unregister_memory(&self, region: Segment) {
        let mut table = self.fixed.table.lock();
        let Table::There(free) = &mut *table else { return };
        let end = region.address + region.bytes;
        let inside = |piece: &Segment| (region.address..end).contains(&piece.address);
        let mut gone = Vec::new();
        self.fixed.pieces.write().retain(|(piece, place)| {
            if inside(piece) {
                gone.push(*place);
            }
            !inside(piece)
        });
        for place in gone {
            let nothing = libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 };
            let submitter = self.kernel.ring.submitter();
            // SAFETY: names no memory.
            let told =
                unsafe { submitter.register_buffers_update(u32::from(place), &[nothing], None) };
            if told.is_ok() {
                free.push(place);
            }
        }
    }

    /// The place of the piece that all of the I/O's memory lies in, if that is one segment. Linux
    /// takes no atomic write from such memory.
    pub fn fixed_buffer(&self, io: &Io) -> Option<u16> {
        let (&[segment], false) = (io.segments.as_slice(), io.atomic) else { return None };
        let pieces = self.fixed.pieces.read();
        let at = pieces.partition_point(|(piece, _)| piece.address <= segment.address);
        let (piece, place) = pieces[at.checked_sub(1)?];
        let inside = segment.address + segment.bytes <= piece.address + piece.bytes;
        inside.then_some(place)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;

    use smallvec::smallvec;

    use super::*;
    use crate::driver::Op;
    use crate::engine::ring_tests::{file, io, only, reap, Memory};

    const PAGE: usize = 4096;

    fn ring_on(contents: &[u8]) -> Option<(Ring, std::fs::File)> {
        let file = file(contents);
        let ring =
            Ring::new(only(&file), 4).inspect_err(|error| eprintln!("skipped: {error}")).ok()?;
        Some((ring, file))
    }

    /// The engine's own way of finding it out, then one I/O.
    fn run(ring: &Ring, mut io: Io) -> Result<u64, i32> {
        io.buffer = ring.fixed_buffer(&io);
        ring.submit(&mut vec![io]);
        reap(ring, 1).pop().unwrap().1
    }

    fn fill(segment: Segment, byte: u8) {
        // SAFETY: the test's own memory.
        unsafe { std::ptr::write_bytes(segment.address as *mut u8, byte, segment.bytes) };
    }

    /// Where other pages take the place of registered ones, I/O still goes to those.
    #[test]
    fn the_kernel_uses_the_pages_that_were_registered() {
        let Some((ring, file)) = ring_on(&[5; PAGE]) else { return };
        let (protection, flags) =
            (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        let nowhere = std::ptr::null_mut();
        // SAFETY: new memory.
        let address = unsafe { libc::mmap(nowhere, PAGE, protection, flags, -1, 0) };
        assert_ne!(address, libc::MAP_FAILED);
        let region = Segment { address: address as usize, bytes: PAGE };
        fill(region, 1);
        ring.register_memory(region);
        let write = io(0, Op::Write, 0, smallvec![region]);
        if ring.fixed_buffer(&write).is_none() {
            eprintln!("skipped: the kernel registers no memory here");
            return;
        }
        let again = flags | libc::MAP_FIXED;
        // SAFETY: takes the place of memory that nobody else uses.
        let moved = unsafe { libc::mmap(address, PAGE, protection, again, -1, 0) };
        assert_eq!(moved, address);
        fill(region, 2);
        let byte = || {
            let mut found = [0; PAGE];
            file.read_exact_at(&mut found, 0).unwrap();
            assert_eq!(found, [found[0]; PAGE]);
            found[0]
        };
        assert_eq!(run(&ring, write.clone()), Ok(PAGE as u64));
        assert_eq!(byte(), 1);
        file.write_all_at(&[7; PAGE], 0).unwrap();
        let read = io(0, Op::Read, 0, smallvec![region]);
        assert_eq!(run(&ring, read), Ok(PAGE as u64));
        // It went to the page that the kernel has, which nobody else can see: so back with it.
        assert_eq!(run(&ring, write.clone()), Ok(PAGE as u64));
        assert_eq!(byte(), 7);
        ring.unregister_memory(region);
        assert_eq!(ring.fixed_buffer(&write), None);
        assert_eq!(run(&ring, write), Ok(PAGE as u64));
        assert_eq!(byte(), 2);
        // SAFETY: as mapped above, and not used any more.
        unsafe { libc::munmap(address, PAGE) };
    }

    #[test]
    fn only_one_segment_inside_one_region_is_found() {
        let Some((ring, _file)) = ring_on(&[5; PAGE]) else { return };
        let memory = Memory::new(8 * PAGE, PAGE);
        ring.register_memory(memory.segment(PAGE, 2 * PAGE));
        ring.register_memory(memory.segment(4 * PAGE, 2 * PAGE));
        let place = |from, bytes| {
            let segments = smallvec![memory.segment(from, bytes)];
            ring.fixed_buffer(&io(0, Op::Write, 0, segments))
        };
        if place(PAGE, PAGE).is_none() {
            eprintln!("skipped: the kernel registers no memory here");
            return;
        }
        assert_eq!(place(PAGE, 2 * PAGE), place(2 * PAGE + 7, 100));
        assert_eq!(place(4 * PAGE, 2 * PAGE), place(6 * PAGE - 1, 1));
        assert_ne!(place(PAGE, 1), place(4 * PAGE, 1));
        for (from, bytes) in [(0, PAGE), (0, 2 * PAGE), (2 * PAGE, PAGE + 1), (6 * PAGE, 1)] {
            assert_eq!(place(from, bytes), None);
        }
        let one = memory.segment(PAGE, 512);
        let two = smallvec![one, memory.segment(4 * PAGE, 512)];
        assert_eq!(ring.fixed_buffer(&io(0, Op::Write, 0, two)), None);
        let atomic = Io { atomic: true, ..io(0, Op::Write, 0, smallvec![one]) };
        assert_eq!(ring.fixed_buffer(&atomic), None);
        // Places are used again.
        for _ in 0..2 * PIECES_MAX {
            ring.unregister_memory(memory.segment(PAGE, 2 * PAGE));
            ring.register_memory(memory.segment(PAGE, 2 * PAGE));
        }
        assert!(place(PAGE, PAGE).is_some());
    }
}
