//! A stream to a management server: calls it, for as long as the process runs, and hands what it
//! says to the control loop, one response at a time.
//!
//! LIFECYCLE: calling → open (requests out, responses in) → lost → waiting → calling. A response
//! that is being worked on keeps the next one at the server, by flow control; a server that sends
//! more than a share of this thread can work on is listened to more slowly ([`Governor`]).

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use ringway_runtime::{Sleep, now, precise_now, rand_f64, sleep};
use ringway_wire::grpc::Status;
use ringway_xds::client::{Mux, Update};

use super::feeds::{FeedCx, FeedId, News};
use super::pace::{Backoff, Bucket, Governor};
use crate::control::log::log;
use crate::observe::stats::ControlPlaneStats;
use crate::plan::source::{GrpcService, GrpcSource};
use crate::upstream::grpc::{Call, Client, Failure};

/// Longest response taken: a server that sends all there is of a type may send much.
const RESPONSE_BYTES_MAX: usize = 1 << 30;

/// Bytes of requests that wait for the server, beyond which no further one is made.
const QUEUED_MAX: usize = 1 << 20;

/// One stream.
pub(super) struct Stream {
    id: FeedId,
    cx: Rc<FeedCx>,
    source: Arc<GrpcSource>,
    /// Of the method that is called.
    path: String,
    pub(super) mux: RefCell<Mux>,
    pub(super) stats: ControlPlaneStats,
    /// Of the task, while it waits.
    waker: Cell<Option<Waker>>,
    /// A response is being worked on.
    busy: Cell<bool>,
    governor: RefCell<Governor>,
    /// How long nothing is read.
    pause: Cell<Duration>,
}

/// What a stream waits for besides its peer.
#[derive(Default)]
struct Timers {
    /// Nothing is read until then.
    pause: Option<Pin<Box<Sleep>>>,
    /// Nothing is sent until then.
    token: Option<Pin<Box<Sleep>>>,
    /// The request that has to wait.
    held: Option<Vec<u8>>,
    /// A resource's time to live is over.
    expiry: Option<Pin<Box<Sleep>>>,
}

impl Stream {
    pub(super) fn new(
        id: FeedId,
        cx: &Rc<FeedCx>,
        source: &Arc<GrpcSource>,
        path: String,
        mux: Mux,
        stats: ControlPlaneStats,
    ) -> Rc<Self> {
        Rc::new(Self {
            id,
            cx: cx.clone(),
            source: source.clone(),
            path,
            mux: RefCell::new(mux),
            stats,
            waker: Cell::new(None),
            busy: Cell::new(false),
            governor: RefCell::new(Governor::new()),
            pause: Cell::new(Duration::ZERO),
        })
    }

    /// The cluster of its server.
    pub(super) fn cluster(&self) -> &Arc<str> {
        &self.source.service.cluster
    }

