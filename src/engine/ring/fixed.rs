//! Memory that a caller has registered, as io_uring's fixed buffers: the kernel pins and maps it
//! once and not for each I/O. Where the kernel has no such table, or RLIMIT_MEMLOCK no room, I/O is
//! plain.
//!
//! There are two locks. `pieces` guards the list in which I/Os are looked up, and is held for
//! moments. `table` is held while the kernel is told, which takes as long as pinning memory does;
//! `pieces` may be taken meanwhile.

use super::Ring;
use crate::driver::{Io, Segment};
use crate::sync::{Mutex, RwLock};

/// Most pieces, over all regions.
pub(super) const PIECES_MAX: u16 = 1024;
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
            *table = match submitter.register_buffers_sparse(u32::from(PIECES_MAX)) {
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
            let told =
                unsafe { submitter.register_buffers_update(u32::from(place), &[iovec], None) };
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
