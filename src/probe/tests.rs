//! The probe against storage that is simulated, and against what this machine has.

use std::ffi::CString;
use std::sync::atomic::Ordering;

use crate::proof::disk::simulated::Storage;
use crate::proof::table::with_calls;
use crate::sys::{Calls, Descriptor};

use super::{probe, Alignments, Limits, Source};
use Source::{Blksszget, Default as Unknown, Dioinfo, Override, Statx, Trial};

fn open(table: &'static dyn Calls) -> Descriptor {
    let path = CString::new("/simulated").unwrap();
    Descriptor::open(table, &path, libc::O_RDONLY | libc::O_DIRECT).unwrap()
}

fn limits_of(storage: Storage, overrides: Alignments) -> Limits {
    let table = storage.table();
    let limits = with_calls(table, || probe(&open(table), true, overrides));
    assert_eq!(table.open_descriptors.load(Ordering::Relaxed), 0);
    assert!(limits.alignments.segment as u64 <= limits.alignments.request);
    limits
}

type Answer = [(u64, Source); 3];

/// Request, mem, segment.
fn answer(limits: &Limits) -> Answer {
    [
        (limits.alignments.request, limits.sources.request),
        (limits.alignments.memory as u64, limits.sources.memory),
        (limits.alignments.segment as u64, limits.sources.segment),
    ]
}

#[track_caller]
fn expect(storage: Storage, expected: Answer) {
    assert_eq!(answer(&limits_of(storage, Alignments::default())), expected);
}

const NOTHING_KNOWN: Answer = [(4096, Unknown); 3];

#[test]
fn statx_that_says_the_truth_is_believed() {
    let says_statx = Some((512, 4096));
    expect(
        Storage { says_statx, ..Storage::device(4096) },
        [(4096, Statx), (512, Statx), (512, Trial)],
    );
    let says_statx = Some((4, 512));
    expect(
        Storage { says_statx, needs_mem: 4, needs_segment: 4, ..Storage::file(512) },
        [(512, Statx), (4, Statx), (4, Trial)],
    );
}

#[test]
fn a_claim_that_is_refused_gives_way_to_the_next_size_that_works() {
    let says_statx = Some((4, 512));
    expect(
        Storage { says_statx, ..Storage::file(4096) },
        [(4096, Trial), (512, Trial), (512, Trial)],
    );
}

#[test]
fn a_request_claim_larger_than_what_reads_need_is_kept() {
    let says_statx = Some((512, 4096));
    expect(
        Storage { says_statx, ..Storage::file(512) },
        [(4096, Statx), (512, Statx), (512, Trial)],
    );
}

#[test]
fn dioinfo_that_claims_a_page_of_memory_gives_way_to_a_trial() {
    let says_dioinfo = Some((4096, 512));
    let storage = Storage { says_dioinfo, ..Storage::file(512) };
    expect(storage.clone(), [(512, Dioinfo), (512, Trial), (512, Trial)]);
    // Memory is never checked: 1 works, so the trial says nothing.
    expect(
        Storage { needs_mem: 1, ..storage.clone() },
        [(512, Dioinfo), (4096, Dioinfo), (512, Trial)],
    );
    expect(Storage { data: vec![], ..storage }, [(512, Dioinfo), (4096, Dioinfo), (512, Unknown)]);
}

#[test]
fn an_old_kernel_that_wants_whole_blocks_as_elements_is_found_out() {
    let storage = Storage { needs_segment: 4096, ..Storage::device(4096) };
    let says_statx = Some((512, 4096));
    expect(Storage { says_statx, ..storage.clone() }, [(4096, Statx), (512, Statx), (4096, Trial)]);
    let older = Storage { needs_mem: 4096, ..storage };
    expect(older, [(4096, Blksszget), (4096, Blksszget), (4096, Trial)]);
}

#[test]
fn a_device_that_only_tells_its_block_size() {
    expect(Storage::device(4096), [(4096, Blksszget), (512, Trial), (512, Trial)]);
    expect(Storage::device(512), [(512, Blksszget), (512, Blksszget), (512, Trial)]);
    // Takes memory anywhere.
    expect(
        Storage { needs_mem: 1, needs_segment: 1, ..Storage::device(4096) },
        [(4096, Blksszget), (4096, Blksszget), (4096, Trial)],
    );
}

