//! Overlays: overlay_create, open_overlay, overlay_status, overlay_fill.

use std::ffi::{c_char, c_int, c_void};

use super::checks::{callback, check_range, invalid};
use super::extensible::copy_in;
use super::guard::{guard, guard_handle, guard_open};
use super::open::{check_out, copy_string, give};
use super::options::read_options;
use crate::driver::create_overlay;
use crate::handle::{BackingHandle, Handle, OverlayOptions};
use crate::header::*;
use crate::sys::Error;

const CLUSTER_DEFAULT: u32 = 64 << 10;

/// Creates an overlay: the file `path`, which is `length` bytes long, and
/// `path`.map, which says which clusters of the file are there. At first none
/// is: all bytes are those of the backing object that the overlay is opened
/// with, by blkalign_open_overlay(). Both files are on stable storage when the
/// call returns. `o` may be NULL.
///
/// Returns 0 or -errno: any error of open(2), write(2) and fsync(2), and
/// -EEXIST   `path` or `path`.map exists;
/// -EINVAL   `path` is NULL; `length` is negative or too great; o->cluster_size
///           is not allowed; o->flags is not 0;
/// -E2BIG    `o` comes from a newer version of the header and uses a field
///           that this library does not have.
#[no_mangle]
pub unsafe extern "C-unwind" fn blkalign_overlay_create(
    path: *const c_char,
    length: i64,
    o: *const blkalign_overlay_options,
) -> c_int {
    guard(|| {
        if path.is_null() {
            return Err(invalid("path is NULL"));
        }
        // SAFETY: NULL, or a struct as long as it says, as the header demands.
        let options = unsafe { read_overlay_options(o)? };
        if options.copy_on_read {
            return Err(invalid("BLKALIGN_OVERLAY_COPY_ON_READ is for blkalign_open_overlay()"));
        }
        let (length, _) = check_range(length, 0)?;
        let cluster = if options.cluster == 0 { CLUSTER_DEFAULT } else { options.cluster };
        // SAFETY: a C string, as the header demands.
        create_overlay(&unsafe { copy_string(path) }, length, cluster)?;
        Ok(0)
    }) as c_int
}

/// Opens an overlay that blkalign_overlay_create() has created. What the
/// overlay has not got yet is read from `backing`: any handle, of a file, a
/// device, a driver or another overlay, of any length and any alignment. Where
/// `backing` is shorter there are zeros. The bytes of `backing` must not
/// change, and `backing` must stay open, until the last handle of the overlay
/// is closed; the library reads it by blkalign_pread(), on any thread. Several
/// overlays may have the same `backing`. What is done to `backing` itself is
/// done to these reads, too: a throttle, a pause, blkalign_cancel_all().
///
/// Each cluster that is written stays in `path`, at its own offset. A write of
/// a part of a cluster brings the rest from `backing`; if that cannot be read,
/// the write fails and nothing is changed. A zero write, and a discard that is
/// carried out, leave zeros, never the bytes of `backing`. A flush makes the
/// data durable, then the map. When nothing is absent any more the map is
/// removed as the last handle is closed: `path` is an ordinary image then, to
/// be opened by blkalign_open().
///
/// blkalign_dup() opens more handles of the overlay. The length is fixed.
///
/// Returns 0 or -errno: any error of blkalign_open(), and
/// -ENOENT   there is no `path`, or no `path`.map;
/// -EINVAL   `path`, `backing` or `out` is NULL; the map is damaged, of another
///           length or of an unknown version, and nothing was touched; `path`
///           is no regular file; o->cluster_size is another than that of the
///           map; clusters are smaller than a block of the storage;
///           BLKALIGN_O_CREATE; BLKALIGN_OVERLAY_COPY_ON_READ without
///           BLKALIGN_O_RDWR; an unknown flag in o->flags;
/// -ENOTSUP  a window, or BLKALIGN_O_RESIZE;
/// -EBUSY    this process has `path` open;
/// -EAGAIN   another process has the overlay open.
#[no_mangle]
pub unsafe extern "C-unwind" fn blkalign_open_overlay(
    path: *const c_char,
    backing: *mut blkalign_handle,
    opts: *const blkalign_open_options,
    o: *const blkalign_overlay_options,
    out: *mut *mut blkalign_handle,
) -> c_int {
    guard_open(|| {
        check_out(out)?;
        if path.is_null() || backing.is_null() {
            return Err(invalid("path or backing is NULL"));
        }
        // SAFETY: NULL, or a struct as long as it says, as the header demands.
        let options = unsafe { read_options(opts)? };
        // SAFETY: as above.
        let overlay = unsafe { read_overlay_options(o)? };
        // SAFETY: a C string, as the header demands.
        let path = unsafe { copy_string(path) };
        let backing = Box::new(BackingHandle(Borrowed(backing.cast())));
        let handle = Handle::open_overlay(&path, backing, &options, overlay)?;
        // SAFETY: not NULL.
        unsafe { give(handle, out) }
    }) as c_int
}

