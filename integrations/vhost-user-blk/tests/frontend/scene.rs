//! A daemon, its disk, and a guest that lies to it.

use std::sync::Arc;
use std::time::Duration;

use super::daemon::{Daemon, Disk};
use super::guest::{Guest, Wishes};
use super::memory::{Memory, GUEST_BASE};
use super::ring::Ring;

pub const MIB: u64 = 1 << 20;
/// How long nothing must come.
pub const MOMENT: Duration = Duration::from_millis(200);

/// Where the parts of a request are.
pub const HEADER: u64 = GUEST_BASE + 0x2_0000;
pub const DATA: u64 = GUEST_BASE + 0x2_1000;
pub const STATUS: u64 = GUEST_BASE + 0x2_8000;
pub const TABLE: u64 = GUEST_BASE + 0x2_9000;
pub const NOWHERE: u64 = 0x10_0000_0000;

pub struct Scene {
    pub disk: Disk,
    pub daemon: Daemon,
    pub guest: Guest,
}

pub fn scene(queue_size: u16) -> Scene {
    let disk = Disk::new(MIB);
    let daemon = Daemon::start(disk.path(), &[]);
    let memory = Arc::new(Memory::new(2, 2 * MIB));
    let wishes = Wishes { size: queue_size, ..Wishes::default() };
    let guest = Guest::connect(&daemon.socket, memory, &wishes);
    Scene { disk, daemon, guest }
}

impl Scene {
    /// The guest can still use the disk, and nothing on it has changed.
    pub fn assert_unharmed(&mut self, what: &str) {
        let model = Disk::pattern(MIB);
        assert_eq!(self.guest.read(0, 2040, 4096).unwrap(), model[2040 * 512..], "{what}");
        assert!(self.disk.contents() == model, "{what}: the disk has changed");
        assert!(self.daemon.is_running(), "{what}");
    }

    /// Starts the ring anew after the device has given it up.
    pub fn restart(&mut self) {
        self.guest.stop_ring(0);
        let size = self.guest.rings[0].size;
        let memory = self.guest.memory.clone();
        self.guest.rings[0] = Ring::new(memory, 0, size, true);
        self.guest.start_ring(0, 0);
    }
}
