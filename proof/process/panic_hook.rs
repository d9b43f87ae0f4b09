//! A Rust program that shares its panic hook with the library: it hears of each panic of its own,
//! wherever the library calls it, as if the library had no hook.

use std::cell::Cell;
use std::ffi::{c_char, c_int, c_void, CString};
use std::panic::{catch_unwind, set_hook};
use std::ptr::null_mut;
use std::sync::atomic::{AtomicU32, Ordering};

use blkalign::capi::*;

static HEARD: AtomicU32 = AtomicU32::new(0);

thread_local! {
    static CALLED: Cell<u32> = const { Cell::new(0) };
}

/// How many panics the program heard of while `body` ran.
fn heard(body: impl FnOnce()) -> u32 {
    let before = HEARD.load(Ordering::Relaxed);
    body();
    HEARD.load(Ordering::Relaxed) - before
}

fn panic_and_go_on() {
    assert!(catch_unwind(|| panic!("the program's own")).is_err());
    CALLED.set(CALLED.get() + 1);
}

extern "C" fn panicking_callback(_opaque: *mut c_void, ret: c_int) {
    assert_eq!(ret, 0);
    panic_and_go_on();
}

extern "C" fn panicking_log(_opaque: *mut c_void, _level: c_int, _message: *const c_char) {
    panic_and_go_on();
}

#[test]
fn a_program_hears_of_the_panics_of_its_own_code() {
    set_hook(Box::new(|_| {
        HEARD.fetch_add(1, Ordering::Relaxed);
    }));
    let directory = std::env::temp_dir();
    let path = directory.join(format!("blkalign-test-panic-{}", std::process::id()));
    std::fs::write(&path, [7; 4096]).unwrap();
    let name = CString::new(path.to_str().unwrap()).unwrap();

    // SAFETY: a struct of integers may be all zeros.
    let mut options: blkalign_open_options = unsafe { std::mem::zeroed() };
    options.size = size_of::<blkalign_open_options>();
    options.completion = BLKALIGN_COMPLETION_EVENTFD;
    let mut handle = null_mut();
    // SAFETY: the pointers are those of living things.
    assert_eq!(unsafe { blkalign_open(name.as_ptr(), &options, &mut handle) }, 0);
    std::fs::remove_file(&path).unwrap();

    assert_eq!(heard(panic_and_go_on), 1, "beside the library");

    let mut buf = [0u8; 512];
    let iov = libc::iovec { iov_base: buf.as_mut_ptr().cast(), iov_len: buf.len() };
    let in_callback = heard(|| {
        // SAFETY: the memory stays until the callback, which `blkalign_drain` waits for.
        let id = unsafe {
            blkalign_aio_preadv(handle, 0, &iov, 1, 0, Some(panicking_callback), null_mut())
        };
        assert!(id > 0);
        // SAFETY: the handle is open.
        assert_eq!(unsafe { blkalign_drain(handle) }, 0);
    });
    assert_eq!(in_callback, 1, "in a callback on its own thread");
    assert_eq!(buf, [7; 512]);

    let in_log = heard(|| {
        assert_eq!(blkalign_set_log(Some(panicking_log), null_mut(), 3), 0);
        // SAFETY: the handle is open, and not used afterwards.
        assert_eq!(unsafe { blkalign_close(handle) }, 0);
        assert_eq!(blkalign_set_log(None, null_mut(), 0), 0);
    });
    assert_eq!(in_log, 1, "in its log");
    assert_eq!(CALLED.get(), 3);
}
