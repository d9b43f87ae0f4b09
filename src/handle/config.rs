//! What the request machine is told of a handle: limits of the storage and options, put together.

use super::storage::Storage;
use super::Options;
use crate::probe::{Limits, Source};
use blkalign_machine::{QueueConfig, Suspected};

/// Most bytes in one I/O, whatever the storage says: the kernel itself stops a little below 2 GiB.
const TRANSFER_MAX: u64 = 1 << 30;
/// Most bytes of a file in one I/O that moves no data. Punching a hole costs by what lies there,
/// not by how long the hole is. Of a device it is `TRANSFER_MAX`, since a disk may take long over
/// each I/O.
const DATALESS_MAX: u64 = 1 << 62;
/// A zero write or a discard that has more than this left to ask for may seem to take for ever. A
/// cancel stops such a request half way.
const ENDLESS: u64 = 16 << 30;
/// Most elements in one vector: IOV_MAX.
const SEGMENTS_MAX: usize = 1024;

/// What the request machine has to know of a handle on this storage.
pub fn queue_config(limits: &Limits, storage: &Storage, options: &Options) -> QueueConfig {
    let config = config_for(limits, storage.cache_unit(), options);
    match storage.file() {
        Some(driver) if !driver.is_device() => QueueConfig { dataless_max: DATALESS_MAX, ..config },
        _ => config,
    }
}

/// `cache_unit`: what the page cache works in, for a file or device; None for a caller's driver.
fn config_for(limits: &Limits, cache_unit: Option<u64>, options: &Options) -> QueueConfig {
    let block = limits.alignments.request;
    let unit = cache_unit.unwrap_or(block).max(block);
    let in_page_cache = cache_unit.is_some() && !limits.direct;
    let transfer = match limits.max_transfer {
        0 => TRANSFER_MAX,
        bytes => u64::from(bytes).min(TRANSFER_MAX),
    };
    let max_transfer = (transfer & !(block - 1)).max(block);
    QueueConfig {
        alignments: limits.alignments,
        max_transfer,
        max_segments: match limits.max_segments {
            0 => SEGMENTS_MAX,
            segments => (segments as usize).min(SEGMENTS_MAX),
        },
        depth: options.depth(),
        // A whole unit. Else a direct write might touch a part of a unit that the page cache is
        // just writing back, and the two writes would undo each other.
        last_unit: if cache_unit.is_some() { unit } else { 0 },
        last_block: u64::MAX,
        // The page cache itself reads, modifies and writes whole units, so buffered handles exclude
        // each other by these.
        granule: if in_page_cache { unit } else { block },
        // The kernel pins and maps one page more for each element.
        copy_edges: cache_unit.is_some(),
        suspected: match cache_unit {
            // A driver has EIOs of its own, and is not to get trial reads because of them.
            None => Suspected::Invalid,
            Some(_) if limits.direct => Suspected::InvalidOrError,
            Some(_) => Suspected::Nothing,
        },
        no_flush: options.no_flush,
        no_merge: options.no_merge,
        resize: options.resize,
        unmap: options.unmap,
        discard_alignment: common_multiple(limits.discard_alignment, block),
        // What a device says about transfers is about data. A caller's driver was promised that no
        // call at all is longer.
        dataless_max: match cache_unit {
            Some(_) => TRANSFER_MAX.max(block),
            None => max_transfer,
        },
        endless: ENDLESS,
        atomic_write_max: u64::from(limits.atomic_write_unit_max),
    }
}

/// The least common multiple of a block and of what the storage discards in one `piece` (0: it does
/// not say).
fn common_multiple(piece: u32, block: u64) -> u64 {
    let piece = u64::from(piece.max(1));
    // Blocks are powers of two.
    let common = 1 << piece.trailing_zeros().min(block.trailing_zeros());
    piece / common * block
}

/// Puts the alignments of the options over those of a caller's driver. No alignment becomes less
/// than the driver's own: the driver was promised that.
pub fn override_alignments(limits: &mut Limits, options: &Options) {
    fn raise<T: PartialOrd>(ours: &mut T, source: &mut Source, wanted: T) {
        if wanted > *ours {
            *ours = wanted;
            *source = Source::Override;
        }
    }
    let Limits { alignments, sources, .. } = limits;
    raise(&mut alignments.memory, &mut sources.memory, options.alignments.memory);
    raise(&mut alignments.segment, &mut sources.segment, options.alignments.segment);
    let request = options.alignments.request.max(alignments.segment as u64);
    raise(&mut alignments.request, &mut sources.request, request);
}

#[cfg(test)]
#[path = "config_tests.rs"]
mod tests;
