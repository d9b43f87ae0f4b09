//! What a disk in memory holds, without the system calls.

use std::collections::HashMap;
use std::ffi::c_int;
use std::os::fd::RawFd;
use std::sync::atomic::{AtomicU64, Ordering};

use super::Shape;
use crate::sys::Errno;

/// The first descriptor that is handed out: above any real one, so that a call that slips through
/// hits nothing.
pub const FIRST_FD: RawFd = 1 << 28;

/// The page that zram works with.
const PAGE: usize = 4096;

/// What a descriptor leads to.
pub enum Opened {
    /// The object: the flags it was opened with, and how many failed flushes were told here.
    Object(c_int, u32),
    /// The object, with O_PATH.
    Look,
    /// A file in sysfs, with this in it.
    Sysfs(&'static str),
}

pub struct State {
    pub shape: Shape,
    pub(super) identity: u64,
    pub exists: bool,
    /// As reads find it.
    pub data: Vec<u8>,
    /// As a loss of power would leave it at worst; its length is that of the durable object.
    pub durable: Vec<u8>,
    /// By byte: written since it was made durable last.
    dirty: Vec<bool>,
    pub(super) open: HashMap<RawFd, Opened>,
    next_fd: RawFd,
    pub wrongs: Vec<String>,
    /// Flushes that failed.
    lost: u32,
    /// Reads of the object.
    pub reads: usize,
}

impl Default for State {
    fn default() -> State {
        State::new(Shape::file(), Vec::new())
    }
}

impl State {
    pub(super) fn new(shape: Shape, data: Vec<u8>) -> State {
        // No other object is to be taken for the same one.
        static NEXT: AtomicU64 = AtomicU64::new(1);
        State {
            shape,
            identity: NEXT.fetch_add(1, Ordering::Relaxed),
            exists: shape.exists,
            durable: data.clone(),
            dirty: vec![false; data.len()],
            data,
            open: HashMap::new(),
            next_fd: FIRST_FD,
            wrongs: Vec::new(),
            lost: 0,
            reads: 0,
        }
    }

    /// Opens it: the descriptor.
    pub fn insert(&mut self, opened: Opened) -> RawFd {
        let fd = self.next_fd;
        self.next_fd += 1;
        self.open.insert(fd, opened);
        fd
    }

    /// Whether anybody has it open with O_DIRECT.
    pub fn has_direct(&self) -> bool {
        let is_direct = |opened: &Opened| match opened {
            Opened::Object(flags, _) => flags & libc::O_DIRECT != 0,
            Opened::Look | Opened::Sysfs(_) => false,
        };
        self.open.values().any(is_direct)
    }

    pub(super) fn flags(&self, fd: RawFd) -> Result<c_int, Errno> {
        match self.open.get(&fd) {
            Some(Opened::Object(flags, _)) => Ok(*flags),
            _ => Err(libc::EBADF),
        }
    }

    /// The flags of a descriptor through which the object may be changed.
    pub(super) fn admits(&self, fd: RawFd) -> Result<c_int, Errno> {
        assert!(!self.shape.read_only, "nobody may change this disk");
        let flags = self.flags(fd)?;
        if flags & libc::O_ACCMODE == libc::O_RDONLY {
            return Err(libc::EBADF);
        }
        Ok(flags)
    }

    pub(super) fn object(&self, flags: c_int) -> Opened {
        Opened::Object(flags, self.lost)
    }

    /// Whether direct I/O of this form is taken. The elements of the vector: address and bytes.
    pub fn takes(&self, elements: impl Iterator<Item = (usize, usize)>, offset: u64) -> bool {
        let Shape { needs_request, needs_memory, needs_segment, .. } = self.shape;
        let (mut bytes, mut fit) = (0, true);
        for (address, length) in elements {
            bytes += length as u64;
            fit &= address.is_multiple_of(needs_memory) && length.is_multiple_of(needs_segment);
        }
        fit && (offset | bytes).is_multiple_of(needs_request)
    }

