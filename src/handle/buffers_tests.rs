use super::*;

#[test]
fn regions_do_not_overlap_and_hold_what_lies_inside_one() {
    let buffers = Buffers::default();
    let region = |address, bytes| Segment { address, bytes };
    assert_eq!(buffers.add(region(100, 50)), Ok(()));
    assert_eq!(buffers.add(region(150, 50)), Ok(()));
    assert_eq!(buffers.add(region(50, 50)), Ok(()));
    for overlapping in [region(99, 2), region(100, 50), region(120, 1), region(0, 51)] {
        assert_eq!(buffers.add(overlapping), Err(libc::EEXIST));
    }
    assert!(buffers.holds(&region(100, 50)) && buffers.holds(&region(199, 1)));
    assert!(!buffers.holds(&region(140, 20)) && !buffers.holds(&region(200, 1)));
    assert_eq!(buffers.remove(region(100, 49)), Err(libc::ENOENT));
    assert_eq!(buffers.remove(region(100, 50)), Ok(()));
    assert!(!buffers.holds(&region(100, 1)) && buffers.holds(&region(99, 1)));
}
