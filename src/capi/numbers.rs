//! The numbers of `<blkalign.h>` and what they are called inside the library, both ways. What a
//! number means is decided here alone: the library's own names have no numbers that could differ.

use std::ffi::c_int;

use super::checks::invalid;
pub use crate::driver::kind_number;
use crate::driver::{BlockStatus, Op};
use crate::handle::{CompletionMode, EngineKind};
use crate::header::*;
use crate::log::Level;
use crate::probe::Source;
use crate::sys::Error;

pub fn engine_of(number: u32) -> Result<EngineKind, Error> {
    match number {
        BLKALIGN_ENGINE_AUTO => Ok(EngineKind::Auto),
        BLKALIGN_ENGINE_THREADS => Ok(EngineKind::Threads),
        BLKALIGN_ENGINE_IO_URING => Ok(EngineKind::IoUring),
        _ => Err(invalid(format!("blkalign_open_options: unknown engine {number}"))),
    }
}

pub fn completion_of(number: u32) -> Result<CompletionMode, Error> {
    match number {
        BLKALIGN_COMPLETION_SERIAL => Ok(CompletionMode::Serial),
        BLKALIGN_COMPLETION_CONCURRENT => Ok(CompletionMode::Concurrent),
        BLKALIGN_COMPLETION_EVENTFD => Ok(CompletionMode::Eventfd),
        _ => Err(invalid(format!("blkalign_open_options: unknown completion mode {number}"))),
    }
}

pub fn engine_number(kind: EngineKind) -> u32 {
    match kind {
        EngineKind::Auto => BLKALIGN_ENGINE_AUTO,
        EngineKind::Threads => BLKALIGN_ENGINE_THREADS,
        EngineKind::IoUring => BLKALIGN_ENGINE_IO_URING,
    }
}

pub fn source_number(source: Source) -> u32 {
    match source {
        Source::Default => BLKALIGN_SOURCE_DEFAULT,
        Source::Override => BLKALIGN_SOURCE_OVERRIDE,
        Source::Statx => BLKALIGN_SOURCE_STATX,
        Source::Dioinfo => BLKALIGN_SOURCE_DIOINFO,
        Source::Blksszget => BLKALIGN_SOURCE_BLKSSZGET,
        Source::Trial => BLKALIGN_SOURCE_TRIAL,
        Source::Driver => BLKALIGN_SOURCE_DRIVER,
        Source::Integrity => BLKALIGN_SOURCE_INTEGRITY,
    }
}

/// The kind of request that a number of `BLKALIGN_OP_*` names, if it names one.
pub fn kind_of(number: u32) -> Option<Op> {
    let kinds = [Op::Read, Op::Write, Op::WriteZeroes, Op::Discard, Op::Flush];
    kinds.into_iter().find(|kind| kind_number(*kind) == number)
}

pub fn status_number(status: BlockStatus) -> u32 {
    match status {
        BlockStatus::Data => BLKALIGN_STATUS_DATA,
        BlockStatus::Zero => BLKALIGN_STATUS_ZERO,
        BlockStatus::Hole => BLKALIGN_STATUS_HOLE,
    }
}

pub fn level_of(number: c_int) -> Result<Level, Error> {
    let levels = [Level::Error, Level::Warning, Level::Info, Level::Debug];
    let level = levels.into_iter().find(|level| level_number(*level) == number);
    level.ok_or_else(|| invalid(format!("{number} is not a log level; see BLKALIGN_LOG_*")))
}

pub fn level_number(level: Level) -> c_int {
    let number = match level {
        Level::Error => BLKALIGN_LOG_ERROR,
        Level::Warning => BLKALIGN_LOG_WARNING,
        Level::Info => BLKALIGN_LOG_INFO,
        Level::Debug => BLKALIGN_LOG_DEBUG,
    };
    number as c_int
}

#[cfg(test)]
#[path = "numbers_tests.rs"]
mod tests;
