//! The spans of a tracker, in order of their starts: a list of chunks, each a sorted array. To
//! look something up is two binary searches in memory that lies together, which is about half of
//! what a tree with small nodes costs when thousands of scattered spans are in it
//! (docs/PERFORMANCE.md). Chunks split when they are full and go when they are empty.
//!
//! Example, with four spans in a chunk at most, named by their starts: chunks [0 8] and [16 20 24
//! 28], and the border between them 16. To find 24: it is not below 16, so in the second chunk, and
//! the third there. A span at 18 makes the second chunk [16 18 20] and a third [24 28], with the
//! border 24.

use smallvec::SmallVec;

use crate::io::Slot;

/// Most spans in a chunk. With many the list of chunks is short; with few an insertion has few
/// spans behind it to move. Tests of this folder use few, so that there are many chunks.
pub const CHUNK_MAX: usize = 64;

/// The requests that a span names: at least one. Small, since insertions move many spans.
#[derive(Debug, Clone, Copy)]
enum Named {
    Exclusive(Slot),
    Shared(Slot),
    /// Rare: by its place in `Crowds`.
    Several(u32),
}

#[derive(Debug, Default)]
struct Several {
    exclusive: Option<Slot>,
    shared: SmallVec<[Slot; 4]>,
}

/// The requests of those spans that name several.
#[derive(Debug, Default)]
pub struct Crowds {
    all: Vec<Several>,
    /// Places in `all` that no span has.
    free: Vec<u32>,
}

impl Crowds {
    fn add(&mut self, exclusive: Option<Slot>, shared: &[Slot]) -> Named {
        let several = Several { exclusive, shared: SmallVec::from_slice(shared) };
        if let Some(at) = self.free.pop() {
            self.all[at as usize] = several;
            return Named::Several(at);
        }
        self.all.push(several);
        Named::Several((self.all.len() - 1) as u32)
    }

    fn of(&self, at: u32) -> &Several {
        &self.all[at as usize]
    }

    /// A span goes.
    fn release(&mut self, span: Span) {
        if let Named::Several(at) = span.named {
            self.all[at as usize] = Several::default();
            self.free.push(at);
        }
    }
}

/// Whether a span still names a request.
#[derive(PartialEq, Eq)]
enum Left {
    None,
    Some,
}

/// [start, end); the chunk has the start.
#[derive(Debug, Clone, Copy)]
pub struct Span {
    pub end: u64,
    named: Named,
}

impl Span {
    pub fn exclusive(end: u64, slot: Slot) -> Span {
        Span { end, named: Named::Exclusive(slot) }
    }

    pub fn shared(end: u64, slot: Slot) -> Span {
        Span { end, named: Named::Shared(slot) }
    }

    /// The last exclusive request.
    pub fn last_exclusive(&self, crowds: &Crowds) -> Option<Slot> {
        match self.named {
            Named::Exclusive(slot) => Some(slot),
            Named::Shared(_) => None,
            Named::Several(at) => crowds.of(at).exclusive,
        }
    }

    /// The requests that a newcomer waits for if it conflicts with all: the shared ones that came
    /// after the exclusive one, or else the exclusive one.
    pub fn last_ones<'a>(&'a self, crowds: &'a Crowds) -> &'a [Slot] {
        match &self.named {
            Named::Exclusive(slot) | Named::Shared(slot) => std::slice::from_ref(slot),
            Named::Several(at) => match crowds.of(*at) {
                several if several.shared.is_empty() => several.exclusive.as_slice(),
                several => &several.shared,
            },
        }
    }

    pub fn share(&mut self, slot: Slot, crowds: &mut Crowds) {
        match self.named {
            Named::Exclusive(exclusive) => self.named = crowds.add(Some(exclusive), &[slot]),
            Named::Shared(other) => self.named = crowds.add(None, &[other, slot]),
            Named::Several(at) => crowds.all[at as usize].shared.push(slot),
        }
    }

    /// The same requests, over another range.
    fn again(&self, crowds: &mut Crowds) -> Span {
        let Named::Several(at) = self.named else { return *self };
        let (exclusive, shared) = (crowds.of(at).exclusive, crowds.of(at).shared.clone());
        Span { named: crowds.add(exclusive, &shared), ..*self }
    }

