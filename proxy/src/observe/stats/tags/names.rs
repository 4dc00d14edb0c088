//! Names of the tags that Envoy has of its own.

/// Whether a tag has a default rule in Envoy. Some are for statistics of filters that do not exist
/// here, so nothing is ever cut out by them.
pub fn is_default(name: &str) -> bool {
    NAMES.contains(&name)
}

/// As Envoy 1.40 takes them in `stats_tags` without an expression.
const NAMES: [&str; 47] = [
    "envoy.cluster_name",
    "envoy.listener_address",
    "envoy.http_conn_manager_prefix",
    "envoy.http_user_agent",
    "envoy.ssl_cipher",
    "envoy.ssl_curve",
    "envoy.ssl_sigalg",
    "envoy.ssl_version",
    "cipher_suite",
    "envoy.clientssl_prefix",
    "envoy.grpc_bridge_method",
    "envoy.grpc_bridge_service",
    "envoy.dynamo_operation",
    "envoy.dynamo_table",
    "envoy.dynamo_partition_id",
    "envoy.mongo_prefix",
    "envoy.mongo_cmd",
    "envoy.mongo_collection",
    "envoy.mongo_callsite",
    "envoy.ratelimit_prefix",
    "envoy.local_http_ratelimit_prefix",
    "envoy.local_network_ratelimit_prefix",
    "envoy.local_listener_ratelimit_prefix",
    "envoy.dns_filter_prefix",
    "envoy.connection_limit_prefix",
    "envoy.rbac_prefix",
    "envoy.rbac_http_prefix",
    "envoy.rbac_policy_name",
    "envoy.tcp_prefix",
    "envoy.udp_prefix",
    "envoy.fault_downstream_cluster",
    "envoy.virtual_host",
    "envoy.virtual_cluster",
    "envoy.response_code",
    "envoy.response_code_class",
    "envoy.rds_route_config",
    "envoy.scoped_rds_config",
    "envoy.route",
    "envoy.worker_id",
    "envoy.thrift_prefix",
    "envoy.redis_prefix",
    "envoy.ext_authz_prefix",
    "envoy.google_grpc_client_prefix",
    "envoy.proxy_protocol_version",
    "envoy.proxy_protocol_prefix",
    "envoy.xds_resource_name",
    "envoy.tls_certificate",
];
