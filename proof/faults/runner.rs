//! Runs each scenario once without a fault, to count its calls, and then again for each call, each
//! occurrence and each answer.

use std::os::unix::fs::OpenOptionsExt;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::case::{Case, Place};
use super::errnos::{answers, for_ever};
use super::scenarios::{all, Scenario};
use crate::handle::{EngineKind, Options};
use crate::proof::disk::hooked::{Bed, Hooked};
use crate::proof::disk::injector::{Answer, Call, Injector, Plan};
use crate::proof::disk::testbed::Directory;
use crate::proof::disk::{initial, short_memory, Disk, Shape};
use crate::proof::inside;
use crate::proof::table::Entering;

/// A case that takes longer hangs.
const PATIENCE: Duration = Duration::from_secs(30);
/// One that takes longer is told.
const SLOW: Duration = Duration::from_millis(300);
/// After so many failures no more cases are run.
const ENOUGH: usize = 200;
/// So many failures are told.
const TOLD_MAX: usize = 20;

/// What is being done, since when.
static NOW: Mutex<Option<(String, Instant)>> = Mutex::new(None);

struct Bench {
    injector: &'static Hooked<Injector>,
    place: Place,
    /// Cases; those whose fault came up; failures.
    run: u32,
    reached: u32,
    failures: Vec<String>,
    slow: u32,
    slowest: Option<(Duration, String)>,
    only: Option<String>,
    _directory: Option<Directory>,
}

fn watch() {
    std::thread::spawn(|| loop {
        std::thread::sleep(Duration::from_millis(200));
        let now = NOW.lock();
        if let Some((what, _)) = now.as_ref().filter(|(_, since)| since.elapsed() > PATIENCE) {
            eprintln!("faults: HANGS for {PATIENCE:?}: {what}");
            std::process::exit(3);
        }
    });
}

/// In memory where that has O_DIRECT (Linux 6.6), else where temporary files are.
fn directory_with_direct_io() -> Option<Directory> {
    [Directory::quick(), Directory::new()].into_iter().flatten().find(|directory| {
        let (path, flags) = (directory.path().join("try"), libc::O_DIRECT);
        let mut options = std::fs::OpenOptions::new();
        options.write(true).create(true).custom_flags(flags).open(path).is_ok()
    })
}

pub fn run(group: &str) {
    watch();
    let begin = Instant::now();
    let Some(mut bench) = Bench::new(group != "memory") else {
        return eprintln!("faults: {group}: 0 cases: no file system here has O_DIRECT");
    };
    for scenario in &all() {
        if group == "memory" || scenario.real {
            let (before, since) = (bench.run, Instant::now());
            bench.scenario(scenario, group == "ring");
            let (name, cases) = (scenario.name, bench.run - before);
            eprintln!("{name}: {cases} cases, {:.1} s", since.elapsed().as_secs_f32());
        }
    }
    let Bench { run, reached, failures, slow, slowest, .. } = bench;
    eprintln!(
        "faults: {group}: {run} cases, {reached} of which came up, {} failed, in {:.1} s",
        failures.len(),
        begin.elapsed().as_secs_f32()
    );
    if let Some((time, what)) = slowest {
        eprintln!("faults: {group}: {slow} took more than {SLOW:?}; {time:?}: {what}");
    }
    for failure in failures.iter().take(TOLD_MAX) {
        eprintln!("faults: {failure}");
    }
    assert!(failures.is_empty());
}

impl Bench {
    /// None: there is no place for a real file.
    fn new(real: bool) -> Option<Bench> {
        let disk = Disk::table(Shape::file());
        let directory = if real { Some(directory_with_direct_io()?) } else { None };
        let (bed, place) = match &directory {
            None => (Bed::Disk(disk), Place::Memory(disk)),
            Some(directory) => (Bed::Linux, Place::File(directory.path().join("object"))),
        };
        Some(Bench {
            injector: Injector::table(bed),
            place,
            run: 0,
            reached: 0,
            failures: Vec::new(),
            slow: 0,
            slowest: None,
            only: std::env::var("BLKALIGN_FAULTS_ONLY").ok(),
            _directory: directory,
        })
    }

    fn scenario(&mut self, scenario: &Scenario, ring: bool) {
        let mut options = scenario.options.clone();
        if ring {
            options.engine = EngineKind::IoUring;
        }
        let counts = self.case(scenario, &options, None);
        for (call, count) in counts {
            // The thread engine is done with the others.
            if ring && !matches!(call, Call::Outside(_) | Call::Entering(_) | Call::Ring(_)) {
                continue;
            }
            for nth in 1..=count {
                if self.failures.len() > ENOUGH {
                    return;
                }
                for answer in answers(call).into_iter().filter(|it| is_new(call, nth, *it)) {
                    // No system interrupts each call for ever after having done it.
                    let late = answer == Answer::FailsLate(libc::EINTR);
                    let most = if late { 2 } else { for_ever(call) };
                    // A real file is no other than one in memory in what comes after.
                    let once = matches!(self.place, Place::File(_)) && !ring;
                    let once = once || breaks_a_ring(call, answer);
                    for times in if once { vec![1] } else { vec![1, most] } {
                        let plan = Plan { call, nth, times, answer };
                        self.case(scenario, &options, Some(plan));
                    }
                }
            }
        }
    }

