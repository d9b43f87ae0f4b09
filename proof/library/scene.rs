//! What all threads of a run share: handles, what was asked for, and what became of it.

use std::ffi::{c_int, c_void};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::Arc;

use parking_lot::Mutex;

use super::content::{self, Tag};
use super::scenario::{Plan, Scenario};
use crate::driver::{MemoryCopy, Op, Segment};
use crate::engine::{run_copies, StableCopy};
use crate::handle::{CompletionMode, Handle};
use crate::proof::model::{Data, Model, Outcome};
use crate::proof::world::memory::{self, Deed, Meeting, View};
use crate::proof::world::system::device::Device;
use crate::proof::world::system::pieces::read_memory;
use crate::proof::world::{fail, trace, wake_all, Key};
use crate::throttle::Throttle;

pub struct Place {
    pub plan: Plan,
    /// Not through the page cache.
    pub direct: bool,
    /// None once it is closed.
    pub handle: Mutex<Option<Arc<Handle>>>,
    /// Whoever closes it knows what others have done with it.
    pub used: Meeting,
    /// Callbacks that run now.
    pub running: AtomicUsize,
    /// Threads that take callbacks.
    pub polled: AtomicUsize,
    /// Those of them that have ended, by number.
    pub ended: Mutex<Vec<usize>>,
    /// Pollers are to end.
    pub stopping: AtomicBool,
    /// Drains that have not returned.
    pub draining: AtomicUsize,
    /// Times that somebody holds requests back.
    pub plugs: AtomicUsize,
    /// Calls that cancel all, and how many requests those that returned have cancelled.
    pub cancelling_all: AtomicUsize,
    pub cancelled_together: AtomicUsize,
    /// It is being closed: callbacks leave the handle alone.
    pub closing: AtomicBool,
    /// Requests that callbacks may still make.
    pub follow_ups: AtomicUsize,
    /// How often it has paused the object, or begun to.
    pub pauses: AtomicUsize,
    /// Pauses that are not over.
    pub pausing: AtomicUsize,
}

pub struct Scene {
    pub scenario: Scenario,
    pub device: Arc<Device>,
    pub places: Vec<Place>,
    pub ledger: Mutex<Ledger>,
    /// Handles get one of these, and lose it, at any moment.
    pub throttles: [Arc<Throttle>; 2],
    /// What notifiers have been asked and have not answered; how many came and went.
    pub questions: AtomicUsize,
    pub notified: AtomicUsize,
}

pub struct Ledger {
    pub model: Model,
    pub entries: Vec<Entry>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    Underway,
    /// Its callback has begun, or its call has returned.
    Over(i32),
    /// The call failed: nothing comes of it.
    Refused,
}

pub struct Entry {
    pub place: usize,
    pub op: Op,
    pub offset: u64,
    pub bytes: u64,
    pub tag: Tag,
    pub synchronous: bool,
    pub no_wait: bool,
    pub state: State,
    pub id: Option<u64>,
    /// The submitting call has returned.
    pub returned: bool,
    /// Durable when it is over.
    pub fua: bool,
    /// By the disk's clock: before the call; when it was over.
    pub submitted: u64,
    pub completed: Option<u64>,
    /// What its thread knew then: who has the id from it knows as much.
    pub known: View,
    /// It was asked for, as its callback has to know; it was called back, as `drain` has to.
    pub asked: Deed,
    pub answered: Deed,
    /// A cancel said that it will end with ECANCELED.
    pub cancelled: bool,
    /// Threads that are asking for it.
    pub cancelling: usize,
    /// Somebody cancelled all while it was underway.
    pub with_all: bool,
    /// With a margin on both sides.
    memory: StableCopy,
    margin: usize,
    /// The library has a copy of it; it may be changed.
    given_away: bool,
}

/// Woken when a request is over, and when a poller ends.
pub const SOMETHING_ENDED: Key = Key::Thing(1);

