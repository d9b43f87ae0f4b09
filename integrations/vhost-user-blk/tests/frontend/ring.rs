//! The driver's side of a split virtqueue, built by hand: it can also be built wrong.

use std::sync::atomic::{fence, AtomicU16, Ordering};
use std::sync::Arc;
use std::time::{Duration, Instant};

use vmm_sys_util::eventfd::{EventFd, EFD_CLOEXEC, EFD_NONBLOCK};

use super::memory::{Memory, GUEST_BASE};

pub const NEXT: u16 = 1;
pub const WRITE: u16 = 2;
pub const INDIRECT: u16 = 4;

/// Of guest memory for each queue: table, available ring and used ring.
pub const RING_BYTES: u64 = 0x8000;

pub struct Ring {
    pub memory: Arc<Memory>,
    pub size: u16,
    pub kick: EventFd,
    pub call: EventFd,
    pub err: EventFd,
    start: u64,
    event_idx: bool,
    available: u16,
    /// The available index when the device was last asked whether it wants a kick.
    kicked: u16,
    used: u16,
    pub kicks: u64,
    pub calls: u64,
}

impl Ring {
    /// The queue number `index`: its memory is at the front of guest memory.
    pub fn new(memory: Arc<Memory>, index: u64, size: u16, event_idx: bool) -> Ring {
        let event = || EventFd::new(EFD_NONBLOCK | EFD_CLOEXEC).unwrap();
        let start = GUEST_BASE + index * RING_BYTES;
        memory.write(start, &[0; RING_BYTES as usize]);
        Ring {
            memory,
            size,
            kick: event(),
            call: event(),
            err: event(),
            start,
            event_idx,
            available: 0,
            kicked: 0,
            used: 0,
            kicks: 0,
            calls: 0,
        }
    }

    pub fn descriptors_at(&self) -> u64 {
        self.start
    }

    pub fn available_at(&self) -> u64 {
        self.start + 0x4000
    }

    pub fn used_at(&self) -> u64 {
        self.start + 0x5000
    }

    /// How many the device has given back.
    pub fn used_seen(&self) -> u16 {
        self.used
    }

    pub fn set_descriptor(&self, index: u16, address: u64, bytes: u32, flags: u16, next: u16) {
        let at = self.descriptors_at() + 16 * u64::from(index);
        self.memory.write(at, &descriptor(address, bytes, flags, next));
    }

    /// Makes a chain available; the device sees it after `publish`.
    pub fn offer(&mut self, head: u16) {
        let slot = u64::from(self.available % self.size);
        self.cell(self.available_at() + 4 + 2 * slot).store(head, Ordering::Relaxed);
        self.available = self.available.wrapping_add(1);
    }

    /// Shows the device what was offered, and kicks it if it wants that.
    pub fn publish(&mut self) {
        self.cell(self.available_at() + 2).store(self.available, Ordering::Release);
        fence(Ordering::SeqCst);
        let before = std::mem::replace(&mut self.kicked, self.available);
        let wanted = if self.event_idx {
            let event = self.cell(self.used_at() + 4 + 8 * u64::from(self.size));
            let since = self.available.wrapping_sub(event.load(Ordering::Relaxed)).wrapping_sub(1);
            since < self.available.wrapping_sub(before)
        } else {
            self.cell(self.used_at()).load(Ordering::Relaxed) & 1 == 0
        };
        if wanted {
            self.kicks += 1;
            self.kick.write(1).unwrap();
        }
    }

    /// Whatever index; the device is kicked.
    pub fn publish_index(&mut self, index: u16) {
        self.cell(self.available_at() + 2).store(index, Ordering::Release);
        self.kick.write(1).unwrap();
    }

    /// The next that the device gave back, if there is one: the head and the bytes written.
    pub fn try_used(&mut self) -> Option<(u16, u32)> {
        if self.cell(self.used_at() + 2).load(Ordering::Acquire) == self.used {
            return None;
        }
        let at = self.used_at() + 4 + 8 * u64::from(self.used % self.size);
        let element = self.memory.read(at, 8);
        self.used = self.used.wrapping_add(1);
        let number = |from: usize| u32::from_le_bytes(element[from..from + 4].try_into().unwrap());
        Some((number(0) as u16, number(4)))
    }

    /// Asks to be called for the next one. True: there is one already.
    pub fn want_call(&mut self) -> bool {
        if self.event_idx {
            let at = self.available_at() + 4 + 2 * u64::from(self.size);
            self.cell(at).store(self.used, Ordering::Relaxed);
        }
        fence(Ordering::SeqCst);
        self.cell(self.used_at() + 2).load(Ordering::Acquire) != self.used
    }

    /// Waits for the next one that the device gives back, only by its calls. None: none came.
    pub fn wait_used(&mut self, timeout: Duration) -> Option<(u16, u32)> {
        let until = Instant::now() + timeout;
        loop {
            if let Some(used) = self.try_used() {
                return Some(used);
            }
            if self.want_call() {
                continue;
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            self.wait_call(left);
        }
    }

    pub fn wait_call(&mut self, timeout: Duration) -> bool {
        use std::os::fd::AsRawFd;
        let mut entry =
            libc::pollfd { fd: self.call.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: one entry.
        let ready = unsafe { libc::poll(&mut entry, 1, timeout.as_millis().max(1) as i32) } > 0;
        if ready {
            self.calls += 1;
            let _ = self.call.read();
        }
        ready
    }

    fn cell(&self, guest: u64) -> &AtomicU16 {
        // SAFETY: in guest memory and aligned.
        unsafe { AtomicU16::from_ptr(self.memory.at(guest).cast()) }
    }
}

pub fn descriptor(address: u64, bytes: u32, flags: u16, next: u16) -> [u8; 16] {
    let mut raw = [0; 16];
    raw[..8].copy_from_slice(&address.to_le_bytes());
    raw[8..12].copy_from_slice(&bytes.to_le_bytes());
    raw[12..14].copy_from_slice(&flags.to_le_bytes());
    raw[14..].copy_from_slice(&next.to_le_bytes());
    raw
}
