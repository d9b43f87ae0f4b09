//! Carries out the I/O that the request machine asks for: rings and threads, and the memory that
//! bytes are copied in.

mod copy;
mod headroom;
mod hook;
mod pool;
mod ring;
mod scratch;
mod stable;
mod threads;

pub use copy::{fill, is_zero, run_copies};
pub use headroom::Headroom;
pub use hook::{set_thread_hook, ThreadHookFn};
pub use pool::{Job, Kind, Pool, PoolOwner, POOL_THREADS_MAX};
pub use ring::{Files as RingFiles, Ring};
pub use scratch::ScratchCache;
pub use stable::StableCopy;
pub use threads::{is_ours, start_thread};
