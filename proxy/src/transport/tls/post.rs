//! What may come after the handshake besides data: alerts, tickets, new keys.

use std::io;

use ringway_runtime::{self as runtime, BufMut, Chunk};
use rustls::AlertDescription;
use rustls::client::ClientConnectionData;
use rustls::kernel::KernelConnection;
use rustls::server::ServerConnectionData;
use rustls::{ConnectionTrafficSecrets, ExtractedSecrets};

use super::record::{Opened, Opener, Scheme, Sealer, content};

/// Records of the peer in a row that bring nothing (empty ones, warnings, tickets, new keys).
const IDLE_RECORDS_MAX: u8 = 64;
/// Most bytes of a handshake message after the handshake: a ticket may carry a client's chain.
const MESSAGE_MAX: usize = 64 << 10;

/// Handshake message types (RFC 8446 section 4).
const NEW_SESSION_TICKET: u8 = 4;
const KEY_UPDATE: u8 = 24;

/// Why a TLS connection ended before its time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fault {
    /// Of the connection below.
    Io(io::ErrorKind),
    /// A FIN in the middle of a record.
    Truncated,
    /// A record that does not authenticate.
    Mac,
    /// A record that is too long.
    Overflow,
    /// Something that has no place here.
    Unexpected(&'static str),
    /// The peer gave up, and says why.
    Alert(u8),
    /// The keys are worn out and TLS 1.2 has no way to renew them.
    WornOut,
    /// rustls does not go on.
    Rustls(String),
}

impl Fault {
    /// The alert that tells the peer.
    pub(super) fn alert(&self) -> Option<AlertDescription> {
        match self {
            Self::Io(_) | Self::Truncated | Self::Alert(_) => None,
            Self::Mac => Some(AlertDescription::BadRecordMac),
            Self::Overflow => Some(AlertDescription::RecordOverflow),
            Self::Unexpected(_) => Some(AlertDescription::UnexpectedMessage),
            Self::WornOut => Some(AlertDescription::CloseNotify),
            Self::Rustls(_) => Some(AlertDescription::DecodeError),
        }
    }

    /// The error that readers and writers get.
    pub(super) fn to_io(&self) -> io::Error {
        let invalid = |text: String| io::Error::new(io::ErrorKind::InvalidData, text);
        match self {
            Self::Io(kind) => io::Error::from(*kind),
            Self::Truncated => io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "TLS: the connection ended within a record",
            ),
            Self::Mac => invalid("TLS: bad record MAC".to_owned()),
            Self::Overflow => invalid("TLS: a record is too long".to_owned()),
            Self::Unexpected(what) => invalid(format!("TLS: unexpected message: {what}")),
            Self::Alert(code) => {
                let alert = AlertDescription::from(*code);
                io::Error::new(io::ErrorKind::ConnectionAborted, format!("TLS: alert {alert:?}"))
            }
            Self::WornOut => invalid("TLS: keys are worn out".to_owned()),
            Self::Rustls(error) => invalid(format!("TLS: {error}")),
        }
    }
}

/// What is left of rustls after the handshake: it makes new keys and takes tickets.
pub(super) enum Kernel {
    /// TLS 1.2 needs nothing.
    Tls12,
    Server(Box<KernelConnection<ServerConnectionData>>),
    Client(Box<KernelConnection<ClientConnectionData>>),
}

/// Keys of a connection and its handshake messages after the handshake.
pub(super) struct Session {
    pub(super) sealer: Sealer,
    opener: Opener,
    kernel: Kernel,
    scheme: Scheme,
    /// Records after which keys must be renewed.
    limit: u64,
    closed: bool,
    idle_records: u8,
    /// A handshake message whose end has not come.
    message: Vec<u8>,
}

impl Session {
    /// Takes over after the handshake. `limit` is the suite's confidentiality limit in records.
    pub(super) fn new(secrets: &ExtractedSecrets, kernel: Kernel, limit: u64) -> Option<Self> {
        let tls12 = matches!(kernel, Kernel::Tls12);
        let scheme = if tls12 { Scheme::Tls12Gcm } else { Scheme::Tls13 };
        let (sent, tx) = &secrets.tx;
        let (received, rx) = &secrets.rx;
        Some(Self {
            sealer: Sealer::new(scheme, *sent, tx, limit)?,
            opener: Opener::new(scheme, *received, rx)?,
            kernel,
            scheme,
            limit,
            closed: false,
            idle_records: 0,
            message: Vec::new(),
        })
    }

    /// Lets the keys wear out after so many records.
    #[cfg(test)]
    pub(super) fn wear_after(&mut self, records: u64) {
        self.sealer.wear_after(records);
        self.limit = records;
    }

    /// The peer has sent close_notify.
    pub(super) fn peer_closed(&self) -> bool {
        self.closed
    }

    pub(super) fn open(&mut self, record: &mut [u8]) -> Result<Opened, Fault> {
        Ok(self.opener.open(record)?)
    }

    /// Counts a record of data.
    pub(super) fn data(&mut self, len: usize) -> Result<(), Fault> {
        if !self.message.is_empty() {
            return Err(Fault::Unexpected("data within a handshake message"));
        }
        if len == 0 {
            return self.idle_record();
        }
        self.idle_records = 0;
        Ok(())
    }

    fn idle_record(&mut self) -> Result<(), Fault> {
        self.idle_records += 1;
        if self.idle_records > IDLE_RECORDS_MAX {
            return Err(Fault::Unexpected("too many records without data"));
        }
        Ok(())
    }

