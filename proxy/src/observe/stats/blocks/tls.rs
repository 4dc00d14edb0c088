//! `listener.<address>.ssl.*`, `cluster.<name>.ssl.*`.

use super::{stat_block, suffix};
use crate::observe::stats::def::Counter;
use crate::observe::stats::{Kind, Show, Source, StatDef};

/// Names that are listed from their first use on, in the order of their cells.
const NAMED: [&str; NAMED_COUNT] = [
    "ciphers.ECDHE-ECDSA-AES128-GCM-SHA256",
    "ciphers.ECDHE-ECDSA-AES256-GCM-SHA384",
    "ciphers.ECDHE-ECDSA-CHACHA20-POLY1305",
    "ciphers.ECDHE-RSA-AES128-GCM-SHA256",
    "ciphers.ECDHE-RSA-AES256-GCM-SHA384",
    "ciphers.ECDHE-RSA-CHACHA20-POLY1305",
    "ciphers.TLS_AES_128_GCM_SHA256",
    "ciphers.TLS_AES_256_GCM_SHA384",
    "ciphers.TLS_CHACHA20_POLY1305_SHA256",
    "curves.MLKEM1024",
    "curves.P-256",
    "curves.P-384",
    "curves.X25519",
    "curves.X25519MLKEM768",
    "sigalgs.ecdsa_secp256r1_sha256",
    "sigalgs.ecdsa_secp384r1_sha384",
    "sigalgs.ecdsa_secp521r1_sha512",
    "sigalgs.ed25519",
    "sigalgs.rsa_pkcs1_sha256",
    "sigalgs.rsa_pkcs1_sha384",
    "sigalgs.rsa_pkcs1_sha512",
    "sigalgs.rsa_pss_rsae_sha256",
    "sigalgs.rsa_pss_rsae_sha384",
    "sigalgs.rsa_pss_rsae_sha512",
    "versions.TLSv1.2",
    "versions.TLSv1.3",
    "was_key_usage_invalid",
];
const NAMED_COUNT: usize = 27;

const fn named(index: usize) -> StatDef {
    let cell = ssl_block::Dense::first_named as u16 + index as u16;
    StatDef {
        suffix: NAMED[index],
        kind: Kind::Counter,
        source: Source::Dense(cell),
        show: Show::WhenSet(cell),
    }
}

stat_block! {
    /// Handshakes of a listener or a cluster; `scope` is `listener.<address>.` or
    /// `cluster.<name>.`.
    SslStats in ssl_block, prefix(scope) = "{scope}ssl.";
    counters {
        connection_error,
        fail_verify_cert_hash,
        fail_verify_error,
        fail_verify_no_cert,
        fail_verify_san,
        handshake,
        no_certificate,
        ocsp_staple_failed,
        ocsp_staple_omitted,
        ocsp_staple_requests,
        ocsp_staple_responses,
        session_reused,
    }
    gauges {}
    histograms {}
    hidden {
        first_named,
        n1, n2, n3, n4, n5, n6, n7, n8, n9, n10, n11, n12, n13, n14, n15, n16, n17, n18, n19, n20,
        n21, n22, n23, n24, n25, n26,
    }
    extra {
        named(0), named(1), named(2), named(3), named(4), named(5), named(6), named(7), named(8),
        named(9), named(10), named(11), named(12), named(13), named(14), named(15), named(16),
        named(17), named(18), named(19), named(20), named(21), named(22), named(23), named(24),
        named(25), named(26),
    }
}

impl SslStats {
    /// A counter that is listed from its first use on: `kind` is `ciphers`, `curves`, `sigalgs`
    /// or `versions`. `None` for a name that nothing here negotiates.
    pub fn named(&self, kind: &str, name: &str) -> Option<Counter> {
        let index = NAMED.iter().position(|known| {
            known.strip_prefix(kind).and_then(|rest| rest.strip_prefix('.')) == Some(name)
        })?;
        Some(self.cell(index))
    }

    /// Certificates of servers whose key was not for what it was used for.
    pub fn was_key_usage_invalid(&self) -> Counter {
        self.cell(NAMED_COUNT - 1)
    }

    fn cell(&self, index: usize) -> Counter {
        self.0.counter(ssl_block::Dense::first_named as u16 + index as u16)
    }
}

stat_block! {
    /// Contexts of a listener (`server`) or a cluster (`client`) and the secrets they wait for.
    SslFactoryStats in ssl_factory_block, prefix(scope, role)
        = "{scope}{role}_ssl_socket_factory.";
    counters {
        downstream_context_secrets_not_ready,
        ssl_context_update_by_sds,
        upstream_context_secrets_not_ready,
    }
    gauges {}
    histograms {}
}
