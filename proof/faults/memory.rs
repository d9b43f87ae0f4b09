//! Memory of requests: anywhere relative to a page, in pieces, with bytes around that stay.

use crate::driver::{Segment, Segments};

const PAGE: usize = 4096;
const CANARY: u8 = 0xa5;
const AROUND: usize = 64;

/// How a request's memory lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lie {
    /// At a page.
    Aligned,
    /// At an odd address.
    Odd,
    /// In three pieces: 512 bytes, most, and the rest; at multiples of 512.
    Pieces,
    /// In pieces of odd lengths.
    OddPieces,
}

pub struct Memory {
    bytes: Vec<u8>,
    begin: usize,
    length: usize,
    lie: Lie,
}

impl Memory {
    pub fn new(content: &[u8], lie: Lie) -> Memory {
        let length = content.len();
        let mut bytes = vec![CANARY; length + 2 * PAGE + 2 * AROUND];
        let into = (bytes.as_ptr() as usize + AROUND).next_multiple_of(PAGE);
        let odd = if lie == Lie::Odd { 1 } else { 0 };
        let begin = into - bytes.as_ptr() as usize + odd;
        bytes[begin..begin + length].copy_from_slice(content);
        Memory { bytes, begin, length, lie }
    }

    pub fn segments(&self) -> Segments {
        let cuts: &[usize] = match self.lie {
            Lie::Aligned | Lie::Odd => &[],
            Lie::Pieces => &[512, 1024],
            Lie::OddPieces => &[3, 700],
        };
        let address = self.bytes.as_ptr() as usize + self.begin;
        let mut at = 0;
        let mut segments = Segments::new();
        for &bytes in cuts {
            let bytes = bytes.min(self.length - at);
            if bytes > 0 {
                segments.push(Segment { address: address + at, bytes });
                at += bytes;
            }
        }
        if at < self.length {
            segments.push(Segment { address: address + at, bytes: self.length - at });
        }
        segments
    }

    pub fn content(&self) -> &[u8] {
        &self.bytes[self.begin..self.begin + self.length]
    }

    /// Whether the bytes around are as they were.
    pub fn is_unharmed(&self) -> bool {
        let (before, rest) = self.bytes.split_at(self.begin);
        let after = &rest[self.length..];
        before.iter().chain(after).all(|byte| *byte == CANARY)
    }

    /// As a guest may do with data that were copied.
    pub fn scribble(&mut self) {
        self.bytes[self.begin..self.begin + self.length].fill(0x77);
    }
}
