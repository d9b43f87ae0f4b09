//! A machine that exists in the simulator only: a disk, and the system calls that lead to it. How
//! long I/O takes, in which order and pieces it is done and what goes wrong, a seed decides.

pub mod calls;
pub mod device;
pub mod driver;
pub mod pieces;
pub mod record;

use std::os::fd::RawFd;

use crate::proof::world::memory::hear;
use crate::proof::world::Key;

/// Whether a descriptor is readable now.
pub fn is_readable(fd: RawFd) -> bool {
    let mut poll = libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
    // SAFETY: one element, which lives through the call.
    let ready = unsafe { libc::poll(&raw mut poll, 1, 0) };
    let readable = ready == 1 && poll.revents & libc::POLLIN != 0;
    if readable {
        hear(Key::Readable(fd));
    }
    readable
}

/// Keeps this thread, and those that it starts, on the processor that it is on: threads of which
/// one runs at a time hand over faster there.
pub fn pin_to_one_processor() {
    // SAFETY: the set is a plain struct of bits, and lives through the calls.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        let here = libc::sched_getcpu();
        if here >= 0 {
            libc::CPU_SET(here as usize, &mut set);
            libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const set);
        }
    }
}
