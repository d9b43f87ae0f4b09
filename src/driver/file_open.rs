//! Opening a file or block device: by path, from a caller's descriptor, or once more with other
//! flags. Ends with a readable descriptor of the right kind, or with words that say why not.

use std::ffi::{c_int, CStr};
use std::os::fd::RawFd;

use crate::sys::{calls, Calls, Descriptor, Errno, Error};

use super::file::FileOptions;

/// Which storage object a descriptor is open on; equal for all descriptors of one object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Identity {
    File {
        dev: u64,
        ino: u64,
    },
    /// By device number: the same disk may have several nodes in the file system.
    Device {
        rdev: u64,
    },
}

pub struct Opened {
    pub descriptor: Descriptor,
    pub identity: Identity,
    /// O_DIRECT is in use.
    pub direct: bool,
    /// Whether another descriptor of this object may be for writing: not where the caller's own
    /// descriptor was for reading only.
    pub may_write: bool,
}

/// By path. Looks before it opens: opening a FIFO would wait, a tape would rewind.
pub fn by_path(path: &CStr, options: &FileOptions) -> Result<Opened, Error> {
    let table = calls();
    let name = path.to_string_lossy();
    match Descriptor::open(table, path, libc::O_PATH) {
        Ok(look) => drop(identify(&look, &name)?),
        Err(libc::ENOENT) if options.create => {}
        Err(errno) => return Err(Error::new(errno, format!("{name}: cannot open"))),
    }
    let create = if options.create { libc::O_CREAT } else { 0 };
    let open = |flags| Descriptor::open(table, path, flags | create);
    opened(&name, options, true, open)
}

/// From a caller's descriptor, which stays the caller's: position and flags are not shared.
pub fn by_fd(fd: RawFd, options: &FileOptions) -> Result<Opened, Error> {
    let table = calls();
    let name = format!("fd {fd}");
    let refuse = |errno, why| Err(Error::new(errno, format!("{name}: {why}")));
    let flags = match table.fcntl(fd, libc::F_GETFL, 0) {
        Ok(flags) => flags,
        Err(errno) => return refuse(errno, "no usable descriptor"),
    };
    if flags & libc::O_PATH != 0 {
        return refuse(libc::EBADF, "opened with O_PATH, not for reading");
    }
    match flags & libc::O_ACCMODE {
        libc::O_WRONLY => {
            return refuse(libc::EACCES, "opened for writing only, but blocks must be read too");
        }
        libc::O_RDONLY if options.writable => {
            return refuse(libc::EACCES, "opened for reading only");
        }
        _ => {}
    }
    let may_write = flags & libc::O_ACCMODE == libc::O_RDWR;
    opened(&name, options, may_write, |wanted| {
        Descriptor::reopen_raw(table, fd, wanted)
            .or_else(|errno| duplicate_if_alike(table, fd, flags, wanted).ok_or(errno))
    })
}

/// The object of `descriptor` once more.
pub fn again(descriptor: &Descriptor, name: &str, options: &FileOptions) -> Result<Opened, Error> {
    let (table, fd) = (descriptor.calls(), descriptor.raw());
    let flags = table
        .fcntl(fd, libc::F_GETFL, 0)
        .map_err(|errno| Error::new(errno, format!("{name}: no usable descriptor")))?;
    opened(name, options, true, |wanted| {
        descriptor
            .reopen(wanted)
            .or_else(|errno| duplicate_if_alike(table, fd, flags, wanted).ok_or(errno))
    })
}

/// Where /proc is missing, or rights were given up since: the open file that is there does if it
/// is what we would have opened. O_APPEND would turn every write into one at the end.
fn duplicate_if_alike(
    table: &'static dyn Calls,
    fd: RawFd,
    flags: c_int,
    wanted: c_int,
) -> Option<Descriptor> {
    let enough =
        flags & libc::O_ACCMODE == libc::O_RDWR || wanted & libc::O_ACCMODE == libc::O_RDONLY;
    let alike = (flags ^ wanted) & libc::O_DIRECT == 0 && flags & libc::O_APPEND == 0 && enough;
    if !alike {
        return None;
    }
    Descriptor::duplicate_raw(table, fd).ok()
}

/// With O_DIRECT if wanted; without where the file system has none and the caller allows that.
fn opened(
    name: &str,
    options: &FileOptions,
    may_write: bool,
    open: impl Fn(c_int) -> Result<Descriptor, Errno>,
) -> Result<Opened, Error> {
    let access = if options.writable { libc::O_RDWR } else { libc::O_RDONLY };
    let mut direct = options.direct;
    let mut result = open(if direct { access | libc::O_DIRECT } else { access });
    if direct && matches!(result, Err(libc::EINVAL)) {
        if !options.buffered_ok {
            let why = "the file system has no O_DIRECT, and buffered I/O was not allowed";
            return Err(Error::new(libc::EINVAL, format!("{name}: {why}")));
        }
        direct = false;
        result = open(access);
    }
    let descriptor = result.map_err(|errno| {
        let purpose = if options.writable { "for reading and writing" } else { "for reading" };
        Error::new(errno, format!("{name}: cannot open {purpose}"))
    })?;
    let identity = identify(&descriptor, name)?;
    Ok(Opened { descriptor, identity, direct, may_write })
}

/// Refuses what is neither a regular file nor a block device.
pub fn identify(descriptor: &Descriptor, name: &str) -> Result<Identity, Error> {
    let stat = descriptor
        .fstat()
        .map_err(|errno| Error::new(errno, format!("{name}: cannot be examined")))?;
    let refuse = |errno, what| {
        let why = "neither a regular file nor a block device";
        Err(Error::new(errno, format!("{name}: {what}{why}")))
    };
    match stat.st_mode & libc::S_IFMT {
        libc::S_IFREG => Ok(Identity::File { dev: stat.st_dev, ino: stat.st_ino }),
        libc::S_IFBLK => Ok(Identity::Device { rdev: stat.st_rdev }),
        libc::S_IFDIR => refuse(libc::EISDIR, ""),
        libc::S_IFIFO => refuse(libc::EINVAL, "a pipe, "),
        libc::S_IFSOCK => refuse(libc::EINVAL, "a socket, "),
        libc::S_IFCHR => refuse(libc::EINVAL, "a character device, "),
        _ => refuse(libc::EINVAL, ""),
    }
}
