//! What a guest and its frontend can make the daemon pay has a bound.

mod frontend;

use std::sync::Arc;

use frontend::daemon::{Daemon, Disk};
use frontend::guest::*;
use frontend::memory::{Memory, GUEST_BASE};
use frontend::ring::{descriptor, INDIRECT, NEXT, WRITE};
use vhost::vhost_user::VhostUserFrontend;

const MIB: u64 = 1 << 20;
const PAGE: u64 = 4096;
/// Regions of a page each, one behind the other for the guest.
const PAGES: u64 = 490;
const CUT: u64 = GUEST_BASE + (1 << 40);
const SIZE: u16 = 1024;
const PLACE: u64 = GUEST_BASE + 0x1_0000;
const TABLE: u64 = PLACE + 0x1000;
/// In KiB, above what it is before.
const MEMORY_MOST: u64 = 48 << 10;

/// So many reads at once, each of which has `descriptors` pieces of all those pages. Their status.
fn flood(guest: &mut Guest, heads: u16, descriptors: u64) -> u8 {
    guest.memory.write(PLACE, &header(IN, 0));
    guest.memory.write(PLACE + 16, &[0xaa]);
    let table = |index: u64, raw: [u8; 16]| guest.memory.write(TABLE + 16 * index, &raw);
    table(0, descriptor(PLACE, 16, NEXT, 1));
    for index in 1..=descriptors {
        let bytes = (PAGES * PAGE) as u32;
        table(index, descriptor(CUT, bytes, NEXT | WRITE, index as u16 + 1));
    }
    table(descriptors + 1, descriptor(PLACE + 16, 1, WRITE, 0));
    for head in 0..heads {
        let bytes = 16 * (descriptors as u32 + 2);
        guest.rings[0].set_descriptor(head, TABLE, bytes, INDIRECT, 0);
        guest.rings[0].offer(head);
    }
    guest.rings[0].publish();
    for _ in 0..heads {
        guest.rings[0].wait_used(PATIENCE).expect("no answer");
    }
    guest.memory.read(PLACE + 16, 1)[0]
}

#[test]
fn memory_that_is_cut_into_pages_costs_little() {
    let disk = Disk::new(8 * MIB);
    for engine in ["--engine=threads", "--engine=io_uring"] {
        let mut daemon = Daemon::start(disk.path(), &[engine]);
        let memory = Arc::new(Memory::new(2, 2 * MIB));
        let wishes = Wishes { size: SIZE, ..Wishes::default() };
        let mut guest = Guest::connect(&daemon.socket, memory, &wishes);
        let pages = Memory::new(1, PAGES * PAGE);
        for page in 0..PAGES {
            let region = pages.region(CUT + page * PAGE, page * PAGE, PAGE);
            guest.frontend.add_mem_region(&region).unwrap();
        }
        let before = daemon.memory_most();
        assert_eq!(flood(&mut guest, 128, 4), OK, "{engine}");
        assert_eq!(flood(&mut guest, SIZE, 1000), IOERR, "{engine}: what nobody needs is refused");
        let more = daemon.memory_most() - before;
        assert!(more < MEMORY_MOST, "{engine}: {more} KiB");
        assert!(guest.read(0, 0, 4096).is_ok());
        assert!(daemon.is_running());
    }
}
