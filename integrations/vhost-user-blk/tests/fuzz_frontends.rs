//! Hostile frontends at random, several at a time, for as long as one likes; honest ones in
//! between, whose bytes are compared with a model. The daemon's words go to a pipe that nobody
//! reads. It has to live, to serve the honest, and to be no larger in the end than it was.
//!
//! 10 seconds, or BLKALIGN_VHOST_SECONDS (`make soak-vhost-user SECONDS=3600`).

mod frontend;

use std::fs::{self, File};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::channel;
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use frontend::daemon::{Daemon, Directory, Disk};
use frontend::fuse::FuseFile;
use frontend::guest::*;
use frontend::hostile::{scramble, Place};
use frontend::memory::{Memory, GUEST_BASE};
use frontend::random::{seed, Random};
use frontend::raw::*;
use frontend::scene::MIB;

/// The honest have the first half of the disk, the hostile may write to the other one.
const DISK_BYTES: u64 = 4 * MIB;
const HONEST_SECTORS: u64 = 4096;
const HOSTILE_THREADS: u64 = 3;
const QUEUE_SIZE: u16 = 16;
/// How long an honest frontend may wait for its turn and its answers.
const PATIENCE_HONEST: Duration = Duration::from_secs(90);

#[derive(Default)]
struct Counts {
    frontends: AtomicU64,
    messages: AtomicU64,
    rings: AtomicU64,
    answered: AtomicU64,
    descriptors: AtomicU64,
    truncated: AtomicU64,
    unread: AtomicU64,
    honest: AtomicU64,
    compared: AtomicU64,
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// What grows if something is forgotten.
#[derive(Clone, Copy, Debug)]
struct Size {
    descriptors: usize,
    threads: usize,
    /// Memory of its own, in KiB.
    memory: u64,
}

fn size(daemon: &Daemon) -> Size {
    let status = fs::read_to_string(format!("/proc/{}/status", daemon.child.id())).unwrap();
    let number = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap()
    };
    Size {
        descriptors: daemon.descriptors(),
        threads: number("Threads:") as usize,
        memory: number("RssAnon:"),
    }
}

#[test]
fn no_frontend_harms_the_daemon_nor_those_who_come_after_it() {
    let seconds = std::env::var("BLKALIGN_VHOST_SECONDS").ok().and_then(|text| text.parse().ok());
    let time = Duration::from_secs(seconds.unwrap_or(10));
    let mut random = Random::new(seed());
    let disk = Disk::new(DISK_BYTES);
    let directory = Directory::new();
    let socket = directory.join("socket");
    let (words, _nobody_reads) = full_blocking_pipe();
    let arguments = ["--queues=2", "--verbose", "--pin-memory=on"];
    let mut daemon = Daemon::start_with(disk.path(), &socket, &arguments, words.into());
    let mut model = Disk::pattern(DISK_BYTES)[..HONEST_SECTORS as usize * 512].to_vec();
    let (counts, over) = (Counts::default(), AtomicBool::new(false));
    let end = Instant::now() + time;
    for _ in 0..3 {
        visit(&socket, &mut model, random.next(), &counts);
    }
    let before = idle_size(&daemon);
    std::thread::scope(|scope| {
        // Also when something below fails.
        let _stop = Stop(&over);
        for number in 0..HOSTILE_THREADS {
            let (mut random, counts, over) = (Random::new(random.next()), &counts, &over);
            let (socket, place) = (&socket, directory.join(&format!("fuse {number}")));
            scope.spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    hostile(socket, &place, &mut random, counts);
                }
            });
        }
        let mut next_sample = Instant::now();
        while Instant::now() < end {
            visit(&socket, &mut model, random.next(), &counts);
            assert!(daemon.is_running(), "the daemon is dead");
            if Instant::now() >= next_sample {
                println!("{:>5} s to go: {:?}", (end - Instant::now()).as_secs(), size(&daemon));
                next_sample = Instant::now() + time / 20;
            }
        }
    });
    visit(&socket, &mut model, random.next(), &counts);
    let after = settled(&daemon, before);
    print_summary(time, &counts, before, after);
    assert!(counts.answered.load(Ordering::Relaxed) > 0, "no hostile guest was served");
    assert!(disk.contents()[..model.len()] == model, "the disk differs from the model");
    assert!(after.descriptors <= before.descriptors, "descriptors: {before:?}, {after:?}");
    assert!(after.threads <= before.threads, "threads: {before:?}, {after:?}");
    // The allocator keeps some of what it once had.
    assert!(after.memory <= before.memory + (16 << 10), "memory: {before:?}, {after:?}");
    let ended = daemon.terminate(Duration::from_secs(15));
    assert!(ended.is_some_and(|status| status.success()), "it does not end: {ended:?}");
}

struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn print_summary(time: Duration, counts: &Counts, before: Size, after: Size) {
    let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    println!(
        "vhost-user fuzz: {} s, {} hostile frontends ({} messages, {} descriptors, {} rings, {} \
         chains answered, {} memories cut, {} with answers unread), {} honest ones ({} reads compared); descriptors \
         {} -> {}, threads {} -> {}, memory {} -> {} KiB",
        time.as_secs(),
        of(&counts.frontends),
        of(&counts.messages),
        of(&counts.descriptors),
        of(&counts.rings),
        of(&counts.answered),
        of(&counts.truncated),
        of(&counts.unread),
        of(&counts.honest),
        of(&counts.compared),
        before.descriptors,
        after.descriptors,
        before.threads,
        after.threads,
        before.memory,
        after.memory,
    );
}

/// Its size without a frontend, before any hostile one.
fn idle_size(daemon: &Daemon) -> Size {
    sleep(Duration::from_millis(300));
    size(daemon)
}

/// Its size when the last frontend is gone for good, and the library's idle threads as well.
fn settled(daemon: &Daemon, before: Size) -> Size {
    let until = Instant::now() + Duration::from_secs(20);
    loop {
        let now = size(daemon);
        let small = now.descriptors <= before.descriptors && now.threads <= before.threads;
        if small || Instant::now() >= until {
            return now;
        }
        sleep(Duration::from_millis(50));
    }
}

// ---- honest frontends ------------------------------------------------------

/// An honest frontend, on a thread of its own, since it waits as long as the daemon lets it.
fn visit(socket: &Path, model: &mut Vec<u8>, seed: u64, counts: &Counts) {
    let (socket, mut bytes) = (socket.to_owned(), std::mem::take(model));
    let (done, wait) = channel();
    std::thread::spawn(move || {
        let mut random = Random::new(seed);
        let mut compared = 0;
        let wishes = Wishes { queues: 2, ..Wishes::default() };
        let memory = Arc::new(Memory::new(2, 2 * MIB));
        let mut guest = Guest::connect(&socket, memory, &wishes);
        for _ in 0..12 {
            compared += use_disk(&mut guest, &mut bytes, &mut random);
        }
        drop(guest);
        let _ = done.send((bytes, compared));
    });
    let answer = wait.recv_timeout(PATIENCE_HONEST);
    let (bytes, compared) = answer.expect("an honest frontend is not served, or served wrong");
    *model = bytes;
    count(&counts.honest);
    counts.compared.fetch_add(compared, Ordering::Relaxed);
}

/// One request. Gives how many reads were compared.
fn use_disk(guest: &mut Guest, model: &mut [u8], random: &mut Random) -> u64 {
    let sectors = 1 + random.below(20);
    let sector = random.below(HONEST_SECTORS - sectors);
    let (queue, bytes) = (random.below(2) as usize, sectors as usize * 512);
    let range = sector as usize * 512..sector as usize * 512 + bytes;
    match random.below(10) {
        0..=4 => {
            assert!(guest.read(queue, sector, bytes as u32).unwrap() == model[range], "{sector}");
            return 1;
        }
        5..=7 => {
            let data = random.bytes(bytes);
            assert_eq!(guest.write(queue, sector, &data), Some(OK));
            model[range].copy_from_slice(&data);
        }
        8 => {
            assert_eq!(guest.clear(queue, WRITE_ZEROES, &[(sector, sectors as u32, 0)]), Some(OK));
            model[range].fill(0);
        }
        _ => assert_eq!(guest.flush(queue), Some(OK)),
    }
    0
}

// ---- hostile frontends -----------------------------------------------------

/// One hostile frontend, from its connection to its end.
fn hostile(socket: &Path, fuse: &Path, random: &mut Random, counts: &Counts) {
    let Ok(stream) = UnixStream::connect(socket) else { return };
    // Who is let go or has to wait does not wait here.
    stream.set_nonblocking(true).unwrap();
    let raw = Raw(stream);
    count(&counts.frontends);
    match random.below(20) {
        0 => {
            let bytes = random.below(5000) as usize;
            let _ = raw.send(&random.bytes(bytes), &[]);
        }
        1 => unread(&raw, random, counts),
        2..=5 => (0..1 + random.below(30)).for_each(|_| any_message(&raw, random, counts)),
        6 if random.one_in(8) => waiting_file(&raw, fuse, random, counts),
        _ => rings(&raw, random, counts),
    }
    if random.one_in(3) {
        let whole = message(random.below(45) as u32, VERSION, &[0; 40]);
        let _ = raw.send(&whole[..random.below(whole.len() as u64) as usize], &[]);
    }
    // Mostly it goes in the middle of something; seldom it outlasts the daemon's patience.
    sleep(match random.below(150) {
        0 => Duration::from_secs(6),
        1..=50 => Duration::from_millis(random.below(20)),
        _ => Duration::ZERO,
    });
}

