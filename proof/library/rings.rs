//! A handle with a ring: who takes results in, who is woken, and how the job ends that does.

use std::ffi::{c_int, c_void};
use std::sync::atomic::Ordering;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use smallvec::smallvec;

use super::content;
use super::small::{explore, join};
use crate::driver::{Op, Segment, Segments};
use crate::engine::StableCopy;
use crate::handle::{Callback, CompletionMode, EngineKind, Handle, Options};
use crate::handle::{RequestFlags, Submission};
use crate::proof::disk::Shape;
use crate::proof::table::with_calls;
use crate::proof::world::system::calls::{calmly, table, PATH};
use crate::proof::world::system::device::{self, Device, Faults};
use crate::proof::world::system::is_readable;
use crate::proof::world::thread::{sleep_as, spawn};
use crate::proof::world::{block, fail, idle_hook, point, wake_all, Class, Key};

/// What each callback got.
static RAN: Mutex<Vec<c_int>> = Mutex::new(Vec::new());
const CALLED_BACK: Key = Key::Thing(3);

pub(super) extern "C" fn note(_opaque: *mut c_void, ret: c_int) {
    RAN.lock().push(ret);
    wake_all(CALLED_BACK);
}

/// A handle on a disk without faults; `code` has it while a thread serves the disk.
pub(super) fn with_handle(
    completion: CompletionMode,
    knows_nowait: bool,
    code: impl FnOnce(&Arc<Handle>),
) {
    with_depth(0, completion, knows_nowait, code);
}

/// `depth`: how many I/Os may be at the disk; 0: as usual.
fn with_depth(
    depth: u32,
    completion: CompletionMode,
    knows_nowait: bool,
    code: impl FnOnce(&Arc<Handle>),
) {
    with_faults(Faults::default(), depth, completion, knows_nowait, code);
}

fn with_faults(
    faults: Faults,
    depth: u32,
    completion: CompletionMode,
    knows_nowait: bool,
    code: impl FnOnce(&Arc<Handle>),
) {
    let shape = Shape {
        bytes: 16384,
        needs_memory: 1,
        says_statx: Some((1, 512)),
        says_sysfs: false,
        knows_nowait,
        ..Shape::device().with_blocks(512)
    };
    let initial = content::bytes(0, 0, shape.bytes as u64);
    let device: Arc<Device> = device::plug_in(shape, initial, faults);
    let its = device.clone();
    let serving = spawn("device", move || its.serve());
    let options = Options {
        direct: true,
        writable: true,
        engine: EngineKind::IoUring,
        completion,
        queue_depth: depth,
        ..Options::default()
    };
    RAN.lock().clear();
    let opened = with_calls(table(), || calmly(|| Handle::open(PATH, &options)));
    let handle = Arc::new(opened.unwrap_or_else(|error| fail(&format!("open: {error}"))));
    if handle.engine() != EngineKind::IoUring {
        fail("no ring");
    }
    code(&handle);
    let handle = Arc::into_inner(handle).unwrap_or_else(|| fail("somebody has the handle"));
    if let Err((_, error)) = Box::new(handle).close() {
        fail(&format!("close: {error}"));
    }
    device.stop();
    join(serving);
}

/// The whole of `memory`, at the start of the disk.
pub(super) fn submission(op: Op, memory: &StableCopy) -> Submission {
    let segments: Segments = smallvec![memory.data()];
    let flags = RequestFlags::default();
    let bytes = memory.data().bytes as u64;
    Submission { op, flags, guest_block: 0, offset: 0, bytes, segments }
}

/// A read of one block.
fn read(handle: &Handle, memory: &StableCopy) -> u64 {
    submit(handle, submission(Op::Read, memory))
}

pub(super) fn submit(handle: &Handle, submission: Submission) -> u64 {
    submit_for(handle, submission, note)
}

pub(super) fn submit_for(
    handle: &Handle,
    submission: Submission,
    function: extern "C" fn(*mut c_void, c_int),
) -> u64 {
    let callback = Callback { function, opaque: std::ptr::null_mut(), on_failure: |_| {} };
    handle
        .submit(submission, callback, |_| {})
        .unwrap_or_else(|error| fail(&format!("submit: {error}")))
}

