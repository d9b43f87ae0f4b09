//! What the kernel says about alignments: STATX_DIOALIGN (Linux 6.1), XFS_IOC_DIOINFO (XFS of any
//! age), BLKSSZGET (block devices). A value that cannot be right counts as not said.

use crate::sys::Descriptor;

use super::device;
use super::limits::Source;
use super::sysfs::Device;
use super::trust::{below, MemoryTrust};

/// An alignment, and who says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Claim {
    pub bytes: u32,
    pub source: Source,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Claims {
    /// Of offset and total length.
    pub request: Option<Claim>,
    /// A larger block of a disk that the request goes to by way of a loop device: then what is
    /// claimed of requests counts only where data that can tell bear it out.
    pub behind_loop: Option<Claim>,
    /// Of buffer addresses.
    pub mem: Option<Claim>,
    /// Of memory addresses and of the length of each element, by a disk's protection information.
    /// Nothing smaller is tried: the kernel may come to harm.
    pub integrity: Option<Claim>,
    /// Whether what is claimed of memory counts.
    pub trust: MemoryTrust,
}

/// No storage has blocks above this; a larger claim is an accident.
pub const ALIGNMENT_MAX: u32 = 1 << 20;

fn believable(bytes: u32, at_least: u32) -> bool {
    bytes.is_power_of_two() && (at_least..=ALIGNMENT_MAX).contains(&bytes)
}

fn claim(bytes: u32, at_least: u32, source: Source) -> Option<Claim> {
    believable(bytes, at_least).then_some(Claim { bytes, source })
}

/// About memory the first source that says anything is believed. Of the claims about requests the
/// largest counts: too large costs a little time, too small fails.
pub fn gather(descriptor: &Descriptor) -> Claims {
    let sources = [statx(descriptor), direct_io_info(descriptor), block_size(descriptor)];
    let device = Device::below(descriptor).and_then(|(device, _)| device);
    let below = device.map(below).unwrap_or_default();
    let interval = device::protection_interval(descriptor).unwrap_or(0);
    let integrity = claim(interval, 512, Source::Integrity);
    let mut best = Claims { trust: below.memory, integrity, ..Claims::default() };
    for said in sources {
        best.mem = best.mem.or(said.mem);
        best.request = larger(best.request, said.request);
    }
    if best.mem.is_some() {
        best.mem = larger(best.mem, integrity);
    }
    best.request = larger(best.request, integrity);
    let behind = claim(below.block_behind_loop, 512, Source::Blksszget);
    if larger(best.request, behind) != best.request {
        (best.behind_loop, best.trust) = (behind, best.trust.max(MemoryTrust::Doubted));
    }
    best
}

/// The first where both are equal.
fn larger(one: Option<Claim>, other: Option<Claim>) -> Option<Claim> {
    let bytes = |claim: Option<Claim>| claim.map(|claim| claim.bytes);
    if bytes(other) > bytes(one) {
        other
    } else {
        one
    }
}

fn statx(descriptor: &Descriptor) -> Claims {
    let mask = libc::STATX_DIOALIGN | libc::STATX_DIO_READ_ALIGN;
    let Ok(stat) = descriptor.statx(mask) else { return Claims::default() };
    if stat.stx_mask & libc::STATX_DIOALIGN == 0 {
        return Claims::default();
    }
    // Reads may be allowed more than writes (a reflinked file on XFS); one value serves both.
    let mut request = stat.stx_dio_offset_align;
    if stat.stx_mask & libc::STATX_DIO_READ_ALIGN != 0 {
        request = request.max(stat.stx_dio_read_offset_align);
    }
    Claims {
        request: claim(request, 1, Source::Statx),
        mem: claim(stat.stx_dio_mem_align, 1, Source::Statx),
        ..Claims::default()
    }
}

fn direct_io_info(descriptor: &Descriptor) -> Claims {
    let Ok(info) = descriptor.direct_io_info() else { return Claims::default() };
    Claims {
        request: claim(info.min_bytes, 512, Source::Dioinfo),
        mem: claim(info.mem, 1, Source::Dioinfo),
        ..Claims::default()
    }
}

/// Before Linux 6.0 a device wanted its logical block of memory addresses too.
fn block_size(descriptor: &Descriptor) -> Claims {
    let Ok(bytes) = descriptor.logical_block_size() else { return Claims::default() };
    let both = claim(bytes, 512, Source::Blksszget);
    Claims { request: both, mem: both, ..Claims::default() }
}

/// The smallest and the largest write that can be all or nothing across a power loss; None:
/// nothing promised, or nonsense.
pub fn atomic_write_units(descriptor: &Descriptor) -> Option<(u32, u32)> {
    let stat = descriptor.statx(libc::STATX_WRITE_ATOMIC).ok()?;
    if stat.stx_mask & libc::STATX_WRITE_ATOMIC == 0 {
        return None;
    }
    let (min, max) = (stat.stx_atomic_write_unit_min, stat.stx_atomic_write_unit_max);
    (min.is_power_of_two() && max.is_power_of_two() && min <= max).then_some((min, max))
}
