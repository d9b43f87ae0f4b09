use super::*;

/// Offset, blocks and bytes.
fn placed(data: Data, bytes: u32, moves: u64) -> Option<(u64, usize, usize)> {
    placed_as(data, Shape::short(bytes, 512, bytes), moves)
}

fn placed_as(data: Data, shape: Shape, moves: u64) -> Option<(u64, usize, usize)> {
    place(data, shape, moves).map(|place| (place.offset, place.blocks, place.bytes))
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
fn a_long_trial_fills_32_kib_twice_where_there_is_room() {
    let data = Data { begin: 0, end: 1 << 20, to_the_end: true };
    let long = |data, bytes| placed_as(data, Shape::long(bytes, 512, bytes, false), 0);
    assert_eq!(long(data, 512), Some((512, 128, 65536)));
    assert_eq!(long(data, 4096), Some((4096, 16, 65536)));
    assert_eq!(long(data, 65536), Some((65536, 2, 131_072)));
    assert_eq!(long(Data { end: 30000, ..data }, 4096), Some((4096, 6, 24576)));
    assert_eq!(long(Data { end: 10000, ..data }, 4096), Some((4096, 1, 4096)));
}

#[test]
fn elements_add_up_and_begin_and_end_with_the_short_one() {
    let of = |bytes, segment, blocks| elements(Shape::short(bytes, 512, segment), blocks);
    assert_eq!(of(4096, 512, 2), [512, 3072, 512]);
    assert_eq!(of(4096, 2048, 2), [2048, 2048]);
    assert_eq!(of(4096, 4096, 2), [4096, 4096]);
    assert_eq!(of(4096, 8192, 1), [4096]);
    assert_eq!(of(1, 1, 1), [1]);
    let long = |bytes, segment, blocks| elements(Shape::long(bytes, 512, segment, true), blocks);
    assert_eq!(long(4096, 512, 16), [512, 64512, 512]);
    assert_eq!(long(4096, 4096, 16), [32768, 32768]);
    assert_eq!(long(4096, 512, 1), [512, 3072, 512]);
    assert_eq!(long(4096, 4096, 1), [4096]);
}

#[test]
fn data_can_tell_where_no_sector_is_alike_or_as_the_one_before() {
    let data: Vec<u8> = (0..4096_u32).map(|at| (at % 241) as u8).collect();
    assert!(tells(&data) && tells(&data[..700]));
    assert!(!tells(&[0; 4096]) && !tells(&[7; 512]));
    assert!(!tells(&[&data[..512], &data[..512]].concat()));
    assert!(!tells(&[&data[..512], &[0; 512], &data[512..1024]].concat()));
    assert!(tells(&[&data[..512], &data[512..1024], &data[..512]].concat()));
}
