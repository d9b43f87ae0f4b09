//! Where a file has data and where holes, as lseek(2) tells: SEEK_DATA and SEEK_HOLE. Nobody uses
//! the position of a descriptor, which these calls move.

use super::FileDriver;
use crate::driver::BlockStatus;

impl FileDriver {
    /// What lies at `offset`, and for how many bytes, at most `bytes`. A file system that knows no
    /// holes says data; so does a device.
    pub(super) fn extent(&self, offset: u64, bytes: u64) -> Result<(BlockStatus, u64), i32> {
        if self.is_device() || bytes == 0 {
            return Ok((BlockStatus::Data, bytes));
        }
        let run = |end: u64| (end - offset).min(bytes);
        match self.seek(offset, libc::SEEK_DATA) {
            Ok(data) if data > offset => Ok((BlockStatus::Hole, run(data))),
            Ok(_) => match self.seek(offset, libc::SEEK_HOLE) {
                Ok(hole) if hole > offset => Ok((BlockStatus::Data, run(hole))),
                // A hole has come meanwhile, or this is the end.
                Ok(_) | Err(libc::ENXIO) => Ok((BlockStatus::Data, bytes)),
                Err(errno) => says_nothing(errno, bytes),
            },
            // No data from here on to the end.
            Err(libc::ENXIO) => Ok((BlockStatus::Hole, bytes)),
            Err(errno) => says_nothing(errno, bytes),
        }
    }

    fn seek(&self, offset: u64, whence: i32) -> Result<u64, i32> {
        self.main.seek(offset, whence)
    }
}

/// The file system does not know the question, or it failed.
fn says_nothing(errno: i32, bytes: u64) -> Result<(BlockStatus, u64), i32> {
    match errno {
        libc::EINVAL | libc::ENOSYS | libc::EOPNOTSUPP | libc::EPERM => {
            Ok((BlockStatus::Data, bytes))
        }
        errno => Err(errno),
    }
}
