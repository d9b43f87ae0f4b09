//! What a handle tells of its storage and of itself.

use super::Engine;
use crate::handle::Handle;
pub use crate::probe::Source;
use blkalign_machine::Stats as Counters;

/// What storage requires and can do. All sizes and alignments are bytes.
///
/// ```no_run
/// let disk = blkalign::OpenOptions::new().direct(true).open("/dev/nvme0n1")?;
/// let limits = disk.limits();
/// let (bytes, source) = (limits.request_alignment, limits.request_alignment_source);
/// println!("blocks of {bytes} (said by {source})");
/// # Ok::<(), blkalign::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Alignment of offset and total length of every I/O at the storage. The library rounds
    /// requests out to it.
    pub request_alignment: u32,
    /// Alignment of memory addresses that the storage takes without a copy.
    pub mem_alignment: u32,
    /// Alignment of lengths of single pieces of memory that the storage takes without a copy.
    pub segment_alignment: u32,
    /// Who said what `request_alignment` is.
    pub request_alignment_source: Source,
    /// Who said what `mem_alignment` is.
    pub mem_alignment_source: Source,
    /// Who said what `segment_alignment` is.
    pub segment_alignment_source: Source,
    /// Smallest unit that the device below can address. 0: not known.
    pub logical_block_size: u32,
    /// Unit that the device below writes in one piece. 0: not known.
    pub physical_block_size: u32,
    /// Length of a single I/O that the storage handles best. 0: not known.
    pub opt_transfer: u32,
    /// Greatest length of a single I/O. 0: no limit known. The library splits longer requests.
    pub max_transfer: u32,
    /// Greatest number of pieces of memory in one I/O. 0: no limit known.
    pub max_segments: u32,
    /// Unit in which the storage discards. 0: not known.
    pub discard_alignment: u32,
    /// Unit in which the storage makes zeros. 0: not known.
    pub write_zeroes_alignment: u32,
    /// Length of the longest write that is all or nothing across a loss of power. 0: nothing beyond
    /// the logical block is promised.
    pub atomic_write_unit_max: u32,
    /// O_DIRECT is in use.
    pub direct: bool,
    /// The engine in use, never [`Engine::Auto`].
    pub engine: Engine,
}

/// Counters of one disk or one queue since it was opened.
///
/// ```
/// # let path = std::env::temp_dir().join(format!("blkalign-stats-{}", std::process::id()));
/// # std::fs::write(&path, [0; 8192]).unwrap();
/// let disk = blkalign::OpenOptions::new().open(&path)?;
/// disk.read_at(&mut [0; 100], 1)?;
/// assert_eq!((disk.stats().reads, disk.stats().bytes_read), (1, 100));
/// # std::fs::remove_file(&path).unwrap();
/// # Ok::<(), blkalign::Error>(())
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Reads that were submitted, finished or not.
    pub reads: u64,
    /// Writes that were submitted.
    pub writes: u64,
    /// Zero writes that were submitted.
    pub write_zeroes: u64,
    /// Discards that were submitted.
    pub discards: u64,
    /// Flushes that were submitted.
    pub flushes: u64,
    /// Bytes that callers asked to read.
    pub bytes_read: u64,
    /// Bytes that callers asked to write.
    pub bytes_written: u64,
    /// Requests of which every byte moved between caller's memory and storage without a copy.
    pub zero_copy: u64,
    /// Requests of which at least one byte was copied.
    pub bounced: u64,
    /// Requests that needed a read-modify-write.
    pub rmw: u64,
    /// Edge reads that went to the storage.
    pub rmw_reads: u64,
    /// Edge reads that were saved.
    pub rmw_reads_skipped: u64,
    /// Writes that went out as a part of another request's write.
    pub merged: u64,
    /// Requests that waited for an overlapping request.
    pub waits: u64,
    /// Reads at the storage.
    pub storage_reads: u64,
    /// Writes at the storage.
    pub storage_writes: u64,
    /// Requests that failed. Requests that were cancelled do not count.
    pub errors: u64,
    /// Requests that were submitted and are not done yet.
    pub in_flight: u64,
    /// How often the storage refused an alignment that it had accepted before.
    pub probe_repairs: u64,
    /// Requests that a [`Throttle`](crate::Throttle) held.
    pub throttled: u64,
    /// For how many nanoseconds, all of them together.
    pub throttled_ns: u64,
}

pub fn limits_of(handle: &Handle) -> Limits {
    let limits = handle.limits();
    Limits {
        // Alignments are at most 1 MiB.
        request_alignment: limits.alignments.request as u32,
        mem_alignment: limits.alignments.memory as u32,
        segment_alignment: limits.alignments.segment as u32,
        request_alignment_source: limits.sources.request,
        mem_alignment_source: limits.sources.memory,
        segment_alignment_source: limits.sources.segment,
        logical_block_size: limits.logical_block_size,
        physical_block_size: limits.physical_block_size,
        opt_transfer: limits.opt_transfer,
        max_transfer: limits.max_transfer,
        max_segments: limits.max_segments,
        discard_alignment: limits.discard_alignment,
        write_zeroes_alignment: limits.write_zeroes_alignment,
        atomic_write_unit_max: limits.atomic_write_unit_max,
        direct: limits.direct,
        engine: handle.engine(),
    }
}

pub fn stats_of(handle: &Handle) -> Stats {
    let Counters {
        reads,
        writes,
        write_zeroes,
        discards,
        flushes,
        bytes_read,
        bytes_written,
        zero_copy,
        bounced,
        rmw,
        rmw_reads,
        rmw_reads_skipped,
        merged,
        waits,
        storage_reads,
        storage_writes,
        errors,
        in_flight,
        probe_repairs,
    } = handle.stats();
    let (throttled, throttled_ns) = handle.throttled();
    Stats {
        reads,
        writes,
        write_zeroes,
        discards,
        flushes,
        bytes_read,
        bytes_written,
        zero_copy,
        bounced,
        rmw,
        rmw_reads,
        rmw_reads_skipped,
        merged,
        waits,
        storage_reads,
        storage_writes,
        errors,
        in_flight,
        probe_repairs,
        throttled,
        throttled_ns,
    }
}
