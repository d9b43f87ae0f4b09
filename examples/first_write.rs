//! A write of 512 bytes to any disk, whatever its block size: as `first-write.c`, in Rust.
//!
//!     cargo run --example first_write FILE_OR_DEVICE
//!
//! Overwrites the eighth sector.

use std::process::ExitCode;

use blkalign::{Error, Flags, OpenOptions};

fn first_write(path: &str) -> Result<(), Error> {
    let disk = OpenOptions::new().write(true).direct(true).buffered_ok(true).open(path)?;
    let sector = [0x5a; 512];
    disk.write_at_with(&sector, 7 * 512, Flags::FUA)?;
    let mut again = [0; 512];
    disk.read_at(&mut again, 7 * 512)?;
    assert_eq!(again, sector);
    let (limits, stats) = (disk.limits(), disk.stats());
    println!("blocks of {} bytes; {} read-modify-writes", limits.request_alignment, stats.rmw);
    Ok(())
}

fn main() -> ExitCode {
    let Some(path) = std::env::args().nth(1) else {
        eprintln!("usage: first_write FILE_OR_DEVICE");
        return ExitCode::from(2);
    };
    match first_write(&path) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
