//! A frontend of vhost-user-blk with guest memory of its own and rings built by hand.

// Each test uses what it needs.
#![allow(dead_code)]

pub mod daemon;
pub mod fuse;
pub mod guest;
pub mod hostile;
pub mod memory;
pub mod random;
pub mod raw;
pub mod ring;
pub mod scene;