    pub(super) fn set_length(&mut self, bytes: usize) {
        self.data.resize(bytes, 0);
        self.dirty.resize(bytes, true);
    }

    /// Puts bytes there; the object is long enough.
    ///
    /// # Safety
    /// They may be read.
    pub unsafe fn take_in(&mut self, at: usize, from: *const u8, bytes: usize) {
        // SAFETY: the caller vouches for the memory.
        let from = unsafe { std::slice::from_raw_parts(from, bytes) };
        self.data[at..at + bytes].copy_from_slice(from);
        self.dirty[at..at + bytes].fill(true);
    }

    /// Gives the bytes from `at` on, as reads find them.
    ///
    /// # Safety
    /// They may be written; where pages are overwritten, so may all of the pages that they touch.
    pub unsafe fn give_out(&self, at: usize, to: *mut u8, bytes: usize) {
        let Shape { overwrites_pages, mixes_pages, blank, blank_bytes, .. } = self.shape;
        let Shape { unsteady_bytes, allocated, .. } = self.shape;
        let steady = unsteady_bytes == 0 && !blank && blank_bytes == 0 && allocated.is_none();
        if steady && !overwrites_pages && !mixes_pages {
            // SAFETY: the caller vouches for the memory.
            unsafe { to.copy_from(self.data[at..at + bytes].as_ptr(), bytes) };
            return;
        }
        let byte = |at: usize| {
            let hole = self.shape.stretch(at as u64, self.data.len()).is_none();
            if hole || blank || (at as u64) < blank_bytes {
                return 0;
            }
            let changes = if (at as u64) < unsteady_bytes { self.reads } else { 0 };
            self.data.get(at).map_or(0, |byte| byte.wrapping_add(changes as u8))
        };
        if !overwrites_pages || self.shape.stretch(at as u64, self.data.len()).is_none() {
            // Where in a block of the data the piece of memory begins that ends with this page.
            let mut piece = at % PAGE;
            for inside in 0..bytes {
                if (to as usize + inside).is_multiple_of(PAGE) {
                    piece = (at + inside) % PAGE;
                }
                let into_page = (to as usize + inside) % PAGE;
                let found = byte(at + inside);
                let strays = mixes_pages && found != 0 && piece + into_page.min(inside) >= PAGE;
                // SAFETY: the caller vouches for these bytes.
                unsafe { to.add(inside).write(if strays { found ^ 0x55 } else { found }) };
            }
            return;
        }
        let mut done = 0;
        while done < bytes {
            let into_page = (to as usize + done) % PAGE;
            let data = (at + done) / PAGE * PAGE;
            for inside in 0..PAGE {
                // SAFETY: the caller vouches for the whole page of each byte.
                unsafe { to.add(done).sub(into_page).add(inside).write(byte(data + inside)) };
            }
            done += PAGE - into_page;
        }
    }

    pub fn zero(&mut self, offset: u64, bytes: u64) {
        let end = offset.saturating_add(bytes).min(self.data.len() as u64) as usize;
        let begin = (offset as usize).min(end);
        self.data[begin..end].fill(0);
        self.dirty[begin..end].fill(true);
    }

    /// What was written there is durable, and so is the length.
    pub(super) fn sync(&mut self, from: usize, to: usize) {
        self.durable.resize(self.data.len(), 0);
        for at in from..to.min(self.data.len()) {
            if self.dirty[at] {
                self.durable[at] = self.data[at];
                self.dirty[at] = false;
            }
        }
    }

    /// A flush by `fd` has failed: Linux forgets what it could not write, and tells every open file
    /// once.
    pub fn lose_dirty(&mut self, fd: RawFd) {
        self.dirty.fill(false);
        self.lost += 1;
        let _ = self.tell_lost(fd);
    }

    pub(super) fn tell_lost(&mut self, fd: RawFd) -> Result<(), Errno> {
        match self.open.get_mut(&fd) {
            Some(Opened::Object(_, told)) if *told < self.lost => {
                *told = self.lost;
                Err(libc::EIO)
            }
            _ => Ok(()),
        }
    }
}
