use super::*;
use crate::handle::bounds::REQUEST_END_MAX;

#[test]
fn a_range_ends_at_the_limit_and_not_beyond() {
    assert_eq!(REQUEST_END_MAX, 0x7fff_ffff_c000_0000);
    let good = [(0, 0), (0, REQUEST_END_MAX), (REQUEST_END_MAX, 0), (REQUEST_END_MAX - 1, 1)];
    for (offset, bytes) in good {
        assert_eq!(check_range(offset, bytes).unwrap(), (offset as u64, bytes as u64));
    }
    let bad = [
        (-1, 0),
        (0, -1),
        (i64::MIN, i64::MIN),
        (REQUEST_END_MAX, 1),
        (1, REQUEST_END_MAX),
        (REQUEST_END_MAX + 1, 0),
        (0, REQUEST_END_MAX + 1),
        (i64::MAX, i64::MAX),
    ];
    for (offset, bytes) in bad {
        assert_eq!(check_range(offset, bytes).unwrap_err().errno, libc::EINVAL);
    }
}
