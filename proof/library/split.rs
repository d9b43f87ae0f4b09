//! The torn-read promise over a driver that splits: each sector of a request is an I/O of its own,
//! and the disk does them in any order. A read sees all of a write to a unit, or nothing of it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;

use smallvec::smallvec;

use super::small::{explore, join};
use crate::driver::{Op, Segment};
use crate::handle::{CompletionMode, EngineKind, Handle, Options, RequestFlags, Submission};
use crate::proof::disk::Shape;
use crate::proof::table::with_calls;
use crate::proof::world::fail;
use crate::proof::world::system::calls::{calmly, table};
use crate::proof::world::system::device::{self, Faults};
use crate::proof::world::system::driver::{self, Form};
use crate::proof::world::system::pieces::read_memory;
use crate::proof::world::thread::spawn;

/// A guest's unit: four sectors.
const UNIT: usize = 2048;
/// What a write changes of it: no whole sectors.
const FROM: usize = 100;
const TO: usize = 1500;

/// Reads that saw a part of a write.
static TORN: AtomicU64 = AtomicU64::new(0);

/// What the disk holds at first, and what the write puts there.
const OLD: u8 = 7;
const NEW: u8 = 8;

fn request(op: Op, memory: &mut [u8], offset: usize, guest_block: u32) -> Submission {
    let bytes = memory.len();
    let segments = smallvec![Segment { address: memory.as_mut_ptr().addr(), bytes }];
    let (flags, offset, bytes) = (RequestFlags::default(), offset as u64, bytes as u64);
    Submission { op, flags, guest_block, offset, bytes, segments }
}

fn run(handle: &Handle, submission: Submission) {
    if let Err(error) = handle.run(submission) {
        fail(&format!("run: {error}"));
    }
}

/// One thread writes a part of a unit, by one handle; another one reads the unit by another.
fn write_and_read(guest_block: u32) {
    let shape = Shape { bytes: 4 * UNIT, ..Shape::easy() };
    let shape = Shape { read_only: false, needs_request: 512, ..shape };
    let device = device::plug_in(shape, vec![OLD; shape.bytes], Faults::default());
    let its = device.clone();
    let serving = [0, 1].map(|_| {
        let its = its.clone();
        spawn("device", move || its.serve())
    });
    let options = Options {
        writable: true,
        engine: EngineKind::Threads,
        completion: CompletionMode::Serial,
        ..Options::default()
    };
    let opened = |result: Result<Handle, crate::sys::Error>| {
        Arc::new(result.unwrap_or_else(|error| fail(&format!("open: {error}"))))
    };
    let open = || {
        driver::register();
        Handle::open_driver(driver::table(Form::Splitting), std::ptr::null_mut(), &options)
    };
    let first = opened(with_calls(table(), || calmly(open)));
    let second = opened(with_calls(table(), || calmly(|| first.dup(&options))));
    let its = second.clone();
    let writer = spawn("writer", move || {
        let mut memory = vec![NEW; TO - FROM];
        run(&its, request(Op::Write, &mut memory, UNIT + FROM, guest_block));
    });
    let mut memory = vec![0; UNIT];
    run(&first, request(Op::Read, &mut memory, UNIT, guest_block));
    join(writer);
    look_at(&read_memory(Segment { address: memory.as_ptr().addr(), bytes: UNIT }));
    for handle in [second, first] {
        let handle = Arc::into_inner(handle).unwrap_or_else(|| fail("somebody has the handle"));
        if let Err((_, error)) = Box::new(handle).close() {
            fail(&format!("close: {error}"));
        }
    }
    device.stop();
    serving.into_iter().for_each(join);
}

fn look_at(unit: &[u8]) {
    let (before, rest) = unit.split_at(FROM);
    let (written, after) = rest.split_at(TO - FROM);
    if before.iter().chain(after).any(|byte| *byte != OLD) {
        fail("bytes beside the write have changed");
    }
    let new = written.iter().filter(|byte| **byte == NEW).count();
    if new + written.iter().filter(|byte| **byte == OLD).count() != written.len() {
        fail("bytes that nobody wrote");
    }
    TORN.fetch_add(u64::from(new > 0 && new < written.len()), Ordering::Relaxed);
}

pub fn a_driver_that_splits_keeps_units_whole() -> (usize, bool) {
    TORN.store(0, Ordering::Relaxed);
    explore("splits, no promise", 1, 500, 500, || write_and_read(0));
    assert!(TORN.swap(0, Ordering::Relaxed) > 0, "no read was torn: this can show nothing");
    explore("splits", 2, 2500, 2000, || {
        write_and_read(UNIT as u32);
        if TORN.load(Ordering::Relaxed) > 0 {
            fail("a read has seen a part of a write to its unit");
        }
    })
}
