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

use crate::header::{blkalign_driver, blkalign_limits, blkalign_open_options};
use crate::header::{blkalign_request, blkalign_stats};
use crate::sys::Error;

/// No struct of any version is longer: a greater `size` is memory that nobody initialised.
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
        // SAFETY: repr(C), `size: usize` first, and only integers, raw pointers and Options of
        // function pointers, which are all valid as zeros.
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
    blkalign_driver
);

// The structs that the library fills end with their last field. Bytes behind it that belong to no
// field would be handed to the caller with whatever they hold.
const _: () = {
    let end = offset_of!(blkalign_limits, engine) + size_of::<u32>();
    assert!(end == size_of::<blkalign_limits>());
    let end = offset_of!(blkalign_stats, probe_repairs) + size_of::<u64>();
    assert!(end == size_of::<blkalign_stats>());
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
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

    use super::*;

    #[repr(C)]
    #[derive(Clone, Copy)]
    struct Longer {
        options: blkalign_open_options,
        tail: [u8; 24],
    }

    fn options(size: usize) -> blkalign_open_options {
        blkalign_open_options { size, flags: 3, window_length: 9, ..Extensible::zeroed() }
    }

    fn errno_in(options: &blkalign_open_options) -> i32 {
        // SAFETY: the struct is as long as it says, or `size` is refused before it is used.
        unsafe { copy_in(options) }.err().unwrap().errno
    }

    #[test]
    fn a_size_that_cannot_hold_size_is_invalid() {
        for size in 0..size_of::<usize>() {
            assert_eq!(errno_in(&options(size)), libc::EINVAL);
        }
    }

    #[test]
    fn an_absurd_size_is_too_big() {
        assert_eq!(errno_in(&options(SIZE_MAX + 1)), libc::E2BIG);
        assert_eq!(errno_in(&options(usize::MAX)), libc::E2BIG);
    }

    #[test]
    fn the_size_that_was_checked_is_the_one_that_counts() {
        let long = size_of::<blkalign_open_options>();
        let short = size_of::<usize>() + 4;
        let caller = options(long);
        // As a caller does that breaks the rules, or whose memory is a guest's.
        // SAFETY: the struct lives longer than the thread that writes to it.
        let size = unsafe { AtomicUsize::from_ptr((&raw const caller.size).cast_mut()) };
        let over = AtomicBool::new(false);
        let wrong = std::thread::scope(|scope| {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    size.store(short, Ordering::Relaxed);
                    size.store(long, Ordering::Relaxed);
                }
            });
            let is_wrong = |_: &u32| {
                // SAFETY: the struct is at least as long as it says.
                let own = unsafe { copy_in(&raw const caller) }.unwrap();
                own.size != if own.window_length == 9 { long } else { short }
            };
            let wrong = (0..2_000_000).filter(is_wrong).count();
            over.store(true, Ordering::Relaxed);
            wrong
        });
        assert_eq!(wrong, 0);
    }

    #[test]
    fn the_rest_of_a_shorter_struct_is_zero() {
        let short = options(size_of::<usize>() + 4);
        // SAFETY: the struct is longer than it says.
        let own = unsafe { copy_in(&short) }.unwrap();
        assert_eq!((own.flags, own.window_length), (3, 0));
    }

    #[test]
    fn the_tail_of_a_longer_struct_must_be_zero() {
        let mut longer = Longer { options: options(size_of::<Longer>()), tail: [0; 24] };
        let caller = (&raw const longer).cast::<blkalign_open_options>();
        // SAFETY: the struct is as long as it says.
        assert_eq!(unsafe { copy_in(caller) }.unwrap().window_length, 9);
        for at in 0..longer.tail.len() {
            longer.tail = [0; 24];
            longer.tail[at] = 1;
            let caller = (&raw const longer).cast::<blkalign_open_options>();
            // SAFETY: as above.
            let result = unsafe { copy_in(caller) };
            assert_eq!(result.err().unwrap().errno, libc::E2BIG, "byte {at}");
        }
    }

    #[test]
    fn filling_writes_no_more_than_size_and_zeroes_what_is_unknown() {
        let own = blkalign_open_options { size: 0, ..options(0) };
        let mut longer = Longer { options: options(size_of::<Longer>()), tail: [7; 24] };
        longer.options.flags = 77;
        // SAFETY: the struct is as long as it says.
        unsafe { copy_out(&own, (&raw mut longer).cast()) }.unwrap();
        assert_eq!(longer.options.size, size_of::<Longer>());
        assert_eq!((longer.options.flags, longer.options.window_length), (3, 9));
        assert_eq!(longer.tail, [0; 24]);

        let mut short = options(size_of::<usize>() + 4);
        short.flags = 77;
        short.engine = 77;
        // SAFETY: the struct is longer than it says.
        unsafe { copy_out(&own, &mut short) }.unwrap();
        assert_eq!((short.size, short.flags, short.engine), (size_of::<usize>() + 4, 3, 77));
    }
}
