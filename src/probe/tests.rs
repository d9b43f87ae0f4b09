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
        says_place: Some("../../devices/virtual/block/zram3"),
        overwrites_pages: true,
        needs_memory: 1,
        ..Shape::silent_device(4096)
    }
}

#[test]
fn storage_that_overwrites_whole_pages_gets_whole_pages() {
    let whole_pages = [(4096, Statx), (4096, Trial), (4096, Trial)];
    let nameless = Shape { says_place: None, ..zram() };
    expect(nameless, whole_pages);
    expect(Shape { says_statx: Some((4, 4096)), needs_segment: 1, ..nameless }, whole_pages);
    expect(Shape { blank: true, ..nameless }, whole_pages);
    expect(
        Shape { says_statx: None, says_dioinfo: Some((512, 4096)), ..nameless },
        [(4096, Dioinfo), (4096, Trial), (4096, Trial)],
    );
}

const WHOLE_PAGES_UNTRIED: Answer = [(4096, Statx), (4096, Unknown), (4096, Unknown)];

#[test]
fn known_liars_get_whole_pages_whatever_trials_show() {
    let harmless = Shape { overwrites_pages: false, needs_memory: 512, ..zram() };
    for place in [
        "../../devices/virtual/block/zram0",
        "../../devices/virtual/block/nullb0",
        "../../devices/virtual/block/nullb1/nullb1p2",
    ] {
        let named = Shape { says_place: Some(place), ..harmless };
        expect(named, WHOLE_PAGES_UNTRIED);
        expect(Shape { blank: true, ..named }, WHOLE_PAGES_UNTRIED);
        expect(Shape { device: false, says_block_size: None, ..named }, WHOLE_PAGES_UNTRIED);
        let says_statx = Some((8192, 8192));
        let says_more = Shape { says_statx, needs_request: 8192, needs_memory: 8192, ..named };
        expect(says_more, [(8192, Statx), (8192, Statx), (8192, Unknown)]);
    }
}

/// Says what null_blk says, and does what null_blk does; by its place alone it is not known.
fn null_blk() -> Shape {
    Shape {
        says_statx: Some((512, 4096)),
        says_place: Some("../../devices/virtual/block/fresh0"),
        mixes_pages: true,
        ..Shape::silent_device(4096)
    }
}

#[test]
fn storage_that_moves_one_block_right_and_several_wrong_is_found_out() {
    let whole_pages = [(4096, Statx), (4096, Trial), (4096, Trial)];
    expect(null_blk(), whole_pages);
    expect(Shape { says_place: None, ..null_blk() }, whole_pages);
}

#[test]
fn data_that_is_alike_all_over_proves_nothing_of_a_device_without_hardware() {
    let blank = Shape { blank: true, ..null_blk() };
    expect(blank, [(4096, Statx), (4096, Unknown), (4096, Trial)]);
    // The truth is not believed either where it cannot be seen.
    let honest = Shape { mixes_pages: false, ..blank };
    expect(honest, [(4096, Statx), (4096, Unknown), (4096, Trial)]);
    let written = Shape { blank: false, ..honest };
    expect(written, [(4096, Statx), (512, Statx), (512, Trial)]);
    // Hardware checks what it is given.
    let hardware = Shape { says_place: Some("../../devices/pci0000:00/nvme0n1"), ..honest };
    expect(hardware, [(4096, Statx), (512, Statx), (512, Trial)]);
    // Where the first data are blank, others may not be.
    let partly = Shape { blank_bytes: 1 << 18, ..written };
    expect(partly, [(4096, Statx), (512, Statx), (512, Trial)]);
}

#[test]
fn a_device_of_several_is_as_good_as_those_below() {
    let place = Some("../../devices/virtual/block/dm-0");
    let stack = Shape { says_place: place, blank: true, mixes_pages: false, ..null_blk() };
    let hardware = ("/8:0", "../../devices/pci0000:00/host0/block/sda");
    let believed = [(4096, Statx), (512, Statx), (512, Trial)];
    const DISK: [(&str, &str); 2] = [("/slaves", "sda"), ("/slaves/sda/dev", "8:0")];
    const NULL: [(&str, &str); 2] = [("/slaves", "nullb0"), ("/slaves/nullb0/dev", "251:0")];
    let says_files = Box::leak(Box::new([DISK[0], DISK[1], hardware]));
    expect(Shape { says_files, ..stack }, believed);
    let liar = ("/251:0", "../../devices/virtual/block/nullb0");
    let says_files = Box::leak(Box::new([NULL[0], NULL[1], liar]));
    expect(Shape { says_files, ..stack }, WHOLE_PAGES_UNTRIED);
    // Nobody says what is below.
    expect(stack, [(4096, Statx), (4096, Unknown), (4096, Trial)]);
    // A loop device leads to its file, and this one is its own: that has no end.
    let says_files = &[("/loop/backing_file", "/simulated")];
    expect(Shape { says_files, ..stack }, [(4096, Statx), (4096, Unknown), (4096, Trial)]);
}

