//! The common request allocates nothing: aligned reads and writes through the C functions, with
//! an allocator that counts.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::ffi::{c_int, c_void, CString};
use std::ptr::null_mut;

use blkalign::capi::*;

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: hands everything on to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let _ = ALLOCATIONS.try_with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's promises are those of `System`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

const BLOCK: usize = 4096;
const DEPTH: usize = 8;
const ROUNDS: usize = 200;

extern "C" fn count_success(done: *mut c_void, ret: c_int) {
    assert_eq!(ret, 0);
    // SAFETY: every request was given this counter, which outlives them.
    unsafe { *done.cast::<usize>() += 1 };
}

/// `DEPTH` requests at once, again and again; how often this thread allocated in the second half.
unsafe fn allocations_of_rounds(handle: *mut blkalign_handle, memory: *mut u8, write: bool) -> u64 {
    let done = Cell::new(0usize);
    let opaque = done.as_ptr().cast::<c_void>();
    let mut before = 0;
    for round in 0..ROUNDS {
        if round == ROUNDS / 2 {
            before = ALLOCATIONS.get();
        }
        for i in 0..DEPTH {
            // SAFETY: `memory` has a block for each request.
            let block = unsafe { memory.add(i * BLOCK) };
            let iov = libc::iovec { iov_base: block.cast(), iov_len: BLOCK };
            // Apart, so that nothing is joined.
            let offset = (2 * i * BLOCK) as i64;
            // SAFETY: an open handle, and memory that stays.
            let id = unsafe {
                if write {
                    blkalign_aio_pwritev(handle, offset, &iov, 1, 0, Some(count_success), opaque)
                } else {
                    blkalign_aio_preadv(handle, offset, &iov, 1, 0, Some(count_success), opaque)
                }
            };
            assert!(id > 0);
        }
        while done.get() < (round + 1) * DEPTH {
            // SAFETY: an open handle.
            assert!(unsafe { blkalign_poll(handle, DEPTH as c_int, -1) } > 0);
        }
    }
    ALLOCATIONS.get() - before
}

#[test]
fn an_aligned_request_allocates_nothing() {
    let directory = std::env::temp_dir();
    let path = directory.join(format!("blkalign-allocations-{}", std::process::id()));
    std::fs::write(&path, vec![0x5a; 2 * DEPTH * BLOCK]).unwrap();
    let name = CString::new(path.to_str().unwrap()).unwrap();
    // SAFETY: all zero is a valid value of this struct of numbers.
    let mut options: blkalign_open_options = unsafe { std::mem::zeroed() };
    options.size = std::mem::size_of::<blkalign_open_options>();
    options.flags = BLKALIGN_O_RDWR;
    options.completion = BLKALIGN_COMPLETION_EVENTFD;
    options.request_alignment = BLOCK as u32;
    let mut handle = null_mut();
    // SAFETY: a C string, a struct with its size, and a place for the handle.
    unsafe {
        assert_eq!(blkalign_open(name.as_ptr(), &options, &mut handle), 0);
        std::fs::remove_file(&path).unwrap();
        let memory = blkalign_memalign(handle, DEPTH * BLOCK).cast::<u8>();
        assert!(!memory.is_null());
        let limits = {
            let mut limits: blkalign_limits = std::mem::zeroed();
            limits.size = std::mem::size_of::<blkalign_limits>();
            assert_eq!(blkalign_get_limits(handle, &mut limits), 0);
            limits
        };
        let reads = allocations_of_rounds(handle, memory, false);
        let writes = allocations_of_rounds(handle, memory, true);
        blkalign_free(memory.cast());
        assert_eq!(blkalign_close(handle), 0);
        if limits.engine == BLKALIGN_ENGINE_IO_URING {
            assert_eq!((reads, writes), (0, 0), "in {} requests", ROUNDS / 2 * DEPTH);
        }
    }
}
