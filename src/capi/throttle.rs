//! Throttles: throttle_new, throttle_set, throttle_free, set_throttle.

use std::ffi::c_int;
use std::sync::Arc;

use super::checks::invalid;
use super::extensible::copy_in;
use super::guard::{guard, guard_handle};
use crate::handle::bounds::check_bucket;
use crate::handle::Handle;
use crate::header::{blkalign_bucket, blkalign_handle};
use crate::header::{blkalign_throttle, blkalign_throttle_limits};
use crate::sys::Error;
use crate::throttle::{BucketLimits, Throttle, ThrottleLimits};

/// Creates a throttle: a group of limits that all handles share which get it by
/// blkalign_set_throttle(). The handles may be those of several objects.
/// `*out` is written only on success. See blkalign(7), "Throttling".
///
/// Returns 0 or -errno:
/// -EINVAL   `limits` or `out` is NULL; limits->size is not set; a bucket has a
///           burst and no rate;
/// -E2BIG    `limits` comes from a newer version of the header and uses a field
///           that this library does not have.
#[no_mangle]
pub unsafe extern "C-unwind" fn blkalign_throttle_new(
    limits: *const blkalign_throttle_limits,
    out: *mut *mut blkalign_throttle,
) -> c_int {
    guard(|| {
        if out.is_null() {
            return Err(invalid("out is NULL"));
        }
        // SAFETY: NULL, or a struct as long as it says, as the header demands.
        let throttle = Throttle::new(&unsafe { read_limits(limits)? });
        // SAFETY: not NULL.
        unsafe { out.write(Box::into_raw(Box::new(throttle)).cast()) };
        Ok(0)
    }) as c_int
}

/// Changes the limits of a throttle, at any time and on any thread. The new
/// limits hold at once, also for requests that the throttle holds. The call
/// does not wait.
///
/// Returns 0 or -errno: any error of blkalign_throttle_new(), and
/// -EINVAL   `t` is NULL.
#[no_mangle]
pub unsafe extern "C-unwind" fn blkalign_throttle_set(
    t: *mut blkalign_throttle,
    limits: *const blkalign_throttle_limits,
) -> c_int {
    guard(|| {
        // SAFETY: NULL or a throttle that was not freed, as the header demands.
        let throttle = unsafe { borrow(t) }.ok_or_else(|| invalid("the throttle is NULL"))?;
        // SAFETY: NULL, or a struct as long as it says, as the header demands.
        throttle.set(&unsafe { read_limits(limits)? });
        Ok(0)
    }) as c_int
}

/// Gives up the caller's reference to a throttle: `t` must not be used any
/// more. Handles that have the throttle keep it, and its limits, until they are
/// closed or get another. `t` may be NULL.
///
/// Returns 0.
#[no_mangle]
pub unsafe extern "C-unwind" fn blkalign_throttle_free(t: *mut blkalign_throttle) -> c_int {
    if t.is_null() {
        return 0;
    }
    guard(|| {
        // SAFETY: a throttle is a `Box<Arc<Throttle>>` turned into a pointer.
        drop(unsafe { Box::from_raw(t.cast::<Arc<Throttle>>()) });
        Ok(0)
    }) as c_int
}

/// Makes the requests that are submitted to `h` from now on keep to the limits
/// of `t`. `t` may be NULL: no limits. Requests that the handle's throttle of
/// before holds are let go at once. The call does not wait for requests.
///
/// Reads, writes, zero writes and discards are held before they wait for any
/// other request; flushes, truncates and the library's own edge reads are never
/// held. Requests of one handle go in order of submission, the handles of a
/// throttle take turns request by request. A synchronous call waits in the
/// throttle. What is held can be cancelled. blkalign_drain() and
/// blkalign_close() let all that is held go at once.
///
/// While a handle has a throttle the library has one more thread, for all
/// throttles together.
///
/// Returns 0 or -errno; after an error nothing has changed:
/// -EINVAL   `h` is NULL;
/// -ENOMEM   the system gives no thread.
#[no_mangle]
pub unsafe extern "C-unwind" fn blkalign_set_throttle(
    h: *mut blkalign_handle,
    t: *mut blkalign_throttle,
) -> c_int {
    let body = |handle: &Handle| {
        // SAFETY: NULL or a throttle that was not freed, as the header demands.
        handle.set_throttle(unsafe { borrow(t) })?;
        Ok(0)
    };
    // SAFETY: NULL or an open handle, as the header demands.
    unsafe { guard_handle(h, body) as c_int }
}

/// # Safety `t` is NULL or came from `blkalign_throttle_new` and was not freed.
unsafe fn borrow<'a>(t: *mut blkalign_throttle) -> Option<&'a Arc<Throttle>> {
    // SAFETY: a throttle is a `Box<Arc<Throttle>>` turned into a pointer.
    unsafe { t.cast::<Arc<Throttle>>().as_ref() }
}

/// # Safety `limits` is NULL or points to a readable struct that is as long as it says.
unsafe fn read_limits(limits: *const blkalign_throttle_limits) -> Result<ThrottleLimits, Error> {
    if limits.is_null() {
        return Err(invalid("limits is NULL"));
    }
    // SAFETY: not NULL, and the caller of this function vouches for the rest.
    let limits = unsafe { copy_in(limits)? };
    // In the order of `Kind`.
    let buckets = [
        bucket("bytes", limits.bytes)?,
        bucket("read_bytes", limits.read_bytes)?,
        bucket("write_bytes", limits.write_bytes)?,
        bucket("requests", limits.requests)?,
        bucket("read_requests", limits.read_requests)?,
        bucket("write_requests", limits.write_requests)?,
    ];
    Ok(ThrottleLimits { buckets, request_bytes: limits.request_bytes })
}

fn bucket(name: &str, bucket: blkalign_bucket) -> Result<BucketLimits, Error> {
    check_bucket(name, bucket.rate, bucket.burst)
}
