//! Waiting for a connection.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use super::conn::PooledConn;
use super::multiplexed::PooledStream;
use super::waiters::WaiterKey;
use super::{ClosedBy, Kind, Lent, Pool};
use crate::plan::cluster::UpstreamProtocol;
use crate::upstream::cluster::Shared;
use crate::upstream::host::{PoolPlace, ShardHost};
use crate::upstream::limits::{Priority, Resource};
use crate::upstream::server_name::PoolKey;

/// How a connection is wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AcquireOptions {
    /// One that has not served a request yet: for a request that is sent again because the kept
    /// connection it had was dead.
    pub fresh: bool,
    /// The PROXY header it begins with: only a connection that began with the same will do.
    pub proxy_header: Option<Rc<[u8]>>,
    /// The host the request is for, where the cluster's TLS follows it.
    pub server_name: Option<Rc<str>>,
    /// What is offered over TLS in place of what the cluster says.
    pub alpn: Option<std::sync::Arc<[Box<[u8]>]>>,
    /// The request came over HTTP/2: what a cluster goes by that speaks what its clients speak.
    pub http2: bool,
}

/// What a request is sent on.
#[derive(Debug)]
pub enum Leased {
    /// An HTTP/1 connection of its own.
    Http1(PooledConn),
    /// A stream of an HTTP/2 connection.
    Http2(PooledStream),
}

impl Leased {
    fn new(lent: Lent, pool: Rc<Pool>, host: Rc<ShardHost>) -> Self {
        match lent {
            Lent::Http1(conn) => Self::Http1(PooledConn::new(conn, pool, host)),
            Lent::Http2(stream) => Self::Http2(PooledStream::new(stream, pool, host)),
        }
    }

    /// The HTTP/1 connection, if that is what it is.
    #[cfg(test)]
    pub(in crate::upstream) fn http1(self) -> PooledConn {
        match self {
            Self::Http1(conn) => conn,
            Self::Http2(_) => panic!("a stream of an HTTP/2 connection"),
        }
    }

    /// Whether its connection has served a request before.
    pub fn reused(&self) -> bool {
        match self {
            Self::Http1(conn) => conn.reused(),
            Self::Http2(stream) => stream.reused(),
        }
    }

    /// Address of our end.
    pub fn local_addr(&self) -> Option<std::net::SocketAddr> {
        match self {
            Self::Http1(conn) => conn.local_addr(),
            Self::Http2(stream) => stream.local_addr(),
        }
    }

    /// The host it leads to.
    pub fn host(&self) -> &Rc<ShardHost> {
        match self {
            Self::Http1(conn) => conn.host(),
            Self::Http2(stream) => stream.host(),
        }
    }
}

/// Why there is no connection.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AcquireError {
    /// `max_requests` is reached: response flag `UO`. The host had a connection for it, and is
    /// charged with the response.
    #[error("circuit breaker open: too many active requests")]
    Overflow,
    /// `max_pending_requests` is reached: response flag `UO`, charged to no host.
    #[error("circuit breaker open: too many pending requests")]
    PendingOverflow,
    /// `max_connection_pools` is reached: answered as if there were no healthy host.
    #[error("circuit breaker open: too many connection pools")]
    PoolOverflow,
    /// The connection could not be set up: response flag `UF`.
    #[error("connect failed: {error}")]
    ConnectFailure {
        /// `connect_timeout` passed.
        timeout: bool,
        /// What is told of it in logs: `delayed connect error: Connection refused`, or what TLS
        /// says.
        error: String,
    },
    /// The pool is gone.
    #[error("the pool was closed")]
    PoolClosed,
}

/// A connection to come. Dropping it leaves the queue.
pub struct Acquire {
    host: Rc<ShardHost>,
    state: State,
}

enum State {
    Ready(Rc<Pool>, Lent),
    Failed(AcquireError),
    Waiting(Rc<Pool>, WaiterKey),
    Done,
}

impl Acquire {
    pub(in crate::upstream) fn start(
        shared: &Rc<Shared>,
        host: &Rc<ShardHost>,
        priority: Priority,
        options: AcquireOptions,
    ) -> Self {
        let AcquireOptions { fresh, http2, proxy_header: header, server_name, alpn } = options;
        // Without TLS nothing is offered.
        let alpn = alpn.filter(|_| shared.plan.socket(host.plan()).is_secure());
        let key = PoolKey { header, server_name, alpn };
        let state = match pool_of(shared, host, priority, http2, key) {
            Some(pool) => State::begin(&pool, fresh),
            None => State::Failed(AcquireError::PoolOverflow),
        };
        Self { host: host.clone(), state }
    }
}

