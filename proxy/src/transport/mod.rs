//! Transport sockets: what lies between a TCP connection and the codec that reads it.
//!
//! A [`Stream`] looks to its user as a connection of the runtime does, whatever is done to the
//! bytes on their way.

pub(crate) mod tls;

use std::fmt;
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use ringway_runtime as runtime;
use ringway_runtime::{Chain, Chunk, SockAddr};

use crate::observe::stats::ShardStats;
use crate::plan::transport as plan;
use crate::shard::Shard;
use crate::upstream::internal::Passed;

/// A connection, as the codecs see it. The methods mean what those of [`runtime::Stream`] mean,
/// in terms of plain bytes.
pub(crate) enum Stream {
    /// The bytes of the connection are the bytes of the codec (`raw_buffer`).
    Plain(runtime::Stream),
    /// The bytes of the codec are in TLS records.
    Tls(Box<tls::TlsStream>),
}

impl Stream {
    /// Facts of the TLS session, where there is one.
    pub(crate) fn tls(&self) -> Option<&Rc<tls::TlsInfo>> {
        match self {
            Self::Plain(_) => None,
            Self::Tls(stream) => Some(stream.info()),
        }
    }

    /// The connection below.
    pub(crate) fn raw(&self) -> &runtime::Stream {
        match self {
            Self::Plain(stream) => stream,
            Self::Tls(stream) => stream.raw(),
        }
    }

    /// The connection below, where nothing is done to its bytes: the kernel may move them.
    pub(crate) fn plain(&self) -> Option<&runtime::Stream> {
        match self {
            Self::Plain(stream) => Some(stream),
            Self::Tls(_) => None,
        }
    }

    /// The next bytes; `None` once the peer has said its last and all was read.
    ///
    /// # Errors
    /// That of the connection.
    pub(crate) fn poll_recv(&self, cx: &mut Context<'_>) -> Poll<io::Result<Option<Chunk>>> {
        match self {
            Self::Plain(stream) => stream.poll_recv(cx),
            Self::Tls(stream) => stream.poll_recv(cx),
        }
    }

    /// [`Stream::poll_recv`] as a future.
    ///
    /// # Errors
    /// That of the connection.
    pub(crate) async fn recv(&self) -> io::Result<Option<Chunk>> {
        std::future::poll_fn(|cx| self.poll_recv(cx)).await
    }

    /// A number that tells this stream from every other living one of its shard.
    #[cfg(test)]
    pub(crate) fn id(&self) -> u64 {
        self.raw().id()
    }

    /// Puts plain bytes back in front of what is received next.
    pub(crate) fn unread(&self, chunk: Chunk) {
        match self {
            Self::Plain(stream) => stream.unread(chunk),
            Self::Tls(stream) => stream.unread(chunk),
        }
    }

    /// What is here already; never waits.
    pub(crate) fn try_recv(&self) -> Option<io::Result<Option<Chunk>>> {
        match self {
            Self::Plain(stream) => stream.try_recv(),
            Self::Tls(stream) => stream.try_recv(),
        }
    }

    /// About so many bytes are coming; 0 goes back to normal.
    pub(crate) fn recv_hint(&self, expect_bytes: usize) {
        self.raw().recv_hint(expect_bytes);
    }

    /// Bytes received but unread after which receiving is suspended.
    pub(crate) fn set_recv_limit(&self, bytes: usize) {
        self.raw().set_recv_limit(bytes);
    }

    /// The peer's end, or an error, has been seen.
    pub(crate) fn readable_closed(&self) -> bool {
        match self {
            Self::Plain(stream) => stream.readable_closed(),
            Self::Tls(stream) => stream.readable_closed(),
        }
    }

    /// Ready when there is data, the peer's end or an error to receive.
    pub(crate) fn poll_closed_or_readable(&self, cx: &mut Context<'_>) -> Poll<()> {
        match self {
            Self::Plain(stream) => stream.poll_closed_or_readable(cx),
            Self::Tls(stream) => stream.poll_closed_or_readable(cx),
        }
    }

    /// Queues bytes.
    pub(crate) fn write(&self, chunk: Chunk) {
        match self {
            Self::Plain(stream) => stream.write(chunk),
            Self::Tls(stream) => stream.write(chunk),
        }
    }

    /// Queues several pieces, in order.
    pub(crate) fn write_chain(&self, chain: Chain) {
        match self {
            Self::Plain(stream) => stream.write_chain(chain),
            Self::Tls(stream) => stream.write_chain(chain),
        }
    }

