//! Writes the manual pages of section 3; `make man` runs it.

fn main() -> std::io::Result<()> {
    let directory = abi_test::man::directory();
    std::fs::create_dir_all(&directory)?;
    for page in abi_test::man::pages(&abi_test::header()) {
        std::fs::write(directory.join(page.name), page.text)?;
    }
    Ok(())
}
