//! An HTTP client over clusters of the plan: one request, its whole answer.

use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use ringway_runtime as runtime;
use ringway_wire::{KnownName as K, RequestHead, Scheme};

use super::cluster::ShardCluster;
use super::exchange::{Answer, over_http1, over_http2};
use super::lb::LbContext;
use super::outlier::Outcome;
use super::pool::{AcquireError, AcquireOptions, Leased};
use super::proxy_header::OnBehalf;

/// What came back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fetched {
    /// Status code.
    pub(crate) status: u16,
    /// The whole body.
    pub(crate) body: Vec<u8>,
}

/// Why nothing came back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FetchError(String);

impl fmt::Display for FetchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for FetchError {}

/// Sends `head` with `body` to a host of the cluster and waits for the answer. `:authority` is the
/// cluster's name where the head has none; `content-length` is added.
///
/// # Errors
/// There is nobody to ask, the connection broke, the time was over, or the body is longer than
/// `body_bytes_max`.
pub(crate) async fn fetch(
    cluster: &Rc<ShardCluster>,
    mut head: RequestHead,
    body: &[u8],
    timeout: Duration,
    body_bytes_max: usize,
) -> Result<Fetched, FetchError> {
    if head.authority.is_empty() {
        head.authority = cluster.plan().name.as_bytes().to_vec();
    }
    if !body.is_empty() {
        head.headers.set(K::ContentLength, body.len().to_string().as_bytes());
    }
    let exchange = exchange(cluster, head, body, body_bytes_max);
    match runtime::timeout(timeout, exchange).await {
        Ok(ended) => ended,
        Err(_) => Err(FetchError(format!("no answer within {timeout:?}"))),
    }
}

async fn exchange(
    cluster: &Rc<ShardCluster>,
    mut head: RequestHead,
    body: &[u8],
    body_bytes_max: usize,
) -> Result<Fetched, FetchError> {
    let error = |text: &str| FetchError(text.to_owned());
    let host = cluster.pick(&LbContext::default()).ok_or_else(|| error("no healthy upstream"))?;
    let proxy_header = cluster.proxy_header(&host, OnBehalf::default);
    let options = AcquireOptions { proxy_header, ..AcquireOptions::default() };
    let leased = match cluster.acquire(&host, 0, options).await {
        Ok(leased) => leased,
        Err(problem) => {
            if matches!(problem, AcquireError::ConnectFailure { .. }) {
                cluster.report(&host, Outcome::Failure);
            }
            return Err(FetchError(problem.to_string()));
        }
    };
    // One byte more tells a body that is too long from one that just fits.
    let keep = body_bytes_max.saturating_add(1);
    let broken = || error("the connection broke, or what came is no HTTP");
    let answer = match leased {
        Leased::Http1(mut conn) => {
            let answer = over_http1(conn.stream(), cluster.plan(), &head, body, keep).await;
            let answer = answer.ok_or_else(broken)?;
            conn.response_complete();
            if answer.reusable {
                conn.release();
            }
            answer
        }
        Leased::Http2(stream) => {
            let tls = cluster.plan().is_tls();
            head.scheme = Some(if tls { Scheme::Https } else { Scheme::Http });
            let answer = over_http2(stream.stream(), &head, body, keep).await;
            answer.map_err(|_| broken())?.0
        }
    };
    let Answer { head, body, .. } = answer;
    if body.len() > body_bytes_max {
        return Err(FetchError(format!("the answer is longer than {body_bytes_max} bytes")));
    }
    Ok(Fetched { status: head.status, body })
}
