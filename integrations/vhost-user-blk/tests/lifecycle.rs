//! Frontends that come and go, rings that stop under load, daemons that are killed.

mod frontend;

use std::fs;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use frontend::daemon::{Daemon, Directory, Disk};
use frontend::guest::*;
use frontend::memory::{Memory, GUEST_BASE};
use frontend::random::{seed, Random};
use vhost::vhost_user::message::{VhostUserConfigFlags, VhostUserProtocolFeatures};
use vhost::vhost_user::{Frontend, VhostUserFrontend};
use vhost::VhostBackend;

const MIB: u64 = 1 << 20;
const SLOTS: u64 = 32;

fn memory() -> Arc<Memory> {
    Arc::new(Memory::new(2, 2 * MIB))
}

/// Where the parts of the request of a slot are.
fn place(guest: &Guest, slot: u64) -> u64 {
    guest.data_at() + slot * 0x2000
}

/// Offers a write of one sector in a slot's descriptors.
fn offer_write(guest: &mut Guest, slot: u64, sector: u64, byte: u8) {
    let request = Request { kind: OUT, sector, bytes: 512, writes: false };
    let at = place(guest, slot);
    let data = guest.prepare(0, slot as u16 * 3, at, &request);
    guest.memory.write(data, &[byte; 512]);
    guest.rings[0].offer(slot as u16 * 3);
}

fn assert_status_ok(guest: &Guest, head: u16) {
    let at = place(guest, u64::from(head / 3)) + 16;
    assert_eq!(guest.memory.read(at, 1), [OK]);
}

#[test]
fn an_idle_queue_costs_no_processor_time() {
    let disk = Disk::new(MIB);
    for arguments in [&[][..], &["--engine=threads"], &["--spin-us=1000"]] {
        let daemon = Daemon::start(disk.path(), arguments);
        let mut guest = Guest::connect(&daemon.socket, memory(), &Wishes::default());
        // Alone, with two edges to read: one by the queue's thread, one by the ring or the pool.
        for sector in [1, 65, 129] {
            assert_eq!(guest.write(0, sector, &[7; 16384]), Some(OK));
        }
        let before = daemon.ticks();
        std::thread::sleep(Duration::from_millis(400));
        assert!(daemon.ticks() - before < 10, "{arguments:?}");
    }
}

#[test]
fn a_ring_that_stops_under_load_first_ends_what_it_took() {
    let disk = Disk::new(MIB);
    let daemon = Daemon::start(disk.path(), &[]);
    let mut guest = Guest::connect(&daemon.socket, memory(), &Wishes::default());
    let mut model = Disk::pattern(MIB);
    let mut base = 0;
    for round in 1..40u8 {
        for slot in 0..SLOTS {
            offer_write(&mut guest, slot, slot * 3, round);
        }
        guest.rings[0].publish();
        let before = guest.rings[0].used_seen();
        base = guest.stop_ring(0);
        // What was taken is done; the rest waits for the ring to start again.
        let mut done = 0;
        while let Some((head, _)) = guest.rings[0].try_used() {
            assert_status_ok(&guest, head);
            done += 1;
        }
        assert_eq!(base, before.wrapping_add(done), "round {round}");
        guest.start_ring(0, base);
        for _ in done..SLOTS as u16 {
            let (head, _) = guest.rings[0].wait_used(PATIENCE).expect("no answer");
            assert_status_ok(&guest, head);
        }
        (0..SLOTS).for_each(|slot| model[slot as usize * 3 * 512..][..512].fill(round));
        base = guest.rings[0].used_seen();
    }
    assert_eq!(base, 39 * SLOTS as u16);
    assert!(disk.contents() == model);
}

#[test]
fn a_guest_may_be_reset_and_a_device_too() {
    let disk = Disk::new(MIB);
    let daemon = Daemon::start(disk.path(), &[]);
    let mut guest = Guest::connect(&daemon.socket, memory(), &Wishes::default());
    for round in 0..5 {
        assert_eq!(guest.write(0, 9, &[round; 512]), Some(OK));
        if round % 2 == 0 {
            guest.stop_ring(0);
        } else {
            guest.frontend.reset_device().unwrap();
        }
        // Firmware, boot loader, kernel: each begins anew.
        guest.frontend.set_features(guest.features).unwrap();
        let event_idx = guest.features & EVENT_IDX != 0;
        guest.rings[0] = frontend::ring::Ring::new(guest.memory.clone(), 0, 128, event_idx);
        guest.start_ring(0, 0);
        assert_eq!(guest.read(0, 9, 512).unwrap(), [round; 512]);
    }
}

