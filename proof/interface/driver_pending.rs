//! A `Driver` that answers later.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{channel, Sender};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use blkalign::{
    Buffer, Disk, Driver, Flags, OpenOptions, PendingFlush, PendingRead, PendingWrite, ReadTarget,
    WriteSource,
};

use crate::scene::{errno, pattern};

const BYTES: usize = 1 << 16;

enum Asked {
    Read(u64, PendingRead),
    Write(u64, PendingWrite),
    Flush(PendingFlush),
}

#[derive(Clone, Copy, PartialEq)]
enum Way {
    /// A thread answers what has come, the last first.
    LastFirst,
    /// Before the function returns.
    AtOnce,
    Fails,
    Drops,
    Panics,
}

struct Later {
    asked: Mutex<Sender<Asked>>,
    way: Way,
    synchronous_calls: Arc<AtomicUsize>,
}

impl Later {
    fn take(&self, asked: Asked) {
        match self.way {
            Way::LastFirst => self.asked.lock().unwrap().send(asked).unwrap(),
            Way::AtOnce => answer(&mut vec![0; BYTES], asked, Ok(())),
            Way::Fails => {
                answer(&mut [], asked, Err(io::Error::from_raw_os_error(libc::ENOSPC)));
            }
            Way::Drops => drop(asked),
            Way::Panics => std::panic::resume_unwind(Box::new(())),
        }
    }
}

impl Driver for Later {
    fn request_alignment(&self) -> u32 {
        4096
    }
    fn len(&self) -> io::Result<u64> {
        Ok(BYTES as u64)
    }
    fn read(&self, _: u64, _: &mut ReadTarget<'_>) -> io::Result<()> {
        self.synchronous_calls.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }
    fn write(&self, _: u64, _: &WriteSource<'_>, _: Flags) -> io::Result<()> {
        self.synchronous_calls.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }
    fn is_asynchronous(&self) -> bool {
        true
    }
    fn start_read(&self, offset: u64, read: PendingRead) {
        self.take(Asked::Read(offset, read));
    }
    fn start_write(&self, offset: u64, write: PendingWrite, _: Flags) {
        self.take(Asked::Write(offset, write));
    }
    fn start_flush(&self, flush: PendingFlush) {
        self.take(Asked::Flush(flush));
    }
}

fn answer(disk: &mut [u8], asked: Asked, result: io::Result<()>) {
    match asked {
        Asked::Read(offset, mut read) => {
            if result.is_ok() {
                let bytes = read.target().len();
                read.target().put(0, &disk[offset as usize..][..bytes]);
            }
            read.finish(result);
        }
        Asked::Write(offset, write) => {
            if result.is_ok() {
                let bytes = write.source().len();
                write.source().get(0, &mut disk[offset as usize..][..bytes]);
            }
            write.finish(result);
        }
        Asked::Flush(flush) => flush.finish(result),
    }
}

fn open(way: Way) -> (Disk, Arc<AtomicUsize>) {
    let (asked, asks) = channel();
    let synchronous_calls = Arc::new(AtomicUsize::new(0));
    let driver =
        Later { asked: Mutex::new(asked), way, synchronous_calls: synchronous_calls.clone() };
    thread::spawn(move || {
        let mut disk = pattern(BYTES);
        while let Ok(first) = asks.recv() {
            thread::sleep(Duration::from_millis(1));
            let mut batch = vec![first];
            batch.extend(asks.try_iter());
            while let Some(last) = batch.pop() {
                answer(&mut disk, last, Ok(()));
            }
        }
    });
    (OpenOptions::new().write(true).open_driver(driver).unwrap(), synchronous_calls)
}

#[test]
fn what_is_answered_later_and_in_another_order_is_right() {
    let (disk, synchronous_calls) = open(Way::LastFirst);
    let mut expected = pattern(BYTES);
    let queue = disk.queue().unwrap();
    for number in 0..64 {
        let at = number as usize * 700;
        expected[at..at + 600].fill(number as u8);
        let buffer = Buffer::from(vec![number as u8; 600]);
        queue.write(buffer, at as u64, Flags::empty(), number).unwrap();
    }
    queue.flush(64).unwrap();
    queue.submit();
    let mut over = 0;
    while over < 65 {
        over += queue.poll(None, |_, result| result.unwrap()).unwrap();
    }
    let mut back = vec![0; BYTES];
    disk.read_at(&mut back, 0).unwrap();
    assert!(back == expected);
    assert_eq!(synchronous_calls.load(Ordering::SeqCst), 0);
}

#[test]
fn an_answer_before_the_function_returns_is_one() {
    let (disk, _) = open(Way::AtOnce);
    disk.write_at(&[1; 100], 50).unwrap();
    disk.flush().unwrap();
    let mut back = [1; 100];
    disk.read_at(&mut back, 50).unwrap();
    assert_eq!(back, [0; 100]);
}

#[test]
fn what_is_not_answered_or_fails_is_an_error_and_nothing_hangs() {
    for (way, expected) in
        [(Way::Fails, libc::ENOSPC), (Way::Drops, libc::EIO), (Way::Panics, libc::EIO)]
    {
        let (disk, _) = open(way);
        assert_eq!(errno(disk.write_at(&[1; 4096], 0)), expected);
        assert_eq!(errno(disk.write_at(&[1; 100], 5000)), expected);
        assert_eq!(errno(disk.read_at(&mut [0; 100], 0)), expected);
        assert_eq!(errno(disk.flush()), expected);
    }
}

#[test]
fn what_was_asked_for_may_outlive_the_call_on_any_thread() {
    fn any_thread<T: Send + Sync + 'static>() {}
    any_thread::<PendingRead>();
    any_thread::<PendingWrite>();
    any_thread::<PendingFlush>();
}
