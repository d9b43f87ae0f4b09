use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::proof::disk::hooked::{Bed, Hook, Hooked, Real, SystemCall, ALL};
use crate::proof::disk::injector::{Answer, Call, Injector, Plan};
use crate::proof::disk::testbed::Directory;
use crate::proof::faults::errnos::answers;
use crate::proof::table::with_calls;
use crate::sys::{Calls, Linux};

/// Three pages, the last of them with one cluster, and that one of one byte.
const LENGTH: u64 = 2 * 31232 * 4096 + 1;
const CLUSTER: u32 = 4096;
const WORDS_OF_ALL: usize = 2 * WORDS + 1;

/// A map in a directory of its own.
struct Bench {
    _directory: Directory,
    path: PathBuf,
}

impl Bench {
    /// Nothing is there yet.
    fn new() -> Bench {
        let directory = Directory::quick().unwrap();
        let path = directory.path().join("disk.map");
        Bench { _directory: directory, path }
    }

    fn with_map() -> Bench {
        let bench = Bench::new();
        MapFile::create(&bench.path, LENGTH, CLUSTER).unwrap();
        bench
    }

    fn open(&self) -> Result<(MapFile, Vec<u64>), Error> {
        MapFile::open(&self.path, LENGTH)
    }

    fn bits(&self) -> Vec<u64> {
        self.open().unwrap().1
    }

    fn bytes(&self) -> Vec<u8> {
        std::fs::read(&self.path).unwrap()
    }

    fn patch(&self, offset: u64, bytes: &[u8]) {
        let file = std::fs::OpenOptions::new().write(true).open(&self.path).unwrap();
        file.write_all_at(bytes, offset).unwrap();
    }

    /// Opening fails, and changes nothing: the errno and the words.
    fn refused(&self) -> (i32, String) {
        let before = self.bytes();
        let error = self.open().err().expect("it opens");
        assert!(self.bytes() == before, "{error}");
        assert!(error.words.starts_with(self.path.to_str().unwrap()), "{error}");
        (error.errno, error.words)
    }
}

fn ones(words: usize) -> Vec<u64> {
    vec![u64::MAX; words]
}

#[test]
fn what_was_synced_is_found_again() {
    let bench = Bench::with_map();
    assert_eq!(bench.bits(), vec![0; WORDS_OF_ALL]);
    let (map, _) = bench.open().unwrap();
    assert_eq!((map.cluster(), map.length()), (CLUSTER, LENGTH));
    for number in 1..5 {
        let mut bits = vec![0; WORDS];
        bits[..number].fill(u64::MAX);
        map.write_page(1, &bits).unwrap();
        map.write_page(2, &[1]).unwrap();
        map.sync().unwrap();
    }
    // Fewer words than the page has: the others are 0.
    map.write_page(0, &[7]).unwrap();
    map.sync().unwrap();
    drop(map);
    let mut expected = vec![0; WORDS_OF_ALL];
    expected[0] = 7;
    expected[WORDS..WORDS + 4].fill(u64::MAX);
    expected[2 * WORDS] = 1;
    assert_eq!(bench.bits(), expected);
}

#[test]
fn what_does_not_fit_is_not_written() {
    let bench = Bench::with_map();
    let before = bench.bytes();
    let (map, _) = bench.open().unwrap();
    assert_eq!(map.write_page(3, &[]), Err(libc::EINVAL));
    assert_eq!(map.write_page(u64::MAX, &[]), Err(libc::EINVAL));
    assert_eq!(map.write_page(0, &ones(WORDS + 1)), Err(libc::EINVAL));
    assert_eq!(map.write_page(2, &[2]), Err(libc::EINVAL));
    assert_eq!(map.write_page(2, &[1, 1]), Err(libc::EINVAL));
    assert!(bench.bytes() == before);
    assert_eq!(map.sync(), Ok(()));
}

#[test]
fn a_map_has_one_owner() {
    let bench = Bench::with_map();
    let (map, _) = bench.open().unwrap();
    let (errno, words) = bench.refused();
    assert!(errno == libc::EAGAIN && words.contains("byte 0 is locked"), "{words}");
    drop(map);
    bench.open().unwrap();
}

