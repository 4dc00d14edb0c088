//! Contexts: recipes with the slots of their secrets, and what was made of both.

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use rustls::{ClientConfig, ServerConfig};
use smallvec::SmallVec;

use super::secret::{Secret, SecretSlot};
use super::validate::Validator;
use super::{ClientRecipe, CommonRecipe, ServerRecipe, TicketRecipe, build};
use crate::observe::stats::{Counter, ShardStats, SslFactoryStats, SslStats};
use crate::plan::certificate::Certificate;

/// The secrets of a context, in the order of its slots.
pub(super) type Found = SmallVec<[Arc<Secret>; 2]>;

/// What a server context was made to.
#[derive(Debug)]
pub struct ServerMaterial {
    /// For clients that share a protocol with `alpn_protocols`, or do not speak of any.
    pub config: Arc<ServerConfig>,
    /// For clients whose protocols have nothing in common with ours: these go without.
    pub without_alpn: Arc<ServerConfig>,
    /// What it was made of.
    pub(super) of: Found,
}

/// What a client context was made to.
#[derive(Debug)]
pub struct ClientMaterial {
    /// The configuration.
    pub config: Arc<ClientConfig>,
    /// Our certificate, if there is one.
    pub own: Option<Arc<Certificate>>,
    /// What it was made of.
    pub(super) of: Found,
}

/// Certificates of a context, for `/certs` and statistics.
#[derive(Debug, Default)]
pub struct Shown {
    /// Trusted roots: the secret's name, path, and the first certificate.
    pub roots: Vec<ShownCertificate>,
    /// Our own.
    pub own: Vec<ShownCertificate>,
}

/// One certificate for `/certs` and statistics.
#[derive(Debug)]
pub struct ShownCertificate {
    /// Name of its secret, which may be empty.
    pub name: Arc<str>,
    /// Where it came from, as Envoy names it.
    pub path: Arc<str>,
    /// What is known of it.
    pub facts: Arc<Certificate>,
    /// Its OCSP response is valid until then, in seconds since 1970.
    pub ocsp_until: Option<i64>,
}

/// A listener's TLS.
#[derive(Debug)]
pub struct ServerContext {
    /// `listener.<l>.ssl.*`.
    pub stats: SslStats,
    factory: SslFactoryStats,
    recipe: ServerRecipe,
    made: ArcSwapOption<ServerMaterial>,
}

impl ServerContext {
    /// Makes a context.
    ///
    /// # Errors
    /// Why the secrets that are there already are of no use to it, for a person.
    pub fn new(
        recipe: ServerRecipe,
        stats: SslStats,
        factory: SslFactoryStats,
    ) -> Result<Self, String> {
        let made = ArcSwapOption::empty();
        let context = Self { stats, factory, recipe, made };
        check_all(&context)?;
        if let Some(found) = gather(&context) {
            context.made.store(Some(Arc::new(build::server(&context.recipe, found)?)));
        }
        Ok(context)
    }

    /// What a handshake that begins now uses; `None` while a secret is missing.
    pub fn material(&self) -> Option<Arc<ServerMaterial>> {
        let before = self.made.load_full();
        if let Some(made) = &before
            && is_current(self, &made.of)
        {
            return before;
        }
        let fresh = gather(self).and_then(|found| build::server(&self.recipe, found).ok());
        swap(&self.made, before, fresh)
    }

    /// Whether a handshake can be made.
    pub fn is_ready(&self) -> bool {
        self.slots().iter().all(|slot| slot.is_ready())
    }

    /// The configured protocols, most preferred first.
    pub fn alpn(&self) -> &[Vec<u8>] {
        &self.recipe.common.alpn
    }

    /// Counts a client that came while a secret was missing.
    pub(crate) fn count_not_ready(&self, stats: &ShardStats) {
        stats.inc(self.factory.downstream_context_secrets_not_ready());
    }
}

/// A cluster's TLS.
#[derive(Debug)]
pub struct ClientContext {
    /// `cluster.<c>.ssl.*`.
    pub stats: SslStats,
    factory: SslFactoryStats,
    recipe: ClientRecipe,
    made: ArcSwapOption<ClientMaterial>,
}

impl ClientContext {
    /// Makes a context. What handshakes need is made with the first of them.
    ///
    /// # Errors
    /// Why the secrets that are there already are of no use to it, for a person.
    pub fn new(
        recipe: ClientRecipe,
        stats: SslStats,
        factory: SslFactoryStats,
    ) -> Result<Self, String> {
        let context = Self { stats, factory, recipe, made: ArcSwapOption::empty() };
        check_all(&context)?;
        Ok(context)
    }

    /// What a handshake that begins now uses; `None` while a secret is missing.
    pub fn material(&self) -> Option<Arc<ClientMaterial>> {
        let before = self.made.load_full();
        if let Some(made) = &before
            && is_current(self, &made.of)
        {
            return before;
        }
        let fresh = gather(self).and_then(|found| build::client(&self.recipe, found).ok());
        swap(&self.made, before, fresh)
    }

    /// The configuration it was made from.
    pub fn recipe(&self) -> &ClientRecipe {
        &self.recipe
    }

    /// The server name for a host: configured, or the host's own where that is asked for.
    pub fn server_name(&self, host_name: Option<&str>) -> Option<Arc<str>> {
        match host_name {
            Some(name) if self.recipe.auto_host_sni && !name.is_empty() => Some(Arc::from(name)),
            _ => self.recipe.sni.clone(),
        }
    }

    /// Counts a connection that was wanted while a secret was missing.
    pub(crate) fn count_not_ready(&self, stats: &ShardStats) {
        stats.inc(self.factory.upstream_context_secrets_not_ready());
    }
}

