//! What the fuzzers run. Each target turns bytes into calls of `<blkalign.h>` (the very functions
//! that C calls) and aborts the process where the library breaks a promise.
//!
//! * `operations`: requests of all kinds on several handles over a driver in memory, which is
//!   slow, fails, and finishes its I/Os in any order;
//! * `file`: the same over a temporary file, with both engines;
//! * `structs`: the structs of the header, of any size and with any contents;
//! * `map`: the map of an overlay, as `PATH.map` has it (docs/OVERLAY.md).
//!
//! Without a fuzzer they are functions of bytes like any others: `tests/replay.rs` runs them over
//! the corpus that is checked in.

mod calls;
mod check;
mod ends;
mod handles;
mod input;
mod map;
mod memory;
mod model;
mod odd;
mod request;
mod scene;
mod store;
mod store_calls;
mod structs;
mod throttle;

use input::Input;
use scene::Scene;
use std::sync::Once;

/// Operations on a driver in memory.
pub fn operations(data: &[u8]) {
    watch_for_faults();
    Scene::on_driver(&mut Input::new(data)).run();
}

/// Operations on a temporary file.
pub fn file(data: &[u8]) {
    watch_for_faults();
    Scene::on_file(&mut Input::new(data)).run();
}

/// Structs of any size.
pub fn structs(data: &[u8]) {
    watch_for_faults();
    structs::run(&mut Input::new(data));
}

/// The map of an overlay.
pub fn map(data: &[u8]) {
    map::run(&mut Input::new(data));
}

/// The library stops its own panics and goes on; to a fuzzer they are findings.
fn watch_for_faults() {
    static ONCE: Once = Once::new();
    ONCE.call_once(calls::abort_on_internal_errors);
}