#[test]
fn maps_that_do_not_fit_are_refused() {
    let bench = Bench::with_map();
    let error = MapFile::open(&bench.path, LENGTH - 1).err().unwrap();
    assert!(error.errno == libc::EINVAL && error.words.contains("and there are"), "{error}");
    let error = MapFile::create(&bench.path, LENGTH, CLUSTER).unwrap_err();
    assert_eq!(error.errno, libc::EEXIST);
    assert_eq!(bench.bits(), vec![0; WORDS_OF_ALL]);
    let whole = bench.bytes();
    for (bytes, why) in [
        (0, "less than its header"),
        (4095, "less than its header"),
        (4096, "the map has 4096 bytes"),
        (whole.len() - 1, "the map has"),
        (whole.len() + 1, "the map has"),
    ] {
        let mut cut = whole.clone();
        cut.resize(bytes, 0);
        std::fs::write(&bench.path, cut).unwrap();
        let (errno, words) = bench.refused();
        assert!(errno == libc::EINVAL && words.contains(why), "{bytes}: {words}");
    }
    std::fs::remove_file(&bench.path).unwrap();
    let error = bench.open().err().unwrap();
    assert!(error.errno == libc::ENOENT && error.words.contains("ordinary one"), "{error}");
    std::fs::create_dir(&bench.path).unwrap();
    assert_eq!(bench.open().err().unwrap().errno, libc::EISDIR);
    std::fs::remove_dir(&bench.path).unwrap();
    for (length, cluster) in [(LENGTH, 4095), (1 << 60, 4096), (u64::MAX, 65536)] {
        let error = MapFile::create(&bench.path, length, cluster).unwrap_err();
        assert!(error.errno == libc::EINVAL && !bench.path.exists(), "{error}");
    }
}

#[test]
fn every_changed_byte_is_noticed_and_the_words_say_where() {
    let bench = Bench::new();
    MapFile::create(&bench.path, 200_000, CLUSTER).unwrap();
    let open = || MapFile::open(&bench.path, 200_000);
    let (map, _) = open().unwrap();
    for bits in [1, 3, 7] {
        map.write_page(0, &[bits]).unwrap();
        map.sync().unwrap();
    }
    drop(map);
    let bytes = bench.bytes();
    for (at, byte) in bytes.iter().enumerate() {
        bench.patch(at as u64, &[byte ^ 0x55]);
        let error = open().err().unwrap_or_else(|| panic!("byte {at}"));
        assert_eq!(error.errno, libc::EINVAL, "byte {at}");
        let place = format!("byte {}", at / format::SECTOR * format::SECTOR);
        assert!(at < SLOT || error.words.contains(&place), "byte {at}: {error}");
        bench.patch(at as u64, &[*byte]);
    }
    assert!(bench.bytes() == bytes && open().is_ok());
}

#[test]
fn what_may_not_be_written_is_opened_for_reading() {
    let bench = Bench::with_map();
    let (map, _) = bench.open().unwrap();
    map.write_page(0, &[5]).unwrap();
    map.sync().unwrap();
    drop(map);
    let read_only = || {
        let table = Injector::table(Bed::Linux);
        let answer = Answer::Fails(libc::EROFS);
        table.reset_to(Some(Plan { call: Call::Open, nth: 1, times: 1, answer }));
        table.armed.store(true, Ordering::SeqCst);
        with_calls(table, || bench.open())
    };
    let (map, bits) = read_only().unwrap();
    assert_eq!((bits[0], map.write_page(0, &[7]), map.sync()), (5, Err(libc::EROFS), Ok(())));
    // A second reader does no harm, a writer does.
    let (second, _) = read_only().unwrap();
    assert_eq!(bench.refused().0, libc::EAGAIN);
    drop((map, second));
    bench.open().unwrap();
}

