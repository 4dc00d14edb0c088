//! What every part of the compiler shares: findings, names, the runtime's values.

use std::borrow::Cow;
use std::sync::{Arc, Weak};

use foldhash::fast::RandomState;
use hashbrown::HashSet;
use prost::{Message, Name};
use prost_types::Any;
use ringway_xds::api::envoy::config::core::v3 as core;

use super::at::At;
use super::tls::SecretStore;
use crate::config::runtime::Runtime;
use crate::observe::stats::Registry;
use crate::plan::ceiling::Ceiling;
use crate::plan::extension::ExtensionSlot;
use crate::plan::host_set::Locality;
use crate::plan::istio::Local;
use crate::plan::listener::Direction;
use crate::plan::names::Names;
use crate::plan::source::Origin;
use crate::plan::{ClusterId, ClusterName, Needs, RouteName, ScopeName};

/// Why a configuration is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Wrong, for Envoy as well.
    Invalid,
    /// Right, but it asks for something this proxy does not do yet.
    Unsupported,
    /// Taken; something about it deserves a word.
    Warning,
}

/// One finding of the compiler.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invalid {
    /// What kind of finding.
    pub kind: Kind,
    /// The field: `static_resources.clusters[0].connect_timeout`.
    pub path: String,
    /// What is wrong.
    pub message: String,
    /// What may stand there.
    pub allowed: Option<String>,
    /// What was probably meant, or what to do.
    pub hint: Option<String>,
}

impl Invalid {
    /// A finding without advice.
    pub(crate) fn new(kind: Kind, path: String, message: String) -> Self {
        Self { kind, path, message, allowed: None, hint: None }
    }
}

/// What the compiler remembers from one resource to the next.
pub(crate) struct Kept {
    /// Names of clusters.
    pub(crate) names: Names<ClusterName>,
    /// Clusters there are, of those that have a name.
    pub(crate) defined: HashSet<ClusterId, RandomState>,
    /// Names of route tables that come by RDS.
    pub(crate) routes: Names<RouteName>,
    /// Sets of scopes that come by SRDS.
    pub(crate) scopes: Names<ScopeName>,
    /// Options of filters that come by ECDS.
    pub(crate) extensions: Vec<Weak<ExtensionSlot>>,
    /// Clusters configuration may come from: those of the bootstrap that do not wait for any.
    pub(crate) primary: HashSet<Arc<str>, RandomState>,
    /// `cluster_manager.upstream_bind_config`.
    pub(crate) bind: Option<core::BindConfig>,
    /// Resolvers of clusters that name none; empty means the system's.
    pub(crate) resolvers: Vec<std::net::SocketAddr>,
    /// The locality of the last endpoints: the next ones are often there, too.
    pub(crate) locality: Arc<Locality>,
    /// Who the node is, for Istio's filters.
    pub(crate) local: Arc<Local>,
    /// Text that is empty.
    pub(crate) empty: Arc<str>,
    /// Where the resource being compiled came from, which is what `self` means in it.
    pub(crate) from: Origin,
    /// It is a listener, whose route tables may name clusters there are only.
    pub(crate) in_listener: bool,
    /// Something has clusters fetched that requests name.
    pub(crate) clusters_on_demand: bool,
    /// The bootstrap asks for internal listeners.
    pub(crate) internal_listeners: bool,
    /// How many connections may be open.
    pub(crate) ceiling: Arc<Ceiling>,
    /// `buffer_size_kb` of their connections, in bytes.
    pub(crate) internal_buffer: Option<u32>,
}

impl Default for Kept {
    fn default() -> Self {
        Self {
            names: Names::default(),
            defined: HashSet::default(),
            routes: Names::default(),
            scopes: Names::default(),
            extensions: Vec::new(),
            primary: HashSet::default(),
            bind: None,
            resolvers: Vec::new(),
            locality: Arc::default(),
            local: Arc::default(),
            empty: Arc::from(""),
            from: Origin::Ads,
            in_listener: true,
            clusters_on_demand: false,
            internal_listeners: false,
            ceiling: Arc::default(),
            internal_buffer: None,
        }
    }
}