    /// Takes `slot` out if the span names it.
    fn forget(&mut self, slot: Slot, crowds: &mut Crowds) -> Left {
        let last = match self.named {
            Named::Exclusive(other) | Named::Shared(other) => other == slot,
            Named::Several(at) => {
                let several = &mut crowds.all[at as usize];
                several.exclusive = several.exclusive.filter(|other| *other != slot);
                several.shared.retain(|other| *other != slot);
                several.exclusive.is_none() && several.shared.is_empty()
            }
        };
        match last {
            true => Left::None,
            false => Left::Some,
        }
    }
}

/// Spans in order of their starts. No chunk is empty, but for the only one of an empty list.
#[derive(Debug)]
struct Chunk {
    starts: Vec<u64>,
    spans: Vec<Span>,
}

impl Chunk {
    fn new(room: usize) -> Chunk {
        Chunk { starts: Vec::with_capacity(room), spans: Vec::with_capacity(room) }
    }

    /// Moves the spans from `index` on to a chunk of their own, with room for `room` spans.
    fn split(&mut self, index: usize, room: usize) -> Chunk {
        let mut upper = Chunk::new(room);
        upper.starts.extend(self.starts.drain(index..));
        upper.spans.extend(self.spans.drain(index..));
        upper
    }
}

/// A place in the order: valid until the next insertion or removal.
#[derive(Debug, Clone, Copy)]
struct Place {
    chunk: usize,
    index: usize,
}

#[derive(Debug)]
pub struct Spans<const CHUNK_MAX: usize = { self::CHUNK_MAX }> {
    /// Where the next chunk begins at the earliest; chunk 0 begins at 0.
    borders: Vec<u64>,
    chunks: Vec<Chunk>,
    pub crowds: Crowds,
}

impl<const CHUNK_MAX: usize> Default for Spans<CHUNK_MAX> {
    fn default() -> Self {
        let (borders, chunks) = (Vec::new(), vec![Chunk::new(CHUNK_MAX)]);
        Spans { borders, chunks, crowds: Crowds::default() }
    }
}

impl<const CHUNK_MAX: usize> Spans<CHUNK_MAX> {
    /// Puts a span there if it meets no other.
    pub fn insert_if_free(&mut self, start: u64, span: Span) -> Result<(), Span> {
        let place = self.place_of(start);
        let free = self.before(place).is_none_or(|before| before.end <= start)
            && self.at(place).is_none_or(|(next, _)| next >= span.end);
        if !free {
            return Err(span);
        }
        self.insert_at(place, start, span);
        Ok(())
    }

    /// Puts `span` in the place of the one of just this range, if there is one; calls `visit` with
    /// that one before.
    pub fn replace(&mut self, start: u64, span: Span, visit: impl FnOnce(&Span, &Crowds)) -> bool {
        let mut place = self.place_of(start);
        if !self.settle(&mut place) {
            return false;
        }
        let here = &mut self.chunks[place.chunk];
        let before = &mut here.spans[place.index];
        if here.starts[place.index] != start || before.end != span.end {
            return false;
        }
        visit(before, &self.crowds);
        self.crowds.release(std::mem::replace(before, span));
        true
    }

    /// No span may have that start already.
    pub fn insert(&mut self, start: u64, span: Span) {
        let place = self.place_of(start);
        debug_assert!(self.at(place).is_none_or(|(other, _)| other > start));
        self.insert_at(place, start, span);
    }

    /// Calls `visit` with the spans that begin in [start, end), in order.
    pub fn visit(
        &mut self,
        start: u64,
        end: u64,
        mut visit: impl FnMut(u64, &mut Span, &mut Crowds),
    ) {
        let Place { mut chunk, mut index } = self.place_of(start);
        while let Some(here) = self.chunks.get_mut(chunk) {
            for (&at, span) in here.starts[index..].iter().zip(&mut here.spans[index..]) {
                if at >= end {
                    return;
                }
                visit(at, span, &mut self.crowds);
            }
            (chunk, index) = (chunk + 1, 0);
        }
    }

    /// Whether `test` is true for a span that overlaps [start, end).
    pub fn any(&self, start: u64, end: u64, test: impl Fn(&Span, &Crowds) -> bool) -> bool {
        let test = |span: &Span| test(span, &self.crowds);
        let place = self.place_of(start);
        if self.before(place).is_some_and(|span| span.end > start && test(span)) {
            return true;
        }
        let mut index = place.index;
        for here in &self.chunks[place.chunk..] {
            for (&at, span) in here.starts[index..].iter().zip(&here.spans[index..]) {
                if at >= end || test(span) {
                    return at < end;
                }
            }
            index = 0;
        }
        false
    }

