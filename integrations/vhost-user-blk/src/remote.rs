//! Storage that is no file of this machine: images of Ceph, by the driver of integrations/librbd,
//! if the daemon was built with the feature `rbd`.

use std::ffi::CStr;

use blkalign::capi::{blkalign_handle, blkalign_open_options};

/// Is it the name of an image of Ceph? A file of such a name is written "./rbd:NAME".
pub fn is_image(name: &CStr) -> bool {
    name.to_bytes().starts_with(b"rbd:")
}

/// An error is -errno, and words.
#[cfg(feature = "rbd")]
pub fn open(
    name: &CStr,
    options: &blkalign_open_options,
) -> Result<*mut blkalign_handle, (i32, String)> {
    use std::ffi::{c_char, c_int};

    /// BLKALIGN_RBD_WORDS
    const WORDS: usize = 256;
    extern "C" {
        fn blkalign_rbd_open(
            place: *const c_char,
            options: *const blkalign_open_options,
            words: *mut c_char,
            out: *mut *mut blkalign_handle,
        ) -> c_int;
    }
    let mut words = [0u8; WORDS];
    let mut handle = std::ptr::null_mut();
    let to = words.as_mut_ptr().cast();
    // SAFETY: all live through the call, and there is room for the words.
    let result = unsafe { blkalign_rbd_open(name.as_ptr(), options, to, &mut handle) };
    if result == 0 {
        return Ok(handle);
    }
    let words = CStr::from_bytes_until_nul(&words).unwrap_or_default();
    Err((result, words.to_string_lossy().into_owned()))
}

#[cfg(not(feature = "rbd"))]
pub fn open(
    name: &CStr,
    _options: &blkalign_open_options,
) -> Result<*mut blkalign_handle, (i32, String)> {
    let name = name.to_string_lossy();
    let words =
        format!("{name}: this daemon was built without librbd, so no Ceph; ./{name} is a file");
    Err((-libc::ENOTSUP, words))
}
