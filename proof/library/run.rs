//! One run, from a seed: opens handles, lets everybody go, closes, and looks at what is left.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::Arc;

use super::actors;
use super::content;
use super::notifiers;
use super::power;
use super::scenario::{Plan, Poller, Scenario, Under};
use super::scene::{set_scene, Entry, Ledger, Order, Place, Scene, State, SOMETHING_ENDED};
use super::totals::Totals;
use crate::driver::Op;
use crate::handle::{CompletionMode, Handle, Options};
use crate::proof::inside;
use crate::proof::model::Model;
use crate::proof::table::with_calls;
use crate::proof::world::memory::Meeting;
use crate::proof::world::system::calls::{calmly, table, PATH};
use crate::proof::world::system::device::{self, Device};
use crate::proof::world::system::driver::{self, Form};
use crate::proof::world::thread::{spawn, JoinHandle};
use crate::proof::world::{
    block, choose, fail, idle_hook, outside_limits, steps, wake_all, world, Class, Key, World,
};
use crate::sys::Error;
use crate::throttle::{Throttle, ThrottleLimits};

/// Threads that complete the disk's I/O.
const DEVICE_THREADS: usize = 2;

/// Runs the run of `seed`. What is wrong with it ends the process, with words.
pub fn run(seed: u64, trace: bool) -> Totals {
    let scenario = Scenario::draw(seed);
    if trace {
        eprintln!("{scenario:#?}");
    }
    let label = format!("BLKALIGN_SIM_SEED={seed}");
    let choice = scenario.policy.choice(!seed);
    let tick = scenario.tick;
    World::run(label, choice, tick, trace, || inside(scenario)).0
}

fn inside(scenario: Scenario) -> Totals {
    actors::be_program();
    let shape = scenario.shape;
    let initial = content::bytes(0, 0, shape.bytes as u64);
    let device = device::plug_in(shape, initial.clone(), scenario.faults.clone());
    let serving: Vec<JoinHandle<()>> = (0..DEVICE_THREADS)
        .map(|_| {
            let device = device.clone();
            spawn("device", move || device.serve())
        })
        .collect();
    if scenario.no_threads {
        world().expect("inside").refuse_threads(100);
    }
    let handles = open(&scenario);
    let driver = matches!(scenario.under, Under::Driver | Under::AsynchronousDriver);
    let places = scenario.handles.iter().zip(handles);
    let places = places.map(|(plan, handle)| place(plan, handle, driver)).collect();
    let model = Model::new(initial);
    let ledger = parking_lot::Mutex::new(Ledger { model, entries: Vec::new() });
    let refused = scenario.refused_threads;
    let throttles = [(); 2].map(|()| Throttle::new(&ThrottleLimits::default()));
    let its = device.clone();
    let (questions, notified) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let scene = Scene { scenario, device: its, places, ledger, throttles, questions, notified };
    let scene = Arc::new(scene);
    set_scene(Some(scene.clone()));
    let its = scene.clone();
    idle_hook(Box::new(move || its.stuck()));
    world().expect("inside").refuse_threads(refused);
    let callers = start(&scene);
    for caller in callers.submitters {
        let _ = caller.join();
    }
    stop_pollers(&scene, callers.pollers);
    close(&scene);
    device.stop();
    for thread in serving {
        let _ = thread.join();
    }
    let totals = conclude(&scene, &device);
    set_scene(None);
    totals
}

fn open(scenario: &Scenario) -> Vec<Handle> {
    let mut handles: Vec<Handle> = Vec::new();
    for plan in &scenario.handles {
        let mut opened = open_one(scenario, handles.first(), &plan.options);
        if scenario.no_threads && opened.as_ref().is_err_and(|error| error.errno == libc::ENOMEM) {
            // Without a ring it takes threads.
            world().expect("inside").refuse_threads(0);
            opened = open_one(scenario, handles.first(), &plan.options);
        }
        handles.push(opened.unwrap_or_else(|error| fail(&format!("open: {error}"))));
    }
    handles
}

