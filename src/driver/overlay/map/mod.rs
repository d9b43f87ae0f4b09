//! The map file of an overlay: which clusters of PATH are there. docs/OVERLAY.md has the format,
//! and why what is written here in this order can be believed after any loss of power.
//!
//! Three rules. A slot that counts and is durable is not written; the other slot of its page is.
//! A slot that was written is not written again before it is durable. No generation of a page is
//! given twice. So what `open` finds is what the last `sync` made durable, or a later write.
//!
//! The map knows nothing of the data: whoever sets a bit has made the cluster's data durable.

mod create;
mod format;
#[cfg(test)]
mod format_tests;
mod place;
#[cfg(test)]
mod power_tests;
mod read;
#[cfg(test)]
mod tests;

use std::path::Path;

use crate::driver::identity::{identify, Identity};
use crate::log;
use crate::sync::Mutex;
use crate::sys::{without_file_size_signal, Descriptor, Errno, Error};

use format::{Geometry, PAGE_CLUSTERS, SLOT, WORDS};
use place::Place;
use read::Locked;

/// An open map; the only one of its file, in all processes, until it is dropped.
pub struct MapFile {
    descriptor: Locked,
    identity: Identity,
    geometry: Geometry,
    writable: bool,
    /// Where it lies, also if the program changes its directory.
    place: Place,
    /// Held during the I/O of the map, which has one caller at a time. Nothing is taken under it.
    state: Mutex<State>,
}

struct State {
    pages: Vec<PageState>,
    /// Which pages are touched.
    touched: Vec<usize>,
    /// Why nothing of the map can be trusted to become durable any more.
    failed: Option<Errno>,
}

#[derive(Clone, Copy)]
struct PageState {
    /// What counts after a loss of power at worst.
    durable: u64,
    /// The largest that was ever written, or tried to be.
    used: u64,
    /// Its other slot was written to, and storage may be at work on it.
    touched: bool,
    /// What was written there as a whole, and is not yet durable.
    pending: Option<u64>,
}

impl MapFile {
    /// How many clusters have their bits in one page.
    pub fn page_clusters() -> u64 {
        PAGE_CLUSTERS
    }

    /// Creates the map of an overlay in which nothing is there yet; the map and its name are
    /// durable. EEXIST: there is a file of that name. After a failure there is none that this call
    /// has created.
    pub fn create(path: &Path, length: u64, cluster: u32) -> Result<(), Error> {
        create::create(&Place::of(path)?, Geometry { length, cluster })
    }

    /// Opens the map of data that is so long: the map, and a bit for each cluster. All of it is
    /// checked (EINVAL), and nobody else has it open, for writing at any rate (EAGAIN). A map that
    /// may not be written is opened for reading.
    pub fn open(path: &Path, length_of_data: u64) -> Result<(MapFile, Vec<u64>), Error> {
        let place = Place::of(path)?;
        let (descriptor, writable) = read::open(&place)?;
        let identity = identify(&descriptor, &place.name)?;
        if !matches!(identity, Identity::File { .. }) {
            return Err(place.error(libc::EINVAL, "the map of an overlay is a regular file"));
        }
        let descriptor = read::lock(descriptor, writable, &place)?;
        // What another process wrote and did not sync counts as durable from here on. Of what
        // Linux could not write it has forgotten that it could not: what is on the disk tells.
        sync(&descriptor).map_err(|errno| place.error(errno, "cannot be made durable"))?;
        descriptor.fadvise(libc::POSIX_FADV_DONTNEED);
        let geometry = read::header(&descriptor, &place, length_of_data)?;
        let (pages, bits) = read::pages(&descriptor, &place, geometry)?;
        let state = Mutex::new(State { pages, touched: Vec::new(), failed: None });
        Ok((MapFile { descriptor, identity, geometry, writable, place, state }, bits))
    }

    /// Bytes of a cluster.
    pub fn cluster(&self) -> u32 {
        self.geometry.cluster
    }

    /// Of the object, in bytes.
    pub fn length(&self) -> u64 {
        self.geometry.length
    }

