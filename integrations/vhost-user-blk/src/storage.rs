//! The library, through its C interface alone, in the shapes that this program uses.

use std::ffi::{c_char, c_int, c_void, CStr, CString};
use std::mem::MaybeUninit;
use std::os::fd::RawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr;

use blkalign::capi::*;
use libc::iovec;

use crate::remote;

/// What a storage call gives: -errno of the library, and its words.
#[derive(Debug)]
pub struct StorageError {
    pub errno: i32,
    pub words: String,
}

impl std::fmt::Display for StorageError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.words)
    }
}

/// How the object is opened; `blkalign_open_options` has the meanings.
#[derive(Clone, Copy, Default)]
pub struct OpenOptions {
    pub flags: u32,
    pub engine: u32,
    pub queue_depth: u32,
    /// Bytes; 0: no promise about torn reads.
    pub guest_block_size: u32,
}

/// What the storage needs, in bytes; 0: not known.
#[derive(Clone, Copy, Debug, Default)]
pub struct Limits {
    pub request_alignment: u32,
    pub physical_block_size: u32,
    pub opt_transfer: u32,
    pub discard_alignment: u32,
    pub direct: bool,
}

/// What is done when a request is over: `opaque` and 0 or -errno.
pub type Callback = extern "C" fn(opaque: *mut c_void, ret: c_int);

/// An open handle whose callbacks run inside `poll` and `drain`, on the thread that calls these.
pub struct Handle(*mut blkalign_handle);

// SAFETY: every function of the library may be called from any thread at any time.
unsafe impl Send for Handle {}
// SAFETY: as above.
unsafe impl Sync for Handle {}

/// A request that moves bytes, or none: its place in bytes, and what to call in the end.
#[derive(Clone, Copy)]
pub struct Target {
    pub offset: i64,
    pub bytes: i64,
    pub opaque: *mut c_void,
}

impl Handle {
    pub fn open(path: &Path, options: OpenOptions) -> Result<Handle, StorageError> {
        let name = CString::new(path.as_os_str().as_bytes()).map_err(|_| StorageError {
            errno: libc::EINVAL,
            words: "a path has no zero byte".into(),
        })?;
        let options = c_options(options);
        if remote::is_image(&name) {
            let opened = remote::open(&name, &options);
            return opened
                .map(Handle)
                .map_err(|(result, words)| StorageError { errno: -result, words });
        }
        let mut handle = ptr::null_mut();
        // SAFETY: all three live through the call.
        check(unsafe { blkalign_open(name.as_ptr(), &options, &mut handle) })?;
        Ok(Handle(handle))
    }

    /// Another handle, with options of its own, on the same object.
    pub fn dup(&self, options: OpenOptions) -> Result<Handle, StorageError> {
        let options = c_options(options);
        let mut handle = ptr::null_mut();
        // SAFETY: the handle is open, the others live through the call.
        check(unsafe { blkalign_dup(self.0, &options, &mut handle) })?;
        Ok(Handle(handle))
    }

    /// In bytes.
    pub fn length(&self) -> u64 {
        // SAFETY: the handle is open.
        unsafe { blkalign_getlength(self.0) }.try_into().unwrap_or(0)
    }

    /// The same, looked up anew at the storage, for all handles of the object.
    pub fn refresh_length(&self) -> Result<u64, StorageError> {
        // SAFETY: the handle is open.
        let bytes = unsafe { blkalign_refresh_length(self.0) };
        match u64::try_from(bytes) {
            Ok(bytes) => Ok(bytes),
            Err(_) => Err(check(bytes as c_int).expect_err("it is negative")),
        }
    }

    pub fn limits(&self) -> Limits {
        // SAFETY: a struct of integers, for which zeros are fine.
        let mut limits: blkalign_limits = unsafe { zeroed() };
        limits.size = size_of::<blkalign_limits>();
        // SAFETY: the handle is open, and `size` says how much may be written.
        unsafe { blkalign_get_limits(self.0, &mut limits) };
        Limits {
            request_alignment: limits.request_alignment,
            physical_block_size: limits.physical_block_size,
            opt_transfer: limits.opt_transfer,
            discard_alignment: limits.discard_alignment,
            direct: limits.direct != 0,
        }
    }

