//! `--backing`: a guest on an overlay, and daemons that are killed in the middle of a fill.

mod frontend;

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use blkalign::OpenOptions;
use frontend::daemon::{program, Daemon, Directory, Disk};
use frontend::guest::*;
use frontend::memory::Memory;
use frontend::random::{seed, Random};

const MIB: u64 = 1 << 20;
const BYTES: u64 = 24 * MIB;
const SLOTS: u64 = 32;

/// An overlay over a file, in a directory of its own.
struct Layers {
    directory: Directory,
    top: PathBuf,
    base: PathBuf,
    /// What the guest is to see.
    model: Vec<u8>,
}

impl Layers {
    fn new() -> Layers {
        let directory = Directory::new();
        let (top, base) = (directory.join("top"), directory.join("base"));
        let model = Disk::pattern(BYTES);
        fs::write(&base, &model).unwrap();
        OpenOptions::create_overlay(&top, BYTES, 65536).unwrap();
        Layers { directory, top, base, model }
    }

    fn map(&self) -> PathBuf {
        self.directory.join("top.map")
    }

    fn arguments(&self, more: &[&str]) -> Vec<String> {
        let backing = format!("--backing={}", self.base.display());
        std::iter::once(backing).chain(more.iter().map(|word| word.to_string())).collect()
    }

    fn start(&self, socket: &Path, more: &[&str]) -> Daemon {
        let arguments = self.arguments(more);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        Daemon::start_at(&self.top, socket, &arguments)
    }

    /// What the overlay shows once no daemon has it.
    fn contents(&self) -> Vec<u8> {
        let base = OpenOptions::new().open(&self.base).unwrap();
        let top = OpenOptions::new().open_overlay(&self.top, &base, false).unwrap();
        let mut all = vec![0; BYTES as usize];
        top.read_at(&mut all, 0).unwrap();
        all
    }
}

/// As a supervisor ends it: what it has is closed.
fn end(daemon: &mut Daemon) {
    assert!(daemon.terminate(PATIENCE).is_some_and(|status| status.success()));
}

fn memory() -> Arc<Memory> {
    Arc::new(Memory::new(2, 2 * MIB))
}

#[test]
fn a_guest_writes_to_the_overlay_and_not_to_what_is_below() {
    let mut layers = Layers::new();
    let socket = layers.directory.join("socket");
    let mut daemon = layers.start(&socket, &["--copy-on-read=on"]);
    let mut guest = Guest::connect(&socket, memory(), &Wishes::default());
    // A sector in the middle of a cluster, and some beside its end.
    for (sector, bytes) in [(3, 512), (127, 2048), (1000, 65536)] {
        assert_eq!(guest.write(0, sector, &vec![9; bytes]), Some(OK));
        layers.model[sector as usize * 512..][..bytes].fill(9);
    }
    assert!(guest.read(0, 120, 8192).unwrap() == layers.model[120 * 512..][..8192]);
    drop(guest);
    end(&mut daemon);
    assert!(layers.contents() == layers.model);
    assert!(fs::read(&layers.base).unwrap() == Disk::pattern(BYTES), "the base has changed");
    assert!(layers.map().exists());
}

/// The guest goes on without a break, as QEMU's does with `reconnect`: what it was told to be
/// written is there, flushed or not. In the end the copy is an ordinary image.
#[test]
fn a_daemon_killed_in_the_middle_of_a_fill_loses_nothing_of_its_guest() {
    let mut layers = Layers::new();
    let socket = layers.directory.join("socket");
    let mut random = Random::new(seed());
    let fill = ["--fill=on"];
    let mut daemon = layers.start(&socket, &fill);
    let mut guest = Guest::connect(&socket, memory(), &Wishes::default());
    let inflight = guest.new_inflight();
    let mut free: Vec<u64> = (0..SLOTS).collect();
    for round in 1..8u8 {
        let until = Instant::now() + Duration::from_millis(random.below(40));
        while Instant::now() < until {
            while let Some(slot) = free.pop() {
                // Each slot has sectors of its own, all over the disk.
                let sectors = BYTES / 512 / SLOTS;
                let (sector, byte) = (slot + SLOTS * random.below(sectors), random.next() as u8);
                layers.model[sector as usize * 512..][..512].fill(byte);
                offer_write(&mut guest, slot, sector, byte);
            }
            guest.rings[0].publish();
            free.extend(guest.rings[0].wait_used(PATIENCE).map(|(head, _)| u64::from(head / 3)));
        }
        daemon.kill();
        daemon = layers.start(&socket, &fill);
        let rings = std::mem::take(&mut guest.rings);
        let memory = guest.memory.clone();
        drop(guest);
        guest = Guest::negotiate(&socket, memory, &Wishes::default());
        guest.rings = rings;
        guest.give_inflight(&inflight);
        let used = guest.memory.read(guest.rings[0].used_at() + 2, 2);
        guest.start_ring(0, u16::from_le_bytes([used[0], used[1]]));
        while free.len() < SLOTS as usize {
            let used = guest.rings[0].wait_used(PATIENCE);
            let (head, _) = used.unwrap_or_else(|| panic!("round {round}: a request is lost"));
            free.push(u64::from(head / 3));
        }
    }
    let filled = Instant::now() + PATIENCE;
    while layers.map().exists() {
        drop(guest);
        end(&mut daemon);
        if !layers.map().exists() {
            break;
        }
        assert!(Instant::now() < filled, "the fill does not end");
        daemon = layers.start(&socket, &fill);
        guest = Guest::connect(&socket, memory(), &Wishes::default());
        std::thread::sleep(Duration::from_millis(300));
    }
    let top = fs::File::open(&layers.top).unwrap();
    let mut all = vec![0; BYTES as usize];
    top.read_exact_at(&mut all, 0).unwrap();
    assert!(all == layers.model, "a write is lost");
}

#[test]
fn what_makes_no_sense_is_refused_with_words() {
    let layers = Layers::new();
    let socket = layers.directory.join("socket");
    for (arguments, why) in [
        (vec!["--fill=on".to_owned()], "--backing is missing"),
        (vec!["--copy-on-read=on".to_owned()], "--backing is missing"),
        (layers.arguments(&["--fill=on", "--read-only"]), "not with --read-only"),
        (vec!["--backing=/nonexistent".to_owned()], "/nonexistent: cannot open"),
    ] {
        let mut command = program();
        command.arg("--socket").arg(&socket).arg("--file").arg(&layers.top).args(&arguments);
        let output = command.output().unwrap();
        let words = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && words.contains(why), "{arguments:?}: {words}");
    }
}

fn offer_write(guest: &mut Guest, slot: u64, sector: u64, byte: u8) {
    let request = Request { kind: OUT, sector, bytes: 512, writes: false };
    let at = guest.data_at() + slot * 0x2000;
    let data = guest.prepare(0, slot as u16 * 3, at, &request);
    guest.memory.write(data, &[byte; 512]);
    guest.rings[0].offer(slot as u16 * 3);
}
