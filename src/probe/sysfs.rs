//! What sysfs tells of a block device: numbers, words, links, and what the device lies on. Every
//! answer may be missing; nothing here decides what that means.

use std::ffi::CString;
use std::io::IoSliceMut;

use crate::sys::{Calls, Descriptor, Errno};

/// The number of the device that is, or that holds, such an object; and whether it is the device.
fn holder(stat: &libc::stat) -> (libc::dev_t, bool) {
    let is_device = stat.st_mode & libc::S_IFMT == libc::S_IFBLK;
    (if is_device { stat.st_rdev } else { stat.st_dev }, is_device)
}

/// A device's own directory in sysfs.
pub struct Device {
    calls: &'static dyn Calls,
    number: libc::dev_t,
    /// Where the files of the disk are, from there: a partition has few files of its own.
    disk: &'static str,
}

impl Device {
    /// None: no block device (tmpfs, btrfs, a network file system).
    pub fn new(calls: &'static dyn Calls, number: libc::dev_t) -> Option<Device> {
        if libc::major(number) == 0 {
            return None;
        }
        let mut device = Device { calls, number, disk: "" };
        let partition = device.path("/partition").ok()?;
        if Descriptor::open(calls, &partition, libc::O_PATH).is_ok() {
            device.disk = "/..";
        }
        Some(device)
    }

    /// The device below, if there is one, and whether the object is that device itself. None: the
    /// system does not say.
    pub fn below(descriptor: &Descriptor) -> Option<(Option<Device>, bool)> {
        let stat = descriptor.fstat().ok()?;
        let (number, is_device) = holder(&stat);
        Some((Device::new(descriptor.calls(), number), is_device))
    }

    fn path(&self, inside: &str) -> Result<CString, Errno> {
        let (major, minor) = (libc::major(self.number), libc::minor(self.number));
        CString::new(format!("/sys/dev/block/{major}:{minor}{inside}")).map_err(|_| libc::ENOENT)
    }

    /// Where the directory really is, such as "../../devices/virtual/block/loop0".
    pub fn place(&self) -> Option<String> {
        self.calls.readlink(&self.path("").ok()?).ok()
    }

    /// What a file of the disk says, without the end of its last line.
    pub fn text(&self, inside: &str) -> Result<String, Errno> {
        let path = self.path(&format!("{}/{inside}", self.disk))?;
        let file = Descriptor::open(self.calls, &path, libc::O_RDONLY)?;
        // The longest is the name of a file.
        let mut text = [0; 4097];
        let bytes = file.read(&mut [IoSliceMut::new(&mut text)], 0)?;
        let text = String::from_utf8_lossy(text.get(..bytes).unwrap_or_default()).into_owned();
        Ok(text.trim_end_matches('\n').to_owned())
    }

    /// None: what is there is no number.
    pub fn ask(&self, inside: &str) -> Result<Option<u64>, Errno> {
        self.text(inside).map(|text| text.trim().parse().ok())
    }

    /// 0: not known.
    pub fn number(&self, inside: &str) -> u32 {
        let value = self.ask(inside).ok().flatten().unwrap_or(0);
        u32::try_from(value).unwrap_or(u32::MAX)
    }

    /// The devices that a device of several (device mapper, md, bcache) lies on. None: not known.
    pub fn slaves(&self) -> Option<Vec<Device>> {
        let path = self.path(&format!("{}/slaves", self.disk)).ok()?;
        let names = self.calls.names(&path).ok()?;
        names.iter().map(|name| self.slave(name)).collect()
    }

    fn slave(&self, name: &str) -> Option<Device> {
        let number = self.text(&format!("slaves/{name}/dev")).ok()?;
        let (major, minor) = number.split_once(':')?;
        Device::new(self.calls, libc::makedev(major.parse().ok()?, minor.parse().ok()?))
    }

    /// What holds the file of a loop device: a block device, or (the inner None) another file
    /// system. None: this is no loop device, or its file is not there to be asked.
    pub fn behind_loop(&self) -> Option<Option<Device>> {
        let path = CString::new(self.text("loop/backing_file").ok()?).ok()?;
        let file = Descriptor::open(self.calls, &path, libc::O_PATH).ok()?;
        let stat = file.fstat().ok()?;
        Some(Device::new(self.calls, holder(&stat).0))
    }
}
