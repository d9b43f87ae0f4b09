//! What the scheduler keeps: the threads of a simulation, which of them can run, what the others
//! sleep on, and the time.

use super::choice::Choice;
use super::memory::View;
use super::scheduler::{Class, Key};

pub struct State {
    pub choice: Choice,
    pub now: u64,
    /// Nanoseconds that a step takes.
    pub tick: u64,
    /// No wait ends before.
    pub earliest: u64,
    pub steps: u64,
    /// How often no thread could run.
    pub pauses: u64,
    /// How many of a hundred threads the system does not give to the library.
    pub refused_threads: u64,
    /// Those that can run, in order.
    pub able: Vec<usize>,
    pub slots: Vec<Slot>,
}

pub struct Slot {
    pub name: String,
    pub handle: Option<std::thread::Thread>,
    /// What it sleeps on, until when.
    pub sleeps: Option<(Key, Option<u64>, Class)>,
    pub timed_out: bool,
    pub alive: bool,
    /// Its time limits are the test's own.
    pub outside: bool,
    /// What it knew in the end.
    pub view: View,
}

impl State {
    pub fn expire(&mut self) {
        if self.now < self.earliest {
            return;
        }
        self.earliest = u64::MAX;
        for thread in 0..self.slots.len() {
            let Some((_, Some(until), _)) = self.slots[thread].sleeps else { continue };
            if until <= self.now {
                self.slots[thread].timed_out = true;
                self.rouse(thread);
            } else {
                self.earliest = self.earliest.min(until);
            }
        }
    }

    pub fn rouse(&mut self, thread: usize) {
        self.slots[thread].sleeps = None;
        let at = self.able.partition_point(|&other| other < thread);
        self.able.insert(at, thread);
    }

    pub fn wake(&mut self, key: Key, most: usize) {
        let sleeps_on = |slot: &Slot| slot.sleeps.is_some_and(|(its, ..)| its == key);
        let mut there: Vec<usize> = Vec::new();
        for (thread, slot) in self.slots.iter().enumerate() {
            if sleeps_on(slot) {
                there.push(thread);
            }
        }
        for _ in 0..most.min(there.len()) {
            let at = if most < there.len() { self.choice.sleeper(there.len()) } else { 0 };
            let thread = there.remove(at);
            self.rouse(thread);
        }
    }

    pub fn sleepers(&self) -> String {
        let mut words = String::new();
        for slot in self.slots.iter().filter(|slot| slot.alive) {
            words += &format!("\n    {} sleeps on {:?}", slot.name, slot.sleeps);
        }
        words
    }
}