/// What margins are filled with.
const CANARY: u8 = 0xa5;

/// What a request is to be.
#[derive(Debug, Clone, Copy)]
pub struct Order {
    pub op: Op,
    pub offset: u64,
    pub bytes: u64,
    pub synchronous: bool,
    pub no_wait: bool,
    /// Bytes before its memory.
    pub margin: usize,
}

static SCENE: Mutex<Option<Arc<Scene>>> = Mutex::new(None);

pub fn set_scene(scene: Option<Arc<Scene>>) {
    *SCENE.lock() = scene;
}

pub fn scene() -> Arc<Scene> {
    SCENE.lock().clone().unwrap_or_else(|| fail("a callback after the end"))
}

fn write_memory(segment: Segment, bytes: &[u8]) {
    let from = bytes.as_ptr().addr();
    run_copies(&[MemoryCopy { from, to: segment.address, bytes: bytes.len().min(segment.bytes) }]);
}

impl Scene {
    /// A request begins: its number, and its memory.
    pub fn begin(&self, place: usize, order: Order) -> (usize, Segment) {
        let Order { op, offset, bytes, synchronous, no_wait, margin } = order;
        let mut ledger = self.ledger.lock();
        let number = ledger.entries.len();
        let tag = (number + 1) as Tag;
        let moves = matches!(op, Op::Read | Op::Write);
        let inside = if moves { bytes as usize } else { 0 };
        let whole = vec![CANARY; margin + inside + 64];
        let whole = Segment { address: whole.as_ptr().addr(), bytes: whole.len() };
        let memory = StableCopy::new(&[whole], whole.bytes, 4096, 0).expect("memory");
        let data = Segment { address: memory.data().address + margin, bytes: inside };
        match op {
            Op::Read => ledger.model.begin_read(number, offset as usize),
            Op::Write => {
                let content = content::bytes(tag, offset, offset + bytes);
                write_memory(data, &content);
                ledger.model.begin(number, offset as usize, Data::Bytes(content));
            }
            Op::WriteZeroes | Op::Discard => {
                ledger.model.begin(number, offset as usize, Data::Zeros(bytes as usize));
            }
            _ => {}
        }
        trace(|| format!("request {number} of {place}: {order:?}"));
        let asked = Deed::new();
        asked.done();
        ledger.entries.push(Entry {
            place,
            op,
            offset,
            bytes,
            tag,
            synchronous,
            no_wait,
            state: State::Underway,
            id: None,
            returned: false,
            fua: false,
            submitted: self.device.record.tick(),
            completed: None,
            known: View::new(),
            asked,
            answered: Deed::new(),
            cancelled: false,
            cancelling: 0,
            with_all: self.places[place].cancelling_all.load(Ordering::Relaxed) > 0,
            memory,
            margin,
            given_away: false,
        });
        (number, data)
    }

    /// The call has failed: nothing has happened, and nothing will.
    pub fn refused(&self, number: usize) {
        let mut ledger = self.ledger.lock();
        let Ledger { model, entries } = &mut *ledger;
        let entry = &mut entries[number];
        if entry.state != State::Underway {
            fail("a callback for a request whose call failed");
        }
        entry.state = State::Refused;
        match entry.op {
            Op::Read => drop(model.end_read(number, None)),
            Op::Flush => {}
            _ => model.withdraw(number),
        }
    }

    /// Its id is known, before anything can come of it.
    pub fn named(&self, number: usize, id: u64) {
        let mut ledger = self.ledger.lock();
        let entry = &mut ledger.entries[number];
        if entry.id.replace(id).is_some() {
            fail("a request is told two ids");
        }
        entry.known = memory::view();
    }

