//! The compiler that lives on the control thread: the bootstrap first, then one resource at a time.

use std::collections::BTreeMap;
use std::sync::Arc;

use prost::{Message, Name};
use ringway_xds::api::envoy::config::cluster::v3 as cluster_api;
use ringway_xds::api::envoy::config::core::v3 as core;
use ringway_xds::api::envoy::config::endpoint::v3 as endpoint_api;
use ringway_xds::api::envoy::config::listener::v3 as listener_api;
use ringway_xds::api::envoy::config::route::v3 as route_api;
use ringway_xds::api::envoy::extensions::transport_sockets::tls::v3::Secret;
use ringway_xds::rules::{self, FindingKind};
use ringway_xds::schema;

use super::assignment::{self, Assignment};
use super::at::At;
use super::bootstrap;
use super::cx::{Cx, Invalid, Kept, Kind};
use super::tls::{self, SecretStore};
use super::{cluster, extension, listener, route_table, scoped};
use crate::config::runtime::Runtime;
use crate::observe::stats::{Registry, ShardStats};
use crate::plan::extension::{Extension, ExtensionSlot};
use crate::plan::route::{RouteTable, Scope, ScopeKey};
use crate::plan::source::{ConfigSource, Origin};
use crate::plan::{Cluster, ClusterId, HostSet, Listener, ScopeName};

/// Turns resources into parts of the plan, and remembers what one leaves for the next: names with
/// their numbers, places of what comes later, the runtime's values.
pub struct Compiler {
    pub(super) registry: Registry,
    pub(super) kept: Kept,
    /// Secrets, and who uses them.
    secrets: SecretStore,
    pub(super) shards: usize,
    /// Layers of the runtime, the first one weakest.
    layers: Vec<Layer>,
    runtime: Runtime,
    /// Fields nobody knows: an error in what comes later (`--reject-unknown-dynamic-fields`).
    strict: bool,
    checker: rules::Checker,
}

/// The limit of connections, where no resource monitor sets one.
const CEILING: &str = "overload.global_downstream_max_connections";

/// One layer of the runtime.
#[derive(Debug)]
struct Layer {
    name: String,
    values: prost_types::Struct,
}

/// A resource that is taken.
#[derive(Debug)]
pub struct Taken<T> {
    /// What it came to.
    pub value: T,
    /// What deserves a word, for the log.
    pub warnings: Vec<Invalid>,
    /// It asked for values of the runtime: when those change it has to be compiled again.
    pub reads_runtime: bool,
}

impl Compiler {
    /// For `shards` shards. `strict`: unknown fields of what comes later are errors.
    pub fn new(shards: usize, strict: bool) -> Self {
        Self {
            registry: Registry::new(0),
            kept: Kept::default(),
            secrets: SecretStore::default(),
            shards,
            layers: Vec::new(),
            runtime: Runtime::default(),
            strict,
            checker: rules::Checker::default(),
        }
    }

    /// Takes over the names of statistics, which it asks for slots from now on.
    pub fn own(&mut self, registry: Registry) {
        self.registry = registry;
    }

    /// Names and slots of statistics.
    pub fn registry(&mut self) -> &mut Registry {
        &mut self.registry
    }

    /// Decodes a resource by its bytes, by Envoy's field rules.
    ///
    /// # Errors
    /// Bytes that are no such message, fields that break a rule, and unknown ones where those are
    /// not let pass.
    pub fn decode<M: Message + Name + Default>(
        &mut self,
        bytes: &[u8],
    ) -> Result<Taken<M>, Vec<Invalid>> {
        let name = M::full_name();
        let Some(schema) = schema::message(&name) else {
            return Err(vec![Invalid::new(Kind::Invalid, String::new(), format!("no {name}"))]);
        };
        let findings = self.checker.check(schema, bytes);
        let mut out: Vec<Invalid> = findings
            .into_iter()
            .filter_map(|finding| {
                let kind = match finding.kind {
                    FindingKind::UnknownField if !self.strict => return None,
                    FindingKind::Deprecated => return None,
                    _ => Kind::Invalid,
                };
                Some(Invalid::new(kind, finding.path, finding.message))
            })
            .collect();
        match M::decode(bytes) {
            Ok(value) if out.is_empty() => Ok(Taken { value, warnings: out, reads_runtime: false }),
            Ok(_) => Err(out),
            Err(error) => {
                out.push(Invalid::new(Kind::Invalid, String::new(), error.to_string()));
                Err(out)
            }
        }
    }

