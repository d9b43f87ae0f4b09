//! Random schedules: notifiers come and go, answer late or at once, and refuse, among requests of
//! every kind, faults, cancels, plugs, throttles and repairs.

use super::super::directed;
use super::desk::{Desk, End};
use crate::io::Op;
use crate::proof::rng::Rng;
use crate::{Alignments, QueueConfig, RequestFlags, Suspected};

const SCHEDULES: u64 = 20_000;

/// What the requests of a schedule are like.
struct Mood {
    ops: Vec<Op>,
    serialising_percent: u64,
    no_wait_percent: u64,
    guest_percent: u64,
    hot: bool,
    cancel_percent: u64,
    fault_percent: u64,
    refuse_percent: u64,
    plugs: bool,
    holds: bool,
    notifiers_max: usize,
    resize: bool,
}

fn mood(rng: &mut Rng) -> Mood {
    let mut ops = vec![Op::Write, Op::Write, Op::Write, Op::Read, Op::Read];
    if rng.percent(50) {
        ops.extend([Op::WriteZeroes, Op::Discard, Op::Flush]);
    }
    let resize = rng.percent(30);
    if resize {
        ops.extend([Op::Truncate, Op::Length]);
    }
    Mood {
        ops,
        serialising_percent: rng.pick(&[0, 0, 10]),
        no_wait_percent: rng.pick(&[0, 0, 20]),
        guest_percent: rng.pick(&[0, 0, 40]),
        hot: rng.percent(50),
        cancel_percent: rng.pick(&[0, 0, 5, 15]),
        fault_percent: rng.pick(&[0, 0, 5]),
        refuse_percent: rng.pick(&[0, 5, 20]),
        plugs: rng.percent(40),
        holds: rng.percent(20),
        notifiers_max: rng.pick(&[1, 1, 2, 3]),
        resize,
    }
}

fn config(rng: &mut Rng, mood: &Mood) -> QueueConfig {
    let block = rng.pick(&[4, 8, 16]);
    QueueConfig {
        alignments: Alignments { request: block, memory: 4, segment: 4 },
        max_transfer: 128,
        max_segments: 8,
        depth: rng.pick(&[1, 2, 5, 64]),
        granule: rng.pick(&[block, block, 2 * block]),
        last_unit: if mood.resize { block } else { 0 },
        resize: mood.resize,
        unmap: true,
        discard_alignment: block,
        dataless_max: 128,
        no_merge: rng.percent(20),
        copy_edges: rng.percent(50),
        suspected: Suspected::Invalid,
        ..directed::config()
    }
}

fn submit(desk: &mut Desk, rng: &mut Rng, mood: &Mood, queues: usize) {
    let op = rng.pick(&mood.ops);
    let most = if mood.hot { 24 } else { 160 };
    let (mut offset, mut bytes) = match rng.percent(30) {
        true => (16 * rng.below(most / 8), 16 * rng.between(1, 4)),
        false => (rng.below(most), 1 + rng.below(20)),
    };
    match op {
        Op::Truncate | Op::Length => (offset, bytes) = (rng.between(200, 300), 0),
        Op::Flush => (offset, bytes) = (0, 0),
        // Past the end.
        Op::Write | Op::WriteZeroes if mood.resize && rng.percent(15) => {
            offset = rng.between(190, 280);
        }
        _ => {}
    }
    if op == Op::Length {
        offset = desk.machine.length();
    }
    let mut request = desk.request(op, offset, bytes);
    request.flags = RequestFlags {
        fua: op == Op::Write && rng.percent(5),
        serialising: rng.percent(mood.serialising_percent),
        no_wait: rng.percent(mood.no_wait_percent),
        ..RequestFlags::default()
    };
    if rng.percent(mood.guest_percent) {
        request.guest_block = rng.pick(&[4, 16, 32]);
    }
    let queue = rng.index(queues) as u32;
    if mood.holds && rng.percent(30) {
        desk.note_sent(queue, &request);
        let id = desk.machine.hold(queue, Some(1), request);
        return desk.note_id(id);
    }
    if mood.plugs && rng.percent(10) {
        desk.note_sent(queue, &request);
        let id = desk.machine.submit_now(queue, 1, request);
        return desk.note_id(id);
    }
    desk.submit(queue, request);
}

/// An I/O, a question or a probe comes to its end; false: there is none.
fn end_one(desk: &mut Desk, rng: &mut Rng, mood: &Mood) -> bool {
    let open = desk.open_questions();
    let answers = !open.is_empty() && (desk.flights.is_empty() || rng.percent(40));
    if answers {
        let refuses = rng.percent(mood.refuse_percent);
        let result = if refuses { Err(rng.pick(&[libc::EIO, libc::ENOSPC])) } else { Ok(()) };
        desk.answer(open[rng.index(open.len())], result);
        return true;
    }
    if !desk.probes.is_empty() {
        desk.answer_probe();
        return true;
    }
    if desk.flights.is_empty() {
        return false;
    }
    let index = rng.index(desk.flights.len());
    let flight = &desk.flights[index];
    let simple = flight.io.joined.is_empty() && !flight.moved && flight.io.op != Op::Fill;
    let moves = matches!(flight.io.op, Op::Read | Op::Write);
    let end = match simple {
        true if rng.percent(mood.fault_percent) => End::Failed(libc::EIO),
        true if moves && rng.percent(10) => End::Short(rng.below(flight.io.bytes)),
        _ => End::Full,
    };
    desk.finish(index, end);
    true
}

