//! Storage whose blocks are larger than it says, which shows only where something was written: a
//! loop device of 512-byte sectors over a sparse file, on a disk with blocks of 4096 (Linux 5.10).

use parking_lot::Mutex;

use super::*;
use crate::driver::Segment;
use crate::proof::disk::hooked::{Bed, Hook, Hooked, Real, SystemCall, ALL};
use crate::proof::disk::{Disk, Shape};
use crate::proof::table::with_calls;
use crate::sys::Errno;

const BLOCK: u64 = 4096;
const BLOCKS: usize = 64;

/// What is behind such a device.
struct Sparse {
    /// By block: it was written.
    written: Mutex<[bool; BLOCKS]>,
    /// The disk below is broken, and fails all writes.
    broken: bool,
}

impl Hook for Sparse {
    fn call(&self, call: SystemCall<'_>, real: Real<'_>) -> Result<i64, Errno> {
        let (SystemCall::Read { iov, offset, .. } | SystemCall::Write { iov, offset, .. }) = call
        else {
            return real(ALL);
        };
        let bytes: usize = iov.iter().map(|element| element.iov_len).sum();
        let whole = (offset | bytes as u64).is_multiple_of(BLOCK);
        let blocks = (offset / BLOCK) as usize..(offset + bytes as u64).div_ceil(BLOCK) as usize;
        let mut written = self.written.lock();
        let is_write = matches!(call, SystemCall::Write { .. });
        let hole = !is_write && !written[blocks.clone()].contains(&true);
        if !(whole || hole) || (is_write && self.broken) {
            return Err(libc::EIO);
        }
        if is_write {
            written[blocks].fill(true);
        }
        real(ALL)
    }
}

fn opened(broken: bool) -> Handle {
    let disk = Disk::table(Shape::device());
    let shape = Shape { read_only: false, ..Shape::silent_device(512) };
    disk.reset_to(shape, vec![0; BLOCKS * BLOCK as usize]);
    let table =
        Hooked::table(Bed::Disk(disk), Sparse { written: Mutex::new([false; BLOCKS]), broken });
    let options =
        Options { writable: true, direct: true, engine: EngineKind::Threads, ..Options::default() };
    with_calls(table, || Handle::open(c"/simulated", &options)).expect("open")
}

fn run(handle: &Handle, op: Op, offset: u64, memory: &mut [u8]) -> Result<(), i32> {
    let segment = Segment { address: memory.as_mut_ptr().addr(), bytes: memory.len() };
    let submission = Submission {
        op,
        flags: RequestFlags::default(),
        guest_block: 0,
        offset,
        bytes: memory.len() as u64,
        segments: smallvec![segment],
    };
    handle.run(submission).map_err(|error| error.errno)
}

#[test]
fn a_write_that_fails_over_a_hole_is_made_with_a_larger_block() {
    let handle = opened(false);
    assert_eq!(handle.limits().alignments.request, 512);
    assert_eq!(run(&handle, Op::Write, 512, &mut [7; 512]), Ok(()));
    assert_eq!(handle.limits().alignments.request, BLOCK);
    assert_eq!(run(&handle, Op::Write, 5 * BLOCK - 512, &mut [8; 1024]), Ok(()));
    let mut found = [1; 2048];
    assert_eq!(run(&handle, Op::Read, 0, &mut found), Ok(()));
    assert_eq!(found.to_vec(), [[0; 512], [7; 512], [0; 512], [0; 512]].concat());
    assert_eq!(handle.stats().probe_repairs, 1);
    assert!(Box::new(handle).close().is_ok());
}

#[test]
fn a_disk_that_fails_all_writes_keeps_its_block() {
    let handle = opened(true);
    for offset in [512, 9216] {
        assert_eq!(run(&handle, Op::Write, offset, &mut [7; 512]), Err(libc::EIO));
        assert_eq!((handle.limits().alignments.request, handle.stats().probe_repairs), (512, 0));
    }
    assert!(Box::new(handle).close().is_ok());
}
