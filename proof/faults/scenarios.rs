//! What is done while calls fail. Each opens by itself, and leaves the rest to `finish`.

use super::case::{Ask, Case, Open};
use super::memory::Lie;
use crate::driver::Alignments;
use crate::driver::{Op, Segment};
use crate::handle::{CompletionMode, EngineKind, Options, RequestFlags};
use crate::proof::disk::Shape;
use crate::sys::Calls;

pub struct Scenario {
    pub name: &'static str,
    pub shape: fn() -> Shape,
    pub run: fn(&mut Case, &Options),
    pub options: Options,
    /// Also on a real file.
    pub real: bool,
}

const BLOCK: usize = 4096;
const NO_FLAGS: RequestFlags = RequestFlags {
    fua: false,
    serialising: false,
    no_wait: false,
    may_unmap: false,
    no_fallback: false,
    registered: false,
    copied: false,
};

/// Read and write, directly, by threads.
fn direct() -> Options {
    Options {
        writable: true,
        direct: true,
        engine: EngineKind::Threads,
        alignments: Alignments { request: 4096, memory: 512, segment: 512 },
        ..Options::default()
    }
}

/// The same with alignments that are asked for and tried.
fn probed() -> Options {
    Options { alignments: Alignments::default(), ..direct() }
}

fn missing() -> Shape {
    Shape { exists: false, ..Shape::file() }
}

fn missing_without_direct() -> Shape {
    Shape { direct: false, ..missing() }
}

fn without_dsync() -> Shape {
    Shape { knows_dsync: false, ..Shape::file() }
}

fn atomic() -> Shape {
    Shape { atomic_max: 16384, ..Shape::device() }
}

fn plain(name: &'static str, run: fn(&mut Case, &Options), options: Options) -> Scenario {
    Scenario { name, shape: Shape::file, run, options, real: true }
}

/// On storage in memory alone.
fn ram(
    name: &'static str,
    shape: fn() -> Shape,
    run: fn(&mut Case, &Options),
    options: Options,
) -> Scenario {
    Scenario { shape, real: false, ..plain(name, run, options) }
}

fn opens() -> Vec<Scenario> {
    let creating = || Options { create: true, resize: true, ..probed() };
    let locked = || Options { lock: true, ..direct() };
    vec![
        plain("open", open, direct()),
        ram("open, probed", Shape::file, open, probed()),
        ram("open a device, probed", Shape::device, open, probed()),
        plain("open for reading", open, Options { writable: false, ..direct() }),
        plain("open, buffered", open, Options { direct: false, ..direct() }),
        plain("open, either", open, Options { buffered_ok: true, ..direct() }),
        plain("open, locked", open, locked()),
        plain("open a window", open, Options { window_offset: 700, ..direct() }),
        plain("open a descriptor", open_fd, direct()),
        ram("create", missing, create, creating()),
        ram("create, no O_DIRECT", missing_without_direct, create_in_vain, creating()),
        ram(
            "create, either",
            missing_without_direct,
            create,
            Options { buffered_ok: true, ..creating() },
        ),
        plain("second handle", second_handle, locked()),
        plain("close", close, locked()),
    ]
}

fn requests() -> Vec<Scenario> {
    let buffered = || Options { direct: false, ..direct() };
    let unmap = || Options { unmap: true, ..direct() };
    let (through, stable) =
        (Options { writethrough: true, ..direct() }, Options { stable_writes: true, ..direct() });
    vec![
        plain("synchronous", synchronous, direct()),
        plain("synchronous, buffered", synchronous, buffered()),
        ram("synchronous, device", Shape::device, synchronous, direct()),
        plain("flush", flush, direct()),
        plain("flush, buffered", flush, buffered()),
        ram("flush without RWF_DSYNC", without_dsync, flush, direct()),
        ram("flush, writethrough", Shape::device, flush, through),
        plain("length", length, Options { resize: true, ..direct() }),
        plain("length, buffered", length, Options { resize: true, ..buffered() }),
        plain("zeros", zeros, unmap()),
        ram("zeros, device", Shape::device, zeros, unmap()),
        ram("zeros, buffered device", Shape::device, zeros, Options { direct: false, ..unmap() }),
        ram("stable writes", Shape::file, asynchronous, stable),
        ram("atomic writes", atomic, torn, Options { guest_block_size: 8192, ..direct() }),
        plain("registered memory", registered, direct()),
    ]
}

pub fn all() -> Vec<Scenario> {
    let in_mode = |completion| Options { completion, ..direct() };
    let mut all = opens();
    all.extend(requests());
    all.extend([
        plain("eventfd", event_fd, in_mode(CompletionMode::Eventfd)),
        plain("asynchronous", asynchronous, in_mode(CompletionMode::Serial)),
        plain("asynchronous, concurrent", asynchronous, in_mode(CompletionMode::Concurrent)),
        plain("asynchronous, polled", asynchronous, in_mode(CompletionMode::Eventfd)),
    ]);
    all
}

/// What is left to look at when the scenario is over, and the last close.
fn finish(case: &mut Case, handle: Open, writable: bool) {
    case.check_usable(&handle, writable);
    case.close(handle);
}

