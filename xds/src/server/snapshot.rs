//! Resources, encoded once for all who are sent them.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use xxhash_rust::xxh64::xxh64;

use crate::wire::{put_bytes, put_text};

/// A resource as it goes over the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encoded {
    /// By which it is asked for.
    pub(super) name: Arc<str>,
    /// xxh64 of the body: what is equal is not sent again.
    pub(super) hash: u64,
    /// How long a client keeps it unless the server renews it, which it does in time.
    pub(super) ttl: Option<Duration>,
    /// Other names it can be asked for by (virtual hosts on demand).
    pub(super) aliases: Vec<Arc<str>>,
    /// The `google.protobuf.Any`.
    any: Arc<[u8]>,
    /// The hash in hexadecimal.
    version: Arc<str>,
}

impl Encoded {
    /// A resource of the type with the encoded message `body`, without TTL and aliases.
    pub fn new(name: impl Into<Arc<str>>, type_url: &str, body: &[u8]) -> Self {
        let hash = xxh64(body, 0);
        let mut any = Vec::with_capacity(type_url.len() + body.len() + 12);
        put_text(&mut any, 1, type_url);
        put_bytes(&mut any, 2, body);
        let version = format!("{hash:016x}").into();
        Self { name: name.into(), hash, ttl: None, aliases: Vec::new(), any: any.into(), version }
    }

    /// With a time to live: how long a client keeps it unless it is renewed, which sessions do in
    /// half of that time.
    pub fn with_ttl(self, ttl: Duration) -> Self {
        Self { ttl: Some(ttl), ..self }
    }

    /// With other names it can be asked for by.
    pub fn with_aliases(self, aliases: Vec<Arc<str>>) -> Self {
        Self { aliases, ..self }
    }

    /// By which it is asked for.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// xxh64 of the body.
    pub fn hash(&self) -> u64 {
        self.hash
    }

    /// The `google.protobuf.Any` it is sent as.
    pub fn any(&self) -> &[u8] {
        &self.any
    }

    /// Its version: made of its content.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Which of all resources with all contents this is.
    pub(super) fn identity(&self) -> u64 {
        xxh64(self.name.as_bytes(), self.hash)
    }
}

/// All resources of a group of clients.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    pub(super) kinds: BTreeMap<Arc<str>, HashMap<Arc<str>, Arc<Encoded>>>,
}

impl Snapshot {
    /// Adds a resource, or puts it in place of the one with its name. Resources in many snapshots
    /// are shared if the `Arc` is.
    pub fn insert(&mut self, type_url: &str, resource: impl Into<Arc<Encoded>>) {
        let resource = resource.into();
        let kind = self.kinds.entry(type_url.into()).or_default();
        kind.insert(Arc::clone(&resource.name), resource);
    }
}

/// The version of resources together, in whatever order.
pub(super) fn version(identities: impl Iterator<Item = u64>) -> String {
    format!("{:016x}", identities.fold(0, |all, one| all ^ one))
}
