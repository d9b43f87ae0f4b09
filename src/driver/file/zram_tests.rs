//! A disk that claims less than it needs: zram of Linux 6.18 takes vectors whose elements are no
//! whole pages, and moves wrong bytes. What the driver reports must be what really works here, on
//! kernels with that fault and on those without.

use std::ops::Range;

use crate::probe::{Limits, Source};
use crate::proof::disk::testbed::{or_skip, Zram};

use super::tests::{expect_direct_io, io, open, DIRECT};
use super::*;
use crate::driver::*;

const PAGE: usize = 4096;
const BLOCK: u32 = 4096;
/// From the begin of one element's first page to that of the next one's.
const STRIDE: usize = 4 * PAGE;

/// Pages for a vector of up to four elements, filled with `FILL` where nothing else was written.
#[repr(align(4096))]
struct Memory([u8; 4 * STRIDE]);
const FILL: u8 = 0xa5;

/// Elements of these lengths, each so far behind the begin of a page of its own.
fn places(lengths: &[usize], into_page: usize) -> Vec<Range<usize>> {
    let begins = (0..).map(|index| index * STRIDE + PAGE + into_page);
    begins.zip(lengths).map(|(begin, bytes)| begin..begin + bytes).collect()
}

fn perform(driver: &FileDriver, op: Op, offset: u64, memory: &mut [u8], at: &[Range<usize>]) {
    let segment = |at: &Range<usize>| Segment {
        address: memory.as_ptr() as usize + at.start,
        bytes: at.len(),
    };
    let bytes: usize = at.iter().map(Range::len).sum();
    let segments = at.iter().map(segment).collect();
    let io = Io { segments, bytes: bytes as u64, ..io(op, Lane::Main, offset, memory) };
    assert_eq!(driver.perform(&io), Ok(bytes as u64));
}

/// Whether bytes written from such a vector come back, and come back into such a vector with
/// nothing around it harmed.
fn vectors_work(driver: &FileDriver, lengths: &[usize], into_page: usize) -> bool {
    let bytes: usize = lengths.iter().sum();
    let content: Vec<u8> = (0..bytes).map(|at| (at % 251) as u8).collect();
    let places = places(lengths, into_page);
    let mut image = Box::new(Memory([FILL; 4 * STRIDE]));
    let mut from = content.iter();
    for place in &places {
        image.0[place.clone()].iter_mut().zip(&mut from).for_each(|(to, from)| *to = *from);
    }
    let offset = 3 * u64::from(BLOCK);
    perform(driver, Op::Write, offset, &mut image.0, &places);
    let mut read = Box::new(Memory([FILL; 4 * STRIDE]));
    let whole = PAGE..PAGE + bytes;
    perform(driver, Op::Read, offset, &mut read.0, std::slice::from_ref(&whole));
    let written_right = read.0[whole] == content;
    read.0.fill(FILL);
    perform(driver, Op::Read, offset, &mut read.0, &places);
    written_right && read.0 == image.0
}

/// Of `bytes` in all: [segment][rest][segment], or whole blocks.
fn lengths(segment: usize) -> Vec<usize> {
    match PAGE.saturating_sub(2 * segment) {
        0 => vec![segment; 2],
        rest => vec![segment, rest, segment],
    }
}

#[test]
fn a_ram_disk_is_driven_in_whole_blocks() {
    let Some(disk) = or_skip(Zram::new(64 << 20)) else { return };
    let driver = open(disk.path(), &DIRECT).unwrap();
    let limits = driver.limits();
    assert_eq!((limits.alignments.request, limits.logical_block_size), (u64::from(BLOCK), BLOCK));
    assert_eq!(driver.length(), Ok(64 << 20));
    expect_direct_io(&driver, 8192);
}

#[track_caller]
fn expect_what_works(driver: &FileDriver, limits: &Limits) {
    let (mem, segment) = (limits.alignments.memory, limits.alignments.segment);
    assert!(vectors_work(driver, &lengths(segment), mem));
    if !vectors_work(driver, &[PAGE], 512) {
        assert_eq!((mem, limits.sources.memory), (PAGE, Source::Default));
    }
    if !vectors_work(driver, &[512, 512, 3072], 0) {
        assert_eq!((segment, limits.sources.segment), (PAGE, Source::Default));
    }
}

#[test]
fn what_is_reported_of_a_ram_disk_works_and_what_does_not_work_is_not_reported() {
    let Some(disk) = or_skip(Zram::new(64 << 20)) else { return };
    let driver = open(disk.path(), &DIRECT).unwrap();
    // Nothing was written yet: the disk reads as zeros.
    let blank = driver.limits().clone();
    expect_what_works(&driver, &blank);
    // Now block 3 holds data, and then all blocks that a trial may read.
    let mut memory = Box::new(Memory([FILL; 4 * STRIDE]));
    let all = 0..4 * STRIDE;
    perform(&driver, Op::Write, 0, &mut memory.0, std::slice::from_ref(&all));
    let again = driver.reopen(&DIRECT).unwrap();
    assert_eq!(again.limits(), &blank);
}
