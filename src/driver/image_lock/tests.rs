use std::ffi::{c_int, c_uint, CStr, CString};
use std::fs;
use std::os::fd::RawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::{ImageLock, Use};
use crate::driver::{Alignments, FileDriver, FileOptions};
use crate::proof::disk::testbed::{or_skip, Directory, Loop4k};
use crate::proof::table::with_calls;
use crate::sys::{calls, Calls, Descriptor, Errno, Error, Linux};

const OPTIONS: FileOptions = FileOptions {
    writable: true,
    direct: false,
    buffered_ok: false,
    create: false,
    resize: false,
    alignments: Alignments { request: 512, memory: 512, segment: 512 },
};

const ALL: [Use; 3] = [Use::Read, Use::Write, Use::Resize];

fn c_path(path: &Path) -> CString {
    CString::new(path.as_os_str().as_bytes()).unwrap()
}

fn image() -> (Directory, CString) {
    let directory = Directory::new().unwrap();
    let path = directory.path().join("image");
    fs::write(&path, [1; 4096]).unwrap();
    (directory, c_path(&path))
}

fn open(path: &CStr) -> FileDriver {
    FileDriver::open(path, &OPTIONS).unwrap()
}

/// Another open file, which is to these locks what another process is.
fn other(path: &CStr) -> Descriptor {
    Descriptor::open(calls(), path, libc::O_RDONLY).unwrap()
}

/// The bytes that are locked, as others see it.
fn locked(path: &CStr) -> Vec<u8> {
    let other = other(path);
    let bytes = (100..104).chain(200..204);
    bytes.filter(|&byte| other.is_byte_locked_elsewhere(byte).unwrap()).collect()
}

fn refusal(result: Result<ImageLock, Error>) -> Error {
    result.err().expect("an error")
}

#[test]
fn each_use_locks_the_bytes_of_the_table_and_gives_them_back() {
    let (_directory, path) = image();
    let expected: [&[u8]; 3] =
        [&[100, 201, 203], &[100, 101, 201, 203], &[100, 101, 103, 201, 203]];
    for (how, expected) in ALL.into_iter().zip(expected) {
        let lock = open(&path).lock_image(how).unwrap();
        assert_eq!(locked(&path), expected, "{how:?}");
        drop(lock);
        assert_eq!(locked(&path), [0; 0], "{how:?}");
    }
}

#[test]
fn a_device_is_locked_like_a_file() {
    let Some(disk) = or_skip(Loop4k::new(1 << 20)) else { return };
    let path = c_path(disk.path());
    let lock = open(&path).lock_image(Use::Write).unwrap();
    assert_eq!(locked(&path), [100, 101, 201, 203]);
    drop(lock);
    assert_eq!(locked(&path), [0; 0]);
}

#[test]
fn handles_share_one_set_that_has_what_any_of_them_needs() {
    let (_directory, path) = image();
    let reader = open(&path).lock_image(Use::Read).unwrap();
    let writer = open(&path).lock_image(Use::Write).unwrap();
    let second_writer = open(&path).lock_image(Use::Write).unwrap();
    assert_eq!(locked(&path), [100, 101, 201, 203]);
    drop(writer);
    assert_eq!(locked(&path), [100, 101, 201, 203]);
    drop(second_writer);
    assert_eq!(locked(&path), [100, 201, 203]);
    drop(reader);
    assert_eq!(locked(&path), [0; 0]);
}

#[test]
fn a_lock_outlives_the_descriptors_it_was_taken_through() {
    let (_directory, path) = image();
    let driver = open(&path);
    let lock = driver.lock_image(Use::Read).unwrap();
    drop(driver);
    // To the locks of POSIX this would be the end.
    drop(open(&path));
    assert_eq!(locked(&path), [100, 201, 203]);
    drop(lock);
}

/// The bytes that are locked by the open file description of that descriptor, as Linux tells.
fn locked_by(descriptor: &Descriptor) -> Vec<u8> {
    let info = fs::read_to_string(format!("/proc/self/fdinfo/{}", descriptor.raw())).unwrap();
    let locks = info.lines().filter(|line| line.starts_with("lock:"));
    locks.map(|line| line.split_whitespace().last().unwrap().parse().unwrap()).collect()
}