    pub fn event_fd(&self) -> Result<RawFd, StorageError> {
        // SAFETY: the handle is open.
        check(unsafe { blkalign_get_event_fd(self.0) })
    }

    /// Off: every write is durable when it is done.
    pub fn set_write_cache(&self, on: bool) {
        // SAFETY: the handle is open.
        unsafe { blkalign_set_write_cache(self.0, on.into()) };
    }

    pub fn plug(&self) {
        // SAFETY: the handle is open.
        unsafe { blkalign_plug(self.0) }
    }

    pub fn unplug(&self) {
        // SAFETY: the handle is open.
        unsafe { blkalign_unplug(self.0) }
    }

    /// Runs the callbacks that are due, without waiting. Gives how many there were.
    pub fn poll(&self, max: i32) -> usize {
        // SAFETY: the handle is open.
        unsafe { blkalign_poll(self.0, max, 0) }.try_into().unwrap_or(0)
    }

    /// Returns when every callback has run, in here.
    pub fn drain(&self) {
        // SAFETY: the handle is open.
        unsafe { blkalign_drain(self.0) };
    }

    /// Reads into `iov`. 0 or -errno.
    ///
    /// # Safety
    ///
    /// `iov` must name memory that may be written.
    pub unsafe fn read_now(&self, offset: i64, iov: &[iovec], flags: u32) -> c_int {
        let count = iov.len() as c_int;
        // SAFETY: the handle is open, and the caller answers for the memory.
        unsafe { blkalign_preadv(self.0, offset, iov.as_ptr(), count, flags) }
    }

    /// Writes what `iov` names. 0 or -errno.
    ///
    /// # Safety
    ///
    /// `iov` must name memory that may be read.
    pub unsafe fn write_now(&self, offset: i64, iov: &[iovec], flags: u32) -> c_int {
        let count = iov.len() as c_int;
        // SAFETY: the handle is open, and the caller answers for the memory.
        unsafe { blkalign_pwritev(self.0, offset, iov.as_ptr(), count, flags) }
    }

    /// Ends the request with -ECANCELED if nothing of it is at the storage yet.
    pub fn cancel(&self, request: i64) {
        // SAFETY: the handle is open.
        unsafe { blkalign_aio_cancel(self.0, request) };
    }

    /// Starts reading into `iov`. Gives the number of the request. An error means that the callback
    /// will not run.
    ///
    /// # Safety
    ///
    /// The memory that `iov` names, and what the callback makes of `target.opaque`, must stay
    /// until the callback has run. So for each call of this kind.
    pub unsafe fn read(
        &self,
        target: Target,
        iov: &[iovec],
        flags: u32,
        callback: Callback,
    ) -> Result<i64, i32> {
        let Target { offset, opaque, .. } = target;
        let count = iov.len() as c_int;
        // SAFETY: the caller answers for the memory; the array is copied by the call.
        started(unsafe {
            blkalign_aio_preadv(self.0, offset, iov.as_ptr(), count, flags, Some(callback), opaque)
        })
    }

    /// Starts writing what `iov` names.
    ///
    /// # Safety
    ///
    /// As for `read`.
    pub unsafe fn write(
        &self,
        target: Target,
        iov: &[iovec],
        flags: u32,
        callback: Callback,
    ) -> Result<i64, i32> {
        let Target { offset, opaque, .. } = target;
        let count = iov.len() as c_int;
        // SAFETY: the caller answers for the memory; the array is copied by the call.
        started(unsafe {
            blkalign_aio_pwritev(self.0, offset, iov.as_ptr(), count, flags, Some(callback), opaque)
        })
    }

