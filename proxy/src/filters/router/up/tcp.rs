//! A CONNECT that ends here: what the client sends goes to the upstream as it is.

use std::task::{Context, Poll};

use ringway_runtime::Chunk;

use super::{Event, Failure, Response};
use crate::filters::router::retry::Reset;
use crate::upstream::tcp::TcpConn;

/// The state of one tunnel.
pub(in crate::filters::router) struct Tcp {
    conn: TcpConn,
    answered: bool,
    received: u64,
}

impl Tcp {
    pub(in crate::filters::router) fn new(conn: TcpConn) -> Self {
        Self { conn, answered: false, received: 0 }
    }

    pub(super) fn write(&mut self, chunk: Chunk) {
        self.conn.count(0, chunk.len() as u64);
        self.conn.stream().write(chunk);
    }

    pub(super) fn end(&mut self) {
        self.conn.stream().shutdown_write();
    }

    pub(super) fn queued(&self) -> usize {
        self.conn.stream().queued()
    }

    pub(super) fn poll_queued_below(
        &self,
        cx: &mut Context<'_>,
        below: usize,
    ) -> Poll<Result<(), ()>> {
        self.conn.stream().poll_queued_below(cx, below).map_err(|_| ())
    }

    /// The connection being up is the answer; then come its bytes.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, into: &mut Response<'_>) -> Poll<Event> {
        if !self.answered {
            self.answered = true;
            into.head.clear();
            into.head.status = 200;
            return Poll::Ready(Event::Head { bodiless: false });
        }
        self.conn.stream().poll_recv(cx).map(|received| match received {
            Ok(Some(chunk)) => {
                self.received += chunk.len() as u64;
                self.conn.count(chunk.len() as u64, 0);
                Event::Data(chunk)
            }
            Ok(None) => {
                self.conn.peer_ended();
                Event::End
            }
            Err(_) => {
                self.conn.peer_ended();
                Event::Failed(Failure { reset: Reset::Termination, untouched: false })
            }
        })
    }

    pub(super) fn take_received(&mut self) -> u64 {
        std::mem::take(&mut self.received)
    }
}
