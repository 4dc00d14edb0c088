//! Listeners: those of the bootstrap and those LDS brings, the version of each that is used and
//! the one that is still warming.
//!
//! LIFECYCLE of a version: put (its addresses are bound, so that a port in use refuses it) →
//! warming (routes, secrets and extensions are awaited) → active → replaced or removed: its
//! connections drain on the shards.

use std::sync::Arc;
use std::time::Duration;

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use ringway_xds::client::Resource;

use super::Xds;
use super::compile::Made;
use super::due::Due;
use super::raw::{Dumped, Raw, ResourceState};
use super::routes::HELD_MAX;
use crate::control::bind::{self, Bound};
use crate::control::log::log;
use crate::control::message::ListenSocket;
use crate::plan::http::{HttpManager, Routes};
use crate::plan::listener::Terminal;
use crate::plan::{Address, ClusterName, ConfigSource, Listener, ListenerChange, RouteName};

/// All listeners.
#[derive(Debug, Default)]
pub(super) struct Listeners {
    pub(super) by_name: HashMap<Arc<str>, Entry, RandomState>,
    /// Names, in the order in which they came.
    pub(super) order: Vec<Arc<str>>,
    /// Where each is bound, for people.
    pub(super) bound: Vec<Bound>,
    /// How many wait.
    pub(super) warming: usize,
    /// Old versions whose connections drain.
    pub(super) draining: Vec<Draining>,
}

/// An old version of a listener.
#[derive(Debug)]
pub(super) struct Draining {
    listener: Arc<Listener>,
    /// Shards that have connections of it.
    left: usize,
    /// How many of its chains drain, where the others go on in the new version.
    pub(super) chains: Option<usize>,
}

/// One listener.
#[derive(Debug, Default)]
pub(super) struct Entry {
    fixed: bool,
    active: Option<Version>,
    warming: Option<Version>,
}

/// A version of a listener.
#[derive(Debug)]
pub(super) struct Version {
    raw: Option<Arc<Raw>>,
    pub(super) listener: Arc<Listener>,
    /// For each shard, until it is active.
    sockets: Vec<Vec<ListenSocket>>,
    /// It does not wait any longer for what is fetched.
    patient: bool,
    /// It does not wait any longer for the clusters it names.
    reckless: bool,
    /// It has to be compiled again when values of the runtime change.
    reads_runtime: bool,
}

impl Xds {
    /// A listener of the bootstrap, whose sockets are there.
    pub(super) fn put_static_listener(
        &mut self,
        listener: Arc<Listener>,
        sockets: Vec<Vec<ListenSocket>>,
    ) {
        let name = listener.name.clone();
        self.listeners.by_name.entry(name).or_default().fixed = true;
        self.stats.inc(self.names.listeners.listener_added());
        self.put_listener(Made { value: listener, reads_runtime: false }, None, sockets);
    }

    /// A listener of LDS.
    pub(super) fn apply_listener(
        &mut self,
        source: &ConfigSource,
        resource: &Resource,
    ) -> Result<(), String> {
        let entry = self.listeners.by_name.get(&resource.name);
        if entry.is_some_and(|entry| entry.fixed) {
            log!(Debug, Config, "lds: '{}' is the bootstrap's and stays", resource.name);
            return Ok(());
        }
        let known = entry.and_then(|entry| entry.warming.as_ref().or(entry.active.as_ref()));
        if known.and_then(|v| v.raw.as_ref()).is_some_and(|raw| raw.hash == resource.hash) {
            return Ok(());
        }
        let is_new = known.is_none();
        let made = self.compile_listener(source, &resource.name, &resource.body)?;
        let sockets = self.bind_listener(&made.value)?;
        let counts = &self.names.listeners;
        let count = if is_new { counts.listener_added() } else { counts.listener_modified() };
        self.stats.inc(count);
        self.put_listener(made, Some(Raw::of(resource)), sockets);
        Ok(())
    }

