//! What the kernel is told about a device: sizes, attributes, what may be cleared.

use blkalign::Limits;
use libublk::sys;

use crate::options::Add;

pub const SECTOR: u64 = 512;
/// Most bytes of a read or write: the length of a request's buffer.
pub const TRANSFER_MAX: u32 = 512 << 10;
/// Most sectors of one discard or zero write: 1 GiB.
const CLEAR_SECTORS_MAX: u32 = 1 << 21;

/// Of so many bytes the device has what is whole blocks.
pub fn device_bytes(storage_bytes: u64, block_size: u32) -> u64 {
    storage_bytes - storage_bytes % u64::from(block_size)
}

/// Larger values than the kernel knows are of no use to it.
fn shift(bytes: u32, least: u32) -> u8 {
    bytes.max(least).min(1 << 30).ilog2() as u8
}

pub fn of(add: &Add, limits: &Limits, storage_bytes: u64) -> sys::ublk_params {
    let block = add.block_size;
    // The kernel refuses physical blocks of more than a page.
    let physical = limits.request_alignment.max(limits.physical_block_size).min(4096);
    let mut attributes = 0;
    if add.read_only {
        attributes |= sys::UBLK_ATTR_READ_ONLY;
    }
    if !add.writethrough && !add.read_only {
        attributes |= sys::UBLK_ATTR_VOLATILE_CACHE | sys::UBLK_ATTR_FUA;
    }
    let mut parameters = sys::ublk_params {
        types: sys::UBLK_PARAM_TYPE_BASIC,
        basic: sys::ublk_param_basic {
            attrs: attributes,
            logical_bs_shift: shift(block, 512),
            physical_bs_shift: shift(physical, block),
            io_min_shift: shift(limits.request_alignment.min(TRANSFER_MAX), block),
            io_opt_shift: shift(limits.opt_transfer.min(TRANSFER_MAX), physical.max(block)),
            max_sectors: TRANSFER_MAX / SECTOR as u32,
            dev_sectors: device_bytes(storage_bytes, block) / SECTOR,
            ..Default::default()
        },
        ..Default::default()
    };
    if !add.read_only {
        parameters.types |= sys::UBLK_PARAM_TYPE_DISCARD;
        parameters.discard = sys::ublk_param_discard {
            discard_granularity: limits.discard_alignment.max(block),
            max_discard_sectors: if add.discard { CLEAR_SECTORS_MAX } else { 0 },
            max_write_zeroes_sectors: CLEAR_SECTORS_MAX,
            max_discard_segments: 1,
            ..Default::default()
        };
    }
    parameters
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::{parse, Command};

    fn add(line: &str) -> Add {
        match parse(line.split_whitespace().map(Into::into)) {
            Ok(Command::Add(add)) => *add,
            other => panic!("{other:?}"),
        }
    }

    /// Of a file of 4097 blocks of 4096 bytes and a rest, told to have large blocks.
    fn of_file(line: &str) -> sys::ublk_params {
        let name = line.replace(' ', "-");
        let path = std::env::temp_dir().join(format!("ublk-{}-{name}", std::process::id()));
        std::fs::write(&path, vec![0; 4097 * 4096 + 1000]).unwrap();
        let mut how = blkalign::OpenOptions::new();
        let disk = how.write(true).request_alignment(4096).open(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        of(&add(line), &disk.limits(), disk.len())
    }

    #[test]
    fn small_blocks_on_large_ones() {
        let told = of_file("add x");
        assert_eq!((told.basic.logical_bs_shift, told.basic.physical_bs_shift), (9, 12));
        assert_eq!(told.basic.io_min_shift, 12);
        assert_eq!(told.basic.dev_sectors, 4097 * 8 + 1);
        let attributes = sys::UBLK_ATTR_VOLATILE_CACHE | sys::UBLK_ATTR_FUA;
        assert_eq!(told.basic.attrs, attributes);
        assert!(told.discard.max_discard_sectors > 0 && told.discard.discard_granularity >= 512);
    }

    #[test]
    fn whole_blocks_only() {
        let told = of_file("add --block-size 4096 --writethrough --no-discard x");
        assert_eq!((told.basic.logical_bs_shift, told.basic.dev_sectors), (12, 4097 * 8));
        assert_eq!((told.basic.attrs, told.discard.max_discard_sectors), (0, 0));
        assert!(told.discard.max_write_zeroes_sectors > 0);
    }

    #[test]
    fn a_read_only_device_is_cleared_by_nobody() {
        let told = of_file("add --read-only x");
        assert_eq!(told.basic.attrs, sys::UBLK_ATTR_READ_ONLY);
        assert_eq!(told.types, sys::UBLK_PARAM_TYPE_BASIC);
    }
}
