use super::*;
use libc::iovec;
use std::ffi::{c_int, c_void};

fn zeroed() -> blkalign_driver {
    // SAFETY: integers, pointers and Options of functions are all valid as zeros.
    unsafe { std::mem::zeroed() }
}

unsafe extern "C" fn length(_: *mut c_void) -> i64 {
    0
}

unsafe extern "C" fn io(
    _: *mut c_void,
    _: i64,
    _: i64,
    _: *const iovec,
    _: c_int,
    _: u32,
) -> c_int {
    0
}

fn table() -> blkalign_driver {
    blkalign_driver { getlength: Some(length), preadv: Some(io), pwritev: Some(io), ..zeroed() }
}

fn errno(table: blkalign_driver) -> i32 {
    check_driver(&table, true).err().map_or(0, |error| error.errno)
}

#[test]
fn zeros_stand_for_one_and_for_no_limit() {
    let driver = check_driver(&table(), true).unwrap();
    let blkalign_driver { request_alignment, mem_alignment, segment_alignment, .. } = driver;
    assert_eq!((request_alignment, mem_alignment, segment_alignment), (1, 1, 1));
    assert_eq!((driver.max_transfer, driver.max_segments), (0, 0));
    assert!(!driver.name.is_null());
}

#[test]
fn max_transfer_is_whole_blocks() {
    let table = blkalign_driver { request_alignment: 4096, max_transfer: 9000, ..table() };
    assert_eq!(check_driver(&table, true).unwrap().max_transfer, 8192);
    assert_eq!(errno(blkalign_driver { max_transfer: 512, ..table }), libc::EINVAL);
}

#[test]
fn what_cannot_work_is_invalid() {
    assert_eq!(errno(table()), 0);
    assert_eq!(errno(blkalign_driver { getlength: None, ..table() }), libc::EINVAL);
    assert_eq!(errno(blkalign_driver { preadv: None, ..table() }), libc::EINVAL);
    assert_eq!(errno(blkalign_driver { pwritev: None, ..table() }), libc::EINVAL);
    assert_eq!(errno(blkalign_driver { request_alignment: 3, ..table() }), libc::EINVAL);
    assert_eq!(errno(blkalign_driver { mem_alignment: 1 << 21, ..table() }), libc::EINVAL);
    assert_eq!(errno(blkalign_driver { segment_alignment: 2, ..table() }), libc::EINVAL);
    let reads_only = blkalign_driver { pwritev: None, ..table() };
    assert!(check_driver(&reads_only, false).is_ok());
}
