//! Opens what is below the device.

use std::path::Path;

use blkalign::{Disk, OpenOptions};

use crate::options::Add;

pub fn open(add: &Add) -> Result<Disk, String> {
    let mut how = OpenOptions::new();
    how.write(!add.read_only)
        .unmap(add.discard)
        .writethrough(add.writethrough)
        .lock(add.lock)
        .engine(add.engine)
        .guest_block_size(add.block_size)
        .direct(!add.buffered)
        .buffered_ok(!add.buffered);
    let disk =
        if is_uri(&add.storage) { open_uri(&add.storage, &how)? } else { open_path(add, &how)? };
    if disk.len() < u64::from(add.block_size) {
        let bytes = disk.len();
        return Err(format!("{}: {bytes} bytes are no whole block", add.storage.display()));
    }
    Ok(disk)
}

fn open_path(add: &Add, how: &OpenOptions) -> Result<Disk, String> {
    how.open(&add.storage).map_err(|error| error.to_string())
}

/// Is it the URI of an NBD export? A file of such a name is written "./nbd://NAME".
fn is_uri(storage: &Path) -> bool {
    let Some((scheme, _)) = storage.to_str().and_then(|it| it.split_once("://")) else {
        return false;
    };
    let transport = scheme.strip_prefix("nbds").or(scheme.strip_prefix("nbd"));
    transport.is_some_and(|it| it.is_empty() || it.starts_with('+'))
}

#[cfg(feature = "nbd")]
fn open_uri(storage: &Path, how: &OpenOptions) -> Result<Disk, String> {
    crate::nbd::open(storage, how).map_err(|error| error.to_string())
}

#[cfg(not(feature = "nbd"))]
fn open_uri(storage: &Path, _: &OpenOptions) -> Result<Disk, String> {
    let name = storage.display();
    Err(format!("{name}: this program was built without libnbd; ./{name} is a file"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uris_are_told_from_files() {
        for uri in ["nbd://host/x", "nbds://host", "nbd+unix:///x?socket=y", "nbds+vsock://1"] {
            assert!(is_uri(Path::new(uri)), "{uri}");
        }
        for file in ["/dev/sdb", "nbd", "nbd.img", "./nbd://x", "http://x", "nbdx://y", "rnbd://"] {
            assert!(!is_uri(Path::new(file)), "{file}");
        }
    }
}
