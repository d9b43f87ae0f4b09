//! The memory of a request: each element of its vector is an allocation of exactly its length, so
//! that AddressSanitizer sees every byte beside it, and every byte after it is freed.

use std::ffi::c_void;

use libc::iovec;

use crate::input::Input;

/// Most bytes of registered memory.
pub const REGION_BYTES: usize = 64 << 10;

pub enum Memory {
    /// An allocation for each element.
    Own(Vec<Box<[u8]>>),
    /// One allocation that stands in the vector twice: (its elements, the memory).
    Twice(usize, Box<[u8]>),
    /// A part of a region that is registered and outlives the request: address, length.
    Registered(usize, usize),
}

impl Memory {
    /// Memory for `bytes` bytes in a number of elements that `input` decides.
    pub fn new(input: &mut Input, bytes: usize, may_repeat: bool) -> Memory {
        let element = |bytes: usize| vec![0xa5; bytes].into_boxed_slice();
        let how = input.below(8);
        if how == 1 && may_repeat && bytes >= 2 && bytes.is_multiple_of(2) {
            return Memory::Twice(2, element(bytes / 2));
        }
        let elements = match how {
            2 | 3 => 1 + input.below(4),
            4 => 1 + input.below(40),
            _ => 1,
        };
        let mut own = Vec::new();
        let mut left = bytes;
        for index in 0..elements {
            let piece = match input.below(4) {
                _ if index + 1 == elements => left,
                0 => left / (elements - index),
                1 => 512,
                2 => input.byte().into(),
                _ => 0,
            };
            own.push(element(piece.min(left)));
            left -= piece.min(left);
        }
        Memory::Own(own)
    }

    pub fn vector(&mut self) -> Vec<iovec> {
        let whole = |memory: &mut Box<[u8]>| iovec {
            iov_base: memory.as_mut_ptr().cast::<c_void>(),
            iov_len: memory.len(),
        };
        match self {
            Memory::Own(own) => own.iter_mut().map(whole).collect(),
            Memory::Twice(times, memory) => vec![whole(memory); *times],
            Memory::Registered(address, bytes) => {
                vec![iovec { iov_base: *address as *mut c_void, iov_len: *bytes }]
            }
        }
    }

    /// Sets byte number n of the request to `byte(n)`.
    pub fn fill(&mut self, mut byte: impl FnMut(u64) -> u8) {
        let mut at = 0;
        self.each_mut(|place| {
            *place = byte(at);
            at += 1;
        });
    }

    /// Whether each byte that can be told is right: `right(n, byte)`.
    pub fn find_wrong(&mut self, right: impl Fn(u64, u8) -> bool) -> Option<(u64, u8)> {
        if matches!(self, Memory::Twice(..)) {
            return None;
        }
        let (mut at, mut wrong) = (0, None);
        self.each_mut(|place| {
            if wrong.is_none() && !right(at, *place) {
                wrong = Some((at, *place));
            }
            at += 1;
        });
        wrong
    }

    fn each_mut(&mut self, mut with: impl FnMut(&mut u8)) {
        match self {
            Memory::Own(own) => own.iter_mut().flat_map(|part| part.iter_mut()).for_each(with),
            Memory::Twice(_, memory) => memory.iter_mut().for_each(with),
            Memory::Registered(address, bytes) => {
                for at in 0..*bytes {
                    // SAFETY: `Region::take` gave these bytes to this request alone.
                    with(unsafe { &mut *(*address as *mut u8).add(at) });
                }
            }
        }
    }
}

/// Registered memory; each byte of it serves one request only.
pub struct Region {
    memory: Box<[u8]>,
    used: usize,
}

impl Region {
    pub fn new() -> Region {
        Region { memory: vec![0x5a; REGION_BYTES].into_boxed_slice(), used: 0 }
    }

    pub fn address(&mut self) -> *mut c_void {
        self.memory.as_mut_ptr().cast()
    }

    /// A part that nobody has had; None: there is not so much left.
    pub fn take(&mut self, bytes: usize, shift: usize) -> Option<Memory> {
        let start = self.used + shift;
        let end = start.checked_add(bytes)?;
        self.memory.get(start..end)?;
        self.used = end;
        Some(Memory::Registered(self.memory.as_mut_ptr() as usize + start, bytes))
    }
}
