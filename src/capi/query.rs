//! Questions, and memory: version, errmsg, getlength, get_limits, get_stats, memalign, free.

use std::ffi::{c_char, c_int, c_void, CStr};

use super::checks::invalid;
use super::errmsg;
use super::extensible::copy_out;
use super::guard::guard_handle;
use super::numbers::{engine_number, source_number};
use crate::handle::Handle;
use crate::header::{blkalign_handle, blkalign_limits, blkalign_stats};
use crate::sys::{uncancelled, Error};
use blkalign_machine::Stats;

const VERSION: &CStr =
    match CStr::from_bytes_with_nul(concat!(env!("CARGO_PKG_VERSION"), "\0").as_bytes()) {
        Ok(version) => version,
        Err(_) => panic!("the version has no NUL inside"),
    };

/// The version of the library that the program runs with, such as "0.2.0".
///
/// Returns a string that is valid as long as the library is loaded.
#[no_mangle]
pub extern "C-unwind" fn blkalign_version() -> *const c_char {
    VERSION.as_ptr()
}

/// The last failure of a call on this thread, in words for a log: what failed,
/// where and why. In a callback that gets an error, the words describe that
/// error. Calls that succeed do not change the words.
///
/// Returns a string, never NULL, and "" if no call has failed. It is valid
/// until the next failure on this thread.
#[no_mangle]
pub extern "C-unwind" fn blkalign_errmsg() -> *const c_char {
    uncancelled(errmsg::last)
}

/// Why threads do the I/O of a handle that could have used io_uring, in words
/// for a log. The system has refused io_uring, either at the open with
/// BLKALIGN_ENGINE_AUTO, or later; or the file is on FUSE.
///
/// Returns a string, never NULL, that is valid until the handle is closed. The
/// string is "" if io_uring does the I/O, if the handle was opened with
/// BLKALIGN_ENGINE_THREADS, if the storage is a blkalign_driver, or if `h` is
/// NULL.
#[no_mangle]
pub unsafe extern "C-unwind" fn blkalign_engine_reason(h: *mut blkalign_handle) -> *const c_char {
    if h.is_null() {
        return c"".as_ptr();
    }
    let body = |handle: &Handle| Ok(handle.engine_reason().as_ptr() as i64);
    // SAFETY: an open handle, as the header demands.
    match unsafe { guard_handle(h, body) } {
        // Only a fault of the library leads here.
        error if error < 0 => c"".as_ptr(),
        address => address as usize as *const c_char,
    }
}

/// The length of the object, or of the window, in bytes. The library looks the
/// length up at each open and in blkalign_refresh_length(), and takes account
/// of the requests that change it.
///
/// Returns the length or -errno:
/// -EINVAL   `h` is NULL.
#[no_mangle]
pub unsafe extern "C-unwind" fn blkalign_getlength(h: *mut blkalign_handle) -> i64 {
    let body = |handle: &Handle| in_range(handle.length());
    // SAFETY: NULL or an open handle, as the header demands.
    unsafe { guard_handle(h, body) }
}

/// Looks up the length of the storage again: a device may have grown or shrunk,
/// another process may have changed a file, the getlength of a driver may
/// return another value. The new length holds for all handles of the object.
/// blkalign_open() and blkalign_dup() do the same for an object that is open
/// already.
///
/// The call waits for the requests in flight that change the length or lie past
/// the new end; these requests get the result that the storage gives. Requests
/// past the new end that are submitted later fail with -EIO, unless
/// BLKALIGN_O_RESIZE is set. A window shows what is left of it, and all of it
/// again when the object has grown. A window that was opened without a length
/// ends at the end of the object.
///
/// Returns the length, as blkalign_getlength() does, or -errno: any error of
/// the storage, and
/// -EINVAL   `h` is NULL; the length of the driver is no multiple of the
///           request alignment of each of its handles; nothing changes then;
/// -ECANCELED  another thread called blkalign_cancel_all();
/// -EDEADLK  called inside a callback.
#[no_mangle]
pub unsafe extern "C-unwind" fn blkalign_refresh_length(h: *mut blkalign_handle) -> i64 {
    let body = |handle: &Handle| in_range(handle.refresh_length()?);
    // SAFETY: NULL or an open handle, as the header demands.
    unsafe { guard_handle(h, body) }
}

fn in_range(length: u64) -> Result<i64, Error> {
    i64::try_from(length).map_err(|_| Error::new(libc::EOVERFLOW, "the length passes 2^63"))
}

/// Reports what the storage requires, and the source of each alignment. The
/// caller sets limits->size, best with BLKALIGN_LIMITS_INIT; the library writes
/// no more than that many bytes.
///
/// The three alignments may grow while a handle is open: if the storage refuses
/// an alignment that it accepted before, trial reads find a larger one, and
/// requests in flight are repeated with it. Also `engine` changes when threads
/// take over from io_uring. Nothing else changes.
///
/// Returns 0 or -errno:
/// -EINVAL   `h` or `limits` is NULL; limits->size is not set;
/// -E2BIG    limits->size is too large for this struct in any version.
#[no_mangle]
pub unsafe extern "C-unwind" fn blkalign_get_limits(
    h: *mut blkalign_handle,
    limits: *mut blkalign_limits,
) -> c_int {
    let body = |handle: &Handle| {
        if limits.is_null() {
            return Err(invalid("limits is NULL"));
        }
        // SAFETY: not NULL, and as long as it says, as the header demands.
        unsafe { copy_out(&limits_of(handle), limits)? };
        Ok(0)
    };
    // SAFETY: NULL or an open handle, as the header demands.
    unsafe { guard_handle(h, body) as c_int }
}