    /// The call has returned: a handle with stable writes has its copy.
    pub fn submitted(&self, number: usize, id: u64) {
        let stable = |place: &Place| place.plan.options.stable_writes;
        let mut ledger = self.ledger.lock();
        let entry = &mut ledger.entries[number];
        if entry.id != Some(id) {
            fail("a call returns another id than it has told");
        }
        entry.returned = true;
        entry.known = memory::view();
        if entry.op == Op::Write && stable(&self.places[entry.place]) {
            entry.given_away = true;
            let data = entry.data();
            write_memory(data, &vec![0x5a; data.bytes]);
        }
    }

    /// A request is over; `ret` as its callback gets it.
    pub fn over(&self, number: usize, ret: i32) {
        trace(|| format!("request {number} is over: {ret}"));
        let mut ledger = self.ledger.lock();
        let Ledger { model, entries } = &mut *ledger;
        let entry = &mut entries[number];
        entry.completed = (ret == 0).then(|| self.device.record.tick());
        if let Err(why) = entry.end(number, ret, model) {
            let Entry { op, offset, bytes, .. } = entry;
            fail(&format!("request {number}, {op:?} {offset}+{bytes}: {why}"));
        }
        if let Err(why) = self.may_fail(entry, ret) {
            fail(&format!("request {number}, {:?}: {why}", entry.op));
        }
        drop(ledger);
        wake_all(SOMETHING_ENDED);
    }

    fn may_fail(&self, entry: &Entry, ret: i32) -> Result<(), String> {
        let faults = &self.scenario.faults;
        // A trial read that fails for another reason finds nothing.
        let trials = faults.error + faults.short + faults.interrupted;
        let expected = match -ret {
            0 => !entry.cancelled,
            libc::ECANCELED => entry.cancelled || entry.cancelling > 0 || entry.with_all,
            libc::EBUSY => entry.no_wait,
            libc::EIO => faults.error > 0,
            libc::ENOSPC => faults.no_space > 0,
            libc::EINVAL => faults.grows.is_some() && trials > 0,
            _ => false,
        };
        if expected {
            return Ok(());
        }
        Err(format!("ends with {ret} (cancelled: {})", entry.cancelled))
    }

    /// What must not be while nothing but the library's own time limits is left to wait for.
    pub fn stuck(&self) -> Option<String> {
        // Threads of the program look now and then for a handle without threads (`node/help.rs`).
        if self.scenario.no_threads {
            return None;
        }
        let ledger = self.ledger.try_lock()?;
        let hanging = self.device.hanging.lock().clone();
        if !hanging.is_empty() && !self.scenario.hangs_alone() {
            return None;
        }
        // Who pauses waits for what hangs, and all others wait for that.
        let pausing = |place: &Place| place.pausing.load(Ordering::Relaxed) > 0;
        if !hanging.is_empty() && self.places.iter().any(pausing) {
            return None;
        }
        let plugged = |entry: &Entry| self.places[entry.place].plugs.load(Ordering::Relaxed) > 0;
        if self.places.iter().any(|place| place.plugs.load(Ordering::Relaxed) > 0) {
            return None;
        }
        if self.questions.load(Ordering::Relaxed) > 0 {
            return None;
        }
        let waits = |entry: &&Entry| {
            entry.state == State::Underway
                && !plugged(entry)
                && match entry.synchronous {
                    // Its thread, while the call waits, may do the I/O of a plugged request.
                    true => hanging.is_empty(),
                    false => self.is_taken_care_of(entry.place),
                }
        };
        let excused = excused(&ledger.entries, &hanging);
        for (number, entry) in ledger.entries.iter().enumerate() {
            if waits(&entry) && !excused[number] {
                let Entry { place, op, offset, bytes, synchronous, .. } = entry;
                return Some(format!(
                    "request {number} of handle {place}, {op:?} {offset}+{bytes} (synchronous: \
                     {synchronous}), waits for nothing but a time limit; hanging: {hanging:?}"
                ));
            }
        }
        let idle = |at: usize| {
            ledger.entries.iter().all(|its| its.place != at || its.state != State::Underway)
        };
        for (at, place) in self.places.iter().enumerate() {
            let drains = place.draining.load(Ordering::Relaxed) > 0;
            let polled = place.plan.options.completion == CompletionMode::Eventfd;
            if drains && !polled && idle(at) && place.running.load(Ordering::Relaxed) == 0 {
                return Some(format!("a drain of handle {at} was not told that all is over"));
            }
        }
        None
    }

