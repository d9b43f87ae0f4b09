//! Tests of the ring with real I/O on small files.

mod bench;
mod fixed;
mod threads;

use std::alloc::{alloc_zeroed, dealloc, Layout};
use std::fs::File;
use std::os::fd::{AsRawFd, FromRawFd};
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use smallvec::smallvec;

use super::{Files, Ring};
use crate::driver::{Io, IoId, Op, Segment, Segments, Slot};

/// Memory that I/O goes to and from, at an alignment.
pub struct Memory {
    address: usize,
    layout: Layout,
}

impl Memory {
    pub fn new(bytes: usize, alignment: usize) -> Memory {
        let layout = Layout::from_size_align(bytes, alignment).unwrap();
        // SAFETY: the tests want some bytes, never none.
        let address = unsafe { alloc_zeroed(layout) } as usize;
        assert_ne!(address, 0);
        Memory { address, layout }
    }

    pub fn segment(&self, from: usize, bytes: usize) -> Segment {
        assert!(from + bytes <= self.layout.size());
        Segment { address: self.address + from, bytes }
    }

    pub fn all(&self) -> Segment {
        self.segment(0, self.layout.size())
    }

    fn set(&self, bytes: &[u8]) {
        assert!(bytes.len() <= self.layout.size());
        // SAFETY: inside, and no I/O is under way there.
        unsafe { std::ptr::copy(bytes.as_ptr(), self.address as *mut u8, bytes.len()) };
    }

    pub fn get(&self) -> Vec<u8> {
        // SAFETY: all of it was zeroed, and no I/O is under way there.
        unsafe { std::slice::from_raw_parts(self.address as *const u8, self.layout.size()) }
            .to_vec()
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: as allocated.
        unsafe { dealloc(self.address as *mut u8, self.layout) };
    }
}

pub fn io(slot: u32, op: Op, offset: u64, segments: Segments) -> Io {
    Io {
        bytes: segments.iter().map(|segment| segment.bytes as u64).sum(),
        segments,
        ..Io::new(IoId { slot: Slot(slot), part: 0 }, op, offset)
    }
}

/// One file for everything.
pub fn only(file: &File) -> Files {
    Files { main: file.as_raw_fd(), flush: file.as_raw_fd(), limited: true }
}

/// A file that is gone after the test.
pub fn file(contents: &[u8]) -> File {
    let directory = std::ffi::CString::new(std::env::temp_dir().to_str().unwrap()).unwrap();
    let flags = libc::O_TMPFILE | libc::O_RDWR | libc::O_CLOEXEC;
    // SAFETY: a C string.
    let fd = unsafe { libc::open(directory.as_ptr(), flags, 0o600) };
    assert!(fd >= 0, "{}", std::io::Error::last_os_error());
    // SAFETY: just opened.
    let file = unsafe { File::from_raw_fd(fd) };
    file.write_all_at(contents, 0).unwrap();
    file
}

pub fn byte_of(at: usize) -> u8 {
    (at / 512 % 251) as u8
}

pub fn pattern(bytes: usize) -> Vec<u8> {
    (0..bytes).map(byte_of).collect()
}

pub type Done = Vec<(Io, Result<u64, i32>)>;

/// Reaps until there are `count`.
pub fn reap(ring: &Ring, count: usize) -> Done {
    let mut done = Done::new();
    let begin = Instant::now();
    while done.len() < count {
        assert!(begin.elapsed() < Duration::from_secs(20), "{} of {count}", done.len());
        ring.wait(Some(Duration::from_secs(1)));
        let missing = count - done.len();
        ring.reap(&mut done, missing);
    }
    assert_eq!(done.len(), count);
    done
}

/// One I/O, from beginning to end.
pub fn run(ring: &Ring, io: Io) -> Result<u64, i32> {
    ring.submit(&mut vec![io]);
    reap(ring, 1)[0].1
}

