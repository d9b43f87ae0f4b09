//! The spans of `tracker.rs`, in order of their starts: a list of chunks, each a sorted array. To
//! look something up is two binary searches in memory that lies together, which is about half of
//! what a tree with small nodes costs when thousands of scattered spans are in it
//! (docs/PERFORMANCE.md). Chunks split when they are full and go when they are empty.

use smallvec::SmallVec;

pub type Slot = u32;

/// Spans in a chunk: many make the list of chunks short, few make it cheap to move those behind.
/// Few in tests, so that these have many chunks.
const CHUNK_MAX: usize = if cfg!(test) { 4 } else { 64 };

/// Who is over a span: at least one.
#[derive(Debug, Clone)]
enum Who {
    Exclusive(Slot),
    Shared(Slot),
    /// Rare enough to allocate for.
    Several(Box<Several>),
}

#[derive(Debug, Clone)]
struct Several {
    exclusive: Option<Slot>,
    shared: SmallVec<[Slot; 4]>,
}

/// [start, end), where the start is what it is filed under.
#[derive(Debug, Clone)]
pub struct Span {
    pub end: u64,
    who: Who,
}

impl Span {
    pub fn exclusive(end: u64, slot: Slot) -> Span {
        Span { end, who: Who::Exclusive(slot) }
    }

    pub fn shared(end: u64, slot: Slot) -> Span {
        Span { end, who: Who::Shared(slot) }
    }

    /// The last exclusive one.
    pub fn last_exclusive(&self) -> Option<Slot> {
        match &self.who {
            Who::Exclusive(slot) => Some(*slot),
            Who::Shared(_) => None,
            Who::Several(several) => several.exclusive,
        }
    }

    /// Those that a newcomer waits for if it conflicts with all: the shared ones that came after
    /// the exclusive one, or else that one.
    pub fn last_ones(&self) -> &[Slot] {
        match &self.who {
            Who::Exclusive(slot) | Who::Shared(slot) => std::slice::from_ref(slot),
            Who::Several(several) if several.shared.is_empty() => several.exclusive.as_slice(),
            Who::Several(several) => &several.shared,
        }
    }

    pub fn share(&mut self, slot: Slot) {
        let several = |exclusive, shared: &[Slot]| {
            Who::Several(Box::new(Several { exclusive, shared: SmallVec::from_slice(shared) }))
        };
        match &mut self.who {
            Who::Exclusive(exclusive) => self.who = several(Some(*exclusive), &[slot]),
            Who::Shared(other) => self.who = several(None, &[*other, slot]),
            Who::Several(several) => several.shared.push(slot),
        }
    }

    /// Takes `slot` out if it is there. True: nobody is left.
    fn forget(&mut self, slot: Slot) -> bool {
        match &mut self.who {
            Who::Exclusive(other) | Who::Shared(other) => *other == slot,
            Who::Several(several) => {
                several.exclusive = several.exclusive.filter(|other| *other != slot);
                several.shared.retain(|other| *other != slot);
                several.exclusive.is_none() && several.shared.is_empty()
            }
        }
    }
}

/// Sorted; not empty, but for the only chunk of an empty map.
#[derive(Debug)]
struct Chunk {
    starts: Vec<u64>,
    spans: Vec<Span>,
}

impl Chunk {
    fn new() -> Chunk {
        Chunk { starts: Vec::with_capacity(CHUNK_MAX), spans: Vec::with_capacity(CHUNK_MAX) }
    }

    /// Moves those from `index` on to a chunk of their own.
    fn split(&mut self, index: usize) -> Chunk {
        let mut upper = Chunk::new();
        upper.starts.extend(self.starts.drain(index..));
        upper.spans.extend(self.spans.drain(index..));
        upper
    }
}

/// A place in the order: good until the next insertion or removal.
#[derive(Debug, Clone, Copy)]
struct Place {
    chunk: usize,
    index: usize,
}

