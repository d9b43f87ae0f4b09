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
//!
//! And loop devices claim 512 where losetup was told so, whatever disk their file is on. With
//! `--direct-io=on` on a disk with blocks of 4096 that is not true up to Linux 6.1: the file has
//! O_DIRECT, and the disk refuses what the loop device passes on (EIO). In sysfs it looks as it
//! does where 512 is true: direct I/O is off. A hole in the file takes anything, and reads as
//! zeros. So there too only data that can tell are believed.

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

/// What is known of a device from those that are below it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Below {
    pub memory: MemoryTrust,
    /// The largest logical block of a disk that has the file of a loop device; 0: there is none.
    pub block_behind_loop: u32,
}

/// Most devices that are looked at, each below others; more is not known.
const DEVICES_MAX: usize = 64;

/// How names of devices begin whose drivers are known to claim too little.
const LIARS: [&str; 2] = ["nullb", "zram"];

/// Of `device`: the worst of those below it.
pub fn below(device: Device) -> Below {
    let mut found = Below::default();
    let mut left = vec![device];
    for _ in 0..DEVICES_MAX {
        let Some(device) = left.pop() else { return found };
        match lies_on(&device, &mut found.block_behind_loop) {
            Ok(others) => left.extend(others),
            Err(trust) => found.memory = found.memory.max(trust),
        }
    }
    Below { memory: found.memory.max(MemoryTrust::Doubted), ..found }
}

/// The devices that this one hands its I/O on to as it is. Err: it serves I/O by itself.
fn lies_on(device: &Device, block_behind_loop: &mut u32) -> Result<Vec<Device>, MemoryTrust> {
    // Linux puts devices without hardware there. Without sysfs nothing is known against it.
    const VIRTUAL: &str = "/devices/virtual/block/";
    let place = device.place().unwrap_or_default();
    let Some((_, name)) = place.split_once(VIRTUAL) else { return Err(MemoryTrust::Believed) };
    if LIARS.iter().any(|liar| name.starts_with(liar)) {
        return Err(MemoryTrust::Never);
    }
    if let Some(behind) = device.behind_loop() {
        let block = behind.as_ref().map_or(0, |disk| disk.number("queue/logical_block_size"));
        *block_behind_loop = block.max(*block_behind_loop);
        return Ok(behind.into_iter().collect());
    }
    match device.slaves() {
        Some(slaves) if !slaves.is_empty() => Ok(slaves),
        _ => Err(MemoryTrust::Doubted),
    }
}