    /// Acts on a record that is no data.
    pub(super) fn control(
        &mut self,
        kind: u8,
        body: &[u8],
        raw: &runtime::Stream,
    ) -> Result<(), Fault> {
        self.idle_record()?;
        match kind {
            content::ALERT => self.peer_alert(body),
            content::HANDSHAKE => self.handshake(body, raw),
            _ => Err(Fault::Unexpected("record type")),
        }
    }

    fn peer_alert(&mut self, body: &[u8]) -> Result<(), Fault> {
        const WARNING: u8 = 1;
        const USER_CANCELED: u8 = 90;
        match *body {
            [_, 0] => {
                self.closed = true;
                Ok(())
            }
            // Nothing of TLS 1.3 is a mere warning but this.
            [_, USER_CANCELED] => Ok(()),
            [WARNING, _] if self.scheme != Scheme::Tls13 => Ok(()),
            [_, code] => Err(Fault::Alert(code)),
            _ => Err(Fault::Unexpected("malformed alert")),
        }
    }

    fn handshake(&mut self, body: &[u8], raw: &runtime::Stream) -> Result<(), Fault> {
        if self.scheme != Scheme::Tls13 {
            return Err(Fault::Unexpected("renegotiation"));
        }
        if self.message.len() + body.len() > MESSAGE_MAX {
            return Err(Fault::Unexpected("handshake message too long"));
        }
        let joined = !self.message.is_empty();
        if joined {
            self.message.extend_from_slice(body);
        }
        let whole = std::mem::take(&mut self.message);
        let mut rest: &[u8] = if joined { &whole } else { body };
        while let Some([kind, a, b, c]) = rest.first_chunk::<4>() {
            let len = u32::from_be_bytes([0, *a, *b, *c]) as usize;
            let Some(payload) = rest.get(4..4 + len) else { break };
            let after = rest.get(4 + len..).unwrap_or_default();
            match *kind {
                KEY_UPDATE => self.key_update(payload, after.is_empty(), raw)?,
                NEW_SESSION_TICKET => self.ticket(payload)?,
                _ => return Err(Fault::Unexpected("handshake message")),
            }
            rest = after;
        }
        self.message = rest.to_vec();
        Ok(())
    }

    fn ticket(&mut self, payload: &[u8]) -> Result<(), Fault> {
        match &mut self.kernel {
            Kernel::Client(kernel) => kernel
                .handle_new_session_ticket(payload)
                .map_err(|error| Fault::Rustls(error.to_string())),
            _ => Err(Fault::Unexpected("a session ticket from a client")),
        }
    }

    /// The peer's next record comes under new keys (RFC 8446 section 4.6.3).
    fn key_update(
        &mut self,
        payload: &[u8],
        last: bool,
        raw: &runtime::Stream,
    ) -> Result<(), Fault> {
        if !last {
            return Err(Fault::Unexpected("a message after a key update in its record"));
        }
        let answer = match payload {
            [0] => false,
            [1] => true,
            _ => return Err(Fault::Unexpected("malformed key update")),
        };
        let secrets = self.next_secrets(false)?;
        self.opener =
            Opener::new(self.scheme, secrets.0, &secrets.1).ok_or(Fault::Unexpected("no keys"))?;
        if answer {
            let update = self.renew()?;
            raw.write(update);
        }
        Ok(())
    }

    fn next_secrets(&mut self, ours: bool) -> Result<(u64, ConnectionTrafficSecrets), Fault> {
        let made = match (&mut self.kernel, ours) {
            (Kernel::Tls12, _) => return Err(Fault::WornOut),
            (Kernel::Server(kernel), true) => kernel.update_tx_secret(),
            (Kernel::Server(kernel), false) => kernel.update_rx_secret(),
            (Kernel::Client(kernel), true) => kernel.update_tx_secret(),
            (Kernel::Client(kernel), false) => kernel.update_rx_secret(),
        };
        made.map_err(|error| Fault::Rustls(error.to_string()))
    }

    /// Takes new keys for sending; answers the message that announces them.
    fn renew(&mut self) -> Result<Chunk, Fault> {
        let update = self.sealed(content::HANDSHAKE, &[KEY_UPDATE, 0, 0, 1, 0]);
        let (seq, secrets) = self.next_secrets(true)?;
        self.sealer = Sealer::new(self.scheme, seq, &secrets, self.limit)
            .ok_or(Fault::Unexpected("no keys"))?;
        update.ok_or(Fault::WornOut)
    }

    /// Renews the keys for sending when two records are left to them: one is for the message that
    /// says so. The message goes before everything sealed later.
    pub(super) fn renew_before_wear(&mut self) -> Result<Option<Chunk>, Fault> {
        if self.sealer.left() > 2 { Ok(None) } else { self.renew().map(Some) }
    }

    /// The sealed alert that ends our side.
    pub(super) fn close_notify(&mut self) -> Option<Chunk> {
        self.alert(AlertDescription::CloseNotify)
    }

    /// A sealed alert.
    pub(super) fn alert(&mut self, alert: AlertDescription) -> Option<Chunk> {
        const WARNING: u8 = 1;
        const FATAL: u8 = 2;
        let level = if alert == AlertDescription::CloseNotify { WARNING } else { FATAL };
        self.sealed(content::ALERT, &[level, u8::from(alert)])
    }

    fn sealed(&mut self, kind: u8, plain: &[u8]) -> Option<Chunk> {
        let mut out = BufMut::with_capacity(self.sealer.sealed_len(plain.len()));
        let len = self.sealer.seal(kind, &[plain], out.spare())?;
        out.advance(len);
        Some(out.freeze())
    }
}
