//! Before-write notifiers, against a small world of their own (`desk.rs`), since the rules of
//! `world.rs` tell from the plan alone who waits for whom. `judge.rs` has what must hold.
//!
//! To see one schedule step by step:
//! `BLKALIGN_NOTIFIER_SEED=n cargo test -p blkalign-machine random_changes -- --nocapture`.

mod desk;
mod directed;
mod exhaustive;
mod judge;
mod random;
