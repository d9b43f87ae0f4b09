//! What the daemon says, where nobody can or wants to hear it.

mod frontend;

use std::fs::{self, File};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use frontend::daemon::{program, Daemon, Directory, Disk};
use frontend::guest::*;
use frontend::memory::Memory;
use frontend::raw::full_blocking_pipe;
use frontend::ring::Ring;
use frontend::scene::MIB;

fn memory() -> Arc<Memory> {
    Arc::new(Memory::new(2, 2 * MIB))
}

fn full() -> File {
    File::options().write(true).open("/dev/full").unwrap()
}

/// The guest does what the daemon has words for, several times; then it reads.
fn assert_serves_whoever_misbehaves(daemon: &mut Daemon, what: &str) {
    let mut guest = Guest::connect(&daemon.socket, memory(), &Wishes::default());
    for _ in 0..3 {
        guest.rings[0].publish_index(500);
        assert_eq!(guest.rings[0].wait_used(Duration::from_millis(50)), None, "{what}");
        assert!(daemon.is_running(), "{what}");
        guest.stop_ring(0);
        guest.rings[0] = Ring::new(guest.memory.clone(), 0, 128, true);
        guest.start_ring(0, 0);
        assert_eq!(guest.read(0, 8, 512).unwrap(), Disk::pattern(MIB)[4096..4608], "{what}");
    }
    drop(guest);
    let ended = daemon.terminate(Duration::from_secs(10));
    assert!(ended.is_some_and(|status| status.success()), "{what}: {ended:?}");
}

#[test]
fn a_guest_is_served_though_standard_error_takes_nothing() {
    let disk = Disk::new(MIB);
    let (blocks, _reader) = full_blocking_pipe();
    let (broken, reader) = full_blocking_pipe();
    drop(reader);
    let cases: [(&str, Stdio); 3] = [
        ("a full file system", full().into()),
        ("a pipe that nobody reads", blocks.into()),
        ("a broken pipe", broken.into()),
    ];
    for (what, words) in cases {
        let directory = Directory::new();
        let socket = directory.join("socket");
        let mut daemon = Daemon::start_with(disk.path(), &socket, &["--verbose"], words);
        assert_serves_whoever_misbehaves(&mut daemon, what);
    }
}

#[test]
fn a_guest_is_served_though_standard_error_is_closed() {
    let disk = Disk::new(MIB);
    let directory = Directory::new();
    let socket = directory.join("socket");
    let mut shell = Command::new("sh");
    let daemon = program();
    shell.args(["-c", "exec \"$0\" \"$@\" <&- >&- 2>&-"]).arg(daemon.get_program());
    shell.arg("--socket").arg(&socket).arg("--file").arg(disk.path());
    let mut daemon = Daemon::watch(shell.spawn().unwrap(), &socket);
    assert_serves_whoever_misbehaves(&mut daemon, "closed descriptors");
    assert!(disk.contents() == Disk::pattern(MIB), "words were written to the image");
}

/// Image and log on one file system: what fills it is an error for the guest, and no more.
#[test]
fn a_full_file_system_is_an_error_of_the_guest_alone() {
    let directory = Directory::new();
    let Some(_mount) = TmpFs::mount(&directory.join("small"), 1) else {
        eprintln!("no mount: skipped");
        return;
    };
    let small = directory.join("small");
    let image = small.join("image");
    File::create(&image).unwrap().set_len(MIB).unwrap();
    let log = File::create(small.join("log")).unwrap();
    fs::write(small.join("rest"), vec![1; 960 << 10]).unwrap();
    let socket = directory.join("socket");
    let mut daemon = Daemon::start_with(&image, &socket, &[], log.into());
    let mut guest = Guest::connect(&socket, memory(), &Wishes::default());
    let results: Vec<_> = (0..512).map(|block| guest.write(0, 4 * block, &[1; 2048])).collect();
    assert_eq!(results[0], Some(OK));
    assert_eq!(results.last(), Some(&Some(IOERR)));
    assert!(daemon.is_running());
    assert_eq!(guest.read(0, 0, 2048).unwrap(), [1; 2048]);
    // Nothing holds the file system when it goes.
    daemon.kill();
}

struct TmpFs(std::path::PathBuf);

impl TmpFs {
    fn mount(path: &Path, mib: u32) -> Option<TmpFs> {
        fs::create_dir(path).unwrap();
        let size = format!("size={mib}m");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(path).stderr(Stdio::null());
        mount.status().is_ok_and(|status| status.success()).then(|| TmpFs(path.to_owned()))
    }
}

impl Drop for TmpFs {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn what_cannot_be_printed_is_a_failure_and_no_panic() {
    for argument in ["--help", "--version"] {
        let output = program().arg(argument).stdout(full()).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{argument}");
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains("standard output: No space left on device"), "{said}");
        assert!(!said.contains("panicked"), "{said}");
    }
    // An error that cannot be said is an error.
    for (arguments, code) in [(&["--colour"][..], 2), (&["--fd", "77", "--file", "/"], 1)] {
        let status = program().args(arguments).stderr(full()).status().unwrap();
        assert_eq!((status.code(), status.signal()), (Some(code), None), "{arguments:?}");
    }
}
