//! Locks with parking_lot's interface. One thread of a simulation runs at a time, so a lock that
//! cannot be had at once is another sleeping thread's: a thread that wants it sleeps until it is
//! free. A thread that takes a lock knows all that the threads knew which gave it back. Looking at
//! a lock from outside is a relaxed load, as it is in parking_lot: it may see what was so before.

use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::memory::{History, Meeting};
use super::scheduler::{self, block, in_simulation, point, wake_all, wake_one, Class, Key, Woken};
use super::time::Instant;

#[derive(Debug, Default)]
pub struct Mutex<T> {
    real: parking_lot::Mutex<T>,
    met: Meeting,
    word: Word,
}

/// Whether a lock is taken, as an atomic of its own; kept of locks that are looked at.
#[derive(Debug, Default)]
struct Word(AtomicBool, History<bool>);

impl Word {
    const fn new() -> Word {
        Word(AtomicBool::new(false), History::new())
    }

    /// What a thread that does not take the lock sees of it.
    #[track_caller]
    fn look(&self, locked: bool) -> bool {
        self.0.store(true, Ordering::Relaxed);
        self.1.load(locked, Ordering::Relaxed)
    }

    fn change(&self, locked: bool) {
        if self.0.load(Ordering::Relaxed) {
            self.1.update(!locked, locked, Ordering::Relaxed);
        }
    }
}

pub struct MutexGuard<'a, T> {
    mutex: &'a Mutex<T>,
    /// None while the lock is given away.
    real: Option<parking_lot::MutexGuard<'a, T>>,
}

fn key<T>(lock: &T) -> Key {
    Key::Lock(std::ptr::from_ref(lock).addr())
}

impl<T> Mutex<T> {
    pub const fn new(value: T) -> Mutex<T> {
        Mutex { real: parking_lot::Mutex::new(value), met: Meeting::new(), word: Word::new() }
    }

    pub fn lock(&self) -> MutexGuard<'_, T> {
        point();
        MutexGuard { mutex: self, real: Some(self.take()) }
    }

    fn take(&self) -> parking_lot::MutexGuard<'_, T> {
        loop {
            if let Some(real) = self.real.try_lock() {
                self.taken();
                return real;
            }
            if !in_simulation() {
                return self.real.lock();
            }
            block(key(self), None, Class::Library);
        }
    }

    #[track_caller]
    pub fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        point();
        if self.word.look(self.real.is_locked()) {
            return None;
        }
        let real = self.real.try_lock()?;
        self.taken();
        Some(MutexGuard { mutex: self, real: Some(real) })
    }

    fn taken(&self) {
        self.word.change(true);
        self.met.acquire();
    }

    fn given(&self) {
        self.word.change(false);
        self.met.release();
        wake_all(key(self));
    }

    #[track_caller]
    pub fn is_locked(&self) -> bool {
        point();
        self.word.look(self.real.is_locked())
    }

    pub fn get_mut(&mut self) -> &mut T {
        self.real.get_mut()
    }
}

impl<T> MutexGuard<'_, T> {
    pub fn unlocked<R>(guard: &mut Self, code: impl FnOnce() -> R) -> R {
        guard.give();
        let result = code();
        guard.take_again();
        result
    }

    fn give(&mut self) {
        self.real = None;
        self.mutex.given();
    }

    fn take_again(&mut self) {
        point();
        self.real = Some(self.mutex.take());
    }
}

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        self.real.as_ref().expect("locked")
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.real.as_mut().expect("locked")
    }
}

impl<T> Drop for MutexGuard<'_, T> {
    fn drop(&mut self) {
        if self.real.take().is_some() {
            self.mutex.given();
        }
    }
}

#[derive(Debug, Default)]
pub struct Condvar {
    real: parking_lot::Condvar,
}

/// Whether it was the time that ended a wait.
pub struct TimedOut(bool);

