//! From recipes to what rustls works by.

use std::sync::Arc;

use rustls::client::Resumption;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{
    CertificateDer, CertificateRevocationListDer, PrivateKeyDer, TrustAnchor, UnixTime,
};
use rustls::server::{NoClientAuth, ProducesTickets};
use rustls::sign::CertifiedKey;
use rustls::time_provider::TimeProvider;
use rustls::{
    ClientConfig, DistinguishedName, InconsistentKeys, KeyLog, NoKeyLog, ServerConfig,
    SupportedProtocolVersion,
};

use super::ocsp;
use super::pick::{ClientPick, Identity, OcspPolicy, ServerPick};
use super::session::{ClientSessions, NoTickets, SessionTable, TICKET_KEY, Tickets};
use super::validate::{ClientVerifier, ServerVerifier};
use super::{
    CertificateRecipe, ClientMaterial, ClientRecipe, CommonRecipe, Params, ServerMaterial,
    ServerRecipe, Shown, ShownCertificate, Source, TicketRecipe, ValidationRecipe, Validator,
};
use crate::config::files::read_file;
use crate::config::sds::part_of_file;
use crate::plan::certificate::{Certificate, sha256};

/// Sessions of clients without tickets that a listener keeps.
const SESSION_SLOTS: usize = 4096;
/// Tickets that a client gets after a full handshake.
const TICKETS: usize = 2;

/// The clock of the runtime.
#[derive(Debug)]
struct Clock;

impl TimeProvider for Clock {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(ringway_runtime::unix_now()))
    }
}

/// Makes a server's configuration.
///
/// # Errors
/// What is wrong, for a person.
pub(super) fn server(recipe: &ServerRecipe) -> Result<ServerMaterial, String> {
    let common = &recipe.common;
    let provider = Arc::new(provider(&common.params));
    let mut shown = Shown::default();
    let identities = identities(common, &provider, &mut shown, recipe.ocsp_policy)?;
    let validator = validator(common.validation.as_ref(), &mut shown)?;
    let algorithms = provider.signature_verification_algorithms;
    let context = session_context(&shown, recipe);
    let builder = ServerConfig::builder_with_details(Arc::clone(&provider), Arc::new(Clock))
        .with_protocol_versions(&versions(&common.params))
        .map_err(|error| error.to_string())?;
    let asked = recipe.require_client_certificate || common.validation.is_some();
    let builder = if asked {
        builder.with_client_cert_verifier(client_verifier(recipe, validator, algorithms))
    } else {
        builder.with_client_cert_verifier(Arc::new(NoClientAuth))
    };
    let resolver = ServerPick::new(identities, recipe.ocsp_policy, recipe.full_scan);
    let mut config = builder.with_cert_resolver(Arc::new(resolver));
    config.alpn_protocols.clone_from(&common.alpn);
    config.ignore_client_order = !recipe.prefer_client_ciphers;
    config.key_log = key_log(common);
    config.enable_secret_extraction = true;
    config.send_tls13_tickets = TICKETS;
    config.ticketer = ticketer(recipe, context)?;
    let slots = if recipe.stateful { SESSION_SLOTS } else { 0 };
    config.session_storage =
        Arc::new(SessionTable::new(slots, u64::from(recipe.session_timeout_s)));
    if recipe.tickets.is_none() && !recipe.stateful {
        config.send_tls13_tickets = 0;
    }
    let mut without_alpn = config.clone();
    without_alpn.alpn_protocols.clear();
    Ok(ServerMaterial { config: Arc::new(config), without_alpn: Arc::new(without_alpn), shown })
}

/// Makes a client's configuration.
///
/// # Errors
/// What is wrong, for a person.
pub(super) fn client(recipe: &ClientRecipe) -> Result<ClientMaterial, String> {
    let common = &recipe.common;
    let provider = Arc::new(provider(&common.params));
    let mut shown = Shown::default();
    let identities = identities(common, &provider, &mut shown, OcspPolicy::Lenient)?;
    let validator = validator(common.validation.as_ref(), &mut shown)?;
    let verifier: Arc<dyn ServerCertVerifier> = Arc::new(ServerVerifier {
        validator,
        match_sni: recipe.match_sni,
        rsa_key_usage: recipe.rsa_key_usage,
        schemes: common.params.schemes.to_vec(),
        algorithms: provider.signature_verification_algorithms,
    });
    let mut config = ClientConfig::builder_with_details(Arc::clone(&provider), Arc::new(Clock))
        .with_protocol_versions(&versions(&common.params))
        .map_err(|error| error.to_string())?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_client_cert_resolver(Arc::new(ClientPick { identities }));
    config.alpn_protocols.clone_from(&common.alpn);
    config.key_log = key_log(common);
    config.enable_secret_extraction = true;
    config.resumption = match recipe.session_keys {
        0 => Resumption::disabled(),
        keys => Resumption::store(Arc::new(ClientSessions::new(keys))),
    };
    // A server that answers with a protocol nobody asked for is the codec's affair, as in Envoy.
    config.check_selected_alpn = false;
    Ok(ClientMaterial { config: Arc::new(config), shown })
}

