//! Storage that is no file of this machine: images of Ceph, by the driver of integrations/librbd,
//! if the daemon was built with the feature `rbd`.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use blkalign::{Disk, Error, OpenOptions};

/// Is it the name of an image of Ceph? A file of such a name is written "./rbd:NAME".
pub fn is_image(name: &Path) -> bool {
    name.as_os_str().as_bytes().starts_with(b"rbd:")
}

#[cfg(feature = "rbd")]
pub fn open(name: &Path, how: &OpenOptions) -> Result<Disk, Error> {
    use blkalign::capi::{blkalign_handle, blkalign_open_options};
    use std::ffi::{c_char, c_int, CString};

    extern "C" {
        fn blkalign_rbd_open(
            place: *const c_char,
            options: *const blkalign_open_options,
            words: *mut c_char,
            out: *mut *mut blkalign_handle,
        ) -> c_int;
    }
    let place = CString::new(name.as_os_str().as_bytes()).unwrap_or_default();
    // SAFETY: the function opens a handle for us or returns -errno, and writes no more than 256
    // bytes of words (BLKALIGN_RBD_WORDS). All that it gets lives through the call.
    unsafe {
        how.open_by(|options, words, handle| {
            blkalign_rbd_open(place.as_ptr(), options, words.as_mut_ptr().cast(), handle)
        })
    }
}

#[cfg(not(feature = "rbd"))]
pub fn open(name: &Path, how: &OpenOptions) -> Result<Disk, Error> {
    let name = name.display();
    let why =
        format!("{name}: this daemon was built without librbd, so no Ceph; ./{name} is a file");
    // SAFETY: opens nothing, and says so.
    unsafe {
        how.open_by(|_, words, _| {
            let bytes = &why.as_bytes()[..why.len().min(words.len() - 1)];
            words[..bytes.len()].copy_from_slice(bytes);
            -libc::ENOTSUP
        })
    }
}
