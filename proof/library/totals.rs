//! What runs add up to.

use std::sync::atomic::{AtomicU64, Ordering};

use super::scene::{Ledger, Scene, State};
use crate::proof::power::Seen;
use crate::proof::world::system::device::Device;

#[derive(Debug, Clone, Default)]
pub struct Totals {
    pub runs: u64,
    pub steps: u64,
    pub requests: u64,
    pub synchronous: u64,
    pub failed: u64,
    pub cancelled: u64,
    pub refused: u64,
    pub ios: u64,
    pub io_errors: u64,
    pub shorts: u64,
    pub interrupted: u64,
    pub misaligned: u64,
    pub hung: u64,
    pub losses: u64,
    pub contents: u64,
}

impl Totals {
    pub fn of(_scene: &Scene, ledger: &Ledger, device: &Device, steps: u64, seen: Seen) -> Totals {
        let count = |what: &dyn Fn(&super::scene::Entry) -> bool| {
            ledger.entries.iter().filter(|its| what(its)).count() as u64
        };
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let counts = &device.counts;
        Totals {
            runs: 1,
            steps,
            requests: ledger.entries.len() as u64,
            synchronous: count(&|its| its.synchronous),
            failed: count(&|its| matches!(its.state, State::Over(ret) if ret < 0)),
            cancelled: count(&|its| its.cancelled),
            refused: count(&|its| its.state == State::Refused),
            ios: of(&counts.ios),
            io_errors: of(&counts.failed),
            shorts: of(&counts.shorts),
            interrupted: of(&counts.interrupted),
            misaligned: of(&counts.refused),
            hung: of(&counts.hung),
            losses: seen.crashes,
            contents: seen.contents,
        }
    }

    pub fn add(&mut self, other: &Totals) {
        self.runs += other.runs;
        self.steps += other.steps;
        self.requests += other.requests;
        self.synchronous += other.synchronous;
        self.failed += other.failed;
        self.cancelled += other.cancelled;
        self.refused += other.refused;
        self.ios += other.ios;
        self.io_errors += other.io_errors;
        self.shorts += other.shorts;
        self.interrupted += other.interrupted;
        self.misaligned += other.misaligned;
        self.hung += other.hung;
        self.losses += other.losses;
        self.contents += other.contents;
    }
}

impl std::fmt::Display for Totals {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} runs, {} requests ({} synchronous, {} failed, {} cancelled, {} refused), {} I/Os; \
             injected: {} errors, {} short, {} interrupted, {} misaligned, {} hung; {} losses of \
             power, {} contents of a block; {} steps",
            self.runs,
            self.requests,
            self.synchronous,
            self.failed,
            self.cancelled,
            self.refused,
            self.ios,
            self.io_errors,
            self.shorts,
            self.interrupted,
            self.misaligned,
            self.hung,
            self.losses,
            self.contents,
            self.steps
        )
    }
}
