//! A downstream connection: its timers, its counts, and what is remembered for logs.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use ringway_runtime::{Instant, Sleep, now, sleep_until};
use smallvec::SmallVec;

use super::{End, NoUpstream, Proxy, log};
use crate::listener::Admitted;
use crate::network::istio_stats::{Report, Seen};
use crate::observe::format::{AccessLogType, ResponseFlag, ResponseFlags};
use crate::transport::Stream;
use crate::transport::tls::TlsInfo;
use crate::upstream::tcp::TcpConn;
use crate::upstream::{ShardCluster, ShardHost};

/// Bytes received ahead, and bytes queued for the other side, at the most, whatever the buffer
/// limit: the kernel keeps as many again.
pub(super) const BUFFER_MAX: usize = 256 << 10;

/// A client that reads nothing must not hold the connection for ever.
const FLUSH_MAX: Duration = Duration::from_secs(60);

/// One downstream connection.
pub(crate) struct Session {
    pub(super) link: Admitted,
    pub(super) proxy: Rc<Proxy>,
    pub(super) down: Stream,
    pub(super) record: Record,
    timer: Sleep,
    /// Bytes went through or were accepted by the kernel.
    active: Instant,
    /// Bytes queued on both sides when the timer was last looked at: that they change is activity.
    queued: (usize, usize),
    /// `max_downstream_connection_duration` is over.
    dies: Instant,
    /// The next line of `access_log_flush_interval`.
    log_due: Instant,
    /// `istio.stats` of the chain.
    pub(super) report: Option<Box<Report>>,
}

/// What logs tell of a connection.
#[derive(Default)]
pub(super) struct Record {
    /// In ns since 1970.
    pub(super) start_unix: u64,
    pub(super) flags: ResponseFlags,
    /// Bytes from the client.
    pub(super) received: u64,
    /// Bytes written to the client.
    pub(super) sent: u64,
    /// Bytes written to the upstream.
    pub(super) upstream_sent: u64,
    /// Bytes from the upstream.
    pub(super) upstream_received: u64,
    pub(super) cluster: Option<Rc<ShardCluster>>,
    /// The host that was connected to, or failed to be.
    pub(super) host: Option<Rc<ShardHost>>,
    pub(super) attempts: u32,
    /// Kept after the set-up only where there are logs: a connection may be idle for long.
    pub(super) set_up: Option<Box<SetUp>>,
    pub(super) local_close: Option<&'static str>,
    pub(super) upstream_local_close: Option<&'static str>,
    pub(super) close_type: CloseType,
    pub(super) upstream_close_type: CloseType,
    /// `%STREAM_ID%`.
    pub(super) id: (u64, u64),
}

/// How the upstream connection came about.
#[derive(Default)]
pub(super) struct SetUp {
    /// Hosts that were chosen, with the number of the connection if there was one.
    pub(super) tried: SmallVec<[Tried; 1]>,
    pub(super) failure: Option<Box<str>>,
    pub(super) upstream_local: Option<SocketAddr>,
    pub(super) upstream_tls: Option<Rc<TlsInfo>>,
    pub(super) upstream_id: u64,
    /// When the first attempt began, and when the last had its outcome.
    pub(super) pool: (Option<Instant>, Option<Instant>),
    /// When the connection began to be set up and was there.
    pub(super) connect: Option<(Instant, Instant)>,
}

impl Record {
    /// What is known of the set-up so far.
    pub(super) fn set_up(&mut self) -> &mut SetUp {
        self.set_up.get_or_insert_default()
    }
}

/// A chosen host.
pub(super) struct Tried {
    pub(super) host: Rc<ShardHost>,
    pub(super) connection: Option<u64>,
}

/// How a connection was closed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum CloseType {
    #[default]
    Normal,
    LocalReset,
    RemoteReset,
}

