//! The file driver on this machine's file systems, on disks made for the test, and on a kernel
//! that refuses what it is told to.

use std::ffi::{c_int, c_uint, CStr, CString};
use std::fs::{self, File};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use smallvec::smallvec;

use crate::probe::Source;
use crate::sys::simulated::Storage;
use crate::sys::testbed::{or_skip, Directory, Loop4k, Mounted, Zram};
use crate::sys::{with_calls, Calls, Errno, Error, Linux};

use super::*;

const DIRECT: FileOptions = FileOptions {
    writable: true,
    direct: true,
    buffered_ok: false,
    create: false,
    request_alignment: 0,
    mem_alignment: 0,
    segment_alignment: 0,
};
const BUFFERED: FileOptions = FileOptions { direct: false, ..DIRECT };
const READ_ONLY: FileOptions = FileOptions { writable: false, ..BUFFERED };

fn c_path(path: &Path) -> CString {
    CString::new(path.as_os_str().as_bytes()).unwrap()
}

fn open(path: &Path, options: &FileOptions) -> Result<FileDriver, Error> {
    FileDriver::open(&c_path(path), options)
}

#[track_caller]
fn refusal<T>(result: Result<T, Error>) -> Error {
    match result {
        Ok(_) => panic!("should have been refused"),
        Err(error) => error,
    }
}

/// Page-aligned memory.
#[repr(align(4096))]
struct Pages([u8; 8192]);

fn io(op: Op, lane: Lane, offset: u64, memory: &[u8]) -> Io {
    let segment = Segment { address: memory.as_ptr() as usize, bytes: memory.len() };
    Io {
        id: IoId { slot: 0, part: 0 },
        op,
        lane,
        fua: false,
        offset,
        bytes: memory.len() as u64,
        segments: smallvec![segment],
        copies: smallvec![],
    }
}

fn write(driver: &FileDriver, lane: Lane, offset: u64, memory: &[u8]) -> Result<u64, i32> {
    driver.perform(&io(Op::Write, lane, offset, memory))
}

fn write_fua(driver: &FileDriver, offset: u64, memory: &[u8]) -> Result<u64, i32> {
    driver.perform(&Io { fua: true, ..io(Op::Write, Lane::Main, offset, memory) })
}

fn read(driver: &FileDriver, lane: Lane, offset: u64, memory: &mut [u8]) -> Result<u64, i32> {
    driver.perform(&io(Op::Read, lane, offset, memory))
}

/// A file of so many bytes, none of them a hole, in its own directory.
fn file_of(directory: &Path, bytes: usize) -> PathBuf {
    let path = directory.join("file");
    fs::write(&path, vec![7; bytes]).unwrap();
    File::open(&path).unwrap().sync_all().unwrap();
    path
}

#[track_caller]
fn expect_4k_blocks(driver: &FileDriver) {
    let limits = driver.limits();
    assert!(limits.direct);
    assert_eq!((limits.request_alignment, limits.mem_alignment), (4096, 512));
    assert_eq!(limits.request_alignment_source, Source::Statx);
    assert_eq!((limits.logical_block_size, limits.physical_block_size), (4096, 4096));
}

