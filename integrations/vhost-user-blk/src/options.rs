//! The command line.

use std::ffi::OsString;
use std::os::fd::RawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::time::Duration;

use blkalign::{Engine, ThrottleLimits};
use lexopt::Arg::{Long, Short, Value};
use virtio_bindings::virtio_blk::VIRTIO_BLK_ID_BYTES;

use crate::throttle::{set_limit, Source};

/// What options of limits begin with.
const THROTTLE: &str = "--throttle-";

pub const USAGE: &str = "\
usage: blkalign-vhost-user-blk --socket PATH | --fd N  --file PATH [options]

Serves a file or block device to a virtual machine as a vhost-user-blk disk, with
any sector size on storage of any block size, to one frontend after the other.

  --socket PATH         listen on this socket
  --fd N                use this descriptor, which listens or is connected
  --file PATH           the image or block device, or rbd:POOL/IMAGE: an image
                        of Ceph, if the daemon was built with librbd
  --backing PATH|URI    the file is an overlay (blkalign-overlay makes it) over
                        this file, device or, if the daemon was built with
                        libnbd, NBD export
  --copy-on-read on|off keep what reads take from there (default off)
  --fill on|off         copy all of it meanwhile (default off)
  --read-only [auto]    refuse writes; auto: only if the disk cannot be
                        written to (without auto such a disk is an error)
  --serial TEXT         the serial number that the guest sees, up to 20 bytes
  --sector-size BYTES   the guest's logical blocks: 512 (default) or 4096
  --queues N            up to 64; each has a thread of its own (default 1)
  --queue-size N        most descriptors of a queue, a power of two from 4 to
                        1024 (default 1024)
  --direct              fail if O_DIRECT is not available
  --buffered            use the page cache (default: only if O_DIRECT is not
                        available)
  --discard on|off      let the guest deallocate (default on)
  --engine auto|threads|io_uring
  --lock on|off         lock the image as QEMU does (default on)
  --pin-memory on|off   register guest memory for io_uring: pins all memory, and
                        a guest with a balloon loses data (default off)
  --spin-us N           most microseconds that an idle queue looks for requests
                        before it sleeps, up to 1000 (default 64; less if that
                        rarely finds any)
  --throttle-bytes, --throttle-read-bytes, --throttle-write-bytes,
  --throttle-requests, --throttle-read-requests, --throttle-write-requests
     RATE[:BURST]       at most RATE a second, and BURST at once after a pause
                        (default: a tenth of RATE); K, M, G, T: times 1024 ...
  --throttle-request-bytes N   a request of more bytes counts as several
  --throttle-file PATH  limits from a file, which is read again after SIGHUP
  --verbose             print more messages
  --help, --version
";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cache {
    /// O_DIRECT, else the page cache.
    Auto,
    Direct,
    Buffered,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadOnly {
    Off,
    On,
    /// Where the storage cannot be written to.
    Auto,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    Path(PathBuf),
    Fd(RawFd),
}

#[derive(Clone, Debug)]
pub struct Options {
    pub endpoint: Endpoint,
    pub file: PathBuf,
    /// What the file is an overlay over.
    pub backing: Option<PathBuf>,
    pub copy_on_read: bool,
    pub fill: bool,
    pub read_only: ReadOnly,
    pub serial: [u8; VIRTIO_BLK_ID_BYTES as usize],
    pub sector_size: u32,
    pub queues: u16,
    pub queue_size: u16,
    pub cache: Cache,
    pub discard: bool,
    pub engine: Engine,
    pub lock: bool,
    pub pin_memory: bool,
    pub spin_max: Duration,
    pub throttle: Source,
    pub verbose: bool,
}

#[derive(Debug)]
pub enum Command {
    Serve(Box<Options>),
    Help,
    Version,
}

/// What follows the program's name. An error is words for the user.
pub fn parse(arguments: impl Iterator<Item = OsString>) -> Result<Command, String> {
    let mut parser = lexopt::Parser::from_args(arguments);
    let mut endpoint = None;
    let mut file = None;
    let mut options = Options {
        endpoint: Endpoint::Fd(-1),
        file: PathBuf::new(),
        backing: None,
        copy_on_read: false,
        fill: false,
        read_only: ReadOnly::Off,
        serial: [0; VIRTIO_BLK_ID_BYTES as usize],
        sector_size: 512,
        queues: 1,
        queue_size: 1024,
        cache: Cache::Auto,
        discard: true,
        engine: Engine::Auto,
        lock: true,
        pin_memory: false,
        spin_max: Duration::from_micros(64),
        throttle: Source::default(),
        verbose: false,
    };
    while let Some(argument) = parser.next().map_err(words)? {
        let name = match argument {
            Short('h') => return Ok(Command::Help),
            Short(letter) => format!("-{letter}"),
            Long(name) => format!("--{name}"),
            Value(word) => return Err(format!("{}: no option takes it", word.display())),
        };
        let mut value = || parser.value().map_err(words);
        match name.as_str() {
            "--help" => return Ok(Command::Help),
            "--version" => return Ok(Command::Version),
            "--socket" => set_endpoint(&mut endpoint, Endpoint::Path(value()?.into()))?,
            "--fd" => {
                let fd = number(&name, value()?, 0, RawFd::MAX as u64)?;
                set_endpoint(&mut endpoint, Endpoint::Fd(fd as RawFd))?;
            }
            "--file" => file = Some(value()?.into()),
            "--backing" => options.backing = Some(value()?.into()),
            "--copy-on-read" => options.copy_on_read = switch(&name, value()?)?,
            "--fill" => options.fill = switch(&name, value()?)?,
            "--read-only" => options.read_only = read_only(&mut parser)?,
            "--serial" => options.serial = serial(&value()?)?,
            "--sector-size" => options.sector_size = sector_size(value()?)?,
            "--queues" => options.queues = number(&name, value()?, 1, 64)? as u16,
            "--queue-size" => options.queue_size = queue_size(&name, value()?)?,
            "--direct" => options.cache = Cache::Direct,
            "--buffered" => options.cache = Cache::Buffered,
            "--discard" => options.discard = switch(&name, value()?)?,
            "--engine" => options.engine = engine(value()?)?,
            "--lock" => options.lock = switch(&name, value()?)?,
            "--pin-memory" => options.pin_memory = switch(&name, value()?)?,
            "--spin-us" => {
                options.spin_max = Duration::from_micros(number(&name, value()?, 0, 1000)?);
            }
            "--verbose" => options.verbose = true,
            _ if name.starts_with(THROTTLE) => throttle(&mut options.throttle, &name, value()?)?,
            _ => return Err(format!("{name}: there is no such option")),
        }
    }
    options.endpoint = endpoint.ok_or("--socket or --fd is missing")?;
    options.file = file.ok_or("--file is missing")?;
    check_overlay(&options)?;
    Ok(Command::Serve(Box::new(options)))
}

