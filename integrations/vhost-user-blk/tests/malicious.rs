//! A guest that lies: the daemon lives, answers, writes nowhere that it was not told to, and the
//! disk keeps its bytes.

mod frontend;

use frontend::guest::*;
use frontend::memory::GUEST_BASE;
use frontend::ring::{descriptor, INDIRECT, NEXT, WRITE};
use frontend::scene::*;

type Piece = (u64, u32, u16);

struct Case {
    name: &'static str,
    kind: u32,
    sector: u64,
    pieces: Vec<Piece>,
    /// The status; None: nothing was written at all.
    expected: Option<u8>,
}

fn case(
    name: &'static str,
    kind: u32,
    sector: u64,
    pieces: &[Piece],
    expected: Option<u8>,
) -> Case {
    Case { name, kind, sector, pieces: pieces.to_vec(), expected }
}

/// Each would write to the disk, or read from it, if its fault were not seen.
fn cases() -> Vec<Case> {
    let (h, s) = ((HEADER, 16, 0), (STATUS, 1, WRITE));
    let (r, w) = ((DATA, 512, 0), (DATA, 512, WRITE));
    let error = Some(IOERR);
    let end = frontend::memory::GUEST_BASE + 4 * MIB;
    vec![
        case("no status", OUT, 0, &[h, r], None),
        case("nothing but a header", IN, 0, &[h], None),
        case("nothing but a status", OUT, 0, &[s], error),
        case("a short header", OUT, 0, &[(HEADER, 15, 0), s], error),
        case("an empty header", OUT, 0, &[(HEADER, 0, 0), r, s], Some(UNSUPP)),
        case("a writable header", OUT, 0, &[(HEADER, 16, WRITE), s], error),
        case("an empty status", OUT, 0, &[h, r, (STATUS, 0, WRITE)], None),
        case("data outside of memory", OUT, 0, &[h, (NOWHERE, 512, 0), s], error),
        case("data past the end of memory", OUT, 0, &[h, (end - 511, 512, 0), s], error),
        case("a read past the end of memory", IN, 0, &[h, (end - 511, 512, WRITE), s], error),
        case("data before memory", OUT, 0, &[h, (GUEST_BASE - 1, 512, 0), s], error),
        case("data around the end of addresses", OUT, 0, &[h, (u64::MAX - 511, 1024, 0), s], error),
        case("a header outside of memory", OUT, 0, &[(NOWHERE, 16, 0), r, s], error),
        case("a status outside of memory", OUT, 0, &[h, r, (NOWHERE, 1, WRITE)], None),
        case("a status past the end", IN, 0, &[h, w, (end, 1, WRITE)], None),
        case("huge data", OUT, 0, &[h, (DATA, u32::MAX, 0), s], error),
        case("readable after writable", OUT, 0, &[h, s, r], None),
        case("readable between writable", OUT, 0, &[h, w, r, s], error),
        case("no whole sectors to write", OUT, 0, &[h, (DATA, 511, 0), s], error),
        case("no whole sectors to read", IN, 0, &[h, (DATA, 513, WRITE), s], error),
        case("past the end of the disk", OUT, 2048, &[h, r, s], error),
        case("partly past the end of the disk", OUT, 2047, &[h, (DATA, 1024, 0), s], error),
        case("a read past the end of the disk", IN, 2048, &[h, w, s], error),
        case("the last sector there can be", OUT, u64::MAX, &[h, r, s], error),
        case("a sector whose offset wraps", OUT, 1 << 55, &[h, r, s], error),
        case("a sector whose offset is negative", OUT, 1 << 54, &[h, r, s], error),
        case("an unknown request", 77, 0, &[h, r, s], Some(UNSUPP)),
        case("a request of old", 2, 0, &[h, r, s], Some(UNSUPP)),
        case("secure erase", 14, 0, &[h, r, s], Some(UNSUPP)),
        case("an empty write", OUT, 0, &[h, s], Some(OK)),
        case("an empty discard", DISCARD, 0, &[h, s], error),
        case("a discard of an odd size", DISCARD, 0, &[h, (DATA, 15, 0), s], error),
        case("zeros of an odd size", WRITE_ZEROES, 0, &[h, (DATA, 17, 0), s], error),
        case("too many ranges", WRITE_ZEROES, 0, &[h, (DATA, 65 * 16, 0), s], error),
    ]
}