    /// Writes the bits of a page, all of them; what is behind the end of the object is 0. They are
    /// durable when `sync`, called after this, has returned. Torn or failed, this write loses
    /// nothing that was durable before. No bit that `write_page` was given before may be missing.
    pub fn write_page(&self, page: u64, bits: &[u64]) -> Result<(), i32> {
        let clusters = self.geometry.clusters_of(page);
        let fits = clusters > 0 && bits.len() <= WORDS && format::ends_with(bits, clusters);
        if !fits {
            return Err(libc::EINVAL);
        }
        if !self.writable {
            return Err(libc::EROFS);
        }
        let mut state = self.state.lock();
        let at = usize::try_from(page).map_err(|_| libc::EINVAL)?;
        if state.pages.get(at).ok_or(libc::EINVAL)?.touched {
            // Else a sector that Linux is writing out at this moment might become half of this
            // write and half of the one before, and so damaged.
            self.sync_all(&mut state)?;
        }
        state.trusted()?;
        let before = state.pages[at];
        let generation = format::next_generation(before.durable, before.used);
        state.pages[at] = PageState { used: generation, touched: true, ..before };
        state.touched.push(at);
        self.write_slot(page, generation, bits)?;
        state.pages[at].pending = Some(generation);
        Ok(())
    }

    fn write_slot(&self, page: u64, generation: u64, bits: &[u64]) -> Result<(), Errno> {
        let slot = format::encode_slot(page, generation, bits);
        let offset = format::slot_offset(page, generation);
        let mut written = 0;
        while written < SLOT {
            match write_some(&self.descriptor, &slot[written..], offset + written as u64) {
                Ok(bytes) => written += bytes,
                Err(errno) => {
                    self.mend_sector(offset, written);
                    return Err(errno);
                }
            }
        }
        Ok(())
    }

    /// A write ended at this byte of a slot. If that is inside a sector the sector is of no write
    /// now, as if it were damaged: rather none than this.
    fn mend_sector(&self, slot: u64, written: usize) {
        let into = written % format::SECTOR;
        let begin = slot + (written - into) as u64;
        let zeros = [0; format::SECTOR];
        let mended = into == 0
            || without_file_size_signal(|| self.descriptor.write_all(&zeros, begin)).is_ok();
        if !mended {
            let name = &self.place.name;
            log::error!("{name}: what a failed write left at byte {begin} cannot be mended");
        }
    }

    /// Makes durable what was written before this call. After a failure the map takes nothing any
    /// more: Linux does not say what it has lost.
    pub fn sync(&self) -> Result<(), i32> {
        self.sync_all(&mut self.state.lock())
    }

    fn sync_all(&self, state: &mut State) -> Result<(), Errno> {
        state.trusted()?;
        if state.touched.is_empty() {
            return Ok(());
        }
        if let Err(errno) = sync(&self.descriptor) {
            log::error!("{}: the map cannot be made durable (errno {errno})", self.place.name);
            state.failed = Some(errno);
            return Err(errno);
        }
        while let Some(at) = state.touched.pop() {
            let page = &mut state.pages[at];
            page.durable = page.pending.take().unwrap_or(page.durable);
            page.touched = false;
        }
        Ok(())
    }

    /// Removes the map for good: from then on PATH is an ordinary image. Nothing is removed if
    /// another file has the map's name by now (ESTALE).
    pub fn remove(&self) -> Result<(), i32> {
        let table = self.descriptor.calls();
        self.place.unlink(table, self.identity)?;
        self.place.sync_directory(table)
    }
}

impl State {
    fn trusted(&self) -> Result<(), Errno> {
        self.failed.map_or(Ok(()), Err)
    }
}

/// Writes from the begin of `bytes`: how many.
fn write_some(descriptor: &Descriptor, bytes: &[u8], offset: u64) -> Result<usize, Errno> {
    let iov = [libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() }];
    loop {
        // SAFETY: the kernel only reads `bytes`, which is borrowed as long as this call.
        let write = || unsafe { descriptor.pwritev2(&iov, offset, 0) };
        match without_file_size_signal(write) {
            Err(libc::EINTR) => continue,
            Ok(0) => return Err(libc::EIO),
            result => return result,
        }
    }
}

fn sync(descriptor: &Descriptor) -> Result<(), Errno> {
    loop {
        match descriptor.fdatasync() {
            Err(libc::EINTR) => continue,
            result => return result,
        }
    }
}
