use super::*;
use crate::capi::extensible::Extensible;
use crate::handle::bounds::REQUEST_END_MAX;

fn defaults() -> blkalign_open_options {
    blkalign_open_options {
        size: std::mem::size_of::<blkalign_open_options>(),
        ..Extensible::zeroed()
    }
}

fn errno(options: blkalign_open_options) -> i32 {
    check_options(&options).err().map_or(0, |error| error.errno)
}

#[test]
fn null_means_all_defaults() {
    // SAFETY: NULL is allowed.
    let options = unsafe { read_options(std::ptr::null()) }.unwrap();
    assert!(!options.writable && !options.direct && options.alignments == Alignments::default());
}

#[test]
fn every_flag_arrives_and_no_unknown_one() {
    let all = blkalign_open_options { flags: OPEN_FLAGS_ALL, ..defaults() };
    let options = check_options(&all).unwrap();
    assert!(options.writable && options.direct && options.buffered_ok && options.create);
    assert!(options.resize && options.unmap && options.writethrough && options.no_flush);
    assert!(options.stable_writes && options.no_merge && options.lock);
    for bit in (0..32).map(|shift| 1 << shift).filter(|bit| OPEN_FLAGS_ALL & bit == 0) {
        assert_eq!(errno(blkalign_open_options { flags: bit, ..defaults() }), libc::EINVAL);
    }
}

#[test]
fn unknown_engines_and_modes_are_invalid() {
    for (number, expected) in [(0, 0), (2, 0), (3, libc::EINVAL), (u32::MAX, libc::EINVAL)] {
        assert_eq!(errno(blkalign_open_options { engine: number, ..defaults() }), expected);
        assert_eq!(errno(blkalign_open_options { completion: number, ..defaults() }), expected);
    }
}

#[test]
fn alignments_are_powers_of_two_and_not_absurd() {
    let cases = [(1, 0), (512, 0), (1 << 20, 0), (3, 22), (4097, 22), (1 << 21, 22)];
    for (alignment, expected) in cases {
        let request = blkalign_open_options { request_alignment: alignment, ..defaults() };
        let memory = blkalign_open_options { mem_alignment: alignment, ..defaults() };
        let segment = blkalign_open_options { segment_alignment: alignment, ..defaults() };
        let guest = blkalign_open_options { guest_block_size: alignment, ..defaults() };
        for options in [request, memory, segment, guest] {
            assert_eq!(errno(options), expected, "{alignment}");
        }
    }
    let crossed =
        blkalign_open_options { request_alignment: 512, segment_alignment: 4096, ..defaults() };
    assert_eq!(errno(crossed), libc::EINVAL);
}

#[test]
fn a_window_ends_where_requests_may_end() {
    let end = REQUEST_END_MAX;
    for (offset, length, expected) in [
        (513, 7, 0),
        (end - 1, 1, 0),
        (end, 1, libc::EINVAL),
        (end + 1, 0, libc::EINVAL),
        (i64::MAX, 1, libc::EINVAL),
        (1, i64::MAX, libc::EINVAL),
        (-1, 0, libc::EINVAL),
        (-1, 1, libc::EINVAL),
        (0, -1, libc::EINVAL),
        (i64::MIN, 0, libc::EINVAL),
        (0, i64::MIN, libc::EINVAL),
    ] {
        let window =
            blkalign_open_options { window_offset: offset, window_length: length, ..defaults() };
        assert_eq!(errno(window), expected, "{offset} {length}");
    }
}
