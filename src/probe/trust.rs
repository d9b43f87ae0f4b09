//! Which devices are to be believed about memory. Some drivers claim less than they need, and then
//! move wrong bytes without an error (Linux 6.1 to 6.18):
//!
//! - null_blk with memory claims 512. But a piece of memory that begins inside a block is copied
//!   up to a block at a time, across the end of the page that holds the data: wrong bytes come and
//!   go, and the kernel's own memory is damaged. Where the disk reads as zeros nothing shows.
//! - zram claims 512, and takes every element for a whole page: reads overwrite what lies around
//!   the element, writes store it.
//!
//! Both are drivers without hardware, which no controller ever checked. So such drivers are
//! believed only where a trial read has moved data that can tell.

use super::sysfs::Device;

/// Whether a claim about memory counts; the worst comes last.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum MemoryTrust {
    #[default]
    Believed,
    /// Only where a trial bears it out, with data of which wrong ones would be seen.
    Doubted,
    /// Not below a page, whatever trials show.
    Never,
}

/// Most devices that are looked at, each below others; more is not known.
const DEVICES_MAX: usize = 64;

/// How names of devices begin whose drivers are known to claim too little.
const LIARS: [&str; 2] = ["nullb", "zram"];

/// Of `device`, or the worst of those below it.
pub fn memory_trust(device: Device) -> MemoryTrust {
    let mut worst = MemoryTrust::Believed;
    let mut left = vec![device];
    for _ in 0..DEVICES_MAX {
        let Some(device) = left.pop() else { return worst };
        match lies_on(&device) {
            Ok(others) => left.extend(others),
            Err(trust) => worst = worst.max(trust),
        }
    }
    worst.max(MemoryTrust::Doubted)
}

/// The devices that this one hands its I/O on to as it is. Err: it serves I/O by itself.
fn lies_on(device: &Device) -> Result<Vec<Device>, MemoryTrust> {
    // Linux puts devices without hardware there. Without sysfs nothing is known against it.
    const VIRTUAL: &str = "/devices/virtual/block/";
    let place = device.place().unwrap_or_default();
    let Some((_, name)) = place.split_once(VIRTUAL) else { return Err(MemoryTrust::Believed) };
    if LIARS.iter().any(|liar| name.starts_with(liar)) {
        return Err(MemoryTrust::Never);
    }
    if let Some(behind) = device.behind_loop() {
        return Ok(behind.into_iter().collect());
    }
    match device.slaves() {
        Some(slaves) if !slaves.is_empty() => Ok(slaves),
        _ => Err(MemoryTrust::Doubted),
    }
}
