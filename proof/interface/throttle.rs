//! `Throttle` with disks and queues.

use std::thread;
use std::time::{Duration, Instant};

use blkalign::{Bucket, Buffer, Flags, Throttle, ThrottleLimits};

use crate::scene::{errno, results, Scene};

fn limits(requests: Bucket) -> ThrottleLimits {
    let mut limits = ThrottleLimits::default();
    limits.requests = requests;
    limits
}

/// Lets one request go at once, and the next after an hour.
fn one_an_hour() -> ThrottleLimits {
    // A request of 512 bytes costs 1000 of the tokens that come one a second.
    let mut limits = ThrottleLimits::default();
    limits.write_bytes = Bucket::per_second(1).with_burst(1);
    limits
}

#[test]
fn throttles_are_shared_between_threads() {
    fn is_clone_send_sync<T: Clone + Send + Sync>() {}
    is_clone_send_sync::<Throttle>();
}

#[test]
fn a_disk_keeps_to_the_rate_of_its_throttle() {
    let scene = Scene::new(8192);
    let disk = scene.disk();
    let throttle = Throttle::new(&limits(Bucket::per_second(100).with_burst(1))).unwrap();
    disk.set_throttle(Some(&throttle)).unwrap();
    let start = Instant::now();
    (0..6).for_each(|_| disk.read_at(&mut [0; 100], 1).unwrap());
    assert!(start.elapsed() >= Duration::from_millis(49), "{:?}", start.elapsed());
    let stats = disk.stats();
    assert_eq!(stats.throttled, 5);
    assert!((40_000_000..10_000_000_000).contains(&stats.throttled_ns), "{stats:?}");
    disk.set_throttle(None).unwrap();
    (0..100).for_each(|_| disk.read_at(&mut [0; 100], 1).unwrap());
    assert_eq!(disk.stats().throttled, 5);
}

#[test]
fn each_limit_counts_what_it_is_named_for() {
    let one = Bucket::per_second(1).with_burst(1);
    type Field = fn(&mut ThrottleLimits) -> &mut Bucket;
    // Which of a read of 512 bytes and a write of 512 bytes use tokens up.
    let cases: [(Field, bool, bool); 6] = [
        (|its| &mut its.bytes, true, true),
        (|its| &mut its.read_bytes, true, false),
        (|its| &mut its.write_bytes, false, true),
        (|its| &mut its.requests, true, true),
        (|its| &mut its.read_requests, true, false),
        (|its| &mut its.write_requests, false, true),
    ];
    let scene = Scene::new(8192);
    let disk = scene.disk();
    for (number, (field, reads, writes)) in cases.into_iter().enumerate() {
        let queue = disk.queue().unwrap();
        let mut limits = ThrottleLimits::default();
        *field(&mut limits) = one;
        limits.request_bytes = 100;
        for (is_read, counts) in [(true, reads), (false, writes)] {
            queue.set_throttle(Some(&Throttle::new(&limits).unwrap())).unwrap();
            let before = queue.stats().throttled;
            for user_data in 0..2 {
                let buffer = Buffer::from(vec![3; 512]);
                let queued = match is_read {
                    true => queue.read(buffer, 0, user_data),
                    false => queue.write(buffer, 0, Flags::empty(), user_data),
                };
                queued.unwrap();
            }
            let held = queue.stats().throttled - before;
            assert_eq!(held, u64::from(counts), "limit {number}, read {is_read}");
            queue.set_throttle(None).unwrap();
            assert_eq!(results(&queue, 2), [(0, 0), (1, 0)]);
        }
    }
}

#[test]
fn members_of_a_group_share_its_tokens() {
    let scene = Scene::new(8192);
    let (disk, queue) = (scene.disk(), scene.queue());
    let throttle = Throttle::new(&one_an_hour()).unwrap();
    disk.set_throttle(Some(&throttle)).unwrap();
    queue.set_throttle(Some(&throttle.clone())).unwrap();
    disk.write_at(&[1; 3600], 0).unwrap();
    queue.write(Buffer::from(vec![2; 512]), 0, Flags::empty(), 7).unwrap();
    queue.flush(8).unwrap();
    assert_eq!(results(&queue, 1), [(8, 0)]);
    assert_eq!((disk.stats().throttled, queue.stats().throttled), (0, 1));
    assert_eq!(queue.stats().in_flight, 1);
    // The group without limits lets go of it.
    throttle.set(&ThrottleLimits::default()).unwrap();
    assert_eq!(results(&queue, 1), [(7, 0)]);
    assert_eq!(scene.contents()[..513], [[2; 512].as_slice(), &[1]].concat());
}

#[test]
fn what_is_held_is_cancelled_and_writes_nothing() {
    let scene = Scene::new(8192);
    let queue = scene.queue();
    queue.set_throttle(Some(&Throttle::new(&one_an_hour()).unwrap())).unwrap();
    queue.write(Buffer::from(vec![1; 3600]), 0, Flags::empty(), 1).unwrap();
    let id = queue.write(Buffer::from(vec![2; 512]), 0, Flags::empty(), 2).unwrap();
    assert_eq!(results(&queue, 1), [(1, 0)]);
    queue.cancel(id).unwrap();
    assert_eq!(results(&queue, 1), [(2, libc::ECANCELED)]);
    assert_eq!(scene.contents()[..3600], [1; 3600]);
}

#[test]
fn dropping_a_queue_lets_go_of_what_is_held() {
    let scene = Scene::new(8192);
    let queue = scene.queue();
    queue.set_throttle(Some(&Throttle::new(&one_an_hour()).unwrap())).unwrap();
    for number in 0..4 {
        let buffer = Buffer::from(vec![number; 512]);
        queue.write(buffer, u64::from(number) * 512, Flags::empty(), 0).unwrap();
    }
    drop(queue);
    let expected: Vec<u8> = (0..4).flat_map(|number| [number; 512]).collect();
    assert_eq!(scene.contents()[..2048], expected);
}

#[test]
fn a_blocking_call_that_is_held_goes_when_the_throttle_goes() {
    let scene = Scene::new(8192);
    let disk = scene.disk();
    disk.set_throttle(Some(&Throttle::new(&one_an_hour()).unwrap())).unwrap();
    disk.write_at(&[1; 3600], 0).unwrap();
    thread::scope(|scope| {
        scope.spawn(|| disk.write_at(&[2; 512], 0).unwrap());
        while disk.stats().throttled == 0 {
            thread::yield_now();
        }
        assert_eq!(scene.contents()[..512], [1; 512]);
        disk.set_throttle(None).unwrap();
    });
    assert_eq!(scene.contents()[..512], [2; 512]);
}

#[test]
fn a_burst_needs_a_rate() {
    let bad = limits(Bucket::default().with_burst(5));
    let error = Throttle::new(&bad).unwrap_err();
    assert_eq!(error.raw_os_error(), libc::EINVAL);
    assert!(error.to_string().contains("requests has a burst of 5, and no rate"), "{error}");
    let throttle = Throttle::new(&one_an_hour()).unwrap();
    assert_eq!(errno(throttle.set(&bad)), libc::EINVAL);
}
