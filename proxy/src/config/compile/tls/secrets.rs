//! Secrets by name: those of the bootstrap (`static_resources.secrets`), those of a file
//! (`sds_config` with a path), and those that a control plane serves. What stands in a context
//! itself is a secret without a name.

use std::sync::Arc;

use prost::Message;
use ringway_xds::api::envoy::extensions::transport_sockets::tls::v3 as api;

use super::{built, certificate, validation};
use crate::config::compile::at::At;
use crate::config::compile::cx::Cx;
use crate::config::compile::source;
use crate::config::sds::secret_of_file;
use crate::observe::stats::ShardStats;
use crate::plan::source::{ConfigSource, Origin};
use crate::plan::tls::{Secret, SecretKind, SecretRecipe, SecretSlot, SlotKey, Source, Validator};

/// The slot of a secret by name; `None` after an error.
pub(super) fn slot(
    cx: &mut Cx<'_>,
    at: &At<'_>,
    config: &api::SdsSecretConfig,
    kind: SecretKind,
) -> Option<Arc<SecretSlot>> {
    let api::SdsSecretConfig { name, sds_config } = config;
    let source = match sds_config {
        Some(_) => Some(source::compile(cx, &at.field("sds_config"), sds_config.as_ref())?),
        None => None,
    };
    let key = SlotKey { source, name: cx.text(name), kind };
    let slot = match cx.secrets.named(&key) {
        Some(slot) => slot,
        None => {
            let secret = match &key.source {
                None => Some(static_secret(cx, at, name, kind)?),
                Some(source) => early(cx, source, name, kind),
            };
            cx.secrets.add_named(key, secret)
        }
    };
    if slot.key.source.is_some() {
        cx.needs.secrets.push(Arc::clone(&slot));
    }
    Some(slot)
}

fn static_secret(
    cx: &mut Cx<'_>,
    at: &At<'_>,
    name: &str,
    kind: SecretKind,
) -> Option<Arc<Secret>> {
    let Some(secret) = cx.secrets.find_static(name).cloned() else {
        cx.invalid(&at.field("name"), format!("Unknown static secret: {name}"));
        return None;
    };
    compile(cx, at, kind, &secret, false)
}

/// A secret in a file that has it already. What is wrong with the file is found, and told, by
/// whoever looks after it: until then the secret is one that has not come yet.
fn early(
    cx: &mut Cx<'_>,
    source: &ConfigSource,
    name: &str,
    kind: SecretKind,
) -> Option<Arc<Secret>> {
    let Origin::Path { path, .. } = &source.origin else { return None };
    let secret = secret_of_file(path, name).ok()?;
    let before = cx.finding_count();
    let compiled = compile(cx, &At::root(), kind, &secret, true);
    cx.forget_findings(before);
    compiled
}

