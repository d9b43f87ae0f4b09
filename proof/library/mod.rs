//! The simulator of the whole library: handles, nodes, pools, rings and callbacks, on simulated
//! threads (`proof/world`) and a simulated disk (`proof/world/system`). A seed decides who runs
//! when, how long I/O takes and what goes wrong; it replays a run exactly.
//!
//! ```text
//!   scenario        from a seed: a disk, its faults, handles, threads
//!   run             opens, lets everybody go, closes, looks at what is left
//!   actors          the program: threads that submit or poll, and callbacks
//!   scene           what was asked for, and what became of it
//!   content         what requests write
//!   power           what each may be after a loss of power
//! ```
//!
//! `BLKALIGN_SIM_SEED=n` prints each step of one run; `BLKALIGN_SIM_RUNS=n`,
//! `BLKALIGN_SIM_FIRST_SEED=n` and `BLKALIGN_SIM_SECONDS=n` choose others.

mod actors;
mod content;
mod handles;
mod litmus;
mod notifiers;
mod power;
mod queues;
mod rings;
mod run;
mod scenario;
mod scene;
mod small;
mod split;
mod totals;
mod ways;

use std::io::Write;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use totals::Totals;

/// The fixed seeds.
const RUNS: u64 = 400;

/// One simulation at a time in a process.
static ONE: Mutex<()> = Mutex::new(());

fn from_environment(name: &str) -> Option<u64> {
    let value = std::env::var(name).ok()?;
    Some(value.parse().unwrap_or_else(|_| panic!("{name}={value} is not a number")))
}

/// A test: the seeds that the environment asks for, or the fixed ones.
pub fn random_runs_keep_every_promise() {
    let _one = ONE.lock();
    crate::proof::world::system::pin_to_one_processor();
    if let Some(seed) = from_environment("BLKALIGN_SIM_SEED") {
        let totals = run::run(seed, true);
        eprintln!("seed {seed}: {totals}");
        return;
    }
    let first = from_environment("BLKALIGN_SIM_FIRST_SEED").unwrap_or(1);
    let runs = from_environment("BLKALIGN_SIM_RUNS").unwrap_or(RUNS);
    let mut total = Totals::default();
    let tells = from_environment("BLKALIGN_SIM_TELL").is_some();
    for seed in first..first + runs {
        if tells {
            say(&format!("seed {seed}"));
        }
        total.add(&run::run(seed, false));
    }
    say(&format!("simulator of the library, seeds from {first}: {total}"));
    // Large runs lose none.
    assert!(runs < 100 || total.losses > 2 * runs, "power was hardly ever lost");
}

/// A test: fresh seeds, for as long as the environment says.
pub fn fresh_seeds_keep_every_promise() {
    let Some(seconds) = from_environment("BLKALIGN_SIM_SECONDS") else { return };
    let _one = ONE.lock();
    crate::proof::world::system::pin_to_one_processor();
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let first = since.map_or(1, |since| since.as_nanos() as u64 >> 10) / 1_000_000 * 1_000_000;
    say(&format!("simulator of the library: fresh seeds from {first}"));
    let begin = Instant::now();
    let mut total = Totals::default();
    let mut seed = first;
    while begin.elapsed() < Duration::from_secs(seconds) {
        total.add(&run::run(seed, false));
        seed += 1;
    }
    say(&format!("simulator of the library, {:?}: {total}", begin.elapsed()));
}

/// A test: the same seed gives the same run.
pub fn a_seed_replays_the_same_run() {
    let _one = ONE.lock();
    for seed in [3, 4711, 99] {
        let first = run::run(seed, false).to_string();
        assert_eq!(first, run::run(seed, false).to_string());
    }
}

/// Tests: the simulated memory, by itself.
pub fn memory_is_as_weak_as_the_language_says() {
    let _one = ONE.lock();
    crate::proof::world::system::pin_to_one_processor();
    litmus::a_message_is_seen_by_release_and_acquire_only();
    litmus::of_two_that_store_and_look_one_sees_the_other_by_seqcst_only();
    litmus::of_two_that_count_and_look_one_sees_the_other_by_seqcst_only();
    litmus::nobody_sees_a_place_go_back();
    litmus::of_what_counts_at_once_nothing_is_lost();
    litmus::who_counts_in_between_passes_a_release_on();
    litmus::what_a_lock_guards_is_seen_and_the_lock_from_outside_may_not_be();
    litmus::a_signal_is_heard_by_whoever_reads_it_and_a_value_is_not_old_for_ever();
}

/// Tests: the queues and locks by themselves.
pub fn small_programs_keep_every_promise() {
    let _one = ONE.lock();
    crate::proof::world::system::pin_to_one_processor();
    let programs: &[Program] = &[
        ("serial", queues::serial_callbacks_run_once_in_order_and_drain_sees_the_last),
        ("drain", queues::drains_return_though_others_never_cease),
        ("eventfd", queues::nothing_is_due_behind_a_descriptor_that_is_not_readable),
        ("events", queues::a_thread_that_waits_for_what_is_due_hears_of_it),
        ("pool", queues::a_pool_does_every_job_and_ends_its_threads),
        ("shares", queues::owners_that_hang_stop_no_other),
        ("poll", rings::a_thread_asleep_in_the_ring_is_woken_for_what_is_due),
        ("two in poll", rings::of_two_threads_in_poll_each_gets_its_callback),
        ("descriptor", rings::a_ring_has_nothing_behind_a_descriptor_that_is_not_readable),
        ("room", rings::a_ring_has_room_beside_what_the_kernel_is_about_to_take),
        ("held", rings::what_is_held_back_is_not_left_behind_a_sleeper),
        ("helped", rings::a_call_that_waits_for_a_ring_that_nobody_polls_is_helped),
        ("reap", rings::a_request_that_comes_as_the_reap_job_ends_is_taken_in),
        ("reap deferred", rings::a_request_that_is_deferred_as_the_reap_job_ends_is_carried_out),
        ("held up", rings::a_callback_that_waits_holds_nobody_up),
        ("beside", rings::a_callback_that_waits_for_one_beside_it_holds_nobody_up),
        ("hangs", rings::an_io_that_the_job_carries_out_and_that_hangs_holds_nobody_up),
        ("leaves", rings::what_is_handed_over_to_a_thread_that_leaves_goes_out),
        ("ways", ways::handles_that_come_and_go_at_once_go_one_way),
        ("plugged", rings::what_a_thread_that_ends_holds_back_keeps_no_drain_waiting),
        ("rides", handles::a_write_that_rides_with_a_handle_that_nobody_polls_is_helped),
        ("favours", handles::a_callback_that_waits_for_that_of_another_handle_holds_nobody_up),
        ("closes", handles::a_handle_closes_while_its_write_rides),
        ("split", split::a_driver_that_splits_keeps_units_whole),
        ("cancel", rings::submit_cancel_completion_and_close_meet),
    ];
    for &(name, program) in programs {
        let begin = Instant::now();
        let (count, all) = program();
        let all = if all { ", all there are" } else { "" };
        say(&format!("{name}: {count} schedules{all}, {:?}", begin.elapsed()));
    }
}

/// Gives how many paths there were, and whether these were all.
type Program = (&'static str, fn() -> (usize, bool));

/// Past the test harness, which would swallow it.
fn say(words: &str) {
    let _ = writeln!(std::io::stderr(), "{words}");
}