fn unread(raw: &Raw, random: &mut Random, counts: &Counts) {
    let request = message(random.pick(&[GET_FEATURES, GET_PROTOCOL_FEATURES]), VERSION, &[]);
    for _ in 0..random.below(20_000) {
        if raw.send(&request, &[]).is_err() {
            count(&counts.unread);
            return;
        }
    }
}

/// A file whose file system does not answer, in place of anything.
fn waiting_file(raw: &Raw, path: &Path, random: &mut Random, counts: &Counts) {
    if let Some(fuse) = FuseFile::new(path) {
        let fd = fuse.file.as_ref().unwrap().as_raw_fd();
        let request = random.pick(&[SET_VRING_CALL, SET_VRING_KICK, SET_MEM_TABLE, GET_FEATURES]);
        say(raw, request, VERSION, &table(&[(GUEST_BASE, 4096, 0x1000, 0)]), &[fd], counts);
        sleep(Duration::from_millis(random.below(100)));
    }
}

fn say(raw: &Raw, request: u32, flags: u32, body: &[u8], fds: &[RawFd], counts: &Counts) {
    count(&counts.messages);
    counts.descriptors.fetch_add(fds.len() as u64, Ordering::Relaxed);
    let _ = raw.message(request, flags, body, fds);
}

/// A message of any kind: its body, its length and its descriptors may be those of another.
fn any_message(raw: &Raw, random: &mut Random, counts: &Counts) {
    let request = random.below(46) as u32;
    let flags = random.pick(&[VERSION, VERSION, VERSION | NEED_REPLY, VERSION | 4, 0, 3, u32::MAX]);
    let numbers = [0, 1, 2, 16, 128, 4096, 1 << 30, GUEST_BASE, u64::MAX, u64::MAX / 2];
    let words = random.below(7);
    let mut body: Vec<u8> = (0..words).flat_map(|_| random.pick(&numbers).to_ne_bytes()).collect();
    if random.one_in(8) {
        body.truncate(random.below(body.len() as u64 + 1) as usize);
    }
    let descriptors: Vec<OwnedFd> = match random.below(12) {
        0..=5 => Vec::new(),
        6..=10 => vec![descriptor(random)],
        _ => (0..random.below(40)).map(|_| descriptor(random)).collect(),
    };
    let fds: Vec<RawFd> = descriptors.iter().map(AsRawFd::as_raw_fd).collect();
    if random.one_in(15) {
        // The length is a lie.
        let mut bytes = message(request, flags, &body);
        let length = random.pick(&[0, 1, 8, 4096, 4097, u32::MAX]);
        bytes[8..12].copy_from_slice(&length.to_ne_bytes());
        count(&counts.messages);
        let _ = raw.send(&bytes, &fds);
    } else {
        say(raw, request, flags, &body, &fds, counts);
    }
}

/// A descriptor of any kind.
fn descriptor(random: &mut Random) -> OwnedFd {
    let open = |path| File::options().read(true).write(true).open(path).unwrap().into();
    match random.below(12) {
        0 => full_blocking_eventfd(),
        1 => full_blocking_pipe().0,
        2 => std::io::pipe().unwrap().0.into(),
        3 => UnixStream::pair().unwrap().0.into(),
        4 => open("/dev/null"),
        5 => open("/dev/zero"),
        6 => File::open("/").unwrap().into(),
        7 => lingering_socket().unwrap_or_else(|| open("/dev/full")),
        8 => {
            memory(random.pick(&[0, 100, 4096, MIB]), random.pick(&[0, libc::F_SEAL_WRITE])).into()
        }
        // SAFETY: makes a descriptor, which nobody else has.
        9 => unsafe { OwnedFd::from_raw_fd(libc::epoll_create1(0)) },
        _ => eventfd(random.pick(&[0, libc::EFD_NONBLOCK])),
    }
}

fn eventfd(flags: i32) -> OwnedFd {
    // SAFETY: makes a descriptor, which nobody else has.
    unsafe { OwnedFd::from_raw_fd(libc::eventfd(0, flags | libc::EFD_CLOEXEC)) }
}

