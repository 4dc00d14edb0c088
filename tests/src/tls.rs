//! TLS for the scripted clients and servers, by rustls: a `Link` between a socket and plain bytes.
//!
//! LIFECYCLE: made → handshake (`Peer::secure`) → data → the peer's close_notify or alert, or the
//! end of the socket. Certificates are not verified by a client: a case names the one it got.

use crate::certs::Store;
use crate::wire::End;
use anyhow::{Context, Result, bail};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::{
    ClientConfig, ClientConnection, Connection, DigitallySignedStruct, Error, HandshakeKind,
    RootCertStore, ServerConfig, ServerConnection, SignatureScheme, SupportedProtocolVersion,
};
use socket2::Socket;
use std::io::{Read, Write};
use std::sync::Arc;

/// What a client offers.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct ClientOptions {
    /// Server name; none: the extension is left out.
    pub sni: Option<String>,
    /// Protocols, best first.
    pub alpn: Vec<String>,
    /// Name of the client's certificate.
    pub cert: Option<String>,
    /// `1.2` or `1.3`, both when empty.
    pub version: String,
    /// Tries to resume the last session with the same options.
    pub resume: bool,
}

/// What a server has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServerOptions {
    /// Name of its certificate.
    pub cert: String,
    /// Protocols, best first.
    pub alpn: Vec<String>,
    /// Authority of client certificates; none: it does not ask for one.
    pub client_ca: Option<String>,
    /// `1.2` or `1.3`, both when empty.
    pub version: String,
}

/// TLS on one socket.
#[derive(Debug)]
pub struct Link {
    connection: Connection,
    closed: bool,
    /// Why it failed.
    pub failure: Option<String>,
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

fn versions(version: &str) -> Result<&'static [&'static SupportedProtocolVersion]> {
    static TLS12: [&SupportedProtocolVersion; 1] = [&rustls::version::TLS12];
    static TLS13: [&SupportedProtocolVersion; 1] = [&rustls::version::TLS13];
    Ok(match version {
        "" => rustls::ALL_VERSIONS,
        "1.2" => &TLS12,
        "1.3" => &TLS13,
        other => bail!("TLS {other}: 1.2 or 1.3"),
    })
}

fn protocols(names: &[String]) -> Vec<Vec<u8>> {
    names.iter().map(|name| name.clone().into_bytes()).collect()
}

impl ClientOptions {
    /// The configuration of clients with these options.
    ///
    /// # Errors
    /// An unknown certificate or version.
    pub fn config(&self, certs: &Store) -> Result<Arc<ClientConfig>> {
        let provider = provider();
        let verifier = Arc::new(Anyone(provider.clone()));
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions(&self.version)?)?
            .dangerous()
            .with_custom_certificate_verifier(verifier);
        let mut config = match &self.cert {
            Some(name) => {
                let (chain, key) = certs.get(name)?.for_rustls();
                builder.with_client_auth_cert(chain, key)?
            }
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = protocols(&self.alpn);
        config.enable_sni = self.sni.is_some();
        Ok(Arc::new(config))
    }

    /// A client connection that has sent nothing yet.
    ///
    /// # Errors
    /// The server name is none.
    pub fn connection(&self, config: Arc<ClientConfig>) -> Result<Connection> {
        let name = self.sni.as_deref().unwrap_or("no-name.example").to_owned();
        let name = ServerName::try_from(name).context("the server name")?;
        Ok(ClientConnection::new(config, name)?.into())
    }
}

impl ServerOptions {
    /// The configuration of such a server.
    ///
    /// # Errors
    /// An unknown certificate or version.
    pub fn config(&self, certs: &Store) -> Result<Arc<ServerConfig>> {
        let provider = provider();
        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(versions(&self.version)?)?;
        let builder = match &self.client_ca {
            Some(name) => {
                let mut roots = RootCertStore::empty();
                roots.add(certs.get(name)?.der.clone())?;
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                        .allow_unauthenticated()
                        .build()?;
                builder.with_client_cert_verifier(verifier)
            }
            None => builder.with_no_client_auth(),
        };
        let (chain, key) = certs.get(&self.cert)?.for_rustls();
        let mut config = builder.with_single_cert(chain, key)?;
        config.alpn_protocols = protocols(&self.alpn);
        Ok(Arc::new(config))
    }
}

