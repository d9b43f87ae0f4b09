//! A driver in memory: it checks what the library promises to drivers, fails now and then, and
//! finishes asynchronous I/Os when and in which order the fuzzer says.

use std::ffi::{c_int, c_void};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::JoinHandle;

use blkalign::capi::blkalign_driver_done_fn;
use libc::iovec;

use crate::input::Input;
use crate::model::{pattern, CAPACITY};

/// What the driver tells of itself.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    pub request_alignment: u32,
    pub mem_alignment: u32,
    pub segment_alignment: u32,
    pub max_transfer: u32,
    pub max_segments: u32,
    /// Which functions it has: see `store_calls::table`.
    pub functions: u8,
}

#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Io {
    Read,
    Write,
    Flush,
}

/// An asynchronous I/O that is not done yet.
pub struct Pending {
    pub io: Io,
    pub offset: i64,
    pub bytes: i64,
    pub vector: *const iovec,
    pub count: c_int,
    pub done: blkalign_driver_done_fn,
    pub token: *mut c_void,
}

// SAFETY: the vector is the library's and stays until `done`, which any thread may call.
unsafe impl Send for Pending {}

pub struct State {
    pub bytes: Vec<u8>,
    pending: Vec<Pending>,
    /// The helper finishes I/Os; else they wait for the fuzzer.
    automatic: bool,
    stop: bool,
    random: u64,
    /// Of 256 I/Os, so many fail, and so many asynchronous ones are done at once.
    fault_rate: u8,
    at_once_rate: u8,
    /// I/Os that failed.
    pub faults: u64,
    pub closed: u32,
    /// Every I/O is printed.
    trace: bool,
}

pub struct Store {
    state: Mutex<State>,
    wake: Condvar,
    pub shape: Shape,
}

const FAULTS: [c_int; 8] = [
    -libc::EIO,
    -libc::EIO,
    -libc::EINVAL,
    -libc::ENOSPC,
    -libc::ENOTSUP,
    -libc::ETIMEDOUT,
    // No answers at all.
    1,
    512,
];

impl Store {
    pub fn new(input: &mut Input) -> Arc<Store> {
        let request_alignment = input.pick(&[512, 4096, 0, 1, 16, 2048, 8192]);
        let block = request_alignment.max(1);
        let segment_alignment = input.pick(&[0, 512, block, 1, 16]).min(block);
        let shape = Shape {
            request_alignment,
            mem_alignment: input.pick(&[0, 512, 4096, 1, 4]),
            segment_alignment,
            // Not byte by byte, which takes a while.
            max_transfer: input.pick(&[0, 0, block.max(64), 3 * block.max(64) + 1, 8192, 65536]),
            max_segments: input.pick(&[0, 0, 1, 2, 3, 16]),
            functions: input.byte(),
        };
        let length = input.length(48 << 10) / u64::from(block) * u64::from(block);
        let faulty = input.one_in(3);
        let state = State {
            bytes: (0..length).map(|at| pattern(0, at)).collect(),
            pending: Vec::new(),
            automatic: false,
            stop: false,
            random: input.long() | 1,
            fault_rate: if faulty { input.byte() / 2 } else { 0 },
            at_once_rate: input.byte(),
            faults: 0,
            closed: 0,
            trace: std::env::var_os("BLKALIGN_FUZZ_TRACE").is_some(),
        };
        Arc::new(Store { state: Mutex::new(state), wake: Condvar::new(), shape })
    }