/// Who closes it last waits until what was sent has arrived, which is never.
fn lingering_socket() -> Option<OwnedFd> {
    let listener = TcpListener::bind("127.0.0.1:0").ok()?;
    let stream = TcpStream::connect(listener.local_addr().ok()?).ok()?;
    let _accepted = listener.accept().ok()?;
    let linger = libc::linger { l_onoff: 1, l_linger: 2 };
    let bytes = size_of_val(&linger) as u32;
    // SAFETY: the option lives through the call.
    unsafe {
        libc::setsockopt(
            stream.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_LINGER,
            (&raw const linger).cast(),
            bytes,
        )
    };
    Some(stream.into())
}

/// Memory that can be sealed.
fn memory(bytes: u64, seals: i32) -> File {
    let flags = libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING;
    // SAFETY: makes a descriptor, which nobody else has.
    let file = unsafe { File::from_raw_fd(libc::memfd_create(c"fuzz".as_ptr(), flags)) };
    file.set_len(bytes).unwrap();
    // SAFETY: seals our own file.
    unsafe { libc::fcntl(file.as_raw_fd(), libc::F_ADD_SEALS, seals) };
    file
}

/// For SET_MEM_TABLE: of each region where the guest sees it, its bytes, where the frontend sees
/// it, its offset in the file.
fn table(regions: &[(u64, u64, u64, u64)]) -> Vec<u8> {
    let mut body = (regions.len() as u64).to_ne_bytes().to_vec();
    for (guest, bytes, user, offset) in regions {
        [guest, bytes, user, offset].iter().for_each(|n| body.extend_from_slice(&n.to_ne_bytes()));
    }
    body
}

fn pair(index: u32, number: u32) -> Vec<u8> {
    [index.to_ne_bytes(), number.to_ne_bytes()].concat()
}

/// Where the frontend sees the guest's memory.
const USER_BASE: u64 = 0x7000_0000_0000;
const GUEST_BYTES: u64 = 4 * MIB;

/// A frontend that speaks as it should, mostly, and whose guest does not.
fn rings(raw: &Raw, random: &mut Random, counts: &Counts) {
    let guest = memory(GUEST_BYTES, 0);
    let (kick, call) = (eventfd(libc::EFD_NONBLOCK), any_call(random));
    set_up(raw, &guest, random, counts);
    if random.below(8) > 0 {
        say(raw, GET_FEATURES, VERSION, &[], &[], counts);
        wait_for_turn(raw);
    }
    let queues = 1 + random.below(2) as u32;
    for index in 0..queues {
        start(raw, index, kick.as_raw_fd(), call.as_raw_fd(), random, counts);
    }
    let mut available = [0u16; 2];
    for _ in 0..random.below(12) {
        for index in 0..queues {
            offer(&guest, index, &mut available[index as usize], random);
            count(&counts.rings);
        }
        add(&kick, 1);
        // Mostly the daemon gets to see that before the next.
        sleep(Duration::from_micros(random.pick(&[0, 200, 1000, 3000])));
        // The frontend says that this eventfd does not block, and then it does.
        let flags = random.pick(&[0, libc::O_NONBLOCK]);
        // SAFETY: a flag of our own description.
        unsafe { libc::fcntl(call.as_raw_fd(), libc::F_SETFL, flags) };
        match random.below(12) {
            0 => any_message(raw, random, counts),
            1 => say(raw, GET_VRING_BASE, VERSION, &pair(0, 0), &[], counts),
            2 => start(raw, 0, kick.as_raw_fd(), call.as_raw_fd(), random, counts),
            3 => set_up(raw, &guest, random, counts),
            4 => sleep(Duration::from_millis(random.below(5))),
            5 => cut(&guest, random, counts),
            _ => {}
        }
    }
    let mut used = [0; 2];
    if guest.read_exact_at(&mut used, 0x5002).is_ok() {
        counts.answered.fetch_add(u16::from_le_bytes(used).into(), Ordering::Relaxed);
    }
}

/// Memory that was there goes away, all of it or a part, and some of it comes again.
fn cut(guest: &File, random: &mut Random, counts: &Counts) {
    guest.set_len(random.pick(&[0, 100, 0x4800, 0x2_0000, MIB])).unwrap();
    if random.one_in(3) {
        guest.set_len(GUEST_BYTES).unwrap();
    }
    count(&counts.truncated);
}

fn any_call(random: &mut Random) -> OwnedFd {
    match random.below(4) {
        0 => full_blocking_eventfd(),
        1 => eventfd(0),
        _ => eventfd(libc::EFD_NONBLOCK),
    }
}

