//! `typed_per_filter_config`: what a route or a level above says of HTTP filters.

use std::collections::BTreeMap;
use std::sync::Arc;

use prost_types::Any;
use ringway_xds::api::envoy::config::route::v3 as route;

use super::at::At;
use super::cx::Cx;
use super::scalar::type_name;
use crate::filters::{Override, Overrides, RouteConfig, route_kind, type_names};

const FILTER_CONFIG: &str = "envoy.config.route.v3.FilterConfig";

/// Compiles the map of one level. `at` is the level.
pub(crate) fn compile(cx: &mut Cx<'_>, at: &At<'_>, map: &BTreeMap<String, Any>) -> Overrides {
    let at = at.field("typed_per_filter_config");
    let each = map.iter().filter_map(|(name, any)| one(cx, &at.key(name), name, any));
    Overrides(each.collect())
}

fn one(cx: &mut Cx<'_>, at: &At<'_>, name: &str, any: &Any) -> Option<Override> {
    let name = Arc::from(name);
    if type_name(&any.type_url) != FILTER_CONFIG {
        let config = config_of(cx, at, any, false)?;
        return Some(Override { name, disabled: false, config: Some(config) });
    }
    let wrapped = cx.unpack::<route::FilterConfig>(at, any)?;
    let route::FilterConfig { config, is_optional, disabled } = wrapped;
    if config.is_none() && !disabled {
        let message =
            format!("Empty route/virtual host per filter configuration for {name} filter");
        cx.invalid_allowed(at, message, "config, disabled");
        return None;
    }
    let config = match &config {
        Some(any) => Some(config_of(cx, &at.field("config"), any, is_optional)?),
        None => None,
    };
    Some(Override { name, disabled, config })
}

fn config_of(cx: &mut Cx<'_>, at: &At<'_>, any: &Any, optional: bool) -> Option<RouteConfig> {
    let any = cx.typed(at, any)?;
    let (any, wanted) = (&*any, type_name(&any.type_url));
    match route_kind(wanted) {
        Some(kind) => (kind.compile_route)(cx, at, any),
        None if optional => {
            cx.warn(at, format!("{wanted} is not supported yet and is left out: it is optional"));
            None
        }
        None => {
            cx.unsupported_allowed(at, wanted, &type_names(true).join(", "));
            None
        }
    }
}
