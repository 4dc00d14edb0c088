//! Which of our certificates a peer gets.

use std::fmt;
use std::sync::Arc;

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use rustls::client::ResolvesClientCert;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::{CertifiedKey, Signer, SigningKey};
use rustls::{NamedGroup, SignatureAlgorithm, SignatureScheme};

use super::notes::{self, Ocsp};
use crate::plan::certificate::Certificate;

/// A certificate of ours, ready for use.
pub(super) struct Identity {
    /// What is known of it.
    pub(super) facts: Arc<Certificate>,
    /// Chain and key, with its OCSP response if it has one.
    stapled: Arc<CertifiedKey>,
    /// The same without.
    bare: Arc<CertifiedKey>,
    /// When the OCSP response is no longer good, in seconds since 1970.
    ocsp_until: Option<i64>,
    /// The curve of an ECDSA key.
    curve: Option<NamedGroup>,
    /// The key as it is, which signs with all it can.
    key: Arc<dyn SigningKey>,
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("subject", &self.facts.subject).finish_non_exhaustive()
    }
}

impl Identity {
    /// A certificate that signs with these schemes only. `ocsp` is a response and when it expires.
    pub(super) fn new(
        facts: Arc<Certificate>,
        certified: &CertifiedKey,
        schemes: &Arc<[SignatureScheme]>,
        ocsp: Option<(Vec<u8>, i64)>,
    ) -> Self {
        let key = Arc::clone(&certified.key);
        let curve = curve_of(&*key);
        let limited = LimitedKey { key: Arc::clone(&key), schemes: Arc::clone(schemes) };
        let bare = Arc::new(CertifiedKey::new(certified.cert.clone(), Arc::new(limited)));
        let (stapled, ocsp_until) = match ocsp {
            Some((response, until)) => {
                let mut stapled = CertifiedKey::new(bare.cert.clone(), Arc::clone(&bare.key));
                stapled.ocsp = Some(response);
                (Arc::new(stapled), Some(until))
            }
            None => (Arc::clone(&bare), None),
        };
        Self { facts, stapled, bare, ocsp_until, curve, key }
    }

    /// The same certificate, signing with other schemes.
    pub(super) fn limited_to(&self, schemes: &Arc<[SignatureScheme]>) -> Self {
        let certified = CertifiedKey::new(self.bare.cert.clone(), Arc::clone(&self.key));
        let ocsp = self.stapled.ocsp.clone().zip(self.ocsp_until);
        Self::new(Arc::clone(&self.facts), &certified, schemes, ocsp)
    }

    fn staple(&self, policy: OcspPolicy, now: i64) -> Staple {
        let policy = if self.facts.must_staple { OcspPolicy::Must } else { policy };
        let valid = self.ocsp_until.is_some_and(|until| now <= until);
        match policy {
            _ if valid => Staple::Send,
            OcspPolicy::Lenient => Staple::Omit,
            OcspPolicy::Strict if self.ocsp_until.is_none() => Staple::Omit,
            OcspPolicy::Strict | OcspPolicy::Must => Staple::Refuse,
        }
    }
}

/// `ocsp_staple_policy`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum OcspPolicy {
    /// A response is sent while it is good.
    #[default]
    Lenient,
    /// A certificate whose response has expired is not used.
    Strict,
    /// A certificate without a good response is not used.
    Must,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Staple {
    Send,
    Omit,
    Refuse,
}

/// The curve of an ECDSA key: the first scheme it signs with tells.
fn curve_of(key: &dyn SigningKey) -> Option<NamedGroup> {
    if key.algorithm() != SignatureAlgorithm::ECDSA {
        return None;
    }
    let curves = [
        (SignatureScheme::ECDSA_NISTP256_SHA256, NamedGroup::secp256r1),
        (SignatureScheme::ECDSA_NISTP384_SHA384, NamedGroup::secp384r1),
        (SignatureScheme::ECDSA_NISTP521_SHA512, NamedGroup::secp521r1),
    ];
    curves.into_iter().find(|(scheme, _)| key.choose_scheme(&[*scheme]).is_some()).map(|c| c.1)
}

/// A key that signs with the configured schemes only, preferring them in that order.
#[derive(Debug)]
struct LimitedKey {
    key: Arc<dyn SigningKey>,
    schemes: Arc<[SignatureScheme]>,
}

impl SigningKey for LimitedKey {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        let mut common = self.schemes.iter().filter(|scheme| offered.contains(scheme));
        common.find_map(|scheme| self.key.choose_scheme(&[*scheme]))
    }

    fn public_key(&self) -> Option<rustls::pki_types::SubjectPublicKeyInfoDer<'_>> {
        self.key.public_key()
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        self.key.algorithm()
    }
}

/// Certificates of a server, by the names they are for.
#[derive(Debug)]
pub(super) struct ServerPick {
    identities: Vec<Arc<Identity>>,
    /// Positions of the certificates for a name, in order.
    exact: HashMap<Box<str>, Vec<usize>, RandomState>,
    /// Those for every name one label below this one.
    wildcard: HashMap<Box<str>, Vec<usize>, RandomState>,
    policy: OcspPolicy,
    /// `full_scan_certs_on_sni_mismatch`.
    full_scan: bool,
}

