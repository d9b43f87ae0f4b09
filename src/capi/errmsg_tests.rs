use super::*;
use std::ffi::CStr;

fn text() -> String {
    // SAFETY: `last` gives a C string that lives until the next failure.
    unsafe { CStr::from_ptr(last()) }.to_str().unwrap().to_owned()
}

#[test]
fn words_are_those_of_the_last_failure_of_the_same_thread() {
    std::thread::spawn(|| {
        assert_eq!(text(), "");
        remember(&Error::new(libc::EINVAL, "first\0failure"));
        assert_eq!(text(), "first?failure: Invalid argument");
        remember(&Error::new(libc::EIO, "second"));
        assert_eq!(text(), "second: Input/output error");
        std::thread::spawn(|| assert_eq!(text(), "")).join().unwrap();
    })
    .join()
    .unwrap();
}
