//! Stands in for Cloud Hypervisor's crate `block`: the traits of its commit ae44c29 (2026-08-20),
//! and the least behind its types that the adapter and its tests need. `../check SOURCE` compiles
//! both against the real one.

pub mod async_io;
pub mod disk_file;
pub mod error;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DiskTopology {
    pub logical_block_size: u64,
    pub physical_block_size: u64,
    pub minimum_io_size: u64,
    pub optimal_io_size: u64,
}
