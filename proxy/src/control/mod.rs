//! The control thread and the admin thread.
//!
//! | Module | Holds |
//! |---|---|
//! | [`message`] | what threads tell one another |
//! | [`start`] | binding, threads, end of the process |
//! | `run` | the control thread: publish, signals, drain |
//! | [`restart`] | hot restart: taking over from another process, and being replaced |
//! | [`admin`] | the admin thread and its pages |
//! | [`xds`] | configuration as it comes and changes |
//! | [`log`] | the application log |

pub mod admin;
pub mod bind;
pub mod clock;
pub mod dump;
pub mod gauges;
pub mod json;
pub mod log;
pub mod message;
mod post;
mod print;
pub(crate) mod queue;
pub mod restart;
mod retire;
mod run;
mod secrets;
pub mod start;
pub mod state;
#[cfg(test)]
mod tests;
pub mod tree;
pub mod xds;
