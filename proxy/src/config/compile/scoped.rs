//! `ScopedRoutes`, `ScopedRouteConfiguration`: route tables chosen by what headers say.

use std::sync::Arc;

use ringway_xds::api::envoy::config::route::v3 as route_api;
use ringway_xds::api::envoy::extensions::filters::network::http_connection_manager::v3 as api;

use super::at::At;
use super::cx::Cx;
use super::set::refuse;
use super::{route_table, source};
use crate::plan::ConfigSource;
use crate::plan::http::Routes;
use crate::plan::route::{
    Element, FragmentBuilder, Scope, ScopeKey, ScopeSet, ScopeTable, ScopedRoutes, Scopes,
};

/// Compiles `scoped_routes`; `None` after an error that leaves nothing to choose from.
pub(crate) fn compile(cx: &mut Cx<'_>, at: &At<'_>, config: &api::ScopedRoutes) -> Option<Routes> {
    use api::scoped_routes::ConfigSpecifier;
    let api::ScopedRoutes { name, scope_key_builder, rds_config_source, config_specifier } = config;
    let builder_at = at.field("scope_key_builder");
    let fragments = match scope_key_builder {
        Some(builder) => fragments(cx, &builder_at, builder),
        None => {
            cx.invalid(&builder_at, "value is required");
            Vec::new()
        }
    };
    let rds_at = at.field("rds_config_source");
    let whole = |list: &api::ScopedRouteConfigurationsList| {
        list.scoped_route_configurations.iter().all(|scope| scope.route_configuration.is_some())
    };
    let inline = match config_specifier {
        Some(ConfigSpecifier::ScopedRouteConfigurationsList(list)) => whole(list),
        _ => false,
    };
    let routes = match rds_config_source {
        None if inline => None,
        given => Some(source::compile(cx, &rds_at, given.as_ref())?),
    };
    let scopes = match config_specifier {
        Some(ConfigSpecifier::ScopedRouteConfigurationsList(list)) => {
            let at = at.field("scoped_route_configurations_list");
            let at = at.field("scoped_route_configurations");
            Scopes::Inline(Arc::new(inline_scopes(
                cx,
                &at,
                &list.scoped_route_configurations,
                routes.as_ref(),
            )))
        }
        Some(ConfigSpecifier::ScopedRds(scoped)) => {
            let at = at.field("scoped_rds");
            let api::ScopedRds { scoped_rds_config_source, srds_resources_locator } = scoped;
            refuse!(cx, &at, srds_resources_locator);
            let source_at = at.field("scoped_rds_config_source");
            let source = source::compile(cx, &source_at, scoped_rds_config_source.as_ref())?;
            let lease = cx.kept.scopes.lease(&(name, &source, &routes?));
            cx.needs.scopes.push(Arc::clone(&lease));
            Scopes::Srds(lease)
        }
        None => {
            let allowed = "scoped_route_configurations_list, scoped_rds";
            cx.invalid_allowed(at, "a config specifier is required", allowed);
            return None;
        }
    };
    Some(Routes::Scoped(Arc::new(ScopedRoutes { fragments, scopes })))
}

fn inline_scopes(
    cx: &mut Cx<'_>,
    at: &At<'_>,
    list: &[route_api::ScopedRouteConfiguration],
    routes: Option<&ConfigSource>,
) -> ScopeSet {
    let mut set = ScopeSet::default();
    for (index, config) in list.iter().enumerate() {
        let at = at.index(index);
        let Some((key, scope)) = scope(cx, &at, config, routes, true) else { continue };
        if let Err(conflict) = set.insert(key, scope) {
            cx.invalid(&at.field("key"), conflict);
        }
    }
    set
}

