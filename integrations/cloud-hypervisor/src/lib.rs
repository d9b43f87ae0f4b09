//! Raw disks of Cloud Hypervisor on blkalign. Its crate `block` says by traits what a disk is; here
//! are types that are one: `Disk` for its control plane, `DataPlane` for its queues (`disk.rs`),
//! and what carries out the requests of a queue (`engine.rs`).

mod disk;
mod engine;

pub use disk::{DataPlane, Disk};