#[derive(Debug)]
pub struct Spans {
    /// Where the next chunk begins at the earliest; chunk 0 begins at 0.
    borders: Vec<u64>,
    chunks: Vec<Chunk>,
}

impl Default for Spans {
    fn default() -> Spans {
        Spans { borders: Vec::new(), chunks: vec![Chunk::new()] }
    }
}

impl Spans {
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

    /// There must be none with that start.
    pub fn insert(&mut self, start: u64, span: Span) {
        let place = self.place_of(start);
        debug_assert!(self.at(place).is_none_or(|(other, _)| other > start));
        self.insert_at(place, start, span);
    }

    /// Calls `visit` with those that begin in [start, end), in order.
    pub fn visit(&mut self, start: u64, end: u64, mut visit: impl FnMut(u64, &mut Span)) {
        let Place { mut chunk, mut index } = self.place_of(start);
        while let Some(here) = self.chunks.get_mut(chunk) {
            for (&at, span) in here.starts[index..].iter().zip(&mut here.spans[index..]) {
                if at >= end {
                    return;
                }
                visit(at, span);
            }
            (chunk, index) = (chunk + 1, 0);
        }
    }

    /// Whether `test` is true for one that overlaps [start, end).
    pub fn any(&self, start: u64, end: u64, mut test: impl FnMut(&Span) -> bool) -> bool {
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

    /// None of those that begin in [start, end) names `slot` any more; those that then name nobody
    /// go.
    pub fn forget(&mut self, slot: Slot, start: u64, end: u64) {
        let mut place = self.place_of(start);
        while let Some((at, span)) = self.at_mut(&mut place) {
            if at >= end {
                return;
            }
            let last = span.end >= end;
            if span.forget(slot) {
                self.remove_at(place);
            } else {
                place.index += 1;
            }
            if last {
                return;
            }
        }
    }

    /// Takes away those that begin in [start, end).
    pub fn clear(&mut self, start: u64, end: u64) {
        let mut place = self.place_of(start);
        while self.at_mut(&mut place).is_some_and(|(at, _)| at < end) {
            self.remove_at(place);
        }
    }

    /// Makes `offset` a boundary between spans if it is inside one.
    pub fn split_at(&mut self, offset: u64) {
        let place = self.place_of(offset);
        let Some(span) = self.before_mut(place).filter(|span| span.end > offset) else { return };
        let upper = span.clone();
        span.end = offset;
        self.insert_at(place, offset, upper);
    }

    #[cfg(test)]
    pub fn is_empty(&self) -> bool {
        self.chunks.iter().all(|chunk| chunk.starts.is_empty())
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

    /// The first at `place` or behind it.
    fn at(&self, place: Place) -> Option<(u64, &Span)> {
        let chunk = &self.chunks[place.chunk];
        if place.index < chunk.starts.len() {
            return Some((chunk.starts[place.index], &chunk.spans[place.index]));
        }
        let next = self.chunks.get(place.chunk + 1)?;
        Some((next.starts[0], &next.spans[0]))
    }

    /// As `at`; moves `place` there.
    fn at_mut(&mut self, place: &mut Place) -> Option<(u64, &mut Span)> {
        if place.index == self.chunks.get(place.chunk)?.starts.len() {
            *place = Place { chunk: place.chunk + 1, index: 0 };
        }
        let chunk = self.chunks.get_mut(place.chunk)?;
        Some((*chunk.starts.get(place.index)?, &mut chunk.spans[place.index]))
    }

    fn insert_at(&mut self, mut place: Place, start: u64, span: Span) {
        let chunk = &mut self.chunks[place.chunk];
        if chunk.starts.len() == CHUNK_MAX {
            // What grows at its end leaves full chunks behind.
            let at = if place.index == CHUNK_MAX { CHUNK_MAX } else { CHUNK_MAX / 2 };
            let upper = chunk.split(at);
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

    /// What was behind it is then at `place`.
    fn remove_at(&mut self, place: Place) {
        let chunk = &mut self.chunks[place.chunk];
        chunk.starts.remove(place.index);
        chunk.spans.remove(place.index);
        if chunk.starts.is_empty() && self.chunks.len() > 1 {
            self.chunks.remove(place.chunk);
            // Its range falls to the one before it; the first one's to the second.
            self.borders.remove(place.chunk.saturating_sub(1));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// (start, end, last ones, last exclusive one) of all.
    type Contents = Vec<(u64, u64, Vec<Slot>, Option<Slot>)>;

    fn contents(spans: &mut Spans) -> Contents {
        let mut all = Contents::new();
        spans.visit(0, u64::MAX, |at, span| {
            all.push((at, span.end, span.last_ones().to_vec(), span.last_exclusive()));
        });
        all
    }

    fn check_form(spans: &Spans) {
        assert_eq!(spans.borders.len() + 1, spans.chunks.len());
        assert!(spans.borders.is_sorted());
        for (at, chunk) in spans.chunks.iter().enumerate() {
            assert_eq!(chunk.starts.len(), chunk.spans.len());
            assert!(chunk.starts.len() <= CHUNK_MAX);
            assert!(!chunk.starts.is_empty() || spans.chunks.len() == 1);
            let first = at.checked_sub(1).map_or(0, |at| spans.borders[at]);
            let next = spans.borders.get(at).copied().unwrap_or(u64::MAX);
            assert!(chunk.starts.iter().all(|start| (first..next).contains(start)));
        }
    }

    #[test]
    fn agrees_with_an_ordered_map() {
        let mut seed = 7u64;
        let mut random = move |below: u64| {
            seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (seed >> 33) % below
        };
        for _ in 0..200 {
            let mut spans = Spans::default();
            let mut model: BTreeMap<u64, u64> = BTreeMap::new();
            for step in 0..400u32 {
                let start = random(120);
                let end = start + 1 + random(6);
                match random(8) {
                    0 => {
                        spans.clear(start, end);
                        model.retain(|&at, _| at < start || at >= end);
                    }
                    1 => {
                        spans.split_at(start);
                        let before = model.range(..start).next_back().map(|(&at, &end)| (at, end));
                        if let Some((at, end)) = before.filter(|&(_, end)| end > start) {
                            model.insert(at, start);
                            model.insert(start, end);
                        }
                    }
                    _ => {
                        let meets = model.range(..end).next_back().is_some_and(|(_, &e)| e > start);
                        let span = Span::exclusive(end, step);
                        assert_eq!(spans.insert_if_free(start, span).is_err(), meets);
                        if !meets {
                            model.insert(start, end);
                        }
                    }
                }
                check_form(&spans);
                let all = contents(&mut spans).into_iter().map(|(at, end, ..)| (at, end));
                assert!(all.eq(model.clone()));
            }
            spans.clear(0, u64::MAX);
            assert!(spans.is_empty());
            check_form(&spans);
        }
    }

    #[test]
    fn a_span_knows_whom_it_names_and_goes_when_nobody_is_left() {
        let mut spans = Spans::default();
        spans.insert(0, Span::exclusive(8, 1));
        spans.insert(8, Span::shared(16, 2));
        spans.visit(0, 16, |_, span| span.share(3));
        spans.visit(0, 8, |_, span| span.share(4));
        let expected = vec![(0, 8, vec![3, 4], Some(1)), (8, 16, vec![2, 3], None)];
        assert_eq!(contents(&mut spans), expected);
        spans.forget(3, 0, 16);
        spans.forget(4, 0, 8);
        assert_eq!(contents(&mut spans), [(0, 8, vec![1], Some(1)), (8, 16, vec![2], None)]);
        spans.forget(1, 0, 8);
        spans.forget(9, 0, 16);
        assert_eq!(contents(&mut spans), [(8, 16, vec![2], None)]);
        spans.forget(2, 8, 16);
        assert!(spans.is_empty());
    }
}
