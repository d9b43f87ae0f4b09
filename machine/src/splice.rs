//! Lays out one I/O: which memory, in which order, so that the storage takes every element and
//! as few guest bytes as possible are copied. Pure arithmetic; no request states.
//!
//! The unit of work is the block of `alignments.request` bytes. In each block the guest's own
//! memory is used where address and length suit the storage; what lies between becomes bounce runs
//! in the block's *home*, a block of scratch in which every byte has its natural place. For an edge
//! of a write the home is the edge's image, which was read before and supplies the bytes that the
//! guest did not name. Example (alignments: request 4096, memory 512, segment 512; no `copy_edges`,
//! so the storage is a driver in C), a write of 1100 bytes at offset 700 from an aligned address:
//! bytes 0..1024 of the block come from the image (the guest's first 324 copied into it), but then
//! the guest's address is off by 324, so the rest is copied too: one segment, 1100 bytes copied. At
//! offset 512: [image 0..512][guest 1024 bytes][image 1536..4096], with the last 76 guest bytes
//! copied into the image.

use smallvec::SmallVec;

use crate::io::{MemoryCopies, MemoryCopy, Segment, Segments};
use crate::twice::Twice;
use crate::Alignments;

/// What one lane of a queue takes.
#[derive(Debug, Clone, Copy)]
pub struct LaneLimits {
    pub alignments: Alignments,
    pub max_transfer: u64,
    pub max_segments: usize,
    /// Guest bytes in a block that is covered only in part are copied, even where they need not
    /// be: to some storage one element more costs more than copying less than a block.
    pub copy_edges: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    Read,
    Write,
}

/// How far a request has been laid out: the next I/O starts at `position` (a block boundary),
/// and the first guest byte at or after it is `skip` bytes into `element`.
#[derive(Debug, Clone, Copy, Default)]
pub struct Cursor {
    pub position: u64,
    pub element: usize,
    pub skip: usize,
}

/// A part of a request: its next byte, and an end of one of its blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    pub from: u64,
    pub until: u64,
}

impl Part {
    pub const ALL: Part = Part { from: 0, until: u64::MAX };
}

/// The part of a request that goes through one lane.
#[derive(Debug, Clone, Copy)]
pub struct LanePart<'a> {
    pub direction: Direction,
    pub limits: LaneLimits,
    /// Guest bytes: [start, end).
    pub start: u64,
    pub end: u64,
    pub elements: &'a [Segment],
    /// Guest memory that has to be bounced, wherever it lies.
    pub bounced: &'a Twice,
    /// Writes: where the images of the first and the last block are, if these are edges.
    pub head_image: Option<usize>,
    pub tail_image: Option<usize>,
    /// Most scratch for one I/O; its first block may need more, so that there is progress.
    pub scratch_max: usize,
}

/// Whether a block has become a part of an I/O.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Laid {
    Out,
    /// The I/O has no room for the block; nothing has changed.
    NoRoom,
}

/// One I/O, but for the address of its scratch: see `Layout::place`.
#[derive(Debug, Default)]
pub struct Layout {
    pub bytes: u64,
    pub segments: Segments,
    pub copies: MemoryCopies,
    pub scratch_bytes: usize,
}

/// Marks an address as an offset into scratch that is not allocated yet. Addresses of user space
/// never have this bit.
pub(super) const IN_SCRATCH: usize = 1 << 63;

/// A part of one guest element inside one block; `at` counts from the start of the block.
#[derive(Debug, Clone, Copy)]
struct Fragment {
    at: usize,
    bytes: usize,
    address: usize,
}

/// The part of a fragment that needs no copy.
#[derive(Debug, Clone, Copy)]
struct Direct {
    at: usize,
    end: usize,
    address: usize,
    fragment: usize,
}

type Fragments = SmallVec<[Fragment; 8]>;
type Directs = SmallVec<[Direct; 8]>;

