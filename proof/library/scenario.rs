//! What a seed makes of a run: the disk, its faults, the handles and who uses them.

use crate::handle::{CompletionMode, EngineKind, Options};
use crate::proof::disk::Shape;
use crate::proof::world::system::device::Faults;
use crate::proof::world::{Choice, Rng};

/// What is under the library.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Under {
    File,
    Device,
    /// A C caller's driver.
    Driver,
    AsynchronousDriver,
}

/// Who takes the callbacks of an EVENTFD handle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Poller {
    /// In poll, without end.
    Patient,
    /// In poll, for a while.
    Timed,
    /// In poll(2), for the eventfd.
    Descriptor,
}

#[derive(Debug, Clone)]
pub struct Plan {
    pub options: Options,
    pub pollers: Vec<Poller>,
    pub submitters: usize,
    /// Of each submitter.
    pub operations: usize,
}

#[derive(Debug, Clone)]
pub struct Scenario {
    pub under: Under,
    /// An asynchronous driver does each sector by itself.
    pub splits: bool,
    pub shape: Shape,
    pub faults: Faults,
    pub handles: Vec<Plan>,
    /// Requests begin at its multiples, and are that long.
    pub unit: u64,
    /// Among so many units most of them are.
    pub hot: u64,
    /// How many of a hundred attempts to start a thread fail.
    pub refused_threads: u64,
    /// The system gives no thread at all, from before the first open on.
    pub no_threads: bool,
    /// Nanoseconds a step takes.
    pub tick: u64,
    pub policy: Policy,
    /// How many before-write notifiers come and go.
    pub notifiers: usize,
}

#[derive(Debug, Clone, Copy)]
pub enum Policy {
    Random(u64),
    Priorities(u64),
}

impl Policy {
    pub fn choice(self, seed: u64) -> Choice {
        match self {
            Policy::Random(stick) => Choice::random(seed, stick),
            Policy::Priorities(change) => Choice::priorities(seed, change),
        }
    }
}

struct Draw(Rng);

impl Draw {
    fn below(&mut self, bound: u64) -> u64 {
        self.0.below(bound)
    }

    fn percent(&mut self, chance: u64) -> bool {
        self.below(100) < chance
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize]
    }
}

impl Scenario {
    pub fn draw(seed: u64) -> Scenario {
        let mut draw = Draw(Rng::new(seed));
        use Under::{AsynchronousDriver, Device, Driver, File};
        let under = draw.pick(&[File, File, Device, Device, Driver, AsynchronousDriver]);
        let shape = shape(&mut draw, under);
        let faults = faults(&mut draw, under, &shape);
        let count = draw.pick(&[1, 1, 2, 2, 3]);
        let handles = (0..count).map(|_| plan(&mut draw, &faults)).collect();
        let unit = draw.pick(&[512, 512, 256, 100, 1000, 4096, 37]);
        let stick = draw.pick(&[2, 5, 20, 100]);
        let policy = match draw.percent(40) {
            true => Policy::Priorities(draw.pick(&[50, 300, 2000])),
            false => Policy::Random(stick),
        };
        let mut scenario = Scenario {
            under,
            splits: false,
            shape,
            faults,
            handles,
            unit,
            hot: draw.pick(&[8, 16, 40]),
            refused_threads: draw.pick(&[0, 0, 0, 30]),
            no_threads: false,
            tick: draw.pick(&[2, 20, 200, 2000]),
            policy,
            notifiers: 0,
        };
        if draw.percent(12) {
            scenario.faults.forbids = Some(draw.below(80));
        }
        for Plan { options, .. } in &mut scenario.handles {
            let (direct, either) = (draw.percent(75), draw.percent(25));
            (options.direct, options.buffered_ok) = (direct, direct && either);
        }
        if matches!(under, File | Device) && draw.percent(10) {
            scenario.take_threads_away(&mut draw);
        }
        // The last draw: a seed without notifiers is the run that it was before these.
        scenario.notifiers = draw.pick(&[0, 0, 1, 3]);
        // Last: so a seed without it stays what it was. The disk below has to take single sectors.
        let takes_sectors = scenario.shape.needs_request == 512;
        scenario.splits = under == AsynchronousDriver && draw.percent(40) && takes_sectors;
        if scenario.splits {
            // Of so many sectors one would be interrupted or short each time.
            (scenario.faults.interrupted, scenario.faults.short) = (0, 0);
        }
        scenario
    }

