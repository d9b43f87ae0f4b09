//! What happens in one schedule: queues, requests and faults, all drawn from one seed; and the
//! ground rules that follow from the plan alone (who excludes whom, which blocks are edges).

use std::cell::OnceCell;
use std::ops::Range;

use super::faults::Faults;
use super::isolated::Asks;
use super::memory::{written, Label, BASE, POISON};
use crate::extent::follow;
use crate::io::{Op, Segment, Segments};
use crate::{QueueConfig, Request, RequestFlags};

/// One bit per request in the checker's sets.
pub const REQUESTS_MAX: usize = 32;

/// A request to come.
#[derive(Debug, Clone)]
pub struct Plan {
    pub queue: usize,
    pub op: Op,
    pub flags: RequestFlags,
    pub asks: Asks,
    pub offset: u64,
    pub bytes: u64,
    pub segments: Segments,
    /// Where each of its bytes lies in the guest's memory.
    pub addresses: Vec<usize>,
    /// No address occurs twice.
    pub distinct: bool,
    /// Length: what the storage says; `offset` is what it seems to be.
    pub told: u64,
    /// What others must keep out of while it runs: its range, padded if it is exclusive.
    pub tracked: Range<u64>,
    pub exclusive: bool,
    /// Its range padded to whole blocks of the storage, cut at the last block.
    pub padded: Range<u64>,
    /// The blocks that it writes only in part: the only ones it may read.
    pub edges: [Option<Range<u64>>; 2],
    /// Zero writes: the part of whole blocks. Discards: the part that reaches the storage.
    pub whole: Range<u64>,
}

#[derive(Debug, Clone)]
pub struct Scenario {
    pub config: Vec<QueueConfig>,
    /// Bytes of the object at first; what it may grow to.
    pub length: u64,
    pub capacity: u64,
    /// The length that limits and plans are told for, and the same for another.
    pub followed: u64,
    next: OnceCell<Box<Scenario>>,
    pub plans: Vec<Plan>,
    pub faults: Faults,
    /// The most that the storage moves at one moment; multi-block states are seen torn.
    pub unit: u64,
    /// Chance in percent that the next request is submitted before anything else happens.
    pub submit_percent: u64,
    /// Chance in percent that an I/O moves a part of its bytes instead of ending.
    pub advance_percent: u64,
    /// Chances in percent that a queue is plugged, or unplugged again, before anything else.
    pub plug_percent: u64,
    pub unplug_percent: u64,
    /// Chance in percent that a request does not let itself be held back.
    pub now_percent: u64,
    /// Chance in percent that a throttle holds a request, and that it lets some go.
    pub hold_percent: u64,
    /// Chance in percent that a request is cancelled before anything else happens.
    pub cancel_percent: u64,
    /// Whether rather the newest or the oldest I/O ends, or any.
    pub order: Order,
    /// The guest's memory: every byte of a request's buffers has a label of its own.
    pub guest: Vec<Label>,
    pub seed: u64,
}

#[derive(Debug, Clone, Copy)]
pub enum Order {
    Any,
    MostlyNewest,
    MostlyOldest,
}

impl Scenario {
    /// A scenario without requests or faults; `add` puts the requests in.
    pub fn empty(config: Vec<QueueConfig>, length: u64, seed: u64) -> Self {
        let unit = config.iter().map(|config| config.alignments.request).min().unwrap_or(1);
        let mut config = config;
        follow(config.iter_mut(), length);
        Scenario {
            config,
            length,
            capacity: length,
            followed: length,
            next: OnceCell::new(),
            plans: Vec::new(),
            faults: Faults::default(),
            unit,
            submit_percent: 50,
            advance_percent: 30,
            plug_percent: 0,
            unplug_percent: 0,
            now_percent: 0,
            hold_percent: 0,
            cancel_percent: 0,
            order: Order::Any,
            guest: Vec::new(),
            seed,
        }
    }

    /// Adds a request whose vector lies at `segments`, in memory reserved by `reserve`.
    pub fn add(&mut self, queue: usize, op: Op, fua: bool, offset: u64, segments: Segments) {
        let flags = RequestFlags { fua, ..RequestFlags::default() };
        let bytes: usize = segments.iter().map(|segment| segment.bytes).sum();
        self.add_plan(queue, op, flags, offset..offset + bytes as u64, segments);
    }

    /// Adds a request without memory.
    pub fn add_dataless(&mut self, queue: usize, op: Op, flags: RequestFlags, range: Range<u64>) {
        self.add_plan(queue, op, flags, range, Segments::new());
    }

