//! The control thread and the admin thread.

pub mod message;