    /// Compiles a cluster that came from `from`. It counts as one there is from now on, until
    /// [`Compiler::cluster_gone`].
    ///
    /// # Errors
    /// All that is wrong with it.
    pub fn cluster(
        &mut self,
        config: &cluster_api::Cluster,
        from: &ConfigSource,
    ) -> Result<Taken<Arc<Cluster>>, Vec<Invalid>> {
        let taken = self.run(&from.origin, |cx| {
            let lease = cx.kept.names.lease(&&*config.name);
            cluster::compile(cx, &At::root(), lease, config)
        })?;
        self.kept.defined.insert(taken.value.id);
        Ok(taken)
    }

    /// A cluster is no more; routes of listeners that come later cannot name it.
    pub fn cluster_gone(&mut self, cluster: ClusterId) {
        self.kept.defined.remove(&cluster);
    }

    /// Compiles a listener that came from `from`. What it waits for is in its `needs`.
    ///
    /// # Errors
    /// All that is wrong with it.
    pub fn listener(
        &mut self,
        config: &listener_api::Listener,
        from: &ConfigSource,
    ) -> Result<Taken<Arc<Listener>>, Vec<Invalid>> {
        self.run(&from.origin, |cx| listener::compile(cx, &At::root(), config))
    }

    /// Compiles a route table that came by RDS, with the virtual hosts that came by VHDS for it.
    ///
    /// # Errors
    /// All that is wrong with it.
    pub fn routes(
        &mut self,
        config: &route_api::RouteConfiguration,
        more: &[route_api::VirtualHost],
        from: &ConfigSource,
    ) -> Result<Taken<Arc<RouteTable>>, Vec<Invalid>> {
        self.run(&from.origin, |cx| {
            cx.kept.in_listener = false;
            Some(route_table::compile(cx, &At::root(), config, more))
        })
    }

    /// Checks a virtual host that came by VHDS; [`Compiler::routes`] puts it into its table.
    ///
    /// # Errors
    /// All that is wrong with it.
    pub fn virtual_host(
        &mut self,
        config: &route_api::VirtualHost,
        from: &ConfigSource,
    ) -> Result<Taken<()>, Vec<Invalid>> {
        self.run(&from.origin, |cx| {
            cx.kept.in_listener = false;
            route_table::check_host(cx, &At::root(), config);
            Some(())
        })
    }

    /// Compiles a scope that came by SRDS for the set `name`, with its key.
    ///
    /// # Errors
    /// All that is wrong with it.
    pub fn scoped_route(
        &mut self,
        config: &route_api::ScopedRouteConfiguration,
        name: &ScopeName,
    ) -> Result<Taken<(ScopeKey, Scope)>, Vec<Invalid>> {
        self.run(&name.source.origin, |cx| {
            cx.kept.in_listener = false;
            scoped::scope(cx, &At::root(), config, Some(&name.routes), false)
        })
    }

    /// Compiles options that came by ECDS for a slot; [`ExtensionSlot::set`] puts them in.
    ///
    /// # Errors
    /// All that is wrong with them.
    pub fn extension(
        &mut self,
        config: &core::TypedExtensionConfig,
        slot: &ExtensionSlot,
    ) -> Result<Taken<Arc<Extension>>, Vec<Invalid>> {
        self.run(&slot.source.origin, |cx| extension::compile(cx, &At::root(), slot, config))
    }

    /// Compiles an assignment that came by EDS for a cluster, against the hosts it has.
    ///
    /// # Errors
    /// All that is wrong with it.
    pub fn assignment(
        &mut self,
        cluster: &Cluster,
        config: &endpoint_api::ClusterLoadAssignment,
        old: &Arc<HostSet>,
    ) -> Result<Taken<Assignment>, Vec<Invalid>> {
        self.run(&Origin::Ads, |cx| assignment::compile(cx, cluster, config, old))
    }

    /// Takes a secret that a source serves: fills every slot that waits for it there or has it.
    /// The contexts that use one make their part of it with their next handshake.
    ///
    /// # Errors
    /// Why it is not taken; what was there before stays.
    pub fn secret(
        &mut self,
        source: &ConfigSource,
        secret: &Secret,
        stats: &ShardStats,
    ) -> Result<Taken<()>, Vec<Invalid>> {
        self.run(&source.origin, |cx| {
            tls::accept(cx, source, secret, stats);
            Some(())
        })
    }

    /// Looks at the files of secrets, and takes those that have changed. Answers what was read, in
    /// words, and what is wrong with the rest.
    pub fn look_at_secrets(&mut self, stats: &ShardStats) -> (Vec<String>, Vec<Invalid>) {
        let (read, findings, _) = self.with(|cx| tls::look(cx, stats));
        (read, findings)
    }

    /// Whether anything has clusters fetched that requests name: a route that names one that is not
    /// there need not wait for it.
    pub fn fetches_clusters(&self) -> bool {
        self.kept.clusters_on_demand
    }

