//! Statistics of handshakes, as Envoy counts them.

use super::handshake::Failed;
use super::info::TlsInfo;
use crate::observe::stats::{ShardStats, SslStats};
use crate::plan::tls::names::scheme_name;
use crate::plan::tls::notes::{Notes, Ocsp, Refusal};
use crate::transport::HandshakeError;

/// Counts a handshake that is done.
pub(super) fn done(stats: &ShardStats, names: &SslStats, info: &TlsInfo, notes: &Notes) {
    stats.inc(names.handshake());
    if info.resumed {
        stats.inc(names.session_reused());
    }
    let scheme = notes.peer_scheme.map_or("", scheme_name);
    let used = [
        ("ciphers", info.cipher),
        ("versions", info.version),
        ("curves", info.group.unwrap_or_default()),
        ("sigalgs", scheme),
    ];
    for (kind, name) in used {
        if let Some(counter) = names.named(kind, name) {
            stats.inc(counter);
        }
    }
    if !info.peer_presented() {
        stats.inc(names.no_certificate());
    }
    count_ocsp(stats, names, notes);
}

fn count_ocsp(stats: &ShardStats, names: &SslStats, notes: &Notes) {
    let Some(ocsp) = notes.ocsp else { return };
    stats.inc(names.ocsp_staple_requests());
    stats.inc(match ocsp {
        Ocsp::Stapled => names.ocsp_staple_responses(),
        Ocsp::Omitted => names.ocsp_staple_omitted(),
        Ocsp::Failed => names.ocsp_staple_failed(),
    });
}

/// Counts a handshake that failed, and puts its reason into Envoy's form.
pub(super) fn failed(stats: &ShardStats, names: &SslStats, failed: Failed) -> HandshakeError {
    let Failed { reason, notes, error } = failed;
    count_ocsp(stats, names, &notes);
    let reason = match &notes.refusal {
        None if reason == rustls::Error::NoCertificatesPresented.to_string() => {
            stats.inc(names.fail_verify_no_cert());
            "TLS_error:|peer did not return a certificate:TLS_error_end".to_owned()
        }
        None => {
            if error {
                stats.inc(names.connection_error());
            }
            format!("TLS_error:|{reason}:TLS_error_end")
        }
        Some(refusal) => refused(stats, names, refusal),
    };
    HandshakeError::Failed(reason)
}

/// The code that BoringSSL gives a certificate it does not take.
const VERIFY_FAILED: &str = "268435581:SSL routines:OPENSSL_internal:CERTIFICATE_VERIFY_FAILED";

fn refused(stats: &ShardStats, names: &SslStats, refusal: &Refusal) -> String {
    let (counter, what) = match refusal {
        Refusal::NoCertificate => (names.fail_verify_no_cert(), "no certificate".to_owned()),
        Refusal::Chain(why) => (
            names.fail_verify_error(),
            format!("X509_verify_cert: certificate verification error at depth 0: {why}"),
        ),
        Refusal::San(why) => (names.fail_verify_san(), why.clone()),
        Refusal::Hash => (names.fail_verify_cert_hash(), "cert hash and spki".to_owned()),
        Refusal::KeyUsage => {
            stats.inc(names.was_key_usage_invalid());
            (names.connection_error(), "KEY_USAGE_BIT_INCORRECT".to_owned())
        }
    };
    stats.inc(counter);
    format!("TLS_error:|{VERIFY_FAILED}:verify cert failed: {what}:TLS_error_end")
}
