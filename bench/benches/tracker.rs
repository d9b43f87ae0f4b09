//! What the request machine costs for one write, with few and with many in flight, each in a
//! block of its own: `make bench-tracker`.
//!
//! The table is divan's. After it comes the figure that has a goal: the cost with 4096 in flight
//! against that with 16, the median of rounds that take turns, so that a busy neighbour
//! disturbs both.

use std::time::Instant;

use blkalign_bench_machine::{Load, Order};
use divan::counter::ItemsCount;
use divan::Bencher;

const IN_FLIGHT: [usize; 3] = [16, 256, 4096];
const REQUESTS: usize = 10_000;
const ROUNDS: usize = 51;
const GOAL: f64 = 1.5;

#[divan::bench(args = IN_FLIGHT)]
fn aligned_sequential(bencher: Bencher, in_flight: usize) {
    measure(bencher, Load::new(4096, Order::Sequential, in_flight));
}

#[divan::bench(args = IN_FLIGHT)]
fn aligned_scattered(bencher: Bencher, in_flight: usize) {
    measure(bencher, Load::new(4096, Order::Scattered, in_flight));
}

#[divan::bench(args = IN_FLIGHT)]
fn sub_block_sequential(bencher: Bencher, in_flight: usize) {
    measure(bencher, Load::new(512, Order::Sequential, in_flight));
}

#[divan::bench(args = IN_FLIGHT)]
fn sub_block_scattered(bencher: Bencher, in_flight: usize) {
    measure(bencher, Load::new(512, Order::Scattered, in_flight));
}

fn measure(bencher: Bencher, mut load: Load) {
    bencher.counter(ItemsCount::new(REQUESTS)).bench_local(|| load.requests(REQUESTS));
}

fn nanoseconds(load: &mut Load) -> f64 {
    let start = Instant::now();
    load.requests(REQUESTS);
    start.elapsed().as_secs_f64() * 1e9 / REQUESTS as f64
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn ratio(name: &str, write_bytes: u64, order: Order) {
    let mut few = Load::new(write_bytes, order, 16);
    let mut many = Load::new(write_bytes, order, 4096);
    let rounds: Vec<_> =
        (0..ROUNDS).map(|_| (nanoseconds(&mut few), nanoseconds(&mut many))).collect();
    let ratio = median(rounds.iter().map(|(few, many)| many / few).collect());
    let few = median(rounds.iter().map(|&(few, _)| few).collect());
    let many = median(rounds.iter().map(|&(_, many)| many).collect());
    let verdict = if ratio <= GOAL { "met" } else { "MISSED" };
    println!(
        "{name}: {few:.0} ns with 16 in flight, {many:.0} ns with 4096: {ratio:.2}x \
         (goal: at most {GOAL}x, {verdict})"
    );
}

fn main() {
    divan::main();
    // `cargo test` and `--list` run benchmarks too, without measuring.
    if std::env::args().any(|argument| argument == "--bench") {
        println!();
        ratio("aligned writes, sequential", 4096, Order::Sequential);
        ratio("aligned writes, scattered", 4096, Order::Scattered);
        ratio("sub-block writes, sequential", 512, Order::Sequential);
        ratio("sub-block writes, scattered", 512, Order::Scattered);
    }
}
