//! A guest whose rings are random, or change while they are read.

mod frontend;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;

use frontend::daemon::{Daemon, Disk};
use frontend::guest::*;
use frontend::memory::{Memory, GUEST_BASE};
use frontend::random::{seed, Random};
use frontend::ring::{descriptor, INDIRECT, NEXT, WRITE};
use frontend::scene::*;

/// All fields of everything that the guest writes are random, near the borders of what is right.
#[test]
fn random_rings_never_break_the_daemon_nor_the_disk() {
    let mut scene = scene(16);
    let mut random = Random::new(seed());
    let rounds = std::env::var("BLKALIGN_VHOST_ROUNDS").ok().and_then(|text| text.parse().ok());
    let model = Disk::pattern(MIB);
    for round in 0..rounds.unwrap_or(3000) {
        let Scene { guest, .. } = &mut scene;
        scramble(guest, &mut random);
        let heads = 1 + random.below(4);
        for _ in 0..heads {
            let beyond = random.one_in(200);
            guest.rings[0].offer(random.below(if beyond { 20 } else { 16 }) as u16);
        }
        guest.rings[0].publish();
        let mut all = true;
        for _ in 0..heads {
            all = all && guest.rings[0].wait_used(MOMENT).is_some();
        }
        if !all {
            // Twice the same head, or one that does not exist.
            assert!(scene.daemon.is_running(), "round {round}");
            scene.restart();
        }
        if round % 100 == 0 {
            assert!(scene.disk.contents() == model, "round {round}: the disk has changed");
        }
    }
    scene.restart();
    scene.assert_unharmed("random rings");
}

/// Another processor of the guest changes everything while the daemon looks at it.
#[test]
fn rings_that_change_while_they_are_read_never_break_the_daemon() {
    let disk = Disk::new(MIB);
    let daemon = Daemon::start(disk.path(), &["--read-only"]);
    let memory = Arc::new(Memory::new(2, 2 * MIB));
    let wishes = Wishes { size: 16, ..Wishes::default() };
    let guest = Guest::connect(&daemon.socket, memory.clone(), &wishes);
    let mut scene = Scene { disk, daemon, guest };
    let over = AtomicBool::new(false);
    let mut random = Random::new(seed());
    let other_seed = random.next();
    let table = scene.guest.rings[0].descriptors_at();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut random = Random::new(other_seed);
            while !over.load(Ordering::Relaxed) {
                // One field of a descriptor, in either table, gets the value of another one.
                let place = |random: &mut Random| {
                    random.pick(&[table, TABLE]) + random.below(8) * 16 + random.below(8) * 2
                };
                let (from, to) = (place(&mut random), place(&mut random));
                memory.write(to, &memory.read(from, 2));
            }
        });
        for _ in 0..150 {
            scramble(&scene.guest, &mut random);
            (0..8).for_each(|head| scene.guest.rings[0].offer(head));
            scene.guest.rings[0].publish();
            let all = (0..8).all(|_| scene.guest.rings[0].wait_used(MOMENT).is_some());
            if !all {
                assert!(scene.daemon.is_running());
                scene.restart();
            }
        }
        over.store(true, Ordering::Relaxed);
    });
    scene.restart();
    scene.assert_unharmed("rings that change");
}

/// Descriptors, an indirect table and headers. Nothing asks for a write that would be right: its
/// header has a sector beyond the disk.
fn scramble(guest: &Guest, random: &mut Random) {
    let kinds = [IN, IN, OUT, FLUSH, GET_ID, DISCARD, WRITE_ZEROES, 3, u32::MAX];
    for slot in 0..8u64 {
        let kind = random.pick(&kinds);
        let harmless = matches!(kind, IN | FLUSH | GET_ID);
        let far = random.pick(&[2048, 4096, 1 << 53, 1 << 54, 1 << 55, u64::MAX - 1, u64::MAX]);
        // No header may pass for a range on the disk, nor pieces of two for another header.
        let sector = if harmless { 64 + random.below(2100) } else { far };
        guest.memory.write(HEADER + 16 * slot, &header(kind, sector));
        guest.memory.write(HEADER + 16 * slot + 4, &[0xff; 4]);
    }
    // What is written never is a range on the disk either.
    guest.memory.write(DATA, &[0xff; 0x2000]);
    let end = GUEST_BASE + 4 * MIB;
    let mut one = |indirect_allowed: bool| {
        let address = match random.below(12) {
            0..=4 => HEADER + 16 * random.below(8),
            5..=7 => DATA + random.below(0x400),
            8 => STATUS + random.below(4),
            9 => end - random.below(600),
            10 => random.next(),
            _ => TABLE + 16 * random.below(8),
        };
        let bytes =
            random.pick(&[0, 1, 1, 15, 16, 16, 16, 17, 512, 512, 513, 4096, 1 << 31, u32::MAX]);
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
        let next = random.below(bound);
        descriptor(address, bytes, flags, next as u16)
    };
    for index in 0..16 {
        let raw = one(true);
        guest.memory.write(guest.rings[0].descriptors_at() + 16 * index, &raw);
    }
    for index in 0..8 {
        let raw = one(index == 7);
        guest.memory.write(TABLE + 16 * index, &raw);
    }
}
