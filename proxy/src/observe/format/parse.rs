//! Format strings → operators, with Envoy's grammar, argument rules and error texts.
//!
//! A command is `%NAME%`, `%NAME(args)%` or `%NAME(args):max%`; NAME is of `A-Z 0-9 _`; args end
//! at the first `)` that is followed by the end of the command and hold no line feed. `%%` is a
//! percent sign.

use super::op::{ABSENT, AddressPart, Field, Op, Point, Segment, Side, Which};
use super::params::{self, Params};

/// Why a format string was rejected. The text is Envoy's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct FormatError(pub(super) String);

impl FormatError {
    pub(super) fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

/// Which operators of extensions (`formatters:`) may be used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Extensions {
    /// `envoy.formatter.req_without_query`: `%REQ_WITHOUT_QUERY(X?Y):Z%`.
    pub req_without_query: bool,
}

/// Splits a format into operators.
pub(super) fn segments(format: &str, extensions: Extensions) -> Result<Vec<Segment>, FormatError> {
    let mut out: Vec<Segment> = Vec::new();
    let mut text = Vec::new();
    let mut at = 0;
    while let Some(rest) = format.get(at..).filter(|rest| !rest.is_empty()) {
        let Some(percent) = rest.find('%') else {
            text.extend_from_slice(rest.as_bytes());
            break;
        };
        text.extend_from_slice(rest.get(..percent).unwrap_or_default().as_bytes());
        let command = rest.get(percent..).unwrap_or_default();
        if command.starts_with("%%") {
            text.push(b'%');
            at += percent + 2;
            continue;
        }
        let Some(command) = Command::split(command) else {
            return Err(FormatError(format!(
                "Incorrect configuration: {format}. Couldn't find valid command at position {}",
                at + percent
            )));
        };
        if !text.is_empty() {
            out.push(Segment::text(std::mem::take(&mut text)));
        }
        out.push(operator(command.name, command.args, command.max, extensions)?);
        at += percent + command.len;
    }
    if !text.is_empty() || out.is_empty() {
        out.push(Segment::text(text));
    }
    Ok(out)
}

impl Segment {
    fn text(text: Vec<u8>) -> Self {
        Self { op: Op::Text(text.into()), max: None }
    }
}

struct Command<'a> {
    name: &'a str,
    args: &'a str,
    max: Option<usize>,
    len: usize,
}

impl<'a> Command<'a> {
    /// Takes the command off the front of `text`, which starts with `%`.
    fn split(text: &'a str) -> Option<Self> {
        let body = text.get(1..)?;
        let name_len = body
            .bytes()
            .take_while(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || *b == b'_')
            .count();
        let name = body.get(..name_len).filter(|name| !name.is_empty())?;
        let after = body.get(name_len..)?;
        let Some(inner) = after.strip_prefix('(') else {
            let (max, tail) = limit_and_end(after)?;
            return Some(Self { name, args: "", max, len: 1 + name_len + tail });
        };
        let line = inner.split('\n').next()?;
        for (close, _) in line.match_indices(')') {
            let end = inner.get(close + 1..).and_then(limit_and_end);
            if let Some((max, tail)) = end {
                let args = inner.get(..close)?;
                return Some(Self { name, args, max, len: 1 + name_len + 1 + close + 1 + tail });
            }
        }
        None
    }
}

/// `:digits` if any, then `%`: the limit and the length of all of it.
fn limit_and_end(text: &str) -> Option<(Option<usize>, usize)> {
    let Some(limit) = text.strip_prefix(':') else {
        return text.starts_with('%').then_some((None, 1));
    };
    let digits = limit.bytes().take_while(u8::is_ascii_digit).count();
    let max = limit.get(..digits)?.parse().ok()?;
    limit.get(digits..)?.starts_with('%').then_some((Some(max), digits + 2))
}

/// One operator.
pub(super) fn operator(
    name: &str,
    args: &str,
    max: Option<usize>,
    extensions: Extensions,
) -> Result<Segment, FormatError> {
    let params = Params { name, args, max };
    let op = match with_arguments(&params, extensions)? {
        Some(op) => op,
        None => {
            let Some(op) = without_arguments(name) else {
                return Err(FormatError(format!("Not supported field in StreamInfo: {name}")));
            };
            params.none()?;
            op
        }
    };
    Ok(Segment { op, max })
}

