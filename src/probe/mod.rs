//! What the storage below really needs, and who says so. Asked once, when a handle is opened.
//!
//! Three steps: `claims` gathers what the kernel says, `decide` (pure) weighs it and asks for trial
//! reads where that can teach something, `trial` carries those out and looks, by way of `memory`,
//! whether they do what they say. `device` adds what is known of the block device below (`sysfs`),
//! `trust` whether its driver is to be believed, `cache` what the page cache works in. Never
//! writes.

mod cache;
mod claims;
mod decide;
mod device;
mod limits;
mod memory;
mod sysfs;
#[cfg(test)]
mod tests;
mod trial;
mod trust;

pub use cache::{cache_unit, is_on_fuse};
pub use device::{writes_in_order_only, zeroes_without_data};
pub use limits::{AlignmentSources, Limits, Source};

use blkalign_machine::Alignments;

use crate::sys::{page_bytes, Descriptor};

/// The kernel takes no longer vectors (IOV_MAX).
const SEGMENTS_MAX: u32 = 1024;

/// What `descriptor` needs. `direct`: it was opened with O_DIRECT. `overrides`: what the caller of
/// open insists on, 0 = probe. Never fails: where nothing can be learnt, the limits are the
/// conservative defaults and say so.
pub fn probe(descriptor: &Descriptor, direct: bool, overrides: Alignments) -> Limits {
    let mut limits = Limits { direct, max_segments: SEGMENTS_MAX, ..Limits::default() };
    device::describe(descriptor, &mut limits);
    if direct {
        // The page cache promises nothing of the kind.
        let (min, max) = claims::atomic_write_units(descriptor).unwrap_or((0, 0));
        (limits.atomic_write_unit_min, limits.atomic_write_unit_max) = (min, max);
        let claims = claims::gather(descriptor);
        let mut trial = trial::TrialReads::new(descriptor);
        let page = u32::try_from(page_bytes()).unwrap_or(decide::TRIAL_MAX);
        decide::direct(&claims, overrides, page, &mut trial, &mut limits);
    } else {
        decide::buffered(overrides, &mut limits);
    }
    limits
}
