//! `%FILTER_STATE(key)%`: objects that filters leave on a stream.

use std::fmt::Write as _;

use super::context::LogContext;
use super::eval::Kind;

use super::write::{Text, json_string};
use crate::plan::istio::Workload;

/// Objects filters left on a stream.
pub trait StateSource {
    /// The object of a key.
    fn state(&self, key: &str) -> Option<StateValue<'_>>;
}

/// An object, as it prints.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StateValue<'a> {
    /// A text (`envoy.string`).
    Text(&'a [u8]),
    /// Messages of a gRPC call (`envoy.filters.http.grpc_stats`).
    GrpcStats {
        /// From the client.
        requests: u64,
        /// From the upstream.
        responses: u64,
    },
    /// A workload of the mesh.
    Workload(&'a Workload),
}

/// How an object is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Serialize {
    /// `PLAIN`
    Plain,
    /// `TYPED`, or nothing said: as JSON.
    Typed,
    /// `FIELD`: none of the objects there are has any.
    Field,
}

/// Appends the object of `key`. `in_json`: what is written is a value of a JSON log.
pub(super) fn write(
    key: &str,
    how: Serialize,
    in_json: bool,
    ctx: &LogContext<'_>,
    out: &mut Vec<u8>,
) -> Kind {
    let Some(value) = ctx.filter_state.and_then(|state| state.state(key)) else {
        return Kind::Absent;
    };
    match (value, how) {
        (_, Serialize::Field) => return Kind::Absent,
        (StateValue::Text(text), Serialize::Typed) if !in_json => json_string(text, out),
        (StateValue::Text(text), _) => out.extend_from_slice(text),
        (StateValue::GrpcStats { requests, responses }, Serialize::Plain) => {
            // Writing to memory cannot fail.
            let _ = write!(Text(out), "{requests},{responses}");
        }
        (StateValue::GrpcStats { requests, responses }, Serialize::Typed) => {
            let names = if in_json {
                ["request_message_count", "response_message_count"]
            } else {
                ["requestMessageCount", "responseMessageCount"]
            };
            counts(names, [requests, responses], out);
            // Already JSON.
            return Kind::Number;
        }
        (StateValue::Workload(workload), Serialize::Typed) if !in_json => {
            json_string(workload.pairs().as_bytes(), out);
        }
        (StateValue::Workload(workload), _) => {
            out.extend_from_slice(workload.pairs().as_bytes());
        }
    }
    Kind::Text
}

/// As protobuf prints a message as JSON: zeros are left out, 64 bits are text.
fn counts(names: [&str; 2], values: [u64; 2], out: &mut Vec<u8>) {
    out.push(b'{');
    let mut first = true;
    for (name, value) in names.into_iter().zip(values).filter(|(_, value)| *value > 0) {
        if !first {
            out.push(b',');
        }
        first = false;
        let _ = write!(Text(out), "\"{name}\":\"{value}\"");
    }
    out.push(b'}');
}
