//! Who is let in: certificates of both ends against what is asked of them.

use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, KeyUsagePurpose, SerialNumber};

use super::*;
use crate::plan::certificate::{Certificate, sha256};
use crate::plan::route::{CaseSensitivity, StringMatch};
use crate::plan::tls::testing::{Pair, common, inline, secret};
use crate::plan::tls::{SanKind, SanMatch, SecretRecipe, ServerRecipe, ValidationRecipe};

/// How a handshake came out for the server, with the counter that tells.
fn outcome(server: ServerRecipe, client_certificate: Option<&Pair>, tls13: bool) -> &'static str {
    simulate(11, Faults::default(), async {
        let mut client = client_recipe();
        let own = client_certificate.iter().map(|pair| pair.recipe()).collect();
        client.common.certificates = common(own).certificates;
        Arc::make_mut(&mut client.common.params).tls13 = tls13;
        let ends = Rc::new(ends(server, client));
        let (_client, server) = shake(&ends, ConnectHints::default()).await;
        let names = &ends.server.stats;
        let counted = [
            (names.fail_verify_no_cert(), "no cert"),
            (names.fail_verify_error(), "verify error"),
            (names.fail_verify_san(), "san"),
            (names.fail_verify_cert_hash(), "hash"),
            (names.connection_error(), "error"),
        ];
        let failed = counted.iter().find(|(counter, _)| ends.stats.counter_value(*counter) > 0);
        match (server, failed) {
            (Ok(server), None) => {
                let anonymous = ends.stats.counter_value(names.no_certificate()) > 0;
                assert_eq!(anonymous, !server.info().peer_presented());
                if anonymous { "anonymous" } else { "in" }
            }
            (Err(HandshakeError::Failed(reason)), Some((_, word))) => {
                assert!(reason.starts_with("TLS_error:|"), "{reason}");
                word
            }
            (result, failed) => panic!("{:?} {failed:?}", result.err()),
        }
    })
}

fn checked(both: impl Fn(bool) -> &'static str) -> &'static str {
    let (tls12, tls13) = (both(false), both(true));
    assert_eq!(tls12, tls13, "TLS 1.2 and TLS 1.3");
    tls13
}

/// Outcome with a client certificate and a validation context.
fn with(pair: Option<&Pair>, required: bool, validation: &ValidationRecipe) -> &'static str {
    let ca = Ca::new("server root");
    checked(|tls13| {
        let mut server = server_recipe(vec![ca.issue(&["a.example"]).recipe()]);
        server.require_client_certificate = required;
        server.common.validation = Some(validation.clone().into());
        outcome(server, pair, tls13)
    })
}

#[test]
fn certificates_of_clients() {
    let (ca, other) = (Ca::new("root"), Ca::new("other"));
    let (good, bad) = (ca.issue(&["c.example"]), other.issue(&["c.example"]));
    let rules = trust(&ca);
    assert_eq!(with(Some(&good), true, &rules), "in");
    assert_eq!(with(Some(&good), false, &rules), "in");
    assert_eq!(with(None, true, &rules), "no cert");
    assert_eq!(with(None, false, &rules), "anonymous");
    assert_eq!(with(Some(&bad), true, &rules), "verify error");
    assert_eq!(with(Some(&bad), false, &rules), "verify error");
    let untrusted = ValidationRecipe { accept_untrusted: true, ..rules.clone() };
    assert_eq!(with(Some(&bad), true, &untrusted), "in");
    // A certificate is asked for, and anything will do.
    assert_eq!(with(Some(&bad), true, &ValidationRecipe::default()), "in");
}

#[test]
fn certificates_for_other_purposes_and_times() {
    let ca = Ca::new("root");
    let for_servers = |params: &mut CertificateParams| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    };
    let pair = ca.issue_with(&["c.example"], for_servers);
    assert_eq!(with(Some(&pair), true, &trust(&ca)), "verify error");
    // The simulated clock is in 2023.
    let expired = |params: &mut CertificateParams| {
        params.not_after = rcgen::date_time_ymd(2020, 1, 1);
    };
    let pair = ca.issue_with(&["c.example"], expired);
    assert_eq!(with(Some(&pair), true, &trust(&ca)), "verify error");
    let lenient = ValidationRecipe { allow_expired: true, ..trust(&ca) };
    assert_eq!(with(Some(&pair), true, &lenient), "in");
    let future = |params: &mut CertificateParams| {
        params.not_before = rcgen::date_time_ymd(2024, 1, 1);
    };
    let pair = ca.issue_with(&["c.example"], future);
    assert_eq!(with(Some(&pair), true, &trust(&ca)), "verify error");
}

