//! A run of `operations` or `file`: an object, its handles, and one step after the other.

use std::ffi::CString;
use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;
use std::thread::JoinHandle;

use blkalign::capi::blkalign_notifier;

use crate::calls;
use crate::check::{Token, World};
use crate::handles::{self, Open};
use crate::input::Input;
use crate::model::pattern;
use crate::odd;
use crate::request::enter_all;
use crate::store::Store;
use crate::throttle::throttle_without_end;

const STEPS_MAX: usize = 150;
const HANDLES_MAX: usize = 4;

/// What is underneath.
pub enum Ground {
    Driver(Arc<Store>),
    File(PathBuf),
}

pub struct Scene<'a, 'b> {
    pub input: &'a mut Input<'b>,
    pub world: Arc<World>,
    pub handles: Vec<Option<Open>>,
    /// Boxed, since callbacks have their addresses.
    #[allow(clippy::vec_box)]
    pub tokens: Vec<Box<Token>>,
    /// BLKALIGN_FUZZ_TRACE is set: every step is printed.
    trace: bool,
    pub ground: Ground,
    helper: Option<JoinHandle<()>>,
    /// A before-write notifier of the object.
    notifier: Option<*mut blkalign_notifier>,
}

impl<'a, 'b> Scene<'a, 'b> {
    pub fn on_driver(input: &'a mut Input<'b>) -> Scene<'a, 'b> {
        let store = Store::new(input);
        let length = store.lock().bytes.len() as u64;
        let world = World::new(length, Some(store.clone()));
        let helper = Some(store.helper());
        Scene::new(input, world, Ground::Driver(store), helper)
    }