#[test]
fn without_any_claim_the_smallest_size_that_works_counts() {
    expect(Storage::file(4096), [(4096, Trial), (512, Trial), (512, Trial)]);
    expect(Storage::file(512), [(512, Trial), (512, Trial), (512, Trial)]);
    expect(Storage::file(65536), [(65536, Trial), (512, Trial), (512, Trial)]);
}

#[test]
fn what_works_with_one_byte_is_unknown() {
    expect(Storage::easy(), NOTHING_KNOWN);
    expect(Storage { data: vec![], ..Storage::file(4096) }, NOTHING_KNOWN);
    expect(Storage { length: 0, data: vec![], ..Storage::file(4096) }, NOTHING_KNOWN);
}

/// Says what zram says, and does what zram does.
fn zram() -> Storage {
    Storage {
        says_statx: Some((512, 4096)),
        says_zram: true,
        overwrites_pages: true,
        needs_mem: 1,
        ..Storage::device(4096)
    }
}

#[test]
fn storage_that_overwrites_whole_pages_gets_whole_pages() {
    let whole_pages = [(4096, Statx), (4096, Trial), (4096, Trial)];
    expect(zram(), whole_pages);
    expect(Storage { says_statx: Some((4, 4096)), needs_segment: 1, ..zram() }, whole_pages);
    expect(Storage { blank: true, ..zram() }, whole_pages);
    expect(
        Storage { says_statx: None, says_dioinfo: Some((512, 4096)), ..zram() },
        [(4096, Dioinfo), (4096, Trial), (4096, Trial)],
    );
}

#[test]
fn storage_that_mends_its_ways_is_used_as_it_says() {
    let mended = Storage { overwrites_pages: false, needs_mem: 512, ..zram() };
    expect(mended, [(4096, Statx), (512, Statx), (512, Trial)]);
}

#[test]
fn overrides_do_not_hide_that_whole_pages_are_overwritten() {
    let overrides = Alignments { request: 1 << 20, ..Alignments::default() };
    let expected = [(1 << 20, Override), (4096, Trial), (1 << 20, Unknown)];
    assert_eq!(answer(&limits_of(zram(), overrides)), expected);
    let overrides = Alignments { memory: 512, ..Alignments::default() };
    let expected = [(4096, Statx), (512, Override), (4096, Unknown)];
    assert_eq!(answer(&limits_of(zram(), overrides)), expected);
}

#[test]
fn requests_below_a_page_that_overwrite_it_are_no_good_either() {
    let storage = Storage { overwrites_pages: true, ..Storage::device(512) };
    expect(storage, [(4096, Trial), (4096, Trial), (4096, Trial)]);
}

#[test]
fn a_claim_about_zram_that_cannot_be_tried_is_not_believed() {
    let file = Storage { kind: libc::S_IFREG, says_block_size: None, ..zram() };
    expect(file.clone(), [(4096, Statx), (4096, Trial), (4096, Trial)]);
    let untried = [(4096, Statx), (4096, Unknown), (4096, Unknown)];
    expect(Storage { data: vec![], ..file.clone() }, untried);
    expect(Storage { data: vec![], length: 0, ..file.clone() }, untried);
    let other = Storage { data: vec![], says_zram: false, ..file };
    expect(other, [(4096, Statx), (512, Statx), (4096, Unknown)]);
}

#[test]
fn data_that_keeps_changing_gives_whole_pages_and_blocks() {
    let storage = Storage { says_statx: Some((512, 4096)), ..Storage::device(4096) };
    let all = Storage { unsteady_bytes: u64::MAX, ..storage.clone() };
    expect(all.clone(), [(4096, Statx), (4096, Unknown), (4096, Unknown)]);
    // What is harmed around an element shows all the same.
    let harmful = Storage { overwrites_pages: true, needs_mem: 1, ..all };
    expect(harmful, [(4096, Statx), (4096, Unknown), (4096, Unknown)]);
    // Where only a part of it changes, the trial goes elsewhere.
    let part = Storage { unsteady_bytes: 1 << 18, ..storage };
    expect(part, [(4096, Statx), (512, Statx), (512, Trial)]);
}

