//! Memory that a caller has made known to a handle.
//!
//! The lock guards the list of regions; nothing else is taken while it is held.

use super::Handle;
use crate::driver::Segment;
use crate::sync::RwLock;
use crate::sys::Error;

/// Regions that do not overlap, in the order of their addresses.
#[derive(Default)]
pub struct Buffers {
    regions: RwLock<Vec<Segment>>,
}

impl Buffers {
    fn add(&self, region: Segment) -> Result<(), i32> {
        let mut regions = self.regions.write();
        let at = regions.partition_point(|other| other.address < region.address);
        let after = regions.get(at);
        let before = at.checked_sub(1).and_then(|before| regions.get(before));
        let overlaps = before.is_some_and(|before| before.address + before.bytes > region.address)
            || after.is_some_and(|after| region.address + region.bytes > after.address);
        if overlaps {
            return Err(libc::EEXIST);
        }
        regions.insert(at, region);
        Ok(())
    }

    fn remove(&self, region: Segment) -> Result<(), i32> {
        let mut regions = self.regions.write();
        let at = regions.iter().position(|other| *other == region).ok_or(libc::ENOENT)?;
        regions.remove(at);
        Ok(())
    }

    /// Whether one region has all of `segment`.
    fn holds(&self, segment: &Segment) -> bool {
        let regions = self.regions.read();
        let at = regions.partition_point(|region| region.address <= segment.address);
        at.checked_sub(1).is_some_and(|at| {
            let region = regions[at];
            segment.address + segment.bytes <= region.address + region.bytes
        })
    }
}

impl Handle {
    pub fn register_buffer(&self, region: Segment) -> Result<(), Error> {
        self.buffers.add(region).map_err(|errno| {
            let words = format!(
                "{}: {} bytes at {:#x} overlap a region that is registered",
                self.endpoint.name, region.bytes, region.address
            );
            Error::new(errno, words)
        })?;
        if let Some(engine) = &self.endpoint.ring {
            engine.ring.register_memory(region);
        }
        Ok(())
    }

    pub fn unregister_buffer(&self, region: Segment) -> Result<(), Error> {
        self.buffers.remove(region).map_err(|errno| {
            let words = format!(
                "{}: no region of {} bytes at {:#x} is registered",
                self.endpoint.name, region.bytes, region.address
            );
            Error::new(errno, words)
        })?;
        if let Some(engine) = &self.endpoint.ring {
            engine.ring.unregister_memory(region);
        }
        Ok(())
    }

    pub(super) fn check_registered(&self, segments: &[Segment]) -> Result<(), Error> {
        match segments.iter().find(|segment| !self.buffers.holds(segment)) {
            None => Ok(()),
            Some(segment) => {
                let words = format!(
                    "{}: {} bytes at {:#x} do not lie in registered memory",
                    self.endpoint.name, segment.bytes, segment.address
                );
                Err(Error::new(libc::EINVAL, words))
            }
        }
    }
}

#[cfg(test)]
#[path = "buffers_tests.rs"]
mod tests;