fn check_overlay(options: &Options) -> Result<(), String> {
    let copies = options.copy_on_read || options.fill;
    match copies {
        true if options.backing.is_none() => {
            Err("--copy-on-read and --fill are for an overlay: --backing is missing".into())
        }
        true if options.read_only != ReadOnly::Off => {
            Err("--copy-on-read and --fill write to the disk: not with --read-only".into())
        }
        _ => Ok(()),
    }
}

/// Limits stand on the command line, or in a file.
fn throttle(source: &mut Source, name: &str, value: OsString) -> Result<(), String> {
    let both = || Err(format!("{THROTTLE}file does not go with other limits"));
    match (&mut *source, &name[THROTTLE.len()..]) {
        (Source::CommandLine(limits), "file") if *limits == ThrottleLimits::default() => {
            *source = Source::File(value.into());
            Ok(())
        }
        (_, "file") | (Source::File(_), _) => both(),
        (Source::CommandLine(limits), limit) => {
            let value = value.to_str().unwrap_or_default();
            set_limit(limits, limit, value).map_err(|words| format!("{THROTTLE}{words}"))
        }
    }
}

/// What the parser has against an argument.
fn words(error: lexopt::Error) -> String {
    match error {
        lexopt::Error::MissingValue { option: Some(option) } => format!("{option} needs a value"),
        lexopt::Error::UnexpectedValue { option, value } => {
            format!("{option} takes no value, so not {}", value.display())
        }
        other => other.to_string(),
    }
}

/// The value may be missing: of the words that follow, only `auto` belongs to the option.
fn read_only(parser: &mut lexopt::Parser) -> Result<ReadOnly, String> {
    let next_word = |parser: &mut lexopt::Parser| {
        parser.try_raw_args().and_then(|mut words| words.next_if(|word| word == "auto"))
    };
    match parser.optional_value().or_else(|| next_word(parser)) {
        None => Ok(ReadOnly::On),
        Some(value) if value == "auto" => Ok(ReadOnly::Auto),
        Some(_) => Err("--read-only is auto, or has no value".into()),
    }
}

fn set_endpoint(endpoint: &mut Option<Endpoint>, new: Endpoint) -> Result<(), String> {
    match endpoint.replace(new) {
        None => Ok(()),
        Some(_) => Err("more than one --socket or --fd".into()),
    }
}

fn number(name: &str, value: OsString, least: u64, most: u64) -> Result<u64, String> {
    let parsed = value.to_str().and_then(|text| text.parse().ok());
    parsed
        .filter(|number| (least..=most).contains(number))
        .ok_or_else(|| format!("{name} needs a number from {least} to {most}"))
}

fn switch(name: &str, value: OsString) -> Result<bool, String> {
    match value.to_str() {
        Some("on") => Ok(true),
        Some("off") => Ok(false),
        _ => Err(format!("{name} needs on or off")),
    }
}

fn sector_size(value: OsString) -> Result<u32, String> {
    match value.to_str() {
        Some("512") => Ok(512),
        Some("4096") => Ok(4096),
        _ => Err("--sector-size needs 512 or 4096".into()),
    }
}

fn queue_size(name: &str, value: OsString) -> Result<u16, String> {
    let size = number(name, value, 4, 1024)? as u16;
    if size.is_power_of_two() {
        Ok(size)
    } else {
        Err(format!("{name} needs a power of two"))
    }
}

fn engine(value: OsString) -> Result<Engine, String> {
    match value.to_str() {
        Some("auto") => Ok(Engine::Auto),
        Some("threads") => Ok(Engine::Threads),
        Some("io_uring") => Ok(Engine::IoUring),
        _ => Err("--engine needs auto, threads or io_uring".into()),
    }
}

fn serial(value: &OsString) -> Result<[u8; VIRTIO_BLK_ID_BYTES as usize], String> {
    let bytes = value.as_bytes();
    let mut serial = [0; VIRTIO_BLK_ID_BYTES as usize];
    let to = serial.get_mut(..bytes.len()).ok_or("--serial takes at most 20 bytes")?;
    to.copy_from_slice(bytes);
    Ok(serial)
}
