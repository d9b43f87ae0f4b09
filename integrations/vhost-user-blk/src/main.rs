//! blkalign-vhost-user-blk: serves a file or block device to a virtual machine as a vhost-user-blk
//! disk, by libblkalign: sectors of 512 bytes on storage with blocks of 4096, say.
//!
//! From the top: `main`, `options`; `report`, what is said; `door` and `server`, how frontends come
//! and go; `channel` and `foreign`, what they send, and `events`, how they are woken, none of which
//! may block; `deadline`, the end that comes, and `refresh`, another
//! length, and `throttle`, how fast requests may go; `device` and `queue`, the protocol and its
//! state;
//! `worker`, a queue's thread, `spin`, when it sleeps, `alone`, when it waits for the storage, and
//! `work`, how much it begins; `request`, `chain`, `ring`, `memory`, what the guest wrote, none of
//! which is believed, and `fault`, memory that goes away; `disk`, what the guest is told;
//! `inflight`, for a daemon that is killed; `overlay`, disks that are used while they are copied;
//! `remote`, images of Ceph and NBD exports.

mod alone;
mod chain;
mod channel;
mod deadline;
mod device;
mod disk;
mod door;
mod events;
mod fault;
mod foreign;
mod inflight;
mod memory;
mod options;
mod overlay;
mod queue;
mod refresh;
mod remote;
mod report;
mod request;
mod ring;
mod server;
mod spin;
mod throttle;
mod work;
mod worker;

use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex};
use std::thread::sleep;
use std::time::{Duration, Instant};

use blkalign::{set_log, Error, LogLevel, OpenOptions};

use crate::device::Device;
use crate::disk::Disk;
use crate::door::Door;
use crate::options::{Cache, Command, Options, ReadOnly};
use crate::overlay::Fill;
use crate::refresh::Hangups;
use crate::server::{serve, Signals};
use crate::throttle::Throttling;

/// How long the locks of a daemon that was killed may last: as long as its I/O.
const LOCK_PATIENCE: Duration = Duration::from_secs(15);
/// Pieces of data of one request: what fits into a queue of 128, the smallest that is usual.
const SEGMENTS_MAX: u16 = 126;

fn main() -> ExitCode {
    report::hear_of_panics();
    let code = match options::parse(std::env::args_os().skip(1)) {
        Ok(command) => match carry_out(&command) {
            Ok(()) => ExitCode::SUCCESS,
            Err(words) => {
                report::say(&words);
                ExitCode::FAILURE
            }
        },
        Err(words) => {
            report::say(&format!("{words}; see --help"));
            ExitCode::from(2)
        }
    };
    report::finish();
    code
}

fn carry_out(command: &Command) -> Result<(), String> {
    match command {
        Command::Help => report::print(options::USAGE),
        Command::Version => {
            report::print(&format!("blkalign-vhost-user-blk {}\n", env!("CARGO_PKG_VERSION")))
        }
        Command::Serve(options) => run(options),
    }
}

fn run(options: &Options) -> Result<(), String> {
    let (signals, hangups) = prepare().map_err(|error| format!("signals: {error}"))?;
    if options.verbose {
        set_log(LogLevel::Info, |_, message| report::say(message));
    }
    let (storage, disk, queues) = open(options).map_err(|error| error.to_string())?;
    if !options.verbose {
        // Not before: what is wrong with opening is told once, by our caller.
        set_log(LogLevel::Warning, |_, message| report::say(message));
    }
    if disk.sectors() == 0 {
        return Err(format!("{}: too short for a disk", options.file.display()));
    }
    let throttling = Throttling::new(&options.throttle)?;
    let door = Door::open(&options.endpoint)?;
    let device = Arc::new(Mutex::new(Device::new(disk, queues, throttling, options)));
    let fill = match options.fill {
        true => Some(start_fill(&storage, &device)?),
        false => None,
    };
    let served = serve(door, &device, &signals, hangups).map_err(|error| error.to_string());
    if let Some(fill) = fill {
        fill.stop();
    }
    // As the last handle closes, an overlay that has everything becomes an ordinary image.
    device.lock().expect("panics end the daemon").close();
    drop(storage);
    served
}

