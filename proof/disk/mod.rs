//! Disks in memory behind the table of system calls, and real ones to test on.

pub mod faulty;
pub mod gated;
pub mod injector;
pub mod ram;
mod ram_object;
pub mod short_memory;
pub mod simulated;
pub mod testbed;
