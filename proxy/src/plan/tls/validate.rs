//! Checks of a peer's certificate (`CertificateValidationContext`), in Envoy's order: the chain,
//! then names, then pins.

use std::fmt;
use std::sync::Arc;

use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, TrustAnchor, UnixTime};
use webpki::{
    CertRevocationList, EndEntityCert, ExpirationPolicy, KeyUsage, RevocationCheckDepth,
    RevocationOptionsBuilder, UnknownStatusPolicy, VerifiedPath,
};

use super::notes::{self, Refusal};
use super::own::certificates;
use super::san::SanMatch;
use super::secret::SharedTrust;
use super::{Source, ValidationRecipe};
use crate::plan::certificate::{Certificate, San};

/// How often an expired chain is looked at again, at a time when less of it was expired.
const EXPIRED_TRIES: usize = 8;

/// What is trusted.
#[derive(Default)]
pub struct Trust {
    /// Trusted certificates, as configured.
    pub roots: Vec<Arc<Certificate>>,
    /// The same, prepared.
    pub anchors: Vec<TrustAnchor<'static>>,
}

/// Revocation lists.
pub(super) type Revocations = Vec<CertRevocationList<'static>>;

/// What a peer's certificate has to stand.
#[derive(Clone, Default)]
pub struct Validator {
    /// `trusted_ca`.
    pub trust: Option<Arc<Trust>>,
    /// Where that came from, as Envoy names it.
    pub path: Arc<str>,
    /// `crl`.
    pub crls: Option<Arc<Revocations>>,
    /// `only_verify_leaf_cert_crl`.
    pub only_leaf_crl: bool,
    /// `allow_expired_certificate`.
    pub allow_expired: bool,
    /// `trust_chain_verification: ACCEPT_UNTRUSTED`.
    pub accept_untrusted: bool,
    /// `max_verify_depth`: most certificates between the peer's and the root.
    pub max_depth: Option<usize>,
    /// `match_typed_subject_alt_names`: one of them must match.
    pub sans: Vec<SanMatch>,
    /// `verify_certificate_hash`.
    pub hashes: Vec<[u8; 32]>,
    /// `verify_certificate_spki`.
    pub spkis: Vec<[u8; 32]>,
    /// `suppress_client_ca_list`.
    pub suppress_ca_list: bool,
    /// What is trusted, by trust domain (SPIFFE). Where there is one, no other trust counts, and no
    /// pin.
    pub domains: Vec<(Box<str>, Arc<Trust>)>,
}

/// Whose certificate is checked.
pub struct Role<'a> {
    pub(super) usage: KeyUsage,
    pub(super) algorithms: &'a WebPkiSupportedAlgorithms,
}

impl fmt::Debug for Validator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Validator").field("roots", &self.roots().count()).finish_non_exhaustive()
    }
}

impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trust").field("roots", &self.roots.len()).finish_non_exhaustive()
    }
}

impl Validator {
    /// Reads what a recipe names.
    ///
    /// # Errors
    /// What is wrong with it, for a person.
    pub(super) fn load(
        recipe: &ValidationRecipe,
        shared: &mut dyn SharedTrust,
    ) -> Result<Self, String> {
        let mut out = Self {
            only_leaf_crl: recipe.only_leaf_crl,
            allow_expired: recipe.allow_expired,
            accept_untrusted: recipe.accept_untrusted,
            max_depth: recipe.max_depth,
            sans: recipe.sans.clone(),
            hashes: recipe.hashes.clone(),
            spkis: recipe.spkis.clone(),
            suppress_ca_list: recipe.suppress_ca_list,
            ..Self::default()
        };
        if let Some(source) = &recipe.trusted_ca {
            let pem = source.read_for("trusted CA certificates")?;
            out.trust = Some(shared.trust(&pem, &mut |pem| Trust::parse(source, pem))?);
            out.path = Arc::from(source.to_string());
        }
        if let Some(source) = &recipe.crl {
            out.crls = Some(Arc::new(revocation_lists(source)?));
        }
        for (domain, source) in &recipe.domains {
            let pem = source.read_for("trusted CA certificates")?;
            let trust = shared.trust(&pem, &mut |pem| Trust::parse(source, pem))?;
            out.path = Arc::from(source.to_string());
            out.domains.push((domain.clone(), trust));
        }
        Ok(out)
    }