fn put_pieces(guest: &Guest, pieces: &[Piece], indirect: bool) {
    let table = if indirect { TABLE } else { guest.rings[0].descriptors_at() };
    for (index, (address, bytes, flags)) in pieces.iter().enumerate() {
        let more = if index + 1 < pieces.len() { NEXT } else { 0 };
        let raw = descriptor(*address, *bytes, flags | more, index as u16 + 1);
        guest.memory.write(table + 16 * index as u64, &raw);
    }
    if indirect {
        guest.rings[0].set_descriptor(0, TABLE, 16 * pieces.len() as u32, INDIRECT, 0);
    }
}

/// What the device may have written: the used ring, and what the pieces allow.
fn assert_untouched(guest: &Guest, before: &[u8], allowed: &[Piece], what: &str) {
    let mut before = before.to_vec();
    let after = guest.memory.snapshot();
    let used = (guest.rings[0].used_at(), 0x3000, WRITE);
    for (address, bytes, flags) in allowed.iter().chain([&used]) {
        if flags & WRITE == 0 || *address < GUEST_BASE {
            continue;
        }
        let from = (address - GUEST_BASE) as usize;
        let until = from.saturating_add(*bytes as usize).min(after.len());
        if from < until {
            before[from..until].copy_from_slice(&after[from..until]);
        }
    }
    assert!(before == after, "{what}: memory was written to that the chain did not give");
}

#[test]
fn faulty_chains_get_an_error_and_do_nothing() {
    let mut scene = scene(128);
    for indirect in [false, true] {
        for case in cases() {
            let Scene { guest, .. } = &mut scene;
            guest.memory.write(HEADER, &header(case.kind, case.sector));
            guest.memory.write(DATA, &[0xdd; 0x1000]);
            guest.memory.write(STATUS, &[0xaa]);
            put_pieces(guest, &case.pieces, indirect);
            guest.rings[0].offer(0);
            let before = guest.memory.snapshot();
            guest.rings[0].publish();
            let used = guest.rings[0].wait_used(PATIENCE);
            let (_, written) = used.unwrap_or_else(|| panic!("{}: no answer", case.name));
            let status = (written > 0).then(|| guest.memory.read(STATUS, 1)[0]);
            assert_eq!(status, case.expected, "{}", case.name);
            let allowed: &[Piece] = if status.is_some() { &case.pieces } else { &[] };
            let mut before = before;
            // The available index was published after the snapshot.
            let index = (guest.rings[0].available_at() - GUEST_BASE) as usize;
            before[index..index + 0x1000]
                .copy_from_slice(&guest.memory.read(guest.rings[0].available_at(), 0x1000));
            assert_untouched(guest, &before, allowed, case.name);
            scene.assert_unharmed(case.name);
        }
    }
}

#[test]
fn faulty_ranges_are_refused_before_the_first_of_them_is_touched() {
    let mut scene = scene(128);
    let good = (0, 8, 0);
    for kind in [DISCARD, WRITE_ZEROES] {
        for bad in [(2041, 8, 0), (u64::MAX, 8, 0), (1 << 55, 8, 0), (0, u32::MAX, 0)] {
            assert_eq!(scene.guest.clear(0, kind, &[good, bad]), Some(IOERR), "{bad:?}");
            scene.assert_unharmed("a faulty range");
        }
        assert_eq!(scene.guest.clear(0, kind, &[good, (0, 8, 2)]), Some(UNSUPP));
        scene.assert_unharmed("an unknown flag");
        assert_eq!(scene.guest.clear(0, kind, &[(5, 0, 0)]), Some(OK));
        scene.assert_unharmed("an empty range");
    }
    assert_eq!(scene.guest.clear(0, DISCARD, &[good, (0, 8, 1)]), Some(UNSUPP));
    scene.assert_unharmed("a discard with the flag of zeros");
}

