//! Creates a map. The header comes last: as long as it is not there the file is no map, whatever
//! else of it a loss of power has left.

use super::format::{encode_header, Geometry};
use super::place::Place;
use super::sync;
use crate::driver::identity::identify;
use crate::log;
use crate::sys::{calls, without_file_size_signal, Descriptor, Errno, Error};

pub fn create(place: &Place, geometry: Geometry) -> Result<(), Error> {
    if let Some(why) = geometry.objection() {
        return Err(place.error(libc::EINVAL, why));
    }
    let table = calls();
    let flags = libc::O_RDWR | libc::O_CREAT | libc::O_EXCL;
    let descriptor = Descriptor::open(table, &place.path, flags)
        .map_err(|errno| place.error(errno, "cannot create the map of the overlay"))?;
    let written = fill(&descriptor, geometry).and_then(|()| place.sync_directory(table));
    written.map_err(|errno| {
        let removed = identify(&descriptor, &place.name)
            .map_err(|error| error.errno)
            .and_then(|identity| place.unlink(table, identity));
        if let Err(errno) = removed {
            let name = &place.name;
            log::error!("{name}: the map could not be created, nor removed (errno {errno})");
        }
        place.error(errno, "cannot write the map of the overlay")
    })
}

/// The space is taken now, where the file system can: later there may be none, and then a guest's
/// flush would fail.
fn fill(descriptor: &Descriptor, geometry: Geometry) -> Result<(), Errno> {
    let bytes = geometry.map_bytes();
    without_file_size_signal(|| descriptor.ftruncate(bytes))?;
    match without_file_size_signal(|| descriptor.fallocate(0, 0, bytes)) {
        Ok(()) | Err(libc::EOPNOTSUPP | libc::ENOSYS | libc::EINVAL | libc::EINTR) => {}
        Err(errno) => return Err(errno),
    }
    without_file_size_signal(|| descriptor.write_all(&encode_header(geometry), 0))?;
    sync(descriptor)
}