    fn prepare(&self, scenario: &Scenario) {
        let shape = (scenario.shape)();
        match &self.place {
            Place::Memory(disk) => disk.reset(shape),
            Place::File(path) => {
                let content: Vec<u8> = (0..shape.bytes).map(initial).collect();
                std::fs::write(path, content).expect("the file can be written");
            }
        }
    }

    /// Runs one, and gives how often each call was made.
    fn case(
        &mut self,
        scenario: &Scenario,
        options: &Options,
        plan: Option<Plan>,
    ) -> Vec<(Call, u32)> {
        let what = format!("{}, {}", scenario.name, in_words(plan));
        if plan.is_some() && self.only.as_ref().is_some_and(|only| !what.contains(only)) {
            return Vec::new();
        }
        self.prepare(scenario);
        self.injector.reset_to(plan);
        short_memory::refuse(0, 0);
        *NOW.lock() = Some((what.clone(), Instant::now()));
        let before = Resources::now();
        let mut case = Case::new(self.injector, self.place.clone(), plan);
        (scenario.run)(&mut case, options);
        case.disarm();
        case.check_object();
        let mut wrongs = std::mem::take(&mut case.wrongs);
        let reached = case.injector.delivered() > 0 || case.memory_refused();
        let memory_asked = case.memory_asked;
        drop(case);
        wrongs.extend(self.injector.wrongs());
        wrongs.extend(before.objection());
        if let Some((what, since)) = NOW.lock().take() {
            if since.elapsed() > SLOW {
                self.slow += 1;
                self.slowest = self.slowest.take().max(Some((since.elapsed(), what)));
            }
        }
        self.run += u32::from(plan.is_some());
        self.reached += u32::from(plan.is_some() && reached);
        if plan.is_none() {
            let mut counts = self.injector.counts();
            counts.push((Call::Memory, memory_asked));
            if !wrongs.is_empty() {
                self.failures.push(format!("{what}: {}", wrongs.join("; ")));
            }
            return counts;
        }
        if !wrongs.is_empty() {
            self.failures.push(format!("{what}: {}", wrongs.join("; ")));
        }
        Vec::new()
    }
}

/// Whether such a case shows what no case before it has shown. A ring that breaks takes half a
/// second to be noticed, whatever broke it. So each errno breaks it at the first two places where
/// it is entered to submit, and one errno at the others. Where it is entered to wait, which breaks
/// it in the same way, one errno does so at the first place.
fn is_new(call: Call, nth: u32, answer: Answer) -> bool {
    let one_of_many = answer == Answer::Fails(libc::EBADF);
    match call {
        _ if !breaks_a_ring(call, answer) => true,
        Call::Entering(Entering::Submit) => nth <= 2 || one_of_many,
        _ => nth == 1 && one_of_many,
    }
}

/// Whether a ring that is answered so is never entered again: once is for ever then.
fn breaks_a_ring(call: Call, answer: Answer) -> bool {
    let passes = [libc::EAGAIN, libc::EBUSY, libc::ENOMEM, libc::EINTR].map(Answer::Fails);
    matches!(call, Call::Entering(_)) && !passes.contains(&answer)
}

fn in_words(plan: Option<Plan>) -> String {
    let Some(Plan { call, nth, times, answer }) = plan else { return "no fault".to_owned() };
    let often = if times == 1 { "once" } else { "from then on" };
    format!("{call:?} number {nth} {answer:?} {often}")
}

/// What a process has.
struct Resources {
    threads: usize,
    descriptors: usize,
    pieces: i64,
    nodes: usize,
}

fn entries(directory: &str) -> usize {
    std::fs::read_dir(directory).map_or(0, Iterator::count)
}

/// Those of the pools: the kernel's own of a ring come and go as it likes.
fn threads() -> usize {
    let tasks = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let name = |task: std::fs::DirEntry| std::fs::read_to_string(task.path().join("comm"));
    tasks.filter_map(|task| name(task).ok()).filter(|name| name.starts_with("blkalign")).count()
}

impl Resources {
    fn now() -> Resources {
        Resources {
            threads: threads(),
            descriptors: entries("/proc/self/fd"),
            pieces: short_memory::pieces_out(),
            nodes: inside::open_nodes(),
        }
    }

    /// What there is more of now.
    fn objection(&self) -> Option<String> {
        let mut now = Resources::now();
        // A thread that was joined is in /proc for a moment more.
        let begin = Instant::now();
        while now.threads > self.threads && begin.elapsed() < Duration::from_secs(2) {
            std::thread::sleep(Duration::from_millis(1));
            now = Resources::now();
        }
        let leaks = [
            ("threads", self.threads as i64, now.threads as i64),
            ("descriptors", self.descriptors as i64, now.descriptors as i64),
            ("pieces of scratch", self.pieces, now.pieces),
            ("nodes", self.nodes as i64, now.nodes as i64),
        ];
        let more = leaks.iter().find(|(_, before, now)| now > before);
        more.map(|(what, before, now)| format!("it leaks: {now} {what}, {before} before"))
    }
}