/// The pool, made if it is the first use and `max_connection_pools` allows it.
fn pool_of(
    shared: &Rc<Shared>,
    host: &ShardHost,
    priority: Priority,
    downstream_http2: bool,
    key: PoolKey,
) -> Option<Rc<Pool>> {
    let kind = match shared.plan.http.protocol {
        UpstreamProtocol::Http1 => Kind::Http1,
        UpstreamProtocol::Http2 => Kind::Http2,
        UpstreamProtocol::Auto => Kind::Auto,
        UpstreamProtocol::Downstream if downstream_http2 => Kind::Http2,
        UpstreamProtocol::Downstream => Kind::Http1,
    };
    let place = PoolPlace { priority, http2: kind == Kind::Http2 };
    if let Some(pool) = host.pool(place, &key) {
        return Some(pool);
    }
    if shared.take(priority, Resource::Pools).is_err() {
        shared.shard.stats.inc(shared.plan.stats.upstream_cx_pool_overflow());
        return None;
    }
    shared.mark_pools();
    let (page, of) = (host.page(), key.clone());
    let new = |shared: &Rc<Shared>| Pool::new(shared, host.plan(), page, priority, kind, of);
    Some(host.make_pool(place, key, new))
}

impl State {
    fn begin(pool: &Rc<Pool>, fresh: bool) -> Self {
        if let Some(lent) = pool.open_stream(fresh) {
            return match lent {
                Ok(stream) => Self::Ready(pool.clone(), Lent::Http2(stream)),
                Err(refused) => Self::Failed(refused),
            };
        }
        if fresh {
            pool.make_room();
        } else if let Some(mut conn) = pool.pop_idle() {
            return match pool.attach(&mut conn) {
                Ok(()) => Self::Ready(pool.clone(), Lent::Http1(conn)),
                Err(refused) => {
                    pool.offer(conn);
                    Self::Failed(refused)
                }
            };
        }
        match pool.enqueue(fresh) {
            Some(key) => Self::Waiting(pool.clone(), key),
            None => Self::Failed(AcquireError::PendingOverflow),
        }
    }
}

impl Pool {
    /// Somebody will take no idle connection: when no other can be opened for that reason, the
    /// one that was idle longest goes.
    fn make_room(&self) {
        let limits = self.shared.limits.shared();
        let (at, max) = (
            limits.taken(self.priority, Resource::Connections),
            limits.max(self.priority, Resource::Connections),
        );
        if at < max {
            return;
        }
        let oldest = self.state.borrow_mut().idle.pop_front();
        if let Some(conn) = oldest {
            self.destroy(conn, ClosedBy::Us, false);
        }
    }
}

impl Future for Acquire {
    type Output = Result<Leased, AcquireError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        match std::mem::replace(&mut this.state, State::Done) {
            State::Ready(pool, lent) => Poll::Ready(Ok(Leased::new(lent, pool, this.host.clone()))),
            State::Failed(error) => Poll::Ready(Err(error)),
            State::Waiting(pool, key) => {
                let polled = pool.state.borrow_mut().waiters.poll(key, cx.waker());
                match polled {
                    Poll::Ready(Ok(lent)) => {
                        Poll::Ready(Ok(Leased::new(lent, pool, this.host.clone())))
                    }
                    Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
                    Poll::Pending => {
                        this.state = State::Waiting(pool, key);
                        Poll::Pending
                    }
                }
            }
            State::Done => Poll::Ready(Err(AcquireError::PoolClosed)),
        }
    }
}

impl Drop for Acquire {
    fn drop(&mut self) {
        match std::mem::replace(&mut self.state, State::Done) {
            State::Ready(pool, Lent::Http1(conn)) => pool.give_back(conn),
            State::Ready(pool, Lent::Http2(stream)) => pool.return_stream(stream),
            State::Waiting(pool, key) => pool.cancel(key),
            State::Failed(_) | State::Done => {}
        }
    }
}

impl fmt::Debug for Acquire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match self.state {
            State::Ready(..) => "ready",
            State::Failed(_) => "failed",
            State::Waiting(..) => "waiting",
            State::Done => "done",
        };
        f.debug_struct("Acquire").field("host", &self.host).field("state", &state).finish()
    }
}