fn open_one(
    scenario: &Scenario,
    first: Option<&Handle>,
    options: &Options,
) -> Result<Handle, Error> {
    let form = match scenario.under {
        Under::AsynchronousDriver if scenario.splits => Form::Splitting,
        Under::AsynchronousDriver => Form::Asynchronous,
        _ => Form::Synchronous,
    };
    let open = |options: &Options| {
        with_calls(table(), || {
            calmly(|| match (scenario.under, first) {
                (Under::File | Under::Device, Some(first)) if choose(2) == 0 => first.dup(options),
                (Under::File | Under::Device, _) => Handle::open(PATH, options),
                (_, Some(first)) => first.dup(options),
                (_, None) => {
                    driver::register();
                    let table = driver::table(form);
                    Handle::open_driver(table, std::ptr::null_mut(), options)
                }
            })
        })
    };
    // On a file or device the first decides which way all go.
    let Some(first) = first.filter(|_| matches!(scenario.under, Under::File | Under::Device))
    else {
        return open(options);
    };
    let direct = first.limits().direct;
    let refused = options.direct && !options.buffered_ok && !direct;
    let opened = match open(options) {
        Err(error) if refused && error.errno == libc::EBUSY => {
            open(&Options { buffered_ok: true, ..options.clone() })
        }
        Ok(_) if refused => fail("O_DIRECT alone beside handles that use the page cache"),
        opened => opened,
    };
    opened.inspect(|handle| {
        if handle.limits().direct != direct {
            fail("two handles go different ways");
        }
    })
}

/// `driver`: a C caller's, which has no page cache.
fn place(plan: &Plan, handle: Handle, driver: bool) -> Place {
    Place {
        plan: plan.clone(),
        direct: driver || handle.limits().direct,
        handle: parking_lot::Mutex::new(Some(Arc::new(handle))),
        used: Meeting::new(),
        running: AtomicUsize::new(0),
        polled: AtomicUsize::new(plan.pollers.len()),
        ended: parking_lot::Mutex::default(),
        stopping: AtomicBool::new(false),
        draining: AtomicUsize::new(0),
        plugs: AtomicUsize::new(0),
        cancelling_all: AtomicUsize::new(0),
        cancelled_together: AtomicUsize::new(0),
        closing: AtomicBool::new(false),
        follow_ups: AtomicUsize::new(plan.operations),
        pauses: AtomicUsize::new(0),
        pausing: AtomicUsize::new(0),
    }
}

struct Callers {
    submitters: Vec<JoinHandle<()>>,
    pollers: Vec<(usize, Poller, JoinHandle<()>)>,
}

fn start(scene: &Arc<Scene>) -> Callers {
    let mut callers = Callers { submitters: Vec::new(), pollers: Vec::new() };
    for (at, place) in scene.places.iter().enumerate() {
        for &kind in &place.plan.pollers {
            let its = scene.clone();
            let thread = spawn("poller", move || actors::poller(&its, at, kind));
            callers.pollers.push((at, kind, thread));
        }
        for _ in 0..place.plan.submitters {
            let its = scene.clone();
            callers.submitters.push(spawn("submitter", move || actors::submitter(&its, at)));
        }
    }
    let times = scene.scenario.notifiers;
    if times > 0 {
        let its = scene.clone();
        let thread = spawn("notifying", move || notifiers::notifying(&its, times));
        callers.submitters.push(thread);
    }
    callers
}

