//! The record layer: protection of one direction (RFC 8446 section 5, RFC 5246 section 6.2.3.3,
//! RFC 5288, RFC 7905).
//!
//! rustls does handshakes; what comes after is done here, because its own record layer copies
//! every byte twice on the way out and once on the way in. Here a record is opened where it was
//! received, and sealed from the caller's buffer straight into the one that is sent.

use aws_lc_rs::aead::{self, Aad, LessSafeKey, Nonce, UnboundKey};
use rustls::ConnectionTrafficSecrets;

/// Bytes of a record's header.
pub(super) const HEADER: usize = 5;
/// Most plain bytes in a record.
pub(super) const PLAIN_MAX: usize = 1 << 14;
/// Bytes of every suite's tag.
const TAG: usize = 16;
/// Bytes of the nonce that a GCM record of TLS 1.2 carries.
const EXPLICIT: usize = 8;
/// Most that protection may add (RFC 8446 section 5.2; TLS 1.2 allows more, and nobody uses it).
const EXPANSION_MAX: usize = 256;
/// Plain bytes of a record that fills a pooled buffer of 16 KB exactly: a full one would need the
/// next size.
pub(super) const PLAIN_FULL: usize = PLAIN_MAX - HEADER - TAG - EXPLICIT;

/// Content types (RFC 8446 section 5.1).
pub(super) mod content {
    pub(in super::super) const ALERT: u8 = 21;
    pub(in super::super) const HANDSHAKE: u8 = 22;
    pub(in super::super) const DATA: u8 = 23;
}

/// How nonce and additional data are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scheme {
    /// TLS 1.3: the content type is encrypted.
    Tls13,
    /// TLS 1.2 with AES-GCM: half of the nonce is in the record.
    Tls12Gcm,
    /// TLS 1.2 with ChaCha20-Poly1305.
    Tls12ChaCha,
}

/// What can be wrong with a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bad {
    /// Longer than a record may be.
    Overflow,
    /// It does not authenticate.
    Mac,
    /// It has no content type.
    Empty,
}

/// Keys of one direction.
struct Keys {
    key: LessSafeKey,
    iv: [u8; aead::NONCE_LEN],
    seq: u64,
    scheme: Scheme,
}

impl Keys {
    fn new(scheme: Scheme, seq: u64, secrets: &ConnectionTrafficSecrets) -> Option<Self> {
        let (algorithm, key, iv) = match secrets {
            ConnectionTrafficSecrets::Aes128Gcm { key, iv } => (&aead::AES_128_GCM, key, iv),
            ConnectionTrafficSecrets::Aes256Gcm { key, iv } => (&aead::AES_256_GCM, key, iv),
            ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv } => {
                (&aead::CHACHA20_POLY1305, key, iv)
            }
            _ => return None,
        };
        let gcm = !matches!(secrets, ConnectionTrafficSecrets::Chacha20Poly1305 { .. });
        let scheme = match scheme {
            Scheme::Tls13 => Scheme::Tls13,
            _ if gcm => Scheme::Tls12Gcm,
            _ => Scheme::Tls12ChaCha,
        };
        let key = LessSafeKey::new(UnboundKey::new(algorithm, key.as_ref()).ok()?);
        Some(Self { key, iv: iv.as_ref().try_into().ok()?, seq, scheme })
    }

    /// Nonce of the next record: the sequence number laid over the IV.
    fn nonce(&self) -> [u8; aead::NONCE_LEN] {
        let mut nonce = self.iv;
        for (byte, seq) in nonce.iter_mut().skip(4).zip(self.seq.to_be_bytes()) {
            *byte ^= seq;
        }
        nonce
    }

    /// What is authenticated along with the content. `plain` and `sealed` are lengths without and
    /// with the protection.
    fn additional(&self, kind: u8, plain: usize, sealed: usize) -> Additional {
        let mut out = Additional { bytes: [0; 13], len: 0 };
        if self.scheme == Scheme::Tls13 {
            out.push(&header(content::DATA, sealed));
        } else {
            out.push(&self.seq.to_be_bytes());
            out.push(&header(kind, plain));
        }
        out
    }
}

struct Additional {
    bytes: [u8; 13],
    len: usize,
}

impl Additional {
    fn push(&mut self, more: &[u8]) {
        for (to, from) in self.bytes.iter_mut().skip(self.len).zip(more) {
            *to = *from;
        }
        self.len += more.len();
    }
}

impl AsRef<[u8]> for Additional {
    fn as_ref(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }
}

/// Header of a record, its version being that of TLS 1.2 (RFC 8446 section 5.1).
fn header(kind: u8, len: usize) -> [u8; HEADER] {
    let [high, low] = u16::try_from(len).unwrap_or(u16::MAX).to_be_bytes();
    [kind, 3, 3, high, low]
}

/// Seals what we send.
pub(super) struct Sealer {
    keys: Keys,
    /// Records after which the keys are worn out.
    limit: u64,
}

impl Sealer {
    /// `seq` is the number of the next record, `limit` that of the first these keys must not seal.
    pub(super) fn new(
        scheme: Scheme,
        seq: u64,
        secrets: &ConnectionTrafficSecrets,
        limit: u64,
    ) -> Option<Self> {
        Some(Self { keys: Keys::new(scheme, seq, secrets)?, limit })
    }

    /// Bytes that a record of `plain` bytes takes.
    pub(super) fn sealed_len(&self, plain: usize) -> usize {
        HEADER + plain + self.overhead()
    }

    fn overhead(&self) -> usize {
        TAG + match self.keys.scheme {
            Scheme::Tls13 => 1,
            Scheme::Tls12Gcm => EXPLICIT,
            Scheme::Tls12ChaCha => 0,
        }
    }

