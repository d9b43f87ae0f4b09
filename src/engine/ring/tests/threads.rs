//! Tests of the ring with several threads, with a kernel that refuses, and at its end.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicUsize, Ordering};
use std::sync::Arc;
use std::time::{Duration, Instant};

use smallvec::smallvec;

use super::{byte_of, file, io, only, pattern, reap, Done, Event, Memory, Ring};
use crate::driver::{Io, Op};
use crate::proof::table::{with_ring_faults, Entering, RingFaults};
use crate::sys::Errno;

#[test]
fn no_wake_is_lost_between_threads() {
    const ROUNDS: usize = 20_000;
    let file = file(&[]);
    let ring = Ring::new(only(&file), 1).unwrap();
    let (asked, answered) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut done = Done::new();
            for round in 1..=ROUNDS {
                while asked.load(Ordering::SeqCst) < round {
                    ring.wait(None);
                    ring.reap(&mut done, usize::MAX);
                }
                answered.store(round, Ordering::SeqCst);
            }
        });
        // Takes wake-ups off the ring before the waiter sees them.
        scope.spawn(|| {
            let mut done = Done::new();
            while !stop.load(Ordering::Relaxed) {
                ring.reap(&mut done, usize::MAX);
                std::thread::yield_now();
            }
        });
        for round in 1..=ROUNDS {
            asked.store(round, Ordering::SeqCst);
            ring.wake();
            let begin = Instant::now();
            while answered.load(Ordering::SeqCst) < round {
                std::thread::yield_now();
                if begin.elapsed() > Duration::from_secs(20) {
                    eprintln!("round {round}: lost");
                    std::process::abort();
                }
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
}

#[test]
fn four_submitters_and_one_reaper_lose_nothing() {
    const SUBMITTERS: usize = 4;
    const ROUNDS: usize = 600;
    const BATCH: usize = 5;
    let file = file(&pattern(512 * 1000));
    let ring = Ring::new(only(&file), 6).unwrap();
    let memories: Vec<_> =
        (0..SUBMITTERS).map(|_| Memory::new(ROUNDS * BATCH * 512, 512)).collect();
    std::thread::scope(|scope| {
        for (me, memory) in memories.iter().enumerate() {
            let ring = &ring;
            scope.spawn(move || {
                for round in 0..ROUNDS {
                    let read = |i: usize| {
                        let at = round * BATCH + i;
                        let offset = (at * 7 + me) % 1000 * 512;
                        let segments = match i {
                            0 => smallvec![memory.segment(at * 512, 512)],
                            _ => smallvec![
                                memory.segment(at * 512, 100),
                                memory.segment(at * 512 + 100, 412)
                            ],
                        };
                        io((me * ROUNDS * BATCH + at) as u32, Op::Read, offset as u64, segments)
                    };
                    let mut ios: Vec<_> = (0..BATCH).map(read).collect();
                    ring.submit(&mut ios);
                }
            });
        }
        let mut seen = vec![false; SUBMITTERS * ROUNDS * BATCH];
        for (io, result) in reap(&ring, seen.len()) {
            assert_eq!(result, Ok(512));
            assert!(!std::mem::replace(&mut seen[io.id.slot.index()], true), "done twice");
        }
        assert!(seen.into_iter().all(|seen| seen));
    });
    for (me, memory) in memories.iter().enumerate() {
        for (at, block) in memory.get().chunks(512).enumerate() {
            let byte = byte_of((at * 7 + me) % 1000 * 512);
            assert!(block.iter().all(|b| *b == byte));
        }
    }
}

/// Reads the whole file again and again from threads that end at once; what comes back as EINTR
/// is read again here, as the request machine does it.
fn submit_and_exit(file: &File, prepare: impl Fn()) {
    const PIECES: usize = 64;
    let ring = Ring::new(only(file), PIECES).unwrap();
    for _ in 0..50 {
        prepare();
        let memory = Memory::new(PIECES * 4096, 4096);
        let read = |i: usize| {
            let segments = smallvec![memory.segment(i * 4096, 4096)];
            io(i as u32, Op::Read, i as u64 * 4096, segments)
        };
        let mut ios: Vec<Io> = (0..PIECES).map(read).collect();
        let flush = io(PIECES as u32, Op::Flush, 0, smallvec![]);
        ios.push(flush);
        std::thread::scope(|scope| {
            scope.spawn(|| ring.submit(&mut ios));
        });
        let mut left = PIECES + 1;
        while left > 0 {
            let mut again = Vec::new();
            for (io, result) in reap(&ring, 1) {
                match result {
                    Ok(bytes) => {
                        assert_eq!(bytes, io.bytes);
                        left -= 1;
                    }
                    Err(libc::EINTR) => again.push(io),
                    Err(errno) => panic!("{io:?}: {errno}"),
                }
            }
            ring.submit(&mut again);
        }
        assert!(memory.get() == pattern(PIECES * 4096));
    }
}

#[test]
fn a_submitting_thread_may_end_at_once() {
    let file = file(&pattern(64 * 4096));
    submit_and_exit(&file, || {});
    // Out of the page cache, so that reads have to wait for the disk.
    submit_and_exit(&file, || {
        file.sync_all().unwrap();
        // SAFETY: plain numbers.
        unsafe { libc::posix_fadvise(file.as_raw_fd(), 0, 0, libc::POSIX_FADV_DONTNEED) };
    });
}

#[test]
fn a_polled_ring_submits_what_other_threads_hand_over() {
    let file = file(&pattern(4096));
    let ring = Ring::new_polled(only(&file), 8).unwrap();
    let event = Event::new();
    ring.register_eventfd(event.0.as_raw_fd()).unwrap();
    let memory = Memory::new(4096, 512);
    let read = |i: u32| io(i, Op::Read, 0, smallvec![memory.all()]);
    let mut done = Done::new();
    assert_eq!(ring.reap(&mut done, 9), 0);
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (ring, read) = (&ring, &read);
            scope.spawn(move || {
                for i in 0..500 {
                    ring.submit(&mut vec![read(thread), read(i)]);
                }
            });
        }
        while done.len() < 4000 {
            event.wait();
            while ring.reap(&mut done, 3) == 3 {}
        }
    });
    assert!(done.iter().all(|(_, result)| *result == Ok(4096)));
    // A waiter gets what another thread submits, without any poll.
    std::thread::scope(|scope| {
        scope.spawn(|| reap(&ring, 300));
        for i in 0..300 {
            scope.spawn(move || ()).join().unwrap();
            ring.submit(&mut vec![read(i)]);
        }
    });
}