/// State of one compilation.
pub(crate) struct Cx<'a> {
    /// Values of the static runtime layers.
    pub(crate) runtime: &'a Runtime,
    /// Where statistics get their slots.
    pub(crate) registry: &'a mut Registry,
    /// How many shards there will be.
    pub(crate) shards: usize,
    /// `http.<stat_prefix>.` of the connection manager being compiled, without its last dot.
    pub(crate) http_prefix: String,
    /// What one resource leaves for the next.
    pub(crate) kept: &'a mut Kept,
    /// What the resource being compiled waits for.
    pub(crate) needs: Needs,
    /// `traffic_direction` of the listener being compiled.
    pub(crate) direction: Direction,
    /// `static_resources.secrets`.
    pub(crate) secrets: &'a mut SecretStore,
    findings: Vec<Invalid>,
    /// Clusters that were named since the last [`Cx::take_named`].
    named: Vec<Arc<ClusterName>>,
}

impl<'a> Cx<'a> {
    pub(crate) fn new(
        runtime: &'a Runtime,
        registry: &'a mut Registry,
        kept: &'a mut Kept,
        secrets: &'a mut SecretStore,
        shards: usize,
    ) -> Self {
        Self {
            kept,
            needs: Needs::default(),
            runtime,
            registry,
            shards,
            http_prefix: String::new(),
            direction: Direction::default(),
            secrets,
            findings: Vec::new(),
            named: Vec::new(),
        }
    }

    /// Records that something is wrong, for Envoy as well.
    pub(crate) fn invalid(&mut self, at: &At<'_>, message: impl Into<String>) {
        self.find(Kind::Invalid, at, message.into(), None, None);
    }

    /// As [`Self::invalid`], with what may stand there.
    pub(crate) fn invalid_allowed(
        &mut self,
        at: &At<'_>,
        message: impl Into<String>,
        allowed: impl Into<String>,
    ) {
        self.find(Kind::Invalid, at, message.into(), Some(allowed.into()), None);
    }

    /// Records a field that is set to something this proxy does not do yet.
    pub(crate) fn unsupported(&mut self, at: &At<'_>) {
        let message = format!("{} is not supported yet", at.name());
        self.find(Kind::Unsupported, at, message, None, None);
    }

    /// As [`Self::unsupported`], for a value or an extension type: `what` names it.
    pub(crate) fn unsupported_value(&mut self, at: &At<'_>, what: &str) {
        self.find(Kind::Unsupported, at, format!("{what} is not supported yet"), None, None);
    }

    /// As [`Self::unsupported_value`], with what is supported.
    pub(crate) fn unsupported_allowed(&mut self, at: &At<'_>, what: &str, allowed: &str) {
        let message = format!("{what} is not supported yet");
        self.find(Kind::Unsupported, at, message, Some(allowed.to_owned()), None);
    }

    /// Records something that is taken but deserves a word.
    pub(crate) fn warn(&mut self, at: &At<'_>, message: impl Into<String>) {
        self.find(Kind::Warning, at, message.into(), None, None);
    }

    fn find(
        &mut self,
        kind: Kind,
        at: &At<'_>,
        message: String,
        allowed: Option<String>,
        hint: Option<String>,
    ) {
        self.findings.push(Invalid { kind, path: at.to_string(), message, allowed, hint });
    }

    /// How many findings there are.
    pub(crate) fn finding_count(&self) -> usize {
        self.findings.len()
    }

    /// Drops all findings but the first `count`.
    pub(crate) fn forget_findings(&mut self, count: usize) {
        self.findings.truncate(count);
    }

    /// Takes a result; an error is recorded here.
    pub(crate) fn ok<T, E: std::fmt::Display>(
        &mut self,
        at: &At<'_>,
        result: Result<T, E>,
    ) -> Option<T> {
        result.map_err(|error| self.invalid(at, error.to_string())).ok()
    }

