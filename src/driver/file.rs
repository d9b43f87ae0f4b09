//! A file or block device of the host as storage: one handle's own descriptors and limits.
//!
//! A descriptor for each lane. `Lane::Main` is opened as the handle wants it, with O_DIRECT as
//! a rule. `Lane::LastBlock` is a second, buffered one of the same inode: the last block of a
//! file whose length is no multiple of the request alignment cannot be written directly without
//! making the file longer, not even for a moment. It exists from the start where the length asks
//! for it, else from its first use.
//!
//! A handle for writing flushes through a third one. Linux tells each open file once that data
//! could not be written back; on `main` a durable write may be the one that is told of an earlier
//! write's failure, and the flush after it would report success.

use std::ffi::{c_int, CStr};
use std::os::fd::RawFd;

use once_cell::sync::OnceCell;

use crate::log;
use crate::probe::{probe, Limits, Overrides};
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::sys::{page_bytes, Descriptor, Errno, Error};

use super::file_change::Refused;
use super::file_open::{self, Identity, Opened};
use super::image_lock::{self, ImageLock, Use};
use super::{Driver, Io, Lane, Op, Segment};

/// What a handle's options say about its descriptors. Alignments: 0 = probe.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FileOptions {
    pub writable: bool,
    pub direct: bool,
    /// Buffered I/O will do where the file system has no O_DIRECT.
    pub buffered_ok: bool,
    pub create: bool,
    pub request_alignment: u32,
    pub mem_alignment: u32,
    pub segment_alignment: u32,
}

pub struct FileDriver {
    pub(super) main: Descriptor,
    last_block: OnceCell<Descriptor>,
    /// For flushes; None: `main` is.
    flush: Option<Descriptor>,
    identity: Identity,
    pub(super) limits: Limits,
    pub(super) cache_unit: u64,
    writable: bool,
    may_write: bool,
    /// The kernel or the file system below does not know RWF_DSYNC: fdatasync stands in for it.
    no_dsync: AtomicBool,
    /// It does not take RWF_ATOMIC, whatever it promised.
    no_atomic: AtomicBool,
    pub(super) refused: Refused,
    /// The path, or which descriptor it came from: for messages.
    name: String,
}

impl FileDriver {
    pub fn open(path: &CStr, options: &FileOptions) -> Result<FileDriver, Error> {
        let opened = file_open::by_path(path, options)?;
        FileDriver::new(opened, path.to_string_lossy().into_owned(), options)
    }

    /// `fd` stays the caller's.
    pub fn open_fd(fd: RawFd, options: &FileOptions) -> Result<FileDriver, Error> {
        let opened = file_open::by_fd(fd, options)?;
        FileDriver::new(opened, format!("fd {fd}"), options)
    }

    /// The same object with descriptors, flags and limits of its own; `create` is ignored. EACCES
    /// where writing is wanted and the object came from a descriptor for reading only.
    pub fn reopen(&self, options: &FileOptions) -> Result<FileDriver, Error> {
        if options.writable && !self.may_write {
            let words = format!("{}: opened for reading only", self.name);
            return Err(Error::new(libc::EACCES, words));
        }
        let mut opened = file_open::again(&self.main, &self.name, options)?;
        opened.may_write = self.may_write;
        self.check_same(opened.identity)?;
        FileDriver::new(opened, self.name.clone(), options)
    }

    fn new(opened: Opened, name: String, options: &FileOptions) -> Result<FileDriver, Error> {
        let overrides = Overrides {
            request_alignment: options.request_alignment,
            mem_alignment: options.mem_alignment,
            segment_alignment: options.segment_alignment,
        };
        let preferred = opened.descriptor.fstat().map_or(0, |stat| stat.st_blksize);
        let mut driver = FileDriver {
            cache_unit: cache_unit(page_bytes(), preferred),
            limits: probe(&opened.descriptor, opened.direct, &overrides),
            main: opened.descriptor,
            last_block: OnceCell::new(),
            flush: None,
            identity: opened.identity,
            writable: options.writable,
            may_write: opened.may_write,
            no_dsync: AtomicBool::new(false),
            no_atomic: AtomicBool::new(false),
            refused: Refused::default(),
            name,
        };
        // Open it now where it is needed now, so that a failure is one of open.
        driver.length_with_a_way_to_its_end()?;
        // From the start: a descriptor hears of no failure that another was told before.
        if driver.writable {
            driver.flush = driver.open_flush()?;
        }
        Ok(driver)
    }

    /// As the system says.
    fn whole_length(&self) -> Result<u64, Error> {
        let bytes = match self.identity {
            Identity::Device { .. } => self.main.device_bytes(),
            Identity::File { .. } => self.main.fstat().map(|stat| stat.st_size.unsigned_abs()),
        };
        bytes.map_err(|errno| Error::new(errno, format!("{}: cannot get its length", self.name)))
    }

