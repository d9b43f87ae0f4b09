use super::*;
use std::ffi::CStr;

fn words() -> String {
    // SAFETY: a C string that lives until the next failure.
    unsafe { CStr::from_ptr(errmsg::last()) }.to_str().unwrap().to_owned()
}

#[test]
fn a_panic_becomes_eio_and_words() {
    assert_eq!(guard(|| panic!("edge {} lost", 7)), -i64::from(libc::EIO));
    let words = words();
    assert!(
        words.starts_with("internal error: edge 7 lost at src/capi/guard_tests.rs:"),
        "{words}"
    );
}

#[test]
fn a_failure_becomes_its_errno() {
    assert_eq!(guard(|| Err(Error::new(libc::ENOSPC, "x"))), -i64::from(libc::ENOSPC));
    assert_eq!(words(), "x: No space left on device");
    assert_eq!(guard(|| Ok(5)), 5);
}

#[test]
fn a_null_handle_is_invalid() {
    // SAFETY: NULL is allowed.
    let result = unsafe { guard_handle(std::ptr::null_mut(), |_| unreachable!()) };
    assert_eq!(result, -i64::from(libc::EINVAL));
    assert_eq!(words(), "the handle is NULL: Invalid argument");
}
