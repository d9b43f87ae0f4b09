//! Guest memory that goes away while it is used: the frontend loses its connection, the daemon
//! lives, and so does every byte of the disk that nobody was writing to.

mod frontend;

use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use frontend::daemon::{Daemon, Directory, Disk};
use frontend::guest::*;
use frontend::memory::{memfd, Memory, GUEST_BASE};
use frontend::ring::{NEXT, WRITE};
use frontend::scene::MIB;
use vhost::vhost_user::message::VhostUserInflight;
use vhost::vhost_user::VhostUserFrontend;
use vhost::VhostBackend;

/// Far from all other memory.
const ELSEWHERE: u64 = GUEST_BASE + (1 << 40);
const ENGINES: [&str; 2] = ["--engine=threads", "--engine=io_uring"];

fn memory() -> Arc<Memory> {
    Arc::new(Memory::new(2, 2 * MIB))
}

/// Returns when the daemon has let the frontend go.
fn assert_let_go(guest: &mut Guest, daemon: &mut Daemon) {
    let until = Instant::now() + PATIENCE;
    while guest.frontend.get_features().is_ok() {
        assert!(Instant::now() < until, "the frontend is still served");
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(daemon.is_running());
}

/// Another frontend is served, and of the disk at most these sectors have changed.
fn assert_all_is_well(daemon: &mut Daemon, disk: &Disk, changed: std::ops::Range<usize>) {
    let mut next = Guest::connect(&daemon.socket, memory(), &Wishes::default());
    let model = Disk::pattern(MIB);
    assert_eq!(next.read(0, 2040, 4096).unwrap(), model[2040 * 512..]);
    let (from, until) = (changed.start * 512, changed.end * 512);
    let contents = disk.contents();
    assert!(contents[..from] == model[..from] && contents[until..] == model[until..]);
    assert!(daemon.is_running());
}

#[test]
fn a_ring_that_goes_away_costs_the_frontend_its_connection_and_nothing_else() {
    let disk = Disk::new(MIB);
    for engine in ENGINES {
        let mut daemon = Daemon::start(disk.path(), &[engine]);
        let mut guest = Guest::connect(&daemon.socket, memory(), &Wishes::default());
        assert!(guest.read(0, 0, 512).is_ok());
        guest.memory.set_file_length(0);
        guest.rings[0].kick.write(1).unwrap();
        assert_let_go(&mut guest, &mut daemon);
        assert_all_is_well(&mut daemon, &disk, 0..0);
    }
}

/// A request whose data are in memory that has gone. Its size decides who copies: the library,
/// on whatever thread, what is no whole block; the kernel the rest.
fn use_what_is_gone(guest: &mut Guest, kind: u32, sector: u64, bytes: u32) -> Option<u8> {
    let at = guest.data_at();
    guest.memory.write(at, &header(kind, sector));
    guest.memory.write(at + 16, &[0xaa]);
    let direction = if kind == IN { WRITE } else { 0 };
    guest.rings[0].set_descriptor(0, at, 16, NEXT, 1);
    guest.rings[0].set_descriptor(1, ELSEWHERE + 4096 - 8, bytes, NEXT | direction, 2);
    guest.rings[0].set_descriptor(2, at + 16, 1, WRITE, 0);
    guest.rings[0].offer(0);
    guest.rings[0].publish();
    let used = guest.rings[0].wait_used(Duration::from_millis(500));
    used.map(|_| guest.memory.read(at + 16, 1)[0])
}

#[test]
fn data_that_go_away_are_never_told_to_be_moved() {
    let disk = Disk::new(MIB);
    let cases = [(IN, 512), (IN, 4096), (IN, 65536), (OUT, 512), (OUT, 4096), (OUT, 65536)];
    for engine in ENGINES {
        for (kind, bytes) in cases {
            let mut daemon = Daemon::start(disk.path(), &[engine]);
            let mut guest = Guest::connect(&daemon.socket, memory(), &Wishes::default());
            let extra = Memory::new(1, MIB);
            guest.frontend.add_mem_region(&extra.region(ELSEWHERE, 0, MIB)).unwrap();
            assert!(guest.read(0, 0, 512).is_ok());
            extra.set_file_length(0);
            match use_what_is_gone(&mut guest, kind, 1001, bytes) {
                None => assert_let_go(&mut guest, &mut daemon),
                status => assert_eq!(status, Some(IOERR), "{engine} {kind} {bytes}"),
            }
            drop(guest);
            let sectors = if kind == OUT { 1001..1001 + bytes as usize / 512 } else { 0..0 };
            assert_all_is_well(&mut daemon, &disk, sectors.clone());
            // As it was, for the next case.
            drop(daemon);
            let daemon = Daemon::start(disk.path(), &[]);
            let mut guest = Guest::connect(&daemon.socket, memory(), &Wishes::default());
            let model = Disk::pattern(MIB);
            let data = &model[sectors.start * 512..sectors.end * 512];
            assert!(data.is_empty() || guest.write(0, 1001, data) == Some(OK));
        }
    }
}

/// A small file system in memory, for as long as the test.
struct FullOne {
    path: PathBuf,
    _directory: Directory,
}

impl FullOne {
    fn new(bytes: u64) -> Option<FullOne> {
        let directory = Directory::new();
        let path = directory.join("full");
        std::fs::create_dir(&path).unwrap();
        let options = format!("size={bytes}");
        let mut command = Command::new("mount");
        command.args(["-t", "tmpfs", "-o", &options, "none"]).arg(&path);
        let mounted = command.output().is_ok_and(|output| output.status.success());
        mounted.then_some(FullOne { path, _directory: directory })
    }

    fn file(&self, name: &str) -> File {
        let mut options = File::options();
        options.read(true).write(true).create(true).truncate(true);
        options.open(self.path.join(name)).unwrap()
    }
}

impl Drop for FullOne {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.path).status();
    }
}

