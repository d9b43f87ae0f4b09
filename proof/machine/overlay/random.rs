//! Random schedules. After some of them the power is lost, and what is left is opened anew and
//! filled: then the file on top alone has to be what was seen.

use std::io::Write;
use std::panic::{catch_unwind, AssertUnwindSafe};

use super::draw::Draw;
use super::world::{Checked, Counts, World};
use crate::io::{Lane, Op};
use crate::proof::rng::Rng;
use crate::Suspected;

const SCHEDULES: u64 = 4_000;
const STEPS_MAX: u64 = 300_000;
const KEY: u64 = 7;

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().and_then(|it| it.parse().ok())
}

pub fn run_schedule(seed: u64, trace: bool) -> Checked<Counts> {
    let draw = Draw::new(seed);
    if trace {
        eprintln!("{draw:#?}");
    }
    match catch_unwind(AssertUnwindSafe(|| run(&draw, trace))) {
        Ok(result) => result,
        Err(panic) => Err(match panic.downcast::<String>() {
            Ok(words) => format!("panic: {words}"),
            Err(other) => format!("panic: {:?}", other.downcast_ref::<&str>()),
        }),
    }
}

fn run(draw: &Draw, trace: bool) -> Checked<Counts> {
    let rng = &mut Rng::new(draw.seed ^ 3);
    let mut world = World::new(draw, trace);
    let mut plugged = None;
    let mut left = None;
    for _ in 0..STEPS_MAX {
        if !step(&mut world, draw, rng, &mut plugged)? {
            world.conclude()?;
            let counts = world.counts;
            if let Some((top, there)) = left {
                fill_what_is_left(draw, top, there, trace)?;
            }
            return Ok(counts);
        }
        if rng.percent(draw.crash_percent) {
            let now = world.lose_power(rng)?;
            if rng.percent(10) {
                left = Some(now);
            }
        }
    }
    Err("the schedule does not end".into())
}

/// One event; false: there is none left.
fn step(
    world: &mut World<'_>,
    draw: &Draw,
    rng: &mut Rng,
    plugged: &mut Option<usize>,
) -> Checked<bool> {
    let more = world.next < draw.plans.len();
    if world.is_probing() && (world.flights.is_empty() || rng.percent(30)) {
        world.repair(rng)?;
        return Ok(true);
    }
    if let Some(queue) = plugged.filter(|_| !more || rng.percent(20)) {
        *plugged = None;
        world.unplug(queue, KEY)?;
        return Ok(true);
    }
    if plugged.is_none() && more && rng.percent(draw.plug_percent) {
        let queue = rng.index(draw.queues.len());
        world.plug(queue, KEY);
        *plugged = Some(queue);
    }
    if world.next > 0 && rng.percent(draw.cancel_percent) {
        let number = rng.index(world.next);
        if world.is_in_flight(number) || rng.percent(10) {
            world.cancel(number)?;
            return Ok(true);
        }
    }
    if rng.percent(draw.notify_percent) && more {
        world.change_notifiers(rng)?;
        return Ok(true);
    }
    let only_answers = !more && world.flights.is_empty() && plugged.is_none();
    if !world.questions.is_empty() && (only_answers || rng.percent(10)) {
        if only_answers {
            world.check_reads_pass()?;
        }
        world.answer(rng)?;
        return Ok(true);
    }
    if more && (world.flights.is_empty() || rng.percent(draw.submit_percent)) {
        world.submit(KEY)?;
        return Ok(true);
    }
    if world.flights.is_empty() {
        return Ok(false);
    }
    let index = rng.index(world.flights.len());
    if rng.percent(30) {
        world.advance(index, rng);
        return Ok(true);
    }
    let result = outcome(world, draw, rng, index);
    world.finish(index, result)?;
    Ok(true)
}

fn outcome(world: &World<'_>, draw: &Draw, rng: &mut Rng, index: usize) -> Result<u64, i32> {
    let io = &world.flights[index].io;
    let moves = matches!(io.op, Op::Read | Op::Write);
    if rng.percent(draw.short_percent) && moves {
        return match rng.percent(30) {
            true => Err(libc::EINTR),
            false => Ok(rng.below(io.bytes)),
        };
    }
    let suspects = draw.queues.iter().any(|it| it.suspected == Suspected::Invalid);
    if moves && suspects && io.lane == Lane::Main && rng.percent(draw.refuse_percent) {
        return Err(libc::EINVAL);
    }
    if matches!(io.op, Op::WriteZeroes | Op::Discard) && rng.percent(draw.refuse_percent) {
        return Err(libc::EOPNOTSUPP);
    }
    if rng.percent(draw.error_percent) {
        return Err(rng.pick(&[libc::EIO, libc::ENOSPC]));
    }
    Ok(io.bytes)
}

/// Opens what a loss of power has left, and fills it.
fn fill_what_is_left(draw: &Draw, top: Vec<u32>, there: Vec<u64>, trace: bool) -> Checked {
    let mut again = draw.clone();
    again.state.there = there;
    again.top = top;
    again.plans.clear();
    again.add_plan(Op::Populate, 0, 0, false);
    (again.no_scratch_percent, again.cancel_percent) = (0, 0);
    again.notify_percent = 0;
    let rng = &mut Rng::new(draw.seed ^ 4);
    let mut world = World::new(&again, trace);
    world.submit(KEY)?;
    while !world.flights.is_empty() {
        let index = rng.index(world.flights.len());
        let bytes = world.flights[index].io.bytes;
        world.finish(index, Ok(bytes))?;
    }
    world.conclude()
}

#[test]
fn random_overlays_hold_their_promises() {
    if let Some(seed) = number("BLKALIGN_OVERLAY_SEED") {
        return assert_eq!(run_schedule(seed, true).map(|_| ()), Ok(()));
    }
    let first = number("BLKALIGN_OVERLAY_FIRST_SEED").unwrap_or(1);
    let schedules = number("BLKALIGN_OVERLAY_SCHEDULES").unwrap_or(SCHEDULES);
    let (mut total, mut violations) = (Counts::default(), 0);
    for seed in first..first + schedules {
        match run_schedule(seed, false) {
            Ok(counts) => total.add(&counts),
            Err(words) => {
                let _ = writeln!(std::io::stderr(), "overlay seed {seed}: {words}");
                violations += 1;
                if violations == 10 {
                    break;
                }
            }
        }
    }
    let _ = writeln!(std::io::stderr(), "overlays: {schedules} schedules, {total:?}");
    assert_eq!(violations, 0, "run again with one of the seeds above for every step of it");
    if schedules >= 1000 {
        assert!(total.backing > 0 && total.failed > 0 && total.crashes > 0 && total.saves > 0);
        assert!(total.repairs > 0 && total.cancelled > 0 && total.announced > 0);
    }
}
