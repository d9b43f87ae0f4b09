//! Requests of a scene: what the fuzzer wants becomes a call, and what it must return is known
//! before.

use std::ffi::c_int;

use blkalign::capi::*;

use crate::check::{called_back, Request, State, Token};
use crate::handles::{range, Open};
use crate::input::Input;
use crate::memory::Memory;
use crate::model::Value;
use crate::scene::Scene;

/// What a call must return.
enum Expected {
    TakenIn,
    Refused(c_int),
    Either,
}

impl Scene<'_, '_> {
    /// One request of any kind, by one of the calls for it.
    pub fn request(&mut self, synchronous: bool) {
        let Some(handle) = self.pick_handle() else { return };
        let Some(mut request) = self.invent(handle, synchronous) else { return };
        let expected = self.expected(&request);
        if synchronous && matches!(expected, Expected::Either) {
            // Whether it has what is plugged go ahead depends on the answer.
            return;
        }
        let guest_block = if synchronous { 0 } else { self.input.pick(&[0, 0, 0, 0, 512, 4096]) };
        let taken_in = matches!(expected, Expected::TakenIn);
        let index = self.begin(&mut request, handle, (synchronous, taken_in));
        let token = &*self.tokens[index];
        let vector = {
            let mut state = self.world.lock();
            let memory = &mut state.requests[index].memory;
            memory.as_mut().map(|memory| memory.vector()).unwrap_or_default()
        };
        let open = self.handles[handle].as_ref().expect("an open handle");
        let call = blkalign_request {
            size: std::mem::size_of::<blkalign_request>(),
            op: request.op,
            flags: request.flags,
            offset: if request.op == BLKALIGN_OP_FLUSH {
                0
            } else {
                request.offset as i64 - open.base() as i64
            },
            bytes: request.bytes as i64,
            iov: if vector.is_empty() { std::ptr::null() } else { vector.as_ptr() },
            iovcnt: vector.len() as c_int,
            guest_block_size: guest_block,
            cb: Some(called_back),
            opaque: (&raw const *token).cast_mut().cast(),
            id: std::ptr::null_mut(),
        };
        let disk = open.disk;
        let (op, offset, bytes, flags) = (request.op, request.offset, request.bytes, request.flags);
        self.say(|| {
            let how = if synchronous { "run" } else { "submit" };
            format!("{index}: {how} op {op} through {handle} at {offset} of {bytes} bytes, flags {flags:#x}")
        });
        if synchronous {
            let ret = self.waiting(|| disk.run(&call, &vector));
            self.ran(index, ret, expected);
        } else {
            let plainly = self.input.byte() & 1 == 0;
            let ret = if plainly { disk.submit_plainly(&call) } else { disk.submit(&call) };
            drop(vector);
            self.submitted(index, ret, expected);
        }
    }

    /// A request for the handle; None: the model is full.
    fn invent(&mut self, handle: usize, synchronous: bool) -> Option<Request> {
        let (least, full) = {
            let state = self.world.lock();
            (state.model.length_least, state.model.is_full())
        };
        let input = &mut *self.input;
        let open = self.handles[handle].as_mut().expect("an open handle");
        let op = pick_op(input);
        let resize = open.has(BLKALIGN_O_RESIZE);
        let (mut offset, mut bytes) = range(input, open.length(least), resize);
        if input.one_in(32) {
            // Past the end, often by a single byte.
            let by = input.length(4096);
            let just = (open.length(least) + 1).saturating_sub(bytes);
            offset = if by & 1 == 1 { just } else { offset + by };
        }
        let mut flags = pick_flags(input, op);
        let mut memory = None;
        match op {
            BLKALIGN_OP_FLUSH => (offset, bytes) = (0, 0),
            BLKALIGN_OP_READ | BLKALIGN_OP_WRITE => {
                if flags & BLKALIGN_REQ_REGISTERED_BUF != 0 {
                    let shift = input.pick(&[0, 0, 1, 512]);
                    memory = open.region.as_mut().and_then(|r| r.take(bytes as usize, shift));
                }
                if memory.is_none() {
                    flags &= !BLKALIGN_REQ_REGISTERED_BUF;
                    memory = Some(Memory::new(input, bytes as usize, op == BLKALIGN_OP_READ));
                }
            }
            _ => (),
        }
        if synchronous && matches!(op, BLKALIGN_OP_DISCARD | BLKALIGN_OP_FLUSH) {
            flags = 0;
        }
        if full && !matches!(op, BLKALIGN_OP_READ | BLKALIGN_OP_FLUSH) {
            return None;
        }
        Some(Request {
            op,
            flags,
            offset: offset + if op == BLKALIGN_OP_FLUSH { 0 } else { open.base() },
            bytes,
            handle,
            change: None,
            read: None,
            memory,
            accompanied: false,
            length_uncertain: false,
            after_failed_flush: false,
            id: 0,
            cancelled: false,
            result: None,
        })
    }

    fn expected(&self, request: &Request) -> Expected {
        let open = self.handles[request.handle].as_ref().expect("an open handle");
        if request.op == BLKALIGN_OP_FLUSH {
            return Expected::TakenIn;
        }
        if request.op != BLKALIGN_OP_READ && !open.has(BLKALIGN_O_RDWR) {
            return Expected::Refused(-libc::EPERM);
        }
        let state = self.world.lock();
        let end = request.offset + request.bytes - open.base();
        if open.has(BLKALIGN_O_RESIZE) || end <= open.length(state.model.length_least) {
            Expected::TakenIn
        } else if end > open.length(state.model.length_most) {
            Expected::Refused(-libc::EIO)
        } else {
            Expected::Either
        }
    }

