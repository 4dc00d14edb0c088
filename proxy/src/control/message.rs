//! What the threads of the proxy tell one another over the mesh.
//!
//! Mesh index `0..N` are the shards, `N` is the control thread, `N + 1` the admin thread. A message
//! is the only way state crosses threads, besides parts of the plan, statistics pages and the
//! write-rare
//! bits of a [`Host`].

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use ringway_runtime::SockAddr;

use super::bind::Bound;
use super::xds::DumpSnapshot;
use crate::observe::stats::{BlockHandle, Counter, Histogram};
use crate::plan::demand::{Demand, OnDemandClusters, Supply};
use crate::plan::transport::Tlv;
use crate::plan::{Change, ClusterId, Host, HostSet, Listener};

/// One message between two threads of the proxy.
#[derive(Debug)]
pub enum Message {
    // ---- control → shard; `Install`, `Hosts` and `HealthChanged` go to the admin thread too ----
    /// Listening sockets of the receiving shard, bound and listening. Sent before the
    /// [`Message::Install`] whose listeners they belong to; the shard starts to accept with that
    /// change and closes the sockets no listener of it asks for. A listener that is replaced goes
    /// on with the sockets it has for addresses that stay: only for others, or to have them bound
    /// anew, does it need some.
    Sockets(Vec<ListenSocket>),
    /// New streams begin with what this change makes of the configuration; answered by
    /// [`Message::Installed`], unless it is [`Change::unanswered`].
    Install(Arc<Change>),
    /// A cluster has other hosts, besides those that come with a change.
    Hosts(ClusterId, Arc<HostSet>),
    /// Health bits of a host of this cluster changed: rebuild its load balancing tables.
    HealthChanged(ClusterId),
    /// Begin to drain connections (or go on with another deadline).
    Drain(Drain),
    /// Close listening sockets; connections stay. Answered by nothing: it cannot fail.
    StopListening(StopListening),
    /// `/healthcheck/fail` (`true`) or `/healthcheck/ok` (`false`): while it is set, every response
    /// on a listener with `drain_type: DEFAULT` closes its connection, as in Envoy.
    HealthCheckFailed(bool),
    /// Open the access log files again (SIGUSR1, `/reopen_logs`).
    ReopenLogs,
    /// A connection another shard accepted, from that shard.
    Connection(HandOver),
    /// Answer with [`Message::Lent`].
    Lend,
    /// Accept no more on the sockets bound to these addresses, which another process accepts on
    /// now; connections stay. The admin thread has one address only: that is meant. Answered by
    /// [`Message::Paused`].
    Pause(Arc<[SockAddr]>),
    /// Accept again, and drain no more: the other process is gone.
    Resume,
    /// Another process that has accepted on the same sockets is gone: what it was woken for may
    /// wait in their queues.
    LookAgain,
    /// An idle connection of another process, or one it could not take.
    Adopt(Box<Adopted>),
    /// Where a statistic is counted that the shard asked for with [`Message::NameStat`].
    StatNamed(Box<str>, Named),
    /// What requests of the shard wait for is there, by a change sent before, or will not come.
    Supplied(Demand, Supply),
    /// Close every connection and return from the shard's main function.
    Shutdown,

    // ---- shard → control ----
    /// The change of this version is in the view of all new streams of the shard.
    Installed {
        /// Mesh index of the shard.
        shard: usize,
        /// [`Change::version`].
        version: u64,
    },
    /// A host tripped a threshold of outlier detection on this shard.
    Eject(EjectRequest),
    /// The shard that runs a cluster's active health checks changed a host's bits.
    HealthVerdict(HealthVerdict),
    /// A shard has met a name to count under. Answered by [`Message::StatNamed`].
    NameStat(NameStat),
    /// Requests of a shard wait for something. Answered by [`Message::Supplied`].
    Demand {
        /// Mesh index of the shard.
        shard: usize,
        /// What for.
        what: Demand,
        /// Where a cluster comes from.
        from: Option<Arc<OnDemandClusters>>,
    },
    /// A shard has made a host of an ORIGINAL_DST cluster.
    HostAdded(ClusterId, Arc<Host>),
    /// After a [`Drain`]: the shard has no downstream connection left. Sent once per drain.
    Drained {
        /// Mesh index of the shard.
        shard: usize,
    },

