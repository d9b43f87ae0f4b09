//! Many requests at once on a few handles of one object, all chosen by a seed; and the order in
//! which the storage does what it is asked for, too. One call of the storage goes on at a time,
//! when all else has come to rest: so the same seed gives the same run, though threads do the work.

use std::collections::BTreeMap;
use std::ffi::{c_int, c_void};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::check::{objection, Seen};
use super::history::{Asked, History};
use super::runs::Config;
use crate::completion::Callback;
use crate::driver::{Op, Segment, Segments};
use crate::handle::{CompletionMode, EngineKind, Handle, Options, RequestFlags, Submission};
use crate::proof::disk::gate::Gate;
use crate::proof::disk::hooked::Hooked;
use crate::proof::model::{Change, Data};
use crate::proof::rng::Rng;
use crate::proof::table::with_calls;

pub const BLOCK: usize = 4096;
/// No request that changes the length goes below this, and while one is under way no other request
/// goes above it.
const LOW: usize = 9 * BLOCK;
const HIGH: usize = 16 * BLOCK;
const STEPS: usize = 150;
const LIVE_MAX: usize = 10;
const PATIENCE: Duration = Duration::from_secs(60);

/// Closes the handles, and lets all go on that waits.
impl Drop for World<'_> {
    fn drop(&mut self) {
        self.gate.close_gate(false);
        for handle in self.handles.drain(..) {
            let _ = Box::new(handle).close();
        }
    }
}

/// By the number that was given as `opaque`.
static RESULTS: Mutex<BTreeMap<usize, c_int>> = Mutex::new(BTreeMap::new());
static NEXT: AtomicUsize = AtomicUsize::new(1);

extern "C" fn done(opaque: *mut c_void, ret: c_int) {
    let before = RESULTS.lock().insert(opaque as usize, ret);
    assert_eq!(before, None, "a second callback");
}

struct Live {
    opaque: usize,
    /// Its place in the history.
    number: usize,
    _memory: Vec<u8>,
}

pub struct World<'a> {
    gate: &'static Hooked<Gate>,
    config: &'a Config,
    handles: Vec<Handle>,
    history: History,
    live: Vec<Live>,
    rng: Rng,
    pub seen: Seen,
}

