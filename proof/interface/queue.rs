//! `Queue`: batches, results, the descriptor.

use std::os::fd::{AsFd, AsRawFd};
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::atomic::Ordering;
use std::time::Duration;

use blkalign::{Buffer, Flags, OpenOptions, Queue};

use crate::scene::{blocks_of_4096, errno, pattern, results, Ram, Scene};
use crate::testbed::or_skip;

fn bytes(byte: u8, count: usize) -> Buffer {
    Buffer::from(vec![byte; count])
}

fn is_readable(queue: &Queue) -> bool {
    let fd = queue.as_fd().as_raw_fd();
    let mut wait = libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
    // SAFETY: one element.
    unsafe { libc::poll(&mut wait, 1, 0) == 1 }
}

#[test]
fn each_request_is_told_once_with_its_number_and_result() {
    let scene = Scene::new(8192);
    let queue = scene.queue();
    queue.write(bytes(1, 10), 100, Flags::FUA, 7).unwrap();
    queue.write_zeroes(200, 10, Flags::empty(), u64::MAX).unwrap();
    queue.discard(4096, 4096, 0).unwrap();
    queue.flush(8).unwrap();
    queue.submit();
    assert_eq!(results(&queue, 4), [(0, 0), (7, 0), (8, 0), (u64::MAX, 0)]);
    assert_eq!(queue.poll(Some(Duration::ZERO), |_, _| unreachable!()).unwrap(), 0);
    let mut expected = pattern(8192);
    expected[100..110].fill(1);
    expected[200..210].fill(0);
    assert_eq!(scene.contents(), expected);
}

#[test]
fn a_buffer_comes_back_with_its_result() {
    let scene = Scene::new(8192);
    let disk = scene.disk();
    let queue = disk.queue().unwrap();
    queue.read(disk.buffer(512).unwrap(), 1000, 1).unwrap();
    queue.read(bytes(0, 3), 8000, 2).unwrap();
    queue.flush(3).unwrap();
    let mut got = Vec::new();
    while got.len() < 3 {
        let each = |user_data, result, buffer: Option<Buffer>| {
            assert_eq!(result, Ok(()));
            got.push((user_data, buffer.map(Vec::from)));
        };
        queue.poll_buffers(None, each).unwrap();
    }
    got.sort();
    let all = pattern(8192);
    assert_eq!(got[0], (1, Some(all[1000..1512].to_vec())));
    assert_eq!(got[1], (2, Some(all[8000..8003].to_vec())));
    assert_eq!(got[2], (3, None));
}

#[test]
fn borrowed_memory_is_read_and_filled() {
    let scene = Scene::new(8192);
    let queue = scene.queue();
    let mut memory = [0u8; 16];
    let start = memory.as_mut_ptr();
    let part =
        |at: usize, count| libc::iovec { iov_base: start.wrapping_add(at).cast(), iov_len: count };
    // SAFETY: the memory outlives the queue, and is looked at when the request is over.
    unsafe { queue.read_vectored(500, &[part(8, 8), part(0, 0), part(0, 8)], 1) }.unwrap();
    assert_eq!(results(&queue, 1), [(1, 0)]);
    let all = pattern(8192);
    assert_eq!((&memory[8..], &memory[..8]), (&all[500..508], &all[508..516]));
    // SAFETY: as above.
    unsafe { queue.write_vectored(0, &[part(0, 4), part(0, 4)], Flags::FUA, 2) }.unwrap();
    assert_eq!(results(&queue, 1), [(2, 0)]);
    assert_eq!(scene.contents()[..8], [&all[508..512], &all[508..512]].concat());
    // SAFETY: as above.
    unsafe { queue.read_vectored_now(0, &[part(0, 16)], Flags::empty()) }.unwrap();
    assert_eq!(memory[8..], all[8..16]);
}

#[test]
fn a_batch_goes_out_as_one_and_not_before_its_time() {
    let Some(device) = or_skip(blocks_of_4096(1 << 20)) else { return };
    let disk = OpenOptions::new().write(true).direct(true).open(device.path()).unwrap();
    let queue = disk.queue().unwrap();
    for sector in 0..8 {
        queue.write(bytes(sector as u8, 512), 512 * sector, Flags::empty(), sector).unwrap();
    }
    let stats = queue.stats();
    assert_eq!((stats.in_flight, stats.storage_reads, stats.storage_writes), (8, 0, 0));
    queue.submit();
    results(&queue, 8);
    let stats = queue.stats();
    assert_eq!((stats.storage_reads, stats.storage_writes, stats.merged), (0, 1, 7), "{stats:?}");
}

