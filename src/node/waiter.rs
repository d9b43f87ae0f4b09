//! A thread that waits for a result.
//!
//! The lock guards the result; nothing else is taken while it is held.

use crate::sync::{Condvar, Mutex};

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