    pub fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic under the lock")
    }

    /// While `body` waits in the library the helper finishes what is asked for.
    pub fn automatically<T>(&self, body: impl FnOnce() -> T) -> T {
        self.lock().automatic = true;
        self.wake.notify_all();
        let result = body();
        self.lock().automatic = false;
        result
    }

    /// Takes an asynchronous I/O in. Its return value; `done` may have been called by then.
    pub fn start(&self, io: Pending) -> c_int {
        let mut state = self.lock();
        let refused = state.next(256) == 1 && state.fault_rate > 0;
        if refused {
            state.faults += 1;
            return -libc::EAGAIN;
        }
        state.pending.push(io);
        let at_once = state.next(256) < u64::from(state.at_once_rate);
        let last = state.pending.len() - 1;
        drop(state);
        if at_once {
            self.finish(last);
        } else {
            self.wake.notify_all();
        }
        0
    }

    /// Finishes one of the pending I/Os; false: there is none.
    pub fn finish(&self, which: usize) -> bool {
        let mut state = self.lock();
        if state.pending.is_empty() {
            return false;
        }
        let which = which % state.pending.len();
        let io = state.pending.swap_remove(which);
        let result = self.perform(&mut state, &io);
        drop(state);
        (io.done)(io.token, result);
        true
    }

    /// Performs an I/O; what the driver says of it.
    pub fn perform(&self, state: &mut State, io: &Pending) -> c_int {
        if io.io == Io::Flush {
            return state.fault().unwrap_or(0);
        }
        self.check_promises(state, io);
        // SAFETY: the library's vector, which stays until the I/O is done.
        let vector = unsafe { std::slice::from_raw_parts(io.vector, io.count as usize) };
        let fault = state.fault();
        let mut at = io.offset as usize;
        for (index, element) in vector.iter().enumerate() {
            // A write that fails may have moved some of it.
            if fault.is_some() && (io.io == Io::Read || index > 0) {
                break;
            }
            let inside = &mut state.bytes[at..at + element.iov_len];
            let address = element.iov_base.cast::<u8>();
            // SAFETY: the element is the library's or the caller's memory until the I/O is done.
            unsafe {
                match io.io {
                    Io::Read => address.copy_from(inside.as_ptr(), inside.len()),
                    _ => address.copy_to(inside.as_mut_ptr(), inside.len()),
                }
            }
            at += element.iov_len;
        }
        let (io, at, bytes) = (io.io, io.offset, io.bytes);
        state.say(|| format!("  {io:?} at {at} of {bytes} bytes: {fault:?}"));
        fault.unwrap_or(0)
    }

    fn check_promises(&self, state: &State, io: &Pending) {
        let Shape { request_alignment, mem_alignment, segment_alignment, .. } = self.shape;
        let (offset, bytes) = (io.offset as u64, io.bytes as u64);
        let block = u64::from(request_alignment.max(1));
        assert!(io.offset >= 0 && io.bytes > 0 && io.count > 0, "an I/O of nothing");
        assert!(offset.is_multiple_of(block), "offset {offset} and blocks of {block}");
        assert!(bytes.is_multiple_of(block), "length {bytes} and blocks of {block}");
        let length = state.bytes.len() as u64;
        assert!(offset + bytes <= length, "{offset} + {bytes} passes the end at {length}");
        let transfer = u64::from(self.shape.max_transfer);
        assert!(transfer == 0 || bytes <= transfer, "{bytes} bytes, at most {transfer}");
        let segments = self.shape.max_segments as c_int;
        assert!(segments == 0 || io.count <= segments, "{} segments of {segments}", io.count);
        // SAFETY: as in `perform`.
        let vector = unsafe { std::slice::from_raw_parts(io.vector, io.count as usize) };
        for element in vector {
            let (address, bytes) = (element.iov_base as usize, element.iov_len);
            assert!(bytes > 0, "an empty element");
            assert!(address.is_multiple_of(mem_alignment.max(1) as usize), "at {address:#x}");
            assert!(bytes.is_multiple_of(segment_alignment.max(1) as usize), "element of {bytes}");
        }
        let total: usize = vector.iter().map(|element| element.iov_len).sum();
        assert_eq!(total as u64, bytes, "the elements' total");
    }

    /// The thread that finishes I/Os while others wait.
    pub fn helper(self: &Arc<Store>) -> JoinHandle<()> {
        let store = self.clone();
        std::thread::spawn(move || store.help())
    }

    fn help(&self) {
        loop {
            let mut state = self.lock();
            while !state.stop && (!state.automatic || state.pending.is_empty()) {
                state = self.wake.wait(state).expect("no panic under the lock");
            }
            if state.stop {
                return;
            }
            let which = state.next(64) as usize;
            drop(state);
            self.finish(which);
        }
    }

    pub fn stop(&self) {
        self.lock().stop = true;
        self.wake.notify_all();
    }
}

impl State {
    /// For whoever looks into a finding.
    pub fn say(&self, words: impl FnOnce() -> String) {
        if self.trace {
            eprintln!("{}", words());
        }
    }

    fn next(&mut self, bound: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random % bound
    }

    /// What the next I/O fails with, if it does.
    pub fn fault(&mut self) -> Option<c_int> {
        if self.fault_rate == 0 || self.next(256) >= u64::from(self.fault_rate) {
            return None;
        }
        self.faults += 1;
        Some(FAULTS[self.next(FAULTS.len() as u64) as usize])
    }

    pub fn set_length(&mut self, length: u64) -> c_int {
        if length > CAPACITY + (16 << 10) {
            return -libc::ENOSPC;
        }
        if let Some(fault) = self.fault() {
            return fault;
        }
        self.say(|| format!("  a length of {length} after {}", self.bytes.len()));
        self.bytes.resize(length as usize, 0);
        0
    }
}
