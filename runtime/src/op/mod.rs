//! The operations, one file each, with every driver in it.

pub(crate) mod accept;
pub(crate) mod close;
pub(crate) mod connect;
pub(crate) mod file;
pub(crate) mod poll;
pub(crate) mod recv;
pub(crate) mod send;
