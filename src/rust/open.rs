//! What opens a disk.

use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::driver::Adapter;
use super::open_handle::OpenHandle;
use super::{Disk, Driver, Error, OpenOptions};
use crate::handle::{bounds::invalid, Handle};

impl OpenOptions {
    /// Opens a file or a block device. All disks and queues of one file or device in this process
    /// keep out of each other's way, by whatever path each was opened.
    ///
    /// Errors: what open(2) says; EINVAL: options that are out of bounds or exclude each other, or
    /// `direct` where the file system has no O_DIRECT; EBUSY: `direct` without `buffered_ok` while
    /// this process has the file open through the page cache, or another copy of the library in
    /// this process (libblkalign.so of a plugin, say) has it open; EAGAIN: `lock`, and another
    /// process has a lock; what io_uring_setup(2) says for
    /// [`Engine::IoUring`](crate::Engine::IoUring).
    pub fn open(&self, path: impl AsRef<Path>) -> Result<Disk, Error> {
        let path = CString::new(path.as_ref().as_os_str().as_bytes())
            .map_err(|_| invalid("a path has no zero byte"))?;
        self.disk(|| Handle::open(&path, self.inner()))
    }

    /// Opens what a descriptor refers to. The descriptor stays the caller's, and may be closed. As
    /// `open`; also EACCES: the descriptor does not allow what the options ask for.
    ///
    /// ```
    /// # let path = std::env::temp_dir().join(format!("blkalign-of-{}", std::process::id()));
    /// # std::fs::write(&path, [7; 8192]).unwrap();
    /// # use blkalign::*;
    /// let file = std::fs::File::open(&path).unwrap();
    /// let disk = OpenOptions::new().open_fd(&file)?;
    /// # std::fs::remove_file(&path).unwrap();
    /// # Ok::<(), Error>(())
    /// ```
    pub fn open_fd(&self, fd: impl AsFd) -> Result<Disk, Error> {
        self.disk(|| Handle::open_fd(fd.as_fd().as_raw_fd(), self.inner()))
    }

    /// Opens storage of the program's own. Each call makes an object of its own.
    ///
    /// Errors: that of [`Driver::len`]; EINVAL: the driver's alignments or limits contradict each
    /// other, its length is no multiple of its request alignment, or an option does not go with it
    /// (`lock`).
    pub fn open_driver(&self, driver: impl Driver) -> Result<Disk, Error> {
        let mut adapter = Adapter::new(driver);
        self.disk(|| adapter.open(self.inner()))
    }

    fn disk(
        &self,
        open: impl FnOnce() -> Result<Handle, crate::sys::Error>,
    ) -> Result<Disk, Error> {
        Ok(Disk::new(OpenHandle::new(open)?, self.inner().clone()))
    }
}
