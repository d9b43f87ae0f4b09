use std::sync::mpsc::{channel, Receiver, Sender};

use super::*;

impl<J: Job> Pool<J> {
    /// How many jobs that move I/O wait for a thread or run. Callbacks are not counted.
    pub fn load(&self) -> usize {
        let state = self.shared.state.lock();
        state.jobs[Kind::Work as usize].load()
    }
}

enum Test {
    /// Blocks until told.
    Block(Kind, Receiver<()>),
    /// The same, of this owner.
    BlockOf(usize, Kind, Receiver<()>),
    SayOf(usize, Kind, Sender<()>),
    Say(Sender<()>),
    /// As a callback.
    SayBack(Sender<()>),
    Panic(Kind),
    /// Is best done next again, until told.
    Again(Kind, std::sync::Arc<std::sync::atomic::AtomicBool>),
}

impl Job for Test {
    fn kind(&self) -> Kind {
        match self {
            Test::Block(kind, _) | Test::Panic(kind) | Test::Again(kind, _) => *kind,
            Test::BlockOf(_, kind, _) | Test::SayOf(_, kind, _) => *kind,
            Test::Say(_) => Kind::Work,
            Test::SayBack(_) => Kind::Callback,
        }
    }

    fn owner(&self) -> usize {
        match self {
            Test::BlockOf(owner, ..) | Test::SayOf(owner, ..) => *owner,
            _ => 0,
        }
    }

    fn run(self, _pool: &Pool<Test>) -> Option<Test> {
        match self {
            Test::Block(_, told) | Test::BlockOf(_, _, told) => drop(told.recv()),
            Test::SayOf(_, _, done) | Test::Say(done) | Test::SayBack(done) => {
                done.send(()).unwrap();
            }
            Test::Again(kind, stop) => {
                let stops = stop.load(std::sync::atomic::Ordering::Relaxed);
                return (!stops).then_some(Test::Again(kind, stop));
            }
            // Without the words on stderr.
            Test::Panic(_) => std::panic::resume_unwind(Box::new(())),
        }
        None
    }
}

fn manned(owner: PoolOwner<Test>) -> PoolOwner<Test> {
    owner.pool().man(1).expect("a thread");
    owner
}

#[test]
fn who_pushes_starts_no_thread_and_all_jobs_get_one() {
    let owner = manned(PoolOwner::new(8));
    let own = owner.pool().shared.clone();
    assert_eq!(own.state.lock().threads.len(), 1);
    let blocked: Vec<Sender<()>> = (0..8)
        .map(|_| {
            let (tell, told) = channel();
            owner.pool().push(Test::Block(Kind::Work, told));
            assert!(!is_ours());
            tell
        })
        .collect();
    let (say, said) = channel();
    owner.pool().push(Test::SayBack(say));
    assert_eq!(said.recv_timeout(Duration::from_secs(10)), Ok(()));
    let threads = own.state.lock().threads.len();
    assert!((9..=10).contains(&threads), "{threads} threads");
    drop(blocked);
}

#[test]
fn the_jobs_of_an_unmanned_pool_are_done_by_who_comes() {
    let owner = PoolOwner::new(1);
    let (tell, told) = channel();
    let tell = Mutex::new(tell);
    owner.pool().leave_unmanned(move || tell.lock().send(()).unwrap());
    let (say, said) = channel();
    owner.pool().push(Test::Say(say.clone()));
    owner.pool().push_later(Duration::ZERO, Test::SayBack(say));
    assert_eq!(told.try_recv(), Ok(()), "who pushes tells");
    assert!(owner.pool().has_job() && said.try_recv().is_err(), "and does nothing itself");
    assert!(owner.pool().do_one() && owner.pool().do_one() && !owner.pool().do_one());
    assert_eq!((said.try_recv(), said.try_recv()), (Ok(()), Ok(())));
    assert_eq!(owner.pool().shared.state.lock().threads.len(), 0);
}

#[test]
fn a_job_that_panics_costs_no_thread() {
    for kind in [Kind::Work, Kind::Callback, Kind::Watcher] {
        let owner = manned(PoolOwner::new(1));
        for _ in 0..3 {
            owner.pool().push(Test::Panic(kind));
        }
        let (say, said) = channel();
        owner.pool().push(Test::Say(say));
        assert_eq!(said.recv_timeout(Duration::from_secs(10)), Ok(()), "{kind:?}");
        let shared = owner.pool().shared.clone();
        drop(owner);
        assert_eq!(shared.state.lock().busy, [0; 3], "{kind:?}");
    }
}

#[test]
fn a_job_that_always_has_a_next_one_keeps_no_other_from_being_done() {
    for kind in [Kind::Work, Kind::Callback] {
        let owner = manned(PoolOwner::new(1));
        let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
        owner.pool().push(Test::Again(kind, stop.clone()));
        let (say, said) = channel();
        let job = if kind == Kind::Work { Test::Say(say) } else { Test::SayBack(say) };
        owner.pool().push(job);
        let done = said.recv_timeout(Duration::from_secs(10));
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        assert_eq!(done, Ok(()), "{kind:?}");
    }
}

#[test]
fn jobs_of_one_owner_that_hang_keep_none_of_others_from_being_done() {
    for kind in [Kind::Work, Kind::Callback] {
        let owner = manned(PoolOwner::shared(8));
        let hang = |its: usize| {
            let (tell, told) = channel();
            owner.pool().push(Test::BlockOf(its, kind, told));
            tell
        };
        let hung: Vec<_> = (0..400).map(|number| hang(number % 4)).collect();
        for its in 4..40 {
            let (say, said) = channel();
            owner.pool().push(Test::SayOf(its, kind, say));
            let done = said.recv_timeout(Duration::from_secs(10));
            assert_eq!(done, Ok(()), "{kind:?} of {its}");
        }
        let threads = owner.pool().shared.state.lock().threads.len();
        assert!(threads <= 8 + 4 + 2, "{threads} threads");
        drop(hung);
    }
}

#[test]
fn jobs_that_block_keep_no_work_from_being_done() {
    for kind in [Kind::Callback, Kind::Watcher] {
        let owner = manned(PoolOwner::new(2));
        let blocked: Vec<Sender<()>> = (0..9)
            .map(|_| {
                let (tell, told) = channel();
                owner.pool().push(Test::Block(kind, told));
                tell
            })
            .collect();
        let (say, said) = channel();
        owner.pool().push(Test::Say(say));
        let done = said.recv_timeout(Duration::from_secs(10));
        assert_eq!(done, Ok(()), "{kind:?}");
        let threads = owner.pool().shared.state.lock().threads.len();
        assert!(threads <= if kind == Kind::Callback { 2 + 3 } else { 9 + 3 }, "{threads}");
        drop(blocked);
    }
}
