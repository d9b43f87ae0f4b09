//! NBD exports, by the driver of integrations/libnbd.

use std::ffi::{c_char, c_int, c_void, CString};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use blkalign::capi::blkalign_open_options;
use blkalign::{Disk, Error, OpenOptions};

pub fn open(uri: &Path, how: &OpenOptions) -> Result<Disk, Error> {
    extern "C" {
        fn blkalign_nbd_open(
            uri: *const c_char,
            nbd: *const c_void,
            options: *const blkalign_open_options,
            words: *mut c_char,
            out: *mut *mut c_void,
        ) -> c_int;
    }
    let uri = CString::new(uri.as_os_str().as_bytes()).unwrap_or_default();
    // SAFETY: the function opens a handle for us or returns -errno, and writes no more than 256
    // bytes of words (BLKALIGN_NBD_WORDS). All that it gets lives through the call; null options
    // of its own are all defaults.
    unsafe {
        how.open_by(|options, words, handle| {
            let (words, out) = (words.as_mut_ptr().cast(), std::ptr::from_mut(handle).cast());
            blkalign_nbd_open(uri.as_ptr(), std::ptr::null(), options, words, out)
        })
    }
}
