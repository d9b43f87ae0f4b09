//! The simulated disk behind a C caller's driver, synchronous or not.

use std::ffi::{c_int, c_void};

use super::device::{device, Kind};
use libc::iovec;

use crate::driver::Segment;
use crate::header::{blkalign_driver, BLKALIGN_REQ_FUA};
use crate::proof::disk::{Opened, FIRST_FD};
use crate::proof::world::{choose, percent, point, Class};
use crate::sys::Calls;

type Done = extern "C-unwind" fn(token: *mut c_void, ret: c_int);

/// `asynchronous`: reads, writes and flushes answer later, on a thread of the device.
pub fn table(asynchronous: bool) -> blkalign_driver {
    let shape = device().shape;
    blkalign_driver {
        size: size_of::<blkalign_driver>(),
        name: std::ptr::null(),
        request_alignment: shape.needs_request as u32,
        mem_alignment: shape.needs_memory as u32,
        segment_alignment: shape.needs_segment as u32,
        max_transfer: [0, 8192, 65536][choose(3) as usize],
        max_segments: [0, 1, 3][choose(3) as usize],
        getlength: Some(getlength),
        preadv: (!asynchronous).then_some(preadv),
        pwritev: (!asynchronous).then_some(pwritev),
        flush: Some(flush),
        pdiscard: None,
        pwrite_zeroes: shape.knows_zeroes.then_some(pwrite_zeroes),
        truncate: None,
        close: Some(close),
        aio_preadv: asynchronous.then_some(aio_preadv),
        aio_pwritev: asynchronous.then_some(aio_pwritev),
        aio_flush: (asynchronous && percent(50)).then_some(aio_flush),
        block_status: None,
    }
}

/// The descriptor that stands for the driver.
const FD: i32 = FIRST_FD;

/// So that the driver counts as open.
pub fn register() {
    let fd = device().disk.state().insert(Opened::Object(libc::O_DIRECT, 0));
    assert_eq!(fd, FD, "the driver is opened first");
}

unsafe extern "C" fn close(_: *mut c_void) {
    device().disk.close(FD);
}

unsafe extern "C" fn getlength(_: *mut c_void) -> i64 {
    device().shape.bytes as i64
}

/// # Safety
/// There are so many.
unsafe fn vector(iov: *const iovec, count: c_int) -> Vec<Segment> {
    // SAFETY: the caller says so.
    unsafe { std::slice::from_raw_parts(iov.cast::<Segment>(), count as usize) }.to_vec()
}

/// A driver moves all or nothing, and does not ask again.
fn answer(result: Result<u64, i32>, bytes: u64) -> c_int {
    match result {
        Ok(moved) if moved == bytes => 0,
        Ok(_) | Err(libc::EINTR) => -libc::EINTR,
        Err(errno) => -errno,
    }
}

fn run(kind: Kind, offset: i64, segments: &[Segment], flags: u32) -> c_int {
    let device = device();
    let mut plan = device.plan(kind, FD, segments, offset as u64, 0);
    plan.durable = flags & BLKALIGN_REQ_FUA != 0;
    let bytes: usize = segments.iter().map(|segment| segment.bytes).sum();
    answer(device.run(&plan, kind, FD, segments, offset as u64), bytes as u64)
}

fn start(
    kind: Kind,
    offset: i64,
    segments: Vec<Segment>,
    flags: u32,
    done: Done,
    token: *mut c_void,
) -> c_int {
    point();
    let device = device();
    let mut plan = device.plan(kind, FD, &segments, offset as u64, 0);
    plan.durable = flags & BLKALIGN_REQ_FUA != 0;
    if let (Err(errno), true) = (plan.outcome, percent(30)) {
        device.landed(&plan);
        return -errno;
    }
    let bytes: usize = segments.iter().map(|segment| segment.bytes).sum();
    let (nanos, class) = plan.take_time();
    if class == Class::Outside && percent(5) {
        // Over before this returns.
        let result = device.run(&plan, kind, FD, &segments, offset as u64);
        done(token, answer(result, bytes as u64));
        return 0;
    }
    let (its, token) = (device.clone(), token.addr());
    let land = move || {
        let result = its.run(&plan, kind, FD, &segments, offset as u64);
        done(std::ptr::without_provenance_mut(token), answer(result, bytes as u64));
    };
    device.add(nanos, class, Box::new(land));
    0
}

unsafe extern "C" fn preadv(
    _: *mut c_void,
    offset: i64,
    _bytes: i64,
    iov: *const iovec,
    count: c_int,
    flags: u32,
) -> c_int {
    // SAFETY: as the interface says.
    run(Kind::Read, offset, &unsafe { vector(iov, count) }, flags)
}

unsafe extern "C" fn pwritev(
    _: *mut c_void,
    offset: i64,
    _bytes: i64,
    iov: *const iovec,
    count: c_int,
    flags: u32,
) -> c_int {
    // SAFETY: as the interface says.
    run(Kind::Write, offset, &unsafe { vector(iov, count) }, flags)
}

unsafe extern "C" fn flush(_: *mut c_void) -> c_int {
    run(Kind::Flush, 0, &[], 0)
}

unsafe extern "C" fn pwrite_zeroes(_: *mut c_void, offset: i64, bytes: i64, flags: u32) -> c_int {
    run(Kind::Zero, offset, &[Segment { address: 0, bytes: bytes as usize }], flags)
}

unsafe extern "C" fn aio_preadv(
    _: *mut c_void,
    offset: i64,
    _bytes: i64,
    iov: *const iovec,
    count: c_int,
    flags: u32,
    done: Done,
    token: *mut c_void,
) -> c_int {
    // SAFETY: as the interface says.
    start(Kind::Read, offset, unsafe { vector(iov, count) }, flags, done, token)
}

unsafe extern "C" fn aio_pwritev(
    _: *mut c_void,
    offset: i64,
    _bytes: i64,
    iov: *const iovec,
    count: c_int,
    flags: u32,
    done: Done,
    token: *mut c_void,
) -> c_int {
    // SAFETY: as the interface says.
    start(Kind::Write, offset, unsafe { vector(iov, count) }, flags, done, token)
}

unsafe extern "C" fn aio_flush(_: *mut c_void, done: Done, token: *mut c_void) -> c_int {
    start(Kind::Flush, 0, Vec::new(), 0, done, token)
}
