//! The table of functions through which the library sees a `Store`.

use std::ffi::{c_int, c_void};

use blkalign::capi::{blkalign_driver, blkalign_driver_done_fn};
use libc::iovec;

use crate::store::{Io, Pending, Store};

const ASYNC_READ: u8 = 1;
const ASYNC_WRITE: u8 = 2;
const ASYNC_FLUSH: u8 = 4;
const NO_FLUSH: u8 = 8;
const NO_ZEROES: u8 = 16;
const NO_DISCARD: u8 = 32;
const NO_TRUNCATE: u8 = 64;
/// The synchronous functions are missing where there are asynchronous ones.
const ONLY_ASYNC: u8 = 128;

pub fn can_truncate(store: &Store) -> bool {
    store.shape.functions & NO_TRUNCATE == 0
}

pub fn table(store: &Store) -> blkalign_driver {
    let shape = store.shape;
    let has = |bit: u8| shape.functions & bit != 0;
    let spare = |bit: u8| !(has(bit) && has(ONLY_ASYNC));
    blkalign_driver {
        size: std::mem::size_of::<blkalign_driver>(),
        name: c"store".as_ptr(),
        request_alignment: shape.request_alignment,
        mem_alignment: shape.mem_alignment,
        segment_alignment: shape.segment_alignment,
        max_transfer: shape.max_transfer,
        max_segments: shape.max_segments,
        getlength: Some(getlength),
        preadv: spare(ASYNC_READ).then_some(preadv),
        pwritev: spare(ASYNC_WRITE).then_some(pwritev),
        flush: (!has(NO_FLUSH) && spare(ASYNC_FLUSH)).then_some(flush),
        pdiscard: (!has(NO_DISCARD)).then_some(pdiscard),
        pwrite_zeroes: (!has(NO_ZEROES)).then_some(pwrite_zeroes),
        truncate: (!has(NO_TRUNCATE)).then_some(truncate),
        close: Some(close),
        aio_preadv: has(ASYNC_READ).then_some(aio_preadv),
        aio_pwritev: has(ASYNC_WRITE).then_some(aio_pwritev),
        aio_flush: (!has(NO_FLUSH) && has(ASYNC_FLUSH)).then_some(aio_flush),
        block_status: None,
    }
}

fn store<'a>(opaque: *mut c_void) -> &'a Store {
    // SAFETY: what `Scene` hands to open_driver: its store, which outlives all handles.
    unsafe { &*opaque.cast::<Store>() }
}

extern "C-unwind" fn nobody(_: *mut c_void, _: c_int) {
    unreachable!("the I/O was synchronous");
}

fn now(opaque: *mut c_void, io: Io, at: (i64, i64), vector: (*const iovec, c_int)) -> c_int {
    let ((offset, bytes), (vector, count)) = (at, vector);
    let token = std::ptr::null_mut();
    let io = Pending { io, offset, bytes, vector, count, done: nobody, token };
    let store = store(opaque);
    let mut state = store.lock();
    store.perform(&mut state, &io)
}

unsafe extern "C" fn getlength(opaque: *mut c_void) -> i64 {
    store(opaque).lock().bytes.len() as i64
}

unsafe extern "C" fn preadv(
    opaque: *mut c_void,
    offset: i64,
    bytes: i64,
    iov: *const iovec,
    iovcnt: c_int,
    flags: u32,
) -> c_int {
    assert_eq!(flags, 0, "flags of a read");
    now(opaque, Io::Read, (offset, bytes), (iov, iovcnt))
}

unsafe extern "C" fn pwritev(
    opaque: *mut c_void,
    offset: i64,
    bytes: i64,
    iov: *const iovec,
    iovcnt: c_int,
    flags: u32,
) -> c_int {
    assert_eq!(flags & !1, 0, "flags of a write");
    now(opaque, Io::Write, (offset, bytes), (iov, iovcnt))
}

unsafe extern "C" fn flush(opaque: *mut c_void) -> c_int {
    now(opaque, Io::Flush, (0, 0), (std::ptr::null(), 0))
}

/// The part of the store that a call is about; it keeps the promises.
fn whole_blocks(store: &Store, length: usize, offset: i64, bytes: i64) -> (usize, usize) {
    let block = i64::from(store.shape.request_alignment.max(1));
    assert!(offset >= 0 && bytes > 0, "{offset}, {bytes}");
    assert_eq!((offset % block, bytes % block), (0, 0), "blocks of {block}");
    assert!((offset + bytes) as usize <= length, "{offset} + {bytes} passes the end");
    let transfer = i64::from(store.shape.max_transfer);
    assert!(transfer == 0 || bytes <= transfer, "{bytes} bytes, at most {transfer}");
    (offset as usize, (offset + bytes) as usize)
}

unsafe extern "C" fn pdiscard(opaque: *mut c_void, offset: i64, bytes: i64) -> c_int {
    let store = store(opaque);
    let mut state = store.lock();
    let (start, end) = whole_blocks(store, state.bytes.len(), offset, bytes);
    if let Some(fault) = state.fault() {
        return fault;
    }
    state.say(|| format!("  a discard from {start} to {end}"));
    state.bytes[start..end].fill(0xdd);
    0
}

unsafe extern "C" fn pwrite_zeroes(
    opaque: *mut c_void,
    offset: i64,
    bytes: i64,
    flags: u32,
) -> c_int {
    assert_eq!(flags & !0x19, 0, "flags of a zero write");
    let store = store(opaque);
    let mut state = store.lock();
    let (start, end) = whole_blocks(store, state.bytes.len(), offset, bytes);
    if let Some(fault) = state.fault() {
        return fault;
    }
    state.say(|| format!("  zeros from {start} to {end}"));
    state.bytes[start..end].fill(0);
    0
}

unsafe extern "C" fn truncate(opaque: *mut c_void, length: i64) -> c_int {
    let store = store(opaque);
    let block = i64::from(store.shape.request_alignment.max(1));
    assert!(length >= 0 && length % block == 0, "a length of {length}");
    store.lock().set_length(length as u64)
}

unsafe extern "C" fn close(opaque: *mut c_void) {
    store(opaque).lock().closed += 1;
}

unsafe extern "C" fn aio_preadv(
    opaque: *mut c_void,
    offset: i64,
    bytes: i64,
    vector: *const iovec,
    count: c_int,
    flags: u32,
    done: blkalign_driver_done_fn,
    token: *mut c_void,
) -> c_int {
    assert_eq!(flags, 0, "flags of a read");
    store(opaque).start(Pending { io: Io::Read, offset, bytes, vector, count, done, token })
}

unsafe extern "C" fn aio_pwritev(
    opaque: *mut c_void,
    offset: i64,
    bytes: i64,
    vector: *const iovec,
    count: c_int,
    flags: u32,
    done: blkalign_driver_done_fn,
    token: *mut c_void,
) -> c_int {
    assert_eq!(flags & !1, 0, "flags of a write");
    store(opaque).start(Pending { io: Io::Write, offset, bytes, vector, count, done, token })
}

unsafe extern "C" fn aio_flush(
    opaque: *mut c_void,
    done: blkalign_driver_done_fn,
    token: *mut c_void,
) -> c_int {
    let vector = std::ptr::null();
    let io = Pending { io: Io::Flush, offset: 0, bytes: 0, vector, count: 0, done, token };
    store(opaque).start(io)
}
