use super::*;

#[test]
fn a_number_means_the_same_in_both_directions() {
    for number in BLKALIGN_ENGINE_AUTO..=BLKALIGN_ENGINE_IO_URING {
        assert_eq!(engine_number(engine_of(number).unwrap()), number);
    }
    for number in BLKALIGN_LOG_ERROR as c_int..=BLKALIGN_LOG_DEBUG as c_int {
        assert_eq!(level_number(level_of(number).unwrap()), number);
    }
    assert!(level_of(0).is_err() && level_of(5).is_err());
}
