//! A disk as the VMM's control plane knows it, and as its queues do.

use std::fmt::Debug;
use std::io;

use block::async_io::{AsyncIo, BorrowedDiskFd, DiskFileError};
use block::disk_file::{
    AsyncDiskFile, DiskFd, DiskFile, DiskSize, Geometry, MetadataSync, PhysicalSize, Resizable,
    SparseCapable,
};
use block::error::{BlockError, BlockErrorKind, BlockResult};
use block::DiskTopology;

use crate::engine::Engine;

/// A disk for both planes. `C` is a disk of the VMM's own on the same file, which answers what is
/// about that file and not about its bytes: descriptor, space in use, whether it can be sparse.
#[derive(Debug)]
pub struct Disk<C> {
    data: DataPlane,
    control: C,
}

impl<C> Disk<C> {
    /// `storage`: open on the file of `control`, with `unmap` if guests may discard.
    /// `sector_size`: what the guest may address, such as 512, whatever the blocks of the storage.
    pub fn new(storage: blkalign::Disk, control: C, sector_size: u32) -> Disk<C> {
        Disk { data: DataPlane { storage, sector_size }, control }
    }
}

/// A disk for queues.
#[derive(Debug, Clone)]
pub struct DataPlane {
    storage: blkalign::Disk,
    sector_size: u32,
}

impl DiskSize for DataPlane {
    fn logical_size(&self) -> BlockResult<u64> {
        self.storage.refresh_len().map_err(|error| failed(DiskFileError::Size(error.into())))
    }
}

impl Geometry for DataPlane {
    fn topology(&self) -> DiskTopology {
        let limits = self.storage.limits();
        let sector = u64::from(self.sector_size);
        let block = u64::from(limits.physical_block_size.max(limits.request_alignment)).max(sector);
        DiskTopology {
            logical_block_size: sector,
            physical_block_size: block,
            minimum_io_size: block,
            optimal_io_size: u64::from(limits.opt_transfer),
        }
    }
}

impl DiskFile for DataPlane {}

impl AsyncDiskFile for DataPlane {
    fn try_clone(&self) -> BlockResult<Box<dyn AsyncDiskFile>> {
        Ok(Box::new(self.clone()))
    }

    /// Each queue is one of its own on the same object; the library keeps their small writes apart.
    fn create_async_io(&self, ring_depth: u32) -> BlockResult<Box<dyn AsyncIo>> {
        let engine = Engine::new(&self.storage, ring_depth);
        Ok(Box::new(engine.map_err(|error| failed(DiskFileError::NewAsyncIo(error)))?))
    }
}

impl<C: Send + Debug> DiskSize for Disk<C> {
    fn logical_size(&self) -> BlockResult<u64> {
        self.data.logical_size()
    }
}

impl<C: Send + Debug> Geometry for Disk<C> {
    fn topology(&self) -> DiskTopology {
        self.data.topology()
    }
}

impl<C: Send + Sync + Debug> DiskFile for Disk<C> {}

impl<C: Send + Sync + Unpin + Debug> AsyncDiskFile for Disk<C> {
    fn try_clone(&self) -> BlockResult<Box<dyn AsyncDiskFile>> {
        self.data.try_clone()
    }

    fn create_async_io(&self, ring_depth: u32) -> BlockResult<Box<dyn AsyncIo>> {
        self.data.create_async_io(ring_depth)
    }
}

impl<C: PhysicalSize> PhysicalSize for Disk<C> {
    fn physical_size(&self) -> BlockResult<u64> {
        self.control.physical_size()
    }
}

impl<C: DiskFd> DiskFd for Disk<C> {
    fn fd(&self) -> BorrowedDiskFd<'_> {
        self.control.fd()
    }
}

impl<C: SparseCapable> SparseCapable for Disk<C> {
    fn supports_sparse_operations(&self) -> bool {
        self.control.supports_sparse_operations()
    }

    fn supports_zero_flag(&self) -> bool {
        self.control.supports_zero_flag()
    }
}

impl<C: MetadataSync> MetadataSync for Disk<C> {
    fn sync_metadata(&self) -> BlockResult<()> {
        self.control.sync_metadata()
    }
}

/// Through the library, so that all queues know the new length. A device is resized by others; then
/// its length has to be the one that is asked for.
impl<C: Send + Debug> Resizable for Disk<C> {
    fn resize(&mut self, size: u64) -> BlockResult<()> {
        let storage = &self.data.storage;
        let done = match storage.set_len(size) {
            Err(error) if error.raw_os_error() == libc::EINVAL => storage.refresh_len(),
            result => result.map(|()| size),
        };
        let length = done.map_err(|error| failed(DiskFileError::ResizeError(error.into())))?;
        if length == size {
            return Ok(());
        }
        let words = format!("the device has {length} bytes, not {size}");
        Err(failed(DiskFileError::ResizeError(io::Error::other(words))))
    }
}

fn failed(error: DiskFileError) -> BlockError {
    BlockError::new(BlockErrorKind::Io, error)
}
