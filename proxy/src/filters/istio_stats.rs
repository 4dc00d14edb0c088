//! `istio.stats` in an HTTP chain: the standard metrics of a mesh, counted when a stream is over.

use std::sync::Arc;

use prost_types::Any;
use ringway_wire::KnownName as K;
use ringway_wire::grpc::Status;

use super::{HttpFilter, Kind, NoRoute, Phases, StreamCx, no_route};
use crate::config::compile::{At, Cx, istio};
use crate::http::filter_state::Object;
use crate::istio::labels::{Facts, Group};
use crate::istio::metrics::{Series, add};
use crate::plan::istio::StatsOptions;

pub(super) const KIND: Kind<Config, Route> =
    Kind { type_name: istio::STATS, compile, route_type_name: "", compile_route: no_route };

/// Where `envoy.filters.http.grpc_stats` counts messages.
const MESSAGES: &str = "envoy.filters.http.grpc_stats";

/// Its options.
#[derive(Debug)]
pub(crate) struct Config(Arc<StatsOptions>);

/// There are none on routes.
#[derive(Debug)]
pub(crate) struct Route(#[allow(dead_code, reason = "there is none")] NoRoute);

/// One request.
pub(crate) struct Filter;

fn compile(cx: &mut Cx<'_>, at: &At<'_>, any: &Any) -> Option<Config> {
    istio::stats(cx, at, any).map(Config)
}

impl HttpFilter for Filter {
    type Config = Config;

    fn phases(_: &Config) -> Phases {
        Phases::END
    }

    fn begin(_: &Config) -> Self {
        Self
    }

    fn end(&mut self, Config(options): &Config, s: &mut StreamCx<'_>) {
        let info = &s.work.info;
        let shard = &s.conn.shard;
        let peer = |key: &str| match info.filter_state.get(key) {
            Some(Object::Peer(peer)) => Some(peer),
            _ => None,
        };
        let of_connection = s.conn.link.peer.get();
        let cluster = info.cluster.as_ref().or(info.route_cluster.as_ref());
        let grpc = s.work.grpc;
        let status = if grpc { grpc_status(s) } else { None };
        let facts = Facts {
            options,
            downstream: peer(istio::CLIENT_KEY).or_else(|| of_connection?.as_ref()),
            upstream: peer(istio::SERVER_KEY),
            cluster: cluster.map(|cluster| &**cluster.plan()),
            host: info.host.as_ref().map(|host| &**host.plan()),
            route_name: info.route_name.as_deref().unwrap_or_default(),
            authority: std::str::from_utf8(&s.work.request.authority).unwrap_or_default(),
            downstream_tls: s.conn.tls.as_deref(),
            upstream_tls: info.upstream_tls.as_deref(),
            flags: info.flags,
            group: Group::Http { grpc, code: info.code, status },
        };
        let series = shard.istio.metrics.of(&shard.late, &facts);
        if let Some(Series::Http(http)) = series.as_deref() {
            let took = info.start.elapsed().as_millis() as u64;
            let received = info.request_head_bytes + info.request_body_bytes;
            let sent = info.response_head_bytes + info.response_body_bytes;
            http.record(&shard.late, took, received, sent);
        }
        let messages = info.filter_state.get(MESSAGES).filter(|_| grpc);
        if let Some(Object::GrpcStats { requests, responses }) = messages {
            let facts = Facts { group: Group::Messages, ..facts };
            let series = shard.istio.metrics.of(&shard.late, &facts);
            if let Some(Series::Messages([from_client, to_client])) = series.as_deref() {
                add(&shard.late, from_client.as_deref(), *requests);
                add(&shard.late, to_client.as_deref(), *responses);
            }
        }
    }
}

/// Of the trailers, else of the headers, else what the code stands for.
fn grpc_status(s: &StreamCx<'_>) -> Option<u64> {
    let trailers = s.work.response_trailers.get(K::GrpcStatus);
    if let Some(given) = trailers.or_else(|| s.work.response.headers.get(K::GrpcStatus)) {
        return Status::parse(given).map(|status| u64::from(status.0));
    }
    match s.work.info.code {
        0 => None,
        code => Some(u64::from(Status::of_http(code).0)),
    }
}
