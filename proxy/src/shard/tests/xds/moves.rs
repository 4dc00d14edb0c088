//! What happens to a configuration: steps from one that is consistent to the next.

use std::collections::BTreeMap;
use std::fmt;
use std::rc::Rc;

use super::state::{
    CLUSTERS, Chain, Cluster, HOSTS, Hosts, Key, Listener, State, TABLES, Table, ports_of,
};
use crate::control::xds::Kind;
use crate::shard::tests::client::Rng;

/// Makes the steps of one run.
pub(super) struct Moves {
    rng: Rng,
    label: u32,
}

/// One change to what the server has.
#[derive(Clone, PartialEq)]
pub(super) enum Op {
    /// It is as the state says from now on.
    Set(Key),
    /// It is as this other state says for a while.
    Pass(Key, Rc<State>),
    /// It is not there for a while.
    Drop(Key),
    /// It is something that has to be refused.
    Spoil(Key),
}

impl fmt::Debug for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (what, (kind, name)) = match self {
            Self::Set(key) => ("set", key),
            Self::Pass(key, _) => ("set in passing", key),
            Self::Drop(key) => ("take away", key),
            Self::Spoil(key) => ("spoil", key),
        };
        write!(f, "{what} {kind} {name}")
    }
}

impl Moves {
    pub(super) fn new(seed: u64) -> Self {
        Self { rng: Rng(seed), label: 0 }
    }

    pub(super) fn below(&mut self, limit: u64) -> u64 {
        self.rng.next() % limit
    }

