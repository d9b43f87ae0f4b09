//! The block device below: its block sizes and granularities, by ioctl where the object is the
//! device, by sysfs also for the device that holds a regular file. 0: not known.

use std::ffi::CString;
use std::io::IoSliceMut;

use crate::sys::{Descriptor, Errno};

use super::cache::file_system_block;
use super::limits::Limits;

/// Fills the fields that describe the device; leaves the others alone.
pub fn describe(descriptor: &Descriptor, limits: &mut Limits) {
    let Some((device, is_device)) = below(descriptor) else { return };
    let Some(queue) = Queue::find(descriptor, device) else {
        if is_device {
            from_ioctls(descriptor, limits);
        } else {
            from_file_system(descriptor, limits);
        }
        return;
    };
    limits.logical_block_size = queue.number("logical_block_size");
    limits.physical_block_size = queue.number("physical_block_size");
    limits.opt_transfer = queue.number("optimal_io_size");
    limits.discard_alignment = queue.number("discard_granularity");
    if queue.number("write_zeroes_max_bytes") > 0 {
        limits.write_zeroes_alignment = limits.logical_block_size;
    }
    if is_device {
        from_ioctls(descriptor, limits);
    } else {
        from_file_system(descriptor, limits);
    }
}

/// Less than a block of the file system is neither given back nor zeroed without writing. Where
/// the disk's own unit is larger, the file system collects what it frees.
fn from_file_system(descriptor: &Descriptor, limits: &mut Limits) {
    if let Some(block) = file_system_block(descriptor).and_then(|block| u32::try_from(block).ok()) {
        (limits.discard_alignment, limits.write_zeroes_alignment) = (block, block);
    }
}

/// Whether a block device zeroes blocks by a command that carries no data. What the driver says
/// may change while it is in use: Linux notes there that the disk has refused the command. None
/// where it cannot be told, perhaps only at this moment.
pub fn zeroes_without_data(descriptor: &Descriptor) -> Option<bool> {
    let (device, _) = below(descriptor)?;
    match Queue::find(descriptor, device)?.ask("write_zeroes_max_bytes") {
        Ok(most) => Some(most? > 0),
        Err(libc::ENOENT) => Some(false),
        Err(_) => None,
    }
}

/// The number of the device below, and whether the object is that device itself.
fn below(descriptor: &Descriptor) -> Option<(libc::dev_t, bool)> {
    let stat = descriptor.fstat().ok()?;
    let is_device = stat.st_mode & libc::S_IFMT == libc::S_IFBLK;
    Some((if is_device { stat.st_rdev } else { stat.st_dev }, is_device))
}

/// Whether the device below is a zram disk. Its driver says that addresses and lengths of 512 will
/// do, and then takes every element for a whole page (Linux 6.18): reads overwrite what lies
/// around the element, writes store it.
pub fn is_zram(descriptor: &Descriptor) -> bool {
    let Some((device, _)) = below(descriptor) else { return false };
    // Memory statistics: no other driver has these.
    exists(descriptor, &format!("{}/mm_stat", directory(device)))
}

fn directory(device: libc::dev_t) -> String {
    format!("/sys/dev/block/{}:{}", libc::major(device), libc::minor(device))
}

fn exists(descriptor: &Descriptor, path: &str) -> bool {
    let Ok(path) = CString::new(path) else { return false };
    Descriptor::open(descriptor.calls(), &path, libc::O_PATH).is_ok()
}

fn from_ioctls(descriptor: &Descriptor, limits: &mut Limits) {
    let set = |field: &mut u32, said: Result<u32, _>| *field = said.unwrap_or(*field);
    set(&mut limits.logical_block_size, descriptor.logical_block_size());
    set(&mut limits.physical_block_size, descriptor.physical_block_size());
    set(&mut limits.opt_transfer, descriptor.optimal_io_size());
}

/// A device's queue directory in sysfs.
struct Queue<'a> {
    descriptor: &'a Descriptor,
    path: String,
}

impl Queue<'_> {
    /// A partition has no queue of its own: its disk's, one level up, counts.
    fn find(descriptor: &Descriptor, device: libc::dev_t) -> Option<Queue<'_>> {
        if libc::major(device) == 0 {
            // Not a device: tmpfs, btrfs, a network file system.
            return None;
        }
        ["queue", "../queue"]
            .map(|name| Queue { descriptor, path: format!("{}/{name}", directory(device)) })
            .into_iter()
            .find(|queue| queue.read("logical_block_size").is_some())
    }

    fn read(&self, name: &str) -> Option<u64> {
        self.ask(name).ok()?
    }

    /// None: what is there is no number.
    fn ask(&self, name: &str) -> Result<Option<u64>, Errno> {
        let path = CString::new(format!("{}/{name}", self.path)).map_err(|_| libc::ENOENT)?;
        let file = Descriptor::open(self.descriptor.calls(), &path, libc::O_RDONLY)?;
        let mut text = [0; 32];
        let bytes = file.read(&mut [IoSliceMut::new(&mut text)], 0)?;
        let text = text.get(..bytes).and_then(|text| std::str::from_utf8(text).ok());
        Ok(text.and_then(|text| text.trim().parse().ok()))
    }

    fn number(&self, name: &str) -> u32 {
        let value = self.read(name).unwrap_or(0);
        u32::try_from(value).unwrap_or(u32::MAX)
    }
}
