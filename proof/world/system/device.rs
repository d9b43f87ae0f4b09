//! What is on its way at the simulated disk, and the threads that see to it that it ends.

use std::os::fd::RawFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use parking_lot::Mutex;

use super::pieces;
use super::record::{gather, Record};
use crate::driver::Segment;
use crate::proof::disk::{Disk, Shape};
use crate::proof::power::deed::Deed;
use crate::proof::world::memory::{self, View};
use crate::proof::world::thread::sleep_as;
use crate::proof::world::{block, choose, fail, now, percent, point, trace, wake_all};
use crate::proof::world::{Class, Key};
use crate::sys::Errno;

/// What goes wrong, in percent of I/Os or calls, and how long things take.
#[derive(Debug, Clone, Default)]
pub struct Faults {
    pub interrupted: u64,
    pub error: u64,
    pub no_space: u64,
    pub short: u64,
    /// io_uring_enter fails for the moment; takes less than it was told.
    pub entering: u64,
    pub partial: u64,
    /// There is no io_uring.
    pub no_rings: bool,
    /// After so many times io_uring_enter fails for good, as by a seccomp filter.
    pub forbids: Option<u64>,
    /// At most, in nanoseconds; 0: nothing takes time.
    pub latency_max: u64,
    /// The I/O of that number hangs so long.
    pub hang: Option<(u64, u64)>,
    /// After so many I/Os the disk takes blocks of that size only.
    pub grows: Option<(u64, u64)>,
}

