use super::format::*;

const GEOMETRY: Geometry = Geometry { length: 1000 * 65536 + 1, cluster: 65536 };
/// A page in the middle of a map, so that its place is none that zeros would give.
const PAGE: u64 = 3;

fn header_place(geometry: Geometry) -> [u8; SLOT] {
    let mut place = [0; SLOT];
    place[..SECTOR].copy_from_slice(&encode_header(geometry));
    place
}

/// Every `step`-th cluster of the page is there.
fn every(step: usize) -> [u64; WORDS] {
    let mut bits = [0; WORDS];
    for cluster in (0..PAGE_CLUSTERS as usize).step_by(step) {
        bits[cluster / 64] |= 1 << (cluster % 64);
    }
    bits
}

/// The place of both slots of a page, as these writes leave it, in their order.
fn written(writes: &[(u64, [u64; WORDS])]) -> [u8; 2 * SLOT] {
    let mut bytes = [0; 2 * SLOT];
    for (generation, bits) in writes {
        land(&mut bytes, *generation, bits, 0xff);
    }
    bytes
}

/// A write of which the sectors of `mask` arrive.
fn land(bytes: &mut [u8; 2 * SLOT], generation: u64, bits: &[u64], mask: u8) {
    let slot = encode_slot(PAGE, generation, bits);
    let begin = slot_of(generation) * SLOT;
    for (at, sector) in slot.chunks_exact(SECTOR).enumerate() {
        if mask >> at & 1 == 1 {
            bytes[begin + at * SECTOR..][..SECTOR].copy_from_slice(sector);
        }
    }
}

fn decode(bytes: &[u8; 2 * SLOT]) -> Result<Page, Damage> {
    decode_page(PAGE, PAGE_CLUSTERS, bytes)
}

fn words<T>(result: Result<T, Damage>) -> String {
    result.err().expect("it is damaged").0
}

#[test]
fn a_header_says_what_it_was_given() {
    for (length, cluster) in [(0, 4096), (1, 65536), (1 << 40, 2 << 20), (12345678901, 4096)] {
        let geometry = Geometry { length, cluster };
        assert_eq!(decode_header(&header_place(geometry)), Ok(geometry));
    }
}

#[test]
fn every_changed_bit_of_a_header_is_noticed() {
    let good = header_place(GEOMETRY);
    for bit in 0..8 * SLOT {
        let mut bad = good;
        bad[bit / 8] ^= 1 << (bit % 8);
        assert!(decode_header(&bad).is_err(), "bit {bit}");
    }
    for (at, value) in (0..SECTOR).flat_map(|at| (1..=255).map(move |value| (at, value))) {
        let mut bad = good;
        bad[at] ^= value;
        assert!(decode_header(&bad).is_err(), "byte {at} with {value:#x}");
    }
}

#[test]
fn headers_that_nobody_writes_are_refused_and_the_words_say_why() {
    let refused = |change: &dyn Fn(&mut [u8; SLOT])| {
        let mut bytes = header_place(GEOMETRY);
        change(&mut bytes);
        words(decode_header(&bytes))
    };
    assert!(refused(&|bytes| bytes.fill(0)).contains("not created to the end"));
    assert!(refused(&|bytes| bytes[0] = b'Q').contains("does not begin"));
    assert!(refused(&|bytes| bytes[8] = 2).contains("version is 2"));
    assert!(refused(&|bytes| bytes[16] ^= 1).contains("checksum"));
    assert!(refused(&|bytes| bytes[SLOT - 1] = 1).contains("zeros belong"));
    for (length, cluster, why) in [
        (1, 65537, "power of two"),
        (1, 2048, "power of two"),
        (1, 4 << 20, "power of two"),
        (1, 0, "power of two"),
        (u64::MAX, 2 << 20, "more than"),
        ((1 << 44) + 1, 4096, "more than"),
    ] {
        let place = header_place(Geometry { length, cluster });
        assert!(words(decode_header(&place)).contains(why), "{length} {cluster}");
    }
    assert_eq!(Geometry { length: 1 << 44, cluster: 4096 }.objection(), None);
}

#[test]
fn the_sizes_of_a_map_follow_from_its_header() {
    assert_eq!(PAGE_CLUSTERS, 31232);
    let of = |length| Geometry { length, cluster: 4096 };
    let page = 31232 * 4096;
    for (length, clusters, pages, last) in [
        (0, 0, 0, 0),
        (1, 1, 1, 1),
        (page, 31232, 1, 31232),
        (page + 1, 31233, 2, 1),
        (3 * page - 1, 93696, 3, 31232),
    ] {
        let geometry = of(length);
        assert_eq!((geometry.clusters(), geometry.pages()), (clusters, pages), "{length}");
        assert_eq!(geometry.map_bytes(), 4096 + pages * 8192);
        if pages > 0 {
            assert_eq!(geometry.clusters_of(pages - 1), last);
        }
        assert_eq!(geometry.clusters_of(pages), 0);
        assert_eq!(geometry.clusters_of(u64::MAX), 0);
    }
}

#[test]
fn a_page_is_its_newest_slot() {
    assert_eq!(decode(&written(&[])).unwrap().generation, 0);
    let mut writes = Vec::new();
    for (generation, step) in [(1, 800), (2, 400), (3, 200), (6, 100), (7, 50)] {
        writes.push((generation, every(step)));
        let page = decode(&written(&writes)).unwrap();
        assert_eq!((page.generation, page.used, page.bits), (generation, generation, every(step)));
    }
}