    /// This thread waited until those requests were over: it knows what their callbacks did.
    pub fn check_known(&self, ended: impl Fn(usize, &Entry) -> bool) {
        let ledger = self.ledger.lock();
        for (number, entry) in ledger.entries.iter().enumerate() {
            if ended(number, entry) && !entry.answered.is_known() {
                fail(&format!("what the callback of request {number} did may not be seen"));
            }
        }
    }

    /// Whether somebody will run the callbacks of a handle.
    fn is_taken_care_of(&self, place: usize) -> bool {
        let place = &self.places[place];
        let polled = place.polled.load(Ordering::Relaxed) > 0
            && self.device.hung_pollers.load(Ordering::Relaxed) == 0;
        place.plan.options.completion != CompletionMode::Eventfd
            || polled
            || place.draining.load(Ordering::Relaxed) > 0
    }
}

/// Who may wait for what hangs: those that touch a block of it, or of another who waits.
fn excused(entries: &[Entry], hanging: &[Option<(u64, u64)>]) -> Vec<bool> {
    const BLOCK: u64 = 4096;
    let round = |from: u64, to: u64| (from / BLOCK * BLOCK, to.next_multiple_of(BLOCK));
    let mut excused = vec![false; entries.len()];
    let mut ranges: Vec<(u64, u64)> =
        hanging.iter().flatten().map(|&(from, to)| round(from, to)).collect();
    let mut next = 0;
    // A flush that hangs; whose it is cannot be seen.
    excused.fill(hanging.contains(&None));
    while let Some(&(from, to)) = ranges.get(next) {
        next += 1;
        for (number, entry) in entries.iter().enumerate() {
            let its = round(entry.offset, entry.offset + entry.bytes);
            let touches = its.0 < to && from < its.1 && entry.op != Op::Flush;
            if entry.state == State::Underway && touches && !excused[number] {
                excused[number] = true;
                ranges.push(its);
            }
        }
    }
    excused
}

impl Entry {
    fn data(&self) -> Segment {
        let moves = matches!(self.op, Op::Read | Op::Write);
        let bytes = if moves { self.bytes as usize } else { 0 };
        Segment { address: self.memory.data().address + self.margin, bytes }
    }

    fn end(&mut self, number: usize, ret: i32, model: &mut Model) -> Result<(), String> {
        if self.state != State::Underway {
            return Err(format!("ends twice: {:?}, then {ret}", self.state));
        }
        self.state = State::Over(ret);
        let all = read_memory(self.memory.data());
        let (before, rest) = all.split_at(self.margin);
        let (inside, after) = rest.split_at(self.data().bytes);
        if before.iter().chain(after).any(|&byte| byte != CANARY) {
            return Err("wrote beside its memory".to_owned());
        }
        let nothing = matches!(-ret, libc::ECANCELED | libc::EBUSY);
        match self.op {
            Op::Read => model.end_read(number, (ret == 0).then_some(inside))?,
            Op::Flush => {}
            _ if nothing => model.withdraw(number),
            _ if ret == 0 && self.op != Op::Discard => model.end(number, Outcome::Certain),
            _ => model.end(number, Outcome::Open),
        }
        let end = self.offset + self.bytes;
        if self.op == Op::Write
            && !self.given_away
            && inside != content::bytes(self.tag, self.offset, end)
        {
            return Err("its memory was changed".to_owned());
        }
        Ok(())
    }
}

/// Every request's callback.
pub extern "C" fn callback(opaque: *mut c_void, ret: c_int) {
    super::actors::called_back(&scene(), opaque.addr(), ret);
}