#[test]
fn poll_submits_what_is_queued_and_what_its_closure_queues() {
    let (disk, inside) = Ram::disk(1 << 16);
    let queue = disk.queue().unwrap();
    queue.write(bytes(1, 512), 0, Flags::empty(), 1).unwrap();
    let each = |_, _| _ = queue.write(bytes(2, 512), 512, Flags::empty(), 2).unwrap();
    assert_eq!(queue.poll(None, each).unwrap(), 1);
    // Nobody polls or submits: the closure's request went out all the same.
    while inside.writes.load(Ordering::SeqCst) < 2 {
        std::thread::yield_now();
    }
    assert_eq!(results(&queue, 1), [(2, 0)]);
}

#[test]
fn a_request_that_cannot_be_is_refused_at_once_and_never_told() {
    let scene = Scene::new(8192);
    let queue = scene.queue();
    assert_eq!(errno(queue.write(bytes(1, 2), 8191, Flags::empty(), 1)), libc::EIO);
    assert_eq!(errno(queue.read(bytes(1, 2), u64::MAX, 1)), libc::EINVAL);
    assert_eq!(errno(queue.write_zeroes(0, u64::MAX, Flags::empty(), 1)), libc::EINVAL);
    assert_eq!(errno(queue.write_zeroes(0, 1, Flags::REGISTERED_BUF, 1)), libc::EINVAL);
    let wild = [libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 1 }];
    // SAFETY: it is refused.
    assert_eq!(errno(unsafe { queue.read_vectored(0, &wild, 1) }), libc::EINVAL);
    queue.flush(2).unwrap();
    assert_eq!(results(&queue, 1), [(2, 0)]);
    assert_eq!(queue.stats().in_flight, 0);
}

#[test]
fn a_panic_of_the_closure_loses_no_result() {
    let scene = Scene::new(8192);
    let queue = scene.queue();
    for number in 0..5 {
        queue.write_zeroes(number * 512, 512, Flags::empty(), number).unwrap();
    }
    queue.submit();
    while queue.stats().in_flight > 0 {
        if queue.stats().storage_writes + queue.stats().write_zeroes > 0 && is_readable(&queue) {
            break;
        }
    }
    let mut told = Vec::new();
    while told.len() < 5 {
        let each = |number, _| {
            told.push(number);
            if number % 2 == 0 {
                std::panic::resume_unwind(Box::new(number));
            }
        };
        let poll = AssertUnwindSafe(|| queue.poll(None, each).unwrap());
        if catch_unwind(poll).is_err() && told.len() < 5 && queue.stats().in_flight == 0 {
            assert!(is_readable(&queue), "there is more");
        }
    }
    told.sort();
    assert_eq!(told, [0, 1, 2, 3, 4]);
}

#[test]
fn a_queued_request_is_cancelled_and_writes_nothing() {
    let scene = Scene::new(8192);
    let queue = scene.queue();
    let id = queue.write(bytes(1, 512), 0, Flags::empty(), 1).unwrap();
    queue.cancel(id).unwrap();
    assert_eq!(results(&queue, 1), [(1, libc::ECANCELED)]);
    assert_eq!(errno(queue.cancel(id)), libc::ENOENT);
    queue.flush(2).unwrap();
    queue.write(bytes(1, 512), 0, Flags::empty(), 3).unwrap();
    assert_eq!(queue.cancel_all(), 2);
    assert_eq!(results(&queue, 2), [(2, libc::ECANCELED), (3, libc::ECANCELED)]);
    assert_eq!(scene.contents(), pattern(8192));
}

#[test]
fn the_descriptor_tells_of_results_and_no_others() {
    let (disk, inside) = Ram::disk(1 << 16);
    let queue = disk.queue().unwrap();
    is_readable(&queue);
    queue.poll(Some(Duration::ZERO), |_, _| ()).unwrap();
    inside.close_gate();
    queue.read(bytes(0, 512), 0, 1).unwrap();
    queue.submit();
    queue.poll(Some(Duration::from_millis(20)), |_, _| unreachable!("the gate is closed")).unwrap();
    assert!(!is_readable(&queue));
    inside.open_gate();
    while !is_readable(&queue) {
        std::thread::yield_now();
    }
    assert_eq!(results(&queue, 1), [(1, 0)]);
}

