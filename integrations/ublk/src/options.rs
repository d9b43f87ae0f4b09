//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;

use blkalign::{Bucket, Engine, ThrottleLimits};
use lexopt::Arg::{Long, Short, Value};
use lexopt::ValueExt;

pub const USAGE: &str = "\
usage: blkalign-ublk add [OPTION]... STORAGE
       blkalign-ublk del [--force] ID
       blkalign-ublk list

add makes /dev/ublkbID of STORAGE, a file, a block device or an NBD URI, and
serves it until it is deleted; it prints the name of the device once that is
there. del deletes a device, list shows all. See blkalign-ublk(1).

  --id N                the device's number (the first that is free)
  --recover             if the device is there but its server has died, go on
                        with it: its users only wait meanwhile. Wants --id.
  --block-size BYTES    logical blocks: 512 (default), 1024, 2048 or 4096
  --queues N            up to 64; each has a thread (as many as processors, up
                        to 4)
  --queue-depth N       requests of a queue at once, up to 1024 (128)
  --read-only           refuse writes
  --writethrough        each write is durable; without it only after a flush
  --buffered            use the page cache (default: O_DIRECT, if it is there)
  --no-discard          do not deallocate what the device's users discard
  --lock                lock an image file as QEMU does
  --engine auto|threads|io_uring
  --bytes-per-second N, --requests-per-second N
                        not faster than this, all queues together
";

