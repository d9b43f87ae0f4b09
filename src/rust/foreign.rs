//! Storage whose driver is in C, for programs in Rust that are built together with that driver: the
//! vhost-user-blk daemon with librbd. Not a part of the interface.

use std::ffi::{c_int, CStr};

use super::open_handle::OpenHandle;
use super::{Disk, Error, OpenOptions};
use crate::handle::{EngineKind, Handle, Options};
use crate::header::*;
use crate::sys;

/// Room for the words of a failure.
const WORDS: usize = 256;

impl OpenOptions {
    /// Opens a disk by a function in C, which gets these options and room for the words of a
    /// failure, and opens a handle of `<blkalign.h>`.
    ///
    /// # Safety
    /// `open` returns 0 and stores a handle that it has opened and nobody else uses, or returns
    /// -errno.
    #[doc(hidden)]
    pub unsafe fn open_by(
        &self,
        open: impl FnOnce(&blkalign_open_options, &mut [u8; WORDS], &mut *mut blkalign_handle) -> c_int,
    ) -> Result<Disk, Error> {
        let mut words = [0u8; WORDS];
        let mut handle = std::ptr::null_mut();
        let result = open(&in_c(self.inner()), &mut words, &mut handle);
        if result != 0 {
            let words = CStr::from_bytes_until_nul(&words).unwrap_or_default();
            return Err(sys::Error::new(-result, words.to_string_lossy()).into());
        }
        // SAFETY: an open handle is a `Box<Handle>` turned into a pointer.
        let handle = unsafe { Box::from_raw(handle.cast::<Handle>()) };
        Ok(Disk::new(OpenHandle::adopt(handle), self.inner().clone()))
    }
}

/// The options as C has them.
fn in_c(options: &Options) -> blkalign_open_options {
    let flags = [
        (options.writable, BLKALIGN_O_RDWR),
        (options.direct, BLKALIGN_O_DIRECT),
        (options.buffered_ok, BLKALIGN_O_BUFFERED_OK),
        (options.create, BLKALIGN_O_CREATE),
        (options.resize, BLKALIGN_O_RESIZE),
        (options.unmap, BLKALIGN_O_UNMAP),
        (options.writethrough, BLKALIGN_O_WRITETHROUGH),
        (options.no_flush, BLKALIGN_O_NO_FLUSH),
        (options.stable_writes, BLKALIGN_O_STABLE_WRITES),
        (options.no_merge, BLKALIGN_O_NO_MERGE),
        (options.lock, BLKALIGN_O_LOCK),
    ];
    let set = flags.iter().filter(|(on, _)| *on).fold(0, |set, (_, flag)| set | flag);
    blkalign_open_options {
        size: size_of::<blkalign_open_options>(),
        flags: set,
        engine: match options.engine {
            EngineKind::Auto => BLKALIGN_ENGINE_AUTO,
            EngineKind::Threads => BLKALIGN_ENGINE_THREADS,
            EngineKind::IoUring => BLKALIGN_ENGINE_IO_URING,
        },
        // As for any disk: its own calls are synchronous, queues are handles of their own.
        completion: BLKALIGN_COMPLETION_SERIAL,
        workers: options.workers,
        queue_depth: options.queue_depth,
        request_alignment: options.alignments.request as u32,
        mem_alignment: options.alignments.memory as u32,
        segment_alignment: options.alignments.segment as u32,
        guest_block_size: options.guest_block_size,
        window_offset: options.window_offset as i64,
        window_length: options.window_length as i64,
    }
}
