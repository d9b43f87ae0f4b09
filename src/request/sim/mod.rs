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
//!   rules, ledger, model, totals: what must hold of one I/O, of a request among the others,
//!                        of every byte, of the numbers at the end
//! ```
//!
//! To see one schedule step by step: `BLKALIGN_SIM_SEED=n cargo test sim::random -- --nocapture`.
//! To run more or fewer of them: `BLKALIGN_SIM_SCHEDULES=n`.

mod draw;
mod exhaustive;
mod flaws;
mod ledger;
mod memory;
mod model;
mod random;
mod reference;
mod rng;
mod rules;
mod scenario;
mod storage;
mod subject;
mod totals;
mod world;
