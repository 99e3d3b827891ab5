#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| shadowpair::fuzzing::engine(bytes));
