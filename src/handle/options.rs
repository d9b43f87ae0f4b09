//! What a handle is opened with, and which of these options can go together.

use crate::completion::CompletionMode;
use crate::driver::{Alignments, FileOptions, Use};
use crate::sys::Error;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum EngineKind {
    #[default]
    Auto,
    Threads,
    IoUring,
}

/// `blkalign_open_options`, already checked for form (size, unknown bits, powers of two).
#[derive(Debug, Clone, Default)]
pub struct Options {
    pub writable: bool,
    pub direct: bool,
    pub buffered_ok: bool,
    pub create: bool,
    pub resize: bool,
    pub unmap: bool,
    pub writethrough: bool,
    pub no_flush: bool,
    pub stable_writes: bool,
    pub no_merge: bool,
    pub lock: bool,
    pub engine: EngineKind,
    pub completion: CompletionMode,
    pub workers: u32,
    pub queue_depth: u32,
    /// What the caller insists on; 0: what the storage says.
    pub alignments: Alignments,
    pub guest_block_size: u32,
    pub window_offset: u64,
    pub window_length: u64,
}

const WORKERS_MAX: u32 = 1024;
const QUEUE_DEPTH_DEFAULT: u32 = 64;
const QUEUE_DEPTH_MAX: u32 = 65536;

impl Options {
    /// Refuses values that are out of bounds, and options that exclude each other.
    pub fn check(&self) -> Result<(), Error> {
        if self.resize && (self.window_offset != 0 || self.window_length != 0) {
            let words = "BLKALIGN_O_RESIZE and a window exclude each other";
            return Err(Error::new(libc::EINVAL, words));
        }
        let bounds = [
            ("workers", self.workers, WORKERS_MAX),
            ("queue_depth", self.queue_depth, QUEUE_DEPTH_MAX),
        ];
        match bounds.iter().find(|(_, value, max)| value > max) {
            Some((what, value, max)) => {
                let words = format!("{what} is {value}, and may be at most {max}");
                Err(Error::new(libc::EINVAL, words))
            }
            None => Ok(()),
        }
    }

    pub fn depth(&self) -> usize {
        match self.queue_depth {
            0 => QUEUE_DEPTH_DEFAULT as usize,
            depth => depth as usize,
        }
    }

    /// How the file is locked; None: not at all.
    pub fn image_lock(&self) -> Option<Use> {
        self.lock.then_some(match (self.writable, self.resize) {
            (false, _) => Use::Read,
            (true, false) => Use::Write,
            (true, true) => Use::Resize,
        })
    }

    pub fn file_options(&self) -> FileOptions {
        FileOptions {
            writable: self.writable,
            direct: self.direct,
            buffered_ok: self.buffered_ok,
            create: self.create,
            resize: self.resize,
            alignments: self.alignments,
        }
    }
}
