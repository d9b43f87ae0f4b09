//! The daemon under test, and the disks that it serves.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// A directory of its own for a test.
pub struct Directory(PathBuf);

impl Directory {
    pub fn new() -> Directory {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("vhost-user-blk-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path).unwrap();
        Directory(path)
    }

    pub fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A disk with blocks of 4096 bytes, where loop devices are to be had; else the file itself.
pub struct Disk {
    file: PathBuf,
    device: Option<PathBuf>,
    _directory: Directory,
}

impl Disk {
    /// Filled with bytes that tell their sectors apart.
    pub fn new(bytes: u64) -> Disk {
        let directory = Directory::new();
        let file = directory.join("disk");
        fs::write(&file, Disk::pattern(bytes)).unwrap();
        let device = loop_device(&file);
        if device.is_none() {
            eprintln!("no loop device: the file is the disk");
        }
        Disk { file, device, _directory: directory }
    }

    /// A sparse one, without a pattern. None: there are no loop devices.
    pub fn sparse(bytes: u64) -> Option<Disk> {
        let directory = Directory::new();
        let file = directory.join("disk");
        File::create(&file).unwrap().set_len(bytes).unwrap();
        let disk = Disk { device: Some(loop_device(&file)?), file, _directory: directory };
        Some(disk)
    }

    /// Whether it is a device.
    pub fn is_device(&self) -> bool {
        self.device.is_some()
    }

    /// Makes it longer or shorter, behind the daemon's back.
    pub fn set_length(&self, bytes: u64) {
        File::options().write(true).open(&self.file).unwrap().set_len(bytes).unwrap();
        if let Some(device) = &self.device {
            assert!(Command::new("losetup").arg("-c").arg(device).status().unwrap().success());
        }
    }

    /// Of a device: nobody may write to it, or again all may.
    pub fn set_read_only(&self, on: bool) {
        let option = if on { "--setro" } else { "--setrw" };
        assert!(Command::new("blockdev").arg(option).arg(self.path()).status().unwrap().success());
    }

    pub fn pattern(bytes: u64) -> Vec<u8> {
        (0..bytes).map(|at| (at / 512 * 7 + at % 251 + 1) as u8).collect()
    }

    pub fn path(&self) -> &Path {
        self.device.as_ref().unwrap_or(&self.file)
    }

    /// What is on it, behind the daemon's back.
    pub fn contents(&self) -> Vec<u8> {
        let file = File::open(&self.file).unwrap();
        let mut all = vec![0; file.metadata().unwrap().len() as usize];
        file.read_exact_at(&mut all, 0).unwrap();
        all
    }
}

/// With blocks of 4096 bytes.
fn loop_device(file: &Path) -> Option<PathBuf> {
    let mut command = Command::new("losetup");
    command.args(["--show", "-f", "--sector-size", "4096", "--direct-io=on"]).arg(file);
    let output = command.output().ok().filter(|output| output.status.success())?;
    Some(PathBuf::from(String::from_utf8(output.stdout).unwrap().trim_end()))
}

impl Drop for Disk {
    fn drop(&mut self) {
        if let Some(device) = &self.device {
            // The device would be read-only for the next file, too.
            let _ = Command::new("blockdev").arg("--setrw").arg(device).status();
            let _ = Command::new("losetup").arg("-d").arg(device).status();
        }
    }
}

/// The daemon that was just built, or the one that the environment names.
pub fn program() -> Command {
    let named = std::env::var_os("BLKALIGN_VHOST_DAEMON");
    Command::new(named.unwrap_or(env!("CARGO_BIN_EXE_blkalign-vhost-user-blk").into()))
}

pub struct Daemon {
    pub child: Child,
    pub socket: PathBuf,
    directory: Option<Directory>,
}

impl Daemon {
    pub fn start(disk: &Path, arguments: &[&str]) -> Daemon {
        let directory = Directory::new();
        let socket = directory.join("socket");
        let mut daemon = Daemon::start_at(disk, &socket, arguments);
        daemon.directory = Some(directory);
        daemon
    }

    pub fn start_at(disk: &Path, socket: &Path, arguments: &[&str]) -> Daemon {
        Daemon::start_with(disk, socket, arguments, Stdio::inherit())
    }

    /// `words`: its standard error.
    pub fn start_with(disk: &Path, socket: &Path, arguments: &[&str], words: Stdio) -> Daemon {
        let mut command = program();
        command.arg("--socket").arg(socket).arg("--file").arg(disk).args(arguments);
        Daemon::watch(command.stderr(words).spawn().unwrap(), socket)
    }

    /// One that was just started; returns when it listens.
    pub fn watch(child: Child, socket: &Path) -> Daemon {
        let mut daemon = Daemon { child, socket: socket.to_owned(), directory: None };
        let until = Instant::now() + Duration::from_secs(20);
        // A socket that a killed daemon left is there, but nobody listens.
        while !listens(daemon.child.id(), socket) {
            assert!(Instant::now() < until && daemon.is_running(), "the daemon does not listen");
            sleep(Duration::from_millis(5));
        }
        daemon
    }

    /// SIGTERM, SIGHUP and so on.
    pub fn signal(&self, signal: i32) {
        // SAFETY: a child that was not waited for.
        assert_eq!(unsafe { libc::kill(self.child.id() as i32, signal) }, 0);
    }

    /// The most memory that it had so far, in KiB.
    pub fn memory_most(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().strip_suffix(" kB").unwrap().parse().unwrap()
    }

    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Ends it as the system does. None: it does not end in that time.
    pub fn terminate(&mut self, patience: Duration) -> Option<ExitStatus> {
        // SAFETY: our child, which was not waited for.
        unsafe { libc::kill(self.child.id() as i32, libc::SIGTERM) };
        let until = Instant::now() + patience;
        while Instant::now() < until {
            if let Some(status) = self.child.try_wait().unwrap() {
                return Some(status);
            }
            sleep(Duration::from_millis(5));
        }
        None
    }

    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// How many descriptors it has.
    pub fn descriptors(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.child.id())).unwrap().count()
    }

    /// Processor time that it has used so far, in clock ticks of 10 ms.
    pub fn ticks(&self) -> u64 {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        let after_name = stat.rsplit(") ").next().unwrap();
        let fields = after_name.split(' ').skip(11).take(2);
        fields.map(|field| field.parse::<u64>().unwrap()).sum()
    }

    /// How many mappings it has.
    pub fn mappings(&self) -> usize {
        let maps = fs::read_to_string(format!("/proc/{}/maps", self.child.id())).unwrap();
        maps.lines().count()
    }
}

/// Whether the process has this socket bound. Connecting would tell, but also count.
fn listens(pid: u32, socket: &Path) -> bool {
    let name = socket.to_str().unwrap();
    let table = fs::read_to_string(format!("/proc/{pid}/net/unix")).unwrap_or_default();
    // The flag of a socket that listens.
    table.lines().any(|line| line.contains(" 00010000 ") && line.ends_with(name))
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
