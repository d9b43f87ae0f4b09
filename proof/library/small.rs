//! Small programs on the library's own locks and queues: all schedules with a few preemptions,
//! and many more at random. Nothing in them may go on only because a time limit ends.

use crate::proof::world::{idle_hook, outside_limits, Choice, Paths, World};

/// Runs `body` under every schedule with up to `preemptions`, at most `most` of them; under every
/// one with a load of an old value and a preemption less, at most a quarter as many; and then
/// `samples` times under random ones. Returns how many there were of the first, and whether these
/// are all.
pub fn explore(
    name: &str,
    preemptions: usize,
    most: usize,
    samples: u64,
    body: impl Fn(),
) -> (usize, bool) {
    let run = |label: String, choice: Choice, tick: u64| {
        let inside = || {
            idle_hook(Box::new(|| Some("only a time limit goes on".to_owned())));
            body();
        };
        World::run(label, choice, tick, false, inside).1
    };
    // A fifth of them in `make check`.
    let thorough = std::env::var_os("BLKALIGN_SIM_THOROUGH").is_some();
    let (most, samples) = if thorough { (most, samples) } else { (most / 5, samples / 5) };
    let depth_first = |mut paths: Paths, most: usize, how: &str| {
        let (mut count, mut all) = (0, false);
        while count < most && !all {
            let label = format!("{name}{how}, path {count}");
            let Choice::Path(next) = run(label, Choice::Path(paths), 0) else { unreachable!() };
            paths = next;
            all = !paths.advance();
            count += 1;
        }
        (count, all)
    };
    let counted = depth_first(Paths::new(preemptions, 0), most, "");
    depth_first(Paths::new(preemptions - 1, 1), most / 4, ", an old value");
    for seed in 0..samples {
        let choice = match seed % 4 {
            0 => Choice::priorities(seed, 20),
            1 => Choice::priorities(seed, 100),
            2 => Choice::random(seed, 3),
            _ => Choice::random(seed, 10),
        };
        run(format!("{name}, random schedule {seed}"), choice, seed % 3 * 50);
    }
    counted
}

/// Waits for a thread; the time that others need is no matter.
pub fn join<T>(thread: crate::sync::thread::JoinHandle<T>) -> T {
    outside_limits(|| thread.join()).unwrap_or_else(|_| unreachable!("panics end the run"))
}