#[test]
fn a_polled_ring_needs_no_other_system_call_than_reap() {
    let file = file(&pattern(64 * 4096));
    let ring = Ring::new_polled(only(&file), 64).unwrap();
    let memory = Memory::new(64 * 4096, 4096);
    let begin = Instant::now();
    for _ in 0..200 {
        let read =
            |i: usize| io(0, Op::Read, i as u64 * 4096, smallvec![memory.segment(i * 4096, 4096)]);
        ring.submit(&mut (0..64).map(read).collect());
        let mut done = Done::new();
        while done.len() < 64 {
            ring.reap(&mut done, 64);
            assert!(begin.elapsed() < Duration::from_secs(20));
        }
    }
}

/// A kernel that refuses to take what is submitted; 0: it does not.
#[derive(Default)]
struct Refusal(AtomicI32);

impl RingFaults for Refusal {
    fn enter(&self, why: Entering) -> Result<(), Errno> {
        match (why, self.0.load(Ordering::Relaxed)) {
            (Entering::Wait, _) | (_, 0) => Ok(()),
            (Entering::Submit, errno) => Err(errno),
        }
    }
}

impl Refusal {
    /// A ring of two places on this kernel.
    fn ring(file: &File) -> (Ring, &'static Refusal) {
        let kernel: &'static Refusal = Box::leak(Box::default());
        (with_ring_faults(kernel, || Ring::new(only(file), 2)).unwrap(), kernel)
    }

    /// Refuses with `errno` while `code` runs.
    fn refusing<R>(&self, errno: Errno, code: impl FnOnce() -> R) -> R {
        self.0.store(errno, Ordering::Relaxed);
        let result = code();
        self.0.store(0, Ordering::Relaxed);
        result
    }
}

#[test]
fn what_the_kernel_has_no_memory_for_is_done_later() {
    let file = file(&pattern(4096));
    let memory = Memory::new(4096, 512);
    let read = |i: u32| io(i, Op::Read, 0, smallvec![memory.all()]);
    for errno in [libc::EAGAIN, libc::EBUSY, libc::ENOMEM] {
        let (ring, kernel) = Refusal::ring(&file);
        let event = Event::new();
        ring.register_eventfd(event.0.as_raw_fd()).unwrap();
        let mut done = Done::new();
        kernel.refusing(errno, || {
            ring.submit(&mut vec![read(1), read(2), read(3)]);
            event.wait();
            assert_eq!(ring.reap(&mut done, 9), 0);
        });
        // By an event loop: the eventfd still says that there is something to do.
        while done.len() < 3 {
            event.wait();
            ring.reap(&mut done, 9);
        }
        // By a waiter that comes later.
        kernel.refusing(errno, || ring.submit(&mut vec![read(4)]));
        assert_eq!(reap(&ring, 1)[0].0.id.slot.0, 4);
        // By a waiter that sleeps already.
        std::thread::scope(|scope| {
            let waiter = scope.spawn(|| reap(&ring, 1));
            while ring.waiters.load(Ordering::SeqCst) == 0 {
                std::thread::yield_now();
            }
            std::thread::sleep(Duration::from_millis(10));
            kernel.0.store(errno, Ordering::Relaxed);
            let submitter = scope.spawn(|| ring.submit(&mut vec![read(5)]));
            std::thread::sleep(Duration::from_millis(10));
            kernel.0.store(0, Ordering::Relaxed);
            submitter.join().unwrap();
            assert_eq!(waiter.join().unwrap()[0].1, Ok(4096));
        });
    }
}

