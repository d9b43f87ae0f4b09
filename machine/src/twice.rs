//! Memory that a vector of a read names more than once. Windows guests do that: what they know
//! already, in the middle of a long read, goes to one page that nobody looks at.
//!
//! Much storage does not expect it. dm-crypt decrypts in the memory that it has read into, btrfs
//! and disks with protection information check sums there: of memory that is twice in one vector
//! they make garbage, or errors. So such memory is bounced: the storage sees each byte once.
//!
//! Pure arithmetic on addresses. The common read, of one element or of elements in the order of
//! their addresses, is decided in one pass.
//!
//! Example: elements of 4096 bytes at 0, 8192, 65536, 20480, 65536. [65536, 69632) is named twice:
//! the third and the fifth element are bounced, the others are not.

use std::ops::Range;

use smallvec::SmallVec;

use crate::io::Segment;

/// Most elements that are compared each with each; longer vectors are sorted.
const FEW: usize = 8;

/// What a vector names more than once: by rising address, apart from each other.
#[derive(Debug, Default)]
pub struct Twice(Vec<Range<usize>>);

/// Whether no byte of memory is in two elements.
#[inline(always)]
pub fn each_once(elements: &[Segment]) -> bool {
    elements.len() < 2 || each_of_several_once(elements)
}

fn each_of_several_once(elements: &[Segment]) -> bool {
    let apart = |low: &Segment, high: &Segment| low.address + low.bytes <= high.address;
    if elements.windows(2).all(|pair| apart(&pair[0], &pair[1])) {
        return true;
    }
    if elements.len() > FEW {
        return by_address(elements).windows(2).all(|pair| apart(&pair[0], &pair[1]));
    }
    let after = |at: usize| elements[at + 1..].iter();
    let alone = |(at, one): (usize, &Segment)| after(at).all(|it| apart(one, it) || apart(it, one));
    elements.iter().enumerate().all(alone)
}

fn by_address(elements: &[Segment]) -> SmallVec<[Segment; 128]> {
    let mut sorted: SmallVec<[Segment; 128]> = SmallVec::from_slice(elements);
    sorted.sort_unstable_by_key(|element| element.address);
    sorted
}

impl Twice {
    pub fn of(elements: &[Segment]) -> Twice {
        let mut spans: Vec<Range<usize>> = Vec::new();
        if each_once(elements) {
            return Twice(spans);
        }
        let mut covered = 0;
        for Segment { address, bytes } in by_address(elements) {
            let end = address + bytes;
            let again = address..end.min(covered);
            match spans.last_mut() {
                _ if again.is_empty() => {}
                Some(last) if last.end >= again.start => last.end = last.end.max(again.end),
                _ => spans.push(again),
            }
            covered = covered.max(end);
        }
        Twice(spans)
    }

    #[inline]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many bytes from `address` on, at most `bytes`, lie before memory that is named twice.
    pub fn clear_from(&self, address: usize, bytes: usize) -> usize {
        let next = self.0.partition_point(|span| span.end <= address);
        self.0.get(next).map_or(bytes, |span| span.start.saturating_sub(address).min(bytes))
    }
}

#[cfg(test)]
mod tests;
