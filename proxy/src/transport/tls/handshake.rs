//! Drives rustls through a handshake.

use std::rc::Rc;

use ringway_runtime::{self as runtime, BufMut, Chunk, Instant};
use rustls::client::UnbufferedClientConnection;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{ConnectionState, EncodeError, UnbufferedStatus};
use rustls::{CommonState, ExtractedSecrets, HandshakeKind, ProtocolVersion};

use super::gate::Gate;
use super::info::TlsInfo;
use super::post::{Kernel, Session};
use super::record;
use super::stream::TlsStream;
use crate::plan::tls::names;
use crate::plan::tls::notes::{self, Notes};

/// Bytes of a peer that a handshake may leave unread: the longest message, and some.
const INPUT_MAX: usize = 128 << 10;

/// Why a handshake failed.
#[derive(Debug)]
pub(super) struct Failed {
    /// In words, as access logs print it.
    pub(super) reason: String,
    /// What the callbacks found on the way.
    pub(super) notes: Notes,
    /// The peer is at fault, or the connection; otherwise it ended without a word.
    pub(super) error: bool,
}

impl Failed {
    /// Before anything was found out.
    pub(super) fn new(reason: impl Into<String>, error: bool) -> Self {
        Self { reason: reason.into(), notes: Notes::default(), error }
    }
}

/// A connection in its handshake.
pub(super) enum Conn {
    Server(Box<UnbufferedServerConnection>),
    Client(Box<UnbufferedClientConnection>),
}

/// What comes next.
enum Step {
    /// There was something to encode; more may be.
    Again,
    /// What was encoded has to be sent.
    Send,
    /// The peer has to say something.
    Blocked,
    /// Done.
    Ready,
    /// The peer says goodbye.
    Closed,
}

impl Conn {
    fn common(&self) -> &CommonState {
        match self {
            Self::Server(conn) => conn,
            Self::Client(conn) => conn,
        }
    }

    fn step(&mut self, input: &mut [u8], out: &mut BufMut) -> (usize, Result<Step, String>) {
        match self {
            Self::Server(conn) => advance(conn.process_tls_records(input), out),
            Self::Client(conn) => advance(conn.process_tls_records(input), out),
        }
    }

    fn finish(self) -> Result<(ExtractedSecrets, Kernel), rustls::Error> {
        let tls12 = self.common().protocol_version() == Some(ProtocolVersion::TLSv1_2);
        Ok(match self {
            Self::Server(conn) => {
                let (secrets, kernel) = conn.dangerous_into_kernel_connection()?;
                (secrets, if tls12 { Kernel::Tls12 } else { Kernel::Server(Box::new(kernel)) })
            }
            Self::Client(conn) => {
                let (secrets, kernel) = conn.dangerous_into_kernel_connection()?;
                (secrets, if tls12 { Kernel::Tls12 } else { Kernel::Client(Box::new(kernel)) })
            }
        })
    }
}

/// One answer of rustls: bytes of the input that are done with, and what comes next.
fn advance<Data>(
    status: UnbufferedStatus<'_, '_, Data>,
    out: &mut BufMut,
) -> (usize, Result<Step, String>) {
    let UnbufferedStatus { discard, state } = status;
    let step = match state {
        Ok(ConnectionState::EncodeTlsData(mut data)) => loop {
            match data.encode(out.spare()) {
                Ok(len) => {
                    out.advance(len);
                    break Ok(Step::Again);
                }
                Err(EncodeError::InsufficientSize(need)) => out.reserve(need.required_size),
                Err(error) => break Err(error.to_string()),
            }
        },
        Ok(ConnectionState::TransmitTlsData(data)) => {
            data.done();
            Ok(Step::Send)
        }
        Ok(ConnectionState::BlockedHandshake) => Ok(Step::Blocked),
        Ok(ConnectionState::WriteTraffic(_)) => Ok(Step::Ready),
        Ok(ConnectionState::PeerClosed | ConnectionState::Closed) => Ok(Step::Closed),
        Ok(_) => Err("data before the end of the handshake".to_owned()),
        Err(error) => Err(error.to_string()),
    };
    (discard, step)
}

/// What is received and not yet used up. rustls sees it record by record: were it shown data that
/// follows the handshake, it would open that data itself.
pub(super) struct Input {
    bytes: Vec<u8>,
    /// Used up.
    start: usize,
    /// Shown to rustls so far.
    shown: usize,
}

impl Input {
    pub(super) fn new(bytes: Vec<u8>) -> Self {
        Self { bytes, start: 0, shown: 0 }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    fn window(&mut self) -> &mut [u8] {
        self.bytes.get_mut(self.start..self.shown).unwrap_or_default()
    }

    fn discard(&mut self, len: usize) {
        self.start = (self.start + len).min(self.shown);
    }

    /// Shows one more record; false where the next is not complete.
    fn show_next(&mut self) -> bool {
        let rest = self.bytes.get(self.shown..).unwrap_or_default();
        let len = match record::record_len(rest) {
            // What is no record rustls refuses in the right way.
            _ if !record::may_begin(rest) => rest.len(),
            Err(_) => rest.len(),
            Ok(Some(len)) if rest.len() >= len => len,
            Ok(_) => return false,
        };
        self.shown += len;
        len > 0
    }

    /// Adds what was received; false where that is too much.
    pub(super) fn add(&mut self, chunk: &Chunk) -> bool {
        if self.start > 0 {
            self.bytes.drain(..self.start);
            self.shown -= self.start;
            self.start = 0;
        }
        self.bytes.extend_from_slice(chunk);
        self.bytes.len() <= INPUT_MAX
    }

    /// What comes after the handshake; `None` where a part of a message is left of it.
    fn rest(self) -> Option<Chunk> {
        let left = self.shown - self.start;
        (left == 0).then(|| self.bytes.get(self.shown..).map(Chunk::copy_from))?
    }
}

/// A handshake and all it works on.
pub(super) struct Handshake<'a> {
    pub(super) conn: Conn,
    pub(super) input: Input,
    pub(super) raw: &'a runtime::Stream,
    pub(super) gate: &'a Gate,
    /// Given to the callbacks, and what they found.
    pub(super) notes: Notes,
    pub(super) began: Instant,
}