impl<'a> World<'a> {
    pub fn new(gate: &'static Hooked<Gate>, config: &'a Config, seed: u64) -> World<'a> {
        gate.reset(config.shape);
        let open = |options: &Options| {
            let options = Options {
                writable: true,
                engine: EngineKind::Threads,
                completion: CompletionMode::Eventfd,
                workers: 64,
                ..options.clone()
            };
            let handle = with_calls(gate, || Handle::open(c"/ram/power", &options));
            handle.expect("it can be opened")
        };
        let handles = config.handles.iter().map(open).collect();
        let initial = gate.disk.state().data.clone();
        gate.close_gate(true);
        World {
            gate,
            config,
            handles,
            history: History { initial, asked: Vec::new() },
            live: Vec::new(),
            rng: Rng::new(seed),
            seen: Seen::default(),
        }
    }

    /// All of it. What is wrong, if anything is.
    pub fn run(&mut self) -> Result<(), String> {
        for _ in 0..STEPS {
            let parked = self.settle()?;
            if self.live.len() < LIVE_MAX && (parked == 0 || self.rng.percent(35)) {
                self.submit_batch();
            } else if parked > 0 {
                let at = self.rng.index(parked);
                self.gate.let_go(at);
            }
            if self.rng.percent(12) {
                self.settle()?;
                self.lose_power()?;
            }
        }
        self.finish()?;
        let handle = self.rng.index(self.handles.len());
        self.submit(handle, Op::Flush, 0, 0);
        self.finish()?;
        self.lose_power()
    }

    fn finish(&mut self) -> Result<(), String> {
        loop {
            let parked = self.settle()?;
            if self.live.is_empty() {
                return Ok(());
            }
            if parked == 0 {
                return Err(format!("{} requests wait for nothing", self.live.len()));
            }
            let at = self.rng.index(parked);
            self.gate.let_go(at);
        }
    }

    fn lose_power(&mut self) -> Result<(), String> {
        let events = self.gate.events();
        let Config { block, unit, .. } = *self.config;
        let World { history, rng, seen, .. } = self;
        objection(history, &events, block, unit, rng, seen).map_or(Ok(()), Err)
    }

    /// Waits until all work is done but what waits at the gate, and runs the callbacks that are
    /// due.
    fn settle(&mut self) -> Result<usize, String> {
        let begin = Instant::now();
        loop {
            let load = || self.handles.iter().map(|handle| handle.endpoint.pool.load()).sum();
            let Some(parked) = self.gate.settled(load) else {
                if begin.elapsed() > PATIENCE {
                    return Err("it does not come to rest".to_owned());
                }
                std::thread::yield_now();
                continue;
            };
            let poll = |handle: &Handle| handle.poll(64, Some(Duration::ZERO)).unwrap_or(0);
            let ran: usize = self.handles.iter().map(poll).sum();
            self.take_results()?;
            if ran == 0 {
                return Ok(parked);
            }
        }
    }

    fn take_results(&mut self) -> Result<(), String> {
        let World { live, history, gate, .. } = self;
        let mut results = RESULTS.lock();
        let mut wrong = Ok(());
        live.retain(|it| {
            let Some(ret) = results.remove(&it.opaque) else { return true };
            history.asked[it.number].change.ended = Some(gate.tick());
            if ret != 0 {
                let asked = &history.asked[it.number];
                wrong = Err(format!("{:?} at {} gives {ret}", asked.op, asked.change.offset));
            }
            false
        });
        wrong
    }

    /// Requests of one handle, some of them as a batch.
    fn submit_batch(&mut self) {
        let at = self.rng.index(self.handles.len());
        if self.rng.percent(10) {
            // Sometimes the guest switches its cache off and on again.
            let enable = self.rng.percent(50);
            self.handles[at].set_write_cache(enable);
            self.config.cached[at].store(enable, Ordering::Relaxed);
        }
        let count = 1 + self.rng.index(5);
        let plugged = self.rng.percent(60);
        if plugged {
            self.handles[at].plug();
        }
        let stream = self.rng.percent(25);
        for place in 0..count {
            let (op, offset, bytes) = if stream {
                // A part of each of some blocks in a row.
                (Op::Write, place * BLOCK + self.rng.index(8) * 512, 512)
            } else {
                self.draw(at)
            };
            self.submit(at, op, offset, bytes);
        }
        if plugged {
            self.handles[at].unplug();
        }
    }

    fn length(&self) -> usize {
        let last = self.history.asked.iter().rev().find_map(|asked| asked.length);
        last.unwrap_or(self.history.initial.len())
    }

    fn draw(&mut self, handle: usize) -> (Op, usize, usize) {
        let resize = self.config.handles[handle].resize;
        let of = |live: &Live| &self.history.asked[live.number];
        let changing = self.live.iter().any(|live| of(live).length.is_some());
        let above = self.live.iter().any(|live| of(live).change.end() > LOW);
        let length = self.length();
        if resize && !changing && !above && self.rng.percent(25) {
            if self.rng.percent(40) {
                return (Op::Truncate, LOW + self.rng.index(HIGH - LOW), 0);
            }
            let offset = LOW + self.rng.index((length - LOW).max(1) + 600);
            let bytes = (length + 1 + self.rng.index(2 * BLOCK)).saturating_sub(offset).max(1);
            if offset + bytes <= HIGH {
                let op = if self.rng.percent(80) { Op::Write } else { Op::WriteZeroes };
                return (op, offset, bytes);
            }
        }
        let op = match self.rng.below(100) {
            0..14 => Op::Flush,
            14..19 => Op::Read,
            19..29 => Op::WriteZeroes,
            29..32 if self.config.handles[handle].unmap => Op::Discard,
            _ => Op::Write,
        };
        if op == Op::Flush {
            return (op, 0, 0);
        }
        let end = if changing { LOW } else { length };
        let (offset, bytes) = self.range(end);
        (op, offset, bytes)
    }

    /// Where, in `[0, end)`: few blocks, so that requests meet.
    fn range(&mut self, end: usize) -> (usize, usize) {
        let rng = &mut self.rng;
        let unit = self.config.unit;
        if unit > 0 && rng.percent(85) {
            let first = rng.index(end / unit);
            let count = 1 + rng.index((end / unit - first).min(2));
            return (first * unit, count * unit);
        }
        let block = [0, 1, 2, rng.index(end / BLOCK)][rng.index(4)] * BLOCK;
        let (offset, bytes) = match rng.below(10) {
            0..4 => (block + rng.index(8) * 512, (1 + rng.index(4)) * 512),
            4..5 => (block + rng.index(BLOCK), 1 + rng.index(3000)),
            5..7 => (block, BLOCK),
            7..8 => (block, (1 + rng.index(3)) * BLOCK),
            8..9 => (end - 1 - rng.index(5000), 5000),
            _ => (block + rng.index(8) * 512, BLOCK + rng.index(8) * 512),
        };
        let offset = offset.min(end - 1);
        (offset, bytes.clamp(1, end - offset))
    }

    fn submit(&mut self, at: usize, op: Op, offset: usize, bytes: usize) {
        let options = &self.config.handles[at];
        let chance = if matches!(op, Op::Write | Op::WriteZeroes) { 25 } else { 0 };
        let flags = RequestFlags {
            fua: self.rng.percent(chance),
            may_unmap: self.rng.percent(50),
            ..RequestFlags::default()
        };
        let opaque = NEXT.fetch_add(1, Ordering::Relaxed);
        let number = self.history.asked.len();
        let mut noise = Rng::new(number as u64 + 1);
        let data: Vec<u8> = match op {
            Op::Write => (0..bytes).map(|_| noise.next() as u8).collect(),
            Op::Read => vec![0; bytes],
            _ => Vec::new(),
        };
        let mut memory = data.clone();
        let segments = self.segments(&memory);
        let submitted = self.gate.tick();
        let grows = matches!(op, Op::Write | Op::WriteZeroes) && offset + bytes > self.length();
        let length = match op {
            Op::Truncate => Some(offset),
            _ => grows.then_some(offset + bytes),
        };
        let fua = flags.fua || !self.config.cached[at].load(Ordering::Relaxed);
        let writes = matches!(op, Op::Write | Op::WriteZeroes);
        let data = match op {
            Op::Write => Data::Bytes(data),
            Op::Truncate => Data::Zeros(usize::MAX),
            Op::Read | Op::Flush => Data::Zeros(0),
            _ => Data::Zeros(bytes),
        };
        let ordered = !(offset | bytes).is_multiple_of(BLOCK);
        self.history.asked.push(Asked {
            op,
            change: Change { offset, data, begun: submitted, ended: None, ordered },
            fua: fua && writes,
            unit: options.guest_block_size as usize,
            length,
        });
        let callback =
            Callback { function: done, opaque: opaque as *mut c_void, on_failure: |_| {} };
        let (bytes, guest_block) = (if op == Op::Truncate { 0 } else { bytes as u64 }, 0);
        let offset = offset as u64;
        let submission = Submission { op, flags, guest_block, offset, bytes, segments };
        let result = self.handles[at].submit(submission, callback, |_| {});
        result.expect("nothing is wrong with the request");
        if options.stable_writes && op == Op::Write {
            memory.fill(0xdd);
        }
        self.live.push(Live { opaque, number, _memory: memory });
    }

    /// In up to three pieces.
    fn segments(&mut self, memory: &[u8]) -> Segments {
        let mut cuts = vec![0, memory.len()];
        for _ in 0..self.rng.index(3) {
            cuts.push(self.rng.index(memory.len() + 1));
        }
        cuts.sort_unstable();
        let address = memory.as_ptr() as usize;
        let pieces = cuts.windows(2).filter(|cut| cut[0] < cut[1]);
        pieces.map(|cut| Segment { address: address + cut[0], bytes: cut[1] - cut[0] }).collect()
    }
}
