//! The calls of `<blkalign.h>` that the scenes make, with plain arguments.

use std::ffi::{c_char, c_int, c_void, CStr};

use blkalign::capi::*;
use libc::iovec;

use crate::store::Store;
use crate::store_calls::table;

/// An open handle. Nothing uses it after `close`.
#[derive(Clone, Copy)]
pub struct Disk(pub *mut blkalign_handle);

pub type Opened = Result<Disk, c_int>;

pub fn options() -> blkalign_open_options {
    // SAFETY: integers only.
    let zeroed: blkalign_open_options = unsafe { std::mem::zeroed() };
    blkalign_open_options { size: std::mem::size_of::<blkalign_open_options>(), ..zeroed }
}

pub fn abort_on_internal_errors() {
    blkalign_set_log(Some(listen), std::ptr::null_mut(), BLKALIGN_LOG_ERROR as c_int);
}

extern "C" fn listen(_: *mut c_void, _: c_int, message: *const c_char) {
    // SAFETY: one line of text that is valid until this returns.
    let words = unsafe { CStr::from_ptr(message) }.to_string_lossy();
    assert!(!words.contains("internal error"), "{words}");
}

fn opened(ret: c_int, disk: *mut blkalign_handle) -> Opened {
    assert!(ret <= 0, "an open returns {ret}");
    assert_eq!(ret == 0, !disk.is_null(), "`out` is written on success only");
    if ret == 0 {
        Ok(Disk(disk))
    } else {
        assert!(!last_words().is_empty(), "a failure without words");
        Err(ret)
    }
}

pub fn last_words() -> String {
    // SAFETY: a string, valid until the next failure on this thread.
    unsafe { CStr::from_ptr(blkalign_errmsg()) }.to_string_lossy().into_owned()
}

pub fn open_store(store: &Store, options: &blkalign_open_options) -> Opened {
    let (mut disk, table) = (std::ptr::null_mut(), table(store));
    let opaque = (&raw const *store).cast_mut().cast();
    // SAFETY: the store outlives its handles.
    let ret = unsafe { blkalign_open_driver(&table, opaque, options, &mut disk) };
    opened(ret, disk)
}

pub fn open_file(path: &CStr, options: &blkalign_open_options) -> Opened {
    let mut disk = std::ptr::null_mut();
    // SAFETY: a string and options.
    let ret = unsafe { blkalign_open(path.as_ptr(), options, &mut disk) };
    opened(ret, disk)
}

pub fn open_fd(fd: c_int, options: &blkalign_open_options) -> Opened {
    let mut disk = std::ptr::null_mut();
    // SAFETY: any number will do for a descriptor.
    let ret = unsafe { blkalign_open_fd(fd, options, &mut disk) };
    opened(ret, disk)
}

/// A notifier that lets everything pass. It is removed by `remove_notifier`.
pub fn add_notifier(disk: Disk, unit: u32) -> *mut blkalign_notifier {
    let mut notifier = std::ptr::null_mut();
    let opaque = std::ptr::null_mut();
    // SAFETY: an open handle, and a function that uses nothing.
    let ret =
        unsafe { blkalign_add_before_write(disk.0, unit, Some(let_pass), opaque, &mut notifier) };
    assert_eq!(ret, 0, "{}", last_words());
    notifier
}

pub fn remove_notifier(notifier: *mut blkalign_notifier) {
    // SAFETY: it was added, and is not used any more.
    assert_eq!(unsafe { blkalign_remove_before_write(notifier) }, 0);
}

/// Answers before it returns.
unsafe extern "C" fn let_pass(
    _: *mut c_void,
    op: u32,
    offset: i64,
    bytes: i64,
    done: blkalign_before_write_done_fn,
    token: *mut c_void,
) -> c_int {
    let known =
        [BLKALIGN_OP_WRITE, BLKALIGN_OP_WRITE_ZEROES, BLKALIGN_OP_DISCARD, BLKALIGN_OP_TRUNCATE];
    assert!(known.contains(&op) && offset >= 0 && bytes > 0, "told of {op} {offset}+{bytes}");
    done(token, 0);
    0
}

impl Disk {
    pub fn dup(self, options: &blkalign_open_options) -> Opened {
        let mut disk = std::ptr::null_mut();
        // SAFETY: an open handle.
        let ret = unsafe { blkalign_dup(self.0, options, &mut disk) };
        opened(ret, disk)
    }

    pub fn close(self) -> c_int {
        // SAFETY: an open handle, which nobody uses any more.
        unsafe { blkalign_close(self.0) }
    }

    /// The general form, with the general struct.
    pub fn submit(self, request: &blkalign_request) -> i64 {
        // SAFETY: the memory of the request stays until it is done.
        unsafe { blkalign_aio_submit(self.0, request) }
    }

