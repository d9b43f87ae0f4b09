//! The socket's path: whose it is, what is there before a daemon, and what stays after it.

mod frontend;

use std::fs;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::{chown, symlink, PermissionsExt};
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use frontend::daemon::{program, Daemon, Directory, Disk};
use frontend::guest::*;
use frontend::memory::Memory;
use frontend::scene::MIB;

fn command(disk: &Path, socket: &Path) -> Command {
    let mut command = program();
    command.arg("--socket").arg(socket).arg("--file").arg(disk).args(["--lock", "off"]);
    command
}

/// The output of a daemon that has to refuse its socket, soon.
fn refused(mut command: Command, what: &str) -> Output {
    let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
    let until = Instant::now() + Duration::from_secs(10);
    while child.try_wait().unwrap().is_none() {
        if Instant::now() >= until {
            child.kill().unwrap();
            child.wait().unwrap();
            panic!("{what}: it neither refuses nor ends");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{what}: {output:?}");
    output
}

fn said(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn answers(socket: &Path) {
    let memory = std::sync::Arc::new(Memory::new(2, 2 * MIB));
    let mut guest = Guest::connect(socket, memory, &Wishes::default());
    assert_eq!(guest.read(0, 0, 512).unwrap(), Disk::pattern(MIB)[..512]);
}

#[test]
fn of_two_daemons_on_a_dead_socket_exactly_one_runs() {
    let disk = Disk::new(MIB);
    let directory = Directory::new();
    let socket = directory.join("socket");
    for round in 0..40 {
        // What a daemon that was killed leaves.
        let _ = fs::remove_file(&socket);
        drop(UnixListener::bind(&socket).unwrap());
        let start = || command(disk.path(), &socket).stderr(Stdio::null()).spawn().unwrap();
        let mut children = [start(), start()];
        let until = Instant::now() + Duration::from_secs(20);
        let ended = |children: &mut [Child; 2]| {
            let ended = children.iter_mut().filter_map(|child| child.try_wait().unwrap());
            ended.count()
        };
        while ended(&mut children) == 0 && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(1));
        }
        // The other one is here to stay.
        std::thread::sleep(Duration::from_millis(20));
        let one = ended(&mut children);
        if one == 1 {
            let running = children.iter().position(|child| alive(child.id())).unwrap();
            while !listens(children[running].id(), &socket) && Instant::now() < until {
                std::thread::sleep(Duration::from_millis(1));
            }
            answers(&socket);
        }
        for child in &mut children {
            let _ = child.kill();
            let _ = child.wait();
        }
        assert_eq!(one, 1, "round {round}: so many of two have ended");
    }
}

fn alive(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(") ").next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with('Z'))
}

fn listens(pid: u32, socket: &Path) -> bool {
    let table = fs::read_to_string(format!("/proc/{pid}/net/unix")).unwrap_or_default();
    let name = socket.to_str().unwrap();
    table.lines().any(|line| line.contains(" 00010000 ") && line.ends_with(name))
}

/// A socket of `kind` that is bound and, if it has a queue, listens with room for one.
fn bound(kind: i32, socket: &Path, listens: bool) -> OwnedFd {
    // SAFETY: an address on the stack, with the path inside; the descriptor is nobody else's.
    unsafe {
        let mut address: libc::sockaddr_un = std::mem::zeroed();
        address.sun_family = libc::AF_UNIX as u16;
        let path = socket.to_str().unwrap();
        for (to, from) in address.sun_path.iter_mut().zip(path.bytes()) {
            *to = from as _;
        }
        let fd = OwnedFd::from_raw_fd(libc::socket(libc::AF_UNIX, kind | libc::SOCK_CLOEXEC, 0));
        let bytes = size_of_val(&address) as u32;
        assert_eq!(libc::bind(fd.as_raw_fd(), (&raw const address).cast(), bytes), 0);
        if listens {
            assert_eq!(libc::listen(fd.as_raw_fd(), 0), 0);
        }
        fd
    }
}

#[test]
fn a_socket_of_another_program_stays_its_own_whatever_its_kind() {
    let disk = Disk::new(MIB);
    let kinds = [
        ("a datagram socket", libc::SOCK_DGRAM, false),
        ("a socket of packets", libc::SOCK_SEQPACKET, true),
        ("a socket that listens", libc::SOCK_STREAM, true),
        ("a socket that does not listen yet", libc::SOCK_STREAM, false),
    ];
    for (what, kind, listens) in kinds {
        let directory = Directory::new();
        let socket = directory.join("socket");
        let _theirs = bound(kind, &socket, listens);
        let output = refused(command(disk.path(), &socket), what);
        assert!(said(&output).contains("in use"), "{what}: {}", said(&output));
        assert!(socket.exists(), "{what}: it was removed");
    }
}

