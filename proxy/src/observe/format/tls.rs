//! Operators of TLS: `%DOWNSTREAM_TLS_VERSION%`, `%UPSTREAM_PEER_SUBJECT%` and their like.

use super::context::LogContext;
use super::eval::Kind;
use super::time::TimeFormat;
use crate::plan::certificate::Certificate;
use crate::transport::tls::TlsInfo;

/// Whose TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Downstream,
    Upstream,
}

/// What of a session.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Fact {
    Version,
    Cipher,
    Group,
    /// Of our certificate.
    Local(Part),
    /// Of the peer's.
    Peer(Part),
    PeerPem,
    /// Of every certificate of the peer's chain.
    Chain(Part),
    /// Of the certificate above the peer's.
    Issuer(Part),
}

/// What of a certificate.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Part {
    Subject,
    Issuer,
    Serial,
    Sha256,
    Sha1,
    Dns,
    Uri,
    Email,
    Ip,
    Other,
    Start(TimeFormat),
    End(TimeFormat),
}

/// The operator of this name, if it is one of TLS without arguments.
pub(super) fn named(name: &str) -> Option<(End, Fact)> {
    if let Some(fact) = name.strip_prefix("DOWNSTREAM_").and_then(downstream) {
        return Some((End::Downstream, fact));
    }
    name.strip_prefix("UPSTREAM_").and_then(upstream).map(|fact| (End::Upstream, fact))
}

/// `…_PEER_CERT_V_START` and `…_END` with their format.
pub(super) fn validity(name: &str, format: TimeFormat) -> Option<(End, Fact)> {
    let (end, rest) = match name.strip_prefix("DOWNSTREAM_") {
        Some(rest) => (End::Downstream, rest),
        None => (End::Upstream, name.strip_prefix("UPSTREAM_")?),
    };
    let part = match rest {
        "PEER_CERT_V_START" => Part::Start(format),
        "PEER_CERT_V_END" => Part::End(format),
        _ => return None,
    };
    Some((end, Fact::Peer(part)))
}

fn both(name: &str) -> Option<Fact> {
    Some(match name {
        "TLS_VERSION" => Fact::Version,
        "TLS_CIPHER" => Fact::Cipher,
        "TLS_GROUP" => Fact::Group,
        "LOCAL_DNS_SAN" => Fact::Local(Part::Dns),
        "LOCAL_IP_SAN" => Fact::Local(Part::Ip),
        "LOCAL_URI_SAN" => Fact::Local(Part::Uri),
        "PEER_CERT" => Fact::PeerPem,
        "PEER_DNS_SAN" => Fact::Peer(Part::Dns),
        "PEER_IP_SAN" => Fact::Peer(Part::Ip),
        "PEER_ISSUER" => Fact::Peer(Part::Issuer),
        "PEER_SUBJECT" => Fact::Peer(Part::Subject),
        "PEER_URI_SAN" => Fact::Peer(Part::Uri),
        _ => return None,
    })
}

fn upstream(name: &str) -> Option<Fact> {
    both(name)
}

fn downstream(name: &str) -> Option<Fact> {
    Some(match name {
        "LOCAL_EMAIL_SAN" => Fact::Local(Part::Email),
        "LOCAL_OTHERNAME_SAN" => Fact::Local(Part::Other),
        "LOCAL_SUBJECT" => Fact::Local(Part::Subject),
        "PEER_CHAIN_FINGERPRINTS_1" => Fact::Chain(Part::Sha1),
        "PEER_CHAIN_FINGERPRINTS_256" => Fact::Chain(Part::Sha256),
        "PEER_CHAIN_SERIALS" => Fact::Chain(Part::Serial),
        "PEER_EMAIL_SAN" => Fact::Peer(Part::Email),
        "PEER_FINGERPRINT_1" => Fact::Peer(Part::Sha1),
        "PEER_FINGERPRINT_256" => Fact::Peer(Part::Sha256),
        "PEER_ISSUER_FINGERPRINT_256" => Fact::Issuer(Part::Sha256),
        "PEER_ISSUER_SERIAL" => Fact::Issuer(Part::Serial),
        "PEER_OTHERNAME_SAN" => Fact::Peer(Part::Other),
        "PEER_SERIAL" => Fact::Peer(Part::Serial),
        _ => return both(name),
    })
}

impl Fact {
    /// Appends the value.
    pub(super) fn eval(&self, end: End, ctx: &LogContext<'_>, out: &mut Vec<u8>) -> Kind {
        let tls = match end {
            End::Downstream => ctx.downstream.tls,
            End::Upstream => ctx.upstream.tls,
        };
        tls.map_or(Kind::Absent, |tls| self.write(tls, out))
    }

    fn write(&self, tls: &TlsInfo, out: &mut Vec<u8>) -> Kind {
        let start = out.len();
        match self {
            Self::Version => out.extend_from_slice(tls.version.as_bytes()),
            Self::Cipher => out.extend_from_slice(tls.cipher.as_bytes()),
            Self::Group => out.extend_from_slice(tls.group.unwrap_or_default().as_bytes()),
            Self::Local(part) => {
                if let Some(local) = &tls.local {
                    part.write(local, out);
                }
            }
            Self::Peer(part) => {
                if let Some(peer) = tls.peer() {
                    part.write(peer, out);
                }
            }
            Self::PeerPem => {
                out.extend_from_slice(tls.peer_url_encoded_pem().unwrap_or_default().as_bytes());
            }
            Self::Chain(part) => {
                for (i, certificate) in tls.peer_chain().enumerate() {
                    if i > 0 {
                        out.push(b',');
                    }
                    part.write(&certificate, out);
                }
            }
            Self::Issuer(part) => {
                if let Some(issuer) = tls.peer_chain().nth(1) {
                    part.write(&issuer, out);
                }
            }
        }
        if out.len() == start { Kind::Absent } else { Kind::Text }
    }
}

impl Part {
    fn write(&self, facts: &Certificate, out: &mut Vec<u8>) {
        match self {
            Self::Subject => out.extend_from_slice(facts.subject.as_bytes()),
            Self::Issuer => out.extend_from_slice(facts.issuer.as_bytes()),
            Self::Serial => out.extend_from_slice(facts.serial.as_bytes()),
            Self::Sha256 => out.extend_from_slice(facts.fingerprint_sha256().as_bytes()),
            Self::Sha1 => out.extend_from_slice(facts.fingerprint_sha1().as_bytes()),
            Self::Dns => joined(facts.dns_sans(), out),
            Self::Uri => joined(facts.uri_sans(), out),
            Self::Email => joined(facts.email_sans(), out),
            Self::Ip => joined(facts.ip_sans(), out),
            Self::Other => joined(facts.other_sans(), out),
            Self::Start(format) => format.write(nanoseconds(facts.not_before), out),
            Self::End(format) => format.write(nanoseconds(facts.not_after), out),
        }
    }
}

fn joined<'a>(names: impl Iterator<Item = &'a str>, out: &mut Vec<u8>) {
    for (i, name) in names.enumerate() {
        if i > 0 {
            out.push(b',');
        }
        out.extend_from_slice(name.as_bytes());
    }
}

fn nanoseconds(seconds: i64) -> u64 {
    u64::try_from(seconds).unwrap_or(0).saturating_mul(1_000_000_000)
}
