//! blkalign-ublk: block devices of this machine, with logical blocks of any size, on storage with
//! blocks of any size. Linux's ublk driver hands the requests of /dev/ublkbN to this process.
//!
//!     options     the command line
//!     storage     what is below: a file, a device, an NBD export (nbd: that driver, in C)
//!     parameters  what the kernel is told about the device
//!     control     makes, recovers, ends and lists devices
//!     serve       a queue: requests from the kernel to the library, results back
//!
//! `main` knows them all; of the others only `control` knows two, `storage` and `serve`.

mod control;
#[cfg(feature = "nbd")]
mod nbd;
mod options;
mod parameters;
mod serve;
mod storage;

use std::process::ExitCode;

use options::Command;

fn main() -> ExitCode {
    let command = match options::parse(std::env::args_os().skip(1)) {
        Ok(command) => command,
        Err(words) => {
            eprintln!("blkalign-ublk: {words}\nTry 'blkalign-ublk --help'.");
            return ExitCode::from(2);
        }
    };
    let result = match command {
        Command::Help => {
            print!("{}", options::USAGE);
            Ok(())
        }
        Command::Version => {
            println!("blkalign-ublk {}", env!("CARGO_PKG_VERSION"));
            Ok(())
        }
        Command::Add(add) => control::add(&add),
        Command::Delete { id, force } => control::delete(id, force),
        Command::List => control::list(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(words) => {
            eprintln!("blkalign-ublk: {words}");
            ExitCode::FAILURE
        }
    }
}