    /// Takes `slot` out of the spans that begin in [start, end), and removes those that then name
    /// no request.
    pub fn forget(&mut self, slot: Slot, start: u64, end: u64) {
        let mut place = self.place_of(start);
        while self.settle(&mut place) {
            let here = &mut self.chunks[place.chunk];
            if here.starts[place.index] >= end {
                return;
            }
            let span = &mut here.spans[place.index];
            let last = span.end >= end;
            if span.forget(slot, &mut self.crowds) == Left::None {
                self.remove_at(place);
            } else {
                place.index += 1;
            }
            if last {
                return;
            }
        }
    }

    /// Removes the spans that begin in [start, end).
    pub fn clear(&mut self, start: u64, end: u64) {
        let mut place = self.place_of(start);
        while self.settle(&mut place) && self.chunks[place.chunk].starts[place.index] < end {
            self.remove_at(place);
        }
    }

    /// Makes `offset` a boundary between spans if it is inside one.
    pub fn split_at(&mut self, offset: u64) {
        let place = self.place_of(offset);
        let Some(span) = self.before_mut(place).filter(|span| span.end > offset) else { return };
        let whole = *span;
        span.end = offset;
        let upper = whole.again(&mut self.crowds);
        self.insert_at(place, offset, upper);
    }

    /// Where a span with this start is, or would be; that may be behind the last of a chunk.
    fn place_of(&self, start: u64) -> Place {
        let chunk = self.borders.partition_point(|&border| border <= start);
        let index = self.chunks[chunk].starts.partition_point(|&other| other < start);
        Place { chunk, index }
    }

    fn before(&self, place: Place) -> Option<&Span> {
        match place.index {
            0 => self.chunks[..place.chunk].last()?.spans.last(),
            index => Some(&self.chunks[place.chunk].spans[index - 1]),
        }
    }

    fn before_mut(&mut self, place: Place) -> Option<&mut Span> {
        match place.index {
            0 => self.chunks[..place.chunk].last_mut()?.spans.last_mut(),
            index => Some(&mut self.chunks[place.chunk].spans[index - 1]),
        }
    }

    /// The first span at `place` or behind it.
    fn at(&self, place: Place) -> Option<(u64, &Span)> {
        let chunk = &self.chunks[place.chunk];
        if place.index < chunk.starts.len() {
            return Some((chunk.starts[place.index], &chunk.spans[place.index]));
        }
        let next = self.chunks.get(place.chunk + 1)?;
        Some((next.starts[0], &next.spans[0]))
    }

    /// Moves a place behind the last span of a chunk to the next chunk. Whether a span is there.
    fn settle(&self, place: &mut Place) -> bool {
        if self.chunks.get(place.chunk).is_some_and(|chunk| place.index == chunk.starts.len()) {
            *place = Place { chunk: place.chunk + 1, index: 0 };
        }
        self.chunks.get(place.chunk).is_some_and(|chunk| place.index < chunk.starts.len())
    }

    fn insert_at(&mut self, mut place: Place, start: u64, span: Span) {
        let chunk = &mut self.chunks[place.chunk];
        if chunk.starts.len() == CHUNK_MAX {
            // Split like this, a list that grows at its end leaves full chunks behind.
            let at = if place.index == CHUNK_MAX { CHUNK_MAX } else { CHUNK_MAX / 2 };
            let upper = chunk.split(at, CHUNK_MAX);
            self.borders.insert(place.chunk, upper.starts.first().map_or(start, |&first| first));
            self.chunks.insert(place.chunk + 1, upper);
            if place.index > at || at == CHUNK_MAX {
                place = Place { chunk: place.chunk + 1, index: place.index - at };
            }
        }
        let chunk = &mut self.chunks[place.chunk];
        chunk.starts.insert(place.index, start);
        chunk.spans.insert(place.index, span);
    }

    /// Removes the span at `place`; the span that was behind it is then at `place`.
    fn remove_at(&mut self, place: Place) {
        let chunk = &mut self.chunks[place.chunk];
        chunk.starts.remove(place.index);
        self.crowds.release(chunk.spans.remove(place.index));
        if chunk.starts.is_empty() && self.chunks.len() > 1 {
            self.chunks.remove(place.chunk);
            // The range of the chunk falls to the one before it; that of the first to the second.
            self.borders.remove(place.chunk.saturating_sub(1));
        }
    }
}

#[cfg(test)]
mod tests;
