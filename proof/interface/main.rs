//! The crate's Rust interface, as a program uses it: what it does, and that its safe functions stay
//! safe, whatever is dropped, leaked or panics meanwhile.

#[allow(dead_code)]
#[path = "../disk/testbed.rs"]
mod testbed;

mod disk;
mod driver;
mod driver_pending;
#[cfg(feature = "async")]
mod futures;
mod queue;
mod scene;
mod soundness;
mod throttle;
#[cfg(feature = "vm-memory")]
mod volatile;
