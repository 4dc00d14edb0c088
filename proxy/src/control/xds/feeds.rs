//! Where resources come from: streams and files, each shared by all that name the same source.

use std::cell::RefCell;
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use ringway_runtime::{Join, spawn};
use ringway_xds::client::{Answer, Expired, Mux, Options, Protocol, Receipt, Update, Verdict};

use super::files::{FileFeed, Unread};
use super::grpc::Stream;
use super::kind::Kind;
use super::load::Reporter;
use super::rest::Polled;
use crate::control::log::log;
use crate::observe::stats::{ControlPlaneStats, LoadReporterStats, Registry, ShardStats};
use crate::plan::source::{GrpcSource, Origin};
use crate::upstream::Upstreams;

/// Number of a feed; feeds stay as long as the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct FeedId(pub(super) u32);

/// What a feed has to tell.
#[derive(Debug)]
pub(crate) enum News {
    /// A response; the feed says nothing further until [`Feeds::answer`].
    Update {
        /// Who.
        feed: FeedId,
        /// What.
        update: Box<Update>,
        /// What reading it has cost.
        used: Duration,
    },
    /// A file is no response of this kind.
    Unread(FeedId, Kind, Unread),
    /// Resources whose time to live is over.
    Expired(FeedId, Vec<Expired>),
    /// Clusters have other hosts, or are ready.
    Clusters,
    /// A stream was lost, or could not be opened.
    Lost(FeedId),
    /// A report of load is due, or the service asks for others than before.
    LoadReport {
        /// It asks for others: counts begin now.
        begin: bool,
    },
}

/// What all feeds work with.
pub(super) struct FeedCx {
    /// Clusters of management servers.
    pub(super) upstreams: Rc<Upstreams>,
    pub(super) stats: Rc<ShardStats>,
    sink: Box<dyn Fn(News)>,
}

impl FeedCx {
    pub(super) fn new(
        upstreams: Rc<Upstreams>,
        stats: Rc<ShardStats>,
        sink: Box<dyn Fn(News)>,
    ) -> Rc<Self> {
        Rc::new(Self { upstreams, stats, sink })
    }

    /// Tells the control loop.
    pub(super) fn tell(&self, news: News) {
        (self.sink)(news);
    }
}

/// What streams say of this process.
#[derive(Debug, Clone, Default)]
pub(crate) struct Identity {
    /// An encoded `Node`.
    pub(crate) node: Arc<[u8]>,
    /// `node_context_params`, with their values.
    pub(crate) context_params: Vec<(String, String)>,
}

/// What is asked of a feed, and by whom.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted<'a> {
    pub(super) origin: &'a Origin,
    pub(super) kind: Kind,
    /// Before `control_plane.` where the stream is for this kind alone.
    pub(super) prefix: &'a str,
}

/// All feeds.
pub(super) struct Feeds {
    cx: Rc<FeedCx>,
    ads: Option<Arc<GrpcSource>>,
    identity: Identity,
    all: Vec<Feed>,
    /// By origin, and by kind where a feed is for one alone.
    index: HashMap<(Origin, Option<Kind>), FeedId, RandomState>,
}

struct Feed {
    /// Before `control_plane.`, of a stream.
    prefix: Box<str>,
    body: Body,
    _task: Join<()>,
}

enum Body {
    Stream(Rc<Stream>),
    File(Rc<FileFeed>),
    Poll(Rc<Polled>),
}

impl Body {
    /// What it is subscribed to.
    fn mux(&self) -> &RefCell<Mux> {
        match self {
            Self::Stream(stream) => &stream.mux,
            Self::Poll(polled) => &polled.mux,
            Self::File(file) => &file.mux,
        }
    }

    /// Subscriptions have changed.
    fn wake(&self) {
        match self {
            Self::Stream(stream) => stream.wake(),
            Self::Poll(polled) => polled.wake(),
            Self::File(file) => file.wake(),
        }
    }
}

impl Feeds {
    /// Stops all of them.
    #[cfg(test)]
    pub(super) fn end(&self) {
        self.all.iter().for_each(|feed| feed._task.abort());
    }