impl Session {
    /// A connection the listener has let in.
    pub(crate) fn new(link: Admitted, proxy: Rc<Proxy>, down: Stream) -> Box<Self> {
        let opened = link.opened;
        let start_unix = ringway_runtime::unix_now().as_nanos() as u64;
        let record = Record { start_unix, ..Record::default() };
        Box::new(Self {
            timer: sleep_until(Instant::FAR_FUTURE),
            active: opened,
            queued: (0, 0),
            dies: Instant::FAR_FUTURE,
            log_due: Instant::FAR_FUTURE,
            report: Report::of(&link),
            link,
            proxy,
            down,
            record,
        })
    }

    /// Counts it, and arms its timers.
    pub(super) fn begin(&mut self) {
        let plan = &self.proxy.plan;
        self.link.shard.stats.inc(plan.stats.downstream_cx_total());
        let limit = (self.link.listener.plan.buffer_limit as usize).clamp(1, BUFFER_MAX);
        self.down.set_recv_limit(limit);
        let opened = self.link.opened;
        if !plan.max_duration.is_zero() {
            let jitter = plan.max_duration_jitter_percent / 100.0 * ringway_runtime::rand_f64();
            self.dies = opened + plan.max_duration.mul_f64(1.0 + jitter);
        }
        if plan.access_logs.is_empty() {
            return;
        }
        self.record.id = (ringway_runtime::rand_u64(), ringway_runtime::rand_u64());
        if !plan.log_when.interval.is_zero() {
            self.log_due = opened + plan.log_when.interval;
        }
        if plan.log_when.start {
            self.log(AccessLogType::TcpConnectionStart);
        }
    }

    /// Writes a line to every access log.
    pub(super) fn log(&self, kind: AccessLogType) {
        if self.is_logged() {
            log::write(self, kind);
        }
    }

    /// Somebody will read what is recorded.
    pub(super) fn is_logged(&self) -> bool {
        let logs = &self.proxy.plan.access_logs;
        !logs.is_empty() || !self.link.listener.plan.access_logs.is_empty()
    }

    /// Bytes went through.
    pub(super) fn touch(&mut self) {
        self.active = now();
    }

    /// Looks at the timers; what ran out, if anything. `upstream`: bytes queued for it.
    pub(super) fn poll_timers(&mut self, cx: &mut Context<'_>, upstream: usize) -> Option<End> {
        let plan = &self.proxy.plan;
        let (idle, interval) = (plan.idle_timeout, plan.log_when.interval);
        if self.link.chain.is_over() {
            return Some(End::Removed);
        }
        loop {
            let now = now();
            let idle_at = if idle.is_zero() { Instant::FAR_FUTURE } else { self.active + idle };
            let report_at = self.report.as_ref().map_or(Instant::FAR_FUTURE, |report| report.due());
            let next = idle_at.min(self.dies).min(self.log_due).min(report_at);
            if now < next {
                // Activity only moves deadlines away: a timer that fires early is armed again then.
                let armed = self.timer.deadline();
                if next < armed || armed <= now {
                    self.timer.reset(next);
                    if Pin::new(&mut self.timer).poll(cx).is_ready() {
                        continue;
                    }
                }
                return None;
            }
            if self.dies <= now {
                self.record.flags.insert(ResponseFlag::DurationTimeout);
                let names = &self.proxy.plan.stats;
                self.link.shard.stats.inc(names.max_downstream_connection_duration());
                return Some(End::MaxDuration);
            }
            if idle_at <= now {
                let queued = (self.down.queued(), upstream);
                if queued == self.queued {
                    self.link.shard.stats.inc(self.proxy.plan.stats.idle_timeout());
                    return Some(End::Idle);
                }
                self.queued = queued;
                self.active = now;
            }
            if report_at <= now {
                self.report(false);
            }
            if self.log_due <= now {
                self.log_due = now + interval;
                self.log(AccessLogType::TcpPeriodic);
            }
        }
    }

