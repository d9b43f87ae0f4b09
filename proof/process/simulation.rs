//! The simulator of the whole library: see proof/library. `make check-sim` runs it.

use blkalign::proof::library;

#[test]
fn random_runs_keep_every_promise() {
    library::random_runs_keep_every_promise();
}

#[test]
fn fresh_seeds_keep_every_promise() {
    library::fresh_seeds_keep_every_promise();
}

#[test]
fn a_seed_replays_the_same_run() {
    library::a_seed_replays_the_same_run();
}

#[test]
fn memory_is_as_weak_as_the_language_says() {
    library::memory_is_as_weak_as_the_language_says();
}

#[test]
fn small_programs_keep_every_promise() {
    library::small_programs_keep_every_promise();
}
