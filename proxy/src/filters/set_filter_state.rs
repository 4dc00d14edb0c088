//! `envoy.filters.http.set_filter_state`: objects made of the request, for logs and other filters.

use std::sync::Arc;
use std::task::{Context, Poll};

use prost_types::Any;
use ringway_xds::api::envoy::extensions::filters::common::set_filter_state::v3 as common;
use ringway_xds::api::envoy::extensions::filters::http::set_filter_state::v3 as api;

use super::{CONTINUE, HttpFilter, Kind, Phases, Step, StreamCx};
use crate::config::compile::{At, Cx, access_log};
use crate::http::account;
use crate::http::filter_state::Object;
use crate::observe::accesslog::LogFormat;

pub(super) const KIND: Kind<Config, Route> =
    Kind { type_name: TYPE, compile, route_type_name: TYPE, compile_route };

const TYPE: &str = "envoy.extensions.filters.http.set_filter_state.v3.Config";

/// Objects that are texts and mean nothing to the proxy itself.
const FACTORY: &str = "envoy.string";

/// Addresses for the original_dst filter of an internal listener.
pub(crate) const LOCAL_IP: &str = "envoy.filters.listener.original_dst.local_ip";
/// Likewise.
pub(crate) const REMOTE_IP: &str = "envoy.filters.listener.original_dst.remote_ip";

/// Its options.
#[derive(Debug)]
pub(crate) struct Config {
    objects: Vec<Rule>,
    clear_route_cache: bool,
}

/// On a route: objects after those of the filter.
#[derive(Debug)]
pub(crate) struct Route(Config);

/// `FilterStateValue`.
#[derive(Debug)]
struct Rule {
    key: Arc<str>,
    format: LogFormat,
    skip_if_empty: bool,
}

/// One request.
pub(crate) struct Filter;

fn compile(cx: &mut Cx<'_>, at: &At<'_>, any: &Any) -> Option<Config> {
    let config = cx.unpack::<api::Config>(at, any)?;
    let api::Config { on_request_headers, clear_route_cache } = config;
    let at = at.field("on_request_headers");
    let each = on_request_headers.into_iter().enumerate();
    let objects = each.filter_map(|(index, value)| rule(cx, &at.index(index), value)).collect();
    Some(Config { objects, clear_route_cache })
}

fn compile_route(cx: &mut Cx<'_>, at: &At<'_>, any: &Any) -> Option<Route> {
    compile(cx, at, any).map(Route)
}

fn rule(cx: &mut Cx<'_>, at: &At<'_>, value: common::FilterStateValue) -> Option<Rule> {
    let common::FilterStateValue {
        factory_key,
        // Deprecated, and without effect in Envoy 1.40.
        read_only: _,
        // What is shared is read by internal listeners and, if it can be hashed, by pools: a text
        // by neither.
        shared_with_upstream: _,
        skip_if_empty,
        key,
        value,
    } = value;
    let Some(common::filter_state_value::Key::ObjectKey(key)) = key else {
        cx.invalid(&at.field("object_key"), "value is required");
        return None;
    };
    let factory = if factory_key.is_empty() { key.as_str() } else { factory_key.as_str() };
    if ![FACTORY, LOCAL_IP, REMOTE_IP].contains(&factory) {
        // Others steer what the proxy does.
        cx.unsupported_allowed(&at.field("factory_key"), factory, FACTORY);
        return None;
    }
    let Some(common::filter_state_value::Value::FormatString(format)) = value else {
        cx.invalid(&at.field("format_string"), "value is required");
        return None;
    };
    let format = access_log::body_format(cx, &at.field("format_string"), format)?.format;
    Some(Rule { key: Arc::from(key), format, skip_if_empty })
}

impl HttpFilter for Filter {
    type Config = Config;

    fn phases(_: &Config) -> Phases {
        Phases::REQUEST_HEADERS
    }

    fn begin(_: &Config) -> Self {
        Self
    }

    fn poll_request_headers(
        &mut self,
        _: &mut Context<'_>,
        config: &Config,
        s: &mut StreamCx<'_>,
        _: bool,
    ) -> Poll<Step> {
        set(config, s);
        let mut clear = config.clear_route_cache;
        let levels: smallvec::SmallVec<[&Route; 4]> = s.route_configs().collect();
        for Route(config) in levels {
            set(config, s);
            clear |= config.clear_route_cache;
        }
        if clear {
            s.clear_route_cache();
        }
        CONTINUE
    }
}

fn set(config: &Config, s: &mut StreamCx<'_>) {
    for rule in &config.objects {
        let mut text = Vec::new();
        rule.format.line(&account::context(s.conn, s.work, &s.work.request, None), &mut text);
        if !text.is_empty() || !rule.skip_if_empty {
            s.work.info.filter_state.set(&rule.key, Object::Text(text.into()));
        }
    }
}