#[test]
fn certificates_of_authorities_in_between() {
    let root = Ca::new("root");
    let (one, two) = (root.below("one"), Ca::new("unused"));
    drop(two);
    let below = one.below("two");
    let mut pair = below.issue(&["c.example"]);
    pair.chain = format!("{}{}{}", pair.chain, below.pem, one.pem);
    assert_eq!(with(Some(&pair), true, &trust(&root)), "in");
    let depth = |most| ValidationRecipe { max_depth: Some(most), ..trust(&root) };
    assert_eq!(with(Some(&pair), true, &depth(2)), "in");
    assert_eq!(with(Some(&pair), true, &depth(1)), "verify error");
    // An authority in between may be what is trusted.
    assert_eq!(with(Some(&pair), true, &trust(&one)), "in");
}

#[test]
fn revoked_certificates() {
    let ca = Ca::new("root");
    let serial = |number: u8| {
        ca.issue_with(&["c.example"], |params| {
            params.serial_number = Some(SerialNumber::from_slice(&[number]));
        })
    };
    let (seven, eight) = (serial(7), serial(8));
    let rules = ValidationRecipe { crl: Some(inline(&ca.revoke(&[7]))), ..trust(&ca) };
    assert_eq!(with(Some(&seven), true, &rules), "verify error");
    assert_eq!(with(Some(&eight), true, &rules), "in");
    // A list of somebody else says nothing about ours, and one is needed.
    let stranger = Ca::new("stranger");
    let rules = ValidationRecipe { crl: Some(inline(&stranger.revoke(&[1]))), ..trust(&ca) };
    assert_eq!(with(Some(&eight), true, &rules), "verify error");
}

fn exact(kind: SanKind, text: &str) -> SanMatch {
    SanMatch { kind, matcher: StringMatch::Exact(text.into(), CaseSensitivity::Sensitive) }
}

#[test]
fn names_of_clients() {
    let ca = Ca::new("root");
    let pair = ca.issue(&["c.example", "*.w.example", "spiffe://td/ns/a"]);
    let rules = |sans: Vec<SanMatch>| ValidationRecipe { sans, ..trust(&ca) };
    let cases = [
        (exact(SanKind::Uri, "spiffe://td/ns/a"), "in"),
        (exact(SanKind::Uri, "spiffe://td/ns/b"), "san"),
        (exact(SanKind::Uri, "c.example"), "san"),
        (exact(SanKind::Dns, "c.example"), "in"),
        (exact(SanKind::Dns, "x.w.example"), "in"),
        (exact(SanKind::Dns, "x.y.w.example"), "san"),
    ];
    for (matcher, expected) in cases {
        let shown = format!("{matcher:?}");
        assert_eq!(with(Some(&pair), true, &rules(vec![matcher])), expected, "{shown}");
    }
    let two = rules(vec![exact(SanKind::Dns, "no.example"), exact(SanKind::Dns, "c.example")]);
    assert_eq!(with(Some(&pair), true, &two), "in");
}

#[test]
fn identities_by_trust_domain() {
    let (one, two) = (Ca::new("one"), Ca::new("two"));
    let rules = ValidationRecipe {
        domains: vec![("one".into(), inline(&one.pem)), ("two".into(), inline(&two.pem))],
        // Neither counts where there are trust domains.
        trusted_ca: Some(inline(&Ca::new("unused").pem)),
        hashes: vec![[0; 32]],
        ..ValidationRecipe::default()
    };
    let cases = [
        (&one, "spiffe://one/ns/a", "in"),
        (&two, "spiffe://two/ns/a", "in"),
        (&two, "spiffe://one/ns/a", "verify error"),
        (&one, "spiffe://three/ns/a", "verify error"),
        (&one, "spiffe://one", "verify error"),
        (&one, "https://one/ns/a", "verify error"),
        (&one, "one.example", "verify error"),
    ];
    for (ca, name, expected) in cases {
        assert_eq!(with(Some(&ca.issue(&[name])), true, &rules), expected, "{name}");
    }
    let signs = one.issue_with(&["spiffe://one/ns/a"], |params| {
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyCertSign];
    });
    assert_eq!(with(Some(&signs), true, &rules), "verify error");
    let names = ValidationRecipe { sans: vec![exact(SanKind::Uri, "spiffe://one/ns/a")], ..rules };
    assert_eq!(with(Some(&one.issue(&["spiffe://one/ns/a"])), true, &names), "in");
    assert_eq!(with(Some(&one.issue(&["spiffe://one/ns/b"])), true, &names), "san");
}

#[test]
fn pins_of_clients() {
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject;
    let ca = Ca::new("root");
    let (pair, other) = (ca.issue(&["c.example"]), ca.issue(&["c.example"]));
    let der = CertificateDer::from_pem_slice(pair.chain.as_bytes()).unwrap();
    let facts = Certificate::parse(&der).unwrap();
    assert_eq!(facts.sha256, sha256(&der));
    let hash = ValidationRecipe { hashes: vec![facts.sha256], ..ValidationRecipe::default() };
    assert_eq!(with(Some(&pair), true, &hash), "in");
    assert_eq!(with(Some(&other), true, &hash), "hash");
    let spki = ValidationRecipe { spkis: vec![[0; 32], facts.spki_sha256], ..trust(&ca) };
    assert_eq!(with(Some(&pair), true, &spki), "in");
    assert_eq!(with(Some(&other), true, &spki), "hash");
}

