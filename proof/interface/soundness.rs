//! Safe functions stay safe: memory of a request in flight stays, whatever its owner does.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use blkalign::{Buffer, Driver, Flags, OpenOptions, ReadTarget, WriteSource};

use crate::scene::{Inside, Ram};

#[test]
fn dropping_a_queue_waits_for_what_is_in_flight() {
    let (disk, inside) = Ram::disk(1 << 16);
    let queue = disk.queue().unwrap();
    inside.close_gate();
    for number in 0..10 {
        let buffer = Buffer::from(vec![9; 512]);
        queue.write(buffer, number * 512, Flags::empty(), number).unwrap();
    }
    // Not even submitted.
    let (sender, receiver) = channel();
    let dropper = thread::spawn(move || {
        drop(queue);
        sender.send(()).unwrap();
    });
    assert!(receiver.recv_timeout(Duration::from_millis(50)).is_err(), "the gate is closed");
    inside.open_gate();
    dropper.join().unwrap();
    assert_eq!(inside.bytes.lock().unwrap()[..5120], [9; 5120]);
}

/// Looks at the memory of its reads once more when the queue is long leaked.
struct Late {
    inside: Arc<Inside>,
    filled: Arc<AtomicUsize>,
}

impl Driver for Late {
    fn len(&self) -> io::Result<u64> {
        Ok(1 << 16)
    }
    fn read(&self, _: u64, target: &mut ReadTarget<'_>) -> io::Result<()> {
        self.inside.reads.fetch_add(1, Ordering::SeqCst);
        self.inside.pass();
        target.put(0, &vec![0xff; target.len()]);
        self.filled.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }
    fn write(&self, _: u64, _: &WriteSource<'_>, _: Flags) -> io::Result<()> {
        Ok(())
    }
}

/// Many buffers of one size, as the allocator hands out what was freed.
fn churn(stop: &Mutex<bool>) {
    while !*stop.lock().unwrap() {
        let fresh: Vec<Vec<u8>> = (0..64).map(|_| vec![0u8; 8192]).collect();
        for bytes in &fresh {
            assert!(bytes.iter().all(|byte| *byte == 0), "a read filled memory of others");
        }
    }
}

#[test]
fn leaking_a_queue_leaks_the_buffers_in_flight() {
    let (inside, filled) = (Arc::new(Inside::default()), Arc::new(AtomicUsize::new(0)));
    let driver = Late { inside: inside.clone(), filled: filled.clone() };
    let disk = OpenOptions::new().workers(4).open_driver(driver).unwrap();
    let queue = disk.queue().unwrap();
    inside.close_gate();
    for number in 0..4 {
        queue.read(Buffer::from(vec![1; 8192]), 0, number).unwrap();
    }
    queue.submit();
    while inside.reads.load(Ordering::SeqCst) < 4 {
        thread::yield_now();
    }
    std::mem::forget(queue);
    let stop = Mutex::new(false);
    thread::scope(|scope| {
        scope.spawn(|| churn(&stop));
        inside.open_gate();
        while filled.load(Ordering::SeqCst) < 4 {
            thread::yield_now();
        }
        thread::sleep(Duration::from_millis(20));
        *stop.lock().unwrap() = true;
    });
}

#[test]
fn a_disk_may_go_before_its_queue() {
    let (disk, inside) = Ram::disk(1 << 16);
    let queue = disk.queue().unwrap();
    inside.close_gate();
    queue.write(Buffer::from(vec![9; 100]), 100, Flags::empty(), 1).unwrap();
    queue.submit();
    drop(disk);
    inside.open_gate();
    assert_eq!(crate::scene::results(&queue, 1), [(1, 0)]);
}

#[test]
fn a_driver_may_drop_queues_and_disks_of_others() {
    /// Its first read drops a queue whose request waits for nothing.
    struct Dropper(Mutex<Option<blkalign::Queue>>, Ram);
    impl Driver for Dropper {
        fn len(&self) -> io::Result<u64> {
            self.1.len()
        }
        fn read(&self, offset: u64, target: &mut ReadTarget<'_>) -> io::Result<()> {
            drop(self.0.lock().unwrap().take());
            self.1.read(offset, target)
        }
        fn write(&self, offset: u64, source: &WriteSource<'_>, flags: Flags) -> io::Result<()> {
            self.1.write(offset, source, flags)
        }
    }
    let (other, inside) = Ram::disk(4096);
    let queue = other.queue().unwrap();
    queue.write(Buffer::from(vec![7; 4096]), 0, Flags::empty(), 1).unwrap();
    let driver = Dropper(Mutex::new(Some(queue)), Ram::new(4096).0);
    let disk = OpenOptions::new().workers(1).open_driver(driver).unwrap();
    disk.read_at(&mut [0; 10], 0).unwrap();
    assert_eq!(inside.bytes.lock().unwrap()[..], [7; 4096]);
}

#[test]
fn a_buffer_of_a_vec_becomes_that_vec_again() {
    let mut bytes = Vec::with_capacity(100);
    bytes.extend([1, 2, 3]);
    let place = bytes.as_ptr();
    let buffer = Buffer::from(bytes);
    assert_eq!(buffer[..], [1, 2, 3]);
    let bytes = Vec::from(buffer);
    assert_eq!((bytes.as_ptr(), bytes.capacity()), (place, 100));
    let empty = Buffer::from(Vec::new());
    assert!(empty.is_empty() && Vec::from(empty).is_empty());
}
