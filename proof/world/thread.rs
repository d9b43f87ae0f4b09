//! Threads of a simulation: real ones that wait for their turn.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::memory;
use super::scheduler::{self, Class, Key, World};

const STACK_BYTES: usize = 256 << 10;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ThreadId {
    Real(std::thread::ThreadId),
    Simulated(usize),
}

pub struct Thread(ThreadId);

impl Thread {
    pub fn id(&self) -> ThreadId {
        self.0
    }

    /// Of a simulated thread: its number.
    pub fn number(&self) -> usize {
        match self.0 {
            ThreadId::Simulated(number) => number,
            ThreadId::Real(_) => usize::MAX,
        }
    }
}

pub fn current() -> Thread {
    Thread(match scheduler::me() {
        Some(me) => ThreadId::Simulated(me),
        None => ThreadId::Real(std::thread::current().id()),
    })
}

/// A thread that sleeps without anything that could wake it asks again by design: threads or memory
/// that the system did not give.
pub fn sleep(time: Duration) {
    sleep_as(time, Class::Outside);
}

pub fn sleep_as(time: Duration, class: Class) {
    match scheduler::now() {
        Some(now) => {
            let until = now.saturating_add(time.as_nanos() as u64);
            scheduler::block(Key::Sleep, Some(until), class);
        }
        None => std::thread::sleep(time),
    }
}

pub fn panicking() -> bool {
    std::thread::panicking()
}

pub struct JoinHandle<T> {
    real: std::thread::JoinHandle<T>,
    simulated: Option<(Arc<World>, usize)>,
    thread: Thread,
}

impl<T> JoinHandle<T> {
    pub fn join(self) -> std::thread::Result<T> {
        if let Some((world, thread)) = &self.simulated {
            while world.is_alive(*thread) {
                scheduler::block(Key::Join(*thread), None, Class::Library);
            }
            memory::acquire(&world.view_of(*thread));
        }
        self.real.join()
    }

    pub fn thread(&self) -> &Thread {
        &self.thread
    }
}

#[derive(Default)]
pub struct Builder {
    name: String,
}

impl Builder {
    pub fn new() -> Builder {
        Builder::default()
    }

    pub fn name(self, name: String) -> Builder {
        Builder { name }
    }

    pub fn spawn<F, T>(self, body: F) -> io::Result<JoinHandle<T>>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        let builder = std::thread::Builder::new().name(self.name.clone());
        let Some(world) = scheduler::world() else {
            let real = builder.spawn(body)?;
            let thread = Thread(ThreadId::Real(real.thread().id()));
            return Ok(JoinHandle { real, simulated: None, thread });
        };
        if world.refuses_thread() {
            return Err(io::Error::from_raw_os_error(libc::EAGAIN));
        }
        start(world, self.name, body)
    }
}

/// A thread of the test's own, which the simulation never refuses.
pub fn spawn<F, T>(name: &str, body: F) -> JoinHandle<T>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    let world = scheduler::world().expect("in a simulation");
    start(world, name.to_owned(), body).expect("a thread")
}

fn start<F, T>(world: Arc<World>, name: String, body: F) -> io::Result<JoinHandle<T>>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    let builder = std::thread::Builder::new().name(name.clone()).stack_size(STACK_BYTES);
    let me = world.add_thread(name);
    let (its, view) = (world.clone(), memory::view());
    let real = builder.spawn(move || World::run_thread(&its, me, view, body))?;
    world.set_handle(me, real.thread().clone());
    let thread = Thread(ThreadId::Simulated(me));
    scheduler::point();
    Ok(JoinHandle { real, simulated: Some((world, me)), thread })
}
