//! What each byte of the object may be.
//!
//! Every write has a tag, and its bytes follow from tag and place. A cell keeps the writes whose
//! bytes it may have: one that ended before another began, which then succeeded, is gone. Requests
//! begin in the model before they are submitted, and end when their callback runs.

use smallvec::SmallVec;

pub type Tag = u16;
/// Of a write of zeros.
pub const ZEROS: Tag = Tag::MAX;

/// The byte that a write with that tag puts at `place`.
pub fn byte(tag: Tag, place: u64) -> u8 {
    if tag == ZEROS {
        return 0;
    }
    (u64::from(tag) * 37 + place % 251) as u8
}

pub fn bytes(tag: Tag, from: u64, to: u64) -> Vec<u8> {
    (from..to).map(|place| byte(tag, place)).collect()
}

#[derive(Debug, Clone, Copy)]
struct Value {
    tag: Tag,
    /// The write, by its number; ZEROS may be written by several.
    write: usize,
    begun: u64,
    ended: Option<u64>,
}

type Cell = SmallVec<[Value; 4]>;

/// A read that has not ended: what each of its cells may have been since it began.
struct Read {
    number: usize,
    first: usize,
    cells: Vec<SmallVec<[Tag; 6]>>,
}

pub struct Model {
    unit: u64,
    length: u64,
    cells: Vec<Cell>,
    reads: Vec<Read>,
    moment: u64,
}

impl Model {
    /// All cells have tag 0.
    pub fn new(unit: u64, length: u64) -> Model {
        let initial = Value { tag: 0, write: usize::MAX, begun: 0, ended: Some(0) };
        let cells = vec![Cell::from_iter([initial]); length.div_ceil(unit) as usize];
        Model { unit, length, cells, reads: Vec::new(), moment: 1 }
    }

    fn range(&self, offset: u64, bytes: u64) -> std::ops::Range<usize> {
        debug_assert!(offset.is_multiple_of(self.unit));
        (offset / self.unit) as usize..(offset + bytes).div_ceil(self.unit) as usize
    }

    fn place(&self, cell: usize) -> (u64, u64) {
        let from = cell as u64 * self.unit;
        (from, (from + self.unit).min(self.length))
    }

    fn next_moment(&mut self) -> u64 {
        self.moment += 1;
        self.moment
    }

    pub fn begin_write(&mut self, write: usize, tag: Tag, offset: u64, bytes: u64) {
        let begun = self.next_moment();
        for at in self.range(offset, bytes) {
            self.cells[at].push(Value { tag, write, begun, ended: None });
            for read in &mut self.reads {
                if let Some(cell) = at.checked_sub(read.first).and_then(|at| read.cells.get_mut(at))
                {
                    cell.push(tag);
                }
            }
        }
    }

    /// `certain`: from now on the bytes are this write's or a later one's.
    pub fn end_write(&mut self, write: usize, offset: u64, bytes: u64, certain: bool) {
        let now = self.next_moment();
        for at in self.range(offset, bytes) {
            let cell = &mut self.cells[at];
            let mut begun = 0;
            for value in cell.iter_mut().filter(|value| value.write == write) {
                value.ended = Some(now);
                begun = value.begun;
            }
            if certain {
                cell.retain(|value| value.ended.is_none_or(|ended| ended > begun));
            }
        }
    }

    /// It has written nothing.
    pub fn withdraw(&mut self, write: usize, offset: u64, bytes: u64) {
        for at in self.range(offset, bytes) {
            self.cells[at].retain(|value| value.write != write);
        }
    }

    pub fn begin_read(&mut self, number: usize, offset: u64, bytes: u64) {
        let range = self.range(offset, bytes);
        let first = range.start;
        let tags = |cell: &Cell| cell.iter().map(|value| value.tag).collect();
        let cells = self.cells[range].iter().map(tags).collect();
        self.reads.push(Read { number, first, cells });
    }

    /// `found`: what it has read, if it succeeded.
    pub fn end_read(&mut self, number: usize, found: Option<&[u8]>) -> Result<(), String> {
        let at = self.reads.iter().position(|read| read.number == number);
        let read = self.reads.swap_remove(at.expect("begun"));
        let Some(found) = found else { return Ok(()) };
        let begin = read.first as u64 * self.unit;
        for (at, tags) in read.cells.iter().enumerate() {
            let (from, to) = self.place(read.first + at);
            let low = (from - begin) as usize;
            let high = ((to - begin) as usize).min(found.len());
            check(&found[low..high], from, tags).map_err(|why| format!("a read {why}"))?;
        }
        Ok(())
    }

    /// What the object is in the end.
    pub fn check_content(&self, content: &[u8]) -> Result<(), String> {
        for (at, cell) in self.cells.iter().enumerate() {
            let (from, to) = self.place(at);
            let tags: Vec<Tag> = cell.iter().map(|value| value.tag).collect();
            check(&content[from as usize..to as usize], from, &tags)
                .map_err(|why| format!("the object {why}"))?;
        }
        Ok(())
    }
}

/// Whether each byte is one of those that it may be.
fn check(found: &[u8], from: u64, tags: &[Tag]) -> Result<(), String> {
    for (place, &its) in (from..).zip(found) {
        if !tags.iter().any(|&tag| byte(tag, place) == its) {
            let may: Vec<u8> = tags.iter().map(|&tag| byte(tag, place)).collect();
            return Err(format!(
                "has {its} at byte {place}, which may be {may:?} (writes {tags:?})"
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_that_succeeded_replaces_what_ended_before_it_began() {
        let mut model = Model::new(512, 2048);
        model.begin_write(0, 1, 512, 512);
        assert!(model.check_content(&bytes(0, 0, 2048)).is_ok());
        model.end_write(0, 512, 512, true);
        assert!(model.check_content(&bytes(0, 0, 2048)).is_err());
        model.begin_write(1, 2, 512, 512);
        model.withdraw(1, 512, 512);
        let now: Vec<u8> = [bytes(0, 0, 512), bytes(1, 512, 1024), bytes(0, 1024, 2048)].concat();
        assert!(model.check_content(&now).is_ok());
        assert!(model.check_content(&bytes(2, 0, 2048)).is_err());
    }

    #[test]
    fn a_read_may_see_what_was_written_meanwhile_and_nothing_else() {
        let mut model = Model::new(512, 2048);
        model.begin_read(0, 0, 1024);
        model.begin_read(1, 0, 1024);
        model.begin_write(2, 1, 0, 512);
        model.end_write(2, 0, 512, true);
        let seen = [bytes(1, 0, 512), bytes(0, 512, 1024)].concat();
        assert!(model.end_read(0, Some(&seen)).is_ok());
        assert!(model.end_read(1, Some(&bytes(1, 0, 1024))).is_err());
        model.begin_read(3, 0, 512);
        assert!(model.end_read(3, Some(&bytes(0, 0, 512))).is_err());
    }
}
