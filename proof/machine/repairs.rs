//! Storage that begins to refuse its alignment: random schedules against a small model of bytes of
//! their own, since the rules of `world.rs` follow from limits that do not change.
//!
//! What must hold: each request completes once, and without an error; a byte that no request writes
//! keeps its value; a byte that is read, or left in the end, was put there by a write that no other
//! write has replaced; no I/O is misaligned by the queue's own limits; nothing is at the storage
//! while a probe runs; and there are no more repairs than there may be.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use super::directed;
use super::memory::{initial, written, Label, Memory, Pool, BASE, POISON};
use super::subject::is_idle;
use crate::io::{Io, Lane, Op, Segment, Segments};
use crate::proof::rng::Rng;
use crate::repair::REPAIRS_MAX;
use crate::{Action, Alignments, Machine, QueueConfig, RefusedIo, Request, RequestFlags};
use crate::{ProbeOutcome, RequestId, Stats, Suspected};

const LENGTH: u64 = 512;
const SCHEDULES: u64 = 4000;

/// What a queue takes at first: blocks of 4.
pub(super) fn config() -> QueueConfig {
    QueueConfig {
        alignments: Alignments { request: 4, memory: 4, segment: 4 },
        max_transfer: 128,
        max_segments: 8,
        granule: 4,
        discard_alignment: 4,
        dataless_max: 128,
        suspected: Suspected::Invalid,
        ..directed::config()
    }
}

pub(super) struct Sent {
    pub(super) request: Request<usize>,
    pub(super) id: RequestId,
    pub(super) submitted: u64,
    pub(super) completed: Option<(u64, Result<(), i32>)>,
}

/// A machine, its storage, and what was asked of it.
pub(super) struct Bed {
    pub(super) machine: Machine<usize, usize, Pool>,
    pub(super) memory: Rc<RefCell<Memory>>,
    pub(super) disk: Vec<Label>,
    pub(super) flights: Vec<Io>,
    pub(super) probes: Vec<RefusedIo>,
    pub(super) sent: Vec<Sent>,
    pub(super) actions: Vec<Action<usize, usize>>,
    /// Reads and writes must be multiples of these.
    pub(super) wants: u64,
    pub(super) wants_of_writes: u64,
    /// What the storage answers to others.
    pub(super) refusal: i32,
    pub(super) queues: Vec<QueueConfig>,
    pub(super) now: u64,
    pub(super) calls: u64,
    pub(super) guest_used: usize,
    /// The machine is paused, and was at rest after the last step.
    rests: bool,
}

impl Bed {
    pub(super) fn new(queues: usize, config: &QueueConfig, seed: u64) -> Bed {
        let guest = vec![POISON; 1 << 16];
        let memory = Rc::new(RefCell::new(Memory::new(guest, 0, seed)));
        let mut machine = Machine::new(Pool(memory.clone()), LENGTH);
        (0..queues).for_each(|queue| {
            machine.add_queue(queue, config.clone());
        });
        Bed {
            machine,
            memory,
            disk: (0..LENGTH).map(initial).collect(),
            flights: Vec::new(),
            probes: Vec::new(),
            sent: Vec::new(),
            actions: Vec::new(),
            wants: 1,
            wants_of_writes: 1,
            refusal: libc::EINVAL,
            queues: vec![config.clone(); queues],
            now: 0,
            calls: 0,
            guest_used: 0,
            rests: false,
        }
    }

    pub(super) fn submit(
        &mut self,
        queue: u32,
        op: Op,
        offset: u64,
        bytes: u64,
        flags: RequestFlags,
    ) {
        let token = self.sent.len();
        let mut segments = Segments::new();
        if matches!(op, Op::Read | Op::Write) {
            let address = BASE + self.guest_used.next_multiple_of(4) + 4 * (token % 3);
            self.guest_used = address - BASE + bytes as usize;
            segments.push(Segment { address, bytes: bytes as usize });
            if op == Op::Write {
                let mut memory = self.memory.borrow_mut();
                (0..bytes as usize).for_each(|at| memory.set(address + at, written(token, at)));
            }
        }
        let request = Request { op, flags, guest_block: 0, offset, bytes, segments, token };
        self.now += 1;
        let (submitted, completed) = (self.now, None);
        self.sent.push(Sent { request: request.clone(), id: 0, submitted, completed });
        let id = self.machine.submit(queue, 0, request);
        self.sent[token].id = id;
        self.take_in();
    }

