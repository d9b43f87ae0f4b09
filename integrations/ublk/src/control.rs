//! Makes a device, or goes on with one whose server has died; ends devices, lists them.
//!
//! A device may outlive its server (user recovery): its users wait until another server goes on
//! with it, and requests that were under way are given to that one again. So a signal stops a
//! device only if nobody holds it, and being killed ends no device.

use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use blkalign::{Disk, Queue, Throttle};
use libublk::ctrl::{UblkCtrl, UblkCtrlBuilder};
use libublk::io::UblkDev;
use libublk::{sys, UblkError, UblkFlags};

use crate::options::Add;
use crate::{parameters, serve, storage};

const CONTROL: &str = "/dev/ublk-control";
/// linux/prctl.h
const PR_SET_IO_FLUSHER: libc::c_int = 57;
/// Longer than the kernel takes to end a device that nobody holds.
const END_MAX: Duration = Duration::from_secs(20);

/// One for each queue of the device, until its thread takes it.
type Queues = Arc<Mutex<Vec<Option<Queue>>>>;

pub fn add(add: &Add) -> Result<(), String> {
    have_driver()?;
    become_server();
    let disk = storage::open(add)?;
    let control = control_of(add, &disk)?;
    let info = control.dev_info();
    let queues = queues_of(add, &disk, info.nr_hw_queues)?;
    let told = parameters::of(add, &disk.limits(), disk.len());
    let storage = add.storage.display().to_string();
    watch_signals(info.dev_id);
    let result = control.run_target(
        move |device| {
            device.tgt.dev_size = told.basic.dev_sectors * parameters::SECTOR;
            device.tgt.params = told;
            device.set_target_json(serde_json::json!({ "storage": storage }));
            Ok(())
        },
        move |id, device| serve_queue(id, device, &queues),
        |control| ready(&control.get_bdev_path()),
    );
    if let Err(error) = result {
        // Threads of queues may still hold it; it goes with them.
        let _ = control.del_dev_async();
        return Err(format!("{}: {}", device_of(info.dev_id), words(&error)));
    }
    // `del` may have done it.
    let _ = control.del_dev();
    Ok(())
}

fn have_driver() -> Result<(), String> {
    match Path::new(CONTROL).exists() {
        true => Ok(()),
        false => Err(format!("no {CONTROL}: `modprobe ublk_drv`, of Linux 6.0 or newer")),
    }
}

/// For this thread and all that it starts: the library's, too.
fn become_server() {
    // The kernel's memory may wait for this process to write it out.
    // SAFETY: sets a flag of this thread. Without the right to do so it does nothing.
    unsafe { libc::prctl(PR_SET_IO_FLUSHER, 1, 0, 0, 0) };
    // SAFETY: the set is made here and lives through the calls.
    unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &signals(), std::ptr::null_mut()) };
}

fn signals() -> libc::sigset_t {
    // SAFETY: a set may be all zeros before sigemptyset makes it one.
    unsafe {
        let mut set = std::mem::zeroed();
        libc::sigemptyset(&mut set);
        libc::sigaddset(&mut set, libc::SIGTERM);
        libc::sigaddset(&mut set, libc::SIGINT);
        set
    }
}

/// Asks the kernel for a device, or for the one that is to be recovered.
fn control_of(add: &Add, disk: &Disk) -> Result<UblkCtrl, String> {
    let flags = sys::UBLK_F_USER_RECOVERY | sys::UBLK_F_USER_RECOVERY_REISSUE;
    let builder = UblkCtrlBuilder::default()
        .name("blkalign")
        .io_buf_bytes(parameters::TRANSFER_MAX)
        .ctrl_flags(flags.into());
    if let Some(id) = add.id.filter(|id| exists(*id)) {
        if !add.recover {
            return Err(format!("{} is there already", device_of(id)));
        }
        return recover(add, disk, builder, id);
    }
    let id = add.id.map_or(-1, |id| id as i32);
    let builder = builder.id(id).nr_queues(add.queues).depth(add.depth);
    let control = builder.dev_flags(UblkFlags::UBLK_DEV_F_ADD_DEV).build();
    control.map_err(|error| format!("the device cannot be made: {}", words(&error)))
}

fn recover(
    add: &Add,
    disk: &Disk,
    builder: UblkCtrlBuilder<'_>,
    id: u32,
) -> Result<UblkCtrl, String> {
    let name = device_of(id);
    let failed = |error: UblkError| format!("{name} cannot be recovered: {}", words(&error));
    let old = UblkCtrl::new_simple(id as i32).map_err(failed)?;
    let info = old.dev_info();
    if is_served(&info) {
        return Err(format!("{name} is served by process {}", info.ublksrv_pid));
    }
    let mut told =
        sys::ublk_params { len: size_of::<sys::ublk_params>() as u32, ..Default::default() };
    old.get_params(&mut told).map_err(failed)?;
    let wanted = parameters::of(add, &disk.limits(), disk.len()).basic;
    let same = told.basic.dev_sectors == wanted.dev_sectors
        && told.basic.logical_bs_shift == wanted.logical_bs_shift
        && told.basic.attrs == wanted.attrs;
    if !same {
        return Err(format!("{name} has another length, block size or cache: its users know them"));
    }
    drop(old);
    let builder = builder.id(id as i32).nr_queues(info.nr_hw_queues).depth(info.queue_depth);
    let control = builder.dev_flags(UblkFlags::UBLK_DEV_F_RECOVER_DEV).build().map_err(failed)?;
    control.start_user_recover().map_err(failed)?;
    Ok(control)
}

/// The kernel may not have noticed yet that the server has died.
fn is_served(info: &sys::ublksrv_ctrl_dev_info) -> bool {
    info.state == sys::UBLK_S_DEV_LIVE as u16 && lives(info.ublksrv_pid)
}