impl Faults {
    /// Whether requests may fail.
    pub fn are_any(&self) -> bool {
        self.error + self.no_space > 0
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Read,
    Write,
    Flush,
    Zero,
}

/// One I/O as a ring has it.
pub struct Io {
    pub kind: Kind,
    pub fd: RawFd,
    pub segments: Vec<Segment>,
    pub offset: u64,
    /// RWF_*.
    pub how: i32,
}

#[derive(Debug, Default)]
pub struct Counts {
    pub ios: AtomicU64,
    pub bytes: AtomicU64,
    pub failed: AtomicU64,
    pub shorts: AtomicU64,
    pub interrupted: AtomicU64,
    pub refused: AtomicU64,
    pub hung: AtomicU64,
    pub entered: AtomicU64,
}

impl Counts {
    pub fn one(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

pub struct Device {
    pub disk: &'static Disk,
    /// As it was plugged in.
    pub shape: Shape,
    pub faults: Faults,
    pub counts: Counts,
    flights: Mutex<Flights>,
    /// What hangs now: from, to; None: flushes and such.
    pub hanging: Mutex<Vec<Option<(u64, u64)>>>,
    /// Threads that poll and carry out an I/O of their handle themselves, which hangs: they take
    /// nothing else in meanwhile.
    pub hung_pollers: AtomicU64,
    pub record: Record,
}

#[derive(Default)]
struct Flights {
    flights: Vec<Flight>,
    closing: bool,
}

struct Flight {
    due: u64,
    class: Class,
    /// What the thread knew that began it. The thread that carries it out, maybe another processor,
    /// knows that much and no more.
    view: View,
    land: Box<dyn FnOnce() + Send>,
}

/// What will become of an I/O.
pub struct Plan {
    nanos: u64,
    class: Class,
    /// By the disk's clock.
    begin: u64,
    /// Without a flush.
    pub durable: bool,
    pub outcome: Result<u64, Errno>,
}

impl Plan {
    /// How long it takes; from here on it takes no time any more, since the caller lets it pass.
    pub fn take_time(&mut self) -> (u64, Class) {
        (std::mem::take(&mut self.nanos), self.class)
    }
}

/// The one disk in memory of the process: each simulation gives it another shape and content.
pub static DISK: LazyLock<&'static Disk> = LazyLock::new(|| Disk::table(Shape::device()));

static DEVICE: Mutex<Option<Arc<Device>>> = Mutex::new(None);

/// The one of this simulation.
pub fn device() -> Arc<Device> {
    DEVICE.lock().clone().unwrap_or_else(|| fail("the machine has no disk"))
}

pub fn plug_in(shape: Shape, content: Vec<u8>, faults: Faults) -> Arc<Device> {
    DISK.reset_to(shape, content);
    let device = Arc::new(Device {
        disk: *DISK,
        shape,
        faults,
        counts: Counts::default(),
        flights: Mutex::default(),
        hanging: Mutex::default(),
        hung_pollers: AtomicU64::new(0),
        record: Record::default(),
    });
    *DEVICE.lock() = Some(device.clone());
    device
}

pub fn gives_rings() -> bool {
    !device().faults.no_rings
}

pub fn interruptions() -> u64 {
    device().faults.interrupted
}

pub fn partial_submissions() -> u64 {
    device().faults.partial
}

/// A thread enters a ring: whether it is forbidden, to this one and to all that come later.
pub fn forbids_entering() -> bool {
    let device = device();
    let number = device.counts.entered.fetch_add(1, Ordering::Relaxed);
    device.faults.forbids.is_some_and(|after| number >= after)
}

/// Whether that may come.
pub fn may_forbid_entering() -> bool {
    device().faults.forbids.is_some()
}

/// The errno that an attempt to submit ends with.
pub fn refuses_entering() -> Option<Errno> {
    let errnos = [libc::EINTR, libc::EAGAIN, libc::EBUSY, libc::ENOMEM];
    percent(device().faults.entering).then(|| errnos[choose(4) as usize])
}

pub fn later(nanos: u64, land: impl FnOnce() + Send + 'static) {
    device().add(nanos, Class::Outside, Box::new(land));
}

/// Begins an I/O of a ring; `done` gets its answer, on a thread of the device. `reliable`: it does
/// not depend on the thread that asked.
pub fn start_ring_io(
    io: Io,
    reliable: bool,
    owner: usize,
    done: impl FnOnce(i32) + Send + 'static,
) {
    let device = device();
    let Io { kind, fd, segments, offset, how } = io;
    let mut plan = device.plan(kind, fd, &segments, offset, how);
    let (nanos, class) = (plan.nanos, plan.class);
    let its = device.clone();
    let land = move || {
        let world = crate::proof::world::world().expect("on a simulated thread");
        if !reliable && !world.is_alive(owner) && percent(20) {
            plan.outcome = Err(if percent(50) { libc::ECANCELED } else { libc::EFAULT });
        }
        let result = its.carry_out(&plan, kind, fd, &segments, offset);
        its.landed(&plan);
        done(result.map_or_else(|errno| -errno, |bytes| bytes as i32));
    };
    device.add(nanos, class, Box::new(land));
}

impl Device {
    /// What becomes of an I/O that begins now.
    pub fn plan(&self, kind: Kind, fd: RawFd, segments: &[Segment], offset: u64, how: i32) -> Plan {
        let number = self.counts.ios.fetch_add(1, Ordering::Relaxed);
        let faults = &self.faults;
        if let Some((_, bytes)) = faults.grows.filter(|(after, _)| number == *after) {
            let mut state = self.disk.state();
            // BLKSSZGET goes on to say what it said: the library has asked before.
            let says_block_size = self.shape.says_block_size;
            state.shape = Shape { says_block_size, ..state.shape.with_blocks(bytes as u32) };
        }
        let bytes: usize = segments.iter().map(|segment| segment.bytes).sum();
        let mut outcome = self.outcome(kind, offset, bytes as u64);
        let moves = matches!(kind, Kind::Read | Kind::Write);
        let cached = self.last_page();
        if moves && !self.is_direct(fd) && offset < cached && self.disk.state().has_direct() {
            fail("the page cache is used for blocks that somebody has open with O_DIRECT");
        }
        if moves && self.is_direct(fd) && !self.takes(segments, offset) {
            Counts::one(&self.counts.refused);
            outcome = Err(libc::EINVAL);
        }
        if how & libc::RWF_DSYNC != 0 && !self.shape.knows_dsync {
            outcome = Err(libc::EOPNOTSUPP);
        }
        let hangs = faults.hang.filter(|(at, _)| *at == number && outcome.is_ok());
        let (nanos, class) = match hangs {
            Some((_, nanos)) => {
                Counts::one(&self.counts.hung);
                let range = (offset, offset + bytes as u64);
                self.hanging.lock().push((moves || kind == Kind::Zero).then_some(range));
                (nanos, Class::Hung)
            }
            None => (self.latency(), Class::Outside),
        };
        trace(|| format!("I/O {number} {kind:?} {offset}+{bytes}: {outcome:?} in {nanos} ns"));
        let (begin, durable) = (self.record.tick(), how & libc::RWF_DSYNC != 0);
        Plan { nanos, class, begin, durable, outcome }
    }

    fn latency(&self) -> u64 {
        match self.faults.latency_max {
            0 => 0,
            most => choose(most >> choose(8)),
        }
    }

    fn outcome(&self, kind: Kind, offset: u64, bytes: u64) -> Result<u64, Errno> {
        let Faults { interrupted, error, no_space, short, .. } = self.faults;
        if percent(interrupted) {
            Counts::one(&self.counts.interrupted);
            return Err(libc::EINTR);
        }
        if percent(error) {
            Counts::one(&self.counts.failed);
            return Err(libc::EIO);
        }
        if kind == Kind::Write && percent(no_space) {
            Counts::one(&self.counts.failed);
            return Err(libc::ENOSPC);
        }
        if matches!(kind, Kind::Read | Kind::Write) && bytes > 512 && percent(short) {
            Counts::one(&self.counts.shorts);
            // Part of a sector comes from a read only: disks do not tear them. A write through the
            // page cache may begin inside a sector, but ends short at the end of one.
            let unit = if kind == Kind::Write || percent(70) { 512 } else { 1 };
            let end = (offset + 1 + choose(bytes - 1)).next_multiple_of(unit);
            return Ok((end - offset).min(bytes));
        }
        Ok(bytes)
    }

    fn is_direct(&self, fd: RawFd) -> bool {
        self.disk.flags(fd).is_some_and(|flags| flags & libc::O_DIRECT != 0)
    }

    /// Whether direct I/O of this form is taken.
    fn takes(&self, segments: &[Segment], offset: u64) -> bool {
        let elements = segments.iter().map(|segment| (segment.address, segment.bytes));
        self.disk.state().takes(elements, offset)
    }

    /// From where on I/O may go through the page cache beside O_DIRECT: the page that has the end,
    /// if the end is inside a page. Where the disk comes to take larger blocks only the library may
    /// come to use blocks of up to 64 KiB, and the last of them is what has the end.
    fn last_page(&self) -> u64 {
        let unit = if self.faults.grows.is_some() { 65536 } else { 4096 };
        self.shape.bytes as u64 / unit * unit
    }

    /// On the calling thread, as a system call that blocks. `to`: the end of what it touches.
    pub fn run(
        &self,
        plan: &Plan,
        kind: Kind,
        fd: RawFd,
        segments: &[Segment],
        offset: u64,
    ) -> Result<u64, Errno> {
        point();
        if plan.nanos > 0 {
            let polls =
                plan.class == Class::Hung && std::thread::current().name() == Some("poller");
            self.hung_pollers.fetch_add(u64::from(polls), Ordering::Relaxed);
            sleep_as(Duration::from_nanos(plan.nanos), plan.class);
            self.hung_pollers.fetch_sub(u64::from(polls), Ordering::Relaxed);
        }
        let result = self.carry_out(plan, kind, fd, segments, offset);
        self.landed(plan);
        result
    }

    /// Its time has come. What fails may have been done in part.
    fn carry_out(
        &self,
        plan: &Plan,
        kind: Kind,
        fd: RawFd,
        segments: &[Segment],
        offset: u64,
    ) -> Result<u64, Errno> {
        if self.disk.flags(fd).is_none() {
            fail(&format!("I/O through descriptor {fd}, which is closed"));
        }
        match (kind, plan.outcome) {
            (Kind::Flush, Ok(_)) => {
                self.record.add(plan.begin, Deed::Sync);
                Ok(0)
            }
            (Kind::Read | Kind::Write, Ok(most)) => {
                let moved = self.transfer(plan, kind, segments, offset, most);
                self.counts.bytes.fetch_add(moved, Ordering::Relaxed);
                Ok(moved)
            }
            (Kind::Zero, Ok(bytes)) => {
                pieces::zero(self.disk, offset, bytes);
                let (offset, bytes) = (offset as usize, bytes as usize);
                let deed = if plan.durable {
                    Deed::Write { offset, data: vec![0; bytes], durable: true, atomic: false }
                } else {
                    Deed::Zero { offset, bytes }
                };
                self.record.add(plan.begin, deed);
                Ok(bytes as u64)
            }
            (Kind::Read | Kind::Write, Err(errno @ (libc::EIO | libc::ENOSPC))) => {
                let bytes: usize = segments.iter().map(|segment| segment.bytes).sum();
                let most = choose(bytes as u64 + 1) / 512 * 512;
                self.transfer(plan, kind, segments, offset, most);
                Err(errno)
            }
            (_, Err(errno)) => Err(errno),
        }
    }

    fn transfer(
        &self,
        plan: &Plan,
        kind: Kind,
        segments: &[Segment],
        offset: u64,
        most: u64,
    ) -> u64 {
        let write = kind == Kind::Write;
        let moved = pieces::transfer(self.disk, write, segments, offset, most);
        if write {
            let (data, atomic) = (gather(segments, moved), false);
            // What fails is not durable, whatever of it was done.
            let durable = plan.durable && plan.outcome.is_ok();
            let deed = Deed::Write { offset: offset as usize, data, durable, atomic };
            self.record.add(plan.begin, deed);
        }
        moved
    }

    pub fn add(&self, nanos: u64, class: Class, land: Box<dyn FnOnce() + Send>) {
        let due = now().unwrap_or(0) + nanos;
        let view = memory::view();
        self.flights.lock().flights.push(Flight { due, class, view, land });
        wake_all(self.key());
    }

    /// It is over.
    pub fn landed(&self, plan: &Plan) {
        if plan.class == Class::Hung {
            self.hanging.lock().clear();
        }
    }

    fn key(&self) -> Key {
        Key::Thing(std::ptr::from_ref(self).addr())
    }

    /// What a thread of the device does until `stop`.
    pub fn serve(&self) {
        loop {
            point();
            let now = now().unwrap_or(0);
            let (next, class) = {
                let mut state = self.flights.lock();
                let due = |flight: &Flight| flight.due <= now;
                let many = state.flights.iter().filter(|flight| due(flight)).count();
                if many > 0 {
                    let chosen = choose(many as u64) as usize;
                    let mut all = state.flights.iter().enumerate().filter(|(_, its)| due(its));
                    let at = all.nth(chosen).expect("counted").0;
                    let flight = state.flights.swap_remove(at);
                    drop(state);
                    memory::knowing(flight.view, flight.land);
                    continue;
                }
                if state.closing {
                    return;
                }
                let next = state.flights.iter().map(|flight| flight.due).min();
                let hung = state.flights.iter().all(|flight| flight.class == Class::Hung);
                (next, if hung { Class::Hung } else { Class::Outside })
            };
            block(self.key(), next, class);
        }
    }

    /// Nothing is on its way any more but ticks.
    pub fn stop(&self) {
        self.flights.lock().closing = true;
        wake_all(self.key());
    }
}
