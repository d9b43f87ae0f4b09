//! The program's log: `blkalign_set_log`.

use std::ffi::{c_char, c_int, c_void};

use super::guard::guard;
use super::numbers::{level_number, level_of};
use crate::log::{set_hook, Level};

/// Is told what happens inside the library: `level` is BLKALIGN_LOG_*,
/// `message` one line of UTF-8 without newline and control characters, valid
/// until it returns. Called on any thread, by several at a time, also inside
/// calls of the library; the library holds no lock meanwhile. It must not call
/// the library but for blkalign_version(), nor throw or longjmp. What the
/// library would say inside of it is lost.
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

/// Sets who is told what happens in the library, for the whole process. `hook`
/// gets the messages of `level` (BLKALIGN_LOG_*) and those that are more
/// severe. It takes the place of what was set before; NULL: nobody is told, as
/// at first, and `level` is ignored. The library itself never prints.
///
/// When this returns no call of the hook before is under way and none will
/// begin, so that what `opaque` names may be freed. It waits for those calls:
/// hold no lock that the hook takes. (Inside the hook it does not wait.)
///
/// What is told. ERROR: an open that failed; an I/O that failed at the storage
/// (at most 10 of a handle in 5 seconds, then how many more there were); that
/// flushes of a file fail from now on; faults of the library. WARNING: threads
/// instead of io_uring; a lock that could not be given back. INFO: each open
/// with path, engine, and the alignments with who said so; image locks; each
/// close. DEBUG: more, from version to version something else.
///
/// Returns 0, or -EINVAL: there is no such level; nothing changed.
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
