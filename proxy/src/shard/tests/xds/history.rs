//! What was in force when, and what follows for requests: the oracle.
//!
//! A moment at which the whole proxy is known to do what the server last said is *quiet*. A
//! request is right if its answer fits contents that were in force, resource by resource, at some
//! time from the last quiet moment before it was sent until it was answered: that is what the
//! server said then, and what it has said since. So as soon as all is quiet nothing older will do,
//! and where a round changes nothing of what a request needs there is one right answer.
//!
//! - An answer of a server names the route (table, version, cluster) and the filter chain
//!   (listener, version) it came by. The table must have led this host to that cluster, the cluster
//!   must have had that server, the chain must have named the table, and must have been there when
//!   the connection was accepted; a chain that is not in force any more has the drain time.
//! - 404 is right where the table of the chain has had no such host, 503 where its cluster may have
//!   had no hosts: the server said so, or (incremental) that it knows of none. A listener that is
//!   new does not wait for clusters: 503 is right as well where it has come before one of them.
//! - A connection that is refused is right where the listener was not there for a while, one that
//!   is cut where the listener went.
//! - The proxy may end a client's connection if its chain is not in force any more, and a server's
//!   if the cluster was changed or the server is not among its hosts any more.

use std::collections::BTreeMap;
use std::time::Duration;

use ringway_runtime::Instant;
use ringway_runtime::SockAddr;

use super::DRAIN;
use super::state::{CLUSTERS, Cluster, Hosts, Key, LISTENERS, Listener, State, TABLES, Table};
use crate::control::xds::Kind;
use crate::shard::tests::world::traffic::{Answer, End, Whose};

/// Contents of a resource, each from some moment on.
struct Life<V>(Vec<(Instant, Option<V>)>);

impl<V> Default for Life<V> {
    fn default() -> Self {
        Self(vec![(Instant::from_nanos(0), None)])
    }
}

impl<V: Clone + PartialEq> Life<V> {
    fn set(&mut self, at: Instant, value: Option<&V>) {
        self.0.push((at, value.cloned()));
    }

    /// What was in force at some time within this span.
    fn within(&self, (from, to): Span) -> impl Iterator<Item = Option<&V>> + Clone {
        let ends = self.0.iter().skip(1).map(|(at, _)| *at).chain([Instant::FAR_FUTURE]);
        let all = self.0.iter().zip(ends);
        let these = all.filter(move |((since, _), until)| *since <= to && from <= *until);
        these.map(|((_, value), _)| value.as_ref())
    }

    /// Whether such a content went out of force within this span.
    fn went(&self, (from, to): Span, is: impl Fn(Option<&V>) -> bool) -> bool {
        self.0.windows(2).any(|pair| {
            let [(_, before), (at, after)] = pair else { return false };
            (from..=to).contains(at) && is(before.as_ref()) && !is(after.as_ref())
        })
    }

    /// When a content went out of force; `None` if it is still in force.
    fn over(&self, is: impl Fn(&V) -> bool) -> Option<Instant> {
        let last = self.0.iter().rposition(|(_, value)| value.as_ref().is_some_and(&is))?;
        self.0.get(last + 1).map(|(at, _)| *at)
    }
}

/// From when to when.
type Span = (Instant, Instant);

type Lives<V> = BTreeMap<&'static str, Life<V>>;

/// All that was in force.
pub(super) struct History {
    clusters: Lives<Cluster>,
    endpoints: Lives<Hosts>,
    tables: Lives<Table>,
    listeners: Lives<Listener>,
    quiet: Vec<Instant>,
    /// The server says what it does not have.
    incremental: bool,
}

/// What is wrong, for a person.
pub(super) type Verdict = Result<(), String>;

impl History {
    pub(super) fn new(incremental: bool) -> Self {
        Self {
            clusters: CLUSTERS.map(|name| (name, Life::default())).into(),
            endpoints: CLUSTERS.map(|name| (name, Life::default())).into(),
            tables: TABLES.map(|name| (name, Life::default())).into(),
            listeners: LISTENERS.map(|(name, _)| (name, Life::default())).into(),
            quiet: vec![Instant::from_nanos(0)],
            incremental,
        }
    }

