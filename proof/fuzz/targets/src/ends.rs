//! Where the object of a scene ends: truncates, and what there is when all handles are closed.

use blkalign::capi::*;

use crate::calls;
use crate::model::{Value, CAPACITY};
use crate::request::enter_all;
use crate::scene::{Ground, Scene};
use crate::store_calls::can_truncate;

impl Scene<'_, '_> {
    /// Sets the length, with whatever is in flight.
    pub fn truncate(&mut self) {
        let length = self.input.length(CAPACITY);
        let Some(index) = self.pick_handle() else { return };
        let open = self.handles[index].as_mut().expect("open");
        let mut state = self.world.lock();
        if state.model.is_full() {
            return;
        }
        let refused = match &self.ground {
            _ if !open.has(BLKALIGN_O_RDWR) => Some(-libc::EPERM),
            _ if open.window.is_some() => Some(-libc::EINVAL),
            Ground::Driver(store) if !can_truncate(store) => Some(-libc::ENOTSUP),
            _ => None,
        };
        if refused.is_none() {
            enter_all(&mut state, open);
        }
        let change = state.model.begin(Value::Zero, length, CAPACITY, false);
        let before = (state.model.length_least, state.model.length_most);
        let mut alone = true;
        if refused.is_none() {
            for request in state.requests.iter_mut().filter(|r| r.result.is_none()) {
                request.length_uncertain = true;
                request.accompanied = true;
                alone = false;
            }
            state.truncated |= !alone;
            state.model.length_least = before.0.min(length);
            state.model.length_most = before.1.max(length);
        }
        drop(state);
        let disk = open.disk;
        self.say(|| format!("truncate through {index} to {length}"));
        let ret = self.waiting(|| disk.truncate(length as i64));
        self.say(|| format!("truncated: {ret}"));
        let mut state = self.world.lock();
        match (refused, ret) {
            (Some(code), _) => {
                assert_eq!(ret, code, "truncate");
                state.model.withdraw(change);
            }
            (None, 0) => {
                state.model.succeed(change);
                if alone {
                    (state.model.length_least, state.model.length_most) = (length, length);
                }
            }
            (None, _) => {
                let faults = self.world.store.as_ref().is_some_and(|s| s.lock().faults > 0);
                assert!(faults, "truncate: {ret}: {}", calls::last_words());
                state.model.fail(change);
            }
        }
    }

    /// All handles are closed.
    pub fn check_end(&mut self) {
        let state = self.world.lock();
        for (index, request) in state.requests.iter().enumerate() {
            let result = request.result.unwrap_or_else(|| panic!("request {index} is not over"));
            let taken_back = result == -libc::ECANCELED;
            assert_eq!(taken_back, request.cancelled, "request {index} and its cancel");
        }
        let bytes = match &self.ground {
            Ground::Driver(store) => {
                let mut inside = store.lock();
                assert_eq!(inside.closed, u32::from(!self.handles.is_empty()), "close");
                std::mem::take(&mut inside.bytes)
            }
            Ground::File(path) => {
                let bytes = std::fs::read(path).expect("our file");
                std::fs::remove_file(path).expect("our file");
                let (least, most) = (state.model.length_least, state.model.length_most);
                let length = bytes.len() as u64;
                assert!((least..=most).contains(&length), "{least} <= {length} <= {most}");
                bytes
            }
        };
        let known = bytes.iter().take(state.model.length_least.min(CAPACITY) as usize);
        for (at, &byte) in (0..).zip(known) {
            let words = || state.model.describe(at);
            assert!(state.model.may_be(at, byte), "{byte:#x} is stored at {at}: {}", words());
        }
    }
}