    /// Adds a request that looks the length up: it seems to be one, and is another.
    pub fn add_length(&mut self, queue: usize, seems: u64, told: u64) {
        self.add_plan(queue, Op::Length, RequestFlags::default(), seems..seems, Segments::new());
        self.plans.last_mut().expect("just added").told = told;
    }

    fn add_plan(
        &mut self,
        queue: usize,
        op: Op,
        flags: RequestFlags,
        range: Range<u64>,
        segments: Segments,
    ) {
        assert!(self.plans.len() < REQUESTS_MAX);
        let addresses: Vec<usize> =
            segments.iter().flat_map(|s| s.address..s.address + s.bytes).collect();
        let (offset, bytes) = (range.start, range.end - range.start);
        let number = self.plans.len();
        let mut distinct = true;
        for &address in &addresses {
            let cell = &mut self.guest[address - BASE];
            distinct &= *cell == POISON;
            // Positions start over with each request's memory, which is no longer than a label's.
            *cell = written(number, (address - BASE) & 0xffff);
        }
        self.plans.push(Plan {
            queue,
            op,
            flags,
            asks: Asks::default(),
            offset,
            bytes,
            segments,
            addresses,
            distinct,
            told: 0,
            tracked: 0..0,
            exclusive: false,
            padded: 0..0,
            edges: [None, None],
            whole: 0..0,
        });
        let config = self.config[queue].clone();
        self.plans.last_mut().expect("just added").follow(&config);
    }

    /// The same when the object has this length.
    pub fn at_length(&self, length: u64) -> &Scenario {
        if self.followed == length {
            return self;
        }
        let other = || {
            let mut other = Scenario { next: OnceCell::new(), followed: length, ..self.clone() };
            follow(other.config.iter_mut(), length);
            for plan in &mut other.plans {
                plan.follow(&other.config[plan.queue]);
            }
            Box::new(other)
        };
        self.next.get_or_init(other).at_length(length)
    }

    /// Guest memory for the next request: `bytes` from an address that is `skew` beyond a multiple
    /// of `alignment`. Between two reservations lies a gap.
    pub fn reserve(&mut self, bytes: usize, alignment: usize, skew: usize) -> usize {
        let address = (BASE + self.guest.len() + 1).next_multiple_of(alignment) + skew;
        self.guest.resize(address - BASE + bytes, POISON);
        address
    }

    pub fn request(&self, number: usize) -> Request<usize> {
        let plan = &self.plans[number];
        Request {
            op: plan.op,
            flags: RequestFlags {
                serialising: plan.asks.serialising,
                no_wait: plan.asks.no_wait,
                ..plan.flags
            },
            guest_block: plan.asks.guest_block,
            offset: plan.offset,
            bytes: plan.bytes,
            segments: plan.segments.clone(),
            token: number,
        }
    }

    /// Which request's buffers hold this guest address.
    pub fn owner_of_memory(&self, address: usize) -> Option<usize> {
        super::memory::source(*self.guest.get(address.checked_sub(BASE)?)?)
    }

    /// Whether two writes may share one I/O.
    pub fn may_merge(&self, a: usize, b: usize) -> bool {
        let (a, b) = (&self.plans[a], &self.plans[b]);
        let (first, second) = (&self.config[a.queue], &self.config[b.queue]);
        let block = a.part_of_block(first);
        first.alignments == second.alignments
            && (a.queue == b.queue || first.granule == second.granule)
            && (a.op, b.op) == (Op::Write, Op::Write)
            && !(first.no_merge || second.no_merge)
            && !(a.asks.serialising || b.asks.serialising)
            && block.is_some()
            && block == b.part_of_block(second)
    }

    /// Of two requests, whether the later one has to wait until the earlier one is over.
    pub fn conflict(&self, a: usize, b: usize) -> bool {
        self.conflict_among_writes(a, b) || self.conflict_in_isolation(a, b)
    }

    /// Whether one has to wait because both may write, or let no other write.
    pub fn conflict_among_writes(&self, a: usize, b: usize) -> bool {
        let (a, b) = (&self.plans[a], &self.plans[b]);
        let counts = |plan: &Plan| plan.changes_bytes() || plan.excludes();
        counts(a) && counts(b) && (a.exclusive || b.exclusive) && overlap(&a.tracked, &b.tracked)
    }
}

