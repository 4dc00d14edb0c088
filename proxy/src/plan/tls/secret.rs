//! Secrets: certificates with their keys, what is trusted, keys of tickets. Each is read and
//! checked once, however many contexts use it.
//!
//! LIFECYCLE of a slot: empty (named, and on its way) → filled (on the control thread) → filled
//! anew whenever the secret changes. Contexts look at their slots before each handshake, and make
//! what they work by anew when one has changed; connections that are up keep what they have.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwapOption;

use super::own::OwnCertificate;
use super::session::TICKET_KEY;
use super::validate::{Trust, Validator};
use super::{CertificateRecipe, Source, ValidationRecipe};
use crate::plan::source::ConfigSource;

/// What a secret is wanted as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SecretKind {
    /// `tls_certificate`.
    Certificate,
    /// `validation_context`.
    Validation,
    /// `session_ticket_keys`.
    TicketKeys,
    /// `generic_secret`.
    Generic,
}

impl SecretKind {
    /// The field of `Secret` it is in.
    pub fn field(self) -> &'static str {
        match self {
            Self::Certificate => "tls_certificate",
            Self::Validation => "validation_context",
            Self::TicketKeys => "session_ticket_keys",
            Self::Generic => "generic_secret",
        }
    }
}

/// What tells one slot from another.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SlotKey {
    /// Who serves it; `None` for what the configuration itself holds.
    pub source: Option<ConfigSource>,
    /// Name of the secret; empty where it stands in the context.
    pub name: Arc<str>,
    /// What it is wanted as: a name may stand for several secrets of different kinds.
    pub kind: SecretKind,
}

/// The place of a secret, shared by all that use it.
#[derive(Debug)]
pub struct SecretSlot {
    /// Which secret belongs here.
    pub key: SlotKey,
    current: ArcSwapOption<Secret>,
}

impl SecretSlot {
    /// An empty slot, or one that has its secret from the beginning.
    pub fn new(key: SlotKey, secret: Option<Arc<Secret>>) -> Self {
        Self { key, current: ArcSwapOption::new(secret) }
    }

    /// Whether its secret is there.
    pub fn is_ready(&self) -> bool {
        self.current.load().is_some()
    }

    /// The secret as it is now.
    pub fn current(&self) -> Option<Arc<Secret>> {
        self.current.load_full()
    }

    /// Puts a secret in. On the control thread only, after every context that uses the slot has
    /// had a look at it.
    pub fn set(&self, secret: Arc<Secret>) {
        self.current.store(Some(secret));
    }

    /// Whether `secret` is what is in it.
    pub(super) fn holds(&self, secret: &Arc<Secret>) -> bool {
        self.current.load().as_ref().is_some_and(|current| Arc::ptr_eq(current, secret))
    }
}

/// A secret, ready for use.
#[derive(Debug)]
pub struct Secret {
    /// Its name; empty where it stands in a context.
    pub name: Arc<str>,
    /// What it is.
    pub body: SecretBody,
    /// Where it names files: how to read it again.
    recipe: Option<Box<Watched>>,
}

/// What a secret is.
#[derive(Debug)]
pub enum SecretBody {
    /// `tls_certificate`.
    Certificate(OwnCertificate),
    /// `validation_context`.
    Validation(Arc<Validator>),
    /// `session_ticket_keys`: the first makes tickets, all open them.
    TicketKeys(Box<[[u8; TICKET_KEY]]>),
    /// `generic_secret`: its `secret` under the empty name, and its `secrets`.
    Generic(Box<[Named]>),
}

/// A part of a generic secret, with its name.
pub(crate) type Named = (Arc<str>, Arc<[u8]>);

/// A secret as it was configured.
#[derive(Debug, Clone)]
pub enum SecretRecipe {
    /// `tls_certificate`.
    Certificate(CertificateRecipe),
    /// `validation_context`.
    Validation(ValidationRecipe),
    /// `session_ticket_keys`.
    TicketKeys(Vec<Source>),
    /// `generic_secret`.
    Generic(Vec<(Arc<str>, Source)>),
}

#[derive(Debug)]
struct Watched {
    recipe: SecretRecipe,
    files: Vec<PathBuf>,
}

