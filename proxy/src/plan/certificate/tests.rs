//! Facts of certificates made here.

use rcgen::{CertificateParams, DnType, DnValue, KeyPair, SanType, SerialNumber};

use super::*;

fn made(change: impl FnOnce(&mut CertificateParams)) -> Certificate {
    let mut params = CertificateParams::new(vec!["a.example".to_owned()]).unwrap();
    params.distinguished_name = rcgen::DistinguishedName::new();
    change(&mut params);
    let key = KeyPair::generate().unwrap();
    Certificate::parse(params.self_signed(&key).unwrap().der()).unwrap()
}

#[test]
fn names_are_written_last_first_and_escaped() {
    let cert = made(|params| {
        let name = &mut params.distinguished_name;
        name.push(DnType::CountryName, "DE");
        name.push(DnType::OrganizationName, "Röhren, Rohre & \"Co\" ");
        name.push(DnType::CommonName, "#1");
        name.push(DnType::CustomDnType(vec![1, 2, 3, 4]), DnValue::Utf8String("x".to_owned()));
    });
    assert_eq!(&*cert.subject, r#"1.2.3.4=#0C0178,CN=\#1,O=R\C3\B6hren\, Rohre & \"Co\"\ ,C=DE"#);
    assert_eq!(cert.subject, cert.issuer);
    assert_eq!(cert.common_names, [Box::from("#1")]);
}

#[test]
fn alternative_names_keep_their_kinds() {
    let cert = made(|params| {
        params.serial_number = Some(SerialNumber::from_slice(&[0x0a, 0xbc]));
        params.subject_alt_names.extend([
            SanType::URI("spiffe://td/ns/a".try_into().unwrap()),
            SanType::Rfc822Name("a@b.example".try_into().unwrap()),
            SanType::IpAddress("10.0.0.1".parse().unwrap()),
            SanType::IpAddress("::1".parse().unwrap()),
        ]);
    });
    assert_eq!(&*cert.serial, "0abc");
    assert_eq!(cert.dns_sans().collect::<Vec<_>>(), ["a.example"]);
    assert_eq!(cert.uri_sans().collect::<Vec<_>>(), ["spiffe://td/ns/a"]);
    assert_eq!(cert.email_sans().collect::<Vec<_>>(), ["a@b.example"]);
    assert_eq!(cert.ip_sans().collect::<Vec<_>>(), ["10.0.0.1", "::1"]);
    assert!(!cert.is_rsa);
}

#[test]
fn pem_is_fit_for_a_header() {
    let cert = made(|_| {});
    let pem = cert.url_encoded_pem();
    assert!(pem.starts_with("-----BEGIN%20CERTIFICATE-----%0AMII"), "{pem}");
    assert!(pem.ends_with("%0A-----END%20CERTIFICATE-----%0A"), "{pem}");
    assert!(!pem.contains(['+', '/', '=', ' ', '\n']), "{pem}");
}

#[test]
fn base64_pads() {
    for (plain, coded) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v")] {
        assert_eq!(base64(plain.as_bytes()), coded);
    }
}

#[test]
fn what_is_no_certificate_is_refused() {
    assert!(Certificate::parse(b"").is_err());
    assert!(Certificate::parse(&[0x30, 0x03, 1, 2, 3]).is_err());
    let cert = made(|_| {});
    let longer = [&*cert.der, &[0]].concat();
    assert!(Certificate::parse(&longer).is_err());
}
