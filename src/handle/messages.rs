//! What the log is told about a handle that opens or closes.

use super::{EngineKind, Handle, Options};
use crate::log;
use crate::probe::Limits;

/// A handle has been opened.
pub fn opened(handle: &Handle, options: &Options) {
    let Handle { queue, limits, .. } = handle;
    let name = &queue.name;
    log::info!(
        "{name}: open for {}, {} bytes, engine {}, {}; {}",
        if handle.writable { "reading and writing" } else { "reading" },
        handle.length(),
        if handle.engine() == EngineKind::IoUring { "io_uring" } else { "threads" },
        if limits.direct { "O_DIRECT" } else { "no O_DIRECT" },
        alignments(limits),
    );
    let overrides = [
        ("request_alignment", options.request_alignment),
        ("mem_alignment", options.mem_alignment),
        ("segment_alignment", options.segment_alignment),
    ];
    for (what, bytes) in overrides.into_iter().filter(|(_, bytes)| *bytes != 0) {
        log::info!("{name}: {what} {bytes} comes from the options, not from the storage");
    }
    log::debug!("{name}: {options:?}");
    log::debug!("{name}: {limits:?}");
}

fn alignments(limits: &Limits) -> String {
    format!(
        "request_alignment {} ({}), mem_alignment {} ({}), segment_alignment {} ({})",
        limits.request_alignment,
        limits.request_alignment_source,
        limits.mem_alignment,
        limits.mem_alignment_source,
        limits.segment_alignment,
        limits.segment_alignment_source,
    )
}

/// Nothing is in flight any more; the handle is about to go.
pub fn closing(handle: &Handle) {
    let queue = &handle.queue;
    queue.say_rest_left_out();
    if !log::wants(log::Level::Info) {
        return;
    }
    let stats = handle.stats();
    log::info!(
        "{}: closed after {} reads, {} writes and {} flushes; {} requests failed",
        queue.name,
        stats.reads,
        stats.writes,
        stats.flushes,
        stats.errors,
    );
}