    /// Binds the addresses a listener does not have yet, for every shard.
    fn bind_listener(&mut self, listener: &Listener) -> Result<Vec<Vec<ListenSocket>>, String> {
        if let Some(address) = self.listeners.taken_by_another(listener) {
            return Err(format!(
                "error adding listener: '{}' has duplicate address '{address}' as existing \
                 listener",
                listener.name
            ));
        }
        let all = &self.listeners;
        let has = |address: &Address| all.bound_at(&listener.name, address);
        let inherited = &mut *self.inherited.borrow_mut();
        let (bound, sockets) = bind::bind_missing(listener, self.shards, inherited, has)
            .map_err(|error| error.to_string())?;
        self.listeners.note_bound(bound);
        Ok(sockets)
    }

    pub(super) fn put_listener(
        &mut self,
        made: Made<Arc<Listener>>,
        raw: Option<Arc<Raw>>,
        sockets: Vec<Vec<ListenSocket>>,
    ) {
        let Made { value: listener, reads_runtime } = made;
        let name = listener.name.clone();
        self.want_needs(&listener);
        let entry = self.listeners.by_name.entry(name.clone()).or_default();
        if entry.active.is_none() && entry.warming.is_none() {
            self.listeners.order.push(name.clone());
        }
        let has_predecessor = entry.active.is_some();
        let mut version = Version {
            raw,
            listener: listener.clone(),
            sockets,
            patient: false,
            reckless: false,
            reads_runtime,
        };
        match entry.warming.take() {
            Some(before) => {
                // Sockets that version got and has not used are as good for this one, which may
                // have come with none of its own.
                let shards = version.sockets.len().max(before.sockets.len());
                version.sockets.resize_with(shards, Vec::new);
                for (own, more) in version.sockets.iter_mut().zip(before.sockets) {
                    own.extend(more);
                }
                entry.warming = Some(version);
                self.release_listener(&before.listener);
            }
            None => {
                entry.warming = Some(version);
                self.listeners.warming += 1;
            }
        }
        log!(Info, Upstream, "lds: add/update listener '{name}'");
        if !self.activate_listener_if_warm(&name) {
            let wait = self.listener_wait(&listener);
            if !wait.is_zero() {
                self.due.after(wait, Due::Listener(name.clone()));
            }
            if has_predecessor {
                self.due.after(HELD_MAX, Due::HeldListener(name));
            }
        }
    }

    /// How long it waits for secrets; route tables have times of their own.
    fn listener_wait(&self, listener: &Listener) -> Duration {
        let sources = listener.needs.secrets.iter().filter_map(|slot| slot.key.source.as_ref());
        sources.map(|source| source.initial_fetch_timeout).max().unwrap_or_default()
    }

    /// Whether it has all that is fetched.
    fn has_needs(&self, version: &Version) -> bool {
        let needs = &version.listener.needs;
        needs.routes.iter().all(|name| self.tables.is_settled(name.slot))
            && needs.scopes.iter().all(|name| self.scopes.is_settled(name.slot))
            && needs.extensions.iter().all(|slot| slot.is_ready())
            && (version.patient || needs.secrets.iter().all(|slot| slot.is_ready()))
    }

    /// Whether every cluster it names is there.
    fn has_clusters(&self, version: &Version) -> bool {
        let own = clusters_of(&version.listener);
        let tables = version.listener.needs.routes.iter();
        let tables = tables.filter_map(|name| self.tables.by_slot.get(&name.slot)?.active.as_ref());
        own.iter().all(|name| self.is_at_hand(name))
            && tables.flat_map(|table| &table.clusters).all(|name| self.is_at_hand(name))
    }

    /// The version that is warming takes over if it has all it needs. Answers whether none warms.
    fn activate_listener_if_warm(&mut self, name: &Arc<str>) -> bool {
        let Some(entry) = self.listeners.by_name.get(name) else { return true };
        let Some(version) = &entry.warming else { return true };
        if !self.init.may_listen() || !self.has_needs(version) {
            return false;
        }
        if entry.active.is_some() && !version.reckless && !self.has_clusters(version) {
            return false;
        }
        self.activate_listener(name);
        true
    }

