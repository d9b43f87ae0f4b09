//! The simulator of the whole library: see src/sim. `make check-sim` runs it.

use blkalign::sim;

#[test]
fn random_runs_keep_every_promise() {
    sim::random_runs_keep_every_promise();
}

#[test]
fn fresh_seeds_keep_every_promise() {
    sim::fresh_seeds_keep_every_promise();
}

#[test]
fn a_seed_replays_the_same_run() {
    sim::a_seed_replays_the_same_run();
}

#[test]
fn memory_is_as_weak_as_the_language_says() {
    sim::memory_is_as_weak_as_the_language_says();
}

#[test]
fn small_programs_keep_every_promise() {
    sim::small_programs_keep_every_promise();
}