/// Compiles one scope with its key. `routes`: where its route table comes from if it is named.
/// `in_listener`: it is part of a listener, which waits for its table.
pub(crate) fn scope(
    cx: &mut Cx<'_>,
    at: &At<'_>,
    config: &route_api::ScopedRouteConfiguration,
    routes: Option<&ConfigSource>,
    in_listener: bool,
) -> Option<(ScopeKey, Scope)> {
    let route_api::ScopedRouteConfiguration {
        on_demand,
        name,
        route_configuration_name,
        route_configuration,
        key,
    } = config;
    let on_demand = *on_demand;
    if in_listener {
        refuse!(cx, at, on_demand);
    }
    let key = key_of(cx, &at.field("key"), key.as_ref())?;
    let table = match (route_configuration, routes) {
        (Some(_), _) if !route_configuration_name.is_empty() => {
            let message = "only one of route_configuration_name and route_configuration may be set";
            cx.invalid(&at.field("route_configuration"), message);
            return None;
        }
        (Some(config), _) => {
            let at = at.field("route_configuration");
            ScopeTable::Inline(route_table::compile(cx, &at, config, &[]))
        }
        (None, Some(source)) if !route_configuration_name.is_empty() => {
            let lease = cx.kept.routes.lease(&(route_configuration_name, source));
            if in_listener {
                cx.needs.routes.push(Arc::clone(&lease));
            }
            ScopeTable::Rds(lease)
        }
        (None, _) => {
            let at = at.field("route_configuration_name");
            cx.invalid(&at, "a scope needs a route table: its name, or the table itself");
            return None;
        }
    };
    Some((key, Scope { name: Arc::from(name.as_str()), table, on_demand }))
}

fn key_of(
    cx: &mut Cx<'_>,
    at: &At<'_>,
    key: Option<&route_api::scoped_route_configuration::Key>,
) -> Option<ScopeKey> {
    use route_api::scoped_route_configuration::key::fragment::Type;
    let Some(route_api::scoped_route_configuration::Key { fragments }) = key else {
        cx.invalid(at, "value is required");
        return None;
    };
    let mut out = Vec::with_capacity(fragments.len());
    for (index, fragment) in fragments.iter().enumerate() {
        let route_api::scoped_route_configuration::key::Fragment { r#type } = fragment;
        match r#type {
            Some(Type::StringKey(text)) => out.push(Box::from(text.as_bytes())),
            None => {
                let at = at.field("fragments");
                cx.invalid_allowed(&at.index(index), "a fragment type is required", "string_key");
                return None;
            }
        }
    }
    Some(out.into_boxed_slice())
}

fn fragments(
    cx: &mut Cx<'_>,
    at: &At<'_>,
    builder: &api::scoped_routes::ScopeKeyBuilder,
) -> Vec<FragmentBuilder> {
    use api::scoped_routes::scope_key_builder::fragment_builder::Type;
    let api::scoped_routes::ScopeKeyBuilder { fragments } = builder;
    let at = at.field("fragments");
    let mut out = Vec::with_capacity(fragments.len());
    for (index, fragment) in fragments.iter().enumerate() {
        let at = at.index(index);
        let api::scoped_routes::scope_key_builder::FragmentBuilder { r#type } = fragment;
        match r#type {
            Some(Type::HeaderValueExtractor(extractor)) => {
                out.extend(extractor_of(cx, &at.field("header_value_extractor"), extractor));
            }
            None => {
                let allowed = "header_value_extractor";
                cx.invalid_allowed(&at, "a fragment builder type is required", allowed);
            }
        }
    }
    out
}

type Extractor = api::scoped_routes::scope_key_builder::fragment_builder::HeaderValueExtractor;

fn extractor_of(cx: &mut Cx<'_>, at: &At<'_>, config: &Extractor) -> Option<FragmentBuilder> {
    use api::scoped_routes::scope_key_builder::fragment_builder::header_value_extractor as parts;
    let Extractor { name, element_separator, extract_type } = config;
    let element = match extract_type {
        Some(parts::ExtractType::Index(index)) => {
            if element_separator.is_empty() && *index > 0 {
                let message = "Index > 0 for empty string element separator.";
                cx.invalid(&at.field("index"), message);
            }
            Element::Index(*index)
        }
        Some(parts::ExtractType::Element(parts::KvElement { separator, key })) => {
            Element::Key { key: Arc::from(key.as_str()), separator: Arc::from(separator.as_str()) }
        }
        None => {
            let message = "HeaderValueExtractor extract_type not set.+";
            cx.invalid_allowed(at, message, "index, element");
            return None;
        }
    };
    let separator = Some(element_separator).filter(|separator| !separator.is_empty());
    Some(FragmentBuilder {
        header: Arc::from(name.to_ascii_lowercase()),
        separator: separator.map(|separator| Arc::from(separator.as_str())),
        element,
    })
}
