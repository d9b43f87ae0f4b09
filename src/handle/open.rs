//! Opening: finds or makes the storage, its node and its threads, and puts a handle over them.

use std::ffi::{c_void, CStr};
use std::os::fd::RawFd;
use std::sync::Arc;

use super::buffers::Buffers;
use super::length::no_multiple;
use super::messages;
use super::pools::pool_for;
use super::{EngineKind, Handle, Options, Storage, Window};
use crate::completion::CompletionMode;
use crate::driver::{CallbackDriver, Driver, FileDriver, ImageLock, Lane};
use crate::engine::{Headroom, Ring, RingFiles};
use crate::header::blkalign_driver;
use crate::node::{node_of, Endpoint, Node, RingEngine};
use crate::probe::{Limits, Source};
use crate::sync::atomic::AtomicBool;
use crate::sys::Error;
use blkalign_machine::{QueueConfig, Suspected};

/// Most bytes in one I/O, whatever the storage says: the kernel itself stops a little below 2 GiB.
const TRANSFER_MAX: u64 = 1 << 30;
/// Most bytes of a file in one I/O that moves none: to punch a hole costs by what lies there, not by
/// how long it is. Of a device: `TRANSFER_MAX`, since the disk may take long over each of them.
const DATALESS_MAX: u64 = 1 << 62;
/// A zero write or a discard that has more than this left to ask for may take without end: a cancel
/// stops it half way.
const ENDLESS: u64 = 16 << 30;
/// Most elements in one vector: IOV_MAX.
const SEGMENTS_MAX: usize = 1024;

impl Handle {
    pub fn open(path: &CStr, options: &Options) -> Result<Handle, Error> {
        options.check()?;
        let driver = FileDriver::open(path, &options.file_options())?;
        let name = path.to_string_lossy().into_owned();
        Handle::on_file(driver, name, options)
    }

    /// `fd` stays the caller's; the handle has its own descriptors.
    pub fn open_fd(fd: RawFd, options: &Options) -> Result<Handle, Error> {
        options.check()?;
        let driver = FileDriver::open_fd(fd, &options.file_options())?;
        Handle::on_file(driver, format!("fd {fd}"), options)
    }

    /// `table`: a caller's own storage, checked for form; each of its functions gets `opaque`.
    pub fn open_driver(
        table: blkalign_driver,
        opaque: *mut c_void,
        options: &Options,
    ) -> Result<Handle, Error> {
        options.check()?;
        let driver = Arc::new(CallbackDriver::new(table, opaque));
        // Asked once: what is checked is what counts.
        let length = driver.length()?;
        let node = Arc::new(Node::new(length));
        let handle = Handle::on_callbacks(driver.clone(), node, length, options)?;
        driver.set_opened();
        Ok(handle)
    }

    /// Another queue on the same object.
    pub fn dup(&self, options: &Options) -> Result<Handle, Error> {
        options.check()?;
        match &self.storage {
            Storage::File(driver) => {
                let driver = driver.reopen(&options.file_options())?;
                Handle::on_file(driver, self.endpoint.name.clone(), options)
            }
            Storage::Callbacks(driver) => {
                // The storage's own length, not the object's, which may end inside a block.
                let length = driver.length()?;
                Handle::on_callbacks(driver.clone(), self.endpoint.node.clone(), length, options)
            }
        }
    }

    fn on_file(driver: FileDriver, name: String, options: &Options) -> Result<Handle, Error> {
        // Before the length is looked at, which others may change until then.
        let lock = options.image_lock().map(|how| driver.lock_image(how)).transpose()?;
        let length = driver.length()?;
        let node = node_of(driver.identity(), length);
        let limits = driver.limits().clone();
        if options.resize && driver.is_device() {
            let words = format!("{name}: BLKALIGN_O_RESIZE is for files, not for block devices");
            return Err(Error::new(libc::EINVAL, words));
        }
        let storage = Storage::File(Arc::new(driver));
        Handle::new(storage, node, name, limits, lock, options)?.showing(length, options)
    }

