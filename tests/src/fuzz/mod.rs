//! Fuzz targets: functions of any bytes that panic when a promise is broken, and who calls them.
//!
//! `tests/fuzz/README.md` says how to run them and what to do with a finding.

pub mod config;
pub mod corpus;
pub mod cuts;
pub mod h1_body;
pub mod h1_message;
pub mod h2_frames;
pub mod mutate;
pub mod openings;

#[cfg(test)]
mod tests;

/// A fuzz target.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its folder in `tests/fuzz/corpus`, and its name everywhere else.
    pub name: &'static str,
    /// Panics when something is wrong with the code under test.
    pub run: fn(&[u8]),
    /// What means something in its inputs: mutations put these in.
    pub words: &'static [&'static str],
    /// The folder of the shared data whose files it is given too.
    pub shared: &'static str,
}

/// All of them.
pub const TARGETS: [Target; 6] = [
    Target {
        name: "h1_request",
        run: h1_message::run_requests,
        words: h1_message::WORDS,
        shared: "h1-corpus",
    },
    Target {
        name: "h1_response",
        run: h1_message::run_responses,
        words: h1_message::WORDS,
        shared: "h1-corpus",
    },
    Target { name: "h1_body", run: h1_body::run, words: h1_body::WORDS, shared: "h1-corpus" },
    Target { name: "h2_frames", run: h2_frames::run, words: h2_frames::WORDS, shared: "h2-corpus" },
    Target { name: "openings", run: openings::run, words: openings::WORDS, shared: "pp-corpus" },
    Target { name: "config", run: config::run, words: config::WORDS, shared: "envoy-configs" },
];
