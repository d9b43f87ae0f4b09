//! How a disk is opened.

pub use crate::handle::EngineKind as Engine;
use crate::handle::Options;

/// How a disk is opened: as with `std::fs::OpenOptions`, each function changes one option.
///
/// Nothing set: for reading only, through the page cache.
///
/// ```
/// use blkalign::{Engine, OpenOptions};
/// # let path = std::env::temp_dir().join(format!("blkalign-open-{}", std::process::id()));
/// let disk = OpenOptions::new()
///     .write(true)
///     .create(true)
///     .resize(true)
///     .engine(Engine::Threads)
///     .open(&path)?;
/// disk.write_at(b"grows", 0)?;
/// assert_eq!(disk.len(), 5);
/// # std::fs::remove_file(&path).unwrap();
/// # Ok::<(), blkalign::Error>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct OpenOptions(Options);

/// One function for each option that is a switch.
macro_rules! switches {
    ($($(#[$doc:meta])* $name:ident: $field:ident,)*) => { $(
        $(#[$doc])*
        pub fn $name(&mut self, on: bool) -> &mut OpenOptions {
            self.0.$field = on;
            self
        }
    )* };
}

impl OpenOptions {
    /// All defaults.
    pub fn new() -> OpenOptions {
        OpenOptions::default()
    }

    switches! {
        /// For reading and writing. Else a write fails with EPERM.
        write: writable,
        /// O_DIRECT. Where the file system has none, opening fails with EINVAL.
        direct: direct,
        /// With `direct`: the page cache where the file system has no O_DIRECT.
        buffered_ok: buffered_ok,
        /// A file that does not exist is created, with length 0.
        create: create,
        /// Writes past the end extend the file, reads past the end give zeros.
        resize: resize,
        /// Discards deallocate. Else they do nothing.
        unmap: unmap,
        /// Every write as if it had [`Flags::FUA`](crate::Flags::FUA).
        writethrough: writethrough,
        /// Flushes do nothing: for disks that nobody needs after a crash.
        no_flush: no_flush,
        /// The data of a write is copied when it is queued, so that it may change afterwards.
        stable_writes: stable_writes,
        /// Writes to parts of one block never share an I/O.
        no_merge: no_merge,
        /// Takes locks that other processes heed, QEMU among them.
        lock: lock,
    }

    /// What carries out the I/O. [`Engine::IoUring`]: opening fails where the system refuses it.
    pub fn engine(&mut self, engine: Engine) -> &mut OpenOptions {
        self.0.engine = engine;
        self
    }

    /// Threads of its own for each disk and queue; 0: those that all share. At most 1024.
    pub fn workers(&mut self, threads: u32) -> &mut OpenOptions {
        self.0.workers = threads;
        self
    }

    /// Requests at the storage at once, for each queue; 0: 64. At most 65536. Others wait in the
    /// library.
    pub fn queue_depth(&mut self, requests: u32) -> &mut OpenOptions {
        self.0.queue_depth = requests;
        self
    }

    /// In place of what the storage says: the alignment of offset and total length of an I/O, in
    /// bytes, a power of two. 0: what the storage says.
    pub fn request_alignment(&mut self, bytes: u32) -> &mut OpenOptions {
        self.0.alignments.request = bytes.into();
        self
    }

    /// As `request_alignment`, for addresses of memory.
    pub fn mem_alignment(&mut self, bytes: u32) -> &mut OpenOptions {
        self.0.alignments.memory = bytes as usize;
        self
    }

    /// As `request_alignment`, for lengths of single pieces of memory.
    pub fn segment_alignment(&mut self, bytes: u32) -> &mut OpenOptions {
        self.0.alignments.segment = bytes as usize;
        self
    }

    /// Reads see all or nothing of a concurrent write to one guest block of so many bytes, a power
    /// of two. 0: no such promise.
    ///
    /// ```
    /// # let path = std::env::temp_dir().join(format!("blkalign-og-{}", std::process::id()));
    /// # std::fs::write(&path, [7; 8192]).unwrap();
    /// # use blkalign::*;
    /// let disk = OpenOptions::new().guest_block_size(4096).open(&path)?;
    /// # std::fs::remove_file(&path).unwrap();
    /// # Ok::<(), Error>(())
    /// ```
    pub fn guest_block_size(&mut self, bytes: u32) -> &mut OpenOptions {
        self.0.guest_block_size = bytes;
        self
    }

    /// The disk is the `length` bytes of the object from `offset` on; neither needs to be aligned.
    /// `length` 0: to the end.
    ///
    /// ```
    /// # let path = std::env::temp_dir().join(format!("blkalign-ow-{}", std::process::id()));
    /// # std::fs::write(&path, [7; 8192]).unwrap();
    /// # use blkalign::*;
    /// let disk = OpenOptions::new().window(1000, 100).open(&path)?;
    /// assert_eq!(disk.len(), 100);
    /// # std::fs::remove_file(&path).unwrap();
    /// # Ok::<(), Error>(())
    /// ```
    pub fn window(&mut self, offset: u64, length: u64) -> &mut OpenOptions {
        self.0.window_offset = offset;
        self.0.window_length = length;
        self
    }

    pub(super) fn from(options: Options) -> OpenOptions {
        OpenOptions(options)
    }

    pub(super) fn inner(&self) -> &Options {
        &self.0
    }
}
