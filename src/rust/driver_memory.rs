//! The memory of one I/O, as a `Driver` of a Rust program gets it.

use std::ffi::c_int;
use std::marker::PhantomData;

use libc::iovec;

/// The memory that a read of a [`Driver`](crate::Driver) fills. It may be a guest's, which the guest may use at
/// any time, or named twice: so it is filled by copying, and there are no references to it.
#[derive(Debug)]
pub struct ReadTarget<'io>(pub(super) Pieces<'io>);

/// The memory that a write of a [`Driver`](crate::Driver) takes its bytes from, as [`ReadTarget`].
#[derive(Debug)]
pub struct WriteSource<'io>(pub(super) Pieces<'io>);

impl ReadTarget<'_> {
    /// How many bytes are to be filled.
    #[allow(clippy::len_without_is_empty, reason = "is never empty")]
    pub fn len(&self) -> usize {
        self.0.bytes
    }

    /// Copies `bytes` to `at`, counted from the start of the target.
    ///
    /// # Panics
    ///
    /// If that passes the end.
    pub fn put(&mut self, at: usize, bytes: &[u8]) {
        self.0.each(at, bytes.len(), |piece, done, count| {
            // SAFETY: `each` gives parts of the target, which is valid for writes during the I/O,
            // and of `bytes`.
            unsafe { std::ptr::copy(bytes[done..].as_ptr(), piece, count) };
        });
    }

    /// The memory itself, for system calls. Valid while the driver's function runs; using it is up
    /// to `unsafe` code.
    pub fn iovecs(&self) -> &[iovec] {
        self.0.iovecs
    }
}

impl WriteSource<'_> {
    /// How many bytes are to be written.
    #[allow(clippy::len_without_is_empty, reason = "is never empty")]
    pub fn len(&self) -> usize {
        self.0.bytes
    }

    /// Copies to `bytes` what is at `at`, counted from the start of the source.
    ///
    /// # Panics
    ///
    /// If that passes the end.
    pub fn get(&self, at: usize, bytes: &mut [u8]) {
        self.0.each(at, bytes.len(), |piece, done, count| {
            // SAFETY: `each` gives parts of the source, which is valid for reads during the I/O,
            // and of `bytes`.
            unsafe { std::ptr::copy(piece.cast_const(), bytes[done..].as_mut_ptr(), count) };
        });
    }

    /// The memory itself, for system calls. Valid while the driver's function runs; using it is up
    /// to `unsafe` code.
    pub fn iovecs(&self) -> &[iovec] {
        self.0.iovecs
    }
}

/// The memory of one I/O. As the raw pointers inside, it stays on the thread that got it.
#[derive(Debug)]
pub struct Pieces<'io> {
    iovecs: &'io [iovec],
    bytes: usize,
    _here: PhantomData<*mut u8>,
}

impl Pieces<'_> {
    /// # Safety
    ///
    /// `iov` points to `count` elements, which name `bytes` bytes, as long as the result is used.
    pub unsafe fn new<'io>(iov: *const iovec, count: c_int, bytes: i64) -> Pieces<'io> {
        let count = usize::try_from(count).unwrap_or(0);
        let iovecs: &[iovec] = match count {
            // Whatever the address is.
            0 => &[],
            // SAFETY: the caller of this function vouches for it.
            count => unsafe { std::slice::from_raw_parts(iov, count) },
        };
        Pieces { iovecs, bytes: usize::try_from(bytes).unwrap_or(0), _here: PhantomData }
    }

    /// The same memory, for a shorter time.
    pub fn again(&self) -> Pieces<'_> {
        Pieces { iovecs: self.iovecs, bytes: self.bytes, _here: PhantomData }
    }

    /// Calls `part` for each part of the range: where it lies, how many bytes came before it, and
    /// how many it has.
    fn each(&self, at: usize, bytes: usize, mut part: impl FnMut(*mut u8, usize, usize)) {
        let fits = at.checked_add(bytes).is_some_and(|end| end <= self.bytes);
        assert!(fits, "{bytes} bytes at {at} pass the end of an I/O of {} bytes", self.bytes);
        let (mut skip, mut done) = (at, 0);
        for piece in self.iovecs {
            if skip >= piece.iov_len {
                skip -= piece.iov_len;
                continue;
            }
            let count = (piece.iov_len - skip).min(bytes - done);
            if count == 0 {
                return;
            }
            part(piece.iov_base.cast::<u8>().wrapping_add(skip), done, count);
            (skip, done) = (0, done + count);
        }
    }
}
