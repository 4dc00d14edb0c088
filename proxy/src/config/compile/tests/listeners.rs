//! What a listener has besides its chains: its filters, and what is special to internal ones.

use super::dynamic::{bootstrap, compiler, message};
use crate::config::compile::{Compiler, reasons};
use crate::observe::stats::CorsStats;
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

#[test]
fn structs_with_a_type_are_what_they_stand_for() {
    let typed = |kind: &str, fields: &str| {
        format!(
            "{{'@type': type.googleapis.com/xds.type.v3.TypedStruct, \
             type_url: {kind}, value: {{{fields}}}}}"
        )
    };
    let inspector = typed(INSPECTOR, "max_client_hello_size: 1024");
    let log = typed(
        "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog",
        "path: /dev/null",
    );
    let fields = format!(
        "{ADDRESS}, listener_filters: [{{name: a, typed_config: {inspector}}}, {{name: b, \
         config_discovery: {{config_source: {{ads: {{}}}}, type_urls: [{INSPECTOR}], \
         default_config: {inspector}}}}}], access_log: [{{name: l, typed_config: {log}}}]"
    );
    let listener = listener(&mut compiler(), &fields).unwrap();
    let [here, discovered] = listener.filters.as_slice() else { panic!("{listener:?}") };
    let size = |kind: &FilterKind| match kind {
        FilterKind::TlsInspector(inspector) => inspector.hello_bytes_max,
        other => panic!("{other:?}"),
    };
    assert_eq!(size(&here.kind), 1024);
    let FilterKind::Discovered(slot, _) = &discovered.kind else { panic!("{discovered:?}") };
    assert_eq!(size(slot.current().unwrap().listener().unwrap()), 1024);
    assert_eq!(listener.access_logs.len(), 1);
    const SOCKETS: &str = "type.googleapis.com/envoy.extensions.transport_sockets";
    let tls = typed(&format!("{SOCKETS}.tls.v3.UpstreamTlsContext"), "sni: s.example");
    let socket = typed(
        &format!("{SOCKETS}.proxy_protocol.v3.ProxyProtocolUpstreamTransport"),
        &format!("config: {{version: V2}}, transport_socket: {{name: t, typed_config: {tls}}}"),
    );
    let cluster = format!("{{name: c, transport_socket: {{name: p, typed_config: {socket}}}}}");
    let cluster = super::dynamic::cluster(&mut compiler(), &cluster).unwrap();
    assert!(cluster.sockets.default.proxy_protocol.is_some() && cluster.is_tls());
}

/// The compiler of a bootstrap that asks for internal listeners.
fn internal() -> Compiler {
    bootstrap(
        "bootstrap_extensions: [{name: i, typed_config: {'@type': \
         type.googleapis.com/envoy.extensions.bootstrap.internal_listener.v3.InternalListener}}]",
    )
    .compiler
}

#[test]
fn an_internal_listener_has_no_socket() {
    let mut compiler = internal();
    let good = "internal_listener: {}, freebind: false, transparent: false";
    assert!(listener(&mut compiler, good).unwrap().internal);
    let address = "error adding listener 'l': address should not be used when an internal \
                   listener config is provided";
    let feature = "error adding listener named 'l': has unsupported tcp listener feature";
    let option = "error adding listener named 'l': does not support socket option";
    for (fields, wanted) in [
        (ADDRESS.to_owned(), address),
        (format!("additional_addresses: [{{{ADDRESS}}}]"), address),
        ("connection_balance_config: {exact_balance: {}}".to_owned(), feature),
        ("enable_mptcp: true".to_owned(), feature),
        ("enable_reuse_port: false".to_owned(), feature),
        ("freebind: true".to_owned(), feature),
        ("tcp_backlog_size: 7".to_owned(), feature),
        ("tcp_fast_open_queue_length: 7".to_owned(), feature),
        ("transparent: true".to_owned(), feature),
        ("socket_options: [{level: 1, name: 2, int_value: 3}]".to_owned(), option),
    ] {
        let error = listener(&mut compiler, &format!("internal_listener: {{}}, {fields}"));
        let error = error.expect_err(&fields);
        let field = fields.split(':').next().unwrap();
        assert!(error.contains(&format!("{field}: {wanted}")), "{fields}: {error}");
    }
}

#[test]
fn options_by_ecds_belong_to_their_manager() {
    const EXTENSIONS: &str = "type.googleapis.com/envoy.extensions.filters";
    let cors = format!("{EXTENSIONS}.http.cors.v3.Cors");
    let stats = "type.googleapis.com/stats.PluginConfig";
    let mut compiler = compiler();
    let mut slots = |prefix: &str, direction: &str| {
        let filter = |name: &str, kind: &str| {
            format!(
                "{{name: {name}, config_discovery: {{config_source: {{ads: {{}}}}, \
                 type_urls: [{kind}]}}}}"
            )
        };
        let (cors, stats) = (filter("cors", &cors), filter("stats", stats));
        let config = message(&format!(
            "{{name: l, {ADDRESS}, traffic_direction: {direction}, filter_chains: [{{filters: [\
             {{name: hcm, typed_config: {{'@type': {EXTENSIONS}.network.http_connection_manager.\
             v3.HttpConnectionManager, stat_prefix: {prefix}, route_config: {{name: r}}, \
             http_filters: [{cors}, {stats}, {{name: r, typed_config: {{'@type': \
             {EXTENSIONS}.http.router.v3.Router}}}}]}}}}]}}]}}"
        ));
        let taken = compiler.listener(&config, &ConfigSource::ads());
        taken.unwrap_or_else(|found| panic!("{found:?}")).value
    };
    let inbound = slots("a", "INBOUND");
    let again = slots("a", "INBOUND");
    let other = slots("b", "OUTBOUND");
    let slot = |listener: &crate::plan::Listener, index: usize| {
        std::sync::Arc::clone(&listener.needs.extensions[index])
    };
    let same = std::sync::Arc::ptr_eq;
    assert!(same(&slot(&inbound, 0), &slot(&again, 0)), "one slot for the same");
    assert!(!same(&slot(&inbound, 0), &slot(&other, 0)), "counted under another prefix");
    assert!(!same(&slot(&inbound, 1), &slot(&other, 1)), "another direction");
    let mut options = |listener: &crate::plan::Listener, index: usize, kind: &str| {
        let config = message(&format!("{{name: f, typed_config: {{'@type': {kind}}}}}"));
        let extension = compiler.extension(&config, &slot(listener, index)).unwrap().value;
        format!("{:?}", extension.http().unwrap())
    };
    assert!(options(&inbound, 1, stats).contains("reporter: Server"));
    assert!(options(&other, 1, stats).contains("reporter: Client"));
    let (of_a, of_b) = (options(&inbound, 0, &cors), options(&other, 0, &cors));
    let mut named = |prefix| CorsStats::new(compiler.registry(), prefix);
    assert!(of_a.contains(&format!("{:?}", named("http.a"))), "{of_a}");
    assert!(of_b.contains(&format!("{:?}", named("http.b"))), "{of_b}");
}