    pub(super) fn new(cx: Rc<FeedCx>, ads: Option<Arc<GrpcSource>>, identity: Identity) -> Self {
        Self { cx, ads, identity, all: Vec::new(), index: HashMap::default() }
    }

    /// The feed of an origin, begun if nobody has asked for it yet.
    ///
    /// # Errors
    /// That there is no such feed, for a person.
    pub(super) fn open(
        &mut self,
        wanted: Wanted<'_>,
        registry: &mut Registry,
    ) -> Result<FeedId, String> {
        let key = match wanted.origin {
            Origin::Ads => (Origin::Ads, None),
            Origin::Grpc(source) if source.aggregated => (wanted.origin.clone(), None),
            other => (other.clone(), Some(wanted.kind)),
        };
        if let Some(id) = self.index.get(&key) {
            return Ok(*id);
        }
        let id = FeedId(u32::try_from(self.all.len()).unwrap_or(u32::MAX));
        let body = match &key {
            (Origin::Ads, _) => {
                let ads = self.ads.clone().ok_or("ads is asked for, but there is no ads_config")?;
                self.stream(id, &ads, None, "", registry)
            }
            (Origin::Grpc(source), kind) => {
                let source = source.clone();
                self.stream(id, &source, *kind, wanted.prefix, registry)
            }
            (Origin::Path { path, watched_directory }, _) => {
                let directory = watched_directory.as_deref();
                let mux = self.mux(Protocol::Sotw, false, true);
                Body::File(FileFeed::new(id, &self.cx, wanted.kind, (path, directory), mux))
            }
            (Origin::Rest(source), _) => {
                let mux = self.mux(Protocol::Sotw, false, false);
                Body::Poll(Polled::new(id, &self.cx, source, wanted.kind, mux)?)
            }
        };
        let task = match &body {
            Body::Stream(stream) => spawn(stream.clone().run()),
            Body::File(file) => spawn(file.clone().run()),
            Body::Poll(polled) => spawn(polled.clone().run()),
        };
        let prefix = if key.1.is_some() { wanted.prefix } else { "" };
        self.all.push(Feed { prefix: prefix.into(), body, _task: task });
        self.index.insert(key, id);
        Ok(id)
    }

    fn stream(
        &self,
        id: FeedId,
        source: &Arc<GrpcSource>,
        kind: Option<Kind>,
        prefix: &str,
        registry: &mut Registry,
    ) -> Body {
        let delta = source.delta || kind == Some(Kind::VirtualHost);
        let protocol = if delta { Protocol::Delta } else { Protocol::Sotw };
        let mux = self.mux(protocol, source.node_on_first_only, false);
        let path = match (kind, delta) {
            (Some(kind), delta) => kind.path(delta),
            (None, false) => format!("/{ADS}/StreamAggregatedResources"),
            (None, true) => format!("/{ADS}/DeltaAggregatedResources"),
        };
        let stats = ControlPlaneStats::new(registry, prefix);
        self.cx.stats.gauge_set(stats.connected_state(), 0);
        Body::Stream(Stream::new(id, &self.cx, source, path, mux, stats))
    }

    fn mux(&self, protocol: Protocol, node_on_first_only: bool, watch_all: bool) -> Mux {
        Mux::new(Options {
            protocol,
            node: self.identity.node.clone(),
            node_on_first_only,
            context_params: self.identity.context_params.clone(),
            watch_all,
            limits: Default::default(),
        })
    }

    /// What reports load, as the same node.
    pub(super) fn load_reporter(
        &self,
        source: Arc<GrpcSource>,
        stats: LoadReporterStats,
    ) -> Rc<Reporter> {
        Reporter::new(&self.cx, source, self.identity.node.clone(), stats)
    }

    /// Asks for a resource. Every call needs one of [`Feeds::unsubscribe`].
    pub(super) fn subscribe(&self, feed: FeedId, kind: Kind, name: &Arc<str>) {
        let Some((body, mux)) = self.asking(feed) else { return };
        let asked = mux.borrow_mut().subscribe(kind.type_url(), std::slice::from_ref(name));
        if let Err(refused) = asked {
            log!(Warning, Config, "{kind}: '{name}' cannot be asked for: {refused}");
        }
        body.wake();
    }