#[test]
fn a_status_for_which_a_full_file_system_has_no_page_is_survived() {
    let Some(full) = FullOne::new(MIB) else {
        eprintln!("skipped: nothing can be mounted");
        return;
    };
    let disk = Disk::new(MIB);
    let mut daemon = Daemon::start(disk.path(), &[]);
    let memory = Arc::new(Memory::in_file(full.file("guest"), 2, 2 * MIB));
    let mut guest = Guest::connect(&daemon.socket, memory, &Wishes::default());
    assert!(guest.read(0, 0, 512).is_ok());
    let at = guest.data_at();
    guest.memory.write(at, &header(IN, 0));
    let rest = full.file("rest");
    let filled = std::os::unix::fs::FileExt::write_all_at(&rest, &vec![1; 2 * MIB as usize], 0);
    assert!(filled.is_err(), "the file system is not full");
    guest.rings[0].set_descriptor(0, at, 16, NEXT, 1);
    guest.rings[0].set_descriptor(1, at + 32, 512, NEXT | WRITE, 2);
    guest.rings[0].set_descriptor(2, GUEST_BASE + 3 * MIB, 1, WRITE, 0);
    guest.rings[0].offer(0);
    guest.rings[0].publish();
    assert_eq!(guest.rings[0].wait_used(Duration::from_millis(300)), None);
    assert_let_go(&mut guest, &mut daemon);
    assert_all_is_well(&mut daemon, &disk, 0..0);
}

#[test]
fn what_is_kept_of_requests_in_flight_can_be_made_shorter_only_where_it_is_not_ours() {
    let disk = Disk::new(MIB);
    let mut daemon = Daemon::start(disk.path(), &[]);
    let mut guest = Guest::connect(&daemon.socket, memory(), &Wishes::default());
    let ours = guest.new_inflight();
    assert!(ours.file.set_len(0).is_err(), "our own memory can be made shorter");
    assert_eq!(guest.write(0, 9, &Disk::pattern(MIB)[9 * 512..10 * 512]), Some(OK));
    // That of another daemon, perhaps.
    let file = memfd();
    let about = ours.about;
    file.set_len(about.mmap_size).unwrap();
    guest.frontend.set_inflight_fd(&about, file.as_raw_fd()).unwrap();
    assert!(guest.read(0, 9, 512).is_ok());
    file.set_len(0).unwrap();
    let request = Request { kind: IN, sector: 9, bytes: 512, writes: true };
    guest.prepare(0, 0, guest.data_at(), &request);
    guest.rings[0].offer(0);
    guest.rings[0].publish();
    assert_eq!(guest.rings[0].wait_used(Duration::from_millis(300)), None);
    assert_let_go(&mut guest, &mut daemon);
    assert_all_is_well(&mut daemon, &disk, 0..0);
    // What is too short from the start is refused.
    let mut guest = Guest::connect(&daemon.socket, memory(), &Wishes::default());
    let about = VhostUserInflight::new(about.mmap_size, 0, 1, 128);
    let refused = guest.frontend.set_inflight_fd(&about, file.as_raw_fd()).is_err();
    assert!(refused || guest.frontend.get_features().is_err());
    drop(guest);
    assert_all_is_well(&mut daemon, &disk, 0..0);
}

#[test]
fn what_is_no_shared_memory_is_refused() {
    let disk = Disk::new(MIB);
    let mut daemon = Daemon::start(disk.path(), &[]);
    let zero = File::options().read(true).write(true).open("/dev/zero").unwrap();
    for offset in [0, 1 << 30] {
        let mut guest = Guest::connect(&daemon.socket, memory(), &Wishes::default());
        let mut region = guest.memory.region(ELSEWHERE, 0, MIB);
        (region.mmap_handle, region.mmap_offset) = (zero.as_raw_fd(), offset);
        let refused = guest.frontend.add_mem_region(&region).is_err();
        assert!(refused || guest.frontend.get_features().is_err());
    }
    assert_all_is_well(&mut daemon, &disk, 0..0);
}