#[test]
fn what_the_kernel_does_not_take_any_more_is_given_back_in_order() {
    let file = file(&pattern(4096));
    let (ring, kernel) = Refusal::ring(&file);
    let event = Event::new();
    ring.register_eventfd(event.0.as_raw_fd()).unwrap();
    let memory = Memory::new(4096, 512);
    let read = |i: u32| io(i, Op::Read, 0, smallvec![memory.all()]);
    ring.submit(&mut vec![read(0)]);
    kernel.refusing(libc::EPERM, || {
        ring.submit(&mut vec![read(1), read(2), read(3)]);
    });
    ring.submit(&mut vec![read(4)]);
    event.wait();
    // What it has comes to its end.
    let done = reap(&ring, 1);
    assert_eq!((done[0].0.id.slot.0, done[0].1), (0, Ok(4096)));
    assert_eq!(ring.why_broken().map(|why| why.errno), Some(libc::EPERM));
    assert!(!ring.is_spent());
    let slots = || ring.take_back().iter().map(|io| io.id.slot.0).collect::<Vec<_>>();
    assert_eq!(slots(), [1, 2, 3, 4]);
    assert!(ring.is_spent());
    ring.submit(&mut vec![read(5)]);
    assert_eq!(slots(), [5]);
    assert!(ring.reap(&mut Done::new(), 9) == 0 && ring.is_spent());
}

#[test]
fn a_ring_that_may_not_be_entered_is_not_opened() {
    let file = file(&pattern(4096));
    for errno in [libc::EPERM, libc::ENOSYS, libc::EACCES, libc::ENOMEM] {
        let kernel: &'static Refusal = Box::leak(Box::new(Refusal(AtomicI32::new(errno))));
        let error = with_ring_faults(kernel, || Ring::new(only(&file), 2)).err().unwrap();
        assert_eq!(error.errno, errno);
        assert!(error.words.contains("io_uring_enter"), "{error}");
    }
}

#[test]
fn who_sleeps_without_end_in_a_ring_that_breaks_down_gets_what_it_refused() {
    let file = file(&pattern(4096));
    let (ring, kernel) = Refusal::ring(&file);
    let ring = Arc::new(ring);
    let memory = Memory::new(4096, 512);
    let (say, said) = std::sync::mpsc::channel();
    let its = ring.clone();
    std::thread::spawn(move || {
        let mut back = its.take_back();
        while back.is_empty() {
            its.wait(None);
            back = its.take_back();
        }
        let _ = say.send(back[0].id.slot.0);
    });
    while ring.waiters.load(Ordering::SeqCst) == 0 {
        std::thread::yield_now();
    }
    std::thread::sleep(Duration::from_millis(20));
    let read = io(1, Op::Read, 0, smallvec![memory.all()]);
    kernel.refusing(libc::EPERM, || ring.submit(&mut vec![read]));
    assert_eq!(said.recv_timeout(Duration::from_secs(20)), Ok(1));
}

#[test]
#[cfg(debug_assertions)]
#[should_panic(expected = "dropped with I/O in it")]
fn a_ring_is_not_dropped_with_io_in_it() {
    let file = file(&pattern(4096));
    let memory = Memory::new(4096, 512);
    let ring = Ring::new(only(&file), 1).unwrap();
    let read = || io(0, Op::Read, 0, smallvec![memory.all()]);
    ring.submit(&mut vec![read(), read(), read()]);
}

#[test]
fn a_dropped_ring_lets_go_of_its_file() {
    let mut ends = [0; 2];
    // SAFETY: room for two.
    assert_eq!(unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) }, 0);
    // SAFETY: just opened, both.
    let [reading, writing] =
        ends.map(|fd| unsafe { <File as std::os::fd::FromRawFd>::from_raw_fd(fd) });
    let ring = Ring::new(only(&writing), 4).unwrap();
    drop(writing);
    drop(ring);
    // Nobody has the other end: this does not wait.
    assert_eq!(std::io::Read::read(&mut &reading, &mut [0; 1]).unwrap(), 0);
}
