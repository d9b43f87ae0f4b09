//! Overlays: files on top of another disk.

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::open_handle::{Call, OpenHandle};
use super::{Disk, Error, OpenOptions, Queue};
use crate::driver::{create_overlay, Op};
use crate::handle::bounds::{check_range, invalid};
use crate::handle::{BackingHandle, Handle, OverlayOptions};
use crate::sys::caught;

/// What an overlay reads where it has nothing of its own: it keeps that disk open.
struct Kept(Disk);

impl AsRef<Handle> for Kept {
    fn as_ref(&self) -> &Handle {
        self.0.handle().handle()
    }
}

impl OpenOptions {
    /// Creates an overlay: the file `path`, of `length` bytes, and `path`.map, which says which of
    /// its clusters of `cluster` bytes are there. At first none is. `cluster`: a power of two from
    /// 4 KiB to 2 MiB; 64 KiB is a good one. EEXIST: one of the two files exists.
    pub fn create_overlay(path: impl AsRef<Path>, length: u64, cluster: u32) -> Result<(), Error> {
        let path = c_path(path.as_ref())?;
        check_range(length, 0)?;
        Ok(caught(|| create_overlay(&path, length, cluster)).and_then(|result| result)?)
    }

    /// Opens an overlay that `create_overlay` has created, over `backing`, whose bytes must not
    /// change. `backing` stays open as long as the overlay. `keep_reads`: what a read takes from
    /// `backing` is kept in the file (copy-on-read); else only writes are.
    ///
    /// Errors: as `open`; ENOENT: no file or no map; EINVAL: the map is damaged or of another
    /// length; EBUSY: this process has the file open; ENOTSUP: a window, or `resize`.
    ///
    /// ```
    /// # let dir = std::env::temp_dir().join(format!("blkalign-overlay-{}", std::process::id()));
    /// # std::fs::create_dir(&dir).unwrap();
    /// # let (image, disk) = (dir.join("image"), dir.join("disk"));
    /// # std::fs::write(&image, [7; 100_000]).unwrap();
    /// use blkalign::OpenOptions;
    /// let image = OpenOptions::new().open(&image)?;
    /// OpenOptions::create_overlay(&disk, image.len(), 65536)?;
    /// let over = OpenOptions::new().write(true).open_overlay(&disk, &image, false)?;
    /// over.write_at(b"new", 1000)?;
    /// let mut bytes = [0; 4];
    /// over.read_at(&mut bytes, 1000)?;
    /// assert_eq!(&bytes, b"new\x07");
    /// assert_eq!(over.overlay_status(0, 100_000)?, (true, 65536));
    /// assert_eq!(over.overlay_status(65536, 100)?, (false, 100));
    /// over.fill_overlay()?;
    /// assert_eq!(over.overlay_status(0, 100_000)?, (true, 100_000));
    /// # drop(over);
    /// # assert!(!dir.join("disk.map").exists());
    /// # std::fs::remove_dir_all(&dir).unwrap();
    /// # Ok::<(), blkalign::Error>(())
    /// ```
    pub fn open_overlay(
        &self,
        path: impl AsRef<Path>,
        backing: &Disk,
        keep_reads: bool,
    ) -> Result<Disk, Error> {
        let path = c_path(path.as_ref())?;
        let overlay = OverlayOptions { copy_on_read: keep_reads, cluster: 0 };
        let backing = Box::new(BackingHandle(Kept(backing.clone())));
        let open = || Handle::open_overlay(&path, backing, self.inner(), overlay);
        Ok(Disk::new(OpenHandle::new(open)?, self.inner().clone()))
    }
}

impl Disk {
    /// Of an overlay: whether the byte at `offset` is there, or else is taken from the disk below;
    /// and for how many bytes, at most `bytes`, that is so. EINVAL: no overlay; no bytes, or they
    /// pass the end.
    pub fn overlay_status(&self, offset: u64, bytes: u64) -> Result<(bool, u64), Error> {
        self.handle().guarded(|handle| {
            check_range(offset, bytes)?;
            handle.overlay_run(offset, bytes)
        })
    }

    /// Of an overlay: copies all that is absent, and returns when it is there and durable. EINVAL:
    /// no overlay. As [`Queue::fill_overlay`], which can be cancelled.
    pub fn fill_overlay(&self) -> Result<(), Error> {
        self.handle().guarded(Handle::check_overlay)?;
        self.handle().run(fill())
    }
}

impl Queue {
    /// Queues a fill: all that is absent is copied from the disk below, while other requests go on,
    /// and is durable when the fill is over. EINVAL: no overlay.
    pub fn fill_overlay(&self, user_data: u64) -> Result<u64, Error> {
        self.check_overlay()?;
        self.queue_without_memory(fill(), user_data)
    }
}

fn fill() -> Call {
    Call::without_memory(Op::Populate, 0, 0, 0)
}

fn c_path(path: &Path) -> Result<CString, Error> {
    Ok(CString::new(path.as_os_str().as_bytes()).map_err(|_| invalid("a path has no zero byte"))?)
}