/// A process that dies with I/O under way leaves that description behind, and no other.
#[test]
fn a_writer_is_also_to_be_found_on_the_open_file_that_its_io_goes_through() {
    let (_directory, path) = image();
    let [reader, first, second] = [(); 3].map(|()| open(&path));
    let reads = reader.lock_image(Use::Read).unwrap();
    assert_eq!(locked_by(&reader.main), [0; 0]);
    let writes = first.lock_image(Use::Write).unwrap();
    assert_eq!(locked_by(&first.main), [101]);
    let resizes = second.lock_image(Use::Resize).unwrap();
    assert_eq!(locked_by(&second.main), [101]);
    drop((writes, resizes));
    assert_eq!((locked_by(&first.main), locked_by(&second.main)), (vec![], vec![]));
    drop(reads);
    assert!(open(&path).lock_image(Use::Resize).is_ok(), "our own drivers are not in the way");
}

#[test]
fn whatever_contradicts_is_refused_in_words_that_name_the_byte() {
    let (_directory, path) = image();
    let reading = (200, "does not share reading");
    let writers = [(101, "uses the file for writing"), (103, "uses the file for resizing")];
    let [no_writing, no_resizing] =
        [(201, "does not share writing"), (203, "does not share resizing")];
    let cases = [
        (Use::Read, [&[reading][..], &writers].concat()),
        (Use::Write, [&[reading, no_writing][..], &writers].concat()),
        (Use::Resize, [&[reading, no_writing, no_resizing][..], &writers].concat()),
    ];
    for (how, contradictions) in cases {
        for byte in (100..104).chain(200..204) {
            let other = other(&path);
            other.lock_byte(byte, true).unwrap();
            let result = open(&path).lock_image(how);
            match contradictions.iter().find(|(its, _)| *its == byte) {
                Some((_, words)) => {
                    let error = refusal(result);
                    assert_eq!(error.errno, libc::EAGAIN, "{how:?} {byte}");
                    let named = format!("byte {byte}: another process ");
                    assert!(error.words.contains(&named), "{error}");
                    assert!(error.words.contains(words), "{error}");
                    assert_eq!(locked(&path), [byte]);
                }
                None => assert!(result.is_ok(), "{how:?} {byte}"),
            }
        }
    }
    // What a guest of QEMU that writes has, and shares.
    let other = other(&path);
    for byte in [100, 102, 202] {
        other.lock_byte(byte, true).unwrap();
    }
    assert!(open(&path).lock_image(Use::Resize).is_ok());
}

#[test]
fn an_upgrade_that_is_refused_leaves_what_there_was() {
    let (_directory, path) = image();
    let reader = open(&path).lock_image(Use::Read).unwrap();
    let other = other(&path);
    other.lock_byte(201, true).unwrap();
    let error = refusal(open(&path).lock_image(Use::Write));
    assert!(error.words.ends_with("byte 201: another process does not share writing"), "{error}");
    other.lock_byte(201, false).unwrap();
    assert_eq!(locked(&path), [100, 201, 203]);
    let writer = open(&path).lock_image(Use::Write).unwrap();
    assert_eq!(locked(&path), [100, 101, 201, 203]);
    drop((reader, writer));
    assert_eq!(locked(&path), [0; 0]);
}

/// Of the calls for a lock of that kind the one of that number fails: F_RDLCK to take one,
/// F_WRLCK to look for one, F_UNLCK to give one back.
struct Failing {
    kind: c_int,
    number: usize,
    errno: Errno,
    calls: AtomicUsize,
}

impl Failing {
    fn table(kind: c_int, number: usize, errno: Errno) -> &'static Failing {
        Box::leak(Box::new(Failing { kind, number, errno, calls: AtomicUsize::new(0) }))
    }
}

impl Calls for Failing {
    fn fcntl_lock(&self, fd: RawFd, command: c_int, lock: &mut libc::flock) -> Result<(), Errno> {
        let counts = self.kind == c_int::from(lock.l_type);
        if counts && self.calls.fetch_add(1, Ordering::Relaxed) == self.number {
            return Err(self.errno);
        }
        Linux.fcntl_lock(fd, command, lock)
    }
}

fn open_through(table: &'static dyn Calls, path: &CStr) -> FileDriver {
    with_calls(table, || open(path))
}

#[test]
fn nothing_stays_locked_wherever_a_system_call_fails() {
    let (_directory, path) = image();
    for (kind, calls) in [(libc::F_RDLCK, 6), (libc::F_WRLCK, 5)] {
        for number in 0..=calls {
            let driver = open_through(Failing::table(kind, number, libc::ENOLCK), &path);
            let result = driver.lock_image(Use::Resize);
            assert_eq!(result.is_err(), number < calls, "{kind} {number}");
            if let Err(error) = result {
                assert_eq!(error.errno, libc::ENOLCK);
                assert!(error.words.contains("grants no locks"), "{error}");
                assert_eq!(locked(&path), [0; 0], "{kind} {number}");
            }
        }
    }
}