#[test]
fn a_timeout_may_be_longer_than_the_clock_goes() {
    for timeout in [Duration::MAX, Duration::from_secs(u64::MAX / 2), Duration::from_secs(1 << 62)]
    {
        let (disk, inside) = Ram::disk(1 << 16);
        let queue = disk.queue().unwrap();
        inside.close_gate();
        queue.read(bytes(0, 512), 0, 1).unwrap();
        queue.submit();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                std::thread::sleep(Duration::from_millis(20));
                inside.open_gate();
            });
            assert_eq!(queue.poll(Some(timeout), |_, result| result.unwrap()), Ok(1));
        });
    }
}

#[test]
fn a_queue_may_move_between_queueing_and_submitting() {
    let scene = Scene::new(8192);
    let queue = scene.queue();
    queue.write(bytes(1, 512), 0, Flags::empty(), 1).unwrap();
    let queue = std::thread::spawn(move || {
        queue.submit();
        queue
    });
    let queue = queue.join().unwrap();
    // Had `submit` not found the batch it would still be held back, and this be without end.
    while queue.stats().in_flight > 0 {
        queue.poll(Some(Duration::from_millis(1)), |number, _| assert_eq!(number, 1)).unwrap();
    }
    assert_eq!(scene.contents()[..512], [1; 512]);
}

#[test]
fn a_queue_may_be_shared_and_each_batch_goes_out() {
    let scene = Scene::new(1 << 16);
    let queue = scene.queue();
    std::thread::scope(|scope| {
        for thread in 0..4u64 {
            let queue = &queue;
            scope.spawn(move || {
                for round in 0..200 {
                    let number = thread * 1000 + round;
                    queue.write(bytes(1, 100), number, Flags::empty(), number).unwrap();
                    queue.submit();
                }
            });
        }
        let numbers = results(&queue, 800);
        assert!(numbers.iter().all(|(_, errno)| *errno == 0));
        assert!(numbers.windows(2).all(|pair| pair[0].0 != pair[1].0));
    });
}

#[test]
fn eight_queues_of_one_block_lose_nothing() {
    let Some(device) = or_skip(blocks_of_4096(1 << 20)) else { return };
    let disk = OpenOptions::new().write(true).direct(true).open(device.path()).unwrap();
    const ROUNDS: u8 = 100;
    for round in 1..=ROUNDS {
        std::thread::scope(|scope| {
            for sector in 0..8u64 {
                let queue = disk.queue().unwrap();
                scope.spawn(move || {
                    queue.write(bytes(round, 512), sector * 512, Flags::empty(), 0).unwrap();
                    assert_eq!(results(&queue, 1), [(0, 0)]);
                });
            }
        });
        let mut block = [0; 4096];
        disk.read_at(&mut block, 0).unwrap();
        assert!(block == [round; 4096], "round {round}");
        if round == ROUNDS {
            let mut rest = vec![0; (1 << 20) - 4096];
            disk.read_at(&mut rest, 4096).unwrap();
            assert!(rest == pattern(1 << 20)[4096..]);
        }
    }
}

#[test]
fn registered_memory_is_known_until_it_is_unregistered() {
    let scene = Scene::new(8192);
    let disk = scene.disk();
    let queue = disk.queue().unwrap();
    let mut buffer = disk.buffer(4096).unwrap();
    let start = buffer.as_mut_ptr();
    let part = [libc::iovec { iov_base: start.cast(), iov_len: 512 }];
    let read = |number| {
        // SAFETY: the memory outlives the queue.
        unsafe { queue.read_vectored_with(0, &part, Flags::REGISTERED_BUF, number) }
    };
    assert_eq!(errno(read(1)), libc::EINVAL);
    // SAFETY: it stays mapped.
    unsafe { queue.register(start, 4096) }.unwrap();
    // SAFETY: it is refused.
    assert_eq!(errno(unsafe { queue.register(start, 512) }), libc::EEXIST);
    read(2).unwrap();
    assert_eq!(results(&queue, 1), [(2, 0)]);
    queue.unregister(start, 4096).unwrap();
    assert_eq!(errno(queue.unregister(start, 4096)), libc::ENOENT);
    assert_eq!(buffer[..512], pattern(512));
}

#[test]
fn options_of_a_queue_are_its_own() {
    let scene = Scene::new(8192);
    let disk = scene.disk();
    let queue = disk.queue_with(&OpenOptions::new()).unwrap();
    assert_eq!(errno(queue.write(bytes(1, 1), 0, Flags::empty(), 1)), libc::EPERM);
    let writer = disk.queue().unwrap();
    drop(disk);
    writer.write(bytes(1, 1), 0, Flags::empty(), 1).unwrap();
    assert_eq!(results(&writer, 1), [(1, 0)]);
}