    /// There may be something to send.
    pub(super) fn wake(&self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// The response that was handed over is done with; it has cost so much time.
    pub(super) fn done(&self, used: Duration) {
        self.busy.set(false);
        let pause = self.governor.borrow_mut().charge(used, now());
        self.pause.set(pause);
        self.wake();
    }

    /// Keeps the stream up; never returns.
    pub(super) async fn run(self: Rc<Self>) {
        let service = &self.source.service;
        let mut backoff = Backoff::new(service.backoff);
        let mut log = LostLog::default();
        loop {
            let failure = match self.open(service).await {
                Ok(call) => self.serve(call, service, &mut backoff, &mut log).await,
                Err(failure) => failure,
            };
            log.lost(&self.path, &service.cluster, &failure);
            self.cx.tell(News::Lost(self.id));
            sleep(backoff.wait(rand_f64())).await;
        }
    }

    async fn open(&self, service: &GrpcService) -> Result<Call, Failure> {
        let Some(cluster) = self.cx.upstreams.by_name(service.cluster.as_bytes()) else {
            let text = format!("there is no cluster '{}' (yet)", service.cluster);
            return Err(Failure { status: Status::UNAVAILABLE, message: text });
        };
        let client = Client::of_service(&cluster, service, RESPONSE_BYTES_MAX);
        client.begin(&self.path, None).await
    }

    /// Serves an open call until it ends.
    async fn serve(
        &self,
        mut call: Call,
        service: &GrpcService,
        backoff: &mut Backoff,
        log: &mut LostLog,
    ) -> Failure {
        log!(Debug, Config, "{} gRPC config stream to {} is up", self.path, service.cluster);
        let stats = &self.cx.stats;
        stats.gauge_set(self.stats.connected_state(), 1);
        self.mux.borrow_mut().connected();
        let mut timers = Timers::default();
        let mut bucket = self.source.rate_limit.map(Bucket::new);
        let failure = poll_fn(|cx| {
            self.waker.set(Some(cx.waker().clone()));
            self.send(cx, &call, &mut bucket, &mut timers);
            self.expire(cx, &mut timers);
            self.receive(cx, &mut call, &mut timers, || {
                backoff.reset();
                log.forget();
            })
        })
        .await;
        // A response that is being worked on is answered by then, or its answer is not sent.
        self.mux.borrow_mut().disconnected();
        stats.gauge_set(self.stats.connected_state(), 0);
        stats.gauge_set(self.stats.pending_requests(), 0);
        failure
    }

    /// Sends what there is to say.
    fn send(
        &self,
        cx: &mut Context<'_>,
        call: &Call,
        bucket: &mut Option<Bucket>,
        timers: &mut Timers,
    ) {
        if pending(&mut timers.token, cx) {
            return;
        }
        while call.poll_queued_below(cx, QUEUED_MAX).is_ready() {
            let held = timers.held.take().or_else(|| self.mux.borrow_mut().poll_request());
            let Some(request) = held else { break };
            if let Some(Err(wait)) = bucket.as_mut().map(|bucket| bucket.take(now())) {
                self.cx.stats.inc(self.stats.rate_limit_enforced());
                self.cx.stats.gauge_set(self.stats.pending_requests(), 1);
                timers.token = Some(Box::pin(sleep(wait)));
                timers.held = Some(request);
                if pending(&mut timers.token, cx) {
                    return;
                }
                continue;
            }
            call.send_owned(request);
        }
        self.cx.stats.gauge_set(self.stats.pending_requests(), 0);
    }

    fn expire(&self, cx: &mut Context<'_>, timers: &mut Timers) {
        loop {
            let Some(deadline) = self.mux.borrow().next_deadline() else {
                timers.expiry = None;
                return;
            };
            let wait = deadline.saturating_sub(clock());
            if !wait.is_zero() {
                timers.expiry = Some(Box::pin(sleep(wait)));
                if pending(&mut timers.expiry, cx) {
                    return;
                }
                continue;
            }
            let expired = self.mux.borrow_mut().expire(clock());
            if !expired.is_empty() {
                self.cx.tell(News::Expired(self.id, expired));
            }
        }
    }

    /// Hands over the next response; ready when the call has ended.
    fn receive(
        &self,
        cx: &mut Context<'_>,
        call: &mut Call,
        timers: &mut Timers,
        mut answered: impl FnMut(),
    ) -> Poll<Failure> {
        if self.busy.get() {
            return Poll::Pending;
        }
        let pause = self.pause.take();
        if !pause.is_zero() {
            timers.pause = Some(Box::pin(sleep(pause)));
        }
        if pending(&mut timers.pause, cx) {
            return Poll::Pending;
        }
        let began = precise_now();
        let read = |bytes: &[u8]| -> Result<Update, String> {
            let read = self.mux.borrow_mut().received(bytes, clock());
            read.map_err(|_| "a response that cannot be read".to_owned())
        };
        match call.poll_recv_with(cx, read) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Ok(Some(update))) => {
                answered();
                self.busy.set(true);
                let used = precise_now() - began;
                self.cx.tell(News::Update { feed: self.id, update: Box::new(update), used });
                Poll::Pending
            }
            Poll::Ready(Ok(None)) => Poll::Ready(Failure {
                status: Status::OK,
                message: "the server has ended the stream".to_owned(),
            }),
            Poll::Ready(Err(failure)) => Poll::Ready(failure),
        }
    }
}

/// The clock of times to live.
pub(super) fn clock() -> Duration {
    Duration::from_nanos(now().as_nanos())
}

/// Whether a timer is still running; one that is over is taken away.
fn pending(timer: &mut Option<Pin<Box<Sleep>>>, cx: &mut Context<'_>) -> bool {
    let Some(running) = timer else { return false };
    if running.as_mut().poll(cx).is_pending() {
        return true;
    }
    *timer = None;
    false
}

/// Says why a stream was lost: every reason once, until the server is there again.
#[derive(Default)]
struct LostLog {
    last: Option<Failure>,
}

impl LostLog {
    fn lost(&mut self, path: &str, cluster: &str, failure: &Failure) {
        let method = path.rsplit('/').next().unwrap_or(path);
        let Failure { status, message } = failure;
        let text =
            format!("{method} gRPC config stream to {cluster} closed: {}, {message}", status.0);
        if self.last.as_ref() == Some(failure) {
            log!(Debug, Config, "{text}");
        } else {
            log!(Warning, Config, "{text}");
            self.last = Some(failure.clone());
        }
    }

    fn forget(&mut self) {
        self.last = None;
    }
}