#[test]
fn frontends_come_and_go_and_leave_nothing_behind() {
    let disk = Disk::new(MIB);
    let arguments = ["--queues", "2", "--pin-memory", "on"];
    let mut daemon = Daemon::start(disk.path(), &arguments);
    let mut before = None;
    for round in 0..12u8 {
        let wishes = Wishes { queues: 2, ..Wishes::default() };
        // Who is answered knows that the one before is gone altogether.
        let idle = Guest::negotiate(&daemon.socket, memory(), &wishes);
        if round > 2 {
            let now = (daemon.descriptors(), daemon.mappings());
            let (descriptors, mappings) = *before.get_or_insert(now);
            assert_eq!(now.0, descriptors);
            // Stacks of threads may stay in a cache.
            assert!(now.1 <= mappings + 6, "{} mappings, {mappings} before", now.1);
        }
        drop(idle);
        let mut guest = Guest::connect(&daemon.socket, memory(), &wishes);
        guest.new_inflight();
        assert_eq!(guest.write(1, 5, &[round; 512]), Some(OK));
        assert_eq!(guest.read(0, 5, 512).unwrap(), [round; 512]);
        // With requests in flight it goes even so.
        for slot in 0..SLOTS {
            offer_write(&mut guest, slot, 5 + slot, round);
        }
        guest.rings[0].publish();
    }
    assert!(daemon.is_running());
}

#[test]
fn memory_may_change_while_requests_are_in_flight() {
    let disk = Disk::new(MIB);
    let daemon = Daemon::start(disk.path(), &["--pin-memory", "on"]);
    let mut guest = Guest::connect(&daemon.socket, memory(), &Wishes::default());
    let slots = guest.frontend.get_max_mem_slots().unwrap();
    assert!(slots >= 32);
    let table = guest.memory.table();
    for round in 0..20u8 {
        for slot in 0..SLOTS {
            offer_write(&mut guest, slot, slot, round);
        }
        guest.rings[0].publish();
        if round % 2 == 0 {
            guest.frontend.set_mem_table(&table).unwrap();
        } else {
            // The first one has the rings.
            let region = &table[usize::from(round / 2 % 2)];
            guest.frontend.remove_mem_region(region).unwrap();
            guest.frontend.add_mem_region(region).unwrap();
        }
        for _ in 0..SLOTS {
            let (head, _) = guest.rings[0].wait_used(PATIENCE).expect("no answer");
            assert_status_ok(&guest, head);
        }
        assert_eq!(guest.read(0, 31, 512).unwrap(), [round; 512]);
    }
    // What is gone is no memory any more.
    guest.frontend.remove_mem_region(&table[1]).unwrap();
    let at = GUEST_BASE + 2 * MIB;
    guest.rings[0].set_descriptor(0, guest.data_at(), 16, 1, 1);
    guest.rings[0].set_descriptor(1, at, 512, 3, 2);
    guest.rings[0].set_descriptor(2, guest.data_at() + 16, 1, 2, 0);
    guest.memory.write(guest.data_at(), &header(IN, 0));
    guest.rings[0].offer(0);
    guest.rings[0].publish();
    assert_eq!(guest.rings[0].wait_used(PATIENCE), Some((0, 1)));
    assert_eq!(guest.memory.read(guest.data_at() + 16, 1), [IOERR]);
}

