//! HTTP/2 sessions: one connection with its streams, as server or as client (RFC 9113).
//!
//! A [`Session`] belongs to one connection. One task, the *driver*, polls [`Session::poll_drive`]
//! to its end: it reads, hands what it reads to the streams, and writes what the streams have
//! queued. A stream is used through its [`StreamHandle`] by a task of its own. Both sides meet in
//! the session's state; nothing is sent between tasks but wake-ups.
//!
//! LIFECYCLE of a session: `Open` → `drain` (server: GOAWAY that refuses nothing yet, and after a
//! round trip the one that names the last stream) → no stream left, or an error →
//! `Closing` (GOAWAY and all that is queued is sent, the peer's last words are waited for) →
//! ended.
//!
//! LIFECYCLE of a stream: opened by the peer's HEADERS and taken from [`Session::poll_accept`], or
//! made by [`Session::open`] and begun by [`StreamHandle::send_request`] → both sides end it, or
//! one resets it → its number is remembered for a while → its place is free once the handle is
//! dropped. A handle dropped early resets its stream; one whose last bytes are queued leaves them
//! to the driver.
//!
//! Output: streams write frames into one buffer, which the driver hands to the transport once per
//! turn. Body bytes go there at once while the windows and the transport have room; else they wait
//! in their stream, and streams with waiting bytes take turns, a frame each.
//!
//! Windows are given back as a stream's reader takes bytes, in halves of a window.

mod backlog;
mod closed;
mod flow;
mod guard;
mod handle;
mod heads;
mod output;
mod receive;
mod send;
mod session;
mod state;
mod stream;
mod timers;

#[cfg(test)]
mod tests;

use std::io;
use std::rc::Rc;
use std::time::Duration;

use crate::observe::stats::{Http2CodecStats, ShardStats};

pub(crate) use ringway_wire::http2::ErrorCode;

pub(crate) use handle::StreamHandle;
pub(crate) use heads::Heads;
pub(crate) use session::Session;

/// What the sessions of a shard and of one listener or cluster have in common.
#[derive(Clone)]
pub(crate) struct Env {
    /// The shard's page.
    pub stats: Rc<ShardStats>,
    /// `http2.*` or `cluster.<name>.http2.*`.
    pub codec: Http2CodecStats,
    /// The shard's spare heads.
    pub heads: Rc<Heads>,
}

/// Time limits of a session; zero is none.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Times {
    /// For the last bytes of a stream that wait for the peer's window: `stream_flush_timeout`, or
    /// `stream_idle_timeout` where that is not set.
    pub flush: Duration,
    /// For the peer to close after our GOAWAY: `delayed_close_timeout`.
    pub close: Duration,
}

/// Why nothing more comes from, or goes to, a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StreamEnd {
    /// The peer reset it.
    Reset(ErrorCode),
    /// The peer has not processed it, and says so: safe to send again on another connection.
    Refused,
    /// The connection ended.
    ConnectionLost,
    /// The peer broke a rule of HTTP on it, and it was reset; `%RESPONSE_CODE_DETAILS%`.
    Violation(&'static str),
    /// This end reset it.
    Here,
}

/// How a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    /// The peer closed the connection.
    PeerClosed,
    /// The connection broke.
    Lost(io::ErrorKind),
    /// It was drained, or had nothing left to do after a GOAWAY.
    Drained,
    /// [`Session::abort`] was called.
    Closed,
    /// The peer broke the protocol.
    Violation {
        /// What GOAWAY said.
        code: ErrorCode,
        /// What was wrong.
        reason: &'static str,
    },
    /// The peer sent too many frames of a kind; the details as Envoy words them.
    Flood(&'static str),
    /// A client reset too many streams too early: `downstream_rq_too_many_premature_resets`.
    PrematureResets,
    /// A ping was not answered in time.
    KeepaliveTimeout,
}
