//! A file or block device of the host as storage: one handle's own descriptors and limits.
//!
//! There is a descriptor for each lane. That of `Lane::Main` is opened as the handle wants it, with
//! O_DIRECT as a rule. That of `Lane::LastBlock` is a second, buffered one of the same inode: a
//! direct write of the last block of a file, where that block is only a part of one, would make the
//! file longer, and the file must not be longer even for a moment. The second descriptor is opened
//! from the start, also where the length does not need it yet. By the time the length does, the
//! program may have given up the right to open the file, or its /proc.
//!
//! A handle for writing flushes through a third descriptor. Linux tells each open file once that
//! data could not be written back. On `main` a durable write might be told of an earlier write's
//! failure, and the flush after it would report success.

#[cfg(test)]
mod atomic_tests;
mod change;
#[cfg(test)]
mod change_tests;
mod extents;
mod open;
#[cfg(test)]
mod open_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod zram_tests;

use std::ffi::{c_int, CStr, CString};
use std::os::fd::RawFd;

use once_cell::sync::OnceCell;

use super::identity::{identify, Identity};
use super::image_lock::{self, ImageLock, Use};
use super::way::Traveller;
use super::{BlockStatus, Driver, Io, Lane, Op, Segment};
use crate::log;
use crate::probe::{cache_unit, is_on_fuse, probe, writes_in_order_only, Limits};
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::sys::{file_size_limit, without_file_size_signal, Descriptor, Errno, Error};
use change::UnsupportedCalls;
pub use open::FileOptions;
use open::{is_shortage, Opened, Spare};

pub struct FileDriver {
    pub(super) main: Descriptor,
    last_block: OnceCell<Descriptor>,
    /// For flushes; None: `main` is for flushes, too.
    flush: Option<Descriptor>,
    identity: Identity,
    limits: Limits,
    cache_unit: u64,
    writable: bool,
    may_write: bool,
    /// The kernel or the file system below does not know RWF_DSYNC: fdatasync stands in for it.
    no_dsync: AtomicBool,
    /// The storage does not take RWF_ATOMIC, whatever it promised.
    no_atomic: AtomicBool,
    unsupported: UnsupportedCalls,
    /// For messages: the path, or which descriptor the object came from.
    name: String,
    /// The path, if the object was opened by one.
    path: Option<CString>,
    /// Keeps the handles of the object from going another way; dropped last.
    _way: Traveller,
}

impl FileDriver {
    pub fn open(path: &CStr, options: &FileOptions) -> Result<FileDriver, Error> {
        let opened = open::by_path(path, options)?;
        let name = path.to_string_lossy().into_owned();
        FileDriver::new(opened, name, Some(path.to_owned()), options, &[])
    }

    /// `fd` stays the caller's.
    pub fn open_fd(fd: RawFd, options: &FileOptions) -> Result<FileDriver, Error> {
        let opened = open::by_fd(fd, options)?;
        FileDriver::new(opened, format!("fd {fd}"), None, options, &[])
    }

    /// The same object with descriptors, flags and limits of its own; `create` is ignored. EACCES
    /// where writing is wanted and the object came from a descriptor for reading only.
    pub fn reopen(&self, options: &FileOptions) -> Result<FileDriver, Error> {
        if options.writable && !self.may_write {
            let words = format!("{}: opened for reading only", self.name);
            return Err(Error::new(libc::EACCES, words));
        }
        let all = [Some(&self.main), self.last_block.get(), self.flush.as_ref()];
        let spares: Vec<Spare> = all.into_iter().flatten().map(Spare::of).collect();
        let path = self.path.as_deref();
        let mut opened = open::again(&self.main, path, &self.name, options, &spares)?;
        opened.may_write = self.may_write;
        self.check_same(opened.identity)?;
        FileDriver::new(opened, self.name.clone(), self.path.clone(), options, &spares)
    }

    /// `spares`: other descriptors of the object, should it be impossible to open it again.
    fn new(
        opened: Opened,
        name: String,
        path: Option<CString>,
        options: &FileOptions,
        spares: &[Spare],
    ) -> Result<FileDriver, Error> {
        let is_device = matches!(opened.identity, Identity::Device { .. });
        let mut driver = FileDriver {
            cache_unit: cache_unit(&opened.descriptor, is_device),
            limits: probe(&opened.descriptor, opened.way.is_direct(), options.alignments),
            main: opened.descriptor,
            last_block: OnceCell::new(),
            flush: None,
            identity: opened.identity,
            writable: options.writable,
            may_write: opened.may_write,
            no_dsync: AtomicBool::new(false),
            no_atomic: AtomicBool::new(false),
            unsupported: UnsupportedCalls::default(),
            name,
            path,
            _way: opened.way,
        };
        driver.check_writable()?;
        driver.open_last_block(options, spares)?;
        driver.length_with_a_way_to_its_end()?;
        // Opened from the start: Linux does not tell a descriptor of a failure from before its
        // open, if another descriptor has been told of that failure.
        if driver.writable {
            driver.flush = driver.open_flush()?;
        }
        Ok(driver)
    }

    /// The length as the system tells it.
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