    /// This one with another laid over it, as protobuf merges messages: what the other sets wins,
    /// lists grow.
    pub(super) fn merged(&self, over: &Self) -> Self {
        let (trusted, path) = match &over.trust {
            Some(trust) => (Some(Arc::clone(trust)), Arc::clone(&over.path)),
            None => (self.trust.clone(), Arc::clone(&self.path)),
        };
        // A wrapper of zero adds nothing to one that holds something.
        let depth = over.max_depth.filter(|depth| *depth > 0).or(self.max_depth);
        Self {
            trust: trusted,
            path,
            crls: over.crls.clone().or_else(|| self.crls.clone()),
            only_leaf_crl: self.only_leaf_crl || over.only_leaf_crl,
            allow_expired: self.allow_expired || over.allow_expired,
            accept_untrusted: self.accept_untrusted || over.accept_untrusted,
            max_depth: depth.or(over.max_depth),
            sans: [&*self.sans, &*over.sans].concat(),
            hashes: [&*self.hashes, &*over.hashes].concat(),
            spkis: [&*self.spkis, &*over.spkis].concat(),
            suppress_ca_list: self.suppress_ca_list || over.suppress_ca_list,
            // An extension is replaced as a whole.
            domains: if over.domains.is_empty() { &self.domains } else { &over.domains }.clone(),
        }
    }

    /// Whether somebody is trusted at all.
    pub(super) fn has_trust(&self) -> bool {
        self.trust.is_some() || !self.domains.is_empty()
    }

    /// What makes no sense without trusted roots.
    ///
    /// # Errors
    /// Envoy's words for it.
    pub(crate) fn check(&self) -> Result<(), String> {
        if self.has_trust() {
            return Ok(());
        }
        if !self.sans.is_empty() {
            return Err("SAN-based verification of peer certificates without trusted CA is \
                        insecure and not allowed"
                .to_owned());
        }
        if self.allow_expired {
            return Err("Certificate validity period is always ignored without trusted CA".into());
        }
        Ok(())
    }

    fn trusts(&self) -> impl Iterator<Item = &Arc<Trust>> {
        let usual = self.trust.iter().filter(|_| self.domains.is_empty());
        usual.chain(self.domains.iter().map(|(_, trust)| trust))
    }

    /// Trusted certificates.
    pub fn roots(&self) -> impl Iterator<Item = &Arc<Certificate>> {
        self.trusts().flat_map(|trust| &trust.roots)
    }

