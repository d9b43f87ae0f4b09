//! Before-write notifiers: add_before_write, remove_before_write.

use std::ffi::{c_int, c_void};

use super::checks::invalid;
use super::guard::{guard, guard_handle};
use crate::driver::kind_number;
use crate::handle::{answer_question, Added, Change, Handle, Notify, Token};
use crate::header::{blkalign_before_write_fn, blkalign_handle, blkalign_notifier};
use crate::log;
use crate::sys::{answer_of, caught, outside, uncancelled};

/// Adds a notifier: `notify` is called before any request changes bytes of the
/// object of `h`, and the request waits for the answer. That is what a backup
/// of a disk in use is made with, and how changes are tracked.
///
/// All changes count, by whichever handle of the object: writes, zero writes,
/// discards and truncates. `notify` is called for a change when the change has
/// waited for all requests that it conflicts with, and before anything of it
/// reaches the storage, with its range rounded out to multiples of `unit` (a
/// power of two, 1 byte to 1 GiB). Until `done` is called, the change and all
/// other changes in the rounded range wait. Reads do not wait, on any handle:
/// they see the old bytes. Only a SERIALISING read of the range waits. While a
/// change is announced a cancel of it is -EBUSY. If the answer is -errno the
/// change fails with that, and nothing of it is written. Where one call
/// announces several writes that is so of the first; the others can be
/// cancelled, and after -errno they are announced by themselves.
///
/// Ranges of one unit are announced one after the other. One call may announce
/// several writes that will be one I/O. Several notifiers are called one after
/// the other, in the order in which they were added. `notify` gets `opaque`.
///
/// The call returns when every change is over that was not announced to the
/// notifier: from then on all changes are. The notifier belongs to the object:
/// it stays until blkalign_remove_before_write(), also when `h` is closed, as
/// long as any handle of the object is open. `*out` is written only on success,
/// and `notify` may be called before that. See blkalign(7), "Backup and change
/// tracking".
///
/// Returns 0 or -errno:
/// -EINVAL   `h`, `notify` or `out` is NULL; `unit` is no power of two, or is
///           above 1 GiB;
/// -EBUSY    `h` has paused the object (blkalign_pause()): what waits in the
///           pause would be waited for;
/// -EDEADLK  the call was made inside a callback or a notifier;
/// -EIO      the library has had an internal error on this object.
#[no_mangle]
pub unsafe extern "C-unwind" fn blkalign_add_before_write(
    h: *mut blkalign_handle,
    unit: u32,
    notify: blkalign_before_write_fn,
    opaque: *mut c_void,
    out: *mut *mut blkalign_notifier,
) -> c_int {
    let body = |handle: &Handle| {
        if notify.is_none() || out.is_null() {
            return Err(invalid(if out.is_null() { "out is NULL" } else { "notify is NULL" }));
        }
        let added = handle.add_notifier(unit, Box::new(Notifier { function: notify, opaque }))?;
        // SAFETY: not NULL.
        unsafe { out.write(Box::into_raw(Box::new(added)).cast()) };
        Ok(0)
    };
    // SAFETY: NULL or an open handle, as the header demands.
    unsafe { guard_handle(h, body) as c_int }
}

/// Removes a notifier: no change is announced to it any more. The call returns
/// when none of its calls is outstanding: each has returned, and `done` has
/// been called for it. Then `n` is gone, and its `opaque` is not used any more.
/// Every notifier must be removed, also when all handles of the object are
/// closed.
///
/// Returns 0 or -errno; after an error the notifier is still there:
/// -EINVAL   `n` is NULL;
/// -EDEADLK  the call was made inside a callback or a notifier.
#[no_mangle]
pub unsafe extern "C-unwind" fn blkalign_remove_before_write(n: *mut blkalign_notifier) -> c_int {
    guard(|| {
        if n.is_null() {
            return Err(invalid("the notifier is NULL"));
        }
        // SAFETY: a notifier is a `Box<Added>` turned into a pointer.
        unsafe { &*n.cast::<Added>() }.remove()?;
        // SAFETY: as above, and nobody uses the notifier any more.
        drop(unsafe { Box::from_raw(n.cast::<Added>()) });
        Ok(0)
    }) as c_int
}

/// A notifier in C.
struct Notifier {
    function: blkalign_before_write_fn,
    opaque: *mut c_void,
}

// SAFETY: the header tells the program that the function runs on any thread, several at a time.
unsafe impl Send for Notifier {}
// SAFETY: as above.
unsafe impl Sync for Notifier {}

impl Notify for Notifier {
    fn before(&self, change: Change, token: Token) -> Result<(), i32> {
        let Change { op, offset, bytes } = change;
        let Some(function) = self.function else { return Ok(()) };
        let token = std::ptr::without_provenance_mut(token.get() as usize);
        let (opaque, offset, bytes) = (self.opaque, offset as i64, bytes as i64);
        // SAFETY: the caller's function, called as its contract says.
        let ret =
            outside(|| unsafe { function(opaque, kind_number(op), offset, bytes, done, token) });
        answer_of(ret)
    }
}

/// What a notifier calls to answer.
extern "C-unwind" fn done(token: *mut c_void, ret: c_int) {
    uncancelled(|| {
        // A panic must not travel into the caller's code.
        let answered = caught(|| {
            let token = Token::new(token.addr() as u64);
            token.is_some_and(|token| answer_question(token, answer_of(ret)))
        });
        match answered {
            Ok(true) => {}
            Ok(false) => log::error!("a before-write notifier has answered twice, or nothing"),
            Err(panic) => log::error!("a before-write notifier's answer: {panic}"),
        }
    });
}
