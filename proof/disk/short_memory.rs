//! For tests: the allocator of the test program. It counts pieces that are aligned as only scratch
//! and copies of writes are, and refuses one of them when told to: nothing else in the library can
//! go on without memory.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicI64, AtomicU32, Ordering};

/// From here on a piece counts.
const ALIGNMENT_MIN: usize = 512;

struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Pieces that are out.
static OUT: AtomicI64 = AtomicI64::new(0);
/// How many were asked for since `refuse`, the first to be refused (0: none), and how many.
static ASKED: AtomicU32 = AtomicU32::new(0);
static FIRST: AtomicU32 = AtomicU32::new(0);
static TIMES: AtomicU32 = AtomicU32::new(0);

/// Aligned pieces that have not been given back.
pub fn pieces_out() -> i64 {
    OUT.load(Ordering::SeqCst)
}

/// Counts from now on, and refuses `times` from number `first` on; 0: none.
pub fn refuse(first: u32, times: u32) {
    FIRST.store(0, Ordering::SeqCst);
    ASKED.store(0, Ordering::SeqCst);
    TIMES.store(times, Ordering::SeqCst);
    FIRST.store(first, Ordering::SeqCst);
}

/// How many were asked for since `refuse`.
pub fn asked() -> u32 {
    ASKED.load(Ordering::SeqCst)
}

/// How many of those were refused.
pub fn refused() -> u32 {
    let (asked, first) = (asked(), FIRST.load(Ordering::SeqCst));
    if first == 0 || asked < first {
        return 0;
    }
    (asked - first + 1).min(TIMES.load(Ordering::SeqCst))
}

fn admits(layout: Layout) -> bool {
    if layout.align() < ALIGNMENT_MIN {
        return true;
    }
    let number = ASKED.fetch_add(1, Ordering::SeqCst) + 1;
    let first = FIRST.load(Ordering::SeqCst);
    let refused = first > 0 && number >= first && number - first < TIMES.load(Ordering::SeqCst);
    if !refused {
        OUT.fetch_add(1, Ordering::SeqCst);
    }
    !refused
}

// SAFETY: the system's allocator does the work; NULL is what it may answer, too.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if !admits(layout) {
            return std::ptr::null_mut();
        }
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if !admits(layout) {
            return std::ptr::null_mut();
        }
        // SAFETY: as the caller promises.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        if layout.align() >= ALIGNMENT_MIN {
            OUT.fetch_sub(1, Ordering::SeqCst);
        }
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(memory, layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        // SAFETY: as the caller promises.
        unsafe { System.realloc(memory, layout, bytes) }
    }
}
