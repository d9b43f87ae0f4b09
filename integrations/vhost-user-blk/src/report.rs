//! What the daemon says: to standard error, which may be a full file system, a pipe that nobody
//! reads, or nothing at all. Saying something never fails, and no thread that serves a guest waits
//! for it: a thread of its own writes, what it cannot keep up with is dropped, and counted.

use std::collections::VecDeque;
use std::io::Write;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::Builder;
use std::time::{Duration, Instant};

const NAME: &str = "blkalign-vhost-user-blk";
/// Most lines that wait to be written.
const LINES_MAX: usize = 256;
/// How long the program's end waits for them.
const PATIENCE: Duration = Duration::from_secs(1);

struct Lines {
    waiting: VecDeque<String>,
    dropped: u64,
    /// The writer is there.
    started: bool,
    /// The writer has a line in hand.
    writing: bool,
}

static LINES: Mutex<Lines> =
    Mutex::new(Lines { waiting: VecDeque::new(), dropped: 0, started: false, writing: false });
static CHANGED: Condvar = Condvar::new();

fn lines() -> MutexGuard<'static, Lines> {
    LINES.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Says one line on standard error.
pub fn say(words: &str) {
    let mut lines = lines();
    if lines.waiting.len() >= LINES_MAX {
        lines.dropped += 1;
        return;
    }
    lines.waiting.push_back(format!("{NAME}: {words}\n"));
    if !lines.started {
        // No thread now: perhaps for the next line.
        lines.started = Builder::new().name("words".into()).spawn(write_lines).is_ok();
    }
    CHANGED.notify_all();
}

/// Waits until all has been said, for a moment: the process is about to end.
pub fn finish() {
    let until = Instant::now() + PATIENCE;
    let mut lines = lines();
    while lines.started && (lines.writing || !lines.waiting.is_empty()) {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return;
        }
        lines = CHANGED.wait_timeout(lines, left).unwrap_or_else(PoisonError::into_inner).0;
    }
}

/// Writes to standard output. An error is words for the user.
pub fn print(text: &str) -> Result<(), String> {
    let mut output = std::io::stdout().lock();
    let result = output.write_all(text.as_bytes()).and_then(|()| output.flush());
    result.map_err(|error| format!("standard output: {error}"))
}

/// Panics are said like all else. (The library's own are not heard of: it makes errors of them.)
pub fn hear_of_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let thread = std::thread::current();
        let name = thread.name().unwrap_or("a thread without a name").to_owned();
        say(&format!("a bug: {name}: {panic}").replace('\n', " "));
    }));
}

fn write_lines() {
    let mut lines = lines();
    loop {
        let dropped = std::mem::take(&mut lines.dropped);
        let line = lines.waiting.pop_front();
        let Some(mut line) = line else {
            lines = CHANGED.wait(lines).unwrap_or_else(PoisonError::into_inner);
            continue;
        };
        if dropped > 0 {
            line += &format!("{NAME}: {dropped} lines could not be written\n");
        }
        lines.writing = true;
        drop(lines);
        write_all(line.as_bytes());
        lines = self::lines();
        lines.writing = false;
        CHANGED.notify_all();
    }
}

/// As far as it goes; this thread may wait.
fn write_all(mut bytes: &[u8]) {
    while !bytes.is_empty() {
        // SAFETY: the bytes live through the call. Not std's stderr, which takes a lock of its own.
        let written = unsafe { libc::write(2, bytes.as_ptr().cast(), bytes.len()) };
        if written > 0 {
            bytes = &bytes[written as usize..];
            continue;
        }
        match std::io::Error::last_os_error().raw_os_error() {
            Some(libc::EINTR) if written < 0 => {}
            Some(libc::EAGAIN) if written < 0 => {
                let mut entry = libc::pollfd { fd: 2, events: libc::POLLOUT, revents: 0 };
                // SAFETY: one entry.
                unsafe { libc::poll(&mut entry, 1, -1) };
            }
            _ => return,
        }
    }
}
