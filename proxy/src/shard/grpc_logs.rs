//! The shard's gRPC access logs: entries are collected and sent in portions, over a stream of their
//! own or (OpenTelemetry) a call for each portion, which rides the shard's upstream connections.
//!
//! LIFECYCLE of a logger: made with its first entry → entries collect until there are enough bytes
//! or the interval is over → a portion is sent, on a stream that is begun when there is none. While
//! a portion waits for the stream (to begin, or for the peer to read) entries collect up to
//! `buffer_size_bytes`; further ones are dropped and counted. A stream that cannot be begun costs
//! its portion, as in Envoy: a log service that is away must not cost memory.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use ringway_runtime::spawn;

use super::Shard;
use crate::observe::accesslog::{GrpcLog, GrpcProtocol, field_head, otlp};
use crate::observe::stats::ShardStats;
use crate::upstream::grpc::{Call, Client, MESSAGE_BYTES_MAX};

/// How long an export may take where its service has no `timeout`: it holds up those after it.
const EXPORT_MAX: Duration = Duration::from_secs(10);

const EXPORT: &str = "/opentelemetry.proto.collector.logs.v1.LogsService/Export";
const METHOD: &str = "/envoy.service.accesslog.v3.AccessLogService/StreamAccessLogs";

/// Loggers of one shard.
#[derive(Default)]
pub(crate) struct GrpcLogs {
    shard: RefCell<Weak<Shard>>,
    loggers: RefCell<Vec<Rc<Logger>>>,
}

/// Collects the entries of one log.
struct Logger {
    plan: Arc<GrpcLog>,
    /// `log_entry` fields, one after the other.
    entries: RefCell<Vec<u8>>,
    /// How many there are.
    count: Cell<u64>,
    waker: Cell<Option<Waker>>,
}

/// A portion of entries.
struct Portion {
    entries: Vec<u8>,
    count: u64,
}

impl GrpcLogs {
    /// The shard whose upstream connections are used.
    pub(super) fn attach(&self, shard: Weak<Shard>) {
        self.shard.replace(shard);
    }

    /// Adds the entry that `write` appends, if it appends one.
    pub(super) fn log(&self, plan: &Arc<GrpcLog>, write: impl FnOnce(&mut Vec<u8>) -> bool) {
        let Some(shard) = self.shard.borrow().upgrade() else { return };
        self.logger(plan, &shard).add(&shard.stats, write);
    }

    fn logger(&self, plan: &Arc<GrpcLog>, shard: &Rc<Shard>) -> Rc<Logger> {
        let mut loggers = self.loggers.borrow_mut();
        // Logs that are configured alike share a stream, also across updates of their listeners.
        let same = |have: &&Rc<Logger>| Arc::ptr_eq(&have.plan, plan) || have.plan == *plan;
        if let Some(logger) = loggers.iter().find(same) {
            return Rc::clone(logger);
        }
        // One that nobody but this list and its task holds, and no plan any more, is over.
        loggers.retain(|logger| Arc::strong_count(&logger.plan) > 1 || !logger.is_empty());
        let logger = Rc::new(Logger {
            plan: Arc::clone(plan),
            entries: RefCell::default(),
            count: Cell::new(0),
            waker: Cell::new(None),
        });
        loggers.push(Rc::clone(&logger));
        let (to, of) = (Rc::downgrade(shard), Rc::downgrade(&logger));
        match plan.protocol {
            GrpcProtocol::Stream(_) => spawn(run(to, of)),
            GrpcProtocol::Export { .. } => spawn(export_all(to, of)),
        };
        logger
    }
}

impl Logger {
    fn is_empty(&self) -> bool {
        self.entries.borrow().is_empty()
    }

    /// There is enough for a portion.
    fn is_full(&self) -> bool {
        self.entries.borrow().len() >= self.plan.buffer_bytes as usize
    }

    fn add(&self, stats: &ShardStats, write: impl FnOnce(&mut Vec<u8>) -> bool) {
        let names = &self.plan.stats;
        // Without a limit every entry is a portion, and only what waits is bounded.
        let limit = (self.plan.buffer_bytes as usize).max(1);
        let mut entries = self.entries.borrow_mut();
        if entries.len() >= limit {
            stats.inc(names.logs_dropped());
            return;
        }
        let first = entries.is_empty();
        if !write(&mut entries) {
            return;
        }
        // A record counts once it is known to have been taken.
        if matches!(self.plan.protocol, GrpcProtocol::Stream(_)) {
            stats.inc(names.logs_written());
        }
        self.count.set(self.count.get() + 1);
        if (first || entries.len() >= self.plan.buffer_bytes as usize)
            && let Some(waker) = self.waker.take()
        {
            waker.wake();
        }
    }

    fn take(&self) -> Portion {
        Portion { entries: self.entries.take(), count: self.count.replace(0) }
    }

    fn poll_until(&self, cx: &mut Context<'_>, ready: bool) -> Poll<()> {
        if ready {
            return Poll::Ready(());
        }
        self.waker.set(Some(cx.waker().clone()));
        Poll::Pending
    }
}

