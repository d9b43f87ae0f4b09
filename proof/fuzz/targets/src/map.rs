//! The map of an overlay: bytes to values and back. A valid map is changed as the input says, with
//! its checksums put right or not. What is then believed is what an encoder would have written.

#[allow(dead_code)]
#[path = "../../../../src/driver/overlay/map/format.rs"]
mod format;

use crate::input::Input;
use format::*;

pub fn run(input: &mut Input) {
    match input.byte() % 2 {
        0 => header(input),
        _ => page(input),
    }
}

fn number(input: &mut Input) -> u32 {
    u32::from(input.word()) << 16 | u32::from(input.word())
}

fn header(input: &mut Input) {
    let length = input.long() >> (input.byte() % 64);
    let cluster =
        if !input.byte().is_multiple_of(4) { 4096 << (input.byte() % 12) } else { number(input) };
    let geometry = Geometry { length, cluster };
    let mut bytes = [0; SLOT];
    bytes[..SECTOR].copy_from_slice(&encode_header(geometry));
    change(input, &mut bytes);
    let Ok(found) = decode_header(&bytes) else { return };
    assert_eq!(found.objection(), None);
    assert!(found.clusters() <= CLUSTERS_MAX && found.map_bytes() >= SLOT as u64);
    let mut again = [0; SLOT];
    again[..SECTOR].copy_from_slice(&encode_header(found));
    assert!(again == bytes, "a header that no encoder writes");
}

/// Some writes of a page, of which some sectors arrive, then any change.
fn page(input: &mut Input) {
    let page = input.long() % (CLUSTERS_MAX / PAGE_CLUSTERS + 1);
    let clusters = u64::from(number(input)) % (PAGE_CLUSTERS + 1);
    let mut bytes = [0; 2 * SLOT];
    let mut bits = [0; WORDS];
    for _ in 0..input.byte() % 4 {
        let generation = u64::from(input.byte());
        bits[input.byte() as usize % WORDS] |= input.long();
        let (slot, arrives) = (encode_slot(page, generation, &bits), input.byte());
        let begin = slot_of(generation) * SLOT;
        for at in (0..SLOT / SECTOR).filter(|at| arrives >> at & 1 == 1) {
            let sector = at * SECTOR..(at + 1) * SECTOR;
            bytes[begin..][sector.clone()].copy_from_slice(&slot[sector]);
        }
    }
    change(input, &mut bytes);
    let Ok(found) = decode_page(page, clusters, &bytes) else { return };
    assert!(ends_with(&found.bits, clusters), "clusters behind the end");
    let begin = slot_of(found.generation) * SLOT;
    let slot = match found.generation {
        0 => [0; SLOT],
        generation => encode_slot(page, generation, &found.bits),
    };
    assert!(bytes[begin..begin + SLOT] == slot, "a slot that no encoder writes");
    let next = next_generation(found.generation, found.used);
    assert!(next > found.used && slot_of(next) != slot_of(found.generation));
}

/// Any bytes at some places; then the sums of the sectors that have something fit again, or not.
fn change(input: &mut Input, bytes: &mut [u8]) {
    let (count, mends) = (input.byte() % 8, !input.byte().is_multiple_of(4));
    for _ in 0..count {
        let at = number(input) as usize % bytes.len();
        bytes[at] = input.byte();
    }
    for sector in bytes.chunks_exact_mut(SECTOR).filter(|_| mends) {
        if sector.iter().any(|byte| *byte != 0) {
            let sum = crc32c(&sector[..SECTOR - 4]);
            sector[SECTOR - 4..].copy_from_slice(&sum.to_le_bytes());
        }
    }
}
