//! What the requests of a scene must do, and the callback that sees whether they do.

use std::ffi::{c_int, c_void};
use std::sync::{Arc, Mutex, MutexGuard};

use blkalign::capi::*;

use crate::memory::Memory;
use crate::model::{pattern, Model, CAPACITY};
use crate::store::Store;

/// A request, from when it is about to be submitted on.
pub struct Request {
    pub op: u32,
    pub flags: u32,
    /// In the object.
    pub offset: u64,
    pub bytes: u64,
    pub handle: usize,
    /// In the model.
    pub change: Option<usize>,
    pub read: Option<usize>,
    pub memory: Option<Memory>,
    /// Another one was in flight meanwhile.
    pub accompanied: bool,
    /// A truncate or growth was under way, or some had been: it may have found another length.
    pub length_uncertain: bool,
    /// A flush of the object had failed before.
    pub after_failed_flush: bool,
    /// Its id, once submitted.
    pub id: i64,
    /// `blkalign_aio_cancel` took it back.
    pub cancelled: bool,
    pub result: Option<c_int>,
}

pub struct State {
    pub model: Model,
    pub requests: Vec<Request>,
    pub flush_failed: bool,
    pub truncated: bool,
}

/// What the callbacks know.
pub struct World {
    state: Mutex<State>,
    pub store: Option<Arc<Store>>,
}

/// Where a callback's `opaque` points; stays until all handles are closed.
pub struct Token {
    pub world: Arc<World>,
    pub request: usize,
}

pub extern "C" fn called_back(opaque: *mut c_void, ret: c_int) {
    // SAFETY: the token of the request, which the scene keeps.
    let token = unsafe { &*opaque.cast::<Token>() };
    token.world.over(token.request, ret);
}

impl World {
    pub fn new(length: u64, store: Option<Arc<Store>>) -> Arc<World> {
        let model = Model::new(length);
        let requests = Vec::new();
        let state = State { model, requests, flush_failed: false, truncated: false };
        Arc::new(World { state: Mutex::new(state), store })
    }

    /// Never held while the library is called.
    pub fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic under the lock")
    }

    fn faults(&self) -> bool {
        self.store.as_ref().is_some_and(|store| store.lock().faults > 0)
    }

    /// A request is done with `ret`.
    pub fn over(&self, index: usize, ret: c_int) {
        let faults = self.faults();
        let mut state = self.lock();
        let state = &mut *state;
        let request = &mut state.requests[index];
        assert!(request.result.is_none(), "request {index} called back twice");
        request.result = Some(ret);
        request.judge(ret, faults);
        let memory = request.memory.take();
        if let Some(change) = request.change {
            match ret {
                0 => state.model.succeed(change),
                code if code == -libc::ECANCELED => state.model.withdraw(change),
                code if code == -libc::EBUSY => state.model.withdraw(change),
                _ => state.model.fail(change),
            }
        }
        if let Some(read) = request.read {
            if let (0, Some(memory)) = (ret, memory) {
                check_read(&state.model, read, request, memory);
            }
            state.model.forget_read(read);
        }
        if request.op == BLKALIGN_OP_FLUSH && ret != 0 && ret != -libc::ECANCELED {
            state.flush_failed = true;
        }
        if ret == 0 && request.offset + request.bytes > state.model.length_least {
            let wrote = matches!(request.op, BLKALIGN_OP_WRITE | BLKALIGN_OP_WRITE_ZEROES);
            if wrote && request.bytes > 0 && !state.truncated {
                state.model.length_least = request.offset + request.bytes;
            }
        }
    }

    /// The call that submitted it has refused it: it has never been.
    pub fn refused(&self, index: usize) {
        let mut state = self.lock();
        let state = &mut *state;
        let request = &mut state.requests[index];
        assert!(request.result.is_none(), "a callback of a call that failed");
        request.result = Some(0);
        request.memory = None;
        if let Some(change) = request.change {
            state.model.withdraw(change);
        }
        if let Some(read) = request.read {
            state.model.forget_read(read);
        }
    }
}

fn check_read(model: &Model, read: usize, request: &Request, mut memory: Memory) {
    let start = request.offset;
    let wrong = memory.find_wrong(|at, byte| model.may_have_read(read, start + at, byte));
    if let Some((at, byte)) = wrong {
        let at = start + at;
        let words = if at < CAPACITY { model.describe(at) } else { String::new() };
        panic!("{byte:#x} was read at {at}: {words}");
    }
}

impl Request {
    /// Whether the request may end with `ret`.
    fn judge(&self, ret: c_int, faults: bool) {
        let flag = |bit: u32| self.flags & bit != 0;
        let flush = self.op == BLKALIGN_OP_FLUSH;
        let right = match -ret {
            0 => !(flush && self.after_failed_flush),
            // Whether it was taken back, the caller of cancel says later.
            libc::ECANCELED => true,
            libc::EBUSY => flag(BLKALIGN_REQ_NO_WAIT) && self.accompanied && !flush,
            libc::ENOTSUP if flag(BLKALIGN_REQ_NO_FALLBACK) => true,
            libc::ENOSPC if self.offset + self.bytes > CAPACITY => true,
            libc::EIO if self.length_uncertain => true,
            code => code > 0 && (faults || (flush && self.after_failed_flush)),
        };
        assert!(
            right,
            "op {} at {} of {} bytes, flags {:#x}, ends with {ret}",
            self.op, self.offset, self.bytes, self.flags
        );
    }

    /// The bytes that it writes.
    pub fn fill(&mut self) {
        let (Some(change), Some(memory)) = (self.change, &mut self.memory) else { return };
        let start = self.offset;
        memory.fill(|at| pattern(change, start + at));
    }
}