#[test]
fn a_loop_device_on_larger_blocks_is_believed_only_where_data_can_tell() {
    const ON: (&str, &str) = ("/loop/backing_file", "/simulated");
    const LOOP: (&str, &str) = ("/queue/logical_block_size", "4096");
    let looped = Shape {
        says_statx: Some((512, 512)),
        says_place: Some("../../devices/virtual/block/loop0"),
        says_files: &[ON, LOOP],
        ..Shape::silent_device(512)
    };
    // A new file is a hole: nothing is refused there.
    let larger = [(4096, Blksszget), (4096, Unknown), (4096, Trial)];
    expect(Shape { blank: true, ..looped }, larger);
    let on_disk = Shape { device: false, says_block_size: None, blank: true, ..looped };
    expect(on_disk, larger);
    // What is written shows what is true: the loop device uses the page cache, or not.
    expect(looped, [(512, Statx), (512, Statx), (512, Trial)]);
    let direct = Shape { needs_request: 4096, refusal: libc::EIO, ..looped };
    expect(direct, [(4096, Blksszget), (512, Statx), (512, Trial)]);
    // No larger blocks, no doubt. (This one is its own file, so of memory it is not believed.)
    let says_files = &[ON, ("/queue/logical_block_size", "512")];
    let equal = Shape { says_files, blank: true, ..looped };
    expect(equal, [(512, Statx), (4096, Unknown), (512, Trial)]);
}

#[test]
fn protection_information_raises_memory_and_elements_before_anything_is_tried() {
    let says_files =
        &[("integrity/format", "T10-DIF-TYPE1-CRC\n"), ("/protection_interval_bytes", "512\n")];
    let disk = Shape { says_statx: Some((4, 512)), refusal: libc::EILSEQ, ..Shape::silent(512) };
    let device = Shape { device: true, says_block_size: Some(512), ..disk };
    for storage in [disk, device] {
        let easy = Shape { needs_memory: 4, needs_segment: 4, ..storage };
        let protected = Shape { says_files, ..easy };
        expect(protected, [(512, Statx), (512, Source::Integrity), (512, Trial)]);
        // Without a word of it the refusal tells: nobody takes EILSEQ for an unknown error.
        expect(storage, [(512, Statx), (512, Trial), (512, Trial)]);
    }
    let older = Shape { says_statx: None, says_files, needs_memory: 4, needs_segment: 4, ..device };
    expect(older, [(512, Blksszget), (512, Blksszget), (512, Trial)]);
    let says_files = &[("integrity/format", "none\n"), ("/protection_interval_bytes", "512\n")];
    let none = Shape { says_files, needs_memory: 4, needs_segment: 4, ..device };
    expect(none, [(512, Statx), (4, Statx), (4, Trial)]);
}

#[test]
fn overrides_do_not_hide_that_whole_pages_are_overwritten() {
    let nameless = Shape { says_place: None, ..zram() };
    let overrides = Alignments { request: 1 << 20, ..Alignments::default() };
    let expected = [(1 << 20, Override), (4096, Trial), (1 << 20, Unknown)];
    assert_eq!(answer(&limits_of(nameless, overrides)), expected);
    let overrides = Alignments { memory: 512, ..Alignments::default() };
    let expected = [(4096, Statx), (512, Override), (4096, Unknown)];
    assert_eq!(answer(&limits_of(nameless, overrides)), expected);
}

#[test]
fn requests_below_a_page_that_overwrite_it_are_no_good_either() {
    let storage = Shape { overwrites_pages: true, ..Shape::silent_device(512) };
    expect(storage, [(4096, Trial), (4096, Trial), (4096, Trial)]);
}

#[test]
fn a_claim_that_is_doubted_and_cannot_be_tried_is_not_believed() {
    let file = Shape { device: false, says_block_size: None, ..null_blk() };
    expect(file, [(4096, Statx), (4096, Trial), (4096, Trial)]);
    let hole = Shape { allocated: Some(&[]), ..file };
    expect(hole, WHOLE_PAGES_UNTRIED);
    expect(Shape { bytes: 0, ..hole }, WHOLE_PAGES_UNTRIED);
    let other = Shape { says_place: None, ..hole };
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
    let cases = [(disk, 7), (zram(), 3), (Shape::easy(), 4), (hole, 4), (empty, 0)];
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
