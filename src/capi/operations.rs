//! For those who operate a program: pause, resume, set_timeout, get_latency, latency_bucket_ns,
//! block_status.

use std::ffi::{c_int, c_void};
use std::time::Duration;

use super::checks::{check_range, invalid};
use super::extensible::copy_out;
use super::guard::guard_handle;
use super::numbers::{kind_number, kind_of, status_number};
use crate::handle::{bucket_end, Handle, LatencyCounts, TooLong, TooLongFn, BUCKETS};
use crate::header::{blkalign_handle, blkalign_latency};

/// Pauses the object: no request of any handle of it in this process starts any
/// more, and the call returns when nothing of them is at the storage. Then the
/// file below can be copied, replaced by another program's work, or handed over
/// to another process. Data may still be in a volatile cache: call
/// blkalign_flush() before.
///
/// What is submitted meanwhile waits in order, costs no thread, and can be
/// cancelled. Synchronous calls wait. Pauses nest, also those of several
/// handles: the object goes on when each was ended by blkalign_resume() for the
/// handle that made it. blkalign_close() ends the pauses of its handle.
/// blkalign_drain() returns -EBUSY for requests that its own handle's pause
/// holds back, and waits for those that another handle's pause holds back, as
/// blkalign_close() does; the log tells of requests that wait for long.
/// blkalign_open() and blkalign_dup() work, but not while the length has
/// changed: -EBUSY, as blkalign_refresh_length() returns then. A throttle does
/// not notice a pause.
///
/// A request that is at the storage and does not come back keeps the call
/// waiting; the log tells of that, too.
///
/// Returns 0 or -errno:
/// -EINVAL   `h` is NULL;
/// -EDEADLK  called inside a callback;
/// -EIO      the object takes no I/O after an internal error of the library.
#[no_mangle]
pub unsafe extern "C-unwind" fn blkalign_pause(h: *mut blkalign_handle) -> c_int {
    // SAFETY: NULL or an open handle, as the header demands.
    unsafe { guard_handle(h, |handle| handle.pause().map(|()| 0)) as c_int }
}

/// Ends one pause that blkalign_pause() made for the same handle. When it was
/// the last of the object, what waits starts, in order. Any thread may call
/// this, also inside a callback.
///
/// Returns 0 or -errno:
/// -EINVAL   `h` is NULL; the handle has no pause.
#[no_mangle]
pub unsafe extern "C-unwind" fn blkalign_resume(h: *mut blkalign_handle) -> c_int {
    // SAFETY: NULL or an open handle, as the header demands.
    unsafe { guard_handle(h, |handle| handle.resume().map(|()| 0)) as c_int }
}

/// Is told of a request that is at the storage for longer than the handle's
/// limit: its kind, one of BLKALIGN_OP_*, its offset and length as submitted,
/// and its id. Runs on a thread of the library,
/// one call at a time for each handle, and counts as a callback: it may call
/// functions that do not wait.
pub type blkalign_timeout_fn =
    Option<extern "C" fn(opaque: *mut c_void, op: u32, offset: i64, bytes: i64, request_id: i64)>;

struct CTimeout {
    function: extern "C" fn(*mut c_void, u32, i64, i64, i64),
    opaque: *mut c_void,
}

// SAFETY: the contract of `blkalign_set_timeout` is that the function may be called on any thread,
// with the opaque pointer; the library never looks behind it.
unsafe impl Send for CTimeout {}
// SAFETY: as above.
unsafe impl Sync for CTimeout {}

impl CTimeout {
    fn call(&self, late: &TooLong) {
        let TooLong { id, op, offset, bytes } = *late;
        let (offset, bytes, id) = (offset as i64, bytes as i64, id as i64);
        (self.function)(self.opaque, kind_number(op), offset, bytes, id);
    }
}

/// Sets the time after which the program is told of a request that is at the
/// storage, once for each request. Waiting for others, in a plug, in a throttle
/// or in a pause does not count. The request itself goes on: nothing can take
/// back what the storage has. `cb` NULL: no limit, as at the start; `ms` is
/// ignored then.
///
/// The library looks four times in that time, but at most every millisecond and
/// at least every 250. So a request is told of after between `ms` and one and a
/// half times as long, or `ms` and half a second. Handles without a limit, and
/// requests that come back in time, cost nothing.
///
/// When the call returns no call of the earlier function is running or will
/// begin. (Inside a callback the call does not wait for that.)
///
/// Returns 0 or -errno:
/// -EINVAL   `h` is NULL; `ms` is not positive;
/// -ENOTSUP  the handle has no threads, since the system gave none at open.
#[no_mangle]
pub unsafe extern "C-unwind" fn blkalign_set_timeout(
    h: *mut blkalign_handle,
    ms: c_int,
    cb: blkalign_timeout_fn,
    opaque: *mut c_void,
) -> c_int {
    let body = |handle: &Handle| {
        let limit = match (cb, u64::try_from(ms)) {
            (None, _) => None,
            (Some(_), Err(_) | Ok(0)) => return Err(invalid(format!("ms is {ms}"))),
            (Some(function), Ok(ms)) => {
                let its = CTimeout { function, opaque };
                let call = Box::new(move |late: &TooLong| its.call(late)) as TooLongFn;
                Some((Duration::from_millis(ms), call))
            }
        };
        handle.set_timeout(limit).map(|()| 0)
    };
    // SAFETY: NULL or an open handle, as the header demands.
    unsafe { guard_handle(h, body) as c_int }
}

