//! One downstream connection, and the state of a request on it.
//!
//! A [`Conn`] is what everybody who serves a request sees of where it came from.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use ringway_runtime::{Chain, Instant, Sleep, sleep_until};
use ringway_wire::http1::HeaderKeyFormat;
use ringway_wire::{HeaderMap, RequestHead, ResponseHead, Version};

use super::down::{Downstream, Http1};
use super::info::Info;
use super::manager::Manager;
use super::reply::{self, LocalReply};
use super::respond::BodyForm;
use super::upgrade::Tunnel;
use super::{http1, http2};
use crate::filters::chain::{self, Active};
use crate::listener::{Admitted, Meta};
use crate::plan::http::CodecType;
use crate::plan::route::{Lookup, RouteId};
use crate::shard::Shard;
use crate::shard::tables::Table;
use crate::transport::Stream;
use crate::transport::tls::TlsInfo;
use crate::upstream::RetryPermit;

/// Bytes received ahead of their reader at the most, whatever the buffer limit.
const RECV_LIMIT_MAX: usize = 256 << 10;

/// A connection between requests: what must be kept for as long as it is open.
pub(crate) struct Conn {
    pub shard: Rc<Shard>,
    pub manager: Rc<Manager>,
    pub down: Downstream,
    /// Who the client is and where it wanted to go.
    pub meta: Rc<Meta>,
    /// Counts it as open on its listener.
    pub link: Rc<Admitted>,
    /// When it was accepted.
    pub opened: Instant,
    /// Requests begun on it.
    pub served: u32,
    /// The one timer; reset for whatever comes first.
    pub timer: Sleep,
    /// `drain_timeout` after `max_connection_duration`, or a drain of the shard, asks to close.
    pub aged: bool,
    /// Facts of the TLS session it came over.
    pub tls: Option<Rc<TlsInfo>>,
    /// The version its codec speaks, once that is known.
    pub codec: Option<Version>,
}

/// State of the request under way; reused from request to request.
#[derive(Default)]
pub(crate) struct Work {
    pub request: RequestHead,
    pub response: ResponseHead,
    pub request_trailers: HeaderMap,
    pub response_trailers: HeaderMap,
    pub info: Info,
    /// The request has a body, if only an empty chunked one.
    pub has_body: bool,
    /// Request body read so far, kept for another attempt.
    pub replay: Chain,
    /// How the response body is framed.
    pub form: BodyForm,
    /// How the codec that read the request keeps its names.
    pub request_names: Option<HeaderKeyFormat>,
    /// How the codec that read the response keeps its names.
    pub response_names: Option<HeaderKeyFormat>,
    /// The response's reason goes out as it came in.
    pub response_reason: bool,
    /// The attempt to come repeats one that took longer than `per_try_timeout`.
    pub timeout_retry: bool,
    /// Held while a retry is under way.
    pub retry_permit: Option<RetryPermit>,
    /// Whether it becomes a tunnel.
    pub tunnel: Tunnel,
    /// A CONNECT that ends here: its payload goes to the upstream.
    pub terminates_connect: bool,
    /// The response's head has gone out.
    pub head_sent: bool,
    /// The connection closes after this response.
    pub close: bool,
    /// The route table it began with; `None` where there was none for it.
    pub routes: Option<Table>,
    /// The route it took, in that table.
    pub route: Option<RouteId>,
    /// The weighted cluster it took, by position.
    pub weighted: Option<usize>,
    /// What the route table said, until somebody wants it asked anew.
    pub lookup: Option<Lookup>,
    /// It came in as a gRPC call, whatever it was made into.
    pub grpc: bool,
    /// The number that picks among routes and weighted clusters.
    pub random: u64,
    /// The HTTP filters at work.
    pub filters: Active,
}

