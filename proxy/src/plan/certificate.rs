//! What is known of a certificate: of our own, and of a peer's.

mod name;
#[cfg(test)]
mod tests;

use std::fmt::Write as _;
use std::net::{Ipv4Addr, Ipv6Addr};

use aws_lc_rs::digest;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

/// A certificate, taken apart. Texts are as Envoy prints them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// The certificate itself, DER.
    pub der: Box<[u8]>,
    /// Subject as in RFC 2253: `CN=server,O=Example`.
    pub subject: Box<str>,
    /// Common names of the subject, in order.
    pub common_names: Vec<Box<str>>,
    /// Issuer, likewise.
    pub issuer: Box<str>,
    /// Serial number in lower-case hex.
    pub serial: Box<str>,
    /// SHA-256 of the DER.
    pub sha256: [u8; 32],
    /// SHA-256 of the public key's info (`SubjectPublicKeyInfo`).
    pub spki_sha256: [u8; 32],
    /// Subject alternative names, in the order of the certificate.
    pub sans: Vec<San>,
    /// Valid from, in seconds since 1970.
    pub not_before: i64,
    /// Valid until, in seconds since 1970.
    pub not_after: i64,
    /// What its key may do, if it says so.
    pub key_usage: Option<KeyUsage>,
    /// Its key is an RSA key.
    pub is_rsa: bool,
    /// It has the TLS feature "must staple" (RFC 7633).
    pub must_staple: bool,
}

/// Bits of the key usage extension that TLS asks for (RFC 5280 section 4.2.1.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyUsage {
    /// `digitalSignature`.
    pub digital_signature: bool,
    /// `keyEncipherment`.
    pub key_encipherment: bool,
    /// `keyCertSign` or `cRLSign`.
    pub signs_certificates: bool,
}

/// A subject alternative name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum San {
    /// A host name, perhaps with a wildcard.
    Dns(Box<str>),
    /// A URI, such as a SPIFFE identity.
    Uri(Box<str>),
    /// A mail address.
    Email(Box<str>),
    /// An IP address, in text.
    Ip(Box<str>),
    /// Another name: the OID of its kind, and its value where that is a text.
    Other(Box<str>, Box<str>),
}

impl Certificate {
    /// Takes a certificate apart.
    ///
    /// # Errors
    /// What is wrong with it, for a person.
    pub fn parse(der: &[u8]) -> Result<Self, String> {
        let (rest, parsed) = X509Certificate::from_der(der)
            .map_err(|error| format!("not a certificate: {error}"))?;
        if !rest.is_empty() {
            return Err("not a certificate: bytes after its end".to_owned());
        }
        let validity = parsed.validity();
        let usage = parsed.key_usage().ok().flatten();
        let spki = parsed.public_key();
        let subject = name::rfc2253(parsed.subject());
        Ok(Self {
            subject: subject.into(),
            common_names: parsed
                .subject()
                .iter_common_name()
                .filter_map(|name| name.as_str().ok().map(Box::from))
                .collect(),
            issuer: name::rfc2253(parsed.issuer()).into(),
            serial: serial_text(parsed.raw_serial()).into(),
            sha256: sha256(der),
            spki_sha256: sha256(spki.raw),
            sans: sans(&parsed),
            not_before: validity.not_before.timestamp(),
            not_after: validity.not_after.timestamp(),
            key_usage: usage.map(|usage| KeyUsage {
                digital_signature: usage.value.digital_signature(),
                key_encipherment: usage.value.key_encipherment(),
                signs_certificates: usage.value.key_cert_sign() || usage.value.crl_sign(),
            }),
            is_rsa: spki.algorithm.algorithm.to_id_string() == RSA_ENCRYPTION,
            must_staple: parsed
                .iter_extensions()
                .any(|extension| extension.oid.to_id_string() == TLS_FEATURE),
            der: Box::from(der),
        })
    }

    /// SHA-256 of the DER in lower-case hex.
    pub fn fingerprint_sha256(&self) -> String {
        hex(&self.sha256)
    }

