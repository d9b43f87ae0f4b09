//! The program's log: `blkalign_set_log`.

use std::ffi::{c_char, c_int, c_void};

use super::guard::guard;
use super::numbers::{level_number, level_of};
use crate::log::{set_hook, Level};

/// Gets one message of the log. `level` is one of BLKALIGN_LOG_*. `message` is
/// one line of UTF-8 without newline and control characters, valid until the
/// function returns. Any thread may call it, several at a time, also inside
/// calls of the library; the library holds no lock meanwhile. The function must
/// not throw or longjmp, and must not call the library, except for
/// blkalign_version(). Messages that arise inside the function are lost.
pub type blkalign_log_fn =
    Option<extern "C" fn(opaque: *mut c_void, level: c_int, message: *const c_char)>;

/// The hook and what belongs to it.
struct CHook {
    function: extern "C" fn(*mut c_void, c_int, *const c_char),
    opaque: *mut c_void,
}

// SAFETY: the contract of `blkalign_set_log` is that the hook may be called on any thread, with
// the opaque pointer; the library never looks behind it.
unsafe impl Send for CHook {}
// SAFETY: as above.
unsafe impl Sync for CHook {}

impl CHook {
    fn call(&self, level: Level, message: &std::ffi::CStr) {
        (self.function)(self.opaque, level_number(level), message.as_ptr());
    }
}

/// Sets the function that gets the messages of the library, for the whole
/// process. `hook` gets the messages of `level` (one of BLKALIGN_LOG_*) and of
/// the more severe levels. It replaces the function that was set before. NULL:
/// no messages, as at the start; `level` is then ignored. The library itself
/// never prints.
///
/// When the call returns, no call of the earlier hook is running or will begin,
/// so that its `opaque` may be freed. The call waits for running hooks: hold no
/// lock that the hook takes. (Inside the hook the call does not wait.)
///
/// The messages of each level: BLKALIGN_LOG_ERROR tells of an open that failed,
/// of an I/O that failed at the storage (for each handle at most 10 in 5
/// seconds, then a count of the others), of flushes that fail from now on, and
/// of faults of the library. BLKALIGN_LOG_WARNING tells of threads in place of
/// io_uring, of a lock that could not be released, and of requests that have
/// not come back for 5 seconds, then 10, 20, 40 and so on, with what each waits
/// for. BLKALIGN_LOG_INFO tells
/// of each open with path, engine, alignments and their sources, of image
/// locks, and of each close. BLKALIGN_LOG_DEBUG adds details that may change
/// from version to version.
///
/// Returns 0 or -errno:
/// -EINVAL   there is no such level; the hook does not change.
#[no_mangle]
pub extern "C-unwind" fn blkalign_set_log(
    hook: blkalign_log_fn,
    opaque: *mut c_void,
    level: c_int,
) -> c_int {
    guard(|| {
        let hook = match hook {
            Some(function) => {
                let level = level_of(level)?;
                let hook = CHook { function, opaque };
                let call = move |level, message: &std::ffi::CStr| hook.call(level, message);
                Some((level, Box::new(call) as _))
            }
            None => None,
        };
        set_hook(hook);
        Ok(0)
    }) as c_int
}
