//! Ordinary use of the disk, beside a model of its bytes.

mod frontend;

use std::sync::Arc;

use frontend::daemon::{Daemon, Disk};
use frontend::guest::*;
use frontend::memory::Memory;
use frontend::random::{seed, Random};
use frontend::ring::{descriptor, INDIRECT, NEXT, WRITE};

const MIB: u64 = 1 << 20;

fn memory() -> Arc<Memory> {
    Arc::new(Memory::new(2, 2 * MIB))
}

fn at(model: &[u8], sector: u64, bytes: usize) -> &[u8] {
    &model[sector as usize * 512..][..bytes]
}

#[test]
fn any_sectors_read_and_write_as_in_a_model() {
    let disk = Disk::new(MIB);
    let daemon = Daemon::start(disk.path(), &["--queues", "2"]);
    let wishes = Wishes { queues: 2, ..Wishes::default() };
    let mut guest = Guest::connect(&daemon.socket, memory(), &wishes);
    let mut model = Disk::pattern(MIB);
    let mut random = Random::new(seed());
    for _ in 0..1000 {
        let sectors = 1 + random.below(40);
        let sector = random.below(2048 - sectors);
        let (queue, bytes) = (random.below(2) as usize, sectors as usize * 512);
        let range = sector as usize * 512..sector as usize * 512 + bytes;
        match random.below(60) {
            0..=25 => assert_eq!(guest.read(queue, sector, bytes as u32).unwrap(), model[range]),
            26..=51 => {
                let data = random.bytes(bytes);
                assert_eq!(guest.write(queue, sector, &data), Some(OK));
                model[range].copy_from_slice(&data);
            }
            52..=57 => {
                let unmap = random.below(2) as u32;
                let ranges = [(sector, sectors as u32, unmap)];
                assert_eq!(guest.clear(queue, WRITE_ZEROES, &ranges), Some(OK));
                model[range].fill(0);
            }
            _ => assert_eq!(guest.flush(queue), Some(OK)),
        }
    }
    assert!(disk.contents() == model, "other bytes of the disk have changed");
}

#[test]
fn a_full_queue_of_writes_to_one_block_loses_none() {
    let disk = Disk::new(MIB);
    let daemon = Daemon::start(disk.path(), &[]);
    let mut guest = Guest::connect(&daemon.socket, memory(), &Wishes::default());
    let mut model = Disk::pattern(MIB);
    for round in 0..50u8 {
        for slot in 0..32u64 {
            let place = guest.data_at() + slot * 1024;
            let request = Request { kind: OUT, sector: slot, bytes: 512, writes: false };
            let data = guest.prepare(0, slot as u16 * 3, place, &request);
            guest.memory.write(data, &[round ^ slot as u8; 512]);
            model[slot as usize * 512..][..512].fill(round ^ slot as u8);
            guest.rings[0].offer(slot as u16 * 3);
        }
        guest.rings[0].publish();
        for _ in 0..32 {
            let (head, written) = guest.rings[0].wait_used(PATIENCE).expect("no answer");
            assert_eq!(written, 1);
            let status = guest.data_at() + u64::from(head / 3) * 1024 + 16;
            assert_eq!(guest.memory.read(status, 1), [OK]);
        }
    }
    assert_eq!(guest.read(0, 0, 64 * 512).unwrap(), at(&model, 0, 64 * 512));
    assert!(disk.contents() == model);
}

#[test]
fn header_data_and_status_may_be_cut_anywhere() {
    let disk = Disk::new(MIB);
    let daemon = Daemon::start(disk.path(), &[]);
    let memory = memory();
    let mut guest = Guest::connect(&daemon.socket, memory.clone(), &Wishes::default());
    let mut random = Random::new(seed());
    let mut model = Disk::pattern(MIB);
    // Across the border of two regions, which lie elsewhere in the daemon's memory.
    let border = frontend::memory::GUEST_BASE + 2 * MIB - 700;
    let (mut out, mut into) = (vec![0; 16 + 1536], vec![0; 1536 + 1]);
    for round in 0..300 {
        let sector = random.below(2000);
        let reads = round % 2 == 0;
        let place = if random.one_in(2) { border } else { guest.data_at() + random.below(5000) };
        out[..16].copy_from_slice(&header(if reads { IN } else { OUT }, sector));
        out[16..].copy_from_slice(&random.bytes(1536));
        into.fill(0xaa);
        let (readable, writable) = if reads { (16, 1536 + 1) } else { (16 + 1536, 1) };
        memory.write(place, &out[..readable]);
        memory.write(place + readable as u64, &into[..writable]);
        let mut pieces = cuts(&mut random, place, readable, 0);
        pieces.extend(cuts(&mut random, place + readable as u64, writable, WRITE));
        put(&guest, &pieces, random.one_in(2));
        guest.rings[0].offer(0);
        guest.rings[0].publish();
        let (_, written) = guest.rings[0].wait_used(PATIENCE).expect("no answer");
        assert_eq!(written, writable as u32);
        let answer = memory.read(place + readable as u64, writable);
        assert_eq!(answer[writable - 1], OK);
        if reads {
            assert_eq!(answer[..1536], *at(&model, sector, 1536));
        } else {
            model[sector as usize * 512..][..1536].copy_from_slice(&out[16..]);
        }
    }
    assert!(disk.contents() == model);
}

/// `bytes` bytes in up to twelve pieces, some of which may be empty.
fn cuts(random: &mut Random, start: u64, bytes: usize, flags: u16) -> Vec<(u64, u32, u16)> {
    let mut ends: Vec<u64> =
        (0..random.below(12)).map(|_| random.below(bytes as u64 + 1)).collect();
    ends.push(bytes as u64);
    ends.sort_unstable();
    let mut from = 0;
    let piece = |end| {
        let piece = (start + from, (end - from) as u32, flags);
        from = end;
        piece
    };
    ends.into_iter().map(piece).collect()
}

