//! For tests: a `Ram` whose calls that move or change something wait at a gate, until the test lets
//! one of them go on. Each is taken down with its begin and its end. Times are ticks of one clock,
//! which the test's own events take ticks of, too: so who was before whom is known.

use std::ffi::{c_int, c_uint, c_void, CStr};
use std::os::fd::RawFd;

use parking_lot::{Condvar, Mutex};

use super::ram::{Ram, Shape};
use crate::proof::power::deed::{Deed, Event};
use crate::sys::descriptor::BLKDISCARD;
use crate::sys::{Calls, Errno};

#[derive(Default)]
struct State {
    closed: bool,
    clock: u64,
    number: u64,
    /// Each with its number; begin 0: not seen by the test yet.
    parked: Vec<(u64, Event)>,
    go: Option<u64>,
    done: Vec<Event>,
}

pub struct Gated {
    pub ram: &'static Ram,
    state: Mutex<State>,
    turn: Condvar,
}

impl Gated {
    /// Lives as long as the process.
    pub fn table(shape: Shape) -> &'static Gated {
        let ram = Ram::table(shape);
        Box::leak(Box::new(Gated { ram, state: Mutex::default(), turn: Condvar::new() }))
    }

    pub fn reset(&self, shape: Shape) {
        self.ram.reset(shape);
        *self.state.lock() = State::default();
    }

    /// From now on calls wait, or do not.
    pub fn close_gate(&self, closed: bool) {
        self.state.lock().closed = closed;
        self.turn.notify_all();
    }

    pub fn tick(&self) -> u64 {
        let mut state = self.state.lock();
        state.clock += 1;
        state.clock
    }

    /// How many calls wait, if none is on its way. `load`: how many jobs there are.
    pub fn settled(&self, load: impl Fn() -> usize) -> Option<usize> {
        let waiting = || {
            let state = self.state.lock();
            state.go.is_none().then_some(state.parked.len())
        };
        let parked = waiting()?;
        let settled = load() == parked && load() == parked && waiting() == Some(parked);
        if !settled {
            return None;
        }
        let mut state = self.state.lock();
        let State { parked, clock, .. } = &mut *state;
        parked.sort_by(|(_, one), (_, other)| {
            let new = |event: &Event| if event.begin == 0 { u64::MAX } else { event.begin };
            (new(one), &one.deed).cmp(&(new(other), &other.deed))
        });
        for (_, event) in parked.iter_mut().filter(|(_, event)| event.begin == 0) {
            *clock += 1;
            event.begin = *clock;
        }
        Some(parked.len())
    }

    /// The call at place `at` among those that wait goes on.
    pub fn let_go(&self, at: usize) {
        let mut state = self.state.lock();
        state.go = Some(state.parked[at].0);
        self.turn.notify_all();
    }

    /// What was done, in order, and what waits.
    pub fn events(&self) -> Vec<Event> {
        let state = self.state.lock();
        let parked = state.parked.iter().map(|(_, event)| event);
        state.done.iter().chain(parked).cloned().collect()
    }

    fn gate<R>(&self, deed: Deed, perform: impl FnOnce() -> R) -> R {
        let mut state = self.state.lock();
        if !state.closed {
            return perform();
        }
        state.number += 1;
        let number = state.number;
        state.parked.push((number, Event { deed, begin: 0, end: None, length: 0 }));
        while state.closed && state.go != Some(number) {
            self.turn.wait(&mut state);
        }
        state.go = None;
        let length = self.ram.state().data.len();
        let result = perform();
        let at = state.parked.iter().position(|(other, _)| *other == number).expect("it waited");
        let (_, event) = state.parked.remove(at);
        state.clock += 1;
        let end = Some(state.clock);
        state.done.push(Event { end, length, ..event });
        result
    }
}