impl Plan {
    /// What follows from the limits.
    pub fn follow(&mut self, config: &QueueConfig) {
        let range = self.offset..self.offset + self.bytes;
        self.whole = whole(self.op, &range, config, config.last_block);
        let discarded = whole(self.op, &range, config, u64::MAX);
        let changed = if self.op == Op::Discard { &discarded } else { &range };
        let neat = range.start.is_multiple_of(config.granule)
            && range.end.is_multiple_of(config.granule)
            && range.end <= config.last_block;
        self.exclusive = !changed.is_empty()
            && match self.op {
                Op::Write => !neat,
                Op::WriteZeroes | Op::Discard => true,
                _ => false,
            };
        self.tracked = if self.exclusive { pad(changed, config.granule) } else { range.clone() };
        if self.excludes() {
            self.tracked = pad(&range, config.granule.max(self.asks.guest_block));
            self.exclusive = true;
        }
        self.padded = padded(&range, config);
        self.edges = match self.op {
            Op::Write | Op::WriteZeroes if self.bytes > 0 => edges(&range, config),
            _ => [None, None],
        };
    }

    /// The block that it covers a part of, if it touches no other and none that is special.
    pub fn part_of_block(&self, config: &QueueConfig) -> Option<u64> {
        let block = config.alignments.request;
        let at = self.offset & !(block - 1);
        let end = self.offset + self.bytes;
        (self.bytes > 0 && self.bytes < block && end <= at + block && end <= config.last_block)
            .then_some(at)
    }

    /// Whether others have to mind it.
    pub fn changes_bytes(&self) -> bool {
        match self.op {
            Op::Write | Op::WriteZeroes => self.bytes > 0,
            Op::Discard => self.exclusive,
            _ => false,
        }
    }

    /// Whether it gives this byte a new value.
    pub fn changes(&self, offset: u64) -> bool {
        match self.op {
            Op::Truncate => offset >= self.offset,
            Op::Length => offset >= self.told,
            _ => self.covers(offset),
        }
    }

    /// Whether it may make this byte zero, or discard it.
    pub fn clears(&self, offset: u64) -> bool {
        match self.op {
            Op::WriteZeroes | Op::Discard => self.covers(offset),
            Op::Truncate => offset >= self.offset,
            Op::Length => offset >= self.told,
            _ => false,
        }
    }

    pub fn covers(&self, offset: u64) -> bool {
        self.offset <= offset && offset < self.offset + self.bytes
    }

    pub fn address_at(&self, offset: u64) -> usize {
        self.addresses[(offset - self.offset) as usize]
    }

    /// Whether its vector has one of these addresses more than once.
    pub fn names_twice(&self, addresses: &[usize]) -> bool {
        let mut rest: Vec<usize> = self.addresses.clone();
        rest.sort_unstable();
        addresses.iter().any(|address| {
            let first = rest.partition_point(|other| other < address);
            rest.get(first + 1) == Some(address)
        })
    }
}

pub fn overlap(a: &Range<u64>, b: &Range<u64>) -> bool {
    a.start < b.end && b.start < a.end
}

pub fn inside(inner: &Range<u64>, outer: &Range<u64>) -> bool {
    outer.start <= inner.start && inner.end <= outer.end
}

pub fn pad(range: &Range<u64>, alignment: u64) -> Range<u64> {
    range.start & !(alignment - 1)..range.end.next_multiple_of(alignment)
}

/// Whole blocks below the last block, exact bytes from there on.
fn padded(range: &Range<u64>, config: &QueueConfig) -> Range<u64> {
    let blocks = pad(range, config.alignments.request);
    let start = if range.start < config.last_block { blocks.start } else { range.start };
    let end = if range.end <= config.last_block { blocks.end } else { range.end };
    start..end
}

/// See `Plan::whole`.
fn whole(op: Op, range: &Range<u64>, config: &QueueConfig, bound: u64) -> Range<u64> {
    let unit = match op {
        Op::WriteZeroes => config.alignments.request,
        Op::Discard if config.unmap => config.discard_alignment,
        _ => return 0..0,
    };
    let start = range.start.next_multiple_of(unit);
    let end = range.end.min(bound);
    start..(end - end % unit).max(start)
}

fn edges(range: &Range<u64>, config: &QueueConfig) -> [Option<Range<u64>>; 2] {
    let block = config.alignments.request;
    let end = range.end.min(config.last_block);
    if range.start >= end {
        return [None, None];
    }
    let edge = |at: u64| (!at.is_multiple_of(block)).then(|| pad(&(at..at + 1), block));
    [edge(range.start), edge(end)]
}

/// A buffer of one element, for tests that do not care where it lies.
pub fn one_segment(address: usize, bytes: usize) -> Segments {
    Segments::from_slice(&[Segment { address, bytes }])
}
