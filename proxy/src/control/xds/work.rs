//! Responses that are being worked on, a slice at a time: however many resources one brings,
//! signals, drains and other streams are never kept waiting for it.
//!
//! LIFECYCLE of a response: queued → its resources are applied one by one → what it leaves out is
//! removed → answered (ACK or NACK); the server may send its next one.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use ringway_runtime::precise_now;
use ringway_xds::client::{Answer, Expired, Receipt, Resource, Update, Verdict};

use super::Xds;
use super::counts::{Count, Counts, Slots};
use super::feeds::FeedId;
use super::files::Unread;
use super::kind::Kind;
use crate::control::log::log;
use crate::plan::ConfigSource;

/// How long a slice takes, about.
const SLICE: Duration = Duration::from_millis(1);

/// Resources applied between two looks at the clock.
const STEP: usize = 8;

/// Responses that wait.
#[derive(Debug, Default)]
pub(super) struct Work {
    queue: VecDeque<Job>,
}

/// A response.
#[derive(Debug)]
struct Job {
    feed: FeedId,
    kind: Kind,
    version: Arc<str>,
    changed: std::vec::IntoIter<Resource>,
    removed: Vec<Arc<str>>,
    restored: Vec<Arc<str>>,
    renewed: Vec<(Arc<str>, Arc<str>)>,
    /// Asked for, and not to be had.
    missing: Vec<Arc<str>>,
    /// Came as they were, by another name each.
    aliased: Vec<(Arc<str>, Arc<str>)>,
    /// Of a stream, which waits for the answer.
    receipt: Option<Receipt>,
    /// Time it has cost.
    used: Duration,
    rejected: Vec<(Arc<str>, String)>,
    begun: bool,
    counts: (usize, usize, usize),
}

/// A kind of which all resources are asked for.
#[derive(Debug)]
pub(super) struct Whole {
    pub(super) feed: FeedId,
    pub(super) source: ConfigSource,
    pub(super) counts: Counts,
    /// Of the last response that was taken.
    pub(super) version: Arc<str>,
}

impl Xds {
    /// Statistics of a kind of which all resources are asked for.
    pub(super) fn begin_whole(
        &mut self,
        kind: Kind,
        feed: FeedId,
        source: &ConfigSource,
        prefix: &str,
    ) {
        let reload = kind == Kind::Cluster;
        let counts = Counts::new(self.compiler.registry(), prefix, reload);
        self.begin_count(feed, counts.slots());
        let whole = Whole { feed, source: source.clone(), counts, version: "".into() };
        self.whole.insert(kind, whole);
    }

    /// A response has come.
    pub(super) fn queue_update(&mut self, feed: FeedId, update: Update, used: Duration) {
        if let Some(who) = &update.control_plane {
            self.set_identifier(feed, who);
        }
        for error in &update.errors {
            log!(
                Warning,
                Config,
                "{}: '{}' cannot be had: {} (code {})",
                update.type_url,
                error.name,
                error.message,
                error.code
            );
        }
        let Some(kind) = Kind::of(&update.type_url) else {
            // A kind nobody asked for: the protocol has answered for itself.
            let verdict = Verdict::default();
            let _silent = self.feeds.answer(feed, update.receipt, verdict, used);
            return;
        };
        let counts = (update.changed.len(), update.removed.len(), update.unchanged);
        let failed = update.errors.into_iter().map(|error| error.name);
        let mut missing: Vec<Arc<str>> = update.unresolved.into_iter().chain(failed).collect();
        missing.extend(update.removed.iter().cloned());
        self.work.queue.push_back(Job {
            feed,
            kind,
            version: update.version,
            changed: update.changed.into_iter(),
            removed: update.removed,
            restored: update.restored,
            renewed: update.renewed,
            missing,
            aliased: update.aliased,
            receipt: Some(update.receipt),
            used,
            rejected: Vec::new(),
            begun: false,
            counts,
        });
    }

    /// Who is at the other end of a feed (`control_plane.identifier`).
    fn set_identifier(&mut self, feed: FeedId, who: &Arc<str>) {
        if let Some(prefix) = self.feeds.prefix(feed) {
            let name = format!("{prefix}control_plane.identifier");
            let registry = self.compiler.registry();
            let text = registry.text_readout(&name);
            registry.set_text(text, who);
        }
    }