/// Who waits without end is given something to wake up for.
fn stop_pollers(scene: &Arc<Scene>, pollers: Vec<(usize, Poller, JoinHandle<()>)>) {
    for (at, _, _) in &pollers {
        scene.places[*at].stopping.store(true, Ordering::Relaxed);
        // With the plugs and follow-ups of its handle there may be more to come.
        scene.places[*at].follow_ups.store(0, Ordering::Relaxed);
    }
    for (at, kind, thread) in pollers {
        let place = &scene.places[at];
        let handle = actors::handle_of(place);
        let number = thread.thread().number();
        let ended = || place.ended.lock().contains(&number);
        if kind == Poller::Descriptor {
            if let Ok(fd) = handle.event_fd() {
                wake_all(Key::Readable(fd));
            }
        }
        while kind == Poller::Patient && !ended() {
            let flush = Order {
                op: Op::Flush,
                offset: 0,
                bytes: 0,
                synchronous: false,
                no_wait: false,
                margin: 0,
            };
            let Some(flush) = actors::submit(scene, at, &handle, flush) else { continue };
            let underway = || scene.ledger.lock().entries[flush].state == State::Underway;
            while underway() && !ended() {
                block(SOMETHING_ENDED, None, Class::Library);
            }
        }
        outside_limits(|| drop(thread.join()));
    }
}

fn close(scene: &Arc<Scene>) {
    let mut order: Vec<usize> = (0..scene.places.len()).collect();
    for at in (1..order.len()).rev() {
        order.swap(at, choose(at as u64 + 1) as usize);
    }
    for at in order {
        let place = &scene.places[at];
        if choose(2) == 0 {
            actors::drain(scene, at, &actors::handle_of(place));
        }
        place.draining.fetch_add(1, Ordering::Relaxed);
        place.closing.store(true, Ordering::Relaxed);
        let handle = place.handle.lock().take();
        let mut handle = handle.unwrap_or_else(|| fail("closed before"));
        // Callbacks that have begun may use it.
        let handle = loop {
            match Arc::try_unwrap(handle) {
                Ok(handle) => break Box::new(handle),
                Err(shared) => handle = shared,
            }
            block(SOMETHING_ENDED, None, Class::Library);
        };
        place.used.acquire();
        let events = place.plan.options.completion == CompletionMode::Eventfd;
        let close = || handle.close();
        let closed = if events { actors::taking(at, close) } else { close() };
        if let Err((_, error)) = closed {
            fail(&format!("close: {error}"));
        }
        scene.check_known(|_, its| {
            its.place == at && !its.synchronous && its.state != State::Refused
        });
        place.draining.fetch_sub(1, Ordering::Relaxed);
    }
}

fn conclude(scene: &Scene, device: &Device) -> Totals {
    let ledger = scene.ledger.lock();
    for (number, entry) in ledger.entries.iter().enumerate() {
        if entry.state == State::Underway {
            fail(&format!("request {number} is not over at the end"));
        }
    }
    for (at, place) in scene.places.iter().enumerate() {
        let count = |is: &dyn Fn(&Entry) -> bool| {
            ledger.entries.iter().filter(|its| its.place == at && is(its)).count()
        };
        let ended = count(&|its| its.state == State::Over(-libc::ECANCELED));
        let alone = count(&|its| its.cancelled);
        let together = place.cancelled_together.load(Ordering::Relaxed);
        if ended != alone + together {
            fail(&format!("{ended} requests of {at} were cancelled, not {alone} and {together}"));
        }
    }
    if let Some(wrong) = table().wrongs().first() {
        fail(wrong);
    }
    if let Some(why) = ledger.model.objection(0, &device.disk.state().data) {
        fail(&format!("in the end: {why}"));
    }
    let seen = power::lose(scene, &ledger);
    let left = [
        ("descriptors", device.disk.open_descriptors()),
        ("nodes", inside::open_nodes()),
        ("ways of objects", inside::open_ways()),
        ("answers owed by drivers", inside::answers_pending()),
        ("shared pools", inside::shared_pools()),
    ];
    if let Some((what, count)) = left.iter().find(|(_, count)| *count > 0) {
        fail(&format!("{count} {what} left at the end"));
    }
    Totals::of(scene, &ledger, device, steps(), seen)
}