#[test]
fn a_system_without_such_locks_is_told_in_words() {
    let (_directory, path) = image();
    for (errno, expected, words) in [
        (libc::EINVAL, libc::ENOTSUP, "has no open file description locks (OFD)"),
        (libc::ENOSYS, libc::ENOTSUP, "has no open file description locks (OFD)"),
        (libc::EOPNOTSUPP, libc::EOPNOTSUPP, "has no open file description locks (OFD)"),
        (libc::EACCES, libc::EAGAIN, "another process holds an exclusive lock on it"),
        (libc::EIO, libc::EIO, "cannot lock byte 101"),
    ] {
        let driver = open_through(Failing::table(libc::F_RDLCK, 1, errno), &path);
        let error = refusal(driver.lock_image(Use::Write));
        assert_eq!(error.errno, expected);
        assert!(error.words.contains(words), "{error}");
        assert!(error.words.contains("byte 101"), "{error}");
    }
}

#[test]
fn an_interrupted_call_is_made_again() {
    let (_directory, path) = image();
    for kind in [libc::F_RDLCK, libc::F_WRLCK, libc::F_UNLCK] {
        let driver = open_through(Failing::table(kind, 0, libc::EINTR), &path);
        let lock = driver.lock_image(Use::Write).unwrap();
        assert_eq!(locked(&path), [100, 101, 201, 203]);
        drop(lock);
        assert_eq!(locked(&path), [0; 0]);
    }
}

#[test]
fn a_byte_that_cannot_be_unlocked_goes_with_the_last_handle() {
    let (_directory, path) = image();
    let driver = open_through(Failing::table(libc::F_UNLCK, 1, libc::ENOLCK), &path);
    let reader = driver.lock_image(Use::Read).unwrap();
    let writer = driver.lock_image(Use::Write).unwrap();
    drop(writer);
    assert_eq!(locked(&path), [100, 101, 201, 203], "the fault has struck");
    drop(reader);
    assert_eq!(locked(&path), [0; 0]);
}

/// Where /proc leads: to that file, or nowhere.
struct Proc(Option<CString>);

impl Calls for Proc {
    fn open(&self, path: &CStr, flags: c_int, mode: c_uint) -> Result<RawFd, Errno> {
        match &self.0 {
            _ if !path.to_bytes().starts_with(b"/proc/") => Linux.open(path, flags, mode),
            Some(elsewhere) => Linux.open(elsewhere, flags, mode),
            None => Err(libc::ENOENT),
        }
    }
}

#[test]
fn without_proc_the_lock_hangs_on_the_handles_own_open_file() {
    let (_directory, path) = image();
    let driver = open_through(Box::leak(Box::new(Proc(None))), &path);
    let lock = driver.lock_image(Use::Write).unwrap();
    drop(driver);
    assert_eq!(locked(&path), [100, 101, 201, 203]);
    drop(lock);
    assert_eq!(locked(&path), [0; 0]);
}

#[test]
fn no_other_file_is_locked_in_its_place() {
    let ((_directory, path), (_other_directory, elsewhere)) = (image(), image());
    let proc = Box::leak(Box::new(Proc(Some(elsewhere.clone()))));
    // A writable one would be opened again for its flushes, and fail already there.
    let read_only = FileOptions { writable: false, ..OPTIONS };
    let driver = with_calls(proc, || FileDriver::open(&path, &read_only).unwrap());
    assert_eq!(refusal(driver.lock_image(Use::Write)).errno, libc::ESTALE);
    assert_eq!((locked(&path), locked(&elsewhere)), (vec![], vec![]));
}

#[test]
fn a_file_is_locked_through_whichever_name_it_was_opened_by() {
    let (directory, path) = image();
    let link = directory.path().join("link");
    fs::hard_link(Path::new(std::ffi::OsStr::from_bytes(path.to_bytes())), &link).unwrap();
    let first = open(&path).lock_image(Use::Write).unwrap();
    let second = open(&c_path(&link)).lock_image(Use::Write).unwrap();
    drop(first);
    assert_eq!(locked(&path), [100, 101, 201, 203]);
    drop(second);
}
