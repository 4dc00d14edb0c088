//! `ListenerFilter` and the filters there are.

use prost_types::Any;
use ringway_xds::api::envoy::config::core::v3 as core;
use ringway_xds::api::envoy::config::listener::v3 as api;
use ringway_xds::api::envoy::extensions::filters::listener as filters;
use ringway_xds::api::envoy::r#type::v3::Int32Range;

use super::at::At;
use super::cx::Cx;
use super::extension;
use super::listener::missing_type;
use super::scalar::type_name;
use super::set::refuse;
use crate::observe::stats::{
    HttpInspectorStats, ListenerExtensionStats, ProxyProtocolErrorStats, ProxyProtocolStats,
    TlsInspectorStats,
};
use crate::plan::extension::ExtensionKind;
use crate::plan::listener_filter::{
    FilterKind, KeptTlvs, ListenerFilter, Predicate, ProxyProtocol, TlsInspector,
};

/// A listener filter: how its configuration is compiled.
struct Kind {
    /// Type of its configuration.
    type_name: &'static str,
    compile: fn(&mut Cx<'_>, &At<'_>, &Any) -> Option<FilterKind>,
}

/// Every listener filter. One more is a line here, a variant of [`FilterKind`] and its code in
/// `listener/filters/`.
const KINDS: &[Kind] = &[
    Kind {
        type_name: "envoy.extensions.filters.listener.original_dst.v3.OriginalDst",
        compile: original_dst,
    },
    Kind {
        type_name: "envoy.extensions.filters.listener.proxy_protocol.v3.ProxyProtocol",
        compile: proxy_protocol,
    },
    Kind {
        type_name: "envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector",
        compile: tls_inspector,
    },
    Kind {
        type_name: "envoy.extensions.filters.listener.http_inspector.v3.HttpInspector",
        compile: http_inspector,
    },
];

/// `max_client_hello_size` where nothing is said.
const HELLO_BYTES_MAX: u32 = 16 * 1024;

/// The filters of a listener: those of its list, then those its flags ask for.
pub(super) fn compile(
    cx: &mut Cx<'_>,
    at: &At<'_>,
    listener: &api::Listener,
    stat_prefix: &str,
) -> Vec<ListenerFilter> {
    let list = &listener.listener_filters;
    let mut out = listed(cx, &at.field("listener_filters"), list, stat_prefix);
    let mut add = |kind| out.push(ListenerFilter { kind, disabled: None });
    if listener.use_original_dst.unwrap_or_default() {
        add(FilterKind::OriginalDst);
    }
    // Envoy asks the first chain only.
    let first = listener.filter_chains.first().or(listener.default_filter_chain.as_ref());
    if first.and_then(|chain| chain.use_proxy_proto).unwrap_or_default() {
        let any = Any { type_url: String::new(), value: Vec::new() };
        proxy_protocol(cx, at, &any).into_iter().for_each(add);
    }
    out
}

/// Filters that are not there are refused one by one.
fn listed(
    cx: &mut Cx<'_>,
    at: &At<'_>,
    list: &[api::ListenerFilter],
    stat_prefix: &str,
) -> Vec<ListenerFilter> {
    let mut out = Vec::with_capacity(list.len());
    for (index, filter) in list.iter().enumerate() {
        let at = at.index(index);
        let api::ListenerFilter { name, filter_disabled, config_type } = filter;
        let disabled = filter_disabled
            .as_ref()
            .and_then(|rule| predicate(cx, &at.field("filter_disabled"), rule));
        let any = match config_type {
            Some(api::listener_filter::ConfigType::TypedConfig(any)) => any,
            Some(api::listener_filter::ConfigType::ConfigDiscovery(config)) => {
                let at = at.field("config_discovery");
                let slot = extension::slot(cx, &at, name, ExtensionKind::Listener, config);
                let stats = ListenerExtensionStats::new(cx.registry, stat_prefix);
                let kind = slot.map(|slot| FilterKind::Discovered(slot, stats));
                out.extend(kind.map(|kind| ListenerFilter { kind, disabled }));
                continue;
            }
            None => {
                missing_type(cx, &at, name);
                continue;
            }
        };
        let at = at.field("typed_config");
        let Some(any) = cx.typed(&at, any) else { continue };
        out.extend(options(cx, &at, &any).map(|kind| ListenerFilter { kind, disabled }));
    }
    out
}

/// Compiles the options of a listener filter.
pub(super) fn options(cx: &mut Cx<'_>, at: &At<'_>, any: &Any) -> Option<FilterKind> {
    let found = type_name(&any.type_url);
    let Some(kind) = KINDS.iter().find(|kind| kind.type_name == found) else {
        cx.unsupported_allowed(at, found, &known().collect::<Vec<_>>().join(", "));
        return None;
    };
    (kind.compile)(cx, at, any)
}

/// Types of the options there are.
pub(super) fn known() -> impl Iterator<Item = &'static str> {
    KINDS.iter().map(|kind| kind.type_name)
}