#[test]
fn a_daemon_that_is_killed_is_replaced_and_no_request_is_lost() {
    let disk = Disk::new(MIB);
    let directory = Directory::new();
    let socket = directory.join("socket");
    let mut random = Random::new(seed());
    let mut model = Disk::pattern(MIB);
    let mut daemon = Daemon::start_at(disk.path(), &socket, &[]);
    let mut guest = Guest::connect(&socket, memory(), &Wishes::default());
    let inflight = guest.new_inflight();
    let mut free: Vec<u64> = (0..SLOTS).collect();
    for round in 1..15u8 {
        let until = Instant::now() + Duration::from_millis(20 + random.below(60));
        while Instant::now() < until {
            while let Some(slot) = free.pop() {
                // Each slot has sectors of its own, several slots to a block.
                let (sector, byte) = (slot + SLOTS * random.below(8), random.next() as u8);
                model[sector as usize * 512..][..512].fill(byte);
                offer_write(&mut guest, slot, sector, byte);
            }
            guest.rings[0].publish();
            free.extend(guest.rings[0].wait_used(PATIENCE).map(|(head, _)| u64::from(head / 3)));
        }
        daemon.kill();
        daemon = Daemon::start_at(disk.path(), &socket, &[]);
        let rings = std::mem::take(&mut guest.rings);
        let memory = guest.memory.clone();
        drop(guest);
        guest = Guest::negotiate(&socket, memory, &Wishes::default());
        guest.rings = rings;
        guest.give_inflight(&inflight);
        // All that QEMU knows of a daemon that is gone is the used index.
        let used = guest.memory.read(guest.rings[0].used_at() + 2, 2);
        guest.start_ring(0, u16::from_le_bytes([used[0], used[1]]));
        while free.len() < SLOTS as usize {
            let used = guest.rings[0].wait_used(PATIENCE);
            let (head, _) = used.unwrap_or_else(|| panic!("round {round}: a request is lost"));
            assert_status_ok(&guest, head);
            free.push(u64::from(head / 3));
        }
        assert!(disk.contents() == model, "round {round}: a write is lost");
    }
}

#[test]
fn the_write_cache_is_as_the_driver_wants_it_also_after_a_restart() {
    let disk = Disk::new(MIB);
    let directory = Directory::new();
    let socket = directory.join("socket");
    let mut daemon = Daemon::start_at(disk.path(), &socket, &[]);
    let mut guest = Guest::connect(&socket, memory(), &Wishes::default());
    let inflight = guest.new_inflight();
    let set = |guest: &mut Guest, offset, value: u8| {
        guest.frontend.set_config(offset, VhostUserConfigFlags::WRITABLE, &[value])
    };
    assert_eq!(guest.config(60)[32], 1);
    set(&mut guest, 32, 0).unwrap();
    assert_eq!(guest.config(60)[32], 0);
    assert_eq!(guest.write(0, 1, &[1; 512]), Some(OK));
    daemon.kill();
    let _daemon = Daemon::start_at(disk.path(), &socket, &[]);
    let memory = guest.memory.clone();
    drop(guest);
    let mut guest = Guest::connect(&socket, memory, &Wishes::default());
    guest.give_inflight(&inflight);
    assert_eq!(guest.config(60)[32], 0, "the driver still believes that there is no cache");
    set(&mut guest, 32, 1).unwrap();
    assert_eq!(guest.config(60)[32], 1);
    // Nothing else can be written: the frontend that tries is let go.
    assert!(set(&mut guest, 0, 1).is_err() || guest.frontend.get_features().is_err());
    // A driver that cannot flush needs no flush.
    let without = Wishes { without: 1 << 9 | 1 << 11, ..Wishes::default() };
    let mut guest = Guest::connect(&socket, guest.memory.clone(), &without);
    assert_eq!(guest.config(60)[32], 0);
    // That was the firmware; the next driver can.
    guest.frontend.set_features(guest.offered).unwrap();
    assert_eq!(guest.config(60)[32], 1);
}

#[test]
fn a_signal_ends_the_daemon_and_the_socket_goes() {
    let disk = Disk::new(MIB);
    for connected in [false, true] {
        let mut daemon = Daemon::start(disk.path(), &[]);
        let guest = connected.then(|| Guest::connect(&daemon.socket, memory(), &Wishes::default()));
        // SAFETY: no memory is involved; the child has not been waited for, so the id is its own.
        let sent = unsafe { libc::kill(daemon.child.id() as i32, libc::SIGTERM) };
        assert_eq!(sent, 0);
        assert!(daemon.child.wait().unwrap().success());
        assert!(!daemon.socket.exists());
        drop(guest);
    }
}

