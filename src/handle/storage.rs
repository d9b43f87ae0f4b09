//! What is underneath a handle: a file or device, or a caller's driver. Each has its own type here,
//! not the `Driver` trait, for what only one of the two can answer, and for opening it once more.

use std::sync::Arc;

use crate::driver::{CallbackDriver, Driver, FileDriver, OverlayDriver};

pub enum Storage {
    File(Arc<FileDriver>),
    Callbacks(Arc<CallbackDriver>),
    Overlay(Arc<OverlayDriver>),
}

impl Storage {
    pub fn driver(&self) -> Arc<dyn Driver> {
        match self {
            Storage::File(driver) => driver.clone(),
            Storage::Callbacks(driver) => driver.clone(),
            Storage::Overlay(driver) => driver.clone(),
        }
    }

    /// The file or device; of an overlay the file on top; None for a caller's driver.
    pub fn file(&self) -> Option<&Arc<FileDriver>> {
        match self {
            Storage::File(driver) => Some(driver),
            Storage::Overlay(driver) => Some(&driver.top),
            Storage::Callbacks(_) => None,
        }
    }

    /// What the page cache works in, for a file or device; None for a caller's driver.
    pub fn cache_unit(&self) -> Option<u64> {
        self.file().map(|driver| driver.cache_unit())
    }
}
