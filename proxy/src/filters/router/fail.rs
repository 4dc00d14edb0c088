//! What the client is told when no upstream could answer: Envoy's words, flags and details.

use ringway_wire::http1::H1Error;

use super::retry::Reset;
use super::timeouts::Expired;
use crate::http::reply::LocalReply;
use crate::observe::format::ResponseFlag;
use crate::upstream::Dropped;

/// Every attempt ended in a reset before a response began.
pub(crate) fn reset(reset: Reset, failure: Option<&str>, retried: bool) -> LocalReply {
    let reason = reason(reset);
    let again = if retried { "retried and the latest " } else { "" };
    let body = format!(
        "upstream connect error or disconnect/reset before headers. {again}reset reason: {reason}"
    );
    let mut details =
        format!("upstream_reset_before_response_started{{{}", reason.replace(' ', "_"));
    if let Some(failure) = failure.filter(|text| !text.is_empty()) {
        details.push('|');
        details.push_str(&failure.replace(' ', "_"));
    }
    details.push('}');
    let status = if reset == Reset::Protocol { 502 } else { 503 };
    LocalReply::new(status, body, details).flag(flag(reset))
}

/// Envoy's name of a stream reset reason.
fn reason(reset: Reset) -> &'static str {
    match reset {
        Reset::ConnectFailure { timeout: false } => "remote connection failure",
        Reset::ConnectFailure { timeout: true } => "connection timeout",
        Reset::Overflow => "overflow",
        Reset::Termination => "connection termination",
        Reset::Remote => "remote reset",
        Reset::Refused => "remote refused stream reset",
        Reset::Protocol => "protocol error",
        Reset::Local => "local reset",
    }
}

/// The response flag of a reset.
pub(crate) fn flag(reset: Reset) -> ResponseFlag {
    match reset {
        Reset::ConnectFailure { .. } => ResponseFlag::UpstreamConnectionFailure,
        Reset::Overflow => ResponseFlag::UpstreamOverflow,
        Reset::Termination => ResponseFlag::UpstreamConnectionTermination,
        Reset::Remote | Reset::Refused => ResponseFlag::UpstreamRemoteReset,
        Reset::Protocol => ResponseFlag::UpstreamProtocolError,
        Reset::Local => ResponseFlag::LocalReset,
    }
}

/// The request's body broke the protocol.
pub(crate) fn malformed(error: &H1Error) -> LocalReply {
    let status = error.status();
    LocalReply::new(status, ringway_wire::status::reason(status), error.details())
        .flag(ResponseFlag::DownstreamProtocolError)
}

/// No host to send to.
pub(crate) fn no_host() -> LocalReply {
    LocalReply::new(503, "no healthy upstream", "no_healthy_upstream")
        .flag(ResponseFlag::NoHealthyUpstream)
}

/// The management server has requests refused (`drop_overloads`).
pub(crate) fn dropped(dropped: Dropped, suppress_envoy_headers: bool) -> LocalReply {
    let (body, details, flag, header) = match dropped {
        Dropped::Some => {
            ("drop overload", "drop_overload", ResponseFlag::DropOverload, "x-envoy-drop-overload")
        }
        Dropped::All => (
            "unconditional drop overload",
            "unconditional_drop_overload",
            ResponseFlag::UnconditionalDropOverload,
            "x-envoy-unconditional-drop-overload",
        ),
    };
    let mut reply = LocalReply::new(503, body, details).flag(flag);
    if !suppress_envoy_headers {
        reply.headers.push((header.into(), b"true".to_vec()));
    }
    reply
}

/// A limit ran out before a response began. `complete`: the request had been read to its end.
pub(crate) fn expired(limit: Expired, complete: bool) -> LocalReply {
    let text = "upstream request timeout";
    match limit {
        // The log's interval ends nothing; were it to, it would be a timeout of ours.
        Expired::Global | Expired::Log => LocalReply::new(504, text, "response_timeout")
            .flag(ResponseFlag::UpstreamRequestTimeout),
        Expired::PerTry => LocalReply::new(504, text, "upstream_per_try_timeout")
            .flag(ResponseFlag::UpstreamRequestTimeout),
        Expired::PerTryIdle => LocalReply::new(504, text, "upstream_per_try_idle_timeout")
            .flag(ResponseFlag::StreamIdleTimeout),
        Expired::Idle => {
            let status = if complete { 504 } else { 408 };
            LocalReply::new(status, "stream timeout", "stream_idle_timeout")
                .flag(ResponseFlag::StreamIdleTimeout)
        }
        Expired::Request => LocalReply::new(408, "request timeout", "request_overall_timeout"),
        Expired::Stream => {
            let status = if complete { 504 } else { 408 };
            let reply =
                LocalReply::new(status, "downstream duration timeout", "max_duration_timeout");
            // DEADLINE_EXCEEDED
            LocalReply { grpc_status: Some(4), ..reply }
        }
    }
}

/// Details of a response that was cut short.
pub(crate) fn cut_short(reset: Reset) -> String {
    format!("upstream_reset_after_response_started{{{}}}", reason(reset).replace(' ', "_"))
}

#[cfg(test)]
mod tests;
