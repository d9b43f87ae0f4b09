//! One schedule, drawn from a seed: what both layers are like, what is asked of them, what fails.

use super::layers::has;
use crate::clusters::OverlayState;
use crate::io::{Op, Segment, Segments};
use crate::proof::memory::{written, Label, BASE, POISON, ZERO};
use crate::proof::rng::Rng;
use crate::{Alignments, QueueConfig, Request, RequestFlags, Suspected};

#[derive(Debug, Clone)]
pub struct Plan {
    pub queue: usize,
    pub op: Op,
    pub flags: RequestFlags,
    pub guest_block: u64,
    pub offset: u64,
    pub bytes: u64,
    pub segments: Segments,
    pub addresses: Vec<usize>,
}

#[derive(Debug, Clone)]
pub struct Draw {
    pub seed: u64,
    pub queues: Vec<QueueConfig>,
    pub keeps: Vec<bool>,
    pub state: OverlayState,
    pub length: u64,
    /// Bytes of the backing object.
    pub below: u64,
    /// What the file on top holds, also where that is absent.
    pub top: Vec<Label>,
    pub unit: u64,
    pub plans: Vec<Plan>,
    pub guest: Vec<Label>,
    pub no_scratch_percent: u64,
    pub error_percent: u64,
    pub short_percent: u64,
    pub refuse_percent: u64,
    pub cancel_percent: u64,
    pub notify_percent: u64,
    pub plug_percent: u64,
    pub crash_percent: u64,
    pub submit_percent: u64,
}

/// What the backing object holds.
const BELOW: Label = 0x10;
/// What a file on top holds where it is absent: of no request.
const GARBAGE: Label = 0xfff0_0000;

impl Plan {
    pub fn request(&self, token: usize) -> Request<usize> {
        let Plan { op, flags, guest_block, offset, bytes, ref segments, .. } = *self;
        Request { op, flags, guest_block, offset, bytes, segments: segments.clone(), token }
    }
}

impl Draw {
    pub fn new(seed: u64) -> Draw {
        let rng = &mut Rng::new(seed);
        let block = 1 << rng.between(2, 4);
        let queues: Vec<QueueConfig> =
            (0..rng.between(1, 3)).map(|_| queue(rng, rng_block(rng.clone(), block))).collect();
        let largest = queues.iter().map(|it| it.alignments.request).max().expect("one");
        let smallest = queues.iter().map(|it| it.alignments.request).min().expect("one");
        let cluster = largest << rng.between(0, 2);
        let count = rng.pick(&[2, 3, 5, 9, 70, 200]);
        let odd = queues.iter().all(|it| it.last_unit > 0) && rng.percent(60);
        let length = count * cluster - if odd { rng.below(cluster) } else { 0 };
        let there = rng.pick(&[0, 0, 20, 80]);
        let mut bits = vec![0; (count as usize).div_ceil(64)];
        (0..count)
            .filter(|_| rng.percent(there))
            .for_each(|it| bits[it as usize / 64] |= 1 << (it % 64));
        let state = OverlayState {
            cluster,
            there: bits,
            page_clusters: 64,
            piece: cluster * rng.between(1, 3),
            window: cluster * rng.between(1, 6),
            save_after: cluster * rng.between(1, 40),
        };
        let below = rng.pick(&[length, length, length + 100, length / 2, length.saturating_sub(3)]);
        let quiet = rng.percent(25);
        let often = |rng: &mut Rng, values: &[u64]| if quiet { 0 } else { rng.pick(values) };
        let mut draw = Draw {
            seed,
            keeps: queues.iter().map(|_| rng.percent(40)).collect(),
            top: Vec::new(),
            length,
            below,
            state,
            unit: smallest,
            plans: Vec::new(),
            guest: Vec::new(),
            no_scratch_percent: often(rng, &[0, 0, 0, 5]),
            error_percent: often(rng, &[0, 0, 3, 15]),
            short_percent: often(rng, &[0, 5, 20]),
            refuse_percent: often(rng, &[0, 0, 0, 10]),
            cancel_percent: rng.pick(&[0, 0, 10]),
            notify_percent: Rng::new(seed ^ 5).pick(&[0, 0, 0, 10]),
            plug_percent: rng.pick(&[0, 0, 15, 90]),
            crash_percent: rng.pick(&[0, 2, 10]),
            submit_percent: rng.pick(&[20, 50, 90]),
            queues,
        };
        draw.top = (0..length).map(|at| draw.first(at)).collect();
        let crowd = rng.pick(&[1, 2, 4, count]).min(count);
        for _ in 0..rng.between(2, 14) {
            draw.add(rng, crowd);
        }
        draw
    }

