//! Handles of one object, side by side: what waits for the I/O of one, or rides in it, comes to its
//! end though nobody looks after that handle.

use std::ffi::{c_int, c_void};
use std::sync::Arc;

use parking_lot::Mutex;

use super::rings::{check, memory_of, note, submission, submit, submit_for, with_handle};
use super::small::explore;
use crate::driver::Op;
use crate::handle::{CompletionMode, EngineKind, Handle, Options};
use crate::proof::table::with_calls;
use crate::proof::world::system::calls::{calmly, table};
use crate::proof::world::{block, choose, fail, wake_all, Class, Key};

/// Another handle on the object of `first`.
fn another(first: &Handle, completion: CompletionMode) -> Handle {
    let options = Options {
        direct: true,
        writable: true,
        engine: EngineKind::IoUring,
        completion,
        ..Options::default()
    };
    let opened = with_calls(table(), || calmly(|| first.dup(&options)));
    opened.unwrap_or_else(|error| fail(&format!("dup: {error}")))
}

fn drain(handle: &Handle) {
    if let Err(error) = handle.drain() {
        fail(&format!("drain: {error}"));
    }
}

fn close(handle: Handle) {
    if let Err((_, error)) = Box::new(handle).close() {
        fail(&format!("close: {error}"));
    }
}

/// A write of a SERIAL handle rides in the I/O of an EVENTFD handle that nobody polls.
pub fn a_write_that_rides_with_a_handle_that_nobody_polls_is_helped() -> (usize, bool) {
    explore("rides", 1, 2000, 1500, || {
        with_handle(CompletionMode::Eventfd, true, |unpolled| {
            let other = another(unpolled, CompletionMode::Serial);
            let memories = Arc::new([memory_of(100), memory_of(100), memory_of(100)]);
            // The first reads the block; the second gets its image, and takes the third along.
            submit(unpolled, submission(Op::Write, &memories[0]));
            submit(unpolled, submission(Op::Write, &memories[1]));
            submit(&other, submission(Op::Write, &memories[2]));
            drain(&other);
            if other.stats().merged + other.stats().storage_writes == 0 {
                fail("neither alone nor with others");
            }
            close(other);
            drain(unpolled);
            check(&[0, 0, 0]);
        });
    })
}

/// How many plain callbacks have run.
static PLAIN: Mutex<usize> = Mutex::new(0);
const RAN: Key = Key::Thing(4);

extern "C" fn plain(opaque: *mut c_void, ret: c_int) {
    *PLAIN.lock() += 1;
    wake_all(RAN);
    note(opaque, ret);
}

extern "C" fn wait_for_plain(opaque: *mut c_void, ret: c_int) {
    while *PLAIN.lock() < 3 {
        block(RAN, None, Class::Outside);
    }
    note(opaque, ret);
}

/// Storage that knows no NOWAIT, so the job of one handle runs the callbacks of the other and
/// carries out its I/O. A callback of one of them waits for those of the other.
pub fn a_callback_that_waits_for_that_of_another_handle_holds_nobody_up() -> (usize, bool) {
    explore("favours", 1, 2500, 2500, || {
        *PLAIN.lock() = 0;
        let mode = || match choose(2) {
            0 => CompletionMode::Serial,
            _ => CompletionMode::Concurrent,
        };
        let (first, second) = (mode(), mode());
        with_handle(first, false, |one| {
            let other = another(one, second);
            let memories = Arc::new([(); 5].map(|()| memory_of(100)));
            let write = |handle: &Handle, at: usize, callback| {
                submit_for(handle, submission(Op::Write, &memories[at]), callback);
            };
            let (waits, plainly) =
                if choose(2) == 0 { (one.as_ref(), &other) } else { (&other, one.as_ref()) };
            write(one, 0, note);
            write(plainly, 1, plain);
            write(waits, 2, wait_for_plain);
            write(plainly, 3, plain);
            write(plainly, 4, plain);
            drain(&other);
            drain(one);
            close(other);
            check(&[0; 5]);
        });
    })
}

/// Two SERIAL handles; one is closed while its write may ride with the other's, or lead it.
pub fn a_handle_closes_while_its_write_rides() -> (usize, bool) {
    explore("closes", 2, 2000, 1500, || {
        with_handle(CompletionMode::Serial, true, |stays| {
            let goes = another(stays, CompletionMode::Serial);
            let memories = Arc::new([memory_of(100), memory_of(100), memory_of(100)]);
            submit(stays, submission(Op::Write, &memories[0]));
            submit(&goes, submission(Op::Write, &memories[1]));
            submit(stays, submission(Op::Write, &memories[2]));
            close(goes);
            drain(stays);
            check(&[0, 0, 0]);
        });
    })
}
