//! How fast a ring is by itself, as an ignored test: aligned reads of 4096 bytes on the disk that
//! `BLKALIGN_BENCH_DISK` names, 32 at a time, refilled as they complete.
//!
//! ```text
//! BLKALIGN_BENCH_DISK=/dev/zram0 cargo test --release ring_bench -- --ignored --nocapture
//! ```
//! `BLKALIGN_BENCH_SUBMITTERS` (1) sets how many threads submit, each with 32 of its own,
//! `BLKALIGN_BENCH_POLLED` (0) whether the ring is `new_polled`, `BLKALIGN_BENCH_SECONDS` how long.

use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use smallvec::smallvec;

use super::{io, only, Memory, Ring};
use crate::driver::{Io, Op};

const BLOCK: u64 = 4096;
const DEPTH: usize = 32;
/// What one of many submitters submits at once.
const BATCH: usize = 16;

fn number(name: &str, default: usize) -> usize {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(default)
}

#[test]
#[ignore = "a benchmark"]
fn ring_bench_reads_4096() {
    let Ok(path) = std::env::var("BLKALIGN_BENCH_DISK") else {
        panic!("BLKALIGN_BENCH_DISK names no disk");
    };
    let disk = std::fs::OpenOptions::new().read(true).custom_flags(libc::O_DIRECT).open(path);
    let disk = disk.unwrap();
    let blocks = crate::driver::FileDriver::open_fd(disk.as_raw_fd(), &Default::default())
        .map(|driver| crate::driver::Driver::length(&driver).unwrap() / BLOCK)
        .unwrap();
    let seconds = Duration::from_secs(number("BLKALIGN_BENCH_SECONDS", 3) as u64);
    let submitters = number("BLKALIGN_BENCH_SUBMITTERS", 1);
    let polled = number("BLKALIGN_BENCH_POLLED", 0) != 0;
    let open = if polled { Ring::new_polled } else { Ring::new };
    let ring = open(only(&disk), DEPTH * submitters).unwrap();
    let begin = Instant::now();
    let count = if submitters == 1 {
        one_thread(&ring, blocks, begin + seconds)
    } else {
        many_threads(&ring, blocks, submitters, begin + seconds)
    };
    println!("{:.0} reads a second", count as f64 / begin.elapsed().as_secs_f64());
}

/// Submits and reaps, waits when nothing is there: as an event loop does.
fn one_thread(ring: &Ring, blocks: u64, end: Instant) -> usize {
    let memory = Memory::new(DEPTH * BLOCK as usize, BLOCK as usize);
    let mut next = 0;
    let mut refill = |io: &mut Io| {
        io.offset = next % blocks * BLOCK;
        next += 1;
    };
    let mut start = Vec::with_capacity(DEPTH);
    for i in 0..DEPTH {
        let segments = smallvec![memory.segment(i * BLOCK as usize, BLOCK as usize)];
        let mut io = io(i as u32, Op::Read, 0, segments);
        refill(&mut io);
        start.push(io);
    }
    let mut done = Vec::with_capacity(DEPTH);
    let mut count = 0;
    ring.submit(&mut start);
    let mut in_flight = DEPTH;
    while in_flight > 0 {
        ring.wait(None);
        ring.reap(&mut done, DEPTH);
        let stop = Instant::now() >= end;
        for (mut io, result) in done.drain(..) {
            assert_eq!(result, Ok(BLOCK));
            count += 1;
            in_flight -= 1;
            if !stop {
                refill(&mut io);
                start.push(io);
            }
        }
        // As fio does: never waits with something left to submit.
        in_flight += start.len();
        ring.submit(&mut start);
    }
    count
}

/// Submitters wait for a result of each batch through a counter; one more thread reaps.
fn many_threads(ring: &Ring, blocks: u64, submitters: usize, end: Instant) -> usize {
    let finished: Vec<AtomicUsize> = (0..submitters).map(|_| AtomicUsize::new(0)).collect();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..submitters)
            .map(|me| {
                let finished = &finished[me];
                scope.spawn(move || submit_for(ring, blocks, me, finished, end))
            })
            .collect();
        let reaper = scope.spawn(|| {
            let mut done = Vec::new();
            while !stop.load(Ordering::Acquire) {
                ring.wait(None);
                ring.reap(&mut done, usize::MAX);
                for (io, result) in done.drain(..) {
                    assert_eq!(result, Ok(BLOCK));
                    finished[io.id.slot.index()].fetch_add(1, Ordering::Release);
                }
            }
        });
        let count = threads.into_iter().map(|thread| thread.join().unwrap()).sum();
        stop.store(true, Ordering::Release);
        ring.wake();
        reaper.join().unwrap();
        count
    })
}

fn submit_for(ring: &Ring, blocks: u64, me: usize, finished: &AtomicUsize, end: Instant) -> usize {
    let memory = Memory::new(DEPTH * BLOCK as usize, BLOCK as usize);
    let mut batch = Vec::with_capacity(BATCH);
    let mut submitted = 0;
    while Instant::now() < end {
        for _ in 0..BATCH {
            let at = submitted % DEPTH * BLOCK as usize;
            let segments = smallvec![memory.segment(at, BLOCK as usize)];
            let offset = (submitted as u64 + me as u64 * 1000) % blocks * BLOCK;
            batch.push(io(me as u32, Op::Read, offset, segments));
            submitted += 1;
        }
        ring.submit(&mut batch);
        while submitted - finished.load(Ordering::Acquire) > DEPTH - BATCH {
            std::thread::yield_now();
        }
    }
    while finished.load(Ordering::Acquire) < submitted {
        std::thread::yield_now();
    }
    submitted
}
