//! Opening: finds or makes the storage, its node and its threads, and puts a handle over them.

use std::ffi::{c_void, CStr};
use std::os::fd::RawFd;
use std::sync::Arc;

use super::buffers::Buffers;
use super::config::{override_alignments, queue_config};
use super::length::no_multiple;
use super::messages;
use super::pools::pool_for;
use super::storage::Storage;
use super::throttled::Throttled;
use super::window::Window;
use super::{EngineKind, Handle, Held, Options};
use crate::completion::CompletionMode;
use crate::driver::{CallbackDriver, Driver, FileDriver, Lane};
use crate::engine::{Headroom, PoolOwner, Ring, RingFiles};
use crate::header::blkalign_driver;
use crate::node::{node_of, Endpoint, Node, RingEngine};
use crate::probe::Limits;
use crate::sync::atomic::AtomicBool;
use crate::sync::Mutex;
use crate::sys::{claim, Claim, Error};

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
        // Asked once, so that the length that is checked is the one that counts.
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
            Storage::Overlay(driver) => {
                let top = driver.top.reopen(&options.file_options())?;
                let (node, name) = (self.endpoint.node.clone(), self.endpoint.name.clone());
                Handle::on_overlay(top, driver.layers.clone(), node, name, options)
            }
            Storage::Callbacks(driver) => {
                // The storage's own length, not the object's, which may end inside a block.
                let length = driver.length()?;
                Handle::on_callbacks(driver.clone(), self.endpoint.node.clone(), length, options)
            }
        }
    }

    fn on_file(driver: FileDriver, name: String, options: &Options) -> Result<Handle, Error> {
        let claim = claim_object(&driver, &name)?;
        // Before the length is looked at: without the lock others may change it.
        let lock = options.image_lock().map(|how| driver.lock_image(how)).transpose()?;
        let length = driver.length()?;
        let node = node_of(driver.identity(), length);
        if node.is_overlay() {
            let words = format!("{name}: this process has it open as the top of an overlay");
            return Err(Error::new(libc::EBUSY, words));
        }
        let limits = driver.limits().clone();
        if options.resize && driver.is_device() {
            let words = format!("{name}: BLKALIGN_O_RESIZE is for files, not for block devices");
            return Err(Error::new(libc::EINVAL, words));
        }
        let storage = Storage::File(Arc::new(driver));
        let held = Held { lock, claim: Some(claim) };
        Handle::new(storage, node, name, limits, held, options)?.showing(length, options)
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
        Handle::new(storage, node, name, limits, Held::default(), options)?.showing(length, options)
    }

    pub(super) fn new(
        storage: Storage,
        node: Arc<Node>,
        name: String,
        limits: Limits,
        held: Held,
        options: &Options,
    ) -> Result<Handle, Error> {
        let mode = options.completion;
        let manned = pool_for(options.workers);
        let (ring, why_threads) = ring_for(&storage, &name, mode, options)?;
        let does_without = mode == CompletionMode::Eventfd && ring.is_some();
        let (pool, unmanned) = match manned {
            Ok(pool) => (pool, None),
            Err(error) if does_without => (Arc::new(PoolOwner::new(1)), Some(error)),
            Err(error) => {
                let words = format!(
                    "{name}: {}; only io_uring with BLKALIGN_COMPLETION_EVENTFD works without",
                    error.words
                );
                return Err(Error::new(error.errno, words));
            }
        };
        let config = queue_config(&limits, &storage, options);
        let (driver, threads) = (storage.driver(), pool.pool().clone());
        let endpoint =
            Endpoint::new(node, driver, threads, ring, mode, name, options.window_offset);
        let endpoint = Arc::new(endpoint);
        unmanned.iter().for_each(|why| endpoint.do_without_threads(why));
        why_threads.iter().for_each(|why| endpoint.say_threads_from_now_on(why));
        endpoint.set_id(endpoint.node.add_queue(&endpoint, config));
        if let Storage::Overlay(driver) = &storage {
            driver.layers.note_opened();
        }
        Ok(Handle {
            endpoint,
            storage,
            limits,
            writable: options.writable,
            resize: options.resize,
            window: Window::wanted_by(options),
            guest_block: options.guest_block_size,
            buffers: Buffers::default(),
            headroom: Headroom::default(),
            throttled: Throttled::default(),
            pauses: Mutex::new(0),
            stable_writes: options.stable_writes,
            writethrough: AtomicBool::new(options.writethrough),
            held,
            pool,
        })
    }

    /// Makes the handle ready for its caller: takes over the storage's length, and checks that the
    /// window lies inside. `length`: what the storage has said at open. Other handles may have
    /// changed the length since.
    pub(super) fn showing(self, length: u64, options: &Options) -> Result<Handle, Error> {
        if let Err(error) = self.catch_up(length).and_then(|()| self.check_window()) {
            self.take_apart();
            return Err(error);
        }
        messages::opened(&self, options);
        Ok(self)
    }
}

/// Makes sure that no other copy of the library in this process has the object open.
pub(super) fn claim_object(driver: &FileDriver, name: &str) -> Result<Claim, Error> {
    claim(driver.identity().numbers()).ok_or_else(|| {
        let words = format!(
            "{name}: another copy of libblkalign in this process has it open; two copies would lose \
             each other's writes"
        );
        Error::new(libc::EBUSY, words)
    })
}

/// The io_uring engine, unless threads were asked for. Where the system refuses it and threads may
/// take its place: the reason. Where they may not: that reason as the error.
fn ring_for(
    storage: &Storage,
    name: &str,
    mode: CompletionMode,
    options: &Options,
) -> Result<(Option<RingEngine>, Option<Error>), Error> {
    let Some(driver) = storage.file() else { return Ok((None, None)) };
    if options.engine == EngineKind::Threads {
        return Ok((None, None));
    }
    let depth = options.depth();
    let unsafe_here = driver.ring_is_unsafe();
    let (flush, limited) = (driver.flush_fd(), options.writable && !driver.is_device());
    let main = unsafe_here.map_or_else(|| driver.raw_fd(Lane::Main), Err);
    let files = main.map(|main| RingFiles { main, flush, limited });
    let ring = files.and_then(|files| match mode {
        CompletionMode::Eventfd => Ring::new_polled(files, depth),
        CompletionMode::Serial | CompletionMode::Concurrent => Ring::new_attended(files, depth),
    });
    match ring {
        Ok(ring) => {
            let engine = RingEngine::new(ring, !driver.knows_nowait());
            // EVENTFD: `poll` says whether the program comes again.
            engine.deferred.set_patient(mode != CompletionMode::Eventfd);
            Ok((Some(engine), None))
        }
        Err(error) if options.engine == EngineKind::IoUring => {
            Err(Error::new(error.errno, format!("{name}: no io_uring: {}", error.words)))
        }
        Err(error) => Ok((None, Some(error))),
    }
}
