//! The kinds of conflict. Each has a tracker of its own: `isolation.rs` says which requests are in
//! which.

/// The requests among which one is tracked, and may have to wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Among {
    /// Requests that change bytes. A write of a part of a block keeps other writes out.
    Writes,
    /// Requests with a guest block.
    Guests,
    /// Requests that keep readers out; and, while there is one of these, all reads.
    Barriers,
    /// Requests that are being announced to a notifier, or wait for their turn.
    Turns,
}

impl Among {
    pub const ALL: [Among; 4] = [Among::Writes, Among::Guests, Among::Barriers, Among::Turns];
}

/// A set of such kinds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AmongSet(u8);

impl AmongSet {
    pub const NONE: AmongSet = AmongSet(0);
    /// Writes, and nothing else.
    pub const WRITES: AmongSet = AmongSet(1 << Among::Writes as u8);

    pub fn insert(&mut self, among: Among) {
        self.0 |= 1 << among as u8;
    }

    pub fn remove(&mut self, among: Among) {
        self.0 &= !(1 << among as u8);
    }

    pub fn contains(self, among: Among) -> bool {
        self.0 & 1 << among as u8 != 0
    }

    pub fn is_empty(self) -> bool {
        self == AmongSet::NONE
    }
}
