//! Each function and struct of the header has its manual page, and it says what the header says.

use std::collections::BTreeSet;

#[test]
fn checked_in_pages_are_up_to_date() {
    for page in abi_test::man::pages(&abi_test::header()) {
        let path = abi_test::man::directory().join(&page.name);
        let checked_in = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            checked_in == page.text,
            "{} is out of date; run `make man` and commit the result",
            path.display()
        );
    }
}

#[test]
fn no_page_is_left_of_a_function_that_is_gone() {
    let pages = abi_test::man::pages(&abi_test::header());
    let made: BTreeSet<String> = pages.into_iter().map(|page| page.name).collect();
    for entry in std::fs::read_dir(abi_test::man::directory()).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(!name.ends_with(".3") || made.contains(&name), "{name} documents nothing");
    }
}

#[test]
fn every_exported_function_has_a_page() {
    let pages = abi_test::man::pages(&abi_test::header());
    let mut functions = 0;
    for source in abi_test::sources() {
        let code = std::fs::read_to_string(source).unwrap();
        for rest in code.split("extern \"C-unwind\" fn ").skip(1) {
            let name = rest.split('(').next().unwrap_or_default();
            if !name.starts_with("blkalign_") {
                continue;
            }
            let page = pages.iter().find(|page| page.name == format!("{name}.3"));
            assert!(page.is_some(), "{name} has no page");
            functions += 1;
        }
    }
    assert!(functions > 30, "{functions}");
}