/// Chains of which nobody knows the end: they come back, with nothing written.
#[test]
fn chains_without_an_end_come_back_empty() {
    let mut scene = scene(8);
    let ring = |scene: &Scene, pieces: &[(u64, u32, u16, u16)], at: u64| {
        for (index, (address, bytes, flags, next)) in pieces.iter().enumerate() {
            let raw = descriptor(*address, *bytes, *flags, *next);
            scene.guest.memory.write(at + 16 * index as u64, &raw);
        }
    };
    let direct = scene.guest.rings[0].descriptors_at();
    let h = (HEADER, 16, NEXT, 1);
    let w = |next| (DATA, 512, NEXT | WRITE, next);
    let table = |bytes, flags| (TABLE, bytes, INDIRECT | flags, 1);
    let tables: Vec<(&str, Vec<_>, Vec<_>)> = vec![
        ("a loop", vec![h, w(2), w(1)], vec![]),
        ("a loop of one", vec![(HEADER, 16, NEXT, 0)], vec![]),
        ("a next beyond the table", vec![h, w(8)], vec![]),
        ("a next far beyond the table", vec![h, w(u16::MAX)], vec![]),
        ("a table of an odd size", vec![table(47, 0)], vec![h, w(2), (STATUS, 1, WRITE, 0)]),
        ("an empty table", vec![table(0, 0)], vec![]),
        ("a table outside of memory", vec![(NOWHERE, 48, INDIRECT, 0)], vec![]),
        ("a table around the end", vec![(u64::MAX - 15, 64, INDIRECT, 0)], vec![h]),
        ("a table that goes on", vec![table(48, NEXT), (STATUS, 1, WRITE, 0)], vec![h, w(2)]),
        ("a table in a table", vec![table(32, 0)], vec![h, table(32, 0)]),
        ("a loop in a table", vec![table(48, 0)], vec![h, w(2), w(1)]),
        ("a next beyond the indirect table", vec![table(32, 0)], vec![h, w(2)]),
    ];
    for (name, first, second) in tables {
        scene.guest.memory.write(HEADER, &header(IN, 0));
        scene.guest.memory.write(STATUS, &[0xaa]);
        ring(&scene, &first, direct);
        ring(&scene, &second, TABLE);
        scene.guest.rings[0].offer(0);
        scene.guest.rings[0].publish();
        let used = scene.guest.rings[0].wait_used(PATIENCE);
        assert_eq!(used, Some((0, 0)), "{name}");
        scene.assert_unharmed(name);
    }
}

#[test]
fn chains_that_are_too_long_are_refused() {
    let mut scene = scene(128);
    scene.guest.memory.write(HEADER, &header(IN, 0));
    let place = GUEST_BASE + MIB;
    // Too many descriptors; more than 4 GiB, all of it in memory.
    let faults = [(65535, (HEADER, 16, NEXT)), (1025, (GUEST_BASE, 4 << 20, NEXT | WRITE))];
    for (count, (address, bytes, flags)) in faults {
        for index in 0..count {
            let first = descriptor(HEADER, 16, NEXT, 1);
            let raw = descriptor(address, bytes, flags, index as u16 + 1);
            scene.guest.memory.write(place + 16 * index, if index == 0 { &first } else { &raw });
        }
        scene.guest.rings[0].set_descriptor(0, place, count as u32 * 16, INDIRECT, 0);
        scene.guest.rings[0].offer(0);
        scene.guest.rings[0].publish();
        assert_eq!(scene.guest.rings[0].wait_used(PATIENCE), Some((0, 0)));
        scene.assert_unharmed("a long chain");
    }
}

#[test]
fn a_ring_that_breaks_the_rules_is_given_up_until_it_starts_anew() {
    let mut scene = scene(128);
    type Fault = fn(&mut Guest);
    let faults: [(&str, Fault); 3] = [
        ("an index that jumps", |guest| guest.rings[0].publish_index(129)),
        ("an index that goes back", |guest| guest.rings[0].publish_index(u16::MAX)),
        ("a head beyond the table", |guest| {
            guest.rings[0].offer(128);
            guest.rings[0].publish();
        }),
    ];
    for (name, fault) in faults {
        fault(&mut scene.guest);
        assert_eq!(scene.guest.rings[0].wait_used(MOMENT), None, "{name}");
        assert!(scene.guest.rings[0].err.read().is_ok(), "{name}: the frontend was not told");
        scene.restart();
        scene.assert_unharmed(name);
    }
}

#[test]
fn a_chain_that_is_made_available_twice_is_done_once() {
    let mut scene = scene(128);
    let request = Request { kind: IN, sector: 0, bytes: 512, writes: true };
    scene.guest.prepare(0, 0, HEADER, &request);
    scene.guest.rings[0].offer(0);
    scene.guest.rings[0].offer(0);
    scene.guest.rings[0].publish();
    assert_eq!(scene.guest.rings[0].wait_used(PATIENCE), Some((0, 513)));
    assert_eq!(scene.guest.rings[0].wait_used(MOMENT), None);
    assert!(scene.guest.rings[0].err.read().is_ok());
    scene.restart();
    scene.assert_unharmed("a chain twice");
}