impl Secret {
    /// Reads a secret. `watched` says that the files it names are read again when they change, even
    /// where it does not ask for that itself; `shared` finds roots that were parsed before.
    ///
    /// # Errors
    /// What of it is wrong, for a person.
    pub fn load(
        name: Arc<str>,
        recipe: SecretRecipe,
        watched: bool,
        shared: &mut dyn SharedTrust,
    ) -> Result<Self, String> {
        let body = match &recipe {
            SecretRecipe::Certificate(recipe) => {
                SecretBody::Certificate(OwnCertificate::load(recipe)?)
            }
            SecretRecipe::Validation(recipe) => {
                SecretBody::Validation(Arc::new(Validator::load(recipe, shared)?))
            }
            SecretRecipe::TicketKeys(sources) => {
                let keys = sources.iter().map(ticket_key).collect::<Result<Vec<_>, _>>()?;
                SecretBody::TicketKeys(keys.into())
            }
            SecretRecipe::Generic(parts) => {
                let parts = parts
                    .iter()
                    .map(|(name, source)| source.read().map(|bytes| (Arc::clone(name), bytes)));
                SecretBody::Generic(parts.collect::<Result<Vec<_>, _>>()?.into())
            }
        };
        let watched = watched || recipe.asks_to_be_watched();
        let files = recipe.files().into_iter().filter(|_| watched);
        let files: Vec<PathBuf> = files.map(Path::to_owned).collect();
        let recipe = (!files.is_empty()).then(|| Box::new(Watched { recipe, files }));
        Ok(Self { name, body, recipe })
    }

    /// The files it names.
    pub fn files(&self) -> &[PathBuf] {
        self.recipe.as_ref().map_or(&[], |watched| &watched.files)
    }

    /// Reads its files again.
    ///
    /// # Errors
    /// As [`Secret::load`].
    pub fn reload(&self, shared: &mut dyn SharedTrust) -> Result<Option<Self>, String> {
        let Some(watched) = &self.recipe else { return Ok(None) };
        Self::load(Arc::clone(&self.name), watched.recipe.clone(), true, shared).map(Some)
    }

    /// A `tls_certificate`.
    pub fn certificate(&self) -> Option<&OwnCertificate> {
        match &self.body {
            SecretBody::Certificate(own) => Some(own),
            _ => None,
        }
    }

    /// A `validation_context`.
    pub fn validator(&self) -> Option<&Arc<Validator>> {
        match &self.body {
            SecretBody::Validation(validator) => Some(validator),
            _ => None,
        }
    }

    /// `session_ticket_keys`.
    pub fn ticket_keys(&self) -> Option<&[[u8; TICKET_KEY]]> {
        match &self.body {
            SecretBody::TicketKeys(keys) => Some(keys),
            _ => None,
        }
    }
}

/// Roots that were parsed before: thousands of clusters trust the same few.
pub trait SharedTrust {
    /// What these bytes came to, if they were seen before; `parse` makes it where not.
    ///
    /// # Errors
    /// Those of `parse`.
    fn trust(
        &mut self,
        pem: &[u8],
        parse: &mut dyn FnMut(&[u8]) -> Result<Trust, String>,
    ) -> Result<Arc<Trust>, String>;
}

/// Nothing is shared.
#[derive(Debug, Default)]
pub struct Unshared;

impl SharedTrust for Unshared {
    fn trust(
        &mut self,
        pem: &[u8],
        parse: &mut dyn FnMut(&[u8]) -> Result<Trust, String>,
    ) -> Result<Arc<Trust>, String> {
        parse(pem).map(Arc::new)
    }
}

impl SecretRecipe {
    /// What it is a secret of.
    pub fn kind(&self) -> SecretKind {
        match self {
            Self::Certificate(_) => SecretKind::Certificate,
            Self::Validation(_) => SecretKind::Validation,
            Self::TicketKeys(_) => SecretKind::TicketKeys,
            Self::Generic(_) => SecretKind::Generic,
        }
    }

    /// `watched_directory` is set.
    fn asks_to_be_watched(&self) -> bool {
        match self {
            Self::Certificate(certificate) => certificate.watched,
            Self::Validation(validation) => validation.watched,
            Self::TicketKeys(_) | Self::Generic(_) => false,
        }
    }

    /// The files it names.
    fn files(&self) -> Vec<&Path> {
        let sources: Vec<&Source> = match self {
            Self::Certificate(CertificateRecipe { chain, key, ocsp, watched: _ }) => {
                [Some(chain), Some(key), ocsp.as_ref()].into_iter().flatten().collect()
            }
            Self::Validation(ValidationRecipe { trusted_ca, crl, domains, .. }) => {
                let domains = domains.iter().map(|(_, source)| source);
                [trusted_ca, crl].into_iter().flatten().chain(domains).collect()
            }
            Self::TicketKeys(sources) => sources.iter().collect(),
            Self::Generic(parts) => parts.iter().map(|(_, source)| source).collect(),
        };
        sources.into_iter().filter_map(Source::file).collect()
    }
}

fn ticket_key(source: &Source) -> Result<[u8; TICKET_KEY], String> {
    let bytes = source.read()?;
    <[u8; TICKET_KEY]>::try_from(&*bytes).map_err(|_| {
        format!(
            "Incorrect TLS session ticket key length. Length {}, expected length {TICKET_KEY}.",
            bytes.len()
        )
    })
}
