//! The admin interface: pages about the process, on a thread of its own.
//!
//! A page reads the plan, the hosts and the statistics pages; it changes something only by a
//! message to the control thread. So a slow page delays nothing but itself.

mod access_log;
mod certs;
mod clusters;
mod config_dump;
pub mod counters;
mod endpoints;
mod health;
mod home;
pub mod info;
mod listeners;
mod logging;
pub mod page;
pub mod query;
mod regex_filter;
mod routes;
pub mod runtime;
mod server;
mod stats;
mod table;
#[cfg(test)]
mod tests;
pub mod thread;

use std::cell::RefCell;
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::Duration;

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use ringway_runtime::file::AppendOptions;
use ringway_runtime::timeout;

use self::counters::Counters;
use self::page::Response;
use super::bind::Bound;
use super::dump::ConfigDump;
use super::json::Json;
use super::message::{AdminCommand, Message};
use super::state::Server;
use super::xds::DumpSnapshot;
use crate::observe::accesslog::AccessLog;
use crate::observe::stats::Merger;
use crate::observe::stats::tags::TagRules;
use crate::plan::ceiling::Ceiling;
use crate::plan::route::StringMatch;
use crate::plan::{Address, Change, Cluster, ClusterId, HostSet, Plan};
use crate::shard::logs::ShardLogs;

/// What the pages show.
pub struct Admin {
    /// State of the process.
    pub server: Arc<Server>,
    /// What `/server_info` tells about command line and node.
    pub facts: Arc<info::Facts>,
    /// What `/config_dump` prints.
    pub dump: Arc<ConfigDump>,
    /// Where listeners are bound.
    pub bound: RefCell<Arc<[Bound]>>,
    /// Reader of the statistics.
    pub merger: RefCell<Merger>,
    /// What the admin listener counts about itself.
    pub counters: Counters,
    /// `access_log`
    logs: access_log::Logs,
    /// How Prometheus tags are cut out of names.
    pub tags: Arc<TagRules>,
    /// `allow_paths`: if there are any, other paths are answered with 403.
    pub allow_paths: Vec<StringMatch>,
    /// How many connections may be open, over all listeners.
    ceiling: Arc<Ceiling>,
    /// `ignore_global_conn_limit`
    ignores_ceiling: bool,
    /// Runtime layers.
    pub runtime: RefCell<runtime::Layers>,
    view: RefCell<Rc<View>>,
    /// What xDS brought, when it was last asked for.
    snapshot: RefCell<Arc<DumpSnapshot>>,
    /// Those who wait for a newer one.
    waiting: RefCell<Vec<Waker>>,
    outbox: Box<dyn Fn(Message) -> bool>,
}

/// The configuration at one moment: a page streams from it as long as its reader takes.
#[derive(Clone)]
pub struct View {
    /// The plan.
    pub plan: Plan,
    hosts: HashMap<ClusterId, Arc<HostSet>, FixedState>,
}

impl View {
    fn new(plan: Plan) -> Self {
        Self { plan, hosts: HashMap::default() }
    }

    /// The hosts of a cluster now: those of its last change, else those of the plan.
    pub fn hosts<'a>(&'a self, cluster: &'a Cluster) -> &'a HostSet {
        match self.hosts.get(&cluster.id) {
            Some(set) if set.version >= cluster.hosts.version => set,
            _ => &cluster.hosts,
        }
    }
}

/// About how much of a long page is made at once.
const PIECE_BYTES: usize = 32 << 10;

/// What an [`Admin`] is made of.
#[expect(missing_docs, reason = "the fields of `Admin`")]
pub struct Parts {
    pub server: Arc<Server>,
    pub facts: Arc<info::Facts>,
    pub dump: Arc<ConfigDump>,
    pub bound: Arc<[Bound]>,
    pub merger: Merger,
    pub counters: Counters,
    pub access_logs: Vec<Arc<AccessLog>>,
    pub log_options: AppendOptions,
    pub allow_paths: Vec<StringMatch>,
    pub ceiling: Arc<Ceiling>,
    pub ignores_ceiling: bool,
    pub runtime: runtime::Layers,
    pub plan: Plan,
}

