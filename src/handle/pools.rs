//! Which threads a handle uses: the pool that handles share, or one of its own.
//!
//! The shared pool exists while a handle uses it. The lock guards the reference to the pool and is
//! held while the pool is made; nothing else is taken meanwhile.

use std::sync::{Arc, Weak};

use crate::engine::{PoolOwner, POOL_THREADS_MAX};
use crate::node::Work;
use crate::sync::Mutex;
use crate::sys::Error;

pub static SHARED: Mutex<Weak<PoolOwner<Work>>> = Mutex::new(Weak::new());

/// A pool of `workers` threads, or the shared one for 0. Its threads have started: as many as
/// `workers` says, or one. ENOMEM: the system gives none.
pub fn pool_for(workers: u32) -> Result<Arc<PoolOwner<Work>>, Error> {
    let least = workers.max(1) as usize;
    let pool = match workers {
        0 => shared_pool(),
        _ => Arc::new(PoolOwner::new(least)),
    };
    pool.pool().man(least)?;
    Ok(pool)
}

fn shared_pool() -> Arc<PoolOwner<Work>> {
    let mut shared = SHARED.lock();
    shared.upgrade().unwrap_or_else(|| {
        let pool = Arc::new(PoolOwner::shared(POOL_THREADS_MAX));
        *shared = Arc::downgrade(&pool);
        pool
    })
}
