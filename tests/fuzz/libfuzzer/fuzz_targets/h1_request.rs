//! `h1_message::run_requests` under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| ringway_tests::fuzz::h1_message::run_requests(input));