    /// Enters the request in the model. Its number; `request` keeps all but its memory.
    fn begin(
        &mut self,
        request: &mut Request,
        handle: usize,
        (synchronous, taken_in): (bool, bool),
    ) -> usize {
        let mut state = self.world.lock();
        let open = self.handles[handle].as_mut().expect("an open handle");
        let index = state.requests.len();
        if synchronous && taken_in {
            enter_all(&mut state, open);
        }
        describe_change(&mut state, request, open);
        if request.op == BLKALIGN_OP_READ {
            request.read = Some(state.model.begin_read(request.offset, request.bytes));
        }
        // What the object had at submission it may have lost by now.
        request.length_uncertain =
            state.truncated || request.offset + request.bytes > state.model.length_least;
        request.after_failed_flush = state.flush_failed && !open.has(BLKALIGN_O_NO_FLUSH);
        for other in state.requests.iter_mut().filter(|other| other.result.is_none()) {
            other.accompanied = true;
            request.accompanied = true;
        }
        request.fill();
        let memory = request.memory.take();
        state.requests.push(Request { memory, ..*request });
        if open.plugged > 0 && !synchronous {
            open.held.push(index);
        } else if let Some(change) = request.change {
            state.model.enter(change);
        }
        drop(state);
        self.tokens.push(Box::new(Token { world: self.world.clone(), request: index }));
        index
    }

    fn ran(&mut self, index: usize, ret: c_int, expected: Expected) {
        let (op, handle) = {
            let state = self.world.lock();
            (state.requests[index].op, state.requests[index].handle)
        };
        if let Expected::Refused(code) = expected {
            assert_eq!(ret, code, "op {op}");
            return self.world.refused(index);
        }
        self.world.over(index, ret);
        self.count(handle, op);
    }

    fn submitted(&mut self, index: usize, ret: i64, expected: Expected) {
        assert_ne!(ret, 0, "an id");
        match expected {
            Expected::Refused(code) => assert_eq!(ret, code.into(), "refused"),
            Expected::TakenIn => assert!(ret > 0, "refused with {ret}"),
            Expected::Either => assert!(ret > 0 || ret == -i64::from(libc::EIO), "{ret}"),
        }
        if ret < 0 {
            let handle = self.world.lock().requests[index].handle;
            let open = self.handles[handle].as_mut().expect("an open handle");
            open.held.retain(|&held| held != index);
            return self.world.refused(index);
        }
        let mut state = self.world.lock();
        let request = &mut state.requests[index];
        request.id = ret;
        let (op, handle) = (request.op, request.handle);
        let open = self.handles[handle].as_ref().expect("an open handle");
        if open.has(BLKALIGN_O_STABLE_WRITES) && op == BLKALIGN_OP_WRITE {
            if let Some(memory) = &mut request.memory {
                memory.fill(|_| 0xee);
            }
        }
        drop(state);
        self.count(handle, op);
    }

    fn count(&mut self, handle: usize, op: u32) {
        let open = self.handles[handle].as_mut().expect("an open handle");
        open.taken_in[op as usize - 1] += 1;
    }
}

fn pick_op(input: &mut Input) -> u32 {
    input.pick(&[
        BLKALIGN_OP_WRITE,
        BLKALIGN_OP_READ,
        BLKALIGN_OP_WRITE,
        BLKALIGN_OP_READ,
        BLKALIGN_OP_WRITE,
        BLKALIGN_OP_WRITE_ZEROES,
        BLKALIGN_OP_DISCARD,
        BLKALIGN_OP_FLUSH,
    ])
}

/// Flags that the kind of request has.
fn pick_flags(input: &mut Input, op: u32) -> u32 {
    if input.byte() & 3 != 3 {
        return 0;
    }
    let flags = u32::from(input.byte());
    let known = match op {
        BLKALIGN_OP_READ | BLKALIGN_OP_WRITE => 0x27,
        BLKALIGN_OP_WRITE_ZEROES => 0x1f,
        _ => 0x07,
    };
    flags & known
}

/// What the request may do to the bytes of the object.
fn describe_change(state: &mut State, request: &mut Request, open: &Open) {
    let Request { op, flags, offset, bytes, .. } = *request;
    let whole = offset.is_multiple_of(open.block) && bytes.is_multiple_of(open.block);
    let exclusive = !whole || flags & BLKALIGN_REQ_SERIALISING != 0;
    let model = &mut state.model;
    match op {
        BLKALIGN_OP_WRITE => {
            request.change = Some(model.begin(Value::Pattern, offset, bytes, exclusive));
        }
        BLKALIGN_OP_WRITE_ZEROES => {
            request.change = Some(model.begin(Value::Zero, offset, bytes, exclusive));
        }
        BLKALIGN_OP_DISCARD if open.has(BLKALIGN_O_UNMAP) => {
            let unit = open.discard_unit;
            let start = offset.div_ceil(unit) * unit;
            let end = (offset + bytes) / unit * unit;
            let bytes = end.saturating_sub(start);
            request.change = Some(model.begin(Value::Anything, start, bytes, false));
        }
        _ => (),
    }
    if matches!(op, BLKALIGN_OP_WRITE | BLKALIGN_OP_WRITE_ZEROES)
        && open.has(BLKALIGN_O_RESIZE)
        && open.has(BLKALIGN_O_RDWR)
        && bytes > 0
    {
        state.model.length_most = state.model.length_most.max(offset + bytes);
    }
}

/// What the handle's plug holds back enters the library now.
pub fn enter_all(state: &mut State, open: &mut Open) {
    for index in open.held.drain(..) {
        if let (Some(change), None) = (state.requests[index].change, state.requests[index].result) {
            state.model.enter(change);
        }
    }
}
