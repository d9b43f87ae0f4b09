//! The file on top and its map, each with a cache of its own that a loss of power empties in part:
//! of each unit any content is left that it has had since what is certain.

use crate::io::MapPage;
use crate::proof::memory::Label;
use crate::proof::rng::Rng;

/// A content that a unit has had.
#[derive(Debug, Clone)]
struct Version {
    labels: Vec<Label>,
    /// The I/O that brought it, and when that was over.
    io: u64,
    ended: u64,
}

#[derive(Debug)]
pub struct Top {
    unit: u64,
    pub now: Vec<Label>,
    /// By unit: the first one is certain.
    versions: Vec<Vec<Version>>,
}

impl Top {
    pub fn new(labels: Vec<Label>, unit: u64) -> Top {
        let first = |labels: &[Label]| vec![Version { labels: labels.to_vec(), io: 0, ended: 0 }];
        let versions = labels.chunks(unit as usize).map(first).collect();
        Top { unit, now: labels, versions }
    }

    /// The I/O has given a byte in each of these units a value.
    pub fn put(&mut self, offset: u64, labels: impl Iterator<Item = Label>, io: u64) {
        let mut at = offset as usize;
        for label in labels {
            self.now[at] = label;
            at += 1;
        }
        for number in offset / self.unit..(at as u64).div_ceil(self.unit) {
            let from = (number * self.unit) as usize;
            let to = (from + self.unit as usize).min(self.now.len());
            let labels = self.now[from..to].to_vec();
            self.versions[number as usize].push(Version { labels, io, ended: u64::MAX });
        }
    }

    /// The I/O is over; `durable`: a loss of power leaves what it has written.
    pub fn ended(&mut self, io: u64, now: u64, durable: bool) {
        for versions in &mut self.versions {
            versions.iter_mut().filter(|it| it.io == io).for_each(|it| it.ended = now);
            let last = versions.iter().rposition(|it| it.io == io).filter(|_| durable);
            last.iter().for_each(|&last| drop(versions.drain(..last)));
        }
    }

    /// A flush that began then is done.
    pub fn flushed(&mut self, begin: u64) {
        for versions in &mut self.versions {
            let last = versions.iter().rposition(|it| it.ended < begin);
            last.iter().for_each(|&last| drop(versions.drain(..last)));
        }
    }

    /// What a loss of power leaves.
    pub fn left(&self, rng: &mut Rng) -> Vec<Label> {
        let units = self.versions.iter();
        let pick = |versions: &Vec<Version>| versions[rng.index(versions.len())].labels.clone();
        units.flat_map(pick).collect()
    }
}

/// The pages of the map; each is there as a whole or not.
#[derive(Debug)]
pub struct Map {
    certain: Vec<u64>,
    /// What may be there instead.
    perhaps: Vec<MapPage>,
    words: usize,
}

impl Map {
    pub fn new(mut bits: Vec<u64>, page_clusters: u64, clusters: u64) -> Map {
        let words = (page_clusters / 64) as usize;
        bits.resize(clusters.div_ceil(page_clusters) as usize * words, 0);
        Map { certain: bits, perhaps: Vec::new(), words }
    }

    pub fn begin(&mut self, pages: &[MapPage]) {
        self.perhaps.extend_from_slice(pages);
    }

    pub fn end(&mut self, pages: &[MapPage]) {
        for MapPage { number, bits } in pages {
            let first = *number as usize * self.words;
            self.certain[first..first + self.words].copy_from_slice(bits);
        }
        self.perhaps.clear();
    }

    pub fn certain(&self) -> &[u64] {
        &self.certain
    }

    pub fn left(&self, rng: &mut Rng) -> Vec<u64> {
        let mut left = self.certain.clone();
        for page in &self.perhaps {
            if rng.percent(50) {
                let first = page.number as usize * self.words;
                left[first..first + self.words].copy_from_slice(&page.bits);
            }
        }
        left
    }
}

pub fn has(bits: &[u64], cluster: u64) -> bool {
    bits[(cluster / 64) as usize] & 1 << (cluster % 64) != 0
}
