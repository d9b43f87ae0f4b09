//! Tests of memory that is registered with a ring.

use std::os::unix::fs::FileExt;

use smallvec::smallvec;

use super::super::fixed::PIECES_MAX;
use super::{file, io, only, reap, Memory, Ring};
use crate::driver::{Io, Op, Segment};

const PAGE: usize = 4096;

fn ring_on(contents: &[u8]) -> Option<(Ring, std::fs::File)> {
    let file = file(contents);
    let ring = Ring::new(only(&file), 4).inspect_err(|error| eprintln!("skipped: {error}")).ok()?;
    Some((ring, file))
}

/// The engine's own way of finding it out, then one I/O.
fn run(ring: &Ring, mut io: Io) -> Result<u64, i32> {
    io.buffer = ring.fixed_buffer(&io);
    ring.submit(&mut vec![io]);
    reap(ring, 1).pop().unwrap().1
}

fn fill(segment: Segment, byte: u8) {
    // SAFETY: the test's own memory.
    unsafe { std::ptr::write_bytes(segment.address as *mut u8, byte, segment.bytes) };
}

/// Where other pages take the place of registered ones, I/O still goes to those.
#[test]
fn the_kernel_uses_the_pages_that_were_registered() {
    let Some((ring, file)) = ring_on(&[5; PAGE]) else { return };
    let (protection, flags) =
        (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    let nowhere = std::ptr::null_mut();
    // SAFETY: new memory.
    let address = unsafe { libc::mmap(nowhere, PAGE, protection, flags, -1, 0) };
    assert_ne!(address, libc::MAP_FAILED);
    let region = Segment { address: address as usize, bytes: PAGE };
    fill(region, 1);
    ring.register_memory(region);
    let write = io(0, Op::Write, 0, smallvec![region]);
    if ring.fixed_buffer(&write).is_none() {
        eprintln!("skipped: the kernel registers no memory here");
        return;
    }
    let again = flags | libc::MAP_FIXED;
    // SAFETY: takes the place of memory that nobody else uses.
    let moved = unsafe { libc::mmap(address, PAGE, protection, again, -1, 0) };
    assert_eq!(moved, address);
    fill(region, 2);
    let byte = || {
        let mut found = [0; PAGE];
        file.read_exact_at(&mut found, 0).unwrap();
        assert_eq!(found, [found[0]; PAGE]);
        found[0]
    };
    assert_eq!(run(&ring, write.clone()), Ok(PAGE as u64));
    assert_eq!(byte(), 1);
    file.write_all_at(&[7; PAGE], 0).unwrap();
    let read = io(0, Op::Read, 0, smallvec![region]);
    assert_eq!(run(&ring, read), Ok(PAGE as u64));
    // It went to the page that the kernel has, which nobody else can see: so back with it.
    assert_eq!(run(&ring, write.clone()), Ok(PAGE as u64));
    assert_eq!(byte(), 7);
    ring.unregister_memory(region);
    assert_eq!(ring.fixed_buffer(&write), None);
    assert_eq!(run(&ring, write), Ok(PAGE as u64));
    assert_eq!(byte(), 2);
    // SAFETY: as mapped above, and not used any more.
    unsafe { libc::munmap(address, PAGE) };
}

#[test]
fn only_one_segment_inside_one_region_is_found() {
    let Some((ring, _file)) = ring_on(&[5; PAGE]) else { return };
    let memory = Memory::new(8 * PAGE, PAGE);
    ring.register_memory(memory.segment(PAGE, 2 * PAGE));
    ring.register_memory(memory.segment(4 * PAGE, 2 * PAGE));
    let place = |from, bytes| {
        let segments = smallvec![memory.segment(from, bytes)];
        ring.fixed_buffer(&io(0, Op::Write, 0, segments))
    };
    if place(PAGE, PAGE).is_none() {
        eprintln!("skipped: the kernel registers no memory here");
        return;
    }
    assert_eq!(place(PAGE, 2 * PAGE), place(2 * PAGE + 7, 100));
    assert_eq!(place(4 * PAGE, 2 * PAGE), place(6 * PAGE - 1, 1));
    assert_ne!(place(PAGE, 1), place(4 * PAGE, 1));
    for (from, bytes) in [(0, PAGE), (0, 2 * PAGE), (2 * PAGE, PAGE + 1), (6 * PAGE, 1)] {
        assert_eq!(place(from, bytes), None);
    }
    let one = memory.segment(PAGE, 512);
    let two = smallvec![one, memory.segment(4 * PAGE, 512)];
    assert_eq!(ring.fixed_buffer(&io(0, Op::Write, 0, two)), None);
    let atomic = Io { atomic: true, ..io(0, Op::Write, 0, smallvec![one]) };
    assert_eq!(ring.fixed_buffer(&atomic), None);
    // Places are used again.
    for _ in 0..2 * PIECES_MAX {
        ring.unregister_memory(memory.segment(PAGE, 2 * PAGE));
        ring.register_memory(memory.segment(PAGE, 2 * PAGE));
    }
    assert!(place(PAGE, PAGE).is_some());
}