    /// Asks for all resources of a kind.
    pub(super) fn subscribe_all(&self, feed: FeedId, kind: Kind) {
        let Some((body, mux)) = self.asking(feed) else { return };
        let asked = mux.borrow_mut().subscribe_all(kind.type_url());
        if let Err(refused) = asked {
            log!(Warning, Config, "{kind} cannot be asked for: {refused}");
        }
        body.wake();
    }

    /// All resources of a kind are not wanted any more.
    pub(super) fn unsubscribe_all(&self, feed: FeedId, kind: Kind) {
        let Some((body, mux)) = self.asking(feed) else { return };
        mux.borrow_mut().unsubscribe_all(kind.type_url());
        body.wake();
    }

    /// A resource is not wanted any more.
    pub(super) fn unsubscribe(&self, feed: FeedId, kind: Kind, name: &Arc<str>) {
        let Some((body, mux)) = self.asking(feed) else { return };
        mux.borrow_mut().unsubscribe(kind.type_url(), std::slice::from_ref(name));
        body.wake();
    }

    /// Whether a response that has a resource as it was is to name it.
    pub(super) fn watch(&self, feed: FeedId, kind: Kind, name: &str, on: bool) {
        let Some((_, mux)) = self.asking(feed) else { return };
        mux.borrow_mut().watch(kind.type_url(), name, on);
    }

    /// Says whether a response was taken; the feed goes on. Answers what the server was told.
    pub(super) fn answer(
        &self,
        feed: FeedId,
        receipt: Receipt,
        verdict: Verdict,
        used: Duration,
    ) -> Option<Answer> {
        let (body, mux) = self.asking(feed)?;
        let answer = mux.borrow_mut().answer(receipt, verdict);
        match body {
            Body::Stream(stream) => stream.done(used),
            Body::Poll(polled) => polled.done(),
            Body::File(file) => file.done(),
        }
        Some(answer)
    }

    /// A feed that is asked for resources, and what it is asked for.
    fn asking(&self, feed: FeedId) -> Option<(&Body, &RefCell<Mux>)> {
        let body = self.body(feed)?;
        Some((body, body.mux()))
    }

    /// Whether it is a file, which nobody asks.
    pub(super) fn is_file(&self, feed: FeedId) -> bool {
        matches!(self.body(feed), Some(Body::File(_)))
    }

    /// Nobody asks for resources of this kind until [`Feeds::resume`]: many subscriptions become
    /// one request.
    pub(super) fn pause(&self, kind: Kind) {
        for mux in self.all.iter().map(|feed| feed.body.mux()) {
            mux.borrow_mut().pause(kind.type_url());
        }
    }

    pub(super) fn resume(&self, kind: Kind) {
        for body in self.all.iter().map(|feed| &feed.body) {
            body.mux().borrow_mut().resume(kind.type_url());
            match body {
                Body::Poll(polled) => polled.resume(),
                Body::Stream(stream) => stream.wake(),
                Body::File(_) => {}
            }
        }
    }

    /// What its statistics begin with.
    pub(super) fn prefix(&self, feed: FeedId) -> Option<&str> {
        self.all.get(feed.0 as usize).map(|feed| &*feed.prefix)
    }

    /// The cluster of the server behind a feed.
    pub(super) fn cluster(&self, feed: FeedId) -> Option<&Arc<str>> {
        match self.body(feed)? {
            Body::Stream(stream) => Some(stream.cluster()),
            Body::Poll(polled) => Some(polled.cluster()),
            Body::File(_) => None,
        }
    }

    fn body(&self, feed: FeedId) -> Option<&Body> {
        self.all.get(feed.0 as usize).map(|feed| &feed.body)
    }
}

/// The service of the stream that brings every kind.
const ADS: &str = "envoy.service.discovery.v3.AggregatedDiscoveryService";

impl fmt::Debug for Feeds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Feeds").field("feeds", &self.all.len()).finish_non_exhaustive()
    }
}
