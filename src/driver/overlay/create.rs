//! Creates an overlay: first the map, then the file on top. So at no moment is there a file without
//! a map, which would pass for an ordinary image.

use std::ffi::{CStr, CString, OsStr};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::map::MapFile;
use crate::log;
use crate::sys::{calls, without_file_size_signal, Descriptor, Errno, Error};

/// So much of the file is written at once, so that trials of alignments find data. Nobody sees it:
/// it is absent.
const FIRST_BYTES: u64 = 65536;

/// Where the map of this file is.
pub fn map_path(path: &CStr) -> PathBuf {
    let mut name = path.to_bytes().to_vec();
    name.extend_from_slice(b".map");
    PathBuf::from(OsStr::from_bytes(&name))
}

/// `length`: of the object, in bytes. EEXIST: there is a file or a map of that name.
pub fn create_overlay(path: &CStr, length: u64, cluster: u32) -> Result<(), Error> {
    let name = path.to_string_lossy();
    let words = |errno, what| Error::new(errno, format!("{name}: {what}"));
    match Descriptor::open(calls(), path, libc::O_PATH | libc::O_NOFOLLOW) {
        Err(libc::ENOENT) => {}
        Ok(_) => return Err(words(libc::EEXIST, "there is such a file already")),
        Err(errno) => return Err(words(errno, "cannot be looked at")),
    }
    let map = map_path(path);
    MapFile::create(&map, length, cluster)?;
    create_top(path, length).map_err(|errno| {
        let map = CString::new(map.as_os_str().as_bytes()).unwrap_or_default();
        if let Err(errno) = calls().unlink(&map) {
            log::error!("{name}: could not be created, and its map stays (errno {errno})");
        }
        words(errno, "cannot be created")
    })
}

fn create_top(path: &CStr, length: u64) -> Result<(), Errno> {
    let flags = libc::O_RDWR | libc::O_CREAT | libc::O_EXCL;
    let top = Descriptor::open(calls(), path, flags)?;
    let first = vec![0; length.min(FIRST_BYTES) as usize];
    let filled = without_file_size_signal(|| {
        top.ftruncate(length)?;
        top.write_all(&first, 0)?;
        top.fdatasync()
    });
    filled.and_then(|()| sync_directory(path)).inspect_err(|_| {
        // What cannot be removed either is found by the next create: EEXIST.
        let _ = calls().unlink(path);
    })
}

fn sync_directory(path: &CStr) -> Result<(), Errno> {
    let parent = Path::new(OsStr::from_bytes(path.to_bytes())).parent();
    let parent = parent.filter(|it| !it.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let parent = CString::new(parent.as_os_str().as_bytes()).map_err(|_| libc::EINVAL)?;
    let directory = Descriptor::open(calls(), &parent, libc::O_RDONLY | libc::O_DIRECTORY)?;
    match directory.sync_directory() {
        // The file system has no such call: it does this at once, or promises nothing.
        Err(libc::EINVAL | libc::EOPNOTSUPP) => Ok(()),
        result => result,
    }
}
