//! The probe against storage that is simulated, and against what this machine has.

use std::ffi::CString;

use crate::proof::disk::{Disk, Shape};
use crate::proof::table::with_calls;
use crate::sys::{Calls, Descriptor};

use super::{probe, Alignments, Limits, Source};
use Source::{Blksszget, Default as Unknown, Dioinfo, Override, Statx, Trial};

fn open(table: &'static dyn Calls) -> Descriptor {
    let path = CString::new("/simulated").unwrap();
    Descriptor::open(table, &path, libc::O_RDONLY | libc::O_DIRECT).unwrap()
}

fn limits_of(storage: Shape, overrides: Alignments) -> Limits {
    let table = Disk::table(storage);
    let limits = with_calls(table, || probe(&open(table), true, overrides));
    assert_eq!(table.open_descriptors(), 0);
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
fn expect(storage: Shape, expected: Answer) {
    assert_eq!(answer(&limits_of(storage, Alignments::default())), expected);
}

const NOTHING_KNOWN: Answer = [(4096, Unknown); 3];

#[test]
fn statx_that_says_the_truth_is_believed() {
    let says_statx = Some((512, 4096));
    expect(
        Shape { says_statx, ..Shape::silent_device(4096) },
        [(4096, Statx), (512, Statx), (512, Trial)],
    );
    let says_statx = Some((4, 512));
    expect(
        Shape { says_statx, needs_memory: 4, needs_segment: 4, ..Shape::silent(512) },
        [(512, Statx), (4, Statx), (4, Trial)],
    );
}

#[test]
fn a_claim_that_is_refused_gives_way_to_the_next_size_that_works() {
    let says_statx = Some((4, 512));
    expect(
        Shape { says_statx, ..Shape::silent(4096) },
        [(4096, Trial), (512, Trial), (512, Trial)],
    );
}

#[test]
fn a_request_claim_larger_than_what_reads_need_is_kept() {
    let says_statx = Some((512, 4096));
    expect(Shape { says_statx, ..Shape::silent(512) }, [(4096, Statx), (512, Statx), (512, Trial)]);
}

#[test]
fn dioinfo_that_claims_a_page_of_memory_gives_way_to_a_trial() {
    let says_dioinfo = Some((4096, 512));
    let storage = Shape { says_dioinfo, ..Shape::silent(512) };
    expect(storage, [(512, Dioinfo), (512, Trial), (512, Trial)]);
    // Memory is never checked: 1 works, so the trial says nothing.
    expect(Shape { needs_memory: 1, ..storage }, [(512, Dioinfo), (4096, Dioinfo), (512, Trial)]);
    expect(
        Shape { allocated: Some(&[]), ..storage },
        [(512, Dioinfo), (4096, Dioinfo), (512, Unknown)],
    );
}

#[test]
fn an_old_kernel_that_wants_whole_blocks_as_elements_is_found_out() {
    let storage = Shape { needs_segment: 4096, ..Shape::silent_device(4096) };
    let says_statx = Some((512, 4096));
    expect(Shape { says_statx, ..storage }, [(4096, Statx), (512, Statx), (4096, Trial)]);
    let older = Shape { needs_memory: 4096, ..storage };
    expect(older, [(4096, Blksszget), (4096, Blksszget), (4096, Trial)]);
}

#[test]
fn a_device_that_only_tells_its_block_size() {
    expect(Shape::silent_device(4096), [(4096, Blksszget), (512, Trial), (512, Trial)]);
    expect(Shape::silent_device(512), [(512, Blksszget), (512, Blksszget), (512, Trial)]);
    // Takes memory anywhere.
    expect(
        Shape { needs_memory: 1, needs_segment: 1, ..Shape::silent_device(4096) },
        [(4096, Blksszget), (4096, Blksszget), (4096, Trial)],
    );
}

#[test]
fn without_any_claim_the_smallest_size_that_works_counts() {
    expect(Shape::silent(4096), [(4096, Trial), (512, Trial), (512, Trial)]);
    expect(Shape::silent(512), [(512, Trial), (512, Trial), (512, Trial)]);
    expect(Shape::silent(65536), [(65536, Trial), (512, Trial), (512, Trial)]);
}

#[test]
fn what_works_with_one_byte_is_unknown() {
    expect(Shape::easy(), NOTHING_KNOWN);
    expect(Shape { allocated: Some(&[]), ..Shape::silent(4096) }, NOTHING_KNOWN);
    expect(Shape { bytes: 0, allocated: Some(&[]), ..Shape::silent(4096) }, NOTHING_KNOWN);
}

/// Says what zram says, and does what zram does.
fn zram() -> Shape {
    Shape {
        says_statx: Some((512, 4096)),
        says_zram: true,
        overwrites_pages: true,
        needs_memory: 1,
        ..Shape::silent_device(4096)
    }
}

#[test]
fn storage_that_overwrites_whole_pages_gets_whole_pages() {
    let whole_pages = [(4096, Statx), (4096, Trial), (4096, Trial)];
    expect(zram(), whole_pages);
    expect(Shape { says_statx: Some((4, 4096)), needs_segment: 1, ..zram() }, whole_pages);
    expect(Shape { blank: true, ..zram() }, whole_pages);
    expect(
        Shape { says_statx: None, says_dioinfo: Some((512, 4096)), ..zram() },
        [(4096, Dioinfo), (4096, Trial), (4096, Trial)],
    );
}

#[test]
fn storage_that_mends_its_ways_is_used_as_it_says() {
    let mended = Shape { overwrites_pages: false, needs_memory: 512, ..zram() };
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
    let storage = Shape { overwrites_pages: true, ..Shape::silent_device(512) };
    expect(storage, [(4096, Trial), (4096, Trial), (4096, Trial)]);
}

#[test]
fn a_claim_about_zram_that_cannot_be_tried_is_not_believed() {
    let file = Shape { device: false, says_block_size: None, ..zram() };
    expect(file, [(4096, Statx), (4096, Trial), (4096, Trial)]);
    let untried = [(4096, Statx), (4096, Unknown), (4096, Unknown)];
    expect(Shape { allocated: Some(&[]), ..file }, untried);
    expect(Shape { allocated: Some(&[]), bytes: 0, ..file }, untried);
    let other = Shape { allocated: Some(&[]), says_zram: false, ..file };
    expect(other, [(4096, Statx), (512, Statx), (4096, Unknown)]);
}

#[test]
fn data_that_keeps_changing_gives_whole_pages_and_blocks() {
    let storage = Shape { says_statx: Some((512, 4096)), ..Shape::silent_device(4096) };
    let all = Shape { unsteady_bytes: u64::MAX, ..storage };
    expect(all, [(4096, Statx), (4096, Unknown), (4096, Unknown)]);
    // What is harmed around an element shows all the same.
    let harmful = Shape { overwrites_pages: true, needs_memory: 1, ..all };
    expect(harmful, [(4096, Statx), (4096, Unknown), (4096, Unknown)]);
    // Where only a part of it changes, the trial goes elsewhere.
    let part = Shape { unsteady_bytes: 1 << 18, ..storage };
    expect(part, [(4096, Statx), (512, Statx), (512, Trial)]);
}

#[test]
fn opening_costs_a_handful_of_reads() {
    let disk = Shape { says_statx: Some((512, 4096)), ..Shape::silent_device(4096) };
    let hole = Shape { allocated: Some(&[]), ..Shape::silent(4096) };
    let empty = Shape { bytes: 0, ..hole };
    let cases = [(disk, 6), (zram(), 9), (Shape::easy(), 4), (hole, 4), (empty, 0)];
    for (storage, expected) in cases {
        let table = Disk::table(storage);
        probe(&open(table), true, Alignments::default());
        assert_eq!(table.state().reads, expected);
    }
}

#[test]
fn element_lengths_are_not_learnt_from_storage_that_checks_nothing() {
    let says_statx = Some((512, 4096));
    expect(Shape { says_statx, ..Shape::easy() }, [(4096, Statx), (512, Statx), (4096, Unknown)]);
}

#[test]
fn holes_are_passed_over_on_the_way_to_data() {
    expect(
        Shape { allocated: Some(&[(4096, 8192), (262144, 270336)]), ..Shape::silent(4096) },
        [(4096, Trial), (512, Trial), (512, Trial)],
    );
}

#[test]
fn a_file_shorter_than_a_block_is_tried_past_its_end() {
    let short = Shape { bytes: 700, allocated: Some(&[(0, 700)]), ..Shape::silent(4096) };
    expect(short, [(4096, Trial), (512, Trial), (512, Trial)]);
}

#[test]
fn a_refusal_by_eio_counts_where_a_larger_size_works() {
    let crypt = Shape { refusal: libc::EIO, ..Shape::silent(4096) };
    expect(crypt, [(4096, Trial), (512, Trial), (512, Trial)]);
    let says_statx = Some((512, 512));
    let lying = Shape { says_statx, ..crypt };
    expect(lying, [(4096, Trial), (512, Statx), (512, Trial)]);
    // Nothing works at all: the disk is broken, and says nothing about alignments.
    let broken = Shape { needs_request: 1 << 40, says_statx, ..crypt };
    expect(broken, [(512, Statx), (512, Statx), (512, Unknown)]);
}

#[test]
fn claims_that_cannot_be_right_are_not_heard() {
    for absurd in [(0, 0), (3, 1000), (1 << 30, 1 << 30)] {
        let storage =
            Shape { allocated: Some(&[]), says_statx: Some(absurd), ..Shape::silent(4096) };
        expect(storage, NOTHING_KNOWN);
    }
    let says_dioinfo = Some((0, 1));
    expect(Shape { allocated: Some(&[]), says_dioinfo, ..Shape::silent(4096) }, NOTHING_KNOWN);
}

#[test]
fn overrides_are_obeyed_and_the_rest_follows_them() {
    let storage = Shape { says_statx: Some((512, 512)), ..Shape::silent(512) };
    let overrides = Alignments { request: 4096, ..Alignments::default() };
    let expected = [(4096, Override), (512, Statx), (512, Trial)];
    assert_eq!(answer(&limits_of(storage, overrides)), expected);
    // The storage refuses every trial at such addresses, so nothing is learnt about elements.
    let overrides = Alignments { memory: 1, ..overrides };
    let expected = [(4096, Override), (1, Override), (4096, Unknown)];
    assert_eq!(answer(&limits_of(storage, overrides)), expected);
    let overrides = Alignments { segment: 8192, ..overrides };
    let expected = [(8192, Override), (1, Override), (8192, Override)];
    assert_eq!(answer(&limits_of(storage, overrides)), expected);
}

#[test]
fn buffered_takes_anything_and_still_obeys_overrides() {
    let table = Disk::table(Shape::silent(4096));
    let descriptor = open(table);
    let limits = probe(&descriptor, false, Alignments::default());
    assert_eq!(answer(&limits), [(1, Unknown); 3]);
    assert!(!limits.direct);
    let overrides = Alignments { request: 4096, ..Alignments::default() };
    let limits = probe(&descriptor, false, overrides);
    assert_eq!(answer(&limits), [(4096, Override), (1, Unknown), (1, Unknown)]);
    assert_eq!(table.state().reads, 0);
}