fn memory() -> StableCopy {
    memory_of(512)
}

pub(super) fn memory_of(bytes: usize) -> StableCopy {
    let zeros = [0u8; 512];
    let segment = Segment { address: zeros.as_ptr().addr(), bytes };
    StableCopy::new(&[segment], bytes, 512, 0).unwrap_or_else(|| fail("no memory"))
}

fn poll(handle: &Handle) {
    match handle.poll(1, None) {
        Ok(1) => {}
        other => fail(&format!("poll: {other:?}")),
    }
}

pub(super) fn check(expected: &[c_int]) {
    let mut ran = RAN.lock().clone();
    ran.sort_unstable();
    if ran != expected {
        fail(&format!("callbacks got {ran:?} instead of {expected:?}"));
    }
}

/// EVENTFD: a thread sleeps in the ring without end; what another cancels is due without the
/// ring's doing (`push_due`), and what the ring does is due by it (`take_in_for_poll`).
pub fn a_thread_asleep_in_the_ring_is_woken_for_what_is_due() -> (usize, bool) {
    explore("poll", 2, 2500, 1500, || {
        with_handle(CompletionMode::Eventfd, true, |handle| {
            // With an eventfd of the program's the ring has none for the thread that sleeps in it.
            if crate::proof::world::choose(2) == 0 {
                let _ = handle.event_fd();
            }
            let its = handle.clone();
            let poller = spawn("poller", move || {
                poll(&its);
                poll(&its);
            });
            let (held, read_now) = (memory(), memory());
            handle.plug();
            let id = read(handle, &held);
            if let Err(error) = handle.cancel(id) {
                fail(&format!("cancel: {error}"));
            }
            handle.unplug();
            // Nothing of the ring's wakes it for this one.
            while RAN.lock().is_empty() {
                block(CALLED_BACK, None, Class::Library);
            }
            read(handle, &read_now);
            join(poller);
            check(&[-libc::ECANCELED, 0]);
        });
    })
}

/// The same with two threads asleep, where one takes what both were woken for.
pub fn of_two_threads_in_poll_each_gets_its_callback() -> (usize, bool) {
    explore("two in poll", 1, 2000, 1500, || {
        with_handle(CompletionMode::Eventfd, true, |handle| {
            let pollers = [0, 1].map(|_| {
                let its = handle.clone();
                spawn("poller", move || poll(&its))
            });
            let memories = [memory(), memory()];
            for memory in &memories {
                read(handle, memory);
            }
            pollers.into_iter().for_each(join);
            check(&[0, 0]);
        });
    })
}

/// EVENTFD with its descriptor: a thread polls when it is readable, and at no other time; another
/// one submits, one request after the other.
pub fn a_ring_has_nothing_behind_a_descriptor_that_is_not_readable() -> (usize, bool) {
    explore("descriptor", 2, 2500, 2500, || {
        with_handle(CompletionMode::Eventfd, true, |handle| {
            let its = handle.clone();
            let poller = spawn("poller", move || {
                let fd = its.event_fd().unwrap_or_else(|error| fail(&error.words));
                let mut ran = 0;
                while ran < 3 {
                    point();
                    match is_readable(fd) {
                        true => ran += its.poll(1, Some(Duration::ZERO)).unwrap_or(0),
                        false => {
                            block(Key::Readable(fd), None, Class::Library);
                        }
                    }
                }
            });
            let memories = [memory(), memory(), memory()];
            for memory in &memories {
                read(handle, memory);
            }
            join(poller);
            check(&[0, 0, 0]);
        });
    })
}

