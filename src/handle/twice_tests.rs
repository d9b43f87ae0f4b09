//! Reads whose vectors name memory more than once, of storage that works in the memory that it has
//! read into.

use super::*;
use crate::driver::Segment;
use crate::proof::disk::{initial, Disk, Shape};
use crate::proof::table::with_calls;

const BLOCK: usize = 4096;

fn opened() -> Handle {
    let disk = Disk::table(Shape { works_in_place: true, ..Shape::device() });
    let options = Options { direct: true, engine: EngineKind::Threads, ..Options::default() };
    with_calls(disk, || Handle::open(c"/simulated", &options)).expect("open")
}

/// Reads from `offset` on into these parts of `memory`, each its first byte and its length.
fn read(handle: &Handle, offset: usize, memory: &mut [u8], parts: &[(usize, usize)]) {
    let base = memory.as_mut_ptr().addr();
    let segments = parts.iter().map(|&(at, bytes)| Segment { address: base + at, bytes });
    let submission = Submission {
        op: Op::Read,
        flags: RequestFlags::default(),
        guest_block: 0,
        offset: offset as u64,
        bytes: parts.iter().map(|part| part.1 as u64).sum(),
        segments: segments.collect(),
    };
    handle.run(submission).expect("a read");
}

fn holds(memory: &[u8], offset: usize) -> bool {
    memory.iter().zip(offset..).all(|(byte, at)| *byte == initial(at))
}

/// Memory that begins at a page.
fn pages(count: usize) -> (Vec<u8>, usize) {
    let memory = vec![0; (count + 1) * BLOCK];
    let skip = memory.as_ptr().align_offset(BLOCK);
    (memory, skip)
}

#[test]
fn memory_that_is_read_into_twice_gets_the_later_bytes_and_all_other_memory_its_own() {
    let handle = opened();
    for offset in [0, 1024, 700] {
        let (mut memory, skip) = pages(3);
        let memory = &mut memory[skip..];
        let parts = [(0, BLOCK), (BLOCK, BLOCK), (BLOCK, BLOCK), (2 * BLOCK, BLOCK)];
        read(&handle, offset, memory, &parts);
        assert!(holds(&memory[..BLOCK], offset));
        assert!(holds(&memory[BLOCK..2 * BLOCK], offset + 2 * BLOCK));
        assert!(holds(&memory[2 * BLOCK..3 * BLOCK], offset + 3 * BLOCK));
    }
    // Overlapping in part: 512 bytes of the first are the second's.
    let (mut memory, skip) = pages(2);
    let memory = &mut memory[skip..];
    read(&handle, BLOCK, memory, &[(0, BLOCK), (BLOCK - 512, BLOCK)]);
    assert!(holds(&memory[..BLOCK - 512], BLOCK));
    assert!(holds(&memory[BLOCK - 512..2 * BLOCK - 512], 2 * BLOCK));
    assert!(Box::new(handle).close().is_ok());
}

#[test]
fn only_elements_that_share_memory_are_copied() {
    let handle = opened();
    let (mut memory, skip) = pages(3);
    read(&handle, 0, &mut memory[skip..], &[(BLOCK, BLOCK), (0, BLOCK), (2 * BLOCK, BLOCK)]);
    assert_eq!((handle.stats().zero_copy, handle.stats().bounced), (1, 0));
    read(&handle, 0, &mut memory[skip..], &[(BLOCK, BLOCK), (0, BLOCK), (BLOCK, BLOCK)]);
    assert_eq!((handle.stats().zero_copy, handle.stats().bounced), (1, 1));
    assert_eq!(handle.stats().storage_reads, 2);
    assert!(Box::new(handle).close().is_ok());
}