#[test]
fn a_map_is_removed_wherever_the_program_is_and_no_other_file_is() {
    let bench = Bench::with_map();
    let (map, _) = bench.open().unwrap();
    let aside = bench.path.with_extension("aside");
    std::fs::rename(&bench.path, &aside).unwrap();
    std::fs::write(&bench.path, "another's").unwrap();
    assert_eq!(map.remove(), Err(libc::ESTALE));
    assert_eq!(bench.bytes(), b"another's");
    std::fs::remove_file(&bench.path).unwrap();
    assert_eq!(map.remove(), Err(libc::ENOENT));
    std::fs::rename(&aside, &bench.path).unwrap();
    assert_eq!(map.remove(), Ok(()));
    assert!(!bench.path.exists());
}

/// docs/OVERLAY.md has a map in hex; it is what the code writes.
#[test]
fn the_example_of_the_document_is_true() {
    let text = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/OVERLAY.md");
    let text = std::fs::read_to_string(text).unwrap();
    let bench = Bench::new();
    MapFile::create(&bench.path, 200_000, 65536).unwrap();
    let (map, _) = MapFile::open(&bench.path, 200_000).unwrap();
    map.write_page(0, &[0b0101]).unwrap();
    map.sync().unwrap();
    map.write_page(0, &[0b0111]).unwrap();
    map.sync().unwrap();
    let bytes = bench.bytes();
    let mut lines = 0;
    let mut shown = vec![false; bytes.len()];
    for line in text.lines() {
        let Some((offset, rest)) = line.trim().split_once("  ") else { continue };
        let Ok(offset) = usize::from_str_radix(offset, 16) else { continue };
        let hex: Vec<&str> = rest.split_whitespace().take(16).collect();
        for (at, byte) in hex.iter().enumerate() {
            let byte = u8::from_str_radix(byte, 16).unwrap();
            assert_eq!(bytes[offset + at], byte, "{line}");
            shown[offset + at] = true;
        }
        lines += 1;
    }
    let left_out = |at: &usize| !shown[*at] && bytes[*at] != 0 && (*at < 512 || *at % SLOT < 512);
    assert!(lines > 10 && !(0..bytes.len()).any(|at| left_out(&at)), "{lines} lines");
}

/// What each step of a map's life may leave.
struct Life {
    /// Per page: durable for sure, and what else may be found.
    states: Vec<Vec<Vec<u64>>>,
    removed: bool,
}

fn live(bench: &Bench, life: &mut Life) -> Result<(), i32> {
    let (map, _) = bench.open().map_err(|error| error.errno)?;
    let mut result = Ok(());
    for round in 1..4usize {
        for page in 0..2 {
            let mut bits = vec![0; WORDS];
            bits[..round].fill(u64::MAX);
            life.states[page].push(bits.clone());
            result = result.and(map.write_page(page as u64, &bits));
        }
        // A failed write is not made good by a sync: the caller has to write again.
        match result.and_then(|()| map.sync()) {
            Ok(()) => life.states.iter_mut().for_each(|of| *of = vec![of.last().unwrap().clone()]),
            Err(errno) => {
                result = Err(errno);
                let _ = map.sync();
            }
        }
    }
    if result.is_ok() {
        result = map.remove();
        life.removed = !bench.path.exists();
    }
    result
}

fn nothing_yet() -> Life {
    Life { states: vec![vec![vec![0; WORDS]]; 2], removed: false }
}

fn armed(table: &Hooked<Injector>, plan: Option<Plan>, code: impl FnOnce()) {
    table.reset_to(plan);
    table.armed.store(true, Ordering::SeqCst);
    code();
    table.armed.store(false, Ordering::SeqCst);
    assert_eq!(table.wrongs(), [] as [String; 0], "{plan:?}");
}

/// Each plan that answers one call of `code`, once or from then on.
fn plans(table: &'static Hooked<Injector>, code: impl FnOnce()) -> Vec<Plan> {
    armed(table, None, code);
    let calls = table.counts().into_iter().flat_map(|(call, count)| {
        (1..=count).flat_map(move |nth| {
            let times = [1, 1000].into_iter();
            let plan = move |times, answer| Plan { call, nth, times, answer };
            times.flat_map(move |times| answers(call).into_iter().map(move |it| plan(times, it)))
        })
    });
    calls.collect()
}

