//! I/O of the file driver on this machine's file system, and on disks made for the test.

use std::collections::HashMap;
use std::ffi::{c_int, c_uint, CStr, CString};
use std::fs::{self, File};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use smallvec::smallvec;

use crate::probe::Source;
use crate::proof::disk::testbed::{or_skip, Directory, Loop4k, Mounted};
use crate::proof::table::with_calls;
use crate::sys::{Calls, Errno, Error, Linux};

use super::*;
use crate::driver::*;

pub const DIRECT: FileOptions = FileOptions {
    writable: true,
    direct: true,
    buffered_ok: false,
    create: false,
    resize: false,
    alignments: Alignments { request: 0, memory: 0, segment: 0 },
};
pub const BUFFERED: FileOptions = FileOptions { direct: false, ..DIRECT };

pub fn c_path(path: &Path) -> CString {
    CString::new(path.as_os_str().as_bytes()).unwrap()
}

pub fn open(path: &Path, options: &FileOptions) -> Result<FileDriver, Error> {
    FileDriver::open(&c_path(path), options)
}

/// Page-aligned memory.
#[repr(align(4096))]
struct Pages([u8; 8192]);

pub fn io(op: Op, lane: Lane, offset: u64, memory: &[u8]) -> Io {
    let segment = Segment { address: memory.as_ptr() as usize, bytes: memory.len() };
    Io {
        lane,
        bytes: memory.len() as u64,
        segments: smallvec![segment],
        ..Io::new(IoId { slot: Slot(0), part: 0 }, op, offset)
    }
}

pub fn write(driver: &FileDriver, lane: Lane, offset: u64, memory: &[u8]) -> Result<u64, i32> {
    driver.perform(&io(Op::Write, lane, offset, memory))
}

fn write_fua(driver: &FileDriver, offset: u64, memory: &[u8]) -> Result<u64, i32> {
    driver.perform(&Io { fua: true, ..io(Op::Write, Lane::Main, offset, memory) })
}

pub fn read(driver: &FileDriver, lane: Lane, offset: u64, memory: &mut [u8]) -> Result<u64, i32> {
    driver.perform(&io(Op::Read, lane, offset, memory))
}

/// A file of so many bytes, none of them a hole, in its own directory.
pub fn file_of(directory: &Path, bytes: usize) -> PathBuf {
    let path = directory.join("file");
    fs::write(&path, vec![7; bytes]).unwrap();
    File::open(&path).unwrap().sync_all().unwrap();
    path
}

#[track_caller]
fn expect_4k_blocks(driver: &FileDriver) {
    let limits = driver.limits();
    assert!(limits.direct);
    assert_eq!((limits.alignments.request, limits.alignments.memory), (4096, 512));
    assert_eq!(limits.sources.request, Source::Statx);
    assert_eq!((limits.logical_block_size, limits.physical_block_size), (4096, 4096));
}

/// Whole blocks on the main lane come back as written; less than a block is refused.
#[track_caller]
pub fn expect_direct_io(driver: &FileDriver, offset: u64) {
    let mut pages = Box::new(Pages([3; 8192]));
    assert_eq!(write(driver, Lane::Main, offset, &pages.0[..4096]), Ok(4096));
    assert_eq!(write(driver, Lane::Main, offset, &pages.0[..512]), Err(libc::EINVAL));
    assert_eq!(write_fua(driver, offset, &pages.0[..512]), Err(libc::EINVAL));
    assert_eq!(driver.perform(&io(Op::Flush, Lane::Main, 0, &[])), Ok(0));
    pages.0.fill(5);
    assert_eq!(write_fua(driver, offset, &pages.0[..4096]), Ok(4096));
    pages.0.fill(0);
    assert_eq!(read(driver, Lane::Main, offset, &mut pages.0[..4096]), Ok(4096));
    assert!(pages.0[..4096].iter().all(|byte| *byte == 5));
}

#[test]
fn a_4kn_disk_is_driven_in_whole_blocks() {
    let Some(disk) = or_skip(Loop4k::new(64 << 20)) else { return };
    let driver = open(disk.path(), &DIRECT).unwrap();
    expect_4k_blocks(&driver);
    assert_eq!(driver.length(), Ok(64 << 20));
    assert!(matches!(driver.identity(), Identity::Device { .. }));
    expect_direct_io(&driver, 8192);
}

