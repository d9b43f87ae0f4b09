//! Memory that a request owns while it is in flight.

use std::alloc::{alloc_zeroed, dealloc, Layout};
use std::fmt;
use std::mem::ManuallyDrop;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;

use super::Error;
use crate::sys;

/// Bytes that a request takes along and gives back with its result: see
/// [`Queue::read`](crate::Queue::read).
///
/// [`Disk::buffer`](crate::Disk::buffer) makes one that the disk's storage takes without a copy. A
/// `Vec<u8>` becomes one for nothing, but may lie where the storage needs a copy.
///
/// ```
/// use blkalign::Buffer;
/// let mut buffer = Buffer::from(vec![1, 2, 3]);
/// buffer[0] = 7;
/// assert_eq!(Vec::from(buffer), [7, 2, 3]);
/// ```
pub struct Buffer {
    /// Valid for `len` bytes. The buffer alone has the memory, and reaches it through this pointer
    /// alone: so the buffer can be moved while a request writes there.
    start: NonNull<u8>,
    len: usize,
    origin: Origin,
}

enum Origin {
    Aligned(Layout),
    Vec { capacity: usize },
}

// SAFETY: a buffer owns its bytes, as a Vec does.
unsafe impl Send for Buffer {}
// SAFETY: as above; through a shared reference the bytes can only be read.
unsafe impl Sync for Buffer {}

impl Buffer {
    /// So many zeros at a multiple of `alignment`, which is a power of two. ENOMEM.
    pub(super) fn zeroed(bytes: usize, alignment: usize) -> Result<Buffer, Error> {
        let failed = || {
            let words = format!("no memory for a buffer of {bytes} bytes at {alignment}");
            Error::from(sys::Error::new(libc::ENOMEM, words))
        };
        // Never of no length, which the allocator does not take.
        let layout = Layout::from_size_align(bytes.max(1), alignment).map_err(|_| failed())?;
        // SAFETY: the layout has a length.
        let start = NonNull::new(unsafe { alloc_zeroed(layout) }).ok_or_else(failed)?;
        Ok(Buffer { start, len: bytes, origin: Origin::Aligned(layout) })
    }

    /// Address and length, for the storage.
    pub(super) fn place(&self) -> (usize, usize) {
        (self.start.as_ptr().expose_provenance(), self.len)
    }
}

impl Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: the buffer has so many initialised bytes there, and no request has the buffer.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above, and nobody else has a reference to the buffer.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.len) }
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl AsMut<[u8]> for Buffer {
    fn as_mut(&mut self) -> &mut [u8] {
        self
    }
}

impl fmt::Debug for Buffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Buffer({} bytes)", self.len)
    }
}

impl From<Vec<u8>> for Buffer {
    fn from(bytes: Vec<u8>) -> Buffer {
        let mut bytes = ManuallyDrop::new(bytes);
        let start = NonNull::new(bytes.as_mut_ptr()).expect("a Vec's pointer is never null");
        Buffer { start, len: bytes.len(), origin: Origin::Vec { capacity: bytes.capacity() } }
    }
}

/// Without a copy, if the buffer was made of a `Vec`.
impl From<Buffer> for Vec<u8> {
    fn from(buffer: Buffer) -> Vec<u8> {
        let Origin::Vec { capacity } = buffer.origin else { return buffer.to_vec() };
        let buffer = ManuallyDrop::new(buffer);
        // SAFETY: these are the parts of a Vec, and the buffer is forgotten.
        unsafe { Vec::from_raw_parts(buffer.start.as_ptr(), buffer.len, capacity) }
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        match self.origin {
            // SAFETY: was allocated with this layout.
            Origin::Aligned(layout) => unsafe { dealloc(self.start.as_ptr(), layout) },
            Origin::Vec { capacity } => {
                // SAFETY: these are the parts of a Vec, which nobody else has.
                drop(unsafe { Vec::from_raw_parts(self.start.as_ptr(), self.len, capacity) });
            }
        }
    }
}
