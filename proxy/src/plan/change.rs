//! One step from a configuration to the next: what the control thread sends to all others.

use std::sync::Arc;

use super::Plan;
use super::cluster::{Cluster, ClusterId};
use super::extension::ExtensionSlot;
use super::host_set::HostSet;
use super::listener::Listener;
use super::names::{RouteName, RouteSlot, ScopeName, ScopeSlot};
use super::route::{RouteTable, ScopeSet};
use super::tls::SecretSlot;

/// One step from one configuration to the next; the first one is a step from nothing.
///
/// It is applied in one go, in this order: clusters that come or change, hosts, route tables,
/// scopes, listeners, clusters that go. So no route misses a cluster, and no listener its routes.
#[derive(Debug, Default)]
pub struct Change {
    /// Grows by one with every change.
    pub version: u64,
    /// Clusters that are new or other than before, and (`None`) those that go.
    pub clusters: Vec<(ClusterId, Option<Arc<Cluster>>)>,
    /// Clusters that have other hosts, by EDS.
    pub hosts: Vec<(ClusterId, Arc<HostSet>)>,
    /// As `clusters`, of route tables that came by RDS.
    pub routes: Vec<(RouteSlot, Option<Arc<RouteTable>>)>,
    /// The same of sets of scopes that came by SRDS.
    pub scopes: Vec<(ScopeSlot, Option<Arc<ScopeSet>>)>,
    /// Listeners that are new, other than before, or go.
    pub listeners: Vec<ListenerChange>,
    /// Nobody waits to hear that it is installed, as the start does: an answer wakes a thread.
    pub unanswered: bool,
}

/// What becomes of a listener.
#[derive(Debug, Clone)]
pub enum ListenerChange {
    /// It is new, or takes the place of the one with its name.
    Set(Arc<Listener>),
    /// The one with this name goes.
    Remove(Arc<str>),
}

/// What a resource waits for before it may be used.
#[derive(Debug, Default)]
pub struct Needs {
    /// Route tables by RDS.
    pub routes: Vec<Arc<RouteName>>,
    /// Sets of scopes by SRDS.
    pub scopes: Vec<Arc<ScopeName>>,
    /// Options of filters by ECDS.
    pub extensions: Vec<Arc<ExtensionSlot>>,
    /// Secrets by SDS.
    pub secrets: Vec<Arc<SecretSlot>>,
}

impl Needs {
    /// Nothing.
    pub fn is_empty(&self) -> bool {
        let Self { routes, scopes, extensions, secrets } = self;
        let later = routes.is_empty() && scopes.is_empty() && extensions.is_empty();
        later && secrets.is_empty()
    }
}

impl Change {
    /// The step from nothing to a whole plan.
    pub fn all(plan: &Plan) -> Self {
        let clusters = plan.clusters.iter().flatten();
        let numbered = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        let routes = plan.routes.iter().enumerate();
        let scopes = plan.scopes.iter().enumerate();
        Self {
            version: plan.version,
            clusters: clusters.map(|cluster| (cluster.id, Some(Arc::clone(cluster)))).collect(),
            hosts: Vec::new(),
            routes: routes
                .filter_map(|(i, table)| Some((RouteSlot(numbered(i)), Some(table.clone()?))))
                .collect(),
            scopes: scopes
                .filter_map(|(i, set)| Some((ScopeSlot(numbered(i)), Some(set.clone()?))))
                .collect(),
            listeners: plan.listeners.iter().cloned().map(ListenerChange::Set).collect(),
            unanswered: false,
        }
    }

    /// Clusters that are new or other than before.
    pub fn set_clusters(&self) -> impl Iterator<Item = &Arc<Cluster>> {
        self.clusters.iter().filter_map(|(_, cluster)| cluster.as_ref())
    }

    /// Clusters that go.
    pub fn removed_clusters(&self) -> impl Iterator<Item = ClusterId> {
        self.clusters.iter().filter(|(_, cluster)| cluster.is_none()).map(|(id, _)| *id)
    }
}

impl Plan {
    /// Takes a step.
    pub fn apply(&mut self, change: &Change) {
        self.version = change.version;
        for (id, cluster) in &change.clusters {
            if let Some(old) = set(&mut self.clusters, id.0, cluster.clone())
                && self.cluster_ids.get(&old.name) == Some(id)
            {
                self.cluster_ids.remove(&old.name);
            }
            if let Some(new) = cluster {
                self.cluster_ids.insert(new.name.clone(), *id);
            }
        }
        for (slot, table) in &change.routes {
            set(&mut self.routes, slot.0, table.clone());
        }
        for (slot, scopes) in &change.scopes {
            set(&mut self.scopes, slot.0, scopes.clone());
        }
        for listener in &change.listeners {
            self.apply_listener(listener);
        }
    }

    fn apply_listener(&mut self, change: &ListenerChange) {
        let name = match change {
            ListenerChange::Set(listener) => &listener.name,
            ListenerChange::Remove(name) => name,
        };
        let at = self.listeners.iter().position(|have| have.name == *name);
        match (change, at.and_then(|at| self.listeners.get_mut(at))) {
            (ListenerChange::Set(new), Some(have)) => *have = Arc::clone(new),
            (ListenerChange::Set(new), None) => self.listeners.push(Arc::clone(new)),
            (ListenerChange::Remove(_), _) => {
                if let Some(at) = at {
                    self.listeners.remove(at);
                }
            }
        }
    }
}

/// Puts something at its place and answers what was there.
pub(crate) fn set<T>(list: &mut Vec<Option<T>>, at: u32, value: Option<T>) -> Option<T> {
    let at = at as usize;
    if at >= list.len() {
        list.resize_with(at + 1, || None);
    }
    list.get_mut(at).and_then(|place| std::mem::replace(place, value))
}