fn write(offset: usize, bytes: usize) -> Ask {
    Ask::new(Op::Write, offset, bytes)
}

fn read(offset: usize, bytes: usize) -> Ask {
    Ask::new(Op::Read, offset, bytes)
}

const FLUSH: Ask =
    Ask { op: Op::Flush, offset: 0, bytes: 0, lie: Lie::Aligned, flags: NO_FLAGS, guest_block: 0 };

fn open(case: &mut Case, options: &Options) {
    case.arm();
    let handle = case.open(options);
    case.disarm();
    let Some(handle) = handle else { return };
    if options.window_offset > 0 {
        // Its offsets are others; that it is there is all that is looked at.
        return case.close(handle);
    }
    finish(case, handle, options.writable);
}

fn open_fd(case: &mut Case, options: &Options) {
    let path = case.path();
    let fd = case.injector.open(&path, libc::O_RDWR, 0).expect("it is there");
    case.arm();
    let handle = case.open_fd(fd, options);
    case.disarm();
    case.injector.close(fd);
    if let Some(handle) = handle {
        finish(case, handle, true);
    }
}

fn registered(case: &mut Case, options: &Options) {
    let Some(handle) = case.open(options) else { return };
    let memory = vec![0u8; 16 * BLOCK];
    let region = Segment { address: memory.as_ptr() as usize, bytes: memory.len() };
    case.arm();
    if let Err(error) = handle.register_buffer(region) {
        case.say(format!("register: {error}"));
    }
    case.submit(&handle, &[write(0, BLOCK), read(2 * BLOCK, BLOCK)], false);
    case.settle(&handle, options.completion);
    if let Err(error) = handle.unregister_buffer(region) {
        case.say(format!("unregister: {error}"));
    }
    finish(case, handle, true);
}

/// It has a length, then none, then some data again.
fn create(case: &mut Case, options: &Options) {
    case.arm();
    let Some(handle) = case.open(options) else { return };
    case.run(&handle, Ask::new(Op::Truncate, 3 * BLOCK + 10, 0));
    case.run(&handle, Ask::new(Op::Truncate, 0, 0));
    case.run(&handle, write(0, 3 * BLOCK + 100));
    case.run(&handle, read(0, 2 * BLOCK));
    finish(case, handle, true);
}

/// The file system has no O_DIRECT, and nothing is left of the file that was created first.
fn create_in_vain(case: &mut Case, options: &Options) {
    case.arm();
    let path = case.path();
    let opened = case.injected(|| {
        crate::handle::Handle::open(&path, &Options { workers: 2, ..options.clone() })
    });
    case.disarm();
    match opened {
        Ok(_) => case.say("it has opened without O_DIRECT"),
        Err(error) if error.words.is_empty() => case.say("no words"),
        Err(_) => {}
    }
    case.check_gone();
}

fn second_handle(case: &mut Case, options: &Options) {
    let Some(first) = case.open(options) else { return };
    case.arm();
    if let Some(second) = case.dup(&first, options) {
        case.run(&second, write(600, 700));
        case.run(&first, write(1300, 700));
        case.run(&second, FLUSH);
        case.close(second);
    }
    finish(case, first, true);
}

fn close(case: &mut Case, options: &Options) {
    let Some(handle) = case.open(options) else { return };
    case.run(&handle, write(600, 700));
    case.arm();
    case.close(handle);
    case.disarm();
    // Nothing of it is left.
    if let Some(handle) = case.open(options) {
        finish(case, handle, true);
    }
}

fn synchronous(case: &mut Case, options: &Options) {
    let Some(handle) = case.open(options) else { return };
    case.arm();
    case.run(&handle, write(0, 2 * BLOCK));
    case.run(&handle, read(0, 3 * BLOCK));
    // An edge, two edges, one block.
    case.run(&handle, write(BLOCK, BLOCK + 512));
    case.run(&handle, write(3 * BLOCK + 100, 2 * BLOCK).lying(Lie::Pieces));
    case.run(&handle, write(6 * BLOCK + 7, 5 * BLOCK).lying(Lie::Odd));
    case.run(&handle, write(12 * BLOCK + 512, 512).lying(Lie::OddPieces));
    case.run(&handle, read(12 * BLOCK + 9, 2000).lying(Lie::OddPieces));
    case.run(&handle, read(2 * BLOCK + 9, 3 * BLOCK).lying(Lie::Odd));
    // The last, partial block, and what reaches into it.
    let length = case.model.length();
    case.run(&handle, write(length - 60, 50));
    case.run(&handle, write(length - BLOCK - 200, BLOCK + 200).lying(Lie::Pieces));
    case.run(&handle, read(length - 3000, 3000).lying(Lie::Odd));
    finish(case, handle, true);
}