    /// Ends it where there is no upstream connection.
    pub(super) async fn give_up(&mut self, end: End) {
        self.closed(end, false);
        // Nothing is queued for the client. What it sent and nobody read would turn the FIN into a
        // reset.
        self.down.shutdown_write();
        self.flush_down().await;
    }

    /// Notes how it ended, and writes the last line.
    pub(super) fn closed(&mut self, end: End, connected: bool) {
        let record = &mut self.record;
        record.local_close = match end {
            End::Done | End::ClientReset | End::UpstreamReset | End::HostFailed => None,
            End::NoUpstream(NoUpstream::ConnectFailed) => Some("tcp_initializion_failure:0"),
            End::NoUpstream(NoUpstream::NoHealthyUpstream) => Some("tcp_initializion_failure:1"),
            End::NoUpstream(NoUpstream::ResourceLimitExceeded) => {
                Some("tcp_initializion_failure:2")
            }
            End::NoUpstream(NoUpstream::NoRoute) => Some("tcp_initializion_failure:3"),
            End::Idle => Some("tcp_session_idle_timeout"),
            End::MaxDuration => Some("max_connection_duration_reached"),
            End::Drained => Some("drain_close"),
            End::Removed => Some("filter_chain_is_being_removed"),
        };
        if connected && matches!(end, End::Idle | End::MaxDuration | End::Removed) {
            record.upstream_local_close = record.local_close;
        }
        match end {
            End::ClientReset => record.close_type = CloseType::RemoteReset,
            End::UpstreamReset => {
                record.flags.insert(ResponseFlag::UpstreamRemoteReset);
                record.close_type = CloseType::LocalReset;
                record.upstream_close_type = CloseType::RemoteReset;
            }
            _ => {}
        }
        self.report(true);
        self.log(AccessLogType::TcpConnectionEnd);
    }

    /// Tells `istio.stats` how far it is.
    pub(super) fn report(&mut self, last: bool) {
        let Some(report) = &mut self.report else { return };
        let record = &self.record;
        let (cluster, host) = (record.cluster.as_ref(), record.host.as_ref());
        let seen = Seen {
            cluster: cluster.map(|cluster| &**cluster.plan()),
            host: host.map(|host| &**host.plan()),
            downstream_tls: self.down.tls().map(|tls| &**tls),
            flags: record.flags,
            sent: record.sent,
            received: record.received,
        };
        report.tell(&self.link, &seen, last);
    }

    /// Closes the downstream connection with a reset.
    pub(super) fn reset(self: Box<Self>) {
        self.down.reset();
    }

    /// Waits until the client has taken what is queued for it, for as long as that may take.
    pub(super) async fn flush_down(&mut self) {
        let (down, timer) = (&self.down, &mut self.timer);
        flush(down, timer, FLUSH_MAX).await;
    }

    /// Waits until the upstream has taken what is queued for it.
    pub(super) async fn flush_up(&mut self, up: &TcpConn) {
        let stats = &self.link.shard.stats;
        let names = &self.proxy.plan.stats;
        stats.inc(names.upstream_flush_total());
        stats.gauge_add(names.upstream_flush_active(), 1);
        let limit = match self.proxy.plan.idle_timeout {
            Duration::ZERO => FLUSH_MAX,
            timeout => timeout,
        };
        flush(up.stream(), &mut self.timer, limit).await;
        stats.gauge_sub(names.upstream_flush_active(), 1);
    }
}

/// Waits until everything queued was accepted, or nothing was for `limit`.
async fn flush(stream: &Stream, timer: &mut Sleep, limit: Duration) {
    let mut left = stream.queued();
    timer.reset(now() + limit);
    poll_fn(|cx| {
        loop {
            if stream.poll_queued_below(cx, 0).is_ready() {
                return Poll::Ready(());
            }
            if Pin::new(&mut *timer).poll(cx).is_pending() {
                return Poll::Pending;
            }
            let queued = stream.queued();
            if queued >= left {
                return Poll::Ready(());
            }
            left = queued;
            timer.reset(now() + limit);
        }
    })
    .await;
}
