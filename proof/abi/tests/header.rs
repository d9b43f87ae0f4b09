//! The header that is checked in is the one that the source makes.

#[test]
fn checked_in_header_is_up_to_date() {
    let path = abi_test::header_path();
    let checked_in = std::fs::read_to_string(&path).unwrap_or_default();
    let generated = abi_test::header();
    if checked_in == generated {
        return;
    }
    let lines = checked_in.lines().zip(generated.lines());
    let same = lines.take_while(|(old, new)| old == new).count();
    panic!(
        "{} is out of date from line {} on; run `make header` and commit the result\n\
         there:     {:?}\ngenerated: {:?}",
        path.display(),
        same + 1,
        checked_in.lines().nth(same),
        generated.lines().nth(same),
    );
}

#[test]
fn version_macros_are_the_version_of_the_crate() {
    let header = abi_test::header();
    let number = |part: &str| {
        let prefix = format!("#define BLKALIGN_VERSION_{part} ");
        header.lines().find_map(|line| line.strip_prefix(&prefix)).unwrap().to_owned()
    };
    let macros = [number("MAJOR"), number("MINOR"), number("PATCH")].join(".");
    // SAFETY: the version is a C string that never goes away.
    let library = unsafe { std::ffi::CStr::from_ptr(blkalign::capi::blkalign_version()) };
    assert_eq!(macros, library.to_str().unwrap());
    assert!(header.contains(&format!("Version of this header: {macros}.")));
}