fn let_go(desk: &mut Desk, queue: u32) {
    let held = desk.machine.table.known_queue(queue).held.back().map(|held| held.slot);
    if let Some(slot) = held {
        let last = desk.machine.table.known(slot).id;
        desk.now += 1;
        desk.machine.let_go(queue, last);
        desk.take_in();
    }
}

pub struct Totals {
    pub questions: usize,
    pub merged: u64,
    pub repairs: u64,
    pub refused: usize,
    pub added_late: usize,
}

pub fn run_schedule(seed: u64, trace: bool) -> Totals {
    let mut rng = Rng::new(seed);
    let mood = mood(&mut rng);
    let queues = rng.pick(&[1, 1, 2, 3]);
    let first = config(&mut rng, &mood);
    let configs: Vec<QueueConfig> = (0..queues).map(|_| first.clone()).collect();
    let mut desk = Desk::new(&configs, seed);
    (desk.trace, desk.moves_early) = (trace, rng.percent(50));
    desk.say(&|| format!("seed {seed}: {first:?}"));
    let repairs = !mood.resize && rng.percent(15);
    let mut added_late = 0;
    for _ in 0..rng.between(4, 40) {
        if repairs && rng.percent(3) {
            desk.wants = rng.pick(&[16, 32]);
        }
        let there = desk.notifiers.iter().filter(|its| !its.removed).count();
        if rng.percent(20) && there < mood.notifiers_max {
            desk.add(rng.pick(&[1, 1, 4, 16, 64, 1 << 30]));
            added_late += usize::from(desk.machine.is_adding());
        } else if rng.percent(5) && there > 0 {
            let its = desk.notifiers.iter().filter(|its| !its.removed);
            let ids: Vec<u64> = its.map(|its| its.id).collect();
            desk.remove(rng.pick(&ids));
        }
        let queue = rng.index(queues) as u32;
        if mood.plugs && rng.percent(20) {
            desk.machine.plug(queue, 1);
        }
        submit(&mut desk, &mut rng, &mood, queues);
        if mood.plugs && rng.percent(20) {
            desk.now += 1;
            desk.machine.unplug(queue, 1);
            desk.take_in();
        }
        if mood.holds && rng.percent(20) {
            let_go(&mut desk, queue);
        }
        if rng.percent(mood.cancel_percent) {
            let number = rng.index(desk.sent.len());
            desk.cancel(number);
        }
        while rng.percent(60) && end_one(&mut desk, &mut rng, &mood) {}
    }
    for round in 0.. {
        while end_one(&mut desk, &mut rng, &mood) {
            assert!(desk.now < 100_000, "it never ends");
        }
        if round == 2 {
            break;
        }
        for queue in 0..queues as u32 {
            let_go(&mut desk, queue);
            desk.now += 1;
            desk.machine.submit_all_plugged(queue);
            desk.take_in();
        }
    }
    desk.conclude();
    let stats = |queue: usize| desk.machine.stats(queue as u32);
    Totals {
        questions: desk.questions.len(),
        merged: (0..queues).map(|queue| stats(queue).merged).sum(),
        repairs: (0..queues).map(|queue| stats(queue).probe_repairs).sum(),
        refused: desk.sent.iter().filter(|sent| sent.refused.is_some()).count(),
        added_late,
    }
}

#[test]
fn random_changes_wait_for_their_notifiers() {
    let number = |name: &str| std::env::var(name).ok().map(|value| value.parse().expect(name));
    if let Some(seed) = number("BLKALIGN_NOTIFIER_SEED") {
        run_schedule(seed, true);
        return;
    }
    let schedules = number("BLKALIGN_MACHINE_SCHEDULES").unwrap_or(SCHEDULES);
    let first = number("BLKALIGN_MACHINE_FIRST_SEED").unwrap_or(1);
    let mut sum = Totals { questions: 0, merged: 0, repairs: 0, refused: 0, added_late: 0 };
    for seed in first..first + schedules {
        let run = std::panic::catch_unwind(|| run_schedule(seed, false));
        let its = run.unwrap_or_else(|_| panic!("BLKALIGN_NOTIFIER_SEED={seed}"));
        sum.questions += its.questions;
        sum.merged += its.merged;
        sum.repairs += its.repairs;
        sum.refused += its.refused;
        sum.added_late += its.added_late;
    }
    eprintln!(
        "simulator: {schedules} schedules, {} questions ({} refused), {} merged, {} repairs, {} \
         notifiers that had to wait",
        sum.questions, sum.refused, sum.merged, sum.repairs, sum.added_late
    );
    if schedules >= 1000 {
        assert!(sum.questions > 0 && sum.merged > 0 && sum.repairs > 0 && sum.refused > 0);
        assert!(sum.added_late > 0);
    }
}