    /// An overlay of so many clusters, with all bytes of it absent, and nothing that fails.
    pub fn plain(cluster: u64, count: u64, length: u64, keeps: bool) -> Draw {
        let mut draw = Draw::new(1);
        let config = QueueConfig {
            alignments: Alignments { request: cluster / 2, memory: 1, segment: 1 },
            max_transfer: 1 << 20,
            max_segments: 16,
            depth: 4,
            last_unit: cluster / 2,
            granule: cluster / 2,
            copy_edges: true,
            suspected: Suspected::Nothing,
            no_flush: false,
            no_merge: false,
            unmap: true,
            discard_alignment: cluster / 2,
            dataless_max: 1 << 20,
            atomic_write_max: 0,
            ..draw.queues[0].clone()
        };
        draw.queues = vec![config];
        draw.keeps = vec![keeps];
        (draw.unit, draw.length, draw.below) = (cluster / 2, length, length - 1);
        draw.state = OverlayState {
            cluster,
            there: vec![0; count.div_ceil(64) as usize],
            page_clusters: 64,
            piece: cluster,
            window: cluster,
            save_after: 2 * cluster,
        };
        draw.top = (0..length).map(|at| draw.first(at)).collect();
        (draw.no_scratch_percent, draw.plans, draw.guest) = (0, Vec::new(), Vec::new());
        draw
    }

    /// Adds a request with one piece of memory.
    pub fn add_plan(&mut self, op: Op, offset: u64, bytes: u64, fua: bool) {
        let mut segments = Segments::new();
        let number = self.plans.len();
        if matches!(op, Op::Read | Op::Write) {
            let address = (BASE + self.guest.len() + 1).next_multiple_of(16);
            self.guest.resize(address - BASE, POISON);
            let label = |at| if op == Op::Write { written(number, at) } else { POISON };
            self.guest.extend((0..bytes as usize).map(label));
            segments.push(Segment { address, bytes: bytes as usize });
        }
        let addresses = segments.iter().flat_map(|it| it.address..it.address + it.bytes).collect();
        let flags = RequestFlags { fua, ..RequestFlags::default() };
        let (queue, guest_block) = (0, 0);
        self.plans.push(Plan { queue, op, flags, guest_block, offset, bytes, segments, addresses });
    }

    /// What the file on top holds at first.
    fn first(&self, at: u64) -> Label {
        match has(&self.state.there, at / self.state.cluster) {
            true => 0x8000 + at as Label % 0x7fff,
            false => GARBAGE | at as Label,
        }
    }

    /// What the backing object holds.
    pub fn below(&self, offset: u64) -> Label {
        if offset < self.below {
            BELOW + offset as Label
        } else {
            ZERO
        }
    }

    /// What a guest sees where the layers hold this.
    pub fn visible(&self, top: &[Label], there: &[u64]) -> Vec<Label> {
        let see = |at: u64| match has(there, at / self.state.cluster) {
            true => top[at as usize],
            false => self.below(at),
        };
        (0..self.length).map(see).collect()
    }

    pub fn suspects_nothing(&self) -> bool {
        self.queues.iter().all(|it| it.suspected == Suspected::Nothing)
    }

