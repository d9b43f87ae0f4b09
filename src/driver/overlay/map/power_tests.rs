//! Loss of power and sudden ends of the process at any moment, again and again on one map, by a
//! seed. What is asked: what is found is durable, and for each page it is one of the states that
//! were written since the last sync, or the one before; once found it stays.

use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex as Lock;

use super::*;
use crate::proof::disk::hooked::{Bed, Hook, Hooked, Real, SystemCall, ALL};
use crate::proof::disk::testbed::Directory;
use crate::proof::rng::Rng;
use crate::proof::table::with_calls;

const CLUSTER: u32 = 4096;
const PAGES: usize = 3;
const LENGTH: u64 = 31232 * 4096 * (PAGES as u64 - 1) + 640 * 4096;

/// What the storage has, and what is on its way.
#[derive(Default)]
struct Medium {
    durable: Vec<u8>,
    pending: Vec<(usize, Vec<u8>)>,
}

impl Medium {
    /// Of each sector of what is on its way that arrives for which `arrives` says so.
    fn settle(&mut self, mut arrives: impl FnMut() -> bool) {
        for (offset, data) in std::mem::take(&mut self.pending) {
            for (at, sector) in data.chunks(format::SECTOR).enumerate() {
                let begin = offset + at * format::SECTOR;
                if arrives() {
                    self.durable.resize(self.durable.len().max(begin + sector.len()), 0);
                    self.durable[begin..begin + sector.len()].copy_from_slice(sector);
                }
            }
        }
    }
}

/// Takes down what is written and what is made durable.
struct Recorder {
    medium: Arc<Lock<Medium>>,
}

impl Hook for Recorder {
    fn call(&self, call: SystemCall<'_>, real: Real<'_>) -> Result<i64, Errno> {
        let mut medium = self.medium.lock();
        match call {
            SystemCall::Write { iov: [one], offset, .. } => {
                // SAFETY: whoever made the call vouches for the memory.
                let data =
                    unsafe { std::slice::from_raw_parts(one.iov_base.cast::<u8>(), one.iov_len) };
                let begin = offset as usize;
                let overlaps = |(other, bytes): &(usize, Vec<u8>)| {
                    begin < other + bytes.len() && *other < begin + data.len()
                };
                assert!(!medium.pending.iter().any(overlaps), "two writes at once at {begin}");
                medium.pending.push((begin, data.to_vec()));
            }
            SystemCall::Sync { .. } => medium.settle(|| true),
            SystemCall::Truncate { length } => medium.durable.resize(length as usize, 0),
            _ => {}
        }
        real(ALL)
    }
}

struct Bench {
    _directory: Directory,
    path: PathBuf,
    table: &'static Hooked<Recorder>,
    medium: Arc<Lock<Medium>>,
}

impl Bench {
    fn new() -> Bench {
        let directory = Directory::quick().unwrap();
        let path = directory.path().join("disk.map");
        let medium = Arc::new(Lock::new(Medium::default()));
        let table = Hooked::table(Bed::Linux, Recorder { medium: medium.clone() });
        Bench { _directory: directory, path, table, medium }
    }

    fn open(&self) -> (MapFile, Vec<Vec<u64>>) {
        let (map, bits) = with_calls(self.table, || MapFile::open(&self.path, LENGTH))
            .unwrap_or_else(|error| panic!("{error}"));
        (map, bits.chunks(WORDS).map(|page| padded(page.to_vec())).collect())
    }

    /// Power is lost; of what was on its way something arrives.
    fn lose_power(&self, rng: &mut Rng) {
        let mut medium = self.medium.lock();
        let chance = [0, 10, 50, 90, 100][rng.index(5)];
        medium.settle(|| rng.percent(chance));
        std::fs::write(&self.path, &medium.durable).unwrap();
    }
}

fn padded(mut bits: Vec<u64>) -> Vec<u64> {
    bits.resize(WORDS, 0);
    bits
}

/// The states of each page that may be found; the last is what the process knows.
type States = Vec<Vec<Vec<u64>>>;

/// Some more clusters of a page are there.
fn more(bits: &[u64], page: usize, rng: &mut Rng) -> Vec<u64> {
    let words = if page + 1 < PAGES { WORDS } else { 10 };
    let mut bits = bits.to_vec();
    for _ in 0..1 + rng.index(20) {
        bits[rng.index(words)] |= rng.next();
    }
    bits
}

fn check(states: &mut States, found: Vec<Vec<u64>>, seed: u64) {
    for (page, (states, found)) in states.iter_mut().zip(found).enumerate() {
        assert!(states.contains(&found), "seed {seed}: page {page} is in no state that it had");
        *states = vec![found];
    }
}

fn run(seed: u64) {
    let mut rng = Rng::new(seed);
    let bench = Bench::new();
    with_calls(bench.table, || MapFile::create(&bench.path, LENGTH, CLUSTER)).unwrap();
    let mut states: States = vec![vec![vec![0; WORDS]]; PAGES];
    let (mut map, found) = bench.open();
    check(&mut states, found, seed);
    for _ in 0..60 {
        match rng.index(10) {
            0..6 => {
                let page = rng.index(PAGES);
                let bits = more(states[page].last().unwrap(), page, &mut rng);
                states[page].push(bits.clone());
                map.write_page(page as u64, &bits).unwrap();
            }
            6..8 => {
                map.sync().unwrap();
                states.iter_mut().for_each(|of| *of = vec![of.last().unwrap().clone()]);
            }
            8 => {
                drop(map);
                bench.lose_power(&mut rng);
                let opened = bench.open();
                map = opened.0;
                check(&mut states, opened.1, seed);
            }
            // The process ends; what it wrote stays in the page cache.
            _ => {
                drop(map);
                states.iter_mut().for_each(|of| *of = vec![of.last().unwrap().clone()]);
                let opened = bench.open();
                map = opened.0;
                check(&mut states, opened.1, seed);
            }
        }
    }
}

#[test]
fn what_is_durable_survives_any_loss_of_power() {
    let one = std::env::var("BLKALIGN_POWER_SEED").ok().map(|seed| seed.parse().unwrap());
    let seeds = one.map_or(0..200, |seed| seed..seed + 1);
    seeds.for_each(run);
}

/// A creation that power cuts short leaves no map, or one in which nothing is there.
#[test]
fn a_creation_cut_short_leaves_no_map_or_an_empty_one() {
    let bench = Bench::new();
    with_calls(bench.table, || MapFile::create(&bench.path, LENGTH, CLUSTER)).unwrap();
    let whole = std::fs::read(&bench.path).unwrap();
    for bytes in [0, 100, SLOT, SLOT + 100, whole.len() - SLOT, whole.len()] {
        for header in [0, 1, 8, 12, 16, 24, 508, 512] {
            let mut left = whole.clone();
            left.resize(bytes, 0);
            let zeros = header.min(bytes)..format::SECTOR.min(bytes);
            left[zeros].fill(0);
            std::fs::write(&bench.path, left).unwrap();
            let opened = MapFile::open(&bench.path, LENGTH);
            match (bytes, header) {
                (all, 512) if all == whole.len() => {
                    assert!(opened.unwrap().1.iter().all(|word| *word == 0));
                }
                _ => assert_eq!(opened.err().unwrap().errno, libc::EINVAL, "{bytes} {header}"),
            }
        }
    }
}