    fn activate_listener(&mut self, name: &Arc<str>) {
        let Some(entry) = self.listeners.by_name.get_mut(name) else { return };
        let Some(mut version) = entry.warming.take() else { return };
        self.listeners.warming = self.listeners.warming.saturating_sub(1);
        let listener = version.listener.clone();
        for (shard, sockets) in std::mem::take(&mut version.sockets).into_iter().enumerate() {
            if !sockets.is_empty() {
                self.outlet.sockets(shard, sockets);
            }
        }
        let before = entry.active.replace(version);
        self.clusters.hold(&clusters_of(&listener));
        self.change.listeners.push(ListenerChange::Set(listener.clone()));
        let created = self.names.listeners.listener_create_success();
        self.stats.add(created, self.shards as u64);
        if let Some(before) = before {
            self.drain_old(&before.listener, Some(&listener));
            self.end_listener(&before.listener);
        }
    }

    /// The shards let the connections of a version drain, or those of the chains that `new` does
    /// not have any more.
    fn drain_old(&mut self, old: &Arc<Listener>, new: Option<&Arc<Listener>>) {
        let in_place = new.is_some_and(|new| new.differs_in_chains_only(old));
        let chains = if in_place {
            self.stats.inc(self.names.listeners.listener_in_place_updated());
            let stays = |hash: u64| new.is_some_and(|n| n.chains.iter().any(|c| c.hash == hash));
            Some(old.chains.iter().filter(|chain| !stays(chain.hash)).count())
        } else {
            None
        };
        let (listener, left) = (old.clone(), self.shards);
        self.listeners.draining.push(Draining { listener, left, chains });
    }

    /// A shard has no connection of an old version left.
    pub(crate) fn listener_drained(&mut self, listener: &Arc<Listener>) {
        let all = &mut self.listeners.draining;
        if let Some(one) = all.iter_mut().find(|one| Arc::ptr_eq(&one.listener, listener)) {
            one.left = one.left.saturating_sub(1);
        }
        all.retain(|one| one.left > 0);
        self.count();
        self.sweep_soon();
    }

    /// A version that was active is not any more.
    fn end_listener(&mut self, listener: &Arc<Listener>) {
        self.release_clusters(&clusters_of(listener));
        self.release_listener(listener);
    }

    /// A version needs all this from now on.
    fn want_needs(&mut self, listener: &Listener) {
        let needs = &listener.needs;
        for name in &needs.routes {
            self.want_routes(name, &stat_prefix(listener, name));
        }
        let first = managers(listener).next().map(|manager| manager.stat_prefix.clone());
        self.want_scopes(&needs.scopes, &first.unwrap_or_else(|| "".into()));
        self.want_secrets(&needs.secrets);
        self.want_extensions(&needs.extensions);
    }

    /// A version does not need anything any more.
    fn release_listener(&mut self, listener: &Arc<Listener>) {
        let needs = &listener.needs;
        needs.routes.iter().for_each(|name| self.release_routes(name));
        self.release_scopes(&needs.scopes);
        self.release_secrets(&needs.secrets);
        self.release_extensions(&needs.extensions);
    }

    /// LDS has no such listener any more.
    pub(super) fn remove_listener(&mut self, name: &Arc<str>) {
        if self.listeners.by_name.get(name).is_none_or(|entry| entry.fixed) {
            return;
        }
        let Some(entry) = self.listeners.by_name.remove(name) else { return };
        self.listeners.order.retain(|other| other != name);
        self.listeners.bound.retain(|bound| bound.name != *name);
        if let Some(version) = &entry.warming {
            self.listeners.warming = self.listeners.warming.saturating_sub(1);
            self.release_listener(&version.listener);
        }
        if let Some(version) = &entry.active {
            self.change.listeners.push(ListenerChange::Remove(name.clone()));
            self.drain_old(&version.listener, None);
            self.end_listener(&version.listener);
        }
        if entry.active.is_some() || entry.warming.is_some() {
            self.stats.inc(self.names.listeners.listener_removed());
            log!(Info, Upstream, "lds: remove listener '{name}'");
        }
    }

