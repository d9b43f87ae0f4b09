//! Asynchronous requests of a case: started together, and looked at when all of them are over.

use std::ffi::{c_int, c_void};
use std::time::Duration;

use parking_lot::Mutex;

use super::{Ask, Case, Memory, Open};
use crate::completion::Callback;
use crate::driver::Op;
use crate::handle::CompletionMode;

pub struct Pending {
    ask: Ask,
    memory: Memory,
    data: Vec<u8>,
    /// Its place among `RESULTS`.
    number: usize,
    /// Faults before it was submitted.
    before: u32,
    durable: bool,
}

/// Of the requests that are submitted, by number.
static RESULTS: Mutex<Vec<Option<c_int>>> = Mutex::new(Vec::new());

extern "C" fn done(opaque: *mut c_void, ret: c_int) {
    let mut results = RESULTS.lock();
    let place = &mut results[opaque as usize];
    // Twice is told by a result that there is none of.
    *place = Some(if place.is_some() { c_int::MAX } else { ret });
}

pub fn forget_results() {
    RESULTS.lock().clear();
}

impl Case {
    /// Starts requests as one batch; `settle` waits for them. They do not overlap.
    pub fn submit(&mut self, handle: &Open, asks: &[Ask], stable: bool) {
        handle.plug();
        for &ask in asks {
            let before = self.delivered();
            let (submission, mut memory, data) = self.submission(ask);
            let number = {
                let mut results = RESULTS.lock();
                results.push(None);
                results.len() - 1
            };
            let callback =
                Callback { function: done, opaque: number as *mut c_void, on_failure: |_| {} };
            match handle.submit(submission, callback, |_| {}) {
                Ok(_) => {
                    if stable && ask.op == Op::Write {
                        memory.scribble();
                    }
                    let durable = ask.flags.fua;
                    self.pending.push(Pending { ask, memory, data, number, before, durable });
                }
                // It was never taken in: nothing may have been written.
                Err(error) => self.check_error("submit", &error, before),
            }
        }
        handle.unplug();
    }

    /// Waits for all that was started, and takes the results in.
    pub fn settle(&mut self, handle: &Open, mode: CompletionMode) {
        let mut polls = 0;
        while mode == CompletionMode::Eventfd && polls < 3 {
            let _ = handle.poll(16, Some(Duration::from_micros(100)));
            polls += 1;
        }
        if let Err(error) = handle.drain() {
            self.say(format!("drain: {error}"));
        }
        for pending in std::mem::take(&mut self.pending) {
            let Pending { ask, memory, data, number, before, durable } = pending;
            let what = format!("asynchronous {:?} of {} at {}", ask.op, ask.bytes, ask.offset);
            let result = match RESULTS.lock()[number] {
                None => Err("no result".to_owned()),
                Some(0) => Ok(Ok(())),
                Some(ret @ -4095..0) => Ok(Err(-ret)),
                Some(ret) => Err(format!("the result {ret}, or two of them")),
            };
            match result {
                Err(wrong) => self.say(format!("{what}: {wrong}")),
                Ok(result) => {
                    if ask.op == Op::Flush && result.is_ok() {
                        self.check_flush_was_done(&what, before);
                    }
                    let sticky = ask.op == Op::Flush && self.flush_failed.is_some();
                    if let (Err(errno), false) = (result, sticky) {
                        self.check_errno_of(ask, &what, errno, before);
                    }
                    let ask = if durable { ask.fua() } else { ask };
                    self.over(ask, &memory, &data, result, &what);
                }
            }
        }
    }
}