    /// Secrets, and who uses them.
    pub fn secrets(&mut self) -> &mut SecretStore {
        &mut self.secrets
    }

    /// Puts a layer into the runtime, in place of the one with this name; a new one is the
    /// strongest. Answers whether any value has changed: then what
    /// [reads the runtime](Taken::reads_runtime) has to be compiled again.
    ///
    /// # Errors
    /// Values that are none.
    pub fn runtime_layer(
        &mut self,
        name: &str,
        values: &prost_types::Struct,
    ) -> Result<Taken<bool>, Vec<Invalid>> {
        let taken = self.run(&Origin::Ads, |cx| {
            let root = At::root();
            bootstrap::check_layer(cx, &root.field("layer"), values);
            Some(())
        })?;
        let changed = self.put_layer(name, values.clone());
        Ok(Taken { value: changed, warnings: taken.warnings, reads_runtime: false })
    }

    /// How many layers the runtime has, and how many keys have a value.
    pub fn runtime_size(&self) -> (usize, usize) {
        (self.layers.len(), self.runtime.key_count())
    }

    /// Adds or replaces a layer; true if that changed it.
    pub(super) fn put_layer(&mut self, name: &str, values: prost_types::Struct) -> bool {
        match self.layers.iter_mut().find(|layer| layer.name == name) {
            Some(layer) if layer.values == values => return false,
            Some(layer) => layer.values = values,
            None => self.layers.push(Layer { name: name.to_owned(), values }),
        }
        let mut runtime = Runtime::default();
        self.layers.iter().for_each(|layer| runtime.add_layer(&layer.values));
        self.runtime = runtime;
        self.kept.ceiling.set_runtime(self.runtime.integer(CEILING, u64::MAX));
        true
    }

    /// Takes back numbers of names that nothing refers to any more. Call it after shards have
    /// dropped what a change took away.
    pub fn sweep(&mut self) {
        self.kept.names.sweep();
        self.kept.routes.sweep();
        self.kept.scopes.sweep();
        self.kept.extensions.retain(|slot| slot.strong_count() > 0);
        self.secrets.sweep();
        let names = &self.kept.names;
        self.kept.defined.retain(|id| names.get(id.0).is_some());
    }

    /// The slots of a name and a source that options come to by ECDS.
    pub fn extension_slots(&self, name: &str, source: &ConfigSource) -> Vec<Arc<ExtensionSlot>> {
        let slots = self.kept.extensions.iter().filter_map(|slot| slot.upgrade());
        slots.filter(|slot| *slot.name == *name && slot.source == *source).collect()
    }

    /// Runs a compilation of something that came from `from`.
    fn run<T>(
        &mut self,
        from: &Origin,
        work: impl FnOnce(&mut Cx<'_>) -> Option<T>,
    ) -> Result<Taken<T>, Vec<Invalid>> {
        self.kept.from = from.clone();
        self.kept.in_listener = true;
        let (value, warnings, reads_runtime) = self.with(work);
        match value {
            Some(value) if warnings.iter().all(|found| found.kind == Kind::Warning) => {
                Ok(Taken { value, warnings, reads_runtime })
            }
            _ => Err(warnings),
        }
    }

    /// Lends what is kept to a compilation.
    pub(super) fn with<T>(
        &mut self,
        work: impl FnOnce(&mut Cx<'_>) -> T,
    ) -> (T, Vec<Invalid>, bool) {
        self.runtime.forget_asked();
        let Self { runtime, registry, kept, secrets, shards, .. } = self;
        let mut cx = Cx::new(runtime, registry, kept, secrets, *shards);
        let value = work(&mut cx);
        (value, cx.finish(), self.runtime.was_asked())
    }
}

/// What is wrong with a resource, in one line for the management server: every finding with its
/// field, as deep as it lies in the resource. Warnings are left out.
pub fn reasons(findings: &[Invalid]) -> String {
    let errors = findings.iter().filter(|finding| finding.kind != Kind::Warning);
    let lines: Vec<String> = errors
        .map(|finding| match finding.path.is_empty() {
            true => finding.message.clone(),
            false => format!("{}: {}", finding.path, finding.message),
        })
        .collect();
    // Two thousand characters tell a person enough, and a status has to fit into trailers.
    let text = lines.join("; ");
    match text.char_indices().nth(REASON_CHARS_MAX) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text,
    }
}

/// Characters of [`reasons`].
const REASON_CHARS_MAX: usize = 2000;

impl std::fmt::Debug for Compiler {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let layers: BTreeMap<_, _> =
            self.layers.iter().map(|layer| (&layer.name, layer.values.fields.len())).collect();
        f.debug_struct("Compiler")
            .field("names", &self.kept.names)
            .field("layers", &layers)
            .finish_non_exhaustive()
    }
}