    /// What some listener waits for may have come.
    pub(super) fn listeners_may_be_warm(&mut self) {
        if self.listeners.warming == 0 || !self.init.may_listen() {
            return;
        }
        for name in self.listeners.order.clone() {
            self.activate_listener_if_warm(&name);
        }
    }

    /// Whether every listener has what it needs.
    pub(super) fn listeners_have_needs(&self) -> bool {
        let mut warming = self.listeners.by_name.values().filter_map(|e| e.warming.as_ref());
        self.listeners.warming == 0 || warming.all(|version| self.has_needs(version))
    }

    /// A listener has waited long enough for what is fetched.
    pub(super) fn listener_due(&mut self, name: &Arc<str>) {
        self.hurry_listener(name, |version| version.patient = true);
    }

    /// A listener has waited long enough for the clusters it names.
    pub(super) fn held_listener_due(&mut self, name: &Arc<str>) {
        self.hurry_listener(name, |version| version.reckless = true);
    }

    fn hurry_listener(&mut self, name: &Arc<str>, hurry: impl FnOnce(&mut Version)) {
        let entry = self.listeners.by_name.get_mut(name);
        let Some(version) = entry.and_then(|entry| entry.warming.as_mut()) else { return };
        hurry(version);
        self.activate_listener_if_warm(name);
    }

    /// Nobody names these clusters for this thing any more.
    pub(super) fn release_clusters(&mut self, names: &[Arc<ClusterName>]) {
        for free in self.clusters.release(names) {
            self.drop_cluster(&free);
        }
    }

    /// For `/config_dump`.
    pub(super) fn dump_listeners(&self, out: &mut Vec<Dumped>) {
        for (name, entry) in self.listeners.by_name.iter().filter(|(_, entry)| !entry.fixed) {
            let versions = [
                (entry.active.as_ref(), ResourceState::Active),
                (entry.warming.as_ref(), ResourceState::Warming),
            ];
            let versions =
                versions.into_iter().filter_map(|(v, state)| Some((v?.raw.clone()?, state)));
            Dumped::versions(name, versions, out);
        }
    }

    /// Who waits for what, for `/init_dump`.
    pub(super) fn unready_listeners(&self, out: &mut Vec<super::raw::Unready>) {
        for (name, entry) in &self.listeners.by_name {
            let Some(version) = &entry.warming else { continue };
            let needs = &version.listener.needs;
            let routes = needs.routes.iter().filter(|r| !self.tables.is_settled(r.slot));
            let routes = routes
                .map(|r| format!("shared target RdsRouteConfigSubscription RDS init {}", r.name));
            let secrets = needs.secrets.iter().filter(|slot| !slot.is_ready());
            let secrets = secrets.map(|slot| format!("target SdsApi {}", slot.key.name));
            let extensions = needs.extensions.iter().filter(|slot| !slot.is_ready());
            let extensions =
                extensions.map(|slot| format!("target FilterConfigSubscription {}", slot.name));
            let scopes = needs.scopes.iter().filter(|s| !self.scopes.is_settled(s.slot));
            let scopes = scopes.map(|s| format!("target ScopedRoutes {}", s.name));
            let targets: Vec<String> =
                routes.chain(secrets).chain(extensions).chain(scopes).collect();
            if !targets.is_empty() {
                let hash = version.listener.hash;
                let name = format!("init manager Listener-local-init-manager {name} {hash}");
                out.push(super::raw::Unready { name, targets });
            }
        }
    }
}