/// SERIAL: a ring for three I/Os and a wake-up, whose places are taken again while the kernel has
/// not said yet that it took what was in them.
pub fn a_ring_has_room_beside_what_the_kernel_is_about_to_take() -> (usize, bool) {
    explore("room", 1, 1000, 1500, || {
        with_depth(3, CompletionMode::Serial, true, |handle| {
            let memories: Arc<[StableCopy]> = (0..6).map(|_| memory()).collect();
            let its = (handle.clone(), memories.clone());
            let other = spawn("other", move || {
                for memory in &its.1[..3] {
                    read(&its.0, memory);
                }
            });
            // All three to the kernel at once.
            handle.plug();
            for memory in &memories[3..] {
                read(handle, memory);
            }
            handle.unplug();
            join(other);
            if let Err(error) = handle.drain() {
                fail(&format!("drain: {error}"));
            }
            check(&[0; 6]);
        });
    })
}

/// EVENTFD on storage that knows no NOWAIT: the thread that polled last submits, which may be held
/// back for its next poll, and another one goes to sleep.
pub fn what_is_held_back_is_not_left_behind_a_sleeper() -> (usize, bool) {
    explore("held", 2, 2500, 1500, || {
        with_handle(CompletionMode::Eventfd, false, |handle| {
            let memories = [memory(), memory()];
            read(handle, &memories[0]);
            poll(handle);
            let its = handle.clone();
            let poller = spawn("poller", move || poll(&its));
            read(handle, &memories[1]);
            join(poller);
            check(&[0, 0]);
        });
    })
}

/// EVENTFD: a synchronous call waits for a request whose I/O comes to the ring at that moment, and
/// nobody polls (SeqCst: `inside`, and the count of calls that sleep).
pub fn a_call_that_waits_for_a_ring_that_nobody_polls_is_helped() -> (usize, bool) {
    explore("helped", 2, 2500, 2500, || {
        with_handle(CompletionMode::Eventfd, true, |handle| {
            let memories = Arc::new([memory_of(100), memory_of(100)]);
            let its = (handle.clone(), memories.clone());
            let other = spawn("other", move || {
                submit(&its.0, submission(Op::Write, &its.1[0]));
            });
            if let Err(error) = handle.run(submission(Op::Write, &memories[1])) {
                fail(&format!("run: {error}"));
            }
            join(other);
            if let Err(error) = handle.drain() {
                fail(&format!("drain: {error}"));
            }
            check(&[0]);
        });
    })
}

/// SERIAL: the job that takes results in ends after a while without any, just when another request
/// comes (SeqCst: `reaping` and the count of requests).
pub fn a_request_that_comes_as_the_reap_job_ends_is_taken_in() -> (usize, bool) {
    requests_as_the_job_ends("reap", true)
}

/// The same on storage that knows no NOWAIT: the request is deferred for the job.
pub fn a_request_that_is_deferred_as_the_reap_job_ends_is_carried_out() -> (usize, bool) {
    requests_as_the_job_ends("reap deferred", false)
}

fn requests_as_the_job_ends(name: &str, knows_nowait: bool) -> (usize, bool) {
    explore(name, 2, 2500, 1500, || {
        with_handle(CompletionMode::Serial, knows_nowait, |handle| {
            let memories = [memory(), memory()];
            read(handle, &memories[0]);
            let ran = |count: usize| {
                while RAN.lock().len() < count {
                    block(CALLED_BACK, None, Class::Library);
                }
            };
            ran(1);
            // Twice as long as the job waits at a time: it ends at this moment.
            sleep_as(Duration::from_secs(1), Class::Outside);
            read(handle, &memories[1]);
            ran(2);
            check(&[0, 0]);
        });
    })
}

/// Whether the synchronous call is over that `wait_for_a_call` waits for.
static CALL_IS_OVER: Mutex<bool> = Mutex::new(false);

/// What the callback submits before it waits.
static TO_SUBMIT: Mutex<Option<Box<dyn FnOnce() + Send>>> = Mutex::new(None);
/// Whether all requests but the synchronous call have been submitted.
static ALL_SUBMITTED: Mutex<bool> = Mutex::new(false);

fn all_submitted() {
    *ALL_SUBMITTED.lock() = true;
    wake_all(CALLED_BACK);
}

