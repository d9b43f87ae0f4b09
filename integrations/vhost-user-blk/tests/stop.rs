//! Rings and daemons that stop: soon, whatever is asked of them, and no request is lost or done
//! twice for it.

mod frontend;

use std::fs::File;
use std::io::Read;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use frontend::daemon::{program, Daemon, Directory, Disk};
use frontend::guest::*;
use frontend::memory::{Memory, GUEST_BASE};
use frontend::random::{seed, Random};
use frontend::ring::{descriptor, INDIRECT, NEXT, WRITE};
use frontend::scene::MIB;

const SIZE: u16 = 1024;
/// Where the header, the status, and the table that all heads have are.
const PLACE: u64 = GUEST_BASE + 0x1_0000;
const TABLE: u64 = PLACE + 0x1000;
/// The second region.
const DATA: u64 = GUEST_BASE + 64 * MIB;

struct Huge {
    daemon: Daemon,
    guest: Guest,
    _directory: Directory,
}

/// A disk of 1 GiB, all of it a hole, and a ring full of reads of all of it.
fn a_ring_of_huge_reads(arguments: &[&str], inflight: bool) -> Huge {
    let directory = Directory::new();
    let path = directory.join("huge");
    File::create(&path).unwrap().set_len(1 << 30).unwrap();
    let arguments = [&["--read-only", "--lock", "off"], arguments].concat();
    let daemon = Daemon::start(&path, &arguments);
    let memory = Arc::new(Memory::new(2, 64 * MIB));
    let wishes = Wishes { size: SIZE, ..Wishes::default() };
    let mut guest = Guest::connect(&daemon.socket, memory, &wishes);
    if inflight {
        guest.new_inflight();
    }
    guest.memory.write(PLACE, &header(IN, 0));
    let table = |index: u64, raw: [u8; 16]| guest.memory.write(TABLE + 16 * index, &raw);
    table(0, descriptor(PLACE, 16, NEXT, 1));
    for index in 1..=16 {
        table(index, descriptor(DATA, 64 << 20, NEXT | WRITE, index as u16 + 1));
    }
    table(17, descriptor(PLACE + 16, 1, WRITE, 0));
    for head in 0..SIZE {
        guest.rings[0].set_descriptor(head, TABLE, 18 * 16, INDIRECT, 0);
        guest.rings[0].offer(head);
    }
    guest.rings[0].publish();
    Huge { daemon, guest, _directory: directory }
}

#[test]
fn a_ring_of_huge_reads_stops_soon_and_goes_on_where_it_was() {
    for (engine, inflight) in [("--engine=threads", false), ("--engine=io_uring", true)] {
        let Huge { daemon: _daemon, mut guest, _directory } =
            a_ring_of_huge_reads(&[engine], inflight);
        let (head, written) = guest.rings[0].wait_used(PATIENCE).expect("no answer");
        assert_eq!((head, written), (0, (1 << 30) + 1));
        let begin = Instant::now();
        let base = guest.stop_ring(0);
        assert!(begin.elapsed() < Duration::from_secs(3), "{:?}", begin.elapsed());
        let mut done = 1;
        while let Some((head, _)) = guest.rings[0].try_used() {
            assert_eq!(head, done);
            done += 1;
        }
        assert_eq!(base, done, "what was not done is there again");
        // From here on they are small.
        let small = descriptor(DATA, 512, NEXT | WRITE, 17);
        guest.memory.write(TABLE + 16, &small);
        guest.memory.write(PLACE + 16, &[0xaa]);
        guest.start_ring(0, base);
        let mut heads: Vec<u16> = (done..SIZE)
            .map(|_| guest.rings[0].wait_used(PATIENCE).expect("a request is lost").0)
            .collect();
        heads.sort_unstable();
        assert!(heads.into_iter().eq(done..SIZE), "each of them once");
        assert_eq!(guest.memory.read(PLACE + 16, 1), [OK]);
        assert_eq!(guest.rings[0].wait_used(Duration::from_millis(100)), None);
    }
}

#[test]
fn a_signal_ends_the_daemon_soon_also_with_a_ring_of_huge_reads() {
    let Huge { mut daemon, guest, _directory } = a_ring_of_huge_reads(&[], false);
    std::thread::sleep(Duration::from_millis(200));
    let begin = Instant::now();
    let status = daemon.terminate(PATIENCE).expect("it does not end");
    assert!(begin.elapsed() < Duration::from_secs(4), "{:?}", begin.elapsed());
    assert!(status.success());
    drop(guest);
}

