//! `openings::run` under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| ringway_tests::fuzz::openings::run(input));
