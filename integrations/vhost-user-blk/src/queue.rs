//! One queue, from the frontend's side: what it was told, and its worker while it runs.
//!
//! Whatever is changed is changed while no worker runs: `pause`, change, `resume`.

use std::fs::File;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::mpsc::{channel, Receiver, RecvTimeoutError, Sender};
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use vhost::vhost_user::{Error, Result};

use crate::disk::Disk;
use crate::events::Call;
use crate::inflight::{Inflight, InflightQueue};
use crate::memory::Memory;
use crate::report;
use crate::ring::{Addresses, Ring};
use crate::worker::{Setup, Stop, Worker};

struct Running {
    stop: Arc<Stop>,
    thread: JoinHandle<u16>,
    ended: Receiver<()>,
}

/// So long a thread may take to stop before we look whether it is the frontend that holds it.
const INTERRUPT_AFTER: Duration = Duration::from_millis(20);

/// What all queues of a device have in common at a moment.
pub struct Common<'a> {
    pub disk: &'a Arc<Disk>,
    pub memory: &'a Arc<Memory>,
    pub inflight: Option<&'a Inflight>,
    pub event_idx: bool,
    pub registered: bool,
    pub spin_max: Duration,
    pub throttle: Option<&'a blkalign::Throttle>,
}

pub struct Queue {
    index: u16,
    /// Its requests at the storage.
    pub storage: Arc<blkalign::Queue>,
    pub size: u16,
    /// As the frontend sees them.
    pub addresses: Option<Addresses>,
    /// The next chain to take.
    pub base: u16,
    pub kick: Option<File>,
    pub call: Arc<Call>,
    pub err: Arc<Call>,
    pub enabled: bool,
    running: Option<Running>,
}

impl Queue {
    pub fn new(index: u16, storage: Arc<blkalign::Queue>) -> Queue {
        Queue {
            index,
            storage,
            size: 0,
            addresses: None,
            base: 0,
            kick: None,
            call: Arc::default(),
            err: Arc::default(),
            enabled: false,
            running: None,
        }
    }

    /// As after `new`, with nothing in flight.
    pub fn reset(&mut self) {
        self.pause();
        *self = Queue::new(self.index, self.storage.clone());
    }

    /// Returns when everything in flight is done and the guest has been told, or does not want to
    /// be: nothing that the frontend does keeps us here.
    pub fn pause(&mut self) {
        let Some(Running { stop, thread, ended }) = self.running.take() else { return };
        stop.request();
        while ended.recv_timeout(INTERRUPT_AFTER) == Err(RecvTimeoutError::Timeout) {
            self.call.interrupt(&thread);
            self.err.interrupt(&thread);
        }
        // A thread that panicked has ended the process.
        self.base = thread.join().unwrap_or(self.base);
    }

    /// Goes on, if all that it takes is there.
    pub fn resume(&mut self, common: &Common) -> Result<()> {
        let (Some(kick), Some(addresses)) = (&self.kick, self.addresses) else { return Ok(()) };
        if self.running.is_some() || !self.enabled || self.size == 0 {
            return Ok(());
        }
        // A frontend may take a region away and give it again, larger; until then the ring rests.
        let Some(addresses) = translate(common.memory, addresses) else { return Ok(()) };
        let memory = common.memory.clone();
        let ring = Ring::new(memory, addresses, self.size, common.event_idx);
        let mut ring = ring.ok_or(Error::InvalidParam)?;
        let (inflight, again) = match common.inflight {
            Some(inflight) => {
                let queue = inflight.queue(self.index, self.size).ok_or(Error::InvalidParam)?;
                let (base, queue, again) = recover(self.base, queue, &ring);
                self.base = base;
                (Some(queue), again)
            }
            None => (None, Vec::new()),
        };
        ring.set_next_available(self.base);
        let throttled = self.storage.set_throttle(common.throttle);
        throttled.map_err(|error| {
            Error::ReqHandlerError(std::io::Error::from_raw_os_error(error.raw_os_error()))
        })?;
        let stop = Arc::new(Stop::new().map_err(Error::ReqHandlerError)?);
        let worker = Worker::new(Setup {
            storage: self.storage.clone(),
            disk: common.disk.clone(),
            ring,
            inflight,
            kick: kick.try_clone().map_err(Error::ReqHandlerError)?,
            call: self.call.clone(),
            err: self.err.clone(),
            stop: stop.clone(),
            registered: common.registered,
            spin_max: common.spin_max,
            throttled: common.throttle.is_some(),
        })
        .map_err(Error::ReqHandlerError)?;
        let (end, ended) = channel();
        let thread = Builder::new()
            .name(format!("queue {}", self.index))
            .spawn(move || run(worker, &again, &end))
            .map_err(Error::ReqHandlerError)?;
        self.running = Some(Running { stop, thread, ended });
        Ok(())
    }
}

/// A queue's thread. It would hang its guest if it died alone, and what it left in flight moves
/// the guest's memory: so the process ends with it, and whoever takes its place starts anew.
fn run(worker: Worker, again: &[u16], end: &Sender<()>) -> u16 {
    let outcome = catch_unwind(AssertUnwindSafe(|| worker.run(again)));
    let Ok(base) = outcome else {
        // What happened has been said.
        report::finish();
        std::process::abort();
    };
    // Nobody may be waiting.
    let _ = end.send(());
    base
}

/// The ring as the guest sees it.
pub fn translate(memory: &Memory, user: Addresses) -> Option<Addresses> {
    Some(Addresses {
        descriptors: memory.guest_address(user.descriptors)?,
        available: memory.guest_address(user.available)?,
        used: memory.guest_address(user.used)?,
    })
}

/// What another process left in flight, which is to be done again, and where the ring goes on. The
/// guest made available what it got back and what is in flight; a frontend whose daemon was killed
/// knows of the former alone.
fn recover(base: u16, mut queue: InflightQueue, ring: &Ring) -> (u16, InflightQueue, Vec<u16>) {
    let again = queue.recover(ring.used_index(), ring.size());
    let taken = ring.used_index().wrapping_add(again.len() as u16);
    (if again.is_empty() { base } else { taken }, queue, again)
}

impl Drop for Queue {
    fn drop(&mut self) {
        self.pause();
    }
}