impl Handshake<'_> {
    /// Goes on until data can be sent and received.
    pub(super) async fn run(&mut self) -> Result<(), Failed> {
        let mut out = BufMut::new();
        loop {
            notes::begin(std::mem::take(&mut self.notes));
            let (discard, step) = self.conn.step(self.input.window(), &mut out);
            self.notes = notes::take();
            self.input.discard(discard);
            match step {
                Ok(Step::Again) => {}
                Ok(Step::Send) => self.raw.write(std::mem::take(&mut out).freeze()),
                Ok(Step::Blocked) => {
                    if !self.input.show_next() {
                        self.receive().await?;
                    }
                }
                Ok(Step::Ready) => return Ok(()),
                Ok(Step::Closed) => return Err(self.failed("the peer closed", false)),
                Err(error) => {
                    self.send_alerts(out);
                    return Err(self.failed(error, true));
                }
            }
        }
    }

    async fn receive(&mut self) -> Result<(), Failed> {
        match self.raw.recv().await {
            Ok(Some(chunk)) if self.input.add(&chunk) => {}
            Ok(Some(_)) => return Err(self.failed("too long a message", true)),
            Ok(None) => return Err(self.failed("connection closed", false)),
            Err(error) => return Err(self.failed(error.to_string(), false)),
        }
        // The work of a handshake begins with what was received.
        match self.gate.pass().await {
            Ok(()) => Ok(()),
            Err(_) => Err(self.failed("too many handshakes at once", true)),
        }
    }

    fn failed(&mut self, reason: impl Into<String>, error: bool) -> Failed {
        Failed { reason: reason.into(), notes: std::mem::take(&mut self.notes), error }
    }

    /// Sends what rustls has to say about an error.
    fn send_alerts(&mut self, mut out: BufMut) {
        // Only while there is something to say: rustls would go on to read, and what it remembers
        // of the input need not fit what is left of it.
        while self.conn.common().wants_write() {
            let before = out.len();
            let (discard, _) = self.conn.step(self.input.window(), &mut out);
            self.input.discard(discard);
            if out.len() == before {
                break;
            }
        }
        self.raw.write(out.freeze());
    }

    /// The facts of a handshake that is done.
    pub(super) fn info(&self, sni: Option<Rc<str>>) -> TlsInfo {
        let common = self.conn.common();
        let chain = common.peer_certificates().unwrap_or_default();
        let version = common.protocol_version().unwrap_or(ProtocolVersion::TLSv1_2);
        let suite = common.negotiated_cipher_suite();
        let group = common.negotiated_key_exchange_group();
        let mut info = TlsInfo::with_chain(chain.into(), self.notes.path.as_slice().into());
        info.version = names::version_name(version);
        info.cipher = suite.map_or("", |suite| names::suite_name(suite.suite()));
        info.group = group.map(|group| names::group_name(group.name()));
        info.alpn = common.alpn_protocol().map(Rc::from);
        info.sni = sni;
        info.resumed = common.handshake_kind() == Some(HandshakeKind::Resumed);
        info.peer_validated = self.notes.verified;
        info.local = self.notes.certificate.clone();
        info.handshake_ns = u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(u64::MAX);
        info
    }
}

/// Takes a connection over whose handshake is done.
pub(super) fn take_over(
    raw: runtime::Stream,
    conn: Conn,
    input: Input,
    info: TlsInfo,
) -> Result<TlsStream, String> {
    let limit = confidentiality_limit(conn.common());
    let (secrets, kernel) = conn.finish().map_err(|error| error.to_string())?;
    let session = Session::new(&secrets, kernel, limit).ok_or("no keys for this suite")?;
    let rest = input.rest().ok_or("a message after the end of the handshake")?;
    if !rest.is_empty() {
        raw.unread(rest);
    }
    Ok(TlsStream::new(raw, Rc::new(info), session))
}

/// Records that one key may protect.
fn confidentiality_limit(common: &CommonState) -> u64 {
    use rustls::SupportedCipherSuite::{Tls12, Tls13};
    match common.negotiated_cipher_suite() {
        Some(Tls12(suite)) => suite.common.confidentiality_limit,
        Some(Tls13(suite)) => suite.common.confidentiality_limit,
        None => 0,
    }
}

impl Conn {
    /// A server's side.
    pub(super) fn server(
        config: std::sync::Arc<rustls::ServerConfig>,
    ) -> Result<Self, rustls::Error> {
        Ok(Self::Server(Box::new(UnbufferedServerConnection::new(config)?)))
    }
}