/// What becomes of the connection after a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum After {
    /// It carries another.
    KeepAlive,
    /// It closes once everything is written.
    Close,
    /// The same, but the client may still be sending: wait for it, up to `delayed_close_timeout`.
    CloseDelayed,
    /// The client is gone.
    Gone,
    /// It turned out to be HTTP/2.
    Http2,
    /// Another process serves it.
    GivenAway,
}

/// Serves a connection to its end.
pub(crate) async fn serve(mut conn: Box<Conn>) {
    let shard = Rc::clone(&conn.shard);
    let key = shard.connections.enter(&conn.link).await;
    super::account::connection_opened(&conn);
    if conn.meta.resumption().is_some_and(|resumed| resumed.http1) {
        super::account::codec_chosen(&mut conn, Version::Http11);
    }
    let after = match first_codec(&conn) {
        Version::Http2 => http2::run(&mut conn).await,
        _ => match http1::run(&mut conn).await {
            After::Http2 => http2::run(&mut conn).await,
            after => after,
        },
    };
    super::account::connection_closed(&mut conn, after);
    shard.connections.leave(key, &conn.link);
}

/// What to begin with: what the configuration or the TLS handshake says, else HTTP/1, which looks
/// out for the preface of HTTP/2.
fn first_codec(conn: &Conn) -> Version {
    match conn.manager.plan.codec {
        CodecType::Http1 => Version::Http11,
        CodecType::Http2 => Version::Http2,
        CodecType::Auto if conn.alpn() == Some(b"h2") => Version::Http2,
        CodecType::Auto => Version::Http11,
    }
}

impl Conn {
    /// A connection its listener has let in.
    pub(crate) fn accepted(link: Admitted, manager: Rc<Manager>, stream: Stream) -> Box<Self> {
        // What was received and not read yet counts as buffered, too.
        stream.set_recv_limit(recv_limit(&link.listener));
        let opened = link.opened;
        let link_served = link.meta.resumption().map_or(0, |resumed| resumed.served);
        Box::new(Self {
            shard: Rc::clone(&link.shard),
            manager,
            tls: stream.tls().cloned(),
            down: Downstream::Http1(Http1::new(stream, Rc::clone(&link.chain))),
            meta: Rc::clone(&link.meta),
            link: Rc::new(link),
            opened,
            served: link_served,
            timer: sleep_until(opened + Duration::from_secs(3600)),
            aged: false,
            codec: None,
        })
    }

    /// Requests from now on are served as the chain is configured now.
    #[inline]
    pub(super) fn renew(&mut self) {
        if let Some(manager) = self.link.chain.renewed(&self.manager) {
            self.manager = manager;
        }
    }

    /// What a request on one of its HTTP/2 streams sees of it.
    pub(super) fn stream(&self, down: Downstream) -> Self {
        Self {
            shard: Rc::clone(&self.shard),
            manager: Rc::clone(&self.manager),
            down,
            meta: Rc::clone(&self.meta),
            link: Rc::clone(&self.link),
            opened: self.opened,
            // The connection's own task counts.
            served: 0,
            timer: sleep_until(Instant::FAR_FUTURE),
            aged: self.aged,
            tls: self.tls.clone(),
            codec: Some(Version::Http2),
        }
    }

    /// The protocol the TLS handshake agreed on.
    pub(super) fn alpn(&self) -> Option<&[u8]> {
        self.tls.as_ref()?.alpn.as_deref()
    }

    /// May the first bytes turn out to be HTTP/2?
    pub(super) fn looks_for_http2(&self) -> bool {
        self.served == 0
            && self.codec.is_none()
            && self.manager.plan.codec == CodecType::Auto
            && self.alpn().is_none()
    }