    /// A listener that was replaced or removed by a change has no connection left that must go, or
    /// the drain time is over. Sent once by every shard for each such listener; where only chains
    /// were replaced, it is about those.
    ListenerDrained {
        /// Mesh index of the shard.
        shard: usize,
        /// As it was.
        listener: Arc<Listener>,
    },
    /// Duplicates of all listening sockets of a thread (a shard, or the admin thread).
    Lent {
        /// Its mesh index.
        thread: usize,
        /// The sockets.
        sockets: Vec<OwnedFd>,
    },
    /// A thread accepts no more, as [`Message::Pause`] asked.
    Paused {
        /// Its mesh index.
        thread: usize,
    },
    /// An idle connection for the process that takes over.
    GiveAway(Box<Adopted>),

    // ---- admin → control ----
    /// An operator's command.
    Admin(AdminCommand),
    /// What did xDS bring? Answered by [`Message::Dump`].
    WantDump,

    // ---- control → admin ----
    /// What xDS brought, as it is now.
    Dump(Arc<DumpSnapshot>),
    /// Where listeners are bound now.
    Bound(Arc<[Bound]>),
}

/// One socket of a listener that a shard is to accept on.
#[derive(Debug)]
pub struct ListenSocket {
    /// [`crate::plan::Listener::name`].
    pub listener: Arc<str>,
    /// Index into [`crate::plan::Listener::addresses`].
    pub address: usize,
    /// The socket: bound, close-on-exec; it listens from the moment its shard begins to accept.
    /// With `enable_reuse_port` it is the shard's own; without, every shard holds a duplicate of
    /// one socket.
    pub socket: OwnedFd,
}

/// A connection for the shard with the least to do. Nothing has been read from it.
#[derive(Debug)]
pub struct HandOver {
    /// The listener that accepted it.
    pub listener: Arc<Listener>,
    /// The last change that shard had taken: one that has taken it as well and has no such
    /// listener knows that it is no more.
    pub version: u64,
    /// The connected socket.
    pub socket: OwnedFd,
    /// Its peer.
    pub peer: SockAddr,
}

/// An idle connection between two processes.
#[derive(Debug)]
pub struct Adopted {
    /// The connected socket. All that was received was served, all answers were sent.
    pub socket: OwnedFd,
    /// What is known of it.
    pub passport: Box<Passport>,
    /// It stays here until it ends: the other process has no use for it.
    pub stays: bool,
}

/// What a process must know of an HTTP/1 connection to go on with it: what its listener and the
/// listener's filters found out, and how far it is.
#[derive(Debug, Clone, PartialEq)]
pub struct Passport {
    /// [`Listener::name`] of the listener that serves it.
    pub listener: Arc<str>,
    /// The client.
    pub remote: SockAddr,
    /// Where it wanted to go.
    pub local: SockAddr,
    /// The socket's peer, where that is another address than `remote`.
    pub direct_remote: Option<SockAddr>,
    /// The socket's own address, where that is another than `local`.
    pub direct_local: Option<SockAddr>,
    /// `local` was restored from a redirect or a PROXY protocol header.
    pub restored: bool,
    /// It was found to begin with a ClientHello.
    pub tls: bool,
    /// The server name of that.
    pub sni: Option<Box<str>>,
    /// Protocols the client offers or was seen to speak.
    pub application_protocols: Vec<Box<[u8]>>,
    /// TLVs of its PROXY protocol header, where it had one.
    pub tlvs: Option<Vec<Tlv>>,
    /// Time since it was accepted.
    pub age: Duration,
    /// Requests begun on it.
    pub served: u32,
    /// It is known to speak HTTP/1.
    pub http1: bool,
}

