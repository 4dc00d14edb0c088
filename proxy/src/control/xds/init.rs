//! The order in which a proxy begins: who has to be there before who is asked for.
//!
//! LIFECYCLE: `Primary` (clusters of the bootstrap that need no xDS: addresses by DNS, first
//! health checks) → `Runtime` (layers of RTDS) → `Secondary` (clusters of the bootstrap whose
//! endpoints come by EDS) → `Clusters` (the first CDS response, and every cluster of it) →
//! `Listeners` (the first LDS response, and what its listeners and those of the bootstrap need) →
//! `Starting` (the shards open the listeners) → `Live`. Every wait ends with its
//! `initial_fetch_timeout` at the latest.

use super::Xds;
use super::due::Due;
use super::feeds::{FeedId, Wanted};
use super::kind::Kind;
use super::raw::Unready;
use crate::control::log::log;
use crate::plan::ConfigSource;

/// Where the start is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stage {
    Primary,
    Runtime,
    Secondary,
    Clusters,
    Listeners,
    Starting,
    Live,
}

/// State of the start.
#[derive(Debug)]
pub(super) struct Init {
    pub(super) stage: Stage,
    /// Kinds of which all there are is asked for, and that have not answered.
    awaited: Vec<(FeedId, Kind)>,
    /// The version with the first listeners.
    first: u64,
    /// Listeners wait for somebody else.
    held: bool,
}

impl Init {
    pub(super) fn new() -> Self {
        Self { stage: Stage::Primary, awaited: Vec::new(), first: 0, held: false }
    }

    /// Whether listeners may be sent to the shards.
    pub(super) fn may_listen(&self) -> bool {
        self.stage >= Stage::Starting
    }

    fn awaits(&self, kind: Kind) -> bool {
        self.awaited.iter().any(|(_, awaited)| *awaited == kind)
    }
}

impl Xds {
    /// Goes on with the start as far as it gets.
    pub(super) fn advance(&mut self) {
        loop {
            let before = self.init.stage;
            match before {
                Stage::Primary if self.clusters.are_settled() => self.begin_runtime(),
                Stage::Runtime if self.layers_are_there() => self.begin_secondary(),
                Stage::Secondary if self.clusters.are_settled() => self.begin_clusters(),
                Stage::Clusters if !self.init.awaits(Kind::Cluster) && self.clusters_settled() => {
                    self.begin_listeners();
                }
                Stage::Listeners if !self.init.held && self.may_accept() => self.begin_accepting(),
                _ => {}
            }
            if self.init.stage == before {
                return;
            }
        }
    }

    fn clusters_settled(&self) -> bool {
        self.clusters.are_settled() && !self.has_work_of(Kind::Cluster)
    }

    fn begin_runtime(&mut self) {
        self.init.stage = Stage::Runtime;
        self.count_runtime();
        self.want_layers();
    }

    fn begin_secondary(&mut self) {
        self.init.stage = Stage::Secondary;
        self.count_runtime();
        let secondary = std::mem::take(&mut self.secondary);
        if !secondary.is_empty() {
            log!(Info, Upstream, "cm init: initializing secondary clusters");
        }
        secondary.into_iter().for_each(|cluster| self.put_static_cluster(cluster));
    }

    fn begin_clusters(&mut self) {
        self.init.stage = Stage::Clusters;
        self.begin_load_reports();
        if let Some(source) = self.dynamic.cds.clone() {
            log!(Info, Upstream, "cm init: initializing cds");
            self.ask_for_all(Kind::Cluster, &source, "cluster_manager.cds.");
        }
    }

    fn begin_listeners(&mut self) {
        self.init.stage = Stage::Listeners;
        log!(Info, Upstream, "cm init: all clusters initialized");
        let listeners = std::mem::take(&mut self.first_listeners);
        for (listener, sockets) in listeners {
            self.put_static_listener(listener, sockets);
        }
        if let Some(source) = self.dynamic.lds.clone() {
            self.ask_for_all(Kind::Listener, &source, "listener_manager.lds.");
        }
    }

    fn begin_accepting(&mut self) {
        self.init.stage = Stage::Starting;
        log!(Info, Config, "all dependencies initialized. starting workers");
        self.listeners_may_be_warm();
        // Every shard answers, and so shows that it runs.
        self.init.first = self.flush(true);
    }

    /// The version every shard must have before the proxy is live.
    pub(crate) fn first_version(&self) -> u64 {
        self.init.first
    }

    /// While it is held the start does not get beyond its last wait: no listener accepts.
    pub(crate) fn hold_start(&mut self, held: bool) {
        self.init.held = held;
        self.settle();
    }

    /// The start lacks nothing but that it is not held any more.
    pub(crate) fn waits_for_release(&self) -> bool {
        self.init.held && self.init.stage == Stage::Listeners && self.may_accept()
    }

    fn may_accept(&self) -> bool {
        !self.init.awaits(Kind::Listener) && self.listeners_have_needs()
    }

    /// Every shard has the version with the first listeners.
    pub(crate) fn started(&mut self) {
        self.init.stage = Stage::Live;
    }

    /// Asks for all resources of a kind; the start waits for the first answer.
    fn ask_for_all(&mut self, kind: Kind, source: &ConfigSource, prefix: &str) {
        let wanted = Wanted { origin: &source.origin, kind, prefix };
        let feed = match self.open_feed(wanted) {
            Ok(feed) => feed,
            Err(text) => {
                log!(Warning, Config, "{kind}: {text}");
                return;
            }
        };
        self.begin_whole(kind, feed, source, prefix);
        self.feeds.subscribe_all(feed, kind);
        self.init.awaited.push((feed, kind));
        if !source.initial_fetch_timeout.is_zero() {
            self.due.after(source.initial_fetch_timeout, Due::First(feed, kind));
        }
    }

    /// The first answer is there, or will not be.
    pub(super) fn answered(&mut self, feed: FeedId, kind: Kind) {
        self.init.awaited.retain(|awaited| *awaited != (feed, kind));
    }

    /// The first answer has not come in time.
    pub(super) fn first_due(&mut self, feed: FeedId, kind: Kind) {
        if !self.init.awaited.contains(&(feed, kind)) {
            return;
        }
        self.answered(feed, kind);
        if let Some(whole) = self.whole.get(&kind) {
            whole.counts.slots().timed_out(&self.stats);
        }
        let url = kind.type_url();
        log!(Warning, Config, "gRPC config: initial fetch timed out for {url}");
    }

    /// For `/init_dump`.
    pub(super) fn unready(&self) -> Vec<Unready> {
        let mut out = Vec::new();
        let targets: Vec<String> = self
            .init
            .awaited
            .iter()
            .map(|(_, kind)| format!("target {}", kind.word().to_uppercase()))
            .collect();
        if !targets.is_empty() {
            out.push(Unready { name: "init manager Server".to_owned(), targets });
        }
        self.unready_listeners(&mut out);
        out.sort_by(|a, b| a.name.cmp(&b.name));
        out
    }
}
