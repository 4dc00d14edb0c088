//! Distinguished names in text (RFC 2253).

use std::fmt::Write as _;

use x509_parser::asn1_rs::{Any, FromDer, Tag};
use x509_parser::x509::{AttributeTypeAndValue, X509Name};

/// Short names of attribute types. Others are written as numbers, with their value in hex.
const SHORT: &[(&str, &str)] = &[
    ("2.5.4.3", "CN"),
    ("2.5.4.4", "SN"),
    ("2.5.4.5", "serialNumber"),
    ("2.5.4.6", "C"),
    ("2.5.4.7", "L"),
    ("2.5.4.8", "ST"),
    ("2.5.4.9", "street"),
    ("2.5.4.10", "O"),
    ("2.5.4.11", "OU"),
    ("2.5.4.12", "title"),
    ("2.5.4.13", "description"),
    ("2.5.4.15", "businessCategory"),
    ("2.5.4.17", "postalCode"),
    ("2.5.4.41", "name"),
    ("2.5.4.42", "GN"),
    ("2.5.4.43", "initials"),
    ("2.5.4.44", "generationQualifier"),
    ("2.5.4.46", "dnQualifier"),
    ("2.5.4.65", "pseudonym"),
    ("2.5.4.97", "organizationIdentifier"),
    ("0.9.2342.19200300.100.1.1", "UID"),
    ("0.9.2342.19200300.100.1.25", "DC"),
    ("1.2.840.113549.1.9.1", "emailAddress"),
    ("1.2.840.113549.1.9.2", "unstructuredName"),
];

/// The name, last part first, as RFC 2253 writes it.
pub(super) fn rfc2253(name: &X509Name<'_>) -> String {
    let mut out = String::new();
    let parts: Vec<_> = name.iter_rdn().collect();
    for (i, part) in parts.iter().rev().enumerate() {
        if i > 0 {
            out.push(',');
        }
        let attributes: Vec<_> = part.iter().collect();
        for (j, attribute) in attributes.iter().rev().enumerate() {
            if j > 0 {
                out.push('+');
            }
            write_attribute(attribute, &mut out);
        }
    }
    out
}

fn write_attribute(attribute: &AttributeTypeAndValue<'_>, out: &mut String) {
    let oid = attribute.attr_type().to_id_string();
    let short = SHORT.iter().find(|(number, _)| *number == oid);
    let value = attribute.attr_value();
    out.push_str(short.map_or(oid.as_str(), |(_, short)| short));
    out.push('=');
    match text(value) {
        Some(text) if short.is_some() => escape(&text, out),
        _ => dump(value, out),
    }
}

/// Text of a string type, in UTF-8.
fn text(value: &Any<'_>) -> Option<String> {
    match value.tag() {
        Tag::Utf8String => std::str::from_utf8(value.data).ok().map(str::to_owned),
        Tag::PrintableString | Tag::Ia5String | Tag::NumericString | Tag::VisibleString => {
            Some(value.data.iter().map(|&byte| char::from(byte)).collect())
        }
        // Taken for Latin-1, as OpenSSL's family does.
        Tag::T61String => Some(value.data.iter().map(|&byte| char::from(byte)).collect()),
        Tag::BmpString => {
            let units = value.data.chunks_exact(2).map(|pair| match pair {
                [high, low] => u16::from_be_bytes([*high, *low]),
                _ => 0,
            });
            char::decode_utf16(units).collect::<Result<String, _>>().ok()
        }
        _ => None,
    }
}

/// Everything that is not plain ASCII, or has a meaning in the notation, is escaped.
fn escape(text: &str, out: &mut String) {
    let last = text.len().saturating_sub(1);
    for (i, byte) in text.bytes().enumerate() {
        match byte {
            b',' | b'+' | b'"' | b'\\' | b'<' | b'>' | b';' => {
                out.push('\\');
                out.push(char::from(byte));
            }
            b'#' if i == 0 => out.push_str("\\#"),
            b' ' if i == 0 || i == last => out.push_str("\\ "),
            0x20..=0x7e => out.push(char::from(byte)),
            other => drop(write!(out, "\\{other:02X}")),
        }
    }
}

/// `#` and the hex of the value's DER.
fn dump(value: &Any<'_>, out: &mut String) {
    out.push('#');
    let _ = write!(out, "{:02X}", value.tag().0);
    let len = value.data.len();
    match len {
        0..=0x7f => drop(write!(out, "{len:02X}")),
        0x80..=0xff => drop(write!(out, "81{len:02X}")),
        _ => drop(write!(out, "82{len:04X}")),
    }
    for byte in value.data {
        let _ = write!(out, "{byte:02X}");
    }
}

/// Value of an `otherName`, explicitly tagged; empty where it is no text.
pub(super) fn other_name_text(value: &[u8]) -> String {
    let inner = Any::from_der(value).ok().map(|(_, any)| any);
    let Some(outer) = inner else { return String::new() };
    if let Some(text) = text(&outer) {
        return text;
    }
    Any::from_der(outer.data).ok().and_then(|(_, any)| text(&any)).unwrap_or_default()
}