impl ServerPick {
    /// Indexes certificates by their DNS names, or by their common name where they have none.
    pub(super) fn new(identities: Vec<Arc<Identity>>, policy: OcspPolicy, full_scan: bool) -> Self {
        let mut exact: HashMap<Box<str>, Vec<usize>, RandomState> = HashMap::default();
        let mut wildcard: HashMap<Box<str>, Vec<usize>, RandomState> = HashMap::default();
        for (index, identity) in identities.iter().enumerate() {
            let facts = &identity.facts;
            let sans: Vec<&str> = facts.dns_sans().collect();
            let common: Vec<&str> = facts.common_names.iter().map(|name| &**name).collect();
            for name in if sans.is_empty() { common } else { sans } {
                let name = name.to_ascii_lowercase();
                let (map, key) = match name.strip_prefix("*.") {
                    Some(parent) => (&mut wildcard, parent),
                    None => (&mut exact, name.as_str()),
                };
                map.entry(Box::from(key)).or_default().push(index);
            }
        }
        Self { identities, exact, wildcard, policy, full_scan }
    }

    fn pick(&self, hello: &ClientHello<'_>) -> Option<(&Identity, Staple)> {
        let mut scan = Scan {
            curves: ecdsa_curves(hello),
            policy: self.policy,
            now: i64::try_from(ringway_runtime::unix_now().as_secs()).unwrap_or(i64::MAX),
            candidate: None,
            refused: false,
        };
        if let Some(sni) = hello.server_name() {
            let sni = sni.to_ascii_lowercase();
            let none = Vec::new();
            let exact = self.exact.get(sni.as_str()).unwrap_or(&none);
            let parent = sni.split_once('.').map_or("", |(_, parent)| parent);
            let wild = self.wildcard.get(parent).unwrap_or(&none);
            for index in exact.iter().chain(wild) {
                let identity: &Identity = self.identities.get(*index)?;
                if let Some(staple) = scan.fits(identity) {
                    return Some((identity, staple));
                }
            }
            if let Some(found) = scan.candidate {
                return Some(found);
            }
            if !self.full_scan {
                return self.first(&scan);
            }
        }
        for identity in &self.identities {
            if let Some(staple) = scan.fits(identity) {
                return Some((identity, staple));
            }
        }
        scan.candidate.or_else(|| self.first(&scan))
    }

    /// Where nothing fits, the first certificate is what the client gets.
    fn first(&self, scan: &Scan<'_>) -> Option<(&Identity, Staple)> {
        let first = self.identities.first()?;
        match first.staple(self.policy, scan.now) {
            Staple::Refuse => None,
            staple => Some((first, staple)),
        }
    }
}

/// The search for a certificate.
struct Scan<'a> {
    /// Curves of the ECDSA certificates the client takes.
    curves: Vec<NamedGroup>,
    policy: OcspPolicy,
    now: i64,
    /// One that will do if none is better.
    candidate: Option<(&'a Identity, Staple)>,
    refused: bool,
}

impl<'a> Scan<'a> {
    /// A client that takes ECDSA gets ECDSA where there is one; others never do.
    fn fits(&mut self, identity: &'a Identity) -> Option<Staple> {
        let staple = identity.staple(self.policy, self.now);
        if staple == Staple::Refuse {
            self.refused = true;
            return None;
        }
        let takes_ecdsa = !self.curves.is_empty();
        match identity.curve {
            Some(curve) => self.curves.contains(&curve).then_some(staple),
            None if !takes_ecdsa => Some(staple),
            None => {
                self.candidate.get_or_insert((identity, staple));
                None
            }
        }
    }
}

/// Curves for which the client takes ECDSA certificates.
fn ecdsa_curves(hello: &ClientHello<'_>) -> Vec<NamedGroup> {
    let schemes = hello.signature_schemes();
    let ecdsa = |scheme: &SignatureScheme| {
        matches!(
            scheme,
            SignatureScheme::ECDSA_NISTP256_SHA256
                | SignatureScheme::ECDSA_NISTP384_SHA384
                | SignatureScheme::ECDSA_NISTP521_SHA512
        )
    };
    if !schemes.iter().any(ecdsa) {
        return Vec::new();
    }
    let curves = [NamedGroup::secp256r1, NamedGroup::secp384r1, NamedGroup::secp521r1];
    match hello.named_groups() {
        Some(groups) => curves.into_iter().filter(|curve| groups.contains(curve)).collect(),
        None => curves.to_vec(),
    }
}

impl ResolvesServerCert for ServerPick {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let picked = self.pick(&hello);
        notes::with(|notes| {
            notes.certificate = picked.map(|(identity, _)| Arc::clone(&identity.facts));
            if notes.ocsp_capable {
                notes.ocsp = Some(match picked {
                    Some((_, Staple::Send)) => Ocsp::Stapled,
                    Some(_) => Ocsp::Omitted,
                    None => Ocsp::Failed,
                });
            }
        });
        picked.map(|(identity, staple)| match staple {
            Staple::Send => Arc::clone(&identity.stapled),
            _ => Arc::clone(&identity.bare),
        })
    }
}

/// The certificate of a client; without one it answers that it has none.
#[derive(Debug)]
pub(super) struct ClientPick {
    /// The certificates, in order.
    pub(super) identities: Vec<Arc<Identity>>,
}

impl ResolvesClientCert for ClientPick {
    fn resolve(
        &self,
        _root_hint_subjects: &[&[u8]],
        schemes: &[SignatureScheme],
    ) -> Option<Arc<CertifiedKey>> {
        let found = self.identities.iter().find(|i| i.bare.key.choose_scheme(schemes).is_some())?;
        notes::with(|notes| notes.certificate = Some(Arc::clone(&found.facts)));
        Some(Arc::clone(&found.bare))
    }

    fn has_certs(&self) -> bool {
        !self.identities.is_empty()
    }
}