/// Compiles a secret for a slot of a kind. `watched`: the files it names are looked after.
fn compile(
    cx: &mut Cx<'_>,
    at: &At<'_>,
    kind: SecretKind,
    secret: &api::Secret,
    watched: bool,
) -> Option<Arc<Secret>> {
    use api::secret::Type;
    let api::Secret { name, r#type } = secret;
    let at = &at.field(kind.field());
    let recipe = match (kind, r#type) {
        (SecretKind::Certificate, Some(Type::TlsCertificate(certificate))) => {
            certificate::compile(cx, at, certificate).map(SecretRecipe::Certificate)
        }
        (SecretKind::Validation, Some(Type::ValidationContext(context))) => {
            validation::one(cx, at, context).map(SecretRecipe::Validation)
        }
        (SecretKind::TicketKeys, Some(Type::SessionTicketKeys(keys))) => {
            ticket_keys(cx, at, keys).map(SecretRecipe::TicketKeys)
        }
        (SecretKind::Generic, Some(Type::GenericSecret(generic))) => {
            generic_secret(cx, at, generic).map(SecretRecipe::Generic)
        }
        (wanted, _) => {
            cx.invalid(at, format!("secret '{name}' is no {}", wanted.field()));
            None
        }
    };
    let name = cx.text(name);
    let loaded = Secret::load(name, recipe?, watched, &mut *cx.secrets);
    built(cx, at, loaded).map(Arc::new)
}

/// A certificate that stands in a context.
pub(super) fn inline_certificate(
    cx: &mut Cx<'_>,
    at: &At<'_>,
    certificate: &api::TlsCertificate,
) -> Option<Arc<SecretSlot>> {
    inline(cx, at, SecretKind::Certificate, certificate, |cx| {
        certificate::compile(cx, at, certificate).map(SecretRecipe::Certificate)
    })
}

/// What peers are checked by, where that stands in a context.
pub(super) fn inline_validation(
    cx: &mut Cx<'_>,
    at: &At<'_>,
    context: &api::CertificateValidationContext,
) -> Option<Arc<SecretSlot>> {
    inline(cx, at, SecretKind::Validation, context, |cx| {
        validation::one(cx, at, context).map(SecretRecipe::Validation)
    })
}

/// `session_ticket_keys`.
pub(super) fn inline_ticket_keys(
    cx: &mut Cx<'_>,
    at: &At<'_>,
    keys: &api::TlsSessionTicketKeys,
) -> Option<Arc<SecretSlot>> {
    inline(cx, at, SecretKind::TicketKeys, keys, |cx| {
        ticket_keys(cx, at, keys).map(SecretRecipe::TicketKeys)
    })
}

/// The slot of what stands in a context.
fn inline(
    cx: &mut Cx<'_>,
    at: &At<'_>,
    kind: SecretKind,
    message: &impl Message,
    recipe: impl FnOnce(&mut Cx<'_>) -> Option<SecretRecipe>,
) -> Option<Arc<SecretSlot>> {
    let bytes = message.encode_to_vec();
    // Keys of tickets are changed in their files, which every context reads anew.
    if kind != SecretKind::TicketKeys
        && let Some(slot) = cx.secrets.inline(kind, &bytes)
    {
        return Some(slot);
    }
    let recipe = recipe(cx)?;
    let loaded = Secret::load(cx.text(""), recipe, false, &mut *cx.secrets);
    let secret = Arc::new(built(cx, at, loaded)?);
    Some(cx.secrets.add_inline(kind, &bytes, secret))
}

/// A validation context that secrets are laid over.
pub(super) fn default_validation(
    cx: &mut Cx<'_>,
    at: &At<'_>,
    context: &api::CertificateValidationContext,
) -> Option<Arc<Validator>> {
    let recipe = SecretRecipe::Validation(validation::one(cx, at, context)?);
    let loaded = Secret::load(cx.text(""), recipe, false, &mut *cx.secrets);
    built(cx, at, loaded)?.validator().cloned()
}

fn ticket_keys(
    cx: &mut Cx<'_>,
    at: &At<'_>,
    keys: &api::TlsSessionTicketKeys,
) -> Option<Vec<Source>> {
    let api::TlsSessionTicketKeys { keys } = keys;
    let at = at.field("keys");
    let keys = keys.iter().enumerate();
    keys.map(|(index, key)| certificate::source(cx, &at.index(index), key)).collect()
}

fn generic_secret(
    cx: &mut Cx<'_>,
    at: &At<'_>,
    generic: &api::GenericSecret,
) -> Option<Vec<(Arc<str>, Source)>> {
    let api::GenericSecret { secret, secrets } = generic;
    let mut out = Vec::new();
    if let Some(secret) = secret {
        out.push((cx.text(""), certificate::source(cx, &at.field("secret"), secret)?));
    }
    let at = at.field("secrets");
    for (name, secret) in secrets {
        out.push((cx.text(name), certificate::source(cx, &at.field(name), secret)?));
    }
    Some(out)
}

/// Takes a secret that a source serves: for every slot that waits for it there, or for none. What
/// is wrong with it is recorded.
pub(crate) fn accept(
    cx: &mut Cx<'_>,
    source: &ConfigSource,
    secret: &api::Secret,
    stats: &ShardStats,
) {
    let kinds = [
        SecretKind::Certificate,
        SecretKind::Validation,
        SecretKind::TicketKeys,
        SecretKind::Generic,
    ];
    for kind in kinds {
        let (source, name) = (Some(source.clone()), Arc::from(secret.name.as_str()));
        if let Some(slot) = cx.secrets.named(&SlotKey { source, name, kind }) {
            fill(cx, &slot, secret, stats);
        }
    }
}

fn fill(cx: &mut Cx<'_>, slot: &Arc<SecretSlot>, secret: &api::Secret, stats: &ShardStats) {
    let root = At::root();
    if let Some(compiled) = compile(cx, &root, slot.key.kind, secret, true) {
        put(cx, slot, compiled, stats);
    }
}

fn put(cx: &mut Cx<'_>, slot: &Arc<SecretSlot>, secret: Arc<Secret>, stats: &ShardStats) {
    let put = cx.secrets.put(slot, secret, cx.registry, stats);
    cx.ok(&At::root().field(slot.key.kind.field()), put);
}

/// Looks at the files of all secrets, and reads those again that have changed. What is wrong with
/// one is recorded, and what was there before stays: of a certificate and its key one changes
/// before the other. Answers what was read, in words.
pub(crate) fn look(cx: &mut Cx<'_>, stats: &ShardStats) -> Vec<String> {
    let mut read = Vec::new();
    for slot in cx.secrets.changed() {
        let found = cx.finding_count();
        reload(cx, &slot, stats);
        if cx.finding_count() == found {
            read.push(shown(&slot));
        }
    }
    read
}

/// Reads the files that a secret names again.
fn reload(cx: &mut Cx<'_>, slot: &Arc<SecretSlot>, stats: &ShardStats) {
    let Some(secret) = slot.current() else { return };
    let at = At::root();
    let at = at.field(slot.key.kind.field());
    let loaded = secret.reload(&mut *cx.secrets);
    if let Some(Some(secret)) = built(cx, &at, loaded) {
        put(cx, slot, Arc::new(secret), stats);
    }
}

/// A slot, for people: its name and files.
fn shown(slot: &SecretSlot) -> String {
    let secret = slot.current();
    let files = secret.iter().flat_map(|secret| secret.files());
    let files = files.map(|file| file.display().to_string()).collect::<Vec<_>>().join(", ");
    match &*slot.key.name {
        "" => files,
        name => format!("secret '{name}' {files}"),
    }
}
