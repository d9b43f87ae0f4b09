//! Two requests over two clusters, in every order of events: who enters when, which I/O ends next,
//! and at most one of them with an error. At the end of each path a fill brings up all that is
//! absent, and power may be lost at every step of it.

use super::draw::Draw;
use super::world::{Checked, World};
use crate::io::Op;
use crate::proof::path::Path;
use crate::proof::rng::Rng;

fn run(draw: &Draw, path: &mut Path, rng: &mut Rng) -> Checked {
    let mut world = World::new(draw, false);
    let mut failed = false;
    loop {
        let more = usize::from(world.next < draw.plans.len());
        // Each I/O ends well; or one of all ends badly.
        let ends = world.flights.len();
        let ways = more + ends * if failed { 1 } else { 2 };
        if ways == 0 {
            break;
        }
        let chosen = path.choose(ways);
        if chosen < more {
            world.submit(1)?;
        } else if chosen - more < ends {
            let bytes = world.flights[chosen - more].io.bytes;
            world.finish(chosen - more, Ok(bytes))?;
        } else {
            failed = true;
            world.finish(chosen - more - ends, Err(libc::EIO))?;
        }
        world.lose_power(rng)?;
    }
    world.conclude()
}

/// All paths of two such requests; how many.
fn explore(first: (Op, u64, u64, bool), second: (Op, u64, u64, bool), keeps: bool) -> u64 {
    let mut draw = Draw::plain(8, 2, 15, keeps);
    for (op, offset, bytes, fua) in [first, second] {
        draw.add_plan(op, offset, bytes, fua);
    }
    let mut path = Path::default();
    let (mut paths, rng) = (0, &mut Rng::new(1));
    loop {
        paths += 1;
        if let Err(words) = run(&draw, &mut path, rng) {
            panic!("{first:?}, then {second:?}, keeps {keeps}, {:?}: {words}", path.choices);
        }
        if !path.advance() {
            return paths;
        }
    }
}

#[test]
fn pairs_over_two_clusters_hold_their_promises() {
    // Clusters of 8 bytes, blocks of 4, 15 bytes in all.
    let ranges = [(0, 4), (2, 3), (0, 8), (6, 5), (8, 7), (3, 12), (9, 2)];
    let mut all = vec![(Op::Flush, 0, 0, false), (Op::Populate, 0, 0, false)];
    for (offset, bytes) in ranges {
        all.push((Op::Read, offset, bytes, false));
        all.push((Op::Write, offset, bytes, false));
    }
    all.push((Op::Write, 2, 3, true));
    all.push((Op::Write, 0, 15, true));
    all.push((Op::WriteZeroes, 3, 9, false));
    all.push((Op::WriteZeroes, 0, 8, true));
    all.push((Op::Discard, 0, 8, false));
    let (mut sets, mut paths) = (0, 0);
    for &first in &all {
        for &second in &all {
            for keeps in [false, true] {
                sets += 1;
                paths += explore(first, second, keeps);
            }
        }
    }
    eprintln!("overlays: {sets} pairs, {paths} paths");
    assert!(paths > 10 * sets);
}