/// Until the daemon has answered something: it has a single frontend at a time.
fn wait_for_turn(raw: &Raw) {
    let mut entry = libc::pollfd { fd: raw.0.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    // SAFETY: one entry.
    unsafe { libc::poll(&mut entry, 1, 2000) };
}

/// From the owner to the memory; now and then something is left out.
fn set_up(raw: &Raw, guest: &File, random: &mut Random, counts: &Counts) {
    let mut maybe = |request, body: &[u8], fds: &[RawFd]| {
        if !random.one_in(25) {
            say(raw, request, VERSION, body, fds, counts);
        }
    };
    maybe(SET_OWNER, &[], &[]);
    maybe(GET_FEATURES, &[], &[]);
    // VERSION_1, protocol features, event index, indirect descriptors.
    let features = VERSION_1 | PROTOCOL | EVENT_IDX | INDIRECT_DESC;
    maybe(SET_FEATURES, &features.to_ne_bytes(), &[]);
    let protocol = 0x1u64 | 0x8 | 0x200 | 0x1000 | 0x2000 | 0x8000;
    maybe(SET_PROTOCOL_FEATURES, &protocol.to_ne_bytes(), &[]);
    let half = GUEST_BYTES / 2;
    let whole = [(GUEST_BASE, GUEST_BYTES, USER_BASE, 0)];
    let halves =
        [(GUEST_BASE, half, USER_BASE, 0), (GUEST_BASE + half, half, USER_BASE + half, half)];
    let fd = guest.as_raw_fd();
    maybe(SET_MEM_TABLE, &table(&whole), &[fd]);
    maybe(SET_MEM_TABLE, &table(&halves), &[fd, fd]);
    if random.one_in(10) {
        let inflight = memory(MIB, 0);
        let noise = random.bytes(600);
        inflight.write_all_at(&noise, 0).unwrap();
        let numbers = (u64::from(QUEUE_SIZE) << 16 | 2).to_ne_bytes();
        let body = [&MIB.to_ne_bytes()[..], &0u64.to_ne_bytes(), &numbers].concat();
        say(raw, SET_INFLIGHT_FD, VERSION, &body, &[inflight.as_raw_fd()], counts);
        inflight.set_len(random.pick(&[0, 64, MIB, MIB, MIB])).unwrap();
    }
}

/// Where the parts of ring `index` begin in guest memory.
fn ring_at(index: u32) -> u64 {
    u64::from(index) * 0x8000
}

fn start(raw: &Raw, index: u32, kick: RawFd, call: RawFd, random: &mut Random, counts: &Counts) {
    let queue = u64::from(index).to_ne_bytes();
    let at = USER_BASE + ring_at(index);
    let mut addresses = pair(index, 0);
    for address in [at, at + 0x5000, at + 0x4000, 0] {
        addresses.extend_from_slice(&address.to_ne_bytes());
    }
    let other = descriptor(random);
    let err = if random.one_in(4) { other.as_raw_fd() } else { call };
    say(raw, SET_VRING_NUM, VERSION, &pair(index, QUEUE_SIZE.into()), &[], counts);
    say(raw, SET_VRING_BASE, VERSION, &pair(index, 0), &[], counts);
    say(raw, SET_VRING_ADDR, VERSION, &addresses, &[], counts);
    say(raw, SET_VRING_KICK, VERSION, &queue, &[kick], counts);
    say(raw, SET_VRING_CALL, VERSION, &queue, &[call], counts);
    say(raw, SET_VRING_ERR, VERSION, &queue, &[err], counts);
    say(raw, SET_VRING_ENABLE, VERSION, &pair(index, 1), &[], counts);
}

/// Random chains become available, now and then more than there are.
fn offer(guest: &File, index: u32, available: &mut u16, random: &mut Random) {
    let write = |at: u64, bytes: &[u8]| {
        let _ = guest.write_all_at(bytes, at - GUEST_BASE);
    };
    let at = GUEST_BASE + ring_at(index);
    let far = [HONEST_SECTORS, 6000, 8191, 8192, 1 << 53, 1 << 54, 1 << 55, u64::MAX];
    scramble(&write, Place { table: at, end: GUEST_BASE + GUEST_BYTES }, &far, random);
    for _ in 0..1 + random.below(4) {
        let slot = u64::from(*available % QUEUE_SIZE);
        let heads = if random.one_in(100) { 20 } else { 16 };
        let head = random.below(heads) as u16;
        write(at + 0x4004 + 2 * slot, &head.to_ne_bytes());
        *available = available.wrapping_add(if random.one_in(200) { 40 } else { 1 });
    }
    write(at + 0x4002, &available.to_ne_bytes());
}