    fn one_of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len() as u64) as usize]
    }

    fn label(&mut self) -> u32 {
        self.label += 1;
        self.label
    }

    pub(super) fn shuffle<T>(&mut self, list: &mut [T]) {
        for at in (1..list.len()).rev() {
            list.swap(at, self.below(at as u64 + 1) as usize);
        }
    }

    /// The first configuration.
    pub(super) fn first(&mut self) -> State {
        let mut state = State::default();
        for cluster in ["c0", "c1"] {
            self.add_cluster(&mut state, cluster);
        }
        for table in TABLES {
            self.route(&mut state, table);
        }
        state.listeners.insert("l0", self.listener());
        if self.below(2) == 0 {
            state.listeners.insert("l1", self.listener());
        }
        state
    }

    /// One thing becomes another, and what depends on it with it.
    pub(super) fn change(&mut self, state: &mut State) {
        let there: Vec<&'static str> = state.clusters.keys().copied().collect();
        let cluster = self.one_of(&there);
        let table = self.one_of(&TABLES);
        match self.below(14) {
            0..=2 => self.move_hosts(state, cluster),
            3 => {
                let label = self.label();
                if let Some(cluster) = state.clusters.get_mut(cluster) {
                    cluster.label = label;
                }
            }
            4 => self.change_source(state, cluster),
            5 | 6 => self.add_or_remove_cluster(state),
            7 | 8 => self.route(state, table),
            9 => self.change_chains(state),
            10 => {
                let label = self.label();
                if let Some(listener) = state.listeners.values_mut().last() {
                    listener.label = label;
                }
            }
            11 => self.move_over(state, table),
            _ => {
                if state.listeners.remove("l1").is_none() {
                    state.listeners.insert("l1", self.listener());
                }
            }
        }
    }

    /// A listener goes over to another table, of which some goes to another cluster.
    fn move_over(&mut self, state: &mut State, table: &'static str) {
        let mut all = CLUSTERS.iter().copied();
        if let Some(new) = all.find(|name| !state.clusters.contains_key(name)) {
            self.add_cluster(state, new);
        }
        self.route(state, table);
        let label = self.label();
        if let Some(listener) = state.listeners.get_mut("l0") {
            listener.chains.insert("rest", Chain { label, table });
        }
    }

    fn hosts(&mut self, cluster: &str) -> Hosts {
        let mut hosts = Hosts::new();
        for _ in 0..=self.below(2) {
            let weight = 1 + self.below(3) as u32;
            hosts.insert(self.one_of(ports_of(cluster)), weight);
        }
        hosts
    }

    fn move_hosts(&mut self, state: &mut State, cluster: &'static str) {
        let hosts = if self.below(10) == 0 { Hosts::new() } else { self.hosts(cluster) };
        let Some(entry) = state.clusters.get_mut(cluster) else { return };
        if entry.inline.is_some() {
            entry.inline = Some(hosts);
            entry.label = self.label();
        } else {
            state.endpoints.insert(cluster, hosts);
        }
    }

    fn change_source(&mut self, state: &mut State, cluster: &'static str) {
        let hosts = self.hosts(cluster);
        let label = self.label();
        let Some(entry) = state.clusters.get_mut(cluster) else { return };
        entry.label = label;
        if entry.inline.take().is_some() {
            state.endpoints.insert(cluster, hosts);
        } else {
            entry.inline = Some(hosts);
            state.endpoints.remove(cluster);
        }
    }

    fn add_cluster(&mut self, state: &mut State, cluster: &'static str) {
        let hosts = self.hosts(cluster);
        let label = self.label();
        if self.below(4) == 0 {
            state.clusters.insert(cluster, Cluster { label, inline: Some(hosts) });
        } else {
            state.clusters.insert(cluster, Cluster { label, inline: None });
            state.endpoints.insert(cluster, hosts);
        }
    }

    fn add_or_remove_cluster(&mut self, state: &mut State) {
        let cluster = self.one_of(&CLUSTERS);
        if !state.clusters.contains_key(cluster) {
            self.add_cluster(state, cluster);
            let table = self.one_of(&TABLES);
            return self.route(state, table);
        }
        if state.clusters.len() < 2 {
            return;
        }
        state.clusters.remove(cluster);
        state.endpoints.remove(cluster);
        for table in TABLES {
            let names = |table: &Table| table.to.values().any(|to| *to == cluster);
            if state.tables.get(table).is_some_and(names) {
                self.route(state, table);
            }
        }
    }

    /// A table leads elsewhere.
    fn route(&mut self, state: &mut State, table: &'static str) {
        let there: Vec<&'static str> = state.clusters.keys().copied().collect();
        let mut to = BTreeMap::new();
        for host in HOSTS {
            if host == "a" || self.below(8) > 0 {
                to.insert(host, self.one_of(&there));
            }
        }
        let label = self.label();
        state.tables.insert(table, Table { label, to });
    }

    fn listener(&mut self) -> Listener {
        let (label, mut chains) = (self.label(), BTreeMap::new());
        chains.insert("rest", self.chain());
        if self.below(2) == 0 {
            chains.insert("h2", self.chain());
        }
        Listener { label, chains }
    }

    fn chain(&mut self) -> Chain {
        Chain { label: self.label(), table: self.one_of(&TABLES) }
    }

    /// A chain of a listener comes, goes or changes.
    fn change_chains(&mut self, state: &mut State) {
        let chain = self.chain();
        let (which, what) = (self.below(2), self.below(3));
        let listener = if which == 0 { "l0" } else { "l1" };
        let Some(listener) = state.listeners.get_mut(listener) else { return };
        match what {
            0 => _ = listener.chains.insert("rest", chain),
            1 if listener.chains.remove("h2").is_some() => {}
            _ => _ = listener.chains.insert("h2", chain),
        }
    }

    /// What leads from one state to another, in any order; and what happens besides.
    pub(super) fn ops(&mut self, from: &State, to: &State) -> Vec<Op> {
        let mut ops: Vec<Op> = from.differences(to).into_iter().map(Op::Set).collect();
        self.shuffle(&mut ops);
        // Something that stays is away for a moment.
        if self.below(6) == 0 {
            let clusters = to.clusters.keys().filter(|name| from.clusters.contains_key(*name));
            let mut keys: Vec<Key> = clusters.map(|name| (Kind::Cluster, *name)).collect();
            if from.listeners.contains_key("l1") && to.listeners.contains_key("l1") {
                keys.push((Kind::Listener, "l1"));
            }
            if !keys.is_empty() {
                let key = self.one_of(&keys);
                ops.retain(|op| *op != Op::Set(key));
                let at = self.below(ops.len() as u64 + 1) as usize;
                ops.insert(at, Op::Set(key));
                ops.insert(self.below(at as u64 + 1) as usize, Op::Drop(key));
            }
        }
        if self.below(3) == 0 {
            self.pass_by(&mut ops, to);
        }
        ops
    }

    /// Something that changes is a third thing in between.
    fn pass_by(&mut self, ops: &mut Vec<Op>, to: &State) {
        let at = self.below(ops.len().max(1) as u64) as usize;
        let Some(&Op::Set(key)) = ops.get(at) else { return };
        let mut other = to.clone();
        let (label, chain) = (self.label(), self.chain());
        match key {
            (Kind::Cluster, name) => {
                let Some(cluster) = other.clusters.get_mut(name) else { return };
                cluster.label = label;
            }
            (Kind::Routes, name) if other.tables.contains_key(name) => {
                self.route(&mut other, name);
            }
            (Kind::Listener, name) => {
                let Some(listener) = other.listeners.get_mut(name) else { return };
                listener.label = label;
                listener.chains.insert("rest", chain);
            }
            (_, name) => {
                if !other.clusters.contains_key(name) {
                    return;
                }
                let hosts = self.hosts(name);
                other.endpoints.insert(name, hosts);
            }
        }
        ops.insert(self.below(at as u64 + 1) as usize, Op::Pass(key, Rc::new(other)));
    }

    /// Something that is there both before and after a step, and does not change in it, to be
    /// spoilt meanwhile. Nothing that is new may wait for it.
    pub(super) fn spoilt(&mut self, from: &State, to: &State) -> Option<Key> {
        let clusters = to.clusters.iter().filter(|(name, it)| from.clusters.get(*name) == Some(it));
        let mut keys = Vec::new();
        for (name, cluster) in clusters {
            keys.push((Kind::Cluster, *name));
            if cluster.inline.is_none() && from.endpoints.get(name) == to.endpoints.get(name) {
                keys.push((Kind::Endpoints, *name));
            }
        }
        if from.listeners == to.listeners {
            let chains = to.listeners.values().flat_map(|listener| listener.chains.values());
            for table in chains.map(|chain| chain.table) {
                if from.tables.get(table) == to.tables.get(table) {
                    keys.push((Kind::Routes, table));
                }
            }
            keys.extend(to.listeners.keys().map(|name| (Kind::Listener, *name)));
        }
        (!keys.is_empty()).then(|| self.one_of(&keys))
    }
}
