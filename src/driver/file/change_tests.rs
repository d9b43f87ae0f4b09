//! Zeros, discards and lengths on real disks and file systems, and with calls that fail.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use parking_lot::Mutex;

use crate::proof::disk::hooked::Hooked;
use crate::proof::disk::notes::{Call, Notes};
use crate::proof::disk::testbed::{or_skip, Directory, Loop4k, Mounted, Zram};
use crate::proof::table::with_calls;
use crate::sys::Errno;

use super::tests::{file_of, open, read, write, BUFFERED, DIRECT};
use super::*;
use crate::driver::*;

pub const BLOCK: u64 = 4096;
const LENGTH: u64 = 16 * BLOCK + 100;
fn unmap() -> Io {
    Io { may_unmap: true, ..zeroes(BLOCK, 4 * BLOCK) }
}

fn zeroes(offset: u64, bytes: u64) -> Io {
    Io { bytes, ..Io::new(IoId { slot: Slot(0), part: 0 }, Op::WriteZeroes, offset) }
}

fn discard(offset: u64, bytes: u64) -> Io {
    Io { op: Op::Discard, ..zeroes(offset, bytes) }
}

fn truncate(length: u64) -> Io {
    Io { bytes: 0, op: Op::Truncate, ..zeroes(length, 0) }
}

#[repr(align(4096))]
pub struct Pages(pub [u8; 8 * BLOCK as usize]);

/// Both descriptors show zeros in [from, to) of the first eight blocks, and sevens around them.
#[track_caller]
fn expect_zeros(driver: &FileDriver, from: u64, to: u64) {
    for lane in [Lane::LastBlock, Lane::Main] {
        let mut pages = Box::new(Pages([1; 8 * BLOCK as usize]));
        assert_eq!(read(driver, lane, 0, &mut pages.0), Ok(8 * BLOCK));
        let expected = |at| if (from..to).contains(&at) { 0 } else { 7 };
        let wrong = (0..8 * BLOCK).find(|&at| pages.0[at as usize] != expected(at));
        assert_eq!(wrong, None, "{lane:?}");
    }
}

/// Fills with sevens, in part by way of the page cache, which keeps them.
fn prepare(driver: &FileDriver) {
    let sevens = Box::new(Pages([7; 8 * BLOCK as usize]));
    assert_eq!(write(driver, Lane::Main, 0, &sevens.0), Ok(8 * BLOCK));
    let dirty = &sevens.0[..2 * BLOCK as usize];
    assert_eq!(write(driver, Lane::LastBlock, 3 * BLOCK, dirty), Ok(2 * BLOCK));
    let mut cached = [0; 8 * BLOCK as usize];
    assert_eq!(read(driver, Lane::LastBlock, 0, &mut cached), Ok(8 * BLOCK));
}

/// Every kind of zero write that `driver` has gives zeros there and nowhere else, at once.
#[track_caller]
fn expect_zeroing(driver: &FileDriver, zero_range: bool) {
    let length = driver.length().unwrap();
    let plain = zeroes(BLOCK, 4 * BLOCK);
    let done = if zero_range { Ok(4 * BLOCK) } else { Err(libc::ENOTSUP) };
    for (io, expected) in [
        (unmap(), Ok(4 * BLOCK)),
        (plain.clone(), done),
        (Io { fua: true, ..plain.clone() }, done),
        (Io { no_fallback: true, ..plain }, done),
        (Io { no_fallback: true, fua: true, ..unmap() }, Ok(4 * BLOCK)),
    ] {
        prepare(driver);
        assert_eq!(driver.perform(&io), expected);
        let end = if expected.is_ok() { 5 * BLOCK } else { BLOCK };
        expect_zeros(driver, BLOCK, end);
    }
    prepare(driver);
    assert_eq!(driver.perform(&discard(2 * BLOCK, BLOCK)), Ok(BLOCK));
    assert_eq!(driver.length().unwrap(), length);
}

fn blocks_of(path: &Path) -> u64 {
    File::open(path).unwrap().sync_all().unwrap();
    fs::metadata(path).unwrap().blocks()
}