fn with_arguments(p: &Params<'_>, extensions: Extensions) -> Result<Option<Op>, FormatError> {
    Ok(Some(match p.name {
        "REQ" | "REQUEST_HEADER" | "STREAM_INFO_REQ" => Op::Header(Side::Request, p.header()?),
        "RESP" | "RESPONSE_HEADER" => Op::Header(Side::Response, p.header()?),
        "TRAILER" | "RESPONSE_TRAILER" => Op::Header(Side::Trailer, p.header()?),
        "REQ_WITHOUT_QUERY" if extensions.req_without_query => Op::HeaderWithoutQuery(p.header()?),
        "START_TIME" | "START_TIME_LOCAL" | "EMIT_TIME" | "EMIT_TIME_LOCAL" => p.time()?,
        "PATH" => p.path()?,
        "QUERY_PARAM" => Op::QueryParam(p.required()?.into()),
        "QUERY_PARAMS" => p.query_params()?,
        "COMMON_DURATION" => p.common_duration()?,
        "GRPC_STATUS" => p.grpc_status()?,
        "REQUESTED_SERVER_NAME" => p.server_name()?,
        "RESPONSE_CODE_DETAILS" => {
            p.no_length()?;
            Op::ResponseCodeDetails { whitespace: p.args == "ALLOW_WHITESPACES" }
        }
        "ENVIRONMENT" => params::environment(p.required()?),
        "XFCC_VALUE" => p.xfcc()?,
        "COALESCE" => params::coalesce(p.required()?, extensions)?,
        "DYNAMIC_METADATA" => {
            p.required()?;
            Op::Absent
        }
        "CLUSTER_METADATA" | "UPSTREAM_METADATA" => {
            p.required()?;
            p.no_length()?;
            Op::Absent
        }
        "METADATA" => p.metadata()?,
        "FILTER_STATE" | "UPSTREAM_FILTER_STATE" => p.filter_state()?,
        "CEL" | "TYPED_CEL" => p.expression()?,
        "DOWNSTREAM_PEER_CERT_V_START"
        | "DOWNSTREAM_PEER_CERT_V_END"
        | "UPSTREAM_PEER_CERT_V_START"
        | "UPSTREAM_PEER_CERT_V_END" => p.validity()?,
        name => {
            let Some(which) = name.strip_suffix("_WITHOUT_PORT").and_then(address) else {
                return Ok(None);
            };
            p.no_length()?;
            Op::Address(which, AddressPart::WithoutPort(p.mask()))
        }
    }))
}

fn address(name: &str) -> Option<Which> {
    Some(match name {
        "DOWNSTREAM_LOCAL_ADDRESS" => Which::DownstreamLocal,
        "DOWNSTREAM_REMOTE_ADDRESS" => Which::DownstreamRemote,
        "DOWNSTREAM_DIRECT_LOCAL_ADDRESS" => Which::DownstreamDirectLocal,
        "DOWNSTREAM_DIRECT_REMOTE_ADDRESS" => Which::DownstreamDirectRemote,
        "UPSTREAM_LOCAL_ADDRESS" => Which::UpstreamLocal,
        "UPSTREAM_REMOTE_ADDRESS" => Which::UpstreamRemote,
        _ => return None,
    })
}

fn without_arguments(name: &str) -> Option<Op> {
    if let Some(field) = Field::named(name) {
        return Some(Op::Field(field));
    }
    if let Some((end, fact)) = super::tls::named(name) {
        return Some(Op::Tls(end, fact));
    }
    if let Some(which) = address(name) {
        return Some(Op::Address(which, AddressPart::Whole));
    }
    let ported = name.strip_suffix("_PORT").and_then(|base| address(&format!("{base}_ADDRESS")));
    if let Some(which) = ported {
        return Some(Op::Address(which, AddressPart::Port));
    }
    if let Some(which) = name.strip_suffix("_ENDPOINT_ID").and_then(address)
        && which != Which::UpstreamLocal
        && which != Which::DownstreamRemote
        && which != Which::DownstreamDirectRemote
    {
        return Some(Op::Address(which, AddressPart::EndpointId));
    }
    let duration = |from, to| Op::Duration { from, to, ns_per_unit: 1_000_000 };
    Some(match name {
        "REQUEST_DURATION" => duration(Point::DownstreamRxBegin, Point::DownstreamRxEnd),
        "REQUEST_TX_DURATION" => duration(Point::DownstreamRxBegin, Point::UpstreamTxEnd),
        "RESPONSE_DURATION" => duration(Point::DownstreamRxBegin, Point::UpstreamRxBegin),
        "RESPONSE_TX_DURATION" => duration(Point::UpstreamRxBegin, Point::DownstreamTxEnd),
        "GRPC_STATUS_NUMBER" => Op::Grpc(super::op::GrpcFormat::Number),
        "HOSTNAME" => params::host_name(),
        "UPSTREAM_HOSTS_ATTEMPTED" => Op::Attempted { names: false, port: true },
        "UPSTREAM_HOSTS_ATTEMPTED_WITHOUT_PORT" => Op::Attempted { names: false, port: false },
        "UPSTREAM_HOST_NAMES_ATTEMPTED" => Op::Attempted { names: true, port: true },
        "UPSTREAM_HOST_NAMES_ATTEMPTED_WITHOUT_PORT" => Op::Attempted { names: true, port: false },
        name if ABSENT.contains(&name) => Op::Absent,
        _ => return None,
    })
}
