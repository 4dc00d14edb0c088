//! Names of suites, groups and signature schemes, as OpenSSL's family writes them.

use rustls::crypto::SupportedKxGroup;
use rustls::crypto::aws_lc_rs::{cipher_suite as suite, kx_group};
use rustls::{CipherSuite, NamedGroup, ProtocolVersion, SignatureScheme, SupportedCipherSuite};

/// Cipher suites of TLS 1.2: OpenSSL's name, the IANA name, the suite.
const TLS12: &[(&str, &str, SupportedCipherSuite)] = &[
    (
        "ECDHE-ECDSA-AES128-GCM-SHA256",
        "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
        suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
    ),
    (
        "ECDHE-ECDSA-CHACHA20-POLY1305",
        "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
        suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
    ),
    (
        "ECDHE-RSA-AES128-GCM-SHA256",
        "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
        suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
    ),
    (
        "ECDHE-RSA-CHACHA20-POLY1305",
        "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
        suite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
    ),
    (
        "ECDHE-ECDSA-AES256-GCM-SHA384",
        "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
        suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
    ),
    (
        "ECDHE-RSA-AES256-GCM-SHA384",
        "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
        suite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
    ),
];

/// Suites that Envoy knows and this proxy does not: CBC modes, and key exchange by RSA alone.
const TLS12_UNKNOWN_HERE: &[&str] = &[
    "AES128-GCM-SHA256",
    "AES128-SHA",
    "AES128-SHA256",
    "AES256-GCM-SHA384",
    "AES256-SHA",
    "DES-CBC3-SHA",
    "ECDHE-ECDSA-AES128-SHA",
    "ECDHE-ECDSA-AES256-SHA",
    "ECDHE-PSK-AES128-CBC-SHA",
    "ECDHE-PSK-AES256-CBC-SHA",
    "ECDHE-PSK-CHACHA20-POLY1305",
    "ECDHE-RSA-AES128-SHA",
    "ECDHE-RSA-AES128-SHA256",
    "ECDHE-RSA-AES256-SHA",
    "PSK-AES128-CBC-SHA",
    "PSK-AES256-CBC-SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA",
    "TLS_RSA_WITH_3DES_EDE_CBC_SHA",
    "TLS_RSA_WITH_AES_128_CBC_SHA",
    "TLS_RSA_WITH_AES_128_GCM_SHA256",
    "TLS_RSA_WITH_AES_256_CBC_SHA",
    "TLS_RSA_WITH_AES_256_GCM_SHA384",
];

/// The suites of TLS 1.3, which no list names (RFC 8446 appendix B.4).
pub const TLS13: [SupportedCipherSuite; 3] = [
    // The cheapest first: where a client offers both lengths of key, either is as good.
    suite::TLS13_AES_128_GCM_SHA256,
    suite::TLS13_AES_256_GCM_SHA384,
    suite::TLS13_CHACHA20_POLY1305_SHA256,
];

/// What a name in a cipher list stands for.
#[derive(Debug, Clone, Copy)]
pub enum Named {
    /// A suite.
    Suite(SupportedCipherSuite),
    /// A suite that Envoy has and this proxy has not.
    NotHere,
}

/// Looks a suite of TLS 1.2 up.
pub fn tls12_suite(name: &str) -> Option<Named> {
    let found = TLS12.iter().find(|(openssl, iana, _)| *openssl == name || *iana == name);
    match found {
        Some((_, _, suite)) => Some(Named::Suite(*suite)),
        None => TLS12_UNKNOWN_HERE.contains(&name).then_some(Named::NotHere),
    }
}

/// Every suite name of TLS 1.2, in Envoy's default order.
pub fn tls12_names() -> impl Iterator<Item = &'static str> {
    TLS12.iter().map(|(openssl, _, _)| *openssl)
}

/// Suites of TLS 1.2 in Envoy's default order.
pub fn tls12_default() -> Vec<SupportedCipherSuite> {
    TLS12.iter().map(|(_, _, suite)| *suite).collect()
}

/// The suite's name in logs and statistics.
pub fn suite_name(suite: CipherSuite) -> &'static str {
    match suite {
        CipherSuite::TLS13_AES_128_GCM_SHA256 => "TLS_AES_128_GCM_SHA256",
        CipherSuite::TLS13_AES_256_GCM_SHA384 => "TLS_AES_256_GCM_SHA384",
        CipherSuite::TLS13_CHACHA20_POLY1305_SHA256 => "TLS_CHACHA20_POLY1305_SHA256",
        _ => TLS12
            .iter()
            .find(|(_, _, known)| known.suite() == suite)
            .map_or("", |(openssl, _, _)| openssl),
    }
}

