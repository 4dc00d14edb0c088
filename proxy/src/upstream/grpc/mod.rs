//! A gRPC client over clusters of the plan: what xDS, health checks and gRPC filters call with
//! (grpc/doc/PROTOCOL-HTTP2.md).
//!
//! LIFECYCLE of a [`Call`]: begun (head sent) → messages both ways, at any pace → the peer's status
//! ends it. Dropped before that, it is cancelled.

mod call;

#[cfg(test)]
mod tests;

use std::fmt;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use prost::Message;
use ringway_runtime as runtime;
use ringway_wire::grpc::{Status, format_timeout};
use ringway_wire::{KnownName as K, Method, Name, RequestHead, Scheme};

use super::cluster::ShardCluster;
use super::lb::LbContext;
use super::outlier::Outcome;
use super::pool::{AcquireError, AcquireOptions, Leased, PooledStream};
use super::proxy_header::OnBehalf;
use crate::plan::source::GrpcService;

pub(crate) use call::Call;

/// Why a call did not end well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    /// What the peer said, or what stands for what happened.
    pub(crate) status: Status,
    /// For a person.
    pub(crate) message: String,
}

impl Failure {
    pub(super) fn new(status: Status, message: impl Into<String>) -> Self {
        Self { status, message: message.into() }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.status.snake().unwrap_or("an unknown status");
        write!(f, "{name}: {}", self.message)
    }
}

impl std::error::Error for Failure {}

/// Calls methods of one cluster.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    cluster: Rc<ShardCluster>,
    authority: Box<str>,
    metadata: Vec<(Box<str>, Box<[u8]>)>,
    message_bytes_max: usize,
}

/// Longest message taken, unless something else is said.
pub(crate) const MESSAGE_BYTES_MAX: usize = 4 << 20;

impl Client {
    /// A client of a cluster that speaks HTTP/2. `:authority` is the cluster's name.
    pub(crate) fn new(cluster: &Rc<ShardCluster>) -> Self {
        Self {
            cluster: cluster.clone(),
            authority: (*cluster.plan().name).into(),
            metadata: Vec::new(),
            message_bytes_max: MESSAGE_BYTES_MAX,
        }
    }

    /// A client of a `GrpcService` whose cluster this is, which takes messages of up to
    /// `message_bytes_max` unless the service says something else.
    pub(crate) fn of_service(
        cluster: &Rc<ShardCluster>,
        service: &GrpcService,
        message_bytes_max: usize,
    ) -> Self {
        let longest = match service.receive_bytes_max {
            0 => message_bytes_max,
            bytes => bytes as usize,
        };
        let client = Self::new(cluster).authority(&service.authority).message_bytes_max(longest);
        let add = |client: Self, (name, value): &(Arc<str>, Arc<str>)| {
            client.metadata(name, value.as_bytes())
        };
        service.metadata.iter().fold(client, add)
    }

    /// Another `:authority`; an empty one changes nothing.
    pub(crate) fn authority(mut self, authority: &str) -> Self {
        if !authority.is_empty() {
            self.authority = authority.into();
        }
        self
    }

    /// One more header of every call (`initial_metadata`); the name in lower case.
    pub(crate) fn metadata(mut self, name: &str, value: &[u8]) -> Self {
        self.metadata.push((name.into(), value.into()));
        self
    }

    /// The longest message that is taken, in bytes; 4 MiB unless said.
    pub(crate) fn message_bytes_max(mut self, bytes: usize) -> Self {
        self.message_bytes_max = bytes;
        self
    }

    /// Sends one message and waits for the one that answers it.
    ///
    /// # Errors
    /// What the peer said; or the time was over, the peer broke the protocol, or there was nobody
    /// to call.
    pub(crate) async fn unary<Q: Message, A: Message + Default>(
        &self,
        path: &str,
        question: &Q,
        timeout: Duration,
    ) -> Result<A, Failure> {
        let call = async {
            let mut call = self.begin(path, Some(timeout)).await?;
            call.send(question);
            call.finish();
            let answer = call.recv::<A>().await?;
            let answer = answer.ok_or_else(|| internal("the answer has no message"))?;
            match call.recv::<A>().await? {
                None => Ok(answer),
                Some(_) => Err(internal("the answer has more than one message")),
            }
        };
        match runtime::timeout(timeout, call).await {
            Ok(ended) => ended,
            Err(_) => Err(Failure::new(Status::DEADLINE_EXCEEDED, "the time was over")),
        }
    }

    /// Begins a call. `timeout` is told to the peer; keeping it is up to the caller.
    ///
    /// # Errors
    /// There is nobody to call: no healthy host, no connection, a limit.
    pub(crate) async fn begin(
        &self,
        path: &str,
        timeout: Option<Duration>,
    ) -> Result<Call, Failure> {
        let head = self.head(path, timeout);
        loop {
            let stream = self.stream().await?;
            stream.stream().send_request(&head, None, false);
            // A connection that is going away takes nothing new; there is another.
            if stream.stream().id() != 0 {
                return Ok(Call::new(self.cluster.clone(), stream, self.message_bytes_max));
            }
        }
    }

    async fn stream(&self) -> Result<PooledStream, Failure> {
        let Some(host) = self.cluster.pick(&LbContext::default()) else {
            return Err(Failure::new(Status::UNAVAILABLE, "no healthy upstream"));
        };
        let proxy_header = self.cluster.proxy_header(&host, OnBehalf::default);
        let options = AcquireOptions { http2: true, proxy_header, ..AcquireOptions::default() };
        match self.cluster.acquire(&host, 0, options).await {
            Ok(Leased::Http2(stream)) => Ok(stream),
            Ok(Leased::Http1(_)) => {
                let name = &self.cluster.plan().name;
                let message =
                    format!("cluster {name} does not speak HTTP/2: give it http2_protocol_options");
                Err(Failure::new(Status::INTERNAL, message))
            }
            Err(error) => {
                if matches!(error, AcquireError::ConnectFailure { .. }) {
                    self.cluster.report(&host, Outcome::Failure);
                }
                Err(Failure::new(Status::UNAVAILABLE, error.to_string()))
            }
        }
    }

    fn head(&self, path: &str, timeout: Option<Duration>) -> RequestHead {
        let tls = self.cluster.plan().is_tls();
        let mut head = RequestHead {
            method: Method::Post,
            path: path.as_bytes().to_vec(),
            authority: self.authority.as_bytes().to_vec(),
            scheme: Some(if tls { Scheme::Https } else { Scheme::Http }),
            ..RequestHead::default()
        };
        head.headers.append(K::Te, b"trailers");
        if let Some(timeout) = timeout {
            let mut text = Vec::new();
            format_timeout(timeout, &mut text);
            head.headers.append(K::GrpcTimeout, &text);
        }
        head.headers.append(K::ContentType, b"application/grpc");
        for (name, value) in &self.metadata {
            head.headers.append(Name::from(&**name), value);
        }
        head
    }
}

pub(super) fn internal(message: &str) -> Failure {
    Failure::new(Status::INTERNAL, message)
}
