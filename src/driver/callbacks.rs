//! A C caller's driver: the table of callbacks of `blkalign_open_driver`.

use std::ffi::{c_char, c_int, c_void};

use super::Segment;

pub type DoneFn = extern "C" fn(token: *mut c_void, ret: c_int);

pub type SyncIoFn =
    unsafe extern "C" fn(*mut c_void, i64, i64, *const Segment, c_int, u32) -> c_int;
pub type AsyncIoFn = unsafe extern "C" fn(
    *mut c_void,
    i64,
    i64,
    *const Segment,
    c_int,
    u32,
    DoneFn,
    *mut c_void,
) -> c_int;

/// The driver as the C door hands it over: sizes and NULLs already checked for form.
#[derive(Clone)]
pub struct CDriver {
    pub opaque: *mut c_void,
    pub name: *const c_char,
    pub request_alignment: u32,
    pub mem_alignment: u32,
    pub segment_alignment: u32,
    pub max_transfer: u32,
    pub max_segments: u32,
    pub getlength: unsafe extern "C" fn(*mut c_void) -> i64,
    pub preadv: Option<SyncIoFn>,
    pub pwritev: Option<SyncIoFn>,
    pub flush: Option<unsafe extern "C" fn(*mut c_void) -> c_int>,
    pub pdiscard: Option<unsafe extern "C" fn(*mut c_void, i64, i64) -> c_int>,
    pub pwrite_zeroes: Option<unsafe extern "C" fn(*mut c_void, i64, i64, u32) -> c_int>,
    pub truncate: Option<unsafe extern "C" fn(*mut c_void, i64) -> c_int>,
    pub close: Option<unsafe extern "C" fn(*mut c_void)>,
    pub aio_preadv: Option<AsyncIoFn>,
    pub aio_pwritev: Option<AsyncIoFn>,
    pub aio_flush: Option<unsafe extern "C" fn(*mut c_void, DoneFn, *mut c_void) -> c_int>,
}
