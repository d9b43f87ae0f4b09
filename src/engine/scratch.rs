//! Scratch memory: aligned pieces, kept for reuse while there is work and given back after it.
//!
//! Invariant: a piece is either in `kept` or with the caller of `take`, never both.

use std::alloc::{alloc, alloc_zeroed, dealloc, Layout};

use super::copy::run_copies;
use crate::driver::{MemoryCopy, Segment};
use crate::sync;
use blkalign_machine::{Scratch, ScratchPool};

/// Most bytes kept for reuse while requests are in flight, and when none is.
const KEPT_BUSY_MAX: usize = 1 << 20;
const KEPT_IDLE_MAX: usize = 32 << 10;
const PIECE_MIN: usize = 4096;
/// Fewest bytes of zeros. More are not needed but for larger blocks: the vector of a zero write
/// names the same zeros again and again.
const ZEROS_MIN: usize = 64 << 10;

#[derive(Default)]
pub struct ScratchCache {
    kept: Vec<Scratch>,
    kept_bytes: usize,
    taken: usize,
    /// Memory that is zero and stays: one piece, or a few if handles differ in what they need.
    zeros: Vec<Scratch>,
}

impl ScratchPool for ScratchCache {
    fn take(&mut self, bytes: usize, alignment: usize) -> Option<Scratch> {
        let bytes = bytes.max(PIECE_MIN).next_power_of_two();
        let alignment = alignment.max(PIECE_MIN);
        let fits = |piece: &Scratch| piece.bytes == bytes && piece.alignment >= alignment;
        let piece = match self.kept.iter().rposition(fits) {
            Some(at) => {
                let piece = self.kept.swap_remove(at);
                self.kept_bytes -= piece.bytes;
                piece
            }
            None => allocate(bytes, alignment)?,
        };
        self.taken += 1;
        Some(piece)
    }

    fn give(&mut self, scratch: Scratch) {
        self.taken -= 1;
        let kept_max = if self.taken == 0 { KEPT_IDLE_MAX } else { KEPT_BUSY_MAX };
        self.kept_bytes += scratch.bytes;
        self.kept.push(scratch);
        while self.kept_bytes > kept_max {
            let Some(piece) = self.kept.pop() else { return };
            self.kept_bytes -= piece.bytes;
            release(piece);
        }
    }

    fn zeros(&mut self, bytes: usize, alignment: usize) -> Option<Segment> {
        let fits = |piece: &&Scratch| piece.bytes >= bytes && piece.alignment >= alignment;
        if let Some(piece) = self.zeros.iter().find(fits) {
            return Some(Segment { address: piece.address, bytes: piece.bytes });
        }
        let bytes = bytes.max(ZEROS_MIN).next_power_of_two();
        let layout = Layout::from_size_align(bytes, alignment.max(PIECE_MIN)).ok()?;
        // SAFETY: the layout is not empty: `bytes` is at least ZEROS_MIN.
        let address = unsafe { alloc_zeroed(layout) } as usize;
        if address == 0 {
            return None;
        }
        self.zeros.push(Scratch { address, bytes, alignment: layout.align() });
        Some(Segment { address, bytes })
    }

    fn copy(&mut self, copy: MemoryCopy) {
        run_copies(&[copy]);
    }
}

impl Drop for ScratchCache {
    fn drop(&mut self) {
        sync::must_hold(|| self.taken == 0, "scratch is given back before its node ends");
        self.kept.drain(..).for_each(release);
        self.zeros.drain(..).for_each(release);
    }
}

fn allocate(bytes: usize, alignment: usize) -> Option<Scratch> {
    let layout = Layout::from_size_align(bytes, alignment).ok()?;
    // SAFETY: the layout is not empty: `bytes` is at least PIECE_MIN.
    let address = unsafe { alloc(layout) } as usize;
    (address != 0).then_some(Scratch { address, bytes, alignment })
}

fn release(piece: Scratch) {
    let layout = Layout::from_size_align(piece.bytes, piece.alignment).expect("as allocated");
    // SAFETY: `piece` came from `allocate` with this layout, and was moved here, so that no other
    // code has it.
    unsafe { dealloc(piece.address as *mut u8, layout) }
}

#[cfg(test)]
#[path = "scratch_tests.rs"]
mod tests;
