//! A hook at which calls that move or change something wait, until the test lets one of them go on.
//! Each is taken down with its begin and its end. Times are ticks of one clock, which the test's
//! own events take ticks of, too: so it is known which of two came first.

use parking_lot::{Condvar, Mutex};

use super::hooked::{Bed, Hook, Hooked, Real, SystemCall, ALL};
use super::{Disk, Shape};
use crate::proof::power::deed::{Deed, Event};
use crate::sys::Errno;

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

pub struct Gate {
    pub disk: &'static Disk,
    state: Mutex<State>,
    turn: Condvar,
}

impl Gate {
    /// Before a disk of its own. Lives as long as the process.
    pub fn table(shape: Shape) -> &'static Hooked<Gate> {
        let disk = Disk::table(shape);
        let gate = Gate { disk, state: Mutex::default(), turn: Condvar::new() };
        Hooked::table(Bed::Disk(disk), gate)
    }

    pub fn reset(&self, shape: Shape) {
        self.disk.reset(shape);
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

    fn pass<R>(&self, deed: Deed, perform: impl FnOnce() -> R) -> R {
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
        let length = self.disk.state().data.len();
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

impl Hook for Gate {
    fn call(&self, call: SystemCall<'_>, real: Real<'_>) -> Result<i64, Errno> {
        let deed = match call {
            SystemCall::Read { iov, offset, .. } => {
                let bytes = iov.iter().map(|element| element.iov_len).sum();
                Deed::Read { offset: offset as usize, bytes }
            }
            SystemCall::Write { iov, offset, flags, .. } => {
                let durable = flags & libc::RWF_DSYNC != 0;
                if durable && !self.disk.state().shape.knows_dsync {
                    return Err(libc::EOPNOTSUPP);
                }
                let atomic = flags & libc::RWF_ATOMIC != 0;
                // SAFETY: whoever made the call vouches for the memory.
                let data = unsafe { gather(iov) };
                Deed::Write { offset: offset as usize, data, durable, atomic }
            }
            SystemCall::Sync { .. } => Deed::Sync,
            SystemCall::Discard { offset, bytes, .. }
            | SystemCall::Allocate { offset, bytes, .. } => {
                Deed::Zero { offset: offset as usize, bytes: bytes as usize }
            }
            SystemCall::Truncate { length } => Deed::Truncate { bytes: length as usize },
            _ => return real(ALL),
        };
        self.pass(deed, || real(ALL))
    }
}
