//! Memory for one trial read, which shows where the storage wrote. Knows no descriptor.
//!
//! The elements lie apart, at awkward addresses: odd multiples of the alignment, the first one
//! across the end of a page wherever it has room for that. All around them is a canary, which is
//! another byte than the data at every place. Storages are known that overwrite the whole page of
//! an element, with what belongs to the block at its start: so each element has a block and two
//! pages before and after it that are ours. (What lies beyond a page is not for us to guard: the
//! kernel hands a storage physical pages, whose neighbours may belong to any program.)

use std::io::IoSliceMut;
use std::iter::once;
use std::ops::Range;

pub struct TrialMemory {
    memory: Vec<u8>,
    /// Where the part of `memory` begins that is used; a page begins there.
    first: usize,
    /// What the used part was filled with, elements aside.
    canary: Vec<u8>,
    /// Where in the used part the elements lie: ascending, apart.
    elements: Vec<Range<usize>>,
}

impl TrialMemory {
    /// Elements of these lengths. `block`, `mem` and `page` are powers of two.
    pub fn new(lengths: &[usize], block: usize, mem: usize, page: usize) -> TrialMemory {
        let unit = page.max(2 * mem);
        let guard = page + page.max(block);
        let mut end = 0;
        let mut elements = Vec::with_capacity(lengths.len());
        for (index, bytes) in lengths.iter().enumerate() {
            let into = match index % 2 {
                _ if mem >= page => mem,
                0 => page - mem,
                _ => page + mem,
            };
            let begin = (end + guard).next_multiple_of(unit) + into;
            elements.push(begin..begin + bytes);
            end = (begin + bytes + guard).next_multiple_of(page);
        }
        let memory = vec![0; end + unit];
        let first = memory.as_ptr().align_offset(unit);
        TrialMemory { memory, first, canary: vec![0; end], elements }
    }

    /// Prepares a read of `expected`, whose blocks have `block` bytes: no byte is what the read,
    /// or a block that goes to the start of a page, would put there.
    pub fn fill(&mut self, expected: &[u8], block: usize) {
        let unlike: Vec<u8> = expected.iter().map(|byte| !byte).collect();
        let tile = &unlike[..block.min(unlike.len())];
        for chunk in self.canary.chunks_mut(tile.len().max(1)) {
            chunk.copy_from_slice(&tile[..chunk.len()]);
        }
        let used = self.first..self.first + self.canary.len();
        self.memory[used].copy_from_slice(&self.canary);
        for (place, from) in self.places(unlike.len()) {
            self.memory[place].copy_from_slice(&unlike[from]);
        }
    }

    pub fn slices(&mut self) -> Vec<IoSliceMut<'_>> {
        let mut slices = Vec::with_capacity(self.elements.len());
        let (mut rest, mut at) = (&mut self.memory[self.first..], 0);
        for element in &self.elements {
            let (_, from_here) = rest.split_at_mut(element.start - at);
            let (slice, behind) = from_here.split_at_mut(element.len());
            slices.push(IoSliceMut::new(slice));
            (rest, at) = (behind, element.end);
        }
        slices
    }

    /// The first `bytes` of what was read.
    pub fn content(&self, bytes: usize) -> Vec<u8> {
        self.places(bytes).flat_map(|(place, _)| &self.memory[place]).copied().collect()
    }

    /// Whether the elements hold `expected`. What they have beyond it, past the end of the object,
    /// may be anything.
    pub fn holds(&self, expected: &[u8]) -> bool {
        self.places(expected.len()).all(|(place, from)| self.memory[place] == expected[from])
    }

    /// Whether everything around the elements is what it was filled with.
    pub fn is_unharmed(&self) -> bool {
        let begins = once(0).chain(self.elements.iter().map(|element| element.end));
        let ends = self.elements.iter().map(|element| element.start).chain(once(self.canary.len()));
        let used = &self.memory[self.first..];
        begins.zip(ends).all(|(begin, end)| used[begin..end] == self.canary[begin..end])
    }

    /// Where the first `bytes` of a read go in `memory`, each with what part of the read that is.
    fn places(&self, bytes: usize) -> impl Iterator<Item = (Range<usize>, Range<usize>)> {
        let (first, mut done) = (self.first, 0);
        let elements = self.elements.clone();
        elements.into_iter().map(move |element| {
            let (begin, now) = (first + element.start, element.len().min(bytes - done));
            let from = done..done + now;
            done += now;
            (begin..begin + now, from)
        })
    }
}

#[cfg(test)]
#[path = "memory_tests.rs"]
mod tests;