/// On a file system: besides, what may be given back is, and what must not be is not.
#[track_caller]
fn expect_zeroing_of_a_file(directory: &Path, options: &FileOptions, zero_range: bool) {
    let path = file_of(directory, LENGTH as usize);
    let driver = open(&path, options).unwrap();
    assert_eq!(driver.limits().discard_alignment, 4096);
    assert_eq!(driver.limits().write_zeroes_alignment, 4096);
    expect_zeroing(&driver, zero_range);
    prepare(&driver);
    let full = blocks_of(&path);
    if zero_range {
        assert_eq!(driver.perform(&zeroes(BLOCK, 4 * BLOCK)), Ok(4 * BLOCK));
        // More, if the extents need a block for themselves.
        assert!(blocks_of(&path) >= full);
    }
    assert_eq!(driver.perform(&unmap()), Ok(4 * BLOCK));
    assert!(blocks_of(&path) <= full - 24);
    prepare(&driver);
    assert_eq!(driver.perform(&discard(BLOCK, 4 * BLOCK)), Ok(4 * BLOCK));
    assert!(blocks_of(&path) <= full - 24);
    // No matter what: the last, partial block is there to the byte.
    assert_eq!(driver.perform(&zeroes(16 * BLOCK, 100)).is_ok(), zero_range);
    assert_eq!(driver.length(), Ok(LENGTH));
}

/// A file that grows from nothing has its first block, and nothing of what was cut off comes back.
#[track_caller]
fn expect_growth(directory: &Path, options: &FileOptions) {
    let path = directory.join("new");
    let driver = open(&path, &FileOptions { create: true, ..options.clone() }).unwrap();
    assert_eq!(driver.length(), Ok(0));
    for length in [100_000, 0, 5, 1 << 20] {
        assert_eq!(driver.perform(&truncate(length)), Ok(0));
        assert_eq!(driver.length(), Ok(length));
        assert!(length == 0 || blocks_of(&path) > 0, "{length}");
    }
    let text = vec![9; 8192];
    assert_eq!(write(&driver, Lane::LastBlock, 0, &text), Ok(8192));
    for length in [5, 5000] {
        assert_eq!(driver.perform(&truncate(length)), Ok(0));
    }
    let mut found = [1; 5000];
    assert_eq!(read(&driver, Lane::LastBlock, 0, &mut found), Ok(5000));
    assert!(found[..5] == [9; 5] && found[5..] == [0; 4995]);
    fs::remove_file(&path).unwrap();
}

#[test]
fn zeros_and_lengths_on_xfs() {
    let Some(mounted) = or_skip(Mounted::xfs()) else { return };
    expect_zeroing_of_a_file(mounted.path(), &DIRECT, true);
    expect_zeroing_of_a_file(mounted.path(), &BUFFERED, true);
    expect_growth(mounted.path(), &DIRECT);
}

#[test]
fn zeros_and_lengths_on_ext4() {
    let Some(mounted) = or_skip(Mounted::ext4()) else { return };
    expect_zeroing_of_a_file(mounted.path(), &DIRECT, true);
    expect_zeroing_of_a_file(mounted.path(), &BUFFERED, true);
    expect_growth(mounted.path(), &DIRECT);
}

#[test]
fn zeros_and_lengths_on_btrfs() {
    let Some(mounted) = or_skip(Mounted::btrfs()) else { return };
    expect_zeroing_of_a_file(mounted.path(), &DIRECT, true);
    expect_zeroing_of_a_file(mounted.path(), &BUFFERED, true);
    expect_growth(mounted.path(), &DIRECT);
}

#[test]
fn tmpfs_gives_back_and_does_not_zero_otherwise() {
    let Some(mounted) = or_skip(Mounted::tmpfs()) else { return };
    expect_zeroing_of_a_file(mounted.path(), &BUFFERED, false);
    expect_growth(mounted.path(), &BUFFERED);
}

#[test]
fn a_file_system_without_any_of_it_still_has_lengths() {
    let Some(mounted) = or_skip(Mounted::ramfs()) else { return };
    let options = FileOptions { buffered_ok: true, create: true, ..DIRECT };
    let driver = open(&mounted.path().join("file"), &options).unwrap();
    assert!(!driver.limits().direct);
    assert_eq!(driver.perform(&truncate(10000)), Ok(0));
    assert_eq!(write(&driver, Lane::Main, 9990, b"0123456789"), Ok(10));
    for io in [zeroes(0, BLOCK), unmap(), discard(0, BLOCK)] {
        assert_eq!(driver.perform(&io), Err(libc::ENOTSUP));
    }
    let mut found = [1; 20];
    assert_eq!(read(&driver, Lane::Main, 9980, &mut found), Ok(20));
    assert_eq!(&found, b"\0\0\0\0\0\0\0\0\0\x000123456789");
    assert_eq!(driver.length(), Ok(10000));
}