    /// The length that a handle can show. There is a way to its last block, even to a part of one.
    fn length_with_a_way_to_its_end(&self) -> Result<u64, Error> {
        let whole = self.whole_length()?;
        let cut = self.out_of_reach(whole);
        let length = whole - cut;
        if cut > 0 {
            log::warning!(
                "{}: the last {cut} of its {whole} bytes are only a part of a block of {}, which \
                 direct I/O cannot reach: the length is {length}",
                self.name,
                self.limits.logical_block_size,
            );
        }
        let partial = !length.is_multiple_of(self.limits.alignments.request);
        if partial && self.limits.direct {
            self.last_block()?;
        }
        Ok(length)
    }

    /// This process's share in the image locks of the file, until dropped.
    pub fn lock_image(&self, how: Use) -> Result<ImageLock, Error> {
        image_lock::take(&self.main, self.identity, &self.name, how)
    }

    /// Linux lets a read-only device be opened for writing, and then fails each write; and one that
    /// wants its writes in order, and then fails those that come in any other.
    fn check_writable(&self) -> Result<(), Error> {
        let name = &self.name;
        let refuse = |errno, why| Err(Error::new(errno, format!("{name}: {why}")));
        if !self.writable || !self.is_device() {
            return Ok(());
        }
        if self.main.is_read_only_device() == Ok(true) {
            return refuse(libc::EROFS, "the device is read-only");
        }
        if writes_in_order_only(&self.main) {
            let why = "a zoned device (host-managed), which takes writes in order only: put a \
                       layer over it that takes them in any (dm-zoned, or a file system for zones)";
            return refuse(libc::EOPNOTSUPP, why);
        }
        Ok(())
    }

    /// Opens the descriptor of the last block. Where that cannot be opened, opening the handle
    /// fails if the descriptor is needed now or by the next write. Else it is tried again when it
    /// is needed.
    fn open_last_block(&self, options: &FileOptions, spares: &[Spare]) -> Result<(), Error> {
        if !self.limits.direct {
            return Ok(());
        }
        let Err(error) = self.last_block() else { return Ok(()) };
        let access = if self.writable { libc::O_RDWR } else { libc::O_RDONLY };
        if let Some(spare) = spares.iter().find_map(|spare| spare.duplicate(access)) {
            let _ = self.last_block.set(spare);
            return Ok(());
        }
        let partial = self.length()? % self.limits.alignments.request != 0;
        let needed = partial || options.resize;
        if needed || is_shortage(error.errno) || error.errno == libc::ESTALE {
            return Err(error);
        }
        Ok(())
    }

    /// Whether the object's length may become `length`: an error where the last block could not be
    /// written afterwards, or the first block of a file that grows from nothing.
    pub fn check_may_end_at(&self, length: u64) -> Result<(), Error> {
        let partial = !length.is_multiple_of(self.limits.alignments.request);
        if partial || self.length()? == 0 {
            self.descriptor(Lane::LastBlock)?;
        }
        Ok(())
    }

    fn reopen_with(&self, flags: c_int) -> Result<Descriptor, Errno> {
        open::reopen(&self.main, self.path.as_deref(), self.identity, flags)
    }

