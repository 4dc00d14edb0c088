//! `http_health_check` over HTTP/1.1.

use ringway_runtime::Chunk;
use ringway_wire::http1::{
    BodyDecoder, BodyKind, HeadLimits, HeaderKeyFormat, ParseOptions, ParsedHead,
    encode_request_head, parse_response, request_framing,
};
use ringway_wire::{KnownName, Method, RequestHead, ResponseHead};

use super::tcp::contains_in_order;
use super::verdict::Checked;
use crate::observe::format::{LogContext, Protocol};
use crate::observe::stats::ShardStats;
use crate::plan::cluster::{HostState, HttpHealthCheck};
use crate::plan::route::{AppendAction, HeaderAdd};
use crate::plan::{Cluster, Host};
use crate::transport::Stream;

/// Most of a body that is kept where `response_buffer_size` says "no limit".
const BODY_BYTES_MAX: usize = 1 << 20;

/// One exchange over a connection.
pub(super) struct HttpAttempt<'a> {
    pub(super) http: &'a HttpHealthCheck,
    pub(super) plan: &'a Cluster,
    pub(super) host: &'a Host,
    pub(super) stats: &'a ShardStats,
}

/// A response that has come completely.
pub(super) struct Answer {
    pub(super) head: ResponseHead,
    pub(super) body: Vec<u8>,
    pub(super) reusable: bool,
}

impl HttpAttempt<'_> {
    pub(super) async fn run(&self, stream: Stream) -> (Checked, Option<Stream>) {
        stream.write(Chunk::from(self.request()));
        match self.answer(&stream, &self.method()).await {
            Some(answer) => (self.judge(&answer), answer.reusable.then_some(stream)),
            None => (Checked::Network, None),
        }
    }

    fn request(&self) -> Vec<u8> {
        let (head, body) = self.head();
        let framing = request_framing(&head, body.is_empty(), false);
        let mut out = Vec::new();
        encode_request_head(&head, framing, HeaderKeyFormat::LowerCase, &mut out);
        out.extend_from_slice(body);
        out
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

    /// Reads one response; `None` if it is none or the connection ends before it does.
    async fn answer(&self, stream: &Stream, method: &Method) -> Option<Answer> {
        let limits = HeadLimits {
            head_bytes_max: self.plan.http.max_headers_bytes as usize,
            headers_count_max: self.plan.http.max_headers_count as usize,
        };
        let options = ParseOptions::default();
        let mut head = ResponseHead::default();
        let mut input = Vec::new();
        let parsed = loop {
            let found = parse_response(&input, &limits, &options, method, &mut head).ok()?;
            match found {
                Some(parsed) if head.is_interim() => {
                    input.drain(..parsed.head_len);
                }
                Some(parsed) => break parsed,
                None => input.extend_from_slice(&stream.recv().await.ok()??),
            }
        };
        input.drain(..parsed.head_len);
        let mut decoder = BodyDecoder::response(parsed.body, &limits, &options);
        let (body, rest) = self.body(stream, &parsed, &mut decoder, input).await?;
        // More than was asked for: the next answer could not be told from it.
        let reusable = parsed.keep_alive && rest.is_empty();
        Some(Answer { head, body, reusable })
    }

    /// Reads the body to its end and keeps as much of it as is looked at.
    async fn body(
        &self,
        stream: &Stream,
        parsed: &ParsedHead,
        decoder: &mut BodyDecoder,
        mut input: Vec<u8>,
    ) -> Option<(Vec<u8>, Vec<u8>)> {
        let mut body = Vec::new();
        let keep = self.keep();
        loop {
            while !decoder.is_done() && !input.is_empty() {
                let decoded = decoder.decode(&input).ok()?;
                let data = input.get(decoded.data)?;
                body.extend(data.iter().take(keep - body.len().min(keep)));
                input.drain(..decoded.consumed);
            }
            if decoder.is_done() {
                return Some((body, input));
            }
            match stream.recv().await.ok()? {
                Some(data) => input.extend_from_slice(&data),
                None if parsed.body == BodyKind::UntilClose => return Some((body, input)),
                None => return None,
            }
        }
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
