//! What a listener has besides its chains: its filters, and what is special to internal ones.

use super::dynamic::{compiler, message};
use crate::config::compile::{Compiler, reasons};
use crate::plan::listener_filter::FilterKind;
use crate::plan::source::ConfigSource;

const TCP: &str = "filter_chains: [{filters: [{name: t, typed_config: {'@type': \
                   type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy, \
                   stat_prefix: s, cluster: xds}}]}]";
const INSPECTOR: &str =
    "type.googleapis.com/envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector";
const ADDRESS: &str = "address: {socket_address: {address: 127.0.0.1, port_value: 0}}";

/// A listener with these fields and a chain.
fn listener(
    compiler: &mut Compiler,
    fields: &str,
) -> Result<std::sync::Arc<crate::plan::Listener>, String> {
    let config = message(&format!("{{name: l, {TCP}, {fields}}}"));
    let taken = compiler.listener(&config, &ConfigSource::ads());
    taken.map(|taken| taken.value).map_err(|found| reasons(&found))
}

#[test]
fn filters_by_ecds_may_be_disabled() {
    let filter = format!(
        "{ADDRESS}, listener_filters: [{{name: f, filter_disabled: {{destination_port_range: \
         {{start: 7, end: 8}}}}, config_discovery: {{config_source: {{ads: {{}}}}, \
         type_urls: [{INSPECTOR}]}}}}]"
    );
    let listener = listener(&mut compiler(), &filter).unwrap();
    let [filter] = listener.filters.as_slice() else { panic!("{listener:?}") };
    assert!(matches!(filter.kind, FilterKind::Discovered(..)));
    let disabled = filter.disabled.as_ref().unwrap();
    assert!(disabled.holds(Some(7)) && !disabled.holds(Some(8)));
}
