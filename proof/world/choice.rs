//! What decides: a seed, or one path after the other through all that can be chosen.

pub use crate::proof::rng::Rng;

/// How a run is decided.
pub enum Choice {
    /// A thread goes on with a chance of `stick - 1` in `stick`; else any that can.
    Random { rng: Rng, stick: u64, old: u64 },
    /// The thread with the highest priority runs; with a chance of 1 in `change` at each step it
    /// becomes the lowest (after Burckhardt and others, "A Randomized Scheduler with Probabilistic
    /// Guarantees of Finding Bugs").
    Priorities { rng: Rng, change: u64, ranks: Vec<i64>, lowest: i64, old: u64 },
    /// What a path says.
    Path(Paths),
}

impl Choice {
    pub fn random(seed: u64, stick: u64) -> Choice {
        Choice::Random { rng: Rng::new(seed), stick, old: old(seed) }
    }

    pub fn priorities(seed: u64, change: u64) -> Choice {
        let (rng, old) = (Rng::new(seed), old(seed));
        Choice::Priorities { rng, change, ranks: Vec::new(), lowest: 0, old }
    }

    /// One of `bound` things that are no matter of the schedule; paths lead through the first only.
    pub fn below(&mut self, bound: u64) -> u64 {
        match self {
            Choice::Random { rng, .. } | Choice::Priorities { rng, .. } => rng.below(bound),
            Choice::Path(_) => 0,
        }
    }

    /// Something with that chance happens; on paths it never does.
    pub fn percent(&mut self, chance: u64) -> bool {
        match self {
            Choice::Path(_) => false,
            _ => chance > 0 && self.below(100) < chance,
        }
    }

    /// One of so many threads that are to be woken.
    pub fn sleeper(&mut self, count: usize) -> usize {
        match self {
            Choice::Path(paths) => paths.take(count),
            _ => self.below(count as u64) as usize,
        }
    }

    /// How many values back a load reads that may read the newest or any of `count` before it.
    pub fn old(&mut self, count: usize) -> usize {
        match self {
            Choice::Path(paths) => paths.old(count),
            Choice::Random { old, .. } | Choice::Priorities { old, .. } => {
                let chance = *old;
                match count > 0 && self.percent(chance) {
                    true => 1 + self.below(count as u64) as usize,
                    false => 0,
                }
            }
        }
    }

    /// Which of `able` runs; `current` is the one that ran, if it is among them.
    pub fn next(&mut self, able: &[usize], current: Option<usize>) -> usize {
        match self {
            Choice::Random { rng, stick, .. } => match current {
                Some(current) if rng.below(*stick) != 0 => current,
                _ => able[rng.below(able.len() as u64) as usize],
            },
            Choice::Priorities { rng, change, ranks, lowest, .. } => {
                let most = able.iter().max().map_or(0, |most| most + 1);
                while ranks.len() < most {
                    ranks.push((rng.next() >> 2) as i64);
                }
                if let (Some(current), 0) = (current, rng.below(*change)) {
                    *lowest -= 1;
                    ranks[current] = *lowest;
                }
                able.iter().copied().max_by_key(|&at| ranks[at]).unwrap_or(able[0])
            }
            Choice::Path(paths) => paths.next(able, current),
        }
    }
}

/// In how many of a hundred loads an old value is read where one can be.
fn old(seed: u64) -> u64 {
    [0, 10, 30, 60][Rng::new(!seed).below(4) as usize]
}

/// Depth first through all choices, with at most so many preemptions, and loads of an old value,
/// on each path.
#[derive(Debug, Clone, Default)]
pub struct Paths {
    /// What was chosen, and of how many.
    path: Vec<(usize, usize)>,
    at: usize,
    preemptions: usize,
    left: usize,
    olds: usize,
    olds_left: usize,
}

impl Paths {
    pub fn new(preemptions: usize, olds: usize) -> Paths {
        let (left, olds_left) = (preemptions, olds);
        Paths { preemptions, left, olds, olds_left, ..Paths::default() }
    }

    /// The next path; false: there is none left.
    pub fn advance(&mut self) -> bool {
        self.at = 0;
        self.left = self.preemptions;
        self.olds_left = self.olds;
        while let Some((chosen, of)) = self.path.pop() {
            if chosen + 1 < of {
                self.path.push((chosen + 1, of));
                return true;
            }
        }
        false
    }

    fn take(&mut self, of: usize) -> usize {
        if of <= 1 {
            return 0;
        }
        if self.at == self.path.len() {
            self.path.push((0, of));
        }
        let (chosen, before) = self.path[self.at];
        assert_eq!(before, of, "a path leads elsewhere the second time");
        self.at += 1;
        chosen
    }

    fn old(&mut self, count: usize) -> usize {
        if self.olds_left == 0 {
            return 0;
        }
        let back = self.take(1 + count);
        self.olds_left -= usize::from(back > 0);
        back
    }

    fn next(&mut self, able: &[usize], current: Option<usize>) -> usize {
        let Some(current) = current else { return able[self.take(able.len())] };
        if self.left == 0 {
            return current;
        }
        // The one that ran first.
        let others: Vec<usize> = able.iter().copied().filter(|&at| at != current).collect();
        match self.take(1 + others.len()) {
            0 => current,
            other => {
                self.left -= 1;
                others[other - 1]
            }
        }
    }
}
