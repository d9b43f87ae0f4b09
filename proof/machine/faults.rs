//! What the storage of a schedule does wrong, or refuses to do.

use crate::io::{Io, Op};
use crate::proof::rng::Rng;

#[derive(Debug, Clone, Copy, Default)]
pub struct Faults {
    /// Chances in percent that an I/O ends so.
    pub short_percent: u64,
    pub interrupted_percent: u64,
    pub error_percent: u64,
    /// Chance in percent that the scratch pool is empty.
    pub no_scratch_percent: u64,
    /// The I/O of this request never moves a byte.
    pub wedged: Option<usize>,
    /// What the storage refuses, always, and chance in percent that it refuses at a whim.
    pub refuses: Refuses,
    pub whim_percent: u64,
}

/// By what is asked for.
#[derive(Debug, Clone, Copy, Default)]
pub struct Refuses {
    /// Zero writes that may deallocate; those that may not.
    pub unmap: bool,
    pub zero: bool,
    /// Zero writes that must be quick.
    pub quick: bool,
    pub discard: bool,
}

impl Faults {
    pub fn draw(rng: &mut Rng, requests: usize) -> Self {
        let mut faults = Faults::draw_errors(rng, requests);
        if rng.percent(50) {
            let zero = rng.percent(50);
            faults.refuses = Refuses {
                unmap: rng.percent(50),
                zero,
                quick: zero || rng.percent(50),
                discard: rng.percent(50),
            };
            faults.whim_percent = rng.pick(&[0, 0, 0, 20]);
        }
        faults
    }

    fn draw_errors(rng: &mut Rng, requests: usize) -> Self {
        if rng.percent(50) {
            return Faults::default();
        }
        let mut rate = |chance: u64, most: u64| match rng.percent(chance) {
            true => rng.between(1, most),
            false => 0,
        };
        let mut faults = Faults {
            short_percent: rate(60, 50),
            interrupted_percent: rate(50, 30),
            error_percent: rate(60, 20),
            no_scratch_percent: rate(20, 30),
            wedged: None,
            refuses: Refuses::default(),
            whim_percent: 0,
        };
        if rng.percent(2) {
            faults.wedged = Some(rng.index(requests));
        }
        faults
    }
}

impl Refuses {
    /// Whether the storage never does what this I/O asks for.
    pub fn refuses(&self, io: &Io) -> bool {
        match io.op {
            Op::WriteZeroes if io.may_unmap => self.unmap || (self.quick && io.no_fallback),
            Op::WriteZeroes => self.zero || (self.quick && io.no_fallback),
            Op::Discard => self.discard,
            _ => false,
        }
    }
}