    /// What works then: rings, and threads of the program that poll.
    fn take_threads_away(&mut self, draw: &mut Draw) {
        (self.no_threads, self.refused_threads) = (true, 100);
        self.faults.no_rings = false;
        for Plan { options, pollers, .. } in &mut self.handles {
            options.completion = CompletionMode::Eventfd;
            options.engine = EngineKind::Auto;
            if pollers.is_empty() {
                let kinds = [Poller::Patient, Poller::Timed, Poller::Descriptor];
                pollers.push(draw.pick(&kinds));
            }
        }
    }

    /// Whether nothing that goes wrong may keep requests waiting for others that they have nothing
    /// to do with.
    pub fn hangs_alone(&self) -> bool {
        let faults = &self.faults;
        // A kernel short of memory is asked again when something comes back.
        let calm = faults.entering == 0 && faults.forbids.is_none();
        let quiet = !faults.are_any() && faults.grows.is_none() && calm;
        let room = |plan: &Plan| plan.options.workers == 0 && plan.options.queue_depth >= 8;
        quiet && self.refused_threads == 0 && self.handles.iter().all(room)
    }
}

fn shape(draw: &mut Draw, under: Under) -> Shape {
    let request = draw.pick(&[512, 512, 4096, 4096, 1024]);
    let mem = draw.pick(&[1, 4, 512, 512]);
    let segment = draw.pick(&[512, 512, request]).min(request);
    let blocks = draw.pick(&[16, 24, 64]);
    let tail = if under == Under::File && draw.percent(50) { draw.pick(&[1, 100, 600]) } else { 0 };
    let device = under == Under::Device;
    let tells = draw.percent(50);
    Shape {
        bytes: blocks * 4096 + tail,
        needs_request: u64::from(request),
        needs_memory: mem,
        needs_segment: segment as usize,
        // Else trials have to find out.
        says_statx: tells.then_some((mem as u32, request)),
        says_block_size: device.then_some(request),
        says_file_system_block: None,
        says_sysfs: false,
        knows_nowait: draw.percent(50),
        knows_dsync: draw.percent(70),
        knows_zeroes: draw.percent(60),
        ..if device { Shape::device() } else { Shape::file() }
    }
}

fn faults(draw: &mut Draw, under: Under, shape: &Shape) -> Faults {
    let latency_max = draw.pick(&[0, 1_000, 20_000, 500_000]);
    let mut faults = Faults { latency_max, ..Faults::default() };
    if draw.percent(40) {
        faults.interrupted = draw.pick(&[1, 10]);
        faults.short = draw.pick(&[0, 5, 20]);
        faults.entering = draw.pick(&[0, 5, 30]);
        faults.partial = draw.pick(&[0, 30]);
    }
    if draw.percent(25) {
        faults.error = draw.pick(&[1, 5]);
        faults.no_space = draw.pick(&[0, 5]);
    }
    faults.no_rings = draw.percent(5);
    if draw.percent(40) {
        faults.hang = Some((draw.below(60), 30_000_000));
    }
    let file = matches!(under, Under::File | Under::Device);
    if file && shape.needs_request < 4096 && draw.percent(30) {
        faults.grows = Some((draw.below(60), 4096));
    }
    faults
}

fn plan(draw: &mut Draw, faults: &Faults) -> Plan {
    use CompletionMode::{Concurrent, Eventfd, Serial};
    let completion = draw.pick(&[Serial, Concurrent, Eventfd, Eventfd]);
    let workers = if faults.hang.is_some() { 0 } else { draw.pick(&[0, 0, 1, 2, 3]) };
    let options = Options {
        writable: true,
        direct: true,
        no_merge: draw.percent(15),
        stable_writes: draw.percent(25),
        writethrough: draw.percent(10),
        unmap: draw.percent(50),
        // Auto: some machines have no rings.
        engine: draw.pick(&[EngineKind::Threads, EngineKind::Auto, EngineKind::Auto]),
        completion,
        workers,
        queue_depth: draw.pick(&[0, 1, 2, 8, 32]),
        guest_block_size: draw.pick(&[0, 0, 0, 4096]),
        ..Options::default()
    };
    let kinds = [Poller::Patient, Poller::Patient, Poller::Timed, Poller::Descriptor];
    let pollers = match completion {
        Eventfd => (0..draw.pick(&[0, 1, 1, 2])).map(|_| draw.pick(&kinds)).collect(),
        _ => Vec::new(),
    };
    let submitters = draw.pick(&[1, 2, 2, 3]);
    Plan { options, pollers, submitters, operations: draw.pick(&[6, 12, 30]) }
}
