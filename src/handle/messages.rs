//! What the log is told about a handle that opens or closes.

use super::{EngineKind, Handle, Options};
use crate::log;
use crate::node::tell_rest_left_out;
use crate::probe::Limits;
use crate::sys::count_copies;

/// A handle has been opened.
pub fn opened(handle: &Handle, options: &Options) {
    let Handle { endpoint, limits, .. } = handle;
    let name = &endpoint.name;
    log::info!(
        "{name}: open for {}, {} bytes, engine {}, {}; {}",
        if handle.writable { "reading and writing" } else { "reading" },
        handle.length(),
        if handle.engine() == EngineKind::IoUring { "io_uring" } else { "threads" },
        if limits.direct { "O_DIRECT" } else { "no O_DIRECT" },
        alignments(limits),
    );
    let overrides = [
        ("request_alignment", options.alignments.request),
        ("mem_alignment", options.alignments.memory as u64),
        ("segment_alignment", options.alignments.segment as u64),
    ];
    for (what, bytes) in overrides.into_iter().filter(|(_, bytes)| *bytes != 0) {
        log::info!("{name}: {what} {bytes} comes from the options, not from the storage");
    }
    if log::wants(log::Level::Warning) && count_copies() > 1 {
        log::warning!(
            "{name}: this process has {} copies of libblkalign; an object can be open in one of \
             them only",
            count_copies()
        );
    }
    log::debug!("{name}: {options:?}");
    log::debug!("{name}: {limits:?}");
}

fn alignments(limits: &Limits) -> String {
    format!(
        "request_alignment {} ({}), mem_alignment {} ({}), segment_alignment {} ({})",
        limits.alignments.request,
        limits.sources.request,
        limits.alignments.memory,
        limits.sources.memory,
        limits.alignments.segment,
        limits.sources.segment,
    )
}

/// Nothing is in flight any more, and the handle is about to go.
pub fn closing(handle: &Handle) {
    let endpoint = &handle.endpoint;
    tell_rest_left_out(endpoint);
    if !log::wants(log::Level::Info) {
        return;
    }
    let stats = handle.stats();
    log::info!(
        "{}: closed after {} reads, {} writes and {} flushes; {} requests failed",
        endpoint.name,
        stats.reads,
        stats.writes,
        stats.flushes,
        stats.errors,
    );
}