/// How a handshake came out for the client.
fn client_outcome(ca: &Ca, names: &[&str], hints: ConnectHints<'_>, match_sni: bool) -> bool {
    simulate(12, Faults::default(), async {
        let server = server_recipe(vec![ca.issue(names).recipe()]);
        let mut client = client_recipe();
        client.common.validation = Some(trust(ca).into());
        client.match_sni = match_sni;
        let ends = Rc::new(ends(server, client));
        let (client, _server) = shake(&ends, hints).await;
        let counter = ends.client.stats.fail_verify_san();
        let refused = ends.stats.counter_value(counter) == 1;
        assert_eq!(client.is_err(), refused);
        client.is_ok()
    })
}

#[test]
fn names_of_servers() {
    let ca = Ca::new("root");
    let none = ConnectHints::default();
    // Nobody asks for a name unless told to.
    assert!(client_outcome(&ca, &["b.example"], none, false));
    assert!(!client_outcome(&ca, &["b.example"], none, true));
    assert!(client_outcome(&ca, &["a.example"], none, true));
    let san = ConnectHints { san: Some("b.example"), ..none };
    assert!(client_outcome(&ca, &["b.example"], san, false));
    assert!(!client_outcome(&ca, &["a.example"], san, false));
    let sni = ConnectHints { sni: Some("c.example"), ..none };
    assert!(client_outcome(&ca, &["c.example"], sni, true));
    assert!(!client_outcome(&ca, &["a.example"], sni, true));
}

#[test]
fn an_unknown_authority_of_the_server() {
    simulate(12, Faults::default(), async {
        let (ca, other) = (Ca::new("root"), Ca::new("other"));
        let server = server_recipe(vec![ca.issue(&["a.example"]).recipe()]);
        let mut client = client_recipe();
        client.common.validation = Some(trust(&other).into());
        let ends = Rc::new(ends(server, client));
        let (client, server) = shake(&ends, ConnectHints::default()).await;
        let Err(HandshakeError::Failed(reason)) = client else { panic!("it should fail") };
        assert!(reason.contains("CERTIFICATE_VERIFY_FAILED"), "{reason}");
        assert!(server.is_err());
        assert_eq!(ends.stats.counter_value(ends.client.stats.fail_verify_error()), 1);
    });
}

#[test]
fn certificates_are_picked_by_name_and_algorithm() {
    let ca = Ca::new("root");
    let list = vec![
        ca.issue_rsa(&["a.example", "rsa"]).recipe(),
        ca.issue(&["a.example", "ecdsa"]).recipe(),
        ca.issue(&["*.w.example", "wild"]).recipe(),
    ];
    let ecdsa = ["ecdsa_secp256r1_sha256", "rsa_pss_rsae_sha256"];
    let rsa = ["rsa_pss_rsae_sha256", "rsa_pkcs1_sha256"];
    let cases = [
        ("a.example", &ecdsa, false, "ecdsa"),
        ("A.Example", &rsa, false, "rsa"),
        ("x.w.example", &ecdsa, false, "wild"),
        ("x.y.w.example", &ecdsa, false, "rsa"),
        ("x.y.w.example", &ecdsa, true, "ecdsa"),
    ];
    for (sni, schemes, full_scan, expected) in cases {
        simulate(13, Faults::default(), async {
            let mut server = server_recipe(list.clone());
            server.full_scan = full_scan;
            let mut client = client_recipe();
            let schemes: Vec<_> = schemes
                .iter()
                .map(|name| crate::plan::tls::names::scheme(name).unwrap().unwrap())
                .collect();
            Arc::make_mut(&mut client.common.params).schemes = schemes.into();
            let ends = Rc::new(ends(server, client));
            let hints = ConnectHints { sni: Some(sni), ..ConnectHints::default() };
            let (client, server) = shake(&ends, hints).await;
            let client = client.expect("the client's end");
            let got = client.info().peer().unwrap().dns_sans().last().unwrap().to_owned();
            assert_eq!(got, expected, "{sni} {full_scan}");
            let local = server.expect("the server's end").info().local.clone().unwrap();
            assert_eq!(local.dns_sans().last(), Some(expected));
        });
    }
}

#[test]
fn wrong_material_is_told() {
    let ca = Ca::new("root");
    let (one, two) = (ca.issue(&["a.example"]), ca.issue(&["a.example"]));
    let mut crossed = one.recipe();
    crossed.key = inline(&two.key);
    let error = secret(SecretRecipe::Certificate(crossed)).unwrap_err();
    assert!(error.contains("Failed to load private key from <inline>"), "{error}");
    let mut empty = one.recipe();
    empty.chain = inline("nothing");
    let error = secret(SecretRecipe::Certificate(empty)).unwrap_err();
    assert!(error.contains("Failed to load certificate chain from <inline>"), "{error}");
}