    /// SHA-1 of the DER in lower-case hex.
    pub fn fingerprint_sha1(&self) -> String {
        hex(digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, &self.der).as_ref())
    }

    /// Its URIs.
    pub fn uri_sans(&self) -> impl Iterator<Item = &str> {
        self.sans.iter().filter_map(|san| match san {
            San::Uri(uri) => Some(uri.as_ref()),
            _ => None,
        })
    }

    /// Its host names.
    pub fn dns_sans(&self) -> impl Iterator<Item = &str> {
        self.sans.iter().filter_map(|san| match san {
            San::Dns(name) => Some(name.as_ref()),
            _ => None,
        })
    }

    /// Its mail addresses.
    pub fn email_sans(&self) -> impl Iterator<Item = &str> {
        self.sans.iter().filter_map(|san| match san {
            San::Email(address) => Some(address.as_ref()),
            _ => None,
        })
    }

    /// Its IP addresses.
    pub fn ip_sans(&self) -> impl Iterator<Item = &str> {
        self.sans.iter().filter_map(|san| match san {
            San::Ip(address) => Some(address.as_ref()),
            _ => None,
        })
    }

    /// Values of its other names.
    pub fn other_sans(&self) -> impl Iterator<Item = &str> {
        self.sans.iter().filter_map(|san| match san {
            San::Other(_, value) => Some(value.as_ref()),
            _ => None,
        })
    }

    /// PEM, with what a header cannot hold percent-encoded, as in `x-forwarded-client-cert`.
    pub fn url_encoded_pem(&self) -> String {
        url_encoded_pem(&self.der)
    }
}

/// `rsaEncryption` (RFC 8017).
const RSA_ENCRYPTION: &str = "1.2.840.113549.1.1.1";
/// `id-pe-tlsfeature` (RFC 7633). The only feature anybody asks for is `status_request`.
const TLS_FEATURE: &str = "1.3.6.1.5.5.7.1.24";

/// SHA-256.
pub fn sha256(data: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(digest::digest(&digest::SHA256, data).as_ref());
    out
}

/// Lower-case hex.
pub fn hex(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        let _ = write!(out, "{byte:02x}");
    }
    out
}

/// One certificate as PEM in lines of 64, percent-encoded as in `x-forwarded-client-cert`.
pub fn url_encoded_pem(der: &[u8]) -> String {
    let mut out = String::with_capacity(der.len() * 3 / 2 + 96);
    out.push_str("-----BEGIN%20CERTIFICATE-----%0A");
    for line in base64(der).as_bytes().chunks(64) {
        for &byte in line {
            match byte {
                b'+' => out.push_str("%2B"),
                b'/' => out.push_str("%2F"),
                b'=' => out.push_str("%3D"),
                other => out.push(char::from(other)),
            }
        }
        out.push_str("%0A");
    }
    out.push_str("-----END%20CERTIFICATE-----%0A");
    out
}

/// Base64 with padding (RFC 4648 section 4).
pub fn base64(data: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::with_capacity(data.len().div_ceil(3) * 4);
    for group in data.chunks(3) {
        let byte = |i: usize| u32::from(group.get(i).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for i in 0..4 {
            if i <= group.len() {
                let digit = (bits >> (18 - 6 * i)) & 63;
                out.push(char::from(ALPHABET.get(digit as usize).copied().unwrap_or(b'=')));
            } else {
                out.push('=');
            }
        }
    }
    out
}

/// Hex digits of a DER integer's value, two per byte, without the byte that only says "positive".
pub fn serial_text(raw: &[u8]) -> String {
    let zeros = raw.iter().take_while(|&&byte| byte == 0).count();
    match raw.get(zeros..) {
        Some(digits) if !digits.is_empty() => hex(digits),
        _ => "0".to_owned(),
    }
}

fn sans(parsed: &X509Certificate<'_>) -> Vec<San> {
    let Ok(Some(extension)) = parsed.subject_alternative_name() else { return Vec::new() };
    extension.value.general_names.iter().filter_map(san).collect()
}

fn san(name: &GeneralName<'_>) -> Option<San> {
    Some(match name {
        GeneralName::DNSName(name) => San::Dns(Box::from(*name)),
        GeneralName::URI(uri) => San::Uri(Box::from(*uri)),
        GeneralName::RFC822Name(address) => San::Email(Box::from(*address)),
        GeneralName::IPAddress(bytes) => San::Ip(ip(bytes)?.into()),
        GeneralName::OtherName(oid, value) => {
            San::Other(oid.to_id_string().into(), name::other_name_text(value).into())
        }
        _ => return None,
    })
}

fn ip(bytes: &[u8]) -> Option<String> {
    if let Ok(v4) = <[u8; 4]>::try_from(bytes) {
        return Some(Ipv4Addr::from(v4).to_string());
    }
    <[u8; 16]>::try_from(bytes).ok().map(|v6| Ipv6Addr::from(v6).to_string())
}