    /// Adds a request among the first `crowd` clusters, or anywhere.
    fn add(&mut self, rng: &mut Rng, crowd: u64) {
        let op = rng.pick(&[
            Op::Read,
            Op::Read,
            Op::Read,
            Op::Write,
            Op::Write,
            Op::Write,
            Op::Write,
            Op::WriteZeroes,
            Op::Discard,
            Op::Flush,
            Op::Flush,
            Op::Populate,
        ]);
        let queue = rng.index(self.queues.len());
        let cluster = self.state.cluster;
        let bound = if rng.percent(80) { (crowd * cluster).min(self.length) } else { self.length };
        let unit = rng.pick(&[1, 1, self.unit, cluster, cluster]);
        let start = rng.below(bound) / unit * unit;
        // Now and then several of them lie in one block.
        let most = (bound - start).min(if rng.percent(25) { 3 } else { cluster * 4 });
        let end = (start + rng.between(1, most)).next_multiple_of(unit).min(self.length);
        let (offset, bytes) = match op {
            Op::Flush => (0, 0),
            Op::Populate if rng.percent(30) => (self.length, 0),
            Op::Populate => (0, 0),
            _ => (start, end - start),
        };
        let flags = RequestFlags {
            fua: matches!(op, Op::Write | Op::WriteZeroes) && rng.percent(25),
            serialising: rng.percent(5),
            no_wait: rng.percent(5),
            may_unmap: op == Op::WriteZeroes && rng.percent(50),
            ..RequestFlags::default()
        };
        let guest_block = if rng.percent(10) { 1 << rng.between(2, 5) } else { 0 };
        let moves = matches!(op, Op::Read | Op::Write);
        let segments = if moves { self.memory(rng, bytes as usize) } else { Segments::new() };
        let addresses: Vec<usize> =
            segments.iter().flat_map(|it| it.address..it.address + it.bytes).collect();
        let number = self.plans.len();
        for (position, &address) in addresses.iter().enumerate() {
            let label = if op == Op::Write { written(number, position) } else { POISON };
            self.guest[address - BASE] = label;
        }
        self.plans.push(Plan { queue, op, flags, guest_block, offset, bytes, segments, addresses });
    }

    fn memory(&mut self, rng: &mut Rng, mut bytes: usize) -> Segments {
        let mut segments = Segments::new();
        let neat = rng.percent(50);
        while bytes > 0 {
            let unit = if neat { self.unit as usize } else { 1 };
            let piece = if rng.percent(40) { bytes } else { rng.between(1, bytes as u64) as usize };
            let piece = piece.next_multiple_of(unit).min(bytes);
            let skew = if neat { 0 } else { rng.index(8) };
            let address = (BASE + self.guest.len() + 1).next_multiple_of(16) + skew;
            self.guest.resize(address - BASE + piece, POISON);
            segments.push(Segment { address, bytes: piece });
            bytes -= piece;
        }
        segments
    }
}

/// A block not larger than `block`, and it as a rule.
fn rng_block(mut rng: Rng, block: u64) -> u64 {
    if rng.percent(70) {
        block
    } else {
        4
    }
}

fn queue(rng: &mut Rng, block: u64) -> QueueConfig {
    let memory = 1 << rng.between(0, 3);
    let segment = (1u64 << rng.between(0, 3)).min(block) as usize;
    QueueConfig {
        alignments: Alignments { request: block, memory, segment },
        max_transfer: block.max(memory as u64) * rng.pick(&[1, 3, 100]),
        max_segments: rng.pick(&[1, 2, 16]),
        depth: rng.pick(&[1, 2, 8]),
        last_unit: block * rng.pick(&[1, 2]),
        last_block: u64::MAX,
        granule: block * rng.pick(&[1, 1, 2]),
        copy_edges: rng.percent(60),
        suspected: if rng.percent(20) { Suspected::Invalid } else { Suspected::Nothing },
        no_flush: rng.percent(5),
        no_merge: rng.percent(20),
        resize: false,
        unmap: rng.percent(70),
        discard_alignment: block * rng.pick(&[1, 2]),
        dataless_max: block * rng.pick(&[1, 1000]),
        endless: 1 << 30,
        atomic_write_max: rng.pick(&[0, 0, 64]),
    }
}
