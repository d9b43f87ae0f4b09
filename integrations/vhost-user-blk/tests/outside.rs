//! What others do to the disk: it grows, shrinks, is made read-only, and has a length that is no
//! whole number of its blocks.

mod frontend;

use std::io::Read;
use std::os::unix::net::UnixStream;
use std::process::Stdio;
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use frontend::daemon::{program, Daemon, Directory, Disk};
use frontend::guest::*;
use frontend::memory::Memory;
use vhost::vhost_user::VhostUserFrontend;

const MIB: u64 = 1 << 20;
const READ_ONLY: u64 = 1 << 5;

fn connect(daemon: &Daemon) -> Guest {
    let memory = Arc::new(Memory::new(2, 2 * MIB));
    Guest::connect(&daemon.socket, memory, &Wishes::default())
}

fn sectors(guest: &mut Guest) -> u64 {
    u64::from_le_bytes(guest.config(60)[..8].try_into().unwrap())
}

#[test]
fn a_disk_that_grew_or_shrank_has_another_length_after_a_signal() {
    let disk = Disk::new(MIB);
    let mut daemon = Daemon::start(disk.path(), &["--queues", "2"]);
    let mut guest = connect(&daemon);
    let (ours, theirs) = UnixStream::pair().unwrap();
    guest.frontend.set_backend_request_fd(&theirs).unwrap();
    ours.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut refresh = |guest: &mut Guest, bytes: u64| {
        disk.set_length(bytes);
        daemon.signal(libc::SIGHUP);
        // CONFIG_CHANGE_MSG, version 1, nothing behind.
        let mut message = [0; 12];
        (&ours).read_exact(&mut message).expect("the guest is not told");
        assert_eq!(message, [2, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0]);
        assert!(daemon.is_running());
        assert_eq!(sectors(guest), bytes / 512);
    };
    assert_eq!(guest.write(0, 2048, &[1; 512]), Some(IOERR), "past the end");
    // Messages are taken in order: by this answer the daemon has the socket for notices.
    assert_eq!(sectors(&mut guest), MIB / 512);
    refresh(&mut guest, 3 * MIB);
    assert_eq!(guest.write(0, 6143, &[1; 512]), Some(OK));
    assert_eq!(guest.read(0, 6143, 512).unwrap(), [1; 512]);
    assert_eq!(guest.write(0, 6144, &[1; 512]), Some(IOERR));
    refresh(&mut guest, 2 * MIB);
    assert_eq!(guest.write(0, 4096, &[1; 512]), Some(IOERR));
    assert_eq!(guest.write(0, 4095, &[2; 512]), Some(OK));
    // The next one finds it so.
    drop(guest);
    let mut guest = connect(&daemon);
    assert_eq!(sectors(&mut guest), 4096);
    assert_eq!(guest.read(0, 4095, 512).unwrap(), [2; 512]);
    let contents = disk.contents();
    assert!(contents.len() as u64 == 2 * MIB && contents[..MIB as usize] == Disk::pattern(MIB));
}

#[test]
fn a_frontend_that_takes_no_messages_is_no_reason_to_fail() {
    let disk = Disk::new(MIB);
    let mut daemon = Daemon::start(disk.path(), &[]);
    let mut guest = connect(&daemon);
    let (ours, theirs) = UnixStream::pair().unwrap();
    guest.frontend.set_backend_request_fd(&theirs).unwrap();
    drop((ours, theirs));
    for bytes in [2 * MIB, 4 * MIB] {
        disk.set_length(bytes);
        daemon.signal(libc::SIGHUP);
        let until = Instant::now() + PATIENCE;
        while sectors(&mut guest) != bytes / 512 {
            assert!(Instant::now() < until, "the length is not looked at");
        }
    }
    assert_eq!(guest.write(0, 8191, &[1; 512]), Some(OK));
    assert!(daemon.is_running());
}

#[test]
fn a_read_only_disk_is_refused_or_served_so_where_that_is_wanted() {
    let disk = Disk::new(MIB);
    if !disk.is_device() {
        return;
    }
    disk.set_read_only(true);
    let directory = Directory::new();
    let mut command = program();
    command.arg("--socket").arg(directory.join("socket")).arg("--file").arg(disk.path());
    let mut refused = command.stderr(Stdio::piped()).spawn().unwrap();
    let until = Instant::now() + PATIENCE;
    while refused.try_wait().unwrap().is_none() && Instant::now() < until {
        sleep(Duration::from_millis(10));
    }
    let _ = refused.kill();
    let output = refused.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1), "it is served as if it could be written to");
    let said = String::from_utf8(output.stderr).unwrap().to_lowercase();
    assert!(said.contains("read-only"), "{said}");
    for (arguments, read_only) in [(&["--read-only"][..], true), (&["--read-only", "auto"], true)] {
        let daemon = Daemon::start(disk.path(), arguments);
        let mut guest = connect(&daemon);
        assert_eq!(guest.offered & READ_ONLY != 0, read_only, "{arguments:?}");
        assert_eq!(guest.write(0, 0, &[1; 512]), Some(IOERR));
        assert!(guest.read(0, 0, 512).is_ok());
    }
    disk.set_read_only(false);
    let daemon = Daemon::start(disk.path(), &["--read-only=auto"]);
    let mut guest = connect(&daemon);
    assert_eq!(guest.offered & READ_ONLY, 0, "it can be written to");
    // What happens later is the guest's errors, and over with its cause.
    assert_eq!(guest.write(0, 9, &[5; 512]), Some(OK));
    disk.set_read_only(true);
    assert_eq!(guest.write(0, 9, &[6; 512]), Some(IOERR));
    assert_eq!(guest.read(0, 9, 512).unwrap(), [5; 512]);
    disk.set_read_only(false);
    assert_eq!(guest.write(0, 9, &[7; 512]), Some(OK));
    assert_eq!(guest.read(0, 9, 512).unwrap(), [7; 512]);
}

/// A disk of 585937 sectors, 768 bytes behind its last whole block: these cannot be read.
#[test]
fn what_is_offered_can_be_read_where_the_disk_ends_within_a_block() {
    let Some(disk) = Disk::sparse(300_000_000) else { return };
    for arguments in [&[][..], &["--sector-size=4096"]] {
        let daemon = Daemon::start(disk.path(), arguments);
        let mut guest = connect(&daemon);
        let sectors = sectors(&mut guest);
        assert_eq!(sectors, 300_000_000 / 4096 * 8);
        // A partition table's copy is in the last one.
        assert_eq!(guest.write(0, sectors - 8, &[3; 4096]), Some(OK));
        assert_eq!(guest.read(0, sectors - 8, 4096).unwrap(), [3; 4096]);
        assert!(guest.read(0, sectors - 40, 20480).is_ok());
        assert_eq!(guest.read(0, sectors, 512), Err(Some(IOERR)));
    }
}
