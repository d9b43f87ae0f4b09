//! Structs that grow with the library. Their first field, `size`, is what the caller's compiler
//! took the struct for, so that a program and a library of different versions understand each
//! other:
//!
//! * shorter than the library's: the fields that the caller does not know are zero;
//! * longer: what the library does not know must be zero. Else the call fails with -E2BIG, since
//!   the library would ignore what the caller asks for;
//! * a struct that the library fills: never more than `size` bytes, zeros beyond what it knows.

use std::mem::{offset_of, size_of, MaybeUninit};
use std::ptr;

use crate::handle::BUCKETS;
use crate::header::{blkalign_driver, blkalign_latency, blkalign_limits, blkalign_open_options};
use crate::header::{blkalign_overlay_options, blkalign_request};
use crate::header::{blkalign_stats, blkalign_throttle_limits};
use crate::sys::Error;

/// No struct of any version is longer: a greater `size` is memory that the caller never set.
const SIZE_MAX: usize = 4096;

/// A struct whose first field is `size: usize`.
///
/// # Safety
/// The implementing type is `repr(C)`, begins with `size: usize` and is valid when all its bytes
/// are zero.
pub unsafe trait Extensible: Copy {
    const NAME: &'static str;

    fn zeroed() -> Self {
        // SAFETY: valid when all zero, as the trait demands.
        unsafe { MaybeUninit::zeroed().assume_init() }
    }
}

macro_rules! extensible {
    ($($name:ident),*) => { $(
        // SAFETY: repr(C), `size: usize` first, and only integers, arrays of integers, raw pointers
        // and Options of function pointers, which are all valid as zeros.
        unsafe impl Extensible for $name {
            const NAME: &'static str = stringify!($name);
        }
    )* };
}

extensible!(
    blkalign_open_options,
    blkalign_request,
    blkalign_limits,
    blkalign_stats,
    blkalign_driver,
    blkalign_throttle_limits,
    blkalign_latency,
    blkalign_overlay_options
);

// The structs that the library fills end with their last field. Bytes behind it that belong to no
// field would be handed to the caller with whatever they hold.
const _: () = {
    let end = offset_of!(blkalign_limits, engine) + size_of::<u32>();
    assert!(end == size_of::<blkalign_limits>());
    let end = offset_of!(blkalign_stats, throttled_ns) + size_of::<u64>();
    assert!(end == size_of::<blkalign_stats>());
    let end = offset_of!(blkalign_latency, buckets) + size_of::<[u64; BUCKETS]>();
    assert!(end == size_of::<blkalign_latency>());
};

/// Copies a struct of the caller's into one of ours.
///
/// # Safety
/// `caller` is not NULL and points to a readable `size` of a struct that is as long as it says.
pub unsafe fn copy_in<T: Extensible>(caller: *const T) -> Result<T, Error> {
    // Another thread may write to the struct meanwhile. So `size` is read once, and everything
    // behind it is copied before it is looked at.
    // SAFETY: the caller of this function vouches for `size`.
    let size = unsafe { checked_size(caller)? };
    let mut own = T::zeroed();
    // SAFETY: `size` bytes can be read there; `own` has at least the smaller of both lengths.
    unsafe {
        ptr::copy_nonoverlapping(
            caller.cast::<u8>(),
            (&raw mut own).cast::<u8>(),
            size.min(size_of::<T>()),
        );
        (&raw mut own).cast::<usize>().write(size);
    }
    for index in size_of::<T>()..size {
        // SAFETY: index is below `size`, so the byte is part of the caller's struct.
        if unsafe { *caller.cast::<u8>().add(index) } != 0 {
            let words = format!(
                "{}: size {size} is that of a newer version than {}, and a new field is used",
                T::NAME,
                env!("CARGO_PKG_VERSION")
            );
            return Err(Error::new(libc::E2BIG, words));
        }
    }
    Ok(own)
}

/// Fills a struct of the caller's, but for its `size`, from ours.
///
/// # Safety
/// As for `copy_in`, and the struct can be written.
pub unsafe fn copy_out<T: Extensible>(own: &T, caller: *mut T) -> Result<(), Error> {
    // SAFETY: the caller of this function vouches for `size`.
    let size = unsafe { checked_size(caller)? };
    let known = size.min(size_of::<T>());
    let skip = size_of::<usize>();
    // SAFETY: `skip` <= `known` <= `size`, and `size` bytes can be written there.
    unsafe {
        let from = (own as *const T).cast::<u8>();
        let to = caller.cast::<u8>();
        ptr::copy_nonoverlapping(from.add(skip), to.add(skip), known - skip);
        ptr::write_bytes(to.add(known), 0, size - known);
    }
    Ok(())
}

/// # Safety
/// `caller` points to a readable usize.
unsafe fn checked_size<T: Extensible>(caller: *const T) -> Result<usize, Error> {
    // SAFETY: `size` comes first. Unaligned, since a caller may have packed its structs.
    let size = unsafe { caller.cast::<usize>().read_unaligned() };
    if size < size_of::<usize>() {
        let words = format!("{}: size is {size}; set it to sizeof({0})", T::NAME);
        return Err(Error::new(libc::EINVAL, words));
    }
    if size > SIZE_MAX {
        let words = format!("{}: size {size} is larger than in any version", T::NAME);
        return Err(Error::new(libc::E2BIG, words));
    }
    Ok(size)
}

#[cfg(test)]
#[path = "extensible_tests.rs"]
mod tests;