#[derive(Debug, PartialEq)]
pub enum Command {
    Help,
    Version,
    Add(Box<Add>),
    Delete { id: u32, force: bool },
    List,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Add {
    pub storage: PathBuf,
    pub id: Option<u32>,
    pub recover: bool,
    pub block_size: u32,
    pub queues: u16,
    pub depth: u16,
    pub read_only: bool,
    pub writethrough: bool,
    pub buffered: bool,
    pub discard: bool,
    pub lock: bool,
    pub engine: Engine,
    pub throttle: Option<ThrottleLimits>,
}

impl Add {
    fn new() -> Add {
        let processors = std::thread::available_parallelism().map_or(1, |it| it.get());
        Add {
            storage: PathBuf::new(),
            id: None,
            recover: false,
            block_size: 512,
            queues: processors.min(4) as u16,
            depth: 128,
            read_only: false,
            writethrough: false,
            buffered: false,
            discard: true,
            lock: false,
            engine: Engine::Auto,
            throttle: None,
        }
    }
}

pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Command, String> {
    let mut parser = lexopt::Parser::from_args(arguments);
    match parser.next().map_err(words)? {
        Some(Long("help") | Short('h')) => Ok(Command::Help),
        Some(Long("version")) => Ok(Command::Version),
        Some(Value(word)) if word == "add" => parse_add(&mut parser),
        Some(Value(word)) if word == "del" => parse_delete(&mut parser),
        Some(Value(word)) if word == "list" => match parser.next().map_err(words)? {
            None => Ok(Command::List),
            Some(more) => Err(words(more.unexpected())),
        },
        Some(other) => Err(words(other.unexpected())),
        None => Err("add, del or list?".into()),
    }
}

fn parse_delete(parser: &mut lexopt::Parser) -> Result<Command, String> {
    let (mut id, mut force) = (None, false);
    while let Some(argument) = parser.next().map_err(words)? {
        match argument {
            Long("force") => force = true,
            Value(word) if id.is_none() => id = Some(word.parse().map_err(words)?),
            other => return Err(words(other.unexpected())),
        }
    }
    id.map(|id| Command::Delete { id, force }).ok_or_else(|| "del wants the ID of a device".into())
}

fn parse_add(parser: &mut lexopt::Parser) -> Result<Command, String> {
    let mut add = Add::new();
    let mut limits = ThrottleLimits::default();
    let mut storage = None;
    while let Some(argument) = parser.next().map_err(words)? {
        match argument {
            Short('h') | Long("help") => return Ok(Command::Help),
            Long("id") => add.id = Some(number(parser, "--id", 0, 1 << 20)? as u32),
            Long("recover") => add.recover = true,
            Long("block-size") => {
                add.block_size = number(parser, "--block-size", 512, 4096)? as u32;
                if !add.block_size.is_power_of_two() {
                    return Err("--block-size: a power of two".into());
                }
            }
            Long("queues") => add.queues = number(parser, "--queues", 1, 64)? as u16,
            Long("queue-depth") => add.depth = number(parser, "--queue-depth", 1, 1024)? as u16,
            Long("read-only") => add.read_only = true,
            Long("writethrough") => add.writethrough = true,
            Long("buffered") => add.buffered = true,
            Long("no-discard") => add.discard = false,
            Long("lock") => add.lock = true,
            Long("engine") => add.engine = engine(parser)?,
            Long("bytes-per-second") => {
                limits.bytes = rate(parser, "--bytes-per-second")?;
                add.throttle = Some(limits);
            }
            Long("requests-per-second") => {
                limits.requests = rate(parser, "--requests-per-second")?;
                add.throttle = Some(limits);
            }
            Value(word) if storage.is_none() => storage = Some(PathBuf::from(word)),
            other => return Err(words(other.unexpected())),
        }
    }
    add.storage = storage.ok_or("add wants a file, a block device or an NBD URI")?;
    if add.recover && add.id.is_none() {
        return Err("--recover wants --id".into());
    }
    Ok(Command::Add(Box::new(add)))
}

fn number(parser: &mut lexopt::Parser, name: &str, least: u64, most: u64) -> Result<u64, String> {
    let value: u64 = parser.value().and_then(|word| word.parse()).map_err(words)?;
    match (least..=most).contains(&value) {
        true => Ok(value),
        false => Err(format!("{name}: from {least} to {most}, not {value}")),
    }
}

fn rate(parser: &mut lexopt::Parser, name: &str) -> Result<Bucket, String> {
    Ok(Bucket::per_second(number(parser, name, 1, 1 << 50)?))
}

fn engine(parser: &mut lexopt::Parser) -> Result<Engine, String> {
    match parser.value().and_then(|word| word.string()).map_err(words)?.as_str() {
        "auto" => Ok(Engine::Auto),
        "threads" => Ok(Engine::Threads),
        "io_uring" => Ok(Engine::IoUring),
        other => Err(format!("--engine: auto, threads or io_uring, not {other}")),
    }
}

fn words(error: lexopt::Error) -> String {
    error.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Command, String> {
        parse(line.split_whitespace().map(OsString::from))
    }

    fn added(line: &str) -> Add {
        match parsed(line) {
            Ok(Command::Add(add)) => *add,
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn options_are_taken() {
        let add = added("add --id 3 --recover --block-size 4096 --queues 2 --queue-depth 64 x");
        assert_eq!((add.id, add.recover, add.block_size), (Some(3), true, 4096));
        assert_eq!((add.queues, add.depth, add.storage), (2, 64, PathBuf::from("x")));
        let add = added("add x --read-only --no-discard --engine threads");
        assert!(add.read_only && !add.discard && add.engine == Engine::Threads);
        assert_eq!(parsed("del 7 --force"), Ok(Command::Delete { id: 7, force: true }));
        assert_eq!(parsed("list"), Ok(Command::List));
    }

    #[test]
    fn both_rates_hold_whatever_their_order() {
        let add = added("add --requests-per-second 9 --bytes-per-second 4096 x");
        let limits = add.throttle.unwrap();
        assert_eq!((limits.bytes.rate, limits.requests.rate), (4096, 9));
    }

    #[test]
    fn what_is_wrong_is_refused_with_words() {
        for line in [
            "",
            "add",
            "add x y",
            "add --recover x",
            "add --block-size 8192 x",
            "add --block-size 1000 x",
            "add --queues 0 x",
            "add --queue-depth 1025 x",
            "add --engine posix x",
            "add --bytes-per-second 0 x",
            "add --what x",
            "del",
            "del x",
            "del -1",
            "list x",
            "serve",
        ] {
            let words = parsed(line).expect_err(line);
            assert!(!words.is_empty(), "{line}");
        }
    }
}