    /// `length`: the storage's own, not the object's, which may end inside a block.
    fn on_callbacks(
        driver: Arc<CallbackDriver>,
        node: Arc<Node>,
        length: u64,
        options: &Options,
    ) -> Result<Handle, Error> {
        let name = driver.name().to_owned();
        let mut limits = driver.limits().clone();
        override_alignments(&mut limits, options);
        let block = limits.alignments.request;
        if !length.is_multiple_of(block) {
            return Err(no_multiple(&name, length, block));
        }
        if limits.max_transfer != 0 && u64::from(limits.max_transfer) < block {
            let words = format!(
                "{name}: the driver's max_transfer {} is below the request alignment {block}",
                limits.max_transfer
            );
            return Err(Error::new(libc::EINVAL, words));
        }
        if options.writable && !driver.can_write() {
            let words = format!("{name}: the driver has neither pwritev nor aio_pwritev");
            return Err(Error::new(libc::EINVAL, words));
        }
        if options.resize && !driver.can_truncate() {
            let words = format!("{name}: BLKALIGN_O_RESIZE needs a driver with truncate");
            return Err(Error::new(libc::EINVAL, words));
        }
        if options.lock {
            let words =
                format!("{name}: BLKALIGN_O_LOCK is for files and devices, not for drivers");
            return Err(Error::new(libc::EINVAL, words));
        }
        let storage = Storage::Callbacks(driver);
        Handle::new(storage, node, name, limits, None, options)?.showing(length, options)
    }

    fn new(
        storage: Storage,
        node: Arc<Node>,
        name: String,
        limits: Limits,
        lock: Option<ImageLock>,
        options: &Options,
    ) -> Result<Handle, Error> {
        let pool = pool_for(options.workers);
        let mode = options.completion;
        let (ring, why_threads) = ring_for(&storage, &name, mode, options)?;
        let cache_unit = match &storage {
            Storage::File(driver) => Some(driver.cache_unit()),
            Storage::Callbacks(_) => None,
        };
        let is_device = matches!(&storage, Storage::File(driver) if driver.is_device());
        let mut queue_limits = queue_config(&limits, cache_unit, options);
        if cache_unit.is_some() && !is_device {
            queue_limits.dataless_max = DATALESS_MAX;
        }
        let (driver, threads) = (storage.driver(), pool.pool().clone());
        let endpoint =
            Endpoint::new(node, driver, threads, ring, mode, name, options.window_offset);
        let endpoint = Arc::new(endpoint);
        why_threads.iter().for_each(|why| endpoint.say_threads_from_now_on(why));
        endpoint.set_id(endpoint.node.add_queue(&endpoint, queue_limits));
        Ok(Handle {
            endpoint,
            storage,
            limits,
            writable: options.writable,
            resize: options.resize,
            window: window_of(options),
            guest_block: options.guest_block_size,
            buffers: Buffers::default(),
            headroom: Headroom::default(),
            stable_writes: options.stable_writes,
            writethrough: AtomicBool::new(options.writethrough),
            lock,
            pool,
        })
    }

    /// Ready for its caller, if it can be: it knows the storage's length, and its window lies
    /// inside. `length`: what the storage has said; others have the object open, and it may have
    /// another length since.
    fn showing(self, length: u64, options: &Options) -> Result<Handle, Error> {
        if let Err(error) = self.catch_up(length).and_then(|()| self.check_window()) {
            self.take_apart();
            return Err(error);
        }
        messages::opened(&self, options);
        Ok(self)
    }
}

fn window_of(options: &Options) -> Option<Window> {
    let (offset, bytes) = (options.window_offset, options.window_length);
    let whole = offset == 0 && bytes == 0;
    (!whole).then_some(Window { offset, bytes: (bytes != 0).then_some(bytes) })
}

