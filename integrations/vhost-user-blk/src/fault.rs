//! Memory of others that goes away while it is used: a file that is made shorter, a page for which
//! a full file system has no room. Linux says so by SIGBUS, on whatever thread touches it.
//!
//! Where the address lies in memory that a frontend gave (`Watched`), a page of zeros takes the
//! place of the one that is gone, so that whatever touched it comes to its end; and from then on
//! `broken` is true, before that thread goes on. Nothing that is found out later than that may be
//! told to the guest as done, and the frontend is let go. Any other SIGBUS ends the process, as it
//! would have.
//!
//! Known only to `memory`, which maps, to those who tell the guest something, and to `server`.

use std::io::{Error, Result};
use std::os::fd::{AsRawFd, RawFd};
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicUsize, Ordering};

use crate::events::Event;

/// What is said of a frontend that is let go for it.
pub const WORDS: &str = "the guest's memory has disappeared";

/// Most mappings at once: all regions of a frontend, those of a table that takes their place, and
/// what is kept of requests in flight.
const MAPPINGS_MAX: usize = 1280;

/// Where a mapping is; `end` 0: the place is free. Written by the main thread alone, and only while
/// nobody uses that mapping.
struct Place {
    start: AtomicUsize,
    end: AtomicUsize,
}

static PLACES: [Place; MAPPINGS_MAX] =
    [const { Place { start: AtomicUsize::new(0), end: AtomicUsize::new(0) } }; MAPPINGS_MAX];
static BROKEN: AtomicBool = AtomicBool::new(false);
/// Readable once `BROKEN` is true; -1: not yet made.
static EVENT: AtomicI32 = AtomicI32::new(-1);

/// May be called in a signal's handler.
fn page_bytes() -> usize {
    // SAFETY: looks up a number.
    unsafe { libc::sysconf(libc::_SC_PAGESIZE) as usize }
}

/// As long as this lives, the memory may go away.
pub struct Watched(usize);

impl Watched {
    /// None: there are as many as there can be. `start`: of a mapping of whole pages.
    pub fn new(start: *mut u8, bytes: usize) -> Option<Watched> {
        let start = start as usize;
        let end = start + bytes.next_multiple_of(page_bytes());
        PLACES.iter().enumerate().find_map(|(index, place)| {
            let free = place.end.compare_exchange(0, 1, Ordering::AcqRel, Ordering::Relaxed);
            free.ok()?;
            place.start.store(start, Ordering::Release);
            place.end.store(end, Ordering::Release);
            Some(Watched(index))
        })
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        PLACES[self.0].end.store(0, Ordering::Release);
    }
}

/// Before anything is mapped.
pub fn install() -> Result<()> {
    // SAFETY: a struct of integers and a set that is made empty; the handler is one that may run
    // at any moment on any thread.
    let result = unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        libc::sigemptyset(&mut action.sa_mask);
        action.sa_sigaction = on_sigbus as *const () as usize;
        action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
        libc::sigaction(libc::SIGBUS, &action, std::ptr::null_mut())
    };
    if result < 0 {
        return Err(Error::last_os_error());
    }
    // It is there as long as the process is.
    let event = std::mem::ManuallyDrop::new(Event::new()?);
    EVENT.store(event.as_raw_fd(), Ordering::Release);
    Ok(())
}

/// Whether memory of the frontend has gone away. What this thread, or one whose result it has
/// taken in, touched before is known here.
pub fn broken() -> bool {
    BROKEN.load(Ordering::Acquire)
}

/// A descriptor that is readable while memory is broken.
pub fn event_fd() -> RawFd {
    EVENT.load(Ordering::Acquire)
}

/// Nothing of that frontend is mapped any more.
pub fn forget() {
    BROKEN.store(false, Ordering::Release);
    let mut count = [0u8; 8];
    // SAFETY: eight bytes, of a descriptor that does not block.
    unsafe { libc::read(event_fd(), count.as_mut_ptr().cast(), 8) };
}

/// Calls nothing but what may be called in a signal's handler.
extern "C" fn on_sigbus(_: libc::c_int, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
    // SAFETY: the kernel gives an info with an address for each fault; errno is this thread's.
    unsafe {
        let errno = *libc::__errno_location();
        // 0 and less: somebody sent it.
        let fault = (*info).si_code > 0;
        if !(fault && take_place((*info).si_addr() as usize)) {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = libc::SIG_DFL;
            libc::sigaction(libc::SIGBUS, &action, std::ptr::null_mut());
            if !fault {
                // Comes when this handler is left. A fault comes again by itself.
                libc::raise(libc::SIGBUS);
            }
        }
        *libc::__errno_location() = errno;
    }
}

/// Puts zeros in the place of the page at `address`. False: it is none of a frontend's.
fn take_place(address: usize) -> bool {
    let Some((start, end)) = PLACES.iter().find_map(|place| mapping_of(place, address)) else {
        return false;
    };
    BROKEN.store(true, Ordering::SeqCst);
    let page = address & !(page_bytes() - 1);
    // Of huge pages, or where there are too many mappings, all of it.
    if !zeros(page, page + page_bytes()) && !zeros(start, end) {
        return false;
    }
    let one = 1u64.to_ne_bytes();
    // SAFETY: eight bytes; the descriptor does not block.
    unsafe { libc::write(event_fd(), one.as_ptr().cast(), 8) };
    true
}

fn mapping_of(place: &Place, address: usize) -> Option<(usize, usize)> {
    let end = place.end.load(Ordering::Acquire);
    let start = place.start.load(Ordering::Acquire);
    // The same again: both are of one mapping.
    let same = place.end.load(Ordering::Acquire) == end;
    (same && (start..end).contains(&address)).then_some((start, end))
}

fn zeros(start: usize, end: usize) -> bool {
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED | libc::MAP_NORESERVE;
    // SAFETY: within a mapping that is ours to replace, as long as it is watched.
    let at = unsafe { libc::mmap(start as *mut _, end - start, protection, flags, -1, 0) };
    at != libc::MAP_FAILED
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::map;
    use std::fs::File;
    use std::os::fd::FromRawFd;

    #[test]
    fn memory_that_goes_away_reads_as_zeros_and_is_known_to_be_broken() {
        install().unwrap();
        let page = page_bytes();
        // SAFETY: makes a descriptor, which nobody else has.
        let file = unsafe { File::from_raw_fd(libc::memfd_create(c"test".as_ptr(), 0)) };
        file.set_len(4 * page as u64).unwrap();
        let mapping = map(file.try_clone().unwrap(), 0, 4 * page as u64).unwrap();
        let at = |number: usize| mapping.start().wrapping_add(number * page);
        // SAFETY: inside the mapping, whatever the file is.
        unsafe {
            (0..4).for_each(|number| at(number).write_volatile(7));
            assert!(!broken());
            file.set_len(page as u64).unwrap();
            assert_eq!(at(0).read_volatile(), 7);
            assert!(!broken());
            assert_eq!(at(2).read_volatile(), 0);
            assert!(broken());
            at(3).write_volatile(5);
            assert_eq!((at(0).read_volatile(), at(3).read_volatile()), (7, 5));
        }
        forget();
        assert!(!broken());
        let start = mapping.start() as usize;
        drop(mapping);
        assert!(PLACES.iter().all(|place| mapping_of(place, start).is_none()));
    }
}
