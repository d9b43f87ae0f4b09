//! Frontends that try to hold the daemon: by descriptors that block, by answers that they do not
//! read, by halves of messages, by memory that there is no room for. Whatever they do, the next
//! frontend is served, and the daemon ends when it is asked to.

mod frontend;

use std::fs;
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use frontend::daemon::{Daemon, Directory, Disk};
use frontend::fuse::FuseFile;
use frontend::guest::*;
use frontend::memory::Memory;
use frontend::raw::*;
use frontend::scene::MIB;
use vhost::vhost_user::VhostUserFrontend;
use vhost::VhostBackend;
use vmm_sys_util::eventfd::EventFd;

/// How long the daemon may take for what it does at once.
const SOON: Duration = Duration::from_secs(3);

fn memory() -> Arc<Memory> {
    Arc::new(Memory::new(2, 2 * MIB))
}

/// Another frontend is served. (`Guest` waits as long as it takes, so a thread of its own.)
fn assert_next_is_served(socket: &Path, patience: Duration, what: &str) {
    let socket = socket.to_owned();
    let (done, wait) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let mut guest = Guest::connect(&socket, memory(), &Wishes::default());
        let read = guest.read(0, 0, 512);
        drop(guest);
        let _ = done.send(read.is_ok_and(|data| data == Disk::pattern(MIB)[..512]));
    });
    assert_eq!(wait.recv_timeout(patience), Ok(true), "{what}: the next frontend is not served");
}

fn assert_ends(daemon: &mut Daemon, what: &str) {
    let ended = daemon.terminate(SOON);
    assert!(ended.is_some_and(|status| status.success()), "{what}: SIGTERM: {ended:?}");
}

fn event(fd: OwnedFd) -> EventFd {
    // SAFETY: ours, and given away.
    unsafe { EventFd::from_raw_fd(fd.into_raw_fd()) }
}