/// The io_uring engine, unless threads were asked for. Where the system refuses it: why, if threads
/// are allowed instead, else that error.
fn ring_for(
    storage: &Storage,
    name: &str,
    mode: CompletionMode,
    options: &Options,
) -> Result<(Option<RingEngine>, Option<Error>), Error> {
    let Storage::File(driver) = storage else { return Ok((None, None)) };
    if options.engine == EngineKind::Threads {
        return Ok((None, None));
    }
    let depth = options.depth();
    let (flush, limited) = (driver.flush_fd(), options.writable && !driver.is_device());
    let files = driver.raw_fd(Lane::Main).map(|main| RingFiles { main, flush, limited });
    let ring = files.and_then(|files| match mode {
        CompletionMode::Eventfd => Ring::new_polled(files, depth),
        CompletionMode::Serial | CompletionMode::Concurrent => Ring::new(files, depth),
    });
    match ring {
        Ok(ring) => {
            let holds_back = mode == CompletionMode::Eventfd && !driver.knows_nowait();
            Ok((Some(RingEngine::new(ring, holds_back)), None))
        }
        Err(error) if options.engine == EngineKind::IoUring => {
            Err(Error::new(error.errno, format!("{name}: no io_uring: {}", error.words)))
        }
        Err(error) => Ok((None, Some(error))),
    }
}

/// `cache_unit`: what the page cache works in, for a file or device; None for a caller's driver.
fn queue_config(limits: &Limits, cache_unit: Option<u64>, options: &Options) -> QueueConfig {
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
        // A whole unit, so that no direct write has a part of one that the page cache may be
        // writing back beside it: the two would undo each other.
        last_unit: if cache_unit.is_some() { unit } else { 0 },
        last_block: u64::MAX,
        // The page cache itself reads, modifies and writes whole units.
        granule: if in_page_cache { unit } else { block },
        // The kernel pins and maps one page more for each element.
        copy_edges: cache_unit.is_some(),
        suspected: match cache_unit {
            // A driver has errors of its own, and is not to be asked for more than it has to do.
            None => Suspected::Invalid,
            Some(_) if limits.direct => Suspected::InvalidOrError,
            Some(_) => Suspected::Nothing,
        },
        no_flush: options.no_flush,
        no_merge: options.no_merge,
        resize: options.resize,
        unmap: options.unmap,
        discard_alignment: common_multiple(limits.discard_alignment, block),
        // A device's word about transfers is about data; a caller's driver was promised that no
        // call at all is longer.
        dataless_max: match cache_unit {
            Some(_) => TRANSFER_MAX.max(block),
            None => max_transfer,
        },
        endless: ENDLESS,
        atomic_write_max: u64::from(limits.atomic_write_unit_max),
    }
}

/// The least one of what the storage discards in one piece, 0 if it does not say, and of a block.
fn common_multiple(piece: u32, block: u64) -> u64 {
    let piece = u64::from(piece.max(1));
    // Blocks are powers of two.
    let common = 1 << piece.trailing_zeros().min(block.trailing_zeros());
    piece / common * block
}

/// What the options say instead of a caller's driver; never less than its own word, which is what
/// it was promised.
fn override_alignments(limits: &mut Limits, options: &Options) {
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
mod tests {
    use super::*;
    use crate::driver::Alignments;

    #[test]
    fn the_last_block_and_the_granule_are_whole_units_of_the_page_cache() {
        let of = |direct| {
            let alignments = Alignments { request: 512, ..Alignments::default() };
            let limits = Limits { alignments, direct, ..Limits::default() };
            let limits = queue_config(&limits, Some(16384), &Options::default());
            (limits.last_unit, limits.granule)
        };
        assert_eq!(of(true), (16384, 512));
        assert_eq!(of(false), (16384, 16384));
    }

    #[test]
    fn discards_are_multiples_of_what_the_storage_discards_and_of_its_block() {
        assert_eq!(common_multiple(0, 512), 512);
        assert_eq!(common_multiple(65536, 4096), 65536);
        assert_eq!(common_multiple(512, 4096), 4096);
        assert_eq!(common_multiple(1536, 4096), 12288);
        assert_eq!(common_multiple(12288, 4096), 12288);
    }
}
