//! What the fuzzers have found, and the corpus that reaches most of the code, once more.

use std::path::{Path, PathBuf};

/// Runs all inputs of a target; BLKALIGN_FUZZ_INPUT names one file instead, for a look at it.
fn replay(name: &str, target: fn(&[u8])) {
    if let Some(path) = std::env::var_os("BLKALIGN_FUZZ_INPUT") {
        return target(&std::fs::read(path).expect("the input"));
    }
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../corpus").join(name);
    let entries = std::fs::read_dir(&folder).expect("the corpus");
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    assert!(paths.len() >= 20, "{}: {} inputs", folder.display(), paths.len());
    paths.sort();
    for path in paths {
        // A promise that is broken ends the process: the last name is the input's.
        eprintln!("{name}: {}", path.file_name().expect("a name").to_string_lossy());
        target(&std::fs::read(&path).expect("an input"));
    }
}

#[test]
fn operations_on_a_driver_keep_every_promise() {
    replay("operations", blkalign_fuzz_targets::operations);
}

#[test]
fn operations_on_a_file_keep_every_promise() {
    replay("file", blkalign_fuzz_targets::file);
}

#[test]
fn maps_are_what_an_encoder_writes_or_refused() {
    replay("map", blkalign_fuzz_targets::map);
}

#[test]
fn structs_of_any_size_are_taken_or_refused() {
    replay("structs", blkalign_fuzz_targets::structs);
}