/// The length of a file whose last block is partial is exact, and stays so.
#[track_caller]
fn expect_exact_length(mounted: &Mounted) {
    let path = file_of(mounted.path(), 4096 + 4096 + 100);
    let driver = open(&path, &DIRECT).unwrap();
    expect_4k_blocks(&driver);
    expect_direct_io(&driver, 4096);
    assert_eq!(write(&driver, Lane::LastBlock, 8192, &[9; 100]), Ok(100));
    assert_eq!(write(&driver, Lane::LastBlock, 8192 + 50, &[1; 50]), Ok(50));
    assert_eq!(driver.length(), Ok(8292));
    let mut pages = Box::new(Pages([0; 8192]));
    assert_eq!(read(&driver, Lane::Main, 8192, &mut pages.0[..4096]), Ok(100));
    assert_eq!(pages.0[..100], [[9; 50], [1; 50]].concat());
    assert_eq!(read(&driver, Lane::LastBlock, 8192, &mut pages.0[1..101]), Ok(100));
    assert_eq!(pages.0[1..101], [[9; 50], [1; 50]].concat());
}

#[test]
fn the_last_block_on_xfs_is_exact_to_the_byte() {
    let Some(mounted) = or_skip(Mounted::xfs()) else { return };
    expect_exact_length(&mounted);
}

#[test]
fn the_last_block_on_ext4_is_exact_to_the_byte() {
    let Some(mounted) = or_skip(Mounted::ext4()) else { return };
    expect_exact_length(&mounted);
}

#[test]
fn tmpfs_takes_anything_or_has_no_direct_io_at_all() {
    let Some(mounted) = or_skip(Mounted::tmpfs()) else { return };
    let path = file_of(mounted.path(), 10000);
    match open(&path, &DIRECT) {
        Ok(driver) => {
            let limits = driver.limits();
            assert_eq!((limits.alignments.request, limits.alignments.memory), (4096, 4096));
            assert_eq!(limits.sources.request, Source::Default);
        }
        Err(error) => assert!(error.words.contains("no O_DIRECT"), "{error}"),
    }
}

#[test]
fn a_file_of_this_machine_is_written_directly_where_it_has_data_and_where_it_has_none() {
    let directory = Directory::new().unwrap();
    let path = file_of(directory.path(), 65536);
    File::options().write(true).open(&path).unwrap().set_len(1 << 20).unwrap();
    let Some(driver) = or_skip(open(&path, &DIRECT).map_err(|error| error.to_string())) else {
        return;
    };
    let pages = Box::new(Pages([3; 8192]));
    assert_eq!(write(&driver, Lane::Main, 4096, &pages.0), Ok(8192));
    assert_eq!(write(&driver, Lane::Main, 1 << 19, &pages.0), Ok(8192));
    assert_eq!(driver.length(), Ok(1 << 20));
}

#[test]
fn buffered_files_need_no_second_descriptor_whatever_the_override() {
    let directory = Directory::new().unwrap();
    let path = file_of(directory.path(), 4196);
    let alignments = Alignments { request: 4096, ..BUFFERED.alignments };
    let options = FileOptions { alignments, ..BUFFERED };
    let driver = open(&path, &options).unwrap();
    assert_eq!(driver.limits().alignments.request, 4096);
    assert_eq!(driver.raw_fd(Lane::Main), driver.raw_fd(Lane::LastBlock));
    assert_eq!(write(&driver, Lane::LastBlock, 4096, &[1; 100]), Ok(100));
    assert_eq!(driver.length(), Ok(4196));
}

/// A kernel without RWF_DSYNC, that counts what stands in for it.
struct NoDsync {
    errno: Errno,
    refused: AtomicUsize,
    synced: AtomicUsize,
}

impl Calls for NoDsync {
    unsafe fn pwritev2(
        &self,
        fd: RawFd,
        iov: &[libc::iovec],
        offset: i64,
        flags: c_int,
    ) -> Result<usize, Errno> {
        if flags != 0 {
            self.refused.fetch_add(1, Ordering::Relaxed);
            return Err(self.errno);
        }
        // SAFETY: the caller vouches for the memory.
        unsafe { Linux.pwritev2(fd, iov, offset, flags) }
    }

    fn fdatasync(&self, fd: RawFd) -> Result<(), Errno> {
        self.synced.fetch_add(1, Ordering::Relaxed);
        Linux.fdatasync(fd)
    }
}

#[test]
fn fua_falls_back_to_fdatasync_and_remembers_it() {
    let directory = Directory::new().unwrap();
    let path = file_of(directory.path(), 4096);
    for errno in [libc::EOPNOTSUPP, libc::EINVAL] {
        let (refused, synced) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let table: &'static NoDsync = Box::leak(Box::new(NoDsync { errno, refused, synced }));
        let driver = with_calls(table, || open(&path, &BUFFERED)).unwrap();
        assert_eq!(write_fua(&driver, 0, b"safe"), Ok(4));
        assert_eq!(write_fua(&driver, 0, b"safe"), Ok(4));
        assert_eq!(write(&driver, Lane::Main, 0, b"fast"), Ok(4));
        assert_eq!(table.refused.load(Ordering::Relaxed), 1);
        assert_eq!(table.synced.load(Ordering::Relaxed), 2);
    }
}

