//! The requests of a queue: who wants to know of each, and what it keeps until it is over.
//!
//! The library knows a request by its token, a place in the table here. A request that has memory
//! of its own has it in the table, where nobody can reach it, from before the library gets the
//! request until the library has given the result. The table is freed when nothing is in flight, or
//! never (`Queue::drop`).
//!
//! The lock guards the table, the batch's key and what nobody was told yet. While it is held a
//! batch may be plugged (the core lock), and no code of the program runs.

use std::collections::VecDeque;
use std::mem;
#[cfg(feature = "async")]
use std::task::{Context, Poll, Waker};

use slab::Slab;

use super::Buffer;
use crate::sync::Mutex;
use crate::sys::Error;
use blkalign_machine::PlugKey;

#[derive(Default)]
pub struct Requests(Mutex<State>);

#[derive(Default)]
struct State {
    table: Slab<Request>,
    /// The key that the present batch is plugged with.
    batch: Option<PlugKey>,
    /// What is over and was not told yet.
    over: VecDeque<Over>,
    /// An empty list with room.
    spare: Vec<(usize, Result<(), Error>)>,
}

struct Request {
    asker: Asker,
    keeps: Keeps,
}

/// What a request owns until it is over.
#[derive(Default)]
pub enum Keeps {
    #[default]
    Nothing,
    Buffer(Buffer),
    #[cfg(feature = "vm-memory")]
    Memory(Box<super::volatile::Kept>),
}

impl Keeps {
    pub fn into_buffer(self) -> Option<Buffer> {
        match self {
            Keeps::Buffer(buffer) => Some(buffer),
            _ => None,
        }
    }

    /// Before anybody is told that the request is over. Runs code of the program.
    pub fn request_is_over(&self) {
        #[cfg(feature = "vm-memory")]
        if let Keeps::Memory(kept) = self {
            kept.request_is_over();
        }
    }
}

/// Who wants to know of the result.
pub enum Asker {
    /// The closure of the next poll.
    Closure { user_data: u64 },
    #[cfg(feature = "async")]
    Future(Awaited),
}

#[cfg(feature = "async")]
#[derive(Default)]
pub enum Awaited {
    #[default]
    Unpolled,
    Polled(Waker),
    Over(Result<(), Error>),
    /// The future is gone.
    Abandoned,
}

/// A request that is over, and whom to tell. That is the program's code, so nobody is told here.
pub enum Over {
    Closure {
        user_data: u64,
        result: Result<(), Error>,
        keeps: Keeps,
    },
    /// The future has its result in the table.
    #[cfg(feature = "async")]
    Future(Waker),
}

impl Requests {
    /// Takes a request into the table, and into the present batch. `plug` opens the batch if there
    /// is none. Returns token and key.
    pub fn add(
        &self,
        asker: Asker,
        keeps: Keeps,
        plug: impl FnOnce() -> PlugKey,
    ) -> (usize, PlugKey) {
        let mut state = self.0.lock();
        let key = *state.batch.get_or_insert_with(plug);
        (state.table.insert(Request { asker, keeps }), key)
    }

    /// The library has not taken the request in, or its future has the result. Returns what it
    /// kept.
    pub fn remove(&self, token: usize) -> Keeps {
        self.0.lock().table.remove(token).keeps
    }

    /// Ends the present batch. Its key belongs to the caller, who submits what the key holds back;
    /// what comes meanwhile has another key.
    pub fn end_batch(&self) -> Option<PlugKey> {
        self.0.lock().batch.take()
    }

    pub fn spare(&self) -> Vec<(usize, Result<(), Error>)> {
        mem::take(&mut self.0.lock().spare)
    }

    /// Takes results in. Returns what is to be told, behind what an earlier poll has left.
    pub fn take_in(&self, mut results: Vec<(usize, Result<(), Error>)>) -> VecDeque<Over> {
        let mut state = self.0.lock();
        let mut over = mem::take(&mut state.over);
        for (token, result) in results.drain(..) {
            #[cfg(feature = "async")]
            if let Asker::Future(awaited) = &mut state.table[token].asker {
                match mem::replace(awaited, Awaited::Over(result)) {
                    Awaited::Polled(waker) => over.push_back(Over::Future(waker)),
                    // Its buffer goes with the request.
                    Awaited::Abandoned => drop(state.table.remove(token)),
                    Awaited::Unpolled | Awaited::Over(_) => {}
                }
                continue;
            }
            let Request { asker, keeps } = state.table.remove(token);
            match asker {
                Asker::Closure { user_data } => {
                    over.push_back(Over::Closure { user_data, result, keeps });
                }
                #[cfg(feature = "async")]
                Asker::Future(_) => unreachable!("is dealt with above"),
            }
        }
        state.spare = results;
        over
    }

    /// How many an earlier poll has left.
    pub fn count_over(&self) -> usize {
        self.0.lock().over.len()
    }

    /// Takes back what was not told. True: there was something.
    pub fn put_back(&self, mut left: VecDeque<Over>) -> bool {
        let mut state = self.0.lock();
        let something = !left.is_empty();
        left.append(&mut state.over);
        state.over = left;
        something
    }

    #[cfg(feature = "async")]
    pub fn poll(&self, token: usize, context: &mut Context<'_>) -> Poll<Result<(), Error>> {
        // To clone or drop a waker is the program's code, so the lock is not held meanwhile.
        let waker = context.waker().clone();
        let mut state = self.0.lock();
        let Some(Request { asker: Asker::Future(awaited), .. }) = state.table.get_mut(token) else {
            unreachable!("a future's request stays until the future has its result");
        };
        if let Awaited::Over(result) = awaited {
            return Poll::Ready(mem::replace(result, Ok(())));
        }
        let before = mem::replace(awaited, Awaited::Polled(waker));
        drop(state);
        drop(before);
        Poll::Pending
    }

    /// The future is gone before it has its result.
    #[cfg(feature = "async")]
    pub fn abandon(&self, token: usize) {
        let mut state = self.0.lock();
        let Some(Request { asker: Asker::Future(awaited), .. }) = state.table.get_mut(token) else {
            return;
        };
        let before = mem::replace(awaited, Awaited::Abandoned);
        let request = matches!(before, Awaited::Over(_)).then(|| state.table.remove(token));
        drop(state);
        // A waker is the program's code.
        drop((before, request));
    }

    /// Nothing is in flight any more, and nobody is told.
    pub fn end(mut self) {
        let State { table, over, .. } = mem::take(self.0.get_mut());
        table.iter().for_each(|(_, request)| request.keeps.request_is_over());
        drop(over);
    }
}