fn flush(case: &mut Case, options: &Options) {
    let Some(handle) = case.open(options) else { return };
    case.arm();
    let length = case.model.length();
    case.run(&handle, write(0, BLOCK));
    case.run(&handle, write(2 * BLOCK, BLOCK).fua());
    case.run(&handle, write(3 * BLOCK + 512, 1024).fua());
    case.run(&handle, FLUSH);
    case.run(&handle, write(length - 40, 40).fua());
    case.run(&handle, write(length - 20, 20));
    let zeroes = Ask::new(Op::WriteZeroes, 5 * BLOCK + 5, 3 * BLOCK);
    case.run(&handle, zeroes.fua());
    case.run(&handle, FLUSH);
    finish(case, handle, true);
}

fn length(case: &mut Case, options: &Options) {
    let Some(handle) = case.open(options) else { return };
    case.arm();
    let length = case.model.length();
    case.run(&handle, read(length - 100, 600));
    case.run(&handle, write(length + 500, 700));
    case.run(&handle, write(case.model.length(), 2 * BLOCK));
    case.run(&handle, Ask::new(Op::Truncate, 10 * BLOCK + 77, 0));
    case.run(&handle, Ask::new(Op::Truncate, 11 * BLOCK, 0));
    case.run(&handle, Ask::new(Op::WriteZeroes, case.model.length() - 50, 300));
    case.run(&handle, write(case.model.length() - 10, 20).fua());
    case.run(&handle, read(0, case.model.length()));
    finish(case, handle, true);
}

fn zeros(case: &mut Case, options: &Options) {
    let Some(handle) = case.open(options) else { return };
    case.arm();
    let length = case.model.length();
    let mut flags = Vec::new();
    for may_unmap in [false, true] {
        for no_fallback in [false, true] {
            flags.push(RequestFlags { may_unmap, no_fallback, ..NO_FLAGS });
        }
    }
    for (at, &flags) in flags.iter().enumerate() {
        let offset = at * BLOCK + 100 * at;
        let ask = Ask { flags, ..Ask::new(Op::WriteZeroes, offset, 3 * BLOCK) };
        case.run(&handle, ask);
        let fua = RequestFlags { fua: at % 2 == 0, ..flags };
        let blocks = Ask { flags: fua, ..Ask::new(Op::WriteZeroes, 8 * BLOCK, 2 * BLOCK) };
        case.run(&handle, blocks);
        case.run(&handle, write(offset, 2 * BLOCK));
    }
    case.run(&handle, Ask::new(Op::WriteZeroes, length - 300, 200));
    case.run(&handle, Ask::new(Op::Discard, 4 * BLOCK + 5, 3 * BLOCK));
    case.run(&handle, Ask::new(Op::Discard, 9 * BLOCK, 2 * BLOCK));
    finish(case, handle, true);
}

fn asynchronous(case: &mut Case, options: &Options) {
    let Some(handle) = case.open(options) else { return };
    case.arm();
    let length = case.model.length();
    let batch = [
        write(0, 512),
        write(512, 512).lying(Lie::Odd),
        write(2048, 1024),
        write(BLOCK, 2 * BLOCK).fua(),
        write(4 * BLOCK + 100, 2 * BLOCK).lying(Lie::Pieces),
        write(8 * BLOCK, BLOCK).lying(Lie::OddPieces),
        write(length - 70, 60),
        read(10 * BLOCK, BLOCK),
        read(11 * BLOCK + 5, 700).lying(Lie::OddPieces),
        read(11 * BLOCK + 3000, 700),
    ];
    case.submit(&handle, &batch, options.stable_writes);
    case.settle(&handle, options.completion);
    let second = [
        FLUSH,
        Ask::new(Op::WriteZeroes, 9 * BLOCK + 9, 2 * BLOCK),
        write(4 * BLOCK, 100).fua(),
        write(5 * BLOCK + 3, 100),
    ];
    case.submit(&handle, &second[..1], false);
    case.settle(&handle, options.completion);
    case.submit(&handle, &second[1..], options.stable_writes);
    case.settle(&handle, options.completion);
    case.check_usable(&handle, true);
    case.submit(&handle, &[write(13 * BLOCK + 1, 900), read(0, BLOCK)], options.stable_writes);
    case.settle(&handle, options.completion);
    case.close(handle);
}

fn torn(case: &mut Case, options: &Options) {
    let Some(handle) = case.open(options) else { return };
    case.arm();
    case.run(&handle, write(0, 2 * BLOCK));
    case.run(&handle, write(2 * BLOCK, 8 * BLOCK).lying(Lie::OddPieces));
    case.run(&handle, write(3 * BLOCK + 100, 2 * BLOCK).fua());
    case.run(&handle, read(0, 8 * BLOCK));
    finish(case, handle, true);
}

fn event_fd(case: &mut Case, options: &Options) {
    let Some(handle) = case.open(options) else { return };
    case.arm();
    let before = case.delivered();
    let result = case.injected(|| handle.event_fd());
    if let Err(error) = result {
        case.check_error("event_fd", &error, before);
    }
    case.submit(&handle, &[write(0, BLOCK), write(BLOCK + 9, 90), read(2 * BLOCK, 90)], false);
    case.settle(&handle, options.completion);
    case.disarm();
    if let Err(error) = case.injected(|| handle.event_fd()) {
        case.say(format!("no eventfd afterwards: {error}"));
    }
    finish(case, handle, true);
}
