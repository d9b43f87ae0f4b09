use super::*;
use crate::driver::Alignments;

#[test]
fn the_last_block_and_the_granule_are_whole_units_of_the_page_cache() {
    let of = |direct| {
        let alignments = Alignments { request: 512, ..Alignments::default() };
        let limits = Limits { alignments, direct, ..Limits::default() };
        let limits = config_for(&limits, Some(16384), &Options::default());
        (limits.last_unit, limits.granule)
    };
    assert_eq!(of(true), (16384, 512));
    assert_eq!(of(false), (16384, 16384));
}

#[test]
fn discards_are_multiples_of_what_the_storage_discards_and_of_its_block() {
    assert_eq!(common_multiple(0, 512), 512);
    assert_eq!(common_multiple(65536, 4096), 65536);
    assert_eq!(common_multiple(512, 4096), 4096);
    assert_eq!(common_multiple(1536, 4096), 12288);
    assert_eq!(common_multiple(12288, 4096), 12288);
}
