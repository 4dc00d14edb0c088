//! Connections inside CONNECT requests (`tunneling_config`): a stream of a pooled HTTP/2 connection
//! that looks like a TCP connection.
//!
//! LIFECYCLE: stream acquired → CONNECT sent → 2xx → a pair of unix sockets, of which one end is
//! the connection, the other is relayed to the stream → each direction ends by itself; what breaks
//! one side resets the other.

use std::future::poll_fn;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::task::{Context, Poll};

use ringway_runtime::{self as runtime, Chunk, Stream as Socket};
use ringway_wire::{HeaderMap, Method, RequestHead, ResponseHead, Version};

use super::cluster::ShardCluster;
use super::host::ShardHost;
use super::pool::{AcquireError, AcquireOptions, Leased, PooledStream, failure, timed_out};
use super::tcp::TcpConn;
use crate::http::down::Frame;
use crate::http2::ErrorCode;

/// Bytes that wait on either side at the most.
const QUEUED_MAX: usize = 256 << 10;

/// Pieces moved without letting others run.
const PIECES_MAX: usize = 16;

impl ShardCluster {
    /// Opens a tunnel to `authority` through `host`, within `connect_timeout`. Its connection says
    /// by `proxy_header` for whom it is, and is shared by none but theirs.
    ///
    /// # Errors
    /// There is no connection, it speaks no HTTP/2, or the host refuses the tunnel.
    pub(crate) async fn connect_tunnel(
        self: &Rc<Self>,
        host: &Rc<ShardHost>,
        authority: Vec<u8>,
        proxy_header: Option<Rc<[u8]>>,
    ) -> Result<TcpConn, AcquireError> {
        let limit = self.plan().connect_timeout;
        let opened = runtime::timeout(limit, self.open(host, authority, proxy_header)).await;
        let stream = opened.unwrap_or_else(|_| Err(timed_out()))?;
        let (near, far) = pair().map_err(|error| failure(&error))?;
        runtime::spawn(relay(stream, far));
        Ok(TcpConn::tunnelled(self, host, near))
    }

    async fn open(
        self: &Rc<Self>,
        host: &Rc<ShardHost>,
        authority: Vec<u8>,
        proxy_header: Option<Rc<[u8]>>,
    ) -> Result<PooledStream, AcquireError> {
        let options = AcquireOptions { http2: true, proxy_header, ..AcquireOptions::default() };
        let Leased::Http2(stream) = self.acquire(host, 0, options).await? else {
            return Err(refused("a tunnel needs an upstream that speaks HTTP/2"));
        };
        let version = Version::Http2;
        let head =
            RequestHead { method: Method::Connect, authority, version, ..RequestHead::default() };
        stream.stream().send_request(&head, None, false);
        let mut response = ResponseHead::default();
        loop {
            let answered = poll_fn(|cx| stream.stream().poll_response(cx, &mut response)).await;
            if answered.is_err() {
                return Err(refused("the stream ended before the tunnel was there"));
            }
            if !response.is_interim() {
                break;
            }
        }
        match response.status {
            200..300 => Ok(stream),
            status => Err(refused(&format!("the tunnel was refused with {status}"))),
        }
    }
}

fn refused(why: &str) -> AcquireError {
    AcquireError::ConnectFailure { timeout: false, error: why.to_owned() }
}

fn pair() -> io::Result<(Socket, Socket)> {
    let (near, far) = UnixStream::pair()?;
    Ok((Socket::from_fd(OwnedFd::from(near))?, Socket::from_fd(OwnedFd::from(far))?))
}

/// Moves bytes until both directions have ended, or one broke.
async fn relay(tunnel: PooledStream, socket: Socket) {
    let (mut out_ended, mut in_ended) = (false, false);
    let mut trailers = HeaderMap::new();
    let whole = poll_fn(|cx| {
        let out = poll_out(cx, &tunnel, &socket, &mut out_ended);
        let back = poll_in(cx, &tunnel, &socket, &mut trailers, &mut in_ended);
        match (out, back) {
            (Err(()), _) | (_, Err(())) => Poll::Ready(false),
            // What came last has to leave before the socket is closed.
            (Ok(()), Ok(())) if out_ended && in_ended => {
                socket.poll_queued_below(cx, 0).map(|written| written.is_ok())
            }
            (Ok(()), Ok(())) => Poll::Pending,
        }
    })
    .await;
    if whole {
        socket.close();
    } else {
        tunnel.stream().reset(ErrorCode::CANCEL);
        socket.reset();
    }
}

/// From the connection into the tunnel.
fn poll_out(
    cx: &mut Context<'_>,
    tunnel: &PooledStream,
    socket: &Socket,
    ended: &mut bool,
) -> Result<(), ()> {
    for _ in 0..PIECES_MAX {
        if *ended {
            return Ok(());
        }
        if tunnel.stream().queued() > QUEUED_MAX {
            match tunnel.stream().poll_queued_below(cx, QUEUED_MAX / 2) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(_)) => return Err(()),
                Poll::Pending => return Ok(()),
            }
        }
        match socket.poll_recv(cx) {
            Poll::Ready(Ok(Some(chunk))) => tunnel.stream().send_data(chunk, false),
            Poll::Ready(Ok(None)) => {
                tunnel.stream().send_data(Chunk::new(), true);
                *ended = true;
            }
            Poll::Ready(Err(_)) => return Err(()),
            Poll::Pending => return Ok(()),
        }
    }
    cx.waker().wake_by_ref();
    Ok(())
}

/// From the tunnel into the connection.
fn poll_in(
    cx: &mut Context<'_>,
    tunnel: &PooledStream,
    socket: &Socket,
    trailers: &mut HeaderMap,
    ended: &mut bool,
) -> Result<(), ()> {
    for _ in 0..PIECES_MAX {
        if *ended {
            return Ok(());
        }
        if socket.queued() > QUEUED_MAX {
            match socket.poll_queued_below(cx, QUEUED_MAX / 2) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(_)) => return Err(()),
                Poll::Pending => return Ok(()),
            }
        }
        match tunnel.stream().poll_body(cx, trailers) {
            Poll::Ready(Ok(Frame::Data(chunk))) => socket.write(chunk),
            Poll::Ready(Ok(Frame::End)) => {
                socket.shutdown_write();
                *ended = true;
            }
            Poll::Ready(Err(_)) => return Err(()),
            Poll::Pending => return Ok(()),
        }
    }
    cx.waker().wake_by_ref();
    Ok(())
}