    /// An extension's configuration: of the type a `TypedStruct` stands for, if it is one.
    pub(crate) fn typed<'v>(&mut self, at: &At<'_>, any: &'v Any) -> Option<Cow<'v, Any>> {
        match ringway_xds::unpack_typed_struct(any) {
            Ok(any) => Some(any),
            Err(found) => {
                for finding in found {
                    let message = format!("{}: {}", finding.path, finding.message);
                    self.find(Kind::Invalid, at, message, finding.allowed, finding.suggestion);
                }
                None
            }
        }
    }

    /// The message inside an Any whose type is known to be `M`.
    pub(crate) fn unpack<M: Message + Name + Default>(
        &mut self,
        at: &At<'_>,
        any: &Any,
    ) -> Option<M> {
        self.ok(at, M::decode(any.value.as_slice()))
    }

    /// Text of the plan; the empty one is shared.
    pub(crate) fn text(&self, text: &str) -> Arc<str> {
        if text.is_empty() { Arc::clone(&self.kept.empty) } else { Arc::from(text) }
    }

    /// Defines the next cluster; `None` where the name is taken.
    pub(crate) fn define_cluster(&mut self, name: &str) -> Option<Arc<ClusterName>> {
        let lease = self.kept.names.lease(&name);
        self.kept.defined.insert(lease.id).then_some(lease)
    }

    /// Slot of a cluster that must exist (`validate_clusters`).
    pub(crate) fn cluster(&mut self, at: &At<'_>, name: &str, what: &str) -> Option<ClusterId> {
        let found =
            self.kept.names.find(&name).filter(|lease| self.kept.defined.contains(&lease.id));
        if let Some(lease) = found {
            self.named.push(Arc::clone(lease));
            return Some(lease.id);
        }
        let known = self.kept.names.iter().filter(|lease| self.kept.defined.contains(&lease.id));
        let known: Vec<&str> = known.map(|lease| &*lease.name).collect();
        let hint = nearest(name, &known).map(str::to_owned);
        self.find(Kind::Invalid, at, format!("{what} '{name}'"), None, hint);
        None
    }

    /// Slot of a cluster that may be missing; requests to it get `cluster_not_found_response_code`.
    pub(crate) fn any_cluster(&mut self, name: &str) -> ClusterId {
        let lease = self.kept.names.lease(&name);
        let id = lease.id;
        self.named.push(lease);
        id
    }

    /// Begins to collect the clusters that are named; answers those named before.
    pub(crate) fn begin_named(&mut self) -> Vec<Arc<ClusterName>> {
        std::mem::take(&mut self.named)
    }

    /// Every cluster that was named since [`Cx::begin_named`], by id; goes on with `before`.
    pub(crate) fn take_named(&mut self, before: Vec<Arc<ClusterName>>) -> Vec<Arc<ClusterName>> {
        let mut named = std::mem::replace(&mut self.named, before);
        named.sort_unstable_by_key(|name| name.id);
        named.dedup_by_key(|name| name.id);
        named
    }

    /// Hands out the findings.
    pub(crate) fn finish(self) -> Vec<Invalid> {
        self.findings
    }
}

/// The known name that differs least, if it is near.
fn nearest<'n>(name: &str, known: &[&'n str]) -> Option<&'n str> {
    let limit = name.len() / 3 + 1;
    known
        .iter()
        .take(1000)
        .map(|other| (distance(name.as_bytes(), other.as_bytes()), *other))
        .filter(|(distance, _)| *distance <= limit)
        .min()
        .map(|(_, other)| other)
}

/// Levenshtein distance over bytes.
fn distance(a: &[u8], b: &[u8]) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        for (cell, y) in row.iter_mut().skip(1).zip(b) {
            let next = (diagonal + usize::from(x != y)).min(left + 1).min(*cell + 1);
            diagonal = *cell;
            *cell = next;
            left = next;
        }
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
    }
    row.last().copied().unwrap_or_default()
}
