//! Limits of the guest's requests: from the command line, and from a file that changes.

mod frontend;

use std::fs;
use std::process::Stdio;
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use frontend::daemon::{program, Daemon, Directory, Disk};
use frontend::guest::*;
use frontend::memory::Memory;
use frontend::scene::MIB;

fn connect(daemon: &Daemon) -> Guest {
    Guest::connect(&daemon.socket, Arc::new(Memory::new(2, 2 * MIB)), &Wishes::default())
}

/// Makes a write of one sector available, filled with `byte`; its chain begins at `head`.
fn begin_write(guest: &mut Guest, head: u16, sector: u64, byte: u8) {
    let at = guest.data_at() + u64::from(head) * 4096;
    let request = Request { kind: OUT, sector, bytes: 512, writes: false };
    let data = guest.prepare(0, head, at, &request);
    guest.memory.write(data, &[byte; 512]);
    guest.rings[0].offer(head);
    guest.rings[0].publish();
}

fn is_done_within(guest: &mut Guest, time: Duration) -> bool {
    guest.rings[0].wait_used(time).is_some()
}

const MOMENT: Duration = Duration::from_millis(60);

#[test]
fn a_guest_keeps_to_the_limits_of_the_command_line() {
    let disk = Disk::new(MIB);
    let arguments = ["--throttle-read-requests", "100:1", "--throttle-write-bytes=1G"];
    let daemon = Daemon::start(disk.path(), &arguments);
    let mut guest = connect(&daemon);
    let begin = Instant::now();
    for sector in 0..11 {
        let expected = &Disk::pattern(MIB)[sector * 512..][..512];
        assert_eq!(guest.read(0, sector as u64, 512).unwrap(), expected);
    }
    let took = begin.elapsed();
    assert!(took >= Duration::from_millis(99), "{took:?}");
    let begin = Instant::now();
    (0..50).for_each(|sector| assert_eq!(guest.write(0, sector, &[7; 512]), Some(OK)));
    assert!(begin.elapsed() < Duration::from_millis(450), "writes wait: {:?}", begin.elapsed());
}

#[test]
fn limits_of_a_file_change_while_a_guest_waits() {
    let (disk, directory) = (Disk::new(MIB), Directory::new());
    let limits = directory.join("limits");
    // A write of 512 bytes goes, the next one 511 seconds later.
    fs::write(&limits, "write-bytes 1:1 # slow\n").unwrap();
    let file = format!("--throttle-file={}", limits.display());
    let mut daemon = Daemon::start(disk.path(), &[&file]);
    let mut guest = connect(&daemon);
    begin_write(&mut guest, 0, 0, 1);
    assert!(is_done_within(&mut guest, PATIENCE));
    begin_write(&mut guest, 3, 1, 2);
    assert!(!is_done_within(&mut guest, MOMENT));
    // What is no limit changes nothing.
    fs::write(&limits, "write-bytes fast\n").unwrap();
    daemon.signal(libc::SIGHUP);
    assert!(!is_done_within(&mut guest, MOMENT) && daemon.is_running());
    fs::write(&limits, "write-bytes 1G\n").unwrap();
    daemon.signal(libc::SIGHUP);
    assert!(is_done_within(&mut guest, PATIENCE), "the new limit is not in force");
    // No limit at all, and then one again.
    fs::write(&limits, "").unwrap();
    daemon.signal(libc::SIGHUP);
    for sector in 2..20 {
        begin_write(&mut guest, 0, sector, 3);
        assert!(is_done_within(&mut guest, PATIENCE));
    }
    fs::write(&limits, "write-requests 1:1\n").unwrap();
    daemon.signal(libc::SIGHUP);
    let until = Instant::now() + PATIENCE;
    loop {
        begin_write(&mut guest, 0, 20, 4);
        if !is_done_within(&mut guest, MOMENT) {
            break;
        }
        assert!(Instant::now() < until, "there is no limit again");
    }
    assert!(is_done_within(&mut guest, PATIENCE));
    let mut expected = [1; 20 * 512];
    expected[512..1024].fill(2);
    expected[1024..].fill(3);
    assert_eq!(disk.contents()[..20 * 512], expected);
}

#[test]
fn what_a_throttle_holds_keeps_no_ring_from_stopping() {
    let disk = Disk::new(MIB);
    let mut daemon = Daemon::start(disk.path(), &["--throttle-write-bytes", "1:1"]);
    let mut guest = connect(&daemon);
    begin_write(&mut guest, 0, 0, 1);
    assert!(is_done_within(&mut guest, PATIENCE));
    begin_write(&mut guest, 3, 1, 2);
    assert!(!is_done_within(&mut guest, MOMENT));
    // A flush passes, and so the write before it cannot go back into the ring.
    guest.prepare(0, 6, guest.data_at() + 8 * 4096, &FLUSHES);
    guest.rings[0].offer(6);
    guest.rings[0].publish();
    assert!(is_done_within(&mut guest, PATIENCE));
    let begin = Instant::now();
    assert_eq!(guest.stop_ring(0), 3);
    assert!(begin.elapsed() < PATIENCE, "{:?}", begin.elapsed());
    assert!(is_done_within(&mut guest, MOMENT), "the write before the flush is lost");
    assert_eq!(disk.contents()[..1024], [[1; 512], [2; 512]].concat());
    // The limit holds again when the ring goes on.
    guest.start_ring(0, 3);
    begin_write(&mut guest, 9, 2, 5);
    assert!(!is_done_within(&mut guest, MOMENT));
    let ended = daemon.terminate(Duration::from_secs(4));
    assert!(ended.is_some_and(|status| status.success()), "{ended:?}");
}

const FLUSHES: Request = Request { kind: FLUSH, sector: 0, bytes: 0, writes: false };

#[test]
fn limits_that_are_none_are_refused_at_the_start() {
    let (disk, directory) = (Disk::new(MIB), Directory::new());
    let bad = directory.join("bad");
    fs::write(&bad, "requests 5\nbites 1\n").unwrap();
    let file = format!("--throttle-file={}", bad.display());
    let missing = format!("--throttle-file={}", directory.join("missing").display());
    let cases: [(&[&str], &str, i32); 5] = [
        (&["--throttle-bytes=0:5"], "--throttle-bytes needs RATE", 2),
        (&["--throttle-bites=5"], "there is no such limit", 2),
        (&["--throttle-bytes=5", &file], "does not go with", 2),
        (&[&file], "line 2: bites: there is no such limit", 1),
        (&[&missing], "missing: No such file", 1),
    ];
    for (arguments, words, code) in cases {
        let mut command = program();
        command.arg("--socket").arg(directory.join("socket")).arg("--file").arg(disk.path());
        let mut refused = command.args(arguments).stderr(Stdio::piped()).spawn().unwrap();
        let until = Instant::now() + PATIENCE;
        while refused.try_wait().unwrap().is_none() && Instant::now() < until {
            sleep(Duration::from_millis(10));
        }
        let _ = refused.kill();
        let output = refused.wait_with_output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
        assert!(said.contains(words), "{arguments:?}: {said}");
    }
}