/// The argument of docs/OVERLAY.md, over every way in which a write can be torn: what is found is
/// the state before, or the state that was being written, and never a mixture. A further write
/// after that is no mixture with the torn one either.
#[test]
fn a_torn_write_leaves_the_older_slot() {
    let (old, new, newer) = (every(400), every(200), every(40));
    for before in [vec![], vec![(1, every(800))], vec![(1, every(800)), (2, old)]] {
        let settled = decode(&written(&before)).unwrap();
        for mask in 0..=255 {
            let mut bytes = written(&before);
            let first = next_generation(settled.generation, settled.used);
            land(&mut bytes, first, &new, mask);
            let found = decode(&bytes).unwrap();
            let whole = mask == 255;
            assert_eq!(found.bits, if whole { new } else { settled.bits }, "{mask:#b}");
            // After the loss of power that tore it, another one tears the next write.
            for count in 0..8 {
                let other: u8 = if mask & 1 == 1 { 255 << count } else { (1 << count) - 1 };
                let second = next_generation(found.generation, found.used);
                let mut bytes = bytes;
                land(&mut bytes, second, &newer, other);
                let last = decode(&bytes).unwrap();
                let expected = if other == 255 { newer } else { found.bits };
                assert_eq!(last.bits, expected, "{mask:#b} {other:#b}");
            }
        }
    }
}

#[test]
fn every_changed_byte_of_a_page_is_noticed() {
    let mut torn = written(&[(1, every(800)), (2, every(400))]);
    land(&mut torn, 3, &every(200), 0b0001_1111);
    for good in [written(&[]), written(&[(1, every(800))]), torn] {
        decode(&good).unwrap();
        for at in 0..good.len() {
            let value = 1 << (at % 8);
            let mut bad = good;
            bad[at] ^= value;
            assert!(decode(&bad).is_err(), "byte {at} with {value:#x}");
        }
    }
    // Each value in one sector of each kind.
    let good = written(&[(1, every(800))]);
    for begin in [3 * SECTOR, SLOT + 3 * SECTOR] {
        for (at, value) in (0..SECTOR).flat_map(|at| (1..=255).map(move |value| (at, value))) {
            let mut bad = good;
            bad[begin + at] ^= value;
            assert!(decode(&bad).is_err(), "byte {at} with {value:#x}");
        }
    }
}

#[test]
fn pages_that_nobody_writes_are_refused_and_the_words_say_where() {
    let two = [(1, every(800)), (2, every(400))];
    // Both slots torn.
    let mut bytes = written(&two);
    land(&mut bytes, 3, &every(200), 1);
    land(&mut bytes, 4, &every(100), 1);
    assert!(words(decode(&bytes)).contains("only in part"));
    // The second write is torn, and there is no first.
    let mut bytes = written(&[]);
    land(&mut bytes, 2, &every(200), 1);
    assert!(words(decode(&bytes)).contains("only in part"));
    // Clusters that vanish.
    let bytes = written(&[(1, every(400)), (2, every(800))]);
    assert!(words(decode(&bytes)).contains("missing"));
    let mut bytes = written(&[(1, every(400)), (2, every(200))]);
    land(&mut bytes, 3, &every(400), 1);
    assert!(words(decode(&bytes)).contains("missing"));
    // A page of another place, or in the other slot.
    let bytes = written(&two);
    let elsewhere = decode_page(PAGE + 1, PAGE_CLUSTERS, &bytes);
    assert!(words(elsewhere).contains("page 4, the sector at byte 36864: it belongs to another"));
    let mut bytes = written(&two);
    bytes.rotate_left(SLOT);
    assert!(words(decode(&bytes)).contains("another place"));
    // Generations that no write has.
    assert!(words(decode(&written(&[(u64::MAX, every(1))]))).contains("generation"));
    // Clusters behind the end.
    let bytes = written(&[(1, every(1))]);
    assert!(words(decode_page(PAGE, PAGE_CLUSTERS - 1, &bytes)).contains("behind the end"));
    let mut one = [0; WORDS];
    one[1] = 1;
    let bytes = written(&[(1, one)]);
    assert!(decode_page(PAGE, 65, &bytes).is_ok());
    assert!(words(decode_page(PAGE, 64, &bytes)).contains("behind the end"));
}

#[test]
fn the_next_generation_is_new_and_spares_the_durable_slot() {
    for durable in 0..20 {
        for used in durable..durable + 20 {
            let next = next_generation(durable, used);
            assert!(next > used && slot_of(next) != slot_of(durable), "{durable} {used}");
        }
    }
}

#[test]
fn any_bytes_may_come() {
    let mut rng = crate::proof::rng::Rng::new(5);
    let good = written(&[(1, every(800)), (2, every(400))]);
    for _ in 0..2000 {
        let mut bytes = good;
        for _ in 0..1 + rng.next() % 8 {
            let at = rng.next() as usize % bytes.len();
            bytes[at] = rng.next() as u8;
        }
        let _ = decode(&bytes);
        let mut header = header_place(GEOMETRY);
        for byte in &mut header[8..32] {
            *byte = rng.next() as u8;
        }
        let _ = decode_header(&header);
    }
}