/// Not one that is dead and waits for its parent to look.
fn lives(process: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    // PID (NAME) STATE ...; the name may have parentheses of its own.
    let state = stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
    state.is_some_and(|state| !"ZX".contains(state))
}

fn queues_of(add: &Add, disk: &Disk, count: u16) -> Result<Queues, String> {
    let throttle = add.throttle.as_ref().map(Throttle::new).transpose();
    let throttle = throttle.map_err(|error| error.to_string())?;
    let queue = |_| {
        let queue = disk.queue()?;
        queue.set_throttle(throttle.as_ref())?;
        Ok(Some(queue))
    };
    let queues: Result<Vec<_>, blkalign::Error> = (0..count).map(queue).collect();
    Ok(Arc::new(Mutex::new(queues.map_err(|error| error.to_string())?)))
}

/// A thread of the device. One that fails ends the process, as if it were killed.
fn serve_queue(id: u16, device: &UblkDev, queues: &Queues) {
    let queue = queues.lock().unwrap()[usize::from(id)].take();
    let queue = queue.expect("each queue of the device is served once");
    if let Err(error) = serve::run(id, device, queue) {
        eprintln!("blkalign-ublk: queue {id}: {}", words(&error));
        std::process::exit(1);
    }
}

/// Whoever waits is told that the device is there: a script by a line, systemd by its socket.
fn ready(device: &str) {
    println!("{device}");
    let _ = std::io::stdout().flush();
    if let Some(socket) = std::env::var_os("NOTIFY_SOCKET") {
        let _ = UnixDatagram::unbound().and_then(|it| it.send_to(b"READY=1", socket));
    }
}

fn watch_signals(id: u32) {
    std::thread::spawn(move || loop {
        let mut signal = 0;
        // SAFETY: both live through the call.
        if unsafe { libc::sigwait(&signals(), &mut signal) } != 0 {
            return;
        }
        if is_held(id) {
            eprintln!("blkalign-ublk: {} is in use, so it stays; see del --force", device_of(id));
            continue;
        }
        // libublk has its ring of commands for each thread.
        let stopped = UblkCtrl::new_simple(id as i32).and_then(|control| control.kill_dev());
        if let Err(error) = stopped {
            eprintln!("blkalign-ublk: {}: {}", device_of(id), words(&error));
        }
    });
}

pub fn delete(id: u32, force: bool) -> Result<(), String> {
    let name = device_of(id);
    have_driver()?;
    if !exists(id) {
        return Err(format!("no {name}"));
    }
    if !force && is_held(id) {
        return Err(format!("{name} is in use: mounted, say; --force takes it away from there"));
    }
    let failed = |error: UblkError| format!("{name}: {}", words(&error));
    let control = UblkCtrl::new_simple(id as i32).map_err(failed)?;
    let served = is_served(&control.dev_info());
    control.kill_dev().map_err(failed)?;
    // Its server deletes it, and may have done so.
    let end = Instant::now() + END_MAX;
    while served && exists(id) && Instant::now() < end {
        std::thread::sleep(Duration::from_millis(10));
    }
    match exists(id) {
        true => control.del_dev().map(|_| ()).map_err(failed),
        false => Ok(()),
    }
}

pub fn list() -> Result<(), String> {
    let mut ids = Vec::new();
    for entry in fs::read_dir("/sys/class/ublk-char").into_iter().flatten().flatten() {
        let name = entry.file_name();
        ids.extend(name.to_str().and_then(|it| it.strip_prefix("ublkc")?.parse::<u32>().ok()));
    }
    ids.sort_unstable();
    for id in ids {
        match line_of(id) {
            Ok(line) => println!("{line}"),
            Err(error) => println!("{}: {}", device_of(id), words(&error)),
        }
    }
    Ok(())
}

fn line_of(id: u32) -> Result<String, UblkError> {
    let control = UblkCtrl::new_simple(id as i32)?;
    let info = control.dev_info();
    let mut told =
        sys::ublk_params { len: size_of::<sys::ublk_params>() as u32, ..Default::default() };
    control.get_params(&mut told)?;
    let state = match u32::from(info.state) {
        sys::UBLK_S_DEV_LIVE => format!("served by {}", info.ublksrv_pid),
        sys::UBLK_S_DEV_QUIESCED => "waits for a server".into(),
        _ => "not started".into(),
    };
    let bytes = told.basic.dev_sectors * parameters::SECTOR;
    let block = 1u32 << told.basic.logical_bs_shift;
    let queues = format!("{} queues of {}", info.nr_hw_queues, info.queue_depth);
    let storage = control.get_target_data_from_json();
    let storage = storage.as_ref().and_then(|json| json["storage"].as_str()).unwrap_or("?");
    let device = device_of(id);
    Ok(format!("{device}: {bytes} bytes, blocks of {block}, {queues}, {state}: {storage}"))
}

fn device_of(id: u32) -> String {
    format!("/dev/ublkb{id}")
}

fn exists(id: u32) -> bool {
    Path::new(&format!("/sys/class/ublk-char/ublkc{id}")).exists()
}

/// Has somebody the device or a part of it for himself, as who mounts it?
fn is_held(id: u32) -> bool {
    let mut how = fs::File::options();
    let held = how.read(true).custom_flags(libc::O_EXCL).open(device_of(id));
    held.is_err_and(|error| error.raw_os_error() == Some(libc::EBUSY))
}

fn words(error: &UblkError) -> String {
    match error {
        UblkError::OtherError(errno) | UblkError::UringIOError(errno) => {
            std::io::Error::from_raw_os_error(errno.abs()).to_string()
        }
        UblkError::IOError(error) => error.to_string(),
        other => other.to_string(),
    }
}