    /// From now on this resource is as in `state`.
    pub(super) fn set(&mut self, at: Instant, (kind, name): Key, state: &State) {
        match kind {
            Kind::Cluster => {
                self.clusters.entry(name).or_default().set(at, state.clusters.get(name));
            }
            Kind::Endpoints => {
                self.endpoints.entry(name).or_default().set(at, state.endpoints.get(name));
            }
            Kind::Routes => self.tables.entry(name).or_default().set(at, state.tables.get(name)),
            Kind::Listener => {
                self.listeners.entry(name).or_default().set(at, state.listeners.get(name));
            }
            other => panic!("no {other} here"),
        }
    }

    /// All shards do what was said last.
    pub(super) fn quiet(&mut self, at: Instant) {
        self.quiet.push(at);
    }

    /// The last quiet moment before this one.
    fn quiet_before(&self, at: Instant) -> Instant {
        let before = self.quiet.iter().rfind(|quiet| **quiet <= at);
        before.copied().unwrap_or(Instant::from_nanos(0))
    }

    /// The first quiet moment after this one.
    fn quiet_after(&self, at: Instant) -> Option<Instant> {
        self.quiet.iter().find(|quiet| **quiet > at).copied()
    }

    /// Judges an answer.
    pub(super) fn judge(&self, answer: &Answer) -> Verdict {
        let span = (self.quiet_before(answer.began), answer.ended);
        let (name, listener) = self.listener_at(&answer.to);
        match answer.said.by.as_str() {
            "-404" | "-503" => {
                let table = self.table_of(name, listener, answer)?;
                let mut tables = self.tables[table].within(span);
                let fits = if answer.said.by == "-404" {
                    tables.any(|table| table.is_none_or(|t| !t.to.contains_key(&*answer.host)))
                } else {
                    let opened = (self.quiet_before(answer.opened), answer.ended);
                    let is_new = listener.within(opened).any(|listener| listener.is_none());
                    let missing =
                        |name: &str| self.clusters[name].within(span).any(|it| it.is_none());
                    let mut clusters = tables.filter_map(|table| table?.to.get(&*answer.host));
                    clusters.any(|name| self.hosts(name, span).1 || is_new && missing(name))
                };
                if fits { Ok(()) } else { Err("nothing explains this".to_owned()) }
            }
            by => match by.parse::<u16>() {
                Ok(port) => {
                    let table = self.table_of(name, listener, answer)?;
                    self.judge_route(table, port, answer, span)
                }
                Err(_) if by.starts_with("no connection") => {
                    let fits = listener.within(span).any(|listener| listener.is_none());
                    if fits { Ok(()) } else { Err("the listener was there".to_owned()) }
                }
                Err(_) => {
                    let span = (self.quiet_before(answer.opened).min(span.0), span.1);
                    let fits = listener.went(span, |listener| listener.is_some());
                    if fits { Ok(()) } else { Err("lost, and the listener stays".to_owned()) }
                }
            },
        }
    }

    fn listener_at(&self, to: &SockAddr) -> (&'static str, &Life<Listener>) {
        let port = to.as_inet().map_or(0, |inet| inet.port());
        let (name, _) = LISTENERS.iter().find(|(_, at)| *at == port).expect("a known listener");
        (name, &self.listeners[name])
    }

