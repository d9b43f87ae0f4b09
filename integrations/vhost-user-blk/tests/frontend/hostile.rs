//! Rings whose every field is random, near the borders of what is right.

use super::guest::*;
use super::random::Random;
use super::ring::{descriptor, INDIRECT, NEXT, WRITE};
use super::scene::{DATA, HEADER, STATUS, TABLE};

/// Of guest memory: where the table of descriptors is, and where it ends.
#[derive(Clone, Copy)]
pub struct Place {
    pub table: u64,
    pub end: u64,
}

/// Descriptors, an indirect table and headers. Whatever asks for a write has one of the sectors
/// `far` in its header: none that anybody cares for.
pub fn scramble(write: &dyn Fn(u64, &[u8]), place: Place, far: &[u64], random: &mut Random) {
    let kinds = [IN, IN, OUT, FLUSH, GET_ID, DISCARD, WRITE_ZEROES, 3, u32::MAX];
    for slot in 0..8u64 {
        let kind = random.pick(&kinds);
        let harmless = matches!(kind, IN | FLUSH | GET_ID);
        // No header may pass for a range on the disk, nor pieces of two for another header.
        let sector = if harmless { 64 + random.below(2100) } else { random.pick(far) };
        write(HEADER + 16 * slot, &header(kind, sector));
        write(HEADER + 16 * slot + 4, &[0xff; 4]);
    }
    // What is written never is a range on the disk either, nor a part of a header.
    write(DATA, &[0xff; 0x2000]);
    write(place.end - 600, &[0xff; 600]);
    for index in 0..16 {
        write(place.table + 16 * index, &one(random, place.end, true));
    }
    for index in 0..8 {
        write(TABLE + 16 * index, &one(random, place.end, index == 7));
    }
}

fn one(random: &mut Random, end: u64, indirect_allowed: bool) -> [u8; 16] {
    let address = match random.below(12) {
        0..=4 => HEADER + 16 * random.below(8),
        5..=7 => DATA + random.below(0x400),
        8 => STATUS + random.below(4),
        9 => end - random.below(600),
        10 => random.next(),
        _ => TABLE + 16 * random.below(8),
    };
    let bytes = random.pick(&[0, 1, 1, 15, 16, 16, 16, 17, 512, 512, 513, 4096, 1 << 31, u32::MAX]);
    // No data may be written over headers while they are being looked at.
    let writable = (DATA..TABLE).contains(&address) && random.one_in(2);
    let mut flags = if writable { WRITE } else { 0 };
    flags |= if random.one_in(3) { 0 } else { NEXT };
    if indirect_allowed && random.one_in(6) {
        let table = TABLE + random.pick(&[0, 0, 16, 3]);
        let bytes = random.pick(&[16, 32, 48, 128, 40, 0]);
        return descriptor(table, bytes, INDIRECT | (flags & NEXT), random.below(18) as u16);
    }
    let bound = if random.one_in(30) { 65536 } else { 16 };
    descriptor(address, bytes, flags, random.below(bound) as u16)
}
