//! Health checks over HTTP/2: `http_health_check` with `codec_client_type: HTTP2`, and
//! `grpc_health_check` (grpc/doc/health-checking.md).

use std::future::poll_fn;
use std::rc::Rc;

use prost::Message;
use ringway_runtime as runtime;
use ringway_wire::grpc::{Deframer, Piece, Status, encode_frame};
use ringway_wire::{HeaderMap, KnownName as K, Method, RequestHead, Scheme};

use super::http::{HttpAttempt, add_header};
use super::verdict::Checked;
use crate::http2::{Env, Session, StreamEnd, Times};
use crate::plan::cluster::{GrpcHealthCheck, UpstreamHttp2};
use crate::transport::Stream;
use crate::upstream::cluster::Shared;
use crate::upstream::exchange::{Answer, over_http2};

/// A connection between checks, driven by a task of its own.
pub(super) struct Http2Conn {
    session: Rc<Session>,
    driver: runtime::Join<()>,
    scheme: Scheme,
}

/// Most of an answer to a gRPC check.
const ANSWER_BYTES_MAX: usize = 64 << 10;

impl Http2Conn {
    pub(super) fn new(shared: &Shared, http2: &UpstreamHttp2, stream: Stream) -> Self {
        let shard = &shared.shard;
        let scheme = if stream.tls().is_some() { Scheme::Https } else { Scheme::Http };
        let env = Env {
            stats: shard.stats.clone(),
            codec: http2.stats.clone(),
            heads: shard.heads.clone(),
        };
        let times = Times { flush: std::time::Duration::ZERO, close: std::time::Duration::ZERO };
        let session = Session::client(stream, &http2.options, env, times);
        let driven = session.clone();
        let driver = runtime::spawn(async move {
            poll_fn(|cx| driven.poll_drive(cx)).await;
        });
        Self { session, driver, scheme }
    }

    /// Whether another check can be made on it.
    pub(super) fn is_usable(&self) -> bool {
        !self.session.is_draining()
    }

    /// Sends a request and reads the answer; at most `keep` bytes of its body are kept.
    async fn exchange(
        &self,
        head: &RequestHead,
        body: &[u8],
        keep: usize,
    ) -> Result<(Answer, HeaderMap), StreamEnd> {
        let stream = self.session.open().ok_or(StreamEnd::Refused)?;
        over_http2(&stream, head, body, keep).await
    }
}

impl Drop for Http2Conn {
    fn drop(&mut self) {
        self.driver.abort();
        self.session.abort();
    }
}

impl HttpAttempt<'_> {
    /// As [`HttpAttempt::run`], over HTTP/2.
    pub(super) async fn run_http2(&self, conn: &Http2Conn) -> Checked {
        let (mut head, body) = self.head();
        head.scheme = Some(conn.scheme);
        match conn.exchange(&head, body, self.keep()).await {
            Ok((answer, _)) => self.judge(&answer),
            Err(_) => Checked::Network,
        }
    }
}

/// `grpc.health.v1.HealthCheckRequest`.
#[derive(Clone, PartialEq, Message)]
struct HealthCheckRequest {
    #[prost(string, tag = "1")]
    service: String,
}

/// `grpc.health.v1.HealthCheckResponse`.
#[derive(Clone, PartialEq, Message)]
struct HealthCheckResponse {
    #[prost(int32, tag = "1")]
    status: i32,
}

/// `HealthCheckResponse.ServingStatus.SERVING`.
const SERVING: i32 = 1;

/// One gRPC check.
pub(super) struct GrpcAttempt<'a> {
    pub(super) grpc: &'a GrpcHealthCheck,
    pub(super) plan: &'a crate::plan::Cluster,
}

impl GrpcAttempt<'_> {
    pub(super) async fn run(&self, conn: &Http2Conn) -> Checked {
        let question = HealthCheckRequest { service: self.grpc.service.to_string() };
        let mut body = Vec::new();
        encode_frame(0, &question.encode_to_vec(), &mut body);
        match conn.exchange(&self.head(conn.scheme), &body, ANSWER_BYTES_MAX).await {
            Ok((answer, trailers)) if serves(&answer, &trailers) => {
                Checked::Passed { degraded: answer.head.headers.contains("x-envoy-degraded") }
            }
            Ok(_) => Checked::Failed { retriable: false },
            Err(_) => Checked::Network,
        }
    }

    fn head(&self, scheme: Scheme) -> RequestHead {
        let authority = match &*self.grpc.authority {
            "" => &self.plan.name,
            _ => &self.grpc.authority,
        };
        let mut head = RequestHead {
            method: Method::Post,
            path: b"/grpc.health.v1.Health/Check".to_vec(),
            authority: authority.as_bytes().to_vec(),
            scheme: Some(scheme),
            ..RequestHead::default()
        };
        head.headers.append(K::Te, b"trailers");
        head.headers.append(K::ContentType, b"application/grpc");
        head.headers.append(K::UserAgent, b"Envoy/HC");
        for add in &self.grpc.metadata {
            add_header(&mut head, add);
        }
        head
    }
}

/// The call succeeded, and its one message says so.
fn serves(answer: &Answer, trailers: &HeaderMap) -> bool {
    let status = trailers.get(K::GrpcStatus).and_then(Status::parse);
    if answer.head.status != 200 || status != Some(Status::OK) {
        return false;
    }
    let (mut deframer, mut message, mut begun) = (Deframer::new(), Vec::new(), 0);
    let mut rest = answer.body.as_slice();
    while !rest.is_empty() {
        let (consumed, piece) = deframer.next(rest);
        match piece {
            Some(Piece::Start(prefix)) if prefix.flags != 0 => return false,
            Some(Piece::Start(_)) => begun += 1,
            Some(Piece::Data { range, .. }) => {
                message.extend_from_slice(rest.get(range).unwrap_or_default());
            }
            None => {}
        }
        rest = rest.get(consumed..).unwrap_or_default();
    }
    let decoded = HealthCheckResponse::decode(message.as_slice());
    begun == 1 && !deframer.is_inside() && decoded.is_ok_and(|answer| answer.status == SERVING)
}

#[cfg(test)]
mod tests;
