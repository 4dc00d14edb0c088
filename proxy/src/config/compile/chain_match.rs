//! `FilterChainMatch`, of all chains of a listener.

use std::net::IpAddr;

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use prost::Message;
use ringway_xds::api::envoy::config::core::v3::CidrRange;
use ringway_xds::api::envoy::config::listener::v3 as api;
use ringway_xds::print::{self, JsonOptions};

use super::address::cidrs;
use super::at::At;
use super::cx::Cx;
use crate::plan::chain_match::{ChainMatcher, Overlap, Rules, SourceType};

/// Indexes the chains of a listener; the default one follows the list.
pub(super) fn compile(cx: &mut Cx<'_>, at: &At<'_>, listener: &api::Listener) -> ChainMatcher {
    let at = at.field("filter_chains");
    let chains = &listener.filter_chains;
    let has_default = listener.default_filter_chain.is_some();
    let mut seen: HashMap<Vec<u8>, &str, RandomState> = HashMap::default();
    let mut all = Vec::with_capacity(chains.len());
    let mut twice = false;
    for (index, chain) in chains.iter().enumerate() {
        let at = at.index(index);
        let nothing = api::FilterChainMatch::default();
        let asked = chain.filter_chain_match.as_ref().unwrap_or(&nothing);
        // With a matcher tree, which is refused, the rules of the chains do not count.
        if let Some(other) = seen.insert(asked.encode_to_vec(), &chain.name)
            && listener.filter_chain_matcher.is_none()
        {
            let options = JsonOptions { pretty: false, redact: false, ..JsonOptions::default() };
            let message = format!(
                "filter chain '{}' has the same matching rules defined as '{other}'. duplicate \
                 matcher is: {}",
                chain.name,
                print::json(asked, options)
            );
            cx.invalid(&at, message);
            twice = true;
        }
        all.push(rules(cx, &at.field("filter_chain_match"), &chain.name, asked));
    }
    let default = has_default.then(|| u32::try_from(chains.len()).unwrap_or(u32::MAX));
    match ChainMatcher::new(&all, default) {
        Ok(matcher) => matcher,
        // Told already, or of no account.
        Err(_) if twice || listener.filter_chain_matcher.is_some() => ChainMatcher::default(),
        Err(Overlap(first, second)) => {
            let name = |index: usize| chains.get(index).map_or("", |chain| chain.name.as_str());
            let message = format!(
                "multiple filter chains with overlapping matching rules are defined: '{}' and '{}'",
                name(first),
                name(second)
            );
            cx.invalid(&at.index(second), message);
            ChainMatcher::default()
        }
    }
}

fn rules(cx: &mut Cx<'_>, at: &At<'_>, name: &str, asked: &api::FilterChainMatch) -> Rules {
    let api::FilterChainMatch {
        destination_port,
        prefix_ranges,
        address_suffix,
        suffix_len,
        direct_source_prefix_ranges,
        source_type,
        source_prefix_ranges,
        source_ports,
        server_names,
        transport_protocol,
        application_protocols,
    } = asked;
    if !address_suffix.is_empty() || suffix_len.is_some() {
        let field = if suffix_len.is_some() { "suffix_len" } else { "address_suffix" };
        let message = format!("filter chain '{name}' contains unimplemented fields");
        cx.invalid_allowed(&at.field(field), message, "prefix_ranges");
    }
    let mut nets = |field: &str, list: &[CidrRange]| -> Vec<(IpAddr, u8)> {
        cidrs(cx, &at.field(field), list)
    };
    let destination = nets("prefix_ranges", prefix_ranges);
    let direct_source = nets("direct_source_prefix_ranges", direct_source_prefix_ranges);
    let source = nets("source_prefix_ranges", source_prefix_ranges);
    // Field rules keep ports within 16 bits.
    let port = |port: &u32| u16::try_from(*port).unwrap_or_default();
    Rules {
        destination_port: destination_port.as_ref().map(port),
        destination,
        server_names: names(cx, &at.field("server_names"), server_names),
        transport_protocol: Box::from(transport_protocol.as_str()),
        application_protocols: application_protocols.iter().map(|p| Box::from(&**p)).collect(),
        direct_source,
        source_type: match api::filter_chain_match::ConnectionSourceType::try_from(*source_type) {
            Ok(api::filter_chain_match::ConnectionSourceType::SameIpOrLoopback) => {
                SourceType::SameIpOrLoopback
            }
            Ok(api::filter_chain_match::ConnectionSourceType::External) => SourceType::External,
            _ => SourceType::Any,
        },
        source,
        source_ports: source_ports.iter().map(port).collect(),
    }
}

/// `*.example.com` becomes `.example.com`; a star stands nowhere else.
fn names(cx: &mut Cx<'_>, at: &At<'_>, list: &[String]) -> Vec<Box<str>> {
    let mut out = Vec::with_capacity(list.len());
    for (index, name) in list.iter().enumerate() {
        let suffix = name.strip_prefix('*').filter(|rest| rest.starts_with('.'));
        let key = suffix.unwrap_or(name);
        if key.contains('*') {
            let message = "partial wildcards are not supported in \"server_names\"";
            cx.invalid_allowed(&at.index(index), message, "example.com, *.example.com");
        }
        out.push(key.to_ascii_lowercase().into_boxed_str());
    }
    out
}