    /// What a device of so many bytes has behind its last whole block: Linux refuses to read and
    /// to write it, directly and through the page cache (EINVAL, EIO).
    fn out_of_reach(&self, bytes: u64) -> u64 {
        let block = u64::from(self.limits.logical_block_size);
        if self.is_device() && block > 0 {
            bytes % block
        } else {
            0
        }
    }

    /// A length whose last, partial block is out of reach is none that a handle can show.
    fn length_with_a_way_to_its_end(&self) -> Result<u64, Error> {
        let whole = self.whole_length()?;
        let cut = self.out_of_reach(whole);
        let length = whole - cut;
        if cut > 0 {
            log::warning!(
                "{}: the last {cut} of its {whole} bytes are no whole block of {}, which nobody \
                 can read or write: its length is {length}",
                self.name,
                self.limits.logical_block_size,
            );
        }
        let partial = !length.is_multiple_of(u64::from(self.limits.request_alignment));
        if partial && self.limits.direct {
            self.last_block()?;
        }
        Ok(length)
    }

    /// This process's share in the image locks of the file, until dropped.
    pub fn lock_image(&self, how: Use) -> Result<ImageLock, Error> {
        image_lock::take(&self.main, self.identity, &self.name, how)
    }

    /// None where /proc is missing, or rights were given up since: then flushes share `main`.
    fn open_flush(&self) -> Result<Option<Descriptor>, Error> {
        match self.main.reopen(libc::O_RDWR) {
            Ok(descriptor) => {
                self.check_same(file_open::identify(&descriptor, &self.name)?)?;
                Ok(Some(descriptor))
            }
            Err(errno @ (libc::EMFILE | libc::ENFILE | libc::ENOMEM)) => {
                let words = format!("{}: cannot open it once more for flushes", self.name);
                Err(Error::new(errno, words))
            }
            Err(_) => Ok(None),
        }
    }

    pub fn identity(&self) -> Identity {
        self.identity
    }

    pub fn is_device(&self) -> bool {
        matches!(self.identity, Identity::Device { .. })
    }

    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// The bytes that the page cache reads and writes back as one, at multiples of it: a page, or
    /// a block of a file system whose blocks are larger. A power of two.
    pub fn cache_unit(&self) -> u64 {
        self.cache_unit
    }

    /// The descriptor of a lane; it lives as long as the driver.
    pub fn raw_fd(&self, lane: Lane) -> Result<RawFd, Error> {
        self.descriptor(lane).map(Descriptor::raw)
    }

    /// The descriptor that flushes go to, for as long as the driver lives.
    pub fn flush_fd(&self) -> RawFd {
        self.flush_descriptor().raw()
    }

    fn flush_descriptor(&self) -> &Descriptor {
        self.flush.as_ref().unwrap_or(&self.main)
    }

    /// Whether the kernel knows I/O here that must not wait: without it, it hands what a ring asks
    /// for to threads of its own. It says so before it looks at the alignment.
    pub fn knows_nowait(&self) -> bool {
        let mut byte = 0u8;
        let one = libc::iovec { iov_base: (&raw mut byte).cast(), iov_len: 1 };
        // SAFETY: the one byte is there to be written.
        let result = unsafe { self.main.preadv2(&[one], 0, libc::RWF_NOWAIT) };
        result != Err(libc::EOPNOTSUPP)
    }

    pub(super) fn descriptor(&self, lane: Lane) -> Result<&Descriptor, Error> {
        match lane {
            Lane::LastBlock if self.limits.direct => self.last_block(),
            _ => Ok(&self.main),
        }
    }

    fn last_block(&self) -> Result<&Descriptor, Error> {
        self.last_block.get_or_try_init(|| {
            let access = if self.writable { libc::O_RDWR } else { libc::O_RDONLY };
            let descriptor = self.main.reopen(access).map_err(|errno| {
                let words = format!("{}: cannot open its last block for buffered I/O", self.name);
                Error::new(errno, words)
            })?;
            self.check_same(file_open::identify(&descriptor, &self.name)?)?;
            // Readahead would bring large folios into the page cache, which reach over the blocks
            // before. A write to the last bytes then dirties a folio whose older part belongs to
            // direct I/O, and each direct write there has to write back and throw away all of it.
            descriptor.fadvise(libc::POSIX_FADV_RANDOM);
            Ok(descriptor)
        })
    }

    /// /proc/self/fd leads to the very inode; should it ever not, then better no I/O than there.
    fn check_same(&self, other: Identity) -> Result<(), Error> {
        if other == self.identity {
            return Ok(());
        }
        let words = format!("{}: opening it again led to another file", self.name);
        Err(Error::new(libc::ESTALE, words))
    }

