//! What the tests share: finding and starting proxies, scripted clients and servers that deal in
//! exact bytes, and the comparison of two proxies that get the same of both.
//!
//! `tests/e2e/README.md` says how to write a case.

pub mod bins;
pub mod certs;
pub mod corpus;
pub mod delta;
pub mod diff;
pub mod floods;
pub mod fuzz;
pub mod h2;
pub mod istio;
pub mod namespace;
pub mod ports;
pub mod proxy;
pub mod restart;
pub mod suites;
pub mod tidy;
pub mod tls;
pub mod wire;
