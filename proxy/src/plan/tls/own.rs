//! Our own certificates: chain, key and OCSP response, read and found to belong together.

use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{InconsistentKeys, SignatureScheme};

use super::pick::{Identity, OcspPolicy};
use super::{CertificateRecipe, Source, names, ocsp};
use crate::plan::certificate::{Certificate, serial_text};

/// A certificate of ours.
#[derive(Debug)]
pub struct OwnCertificate {
    /// What is known of it.
    pub facts: Arc<Certificate>,
    /// Where it came from, as Envoy names it.
    pub path: Box<str>,
    /// Its OCSP response is valid until then, in seconds since 1970.
    pub ocsp_until: Option<i64>,
    /// For contexts that sign with what is usual: all of them use the same.
    usual: Arc<Identity>,
    /// What the usual schemes are.
    schemes: Arc<[SignatureScheme]>,
}

impl OwnCertificate {
    pub(super) fn load(recipe: &CertificateRecipe) -> Result<Self, String> {
        let chain = chain(&recipe.chain)?;
        let leaf = chain.first().ok_or("no certificate")?;
        let facts = Certificate::parse(leaf).map_err(|error| {
            format!("Failed to load certificate chain from {}: {error}", recipe.chain)
        })?;
        let facts = Arc::new(facts);
        let ocsp = staple(recipe, &facts)?;
        let ocsp_until = ocsp.as_ref().map(|(_, until)| *until);
        let key = certified(recipe, chain)?;
        let schemes: Arc<[SignatureScheme]> = names::default_schemes().into();
        let usual = Arc::new(Identity::new(Arc::clone(&facts), &key, &schemes, ocsp));
        Ok(Self { facts, path: recipe.chain.to_string().into(), ocsp_until, usual, schemes })
    }

    /// The certificate for a context that signs with these schemes.
    pub(super) fn identity(&self, schemes: &Arc<[SignatureScheme]>) -> Arc<Identity> {
        if **schemes == *self.schemes {
            return Arc::clone(&self.usual);
        }
        Arc::new(self.usual.limited_to(schemes))
    }

    /// Whether it has the OCSP response that it, or a server's policy, asks for.
    pub(super) fn check_staple(&self, policy: OcspPolicy) -> Result<(), String> {
        match (self.ocsp_until, self.facts.must_staple, policy) {
            (Some(_), _, _) => Ok(()),
            (None, true, _) => {
                Err("OCSP response is required for must-staple certificate".to_owned())
            }
            (None, false, OcspPolicy::Must) => {
                Err("Required OCSP response is missing from TLS context".to_owned())
            }
            (None, false, OcspPolicy::Lenient | OcspPolicy::Strict) => Ok(()),
        }
    }
}

fn chain(source: &Source) -> Result<Vec<CertificateDer<'static>>, String> {
    certificates(source, &source.read_for("certificate chain")?, "certificate chain")
}

/// The certificates in a PEM text, at least one. `what` they are is for messages.
pub(super) fn certificates(
    source: &Source,
    pem: &[u8],
    what: &str,
) -> Result<Vec<CertificateDer<'static>>, String> {
    let failed = |error: String| format!("Failed to load {what} from {source}: {error}");
    let list = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>();
    let list = list.map_err(|error| failed(error.to_string()))?;
    if list.is_empty() { Err(failed("no PEM certificate in it".to_owned())) } else { Ok(list) }
}

fn certified(
    recipe: &CertificateRecipe,
    chain: Vec<CertificateDer<'static>>,
) -> Result<CertifiedKey, String> {
    let source = &recipe.key;
    let failed =
        |cause: String| format!("Failed to load private key from {source}, Cause: {cause}");
    let bytes = source.read().map_err(failed)?;
    let key = PrivateKeyDer::from_pem_slice(&bytes).map_err(|error| {
        failed(match bytes.windows(ENCRYPTED.len()).any(|part| part == ENCRYPTED) {
            true => "it is encrypted; decrypt it, for example by `openssl pkey`".to_owned(),
            false => error.to_string(),
        })
    })?;
    let provider = aws_lc_rs::default_provider();
    CertifiedKey::from_der(chain, key, &provider).map_err(|error| match error {
        rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
            failed(format!("it does not belong to the certificate in {}", recipe.chain))
        }
        // Envoy takes certificates of X.509 version 1; the library here does not.
        other => failed(other.to_string()),
    })
}

/// What the PEM label of an encrypted key holds.
const ENCRYPTED: &[u8] = b"ENCRYPTED";

/// The OCSP response to send along, and until when.
fn staple(
    recipe: &CertificateRecipe,
    facts: &Certificate,
) -> Result<Option<(Vec<u8>, i64)>, String> {
    let Some(source) = &recipe.ocsp else { return Ok(None) };
    let bytes = source.read()?;
    let found = ocsp::parse(&bytes).map_err(|error| format!("ocsp_staple of {source}: {error}"))?;
    if serial_text(&found.serial) != *facts.serial {
        return Err("OCSP response does not match its TLS certificate".to_owned());
    }
    Ok(Some((bytes.to_vec(), found.until.unwrap_or(i64::MAX))))
}
