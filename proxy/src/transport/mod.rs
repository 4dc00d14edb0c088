//! Transport sockets: what lies between a TCP connection and the codec that reads it.
//!
//! A [`Stream`] looks to its user as a connection of the runtime does, whatever is done to the bytes
//! on their way.

#[allow(dead_code, reason = "filled by handshakes")]
pub(crate) mod tls;

use std::fmt;
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll};

use ringway_runtime as runtime;
use ringway_runtime::{Chain, Chunk, SockAddr};

/// A connection, as the codecs see it. The methods mean what those of [`runtime::Stream`] mean,
/// in terms of plain bytes.
pub(crate) enum Stream {
    /// The bytes of the connection are the bytes of the codec (`raw_buffer`).
    Plain(runtime::Stream),
}

impl Stream {
    /// Facts of the TLS session, where there is one.
    #[allow(dead_code, reason = "logs and headers print it")]
    pub(crate) fn tls(&self) -> Option<&Rc<tls::TlsInfo>> {
        match self {
            Self::Plain(_) => None,
        }
    }

    /// The connection below.
    pub(crate) fn raw(&self) -> &runtime::Stream {
        match self {
            Self::Plain(stream) => stream,
        }
    }

    /// The connection itself, where nothing is done to its bytes: to splice it or to hand it over.
    ///
    /// # Errors
    /// The stream as it was, where bytes do not pass through unchanged.
    #[allow(dead_code, reason = "of use where nothing reads the bytes")]
    pub(crate) fn into_plain(self) -> Result<runtime::Stream, Self> {
        match self {
            Self::Plain(stream) => Ok(stream),
        }
    }

    /// The next bytes; `None` once the peer has said its last and all was read.
    ///
    /// # Errors
    /// That of the connection.
    pub(crate) fn poll_recv(&self, cx: &mut Context<'_>) -> Poll<io::Result<Option<Chunk>>> {
        match self {
            Self::Plain(stream) => stream.poll_recv(cx),
        }
    }

    /// [`Stream::poll_recv`] as a future.
    ///
    /// # Errors
    /// That of the connection.
    #[allow(dead_code, reason = "for tasks that do nothing else")]
    pub(crate) async fn recv(&self) -> io::Result<Option<Chunk>> {
        std::future::poll_fn(|cx| self.poll_recv(cx)).await
    }

    /// A number that tells this stream from every other living one of its shard.
    #[allow(dead_code, reason = "for tests and logs")]
    pub(crate) fn id(&self) -> u64 {
        self.raw().id()
    }

    /// Puts plain bytes back in front of what is received next.
    pub(crate) fn unread(&self, chunk: Chunk) {
        match self {
            Self::Plain(stream) => stream.unread(chunk),
        }
    }

    /// What is here already; never waits.
    pub(crate) fn try_recv(&self) -> Option<io::Result<Option<Chunk>>> {
        match self {
            Self::Plain(stream) => stream.try_recv(),
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
        self.raw().readable_closed()
    }

    /// Ready when there is data, the peer's end or an error to receive.
    pub(crate) fn poll_closed_or_readable(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.raw().poll_closed_or_readable(cx)
    }

    /// Queues bytes.
    pub(crate) fn write(&self, chunk: Chunk) {
        match self {
            Self::Plain(stream) => stream.write(chunk),
        }
    }

    /// Queues several pieces, in order.
    #[allow(dead_code, reason = "what batches its output writes a chain")]
    pub(crate) fn write_chain(&self, chain: Chain) {
        match self {
            Self::Plain(stream) => stream.write_chain(chain),
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
    #[allow(dead_code, reason = "for half-closed connections")]
    pub(crate) fn shutdown_write(&self) {
        match self {
            Self::Plain(stream) => stream.shutdown_write(),
        }
    }

    /// Closes the connection with a reset instead of a FIN.
    pub(crate) fn reset(self) {
        match self {
            Self::Plain(stream) => stream.reset(),
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

impl From<runtime::Stream> for Stream {
    fn from(stream: runtime::Stream) -> Self {
        Self::Plain(stream)
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plain(stream) => f.debug_tuple("Plain").field(stream).finish(),
        }
    }
}