/// Reads the file in pieces of 512 bytes, all at once.
fn read_in_pieces(entries: usize, max: usize) {
    const PIECES: usize = 300;
    let file = file(&pattern(PIECES * 512));
    let ring = Ring::new(only(&file), entries).unwrap();
    let memory = Memory::new(PIECES * 512, 512);
    let read = |i: usize| {
        let segments = smallvec![memory.segment(i * 512, 512)];
        io(i as u32, Op::Read, i as u64 * 512, segments)
    };
    let mut ios: Vec<Io> = (0..PIECES).map(read).collect();
    ring.submit(&mut ios);
    assert!(ios.is_empty());
    let mut done = Done::new();
    while done.len() < PIECES {
        ring.wait(None);
        let before = done.len();
        let count = ring.reap(&mut done, max);
        assert_eq!(count, done.len() - before);
        assert!(count <= max);
    }
    let mut seen: Vec<u32> = done.iter().map(|(io, _)| io.id.slot.0).collect();
    if entries == 1 {
        assert!(seen.is_sorted(), "with one place they go in order");
    }
    seen.sort_unstable();
    assert_eq!(seen, (0..PIECES as u32).collect::<Vec<_>>());
    assert!(done.iter().all(|(_, result)| *result == Ok(512)));
    assert!(memory.get() == pattern(PIECES * 512));
    assert_eq!(ring.reap(&mut done, usize::MAX), 0);
}

#[test]
fn a_batch_larger_than_the_ring_is_done_completely() {
    read_in_pieces(8, usize::MAX);
    read_in_pieces(7, 3);
}

#[test]
fn a_ring_of_one_place_does_one_after_the_other() {
    read_in_pieces(1, usize::MAX);
}

#[test]
fn more_places_than_allowed_are_cut_down() {
    read_in_pieces(1 << 20, usize::MAX);
}

#[test]
fn vectors_short_and_long_reach_the_kernel_whole() {
    let file = file(&pattern(64 * 512));
    let ring = Ring::new(only(&file), 4).unwrap();
    for count in [1, 2, 4, 5, 64] {
        let memory = Memory::new(64 * 512, 512);
        // Backwards, so that the order of the elements shows.
        let segments: Segments = (0..count).rev().map(|i| memory.segment(i * 512, 512)).collect();
        assert_eq!(run(&ring, io(0, Op::Read, 0, segments)), Ok(count as u64 * 512));
        let read = memory.get();
        for i in 0..count {
            assert!(read[i * 512..][..512]
                .iter()
                .all(|byte| *byte == byte_of((count - 1 - i) * 512)));
        }
    }
}

#[test]
fn writes_and_flushes_reach_the_file() {
    let file = file(&pattern(8192));
    let ring = Ring::new(only(&file), 4).unwrap();
    let memory = Memory::new(1024, 512);
    memory.set(&[0xAB; 1024]);
    assert_eq!(run(&ring, io(0, Op::Write, 512, smallvec![memory.segment(0, 512)])), Ok(512));
    let mut fua =
        io(0, Op::Write, 4096, smallvec![memory.segment(0, 512), memory.segment(512, 512)]);
    fua.fua = true;
    assert_eq!(run(&ring, fua), Ok(1024));
    let mut fua = io(0, Op::Write, 6144, smallvec![memory.segment(0, 512)]);
    fua.fua = true;
    assert_eq!(run(&ring, fua), Ok(512));
    assert_eq!(run(&ring, io(0, Op::Flush, 0, smallvec![])), Ok(0));
    let mut expected = pattern(8192);
    expected[512..1024].fill(0xAB);
    expected[4096..5120].fill(0xAB);
    expected[6144..6656].fill(0xAB);
    let mut read = vec![0; 8192];
    file.read_exact_at(&mut read, 0).unwrap();
    assert!(read == expected);
}

#[test]
fn a_read_over_the_end_is_short() {
    let file = file(&pattern(700));
    let ring = Ring::new(only(&file), 4).unwrap();
    let memory = Memory::new(1024, 512);
    assert_eq!(run(&ring, io(0, Op::Read, 0, smallvec![memory.all()])), Ok(700));
    assert_eq!(run(&ring, io(0, Op::Read, 1024, smallvec![memory.all()])), Ok(0));
}