impl TimedOut {
    pub fn timed_out(&self) -> bool {
        self.0
    }
}

impl Condvar {
    pub const fn new() -> Condvar {
        Condvar { real: parking_lot::Condvar::new() }
    }

    fn key(&self) -> Key {
        Key::Condition(std::ptr::from_ref(self).addr())
    }

    pub fn wait<T>(&self, guard: &mut MutexGuard<'_, T>) {
        match in_simulation() {
            false => self.real.wait(guard.real.as_mut().expect("locked")),
            true => drop(self.sleep(guard, None)),
        }
    }

    pub fn wait_for<T>(&self, guard: &mut MutexGuard<'_, T>, time: Duration) -> TimedOut {
        match scheduler::now() {
            None => {
                let real = guard.real.as_mut().expect("locked");
                TimedOut(self.real.wait_for(real, time).timed_out())
            }
            Some(now) => self.sleep(guard, Some(now.saturating_add(time.as_nanos() as u64))),
        }
    }

    pub fn wait_until<T>(&self, guard: &mut MutexGuard<'_, T>, until: Instant) -> TimedOut {
        match in_simulation() {
            false => {
                let left = until.saturating_duration_since(Instant::now());
                let real = guard.real.as_mut().expect("locked");
                TimedOut(self.real.wait_for(real, left).timed_out())
            }
            true => self.sleep(guard, Some(until.nanos())),
        }
    }

    /// No other thread runs between the two steps.
    fn sleep<T>(&self, guard: &mut MutexGuard<'_, T>, until: Option<u64>) -> TimedOut {
        guard.give();
        let timed_out = block(self.key(), until, Class::Library) == Woken::ByTime;
        guard.take_again();
        TimedOut(timed_out)
    }

    pub fn notify_one(&self) {
        point();
        self.real.notify_one();
        wake_one(self.key());
    }

    pub fn notify_all(&self) {
        point();
        self.real.notify_all();
        wake_all(self.key());
    }
}

#[derive(Debug, Default)]
pub struct RwLock<T> {
    real: parking_lot::RwLock<T>,
    /// What those knew who wrote; what all did.
    wrote: Meeting,
    met: Meeting,
}

pub struct ReadGuard<'a, T>(&'a RwLock<T>, Option<parking_lot::RwLockReadGuard<'a, T>>);
pub struct WriteGuard<'a, T>(&'a RwLock<T>, Option<parking_lot::RwLockWriteGuard<'a, T>>);

impl<T> RwLock<T> {
    pub fn read(&self) -> ReadGuard<'_, T> {
        point();
        loop {
            if let Some(real) = self.real.try_read() {
                self.wrote.acquire();
                return ReadGuard(self, Some(real));
            }
            if !in_simulation() {
                return ReadGuard(self, Some(self.real.read()));
            }
            block(key(self), None, Class::Library);
        }
    }

    pub fn write(&self) -> WriteGuard<'_, T> {
        point();
        loop {
            if let Some(real) = self.real.try_write() {
                self.met.acquire();
                return WriteGuard(self, Some(real));
            }
            if !in_simulation() {
                return WriteGuard(self, Some(self.real.write()));
            }
            block(key(self), None, Class::Library);
        }
    }
}

impl<T> Deref for ReadGuard<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        self.1.as_ref().expect("locked")
    }
}

impl<T> Drop for ReadGuard<'_, T> {
    fn drop(&mut self) {
        self.1 = None;
        self.0.met.release();
        wake_all(key(self.0));
    }
}

impl<T> Deref for WriteGuard<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        self.1.as_ref().expect("locked")
    }
}

impl<T> DerefMut for WriteGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.1.as_mut().expect("locked")
    }
}

impl<T> Drop for WriteGuard<'_, T> {
    fn drop(&mut self) {
        self.1 = None;
        self.0.met.release();
        self.0.wrote.release();
        wake_all(key(self.0));
    }
}