    /// Should the response under way carry `connection: close`?
    pub(crate) fn should_drain(&self) -> bool {
        let max = self.manager.plan.max_requests_per_connection;
        if max > 0 && self.served >= max {
            self.shard.stats.inc(self.manager.plan.stats.hcm.downstream_cx_max_requests_reached());
            return true;
        }
        if self.aged || self.aged_at().is_some_and(|at| ringway_runtime::now() >= at) {
            return true;
        }
        if !self.can_be_given_away() && self.shard.drains(&self.link) {
            self.shard.stats.inc(self.manager.plan.stats.hcm.downstream_cx_drain_close());
            return true;
        }
        false
    }

    /// May it go to another process once it is idle? One with TLS below it cannot, its keys are
    /// here.
    pub(super) fn can_be_given_away(&self) -> bool {
        self.shard.gives_away()
            && matches!(&self.down, Downstream::Http1(http1) if http1.stream.plain().is_some())
            && self.meta.resumption().is_none_or(|resumed| !resumed.stays)
    }

    pub(super) fn aged_at(&self) -> Option<Instant> {
        deadline(self.opened, self.manager.plan.timeouts.max_connection)
    }
}

/// Bytes received ahead of their reader on a connection of this listener.
pub(super) fn recv_limit(listener: &crate::listener::ActiveListener) -> usize {
    (listener.plan.buffer_limit as usize).clamp(1, RECV_LIMIT_MAX)
}

/// Request states that no request has at the moment.
#[derive(Default)]
#[expect(clippy::vec_box, reason = "they move in and out for every request: 8 bytes, not 1 KB")]
pub(crate) struct Works(RefCell<Vec<Box<Work>>>);

/// States kept; more requests than that at once make their own.
const WORKS_KEPT: usize = 128;

impl Works {
    pub(super) fn take(&self) -> Box<Work> {
        self.0.borrow_mut().pop().unwrap_or_default()
    }

    pub(super) fn put(&self, work: Box<Work>) {
        let mut works = self.0.borrow_mut();
        if works.len() < WORKS_KEPT {
            works.push(work);
        }
    }
}

impl Work {
    /// The route is to be chosen anew.
    pub(crate) fn forget_route(&mut self) {
        self.lookup = None;
        self.route = None;
        self.info.route_cluster = None;
        self.weighted = None;
    }

    /// Ready for the next request.
    pub(crate) fn begin(&mut self) {
        self.response.clear();
        self.request_trailers.clear();
        self.response_trailers.clear();
        self.replay.clear();
        self.form = BodyForm::None;
        self.request_names = None;
        self.response_names = None;
        self.response_reason = false;
        self.retry_permit = None;
        self.tunnel = Tunnel::No;
        self.terminates_connect = false;
        self.head_sent = false;
        self.close = false;
        self.routes = None;
        self.route = None;
        self.weighted = None;
        self.lookup = None;
        self.grpc = false;
        self.random = ringway_runtime::rand_u64();
        self.filters.clear();
        self.info = Info::begin(ringway_runtime::now(), ringway_runtime::unix_now());
    }

    /// Lets go of what the last request held, and of room only a giant head needed.
    pub(super) fn trim(&mut self) {
        const KEEP: usize = 8 * 1024;
        self.info = Info::default();
        self.routes = None;
        self.replay.clear();
        if self.request.headers.byte_size() > KEEP {
            self.request.clear();
            self.request.headers.trim(KEEP);
        }
        if self.response.headers.byte_size() > KEEP {
            self.response.clear();
            self.response.headers.trim(KEEP);
        }
    }
}

/// `start + limit`, or never for a limit of zero.
pub(crate) fn deadline(start: Instant, limit: Duration) -> Option<Instant> {
    (!limit.is_zero()).then(|| start + limit)
}

/// The earlier of two moments of which either may be "never".
pub(crate) fn earlier(a: Option<Instant>, b: Option<Instant>) -> Option<Instant> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

/// A reply to a request that never became one; the connection closes after it.
pub(crate) fn refuse(conn: &mut Conn, work: &mut Work, reply: LocalReply) {
    work.close = true;
    reply::send(conn, work, reply);
    chain::flush_response(conn, work);
}
