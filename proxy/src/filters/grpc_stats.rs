//! `envoy.filters.http.grpc_stats`: calls by status and messages by direction, by method or not.

use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use prost_types::Any;
use ringway_runtime::Chain;
use ringway_wire::grpc::{self, Deframer};
use ringway_wire::{HeaderMap, KnownName as K};
use ringway_xds::api::envoy::config::core::v3 as core;
use ringway_xds::api::envoy::extensions::filters::http::grpc_stats::v3 as api;

use super::grpc_calls::{self, CallStats};
use super::{CONTINUE, HttpFilter, Kind, NoRoute, Phases, Step, StreamCx, no_route};
use crate::config::compile::{At, Cx};
use crate::http::filter_state::Object;
use crate::http::reply::is_grpc;

pub(super) const KIND: Kind<Config, Route> = Kind {
    type_name: "envoy.extensions.filters.http.grpc_stats.v3.FilterConfig",
    compile,
    route_type_name: "",
    compile_route: no_route,
};

/// Its options.
#[derive(Debug)]
pub(crate) struct Config {
    methods: Methods,
    /// `replace_dots_in_grpc_service_name`: what a dot in a service's name becomes.
    dots: char,
    /// `enable_upstream_stats`
    upstream_time: bool,
    /// `emit_filter_state`: under which key.
    emits: Option<Arc<str>>,
}

/// The key of what `emit_filter_state` tells.
const OBJECT: &str = "envoy.filters.http.grpc_stats";

/// It has none on routes.
#[derive(Debug)]
pub(crate) struct Route(#[allow(dead_code, reason = "there is none")] NoRoute);

/// Which methods are counted by their names; the others are counted together.
#[derive(Debug)]
enum Methods {
    /// `stats_for_all_methods`
    All,
    /// `individual_method_stats_allowlist`: service and method.
    Listed(Vec<(String, String)>),
}

/// One call.
#[derive(Default)]
pub(crate) struct Filter {
    call: Option<Rc<CallStats>>,
    request: Deframer,
    response: Deframer,
    requests: u64,
    responses: u64,
    grpc: bool,
}

fn compile(cx: &mut Cx<'_>, at: &At<'_>, any: &Any) -> Option<Config> {
    use api::filter_config::PerMethodStatSpecifier as Specifier;
    let config = cx.unpack::<api::FilterConfig>(at, any)?;
    let api::FilterConfig {
        emit_filter_state,
        enable_upstream_stats,
        replace_dots_in_grpc_service_name,
        per_method_stat_specifier,
    } = config;
    let methods = match per_method_stat_specifier {
        Some(Specifier::StatsForAllMethods(true)) => Methods::All,
        // Envoy counts all together where nothing is said, since 1.19.
        Some(Specifier::StatsForAllMethods(false)) | None => Methods::Listed(Vec::new()),
        Some(Specifier::IndividualMethodStatsAllowlist(list)) => Methods::Listed(listed(list)),
    };
    Some(Config {
        methods,
        dots: if replace_dots_in_grpc_service_name { '_' } else { '.' },
        upstream_time: enable_upstream_stats,
        emits: emit_filter_state.then(|| Arc::from(OBJECT)),
    })
}

fn listed(list: core::GrpcMethodList) -> Vec<(String, String)> {
    let core::GrpcMethodList { services } = list;
    let pairs = services.into_iter().flat_map(|service| {
        let core::grpc_method_list::Service { name, method_names } = service;
        method_names.into_iter().map(move |method| (name.clone(), method))
    });
    pairs.collect()
}

impl Methods {
    fn names(&self, service: &str, method: &str) -> bool {
        match self {
            Self::All => true,
            Self::Listed(list) => list.iter().any(|(s, m)| s == service && m == method),
        }
    }
}

impl HttpFilter for Filter {
    type Config = Config;

    fn phases(_: &Config) -> Phases {
        Phases::REQUEST_HEADERS | Phases::REQUEST_DATA | Phases::RESPONSE
    }

    fn begin(_: &Config) -> Self {
        Self::default()
    }

    fn poll_request_headers(
        &mut self,
        _: &mut Context<'_>,
        config: &Config,
        s: &mut StreamCx<'_>,
        _: bool,
    ) -> Poll<Step> {
        self.grpc = is_grpc(&s.work.request);
        if self.grpc {
            let names = |service: &str, method: &str| config.methods.names(service, method);
            self.call = grpc_calls::of_request(s, "grpc", config.dots, names);
        }
        if self.call.is_none() && !(self.grpc && config.emits.is_some()) {
            s.ignore(Phases::REQUEST | Phases::RESPONSE);
        }
        CONTINUE
    }

    fn poll_request_data(
        &mut self,
        _: &mut Context<'_>,
        config: &Config,
        s: &mut StreamCx<'_>,
        data: &mut Chain,
        _: bool,
    ) -> Poll<Step> {
        let messages = count(&mut self.request, data);
        self.requests += messages;
        if let Some(call) = &self.call {
            call.requests(&s.conn.shard.late, messages);
        }
        self.emit(config, s);
        CONTINUE
    }

    fn poll_response_headers(
        &mut self,
        _: &mut Context<'_>,
        config: &Config,
        s: &mut StreamCx<'_>,
        end: bool,
    ) -> Poll<Step> {
        let response = &s.work.response;
        let kind = response.headers.get(K::ContentType);
        let speaks = response.status == 200 && kind.is_some_and(grpc::is_grpc);
        if !speaks {
            s.ignore(Phases::RESPONSE_DATA);
        }
        self.ended(&s.work.response.headers, s);
        if end {
            self.took(config, s);
        }
        CONTINUE
    }

    fn poll_response_data(
        &mut self,
        _: &mut Context<'_>,
        config: &Config,
        s: &mut StreamCx<'_>,
        data: &mut Chain,
        _: bool,
    ) -> Poll<Step> {
        let messages = count(&mut self.response, data);
        self.responses += messages;
        if let Some(call) = &self.call {
            call.responses(&s.conn.shard.late, messages);
        }
        self.emit(config, s);
        CONTINUE
    }

    fn poll_response_trailers(
        &mut self,
        _: &mut Context<'_>,
        config: &Config,
        s: &mut StreamCx<'_>,
        _: &mut Chain,
    ) -> Poll<Step> {
        self.ended(&s.work.response_trailers, s);
        self.took(config, s);
        CONTINUE
    }
}

impl Filter {
    /// Tells others of the messages so far, once there are any.
    fn emit(&self, config: &Config, s: &mut StreamCx<'_>) {
        let (requests, responses) = (self.requests, self.responses);
        if let Some(key) = &config.emits
            && requests + responses > 0
        {
            s.work.info.filter_state.set(key, Object::GrpcStats { requests, responses });
        }
    }

    fn ended(&self, headers: &HeaderMap, s: &StreamCx<'_>) {
        if let (Some(call), Some(status)) = (&self.call, headers.get(K::GrpcStatus)) {
            call.ended(&s.conn.shard.late, status);
        }
    }

    /// Between the last byte to the upstream and the last from it, if both were.
    fn took(&self, config: &Config, s: &StreamCx<'_>) {
        let info = &s.work.info;
        if let (Some(call), true) = (&self.call, config.upstream_time)
            && let (Some((_, sent)), Some((_, heard))) = (info.upstream_tx, info.upstream_rx)
        {
            call.took(&s.conn.shard.late, (heard - sent).as_millis() as u64);
        }
    }
}

fn count(frames: &mut Deframer, data: &Chain) -> u64 {
    data.iter().map(|chunk| frames.count(chunk)).sum()
}