    /// None where the object can't be opened again: then flushes share `main`.
    fn open_flush(&self) -> Result<Option<Descriptor>, Error> {
        match self.reopen_with(libc::O_RDWR) {
            Ok(descriptor) => {
                self.check_same(identify(&descriptor, &self.name)?)?;
                Ok(Some(descriptor))
            }
            Err(errno) if is_shortage(errno) => {
                let words = format!("{}: cannot open it again for flushes", self.name);
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

    /// How many bytes the page cache reads and writes back as one, at multiples of that number: a
    /// page, or a block of a file system whose blocks are larger. A power of two.
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

    /// Whether the kernel knows I/O that must not wait, on this storage. If it does not, it hands
    /// what a ring asks for to threads of its own. The kernel refuses the flag before it looks at
    /// alignments, so the read below need not be aligned.
    pub fn knows_nowait(&self) -> bool {
        let mut byte = 0u8;
        let one = libc::iovec { iov_base: (&raw mut byte).cast(), iov_len: 1 };
        // SAFETY: the one byte is there to be written.
        let result = unsafe { self.main.preadv2(&[one], 0, libc::RWF_NOWAIT) };
        result != Err(libc::EOPNOTSUPP)
    }

    /// Why io_uring is not safe here, if it is not. A FUSE server may answer with less than it was
    /// asked for. In an I/O of a ring Linux (5.5 and later) then asks for the rest where the I/O
    /// began, not where it stopped, and reports success. That takes a file that its server has
    /// opened with FOPEN_DIRECT_IO, without FUSE_ASYNC_DIO, which cannot be seen from here.
    pub fn ring_is_unsafe(&self) -> Option<Error> {
        let why = "on FUSE io_uring moves wrong bytes if the server answers short";
        let on_fuse = !self.is_device() && is_on_fuse(&self.main);
        on_fuse.then(|| Error::new(libc::EOPNOTSUPP, why))
    }

    fn descriptor(&self, lane: Lane) -> Result<&Descriptor, Error> {
        match lane {
            Lane::LastBlock if self.limits.direct => self.last_block(),
            _ => Ok(&self.main),
        }
    }

    fn last_block(&self) -> Result<&Descriptor, Error> {
        self.last_block.get_or_try_init(|| {
            let access = if self.writable { libc::O_RDWR } else { libc::O_RDONLY };
            let descriptor = self.reopen_with(access).map_err(|errno| {
                let name = &self.name;
                let through = if is_shortage(errno) {
                    ""
                } else {
                    " (again, through /proc/self/fd or by its path)"
                };
                let words = format!("{name}: cannot open its last block for buffered I/O{through}");
                Error::new(errno, words)
            })?;
            self.check_same(identify(&descriptor, &self.name)?)?;
            // Readahead would bring large folios into the page cache, which reach over the blocks
            // before. A write to the last bytes then dirties a folio whose older part belongs to
            // direct I/O, and each direct write there has to write back and throw away all of it.
            descriptor.fadvise(libc::POSIX_FADV_RANDOM);
            Ok(descriptor)
        })
    }

    /// /proc/self/fd leads to the same inode. Should it ever lead elsewhere, no I/O is better than
    /// I/O there.
    fn check_same(&self, other: Identity) -> Result<(), Error> {
        if other == self.identity {
            return Ok(());
        }
        let words = format!("{}: opening it again led to another file", self.name);
        Err(Error::new(libc::ESTALE, words))
    }

    fn read(&self, io: &Io) -> Result<usize, Errno> {
        let descriptor = self.descriptor(io.lane).map_err(|error| error.errno)?;
        // SAFETY: the maker of `io` vouches for its memory until the I/O is done, and that the
        // memory of a read may be written.
        unsafe { descriptor.preadv2(iovec(&io.segments), io.offset, 0) }
    }

    fn carry_out(&self, io: &Io) -> Result<u64, Errno> {
        let moved = match io.op {
            Op::Read => self.read(io),
            Op::Write => self.write(io),
            // One for both lanes: what is flushed is the inode's pages and the device's cache.
            Op::Flush => self.flush_descriptor().fdatasync().map(|()| 0),
            Op::WriteZeroes | Op::Discard | Op::Truncate => return self.change(io),
            Op::Length => return self.length_with_a_way_to_its_end().map_err(|error| error.errno),
            Op::Fill | Op::Populate | Op::SaveMap => unreachable!("not the storage's business"),
        };
        moved.map(|bytes| bytes as u64)
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
        // Relaxed: a hint, as in `write_with`.
        self.no_atomic.store(true, Ordering::Relaxed);
        Ok(moved)
    }

    fn write_with(&self, io: &Io, flags: c_int) -> Result<usize, Errno> {
        let descriptor = self.descriptor(io.lane).map_err(|error| error.errno)?;
        let plain = |flags: c_int| {
            // SAFETY: the maker of `io` vouches for its memory until the I/O is done.
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
        // Relaxed: a hint. A thread that misses it tries RWF_DSYNC once more.
        self.no_dsync.store(true, Ordering::Relaxed);
        Ok(moved)
    }
}

impl Driver for FileDriver {
    fn perform(&self, io: &Io) -> Result<u64, i32> {
        // RLIMIT_FSIZE is for files only.
        if matches!(io.op, Op::Read | Op::Flush | Op::Length) || self.is_device() {
            return self.carry_out(io);
        }
        without_file_size_signal(|| self.carry_out(io))
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

    /// Linux cuts a write off at RLIMIT_FSIZE. If what is left is no whole blocks, O_DIRECT refuses
    /// it as if it were misaligned (EINVAL). Larger alignments would not help, so it is EFBIG.
    fn true_errno(&self, io: &Io, errno: i32) -> i32 {
        let cut_off = || file_size_limit().is_some_and(|limit| io.offset + io.bytes > limit);
        match errno {
            libc::EINVAL if io.op == Op::Write && !self.is_device() && cut_off() => libc::EFBIG,
            _ => errno,
        }
    }

    fn block_status(&self, offset: u64, bytes: u64) -> Result<(BlockStatus, u64), i32> {
        self.extent(offset, bytes)
    }

    fn possible_cause(&self, errno: i32) -> &'static str {
        match errno {
            libc::EFBIG => " (beyond RLIMIT_FSIZE, or what the file system can hold)",
            libc::EPERM if self.is_device() && self.main.is_read_only_device() == Ok(true) => {
                " (the device has become read-only)"
            }
            _ => "",
        }
    }

    fn length(&self) -> Result<u64, Error> {
        self.whole_length().map(|bytes| bytes - self.out_of_reach(bytes))
    }
}

/// `segments` as the kernel sees them.
fn iovec(segments: &[Segment]) -> &[libc::iovec] {
    const _: () = assert!(
        std::mem::size_of::<Segment>() == std::mem::size_of::<libc::iovec>()
            && std::mem::align_of::<Segment>() == std::mem::align_of::<libc::iovec>()
    );
    // SAFETY: `Segment` is declared with iovec's layout: an address, then a length.
    unsafe { std::slice::from_raw_parts(segments.as_ptr().cast(), segments.len()) }
}
