//! The block device below: its block sizes and granularities, by ioctl where the object is the
//! device, by sysfs also for the device that holds a regular file. 0: not known.

use crate::sys::Descriptor;

use super::cache::file_system_discard;
use super::limits::Limits;
use super::sysfs::Device;

/// Fills the fields that describe the device; leaves the others alone.
pub fn describe(descriptor: &Descriptor, limits: &mut Limits) {
    let Some((device, is_device)) = Device::below(descriptor) else { return };
    if let Some(device) = device.filter(has_queue) {
        from_queue(&device, limits);
    }
    if is_device {
        from_ioctls(descriptor, limits);
    } else {
        from_file_system(descriptor, limits);
    }
}

fn has_queue(device: &Device) -> bool {
    matches!(device.ask("queue/logical_block_size"), Ok(Some(_)))
}

fn from_queue(device: &Device, limits: &mut Limits) {
    limits.logical_block_size = device.number("queue/logical_block_size");
    limits.physical_block_size = device.number("queue/physical_block_size");
    limits.opt_transfer = device.number("queue/optimal_io_size");
    limits.discard_alignment = device.number("queue/discard_granularity");
    if device.number("queue/write_zeroes_max_bytes") > 0 {
        limits.write_zeroes_alignment = limits.logical_block_size;
    }
}

/// Less than a block of the file system is neither given back nor zeroed without writing. Where
/// the disk's own unit is larger, the file system collects what it frees.
fn from_file_system(descriptor: &Descriptor, limits: &mut Limits) {
    let block = file_system_discard(descriptor).and_then(|block| u32::try_from(block).ok());
    if let Some(block) = block {
        (limits.discard_alignment, limits.write_zeroes_alignment) = (block, block);
    }
}

/// Whether a block device zeroes blocks by a command that carries no data. What the driver says
/// may change while it is in use: Linux notes there that the disk has refused the command. None
/// where it cannot be told, perhaps only at this moment.
pub fn zeroes_without_data(descriptor: &Descriptor) -> Option<bool> {
    let (device, _) = Device::below(descriptor)?;
    match device.filter(has_queue)?.ask("queue/write_zeroes_max_bytes") {
        Ok(most) => Some(most? > 0),
        Err(libc::ENOENT) => Some(false),
        Err(_) => None,
    }
}

/// Whether a block device takes writes in order only, zone by zone. Where sysfs does not tell, a
/// device that has zones is taken for one that does: Linux no longer knows any others.
pub fn writes_in_order_only(descriptor: &Descriptor) -> bool {
    let Some((device, true)) = Device::below(descriptor) else { return false };
    match device.map(|device| device.text("queue/zoned")) {
        Some(Ok(model)) => model == "host-managed",
        _ => descriptor.zone_bytes().is_ok_and(|bytes| bytes > 0),
    }
}

/// The bytes of data that a disk's protection information is about as a whole; what is shorter, or
/// lies across two of them in memory, Linux refuses (EILSEQ), or damages its own memory by it.
pub fn protection_interval(descriptor: &Descriptor) -> Option<u32> {
    let (device, _) = Device::below(descriptor)?;
    let device = device?;
    let format = device.text("integrity/format").ok()?;
    let bytes = device.number("integrity/protection_interval_bytes");
    (format != "none" && bytes > 0).then_some(bytes)
}

fn from_ioctls(descriptor: &Descriptor, limits: &mut Limits) {
    let set = |field: &mut u32, said: Result<u32, _>| *field = said.unwrap_or(*field);
    set(&mut limits.logical_block_size, descriptor.logical_block_size());
    set(&mut limits.physical_block_size, descriptor.physical_block_size());
    set(&mut limits.opt_transfer, descriptor.optimal_io_size());
}