    /// Starts writing zeros.
    ///
    /// # Safety
    ///
    /// As for `read`; there is no memory but `target.opaque`.
    pub unsafe fn write_zeroes(
        &self,
        target: Target,
        may_unmap: bool,
        callback: Callback,
    ) -> Result<i64, i32> {
        let flags = if may_unmap { BLKALIGN_REQ_MAY_UNMAP } else { 0 };
        let Target { offset, bytes, opaque } = target;
        // SAFETY: the handle is open.
        started(unsafe {
            blkalign_aio_pwrite_zeroes(self.0, offset, bytes, flags, Some(callback), opaque)
        })
    }

    /// Starts a discard.
    ///
    /// # Safety
    ///
    /// As for `write_zeroes`.
    pub unsafe fn discard(&self, target: Target, callback: Callback) -> Result<i64, i32> {
        let Target { offset, bytes, opaque } = target;
        // SAFETY: the handle is open.
        started(unsafe { blkalign_aio_pdiscard(self.0, offset, bytes, Some(callback), opaque) })
    }

    /// Starts a flush.
    ///
    /// # Safety
    ///
    /// As for `write_zeroes`.
    pub unsafe fn flush(&self, opaque: *mut c_void, callback: Callback) -> Result<i64, i32> {
        // SAFETY: the handle is open.
        started(unsafe { blkalign_aio_flush(self.0, Some(callback), opaque) })
    }

    /// Makes guest memory known for BLKALIGN_REQ_REGISTERED_BUF.
    ///
    /// # Safety
    ///
    /// The memory must stay until `unregister`.
    pub unsafe fn register(&self, start: *mut u8, bytes: usize) -> Result<(), StorageError> {
        // SAFETY: the caller answers for the memory.
        check(unsafe { blkalign_register_buf(self.0, start.cast(), bytes) }).map(|_| ())
    }

    /// The counterpart of `register`, while nothing is in flight.
    pub fn unregister(&self, start: *mut u8, bytes: usize) {
        // SAFETY: looks for the region by its address and touches no memory.
        unsafe { blkalign_unregister_buf(self.0, start.cast(), bytes) };
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        // SAFETY: the handle is open, and nobody else has it any more.
        unsafe { blkalign_close(self.0) };
    }
}

/// From here on messages of `level` and of those that are more severe go to stderr.
pub fn log_to_stderr(level: u32) {
    extern "C" fn hook(_opaque: *mut c_void, _level: c_int, message: *const c_char) {
        // SAFETY: the library gives a C string that lives through this call.
        let message = unsafe { CStr::from_ptr(message) };
        crate::report::say(&message.to_string_lossy());
    }
    blkalign_set_log(Some(hook), ptr::null_mut(), level as c_int);
}

fn c_options(options: OpenOptions) -> blkalign_open_options {
    // SAFETY: a struct of integers, for which zeros are the defaults.
    let mut c: blkalign_open_options = unsafe { zeroed() };
    c.size = size_of::<blkalign_open_options>();
    c.flags = options.flags;
    c.engine = options.engine;
    c.completion = BLKALIGN_COMPLETION_EVENTFD;
    c.queue_depth = options.queue_depth;
    c.guest_block_size = options.guest_block_size;
    c
}

/// # Safety
///
/// `T` must be fine with all zeros.
unsafe fn zeroed<T>() -> T {
    // SAFETY: the caller answers for it.
    unsafe { MaybeUninit::zeroed().assume_init() }
}

fn check(result: c_int) -> Result<c_int, StorageError> {
    if result >= 0 {
        return Ok(result);
    }
    // SAFETY: the library never gives NULL here, and the words stay until the next failure.
    let words = unsafe { CStr::from_ptr(blkalign_errmsg()) };
    Err(StorageError { errno: -result, words: words.to_string_lossy().into_owned() })
}

/// Of the number of a request, or -errno.
fn started(result: i64) -> Result<i64, i32> {
    if result > 0 {
        Ok(result)
    } else {
        Err(-(result as i32))
    }
}