    pub fn on_file(input: &'a mut Input<'b>) -> Scene<'a, 'b> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let length = input.length(48 << 10);
        // Files in memory are faster, and know no O_DIRECT on older kernels.
        let in_memory = !input.one_in(4) && PathBuf::from("/dev/shm").is_dir();
        let folder = if in_memory { "/dev/shm".into() } else { std::env::temp_dir() };
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = folder.join(format!("blkalign-fuzz-file-{}-{number}", std::process::id()));
        let contents: Vec<u8> = (0..length).map(|at| pattern(0, at)).collect();
        std::fs::write(&path, contents).expect("a temporary file");
        Scene::new(input, World::new(length, None), Ground::File(path), None)
    }

    fn new(
        input: &'a mut Input<'b>,
        world: Arc<World>,
        ground: Ground,
        helper: Option<JoinHandle<()>>,
    ) -> Scene<'a, 'b> {
        let (handles, tokens) = (Vec::new(), Vec::new());
        let trace = std::env::var_os("BLKALIGN_FUZZ_TRACE").is_some();
        Scene { input, world, handles, tokens, trace, ground, helper, notifier: None }
    }

    /// For whoever looks into a finding.
    pub fn say(&self, words: impl FnOnce() -> String) {
        if self.trace {
            eprintln!("{}", words());
        }
    }

    pub fn run(mut self) {
        self.open();
        let mut steps = 0;
        while !self.input.is_empty() && steps < STEPS_MAX && self.is_open() {
            self.step();
            steps += 1;
        }
        while self.is_open() {
            self.close();
        }
        self.notifier.take().into_iter().for_each(calls::remove_notifier);
        self.check_end();
        if let (Ground::Driver(store), Some(helper)) = (&self.ground, self.helper.take()) {
            store.stop();
            helper.join().expect("the helper");
        }
    }

    fn step(&mut self) {
        match self.input.below(32) {
            0..=11 => self.request(false),
            12..=14 => self.request(true),
            15 => self.truncate(),
            16 | 17 => self.plug(),
            18 | 19 => self.cancel(),
            20 | 21 => self.poll(),
            22 => self.drain(),
            23..=25 => self.finish_one(),
            26 => self.open(),
            27 => self.close(),
            28 => self.query(),
            29 => self.change_handle(),
            30 => self.odd_call(),
            _ => self.settle(),
        }
    }

    fn is_open(&self) -> bool {
        self.handles.iter().any(Option::is_some)
    }

    pub fn pick_handle(&mut self) -> Option<usize> {
        let open: Vec<usize> =
            (0..self.handles.len()).filter(|&index| self.handles[index].is_some()).collect();
        (!open.is_empty()).then(|| open[self.input.below(open.len())])
    }

    fn pick_open(&mut self) -> &mut Open {
        let index = self.pick_handle().expect("steps are for open scenes");
        self.handles[index].as_mut().expect("open")
    }

    /// Calls what waits for I/O.
    pub fn waiting<T>(&self, call: impl FnOnce() -> T) -> T {
        match &self.ground {
            Ground::Driver(store) => store.automatically(call),
            Ground::File(_) => call(),
        }
    }

    /// One handle more: a second queue, or another opening of the same file.
    fn open(&mut self) {
        let open = self.handles.iter().flatten().count();
        if open == HANDLES_MAX || (open == 0 && !self.handles.is_empty()) {
            return;
        }
        let length = self.world.lock().model.length_least;
        let options = handles::options(self.input, length);
        let how = self.input.byte();
        let first = self.handles.iter().flatten().next().map(|open| open.disk);
        let opened = self.waiting(|| match (&self.ground, first) {
            (Ground::Driver(store), None) => calls::open_store(store, &options),
            (Ground::File(path), _) if first.is_none() || how & 1 == 1 => {
                let path = CString::new(path.to_str().expect("ASCII")).expect("no NUL");
                if how & 2 == 0 {
                    return calls::open_file(&path, &options);
                }
                let path = path.to_str().expect("ASCII");
                let file = File::options().read(true).write(true).open(path).expect("our file");
                calls::open_fd(file.as_raw_fd(), &options)
            }
            (_, first) => first.expect("an open handle").dup(&options),
        });
        let known = [libc::EINVAL, libc::EACCES];
        self.say(|| {
            let o = &options;
            format!(
                "open as {}: flags {:#x} engine {} completion {} workers {} depth {} alignments \
                 {} {} {} guest block {} window {} {}: {:?}",
                self.handles.len(),
                o.flags,
                o.engine,
                o.completion,
                o.workers,
                o.queue_depth,
                o.request_alignment,
                o.mem_alignment,
                o.segment_alignment,
                o.guest_block_size,
                o.window_offset,
                o.window_length,
                opened.as_ref().err()
            )
        });
        match opened {
            Ok(disk) => self.handles.push(Some(Open::new(disk, &options))),
            Err(code) => assert!(known.contains(&-code), "{code}: {}", calls::last_words()),
        }
    }

    /// Closes a handle, with what is in flight.
    fn close(&mut self) {
        let Some(index) = self.pick_handle() else { return };
        self.drain_handle(index);
        let open = self.handles[index].take().expect("open");
        {
            let stats = open.disk.stats();
            let told =
                [stats.reads, stats.writes, stats.write_zeroes, stats.discards, stats.flushes];
            assert_eq!(told, open.taken_in, "statistics");
        }
        assert_eq!(self.waiting(|| open.disk.close()), 0);
    }

    fn drain_handle(&mut self, index: usize) {
        self.say(|| format!("drain {index}"));
        let open = self.handles[index].as_mut().expect("open");
        enter_all(&mut self.world.lock(), open);
        let disk = open.disk;
        assert_eq!(self.waiting(|| disk.drain()), 0);
        let state = self.world.lock();
        for (number, request) in state.requests.iter().enumerate() {
            let over = request.handle != index || request.result.is_some();
            assert!(over, "request {number} has not called back after drain");
        }
        drop(state);
        assert_eq!(disk.stats().in_flight, 0);
    }

    fn drain(&mut self) {
        if let Some(index) = self.pick_handle() {
            self.drain_handle(index);
        }
    }

    /// Waits for all of all handles; then the length is known again.
    fn settle(&mut self) {
        for index in 0..self.handles.len() {
            if self.handles[index].is_some() {
                self.drain_handle(index);
            }
        }
        let lengths: Vec<(u64, bool)> = self
            .handles
            .iter()
            .flatten()
            .map(|open| (open.disk.length() as u64, open.window.is_none()))
            .collect();
        let mut state = self.world.lock();
        for &(length, whole) in &lengths {
            if whole {
                let (least, most) = (state.model.length_least, state.model.length_most);
                assert!((least..=most).contains(&length), "{least} <= {length} <= {most}");
                (state.model.length_least, state.model.length_most) = (length, length);
                state.truncated = false;
            }
        }
    }

    fn plug(&mut self) {
        let Some(index) = self.pick_handle() else { return };
        let open = self.handles[index].as_mut().expect("open");
        let plug = self.input.byte() & 1 == 0 && open.plugged < 3;
        if plug {
            open.plugged += 1;
        } else {
            open.plugged = open.plugged.saturating_sub(1);
            if open.plugged == 0 {
                enter_all(&mut self.world.lock(), open);
            }
        }
        open.disk.plug(plug);
        self.say(|| format!("plug {index}: {plug}"));
    }

    /// Takes a request back, or one that there is not.
    fn cancel(&mut self) {
        let Some(handle) = self.pick_handle() else { return };
        let back = self.input.below(16);
        let state = self.world.lock();
        let Some(index) = state.requests.len().checked_sub(1 + back) else { return };
        let request = &state.requests[index];
        let (id, ours) = (request.id, request.handle == handle && request.id > 0);
        let over = request.result.is_some();
        drop(state);
        let disk = self.handles[handle].as_ref().expect("open").disk;
        if self.input.one_in(16) {
            let odd = self.input.pick(&[0, -1, i64::MAX, i64::MIN, id ^ 1 << 40]);
            assert_eq!(disk.cancel(odd), -libc::ENOENT);
            return;
        }
        let answer = disk.cancel(id);
        self.say(|| format!("cancel request {index} through {handle}: {answer}"));
        match answer {
            0 => {
                assert!(ours && !over, "cancelled what is not in flight");
                self.world.lock().requests[index].cancelled = true;
            }
            code if code == -libc::EBUSY => assert!(ours && !over, "busy, but not in flight"),
            code => assert_eq!(code, -libc::ENOENT),
        }
    }

    fn poll(&mut self) {
        let Some(index) = self.pick_handle() else { return };
        let (max, timeout) = (1 + self.input.below(8) as i32, self.input.pick(&[0, 0, 1, -1]));
        let open = self.handles[index].as_ref().expect("open");
        let disk = open.disk;
        if !open.eventfd {
            assert_eq!(disk.poll(max, 0), -libc::EINVAL);
            return;
        }
        let state = self.world.lock();
        let due =
            |request: &&crate::check::Request| request.handle == index && request.result.is_none();
        let outstanding = state.requests.iter().filter(due).count();
        drop(state);
        if timeout < 0 && (outstanding == 0 || open.plugged > 0) {
            return;
        }
        let ran =
            if timeout == 0 { disk.poll(max, 0) } else { self.waiting(|| disk.poll(max, timeout)) };
        let most = (max as usize).min(outstanding);
        assert!(ran >= 0 && ran as usize <= most, "{ran} callbacks of {most} at most");
        assert!(timeout >= 0 || ran > 0, "none after a wait without end");
    }

    fn finish_one(&mut self) {
        let which = self.input.below(16);
        if let Ground::Driver(store) = &self.ground {
            store.finish(which);
        }
    }

    fn query(&mut self) {
        let bytes = self.input.length(9000) as usize;
        let open = self.pick_open();
        let limits = open.disk.limits();
        assert!(limits.request_alignment.is_power_of_two());
        assert!(limits.mem_alignment.is_power_of_two());
        assert!(limits.segment_alignment <= limits.request_alignment);
        open.disk.allocate(bytes);
        let fd = open.disk.event_fd();
        assert_eq!(fd >= 0, open.eventfd, "event fd {fd}");
        let length = open.disk.length();
        assert!(length >= 0);
    }

    fn change_handle(&mut self) {
        let choice = self.input.byte();
        let Some(index) = self.pick_handle() else { return };
        if choice & 12 == 12 {
            return self.change_notifier(index, 1 << (choice >> 4));
        }
        let state = self.world.lock();
        let idle = !state.requests.iter().any(|r| r.handle == index && r.result.is_none());
        drop(state);
        let open = self.handles[index].as_mut().expect("open");
        if choice & 0x1c == 0x1c {
            throttle_without_end(open.disk, choice & 1 == 0);
        } else if choice & 1 == 0 {
            assert_eq!(open.disk.set_write_cache(choice & 2 == 0), 0);
        } else {
            open.toggle_region(idle);
        }
    }

    /// The object gets a notifier, or loses the one that it has.
    fn change_notifier(&mut self, index: usize, unit: u32) {
        let disk = self.handles[index].as_ref().expect("open").disk;
        self.say(|| format!("changes the notifier through {index}, unit {unit}"));
        self.notifier = match self.notifier.take() {
            None => Some(self.waiting(|| calls::add_notifier(disk, unit))),
            Some(notifier) => {
                self.waiting(|| calls::remove_notifier(notifier));
                None
            }
        };
    }

    fn odd_call(&mut self) {
        let choice = self.input.byte();
        let disk = self.pick_open().disk;
        odd::call(disk, choice);
    }
}
