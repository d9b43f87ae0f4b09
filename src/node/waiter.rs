//! A thread that waits for a result.
//!
//! The lock guards the result; nothing else is taken while it is held.

use std::time::Duration;

use crate::sync::{on_time, Condvar, Mutex};

/// Where one result is waited for; as a rule that of a synchronous call.
#[derive(Default)]
pub struct Waiter {
    result: Mutex<Option<Result<(), i32>>>,
    there: Condvar,
}

impl Waiter {
    pub fn set(&self, result: Result<(), i32>) {
        *self.result.lock() = Some(result);
        self.there.notify_one();
    }

    pub fn clear(&mut self) {
        *self.result.get_mut() = None;
    }

    pub fn get(&self) -> Option<Result<(), i32>> {
        *self.result.lock()
    }

    /// Waits for the result, but not for long.
    pub fn wait_at_most(&self, time: Duration) {
        let mut result = self.result.lock();
        if result.is_none() {
            on_time(|| self.there.wait_for(&mut result, time));
        }
    }

    pub fn wait(&self) -> Result<(), i32> {
        let mut result = self.result.lock();
        loop {
            if let Some(result) = *result {
                return result;
            }
            self.there.wait(&mut result);
        }
    }
}
