//! From recipes and secrets to what rustls works by.

use std::sync::Arc;

use rustls::client::Resumption;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::pki_types::UnixTime;
use rustls::server::{NoClientAuth, ProducesTickets};
use rustls::time_provider::TimeProvider;
use rustls::{
    ClientConfig, DistinguishedName, KeyLog, NoKeyLog, ServerConfig, SupportedProtocolVersion,
};

use super::context::Found;
use super::pick::{ClientPick, Identity, ServerPick};
use super::session::{ClientSessions, NoTickets, SessionTable, Tickets};
use super::validate::Validator;
use super::verifier::{ClientVerifier, ServerVerifier, Signatures};
use super::{
    ClientMaterial, ClientRecipe, CommonRecipe, Params, Secret, ServerMaterial, ServerRecipe,
    TicketRecipe,
};
use crate::plan::certificate::sha256;

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

/// Whether a connection can come about by these parameters.
///
/// # Errors
/// Why none can.
pub(super) fn check(params: &Params) -> Result<(), String> {
    let built = ClientConfig::builder_with_details(Arc::clone(&params.provider), Arc::new(Clock))
        .with_protocol_versions(&versions(params));
    built.map(|_| ()).map_err(|error| error.to_string())
}

/// Makes a server's configuration of the secrets of its slots.
///
/// # Errors
/// What is wrong, for a person.
pub(super) fn server(recipe: &ServerRecipe, of: Found) -> Result<ServerMaterial, String> {
    let common = &recipe.common;
    let provider = &common.params.provider;
    let identities = identities(common, &of)?;
    let validator = common.validator(&of).unwrap_or_default();
    let algorithms = provider.signature_verification_algorithms;
    let context = session_context(&identities, &validator, recipe);
    let builder = ServerConfig::builder_with_details(Arc::clone(provider), Arc::new(Clock))
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
    config.alpn_protocols = common.alpn.to_vec();
    config.ignore_client_order = !recipe.prefer_client_ciphers;
    config.key_log = key_log(common);
    config.enable_secret_extraction = true;
    config.send_tls13_tickets = TICKETS;
    config.ticketer = ticketer(recipe, &of, context)?;
    let slots = if recipe.stateful { SESSION_SLOTS } else { 0 };
    config.session_storage =
        Arc::new(SessionTable::new(slots, u64::from(recipe.session_timeout_s)));
    if recipe.tickets.is_none() && !recipe.stateful {
        config.send_tls13_tickets = 0;
    }
    let mut without_alpn = config.clone();
    without_alpn.alpn_protocols.clear();
    Ok(ServerMaterial { config: Arc::new(config), without_alpn: Arc::new(without_alpn), of })
}

/// Makes a client's configuration of the secrets of its slots.
///
/// # Errors
/// What is wrong, for a person.
pub(super) fn client(recipe: &ClientRecipe, of: Found) -> Result<ClientMaterial, String> {
    let common = &recipe.common;
    let provider = &common.params.provider;
    let identities = identities(common, &of)?;
    let own = identities.first().map(|identity| Arc::clone(&identity.facts));
    let verifier: Arc<dyn ServerCertVerifier> = Arc::new(ServerVerifier {
        validator: common.validator(&of).unwrap_or_default(),
        match_sni: recipe.match_sni,
        rsa_key_usage: recipe.rsa_key_usage,
        signatures: Signatures {
            schemes: Arc::clone(&common.params.schemes),
            algorithms: provider.signature_verification_algorithms,
        },
    });
    let mut config = ClientConfig::builder_with_details(Arc::clone(provider), Arc::new(Clock))
        .with_protocol_versions(&versions(&common.params))
        .map_err(|error| error.to_string())?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_client_cert_resolver(Arc::new(ClientPick { identities }));
    config.alpn_protocols = common.alpn.to_vec();
    config.key_log = key_log(common);
    config.enable_secret_extraction = true;
    config.resumption = match recipe.session_keys {
        0 => Resumption::disabled(),
        keys => Resumption::store(Arc::new(ClientSessions::new(keys))),
    };
    // A server that answers with a protocol nobody asked for is the codec's affair, as in Envoy.
    config.check_selected_alpn = false;
    Ok(ClientMaterial { config: Arc::new(config), own, of })
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

fn identities(common: &CommonRecipe, of: &Found) -> Result<Vec<Arc<Identity>>, String> {
    let each = of.iter().take(common.certificates.len());
    let each = each.map(|secret| match secret.certificate() {
        Some(own) => Ok(own.identity(&common.params.schemes)),
        None => Err(format!("secret '{}' is no tls_certificate", secret.name)),
    });
    each.collect()
}

fn client_verifier(
    recipe: &ServerRecipe,
    validator: Arc<Validator>,
    algorithms: WebPkiSupportedAlgorithms,
) -> Arc<ClientVerifier> {
    let hints = match validator.suppress_ca_list {
        true => Vec::new(),
        false => {
            let subjects = validator.anchors().map(|anchor| &anchor.subject);
            subjects.map(|subject| DistinguishedName::in_sequence(subject)).collect()
        }
    };
    Arc::new(ClientVerifier {
        validator,
        required: recipe.require_client_certificate,
        hints,
        signatures: Signatures { schemes: Arc::clone(&recipe.common.params.schemes), algorithms },
    })
}

/// What sessions are bound to: who we are, and what clients have to show. A session that was made
/// under other rules is not resumed.
fn session_context(
    identities: &[Arc<Identity>],
    validator: &Validator,
    recipe: &ServerRecipe,
) -> [u8; 32] {
    let mut bytes = validator.fingerprint();
    bytes.push(u8::from(recipe.common.validation.is_some()));
    bytes.push(u8::from(recipe.require_client_certificate));
    identities.iter().for_each(|identity| bytes.extend_from_slice(&identity.facts.sha256));
    sha256(&bytes)
}

fn ticketer(
    recipe: &ServerRecipe,
    of: &Found,
    context: [u8; 32],
) -> Result<Arc<dyn ProducesTickets>, String> {
    let keys = match &recipe.tickets {
        None => return Ok(Arc::new(NoTickets)),
        Some(TicketRecipe::Generated) => &[],
        Some(TicketRecipe::Keys(_)) => {
            let keys = of.last().and_then(|secret: &Arc<Secret>| secret.ticket_keys());
            keys.filter(|keys| !keys.is_empty()).ok_or("no session ticket key")?
        }
    };
    let tickets = Tickets::new(keys, recipe.session_timeout_s, context);
    Ok(Arc::new(tickets.ok_or("the system gives no random bytes")?))
}
