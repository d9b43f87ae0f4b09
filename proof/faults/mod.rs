//! Every call of the table of system calls, answered with every errno that it may have, at every
//! place where a scenario makes it: once, and from there on for ever. What must hold: nothing
//! hangs, nothing leaks, no result is a lie, no byte beside a request changes, and the handle is of
//! use afterwards.
//!
//! Each group of scenarios runs in a process of its own, which is this program again: so threads,
//! descriptors and memory can be counted. `BLKALIGN_FAULTS_ONLY=words` runs only the cases whose
//! description holds them.

mod case;
pub mod errnos;
mod memory;
mod runner;
mod scenarios;

use std::process::{Command, Stdio};

/// Runs one group in a process of its own.
fn run(group: &str) {
    let program = std::env::current_exe().expect("this program has a path");
    let output = Command::new(program)
        .args(["--exact", "proof::faults::a_group", "--ignored", "--nocapture", "--test-threads=1"])
        .env("BLKALIGN_FAULTS_GROUP", group)
        .stdin(Stdio::null())
        .output()
        .expect("this program can be run");
    let told = String::from_utf8_lossy(&output.stderr);
    let lines = told.lines().filter(|line| line.starts_with("faults:"));
    lines.for_each(|line| println!("{line}"));
    assert!(output.status.success(), "{group}: {}\n{told}", output.status);
    assert!(told.contains("cases"), "{group}: nothing was run:\n{told}");
}

#[test]
#[ignore = "run by the others, in a process of its own"]
fn a_group() {
    let group = std::env::var("BLKALIGN_FAULTS_GROUP").unwrap_or_default();
    runner::run(&group);
}

#[test]
fn any_call_may_fail_on_storage_in_memory() {
    run("memory");
}

#[test]
fn any_call_may_fail_on_a_real_file() {
    run("file");
}

#[test]
fn any_call_of_a_ring_may_fail() {
    run("ring");
}
