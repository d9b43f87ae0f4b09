#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| blkalign_fuzz_targets::map(data));
