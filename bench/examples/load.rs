//! Writes through the request machine, as many as are asked for, under a tool that counts:
//!
//! ```text
//! cargo build --profile bench -p blkalign-bench-machine --example load
//! valgrind --tool=callgrind target/release/examples/load BYTES seq|scattered IN_FLIGHT COUNT
//! ```
//!
//! Two runs that differ in COUNT tell what one write costs.

use blkalign_bench_machine::{Load, Order};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [bytes, order, in_flight, count] = &arguments[..] else {
        panic!("usage: load BYTES seq|scattered IN_FLIGHT COUNT")
    };
    let order = match order.as_str() {
        "seq" => Order::Sequential,
        "scattered" => Order::Scattered,
        _ => panic!("the order is seq or scattered"),
    };
    let number = |text: &String| text.parse::<usize>().expect("a number");
    let mut load = Load::new(number(bytes) as u64, order, number(in_flight));
    load.requests(number(count));
}