    /// Resources' time to live is over.
    pub(super) fn queue_expired(&mut self, feed: FeedId, expired: Expired) {
        let Some(kind) = Kind::of(&expired.type_url) else { return };
        log!(
            Info,
            Config,
            "{kind}: the time to live of {} resource(s) is over",
            expired.removed.len()
        );
        self.work.queue.push_back(Job {
            feed,
            kind,
            version: "".into(),
            changed: Vec::new().into_iter(),
            counts: (0, expired.removed.len(), 0),
            removed: expired.removed,
            restored: Vec::new(),
            renewed: Vec::new(),
            missing: Vec::new(),
            aliased: Vec::new(),
            receipt: None,
            used: Duration::ZERO,
            rejected: Vec::new(),
            begun: false,
        });
    }

    /// Whether there is something to work on.
    pub(crate) fn has_work(&self) -> bool {
        !self.work.queue.is_empty()
    }

    /// Whether a response of this kind is being worked on.
    pub(super) fn has_work_of(&self, kind: Kind) -> bool {
        self.work.queue.iter().any(|job| job.kind == kind)
    }

    /// Works for about a millisecond.
    pub(crate) fn work(&mut self) {
        let began = precise_now();
        let Some(mut job) = self.work.queue.pop_front() else { return };
        if !job.begun {
            self.begin_job(&mut job);
        }
        let mut used = Duration::ZERO;
        while job.changed.len() > 0 && used < SLICE {
            for resource in job.changed.by_ref().take(STEP) {
                let result = self.apply(job.feed, job.kind, &resource);
                let noted = result.as_ref().map_err(String::as_str).copied();
                self.refusals.note(job.kind, job.feed, &resource, noted);
                if let Err(text) = result {
                    job.rejected.push((resource.name, text));
                }
            }
            used = precise_now() - began;
        }
        job.used += used;
        if job.changed.len() > 0 {
            self.work.queue.push_front(job);
        } else {
            self.finish_job(job);
        }
        self.settle();
    }

    fn begin_job(&mut self, job: &mut Job) {
        job.begun = true;
        let (come, gone, same) = job.counts;
        match job.kind {
            Kind::Cluster => {
                log!(
                    Info,
                    Upstream,
                    "cds: add {} cluster(s), remove {gone} cluster(s)",
                    come + same
                );
                self.feeds.pause(Kind::Endpoints);
            }
            Kind::Listener => self.feeds.pause(Kind::Routes),
            _ => log!(
                Debug,
                Config,
                "{}: {come} changed, {gone} removed, {same} as before",
                job.kind
            ),
        }
        if job.kind == Kind::Scope {
            self.begin_scopes(job.feed, job.changed.as_slice());
        }
        if job.kind.removes_first() {
            self.remove(job);
        }
    }

    /// Applies one resource.
    fn apply(&mut self, feed: FeedId, kind: Kind, resource: &Resource) -> Result<(), String> {
        let whole = self.whole.get(&kind).filter(|whole| whole.feed == feed);
        let source = whole.map(|whole| &whole.source).or_else(|| self.demands.source(feed));
        match (kind, source.cloned()) {
            (Kind::Cluster, Some(source)) => self.apply_cluster(&source, resource),
            (Kind::Listener, Some(source)) => self.apply_listener(&source, resource),
            (Kind::Endpoints, _) => self.apply_endpoints(feed, resource),
            (Kind::Routes, _) => self.apply_routes(feed, resource),
            (Kind::Secret, _) => self.apply_secret(feed, resource),
            (Kind::Runtime, _) => self.apply_layer(feed, resource),
            (Kind::Extension, _) => self.apply_extension(feed, resource),
            (Kind::Scope, _) => self.apply_scope(feed, resource),
            (Kind::VirtualHost, _) => self.apply_host(feed, resource),
            (Kind::Cluster | Kind::Listener, None) => Ok(()),
        }
    }

