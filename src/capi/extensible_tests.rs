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