#[test]
fn a_socket_whose_queue_is_full_stays_and_does_not_hang_the_start() {
    let disk = Disk::new(MIB);
    let directory = Directory::new();
    let socket = directory.join("socket");
    let _theirs = bound(libc::SOCK_STREAM, &socket, true);
    let waiting = UnixStream::connect(&socket).unwrap();
    let output = refused(command(disk.path(), &socket), "a full queue");
    assert!(said(&output).contains("in use"), "{}", said(&output));
    assert!(socket.exists());
    drop(waiting);
}

#[test]
fn a_socket_that_we_may_not_ask_about_stays() {
    // SAFETY: asks for an integer.
    if unsafe { libc::geteuid() } != 0 {
        return;
    }
    let directory = Directory::new();
    let place = directory.join("place");
    fs::create_dir(&place).unwrap();
    let nobody = 65534;
    chown(&place, Some(nobody), Some(nobody)).unwrap();
    let image = place.join("image");
    fs::write(&image, Disk::pattern(MIB)).unwrap();
    chown(&image, Some(nobody), Some(nobody)).unwrap();
    let socket = place.join("socket");
    let _theirs = UnixListener::bind(&socket).unwrap();
    fs::set_permissions(&socket, fs::Permissions::from_mode(0o600)).unwrap();
    // Where nobody may go, unlike where it was built.
    let copy = place.join("daemon");
    fs::copy(program().get_program(), &copy).unwrap();
    let mut command = Command::new(copy);
    command.arg("--socket").arg(&socket).arg("--file").arg(&image).uid(nobody).gid(nobody);
    let output = refused(command, "root's socket");
    assert!(said(&output).contains("Permission denied"), "{}", said(&output));
    assert!(socket.exists(), "root's socket was removed");
}

#[test]
fn what_is_no_socket_stays() {
    let disk = Disk::new(MIB);
    let directory = Directory::new();
    let socket = directory.join("socket");
    fs::write(&socket, "mine").unwrap();
    refused(command(disk.path(), &socket), "a file");
    assert_eq!(fs::read(&socket).unwrap(), b"mine");
    fs::remove_file(&socket).unwrap();
    // A link to a dead socket is not one that we made.
    drop(UnixListener::bind(directory.join("other")).unwrap());
    symlink(directory.join("other"), &socket).unwrap();
    refused(command(disk.path(), &socket), "a link");
    assert!(directory.join("other").exists());
}

#[test]
fn a_daemon_that_ends_leaves_the_socket_of_its_successor() {
    let disk = Disk::new(MIB);
    let directory = Directory::new();
    let socket = directory.join("socket");
    let mut first = Daemon::start_at(disk.path(), &socket, &["--lock", "off"]);
    // Somebody who takes the path by force, the lock file with it.
    fs::remove_file(&socket).unwrap();
    let _ = fs::remove_file(directory.join("socket.lock"));
    let _second = Daemon::start_at(disk.path(), &socket, &["--lock", "off"]);
    // Of the first one the table of sockets still has that path.
    let until = Instant::now() + Duration::from_secs(20);
    while !socket.exists() && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(1));
    }
    assert!(first.terminate(Duration::from_secs(10)).unwrap().success());
    assert!(socket.exists(), "the successor's socket was removed");
    answers(&socket);
}

#[test]
fn a_lock_file_that_is_something_else_is_told_in_words() {
    let disk = Disk::new(MIB);
    let directory = Directory::new();
    let socket = directory.join("socket");
    let lock = directory.join("socket.lock");
    fs::create_dir(&lock).unwrap();
    assert!(said(&refused(command(disk.path(), &socket), "a directory")).contains("socket.lock"));
    fs::remove_dir(&lock).unwrap();
    drop(UnixDatagram::bind(&lock).unwrap());
    assert!(said(&refused(command(disk.path(), &socket), "a socket")).contains("socket.lock"));
    fs::remove_file(&lock).unwrap();
    symlink(directory.join("elsewhere"), &lock).unwrap();
    assert!(said(&refused(command(disk.path(), &socket), "a link")).contains("socket.lock"));
    assert!(!directory.join("elsewhere").exists());
}

#[test]
fn the_lock_file_stays_and_is_used_again() {
    let disk = Disk::new(MIB);
    let directory = Directory::new();
    let socket = directory.join("socket");
    for _ in 0..2 {
        let mut daemon = Daemon::start_at(disk.path(), &socket, &[]);
        answers(&socket);
        assert!(daemon.terminate(Duration::from_secs(10)).unwrap().success());
        assert!(!socket.exists());
        assert!(directory.join("socket.lock").exists());
    }
}
