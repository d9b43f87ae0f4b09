//! Requests of a queue.

use std::error::Error;
use std::marker::PhantomData;
use std::os::fd::{OwnedFd, RawFd};
use std::sync::Arc;
use std::{fmt, io};

use vm_memory::bitmap::Bitmap;
use vm_memory::{GuestAddress, GuestMemoryBackend, GuestMemoryError, GuestMemoryMmap};
use vmm_sys_util::eventfd::EventFd;

#[derive(Debug)]
pub enum DiskFileError {
    Size(io::Error),
    NewAsyncIo(io::Error),
    ResizeError(io::Error),
}

#[derive(Debug)]
pub enum AsyncIoError {
    ReadVectored(io::Error),
    WriteVectored(io::Error),
    Fsync(io::Error),
    PunchHole(io::Error),
    WriteZeroes(io::Error),
    SubmitBatchRequests(io::Error),
}

pub type AsyncIoResult<T> = Result<T, AsyncIoError>;

impl fmt::Display for DiskFileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

impl Error for DiskFileError {}

#[derive(Debug, Clone, Copy)]
pub struct BorrowedDiskFd<'fd> {
    pub raw_fd: RawFd,
    pub lifetime: PhantomData<&'fd OwnedFd>,
}

/// Bytes of the VMM's own.
#[derive(Debug)]
pub struct OwnedIoBuffer {
    bytes: Vec<u8>,
    iovecs: Vec<libc::iovec>,
}

// SAFETY: the iovec leads to the Vec's own memory.
unsafe impl Send for OwnedIoBuffer {}

impl OwnedIoBuffer {
    pub fn from_vec(mut bytes: Vec<u8>) -> OwnedIoBuffer {
        let iovec = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() };
        OwnedIoBuffer { bytes, iovecs: vec![iovec] }
    }

    pub fn as_slice(&self) -> &[u8] {
        &self.bytes
    }
}

/// Pieces of a guest's memory.
pub struct GuestMemoryTarget {
    iovecs: Vec<libc::iovec>,
    _memory: Arc<dyn Send + Sync>,
}

// SAFETY: the iovecs lead into the memory, which is kept.
unsafe impl Send for GuestMemoryTarget {}

impl fmt::Debug for GuestMemoryTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GuestMemoryTarget({})", self.iovecs.len())
    }
}

impl GuestMemoryTarget {
    pub fn new<B: Bitmap + Send + Sync + 'static>(
        mem: Arc<GuestMemoryMmap<B>>,
        ranges: &[(GuestAddress, u32)],
    ) -> Result<GuestMemoryTarget, GuestMemoryError> {
        let iovec = |&(address, bytes): &(GuestAddress, u32)| {
            let slice = mem.get_slice(address, bytes as usize)?;
            let iov_base = slice.ptr_guard_mut().as_ptr().cast();
            Ok(libc::iovec { iov_base, iov_len: bytes as usize })
        };
        let iovecs = ranges.iter().map(iovec).collect::<Result<_, GuestMemoryError>>()?;
        Ok(GuestMemoryTarget { iovecs, _memory: mem })
    }
}

#[derive(Debug)]
pub enum AsyncIoOperation {
    ReadToMemory { offset: libc::off_t, target: GuestMemoryTarget, user_data: u64 },
    WriteFromMemory { offset: libc::off_t, target: GuestMemoryTarget, user_data: u64 },
    ReadToVec { offset: libc::off_t, buffer: OwnedIoBuffer, user_data: u64 },
    WriteFromVec { offset: libc::off_t, buffer: OwnedIoBuffer, user_data: u64 },
}

use AsyncIoOperation::{ReadToMemory, ReadToVec, WriteFromMemory, WriteFromVec};

impl AsyncIoOperation {
    pub fn read_to_memory(offset: i64, target: GuestMemoryTarget, user_data: u64) -> Self {
        ReadToMemory { offset, target, user_data }
    }

    pub fn write_from_memory(offset: i64, target: GuestMemoryTarget, user_data: u64) -> Self {
        WriteFromMemory { offset, target, user_data }
    }

    pub fn read_to_vec(offset: i64, buffer: OwnedIoBuffer, user_data: u64) -> Self {
        ReadToVec { offset, buffer, user_data }
    }

    pub fn write_from_vec(offset: i64, buffer: OwnedIoBuffer, user_data: u64) -> Self {
        WriteFromVec { offset, buffer, user_data }
    }

    pub fn user_data(&self) -> u64 {
        let (ReadToMemory { user_data, .. }
        | WriteFromMemory { user_data, .. }
        | ReadToVec { user_data, .. }
        | WriteFromVec { user_data, .. }) = self;
        *user_data
    }

    pub fn offset(&self) -> libc::off_t {
        let (ReadToMemory { offset, .. }
        | WriteFromMemory { offset, .. }
        | ReadToVec { offset, .. }
        | WriteFromVec { offset, .. }) = self;
        *offset
    }

    pub fn is_read(&self) -> bool {
        matches!(self, ReadToMemory { .. } | ReadToVec { .. })
    }

    pub fn iovecs(&self) -> &[libc::iovec] {
        match self {
            ReadToMemory { target, .. } | WriteFromMemory { target, .. } => &target.iovecs,
            ReadToVec { buffer, .. } | WriteFromVec { buffer, .. } => &buffer.iovecs,
        }
    }

    pub fn total_len(&self) -> usize {
        self.iovecs().iter().map(|part| part.iov_len).sum()
    }
}

#[derive(Debug)]
pub struct AsyncIoCompletion {
    pub user_data: u64,
    /// Bytes, or -errno.
    pub result: i32,
    pub buffer: Option<OwnedIoBuffer>,
}

impl AsyncIoCompletion {
    pub fn new(user_data: u64, result: i32, buffer: Option<OwnedIoBuffer>) -> Self {
        AsyncIoCompletion { user_data, result, buffer }
    }

    pub fn from_operation(op: AsyncIoOperation, result: i32) -> Self {
        let user_data = op.user_data();
        let buffer = match op {
            ReadToVec { buffer, .. } => Some(buffer),
            _ => None,
        };
        AsyncIoCompletion { user_data, result, buffer }
    }
}

pub trait AsyncIo: Send {
    fn notifier(&self) -> &EventFd;
    fn submit_data_operation(&mut self, op: AsyncIoOperation) -> AsyncIoResult<()>;
    fn fsync(&mut self, user_data: Option<u64>) -> AsyncIoResult<()>;
    fn punch_hole(&mut self, offset: u64, length: u64, user_data: u64) -> AsyncIoResult<()>;
    fn write_zeroes(&mut self, offset: u64, length: u64, user_data: u64) -> AsyncIoResult<()>;
    fn next_completed_request(&mut self) -> Option<AsyncIoCompletion>;
    fn batch_requests_enabled(&self) -> bool;
    fn submit_batch_requests(&mut self, batch_request: Vec<AsyncIoOperation>) -> AsyncIoResult<()>;
    fn alignment(&self) -> u64;
}
