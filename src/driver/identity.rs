//! Which storage object a descriptor is open on. Knows nothing but descriptors.

use crate::sys::{Claimed, Descriptor, Error};

/// Which storage object a descriptor is open on; equal for all descriptors of one object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
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

impl Identity {
    /// For `sys::claim`. Other versions of the library use the same numbers.
    pub fn numbers(self) -> Claimed {
        match self {
            Identity::File { dev, ino } => [1, dev, ino],
            Identity::Device { rdev } => [2, rdev, 0],
        }
    }
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
