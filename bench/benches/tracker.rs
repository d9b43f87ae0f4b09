//! What the request machine costs for one write, with few and with many in flight, each in a
//! block of its own: `make bench-tracker`.
//!
//! The table is divan's. After it comes the figure that has a goal: the cost with 4096 in flight
//! against that with 16, the median of rounds that take turns, so that a busy neighbour
//! disturbs both.

use std::time::Instant;

use blkalign::bench_internals::Load;
use divan::counter::ItemsCount;
use divan::Bencher;

const IN_FLIGHT: [usize; 3] = [16, 256, 4096];
const REQUESTS: usize = 10_000;
const ROUNDS: usize = 51;
const GOAL: f64 = 1.5;

#[divan::bench(args = IN_FLIGHT)]
fn aligned_write(bencher: Bencher, in_flight: usize) {
    measure(bencher, 4096, in_flight);
}

#[divan::bench(args = IN_FLIGHT)]
fn sub_block_write(bencher: Bencher, in_flight: usize) {
    measure(bencher, 512, in_flight);
}

fn measure(bencher: Bencher, write_bytes: u64, in_flight: usize) {
    let mut load = Load::new(write_bytes, in_flight);
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

fn ratio(name: &str, write_bytes: u64) {
    let (mut few, mut many) = (Load::new(write_bytes, 16), Load::new(write_bytes, 4096));
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
        ratio("aligned write", 4096);
        ratio("sub-block write", 512);
    }
}
