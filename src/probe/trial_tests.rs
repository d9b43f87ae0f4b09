use super::*;

/// Offset, blocks and bytes.
fn placed(data: Data, bytes: u32, moves: u64) -> Option<(u64, usize, usize)> {
    place(data, bytes, moves).map(|place| (place.offset, place.blocks, place.bytes))
}

#[test]
fn a_trial_sits_at_an_odd_multiple_where_there_is_room() {
    let data = Data { begin: 4096, end: 16384, to_the_end: false };
    assert_eq!(placed(data, 1, 0), Some((4097, 2, 2)));
    assert_eq!(placed(data, 512, 0), Some((4608, 2, 1024)));
    assert_eq!(placed(data, 4096, 0), Some((4096, 2, 8192)));
    assert_eq!(placed(data, 8192, 0), Some((8192, 1, 8192)));
    assert_eq!(placed(data, 16384, 0), None);
}

#[test]
fn a_trial_runs_past_the_end_of_the_object_but_not_into_a_hole() {
    let short = Data { begin: 0, end: 700, to_the_end: true };
    assert_eq!(placed(short, 512, 0), Some((512, 1, 188)));
    assert_eq!(placed(short, 4096, 0), Some((0, 1, 700)));
    assert_eq!(placed(Data { to_the_end: false, ..short }, 4096, 0), None);
}

#[test]
fn a_trial_moves_on_within_the_data() {
    let data = Data { begin: 65536, end: 131072, to_the_end: false };
    let offsets = |bytes| [0, 1, 2, 3, 4].map(|moves| placed(data, bytes, moves).unwrap().0);
    assert_eq!(offsets(4096), [69632, 86016, 102400, 118784, 69632]);
    assert_eq!(offsets(65536), [65536; 5]);
}

#[test]
fn elements_add_up_and_begin_and_end_with_the_short_one() {
    let shape = |bytes, segment| Shape { bytes, mem: 512, segment };
    assert_eq!(elements(shape(4096, 512), 2), [512, 3072, 512]);
    assert_eq!(elements(shape(4096, 2048), 2), [2048, 2048]);
    assert_eq!(elements(shape(4096, 4096), 2), [4096, 4096]);
    assert_eq!(elements(shape(4096, 8192), 1), [4096]);
    assert_eq!(elements(shape(1, 1), 1), [1]);
}