#[test]
fn a_4kn_disk_zeroes_by_itself() {
    let Some(disk) = or_skip(Loop4k::new(64 << 20)) else { return };
    expect_zeroing(&open(disk.path(), &DIRECT).unwrap(), true);
}

#[test]
fn a_ram_disk_zeroes_by_itself() {
    let Some(disk) = or_skip(Zram::new(64 << 20)) else { return };
    expect_zeroing(&open(disk.path(), &DIRECT).unwrap(), true);
}

#[test]
fn a_buffered_handle_zeroes_any_range_of_a_disk() {
    let Some(disk) = or_skip(Loop4k::new(64 << 20)) else { return };
    let driver = open(disk.path(), &BUFFERED).unwrap();
    expect_zeroing(&driver, true);
    for (from, to) in [(100, 5 * BLOCK + 7), (100, 200), (4000, 4100), (4000, 8192), (4096, 8000)] {
        prepare(&driver);
        let io = Io { no_fallback: true, ..zeroes(from, to - from) };
        assert_eq!(driver.perform(&io), Ok(to - from));
        expect_zeros(&driver, from, to);
    }
}

const PUNCH: Call = Call::Fallocate(3);
const ZERO: Call = Call::Fallocate(0x11);

/// A file of this machine, as seen through `table`.
pub fn faulty_file(table: &'static Hooked<Notes>) -> (FileDriver, PathBuf, Directory) {
    let directory = Directory::new().unwrap();
    let path = file_of(directory.path(), LENGTH as usize);
    let driver = with_calls(table, || open(&path, &BUFFERED)).unwrap();
    table.taken_down();
    (driver, path, directory)
}

const REFUSALS: [Errno; 5] =
    [libc::EOPNOTSUPP, libc::ENOSYS, libc::ENOTTY, libc::ENODEV, libc::EINVAL];

#[test]
fn what_is_refused_is_not_asked_for_twice() {
    static ERRNO: Mutex<Errno> = Mutex::new(0);
    for errno in REFUSALS {
        *ERRNO.lock() = errno;
        let table = Notes::table(|call| (call == PUNCH).then(|| *ERRNO.lock()));
        let (driver, ..) = faulty_file(table);
        assert_eq!(driver.perform(&unmap()), Ok(4 * BLOCK));
        assert_eq!(table.taken_down(), [PUNCH, ZERO]);
        assert_eq!(driver.perform(&unmap()), Ok(4 * BLOCK));
        assert_eq!(driver.perform(&discard(BLOCK, BLOCK)), Err(libc::ENOTSUP));
        assert_eq!(table.taken_down(), [ZERO]);
        *table.fault.lock() = |_| Some(*ERRNO.lock());
        assert_eq!(driver.perform(&unmap()), Err(libc::ENOTSUP));
        assert_eq!(driver.perform(&zeroes(0, BLOCK)), Err(libc::ENOTSUP));
        assert_eq!(table.taken_down(), [ZERO]);
    }
}

#[test]
fn a_failure_that_may_pass_is_passed_on_and_not_remembered() {
    static ERRNO: Mutex<Errno> = Mutex::new(0);
    let expected = [
        (libc::EINTR, libc::EINTR),
        (libc::EIO, libc::EIO),
        (libc::ENOSPC, libc::ENOSPC),
        (libc::EPERM, libc::EPERM),
        (libc::EROFS, libc::EROFS),
        (libc::EACCES, libc::EACCES),
        (libc::ETXTBSY, libc::ETXTBSY),
        (libc::EBUSY, NOT_NOW),
    ];
    for (errno, answer) in expected {
        *ERRNO.lock() = errno;
        let table = Notes::table(|_| None);
        let (driver, ..) = faulty_file(table);
        *table.fault.lock() = |_| Some(*ERRNO.lock());
        for io in [unmap(), zeroes(BLOCK, BLOCK), discard(BLOCK, BLOCK), truncate(5)] {
            let answer = if io.op == Op::Truncate { errno } else { answer };
            assert_eq!(driver.perform(&io), Err(answer));
        }
        *table.fault.lock() = |_| None;
        for io in [unmap(), zeroes(BLOCK, BLOCK), discard(BLOCK, BLOCK), truncate(5)] {
            assert_eq!(driver.perform(&io), Ok(io.bytes));
        }
        assert_eq!(driver.length(), Ok(5));
    }
}

