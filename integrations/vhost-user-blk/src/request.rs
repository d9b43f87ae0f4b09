//! What a chain asks for, and whether it may (virtio 1.2, 5.2.6). Does nothing itself.

use virtio_bindings::virtio_blk::*;

use crate::chain::Chain;
use crate::disk::{Disk, CLEAR_SECTORS_MAX, CLEAR_SEGMENTS_MAX, SECTOR};

/// A range of the disk, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    pub offset: u64,
    pub bytes: u64,
    /// Only for zeros: the storage may deallocate.
    pub may_unmap: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Into all that the chain lets us write.
    Read(u64),
    /// All that is left to read of the chain.
    Write(u64),
    Flush,
    Id,
    /// The ranges are in the caller's list.
    Zero,
    Discard,
}

/// What the guest finds in its status byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Status {
    Ok = VIRTIO_BLK_S_OK as u8,
    IoError = VIRTIO_BLK_S_IOERR as u8,
    Unsupported = VIRTIO_BLK_S_UNSUPP as u8,
}

/// Bytes of the header: type, priority, sector.
const HEADER: usize = 16;
/// Bytes of one segment to discard or zero: sector, count, flags.
const SEGMENT: usize = 16;

/// Takes the header off the chain. What is refused has changed nothing. Ranges to discard or
/// zero, checked all of them, are left in `ranges`.
pub fn parse(disk: &Disk, chain: &mut Chain, ranges: &mut Vec<Range>) -> Result<Operation, Status> {
    ranges.clear();
    if chain.fault.is_some() {
        return Err(Status::IoError);
    }
    let mut header = [0; HEADER];
    if !chain.readable.take_front(&mut header) {
        return Err(Status::IoError);
    }
    let kind = u32::from_le_bytes(header[..4].try_into().expect("4 bytes"));
    let sector = u64::from_le_bytes(header[8..].try_into().expect("8 bytes"));
    match kind {
        VIRTIO_BLK_T_IN => Ok(Operation::Read(place(disk, sector, chain.writable.bytes())?)),
        VIRTIO_BLK_T_OUT if disk.read_only => Err(Status::IoError),
        VIRTIO_BLK_T_OUT => Ok(Operation::Write(place(disk, sector, chain.readable.bytes())?)),
        VIRTIO_BLK_T_FLUSH => Ok(Operation::Flush),
        VIRTIO_BLK_T_GET_ID => Ok(Operation::Id),
        VIRTIO_BLK_T_DISCARD if disk.may_discard() => {
            parse_ranges(disk, chain, ranges, 0)?;
            Ok(Operation::Discard)
        }
        VIRTIO_BLK_T_WRITE_ZEROES if !disk.read_only => {
            parse_ranges(disk, chain, ranges, VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP)?;
            Ok(Operation::Zero)
        }
        _ => Err(Status::Unsupported),
    }
}

/// Where `bytes` bytes at `sector` are, if they are whole sectors and on the disk.
fn place(disk: &Disk, sector: u64, bytes: u64) -> Result<u64, Status> {
    let end = sector.checked_add(bytes / SECTOR);
    if !bytes.is_multiple_of(SECTOR) || end.is_none_or(|end| end > disk.sectors()) {
        return Err(Status::IoError);
    }
    // What is on the disk has an offset in bytes, too.
    Ok(sector * SECTOR)
}

fn parse_ranges(
    disk: &Disk,
    chain: &mut Chain,
    ranges: &mut Vec<Range>,
    flags_known: u32,
) -> Result<(), Status> {
    let bytes = chain.readable.bytes();
    let segments = bytes / SEGMENT as u64;
    if !bytes.is_multiple_of(SEGMENT as u64)
        || !(1..=u64::from(CLEAR_SEGMENTS_MAX)).contains(&segments)
    {
        return Err(Status::IoError);
    }
    let mut segment = [0; SEGMENT];
    while chain.readable.take_front(&mut segment) {
        let sector = u64::from_le_bytes(segment[..8].try_into().expect("8 bytes"));
        let sectors = u32::from_le_bytes(segment[8..12].try_into().expect("4 bytes"));
        let flags = u32::from_le_bytes(segment[12..].try_into().expect("4 bytes"));
        if flags & !flags_known != 0 {
            return Err(Status::Unsupported);
        }
        if sectors > CLEAR_SECTORS_MAX {
            return Err(Status::IoError);
        }
        let bytes = u64::from(sectors) * SECTOR;
        let offset = place(disk, sector, bytes)?;
        let may_unmap = disk.discard && flags != 0;
        ranges.push(Range { offset, bytes, may_unmap });
    }
    Ok(())
}