    fn pause_or_resume(&mut self, rng: &mut Rng) {
        match self.machine.is_paused() && rng.percent(60) {
            true => self.resume(),
            false => self.pause(),
        }
    }

    pub(super) fn pause(&mut self) {
        self.machine.pause();
        self.take_in();
    }

    pub(super) fn resume(&mut self) {
        self.machine.resume();
        self.rests &= self.machine.is_paused();
        self.take_in();
    }

    fn end_pauses(&mut self) {
        while self.machine.is_paused() {
            self.resume();
        }
        self.end_all();
    }

    /// In a pause the storage comes to rest when nothing is there any more, and no sooner; and then
    /// nothing begins.
    fn check_rest(&mut self) {
        let nothing = self.flights.is_empty() && self.probes.is_empty();
        assert_eq!(self.machine.is_at_rest(), self.machine.is_paused() && nothing, "at rest?");
        assert!(!self.rests || nothing, "something begins in a pause");
        self.rests = self.machine.is_at_rest();
    }

    /// What the machine asks for goes to the storage.
    pub(super) fn take_in(&mut self) {
        self.ask();
        self.check_rest();
    }

    fn ask(&mut self) {
        self.machine.join();
        self.machine.take_actions(&mut self.actions);
        for action in std::mem::take(&mut self.actions) {
            match action {
                Action::Io(queue, io) => {
                    assert!(self.probes.is_empty(), "I/O beside a probe: {io:x?}");
                    self.check(queue, &io);
                    self.calls += 1;
                    self.flights.push(io);
                }
                Action::Stalled(_, io) => panic!("nothing stalls here: {io:x?}"),
                Action::Announce(_, what) => panic!("there is no notifier: {what:?}"),
                Action::Probe(_, refusal) => {
                    assert!(self.flights.is_empty() && self.probes.is_empty());
                    self.probes.push(*refusal);
                }
                Action::Complete(done) => {
                    self.now += 1;
                    let sent = &mut self.sent[done.token];
                    assert_eq!(sent.completed, None);
                    assert_eq!(
                        (done.offset, done.bytes),
                        (sent.request.offset, sent.request.bytes)
                    );
                    sent.completed = Some((self.now, done.result));
                    if done.op == Op::Read && done.result.is_ok() {
                        self.check_read(done.token);
                    }
                }
            }
        }
    }

    fn check(&self, queue: usize, io: &Io) {
        let config = &self.queues[queue];
        let block = config.alignments.request;
        assert_eq!(io.lane, Lane::Main);
        assert!(io.offset.is_multiple_of(block) && io.bytes.is_multiple_of(block), "{io:x?}");
        assert!(io.offset + io.bytes <= LENGTH && io.bytes <= config.max_transfer);
        for Segment { address, bytes } in &io.segments {
            assert!(address.is_multiple_of(config.alignments.memory), "{io:x?}");
            assert!(bytes.is_multiple_of(config.alignments.segment), "{io:x?}");
        }
    }

    fn refuses(&self, op: Op, offset: u64, bytes: u64) -> bool {
        let wants = if op == Op::Write { self.wants_of_writes.max(self.wants) } else { self.wants };
        matches!(op, Op::Read | Op::Write)
            && !(offset.is_multiple_of(wants) && bytes.is_multiple_of(wants))
    }

    /// Ends the I/O at `index`, which moves so many of its bytes if it is not refused.
    pub(super) fn finish(&mut self, index: usize, moved: u64) {
        self.give_back(index, moved);
        self.take_in();
    }

    /// As `finish`, with more of the same load to come before the machine's actions are looked at.
    pub(super) fn give_back(&mut self, index: usize, moved: u64) {
        self.now += 1;
        let io = self.flights.swap_remove(index);
        let result = match self.refuses(io.op, io.offset, io.bytes) {
            true => Err(self.refusal),
            false => {
                self.carry_out(&io, moved);
                Ok(moved)
            }
        };
        self.machine.io_done(io, result);
    }

