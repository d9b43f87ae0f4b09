//! Which clusters of an overlay are there: in the file on top, with all their bytes. The others are
//! *absent*, and their bytes are those of the backing object. Knows numbers only: no request and no
//! I/O. `overlay/` has what requests do about it.
//!
//! A cluster that is there stays there. That it is, becomes durable in three steps:
//!
//! 1. It is *there* in memory as soon as the write that brought all its bytes is done.
//! 2. Its *data are durable* when a flush is done that began after that.
//! 3. It is *saved* when the page of the map with its bit has been written and made durable. Only
//!    bits of clusters whose data are durable are ever written to the map. So a bit in the map that
//!    survives a loss of power has bytes behind it that survived, too.
//!
//! Example, with clusters of 64 KiB. Clusters 3 and 7 have been written: `unsaved` is 3, 7. A flush
//! begins, and takes the mark 2 (two clusters have come so far). Cluster 9 is written meanwhile.
//! The flush is done: `note_durable(2)` takes 3 and 7 out, their bits are set in `durable`, their
//! page is dirty, and `version` is 1. The page is written with the bits 3 and 7, not 9, and made
//! durable: `saved` is 1. Now the flush is done for its caller, too.

mod bits;

use std::collections::{BTreeSet, VecDeque};

use crate::io::{MapPage, Slot};
use bits::Bits;

#[derive(Debug)]
pub struct Clusters {
    /// Bytes of a cluster, a power of two.
    cluster: u64,
    /// Of the object, which never changes. The last cluster ends there.
    length: u64,
    pub piece: u64,
    pub window: u64,
    pub save_after: u64,
    /// Clusters in a page of the map: a multiple of 64.
    page: u64,
    there: Bits,
    absent: u64,
    durable: Bits,
    /// Clusters that are there, whose data may not be durable, in the order in which they came.
    unsaved: VecDeque<u64>,
    /// How many have left `unsaved`.
    taken: u64,
    /// Pages of the map with bits in `durable` that are not in the map yet.
    pages: BTreeSet<u64>,
    /// Rises whenever a page becomes dirty.
    version: u64,
    /// The map holds all that was dirty up to this version.
    saved: u64,
    /// The version that is being saved.
    saving: Option<u64>,
    /// Requests that wait for the map to hold a version.
    pub waiters: Vec<Slot>,
    settled: bool,
}

/// What is known of an overlay when it is opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OverlayState {
    /// Bytes of a cluster: a power of two.
    pub cluster: u64,
    /// Bit i of word i / 64: cluster i is there, and saved.
    pub there: Vec<u64>,
    /// Clusters in a page of the map: a multiple of 64.
    pub page_clusters: u64,
    /// Most bytes that are copied up as one, but a cluster at least; a fill copies so many bytes,
    /// a multiple of `cluster`, before others have their turn, and saves the map after so many.
    pub piece: u64,
    pub window: u64,
    pub save_after: u64,
}

impl Clusters {
    pub fn new(state: OverlayState, length: u64) -> Clusters {
        assert!(state.cluster.is_power_of_two() && state.page_clusters.is_multiple_of(64));
        assert!(state.window > 0 && state.window.is_multiple_of(state.cluster));
        let count = length.div_ceil(state.cluster);
        let there = Bits::new(state.there, count);
        let mut clusters = Clusters {
            cluster: state.cluster,
            length,
            piece: state.piece.max(state.cluster) & !(state.cluster - 1),
            window: state.window,
            save_after: state.save_after,
            page: state.page_clusters,
            absent: count - there.count(),
            durable: there.clone(),
            there,
            unsaved: VecDeque::new(),
            taken: 0,
            pages: BTreeSet::new(),
            version: 0,
            saved: 0,
            saving: None,
            waiters: Vec::new(),
            settled: false,
        };
        clusters.look_whether_settled();
        clusters
    }

    pub fn cluster(&self) -> u64 {
        self.cluster
    }

    pub fn length(&self) -> u64 {
        self.length
    }

    /// All clusters are there, and the map says so: to every request the overlay is a file like
    /// any other.
    #[inline(always)]
    pub fn is_settled(&self) -> bool {
        self.settled
    }

    /// No cluster is absent.
    pub fn is_complete(&self) -> bool {
        self.absent == 0
    }

    fn look_whether_settled(&mut self) {
        self.settled = self.absent == 0 && self.is_all_saved();
    }

    // ----- which are there -----

