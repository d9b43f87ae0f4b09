//! Memory for one trial read, which shows where the storage wrote. Knows no descriptor.
//!
//! The elements lie apart, at awkward addresses: odd multiples of the alignment, the first one
//! across the end of a page wherever it has room for that. All around them is a canary, which is
//! another byte than the data at every place. Storages are known that overwrite the whole page of
//! an element, with what belongs to the block at its start: so each element has a block and two
//! pages before and after it that are ours. (What lies beyond a page is not for us to guard: the
//! kernel hands a storage physical pages, whose neighbours may be anybody's.)

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
    /// or a block that goes to the begin of a page, would put there.
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
mod tests {
    use super::*;

    const PAGE: usize = 4096;

    fn addresses(memory: &mut TrialMemory) -> Vec<Range<usize>> {
        let range = |slice: IoSliceMut<'_>| {
            let begin = slice.as_ptr() as usize;
            begin..begin + slice.len()
        };
        memory.slices().into_iter().map(range).collect()
    }

    /// All that `check` is to hold for: lengths, block, memory alignment, page.
    fn for_every_layout(check: impl Fn(&mut TrialMemory, &[usize], usize, usize, usize)) {
        for page in [PAGE, 65536] {
            for block in [1, 512, PAGE, 65536] {
                for mem in [1, 4, 512, 2048, PAGE, 65536] {
                    for lengths in [vec![block], vec![block; 2], vec![block / 4, block, 1]] {
                        let mut memory = TrialMemory::new(&lengths, block, mem, page);
                        check(&mut memory, &lengths, block, mem, page);
                    }
                }
            }
        }
    }

    #[test]
    fn elements_lie_at_odd_multiples_of_the_alignment_and_share_no_page() {
        for_every_layout(|memory, lengths, _, mem, page| {
            let addresses = addresses(memory);
            assert_eq!(addresses.len(), lengths.len());
            for (at, bytes) in addresses.iter().zip(lengths) {
                assert_eq!((at.start % (2 * mem), at.len()), (mem, *bytes));
            }
            for pair in addresses.windows(2) {
                assert!(pair[0].end.next_multiple_of(page) < pair[1].start);
            }
        });
    }

    #[test]
    fn the_first_element_crosses_the_end_of_a_page_where_its_length_allows_that() {
        for_every_layout(|memory, lengths, _, mem, page| {
            if mem < page && mem < lengths[0] {
                let first = &addresses(memory)[0];
                assert!(first.start.next_multiple_of(page) < first.end);
                assert_ne!(first.start % page, 0);
            }
        });
    }

    #[test]
    fn a_block_and_a_page_around_the_pages_of_each_element_are_ours() {
        for_every_layout(|memory, _, block, _, page| {
            let begin = memory.memory.as_ptr() as usize + memory.first;
            let end = begin + memory.canary.len();
            assert!(begin + memory.canary.len() <= begin - memory.first + memory.memory.len());
            assert_eq!(begin % page, 0);
            for at in addresses(memory) {
                let pages = at.start / page * page..at.end.next_multiple_of(page);
                assert!(pages.start - begin >= page.max(block), "{pages:x?} from {begin:x}");
                assert!(end - pages.end >= page.max(block), "{pages:x?} to {end:x}");
            }
        });
    }

    /// Whether all is well when something writes to the memory after the read.
    fn after(write: impl Fn(&mut [u8], &[Range<usize>])) -> bool {
        let expected: Vec<u8> = (0..=255).cycle().take(PAGE).collect();
        let mut memory = TrialMemory::new(&[512, 3072, 512], PAGE, 512, PAGE);
        memory.fill(&expected, PAGE);
        let mut from = expected.as_slice();
        for mut slice in memory.slices() {
            let (now, later) = from.split_at(slice.len());
            slice.copy_from_slice(now);
            from = later;
        }
        assert_eq!(memory.content(PAGE), expected);
        let (elements, used) = (memory.elements.clone(), memory.first);
        write(&mut memory.memory[used..], &elements);
        memory.holds(&expected) && memory.is_unharmed()
    }

    #[test]
    fn every_single_byte_inside_and_around_the_elements_is_watched() {
        assert!(after(|_, _| {}));
        assert!(!after(|memory, _| memory[0] ^= 1));
        for index in 0..3 {
            assert!(!after(|memory, elements| memory[elements[index].start - 1] ^= 1));
            assert!(!after(|memory, elements| memory[elements[index].start] ^= 1));
            assert!(!after(|memory, elements| memory[elements[index].end - 1] ^= 1));
            assert!(!after(|memory, elements| memory[elements[index].end] ^= 1));
        }
    }

    #[test]
    fn nothing_is_as_it_should_be_before_the_read() {
        for byte in [0, 255, 7] {
            let expected = vec![byte; PAGE];
            let mut memory = TrialMemory::new(&[512, 3072, 512], PAGE, 512, PAGE);
            memory.fill(&expected, PAGE);
            assert!(memory.memory[memory.first..][..memory.canary.len()]
                .iter()
                .all(|found| *found != byte));
            assert!(memory.is_unharmed() && !memory.holds(&expected));
        }
    }

    #[test]
    fn past_the_end_of_the_object_elements_may_hold_anything() {
        let mut memory = TrialMemory::new(&[PAGE], PAGE, 512, PAGE);
        memory.fill(&[7; 700], PAGE);
        memory.slices()[0].fill(7);
        assert!(memory.holds(&[7; 700]) && memory.is_unharmed());
        assert_eq!(memory.content(700), [7; 700]);
    }
}