    /// The table of the chain an answer came by, if that chain may have answered.
    fn table_of(
        &self,
        name: &str,
        listener: &Life<Listener>,
        answer: &Answer,
    ) -> Result<&'static str, String> {
        let span = (self.quiet_before(answer.opened), answer.ended);
        let served = |listener: &Listener| {
            let mut chains = listener.chains.iter();
            let it = chains.find(|(chain, _)| listener.server(name, chain) == answer.said.server);
            it.map(|(_, chain)| chain.table)
        };
        let table = listener.within(span).find_map(|listener| served(listener?));
        let table = table.ok_or("this chain could not have taken the connection")?;
        // A chain that is not in force any more has to let go of its connections.
        let over = listener.over(|listener| served(listener).is_some());
        if let Some(gone) = over.and_then(|over| self.quiet_after(over))
            && answer.began > gone + DRAIN + Duration::from_millis(50)
        {
            return Err("this chain was to be drained long before".to_owned());
        }
        Ok(table)
    }

    fn judge_route(&self, table: &str, port: u16, answer: &Answer, span: Span) -> Verdict {
        let mut words = answer.said.route.split('.');
        let (of, label, cluster) = (words.next(), words.next(), words.next());
        let label = label.and_then(|label| label.parse::<u32>().ok());
        let cluster = CLUSTERS.iter().find(|name| Some(**name) == cluster).ok_or("no route")?;
        if of != Some(table) {
            return Err(format!("the chain has table {table}"));
        }
        let mut tables = self.tables[table].within(span).flatten();
        let found = tables.find(|table| Some(table.label) == label);
        let found = found.ok_or("this version of the table was not in force")?;
        if found.to.get(&*answer.host) != Some(cluster) {
            return Err(format!("the table led elsewhere: {:?}", found.to));
        }
        if !self.hosts(cluster, span).0.contains_key(&port) {
            return Err(format!("{cluster} has no such host: {:?}", self.hosts(cluster, span).0));
        }
        Ok(())
    }

    /// Hosts that a cluster has had, and whether it may have had none.
    fn hosts(&self, cluster: &str, span: Span) -> (Hosts, bool) {
        let (mut all, mut none) = (Hosts::new(), false);
        for version in self.clusters[cluster].within(span).flatten() {
            let Some(inline) = &version.inline else {
                for hosts in self.endpoints[cluster].within(span) {
                    none |= hosts.map_or(self.incremental, Hosts::is_empty);
                    all.extend(hosts.into_iter().flatten());
                }
                continue;
            };
            none |= inline.is_empty();
            all.extend(inline);
        }
        (all, none)
    }

    /// Judges the end of a connection.
    pub(super) fn judge_end(&self, end: &End) -> Verdict {
        let whole = (self.quiet_before(end.opened), end.ended);
        match &end.whose {
            // It had no answer that would tell.
            Whose::Client(server) if server.is_empty() => {
                let changed = self.listeners.values().any(|life| life.within(whole).count() > 1);
                if changed { Ok(()) } else { Err("no listener has changed".to_owned()) }
            }
            Whose::Client(server) => {
                let name = server.split('.').next().unwrap_or_default();
                let life = self.listeners.get(name).ok_or("of no listener")?;
                let has = |listener: Option<&Listener>| {
                    listener.is_some_and(|listener| {
                        listener.chains.keys().any(|chain| listener.server(name, chain) == *server)
                    })
                };
                if life.went(whole, has) { Ok(()) } else { Err("its chain stays".to_owned()) }
            }
            Whose::Server(port) => self.judge_server_end(*port, whole),
        }
    }

    fn judge_server_end(&self, port: u16, whole: Span) -> Verdict {
        let stays = |name: &&str| {
            let mut versions = self.clusters[*name].within(whole);
            let first = versions.next().flatten();
            let is_same = first.is_some() && versions.all(|other| other == first);
            let by_eds = first.is_some_and(|cluster| cluster.inline.is_none());
            let has = |hosts: Option<&Hosts>| hosts.is_some_and(|hosts| hosts.contains_key(&port));
            is_same && (!by_eds || self.endpoints[*name].within(whole).all(has))
        };
        let owners = CLUSTERS.iter().filter(|name| self.hosts(name, whole).0.contains_key(&port));
        let mut owners = owners.peekable();
        if owners.peek().is_some() && owners.all(stays) {
            return Err("its cluster and host stay".to_owned());
        }
        Ok(())
    }
}