    /// Whether the byte at `offset`, which is below `end`, is there, and up to where it is the same
    /// with all bytes, at most `end`.
    pub fn run(&self, offset: u64, end: u64) -> (bool, u64) {
        let (first, last) = (offset / self.cluster, end.div_ceil(self.cluster));
        let there = self.there.contains(first);
        let other = self.there.first(!there, first, last);
        (there, (other * self.cluster).min(end))
    }

    /// Whether all of [start, end) is there.
    pub fn is_there(&self, start: u64, end: u64) -> bool {
        start >= end || self.run(start, end) == (true, end)
    }

    /// Where the first absent cluster that has bytes in [start, end) begins; or `end`.
    pub fn first_absent(&self, start: u64, end: u64) -> u64 {
        let first = self.there.first(false, start / self.cluster, end.div_ceil(self.cluster));
        (first * self.cluster).min(end)
    }

    /// Where the cluster with this byte begins.
    pub fn start_of(&self, offset: u64) -> u64 {
        offset & !(self.cluster - 1)
    }

    /// Where the cluster ends in which [.., end) ends.
    pub fn end_of(&self, end: u64) -> u64 {
        end.next_multiple_of(self.cluster).min(self.length)
    }

    /// The bytes of an absent cluster before `start`, and those behind `end`, if [start, end)
    /// covers only a part of that cluster: (from, `start`) and (`end`, to), each perhaps empty.
    pub fn gaps(&self, start: u64, end: u64) -> ((u64, u64), (u64, u64)) {
        let absent = |offset: u64| !self.there.contains(offset / self.cluster);
        let (from, to) = (self.start_of(start), self.end_of(end));
        let before = if from < start && absent(from) { from } else { start };
        let behind = if end < to && absent(end) { to } else { end };
        ((before, start), (end, behind))
    }

    /// Whether [start, end), which is not empty, covers only a part of an absent cluster.
    pub fn has_gaps(&self, start: u64, end: u64) -> bool {
        self.gaps(start, end) != ((start, start), (end, end))
    }

    /// All bytes of [start, end) have been written: the clusters that lie inside as a whole are
    /// there.
    pub fn note_there(&mut self, start: u64, end: u64) {
        let first = start.div_ceil(self.cluster);
        let whole =
            if end >= self.length { end.div_ceil(self.cluster) } else { end / self.cluster };
        let mut at = self.there.first(false, first, whole);
        while at < whole {
            self.there.insert(at);
            self.unsaved.push_back(at);
            self.absent -= 1;
            at = self.there.first(false, at, whole);
        }
        self.look_whether_settled();
    }

    // ----- what is durable -----

    /// Names all clusters that are there by now, for `note_durable`.
    pub fn mark(&self) -> u64 {
        self.taken + self.unsaved.len() as u64
    }

    /// The data of all clusters that were there at `mark` are durable.
    pub fn note_durable(&mut self, mark: u64) {
        let mut any = false;
        while self.taken < mark {
            let Some(cluster) = self.unsaved.pop_front() else { break };
            self.taken += 1;
            self.durable.insert(cluster);
            any |= self.pages.insert(cluster / self.page);
        }
        self.version += u64::from(any);
        self.look_whether_settled();
    }

    /// Whether the map says that all of [start, end) is there, of what is there in memory.
    pub fn is_saved(&self, start: u64, end: u64) -> bool {
        let (first, last) = (start / self.cluster, end.div_ceil(self.cluster));
        self.version == self.saved && self.durable.first(false, first, last) == last
    }

    /// Whether the map says of all clusters that are there.
    pub fn is_all_saved(&self) -> bool {
        self.unsaved.is_empty() && self.version == self.saved
    }

    /// The map has to hold this version, for what is durable now.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Whether the map holds this version.
    pub fn holds(&self, version: u64) -> bool {
        self.saved >= version
    }

    /// The pages to be saved next, with all bits whose data are durable. None: there are none, or
    /// others are being saved, one after the other, so that no page gets an older content.
    pub fn begin_save(&mut self) -> Option<Vec<MapPage>> {
        if self.saving.is_some() || self.version == self.saved {
            return None;
        }
        self.saving = Some(self.version);
        let numbers = std::mem::take(&mut self.pages);
        let page =
            |number| MapPage { number, bits: self.durable.words(number * self.page, self.page) };
        Some(numbers.into_iter().map(page).collect())
    }

    /// The pages of `begin_save` are durable; or not.
    pub fn end_save(&mut self, done: bool) {
        let version = self.saving.take();
        if let (Some(version), true) = (version, done) {
            self.saved = version;
        }
        self.look_whether_settled();
    }
}

#[cfg(test)]
mod tests;
