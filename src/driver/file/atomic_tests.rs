//! Writes that are to survive a loss of power as a whole or not at all: which ones say so to the
//! kernel, and what happens where it does not want to hear that.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use parking_lot::Mutex;

use crate::proof::disk::hooked::Hooked;
use crate::proof::disk::notes::{Call, Notes};
use crate::proof::disk::testbed::{or_skip, Directory, Mounted};
use crate::sys::Errno;

use super::change_tests::{faulty_file, Pages, BLOCK};
use super::tests::{file_of, io, open, BUFFERED, DIRECT};
use super::*;
use crate::driver::*;

/// A driver whose storage promises atomic writes of one to four blocks.
fn atomic_file(table: &'static Hooked<Notes>) -> (FileDriver, PathBuf, Directory) {
    let (mut driver, path, directory) = faulty_file(table);
    (driver.limits.atomic_write_unit_min, driver.limits.atomic_write_unit_max) = (4096, 16384);
    (driver, path, directory)
}

fn atomic_write(offset: u64, memory: &[u8]) -> Io {
    Io { atomic: true, ..io(Op::Write, Lane::Main, offset, memory) }
}

#[test]
fn atomic_writes_carry_the_flag_where_linux_takes_it() {
    let table = Notes::table(|_| None);
    let (driver, ..) = atomic_file(table);
    let memory = [1; 32768];
    let flags_of = |io: Io| {
        let bytes = io.bytes;
        assert_eq!(driver.perform(&io), Ok(bytes));
        table.taken_down()
    };
    let block = atomic_write(BLOCK, &memory[..4096]);
    let atomic = [Call::Write(libc::RWF_ATOMIC)];
    assert_eq!(flags_of(block.clone()), atomic);
    assert_eq!(flags_of(atomic_write(4 * BLOCK, &memory[..16384])), atomic);
    let both = [Call::Write(libc::RWF_ATOMIC | libc::RWF_DSYNC)];
    assert_eq!(flags_of(Io { fua: true, ..block.clone() }), both);
    let plain = [Call::Write(0)];
    assert_eq!(flags_of(atomic_write(BLOCK, &memory[..2048])), plain);
    assert_eq!(flags_of(atomic_write(0, &memory)), plain);
    assert_eq!(flags_of(atomic_write(0, &memory[..12288])), plain);
    assert_eq!(flags_of(atomic_write(BLOCK, &memory[..8192])), plain);
    let (low, high) = (block.segments[0].address, 2048);
    let halves = [(low, high), (low + 4096, high)];
    let halves = halves.map(|(address, bytes)| Segment { address, bytes });
    assert_eq!(flags_of(Io { segments: halves.into_iter().collect(), ..block.clone() }), plain);
    assert_eq!(flags_of(Io { atomic: false, ..block }), plain);
}

#[test]
fn atomic_writes_that_are_refused_are_repeated_and_remembered() {
    for errno in [libc::EOPNOTSUPP, libc::EINVAL] {
        static ERRNO: Mutex<Errno> = Mutex::new(0);
        *ERRNO.lock() = errno;
        let refuse = |call| match call {
            Call::Write(flags) if flags & libc::RWF_ATOMIC != 0 => Some(*ERRNO.lock()),
            _ => None,
        };
        let table = Notes::table(refuse);
        let (driver, ..) = atomic_file(table);
        let memory = [1; 4096];
        let block = Io { fua: true, ..atomic_write(BLOCK, &memory) };
        assert!(driver.takes_atomic(&block));
        assert_eq!(driver.perform(&block), Ok(BLOCK));
        assert!(!driver.takes_atomic(&block));
        assert_eq!(table.taken_down().last(), Some(&Call::Write(libc::RWF_DSYNC)));
        assert_eq!(driver.perform(&block), Ok(BLOCK));
        assert_eq!(table.taken_down(), [Call::Write(libc::RWF_DSYNC)]);
        assert_eq!(driver.limits().atomic_write_unit_max, 16384);
    }
}

#[test]
fn an_atomic_write_that_fails_otherwise_teaches_nothing() {
    let table = Notes::table(|call| matches!(call, Call::Write(_)).then_some(libc::EINVAL));
    let (driver, ..) = atomic_file(table);
    let memory = [1; 4096];
    let block = atomic_write(BLOCK, &memory);
    assert_eq!(driver.perform(&block), Err(libc::EINVAL));
    assert!(driver.takes_atomic(&block));
    *table.fault.lock() = |call| matches!(call, Call::Write(_)).then_some(libc::EIO);
    table.taken_down();
    assert_eq!(driver.perform(&block), Err(libc::EIO));
    assert_eq!(table.taken_down(), [Call::Write(libc::RWF_ATOMIC)]);
}

#[test]
fn what_a_file_system_promises_about_atomic_writes_is_kept_or_replaced_by_a_plain_write() {
    let Some(mounted) = or_skip(Mounted::xfs()) else { return };
    let path = file_of(mounted.path(), 65536);
    let driver = open(&path, &DIRECT).unwrap();
    let max = u64::from(driver.limits().atomic_write_unit_max);
    assert!(max == 0 || max.is_power_of_two());
    let pages = Box::new(Pages([5; 8 * BLOCK as usize]));
    let block = atomic_write(BLOCK, &pages.0[..4096]);
    assert_eq!(driver.takes_atomic(&block), (1..=BLOCK).contains(&max.min(BLOCK)));
    assert_eq!(driver.perform(&block), Ok(BLOCK));
    let mut found = [0; 4096];
    File::open(&path).unwrap().read_exact_at(&mut found, BLOCK).unwrap();
    assert_eq!(found, [5; 4096]);
    // Else it would be direct as well.
    drop(driver);
    assert_eq!(open(&path, &BUFFERED).unwrap().limits().atomic_write_unit_max, 0);
}