    fn read(&self, io: &Io) -> Result<usize, Errno> {
        let descriptor = self.descriptor(io.lane).map_err(|error| error.errno)?;
        // SAFETY: whoever made `io` vouches for its memory until the I/O is done, and for a read
        // that it may be written.
        unsafe { descriptor.preadv2(iovec(&io.segments), io.offset, 0) }
    }

    fn write(&self, io: &Io) -> Result<usize, Errno> {
        if !self.takes_atomic(io) {
            return self.write_with(io, 0);
        }
        match self.write_with(io, libc::RWF_ATOMIC) {
            // EINVAL may mean the flag or the request: the plain write tells which.
            Err(libc::EOPNOTSUPP | libc::EINVAL) => {}
            result => return result,
        }
        let moved = self.write_with(io, 0)?;
        // Relaxed: a hint, as below.
        self.no_atomic.store(true, Ordering::Relaxed);
        Ok(moved)
    }

    fn write_with(&self, io: &Io, flags: c_int) -> Result<usize, Errno> {
        let descriptor = self.descriptor(io.lane).map_err(|error| error.errno)?;
        let plain = |flags: c_int| {
            // SAFETY: whoever made `io` vouches for its memory until the I/O is done.
            unsafe { descriptor.pwritev2(iovec(&io.segments), io.offset, flags) }
        };
        if !io.fua {
            return plain(flags);
        }
        if !self.no_dsync.load(Ordering::Relaxed) {
            match plain(flags | libc::RWF_DSYNC) {
                // EINVAL may mean the flag (old kernels) or the request: below the plain write
                // tells which.
                Err(libc::EOPNOTSUPP | libc::EINVAL) => {}
                result => return result,
            }
        }
        let moved = plain(flags)?;
        descriptor.fdatasync()?;
        // Relaxed: a hint, and whoever misses it comes here by the longer way.
        self.no_dsync.store(true, Ordering::Relaxed);
        Ok(moved)
    }
}

impl Driver for FileDriver {
    fn perform(&self, io: &Io) -> Result<u64, i32> {
        let moved = match io.op {
            Op::Read => self.read(io),
            Op::Write => self.write(io),
            // One for both lanes: it is the inode's pages and the device's cache that are written.
            Op::Flush => self.flush_descriptor().fdatasync().map(|()| 0),
            Op::WriteZeroes | Op::Discard | Op::Truncate => return self.change(io),
            Op::Length => return self.length_with_a_way_to_its_end().map_err(|error| error.errno),
            Op::Fill => unreachable!("not the storage's business"),
        };
        moved.map(|bytes| bytes as u64)
    }

    fn takes_atomic(&self, io: &Io) -> bool {
        let Limits { atomic_write_unit_min: min, atomic_write_unit_max: max, .. } = self.limits;
        let (min, max) = (u64::from(min), u64::from(max));
        // What Linux asks of such a write, one element included.
        io.atomic
            && io.lane == Lane::Main
            && io.bytes.is_power_of_two()
            && (min..=max).contains(&io.bytes)
            && io.offset.is_multiple_of(io.bytes)
            && io.segments.len() == 1
            && !self.no_atomic.load(Ordering::Relaxed)
    }

    fn length(&self) -> Result<u64, Error> {
        self.whole_length().map(|bytes| bytes - self.out_of_reach(bytes))
    }
}

/// No file system has larger blocks; where st_blksize says more, it is a wish for long requests.
const CACHE_UNIT_MAX: u64 = 1 << 16;

/// `preferred`: st_blksize.
fn cache_unit(page: u64, preferred: libc::blksize_t) -> u64 {
    let block = u64::try_from(preferred).unwrap_or(0);
    let believable = block.is_power_of_two() && block <= CACHE_UNIT_MAX;
    if believable {
        page.max(block)
    } else {
        page
    }
}

/// The same slice as the kernel sees it.
fn iovec(segments: &[Segment]) -> &[libc::iovec] {
    const _: () = assert!(
        std::mem::size_of::<Segment>() == std::mem::size_of::<libc::iovec>()
            && std::mem::align_of::<Segment>() == std::mem::align_of::<libc::iovec>()
    );
    // SAFETY: `Segment` is declared with iovec's layout: an address, then a length.
    unsafe { std::slice::from_raw_parts(segments.as_ptr().cast(), segments.len()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_unit_of_the_page_cache_is_a_page_or_a_larger_block_of_the_file_system() {
        let units = [0, 512, 4096, 16384, 65536, 131072, 1 << 20, 12288, -4096];
        let expected = [4096, 4096, 4096, 16384, 65536, 4096, 4096, 4096, 4096];
        assert_eq!(units.map(|preferred| cache_unit(4096, preferred)), expected);
        assert_eq!(cache_unit(65536, 4096), 65536);
    }
}
