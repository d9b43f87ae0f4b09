//! The handles of a scene: opened with options that the fuzzer picks.

use blkalign::capi::*;

use crate::calls::{self, Disk};
use crate::input::Input;
use crate::memory::{Region, REGION_BYTES};
use crate::model::CAPACITY;

/// An open handle, and what it was opened with.
pub struct Open {
    pub disk: Disk,
    pub flags: u32,
    pub eventfd: bool,
    pub window: Option<(u64, u64)>,
    /// Of offset and total length.
    pub block: u64,
    /// What is discarded, if anything is, lies at multiples of this.
    pub discard_unit: u64,
    /// How often it is plugged.
    pub plugged: u32,
    /// Requests that the plug holds back.
    pub held: Vec<usize>,
    pub region: Option<Region>,
    /// Requests that were taken in, by BLKALIGN_OP_* less 1.
    pub taken_in: [u64; 5],
}

impl Open {
    pub fn new(disk: Disk, options: &blkalign_open_options) -> Open {
        let limits = disk.limits();
        let block = u64::from(limits.request_alignment);
        let windowed = options.window_offset != 0 || options.window_length != 0;
        Open {
            disk,
            flags: options.flags,
            eventfd: options.completion == BLKALIGN_COMPLETION_EVENTFD,
            window: windowed
                .then_some((options.window_offset as u64, options.window_length as u64)),
            block,
            discard_unit: block.max(limits.discard_alignment.into()),
            plugged: 0,
            held: Vec::new(),
            region: None,
            taken_in: [0; 5],
        }
    }

    pub fn has(&self, flag: u32) -> bool {
        self.flags & flag != 0
    }

    /// Where the handle's offset 0 lies in the object.
    pub fn base(&self) -> u64 {
        self.window.map_or(0, |(offset, _)| offset)
    }

    /// The handle's length, if the object's is `length`.
    pub fn length(&self, length: u64) -> u64 {
        let Some((offset, bytes)) = self.window else { return length };
        let there = length.saturating_sub(offset);
        if bytes == 0 {
            there
        } else {
            bytes.min(there)
        }
    }

    /// Registers a region, or gives it back where nothing is in flight.
    pub fn toggle_region(&mut self, idle: bool) {
        match self.region.take() {
            Some(mut region) if idle => {
                assert_eq!(self.disk.unregister(region.address(), REGION_BYTES), 0);
                assert_eq!(self.disk.unregister(region.address(), REGION_BYTES), -libc::ENOENT);
            }
            Some(region) => self.region = Some(region),
            None => {
                let mut region = Region::new();
                assert_eq!(self.disk.register(region.address(), REGION_BYTES), 0);
                assert_eq!(self.disk.register(region.address(), 1), -libc::EEXIST);
                self.region = Some(region);
            }
        }
    }
}

/// Options for one more handle on an object of `length` bytes.
pub fn options(input: &mut Input, length: u64) -> blkalign_open_options {
    let mut options = calls::options();
    let flags = input.word();
    let when = |bit: u16, flag: u32| if flags >> bit & 1 == 1 { flag } else { 0 };
    // Seldom read-only.
    let writable = if flags & 3 == 3 { 0 } else { BLKALIGN_O_RDWR };
    options.flags = writable
        | when(2, BLKALIGN_O_DIRECT | BLKALIGN_O_BUFFERED_OK)
        | when(3, BLKALIGN_O_RESIZE)
        | when(4, BLKALIGN_O_UNMAP)
        | when(5, BLKALIGN_O_WRITETHROUGH)
        | when(6, BLKALIGN_O_NO_FLUSH)
        | when(7, BLKALIGN_O_STABLE_WRITES)
        | when(8, BLKALIGN_O_NO_MERGE);
    options.engine = input.pick(&[0, 1, 2]);
    options.completion = input.pick(&[
        BLKALIGN_COMPLETION_SERIAL,
        BLKALIGN_COMPLETION_CONCURRENT,
        BLKALIGN_COMPLETION_EVENTFD,
    ]);
    options.workers = input.pick(&[0, 0, 0, 0, 0, 1, 2]);
    options.queue_depth = input.pick(&[0, 0, 1, 2, 3, 8]);
    options.request_alignment = input.pick(&[0, 0, 512, 4096, 8192]);
    options.mem_alignment = input.pick(&[0, 0, 0, 512, 4096]);
    options.segment_alignment = input.pick(&[0, 0, 0, 512]);
    options.guest_block_size = input.pick(&[0, 0, 0, 512, 4096, 16384]);
    if input.one_in(8) {
        let offset = input.length(length);
        options.window_offset = offset as i64;
        options.window_length = input.length(length - offset) as i64;
        options.flags &= !BLKALIGN_O_RESIZE;
    }
    options
}

/// A place for a request through a handle that shows `length` bytes: offset and length.
pub fn range(input: &mut Input, length: u64, resize: bool) -> (u64, u64) {
    let end = if resize { CAPACITY } else { length };
    let offset = input.length(end);
    let most = match input.below(8) {
        0..=3 => 600,
        4 | 5 => 9000,
        6 => 600,
        _ => 48 << 10,
    };
    (offset, input.length(most.min(end - offset)))
}