impl Admin {
    /// `outbox` sends to the control thread; `false` means it could not take the message.
    pub fn new(parts: Parts, outbox: impl Fn(Message) -> bool + 'static) -> Self {
        let tags = Arc::clone(&parts.merger.settings().tags);
        Self {
            server: parts.server,
            facts: parts.facts,
            dump: parts.dump,
            bound: RefCell::new(parts.bound),
            merger: RefCell::new(parts.merger),
            counters: parts.counters,
            logs: access_log::Logs::new(parts.access_logs, ShardLogs::new(parts.log_options)),
            tags,
            allow_paths: parts.allow_paths,
            ceiling: parts.ceiling,
            ignores_ceiling: parts.ignores_ceiling,
            runtime: RefCell::new(parts.runtime),
            view: RefCell::new(Rc::new(View::new(parts.plan))),
            snapshot: RefCell::default(),
            waiting: RefCell::default(),
            outbox: Box::new(outbox),
        }
    }

    /// The configuration now.
    pub fn view(&self) -> Rc<View> {
        self.view.borrow().clone()
    }

    /// The configuration has changed.
    pub fn install(&self, change: &Change) {
        let mut view = self.view.borrow_mut();
        let view = Rc::make_mut(&mut view);
        for gone in change.removed_clusters() {
            view.hosts.remove(&gone);
        }
        view.plan.apply(change);
        view.hosts.extend(change.hosts.iter().cloned());
    }

    /// A cluster has other hosts.
    pub fn set_hosts(&self, cluster: ClusterId, hosts: Arc<HostSet>) {
        Rc::make_mut(&mut self.view.borrow_mut()).hosts.insert(cluster, hosts);
    }

    /// What xDS brought, as of the last [`Admin::refresh`].
    pub(super) fn snapshot(&self) -> Arc<DumpSnapshot> {
        self.snapshot.borrow().clone()
    }

    /// The control thread has answered [`Message::WantDump`].
    pub(super) fn take_snapshot(&self, snapshot: Arc<DumpSnapshot>) {
        self.snapshot.replace(snapshot);
        self.waiting.take().into_iter().for_each(Waker::wake);
    }

    /// Asks the control thread what xDS has brought by now. One that has too much to do is not
    /// waited for: the page shows what was known before.
    async fn refresh(&self) {
        const PATIENCE: Duration = Duration::from_secs(2);
        let before = self.snapshot();
        if !(self.outbox)(Message::WantDump) {
            return;
        }
        let newer = poll_fn(|cx| {
            if !Arc::ptr_eq(&before, &self.snapshot.borrow()) {
                return Poll::Ready(());
            }
            self.waiting.borrow_mut().push(cx.waker().clone());
            Poll::Pending
        });
        let _too_busy = timeout(PATIENCE, newer).await;
    }

    /// Open access log files again.
    fn reopen_logs(&self) {
        self.logs.reopen();
    }

    /// Sends a command to the control thread and says so.
    fn command(&self, command: AdminCommand) -> Response {
        if (self.outbox)(Message::Admin(command)) {
            Response::done()
        } else {
            Response::error(503, "the control thread is busy: try again\n")
        }
    }
}

/// Writes an `envoy.config.core.v3.Address`.
pub(super) fn write_address(json: &mut Json, address: &Address) {
    json.object();
    match address {
        Address::Ip(ip) => {
            json.key("socket_address").object();
            json.key("address").string(&ip.ip().to_string());
            if ip.port() != 0 {
                json.key("port_value").value(ip.port());
            }
            json.end_object();
        }
        Address::Pipe { path, mode } => {
            json.key("pipe").object().key("path").string(&path.to_string_lossy());
            if *mode != 0 {
                json.key("mode").value(mode);
            }
            json.end_object();
        }
        Address::Internal { listener, endpoint } => {
            json.key("envoy_internal_address").object();
            json.key("server_listener_name").string(listener);
            if !endpoint.is_empty() {
                json.key("endpoint_id").string(endpoint);
            }
            json.end_object();
        }
    }
    json.end_object();
}
