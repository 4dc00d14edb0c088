//! TLS.

mod info;

pub(crate) use info::TlsInfo;
