//! What `<blkalign.h>` declares for before-write notifiers.

use std::ffi::{c_int, c_void};

/// A notifier that was added by blkalign_add_before_write().
pub struct blkalign_notifier {
    _opaque: [u8; 0],
}

/// The answer to a `blkalign_before_write_fn`: `ret` is 0 if the change may go
/// on, or -errno if it is to fail with that. Call it once, from any thread,
/// with the `token` of the question, also before the `blkalign_before_write_fn`
/// has returned. A second call with the same token changes nothing; the log is
/// told.
pub type blkalign_before_write_done_fn = extern "C-unwind" fn(token: *mut c_void, ret: c_int);

/// A program's notifier: called before bytes of the object change.
///
/// `op` is what will change them: BLKALIGN_OP_WRITE, BLKALIGN_OP_WRITE_ZEROES,
/// BLKALIGN_OP_DISCARD or BLKALIGN_OP_TRUNCATE. `offset` and `bytes` are the
/// range, from the start of the object (not of a window), rounded out to the
/// notifier's unit, but not beyond the end of the object, unless what changes
/// lies there. Of a truncate the range is what goes, or comes.
///
/// Returns 0, and `done(token, ret)` is called then or later; or -errno, which
/// is as good as a call of `done` with it.
///
/// The function runs on a thread that submits a request or on one of the
/// library, and several calls may run at once. So it must take no lock that the
/// program holds while it calls the library, and must not wait. Functions of
/// the library that wait return -EDEADLK in it; the blkalign_aio_*() functions
/// do not wait. It must not throw or longjmp.
pub type blkalign_before_write_fn = Option<
    unsafe extern "C" fn(
        opaque: *mut c_void,
        op: u32,
        offset: i64,
        bytes: i64,
        done: blkalign_before_write_done_fn,
        token: *mut c_void,
    ) -> c_int,
>;
