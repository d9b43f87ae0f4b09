//! The simulator: the request machine against a byte model, in a world where every order of
//! events and every fault can be had, and be had again.
//!
//! ```text
//!   scenario (draw)      queues, requests, faults: all from one seed
//!        |
//!   random / exhaustive  decide what happens next
//!        |
//!   world  ---- subject: the machine, or the reference machine with a flaw put into it
//!        |  \-- storage, memory: what I/O does, when, and in which pieces
//!        |
//!        |  \-- arrivals: requests come in one by one, or plugged and as a batch
//!        |  \-- cancels: requests are taken back, at any moment
//!        |
//!   rules, owners, sharing, ledger, isolated, model, totals: what must hold of one I/O, of its
//!                        place and of who shares it, of a request among the others, of what runs
//!                        beside it, of every byte, of the numbers at the end
//! ```
//!
//! To see one schedule step by step:
//! `BLKALIGN_MACHINE_SEED=n cargo test -p blkalign-machine random -- --nocapture`.
//! To run more or fewer of them, or others: `BLKALIGN_MACHINE_SCHEDULES=n`,
//! `BLKALIGN_MACHINE_FIRST_SEED=n`.

#[path = "../rng.rs"]
pub mod rng;

mod announced;
mod arrivals;
mod cancels;
mod directed;
mod directed_handles;
mod directed_isolated;
mod draw;
mod exhaustive;
mod exhaustive_changes;
mod exhaustive_isolated;
mod faults;
mod flaws;
mod isolated;
mod joined;
mod late;
mod ledger;
mod lengths;
mod memory;
mod model;
mod overlay;
mod owners;
mod path;
mod random;
mod reference;
mod reference_early;
mod reference_ios;
mod repairs;
mod repairs_directed;
mod rules;
mod scenario;
mod sharing;
mod storage;
mod subject;
mod totals;
mod world;