#[test]
fn a_signal_ends_the_daemon_also_where_the_storage_does_not_answer() {
    let directory = Directory::new();
    let (library, hangs) = (directory.join("hang.so"), directory.join("hangs"));
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/frontend/hang.c");
    let mut compiler = Command::new("cc");
    compiler.args(["-shared", "-fPIC", "-o"]).arg(&library).args([source, "-ldl"]);
    assert!(compiler.status().unwrap().success());
    let disk = Disk::new(MIB);
    let socket = directory.join("socket");
    let mut command = program();
    command.arg("--socket").arg(&socket).arg("--file").arg(disk.path()).arg("--engine=threads");
    command.env("LD_PRELOAD", &library).env("HANG", &hangs).stderr(Stdio::piped());
    let mut daemon = Daemon::watch(command.spawn().unwrap(), &socket);
    let memory = Arc::new(Memory::new(2, 2 * MIB));
    let mut guest = Guest::connect(&socket, memory, &Wishes::default());
    assert!(guest.read(0, 0, 4096).is_ok());
    File::create(&hangs).unwrap();
    guest.prepare(
        0,
        0,
        guest.data_at(),
        &Request { kind: IN, sector: 1, bytes: 512, writes: true },
    );
    guest.rings[0].offer(0);
    guest.rings[0].publish();
    assert_eq!(guest.rings[0].wait_used(Duration::from_millis(200)), None);
    let begin = Instant::now();
    let status = daemon.terminate(PATIENCE).expect("it does not end");
    let took = begin.elapsed();
    assert!((4..9).contains(&took.as_secs()), "{took:?}");
    assert_eq!(status.code(), Some(1));
    let mut said = String::new();
    daemon.child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert!(said.contains("the storage has not answered for 5 seconds"), "{said}");
}

/// Requests of all sizes; the ring stops at any moment, with and without what is kept of those in
/// flight. Slots have areas of their own on the disk, side by side, so that their ends share
/// blocks.
#[test]
fn a_ring_that_stops_at_any_moment_has_each_request_done_once() {
    const SLOTS: u64 = 24;
    const AREA: u64 = 48 * 1024 + 512;
    let bytes = (SLOTS * AREA).next_multiple_of(4096);
    for inflight in [false, true] {
        let disk = Disk::new(bytes);
        let daemon = Daemon::start(disk.path(), &[]);
        let memory = Arc::new(Memory::new(2, 2 * MIB));
        let mut guest = Guest::connect(&daemon.socket, memory, &Wishes::default());
        if inflight {
            guest.new_inflight();
        }
        let mut random = Random::new(seed());
        let mut model = Disk::pattern(bytes);
        for round in 0..150u32 {
            for slot in 0..SLOTS {
                let most = if random.one_in(2) { 3 } else { AREA / 512 };
                let sectors = 1 + random.below(most);
                let kind = random.pick(&[IN, OUT, OUT, WRITE_ZEROES, FLUSH]);
                offer(
                    &mut guest,
                    &mut random,
                    slot,
                    (kind, slot * AREA / 512, sectors),
                    &mut model,
                );
            }
            guest.rings[0].publish();
            let mut seen = Vec::new();
            for _ in 0..random.below(3) {
                std::thread::sleep(Duration::from_micros(random.below(1500)));
                let base = guest.stop_ring(0);
                while let Some((head, _)) = guest.rings[0].try_used() {
                    seen.push(head);
                }
                assert_eq!(base, guest.rings[0].used_seen(), "round {round}");
                guest.start_ring(0, base);
            }
            while seen.len() < SLOTS as usize {
                let used = guest.rings[0].wait_used(PATIENCE);
                seen.push(used.unwrap_or_else(|| panic!("round {round}: a request is lost")).0);
            }
            seen.sort_unstable();
            assert!(seen.iter().copied().eq((0..SLOTS as u16).map(|slot| slot * 3)), "{seen:?}");
            for slot in 0..SLOTS {
                assert_eq!(guest.memory.read(at(&guest, slot) + 16, 1), [OK], "round {round}");
            }
        }
        assert!(disk.contents() == model, "a write is lost");
    }
}

fn at(guest: &Guest, slot: u64) -> u64 {
    guest.data_at() + slot * 0x1_0000
}

/// `what`: kind, first sector, how many.
fn offer(
    guest: &mut Guest,
    random: &mut Random,
    slot: u64,
    what: (u32, u64, u64),
    model: &mut [u8],
) {
    let (kind, sector, sectors) = what;
    let range = sector as usize * 512..(sector + sectors) as usize * 512;
    let bytes = match kind {
        FLUSH => 0,
        WRITE_ZEROES => 16,
        _ => sectors as u32 * 512,
    };
    let request = Request { kind, sector, bytes, writes: kind == IN };
    let data = guest.prepare(0, slot as u16 * 3, at(guest, slot), &request);
    if kind == OUT {
        let byte = random.next() as u8;
        guest.memory.write(data, &vec![byte; bytes as usize]);
        model[range].fill(byte);
    } else if kind == WRITE_ZEROES {
        let ranges = [sector.to_le_bytes(), (sectors | 1 << 32).to_le_bytes()].concat();
        guest.memory.write(data, &ranges);
        model[range].fill(0);
    }
    guest.rings[0].offer(slot as u16 * 3);
}
