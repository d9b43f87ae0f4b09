use super::*;

#[test]
fn a_range_ends_at_the_limit_and_not_beyond() {
    assert_eq!(REQUEST_END_MAX, 0x7fff_ffff_c000_0000);
    let end = REQUEST_END_MAX as u64;
    for (offset, bytes) in [(0, 0), (0, end), (end, 0), (end - 1, 1)] {
        assert!(check_range(offset, bytes).is_ok());
    }
    let bad = [(end, 1), (1, end), (end + 1, 0), (0, end + 1), (u64::MAX, u64::MAX), (u64::MAX, 1)];
    for (offset, bytes) in bad {
        assert_eq!(check_range(offset, bytes).unwrap_err().errno, libc::EINVAL);
    }
}

#[test]
fn memory_needs_an_address_only_when_it_has_a_length() {
    let mut segments = Segments::new();
    add_segment(&mut segments, 0, 0).unwrap();
    assert!(segments.is_empty());
    assert_eq!(add_segment(&mut segments, 0, 1).unwrap_err().errno, libc::EINVAL);
    add_segment(&mut segments, 64, 5).unwrap();
    assert_eq!((segments[0].address, segments[0].bytes), (64, 5));
    let half = isize::MAX as usize + 1;
    assert_eq!(add_segment(&mut segments, half, 1).unwrap_err().errno, libc::EINVAL);
    assert_eq!(add_segment(&mut segments, 64, usize::MAX).unwrap_err().errno, libc::EINVAL);
    assert_eq!(segments.len(), 1);
}

#[test]
fn a_region_is_never_empty() {
    for (address, bytes) in [(0, 1), (1, 0), (1, usize::MAX), (1, isize::MAX as usize)] {
        assert_eq!(check_region(address, bytes).unwrap_err().errno, libc::EINVAL);
    }
    assert!(check_region(1, isize::MAX as usize - 1).is_ok());
}