    #[cfg(test)]
    pub(super) fn wear_after(&mut self, records: u64) {
        self.limit = self.keys.seq + records;
    }

    /// Records these keys may still seal.
    pub(super) fn left(&self) -> u64 {
        self.limit.saturating_sub(self.keys.seq)
    }

    /// Seals one record of `plain`'s bytes, which may be several slices, into the front of `out`.
    /// Answers the record's length; `None` where it did not fit or the keys are worn out.
    pub(super) fn seal(&mut self, kind: u8, plain: &[&[u8]], out: &mut [u8]) -> Option<usize> {
        let len: usize = plain.iter().map(|part| part.len()).sum();
        let total = self.sealed_len(len);
        if self.left() == 0 || len > PLAIN_MAX {
            return None;
        }
        let (head, rest) = out.get_mut(..total)?.split_at_mut(HEADER);
        head.copy_from_slice(&header(self.outer(kind), total - HEADER));
        let nonce = self.keys.nonce();
        let additional = Aad::from(self.keys.additional(kind, len, total - HEADER));
        let explicit = if self.keys.scheme == Scheme::Tls12Gcm { EXPLICIT } else { 0 };
        let (front, rest) = rest.split_at_mut(explicit);
        front.copy_from_slice(nonce.get(aead::NONCE_LEN - explicit..)?);
        let (body, tail) = rest.split_at_mut(len);
        let inner = [kind];
        let inner: &[u8] = if self.keys.scheme == Scheme::Tls13 { &inner } else { &[] };
        let nonce = Nonce::assume_unique_for_key(nonce);
        let key = &self.keys.key;
        if let [one] = plain {
            key.seal_out_of_place_scatter(nonce, additional, one, body, inner, tail).ok()?;
        } else {
            let mut at = 0;
            for part in plain {
                body.get_mut(at..at + part.len())?.copy_from_slice(part);
                at += part.len();
            }
            key.seal_in_place_scatter(nonce, additional, body, inner, tail).ok()?;
        }
        self.keys.seq += 1;
        Some(total)
    }

    fn outer(&self, kind: u8) -> u8 {
        if self.keys.scheme == Scheme::Tls13 { content::DATA } else { kind }
    }
}

/// Opens what we receive.
pub(super) struct Opener {
    keys: Keys,
}

/// An opened record: its type, and where its content lies in the record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Opened {
    pub(super) kind: u8,
    pub(super) start: usize,
    pub(super) len: usize,
}

impl Opener {
    /// `seq` is the number of the next record.
    pub(super) fn new(
        scheme: Scheme,
        seq: u64,
        secrets: &ConnectionTrafficSecrets,
    ) -> Option<Self> {
        Some(Self { keys: Keys::new(scheme, seq, secrets)? })
    }

    /// Opens a whole record, header included, in place.
    ///
    /// # Errors
    /// It is too long, or not what the peer sent.
    pub(super) fn open(&mut self, record: &mut [u8]) -> Result<Opened, Bad> {
        let kind = record.first().copied().unwrap_or_default();
        let start = HEADER + if self.keys.scheme == Scheme::Tls12Gcm { EXPLICIT } else { 0 };
        let sealed = record.len().saturating_sub(HEADER);
        let len = record.len().checked_sub(start + TAG).ok_or(Bad::Mac)?;
        if len > PLAIN_MAX + usize::from(self.keys.scheme == Scheme::Tls13) * EXPANSION_MAX {
            return Err(Bad::Overflow);
        }
        if self.keys.scheme == Scheme::Tls13 && kind != content::DATA {
            // Nothing travels in the clear once the handshake is done.
            return Err(Bad::Mac);
        }
        let mut nonce = self.keys.nonce();
        if self.keys.scheme == Scheme::Tls12Gcm {
            let explicit = record.get(HEADER..start).ok_or(Bad::Mac)?;
            nonce.get_mut(4..).ok_or(Bad::Mac)?.copy_from_slice(explicit);
        }
        let additional = Aad::from(self.keys.additional(kind, len, sealed));
        let nonce = Nonce::assume_unique_for_key(nonce);
        let body = record.get_mut(start..).ok_or(Bad::Mac)?;
        let plain = self.keys.key.open_in_place(nonce, additional, body).map_err(|_| Bad::Mac)?;
        self.keys.seq = self.keys.seq.checked_add(1).ok_or(Bad::Mac)?;
        if self.keys.scheme != Scheme::Tls13 {
            return Ok(Opened { kind, start, len });
        }
        // Zeros pad the content; the last byte that is none is the type.
        let end = plain.iter().rposition(|&byte| byte != 0).ok_or(Bad::Empty)?;
        let kind = plain.get(end).copied().unwrap_or_default();
        if end > PLAIN_MAX {
            return Err(Bad::Overflow);
        }
        Ok(Opened { kind, start, len: end })
    }
}

/// Whether bytes look like the beginning of a record, as far as they go: a content type, and the
/// major version that every version of TLS has.
pub(super) fn may_begin(bytes: &[u8]) -> bool {
    bytes.first().is_none_or(|kind| (20..=23).contains(kind))
        && bytes.get(1).is_none_or(|major| *major == 3)
}

/// Length of the record that begins with `bytes`, header included; `None` while the header is
/// not complete.
///
/// # Errors
/// No record is that long.
pub(super) fn record_len(bytes: &[u8]) -> Result<Option<usize>, Bad> {
    let Some([_, _, _, high, low]) = bytes.get(..HEADER) else { return Ok(None) };
    let len = usize::from(u16::from_be_bytes([*high, *low]));
    if len > PLAIN_MAX + 2048 {
        return Err(Bad::Overflow);
    }
    Ok(Some(HEADER + len))
}