impl Listeners {
    /// Listeners of LDS to compile again when values of the runtime change.
    pub(super) fn that_read_runtime(&self) -> Vec<Arc<Raw>> {
        let latest = |entry: &'_ Entry| -> Option<Arc<Raw>> {
            let version = entry.warming.as_ref().or(entry.active.as_ref())?;
            version.raw.clone().filter(|_| version.reads_runtime)
        };
        self.by_name.values().filter_map(latest).collect()
    }

    /// Whether the bootstrap has this listener, and it has had its turn.
    pub(super) fn is_fixed(&self, name: &str) -> bool {
        self.by_name.get(name).is_some_and(|entry| entry.fixed)
    }

    /// Where an address of a listener is bound, if a version of it is.
    fn bound_at(&self, name: &Arc<str>, address: &Address) -> Option<Address> {
        let entry = self.by_name.get(name)?;
        let versions = [&entry.active, &entry.warming].into_iter().flatten();
        let mut bound = versions.filter(|version| version.listener.bind_to_port);
        let version = bound.find(|version| version.listener.addresses.contains(address))?;
        let at = version.listener.addresses.iter().position(|have| have == address)?;
        let bound = self.bound.iter().find(|bound| bound.name == *name);
        let is_that = |actual: &&Address| *actual == address || is_any_port(address);
        let actual = bound.and_then(|bound| bound.addresses.get(at)).filter(is_that);
        Some(actual.unwrap_or(address).clone())
    }

    /// An address that another listener has.
    fn taken_by_another<'a>(&self, listener: &'a Listener) -> Option<&'a Address> {
        if !listener.bind_to_port {
            return None;
        }
        let has = |other: &Entry, address: &Address| {
            let versions = [&other.active, &other.warming].into_iter().flatten();
            let mut bound = versions.filter(|version| version.listener.bind_to_port);
            bound.any(|version| version.listener.addresses.contains(address))
        };
        let others = self.by_name.iter().filter(|(name, _)| **name != listener.name);
        let others: Vec<&Entry> = others.map(|(_, entry)| entry).collect();
        let mut own = listener.addresses.iter().filter(|address| !is_any_port(address));
        own.find(|address| others.iter().any(|other| has(other, address)))
    }

    fn note_bound(&mut self, bound: Bound) {
        match self.bound.iter_mut().find(|have| have.name == bound.name) {
            Some(have) => *have = bound,
            None => self.bound.push(bound),
        }
    }

    /// How many are active.
    pub(super) fn active(&self) -> usize {
        self.by_name.values().filter(|entry| entry.active.is_some()).count()
    }
}

fn is_any_port(address: &Address) -> bool {
    matches!(address, Address::Ip(ip) if ip.port() == 0)
}

fn managers(listener: &Listener) -> impl Iterator<Item = &Arc<HttpManager>> {
    listener.chains.iter().filter_map(|chain| match &chain.terminal {
        Terminal::Http(manager, _) => Some(manager),
        _ => None,
    })
}

/// `stat_prefix` of the manager that names a table.
fn stat_prefix(listener: &Listener, name: &RouteName) -> Arc<str> {
    let names =
        |manager: &&Arc<HttpManager>| matches!(&manager.routes, Routes::Rds(n) if **n == *name);
    let manager = managers(listener).find(names).or_else(|| managers(listener).next());
    manager.map_or_else(|| "".into(), |manager| manager.stat_prefix.clone())
}

/// Clusters a listener itself names.
fn clusters_of(listener: &Listener) -> Vec<Arc<ClusterName>> {
    let mut names = Vec::new();
    for chain in &listener.chains {
        match &chain.terminal {
            Terminal::Http(manager, _) => {
                names.extend(
                    manager.routes.inline().iter().flat_map(|t| t.clusters.iter().cloned()),
                );
            }
            Terminal::TcpProxy(proxy) => names.extend(proxy.clusters.iter().cloned()),
            Terminal::Echo | Terminal::DirectResponse(_) | Terminal::Nothing => {}
        }
    }
    names
}