/// A request that is looked for, since nobody is called.
fn read_unheard(guest: &mut Guest, queue: usize, what: &str) {
    let request = Request { kind: IN, sector: 0, bytes: 512, writes: true };
    let at = guest.data_at() + 0x4000 * queue as u64;
    guest.prepare(queue, 0, at, &request);
    guest.rings[queue].offer(0);
    guest.rings[queue].publish();
    let until = Instant::now() + SOON;
    while guest.rings[queue].try_used().is_none() {
        assert!(Instant::now() < until, "{what}: queue {queue} hangs");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn a_call_descriptor_that_is_full_and_blocks_holds_nobody() {
    let disk = Disk::new(MIB);
    let mut daemon = Daemon::start(disk.path(), &["--queues=2"]);
    let wishes = Wishes { queues: 2, ..Wishes::default() };
    let mut guest = Guest::connect(&daemon.socket, memory(), &wishes);
    let call = event(full_blocking_eventfd());
    guest.frontend.set_vring_call(0, &call).unwrap();
    for _ in 0..3 {
        read_unheard(&mut guest, 0, "full");
        read_unheard(&mut guest, 1, "full");
    }
    drop(guest);
    assert_next_is_served(&daemon.socket, SOON, "full");
    assert_ends(&mut daemon, "full");
}

/// The frontend's flag says that a write does not block; then it changes its mind.
#[test]
fn a_write_that_does_block_ends_when_the_ring_stops() {
    let disk = Disk::new(MIB);
    for broken in [false, true] {
        let mut daemon = Daemon::start(disk.path(), &["--queues=2"]);
        let wishes = Wishes { queues: 2, ..Wishes::default() };
        let mut guest = Guest::connect(&daemon.socket, memory(), &wishes);
        let full = full_blocking_eventfd();
        let set_flags = |flags: i32| {
            // SAFETY: sets a flag of our own description.
            unsafe { libc::fcntl(full.as_raw_fd(), libc::F_SETFL, flags) }
        };
        set_flags(libc::O_NONBLOCK);
        // The ring runs, and has called for the first time.
        guest.read(0, 0, 512).unwrap();
        let event: EventFd = event(full.try_clone().unwrap());
        if broken {
            guest.frontend.set_vring_err(0, &event).unwrap();
            set_flags(0);
            guest.rings[0].publish_index(500);
        } else {
            guest.frontend.set_vring_call(0, &event).unwrap();
            set_flags(0);
            read_unheard(&mut guest, 0, "blocks");
        }
        std::thread::sleep(Duration::from_millis(100));
        read_unheard(&mut guest, 1, "the other queue");
        // Whoever sets another one, or stops the ring, does not wait either.
        let before = Instant::now();
        guest.frontend.set_vring_call(0, &event).unwrap();
        guest.frontend.set_vring_err(0, &event).unwrap();
        guest.stop_ring(0);
        assert!(before.elapsed() < SOON);
        guest.start_ring(0, guest.rings[0].used_seen());
        drop(guest);
        assert_next_is_served(&daemon.socket, SOON, "blocks");
        assert_ends(&mut daemon, "blocks");
    }
}

#[test]
fn a_signal_ends_the_daemon_while_a_write_blocks() {
    let disk = Disk::new(MIB);
    let mut daemon = Daemon::start(disk.path(), &[]);
    let mut guest = Guest::connect(&daemon.socket, memory(), &Wishes::default());
    let full = full_blocking_eventfd();
    let call = event(full.try_clone().unwrap());
    guest.frontend.set_vring_call(0, &call).unwrap();
    read_unheard(&mut guest, 0, "full");
    assert_ends(&mut daemon, "full");
}

#[test]
fn descriptors_that_are_no_eventfds_are_refused() {
    let disk = Disk::new(MIB);
    let mut daemon = Daemon::start(disk.path(), &[]);
    let (writer, reader) = full_blocking_pipe();
    // SAFETY: makes a descriptor, which nobody else has.
    let epoll = unsafe { OwnedFd::from_raw_fd(libc::epoll_create1(libc::EPOLL_CLOEXEC)) };
    for fd in [writer.as_raw_fd(), reader.as_raw_fd(), epoll.as_raw_fd()] {
        for request in [SET_VRING_CALL, SET_VRING_ERR, SET_VRING_KICK] {
            let raw = Raw::connect(&daemon.socket);
            raw.message(request, VERSION, &0u64.to_ne_bytes(), &[fd]).unwrap();
            let hung_up = is_hung_up(&raw, SOON);
            assert!(hung_up, "request {request} with descriptor {fd} was taken");
            assert_next_is_served(&daemon.socket, SOON, "refused");
        }
    }
    assert_ends(&mut daemon, "refused");
}

/// Whether the daemon lets us go.
fn is_hung_up(raw: &Raw, patience: Duration) -> bool {
    let mut entry = libc::pollfd { fd: raw.0.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    // SAFETY: one entry.
    unsafe { libc::poll(&mut entry, 1, patience.as_millis() as i32) };
    entry.revents & libc::POLLHUP != 0
}

/// Sends what has an answer until no more is taken.
fn never_read(socket: &Path) -> Raw {
    let raw = Raw::connect(socket);
    raw.0.set_nonblocking(true).unwrap();
    let request = message(GET_FEATURES, VERSION, &[]);
    for _ in 0..20 {
        while raw.send(&request, &[]).is_ok() {}
        std::thread::sleep(Duration::from_millis(10));
    }
    raw
}

#[test]
fn answers_that_nobody_reads_hold_nobody() {
    let disk = Disk::new(MIB);
    let mut daemon = Daemon::start(disk.path(), &[]);
    let raw = never_read(&daemon.socket);
    assert_next_is_served(&daemon.socket, Duration::from_secs(12), "answers that nobody reads");
    drop(raw);
    let _raw = never_read(&daemon.socket);
    assert_ends(&mut daemon, "answers that nobody reads");
}

#[test]
fn the_half_of_a_message_holds_nobody() {
    let disk = Disk::new(MIB);
    let whole = message(SET_VRING_NUM, VERSION, &[0; 8]);
    std::thread::scope(|scope| {
        for part in [1, 11, 12, 19] {
            let (disk, whole) = (&disk, &whole);
            scope.spawn(move || {
                let mut daemon = Daemon::start(disk.path(), &["--lock", "off"]);
                let raw = Raw::connect(&daemon.socket);
                raw.send(&whole[..part], &[]).unwrap();
                let what = format!("{part} bytes");
                assert_next_is_served(&daemon.socket, Duration::from_secs(12), &what);
                drop(raw);
                let raw = Raw::connect(&daemon.socket);
                raw.send(&whole[..part], &[]).unwrap();
                std::thread::sleep(Duration::from_millis(50));
                assert_ends(&mut daemon, &what);
            });
        }
        // A byte now and then is no message either.
        scope.spawn(|| {
            let daemon = Daemon::start(disk.path(), &["--lock", "off"]);
            let raw = Raw::connect(&daemon.socket);
            let began = Instant::now();
            let taken = whole.iter().take_while(|&&byte| {
                let sent = raw.send(&[byte], &[]).is_ok();
                std::thread::sleep(Duration::from_millis(700));
                sent
            });
            assert!(taken.count() < whole.len(), "a message of {:?}", began.elapsed());
            assert_next_is_served(&daemon.socket, SOON, "a slow message");
        });
    });
}

/// What comes in two pieces, soon one after the other, is a message like any other.
#[test]
fn a_message_may_come_in_pieces() {
    let disk = Disk::new(MIB);
    let daemon = Daemon::start(disk.path(), &[]);
    for part in 1..20 {
        let raw = Raw::connect(&daemon.socket);
        let whole = message(SET_FEATURES, VERSION, &(1u64 << 30).to_ne_bytes());
        raw.send(&whole[..part], &[]).unwrap();
        std::thread::sleep(Duration::from_millis(2));
        raw.send(&whole[part..], &[]).unwrap();
        raw.message(GET_FEATURES, VERSION, &[], &[]).unwrap();
        assert!(!is_hung_up(&raw, SOON), "in two after {part} bytes");
    }
}

#[test]
fn files_whose_file_system_does_not_answer_hold_nobody() {
    let disk = Disk::new(MIB);
    let directory = Directory::new();
    let mut daemon = Daemon::start(disk.path(), &[]);
    let mut region = vec![0; 8];
    for number in [0u64, 4096, 0x1000_0000, 0] {
        region.extend_from_slice(&number.to_ne_bytes());
    }
    let table = [&1u64.to_ne_bytes()[..], &region[8..]].concat();
    let cases = [
        ("call", SET_VRING_CALL, 0u64.to_ne_bytes().to_vec()),
        ("kick", SET_VRING_KICK, 0u64.to_ne_bytes().to_vec()),
        ("err", SET_VRING_ERR, 0u64.to_ne_bytes().to_vec()),
        ("memory", SET_MEM_TABLE, table),
        ("a region", ADD_MEM_REG, region),
        ("in flight", SET_INFLIGHT_FD, vec![0; 24]),
        ("nothing", GET_FEATURES, Vec::new()),
    ];
    for (what, request, body) in cases {
        let Some(fuse) = FuseFile::new(&directory.join(what)) else {
            eprintln!("no FUSE: skipped");
            return;
        };
        let fd = fuse.file.as_ref().unwrap().as_raw_fd();
        let raw = Raw::connect(&daemon.socket);
        raw.message(SET_OWNER, VERSION, &[], &[]).unwrap();
        // Protocol features, among them regions one by one and what is in flight.
        raw.message(SET_FEATURES, VERSION, &(1u64 << 30).to_ne_bytes(), &[]).unwrap();
        let all = 0x1u64 | 0x8 | 0x200 | 0x1000 | 0x8000;
        raw.message(SET_PROTOCOL_FEATURES, VERSION, &all.to_ne_bytes(), &[]).unwrap();
        raw.message(request, VERSION, &body, &[fd]).unwrap();
        assert_next_is_served(&daemon.socket, SOON, what);
        drop(raw);
    }
    assert_ends(&mut daemon, "FUSE");
}

fn set_descriptor_limit(pid: u32, limit: u64) {
    let limit = libc::rlimit { rlim_cur: limit, rlim_max: 4096 };
    // SAFETY: our child; the limit lives through the call.
    let result =
        unsafe { libc::prlimit(pid as i32, libc::RLIMIT_NOFILE, &limit, std::ptr::null_mut()) };
    assert_eq!(result, 0);
}

/// The next descriptor that the daemon would get. (It may have inherited larger ones.)
fn lowest_free(daemon: &Daemon) -> u64 {
    let is_open =
        |fd: &u64| fs::symlink_metadata(format!("/proc/{}/fd/{fd}", daemon.child.id())).is_ok();
    (0..).find(|fd| !is_open(fd)).unwrap()
}

#[test]
fn a_frontend_waits_while_there_is_no_descriptor_for_it() {
    let disk = Disk::new(MIB);
    let directory = Directory::new();
    let socket = directory.join("socket");
    let log = directory.join("log");
    let words = fs::File::create(&log).unwrap().into();
    let mut daemon = Daemon::start_with(disk.path(), &socket, &[], words);
    std::thread::sleep(Duration::from_millis(100));
    set_descriptor_limit(daemon.child.id(), lowest_free(&daemon));
    let raw = Raw::connect(&socket);
    std::thread::sleep(Duration::from_millis(700));
    assert!(daemon.is_running(), "it ended");
    // It waits, and does not look all the time.
    let before = daemon.ticks();
    std::thread::sleep(Duration::from_millis(300));
    assert!(daemon.ticks() - before < 10);
    drop(raw);
    set_descriptor_limit(daemon.child.id(), 4096);
    assert_next_is_served(&socket, SOON, "descriptors again");
    std::thread::sleep(Duration::from_millis(100));
    let told = fs::read_to_string(&log).unwrap();
    assert_eq!(told.matches("Too many open files").count(), 1, "{told}");
    // At any number of descriptors it goes on, and ends when it shall.
    let least = lowest_free(&daemon);
    for more in 0..12 {
        set_descriptor_limit(daemon.child.id(), least + more);
        let raw = Raw::connect(&socket);
        // SAFETY: makes a descriptor, which nobody else has.
        let fd = unsafe { OwnedFd::from_raw_fd(libc::eventfd(0, 0)) };
        let _ = raw.message(SET_VRING_CALL, VERSION, &0u64.to_ne_bytes(), &[fd.as_raw_fd(); 1]);
        std::thread::sleep(Duration::from_millis(20));
        assert!(daemon.is_running(), "{more} more descriptors");
    }
    set_descriptor_limit(daemon.child.id(), least);
    let _raw = Raw::connect(&socket);
    assert_ends(&mut daemon, "no descriptors");
}

#[test]
fn no_more_regions_are_taken_than_were_announced() {
    let disk = Disk::new(MIB);
    let daemon = Daemon::start(disk.path(), &["--pin-memory", "on"]);
    let mut guest = Guest::connect(&daemon.socket, memory(), &Wishes::default());
    let slots = guest.frontend.get_max_mem_slots().unwrap();
    let first = guest.memory.table()[0];
    let page = |index: u64| {
        let mut region = first;
        region.guest_phys_addr = 0x100_0000_0000 + 4096 * index;
        region.userspace_addr = 0x1000_0000_0000 + 4096 * index;
        region.memory_size = 4096;
        region
    };
    for index in 2..slots {
        guest.frontend.add_mem_region(&page(index)).unwrap();
    }
    let before = daemon.mappings();
    for _ in 0..64 {
        assert!(guest.frontend.add_mem_region(&page(slots)).is_err(), "one more than {slots}");
    }
    // Stacks of threads may come meanwhile; of what is refused nothing stays.
    assert!(daemon.mappings() < before + 64, "{} mappings, {before} before", daemon.mappings());
    assert_eq!(guest.read(0, 0, 512).unwrap(), Disk::pattern(MIB)[..512]);
    // Only the very region goes.
    let mut other = page(7);
    other.userspace_addr += 4096;
    assert!(guest.frontend.remove_mem_region(&other).is_err());
    let mut other = page(7);
    other.memory_size = 8192;
    assert!(guest.frontend.remove_mem_region(&other).is_err());
    assert!(guest.frontend.remove_mem_region(&page(slots)).is_err());
    assert!(guest.frontend.add_mem_region(&page(slots)).is_err());
    guest.frontend.remove_mem_region(&page(7)).unwrap();
    guest.frontend.add_mem_region(&page(slots)).unwrap();
    assert!(guest.frontend.remove_mem_region(&page(7)).is_err());
    assert_eq!(guest.read(0, 9, 512).unwrap(), Disk::pattern(MIB)[9 * 512..5120]);
}

/// A frontend that is told so keeps what it had.
#[test]
fn memory_that_is_refused_leaves_all_as_before() {
    let disk = Disk::new(MIB);
    let daemon = Daemon::start(disk.path(), &["--pin-memory", "on"]);
    let mut guest = Guest::connect(&daemon.socket, memory(), &Wishes::default());
    let good = guest.memory.table();
    let mut long = good.clone();
    long[1].memory_size *= 4;
    let mut twice = good.clone();
    twice[1].guest_phys_addr = good[0].guest_phys_addr;
    // It ends inside of the used ring.
    let mut cut = vec![good[0]];
    cut[0].memory_size = 0x5200;
    for (what, table) in [("too long", long), ("overlapping", twice), ("cut", cut)] {
        assert!(guest.frontend.set_mem_table(&table).is_err(), "{what}");
        assert_eq!(guest.read(0, 3, 512).unwrap(), Disk::pattern(MIB)[1536..2048], "{what}");
    }
    let mut overlaps = good[0];
    overlaps.guest_phys_addr += 4096;
    assert!(guest.frontend.add_mem_region(&overlaps).is_err());
    assert_eq!(guest.write(0, 3, &[9; 512]), Some(OK));
    assert_eq!(guest.read(0, 3, 512).unwrap(), [9; 512]);
}
