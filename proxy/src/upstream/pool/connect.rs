//! Setting up connections.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use ringway_runtime::{self as runtime, Chunk, ConnectOptions, Instant, Keepalive, SockAddr};

use super::conn::Conn;
use super::{AcquireError, Kind, Pool};
use crate::istio::{Peer, exchange};
use crate::plan::{Address, Cluster, Host, SocketOption};
use crate::transport::{self, ConnectHints, HandshakeError, Stream};
use crate::upstream::cluster::Shared;
use crate::upstream::server_name;

/// Between the starts of two attempts at addresses of one host (RFC 8305 section 5; Envoy's value).
const NEXT_ATTEMPT: Duration = Duration::from_millis(300);

/// Socket options of a cluster's connections, by where they go.
pub(in crate::upstream) struct Connects {
    main: ConnectOptions,
    /// For addresses of the other family than the source of `main`.
    extra: Option<ConnectOptions>,
}

impl Connects {
    /// Of a cluster.
    pub(in crate::upstream) fn new(plan: &Cluster) -> Self {
        let main = connect_options(plan, plan.bind, &plan.socket_options);
        let extra = plan.extra_bind.as_ref();
        let extra =
            extra.map(|extra| connect_options(plan, Some(extra.source), &extra.socket_options));
        Self { main, extra }
    }

    /// Those for connections to an address: the source of its family, or else the first.
    pub(in crate::upstream) fn to(&self, address: &SockAddr) -> &ConnectOptions {
        let fits = |options: &ConnectOptions| match (&options.bind, address) {
            (Some(SockAddr::Inet(own)), SockAddr::Inet(to)) => own.is_ipv4() == to.is_ipv4(),
            _ => false,
        };
        match &self.extra {
            Some(extra) if !fits(&self.main) && fits(extra) => extra,
            _ => &self.main,
        }
    }
}

fn connect_options(
    plan: &Cluster,
    source: Option<std::net::SocketAddr>,
    options: &[SocketOption],
) -> ConnectOptions {
    let seconds = |s: u32| Duration::from_secs(u64::from(s));
    ConnectOptions {
        bind: source.map(SockAddr::Inet),
        keepalive: plan.tcp_keepalive.map(|keep| Keepalive {
            time: keep.time_s.map(seconds),
            interval: keep.interval_s.map(seconds),
            probes: keep.probes,
        }),
        options: options
            .iter()
            .map(|option| runtime::SocketOption {
                level: option.level,
                name: option.name,
                value: option.value.clone(),
            })
            .collect(),
        ..ConnectOptions::default()
    }
}

/// The runtime's form of an address of the plan.
pub(in crate::upstream) fn sock_addr(address: &Address) -> SockAddr {
    match address {
        Address::Ip(ip) => SockAddr::Inet(*ip),
        Address::Pipe { path, .. } => SockAddr::unix(path),
        // Nothing listens there: see `upstream/internal.rs`.
        Address::Internal { listener, .. } => SockAddr::unix(format!("envoy://{listener}")),
    }
}

impl Pool {
    /// Begins to set up one connection; the permit is taken.
    pub(super) fn start_connect(self: &Rc<Self>) {
        let (stats, names) = (&self.shared.shard.stats, &self.shared.plan.stats);
        stats.inc(names.upstream_cx_total());
        stats.gauge_add(names.upstream_cx_active(), 1);
        match self.kind {
            Kind::Http1 => stats.inc(names.upstream_cx_http1_total()),
            Kind::Http2 => stats.inc(names.upstream_cx_http2_total()),
            // Counted once it is known.
            Kind::Auto => {}
        }
        self.shared.limits.shared().note_traffic();
        self.page.cx_total.inc();
        self.page.cx_active.inc();
        self.state.borrow_mut().connecting += 1;
        let pool = self.clone();
        runtime::spawn(async move {
            let (born, generation) = (runtime::now(), pool.generation.get());
            let plan = &pool.shared.plan;
            let name = pool.key.server_name.as_deref();
            let host = pool.host.borrow().clone();
            let hints = server_name::hints(&plan.socket(&host).transport, name);
            let offer = pool.key.alpn.as_deref();
            let hints = ConnectHints { alpn: pool.kind.alpn(), offer, ..hints };
            let connect =
                pin!(connect_transport(&pool.shared, &host, pool.key.header.as_deref(), &hints,));
            match runtime::timeout(plan.connect_timeout, connect).await {
                Ok(Ok((stream, _))) => pool.connected(stream, born, generation),
                Ok(Err(error)) => pool.connect_failed(born, &error),
                Err(_) => pool.connect_failed(born, &timed_out()),
            }
        });
    }

    /// Whether a new connection speaks HTTP/2; counted, where only ALPN could tell.
    pub(super) fn speaks_http2(&self, stream: &Stream) -> bool {
        if self.kind != Kind::Auto {
            return self.kind == Kind::Http2;
        }
        let http2 = stream.tls().is_some_and(|tls| tls.alpn.as_deref() == Some(b"h2"));
        let (stats, names) = (&self.shared.shard.stats, &self.shared.plan.stats);
        if http2 {
            stats.inc(names.upstream_cx_http2_total());
        } else {
            stats.inc(names.upstream_cx_http1_total());
            // The next ones are not expected to take more than a request each.
            self.peer_limit.set(1);
        }
        http2
    }