#[test]
fn errors_come_back_as_errno() {
    let file = file(&pattern(4096));
    let read_only = File::open(format!("/proc/self/fd/{}", file.as_raw_fd())).unwrap();
    let ring = Ring::new(only(&read_only), 4).unwrap();
    let memory = Memory::new(512, 512);
    let all = || smallvec![memory.all()];
    assert_eq!(run(&ring, io(0, Op::Write, 0, all())), Err(libc::EBADF));
    assert_eq!(run(&ring, io(0, Op::Read, u64::MAX / 2 + 1, all())), Err(libc::EINVAL));
    let nowhere = smallvec![Segment { address: 4096, bytes: 512 }];
    assert_eq!(run(&ring, io(0, Op::Read, 0, nowhere)), Err(libc::EFAULT));
    // A bad one does not stop those behind it.
    let bad = io(0, Op::Write, 0, all());
    ring.submit(&mut vec![io(1, Op::Read, 0, all()), bad.clone(), io(2, Op::Read, 0, all()), bad]);
    let mut done = reap(&ring, 4);
    done.sort_by_key(|(io, _)| io.id.slot);
    let results: Vec<_> = done.into_iter().map(|(_, result)| result).collect();
    assert_eq!(results, [Err(libc::EBADF), Err(libc::EBADF), Ok(512), Ok(512)]);
}

#[test]
fn flushes_go_to_a_file_of_their_own() {
    let main = file(&pattern(512));
    let event = Event::new();
    // An eventfd can be read, but not flushed.
    let (main_fd, flush) = (main.as_raw_fd(), event.0.as_raw_fd());
    let ring = Ring::new(Files { main: main_fd, flush, limited: true }, 4).unwrap();
    let memory = Memory::new(512, 512);
    assert_eq!(run(&ring, io(0, Op::Write, 0, smallvec![memory.all()])), Ok(512));
    assert_eq!(run(&ring, io(0, Op::Flush, 0, smallvec![])), Err(libc::EINVAL));
}

#[test]
fn waiting_ends_when_the_time_is_over() {
    let file = file(&[]);
    let ring = Ring::new(only(&file), 4).unwrap();
    let begin = Instant::now();
    ring.wait(Some(Duration::from_millis(20)));
    assert!(begin.elapsed() >= Duration::from_millis(20));
    ring.wait(Some(Duration::ZERO));
}

#[test]
fn a_wake_before_the_wait_is_not_lost() {
    let file = file(&[]);
    let ring = Ring::new(only(&file), 1).unwrap();
    ring.wake();
    ring.wait(None);
}

/// An eventfd.
pub struct Event(pub File);

impl Event {
    pub fn new() -> Event {
        // SAFETY: plain numbers.
        let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
        assert!(fd >= 0);
        // SAFETY: just opened.
        Event(unsafe { File::from_raw_fd(fd) })
    }

    /// Waits until it is signalled, and takes the signal.
    pub fn wait(&self) {
        let mut poll = libc::pollfd { fd: self.0.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: one pollfd.
        while unsafe { libc::poll(&mut poll, 1, 20_000) } < 0 {}
        assert!(self.take(), "not signalled in time");
    }

    pub fn take(&self) -> bool {
        use std::io::Read;
        (&self.0).read(&mut [0; 8]).is_ok()
    }
}

#[test]
fn the_eventfd_is_signalled_for_each_thing_to_reap() {
    let file = file(&pattern(65536));
    let ring = Ring::new(only(&file), 2).unwrap();
    let memory = Memory::new(512, 512);
    let read = || io(0, Op::Read, 0, smallvec![memory.all()]);
    let (first, second) = (Event::new(), Event::new());
    ring.register_eventfd(first.0.as_raw_fd()).unwrap();
    assert!(!first.take());
    let mut done = Done::new();
    for round in 1..=100 {
        ring.submit(&mut vec![read(), read(), read(), read(), read()]);
        while done.len() < round * 5 {
            first.wait();
            while ring.reap(&mut done, 2) == 2 {}
        }
    }
    // What is there already counts, too; and another eventfd may take the place of the first.
    ring.submit(&mut vec![read()]);
    first.wait();
    ring.register_eventfd(second.0.as_raw_fd()).unwrap();
    second.wait();
    assert_eq!(ring.reap(&mut done, 9), 1);
    assert!(ring.register_eventfd(-1).is_err());
}
