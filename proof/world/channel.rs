//! As much of std's channel as the library uses: one answer, or none because the sender is gone.

use std::collections::VecDeque;
use std::sync::Arc;

use super::lock::{Condvar, Mutex};

struct Shared<T> {
    state: Mutex<(VecDeque<T>, bool)>,
    changed: Condvar,
}

pub struct Sender<T>(Arc<Shared<T>>);
pub struct Receiver<T>(Arc<Shared<T>>);

/// The other side is gone.
#[derive(Debug)]
pub struct Gone;

pub fn channel<T>() -> (Sender<T>, Receiver<T>) {
    let state = Mutex::new((VecDeque::new(), false));
    let shared = Arc::new(Shared { state, changed: Condvar::new() });
    (Sender(shared.clone()), Receiver(shared))
}

impl<T> Sender<T> {
    pub fn send(&self, value: T) -> Result<(), Gone> {
        self.0.state.lock().0.push_back(value);
        self.0.changed.notify_one();
        Ok(())
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        self.0.state.lock().1 = true;
        self.0.changed.notify_one();
    }
}

impl<T> Receiver<T> {
    pub fn recv(&self) -> Result<T, Gone> {
        let mut state = self.0.state.lock();
        loop {
            match state.0.pop_front() {
                Some(value) => return Ok(value),
                None if state.1 => return Err(Gone),
                None => self.0.changed.wait(&mut state),
            }
        }
    }
}