    /// Bytes queued that the kernel has not accepted.
    pub(crate) fn queued(&self) -> usize {
        self.raw().queued()
    }

    /// Ready once no more than `below` bytes are queued.
    ///
    /// # Errors
    /// The error that ended writing.
    pub(crate) fn poll_queued_below(
        &self,
        cx: &mut Context<'_>,
        below: usize,
    ) -> Poll<io::Result<()>> {
        self.raw().poll_queued_below(cx, below)
    }

    /// The error that ended writing, if any.
    pub(crate) fn write_error(&self) -> Option<io::ErrorKind> {
        self.raw().write_error()
    }

    /// Says that nothing more will be written, after all that is queued. Reading goes on.
    pub(crate) fn shutdown_write(&self) {
        match self {
            Self::Plain(stream) => stream.shutdown_write(),
            Self::Tls(stream) => stream.shutdown_write(),
        }
    }

    /// Closes the connection with a reset instead of a FIN.
    pub(crate) fn reset(self) {
        match self {
            Self::Plain(stream) => stream.reset(),
            Self::Tls(stream) => stream.reset(),
        }
    }

    /// The address of this end.
    ///
    /// # Errors
    /// That of `getsockname`.
    pub(crate) fn local_addr(&self) -> io::Result<SockAddr> {
        self.raw().local_addr()
    }
}

/// What a connection to an upstream needs to know besides its cluster's configuration.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct ConnectHints<'a> {
    /// The server name, in place of the configured one (`auto_sni`).
    pub(crate) sni: Option<&'a str>,
    /// A name that the server's certificate must have (`auto_san_validation`).
    pub(crate) san: Option<&'a str>,
    /// The host's name, where it has one (`auto_host_sni`).
    pub(crate) host_name: Option<&'a str>,
    /// Protocols to offer where the configuration names none, most preferred first.
    pub(crate) alpn: &'a [&'a [u8]],
    /// Protocols to offer whatever the configuration names.
    pub(crate) offer: Option<&'a [Box<[u8]>]>,
    /// What an internal listener is told.
    pub(crate) passed: Passed,
}

/// Why there is no connection above the one there is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum HandshakeError {
    /// `transport_socket_connect_timeout` was over.
    TimedOut,
    /// Why, as access logs print it (`%DOWNSTREAM_TRANSPORT_FAILURE_REASON%`).
    Failed(String),
}

/// Does what a filter chain asks for before the first byte of its protocol: a TLS handshake, or
/// nothing. `timeout` is `transport_socket_connect_timeout`; zero is none. Bytes that were read
/// already, to look at them, are given back to the stream before.
///
/// # Errors
/// Why the client gets no connection. Statistics of the transport know by then; the caller counts
/// `downstream_cx_transport_socket_connect_timeout`.
pub(crate) async fn accept(
    shard: &Shard,
    plan: &plan::Downstream,
    stream: runtime::Stream,
    timeout: Duration,
) -> Result<Stream, HandshakeError> {
    match plan {
        plan::Downstream::Raw => Ok(Stream::Plain(stream)),
        plan::Downstream::Tls(context) => {
            let gate = shard.upstreams.gate();
            let stream = tls::accept(gate, &shard.stats, context, stream, timeout).await?;
            Ok(Stream::Tls(Box::new(stream)))
        }
    }
}

/// Does what a cluster asks for before the first byte of its protocol. The caller limits the time
/// (`connect_timeout`).
///
/// # Errors
/// Why there is no connection. Statistics of the transport know by then.
pub(crate) async fn connect(
    gate: &tls::Gate,
    stats: &ShardStats,
    plan: &plan::Upstream,
    stream: runtime::Stream,
    hints: &ConnectHints<'_>,
) -> Result<Stream, HandshakeError> {
    match plan {
        plan::Upstream::Raw => Ok(Stream::Plain(stream)),
        plan::Upstream::Tls(context) => {
            let stream = tls::connect(gate, stats, context, stream, hints).await?;
            Ok(Stream::Tls(Box::new(stream)))
        }
    }
}

impl From<runtime::Stream> for Stream {
    fn from(stream: runtime::Stream) -> Self {
        Self::Plain(stream)
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plain(stream) => f.debug_tuple("Plain").field(stream).finish(),
            Self::Tls(stream) => f.debug_tuple("Tls").field(stream).finish(),
        }
    }
}