    fn carry_out(&mut self, io: &Io, moved: u64) {
        let memory = &mut self.memory.borrow_mut();
        let copy = |memory: &mut Memory| {
            for copy in &io.copies {
                for at in 0..copy.bytes {
                    let label = memory.get(copy.from + at);
                    memory.set(copy.to + at, label);
                }
            }
        };
        if io.op == Op::Write {
            copy(memory);
        }
        if io.op == Op::WriteZeroes {
            self.disk[io.offset as usize..(io.offset + moved) as usize].fill(super::memory::ZERO);
        }
        let addresses = io.segments.iter().flat_map(|s| s.address..s.address + s.bytes);
        for (offset, address) in (io.offset..io.offset + moved).zip(addresses) {
            match io.op {
                Op::Write => self.disk[offset as usize] = memory.get(address),
                _ => memory.set(address, self.disk[offset as usize]),
            }
        }
        if io.op == Op::Read && moved == io.bytes {
            copy(memory);
        }
    }

    /// Answers the probe: the smallest larger block that reads can have.
    pub(super) fn answer(&mut self) {
        let refusal = self.probes.pop().expect("a probe");
        let now = refusal.config.alignments;
        let refused = |request: u64| {
            let offset = refusal.offset / request * request;
            self.refuses(Op::Read, offset, request)
        };
        let guessed = !refused(now.request);
        let request = if guessed {
            2 * now.request
        } else {
            let mut sizes = (0..7).map(|log| now.request << log);
            sizes.find(|&size| !refused(size)).unwrap_or(1 << 20)
        };
        let larger = Alignments { request, ..now };
        self.repaired(match request {
            65.. => ProbeOutcome::NothingHelps,
            _ if !guessed => ProbeOutcome::Found(larger),
            _ if refusal.op == Op::Write => ProbeOutcome::Guessed(larger),
            _ => ProbeOutcome::NothingHelps,
        });
    }

    /// What a probe has found; the values that hold then.
    pub(super) fn repaired(&mut self, outcome: ProbeOutcome) -> Option<Alignments> {
        let holds = self.machine.repaired(outcome);
        for id in 0..self.queues.len() {
            self.queues[id] = self.machine.table.known_queue(id as u32).config.clone();
        }
        self.take_in();
        holds
    }

    /// Whether `label` is what byte `offset` may hold for a request that looked from `since` to
    /// `until`.
    fn is_plausible(&self, label: Label, offset: u64, since: u64, until: u64) -> bool {
        let writes = |sent: &&Sent| {
            let Request { op, offset: start, bytes, .. } = sent.request;
            let ok = sent.completed.is_none_or(|(_, result)| result.is_ok());
            let moves = matches!(op, Op::Write | Op::WriteZeroes) && ok;
            moves && start <= offset && offset < start + bytes
        };
        let over = |sent: &Sent| sent.completed.map_or(u64::MAX, |(when, _)| when);
        let value = |sent: &Sent| match sent.request.op {
            Op::Write => written(sent.request.token, (offset - sent.request.offset) as usize),
            _ => super::memory::ZERO,
        };
        let replaced = |after: u64| {
            let later = |sent: &Sent| sent.submitted > after && over(sent) < since;
            self.sent.iter().filter(writes).any(later)
        };
        let initially = label == initial(offset) && !replaced(0);
        initially
            || self
                .sent
                .iter()
                .filter(writes)
                .any(|sent| value(sent) == label && sent.submitted < until && !replaced(over(sent)))
    }

    fn check_read(&self, number: usize) {
        let Sent { request, submitted, completed, .. } = &self.sent[number];
        let until = completed.expect("just now").0;
        let address = request.segments[0].address;
        for at in 0..request.bytes {
            let label = self.memory.borrow().get(address + at as usize);
            let plausible = self.is_plausible(label, request.offset + at, *submitted, until);
            assert!(plausible, "read {number} has {label:x} at {}", request.offset + at);
        }
    }

    /// Everything is over. How many repairs there were in all.
    pub(super) fn conclude(&mut self) -> u64 {
        assert!(self.sent.iter().all(|sent| sent.completed.is_some()), "a request waits for ever");
        assert_eq!(self.memory.borrow().taken_count(), 0, "scratch is missing");
        assert!(is_idle(&self.machine));
        for (offset, &label) in self.disk.iter().enumerate() {
            let end = u64::MAX - 1;
            assert!(self.is_plausible(label, offset as u64, end, end), "byte {offset}: {label:x}");
        }
        let stats = |id: usize| self.machine.stats(id as u32);
        let repairs: Vec<u64> = (0..self.queues.len()).map(|id| stats(id).probe_repairs).collect();
        assert!(repairs.iter().all(|&its| its <= u64::from(REPAIRS_MAX)));
        repairs.iter().sum()
    }

