//! Storage that is no file of this machine: images of Ceph, by the driver of integrations/librbd,
//! if the daemon was built with the feature `rbd`; NBD exports, by that of integrations/libnbd,
//! with the feature `nbd`.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use blkalign::{Disk, Error, OpenOptions};

/// Is it the name of an image of Ceph? A file of such a name is written "./rbd:NAME".
pub fn is_image(name: &Path) -> bool {
    name.as_os_str().as_bytes().starts_with(b"rbd:")
}

/// Is it an image of Ceph, or the URI of an NBD export (nbd://..., nbd+unix://...)?
pub fn is_remote(name: &Path) -> bool {
    is_image(name) || is_export(name)
}

fn is_export(name: &Path) -> bool {
    let name = name.as_os_str().as_bytes();
    let scheme = name.windows(3).position(|part| part == b"://").map(|end| &name[..end]);
    scheme.is_some_and(|scheme| scheme.starts_with(b"nbd"))
}

pub fn open(name: &Path, how: &OpenOptions) -> Result<Disk, Error> {
    match is_export(name) {
        true => open_export(name, how),
        false => open_image(name, how),
    }
}

#[cfg(feature = "nbd")]
fn open_export(name: &Path, how: &OpenOptions) -> Result<Disk, Error> {
    use blkalign::capi::{blkalign_handle, blkalign_open_options};
    use std::ffi::{c_char, c_int, c_void, CString};

    #[allow(improper_ctypes, reason = "a handle is opaque to C")]
    extern "C" {
        fn blkalign_nbd_open(
            uri: *const c_char,
            nbd: *const c_void,
            options: *const blkalign_open_options,
            words: *mut c_char,
            out: *mut *mut blkalign_handle,
        ) -> c_int;
    }
    let uri = CString::new(name.as_os_str().as_bytes()).unwrap_or_default();
    // SAFETY: the function opens a handle for us or returns -errno, and writes no more than 256
    // bytes of words (BLKALIGN_NBD_WORDS); `nbd` may be NULL. All that it gets lives through the
    // call.
    unsafe {
        how.open_by(|options, words, handle| {
            let words = words.as_mut_ptr().cast();
            blkalign_nbd_open(uri.as_ptr(), std::ptr::null(), options, words, handle)
        })
    }
}

#[cfg(not(feature = "nbd"))]
fn open_export(name: &Path, how: &OpenOptions) -> Result<Disk, Error> {
    refuse(how, &format!("{}: this daemon was built without libnbd, so no NBD", name.display()))
}

#[cfg(not(all(feature = "nbd", feature = "rbd")))]
fn refuse(how: &OpenOptions, why: &str) -> Result<Disk, Error> {
    // SAFETY: opens nothing, and says so.
    unsafe {
        how.open_by(|_, words, _| {
            let bytes = &why.as_bytes()[..why.len().min(words.len() - 1)];
            words[..bytes.len()].copy_from_slice(bytes);
            -libc::ENOTSUP
        })
    }
}

#[cfg(feature = "rbd")]
fn open_image(name: &Path, how: &OpenOptions) -> Result<Disk, Error> {
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
fn open_image(name: &Path, how: &OpenOptions) -> Result<Disk, Error> {
    let name = name.display();
    let why = "this daemon was built without librbd, so no Ceph";
    refuse(how, &format!("{name}: {why}; ./{name} is a file"))
}
