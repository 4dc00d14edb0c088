//! Bytes to messages and back: header maps, HTTP/1 heads and bodies, HTTP/2 frames and header
//! blocks, and the small tables around them.
//!
//! Nothing here does I/O, reads a clock or knows the runtime: the caller owns the bytes as `&[u8]`
//! and lends reusable scratch (a [`RequestHead`], a [`HeaderMap`]), so that a connection in its
//! steady state allocates nothing. Bodies are described as ranges of the input and never copied.
//!
//! | Module | Holds |
//! |---|---|
//! | [`headers`] | [`HeaderMap`]: ordered, duplicates kept, one arena |
//! | [`names`] | [`KnownName`]: every header the proxy touches, found by a perfect hash |
//! | [`message`] | [`Method`], [`Version`], [`RequestHead`], [`ResponseHead`] |
//! | [`http1`] | parser, body decoder, encoder, keep-alive and hop-by-hop rules |
//! | [`http2`] | frames, header compression, encoder |
//! | [`grpc`] | message framing, statuses, deadlines |
//! | [`base64`] | what gRPC-Web makes text of |
//! | [`tls`] | a look at a ClientHello |
//! | [`proxy_protocol`] | the PROXY protocol, read and written |
//! | [`error`] | who dies, whose fault it is, whether a retry is safe |
//! | [`chars`], [`path`], [`date`], [`status`] | character classes, paths, IMF-fixdate, reasons |

pub mod base64;
pub mod chars;
pub mod date;
pub mod error;
pub mod grpc;
pub mod headers;
pub mod http1;
pub mod http2;
pub mod message;
pub mod names;
pub mod path;
pub mod proxy_protocol;
pub mod status;
mod swar;
pub mod tls;

pub use error::{Blame, Blast, RetrySafety, Scope};
pub use headers::HeaderMap;
pub use message::{Method, RequestHead, ResponseHead, Scheme, Version};
pub use names::{HeaderName, KnownName, Name};