    pub(super) fn new_conn(&self, stream: Stream, born: Instant, generation: u32) -> Conn {
        Conn {
            stream,
            born,
            dies: dies(&self.shared.plan),
            idle_since: born,
            served: 0,
            generation,
            last_request: false,
            local: Default::default(),
        }
    }
}

/// When a connection that is up now reaches `max_connection_duration`.
pub(super) fn dies(plan: &Cluster) -> Instant {
    match plan.http.max_connection_duration {
        Duration::ZERO => Instant::FAR_FUTURE,
        duration => runtime::now() + duration,
    }
}

/// `connect_timeout` passed.
pub(in crate::upstream) fn timed_out() -> AcquireError {
    AcquireError::ConnectFailure { timeout: true, error: String::new() }
}

/// The connection could not be set up.
pub(in crate::upstream) fn failure(error: &io::Error) -> AcquireError {
    let error = format!("delayed connect error: {}", os_message(error));
    AcquireError::ConnectFailure { timeout: false, error }
}

/// The system's words for an error, without the number that Rust appends.
fn os_message(error: &io::Error) -> String {
    let mut text = error.to_string();
    if let Some(at) = text.find(" (os error") {
        text.truncate(at);
    }
    text
}

/// Connects to a host and does what the cluster's transport socket and filters ask for; `header`,
/// if there is one, goes before all else. The caller limits the time. With the connection comes who
/// is at its other end, if that says.
pub(in crate::upstream) async fn connect_transport(
    shared: &Shared,
    host: &Host,
    header: Option<&[u8]>,
    hints: &ConnectHints<'_>,
) -> Result<(Stream, Option<Rc<Peer>>), AcquireError> {
    let shard = &shared.shard;
    let socket = shared.plan.socket(host);
    let raw = match &host.address {
        Address::Internal { listener, .. } => {
            shard.connect_internal(listener, host, socket.internal, hints.passed)
        }
        _ => connect_host(host, &shared.connect).await,
    };
    let raw = raw.map_err(|error| failure(&error))?;
    if let Some(header) = header {
        let names = &shared.plan.stats;
        shard.stats.add(names.upstream_cx_tx_bytes_total(), header.len() as u64);
        raw.write(Chunk::copy_from(header));
    }
    let name = (!host.info.hostname.is_empty()).then_some(&*host.info.hostname);
    let hints = ConnectHints { host_name: hints.host_name.or(name), ..*hints };
    let plan = &socket.transport;
    let connected = transport::connect(&shard.gate, &shard.stats, plan, raw, &hints).await;
    let stream = connected.map_err(|error| match error {
        HandshakeError::TimedOut => timed_out(),
        HandshakeError::Failed(error) => AcquireError::ConnectFailure { timeout: false, error },
    })?;
    let known = match &shared.plan.metadata_exchange {
        Some(plan) => exchange::run(&shard.stats, plan, &stream).await,
        None => None,
    };
    Ok((stream, known))
}

/// Connects to a host. With several addresses the next is tried when one fails or is slow; the
/// first that is up wins.
pub(in crate::upstream) async fn connect_host(
    host: &Host,
    options: &Connects,
) -> io::Result<runtime::Stream> {
    let moved = host.moved.load_full();
    let (address, additional) = match &moved {
        Some(moved) => (&moved.address, &moved.additional),
        None => (&host.address, &host.additional),
    };
    let first = sock_addr(address);
    if additional.is_empty() {
        return runtime::connect(&first, options.to(&first)).await;
    }
    let rest: Vec<SockAddr> = additional.iter().map(sock_addr).collect();
    connect_first(&first, &rest, options).await
}

async fn connect_first(
    first: &SockAddr,
    rest: &[SockAddr],
    options: &Connects,
) -> io::Result<runtime::Stream> {
    let mut left = rest.iter();
    let mut attempts: Vec<Pin<Box<dyn Future<Output = io::Result<runtime::Stream>> + '_>>> =
        vec![Box::pin(runtime::connect(first, options.to(first)))];
    let mut timer = runtime::sleep(NEXT_ATTEMPT);
    let mut last = None;
    poll_fn(|cx| {
        loop {
            let mut won = None;
            attempts.retain_mut(|attempt| match attempt.as_mut().poll(cx) {
                Poll::Ready(Ok(stream)) if won.is_none() => {
                    won = Some(stream);
                    false
                }
                Poll::Ready(Ok(_)) => false,
                Poll::Ready(Err(error)) => {
                    last = Some(error);
                    false
                }
                Poll::Pending => true,
            });
            if let Some(stream) = won {
                return Poll::Ready(Ok(stream));
            }
            let due = attempts.is_empty() || Pin::new(&mut timer).poll(cx).is_ready();
            if due && let Some(next) = left.next() {
                attempts.push(Box::pin(runtime::connect(next, options.to(next))));
                timer.reset(runtime::now() + NEXT_ATTEMPT);
            } else if attempts.is_empty() {
                let nothing =
                    || io::Error::new(io::ErrorKind::NotFound, "no address to connect to");
                return Poll::Ready(Err(last.take().unwrap_or_else(nothing)));
            } else {
                return Poll::Pending;
            }
        }
    })
    .await
}