extern "C" fn wait_for_a_call(opaque: *mut c_void, ret: c_int) {
    let submits = TO_SUBMIT.lock().take();
    if let Some(submits) = submits {
        submits();
        all_submitted();
    }
    while !*CALL_IS_OVER.lock() {
        block(CALLED_BACK, None, Class::Outside);
    }
    note(opaque, ret);
}

/// SERIAL and CONCURRENT: the job that takes results in runs a callback, which waits for a
/// synchronous call; and that call waits for a write whose result the job has to take in. The
/// callback itself has submitted that write, or the program has.
pub fn a_callback_that_waits_holds_nobody_up() -> (usize, bool) {
    explore("held up", 2, 2500, 2500, || {
        let serial = crate::proof::world::choose(2) == 0;
        let mode = if serial { CompletionMode::Serial } else { CompletionMode::Concurrent };
        with_handle(mode, true, |handle| {
            *CALL_IS_OVER.lock() = false;
            let memories = Arc::new([memory(), memory_of(100), memory_of(100)]);
            let its = (handle.clone(), memories.clone());
            let write = move || {
                submit(&its.0, submission(Op::Write, &its.1[1]));
            };
            *ALL_SUBMITTED.lock() = false;
            let by_callback = crate::proof::world::choose(2) == 0;
            *TO_SUBMIT.lock() = by_callback.then(|| Box::new(write.clone()) as _);
            submit_for(handle, submission(Op::Read, &memories[0]), wait_for_a_call);
            let its = (handle.clone(), memories.clone());
            let other = spawn("other", move || {
                while !*ALL_SUBMITTED.lock() {
                    block(CALLED_BACK, None, Class::Outside);
                }
                // What the callback has submitted goes out, though the callback has not ended.
                let mut looks = 0;
                while its.0.stats().storage_writes == 0 {
                    looks += 1;
                    if looks > 100 {
                        fail("what a callback has submitted is held back");
                    }
                    sleep_as(Duration::from_millis(1), Class::Outside);
                }
                if let Err(error) = its.0.run(submission(Op::Write, &its.1[2])) {
                    fail(&format!("run: {error}"));
                }
                *CALL_IS_OVER.lock() = true;
                wake_all(CALLED_BACK);
            });
            if !by_callback {
                write();
                all_submitted();
            }
            drop(write);
            join(other);
            if let Err(error) = handle.drain() {
                fail(&format!("drain: {error}"));
            }
            check(&[0, 0]);
        });
    })
}

extern "C" fn end_the_call(opaque: *mut c_void, ret: c_int) {
    *CALL_IS_OVER.lock() = true;
    note(opaque, ret);
}

/// CONCURRENT: the job that takes results in runs a callback, which waits for another one that was
/// due at the same time.
pub fn a_callback_that_waits_for_one_beside_it_holds_nobody_up() -> (usize, bool) {
    explore("beside", 1, 2000, 1500, || {
        let knows_nowait = crate::proof::world::choose(2) == 0;
        with_handle(CompletionMode::Concurrent, knows_nowait, |handle| {
            *CALL_IS_OVER.lock() = false;
            let memories = [memory(), memory()];
            handle.plug();
            submit_for(handle, submission(Op::Read, &memories[0]), wait_for_a_call);
            submit_for(handle, submission(Op::Read, &memories[1]), end_the_call);
            handle.unplug();
            if let Err(error) = handle.drain() {
                fail(&format!("drain: {error}"));
            }
            check(&[0, 0]);
        });
    })
}

