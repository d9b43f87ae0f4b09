//! Carries out what the request machine asks for: threads, and the memory that they copy in.

mod copy;
mod headroom;
mod pool;
mod pool_shares;
mod ring;
#[cfg(test)]
mod ring_bench;
mod ring_enter;
mod ring_fixed;
mod ring_slots;
mod ring_submission;
#[cfg(test)]
mod ring_tests;
#[cfg(test)]
mod ring_thread_tests;
mod scratch;
mod stable;

pub use copy::{fill, run_copies};
pub use headroom::Headroom;
pub use pool::{Job, Kind, Pool, PoolOwner, POOL_THREADS_MAX};
pub use ring::Ring;
pub use ring_slots::Files as RingFiles;
pub use scratch::ScratchCache;
pub use stable::StableCopy;