/// A name that a shard wants to count under.
#[derive(Debug)]
pub struct NameStat {
    /// Mesh index of the shard.
    pub shard: usize,
    /// The statistic's whole name.
    pub name: Box<str>,
    /// What it is to be.
    pub kind: StatKind,
}

/// A kind of statistic that gets its name late.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StatKind {
    /// A counter.
    Counter,
    /// A histogram.
    Histogram,
}

/// The slot of a statistic, held for as long as this lives.
#[derive(Debug)]
pub enum Named {
    /// Of a counter.
    Counter(BlockHandle, Counter),
    /// Of a histogram.
    Histogram(BlockHandle, Histogram),
}

/// How connections are drained.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drain {
    /// What becomes of the process afterwards.
    pub kind: DrainKind,
    /// `--drain-strategy`.
    pub strategy: DrainStrategy,
    /// `--drain-time-s`: with [`DrainStrategy::Gradual`] the share of responses that carry
    /// `connection: close` grows from none to all over this time.
    pub time: Duration,
    /// Only listeners whose `traffic_direction` is `INBOUND`.
    pub inbound_only: bool,
}

/// Why connections are drained.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DrainKind {
    /// `/drain_listeners`: responses close their connections; an idle connection stays until it is
    /// used or times out.
    Listeners,
    /// The process ends after this drain: besides, an idle connection is closed soon, for nothing
    /// will ever come to it that has a better place to go.
    Exit,
    /// Another process has taken over: idle HTTP/1 connections go there ([`Message::GiveAway`]),
    /// what cannot go is drained over the drain time.
    HandOver,
}

/// `--drain-strategy`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DrainStrategy {
    /// Responses close with a probability that grows over the drain time.
    #[default]
    Gradual,
    /// Every response closes from the first moment on.
    Immediate,
}

/// Which listening sockets are closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopListening {
    /// All of them.
    All,
    /// Those whose `traffic_direction` is `INBOUND`.
    Inbound,
}

/// A host that a shard wants ejected; the control thread decides.
#[derive(Debug)]
pub struct EjectRequest {
    /// Its cluster.
    pub cluster: ClusterId,
    /// The host.
    pub host: Arc<Host>,
    /// What it did.
    pub reason: EjectReason,
}

/// The rule of `outlier_detection` a host broke.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EjectReason {
    /// `consecutive_5xx`
    Consecutive5xx,
    /// `consecutive_gateway_failure`
    ConsecutiveGatewayFailure,
    /// `consecutive_local_origin_failure`
    ConsecutiveLocalOriginFailure,
    /// `success_rate_*`
    SuccessRate,
    /// `failure_percentage_*`
    FailurePercentage,
    /// Local-origin errors judged by success rate.
    SuccessRateLocalOrigin,
    /// Local-origin errors judged by failure percentage.
    FailurePercentageLocalOrigin,
}

/// Outcome of active health checking that changed a host.
#[derive(Debug)]
pub struct HealthVerdict {
    /// Its cluster.
    pub cluster: ClusterId,
    /// The host; its bits are already set.
    pub host: Arc<Host>,
    /// Is it healthy now, as far as active checks go? A `true` also ends an ejection where
    /// `successful_active_health_check_uneject_host` says so.
    pub healthy: bool,
}

/// What an operator asked for on an admin page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AdminCommand {
    /// `/quitquitquit`
    Quit,
    /// `/drain_listeners`
    DrainListeners {
        /// `graceful`: listeners accept until the drain time is over.
        graceful: bool,
        /// `skip_exit`: connections drain, listeners never stop.
        skip_exit: bool,
        /// `inboundonly`
        inbound_only: bool,
    },
    /// `/healthcheck/fail` (`true`), `/healthcheck/ok` (`false`)
    HealthCheckFailed(bool),
    /// `/reopen_logs`
    ReopenLogs,
    /// `/runtime_modify`
    Runtime {
        /// The admin layer's name.
        layer: String,
        /// All overrides there are now.
        values: BTreeMap<String, String>,
    },
}