impl Layout {
    /// Fills in the address of the scratch, which has `scratch_bytes` or more.
    pub fn place(&mut self, scratch: usize) {
        let real = |address: &mut usize| {
            if *address & IN_SCRATCH != 0 {
                *address = scratch + (*address & !IN_SCRATCH);
            }
        };
        self.segments.iter_mut().for_each(|segment| real(&mut segment.address));
        for copy in &mut self.copies {
            real(&mut copy.from);
            real(&mut copy.to);
        }
    }

    pub fn push(&mut self, address: usize, bytes: usize) {
        match self.segments.last_mut() {
            Some(last) if last.address + last.bytes == address => last.bytes += bytes,
            _ => self.segments.push(Segment { address, bytes }),
        }
    }

    /// Whether memory at `address` would just lengthen the last segment.
    fn continues_at(&self, address: usize) -> bool {
        self.segments.last().is_some_and(|last| last.address + last.bytes == address)
    }
}

impl LanePart<'_> {
    /// Lays out the next I/O from `cursor` on, and moves the cursor behind it. `cursor.position`
    /// must be below `end`. At least one block is laid out, whatever the limits.
    pub fn next_io(&self, cursor: &mut Cursor) -> Layout {
        let block = self.limits.alignments.request;
        let within = self.start >= cursor.position && self.end <= cursor.position + block;
        if self.limits.copy_edges && within && self.end - self.start < block {
            return self.part_of_a_block(cursor);
        }
        let mut layout = Layout::default();
        while cursor.position < self.end && layout.bytes + block <= self.limits.max_transfer {
            match self.whole_blocks(cursor, &layout) {
                0 if self.lay_block(cursor, &mut layout) == Laid::NoRoom => break,
                0 => {}
                bytes => self.lay_direct(cursor, &mut layout, bytes),
            }
        }
        debug_assert!(layout.bytes > 0);
        layout
    }

    /// The common I/O with an edge, decided at once: a part of one block, all of which is copied.
    fn part_of_a_block(&self, cursor: &mut Cursor) -> Layout {
        let block = self.limits.alignments.request;
        let mut layout = Layout { bytes: block, ..Layout::default() };
        let home = self.home(cursor.position, &layout);
        if home & IN_SCRATCH != 0 {
            layout.scratch_bytes = block as usize;
        }
        layout.push(home, block as usize);
        let mut at = home + (self.start - cursor.position) as usize;
        let mut left = (self.end - self.start) as usize;
        let (mut element, mut skip) = (cursor.element, cursor.skip);
        while left > 0 {
            let Segment { address, bytes } = self.elements[element];
            let (guest, bytes) = (address + skip, (bytes - skip).min(left));
            let (from, to) = match self.direction {
                Direction::Read => (at, guest),
                Direction::Write => (guest, at),
            };
            layout.copies.push(MemoryCopy { from, to, bytes });
            (at, left) = (at + bytes, left - bytes);
            (element, skip) = (element + 1, 0);
        }
        self.advance(cursor, self.end - self.start);
        layout
    }

    /// How many bytes of whole blocks can go straight from or to the element at the cursor.
    fn whole_blocks(&self, cursor: &Cursor, layout: &Layout) -> u64 {
        if cursor.position < self.start {
            return 0;
        }
        let element = &self.elements[cursor.element];
        let address = element.address + cursor.skip;
        let continues = layout.continues_at(address);
        let fits = continues
            || (address.is_multiple_of(self.limits.alignments.memory)
                && layout.segments.len() < self.limits.max_segments);
        if !fits {
            return 0;
        }
        let available = self.bounced.clear_from(address, element.bytes - cursor.skip) as u64;
        let room = (self.limits.max_transfer - layout.bytes).min(self.end - cursor.position);
        round_down(available.min(room), self.limits.alignments.request)
    }

    fn lay_direct(&self, cursor: &mut Cursor, layout: &mut Layout, bytes: u64) {
        let address = self.elements[cursor.element].address + cursor.skip;
        layout.push(address, bytes as usize);
        layout.bytes += bytes;
        self.advance(cursor, bytes);
    }

    /// Lays out the block at the cursor.
    fn lay_block(&self, cursor: &mut Cursor, layout: &mut Layout) -> Laid {
        let block = self.limits.alignments.request as usize;
        let fragments = self.fragments(cursor);
        let first = layout.bytes == 0;
        let home = self.home(cursor.position, layout);
        let partial = cursor.position < self.start || cursor.position + block as u64 > self.end;
        let mut directs = if self.limits.copy_edges && partial {
            Directs::new()
        } else {
            self.directs(&fragments, layout)
        };
        let mut segments = self.count(&directs, home, layout);
        if segments > self.limits.max_segments && first {
            directs.clear();
            segments = 1;
        }
        let needs_home = directs.iter().map(|d| d.end - d.at).sum::<usize>() < block;
        let own_home = needs_home && home & IN_SCRATCH != 0;
        let scratch_bytes =
            if own_home { (home & !IN_SCRATCH) + block } else { layout.scratch_bytes };
        if !first
            && (segments > self.limits.max_segments
                || (own_home && scratch_bytes > self.scratch_max))
        {
            return Laid::NoRoom;
        }
        layout.scratch_bytes = scratch_bytes;
        let mut at = 0;
        for direct in &directs {
            if at < direct.at {
                layout.push(home + at, direct.at - at);
            }
            layout.push(direct.address, direct.end - direct.at);
            at = direct.end;
        }
        if at < block {
            layout.push(home + at, block - at);
        }
        self.copy_rest(&fragments, &directs, home, layout);
        layout.bytes += block as u64;
        let guest_end = (cursor.position + block as u64).min(self.end);
        self.advance(cursor, guest_end - cursor.position.max(self.start));
        Laid::Out
    }

    /// The block of scratch in which every byte of the block at `position` has its place.
    fn home(&self, position: u64, layout: &Layout) -> usize {
        let next = position + self.limits.alignments.request;
        match (self.head_image, self.tail_image) {
            (Some(image), _) if position <= self.start => image,
            (_, Some(image)) if next >= self.end => image,
            _ => IN_SCRATCH | layout.scratch_bytes.next_multiple_of(self.limits.alignments.memory),
        }
    }

    /// The guest's memory for the block at the cursor.
    fn fragments(&self, cursor: &Cursor) -> Fragments {
        let block_end = cursor.position + self.limits.alignments.request;
        let guest_end = block_end.min(self.end);
        let mut offset = cursor.position.max(self.start);
        let (mut element, mut skip) = (cursor.element, cursor.skip);
        let mut fragments = Fragments::new();
        while offset < guest_end {
            let Segment { address, bytes } = self.elements[element];
            let bytes = (bytes - skip).min((guest_end - offset) as usize);
            let at = (offset - cursor.position) as usize;
            fragments.push(Fragment { at, bytes, address: address + skip });
            offset += bytes as u64;
            element += 1;
            skip = 0;
        }
        fragments
    }

    /// The parts of a block that need no copy, in order, such that each bounce run between them
    /// starts at an address that the storage takes and has a length that it takes.
    fn directs(&self, fragments: &Fragments, layout: &Layout) -> Directs {
        let block = self.limits.alignments.request as usize;
        let Alignments { memory, segment, .. } = self.limits.alignments;
        let mut directs = Directs::new();
        for (index, fragment) in fragments.iter().enumerate() {
            let at = fragment.at.next_multiple_of(segment);
            let end = round_down_usize(fragment.at + fragment.bytes, segment);
            let clear = self.bounced.clear_from(fragment.address, fragment.bytes);
            if at >= end || clear < fragment.bytes {
                continue;
            }
            let address = fragment.address + (at - fragment.at);
            let continues = match directs.last() {
                Some(last) => last.end == at && last.address + (last.end - last.at) == address,
                None => at == 0 && layout.continues_at(address),
            };
            if !continues {
                if !address.is_multiple_of(memory) {
                    continue;
                }
                self.fit_run_before(at, &mut directs);
            }
            directs.push(Direct { at, end, address, fragment: index });
        }
        self.fit_run_before(block, &mut directs);
        directs
    }

    /// A bounce run from the end of the last direct part to `at`, if there is one, has to start
    /// at a multiple of the memory alignment: shortens the direct parts before it until it does.
    fn fit_run_before(&self, at: usize, directs: &mut Directs) {
        let unit = self.limits.alignments.memory.max(self.limits.alignments.segment);
        while let Some(last) = directs.last_mut() {
            if last.end == at || last.end.is_multiple_of(self.limits.alignments.memory) {
                return;
            }
            last.end = round_down_usize(last.end, unit);
            if last.end > last.at {
                return;
            }
            directs.pop();
        }
    }

    /// How many segments the I/O would have with this block.
    fn count(&self, directs: &Directs, home: usize, layout: &Layout) -> usize {
        let block = self.limits.alignments.request as usize;
        let mut segments = layout.segments.len();
        let mut end = layout.segments.last().map(|last| last.address + last.bytes);
        let mut add = |address: usize, bytes: usize| {
            if end != Some(address) {
                segments += 1;
            }
            end = Some(address + bytes);
        };
        let mut at = 0;
        for direct in directs {
            if at < direct.at {
                add(home + at, direct.at - at);
            }
            add(direct.address, direct.end - direct.at);
            at = direct.end;
        }
        if at < block {
            add(home + at, block - at);
        }
        segments
    }

    /// The copies between the guest's memory and the block's home.
    fn copy_rest(&self, fragments: &Fragments, directs: &Directs, home: usize, to: &mut Layout) {
        let mut copy = |fragment: &Fragment, at: usize, end: usize| {
            if at < end {
                let guest = fragment.address + (at - fragment.at);
                let scratch = home + at;
                let (from, into) = match self.direction {
                    Direction::Read => (scratch, guest),
                    Direction::Write => (guest, scratch),
                };
                to.copies.push(MemoryCopy { from, to: into, bytes: end - at });
            }
        };
        let mut directs = directs.iter().peekable();
        for (index, fragment) in fragments.iter().enumerate() {
            let mut at = fragment.at;
            let end = fragment.at + fragment.bytes;
            if let Some(direct) = directs.next_if(|direct| direct.fragment == index) {
                copy(fragment, at, direct.at);
                at = direct.end;
            }
            copy(fragment, at, end);
        }
    }

    /// Moves the cursor over so many guest bytes, and to the block boundary behind them.
    fn advance(&self, cursor: &mut Cursor, bytes: u64) {
        let guest = cursor.position.max(self.start) + bytes;
        cursor.position = guest.next_multiple_of(self.limits.alignments.request);
        advance(self.elements, cursor, bytes);
    }
}

