//! The tests: which storage, which handles, how many runs.

use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use super::check::Seen;
use super::workload::World;
use crate::handle::Options;
use crate::proof::disk::gate::Gate;
use crate::proof::disk::hooked::Hooked;
use crate::proof::disk::Shape;

/// Runs of each kind of storage in the common test.
const SEEDS: u64 = 12;

pub struct Config {
    name: &'static str,
    pub shape: Shape,
    pub handles: Vec<Options>,
    /// What the disk keeps whole.
    pub block: usize,
    /// The torn-read promise of all handles, 0: none.
    pub unit: usize,
    /// By handle: writes may linger in the disk's cache.
    pub cached: Vec<AtomicBool>,
}

fn config(
    name: &'static str,
    shape: Shape,
    block: usize,
    unit: usize,
    handles: Vec<Options>,
) -> Config {
    let cached = handles.iter().map(|options| AtomicBool::new(!options.writethrough)).collect();
    Config { name, shape, handles, block, unit, cached }
}

fn configs() -> Vec<Config> {
    let direct = || Options { direct: true, unmap: true, ..Options::default() };
    let stable = || Options { stable_writes: true, no_merge: true, queue_depth: 2, ..direct() };
    let through = || Options { writethrough: true, ..direct() };
    let growing = || Options { resize: true, ..direct() };
    let buffered = || Options { direct: false, ..direct() };
    let on_device = || vec![direct(), through(), stable()];
    let on_file = || vec![growing(), direct(), buffered()];
    let torn = |unit: usize| Options { guest_block_size: unit as u32, ..direct() };
    let no_dsync = |shape| Shape { knows_dsync: false, ..shape };
    let atomic = |block| Shape { atomic_max: 16384, ..Shape::device().with_blocks(block) };
    vec![
        config("device", Shape::device(), 4096, 0, on_device()),
        config("device that tears blocks", Shape::device(), 512, 0, on_device()),
        config("device without RWF_DSYNC", no_dsync(Shape::device()), 4096, 0, on_device()),
        config("file", Shape::file(), 4096, 0, on_file()),
        config("file on a disk that tears blocks", Shape::file(), 512, 0, on_file()),
        config("file without RWF_DSYNC", no_dsync(Shape::file()), 4096, 0, on_file()),
        config("atomic writes", atomic(4096), 4096, 8192, vec![torn(8192), torn(8192)]),
        config("atomic writes of small blocks", atomic(512), 512, 4096, vec![torn(4096)]),
    ]
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

fn run(gate: &'static Hooked<Gate>, at: usize, seed: u64) -> Seen {
    let config = &configs()[at];
    let mut world = World::new(gate, config, seed);
    let result = world.run();
    let seen = world.seen;
    drop(world);
    if let Err(wrong) = result {
        panic!(
            "power lost, {}: {wrong}\nagain: BLKALIGN_POWER_SEED={seed} cargo test --lib power",
            config.name
        );
    }
    seen
}

#[test]
fn what_was_promised_survives_a_loss_of_power_at_any_moment() {
    let begin = Instant::now();
    let gate = Gate::table(Shape::device());
    let only = number("BLKALIGN_POWER_SEED");
    let until = begin + Duration::from_secs(number("BLKALIGN_POWER_SECONDS").unwrap_or(0));
    let mut seed = only.unwrap_or(1);
    let (mut runs, mut all) = (0, Seen::default());
    while (only.is_none() && (seed <= SEEDS || Instant::now() < until)) || runs == 0 {
        for at in 0..configs().len() {
            let seen = run(gate, at, seed);
            runs += 1;
            all.crashes += seen.crashes;
            all.contents += seen.contents;
        }
        seed += 1;
    }
    println!(
        "power: {runs} runs (seeds {}..{seed}), {} losses of power, {} contents of a block, {:.1} s",
        only.unwrap_or(1),
        all.crashes,
        all.contents,
        begin.elapsed().as_secs_f32()
    );
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let gate = Gate::table(Shape::device());
    let events = |at: usize| {
        let config = &configs()[at];
        let mut world = World::new(gate, config, 77);
        world.run().expect("nothing is wrong with it");
        gate.events()
    };
    for at in 0..configs().len() {
        let (first, second) = (events(at), events(at));
        assert!(first.len() > 50);
        assert_eq!(format!("{first:?}"), format!("{second:?}"), "{}", configs()[at].name);
    }
}