    /// The same by the function for its kind of request, if that can say all of it.
    pub fn submit_plainly(self, request: &blkalign_request) -> i64 {
        let blkalign_request { op, flags, offset, bytes, iov, iovcnt, cb, opaque, .. } = *request;
        if request.guest_block_size != 0 {
            return self.submit(request);
        }
        // SAFETY: as above.
        unsafe {
            match op {
                BLKALIGN_OP_READ => {
                    blkalign_aio_preadv(self.0, offset, iov, iovcnt, flags, cb, opaque)
                }
                BLKALIGN_OP_WRITE => {
                    blkalign_aio_pwritev(self.0, offset, iov, iovcnt, flags, cb, opaque)
                }
                BLKALIGN_OP_WRITE_ZEROES => {
                    blkalign_aio_pwrite_zeroes(self.0, offset, bytes, flags, cb, opaque)
                }
                BLKALIGN_OP_DISCARD if flags == 0 => {
                    blkalign_aio_pdiscard(self.0, offset, bytes, cb, opaque)
                }
                BLKALIGN_OP_FLUSH if flags == 0 => blkalign_aio_flush(self.0, cb, opaque),
                _ => self.submit(request),
            }
        }
    }

    /// The same by the synchronous function.
    pub fn run(self, request: &blkalign_request, vector: &[iovec]) -> c_int {
        let blkalign_request { op, flags, offset, bytes, iov, iovcnt, .. } = *request;
        // SAFETY: the memory stays while this runs.
        unsafe {
            match (op, vector) {
                (BLKALIGN_OP_READ, [one]) => {
                    blkalign_pread(self.0, offset, bytes, one.iov_base, flags)
                }
                (BLKALIGN_OP_WRITE, [one]) => {
                    blkalign_pwrite(self.0, offset, bytes, one.iov_base, flags)
                }
                (BLKALIGN_OP_READ, _) => blkalign_preadv(self.0, offset, iov, iovcnt, flags),
                (BLKALIGN_OP_WRITE, _) => blkalign_pwritev(self.0, offset, iov, iovcnt, flags),
                (BLKALIGN_OP_WRITE_ZEROES, _) => {
                    blkalign_pwrite_zeroes(self.0, offset, bytes, flags)
                }
                (BLKALIGN_OP_DISCARD, _) => blkalign_pdiscard(self.0, offset, bytes),
                _ => blkalign_flush(self.0),
            }
        }
    }

    pub fn truncate(self, length: i64) -> c_int {
        // SAFETY: an open handle.
        unsafe { blkalign_truncate(self.0, length) }
    }

    pub fn length(self) -> i64 {
        // SAFETY: an open handle.
        unsafe { blkalign_getlength(self.0) }
    }

    pub fn cancel(self, id: i64) -> c_int {
        // SAFETY: an open handle; any number will do.
        unsafe { blkalign_aio_cancel(self.0, id) }
    }

    pub fn plug(self, plug: bool) {
        // SAFETY: an open handle.
        unsafe {
            if plug {
                blkalign_plug(self.0);
            } else {
                blkalign_unplug(self.0);
            }
        }
    }

    pub fn drain(self) -> c_int {
        // SAFETY: an open handle.
        unsafe { blkalign_drain(self.0) }
    }

    pub fn poll(self, max: c_int, timeout_ms: c_int) -> c_int {
        // SAFETY: an open handle.
        unsafe { blkalign_poll(self.0, max, timeout_ms) }
    }

    pub fn event_fd(self) -> c_int {
        // SAFETY: an open handle.
        unsafe { blkalign_get_event_fd(self.0) }
    }

    pub fn set_write_cache(self, enable: bool) -> c_int {
        // SAFETY: an open handle.
        unsafe { blkalign_set_write_cache(self.0, c_int::from(enable)) }
    }

    pub fn register(self, address: *mut c_void, bytes: usize) -> c_int {
        // SAFETY: the memory stays until it is unregistered, or the handle closed.
        unsafe { blkalign_register_buf(self.0, address, bytes) }
    }

    pub fn unregister(self, address: *mut c_void, bytes: usize) -> c_int {
        // SAFETY: nothing that uses it is in flight.
        unsafe { blkalign_unregister_buf(self.0, address, bytes) }
    }

    /// Memory that is given back at once.
    pub fn allocate(self, bytes: usize) {
        // SAFETY: an open handle, and memory that is given back once.
        unsafe {
            let memory = blkalign_memalign(self.0, bytes);
            assert!(!memory.is_null(), "{}", last_words());
            std::ptr::write_bytes(memory.cast::<u8>(), 0x11, bytes);
            blkalign_free(memory);
        }
    }

    pub fn limits(self) -> blkalign_limits {
        // SAFETY: integers only.
        let mut limits: blkalign_limits = unsafe { std::mem::zeroed() };
        limits.size = std::mem::size_of::<blkalign_limits>();
        // SAFETY: an open handle, and a struct as long as it says.
        assert_eq!(unsafe { blkalign_get_limits(self.0, &mut limits) }, 0);
        limits
    }

    pub fn stats(self) -> blkalign_stats {
        // SAFETY: integers only.
        let mut stats: blkalign_stats = unsafe { std::mem::zeroed() };
        stats.size = std::mem::size_of::<blkalign_stats>();
        // SAFETY: an open handle, and a struct as long as it says.
        assert_eq!(unsafe { blkalign_get_stats(self.0, &mut stats) }, 0);
        stats
    }
}