/// Reports how long the requests of one kind took that were submitted to the
/// handle: BLKALIGN_OP_READ, _WRITE, _WRITE_ZEROES, _DISCARD or _FLUSH. The
/// handle begins to count with the first call for any kind, which reports
/// nothing; until then no request pays for the clock. The caller sets
/// latency->size, best with BLKALIGN_LATENCY_INIT.
///
/// Returns 0 or -errno:
/// -EINVAL   `h` or `latency` is NULL; `op` is none of these; latency->size is
///           not set;
/// -E2BIG    latency->size is too large for this struct in any version.
#[no_mangle]
pub unsafe extern "C-unwind" fn blkalign_get_latency(
    h: *mut blkalign_handle,
    op: u32,
    latency: *mut blkalign_latency,
) -> c_int {
    let body = |handle: &Handle| {
        if latency.is_null() {
            return Err(invalid("latency is NULL"));
        }
        let counts = kind_of(op).and_then(|op| handle.latency(op));
        let counts = counts.ok_or_else(|| invalid(format!("no latency of operation {op}")))?;
        // SAFETY: not NULL, and as long as it says, as the header demands.
        unsafe { copy_out(&latency_of(&counts), latency)? };
        Ok(0)
    };
    // SAFETY: NULL or an open handle, as the header demands.
    unsafe { guard_handle(h, body) as c_int }
}

/// The longest time, in nanoseconds, of a bucket of blkalign_latency.buckets.
/// The last bucket has no end: UINT64_MAX, as for numbers beyond it.
#[no_mangle]
pub extern "C-unwind" fn blkalign_latency_bucket_ns(bucket: u32) -> u64 {
    bucket_end(bucket as usize)
}

fn latency_of(counts: &LatencyCounts) -> blkalign_latency {
    blkalign_latency {
        size: 0,
        count: counts.count(),
        total_ns: counts.total_ns,
        max_ns: counts.max_ns,
        p50_ns: counts.quantile(500),
        p90_ns: counts.quantile(900),
        p99_ns: counts.quantile(990),
        p999_ns: counts.quantile(999),
        buckets: counts.buckets,
    }
}

// The header says the number.
const _: () = assert!(BUCKETS == crate::header::BLKALIGN_LATENCY_BUCKETS as usize);

/// Says what lies at `offset`: data, zeros, or a hole, and in `*run` for how
/// many bytes from there on that holds, at most `bytes`. The next part may have
/// the same status. This is what the storage says at this moment (lseek(2) with
/// SEEK_DATA for a file, the driver's block_status): requests in flight may
/// change it, so ask when there are none, as in a pause. Where the storage does
/// not tell, as with a block device, it is data.
///
/// Returns BLKALIGN_STATUS_DATA, _ZERO or _HOLE, or -errno; `*run` is written
/// only on success, and is 0 only if `bytes` is 0:
/// -EINVAL   `h` or `run` is NULL; the range is not within bounds;
/// -EIO      the range passes the end, and BLKALIGN_O_RESIZE is not set; the
///           driver gave an answer that is none; any other errno of the
///           storage.
#[no_mangle]
pub unsafe extern "C-unwind" fn blkalign_block_status(
    h: *mut blkalign_handle,
    offset: i64,
    bytes: i64,
    run: *mut i64,
) -> c_int {
    let body = |handle: &Handle| {
        if run.is_null() {
            return Err(invalid("run is NULL"));
        }
        let (offset, bytes) = check_range(offset, bytes)?;
        let (status, its) = handle.block_status(offset, bytes)?;
        // SAFETY: not NULL, so it can be written, as the header demands. `its` is at most `bytes`.
        unsafe { run.write_unaligned(its as i64) };
        Ok(i64::from(status_number(status)))
    };
    // SAFETY: NULL or an open handle, as the header demands.
    unsafe { guard_handle(h, body) as c_int }
}
