//! TLS of the generator: what it offers, and a connection that speaks it.
//!
//! It believes every certificate: it measures servers, and checking chains would be its own cost.
//! One version, one cipher suite and one group are offered, so that every server does the same
//! work.

use anyhow::{Context, Result};
use ringway_runtime::{Chunk, Stream};
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, Error, HandshakeKind, SignatureScheme,
};
use std::future::poll_fn;
use std::io::{self, BufRead, Write};
use std::sync::Arc;
use std::task::{Context as Cx, Poll, ready};

/// Tickets a connection's successor can choose from.
const SESSIONS: usize = 8;

/// What is offered to which server.
#[derive(Clone, Debug)]
pub struct Tls {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
    resume: bool,
}

/// How a handshake went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Handshake {
    /// With a certificate.
    Full,
    /// With a ticket of an earlier one.
    Resumed,
}

impl Handshake {
    /// As in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Resumed => "resumed",
        }
    }
}

impl Tls {
    /// Offers TLS 1.3 with AES-128-GCM and X25519, and `alpn` if it is not empty; with `resume`
    /// tickets are used.
    ///
    /// # Errors
    /// `host` is neither a name nor an IP address.
    pub fn new(host: &str, alpn: &[&[u8]], resume: bool) -> Result<Self> {
        let provider = CryptoProvider {
            cipher_suites: vec![aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256],
            kx_groups: vec![aws_lc_rs::kx_group::X25519],
            ..aws_lc_rs::default_provider()
        };
        let provider = Arc::new(provider);
        let mut config = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .context("TLS 1.3")?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Believer(provider)))
            .with_no_client_auth();
        config.resumption = Resumption::disabled();
        config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
        let name = ServerName::try_from(host.to_owned())
            .with_context(|| format!("{host:?}: no host name"))?;
        Ok(Self { config: Arc::new(config), name, resume })
    }

    /// The same with tickets of its own, so that concurrent connections do not take each other's.
    #[must_use]
    pub fn with_own_tickets(&self) -> Self {
        if !self.resume {
            return self.clone();
        }
        let mut config = ClientConfig::clone(&self.config);
        config.resumption = Resumption::in_memory_sessions(SESSIONS);
        Self { config: Arc::new(config), ..self.clone() }
    }
}

/// A connection after its handshake.
pub(super) struct TlsLink {
    stream: Stream,
    session: ClientConnection,
    /// Received, not given to the session yet.
    rest: Chunk,
}

impl TlsLink {
    /// Shakes hands over `stream`.
    pub(super) async fn open(stream: Stream, tls: &Tls) -> io::Result<Self> {
        let session = ClientConnection::new(Arc::clone(&tls.config), tls.name.clone());
        let session = session.map_err(io::Error::other)?;
        let mut link = Self { stream, session, rest: Chunk::new() };
        link.flush()?;
        while link.session.is_handshaking() {
            if !poll_fn(|cx| link.poll_fill(cx)).await? {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(link)
    }

    pub(super) fn stream(&self) -> &Stream {
        &self.stream
    }

    pub(super) fn handshake(&self) -> Handshake {
        match self.session.handshake_kind() {
            Some(HandshakeKind::Resumed) => Handshake::Resumed,
            _ => Handshake::Full,
        }
    }

    /// Encrypts and queues data.
    pub(super) fn send(&mut self, data: &[u8]) -> io::Result<()> {
        let mut left = data;
        while !left.is_empty() {
            // The session takes as much as its own limit allows.
            let taken = self.session.writer().write(left)?;
            left = left.get(taken..).unwrap_or_default();
            self.flush()?;
        }
        Ok(())
    }

    /// The next plain text; `None` at the end, announced or not.
    pub(super) fn poll_recv(&mut self, cx: &mut Cx<'_>) -> Poll<io::Result<Option<Chunk>>> {
        loop {
            let mut reader = self.session.reader();
            match reader.fill_buf() {
                Ok([]) => return Poll::Ready(Ok(None)),
                Ok(plain) => {
                    let chunk = Chunk::copy_from(plain);
                    reader.consume(chunk.len());
                    return Poll::Ready(Ok(Some(chunk)));
                }
                Err(err) if err.kind() == io::ErrorKind::WouldBlock => {}
                Err(err) => return Poll::Ready(Err(err)),
            }
            if !ready!(self.poll_fill(cx))? {
                return Poll::Ready(Ok(None));
            }
        }
    }

    /// Gives the session what was received; false at the end of the connection.
    fn poll_fill(&mut self, cx: &mut Cx<'_>) -> Poll<io::Result<bool>> {
        if self.rest.is_empty() {
            match ready!(self.stream.poll_recv(cx))? {
                Some(chunk) => self.rest = chunk,
                None => return Poll::Ready(Ok(false)),
            }
        }
        let mut input: &[u8] = &self.rest;
        let taken = self.session.read_tls(&mut input)?;
        self.rest.advance(taken);
        self.session.process_new_packets().map_err(io::Error::other)?;
        self.flush()?;
        Poll::Ready(Ok(true))
    }

    fn flush(&mut self) -> io::Result<()> {
        if !self.session.wants_write() {
            return Ok(());
        }
        let mut out = Vec::new();
        while self.session.wants_write() {
            self.session.write_tls(&mut out)?;
        }
        self.stream.write(Chunk::from(out));
        Ok(())
    }
}

/// Believes everybody.
#[derive(Debug)]
struct Believer(Arc<CryptoProvider>);

impl ServerCertVerifier for Believer {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
