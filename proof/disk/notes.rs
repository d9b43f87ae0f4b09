//! A hook that takes down the calls which change something, and answers in the system's place as it
//! is told.

use std::ffi::c_int;

use parking_lot::Mutex;

use super::hooked::{Bed, Hook, Hooked, Real, SystemCall, ALL};
use crate::sys::Errno;

/// What was asked of the system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Call {
    Fallocate(c_int),
    Discard,
    Truncate(i64),
    /// With these flags.
    Write(c_int),
    Sync,
    /// How the disk zeroes.
    Asked,
}

pub type Fault = fn(Call) -> Option<Errno>;

pub struct Notes {
    calls: Mutex<Vec<Call>>,
    pub fault: Mutex<Fault>,
}

impl Notes {
    /// Of calls to the system itself.
    pub fn table(fault: Fault) -> &'static Hooked<Notes> {
        let notes = Notes { calls: Mutex::default(), fault: Mutex::new(fault) };
        Hooked::table(Bed::Linux, notes)
    }

    pub fn taken_down(&self) -> Vec<Call> {
        std::mem::take(&mut self.calls.lock())
    }
}

impl Hook for Notes {
    fn call(&self, call: SystemCall<'_>, real: Real<'_>) -> Result<i64, Errno> {
        let noted = match call {
            SystemCall::Open { path } if path.to_bytes().ends_with(b"/write_zeroes_max_bytes") => {
                Call::Asked
            }
            SystemCall::Discard { .. } => Call::Discard,
            SystemCall::Allocate { mode, .. } => Call::Fallocate(mode),
            SystemCall::Truncate { length } => Call::Truncate(length),
            SystemCall::Write { flags, .. } => Call::Write(flags),
            SystemCall::Sync { .. } => Call::Sync,
            _ => return real(ALL),
        };
        self.calls.lock().push(noted);
        let fault = *self.fault.lock();
        fault(noted).map_or_else(|| real(ALL), Err)
    }
}
