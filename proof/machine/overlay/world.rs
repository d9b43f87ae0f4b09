//! Runs one schedule. Each I/O is looked at when it is asked for: does its layer take it, and is it
//! the right layer? What it moves is moved unit by unit, at any moment.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use super::draw::{Draw, Plan};
use super::layers::{has, Map, Top};
use super::values::{Deed, Fate, Values};
use crate::io::{Io, IoId, Lane, Op};
use crate::proof::memory::{Label, Memory, Pool, ZERO};
use crate::proof::rng::Rng;
use crate::{Action, Alignments, Announcement, Completion, Machine, NotifierId, ProbeOutcome};
use crate::{QueueId, RequestId};

pub type Checked<T = ()> = Result<T, String>;

/// An I/O that has been asked for.
#[derive(Debug)]
pub struct Flying {
    pub io: Io,
    key: u64,
    begin: u64,
    addresses: Vec<usize>,
    /// Where the units begin that have not moved.
    pending: Vec<u64>,
}

/// A request that has come.
#[derive(Debug)]
struct Asked {
    id: RequestId,
    begin: u64,
    /// A read for it has failed, so nothing may be written.
    read_failed: bool,
    over: bool,
    cancelled: bool,
}

#[derive(Debug, Default, Clone, Copy)]
pub struct Counts {
    pub requests: u64,
    pub ios: u64,
    pub backing: u64,
    pub failed: u64,
    pub crashes: u64,
    pub saves: u64,
    pub repairs: u64,
    pub cancelled: u64,
    pub announced: u64,
}

pub struct World<'a> {
    pub draw: &'a Draw,
    machine: Machine<usize, usize, Pool>,
    queues: Vec<QueueId>,
    alignments: Vec<Alignments>,
    memory: Rc<RefCell<Memory>>,
    pub top: Top,
    pub map: Map,
    pub values: Values,
    pub flights: Vec<Flying>,
    asked: HashMap<usize, Asked>,
    by_id: HashMap<RequestId, usize>,
    /// By request: which deed is its.
    deeds: HashMap<usize, usize>,
    pub next: usize,
    now: u64,
    keys: u64,
    probe: Option<usize>,
    notifiers: Vec<NotifierId>,
    /// What notifiers have been asked, and have not answered.
    pub questions: Vec<Announcement>,
    /// The I/O that has just ended: its rest goes where it went, whatever is there by now.
    ended: Option<IoId>,
    pub counts: Counts,
    trace: bool,
}

