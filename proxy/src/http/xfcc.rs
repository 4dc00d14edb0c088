//! `x-forwarded-client-cert`: what the next hop is told of the client's certificate.
//!
//! Keys, their order and quoting are those of Envoy's documentation of the header.

use ringway_wire::{KnownName as K, RequestHead};

use crate::plan::http::{ClientCertMode, ClientCertRules};
use crate::transport::tls::TlsInfo;

/// Settles the header for a request that came over `tls`, or in plain text.
pub(crate) fn settle(head: &mut RequestHead, rules: &ClientCertRules, tls: Option<&TlsInfo>) {
    if rules.mode == ClientCertMode::AlwaysForwardOnly {
        return;
    }
    let Some(tls) = tls.filter(|tls| tls.peer_presented()) else {
        head.headers.remove(K::XForwardedClientCert);
        return;
    };
    match rules.mode {
        ClientCertMode::Sanitize => {
            head.headers.remove(K::XForwardedClientCert);
        }
        ClientCertMode::ForwardOnly | ClientCertMode::AlwaysForwardOnly => {}
        ClientCertMode::AppendForward => {
            let element = element(rules, tls);
            head.headers.append_with(K::XForwardedClientCert, b",", element.as_bytes());
        }
        ClientCertMode::SanitizeSet => {
            head.headers.set(K::XForwardedClientCert, element(rules, tls).as_bytes());
        }
    }
}

/// One element of the header: who we are, the certificate's hash, and what was asked for.
fn element(rules: &ClientCertRules, tls: &TlsInfo) -> String {
    let mut pairs = Pairs(String::with_capacity(160));
    for uri in tls.local.iter().flat_map(|local| local.uri_sans()) {
        pairs.plain("By", uri);
    }
    let Some(peer) = tls.peer() else { return pairs.0 };
    pairs.plain("Hash", &peer.fingerprint_sha256());
    if rules.cert
        && let Some(pem) = tls.peer_url_encoded_pem()
    {
        pairs.quoted("Cert", &pem);
    }
    if rules.chain
        && let Some(pem) = tls.peer_url_encoded_chain()
    {
        pairs.quoted("Chain", &pem);
    }
    // The key stays where there is no value, but for DNS names.
    if rules.subject {
        pairs.quoted("Subject", &peer.subject);
    }
    if rules.uri {
        let mut uris = peer.uri_sans().peekable();
        if uris.peek().is_none() {
            pairs.plain("URI", "");
        }
        uris.for_each(|uri| pairs.plain("URI", uri));
    }
    if rules.dns {
        peer.dns_sans().for_each(|name| pairs.plain("DNS", name));
    }
    pairs.0
}

/// `Key=value` pairs with `;` between.
struct Pairs(String);

impl Pairs {
    fn plain(&mut self, key: &str, value: &str) {
        if !self.0.is_empty() {
            self.0.push(';');
        }
        self.0.push_str(key);
        self.0.push('=');
        self.0.push_str(value);
    }

    fn quoted(&mut self, key: &str, value: &str) {
        self.plain(key, "\"");
        self.0.push_str(value);
        self.0.push('"');
    }
}