    pub(super) fn anchors(&self) -> impl Iterator<Item = &TrustAnchor<'static>> {
        self.trusts().flat_map(|trust| &trust.anchors)
    }

    /// All it goes by, in bytes: sessions are bound to that.
    pub(super) fn fingerprint(&self) -> Vec<u8> {
        let Self {
            trust: _,
            path: _,
            crls,
            only_leaf_crl,
            allow_expired,
            accept_untrusted,
            max_depth,
            sans,
            hashes,
            spkis,
            suppress_ca_list: _,
            domains,
        } = self;
        let flags = (only_leaf_crl, allow_expired, accept_untrusted, max_depth, crls.is_some());
        let mut out = format!("{flags:?}{sans:?}{hashes:?}{spkis:?}").into_bytes();
        domains.iter().for_each(|(domain, _)| out.extend_from_slice(domain.as_bytes()));
        self.roots().for_each(|root| out.extend_from_slice(&root.sha256));
        out
    }

    /// Whether a certificate is looked at, at all.
    pub fn verifies(&self) -> bool {
        self.has_trust() || !self.hashes.is_empty() || !self.spkis.is_empty()
    }

    /// Checks a chain. `expected_san` is one more name it must have.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn check_peer(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
        role: &Role<'_>,
        expected_san: Option<&str>,
    ) -> Result<(), Refusal> {
        if !self.domains.is_empty() {
            let trust = self.trust_of(leaf).map_err(Refusal::Chain)?;
            let chain = self.check_chain(trust, leaf, intermediates, now, role);
            chain.map_err(Refusal::Chain)?;
        } else if let Some(trust) = &self.trust {
            let chain = self.check_chain(trust, leaf, intermediates, now, role);
            if !self.accept_untrusted {
                chain.map_err(Refusal::Chain)?;
            }
        }
        let pinned = !self.hashes.is_empty() || !self.spkis.is_empty();
        let pinned = pinned && self.domains.is_empty();
        if self.sans.is_empty() && expected_san.is_none() && !pinned {
            return Ok(());
        }
        let facts = Certificate::parse(leaf).map_err(Refusal::Chain)?;
        if let Some(name) = expected_san.filter(|name| !has_name(&facts, name)) {
            let has = names_of(&facts);
            let text =
                format!("verify SAN list, expected SANs: [{name}], certificate SANs: [{has}]");
            return Err(Refusal::San(text));
        }
        if !self.sans.is_empty() && !self.sans.iter().any(|san| san.matches(&facts)) {
            let has = names_of(&facts);
            return Err(Refusal::San(format!("SAN matcher, certificate SANs are [{has}]")));
        }
        let known = self.hashes.contains(&facts.sha256) || self.spkis.contains(&facts.spki_sha256);
        if pinned && !known { Err(Refusal::Hash) } else { Ok(()) }
    }

    /// What is trusted of a peer by the trust domain of its identity (SPIFFE ID section 2.1; X.509
    /// SVID section 4.3 wants a leaf that signs no certificates).
    fn trust_of(&self, leaf: &CertificateDer<'_>) -> Result<&Arc<Trust>, String> {
        let facts = Certificate::parse(leaf)?;
        if facts.key_usage.is_some_and(|usage| usage.signs_certificates) {
            return Err("a certificate that may sign others is no identity".to_owned());
        }
        let domain = facts.sans.iter().find_map(|san| match san {
            San::Uri(uri) => Some(uri.strip_prefix("spiffe://")?.split_once('/')?.0),
            _ => None,
        });
        let domain = domain.ok_or("no SPIFFE identity")?;
        let found = self.domains.iter().find(|(known, _)| **known == *domain);
        let unknown = || format!("no trust bundle for the trust domain '{domain}'");
        found.map(|(_, trust)| trust).ok_or_else(unknown)
    }

    fn check_chain(
        &self,
        trust: &Trust,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
        role: &Role<'_>,
    ) -> Result<(), String> {
        // A certificate that is trusted itself needs no issuer.
        if let Some(own) = trust.roots.iter().find(|root| *root.der == **leaf) {
            let seconds = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
            let valid = (own.not_before..=own.not_after).contains(&seconds);
            return if valid || self.allow_expired {
                Ok(())
            } else {
                Err("certificate has expired".to_owned())
            };
        }
        let cert = EndEntityCert::try_from(leaf).map_err(|error| error.to_string())?;
        let mut at = now;
        for _ in 0..EXPIRED_TRIES {
            match self.check_at(trust, &cert, intermediates, at, role) {
                Err(webpki::Error::CertExpired { not_after, .. }) if self.allow_expired => {
                    at = not_after;
                }
                Err(webpki::Error::CertNotValidYet { not_before, .. }) if self.allow_expired => {
                    at = not_before;
                }
                Err(error) => return Err(reason(&error)),
                Ok(()) => return Ok(()),
            }
        }
        Err("certificate has expired".to_owned())
    }

    fn check_at(
        &self,
        trust: &Trust,
        cert: &EndEntityCert<'_>,
        intermediates: &[CertificateDer<'_>],
        at: UnixTime,
        role: &Role<'_>,
    ) -> Result<(), webpki::Error> {
        let crls = self.crls.iter().flat_map(|crls| crls.iter());
        let crls: Vec<&CertRevocationList<'_>> = crls.collect();
        let depth = if self.only_leaf_crl {
            RevocationCheckDepth::EndEntity
        } else {
            RevocationCheckDepth::Chain
        };
        // A certificate whose issuer has no list counts as one whose list is missing.
        let revocation = RevocationOptionsBuilder::new(&crls).ok().map(|builder| {
            builder
                .with_depth(depth)
                .with_status_policy(UnknownStatusPolicy::Deny)
                .with_expiration_policy(ExpirationPolicy::Enforce)
                .build()
        });
        let within_depth = |path: &VerifiedPath<'_>| {
            let between = path.intermediate_certificates().count();
            match self.max_depth {
                Some(most) if between > most => Err(webpki::Error::MaximumPathDepthExceeded),
                _ => Ok(()),
            }
        };
        let path = cert.verify_for_usage(
            role.algorithms.all,
            &trust.anchors,
            intermediates,
            at,
            role.usage,
            revocation,
            Some(&within_depth),
        )?;
        trust.note_path(&path);
        Ok(())
    }
}

