//! An event loop that keeps 32 reads in flight: it sleeps in poll(2), with other descriptors if it
//! had any, and takes in what is over when the queue's descriptor is readable.
//!
//!     cargo run --example event_loop FILE_OR_DEVICE

use std::os::fd::AsRawFd;
use std::process::ExitCode;
use std::time::Duration;

use blkalign::{Buffer, Error, OpenOptions};

const DEPTH: u64 = 32;
const BYTES: usize = 512;

/// Reads the disk once, in pieces of 512 bytes. Gives the sum of its bytes.
fn sum(path: &str) -> Result<u64, Error> {
    let disk = OpenOptions::new().direct(true).buffered_ok(true).open(path)?;
    let queue = disk.queue()?;
    let fd = queue.event_fd()?.as_raw_fd();
    let pieces = disk.len() / BYTES as u64;
    for piece in 0..DEPTH.min(pieces) {
        queue.read(disk.buffer(BYTES)?, piece * BYTES as u64, piece)?;
    }
    queue.submit();
    let (mut next, mut done, mut sum) = (DEPTH, 0, 0);
    let mut failure = None;
    while done < pieces && failure.is_none() {
        let mut wait = libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
        // SAFETY: one element. An interruption is a look for nothing.
        unsafe { libc::poll(&mut wait, 1, -1) };
        let mut again = |buffer: Buffer| {
            sum += buffer.iter().map(|byte| u64::from(*byte)).sum::<u64>();
            if next < pieces {
                queue.read(buffer, next * BYTES as u64, next)?;
                next += 1;
            }
            Ok(())
        };
        done += queue.poll_buffers(Some(Duration::ZERO), |_, result, buffer| {
            let buffer = buffer.expect("each read has one");
            failure = result.and_then(|()| again(buffer)).err().or(failure.take());
        })? as u64;
    }
    // What is in flight keeps its own memory; dropping the queue waits for it.
    failure.map_or(Ok(sum), Err)
}

fn main() -> ExitCode {
    let Some(path) = std::env::args().nth(1) else {
        eprintln!("usage: event_loop FILE_OR_DEVICE");
        return ExitCode::from(2);
    };
    match sum(&path) {
        Ok(sum) => {
            println!("the bytes add up to {sum}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
