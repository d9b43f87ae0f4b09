//! What a disk can do.

use std::fmt::Debug;

use crate::async_io::{AsyncIo, BorrowedDiskFd};
use crate::error::BlockResult;
use crate::DiskTopology;

pub trait DiskSize: Send + Debug {
    fn logical_size(&self) -> BlockResult<u64>;
}

pub trait PhysicalSize: Send + Debug {
    fn physical_size(&self) -> BlockResult<u64>;
}

pub trait DiskFd: Send + Debug {
    fn fd(&self) -> BorrowedDiskFd<'_>;
}

pub trait Geometry: Send + Debug {
    fn topology(&self) -> DiskTopology;
}

pub trait SparseCapable: Send + Debug {
    fn supports_sparse_operations(&self) -> bool {
        false
    }
    fn supports_zero_flag(&self) -> bool {
        false
    }
}

pub trait Resizable: Send + Debug {
    fn resize(&mut self, size: u64) -> BlockResult<()>;
}

pub trait MetadataSync: Send + Debug {
    fn sync_metadata(&self) -> BlockResult<()> {
        Ok(())
    }
}

pub trait DiskFile: DiskSize + Geometry + Sync {}

pub trait FullDiskFile:
    DiskFile + PhysicalSize + DiskFd + SparseCapable + Resizable + MetadataSync
{
}

impl<T: DiskFile + PhysicalSize + DiskFd + SparseCapable + Resizable + MetadataSync> FullDiskFile
    for T
{
}

pub trait AsyncDiskFile: DiskFile + Unpin {
    fn try_clone(&self) -> BlockResult<Box<dyn AsyncDiskFile>>;
    fn create_async_io(&self, ring_depth: u32) -> BlockResult<Box<dyn AsyncIo>>;
}

pub trait AsyncFullDiskFile: FullDiskFile + AsyncDiskFile {}

impl<T: FullDiskFile + AsyncDiskFile> AsyncFullDiskFile for T {}
