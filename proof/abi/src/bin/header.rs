//! Writes `include/blkalign.h`; `make header` runs it.

fn main() -> std::io::Result<()> {
    std::fs::write(abi_test::header_path(), abi_test::header())
}
