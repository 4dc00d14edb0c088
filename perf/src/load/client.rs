//! One connection of the generator, by what it speaks.

use super::echo::Echo;
use super::http1::{Answer, Http1};
use super::http2::{Http2, Work};
use super::link::Link;
use super::tally::Failure;
use super::target::{Http2Target, Protocol, Target};
use super::tls::{Handshake, Tls};
use ringway_runtime::{Chunk, precise_now};
use std::future::poll_fn;
use std::io;
use std::net::IpAddr;
use std::rc::Rc;

/// A connection, by what it speaks.
pub(super) enum Client {
    Http1(Box<Http1>),
    Echo(Box<Echo>),
    Http2(Box<Http2>),
}

impl Client {
    /// Connects, from `source` if given; for WebSocket the connection is upgraded too.
    ///
    /// # Errors
    /// No connection, no handshake, or no upgrade.
    pub(super) async fn open(
        target: &Target,
        tls: Option<&Tls>,
        source: Option<IpAddr>,
    ) -> io::Result<Self> {
        let link = Link::open(target, tls, source).await?;
        Ok(match &target.protocol {
            Protocol::WebSocket { opening } => {
                Self::Echo(Box::new(Echo::upgrade(link, opening, &target.request).await?))
            }
            Protocol::Tcp => Self::Echo(Box::new(Echo::tcp(link, &target.request))),
            Protocol::Http2(http2) => {
                let body = Chunk::copy_from(&target.request);
                let work = Work { target: Http2Target::clone(http2), body };
                Self::Http2(Box::new(Http2::new(link, Rc::new(work))))
            }
            Protocol::Http1 => Self::Http1(Box::new(Http1::new(link, target.method))),
        })
    }

    /// How the TLS handshake went, if there was one.
    pub(super) fn handshake(&self) -> Option<Handshake> {
        self.link().handshake()
    }

    /// Whether the peer has ended the connection while it was idle.
    pub(super) fn is_closed(&self) -> bool {
        self.link().is_closed()
    }

    /// Sends a request at the end of this turn. One at a time; HTTP/2 can do more by itself.
    pub(super) fn send(&mut self, request: &Chunk) -> Result<(), Failure> {
        let sent = match self {
            Self::Http1(client) => client.link.send(request),
            Self::Echo(client) => client.link.send(request),
            Self::Http2(client) => {
                client.begin(precise_now());
                client.flush()
            }
        };
        sent.map_err(|_| Failure::Broken)
    }

    /// Reads the answer.
    pub(super) async fn answer(&mut self) -> Result<Answer, Failure> {
        match self {
            Self::Http1(client) => client.answer().await,
            Self::Echo(client) => client.answer().await,
            Self::Http2(client) => loop {
                poll_fn(|cx| client.poll_recv(cx)).await?;
                // Acknowledgements, and what a window held back.
                client.flush().map_err(|_| Failure::Broken)?;
                if let Some((_, result)) = client.done().next() {
                    return result;
                }
            },
        }
    }

    fn link(&self) -> &Link {
        match self {
            Self::Http1(client) => &client.link,
            Self::Echo(client) => &client.link,
            Self::Http2(client) => &client.link,
        }
    }
}
