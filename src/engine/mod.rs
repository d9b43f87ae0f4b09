//! Carries out what the request machine asks for: threads, and the memory that they copy in.

mod copy;
mod pool;
mod scratch;

pub use copy::run_copies;
pub use pool::{Job, Pool, PoolOwner, POOL_THREADS_MAX};
pub use scratch::ScratchCache;
