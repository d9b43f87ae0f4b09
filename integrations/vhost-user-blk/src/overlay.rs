//! `--backing`: a disk that is used while it is copied. The file is an overlay over the backing
//! object, and `--fill` copies that meanwhile.
//!
//! A frontend outlives a daemon that is killed, and so does its guest, which believes what it was
//! told: a write that is done is there. An overlay forgets what was not flushed, since the map that
//! says so was not written. So as long as clusters may be absent each write is as if a flush came
//! with it (`Disk::through`), whatever the guest thinks of a cache.

use std::io::Result;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use blkalign::{Error, OpenOptions, Queue};

use crate::device::Device;
use crate::options::{Cache, Options};
use crate::{remote, report};

/// How often a fill looks whether it has to stop.
const LOOK: Duration = Duration::from_millis(200);

/// Opens the file over what it lies over.
pub fn open(
    options: &Options,
    backing: &Path,
    how: &OpenOptions,
) -> std::result::Result<blkalign::Disk, Error> {
    let mut below = OpenOptions::new();
    below
        .direct(options.cache != Cache::Buffered)
        .buffered_ok(options.cache == Cache::Auto)
        .lock(options.lock)
        .engine(options.engine);
    let backing = match remote::is_remote(backing) {
        true => remote::open(backing, &below)?,
        false => below.open(backing)?,
    };
    how.open_overlay(&options.file, &backing, options.copy_on_read)
}

/// A fill, in a thread of its own.
pub struct Fill {
    stopping: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Fill {
    /// `queue`: of the overlay that `device` serves.
    pub fn start(queue: Queue, device: Arc<Mutex<Device>>) -> Result<Fill> {
        let stopping = Arc::new(AtomicBool::new(false));
        let told = stopping.clone();
        let thread =
            Builder::new().name("fill".into()).spawn(move || match fill(&queue, &told) {
                Ok(()) => {
                    report::say("all of the backing object has been copied");
                    device.lock().expect("panics end the daemon").has_all();
                }
                Err(error) if error.raw_os_error() == libc::ECANCELED => {}
                Err(error) => {
                    report::say(&format!("the fill has failed, the disk is served on: {error}"));
                }
            })?;
        Ok(Fill { stopping, thread })
    }

    /// Ends it between two clusters; what was copied stays.
    pub fn stop(self) {
        // Relaxed: nothing else goes with it.
        self.stopping.store(true, Ordering::Relaxed);
        let _ = self.thread.join();
    }
}

fn fill(queue: &Queue, stopping: &AtomicBool) -> std::result::Result<(), Error> {
    let id = queue.fill_overlay(0)?;
    let mut over = None;
    while over.is_none() {
        queue.poll(Some(LOOK), |_, result| over = Some(result))?;
        if stopping.load(Ordering::Relaxed) && over.is_none() {
            let _ = queue.cancel(id);
        }
    }
    over.unwrap_or(Ok(()))
}
