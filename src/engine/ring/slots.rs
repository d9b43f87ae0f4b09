//! Where a ring's I/Os lie while the kernel has them. Knows nothing of locks and queues.
//!
//! Each slot has one owner at a time, and ownership goes round in a circle: the list of free
//! slots, the thread that puts an I/O in, the kernel, the thread that took the slot's completion
//! off the ring, the list again. An I/O does not move while it is in its slot, so the kernel may
//! read the vector of segments there, which a short vector keeps inside the `Io` itself.

use std::cell::UnsafeCell;
use std::mem::MaybeUninit;
use std::os::fd::RawFd;

use io_uring::{opcode, squeue, types};

use crate::driver::{Io, Op, Segment};
use crate::sync::atomic::{AtomicBool, Ordering};

/// Most bytes that Linux moves with one call (MAX_RW_COUNT); the rest is a short result.
const TRANSFER_MAX: usize = 0x7fff_f000;

pub struct Slots {
    slots: Box<[Slot]>,
}

struct Slot {
    io: UnsafeCell<MaybeUninit<Io>>,
    /// There is an I/O in the slot. Release when it is put in, Acquire when it is taken out, so
    /// that the thread that takes the I/O out sees all of it. The two threads also meet in the
    /// kernel, but the language's rules do not know of that.
    full: AtomicBool,
    /// The I/O is at the kernel for the second time. Relaxed: only the slot's owner looks at it.
    repeated: AtomicBool,
}

// SAFETY: a slot is touched by its owner only, see above, and an `Io` may change threads.
unsafe impl Sync for Slots {}

impl Slots {
    pub fn new(count: usize) -> Slots {
        let slot = |_| Slot {
            io: UnsafeCell::new(MaybeUninit::uninit()),
            full: AtomicBool::new(false),
            repeated: AtomicBool::new(false),
        };
        Slots { slots: (0..count).map(slot).collect() }
    }

    pub fn count(&self) -> usize {
        self.slots.len()
    }

    /// Puts `io` in, and gives what the kernel is to be told of it.
    ///
    /// # Safety
    /// The slot is empty and the caller's: it came from the list of free ones.
    pub unsafe fn put(&self, slot: u32, io: Io, file: File) -> squeue::Entry {
        let place = &self.slots[slot as usize];
        assert!(!place.full.load(Ordering::Relaxed), "a slot in use was free");
        // SAFETY: no other thread has the slot.
        let io = unsafe { (*place.io.get()).write(io) };
        let entry = entry(io, file).user_data(u64::from(slot));
        place.repeated.store(false, Ordering::Relaxed);
        place.full.store(true, Ordering::Release);
        entry
    }

    /// Whether an I/O that ended with EFAULT must be sent to the kernel again. EFAULT may mean bad
    /// memory; or the I/O was buffered and waited for a page, and the thread that submitted it
    /// ended meanwhile. An I/O that ends so for the second time has bad memory.
    pub fn must_repeat(&self, slot: u32) -> bool {
        !self.slots[slot as usize].repeated.swap(true, Ordering::Relaxed)
    }

    /// What the kernel is to be told the second time: to use a thread of its own, which does not
    /// end.
    ///
    /// # Safety
    /// There is an I/O in the slot, and the kernel has done with it.
    pub unsafe fn repeat(&self, slot: u32, file: File) -> squeue::Entry {
        let place = &self.slots[slot as usize];
        assert!(place.full.load(Ordering::Acquire) && place.repeated.load(Ordering::Relaxed));
        // SAFETY: there is an I/O, and it stays where it is.
        let io = unsafe { (*place.io.get()).assume_init_ref() };
        entry(io, file).user_data(u64::from(slot)).flags(squeue::Flags::ASYNC)
    }

    /// Takes the I/O out again.
    ///
    /// # Safety
    /// The kernel has done with the slot or never got it, and the caller alone knows that.
    pub unsafe fn take(&self, slot: u32) -> Io {
        let place = &self.slots[slot as usize];
        assert!(place.full.load(Ordering::Acquire), "an I/O was done twice");
        // SAFETY: there is an I/O, and no other thread has the slot.
        let io = unsafe { (*place.io.get()).assume_init_read() };
        place.full.store(false, Ordering::Relaxed);
        io
    }
}

/// A handle's descriptors.
#[derive(Clone, Copy)]
pub struct Files {
    /// For reads and writes.
    pub main: RawFd,
    /// For flushes.
    pub flush: RawFd,
    /// Writes to it may pass RLIMIT_FSIZE: it is a regular file.
    pub limited: bool,
}

/// How the kernel is told which file.
#[derive(Clone, Copy)]
pub enum File {
    /// By its place in the ring's table of files, which has `Files` in order.
    Registered,
    Plain(Files),
}

/// `io` in the kernel's form, which points into `io`.
fn entry(io: &Io, file: File) -> squeue::Entry {
    let (files, flags) = match file {
        File::Registered => {
            (Files { main: 0, flush: 1, limited: false }, squeue::Flags::FIXED_FILE)
        }
        File::Plain(files) => (files, squeue::Flags::empty()),
    };
    let fd = types::Fd(files.main);
    let vector = io.segments.as_ptr().cast::<libc::iovec>();
    const _: () = assert!(size_of::<Segment>() == size_of::<libc::iovec>());
    let count = io.segments.len() as u32;
    let flag = |set: bool, flag: i32| if set { flag } else { 0 };
    let how = flag(io.fua, libc::RWF_DSYNC) | flag(io.atomic, libc::RWF_ATOMIC);
    let entry = match (io.op, io.segments.as_slice()) {
        (Op::Read | Op::Write, &[segment]) if io.buffer.is_some() => {
            return fixed_entry(io, segment, how, fd).flags(flags);
        }
        (Op::Read, &[segment]) => {
            let bytes = segment.bytes.min(TRANSFER_MAX) as u32;
            opcode::Read::new(fd, segment.address as *mut u8, bytes).offset(io.offset).build()
        }
        (Op::Write, &[segment]) => {
            let bytes = segment.bytes.min(TRANSFER_MAX) as u32;
            opcode::Write::new(fd, segment.address as *const u8, bytes)
                .offset(io.offset)
                .rw_flags(how)
                .build()
        }
        (Op::Read, _) => opcode::Readv::new(fd, vector, count).offset(io.offset).build(),
        (Op::Write, _) => {
            opcode::Writev::new(fd, vector, count).offset(io.offset).rw_flags(how).build()
        }
        (Op::WriteZeroes | Op::Discard | Op::Truncate | Op::Length, _)
        | (Op::Fill | Op::Populate | Op::SaveMap, _) => {
            unreachable!("carried out by a thread")
        }
        (Op::Flush, _) => {
            let fd = types::Fd(files.flush);
            opcode::Fsync::new(fd).flags(types::FsyncFlags::DATASYNC).build()
        }
    };
    entry.flags(flags)
}

/// As `entry`, for memory that the kernel has mapped before.
fn fixed_entry(io: &Io, segment: Segment, how: i32, fd: types::Fd) -> squeue::Entry {
    let bytes = segment.bytes.min(TRANSFER_MAX) as u32;
    let place = io.buffer.unwrap_or_default();
    if io.op == Op::Read {
        let address = segment.address as *mut u8;
        return opcode::ReadFixed::new(fd, address, bytes, place).offset(io.offset).build();
    }
    let address = segment.address as *const u8;
    opcode::WriteFixed::new(fd, address, bytes, place).offset(io.offset).rw_flags(how).build()
}