/// Sends portions for as long as shard and logger live.
async fn run(shard: Weak<Shard>, logger: Weak<Logger>) {
    let mut call: Option<Call> = None;
    loop {
        let Some(held) = logger.upgrade() else { return };
        poll_fn(|cx| {
            forget_ended(&mut call, cx);
            held.poll_until(cx, !held.is_empty())
        })
        .await;
        let full = poll_fn(|cx| held.poll_until(cx, held.is_full()));
        let _enough_or_time_over = ringway_runtime::timeout(held.plan.flush_interval, full).await;
        let Some(shard) = shard.upgrade() else { return };
        poll_fn(|cx| {
            forget_ended(&mut call, cx);
            Poll::Ready(())
        })
        .await;
        let identified = call.is_some();
        if call.is_none() {
            call = begin(&shard, &held.plan).await;
        }
        let portion = held.take();
        let names = &held.plan.stats;
        let Some(open) = &call else {
            shard.stats.add(names.grpc_entries_flush_failed(), portion.count);
            continue;
        };
        send(open, &shard, &held.plan, &portion, identified);
        shard.stats.add(names.grpc_entries_flushed(), portion.count);
        drop(shard);
        let below = held.plan.buffer_bytes as usize;
        poll_fn(|cx| open.poll_queued_below(cx, below)).await;
    }
}

/// Sends portions by calls, one after the other, for as long as shard and logger live.
async fn export_all(shard: Weak<Shard>, logger: Weak<Logger>) {
    loop {
        let Some(held) = logger.upgrade() else { return };
        poll_fn(|cx| held.poll_until(cx, !held.is_empty())).await;
        let full = poll_fn(|cx| held.poll_until(cx, held.is_full()));
        let _enough_or_time_over = ringway_runtime::timeout(held.plan.flush_interval, full).await;
        let Some(shard) = shard.upgrade() else { return };
        let portion = held.take();
        let given = held.plan.service.timeout;
        let time = if given.is_zero() { EXPORT_MAX } else { given };
        let export = export(&shard, &held.plan, &portion);
        let answer = ringway_runtime::timeout(time, export).await;
        let names = &held.plan.stats;
        let rejected = match answer {
            Ok(Some(answer)) => answer.rejected().min(portion.count),
            Ok(None) | Err(_) => portion.count,
        };
        shard.stats.add(names.logs_written(), portion.count - rejected);
        shard.stats.add(names.logs_dropped(), rejected);
    }
}

/// One call; `None` if it failed.
async fn export(shard: &Shard, plan: &GrpcLog, portion: &Portion) -> Option<otlp::Response> {
    let told = Some(plan.service.timeout).filter(|timeout| !timeout.is_zero());
    let mut call = client(shard, plan)?.begin(EXPORT, told).await.ok()?;
    call.send_owned(otlp::request(&resource(shard, plan), &portion.entries));
    call.finish();
    let answer = call.recv::<otlp::Response>().await.ok()??;
    call.recv::<otlp::Response>().await.ok()?.is_none().then_some(answer)
}

/// What all records of a log are about. Attributes of the configuration stand for built-in ones of
/// their names.
fn resource(shard: &Shard, plan: &GrpcLog) -> Vec<u8> {
    let GrpcProtocol::Export { labels, attributes } = &plan.protocol else { return Vec::new() };
    let local = &shard.local;
    let mut all: Vec<(Arc<str>, Arc<str>)> = Vec::new();
    if *labels {
        let text = |text: &str| Arc::<str>::from(text);
        all.push((text("log_name"), Arc::clone(&plan.log_name)));
        all.push((text("zone_name"), text(&local.zone)));
        all.push((text("cluster_name"), text(&local.cluster)));
        all.push((text("node_name"), text(&local.node)));
    }
    for (key, value) in attributes {
        match all.iter_mut().find(|(have, _)| have == key) {
            Some((_, have)) => have.clone_from(value),
            None => all.push((Arc::clone(key), Arc::clone(value))),
        }
    }
    otlp::resource(&all)
}

/// The service ended the stream: the next portion begins another.
fn forget_ended(call: &mut Option<Call>, cx: &mut Context<'_>) {
    if let Some(open) = call
        && open.poll_recv::<()>(cx).is_ready()
    {
        *call = None;
    }
}

async fn begin(shard: &Shard, plan: &GrpcLog) -> Option<Call> {
    client(shard, plan)?.begin(METHOD, None).await.ok()
}

fn client(shard: &Shard, plan: &GrpcLog) -> Option<Client> {
    let cluster = shard.upstreams.by_name(plan.service.cluster.as_bytes())?;
    Some(Client::of_service(&cluster, &plan.service, MESSAGE_BYTES_MAX))
}

/// `StreamAccessLogsMessage`; the first of a stream tells who we are.
fn send(call: &Call, shard: &Shard, plan: &GrpcLog, portion: &Portion, identified: bool) {
    let mut message = Vec::with_capacity(portion.entries.len() + 16);
    if !identified {
        let node = &shard.local.node_message;
        let name = plan.log_name.as_bytes();
        let (node_head, name_head) = (field_head(1, node.len()), field_head(2, name.len()));
        let identifier = [&node_head, &**node, &name_head, name].concat();
        message.extend(field_head(1, identifier.len()));
        message.extend(identifier);
    }
    let GrpcProtocol::Stream(field) = plan.protocol else { return };
    message.extend(field_head(field, portion.entries.len()));
    message.extend_from_slice(&portion.entries);
    call.send_encoded(&message);
}
