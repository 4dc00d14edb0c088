//! `h1_message::run_responses` under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| ringway_tests::fuzz::h1_message::run_responses(input));
