//! The simulated disk behind a C caller's driver: synchronous, or not, or one that splits.

use std::ffi::{c_int, c_void};
use std::sync::Arc;

use libc::iovec;
use parking_lot::Mutex;

use super::device::{device, Kind};
use super::pieces::{sectors, PIECE};

use crate::driver::Segment;
use crate::header::{blkalign_driver, BLKALIGN_REQ_FUA};
use crate::proof::disk::{Opened, FIRST_FD};
use crate::proof::world::{choose, percent, point, Class};
use crate::sys::Calls;

type Done = extern "C-unwind" fn(token: *mut c_void, ret: c_int);

/// How a driver answers reads and writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    Synchronous,
    /// Later, on a thread of the device; flushes, too.
    Asynchronous,
    /// The same, but each sector is an I/O of its own, and they are done in any order.
    Splitting,
}

pub fn table(form: Form) -> blkalign_driver {
    let shape = device().shape;
    let asynchronous = form != Form::Synchronous;
    let whole = blkalign_driver {
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
    };
    match form {
        Form::Synchronous | Form::Asynchronous => whole,
        Form::Splitting => blkalign_driver {
            aio_preadv: Some(aio_preadv_split),
            aio_pwritev: Some(aio_pwritev_split),
            ..whole
        },
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

/// What the sectors of one I/O share.
struct Whole {
    left: usize,
    /// Of the last sector that failed.
    failed: Option<c_int>,
}

/// As `start`, in sectors; answers when the last of them is done.
fn start_split(
    kind: Kind,
    offset: i64,
    segments: &[Segment],
    flags: u32,
    done: Done,
    token: *mut c_void,
) -> c_int {
    point();
    let device = device();
    let sectors = sectors(segments);
    let whole = Arc::new(Mutex::new(Whole { left: sectors.len(), failed: None }));
    for (number, sector) in sectors.into_iter().enumerate() {
        let at = offset as u64 + number as u64 * PIECE;
        let mut plan = device.plan(kind, FD, &sector, at, 0);
        plan.durable = flags & BLKALIGN_REQ_FUA != 0;
        let (nanos, class) = plan.take_time();
        let (its, whole, token) = (device.clone(), whole.clone(), token.addr());
        let land = move || {
            let result = answer(its.run(&plan, kind, FD, &sector, at), PIECE);
            let mut all = whole.lock();
            all.left -= 1;
            all.failed = (result != 0).then_some(result).or(all.failed);
            let over = (all.left == 0).then_some(all.failed.unwrap_or(0));
            drop(all);
            if let Some(ret) = over {
                done(std::ptr::without_provenance_mut(token), ret);
            }
        };
        device.add(nanos, class, Box::new(land));
    }
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

unsafe extern "C" fn aio_preadv_split(
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
    start_split(Kind::Read, offset, &unsafe { vector(iov, count) }, flags, done, token)
}

unsafe extern "C" fn aio_pwritev_split(
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
    start_split(Kind::Write, offset, &unsafe { vector(iov, count) }, flags, done, token)
}
