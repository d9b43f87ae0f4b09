//! For tests: what `Ram` has in memory, without the system calls.

use std::collections::HashMap;
use std::ffi::c_int;
use std::os::fd::RawFd;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::sys::Errno;

/// Above any real descriptor, so that a call that slips through hits nothing.
const FIRST_FD: RawFd = 1 << 28;

/// What it is and says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    pub device: bool,
    pub bytes: usize,
    /// It is there from the start.
    pub exists: bool,
    /// It can be opened with O_DIRECT.
    pub direct: bool,
    /// Offset and length of direct I/O.
    pub block: u32,
    /// The longest atomic write; 0: none.
    pub atomic_max: u32,
    /// Knows RWF_DSYNC.
    pub dsync: bool,
}

impl Shape {
    /// Ends 100 bytes into its last block.
    pub fn file() -> Shape {
        Shape {
            device: false,
            bytes: 15 * 4096 + 100,
            exists: true,
            direct: true,
            block: 4096,
            atomic_max: 0,
            dsync: true,
        }
    }

    pub fn device() -> Shape {
        Shape { device: true, bytes: 16 * 4096, ..Shape::file() }
    }
}

pub(super) enum Opened {
    /// Its flags, and how many failed flushes it was told of.
    Object(c_int, u32),
    /// With O_PATH.
    Look,
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
    pub(super) dirty: Vec<bool>,
    pub(super) open: HashMap<RawFd, Opened>,
    next_fd: RawFd,
    pub wrongs: Vec<String>,
    /// Flushes that failed.
    lost: u32,
}

/// What it holds at first; no two blocks are equal.
pub fn initial(offset: usize) -> u8 {
    1 + ((offset % 241) ^ (offset >> 12)) as u8 % 127
}

impl State {
    pub(super) fn new(shape: Shape) -> State {
        // No other object is to be taken for the same one.
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let bytes = if shape.exists { shape.bytes } else { 0 };
        let data: Vec<u8> = (0..bytes).map(initial).collect();
        State {
            shape,
            identity: NEXT.fetch_add(1, Ordering::Relaxed),
            exists: shape.exists,
            durable: data.clone(),
            dirty: vec![false; bytes],
            data,
            open: HashMap::new(),
            next_fd: FIRST_FD,
            wrongs: Vec::new(),
            lost: 0,
        }
    }

    pub(super) fn insert(&mut self, opened: Opened) -> RawFd {
        self.next_fd += 1;
        self.open.insert(self.next_fd, opened);
        self.next_fd
    }

    pub(super) fn flags(&self, fd: RawFd) -> Result<c_int, Errno> {
        match self.open.get(&fd) {
            Some(Opened::Object(flags, _)) => Ok(*flags),
            _ => Err(libc::EBADF),
        }
    }

    pub(super) fn set_length(&mut self, bytes: usize) {
        self.data.resize(bytes, 0);
        self.dirty.resize(bytes, true);
    }

    /// All that was written is durable.
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

    pub(super) fn object(&self, flags: c_int) -> Opened {
        Opened::Object(flags, self.lost)
    }

    pub(super) fn zero(&mut self, offset: i64, bytes: i64) {
        let from = (offset as usize).min(self.data.len());
        let to = (offset as usize).saturating_add(bytes as usize).min(self.data.len());
        self.data[from..to].fill(0);
        self.dirty[from..to].fill(true);
    }

    /// What direct I/O has to be aligned to; None: it is.
    pub(super) fn misaligned(&self, flags: c_int, iov: &[libc::iovec], offset: i64) -> bool {
        let block = self.shape.block as usize;
        let bytes: usize = iov.iter().map(|element| element.iov_len).sum();
        let odd = |element: &libc::iovec| {
            !(element.iov_base as usize | element.iov_len).is_multiple_of(512)
        };
        flags & libc::O_DIRECT != 0
            && (!(offset as usize | bytes).is_multiple_of(block) || iov.iter().any(odd))
    }

    pub(super) fn admits(&self, fd: RawFd) -> Result<c_int, Errno> {
        let flags = self.flags(fd)?;
        if flags & libc::O_ACCMODE == libc::O_RDONLY {
            return Err(libc::EBADF);
        }
        Ok(flags)
    }
}