    fn remove(&mut self, job: &mut Job) {
        for name in std::mem::take(&mut job.removed) {
            self.refusals.forget(job.kind, job.feed, &name);
            match job.kind {
                Kind::Cluster => self.remove_cluster(&name),
                Kind::Listener => self.remove_listener(&name),
                Kind::Endpoints => self.remove_endpoints(job.feed, &name),
                Kind::Routes => self.remove_routes(job.feed, &name),
                Kind::Runtime => self.remove_layer(job.feed, &name),
                Kind::Extension => self.default_extension(job.feed, &name, false),
                Kind::Scope => self.remove_scope(job.feed, &name),
                Kind::VirtualHost => self.remove_host(job.feed, &name),
                // What came of it stays, as in Envoy.
                Kind::Secret => {}
            }
        }
    }

    fn finish_job(&mut self, mut job: Job) {
        self.remove(&mut job);
        for name in std::mem::take(&mut job.restored) {
            self.refusals.forget(job.kind, job.feed, &name);
        }
        for (name, version) in std::mem::take(&mut job.renewed) {
            match job.kind {
                Kind::Endpoints => self.renew_endpoints(job.feed, &name, &version),
                Kind::Secret => self.renew_secret(job.feed, &name, &version),
                _ => {}
            }
        }
        let rejected = job.rejected.len();
        let text = self.answer(&mut job);
        if let Some(text) = &text {
            match self.feeds.is_file(job.feed) {
                true => log!(Warning, Config, "Filesystem config update rejected: {text}"),
                false => {
                    let url = job.kind.type_url();
                    log!(Warning, Config, "gRPC config for {url} rejected: {text}");
                }
            }
        }
        match job.kind {
            Kind::Cluster => {
                let (come, _, same) = job.counts;
                log!(
                    Info,
                    Upstream,
                    "cds: added/updated {} cluster(s), skipped {same} unmodified cluster(s)",
                    come.saturating_sub(rejected)
                );
                self.feeds.resume(Kind::Endpoints);
            }
            Kind::Listener => self.feeds.resume(Kind::Routes),
            Kind::Scope => {
                let took = text.is_none().then_some(job.used);
                self.scopes_applied(job.feed, &job.version, took);
            }
            Kind::VirtualHost => self.hosts_applied(job.feed, std::mem::take(&mut job.aliased)),
            _ => {}
        }
        let missing = std::mem::take(&mut job.missing);
        self.demands_missing(job.kind, job.feed, &missing);
        if job.kind == Kind::Cluster {
            let took = text.is_none().then_some(job.used);
            self.count_demands(job.feed, &job.version, took);
        }
        let of_feed = |whole: &&mut Whole| whole.feed == job.feed;
        if let Some(whole) = self.whole.get_mut(&job.kind).filter(of_feed) {
            if text.is_some() {
                whole.counts.slots().refused(&self.stats);
            } else {
                let (come, gone, _) = job.counts;
                let registry = self.compiler.registry();
                let took = job.used;
                whole.counts.took(&self.stats, registry, &job.version, took, come + gone > 0);
                whole.version = job.version.clone();
            }
        } else if text.is_none() {
            self.versions.insert(job.kind, job.version.clone());
        }
        self.answered(job.feed, job.kind);
    }

    /// Tells the server; answers what it was told if that is a refusal.
    fn answer(&mut self, job: &mut Job) -> Option<Arc<str>> {
        let verdict = Verdict { rejected: std::mem::take(&mut job.rejected) };
        match self.feeds.answer(job.feed, job.receipt.take()?, verdict, job.used) {
            Some(Answer::Nack(text)) => Some(text),
            _ => None,
        }
    }

    /// A file could not be read.
    pub(super) fn file_failed(&mut self, feed: FeedId, kind: Kind, why: Unread) {
        let (count, how, text): (Count, _, _) = match why {
            Unread::Failed(text) => (Slots::failed, "failure", text),
            Unread::Rejected(text) => (Slots::refused, "rejected", text),
        };
        log!(Warning, Config, "Filesystem config update {how}: {text}");
        self.count_lost(feed, count);
        match kind {
            Kind::Endpoints => self.endpoints_fail(feed),
            Kind::Routes => self.routes_fail(feed),
            _ => {}
        }
        self.answered(feed, kind);
    }
}
