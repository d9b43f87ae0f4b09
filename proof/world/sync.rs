//! What `crate::sync` is in the simulator.

pub use super::lock::{Condvar, Mutex, MutexGuard, RwLock};
pub use super::outside_limits as on_time;
pub use super::{channel as mpsc, thread, time::Instant};

pub mod atomic {
    pub use std::sync::atomic::Ordering;

    pub use crate::proof::world::atomic::{
        AtomicBool, AtomicI32, AtomicU32, AtomicU64, AtomicUsize,
    };
}
