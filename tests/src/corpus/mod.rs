//! Judges over data that was recorded from the real Envoy and lies outside this repository.

pub mod configs;
pub mod h1;
pub mod h2;
pub mod lane;
pub mod pp;
pub mod verdict;