fn predicate(
    cx: &mut Cx<'_>,
    at: &At<'_>,
    value: &api::ListenerFilterChainMatchPredicate,
) -> Option<Predicate> {
    use api::listener_filter_chain_match_predicate::{MatchSet, Rule};
    let mut set = |field: &str, set: &MatchSet| {
        let MatchSet { rules } = set;
        let at = at.field(field);
        let at = at.field("rules");
        let rules = rules.iter().enumerate();
        rules.filter_map(|(index, rule)| predicate(cx, &at.index(index), rule)).collect()
    };
    let api::ListenerFilterChainMatchPredicate { rule } = value;
    Some(match rule {
        Some(Rule::OrMatch(rules)) => Predicate::Or(set("or_match", rules)),
        Some(Rule::AndMatch(rules)) => Predicate::And(set("and_match", rules)),
        Some(Rule::NotMatch(rule)) => {
            Predicate::Not(Box::new(predicate(cx, &at.field("not_match"), rule)?))
        }
        // Field rules keep it true.
        Some(Rule::AnyMatch(_)) => Predicate::Any,
        Some(Rule::DestinationPortRange(Int32Range { start, end })) => {
            Predicate::DestinationPort(*start..*end)
        }
        None => {
            cx.invalid(at, "one of or_match, and_match, not_match, any_match is required");
            return None;
        }
    })
}

fn original_dst(cx: &mut Cx<'_>, at: &At<'_>, any: &Any) -> Option<FilterKind> {
    let filters::original_dst::v3::OriginalDst {} = cx.unpack(at, any)?;
    Some(FilterKind::OriginalDst)
}

fn http_inspector(cx: &mut Cx<'_>, at: &At<'_>, any: &Any) -> Option<FilterKind> {
    let filters::http_inspector::v3::HttpInspector {} = cx.unpack(at, any)?;
    Some(FilterKind::HttpInspector(HttpInspectorStats::new(cx.registry)))
}

fn tls_inspector(cx: &mut Cx<'_>, at: &At<'_>, any: &Any) -> Option<FilterKind> {
    let filters::tls_inspector::v3::TlsInspector {
        enable_ja3_fingerprinting,
        enable_ja4_fingerprinting,
        // How much Envoy reads at first; what is received here is what has come.
        initial_read_buffer_size: _,
        close_connection_on_client_hello_parsing_errors: close_on_error,
        max_client_hello_size,
    } = cx.unpack(at, any)?;
    let enable_ja3_fingerprinting = enable_ja3_fingerprinting.unwrap_or_default();
    let enable_ja4_fingerprinting = enable_ja4_fingerprinting.unwrap_or_default();
    refuse!(cx, at, enable_ja3_fingerprinting, enable_ja4_fingerprinting);
    Some(FilterKind::TlsInspector(TlsInspector {
        hello_bytes_max: max_client_hello_size.unwrap_or(HELLO_BYTES_MAX) as usize,
        close_on_error,
        stats: TlsInspectorStats::new(cx.registry),
    }))
}

fn proxy_protocol(cx: &mut Cx<'_>, at: &At<'_>, any: &Any) -> Option<FilterKind> {
    use core::proxy_protocol_config::Version;
    let filters::proxy_protocol::v3::ProxyProtocol {
        rules,
        allow_requests_without_proxy_protocol: optional,
        pass_through_tlvs,
        disallowed_versions,
        stat_prefix,
        // Where values of `rules` go, which are refused.
        tlv_location: _,
    } = cx.unpack(at, any)?;
    refuse!(cx, at, rules);
    let allowed = |version: Version| !disallowed_versions.contains(&(version as i32));
    let (v1, v2) = (allowed(Version::V1), allowed(Version::V2));
    if !v1 && !v2 {
        let message =
            "Proxy Protocol filter is misconfigured: all proxy protocol versions are disallowed.";
        cx.invalid_allowed(&at.field("disallowed_versions"), message, "V1 or V2, not both");
    }
    let prefix = if stat_prefix.is_empty() { stat_prefix } else { stat_prefix + "." };
    Some(FilterKind::ProxyProtocol(ProxyProtocol {
        optional,
        v1,
        v2,
        kept: kept_tlvs(cx, &at.field("pass_through_tlvs"), pass_through_tlvs.as_ref()),
        stats: ProxyProtocolStats::new(cx.registry, &prefix),
        errors: ProxyProtocolErrorStats::new(cx.registry),
    }))
}

fn kept_tlvs(
    cx: &mut Cx<'_>,
    at: &At<'_>,
    value: Option<&core::ProxyProtocolPassThroughTlVs>,
) -> KeptTlvs {
    use core::proxy_protocol_pass_through_tl_vs::PassTlVsMatchType;
    let Some(core::ProxyProtocolPassThroughTlVs { match_type, tlv_type }) = value else {
        return KeptTlvs::None;
    };
    if *match_type == PassTlVsMatchType::IncludeAll as i32 {
        return KeptTlvs::All;
    }
    let mut types = Vec::with_capacity(tlv_type.len());
    for (index, kind) in tlv_type.iter().enumerate() {
        match u8::try_from(*kind) {
            Ok(kind) => types.push(kind),
            Err(_) => {
                let at = at.field("tlv_type");
                cx.invalid_allowed(&at.index(index), "not a TLV type", "0 to 255");
            }
        }
    }
    KeptTlvs::Types(types.into())
}
