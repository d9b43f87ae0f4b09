#![allow(dead_code)]
//! How many requests a second a vhost-user-blk back end carries out, whichever it is: the client
//! of bench.sh. Prints a number.
//!
//! It works like the driver of a guest: it keeps so many requests in flight, sleeps until it is
//! called, then takes all that is done and puts as many new ones into the ring before one kick.

#[path = "../tests/frontend/guest.rs"]
mod guest;
#[path = "../tests/frontend/memory.rs"]
mod memory;
#[path = "../tests/frontend/random.rs"]
mod random;
#[path = "../tests/frontend/ring.rs"]
mod ring;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lexopt::Arg::{Long, Value};
use lexopt::ValueExt;

use guest::{Guest, Request, Wishes, IN, OK, OUT};
use memory::Memory;
use random::Random;

const USAGE: &str = "\
usage: blkalign-vhost-user-bench SOCKET [--write] [--size BYTES] [--depth N]
           [--order random|sequential|same] [--seconds S] [--verbose]";

struct Options {
    socket: PathBuf,
    write: bool,
    bytes: u32,
    depth: u64,
    order: String,
    time: Duration,
    verbose: bool,
}

fn parse() -> Result<Options, lexopt::Error> {
    let mut socket = None;
    let mut options = Options {
        socket: PathBuf::new(),
        write: false,
        bytes: 512,
        depth: 32,
        order: "random".into(),
        time: Duration::from_secs(2),
        verbose: false,
    };
    let mut parser = lexopt::Parser::from_env();
    while let Some(argument) = parser.next()? {
        match argument {
            Value(path) if socket.is_none() => socket = Some(path.into()),
            Long("write") => options.write = true,
            Long("verbose") => options.verbose = true,
            Long("size") => options.bytes = parser.value()?.parse()?,
            Long("depth") => options.depth = parser.value()?.parse()?,
            Long("order") => options.order = parser.value()?.string()?,
            Long("seconds") => {
                options.time = Duration::from_secs_f64(parser.value()?.parse()?);
            }
            _ => return Err(argument.unexpected()),
        }
    }
    options.socket = socket.ok_or("there is no SOCKET")?;
    if options.depth > 128 {
        return Err("--depth is at most 128".into());
    }
    Ok(options)
}

fn main() -> ExitCode {
    let options = match parse() {
        Ok(options) => options,
        Err(error) => {
            // Where that cannot be said the exit status says it.
            let _ = writeln!(std::io::stderr(), "{error}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    // A table of 512 descriptors is room for 128 chains of three.
    let room = 0x10_0000 + options.depth * slot_bytes(&options);
    let memory = Arc::new(Memory::new(1, room.next_multiple_of(1 << 21)));
    let wishes = Wishes { queues: 1, size: 512, without: 0 };
    let mut guest = Guest::connect(&options.socket, memory, &wishes);
    let sectors = u64::from_le_bytes(guest.config(60)[..8].try_into().unwrap());
    let count = run(&mut guest, &options, sectors);
    if options.verbose {
        let ring = &guest.rings[0];
        let (kicks, calls) = (ring.kicks, ring.calls);
        let _ = writeln!(std::io::stderr(), "{count} requests, {kicks} kicks, {calls} calls");
    }
    let rate = count as f64 / options.time.as_secs_f64();
    match writeln!(std::io::stdout(), "{rate:.0}") {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn slot_bytes(options: &Options) -> u64 {
    u64::from(options.bytes + 4096).next_multiple_of(4096)
}

/// Gives how many requests were done in time.
fn run(guest: &mut Guest, options: &Options, sectors: u64) -> u64 {
    let places = sectors * 512 / u64::from(options.bytes);
    let in_place = u64::from(options.bytes) / 512;
    let mut random = Random::new(1);
    let mut next = 0;
    let mut sector = || {
        next += 1;
        in_place
            * match options.order.as_str() {
                "random" => random.below(places),
                "sequential" => next % places,
                _ => 0,
            }
    };
    // Data begin with a page, as those of a guest mostly do.
    let place = |slot: u64| memory::GUEST_BASE + 0x10_0000 + slot * slot_bytes(options) + 4096 - 32;
    for slot in 0..options.depth {
        let kind = if options.write { OUT } else { IN };
        let request =
            Request { kind, sector: sector(), bytes: options.bytes, writes: !options.write };
        let data = guest.prepare(0, slot as u16 * 3, place(slot), &request);
        guest.memory.write(data, &vec![0x5a; options.bytes as usize]);
        guest.rings[0].offer(slot as u16 * 3);
    }
    let ring = &mut guest.rings[0];
    ring.publish();
    let until = Instant::now() + options.time;
    let (mut count, mut in_flight, mut over) = (0, options.depth, false);
    while in_flight > 0 {
        while let Some((head, _)) = ring.try_used() {
            let at = place(u64::from(head / 3));
            // SAFETY: mapped memory of the guest.
            assert_eq!(unsafe { ring.memory.at(at + 16).read_volatile() }, OK, "a request failed");
            in_flight -= 1;
            if !over {
                count += 1;
                // SAFETY: as above; the sector in the header, at any address.
                unsafe { ring.memory.at(at + 8).cast::<u64>().write_unaligned(sector().to_le()) };
                ring.offer(head);
                in_flight += 1;
            }
        }
        ring.publish();
        over = over || Instant::now() >= until;
        if !ring.want_call() {
            ring.wait_call(Duration::from_millis(500));
        }
    }
    count
}
