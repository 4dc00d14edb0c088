//! OCSP responses that are stapled (RFC 6960): whom they are for, and how long they are good.

use x509_parser::asn1_rs::{Any, FromDer, GeneralizedTime, Tag};

/// What an OCSP response says about one certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct OcspFacts {
    /// Serial number of the certificate, the bytes of the integer.
    pub(super) serial: Box<[u8]>,
    /// Good until, in seconds since 1970; without it the response never expires.
    pub(super) until: Option<i64>,
}

/// Reads the one status in a successful basic response.
///
/// # Errors
/// What is wrong with it, for a person.
pub(super) fn parse(der: &[u8]) -> Result<OcspFacts, String> {
    let malformed = || "not an OCSP response".to_owned();
    let outer = sequence(der).ok_or_else(malformed)?;
    let (status, rest) = outer.split_first().ok_or_else(malformed)?;
    if status.data != [0] {
        return Err("the OCSP response was not successful".to_owned());
    }
    let basic = basic_response(rest).ok_or_else(malformed)?;
    single_response(&basic).ok_or_else(|| "an OCSP response for exactly one certificate".into())
}

/// Elements of a SEQUENCE.
fn sequence(der: &[u8]) -> Option<Vec<Any<'_>>> {
    let (_, any) = Any::from_der(der).ok()?;
    (any.tag() == Tag::Sequence).then(|| elements(any.data))?
}

fn elements(mut data: &[u8]) -> Option<Vec<Any<'_>>> {
    let mut out = Vec::new();
    while !data.is_empty() {
        let (rest, any) = Any::from_der(data).ok()?;
        out.push(any);
        data = rest;
    }
    Some(out)
}

/// `responseBytes [0] { responseType, response OCTET STRING }`: the octets.
fn basic_response<'a>(rest: &[Any<'a>]) -> Option<Vec<Any<'a>>> {
    let bytes = sequence(rest.first()?.data)?;
    let octets = bytes.get(1).filter(|any| any.tag() == Tag::OctetString)?;
    sequence(octets.data)
}

fn single_response(basic: &[Any<'_>]) -> Option<OcspFacts> {
    let data = elements(basic.first()?.data)?;
    // version [0] and responderID [1] or [2] are tagged; producedAt is not; responses follow it.
    let produced = data.iter().position(|any| any.tag() == Tag::GeneralizedTime)?;
    let responses = elements(data.get(produced + 1)?.data)?;
    let [one] = responses.as_slice() else { return None };
    let fields = elements(one.data)?;
    let id = elements(fields.first()?.data)?;
    let serial = id.get(3).filter(|any| any.tag() == Tag::Integer)?;
    let next = fields.get(3).filter(|any| any.tag() == Tag(0)).and_then(|tagged| {
        let (_, time) = GeneralizedTime::from_der(tagged.data).ok()?;
        time.utc_datetime().ok().map(|time| time.unix_timestamp())
    });
    Some(OcspFacts { serial: Box::from(serial.data), until: next })
}