/// Reads the counters of the handle. The caller sets stats->size, best with
/// BLKALIGN_STATS_INIT; the library writes no more than that many bytes.
///
/// Returns 0 or -errno:
/// -EINVAL   `h` or `stats` is NULL; stats->size is not set;
/// -E2BIG    stats->size is too large for this struct in any version.
#[no_mangle]
pub unsafe extern "C-unwind" fn blkalign_get_stats(
    h: *mut blkalign_handle,
    stats: *mut blkalign_stats,
) -> c_int {
    let body = |handle: &Handle| {
        if stats.is_null() {
            return Err(invalid("stats is NULL"));
        }
        // SAFETY: not NULL, and as long as it says, as the header demands.
        unsafe { copy_out(&stats_of(handle), stats)? };
        Ok(0)
    };
    // SAFETY: NULL or an open handle, as the header demands.
    unsafe { guard_handle(h, body) as c_int }
}

/// Allocates `bytes` bytes that the storage of `h` takes without a copy. The
/// bytes are zero. Free the memory with blkalign_free(), which may be after `h`
/// was closed. A length of 0 is allowed and gives a pointer that can be freed.
///
/// Returns the memory, or NULL with errno set to EINVAL (`h` is NULL) or
/// ENOMEM.
#[no_mangle]
pub unsafe extern "C-unwind" fn blkalign_memalign(
    h: *mut blkalign_handle,
    bytes: usize,
) -> *mut c_void {
    let body = |handle: &Handle| allocate(handle.buffer_alignment(), bytes);
    // SAFETY: NULL or an open handle, as the header demands.
    let result = unsafe { guard_handle(h, body) };
    if result < 0 {
        // SAFETY: errno of this thread can be written.
        unsafe { *libc::__errno_location() = -result as c_int };
        return std::ptr::null_mut();
    }
    result as usize as *mut c_void
}

/// Frees memory that blkalign_memalign() allocated. `buf` may be NULL.
#[no_mangle]
pub unsafe extern "C-unwind" fn blkalign_free(buf: *mut c_void) {
    // SAFETY: NULL or from posix_memalign, as the header demands.
    uncancelled(|| unsafe { libc::free(buf) })
}

/// The address, which is never negative in user space.
fn allocate(alignment: usize, bytes: usize) -> Result<i64, Error> {
    let mut address = std::ptr::null_mut();
    // SAFETY: `alignment` is a power of two and a multiple of the size of a pointer.
    let errno = unsafe { libc::posix_memalign(&mut address, alignment, bytes.max(1)) };
    if errno != 0 {
        let words = format!("no memory for a buffer of {bytes} bytes at {alignment}");
        return Err(Error::new(errno, words));
    }
    // What the memory held before may be another guest's.
    // SAFETY: so many bytes were just allocated.
    unsafe { std::ptr::write_bytes(address.cast::<u8>(), 0, bytes) };
    Ok(address as i64)
}

fn limits_of(handle: &Handle) -> blkalign_limits {
    let limits = handle.limits();
    blkalign_limits {
        size: 0,
        // Alignments are at most 1 MiB.
        request_alignment: limits.alignments.request as u32,
        mem_alignment: limits.alignments.memory as u32,
        segment_alignment: limits.alignments.segment as u32,
        request_alignment_source: source_number(limits.sources.request),
        mem_alignment_source: source_number(limits.sources.memory),
        segment_alignment_source: source_number(limits.sources.segment),
        logical_block_size: limits.logical_block_size,
        physical_block_size: limits.physical_block_size,
        opt_transfer: limits.opt_transfer,
        max_transfer: limits.max_transfer,
        max_segments: limits.max_segments,
        discard_alignment: limits.discard_alignment,
        write_zeroes_alignment: limits.write_zeroes_alignment,
        atomic_write_unit_max: limits.atomic_write_unit_max,
        direct: u32::from(limits.direct),
        engine: engine_number(handle.engine()),
    }
}

/// Both structs are named field by field, so the compiler tells if a counter is missing in one.
fn stats_of(handle: &Handle) -> blkalign_stats {
    let Stats {
        reads,
        writes,
        write_zeroes,
        discards,
        flushes,
        bytes_read,
        bytes_written,
        zero_copy,
        bounced,
        rmw,
        rmw_reads,
        rmw_reads_skipped,
        merged,
        waits,
        storage_reads,
        storage_writes,
        errors,
        in_flight,
        probe_repairs,
    } = handle.stats();
    let (throttled, throttled_ns) = handle.throttled();
    blkalign_stats {
        size: 0,
        reads,
        writes,
        write_zeroes,
        discards,
        flushes,
        bytes_read,
        bytes_written,
        zero_copy,
        bounced,
        rmw,
        rmw_reads,
        rmw_reads_skipped,
        merged,
        waits,
        storage_reads,
        storage_writes,
        errors,
        in_flight,
        probe_repairs,
        throttled,
        throttled_ns,
    }
}
