use super::*;

#[test]
fn a_panic_becomes_eio_and_words_with_its_place() {
    let error = caught(|| panic!("edge {} lost", 7)).unwrap_err();
    assert_eq!(error.errno, libc::EIO);
    let begin = "internal error: edge 7 lost at src/sys/panics_tests.rs:";
    assert!(error.words.starts_with(begin), "{error}");
    assert!(!OURS.get());
}

#[test]
fn the_programs_code_is_not_ours_until_it_calls_again() {
    caught(|| {
        outside(|| {
            assert!(!OURS.get());
            assert!(caught(|| assert!(OURS.get())).is_ok());
            assert!(!OURS.get());
        });
        assert!(OURS.get());
    })
    .unwrap();
    assert!(!OURS.get());
}