#[test]
fn whatever_a_call_answers_what_was_synced_stays() {
    let table = Injector::table(Bed::Linux);
    let bench = Bench::with_map();
    let fresh = bench.bytes();
    let whole_life = plans(table, || {
        with_calls(table, || live(&bench, &mut nothing_yet())).unwrap();
    });
    assert!(whole_life.len() > 900, "{}", whole_life.len());
    for plan in whole_life {
        std::fs::write(&bench.path, &fresh).unwrap();
        let mut life = nothing_yet();
        armed(table, Some(plan), || {
            let _ = with_calls(table, || live(&bench, &mut life));
        });
        if life.removed {
            continue;
        }
        let found = bench.open().unwrap_or_else(|error| panic!("{plan:?}: {error}")).1;
        for (page, states) in life.states.iter().enumerate() {
            let found = &found[page * WORDS..][..WORDS];
            assert!(states.iter().any(|state| state == found), "{plan:?}, page {page}");
        }
    }
}

#[test]
fn a_creation_that_fails_leaves_nothing() {
    let table = Injector::table(Bed::Linux);
    let bench = Bench::new();
    let create = || with_calls(table, || MapFile::create(&bench.path, LENGTH, CLUSTER));
    let all = plans(table, || create().unwrap());
    assert!(all.len() > 100, "{}", all.len());
    for plan in all {
        let _ = std::fs::remove_file(&bench.path);
        let mut result = Ok(());
        armed(table, Some(plan), || result = create());
        match result {
            Ok(()) => assert_eq!(bench.bits(), vec![0; WORDS_OF_ALL], "{plan:?}"),
            // Where nothing can be opened any more, nothing can be removed safely.
            Err(_) if plan.call == Call::Open && plan.times > 1 => {}
            Err(_) => assert!(!bench.path.exists(), "{plan:?}"),
        }
    }
}

#[test]
fn after_a_failed_sync_nothing_is_promised_any_more() {
    let bench = Bench::with_map();
    let table = Injector::table(Bed::Linux);
    let answer = Answer::Fails(libc::EIO);
    // The first one is that of the open.
    let plan = Plan { call: Call::Fdatasync, nth: 2, times: 1, answer };
    armed(table, Some(plan), || {
        let (map, _) = with_calls(table, || bench.open()).unwrap();
        map.write_page(0, &[1]).unwrap();
        assert_eq!(map.sync(), Err(libc::EIO));
        assert_eq!((map.write_page(1, &[1]), map.sync()), (Err(libc::EIO), Err(libc::EIO)));
    });
}

/// The first write moves a part only, the second one fails.
struct Full(AtomicUsize);

const PART: usize = 1000;

impl Hook for Full {
    fn call(&self, call: SystemCall<'_>, real: Real<'_>) -> Result<i64, Errno> {
        let SystemCall::Write { fd, iov: [one], offset, .. } = call else { return real(ALL) };
        match self.0.fetch_add(1, Ordering::SeqCst) {
            0 => {
                let part = libc::iovec { iov_len: PART, ..*one };
                // SAFETY: whoever made the call vouches for the memory, of which this is a part.
                let moved = unsafe { Linux.pwritev2(fd, &[part], offset as i64, 0) };
                moved.map(|bytes| bytes as i64)
            }
            1 => Err(libc::ENOSPC),
            _ => real(ALL),
        }
    }
}

#[test]
fn a_write_that_stops_inside_a_sector_damages_no_sector() {
    let bench = Bench::with_map();
    let table = Hooked::table(Bed::Linux, Full(AtomicUsize::new(0)));
    let (map, _) = with_calls(table, || bench.open()).unwrap();
    assert_eq!(map.write_page(0, &ones(WORDS)), Err(libc::ENOSPC));
    drop(map);
    assert_eq!(bench.bits()[0], 0);
    let (map, _) = bench.open().unwrap();
    map.write_page(0, &[3]).unwrap();
    map.sync().unwrap();
    drop(map);
    assert_eq!(bench.bits()[0], 3);
}