/// Moves the cursor over so many bytes of memory; its position stays.
pub(super) fn advance(elements: &[Segment], cursor: &mut Cursor, mut bytes: u64) {
    while bytes > 0 {
        let left = (elements[cursor.element].bytes - cursor.skip) as u64;
        if bytes < left {
            cursor.skip += bytes as usize;
            return;
        }
        bytes -= left;
        cursor.element += 1;
        cursor.skip = 0;
    }
}

/// Drops the first `bytes` of a vector.
pub fn drop_front(segments: &mut Segments, mut bytes: u64) {
    let mut whole = 0;
    for segment in segments.iter_mut() {
        if (segment.bytes as u64) > bytes {
            segment.address += bytes as usize;
            segment.bytes -= bytes as usize;
            break;
        }
        bytes -= segment.bytes as u64;
        whole += 1;
    }
    segments.drain(..whole);
}

/// The address at which a vector goes on after its first `bytes`, which are not all of it. 0,
/// which suits any storage, where no memory is moved.
pub fn address_at(segments: &Segments, mut bytes: u64) -> usize {
    if segments.is_empty() {
        return 0;
    }
    for segment in segments {
        if bytes < segment.bytes as u64 {
            return segment.address + bytes as usize;
        }
        bytes -= segment.bytes as u64;
    }
    unreachable!("an I/O that goes on has memory left")
}

pub fn round_down(offset: u64, alignment: u64) -> u64 {
    offset & !(alignment - 1)
}

fn round_down_usize(offset: usize, alignment: usize) -> usize {
    offset & !(alignment - 1)
}
