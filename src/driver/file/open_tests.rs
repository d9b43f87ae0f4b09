//! Opening files: what is refused and in which words, by path and by descriptor, with a kernel
//! where /proc is missing or lies.

use std::ffi::{c_int, c_uint, CStr, CString};
use std::fs::{self, File};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::proof::disk::testbed::{or_skip, Directory, Loop4k, Mounted};
use crate::proof::disk::{Disk, Shape};
use crate::proof::table::with_calls;
use crate::sys::{Calls, Errno, Error, Linux};

use super::tests::{c_path, file_of, open, read, write, BUFFERED, DIRECT};
use super::*;
use crate::driver::*;

const READ_ONLY: FileOptions = FileOptions { writable: false, ..BUFFERED };

#[track_caller]
fn refusal<T>(result: Result<T, Error>) -> Error {
    match result {
        Ok(_) => panic!("should have been refused"),
        Err(error) => error,
    }
}

#[test]
fn without_o_direct_opening_fails_in_words_unless_buffered_will_do() {
    let path = Path::new("/simulated");
    let table = Disk::table(Shape { direct: false, ..Shape::silent(4096) });
    with_calls(table, || {
        let error = refusal(open(path, &DIRECT));
        assert_eq!(error.errno, libc::EINVAL);
        assert!(error.to_string().contains("/simulated: the file system has no O_DIRECT"));
        let driver = open(path, &FileOptions { buffered_ok: true, ..DIRECT }).unwrap();
        assert!(!driver.limits().direct);
        assert_eq!(driver.limits().alignments.request, 1);
    });
    assert_eq!(table.open_descriptors(), 0);
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
        (directory.path(), libc::EISDIR, "neither a regular file"),
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
fn create_without_o_direct_leaves_nothing_that_was_not_there() {
    let Some(mounted) = or_skip(Mounted::ramfs()) else { return };
    let path = mounted.path().join("new");
    let options = FileOptions { create: true, ..DIRECT };
    let error = refusal(open(&path, &options));
    assert!(error.words.contains("no O_DIRECT"), "{error}");
    assert!(!path.exists());
    // An empty file that was there stays, and so does a link that leads nowhere yet.
    fs::write(&path, "").unwrap();
    let link = mounted.path().join("link");
    std::os::unix::fs::symlink("elsewhere", &link).unwrap();
    assert_eq!(refusal(open(&path, &options)).errno, libc::EINVAL);
    assert_eq!(refusal(open(&link, &options)).errno, libc::EINVAL);
    assert!(path.exists() && link.is_symlink());
    // Where buffered I/O will do, the file is made.
    let other = mounted.path().join("other");
    let driver = open(&other, &FileOptions { buffered_ok: true, ..options }).unwrap();
    assert!(!driver.limits().direct);
    assert!(other.exists());
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

const EITHER: FileOptions = FileOptions { buffered_ok: true, ..DIRECT };

/// Each opened once more with these options: by path, by descriptor, and from a handle.
fn once_more(path: &Path, first: &FileDriver, options: &FileOptions) -> [Result<bool, Error>; 3] {
    let file = File::options().read(true).write(true).open(path).unwrap();
    let all = [
        open(path, options),
        FileDriver::open_fd(file.as_raw_fd(), options),
        first.reopen(options),
    ];
    all.map(|opened| opened.map(|driver| driver.limits().direct))
}

fn expect_one_way(path: &Path) {
    let direct = open(path, &DIRECT).unwrap();
    for options in [DIRECT, BUFFERED, EITHER] {
        assert_eq!(once_more(path, &direct, &options), [Ok(true), Ok(true), Ok(true)]);
    }
    drop(direct);
    let buffered = open(path, &BUFFERED).unwrap();
    assert!(!buffered.limits().direct, "nobody is left to go along with");
    for options in [BUFFERED, EITHER] {
        assert_eq!(once_more(path, &buffered, &options), [Ok(false), Ok(false), Ok(false)]);
    }
    for refused in once_more(path, &buffered, &DIRECT) {
        let error = refused.unwrap_err();
        assert_eq!(error.errno, libc::EBUSY);
        assert!(error.words.contains("page cache"), "{error}");
    }
    drop(buffered);
    assert!(open(path, &EITHER).unwrap().limits().direct);
}

#[test]
fn handles_of_one_file_go_one_way() {
    let Some(mounted) = or_skip(Mounted::xfs()) else { return };
    expect_one_way(&file_of(mounted.path(), 8192));
}

#[test]
fn handles_of_one_disk_go_one_way() {
    let Some(disk) = or_skip(Loop4k::new(1 << 20)) else { return };
    expect_one_way(disk.path());
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
    drop((driver, again));
    // Who goes along with a direct handle needs no other flags than that has.
    if let Ok(direct) = with_calls(table, || open(&path, &DIRECT)) {
        assert_eq!(direct.reopen(&BUFFERED).map(|its| its.limits().direct), Ok(true));
    }
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

#[test]
fn a_device_that_takes_writes_in_order_only_is_not_opened_for_writing() {
    let path = Path::new("/simulated");
    let opened = |shape: Shape, options: &FileOptions| {
        let table = Disk::table(shape);
        with_calls(table, || open(path, options).map(drop))
    };
    let zoned = |model: &'static [(&str, &str)]| Shape { says_files: model, ..Shape::device() };
    let host_managed = zoned(&[("queue/zoned", "host-managed\n")]);
    for options in [DIRECT, BUFFERED] {
        let error = refusal(opened(host_managed, &options));
        assert_eq!(error.errno, libc::EOPNOTSUPP);
        assert!(error.words.contains("zoned"), "{error}");
    }
    opened(host_managed, &READ_ONLY).unwrap();
    // A file system on such a disk sees to the order.
    opened(Shape { device: false, says_block_size: None, ..host_managed }, &DIRECT).unwrap();
    for model in [&[("queue/zoned", "none\n")], &[("queue/zoned", "host-aware\n")]] {
        opened(Shape { says_zone: Some(524_288), ..zoned(model) }, &DIRECT).unwrap();
    }
    // Without sysfs, zones of any kind.
    let silent = Shape { read_only: false, ..Shape::silent_device(4096) };
    assert!(opened(Shape { says_zone: Some(524_288), ..silent }, &DIRECT).is_err());
    opened(Shape { says_zone: Some(0), ..silent }, &DIRECT).unwrap();
    opened(silent, &DIRECT).unwrap();
}

#[test]
fn of_files_on_fuse_a_ring_is_not_safe() {
    let path = Path::new("/simulated");
    let unsafe_on = |shape: Shape| {
        with_calls(Disk::table(shape), || open(path, &DIRECT).unwrap().ring_is_unsafe())
    };
    let on = |kind| Shape { says_file_system: Some(kind), ..Shape::file() };
    let why = unsafe_on(on(0x6573_5546)).expect("FUSE");
    assert_eq!(why.errno, libc::EOPNOTSUPP);
    assert!(why.words.contains("FUSE"), "{why}");
    assert_eq!(unsafe_on(on(0x5846_5342)), None);
    assert_eq!(unsafe_on(Shape::file()), None);
    assert_eq!(unsafe_on(Shape::device()), None);
}

#[test]
fn a_discard_on_a_network_file_system_is_of_4096_bytes() {
    let discard = |kind, block| {
        let says_file_system_block = Some(block);
        let shape = Shape { says_file_system: Some(kind), says_file_system_block, ..Shape::file() };
        let table = Disk::table(shape);
        with_calls(table, || {
            let driver = open(Path::new("/simulated"), &DIRECT).unwrap();
            driver.limits().discard_alignment
        })
    };
    for kind in [0x6969, 0x0102_1997, 0xfe53_4d42, 0x6573_5546, 0x0bd0_0bd0] {
        assert_eq!(discard(kind, 16384), 4096, "{kind:x}");
    }
    assert_eq!(discard(0x5846_5342, 16384), 16384);
}
