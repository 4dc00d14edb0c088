//! HTTP filters. The router is the terminal one; it is the only one yet.

pub(crate) mod router;
