//! What a handle is opened with, and which of these options can go together.

use super::bounds::{check_alignment, check_range, invalid, REQUEST_END_MAX};
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

/// What a handle is opened with. The doors read it, `check` judges it.
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
        self.check_alignments()?;
        check_range(self.window_offset, self.window_length)
            .map_err(|_| invalid(format!("the window reaches beyond {REQUEST_END_MAX}")))?;
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

    fn check_alignments(&self) -> Result<(), Error> {
        let Alignments { request, memory, segment } = self.alignments;
        for (name, alignment) in [
            ("request_alignment", request),
            ("mem_alignment", memory as u64),
            ("segment_alignment", segment as u64),
            ("guest_block_size", u64::from(self.guest_block_size)),
        ] {
            check_alignment(name, u32::try_from(alignment).unwrap_or(u32::MAX))?;
        }
        if request != 0 && segment as u64 > request {
            return Err(invalid(format!(
                "segment_alignment {segment} is above request_alignment {request}"
            )));
        }
        Ok(())
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