impl Trust {
    fn note_path(&self, path: &VerifiedPath<'_>) {
        let anchor = path.anchor();
        let root = self.anchors.iter().position(|known| std::ptr::eq(known, anchor));
        let root = root.and_then(|index| self.roots.get(index));
        notes::with(|notes| {
            notes.path = path.intermediate_certificates().map(|c| Arc::from(&*c.der())).collect();
            notes.path.extend(root.map(|root| Arc::from(&*root.der)));
        });
    }

    fn parse(source: &Source, pem: &[u8]) -> Result<Self, String> {
        let mut out = Self::default();
        for der in certificates(source, pem, "trusted CA certificates")? {
            out.roots.push(Arc::new(Certificate::parse(&der)?));
            let anchor = webpki::anchor_from_trusted_cert(&der);
            out.anchors.push(anchor.map_err(|error| format!("trusted_ca: {error}"))?.to_owned());
        }
        Ok(out)
    }
}

fn revocation_lists(source: &Source) -> Result<Revocations, String> {
    let failed = |error: String| format!("Failed to load CRL from {source}: {error}");
    let bytes = source.read().map_err(failed)?;
    let mut out = Vec::new();
    for der in CertificateRevocationListDer::pem_slice_iter(&bytes) {
        let der = der.map_err(|error| failed(error.to_string()))?;
        let list = webpki::OwnedCertRevocationList::from_der(&der);
        out.push(list.map_err(|error| failed(error.to_string()))?.into());
    }
    if out.is_empty() { Err(failed("no PEM revocation list in it".to_owned())) } else { Ok(out) }
}

/// Words for an error of the chain, those of OpenSSL's family where there are such.
fn reason(error: &webpki::Error) -> String {
    match error {
        webpki::Error::CertExpired { .. } => "certificate has expired".to_owned(),
        webpki::Error::CertNotValidYet { .. } => "certificate is not yet valid".to_owned(),
        webpki::Error::CertRevoked => "certificate revoked".to_owned(),
        webpki::Error::UnknownIssuer => "unable to get local issuer certificate".to_owned(),
        webpki::Error::UnknownRevocationStatus => "unable to get certificate CRL".to_owned(),
        webpki::Error::CrlExpired { .. } => "CRL has expired".to_owned(),
        webpki::Error::MaximumPathDepthExceeded => "certificate chain too long".to_owned(),
        webpki::Error::RequiredEkuNotFoundContext(_) => "unsuitable certificate purpose".to_owned(),
        other => other.to_string(),
    }
}

/// All names of a certificate, for messages.
fn names_of(facts: &Certificate) -> String {
    let texts = facts.sans.iter().map(|san| match san {
        San::Dns(text) | San::Uri(text) | San::Email(text) | San::Ip(text) => &**text,
        San::Other(_, text) => &**text,
    });
    texts.collect::<Vec<_>>().join(", ")
}

/// Whether a certificate is for this host name, or has this IP address or URI.
fn has_name(facts: &Certificate, name: &str) -> bool {
    facts.sans.iter().any(|san| match san {
        San::Dns(pattern) => super::san::dns_matches(name, pattern),
        San::Ip(text) | San::Uri(text) => **text == *name,
        San::Email(_) | San::Other(..) => false,
    })
}
