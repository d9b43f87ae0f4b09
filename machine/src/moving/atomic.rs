//! Writes with a torn-read promise on storage that can write more than its block at once, all or
//! nothing, through a loss of power. Such a write is cut into I/Os that the storage can write that
//! way: each is a power of two long, aligned to its length, and one piece of memory. That is what
//! Linux wants of RWF_ATOMIC. What is not one piece in the guest's memory is brought together in
//! scratch. The I/Os cover whole units of the promise wherever the request does. Pure arithmetic.
//!
//! Example (blocks of 512, promise of 4096, at most 16384): a write of [2048, 40960) goes out as
//! [2048, 4096), [4096, 8192), [8192, 16384), [16384, 32768), [32768, 40960).

use super::SCRATCH_PER_IO_MAX;
use crate::io::{MemoryCopy, Op, Segment};
use crate::splice::{advance, Cursor, Layout, IN_SCRATCH};
use crate::table::Entry;
use crate::QueueConfig;

/// How long the next I/O of such a write is. None: the request is no such write, or the next I/O is
/// in the last, partial block.
pub fn atomic_bytes<T>(entry: &Entry<T>, config: &QueueConfig) -> Option<u64> {
    let request = &entry.request;
    let block = config.alignments.request;
    let most = config.atomic_write_max.min(config.max_transfer);
    let promised = request.guest_block > block && request.guest_block <= most;
    // All bytes of the I/O may have to be brought together in scratch.
    let most = most.min((SCRATCH_PER_IO_MAX as u64).max(request.guest_block));
    let at = entry.cursor.position;
    if !promised || request.op != Op::Write || at >= config.last_block {
        return None;
    }
    let end = entry.end().min(config.last_block).next_multiple_of(block);
    let most = 1 << most.ilog2();
    let natural = if at == 0 { most } else { (1 << at.trailing_zeros()).min(most) };
    let left = end - at;
    Some(natural.min(1 << left.ilog2()))
}

/// The next I/O, of `bytes` from the cursor on.
pub fn lay_out_atomic<T>(entry: &mut Entry<T>, config: &QueueConfig, bytes: u64) -> Layout {
    let (at, block) = (entry.cursor.position, config.alignments.request);
    let start = entry.request.offset;
    let end = entry.end().min(config.last_block);
    let (from, to) = (at.max(start), (at + bytes).min(end));
    let mut layout = Layout { bytes, ..Layout::default() };
    let elements = &entry.request.segments;
    let first = elements[entry.cursor.element];
    let address = first.address + entry.cursor.skip;
    let whole = from == at && to == at + bytes;
    let direct = whole
        && (first.bytes - entry.cursor.skip) as u64 >= bytes
        && address.is_multiple_of(config.alignments.memory);
    if direct {
        layout.push(address, bytes as usize);
    } else {
        layout.push(IN_SCRATCH, bytes as usize);
        layout.scratch_bytes = bytes as usize;
        // The blocks that are edges first, then the guest's own bytes over them.
        let mut image = |image: Option<usize>, of: u64| {
            let inside = of >= at && of < at + bytes;
            if let (Some(image), true) = (image, inside) {
                let to = IN_SCRATCH | (of - at) as usize;
                layout.copies.push(MemoryCopy { from: image, to, bytes: block as usize });
            }
        };
        image(entry.head_image, start & !(block - 1));
        image(entry.tail_image.filter(|_| !end.is_multiple_of(block)), end & !(block - 1));
        copy_guest(elements, entry.cursor, (from - at) as usize, (to - from) as usize, &mut layout);
    }
    advance(elements, &mut entry.cursor, to - from);
    entry.cursor.position = at + bytes;
    layout
}

fn copy_guest(elements: &[Segment], cursor: Cursor, at: usize, bytes: usize, layout: &mut Layout) {
    let (mut element, mut skip) = (cursor.element, cursor.skip);
    let (mut at, mut left) = (at, bytes);
    while left > 0 {
        let segment = elements[element];
        let piece = (segment.bytes - skip).min(left);
        let from = segment.address + skip;
        layout.copies.push(MemoryCopy { from, to: IN_SCRATCH | at, bytes: piece });
        (at, left) = (at + piece, left - piece);
        (element, skip) = (element + 1, 0);
    }
}