fn start_fill(storage: &blkalign::Disk, device: &Arc<Mutex<Device>>) -> Result<Fill, String> {
    let queue = storage.queue().map_err(|error| error.to_string())?;
    Fill::start(queue, device.clone()).map_err(|error| format!("fill: {error}"))
}

/// What belongs to all threads, before there is any.
fn prepare() -> std::io::Result<(Signals, Hangups)> {
    fault::install()?;
    events::prepare_interrupts()?;
    let (signals, hangups) = (Signals::block()?, Hangups::block()?);
    deadline::watch(signals.try_clone()?)?;
    Ok((signals, hangups))
}

/// The storage, the disk that the guest sees, and its queues.
fn open(options: &Options) -> Result<(blkalign::Disk, Disk, Vec<blkalign::Queue>), Error> {
    let (storage, mut open_options, read_only) = open_storage(options)?;
    let limits = storage.limits();
    let remote = remote::is_image(&options.file);
    if options.cache == Cache::Auto && !limits.direct && !remote {
        report::say("O_DIRECT is not available; the page cache is used");
    }
    if options.sector_size > limits.request_alignment {
        // The guest takes such a sector for atomic; the storage does not.
        open_options.guest_block_size(options.sector_size);
    }
    let queue = |_| storage.queue_with(&open_options);
    let queues = (0..options.queues).map(queue).collect::<Result<_, _>>()?;
    let disk = Disk {
        sectors: AtomicU64::new(0),
        block_size: options.sector_size,
        read_only,
        through: AtomicBool::new(options.backing.is_some() && !read_only),
        discard: options.discard,
        serial: options.serial,
        queues: options.queues,
        segments_max: SEGMENTS_MAX.min(options.queue_size - 2).into(),
        limits,
    };
    disk.set_length(storage.len());
    Ok((storage, disk, queues))
}

/// The storage, how it was opened, and whether only for reading.
fn open_storage(options: &Options) -> Result<(blkalign::Disk, OpenOptions, bool), Error> {
    let read_only = options.read_only == ReadOnly::On;
    let how = open_options(options, read_only);
    let refused = match open_patiently(options, &how) {
        Ok(storage) => return Ok((storage, how, read_only)),
        Err(error) => error,
    };
    let may_be_read = [libc::EROFS, libc::EACCES, libc::EPERM].contains(&refused.raw_os_error());
    if options.read_only != ReadOnly::Auto || !may_be_read {
        return Err(refused);
    }
    report::say(&format!("{refused}; the disk is served read-only"));
    let how = open_options(options, true);
    Ok((open_patiently(options, &how)?, how, true))
}

/// An image of Ceph has a lock of its own, which the driver takes.
fn open_options(options: &Options, read_only: bool) -> OpenOptions {
    let mut how = OpenOptions::new();
    how.write(!read_only)
        .direct(options.cache != Cache::Buffered)
        .buffered_ok(options.cache == Cache::Auto)
        .unmap(options.discard && !read_only)
        .lock(options.lock && !remote::is_image(&options.file))
        .engine(options.engine)
        .queue_depth(128);
    how
}

/// The kernel keeps the locks of a daemon that was killed until its last I/O is done: none of it
/// can come after one of ours.
fn open_patiently(options: &Options, how: &OpenOptions) -> Result<blkalign::Disk, Error> {
    let until = Instant::now() + LOCK_PATIENCE;
    loop {
        let opened = match &options.backing {
            Some(backing) => overlay::open(options, backing, how),
            None if remote::is_image(&options.file) => remote::open(&options.file, how),
            None => how.open(&options.file),
        };
        match opened {
            Err(error) if error.raw_os_error() == libc::EAGAIN && Instant::now() < until => {
                sleep(Duration::from_millis(50));
            }
            result => return result,
        }
    }
}