fn provider(params: &Params) -> CryptoProvider {
    CryptoProvider {
        cipher_suites: params.suites.clone(),
        kx_groups: params.groups.clone(),
        ..aws_lc_rs::default_provider()
    }
}

fn versions(params: &Params) -> Vec<&'static SupportedProtocolVersion> {
    let tls13 = params.tls13.then_some(&rustls::version::TLS13);
    let tls12 = params.tls12.then_some(&rustls::version::TLS12);
    tls13.into_iter().chain(tls12).collect()
}

fn key_log(common: &CommonRecipe) -> Arc<dyn KeyLog> {
    match &common.key_log {
        Some(file) => Arc::clone(file) as Arc<dyn KeyLog>,
        None => Arc::new(NoKeyLog),
    }
}

/// Bytes of a source.
fn read(source: &Source) -> Result<Arc<[u8]>, String> {
    match source {
        Source::Inline(bytes) => Ok(Arc::clone(bytes)),
        Source::File(path) => read_file(path).map(Arc::from),
        Source::Sds { file, name, part, .. } => part_of_file(file, name, *part).map(Arc::from),
    }
}

fn identities(
    common: &CommonRecipe,
    provider: &CryptoProvider,
    shown: &mut Shown,
    policy: OcspPolicy,
) -> Result<Vec<Identity>, String> {
    let mut out = Vec::with_capacity(common.certificates.len());
    for recipe in &common.certificates {
        let chain = chain(&recipe.chain)?;
        let leaf = chain.first().ok_or("no certificate")?;
        let facts = Certificate::parse(leaf).map_err(|error| {
            format!("Failed to load certificate chain from {}: {error}", recipe.chain)
        })?;
        let facts = Arc::new(facts);
        let ocsp = staple(recipe, &facts, policy)?;
        shown.own.push(ShownCertificate {
            name: Arc::clone(&recipe.name),
            path: recipe.chain.to_string(),
            facts: Arc::clone(&facts),
            ocsp_until: ocsp.as_ref().map(|(_, until)| *until),
        });
        let key = certified(recipe, chain, provider)?;
        out.push(Identity::new(facts, key, &common.params.schemes, ocsp));
    }
    Ok(out)
}

fn chain(source: &Source) -> Result<Vec<CertificateDer<'static>>, String> {
    let failed = |error: String| format!("Failed to load certificate chain from {source}: {error}");
    let bytes = read(source).map_err(failed)?;
    let list = CertificateDer::pem_slice_iter(&bytes).collect::<Result<Vec<_>, _>>();
    let list = list.map_err(|error| failed(error.to_string()))?;
    if list.is_empty() { Err(failed("no PEM certificate in it".to_owned())) } else { Ok(list) }
}

fn certified(
    recipe: &CertificateRecipe,
    chain: Vec<CertificateDer<'static>>,
    provider: &CryptoProvider,
) -> Result<CertifiedKey, String> {
    let source = &recipe.key;
    let failed =
        |cause: String| format!("Failed to load private key from {source}, Cause: {cause}");
    let bytes = read(source).map_err(failed)?;
    let key = PrivateKeyDer::from_pem_slice(&bytes).map_err(|error| {
        failed(match bytes.windows(ENCRYPTED.len()).any(|part| part == ENCRYPTED) {
            true => "it is encrypted; decrypt it, for example by `openssl pkey`".to_owned(),
            false => error.to_string(),
        })
    })?;
    CertifiedKey::from_der(chain, key, provider).map_err(|error| match error {
        rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
            failed(format!("it does not belong to the certificate in {}", recipe.chain))
        }
        other => failed(other.to_string()),
    })
}

/// What the PEM label of an encrypted key holds.
const ENCRYPTED: &[u8] = b"ENCRYPTED";

/// The OCSP response to send along, and until when.
fn staple(
    recipe: &CertificateRecipe,
    facts: &Certificate,
    policy: OcspPolicy,
) -> Result<Option<(Vec<u8>, i64)>, String> {
    let Some(source) = &recipe.ocsp else {
        let must = facts.must_staple || policy == OcspPolicy::Must;
        return match must {
            true if facts.must_staple => {
                Err("OCSP response is required for must-staple certificate".to_owned())
            }
            true => Err("Required OCSP response is missing from TLS context".to_owned()),
            false => Ok(None),
        };
    };
    let bytes = read(source)?;
    let found = ocsp::parse(&bytes).map_err(|error| format!("ocsp_staple of {source}: {error}"))?;
    let serial: String = crate::plan::certificate::serial_text(&found.serial);
    if serial != *facts.serial {
        return Err("OCSP response does not match its TLS certificate".to_owned());
    }
    Ok(Some((bytes.to_vec(), found.until.unwrap_or(i64::MAX))))
}