/// Whole blocks on the main lane come back as written; less than a block is refused.
#[track_caller]
fn expect_direct_io(driver: &FileDriver, offset: u64) {
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

#[test]
fn a_ram_disk_is_driven_in_whole_blocks() {
    let Some(disk) = or_skip(Zram::new(64 << 20)) else { return };
    let driver = open(disk.path(), &DIRECT).unwrap();
    expect_4k_blocks(&driver);
    assert_eq!(driver.length(), Ok(64 << 20));
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
            assert_eq!((limits.request_alignment, limits.mem_alignment), (4096, 4096));
            assert_eq!(limits.request_alignment_source, Source::Default);
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
fn without_o_direct_opening_fails_in_words_unless_buffered_will_do() {
    let path = Path::new("/simulated");
    let table = Storage { direct: false, ..Storage::file(4096) }.table();
    with_calls(table, || {
        let error = refusal(open(path, &DIRECT));
        assert_eq!(error.errno, libc::EINVAL);
        assert!(error.to_string().contains("/simulated: the file system has no O_DIRECT"));
        let driver = open(path, &FileOptions { buffered_ok: true, ..DIRECT }).unwrap();
        assert!(!driver.limits().direct);
        assert_eq!(driver.limits().request_alignment, 1);
    });
    assert_eq!(table.open_descriptors.load(Ordering::Relaxed), 0);
}

#[test]
fn buffered_files_need_no_second_descriptor_whatever_the_override() {
    let directory = Directory::new().unwrap();
    let path = file_of(directory.path(), 4196);
    let options = FileOptions { request_alignment: 4096, ..BUFFERED };
    let driver = open(&path, &options).unwrap();
    assert_eq!(driver.limits().request_alignment, 4096);
    assert_eq!(driver.raw_fd(Lane::Main), driver.raw_fd(Lane::LastBlock));
    assert_eq!(write(&driver, Lane::LastBlock, 4096, &[1; 100]), Ok(100));
    assert_eq!(driver.length(), Ok(4196));
}

#[test]
fn what_is_neither_file_nor_disk_is_refused_in_words() {
    let directory = Directory::new().unwrap();
    let pipe = directory.path().join("pipe");
    // SAFETY: the path is a C string.
    assert_eq!(unsafe { libc::mkfifo(c_path(&pipe).as_ptr(), 0o600) }, 0);
    let socket = directory.path().join("socket");
    let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let cases = [
        (directory.path(), libc::EISDIR, "a directory"),
        (&pipe, libc::EINVAL, "a pipe"),
        (&socket, libc::EINVAL, "a socket"),
        (Path::new("/dev/null"), libc::EINVAL, "a character device"),
        (&directory.path().join("missing"), libc::ENOENT, "cannot open"),
    ];
    for (path, errno, words) in cases {
        let error = refusal(open(path, &READ_ONLY));
        assert_eq!(error.errno, errno, "{}", path.display());
        assert!(error.words.starts_with(path.to_str().unwrap()), "{error}");
        assert!(error.words.contains(words), "{error}");
    }
}

#[test]
fn create_makes_a_missing_file_of_length_0_and_leaves_others_alone() {
    let directory = Directory::new().unwrap();
    let path = directory.path().join("new");
    let options = FileOptions { create: true, ..BUFFERED };
    assert_eq!(open(&path, &options).unwrap().length(), Ok(0));
    fs::write(&path, "content").unwrap();
    assert_eq!(open(&path, &options).unwrap().length(), Ok(7));
}

#[test]
fn identity_is_the_file_and_not_its_name() {
    let directory = Directory::new().unwrap();
    let path = file_of(directory.path(), 4096);
    let link = directory.path().join("link");
    fs::hard_link(&path, &link).unwrap();
    let by_path = open(&path, &BUFFERED).unwrap();
    let by_link = open(&link, &READ_ONLY).unwrap();
    let file = File::open(&path).unwrap();
    let by_fd = FileDriver::open_fd(file.as_raw_fd(), &READ_ONLY).unwrap();
    assert_eq!(by_path.identity(), by_link.identity());
    assert_eq!(by_path.identity(), by_fd.identity());
    let other = directory.path().join("other");
    fs::write(&other, "other").unwrap();
    assert_ne!(by_path.identity(), open(&other, &BUFFERED).unwrap().identity());
}

#[test]
fn a_descriptor_that_cannot_do_what_is_wanted_is_refused() {
    let directory = Directory::new().unwrap();
    let path = file_of(directory.path(), 4096);
    let reader = File::open(&path).unwrap();
    let error = refusal(FileDriver::open_fd(reader.as_raw_fd(), &BUFFERED));
    assert_eq!((error.errno, error.words.contains("for reading only")), (libc::EACCES, true));
    let driver = FileDriver::open_fd(reader.as_raw_fd(), &READ_ONLY).unwrap();
    assert_eq!(refusal(driver.reopen(&BUFFERED)).errno, libc::EACCES);
    let writer = File::options().write(true).open(&path).unwrap();
    let error = refusal(FileDriver::open_fd(writer.as_raw_fd(), &READ_ONLY));
    assert_eq!((error.errno, error.words.contains("for writing only")), (libc::EACCES, true));
    // Numbers that nobody has open.
    for fd in [-1, 1 << 28] {
        assert_eq!(refusal(FileDriver::open_fd(fd, &READ_ONLY)).errno, libc::EBADF);
    }
}

#[test]
fn position_and_flags_of_a_callers_descriptor_are_not_shared() {
    let directory = Directory::new().unwrap();
    let path = file_of(directory.path(), 4096);
    let appender = File::options().read(true).append(true).open(&path).unwrap();
    let driver = FileDriver::open_fd(appender.as_raw_fd(), &BUFFERED).unwrap();
    drop(appender);
    assert_eq!(write(&driver, Lane::Main, 10, b"here"), Ok(4));
    assert_eq!(driver.length(), Ok(4096));
    let mut found = [0; 4];
    File::open(&path).unwrap().read_exact_at(&mut found, 10).unwrap();
    assert_eq!(&found, b"here");
}

#[test]
fn reopening_gives_other_flags_on_the_same_object() {
    let directory = Directory::new().unwrap();
    let path = file_of(directory.path(), 4096);
    let first = open(&path, &READ_ONLY).unwrap();
    fs::remove_file(&path).unwrap();
    let second = first.reopen(&BUFFERED).unwrap();
    assert_eq!(first.identity(), second.identity());
    assert_eq!(write(&second, Lane::Main, 0, b"seen"), Ok(4));
    let mut found = [0; 4];
    assert_eq!(read(&first, Lane::Main, 0, &mut found), Ok(4));
    assert_eq!(&found, b"seen");
    assert_eq!(write(&first, Lane::Main, 0, b"no"), Err(libc::EBADF));
}

/// A kernel where paths below /proc lead somewhere else, or nowhere.
struct Proc(Option<CString>);

impl Calls for Proc {
    fn open(&self, path: &CStr, flags: c_int, mode: c_uint) -> Result<RawFd, Errno> {
        match &self.0 {
            _ if !path.to_bytes().starts_with(b"/proc/") => Linux.open(path, flags, mode),
            Some(other) => Linux.open(other, flags, mode),
            None => Err(libc::ENOENT),
        }
    }
}

#[test]
fn without_proc_a_descriptor_with_the_same_flags_is_duplicated() {
    let directory = Directory::new().unwrap();
    let path = file_of(directory.path(), 4096);
    let file = File::options().read(true).write(true).open(&path).unwrap();
    let fd = file.as_raw_fd();
    let table: &'static Proc = Box::leak(Box::new(Proc(None)));
    let driver = with_calls(table, || FileDriver::open_fd(fd, &BUFFERED)).unwrap();
    drop(file);
    assert_eq!(write(&driver, Lane::Main, 0, b"kept"), Ok(4));
    let again = driver.reopen(&READ_ONLY).unwrap();
    let mut found = [0; 4];
    assert_eq!(read(&again, Lane::Main, 0, &mut found), Ok(4));
    assert_eq!(&found, b"kept");
    let appender = File::options().read(true).append(true).open(&path).unwrap();
    let fd = appender.as_raw_fd();
    let error = refusal(with_calls(table, || FileDriver::open_fd(fd, &BUFFERED)));
    assert_eq!(error.errno, libc::ENOENT);
}

#[test]
fn a_second_descriptor_of_another_file_is_refused() {
    let directory = Directory::new().unwrap();
    let path = file_of(directory.path(), 4196);
    let other = directory.path().join("other");
    fs::write(&other, "other").unwrap();
    let options = FileOptions { direct: true, buffered_ok: true, ..BUFFERED };
    if open(&path, &options).map(|driver| driver.limits().direct) != Ok(true) {
        eprintln!("skipped: no O_DIRECT in {}", directory.path().display());
        return;
    }
    let table: &'static Proc = Box::leak(Box::new(Proc(Some(c_path(&other)))));
    let error = refusal(with_calls(table, || open(&path, &options)));
    assert_eq!(error.errno, libc::ESTALE);
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
