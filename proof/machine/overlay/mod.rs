//! Overlays: the machine with a file on top and a backing object, both in memory, and a map. What
//! runs here are random schedules with faults at every step (`random.rs`), and all schedules of two
//! requests over two clusters (`exhaustive.rs`).
//!
//! ```text
//!   draw      queues, both layers, requests and faults of one schedule: all from a seed
//!   world     runs it: events in, actions out; each I/O is held against the rules of its layer
//!   layers    the file on top, with a cache that a loss of power empties in part; the map, too
//!   values    which values each byte may have, for a read and after a loss of power
//! ```
//!
//! `BLKALIGN_OVERLAY_SEED=n cargo test -p blkalign-machine overlay::random -- --nocapture` replays
//! a schedule, `BLKALIGN_OVERLAY_SCHEDULES=n` runs more of them (`make check-overlay`).

mod draw;
mod exhaustive;
mod layers;
mod random;
mod values;
mod world;