/// SERIAL and CONCURRENT on storage that knows no NOWAIT: the job that takes results in carries out
/// two I/Os by itself, of which the second hangs. The callback of the first runs all the same.
pub fn an_io_that_the_job_carries_out_and_that_hangs_holds_nobody_up() -> (usize, bool) {
    const HANGS: u64 = 30_000_000;
    explore("hangs", 1, 2000, 1500, || {
        let serial = crate::proof::world::choose(2) == 0;
        let mode = if serial { CompletionMode::Serial } else { CompletionMode::Concurrent };
        let faults = Faults { hang: Some((2, HANGS)), ..Faults::default() };
        with_faults(faults, 0, mode, false, |handle| {
            let memories = Arc::new([memory(), memory(), memory()]);
            let its = (handle.clone(), memories.clone());
            *TO_SUBMIT.lock() = Some(Box::new(move || {
                read(&its.0, &its.1[1]);
                read(&its.0, &its.1[2]);
            }));
            *CALL_IS_OVER.lock() = true;
            submit_for(handle, submission(Op::Read, &memories[0]), wait_for_a_call);
            while RAN.lock().len() < 2 {
                block(CALLED_BACK, None, Class::Library);
            }
            if device::device().hanging.lock().is_empty() && RAN.lock().len() < 3 {
                fail("the second has not begun, or its callback does not come");
            }
            // From here on all waits for the one that hangs.
            idle_hook(Box::new(|| None));
            if let Err(error) = handle.drain() {
                fail(&format!("drain: {error}"));
            }
            check(&[0, 0, 0]);
        });
    })
}

/// EVENTFD: a thread that polls is about to leave when another one hands I/O over to it. The I/O
/// goes to the storage, though no thread polls any more.
pub fn what_is_handed_over_to_a_thread_that_leaves_goes_out() -> (usize, bool) {
    explore("leaves", 2, 2000, 1500, || {
        with_handle(CompletionMode::Eventfd, true, |handle| {
            let its = handle.clone();
            let poller = spawn("poller", move || its.poll(1, Some(Duration::ZERO)).unwrap_or(0));
            let memories = [memory()];
            read(handle, &memories[0]);
            join(poller);
            let mut looks = 0;
            while device::device().counts.ios.load(Ordering::Relaxed) == 0 {
                looks += 1;
                if looks > 100 {
                    fail("what was handed over stays in the queue");
                }
                sleep_as(Duration::from_millis(1), Class::Outside);
            }
            if let Err(error) = handle.drain() {
                fail(&format!("drain: {error}"));
            }
            check(&[0]);
        });
    })
}

/// A request is submitted, completes, is cancelled and is closed over, by three threads.
pub fn submit_cancel_completion_and_close_meet() -> (usize, bool) {
    explore("cancel", 1, 2000, 1500, || {
        with_handle(CompletionMode::Concurrent, true, |handle| {
            let (its, first) = (handle.clone(), Arc::new(memory()));
            let there = first.clone();
            let submitter = spawn("submitter", move || {
                its.plug();
                let id = read(&its, &there);
                let other = its.clone();
                let canceller = spawn("canceller", move || {
                    let answer = other.cancel(id).map_err(|error| error.errno);
                    let ended = answer == Ok(());
                    if !ended && !matches!(answer, Err(libc::EBUSY | libc::ENOENT)) {
                        fail(&format!("cancel: {answer:?}"));
                    }
                    ended
                });
                its.unplug();
                join(canceller)
            });
            let second = memory();
            read(handle, &second);
            if let Err(error) = handle.drain() {
                fail(&format!("drain: {error}"));
            }
            let cancelled = join(submitter);
            let _ = handle.drain();
            check(if cancelled { &[-libc::ECANCELED, 0] } else { &[0, 0] });
        });
    })
}

/// A thread plugs, submits and ends; another drains meanwhile. What is held back goes out, before
/// the drain looks or after it.
pub fn what_a_thread_that_ends_holds_back_keeps_no_drain_waiting() -> (usize, bool) {
    explore("plugged", 1, 2000, 1500, || {
        with_handle(CompletionMode::Concurrent, true, |handle| {
            let (its, memory) = (handle.clone(), Arc::new(memory()));
            let there = memory.clone();
            let submitter = spawn("submitter", move || {
                its.plug();
                read(&its, &there);
            });
            let drain = || {
                if let Err(error) = handle.drain() {
                    fail(&format!("drain: {error}"));
                }
            };
            drain();
            join(submitter);
            drain();
            check(&[0]);
        });
    })
}
