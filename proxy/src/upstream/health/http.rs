//! `http_health_check` over HTTP/1.1.

use ringway_wire::{KnownName, Method, RequestHead};

use super::tcp::contains_in_order;
use super::verdict::Checked;
use crate::observe::format::{LogContext, Protocol};
use crate::observe::stats::ShardStats;
use crate::plan::cluster::{HostState, HttpHealthCheck};
use crate::plan::route::{AppendAction, HeaderAdd};
use crate::plan::{Cluster, Host};
use crate::transport::Stream;
use crate::upstream::exchange::{Answer, over_http1};

/// Most of a body that is kept where `response_buffer_size` says "no limit".
const BODY_BYTES_MAX: usize = 1 << 20;

/// One exchange over a connection.
pub(super) struct HttpAttempt<'a> {
    pub(super) http: &'a HttpHealthCheck,
    pub(super) plan: &'a Cluster,
    pub(super) host: &'a Host,
    pub(super) stats: &'a ShardStats,
}

impl HttpAttempt<'_> {
    pub(super) async fn run(&self, stream: Stream) -> (Checked, Option<Stream>) {
        let (head, body) = self.head();
        match over_http1(&stream, self.plan, &head, body, self.keep()).await {
            Some(answer) => (self.judge(&answer), answer.reusable.then_some(stream)),
            None => (Checked::Network, None),
        }
    }

    fn method(&self) -> Method {
        Method::from_bytes(self.http.method.as_bytes()).unwrap_or(Method::Get)
    }

    /// The head of the request, and its body.
    pub(super) fn head(&self) -> (RequestHead, &[u8]) {
        let mut head = RequestHead {
            method: self.method(),
            path: self.http.path.as_bytes().to_vec(),
            authority: self.authority().as_bytes().to_vec(),
            ..RequestHead::default()
        };
        head.headers.append(KnownName::UserAgent, b"Envoy/HC");
        for name in &self.http.remove {
            head.headers.remove(&**name);
        }
        for add in &self.http.add {
            add_header(&mut head, add);
        }
        let body = self.http.send.as_deref().unwrap_or_default();
        if !body.is_empty() {
            let length = body.len().to_string();
            head.headers.set(KnownName::ContentLength, length.as_bytes());
        }
        (head, body)
    }

    /// `health_check_config.hostname`, else `host`, else the cluster's name.
    fn authority(&self) -> &str {
        let names = [&self.host.info.health_hostname, &self.http.host, &self.plan.name];
        names.into_iter().find(|name| !name.is_empty()).map_or("", |name| name)
    }

    /// Bytes of a body that are looked at.
    pub(super) fn keep(&self) -> usize {
        match (self.http.receive.is_empty(), self.http.response_buffer) {
            (true, _) => 0,
            (false, 0) => BODY_BYTES_MAX,
            (false, bytes) => bytes.min(BODY_BYTES_MAX),
        }
    }

    /// Envoy's order: payload, status, service name.
    pub(super) fn judge(&self, answer: &Answer) -> Checked {
        let failed = Checked::Failed { retriable: false };
        let (http, headers) = (self.http, &answer.head.headers);
        let status = answer.head.status;
        let expected = if http.expected.is_empty() {
            status == 200
        } else {
            in_ranges(status, &http.expected)
        };
        let payload = contains_in_order(&answer.body, &http.receive);
        if !payload || !expected {
            if headers.contains("x-envoy-immediate-health-check-fail") {
                self.host.state.set(HostState::EXCLUDED_IMMEDIATE);
            }
            let retriable = payload && in_ranges(status, &http.retriable);
            return Checked::Failed { retriable };
        }
        if let Some(name) = &http.service_name {
            if let Some(names) = &self.plan.health_stats {
                self.stats.inc(names.verify_cluster());
            }
            let said = headers.get("x-envoy-upstream-healthchecked-cluster").unwrap_or_default();
            if !name.matches(said) {
                return failed;
            }
        }
        Checked::Passed { degraded: headers.contains("x-envoy-degraded") }
    }
}

fn in_ranges(status: u16, ranges: &[(u16, u16)]) -> bool {
    ranges.iter().any(|&(start, end)| (start..end).contains(&status))
}

pub(super) fn add_header(head: &mut RequestHead, add: &HeaderAdd) {
    let mut value = Vec::new();
    let context = LogContext { protocol: Some(Protocol::Http11), ..LogContext::default() };
    add.value.eval(&context, &mut value);
    if value.is_empty() && !add.keep_empty {
        return;
    }
    let name = &*add.name;
    if matches!(name, "host" | ":authority") {
        // There is always one, so it can only be replaced.
        if add.action != AppendAction::AddIfAbsent {
            head.authority = value;
        }
        return;
    }
    let present = head.headers.contains(name);
    match add.action {
        AppendAction::AppendIfExistsOrAdd => head.headers.append(name, &value),
        AppendAction::AddIfAbsent if present => false,
        AppendAction::OverwriteIfExists if !present => false,
        AppendAction::AddIfAbsent
        | AppendAction::OverwriteIfExists
        | AppendAction::OverwriteIfExistsOrAdd => head.headers.set(name, &value),
    };
}