fn validator(
    recipe: Option<&ValidationRecipe>,
    shown: &mut Shown,
) -> Result<Arc<Validator>, String> {
    let Some(recipe) = recipe else { return Ok(Arc::default()) };
    let mut roots = Vec::new();
    let mut anchors = Vec::new();
    if let Some(source) = &recipe.trusted_ca {
        for der in trusted(source)? {
            roots.push(Arc::new(Certificate::parse(&der)?));
            anchors.push(anchor(&der)?);
        }
        if let Some(first) = roots.first() {
            shown.roots.push(ShownCertificate {
                name: Arc::clone(&recipe.name),
                path: source.to_string(),
                facts: Arc::clone(first),
                ocsp_until: None,
            });
        }
    }
    let crls = match &recipe.crl {
        Some(source) => revocation_lists(source)?,
        None => Vec::new(),
    };
    Ok(Arc::new(Validator {
        roots,
        anchors,
        crls,
        only_leaf_crl: recipe.only_leaf_crl,
        allow_expired: recipe.allow_expired,
        accept_untrusted: recipe.accept_untrusted,
        max_depth: recipe.max_depth,
        sans: recipe.sans.clone(),
        hashes: recipe.hashes.clone(),
        spkis: recipe.spkis.clone(),
    }))
}

fn trusted(source: &Source) -> Result<Vec<CertificateDer<'static>>, String> {
    let failed =
        |error: String| format!("Failed to load trusted CA certificates from {source}: {error}");
    let bytes = read(source).map_err(failed)?;
    let list = CertificateDer::pem_slice_iter(&bytes).collect::<Result<Vec<_>, _>>();
    let list = list.map_err(|error| failed(error.to_string()))?;
    if list.is_empty() { Err(failed("no PEM certificate in it".to_owned())) } else { Ok(list) }
}

fn anchor(der: &CertificateDer<'_>) -> Result<TrustAnchor<'static>, String> {
    let anchor = webpki::anchor_from_trusted_cert(der);
    anchor.map(|anchor| anchor.to_owned()).map_err(|error| format!("trusted_ca: {error}"))
}

fn revocation_lists(source: &Source) -> Result<Vec<webpki::CertRevocationList<'static>>, String> {
    let failed = |error: String| format!("Failed to load CRL from {source}: {error}");
    let bytes = read(source).map_err(failed)?;
    let mut out = Vec::new();
    for der in CertificateRevocationListDer::pem_slice_iter(&bytes) {
        let der = der.map_err(|error| failed(error.to_string()))?;
        let list = webpki::OwnedCertRevocationList::from_der(&der);
        out.push(list.map_err(|error| failed(error.to_string()))?.into());
    }
    if out.is_empty() { Err(failed("no PEM revocation list in it".to_owned())) } else { Ok(out) }
}

fn client_verifier(
    recipe: &ServerRecipe,
    validator: Arc<Validator>,
    algorithms: WebPkiSupportedAlgorithms,
) -> Arc<ClientVerifier> {
    let silent = recipe.common.validation.as_ref().is_some_and(|v| v.suppress_ca_list);
    let names = validator.anchors.iter().map(|a| DistinguishedName::in_sequence(&a.subject));
    let hints = if silent { Vec::new() } else { names.collect() };
    Arc::new(ClientVerifier {
        validator,
        required: recipe.require_client_certificate,
        hints,
        schemes: recipe.common.params.schemes.to_vec(),
        algorithms,
    })
}

/// What sessions are bound to: who we are, and what clients have to show. A session that was made
/// under other rules is not resumed.
fn session_context(shown: &Shown, recipe: &ServerRecipe) -> [u8; 32] {
    let mut text = format!("{:?}", recipe.common.validation);
    text.push(if recipe.require_client_certificate { '1' } else { '0' });
    let mut bytes = text.into_bytes();
    for certificate in shown.own.iter().chain(&shown.roots) {
        bytes.extend_from_slice(&certificate.facts.sha256);
    }
    sha256(&bytes)
}

fn ticketer(recipe: &ServerRecipe, context: [u8; 32]) -> Result<Arc<dyn ProducesTickets>, String> {
    let keys = match &recipe.tickets {
        None => return Ok(Arc::new(NoTickets)),
        Some(TicketRecipe::Generated) => Vec::new(),
        Some(TicketRecipe::Keys(sources)) => {
            sources.iter().map(ticket_key).collect::<Result<Vec<_>, _>>()?
        }
    };
    let tickets = Tickets::new(&keys, recipe.session_timeout_s, context);
    Ok(Arc::new(tickets.ok_or("the system gives no random bytes")?))
}

fn ticket_key(source: &Source) -> Result<[u8; TICKET_KEY], String> {
    let bytes = read(source)?;
    <[u8; TICKET_KEY]>::try_from(&*bytes).map_err(|_| {
        format!(
            "Incorrect TLS session ticket key length. Length {}, expected length {TICKET_KEY}.",
            bytes.len()
        )
    })
}
