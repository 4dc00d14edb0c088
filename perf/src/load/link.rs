//! A connection of the generator, plain or TLS.

use super::target::Target;
use super::tls::{Handshake, Tls, TlsLink};
use ringway_runtime::{Chunk, ConnectOptions, Stream, connect};
use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::task::{Context, Poll};

/// A connection of the generator.
pub(super) enum Link {
    /// TCP or a unix socket.
    Plain(Stream),
    /// The same with TLS.
    Tls(Box<TlsLink>),
}

impl Link {
    /// Connects, from `source` if given, and shakes hands with `tls` if given.
    pub(super) async fn open(
        target: &Target,
        tls: Option<&Tls>,
        source: Option<IpAddr>,
    ) -> io::Result<Self> {
        let bind = source.map(|ip| SocketAddr::new(ip, 0).into());
        let options = ConnectOptions { bind, ..ConnectOptions::default() };
        let stream = connect(&target.addr, &options).await?;
        Ok(match tls {
            Some(tls) => Self::Tls(Box::new(TlsLink::open(stream, tls).await?)),
            None => Self::Plain(stream),
        })
    }

    /// How the handshake went, if there was one.
    pub(super) fn handshake(&self) -> Option<Handshake> {
        match self {
            Self::Plain(_) => None,
            Self::Tls(link) => Some(link.handshake()),
        }
    }

    /// Whether the peer has ended the connection while it was idle.
    pub(super) fn is_closed(&self) -> bool {
        self.stream().readable_closed()
    }

    /// Says that about `bytes` are coming.
    pub(super) fn recv_hint(&self, bytes: usize) {
        self.stream().recv_hint(bytes);
    }

    /// Queues data; it leaves at the end of this turn.
    pub(super) fn send(&mut self, data: &Chunk) -> io::Result<()> {
        match self {
            Self::Plain(stream) => {
                stream.write(data.clone());
                Ok(())
            }
            Self::Tls(link) => link.send(data),
        }
    }

    /// The next received data; `None` at the end.
    pub(super) async fn recv(&mut self) -> io::Result<Option<Chunk>> {
        poll_fn(|cx| self.poll_recv(cx)).await
    }

    /// [`Link::recv`] for hand-written futures.
    pub(super) fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Option<Chunk>>> {
        match self {
            Self::Plain(stream) => stream.poll_recv(cx),
            Self::Tls(link) => link.poll_recv(cx),
        }
    }

    fn stream(&self) -> &Stream {
        match self {
            Self::Plain(stream) => stream,
            Self::Tls(link) => link.stream(),
        }
    }
}