impl<'a> World<'a> {
    pub fn new(draw: &'a Draw, trace: bool) -> World<'a> {
        let memory = Memory::new(draw.guest.clone(), draw.no_scratch_percent, draw.seed ^ 1);
        let memory = Rc::new(RefCell::new(memory));
        let mut machine = Machine::new(Pool(memory.clone()), draw.length);
        machine.make_overlay(draw.state.clone());
        let queues: Vec<QueueId> = (0..draw.queues.len())
            .map(|queue| {
                let id = machine.add_queue(queue, draw.queues[queue].clone());
                if draw.keeps[queue] {
                    machine.keep_reads(id);
                }
                id
            })
            .collect();
        let clusters = draw.length.div_ceil(draw.state.cluster);
        World {
            draw,
            machine,
            queues,
            alignments: draw.queues.iter().map(|config| config.alignments).collect(),
            memory,
            top: Top::new(draw.top.clone(), draw.unit),
            map: Map::new(draw.state.there.clone(), draw.state.page_clusters, clusters),
            values: Values::new(draw.visible(&draw.top, &draw.state.there)),
            flights: Vec::new(),
            asked: HashMap::new(),
            by_id: HashMap::new(),
            deeds: HashMap::new(),
            next: 0,
            now: 1,
            keys: 0,
            probe: None,
            notifiers: Vec::new(),
            questions: Vec::new(),
            ended: None,
            counts: Counts::default(),
            trace,
        }
    }

    fn say(&self, words: impl FnOnce() -> String) {
        if self.trace {
            eprintln!("{:4} {}", self.now, words());
        }
    }

    // ----- events -----

    /// The next request comes.
    pub fn submit(&mut self, key: u64) -> Checked {
        let number = self.next;
        let plan = &self.draw.plans[number];
        (self.next, self.now) = (number + 1, self.now + 1);
        self.counts.requests += 1;
        self.say(|| format!("{number} comes: {plan:?}"));
        if let Some(deed) = self.deed_of(number, plan) {
            self.deeds.insert(number, self.values.deeds.len());
            self.values.deeds.push(deed);
        }
        let request = plan.request(number);
        let id = self.machine.submit(self.queues[plan.queue], key, request);
        let (begin, read_failed, over, cancelled) = (self.now, false, false, false);
        self.asked.insert(number, Asked { id, begin, read_failed, over, cancelled });
        self.by_id.insert(id, number);
        self.process()
    }

    fn deed_of(&self, number: usize, plan: &Plan) -> Option<Deed> {
        let memory = self.memory.borrow();
        let labels = match plan.op {
            Op::Write => Some(plan.addresses.iter().map(|&at| memory.get(at)).collect()),
            Op::WriteZeroes | Op::Discard => None,
            _ => return None,
        };
        let _ = number;
        let (range, begin) = (plan.offset..plan.offset + plan.bytes, self.now);
        let (end, durable, fate) = (u64::MAX, u64::MAX, Fate::UnderWay);
        Some(Deed { range, labels, begin, end, fate, durable })
    }

    pub fn plug(&mut self, queue: usize, key: u64) {
        self.machine.plug(self.queues[queue], key);
    }

    pub fn unplug(&mut self, queue: usize, key: u64) -> Checked {
        self.now += 1;
        self.machine.unplug(self.queues[queue], key);
        self.process()
    }

    pub fn cancel(&mut self, number: usize) -> Checked {
        self.now += 1;
        let Some(asked) = self.asked.get(&number) else { return Ok(()) };
        let queue = self.queues[self.draw.plans[number].queue];
        let answer = self.machine.cancel(queue, asked.id);
        self.say(|| format!("cancel {number}: {answer:?}"));
        if asked.over && answer != Err(libc::ENOENT) {
            return Err(format!("cancel of {number}, which is over, is {answer:?}"));
        }
        self.counts.cancelled += u64::from(answer.is_ok());
        self.asked.get_mut(&number).expect("asked").cancelled |= answer.is_ok();
        self.process()
    }

    /// Some unit of an I/O moves.
    pub fn advance(&mut self, index: usize, rng: &mut Rng) {
        self.now += 1;
        let pending = self.flights[index].pending.len();
        if pending > 0 {
            let at = rng.index(pending);
            self.move_unit(index, at);
        }
    }

    fn move_unit(&mut self, index: usize, at: usize) {
        let flying = &mut self.flights[index];
        let from = flying.pending.remove(at);
        let to = (from + self.draw.unit).min(flying.io.bytes);
        let (io, key) = (&flying.io, flying.key);
        let memory = &mut self.memory.borrow_mut();
        let range = io.offset + from..io.offset + to;
        match (io.op, io.lane) {
            (Op::Read, Lane::Backing) => {
                for at in range {
                    memory.set(flying.addresses[(at - io.offset) as usize], self.draw.below(at));
                }
            }
            (Op::Read, _) => {
                for at in range {
                    let label = self.top.now[at as usize];
                    memory.set(flying.addresses[(at - io.offset) as usize], label);
                }
            }
            (Op::Write, _) => {
                let addresses = &flying.addresses[from as usize..to as usize];
                self.top.put(range.start, addresses.iter().map(|&at| memory.get(at)), key);
            }
            _ => self.top.put(range.start, range.map(|_| ZERO), key),
        }
    }

    /// An I/O ends: with all its bytes, with fewer, or with an error.
    pub fn finish(&mut self, index: usize, result: Result<u64, i32>) -> Checked {
        self.now += 1;
        while !self.flights[index].pending.is_empty() && self.moves(index, result) {
            self.move_unit(index, 0);
        }
        let Flying { io, key, begin, .. } = self.flights.remove(index);
        self.say(|| {
            format!("ends {:?} {:?} {:?} at {}: {result:?}", io.id, io.op, io.lane, io.offset)
        });
        let whole = result == Ok(io.bytes);
        self.top.ended(key, self.now, result.is_ok() && io.fua);
        if whole {
            self.ended_well(&io, begin);
        } else {
            self.counts.failed += u64::from(result.is_err());
            let number = self.by_id.get(&self.machine.id_of(&io)).copied();
            let failed = result.is_err() && result != Err(libc::EINTR) && io.joined.is_empty();
            if let (true, Op::Read, Some(number)) = (failed, io.op, number) {
                self.asked.get_mut(&number).expect("asked").read_failed = true;
            }
        }
        self.ended = Some(io.id);
        self.machine.io_done(io, result);
        self.machine.join();
        self.process()
    }

    /// Whether the first unit of an I/O that ends like this has moved.
    fn moves(&self, index: usize, result: Result<u64, i32>) -> bool {
        let flying = &self.flights[index];
        matches!(result, Ok(moved) if flying.pending[0] < moved)
    }

    fn ended_well(&mut self, io: &Io, begin: u64) {
        match io.op {
            Op::Flush => self.top.flushed(begin),
            Op::SaveMap => {
                self.counts.saves += 1;
                self.map.end(io.map.as_ref().expect("pages"));
            }
            Op::Read => {
                let memory = &mut self.memory.borrow_mut();
                for copy in &io.copies {
                    (0..copy.bytes).for_each(|at| {
                        let label = memory.get(copy.from + at);
                        memory.set(copy.to + at, label);
                    });
                }
            }
            _ => {}
        }
    }

    /// The trials of a repair have shown something.
    pub fn repair(&mut self, rng: &mut Rng) -> Checked {
        self.now += 1;
        let queue = self.probe.take().expect("asked for");
        let Alignments { request, memory, segment } = self.alignments[queue];
        let larger = Alignments { request: request * 2, memory, segment };
        let outcome = match rng.percent(60) {
            true => ProbeOutcome::Found(larger),
            false => ProbeOutcome::NothingHelps,
        };
        self.say(|| format!("repair of queue {queue}: {outcome:?}"));
        self.counts.repairs += 1;
        if let Some(now) = self.machine.repaired(outcome) {
            if now.request > self.draw.state.cluster {
                return Err(format!("blocks of {} are larger than clusters", now.request));
            }
            self.alignments[queue] = now;
        }
        self.process()
    }

    /// A notifier comes, or one of two goes.
    pub fn change_notifiers(&mut self, rng: &mut Rng) -> Checked {
        self.now += 1;
        if self.notifiers.len() < 2 {
            let unit = rng.pick(&[1, 512, 4096, 1 << 20]);
            self.say(|| format!("a notifier comes, with units of {unit}"));
            self.notifiers.push(self.machine.add_notifier(unit));
        } else {
            self.say(|| "a notifier goes".into());
            let gone = self.notifiers.swap_remove(rng.index(2));
            self.machine.remove_notifier(gone);
        }
        self.process()
    }

    /// A notifier answers.
    pub fn answer(&mut self, rng: &mut Rng) -> Checked {
        self.now += 1;
        let what = self.questions.swap_remove(rng.index(self.questions.len()));
        let result = if rng.percent(10) { Err(libc::EPERM) } else { Ok(()) };
        self.say(|| format!("the answer to {what:?} is {result:?}"));
        if !self.machine.announced(what.request, what.notifier, result) {
            return Err(format!("nobody wants the answer to {what:?}"));
        }
        self.process()
    }

    /// Nothing but answers is to come: then no read waits for one.
    pub fn check_reads_pass(&self) -> Checked {
        let reads = |&(number, asked): &(&usize, &Asked)| {
            let plan = &self.draw.plans[*number];
            plan.op == Op::Read && !plan.flags.serialising && !asked.over
        };
        match self.asked.iter().find(reads) {
            Some((number, _)) => Err(format!("read {number} waits for a notifier")),
            None => Ok(()),
        }
    }

    pub fn is_probing(&self) -> bool {
        self.probe.is_some()
    }

    pub fn is_in_flight(&self, number: usize) -> bool {
        self.asked.get(&number).is_some_and(|asked| !asked.over)
    }

    // ----- actions -----

    fn process(&mut self) -> Checked {
        let mut actions = Vec::new();
        self.machine.take_actions(&mut actions);
        for action in actions {
            match action {
                Action::Io(queue, io) => self.issue(queue, io)?,
                Action::Complete(completion) => self.complete(&completion)?,
                Action::Probe(queue, _) => self.probe = Some(queue),
                Action::Stalled(..) => {}
                Action::Announce(_, what) => {
                    self.say(|| format!("  tells {what:?}"));
                    self.counts.announced += 1;
                    self.questions.push(what);
                }
            }
        }
        if self.machine.is_adding() {
            self.machine.take_added();
        }
        match self.memory.borrow_mut().misuse.take() {
            Some(misuse) => Err(misuse),
            None => Ok(()),
        }
    }

    fn issue(&mut self, queue: usize, io: Io) -> Checked {
        self.now += 1;
        self.counts.ios += 1;
        self.counts.backing += u64::from(io.lane == Lane::Backing);
        self.say(|| {
            format!("  asks {:?} {:?} {:?} {}+{}", io.id, io.op, io.lane, io.offset, io.bytes)
        });
        self.check_shape(queue, &io)?;
        self.check_layer(&io)?;
        let changes = matches!(io.op, Op::Write | Op::WriteZeroes | Op::Discard);
        let request = self.machine.id_of(&io);
        if changes && self.questions.iter().any(|what| what.request == request) {
            return Err(format!("changes before the answer: {io:x?}"));
        }
        if let Some(pages) = &io.map {
            self.map.begin(pages);
        }
        let mut addresses: Vec<usize> = Vec::new();
        io.segments.iter().for_each(|it| addresses.extend(it.address..it.address + it.bytes));
        if io.op == Op::Write {
            let memory = &mut self.memory.borrow_mut();
            for copy in &io.copies {
                for at in 0..copy.bytes {
                    let label = memory.get(copy.from + at);
                    memory.set(copy.to + at, label);
                }
            }
        }
        self.keys += 1;
        let moves = matches!(io.op, Op::Read | Op::Write | Op::WriteZeroes | Op::Discard);
        let units = if moves { io.bytes } else { 0 };
        let pending = (0..units).step_by(self.draw.unit as usize).collect();
        self.flights.push(Flying { io, key: self.keys, begin: self.now, addresses, pending });
        Ok(())
    }

    fn check_shape(&self, queue: usize, io: &Io) -> Checked {
        let fail = |what: &str| Err(format!("{what}: {io:x?}"));
        if !matches!(io.op, Op::Read | Op::Write) {
            return Ok(());
        }
        let Alignments { request, memory, segment } = self.alignments[queue];
        let sum: usize = io.segments.iter().map(|it| it.bytes).sum();
        let end = io.offset + io.bytes;
        if io.bytes == 0 || sum as u64 != io.bytes || end > self.draw.length {
            return fail("the sum, or the end");
        }
        let odd = io
            .segments
            .iter()
            .any(|it| !it.address.is_multiple_of(memory) || !it.bytes.is_multiple_of(segment));
        let main = io.lane == Lane::Main;
        if main && (odd || !io.offset.is_multiple_of(request) || !io.bytes.is_multiple_of(request))
        {
            return fail("misaligned");
        }
        let config = &self.draw.queues[queue];
        if io.segments.len() > config.max_segments || io.bytes > config.max_transfer.max(request) {
            let whole = io.lane == Lane::Backing && io.segments.len() == 1;
            if !whole {
                return fail("too much");
            }
        }
        let pool = self.memory.borrow();
        let known = io.segments.iter().all(|it| {
            pool.is_guest(it.address + it.bytes - 1)
                || pool.is_taken(it.address, it.bytes)
                || pool.is_zeros(it.address, it.bytes)
        });
        match known {
            true => Ok(()),
            false => fail("memory of nobody"),
        }
    }

    /// What is absent is read from the backing object and nowhere else; what is there, from the
    /// top.
    fn check_layer(&self, io: &Io) -> Checked {
        let end = io.offset + io.bytes;
        match (io.op, io.lane) {
            (Op::Write | Op::WriteZeroes | Op::Discard, Lane::Backing) => {
                Err(format!("writes to the backing object: {io:x?}"))
            }
            (Op::Read, _) if self.ended == Some(io.id) => Ok(()),
            (Op::Read, lane) => {
                let run = self.machine.overlay_run(io.offset, end);
                let there = lane != Lane::Backing;
                match run == Some((there, end)) {
                    true => Ok(()),
                    false => Err(format!("the wrong layer, {run:?}: {io:x?}")),
                }
            }
            (Op::Write, _) => {
                let number = self.by_id.get(&self.machine.id_of(io));
                let failed = number.is_some_and(|number| self.asked[number].read_failed);
                let writes = number.is_some_and(|&it| self.draw.plans[it].op == Op::Write);
                let writes = writes && self.ended != Some(io.id);
                match failed && writes && self.draw.suspects_nothing() {
                    true => Err(format!("written after a read has failed: {io:x?}")),
                    false => Ok(()),
                }
            }
            _ => Ok(()),
        }
    }

    fn complete(&mut self, done: &Completion<usize>) -> Checked {
        self.now += 1;
        let number = done.token;
        let plan = &self.draw.plans[number];
        self.say(|| format!("  {number} is over: {:?}", done.result));
        let asked = self.asked.get_mut(&number).expect("asked");
        if std::mem::replace(&mut asked.over, true) {
            return Err(format!("{number} completes twice"));
        }
        if plan.op != Op::Populate && (done.offset, done.bytes) != (plan.offset, plan.bytes) {
            return Err(format!("{number} was {}+{}: {done:?}", plan.offset, plan.bytes));
        }
        if asked.cancelled && done.result != Err(libc::ECANCELED) {
            return Err(format!("{number} was cancelled: {:?}", done.result));
        }
        let (begin, now) = (asked.begin, self.now);
        if let Some(&deed) = self.deeds.get(&number) {
            let deed = &mut self.values.deeds[deed];
            deed.end = now;
            deed.fate = match done.result {
                Ok(()) if plan.op == Op::Discard => Fate::Perhaps,
                Ok(()) => Fate::Done,
                Err(libc::ECANCELED | libc::EBUSY | libc::EPERM) => Fate::Nothing,
                Err(_) => Fate::Perhaps,
            };
            if done.result.is_ok() && plan.flags.fua {
                deed.durable = now;
            }
        }
        let no_flush = self.draw.queues[plan.queue].no_flush;
        match (plan.op, done.result) {
            (Op::Flush, Ok(())) if !no_flush => self.values.flushed(begin, now),
            (Op::Populate, Ok(())) if plan.offset == 0 => self.check_filled()?,
            (Op::Read, Ok(())) => {
                let memory = self.memory.borrow();
                for (at, &address) in plan.addresses.iter().enumerate() {
                    let offset = plan.offset + at as u64;
                    self.values.see(offset, memory.get(address), begin, now)?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn check_filled(&self) -> Checked {
        match self.machine.overlay_run(0, self.draw.length) == Some((true, self.draw.length)) {
            true => Ok(()),
            false => Err("filled, but something is absent".into()),
        }
    }

    // ----- what is left -----

    /// What a loss of power at this moment leaves: both layers, checked.
    pub fn lose_power(&mut self, rng: &mut Rng) -> Checked<(Vec<Label>, Vec<u64>)> {
        self.counts.crashes += 1;
        let (top, bits) = (self.top.left(rng), self.map.left(rng));
        let visible = self.draw.visible(&top, &bits);
        for (offset, &label) in visible.iter().enumerate() {
            self.values.survives(offset as u64, label, self.now)?;
        }
        Ok((top, bits))
    }

    /// Nothing is to come any more: all requests are over, and all bytes are what they may be.
    pub fn conclude(&mut self) -> Checked {
        if let Some((number, _)) = self.asked.iter().find(|(_, asked)| !asked.over) {
            return Err(format!("{number} waits for ever"));
        }
        let taken = self.memory.borrow().taken_count();
        if taken > 0 {
            return Err(format!("{taken} pieces of scratch were not given back"));
        }
        self.now += 1;
        for offset in 0..self.draw.length {
            let (there, _) = self.machine.overlay_run(offset, offset + 1).expect("an overlay");
            let label = if there { self.top.now[offset as usize] } else { self.draw.below(offset) };
            self.values.see(offset, label, self.now, self.now + 1)?;
            let cluster = offset / self.draw.state.cluster;
            if has(self.map.certain(), cluster) && !there {
                return Err(format!("cluster {cluster} is in the map, and not there"));
            }
        }
        for queue in self.queues.drain(..) {
            self.machine.remove_queue(queue);
        }
        Ok(())
    }
}

impl Counts {
    pub fn add(&mut self, other: &Counts) {
        self.requests += other.requests;
        self.ios += other.ios;
        self.backing += other.backing;
        self.failed += other.failed;
        self.crashes += other.crashes;
        self.saves += other.saves;
        self.repairs += other.repairs;
        self.cancelled += other.cancelled;
        self.announced += other.announced;
    }
}