    /// Ends all I/O, as long as no probe is asked for.
    pub(super) fn end_flights(&mut self) {
        while let Some(bytes) = self.flights.first().map(|io| io.bytes) {
            self.finish(0, bytes);
        }
    }

    pub(super) fn end_all(&mut self) {
        while !self.flights.is_empty() || !self.probes.is_empty() {
            match self.flights.first().map(|io| io.bytes) {
                Some(bytes) => self.finish(0, bytes),
                None => self.answer(),
            }
            assert!(self.calls < 100_000, "it never ends");
        }
    }

    pub(super) fn result(&self, number: usize) -> Option<Result<(), i32>> {
        self.sent[number].completed.map(|(_, result)| result)
    }

    pub(super) fn stats(&self) -> Stats {
        self.machine.stats(0)
    }
}

fn submit_random(bed: &mut Bed, rng: &mut Rng) {
    let queue = rng.index(bed.queues.len()) as u32;
    let op = rng.pick(&[Op::Write, Op::Write, Op::Write, Op::Read, Op::Read, Op::WriteZeroes]);
    let (offset, bytes) = match rng.percent(30) {
        true => (16 * rng.below(20), 16 * rng.between(1, 8)),
        false => (rng.below(160), 1 + rng.below(40)),
    };
    let flags = RequestFlags {
        fua: rng.percent(5),
        serialising: rng.percent(8),
        ..RequestFlags::default()
    };
    bed.submit(queue, op, offset, bytes, flags);
}

/// One schedule; how many repairs there were.
fn run_schedule(seed: u64) -> u64 {
    let mut rng = Rng::new(seed);
    let depth = rng.pick(&[1, 2, 5, 64]);
    let suspected = Suspected::InvalidOrError;
    let config = QueueConfig { depth, suspected, no_merge: rng.percent(30), ..config() };
    let mut bed = Bed::new(rng.pick(&[1, 1, 2, 3]), &config, seed);
    bed.refusal = rng.pick(&[libc::EINVAL, libc::EIO, libc::EILSEQ]);
    let changes = rng.pick(&[1, 1, 2, 3]);
    let requests = rng.between(4, 40);
    let mut when: Vec<u64> = (0..changes).map(|_| rng.below(requests)).collect();
    when.sort_unstable();
    let plugs = rng.percent(50);
    let pauses = rng.percent(30);
    for number in 0..requests {
        for _ in when.iter().filter(|&&at| at == number) {
            match rng.percent(30) {
                true => bed.wants_of_writes = (bed.wants_of_writes.max(4) * 2).min(32),
                false => bed.wants = (bed.wants.max(4) << rng.between(1, 2)).min(32),
            }
        }
        if pauses && rng.percent(20) {
            bed.pause_or_resume(&mut rng);
        }
        if plugs && rng.percent(20) {
            bed.machine.plug(rng.index(bed.queues.len()) as u32, 0);
        }
        submit_random(&mut bed, &mut rng);
        if plugs && rng.percent(20) {
            bed.machine.unplug(rng.index(bed.queues.len()) as u32, 0);
            bed.take_in();
        }
        while rng.percent(60) && !(bed.flights.is_empty() && bed.probes.is_empty()) {
            if bed.flights.is_empty() {
                bed.answer();
                continue;
            }
            let index = rng.index(bed.flights.len());
            let bytes = bed.flights[index].bytes;
            let short = rng.percent(10) && bed.flights[index].joined.is_empty();
            bed.finish(index, if short { rng.below(bytes) } else { bytes });
        }
    }
    bed.end_all();
    bed.end_pauses();
    for queue in 0..bed.queues.len() {
        (0..requests).for_each(|_| bed.machine.unplug(queue as u32, 0));
    }
    bed.take_in();
    bed.end_all();
    assert!(bed.sent.iter().all(|sent| matches!(sent.completed, Some((_, Ok(()))))));
    bed.conclude()
}

#[test]
fn requests_survive_storage_that_begins_to_refuse_its_alignment() {
    let repairs: HashMap<u64, u64> = (1..=SCHEDULES)
        .map(|seed| {
            let run = std::panic::catch_unwind(|| run_schedule(seed));
            (seed, run.unwrap_or_else(|_| panic!("seed {seed}")))
        })
        .collect();
    assert!(repairs.values().filter(|&&its| its > 0).count() as u64 > SCHEDULES / 2);
    assert!(repairs.values().any(|&its| its > 4));
}