#[test]
fn durable_zeros_are_synced_and_a_failure_of_that_is_theirs() {
    let table = Notes::table(|_| None);
    let (driver, ..) = faulty_file(table);
    let durable = Io { fua: true, ..zeroes(0, BLOCK) };
    assert_eq!(driver.perform(&durable), Ok(BLOCK));
    assert_eq!(table.taken_down(), [ZERO, Call::Sync]);
    assert_eq!(driver.perform(&Io { fua: true, ..unmap() }), Ok(4 * BLOCK));
    assert_eq!(table.taken_down(), [PUNCH, Call::Sync]);
    *table.fault.lock() = |call| (call == Call::Sync).then_some(libc::EIO);
    assert_eq!(driver.perform(&durable), Err(libc::EIO));
}

#[test]
fn a_first_block_that_cannot_be_written_leaves_the_file_empty() {
    let table = Notes::table(|_| None);
    let (driver, path, _directory) = faulty_file(table);
    assert_eq!(driver.perform(&truncate(0)), Ok(0));
    *table.fault.lock() = |call| matches!(call, Call::Write(_)).then_some(libc::ENOSPC);
    table.taken_down();
    assert_eq!(driver.perform(&truncate(1000)), Err(libc::ENOSPC));
    assert_eq!(table.taken_down(), [Call::Truncate(1000), Call::Write(0), Call::Truncate(0)]);
    assert_eq!(driver.length(), Ok(0));
    *table.fault.lock() = |_| None;
    assert_eq!(driver.perform(&truncate(1000)), Ok(0));
    assert_eq!(fs::read(path).unwrap(), vec![0; 1000]);
    // No further block is written when it grows on.
    table.taken_down();
    assert_eq!(driver.perform(&truncate(2000)), Ok(0));
    assert_eq!(table.taken_down(), [Call::Truncate(2000)]);
}

#[test]
fn lengths_that_no_file_can_have_are_refused() {
    let (driver, ..) = faulty_file(Notes::table(|_| None));
    assert_eq!(driver.perform(&truncate(u64::MAX)), Err(libc::EFBIG));
    assert_eq!(driver.length(), Ok(LENGTH));
}

#[test]
fn without_fallback_a_disk_is_asked_first_whether_linux_would_write() {
    let Some(disk) = or_skip(Loop4k::new(64 << 20)) else { return };
    let table = Notes::table(|_| None);
    let driver = with_calls(table, || open(disk.path(), &DIRECT)).unwrap();
    let strict = Io { no_fallback: true, ..zeroes(BLOCK, BLOCK) };
    table.taken_down();
    assert_eq!(driver.perform(&strict), Ok(BLOCK));
    assert_eq!(table.taken_down(), [Call::Asked, ZERO]);
    // It could not be asked just now, which is nothing to be remembered.
    *table.fault.lock() = |call| (call == Call::Asked).then_some(libc::EMFILE);
    assert_eq!(driver.perform(&strict), Err(NOT_NOW));
    assert_eq!(table.taken_down(), [Call::Asked]);
    // A disk without a command for it.
    *table.fault.lock() = |call| match call {
        Call::Asked => Some(libc::ENOENT),
        PUNCH => Some(libc::EOPNOTSUPP),
        _ => None,
    };
    assert_eq!(driver.perform(&strict), Err(libc::ENOTSUP));
    assert_eq!(table.taken_down(), [Call::Asked]);
    let unmap = Io { may_unmap: true, ..strict.clone() };
    assert_eq!(driver.perform(&unmap), Err(libc::ENOTSUP));
    assert_eq!(table.taken_down(), [PUNCH]);
    assert_eq!(driver.perform(&Io { no_fallback: false, ..unmap }), Ok(BLOCK));
    assert_eq!(table.taken_down(), [ZERO]);
}

#[test]
fn a_disk_is_told_to_discard_and_remembered_if_it_cannot() {
    let Some(disk) = or_skip(Loop4k::new(64 << 20)) else { return };
    let table = Notes::table(|_| None);
    let driver = with_calls(table, || open(disk.path(), &DIRECT)).unwrap();
    table.taken_down();
    assert_eq!(driver.perform(&discard(BLOCK, BLOCK)), Ok(BLOCK));
    assert_eq!(table.taken_down(), [Call::Discard]);
    *table.fault.lock() = |_| Some(libc::EOPNOTSUPP);
    assert_eq!(driver.perform(&discard(BLOCK, BLOCK)), Err(libc::ENOTSUP));
    assert_eq!(driver.perform(&discard(BLOCK, BLOCK)), Err(libc::ENOTSUP));
    assert_eq!(table.taken_down(), [Call::Discard]);
}