#[test]
fn opening_costs_a_handful_of_reads() {
    let disk = Storage { says_statx: Some((512, 4096)), ..Storage::device(4096) };
    let hole = Storage { data: vec![], ..Storage::file(4096) };
    let empty = Storage { length: 0, ..hole.clone() };
    let cases = [(disk, 6), (zram(), 9), (Storage::easy(), 4), (hole, 4), (empty, 0)];
    for (storage, expected) in cases {
        let table = storage.table();
        probe(&open(table), true, Alignments::default());
        assert_eq!(table.reads.load(Ordering::Relaxed), expected);
    }
}

#[test]
fn element_lengths_are_not_learnt_from_storage_that_checks_nothing() {
    let says_statx = Some((512, 4096));
    expect(
        Storage { says_statx, ..Storage::easy() },
        [(4096, Statx), (512, Statx), (4096, Unknown)],
    );
}

#[test]
fn holes_are_passed_over_on_the_way_to_data() {
    expect(
        Storage { data: vec![(4096, 8192), (262144, 270336)], ..Storage::file(4096) },
        [(4096, Trial), (512, Trial), (512, Trial)],
    );
}

#[test]
fn a_file_shorter_than_a_block_is_tried_past_its_end() {
    let short = Storage { length: 700, data: vec![(0, 700)], ..Storage::file(4096) };
    expect(short, [(4096, Trial), (512, Trial), (512, Trial)]);
}

#[test]
fn a_refusal_by_eio_counts_where_a_larger_size_works() {
    let crypt = Storage { refusal: libc::EIO, ..Storage::file(4096) };
    expect(crypt.clone(), [(4096, Trial), (512, Trial), (512, Trial)]);
    let says_statx = Some((512, 512));
    let lying = Storage { says_statx, ..crypt.clone() };
    expect(lying, [(4096, Trial), (512, Statx), (512, Trial)]);
    // Nothing works at all: the disk is broken, and says nothing about alignments.
    let broken = Storage { needs_request: 1 << 40, says_statx, ..crypt };
    expect(broken, [(512, Statx), (512, Statx), (512, Unknown)]);
}

#[test]
fn claims_that_cannot_be_right_are_not_heard() {
    for absurd in [(0, 0), (3, 1000), (1 << 30, 1 << 30)] {
        let storage = Storage { data: vec![], says_statx: Some(absurd), ..Storage::file(4096) };
        expect(storage, NOTHING_KNOWN);
    }
    let says_dioinfo = Some((0, 1));
    expect(Storage { data: vec![], says_dioinfo, ..Storage::file(4096) }, NOTHING_KNOWN);
}

#[test]
fn overrides_are_obeyed_and_the_rest_follows_them() {
    let storage = Storage { says_statx: Some((512, 512)), ..Storage::file(512) };
    let overrides = Alignments { request: 4096, ..Alignments::default() };
    let expected = [(4096, Override), (512, Statx), (512, Trial)];
    assert_eq!(answer(&limits_of(storage.clone(), overrides)), expected);
    // The storage refuses every trial at such addresses, so nothing is learnt about elements.
    let overrides = Alignments { memory: 1, ..overrides };
    let expected = [(4096, Override), (1, Override), (4096, Unknown)];
    assert_eq!(answer(&limits_of(storage.clone(), overrides)), expected);
    let overrides = Alignments { segment: 8192, ..overrides };
    let expected = [(8192, Override), (1, Override), (8192, Override)];
    assert_eq!(answer(&limits_of(storage, overrides)), expected);
}

#[test]
fn buffered_takes_anything_and_still_obeys_overrides() {
    let table = Storage::file(4096).table();
    let descriptor = open(table);
    let limits = probe(&descriptor, false, Alignments::default());
    assert_eq!(answer(&limits), [(1, Unknown); 3]);
    assert!(!limits.direct);
    let overrides = Alignments { request: 4096, ..Alignments::default() };
    let limits = probe(&descriptor, false, overrides);
    assert_eq!(answer(&limits), [(4096, Override), (1, Unknown), (1, Unknown)]);
    assert_eq!(table.reads.load(Ordering::Relaxed), 0);
}