/// The bytes that a vector names.
///
/// # Safety
/// They may be read.
unsafe fn gather(iov: &[libc::iovec]) -> Vec<u8> {
    let mut data = Vec::new();
    for element in iov {
        // SAFETY: as above.
        let piece =
            unsafe { std::slice::from_raw_parts(element.iov_base.cast::<u8>(), element.iov_len) };
        data.extend_from_slice(piece);
    }
    data
}

impl Calls for Gated {
    fn open(&self, path: &CStr, flags: c_int, mode: c_uint) -> Result<RawFd, Errno> {
        self.ram.open(path, flags, mode)
    }

    fn close(&self, fd: RawFd) {
        self.ram.close(fd);
    }

    fn fstat(&self, fd: RawFd) -> Result<libc::stat, Errno> {
        self.ram.fstat(fd)
    }

    fn fstatfs(&self, fd: RawFd) -> Result<libc::statfs, Errno> {
        self.ram.fstatfs(fd)
    }

    fn statx(&self, fd: RawFd, mask: c_uint) -> Result<libc::statx, Errno> {
        self.ram.statx(fd, mask)
    }

    unsafe fn ioctl(
        &self,
        fd: RawFd,
        request: libc::Ioctl,
        argument: *mut c_void,
    ) -> Result<c_int, Errno> {
        // SAFETY: the caller vouches for `argument`; of a discard it is two integers.
        unsafe {
            if request != BLKDISCARD {
                return self.ram.ioctl(fd, request, argument);
            }
            let [offset, bytes] = argument.cast::<[u64; 2]>().read();
            let deed = Deed::Zero { offset: offset as usize, bytes: bytes as usize };
            self.gate(deed, || self.ram.ioctl(fd, request, argument))
        }
    }

    unsafe fn preadv2(
        &self,
        fd: RawFd,
        iov: &[libc::iovec],
        offset: i64,
        flags: c_int,
    ) -> Result<usize, Errno> {
        let bytes = iov.iter().map(|element| element.iov_len).sum();
        let deed = Deed::Read { offset: offset as usize, bytes };
        // SAFETY: the caller vouches for the memory.
        self.gate(deed, || unsafe { self.ram.preadv2(fd, iov, offset, flags) })
    }

    unsafe fn pwritev2(
        &self,
        fd: RawFd,
        iov: &[libc::iovec],
        offset: i64,
        flags: c_int,
    ) -> Result<usize, Errno> {
        if flags & libc::RWF_DSYNC != 0 && !self.ram.state().shape.dsync {
            return Err(libc::EOPNOTSUPP);
        }
        let deed = Deed::Write {
            offset: offset as usize,
            // SAFETY: the caller vouches for the memory.
            data: unsafe { gather(iov) },
            durable: flags & libc::RWF_DSYNC != 0,
            atomic: flags & libc::RWF_ATOMIC != 0,
        };
        // SAFETY: as above.
        self.gate(deed, || unsafe { self.ram.pwritev2(fd, iov, offset, flags) })
    }

    fn fdatasync(&self, fd: RawFd) -> Result<(), Errno> {
        self.gate(Deed::Sync, || self.ram.fdatasync(fd))
    }

    fn fallocate(&self, fd: RawFd, mode: c_int, offset: i64, bytes: i64) -> Result<(), Errno> {
        let deed = Deed::Zero { offset: offset as usize, bytes: bytes as usize };
        self.gate(deed, || self.ram.fallocate(fd, mode, offset, bytes))
    }

    fn ftruncate(&self, fd: RawFd, length: i64) -> Result<(), Errno> {
        let deed = Deed::Truncate { bytes: length as usize };
        self.gate(deed, || self.ram.ftruncate(fd, length))
    }

    fn lseek(&self, fd: RawFd, offset: i64, whence: c_int) -> Result<i64, Errno> {
        self.ram.lseek(fd, offset, whence)
    }

    fn fcntl(&self, fd: RawFd, command: c_int, argument: c_int) -> Result<c_int, Errno> {
        self.ram.fcntl(fd, command, argument)
    }

    fn fadvise(&self, _fd: RawFd, _advice: c_int) {}
}