/// A kernel that fails to write back what `write` put into the page cache. It tells each open file
/// once, at the first durable write or flush, as Linux does since 4.13.
#[derive(Default)]
struct LosesData {
    failures: AtomicUsize,
    /// How many of them an open file was told of.
    told: Mutex<HashMap<RawFd, usize>>,
}

impl LosesData {
    fn tell(&self, fd: RawFd) -> Result<(), Errno> {
        let failures = self.failures.load(Ordering::Relaxed);
        match self.told.lock().insert(fd, failures) {
            Some(told) if told < failures => Err(libc::EIO),
            _ => Ok(()),
        }
    }
}

impl Calls for LosesData {
    fn open(&self, path: &CStr, flags: c_int, mode: c_uint) -> Result<RawFd, Errno> {
        let fd = Linux.open(path, flags, mode)?;
        self.told.lock().insert(fd, self.failures.load(Ordering::Relaxed));
        Ok(fd)
    }

    unsafe fn pwritev2(
        &self,
        fd: RawFd,
        iov: &[libc::iovec],
        offset: i64,
        flags: c_int,
    ) -> Result<usize, Errno> {
        // SAFETY: the caller vouches for the memory.
        let moved = unsafe { Linux.pwritev2(fd, iov, offset, 0) }?;
        if flags & libc::RWF_DSYNC != 0 {
            self.tell(fd)?;
        }
        Ok(moved)
    }

    fn fdatasync(&self, fd: RawFd) -> Result<(), Errno> {
        self.tell(fd)
    }
}

#[test]
fn a_durable_write_does_not_hide_the_loss_of_an_earlier_one_from_the_flush() {
    let directory = Directory::new().unwrap();
    let path = file_of(directory.path(), 4096);
    let table: &'static LosesData = Box::leak(Box::default());
    let driver = with_calls(table, || open(&path, &BUFFERED)).unwrap();
    let flush = || driver.perform(&io(Op::Flush, Lane::Main, 0, &[]));
    assert_eq!(write(&driver, Lane::Main, 0, b"lost"), Ok(4));
    table.failures.fetch_add(1, Ordering::Relaxed);
    assert_eq!(write_fua(&driver, 100, b"safe"), Err(libc::EIO));
    assert_eq!(flush(), Err(libc::EIO));
    // It is the node that remembers: the kernel does not.
    assert_eq!(flush(), Ok(0));
}

#[test]
fn without_proc_flushes_go_by_the_path_or_share_and_without_descriptors_opening_fails() {
    struct NoReopen(Errno);
    impl Calls for NoReopen {
        fn open(&self, path: &CStr, flags: c_int, mode: c_uint) -> Result<RawFd, Errno> {
            if path.to_bytes().starts_with(b"/proc/") {
                return Err(self.0);
            }
            Linux.open(path, flags, mode)
        }
    }
    let directory = Directory::new().unwrap();
    let path = file_of(directory.path(), 4096);
    let driver = with_calls(&NoReopen(libc::ENOENT), || open(&path, &BUFFERED)).unwrap();
    assert_ne!(Ok(driver.flush_fd()), driver.raw_fd(Lane::Main));
    assert_eq!(driver.perform(&io(Op::Flush, Lane::Main, 0, &[])), Ok(0));
    // A descriptor has no path.
    let file = std::fs::File::options().read(true).write(true).open(&path).unwrap();
    let by_fd = || FileDriver::open_fd(file.as_raw_fd(), &BUFFERED);
    let driver = with_calls(&NoReopen(libc::ENOENT), by_fd).unwrap();
    assert_eq!(Ok(driver.flush_fd()), driver.raw_fd(Lane::Main));
    assert_eq!(driver.perform(&io(Op::Flush, Lane::Main, 0, &[])), Ok(0));
    // Another file has taken the name.
    let driver = with_calls(&NoReopen(libc::ENOENT), || open(&path, &BUFFERED)).unwrap();
    std::fs::remove_file(&path).unwrap();
    let path = file_of(directory.path(), 4096);
    let again = driver.reopen(&BUFFERED).unwrap();
    assert_eq!(again.identity(), driver.identity());
    assert_eq!(Ok(again.flush_fd()), again.raw_fd(Lane::Main));
    let error = with_calls(&NoReopen(libc::EMFILE), || open(&path, &BUFFERED)).err().unwrap();
    assert_eq!(error.errno, libc::EMFILE);
}
