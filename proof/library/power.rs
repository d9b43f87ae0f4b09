//! Loss of power in a run, at moments that are chosen when it is over: what the disk may have kept
//! then (`crate::proof::power`) is held against what requests had been told by then. So rings,
//! drivers and all completion modes are asked what `crate::proof::power` asks of the engine of
//! threads.

use super::content;
use super::scene::{Entry, Ledger, Scene, State};
use crate::driver::Op;
use crate::proof::model::{Change, Data};
use crate::proof::power::{objection, Asked, History, Seen};
use crate::proof::rng::Rng;
use crate::proof::world::fail;

/// Losses of power in a run.
const LOSSES: u64 = 3;
/// Each of more requests is held against too many others.
const REQUESTS_MAX: usize = 120;

/// As far as it had come at that moment; None: it had no part in it.
fn asked(entry: &Entry, moment: u64) -> Option<Asked> {
    // Refused, cancelled and put off: nothing was done for it.
    let nothing = match entry.state {
        State::Refused => true,
        State::Over(ret) => matches!(-ret, libc::ECANCELED | libc::EBUSY),
        State::Underway => false,
    };
    if nothing || entry.submitted > moment || entry.op == Op::Read {
        return None;
    }
    let Entry { op, offset, bytes, .. } = *entry;
    let data = match op {
        Op::Write => Data::Bytes(content::bytes(entry.tag, offset, offset + bytes)),
        Op::Flush => Data::Zeros(0),
        _ => Data::Zeros(bytes as usize),
    };
    let change = Change {
        offset: offset as usize,
        data,
        begun: entry.submitted,
        ended: entry.completed.filter(|&end| end <= moment),
        // Which of two threads was first, nobody knows.
        ordered: false,
    };
    Some(Asked { op, change, fua: entry.fua, unit: 0, length: None })
}

/// How much was looked at. What is wrong ends the process, with words.
pub fn lose(scene: &Scene, ledger: &Ledger) -> Seen {
    let mut seen = Seen::default();
    // The page cache gathers parts of a sector before that goes out, which `crate::proof::power`
    // takes for writes by themselves; it has runs of its own for that.
    let in_page_cache = scene.places.first().is_some_and(|first| !first.direct);
    if ledger.entries.len() > REQUESTS_MAX || in_page_cache {
        return seen;
    }
    let record = &scene.device.record;
    let end = record.tick();
    let mut rng = Rng::new(end);
    let initial = content::bytes(0, 0, scene.scenario.shape.bytes as u64);
    for loss in 0..LOSSES {
        let moment = if loss == 0 { end } else { rng.below(end) };
        let all = ledger.entries.iter().filter_map(|entry| asked(entry, moment));
        let history = History { initial: initial.clone(), asked: all.collect() };
        let block = if rng.percent(50) { 512 } else { 4096 };
        let events = record.at(moment);
        if let Some(why) = objection(&history, &events, block, 0, &mut rng, &mut seen) {
            fail(&format!("power lost at tick {moment} of {end}: {why}"));
        }
    }
    seen
}
