//! What is underneath a handle: a file or device, or a caller's driver. Each has its own type here,
//! not the `Driver` trait, for what only one of the two can answer, and for opening it once more.

use std::sync::Arc;

use crate::driver::{CallbackDriver, Driver, FileDriver};

pub enum Storage {
    File(Arc<FileDriver>),
    Callbacks(Arc<CallbackDriver>),
}

impl Storage {
    pub fn driver(&self) -> Arc<dyn Driver> {
        match self {
            Storage::File(driver) => driver.clone(),
            Storage::Callbacks(driver) => driver.clone(),
        }
    }

    /// What the page cache works in, for a file or device; None for a caller's driver.
    pub fn cache_unit(&self) -> Option<u64> {
        match self {
            Storage::File(driver) => Some(driver.cache_unit()),
            Storage::Callbacks(_) => None,
        }
    }
}