/// What uses secrets.
pub trait Context: fmt::Debug + Send + Sync {
    /// Its slots: certificates, then what peers are checked by, then ticket keys.
    fn slots(&self) -> SmallVec<[&Arc<SecretSlot>; 4]>;

    /// Whether it could use this secret in this slot.
    ///
    /// # Errors
    /// Why not, for a person.
    fn check(&self, slot: &Arc<SecretSlot>, secret: &Secret) -> Result<(), String>;

    /// What `/certs` shows; nothing while a secret is missing.
    fn show(&self, see: &mut dyn FnMut(&Shown));

    /// `ssl_context_update_by_sds`.
    fn updates(&self) -> Counter;
}

impl Context for ServerContext {
    fn slots(&self) -> SmallVec<[&Arc<SecretSlot>; 4]> {
        let tickets = match &self.recipe.tickets {
            Some(TicketRecipe::Keys(slot)) => Some(slot),
            Some(TicketRecipe::Generated) | None => None,
        };
        self.recipe.common.slots().chain(tickets).collect()
    }

    fn check(&self, slot: &Arc<SecretSlot>, secret: &Secret) -> Result<(), String> {
        self.recipe.common.check(slot, secret)?;
        match secret.certificate() {
            Some(own) => own.check_staple(self.recipe.ocsp_policy),
            None => Ok(()),
        }
    }

    fn show(&self, see: &mut dyn FnMut(&Shown)) {
        gather(self).iter().for_each(|found| see(&self.recipe.common.shown(found)));
    }

    fn updates(&self) -> Counter {
        self.factory.ssl_context_update_by_sds()
    }
}

impl Context for ClientContext {
    fn slots(&self) -> SmallVec<[&Arc<SecretSlot>; 4]> {
        self.recipe.common.slots().collect()
    }

    fn check(&self, slot: &Arc<SecretSlot>, secret: &Secret) -> Result<(), String> {
        self.recipe.common.check(slot, secret)?;
        let untrusting = || {
            let default = self.recipe.common.validation.as_ref().and_then(|v| v.default.as_ref());
            default.is_none_or(|default| !default.has_trust())
        };
        match secret.validator() {
            Some(validator) if self.recipe.match_sni && !validator.has_trust() && untrusting() => {
                Err("'auto_sni_san_validation' was configured without a validation context".into())
            }
            _ => Ok(()),
        }
    }

    fn show(&self, see: &mut dyn FnMut(&Shown)) {
        gather(self).iter().for_each(|found| see(&self.recipe.common.shown(found)));
    }

    fn updates(&self) -> Counter {
        self.factory.ssl_context_update_by_sds()
    }
}

fn check_all(context: &dyn Context) -> Result<(), String> {
    context.slots().iter().try_for_each(|slot| match slot.current() {
        Some(secret) => context.check(slot, &secret),
        None => Ok(()),
    })
}

/// The secrets of a context, if all are there.
fn gather(context: &dyn Context) -> Option<Found> {
    context.slots().iter().map(|slot| slot.current()).collect()
}

fn is_current(context: &dyn Context, of: &Found) -> bool {
    context.slots().iter().zip(of).all(|(slot, secret)| slot.holds(secret))
}

/// Puts what was made anew in its place. Of several shards that do so at once one wins, and all
/// use its work: tickets of one would not open at another. A secret that a context cannot use is
/// refused before it gets into a slot; should one get there, what was before stays.
fn swap<M>(place: &ArcSwapOption<M>, before: Option<Arc<M>>, fresh: Option<M>) -> Option<Arc<M>> {
    let Some(fresh) = fresh.map(Arc::new) else { return before };
    let seen = place.compare_and_swap(&before, Some(Arc::clone(&fresh)));
    let won = match (&*seen, &before) {
        (Some(seen), Some(before)) => Arc::ptr_eq(seen, before),
        (seen, before) => seen.is_none() && before.is_none(),
    };
    if won { Some(fresh) } else { seen.clone() }
}

impl CommonRecipe {
    fn slots(&self) -> impl Iterator<Item = &Arc<SecretSlot>> {
        self.certificates.iter().chain(self.validation.iter().map(|validation| &validation.slot))
    }

    fn check(&self, slot: &Arc<SecretSlot>, secret: &Secret) -> Result<(), String> {
        let Some(validation) = &self.validation else { return Ok(()) };
        match secret.validator() {
            Some(over) if Arc::ptr_eq(slot, &validation.slot) => match &validation.default {
                // What lacks trust may be in either.
                Some(default) if !over.has_trust() => default.merged(over).check(),
                Some(_) => Ok(()),
                None => over.check(),
            },
            _ => Ok(()),
        }
    }

    /// What peers are checked by.
    pub(super) fn validator(&self, found: &Found) -> Option<Arc<Validator>> {
        let validation = self.validation.as_ref()?;
        let over = found.get(self.certificates.len())?.validator()?;
        Some(match &validation.default {
            Some(default) => Arc::new(default.merged(over)),
            None => Arc::clone(over),
        })
    }

    fn shown(&self, found: &Found) -> Shown {
        let mut shown = Shown::default();
        for secret in found {
            shown.own.extend(secret.certificate().map(|own| ShownCertificate {
                name: Arc::clone(&secret.name),
                path: Arc::from(&*own.path),
                facts: Arc::clone(&own.facts),
                ocsp_until: own.ocsp_until,
            }));
        }
        let Some(validator) = self.validator(found) else { return shown };
        let secret = found.get(self.certificates.len());
        shown.roots.extend(validator.roots().next().map(|first| ShownCertificate {
            name: secret.map(|secret| Arc::clone(&secret.name)).unwrap_or_default(),
            path: Arc::clone(&validator.path),
            facts: Arc::clone(first),
            ocsp_until: None,
        }));
        shown
    }
}
