//! For tests: real disks made for one test and gone after it, also when it fails. Each needs root
//! and something of the kernel; where that is missing the test skips and prints why.
//!
//! ```ignore
//! let Some(disk) = or_skip(Loop4k::new(64 << 20)) else { return };
//! ```

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::sleep;
use std::time::Duration;

/// Prints the reason where there is no such test bed.
pub fn or_skip<T>(bed: Result<T, String>) -> Option<T> {
    match bed {
        Ok(bed) => Some(bed),
        Err(reason) => {
            eprintln!("skipped: {reason}");
            None
        }
    }
}

/// A directory of the machine's own file system, empty at first.
pub struct Directory {
    path: PathBuf,
}

impl Directory {
    pub fn new() -> Result<Directory, String> {
        Directory::below(std::env::temp_dir())
    }

    /// In the machine's memory where it has a file system there, which syncs nothing.
    pub fn quick() -> Result<Directory, String> {
        let memory = PathBuf::from("/dev/shm");
        Directory::below(if memory.is_dir() { memory } else { std::env::temp_dir() })
    }

    fn below(parent: PathBuf) -> Result<Directory, String> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("blkalign-test-{}-{number}", std::process::id());
        let path = parent.join(name);
        fs::create_dir(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(Directory { path })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// A loop device with a logical block of 4096 bytes and direct I/O below.
pub struct Loop4k {
    device: PathBuf,
    _backing: Directory,
}

impl Loop4k {
    pub fn new(bytes: u64) -> Result<Loop4k, String> {
        let backing = Directory::new()?;
        let file = backing.path().join("disk");
        let sparse = fs::File::create(&file).and_then(|file| file.set_len(bytes));
        sparse.map_err(|error| format!("{}: {error}", file.display()))?;
        // Others on this machine take loop devices too, and may be faster by a moment.
        let arguments = ["--show", "--find", "--sector-size", "4096", "--direct-io=on"];
        let device = patiently(|| run(Command::new("losetup").args(arguments).arg(&file)))?;
        Ok(Loop4k { device: PathBuf::from(device.trim()), _backing: backing })
    }

    /// Such as /dev/loop7.
    pub fn path(&self) -> &Path {
        &self.device
    }
}

impl Drop for Loop4k {
    fn drop(&mut self) {
        let _ = run(Command::new("losetup").arg("--detach").arg(&self.device));
    }
}

/// A file system of its own, mounted on a directory of its own.
pub struct Mounted {
    mount_point: PathBuf,
    // Fields go in this order: the directory is empty again, then the disk is unused.
    _directory: Directory,
    _disk: Option<Loop4k>,
}

impl Mounted {
    /// XFS on a 4Kn loop device.
    pub fn xfs() -> Result<Mounted, String> {
        Mounted::on_loop(Command::new("mkfs.xfs").arg("-q"), "xfs")
    }

    /// ext4 on a 4Kn loop device.
    pub fn ext4() -> Result<Mounted, String> {
        Mounted::on_loop(Command::new("mkfs.ext4").arg("-q"), "ext4")
    }

    /// btrfs on a 4Kn loop device.
    pub fn btrfs() -> Result<Mounted, String> {
        Mounted::on_loop(Command::new("mkfs.btrfs").arg("-q"), "btrfs")
    }

    pub fn tmpfs() -> Result<Mounted, String> {
        Mounted::mount(None, "tmpfs", Path::new("tmpfs"))
    }

    /// Has no O_DIRECT.
    pub fn ramfs() -> Result<Mounted, String> {
        Mounted::mount(None, "ramfs", Path::new("ramfs"))
    }

    fn on_loop(mkfs: &mut Command, kind: &str) -> Result<Mounted, String> {
        // The smallest size that mkfs.xfs takes is 300 MiB; the file below is sparse.
        let disk = Loop4k::new(512 << 20)?;
        run(mkfs.arg(disk.path()))?;
        let path = disk.path().to_owned();
        Mounted::mount(Some(disk), kind, &path)
    }

    fn mount(disk: Option<Loop4k>, kind: &str, source: &Path) -> Result<Mounted, String> {
        let directory = Directory::new()?;
        let mount_point = directory.path().to_owned();
        run(Command::new("mount").args(["-t", kind]).arg(source).arg(&mount_point))?;
        Ok(Mounted { mount_point, _directory: directory, _disk: disk })
    }

    /// The mounted directory.
    pub fn path(&self) -> &Path {
        &self.mount_point
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // Whatever else looks at file systems (udev, a teammate's `df`) may hold it for a moment.
        let unmount = || run(Command::new("umount").arg(&self.mount_point));
        if patiently(unmount).is_err() {
            let _ = run(Command::new("umount").arg("--lazy").arg(&self.mount_point));
        }
    }
}

/// A compressed RAM disk with a logical block of 4096 bytes.
pub struct Zram {
    device: PathBuf,
    number: String,
}

impl Zram {
    pub fn new(bytes: u64) -> Result<Zram, String> {
        let file = Path::new("/sys/class/zram-control/hot_add");
        let number = fs::read_to_string(file).map_err(|error| say(file, &error))?;
        let number = number.trim().to_owned();
        let zram = Zram { device: PathBuf::from(format!("/dev/zram{number}")), number };
        let file = PathBuf::from(format!("/sys/block/zram{}/disksize", zram.number));
        fs::write(&file, bytes.to_string()).map_err(|error| say(&file, &error))?;
        if !zram.device.exists() {
            return Err(format!("{}: did not appear", zram.device.display()));
        }
        Ok(zram)
    }

    /// Such as /dev/zram0.
    pub fn path(&self) -> &Path {
        &self.device
    }
}

impl Drop for Zram {
    fn drop(&mut self) {
        let remove = || {
            fs::write("/sys/class/zram-control/hot_remove", &self.number)
                .map_err(|error| error.to_string())
        };
        let _ = patiently(remove);
    }
}

fn say(path: &Path, error: &io::Error) -> String {
    format!("{}: {error}", path.display())
}

/// Gives the command's output, or what it said against it.
fn run(command: &mut Command) -> Result<String, String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.output().map_err(|error| format!("{name}: {error}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(format!("{name}: {}", String::from_utf8_lossy(&output.stderr).trim()))
}

/// Tries for up to a second.
fn patiently<T>(mut attempt: impl FnMut() -> Result<T, String>) -> Result<T, String> {
    for _ in 0..10 {
        if let Ok(value) = attempt() {
            return Ok(value);
        }
        sleep(Duration::from_millis(100));
    }
    attempt()
}