/// A server's side that waits for the ClientHello.
///
/// # Errors
/// What rustls says of the configuration.
pub fn accept(config: Arc<ServerConfig>) -> Result<Connection> {
    Ok(ServerConnection::new(config)?.into())
}

impl Link {
    /// Takes over a connection that has not begun.
    #[must_use]
    pub fn new(mut connection: Connection) -> Self {
        connection.set_buffer_limit(None);
        Self { connection, closed: false, failure: None }
    }

    /// Whether the handshake is still under way.
    #[must_use]
    pub fn is_handshaking(&self) -> bool {
        self.connection.is_handshaking()
    }

    /// Whether the peer has said that it sends no more.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.closed
    }

    /// Feeds received bytes in; decrypted ones are added to `plain`.
    ///
    /// # Errors
    /// `Alert` when the connection failed; `failure` says why.
    pub fn take(
        &mut self,
        mut cipher: &[u8],
        socket: &Socket,
        plain: &mut Vec<u8>,
    ) -> Result<(), End> {
        while !cipher.is_empty() {
            if self.connection.read_tls(&mut cipher).unwrap_or(0) == 0 {
                break;
            }
            match self.connection.process_new_packets() {
                Ok(state) => {
                    let mut bytes = vec![0; state.plaintext_bytes_to_read()];
                    let read = self.connection.reader().read(&mut bytes).unwrap_or(0);
                    plain.extend_from_slice(&bytes[..read]);
                    self.closed |= state.peer_has_closed();
                }
                Err(error) => {
                    self.flush(socket);
                    self.failure = Some(error.to_string());
                    return Err(End::Alert);
                }
            }
        }
        self.flush(socket);
        Ok(())
    }

    /// Encrypts and sends.
    pub fn send(&mut self, bytes: &[u8], socket: &Socket) {
        self.connection.writer().write_all(bytes).ok();
        self.flush(socket);
    }

    /// Says that no more will be sent.
    pub fn close_notify(&mut self, socket: &Socket) {
        self.connection.send_close_notify();
        self.flush(socket);
    }

    /// Sends what the connection has to say.
    pub fn flush(&mut self, mut socket: &Socket) {
        while self.connection.wants_write() {
            if self.connection.write_tls(&mut socket).is_err() {
                return;
            }
        }
    }

    /// Version, protocol and certificate of the peer, in the words of a transcript.
    #[must_use]
    pub fn facts(&self, certs: &Store) -> String {
        let connection = &self.connection;
        let mut text = match connection.protocol_version() {
            Some(rustls::ProtocolVersion::TLSv1_2) => "TLSv1.2".to_owned(),
            Some(rustls::ProtocolVersion::TLSv1_3) => "TLSv1.3".to_owned(),
            other => format!("{other:?}"),
        };
        if let Connection::Server(server) = connection {
            text.push_str(&format!(" sni={}", server.server_name().unwrap_or("-")));
        }
        let alpn = connection.alpn_protocol().map(String::from_utf8_lossy);
        text.push_str(&format!(" alpn={}", alpn.as_deref().unwrap_or("-")));
        let peers = connection.peer_certificates().unwrap_or_default();
        let names: Vec<&str> = peers.iter().map(|der| certs.name_of(der)).collect();
        text.push_str(&format!(" cert={}", names.join("+")));
        if connection.handshake_kind() == Some(HandshakeKind::Resumed) {
            text.push_str(" resumed");
        }
        text
    }
}

/// Accepts every certificate, but checks that the server has its key.
#[derive(Debug)]
struct Anyone(Arc<CryptoProvider>);

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, cert, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, cert, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
