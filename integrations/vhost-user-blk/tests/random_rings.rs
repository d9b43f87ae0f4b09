//! A guest whose rings are random, or change while they are read.

mod frontend;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;

use frontend::daemon::{Daemon, Disk};
use frontend::guest::*;
use frontend::hostile::{self, Place};
use frontend::memory::{Memory, GUEST_BASE};
use frontend::random::{seed, Random};
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

fn scramble(guest: &Guest, random: &mut Random) {
    let place = Place { table: guest.rings[0].descriptors_at(), end: GUEST_BASE + 4 * MIB };
    let far = [2048, 4096, 1 << 53, 1 << 54, 1 << 55, u64::MAX - 1, u64::MAX];
    hostile::scramble(&|at, bytes| guest.memory.write(at, bytes), place, &far, random);
}