/// Number of a suite by that name (IANA "TLS Cipher Suites").
pub fn suite_number(name: &str) -> Option<u16> {
    let tls12 = TLS12.iter().map(|(_, _, suite)| suite);
    let mut all = TLS13.iter().chain(tls12).map(SupportedCipherSuite::suite);
    all.find(|suite| suite_name(*suite) == name).map(u16::from)
}

/// The version's name in logs and statistics.
pub fn version_name(version: ProtocolVersion) -> &'static str {
    match version {
        ProtocolVersion::TLSv1_2 => "TLSv1.2",
        ProtocolVersion::TLSv1_3 => "TLSv1.3",
        _ => "",
    }
}

/// Names of the key exchange groups that can be configured.
pub const GROUPS: [&str; 4] = ["X25519MLKEM768", "X25519", "P-256", "P-384"];

/// Looks a key exchange group up.
pub fn group(name: &str) -> Option<&'static dyn SupportedKxGroup> {
    Some(match name {
        "X25519" => kx_group::X25519,
        "P-256" | "secp256r1" | "prime256v1" => kx_group::SECP256R1,
        "P-384" | "secp384r1" => kx_group::SECP384R1,
        "X25519MLKEM768" => kx_group::X25519MLKEM768,
        "MLKEM1024" => kx_group::MLKEM1024,
        _ => return None,
    })
}

/// The group's name in logs and statistics.
pub fn group_name(group: NamedGroup) -> &'static str {
    match group {
        NamedGroup::X25519 => "X25519",
        NamedGroup::secp256r1 => "P-256",
        NamedGroup::secp384r1 => "P-384",
        NamedGroup::X25519MLKEM768 => "X25519MLKEM768",
        NamedGroup::MLKEM1024 => "MLKEM1024",
        _ => "",
    }
}

/// Signature schemes, in BoringSSL's default order of preference.
const SCHEMES: &[(&str, SignatureScheme)] = &[
    ("ecdsa_secp256r1_sha256", SignatureScheme::ECDSA_NISTP256_SHA256),
    ("rsa_pss_rsae_sha256", SignatureScheme::RSA_PSS_SHA256),
    ("rsa_pkcs1_sha256", SignatureScheme::RSA_PKCS1_SHA256),
    ("ecdsa_secp384r1_sha384", SignatureScheme::ECDSA_NISTP384_SHA384),
    ("rsa_pss_rsae_sha384", SignatureScheme::RSA_PSS_SHA384),
    ("rsa_pkcs1_sha384", SignatureScheme::RSA_PKCS1_SHA384),
    ("rsa_pss_rsae_sha512", SignatureScheme::RSA_PSS_SHA512),
    ("rsa_pkcs1_sha512", SignatureScheme::RSA_PKCS1_SHA512),
    ("ecdsa_secp521r1_sha512", SignatureScheme::ECDSA_NISTP521_SHA512),
    ("ed25519", SignatureScheme::ED25519),
];

/// What a name in `signature_algorithms` stands for; `None` inside for one that only Envoy has.
pub fn scheme(name: &str) -> Option<Option<SignatureScheme>> {
    match name {
        "rsa_pkcs1_sha1" | "ecdsa_sha1" | "rsa_pkcs1_md5_sha1" => Some(None),
        _ => SCHEMES.iter().find(|(known, _)| *known == name).map(|(_, scheme)| Some(*scheme)),
    }
}

/// The schemes that are accepted where nothing is said.
pub fn default_schemes() -> Vec<SignatureScheme> {
    // BoringSSL accepts neither of the last two unless asked to.
    SCHEMES.iter().take(8).map(|(_, scheme)| *scheme).collect()
}

/// Every scheme name.
pub fn scheme_names() -> impl Iterator<Item = &'static str> {
    SCHEMES.iter().map(|(name, _)| *name)
}

/// The scheme's name in statistics.
pub fn scheme_name(scheme: SignatureScheme) -> &'static str {
    SCHEMES.iter().find(|(_, known)| *known == scheme).map_or("", |(name, _)| name)
}
