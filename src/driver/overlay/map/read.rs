//! Opens a map and reads all of it. Nothing is changed, whatever is found.

use std::io::IoSliceMut;
use std::ops::Deref;

use super::format::{self, Geometry, SLOT, WORDS};
use super::place::Place;
use super::PageState;
use crate::sys::{calls, Descriptor, Errno, Error};

/// The byte of the map that says, by a lock on it, that the map is in use.
const LOCKED: u8 = 0;

/// For writing, or else for reading: the descriptor, and which.
pub fn open(place: &Place) -> Result<(Descriptor, bool), Error> {
    let open = |access| Descriptor::open(calls(), &place.path, access | libc::O_NONBLOCK);
    let opened = match open(libc::O_RDWR) {
        Err(libc::EROFS | libc::EACCES | libc::EPERM) => {
            open(libc::O_RDONLY).map(|descriptor| (descriptor, false))
        }
        result => result.map(|descriptor| (descriptor, true)),
    };
    opened.map_err(|errno| {
        let why = match errno {
            libc::ENOENT => {
                " (once all clusters are there the map is gone, and the image is opened as an \
                 ordinary one; a map that was lost cannot be replaced)"
            }
            _ => "",
        };
        place.error(errno, format!("cannot open the map of the overlay{why}"))
    })
}

/// A map that nobody else has open, until this is dropped.
pub struct Locked(Descriptor);

impl Deref for Locked {
    type Target = Descriptor;
    fn deref(&self) -> &Descriptor {
        &self.0
    }
}

impl Drop for Locked {
    /// The end of the descriptor alone does not end the lock: a child of this process may have the
    /// same open file for a moment, or for good.
    fn drop(&mut self) {
        let _ = self.0.lock_byte(LOCKED, false);
    }
}

pub fn lock(descriptor: Descriptor, writable: bool, place: &Place) -> Result<Locked, Error> {
    let locked = match writable {
        true => descriptor.lock_byte_alone(LOCKED),
        false => descriptor.lock_byte(LOCKED, true),
    };
    locked.map(|()| Locked(descriptor)).map_err(|errno| match errno {
        libc::EAGAIN | libc::EACCES => {
            let why = format!("byte {LOCKED} is locked: the overlay is open elsewhere");
            place.error(libc::EAGAIN, why)
        }
        libc::EINVAL | libc::ENOSYS | libc::EOPNOTSUPP => {
            place.error(libc::ENOTSUP, "the file system has no locks of open files")
        }
        _ => place.error(errno, format!("cannot lock byte {LOCKED}")),
    })
}

pub fn header(descriptor: &Descriptor, place: &Place, data: u64) -> Result<Geometry, Error> {
    let unreadable = |errno| place.error(errno, "cannot read the header of the map");
    let refuse = |why: String| Err(place.error(libc::EINVAL, why));
    let there = descriptor.fstat().map_err(unreadable)?.st_size.unsigned_abs();
    if there < SLOT as u64 {
        return refuse(format!("no map of an overlay: {there} bytes are less than its header"));
    }
    let mut bytes = [0; SLOT];
    read_all(descriptor, &mut bytes, 0).map_err(unreadable)?;
    let geometry = match format::decode_header(&bytes) {
        Ok(geometry) => geometry,
        Err(damage) => return refuse(format!("no usable map of an overlay: {}", damage.0)),
    };
    if geometry.map_bytes() != there {
        return refuse(format!(
            "the map has {there} bytes, and the map of {} bytes in clusters of {} has {}",
            geometry.length,
            geometry.cluster,
            geometry.map_bytes()
        ));
    }
    if geometry.length != data {
        return refuse(format!(
            "the map is for {} bytes of data, and there are {data}",
            geometry.length
        ));
    }
    Ok(geometry)
}

pub fn pages(
    descriptor: &Descriptor,
    place: &Place,
    geometry: Geometry,
) -> Result<(Vec<PageState>, Vec<u64>), Error> {
    let no_memory = |_| place.error(libc::ENOMEM, "no memory for the bits of the map");
    let (mut pages, mut bits) = (Vec::new(), Vec::new());
    let count = geometry.pages() as usize;
    pages.try_reserve_exact(count).map_err(no_memory)?;
    bits.try_reserve_exact(count * WORDS).map_err(no_memory)?;
    let mut bytes = [0; 2 * SLOT];
    for page in 0..geometry.pages() {
        let offset = format::page_offset(page);
        read_all(descriptor, &mut bytes, offset).map_err(|errno| {
            place.error(errno, format!("cannot read page {page} of the map, at byte {offset}"))
        })?;
        let clusters = geometry.clusters_of(page);
        let found = format::decode_page(page, clusters, &bytes)
            .map_err(|damage| place.error(libc::EINVAL, format!("damaged: {}", damage.0)))?;
        let (durable, used) = (found.generation, found.used);
        pages.push(PageState { durable, used, touched: false, pending: None });
        bits.extend_from_slice(&found.bits);
    }
    bits.truncate(geometry.clusters().div_ceil(64) as usize);
    Ok((pages, bits))
}

fn read_all(descriptor: &Descriptor, bytes: &mut [u8], offset: u64) -> Result<(), Errno> {
    let mut done = 0;
    while done < bytes.len() {
        let rest = &mut [IoSliceMut::new(&mut bytes[done..])];
        match descriptor.read(rest, offset + done as u64)? {
            0 => return Err(libc::EIO),
            moved => done += moved,
        }
    }
    Ok(())
}
