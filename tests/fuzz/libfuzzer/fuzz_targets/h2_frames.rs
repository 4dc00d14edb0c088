//! `h2_frames::run` under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| ringway_tests::fuzz::h2_frames::run(input));
