//! One connection of the generator that has one request at a time.

use super::echo::Echo;
use super::http1::{Answer, Http1};
use super::link::Link;
use super::tally::Failure;
use super::target::{Protocol, Target};
use super::tls::{Handshake, Tls};
use ringway_runtime::Chunk;
use std::io;
use std::net::IpAddr;

/// A connection, by what it speaks.
pub(super) enum Client {
    Http1(Box<Http1>),
    Echo(Box<Echo>),
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

    /// Sends a request at the end of this turn.
    pub(super) fn send(&mut self, request: &Chunk) -> Result<(), Failure> {
        let link = match self {
            Self::Http1(client) => &mut client.link,
            Self::Echo(client) => &mut client.link,
        };
        link.send(request).map_err(|_| Failure::Broken)
    }

    /// Reads the answer.
    pub(super) async fn answer(&mut self) -> Result<Answer, Failure> {
        match self {
            Self::Http1(client) => client.answer().await,
            Self::Echo(client) => client.answer().await,
        }
    }

    fn link(&self) -> &Link {
        match self {
            Self::Http1(client) => &client.link,
            Self::Echo(client) => &client.link,
        }
    }
}
