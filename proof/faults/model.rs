//! What the object may hold after requests of which some have failed. A byte has the value that
//! the last write which succeeded gave it, or one of a later write that failed.

pub struct Model {
    sure: Vec<u8>,
    /// By byte: after how many requests `sure` was written.
    since: Vec<u32>,
    failed: Vec<Failed>,
    turn: u32,
}

struct Failed {
    turn: u32,
    offset: usize,
    data: Vec<u8>,
}

impl Model {
    pub fn new(content: Vec<u8>) -> Model {
        Model { since: vec![0; content.len()], sure: content, failed: Vec::new(), turn: 0 }
    }

    pub fn length(&self) -> usize {
        self.sure.len()
    }

    pub fn resize(&mut self, bytes: usize) {
        self.turn += 1;
        self.sure.resize(bytes, 0);
        self.since.resize(bytes, self.turn);
    }

    /// A write of `data` that has succeeded, or not.
    pub fn write(&mut self, offset: usize, data: &[u8], succeeded: bool) {
        self.turn += 1;
        if !succeeded {
            let data = data.to_vec();
            return self.failed.push(Failed { turn: self.turn, offset, data });
        }
        let end = offset + data.len();
        if end > self.sure.len() {
            self.resize(end);
        }
        self.sure[offset..end].copy_from_slice(data);
        self.since[offset..end].fill(self.turn);
    }

    /// A discard: zeros, or nothing.
    pub fn discard(&mut self, offset: usize, bytes: usize) {
        self.write(offset, &vec![0; bytes], false);
    }

    fn allows(&self, at: usize, byte: u8) -> bool {
        let of = |failed: &Failed| {
            let inside = at.checked_sub(failed.offset);
            inside.and_then(|inside| failed.data.get(inside)) == Some(&byte)
        };
        byte == self.sure[at]
            || self.failed.iter().any(|failed| failed.turn > self.since[at] && of(failed))
    }

    /// What is wrong with `found` at `offset`.
    pub fn objection(&self, offset: usize, found: &[u8]) -> Option<String> {
        let end = offset + found.len();
        if end > self.sure.len() {
            return Some(format!("{end} bytes where there are {}", self.sure.len()));
        }
        if self.sure[offset..end] == *found {
            return None;
        }
        let wrong = |at: &usize| !self.allows(*at, found[*at - offset]);
        let at = (offset..end).find(wrong)?;
        let (found, sure) = (found[at - offset], self.sure[at]);
        Some(format!("byte {at} is {found}, and should be {sure}"))
    }
}