/// Tells whether the byte at `offset` of an overlay is there, or absent: taken
/// from the backing object. `*run` gets for how many bytes from `offset` on, at
/// most `bytes`, that is so. `run` may be NULL. What is there stays there; what
/// is absent may come at any moment.
///
/// Returns 1 (there), 0 (absent) or -errno:
/// -EINVAL   `h` is NULL or no overlay; the range is empty or passes the end.
#[no_mangle]
pub unsafe extern "C-unwind" fn blkalign_overlay_status(
    h: *mut blkalign_handle,
    offset: i64,
    bytes: i64,
    run: *mut i64,
) -> c_int {
    let body = |handle: &Handle| {
        let (offset, bytes) = check_range(offset, bytes)?;
        let (there, same) = handle.overlay_run(offset, bytes)?;
        if !run.is_null() {
            // SAFETY: not NULL, and can be written, as the header demands.
            unsafe { run.write(same as i64) };
        }
        Ok(i64::from(there))
    };
    // SAFETY: NULL or an open handle, as the header demands.
    unsafe { guard_handle(h, body) as c_int }
}

/// Starts to copy all that is absent from the backing object, while other
/// requests go on: several clusters at a time, adjacent ones at once. The copy
/// never undoes a write. Writes to what is being copied at this moment wait for
/// that. From time to time, and at the end, what has been copied is made
/// durable and noted in the map; a later fill goes on from there, also after a
/// crash. blkalign_aio_cancel() stops the fill between two clusters, and
/// returns 0. No throttle of `h` counts the fill; one of the backing handle
/// does.
///
/// Returns the id of the fill, or -errno: any error of blkalign_aio_flush(),
/// and
/// -EINVAL   `h` is no overlay;
/// -EPERM    the handle is read-only.
#[no_mangle]
pub unsafe extern "C-unwind" fn blkalign_overlay_fill(
    h: *mut blkalign_handle,
    cb: blkalign_completion_fn,
    opaque: *mut c_void,
) -> i64 {
    let body = |handle: &Handle| {
        let callback = callback(cb, opaque)?;
        // Ids are below 2^63.
        handle.fill_overlay(callback).map(|id| id as i64)
    };
    // SAFETY: NULL or an open handle, as the header demands.
    unsafe { guard_handle(h, body) }
}

/// A handle that stays the caller's.
struct Borrowed(*const Handle);

// SAFETY: any thread may use a handle.
unsafe impl Send for Borrowed {}
// SAFETY: as above.
unsafe impl Sync for Borrowed {}

impl AsRef<Handle> for Borrowed {
    fn as_ref(&self) -> &Handle {
        // SAFETY: the header demands that it stays open as long as the overlay.
        unsafe { &*self.0 }
    }
}

/// # Safety `options` is NULL or points to a readable struct that is as long as it says.
unsafe fn read_overlay_options(
    options: *const blkalign_overlay_options,
) -> Result<OverlayOptions, Error> {
    if options.is_null() {
        return Ok(OverlayOptions::default());
    }
    // SAFETY: not NULL, and the caller of this function vouches for the rest.
    let options = unsafe { copy_in(options)? };
    let unknown = options.flags & !BLKALIGN_OVERLAY_COPY_ON_READ;
    if unknown != 0 {
        return Err(invalid(format!("blkalign_overlay_options: unknown flags {unknown:#x}")));
    }
    let copy_on_read = options.flags & BLKALIGN_OVERLAY_COPY_ON_READ != 0;
    Ok(OverlayOptions { copy_on_read, cluster: options.cluster_size })
}