#[test]
fn without_standard_descriptors_no_words_go_into_the_image() {
    let disk = Disk::new(MIB);
    let before = disk.contents();
    let directory = Directory::new();
    let socket = directory.join("socket");
    let mut child = Command::new("sh")
        .args(["-c", r#"exec "$@" <&- >&- 2>&-"#, "sh"])
        .arg(env!("CARGO_BIN_EXE_blkalign-vhost-user-blk"))
        .args(["--verbose", "--socket"])
        .args([socket.as_path(), Path::new("--file"), disk.path()])
        .spawn()
        .unwrap();
    let until = Instant::now() + Duration::from_secs(20);
    while UnixStream::connect(&socket).is_err() {
        assert!(Instant::now() < until, "the daemon does not listen");
        std::thread::sleep(Duration::from_millis(5));
    }
    for number in 0..3 {
        let leads_to = fs::read_link(format!("/proc/{}/fd/{number}", child.id())).unwrap();
        assert_eq!(leads_to, Path::new("/dev/null"));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(disk.contents() == before);
}

#[test]
fn the_socket_may_be_a_descriptor() {
    let disk = Disk::new(MIB);
    let serve = |fd: std::os::fd::OwnedFd| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_blkalign-vhost-user-blk"));
        command.args(["--fd", "0", "--file"]).arg(disk.path()).stdin(fd).spawn().unwrap()
    };
    let (ours, theirs) = UnixStream::pair().unwrap();
    let mut child = serve(theirs.into());
    let mut frontend = Frontend::from_stream(ours, 1);
    frontend.set_owner().unwrap();
    frontend.set_features(frontend.get_features().unwrap()).unwrap();
    assert!(frontend.get_protocol_features().unwrap().contains(VhostUserProtocolFeatures::CONFIG));
    drop(frontend);
    assert!(child.wait().unwrap().success(), "there will be no other frontend");
    let directory = Directory::new();
    let socket = directory.join("socket");
    let listener = UnixListener::bind(&socket).unwrap();
    let mut child = serve(listener.into());
    for round in 0..2 {
        let mut guest = Guest::connect(&socket, memory(), &Wishes::default());
        assert_eq!(guest.write(0, 0, &[round; 512]), Some(OK));
    }
    assert!(socket.exists());
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn faults_of_the_command_line_are_told_in_words() {
    let disk = Disk::new(MIB);
    let path = disk.path().to_str().unwrap();
    let says = |arguments: &[&str], words: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_blkalign-vhost-user-blk"));
        let output = command.args(arguments).output().unwrap();
        assert!(!output.status.success(), "{arguments:?}");
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains(words), "{arguments:?}: {said}");
        assert_eq!(said.lines().count(), 1, "{said}");
    };
    let socket = "/nonexistent/socket";
    says(&[], "--socket or --fd is missing");
    says(&["--socket", socket], "--file is missing");
    says(&["--socket", socket, "--file", "/nonexistent"], "No such file or directory");
    says(&["--socket", socket, "--file", path], "/nonexistent/socket: No such file");
    says(&["--sector-size", "1000"], "--sector-size needs 512 or 4096");
    says(&["--queues=65"], "--queues needs a number from 1 to 64");
    says(&["--queue-size", "100"], "power of two");
    says(&["--serial", "more than twenty bytes long"], "at most 20 bytes");
    says(&["--lock"], "--lock needs a value");
    says(&["--colour"], "there is no such option");
    says(&["--socket", "/a", "--fd", "3"], "more than one");
    says(&["--fd", "0", "--file", path], "descriptor 0:");
    // A second daemon that would write as well.
    let first = Daemon::start(disk.path(), &[]);
    let directory = Directory::new();
    let other = directory.join("other");
    says(&["--socket", other.to_str().unwrap(), "--file", path], "another process uses the file");
    // A socket on which somebody listens is not taken over.
    let taken = first.socket.to_str().unwrap();
    says(&["--socket", taken, "--file", path, "--lock", "off"], "in use");
    assert!(Path::new(taken).exists());
    assert!(fs::metadata(path).is_ok());
}