/// As a chain that begins with descriptor 0, or in an indirect table.
fn put(guest: &Guest, pieces: &[(u64, u32, u16)], indirect: bool) {
    let last = pieces.len() - 1;
    let table = guest.data_at() + 0x1_0001;
    for (index, (address, bytes, flags)) in pieces.iter().enumerate() {
        let flags = flags | if index < last { NEXT } else { 0 };
        let raw = descriptor(*address, *bytes, flags, index as u16 + 1);
        let to = if indirect { table } else { guest.rings[0].descriptors_at() };
        guest.memory.write(to + 16 * index as u64, &raw);
    }
    if indirect {
        guest.rings[0].set_descriptor(0, table, 16 * pieces.len() as u32, INDIRECT, 0);
    }
}

#[test]
fn the_disk_works_without_event_index_and_without_indirect_tables() {
    let disk = Disk::new(MIB);
    let daemon = Daemon::start(disk.path(), &[]);
    let wishes = Wishes { without: EVENT_IDX | INDIRECT_DESC, ..Wishes::default() };
    let mut guest = Guest::connect(&daemon.socket, memory(), &wishes);
    for sector in 0..200 {
        assert_eq!(guest.write(0, sector, &[sector as u8; 512]), Some(OK));
        assert_eq!(guest.read(0, sector, 512).unwrap(), [sector as u8; 512]);
    }
}

#[test]
fn discards_keep_what_is_beside_them() {
    let disk = Disk::new(MIB);
    let daemon = Daemon::start(disk.path(), &[]);
    let mut guest = Guest::connect(&daemon.socket, memory(), &Wishes::default());
    assert_ne!(guest.offered & 1 << 13, 0);
    let model = Disk::pattern(MIB);
    // Sectors 3 to 28 and 101 to 150: the blocks within are 8 to 23 and 104 to 143.
    assert_eq!(guest.clear(0, DISCARD, &[(3, 26, 0), (101, 50, 0)]), Some(OK));
    for (sector, sectors) in [(0, 8), (24, 80), (144, 1000)] {
        let bytes = sectors * 512;
        assert_eq!(guest.read(0, sector, bytes as u32).unwrap(), at(&model, sector, bytes));
    }
    // Off: not offered, and not done.
    drop(guest);
    drop(daemon);
    let daemon = Daemon::start(disk.path(), &["--discard", "off"]);
    let mut guest = Guest::connect(&daemon.socket, memory(), &Wishes::default());
    assert_eq!(guest.offered & 1 << 13, 0);
    assert_eq!(guest.clear(0, DISCARD, &[(200, 8, 0)]), Some(UNSUPP));
}

#[test]
fn the_driver_is_told_what_the_disk_is() {
    let disk = Disk::new(MIB);
    let arguments = ["--serial", "no. 7", "--queues", "4", "--queue-size=64"];
    let daemon = Daemon::start(disk.path(), &arguments);
    let mut guest =
        Guest::connect(&daemon.socket, memory(), &Wishes { size: 64, ..Wishes::default() });
    let request = Request { kind: GET_ID, sector: 0, bytes: 20, writes: true };
    assert_eq!(guest.run(0, &request, &[]), Some(OK));
    assert_eq!(
        guest.memory.read(guest.data_at() + 32, 20),
        *b"no. 7\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"
    );
    let config = guest.config(60);
    assert_eq!(config[..8], 2048u64.to_le_bytes());
    assert_eq!(config[12..16], 62u32.to_le_bytes(), "pieces of data");
    assert_eq!(config[20..24], 512u32.to_le_bytes(), "block size");
    assert_eq!(config[32], 1, "write cache");
    assert_eq!(config[34..36], 4u16.to_le_bytes(), "queues");
    assert_eq!(config[56], 1, "zeros may unmap");
}

#[test]
fn blocks_of_4096_are_told_and_sectors_still_count_by_512() {
    let disk = Disk::new(MIB);
    let daemon = Daemon::start(disk.path(), &["--sector-size=4096"]);
    let mut guest = Guest::connect(&daemon.socket, memory(), &Wishes::default());
    let config = guest.config(60);
    assert_eq!(config[..8], 2048u64.to_le_bytes());
    assert_eq!(config[20..24], 4096u32.to_le_bytes());
    let model = Disk::pattern(MIB);
    assert_eq!(guest.read(0, 8, 4096).unwrap(), at(&model, 8, 4096));
}

#[test]
fn a_read_only_disk_says_so_and_changes_nothing() {
    let disk = Disk::new(MIB);
    let daemon = Daemon::start(disk.path(), &["--read-only"]);
    let mut guest = Guest::connect(&daemon.socket, memory(), &Wishes::default());
    assert_eq!(guest.offered & (1 << 5 | 1 << 13 | 1 << 14), 1 << 5);
    assert_eq!(guest.write(0, 0, &[1; 512]), Some(IOERR));
    assert_eq!(guest.clear(0, WRITE_ZEROES, &[(0, 8, 0)]), Some(UNSUPP));
    assert_eq!(guest.clear(0, DISCARD, &[(0, 8, 0)]), Some(UNSUPP));
    assert_eq!(guest.flush(0), Some(OK));
    let model = Disk::pattern(MIB);
    assert_eq!(guest.read(0, 2047, 512).unwrap(), at(&model, 2047, 512));
    assert!(disk.contents() == model);
}
