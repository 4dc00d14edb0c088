//! Outlier detection: shards count ([`report`]), the control thread decides ([`Detector`]).

mod detector;
mod log;
mod rates;
mod report;

#[cfg(test)]
mod tests;

pub use detector::{Detector, Observer};
pub use log::EventLog;
pub use report::Outcome;
pub(in crate::upstream) use report::{connected, report};
#[cfg(test)]
pub(in crate::upstream) use tests::rules as test_rules;
